// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The guest before its first instruction: page tables (identity, 2 MiB, for CPL 3),
 * payload, parameters, and data pages whose content is a function of page and version,
 * the same one the payload computes. A destination gets none of this: it all comes with
 * the migration.
 */
#include "vmm/vmm.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

/* Present, writable, user; accessed and dirty already, so that the CPU never writes them. */
#define PTE_TABLE 0x67ull
#define PTE_LARGE 0xe7ull

#define BALLOON_EVERY 32u       /* heartbeats */
#define TOUCHES 256u            /* pages a heartbeat */

static uint64_t mix(uint64_t page, uint32_t version, uint64_t seed)
{
	uint64_t x = ((page << 32 | version) + seed) * MIX_1;

	x = (x ^ x >> 32) * MIX_2;
	return x ^ x >> 29;
}

static uint64_t first_word(uint64_t page, uint32_t version, uint64_t seed)
{
	return version ? mix(page, version, seed) | 1 : 0;
}

static uint64_t next_word(uint64_t w)
{
	w *= CONTENT;
	return w << 23 | w >> 41;
}

void guest_page(uint8_t *page, uint64_t index, uint32_t version, uint64_t seed)
{
	uint64_t *p = (uint64_t *)page, w = first_word(index, version, seed);
	unsigned int i;

	for (i = 0; i < 512; i++, w = next_word(w))
		p[i] = w;
}

bool guest_page_ok(const uint8_t *page, uint64_t index, uint32_t version, uint64_t seed)
{
	uint64_t w = first_word(index, version, seed);
	const uint64_t *p = (const uint64_t *)page;
	unsigned int i;

	for (i = 0; i < 512; i++, w = next_word(w))
		if (p[i] != w)
			return false;
	return true;
}

void vm_share(const struct vm *vm, unsigned int vcpu, uint64_t *first, uint64_t *n)
{
	uint64_t begin = (LOW_END + vm_pages(vm) * 4 + 4095) / 4096;
	uint64_t all = vm_pages(vm) - begin, each = all / VCPUS;

	*first = begin + vcpu * each;
	*n = vcpu == VCPUS - 1 ? all - vcpu * each : each;
}

/* What %r15 must be: the sum over the version table of a vCPU's pages. */
uint64_t guest_digest(const struct vm *vm, unsigned int vcpu)
{
	const uint32_t *version = vm_versions(vm);
	uint64_t i, first, n, sum = 0;

	vm_share(vm, vcpu, &first, &n);
	for (i = first; i < first + n; i++)
		sum += mix(i, version[i], vm->dev.seed);
	return sum;
}

static void fill_tables(uint8_t *ram, uint64_t end)
{
	uint64_t gpa, *pml4 = (uint64_t *)(ram + GPA_TABLES), *pdpt = pml4 + 512, *pd = pdpt + 512;

	pml4[0] = (GPA_TABLES + 0x1000) | PTE_TABLE;
	for (gpa = 0; gpa < end; gpa += 1ull << 30)
		pdpt[gpa >> 30] = (GPA_TABLES + 0x2000 + (gpa >> 30) * 4096) | PTE_TABLE;
	for (gpa = 0; gpa < end; gpa += 2ull << 20)
		pd[gpa >> 21] = gpa | PTE_LARGE;
}

static void fill_params(struct vm *vm, unsigned int vcpu)
{
	struct payload_params *p = (void *)(vm->slot[0].host + GPA_PARAMS + (size_t)vcpu * 4096);
	unsigned int i;

	vm_share(vm, vcpu, &p->first, &p->count);
	p->versions = LOW_END;
	p->seed = vm->dev.seed;
	/* The last eighth of the first vCPU's pages is what it may give up. */
	if (vm->dev.balloon && !vcpu) {
		p->balloon_chunks = p->count / 8 / BALLOON_PAGES;
		p->balloon_first = p->first + p->count - p->balloon_chunks * BALLOON_PAGES;
		p->balloon_every = p->balloon_chunks ? BALLOON_EVERY : 0;
	}
	p->touch = vm->opts.touch;
	p->touches = vm->opts.touch == TOUCH_NONE ? 0 : TOUCHES;
	p->avx = __builtin_cpu_supports("avx2") ? 1 : 0;
	for (i = 0; i < 16; i++)
		p->xmm[i / 2][i % 2] = mix(i, 1, MIX_2);
	for (i = 0; i < 16; i++)
		p->ymm[i / 4][i % 4] = mix(i, 2, MIX_2);
}

void guest_fill(struct vm *vm)
{
	uint8_t *ram = vm->slot[0].host;
	uint32_t *version = vm_versions(vm);
	uint64_t i, first, n;
	unsigned int c;

	fill_tables(ram, vm->slot[1].gpa + vm->slot[1].len);
	memcpy(ram + GPA_PAYLOAD, payload_start, (size_t)(payload_end - payload_start));
	memset(ram + GPA_FOREIGN, 0x5a, 4096);
	for (c = 0; c < VCPUS; c++) {
		fill_params(vm, c);
		vm_share(vm, c, &first, &n);
		for (i = first; i < first + n; i++) {
			/* An eighth stays as it is born: holes, for the zero pages. */
			if (i % 8 == 7)
				continue;
			version[i] = 1;
			guest_page(ram + i * 4096, i, 1, vm->dev.seed);
		}
	}
	for (i = 0; i < LOW_PAGES; i++)
		vm->dev.low[i] = check_hash(ram + i * 4096);
}

static struct kvm_segment segment(uint16_t selector, uint8_t type)
{
	return (struct kvm_segment){
		.limit = 0xffffffff, .selector = selector, .type = type, .present = 1,
		.dpl = 3, .s = 1, .g = 1, .db = type == 3, .l = type == 11,
	};
}

/*
 * Long mode at CPL 3, where also a host without hardware virtualisation runs a guest at
 * native speed; IOPL 3 makes in and out exit to the VMM all the same.
 */
int guest_boot(struct vm *vm, struct vcpu *v, struct drover_text *why)
{
	struct kvm_sregs s;
	struct kvm_xcrs x = { .nr_xcrs = 1 };
	struct kvm_regs r = {
		.rip = GPA_PAYLOAD, .rflags = 0x3002,
		.r12 = vm->dev.seed * MIX_1 + v->index + 1,
		.r13 = GPA_PARAMS + (uint64_t)v->index * 4096, .r15 = guest_digest(vm, v->index),
	};

	if (ioctl(v->fd, KVM_GET_SREGS, &s) < 0)
		return vm_err(why, -errno, "vcpu %u: get sregs", v->index);
	s.ds = s.es = s.fs = s.gs = s.ss = segment(0x2b, 3);
	s.cs = segment(0x33, 11);
	s.cr0 = 0x80050033;
	s.cr3 = GPA_TABLES;
	s.cr4 = 0x620 | (__builtin_cpu_supports("avx2") ? 0x40000 : 0);
	s.efer = 0x500;
	if (ioctl(v->fd, KVM_SET_SREGS, &s) < 0)
		return vm_err(why, -errno, "vcpu %u: set sregs", v->index);
	x.xcrs[0].value = 7;
	if (__builtin_cpu_supports("avx2") && ioctl(v->fd, KVM_SET_XCRS, &x) < 0)
		return vm_err(why, -errno, "vcpu %u: set xcrs", v->index);
	if (!r.r12)
		r.r12 = 1;
	if (ioctl(v->fd, KVM_SET_REGS, &r) < 0)
		return vm_err(why, -errno, "vcpu %u: set regs", v->index);
	return 0;
}
