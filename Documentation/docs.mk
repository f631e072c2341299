# SPDX-License-Identifier: GPL-2.0-or-later
# Pages: HTML and man pages from reStructuredText, and pages made from the tables.

DOC_GENS := $(patsubst tests/docs/%.c,$(B)/tests/docs/%,$(wildcard tests/docs/gen-*.c))
MANS := $(patsubst Documentation/man/%.rst,$(B)/man/%,$(wildcard Documentation/man/*.rst))
HTMLS := $(patsubst Documentation/%.rst,$(B)/docs/%.html,$(wildcard Documentation/*.rst))

# Programs that print a table as a page.
$(B)/tests/docs/%: tests/docs/%.c $(B)/.flags $(LIBRARY)
	$(call say,TEST,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -MMD -MP -o $@ $< $(LIBRARY) $(ALL_LIBS)

$(B)/docs/%.html: Documentation/%.rst $(wildcard Documentation/generated/*.rst Documentation/screens/*)
	$(call say,HTML,$@)
	@mkdir -p $(@D)
	$(Q)rst2html --halt=warning $< $@
	@cp -r Documentation/screens $(@D)
$(B)/man/%: Documentation/man/%.rst $(wildcard Documentation/generated/ctl-*.rst)
	$(call say,MAN,$@)
	@mkdir -p $(@D)
	$(Q)rst2man --halt=warning $< $@

.PHONY: doc-gens pages
doc-gens: $(DOC_GENS)
pages: $(HTMLS) $(MANS)
