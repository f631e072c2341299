# SPDX-License-Identifier: GPL-2.0-or-later
# make tidy: clang-tidy for each source of userspace/, shellcheck for each script. A file that
# was clean is read again only when it, what it includes or the checks have changed.

TIDY_C := $(foreach l,$(ALL_LAYERS),$(patsubst %.c,$(B)/tidy/%.c.ok,$(call srcs,$(l))))
TIDY_SH := $(sort $(wildcard tests/*/*.sh) \
	$(shell grep -lsE '^\#! ?/bin/sh' .ci/* tests/* tests/*/*))

layer_of = $(word 2,$(subst /, ,$(1)))
TIDY_FLAGS = $(READ_CFLAGS) $(CFLAGS_$(call layer_of,$<))
$(B)/tidy/%.c.ok: %.c .clang-tidy
	$(call say,TIDY,$<)
	@mkdir -p $(@D)
	@$(CC) $(TIDY_FLAGS) -MM -MP -MT $@ -MF $(@:.ok=.d) $<
	$(Q)clang-tidy --quiet $< -- $(TIDY_FLAGS) 2>$(@:.ok=.err) || \
		{ grep -v 'warnings\{0,1\} \(generated\|treated\)' $(@:.ok=.err); false; }
	@touch $@
$(B)/tidy/scripts.ok: .shellcheckrc $(TIDY_SH)
	$(call say,TIDY,scripts)
	@mkdir -p $(@D)
	$(Q)shellcheck -f gcc $(TIDY_SH)
	@touch $@

.PHONY: tidy-c tidy-scripts
tidy-c: $(TIDY_C)
tidy-scripts: $(B)/tidy/scripts.ok
