// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The one constant instance of the tables, made from the .def files. Where two rows fight for
 * a place the compiler says so (-Woverride-init).
 */
#include "owner/machine.h"

#define G(id) OWNER_GUARD_OF(id)
#define E(id) OWNER_EFFECT_OF(id)
#define A(id) OWNER_ACT_##id
#define D(id) OWNER_DO_OF(id)
#define R(id) (OWNER_EV_##id + 1)
#define K(id) (OWNER_WORD_##id + 1)

/* The daemons' guards have lists of their own: the same letter means another prefix. */
#define OWNER_ROW(state, ev, nth, guards_, next_, effects_, actions_, reply_)             \
	[OWNER_##state][OWNER_EV_##ev][nth] = {                                           \
		.valid = 1, .next = OWNER_##next_, .reply = OWNER_REPLY_##reply_,         \
		.guards = guards_, .effects = effects_, .actions = actions_,              \
	},
#define OWNER_SRC(phase, ev, nth, guards_, next_, request_, by_, word_, todo_)            \
	[OWNER_SRC_##phase][OWNER_SRC_EV_##ev][nth] = {                                   \
		.valid = 1, .next = OWNER_SRC_##next_, .request = request_,               \
		.by = OWNER_BY_##by_, .word = word_, .guards = guards_, .actions = todo_, \
	},
#define OWNER_DST(phase, ev, nth, guards_, next_, request_, todo_)                        \
	[OWNER_DST_##phase][OWNER_DST_EV_##ev][nth] = {                                   \
		.valid = 1, .next = OWNER_DST_##next_, .request = request_,               \
		.guards = guards_, .actions = todo_,                                      \
	},
#define OWNER_ANSWER(question, class, request_, reply_)                                   \
	[OWNER_QUESTION_##question][OWNER_CLASS_##class] = {                              \
		.request = request_, .reply = OWNER_REPLY_##reply_,                       \
	},

const struct owner_machine owner_machine = {
	.vmm = {
#include "owner/vmm.def"
	},
#undef G
#define G(id) OWNER_FACT_OF(id)
	.source = {
#include "owner/source.def"
	},
	.dest = {
#include "owner/dest.def"
	},
	.answers = {
#define OWNER_DST_PHASE(id, name, answers, doc) [OWNER_DST_##id] = answers,
#include "owner/dest.def"
	},
	.answer = {
#include "owner/answer.def"
	},
	.drain = true,
};
