/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef DROVER_TESTS_MODEL_H
#define DROVER_TESTS_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "owner/machine.h"

/*
 * The model: two or three hosts, each a VMM and a daemon, and a network, all driven by the
 * product's own tables. world.c holds a state and what one event does to it; moves.c, hosts.c
 * and talk.c list what can happen next; explore.c walks all of it, check.c judges;
 * scenarios.c and controls.c are tables.
 */

#define HOSTS 3
#define SESSIONS 4              /* three planned ones and a stranger's */
#define STRANGER 3

/* What a host's memory is, seen from above. */
enum image {
	IMG_EMPTY,
	IMG_PARTIAL,            /* some pages of a migration that is under way */
	IMG_CUR,                /* whole, and nothing has run since elsewhere */
	IMG_MISS,               /* postcopy: current, and pages are still at the source */
	IMG_SERVE,              /* postcopy: those pages */
	IMG_PAST,               /* whole, and the guest was owned elsewhere since */
};

/* What is on its way. To the destination, then to the source. */
enum msg_to_dest {
	TO_NONE,
	TO_STATE,
	TO_STATE_FAIL,
	TO_STATE_END,
	TO_COMMIT,
	TO_FAIL,
	TO_RELEASED,
	TO_END
};
enum msg_to_source { BACK_NONE, BACK_ACKS, BACK_COMMIT_ACK, BACK_FAIL, BACK_COMPLETE };

enum { H_VMM = 1, H_LINK = 2, H_OLD = 4, H_DAEMON = 8, H_REBORN = 16 };

struct host {
	uint16_t rec;           /* index of an interned record */
	uint16_t src;           /* a packed struct owner_source */
	uint8_t dst;            /* a packed struct owner_dest */
	uint8_t pend;           /* request under way on the link, interned; 0: none */
	uint8_t old;            /* the same, of a link that the daemon has closed */
	uint8_t flags;          /* H_* */
	uint8_t image;
	uint8_t wants;          /* what the user wants of the guest here */
	uint8_t src_session;
	uint8_t dst_session;
};

/* lease: 0 not begun, 1 COMMIT is in time, 2 too late for it, 3 6 s of doubt have passed */
struct session {
	uint8_t to, back;       /* enum msg_to_dest, msg_to_source */
	uint8_t src_up : 1, dst_up : 1, cut : 1, will : 1, lease : 2, stale : 1, here : 1;
	uint8_t ended;          /* one-way: END was written */
};

enum { G_FORCED = 1, G_EXCUSED = 2, G_LOST = 4, G_DEATH = 8, G_STRANGER = 16,
       G_HALTED = 32 };

struct state {
	struct host host[HOSTS];
	struct session session[SESSIONS];
	uint8_t next;           /* session of the plan */
	uint8_t faults, users, deaths, cancels;
	uint8_t ghost;          /* G_* */
	uint8_t pad[2];
};

/* Classes of moves: which of them recovery may count on. */
enum move_class {
	MOVE_PROGRESS,          /* happens by itself */
	MOVE_COMMAND,           /* the operator, without --force, and restarts of what is dead */
	MOVE_FORCE,             /* the operator's word */
	MOVE_CHANCE,            /* faults, the user, new migrations: nobody may count on them */
};

enum invariant { INV_NONE, I1, I2, I3A, I3B, I3C, I4, I5, I6, INVARIANTS };

struct plan {
	uint8_t src, dst;
	enum owner_kind kind;
};

struct scenario {
	const char *name;
	unsigned int hosts, sessions;
	struct plan plan[SESSIONS - 1];
	unsigned int faults;            /* set by main.c */
	unsigned int less;              /* so many fewer than the others: it is large */
	unsigned int users, deaths, cancels;
	bool stopped, shared, stranger, force, stray, discard;
};

/* A request to a VMM. */
struct request {
	uint8_t event, session, by, will, role;
};
enum { ROLE_SRC, ROLE_DST };

/* Rows of the tables that were taken at least once. */
struct coverage {
	bool vmm[OWNER_STATE_COUNT][OWNER_EV_COUNT][OWNER_ALTS];
	bool source[OWNER_SRC_PHASE_COUNT][OWNER_SRC_EV_COUNT][OWNER_DAEMON_ALTS];
	bool dest[OWNER_DST_PHASE_COUNT][OWNER_DST_EV_COUNT][OWNER_DAEMON_ALTS];
};

struct model {
	const struct owner_machine *machine;
	const struct scenario *sc;
	struct owner_record *rec;       /* interned */
	unsigned int nrec, rec_cap;
	uint32_t *rec_slot;
	struct request req[256];
	unsigned int nreq;
	struct memo *memo;
	uint64_t memo_cap, memo_n;
	enum invariant broken;          /* by the step that was made last */
	const char *why;
	struct coverage seen;
};

/* world.c */
void model_init(struct model *m, const struct owner_machine *machine, const struct scenario *sc);
void model_deinit(struct model *m);
void model_begin(struct model *m, struct state *s);
bool host_is(const struct state *s, unsigned int x, unsigned int flags);
const struct owner_record *rec_of(const struct model *m, const struct state *s, unsigned int x);
void token_of(unsigned int session, struct owner_token *t);
unsigned int session_of(const struct owner_token *t);
unsigned int source_of(const struct model *m, unsigned int session);
unsigned int dest_of(const struct model *m, unsigned int session);
enum owner_kind kind_of(const struct model *m, unsigned int session);
unsigned int host_of_peer(const char *peer);
struct owner_source src_of(const struct state *s, unsigned int x);
struct owner_dest dst_of(const struct state *s, unsigned int x);
bool readable(const struct state *s, unsigned int x);
struct request request_of(enum owner_event ev, unsigned int session);
uint8_t request_id(struct model *m, struct request q);
bool vmm_event(struct model *m, struct state *s, unsigned int x, struct request q,
	       enum owner_reply *reply);
bool src_event(struct model *m, struct state *s, unsigned int x, enum owner_source_event ev);
bool dst_event(struct model *m, struct state *s, unsigned int x, enum owner_dest_event ev);
void close_link(struct state *s, unsigned int x);
void breaks(struct model *m, enum invariant inv, const char *why);

/* ghost.c */
void ghost_step(struct model *m, struct state *s, unsigned int x, struct request q,
		enum owner_state was, unsigned int actions);

void ghost_peace(const struct model *m, struct state *s);

/* moves.c */
struct move {
	enum move_class class;
	const char *what;               /* with one %s: the host's name */
	unsigned int x;
	const char *detail;
};
typedef void (*move_fn)(void *opaque, const struct state *next, const struct move *mv,
			enum invariant broken, const char *why);
void model_moves(struct model *m, const struct state *s, move_fn fn, void *opaque);

/* check.c */
enum invariant check_state(const struct model *m, const struct state *s, const char **why);
bool is_goal(const struct model *m, const struct state *s);
bool is_settled(const struct model *m, const struct state *s);
bool all_alive(const struct model *m, const struct state *s);

/* explore.c */
struct result {
	uint64_t states, edges;
	unsigned int depth, faults, scenario;
	double seconds;
	bool complete;
	enum invariant broken;
	char why[80];
	struct coverage seen;
};
void explore(const struct owner_machine *machine, const struct scenario *sc, uint64_t max_states,
	     bool trace, struct result *ret);
const char *invariant_name(enum invariant inv);

/* controls.c: one rule taken out of a copy of the tables */
struct control {
	const char *rule, *what;
	void (*take_out)(struct owner_machine *m);
	bool second_line;               /* nothing breaks: another rule covers it */
};
extern const struct control controls[];
extern const unsigned int ncontrols;

extern const struct scenario scenarios[];
extern const unsigned int nscenarios;

#endif
