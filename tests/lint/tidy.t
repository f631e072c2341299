#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# make tidy is clean: clang-tidy as .clang-tidy has it, shellcheck as .shellcheckrc has it,
# and .editorconfig. clang-format is not asked: it would wreck the tables.
. "$(dirname "$0")/lint.sh"

# What a target prints, unless it succeeds. This make's own flags are not those of the
# one that runs us.
asks() {
	out=$(MAKEFLAGS='' MFLAGS='' ${MAKE:-make} -s -k -j"$(nproc)" B="$B" "$1" 2>&1) || {
		printf '%s\n' "$out" | grep -E ': (error|warning|note): ' | grep -v 'explicit to silence' ||
			printf '%s\n' "$out"
	}
}

texts() { sources | grep -vE '^LICENSES/|^tests/(fuzz|qmp)/corpus/|^Documentation/screens/'; }

blanks() { texts | xargs awk -f tests/lint/whitespace.awk; }

ends() {
	texts | while read -r f; do
		[ -z "$(tail -c 1 "$f")" ] || echo "$f: no newline at the end"
	done
}

check "there is clang-tidy" "$(command -v clang-tidy >/dev/null || echo "make deps-lint installs it")"
check "clang-tidy has nothing to say" "$(asks tidy-c)"
check "shellcheck has nothing to say" "$(asks tidy-scripts)"
check "indentation and blanks are as .editorconfig says" "$(blanks)"
check "every file ends with a newline" "$(ends)"
finish
