# SPDX-License-Identifier: GPL-3.0-or-later
# Fuzzers: "make fuzz" in a build by clang with --enable-sanitize=address,undefined,fuzzer-no-link runs each of them for
# FUZZ_SECONDS.
fuzz_programs = testsuite/fuzz/fuzz-kernel testsuite/fuzz/fuzz-property testsuite/fuzz/fuzz-state
EXTRA_PROGRAMS = $(fuzz_programs)
testsuite_fuzz_fuzz_kernel_SOURCES = testsuite/fuzz/fuzz-kernel.c
testsuite_fuzz_fuzz_kernel_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
testsuite_fuzz_fuzz_property_SOURCES = testsuite/fuzz/fuzz-property.c
testsuite_fuzz_fuzz_property_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
testsuite_fuzz_fuzz_state_SOURCES = testsuite/fuzz/fuzz-state.c
testsuite_fuzz_fuzz_state_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
CLEANFILES += $(fuzz_programs)

FUZZ_SECONDS = 60
.PHONY: fuzz
fuzz: $(fuzz_programs)
	for p in $(fuzz_programs); do ./$$p -max_total_time=$(FUZZ_SECONDS) -timeout=10 || exit 1; done
