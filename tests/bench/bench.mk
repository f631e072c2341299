# SPDX-License-Identifier: GPL-2.0-or-later
# Programs that benchmarks run.

# Who measures waits for pages: a VMM over libdrover alone.
$(B)/bench/%: tests/bench/%.c $(B)/.flags $(B)/libdrover.a
	$(call say,BENCH,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -MMD -MP -o $@ $< $(B)/libdrover.a $(ALL_LIBS)
