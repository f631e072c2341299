#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# A file includes its own layer or a lower one of userspace/layers. A folder inside a layer is
# a room of its own: two rooms of one layer never include each other.
. "$(dirname "$0")/lint.sh"

# file layer/room included-layer/room
includes() {
	sources 'userspace/*.[ch]' 'userspace/*.def' | while read -r f; do
		[ -f "$f" ] && sed -n 's,^#include "\([a-z/0-9-]*\)/[a-z0-9-]*[.][hd][ef]*".*,\1,p' "$f" |
			sed "s|^|$f |"
	done
}

bad_includes() {
	includes | awk '
		BEGIN {
			while ((getline line < "userspace/layers") > 0) {
				if (line ~ /^#/)
					continue
				n = split(line, layer, " ")
				rank++
				for (i = 1; i <= n; i++)
					of[layer[i]] = rank
			}
		}
		$2 ~ /^linux/ { next }
		{
			split($1, p, "/"); mine = p[2]
			room = (p[4] != "") ? p[2] "/" p[3] : p[2]
			split($2, q, "/"); other = q[1]
			if (!(mine in of) || !(other in of))
				print $1 " includes " $2 "/: one of them is not in userspace/layers"
			else if (mine != other && of[other] >= of[mine])
				print $1 " includes " $2 "/, which is not below " mine "/"
			else if (q[2] != "" && room != $2 && !(mine == other && room == mine))
				print $1 " includes " $2 "/, the room of others"
		}'
}

# A layer opens its rooms to itself alone, and only as a whole: by a header in the layer.
orphans() {
	for d in userspace/*/; do
		d=${d#userspace/}
		grep -v '^#' userspace/layers | grep -qw "${d%/}" || echo "$d is in no line of userspace/layers"
	done
}

check "includes go down, never up nor sideways" "$(bad_includes)"
check "every folder is a layer" "$(orphans)"
finish
