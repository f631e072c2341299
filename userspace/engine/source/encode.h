/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_ENGINE_SOURCE_ENCODE_H
#define DROVER_ENGINE_SOURCE_ENCODE_H

/*
 * The one way for a page out of this host. A page source says which pages; the encoder finds
 * the zero pages, digests the others, and makes runs of them; a page sink takes the runs away.
 * A codec or another way of transport is another sink, a new order of pages another source:
 * neither touches the encoder. Both are called once for some 64 pages, never for each page.
 */
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/zero.h"
#include "wire/wire.h"

struct drover_error;
struct drover_link;
struct drover_ram;
struct source_block;
struct source_memory;

/* Pages with data in a unit: 256 KiB keep scan, digest and copy in the cache. */
#define UNIT_PAGES 64u
/* Bitmap words a unit may span; bounds the zero runs of a batch. */
#define UNIT_WORDS 128u
#define BATCH_RUNS (2u * UNIT_WORDS)
/* Header and body of a frame of BATCH_RUNS runs. */
#define BATCH_HEAD 8192u

/**
 * struct page_unit - pages of one block for the caller alone to send
 * @n: words used
 * @w: a word of the block's bitmap: which pages to send, and which of them may hold data
 *
 * At most UNIT_PAGES pages that hold data, and whatever holes lie between them.
 */
struct page_unit {
	struct source_block *block;
	unsigned int n;
	struct {
		uint64_t word;
		uint64_t dirty, data;
	} w[UNIT_WORDS];
};

/**
 * struct page_batch - what the encoder has made of a unit, or of a part of it
 * @nruns, @run: in order, as PAGES has them
 * @niov, @iov: the raw runs in guest RAM; [0] is left to the sink for what goes before them
 * @payload: bytes of the raw runs
 * @raw, @zero: pages of either kind
 */
struct page_batch {
	struct source_block *block;
	unsigned int nruns;
	struct drover_page_run run[BATCH_RUNS];
	unsigned int niov;
	struct iovec iov[1 + BATCH_RUNS];
	uint64_t payload;
	uint64_t raw, zero;
};

/** struct page_source - @next: 1 and a unit; 0: there is none left; or a negative errno */
struct page_source {
	int (*next)(struct page_source *from, struct page_unit *ret, struct drover_error *e);
};

/** struct page_sink - @put: sends one batch, whose iov it may clobber; 0 or a negative errno */
struct page_sink {
	int (*put)(struct page_sink *to, struct page_batch *b, struct drover_error *e);
};

/**
 * struct encoder - constant while senders run, so that all of them share it
 * @is_zero: NULL: zero pages that hold memory are not looked for
 * @ram: whose pages they are
 */
struct encoder {
	drover_zero_fn is_zero;
	const struct drover_ram *ram;
};

void encoder_init(struct encoder *enc, const struct drover_ram *ram, bool detect_zero);
/**
 * encode() - everything that @from has goes to @to
 *
 * A page's digest is stored before the page is sent, never after it. A write in between makes
 * the page dirty, since the harvest came first; so it is sent and digested again. A page that
 * can't be read ends it, before what stands for it is sent.
 * Return: 0, or the first error of either.
 */
int encode(const struct encoder *enc, struct page_source *from, struct page_sink *to,
	   struct drover_error *e);
/* The only page of a unit; the caller has claimed it. */
void unit_of_page(struct page_unit *u, struct source_block *b, const uint64_t *data, uint64_t page);

/**
 * batch_encode() - a batch as header and body of a PAGES frame
 * @head: DROVER_FRAME_LEN bytes for the header, then the body
 * @cap: of @head
 *
 * Return: the body's length, or a negative errno.
 */
int batch_encode(const struct page_batch *b, uint32_t round, uint8_t *head, size_t cap,
		 const struct drover_link *l, struct drover_error *e);
/* The frame, straight from guest RAM. With zero-copy @head is the kernel's until notified. */
int batch_send(struct page_batch *b, uint8_t *head, size_t body_len, struct drover_link *l,
	       unsigned int flags, struct drover_error *e);

#endif
