/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef DROVER_VMM_PAYLOAD_H
#define DROVER_VMM_PAYLOAD_H

#include <stdint.h>

/* The guest's program, position-independent, entered once a vCPU with %r13 = params. */
extern const uint8_t payload_start[], payload_end[];

#define PORT_HEART 0x500        /* out: heartbeat count */
#define PORT_PACE 0x504         /* in: pages to write before the next heartbeat; a safe point */
#define PORT_BALLOON 0x508      /* out: first page of a chunk the guest gave up */
#define PORT_ERROR 0x50c        /* out: PAYLOAD_E_*; %rsi is the page */
#define PAYLOAD_E_PAGE 1
#define PAYLOAD_E_REGISTERS 2

/* Multipliers of a page's seed and of its content, and what registers grow by. The
 * assembly uses these names, hence no suffixes. */
#define MIX_1 0x9e3779b97f4a7c15
#define MIX_2 0xd6e8feb86659fd93
#define CONTENT 0x5851f42d4c957f2d
#define PATTERN_RBX 0xa0761d6478bd642f
#define PATTERN_R9 0xe7037ed1a0b428db
#define PATTERN_R10 0x8ebc6af09c88c6e3

/* The order in which pages are read and checked. Their numbers are in the assembly. */
#define TOUCH_NONE 0
#define TOUCH_RANDOM 1
#define TOUCH_SEQUENTIAL 2
#define TOUCH_CHASE 3           /* what a page holds says which is the next */

/* Offsets are in payload.c's assembly, too. */
struct payload_params {
	uint64_t first, count;          /* 0, 8: pages of this vCPU */
	uint64_t versions;              /* 16: address of the version table */
	uint64_t seed;                  /* 24 */
	uint64_t balloon_first;         /* 32: page */
	uint64_t balloon_chunks;        /* 40 */
	uint64_t balloon_every;         /* 48: heartbeats; 0: never */
	uint64_t avx;                   /* 56: %ymm8..11 are part of the pattern */
	uint64_t xmm[8][2];             /* 64: what each iteration adds */
	uint64_t ymm[4][4];             /* 192 */
	uint64_t touch;                 /* 320: TOUCH_* */
	uint64_t touches;               /* 328: pages read a heartbeat; 0: none */
};

#endif
