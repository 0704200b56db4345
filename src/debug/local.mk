# SPDX-License-Identifier: GPL-3.0-or-later
libnumon_a_SOURCES += include/debug.h
libnumon_a_SOURCES += src/debug/disassembly.c
libnumon_a_SOURCES += src/debug/dump.c
unit_programs += testsuite/unit/test-dump
testsuite_unit_test_dump_SOURCES = testsuite/unit/test-dump.c
