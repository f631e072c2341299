#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Debian's ganeti-3.0, whose QMP client drives droverd in clients.t: downloaded and unpacked
# under build/ganeti, never installed. Does nothing when it is there.
dir=$(cd "$(dirname "$0")/../.." && pwd)/build/ganeti
mkdir -p "$dir" && exec 9>"$dir/lock" && flock 9 || exit 1
[ ! -e "$dir/done" ] || exit 0
die() { echo "ganeti-3.0: $1; is there a package mirror?" >&2; exit 1; }
apt-cache policy ganeti-3.0 | grep -q 'Candidate: [0-9]' || apt-get -qq update || die "apt-get update failed"
rm -f "$dir"/*.deb
(cd "$dir" && apt-get -qq -o APT::Sandbox::User=root download ganeti-3.0) || die "can't download it"
dpkg-deb -x "$dir"/*.deb "$dir/root" && : >"$dir/done" || die "can't unpack it"
