// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A KVM machine: guest RAM in sealed memfds or a region of the module, two vCPUs, no devices but ports. vm_free()
 * accepts what a failed vm_new() left. Everything hangs off struct vm; main.c owns it.
 */
#include "vmm/vmm.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/drover.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/bitmap.h"
#include "base/cleanup.h"

#define CPUID_MAX 256u
#define MSRS_MAX 1024u

uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}

/* @r is a negative errno, whose meaning is appended. */
int vm_err(struct drover_text *why, int r, const char *fmt, ...)
{
	va_list ap;
	size_t n;

	va_start(ap, fmt);
	vsnprintf(why->text, sizeof(why->text), fmt, ap);
	va_end(ap);
	n = strlen(why->text);
	snprintf(why->text + n, sizeof(why->text) - n, ": %s", strerror(-r));
	return r;
}

static int slot_file(const char *dir, const char *name, uint64_t len)
{
	struct stat st;
	char path[256];
	int fd;

	if (!dir) {
		fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
		return fd < 0 || ftruncate(fd, (off_t)len) < 0 ||
		       fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0 ?
		       -errno : fd;
	}
	if (snprintf(path, sizeof(path), "%s/%s", dir, name) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	/* Another size is another guest's, and must not be cut short under it. */
	if (st.st_size && (uint64_t)st.st_size != len)
		return -EEXIST;
	return ftruncate(fd, (off_t)len) < 0 ? -errno : fd;
}

/*
 * One region for all RAM, its gate open. Who wants to load it later becomes its loader by
 * the number in `droverctl monitor`: a loader descriptor here would be in the way.
 */
static int region_new(struct vm *vm, uint64_t len, int *ret, struct drover_text *why)
{
	struct drover_region r = { .size = sizeof(r), .bytes = len };
	_cleanup_close_ int dev = -EBADF;
	size_t n = strlen(vm->opts.region);
	int err;

	if (n >= sizeof(r.name))
		return vm_err(why, -ENAMETOOLONG, "region %s", vm->opts.region);
	memcpy(r.name, vm->opts.region, n);
	err = drover_kmod_open(&dev, why);
	if (err >= 0)
		err = drover_kmod_region(dev, &r, why);
	if (err < 0)
		return err;
	close(r.loader_fd);
	*ret = r.vm_fd;
	return 0;
}

/* In @region, if not -1, from @off on; else in a file of its own. */
static int slot_new(struct vm *vm, struct slot *s, const char *name, int region, uint64_t off,
		    struct drover_text *why)
{
	uint64_t len = s->len;

	s->name = name;
	s->gpa = off;
	s->off = region < 0 ? 0 : off;
	s->fd = region < 0 ? slot_file(vm->opts.share, name, len) :
			     fcntl(region, F_DUPFD_CLOEXEC, 0);
	if (s->fd < 0)
		return vm_err(why, region < 0 ? s->fd : -errno, "RAM %s", name);
	s->host = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, s->fd,
		       (off_t)s->off);
	if (s->host == MAP_FAILED) {
		s->host = NULL;
		return vm_err(why, -errno, "RAM %s: mmap", name);
	}
	s->log = drover_bitmap_new(len / 4096);
	return s->log ? 0 : vm_err(why, -ENOMEM, "RAM %s: dirty log", name);
}

/* ram0 from address 0, and the device's block behind it. */
static int ram_new(struct vm *vm, struct drover_text *why)
{
	_cleanup_close_ int region = -EBADF;
	uint64_t all = 0;
	unsigned int i;
	int r = 0;

	vm->slot[0].len = vm->opts.mem;
	vm->slot[1].len = DEVICE_PAGES * 4096ull;
	vm->slot[SLOT_DISK].len = DISK_BUFFERS * DISK_PAGES * 4096ull;
	vm->slots = *vm->opts.disk.path ? SLOTS_MAX : SLOT_DISK;
	for (i = 0; i < vm->slots; i++)
		all += vm->slot[i].len;
	if (vm->opts.region)
		r = region_new(vm, all, &region, why);
	if (r >= 0)
		r = slot_new(vm, &vm->slot[0], "ram0", region, 0, why);
	if (r >= 0)
		r = slot_new(vm, &vm->slot[1], "device", region, vm->slot[0].len, why);
	if (r >= 0 && vm->slots > SLOT_DISK)
		r = slot_new(vm, &vm->slot[SLOT_DISK], "disk", region,
			     vm->slot[0].len + vm->slot[1].len, why);
	return r;
}

int vm_set_slots(struct vm *vm, uint32_t flags)
{
	unsigned int i;

	for (i = 0; i < vm->slots; i++) {
		struct kvm_userspace_memory_region r = {
			.slot = i, .flags = flags, .guest_phys_addr = vm->slot[i].gpa,
			.memory_size = vm->slot[i].len,
			.userspace_addr = (uintptr_t)vm->slot[i].host,
		};

		if (ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION, &r) < 0)
			return -errno;
	}
	return 0;
}

static int set_cpuid(struct vm *vm, struct vcpu *v, struct drover_text *why)
{
	_cleanup_free_ struct kvm_cpuid2 *c = calloc(1, sizeof(*c) +
						     CPUID_MAX * sizeof(c->entries[0]));

	if (!c)
		return vm_err(why, -ENOMEM, "cpuid");
	c->nent = CPUID_MAX;
	if (ioctl(vm->kvm_fd, KVM_GET_SUPPORTED_CPUID, c) < 0 ||
	    ioctl(v->fd, KVM_SET_CPUID2, c) < 0)
		return vm_err(why, -errno, "vcpu %u: cpuid", v->index);
	return 0;
}

static int vcpu_new(struct vm *vm, struct vcpu *v, unsigned int index, struct drover_text *why)
{
	int len = ioctl(vm->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	void *p;

	v->vm = vm;
	v->index = index;
	v->fd = ioctl(vm->fd, KVM_CREATE_VCPU, index);
	if (v->fd < 0 || len < (int)sizeof(*v->run))
		return vm_err(why, -EOPNOTSUPP, "/dev/kvm: create vcpu %u: %s", index,
			      strerror(errno));
	p = mmap(NULL, (size_t)len, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd, 0);
	if (p == MAP_FAILED)
		return vm_err(why, -errno, "vcpu %u: mmap", index);
	v->run = p;
	if (vm->opts.ring) {
		p = mmap(NULL, vm->opts.ring, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd,
			 KVM_DIRTY_LOG_PAGE_OFFSET * 4096);
		if (p == MAP_FAILED)
			return vm_err(why, -errno, "vcpu %u: dirty ring", index);
		v->ring = p;
	}
	return set_cpuid(vm, v, why);
}

/* The MSRs that this host lets be read and written back: those travel. */
static int probe_msrs(struct vm *vm, struct drover_text *why)
{
	_cleanup_free_ struct kvm_msr_list *list = calloc(1, sizeof(*list) + MSRS_MAX * sizeof(list->indices[0]));
	union {
		struct kvm_msrs m;
		uint8_t room[sizeof(struct kvm_msrs) + sizeof(struct kvm_msr_entry)];
	} one;
	unsigned int i;

	vm->msrs = calloc(1, sizeof(*vm->msrs) + MSRS_MAX * sizeof(vm->msrs->entries[0]));
	if (!list || !vm->msrs)
		return vm_err(why, -ENOMEM, "msrs");
	list->nmsrs = MSRS_MAX;
	if (ioctl(vm->kvm_fd, KVM_GET_MSR_INDEX_LIST, list) < 0)
		return vm_err(why, -errno, "msr list");
	for (i = 0; i < list->nmsrs; i++) {
		memset(&one, 0, sizeof(one));
		one.m.nmsrs = 1;
		one.m.entries[0].index = list->indices[i];
		if (ioctl(vm->vcpu[0].fd, KVM_GET_MSRS, &one) == 1 &&
		    ioctl(vm->vcpu[0].fd, KVM_SET_MSRS, &one) == 1)
			vm->msrs->entries[vm->msrs->nmsrs++] = one.m.entries[0];
	}
	return 0;
}

static int open_kvm(struct vm *vm, struct drover_text *why)
{
	vm->kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (vm->kvm_fd < 0)
		return vm_err(why, -EOPNOTSUPP, "/dev/kvm: %s", strerror(errno));
	if (ioctl(vm->kvm_fd, KVM_GET_API_VERSION, 0) != KVM_API_VERSION ||
	    ioctl(vm->kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_IMMEDIATE_EXIT) <= 0)
		return vm_err(why, -EOPNOTSUPP, "/dev/kvm: KVM is too old");
	vm->fd = ioctl(vm->kvm_fd, KVM_CREATE_VM, 0);
	if (vm->fd < 0)
		return vm_err(why, -EOPNOTSUPP, "/dev/kvm: create VM: %s", strerror(errno));
	return 0;
}

static int enable_ring(struct vm *vm, struct drover_text *why)
{
	struct kvm_enable_cap cap = { .cap = KVM_CAP_DIRTY_LOG_RING, .args = { vm->opts.ring } };

	if (vm->opts.ring && ioctl(vm->fd, KVM_ENABLE_CAP, &cap) < 0)
		return vm_err(why, -errno, "dirty ring of %llu bytes",
			      (unsigned long long)vm->opts.ring);
	return 0;
}

static void init(struct vm *vm, const struct vmm_opts *opts)
{
	pthread_condattr_t attr;
	unsigned int i;

	memset(vm, 0, sizeof(*vm));
	vm->opts = *opts;
	vm->kvm_fd = vm->fd = vm->notify_fd = vm->disk_fd = -EBADF;
	for (i = 0; i < SLOTS_MAX; i++)
		vm->slot[i].fd = -EBADF;
	for (i = 0; i < VCPUS; i++)
		vm->vcpu[i].fd = -EBADF;
	vm->stop = true;
	vm->dev.mem = opts->mem;
	vm->dev.seed = opts->seed;
	vm->dev.dirty = opts->dirty;
	vm->dev.balloon = opts->balloon;
	vm->dev.rng = opts->seed * MIX_2 | 1;
	pthread_mutex_init(&vm->lock, NULL);
	pthread_mutex_init(&vm->log_lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&vm->cond, &attr);
	pthread_condattr_destroy(&attr);
}

int vm_new(struct vm *vm, const struct vmm_opts *opts, struct drover_text *why)
{
	unsigned int i;
	int r;

	init(vm, opts);
	r = open_kvm(vm, why);
	if (r >= 0)
		r = enable_ring(vm, why);
	if (r >= 0)
		r = ram_new(vm, why);
	if (r < 0)
		return r;
	r = vm_set_slots(vm, 0);
	if (r < 0)
		return vm_err(why, r, "memory slots");
	for (i = 0; i < VCPUS && r >= 0; i++)
		r = vcpu_new(vm, &vm->vcpu[i], i, why);
	if (r >= 0)
		r = probe_msrs(vm, why);
	if (r >= 0)
		r = disk_open(vm, why);
	if (r >= 0 && !opts->incoming) {
		guest_fill(vm);
		for (i = 0; i < VCPUS && r >= 0; i++)
			r = guest_boot(vm, &vm->vcpu[i], why);
	}
	vm->notify_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (r >= 0 && vm->notify_fd < 0)
		return vm_err(why, -errno, "eventfd");
	if (r >= 0 && opts->heartbeat) {
		vm->heartbeat = fopen(opts->heartbeat, "ae");
		if (!vm->heartbeat)
			return vm_err(why, -errno, "%s", opts->heartbeat);
	}
	return r < 0 ? r : vm_start_threads(vm, why);
}

void vm_free(struct vm *vm)
{
	unsigned int i;

	vm_quit(vm);
	for (i = 0; i < VCPUS && i < vm->threads; i++)
		pthread_join(vm->vcpu[i].thread, NULL);
	if (vm->threads > VCPUS)
		pthread_join(vm->device, NULL);
	if (vm->threads > VCPUS + 1)
		pthread_join(vm->checker, NULL);
	disk_join(vm);
	/* vCPU mappings and memory go with the process. */
	for (i = 0; i < VCPUS; i++)
		drover_closep(&vm->vcpu[i].fd);
	drover_closep(&vm->fd);
	drover_closep(&vm->kvm_fd);
	drover_closep(&vm->notify_fd);
	for (i = 0; i < SLOTS_MAX; i++) {
		drover_closep(&vm->slot[i].fd);
		free(vm->slot[i].log);
	}
	free(vm->msrs);
	if (vm->heartbeat)
		fclose(vm->heartbeat);
}
