# SPDX-License-Identifier: GPL-3.0-or-later
libnumon_a_SOURCES += include/boot.h src/boot/boot-private.h
libnumon_a_SOURCES += src/boot/acpi.c src/boot/boot.c src/boot/builtin.S src/boot/elf.c src/boot/kernel.c
libnumon_a_SOURCES += src/boot/madt.c src/boot/multiboot.c src/boot/pvh.c src/boot/slit.c src/boot/srat.c
libnumon_a_SOURCES += src/boot/start.c

# Where boot_builtin_path finds the installed image.
AM_CPPFLAGS += -DPKGDATADIR='"$(pkgdatadir)"'

src/boot/builtin.$(OBJEXT): src/guest/numon-workload.elf


unit_programs += testsuite/unit/test-boot
testsuite_unit_test_boot_SOURCES = testsuite/unit/test-boot.c
