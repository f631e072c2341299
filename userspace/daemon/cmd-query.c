// SPDX-License-Identifier: GPL-2.0-or-later
/* Commands about the daemon itself and what it serves. */
#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "daemon/daemon.h"

/* Names in `enable` that we did not offer; QEMU knows "oob" only, and so do we. */
static int check_enable(struct json_object *enable, bool *ret_oob, struct drover_error *e)
{
	size_t i, n = enable ? json_object_array_length(enable) : 0;
	bool oob = false;

	for (i = 0; i < n; i++) {
		struct json_object *v = json_object_array_get_idx(enable, i);

		if (!json_object_is_type(v, json_type_string))
			return drover_err(e, -EINVAL,
					  "Invalid parameter type for 'enable[%zu]', expected: string",
					  i);
		if (strcmp(json_object_get_string(v), "oob") != 0)
			return drover_err(e, -EINVAL,
					  "Parameter 'enable[%zu]' does not accept value '%s'", i,
					  json_object_get_string(v));
		oob = true;
	}
	*ret_oob = oob;
	return 0;
}

int cmd_qmp_capabilities(struct qmp_call *call, struct drover_error *e)
{
	bool oob = false;
	int r;

	if (qmp_session_negotiated(call->session)) {
		call->error_class = QMP_COMMAND_NOT_FOUND;
		return drover_err(e, -EALREADY,
				  "Capabilities negotiation is already complete, command ignored");
	}
	r = check_enable(qmp_arg_get(call, "enable"), &oob, e);
	if (r < 0)
		return r;
	qmp_session_negotiate(call->session, oob);
	return 0;
}

int cmd_query_version(struct qmp_call *call, struct drover_error *e)
{
	(void)e;
	call->ret = qmp_version();
	return 0;
}

int cmd_query_commands(struct qmp_call *call, struct drover_error *e)
{
	size_t i;

	(void)e;
	call->ret = json_object_new_array();
	for (i = 0; i < droverd_ncommands; i++) {
		struct json_object *o = json_object_new_object();

		json_object_object_add(o, "name", json_object_new_string(droverd_commands[i].name));
		json_object_array_add(call->ret, o);
	}
	return 0;
}

int cmd_query_status(struct qmp_call *call, struct drover_error *e)
{
	const char *name = run_state_name(call->opaque);

	(void)e;
	call->ret = json_object_new_object();
	json_object_object_add(call->ret, "status", json_object_new_string(name));
	json_object_object_add(call->ret, "running",
			       json_object_new_boolean(strcmp(name, "running") == 0));
	return 0;
}

int cmd_query_migrate(struct qmp_call *call, struct drover_error *e)
{
	(void)e;
	call->ret = info_build(call->opaque);
	return 0;
}

int cmd_quit(struct qmp_call *call, struct drover_error *e)
{
	(void)e;
	droverd_quit(call->opaque);
	return 0;
}
