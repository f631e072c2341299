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

# The project's files, as git lists them; all but what is built in a tree without git.
# sources [PATTERN...]: those that match one, as git ls-files takes it
sources() {
	if git rev-parse -q --git-dir >/dev/null 2>&1; then
		git ls-files -- "$@"
		return
	fi
	find . -type d \( -name 'build*' -o -name .git -o -name __pycache__ \) -prune -o -type f -print | sed 's|^\./||' |
		sort | while read -r f; do
			[ $# -gt 0 ] || echo "$f"
			for p; do
				# shellcheck disable=SC2254
				case $f in $p) echo "$f"; break ;; esac
			done
		done
}
