// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The ledger of a destination in postcopy: what one droverd writes the next one finds, and a
 * file that is not this RAM's ledger is refused by name, whatever is in it.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "agent/ledger.h"
#include "base/bitmap.h"
#include "base/err.h"
#include "tap.h"

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW)

static const uint8_t token[DROVER_LEDGER_TOKEN_LEN] = "0123456789abcde";

static void ram_of(struct drover_ram *ram)
{
	memset(ram, 0, sizeof(*ram));
	ram->n = 2;
	strcpy(ram->block[0].name, "ram0");
	ram->block[0].size = 1000 * DROVER_PAGE_SIZE;
	strcpy(ram->block[1].name, "device");
	ram->block[1].size = 64 * DROVER_PAGE_SIZE;
}

static void test_found_again(const struct drover_ram *ram, bool digests)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_ledger *l = NULL, *next = NULL, *view = NULL;
	int fd;

	if (!tap_ok(!drover_ledger_new(ram, digests, &l, &e), "new, digests %d: %s", digests, e.msg))
		return;
	tap_ok(!*drover_ledger_config(l) && !memcmp(drover_ledger_token(l), (uint8_t[16]){ 0 }, 16) &&
	       !drover_bitmap_count(l->received[0], 1000) && !l->digest[0] == !digests,
	       "it is empty and has no session");
	tap_ok(!drover_ledger_bind(l, token, "{\"a\": 1}", &e), "bound: %s", e.msg);
	drover_bitmap_set_range(l->received[0], 990, 10);
	drover_bit_set(l->received[1], 63);
	if (digests)
		l->digest[1][63] = 77;
	fd = fcntl(l->fd, F_DUPFD_CLOEXEC, 0);
	tap_ok(!drover_ledger_view(fcntl(fd, F_DUPFD_CLOEXEC, 0), ram, &view, &e) &&
	       drover_bit_test(view->received[0], 990), "the VMM sees what arrives: %s", e.msg);
	drover_bit_set(l->received[0], 5);
	tap_ok(drover_bit_test(view->received[0], 5), "at once");
	drover_ledger_free(l);
	tap_ok(!drover_ledger_open(fd, ram, &next, &e), "opened by the next one: %s", e.msg);
	tap_ok(next && !memcmp(drover_ledger_token(next), token, 16) &&
	       !strcmp(drover_ledger_config(next), "{\"a\": 1}"), "whose session it is");
	tap_ok(next && drover_bitmap_count(next->received[0], 1000) == 11 &&
	       drover_bitmap_count(next->received[1], 64) == 1 &&
	       (digests ? next->digest[1][63] == 77 && !next->digest[1][62] : !next->digest[1]),
	       "and what has arrived");
	drover_bit_set(next->received[1], 0);
	tap_ok(drover_bit_test(view->received[1], 0), "the VMM also sees what arrives now");
	drover_ledger_free(next);
	drover_ledger_free(view);
}

/* ---- files that are none ---- */

/* A right one, to be spoilt: not sealed, so that it can be. */
static int copy_of(const struct drover_ledger *l)
{
	int fd = memfd_create("spoilt", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0 || write(fd, l->map, l->len) != (ssize_t)l->len)
		return -1;
	return fd;
}

static void put(int fd, const void *p, size_t len, off_t off)
{
	if (pwrite(fd, p, len, off) != (ssize_t)len)
		tap_diag("pwrite: %s", strerror(errno));
}

static void refused(int fd, const struct drover_ram *ram, const char *cause, const char *name)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_ledger *l = NULL;
	int r = drover_ledger_open(fd, ram, &l, &e);

	tap_ok(r == -EPROTO && !l && strstr(e.msg, cause), "%s: %s", name, e.msg);
	tap_ok(fcntl(fd, F_GETFD) < 0, "%s: its descriptor is closed", name);
	drover_ledger_free(l);
}

/* Offsets in the header, which is part of the interface: two versions of droverd share it. */
static const struct {
	const char *name, *cause;
	off_t off;
	size_t len;
	uint64_t value;
} spoilt[] = {
	{ "magic", "none", 0, 8, 1 },
	{ "version", "version 2", 8, 4, 2 },
	{ "flags", "unknown flags", 12, 4, 2 },
	{ "reserved", "unknown flags", 20, 4, 1 },
	{ "digests that are not there", "bytes", 12, 4, 1 },
	{ "no blocks", "RAM blocks", 16, 4, 0 },
	{ "too many blocks", "RAM blocks", 16, 4, 0xffffffff },
	{ "another name", "ram0: it has another name", 40, 4, 0x316d6172 },
	{ "a name without end", "ram0: it has another name", 44, 8, 0x7878787878787878 },
	{ "a block of another size", "ram0: 8192 bytes", 40 + 64, 8, 8192 },
	{ "a block of any size", "device: 18446744073709551615 bytes", 40 + 72 + 64, 8, ~0ull },
};

static void test_refused(const struct drover_ram *ram)
{
	struct drover_error e = DROVER_ERROR_INIT;
	struct drover_ledger *l = NULL;
	static char junk[DROVER_LEDGER_CONFIG_MAX];
	struct drover_ram other = *ram;
	uint64_t bit = 1ull << 41;
	int fd, p[2];
	size_t i;

	if (drover_ledger_new(ram, false, &l, &e) < 0)
		return (void)tap_ok(false, "new: %s", e.msg);
	for (i = 0; i < sizeof(spoilt) / sizeof(spoilt[0]); i++) {
		fd = copy_of(l);
		put(fd, &spoilt[i].value, spoilt[i].len, spoilt[i].off);
		fcntl(fd, F_ADD_SEALS, SEALS);
		refused(fd, ram, spoilt[i].cause, spoilt[i].name);
	}
	fd = copy_of(l);
	memset(junk, 'x', sizeof(junk));
	put(fd, junk, sizeof(junk), 40 + 256 * 72);
	fcntl(fd, F_ADD_SEALS, SEALS);
	refused(fd, ram, "not terminated", "a config without end");
	fd = copy_of(l);
	put(fd, &bit, 8, (uint8_t *)&l->received[0][15] - (uint8_t *)l->map);
	fcntl(fd, F_ADD_SEALS, SEALS);
	refused(fd, ram, "past its end", "a bit behind the last page");
	fd = copy_of(l);
	refused(fd, ram, "not sealed", "no seal");
	fd = copy_of(l);
	fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_WRITE);
	refused(fd, ram, "not writable", "sealed against writing");
	fd = copy_of(l);
	tap_ok(!ftruncate(fd, (off_t)l->len - 4096) && !fcntl(fd, F_ADD_SEALS, SEALS), "shortened");
	refused(fd, ram, "bytes", "too short by a page");
	fd = copy_of(l);
	tap_ok(!ftruncate(fd, (off_t)l->len + 4096) && !fcntl(fd, F_ADD_SEALS, SEALS), "made longer");
	refused(fd, ram, "bytes", "too long by a page");
	fd = memfd_create("empty", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	fcntl(fd, F_ADD_SEALS, SEALS);
	refused(fd, ram, "too short", "an empty file");
	refused(open("/dev/null", O_RDWR | O_CLOEXEC), ram, "not a memfd", "a device");
	if (!pipe(p)) {
		refused(p[0], ram, "not a memfd", "a pipe");
		close(p[1]);
	}
	other.n = 1;
	refused(fcntl(l->fd, F_DUPFD_CLOEXEC, 0), &other, "RAM blocks", "another guest");
	memset(junk, 'x', sizeof(junk));
	junk[sizeof(junk) - 1] = '\0';
	tap_ok(!drover_ledger_bind(l, token, junk, &e), "the longest config: %s", e.msg);
	{
		static char longer[DROVER_LEDGER_CONFIG_MAX + 1];

		memset(longer, 'x', DROVER_LEDGER_CONFIG_MAX);
		tap_ok(drover_ledger_bind(l, token, longer, &e) == -E2BIG &&
		       !strcmp(drover_ledger_config(l), junk), "longer by one: %s", e.msg);
	}
	drover_ledger_free(l);
	tap_ok(!drover_ledger_free(NULL), "free of none");
}

int main(void)
{
	struct drover_ram ram;

	ram_of(&ram);
	test_found_again(&ram, true);
	test_found_again(&ram, false);
	test_refused(&ram);
	return tap_done();
}
