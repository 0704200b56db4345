# SPDX-License-Identifier: GPL-3.0-or-later
libnumon_a_SOURCES += include/boot.h src/boot/boot-private.h
libnumon_a_SOURCES += include/platform.h src/boot/dsdt.S src/boot/fadt.c src/boot/hmat.c
libnumon_a_SOURCES += src/boot/acpi.c src/boot/acpi-read.c src/boot/boot.c src/boot/bootfile.c src/boot/builtin.S src/boot/elf.c
libnumon_a_SOURCES += src/boot/kernel.c src/boot/linux.c src/boot/madt.c src/boot/multiboot.c src/boot/plan.c
libnumon_a_SOURCES += src/boot/pvh.c src/boot/slit.c src/boot/srat.c
libnumon_a_SOURCES += src/boot/start.c

# Where boot_builtin_path finds the installed image.
AM_CPPFLAGS += -DPKGDATADIR='"$(pkgdatadir)"'

src/boot/builtin.$(OBJEXT): src/guest/numon-workload.elf

# The DSDT: made in the source folder and distributed, so that only who changes it needs iasl.  The preprocessor makes
# slots out of macros first.
$(srcdir)/src/boot/dsdt.aml: $(srcdir)/src/boot/dsdt.asl $(srcdir)/include/platform.h
	$(AM_V_GEN)$(MKDIR_P) src/boot && \
	$(CC) -E -P -x c -iquote $(top_srcdir)/include -o src/boot/dsdt.i $(top_srcdir)/src/boot/dsdt.asl && \
	{ $(IASL) -vr -we -p src/boot/dsdt src/boot/dsdt.i > src/boot/dsdt.log 2>&1 || \
	{ cat src/boot/dsdt.log >&2; exit 1; }; } && mv src/boot/dsdt.aml $@.new && mv $@.new $@
src/boot/dsdt.$(OBJEXT): $(srcdir)/src/boot/dsdt.aml
AM_CCASFLAGS += -Wa,-I$(top_srcdir)
EXTRA_DIST += src/boot/dsdt.asl src/boot/dsdt.aml
CLEANFILES += src/boot/dsdt.i src/boot/dsdt.log
MAINTAINERCLEANFILES += src/boot/dsdt.aml


unit_programs += testsuite/unit/test-boot testsuite/unit/test-acpi
testsuite_unit_test_acpi_SOURCES = testsuite/unit/test-acpi.c
testsuite_unit_test_boot_SOURCES = testsuite/unit/test-boot.c
unit_programs += testsuite/unit/test-linux
testsuite_unit_test_linux_SOURCES = testsuite/unit/test-linux.c
