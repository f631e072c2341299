#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Runs in the test guest: whole migrations, with writers that have nothing to do with
# droverd or the guest. kmod sees them; soft-dirty does not, and the audit says so.
# timeout: 480
# files: tests/vm/tap.sh droverd droverctl migrate-writer migrate-guest
. tap.sh

up() { # up sim|agent: a pair of daemons, and of guests in processes of their own
	if [ "$1" = sim ]; then
		a=sim:size=32M,hot=8M,dirty=4M,zero=25 b=sim:size=32M
	else
		migrate-guest "$dir/a.agent" 32 source 2>"$dir/ga.log" & ga=$!
		migrate-guest "$dir/b.agent" 32 dest 2>"$dir/gb.log" & gb=$!
		pids="$pids $ga $gb"
		a=agent:$dir/a.agent b=agent:$dir/b.agent
		until_true 20 test -S "$dir/a.agent" && until_true 20 test -S "$dir/b.agent"
		sleep 0.2
	fi
	daemon a "$a" && pa=$daemon && daemon b "$b" && pb=$daemon
	ctl b incoming "unix:$dir/wire" >/dev/null
	# The file of guest RAM, as anybody with the rights finds it.
	for ram in "/proc/$pa/fd"/*; do
		case $(readlink "$ram") in
		/memfd:drover-sim* | /memfd:migrate-guest*) break ;;
		esac
	done
}

begin() { # begin TRACKER VERIFY: until the operator has the word
	ctl a migrate "unix:$dir/wire" --set "tracker=$1" --set "verify=$2" --set events=on \
		--set pause-before-switchover=on --set downtime-limit=$((20000 * scale)) >/dev/null
	until_true 60 in_state pre-switchover failed
	[ "$(state)" = pre-switchover ]
	ok $? "tracker=$1, verify=$2: pre-switchover, tracked by $(field a tracker) $(field a error-desc)"
}

foreign_begin() { migrate-writer "$ram" run >"$dir/wrote" & w=$!; sleep 0.3; }
foreign_end() {
	sleep 0.5
	kill "$w" && wait "$w"
	ok $? "a foreign process wrote $(cat "$dir/wrote") pages until then"
}

finish() { # finish STATE
	ctl a continue >/dev/null
	until_true 60 in_state completed failed
	now=$(state)
	[ "$now" = "$1" ]
	ok $? "migrate-continue: $now $(field a error-desc)"
}

row() { printf '# %-28s digest %-8s audit-differences %-6s late-pages %-4s pinned %s\n' "$1" \
	"$(field a digest)" "$(field a audit-differences)" "$(field a late-pages)" \
	"$(field a pinned-pages)"; }

whole() { # whole GUEST TRACKER [foreign]
	up "$1"
	[ -z "$3" ] || foreign_begin
	begin "$2" full
	[ -z "$3" ] || foreign_end
	finish completed
	[ "$(field a digest)" = equal ] && [ "$(field a audit-differences)" = 0 ] &&
		[ "$(field a audited-pages)" = 8192 ]
	ok $? "$1, $2${3:+, foreign writer}: verify=full: equal on all pages"
	row "$1 $2 $3"
	down
}

# The same writer, and a tracker that looks at one process only. It writes while the guest
# is stopped, when nothing is sent: a page that changes under the sender would fail the
# comparison of digests already.
alarm() {
	up agent
	begin soft-dirty audit
	foreign_begin
	foreign_end
	finish completed
	until_true 10 audited
	[ "$(field a audit-differences)" -gt 0 ] && info a | grep -q '"ram0:[0-9]'
	ok $? "agent, soft-dirty, foreign writer: the audit finds $(field a audit-differences) pages"
	row "agent soft-dirty foreign"
	down
}

audited() { [ "$(field a audited-pages)" = 8192 ]; }

late() { # late PAGE: the destination sleeps, so that the last round does while one is written
	up sim
	begin kmod full
	migrate-writer "$ram" fill 4096
	kill -STOP "$pb"
	ctl a continue >/dev/null
	until_true 10 in_state device
	ok $? "the last round is under way"
	sleep 1
	migrate-writer "$ram" once "$1"
	kill -CONT "$pb"
	until_true 60 in_state completed failed
	[ "$(state)" = completed ] && [ "$(field a digest)" = equal ]
	ok $? "completed, equal: $(state) $(field a error-desc)"
	[ "$(field a late-pages)" -ge 1 ] && info a | grep -q "\"ram0:$1\""
	ok $? "the write after the final harvest is reported: ram0:$1"
	row "sim kmod late writer"
	down
}

whole agent soft-dirty
alarm
if [ -e /dev/drover ]; then
	whole sim kmod foreign
	whole agent kmod foreign
	late 8000
else
	ok 1 "there is no /dev/drover"
fi
tap_end
