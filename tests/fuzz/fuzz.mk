# SPDX-License-Identifier: GPL-2.0-or-later
# libFuzzer targets. "make fuzz" builds them, and the library below them, in a build
# directory of their own.

FUZZERS := $(patsubst tests/fuzz/%.c,%,$(wildcard tests/fuzz/fuzz-*.c))
FUZZED := $(call over,$(call upto,qmp))

$(FUZZERS:%=$(B)/%): $(B)/%: tests/fuzz/%.c $(B)/.flags $(FUZZED)
	$(call say,FUZZ,$@)
	$(Q)clang $(ALL_CFLAGS) -Wno-missing-prototypes -fsanitize=fuzzer -MMD -MP -o $@ $< \
		$(FUZZED) $(ALL_LIBS)

# make check only compiles them, with the compiler of the day, so that they keep up.
FUZZ_OBJS := $(patsubst tests/fuzz/%.c,$(B)/tests/fuzz/%.o,$(wildcard tests/fuzz/*.c))
$(FUZZ_OBJS): $(B)/tests/fuzz/%.o: tests/fuzz/%.c $(B)/.flags
	$(call say,FUZZ,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) -Wno-missing-prototypes -MMD -MP -c -o $@ $<

.PHONY: fuzz-run fuzz-objects
fuzz-objects: $(FUZZ_OBJS)
fuzz-run: $(FUZZERS:%=$(B)/%)
	$(Q)set -e; for f in $(FUZZERS); do \
		mkdir -p $(B)/corpus/$$f; echo "== $$f"; \
		$(B)/$$f -max_total_time=$(FUZZ_TIME) -print_final_stats=0 -verbosity=0 \
			-artifact_prefix=$(B)/ $(B)/corpus/$$f \
			$$(ls -d tests/fuzz/corpus/$${f#fuzz-} 2>/dev/null); \
		echo "$$f: clean for $(FUZZ_TIME) s"; done
