// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * droverctl monitor: prints the kernel module's events as they come, one line each. They are for
 * people and logs: the module drops events when a listener is too slow, and monitor reports that.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <linux/drover.h>
#include <netlink/errno.h>
#include <netlink/genl/ctrl.h>
#include <netlink/genl/genl.h>
#include <netlink/netlink.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/json.h"
#include "ctl/ctl.h"

static const char *const events[DROVER_NL_CMD_MAX + 1] = {
	[DROVER_NL_ATTACH] = "attach",
	[DROVER_NL_RELEASE] = "release",
	[DROVER_NL_REGION_NEW] = "region-new",
	[DROVER_NL_REGION_END] = "region-end",
	[DROVER_NL_LOADER_DIED] = "loader-died",
	[DROVER_NL_LOADER_ADOPTED] = "loader-adopted",
	[DROVER_NL_STALL] = "stall",
	[DROVER_NL_LATE] = "late-writer",
};

/* The attributes in the order in which they are printed; the time is printed before them. */
static const struct {
	enum drover_nl_attr attr;
	uint16_t type;
	const char *name;
} fields[] = {
	{ DROVER_NL_A_INO, NLA_U64, "inode" },
	{ DROVER_NL_A_REGION, NLA_U64, "region" },
	{ DROVER_NL_A_NAME, NLA_STRING, "name" },
	{ DROVER_NL_A_PAGES, NLA_U64, "pages" },
	{ DROVER_NL_A_PAGE, NLA_U64, "page" },
	{ DROVER_NL_A_COUNT, NLA_U64, "count" },
	{ DROVER_NL_A_WAITERS, NLA_U64, "waiters" },
	{ DROVER_NL_A_PID, NLA_U32, "pid" },
	{ DROVER_NL_A_WAIT_MS, NLA_U64, "wait-ms" },
};

#define NFIELDS (sizeof(fields) / sizeof(fields[0]))

static uint64_t number(struct nlattr *a, uint16_t type)
{
	return type == NLA_U32 ? nla_get_u32(a) : nla_get_u64(a);
}

static void print_text(const char *event, uint64_t ns, struct nlattr **a)
{
	size_t i;

	printf("%" PRIu64 ".%06" PRIu64 " %s", (uint64_t)(ns / DROVER_NS_PER_S),
	       (uint64_t)(ns % DROVER_NS_PER_S / 1000), event);
	for (i = 0; i < NFIELDS; i++) {
		struct nlattr *x = a[fields[i].attr];

		if (x && fields[i].type == NLA_STRING)
			printf(" %s=%s", fields[i].name, nla_get_string(x));
		else if (x)
			printf(" %s=%" PRIu64, fields[i].name, number(x, fields[i].type));
	}
	putchar('\n');
}

static void print_json(const char *event, uint64_t ns, struct nlattr **a)
{
	_cleanup_json_ struct json_object *o = json_object_new_object();
	size_t i;

	json_object_object_add(o, "event", json_object_new_string(event));
	json_object_object_add(o, "time-ns", json_object_new_uint64(ns));
	for (i = 0; i < NFIELDS; i++) {
		struct nlattr *x = a[fields[i].attr];

		if (x)
			json_object_object_add(o, fields[i].name, fields[i].type == NLA_STRING ?
				json_object_new_string(nla_get_string(x)) :
				json_object_new_uint64(number(x, fields[i].type)));
	}
	puts(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN |
					    JSON_C_TO_STRING_NOSLASHESCAPE));
}

static int on_event(struct nl_msg *msg, void *arg)
{
	struct nla_policy policy[DROVER_NL_A_MAX + 1] = {
		[DROVER_NL_A_TIME_NS] = { .type = NLA_U64 },
	};
	struct nlattr *a[DROVER_NL_A_MAX + 1];
	struct nlmsghdr *h = nlmsg_hdr(msg);
	const struct ctl *c = arg;
	unsigned int cmd;
	uint64_t ns;
	size_t i;

	for (i = 0; i < NFIELDS; i++)
		policy[fields[i].attr].type = fields[i].type;
	if (!genlmsg_valid_hdr(h, 0) || genlmsg_parse(h, 0, a, DROVER_NL_A_MAX, policy) < 0)
		return NL_SKIP;
	/* A newer module may have events that this droverctl does not know. */
	cmd = genlmsg_hdr(h)->cmd;
	if (cmd > DROVER_NL_CMD_MAX || !events[cmd])
		return NL_SKIP;
	ns = a[DROVER_NL_A_TIME_NS] ? nla_get_u64(a[DROVER_NL_A_TIME_NS]) : 0;
	(c->json ? print_json : print_text)(events[cmd], ns, a);
	return NL_OK;
}

static int subscribe(struct nl_sock *sk, struct ctl *c, struct drover_error *e)
{
	int group, r = genl_connect(sk);

	if (r < 0)
		return drover_err(e, -EIO, "monitor: netlink: %s", nl_geterror(r));
	group = genl_ctrl_resolve_grp(sk, DROVER_NL_FAMILY, DROVER_NL_GROUP);
	if (group < 0)
		return drover_err(e, -ENOENT,
				  "monitor: the kernel has no events of drover: load the module "
				  "(modprobe drover)");
	nl_socket_disable_seq_check(sk);
	nl_socket_modify_cb(sk, NL_CB_VALID, NL_CB_CUSTOM, on_event, c);
	r = nl_socket_add_membership(sk, group);
	if (r < 0)
		return drover_err(e, -EPERM, "monitor: listen: %s (it takes CAP_NET_ADMIN)",
				  nl_geterror(r));
	return 0;
}

int verb_monitor(struct ctl *c)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct nl_sock *sk = nl_socket_alloc();
	int r = sk ? subscribe(sk, c, &e) : drover_err(&e, -ENOMEM, "monitor: out of memory");

	while (r >= 0) {
		r = nl_recvmsgs_default(sk);
		if (r == -NLE_NOMEM || r == -NLE_DUMP_INTR) {
			fprintf(stderr, "droverctl: monitor: too slow, some events are lost\n");
			r = 0;
		} else if (r < 0) {
			drover_err(&e, -EIO, "monitor: receive: %s", nl_geterror(r));
		}
		if (fflush(stdout) != 0)
			break;
	}
	nl_socket_free(sk);
	return r < 0 ? ctl_fail(c, &e) : CTL_FAILED;
}
