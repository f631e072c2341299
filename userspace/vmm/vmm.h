/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef DROVER_VMM_VMM_H
#define DROVER_VMM_VMM_H

#include <linux/kvm.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "lib/drover.h"
#include "vmm/boot.h"

/*
 * A reference VMM: two vCPUs and a guest that proves its own integrity. Guest RAM is two
 * blocks: "ram0" from address 0 (page tables, payload, version table, data pages) and
 * "device" above it, which only the VMM's own device thread writes. With a disk there is a
 * third, "disk", of its buffers.
 */
#define SLOTS_MAX 3u
#define SLOT_DISK 2u

struct vmm_opts {
	const char *agent, *heartbeat, *foreign, *share;
	const char *region;             /* "": without a name; NULL: none */
	uint64_t mem, dirty, seed, ring;
	uint32_t touch;                 /* TOUCH_* */
	bool incoming, balloon, log;
	struct disk_opts disk;
};

struct slot {
	const char *name;
	uint64_t gpa, len;
	int fd;
	uint64_t off;                   /* in the file */
	uint8_t *host;
	uint64_t *log;                  /* dirty ring: collected, not yet handed over */
};

struct vcpu {
	struct vm *vm;
	unsigned int index;
	int fd;
	struct kvm_run *run;
	pthread_t thread;
	struct kvm_dirty_gfn *ring;
	uint32_t ring_next;
	uint64_t tick, left;            /* pacing: ns, and the fraction of a page owed */
	uint32_t beats, moved;          /* heartbeats: the last one, and seen since a move */
	bool dead;
};

/*
 * Who stops whom: @stop parks vCPUs, device and disk threads wherever they are (PAUSE); @soft
 * parks them between two pages, so that the checker sees no half-written one. @missing:
 * pages have not arrived (postcopy), the checker waits and the balloon punches nothing.
 */
struct vm {
	struct vmm_opts opts;
	struct drover_agent *agent;     /* the main thread's */
	int kvm_fd, fd, notify_fd, disk_fd;
	unsigned int slots;
	struct slot slot[SLOTS_MAX];
	struct vcpu vcpu[VCPUS];
	struct kvm_msrs *msrs;          /* the indices that can be read and set */
	pthread_t device, checker;
	unsigned int threads;           /* started, for vm_free */
	pthread_t disk[DISK_THREADS_MAX];
	unsigned int disk_threads;      /* started */
	FILE *heartbeat;

	pthread_mutex_t log_lock;       /* dirty rings; taken before @lock, never after */
	pthread_mutex_t lock;           /* all below */
	pthread_cond_t cond;
	bool stop, soft, quit, checking, migrated, foreign_done, missing;
	unsigned int parked, soft_parked, throttle;
	struct device_state dev;
	struct verdict_state v;
};

static inline uint64_t vm_pages(const struct vm *vm)
{
	return vm->slot[0].len / 4096;
}

/* Who parks: vCPUs, the device thread, the disk's. */
static inline unsigned int vm_parkers(const struct vm *vm)
{
	return VCPUS + 1 + vm->disk_threads;
}

static inline uint32_t *vm_versions(const struct vm *vm)
{
	return (uint32_t *)(vm->slot[0].host + LOW_END);
}

/* main.c */
bool parse_size(const char *s, uint64_t max, uint64_t *ret);

uint64_t now_ns(void);
int vm_err(struct drover_text *why, int r, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* vm.c: 0 or a negative errno; -EOPNOTSUPP: no usable KVM, and @why says why */
int vm_new(struct vm *vm, const struct vmm_opts *opts, struct drover_text *why);
void vm_free(struct vm *vm);
int vm_set_slots(struct vm *vm, uint32_t flags);

/* run.c */
int vm_start_threads(struct vm *vm, struct drover_text *why);
void vm_stop(struct vm *vm);
void vm_go(struct vm *vm);
/* All threads are to end; vm_free() waits for them. */
void vm_quit(struct vm *vm);
void vm_missing(struct vm *vm, bool missing);
/* Wait, under @lock, until @deadline (0: none) or a broadcast. */
void vm_wait(struct vm *vm, uint64_t deadline);
/* Where a thread lets vm_stop() in; @v: the caller's vCPU or NULL. False: end */
bool vm_park(struct vm *vm, struct vcpu *v);
/* Between two pages: lets the checker in. Under @lock */
void vm_soft_wait(struct vm *vm);

/* state.c, log.c: callbacks of libdrover; @opaque is the vm */
int state_save(void *opaque, int fd, struct drover_text *why);
int state_load(void *opaque, int fd, uint64_t len, struct drover_text *why);
int log_start(void *opaque, struct drover_text *why);
int log_sync(void *opaque, uint64_t *const *maps, struct drover_text *why);
int log_stop(void *opaque, struct drover_text *why);
/* Empties the rings. */
void log_collect(struct vm *vm);

#endif
