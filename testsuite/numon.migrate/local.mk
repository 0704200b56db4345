# SPDX-License-Identifier: GPL-3.0-or-later
EXTRA_DIST += testsuite/lib/migrate.exp

# A link that fails on demand, for faults.exp and typed.exp.
check_PROGRAMS += testsuite/numon.migrate/link
testsuite_numon_migrate_link_SOURCES = testsuite/numon.migrate/link.c
testsuite_numon_migrate_link_LDADD =
EXTRA_DIST += testsuite/numon.migrate/compress.exp
EXTRA_DIST += testsuite/numon.migrate/endurance.exp
EXTRA_DIST += testsuite/numon.migrate/engine.exp
EXTRA_DIST += testsuite/numon.migrate/explain.exp
EXTRA_DIST += testsuite/numon.migrate/handover.exp
EXTRA_DIST += testsuite/numon.migrate/joins.exp
EXTRA_DIST += testsuite/numon.migrate/faults.exp
EXTRA_DIST += testsuite/numon.migrate/planted.exp
EXTRA_DIST += testsuite/numon.migrate/precopy.exp
EXTRA_DIST += testsuite/numon.migrate/predict.exp
EXTRA_DIST += testsuite/numon.migrate/refused.exp
EXTRA_DIST += testsuite/numon.migrate/report.exp
EXTRA_DIST += testsuite/numon.migrate/stream.exp
EXTRA_DIST += testsuite/numon.migrate/time.exp
EXTRA_DIST += testsuite/numon.migrate/trace.exp
EXTRA_DIST += testsuite/numon.migrate/typed.exp
EXTRA_DIST += testsuite/numon.migrate/views.exp
EXTRA_DIST += testsuite/numon.migrate/live.exp
EXTRA_DIST += testsuite/numon.migrate/xbzrle.exp

# The fault campaign alone, 9 kinds of faults: a short one; and a long one, 1000 runs on synthetic and 100 on KVM.
# FAULT_SEED=N strikes at other moments.
FAULT_SEED = 1
.PHONY: check-faults soak-migrate
check-faults: $(bin_PROGRAMS) $(check_PROGRAMS)
	$(MAKE) check-DEJAGNU RUNTESTFLAGS="faults.exp FAULT_SEED=$(FAULT_SEED)"
soak-migrate: $(bin_PROGRAMS) $(check_PROGRAMS)
	$(MAKE) check-DEJAGNU RUNTESTFLAGS="faults.exp FAULT_ACCELS=synthetic FAULT_RUNS=112 FAULT_SEED=$(FAULT_SEED)"
	$(MAKE) check-DEJAGNU RUNTESTFLAGS="faults.exp FAULT_ACCELS=kvm FAULT_RUNS=12 FAULT_SEED=$(FAULT_SEED)"
