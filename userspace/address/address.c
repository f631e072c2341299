// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Addresses as values: the table of transports, and the functions that walk it without parsing.
 * Nothing here touches the network, so an address can be checked, copied and shown on any host.
 * Used by the other files of address/ and by all code that holds an address.
 */
#include "address/address.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "address/table.h"
#include "base/cleanup.h"
#include "base/err.h"

#define AT(m) offsetof(struct drover_address, u.m)

#define INET_MEMBERS {                                                             \
	{ "host", ADDRESS_STRING, AT(inet.host) },                                 \
	{ "port", ADDRESS_STRING, AT(inet.port) },                                 \
	{ "numeric", ADDRESS_BOOL, AT(inet.numeric) },                             \
	{ "to", ADDRESS_UINT16, AT(inet.to) },                                     \
	{ "ipv4", ADDRESS_BOOL, AT(inet.ipv4) },                                   \
	{ "ipv6", ADDRESS_BOOL, AT(inet.ipv6) },                                   \
	{ "keep-alive", ADDRESS_BOOL, AT(inet.keep_alive) },                       \
	{ "keep-alive-count", ADDRESS_UINT32, AT(inet.keep_alive_count) },         \
	{ "keep-alive-idle", ADDRESS_UINT32, AT(inet.keep_alive_idle) },           \
	{ "keep-alive-interval", ADDRESS_UINT32, AT(inet.keep_alive_interval) },   \
	{ "mptcp", ADDRESS_BOOL, AT(inet.mptcp) },                                 \
}

const struct address_transport drover_address_table[DROVER_TRANSPORT_COUNT] = {
	[DROVER_TRANSPORT_INET] = {
		"socket", "inet", "tcp:",
		DROVER_TRANSPORT_MULTI | DROVER_TRANSPORT_ZEROCOPY | DROVER_TRANSPORT_TWOWAY |
			DROVER_TRANSPORT_RECONNECT,
		INET_MEMBERS,
	},
	[DROVER_TRANSPORT_UNIX] = {
		"socket", "unix", "unix:",
		DROVER_TRANSPORT_MULTI | DROVER_TRANSPORT_FDPASS | DROVER_TRANSPORT_TWOWAY |
			DROVER_TRANSPORT_RECONNECT,
		{
			{ "path", ADDRESS_STRING, AT(unix_.path) },
			{ "abstract", ADDRESS_BOOL, AT(unix_.abstract) },
			{ "tight", ADDRESS_BOOL, AT(unix_.tight) },
		},
	},
	[DROVER_TRANSPORT_VSOCK] = {
		"socket", "vsock", "vsock:",
		DROVER_TRANSPORT_MULTI | DROVER_TRANSPORT_ZEROCOPY | DROVER_TRANSPORT_TWOWAY |
			DROVER_TRANSPORT_RECONNECT,
		{
			{ "cid", ADDRESS_STRING, AT(vsock.cid) },
			{ "port", ADDRESS_STRING, AT(vsock.port) },
		},
	},
	/* What an fd: may offer. What the descriptor really offers is known once it is open. */
	[DROVER_TRANSPORT_FD] = {
		"socket", "fd", "fd:",
		DROVER_TRANSPORT_ZEROCOPY | DROVER_TRANSPORT_TWOWAY,
		{
			{ "str", ADDRESS_STRING, AT(fd.str) },
		},
	},
	[DROVER_TRANSPORT_EXEC] = {
		"exec", NULL, "exec:", DROVER_TRANSPORT_TWOWAY,
		{
			{ "args", ADDRESS_STRINGS, AT(exec.args) },
		},
	},
	[DROVER_TRANSPORT_RDMA] = {
		"rdma", NULL, "rdma:", DROVER_TRANSPORT_TWOWAY, INET_MEMBERS,
	},
	[DROVER_TRANSPORT_FILE] = {
		"file", NULL, "file:", DROVER_TRANSPORT_SEEK,
		{
			{ "filename", ADDRESS_STRING, AT(file.filename) },
			{ "offset", ADDRESS_SIZE, AT(file.offset) },
		},
	},
};

void drover_address_start(struct drover_address *a, enum drover_transport t)
{
	const struct address_member *m;

	memset(a, 0, sizeof(*a));
	a->transport = t;
	for (m = drover_address_table[t].member; m->name; m++)
		if (m->kind == ADDRESS_BOOL)
			*(enum drover_tristate *)address_at(a, m) = DROVER_UNSET;
}

static char **free_strings(char **s)
{
	char **p;

	for (p = s; p && *p; p++)
		free(*p);
	free(s);
	return NULL;
}

void drover_address_deinit(struct drover_address *a)
{
	const struct address_member *m;

	for (m = drover_address_table[a->transport].member; m->name; m++) {
		if (m->kind == ADDRESS_STRING)
			free(*(char **)address_at(a, m));
		else if (m->kind == ADDRESS_STRINGS)
			free_strings(*(char ***)address_at(a, m));
	}
	memset(a, 0, sizeof(*a));
}

static char **copy_strings(char *const *src)
{
	size_t i, n = 0;
	char **s;

	while (src[n])
		n++;
	s = calloc(n + 1, sizeof(*s));
	for (i = 0; s && i < n; i++) {
		s[i] = strdup(src[i]);
		if (!s[i])
			return free_strings(s);
	}
	return s;
}

int drover_address_copy(const struct drover_address *src, struct drover_address *ret)
{
	const struct address_member *m;
	struct drover_address a = *src;
	bool failed = false;

	/* Every pointer in a is replaced or cleared, so that a can be released at any time. */
	for (m = drover_address_table[src->transport].member; m->name; m++) {
		if (m->kind == ADDRESS_STRING) {
			char *s = *(char *const *)address_at_const(src, m);
			char *t = s ? strdup(s) : NULL;

			failed = failed || (s && !t);
			*(char **)address_at(&a, m) = t;
		} else if (m->kind == ADDRESS_STRINGS) {
			char **s = *(char **const *)address_at_const(src, m);
			char **t = s ? copy_strings(s) : NULL;

			failed = failed || (s && !t);
			*(char ***)address_at(&a, m) = t;
		}
	}
	if (failed) {
		drover_address_deinit(&a);
		return -ENOMEM;
	}
	*ret = a;
	return 0;
}

unsigned int drover_address_offers(const struct drover_address *a)
{
	return drover_address_table[a->transport].offers;
}

/* ---- text ---- */

static void put_inet(FILE *f, const struct drover_address *a)
{
	static const char *const onoff[] = { "off", "on" };
	const struct address_member *m;

	if (strchr(a->u.inet.host, ':'))
		fprintf(f, "[%s]:%s", a->u.inet.host, a->u.inet.port);
	else
		fprintf(f, "%s:%s", a->u.inet.host, a->u.inet.port);
	for (m = drover_address_table[a->transport].member; m->name; m++) {
		const void *v = address_at_const(a, m);
		uint32_t n = 0;

		if (m->kind == ADDRESS_BOOL && *(const enum drover_tristate *)v != DROVER_UNSET)
			fprintf(f, ",%s=%s", m->name,
				onoff[*(const enum drover_tristate *)v == DROVER_ON]);
		else if (m->kind == ADDRESS_UINT16)
			n = *(const uint16_t *)v;
		else if (m->kind == ADDRESS_UINT32)
			n = *(const uint32_t *)v;
		if (n)
			fprintf(f, ",%s=%" PRIu32, m->name, n);
	}
}

static void put_exec(FILE *f, char *const *args)
{
	if (!strcmp(args[0], "/bin/sh") && args[1] && !strcmp(args[1], "-c") && args[2] &&
	    !args[3]) {
		fputs(args[2], f);
		return;
	}
	for (; *args; args++) {
		const char *p;

		fputc('\'', f);
		for (p = *args; *p; p++)
			if (*p == '\'')
				fputs("'\\''", f);
			else
				fputc(*p, f);
		fputs(args[1] ? "' " : "'", f);
	}
}

char *drover_address_to_string(const struct drover_address *a)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);
	bool bad;

	if (!f)
		return NULL;
	fputs(drover_address_table[a->transport].scheme, f);
	switch (a->transport) {
	case DROVER_TRANSPORT_UNIX:
		/* '@' is the usual notation for abstract names; no URI form has it */
		fprintf(f, "%s%s", a->u.unix_.abstract == DROVER_ON ? "@" : "", a->u.unix_.path);
		break;
	case DROVER_TRANSPORT_VSOCK:
		fprintf(f, "%s:%s", a->u.vsock.cid, a->u.vsock.port);
		break;
	case DROVER_TRANSPORT_FD:
		fputs(a->u.fd.str, f);
		break;
	case DROVER_TRANSPORT_EXEC:
		put_exec(f, a->u.exec.args);
		break;
	case DROVER_TRANSPORT_FILE:
		fputs(a->u.file.filename, f);
		if (a->u.file.offset)
			fprintf(f, ",offset=%" PRIu64, a->u.file.offset);
		break;
	default:
		put_inet(f, a);
		break;
	}
	bad = ferror(f);
	if (fclose(f) || bad) {
		free(text);
		return NULL;
	}
	return text;
}
