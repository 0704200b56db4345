# SPDX-License-Identifier: GPL-3.0-or-later

# Unit programs are check_PROGRAMS named testsuite/unit/test-NAME, each declared in the fragment of the folder that
# it tests; testsuite/numon.unit/unit.exp runs all of them.
check_PROGRAMS += $(unit_programs)
