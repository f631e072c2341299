/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef DROVER_DAEMON_SIGBUS_H
#define DROVER_DAEMON_SIGBUS_H

struct drover_ram;

/* From here on a page of @ram that can't be touched ends a migration and not the process. */
void sigbus_guard(const struct drover_ram *ram);
/* No more, as @ram goes. */
void sigbus_release(void);

#endif
