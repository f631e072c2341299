/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef DROVER_VM_KVM_VM_H
#define DROVER_VM_KVM_VM_H

/*
 * A virtual machine as small as they get: flat 32-bit protected mode without page tables,
 * no devices, a program of a few instructions that ends with hlt. Its programs take a
 * table of the addresses they touch, so a test has any order it likes.
 */
#include <linux/kvm.h>
#include <pthread.h>

#include "kselftest.h"

#define KVM_VM_CPUS 2u
#define KVM_VM_SLOT_TABLES 0u
#define KVM_VM_SLOT_DATA 1u

/* Guest physical: program, then for each vCPU a page of addresses and one of results. */
#define KVM_VM_GPA 0x1000u
#define KVM_VM_TABLES (1 + 2 * KVM_VM_CPUS)
#define KVM_VM_DATA_GPA 0x100000u
#define KVM_VM_TOUCH_MAX (4096u / 4)

struct kvm_vm {
	int kvm, fd;
	uint8_t *tables;
	uint8_t *data;
	uint64_t npages;
	struct kvm_vm_cpu {
		int fd;
		struct kvm_run *run;
		uint32_t *address, *result;
		uint32_t gpa;           /* of @address; @result follows */
	} cpu[KVM_VM_CPUS];
};

/*
 * What a vCPU runs.
 *	read	the first word of each of %ecx pages at the addresses from %esi on; to %edi
 *	write	%ebx to the second word of these
 *	race	adds 1 to the third word of random pages, of the %edi (a power of two) from
 *		%ebx on, until the word at %esi isn't 0; %eax: the random number, %ebp: how often
 */
extern const uint8_t kvm_vm_code[], kvm_vm_read[], kvm_vm_write[], kvm_vm_race[], kvm_vm_code_end[];

__asm__(
".pushsection .rodata\n.code32\n"
"kvm_vm_code:\n"
"kvm_vm_read:\n"
"	lodsl\n	mov (%eax), %eax\n	stosl\n	dec %ecx\n	jnz kvm_vm_read\n	hlt\n"
"kvm_vm_write:\n"
"	lodsl\n	mov %ebx, 4(%eax)\n	dec %ecx\n	jnz kvm_vm_write\n	hlt\n"
"kvm_vm_race:\n"
"	dec %edi\n"
"1:	imul $1664525, %eax, %eax\n	add $1013904223, %eax\n"
"	mov %eax, %edx\n	shr $16, %edx\n	and %edi, %edx\n	shl $12, %edx\n"
"	incl 8(%edx,%ebx)\n"
"	inc %ebp\n	cmpl $0, (%esi)\n	je 1b\n	hlt\n"
"kvm_vm_code_end:\n"
".code64\n.popsection\n"
);

static inline bool kvm_vm_slot(struct kvm_vm *vm, uint32_t flags)
{
	struct kvm_userspace_memory_region r = {
		.slot = KVM_VM_SLOT_DATA, .flags = flags, .guest_phys_addr = KVM_VM_DATA_GPA,
		.memory_size = vm->npages * KSFT_PAGE, .userspace_addr = (uintptr_t)vm->data,
	};

	return ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION, &r) == 0;
}

static inline struct kvm_segment kvm_vm_segment(uint16_t selector, uint8_t type)
{
	return (struct kvm_segment){
		.limit = 0xffffffff, .selector = selector, .type = type, .present = 1, .s = 1,
		.g = 1, .db = 1,
	};
}

static inline void kvm_vm_add_cpu(struct kvm_vm *vm, unsigned int i)
{
	int size = ioctl(vm->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	struct kvm_vm_cpu *c = &vm->cpu[i];
	struct kvm_sregs s;

	c->fd = ioctl(vm->fd, KVM_CREATE_VCPU, i);
	if (c->fd < 0 || size < (int)sizeof(*c->run))
		ksft_die("vCPU %u", i);
	c->run = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, c->fd, 0);
	if (c->run == MAP_FAILED || ioctl(c->fd, KVM_GET_SREGS, &s))
		ksft_die("vCPU %u: registers", i);
	s.ds = s.es = s.fs = s.gs = s.ss = kvm_vm_segment(16, 3);
	s.cs = kvm_vm_segment(8, 11);
	s.cr0 = 1;
	if (ioctl(c->fd, KVM_SET_SREGS, &s))
		ksft_die("vCPU %u: protected mode", i);
	c->address = (uint32_t *)(vm->tables + (1 + 2 * i) * KSFT_PAGE);
	c->result = c->address + KSFT_PAGE / 4;
	c->gpa = KVM_VM_GPA + (1 + 2 * i) * (uint32_t)KSFT_PAGE;
}

/* A machine whose RAM is @npages at @data. A test can't go on without one. */
static inline void kvm_vm_new(struct kvm_vm *vm, void *data, uint64_t npages)
{
	struct kvm_userspace_memory_region r = {
		.slot = KVM_VM_SLOT_TABLES, .guest_phys_addr = KVM_VM_GPA,
		.memory_size = KVM_VM_TABLES * KSFT_PAGE,
	};
	unsigned int i;

	vm->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	vm->fd = vm->kvm < 0 ? -1 : ioctl(vm->kvm, KVM_CREATE_VM, 0);
	if (vm->fd < 0)
		ksft_die("/dev/kvm");
	vm->tables = mmap(NULL, KVM_VM_TABLES * KSFT_PAGE, PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (vm->tables == MAP_FAILED)
		ksft_die("RAM for the program");
	memcpy(vm->tables, kvm_vm_code, (size_t)(kvm_vm_code_end - kvm_vm_code));
	r.userspace_addr = (uintptr_t)vm->tables;
	vm->data = data;
	vm->npages = npages;
	if (ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION, &r) || !kvm_vm_slot(vm, 0))
		ksft_die("memory slots");
	for (i = 0; i < KVM_VM_CPUS; i++)
		kvm_vm_add_cpu(vm, i);
}

static inline void kvm_vm_free(struct kvm_vm *vm)
{
	int size = ioctl(vm->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	unsigned int i;

	for (i = 0; i < KVM_VM_CPUS; i++) {
		munmap(vm->cpu[i].run, (size_t)size);
		close(vm->cpu[i].fd);
	}
	close(vm->fd);
	close(vm->kvm);
	munmap(vm->tables, KVM_VM_TABLES * KSFT_PAGE);
}

/* Sets the registers; kvm_vm_go() runs. */
static inline void kvm_vm_load(struct kvm_vm_cpu *c, const uint8_t *program, struct kvm_regs r)
{
	r.rip = KVM_VM_GPA + (uint64_t)(program - kvm_vm_code);
	r.rflags = 2;
	if (ioctl(c->fd, KVM_SET_REGS, &r))
		ksft_die("vCPU registers");
}

/* Run until hlt. 0, a negative errno, or KVM's reason for another exit. */
static inline int kvm_vm_go(struct kvm_vm_cpu *c)
{
	if (ioctl(c->fd, KVM_RUN, 0) < 0)
		return -errno;
	return c->run->exit_reason == KVM_EXIT_HLT ? 0 : (int)c->run->exit_reason;
}

/* Which pages a program touches: @n of them from the table @page. */
static inline void kvm_vm_pages(struct kvm_vm_cpu *c, const unsigned int *page, unsigned int n)
{
	unsigned int i;

	for (i = 0; i < n && i < KVM_VM_TOUCH_MAX; i++) {
		c->address[i] = KVM_VM_DATA_GPA + page[i] * (uint32_t)KSFT_PAGE;
		c->result[i] = 0;
	}
}

/* One after the other: what they read is in c->result. */
static inline int kvm_vm_touch(struct kvm_vm_cpu *c, const uint8_t *program,
			       const unsigned int *page, unsigned int n, uint32_t value)
{
	kvm_vm_pages(c, page, n);
	kvm_vm_load(c, program, (struct kvm_regs){
		.rsi = c->gpa, .rdi = c->gpa + KSFT_PAGE, .rcx = n, .rbx = value });
	return kvm_vm_go(c);
}

/* What vCPUs wrote since the last call, as KVM says; overwrites @map. */
static inline int kvm_vm_log(struct kvm_vm *vm, uint64_t *map)
{
	struct kvm_dirty_log log = { .slot = KVM_VM_SLOT_DATA, .dirty_bitmap = map };

	return ioctl(vm->fd, KVM_GET_DIRTY_LOG, &log) < 0 ? -errno : 0;
}

#endif
