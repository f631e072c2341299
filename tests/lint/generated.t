#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# The generated pages are what the tables say now.
. "$(dirname "$0")/lint.sh"

stale() {
	tmp=$(mktemp -d) || exit 1
	sh tests/docs/generate.sh "$B" "$tmp"
	(cd "$tmp" && find . -type f) | while read -r f; do
		cmp -s "$tmp/$f" "Documentation/$f" || echo "Documentation/$f: run make docs-generated"
	done
	rm -rf "$tmp"
}

pages() {
	for f in Documentation/*.rst; do
		rst2html --halt=5 "$f" /dev/null 2>&1 | head -n 3
	done
}

check "generated pages are fresh" "$(stale)"
check "documentation is valid rst" "$(pages)"
finish
