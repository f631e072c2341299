// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The interface's ladder: every command with structures of every size, with unknown flags,
 * reserved members, pointers that lead nowhere, on descriptors of another kind.
 *
 * The sizes below are those of the first version, as numbers: they never change.
 */
#include <grp.h>
#include <stddef.h>
#include <sys/stat.h>

#include "kselftest.h"

#define PAGES 130u	/* no multiple of 64 */
#define FDS 64
#define AREA_PAGES 3

enum kind { DEV, ATTACH, LOADER, VM, FILE_ITSELF, KINDS };

static const char *const kind_name[] = {
	"/dev/drover", "an attach", "a loader", "a region", "a memfd"
};

/* Objects of one rung, each of them new. What is open besides is closed at its end. */
static struct bed {
	int fd[KINDS];
	uint8_t *map;
	bool before[FDS];
	uint64_t bits[3], bits2[3];
	struct drover_range range;
} b;

static uint64_t features;
static uint8_t *area;	/* two pages to be used, one that can't be; below 4 GiB */

static void fds(bool *open_now)
{
	int i;

	for (i = 0; i < FDS; i++)
		open_now[i] = fcntl(i, F_GETFD) >= 0;
}

static unsigned int fds_new(void)
{
	unsigned int n = 0;
	bool now[FDS];
	int i;

	fds(now);
	for (i = 0; i < FDS; i++)
		n += now[i] && !b.before[i];
	return n;
}

static int attach(int fd)
{
	struct drover_attach a = { .size = sizeof(a), .fd = fd };

	return ioctl(b.fd[DEV], DROVER_IOC_ATTACH, &a);
}

static int arm(void)
{
	struct drover_arm a = { .size = sizeof(a) };

	return ioctl(b.fd[ATTACH], DROVER_IOC_ARM, &a);
}

static int harvest(uint64_t *dirty)
{
	struct drover_harvest h = {
		.size = sizeof(h), .npages = PAGES, .dirty = (uintptr_t)dirty,
	};

	return ioctl(b.fd[ATTACH], DROVER_IOC_HARVEST, &h);
}

/* ---- what makes each of them succeed ---- */

static void fill_nothing(void *p)
{
	(void)p;
}

static void fill_attach(void *p)
{
	struct drover_attach *a = p;

	close(b.fd[ATTACH]);
	b.fd[ATTACH] = -1;
	a->fd = b.fd[FILE_ITSELF];
}

static void fill_harvest(void *p)
{
	struct drover_harvest *a = p;

	if (arm())
		ksft_die("ARM");
	b.map[3 * KSFT_PAGE] = 9;
	a->npages = PAGES;
	a->dirty = (uintptr_t)b.bits;
	a->hole = (uintptr_t)b.bits2;
}

static void fill_set_dirty(void *p)
{
	struct drover_set_dirty *a = p;

	if (arm())
		ksft_die("ARM");
	b.bits[0] = 1;
	a->npages = PAGES;
	a->bitmap = (uintptr_t)b.bits;
}

static void fill_region(void *p)
{
	struct drover_region *a = p;

	a->bytes = PAGES * KSFT_PAGE;
	snprintf(a->name, sizeof(a->name), "abi");
}

static void fill_adopt(void *p)
{
	struct drover_region r = { .size = sizeof(r), .bytes = PAGES * KSFT_PAGE };
	struct drover_adopt *a = p;

	if (ioctl(b.fd[DEV], DROVER_IOC_REGION, &r))
		ksft_die("REGION");
	close(r.loader_fd);
	a->id = r.id;
}

static void fill_publish(void *p)
{
	struct drover_publish *a = p;

	b.range = (struct drover_range){ .first = 5, .npages = 60 };
	a->ranges = (uintptr_t)&b.range;
	a->nranges = 1;
}

static void fill_received(void *p)
{
	struct drover_received *a = p;

	a->npages = PAGES;
	a->bitmap = (uintptr_t)b.bits;
}

/* ---- after outputs could not be written: nothing was done, or it was undone ---- */

static bool undone_attach(void)
{
	int r = attach(b.fd[FILE_ITSELF]);

	if (r >= 0)
		close(r);
	return r >= 0;
}

static bool undone_arm(void)
{
	return !arm();
}

/* Bits that have left the module must have arrived. */
static bool undone_harvest(void)
{
	return !harvest(b.bits) && b.bits[0] & 1u << 3;
}

static bool undone_region(void)
{
	struct drover_region r = { .size = sizeof(r) };

	fill_region(&r);
	return !ioctl(b.fd[DEV], DROVER_IOC_REGION, &r);
}

static bool undone_adopt(void)
{
	struct drover_adopt *a = (void *)area;
	struct drover_adopt again = { .size = sizeof(again), .id = a->id };

	return ioctl(b.fd[DEV], DROVER_IOC_ADOPT, &again) >= 0;
}

/* ---- the table ---- */

static const struct row {
	const char *name;
	unsigned int cmd;
	enum kind on;
	unsigned int size;		/* of the first version */
	unsigned int reserved;		/* offset; 0: none */
	unsigned int flags;		/* that are known */
	uint64_t feature;		/* the command exists with it */
	void (*fill)(void *arg);
	bool (*undone)(void);
} rows[] = {
	{ "CAPS", DROVER_IOC_CAPS, DEV, 32, 28, 0, 0, fill_nothing, NULL },
	{ "ATTACH", DROVER_IOC_ATTACH, DEV, 24, 12, DROVER_ATTACH_PROTECT, DROVER_CAP_ATTACH,
	  fill_attach, undone_attach },
	{ "ARM", DROVER_IOC_ARM, ATTACH, 16, 0, 0, DROVER_CAP_ATTACH, fill_nothing, undone_arm },
	{ "HARVEST", DROVER_IOC_HARVEST, ATTACH, 80, 0, DROVER_HARVEST_FINAL, DROVER_CAP_ATTACH,
	  fill_harvest, undone_harvest },
	{ "SET_DIRTY", DROVER_IOC_SET_DIRTY, ATTACH, 32, 0, 0, DROVER_CAP_ATTACH,
	  fill_set_dirty, NULL },
	{ "STAT", DROVER_IOC_STAT, ATTACH, 64, 0, 0, DROVER_CAP_ATTACH, fill_nothing, NULL },
	{ "REGION", DROVER_IOC_REGION, DEV, 72, 0, DROVER_REGION_GATED, DROVER_CAP_REGION,
	  fill_region, undone_region },
	{ "ADOPT", DROVER_IOC_ADOPT, DEV, 16, 0, DROVER_ADOPT_FD | DROVER_ADOPT_CHECK,
	  DROVER_CAP_REGION, fill_adopt, undone_adopt },
	{ "GATE", DROVER_IOC_GATE, LOADER, 8, 0, DROVER_GATE_CLOSED | DROVER_GATE_FRESH,
	  DROVER_CAP_REGION, fill_nothing, NULL },
	{ "PUBLISH", DROVER_IOC_PUBLISH, LOADER, 32, 20, DROVER_PUBLISH_ZERO, DROVER_CAP_REGION,
	  fill_publish, NULL },
	{ "RECEIVED", DROVER_IOC_RECEIVED, LOADER, 40, 0, 0, DROVER_CAP_REGION, fill_received,
	  NULL },
};

/* ---- one rung ---- */

static void begin(const struct row *r, uint8_t *arg)
{
	struct drover_region region = { .size = sizeof(region), .bytes = PAGES * KSFT_PAGE };

	memset(&b, 0, sizeof(b));
	memset(b.fd, -1, sizeof(b.fd));
	fds(b.before);
	b.fd[DEV] = ksft_device();
	b.fd[FILE_ITSELF] = ksft_memfd(PAGES);
	b.map = ksft_map(b.fd[FILE_ITSELF], PAGES);
	memset(b.map, 1, PAGES * KSFT_PAGE);
	b.fd[ATTACH] = attach(b.fd[FILE_ITSELF]);
	if (b.fd[ATTACH] < 0)
		ksft_die("ATTACH");
	if (features & DROVER_CAP_REGION) {
		if (ioctl(b.fd[DEV], DROVER_IOC_REGION, &region))
			ksft_die("REGION");
		b.fd[LOADER] = region.loader_fd;
		b.fd[VM] = region.vm_fd;
	}
	memset(area, 0, (AREA_PAGES - 1) * KSFT_PAGE);
	memcpy(arg, &r->size, sizeof(r->size));
	r->fill(arg);
}

static void end(void)
{
	bool now[FDS];
	int i;

	munmap(b.map, PAGES * KSFT_PAGE);
	fds(now);
	for (i = 0; i < FDS; i++)
		if (now[i] && !b.before[i])
			close(i);
}

static long call(const struct row *r, void *arg)
{
	return ioctl(b.fd[r->on], r->cmd, arg);
}

/* As a program of 32 bits would. */
static long call32(const struct row *r, uint8_t *arg)
{
	long ret;

	asm volatile("int $0x80"
		     : "=a"(ret)
		     : "a"(54l), "b"((long)b.fd[r->on]), "c"((long)r->cmd), "d"(arg)
		     : "memory", "cc", "r8", "r9", "r10", "r11");
	ret = (int)ret;
	if (ret < 0) {
		errno = (int)-ret;
		ret = -1;
	}
	return ret;
}

/* With @size said, and @tail in the byte before its end. */
static void rung_size(const struct row *r, uint32_t size, uint8_t tail, int want, const char *text)
{
	begin(r, area);
	memcpy(area, &size, sizeof(size));
	if (tail)
		area[size - 1] = tail;
	ksft_errno(call(r, area), want, "%s: size %u%s", r->name, size, text);
	end();
}

static void rungs_size(const struct row *r)
{
	rung_size(r, 0, 0, EINVAL, ": EINVAL");
	rung_size(r, 4, 0, EINVAL, ": EINVAL");
	rung_size(r, r->size - 1, 0, EINVAL, ", one too short: EINVAL");
	rung_size(r, r->size, 0, 0, ": welcome");
	rung_size(r, r->size + 1, 0, 0, ", longer by a zero: welcome");
	rung_size(r, r->size + 1, 1, E2BIG, ", longer by a one: E2BIG");
	rung_size(r, KSFT_PAGE, 0, 0, ", a page, all zero: welcome");
	rung_size(r, KSFT_PAGE, 1, E2BIG, ", a page, its last byte is one: E2BIG");
	rung_size(r, KSFT_PAGE + 8, 0, E2BIG, ", more than a page: E2BIG");
	rung_size(r, UINT32_MAX, 0, E2BIG, ": E2BIG");
}

/* Each bit of the word at @offset but those of @known: EINVAL, and nothing comes of it. */
static bool bits_refused(const struct row *r, unsigned int offset, unsigned int known)
{
	unsigned int bit, before, value, wrong = 0;

	begin(r, area);
	before = fds_new();
	for (bit = 0; bit < 32; bit++) {
		value = 1u << bit;
		if (known & value)
			continue;
		memcpy(area + offset, &value, sizeof(value));
		wrong += call(r, area) >= 0 || errno != EINVAL;
	}
	wrong += fds_new() != before;
	end();
	return !wrong;
}

static void rungs_flags(const struct row *r)
{
	unsigned int bit, flag;
	int want;

	for (bit = 0; bit < 32; bit++) {
		flag = 1u << bit;
		if (!(r->flags & flag))
			continue;
		want = r->cmd == DROVER_IOC_ATTACH && !(features & DROVER_CAP_PROTECT) ?
		       EOPNOTSUPP : 0;
		begin(r, area);
		memcpy(area + 4, &flag, sizeof(flag));
		if (r->cmd == DROVER_IOC_ADOPT && flag == DROVER_ADOPT_FD) {
			((struct drover_adopt *)(void *)area)->id = (uint64_t)b.fd[VM];
			want = EBUSY;
		}
		ksft_errno(call(r, area), want, "%s: flag %#x is known: %s", r->name, flag,
			   want == EBUSY ? "EBUSY, as that region has a loader" :
			   want ? "EOPNOTSUPP without its capability" : "welcome");
		end();
	}
	ksft_ok(bits_refused(r, 4, r->flags), "%s: each unknown flag: EINVAL", r->name);
	if (r->reserved)
		ksft_ok(bits_refused(r, r->reserved, 0), "%s: each reserved bit: EINVAL", r->name);
}

static void rungs_pointer(const struct row *r)
{
	uint8_t *edge = area + 2 * KSFT_PAGE - r->size;
	unsigned int before;
	uint32_t size = r->size + 1;

	begin(r, area);
	ksft_errno(call(r, NULL), EFAULT, "%s: NULL: EFAULT", r->name);
	ksft_errno(call(r, area + 2 * KSFT_PAGE), EFAULT, "%s: not mapped: EFAULT", r->name);
	ksft_errno(call(r, (void *)0xffff888000000000ul), EFAULT,
		   "%s: an address of the kernel: EFAULT", r->name);
	end();
	begin(r, edge);
	ksft_errno(call(r, edge), 0, "%s: its end is the end of memory: welcome", r->name);
	end();
	begin(r, edge);
	memcpy(edge, &size, sizeof(size));
	ksft_errno(call(r, edge), EFAULT, "%s: it ends beyond memory: EFAULT", r->name);
	end();
	begin(r, area);
	before = fds_new();
	if (mprotect(area, KSFT_PAGE, PROT_READ))
		ksft_die("mprotect");
	ksft_errno(call(r, area), EFAULT, "%s: memory that can't be written: EFAULT", r->name);
	ksft_ok(fds_new() == before, "%s: and no descriptor is left behind", r->name);
	if (r->undone)
		ksft_ok(r->undone(), "%s: and nothing was done, or it was undone", r->name);
	if (mprotect(area, KSFT_PAGE, PROT_READ | PROT_WRITE))
		ksft_die("mprotect");
	end();
}

static void rungs_number(const struct row *r)
{
	unsigned int kind;
	long ret;

	for (kind = 0; kind < KINDS; kind++) {
		begin(r, area);
		if (kind != r->on && b.fd[kind] >= 0)
			ksft_errno(ioctl(b.fd[kind], r->cmd, area), ENOTTY, "%s on %s: ENOTTY",
				   r->name, kind_name[kind]);
		end();
	}
	begin(r, area);
	ret = ioctl(b.fd[r->on], _IOC(_IOC_READ | _IOC_WRITE, DROVER_IOC_MAGIC, _IOC_NR(r->cmd),
				     _IOC_SIZE(r->cmd) + 8), area);
	ksft_errno(ret, 0, "%s: its number says another size: welcome", r->name);
	end();
	begin(r, area);
	ret = ioctl(b.fd[r->on], _IOC(_IOC_READ | _IOC_WRITE, DROVER_IOC_MAGIC - 1,
				     _IOC_NR(r->cmd), _IOC_SIZE(r->cmd)), area);
	ksft_errno(ret, ENOTTY, "%s: another magic: ENOTTY", r->name);
	end();
	begin(r, area);
	ksft_errno(call32(r, area), 0, "%s from a program of 32 bits: welcome", r->name);
	end();
}

/* Numbers no table has, on each kind of descriptor. */
static void test_unknown(void)
{
	unsigned int kind, nr, i;

	for (kind = 0; kind < KINDS; kind++) {
		unsigned int n = 0, wrong = 0;

		begin(&rows[0], area);
		for (nr = 0; nr < 256 && b.fd[kind] >= 0; nr++) {
			bool known = false;

			for (i = 0; i < KSFT_SIZE(rows); i++)
				known |= _IOC_NR(rows[i].cmd) == nr;
			if (known)
				continue;
			n++;
			wrong += ioctl(b.fd[kind], _IOWR(DROVER_IOC_MAGIC, nr, struct drover_caps),
				       area) >= 0 || errno != ENOTTY;
		}
		if (b.fd[kind] >= 0)
			ksft_ok(n && !wrong, "%s: each of %u unknown numbers: ENOTTY",
				kind_name[kind], n);
		end();
	}
}

/* ---- members: one of them is wrong ---- */

#define NOWHERE 1ull	/* stands for the page that can't be used */
#define IN_KERNEL 0xffff888000000000ull
#define AT(type, member) #member, offsetof(struct drover_##type, member), \
	sizeof(((struct drover_##type *)0)->member)

static const struct drover_range bad_ranges[][2] = {
	{ { 0, 1 }, { PAGES, 1 } },
	{ { 0, 1 }, { PAGES - 1, 2 } },
	{ { 0, 1 }, { 1, UINT64_MAX } },
	{ { 0, 1 }, { UINT64_MAX, 2 } },
};

static const struct wrong {
	unsigned int cmd;
	const char *member;
	size_t offset, size;
	uint64_t value;
	int want;
} wrongs[] = {
	{ DROVER_IOC_ATTACH, AT(attach, fd), UINT32_MAX, EBADF },
	{ DROVER_IOC_ATTACH, AT(attach, fd), 9999, EBADF },
	{ DROVER_IOC_HARVEST, AT(harvest, first), 1, EINVAL },
	{ DROVER_IOC_HARVEST, AT(harvest, first), 64, EINVAL },
	{ DROVER_IOC_HARVEST, AT(harvest, first), 192, EINVAL },
	{ DROVER_IOC_HARVEST, AT(harvest, first), 0ull - 64, EINVAL },
	{ DROVER_IOC_HARVEST, AT(harvest, npages), 0, EINVAL },
	{ DROVER_IOC_HARVEST, AT(harvest, npages), PAGES + 1, EINVAL },
	{ DROVER_IOC_HARVEST, AT(harvest, npages), UINT64_MAX, EINVAL },
	{ DROVER_IOC_HARVEST, AT(harvest, dirty), NOWHERE, EFAULT },
	{ DROVER_IOC_HARVEST, AT(harvest, dirty), IN_KERNEL, EFAULT },
	{ DROVER_IOC_SET_DIRTY, AT(set_dirty, first), 1, EINVAL },
	{ DROVER_IOC_SET_DIRTY, AT(set_dirty, first), 64, EINVAL },
	{ DROVER_IOC_SET_DIRTY, AT(set_dirty, first), 0ull - 64, EINVAL },
	{ DROVER_IOC_SET_DIRTY, AT(set_dirty, npages), 0, EINVAL },
	{ DROVER_IOC_SET_DIRTY, AT(set_dirty, npages), PAGES + 1, EINVAL },
	{ DROVER_IOC_SET_DIRTY, AT(set_dirty, npages), UINT64_MAX, EINVAL },
	{ DROVER_IOC_SET_DIRTY, AT(set_dirty, bitmap), NOWHERE, EFAULT },
	{ DROVER_IOC_SET_DIRTY, AT(set_dirty, bitmap), IN_KERNEL, EFAULT },
	{ DROVER_IOC_REGION, AT(region, bytes), 0, EINVAL },
	{ DROVER_IOC_REGION, AT(region, bytes), KSFT_PAGE + 1, EINVAL },
	{ DROVER_IOC_REGION, AT(region, bytes), 1ull << 62, EFBIG },
	{ DROVER_IOC_REGION, "name with a slash", offsetof(struct drover_region, name), 2,
	  '/' << 8 | 'a', EINVAL },
	{ DROVER_IOC_REGION, "name without an end", offsetof(struct drover_region, name), 0,
	  'a', EINVAL },
	{ DROVER_IOC_ADOPT, AT(adopt, id), UINT64_MAX, ENOENT },
	{ DROVER_IOC_PUBLISH, AT(publish, nranges), DROVER_RANGES_MAX + 1, EINVAL },
	{ DROVER_IOC_PUBLISH, AT(publish, ranges), NOWHERE, EFAULT },
	{ DROVER_IOC_PUBLISH, AT(publish, ranges), IN_KERNEL, EFAULT },
	{ DROVER_IOC_RECEIVED, AT(received, first), 1, EINVAL },
	{ DROVER_IOC_RECEIVED, AT(received, first), 64, EINVAL },
	{ DROVER_IOC_RECEIVED, AT(received, npages), UINT64_MAX, EINVAL },
	{ DROVER_IOC_RECEIVED, AT(received, bitmap), NOWHERE, EFAULT },
	{ DROVER_IOC_RECEIVED, AT(received, bitmap), IN_KERNEL, EFAULT },
};

static void test_members(const struct row *r)
{
	const struct wrong *w;
	uint64_t value;

	for (w = wrongs; w < wrongs + KSFT_SIZE(wrongs); w++) {
		if (w->cmd != r->cmd)
			continue;
		begin(r, area);
		value = w->value == NOWHERE && w->want == EFAULT ?
			(uintptr_t)(area + 2 * KSFT_PAGE) : w->value;
		if (w->size)
			memcpy(area + w->offset, &value, w->size);
		else
			memset(area + w->offset, (int)value, DROVER_NAME_LEN);
		ksft_errno(call(r, area), w->want, "%s: %s = %#llx: %s", r->name, w->member,
			   (unsigned long long)w->value, strerrorname_np(w->want));
		end();
	}
}

/* Nothing is published when one of the ranges is bad. */
static void test_ranges(const struct row *r)
{
	unsigned int i;

	for (i = 0; i < KSFT_SIZE(bad_ranges); i++) {
		struct drover_received rec = { .size = sizeof(rec), .npages = PAGES };
		struct drover_publish *a = (void *)area;

		begin(r, area);
		a->ranges = (uintptr_t)bad_ranges[i];
		a->nranges = 2;
		rec.bitmap = (uintptr_t)b.bits;
		ksft_errno(call(r, area), EINVAL, "PUBLISH: second range %#llx+%#llx: EINVAL",
			   (unsigned long long)bad_ranges[i][1].first,
			   (unsigned long long)bad_ranges[i][1].npages);
		ksft_ok(!ioctl(b.fd[LOADER], DROVER_IOC_RECEIVED, &rec) && !rec.count,
			"PUBLISH: and the first one was not published");
		end();
	}
}

static void test_caps(void)
{
	struct drover_caps c = { .size = sizeof(c) };
	struct stat st;
	int fd = ksft_device();

	ksft_errno(ioctl(fd, DROVER_IOC_CAPS, &c), 0, "CAPS");
	features = c.features;
	ksft_ok(c.version >= 1 && c.max_pages >= 1ull << 20 && c.size == sizeof(c) && !c.reserved,
		"CAPS: version %u, files of up to %llu pages", c.version,
		(unsigned long long)c.max_pages);
	ksft_ok(features & DROVER_CAP_ATTACH && features & DROVER_CAP_REGION,
		"CAPS: ATTACH and REGION are there");
	ksft_ok(!stat("/dev/drover", &st) && S_ISCHR(st.st_mode) && (st.st_mode & 07777) == 0600 &&
		!st.st_uid, "/dev/drover is a device of root's, mode 0600");
	close(fd);
}

static void test_unprivileged(void)
{
	pid_t pid = fork();
	int status;

	if (!pid) {
		if (setgroups(0, NULL) || setgid(65534) || setuid(65534))
			_exit(1);
		_exit(open("/dev/drover", O_RDWR) < 0 && errno == EACCES &&
		      open("/dev/drover", O_RDONLY) < 0 && errno == EACCES ? 0 : 2);
	}
	ksft_ok(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && !WEXITSTATUS(status),
		"without privilege /dev/drover can't be opened: EACCES");
}

int main(void)
{
	unsigned int i;

	area = mmap(NULL, AREA_PAGES * KSFT_PAGE, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	if (area == MAP_FAILED || mprotect(area + 2 * KSFT_PAGE, KSFT_PAGE, PROT_NONE))
		ksft_die("mmap");
	test_caps();
	test_unprivileged();
	for (i = 0; i < KSFT_SIZE(rows); i++) {
		if ((features & rows[i].feature) != rows[i].feature)
			continue;
		rungs_size(&rows[i]);
		rungs_flags(&rows[i]);
		rungs_pointer(&rows[i]);
		rungs_number(&rows[i]);
		test_members(&rows[i]);
		if (rows[i].cmd == DROVER_IOC_PUBLISH)
			test_ranges(&rows[i]);
	}
	test_unknown();
	return ksft_end();
}
