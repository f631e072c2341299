#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Subjects of the last 30 commits: "area: summary", at most 72 columns. Commits that are older
# than this test are left alone. A shallow clone has fewer commits: those behind its first.
. "$(dirname "$0")/lint.sh"

last=30

# A merge's subject is git's, and so is that of what takes a commit back.
subjects() {
	git log --no-merges -"$last" --format='%h %s' "$first..HEAD" |
		grep -v '^[0-9a-f]* Revert "'
}

long() {
	subjects | while read -r commit subject; do
		columns=$(printf '%s' "$subject" | wc -m)
		[ "$columns" -le 72 ] || echo "$commit has $columns columns: $subject"
	done
}

shapeless() {
	subjects | grep -vE '^[0-9a-f]+ [A-Za-z0-9][A-Za-z0-9_./-]*(, [A-Za-z0-9_./-]+)*: [^ ].*[^. ]$'
}

if ! git rev-parse -q --verify HEAD >/dev/null 2>&1; then
	echo "1..0 # SKIP this is not a git repository: there are no commits to read"
	exit 0
fi
export LC_ALL=C.UTF-8
# Where this file came in; in a shallow clone that may be its first commit.
first=$(git log --diff-filter=A --format=%H -- tests/lint/commits.t | tail -n 1)
first=${first:-HEAD}
echo "# $(subjects | wc -l) commits since $(git log -1 --format='%h of %cs' "$first")$(
	[ "$(git rev-parse --is-shallow-repository)" = false ] || echo ', in a shallow clone')"
check "subjects have at most 72 columns" "$(long)"
check "subjects are \"area: summary\", without a full stop" "$(shapeless)"
finish
