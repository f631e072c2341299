#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Runs in the test guest: unit tests of trackers and fault handlers on a kernel that has
# soft-dirty and no PAGEMAP_SCAN, an older userfaultfd, and the module.
# files: tests/vm/tap.sh tests/unit/track-holes tests/unit/dev-kmod tests/unit/fault-userfaultfd
# timeout: 60
. tap.sh
for t in track-holes dev-kmod fault-userfaultfd; do
	"$t" >"$dir/out" 2>&1
	rc=$?
	grep -v '^ok ' "$dir/out" | note
	good=$(grep -c '^ok ' "$dir/out")
	[ $rc = 0 ] && [ "$good" -gt 0 ]
	ok $? "$t: $good points, exit status $rc"
done
tap_end
