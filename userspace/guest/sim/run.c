// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The simulated guest's writers: threads that write random pages of the hot part at a
 * set rate. A page is written whole under its stripe, and a writer looks at the stop
 * flag between pages, so a stopped guest holds no half of a page. Called by sim.c.
 */
#include <errno.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/thread.h"
#include "guest/sim/sim.h"

/* From here on one thread could not keep the rate while the tracker makes it fault. */
#define TWO_WRITERS_RATE (200ull << 20)
#define TICK_NS DROVER_NS_PER_MS
/* So soon a change of the throttle is noticed by a slow one. */
#define TICK_MAX_NS (100 * DROVER_NS_PER_MS)
/* What a writer that was held up catches up with at most. */
#define BURST_NS (100 * DROVER_NS_PER_MS)

static uint64_t next_random(uint64_t *x)
{
	*x ^= *x << 13;
	*x ^= *x >> 7;
	*x ^= *x << 17;
	return *x;
}

static void write_page(struct sim_writer *w, uint64_t page)
{
	struct drover_sim *s = w->sim;
	uint8_t *at = s->vmm + drover_page_off(page);
	uint64_t old;
	DROVER_LOCK(&s->stripe[page % SIM_STRIPES]);

	sim_check_page(s, page);
	old = sim_page_version(at, s->args.seed, page);
	sim_page_fill(at, s->args.seed, page, old + 1);
	w->sum += sim_page_mix(page, old + 1) - sim_page_mix(page, old);
	w->writes++;
}

/* Sleep; false when the guest is to stop. */
static bool tick(struct drover_sim *s, uint64_t ns)
{
	uint64_t until = drover_now_ns() + ns;
	struct timespec ts = {
		.tv_sec = (time_t)(until / DROVER_NS_PER_S),
		.tv_nsec = (long)(until % DROVER_NS_PER_S),
	};
	DROVER_LOCK(&s->lock);

	while (!s->stop)
		if (pthread_cond_timedwait(&s->cond, &s->lock, &ts) == ETIMEDOUT)
			break;
	return !s->stop;
}

static bool stopping(struct drover_sim *s)
{
	return atomic_load_explicit(&s->stop_now, memory_order_relaxed);
}

/* Until there is a page to write. */
static uint64_t pause_ns(double credit, double rate)
{
	double ns = rate > 0 ? (DROVER_PAGE_SIZE - credit) / rate * DROVER_NS_PER_S : TICK_MAX_NS;

	return ns < TICK_NS ? TICK_NS : ns > TICK_MAX_NS ? TICK_MAX_NS : (uint64_t)ns;
}

static void *writer_main(void *arg)
{
	struct sim_writer *w = arg;
	struct drover_sim *s = w->sim;
	uint64_t hot = drover_pages(s->args.hot), last = drover_now_ns(), now;
	double credit = 0, rate, most;

	drover_thread_name("sim-writer", (int)(w - s->writer));
	do {
		rate = (double)w->rate *
			(100 - atomic_load_explicit(&s->throttle, memory_order_relaxed)) / 100;
		most = rate * BURST_NS / DROVER_NS_PER_S;
		if (most < DROVER_PAGE_SIZE)
			most = DROVER_PAGE_SIZE;
		now = drover_now_ns();
		credit += rate * (double)(now - last) / DROVER_NS_PER_S;
		last = now;
		if (credit > most)
			credit = most;
		for (; credit >= DROVER_PAGE_SIZE && !stopping(s); credit -= DROVER_PAGE_SIZE)
			write_page(w, next_random(&w->rng) % hot);
	} while (tick(s, pause_ns(credit, rate)));
	return NULL;
}

int sim_run_start(struct drover_sim *s, struct drover_error *e)
{
	unsigned int i, n = !s->args.dirty ? 0 : s->args.dirty < TWO_WRITERS_RATE ? 1 : 2;
	int r;

	s->stop = false;
	atomic_store(&s->stop_now, false);
	s->runs++;
	s->nwriters = n;
	for (i = 0; i < n; i++) {
		struct sim_writer *w = &s->writer[i];

		*w = (struct sim_writer){ .sim = s, .rate = s->args.dirty / n };
		/* Never zero, where the generator would stay */
		w->rng = sim_page_mix(s->args.seed, s->runs * SIM_WRITERS_MAX + i) | 1;
		r = pthread_create(&w->thread, NULL, writer_main, w);
		if (r) {
			s->nwriters = i;
			sim_run_stop(s);
			return drover_err(e, -r, "guest sim: start a writer: %s",
					  drover_strerror(r));
		}
	}
	return 0;
}

void sim_run_stop(struct drover_sim *s)
{
	unsigned int i;

	atomic_store(&s->stop_now, true);
	pthread_mutex_lock(&s->lock);
	s->stop = true;
	pthread_cond_broadcast(&s->cond);
	pthread_mutex_unlock(&s->lock);
	for (i = 0; i < s->nwriters; i++) {
		pthread_join(s->writer[i].thread, NULL);
		s->sum += s->writer[i].sum;
		s->writes += s->writer[i].writes;
	}
	s->nwriters = 0;
}
