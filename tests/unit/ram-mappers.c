// SPDX-License-Identifier: GPL-2.0-or-later
/* Who else maps guest RAM: another process, shared, some of the block; and nobody else. */
#define _GNU_SOURCE
#include "ram/mappers.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "tap.h"

#define LEN (16 * 4096ul)

static struct drover_ram ram;

/* A process that maps @len bytes at @off of a file, and nothing else of it. */
static pid_t other(int fd, int prot, int flags, off_t off, size_t len)
{
	int go[2];
	pid_t pid;
	char c;

	if (pipe2(go, O_CLOEXEC) < 0)
		abort();
	pid = fork();
	if (!pid) {
		munmap(ram.block[0].host, LEN);
		munmap(ram.block[1].host, LEN);
		if (len && mmap(NULL, len, prot, flags, fd, off) == MAP_FAILED)
			_exit(1);
		if (write(go[1], "x", 1) == 1)
			pause();
		_exit(0);
	}
	if (read(go[0], &c, 1) != 1)
		abort();
	close(go[0]);
	close(go[1]);
	return pid;
}

static void row(int fd, int prot, int flags, off_t off, size_t len, const char *what, bool maps0,
		bool maps1, bool writes)
{
	struct drover_error e = DROVER_ERROR_INIT;
	pid_t pid = other(fd, prot, flags, off, len);
	struct drover_mappers m;
	int status, r = drover_mappers_find(&ram, 0, &m, &e);

	tap_ok(r == 0 && m.mapped[0] == (maps0 ? pid : 0) && m.mapped[1] == (maps1 ? pid : 0) &&
	       m.writer[0] == (maps0 && writes ? pid : 0) &&
	       m.writer[1] == (maps1 && writes ? pid : 0), "%s %s", what, e.msg);
	r = drover_mappers_find(&ram, pid, &m, &e);
	tap_ok(r == 0 && !m.mapped[0] && !m.mapped[1], "it does not count when it is the VMM");
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
}

int main(void)
{
	const int rw = PROT_READ | PROT_WRITE;
	int fd = memfd_create("a", MFD_CLOEXEC), fd2 = memfd_create("b", MFD_CLOEXEC);
	struct drover_mappers m;
	unsigned int i;

	/* Two blocks of one file, the second behind the first. */
	if (ftruncate(fd, 3 * LEN) < 0 || ftruncate(fd2, 3 * LEN) < 0)
		return 1;
	ram.n = 2;
	for (i = 0; i < 2; i++) {
		ram.block[i] = (struct drover_ram_block){ .size = LEN, .fd = fd, .fd_off = i * LEN };
		ram.block[i].host = mmap(NULL, LEN, rw, MAP_SHARED, fd, (off_t)(i * LEN));
	}
	tap_ok(!drover_mappers_find(&ram, 0, &m, NULL) && !m.mapped[0] && !m.mapped[1],
	       "this process does not count");
	row(fd, rw, MAP_SHARED, 0, 2 * LEN, "all of it", true, true, true);
	row(fd, rw, MAP_SHARED, 0, LEN, "the first block", true, false, true);
	row(fd, rw, MAP_SHARED, LEN, LEN, "the second", false, true, true);
	row(fd, rw, MAP_SHARED, LEN - 4096, 8192, "a page of each", true, true, true);
	row(fd, rw, MAP_SHARED, 2 * LEN, LEN, "what is behind the blocks", false, false, true);
	row(fd, PROT_READ, MAP_SHARED, 0, 4096, "for reading", true, false, false);
	row(fd, rw, MAP_PRIVATE, 0, LEN, "a private copy", false, false, true);
	row(fd2, rw, MAP_SHARED, 0, LEN, "another file", false, false, true);
	row(fd, rw, MAP_SHARED, 0, 0, "a descriptor alone", false, false, true);
	return tap_done();
}
