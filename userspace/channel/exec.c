// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A command at the other end. It gets one end of a socket pair as stdin and stdout: a pair of
 * pipes could not be shut down, and would not be one stream in both directions. In one-way mode
 * the direction that is not used is /dev/null, so that a command that writes where nobody reads
 * does not block.
 *
 * The command leads a process group of its own. Only this file reaps it, and by its pid, so that
 * the other children of a program that uses the library are left alone. When the stream breaks,
 * the error says how the command ended.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/kernel-compat.h"
#include "base/log.h"
#include "channel/internal.h"

/* How long a command that has closed its end may take to exit with a status. */
#define STATUS_MS 300u
/* How long it may take to exit after droverd has closed its end, and after SIGTERM. */
#define EXIT_MS 1000u
#define TERM_MS 500u

/**
 * struct command
 * @lock: guards the others, since both directions may ask how the command ended
 * @pid: 0 once the command was reaped; then @status is valid
 * @pidfd: becomes readable when the command exits
 */
struct command {
	pthread_mutex_t lock;
	pid_t pid;
	int pidfd;
	int status;
	bool incoming;
};

/* Reap the command if it ends before the deadline. True: it has ended. */
static bool reap(struct command *c, const struct drover_cancel *bell, uint64_t deadline)
{
	DROVER_LOCK(&c->lock);

	if (c->pid && drover_wait_fd(c->pidfd, POLLIN, bell, deadline) > 0 &&
	    waitpid(c->pid, &c->status, WNOHANG) == c->pid)
		c->pid = 0;
	return !c->pid;
}

static int record_status(struct drover_channel *ch, struct command *c, struct drover_error *e)
{
	if (WIFSIGNALED(c->status)) {
		const char *sig = sigdescr_np(WTERMSIG(c->status));

		return drover_err(e, -EPIPE, "channel %s: %s was killed by signal %d (%s)",
				  ch->name, ch->peer, WTERMSIG(c->status), sig ? sig : "?");
	}
	return drover_err(e, -EPIPE, "channel %s: %s exited with status %d", ch->name, ch->peer,
			  WEXITSTATUS(c->status));
}

static int exec_broken(struct drover_channel *ch, struct drover_error *e)
{
	struct command *c = ch->priv;

	if (!reap(c, NULL, drover_deadline_ms(STATUS_MS)) || !c->status)
		return 0;
	atomic_store(&ch->broke, true);
	return record_status(ch, c, e);
}

/* One-way: what was sent is safe once the command has exited with status 0. */
static int exec_sync(struct drover_channel *ch, struct drover_error *e)
{
	uint32_t stall_ms = atomic_load(&ch->stall_ms);
	struct drover_cancel *bell = atomic_load(&ch->bell);
	struct command *c = ch->priv;

	if (!ch->one_way || c->incoming)
		return 0;
	if (!reap(c, bell, drover_deadline_ms(stall_ms))) {
		if (drover_cancelled(bell))
			return drover_stream_fail(ch, "wait for the command", -ECANCELED, e);
		return drover_err(e, -ETIMEDOUT, "channel %s: %s has not exited for %u ms",
				  ch->name, ch->peer, stall_ms);
	}
	return c->status ? record_status(ch, c, e) : 0;
}

static void end_command(struct command *c, bool at_once)
{
	if (!at_once && reap(c, NULL, drover_deadline_ms(EXIT_MS)))
		return;
	/* Only while the command is not reaped does its pid name this process group. */
	if (!reap(c, NULL, drover_now_ns()))
		kill(-c->pid, SIGTERM);
	if (reap(c, NULL, drover_deadline_ms(TERM_MS)))
		return;
	kill(-c->pid, SIGKILL);
	/* a command that is stuck in the kernel stays behind, but free() returns */
	reap(c, NULL, drover_deadline_ms(EXIT_MS));
}

static void command_free(struct command *c, bool at_once)
{
	end_command(c, at_once);
	drover_closep(&c->pidfd);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

static void command_freep(struct command **c)
{
	if (*c)
		command_free(*c, true);
}

static void exec_close(struct drover_channel *ch)
{
	struct command *c = ch->priv;
	bool at_once = atomic_load(&ch->shut) || atomic_load(&ch->broke) ||
		       drover_cancelled(atomic_load(&ch->bell));

	drover_socket_close(ch);
	command_free(c, at_once);
}

static const struct channel_ops exec_ops = {
	.sendv = drover_stream_sendv,
	.recvv = drover_stream_recvv,
	.shutdown = drover_socket_shutdown,
	.close = exec_close,
	.finish = drover_socket_finish,
	.sync = exec_sync,
	.broken = exec_broken,
};

/* ---- start ---- */

/* Set up stdin and stdout for the mode; the command inherits stderr. */
static int add_stdio(posix_spawn_file_actions_t *fa, int fd, const struct drover_channel_opts *o)
{
	bool in = !o->one_way || !o->incoming, out = !o->one_way || o->incoming;
	int r = in ? posix_spawn_file_actions_adddup2(fa, fd, 0) :
		     posix_spawn_file_actions_addopen(fa, 0, "/dev/null", O_RDONLY, 0);

	if (r)
		return r;
	return out ? posix_spawn_file_actions_adddup2(fa, fd, 1) :
		     posix_spawn_file_actions_addopen(fa, 1, "/dev/null", O_WRONLY, 0);
}

static int spawn(char *const *args, int fd, const struct drover_channel_opts *o, pid_t *ret)
{
	posix_spawn_file_actions_t fa;
	posix_spawnattr_t attr;
	sigset_t none, all;
	int r;

	sigemptyset(&none);
	sigfillset(&all);
	if (posix_spawn_file_actions_init(&fa))
		return -ENOMEM;
	if (posix_spawnattr_init(&attr)) {
		posix_spawn_file_actions_destroy(&fa);
		return -ENOMEM;
	}
	r = add_stdio(&fa, fd, o);
	if (!r)
		r = posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETPGROUP |
					     POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	if (!r)
		r = posix_spawnattr_setpgroup(&attr, 0);
	if (!r)
		r = posix_spawnattr_setsigmask(&attr, &none);
	if (!r)
		r = posix_spawnattr_setsigdefault(&attr, &all);
	if (!r)
		r = posix_spawnp(ret, args[0], &fa, &attr, args, environ);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&fa);
	return -r;
}

static int start(const struct drover_address *a, const struct drover_channel_opts *o, int fd,
		 struct command **ret, struct drover_error *e)
{
	_cleanup_free_ struct command *c = calloc(1, sizeof(*c));
	int r;

	if (!c)
		return drover_err(e, -ENOMEM, "exec: out of memory");
	r = spawn(a->u.exec.args, fd, o, &c->pid);
	if (r < 0)
		return drover_err(e, r, "exec: '%s': %s", a->u.exec.args[0], drover_strerror(r));
	c->pidfd = (int)syscall(__NR_pidfd_open, c->pid, 0);
	if (c->pidfd < 0) {
		r = -errno;
		kill(-c->pid, SIGKILL);
		waitpid(c->pid, NULL, 0);
		return drover_err(e, r, "exec: pidfd_open: %s", drover_strerror(r));
	}
	pthread_mutex_init(&c->lock, NULL);
	c->incoming = o->incoming;
	*ret = TAKE_PTR(c);
	return 0;
}

int drover_exec_open(const struct drover_address *a, const struct drover_channel_opts *o,
		     struct drover_channel **ret, struct drover_error *e)
{
	_cleanup_close_ int ours = -EBADF, theirs = -EBADF;
	_cleanup_free_ char *text = drover_address_to_string(a);
	_cleanup_(command_freep) struct command *c = NULL;
	struct drover_channel *ch;
	int sv[2], r;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) < 0)
		return drover_err(e, -errno, "exec: socketpair: %s", drover_strerror(errno));
	ours = sv[0];
	theirs = sv[1];
	r = start(a, o, theirs, &c, e);
	if (!r)
		r = drover_channel_make(&exec_ops, CHANNEL_SOCKET, ours, ours, o, &ch, e);
	if (r < 0)
		return r;
	ours = -EBADF;
	snprintf(ch->peer, sizeof(ch->peer), "%s", text ? text : "exec");
	drover_channel_set_name(ch, ch->peer);
	drover_debug(o->log, "channel %s: started as process %d", ch->name, (int)c->pid);
	ch->priv = TAKE_PTR(c);
	ch->offers = o->one_way ? 0 : DROVER_TRANSPORT_TWOWAY;
	*ret = ch;
	return 0;
}
