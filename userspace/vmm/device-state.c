// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Device state: a header, then sections {name, version, length}, each exactly once. All
 * of it is checked before anything is applied. vCPU sections are KVM's own structs, one
 * row each in the order in which they may be set (sregs before what depends on modes).
 */
#include "vmm/vmm.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/cleanup.h"

#define STATE_MAGIC 0x3174617473766d64ull       /* "dmvstat1" */
#define STATE_MAX 131072u
#define SECTION_VERSION 1u

struct header {
	uint64_t magic;
	uint32_t sections, reserved;
};

struct section {
	char name[24];
	uint32_t version, len;
};

enum { S_SREGS, S_MSRS, S_XCRS, S_XSAVE, S_EVENTS, S_MP_STATE, S_DEBUGREGS, S_REGS, S_VCPU };
enum { S_DEVICE = VCPUS * S_VCPU, S_CLOCK, S_COUNT };

/* @get 0: MSRs, whose number is the host's */
static const struct {
	const char *name;
	uint32_t len;
	unsigned long get, set;
} vcpu_section[S_VCPU] = {
	[S_SREGS] = { "sregs", sizeof(struct kvm_sregs), KVM_GET_SREGS, KVM_SET_SREGS },
	[S_MSRS] = { "msrs", 0, 0, 0 },
	[S_XCRS] = { "xcrs", sizeof(struct kvm_xcrs), KVM_GET_XCRS, KVM_SET_XCRS },
	[S_XSAVE] = { "xsave", sizeof(struct kvm_xsave), KVM_GET_XSAVE, KVM_SET_XSAVE },
	[S_EVENTS] = { "events", sizeof(struct kvm_vcpu_events), KVM_GET_VCPU_EVENTS,
		       KVM_SET_VCPU_EVENTS },
	[S_MP_STATE] = { "mp-state", sizeof(struct kvm_mp_state), KVM_GET_MP_STATE,
			 KVM_SET_MP_STATE },
	[S_DEBUGREGS] = { "debugregs", sizeof(struct kvm_debugregs), KVM_GET_DEBUGREGS,
			  KVM_SET_DEBUGREGS },
	[S_REGS] = { "regs", sizeof(struct kvm_regs), KVM_GET_REGS, KVM_SET_REGS },
};

/* Sections begin at multiples of 8; what fills the gap is zero and not looked at. */
static size_t padded(uint32_t len)
{
	return ((size_t)len + 7) & ~(size_t)7;
}

static uint32_t msrs_len(const struct vm *vm)
{
	return (uint32_t)(sizeof(*vm->msrs) + vm->msrs->nmsrs * sizeof(vm->msrs->entries[0]));
}

/* Name and length of section @i on this host. */
static void describe(const struct vm *vm, unsigned int i, struct section *ret)
{
	memset(ret, 0, sizeof(*ret));
	ret->version = SECTION_VERSION;
	if (i < S_DEVICE) {
		snprintf(ret->name, sizeof(ret->name), "vcpu%u/%s", i / S_VCPU,
			 vcpu_section[i % S_VCPU].name);
		ret->len = i % S_VCPU == S_MSRS ? msrs_len(vm) : vcpu_section[i % S_VCPU].len;
	} else {
		strcpy(ret->name, i == S_DEVICE ? "device" : "clock");
		ret->len = i == S_DEVICE ? sizeof(vm->dev) : sizeof(struct kvm_clock_data);
	}
}

static int get(struct vm *vm, unsigned int i, void *data)
{
	int fd;

	if (i == S_CLOCK)
		return ioctl(vm->fd, KVM_GET_CLOCK, data);
	if (i == S_DEVICE) {
		memcpy(data, &vm->dev, sizeof(vm->dev));
		return 0;
	}
	fd = vm->vcpu[i / S_VCPU].fd;
	if (i % S_VCPU != S_MSRS)
		return ioctl(fd, vcpu_section[i % S_VCPU].get, data);
	memcpy(data, vm->msrs, msrs_len(vm));
	return ioctl(fd, KVM_GET_MSRS, data) == (int)vm->msrs->nmsrs ? 0 : -1;
}

static int set(struct vm *vm, unsigned int i, void *data)
{
	struct kvm_msrs *m = data;
	int fd;

	if (i == S_CLOCK) {
		((struct kvm_clock_data *)data)->flags = 0;
		return ioctl(vm->fd, KVM_SET_CLOCK, data);
	}
	if (i == S_DEVICE) {
		memcpy(&vm->dev, data, sizeof(vm->dev));
		return 0;
	}
	fd = vm->vcpu[i / S_VCPU].fd;
	if (i % S_VCPU != S_MSRS)
		return ioctl(fd, vcpu_section[i % S_VCPU].set, data);
	return ioctl(fd, KVM_SET_MSRS, m) == (int)m->nmsrs ? 0 : -1;
}

int state_save(void *opaque, int fd, struct drover_text *why)
{
	struct vm *vm = opaque;
	_cleanup_free_ uint8_t *buf = calloc(1, STATE_MAX);
	struct header h = { STATE_MAGIC, S_COUNT, 0 };
	size_t at = sizeof(h);
	struct section s;
	unsigned int i;

	if (!buf)
		return vm_err(why, -ENOMEM, "save");
	memcpy(buf, &h, sizeof(h));
	for (i = 0; i < S_COUNT; i++) {
		describe(vm, i, &s);
		if (at + sizeof(s) + padded(s.len) > STATE_MAX)
			return vm_err(why, -E2BIG, "save %s", s.name);
		memcpy(buf + at, &s, sizeof(s));
		if (get(vm, i, buf + at + sizeof(s)) < 0)
			return vm_err(why, -errno, "save %s", s.name);
		at += sizeof(s) + padded(s.len);
	}
	if (write(fd, buf, at) != (ssize_t)at)
		return vm_err(why, -EIO, "save: write");
	return 0;
}

/* It becomes part of a verdict, which is JSON. */
static bool text_ok(const char *s, size_t size)
{
	for (; size && *s; s++, size--)
		if (*s < ' ' || *s > '~' || *s == '"' || *s == '\\')
			return false;
	return size;
}

static int check_device(const struct vm *vm, const struct device_state *d,
			struct drover_text *why)
{
	unsigned int i;

	if (d->mem != vm->slot[0].len)
		return vm_err(why, -EINVAL, "load device: the source has %llu bytes of RAM, this "
			      "VMM %llu", (unsigned long long)d->mem,
			      (unsigned long long)vm->slot[0].len);
	if (d->dirty > 1ull << 40 || d->balloon > 1)
		return vm_err(why, -EINVAL, "load device: dirty or balloon");
	if (d->disk.pieces != vm->dev.disk.pieces)
		return vm_err(why, -EINVAL, "load device: the source's disk has %llu pieces, this "
			      "VMM's %llu", (unsigned long long)d->disk.pieces,
			      (unsigned long long)vm->dev.disk.pieces);
	for (i = 0; i < DISK_BUFFERS; i++)
		if (d->disk.held[i] >= DISK_PIECES_MAX)
			return vm_err(why, -EINVAL, "load device: disk buffer %u", i);
	for (i = 0; i < VCPUS; i++)
		if (!text_ok(d->dead[i], sizeof(d->dead[i])))
			return vm_err(why, -EINVAL, "load device: what vcpu %u died of is no "
				      "text", i);
	return 0;
}

static int check_msrs(const struct vm *vm, const struct kvm_msrs *m, struct drover_text *why)
{
	unsigned int i;

	if (m->nmsrs != vm->msrs->nmsrs)
		return vm_err(why, -EINVAL, "load msrs: %u, this host has %u", m->nmsrs,
			      vm->msrs->nmsrs);
	for (i = 0; i < m->nmsrs; i++)
		if (m->entries[i].index != vm->msrs->entries[i].index)
			return vm_err(why, -EINVAL, "load msrs: 0x%x is not this host's",
				      m->entries[i].index);
	return 0;
}

/* Where each section begins; refuses unknown, repeated, cut and missing ones. */
static int index_sections(const struct vm *vm, const uint8_t *buf, size_t len, size_t *ret,
			  struct drover_text *why)
{
	const struct header *h = (const struct header *)buf;
	size_t at = sizeof(*h);
	struct section s, want;
	unsigned int i, n;

	if (len < sizeof(*h) || h->magic != STATE_MAGIC || h->sections != S_COUNT || h->reserved)
		return vm_err(why, -EINVAL, "load: not a state of this VMM");
	for (n = 0; n < S_COUNT; n++) {
		if (sizeof(s) > len - at)
			return vm_err(why, -EINVAL, "load: cut after %u sections", n);
		memcpy(&s, buf + at, sizeof(s));
		s.name[sizeof(s.name) - 1] = '\0';
		for (i = 0; i < S_COUNT; i++) {
			describe(vm, i, &want);
			if (!strcmp(s.name, want.name))
				break;
		}
		if (i == S_COUNT || ret[i])
			return vm_err(why, -EINVAL, "load: section '%s' unknown or twice", s.name);
		if (s.version != want.version || s.len != want.len)
			return vm_err(why, -EINVAL, "load %s: version %u of %u bytes, expected %u "
				      "of %u", s.name, s.version, s.len, want.version, want.len);
		at += sizeof(s);
		if (padded(s.len) > len - at)
			return vm_err(why, -EINVAL, "load %s: cut", s.name);
		ret[i] = at;
		at += padded(s.len);
	}
	return at == len ? 0 : vm_err(why, -EINVAL, "load: %zu bytes too many", len - at);
}

int state_load(void *opaque, int fd, uint64_t len, struct drover_text *why)
{
	struct vm *vm = opaque;
	_cleanup_free_ uint8_t *buf = calloc(1, STATE_MAX);
	size_t at[S_COUNT] = { 0 };
	struct section s;
	unsigned int i;
	int r;

	if (!buf)
		return vm_err(why, -ENOMEM, "load");
	if (len > STATE_MAX || pread(fd, buf, len, 0) != (ssize_t)len)
		return vm_err(why, -EINVAL, "load: %llu bytes", (unsigned long long)len);
	r = index_sections(vm, buf, len, at, why);
	if (r >= 0)
		r = check_device(vm, (void *)(buf + at[S_DEVICE]), why);
	for (i = 0; i < VCPUS && r >= 0; i++)
		r = check_msrs(vm, (void *)(buf + at[i * S_VCPU + S_MSRS]), why);
	for (i = 0; i < S_COUNT && r >= 0; i++) {
		describe(vm, i, &s);
		if (set(vm, i, buf + at[i]) < 0)
			r = vm_err(why, -errno, "load %s", s.name);
	}
	if (r >= 0)
		check_begin(vm);
	return r;
}
