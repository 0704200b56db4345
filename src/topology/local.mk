# SPDX-License-Identifier: GPL-3.0-or-later
libnumon_a_SOURCES += include/topology.h \
	src/topology/topology-private.h \
	src/topology/smp.c \
	src/topology/node.c \
	src/topology/distance.c \
	src/topology/cpu.c \
	src/topology/slot.c \
	src/topology/split.c \
	src/topology/hmat.c \
	src/topology/hmat-cache.c \
	src/topology/check.c \
	src/topology/complete.c \
	src/topology/host.c \
	src/topology/save.c

unit_programs += testsuite/unit/test-topology
testsuite_unit_test_topology_SOURCES = testsuite/unit/test-topology.c

unit_programs += testsuite/unit/test-split
testsuite_unit_test_split_SOURCES = testsuite/unit/test-split.c
unit_programs += testsuite/unit/test-hmat
testsuite_unit_test_hmat_SOURCES = testsuite/unit/test-hmat.c
