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

static struct drover_agent_status status(const struct drover_agent *a)
{
	return (struct drover_agent_status){
		.run_state = agent_run_state(a),
		.state = a->record.state,
		.flags = (a->record.will ? DROVER_AGENT_REC_WILL : 0) |
			 (a->record.running ? DROVER_AGENT_REC_RUNNING : 0),
	};
}

static int serve_hello(struct drover_agent *a, struct drover_error *e)
{
	struct drover_agent_hello_ack ack = { 0 };

	/* Its answer is the final truth about the last link's requests. */
	if (!owner_may_greet(a->busy, a->closed))
		return drover_err(e, -EBUSY, "HELLO: the last link has not ended");
	ack.features = (a->ops.throttle ? DROVER_AGENT_F_THROTTLE : 0) |
		       (a->ops.log_start ? DROVER_AGENT_F_KVM_LOG : 0) |
		       (a->ops.check ? DROVER_AGENT_F_CHECK : 0) |
		       (a->has_uuid ? DROVER_AGENT_F_UUID : 0) | DROVER_AGENT_F_POSTCOPY |
		       DROVER_AGENT_F_RAM_CHECKED | (a->wrote ? DROVER_AGENT_F_WROTE : 0);
	a->told = status(a);
	ack.run_state = a->told.run_state;
	ack.blocks = a->ram.n;
	memcpy(ack.uuid, a->uuid, sizeof(ack.uuid));
	drover_agent_record_to_wire(&a->record, &ack.record);
	a->greeted = true;
	a->closed = a->emptied = false;
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

/* The answer to a request about the record, and to OWNER_GET. */
static int out_owner(struct drover_agent *a, enum owner_reply reply)
{
	struct drover_agent_owner *o = &a->answer.body.owner;

	memset(o, 0, sizeof(*o));
	o->reply = reply;
	strcpy(o->text, a->still.text);
	drover_agent_record_to_wire(&a->record, &o->record);
	a->answer.hdr.len = sizeof(*o);
	return 0;
}

static int step(struct drover_agent *a, enum owner_event ev, const struct owner_args *args,
		struct drover_error *e)
{
	enum owner_reply reply = OWNER_REPLY_NONE;
	int r = agent_step(a, ev, args, &reply, e);

	return r < 0 ? r : out_owner(a, reply);
}

/* The requests that need no more than the machine. */
static int serve_owner(struct drover_agent *a, struct drover_error *e)
{
	enum owner_event ev = drover_agent_event_of((enum drover_agent_type)a->request.hdr.type);
	struct owner_args args = { .peer = NULL };
	int r = 0;

	if (a->request.hdr.len)
		r = drover_agent_args_from_wire(&a->request.body.args, &args, e);
	if (r >= 0 && ev == OWNER_EV_PAUSE && !owner_token_set(&args.token))
		r = drover_err(e, -EINVAL, "PAUSE: of no session");
	if (r >= 0 && ev == OWNER_EV_INCOMING && (!a->ops.prepare || !a->ops.load))
		r = not_supported("way to become a destination", e);
	return r < 0 ? r : step(a, ev, &args, e);
}

static int serve_owner_get(struct drover_agent *a, struct drover_error *e)
{
	(void)e;
	return out_owner(a, OWNER_REPLY_NONE);
}

static int serve_prepare(struct drover_agent *a, struct drover_error *e)
{
	uint32_t flags = a->request.body.value.value;
	int r;

	if (!a->ops.prepare || !a->ops.load)
		return not_supported("way to become a destination", e);
	if (flags & ~DROVER_AGENT_DISCARD)
		return drover_err(e, -EINVAL, "PREPARE: unknown flags 0x%x", flags);
	r = agent_ram_check_dest(a, e);
	return r < 0 ? r : step(a, flags ? OWNER_EV_DISCARD : OWNER_EV_PREPARE, NULL, e);
}

static int serve_complete(struct drover_agent *a, struct drover_error *e)
{
	int r = step(a, OWNER_EV_COMPLETE, NULL, e);

	if (r >= 0)
		a->ledger = drover_ledger_free(a->ledger);
	return r;
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
	r = agent_step(a, OWNER_EV_SAVE, NULL, NULL, e);
	if (r < 0)
		return r;
	fd = memfd_create("drover-state", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return drover_err(e, -errno, "memfd_create: %s", drover_strerror(errno));
	r = a->ops.save(a->opaque, fd, &why);
	if (r < 0)
		return agent_failed(r, &why, e);
	r = seal_state(fd, &len.len, e);
	if (r < 0)
		return r;
	out(a, &len, sizeof(len));
	a->answer.fd[a->answer.nfds++] = TAKE_FD(fd);
	return 0;
}

static int check_state(int fd, uint64_t len, struct drover_error *e)
{
	const int need = F_SEAL_WRITE | F_SEAL_SHRINK;
	struct stat st;
	int r;

	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || (uint64_t)st.st_size != len || !len ||
	    len > DROVER_AGENT_STATE_MAX)
		return drover_err(e, -EINVAL, "the device state is not a file of %llu bytes",
				  (unsigned long long)len);
	r = fcntl(fd, F_GET_SEALS);
	if (r < 0 || (r & need) != need)
		return drover_err(e, -EINVAL, "the device state is not a sealed memfd");
	return 0;
}

static int serve_load(struct drover_agent *a, struct drover_error *e)
{
	struct owner_args args;
	int r;

	if (!a->ops.load)
		return not_supported("loading of device state", e);
	r = check_state(a->request.fd[0], a->request.body.args.len, e);
	if (r >= 0)
		r = drover_agent_args_from_wire(&a->request.body.args, &args, e);
	return r < 0 ? r : step(a, OWNER_EV_LOAD, &args, e);
}

static int serve_ledger_put(struct drover_agent *a, struct drover_error *e)
{
	struct drover_ledger *l = NULL;
	struct owner_args args;
	int r;

	r = drover_agent_args_from_wire(&a->request.body.args, &args, e);
	if (r >= 0)
		r = drover_ledger_view(TAKE_FD(a->request.fd[0]), &a->ram, &l, e);
	if (r < 0)
		return r;
	r = step(a, OWNER_EV_LEDGER, &args, e);
	if (r < 0) {
		drover_ledger_free(l);
		return r;
	}
	drover_ledger_free(a->ledger);
	a->ledger = l;
	return 0;
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
		return agent_failed(r, &why, e);
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
		return agent_failed(r, &why, e);
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
		return agent_failed(r, &why, e);
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
	return r < 0 ? agent_failed(r, &why, e) : 0;
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
	[DROVER_AGENT_PAUSE] = serve_owner,
	[DROVER_AGENT_DOUBT] = serve_owner,
	[DROVER_AGENT_BACK] = serve_owner,
	[DROVER_AGENT_SERVE] = serve_owner,
	[DROVER_AGENT_RELEASE] = serve_owner,
	[DROVER_AGENT_TAKE] = serve_owner,
	[DROVER_AGENT_MOVE] = serve_owner,
	[DROVER_AGENT_INCOMING] = serve_owner,
	[DROVER_AGENT_PROVED] = serve_owner,
	[DROVER_AGENT_OWN] = serve_owner,
	[DROVER_AGENT_FENCE] = serve_owner,
	[DROVER_AGENT_MINE] = serve_owner,
	[DROVER_AGENT_CONFIRMED] = serve_owner,
	[DROVER_AGENT_TOLD] = serve_owner,
	[DROVER_AGENT_STOP] = serve_owner,
	[DROVER_AGENT_CONT] = serve_owner,
	[DROVER_AGENT_SAVE] = serve_save,
	[DROVER_AGENT_LOAD] = serve_load,
	[DROVER_AGENT_OWNER_GET] = serve_owner_get,
	[DROVER_AGENT_PREPARE] = serve_prepare,
	[DROVER_AGENT_THROTTLE] = serve_throttle,
	[DROVER_AGENT_LOG_START] = serve_log_start,
	[DROVER_AGENT_LOG_STOP] = serve_log_stop,
	[DROVER_AGENT_SYNC_DIRTY] = serve_sync_dirty,
	[DROVER_AGENT_CHECK] = serve_check,
	[DROVER_AGENT_ARM_FAULTS] = agent_serve_arm_faults,
	[DROVER_AGENT_LEDGER_PUT] = serve_ledger_put,
	[DROVER_AGENT_COMPLETE] = serve_complete,
	[DROVER_AGENT_LEDGER_GET] = agent_serve_ledger_get,
	[DROVER_AGENT_WROTE_GET] = agent_serve_wrote_get,
	[DROVER_AGENT_BYE] = serve_bye,
};

int agent_send_status(struct drover_agent *a)
{
	struct drover_agent_status st = status(a);

	if (a->conn_fd < 0 || !a->greeted || !memcmp(&st, &a->told, sizeof(st)))
		return 0;
	a->told = st;
	return drover_agent_msg_send(a->conn_fd, DROVER_AGENT_STATUS, 0, &st, sizeof(st), NULL, 0,
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
	if (!order) {
		r = drover_err(&e, -EPROTO, "%s out of order", rule->name);
	} else {
		a->busy = m->hdr.type != DROVER_AGENT_HELLO;
		r = handlers[m->hdr.type](a, &e);
		a->busy = false;
	}
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

void agent_link_closed(struct drover_agent *a)
{
	const char *left = a->bye ? "left" : "gone";
	struct drover_text why = { "" };
	char text[DROVER_TEXT_MAX + 64];
	bool ran;

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
	ran = a->record.running;
	agent_step(a, OWNER_EV_CLOSED, NULL, NULL, NULL);
	if (a->record.running)
		snprintf(text, sizeof(text), "droverd has %s; the guest %s", left,
			 ran ? "runs" : "goes on here");
	else if (*a->still.text && owner_may_run(&a->record) && a->record.will)
		snprintf(text, sizeof(text), "droverd has %s; resume: %s", left, a->still.text);
	else
		snprintf(text, sizeof(text), "droverd has %s; the guest stays paused, its record is %s%s",
			 left, owner_state_name(a->record.state),
			 a->ledger ? "; pages are missing, attach another droverd" : "");
	if (a->ops.note)
		a->ops.note(a->opaque, text);
}
