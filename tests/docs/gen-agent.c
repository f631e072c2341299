// SPDX-License-Identifier: GPL-2.0-or-later
/* Prints the messages of the agent link as reStructuredText, for Documentation/agent-protocol.rst. */
#include <stdio.h>

#include "agent/message.h"

static void range(unsigned int min, unsigned int max)
{
	if (min == max)
		printf("     - %u\n", min);
	else
		printf("     - %u to %u\n", min, max);
}

int main(void)
{
	unsigned int i;

	printf(".. SPDX-License-Identifier: GPL-2.0-or-later\n"
	       ".. Generated from userspace/agent/agent.def; do not edit.\n\n"
	       ".. list-table::\n   :header-rows: 1\n\n"
	       "   * - Type\n     - Name\n     - Sent by\n     - Answered by\n"
	       "     - Body, bytes\n     - Descriptors\n     - Meaning\n");
	for (i = 0; i < DROVER_AGENT_TYPE_COUNT; i++) {
		const struct drover_agent_rule *r = drover_agent_rule(i);

		if (!r)
			continue;
		printf("   * - %u\n     - ``%s``\n     - %s\n", i, r->name,
		       r->from == DROVER_AGENT_FROM_D ? "droverd" : "VMM");
		if (r->reply)
			printf("     - ``%s``\n", drover_agent_rule(r->reply)->name);
		else
			printf("     -\n");
		range(r->len_min, r->len_max);
		range(r->fds_min, r->fds_max);
		printf("     - %s\n", r->doc);
	}
	return 0;
}
