/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef DROVER_VMM_DISK_H
#define DROVER_VMM_DISK_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "lib/drover.h"

/* The guest's disk: a file, and buffers in a RAM block that only its threads and the disk touch. */
struct vm;

#define DISK_PAGES 16ull                /* of a buffer, and of a piece of the disk */
#define DISK_BUFFERS 64u
#define DISK_PIECES_MAX 1024u
#define DISK_THREADS_MAX 16u

enum disk_report { REPORT_WROTE, REPORT_COUNT, REPORT_NONE };

struct disk_opts {
	char path[256];                 /* "": no disk */
	uint64_t size;
	uint32_t threads;
	enum disk_report report;
};

/**
 * struct disk_state - travels with the guest
 * @version: of each piece, as it is on the disk
 * @held, @held_version: which piece each buffer holds, and of which version; 0: zeros
 */
struct disk_state {
	uint64_t pieces, reads, writes;
	uint64_t rng[DISK_THREADS_MAX];
	uint32_t version[DISK_PIECES_MAX];
	uint32_t held[DISK_BUFFERS], held_version[DISK_BUFFERS];
};

/* "FILE[,size=SIZE][,threads=N][,report=wrote|count|none]" */
bool disk_parse(const char *arg, struct disk_opts *ret);
/* Open the file; a source fills it. */
int disk_open(struct vm *vm, struct drover_text *why);
/* Threads; as many as were started are in vm->disk_threads, also after a failure. */
int disk_start(struct vm *vm);
void disk_join(struct vm *vm);
/* Page @page of the block is what it should be. */
bool disk_page_ok(const struct vm *vm, uint64_t page);

#endif
