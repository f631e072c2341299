#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Runs in the test guest: postcopy of drover-vmm with its RAM in regions of the module, under
# nested KVM: the module keeps waiting who touches what is missing. Connections are paused and
# either droverd is killed on the way; the guest says itself whether it came over whole.
# needs: kvm-amd
# set: long
# timeout: 240
# files: tests/vm/tap.sh tests/vm/operator.sh droverd droverctl drover-vmm
. tap.sh
. operator.sh

# A vCPU that waits in the gate can't be kicked, only killed.
end_waiting() {
	kill -TERM "$vb"
	until_true 10 gone "$vb"
	ok $? "$what: SIGTERM ends a VMM whose vCPUs wait for what never comes"
	down
}

guests() {
	vmm a --region && vmm b --region --incoming && vb=$vmm && until_true 20 test -s "$dir/a.beats"
}

judge() {
	until_true 60 judged
	[ "$(field b verdict)" = passed ]
	ok $? "$what: the guest is whole: $(field b verdict) $(field b text)"
}

gone() { ! kill -0 "$1" 2>/dev/null; }

# Each pair of transport, how it begins, and preempt.
tcp=tcp:127.0.0.1:4444
up $tcp from-start off && pause a && die b && adopted && whole
up $tcp start-postcopy on && die b && adopted && die a && whole
up "$stream" from-start on && pause b && end_waiting
up "$stream" start-postcopy off && pause b && whole
tap_end
