// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Nothing of the guest is lost: dropped caches, and a holder that is killed.
 * control: 4 drop_caches while watched
 */
#include "attach.h"
#include "churn.h"

/* ---- nothing of the guest is lost ---- */

static unsigned int unequal(int fd, uint8_t value)
{
	unsigned int i, n = 0;
	uint8_t c;

	for (i = 0; i < PAGES; i++)
		n += pread(fd, &c, 1, (off_t)i * PAGE) != 1 || c != value;
	return n;
}

static void test_content(void)
{
	int fd;

	begin();
	munmap(g.map, PAGES * PAGE);
	munmap(g.other, PAGES * PAGE);
	harvest(0);
	drop_caches();
	ksft_ok(!unequal(g.fd, 1), "drop_caches while watched and not mapped: content is there");
	fd = g.fd;
	close(g.at);
	drop_caches();
	ksft_ok(!unequal(fd, 1), "and after disarm");
	close(fd);
}

static void test_holder_dies(void)
{
	int fd = memfd_create("dies", MFD_CLOEXEC), at, s[2], step;
	uint8_t *m;

	if (ftruncate(fd, PAGES * PAGE) < 0 || pipe(s) < 0)
		exit(1);
	m = map_file(fd, PROT_READ | PROT_WRITE, MAP_SHARED);
	for (step = 0; step < 3; step++) {
		pid_t pid;

		memset(m, 10 + step, PAGES * PAGE);
		pid = fork();
		if (!pid) {
			at = attach(fd);
			if (step > 0)
				arm(at);
			g.at = at;
			if (step > 1)
				harvest(0);
			if (write(s[1], "r", 1) == 1)
				pause();
			_exit(0);
		}
		char c;

		if (read(s[0], &c, 1) != 1)
			exit(1);
		ksft_ok(attach(fd) == -EBUSY, "step %d: somebody else's attach is refused", step);
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		munmap(m, PAGES * PAGE);
		drop_caches();
		ksft_ok(!unequal(fd, (uint8_t)(10 + step)), "step %d: killed, nothing is lost", step);
		at = attach(fd);
		ksft_ok(at >= 0 && !arm(at), "step %d: and it can be watched again", step);
		close(at);
		m = map_file(fd, PROT_READ | PROT_WRITE, MAP_SHARED);
	}
	close(fd);
}

int main(void)
{
	g.dev = ksft_device();
	test_content();
	test_holder_dies();
	return ksft_end();
}
