# SPDX-License-Identifier: GPL-3.0-or-later
libnumon_a_SOURCES += include/device.h src/device/device-private.h src/device/serial-private.h \
	src/device/uart-private.h src/device/alarm.c src/device/bus.c src/device/clock.c src/device/irq.c src/device/line.c \
	src/device/outlet.c src/device/power.c src/device/rtc.c src/device/serial.c src/device/uart-state.c \
	src/device/uart.c

libnumon_a_SOURCES += src/device/ged.c src/device/bays.c

unit_programs += testsuite/unit/test-device testsuite/unit/test-hotplug
testsuite_unit_test_hotplug_SOURCES = testsuite/unit/test-hotplug.c
testsuite_unit_test_device_SOURCES = testsuite/unit/test-device.c
unit_programs += testsuite/unit/test-clock-step
testsuite_unit_test_clock_step_SOURCES = testsuite/unit/test-clock-step.c
testsuite_unit_test_clock_step_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=g_get_real_time -Wl,--wrap=timerfd_create \
	-Wl,--wrap=timerfd_settime
