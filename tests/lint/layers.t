#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# A file includes its own layer or a lower one; source and destination meet in wire/ only.
. "$(dirname "$0")/lint.sh"

rank() {
	case $1 in
	base) echo 0 ;; config) echo 1 ;; wire | channel) echo 2 ;;
	dev | track | fault | place) echo 3 ;; engine) echo 4 ;; guest | lib) echo 5 ;;
	daemon | ctl | vmm) echo 6 ;; *) echo 99 ;;
	esac
}

bad_includes() {
	grep -rHoE '^#include "[a-z]+/' userspace | sort -u |
	while IFS=: read -r file inc; do
		mine=${file#userspace/}; mine=${mine%%/*}
		other=${inc#*\"}; other=${other%/}
		[ "$other" = linux ] && continue
		if [ "$(rank "$other")" -gt "$(rank "$mine")" ]; then
			echo "$file includes $other/, which is above $mine/"
		elif [ "$(rank "$mine")" = 6 ] && [ "$(rank "$other")" = 6 ] && [ "$mine" != "$other" ]; then
			echo "$file includes $other/, another program"
		fi
	done
}

sides() {
	grep -lE '"engine/(source|dest)' userspace/engine/*.[ch] | while read -r f; do
		s=$(grep -c '"engine/source' "$f"); d=$(grep -c '"engine/dest' "$f")
		[ "$s" -gt 0 ] && [ "$d" -gt 0 ] && echo "$f includes both sides"
	done
	grep -l '"engine/source' userspace/engine/dest*.[ch] userspace/engine/receiver.c
	grep -l '"engine/dest' userspace/engine/source*.[ch] userspace/engine/sender.c \
		userspace/engine/precopy.c userspace/engine/switchover.c
}

check "includes go down, never up" "$(bad_includes)"
check "source and destination never include each other" "$(sides)"
finish
