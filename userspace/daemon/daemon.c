// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The process: what is opened in which order, the loop, and the end. The main thread
 * waits in the loop and nowhere else; migrations run in threads of their own and talk
 * to it through the event queue.
 */
#include "daemon/daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/json.h"
#include "daemon/sigbus.h"
#include "guest/guest.h"

#define CONFIG_FILE_MAX (1u << 20)
#define AUDIT_WAIT_MS 10000
#define AUDIT_POLL_MS 50

static void log_line(void *opaque, enum drover_log_level level, const char *msg)
{
	(void)opaque;
	(void)level;
	/* One write a line: threads log, too. */
	fprintf(stderr, "droverd: %s\n", msg);
}

/* Reads at most @size bytes; one more in the file is an error. */
static int read_config_file(const char *path, char *buf, size_t size, size_t *ret_len,
			    struct drover_error *e)
{
	_cleanup_fclose_ FILE *f = fopen(path, "re");
	size_t len;

	if (!f)
		return drover_err(e, -errno, "config file %s: %s", path, drover_strerror(errno));
	len = fread(buf, 1, size, f);
	if (ferror(f))
		return drover_err(e, -EIO, "config file %s: read error", path);
	if (len == size)
		return drover_err(e, -EFBIG, "config file %s: longer than %zu bytes", path,
				  size - 1);
	*ret_len = len;
	return 0;
}

static int load_settings(struct droverd *d, struct drover_error *e)
{
	_cleanup_json_ struct json_object *o = NULL;
	_cleanup_free_ char *buf = NULL;
	const char *path = d->opts.config;
	size_t len = 0;
	int r;

	r = drover_config_init(&d->settings);
	if (r < 0)
		return drover_err(e, r, "config: %s", drover_strerror(r));
	d->has_settings = true;
	if (!path)
		return 0;
	buf = malloc(CONFIG_FILE_MAX + 1);
	if (!buf)
		return drover_err(e, -ENOMEM, "config file %s: out of memory", path);
	r = read_config_file(path, buf, CONFIG_FILE_MAX + 1, &len, e);
	if (r < 0)
		return r;
	r = drover_json_parse(buf, len, CONFIG_FILE_MAX, &o, e);
	if (r >= 0 && !json_object_is_type(o, json_type_object))
		r = drover_err(e, -EINVAL, "must be a JSON object");
	if (r >= 0)
		r = drover_config_set_json(&d->settings, o, NULL, e);
	if (r < 0)
		drover_err_prefix(e, "config file %s: ", path);
	return r;
}

static void signal_ready(void *opaque, uint32_t events)
{
	struct droverd *d = opaque;
	struct signalfd_siginfo si;

	(void)events;
	if (read(d->signal_fd, &si, sizeof(si)) != (ssize_t)sizeof(si))
		return;
	drover_logf(&d->log, DROVER_LOG_INFO, "signal %u: ending", si.ssi_signo);
	droverd_quit(d);
}

/* Before any thread is made, so that all have the mask. */
static int open_signals(struct droverd *d, struct drover_error *e)
{
	sigset_t set;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return drover_err(e, -errno, "signals: %s", drover_strerror(errno));
	d->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (d->signal_fd < 0)
		return drover_err(e, -errno, "signalfd: %s", drover_strerror(errno));
	return loop_add(&d->loop, &d->signal_src, d->signal_fd, EPOLLIN, signal_ready, d, e);
}

static void guest_ready(void *opaque, uint32_t events)
{
	struct droverd *d = opaque;

	(void)events;
	d->guest->ops->watch(d->guest);
	guest_check_look(d);
	if (d->guest->ops->status(d->guest) != DROVER_GUEST_GONE)
		return;
	drover_logf(&d->log, DROVER_LOG_ERR, "guest: its VMM is gone");
	loop_remove(&d->guest_src);
	if (d->job)
		drover_migration_guest_gone(d->job->m);
	reattach_begin(d);
}

int droverd_watch_guest(struct droverd *d)
{
	int fd = d->guest->ops->watch_fd ? d->guest->ops->watch_fd(d->guest) : -1;
	struct drover_error e = DROVER_ERROR_INIT;

	return fd < 0 ? 0 : loop_add(&d->loop, &d->guest_src, fd, EPOLLIN | EPOLLRDHUP,
				     guest_ready, d, &e);
}

static int open_guest(struct droverd *d, struct drover_error *e)
{
	int r = drover_guest_open(d->opts.guest, &d->log, &d->guest, e);

	if (r < 0)
		return r;
	sigbus_guard(d->guest->ops->ram(d->guest));
	return droverd_watch_guest(d) < 0 ?
	       drover_err(e, -EIO, "guest: its events can't be watched") : 0;
}

static void quit_poll(void *opaque)
{
	struct droverd *d = opaque;
	bool auditing = d->job && drover_migration_auditing(d->job->m);

	if (auditing && drover_now_ns() < d->quit_deadline) {
		loop_timer_arm(&d->quit_poll, AUDIT_POLL_MS);
		return;
	}
	if (auditing)
		drover_logf(&d->log, DROVER_LOG_ERR,
			    "verify=audit: ended before the re-hash was finished: no verdict");
	loop_stop(&d->loop);
}

void droverd_quit(struct droverd *d)
{
	if (d->quit_deadline)
		return;
	d->quit_deadline = drover_deadline_ms(AUDIT_WAIT_MS);
	quit_poll(d);
}

static void settle_retry(void *opaque)
{
	owner_attach(opaque);
}

static int open_loop(struct droverd *d, struct drover_error *e)
{
	int r = loop_init(&d->loop, e);

	if (r >= 0)
		r = open_signals(d, e);
	if (r >= 0)
		r = loop_timer_init(&d->loop, &d->settle_retry, settle_retry, d, e);
	if (r >= 0)
		r = loop_timer_init(&d->loop, &d->quit_poll, quit_poll, d, e);
	if (r >= 0)
		r = loop_timer_init(&d->loop, &d->reattach_look, reattach_look, d, e);
	if (r >= 0)
		r = loop_timer_init(&d->loop, &d->check_poll, guest_check_look, d, e);
	if (r >= 0)
		r = event_queue_init(&d->events, e);
	if (r >= 0)
		r = loop_add(&d->loop, &d->events_src, d->events.fd, EPOLLIN, events_ready, d, e);
	return r;
}

static int open_server(struct droverd *d, struct drover_error *e)
{
	d->server.loop = &d->loop;
	d->server.log = &d->log;
	d->server.commands = droverd_commands;
	d->server.ncommands = droverd_ncommands;
	d->server.opaque = d;
	return qmp_server_open(&d->server, d->opts.qmp, e);
}

int droverd_init(struct droverd *d, const struct droverd_opts *opts, struct drover_error *e)
{
	struct fd_table fds = d->fds;
	int r;

	memset(d, 0, sizeof(*d));
	d->fds = fds;
	d->opts = *opts;
	d->log.fn = log_line;
	d->log.level = opts->verbose ? DROVER_LOG_DEBUG : DROVER_LOG_WARNING;
	d->loop.epfd = d->signal_fd = d->events.fd = d->server.fd = d->announcer.fd = -EBADF;
	r = open_loop(d, e);
	if (r >= 0)
		r = load_settings(d, e);
	if (r >= 0)
		r = announce_open(d, e);
	if (r >= 0)
		r = open_guest(d, e);
	/* The socket comes last: who can connect finds everything in place. */
	if (r >= 0)
		owner_attach(d);
	if (r >= 0)
		r = open_server(d, e);
	if (r < 0)
		droverd_deinit(d);
	return r;
}

int droverd_run(struct droverd *d, struct drover_error *e)
{
	int r = loop_run(&d->loop, e);

	return r < 0 ? r : d->exit_status;
}

void droverd_deinit(struct droverd *d)
{
	if (d->guest)
		job_free(d);
	if (d->events.fd >= 0 && d->server.fd >= 0)
		events_ready(d, 0);     /* what the end of the migration had to tell */
	if (d->server.fd >= 0)
		qmp_server_close(&d->server);
	announce_close(d);
	will_end(d);
	reattach_end(d);
	loop_remove(&d->guest_src);
	if (d->guest) {
		sigbus_release();
		d->guest = drover_guest_free(d->guest);
	}
	if (d->has_settings)
		drover_config_deinit(&d->settings);
	loop_timer_deinit(&d->settle_retry);
	loop_timer_deinit(&d->quit_poll);
	loop_timer_deinit(&d->reattach_look);
	loop_timer_deinit(&d->check_poll);
	loop_remove(&d->events_src);
	if (d->events.fd >= 0)
		event_queue_deinit(&d->events);
	loop_remove(&d->signal_src);
	drover_closep(&d->signal_fd);
	loop_deinit(&d->loop);
}
