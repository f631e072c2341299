// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Guest RAM that can't be touched, bus.h. Jumping out of the handler would need a jump
 * buffer for each thread, which a library without globals has nowhere to keep, and a frame
 * that is left so keeps its locks. Going on with zeros needs neither: the thread comes to
 * its next check by itself, and whoever sends or runs checks first. The order is the
 * thread's own: it touches, and then it checks; who works for another ends before that
 * one checks.
 *
 * What is remembered is one word: block + 1 in the upper 16 bits, the page in the others.
 */
#define _GNU_SOURCE
#include "ram/bus.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/vfs.h>

#include "base/err.h"
#include "ram/ramfile.h"

#define PAGE_BITS 48u

void drover_ram_bus_note(const struct drover_ram *ram, unsigned int block, uint64_t page)
{
	uint64_t none = 0, what = (uint64_t)(block + 1) << PAGE_BITS | page;

	/* The blocks are constant, this word is not. */
	__atomic_compare_exchange_n((uint64_t *)(uintptr_t)&ram->bus, &none, what, false,
				    __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

bool drover_ram_bus(const struct drover_ram *ram, const void *addr)
{
	const uint8_t *at = addr;
	uint64_t page;
	unsigned int i;

	for (i = 0; i < ram->n; i++) {
		const struct drover_ram_block *b = &ram->block[i];

		if (!b->host || at < b->host || at >= b->host + b->size)
			continue;
		page = drover_pages((uint64_t)(at - b->host));
		drover_ram_bus_note(ram, i, page);
		return mmap(b->host + drover_page_off(page), DROVER_PAGE_SIZE,
			    PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
			    0) != MAP_FAILED;
	}
	return false;
}

static const char *cause(const struct drover_ram_block *b, uint64_t page)
{
	uint64_t end = b->fd_off + drover_page_off(page) + DROVER_PAGE_SIZE, size;
	struct statfs fs;

	if (drover_ramfile_size(b->fd, &size) >= 0 && size < end)
		return "its file was shortened; seal it with F_SEAL_SHRINK";
	if (fstatfs(b->fd, &fs) >= 0 && fs.f_blocks && !fs.f_bavail)
		return "its tmpfs is full";
	return "its memory is broken, or there is none left";
}

int drover_ram_bus_error(const struct drover_ram *ram, struct drover_error *e)
{
	uint64_t what = __atomic_load_n(&ram->bus, __ATOMIC_SEQ_CST), page;
	unsigned int block;

	if (!what)
		return 0;
	block = (unsigned int)(what >> PAGE_BITS) - 1;
	page = what & ((1ull << PAGE_BITS) - 1);
	return drover_err(e, -EFAULT, "RAM %s: page %llu can't be touched: %s",
			  ram->block[block].name, (unsigned long long)page,
			  cause(&ram->block[block], page));
}

int drover_ram_bus_probe(const struct drover_ram *ram, unsigned int block, uint64_t page,
			 uint64_t n, struct drover_error *e)
{
	uint8_t *host = ram->block[block].host;
	uint64_t end = page + n;

	if (madvise(host + drover_page_off(page), drover_page_off(n), MADV_POPULATE_WRITE) == 0 ||
	    (errno != EFAULT && errno != EHWPOISON))
		return drover_ram_bus_error(ram, e);
	for (; page < end; page++)
		if (madvise(host + drover_page_off(page), DROVER_PAGE_SIZE,
			    MADV_POPULATE_WRITE) < 0 && (errno == EFAULT || errno == EHWPOISON))
			break;
	/* Else there is memory again by now. */
	if (page < end)
		drover_ram_bus_note(ram, block, page);
	return drover_ram_bus_error(ram, e);
}

int drover_ram_mend(const struct drover_ram *ram, struct drover_error *e)
{
	unsigned int i;

	if (!__atomic_load_n(&ram->bus, __ATOMIC_SEQ_CST))
		return 0;
	for (i = 0; i < ram->n; i++) {
		const struct drover_ram_block *b = &ram->block[i];

		if (mmap(b->host, b->size, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_NORESERVE | MAP_FIXED, b->fd,
			 (off_t)b->fd_off) == MAP_FAILED)
			return drover_err(e, -errno, "RAM %s: map again: %s", b->name,
					  drover_strerror(errno));
	}
	__atomic_store_n((uint64_t *)(uintptr_t)&ram->bus, 0, __ATOMIC_SEQ_CST);
	return 0;
}
