#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Runs in the test guest: the trackers' unit tests on a kernel that has soft-dirty and no
# PAGEMAP_SCAN, where they take their other way.
# files: tests/unit/track-holes tests/unit/dev-kmod
# timeout: 60
n=0
bad=0
for t in track-holes dev-kmod; do
	"$t" >/tmp/out 2>&1
	rc=$?
	grep -v '^ok ' /tmp/out | sed 's/^/# /'
	n=$((n + 1))
	good=$(grep -c '^ok ' /tmp/out)
	if [ $rc = 0 ] && [ "$good" -gt 0 ]; then
		echo "ok $n - $t: $good points"
	else
		bad=1
		echo "not ok $n - $t: exit status $rc"
	fi
done
echo "1..$n"
exit $bad
