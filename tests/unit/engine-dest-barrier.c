// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The barrier between rounds, in one thread: a channel that waits is asked whether to go on,
 * and in this test that is where the other channels arrive.
 */
#include "engine/dest/barrier.h"

#include <errno.h>

#include "base/err.h"
#include "tap.h"

struct others {
	struct barrier *b;
	unsigned int left;              /* channels that have not arrived */
	unsigned int asked;
	uint32_t round_seen;            /* while somebody waited */
	int give_up;
};

static int never(void *arg, struct drover_error *e)
{
	(void)arg;
	return drover_err(e, -EDEADLK, "nobody is awaited");
}

static int arrive(void *arg, struct drover_error *e)
{
	struct others *o = arg;

	o->asked++;
	o->round_seen = o->b->round;
	if (o->give_up)
		return drover_err(e, o->give_up, "given up");
	if (!o->left)
		return 0;
	/* The last one is not asked: it awaits nobody. */
	return --o->left ? barrier_wait(o->b, o->b->round, arrive, o, e) :
			   barrier_wait(o->b, o->b->round, never, NULL, e);
}

static void test_main_alone(void)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct barrier b = { .parties = 0 };

	barrier_init(&b);
	tap_ok(b.round == 1 && !b.final_ns, "rounds begin with 1, and the guest may run");
	tap_ok(barrier_wait(&b, 1, never, NULL, &e) == 0 && b.round == 2,
	       "main alone awaits nobody: %s", e.msg);
	tap_ok(barrier_wait(&b, 2, never, NULL, &e) == 0 && b.round == 3, "nor in the next round");
	barrier_deinit(&b);
}

static void test_all_arrive(void)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct barrier b = { .parties = 0 };
	struct others o = { .b = &b, .left = 2 };

	barrier_init(&b);
	barrier_expect(&b, 3);
	tap_ok(barrier_wait(&b, 1, arrive, &o, &e) == 0 && !o.left && b.round == 2,
	       "three channels, and the round ends when the last one arrives: %s", e.msg);
	tap_ok(o.round_seen == 1 && o.asked == 2, "until then it lasts, and those who wait are asked");
	tap_ok(b.arrived == 0, "the next round is awaited by all of them again");
	o = (struct others){ .b = &b, .left = 2 };
	tap_ok(barrier_wait(&b, 2, arrive, &o, &e) == 0 && b.round == 3, "and ends likewise");
	barrier_deinit(&b);
}

static void test_give_up(void)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct barrier b = { .parties = 0 };
	struct others o = { .b = &b, .left = 1, .give_up = -ECONNABORTED };

	barrier_init(&b);
	barrier_expect(&b, 2);
	tap_ok(barrier_wait(&b, 1, arrive, &o, &e) == -ECONNABORTED && b.round == 1,
	       "a wait of no use ends: %s", e.msg);
	barrier_wake(&b);
	tap_ok(b.round == 1, "waking ends no round");
	barrier_deinit(&b);
}

static void test_final(void)
{
	struct barrier b = { .parties = 0 };
	uint64_t first;

	barrier_init(&b);
	barrier_final(&b);
	first = b.final_ns;
	barrier_final(&b);
	tap_ok(first && b.final_ns == first, "the guest is stopped since the first that was heard of it");
	barrier_deinit(&b);
}

int main(void)
{
	test_main_alone();
	test_all_arrive();
	test_give_up();
	test_final();
	return tap_done();
}
