// SPDX-License-Identifier: GPL-2.0-or-later
/* getfd and closefd: descriptors that a client passes over the control socket. */
#include <errno.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "daemon/daemon.h"

int cmd_getfd(struct qmp_call *call, struct drover_error *e)
{
	_cleanup_close_ int fd = qmp_session_take_fd(call->session);
	struct droverd *d = call->opaque;
	int r;

	if (fd < 0)
		return drover_err(e, -EBADF, "No file descriptor supplied via SCM_RIGHTS");
	r = fd_table_add(&d->fds, qmp_arg_str(call, "fdname"), fd, e);
	if (r >= 0)
		TAKE_FD(fd);
	return r;
}

int cmd_closefd(struct qmp_call *call, struct drover_error *e)
{
	struct droverd *d = call->opaque;

	return fd_table_close(&d->fds, qmp_arg_str(call, "fdname"), e);
}
