// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * From a request to its answer: the checks every command shares, driven by the
 * command table. Texts, their order and the error classes are QEMU's, because its
 * clients match on them. Every request is answered, once, with its id.
 */
#include "daemon/qmp.h"

#include <errno.h>
#include <json-c/json.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/err.h"

#define EXPECT_NEGOTIATION "Expecting capabilities negotiation with 'qmp_capabilities'"

static const char *const class_names[QMP_CLASS_COUNT] = {
	[QMP_GENERIC_ERROR] = "GenericError",
	[QMP_COMMAND_NOT_FOUND] = "CommandNotFound",
};

static const struct {
	const char *name;
	enum json_type json;
} types[] = {
	[QMP_STR] = { "string", json_type_string },
	[QMP_INT] = { "integer", json_type_int },
	[QMP_BOOL] = { "boolean", json_type_boolean },
	[QMP_OBJECT] = { "object", json_type_object },
	[QMP_ARRAY] = { "array", json_type_array },
};

/* What a request turned out to be; members are borrowed from it. */
struct request {
	const char *execute;
	bool oob;
	struct json_object *args;
	struct json_object *id;
	bool has_id;
};

struct json_object *qmp_arg_get(const struct qmp_call *call, const char *name)
{
	struct json_object *o = NULL;

	json_object_object_get_ex(call->args, name, &o);
	return o;
}

const char *qmp_arg_str(const struct qmp_call *call, const char *name)
{
	struct json_object *o = qmp_arg_get(call, name);

	return o ? json_object_get_string(o) : NULL;
}

bool qmp_arg_bool(const struct qmp_call *call, const char *name, bool dflt)
{
	struct json_object *o = qmp_arg_get(call, name);

	return o ? json_object_get_boolean(o) : dflt;
}

struct json_object *qmp_version(void)
{
	struct json_object *o = json_object_new_object(), *q = json_object_new_object();

	/* The interface we implement. */
	json_object_object_add(q, "micro", json_object_new_int(50));
	json_object_object_add(q, "minor", json_object_new_int(0));
	json_object_object_add(q, "major", json_object_new_int(11));
	json_object_object_add(o, "qemu", q);
	json_object_object_add(o, "package", json_object_new_string("drover-" DROVER_VERSION));
	return o;
}

struct json_object *qmp_greeting(void)
{
	struct json_object *o = json_object_new_object(), *q = json_object_new_object();
	struct json_object *caps = json_object_new_array();

	json_object_array_add(caps, json_object_new_string("oob"));
	json_object_object_add(q, "version", qmp_version());
	json_object_object_add(q, "capabilities", caps);
	json_object_object_add(o, "QMP", q);
	return o;
}

static struct json_object *error_answer(enum qmp_class class, const char *desc)
{
	struct json_object *o = json_object_new_object(), *err = json_object_new_object();

	json_object_object_add(err, "class", json_object_new_string(class_names[class]));
	json_object_object_add(err, "desc", json_object_new_string(desc));
	json_object_object_add(o, "error", err);
	return o;
}

void qmp_bad_json(struct qmp_session *c, const char *why)
{
	struct json_object *o = error_answer(QMP_GENERIC_ERROR, why);

	qmp_session_send(c, o);
	json_object_put(o);
}

static int take_execute(struct request *rq, const char *key, struct json_object *val,
			struct drover_error *e)
{
	if (!json_object_is_type(val, json_type_string))
		return drover_err(e, -EINVAL, "QMP input member '%s' must be a string", key);
	if (rq->execute)
		return drover_err(e, -EINVAL, "QMP input member '%s' clashes with '%s'", key,
				  rq->oob ? "exec-oob" : "execute");
	rq->execute = json_object_get_string(val);
	rq->oob = strcmp(key, "exec-oob") == 0;
	return 0;
}

static int parse_member(struct request *rq, const char *key, struct json_object *val,
			bool allow_oob, struct drover_error *e)
{
	if (strcmp(key, "id") == 0)
		return 0;
	if (strcmp(key, "execute") == 0 || (allow_oob && strcmp(key, "exec-oob") == 0))
		return take_execute(rq, key, val, e);
	if (strcmp(key, "arguments") != 0)
		return drover_err(e, -EINVAL, "QMP input member '%s' is unexpected", key);
	if (!json_object_is_type(val, json_type_object))
		return drover_err(e, -EINVAL, "QMP input member 'arguments' must be an object");
	rq->args = val;
	return 0;
}

static int parse_request(struct json_object *o, bool allow_oob, struct request *rq,
			 struct drover_error *e)
{
	struct json_object_iterator it, end;
	int r;

	if (!json_object_is_type(o, json_type_object))
		return drover_err(e, -EINVAL, "QMP input must be a JSON object");
	rq->has_id = json_object_object_get_ex(o, "id", &rq->id);
	it = json_object_iter_begin(o);
	end = json_object_iter_end(o);
	for (; !json_object_iter_equal(&it, &end); json_object_iter_next(&it)) {
		r = parse_member(rq, json_object_iter_peek_name(&it),
				 json_object_iter_peek_value(&it), allow_oob, e);
		if (r < 0)
			return r;
	}
	if (!rq->execute)
		return drover_err(e, -EINVAL, "QMP input lacks member 'execute'");
	return 0;
}

static const struct qmp_command *find_command(const struct qmp_server *s, const char *name)
{
	size_t i;

	for (i = 0; i < s->ncommands; i++)
		if (strcmp(s->commands[i].name, name) == 0)
			return &s->commands[i];
	return NULL;
}

static bool known_arg(const struct qmp_command *cmd, const char *name)
{
	const struct qmp_arg *a;

	for (a = cmd->arg; a->name; a++)
		if (strcmp(a->name, name) == 0)
			return true;
	return false;
}

static int check_args(const struct qmp_command *cmd, struct json_object *args,
		      struct drover_error *e)
{
	struct json_object_iterator it, end;
	const struct qmp_arg *a;

	if (cmd->flags & QMP_ANY_ARGS)
		return 0;
	for (a = cmd->arg; a->name; a++) {
		struct json_object *val;

		if (!json_object_object_get_ex(args, a->name, &val)) {
			if (a->optional)
				continue;
			return drover_err(e, -EINVAL, "Parameter '%s' is missing", a->name);
		}
		if (!json_object_is_type(val, types[a->type].json))
			return drover_err(e, -EINVAL,
					  "Invalid parameter type for '%s', expected: %s", a->name,
					  types[a->type].name);
	}
	it = json_object_iter_begin(args);
	end = json_object_iter_end(args);
	for (; !json_object_iter_equal(&it, &end); json_object_iter_next(&it))
		if (!known_arg(cmd, json_object_iter_peek_name(&it)))
			return drover_err(e, -EINVAL, "Parameter '%s' is unexpected",
					  json_object_iter_peek_name(&it));
	return 0;
}

static int run(struct qmp_session *c, const struct request *rq, struct qmp_call *call,
	       struct drover_error *e)
{
	struct qmp_server *s = qmp_session_server(c);
	const struct qmp_command *cmd = find_command(s, rq->execute);
	bool negotiation = strcmp(rq->execute, "qmp_capabilities") == 0;
	struct json_object *none = NULL;
	int r;

	call->error_class = QMP_COMMAND_NOT_FOUND;
	if (!qmp_session_negotiated(c) && !negotiation)
		return drover_err(e, -ENOENT, EXPECT_NEGOTIATION);
	if (!cmd)
		return drover_err(e, -ENOENT, "The command %s has not been found", rq->execute);
	call->error_class = QMP_GENERIC_ERROR;
	if (rq->oob && !(cmd->flags & QMP_OOB))
		return drover_err(e, -EINVAL, "The command %s does not support OOB", rq->execute);
	call->opaque = s->opaque;
	call->session = c;
	if (!rq->args)
		none = json_object_new_object();
	call->args = rq->args ? rq->args : none;
	r = check_args(cmd, call->args, e);
	if (r >= 0)
		r = cmd->fn(call, e);
	json_object_put(none);
	return r;
}

void qmp_dispatch(struct qmp_session *c, struct json_object *request)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct request rq = { 0 };
	struct qmp_call call = { .error_class = QMP_GENERIC_ERROR };
	struct json_object *answer;
	int r;

	r = parse_request(request, qmp_session_oob(c), &rq, &e);
	if (r >= 0)
		r = run(c, &rq, &call, &e);
	if (r < 0) {
		json_object_put(call.ret);
		answer = error_answer(call.error_class, e.code ? e.msg : drover_strerror(r));
	} else {
		answer = json_object_new_object();
		json_object_object_add(answer, "return",
				       call.ret ? call.ret : json_object_new_object());
	}
	if (rq.has_id)
		json_object_object_add(answer, "id", json_object_get(rq.id));
	qmp_session_send(c, answer);
	json_object_put(answer);
}
