# SPDX-License-Identifier: GPL-2.0-or-later
# Sourced by the lint tests: TAP of one check, which passes when it prints nothing.
cd "$(dirname "$0")/../.." || exit 1
B=${B:-build}
CC=${CC:-gcc}
n=0
check() {
	n=$((n + 1))
	if [ -z "$2" ]; then
		echo "ok $n - $1"
	else
		echo "not ok $n - $1"
		printf '%s\n' "$2" | head -n 40 | sed 's/^/# /'
		bad=1
	fi
}
finish() {
	echo "1..$n"
	exit "${bad:-0}"
}

# Names of layers, lowest first; the last line of userspace/layers is the programs'.
library_layers() {
	grep -v '^#' userspace/layers | sed '$d'
}
