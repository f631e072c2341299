# SPDX-License-Identifier: GPL-2.0-or-later
#
# drover. `make help` lists what people type; README.md names the two that matter. How
# things are built is in the .mk file of their folder.

VERSION := $(shell cat VERSION)
B ?= build
PREFIX ?= /usr/local
V ?= 0
SAN ?=
N ?= 10
SEED ?= 1
FUZZ_TIME ?= 60
T :=
CFLAGS ?= -O2 -g
# gcc unless the command line or the environment says otherwise.
ifeq ($(origin CC),default)
CC := gcc
endif

ifeq ($(V),0)
Q := @
say = @printf '  %-7s %s\n' '$(1)' '$(2)'
MAKEFLAGS += --no-print-directory
else
Q :=
say = @:
endif

.PHONY: all
all: ## build everything (V=1 is loud; CC=clang works)
all: programs libs

.PHONY: help
help: ## this list
	@sed -n 's/^\([a-z_][a-z_.-]*\):[^#=]*## /  \1	/p' Makefile | expand -t 26

include userspace/userspace.mk Documentation/docs.mk
include tests/vm/vm.mk tests/lint/lint.mk tests/model/model.mk tests/tests.mk tests/bench/bench.mk \
	tests/fuzz/fuzz.mk

# ---- what a fresh Debian 12 lacks -------------------------------------------
DEPS := gcc g++ make pkg-config liburing-dev libjson-c-dev libxxhash-dev linux-libc-dev perl \
	python3 socat python3-docutils libnl-3-dev libnl-genl-3-dev libnl-route-3-dev iproute2 tmux zsh \
	python3-openssl python3-bitarray python3-simplejson systemtap-sdt-dev
DEPS_LINT := git clang-tidy shellcheck python3-clang-14
DEPS_SAN := clang libclang-rt-14-dev util-linux
DEPS_WEB := chromium fonts-dejavu-core
DEPS_BENCH := qemu-system-x86 iperf3
DEPS_VM := qemu-system-x86 cpio kmod dwarves libelf1 sparse
DEPS_FRESH := debootstrap util-linux
DEPS_VM_DEBUG := flex bison bc xz-utils libelf-dev libssl-dev

# What needs these builds in a make of its own, which begins when they are there.
missing = $(filter-out $(shell dpkg-query -W -f='$${db:Status-Status} $${Package}\n' $(1) 2>/dev/null | \
	sed -n 's/^installed //p'),$(1))
install_missing = $(if $(strip $(1)),apt-get -qq update && DEBIAN_FRONTEND=noninteractive \
	apt-get -qq -y --no-install-recommends -o DPkg::Lock::Timeout=300 install $(1) >/dev/null,:)
.PHONY: deps deps-lint deps-san deps-web deps-bench deps-vm deps-vm-debug deps-fresh
deps: ## install the Debian packages that are missing (root)
	$(Q)$(call install_missing,$(call missing,$(DEPS)))
	$(Q)sh tests/qmp/ganeti.sh
deps-lint: deps ## and those that lint the sources
	$(Q)$(call install_missing,$(call missing,$(DEPS_LINT)))
deps-san: deps ## and those for sanitizers and fuzzing
	$(Q)$(call install_missing,$(call missing,$(DEPS_SAN)))
deps-web: deps ## and a browser for the report's page
	$(Q)$(call install_missing,$(call missing,$(DEPS_WEB)))
deps-bench: deps ## and the peers that make bench measures against
	$(Q)$(call install_missing,$(call missing,$(DEPS_BENCH)))
deps-vm: deps ## and what builds the module and boots the test guest (no kernel is installed)
	$(Q)$(call install_missing,$(call missing,$(DEPS_VM)))
deps-vm-debug: deps-vm ## and what builds a kernel
	$(Q)$(call install_missing,$(call missing,$(DEPS_VM_DEBUG)))

deps-fresh: ## what makes a minimal Debian
	$(Q)$(call install_missing,$(call missing,$(DEPS_FRESH)))

# ---- the two commands of the README -----------------------------------------
.PHONY: demo
demo: ## live-migrate a KVM guest from one process to another
demo: deps
	$(Q)$(MAKE) all
	$(Q)B=$(B) python3 tests/demo/demo.py

# What tests are told; N and SEED are for the soaks.
TEST_ENV = B=$(B) CC="$(CC)" MAKE="$(MAKE)" N=$(N) SEED=$(SEED)
.PHONY: check check-run check-unit check-lint check-model check-web model
ifeq ($(T),)
check: ## all tests: lint, unit, QMP, end to end, 10 rounds of each soak, the module on one kernel
check: deps-lint deps-vm
	$(Q)$(MAKE) check-run
	$(Q)$(MAKE) check-vm VM_SERIES=
else
check: $(PICKED_DEPS)
	$(Q)$(MAKE) check-picked
endif
check-run: all unit $(MODEL) doc-gens fuzz-objects $(B)/bench/touch pages
	$(Q)$(TEST_ENV) N=10 prove --timer -e '' $(SCRIPT_TESTS) $(UNIT_TESTS) $(MODEL) $(SOAKS)
check-unit: ## unit tests only
check-unit: $(UNIT_TESTS)
	$(Q)prove -e '' $(UNIT_TESTS)
check-lint: ## layers, globals, headers, licences, generated pages, tidy
check-lint: all doc-gens
	$(Q)$(TEST_ENV) prove -e '' $(wildcard tests/lint/*.t)
check-model: ## the ownership machine explored: millions of states, each rule taken out
check-model: $(MODEL)
	$(Q)prove -v -e '' $(MODEL)
model: FAULTS = 3
model: ## the same, deeper: FAULTS=3 at once
model: $(MODEL)
	$(Q)$(MODEL) --faults $(FAULTS)
compile_commands.json: ## how each file is compiled, for clangd and other tools
.PHONY: tidy
tidy: ## clang-tidy, shellcheck, blanks; a file that was clean is not read again
tidy: deps-lint
	$(Q)$(TEST_ENV) prove -v -e '' tests/lint/tidy.t
check-web: ## the report's page in headless Chromium
check-web: deps-web
	$(Q)$(MAKE) programs
	$(Q)B=$(B) prove -e '' $(wildcard tests/web/*.t)

.PHONY: check-fresh
check-fresh: ## both commands of the README in a minimal Debian of its own (root); before a release
check-fresh: deps-fresh
	$(Q)B=$(B) tests/check-fresh

# ---- the module, in a guest with a kernel of its own ------------------------
.PHONY: module check-vm check-vm-long check-vm-controls check-vm-debug bench-vm
module: ## drover.ko for Debian's kernel, downloaded and never installed
module: deps-vm
	$(Q)sh tests/vm/fetch.sh
	$(Q)B=$(B) sh tests/vm/build.sh
# Debian's kernel, and the newest of each series here that Debian has, too.
VM_SERIES ?= 6.12
check-vm: ## the module's tests, in a guest under QEMU (no KVM needed), on two kernels
check-vm: deps-vm
	$(Q)$(MAKE) vm-programs
	$(call run_vm)
	$(Q)set -e; for abi in $(VM_SERIES); do \
		VM_ABI=$$abi B=$(B) prove --timer -e sh tests/vm/run.sh || \
			{ grep -A 3 '^not ok' $(B)/vm/tap; exit 1; }; \
	done
# No nested paging: machines that run for long die of it ("Known" in Documentation/testing.rst).
check-vm-long: ## and those that take long: stress, 1,000 regions, two nodes
check-vm-long: deps-vm
	$(Q)$(MAKE) vm-programs
	$(Q)B=$(B) VM_QEMU='$(VM_LONG)' sh tests/vm/run.sh -s long
check-vm-controls: ## each test fails when its mechanism is switched off
check-vm-controls: deps-vm
	$(Q)$(MAKE) vm-programs
	$(Q)B=$(B) sh tests/vm/run.sh -c
check-vm-debug: ## and on a kernel with KASAN, lockdep, kmemleak and fault injection
check-vm-debug: deps-vm-debug
	$(Q)$(MAKE) vm-programs
	$(Q)sh tests/vm/fetch.sh
	$(Q)k=$$(sh tests/vm/debug-kernel.sh) && B=$(B) VM_KERNEL=$$k/bzImage VM_KDIR=$$k/linux \
		VM_MODULES=$$k/root TIMEOUT_SCALE=5 VM_LIMIT=1440 \
		sh tests/vm/run.sh -s default -s debug
bench-vm: ## what the module costs, against soft-dirty and userfaultfd; waits in a postcopy
bench-vm: deps-vm
	$(Q)$(MAKE) vm-programs
	$(Q)B=$(B) VM_MEMORY=2048 VM_LIMIT=1800 sh tests/vm/run.sh -s bench
	$(Q)B=$(B) python3 tests/bench/vm-postcopy.py

# ---- sanitizers, fuzzing, soaks, bench --------------------------------------
.PHONY: check-asan check-tsan check-san fuzz
check-asan: ## unit, QMP and end to end under ASan and UBSan
check-asan: deps-san
	$(Q)$(MAKE) B=build-asan CFLAGS="-O1 -g -fno-omit-frame-pointer -DDROVER_LOCK_DEBUG" \
		SAN="-fsanitize=address,undefined -fno-sanitize-recover=all" check-san
check-tsan: ## the same under TSan
check-tsan: deps-san
	$(Q)TSAN_OPTIONS="halt_on_error=0 exitcode=66 suppressions=$(CURDIR)/tests/tsan.supp" \
		setarch -R $(MAKE) B=build-tsan CFLAGS="-O1 -g -fno-omit-frame-pointer" \
		SAN="-fsanitize=thread" check-san
check-san: programs unit doc-gens
	$(Q)B=$(B) DROVER_SANITIZER=1 prove --timer -e '' $(UNIT_TESTS) $(SAN_TESTS)
fuzz: ## each libFuzzer target for FUZZ_TIME=60 seconds
fuzz: deps-san
	$(Q)$(MAKE) B=build-fuzz CC=clang CFLAGS="-O1 -g" \
		SAN="-fsanitize=address,undefined,fuzzer-no-link -fno-sanitize-recover=all" fuzz-run

.PHONY: record-qmp
record-qmp: ## QEMU's answers to tests/qmp/corpus/sends.jsonl, recorded anew
record-qmp: deps-bench
	$(Q)python3 tests/qmp/record.py

.PHONY: soak-migrate soak-kill soak-postcopy soak-disk
soak-migrate: ## N migrations back and forth (N=200): nothing leaks
soak-migrate: programs
	$(Q)$(TEST_ENV) python3 tests/soak/migrate.py
soak-kill: ## N kills of a daemon at a random moment (N=100): nobody is lost
soak-kill: programs
	$(Q)$(TEST_ENV) python3 tests/soak/kill.py
soak-postcopy: ## N postcopies with faults at random moments (N=200): nobody is lost
soak-postcopy: programs
	$(Q)$(TEST_ENV) python3 tests/soak/postcopy.py

soak-disk: ## N migrations beside a slow disk with O_DIRECT (N=20): no page is lost
soak-disk: programs
	$(Q)$(TEST_ENV) python3 tests/soak/disk.py

.PHONY: bench bench-downtime bench-postcopy bench-qmp bench-wrote
bench: ## ratios against iperf3 and QEMU, and the three below, into Documentation/performance.rst
bench: deps-bench
	$(Q)$(MAKE) programs
	$(Q)B=$(B) python3 tests/bench/bench.py
	$(Q)$(MAKE) bench-downtime bench-postcopy bench-qmp
bench-wrote: ## what a completion that is reported costs a VMM, at 1 and 8 threads
bench-wrote: $(B)/bench/wrote programs
	$(Q)$(B)/bench/wrote
	$(Q)B=$(B) python3 tests/bench/disk.py
bench-postcopy: ## waits for missing pages, against a ping-pong and QEMU, and the push
bench-postcopy: deps-bench
	$(Q)$(MAKE) programs $(B)/bench/touch
	$(Q)B=$(B) python3 tests/bench/postcopy.py
bench-downtime: N = 50
bench-downtime: ## how good the expected downtime is, over N=50 migrations drawn from SEED=1
bench-downtime: programs
	$(Q)$(TEST_ENV) python3 tests/bench/downtime.py
bench-qmp: ## what a hostile client of the control socket costs others, and QEMU's
bench-qmp: deps-bench
	$(Q)$(MAKE) programs
	$(Q)B=$(B) python3 tests/bench/qmp.py

# ---- documentation ----------------------------------------------------------
.PHONY: docs docs-generated docs-screens docs-report
docs: ## HTML and man pages into build/docs and build/man
docs: docs-generated pages
docs-generated: ## the pages that are made from tables, in Documentation/
docs-generated: doc-gens
	$(Q)sh tests/docs/generate.sh $(B) Documentation
docs-screens: ## the screen of droverctl watch, taken anew from a terminal
docs-screens: deps
	$(Q)$(MAKE) programs
	$(Q)B=$(B) python3 tests/docs/screens.py watch Documentation/screens
docs-report: ## pictures of the report's page, drawn anew by Chromium
docs-report: deps-web
	$(Q)$(MAKE) programs
	$(Q)B=$(B) python3 tests/docs/screens.py report Documentation/screens

# ---- install ----------------------------------------------------------------
D = $(DESTDIR)$(PREFIX)
.PHONY: install uninstall
install: ## programs, library, man pages, completion, systemd unit (DESTDIR, PREFIX)
install: all $(MANS)
	$(Q)install -d $(D)/bin $(D)/lib/pkgconfig $(D)/lib/systemd/system $(D)/include \
		$(D)/share/man/man1 $(D)/share/man/man8 \
		$(D)/share/bash-completion/completions $(D)/share/zsh/site-functions
	$(Q)install -m 755 $(PROGRAMS:%=$(B)/%) $(D)/bin/
	$(Q)install -m 755 $(B)/libdrover.so.$(VERSION) $(D)/lib/
	$(Q)ln -sf libdrover.so.$(VERSION) $(D)/lib/libdrover.so.0
	$(Q)ln -sf libdrover.so.0 $(D)/lib/libdrover.so
	$(Q)install -m 644 $(B)/libdrover.a $(D)/lib/
	$(Q)install -m 644 userspace/lib/drover.h $(D)/include/
	$(Q)install -D -m 644 uapi/linux/drover.h $(D)/include/linux/drover.h
	$(Q)sed -e 's|@PREFIX@|$(PREFIX)|g' -e 's|@prefix@|$(PREFIX)|g' -e 's|@VERSION@|$(VERSION)|g' \
		-e 's|@version@|$(VERSION)|g' userspace/lib/drover.pc.in > $(D)/lib/pkgconfig/drover.pc
	$(Q)sed 's|@PREFIX@|$(PREFIX)|g' userspace/daemon/droverd@.service.in \
		> $(D)/lib/systemd/system/droverd@.service
	$(Q)for m in $(MANS); do install -m 644 $$m $(D)/share/man/man$${m##*.}/; done
	$(Q)install -m 644 userspace/ctl/completion.bash \
		$(D)/share/bash-completion/completions/droverctl
	$(Q)install -m 644 userspace/ctl/completion.zsh $(D)/share/zsh/site-functions/_droverctl
uninstall: ## what install put there
	$(Q)rm -f $(PROGRAMS:%=$(D)/bin/%) $(D)/lib/libdrover.* $(D)/lib/pkgconfig/drover.pc \
		$(D)/include/drover.h $(D)/include/linux/drover.h $(D)/lib/systemd/system/droverd@.service \
		$(foreach m,$(MANS),$(D)/share/man/man$(subst .,,$(suffix $(m)))/$(notdir $(m))) \
		$(D)/share/bash-completion/completions/droverctl \
		$(D)/share/zsh/site-functions/_droverctl

.PHONY: clean
clean: ## remove build directories
	rm -rf --one-file-system $(B) build-asan build-tsan build-fuzz

# What each object was made of, as the compiler said. Downloads and other roots are not ours.
-include $(shell find $(B) \( -path $(B)/vm/cache -o -path $(B)/fresh \) -prune -o \
	-type f -name '*.d' -print 2>/dev/null)
