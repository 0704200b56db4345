# SPDX-License-Identifier: GPL-3.0-or-later
libnumon_a_SOURCES += include/config.h \
	src/config/config-private.h \
	src/config/definition.c \
	src/config/memory-options.c \
	src/config/machine-options.c \
	src/config/backends.c \
	src/config/devices.c \
	src/config/cpus.c \
	src/config/check.c \
	src/config/undo.c \
	src/config/save.c

unit_programs += testsuite/unit/test-undo
testsuite_unit_test_undo_SOURCES = testsuite/unit/test-undo.c

unit_programs += testsuite/unit/test-config
testsuite_unit_test_config_SOURCES = testsuite/unit/test-config.c
unit_programs += testsuite/unit/test-rules
testsuite_unit_test_rules_SOURCES = testsuite/unit/test-rules.c testsuite/unit/rules-model.c \
	testsuite/unit/rules-model.h
