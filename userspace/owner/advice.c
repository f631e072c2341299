// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The operator's table. Pure. Used for error-desc, for refusals and by the page generator, so
 * that what is told and what is documented are the same words.
 */
#include "owner/advice.h"

#include "base/cleanup.h"

static const struct owner_advice rows[] = {
#define OWNER_ADVICE(state_, sign_, seen_, typed_, then_) \
	{ OWNER_##state_, OWNER_SIGN_##sign_, seen_, typed_, then_ },
#include "owner/advice.def"
};

const struct owner_advice *owner_advice_table(size_t *ret_n)
{
	*ret_n = DROVER_ARRAY_SIZE(rows);
	return rows;
}

const struct owner_advice *owner_advice(enum owner_state state, enum owner_sign sign)
{
	size_t i;

	for (i = 0; i < DROVER_ARRAY_SIZE(rows); i++)
		if (rows[i].state == state && rows[i].sign == sign)
			return &rows[i];
	return NULL;
}

static enum owner_sign sign_of_released(const struct owner_record *rec)
{
	if (rec->by == OWNER_BY_HAND)
		return OWNER_SIGN_BY_HAND;
	return rec->by == OWNER_BY_STREAM ? OWNER_SIGN_STREAM : OWNER_SIGN_NONE;
}

enum owner_sign owner_sign_of(const struct owner_record *rec)
{
	switch (rec->state) {
	case OWNER_OWNED:
		if (rec->missing)
			return OWNER_SIGN_MISSING;
		return rec->will && !rec->running ? OWNER_SIGN_STILL : OWNER_SIGN_NONE;
	case OWNER_IN_DOUBT:
		return rec->kind == OWNER_KIND_ONE_WAY ? OWNER_SIGN_ONE_WAY : OWNER_SIGN_NONE;
	case OWNER_RELEASED:
		return sign_of_released(rec);
	default:
		return owner_kept_copy(rec) ? OWNER_SIGN_KEPT : OWNER_SIGN_NONE;
	}
}

const char *owner_sign_name(enum owner_sign s)
{
	static const char *const names[] = {
#define OWNER_SIGN(id, name) name,
#include "owner/advice.def"
	};

	return (unsigned int)s < OWNER_SIGN_COUNT ? names[s] : "invalid";
}
