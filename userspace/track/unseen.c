// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Writers that trackers of page tables do not see: devices that write after their request
 * has marked the page, and processes other than the VMM. Nobody else finds what is lost so, as
 * digests are of what was sent. So they are looked for, and a migration is refused, unless the
 * VMM reports its devices' writes or the user has said that they may be lost. Called by
 * select.c; the module sees all of them.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "dev/devices.h"
#include "ram/mappers.h"
#include "ram/mapping.h"
#include "track/internal.h"

#define REMEDY "load the drover kernel module (tracker=kmod), or "
#define RISK "take the risk of losing them with unsafe-device-writes=allow"

/* The VMM's devices: 1 and what they are, 0 and why there are none to speak of. */
static int look_at_devices(const struct drover_track_source *src, char *text, size_t size)
{
	struct drover_devices d;
	int r;

	if (src->wrote || !src->pid) {
		snprintf(text, size, "%s", src->wrote ? "reported by the VMM" :
			 "the guest has no process of its own");
		return 0;
	}
	r = drover_devices_look(src->pid, &d);
	/* The trackers' own harvest says so better. */
	if (r == -ENOENT || r == -ESRCH) {
		snprintf(text, size, "the VMM has gone");
		return 0;
	}
	if (r < 0)
		snprintf(text, size, "descriptors, which can't be looked at (process %d: %s)",
			 src->pid, drover_strerror(r));
	else
		snprintf(text, size, "%s", d.n ? d.text : "the VMM has no direct I/O, registered "
			 "buffers or assigned devices");
	return r < 0 || d.n;
}

/* Another process that may write to a block; 0: none. */
static int look_for_others(const struct drover_track_source *src, const char **ret_block)
{
	struct drover_mappers m;
	unsigned int i;

	if (!src->pid || drover_mappers_find(src->ram, src->pid, &m, NULL) < 0)
		return 0;
	for (i = 0; i < src->ram->n; i++) {
		/* The destination's are there already: it is to take this block over. */
		if (src->ram->block[i].flags & DROVER_RAM_SHARED_DEST || !m.writer[i])
			continue;
		*ret_block = src->ram->block[i].name;
		return m.writer[i];
	}
	return 0;
}

int drover_unseen_look(const struct drover_track_source *src, const char *name, bool start,
		       char *text, struct drover_error *e)
{
	char devices[300], others[100] = "";
	const char *block = "";
	int d = look_at_devices(src, devices, sizeof(devices));
	int pid = start ? look_for_others(src, &block) : 0;

	if (d && !src->blind_devices)
		return drover_err(e, -EOPNOTSUPP, "tracker %s: it does not see what devices write to "
				  "guest RAM, and the VMM's %s: " REMEDY "let the VMM report these "
				  "writes (drover_agent_wrote), or " RISK, name, devices);
	if (pid && !src->blind_devices)
		return drover_err(e, -EOPNOTSUPP, "tracker %s: it does not see what other processes "
				  "write to guest RAM, and process %d maps RAM %s, too: " REMEDY
				  RISK, name, pid, block);
	if (pid)
		snprintf(others, sizeof(others), "; writes of process %d to RAM %s are LOST", pid,
			 block);
	snprintf(text, DROVER_UNSEEN_MAX, "device writes: %s%s%s", d ? "LOST when late, as "
		 "unsafe-device-writes=allow says, of the VMM's " : "", devices, others);
	return d || pid;
}

/*
 * Trackers of page tables watch addresses. What the VMM has unmapped, or mapped elsewhere, is
 * an empty range to them, where nothing is ever written. Asked after a harvest: so it was
 * of the mapping that is still there.
 */
int drover_unseen_mapped(const struct drover_track_source *src, const char *name,
			 struct drover_error *e)
{
	struct drover_error why = DROVER_ERROR_INIT;
	uint64_t base[DROVER_RAM_BLOCKS_MAX];
	unsigned int i;
	int r;

	if (!src->pid)
		return 0;
	for (i = 0; i < src->ram->n; i++)
		base[i] = src->block[i].base;
	r = drover_mapping_check(src->pid, src->ram->block, base, src->ram->n, &why);
	/* Another errno: nobody may look, which was judged when the guest was attached. */
	return r == -EOPNOTSUPP ? drover_err(e, r, "tracker %s: writes may have been lost: %s",
					     name, why.msg) : 0;
}
