// SPDX-License-Identifier: GPL-2.0-or-later
/* The operator's table: a row for every state in which a guest may stand still, no row twice. */
#include "owner/advice.h"

#include <string.h>

#include "tap.h"

#define BY(id) OWNER_BY_##id
#define PRE OWNER_KIND_PRECOPY
#define ONE OWNER_KIND_ONE_WAY

static enum owner_sign sign(enum owner_state st, enum owner_by by, enum owner_kind kind,
			    bool missing, bool loaded)
{
	struct owner_record r;

	owner_record_init(&r, false, false);
	r.state = st;
	r.by = by;
	r.kind = kind;
	r.missing = missing;
	r.token.byte[0] = 1;
	r.loaded.byte[0] = loaded;
	r.proved = loaded;
	return owner_sign_of(&r);
}

static void test_table(void)
{
	bool states[OWNER_STATE_COUNT] = { false };
	const struct owner_advice *a;
	size_t n, i, k;
	bool fine = true;

	a = owner_advice_table(&n);
	for (i = 0; i < n; i++) {
		states[a[i].state] = true;
		fine &= *a[i].seen && *a[i].typed && *a[i].then && a[i].sign != OWNER_SIGN_NONE;
		for (k = 0; k < i; k++)
			fine &= a[k].state != a[i].state || a[k].sign != a[i].sign;
		fine &= owner_advice(a[i].state, a[i].sign) == &a[i];
	}
	tap_ok(fine && n > 20, "each row says what is seen, typed and done, once");
	for (i = 0; i < OWNER_STATE_COUNT && states[i]; i++)
		;
	tap_ok(i == OWNER_STATE_COUNT, "every state has a row");
	tap_ok(!owner_advice(OWNER_OWNED, OWNER_SIGN_KEPT), "what does not happen has none");
}

static void test_unsettled(void)
{
	static const enum owner_sign signs[] = {
		OWNER_SIGN_UNREACHABLE, OWNER_SIGN_UNREADABLE, OWNER_SIGN_UNKNOWN,
		OWNER_SIGN_NEVER_THERE, OWNER_SIGN_RAN_THERE, OWNER_SIGN_ONE_WAY,
	};
	unsigned int i;

	for (i = 0; i < sizeof(signs) / sizeof(signs[0]); i++)
		tap_ok(owner_advice(OWNER_IN_DOUBT, signs[i]), "in doubt: %s",
		       owner_sign_name(signs[i]));
	tap_ok(!strstr(owner_advice(OWNER_IN_DOUBT, OWNER_SIGN_UNREADABLE)->typed, "force"),
	       "unreadable is no reason to force");
}

static void test_signs(void)
{
	struct owner_record r;

	tap_ok(sign(OWNER_RELEASED, BY(HAND), PRE, false, false) == OWNER_SIGN_BY_HAND, "by hand");
	tap_ok(sign(OWNER_RELEASED, BY(STREAM), ONE, false, false) == OWNER_SIGN_STREAM,
	       "to a stream");
	tap_ok(sign(OWNER_RELEASED, BY(ANSWER), PRE, false, false) == OWNER_SIGN_NONE,
	       "by answer: nothing is wrong");
	tap_ok(sign(OWNER_IN_DOUBT, BY(NONE), ONE, false, false) == OWNER_SIGN_ONE_WAY,
	       "one-way in doubt");
	tap_ok(sign(OWNER_INCOMING, BY(NONE), PRE, false, true) == OWNER_SIGN_KEPT &&
	       sign(OWNER_FENCED, BY(NONE), PRE, false, true) == OWNER_SIGN_KEPT &&
	       sign(OWNER_INCOMING, BY(NONE), PRE, false, false) == OWNER_SIGN_NONE,
	       "a kept copy");
	tap_ok(sign(OWNER_OWNED, BY(NONE), OWNER_KIND_POSTCOPY, true, false) == OWNER_SIGN_MISSING,
	       "memory is missing");
	owner_record_init(&r, false, true);
	tap_ok(owner_sign_of(&r) == OWNER_SIGN_NONE, "it runs");
	r.running = false;
	tap_ok(owner_sign_of(&r) == OWNER_SIGN_STILL &&
	       !strcmp(owner_advice(OWNER_OWNED, OWNER_SIGN_STILL)->typed, "cont"),
	       "it does not: cont");
	r.will = false;
	tap_ok(owner_sign_of(&r) == OWNER_SIGN_NONE, "its user has stopped it");
	tap_ok(!strcmp(owner_sign_name(OWNER_SIGN_COUNT), "invalid"), "no such sign");
}

int main(void)
{
	test_table();
	test_unsettled();
	test_signs();
	return tap_done();
}
