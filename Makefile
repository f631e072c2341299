# SPDX-License-Identifier: GPL-2.0-or-later
#
# drover. `make help` lists what people type; README.md names the two that matter.
# Layers are directories under userspace/; a layer's sources are what lies in it.

VERSION := $(shell cat VERSION)
B ?= build
PREFIX ?= /usr/local
V ?= 0
SAN ?=
N ?= 10
SEED ?= 1
FUZZ_TIME ?= 60

# gcc unless the command line or the environment says otherwise.
ifeq ($(origin CC),default)
CC := gcc
endif

# userspace/layers lists all of them, lowest first; its last line is the programs'.
ALL_LAYERS := $(shell grep -v '^\#' userspace/layers)
LIBRARY_LAYERS := $(filter-out daemon ctl vmm,$(ALL_LAYERS))
LAYERS := $(LIBRARY_LAYERS) daemon
PROGRAMS := droverd droverctl drover-vmm
HAVE_PROGRAMS := $(foreach p,$(PROGRAMS),$(if $(wildcard userspace/$(subst drover-,,$(subst droverctl,ctl,$(subst droverd,daemon,$(p))))/*.c),$(p)))

DEPS := gcc g++ make pkg-config liburing-dev libjson-c-dev libxxhash-dev linux-libc-dev perl \
	python3 socat python3-docutils libnl-3-dev libnl-genl-3-dev libnl-route-3-dev iproute2 tmux zsh \
	python3-openssl python3-bitarray python3-simplejson systemtap-sdt-dev
DEPS_SAN := clang libclang-rt-14-dev util-linux
DEPS_WEB := chromium fonts-dejavu-core
DEPS_BENCH := qemu-system-x86 iperf3
DEPS_VM := qemu-system-x86 cpio kmod dwarves libelf1 sparse
DEPS_VM_DEBUG := flex bison bc xz-utils libelf-dev libssl-dev

PKGS := liburing json-c libxxhash
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
CFLAGS ?= -O2 -g
ALL_CFLAGS = -std=gnu11 -D_GNU_SOURCE= $(WARN) $(CFLAGS) $(SAN) -fPIC -fvisibility=hidden -pthread \
	-Iuserspace -Iuapi -I$(B)/gen $(PKG_CFLAGS) -DDROVER_VERSION='"$(VERSION)"'
ALL_LDFLAGS = $(LDFLAGS) $(SAN) -pthread
ALL_LIBS = $(PKG_LIBS) $(LIBS)

ifeq ($(V),0)
Q := @
say = @printf '  %-7s %s\n' '$(1)' '$(2)'
MAKEFLAGS += --no-print-directory
else
Q :=
say = @:
endif

srcs = $(wildcard userspace/$(1)/*.c userspace/$(1)/*/*.c)
objs = $(patsubst userspace/%.c,$(B)/obj/%.o,$(call srcs,$(1)))
archive = $(B)/obj/lib$(1).a
archives = $(foreach l,$(1),$(call archive,$(l)))
linkset = -Wl,--start-group $(1) -Wl,--end-group
# Layers up to and with $(1).
upto = $(if $(filter $(1),$(LAYERS)),$(call upto_,$(1),$(LAYERS)),$(LAYERS))
upto_ = $(if $(2),$(firstword $(2)) $(if $(filter $(1),$(firstword $(2))),,$(call upto_,$(1),$(wordlist 2,99,$(2)))))

UNIT_SRCS := $(wildcard tests/unit/*.c)
UNIT_TESTS := $(patsubst tests/unit/%.c,$(B)/tests/unit/%,$(UNIT_SRCS))
PEERS := $(B)/tests/peer/droverd-minor $(B)/tests/peer/droverd-major $(B)/tests/peer/droverd-crash
DOC_GENS := $(patsubst tests/docs/%.c,$(B)/tests/docs/%,$(wildcard tests/docs/gen-*.c))
FUZZERS := $(patsubst tests/fuzz/%.c,%,$(wildcard tests/fuzz/fuzz-*.c))
SCRIPT_TESTS := $(sort $(wildcard tests/lint/*.t tests/qmp/*.t tests/e2e/*.t))
SAN_TESTS := $(sort $(wildcard tests/qmp/*.t tests/e2e/*.t))
MANS := $(patsubst Documentation/man/%.rst,$(B)/man/%,$(wildcard Documentation/man/*.rst))
HTMLS := $(patsubst Documentation/%.rst,$(B)/docs/%.html,$(wildcard Documentation/*.rst))

.PHONY: all
all: ## build everything (V=1 is loud; CC=clang works)
all: programs libs
.PHONY: programs libs unit peers
programs: $(HAVE_PROGRAMS:%=$(B)/%)
libs: $(B)/libdrover.so $(B)/libdrover.a
unit: $(UNIT_TESTS) peers
peers: $(PEERS)

.PHONY: help
help: ## this list
	@sed -n 's/^\([a-z][a-z-]*\): ## /  \1	/p' Makefile | expand -t 18

# ---- what a fresh Debian 12 lacks -------------------------------------------
missing = $(shell for p in $(1); do dpkg-query -W -f='$${Status}' $$p 2>/dev/null | \
	grep -q 'ok installed' || echo $$p; done)
install_missing = $(if $(strip $(1)),apt-get -qq update && DEBIAN_FRONTEND=noninteractive \
	apt-get -qq -y --no-install-recommends install $(1) >/dev/null,:)
.PHONY: deps deps-san deps-web deps-bench deps-vm deps-vm-debug
deps: ## install the Debian packages that are missing (root)
	$(Q)$(call install_missing,$(call missing,$(DEPS)))
	$(Q)sh tests/qmp/ganeti.sh
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

# ---- compile ----------------------------------------------------------------
# Objects depend on how they are made: other flags or another compiler rebuild them.
$(shell mkdir -p $(B); printf '%s\n' '$(subst ','\'',$(CC) $(CFLAGS) $(SAN) $(WARN) $(VERSION))' | \
	cmp -s - $(B)/.flags || printf '%s\n' '$(subst ','\'',$(CC) $(CFLAGS) $(SAN) $(WARN) $(VERSION))' > $(B)/.flags)

$(B)/obj/%.o: userspace/%.c $(B)/.flags
	$(call say,CC,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) $(CFLAGS_$(firstword $(subst /, ,$*))) -MMD -MP -c -o $@ $<

define layer_rules
$(call archive,$(1)): $(call objs,$(1))
	$$(call say,AR,$$@)
	@mkdir -p $$(@D)
	@rm -f $$@
	$$(Q)$(AR) rcs $$@ $$^
endef
$(foreach l,$(LAYERS),$(eval $(call layer_rules,$(l))))

# ---- programs: a directory of their own over the library --------------------
define program_rules
$(B)/$(1): $(call objs,$(2)) $(call archives,$(LIBRARY_LAYERS))
	$$(call say,LD,$$@)
	$$(Q)$(CC) $$(ALL_LDFLAGS) -o $$@ $(call objs,$(2)) \
		$(call linkset,$(call archives,$(LIBRARY_LAYERS))) $$(ALL_LIBS) $$(LIBS_$(2))
endef
$(eval $(call program_rules,droverd,daemon))
$(eval $(call program_rules,droverctl,ctl))
$(eval $(call program_rules,drover-vmm,vmm))

# ---- libdrover: what a VMM links --------------------------------------------
LIBDROVER := $(call archives,lib agent dev ram base)
$(B)/libdrover.so.$(VERSION): $(LIBDROVER) userspace/lib/libdrover.map
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) -shared -Wl,-soname,libdrover.so.0 \
		-Wl,--version-script=userspace/lib/libdrover.map -Wl,--no-undefined -o $@ \
		-Wl,--whole-archive $(call archive,lib) -Wl,--no-whole-archive \
		$(call linkset,$(call archives,agent dev ram base)) $(ALL_LIBS)
$(B)/libdrover.so: $(B)/libdrover.so.$(VERSION)
	$(Q)ln -sf $(<F) $(B)/libdrover.so.0 && ln -sf $(<F) $@
$(B)/libdrover.a: $(LIBDROVER)
	$(call say,AR,$@)
	@rm -f $@
	$(Q)printf 'create %s\n%s\nsave\nend\n' $@ "$$(printf 'addlib %s\n' $(LIBDROVER))" | $(AR) -M

# ---- unit tests: tests/unit/LAYER-NAME.c sees LAYER and what lies below -----
define unit_rules
$(B)/tests/unit/$(1): tests/unit/$(1).c $(B)/.flags $(call archives,$(call upto,$(firstword $(subst -, ,$(1)))))
	$$(call say,TEST,$$@)
	@mkdir -p $$(@D)
	$$(Q)$(CC) $$(ALL_CFLAGS) -Itests/unit $$(ALL_LDFLAGS) -MMD -MP -o $$@ $$< \
		$(call linkset,$(call archives,$(call upto,$(firstword $(subst -, ,$(1)))))) $$(ALL_LIBS) \
		$$(LIBS_$(firstword $(subst -, ,$(1))))
endef
$(foreach t,$(UNIT_SRCS:tests/unit/%.c=%),$(eval $(call unit_rules,$(t))))

# droverd of another protocol version: what looks at the version is compiled again.
AGED := $(shell grep -rlE --include='*.c' 'DROVER_WIRE_(VERSION|OLDEST|MAJOR|MINOR)' userspace)
AGE_minor := -DDROVER_WIRE_MINOR=255u
AGE_major := -DDROVER_WIRE_MAJOR=200u
$(B)/tests/peer/droverd-%: $(AGED) $(call objs,daemon) $(call archives,$(LIBRARY_LAYERS))
	$(call say,PEER,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) $(AGE_$*) $(ALL_LDFLAGS) -o $@ $(AGED) $(call objs,daemon) \
		$(call linkset,$(call archives,$(LIBRARY_LAYERS))) $(ALL_LIBS) $(LIBS_daemon)

# droverd that dies between two steps (base/crash.h).
CRASHING := $(shell grep -rl --include='*.c' 'base/crash.h' userspace)
$(B)/tests/peer/droverd-crash: $(CRASHING) tests/lib/crash.c $(call objs,daemon) $(call archives,$(LIBRARY_LAYERS))
	$(call say,PEER,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) -DDROVER_CRASH_POINTS $(ALL_LDFLAGS) -o $@ $(CRASHING) tests/lib/crash.c \
		$(call objs,daemon) $(call linkset,$(call archives,$(LIBRARY_LAYERS))) $(ALL_LIBS) $(LIBS_daemon)

$(B)/tests/docs/%: tests/docs/%.c $(call archives,$(LIBRARY_LAYERS))
	$(call say,TEST,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -MMD -MP -o $@ $< \
		$(call linkset,$(call archives,$(LIBRARY_LAYERS))) $(ALL_LIBS)

# ---- the two commands of the README -----------------------------------------
.PHONY: demo
demo: ## live-migrate a KVM guest from one process to another
demo: deps
	$(Q)$(MAKE) all
	$(Q)B=$(B) python3 tests/demo/demo.py

.PHONY: check check-run check-unit check-lint check-web
check: ## all tests: lint, unit, QMP, end to end, 10 rounds of each soak, the module in a guest
check: deps-vm
	$(Q)$(MAKE) check-run
	$(Q)$(MAKE) check-vm
check-run: all unit $(DOC_GENS)
	$(Q)B=$(B) CC="$(CC)" N=10 SEED=$(SEED) prove --timer -e '' $(SCRIPT_TESTS) $(UNIT_TESTS) \
		$(wildcard tests/soak/*.py)
check-unit: $(UNIT_TESTS) ## unit tests only
	$(Q)prove -e '' $(UNIT_TESTS)
check-lint: all $(DOC_GENS) ## layers, globals, headers, licences, generated pages
	$(Q)B=$(B) CC="$(CC)" prove -e '' $(wildcard tests/lint/*.t)

check-web: ## the report's page in headless Chromium
check-web: deps-web
	$(Q)$(MAKE) programs
	$(Q)B=$(B) prove -e '' $(wildcard tests/web/*.t)

# ---- the module, in a guest with a kernel of its own ------------------------
VM_BINS := $(patsubst tests/vm/%.c,$(B)/vm/bin/%,$(wildcard tests/vm/*.c))
$(B)/vm/bin/%: tests/vm/%.c $(B)/.flags $(call archives,$(LIBRARY_LAYERS))
	$(call say,VMTEST,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -MMD -MP -o $@ $< \
		$(call linkset,$(call archives,$(LIBRARY_LAYERS))) $(ALL_LIBS)

# Unit tests that run there, too: what the scripts say of themselves.
VM_UNITS := $(filter tests/unit/%,$(shell sed -n 's/^. files: //p' tests/vm/*.sh))

.PHONY: vm-programs module check-vm check-vm-long check-vm-controls check-vm-debug bench-vm
vm-programs: $(VM_BINS) $(VM_UNITS:%=$(B)/%) $(B)/bench/touch programs
module: ## drover.ko for Debian's kernel, downloaded and never installed
module: deps-vm
	$(Q)sh tests/vm/fetch.sh
	$(Q)B=$(B) sh tests/vm/build.sh
check-vm: ## the module's tests, in a guest under QEMU (no KVM needed)
check-vm: deps-vm
	$(Q)$(MAKE) vm-programs
	$(Q)B=$(B) prove --timer -e sh tests/vm/run.sh || \
		{ grep -A 3 '^not ok' $(B)/vm/tap; false; }
# No nested paging: machines that run for long die of it ("Known" in Documentation/testing.rst).
check-vm-long: ## and those that take long: stress, 1,000 regions, two nodes
check-vm-long: deps-vm
	$(Q)$(MAKE) vm-programs
	$(Q)B=$(B) VM_QEMU='-cpu max,-npt' sh tests/vm/run.sh -s long
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
.PHONY: check-asan check-tsan check-san
check-asan: ## unit, QMP and end to end under ASan and UBSan
check-asan: deps-san
	$(Q)$(MAKE) B=build-asan CFLAGS="-O1 -g -fno-omit-frame-pointer" \
		SAN="-fsanitize=address,undefined -fno-sanitize-recover=all" check-san
check-tsan: ## the same under TSan
check-tsan: deps-san
	$(Q)TSAN_OPTIONS="halt_on_error=0 exitcode=66 suppressions=$(CURDIR)/tests/tsan.supp" \
		setarch -R $(MAKE) B=build-tsan CFLAGS="-O1 -g -fno-omit-frame-pointer" \
		SAN="-fsanitize=thread" check-san
check-san: programs unit $(DOC_GENS)
	$(Q)B=$(B) DROVER_SANITIZER=1 prove --timer -e '' $(UNIT_TESTS) $(SAN_TESTS)

.PHONY: record-qmp
record-qmp: ## QEMU's answers to tests/qmp/corpus/sends.jsonl, recorded anew
record-qmp: deps-bench
	$(Q)python3 tests/qmp/record.py

.PHONY: soak-migrate soak-kill soak-postcopy
soak-migrate: ## N migrations back and forth (N=200): nothing leaks
soak-migrate: programs
	$(Q)B=$(B) N=$(N) SEED=$(SEED) python3 tests/soak/migrate.py
soak-kill: ## N kills of a daemon at a random moment (N=100): nobody is lost
soak-kill: programs
	$(Q)B=$(B) N=$(N) SEED=$(SEED) python3 tests/soak/kill.py
soak-postcopy: ## N postcopies with faults at random moments (N=200): nobody is lost
soak-postcopy: programs
	$(Q)B=$(B) N=$(N) SEED=$(SEED) python3 tests/soak/postcopy.py

.PHONY: bench bench-downtime bench-postcopy bench-qmp
bench: ## ratios against iperf3 and QEMU, and the three below, into Documentation/performance.rst
bench: deps-bench
	$(Q)$(MAKE) programs
	$(Q)B=$(B) python3 tests/bench/bench.py
	$(Q)$(MAKE) bench-downtime bench-postcopy bench-qmp
# Who measures waits for pages: a VMM over libdrover alone.
$(B)/bench/%: tests/bench/%.c $(B)/libdrover.a
	$(call say,BENCH,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -MMD -MP -o $@ $< $(B)/libdrover.a $(ALL_LIBS)
bench-postcopy: ## waits for missing pages, against a ping-pong and QEMU, and the push
bench-postcopy: deps-bench
	$(Q)$(MAKE) programs $(B)/bench/touch
	$(Q)B=$(B) python3 tests/bench/postcopy.py
bench-downtime: N = 50
bench-downtime: ## how good the expected downtime is, over N=50 migrations drawn from SEED=1
bench-downtime: programs
	$(Q)B=$(B) N=$(N) SEED=$(SEED) python3 tests/bench/downtime.py
bench-qmp: ## what a hostile client of the control socket costs others, and QEMU's
bench-qmp: deps-bench
	$(Q)$(MAKE) programs
	$(Q)B=$(B) python3 tests/bench/qmp.py

.PHONY: fuzz fuzz-run
fuzz: ## each libFuzzer target for FUZZ_TIME=60 seconds
fuzz: deps-san
	$(Q)$(MAKE) B=build-fuzz CC=clang CFLAGS="-O1 -g" \
		SAN="-fsanitize=address,undefined,fuzzer-no-link -fno-sanitize-recover=all" fuzz-run
$(B)/%: tests/fuzz/%.c $(call archives,base config wire address)
	$(call say,FUZZ,$@)
	$(Q)clang $(ALL_CFLAGS) -Wno-missing-prototypes -fsanitize=fuzzer -MMD -MP -o $@ $< \
		$(call linkset,$(call archives,base config wire address)) $(ALL_LIBS)
fuzz-run: $(FUZZERS:%=$(B)/%)
	$(Q)set -e; for f in $(FUZZERS); do \
		mkdir -p $(B)/corpus/$$f; echo "== $$f"; \
		$(B)/$$f -max_total_time=$(FUZZ_TIME) -print_final_stats=0 -verbosity=0 \
			-artifact_prefix=$(B)/ $(B)/corpus/$$f \
			$$(ls -d tests/fuzz/corpus/$${f#fuzz-} 2>/dev/null); \
		echo "$$f: clean for $(FUZZ_TIME) s"; done

# ---- documentation ----------------------------------------------------------
.PHONY: docs docs-generated docs-screens docs-report
docs: ## HTML and man pages into build/docs and build/man
docs: docs-generated $(HTMLS) $(MANS)
docs-generated: $(DOC_GENS)
	$(Q)sh tests/docs/generate.sh $(B) Documentation
docs-screens: ## the screen of droverctl watch, taken anew from a terminal
docs-screens: deps
	$(Q)$(MAKE) programs
	$(Q)B=$(B) python3 tests/docs/screens.py watch Documentation/screens
docs-report: ## pictures of the report's page, drawn anew by Chromium
docs-report: deps-web
	$(Q)$(MAKE) programs
	$(Q)B=$(B) python3 tests/docs/screens.py report Documentation/screens
$(B)/docs/%.html: Documentation/%.rst $(wildcard Documentation/generated/*.rst Documentation/screens/*)
	$(call say,HTML,$@)
	@mkdir -p $(@D)
	$(Q)rst2html --halt=warning $< $@
	@cp -r Documentation/screens $(@D)
$(B)/man/%: Documentation/man/%.rst $(wildcard Documentation/generated/ctl-*.rst)
	$(call say,MAN,$@)
	@mkdir -p $(@D)
	$(Q)rst2man --halt=warning $< $@

# ---- install ----------------------------------------------------------------
D = $(DESTDIR)$(PREFIX)
.PHONY: install uninstall
install: ## programs, library, man pages, completion, systemd unit (DESTDIR, PREFIX)
install: all $(MANS)
	$(Q)install -d $(D)/bin $(D)/lib/pkgconfig $(D)/lib/systemd/system $(D)/include \
		$(D)/share/man/man1 $(D)/share/man/man8 \
		$(D)/share/bash-completion/completions $(D)/share/zsh/site-functions
	$(Q)install -m 755 $(HAVE_PROGRAMS:%=$(B)/%) $(D)/bin/
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
	rm -rf $(B) build-asan build-tsan build-fuzz

-include $(shell find $(B) -path $(B)/vm/cache -prune -o -type f -name '*.d' -print 2>/dev/null)
