#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Runs tests in a kernel of their own, under QEMU without KVM: run.sh [-s SET] [-c] [TEST...]
#	TEST	a program tests/vm/TEST.c or a script tests/vm/TEST.sh
#	-s SET	all tests with the line "set: SET"; "default" are those that have no such line,
#		which also run without it and without a TEST. May be given more than once
#	-c	controls: each test with a switch of a debug build that must break it
# Prints one TAP stream. kselftest.h says what is read from a test's comments.
# Environment: what lib.sh says, TIMEOUT_SCALE (1), VM_LIMIT (seconds in all, 900),
# VM_MEMORY (MiB, 1024), VM_CPUS (2, on two nodes), VM_KEEP=1 shows the guest's console,
# VM_APPEND more for the kernel's command line, VM_QEMU more options of QEMU (-d int -D FILE),
# VM_ACCEL QEMU's accelerator. To count instructions instead of time, on a busy host:
# VM_ACCEL=tcg,thread=single VM_QEMU='-icount shift=0'.
. "$(dirname "$0")/lib.sh"
sets='' control=
while getopts s:c o; do
	case $o in
	s) sets="$sets $OPTARG" ;;
	c) control=debug ;;
	*) exit 2 ;;
	esac
done
shift $((OPTIND - 1))

# said FILE WORD: what comments of a test say after WORD
said() { sed -n "s|[[:space:]]*\*/$||; s|^[ #*/]*$2: ||p" "$1"; }
source_of() {
	for f in "tests/vm/$1.c" "tests/vm/$1.sh"; do [ -e "$f" ] && echo "$f" && return; done
	die "$1: no such test"
}
# Is this kernel at least what the test says?
recent() {
	since=$(said "$1" since)
	[ -z "$since" ] || [ "$(printf '%s\n' "$since" "$release" | sort -V | head -n 1)" = "$since" ]
}

sh tests/vm/fetch.sh >&2 || die "no kernel"
kernel
if [ $# = 0 ]; then
	for f in $(grep -l 'return ksft_end()' tests/vm/*.c) \
		$(grep -l '^# Runs in the test guest' tests/vm/*.sh); do
		t=$(basename "$f")
		set_of=$(said "$f" set)
		case " ${sets:-default} " in
		*" ${set_of:-default} "*) ! recent "$f" || set -- "$@" "${t%.*}" ;;
		esac
	done
fi
[ $# -gt 0 ] || die "no tests"
case " $* " in *" -"*) die "options come first" ;; esac

work=$(mktemp -d "$vm/run.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
rd=$work/rd
mkdir -p "$rd/bin" "$rd/sbin" "$rd/tests" "$rd/proc" "$rd/sys" "$rd/dev" "$rd/tmp" "$rd/lib/host" \
	"$rd/lib64" "$rd/run" "$rd/etc"
cp tests/vm/init "$rd/init" && chmod 755 "$rd/init"
cp "$root/bin/busybox" "$rd/bin/" && ln -s busybox "$rd/bin/sh" || exit 1
echo 'root:x:0:0::/tmp:/bin/sh' >"$rd/etc/passwd"
if [ -e Kbuild ]; then
	ko=$(sh tests/vm/build.sh $control) || exit 1
	cp "$ko" "$rd/drover.ko"
fi

# A program with the libraries it names, and their loader where it names it.
bring() {
	cp -L "$1" "$rd/tests/" || exit 1
	chmod 755 "$rd/tests/$(basename "$1")"
	ldd "$1" 2>/dev/null | sed -n 's/.*=> \(\/[^ ]*\).*/\1/p; s/^[[:space:]]*\(\/[^ ]*\) (.*/\1/p' |
		while read -r l; do
			case $l in
			*/ld-linux*) cp -Lu "$l" "$rd/lib64/" ;;
			*) cp -Lu "$l" "$rd/lib/host/" ;;
			esac
		done
}
find_program() {
	for f in "$vm/bin/$1" "$B/$1" "$1" "$(command -v "$1")"; do
		[ -f "$f" ] && echo "$f" && return
	done
	die "$1 is not built"
}

needs=
bring "$(find_program hold-kvm)"
: >"$rd/tests/list"
for t; do
	f=$(source_of "$t") || exit 1
	case $f in
	*.c) p=$(find_program "$t") || exit 1; bring "$p" ;;
	*) cp "$f" "$rd/tests/$t" && chmod 755 "$rd/tests/$t" ;;
	esac
	for x in $(said "$f" files); do p=$(find_program "$x") || exit 1; bring "$p"; done
	needs="$needs $(said "$f" needs | tr '\n' ' ')"
	seconds=$(($(said "$f" timeout | grep . || echo 30) * ${TIMEOUT_SCALE:-1}))
	if [ -z "$control" ]; then
		echo "$t $seconds 0" >>"$rd/tests/list"
	else
		said "$f" control | while read -r switch text; do
			echo "$t $seconds $switch" >>"$rd/tests/list"
			echo "$t $switch $text" >>"$work/controls"
		done
	fi
done
for m in $needs; do
	PATH=$PATH:/sbin:/usr/sbin modprobe -d "$modules" -S "$release" --show-depends "$m" |
		sed -n 's/^insmod //p' | cut -d ' ' -f 1
done | awk '!seen[$0]++' >"$work/modules"
while read -r m; do
	cp "$m" "$rd/lib/" && echo "/lib/$(basename "$m")"
done <"$work/modules" >"$rd/modules.list"

python3 tests/vm/boot.py --kernel "$vmlinuz" --root "$rd" --limit "${VM_LIMIT:-900}" \
	--tap "$vm/tap" \
	--memory "${VM_MEMORY:-1024}" \
	${control:+--controls "$work/controls"} ${VM_KEEP:+--console}
