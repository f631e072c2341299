#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# libdrover.a is enough: a program that uses every function of drover.h links it and what
# drover.pc names, nothing else. The shared library exports the same functions.
# builds: libs
. "$(dirname "$0")/lint.sh"

h=userspace/lib/drover.h
t=$(mktemp -d) || exit 1
trap 'rm -rf "$t"' EXIT

# Each declaration is one DROVER_API ... NAME(.
functions() { tr '\n' ' ' <$h | grep -oE 'DROVER_API [a-z_ *0-9]+[ *]drover_[a-z_]+\(' |
	sed 's/.*[ *]\(drover_[a-z_]*\)($/\1/' | sort; }

program() {
	printf '#include "drover.h"\n#include <stdio.h>\nint main(void)\n{\n\tconst void *f[] = {\n'
	sed 's/.*/\t\t(const void *)&,/' "$t/functions"
	printf '\t};\n\tsize_t i;\n\n\tfor (i = 0; i < sizeof(f) / sizeof(f[0]); i++)\n'
	printf '\t\tif (!f[i])\n\t\t\treturn 1;\n\tputs(drover_version());\n\treturn 0;\n}\n'
}

# links WHAT COMPILER-FLAGS...: the program over libdrover.a, which is run
links() {
	what=$1; shift
	# shellcheck disable=SC2086
	$CC -Iuserspace/lib "$@" -o "$t/$what" "$t/program.c" "$B/libdrover.a" $libs 2>&1 | head -n 8
	[ -x "$t/$what" ] || return
	said=$("$t/$what")
	[ "$said" = "$(cat VERSION)" ] || echo "drover_version() says $said"
}

exported() {
	nm -D --defined-only "$B/libdrover.so" | sed -n 's/.* T \([a-z_]*\).*/\1/p' | sort >"$t/exported"
	diff "$t/functions" "$t/exported" | sed -n 's/^</not exported:/p; s/^>/not in drover.h:/p'
}

libs=$(sed -n 's/^Libs.private: *//p' userspace/lib/drover.pc.in)
for p in $(sed -n 's/^Requires.private: *//p' userspace/lib/drover.pc.in | tr , ' '); do
	libs="$libs $(pkg-config --static --libs "$p")"
done
functions >"$t/functions"
program >"$t/program.c"
declared=$(grep -c '^DROVER_API' $h)
found=$(wc -l <"$t/functions")
check "every function of drover.h was found" "$([ "$found" -ge 20 ] && [ "$found" = "$declared" ] ||
	echo "$found of $declared")"
check "a program over libdrover.a alone links and runs" "$(links shared -pie)"
check "and a static one" "$(links static -static)"
check "libdrover.so exports the functions of drover.h" "$(exported)"
finish
