# SPDX-License-Identifier: GPL-2.0-or-later
# What the tests need built, and how one of them is picked out by its name.

UNIT_SRCS := $(wildcard tests/unit/*.c)
UNIT_TESTS := $(patsubst tests/unit/%.c,$(B)/tests/unit/%,$(UNIT_SRCS))
PEERS := $(B)/tests/peer/droverd-minor $(B)/tests/peer/droverd-major $(B)/tests/peer/droverd-crash
SCRIPT_TESTS := $(sort $(wildcard tests/lint/*.t tests/qmp/*.t tests/e2e/*.t))
SAN_TESTS := $(sort $(wildcard tests/qmp/*.t tests/e2e/*.t))
SOAKS := $(wildcard tests/soak/*.py)

.PHONY: unit peers
unit: $(UNIT_TESTS) peers
peers: $(PEERS)

# ---- unit tests: tests/unit/LAYER-NAME.c sees LAYER and what lies below -----
define unit_rules
$(B)/tests/unit/$(1): tests/unit/$(1).c $(B)/.flags $(call over,$(call upto,$(2)))
	$$(call say,TEST,$$@)
	@mkdir -p $$(@D)
	$$(Q)$$(CC) $$(ALL_CFLAGS) -Itests/unit $$(ALL_LDFLAGS) -MMD -MP -o $$@ $$< \
		$(call over,$(call upto,$(2))) $$(ALL_LIBS) $$(LIBS_$(2))
endef
$(foreach t,$(UNIT_SRCS:tests/unit/%.c=%),$(eval $(call unit_rules,$(t),$(firstword $(subst -, ,$(t))))))

# ---- daemons that tests run against -----------------------------------------
# What a daemon is made of, and what of that has a word in it: it is compiled once more.
DAEMON_SRCS := $(LIBRARY_SRCS) $(call srcs,daemon)
with = $(shell grep -lE '$(1)' $(DAEMON_SRCS))
# $(call peer,CFLAGS,SOURCES): droverd with other objects for SOURCES, which come first.
define peer
	$(call say,PEER,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) $(1) $(ALL_LDFLAGS) -o $@ $(2) \
		$(filter-out $(patsubst userspace/%.c,$(B)/obj/%.o,$(2)),$(call objs,daemon)) \
		$(LIBRARY) $(ALL_LIBS) $(LIBS_daemon)
endef

# droverd of another protocol version.
AGED := $(call with,DROVER_WIRE_(VERSION|OLDEST|MAJOR|MINOR))
AGE_minor := -DDROVER_WIRE_MINOR=255u
AGE_major := -DDROVER_WIRE_MAJOR=200u
$(B)/tests/peer/droverd-minor $(B)/tests/peer/droverd-major: $(B)/tests/peer/droverd-%: \
		$(AGED) $(call objs,daemon) $(LIBRARY)
	$(call peer,$(AGE_$*),$(AGED))

# droverd that dies between two steps (base/crash.h).
CRASHING := $(call with,base/crash\.h)
$(B)/tests/peer/droverd-crash: $(CRASHING) tests/lib/crash.c $(call objs,daemon) $(LIBRARY)
	$(call peer,-DDROVER_CRASH_POINTS,$(CRASHING) tests/lib/crash.c)

# ---- one test: make check T=NAME --------------------------------------------
# Each test is KIND/NAME; T may be NAME where only one kind has it, a whole KIND, or the
# path of the test's file.
KINDS := lint unit model qmp e2e soak web vm docs
named = $(patsubst tests/%,%,$(basename $(1)))
EVERY_TEST := $(sort $(call named,$(SCRIPT_TESTS) $(UNIT_SRCS) $(SOAKS) $(wildcard tests/web/*.t)) \
	$(VM_TESTS:%=vm/%) model/owner docs/pages)
# The tests that one word of T means.
meant = $(or $(if $(filter $(1),$(KINDS)),$(filter $(1)/%,$(EVERY_TEST))),$(filter $(1),$(EVERY_TEST)),$(filter %/$(1),$(EVERY_TEST)))
only = $(if $(word 2,$(2)),$(if $(filter $(1),$(KINDS)),$(2),$(error T=$(1) may be $(2): say which)),$(or $(2),$(error T=$(1): there is no such test)))
PICKED := $(foreach t,$(call named,$(T)),$(call only,$(t),$(call meant,$(t))))
picked = $(patsubst $(1)/%,$(2),$(filter $(1)/%,$(PICKED)))

PICKED_SCRIPTS := $(strip $(call picked,lint,tests/lint/%.t) $(call picked,qmp,tests/qmp/%.t) \
	$(call picked,e2e,tests/e2e/%.t) $(call picked,web,tests/web/%.t))
PICKED_PROVE := $(strip $(PICKED_SCRIPTS) $(call picked,unit,$(B)/tests/unit/%) \
	$(call picked,model,$(B)/tests/model/%) $(call picked,soak,tests/soak/%.py))
PICKED_VM := $(call picked,vm,%)
# Packages of a test's kind, and what is built for it. A lint test says itself what that is.
PICKED_DEPS := deps $(if $(call picked,lint,x),deps-lint) $(if $(PICKED_VM),deps-vm) $(if $(call picked,web,x),deps-web)
PICKED_BUILD := $(call picked,unit,$(B)/tests/unit/%) $(call picked,model,$(B)/tests/model/%) \
	$(if $(filter qmp/% e2e/% soak/% web/%,$(PICKED)),programs) \
	$(if $(PICKED_SCRIPTS),$(if $(shell grep -l '"peer", "droverd' $(PICKED_SCRIPTS)),peers)) \
	$(if $(PICKED_SCRIPTS),$(shell sed -n 's/^\# builds: //p' $(PICKED_SCRIPTS))) \
	$(if $(PICKED_VM),$(call vm_needs,$(PICKED_VM))) $(if $(call picked,docs,x),pages)

.PHONY: check-picked
check-picked: $(PICKED_BUILD)
	$(if $(PICKED_PROVE),$(Q)$(TEST_ENV) prove --timer -v -e '' $(PICKED_PROVE))
	$(if $(PICKED_VM),$(call run_vm,$(PICKED_VM)))
