// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The requests of an agent link, answered by the VMM's callbacks. One row a request;
 * lengths, descriptors and direction were checked against agent.def before. A handler
 * that fails becomes an ERROR reply and the link goes on. Called by agent-conn.c.
 */
#define _GNU_SOURCE
#include "lib/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bitmap.h"
#include "base/cleanup.h"
#include "ram/ramfile.h"

/* A callback's failure, with its text if it gave one. */
static int failed(int r, const struct drover_text *why, struct drover_error *e)
{
	if (r < -4095)
		r = -EIO;
	return drover_err(e, r, "%.*s", DROVER_TEXT_MAX - 1,
			  *why->text ? why->text : drover_strerror(r));
}

static int not_supported(const char *what, struct drover_error *e)
{
	return drover_err(e, -EOPNOTSUPP, "this VMM has no %s", what);
}

static void out(struct drover_agent *a, const void *body, size_t len)
{
	memcpy(a->answer.body.bytes, body, len);
	a->answer.hdr.len = (uint32_t)len;
}

int agent_out_fd(struct drover_agent *a, int fd, struct drover_error *e)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);

	if (copy < 0)
		return drover_err(e, -errno, "duplicate descriptor: %s", drover_strerror(errno));
	a->answer.fd[a->answer.nfds++] = copy;
	return 0;
}

static int serve_hello(struct drover_agent *a, struct drover_error *e)
{
	struct drover_agent_hello_ack ack = { 0 };

	(void)e;
	ack.features = (a->ops.throttle ? DROVER_AGENT_F_THROTTLE : 0) |
		       (a->ops.log_start ? DROVER_AGENT_F_KVM_LOG : 0) |
		       (a->ops.check ? DROVER_AGENT_F_CHECK : 0) |
		       (a->has_uuid ? DROVER_AGENT_F_UUID : 0) | DROVER_AGENT_F_POSTCOPY |
		       DROVER_AGENT_F_SERVING | DROVER_AGENT_F_RAM_CHECKED |
		       (a->wrote ? DROVER_AGENT_F_WROTE : 0);
	ack.run_state = a->told = agent_run_state(a);
	ack.blocks = a->ram.n;
	memcpy(ack.uuid, a->uuid, sizeof(ack.uuid));
	drover_agent_owner_to_wire(&a->record, &ack.owner);
	a->greeted = true;
	out(a, &ack, sizeof(ack));
	return 0;
}

static int serve_ram_get(struct drover_agent *a, struct drover_error *e)
{
	uint32_t i = a->request.body.ram_get.index;
	struct drover_agent_ram ram = { 0 };
	const struct drover_ram_block *b;

	if (i >= a->ram.n)
		return drover_err(e, -ENOENT, "there is no RAM block %u", i);
	b = &a->ram.block[i];
	memcpy(ram.name, b->name, sizeof(ram.name));
	ram.gpa = b->gpa;
	ram.size = b->size;
	ram.fd_off = b->fd_off;
	ram.flags = b->flags;
	out(a, &ram, sizeof(ram));
	return agent_out_fd(a, b->fd, e);
}

static int serve_track_get(struct drover_agent *a, struct drover_error *e)
{
	struct drover_agent_track t = { .blocks = a->ram.n };
	unsigned int i;
	int r = 0;

	for (i = 0; i < a->ram.n; i++)
		t.base[i] = (uintptr_t)a->ram.block[i].host;
	if (a->uffd >= 0) {
		t.flags |= DROVER_AGENT_TRACK_UFFD;
		r = agent_out_fd(a, a->uffd, e);
	}
	if (r >= 0 && a->pagemap_fd >= 0) {
		t.flags |= DROVER_AGENT_TRACK_PAGEMAP;
		r = agent_out_fd(a, a->pagemap_fd, e);
	}
	out(a, &t, offsetof(struct drover_agent_track, base) + a->ram.n * sizeof(t.base[0]));
	return r;
}

static int serve_pause(struct drover_agent *a, struct drover_error *e)
{
	struct drover_text why = { "" };
	int r = a->ops.pause(a->opaque, &why);

	if (r < 0)
		return failed(r, &why, e);
	/* A guest that was stopped by its VMM stays the VMM's business. */
	a->link_paused |= a->running;
	a->running = false;
	return 0;
}

static int serve_resume(struct drover_agent *a, struct drover_error *e)
{
	struct drover_text why = { "" };
	int r;

	if (a->record.state != DROVER_OWNER_OWNED)
		return drover_err(e, -EPERM, "the record is %s: the guest must not run here",
				  drover_owner_name(a->record.state));
	if (!a->state_ok)
		return drover_err(e, -EINVAL, "no device state has been loaded");
	r = a->ops.resume(a->opaque, &why);
	if (r < 0)
		return failed(r, &why, e);
	a->running = true;
	a->link_paused = false;
	return 0;
}

static int seal_state(int fd, uint64_t *ret_len, struct drover_error *e)
{
	struct stat st;

	if (fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0 ||
	    fstat(fd, &st) < 0)
		return drover_err(e, -errno, "seal device state: %s", drover_strerror(errno));
	if (st.st_size <= 0 || (uint64_t)st.st_size > DROVER_AGENT_STATE_MAX)
		return drover_err(e, -EINVAL, "device state has %lld bytes",
				  (long long)st.st_size);
	*ret_len = (uint64_t)st.st_size;
	return 0;
}

static int serve_save(struct drover_agent *a, struct drover_error *e)
{
	_cleanup_close_ int fd = -EBADF;
	struct drover_text why = { "" };
	struct drover_agent_len len = { 0 };
	int r;

	if (!a->ops.save)
		return not_supported("device state", e);
	if (a->running)
		return drover_err(e, -EBUSY, "the guest runs");
	if (!a->state_ok)
		return drover_err(e, -EINVAL, "there is no guest here yet");
	fd = memfd_create("drover-state", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return drover_err(e, -errno, "memfd_create: %s", drover_strerror(errno));
	r = a->ops.save(a->opaque, fd, &why);
	if (r < 0)
		return failed(r, &why, e);
	r = seal_state(fd, &len.len, e);
	if (r < 0)
		return r;
	out(a, &len, sizeof(len));
	a->answer.fd[a->answer.nfds++] = TAKE_FD(fd);
	return 0;
}

static int serve_load(struct drover_agent *a, struct drover_error *e)
{
	uint64_t len = a->request.body.len.len;
	const int need = F_SEAL_WRITE | F_SEAL_SHRINK;
	struct drover_text why = { "" };
	int r, fd = a->request.fd[0];
	struct stat st;

	if (!a->ops.load)
		return not_supported("loading of device state", e);
	if (a->running || a->record.state != DROVER_OWNER_INCOMING)
		return drover_err(e, -EBUSY, "the record is %s: no guest is expected",
				  drover_owner_name(a->record.state));
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || (uint64_t)st.st_size != len || !len ||
	    len > DROVER_AGENT_STATE_MAX)
		return drover_err(e, -EINVAL, "the device state is not a file of %llu bytes",
				  (unsigned long long)len);
	r = fcntl(fd, F_GET_SEALS);
	if (r < 0 || (r & need) != need)
		return drover_err(e, -EINVAL, "the device state is not a sealed memfd");
	a->state_ok = false;
	r = a->ops.load(a->opaque, fd, len, &why);
	if (r < 0)
		return failed(r, &why, e);
	a->state_ok = true;
	return 0;
}

static int serve_owner_set(struct drover_agent *a, struct drover_error *e)
{
	struct drover_owner_record rec;
	int r = drover_agent_owner_from_wire(&a->request.body.owner, &rec, e);

	return r < 0 ? r : agent_record_set(a, &rec, e);
}

static int serve_owner_get(struct drover_agent *a, struct drover_error *e)
{
	struct drover_agent_owner o;

	(void)e;
	drover_agent_owner_to_wire(&a->record, &o);
	out(a, &o, sizeof(o));
	return 0;
}

static int empty_ram(struct drover_agent *a, struct drover_error *e)
{
	unsigned int i;
	int r;

	for (i = 0; i < a->ram.n; i++) {
		const struct drover_ram_block *b = &a->ram.block[i];

		/* The source does not send it: this side's content is the guest's. */
		if (b->flags & DROVER_RAM_SHARED_DEST)
			continue;
		r = drover_ramfile_punch(b->fd, b->fd_off, b->size, b->host);
		if (r < 0)
			return drover_err(e, r, "RAM %s: punch: %s", b->name, drover_strerror(r));
	}
	return 0;
}

static int serve_prepare(struct drover_agent *a, struct drover_error *e)
{
	struct drover_text why = { "" };
	int r;

	if (!a->ops.prepare || !a->ops.load)
		return not_supported("way to become a destination", e);
	r = agent_record_prepare(a, e);
	if (r >= 0)
		r = agent_ram_check_dest(a, e);
	if (r < 0)
		return r;
	/* From here on there is no guest, also when a step fails. */
	a->state_ok = false;
	a->link_paused = true;
	memset(&a->record, 0, sizeof(a->record));
	a->record.state = DROVER_OWNER_INCOMING;
	/* Of a postcopy that never came to COMMIT. */
	a->ledger = drover_ledger_free(a->ledger);
	agent_uffd_release(a);
	r = a->ops.prepare(a->opaque, &why);
	return r < 0 ? failed(r, &why, e) : empty_ram(a, e);
}

static int serve_throttle(struct drover_agent *a, struct drover_error *e)
{
	uint32_t percent = a->request.body.value.value;
	struct drover_text why = { "" };
	int r;

	if (!a->ops.throttle)
		return not_supported("throttle", e);
	if (percent > 99)
		return drover_err(e, -EINVAL, "%u percent is not within 0..99", percent);
	r = a->ops.throttle(a->opaque, percent, &why);
	if (r < 0)
		return failed(r, &why, e);
	a->throttled = percent != 0;
	return 0;
}

static int serve_log_start(struct drover_agent *a, struct drover_error *e)
{
	struct drover_text why = { "" };
	int r;

	if (!a->ops.log_start)
		return not_supported("KVM dirty log", e);
	r = a->ops.log_start(a->opaque, &why);
	if (r < 0)
		return failed(r, &why, e);
	a->logging = true;
	return 0;
}

static int serve_log_stop(struct drover_agent *a, struct drover_error *e)
{
	struct drover_text why = { "" };
	int r;

	if (!a->ops.log_stop)
		return not_supported("KVM dirty log", e);
	r = a->ops.log_stop(a->opaque, &why);
	if (r < 0)
		return failed(r, &why, e);
	a->logging = false;
	return 0;
}

static int sync_into(struct drover_agent *a, int fd, uint64_t bytes, struct drover_error *e)
{
	uint64_t *map[DROVER_RAM_BLOCKS_MAX], off = 0;
	struct drover_text why = { "" };
	unsigned int i;
	uint8_t *p;
	int r;

	if (ftruncate(fd, (off_t)bytes) < 0)
		return drover_err(e, -errno, "dirty bitmap: %s", drover_strerror(errno));
	p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		return drover_err(e, -errno, "dirty bitmap: mmap: %s", drover_strerror(errno));
	for (i = 0; i < a->ram.n; i++) {
		map[i] = (uint64_t *)(p + off);
		off += drover_bitmap_bytes(drover_pages(a->ram.block[i].size));
	}
	r = a->ops.log_sync(a->opaque, map, &why);
	munmap(p, bytes);
	return r < 0 ? failed(r, &why, e) : 0;
}

static int serve_sync_dirty(struct drover_agent *a, struct drover_error *e)
{
	_cleanup_close_ int fd = -EBADF;
	struct drover_agent_len len = { 0 };
	unsigned int i;
	int r;

	if (!a->logging)
		return drover_err(e, -EINVAL, "the dirty log was not started");
	for (i = 0; i < a->ram.n; i++)
		len.len += drover_bitmap_bytes(drover_pages(a->ram.block[i].size));
	fd = memfd_create("drover-dirty", MFD_CLOEXEC);
	if (fd < 0)
		return drover_err(e, -errno, "memfd_create: %s", drover_strerror(errno));
	r = sync_into(a, fd, len.len, e);
	if (r < 0)
		return r;
	out(a, &len, sizeof(len));
	a->answer.fd[a->answer.nfds++] = TAKE_FD(fd);
	return 0;
}

static int serve_check(struct drover_agent *a, struct drover_error *e)
{
	char *json = (char *)a->answer.body.bytes;
	int r;

	if (!a->ops.check)
		return not_supported("self-check", e);
	json[0] = '\0';
	r = a->ops.check(a->opaque, json, DROVER_AGENT_BODY_MAX);
	if (r < 0)
		return drover_err(e, r, "self-check: %s", drover_strerror(r));
	a->answer.hdr.len = (uint32_t)strnlen(json, DROVER_AGENT_BODY_MAX);
	return 0;
}

static int serve_bye(struct drover_agent *a, struct drover_error *e)
{
	(void)e;
	a->bye = true;
	return 0;
}

static int (*const handlers[DROVER_AGENT_TYPE_COUNT])(struct drover_agent *a,
						      struct drover_error *e) = {
	[DROVER_AGENT_HELLO] = serve_hello,
	[DROVER_AGENT_RAM_GET] = serve_ram_get,
	[DROVER_AGENT_TRACK_GET] = serve_track_get,
	[DROVER_AGENT_PAUSE] = serve_pause,
	[DROVER_AGENT_RESUME] = serve_resume,
	[DROVER_AGENT_SAVE] = serve_save,
	[DROVER_AGENT_LOAD] = serve_load,
	[DROVER_AGENT_OWNER_SET] = serve_owner_set,
	[DROVER_AGENT_OWNER_GET] = serve_owner_get,
	[DROVER_AGENT_PREPARE] = serve_prepare,
	[DROVER_AGENT_THROTTLE] = serve_throttle,
	[DROVER_AGENT_LOG_START] = serve_log_start,
	[DROVER_AGENT_LOG_STOP] = serve_log_stop,
	[DROVER_AGENT_SYNC_DIRTY] = serve_sync_dirty,
	[DROVER_AGENT_CHECK] = serve_check,
	[DROVER_AGENT_ARM_FAULTS] = agent_serve_arm_faults,
	[DROVER_AGENT_LEDGER_PUT] = agent_serve_ledger_put,
	[DROVER_AGENT_LEDGER_GET] = agent_serve_ledger_get,
	[DROVER_AGENT_WROTE_GET] = agent_serve_wrote_get,
	[DROVER_AGENT_BYE] = serve_bye,
};

int agent_send_status(struct drover_agent *a)
{
	struct drover_agent_value v = { .value = agent_run_state(a) };

	if (a->conn_fd < 0 || !a->greeted || a->told == (enum drover_run_state)v.value)
		return 0;
	a->told = (enum drover_run_state)v.value;
	return drover_agent_msg_send(a->conn_fd, DROVER_AGENT_STATUS, 0, &v, sizeof(v), NULL, 0,
				     DROVER_AGENT_NOWAIT, NULL);
}

int agent_send_verdict(struct drover_agent *a)
{
	char json[DROVER_AGENT_BODY_MAX] = "";

	if (a->conn_fd < 0 || !a->greeted || !a->ops.check ||
	    a->ops.check(a->opaque, json, sizeof(json)) < 0)
		return 0;
	return drover_agent_msg_send(a->conn_fd, DROVER_AGENT_VERDICT, 0, json,
				     strnlen(json, sizeof(json)), NULL, 0, DROVER_AGENT_NOWAIT,
				     NULL);
}

static int send_error(struct drover_agent *a, uint32_t seq, const struct drover_error *e)
{
	struct drover_agent_error b = { .code = e->code };
	size_t len = strnlen(e->msg, sizeof(b.text));

	b.text_len = (uint32_t)len;
	memcpy(b.text, e->msg, len);
	return drover_agent_msg_send(a->conn_fd, DROVER_AGENT_ERROR, seq, &b,
				     offsetof(struct drover_agent_error, text) + len, NULL, 0,
				     DROVER_AGENT_NOWAIT, NULL);
}

int agent_serve(struct drover_agent *a, struct drover_agent_msg *m)
{
	const struct drover_agent_rule *rule = drover_agent_rule(m->hdr.type);
	struct drover_error e = DROVER_ERROR_INIT;
	bool order = m->hdr.seq && a->greeted != (m->hdr.type == DROVER_AGENT_HELLO);
	int r, sent;

	drover_agent_msg_init(&a->answer);
	if (!order)
		r = drover_err(&e, -EPROTO, "%s out of order", rule->name);
	else
		r = handlers[m->hdr.type](a, &e);
	/* The event first: whoever has the reply has the new run state. */
	sent = agent_send_status(a);
	if (sent >= 0 && r < 0)
		sent = send_error(a, m->hdr.seq, &e);
	else if (sent >= 0 && rule->reply)
		sent = drover_agent_msg_send(a->conn_fd, rule->reply, m->hdr.seq,
					     a->answer.body.bytes, a->answer.hdr.len, a->answer.fd,
					     a->answer.nfds, DROVER_AGENT_NOWAIT, NULL);
	drover_agent_msg_deinit(&a->answer);
	return order ? sent : r;
}

static void note(const struct drover_agent *a, const char *text)
{
	if (a->ops.note)
		a->ops.note(a->opaque, text);
}

void agent_link_closed(struct drover_agent *a)
{
	struct drover_text why = { "" };
	char text[DROVER_TEXT_MAX + 64];

	if (a->throttled)
		a->ops.throttle(a->opaque, 0, &why);
	if (a->logging)
		a->ops.log_stop(a->opaque, &why);
	a->throttled = a->logging = false;
	/*
	 * Write tracking that a dead droverd left behind costs a fault a page. But while
	 * pages have not arrived, who touches one waits for the next droverd.
	 */
	if (!a->ledger)
		agent_uffd_release(a);
	if (!agent_record_resumes(a)) {
		snprintf(text, sizeof(text), "droverd has %s; the guest %s, its record is %s%s",
			 a->bye ? "left" : "gone", a->running ? "runs" : "stays paused",
			 drover_owner_name(a->record.state),
			 a->ledger ? "; pages are missing, attach another droverd" : "");
		note(a, text);
		return;
	}
	why.text[0] = '\0';
	if (a->ops.resume(a->opaque, &why) < 0) {
		snprintf(text, sizeof(text), "droverd has gone; resume: %s", why.text);
	} else {
		a->running = true;
		a->link_paused = false;
		snprintf(text, sizeof(text), "droverd has gone; the guest goes on here");
	}
	note(a, text);
}
