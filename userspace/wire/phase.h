/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_WIRE_PHASE_H
#define DROVER_WIRE_PHASE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wire/wire.h"

/*
 * What is legal when: the tables phases.def and messages.def, asked. No I/O, no clock.
 */
enum drover_phase {
#define PHASE(name, begins, joins, doc) DROVER_PHASE_##name,
#include "wire/phases.def"
	DROVER_PHASE_COUNT
};

/* A session is in one of these; bits, so that a row can name several. */
enum drover_wire_mode {
	DROVER_WIRE_TWO_WAY = 1,        /* precopy, and a session that has not got further */
	DROVER_WIRE_ONE_WAY = 2,        /* nobody answers: a file, a pipe, option one-way */
	DROVER_WIRE_POSTCOPY = 4,       /* from the first DISCARD, or a resumed HELLO, on */
};

/** struct drover_phase_info - a row of phases.def */
struct drover_phase_info {
	const char *name;
	unsigned int begins;            /* DROVER_WIRE_*, 0: the mode stays */
	bool joins;
	const char *doc;
};

/** struct drover_phase_edge - a way from phase to phase */
struct drover_phase_edge {
	enum drover_phase from, to;
	unsigned int modes;
	const char *doc;
};

/** struct drover_msg_when - a row WHEN of messages.def */
struct drover_msg_when {
	uint16_t nr;
	uint8_t from, channels, modes;
	uint32_t phases;                /* bits, by enum drover_phase */
};

/* Messages that ask for another; indices into what a link counts. */
enum drover_ask {
#define ANSWER(name, channels, question) DROVER_ASK_##question,
#include "wire/messages.def"
	DROVER_ASK_COUNT
};

/* Rows; NULL for a phase out of range. */
const struct drover_phase_info *drover_phase_info(enum drover_phase p);
const struct drover_phase_edge *drover_phase_edges(size_t *ret_n);
const struct drover_msg_when *drover_msg_whens(size_t *ret_n);
const char *drover_wire_mode_name(enum drover_wire_mode mode);

/**
 * drover_phase_allows() - may this message come from there, on that channel, now?
 * @info: row of the message, or NULL for an unknown one (refused)
 * @from_source: the sender is the source
 * @channels: one DROVER_ON_* bit; several while nobody knows yet what the channel is
 *
 * Return: 0, or -EBADMSG with a text that names message, phase and what would be legal.
 */
int drover_phase_allows(const struct drover_msg_info *info, bool from_source,
			unsigned int channels, enum drover_phase phase,
			enum drover_wire_mode mode, struct drover_error *e);

/* Is there an edge for a session of this mode? Every phase is its own neighbour. */
bool drover_phase_edge(enum drover_phase from, enum drover_phase to, enum drover_wire_mode mode);

/* The question that this message asks, or answers, on such a channel; -1: none. */
int drover_msg_asks(uint16_t nr, unsigned int channel);
int drover_msg_answers(uint16_t nr, unsigned int channel);

/**
 * struct drover_phase_state - the phase of a session, seen by all of its channels
 * @at: mode << 8 | phase, so that both are read and written as one
 */
struct drover_phase_state {
	_Atomic unsigned int at;
};

void drover_phase_init(struct drover_phase_state *s);
enum drover_phase drover_phase_get(const struct drover_phase_state *s,
				   enum drover_wire_mode *ret_mode);
/* In GREETING only: -EPROTO elsewhere. */
int drover_phase_one_way(struct drover_phase_state *s, struct drover_error *e);
/**
 * drover_phase_move() - enter a phase, from any thread
 *
 * Return: 0, also when the session is in it already; -EPROTO without an edge, naming both.
 */
int drover_phase_move(struct drover_phase_state *s, enum drover_phase to, struct drover_error *e);

#endif
