#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# The library has no mutable globals: .data and .bss of each of its objects are empty.
. "$(dirname "$0")/lint.sh"

globals() {
	for layer in $(library_layers); do
		find "$B/obj/$layer" -name '*.o' | while read -r o; do
			size -A "$o" | awk -v o="$o" '($1 ~ /^\.(data|bss|tdata|tbss)/) &&
				$1 !~ /^\.data\.rel\.ro/ && $2 > 0 { print o ": " $1 " " $2 " bytes" }'
		done
	done
}

exits() {
	for layer in $(library_layers); do
		find "$B/obj/$layer" -name '*.o' | while read -r o; do
			nm -u "$o" | awk -v o="$o" '$2 ~ /^(exit|_exit|abort|syslog|perror)$/ { print o ": " $2 }'
		done
	done | grep -v '/channel/exec' || :
}

check "no mutable globals in the library" "$(globals)"
check "the library never exits nor logs by itself" "$(exits)"
finish
