// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The URI forms of `migrate`: they fill in the same struct as the JSON form. tcp: and rdma: take
 * options after a comma (any member of the schema), and so does file: (offset). Text that would
 * otherwise be ignored is an error.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "address/table.h"
#include "base/cleanup.h"
#include "base/err.h"

static int oom(struct drover_error *e)
{
	return drover_err(e, -ENOMEM, "address: out of memory");
}

static int store(char **ret, const char *s, size_t len, struct drover_error *e)
{
	*ret = strndup(s, len);
	return *ret ? 0 : oom(e);
}

/* ---- tcp:, rdma: ---- */

static int option_number(const char *name, const char *value, uint64_t max, uint64_t *ret,
			 struct drover_error *e)
{
	uint64_t n = 0;
	const char *p;

	for (p = value; *p >= '0' && *p <= '9' && n <= max; p++)
		n = n * 10 + (uint64_t)(*p - '0');
	if (p == value || *p || n > max)
		return drover_err(e, -EINVAL, "Parameter '%s' expects an integer in the range of "
				  "0..%" PRIu64 ", not '%s'", name, max, value);
	*ret = n;
	return 0;
}

static int set_option(struct drover_address *a, const struct address_member *m,
		      const char *value, struct drover_error *e)
{
	void *at = address_at(a, m);
	uint64_t n = 0;
	int r;

	if (m->kind == ADDRESS_BOOL) {
		enum drover_tristate *tri = at;

		if (value && strcmp(value, "on") && strcmp(value, "off"))
			return drover_err(e, -EINVAL, "Parameter '%s' expects 'on' or 'off', not "
					  "'%s'", m->name, value);
		*tri = !value || !strcmp(value, "on") ? DROVER_ON : DROVER_OFF;
		return 0;
	}
	if (!value)
		return drover_err(e, -EINVAL, "Parameter '%s' needs a value", m->name);
	r = option_number(m->name, value, m->kind == ADDRESS_UINT16 ? UINT16_MAX : UINT32_MAX, &n,
			  e);
	if (r < 0)
		return r;
	if (m->kind == ADDRESS_UINT16)
		*(uint16_t *)at = (uint16_t)n;
	else
		*(uint32_t *)at = (uint32_t)n;
	return 0;
}

/* @s: "name[=value][,...]"; overwritten while it is parsed */
static int parse_options(struct drover_address *a, char *s, struct drover_error *e)
{
	const struct address_member *table = drover_address_table[a->transport].member, *m;
	unsigned int seen = 0;
	char *next;

	for (; s; s = next) {
		char *value;
		int r;

		next = strchr(s, ',');
		if (next)
			*next++ = '\0';
		value = strchr(s, '=');
		if (value)
			*value++ = '\0';
		for (m = table; m->name && strcmp(m->name, s); m++)
			;
		/* the strings of the table are host and port, which are no options */
		if (!m->name || m->kind == ADDRESS_STRING)
			return drover_err(e, -EINVAL, "Parameter '%s' is unexpected", s);
		if (seen >> (m - table) & 1)
			return drover_err(e, -EINVAL, "Parameter '%s' is given twice", s);
		seen |= 1u << (m - table);
		r = set_option(a, m, value, e);
		if (r < 0)
			return r;
	}
	return 0;
}

static int parse_inet(struct drover_address *a, const char *s, struct drover_error *e)
{
	_cleanup_free_ char *options = NULL;
	const char *host = s, *host_end, *port, *port_end;
	int r;

	if (*s == '[') {
		host = s + 1;
		host_end = strchr(host, ']');
		if (!host_end || host_end[1] != ':' ||
		    !memchr(host, ':', (size_t)(host_end - host)))
			return drover_err(e, -EINVAL, "error parsing IPv6 address '%s'", s);
		port = host_end + 2;
	} else {
		host_end = s + strcspn(s, ":,");
		if (*host_end != ':')
			return drover_err(e, -EINVAL, "error parsing address '%s'", s);
		port = host_end + 1;
	}
	port_end = port + strcspn(port, ",");
	if (port_end == port || memchr(port, ':', (size_t)(port_end - port)))
		return drover_err(e, -EINVAL, "error parsing port in address '%s'", s);
	r = store(&a->u.inet.host, host, (size_t)(host_end - host), e);
	if (!r)
		r = store(&a->u.inet.port, port, (size_t)(port_end - port), e);
	if (r < 0 || !*port_end)
		return r;
	options = strdup(port_end + 1);
	if (!options)
		return oom(e);
	r = parse_options(a, options, e);
	if (r < 0)
		drover_err_prefix(e, "address '%s': ", s);
	return r;
}

/* ---- the others ---- */

static int parse_unix(struct drover_address *a, const char *s, struct drover_error *e)
{
	if (!*s)
		return drover_err(e, -EINVAL, "invalid Unix socket address");
	return store(&a->u.unix_.path, s, strlen(s), e);
}

static int parse_vsock(struct drover_address *a, const char *s, struct drover_error *e)
{
	const char *colon = strchr(s, ':');
	int r;

	if (!colon || colon == s || !colon[1])
		return drover_err(e, -EINVAL, "error parsing address '%s'", s);
	r = store(&a->u.vsock.cid, s, (size_t)(colon - s), e);
	return r < 0 ? r : store(&a->u.vsock.port, colon + 1, strlen(colon + 1), e);
}

static int parse_fd(struct drover_address *a, const char *s, struct drover_error *e)
{
	return store(&a->u.fd.str, s, strlen(s), e);
}

static int parse_exec(struct drover_address *a, const char *s, struct drover_error *e)
{
	const char *const argv[] = { "/bin/sh", "-c", s };
	unsigned int i;

	if (!*s)
		return drover_err(e, -EINVAL, "exec: no command");
	a->u.exec.args = calloc(DROVER_ARRAY_SIZE(argv) + 1, sizeof(char *));
	for (i = 0; a->u.exec.args && i < DROVER_ARRAY_SIZE(argv); i++) {
		a->u.exec.args[i] = strdup(argv[i]);
		if (!a->u.exec.args[i])
			return oom(e);
	}
	return a->u.exec.args ? 0 : oom(e);
}

/* Parse a number of bytes: "123", "0x7b", "1M". A hexadecimal number has no suffix. */
static int parse_size(const char *s, uint64_t *ret)
{
	static const char suffixes[] = "BKMGTPE";
	bool hex = s[0] == '0' && (s[1] == 'x' || s[1] == 'X');
	unsigned int shift = 0;
	const char *p;
	char *end;
	uint64_t n;

	if (*s < '0' || *s > '9')
		return -EINVAL;
	/* no libc's strtoull() takes a sign after 0x, but it reads "0x" alone as 0 */
	errno = 0;
	n = strtoull(s, &end, hex ? 16 : 10);
	if (errno || (hex && end < s + 3))
		return -EINVAL;
	if (*end && !hex) {
		p = strchr(suffixes, *end >= 'a' && *end <= 'z' ? *end - 'a' + 'A' : *end);
		if (!p)
			return -EINVAL;
		shift = 10 * (unsigned int)(p - suffixes);
		end++;
	}
	if (*end || n > UINT64_MAX >> shift)
		return -EINVAL;
	*ret = n << shift;
	return 0;
}

static int parse_file(struct drover_address *a, const char *s, struct drover_error *e)
{
	static const char option[] = ",offset=";
	const char *o = strstr(s, option);
	size_t len = o ? (size_t)(o - s) : strlen(s);

	if (o && parse_size(o + sizeof(option) - 1, &a->u.file.offset) < 0)
		return drover_err(e, -EINVAL, "file URI has bad offset %s",
				  o + sizeof(option) - 1);
	return store(&a->u.file.filename, s, len, e);
}

static int (*const parsers[DROVER_TRANSPORT_COUNT])(struct drover_address *a, const char *s,
						    struct drover_error *e) = {
	[DROVER_TRANSPORT_INET] = parse_inet,
	[DROVER_TRANSPORT_UNIX] = parse_unix,
	[DROVER_TRANSPORT_VSOCK] = parse_vsock,
	[DROVER_TRANSPORT_FD] = parse_fd,
	[DROVER_TRANSPORT_EXEC] = parse_exec,
	[DROVER_TRANSPORT_RDMA] = parse_inet,
	[DROVER_TRANSPORT_FILE] = parse_file,
};

int drover_address_from_uri(const char *uri, struct drover_address *ret, struct drover_error *e)
{
	_cleanup_(drover_address_deinit) struct drover_address a = { 0 };
	unsigned int t;

	for (t = 0; t < DROVER_TRANSPORT_COUNT; t++) {
		const char *scheme = drover_address_table[t].scheme;
		int r;

		if (strncmp(uri, scheme, strlen(scheme)))
			continue;
		drover_address_start(&a, (enum drover_transport)t);
		r = parsers[t](&a, uri + strlen(scheme), e);
		if (!r)
			r = drover_address_check(&a, e);
		if (r < 0)
			return r;
		*ret = a;
		drover_address_start(&a, DROVER_TRANSPORT_INET);
		return 0;
	}
	return drover_err(e, -EINVAL, "unknown migration protocol: %s", uri);
}
