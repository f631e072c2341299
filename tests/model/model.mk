# SPDX-License-Identifier: GPL-2.0-or-later
# The model checker of the ownership machine: over owner/ and what lies below alone.

MODEL := $(B)/tests/model/owner

MODEL_ARCHIVES := $(call over,base owner)
$(MODEL): $(wildcard tests/model/*.c tests/model/*.h) tests/unit/tap.h $(B)/.flags $(MODEL_ARCHIVES)
	$(call say,MODEL,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) -Itests/unit -Itests/model $(ALL_LDFLAGS) -o $@ $(filter %.c,$^) \
		$(MODEL_ARCHIVES) $(ALL_LIBS)
