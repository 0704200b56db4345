# SPDX-License-Identifier: GPL-3.0-or-later
libnumon_a_SOURCES += include/accel.h
libnumon_a_SOURCES += src/accel/classes.c
libnumon_a_SOURCES += src/accel/run.c
libnumon_a_SOURCES += src/accel/dirty-limit.c
unit_programs += testsuite/unit/test-dirty-limit
testsuite_unit_test_dirty_limit_SOURCES = testsuite/unit/test-dirty-limit.c
libnumon_a_SOURCES += src/accel/synthetic/print.c
libnumon_a_SOURCES += src/accel/synthetic/probe.c
libnumon_a_SOURCES += src/accel/synthetic/synthetic-private.h
libnumon_a_SOURCES += src/accel/synthetic/synthetic.c
libnumon_a_SOURCES += src/accel/synthetic/work.c
unit_programs += testsuite/unit/test-run
testsuite_unit_test_run_SOURCES = testsuite/unit/test-run.c
unit_programs += testsuite/unit/test-synthetic
testsuite_unit_test_synthetic_SOURCES = testsuite/unit/test-synthetic.c

libnumon_a_SOURCES += src/accel/kvm/kvm-private.h
libnumon_a_SOURCES += src/accel/kvm/capabilities.c
libnumon_a_SOURCES += src/accel/kvm/chips.c
libnumon_a_SOURCES += src/accel/kvm/cpuid.c
libnumon_a_SOURCES += src/accel/kvm/cpu-trial.c
libnumon_a_SOURCES += src/accel/kvm/describe.c
libnumon_a_SOURCES += src/accel/kvm/dirty.c
libnumon_a_SOURCES += src/accel/kvm/dirty-ring.c
libnumon_a_SOURCES += src/accel/kvm/dirty-trial.c
libnumon_a_SOURCES += src/accel/kvm/exits.c
libnumon_a_SOURCES += src/accel/kvm/fault.c
libnumon_a_SOURCES += src/accel/kvm/kvm.c
libnumon_a_SOURCES += src/accel/kvm/lazy.c
libnumon_a_SOURCES += src/accel/kvm/mce.c
libnumon_a_SOURCES += src/accel/kvm/msr.c
libnumon_a_SOURCES += src/accel/kvm/nap.c
libnumon_a_SOURCES += src/accel/kvm/plan.c
libnumon_a_SOURCES += src/accel/kvm/registers.c
libnumon_a_SOURCES += src/accel/kvm/reset.c
libnumon_a_SOURCES += src/accel/kvm/slots.c
libnumon_a_SOURCES += src/accel/kvm/state.c
libnumon_a_SOURCES += src/accel/kvm/stats.c
libnumon_a_SOURCES += src/accel/kvm/time.c
libnumon_a_SOURCES += src/accel/kvm/vcpu.c
unit_programs += testsuite/unit/test-kvm
testsuite_unit_test_kvm_SOURCES = testsuite/unit/test-kvm.c testsuite/unit/kvm-bench.c \
	testsuite/unit/kvm-bench.h
unit_programs += testsuite/unit/test-slots
testsuite_unit_test_slots_SOURCES = testsuite/unit/test-slots.c
unit_programs += testsuite/unit/test-kvm-map
testsuite_unit_test_kvm_map_SOURCES = testsuite/unit/test-kvm-map.c testsuite/unit/kvm-bench.c \
	testsuite/unit/kvm-bench.h
unit_programs += testsuite/unit/test-kvm-dirty
testsuite_unit_test_kvm_dirty_SOURCES = testsuite/unit/test-kvm-dirty.c testsuite/unit/kvm-bench.c \
	testsuite/unit/kvm-bench.h
unit_programs += testsuite/unit/test-kvm-exits
testsuite_unit_test_kvm_exits_SOURCES = testsuite/unit/test-kvm-exits.c testsuite/unit/kvm-bench.c \
	testsuite/unit/kvm-bench.h
unit_programs += testsuite/unit/test-kvm-move
testsuite_unit_test_kvm_move_SOURCES = testsuite/unit/test-kvm-move.c testsuite/unit/kvm-bench.c \
	testsuite/unit/kvm-bench.h
unit_programs += testsuite/unit/test-kvm-time
testsuite_unit_test_kvm_time_SOURCES = testsuite/unit/test-kvm-time.c testsuite/unit/kvm-bench.c \
	testsuite/unit/kvm-bench.h
unit_programs += testsuite/unit/test-kvm-odd
testsuite_unit_test_kvm_odd_SOURCES = testsuite/unit/test-kvm-odd.c testsuite/unit/kvm-bench.c \
	testsuite/unit/kvm-bench.h
testsuite_unit_test_kvm_odd_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=ioctl
unit_programs += testsuite/unit/test-kvm-state
testsuite_unit_test_kvm_state_SOURCES = testsuite/unit/test-kvm-state.c testsuite/unit/kvm-bench.c \
	testsuite/unit/kvm-bench.h
unit_programs += testsuite/unit/test-kvm-memory
testsuite_unit_test_kvm_memory_SOURCES = testsuite/unit/test-kvm-memory.c testsuite/unit/kvm-bench.c \
	testsuite/unit/kvm-bench.h
