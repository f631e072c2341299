// SPDX-License-Identifier: GPL-2.0-or-later
/* Which trackers are taken, and the reasons given for those that are not. */
#define _GNU_SOURCE
#include "track-vmm.h"

#include "tap.h"

struct log_calls {
	unsigned int start, sync, stop;
	int fail;
};

static int log_start(void *opaque, struct drover_error *e)
{
	struct log_calls *c = opaque;

	c->start++;
	return c->fail ? drover_err(e, c->fail, "no log today") : 0;
}

static int log_sync(void *opaque, uint64_t *const *maps, struct drover_error *e)
{
	struct log_calls *c = opaque;

	(void)e;
	c->sync++;
	drover_bit_set(maps[0], 5);
	return 0;
}

static int log_stop(void *opaque, struct drover_error *e)
{
	struct log_calls *c = opaque;

	(void)e;
	c->stop++;
	return 0;
}

static void offer_log(struct vmm *v, struct log_calls *c)
{
	*c = (struct log_calls){ 0 };
	v->src.kvm_log = true;
	v->src.kvm_start = log_start;
	v->src.kvm_sync = log_sync;
	v->src.kvm_stop = log_stop;
	v->src.opaque = c;
}

static void refusal(struct vmm *v, const char *want, int r, const char *part)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_tracker *t = NULL;
	int got = drover_tracker_select(&v->src, want, NULL, &t, &e);

	tap_ok(got == r && !t && strstr(e.msg, part), "%s refused: %s", want, e.msg);
	drover_tracker_free(t);
}

static void table(void)
{
	const struct drover_tracker_ops *const *t = drover_tracker_table();
	unsigned int n;

	for (n = 0; t[n]; n++)
		tap_ok(t[n]->name && t[n]->guarantee && t[n]->probe && t[n]->start &&
		       t[n]->harvest && t[n]->stop, "%s is complete", t[n]->name);
	tap_ok(n == 4 && !strcmp(t[0]->name, "kmod"), "four trackers, the best first");
}

static void combined(struct vmm *v)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_tracker *t = NULL;
	struct log_calls c;

	offer_log(v, &c);
	if (!tap_ok(drover_tracker_select(&v->src, "kvm-log", NULL, &t, &e) == 0 &&
		    !strcmp(drover_tracker_name(t), "kvm-log+pagemap-scan+holes"),
		    "kvm-log has pagemap-scan beside it %s", e.msg))
		return;
	tap_ok(drover_tracker_start(t, &e) == 0 && c.start == 1, "both start %s", e.msg);
	vmm_clear_dirty(v);
	v->map[0][7 * DROVER_PAGE_SIZE] = 1;
	tap_ok(drover_tracker_harvest(t, v->dirty, true, &e) == 0 && c.sync == 1 &&
	       v->dirty[0][0] == (1u << 5 | 1u << 7), "a harvest has the news of both");
	drover_tracker_stop(t);
	drover_tracker_stop(t);
	tap_ok(c.stop == 1, "stopped once");
	c.fail = -EIO;
	tap_ok(drover_tracker_start(t, &e) == -EIO && c.stop == 1, "start fails: %s", e.msg);
	t = drover_tracker_free(t);
	c.fail = 0;
	tap_ok(drover_tracker_select(&v->src, "auto", NULL, &t, &e) == 0 &&
	       !strcmp(drover_tracker_name(t), "pagemap-scan+holes") &&
	       strstr(drover_tracker_report(t), "kvm-log: not needed"),
	       "auto does without the log");
	tap_ok(strstr(drover_tracker_report(t), "kmod: refused: /dev/drover") &&
	       strstr(drover_tracker_report(t), "\npagemap-scan: used: every write"),
	       "the report gives a reason for each");
	drover_tracker_free(t);
	v->src.uffd = -1;
	refusal(v, "kvm-log", -EOPNOTSUPP, "passed no userfaultfd");
	v->src.kvm_log = false;
}

/* One made without WP_ASYNC would make the VMM's writers hang: found before it is armed. */
static void not_async(struct vmm *v)
{
	int uffd = -1;

	if (drover_uffd_new(UFFD_FEATURE_PAGEFAULT_FLAG_WP, &uffd, NULL, NULL))
		return;
	v->src.uffd = uffd;
	refusal(v, "pagemap-scan", -EOPNOTSUPP, "without UFFD_FEATURE_WP_ASYNC");
	close(uffd);
}

int main(void)
{
	static const uint64_t sizes[1] = { 64 };
	struct vmm v;
	int uffd, pagemap;
	uint64_t base;
	char why[200];
	bool scan;

	vmm_open(&v, sizes, 1);
	uffd = v.src.uffd;
	pagemap = v.src.pagemap_fd;
	base = v.src.block[0].base;
	table();
	scan = drover_tracker_pagemap_scan.probe(&v.src, why, sizeof(why)) > 0;
	if (scan)
		combined(&v);
	else
		tap_skip("pagemap-scan: %s", why);
	refusal(&v, "best", -EINVAL, "'best'");
	refusal(&v, "kmod", -EOPNOTSUPP, "/dev/drover");
	refusal(&v, "kvm-log", -EOPNOTSUPP, "no KVM dirty log");
	refusal(&v, "soft-dirty", -EOPNOTSUPP, "soft-dirty");
	v.src.uffd = -1;
	refusal(&v, "pagemap-scan", -EOPNOTSUPP, "no userfaultfd");
	refusal(&v, "auto", -EOPNOTSUPP, "kmod: /dev/drover");
	v.src.uffd = uffd;
	v.src.pagemap_fd = -1;
	refusal(&v, "pagemap-scan", -EOPNOTSUPP, "no pagemap");
	v.src.pagemap_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	refusal(&v, "pagemap-scan", -EOPNOTSUPP, scan ? "PAGEMAP_SCAN" : "pagemap-scan");
	close(v.src.pagemap_fd);
	v.src.pagemap_fd = pagemap;
	v.src.block[0].base = 0;
	refusal(&v, "pagemap-scan", -EOPNOTSUPP, scan ? "where it maps ram0" : "pagemap-scan");
	v.src.block[0].base = base;
	if (scan)
		not_async(&v);
	v.src.uffd = uffd;
	vmm_close(&v);
	return tap_done();
}
