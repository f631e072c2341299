// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The simulated guest's self-check after a move. Each page is checked once, in the state
 * it arrived in: in the background, or by the writer that is about to change it. Content
 * shows a page that is torn or foreign; the sum over all versions, which came with the
 * device state, shows a page that arrived whole but old.
 *
 * Holes of the file are not touched, they would be allocated: a page that is a hole when
 * the background check begins is of version 0 unless a writer has checked it since.
 */
#include <errno.h>
#include <json-c/json.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/thread.h"
#include "guest/sim/sim.h"
#include "ram/datamap.h"

#define CHECK_AFTER_US 50000

static void set_verdict(struct sim_check *c, enum sim_verdict v, const char *text)
{
	DROVER_LOCK(&c->lock);

	snprintf(c->text, sizeof(c->text), "%s", text);
	atomic_store(&c->verdict, v);
}

static void count_bad(struct sim_check *c, uint64_t page)
{
	uint64_t first = atomic_load(&c->first_bad);

	while (page < first && !atomic_compare_exchange_weak(&c->first_bad, &first, page))
		;
	atomic_fetch_add(&c->bad, 1);
}

/* @at: NULL for a hole. The page's stripe is held. */
static void check_once(struct drover_sim *s, uint64_t page, const uint8_t *at)
{
	const struct sim_args *a = &s->args;
	struct sim_check *c = &s->check;
	uint64_t version;

	/* Its neighbours in the word belong to other stripes. */
	if (drover_bit_test_and_set_atomic(c->checked, page))
		return;
	version = at ? sim_page_version(at, a->seed, page) : 0;
	if ((at && !sim_page_ok(at, a->seed, page)) ||
	    (!version && !sim_page_untouched(a->seed, page, a->zero)))
		count_bad(c, page);
	atomic_fetch_add(&c->sum, sim_page_mix(page, version));
	atomic_fetch_add(&c->pages, 1);
}

void sim_check_page(struct drover_sim *s, uint64_t page)
{
	if (s->check.checked)
		check_once(s, page, s->vmm + drover_page_off(page));
}

static void conclude(struct drover_sim *s)
{
	struct sim_check *c = &s->check;
	char text[sizeof(c->text)];

	if (atomic_load(&c->bad)) {
		snprintf(text, sizeof(text), "%llu pages do not hold what the guest wrote",
			 (unsigned long long)atomic_load(&c->bad));
		set_verdict(c, SIM_CHECK_FAILED, text);
	} else if (atomic_load(&c->sum) != c->expect) {
		set_verdict(c, SIM_CHECK_FAILED, "a write was lost: every page is whole, but the "
			    "versions of all pages are not those the source had");
	} else {
		set_verdict(c, SIM_CHECK_PASSED, "every page is as the source left it");
	}
}

static void *check_main(void *arg)
{
	struct drover_sim *s = arg;
	const struct drover_ram_block *b = &s->ram.block[0];
	_cleanup_free_ uint64_t *data = drover_bitmap_new(s->npages);
	struct drover_error e = DROVER_ERROR_INIT;
	uint64_t page;

	drover_thread_name("sim-check", -1);
	/*
	 * It is the test's, not the guest's: what the migration still has to say, and be
	 * measured by, comes first.
	 */
	usleep(CHECK_AFTER_US);
	if (!data || drover_datamap_read(b, data, &e) < 0) {
		set_verdict(&s->check, SIM_CHECK_FAILED, e.code ? e.msg : "out of memory");
		return NULL;
	}
	for (page = 0; page < s->npages; page++) {
		DROVER_LOCK(&s->stripe[page % SIM_STRIPES]);

		if (atomic_load_explicit(&s->check.stop, memory_order_relaxed))
			return NULL;
		check_once(s, page, drover_bit_test(data, page) ?
			   b->host + drover_page_off(page) : NULL);
	}
	conclude(s);
	return NULL;
}

int sim_check_arm(struct drover_sim *s, struct drover_error *e)
{
	struct sim_check *c = &s->check;

	sim_check_reset(s);
	c->checked = drover_bitmap_new(s->npages);
	if (!c->checked)
		return drover_err(e, -ENOMEM, "guest sim: out of memory");
	c->expect = s->sum;
	atomic_store(&c->verdict, SIM_CHECK_READY);
	return 0;
}

void sim_check_start(struct drover_sim *s)
{
	struct sim_check *c = &s->check;

	/* Told twice, or about a guest that never moved: nothing new to check */
	if (atomic_load(&c->verdict) != SIM_CHECK_READY)
		return;
	set_verdict(c, SIM_CHECK_RUNNING, "");
	c->started = pthread_create(&c->thread, NULL, check_main, s) == 0;
	if (!c->started)
		set_verdict(c, SIM_CHECK_FAILED, "no thread to check with");
}

void sim_check_reset(struct drover_sim *s)
{
	struct sim_check *c = &s->check;

	atomic_store(&c->stop, true);
	if (c->started)
		pthread_join(c->thread, NULL);
	c->started = false;
	atomic_store(&c->stop, false);
	set_verdict(c, SIM_CHECK_NONE, "");
	free(c->checked);
	c->checked = NULL;
	atomic_store(&c->sum, 0);
	atomic_store(&c->pages, 0);
	atomic_store(&c->bad, 0);
	atomic_store(&c->first_bad, UINT64_MAX);
}

struct json_object *sim_check_json(struct drover_sim *s)
{
	static const char *const names[] = {
		[SIM_CHECK_READY] = "running",
		[SIM_CHECK_RUNNING] = "running",
		[SIM_CHECK_PASSED] = "passed",
		[SIM_CHECK_FAILED] = "failed",
	};
	struct sim_check *c = &s->check;
	uint64_t bad = atomic_load(&c->bad);
	struct json_object *o;
	char first[DROVER_RAM_NAME_MAX + 24] = "";
	DROVER_LOCK(&c->lock);

	if (atomic_load(&c->verdict) == SIM_CHECK_NONE)
		return NULL;
	if (bad)
		snprintf(first, sizeof(first), "%s:%llu", s->ram.block[0].name,
			 (unsigned long long)atomic_load(&c->first_bad));
	o = json_object_new_object();
	json_object_object_add(o, "verdict",
			       json_object_new_string(names[atomic_load(&c->verdict)]));
	json_object_object_add(o, "pages-checked", json_object_new_uint64(atomic_load(&c->pages)));
	json_object_object_add(o, "bad-pages", json_object_new_uint64(bad));
	json_object_object_add(o, "first-bad-page", json_object_new_string(first));
	json_object_object_add(o, "text", json_object_new_string(c->text));
	return o;
}
