/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DROVER_RAM_BUS_H
#define DROVER_RAM_BUS_H

#include <stdbool.h>
#include <stdint.h>

#include "ram/ram.h"

struct drover_error;

/*
 * Guest RAM that can't be touched: its tmpfs is full, the VMM has shortened the file, a page of
 * memory is broken. The kernel says so by SIGBUS at the load or store that finds it, of
 * whatever thread. A process that maps guest RAM installs a handler (the library installs
 * none) that calls drover_ram_bus(): the thread goes on with a page of zeros, which belongs to
 * nobody, and the migration ends at the next drover_ram_bus_error(), before that page is
 * sent or its guest is run.
 */

/**
 * drover_ram_bus() - a SIGBUS at @addr; safe in a signal handler
 *
 * Return: false when this is not the guest's memory, or nothing can be done: then the
 * signal means what it always meant.
 */
bool drover_ram_bus(const struct drover_ram *ram, const void *addr);

/* The same, of a page that something else has found: the first one is remembered. */
void drover_ram_bus_note(const struct drover_ram *ram, unsigned int block, uint64_t page);

/**
 * drover_ram_bus_probe() - pages [page, page + n) of a block are to be written: is there memory?
 *
 * For who was told -EFAULT by a system call that filled them, or wants to know before.
 * Allocates them. Return: 0, or -EFAULT with block, page and cause, which is remembered.
 */
int drover_ram_bus_probe(const struct drover_ram *ram, unsigned int block, uint64_t page,
			 uint64_t n, struct drover_error *e);

/** drover_ram_bus_error() - 0, or -EFAULT with block, page and what may be the cause */
int drover_ram_bus_error(const struct drover_ram *ram, struct drover_error *e);

/**
 * drover_ram_mend() - map afresh what was replaced by zeros, and forget it
 *
 * At the begin of a migration, when no thread touches guest RAM. A page that still can't be
 * touched is found again.
 */
int drover_ram_mend(const struct drover_ram *ram, struct drover_error *e);

#endif
