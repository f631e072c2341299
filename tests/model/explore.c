// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Breadth first over all states: each once, compared whole, so nothing is missed by a hash.
 * What follows each is kept, four bytes an edge, so that recovery (I3) can be asked of the
 * whole graph. The first state that breaks an invariant is the nearest one: its trace is
 * the shortest.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "model.h"

#define CLASS_SHIFT 30
#define ID_MASK ((1u << CLASS_SHIFT) - 1)
#define NOWHERE UINT32_MAX

enum { REACH_A = 1, REACH_B = 2, REACH_C = 4 };

struct graph {
	struct model m;
	struct state *state;
	uint32_t *parent;
	uint64_t *first;                /* of a state's edges */
	uint32_t *edge;
	uint32_t *slot;
	uint8_t *reach;
	uint64_t n, cap, nedges, edge_cap, slots;
	uint64_t max;
	uint32_t from;                  /* being expanded */
	bool full;
	enum invariant broken;
	const char *why;
	uint32_t broken_at;             /* the state, or the parent of the step */
	struct state broken_next;
};

static void *grow(void *p, size_t bytes)
{
	p = realloc(p, bytes);
	if (!p) {
		fprintf(stderr, "model: out of memory\n");
		exit(2);
	}
	return p;
}

static uint64_t hash_state(const struct state *s)
{
	uint64_t h = 0x9e3779b97f4a7c15ull, w;
	const uint8_t *p = (const uint8_t *)s;
	size_t i;

	_Static_assert(sizeof(*s) % 4 == 0, "words");
	for (i = 0; i + 8 <= sizeof(*s); i += 8) {
		memcpy(&w, p + i, 8);
		h = (h ^ w) * 0xff51afd7ed558ccdull;
		h ^= h >> 32;
	}
	if (i < sizeof(*s)) {
		uint32_t v;

		memcpy(&v, p + i, 4);
		h = (h ^ v) * 0xff51afd7ed558ccdull;
		h ^= h >> 32;
	}
	return h;
}

static void rehash(struct graph *g)
{
	uint64_t i, k;

	g->slots = g->slots ? g->slots * 2 : 1u << 16;
	free(g->slot);
	g->slot = grow(NULL, g->slots * sizeof(*g->slot));
	memset(g->slot, 0xff, g->slots * sizeof(*g->slot));
	for (i = 0; i < g->n; i++) {
		for (k = hash_state(&g->state[i]) & (g->slots - 1); g->slot[k] != NOWHERE;
		     k = (k + 1) & (g->slots - 1))
			;
		g->slot[k] = (uint32_t)i;
	}
}

static uint32_t find_or_add(struct graph *g, const struct state *s, uint32_t parent, bool *new)
{
	uint64_t k;

	if (g->n * 2 >= g->slots)
		rehash(g);
	for (k = hash_state(s) & (g->slots - 1); g->slot[k] != NOWHERE;
	     k = (k + 1) & (g->slots - 1))
		if (!memcmp(&g->state[g->slot[k]], s, sizeof(*s)))
			return g->slot[k];
	if (g->n == g->max) {
		g->full = true;
		return NOWHERE;
	}
	if (g->n == g->cap) {
		g->cap = g->cap ? g->cap * 3 / 2 : 1u << 12;
		g->state = grow(g->state, g->cap * sizeof(*g->state));
		g->parent = grow(g->parent, g->cap * sizeof(*g->parent));
		g->first = grow(g->first, (g->cap + 1) * sizeof(*g->first));
	}
	g->state[g->n] = *s;
	g->parent[g->n] = parent;
	g->slot[k] = (uint32_t)g->n;
	*new = true;
	return (uint32_t)g->n++;
}

static void take(void *opaque, const struct state *next, const struct move *mv,
		 enum invariant broken, const char *why)
{
	struct graph *g = opaque;
	bool new = false;
	uint32_t id;

	if (g->broken)
		return;
	if (!broken)
		broken = check_state(&g->m, next, &why);
	if (broken) {
		g->broken = broken;
		g->why = why;
		g->broken_at = g->from;
		g->broken_next = *next;
		return;
	}
	id = find_or_add(g, next, g->from, &new);
	if (id == NOWHERE)
		return;
	if (g->nedges == g->edge_cap) {
		g->edge_cap = g->edge_cap ? g->edge_cap * 3 / 2 : 1u << 14;
		g->edge = grow(g->edge, g->edge_cap * sizeof(*g->edge));
	}
	g->edge[g->nedges++] = id | (uint32_t)mv->class << CLASS_SHIFT;
}

/* ---- traces ------------------------------------------------------------------- */

struct finder {
	const struct state *want;
	struct move mv;
	bool found;
};

static void look(void *opaque, const struct state *next, const struct move *mv,
		 enum invariant broken, const char *why)
{
	struct finder *f = opaque;

	(void)broken;
	(void)why;
	if (f->found || memcmp(next, f->want, sizeof(*next)))
		return;
	f->mv = *mv;
	f->found = true;
}

static void print_host(const struct model *m, const struct state *s, unsigned int x)
{
	static const char *const images[] = { "empty", "partial", "whole", "incomplete", "needed",
					      "past" };
	const struct owner_record *rec = rec_of(m, s, x);
	const char *note = host_is(s, x, H_DAEMON) ? "" : " no-daemon";

	if (!host_is(s, x, H_VMM)) {
		printf("  %c: dead%s", 'A' + x, note);
		return;
	}
	printf("  %c: %s%s%s %s src=%s dst=%s%s", 'A' + x, owner_state_name(rec->state),
	       rec->running ? " runs" : "", rec->will ? " will" : "", images[s->host[x].image],
	       owner_source_phase_name(src_of(s, x).phase),
	       owner_dest_phase_name(dst_of(s, x).phase), note);
}

static void print_step(struct graph *g, const struct state *from, const struct state *to)
{
	struct finder f = { .want = to };
	char text[256];
	const char names[] = "A\0B\0C";
	unsigned int x;

	model_moves(&g->m, from, look, &f);
	snprintf(text, sizeof(text), f.found ? f.mv.what : "%s: ?", names + 2 * (f.mv.x % HOSTS),
		 f.mv.detail ? f.mv.detail : "");
	printf("#   %s\n#      ", text);
	for (x = 0; x < g->m.sc->hosts; x++)
		print_host(&g->m, to, x);
	printf("\n");
}

static void print_trace(struct graph *g, uint32_t at, const struct state *last)
{
	uint32_t path[512];
	unsigned int n = 0;

	for (; at != NOWHERE && n < 512; at = g->parent[at])
		path[n++] = at;
	while (n-- > 1)
		print_step(g, &g->state[path[n]], &g->state[path[n - 1]]);
	if (last)
		print_step(g, &g->state[path[0]], last);
}

/* ---- recovery ------------------------------------------------------------------ */

/* I3(c) is about what comes by itself. */
static uint8_t goal_of(const struct graph *g, const struct state *s)
{
	return (is_goal(&g->m, s) ? REACH_A | REACH_B : 0) | (is_settled(&g->m, s) ? REACH_C : 0);
}

static uint8_t through(unsigned int class)
{
	static const uint8_t may[] = {
		[MOVE_PROGRESS] = REACH_A | REACH_B | REACH_C,
		[MOVE_COMMAND] = REACH_A | REACH_B,
		[MOVE_FORCE] = REACH_A,
		[MOVE_CHANCE] = 0,
	};

	return may[class];
}

/* Backwards until nothing changes; successors mostly come later, so few passes do. */
static void spread(struct graph *g)
{
	bool changed = true;
	uint64_t i, k;

	for (i = 0; i < g->n; i++)
		g->reach[i] = goal_of(g, &g->state[i]);
	while (changed) {
		changed = false;
		for (i = g->n; i-- > 0;) {
			uint8_t r = g->reach[i];

			for (k = g->first[i]; k < g->first[i + 1] && r != 7; k++)
				r |= g->reach[g->edge[k] & ID_MASK] &
				     through(g->edge[k] >> CLASS_SHIFT);
			changed |= r != g->reach[i];
			g->reach[i] = r;
		}
	}
}

static bool is_one_way(const struct scenario *sc)
{
	return sc->plan[0].kind == OWNER_KIND_ONE_WAY;
}

static enum invariant judge(const struct graph *g, const struct state *s, uint8_t reach)
{
	const struct scenario *sc = g->m.sc;
	bool gentle = !(s->ghost & (G_FORCED | G_DEATH)) && !is_one_way(sc);

	if (gentle && !(reach & REACH_B))
		return I3B;
	if (all_alive(&g->m, s) && !(reach & REACH_C))
		return I3C;
	if ((sc->force || gentle) && !(reach & (sc->force ? REACH_A : REACH_B)))
		return I3A;
	return INV_NONE;
}

static void check_recovery(struct graph *g)
{
	static const char *const why[] = {
		[I3A] = "no sequence of commands leads to one whole guest",
		[I3B] = "without --force nothing leads to one whole guest",
		[I3C] = "all live, and by itself nothing settles it",
	};
	uint64_t i;

	g->reach = grow(NULL, g->n);
	spread(g);
	for (i = 0; i < g->n && !g->broken; i++) {
		g->broken = judge(g, &g->state[i], g->reach[i]);
		if (!g->broken)
			continue;
		g->why = why[g->broken];
		g->broken_at = (uint32_t)i;
	}
}

/* ---- the walk ------------------------------------------------------------------- */

static void walk(struct graph *g, struct result *ret)
{
	struct state s;
	uint64_t level = 0;
	bool new;

	model_begin(&g->m, &s);
	find_or_add(g, &s, NOWHERE, &new);
	g->first[0] = 0;
	for (level = g->n; g->from < g->n && !g->broken && !g->full; g->from++) {
		if (g->from == level) {
			ret->depth++;
			level = g->n;
		}
		s = g->state[g->from];
		model_moves(&g->m, &s, take, g);
		g->first[g->from + 1] = g->nedges;
	}
}

static double seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

const char *invariant_name(enum invariant inv)
{
	static const char *const names[] = {
		"none", "I1", "I2", "I3(a)", "I3(b)", "I3(c)", "I4", "I5", "I6",
	};

	return names[inv];
}

void explore(const struct owner_machine *machine, const struct scenario *sc, uint64_t max_states,
	     bool trace, struct result *ret)
{
	struct graph g = { .max = max_states < ID_MASK ? max_states : ID_MASK };
	double begin = seconds();
	bool step;

	memset(ret, 0, sizeof(*ret));
	model_init(&g.m, machine, sc);
	walk(&g, ret);
	step = g.broken;
	ret->complete = !g.full && !g.broken;
	if (ret->complete)
		check_recovery(&g);
	ret->states = g.n;
	ret->edges = g.nedges;
	ret->broken = g.broken;
	snprintf(ret->why, sizeof(ret->why), "%s", g.why ? g.why : "");
	ret->seen = g.m.seen;
	ret->seconds = seconds() - begin;
	if (g.broken && trace) {
		printf("# %s: %s: %s\n", sc->name, invariant_name(g.broken), g.why);
		print_trace(&g, g.broken_at, step ? &g.broken_next : NULL);
		fflush(stdout);
	}
	free(g.state);
	free(g.parent);
	free(g.first);
	free(g.edge);
	free(g.slot);
	free(g.reach);
	model_deinit(&g.m);
}
