// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A disk as clouds have them: threads read and write pieces of a file with O_DIRECT,
 * straight into and out of guest RAM. A read is what migrations lose: its page counts as
 * written when the request is submitted, and the device writes it later. So each read is
 * reported when it has ended. Every piece and buffer has a version that travels with the
 * guest, and whoever reads one, or sweeps over it, knows what must be there.
 */
#include "vmm/vmm.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/thread.h"

#define PIECE (DISK_PAGES * 4096ull)
#define PACE_NS 10000000ull             /* between two requests of a thread */
/* So that no page of the disk looks like one of RAM. */
#define FIRST_INDEX (1ull << 24)

static bool parse_one(char *word, struct disk_opts *o)
{
	static const char *const reports[] = {
		[REPORT_WROTE] = "wrote", [REPORT_COUNT] = "count", [REPORT_NONE] = "none",
	};
	char *value = strchr(word, '=');
	unsigned int i;

	if (!value)
		return false;
	*value++ = '\0';
	if (!strcmp(word, "size"))
		return parse_size(value, DISK_PIECES_MAX * PIECE, &o->size) && o->size &&
		       o->size % PIECE == 0;
	if (!strcmp(word, "threads")) {
		o->threads = (uint32_t)strtoul(value, NULL, 10);
		return o->threads && o->threads <= DISK_THREADS_MAX;
	}
	for (i = 0; i < sizeof(reports) / sizeof(reports[0]); i++)
		if (!strcmp(word, "report") && !strcmp(value, reports[i])) {
			o->report = i;
			return true;
		}
	return false;
}

bool disk_parse(const char *arg, struct disk_opts *ret)
{
	char buf[320], *save = NULL, *word;
	size_t n = strcspn(arg, ",");

	*ret = (struct disk_opts){ .size = 16ull << 20, .threads = 4 };
	if (!n || n >= sizeof(ret->path) || strlen(arg) >= sizeof(buf))
		return false;
	memcpy(ret->path, arg, n);
	strcpy(buf, arg + n);
	for (word = strtok_r(buf, ",", &save); word; word = strtok_r(NULL, ",", &save))
		if (!parse_one(word, ret))
			return false;
	/* Each thread has pieces of its own. */
	return ret->size / PIECE >= ret->threads;
}

static void fill(uint8_t *to, const struct vm *vm, uint32_t piece, uint32_t version)
{
	unsigned int i;

	for (i = 0; i < DISK_PAGES; i++)
		guest_page(to + i * 4096ull, FIRST_INDEX + piece * DISK_PAGES + i, version,
			   vm->dev.seed);
}

bool disk_page_ok(const struct vm *vm, uint64_t page)
{
	const struct disk_state *d = &vm->dev.disk;
	uint64_t b = page / DISK_PAGES;

	return guest_page_ok(vm->slot[SLOT_DISK].host + page * 4096,
			     FIRST_INDEX + d->held[b] * DISK_PAGES + page % DISK_PAGES,
			     d->held_version[b], vm->dev.seed);
}

static bool buffer_ok(const struct vm *vm, uint32_t b)
{
	unsigned int i;

	for (i = 0; i < DISK_PAGES; i++)
		if (!disk_page_ok(vm, b * DISK_PAGES + i))
			return false;
	return true;
}

static uint32_t draw(uint64_t *x)
{
	*x ^= *x << 13;
	*x ^= *x >> 7;
	*x ^= *x << 17;
	return (uint32_t)(*x >> 32);
}

static bool write_piece(struct vm *vm, uint32_t piece, const uint8_t *from)
{
	return pwrite(vm->disk_fd, from, PIECE, (off_t)(piece * PIECE)) == (ssize_t)PIECE;
}

/* The agent lives until vm->quit is set, and that is set under the lock. */
static unsigned int request_begins(struct vm *vm)
{
	DROVER_LOCK(&vm->lock);

	return vm->opts.disk.report == REPORT_COUNT && !vm->quit ?
		drover_agent_io_begin(vm->agent) : 0;
}

static void read_ended(struct vm *vm, uint32_t b, unsigned int token)
{
	DROVER_LOCK(&vm->lock);

	if (vm->quit)
		return;
	if (vm->opts.disk.report == REPORT_WROTE)
		drover_agent_wrote(vm->agent, SLOT_DISK, b * PIECE, PIECE);
	else if (vm->opts.disk.report == REPORT_COUNT)
		drover_agent_io_end(vm->agent, token);
}

static void held(struct vm *vm, uint32_t b, uint32_t piece, bool read)
{
	struct disk_state *d = &vm->dev.disk;
	DROVER_LOCK(&vm->lock);

	d->held[b] = piece;
	d->held_version[b] = d->version[piece];
	read ? d->reads++ : d->writes++;
}

/* Thread @t of @n has every @n-th piece and buffer; three reads to a write. */
static void request(struct vm *vm, uint32_t t)
{
	struct disk_state *d = &vm->dev.disk;
	uint32_t n = vm->opts.disk.threads, x = draw(&d->rng[t]);
	uint32_t b = t + x % (DISK_BUFFERS / n) * n;
	uint32_t piece = t + (x >> 8) % ((uint32_t)d->pieces / n) * n;
	uint8_t *buf = vm->slot[SLOT_DISK].host + b * PIECE;
	bool read = (x >> 4) % 4;
	unsigned int token;

	if (!buffer_ok(vm, b))
		check_fail(vm, "disk", b * DISK_PAGES, "a disk thread found old content");
	if (!read) {
		fill(buf, vm, piece, d->version[piece] + 1);
		if (write_piece(vm, piece, buf))
			d->version[piece]++;
		else
			check_fail(vm, NULL, 0, "disk: write: %s", strerror(errno));
		held(vm, b, piece, false);
		return;
	}
	token = request_begins(vm);
	if (pread(vm->disk_fd, buf, PIECE, (off_t)(piece * PIECE)) != (ssize_t)PIECE)
		check_fail(vm, NULL, 0, "disk: read: %s", strerror(errno));
	held(vm, b, piece, true);
	read_ended(vm, b, token);
	if (!buffer_ok(vm, b))
		check_fail(vm, "disk", b * DISK_PAGES, "the disk has wrong content at piece %u",
			   piece);
}

struct disk_thread {
	struct vm *vm;
	uint32_t index;
};

static void *disk_thread(void *arg)
{
	struct disk_thread t = *(struct disk_thread *)arg;
	struct vm *vm = t.vm;
	uint64_t due;

	free(arg);
	drover_thread_name("disk", (int)t.index);
	while (vm_park(vm, NULL)) {
		request(vm, t.index);
		due = now_ns() + PACE_NS;
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

int disk_start(struct vm *vm)
{
	struct disk_thread *t;
	int r = 0;

	while (*vm->opts.disk.path && vm->disk_threads < vm->opts.disk.threads && !r) {
		t = malloc(sizeof(*t));
		if (!t)
			return ENOMEM;
		*t = (struct disk_thread){ vm, vm->disk_threads };
		r = pthread_create(&vm->disk[vm->disk_threads], NULL, disk_thread, t);
		if (r)
			free(t);
		else
			vm->disk_threads++;
	}
	return r;
}

void disk_join(struct vm *vm)
{
	while (vm->disk_threads)
		pthread_join(vm->disk[--vm->disk_threads], NULL);
	drover_closep(&vm->disk_fd);
}

/* Holes would be read without the disk. */
static int disk_fill(struct vm *vm, struct drover_text *why)
{
	uint8_t *buf = vm->slot[SLOT_DISK].host;
	uint32_t i;

	for (i = 0; i < vm->dev.disk.pieces; i++) {
		fill(buf, vm, i, 1);
		if (!write_piece(vm, i, buf))
			return vm_err(why, -errno, "disk %s: write", vm->opts.disk.path);
		vm->dev.disk.version[i] = 1;
	}
	vm->dev.disk.held[0] = i - 1;
	vm->dev.disk.held_version[0] = 1;
	for (i = 0; i < DISK_THREADS_MAX; i++)
		vm->dev.disk.rng[i] = (vm->dev.seed + i) * MIX_2 | 1;
	return 0;
}

int disk_open(struct vm *vm, struct drover_text *why)
{
	const struct disk_opts *o = &vm->opts.disk;
	int flags = O_RDWR | O_DIRECT | O_CLOEXEC | (vm->opts.incoming ? 0 : O_CREAT);

	if (!*o->path)
		return 0;
	vm->dev.disk.pieces = o->size / PIECE;
	vm->disk_fd = open(o->path, flags, 0600);
	if (vm->disk_fd < 0)
		return vm_err(why, -errno, "disk %s (O_DIRECT)", o->path);
	if (vm->opts.incoming)
		return 0;
	return ftruncate(vm->disk_fd, (off_t)o->size) < 0 ?
		vm_err(why, -errno, "disk %s", o->path) : disk_fill(vm, why);
}
