#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# The kernel module's header compiles alone, as C and as C++, and its structures are the
# same for everybody: no holes, the same layout for 32 and 64 bits, sizes that never shrink.
. "$(dirname "$0")/lint.sh"

h=uapi/linux/drover.h
t=$(mktemp -d) || exit 1
trap 'rm -rf "$t"' EXIT

# compiles COMPILER STANDARD LANGUAGE
compiles() {
	printf '#include <linux/drover.h>\n#include <linux/drover.h>\n' |
		$1 "-std=$2" -x "$3" -pedantic -Wall -Wextra -Werror -fsyntax-only -Iuapi - 2>&1 |
		head -n 5
}

# members STRUCT: its members' names, in order
members() {
	sed -n "/^struct $1 {/,/^};/p" "$h" |
		sed -n 's/^\t.*[ \t]\([a-z_]*\)\(\[[A-Z_]*\]\)*;$/\1/p'
}

# A check by the compiler: each member begins where the one before has ended, and the last
# one ends where the structure does.
layout() {
	echo '#include <stddef.h>'
	echo '#include <linux/drover.h>'
	echo '#define BEGIN(s, m) offsetof(struct s, m)'
	echo '#define END(s, m) (offsetof(struct s, m) + sizeof(((struct s *)0)->m))'
	sed -n 's/^struct \([a-z_]*\) {$/\1/p' "$h" | while read -r s; do
		last=
		for m in $(members "$s"); do
			if [ -z "$last" ]; then
				echo "_Static_assert(!BEGIN($s, $m), \"$s.$m\");"
			else
				echo "_Static_assert(END($s, $last) == BEGIN($s, $m), \"$s.$m\");"
			fi
			last=$m
		done
		echo "_Static_assert(END($s, $last) == sizeof(struct $s), \"$s ends with a hole\");"
		echo "_Static_assert(sizeof(struct $s) <= 128, \"$s\");"
	done
}

# What each command's structure was in the first version. A longer one is a later version's.
first() {
	while read -r s size; do
		echo "_Static_assert(sizeof(struct drover_$s) >= $size, \"drover_$s has shrunk\");"
		echo "_Static_assert(!BEGIN(drover_$s, size), \"drover_$s.size\");"
		echo "_Static_assert(BEGIN(drover_$s, flags) == 4, \"drover_$s.flags\");"
	done <<-END
		caps 32
		attach 24
		arm 16
		harvest 80
		set_dirty 32
		stat 64
		region 72
		gate 8
		publish 32
		received 40
		adopt 16
	END
}

# asserts FLAG: of a file with assertions, compiled with a FLAG
asserts() {
	$CC -std=gnu11 "$1" -x c -fsyntax-only -Iuapi \
		-idirafter "/usr/include/$(gcc -print-multiarch)" "$t/layout.c" 2>&1 | head -n 5
}

numbers() {
	sed -n 's/^#define DROVER_IOC_.*_IOWR(DROVER_IOC_MAGIC, \(0x[0-9a-f]*\),.*/\1/p' "$h" |
		sort | uniq -d
}

docs() {
	grep -o '^struct [a-z_]* {' "$h" | cut -d ' ' -f 2 | while read -r s; do
		grep -q "struct $s - " "$h" || echo "struct $s has no kernel-doc"
	done
}

check "compiles as C: gcc" "$(compiles gcc gnu11 c)"
check "compiles as C++: g++" "$(compiles g++ c++11 c++)"
# A second opinion, where there is one.
command -v clang >/dev/null && check "compiles as C: clang" "$(compiles clang gnu11 c)"
command -v clang++ >/dev/null && check "compiles as C++: clang++" "$(compiles clang++ c++11 c++)"
{ layout; first; } >"$t/layout.c"
asserted=$(grep -c "^_Static_assert" "$t/layout.c")
check "there is something to look at" "$([ "$asserted" -gt 80 ] || echo "$asserted assertions")"
check "structures have no holes and have not shrunk" "$(asserts -m64)"
check "nor for programs of 32 bits" "$(asserts -m32)"
check "each command has a number of its own" "$(numbers)"
check "each structure is described" "$(docs)"
finish
