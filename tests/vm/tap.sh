# SPDX-License-Identifier: GPL-2.0-or-later
# Sourced in the test guest by tests that are scripts: TAP, waiting, and a pair of daemons.
# A script names this file in its line "files:", and ends with `tap_end`.
dir=$(mktemp -d)
n=0
bad=0
pids=
scale=${TIMEOUT_SCALE:-1}

ok() { # ok STATUS NAME
	n=$((n + 1))
	if [ "$1" = 0 ]; then echo "ok $n - $2"; else bad=1; echo "not ok $n - $2"; fi
}

# A page of text as diagnostics.
note() { sed 's/^/# /'; }

tap_end() {
	echo "1..$n"
	rm -rf "${dir:?}"
	exit $bad
}

until_true() { # until_true SECONDS COMMAND...
	end=$(($(date +%s) + $1 * scale))
	shift
	until "$@"; do
		[ "$(date +%s)" -le $end ] || return 1
		sleep 0.1
	done
}

# ---- daemons a, the source, and b, at $dir/SIDE.qmp; pids has what down ends ----

ctl() { # ctl a|b VERB...
	side=$1
	shift
	timeout $((60 * scale)) droverctl -s "$dir/$side.qmp" "$@"
}

info() { ctl "$1" status --json 2>&1; }
# field a NAME: the text or number of a member, wherever it is but in the ages of counters
field() {
	info "$1" | sed -n "/\"ages\":/,/}/d; s/,\$//; s/^ *\"$2\": *\"\{0,1\}\([^\"]*\)\"\{0,1\}\$/\1/p" |
		tail -n 1
}
# state [a|b]: of the migration, by default as the source has it
state() {
	info "${1:-a}" | sed -n '/"migration"/,$s/^ *"status": *"\([^"]*\)".*/\1/p' | head -n 1
}
# in_state [a|b] STATE...: is it in one of these?
in_state() {
	case $1 in
	a | b) now=$(state "$1") && shift ;;
	*) now=$(state) ;;
	esac
	for want; do [ "$now" = "$want" ] && return; done
	return 1
}

daemon() { # daemon a|b GUEST; $daemon is its pid
	droverd --qmp "unix:$dir/$1.qmp" --guest "$2" 2>"$dir/$1.log" &
	daemon=$!
	pids="$pids $daemon"
	until_true 20 ctl "$1" status >/dev/null 2>&1
}

# Of a drover-vmm at side b: has its guest said whether it came over whole?
judged() { [ "$(field b verdict)" != running ]; }

vmm() { # vmm a|b OPTION...: drover-vmm, that keeps a dirty log; $vmm is its pid
	side=$1
	shift
	drover-vmm --agent "$dir/$side.agent" --mem 8M --dirty 256K --dirty-log \
		--heartbeat-file "$dir/$side.beats" "$@" >"$dir/vmm-$side.log" 2>&1 &
	vmm=$!
	pids="$pids $vmm"
	until_true 20 grep -qs ready "$dir/vmm-$side.log"
}

down() {
	[ $bad = 0 ] || { info a; info b; cat "$dir"/*.log; } 2>/dev/null | note
	# shellcheck disable=SC2086
	kill -9 $pids 2>/dev/null
	wait 2>/dev/null
	pids=
	rm -rf "${dir:?}"/*
}
