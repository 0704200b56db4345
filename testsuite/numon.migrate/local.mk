# SPDX-License-Identifier: GPL-3.0-or-later
EXTRA_DIST += testsuite/lib/migrate.exp
EXTRA_DIST += testsuite/numon.migrate/engine.exp
EXTRA_DIST += testsuite/numon.migrate/precopy.exp
EXTRA_DIST += testsuite/numon.migrate/refused.exp
EXTRA_DIST += testsuite/numon.migrate/stream.exp
