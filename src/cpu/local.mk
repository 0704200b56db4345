# SPDX-License-Identifier: GPL-3.0-or-later
libnumon_a_SOURCES += include/cpu.h \
	src/cpu/cpu-private.h \
	src/cpu/leaf.c \
	src/cpu/leaves.c \
	src/cpu/options.c \
	src/cpu/resolve.c \
	src/cpu/table.c \
	src/cpu/topology.c

unit_programs += testsuite/unit/test-cpu
testsuite_unit_test_cpu_SOURCES = testsuite/unit/test-cpu.c
unit_programs += testsuite/unit/test-cpu-topology
testsuite_unit_test_cpu_topology_SOURCES = testsuite/unit/test-cpu-topology.c
