// SPDX-License-Identifier: GPL-2.0-or-later
/* Verbs that start, steer and end a migration. */
#define _GNU_SOURCE
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "address/address.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/json.h"
#include "config/options.h"
#include "ctl/ctl.h"
#include "ctl/goal.h"

#define CONFIG_FILE_MAX (1u << 20)

static const char *const schemes[] = {
	"tcp:", "unix:", "vsock:", "fd:", "exec:", "rdma:", "file:",
};

/* HOST:PORT is short for tcp:HOST:PORT. The caller frees the result. */
static char *full_uri(const char *text)
{
	char *uri;
	size_t i;

	for (i = 0; i < DROVER_ARRAY_SIZE(schemes); i++)
		if (strncmp(text, schemes[i], strlen(schemes[i])) == 0)
			return strdup(text);
	return asprintf(&uri, "tcp:%s", text) < 0 ? NULL : uri;
}

static int add_channel(struct json_object *list, const char *type, size_t type_len,
		       const char *text, struct drover_error *e)
{
	_cleanup_free_ char *uri = full_uri(text);
	struct drover_address addr = { 0 };
	struct json_object *o;
	int r = uri ? drover_address_from_uri(uri, &addr, e) :
		      drover_err(e, -ENOMEM, "out of memory");

	if (r < 0)
		return r;
	o = json_object_new_object();
	json_object_object_add(o, "channel-type", json_object_new_string_len(type, (int)type_len));
	json_object_object_add(o, "addr", drover_address_to_json(&addr));
	json_object_array_add(list, o);
	drover_address_deinit(&addr);
	return 0;
}

/* Put `channels` into the arguments if --channel was given, else `uri`. */
int ctl_add_address(const struct ctl *c, struct json_object *args, struct drover_error *e)
{
	_cleanup_json_ struct json_object *list = json_object_new_array();
	_cleanup_free_ char *uri = NULL;
	unsigned int i;
	int r = 0;

	if (!c->channel.n) {
		uri = full_uri(c->arg[0]);
		if (!uri)
			return drover_err(e, -ENOMEM, "out of memory");
		json_object_object_add(args, "uri", json_object_new_string(uri));
		return 0;
	}
	if (c->nargs)
		r = add_channel(list, "main", 4, c->arg[0], e);
	for (i = 0; r >= 0 && i < c->channel.n; i++) {
		const char *item = c->channel.item[i], *eq = strchr(item, '=');

		r = eq ? add_channel(list, item, (size_t)(eq - item), eq + 1, e) :
			 drover_err(e, -EINVAL, "--channel %s: must be TYPE=URI", item);
	}
	if (r >= 0)
		json_object_object_add(args, "channels", TAKE_PTR(list));
	return r;
}

static int load_config(const char *path, struct json_object **ret, struct drover_error *e)
{
	_cleanup_free_ char *buf = malloc(CONFIG_FILE_MAX + 1);
	_cleanup_fclose_ FILE *f = fopen(path, "re");
	struct json_object *o = NULL;
	size_t len;
	int r;

	if (!f)
		return drover_err(e, -errno, "%s: %s", path, drover_strerror(errno));
	if (!buf)
		return drover_err(e, -ENOMEM, "%s: out of memory", path);
	len = fread(buf, 1, CONFIG_FILE_MAX + 1, f);
	if (ferror(f))
		return drover_err(e, -EIO, "%s: read error", path);
	r = drover_json_parse(buf, len, CONFIG_FILE_MAX, &o, e);
	if (r < 0)
		return drover_err_prefix(e, "%s: ", path), r;
	if (!json_object_is_type(o, json_type_object)) {
		json_object_put(o);
		return drover_err(e, -EINVAL, "%s: must be a JSON object", path);
	}
	*ret = o;
	return 0;
}

/* Can the main channel's transport have more channels? Yes also if the address is wrong. */
static bool is_multi(const struct ctl *c)
{
	struct drover_error e = DROVER_ERROR_INIT;
	const char *text = c->nargs ? c->arg[0] : NULL;
	struct drover_address addr = { 0 };
	_cleanup_free_ char *uri = NULL;
	unsigned int i, offers;

	for (i = 0; i < c->channel.n && !text; i++)
		if (strncmp(c->channel.item[i], "main=", 5) == 0)
			text = c->channel.item[i] + 5;
	uri = text ? full_uri(text) : NULL;
	if (!uri || drover_address_from_uri(uri, &addr, &e) < 0)
		return true;
	offers = drover_address_offers(&addr);
	drover_address_deinit(&addr);
	return offers & DROVER_TRANSPORT_MULTI;
}

static void merge(struct json_object *o, struct json_object *over)
{
	struct json_object_iterator it = json_object_iter_begin(over);
	struct json_object_iterator end = json_object_iter_end(over);

	for (; !json_object_iter_equal(&it, &end); json_object_iter_next(&it))
		json_object_object_add(o, json_object_iter_peek_name(&it),
				       json_object_get(json_object_iter_peek_value(&it)));
}

/* --postcopy-after sets total-timeout and on-no-converge, or postcopy-from-start for 0. */
static int add_postcopy(const char *text, struct json_object *o, struct drover_error *e)
{
	_cleanup_json_ struct json_object *after = NULL;
	const struct drover_option *opt = drover_option_by_name("total-timeout");
	struct drover_error why = DROVER_ERROR_INIT;

	if (drover_option_text_to_json(opt, text, &after, &why) < 0 ||
	    json_object_get_uint64(after) > opt->max)
		return drover_err(e, -EINVAL,
				  "--postcopy-after %s: must be a number of seconds, up to %" PRIu64,
				  text, opt->max);
	json_object_object_add(o, "postcopy-ram", json_object_new_boolean(true));
	if (!json_object_get_uint64(after)) {
		json_object_object_add(o, "postcopy-from-start", json_object_new_boolean(true));
		return 0;
	}
	json_object_object_add(o, "total-timeout", TAKE_PTR(after));
	json_object_object_add(o, "on-no-converge", json_object_new_string("postcopy"));
	return 0;
}

/*
 * Make the config from --goal, --postcopy-after, --config and --set; each overrides those before
 * it, so that the more detailed one wins.
 */
static int make_config(const struct ctl *c, struct json_object *o, struct drover_error *e)
{
	_cleanup_json_ struct json_object *file = NULL;
	unsigned int i;
	int r = 0;

	if (c->goal)
		r = goal_expand(c->goal, is_multi(c), o, e);
	if (r >= 0 && c->postcopy_after)
		r = add_postcopy(c->postcopy_after, o, e);
	if (r >= 0 && c->config_file)
		r = load_config(c->config_file, &file, e);
	if (r >= 0 && file)
		merge(o, file);
	for (i = 0; r >= 0 && i < c->set.n; i++)
		r = ctl_parse_set(o, c->set.item[i], false, e);
	return r;
}

static int explain(struct ctl *c)
{
	_cleanup_json_ struct json_object *o = json_object_new_object();
	struct drover_error e = DROVER_ERROR_INIT;

	if (make_config(c, o, &e) < 0) {
		ctl_fail(c, &e);
		return CTL_USAGE;
	}
	if (c->json)
		ctl_print_json(o);
	else
		goal_explain(c->goal, is_multi(c), o);
	return CTL_DONE;
}

static int add_config(const struct ctl *c, struct json_object *args, struct drover_error *e)
{
	_cleanup_json_ struct json_object *o = json_object_new_object();
	int r;

	if (!c->config_file && !c->set.n && !c->goal && !c->postcopy_after)
		return 0;
	r = make_config(c, o, e);
	if (r >= 0)
		json_object_object_add(args, "config", TAKE_PTR(o));
	return r;
}

static int start(struct ctl *c, const char *command)
{
	_cleanup_json_ struct json_object *args = json_object_new_object();
	struct drover_error e = DROVER_ERROR_INIT;
	bool wait = c->given & CTL_OPT_WAIT;
	int status;

	if (!c->nargs && !c->channel.n)
		return ctl_usage("where? give URI, HOST:PORT or --channel main=URI");
	if (ctl_add_address(c, args, &e) < 0 || add_config(c, args, &e) < 0) {
		ctl_fail(c, &e);
		return CTL_USAGE;
	}
	if (c->discard)
		json_object_object_add(args, "discard", json_object_new_boolean(true));
	status = wait ? ctl_call(c, command, TAKE_PTR(args), NULL) :
			ctl_do(c, command, TAKE_PTR(args));
	if (status != CTL_DONE || !wait)
		return status;
	return ctl_follow(c, true);
}

int verb_migrate(struct ctl *c)
{
	return c->explain ? explain(c) : start(c, "migrate");
}

int verb_incoming(struct ctl *c)
{
	return start(c, "migrate-incoming");
}

int verb_stop(struct ctl *c)
{
	return ctl_do(c, "stop", NULL);
}

int verb_cont(struct ctl *c)
{
	return ctl_do(c, "cont", NULL);
}

int verb_cancel(struct ctl *c)
{
	return ctl_do(c, "migrate_cancel", NULL);
}

int verb_continue(struct ctl *c)
{
	struct json_object *args = json_object_new_object();

	json_object_object_add(args, "state", json_object_new_string("pre-switchover"));
	return ctl_do(c, "migrate-continue", args);
}

static int show_doubt(struct ctl *c)
{
	_cleanup_json_ struct json_object *info = NULL;
	struct json_object *x = NULL, *v = NULL;
	int status = ctl_call(c, "query-migrate", NULL, &info);

	if (status != CTL_DONE)
		return status;
	if (c->json) {
		ctl_print_json(info);
		return CTL_DONE;
	}
	if (!json_object_object_get_ex(info, "drover", &x) ||
	    !json_object_object_get_ex(x, "in-doubt", &v) || !json_object_get_boolean(v)) {
		puts("nothing is in doubt here");
		return CTL_DONE;
	}
	puts("in doubt: the guest may have been handed over; the daemon asks its peer.\n"
	     "Look at the other host first: only if the guest does not run there and never will,\n"
	     "  droverctl settle --force own\n"
	     "and if it runs there,\n"
	     "  droverctl settle --force release");
	return CTL_DONE;
}

int verb_settle(struct ctl *c)
{
	struct json_object *args;
	bool own;

	if (!c->force)
		return show_doubt(c);
	own = strcmp(c->force, "own") == 0;
	if (!own && strcmp(c->force, "release") != 0)
		return ctl_usage("settle: --force must be own or release");
	args = json_object_new_object();
	json_object_object_add(args, "own", json_object_new_boolean(own));
	return ctl_do(c, "migrate-settle", args);
}

int verb_quit(struct ctl *c)
{
	return ctl_do(c, "quit", NULL);
}
