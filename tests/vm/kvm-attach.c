// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A file that is the RAM of a KVM guest. vCPUs write through page tables of KVM's own, so
 * their stores are KVM's to log and everybody else's are ours: each sees what the other
 * doesn't, and together nothing is lost. Write-protected, the file shows both.
 * needs: kvm-amd
 */
#include <stdatomic.h>
#include <sys/utsname.h>

#include "attach.h"
#include "kvm-vm.h"

#define TOUCHED 64u

static struct kvm_vm vm;
static uint64_t log_map[WORDS];

static unsigned int count(const uint64_t *map)
{
	unsigned int i, n = 0;

	for (i = 0; i < WORDS; i++)
		n += (unsigned int)__builtin_popcountll(map[i]);
	return n;
}

/* Every 16th page from the 5th on. */
static void fill_pages(unsigned int *page)
{
	unsigned int i;

	for (i = 0; i < TOUCHED; i++)
		page[i] = 5 + i * 16;
}

static bool only(const uint64_t *map, const unsigned int *page)
{
	unsigned int i;

	for (i = 0; i < TOUCHED; i++)
		if (!in(map, page[i]))
			return false;
	return count(map) == TOUCHED;
}

/*
 * Everything mapped by KVM, and nothing to report: taking a page for the first time may
 * make it dirty in the VMM's own page table.
 */
static void warm_up(const unsigned int *page)
{
	if (kvm_vm_touch(&vm.cpu[0], kvm_vm_write, page, TOUCHED, 1) || harvest(0))
		ksft_die("first run");
}

/* Page faults of all vCPUs so far: KVM's own count. */
static long long page_faults(void)
{
	FILE *f = fopen("/sys/kernel/debug/kvm/pf_taken", "re");
	long long n = -1;

	if (f && fscanf(f, "%lld", &n) != 1)
		n = -1;
	if (f)
		fclose(f);
	return n;
}

static void test_speed(const unsigned int *page)
{
	long long before, after;
	uint64_t t[2], start;
	unsigned int i;
	int r = 0;

	for (i = 0; i < 2; i++) {
		before = page_faults();
		start = ksft_ns();
		r |= kvm_vm_touch(&vm.cpu[0], kvm_vm_write, page, TOUCHED, 2 + i);
		t[i] = ksft_ns() - start;
		after = page_faults();
		r |= harvest(0);
	}
	ksft_note("64 writes of a vCPU: %llu us, after a harvest %llu us",
		  (unsigned long long)t[0] / 1000, (unsigned long long)t[1] / 1000);
	ksft_ok(!r && before >= 0 && after == before,
		"vCPU: a harvest costs it no page fault: %lld", after - before);
}

/* Pages that wait in a CPU's list for their place in the LRU look as if they were pinned. */
static void drain_lists(void)
{
	int fd = open("/proc/sys/vm/drop_caches", O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, "1", 1) != 1)
		ksft_die("drop_caches");
	close(fd);
}

/*
 * From some kernel on, KVM marks the folio of a page when a vCPU's first write to it after a
 * look at its log faults: then a harvest sees that write, and perhaps no later one.
 */
static const struct {
	unsigned int major, minor;
	bool marks;
} kvm_facts[] = { { 6, 1, false }, { 6, 12, true } };

static bool kvm_marks(void)
{
	unsigned int major = 0, minor = 0, i;
	struct utsname u;
	bool marks = false;

	uname(&u);
	if (sscanf(u.release, "%u.%u", &major, &minor) != 2)
		ksft_die("uname");
	for (i = 0; i < KSFT_SIZE(kvm_facts); i++)
		if (major * 1000 + minor >= kvm_facts[i].major * 1000 + kvm_facts[i].minor)
			marks = kvm_facts[i].marks;
	return marks;
}

static void test_blind(const unsigned int *page)
{
	unsigned int i;
	bool same = true;
	int r;

	if (!kvm_vm_slot(&vm, KVM_MEM_LOG_DIRTY_PAGES) || kvm_vm_log(&vm, log_map) || harvest(0))
		ksft_die("KVM's log");
	r = kvm_vm_touch(&vm.cpu[0], kvm_vm_write, page, TOUCHED, 9) | kvm_vm_log(&vm, log_map) |
	    harvest(0);
	ksft_ok(!r && (kvm_marks() ? only(news.dirty, page) : !count(news.dirty)) &&
		!count(news.hole), "vCPU writes 64 pages: the harvest alone shows %u: %s",
		count(news.dirty), kvm_marks() ? "KVM marks them" : "it is blind to vCPUs");
	ksft_ok(!r && only(log_map, page), "vCPU writes 64 pages: KVM's log shows %u",
		count(log_map));
	for (i = 0; i < WORDS; i++)
		log_map[i] |= news.dirty[i];
	ksft_ok(only(log_map, page), "vCPU writes 64 pages: together %u", count(log_map));
	for (i = 0; i < TOUCHED; i++)
		same = same && ((uint32_t *)(g.map + page[i] * PAGE))[1] == 9;
	ksft_ok(same, "vCPU writes 64 pages: they are in the file");

	g.map[7 * PAGE] = 7;
	r = kvm_vm_log(&vm, log_map) | harvest(0);
	ksft_ok(!r && in(news.dirty, 7) && count(news.dirty) == 1 && !count(log_map),
		"the VMM's own store: in the harvest, not in KVM's log");

	r = kvm_vm_touch(&vm.cpu[0], kvm_vm_read, page, TOUCHED, 0) | kvm_vm_log(&vm, log_map) |
	    harvest(0);
	same = vm.cpu[0].result[0] == 0x01010101;
	ksft_ok(!r && same && !count(log_map) && !count(news.dirty),
		"vCPU reads 64 pages: nobody reports them");

	r = kvm_vm_touch(&vm.cpu[0], kvm_vm_write, page, TOUCHED, 10) | kvm_vm_log(&vm, log_map);
	g.other[8 * PAGE] = 8;
	r |= harvest(DROVER_HARVEST_FINAL);
	ksft_ok(!r && only(log_map, page) && in(news.dirty, 8),
		"the guest stops: the final harvest");
	drain_lists();
	r = kvm_vm_log(&vm, log_map) | harvest(DROVER_HARVEST_FINAL);
	ksft_ok(!r && !count(log_map) && !count(news.dirty) && !count(news.pinned),
		"the guest stops: a second final harvest is empty: %u dirty, %u pinned, %u logged",
		count(news.dirty), count(news.pinned), count(log_map));
}

/*
 * A vCPU that reads a hole gets an entry it may write through, and what it writes then
 * nobody but KVM knows: the harvest must not be believed when it says "hole" of such a page.
 */
static void test_hole(void)
{
	const unsigned int page = 3000;
	int r;

	r = fallocate(g.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, page * PAGE, PAGE) |
	    kvm_vm_touch(&vm.cpu[0], kvm_vm_read, &page, 1, 0) |
	    kvm_vm_touch(&vm.cpu[0], kvm_vm_write, &page, 1, 13) |
	    kvm_vm_log(&vm, log_map) | harvest(0);
	ksft_note("the harvest says%s%s", in(news.hole, page) ? " hole" : "",
		  in(news.dirty, page) ? " dirty" : "");
	ksft_ok(!r && in(log_map, page) && ((uint32_t *)(g.map + page * PAGE))[1] == 13,
		"vCPU reads a hole, then writes to it: KVM's log shows it");
}

/* ---- the race ---- */

#define ALONE 1024u             /* first pages: the vCPU's alone; as many last ones: the writer's */

enum { MERGED, HARVESTED, LOGGED, SHADOWS };

static struct {
	atomic_bool stop;
	unsigned long long stores;
	uint8_t *shadow[SHADOWS];
} race;

static void *race_vcpu(void *arg)
{
	return (void *)(intptr_t)kvm_vm_go(arg);
}

static void *race_writer(void *arg)
{
	uint64_t s = 88172645463325252ull;

	while (!atomic_load_explicit(&race.stop, memory_order_relaxed)) {
		s ^= s << 13;
		s ^= s >> 7;
		s ^= s << 17;
		++*(uint64_t *)(g.map + (ALONE + s % (PAGES - ALONE)) * PAGE + 64);
		race.stores++;
	}
	return arg;
}

static int race_round(unsigned int flags)
{
	int r = kvm_vm_log(&vm, log_map) | harvest(flags);
	unsigned int i, k;

	for (i = 0; i < PAGES; i++) {
		const bool logged = in(log_map, i), harvested = in(news.dirty, i);
		const bool said[SHADOWS] = { logged || harvested, harvested, logged };

		for (k = 0; k < SHADOWS; k++)
			if (said[k])
				memcpy(race.shadow[k] + i * PAGE, g.other + i * PAGE, PAGE);
	}
	return r;
}

static void test_race(void)
{
	uint32_t *stop = vm.cpu[1].address;
	unsigned int i, k, rounds = 0, lost[SHADOWS] = { 0 };
	struct kvm_regs regs;
	pthread_t thread[2];
	void *ended;
	uint64_t t0;
	int r = 0;

	for (k = 0; k < SHADOWS; k++) {
		race.shadow[k] = malloc(PAGES * PAGE);
		if (!race.shadow[k])
			ksft_die("shadow");
	}
	kvm_vm_load(&vm.cpu[1], kvm_vm_race, (struct kvm_regs){
		.rax = 12345, .rbx = KVM_VM_DATA_GPA, .rdi = PAGES / 2, .rsi = vm.cpu[1].gpa });
	*stop = 0;
	r |= kvm_vm_log(&vm, log_map) | harvest(0);
	for (k = 0; k < SHADOWS; k++)
		memcpy(race.shadow[k], g.map, PAGES * PAGE);
	if (pthread_create(&thread[0], NULL, race_vcpu, &vm.cpu[1]) ||
	    pthread_create(&thread[1], NULL, race_writer, NULL))
		ksft_die("threads");
	for (t0 = ksft_ns(); ksft_ns() - t0 < 2000000000u; rounds++)
		r |= race_round(0);
	atomic_store(&race.stop, true);
	__atomic_store_n(stop, 1, __ATOMIC_RELAXED);
	pthread_join(thread[0], &ended);
	pthread_join(thread[1], NULL);
	r |= ioctl(vm.cpu[1].fd, KVM_GET_REGS, &regs) | (int)(intptr_t)ended;
	r |= race_round(DROVER_HARVEST_FINAL);
	for (k = 0; k < SHADOWS; k++)
		for (i = 0; i < PAGES; i++)
			lost[k] += memcmp(race.shadow[k] + i * PAGE, g.map + i * PAGE, PAGE) != 0;
	r |= kvm_vm_log(&vm, log_map) | harvest(DROVER_HARVEST_FINAL);
	ksft_note("vCPU: %llu additions, VMM: %llu, %u rounds", (unsigned long long)regs.rbp,
		  race.stores, rounds);
	ksft_ok(!r && rounds && regs.rbp > 1000 && race.stores > 1000 && !lost[MERGED] &&
		!count(log_map) && !count(news.dirty),
		"race: vCPU and VMM, harvest and log: %u pages lost", lost[MERGED]);
	if (!kvm_marks())
		ksft_ok(lost[HARVESTED] > 0, "race: the harvest alone loses %u pages",
			lost[HARVESTED]);
	ksft_ok(lost[LOGGED] > 0, "race: KVM's log alone loses %u pages", lost[LOGGED]);
	for (k = 0; k < SHADOWS; k++)
		free(race.shadow[k]);
}

/* ---- write protection ---- */

static void test_protect(const unsigned int *page)
{
	static const char name[] = "write-protected: the harvest alone shows 64 pages of a vCPU";
	struct drover_attach a = { .size = sizeof(a), .flags = DROVER_ATTACH_PROTECT, .fd = g.fd };
	int r;

	close(g.at);
	g.at = ioctl(g.dev, DROVER_IOC_ATTACH, &a);
	if (g.at < 0 || arm(g.at) || !kvm_vm_slot(&vm, 0))
		ksft_die("attach");
	warm_up(page);
	harvest(0);
	r = kvm_vm_touch(&vm.cpu[0], kvm_vm_write, page, TOUCHED, 11) | harvest(0);
	ksft_ok(!r && only(news.dirty, page), "%s: %u", name, count(news.dirty));
	r = kvm_vm_touch(&vm.cpu[0], kvm_vm_write, page, TOUCHED, 12) | harvest(0);
	ksft_ok(!r && only(news.dirty, page), "%s, and again: %u", name, count(news.dirty));
	g.map[9 * PAGE] = 9;
	r = harvest(DROVER_HARVEST_FINAL);
	ksft_ok(!r && in(news.dirty, 9), "write-protected: the VMM's own store");
	r = harvest(DROVER_HARVEST_FINAL);
	ksft_ok(!r && !count(news.dirty), "write-protected: a second final harvest is empty");
}

int main(void)
{
	unsigned int page[TOUCHED];

	g.dev = ksft_device();
	begin();
	kvm_vm_new(&vm, g.map, PAGES);
	fill_pages(page);
	warm_up(page);
	test_speed(page);
	test_blind(page);
	test_hole();
	test_race();
	test_protect(page);
	kvm_vm_free(&vm);
	end();
	return ksft_end();
}
