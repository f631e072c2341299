/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_QMP_CLIENT_H
#define DROVER_QMP_CLIENT_H

#include <stdint.h>

struct drover_error;
struct json_object;

/* A connection to a droverd, with negotiated capabilities. For one thread at a time. */
struct qmp_client;

/**
 * qmp_client_connect() - connect, read the greeting, negotiate
 * @path: path of the control socket
 * @timeout_ms: limit for all of this together
 *
 * Return: 0, -ETIMEDOUT, -EPROTO (no QMP server), or the errno with which connecting failed.
 */
int qmp_client_connect(const char *path, uint32_t timeout_ms, struct qmp_client **ret,
		       struct drover_error *e);
/* NULL is fine. Returns NULL */
struct qmp_client *qmp_client_free(struct qmp_client *c);

/**
 * qmp_client_call() - execute one command and read its answer
 * @args: an object, whose reference is taken over also on failure; NULL for none
 * @ret: the command's return value, a new reference; NULL when the caller does not need it
 *
 * Events that arrive meanwhile are kept for qmp_client_event().
 *
 * Return: 0, -EREMOTEIO (the daemon refused the command: @e has its message), -ETIMEDOUT, -EPIPE
 * (the daemon closed the connection), -EPROTO.
 */
int qmp_client_call(struct qmp_client *c, const char *command, struct json_object *args,
		    uint32_t timeout_ms, struct json_object **ret, struct drover_error *e);

/**
 * qmp_client_event() - the next event
 * @timeout_ms: how long to wait for an event; 0: not at all; UINT32_MAX: for ever
 *
 * Return: 1 (@ret is a new reference), 0 (no event in that time), -EPIPE, -EPROTO.
 */
int qmp_client_event(struct qmp_client *c, uint32_t timeout_ms, struct json_object **ret,
		     struct drover_error *e);

#endif
