// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Is what the VMM maps what it registered? Asked of /proc/PID/maps: by libdrover of its own
 * process when a block is added, by droverd of the VMM when it attaches, since not every
 * VMM uses libdrover, and at each harvest, since trackers watch addresses.
 */
#include "ram/mapping.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "ram/maps.h"
#include "ram/ramfile.h"

/**
 * struct look - what the walk carries along
 * @st, @regular, @shmem: of the block's file. A region of the module is a device, whose
 *	mappings name the file inside it: then neither device nor inode can be compared
 * @at: mapped as it should be up to here
 * @found: somewhere a shared mapping covers the block, when @base is not known
 */
struct look {
	const struct drover_ram_block *b;
	struct drover_error *e;
	struct stat st;
	bool regular, shmem;
	uint64_t base, at;
	bool found;
};

static bool same_file(const struct look *l, const struct drover_vma *v)
{
	if (!l->regular)
		return v->ino != 0;
	/* Some file systems show another device number there than fstat(2) does. */
	return v->ino == l->st.st_ino && (!l->shmem || v->dev == l->st.st_dev);
}

static int refuse(struct look *l, const struct drover_vma *v, const char *text)
{
	return drover_err(l->e, -EOPNOTSUPP, "RAM %s: mapping 0x%llx-0x%llx of the VMM %s",
			  l->b->name, (unsigned long long)v->start, (unsigned long long)v->end,
			  text);
}

/* Where is byte @at of the block in its file, and where does the mapping have it? */
static int check_vma(struct look *l, const struct drover_vma *v)
{
	uint64_t want = l->b->fd_off + (l->at - l->base), has = v->off + (l->at - v->start);

	if (!v->shared)
		return refuse(l, v, v->ino ?
			      "is private (MAP_PRIVATE): what the guest writes never reaches its "
			      "file; map it MAP_SHARED (share=on, shared=on)" :
			      "is anonymous memory: map the registered memfd MAP_SHARED (share=on, "
			      "shared=on)");
	if (!same_file(l, v))
		return refuse(l, v, "is of another file than the registered one: register the "
			      "descriptor that was mapped");
	if (want != has)
		return drover_err(l->e, -EOPNOTSUPP, "RAM %s: mapping 0x%llx-0x%llx of the VMM is "
				  "of another place in its file than the registered one: offset "
				  "0x%llx, registered 0x%llx", l->b->name,
				  (unsigned long long)v->start, (unsigned long long)v->end,
				  (unsigned long long)has, (unsigned long long)want);
	return 0;
}

static int at_base(struct look *l, const struct drover_vma *v)
{
	int r;

	if (v->end <= l->at || v->start > l->at || l->at == l->base + l->b->size)
		return 0;
	r = check_vma(l, v);
	if (r < 0)
		return r;
	l->at = v->end < l->base + l->b->size ? v->end : l->base + l->b->size;
	return 0;
}

static int anywhere(struct look *l, const struct drover_vma *v)
{
	if (v->shared && same_file(l, v) && v->off <= l->b->fd_off &&
	    l->b->fd_off + l->b->size - v->off <= v->end - v->start)
		l->found = true;
	return 0;
}

/* All blocks in one walk: a VMM may have thousands of mappings. */
struct looks {
	unsigned int n;
	struct look look[];
};

static int each_vma(void *arg, const struct drover_vma *v)
{
	struct looks *ls = arg;
	unsigned int i;
	int r = 0;

	for (i = 0; i < ls->n && r >= 0; i++)
		r = ls->look[i].base ? at_base(&ls->look[i], v) : anywhere(&ls->look[i], v);
	return r;
}

static int verdict(const struct look *l, struct drover_error *e)
{
	if (l->base && l->at < l->base + l->b->size)
		return drover_err(e, -EOPNOTSUPP, "RAM %s: the VMM maps nothing at 0x%llx, within "
				  "the block that it registered", l->b->name,
				  (unsigned long long)l->at);
	if (!l->base && !l->found)
		return drover_err(e, -EOPNOTSUPP, "RAM %s: the VMM has no MAP_SHARED mapping of its "
				  "file; map it MAP_SHARED (share=on, shared=on)", l->b->name);
	return 0;
}

static int look_init(struct look *l, const struct drover_ram_block *b, uint64_t base,
		     struct drover_error *e)
{
	*l = (struct look){ .b = b, .e = e, .base = base, .at = base };
	if (fstat(b->fd, &l->st) < 0)
		return drover_err(e, -errno, "RAM %s: fstat: %s", b->name, drover_strerror(errno));
	l->regular = S_ISREG(l->st.st_mode);
	l->shmem = drover_ramfile_kind(b->fd) == DROVER_RAMFILE_SHMEM;
	return 0;
}

int drover_mapping_check(int pid, const struct drover_ram_block *b, const uint64_t *base,
			 unsigned int n, struct drover_error *e)
{
	_cleanup_free_ struct looks *ls = calloc(1, sizeof(*ls) + n * sizeof(ls->look[0]));
	unsigned int i;
	int r = 0;

	if (!ls)
		return drover_err(e, -ENOMEM, "RAM: mappings of the VMM: out of memory");
	ls->n = n;
	for (i = 0; i < n && r >= 0; i++)
		r = look_init(&ls->look[i], &b[i], base[i], e);
	if (r < 0)
		return r;
	r = drover_maps_walk(pid, each_vma, ls);
	if (r < 0)
		return r == -EOPNOTSUPP ? r :
		       drover_err(e, r, "RAM: mappings of process %d: %s", pid, drover_strerror(r));
	for (i = 0; i < n && r >= 0; i++)
		r = verdict(&ls->look[i], e);
	return r;
}
