#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# drover.ko for the test guest, outside of the source tree and with BTF; prints its path.
#	build.sh	as it is shipped
#	build.sh debug	with the switches that break it on purpose
. "$(dirname "$0")/lib.sh"
kernel
out=$vm/kmod-$release${1:+-$1}
[ -e Kbuild ] || die "there is no Kbuild"

# Before Linux 6.13 Kbuild puts objects beside sources, so it gets sources of its own.
mkdir -p "$out" || exit 1
# Two runs of one clone may want it at the same time.
exec 9>"$out.lock" && flock 9 || exit 1
tar -cf - Kbuild VERSION kmod uapi | tar -C "$out" -xf - || exit 1
(cd "$out" && find kmod uapi -name '*.[ch]') | while read -r f; do
	[ -e "$f" ] || rm "$out/$f"
done
make -s -C "$kdir" M="$out" W=1 ${1:+DROVER_DEBUG=1} KCFLAGS=-Werror modules \
	>"$out/log" 2>&1 || { cat "$out/log" >&2; die "drover.ko does not build"; }
# Without the kernel's own image Kbuild leaves BTF out and says so; nothing else is fine.
noise='Skipping BTF|^make|pahole version|the compiler differs|The kernel was built by'
noise="$noise|You are using|^[[:space:]]*$|pahole is not available"
if grep -Ev "$noise" "$out/log" >&2; then die "warnings"; fi
# What sparse says of the kernel's own headers is not ours to mend.
if [ -z "$1" ] && command -v sparse >/dev/null; then
	make -s -C "$kdir" M="$out" C=2 CF=-D__CHECK_ENDIAN__ modules 2>&1 |
		grep "^$out/kmod/.*\(warning\|error\)" >&2 && die "sparse warns"
fi
ko=$(find "$out" -name drover.ko | head -n 1)
[ -n "$ko" ] || die "there is no drover.ko"

if command -v pahole >/dev/null && grep -qx CONFIG_DEBUG_INFO_BTF=y "$kdir/.config"; then
	vmlinux=$cache/vmlinux-$(cksum <"$vmlinuz" | cut -d ' ' -f 1)
	[ -s "$vmlinux" ] || python3 tests/vm/vmlinux.py "$vmlinuz" "$vmlinux" ||
		die "can't unpack $vmlinuz"
	# pahole adds a section by a tool that it calls; LLVM's, unless told as Kbuild tells it.
	LLVM_OBJCOPY=objcopy pahole -J --btf_base "$vmlinux" "$ko" || die "no BTF for $ko"
fi
echo "$ko"
