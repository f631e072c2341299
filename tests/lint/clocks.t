#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Time is monotonic: a clock that is set back must neither make a wait endless nor a peer dead.
. "$(dirname "$0")/lint.sh"

# file: why it asks for the time of day
allowed='userspace/base/clock.h
userspace/track/holes.c
userspace/vmm/verdict.c'
# base/clock.h: an event's timestamp, as QEMU has it
# track/holes.c: compared with a file's ctime, which is of that clock
# vmm/verdict.c: a line of the log

realtime() {
	git grep -nE 'CLOCK_REALTIME|gettimeofday\(|[^_a-z]time\(NULL\)' -- 'userspace/*.[ch]' |
		while IFS=: read -r f rest; do
			printf '%s\n' "$allowed" | grep -qx "$f" || echo "$f:$rest"
		done
}

timedwaits() {
	git grep -nE 'pthread_cond_timedwait' -- 'userspace/*.[ch]' | while IFS=: read -r f n rest; do
		grep -q 'pthread_condattr_setclock(.*CLOCK_MONOTONIC' "$(dirname "$f")"/*.c ||
			echo "$f:$n: $rest: waits on the time of day"
	done
}

check "nobody asks for the time of day but who must" "$(realtime)"
check "no condition waits on the time of day" "$(timedwaits)"
finish
