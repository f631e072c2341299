// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Is what the VMM maps what it registered? Asked of /proc/PID/maps: by libdrover of its own
 * process when a block is added, and by droverd of the VMM when it attaches, since not
 * every VMM uses libdrover.
 */
#include "ram/mapping.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

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

static int at_base(void *arg, const struct drover_vma *v)
{
	struct look *l = arg;
	int r;

	if (v->end <= l->at || v->start > l->at || l->at == l->base + l->b->size)
		return 0;
	r = check_vma(l, v);
	if (r < 0)
		return r;
	l->at = v->end < l->base + l->b->size ? v->end : l->base + l->b->size;
	return 0;
}

static int anywhere(void *arg, const struct drover_vma *v)
{
	struct look *l = arg;

	if (v->shared && same_file(l, v) && v->off <= l->b->fd_off &&
	    l->b->fd_off + l->b->size - v->off <= v->end - v->start)
		l->found = true;
	return 0;
}

int drover_mapping_check(int pid, const struct drover_ram_block *b, uint64_t base,
			 struct drover_error *e)
{
	struct look l = { .b = b, .e = e, .base = base, .at = base };
	int r;

	if (fstat(b->fd, &l.st) < 0)
		return drover_err(e, -errno, "RAM %s: fstat: %s", b->name, drover_strerror(errno));
	l.regular = S_ISREG(l.st.st_mode);
	l.shmem = drover_ramfile_kind(b->fd) == DROVER_RAMFILE_SHMEM;
	r = drover_maps_walk(pid, base ? at_base : anywhere, &l);
	if (r < 0)
		return r == -EOPNOTSUPP ? r :
		       drover_err(e, r, "RAM %s: mappings of process %d: %s", b->name, pid,
				  drover_strerror(r));
	if (base && l.at < base + b->size)
		return drover_err(e, -EOPNOTSUPP, "RAM %s: the VMM maps nothing at 0x%llx, within "
				  "the block that it registered", b->name,
				  (unsigned long long)l.at);
	if (!base && !l.found)
		return drover_err(e, -EOPNOTSUPP, "RAM %s: the VMM has no MAP_SHARED mapping of its "
				  "file; map it MAP_SHARED (share=on, shared=on)", b->name);
	return 0;
}
