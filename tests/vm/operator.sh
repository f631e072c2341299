# SPDX-License-Identifier: GPL-2.0-or-later
# Sourced in the test guest by tests of postcopy on the kernel module: a migration to a guest
# whose RAM is a region, an operator's part, and what breaks on the way. The script has
# guests(), which starts one at $dir/a.agent and one at $dir/b.agent, and judge(), which says
# what the guest says of itself.
stream=unix:$dir/wire
both() { in_state a "$1" && in_state b "$1"; }
there() { in_state b postcopy-active completed failed; }

# up URI HOW PREEMPT: until the guest runs at the destination, and most of its RAM does not.
up() {
	uri=$1
	what="$2, ${1%%:*}, preempt $3"
	begun=$(date +%s)
	guests
	ok $? "$what: two VMMs with regions"
	daemon a "agent:$dir/a.agent" && pa=$daemon && daemon b "agent:$dir/b.agent" && pb=$daemon
	ctl b incoming "$uri" >/dev/null
	from=off
	[ "$2" = from-start ] && from=on
	ctl a migrate "$uri" --set postcopy-ram=on --set fault-handler=kmod --set max-bandwidth=1M \
		--set "postcopy-from-start=$from" --set "postcopy-preempt=$3" \
		--set max-postcopy-bandwidth=256K --set postcopy-blocktime=on >/dev/null
	if [ $from = off ]; then
		until_true 20 in_state active
		ctl a postcopy >/dev/null
	fi
	until_true 40 there
	[ "$(state b)" = postcopy-active ] && [ "$(field b fault-handler)" = kmod ]
	ok $? "$what: $(state b), by $(field b fault-handler) $(field b error-desc)"
}

# The operator's part, until both sides say that it is over. A daemon that is new may have
# been told by its VMM that nothing is left.
go_on() {
	end=$(($(date +%s) + 40 * scale))
	while :; do
		case $(state a) in
		completed)
			in_state b completed && return
			ctl a recover "$uri" >"$dir/said" 2>&1
			;;
		postcopy-paused | none | '') ctl a recover "$uri" >"$dir/said" 2>&1 ;;
		postcopy-active) ctl a set max-postcopy-bandwidth=0 >/dev/null ;;
		esac
		[ "$(date +%s)" -le $end ] || return 1
		sleep 0.1
	done
}

whole() {
	go_on
	ok $? "$what: $(state a), $(state b): $(field a error-desc) $(field b error-desc)$(
		cat "$dir/said" 2>/dev/null)"
	[ "$(field b digest)" = equal ]
	ok $? "$what: every page is as it was: $(field b digest)"
	judge
	printf '# %s s\n' $(($(date +%s) - begun))
	down
}

pause() { # pause a|b
	ctl "$1" pause >/dev/null
	until_true 20 both postcopy-paused
	ok $? "$what: migrate-pause: $(state a), $(state b)"
	[ "$(field b fault-handler)" = kmod ]
	ok $? "$what: and the gate is the module's still"
}

die() { # die a|b: and its successor, with the same command line
	if [ "$1" = a ]; then pid=$pa; else pid=$pb; fi
	kill -9 "$pid"
	wait "$pid" 2>/dev/null
	daemon "$1" "agent:$dir/$1.agent"
	ok $? "$what: a new droverd for $1: $(state "$1")"
}

adopted() {
	[ "$(field b fault-handler)" = kmod ] && [ "$(state b)" != completed ]
	ok $? "$what: it has the gate of the dead one: $(field b fault-handler), $(state b)"
}
