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

# ---- how each file is compiled, for editors and tools -----------------------
# entries SOURCES,CFLAGS: a JSON object and a comma for each
entries = for f in $(1); do \
	printf '%s\n' '$(subst ','\'',$(CC) $(ALL_CFLAGS) $(2)) -c '"$$f" | sed \
		's|[\\"]|\\&|g; s|.*|  {"directory": "$(CURDIR)", "file": "'"$$f"'", "command": "&"},|'; done;
compile_commands.json: FORCE
	$(call say,JSON,$@)
	@{ echo '['; \
		{ $(foreach l,$(ALL_LAYERS),$(call entries,$(call srcs,$(l)),$(CFLAGS_$(l)))) \
		$(call entries,$(wildcard tests/unit/*.c),-Itests/unit) \
		$(call entries,$(wildcard tests/vm/*.c tests/docs/*.c tests/bench/*.c tests/fuzz/*.c tests/lib/*.c)) \
		} | sed '$$ s/,$$//'; echo ']'; } >$@
