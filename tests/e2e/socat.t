#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Two daemons and nothing but JSON lines through socat: over tcp, unix, exec and fd, to a
# file and from it; a poisoned destination, half of the pages zero, verify=full.
B=${B:-build}
cd "$(dirname "$0")/../.." || exit 1
command -v socat >/dev/null || { echo "1..0 # SKIP socat is not installed"; exit 0; }
size=256M
dirty=50M
[ -z "$DROVER_SANITIZER" ] || { size=32M; dirty=5M; }
dir=$(mktemp -d) || exit 1
pids=
n=0
bad=0

finish() {
	for p in $pids; do kill "$p" 2>/dev/null; done
	for p in $pids; do wait "$p" 2>/dev/null; done
	rm -rf "$dir"
}
trap finish EXIT
trap 'exit 1' INT TERM

ok() { # STATUS NAME [WHY]
	n=$((n + 1))
	if [ "$1" = 0 ]; then
		echo "ok $n - $2"
	else
		echo "not ok $n - $2"
		echo "$3" | sed 's/^/#   /'
		bad=1
	fi
}

# Lines on stdin go to a daemon's socket; what it says comes out.
talk() {
	{ echo '{"execute": "qmp_capabilities"}'; cat; } | socat -t 5 - "UNIX-CONNECT:$1"
}

ask() { # SOCKET JSON
	echo "$2" | talk "$1" | tail -n 1
}

until_says() { # SOCKET COMMAND PATTERN
	i=0
	while [ $i -lt 300 ]; do
		last=$(ask "$1" "{\"execute\": \"$2\"}")
		case $last in
		*'"status": "failed"'* | *'"status":"failed"'*) return 1 ;;
		esac
		echo "$last" | grep -Eq "$3" && return 0
		sleep 0.1
		i=$((i + 1))
	done
	return 1
}

daemon() { # NAME GUEST
	"$B/droverd" --qmp "unix:$dir/$1" --guest "$2" 2>>"$dir/log" &
	pids="$pids $!"
	i=0
	while [ ! -S "$dir/$1" ] && [ $i -lt 200 ]; do
		sleep 0.05
		i=$((i + 1))
	done
}

pair() { # TAG
	daemon "$1a" "sim:size=$size,dirty=$dirty,seed=1${2:-}"
	daemon "$1b" "sim:size=$size${3:-}"
}

completed='"status": ?"completed"'
passed='"verdict": ?"passed"'

arrived() { # TAG NAME
	until_says "$dir/$1a" query-migrate "$completed"
	ok $? "$2: the source has completed" "$last"
	until_says "$dir/$1b" query-migrate "$passed"
	ok $? "$2: the guest runs at the destination and every page is right" "$last"
	until_says "$dir/$1b" query-migrate '"digest": ?"equal"'
	ok $? "$2: the digests are equal" "$last"
	until_says "$dir/$1b" query-status '"running": ?true' &&
		until_says "$dir/$1a" query-status '"status": ?"postmigrate"'
	ok $? "$2: it runs there and not here" "$last"
	echo '{"execute": "quit"}' | talk "$dir/$1a" >/dev/null
	echo '{"execute": "quit"}' | talk "$dir/$1b" >/dev/null
}

go='"config": {"max-bandwidth": 0}'

pair greet
greeting=$(talk "$dir/greeta" </dev/null | sed -n 1p)
echo "$greeting" | grep -q '"QMP"'
ok $? "the greeting" "$greeting"
r=$(ask "$dir/greeta" '{"execute": "query-status", "id": [1, {"x": null}]}')
echo "$r" | grep -q '"running"' && echo "$r" | grep -Eq '"id": ?\[ ?1, ?\{ ?"x": ?null ?\} ?\]'
ok $? "an id comes back as it was" "$r"
ask "$dir/greetb" '{"execute": "migrate-incoming", "arguments": {"uri": "tcp:127.0.0.1:0"}}' >/dev/null
until_says "$dir/greetb" query-migrate '"port": ?"[0-9]+"'
port=$(echo "$last" | sed -E 's/.*"port": ?"([0-9]+)".*/\1/')
ask "$dir/greeta" "{\"execute\": \"migrate\", \"arguments\": {\"uri\": \"tcp:127.0.0.1:$port\", $go}}" >/dev/null
arrived greet tcp

pair unix
ask "$dir/unixb" "{\"execute\": \"migrate-incoming\", \"arguments\": {\"uri\": \"unix:$dir/stream\"}}" >/dev/null
ask "$dir/unixa" "{\"execute\": \"migrate\", \"arguments\": {\"uri\": \"unix:$dir/stream\", $go}}" >/dev/null
arrived unix unix

pair exec
ask "$dir/execb" "{\"execute\": \"migrate-incoming\", \"arguments\": {\"uri\": \"unix:$dir/exec\"}}" >/dev/null
ask "$dir/execa" "{\"execute\": \"migrate\", \"arguments\": {\"uri\": \"exec:socat - UNIX-CONNECT:$dir/exec\", $go}}" >/dev/null
arrived exec exec

# Descriptor 7 of the one and descriptor 8 of the other are the two ends of a FIFO.
mkfifo "$dir/fifo"
exec 7<>"$dir/fifo" 8<"$dir/fifo" 9>"$dir/fifo" 7>&-
daemon fda "sim:size=$size,dirty=$dirty,seed=1" # inherits 8 and 9
daemon fdb "sim:size=$size"
exec 8<&- 9>&-
ask "$dir/fdb" '{"execute": "migrate-incoming", "arguments": {"uri": "fd:8"}}' >/dev/null
ask "$dir/fda" "{\"execute\": \"migrate\", \"arguments\": {\"uri\": \"fd:9\", $go}}" >/dev/null
arrived fd fd

pair file
ask "$dir/filea" "{\"execute\": \"migrate\", \"arguments\": {\"uri\": \"file:$dir/guest\", $go}}" >/dev/null
until_says "$dir/filea" query-migrate "$completed"
ok $? "to a file" "$last"
ask "$dir/fileb" "{\"execute\": \"migrate-incoming\", \"arguments\": {\"uri\": \"file:$dir/guest\"}}" >/dev/null
arrived file "from a file"
rm -f "$dir/guest"

pair full ",zero=50" ",poison=on"
ask "$dir/fullb" "{\"execute\": \"migrate-incoming\", \"arguments\": {\"uri\": \"unix:$dir/full\"}}" >/dev/null
ask "$dir/fulla" "{\"execute\": \"migrate\", \"arguments\": {\"uri\": \"unix:$dir/full\", \"config\": {\"max-bandwidth\": 0, \"verify\": \"full\"}}}" >/dev/null
arrived full "poisoned, zero=50, verify=full"

for p in $pids; do
	wait "$p" || { ok 1 "a daemon ended with status $?" "$(cat "$dir/log")"; }
done
pids=
ok 0 "all daemons have ended"
echo "1..$n"
exit $bad
