#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Runs in the test guest: how long who touches a missing page waits in a postcopy of droverd
# from one tests/bench/touch.c to another, kept waiting by the module (RAM in a region) and by
# userfaultfd (a memfd), in turns. ROUNDS (3) in the kernel's command line. Plain faults take
# less than LEAST us here. tests/bench/vm-postcopy.py reads the lines "row".
# set: bench
# timeout: 900
# files: tests/vm/tap.sh droverd droverctl bench/touch
. tap.sh

MIB=64
TOUCHES=2000
LEAST=100
SLOWEST=4096
port=4444
results=$(mktemp)

said() { grep -qs median_us "$dir/dest"; }
over() { in_state a completed failed && in_state b completed failed; }
# told NAME: a number of what touch has printed
told() { sed -n "s/.*\"$1\": \([0-9.]*\).*/\1/p" "$dir/dest"; }

toucher() { # toucher FILE SIDE ARGUMENT...
	out=$1 side=$2
	shift 2
	/tests/touch "$@" >"$dir/$out" 2>&1 &
	pids="$pids $!"
	until_true 20 test -S "$dir/$side.agent"
}

once() { # once HANDLER THREADS PUSH
	what="$1, $2 threads, push $3"
	port=$((port + 1))
	limit=0
	[ "$3" = on ] || limit=$SLOWEST
	gate=
	[ "$1" = userfaultfd ] || gate=--region
	toucher source a "$dir/a.agent" $MIB source &&
		toucher dest b $gate --least $LEAST "$dir/b.agent" $MIB dest "$2" $((TOUCHES / $2))
	daemon a "agent:$dir/a.agent" && daemon b "agent:$dir/b.agent"
	ctl b incoming "tcp:127.0.0.1:$port" >/dev/null
	ctl a migrate "tcp:127.0.0.1:$port" --set postcopy-ram=on --set postcopy-from-start=on \
		--set postcopy-preempt=on --set "postcopy-channels=$2" --set multifd=on \
		--set "fault-handler=$1" --set "max-postcopy-bandwidth=$limit" >/dev/null
	until_true 60 said
	ctl a set max-postcopy-bandwidth=0 >/dev/null
	until_true 60 over
	[ "$(state a)/$(state b)" = completed/completed ] && [ "$(field b digest)" = equal ] &&
		[ "$(field b fault-handler)" = "$1" ] && [ "$(told waits)" -gt 0 ]
	ok $? "$what: $(state a), $(state b), by $(field b fault-handler), $(told waits) waits, $(
		told median_us) us"
	echo "$1 $2 $3 $(told waits) $(told median_us) $(told p99_us) $(told seconds)" >>"$results"
	down
}

# Medians over the rounds; a row has threads, push, and of each: waits, median, p99, seconds.
report() {
	awk '
	function middle(name, n, i, j, k, v) {
		for (i = 0; i < n; i++)
			v[i] = all[name, i]
		for (i = 1; i < n; i++)
			for (j = i; j > 0 && v[j - 1] > v[j]; j--) {
				k = v[j]; v[j] = v[j - 1]; v[j - 1] = k
			}
		return n % 2 ? v[(n - 1) / 2] : (v[n / 2 - 1] + v[n / 2]) / 2
	}
	{
		for (i = 4; i <= 7; i++)
			all[$1, $2, $3, i, count[$1, $2, $3] + 0] = $i + 0
		count[$1, $2, $3]++
		if (!(($2, $3) in seen)) {
			seen[$2, $3] = 1
			order[rows++] = $2 " " $3
		}
	}
	END {
		split("kmod userfaultfd", who, " ")
		for (r = 0; r < rows; r++) {
			split(order[r], c, " ")
			line = "row " c[1] " " c[2]
			for (w = 1; w <= 2; w++)
				for (i = 4; i <= 7; i++) {
					key = who[w] SUBSEP c[1] SUBSEP c[2] SUBSEP i
					m[w, i] = middle(key, count[who[w], c[1], c[2]])
					line = line " " m[w, i]
				}
			printf "%s; kmod / userfaultfd: median %.2f, p99 %.2f\n", line,
				m[1, 5] / m[2, 5], m[1, 6] / m[2, 6]
		}
	}' "$results" | note
}

round=0
while [ $round -lt "${ROUNDS:-3}" ]; do
	for threads in 1 2 8; do
		for push in off on; do
			once kmod $threads $push
			once userfaultfd $threads $push
		done
	done
	round=$((round + 1))
done
echo "# rounds ${ROUNDS:-3}, $MIB MiB, $(uname -r)"
report
tap_end
