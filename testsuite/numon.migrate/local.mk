# SPDX-License-Identifier: GPL-3.0-or-later
EXTRA_DIST += testsuite/lib/migrate.exp
EXTRA_DIST += testsuite/numon.migrate/engine.exp
EXTRA_DIST += testsuite/numon.migrate/faults.exp
EXTRA_DIST += testsuite/numon.migrate/planted.exp
EXTRA_DIST += testsuite/numon.migrate/precopy.exp
EXTRA_DIST += testsuite/numon.migrate/refused.exp
EXTRA_DIST += testsuite/numon.migrate/stream.exp

# A link that fails on demand, for faults.exp.
check_PROGRAMS += testsuite/numon.migrate/link
testsuite_numon_migrate_link_SOURCES = testsuite/numon.migrate/link.c
testsuite_numon_migrate_link_LDADD =
