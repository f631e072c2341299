# SPDX-License-Identifier: GPL-2.0-or-later
# Programs that run in the test guest, on a kernel of their own.

VM_BINS := $(patsubst tests/vm/%.c,$(B)/vm/bin/%,$(wildcard tests/vm/*.c))
# Which of them are tests, as tests/vm/run.sh has it.
VM_TESTS := $(sort $(basename $(notdir $(shell grep -l 'return ksft_end()' tests/vm/*.c; \
	grep -l '^\# Runs in the test guest' tests/vm/*.sh))))
# Unit tests that run there, too: what the scripts say of themselves.
VM_UNITS := $(filter tests/unit/%,$(shell sed -n 's/^. files: //p' tests/vm/*.sh))

$(B)/vm/bin/%: tests/vm/%.c $(B)/.flags $(LIBRARY)
	$(call say,VMTEST,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -MMD -MP -o $@ $< $(LIBRARY) $(ALL_LIBS)

.PHONY: vm-programs
vm-programs: $(VM_BINS) $(VM_UNITS:%=$(B)/%) $(B)/bench/touch programs

# What tests say of themselves behind a WORD in a comment (kselftest.h).
vm_said = $(shell sed -n 's|[[:space:]]*\*/$$||; s|^[ \#*/]*$(2): ||p' $(wildcard $(1:%=tests/vm/%.c) $(1:%=tests/vm/%.sh)))
# What the tests named need in the guest, of what is built here.
vm_needs = $(call vm_built,hold-kvm $(1) $(call vm_said,$(1),files))
vm_built = $(filter $(VM_BINS),$(1:%=$(B)/vm/bin/%)) \
	$(addprefix $(B)/,$(filter tests/unit/% bench/% $(PROGRAMS),$(1)))

# Runs the tests named, or those of every day; what failed is shown once more at the end.
# Those that run for long do so without nested paging, as check-vm-long has it.
VM_LONG := -cpu max,-npt
define run_vm
$(Q)B=$(B) $(if $(filter long,$(call vm_said,$(1),set)),VM_QEMU='$(VM_LONG)') \
	prove --timer $(if $(1),-v) -e sh tests/vm/run.sh $(if $(1),:: $(1)) || \
	{ grep -A 3 '^not ok' $(B)/vm/tap; false; }
endef
