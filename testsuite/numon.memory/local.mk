# SPDX-License-Identifier: GPL-3.0-or-later
EXTRA_DIST += testsuite/lib/memory.exp
EXTRA_DIST += testsuite/numon.memory/backends.exp
EXTRA_DIST += testsuite/numon.memory/host.exp
EXTRA_DIST += testsuite/numon.memory/live.exp
EXTRA_DIST += testsuite/numon.memory/lost.exp
EXTRA_DIST += testsuite/numon.memory/migrate.exp
EXTRA_DIST += testsuite/numon.memory/refused.exp
