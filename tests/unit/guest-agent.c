// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * droverd's end of the agent link against a VMM that lies: each answer of an otherwise
 * correct VMM is spoilt in one way, and the client must refuse it by name, leak nothing
 * and crash on nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "agent/message.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "fault/fault.h"
#include "guest/guest.h"
#include "owner-kit.h"
#include "tap.h"

#define PAGES 3u

struct answer {
	struct drover_agent_msg m;      /* body, hdr.type, hdr.seq, hdr.len; fd */
	bool old;                       /* by version 1 of the protocol */
};

/* One way to lie: changes the answer to @type (or to all) before it is sent. */
struct lie {
	const char *what;
	unsigned int type;
	void (*spoil)(struct answer *a);
	int (*provoke)(struct drover_guest *g, struct drover_error *e); /* NULL: attach fails */
	int code;
	const char *text;               /* in the message */
};

struct liar {
	char path[108];
	int listen_fd, ram_fd;
	uint8_t *map;                   /* where it says it maps the block */
	const struct lie *lie;
	pthread_t thread;
};

static int sealed(const char *text)
{
	int fd = memfd_create("state", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (write(fd, text, strlen(text)) < 0 ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK) < 0)
		return -1;
	return fd;
}

static void put_fd(struct answer *a, int fd)
{
	a->m.fd[a->m.nfds++] = fd;
}

/* What an honest VMM with one block of three pages says. */
static void honest(const struct liar *l, unsigned int type, struct answer *a)
{
	struct drover_agent_hello_ack *ack = &a->m.body.hello_ack;
	struct drover_agent_ram *ram = &a->m.body.ram;

	a->m.hdr.len = drover_agent_rule(type)->len_min;
	switch (type) {
	case DROVER_AGENT_HELLO_ACK:
		ack->features = DROVER_AGENT_F_KVM_LOG | DROVER_AGENT_F_CHECK;
		ack->blocks = 1;
		break;
	case DROVER_AGENT_RAM:
		strcpy(ram->name, "ram");
		ram->size = PAGES * 4096;
		put_fd(a, dup(l->ram_fd));
		break;
	case DROVER_AGENT_TRACK:
		a->m.body.track.blocks = 1;
		a->m.body.track.base[0] = (uintptr_t)l->map;
		a->m.hdr.len = 16;
		break;
	case DROVER_AGENT_WROTE:
		put_fd(a, sealed("not it"));
		break;
	case DROVER_AGENT_STATE:
		a->m.body.len.len = 5;
		put_fd(a, sealed("state"));
		break;
	case DROVER_AGENT_DIRTY:
		a->m.body.len.len = 8;
		put_fd(a, sealed("\377\377\377\377\377\377\377\377"));
		break;
	default:
		break;
	}
}

/* ERROR, as it was already */
static void say_old(int sock, const struct answer *a)
{
	struct {
		struct drover_agent_hdr h;
		int32_t code;
		uint32_t len;
		char text[8];
	} m = { { DROVER_AGENT_MAGIC, 1, DROVER_AGENT_ERROR, a->m.hdr.seq, 16 }, -EPROTO, 8,
		"too new" };

	if (send(sock, &m, sizeof(m), MSG_NOSIGNAL) < 0)
		return;
}

static void serve(struct liar *l, int sock)
{
	struct drover_agent_msg q;
	struct answer a;
	int r;

	while (poll(&(struct pollfd){ .fd = sock, .events = POLLIN }, 1, 5000) > 0) {
		r = drover_agent_msg_recv(sock, DROVER_AGENT_FROM_D, &q, NULL);
		drover_agent_msg_deinit(&q);
		if (r != DROVER_AGENT_E_MSG || q.hdr.type == DROVER_AGENT_BYE)
			return;
		drover_agent_msg_init(&a.m);
		a.old = false;
		a.m.hdr.seq = q.hdr.seq;
		a.m.hdr.type = (uint16_t)drover_agent_rule(q.hdr.type)->reply;
		honest(l, a.m.hdr.type, &a);
		if (l->lie && l->lie->type == a.m.hdr.type)
			l->lie->spoil(&a);
		if (a.old)
			say_old(sock, &a);
		else
			drover_agent_msg_send(sock, (enum drover_agent_type)a.m.hdr.type, a.m.hdr.seq,
					      a.m.body.bytes, a.m.hdr.len, a.m.fd, a.m.nfds,
					      DROVER_AGENT_NOWAIT, NULL);
		drover_agent_msg_deinit(&a.m);
	}
}

static void *listener(void *arg)
{
	struct liar *l = arg;
	_cleanup_close_ int sock = accept4(l->listen_fd, NULL, NULL, SOCK_CLOEXEC);

	if (sock >= 0)
		serve(l, sock);
	return NULL;
}

/* ---- what requests the lies need ---- */

static int do_pause(struct drover_guest *g, struct drover_error *e)
{
	return ask(g, OWNER_EV_PAUSE, 1, e);
}

static int do_save(struct drover_guest *g, struct drover_error *e)
{
	int fd = -1, r = g->ops->save(g, &fd, e);

	return fd != -1 ? 1000 : r;
}

static int do_fence(struct drover_guest *g, struct drover_error *e)
{
	return ask(g, OWNER_EV_FENCE, 1, e);
}

/* The liar says nothing of postcopy. */
static int do_fault(struct drover_guest *g, struct drover_error *e)
{
	struct drover_fault_source src = { 0 };
	struct owner_token t = { { 1 } };
	int fd = 5;

	if (g->ops->ledger_get(g, &fd, e) || fd != -1 ||
	    g->ops->ledger_put(g, &t, 2, NULL) != -EOPNOTSUPP)
		return 1000;
	return g->ops->fault_source(g, &src, e);
}

/* All ones: only the three pages' bits may come out. */
static int do_sync(struct drover_guest *g, struct drover_error *e)
{
	uint64_t map[1] = { 0 }, *maps[] = { map };
	struct drover_track_source src;
	int r;

	g->ops->track_source(g, &src, e);
	r = src.kvm_sync(src.opaque, maps, e);
	return r < 0 ? r : map[0] == 7 ? 0 : 1000;
}

/* ---- lies ---- */

static void no_blocks(struct answer *a) { a->m.body.hello_ack.blocks = 0; }
static void many_blocks(struct answer *a) { a->m.body.hello_ack.blocks = 257; }
static void two_blocks(struct answer *a) { a->m.body.hello_ack.blocks = 2; }
static void reports(struct answer *a) { a->m.body.hello_ack.features |= DROVER_AGENT_F_WROTE; }
static void bad_run_state(struct answer *a) { a->m.body.hello_ack.run_state = 3; }
static void bad_owner(struct answer *a) { a->m.body.hello_ack.record.state = 7; }
static void open_peer(struct answer *a) { memset(a->m.body.hello_ack.record.peer, 'x', 512); }
static void open_past(struct answer *a)
{
	memset(a->m.body.hello_ack.record.history[7].peer, 'x', 512);
}

static void bad_kind(struct answer *a) { a->m.body.hello_ack.record.kind = 3; }
static void bad_by(struct answer *a) { a->m.body.hello_ack.record.by = 4; }
static void bad_flags(struct answer *a) { a->m.body.hello_ack.record.flags = 16; }
static void bad_past(struct answer *a) { a->m.body.hello_ack.record.history[3].outcome = 5; }
static void bad_record(struct answer *a) { a->m.body.owner.record.state = 7; }
static void bad_reply(struct answer *a) { a->m.body.owner.reply = OWNER_REPLY_COUNT; }
/* What the library of drover 0.1 says to a droverd that greets it by version 2 */
static void old_library(struct answer *a) { a->old = true; }
static void no_name(struct answer *a) { a->m.body.ram.name[0] = 0; }
static void bad_name(struct answer *a) { a->m.body.ram.name[1] = '\n'; }
static void long_name(struct answer *a) { memset(a->m.body.ram.name, 'a', 64); }
static void no_size(struct answer *a) { a->m.body.ram.size = 0; }
static void odd_size(struct answer *a) { a->m.body.ram.size = 4097; }
static void too_big(struct answer *a) { a->m.body.ram.size = 4 * 4096; }
static void huge(struct answer *a) { a->m.body.ram.size = ~4095ull; }
static void far_off(struct answer *a) { a->m.body.ram.fd_off = ~4095ull; }
static void far_gpa(struct answer *a) { a->m.body.ram.gpa = ~4095ull; }
static void new_flag(struct answer *a) { a->m.body.ram.flags = 2; }
static void more_track(struct answer *a) { a->m.body.track.blocks = 2; }
static void short_track(struct answer *a) { a->m.hdr.len = 8; }
static void far_track(struct answer *a) { a->m.body.track.base[0] = ~4095ull; }
static void odd_track(struct answer *a) { a->m.body.track.base[0] = 1; }
static void promised_fd(struct answer *a) { a->m.body.track.flags = DROVER_AGENT_TRACK_UFFD; }
static void other_reply(struct answer *a) { a->m.hdr.type = DROVER_AGENT_THROTTLED; a->m.hdr.len = 0; }
static void wrong_len(struct answer *a) { a->m.body.len.len = 6; }
static void no_len(struct answer *a) { a->m.body.len.len = 0; }
static void long_bitmap(struct answer *a) { a->m.body.len.len = 16; }
static void honest_lie(struct answer *a) { (void)a; }
static void as_event(struct answer *a) { a->m.hdr.seq = 0; }
static void unexpected_fd(struct answer *a) { put_fd(a, dup(2)); }

static void pipe_ram(struct answer *a)
{
	int p[2];

	close(a->m.fd[0]);
	if (pipe2(p, O_CLOEXEC) < 0)
		return;
	close(p[1]);
	a->m.fd[0] = p[0];
}

static void other_ram(struct answer *a, int fd)
{
	close(a->m.fd[0]);
	a->m.fd[0] = fd;
	if (ftruncate(fd, 2 << 20) < 0)
		abort();
}

static void huge_ram(struct answer *a)
{
	other_ram(a, memfd_create("huge", MFD_CLOEXEC | MFD_HUGETLB));
}

static void sealed_ram(struct answer *a)
{
	other_ram(a, memfd_create("ram", MFD_CLOEXEC | MFD_ALLOW_SEALING));
	fcntl(a->m.fd[0], F_ADD_SEALS, F_SEAL_FUTURE_WRITE);
}

static void another_ram(struct answer *a)
{
	other_ram(a, memfd_create("ram", MFD_CLOEXEC));
}

static void read_only_ram(struct answer *a)
{
	char path[40];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", a->m.fd[0]);
	a->m.fd[1] = a->m.fd[0];
	a->m.fd[0] = open(path, O_RDONLY | O_CLOEXEC);
	close(a->m.fd[1]);
	a->m.fd[1] = -EBADF;
}

static void private_ram(struct answer *a)
{
	if (mmap((void *)(uintptr_t)a->m.body.track.base[0], 4096, PROT_READ,
		 MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS, -1, 0) == MAP_FAILED)
		abort();
}

static void unmapped_ram(struct answer *a)
{
	munmap((void *)(uintptr_t)a->m.body.track.base[0], 4096);
}

static void no_ram_fd(struct answer *a)
{
	close(a->m.fd[0]);
	a->m.fd[0] = -EBADF;
	a->m.nfds = 0;
}

static void unsealed(struct answer *a)
{
	close(a->m.fd[0]);
	a->m.fd[0] = memfd_create("state", MFD_CLOEXEC);
	if (write(a->m.fd[0], "state", 5) < 0)
		return;
}

static void short_bitmap(struct answer *a)
{
	close(a->m.fd[0]);
	a->m.fd[0] = sealed("\377");
}

static void error_reply(struct answer *a, int code, uint32_t text_len)
{
	a->m.hdr.type = DROVER_AGENT_ERROR;
	a->m.body.error.code = code;
	a->m.body.error.text_len = text_len;
	strcpy(a->m.body.error.text, "because");
	a->m.hdr.len = 8 + 7;
}

static void plain_error(struct answer *a) { error_reply(a, -ENOSPC, 7); }
static void positive_error(struct answer *a) { error_reply(a, 5, 7); }
static void zero_error(struct answer *a) { error_reply(a, 0, 7); }
static void long_error(struct answer *a) { error_reply(a, -EIO, 4000000000u); }

static const struct lie lies[] = {
	{ "no blocks", DROVER_AGENT_HELLO_ACK, no_blocks, NULL, -EPROTO, "0 RAM blocks" },
	{ "257 blocks", DROVER_AGENT_HELLO_ACK, many_blocks, NULL, -EPROTO, "257 RAM blocks" },
	{ "one block twice", DROVER_AGENT_HELLO_ACK, two_blocks, NULL, -EPROTO, "named twice" },
	{ "a file of writes that is none", DROVER_AGENT_HELLO_ACK, reports, NULL, -EPROTO,
	  "reported writes: 6 bytes" },
	{ "a dead run state", DROVER_AGENT_HELLO_ACK, bad_run_state, NULL, -EPROTO, "run state" },
	{ "unknown ownership", DROVER_AGENT_HELLO_ACK, bad_owner, NULL, -EPROTO, "state 7" },
	{ "endless peer", DROVER_AGENT_HELLO_ACK, open_peer, NULL, -EPROTO, "not terminated" },
	{ "no name", DROVER_AGENT_RAM, no_name, NULL, -EPROTO, "bad name" },
	{ "a newline in a name", DROVER_AGENT_RAM, bad_name, NULL, -EPROTO, "bad name" },
	{ "an endless name", DROVER_AGENT_RAM, long_name, NULL, -EPROTO, "bad name" },
	{ "an empty block", DROVER_AGENT_RAM, no_size, NULL, -EPROTO, "bad size" },
	{ "an odd size", DROVER_AGENT_RAM, odd_size, NULL, -EPROTO, "bad size" },
	{ "a block beyond its file", DROVER_AGENT_RAM, too_big, NULL, -EPROTO, "beyond its file" },
	{ "a huge block", DROVER_AGENT_RAM, huge, NULL, -EPROTO, "bad size" },
	{ "a far offset", DROVER_AGENT_RAM, far_off, NULL, -EPROTO, "beyond its file" },
	{ "a far address", DROVER_AGENT_RAM, far_gpa, NULL, -EPROTO, "bad size" },
	{ "an unknown flag", DROVER_AGENT_RAM, new_flag, NULL, -EPROTO, "unknown flags" },
	{ "a pipe for RAM", DROVER_AGENT_RAM, pipe_ram, NULL, -EPROTO, "not a memfd" },
	{ "RAM of huge pages", DROVER_AGENT_RAM, huge_ram, NULL, -EOPNOTSUPP, "MFD_HUGETLB" },
	{ "sealed RAM", DROVER_AGENT_RAM, sealed_ram, NULL, -EOPNOTSUPP, "F_SEAL_FUTURE_WRITE" },
	{ "read-only RAM", DROVER_AGENT_RAM, read_only_ram, NULL, -EOPNOTSUPP, "O_RDWR" },
	{ "RAM that it does not map", DROVER_AGENT_RAM, another_ram, NULL, -EOPNOTSUPP,
	  "another file" },
	{ "RAM that is private", DROVER_AGENT_TRACK, private_ram, NULL, -EOPNOTSUPP, "share=on" },
	{ "RAM with a gap", DROVER_AGENT_TRACK, unmapped_ram, NULL, -EOPNOTSUPP, "maps nothing" },
	{ "no RAM descriptor", DROVER_AGENT_RAM, no_ram_fd, NULL, -EPROTO, "0 descriptors" },
	{ "another number of blocks", DROVER_AGENT_TRACK, more_track, NULL, -EPROTO, "2 blocks" },
	{ "a base missing", DROVER_AGENT_TRACK, short_track, NULL, -EPROTO, "TRACK" },
	{ "a far base", DROVER_AGENT_TRACK, far_track, NULL, -EPROTO, "bad base" },
	{ "an odd base", DROVER_AGENT_TRACK, odd_track, NULL, -EPROTO, "bad base" },
	{ "a descriptor that did not come", DROVER_AGENT_TRACK, promised_fd, NULL, -EPROTO,
	  "0 descriptors" },
	{ "another reply", DROVER_AGENT_OWNER, other_reply, do_pause, -EPROTO,
	  "answered with THROTTLED" },
	{ "a reply without a request", DROVER_AGENT_OWNER, as_event, do_pause, -EPROTO,
	  "without a request" },
	{ "a surplus descriptor", DROVER_AGENT_OWNER, unexpected_fd, do_pause, -EPROTO,
	  "1 descriptors" },
	{ "an error", DROVER_AGENT_OWNER, plain_error, do_pause, -ENOSPC, "PAUSE: because" },
	{ "a positive error", DROVER_AGENT_OWNER, positive_error, do_pause, -EPROTO, "because" },
	{ "an error of zero", DROVER_AGENT_OWNER, zero_error, do_pause, -EPROTO, "because" },
	{ "an endless text", DROVER_AGENT_OWNER, long_error, do_pause, -EIO, "because" },
	{ "unsealed state", DROVER_AGENT_STATE, unsealed, do_save, -EPROTO, "not a sealed" },
	{ "state of another length", DROVER_AGENT_STATE, wrong_len, do_save, -EPROTO, "file has" },
	{ "empty state", DROVER_AGENT_STATE, no_len, do_save, -EPROTO, "0 bytes" },
	{ "an endless peer of the past", DROVER_AGENT_HELLO_ACK, open_past, NULL, -EPROTO,
	  "not terminated" },
	{ "an unknown kind", DROVER_AGENT_HELLO_ACK, bad_kind, NULL, -EPROTO, "kind 3" },
	{ "an unknown way", DROVER_AGENT_HELLO_ACK, bad_by, NULL, -EPROTO, "by 4" },
	{ "unknown flags", DROVER_AGENT_HELLO_ACK, bad_flags, NULL, -EPROTO, "flags 0x10" },
	{ "an unknown outcome", DROVER_AGENT_HELLO_ACK, bad_past, NULL, -EPROTO, "outcome 5" },
	{ "an older library", DROVER_AGENT_HELLO_ACK, old_library, NULL, -EPROTO,
	  "this VMM's library cannot keep the record" },
	{ "unknown ownership later", DROVER_AGENT_OWNER, bad_record, do_fence, -EPROTO,
	  "state 7" },
	{ "an unknown reply", DROVER_AGENT_OWNER, bad_reply, do_fence, -EPROTO, "reply" },
	{ "an old VMM", DROVER_AGENT_LEDGER, honest_lie, do_fault, -EOPNOTSUPP, "too old" },
	{ "stray bits", DROVER_AGENT_DIRTY, honest_lie, do_sync, 0, "" },
	{ "a long bitmap", DROVER_AGENT_DIRTY, long_bitmap, do_sync, -EPROTO, "16 bytes" },
	{ "a bitmap shorter than said", DROVER_AGENT_DIRTY, short_bitmap, do_sync, -EPROTO,
	  "shorter" },
};

static bool liar_start(struct liar *l, const char *dir, const struct lie *lie)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };

	memset(l, 0, sizeof(*l));
	l->lie = lie;
	snprintf(l->path, sizeof(l->path), "%s/vmm", dir);
	memcpy(sa.sun_path, l->path, sizeof(sa.sun_path));
	l->ram_fd = memfd_create("ram", MFD_CLOEXEC);
	l->listen_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	l->map = mmap(NULL, PAGES * 4096, PROT_READ, MAP_SHARED, l->ram_fd, 0);
	return l->map != MAP_FAILED && !ftruncate(l->ram_fd, PAGES * 4096) &&
	       !bind(l->listen_fd, (struct sockaddr *)&sa, sizeof(sa)) &&
	       !listen(l->listen_fd, 1) && !pthread_create(&l->thread, NULL, listener, l);
}

static void liar_end(struct liar *l)
{
	pthread_join(l->thread, NULL);
	close(l->listen_fd);
	close(l->ram_fd);
	munmap(l->map, PAGES * 4096);
	unlink(l->path);
}

static unsigned int count_fds(void)
{
	unsigned int n = 0;
	int i;

	for (i = 0; i < 256; i++)
		n += fcntl(i, F_GETFD) >= 0;
	return n;
}

static void test_lie(const char *dir, const struct lie *lie)
{
	struct drover_error e = DROVER_ERROR_INIT;
	unsigned int before = count_fds();
	struct drover_guest *g = NULL;
	struct liar l;
	int r;

	if (!liar_start(&l, dir, lie)) {
		tap_ok(false, "start the liar: %s", strerror(errno));
		return;
	}
	r = drover_agent_open(l.path, NULL, &g, &e);
	if (lie->provoke && r >= 0)
		r = lie->provoke(g, &e);
	tap_ok(r == lie->code && strstr(e.msg, lie->text), "%s: %s", lie->what,
	       r ? e.msg : "harmless");
	if (g)
		drover_guest_free(g);
	liar_end(&l);
	if (count_fds() != before)
		tap_ok(false, "%s: descriptors leaked", lie->what);
}

int main(void)
{
	char dir[] = "/tmp/drover-test-XXXXXX";
	size_t i;

	if (!mkdtemp(dir))
		return 1;
	for (i = 0; i < DROVER_ARRAY_SIZE(lies); i++)
		test_lie(dir, &lies[i]);
	rmdir(dir);
	return tap_done();
}
