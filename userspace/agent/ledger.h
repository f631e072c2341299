/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_AGENT_LEDGER_H
#define DROVER_AGENT_LEDGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ram/ram.h"

struct drover_error;

/*
 * What a destination in postcopy must not forget when its droverd dies: which pages have
 * arrived, the digest of each as it was placed, and whose session this is. A memfd that
 * droverd makes and the VMM keeps; both map it, droverd alone writes to it. The VMM reads
 * the received bits when it arms its faults (agent: ARM_FAULTS).
 *
 * File: the header below, then for each block its received bitmap and, with digests, one
 * u64 a page; every part begins on a page of the file.
 */
#define DROVER_LEDGER_MAGIC 0x726567646c767264ull      /* "drvldger" */
#define DROVER_LEDGER_VERSION 1u
#define DROVER_LEDGER_TOKEN_LEN 16u
#define DROVER_LEDGER_CONFIG_MAX 32768u

/**
 * struct drover_ledger - a mapped ledger
 * @fd: owned
 * @received: one bit a page, of each block
 * @digest: XXH3-64 of each page as it was placed, 0: zero; NULL without digests
 * @token, @config: whose session it was when it was opened, or is since bind
 */
struct drover_ledger {
	int fd;
	void *map;
	size_t len;
	unsigned int nblocks;
	uint64_t *received[DROVER_RAM_BLOCKS_MAX];
	uint64_t *digest[DROVER_RAM_BLOCKS_MAX];
	uint8_t token[DROVER_LEDGER_TOKEN_LEN];
	char config[DROVER_LEDGER_CONFIG_MAX];
};

/** drover_ledger_new() - an empty one: no page has arrived, no session */
int drover_ledger_new(const struct drover_ram *ram, bool digests, struct drover_ledger **ret,
		      struct drover_error *e);

/**
 * drover_ledger_open() - the one an earlier droverd left
 * @fd: taken over, also on failure
 *
 * Return: 0, -EPROTO when it is not the ledger of this RAM (block and cause are named),
 * or another negative errno. Sealed against being shortened, so that the VMM can't.
 */
int drover_ledger_open(int fd, const struct drover_ram *ram, struct drover_ledger **ret,
		       struct drover_error *e);

/**
 * drover_ledger_view() - the same for the VMM: received bits only, which it can't write to
 * @fd: taken over, also on failure; writable all the same, for the next droverd
 */
int drover_ledger_view(int fd, const struct drover_ram *ram, struct drover_ledger **ret,
		       struct drover_error *e);

/**
 * drover_ledger_drop() - a mapping of a block loses its entries of what has not arrived
 * @host: shared, @npages long; what the file holds stays
 *
 * Entries of some pages that have arrived go as well, where that is cheaper.
 */
int drover_ledger_drop(const struct drover_ledger *l, unsigned int block, void *host,
		       uint64_t npages, struct drover_error *e);

/* Unmap and close; the VMM's copy lives on. NULL is fine. Returns NULL */
struct drover_ledger *drover_ledger_free(struct drover_ledger *l);

/** drover_ledger_bind() - whose session it is; @config: JSON text. -E2BIG: too long */
int drover_ledger_bind(struct drover_ledger *l, const uint8_t *token, const char *config,
		       struct drover_error *e);
const uint8_t *drover_ledger_token(const struct drover_ledger *l);
/* NUL-terminated, "" before bind */
const char *drover_ledger_config(const struct drover_ledger *l);

#endif
