# SPDX-License-Identifier: GPL-3.0-or-later

# The workload guest: freestanding 64-bit code in an ELF32 container, which Multiboot loaders and PVH loaders take.
# CFLAGS are not used: they may ask for sanitizers or other things that need a C library.
guest_sources = \
	src/guest/entry.S src/guest/start.c src/guest/serial.c src/guest/memory.c src/guest/acpi.c \
	src/guest/layout.c src/guest/parameters.c src/guest/clock.c src/guest/smp.c src/guest/panic.c src/guest/probe.c \
	src/guest/work.c
guest_headers = src/guest/guest.h src/guest/layout.h
guest_script  = src/guest/workload.ld

GUEST_FLAGS = -std=gnu11 -O2 -ffreestanding -fno-pic -fno-pie -m64 -march=x86-64 -mno-red-zone \
	-mgeneral-regs-only -ffixed-r15 -fno-stack-protector -fcf-protection=none -fno-asynchronous-unwind-tables \
	-fno-builtin -fno-tree-loop-distribute-patterns -fno-strict-aliasing -Wall -Wextra \
	-iquote $(top_srcdir)/include -iquote $(top_srcdir)/src/guest
GUEST_LINK_FLAGS = -nostdlib -static -no-pie -Wl,--build-id=none -Wl,-z,max-page-size=4096 -Wl,-z,noexecstack \
	-Wl,-T,$(top_srcdir)/$(guest_script)

guest_images = src/guest/numon-workload.elf src/guest/numon-workload-pvh.elf
guest_inputs = $(guest_sources) $(guest_headers) $(guest_script) include/control-page.h
GUEST_LINK = $(MKDIR_P) src/guest && $(GUEST_CC) $(GUEST_FLAGS) $(GUEST_LINK_FLAGS)
GUEST_CONVERT = $(OBJCOPY) -O elf32-i386

src/guest/numon-workload.elf: $(guest_inputs)
	$(AM_V_GEN)$(GUEST_LINK) -o $@.64 $(guest_sources:%=$(top_srcdir)/%) && $(GUEST_CONVERT) $@.64 $@

# The same without a Multiboot header: QEMU prefers Multiboot and would never try the other entry.
src/guest/numon-workload-pvh.elf: $(guest_inputs)
	$(AM_V_GEN)$(GUEST_LINK) -DWITHOUT_MULTIBOOT -o $@.64 $(guest_sources:%=$(top_srcdir)/%) && $(GUEST_CONVERT) $@.64 $@

pkgdata_DATA += $(guest_images)
CLEANFILES += $(guest_images) $(guest_images:=.64)
EXTRA_DIST += $(guest_sources) $(guest_headers) $(guest_script)

unit_programs += testsuite/unit/test-guest-kvm
testsuite_unit_test_guest_kvm_SOURCES = testsuite/unit/test-guest-kvm.c
EXTRA_DIST += testsuite/numon.guest/qemu.exp
