#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Write the generated pages: generate.sh BUILD-DIR DOCUMENTATION-DIR
set -e
b=$1 d=$2
mkdir -p "$d/generated"
[ ! -x "$b/tests/docs/gen-config" ] || "$b/tests/docs/gen-config" > "$d/migration-config.rst"
if [ -x "$b/tests/docs/gen-protocol" ]; then
	for page in messages phases states statistics tracepoints; do
		"$b/tests/docs/gen-protocol" "$page" > "$d/generated/$page.rst"
	done
fi
if [ -x "$b/tests/docs/gen-qmp" ]; then
	"$b/tests/docs/gen-qmp" > "$d/generated/qmp.rst"
	"$b/tests/docs/gen-qmp" jobs > "$d/generated/jobs.rst"
fi
PYTHONDONTWRITEBYTECODE=1 python3 "$(dirname "$0")/gen-differences.py" \
	> "$d/generated/qmp-differences.rst"
[ ! -x "$b/tests/docs/gen-agent" ] || "$b/tests/docs/gen-agent" > "$d/generated/agent.rst"
if [ -x "$b/tests/docs/gen-owner" ]; then
	for page in states matrix vmm source destination answers advice words; do
		"$b/tests/docs/gen-owner" "$page" > "$d/generated/owner-$page.rst"
	done
fi
if [ -x "$b/tests/docs/gen-ctl" ]; then
	for table in verbs options goals; do
		"$b/tests/docs/gen-ctl" "$table" > "$d/generated/ctl-$table.rst"
	done
fi
