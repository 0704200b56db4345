# SPDX-License-Identifier: GPL-3.0-or-later

# Unit programs are check_PROGRAMS named testsuite/unit/test-NAME, each declared in the fragment of the folder that
# it tests; testsuite/numon.unit/unit.exp runs all of them.
check_PROGRAMS += $(unit_programs)

# DejaGnu: suites are testsuite/numon.AREA/*.exp.  Each area lists its files in EXTRA_DIST, one by one: naming the
# folder would ship whatever lies there.
DEJATOOL = numon
AM_RUNTESTFLAGS = --srcdir "$$srcdir/testsuite" NUMON="$(abs_builddir)/numon$(EXEEXT)" \
	UNITDIR="$(abs_builddir)/testsuite/unit" UNITS="$(unit_programs)"

EXTRA_DIST += testsuite/config/unix.exp
EXTRA_DIST += testsuite/lib/numon.exp
EXTRA_DIST += testsuite/layers.awk
EXTRA_DIST += testsuite/lsan.supp
EXTRA_DIST += testsuite/tsan.supp
EXTRA_DIST += testsuite/numon.console/batch.exp testsuite/numon.console/console.exp
EXTRA_DIST += testsuite/numon.console/idle.exp
EXTRA_DIST += testsuite/numon.console/malformed.exp
EXTRA_DIST += testsuite/numon.console/no-kvm.exp
EXTRA_DIST += testsuite/numon.console/options.exp
EXTRA_DIST += testsuite/numon.console/plain.exp
EXTRA_DIST += testsuite/numon.console/script.exp
EXTRA_DIST += testsuite/numon.console/serial.exp
EXTRA_DIST += testsuite/numon.console/session.exp
EXTRA_DIST += testsuite/numon.console/terminal.exp
EXTRA_DIST += testsuite/numon.console/wait.exp
EXTRA_DIST += testsuite/numon.guest/acpi.exp
EXTRA_DIST += testsuite/numon.guest/basic.exp
EXTRA_DIST += testsuite/numon.guest/ends.exp
EXTRA_DIST += testsuite/numon.guest/preconfig.exp
EXTRA_DIST += testsuite/numon.migrate/tsan.exp
EXTRA_DIST += testsuite/numon.unit/layers.exp
EXTRA_DIST += testsuite/numon.unit/unit.exp
CLEANFILES += numon.log numon.sum
DISTCLEANFILES += site.exp site.bak

include testsuite/numon.numa/local.mk
include testsuite/bench/local.mk
include testsuite/numon.migrate/local.mk
include testsuite/numon.kvm/local.mk
include testsuite/numon.memory/local.mk
include testsuite/fuzz/local.mk
include testsuite/rig/local.mk
