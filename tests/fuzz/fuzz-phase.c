// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A session as a peer may play it: each byte pair of the input is a message that one side says
 * on some channel, or a phase that is entered. Whatever the order, only what the tables have is
 * legal, and what ownership rests on holds: a guest that has been handed over is never taken
 * back, and its memory at the source is given up only after COMMIT.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/err.h"
#include "wire/phase.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int cond)
{
	if (!cond)
		__builtin_trap();
}

/**
 * struct story - what has happened in the session
 * @committed: COMMIT was said
 * @owned: and answered
 * @state: the device state has begun
 * @accepted: the session has begun
 * @settled: and the destination can refuse it no more; a HELLO that resumes one it can
 */
struct story {
	bool committed, owned, state, accepted, settled;
};

static void check_legal(const struct drover_msg_info *m, bool source, enum drover_wire_mode mode,
			const struct story *t)
{
	must(m->from & (source ? DROVER_FROM_S : DROVER_FROM_D));
	/* One-way nobody answers. */
	must(source || mode != DROVER_WIRE_ONE_WAY);
	switch (m->nr) {
	case DROVER_MSG_RELEASE:
	case DROVER_MSG_PAUSED:
	case DROVER_MSG_RELEASED:
		must(t->owned);
		break;
	case DROVER_MSG_PAGES:
		must(mode == DROVER_WIRE_POSTCOPY || !t->state);
		break;
	case DROVER_MSG_FAIL:
		must(!t->settled && (!source || !t->committed));
		break;
	case DROVER_MSG_COMMIT:
	case DROVER_MSG_END:
		must(t->state && !t->committed);
		break;
	case DROVER_MSG_HELLO:
	case DROVER_MSG_ATTACH:
	case DROVER_MSG_OWNER_QUERY:
		must(!t->accepted);
		break;
	default:
		break;
	}
}

static void say(const struct drover_phase_state *s, const struct story *t, uint8_t type, uint8_t how)
{
	const struct drover_msg_info *m = drover_msg_info(type % 32);
	unsigned int channel = 1u << (how >> 1) % 3;
	struct drover_error e = DROVER_ERROR_INIT;
	enum drover_wire_mode mode;
	enum drover_phase phase = drover_phase_get(s, &mode);
	int r = drover_phase_allows(m, how & 1, channel, phase, mode, &e);

	must(phase < DROVER_PHASE_COUNT);
	if (!r) {
		must(m && (m->channels & channel));
		check_legal(m, how & 1, mode, t);
		return;
	}
	must(r == -EBADMSG && e.code == r && e.msg[0] && strlen(e.msg) < sizeof(e.msg));
	must(!m || strstr(e.msg, m->name));
}

static void enter(struct drover_phase_state *s, struct story *t, uint8_t to)
{
	enum drover_phase next = (enum drover_phase)(to % DROVER_PHASE_COUNT), from;
	struct drover_error e = DROVER_ERROR_INIT;
	enum drover_wire_mode mode;
	int r;

	from = drover_phase_get(s, &mode);
	r = drover_phase_move(s, next, &e);
	must((r == 0) == drover_phase_edge(from, next, mode));
	if (r < 0) {
		must(r == -EPROTO && strstr(e.msg, drover_phase_info(next)->name));
		must(drover_phase_get(s, &mode) == from);
		return;
	}
	if (next == from)
		return;
	must(from != DROVER_PHASE_OVER);
	/* There is no way back over a COMMIT, nor to a beginning. */
	must(!t->committed || next > DROVER_PHASE_COMMITTING);
	must(next != DROVER_PHASE_GREETING);
	t->accepted = true;
	t->state = t->state || next == DROVER_PHASE_STATE;
	t->committed = t->committed || next == DROVER_PHASE_COMMITTING ||
		       next == DROVER_PHASE_RESUMING;
	t->settled = t->settled || next == DROVER_PHASE_COMMITTED || next == DROVER_PHASE_SERVING;
	t->owned = t->owned || next == DROVER_PHASE_COMMITTED || next == DROVER_PHASE_SERVING ||
		   next == DROVER_PHASE_RECOVERING || next == DROVER_PHASE_RESUMING;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct drover_phase_state s;
	struct story t = { 0 };

	drover_phase_init(&s);
	for (; size >= 2; data += 2, size -= 2) {
		if (data[1] & 0x80)
			drover_phase_one_way(&s, NULL);
		if (data[1] & 0x40)
			enter(&s, &t, data[0]);
		else
			say(&s, &t, data[0], data[1] & 0x3f);
	}
	return 0;
}
