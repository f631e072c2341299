/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_QMP_CLIENT_H
#define DROVER_QMP_CLIENT_H

#include <stdint.h>

struct drover_error;
struct json_object;

/* One connection to a droverd, capabilities negotiated. Single-threaded. */
struct qmp_client;

/**
 * qmp_client_connect() - connect, read the greeting, negotiate
 * @path: of the control socket
 * @timeout_ms: for all of it
 *
 * Return: 0, -ETIMEDOUT, -EPROTO (not a QMP server), or what connecting failed with.
 */
int qmp_client_connect(const char *path, uint32_t timeout_ms, struct qmp_client **ret,
		       struct drover_error *e);
/* NULL is fine. Returns NULL */
struct qmp_client *qmp_client_free(struct qmp_client *c);

/**
 * qmp_client_call() - execute one command and read its answer
 * @args: an object, taken over also on failure; NULL for none
 * @ret: what it returned, a new reference; may be NULL when nobody asks
 *
 * Events that come meanwhile wait for qmp_client_event().
 *
 * Return: 0, -EREMOTEIO (refused: the message is the daemon's), -ETIMEDOUT, -EPIPE (the
 * daemon went away), -EPROTO.
 */
int qmp_client_call(struct qmp_client *c, const char *command, struct json_object *args,
		    uint32_t timeout_ms, struct json_object **ret, struct drover_error *e);

/**
 * qmp_client_event() - the next event
 * @timeout_ms: how long to wait for one; 0 looks only; UINT32_MAX: for ever
 *
 * Return: 1 (@ret is a new reference), 0 (none came), -EPIPE, -EPROTO.
 */
int qmp_client_event(struct qmp_client *c, uint32_t timeout_ms, struct json_object **ret,
		     struct drover_error *e);

#endif
