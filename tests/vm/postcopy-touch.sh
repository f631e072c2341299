#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Runs in the test guest: postcopy on the module without vCPUs, which is postcopy.sh's: threads
# of tests/bench/touch.c wait in the gate for what they touch, and look at what they get.
# Connections are paused and either droverd is killed on the way.
# timeout: 120
# files: tests/vm/tap.sh tests/vm/operator.sh droverd droverctl bench/touch
. tap.sh
. operator.sh

MIB=16
THREADS=4
TOUCHES=200

said() { grep -qs median_us "$dir/dest"; }
# told NAME: a number of what touch has printed
told() { sed -n "s/.*\"$1\": \([0-9.]*\).*/\1/p" "$dir/dest"; }

guests() {
	/tests/touch --region "$dir/a.agent" $MIB source >"$dir/source" 2>&1 &
	pids="$pids $!"
	/tests/touch --region "$dir/b.agent" $MIB dest $THREADS $TOUCHES >"$dir/dest" 2>&1 &
	pids="$pids $!"
	until_true 20 test -S "$dir/a.agent" && until_true 20 test -S "$dir/b.agent"
}

judge() {
	until_true 20 said
	[ "$(told wrong)" = 0 ] && [ "$(told waits)" -gt 0 ]
	ok $? "$what: who touched something found what is there: $(tail -n 1 "$dir/dest")"
}

# Each pair of transport, how it begins, and preempt.
tcp=tcp:127.0.0.1:4444
up $tcp from-start off && pause a && die b && adopted && whole
up $tcp start-postcopy on && die b && adopted && die a && whole
up "$stream" from-start on && die a && whole
up "$stream" start-postcopy off && pause b && whole
tap_end
