#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Every header compiles alone, and every file begins with the licence of its place.
. "$(dirname "$0")/lint.sh"

flags="-std=gnu11 -D_GNU_SOURCE= -Wall -Wextra -Iuserspace -Iuapi -I$B/gen $(pkg-config --cflags liburing json-c libxxhash)"

alone() {
	for h in $(sources "userspace/*.h"); do
		# shellcheck disable=SC2086
		echo "#include \"${h#userspace/}\"" | $CC $flags -x c -fsyntax-only - 2>&1 |
			sed "s|^|$h: |" | head -n 3
	done
}

licence() {
	sources | while read -r f; do
		[ -f "$f" ] || continue
		case $f in
		*.map | *.pc.in) continue ;;
		Kbuild | dkms.conf | kmod/* | bpf/*) want='GPL-2.0-only' ;;
		uapi/*) want='GPL-2.0-only WITH Linux-syscall-note' ;;
		userspace/daemon/* | userspace/ctl/* | userspace/vmm/*) want='GPL-2.0-or-later' ;;
		userspace/*) want='LGPL-2.1-or-later' ;;
		tests/fuzz/corpus/* | LICENSES/* | VERSION | *.md | .gitignore | *.jsonl | *.json | Documentation/screens/*) continue ;;
		*) want='GPL-2.0-or-later' ;;
		esac
		head -n 2 "$f" | grep -q "SPDX-License-Identifier: $want" || echo "$f: not $want"
	done
}

private() {
	sources | grep -vx tests/lint/headers.t | xargs grep -nIE \
		'(^|[^a-zA-Z0-9_.$/-])/(work|farm)/|deb\.debian|pypi\.org|npmjs|crates\.io' || :
}

check "every header compiles alone" "$(alone)"
check "SPDX line first, with the licence of its place" "$(licence)"
check "no path of a private machine, no registry" "$(private)"
finish
