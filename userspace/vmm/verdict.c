// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The guest's verdict about itself after a move. Versions and digest are kept by the
 * guest, the digest in a register, so a lost update of a page, of the version table or
 * of both is found; a sweep in slices looks at every page while vCPUs and device stand
 * between two pages; in postcopy when all pages have arrived. Heartbeats must go on where they stopped. What the payload or the
 * device thread find when they overwrite a page counts at any time, moved or not.
 */
#include "vmm/vmm.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/cleanup.h"

#define SLICE 1024u                     /* pages looked at while the guest stands */
#define BEATS 10u                       /* of each vCPU before a move has passed */
#define BEATS_NS 10000000000ull
#define BEAT_LINES 10u                  /* every so many heartbeats one line */

uint64_t check_hash(const uint8_t *page)
{
	const uint64_t *p = (const uint64_t *)page;
	uint64_t h = MIX_2;
	unsigned int i;

	for (i = 0; i < 512; i++)
		h = (h ^ p[i]) * MIX_1, h ^= h >> 31;
	return h;
}

static void notify(struct vm *vm)
{
	uint64_t one = 1;

	if (write(vm->notify_fd, &one, sizeof(one)) < 0)
		return;
}

/* The first failure is the one that is told; @block NULL: not about a page. */
static void fail_locked(struct vm *vm, const char *block, uint64_t page, const char *fmt,
			va_list ap)
{
	if (block && !vm->v.bad++)
		snprintf(vm->v.first_bad, sizeof(vm->v.first_bad), "%s:%llu", block,
			 (unsigned long long)page);
	if (vm->v.verdict == VERDICT_FAILED)
		return;
	vm->v.verdict = VERDICT_FAILED;
	vsnprintf(vm->v.text, sizeof(vm->v.text), fmt, ap);
	notify(vm);
}

void check_fail(struct vm *vm, const char *block, uint64_t page, const char *fmt, ...)
{
	va_list ap;
	DROVER_LOCK(&vm->lock);

	va_start(ap, fmt);
	fail_locked(vm, block, page, fmt, ap);
	va_end(ap);
}

void check_beat(struct vcpu *v, uint32_t count)
{
	struct vm *vm = v->vm;
	struct timespec ts;
	bool good;

	pthread_mutex_lock(&vm->lock);
	good = count == v->beats + 1;
	if (!good)
		count <= v->beats ? vm->v.repeats++ : vm->v.gaps++;
	pthread_mutex_unlock(&vm->lock);
	if (!good)
		check_fail(vm, NULL, 0, "vcpu %u: heartbeat %u after %u", v->index, count,
			   v->beats);
	pthread_mutex_lock(&vm->lock);
	v->beats = vm->dev.beats[v->index] = count;
	v->moved++;
	if (v->moved == BEATS)
		pthread_cond_broadcast(&vm->cond);
	pthread_mutex_unlock(&vm->lock);
	if (!vm->heartbeat || count % BEAT_LINES)
		return;
	clock_gettime(CLOCK_REALTIME, &ts);
	fprintf(vm->heartbeat, "%u %u %s %lld.%06ld\n", v->index, count,
		vm->migrated ? "dest" : "source", (long long)ts.tv_sec, ts.tv_nsec / 1000);
	fflush(vm->heartbeat);
}

/* Enter a slice: everybody stands between two pages. False: quit. Under @lock */
static bool slice_begin(struct vm *vm)
{
	for (;;) {
		while (!vm->quit && (vm->stop || vm->missing || vm->v.verdict != VERDICT_RUNNING))
			vm_wait(vm, 0);
		if (vm->quit)
			return false;
		vm->soft = true;
		pthread_cond_broadcast(&vm->cond);
		while (vm->soft_parked < vm_parkers(vm) && !vm->stop && !vm->quit)
			vm_wait(vm, 0);
		if (!vm->stop && !vm->quit) {
			vm->checking = true;
			return true;
		}
		vm->soft = false;
	}
}

static void slice_end(struct vm *vm)
{
	vm->checking = vm->soft = false;
	pthread_cond_broadcast(&vm->cond);
	while (vm->soft_parked && !vm->quit && !vm->stop)
		vm_wait(vm, 0);
}

static void check_digests(struct vm *vm)
{
	struct kvm_regs r;
	uint64_t i;

	for (i = 0; i < VCPUS; i++) {
		if (vm->vcpu[i].dead || ioctl(vm->vcpu[i].fd, KVM_GET_REGS, &r) < 0)
			continue;
		if (r.r15 != guest_digest(vm, (unsigned int)i))
			check_fail(vm, "ram0", LOW_PAGES, "version table of vcpu %u is not what "
				   "its register says", (unsigned int)i);
	}
	for (i = 0; i < LOW_PAGES; i++)
		if (i != GPA_FOREIGN / 4096 &&
		    vm->dev.low[i] != check_hash(vm->slot[0].host + i * 4096))
			check_fail(vm, "ram0", i, "a page that never changes has changed");
}

static uint64_t first_data(const struct vm *vm)
{
	uint64_t first, n;

	vm_share(vm, 0, &first, &n);
	return first;
}

/* Data pages, device pages and the disk's buffers as one sequence. */
static uint64_t sweep_pages(const struct vm *vm)
{
	return vm_pages(vm) - first_data(vm) + DEVICE_PAGES +
	       (vm->slots > SLOT_DISK ? vm->slot[SLOT_DISK].len / 4096 : 0);
}

static bool page_ok(const struct vm *vm, unsigned int slot, uint64_t page)
{
	uint32_t want = slot ? vm->dev.version[page % DEVICE_PAGES] : vm_versions(vm)[page];

	return slot == SLOT_DISK ? disk_page_ok(vm, page) :
		guest_page_ok(vm->slot[slot].host + page * 4096, page, want, vm->dev.seed);
}

/* Pages [pos, pos + SLICE) of the sequence. */
static void check_slice(struct vm *vm, uint64_t pos)
{
	uint64_t first = first_data(vm), data = vm_pages(vm) - first, i;

	for (i = pos; i < pos + SLICE && i < sweep_pages(vm); i++) {
		unsigned int slot = i < data ? 0 : i < data + DEVICE_PAGES ? 1 : SLOT_DISK;
		uint64_t page = !slot ? first + i : i - data - (slot == 1 ? 0 : DEVICE_PAGES);

		if (!page_ok(vm, slot, page))
			check_fail(vm, vm->slot[slot].name, page, "the sweep found wrong content");
	}
}

static void finish(struct vm *vm)
{
	uint64_t deadline = now_ns() + BEATS_NS;
	unsigned int i;

	for (i = 0; i < VCPUS; i++)
		while (!vm->quit && !vm->stop && vm->v.verdict == VERDICT_RUNNING &&
		       vm->vcpu[i].moved < BEATS && now_ns() < deadline)
			vm_wait(vm, deadline);
	if (vm->stop || vm->quit || vm->v.verdict != VERDICT_RUNNING)
		return;
	for (i = 0; i < VCPUS; i++) {
		if (vm->vcpu[i].moved >= BEATS)
			continue;
		vm->v.verdict = VERDICT_FAILED;
		snprintf(vm->v.text, sizeof(vm->v.text), "vcpu %u has no heartbeat", i);
	}
	if (vm->v.verdict == VERDICT_RUNNING)
		vm->v.verdict = VERDICT_PASSED;
	notify(vm);
}

void *check_thread(void *arg)
{
	struct vm *vm = arg;
	uint64_t pos, all = sweep_pages(vm);
	DROVER_LOCK(&vm->lock);

	while (slice_begin(vm)) {
		pos = vm->v.pages;
		pthread_mutex_unlock(&vm->lock);
		if (!pos)
			check_digests(vm);
		if (pos < all)
			check_slice(vm, pos);
		pthread_mutex_lock(&vm->lock);
		vm->v.pages = pos + SLICE < all ? pos + SLICE : all;
		slice_end(vm);
		if (pos >= all)
			finish(vm);
	}
	return NULL;
}

/* State was loaded: the next vm_go() starts the sweep. The guest is stopped. */
void check_begin(struct vm *vm)
{
	unsigned int i;
	DROVER_LOCK(&vm->lock);

	memset(&vm->v, 0, sizeof(vm->v));
	vm->v.verdict = VERDICT_RUNNING;
	vm->migrated = true;
	for (i = 0; i < VCPUS; i++) {
		vm->vcpu[i].beats = vm->dev.beats[i];
		vm->vcpu[i].moved = 0;
		vm->vcpu[i].dead = vm->dev.dead[i][0];
		if (vm->vcpu[i].dead && vm->v.verdict == VERDICT_RUNNING) {
			vm->v.verdict = VERDICT_FAILED;
			snprintf(vm->v.text, sizeof(vm->v.text),
				 "vcpu %u died before the move: %s", i, vm->dev.dead[i]);
		}
	}
	notify(vm);
}

void check_json(struct vm *vm, char *json, size_t size)
{
	static const char *const names[] = { "", "running", "passed", "failed" };
	const struct verdict_state *v = &vm->v;
	DROVER_LOCK(&vm->lock);

	json[0] = '\0';
	if (v->verdict == VERDICT_NONE)
		return;
	snprintf(json, size, "{\"verdict\":\"%s\",\"pages-checked\":%llu,\"bad-pages\":%llu,"
		 "\"first-bad-page\":\"%s\",\"heartbeats\":{\"vcpu0\":%u,\"vcpu1\":%u,"
		 "\"gaps\":%llu,\"repeats\":%llu},\"disk\":{\"reads\":%llu,\"writes\":%llu},"
		 "\"registers\":\"%s\",\"text\":\"%s\"}",
		 names[v->verdict], (unsigned long long)v->pages, (unsigned long long)v->bad,
		 v->first_bad, vm->vcpu[0].beats, vm->vcpu[1].beats,
		 (unsigned long long)v->gaps, (unsigned long long)v->repeats,
		 (unsigned long long)vm->dev.disk.reads, (unsigned long long)vm->dev.disk.writes,
		 v->registers ? "changed" : "ok", v->text);
}
