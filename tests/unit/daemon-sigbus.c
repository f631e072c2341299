// SPDX-License-Identifier: GPL-2.0-or-later
/* droverd's handler: guest RAM of several threads, and what is not guest RAM. */
#define _GNU_SOURCE
#include "daemon/sigbus.h"

#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "ram/bus.h"
#include "tap.h"

static struct drover_ram ram;

static int dies(bool guarded)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		if (!guarded)
			sigbus_release();
		_exit(*(volatile uint8_t *)(ram.block[0].host + 4096));
	}
	waitpid(pid, &status, 0);
	return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

int main(void)
{
	struct drover_error e = DROVER_ERROR_INIT;
	int fd = memfd_create("ram", MFD_CLOEXEC);

	strcpy(ram.block[0].name, "ram0");
	ram.n = 1;
	ram.block[0] = (struct drover_ram_block){ .name = "ram0", .fd = fd, .size = 8192 };
	ram.block[0].host = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (fd < 0 || ram.block[0].host == MAP_FAILED)
		return 1;
	sigbus_guard(&ram);
	tap_ok(dies(true) == 0, "guest RAM that is not there: the process lives");
	tap_ok(dies(false) == SIGBUS, "control: it is not guarded");
	tap_ok(*(volatile uint8_t *)(ram.block[0].host + 4096) == 0 &&
	       drover_ram_bus_error(&ram, &e) < 0 && strstr(e.msg, "RAM ram0: page 1 "),
	       "and says what it was: %s", e.msg);
	sigbus_release();
	return tap_done();
}
