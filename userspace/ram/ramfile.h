/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_RAM_RAMFILE_H
#define DROVER_RAM_RAMFILE_H

#include <stdbool.h>
#include <stdint.h>

/*
 * The file that guest RAM is made of: a memfd or a file of a tmpfs, or a region of the
 * kernel module, which by its name is a device.
 */

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
