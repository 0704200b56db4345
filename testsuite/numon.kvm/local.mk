# SPDX-License-Identifier: GPL-3.0-or-later
EXTRA_DIST += testsuite/numon.kvm/cpu.exp
EXTRA_DIST += testsuite/numon.kvm/look.exp
EXTRA_DIST += testsuite/numon.kvm/map.exp
EXTRA_DIST += testsuite/numon.kvm/power.exp
EXTRA_DIST += testsuite/numon.kvm/serials.exp
EXTRA_DIST += testsuite/numon.kvm/soak.exp
EXTRA_DIST += testsuite/numon.kvm/stats.exp
EXTRA_DIST += testsuite/numon.kvm/vcpus.exp
EXTRA_DIST += testsuite/numon.kvm/verdict.exp

# Test kernels that end with a verdict, one a test of images/verdict.c.  CFLAGS are not used, as for the workload guest.
verdict_dir = testsuite/numon.kvm/images
verdict_sources = $(verdict_dir)/verdict.c $(verdict_dir)/verdict.ld
verdict_tests = entry memory exceptions paging timer apic features ports line uart echo button resets debugcon bad \
	cpuid serials
verdict_images = $(verdict_tests:%=$(verdict_dir)/%.elf)
VERDICT_FLAGS = -m32 -march=i686 -std=gnu11 -O1 -ffreestanding -fno-pic -fno-pie -mgeneral-regs-only \
	-fno-stack-protector -fcf-protection=none -fno-asynchronous-unwind-tables -fno-strict-aliasing -fno-builtin \
	-fno-toplevel-reorder -Wall -Wextra -Wno-unused-parameter -nostdlib -static -no-pie -Wl,--build-id=none \
	-Wl,-m,elf_i386 -Wl,-z,noexecstack
$(verdict_images): $(verdict_sources)
	$(AM_V_GEN)$(MKDIR_P) $(verdict_dir) && $(GUEST_CC) $(VERDICT_FLAGS) \
		-DTEST=test_`basename $@ .elf` -Wl,-T,$(top_srcdir)/$(verdict_dir)/verdict.ld \
		-o $@ $(top_srcdir)/$(verdict_dir)/verdict.c
check_DATA += $(verdict_images)
CLEANFILES += $(verdict_images)
EXTRA_DIST += $(verdict_sources)

# Kernels that tell what they were told, and that they were started.
kernel_images = $(verdict_dir)/bzimage.bin $(verdict_dir)/flat.bin
$(kernel_images): $(verdict_dir)/bzimage.S $(verdict_dir)/flat.S
	$(AM_V_GEN)$(MKDIR_P) $(verdict_dir) && $(GUEST_CC) -m64 -nostdlib -static -no-pie -Wl,--build-id=none \
		-Wl,--oformat=binary -Wl,-Ttext=0 -Wl,-e,0 -o $@ $(top_srcdir)/$(verdict_dir)/`basename $@ .bin`.S
module_images = $(verdict_dir)/modules.bin $(verdict_dir)/modules-pvh.elf
MODULES_FLAGS = -m32 -nostdlib -static -no-pie -Wl,--build-id=none -Wl,-m,elf_i386 -Wl,-z,noexecstack
$(verdict_dir)/modules.bin: $(verdict_dir)/modules.S
	$(AM_V_GEN)$(MKDIR_P) $(verdict_dir) && $(GUEST_CC) $(MODULES_FLAGS) -Wl,--oformat=binary -Wl,-Ttext=0x100000 \
		-o $@ $(top_srcdir)/$(verdict_dir)/modules.S
$(verdict_dir)/modules-pvh.elf: $(verdict_dir)/modules.S
	$(AM_V_GEN)$(MKDIR_P) $(verdict_dir) && $(GUEST_CC) $(MODULES_FLAGS) -DPVH -Wl,-Ttext=0x101000 \
		-Wl,--section-start=.note.pvh=0x200000 -o $@ $(top_srcdir)/$(verdict_dir)/modules.S
check_DATA += $(kernel_images) $(module_images)
CLEANFILES += $(kernel_images) $(module_images)
EXTRA_DIST += $(verdict_dir)/bzimage.S $(verdict_dir)/flat.S $(verdict_dir)/modules.S
EXTRA_DIST += testsuite/numon.kvm/kernels.exp testsuite/numon.kvm/linux.exp

# KVM under everything at once, for SOAK_SECONDS; "make check" has a short one.
SOAK_SECONDS = 1800
SOAK_SEED = 1
.PHONY: soak-kvm
soak-kvm: $(bin_PROGRAMS)
	$(MAKE) check-DEJAGNU RUNTESTFLAGS="soak.exp SOAK_SECONDS=$(SOAK_SECONDS) SOAK_SEED=$(SOAK_SEED)"

# A guest of slots, as one that interprets ACPI tables.
$(verdict_dir)/slots.elf: $(verdict_dir)/slots.c $(verdict_dir)/verdict.ld include/platform.h
	$(AM_V_GEN)$(MKDIR_P) $(verdict_dir) && $(GUEST_CC) $(VERDICT_FLAGS) -iquote $(top_srcdir)/include \
		-Wl,-T,$(top_srcdir)/$(verdict_dir)/verdict.ld -o $@ $(top_srcdir)/$(verdict_dir)/slots.c
check_DATA += $(verdict_dir)/slots.elf
CLEANFILES += $(verdict_dir)/slots.elf
EXTRA_DIST += $(verdict_dir)/slots.c testsuite/numon.kvm/hotplug.exp
