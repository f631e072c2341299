/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_WIRE_CODEC_H
#define DROVER_WIRE_CODEC_H

/* Shared by the codecs of this directory and by nobody else. */
#include <endian.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/err.h"

/**
 * struct wire_put - a body being written
 * @cap: room at @buf
 * @len: bytes the body needs so far; past @cap nothing is written any more
 */
struct wire_put {
	uint8_t *buf;
	size_t cap, len;
};

static inline void put_bytes(struct wire_put *p, const void *src, size_t n)
{
	if (n && p->len <= p->cap && n <= p->cap - p->len)
		memcpy(p->buf + p->len, src, n);
	p->len += n;
}

static inline void put_u16(struct wire_put *p, uint16_t v)
{
	v = htole16(v);
	put_bytes(p, &v, sizeof(v));
}

static inline void put_u32(struct wire_put *p, uint32_t v)
{
	v = htole32(v);
	put_bytes(p, &v, sizeof(v));
}

static inline void put_u64(struct wire_put *p, uint64_t v)
{
	v = htole64(v);
	put_bytes(p, &v, sizeof(v));
}

/* The body's length, or -ENOBUFS. */
static inline int put_done(const struct wire_put *p)
{
	return p->len > p->cap ? -ENOBUFS : (int)p->len;
}

/**
 * struct wire_get - a body being read
 *
 * The caller checks the length before it reads: wire_len() for the fixed part, @left for
 * what varies. Reading past the end yields zeros and is a bug of the caller.
 */
struct wire_get {
	const uint8_t *p;
	size_t left;
};

static inline void get_bytes(struct wire_get *g, void *dst, size_t n)
{
	if (n > g->left) {
		memset(dst, 0, n);
		n = g->left;
	} else if (n) {
		memcpy(dst, g->p, n);
	}
	g->p += n;
	g->left -= n;
}

static inline uint16_t get_u16(struct wire_get *g)
{
	uint16_t v;

	get_bytes(g, &v, sizeof(v));
	return le16toh(v);
}

static inline uint32_t get_u32(struct wire_get *g)
{
	uint32_t v;

	get_bytes(g, &v, sizeof(v));
	return le32toh(v);
}

static inline uint64_t get_u64(struct wire_get *g)
{
	uint64_t v;

	get_bytes(g, &v, sizeof(v));
	return le64toh(v);
}

static inline uint16_t wire_peek_u16(const void *raw, size_t off)
{
	uint16_t v;

	memcpy(&v, (const uint8_t *)raw + off, sizeof(v));
	return le16toh(v);
}

static inline uint32_t wire_peek_u32(const void *raw, size_t off)
{
	uint32_t v;

	memcpy(&v, (const uint8_t *)raw + off, sizeof(v));
	return le32toh(v);
}

static inline uint64_t wire_peek_u64(const void *raw, size_t off)
{
	uint64_t v;

	memcpy(&v, (const uint8_t *)raw + off, sizeof(v));
	return le64toh(v);
}

static inline struct wire_get wire_getter(const void *buf, size_t len)
{
	return (struct wire_get){ buf, len };
}

static inline struct wire_put wire_putter(void *buf, size_t cap)
{
	return (struct wire_put){ buf, cap, 0 };
}

/* rules.c: what several messages have in common. 0, or -EBADMSG with field, value and bound. */
int wire_len(size_t len, size_t min, size_t max, struct drover_error *e);
int wire_flags(const char *field, uint64_t flags, uint64_t known, struct drover_error *e);
int wire_zero(const char *field, uint64_t value, struct drover_error *e);
int wire_max(const char *field, uint64_t value, uint64_t max, struct drover_error *e);
int wire_block(uint32_t block, struct drover_error *e);
int wire_token(const uint8_t *token, struct drover_error *e);
/* @name: NUL-terminated within @max + 1 bytes, not empty, [A-Za-z0-9._/-] */
int wire_name(const char *field, const char *name, size_t max, struct drover_error *e);
/* A name of @n bytes at @g into @ret (@max + 1 bytes); a NUL among them is refused. */
int wire_get_name(struct wire_get *g, const char *field, size_t n, char *ret, size_t max,
		  struct drover_error *e);
/* Machine-readable text of at most @max bytes. */
int wire_text(const char *field, const char *text, size_t len, size_t max,
	      struct drover_error *e);
/* Text for people, made fit as wire.h says. */
void wire_put_text(struct wire_put *p, const char *text, size_t len);

#endif
