// SPDX-License-Identifier: LGPL-2.1-or-later
/* The operator's side of postcopy, until the engine has it: every call is refused by name. */
#include <errno.h>

#include "base/err.h"
#include "engine/migration.h"

int drover_migration_start_postcopy(struct drover_migration *m, struct drover_error *e)
{
	(void)m;
	return drover_err(e, -EOPNOTSUPP, "postcopy: not built in");
}

int drover_migration_pause(struct drover_migration *m, struct drover_error *e)
{
	(void)m;
	return drover_err(e, -EOPNOTSUPP, "postcopy: not built in");
}

int drover_migration_resume(struct drover_migration *m, const struct drover_channel_list *channels,
			    struct drover_error *e)
{
	(void)m;
	(void)channels;
	return drover_err(e, -EOPNOTSUPP, "postcopy: not built in");
}

int drover_migration_recover(struct drover_migration *m,
			     const struct drover_channel_list *channels, struct drover_error *e)
{
	(void)m;
	(void)channels;
	return drover_err(e, -EOPNOTSUPP, "postcopy: not built in");
}
