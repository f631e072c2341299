#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Runs in the test guest: drover-vmm with its RAM in a region of the module, under nested
# KVM, and its migration to another one. The guest says itself whether it came over whole.
# needs: kvm-amd
# set: long
# timeout: 120
# files: tests/vm/tap.sh droverd droverctl drover-vmm
. tap.sh

ended() { in_state completed failed cancelled; }

# The maps of a process that are a region's, in bytes.
region_bytes() {
	sum=0
	while read -r range perms _ _ _ name; do
		case $name in
		*drover*) [ "$perms" = rw-s ] && sum=$((sum + 0x${range#*-} - 0x${range%-*})) ;;
		esac
	done <"/proc/$1/maps"
	echo $sum
}

refusals() {
	! drover-vmm --agent "$dir/x" --region=Bad/Name 2>"$dir/err" && grep -q 'region' "$dir/err"
	ok $? "a bad name: $(cat "$dir/err")"
	mv /dev/drover /dev/drover.away
	! drover-vmm --agent "$dir/x" --region 2>"$dir/err" && grep -q 'not loaded' "$dir/err"
	ok $? "no module: $(cat "$dir/err")"
	mv /dev/drover.away /dev/drover
}

moves() { # moves TRACKER EXPECTED
	vmm a --region=vmm-a && va=$vmm && vmm b --region --incoming && vb=$vmm
	ok $? "two VMMs with regions start"
	[ -c /dev/drover-vmm-a ]
	ok $? "the source's is /dev/drover-vmm-a"
	[ "$(region_bytes "$va")" -ge $((10 << 20)) ] && [ "$(region_bytes "$vb")" -ge $((10 << 20)) ]
	ok $? "all RAM is of the regions: $(region_bytes "$va"), $(region_bytes "$vb") bytes mapped"
	until_true 20 test -s "$dir/a.beats"
	ok $? "the guest runs"
	daemon a "agent:$dir/a.agent" && daemon b "agent:$dir/b.agent"
	ctl b incoming "unix:$dir/wire" >/dev/null
	ctl a migrate "unix:$dir/wire" --set "tracker=$1" --set verify=full --set downtime-limit=3000 \
		--set max-bandwidth=0 >/dev/null
	until_true 60 ended
	[ "$(state)" = completed ] && [ "$(field a digest)" = equal ]
	ok $? "tracker=$1: $(state), digest $(field a digest) $(field a error-desc)"
	note <<-END
		$(field a total-time) ms
	END
	[ "$(field a tracker)" = "$2" ]
	ok $? "tracker=$1: it is $(field a tracker)"
	until_true 60 judged
	[ "$(field b verdict)" = passed ]
	ok $? "the guest is whole: $(field b verdict) $(field b text)"
	[ -s "$dir/b.beats" ]
	ok $? "and goes on there"
	down
	until_true 5 test ! -e /dev/drover-vmm-a
	ok $? "the region goes with its VMM"
}

refusals
moves auto kvm-log+kmod
tap_end
