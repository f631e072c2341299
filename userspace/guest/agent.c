// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A guest behind an agent link: the engine's guest_ops over requests to the VMM. What
 * the VMM sends is checked before it is used: blocks against their files' sizes and
 * each other, device state and bitmaps against their lengths. RAM is mapped shared
 * once, at attach. Documentation/agent-protocol.rst is the manual; opened by
 * drover_guest_open().
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/message.h"
#include "base/bitmap.h"
#include "base/cleanup.h"
#include "base/json.h"
#include "base/log.h"
#include "fault/fault.h"
#include "guest/agent-link.h"
#include "guest/agent-memory.h"
#include "guest/agent-record.h"
#include "guest/guest.h"
#include "ram/bus.h"
#include "ram/ramfile.h"
#include "ram/wrote.h"

struct agent_guest {
	struct drover_guest g;
	struct agent_link link;
	struct drover_guest_traits traits;
	struct drover_ram ram;
	uint64_t features;
	struct drover_track_block track[DROVER_RAM_BLOCKS_MAX];
	int uffd, pagemap_fd;
	struct drover_wrote *wrote;
	const struct drover_log *log;
	struct agent_record owner;
};

static struct agent_guest *agent_of(struct drover_guest *g)
{
	return (struct agent_guest *)g;
}

/* A request without descriptors in either direction, whose reply has no body. */
static int simple(struct agent_guest *a, enum drover_agent_type type, const void *body,
		  size_t len, const struct drover_cancel *c, struct drover_error *e)
{
	_cleanup_(drover_agent_msg_deinit) struct drover_agent_msg m;

	drover_agent_msg_init(&m);
	return agent_link_call(&a->link, type, body, len, -1, 0, c, &m, e);
}

/* ---- attach ---- */

static bool name_ok(const char *s, size_t size)
{
	static const char chars[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				    "0123456789._/-";
	size_t n = strnlen(s, size);

	return n && n < size && strspn(s, chars) == n;
}

static int check_file(const struct agent_guest *a, const struct drover_agent_ram *b, int fd,
		      struct drover_error *e)
{
	uint64_t size;
	int r = drover_ramfile_check(fd, b->name, false, e);

	if (r < 0)
		return r;
	if (drover_ramfile_size(fd, &size) < 0)
		return drover_err(e, -EPROTO, "agent %s: RAM %s: not a memfd, shmem file or region",
				  a->link.path, b->name);
	if (b->fd_off > size || b->size > size - b->fd_off)
		return drover_err(e, -EPROTO, "agent %s: RAM %s: block ends beyond its file "
				  "(%llu bytes)", a->link.path, b->name, (unsigned long long)size);
	return 0;
}

static int check_block(const struct agent_guest *a, const struct drover_agent_ram *b,
		       struct drover_error *e)
{
	const uint64_t mask = DROVER_PAGE_SIZE - 1;
	unsigned int i;

	if (!name_ok(b->name, sizeof(b->name)))
		return drover_err(e, -EPROTO, "agent %s: RAM %u: bad name", a->link.path,
				  a->ram.n);
	if (!b->size || (b->size | b->gpa | b->fd_off) & mask || b->size > SIZE_MAX / 2 ||
	    b->size > UINT64_MAX - b->gpa)
		return drover_err(e, -EPROTO, "agent %s: RAM %s: bad size or alignment",
				  a->link.path, b->name);
	if (b->flags & ~DROVER_RAM_SHARED_DEST)
		return drover_err(e, -EPROTO, "agent %s: RAM %s: unknown flags 0x%x",
				  a->link.path, b->name, b->flags);
	for (i = 0; i < a->ram.n; i++) {
		const struct drover_ram_block *o = &a->ram.block[i];

		if (!strcmp(o->name, b->name))
			return drover_err(e, -EPROTO, "agent %s: RAM %s: named twice",
					  a->link.path, b->name);
		if (o->gpa < b->gpa + b->size && b->gpa < o->gpa + o->size)
			return drover_err(e, -EPROTO, "agent %s: RAM %s overlaps %s",
					  a->link.path, b->name, o->name);
	}
	return 0;
}

static int map_block(struct agent_guest *a, const struct drover_agent_ram *b, int *fd,
		     struct drover_error *e)
{
	struct drover_ram_block *d = &a->ram.block[a->ram.n];
	void *p = mmap(NULL, b->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, *fd,
		       (off_t)b->fd_off);

	if (p == MAP_FAILED)
		return drover_err(e, -errno, "agent %s: RAM %s: mmap: %s", a->link.path, b->name,
				  drover_strerror(errno));
	memcpy(d->name, b->name, sizeof(d->name));
	d->gpa = b->gpa;
	d->size = b->size;
	d->fd_off = b->fd_off;
	d->flags = b->flags;
	d->host = p;
	d->fd = TAKE_FD(*fd);
	a->ram.n++;
	return 0;
}

static int get_block(struct agent_guest *a, uint32_t index, struct drover_error *e)
{
	_cleanup_(drover_agent_msg_deinit) struct drover_agent_msg m;
	struct drover_agent_ram_get req = { .index = index };
	int r;

	drover_agent_msg_init(&m);
	r = agent_link_call(&a->link, DROVER_AGENT_RAM_GET, &req, sizeof(req), -1, 0, NULL, &m, e);
	if (r < 0)
		return r;
	r = check_block(a, &m.body.ram, e);
	if (r >= 0)
		r = check_file(a, &m.body.ram, m.fd[0], e);
	return r < 0 ? r : map_block(a, &m.body.ram, &m.fd[0], e);
}

static int get_track(struct agent_guest *a, struct drover_error *e)
{
	_cleanup_(drover_agent_msg_deinit) struct drover_agent_msg m;
	const struct drover_agent_track *t = &m.body.track;
	const uint32_t both = DROVER_AGENT_TRACK_UFFD | DROVER_AGENT_TRACK_PAGEMAP;
	unsigned int i, next = 0;
	int r;

	drover_agent_msg_init(&m);
	r = agent_link_call(&a->link, DROVER_AGENT_TRACK_GET, NULL, 0, -1, 0, NULL, &m, e);
	if (r < 0)
		return r;
	if (t->flags & ~both || t->blocks != a->ram.n || m.hdr.len != 8 + 8ull * a->ram.n ||
	    (unsigned int)__builtin_popcount(t->flags) != m.nfds)
		return drover_err(e, -EPROTO, "agent %s: TRACK: flags 0x%x, %u blocks, %u "
				  "descriptors do not fit", a->link.path, t->flags, t->blocks,
				  m.nfds);
	for (i = 0; i < a->ram.n; i++) {
		if (t->base[i] & (DROVER_PAGE_SIZE - 1) ||
		    t->base[i] > UINT64_MAX - a->ram.block[i].size)
			return drover_err(e, -EPROTO, "agent %s: TRACK: bad base of %s",
					  a->link.path, a->ram.block[i].name);
		a->track[i].base = t->base[i];
	}
	if (t->flags & DROVER_AGENT_TRACK_UFFD)
		a->uffd = TAKE_FD(m.fd[next++]);
	if (t->flags & DROVER_AGENT_TRACK_PAGEMAP)
		a->pagemap_fd = TAKE_FD(m.fd[next]);
	return 0;
}

static int attach(struct agent_guest *a, struct drover_error *e)
{
	_cleanup_(drover_agent_msg_deinit) struct drover_agent_msg m;
	const struct drover_agent_hello_ack *ack = &m.body.hello_ack;
	struct drover_agent_hello hello = { 0 };
	struct owner_record rec;
	uint32_t i;
	int r;

	drover_agent_msg_init(&m);
	r = agent_link_call(&a->link, DROVER_AGENT_HELLO, &hello, sizeof(hello), -1, 0, NULL, &m, e);
	if (r < 0)
		return r;
	if (!ack->blocks || ack->blocks > DROVER_RAM_BLOCKS_MAX)
		return drover_err(e, -EPROTO, "agent %s: HELLO_ACK: %u RAM blocks",
				  a->link.path, ack->blocks);
	a->features = ack->features;
	a->ram.vmm = a->link.pid;
	a->traits.has_uuid = ack->features & DROVER_AGENT_F_UUID;
	memcpy(a->traits.uuid, ack->uuid, sizeof(a->traits.uuid));
	a->traits.can_throttle = ack->features & DROVER_AGENT_F_THROTTLE;
	a->traits.keeps_record = true;
	for (i = 0; i < ack->blocks; i++) {
		r = get_block(a, i, e);
		if (r < 0)
			return r;
	}
	if (!agent_record_known(&a->owner, &rec))
		drover_debug(a->log, "agent %s: pid %d, %u RAM blocks, record %s", a->link.path,
			     a->link.pid, a->ram.n, owner_state_name(rec.state));
	r = get_track(a, e);
	if (r >= 0 && a->features & DROVER_AGENT_F_WROTE)
		r = agent_memory_wrote(&a->link, &a->ram, &a->wrote, e);
	if (r >= 0)
		r = agent_memory_mapped(&a->ram, a->track, a->link.pid, a->features, a->log, e);
	if (r < 0 || !(a->features & DROVER_AGENT_F_CHECK))
		return r;
	/* The link keeps the reply, and what the VMM pushes later. */
	return simple(a, DROVER_AGENT_CHECK, NULL, 0, NULL, e);
}

/* ---- guest_ops ---- */

static const struct drover_ram *agent_ram(struct drover_guest *g)
{
	return &agent_of(g)->ram;
}

static const struct drover_guest_traits *agent_traits(struct drover_guest *g)
{
	return &agent_of(g)->traits;
}

static int kvm_start(void *opaque, struct drover_error *e)
{
	return simple(opaque, DROVER_AGENT_LOG_START, NULL, 0, NULL, e);
}

static int kvm_stop(void *opaque, struct drover_error *e)
{
	return simple(opaque, DROVER_AGENT_LOG_STOP, NULL, 0, NULL, e);
}

/* read(2), not mmap: a file the VMM shortens under us must not kill droverd. */
static int read_at(const struct agent_guest *a, int fd, void *buf, size_t len, uint64_t off,
		   struct drover_error *e)
{
	ssize_t n;

	while (len) {
		n = pread(fd, buf, len, (off_t)off);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return drover_err(e, n < 0 ? -errno : -EPROTO, "agent %s: DIRTY: %s",
					  a->link.path, n < 0 ? drover_strerror(errno) :
					  "the bitmap is shorter than announced");
		buf = (uint8_t *)buf + n;
		len -= (size_t)n;
		off += (uint64_t)n;
	}
	return 0;
}

static int kvm_sync(void *opaque, uint64_t *const *maps, struct drover_error *e)
{
	_cleanup_(drover_agent_msg_deinit) struct drover_agent_msg m;
	struct agent_guest *a = opaque;
	uint64_t want = 0, off = 0;
	unsigned int i;
	int r;

	drover_agent_msg_init(&m);
	r = agent_link_call(&a->link, DROVER_AGENT_SYNC_DIRTY, NULL, 0, -1, 0, NULL, &m, e);
	if (r < 0)
		return r;
	for (i = 0; i < a->ram.n; i++)
		want += drover_bitmap_bytes(drover_pages(a->ram.block[i].size));
	if (m.body.len.len != want)
		return drover_err(e, -EPROTO, "agent %s: DIRTY: %llu bytes, expected %llu",
				  a->link.path, (unsigned long long)m.body.len.len,
				  (unsigned long long)want);
	for (i = 0; i < a->ram.n; i++) {
		uint64_t pages = drover_pages(a->ram.block[i].size);
		size_t len = drover_bitmap_bytes(pages);
		_cleanup_free_ uint64_t *buf = drover_bitmap_new(pages);

		if (!buf)
			return drover_err(e, -ENOMEM, "agent %s: DIRTY: out of memory",
					  a->link.path);
		r = read_at(a, m.fd[0], buf, len, off, e);
		if (r < 0)
			return r;
		/* Bits past the last page must stay zero, whatever the VMM wrote there. */
		if (pages % 64)
			buf[pages / 64] &= (1ull << (pages % 64)) - 1;
		drover_bitmap_or(maps[i], buf, pages);
		off += len;
	}
	return 0;
}

static int agent_track_source(struct drover_guest *g, struct drover_track_source *ret,
			      struct drover_error *e)
{
	struct agent_guest *a = agent_of(g);

	memset(ret, 0, sizeof(*ret));
	ret->ram = &a->ram;
	ret->uffd = a->uffd;
	ret->pagemap_fd = a->pagemap_fd;
	ret->pid = a->link.pid;
	ret->wrote = a->wrote;
	memcpy(ret->block, a->track, sizeof(ret->block));
	ret->opaque = a;
	ret->kvm_log = a->features & DROVER_AGENT_F_KVM_LOG;
	if (ret->kvm_log) {
		ret->kvm_start = kvm_start;
		ret->kvm_sync = kvm_sync;
		ret->kvm_stop = kvm_stop;
	}
	return drover_ram_mend(&a->ram, e);
}

static enum drover_run_state agent_status(struct drover_guest *g)
{
	return (enum drover_run_state)atomic_load(&agent_of(g)->link.status);
}

static int agent_request(struct drover_guest *g, enum owner_event ev,
			 const struct owner_args *args, const struct drover_cancel *c,
			 enum owner_reply *reply, struct drover_error *e)
{
	struct agent_guest *a = agent_of(g);
	int r = 0;

	/* A destination whose memory is not all there must not own the guest. */
	if (ev == OWNER_EV_OWN)
		r = drover_ram_bus_error(&a->ram, e);
	if (ev == OWNER_EV_PREPARE || ev == OWNER_EV_DISCARD)
		r = agent_memory_dest(&a->ram, e);
	if (r >= 0 && (ev == OWNER_EV_PREPARE || ev == OWNER_EV_DISCARD))
		r = drover_ram_mend(&a->ram, e);
	if (r < 0)
		return r;
	return agent_record_request(&a->owner, &a->link, ev, args,
				    drover_ram_pages(&a->ram) * DROVER_PAGE_SIZE, c, reply, e);
}

/* Of device state, at least 64 MiB a second. */
static uint64_t state_ms(uint64_t bytes)
{
	return (bytes >> 26) * 1000;
}

static int check_state_fd(const struct agent_guest *a, int fd, uint64_t len,
			  struct drover_error *e)
{
	const int need = F_SEAL_WRITE | F_SEAL_SHRINK;
	int seals = fcntl(fd, F_GET_SEALS);
	struct stat st;

	/* Sealed, or the VMM could change or shorten it while droverd sends it. */
	if (seals < 0 || (seals & need) != need)
		return drover_err(e, -EPROTO, "agent %s: STATE: the file is not a sealed memfd",
				  a->link.path);
	if (fstat(fd, &st) < 0)
		return drover_err(e, -errno, "agent %s: STATE: fstat: %s", a->link.path,
				  drover_strerror(errno));
	if (!len || len > DROVER_AGENT_STATE_MAX || (uint64_t)st.st_size != len)
		return drover_err(e, -EPROTO, "agent %s: STATE: %llu bytes announced, file has "
				  "%llu", a->link.path, (unsigned long long)len,
				  (unsigned long long)st.st_size);
	return 0;
}

static int agent_save(struct drover_guest *g, int *ret_fd, struct drover_error *e)
{
	_cleanup_(drover_agent_msg_deinit) struct drover_agent_msg m;
	struct agent_guest *a = agent_of(g);
	int r;

	drover_agent_msg_init(&m);
	r = agent_link_call(&a->link, DROVER_AGENT_SAVE, NULL, 0, -1,
			    state_ms(DROVER_AGENT_STATE_MAX), NULL, &m, e);
	if (r >= 0)
		r = check_state_fd(a, m.fd[0], m.body.len.len, e);
	if (r < 0)
		return r;
	*ret_fd = TAKE_FD(m.fd[0]);
	return 0;
}

static int agent_load(struct drover_guest *g, const struct owner_token *t, int state_fd,
		      struct drover_error *e)
{
	const struct owner_args args = { .token = *t };
	struct agent_guest *a = agent_of(g);
	struct drover_agent_args wire;
	struct stat st;

	if (fstat(state_fd, &st) < 0)
		return drover_err(e, -errno, "agent %s: LOAD: fstat: %s", a->link.path,
				  drover_strerror(errno));
	drover_agent_args_to_wire(&args, &wire);
	wire.len = (uint64_t)st.st_size;
	return agent_record_call(&a->owner, &a->link, DROVER_AGENT_LOAD, &wire, sizeof(wire),
				 state_fd, state_ms(wire.len), NULL, NULL, e);
}

static int agent_owner_known(struct drover_guest *g, struct owner_record *ret)
{
	return agent_record_known(&agent_of(g)->owner, ret);
}

static int agent_throttle(struct drover_guest *g, unsigned int percent, struct drover_error *e)
{
	struct drover_agent_value v = { .value = percent };

	return simple(agent_of(g), DROVER_AGENT_THROTTLE, &v, sizeof(v), NULL, e);
}

static int arm_faults(void *opaque, struct drover_error *e)
{
	return simple(opaque, DROVER_AGENT_ARM_FAULTS, NULL, 0, NULL, e);
}

static int no_postcopy(const struct agent_guest *a, struct drover_error *e)
{
	return drover_err(e, -EOPNOTSUPP,
			  "agent %s: postcopy: this VMM's libdrover is too old for it", a->link.path);
}

static int agent_fault_source(struct drover_guest *g, struct drover_fault_source *ret,
			      struct drover_error *e)
{
	struct agent_guest *a = agent_of(g);
	unsigned int i;

	if (!(a->features & DROVER_AGENT_F_POSTCOPY))
		return no_postcopy(a, e);
	ret->ram = &a->ram;
	ret->uffd = a->uffd;
	for (i = 0; i < a->ram.n; i++)
		ret->base[i] = a->track[i].base;
	ret->arm = arm_faults;
	ret->opaque = a;
	return 0;
}

static int agent_ledger_put(struct drover_guest *g, const struct owner_token *t, int fd,
			    struct drover_error *e)
{
	const struct owner_args args = { .token = *t };
	struct agent_guest *a = agent_of(g);
	struct drover_agent_args wire;

	if (!(a->features & DROVER_AGENT_F_POSTCOPY))
		return no_postcopy(a, e);
	drover_agent_args_to_wire(&args, &wire);
	return agent_record_call(&a->owner, &a->link, DROVER_AGENT_LEDGER_PUT, &wire,
				 sizeof(wire), fd, 0, NULL, NULL, e);
}

static int agent_ledger_get(struct drover_guest *g, int *ret_fd, struct drover_error *e)
{
	_cleanup_(drover_agent_msg_deinit) struct drover_agent_msg m;
	struct agent_guest *a = agent_of(g);
	int r = 0;

	drover_agent_msg_init(&m);
	if (a->features & DROVER_AGENT_F_POSTCOPY)
		r = agent_link_call(&a->link, DROVER_AGENT_LEDGER_GET, NULL, 0, -1, 0, NULL, &m,
				    e);
	if (r < 0)
		return r;
	*ret_fd = m.nfds ? TAKE_FD(m.fd[0]) : -1;
	return 0;
}

static int agent_watch_fd(struct drover_guest *g)
{
	return agent_of(g)->link.watch_fd;
}

/* The reader has taken the news already; this only quiets the bell. */
static void agent_watch(struct drover_guest *g)
{
	uint64_t n;

	if (read(agent_of(g)->link.watch_fd, &n, sizeof(n)) < 0)
		return;
}

static struct json_object *agent_check(struct drover_guest *g)
{
	struct agent_link *l = &agent_of(g)->link;
	struct json_object *o = NULL;
	DROVER_LOCK(&l->lock);

	if (l->verdict)
		drover_json_parse(l->verdict, strlen(l->verdict), DROVER_AGENT_BODY_MAX, &o, NULL);
	return o;
}

static void agent_free(struct drover_guest *g)
{
	struct agent_guest *a = agent_of(g);
	unsigned int i;

	agent_link_close(&a->link);
	for (i = 0; i < a->ram.n; i++) {
		munmap(a->ram.block[i].host, a->ram.block[i].size);
		drover_closep(&a->ram.block[i].fd);
	}
	drover_closep(&a->uffd);
	drover_closep(&a->pagemap_fd);
	agent_record_deinit(&a->owner);
	drover_wrote_free(a->wrote);
	free(a);
}

static const struct drover_guest_ops agent_ops = {
	.name = "agent",
	.ram = agent_ram,
	.traits = agent_traits,
	.track_source = agent_track_source,
	.status = agent_status,
	.request = agent_request,
	.save = agent_save,
	.load = agent_load,
	.owner_known = agent_owner_known,
	.throttle = agent_throttle,
	.fault_source = agent_fault_source,
	.ledger_put = agent_ledger_put,
	.ledger_get = agent_ledger_get,
	.watch_fd = agent_watch_fd,
	.watch = agent_watch,
	.check = agent_check,
	.free = agent_free,
};

struct agent_link *drover_agent_link(struct drover_guest *g)
{
	return g->ops == &agent_ops ? &agent_of(g)->link : NULL;
}

int drover_agent_open(const char *path, const struct drover_log *log, struct drover_guest **ret,
		      struct drover_error *e)
{
	struct agent_guest *a = calloc(1, sizeof(*a));
	int r;

	if (!a)
		return drover_err(e, -ENOMEM, "agent %s: out of memory", path);
	a->g.ops = &agent_ops;
	a->log = log;
	a->uffd = a->pagemap_fd = -EBADF;
	agent_record_init(&a->owner);
	r = agent_link_open(&a->link, path, agent_record_took, &a->owner, e);
	if (r >= 0)
		r = attach(a, e);
	if (r < 0) {
		agent_free(&a->g);
		return r;
	}
	*ret = &a->g;
	return 0;
}
