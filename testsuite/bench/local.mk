# SPDX-License-Identifier: GPL-3.0-or-later
EXTRA_DIST += testsuite/bench/numa.sh testsuite/bench/predict.sh

# The 128-node configuration, beside QEMU's where that is installed.
bench-numa: numon$(EXEEXT)
	$(srcdir)/testsuite/bench/numa.sh ./numon$(EXEEXT)
.PHONY: bench-numa

# What each way to log writes costs; the table is in the manual.
EXTRA_PROGRAMS = testsuite/bench/bench-dirty
testsuite_bench_bench_dirty_SOURCES = testsuite/bench/bench-dirty.c
bench-dirty: testsuite/bench/bench-dirty$(EXEEXT)
	testsuite/bench/bench-dirty$(EXEEXT) bench-dirty.json
.PHONY: bench-dirty
CLEANFILES += bench-dirty.json

# Migrations of numon and of QEMU in turn, beside what the machine can do at most.
EXTRA_PROGRAMS += testsuite/bench/bench-limits
testsuite_bench_bench_limits_SOURCES = testsuite/bench/bench-limits.c
EXTRA_DIST += testsuite/bench/migrate.pl testsuite/bench/Vmm.pm
bench-migrate: numon$(EXEEXT) testsuite/bench/bench-limits$(EXEEXT) src/guest/numon-workload.elf
	$(srcdir)/testsuite/bench/migrate.pl ./numon$(EXEEXT) testsuite/bench/bench-limits$(EXEEXT) \
		src/guest/numon-workload.elf bench-migrate.json
.PHONY: bench-migrate
CLEANFILES += bench-migrate.json

# What migrate_predict foretells beside what then comes.
bench-predict: numon$(EXEEXT) testsuite/bench/bench-limits$(EXEEXT)
	$(srcdir)/testsuite/bench/predict.sh ./numon$(EXEEXT) testsuite/bench/bench-limits$(EXEEXT) $(BENCH_RUNS)
.PHONY: bench-predict

# From exec to the guest's first instruction and first serial byte, beside QEMU and lkvm where these are installed.
EXTRA_PROGRAMS += testsuite/bench/bench-boot
testsuite_bench_bench_boot_SOURCES = testsuite/bench/bench-boot.c
bench-boot: numon$(EXEEXT) testsuite/bench/bench-boot$(EXEEXT) $(kernel_images)
	testsuite/bench/bench-boot$(EXEEXT) $(abs_builddir)/numon$(EXEEXT) $(abs_builddir)/src/guest \
		$(abs_builddir)/$(verdict_dir) bench-boot.json
	$(MAKE) $(AM_MAKEFLAGS) bench-user-space
# The same way to user space, in the rig.
EXTRA_DIST += testsuite/bench/user-space.sh
bench-user-space: all $(check_PROGRAMS)
	@$(srcdir)/testsuite/bench/user-space.sh $(BENCH_RUNS)
.PHONY: bench-user-space
.PHONY: bench-boot
CLEANFILES += bench-boot.json

# How long a user waits for the prompt.
EXTRA_DIST += testsuite/bench/console.pl
bench-console: numon$(EXEEXT) testsuite/bench/bench-limits$(EXEEXT) src/guest/numon-workload.elf
	$(srcdir)/testsuite/bench/console.pl ./numon$(EXEEXT) testsuite/bench/bench-limits$(EXEEXT) \
		src/guest/numon-workload.elf bench-console.json
.PHONY: bench-console
CLEANFILES += bench-console.json

# What size, vCPUs and nodes cost; BENCH_TEXINFO=FILE writes the tables of the manual.
EXTRA_DIST += testsuite/bench/curves.pl
bench-curves: numon$(EXEEXT) testsuite/bench/bench-limits$(EXEEXT) src/guest/numon-workload.elf
	$(srcdir)/testsuite/bench/curves.pl ./numon$(EXEEXT) testsuite/bench/bench-limits$(EXEEXT) \
		src/guest/numon-workload.elf bench-curves.json
.PHONY: bench-curves
CLEANFILES += bench-curves.json

# The encoder of differences beside a plain loop.
EXTRA_PROGRAMS += testsuite/bench/bench-xbzrle
testsuite_bench_bench_xbzrle_SOURCES = testsuite/bench/bench-xbzrle.c
bench-xbzrle: testsuite/bench/bench-xbzrle$(EXEEXT)
	testsuite/bench/bench-xbzrle$(EXEEXT)
.PHONY: bench-xbzrle
