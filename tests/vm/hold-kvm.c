// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * hold-kvm PROGRAM [ARG...]: executes PROGRAM with an empty virtual machine left open, as
 * descriptor 9: who starts others closes it there, or they seem to have vCPUs.
 * The first machine of a kernel patches a branch into the scheduler (preempt_notifier_inc()),
 * and the last one patches it out again. QEMU's TCG with a thread per CPU has been seen to
 * run the int3 of such a patch after its end, which nobody expects then: the test guest
 * patches once, before its tests, and never again.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define HELD 9

int main(int argc, char **argv)
{
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	int vm = kvm < 0 ? -1 : ioctl(kvm, KVM_CREATE_VM, 0);

	if (argc < 2)
		return 2;
	/* KVM's own descriptor ends with exec(). */
	if (vm < 0 || dup2(vm, HELD) < 0)
		printf("# hold-kvm: %s\n", strerror(errno));
	execv(argv[1], argv + 1);
	printf("# hold-kvm: %s: %s\n", argv[1], strerror(errno));
	return 1;
}
