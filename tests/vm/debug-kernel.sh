#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# A kernel that complains, of the very source of Debian's: KASAN, lockdep, kmemleak, fault
# injection, as tests/vm/debug.config has it. Built once for a version and a config, with
# JOBS=2 compilers and the lowest priority; prints the directory with bzImage, build tree
# (linux) and modules (root). The first time takes 10 to 40 minutes.
. "$(dirname "$0")/lib.sh"
config=$top/tests/vm/debug.config

mkdir -p "$cache/debug" "$cache/debs" || exit 1
exec 9>"$cache/debug/lock" && flock 9 || exit 1
# The version of the kernel that the other tests run on, whatever is newest now.
abi=$(cat "$abi_of" 2>/dev/null) || die "no kernel: run tests/vm/fetch.sh"
version=$(cd "$cache/debs" && ls "linux-image-${abi}"_*.deb | tail -n 1 | cut -d _ -f 2)
series=$(echo "$abi" | cut -d . -f 1-2)
out=$cache/debug/$version-$(cksum <"$config" | cut -d ' ' -f 1)
[ ! -e "$out/done" ] || { echo "$out"; exit 0; }

deb=$cache/debs/linux-source-${series}_${version}_all.deb
if [ ! -s "$deb" ]; then
	(cd "$cache/debs" && apt-get -qq -o APT::Sandbox::User=root download \
		"linux-source-$series=$version" >&2) || die "can't download linux-source-$series"
fi
# Only one is kept: a build tree has a gigabyte.
for old in "$cache"/debug/*-*; do
	[ "$old" = "$out" ] || rm -rf "$old"
done
mkdir -p "$out" || exit 1
if [ ! -e "$out/linux/Makefile" ]; then
	dpkg-deb --fsys-tarfile "$deb" |
		tar -xO "./usr/src/linux-source-$series.tar.xz" >"$out/linux.tar.xz" &&
		mkdir -p "$out/linux" &&
		tar -C "$out/linux" --strip-components 1 -xJf "$out/linux.tar.xz" ||
		die "can't unpack $deb"
	rm "$out/linux.tar.xz"
fi
cd "$out/linux" || exit 1
make -s KCONFIG_ALLCONFIG="$config" allnoconfig >&2 || die "no .config"
# What Kconfig can't grant it drops without a word.
grep -E '^CONFIG_' "$config" | while read -r l; do
	case $l in
	*=n) ! grep -q "^${l%n}" .config ;;
	*) grep -qxF "$l" .config ;;
	esac || echo "$l"
done >"$out/lost"
[ ! -s "$out/lost" ] || die "not granted: $(tr '\n' ' ' <"$out/lost")"

echo "debug-kernel.sh: building $version in $out, see $out/log" >&2
nice -n 19 make -j "${JOBS:-2}" KCFLAGS=-w LOCALVERSION=-drover-debug bzImage modules \
	>"$out/log" 2>&1 || { tail -n 30 "$out/log" >&2; die "the kernel does not build"; }
PATH=$PATH:/sbin:/usr/sbin make -s INSTALL_MOD_PATH="$out/root" modules_install >>"$out/log" 2>&1 ||
	die "modules_install: see $out/log"
cp arch/x86/boot/bzImage "$out/bzImage" && cp include/config/kernel.release "$out/done" || exit 1
echo "$out"
