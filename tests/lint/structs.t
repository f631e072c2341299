#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# The shape of the engine: sizes of structs, who touches which member, circles. structs.py has
# the targets, structs.allow the exceptions with their reasons.
. "$(dirname "$0")/lint.sh"

check "structs, members, calls and includes are within their targets" \
	"$(PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 tests/lint/structs.py --check 2>&1)"
finish
