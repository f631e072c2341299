// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Every process that maps guest RAM shared is somebody who writes it, and whose memory it is:
 * a source asks who else writes, a destination whose memory it is about to empty
 * (x-ignore-shared: the source's word is not enough). Called by track/select.c and by
 * the destination.
 */
#include "ram/mappers.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "ram/maps.h"
#include "ram/ramfile.h"

/* The blocks' files, and the process that is looked at. */
struct look {
	const struct drover_ram *ram;
	struct drover_mappers *ret;
	dev_t dev[DROVER_RAM_BLOCKS_MAX];
	ino_t ino[DROVER_RAM_BLOCKS_MAX];
	bool shmem[DROVER_RAM_BLOCKS_MAX];
	int pid;
};

static int take(void *arg, const struct drover_vma *v)
{
	struct look *l = arg;
	unsigned int i;

	for (i = 0; v->shared && i < l->ram->n; i++) {
		const struct drover_ram_block *b = &l->ram->block[i];

		/* Some file systems show another device number there than fstat(2) does. */
		if (v->ino != l->ino[i] || (l->shmem[i] && v->dev != l->dev[i]))
			continue;
		if (v->off >= b->fd_off + b->size || v->off + (v->end - v->start) <= b->fd_off)
			continue;
		if (!l->ret->mapped[i])
			l->ret->mapped[i] = l->pid;
		if (v->write && !l->ret->writer[i])
			l->ret->writer[i] = l->pid;
	}
	return 0;
}

static int look_init(struct look *l, struct drover_error *e)
{
	struct stat st;
	unsigned int i;

	for (i = 0; i < l->ram->n; i++) {
		int fd = l->ram->block[i].fd;

		if (fstat(fd, &st) < 0)
			return drover_err(e, -errno, "RAM %s: fstat: %s", l->ram->block[i].name,
					  drover_strerror(errno));
		l->dev[i] = st.st_dev;
		l->ino[i] = st.st_ino;
		l->shmem[i] = drover_ramfile_kind(fd) == DROVER_RAMFILE_SHMEM;
	}
	return 0;
}

int drover_mappers_find(const struct drover_ram *ram, int vmm, struct drover_mappers *ret,
			struct drover_error *e)
{
	struct look l = { .ram = ram, .ret = ret };
	struct dirent *de;
	DIR *d;
	int r = look_init(&l, e);

	memset(ret, 0, sizeof(*ret));
	if (r < 0)
		return r;
	d = opendir("/proc");
	if (!d)
		return drover_err(e, -errno, "RAM: who else maps it: /proc: %s",
				  drover_strerror(errno));
	while ((de = readdir(d))) {
		l.pid = atoi(de->d_name);
		if (l.pid <= 0 || l.pid == getpid() || l.pid == vmm)
			continue;
		r = drover_maps_walk(l.pid, take, &l);
		/* Others have ended meanwhile. */
		if (r == -EACCES || r == -EPERM)
			ret->unseen++;
	}
	closedir(d);
	return 0;
}
