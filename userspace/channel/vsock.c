// SPDX-License-Identifier: LGPL-2.1-or-later
/* Sockets between a host and its guests. Addresses are numbers, so there is no name to resolve. */
#include <errno.h>
#include <linux/vm_sockets.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "channel/internal.h"

static int make_socket(const struct drover_address *a, struct sockaddr_vm *vm, int *ret,
		       struct drover_error *e)
{
	int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	/* address/check.c has made sure that both are decimal numbers of 32 bits */
	*vm = (struct sockaddr_vm){
		.svm_family = AF_VSOCK,
		.svm_cid = (unsigned int)strtoul(a->u.vsock.cid, NULL, 10),
		.svm_port = (unsigned int)strtoul(a->u.vsock.port, NULL, 10),
	};
	if (fd < 0)
		return drover_err(e, -errno, "vsock:%s:%s: socket: %s (is vsock built into this "
				  "kernel?)", a->u.vsock.cid, a->u.vsock.port,
				  drover_strerror(errno));
	*ret = fd;
	return 0;
}

int drover_vsock_connect(const struct drover_address *a, const struct drover_channel_opts *o,
			 int *ret, struct drover_error *e)
{
	_cleanup_close_ int fd = -EBADF;
	struct sockaddr_vm vm;
	int r = make_socket(a, &vm, &fd, e);

	if (r < 0)
		return r;
	r = drover_socket_connect(fd, (struct sockaddr *)&vm, sizeof(vm), o->cancel, o->deadline);
	if (r < 0)
		return drover_err(e, r, "Failed to connect to 'vsock:%s:%s': %s", a->u.vsock.cid,
				  a->u.vsock.port,
				  r == -ECANCELED ? "cancelled" : drover_strerror(r));
	*ret = TAKE_FD(fd);
	return 0;
}

int drover_vsock_listen(const struct drover_address *a, const struct drover_channel_opts *o,
			int *ret, struct drover_error *e)
{
	_cleanup_close_ int fd = -EBADF;
	struct sockaddr_vm vm;
	int r = make_socket(a, &vm, &fd, e);

	(void)o;
	if (r < 0)
		return r;
	if (bind(fd, (struct sockaddr *)&vm, sizeof(vm)) < 0 || listen(fd, SOMAXCONN) < 0)
		return drover_err(e, -errno, "Failed to bind socket to 'vsock:%s:%s': %s",
				  a->u.vsock.cid, a->u.vsock.port, drover_strerror(errno));
	*ret = TAKE_FD(fd);
	return 0;
}
