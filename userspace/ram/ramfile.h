/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_RAM_RAMFILE_H
#define DROVER_RAM_RAMFILE_H

#include <stdbool.h>
#include <stdint.h>

/*
 * The file that guest RAM is made of: a memfd or a file of a tmpfs, or a region of the
 * kernel module, which by its name is a device.
 */

struct drover_error;

enum drover_ramfile_kind {
	DROVER_RAMFILE_SHMEM,           /* memfd, tmpfs */
	DROVER_RAMFILE_DEVICE,          /* a region of the module */
	DROVER_RAMFILE_DISK,            /* a file of a real file system */
	DROVER_RAMFILE_HUGETLB,
	DROVER_RAMFILE_SECRET,          /* memfd_secret(2) */
	DROVER_RAMFILE_GUEST_MEMFD,     /* of KVM: private memory of confidential guests */
	DROVER_RAMFILE_OTHER,           /* dma-buf, pipe, ... */
};

enum drover_ramfile_kind drover_ramfile_kind(int fd);

/**
 * drover_ramfile_check() - can this file be guest RAM?
 * @name: of the block
 * @dest: of a destination, which is written: userfaultfd takes no file of a real file system
 *
 * Return: 0, or -EOPNOTSUPP with the block, what its file is, and the remedy.
 */
int drover_ramfile_check(int fd, const char *name, bool dest, struct drover_error *e);

/** drover_ramfile_size() - in bytes. -EINVAL: nothing that can be guest RAM */
int drover_ramfile_size(int fd, uint64_t *ret);

/** drover_ramfile_same() - are both the same file? */
bool drover_ramfile_same(int a, int b);

/**
 * drover_ramfile_punch() - give memory back; it reads as zero then
 * @host: a shared mapping of these bytes, writable
 */
int drover_ramfile_punch(int fd, uint64_t off, uint64_t len, void *host);

#endif
