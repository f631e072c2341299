// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * KVM's dirty log, bitmap or ring, for droverd's kvm-log tracker. A ring is emptied by
 * whoever finds it full and by log_sync(), into a bitmap a slot under log_lock.
 */
#include "vmm/vmm.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#include "base/bitmap.h"
#include "base/cleanup.h"

int log_start(void *opaque, struct drover_text *why)
{
	int r = vm_set_slots(opaque, KVM_MEM_LOG_DIRTY_PAGES);

	return r < 0 ? vm_err(why, r, "dirty log: start") : 0;
}

static void collect_ring(struct vm *vm, struct vcpu *v)
{
	uint64_t n = vm->opts.ring / sizeof(v->ring[0]);

	for (;;) {
		struct kvm_dirty_gfn *g = &v->ring[v->ring_next % n];
		uint32_t slot;

		/* The kernel publishes the entry by this flag, we hand it back by the other. */
		if (!(__atomic_load_n(&g->flags, __ATOMIC_ACQUIRE) & KVM_DIRTY_GFN_F_DIRTY))
			return;
		slot = g->slot & 0xffff;
		if (slot < vm->slots && g->offset < vm->slot[slot].len / 4096)
			drover_bit_set(vm->slot[slot].log, g->offset);
		__atomic_store_n(&g->flags, KVM_DIRTY_GFN_F_RESET, __ATOMIC_RELEASE);
		v->ring_next++;
	}
}

void log_collect(struct vm *vm)
{
	unsigned int i;
	DROVER_LOCK(&vm->log_lock);

	for (i = 0; vm->opts.ring && i < VCPUS; i++)
		collect_ring(vm, &vm->vcpu[i]);
	ioctl(vm->fd, KVM_RESET_DIRTY_RINGS, 0);
}

static int sync_bitmap(struct vm *vm, unsigned int slot)
{
	struct kvm_dirty_log log = { .slot = slot, .dirty_bitmap = vm->slot[slot].log };

	return ioctl(vm->fd, KVM_GET_DIRTY_LOG, &log) < 0 ? -errno : 0;
}

int log_sync(void *opaque, uint64_t *const *maps, struct drover_text *why)
{
	struct vm *vm = opaque;
	bool running = !vm->stop;
	unsigned int i;
	int r = 0;

	/* Out of the guest: what a CPU still holds in its own buffer comes out with it. */
	if (vm->opts.ring) {
		if (running)
			vm_stop(vm);
		log_collect(vm);
		if (running)
			vm_go(vm);
	}
	DROVER_LOCK(&vm->log_lock);
	for (i = 0; i < vm->slots; i++) {
		uint64_t pages = vm->slot[i].len / 4096;

		if (!vm->opts.ring)
			r = sync_bitmap(vm, i);
		if (r < 0)
			return vm_err(why, r, "dirty log: slot %u", i);
		drover_bitmap_or(maps[i], vm->slot[i].log, pages);
		drover_bitmap_clear_range(vm->slot[i].log, 0, pages);
	}
	return 0;
}

int log_stop(void *opaque, struct drover_text *why)
{
	int r = vm_set_slots(opaque, 0);

	return r < 0 ? vm_err(why, r, "dirty log: stop") : 0;
}
