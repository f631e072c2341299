#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Runs in the test guest: what the module tells of itself. Each event reaches droverctl
# monitor with the right numbers, and only who may listen; each tracepoint its line.
# timeout: 60
# files: tests/vm/tap.sh droverctl events-do
. tap.sh
trace=/sys/kernel/tracing
same() { # same WANT GOT NAME
	[ "$1" = "$2" ]
	ok $? "$3"
	[ "$1" = "$2" ] || printf 'want: %s\ngot:  %s\n' "$1" "$2" | sed 's/^/# /'
}
# Sockets that have joined a group of generic netlink.
listeners() { awk '$2 == 16 && $4 != "00000000"' /proc/net/netlink | wc -l; }
joined() { [ "$(listeners)" -ge "$1" ]; }
gone_or_joined() { ! kill -0 "$1" 2>/dev/null || joined "$2"; }
has() { grep -q "$1" "$2"; }

# ---- tracepoints ----
fields() { sed -n '/common_/d; s/^\tfield:\(.*\);\toffset.*size:\([0-9]*\);.*/\1:\2/p' \
	"$trace/events/drover/$1/format" | sed 's/.* //' | tr '\n' ' '; }
same "ino:8 pages:8 " "$(fields drover_attach)" "tracepoint drover_attach: fields"
same "ino:8 dirty:8 holes:8 pinned:8 ns:8 " "$(fields drover_harvest)" \
	"tracepoint drover_harvest: fields"
same "ino:8 " "$(fields drover_release)" "tracepoint drover_release: fields"
same "region:8 page:8 wait_ns:8 pid:4 write:1 " "$(fields drover_fault)" \
	"tracepoint drover_fault: fields"
same "region:8 first:8 npages:8 woken:8 " "$(fields drover_publish)" \
	"tracepoint drover_publish: fields"
for e in attach harvest release fault publish; do
	f=$trace/events/drover/drover_$e/format
	# The formula of each line names the event's own fields and nothing a tool can't read.
	grep -q "^name: drover_$e\$" "$f" && grep -q '^ID: [0-9][0-9]*$' "$f" &&
		sed -n 's/^print fmt: "[^"]*", //p' "$f" | grep -Eq '^REC->[a-z_]+(, REC->[a-z_]+)*$'
	ok $? "tracepoint drover_$e: format parses"
done

# ---- events, and the lines of the tracepoints, of the same run ----
old=$(listeners)
droverctl monitor >"$dir/text" 2>"$dir/text.err" & text=$!
droverctl --json monitor >"$dir/json" 2>"$dir/json.err" & json=$!
until_true 10 joined $((old + 2))
ok $? "two monitors listen"
echo 1 >$trace/events/drover/enable
echo >$trace/trace
events-do run >"$dir/did"
ok $? "an attach and its harvests"
echo 0 >$trace/events/drover/enable
. "$dir/did"
until_true 10 has release "$dir/text" && until_true 10 has release "$dir/json"
ok $? "both monitors hear of the end"
kill $text $json
same "dirty=3 holes=2 pinned=0|dirty=0 holes=0 pinned=1" "$plain|$final" \
	"what the harvests gave: a plain one, a final one"
same "dirty=2 holes=0 pinned=1|dirty=3 holes=0 pinned=0" "$late|$again" \
	"what the harvests gave: a final one after it, one of a guest that has run on"

sed 's/^[0-9]*\.[0-9]* //' "$dir/text" >"$dir/lines"
line() { sed -n "$1p" "$dir/lines"; }
same "attach inode=$ino pages=$pages" "$(line 1)" "monitor: attach"
same "late-writer inode=$ino page=50 count=1" "$(line 2)" \
	"monitor: late-writer: a final harvest and a registered buffer"
same "late-writer inode=$ino page=7 count=3" "$(line 3)" \
	"monitor: late-writer: two writes after the final harvest, and the buffer"
same "release inode=$ino" "$(line 4)" "monitor: release, and nobody was late before it"
same 4 "$(wc -l <"$dir/text")" "monitor: nothing else"

same 4 "$(grep -c '^{.*}$' "$dir/json")" "monitor --json: as many objects"
grep '"late-writer"' "$dir/json" | tail -n 1 |
	grep "\"inode\":$ino\b" | grep '"page":7\b' | grep -q '"count":3\b'
ok $? "monitor --json: late-writer"
last=$before
sed -n 's/.*"time-ns":\([0-9]*\).*/\1/p' "$dir/json" >"$dir/times"
while read -r t; do
	[ "$t" -ge "$last" ] && last=$t || last=9999999999999999
done <"$dir/times"
[ -s "$dir/times" ] && [ "$last" -gt "$before" ] && [ "$last" -le "$after" ]
ok $? "monitor --json: times are CLOCK_MONOTONIC and in order"

sed -n 's/.*: \(drover_[a-z]*: .*\)/\1/p' $trace/trace >"$dir/trace"
line() { sed -n "$1p" "$dir/trace" | sed 's/ ns=[1-9][0-9]*$/ ns=T/'; }
same "drover_attach: ino=$ino pages=$pages" "$(line 1)" "trace: drover_attach"
same "drover_harvest: ino=$ino $plain ns=T" "$(line 3)" "trace: drover_harvest, dirty and holes"
same "drover_harvest: ino=$ino $final ns=T" "$(line 4)" "trace: drover_harvest, pinned"
same "drover_harvest: ino=$ino $late ns=T" "$(line 5)" "trace: drover_harvest, late"
same "drover_harvest: ino=$ino $again ns=T" "$(line 7)" "trace: drover_harvest, the last"
same "drover_release: ino=$ino" "$(line 8)" "trace: drover_release"
same 8 "$(wc -l <"$dir/trace")" "trace: nothing else"
echo >$trace/trace

# ---- a region ----
droverctl monitor >"$dir/text" 2>"$dir/text.err" & text=$!
until_true 10 joined $((old + 1))
echo 100 >/sys/module/drover/parameters/stall_ms
echo 1 >$trace/events/drover/enable
events-do region evt >"$dir/did"
ok $? "a region: two wait for too long, the loader dies, another one publishes"
. "$dir/did"
until_true 10 has region-end "$dir/text"
ok $? "the monitor hears of the region's end"
echo 0 >$trace/events/drover/enable
kill $text
sed 's/^[0-9]*\.[0-9]* //' "$dir/text" >"$dir/lines"
event() { grep "^$1 " "$dir/lines"; }
same "region-new region=$region name=evt pages=64" "$(sed -n 1p "$dir/lines")" "monitor: region-new"
stall() { event stall | grep " page=$1 " | sed 's/wait-ms=[1-9][0-9][0-9]$/wait-ms=T/'; }
same "stall region=$region page=6 pid=$reader wait-ms=T" "$(stall 6)" \
	"monitor: stall of a load, once"
same "stall region=$region page=7 pid=$writer wait-ms=T" "$(stall 7)" \
	"monitor: stall of a store, once"
same "loader-died region=$region waiters=2" "$(event loader-died)" "monitor: loader-died"
same "loader-adopted region=$region" "$(event loader-adopted)" "monitor: loader-adopted"
same "region-end region=$region" "$(sed -n '6,$p' "$dir/lines")" \
	"monitor: region-end, and it is the last"
sed -n 's/.*: \(drover_[a-z]*: .*\)/\1/p' $trace/trace >"$dir/trace"
same "drover_publish: region=$region first=5 npages=3 woken=2" "$(grep publish "$dir/trace")" \
	"trace: drover_publish"
fault() { grep "fault.* page=$1 " "$dir/trace" | sed 's/ wait_ns=[1-9][0-9]\{8,\}$/ wait_ns=T/'; }
same "drover_fault: region=$region page=6 pid=$reader write=0 wait_ns=T" "$(fault 6)" \
	"trace: drover_fault, a load"
same "drover_fault: region=$region page=7 pid=$writer write=1 wait_ns=T" "$(fault 7)" \
	"trace: drover_fault, a store"
same 3 "$(wc -l <"$dir/trace")" "trace: nothing else"
echo >$trace/trace

# ---- who may listen ----
refused() { # refused HOW TEXT NAME
	events-do as "$1" "$(command -v droverctl)" monitor >"$dir/out" 2>"$dir/err" & p=$!
	until_true 10 gone_or_joined $p $((old + 1))
	events-do many 3
	kill -0 $p 2>/dev/null && sleep 1 && kill $p
	wait $p
	rc=$?
	[ $rc != 0 ] && [ $rc != 143 ] && [ ! -s "$dir/out" ] && grep -q "$2" "$dir/err"
	ok $? "$3"
	cat "$dir/out" "$dir/err" | sed 's/^/# /'
}
refused capless CAP_NET_ADMIN "root without CAP_NET_ADMIN is refused"
refused nobody CAP_NET_ADMIN "another user is refused"
refused user CAP_NET_ADMIN "CAP_NET_ADMIN of another user namespace is refused"
refused net "no events" "another network namespace has no such family"

# ---- a listener that does not read ----
droverctl monitor >"$dir/slow" 2>"$dir/slow.err" & slow=$!
until_true 10 joined $((old + 1))
kill -STOP $slow
timeout 20 events-do many 500
ok $? "500 attaches do not wait for a monitor that is stopped"
kill -CONT $slow
until_true 10 has 'some events are lost' "$dir/slow.err"
ok $? "and it says that it has missed some"
[ "$(grep -c attach "$dir/slow")" -lt 500 ]
ok $? "what it has got is bounded: $(grep -c attach "$dir/slow") of 500"
events-do many 1
events-do run >"$dir/did"
. "$dir/did"
until_true 10 has "release inode=$ino" "$dir/slow"
ok $? "and it hears what comes afterwards"

# ---- and one that is there when the module goes ----
rmmod drover
ok $? "a monitor does not keep the module"
insmod /drover.ko
ok $? "the module comes back"
kill $slow
wait
tap_end
