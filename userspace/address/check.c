// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Rules for an address, whether it came as a URI or as JSON. What a transport could never use is
 * refused here, so that the command that gave the address fails at once. Called by both parsers.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "address/table.h"
#include "base/err.h"

static bool is_number(const char *s)
{
	return *s && s[strspn(s, "0123456789")] == '\0';
}

/* Parse a decimal number up to @max; false for anything else. */
static bool number_upto(const char *s, uint64_t max, uint64_t *ret)
{
	uint64_t n = 0;

	if (!is_number(s))
		return false;
	for (; *s; s++) {
		n = n * 10 + (uint64_t)(*s - '0');
		if (n > max)
			return false;
	}
	*ret = n;
	return true;
}

static int check_inet(const struct drover_address *a, struct drover_error *e)
{
	const char *host = a->u.inet.host, *port = a->u.inet.port;
	uint64_t n = 0;

	if (strlen(host) > DROVER_HOST_MAX)
		return drover_err(e, -EINVAL, "host name is longer than %u bytes: '%.32s...'",
				  DROVER_HOST_MAX, host);
	if (!*port)
		return drover_err(e, -EINVAL, "port not specified");
	if (strlen(port) > DROVER_HOST_MAX)
		return drover_err(e, -EINVAL, "port is longer than %u bytes: '%.32s...'",
				  DROVER_HOST_MAX, port);
	if (is_number(port) && !number_upto(port, UINT16_MAX, &n))
		return drover_err(e, -EINVAL, "port '%s' is out of range 0..65535", port);
	if (a->u.inet.to) {
		if (!is_number(port))
			return drover_err(e, -EINVAL, "can't convert to a number: %s (with 'to' "
					  "the port must be one)", port);
		if (a->u.inet.to < n)
			return drover_err(e, -EINVAL, "'to' (%u) is below the port (%" PRIu64 ")",
					  a->u.inet.to, n);
	}
	if (a->u.inet.ipv4 == DROVER_OFF && a->u.inet.ipv6 == DROVER_OFF)
		return drover_err(e, -EINVAL, "Cannot disable IPv4 and IPv6 at same time");
	return 0;
}

static int check_unix(const struct drover_address *a, struct drover_error *e)
{
	const char *path = a->u.unix_.path;

	if (!*path)
		return drover_err(e, -EINVAL, "UNIX socket path is empty");
	if (strlen(path) > DROVER_UNIX_PATH_MAX)
		return drover_err(e, -EINVAL, "UNIX socket path '%s' is too long: it must be at "
				  "most %u bytes", path, DROVER_UNIX_PATH_MAX);
	return 0;
}

static int check_vsock(const struct drover_address *a, struct drover_error *e)
{
	uint64_t n;

	if (!number_upto(a->u.vsock.cid, UINT32_MAX, &n))
		return drover_err(e, -EINVAL, "Failed to parse cid '%s'", a->u.vsock.cid);
	if (!number_upto(a->u.vsock.port, UINT32_MAX, &n))
		return drover_err(e, -EINVAL, "Failed to parse port '%s'", a->u.vsock.port);
	return 0;
}

int drover_address_check(const struct drover_address *a, struct drover_error *e)
{
	switch (a->transport) {
	case DROVER_TRANSPORT_INET:
	case DROVER_TRANSPORT_RDMA:
		return check_inet(a, e);
	case DROVER_TRANSPORT_UNIX:
		return check_unix(a, e);
	case DROVER_TRANSPORT_VSOCK:
		return check_vsock(a, e);
	case DROVER_TRANSPORT_FD:
		if (!*a->u.fd.str)
			return drover_err(e, -EINVAL, "invalid file descriptor address");
		return 0;
	case DROVER_TRANSPORT_EXEC:
		if (!a->u.exec.args[0] || !*a->u.exec.args[0])
			return drover_err(e, -EINVAL, "exec: no command");
		return 0;
	case DROVER_TRANSPORT_FILE:
		if (!*a->u.file.filename)
			return drover_err(e, -EINVAL, "file: no file name");
		if (a->u.file.offset > INT64_MAX)
			return drover_err(e, -EINVAL, "file: offset %" PRIu64 " is too large",
					  a->u.file.offset);
		return 0;
	default:
		return drover_err(e, -EINVAL, "unknown transport");
	}
}
