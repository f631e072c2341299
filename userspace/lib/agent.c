// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * libdrover's public face: an agent's life, its RAM blocks, its event loop. Everything
 * hangs off struct drover_agent; what must outlive a droverd (RAM, userfaultfd,
 * ownership record) lives there. Called by VMMs, drover-vmm among them.
 */
#define _GNU_SOURCE
#include "lib/drover.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "dev/uffd.h"
#include "lib/internal.h"
#include "ram/ramfile.h"
#include "ram/wrote.h"

/* NOLINTNEXTLINE(misc-redundant-expression): equal is what they must be. */
_Static_assert(DROVER_AGENT_RAM_SHARED_DEST == DROVER_RAM_SHARED_DEST, "RAM flags");

/* Hand an internal error to the caller's text, which may be NULL. */
static int say(int r, const struct drover_error *e, struct drover_text *why)
{
	if (why && r < 0)
		snprintf(why->text, sizeof(why->text), "agent: %.*s", DROVER_TEXT_MAX - 8,
			 e->msg);
	return r;
}

/*
 * Copy a caller's size-first struct: an older caller's is shorter and padded with zeros;
 * a newer one's may be longer if the rest is zero.
 */
static int copy_sized(void *dst, size_t have, size_t min, const void *src, const char *what,
		      struct drover_error *e)
{
	size_t size, i;

	if (!src)
		return drover_err(e, -EINVAL, "%s: missing", what);
	memcpy(&size, src, sizeof(size));
	if (size < min)
		return drover_err(e, -EINVAL, "%s: size %zu is too small", what, size);
	for (i = have; i < size; i++)
		if (((const uint8_t *)src)[i])
			return drover_err(e, -E2BIG, "%s: asks for more than this libdrover knows",
					  what);
	memset(dst, 0, have);
	memcpy(dst, src, size < have ? size : have);
	return 0;
}

#define END_OF(type, member) (offsetof(type, member) + sizeof(((type *)0)->member))

static int take_opts(struct drover_agent *a, const struct drover_agent_opts *user,
		     struct drover_error *e)
{
	const uint32_t stopped = DROVER_AGENT_OPT_INCOMING | DROVER_AGENT_OPT_PAUSED;
	struct drover_agent_opts o;
	int r;

	r = copy_sized(&o, sizeof(o), END_OF(struct drover_agent_opts, opaque), user, "opts", e);
	if (r >= 0)
		r = copy_sized(&a->ops, sizeof(a->ops), END_OF(struct drover_agent_ops, resume),
			       o.ops, "ops", e);
	if (r < 0)
		return r;
	if (o.flags & ~(stopped | DROVER_AGENT_OPT_REPORTS_WRITES) || o.reserved)
		return drover_err(e, -EINVAL, "opts: unknown flags 0x%x", o.flags);
	if (!o.path || !*o.path || strlen(o.path) >= sizeof(a->path))
		return drover_err(e, -EINVAL, "opts: the socket's path must have 1 to %zu bytes",
				  sizeof(a->path) - 1);
	if (!a->ops.pause || !a->ops.resume)
		return drover_err(e, -EINVAL, "ops: pause and resume are mandatory");
	if (!a->ops.log_start != !a->ops.log_sync || !a->ops.log_start != !a->ops.log_stop)
		return drover_err(e, -EINVAL, "ops: the three log callbacks come together");
	strcpy(a->path, o.path);
	a->opaque = o.opaque;
	a->has_uuid = o.uuid != NULL;
	if (o.uuid)
		memcpy(a->uuid, o.uuid, sizeof(a->uuid));
	a->reports = o.flags & DROVER_AGENT_OPT_REPORTS_WRITES;
	owner_record_init(&a->record, o.flags & DROVER_AGENT_OPT_INCOMING,
			  !(o.flags & DROVER_AGENT_OPT_PAUSED));
	a->closed = true;
	a->now = drover_boot_ns;
	return 0;
}

void drover_track_fds(int *uffd, int *pagemap)
{
	int fd = -EBADF;

	*uffd = drover_uffd_new(DROVER_UFFD_FEATURES, &fd, NULL, NULL) < 0 ? -1 : fd;
	fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	*pagemap = fd < 0 ? -1 : fd;
}

int drover_agent_new(const struct drover_agent_opts *opts, struct drover_agent **ret,
		     struct drover_text *why)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_agent *a = calloc(1, sizeof(*a));
	int r;

	if (!a)
		return say(drover_err(&e, -ENOMEM, "out of memory"), &e, why);
	a->uffd = a->pagemap_fd = a->epoll_fd = a->listen_fd = a->conn_fd = -EBADF;
	drover_agent_msg_init(&a->request);
	r = take_opts(a, opts, &e);
	if (r >= 0) {
		a->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
		if (a->epoll_fd < 0)
			r = drover_err(&e, -errno, "epoll: %s", drover_strerror(errno));
	}
	if (r < 0) {
		drover_agent_free(a);
		return say(r, &e, why);
	}
	drover_track_fds(&a->uffd, &a->pagemap_fd);
	*ret = a;
	return 0;
}

struct drover_agent *drover_agent_free(struct drover_agent *a)
{
	unsigned int i;

	if (!a)
		return NULL;
	/* The VMM ends: nothing is resumed, droverd sees the link close; who waits can end. */
	if (a->ledger)
		agent_uffd_release(a);
	drover_closep(&a->conn_fd);
	if (a->bound)
		unlink(a->path);
	drover_closep(&a->listen_fd);
	drover_closep(&a->epoll_fd);
	drover_closep(&a->uffd);
	drover_closep(&a->pagemap_fd);
	for (i = 0; i < a->ram.n; i++)
		drover_closep(&a->ram.block[i].fd);
	drover_ledger_free(a->ledger);
	drover_wrote_free(a->wrote);
	free(a);
	return NULL;
}

static int check_ram(const struct drover_agent *a, const struct drover_agent_ram_opts *o,
		     struct drover_error *e)
{
	static const char chars[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				    "0123456789._/-";
	uint64_t bits = o->gpa | o->len | o->fd_off | (uintptr_t)o->host;
	uint64_t size;
	unsigned int i;
	int r;

	if (a->listen_fd >= 0)
		return drover_err(e, -EINVAL, "RAM: too late, the agent listens");
	if (a->ram.n == DROVER_RAM_BLOCKS_MAX)
		return drover_err(e, -ENOSPC, "RAM: more than %u blocks", DROVER_RAM_BLOCKS_MAX);
	if (!o->name || !*o->name || strlen(o->name) > DROVER_RAM_NAME_MAX ||
	    strspn(o->name, chars) != strlen(o->name))
		return drover_err(e, -EINVAL, "RAM: bad name");
	if (bits & (DROVER_PAGE_SIZE - 1) || !o->len || !o->host || o->len > UINT64_MAX - o->gpa ||
	    o->flags & ~DROVER_AGENT_RAM_SHARED_DEST)
		return drover_err(e, -EINVAL, "RAM %s: bad size, alignment or flags", o->name);
	r = agent_ram_check_file(a, o->fd, o->name, e);
	if (r < 0)
		return r;
	r = drover_ramfile_size(o->fd, &size);
	if (r < 0)
		return drover_err(e, r, "RAM %s: size of its file: %s", o->name, drover_strerror(r));
	if (o->fd_off > size || o->len > size - o->fd_off)
		return drover_err(e, -EINVAL, "RAM %s: not within its file", o->name);
	for (i = 0; i < a->ram.n; i++) {
		const struct drover_ram_block *b = &a->ram.block[i];

		if (!strcmp(b->name, o->name))
			return drover_err(e, -EEXIST, "RAM %s: named twice", o->name);
		if (b->gpa < o->gpa + o->len && o->gpa < b->gpa + b->size)
			return drover_err(e, -EINVAL, "RAM %s overlaps %s", o->name, b->name);
	}
	return 0;
}

int drover_agent_add_ram(struct drover_agent *a, const struct drover_agent_ram_opts *user,
			 struct drover_text *why)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_agent_ram_opts o;
	struct drover_ram_block *b;
	int r;

	r = copy_sized(&o, sizeof(o), sizeof(o), user, "RAM", &e);
	if (r >= 0)
		r = check_ram(a, &o, &e);
	if (r < 0)
		return say(r, &e, why);
	b = &a->ram.block[a->ram.n];
	*b = (struct drover_ram_block){ .gpa = o.gpa, .size = o.len, .fd = o.fd,
					.fd_off = o.fd_off, .flags = o.flags, .host = o.host };
	snprintf(b->name, sizeof(b->name), "%s", o.name);
	r = agent_ram_check_mapping(b, &e);
	if (r < 0)
		return say(r, &e, why);
	b->fd = fcntl(o.fd, F_DUPFD_CLOEXEC, 0);
	if (b->fd < 0)
		return say(drover_err(&e, -errno, "RAM %s: dup: %s", o.name,
				      drover_strerror(errno)), &e, why);
	a->ram.n++;
	return 0;
}

int drover_agent_listen(struct drover_agent *a, struct drover_text *why)
{
	struct drover_error e = DROVER_ERROR_INIT;
	int r;

	if (a->listen_fd >= 0 || !a->ram.n)
		r = drover_err(&e, -EINVAL, a->ram.n ? "listens already" : "no RAM registered");
	else
		r = agent_wrote_open(a, &e);
	if (r >= 0)
		r = agent_conn_listen(a, &e);
	return say(r, &e, why);
}

int drover_agent_fd(const struct drover_agent *a)
{
	return a->epoll_fd;
}

int drover_agent_dispatch(struct drover_agent *a)
{
	struct epoll_event ev[4];
	int i, n = epoll_wait(a->epoll_fd, ev, 4, 0);

	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	for (i = 0; i < n; i++) {
		if (ev[i].data.fd == a->listen_fd)
			agent_conn_accept(a);
		else
			agent_conn_ready(a);
	}
	return 0;
}

int drover_agent_may_run(const struct drover_agent *a)
{
	return owner_may_run(&a->record);
}

int drover_agent_set_running(struct drover_agent *a, int running)
{
	int r = agent_step_done(a, running ? OWNER_EV_CONT : OWNER_EV_STOP);

	if (r < 0)
		return r;
	if (agent_send_status(a) < 0)
		agent_conn_close(a);
	return running && !owner_may_run(&a->record) ? -EAGAIN : 0;
}

int drover_agent_pages_missing(const struct drover_agent *a)
{
	return a->ledger != NULL;
}

void drover_agent_verdict_changed(struct drover_agent *a)
{
	if (agent_send_verdict(a) < 0)
		agent_conn_close(a);
}

const char *drover_version(void)
{
	return DROVER_VERSION;
}
