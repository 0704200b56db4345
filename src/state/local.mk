# SPDX-License-Identifier: GPL-3.0-or-later
libnumon_a_SOURCES += include/state.h
libnumon_a_SOURCES += src/state/state.c
unit_programs += testsuite/unit/test-state
testsuite_unit_test_state_SOURCES = testsuite/unit/test-state.c
