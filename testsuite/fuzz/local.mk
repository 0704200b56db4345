# SPDX-License-Identifier: GPL-3.0-or-later
# Fuzzers: "make fuzz" in a build by clang with --enable-sanitize=address,undefined,fuzzer-no-link runs each of them for
# FUZZ_SECONDS, with the files of PROGRAM.seeds to start from; what it finds of new ways stays in PROGRAM.new.
fuzz_programs = testsuite/fuzz/fuzz-kernel testsuite/fuzz/fuzz-property testsuite/fuzz/fuzz-state \
	testsuite/fuzz/fuzz-xbzrle testsuite/fuzz/fuzz-stream testsuite/fuzz/fuzz-configuration
EXTRA_PROGRAMS += $(fuzz_programs)
testsuite_fuzz_fuzz_kernel_SOURCES = testsuite/fuzz/fuzz-kernel.c
testsuite_fuzz_fuzz_kernel_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
testsuite_fuzz_fuzz_property_SOURCES = testsuite/fuzz/fuzz-property.c
testsuite_fuzz_fuzz_property_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
testsuite_fuzz_fuzz_state_SOURCES = testsuite/fuzz/fuzz-state.c
testsuite_fuzz_fuzz_state_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
testsuite_fuzz_fuzz_xbzrle_SOURCES = testsuite/fuzz/fuzz-xbzrle.c
testsuite_fuzz_fuzz_xbzrle_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
testsuite_fuzz_fuzz_stream_SOURCES = testsuite/fuzz/fuzz-stream.c
testsuite_fuzz_fuzz_stream_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
testsuite_fuzz_fuzz_configuration_SOURCES = testsuite/fuzz/fuzz-configuration.c
testsuite_fuzz_fuzz_configuration_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
CLEANFILES += $(fuzz_programs)
clean-local: clean-fuzz
.PHONY: clean-fuzz
clean-fuzz:
	rm -rf testsuite/fuzz/*.new

FUZZ_SECONDS = 60
.PHONY: fuzz fuzz-run
fuzz:
	@if echo 'int unused;' | $(CC) -fsanitize=fuzzer-no-link -x c -c -o /dev/null - 2>/dev/null; then \
	    $(MAKE) fuzz-run; \
	else \
	    echo "fuzz: skipped: $(CC) has no libFuzzer (configure with CC=clang)"; \
	fi
fuzz-run: $(fuzz_programs)
	for p in $(fuzz_programs); do \
	    mkdir -p $$p.new && seeds=$(srcdir)/$$p.seeds && test -d $$seeds || seeds=; \
	    ./$$p -max_total_time=$(FUZZ_SECONDS) -timeout=10 $$p.new $$seeds || exit 1; \
	done
EXTRA_DIST += testsuite/fuzz/fuzz-xbzrle.seeds/first-byte testsuite/fuzz/fuzz-xbzrle.seeds/last-byte \
	testsuite/fuzz/fuzz-xbzrle.seeds/short-page testsuite/fuzz/fuzz-xbzrle.seeds/two-runs
EXTRA_DIST += testsuite/fuzz/fuzz-stream.seeds/checksum testsuite/fuzz/fuzz-stream.seeds/compress \
	testsuite/fuzz/fuzz-stream.seeds/grow testsuite/fuzz/fuzz-stream.seeds/join \
	testsuite/fuzz/fuzz-stream.seeds/join-grow testsuite/fuzz/fuzz-stream.seeds/plain testsuite/fuzz/fuzz-stream.seeds/xbzrle \
	testsuite/fuzz/fuzz-stream.seeds/runs \
	testsuite/fuzz/fuzz-configuration.seeds/same testsuite/fuzz/fuzz-configuration.seeds/other
EXTRA_DIST += testsuite/fuzz/fuzz-kernel.seeds/elf testsuite/fuzz/fuzz-kernel.seeds/linux \
	testsuite/fuzz/fuzz-kernel.seeds/multiboot testsuite/fuzz/fuzz-kernel.seeds/pvh
