# SPDX-License-Identifier: GPL-3.0-or-later
libnumon_a_SOURCES += include/property.h
libnumon_a_SOURCES += src/property/parse.c
libnumon_a_SOURCES += src/property/print.c
libnumon_a_SOURCES += src/property/value.c
unit_programs += testsuite/unit/test-property
testsuite_unit_test_property_SOURCES = testsuite/unit/test-property.c
