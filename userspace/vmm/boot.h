/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef DROVER_VMM_BOOT_H
#define DROVER_VMM_BOOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/drover.h"
#include "vmm/disk.h"
#include "vmm/payload.h"

/* The guest and how it proves its integrity: guest.c, payload.c, writers.c, check.c. */
struct vcpu;
struct vm;

#define VCPUS 2u
#define DEVICE_PAGES 512u
#define BALLOON_PAGES 16u               /* given up at once */

/* Guest physical layout of ram0; everything below LOW_END never changes, bar one page. */
#define GPA_TABLES 0x1000ull
#define GPA_PAYLOAD 0x80000ull
#define GPA_PARAMS 0x90000ull           /* one page a vCPU */
#define GPA_FOREIGN 0xa0000ull          /* the page only --foreign-writer writes */
#define LOW_END 0x100000ull             /* the version table follows */
#define LOW_PAGES (LOW_END / 4096)

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
	char dead[VCPUS][120];          /* "" or what a vCPU died of */
	struct disk_state disk;
};

/* Data pages of a vCPU, [first, first+n) */
void vm_share(const struct vm *vm, unsigned int vcpu, uint64_t *first, uint64_t *n);
/* guest.c: the guest's first content and registers */
void guest_page(uint8_t *page, uint64_t index, uint32_t version, uint64_t seed);
bool guest_page_ok(const uint8_t *page, uint64_t index, uint32_t version, uint64_t seed);
uint64_t guest_digest(const struct vm *vm, unsigned int vcpu);
void guest_fill(struct vm *vm);
int guest_boot(struct vm *vm, struct vcpu *v, struct drover_text *why);

/* check.c */
void *check_thread(void *arg);
void check_begin(struct vm *vm);
void check_fail(struct vm *vm, const char *block, uint64_t page, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
void check_beat(struct vcpu *v, uint32_t count);
void check_json(struct vm *vm, char *json, size_t size);
uint64_t check_hash(const uint8_t *page);

/* writers.c */
void *device_thread(void *arg);
void balloon(struct vm *vm, uint32_t page);
int foreign_write(struct vm *vm, struct drover_text *why);

#endif
