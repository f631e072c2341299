#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Debian's generic kernel, its headers and a static busybox: downloaded and unpacked under
# build/vm/cache (or VM_CACHE), never installed. Does nothing when they are there. VM_ABI
# may also be a series (6.12): the newest of it that the package lists have.
. "$(dirname "$0")/lib.sh"

# One at a time: clones may share the cache.
exec 9>"$cache/lock" && flock 9 || exit 1
[ ! -e "$abi_of" ] || exit 0

candidate() { apt-cache policy "$1" 2>/dev/null | sed -n 's/^ *Candidate: //p' | grep -v none; }
depends() { apt-cache depends "$1" 2>/dev/null | sed -n 's/^ *Depends: //p'; }

[ -n "$(candidate linux-image-amd64)" ] || apt-get -qq update || die "apt-get update failed"
case ${VM_ABI:-} in
*-*) abi=$VM_ABI ;;
*) abi=$(depends "linux-image${VM_ABI:+-$VM_ABI}-amd64" | sed -n 's/^linux-image-//p' | tail -n 1) ;;
esac
headers=linux-headers-$abi
[ -n "$abi" ] && [ -n "$(depends "$headers")" ] || die "no kernel in the package lists"
mkdir -p "$cache/debs" "$root" || exit 1

# An unpacked copy of each, of the very version the kernel has.
for p in "linux-image-$abi" "$headers" busybox-static \
	$(depends "$headers" | grep -E '^linux-(headers|kbuild)'); do
	[ -n "$(candidate "$p")" ] || die "$p is not in the package lists"
	v=$(candidate "$p" | sed 's/:/%3a/')
	deb=$(ls "$cache/debs/${p}_${v}"_*.deb 2>/dev/null | head -n 1)
	if [ -z "$deb" ]; then
		(cd "$cache/debs" && apt-get -qq -o APT::Sandbox::User=root download "$p") || die "can't download $p"
		deb=$(ls "$cache/debs/${p}_${v}"_*.deb) || die "$p: not what was asked for"
	fi
	dpkg-deb -x "$deb" "$root" || die "can't unpack $deb"
done

# The headers name each other by absolute paths of an installed system.
h=$root/usr/src/$headers
sed "s|^include /usr/src/|include $root/usr/src/|" "$h/Makefile" >"$h/Makefile.new" &&
	mv "$h/Makefile.new" "$h/Makefile" || exit 1
for l in build source; do
	to=$(readlink "$root/lib/modules/$abi/$l") || continue
	case $to in /usr/src/*) ln -sfn "$root$to" "$root/lib/modules/$abi/$l" ;; esac
done
for s in scripts/mod/modpost tools/objtool/objtool; do
	[ -e "$h/$s" ] || die "$h/$s is missing"
done
PATH=$PATH:/sbin:/usr/sbin depmod -b "$root" "$abi" || exit 1
echo "$abi" >"$abi_of"
echo "linux $abi in $cache"
