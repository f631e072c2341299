/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_DEV_UFFD_H
#define DROVER_DEV_UFFD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/kernel-compat.h"

struct drover_error;

/*
 * What a VMM's userfaultfd is created with: everything tracking and shared-memory
 * faults use. Never the EVENT_ features: with them madvise() and munmap() of the VMM
 * wait until somebody has read the event, and nobody reads while drover only tracks.
 */
#define DROVER_UFFD_FEATURES                                                     \
	((uint64_t)UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_MISSING_SHMEM |  \
	 UFFD_FEATURE_MINOR_SHMEM | UFFD_FEATURE_EXACT_ADDRESS |                  \
	 UFFD_FEATURE_THREAD_ID | UFFD_FEATURE_WP_HUGETLBFS_SHMEM |               \
	 UFFD_FEATURE_WP_UNPOPULATED | UFFD_FEATURE_WP_ASYNC)

/**
 * drover_uffd_new() - a userfaultfd for this process's own memory
 * @want: features; those the kernel lacks are left out
 * @ret_fd: close-on-exec, non-blocking; the caller's
 * @ret_features: what it was created with; may be NULL
 *
 * Return: 0, -EPERM (no privilege and no access to /dev/userfaultfd), or another
 * negative errno.
 */
int drover_uffd_new(uint64_t want, int *ret_fd, uint64_t *ret_features, struct drover_error *e);

/* All features of the running kernel; 0 when userfaultfd cannot be used at all. */
uint64_t drover_uffd_kernel_features(void);

/*
 * Register, unregister and write-protect [start, start+len) of the address space @fd
 * was created in, which may be another process's. Addresses and lengths are page
 * aligned. Return: 0 or the ioctl's negative errno (-EBUSY: another userfaultfd has it;
 * -ENOMEM from register or -ESRCH: the process has gone).
 */
int drover_uffd_register(int fd, uint64_t start, uint64_t len, uint64_t mode);
int drover_uffd_unregister(int fd, uint64_t start, uint64_t len);
int drover_uffd_writeprotect(int fd, uint64_t start, uint64_t len, bool protect);

/**
 * drover_uffd_continue() - map what the file holds there, and wake who waits for it
 * @ret_done: bytes from @start on that are mapped now; also on failure
 *
 * Return: 0 all of it; -EAGAIN go on behind @ret_done, or once more if that is 0; -EEXIST
 * the page behind @ret_done was mapped already, nobody was woken; -EFAULT the file has a
 * hole there; -ENOENT it is not registered or mapped any more; -ESRCH the process has gone.
 */
int drover_uffd_continue(int fd, uint64_t start, uint64_t len, uint64_t *ret_done);
/* A page of zeros into a hole of the file, mapped and woken. -EEXIST: it is no hole. */
int drover_uffd_zeropage(int fd, uint64_t page_addr);
/* Whoever waits there touches it again; what is missing is told again. */
int drover_uffd_wake(int fd, uint64_t start, uint64_t len);

#endif
