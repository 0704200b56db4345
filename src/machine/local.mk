# SPDX-License-Identifier: GPL-3.0-or-later
libnumon_a_SOURCES += include/machine.h src/machine/machine-private.h \
	src/machine/machine.c src/machine/parts.c src/machine/reset.c src/machine/run.c src/machine/migrate.c src/machine/account.c src/machine/agree.c src/machine/memory.c \
	src/machine/look.c src/machine/devices.c src/machine/arrive.c src/machine/follow.c src/machine/plugged.c src/machine/cpus.c src/machine/usage.c \
	src/machine/dirtying.c
libnumon_a_SOURCES += src/machine/latency.c src/machine/hotplug.c src/machine/acpi.c
libnumon_a_SOURCES += src/machine/dirty-rate.c src/machine/ended.c

machine_bench = testsuite/unit/machine-bench.c testsuite/unit/machine-bench.h
unit_programs += testsuite/unit/test-machine
testsuite_unit_test_machine_SOURCES = testsuite/unit/test-machine.c $(machine_bench)
unit_programs += testsuite/unit/test-reset
testsuite_unit_test_reset_SOURCES = testsuite/unit/test-reset.c $(machine_bench)
unit_programs += testsuite/unit/test-latency
testsuite_unit_test_latency_SOURCES = testsuite/unit/test-latency.c $(machine_bench)
unit_programs += testsuite/unit/test-few-slots
testsuite_unit_test_few_slots_SOURCES = testsuite/unit/test-few-slots.c $(machine_bench)
testsuite_unit_test_few_slots_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=ioctl
unit_programs += testsuite/unit/test-devices
testsuite_unit_test_devices_SOURCES = testsuite/unit/test-devices.c $(machine_bench)
