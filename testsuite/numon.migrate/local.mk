# SPDX-License-Identifier: GPL-3.0-or-later
EXTRA_DIST += testsuite/lib/migrate.exp

# A link that fails on demand, for faults.exp and typed.exp.
check_PROGRAMS += testsuite/numon.migrate/link
testsuite_numon_migrate_link_SOURCES = testsuite/numon.migrate/link.c
testsuite_numon_migrate_link_LDADD =
EXTRA_DIST += testsuite/numon.migrate/compress.exp
EXTRA_DIST += testsuite/numon.migrate/endurance.exp
EXTRA_DIST += testsuite/numon.migrate/engine.exp
EXTRA_DIST += testsuite/numon.migrate/faults.exp
EXTRA_DIST += testsuite/numon.migrate/planted.exp
EXTRA_DIST += testsuite/numon.migrate/precopy.exp
EXTRA_DIST += testsuite/numon.migrate/refused.exp
EXTRA_DIST += testsuite/numon.migrate/stream.exp
EXTRA_DIST += testsuite/numon.migrate/typed.exp
EXTRA_DIST += testsuite/numon.migrate/xbzrle.exp
