/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_ENGINE_DEST_DIGEST_H
#define DROVER_ENGINE_DEST_DIGEST_H

#include <stdbool.h>
#include <stdint.h>

#include "wire/wire.h"

struct dest_block;
struct drover_error;
struct session;

/*
 * What was sent against what was placed. The source sends digests of groups of pages; where
 * they differ it sends the digests of the pages as well, and the last answer names the pages.
 * Every group (one-way: every page) must have been compared, in order, or the digests do not
 * agree. In postcopy all this happens twice: before COMMIT, of what is there then, and at the
 * end, of everything.
 */

/**
 * enum digest_step - what the source sends
 * @DIGEST_ALL: groups (one-way: pages) of all blocks, in order
 * @DIGEST_SOME: pages of the groups that differed
 * @DIGEST_DONE: nothing more: they agree, or (after COMMIT) it is known where they don't
 */
enum digest_step { DIGEST_ALL, DIGEST_SOME, DIGEST_DONE };

/** enum digest_verdict - what the whole of a DIGEST has shown */
enum digest_verdict { DIGEST_EQUAL, DIGEST_NAME_PAGES, DIGEST_DIFFER };

/**
 * struct digest_early - of a block: what was there before COMMIT
 * @group: digests of its groups
 * @page: which pages had been received; the VMM may touch others while it loads, and these
 *	don't count yet
 */
struct digest_early {
	uint64_t *group, *page;
};

/**
 * struct digest_in - DIGEST being compared; written by digest.c alone, on main's thread
 * @ram, @block, @nblocks: the blocks here, and which of them the source's blocks are
 * @one_way: nothing is answered, so the source sends pages at once
 * @owned: after COMMIT: of a postcopy, at its end
 * @partial: the source can't compare everything: an earlier droverd has sent and freed it
 * @at, @next: the source's block and the item of it that come next; DIGEST_ALL
 * @diff: what has differed so far, and the answer
 * @early: by our block, NULL: nothing was kept
 */
struct digest_in {
	const struct drover_ram *ram;
	const struct dest_block *block;
	unsigned int nblocks;
	bool one_way, owned, partial;
	enum digest_step step;
	unsigned int at;
	uint64_t next;
	struct drover_msg_digest_ack *diff;
	struct digest_early *early;
};

int digest_init(struct digest_in *in, const struct drover_ram *ram, bool one_way,
		struct drover_error *e);
void digest_deinit(struct digest_in *in);
/* The handshake has paired the blocks; @block stays the caller's and must stay as it is. */
void digest_blocks(struct digest_in *in, const struct dest_block *block, unsigned int n);
/* Keep what was there: of @ram's block @b the digests and the pages received. */
int digest_keep_early(struct digest_in *in, unsigned int b, const uint64_t *digest,
		      const uint64_t *received, struct drover_error *e);
/* After COMMIT of a postcopy: digests come once more, when all is here. */
void digest_again(struct digest_in *in);

/**
 * digest_compare() - one message, in its order
 * @m: holds at least one digest
 * @mine: digests of all pages of that block, as they were placed
 */
int digest_compare(struct digest_in *in, const struct drover_msg_digest *m,
		   const uint64_t *mine, struct drover_error *e);
/*
 * The message flagged LAST has been compared. @nothing: the source may have nothing to compare
 * at all. Return: 0, and @diff is the answer; -EBADMSG when something was left out
 */
int digest_end(struct digest_in *in, bool nothing, struct drover_error *e);
/* After digest_end(): what it means; the next DIGEST is awaited accordingly. */
int digest_verdict(struct digest_in *in, enum digest_verdict *ret, struct drover_error *e);

/* DIGEST has come on main. */
int session_digest(struct session *x, size_t len, struct drover_error *e);

#endif
