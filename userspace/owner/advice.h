/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_OWNER_ADVICE_H
#define DROVER_OWNER_ADVICE_H

#include <stddef.h>

#include "owner/record.h"

/* What a daemon or a person sees besides the record's state. */
enum owner_sign {
#define OWNER_SIGN(id, name) OWNER_SIGN_##id,
#include "owner/advice.def"
	OWNER_SIGN_COUNT
};

/**
 * struct owner_advice - one row of the operator's table
 * @seen: what is seen, in words
 * @typed: what is typed
 * @then: what happens
 */
struct owner_advice {
	enum owner_state state;
	enum owner_sign sign;
	const char *seen;
	const char *typed;
	const char *then;
};

/** owner_advice() - the row for a state and a sign, NULL: there is none */
const struct owner_advice *owner_advice(enum owner_state state, enum owner_sign sign);

/** owner_advice_table() - all rows, in the order they are read */
const struct owner_advice *owner_advice_table(size_t *ret_n);

/**
 * owner_sign_of() - what the record alone shows
 *
 * Return: STILL, MISSING, KEPT, BY_HAND, STREAM, ONE_WAY or NONE.
 */
enum owner_sign owner_sign_of(const struct owner_record *rec);

const char *owner_sign_name(enum owner_sign s);

#endif
