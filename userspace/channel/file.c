// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Files, and pipes that were given as descriptors. The source keeps the part of its file before
 * the offset (a management program may have its header there) and truncates the part after it, so
 * that the rest of an old and longer stream can't follow a new one. Every access names its offset:
 * the descriptor's own position, which other processes may share, is neither used nor moved.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "channel/internal.h"

static void stop_only(struct drover_channel *ch)
{
	/* nothing to do: drover_channel_shutdown() has rung the stop bell, which both rings poll */
	(void)ch;
}

static void file_close(struct drover_channel *ch)
{
	int fd = ch->wfd >= 0 ? ch->wfd : ch->rfd;

	drover_closep(&fd);
	ch->rfd = ch->wfd = -EBADF;
}

static int file_sync(struct drover_channel *ch, struct drover_error *e)
{
	if (ch->wfd >= 0 && fdatasync(ch->wfd) < 0)
		return drover_err(e, -errno, "channel %s: sync: %s", ch->name,
				  drover_strerror(errno));
	return 0;
}

/* The reader of a pipe reads EOF only when the writer closes it. */
static int pipe_finish(struct drover_channel *ch, struct drover_error *e)
{
	DROVER_LOCK(&ch->tx_lock);

	(void)e;
	drover_closep(&ch->wfd);
	return 0;
}

static const struct channel_ops file_ops = {
	.sendv = drover_stream_sendv,
	.recvv = drover_stream_recvv,
	.shutdown = stop_only,
	.close = file_close,
	.sync = file_sync,
};

static const struct channel_ops pipe_ops = {
	.sendv = drover_stream_sendv,
	.recvv = drover_stream_recvv,
	.shutdown = stop_only,
	.close = file_close,
	.finish = pipe_finish,
};

/* A descriptor that is no socket serves only the direction that this side needs. */
static int make(const struct channel_ops *ops, enum channel_kind kind, int fd, const char *peer,
		const struct drover_channel_opts *o, struct drover_channel **ret,
		struct drover_error *e)
{
	int flags = fcntl(fd, F_GETFL), mode = flags & O_ACCMODE;
	struct drover_channel *ch;
	int r;

	if (flags < 0)
		return drover_err(e, -errno, "%s: %s", peer, drover_strerror(errno));
	if (mode != O_RDWR && mode != (o->incoming ? O_RDONLY : O_WRONLY))
		return drover_err(e, -EINVAL, "%s: not open for %s", peer,
				  o->incoming ? "reading" : "writing");
	r = drover_channel_make(ops, kind, o->incoming ? fd : -EBADF, o->incoming ? -EBADF : fd,
				o, &ch, e);
	if (r < 0)
		return r;
	snprintf(ch->peer, sizeof(ch->peer), "%s", peer);
	drover_channel_set_name(ch, ch->peer);
	*ret = ch;
	return 0;
}

int drover_pipe_channel(int fd, const char *peer, const struct drover_channel_opts *o,
			struct drover_channel **ret, struct drover_error *e)
{
	/* never TWOWAY: a FIFO open for both directions would read what it wrote itself */
	return make(&pipe_ops, CHANNEL_PIPE, fd, peer, o, ret, e);
}

int drover_file_channel(int fd, uint64_t pos, const char *peer,
			const struct drover_channel_opts *o, struct drover_channel **ret,
			struct drover_error *e)
{
	int r = make(&file_ops, CHANNEL_FILE, fd, peer, o, ret, e);

	if (r < 0)
		return r;
	(*ret)->pos = pos;
	(*ret)->offers = DROVER_TRANSPORT_SEEK;
	return 0;
}

/* ---- file: ---- */

static int prepare(int fd, const struct stat *st, uint64_t offset, bool incoming,
		   const char *text, struct drover_error *e)
{
	if (!S_ISREG(st->st_mode) && !S_ISBLK(st->st_mode))
		return drover_err(e, -EINVAL, "%s: not a regular file or block device", text);
	if (!S_ISREG(st->st_mode))
		return 0;
	if (!incoming)
		return ftruncate(fd, (off_t)offset) < 0 ?
			drover_err(e, -errno, "%s: truncate: %s", text, drover_strerror(errno)) : 0;
	if (offset > (uint64_t)st->st_size)
		return drover_err(e, -EINVAL, "%s: the offset is behind the end of the file (%"
				  PRIu64 " bytes)", text, (uint64_t)st->st_size);
	return 0;
}

int drover_file_open(const struct drover_address *a, const struct drover_channel_opts *o,
		     struct drover_channel **ret, struct drover_error *e)
{
	_cleanup_free_ char *text = drover_address_to_string(a);
	_cleanup_close_ int fd = -EBADF;
	struct stat st;
	int flags, r;

	if (!text)
		return drover_err(e, -ENOMEM, "file: out of memory");
	/* O_NONBLOCK: open(2) must not wait for the other end of a FIFO, which is refused below */
	flags = (o->incoming ? O_RDONLY : O_WRONLY | O_CREAT) | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
	fd = open(a->u.file.filename, flags, 0600);
	if (fd < 0)
		return drover_err(e, -errno, "%s: open: %s", text, drover_strerror(errno));
	if (fstat(fd, &st) < 0)
		return drover_err(e, -errno, "%s: stat: %s", text, drover_strerror(errno));
	r = prepare(fd, &st, a->u.file.offset, o->incoming, text, e);
	if (r < 0)
		return r;
	flags = fcntl(fd, F_GETFL);
	if (flags < 0 || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) < 0)
		return drover_err(e, -errno, "%s: %s", text, drover_strerror(errno));
	r = drover_file_channel(fd, a->u.file.offset, text, o, ret, e);
	if (!r)
		fd = -EBADF;
	return r;
}
