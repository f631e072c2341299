// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Writers that are no vCPU: the VMM's own device thread (through its mapping), the
 * balloon (punching holes), and on request a writer that no userspace tracker sees.
 */
#include "vmm/vmm.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "ram/ramfile.h"

#define DEVICE_NS 5000000ull            /* between two pages */

/* One page, whole: the checker and vm_stop() come between pages only. */
static void device_write(struct vm *vm)
{
	uint64_t x = vm->dev.rng;
	uint32_t i;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	vm->dev.rng = x;
	i = (uint32_t)(x >> 32) % DEVICE_PAGES;
	if (!guest_page_ok(vm->slot[1].host + i * 4096ull, i, vm->dev.version[i], vm->dev.seed))
		check_fail(vm, "device", i, "the device thread found old content");
	vm->dev.version[i]++;
	guest_page(vm->slot[1].host + i * 4096ull, i, vm->dev.version[i], vm->dev.seed);
}

void *device_thread(void *arg)
{
	struct vm *vm = arg;
	uint64_t due;

	while (vm_park(vm, NULL)) {
		device_write(vm);
		due = now_ns() + DEVICE_NS;
		pthread_mutex_lock(&vm->lock);
		vm_soft_wait(vm);
		while (!vm->stop && !vm->quit && now_ns() < due) {
			vm_wait(vm, due);
			vm_soft_wait(vm);
		}
		pthread_mutex_unlock(&vm->lock);
	}
	return NULL;
}

/*
 * The guest gave up a chunk: its memory goes back to the host, reads are zero again. Not
 * while pages are missing: one of these would arrive later, with what it held before.
 */
void balloon(struct vm *vm, uint32_t page)
{
	const struct slot *s = &vm->slot[0];
	uint64_t at = page * 4096ull;
	bool missing;
	int r;

	pthread_mutex_lock(&vm->lock);
	missing = vm->missing;
	pthread_mutex_unlock(&vm->lock);

	if (page >= vm_pages(vm) || BALLOON_PAGES > vm_pages(vm) - page) {
		check_fail(vm, NULL, 0, "balloon: page %u is not in RAM", page);
		return;
	}
	if (missing) {
		memset(s->host + at, 0, BALLOON_PAGES * 4096ull);
		return;
	}
	r = drover_ramfile_punch(s->fd, s->off + at, BALLOON_PAGES * 4096ull, s->host + at);
	if (r < 0)
		check_fail(vm, "ram0", page, "balloon: punch: %s", strerror(-r));
}

static int write_from_process(int fd)
{
	pid_t pid = fork();
	int status;

	if (pid < 0)
		return -errno;
	if (!pid) {
		uint8_t *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, GPA_FOREIGN);

		if (p != MAP_FAILED)
			memset(p, 0xa5, 4096);
		_exit(p == MAP_FAILED);
	}
	if (waitpid(pid, &status, 0) < 0 || !WIFEXITED(status) || WEXITSTATUS(status))
		return -EIO;
	return 0;
}

/* Once, when the guest was paused: after the only send of a page nobody else writes. */
int foreign_write(struct vm *vm, struct drover_text *why)
{
	uint8_t page[4096];
	int r = 0;

	if (!vm->opts.foreign || vm->foreign_done)
		return 0;
	vm->foreign_done = true;
	if (!strcmp(vm->opts.foreign, "process")) {
		r = write_from_process(vm->slot[0].fd);
	} else {
		memset(page, 0xa5, sizeof(page));
		if (pwrite(vm->slot[0].fd, page, sizeof(page), GPA_FOREIGN) != sizeof(page))
			r = -EIO;
	}
	return r < 0 ? vm_err(why, r, "foreign writer") : 0;
}
