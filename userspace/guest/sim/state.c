// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Device state of the simulated guest: who it is, and the sum over the versions of its
 * pages, which a page that arrived old cannot have. Fixed length, little-endian:
 *
 *	 0  magic "drvsimst"	 32  dirty	64  sum
 *	 8  u32 layout, 1	 40  hot	72  XXH64 of bytes 0 to 71
 *	12  u32 length, 80	 48  zero
 *	16  seed		 56  writes
 *	24  size
 *
 * Called by sim.c while the guest is stopped.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <xxhash.h>

#include "base/err.h"
#include "guest/sim/sim.h"

#define MAGIC "drvsimst"
#define LAYOUT 1u
#define SUMMED (SIM_STATE_LEN - 8)

enum { AT_LAYOUT = 8, AT_SEED = 16, AT_SIZE = 24, AT_DIRTY = 32, AT_HOT = 40, AT_ZERO = 48,
       AT_WRITES = 56, AT_SUM = 64 };

static void put64(uint8_t *at, uint64_t v)
{
	unsigned int i;

	for (i = 0; i < 8; i++)
		at[i] = (uint8_t)(v >> 8 * i);
}

static uint64_t get64(const uint8_t *at)
{
	uint64_t v = 0;
	unsigned int i;

	for (i = 0; i < 8; i++)
		v |= (uint64_t)at[i] << 8 * i;
	return v;
}

int sim_state_save(struct drover_sim *s, int *ret_fd, struct drover_error *e)
{
	_cleanup_close_ int fd = memfd_create("drover-sim-state", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	uint8_t b[SIM_STATE_LEN] = MAGIC;

	put64(b + AT_LAYOUT, LAYOUT | (uint64_t)SIM_STATE_LEN << 32);
	put64(b + AT_SEED, s->args.seed);
	put64(b + AT_SIZE, s->args.size);
	put64(b + AT_DIRTY, s->args.dirty);
	put64(b + AT_HOT, s->args.hot);
	put64(b + AT_ZERO, s->args.zero);
	put64(b + AT_WRITES, s->writes);
	put64(b + AT_SUM, s->sum);
	put64(b + SUMMED, XXH64(b, SUMMED, 0));
	if (fd < 0 || pwrite(fd, b, sizeof(b), 0) != (ssize_t)sizeof(b) ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) < 0)
		return drover_err(e, -errno, "guest sim: save: %s", drover_strerror(errno));
	*ret_fd = TAKE_FD(fd);
	return 0;
}

static int refuse(struct drover_error *e, const char *why)
{
	return drover_err(e, -EBADMSG, "guest sim: load: %s", why);
}

static int read_whole(int fd, uint8_t *b, struct drover_error *e)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return drover_err(e, -errno, "guest sim: load: %s", drover_strerror(errno));
	if (st.st_size != SIM_STATE_LEN)
		return drover_err(e, -EBADMSG, "guest sim: load: the state has %lld bytes, not %u",
				  (long long)st.st_size, SIM_STATE_LEN);
	if (pread(fd, b, SIM_STATE_LEN, 0) != SIM_STATE_LEN)
		return refuse(e, "the state cannot be read whole");
	if (memcmp(b, MAGIC, 8) != 0)
		return refuse(e, "this is not the state of a simulated guest");
	if (get64(b + AT_LAYOUT) != (LAYOUT | (uint64_t)SIM_STATE_LEN << 32))
		return refuse(e, "the state's layout is not one this build knows");
	if (get64(b + SUMMED) != XXH64(b, SUMMED, 0))
		return refuse(e, "the state's checksum does not match");
	return 0;
}

int sim_state_load(struct drover_sim *s, int fd, struct drover_error *e)
{
	struct sim_args a = s->args;
	uint8_t b[SIM_STATE_LEN];
	int r = read_whole(fd, b, e);

	if (r < 0)
		return r;
	if (get64(b + AT_SIZE) != a.size)
		return drover_err(e, -EBADMSG, "guest sim: load: the state is of a guest of %llu "
				  "bytes, this one has %llu", (unsigned long long)get64(b + AT_SIZE),
				  (unsigned long long)a.size);
	if (get64(b + AT_ZERO) > 100)
		return refuse(e, "zero is out of range");
	a.seed = get64(b + AT_SEED);
	a.dirty = get64(b + AT_DIRTY);
	a.hot = get64(b + AT_HOT);
	a.zero = (unsigned int)get64(b + AT_ZERO);
	r = sim_args_check(&a, e);
	if (r < 0)
		return drover_err_prefix(e, "load: "), -EBADMSG;
	s->args = a;
	s->writes = get64(b + AT_WRITES);
	s->sum = get64(b + AT_SUM);
	return 0;
}
