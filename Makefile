# SPDX-License-Identifier: GPL-2.0-or-later
#
# drover. `make help` lists what people type; README.md names the two that matter.
# Layers are directories under userspace/; a layer's sources are what lies in it.

VERSION := $(shell cat VERSION)
B ?= build
CC ?= gcc
PREFIX ?= /usr/local
V ?= 0
SAN ?=

# `make CC=gcc` is the default also where the environment sets cc.
ifeq ($(origin CC),default)
CC := gcc
endif

LAYERS := base config wire channel dev track fault place engine guest lib daemon
LIBRARY_LAYERS := base config wire channel dev track fault place engine guest lib
PROGRAMS := droverd droverctl drover-vmm

PKGS := liburing json-c libxxhash
PKG_CFLAGS = $(shell pkg-config --cflags $(PKGS))
PKG_LIBS = $(shell pkg-config --libs $(PKGS))

WARN := -Wall -Wextra -Wshadow -Wvla -Wstrict-prototypes -Wmissing-prototypes -Werror
CFLAGS ?= -O2 -g
ALL_CFLAGS = -std=gnu11 $(WARN) $(CFLAGS) $(SAN) -fPIC -fvisibility=hidden -pthread \
	-Iuserspace -Iuapi -I$(B)/gen $(PKG_CFLAGS) -DDROVER_VERSION='"$(VERSION)"'
ALL_LDFLAGS = $(LDFLAGS) $(SAN) -pthread
ALL_LIBS = $(PKG_LIBS) $(LIBS)

ifeq ($(V),0)
Q := @
say = @printf '  %-7s %s\n' '$(1)' '$(2)'
else
Q :=
say = @:
endif

srcs = $(wildcard userspace/$(1)/*.c)
objs = $(patsubst userspace/%.c,$(B)/obj/%.o,$(call srcs,$(1)))
archive = $(B)/obj/lib$(1).a
# Archives of a layer and all below it, the highest first.
upto = $(if $(filter $(1),$(LAYERS)),$(call upto_,$(1),$(LAYERS)),$(LAYERS))
upto_ = $(if $(2),$(firstword $(2)) $(if $(filter $(1),$(firstword $(2))),,$(call upto_,$(1),$(wordlist 2,99,$(2)))))
archives = $(foreach l,$(1),$(call archive,$(l)))
linkset = -Wl,--start-group $(1) -Wl,--end-group

UNIT_SRCS := $(wildcard tests/unit/*.c)
UNIT_TESTS := $(patsubst tests/unit/%.c,$(B)/tests/unit/%,$(filter-out tests/unit/lib-%.c,$(UNIT_SRCS)))

.PHONY: all
all: programs libs
.PHONY: programs
programs: $(PROGRAMS:%=$(B)/%)
.PHONY: unit
unit: $(UNIT_TESTS)
.PHONY: libs
libs:

# ---- compile ---------------------------------------------------------------
$(B)/obj/%.o: userspace/%.c
	$(call say,CC,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) $(CFLAGS_$(subst /,_,$*)) -MMD -MP -c -o $@ $<

define layer_rules
$(call archive,$(1)): $(call objs,$(1))
	$$(call say,AR,$$@)
	@mkdir -p $$(@D)
	@rm -f $$@
	$$(Q)$(AR) rcs $$@ $$^
endef
$(foreach l,$(LAYERS),$(eval $(call layer_rules,$(l))))

# ---- programs --------------------------------------------------------------
# A program is the sources of its own directory over the library's archives.
$(B)/droverd: $(call objs,daemon) $(call archives,$(LIBRARY_LAYERS))
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $(call objs,daemon) \
		$(call linkset,$(call archives,$(LIBRARY_LAYERS))) $(ALL_LIBS)

$(B)/droverctl: $(call objs,ctl) $(call archives,$(LIBRARY_LAYERS))
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $(call objs,ctl) \
		$(call linkset,$(call archives,$(LIBRARY_LAYERS))) $(ALL_LIBS)

$(B)/drover-vmm: $(call objs,vmm) $(call archives,$(LIBRARY_LAYERS))
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $(call objs,vmm) \
		$(call linkset,$(call archives,$(LIBRARY_LAYERS))) $(ALL_LIBS)

# ---- unit tests: tests/unit/LAYER-NAME.c sees LAYER and what lies below ----
define unit_rules
$(B)/tests/unit/$(1): tests/unit/$(1).c $(call archives,$(call upto,$(firstword $(subst -, ,$(1)))))
	$$(call say,TEST,$$@)
	@mkdir -p $$(@D)
	$$(Q)$(CC) $$(ALL_CFLAGS) -Itests/unit $$(ALL_LDFLAGS) -MMD -MP -o $$@ $$< \
		$$(call linkset,$(call archives,$(call upto,$(firstword $(subst -, ,$(1)))))) $$(ALL_LIBS)
endef
$(foreach t,$(UNIT_SRCS:tests/unit/%.c=%),$(eval $(call unit_rules,$(t))))

.PHONY: check-unit
check-unit: $(UNIT_TESTS)
	$(Q)prove -e '' $(UNIT_TESTS)

.PHONY: clean
clean:
	rm -rf $(B)

-include $(shell find $(B) -name '*.d' 2>/dev/null)
