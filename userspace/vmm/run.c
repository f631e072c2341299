// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * vCPU threads: run, exit, park. The kick signal is blocked except inside KVM_RUN, so a
 * kick is never lost; an exit is completed (with immediate_exit) before a vCPU counts as
 * parked, so that its registers are whole when they are saved.
 */
#include "vmm/vmm.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/cleanup.h"
#include "base/thread.h"

#define TICK_NS 4000000ull              /* a heartbeat */
#define BACKLOG_NS 100000000ull         /* what a late vCPU makes up for */

void vm_wait(struct vm *vm, uint64_t deadline)
{
	struct timespec ts = {
		.tv_sec = (time_t)(deadline / 1000000000ull),
		.tv_nsec = (long)(deadline % 1000000000ull),
	};

	if (deadline)
		pthread_cond_timedwait(&vm->cond, &vm->lock, &ts);
	else
		pthread_cond_wait(&vm->cond, &vm->lock);
}

void vm_soft_wait(struct vm *vm)
{
	if (!vm->soft || vm->stop || vm->quit)
		return;
	vm->soft_parked++;
	pthread_cond_broadcast(&vm->cond);
	while (vm->soft && !vm->stop && !vm->quit)
		vm_wait(vm, 0);
	vm->soft_parked--;
	/* The sweep waits for everybody to be gone before it calls again. */
	pthread_cond_broadcast(&vm->cond);
}

/* Finish the instruction that exited, without entering the guest again. */
static void complete(struct vcpu *v)
{
	v->run->immediate_exit = 1;
	ioctl(v->fd, KVM_RUN, 0);
	v->run->immediate_exit = 0;
}

bool vm_park(struct vm *vm, struct vcpu *v)
{
	DROVER_LOCK(&vm->lock);

	if (vm->stop && !vm->quit && v) {
		pthread_mutex_unlock(&vm->lock);
		complete(v);
		pthread_mutex_lock(&vm->lock);
	}
	if (vm->stop && !vm->quit) {
		vm->parked++;
		pthread_cond_broadcast(&vm->cond);
		while (vm->stop && !vm->quit)
			vm_wait(vm, 0);
		vm->parked--;
		pthread_cond_broadcast(&vm->cond);
	}
	return !vm->quit;
}

void vm_stop(struct vm *vm)
{
	unsigned int i;
	DROVER_LOCK(&vm->lock);

	vm->stop = true;
	pthread_cond_broadcast(&vm->cond);
	for (i = 0; i < VCPUS; i++)
		pthread_kill(vm->vcpu[i].thread, SIGUSR1);
	while (vm->parked < vm_parkers(vm) || vm->checking)
		vm_wait(vm, 0);
}

void vm_go(struct vm *vm)
{
	DROVER_LOCK(&vm->lock);

	vm->stop = false;
	pthread_cond_broadcast(&vm->cond);
	/* Those that wake late must not be counted by the next stop. */
	while (vm->parked && !vm->quit)
		vm_wait(vm, 0);
}

void vm_quit(struct vm *vm)
{
	unsigned int i;
	DROVER_LOCK(&vm->lock);

	vm->quit = true;
	pthread_cond_broadcast(&vm->cond);
	for (i = 0; i < VCPUS && i < vm->threads; i++)
		pthread_kill(vm->vcpu[i].thread, SIGUSR1);
}

void vm_missing(struct vm *vm, bool missing)
{
	DROVER_LOCK(&vm->lock);

	if (vm->missing != missing)
		pthread_cond_broadcast(&vm->cond);
	vm->missing = missing;
}

/* How many pages before the next heartbeat; sleeps until it is due. */
static uint32_t pace(struct vcpu *v)
{
	struct vm *vm = v->vm;
	uint64_t now = now_ns(), rate, took, due;
	DROVER_LOCK(&vm->lock);

	if (!v->tick || now - v->tick > BACKLOG_NS)
		v->tick = now > TICK_NS ? now - TICK_NS : now;
	took = now - v->tick;
	due = v->tick + TICK_NS;
	if (took > TICK_NS && vm->throttle)
		due = now + took * vm->throttle / (100 - vm->throttle);
	while (!vm->stop && !vm->quit && now_ns() < due) {
		vm_soft_wait(vm);
		if (!vm->stop && !vm->quit)
			vm_wait(vm, due);
	}
	vm_soft_wait(vm);
	if (vm->stop || vm->quit)
		return 0;
	now = now_ns();
	rate = vm->dev.dirty / 4096 / VCPUS * (100 - vm->throttle) / 100;
	took = now - v->tick < BACKLOG_NS ? now - v->tick : BACKLOG_NS;
	v->tick = now;
	v->left += rate * took;
	took = v->left / 1000000000ull;
	v->left %= 1000000000ull;
	return (uint32_t)took;
}

static void payload_error(struct vcpu *v, uint32_t code)
{
	struct kvm_regs r = { 0 };

	ioctl(v->fd, KVM_GET_REGS, &r);
	if (code == PAYLOAD_E_PAGE) {
		check_fail(v->vm, "ram0", r.rsi, "vcpu %u found old content when it touched it",
			   v->index);
		return;
	}
	pthread_mutex_lock(&v->vm->lock);
	v->vm->v.registers++;
	pthread_mutex_unlock(&v->vm->lock);
	check_fail(v->vm, NULL, 0, "vcpu %u: a register changed: rip 0x%llx, %llu writes",
		   v->index, (unsigned long long)r.rip, (unsigned long long)r.r14);
}

static void port(struct vcpu *v)
{
	struct kvm_run *run = v->run;
	uint8_t *data = (uint8_t *)run + run->io.data_offset;
	uint32_t value = 0;

	if (run->io.direction == KVM_EXIT_IO_IN) {
		value = run->io.port == PORT_PACE ? pace(v) : ~0u;
		memcpy(data, &value, run->io.size <= 4 ? run->io.size : 4);
		return;
	}
	memcpy(&value, data, run->io.size <= 4 ? run->io.size : 4);
	if (run->io.port == PORT_HEART)
		check_beat(v, value);
	else if (run->io.port == PORT_BALLOON)
		balloon(v->vm, value);
	else if (run->io.port == PORT_ERROR)
		payload_error(v, value);
}

static const char *exit_name(uint32_t reason)
{
	static const char *const names[] = {
		[KVM_EXIT_UNKNOWN] = "unknown", [KVM_EXIT_EXCEPTION] = "exception",
		[KVM_EXIT_DEBUG] = "debug", [KVM_EXIT_HLT] = "hlt", [KVM_EXIT_MMIO] = "mmio",
		[KVM_EXIT_SHUTDOWN] = "shutdown, as after a triple fault",
		[KVM_EXIT_FAIL_ENTRY] = "failed entry",
		[KVM_EXIT_INTERNAL_ERROR] = "internal error",
		[KVM_EXIT_SYSTEM_EVENT] = "system event",
	};

	return reason < sizeof(names) / sizeof(names[0]) && names[reason] ? names[reason] : "-";
}

/* What KVM says of the exit that ends a vCPU, for the verdict. */
static void exit_text(const struct kvm_run *run, char *ret, size_t size)
{
	int n = snprintf(ret, size, "KVM exit %u (%s)", run->exit_reason,
			 exit_name(run->exit_reason));
	size_t left = size - (size_t)n;
	uint32_t i;

	ret += n;
	if (run->exit_reason == KVM_EXIT_INTERNAL_ERROR) {
		n = snprintf(ret, left, " %u", run->internal.suberror);
		for (i = 0; i < run->internal.ndata && i < 2 && (size_t)n < left; i++)
			n += snprintf(ret + n, left - (size_t)n, " 0x%llx",
				      (unsigned long long)run->internal.data[i]);
	} else if (run->exit_reason == KVM_EXIT_MMIO) {
		snprintf(ret, left, " at 0x%llx", (unsigned long long)run->mmio.phys_addr);
	} else if (run->exit_reason == KVM_EXIT_FAIL_ENTRY) {
		snprintf(ret, left, " 0x%llx", (unsigned long long)
			 run->fail_entry.hardware_entry_failure_reason);
	} else if (run->exit_reason == KVM_EXIT_UNKNOWN) {
		snprintf(ret, left, " 0x%llx", (unsigned long long)run->hw.hardware_exit_reason);
	}
}

/* It says so wherever it goes: a move would not make it live again. */
static void died(struct vcpu *v, const char *what)
{
	struct vm *vm = v->vm;
	struct kvm_sregs s = { 0 };
	struct kvm_regs r = { 0 };
	char text[sizeof(vm->dev.dead[0])];

	ioctl(v->fd, KVM_GET_REGS, &r);
	ioctl(v->fd, KVM_GET_SREGS, &s);
	snprintf(text, sizeof(text), "%s, rip 0x%llx, cr2 0x%llx", what,
		 (unsigned long long)r.rip, (unsigned long long)s.cr2);
	fprintf(stderr, "drover-vmm: vcpu %u died: %s, cr0 0x%llx, cr3 0x%llx, cr4 0x%llx, "
		"efer 0x%llx, %u heartbeats, %llu writes\n", v->index, text,
		(unsigned long long)s.cr0, (unsigned long long)s.cr3, (unsigned long long)s.cr4,
		(unsigned long long)s.efer, v->beats, (unsigned long long)r.r14);
	pthread_mutex_lock(&vm->lock);
	v->dead = true;
	memcpy(vm->dev.dead[v->index], text, sizeof(text));
	pthread_mutex_unlock(&vm->lock);
	check_fail(vm, NULL, 0, "vcpu %u died: %s", v->index, text);
}

static void step(struct vcpu *v)
{
	struct timespec none = { 0, 0 };
	char text[64];
	sigset_t kick;

	if (ioctl(v->fd, KVM_RUN, 0) < 0) {
		if (errno != EINTR && errno != EAGAIN) {
			snprintf(text, sizeof(text), "KVM_RUN: %s", strerror(errno));
			died(v, text);
		}
		sigemptyset(&kick);
		sigaddset(&kick, SIGUSR1);
		while (sigtimedwait(&kick, NULL, &none) > 0)
			;
		return;
	}
	if (v->run->exit_reason == KVM_EXIT_IO) {
		port(v);
	} else if (v->run->exit_reason == KVM_EXIT_DIRTY_RING_FULL) {
		log_collect(v->vm);
	} else if (v->run->exit_reason != KVM_EXIT_INTR) {
		exit_text(v->run, text, sizeof(text));
		died(v, text);
	}
}

static void *vcpu_thread(void *arg)
{
	struct vcpu *v = arg;
	struct vm *vm = v->vm;
	uint64_t blocked = ~(1ull << (SIGUSR1 - 1));
	union {
		struct kvm_signal_mask m;
		uint8_t room[sizeof(struct kvm_signal_mask) + 8];
	} mask = { .m.len = 8 };

	drover_thread_name("vcpu", (int)(v - vm->vcpu));
	memcpy(mask.room + sizeof(mask.m), &blocked, 8);
	ioctl(v->fd, KVM_SET_SIGNAL_MASK, &mask);
	while (vm_park(vm, v)) {
		if (!v->dead) {
			step(v);
			continue;
		}
		/* Nothing runs here any more, but whoever stops us must not wait in vain. */
		pthread_mutex_lock(&vm->lock);
		while (!vm->stop && !vm->quit) {
			vm_soft_wait(vm);
			if (!vm->stop && !vm->quit)
				vm_wait(vm, 0);
		}
		pthread_mutex_unlock(&vm->lock);
	}
	return NULL;
}

int vm_start_threads(struct vm *vm, struct drover_text *why)
{
	sigset_t block, old;
	int r = 0;

	sigfillset(&block);
	pthread_sigmask(SIG_BLOCK, &block, &old);
	while (!r && vm->threads < VCPUS + 2) {
		unsigned int i = vm->threads;

		if (i < VCPUS)
			r = pthread_create(&vm->vcpu[i].thread, NULL, vcpu_thread, &vm->vcpu[i]);
		else if (i == VCPUS)
			r = pthread_create(&vm->device, NULL, device_thread, vm);
		else
			r = pthread_create(&vm->checker, NULL, check_thread, vm);
		if (!r)
			vm->threads++;
	}
	if (!r)
		r = disk_start(vm);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return r ? vm_err(why, -r, "thread") : 0;
}
