/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef DROVER_TESTS_MODEL_MOVES_H
#define DROVER_TESTS_MODEL_MOVES_H

#include "model.h"

/* Of one state: where its moves go. */
struct gen {
	struct model *m;
	const struct state *s;
	move_fn fn;
	void *opaque;
};

/* moves.c */
void emit(struct gen *g, struct state *n, enum move_class class, const char *what,
	  unsigned int x, const char *detail);

/* hosts.c */
void link_gone(struct gen *g, struct state *n, unsigned int x);
void link_moves(struct gen *g, unsigned int x);
void life_moves(struct gen *g, unsigned int x);
void user_moves(struct gen *g, unsigned int x);

/* talk.c */
void source_hears(struct gen *g, unsigned int x);
void dest_hears(struct gen *g, unsigned int x);
void network(struct gen *g);
void ask(struct gen *g, unsigned int x);
void tell(struct gen *g, unsigned int x);

#endif
