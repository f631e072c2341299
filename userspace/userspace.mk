# SPDX-License-Identifier: LGPL-2.1-or-later
# How the library's layers, the programs and libdrover are built.
#
# A layer is a folder under userspace/; its sources are the .c files that lie in it and in
# its folders (engine/source/inbox.c is of the layer engine).

# userspace/layers lists all of them, lowest first; its last line is the programs'. The
# linker is given the archives once each, highest first: a circle of layers does not link.
ALL_LAYERS := $(shell grep -v '^\#' userspace/layers)
PROGRAM_LAYERS := $(shell tail -n 1 userspace/layers)
LIBRARY_LAYERS := $(filter-out $(PROGRAM_LAYERS),$(ALL_LAYERS))
# What of it a VMM links, lowest first (tests/lint/libdrover.t shows that it is enough).
LIBDROVER_LAYERS := base ram owner dev agent lib

PROGRAMS := droverd droverctl drover-vmm
LAYER_droverd := daemon
LAYER_droverctl := ctl
LAYER_drover-vmm := vmm
# droverd's own layer has unit tests, so it is an archive, too.
LAYERS := $(LIBRARY_LAYERS) daemon

PKGS := liburing json-c libxxhash
# Asked for once, and only by what needs it: "make deps" runs before pkg-config is there.
PKG_CFLAGS = $(eval PKG_CFLAGS := $(shell pkg-config --cflags $(PKGS)))$(PKG_CFLAGS)
PKG_LIBS = $(eval PKG_LIBS := $(shell pkg-config --libs $(PKGS)))$(PKG_LIBS)
# droverd alone asks for network interfaces.
PKGS_daemon := libnl-route-3.0
CFLAGS_daemon = $(eval CFLAGS_daemon := $(shell pkg-config --cflags $(PKGS_daemon)))$(CFLAGS_daemon)
LIBS_daemon = $(eval LIBS_daemon := $(shell pkg-config --libs $(PKGS_daemon)))$(LIBS_daemon)
# droverctl alone listens to the kernel module's events.
PKGS_ctl := libnl-genl-3.0
CFLAGS_ctl = $(eval CFLAGS_ctl := $(shell pkg-config --cflags $(PKGS_ctl)))$(CFLAGS_ctl)
LIBS_ctl = $(eval LIBS_ctl := $(shell pkg-config --libs $(PKGS_ctl)))$(LIBS_ctl)

WARN := -Wall -Wextra -Wshadow -Wvla -Wstrict-prototypes -Wmissing-prototypes -Werror
# What a tool that only reads sources needs to know, too.
READ_CFLAGS = -std=gnu11 -D_GNU_SOURCE= -Iuserspace -Iuapi $(PKG_CFLAGS) \
	-DDROVER_VERSION='"$(VERSION)"'
ALL_CFLAGS = $(READ_CFLAGS) $(WARN) $(CFLAGS) $(SAN) -fPIC -fvisibility=hidden -pthread
ALL_LDFLAGS = $(LDFLAGS) $(SAN) -pthread
ALL_LIBS = $(PKG_LIBS) $(LIBS)

# ---- sources, objects, archives of a layer ----------------------------------
srcs = $(wildcard userspace/$(1)/*.c userspace/$(1)/*/*.c)
objs = $(patsubst userspace/%.c,$(B)/obj/%.o,$(call srcs,$(1)))
archive = $(B)/obj/lib$(1).a
archives = $(foreach l,$(1),$(call archive,$(l)))
reverse = $(if $(1),$(call reverse,$(wordlist 2,99,$(1))) $(firstword $(1)))
# What a program over the layers $(1) links.
over = $(call archives,$(call reverse,$(1)))
LIBRARY := $(call over,$(LIBRARY_LAYERS))
LIBRARY_SRCS := $(foreach l,$(LIBRARY_LAYERS),$(call srcs,$(l)))
# Layers up to and with $(1); all of them for a name that is no layer's.
upto = $(if $(filter $(1),$(LAYERS)),$(call upto_,$(1),$(LAYERS)),$(LAYERS))
upto_ = $(if $(2),$(firstword $(2)) $(if $(filter $(1),$(firstword $(2))),,$(call upto_,$(1),$(wordlist 2,99,$(2)))))

# Objects depend on how they are made: other flags or another compiler rebuild them. The
# file is written only when what it says has changed.
$(B)/.flags: FORCE
	@mkdir -p $(@D)
	@printf '%s\n' '$(subst ','\'',$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS))' | cmp -s - $@ || \
		printf '%s\n' '$(subst ','\'',$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS))' >$@
.PHONY: FORCE
FORCE:

$(B)/obj/%.o: userspace/%.c $(B)/.flags
	$(call say,CC,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) $(CFLAGS_$(firstword $(subst /, ,$*))) -MMD -MP -c -o $@ $<

# An archive is made anew when a source has gone, too: its list of members is a file.
define layer_rules
$(call archive,$(1)): $(call objs,$(1)) $(B)/obj/$(1).members
	$$(call say,AR,$$@)
	@rm -f $$@
	$$(Q)$(AR) qcs $$@ $(call objs,$(1))
$(B)/obj/$(1).members: FORCE
	@mkdir -p $$(@D)
	@echo '$(call objs,$(1))' | cmp -s - $$@ || echo '$(call objs,$(1))' >$$@
endef
$(foreach l,$(LAYERS),$(eval $(call layer_rules,$(l))))

# ---- programs: a folder of their own over the library -----------------------
define program_rules
$(B)/$(1): $(call objs,$(2)) $(LIBRARY)
	$$(call say,LD,$$@)
	$$(Q)$$(CC) $$(ALL_LDFLAGS) -o $$@ $(call objs,$(2)) $(LIBRARY) $$(ALL_LIBS) $$(LIBS_$(2))
endef
$(foreach p,$(PROGRAMS),$(eval $(call program_rules,$(p),$(LAYER_$(p)))))

# ---- libdrover: what a VMM links --------------------------------------------
LIBDROVER := $(call over,$(LIBDROVER_LAYERS))
$(B)/libdrover.so.$(VERSION): $(LIBDROVER) userspace/lib/libdrover.map userspace/userspace.mk
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) -shared -Wl,-soname,libdrover.so.0 \
		-Wl,--version-script=userspace/lib/libdrover.map -Wl,--no-undefined -o $@ \
		-Wl,--whole-archive $(call archive,lib) -Wl,--no-whole-archive \
		$(filter-out $(call archive,lib),$(LIBDROVER)) $(ALL_LIBS)
$(B)/libdrover.so: $(B)/libdrover.so.$(VERSION)
	$(Q)ln -sf $(<F) $(B)/libdrover.so.0 && ln -sf $(<F) $@
$(B)/libdrover.a: $(LIBDROVER) userspace/userspace.mk
	$(call say,AR,$@)
	@rm -f $@
	$(Q)printf 'create %s\n%s\nsave\nend\n' $@ "$$(printf 'addlib %s\n' $(LIBDROVER))" | $(AR) -M

.PHONY: programs libs archives
programs: $(PROGRAMS:%=$(B)/%)
libs: $(B)/libdrover.so $(B)/libdrover.a
archives: $(LIBRARY)
