// SPDX-License-Identifier: LGPL-2.1-or-later
/* The table of fault handlers, and the choice of one. Called by the engine's destination. */
#include "fault/fault.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"

const struct drover_fault_ops *const *drover_fault_table(void)
{
	static const struct drover_fault_ops *const table[] = {
		&drover_fault_kmod, &drover_fault_userfaultfd, NULL
	};

	return table;
}

const struct drover_fault_ops *drover_fault_select(const struct drover_fault_source *src,
						   const char *want, char *report,
						   struct drover_error *e)
{
	const struct drover_fault_ops *const *ops;
	const struct drover_fault_ops *ret = NULL;
	bool any = strcmp(want, "auto") == 0, known = any;
	size_t at = 0;

	report[0] = '\0';
	for (ops = drover_fault_table(); *ops; ops++) {
		char why[256] = "not asked for";
		bool wanted = any || strcmp(want, (*ops)->name) == 0;
		int usable = wanted && !ret ? (*ops)->probe(src, why, sizeof(why)) : 0;

		known |= wanted;
		if (wanted && ret)
			snprintf(why, sizeof(why), "%s is better", ret->name);
		if (at < DROVER_FAULT_REPORT_MAX)
			at += (size_t)snprintf(report + at, DROVER_FAULT_REPORT_MAX - at, "%s%s: %s",
					       at ? "\n" : "", (*ops)->name,
					       usable ? (*ops)->guarantee : why);
		if (usable)
			ret = *ops;
	}
	if (!known)
		drover_err(e, -EINVAL, "fault handler: there is no '%s'", want);
	else if (!ret)
		drover_err(e, -EOPNOTSUPP, "fault handler: none can be used: %s", report);
	return ret;
}
