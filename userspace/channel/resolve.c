// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Name resolution that the caller can give up. getaddrinfo() has no deadline and can't be
 * interrupted; getaddrinfo_a() has no descriptor to wait for and can't be cancelled once it has
 * begun. So a detached thread resolves the name. It shares the question with the caller: the last
 * of the two to drop its reference frees it, and a caller that is cancelled drops its own and
 * returns. Numeric addresses need no name server and no thread.
 */
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/thread.h"
#include "channel/internal.h"

/* @refs: the caller's and the thread's; @answered is set after @rc, @err and @res */
struct question {
	atomic_uint refs;
	atomic_bool answered;
	struct drover_cancel done;      /* the thread rings it when it has the answer */
	char *host, *port;
	struct addrinfo hints;
	int rc, err;
	struct addrinfo *res;
};

static void unref(struct question *q)
{
	if (atomic_fetch_sub(&q->refs, 1) != 1)
		return;
	if (q->res)
		freeaddrinfo(q->res);
	drover_cancel_deinit(&q->done);
	free(q->host);
	free(q->port);
	free(q);
}

static void unrefp(struct question **q)
{
	if (*q)
		unref(*q);
}

static void *answer(void *arg)
{
	struct question *q = arg;

	drover_thread_name("resolve", -1);
	q->rc = getaddrinfo(q->host, q->port, &q->hints, &q->res);
	q->err = errno;
	atomic_store_explicit(&q->answered, true, memory_order_release);
	drover_cancel_ring(&q->done);
	unref(q);
	return NULL;
}

static int failed(int rc, int err, const struct drover_address *a, struct drover_error *e)
{
	bool system = rc == EAI_SYSTEM && err;
	int r = system ? -err : rc == EAI_MEMORY ? -ENOMEM : -EHOSTUNREACH;

	return drover_err(e, r, "address resolution failed for %s:%s: %s", a->u.inet.host,
			  a->u.inet.port, system ? drover_strerror(err) : gai_strerror(rc));
}

static int start(struct question *q, struct drover_error *e)
{
	sigset_t all, old;
	pthread_attr_t attr;
	pthread_t thread;
	int r;

	/* the program's own threads must get its signals, not this one */
	sigfillset(&all);
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	atomic_fetch_add(&q->refs, 1);
	r = pthread_create(&thread, &attr, answer, q);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	if (!r)
		return 0;
	atomic_fetch_sub(&q->refs, 1);
	return drover_err(e, -r, "address resolution: thread: %s", drover_strerror(r));
}

static int ask(const struct drover_address *a, const struct addrinfo *hints,
	       const struct drover_channel_opts *o, struct addrinfo **ret, struct drover_error *e)
{
	_cleanup_(unrefp) struct question *q = NULL;
	struct question *fresh = calloc(1, sizeof(*fresh));
	int r;

	if (!fresh)
		return drover_err(e, -ENOMEM, "address resolution: out of memory");
	r = drover_cancel_init(&fresh->done, e);
	if (r < 0) {
		free(fresh);
		return r;
	}
	q = fresh;
	atomic_init(&q->refs, 1);
	q->hints = *hints;
	q->host = strdup(a->u.inet.host);
	q->port = strdup(a->u.inet.port);
	if (!q->host || !q->port)
		return drover_err(e, -ENOMEM, "address resolution: out of memory");
	r = start(q, e);
	if (r < 0)
		return r;
	r = drover_wait_fd(q->done.fd, POLLIN, o->cancel, o->deadline);
	if (r < 0)
		return drover_err(e, r, "address resolution for %s:%s: %s", a->u.inet.host,
				  a->u.inet.port, r == -ECANCELED ? "cancelled" :
				  r == -ETIMEDOUT ? "timed out" : drover_strerror(r));
	if (!atomic_load_explicit(&q->answered, memory_order_acquire))
		return drover_err(e, -EIO, "address resolution: no answer");
	if (q->rc)
		return failed(q->rc, q->err, a, e);
	*ret = TAKE_PTR(q->res);
	return 0;
}

static int family(const struct drover_address *a)
{
	if (a->u.inet.ipv4 == DROVER_ON && a->u.inet.ipv6 == DROVER_ON)
		return AF_UNSPEC;
	if (a->u.inet.ipv6 == DROVER_ON || a->u.inet.ipv4 == DROVER_OFF)
		return AF_INET6;
	if (a->u.inet.ipv4 == DROVER_ON || a->u.inet.ipv6 == DROVER_OFF)
		return AF_INET;
	return AF_UNSPEC;
}

int drover_resolve(const struct drover_address *a, bool passive,
		   const struct drover_channel_opts *o, struct addrinfo **ret,
		   struct drover_error *e)
{
	struct addrinfo hints = {
		.ai_family = family(a),
		.ai_socktype = SOCK_STREAM,
		.ai_flags = passive ? AI_PASSIVE : 0,
	};
	struct addrinfo numeric = hints;
	const char *host = *a->u.inet.host ? a->u.inet.host : NULL;
	int rc;

	numeric.ai_flags |= AI_NUMERICHOST | AI_NUMERICSERV;
	rc = getaddrinfo(host, a->u.inet.port, &numeric, ret);
	if (!rc)
		return 0;
	if (a->u.inet.numeric == DROVER_ON || !host)
		return failed(rc, errno, a, e);
	return ask(a, &hints, o, ret, e);
}
