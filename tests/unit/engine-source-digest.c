// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Digests of groups are of the pages as they were sent: a group that holds a dirty page is
 * stale, is not made before the page is sent, and is in DIGEST as it was sent last.
 */
#include "base/page-digest.h"
#include "source-kit.h"

#define G DROVER_DIGEST_GROUP

static void set_digests(struct kit *k, uint64_t salt)
{
	unsigned int i;
	uint64_t p;

	for (i = 0; i < k->s.mem.n; i++)
		for (p = 0; p < k->s.mem.block[i].npages; p++)
			k->s.mem.block[i].digest[p] = (p + 1) * 0x9e3779b97f4a7c15ull + salt;
}

static bool right(const struct source_block *b, uint64_t g)
{
	uint64_t n = b->npages - g * G < G ? b->npages - g * G : G;

	return b->fresh[g] && b->group[g] == drover_digest_group(&b->digest[g * G], n);
}

static void test_stale(void)
{
	const uint64_t size[] = { 4 * G, G + 1 };
	struct kit *k = kit_new(size, 2);
	struct source_block *b = &k->s.mem.block[0], *c = &k->s.mem.block[1];
	unsigned int g, ok = 0;

	set_digests(k, 1);
	tap_ok(source_digest_init(&k->s, NULL) == 0 && b->group && b->fresh, "groups are allocated");
	source_digest_now(&k->s);
	for (g = 0; g < 4; g++)
		ok += right(b, g);
	tap_ok(ok == 4 && right(c, 0) && right(c, 1), "all are made, a short one, too");
	tap_ok(digest_stale(&k->s.mem) == 0, "nothing is dirty: nothing is stale");
	drover_bit_set(b->dirty, 2 * G - 1);
	drover_bit_set(b->dirty, 2 * G);
	drover_bit_set(b->dirty, 2 * G + 9);
	drover_bit_set(c->dirty, G);
	source_digest_stale(&k->s);
	tap_ok(k->s.digests.stale == 3, "three groups hold a dirty page");
	tap_ok(b->fresh[0] && !b->fresh[1] && !b->fresh[2] && b->fresh[3] && c->fresh[0] &&
	       !c->fresh[1], "and they alone are stale");
	set_digests(k, 2);
	source_digest_ahead(&k->s);
	tap_ok(!b->fresh[1] && !b->fresh[2] && !c->fresh[1],
	       "none is made while its page must still be sent");
	drover_bit_clear(b->dirty, 2 * G - 1);
	source_digest_ahead(&k->s);
	tap_ok(right(b, 1) && !b->fresh[2], "but as soon as it was");
	source_digest_now(&k->s);
	tap_ok(right(b, 2) && right(c, 1), "at last all are");
	k->s.digests.group_ns = 2000;
	tap_ok(source_digest_due_us(&k->s) == 6 && source_digest_all_us(&k->s) == 10,
	       "what they take is told");
	kit_free(k);
}

static void test_forget(void)
{
	const uint64_t size[] = { 2 * G };
	struct kit *k = kit_new(size, 1);
	struct source_block *b = &k->s.mem.block[0];

	set_digests(k, 1);
	source_digest_init(&k->s, NULL);
	drover_bitmap_set_range(b->dirty, 10, 3);
	source_digest_forget(&k->s);
	tap_ok(b->digest[9] && !b->digest[10] && !b->digest[12] && b->digest[13],
	       "pages that come later count as zero");
	kit_fill(k, 0, 1, 0x11);
	source_digest_now(&k->s);
	source_digest_renew(&k->s, true);
	tap_ok(!b->fresh[0] && b->digest[1] == drover_page_digest(b->ram->host + DROVER_PAGE_SIZE),
	       "of another droverd's pages all are hashed again");
	drover_bitmap_clear_range(b->data_map, 0, 2);
	source_digest_renew(&k->s, true);
	tap_ok(!b->digest[1], "and a hole is zero");
	kit_free(k);
}

static unsigned int count_sent(struct kit *k, uint16_t level, uint64_t *ret_values, bool *ret_last)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_msg_digest m;
	struct drover_frame f;
	const uint8_t *body;
	unsigned int n = 0;

	*ret_values = 0;
	*ret_last = false;
	while (kit_sent(&k->main, &f, &body) == DROVER_MSG_DIGEST) {
		if (drover_digest_decode(body, f.body_len, &m, &e) < 0)
			tap_diag("%s", e.msg);
		n++;
		if (m.flags & DROVER_DIGEST_LAST)
			*ret_last = true;
		else if (m.level == level)
			*ret_values += m.n;
	}
	return n;
}

static void test_send(void)
{
	const uint64_t size[] = { 20 * G, 100 };
	struct kit *k = kit_new(size, 2);
	uint64_t values;
	bool last;

	set_digests(k, 1);
	source_digest_init(&k->s, NULL);
	tap_ok(source_digest_send(&k->s, NULL) == 0, "DIGEST is sent");
	count_sent(k, 1, &values, &last);
	tap_ok(values == 21 && last, "one value a group, and the last says so");
	k->s.mem.block[0].known = drover_bitmap_new(20 * G);
	drover_bitmap_set_range(k->s.mem.block[0].known, 5, 10 * G);
	source_digest_send(&k->s, NULL);
	count_sent(k, 0, &values, &last);
	tap_ok(values == 10 * G && last, "of what another droverd may have freed, what we know");
	kit_free(k);

	k = kit_new(size, 2);
	source_enter(&k->s, SOURCE_ONE_WAY);
	source_digest_init(&k->s, NULL);
	tap_ok(!k->s.mem.block[0].group, "one-way: no groups");
	source_digest_send(&k->s, NULL);
	count_sent(k, 0, &values, &last);
	tap_ok(values == 20 * G + 100 && last, "but all pages");
	kit_free(k);
}

static int ack(struct kit *k, uint32_t status, uint32_t level, uint32_t block, uint64_t index,
	       struct drover_error *e)
{
	struct drover_msg_digest_ack *m = calloc(1, sizeof(*m));
	uint8_t body[4096];

	m->status = status;
	m->level = (uint16_t)level;
	m->total = status;
	m->n = status ? 1 : 0;
	m->item[0].block = block;
	m->item[0].index = index;
	kit_feed(&k->main, DROVER_MSG_DIGEST_ACK, body,
		 drover_digest_ack_encode(m, body, sizeof(body)));
	free(m);
	drover_err_clear(e);
	return 0;
}

static void test_ack(void)
{
	const uint64_t size[] = { 2 * G, G };
	struct kit *k = kit_new(size, 2);
	struct drover_error e = DROVER_ERROR_INIT;
	uint64_t values;
	bool last;

	source_digest_init(&k->s, NULL);
	ack(k, 0, 0, 0, 0, &e);
	tap_ok(source_digest_ack(&k->s, &e) == 0, "equal");
	ack(k, 1, 1, 0, 1, &e);
	ack(k, 1, 0, 0, G + 3, &e);
	tap_ok(source_digest_ack(&k->s, &e) == -EUCLEAN && strstr(e.msg, "block0:515"),
	       "a page differs, and is named: %s", e.msg);
	count_sent(k, 0, &values, &last);
	tap_ok(values == G && last, "after the pages of its group were sent");
	ack(k, 1, 1, 0, 2, &e);
	tap_ok(source_digest_ack(&k->s, &e) == -EBADMSG, "a group that there is not: %s", e.msg);
	ack(k, 1, 1, 7, 0, &e);
	tap_ok(source_digest_ack(&k->s, &e) == -EBADMSG, "a block that there is not: %s", e.msg);
	kit_free(k);
}

int main(void)
{
	test_stale();
	test_forget();
	test_send();
	test_ack();
	return tap_done();
}
