# SPDX-License-Identifier: GPL-2.0-or-later
# Sourced by the scripts of the test bed: where things are. Run from anywhere.
#	B		build directory, as for make
#	VM_CACHE	packages, unpacked; several clones may share one
#	VM_ABI		the kernel, as Debian names it, or a series: 6.12; default: Debian's own
#	VM_KERNEL, VM_KDIR, VM_MODULES	another kernel: its image, its build tree, and where
#			its lib/modules is
cd "$(dirname "$0")/../.." || exit 1
top=$(pwd)
B=${B:-build}
vm=$top/$B/vm
cache=${VM_CACHE:-$vm/cache}
mkdir -p "$vm" "$cache" || exit 1
cache=$(cd "$cache" && pwd)
root=$cache/root
# Which kernel a VM_ABI stands for, once it is unpacked.
abi_of=$cache/abi${VM_ABI:+-$VM_ABI}

die() { echo "$(basename "$0"): $*" >&2; exit 1; }

# After fetch.sh: the kernel, its modules and its headers.
kernel() {
	abi=$(cat "$abi_of" 2>/dev/null)
	[ -n "$abi" ] || die "no kernel: run tests/vm/fetch.sh"
	vmlinuz=${VM_KERNEL:-$root/boot/vmlinuz-$abi}
	kdir=${VM_KDIR:-$root/usr/src/linux-headers-$abi}
	modules=${VM_MODULES:-$root}
	# Not include/config/kernel.release: Debian's packages have another name than that.
	release=$(sed -n 's/.*UTS_RELEASE "\(.*\)"/\1/p' "$kdir/include/generated/utsrelease.h")
	[ -n "$release" ] || die "$kdir is no build tree"
}
