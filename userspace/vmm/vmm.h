/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef DROVER_VMM_VMM_H
#define DROVER_VMM_VMM_H

#include <linux/kvm.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "lib/drover.h"
#include "vmm/payload.h"

/*
 * A reference VMM: two vCPUs and a guest that proves its own integrity. Guest RAM is two
 * blocks: "ram0" from address 0 (page tables, payload, version table, data pages) and
 * "device" above it, which only the VMM's own device thread writes.
 */
#define VCPUS 2u
#define PARKERS (VCPUS + 1)             /* and the device thread */
#define SLOTS 2u
#define DEVICE_PAGES 512u
#define BALLOON_PAGES 16u               /* given up at once */

/* Guest physical layout of ram0; everything below LOW_END never changes, bar one page. */
#define GPA_TABLES 0x1000ull
#define GPA_PAYLOAD 0x80000ull
#define GPA_PARAMS 0x90000ull           /* one page a vCPU */
#define GPA_FOREIGN 0xa0000ull          /* the page only --foreign-writer writes */
#define LOW_END 0x100000ull             /* the version table follows */
#define LOW_PAGES (LOW_END / 4096)

struct vmm_opts {
	const char *agent, *heartbeat, *foreign;
	uint64_t mem, dirty, seed, ring;
	bool incoming, balloon, log;
};

struct slot {
	const char *name;
	uint64_t gpa, len;
	int fd;
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

enum verdict { VERDICT_NONE, VERDICT_RUNNING, VERDICT_PASSED, VERDICT_FAILED };

/* What the guest says about itself; under vm->lock. */
struct verdict_state {
	enum verdict verdict;
	uint64_t pages, bad, gaps, repeats, registers;
	char first_bad[64], text[160];
};

/* The device section of the state: what is neither RAM nor vCPU. */
struct device_state {
	uint64_t mem, seed, dirty, balloon;
	uint64_t rng;
	uint32_t beats[VCPUS];
	uint32_t version[DEVICE_PAGES];
	uint64_t low[LOW_PAGES];        /* digests of the pages that never change */
};

/*
 * Who stops whom: @stop parks vCPUs and device thread wherever they are (PAUSE); @soft
 * parks them between two pages, so that the checker sees no half-written one.
 */
struct vm {
	struct vmm_opts opts;
	int kvm_fd, fd, notify_fd;
	struct slot slot[SLOTS];
	struct vcpu vcpu[VCPUS];
	struct kvm_msrs *msrs;          /* the indices that can be read and set */
	pthread_t device, checker;
	unsigned int threads;           /* started, for vm_free */
	FILE *heartbeat;

	pthread_mutex_t log_lock;       /* dirty rings; taken before @lock, never after */
	pthread_mutex_t lock;           /* all below */
	pthread_cond_t cond;
	bool stop, soft, quit, checking, migrated, foreign_done;
	unsigned int parked, soft_parked, throttle;
	struct device_state dev;
	struct verdict_state v;
};

static inline uint64_t vm_pages(const struct vm *vm)
{
	return vm->slot[0].len / 4096;
}

static inline uint32_t *vm_versions(const struct vm *vm)
{
	return (uint32_t *)(vm->slot[0].host + LOW_END);
}

/* Data pages of a vCPU, [first, first+n) */
void vm_share(const struct vm *vm, unsigned int vcpu, uint64_t *first, uint64_t *n);
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
/* Wait, under @lock, until @deadline (0: none) or a broadcast. */
void vm_wait(struct vm *vm, uint64_t deadline);
/* Where a thread lets vm_stop() in; @v: the caller's vCPU or NULL. False: end */
bool vm_park(struct vm *vm, struct vcpu *v);
/* Between two pages: lets the checker in. Under @lock */
void vm_soft_wait(struct vm *vm);

/* guest.c: the guest's first content and registers */
void guest_page(uint8_t *page, uint64_t index, uint32_t version, uint64_t seed);
bool guest_page_ok(const uint8_t *page, uint64_t index, uint32_t version, uint64_t seed);
uint64_t guest_digest(const struct vm *vm, unsigned int vcpu);
void guest_fill(struct vm *vm);
int guest_boot(struct vm *vm, struct vcpu *v, struct drover_text *why);

/* state.c, log.c: callbacks of libdrover; @opaque is the vm */
int state_save(void *opaque, int fd, struct drover_text *why);
int state_load(void *opaque, int fd, uint64_t len, struct drover_text *why);
int log_start(void *opaque, struct drover_text *why);
int log_sync(void *opaque, uint64_t *const *maps, struct drover_text *why);
int log_stop(void *opaque, struct drover_text *why);
/* Empties the rings. */
void log_collect(struct vm *vm);

/* check.c */
void *check_thread(void *vm);
void check_begin(struct vm *vm);
void check_fail(struct vm *vm, const char *block, uint64_t page, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
void check_beat(struct vcpu *v, uint32_t count);
void check_json(struct vm *vm, char *json, size_t size);
uint64_t check_hash(const uint8_t *page);

/* writers.c */
void *device_thread(void *vm);
void balloon(struct vm *vm, uint32_t page);
int foreign_write(struct vm *vm, struct drover_text *why);

#endif
