/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The registers that CPUs start with.  Segment types: Intel SDM 3A, 3.4.5.1 and 3.5. */
#include "boot-private.h"

enum { TYPE_DATA = 0x3, TYPE_CODE = 0xb, TYPE_TSS_BUSY = 0xb, TYPE_LDT = 0x2 };
enum { CR0_PE = 1 << 0, CR0_ET = 1 << 4, CR4_PAE = 1 << 5, EFER_LME = 1 << 8, EFER_LMA = 1 << 10 };
enum { RFLAGS_FIXED = 1 << 1, RFLAGS_IOPL_3 = 3 << 12 };       /* IOPL: as src/guest/entry.S has it, and why */
#define CR0_LONG UINT64_C(0x80010033)   /* PG WP NE ET MP PE */
#define LIMIT_ALL UINT32_MAX
#define MULTIBOOT_BOOTED UINT32_C(0x2badb002)

enum { LINUX_CODE = 0x10, LINUX_DATA = 0x18, LINUX_ENTRY_64 = 0x200 };
enum { FLAT_STACK = 0x8000 };

/* Any selectors do: both protocols leave the descriptor table to the kernel. */
enum { SELECTOR_CODE = 0x08, SELECTOR_DATA = 0x10, SELECTOR_TSS = 0x18 };

static struct cpu_segment
flat(uint16_t selector, uint8_t type, bool wide_code)
{
    return (struct cpu_segment) {
        .selector = selector, .limit = LIMIT_ALL, .type = type, .dpl = selector & 3, .present = 1, .s = 1, .g = 1,
        .l = wide_code, .db = !wide_code,
    };
}

static struct cpu_segment
no_ldt(void)
{
    return (struct cpu_segment) { .type = TYPE_LDT, .present = 1, .limit = 0xffff };
}

void
start_protected(enum kernel_kind kind, uint32_t entry, struct cpu_start *ret)
{
    struct cpu_segment data = flat(SELECTOR_DATA, TYPE_DATA, false);

    *ret = (struct cpu_start) {
        .kind = CPU_START_DIRECT, .rip = entry, .rflags = RFLAGS_FIXED, .rbx = BOOT_INFO_GPA,
        .rax = kind == KERNEL_MULTIBOOT ? MULTIBOOT_BOOTED : 0,
        .cr0 = CR0_PE | CR0_ET,
        .cs = flat(SELECTOR_CODE, TYPE_CODE, false), .ds = data, .es = data, .fs = data, .gs = data, .ss = data,
        .tr = { .selector = SELECTOR_TSS, .limit = 0x67, .type = TYPE_TSS_BUSY, .present = 1 },
        .ldt = no_ldt(), .gdt_limit = 0xffff, .idt_limit = 0xffff,
    };
}

/* boot.rst, "32-bit Boot Protocol" and "64-bit Boot Protocol": the zero page in rsi, code at selector 0x10, data at
 * 0x18, interrupts off; in 32 bits ebp, edi and ebx are 0. */
void
start_linux(bool wide, uint64_t load, struct cpu_start *ret)
{
    struct cpu_segment data = flat(LINUX_DATA, TYPE_DATA, false);

    *ret = (struct cpu_start) {
        .kind = CPU_START_DIRECT, .rip = load + (wide ? LINUX_ENTRY_64 : 0), .rflags = RFLAGS_FIXED,
        .rsp = BOOT_STACK_TOP, .rsi = BOOT_INFO_GPA,
        .cr0 = CR0_PE | CR0_ET,
        .cs = flat(LINUX_CODE, TYPE_CODE, wide), .ds = data, .es = data, .fs = data, .gs = data, .ss = data,
        .tr = { .limit = 0x67, .type = TYPE_TSS_BUSY, .present = 1 },
        .ldt = no_ldt(), .gdt_base = BOOT_MAP_GPA, .gdt_limit = 4 * 8 - 1, .idt_limit = 0xffff,
    };
    if (wide) {
        ret->cr0 = CR0_LONG;
        ret->cr3 = BOOT_TABLES_GPA;
        ret->cr4 = CR4_PAE;
        ret->efer = EFER_LME | EFER_LMA;
    }
}

static struct cpu_segment
real(uint16_t selector, uint8_t type)
{
    return (struct cpu_segment) {
        .selector = selector, .base = (uint64_t)selector << 4, .limit = 0xffff, .type = type, .present = 1, .s = 1,
    };
}

/* As lkvm starts one (kvmtool, x86/kvm.c: load_flat_binary): all segments at its first byte, the stack in them. */
void
start_flat(struct cpu_start *ret)
{
    struct cpu_segment data = real(BOOT_FLAT_GPA >> 4, TYPE_DATA);

    *ret = (struct cpu_start) {
        .kind = CPU_START_DIRECT, .rip = 0, .rsp = FLAT_STACK, .rflags = RFLAGS_FIXED, .cr0 = CR0_ET,
        .cs = real(BOOT_FLAT_GPA >> 4, TYPE_CODE), .ds = data, .es = data, .fs = data, .gs = data, .ss = data,
        .tr = { .limit = 0xffff, .type = TYPE_TSS_BUSY, .present = 1 },
        .ldt = no_ldt(), .gdt_limit = 0xffff, .idt_limit = 0x3ff,
    };
}

void
start_direct(const struct control_head *head, unsigned index, struct cpu_start *ret)
{
    struct cpu_segment data = flat((uint16_t)head->user_data, TYPE_DATA, false);

    *ret = (struct cpu_start) {
        .kind = CPU_START_DIRECT, .rip = head->ap_entry, .rdi = index,
        .rflags = RFLAGS_FIXED | RFLAGS_IOPL_3,
        .rsp = head->stack_first + (index + 1) * head->stack_stride,
        .cr0 = CR0_LONG, .cr3 = head->page_table, .cr4 = CR4_PAE, .efer = EFER_LME | EFER_LMA,
        .cs = flat((uint16_t)head->user_code, TYPE_CODE, true),
        .ds = data, .es = data, .fs = data, .gs = data, .ss = data,
        .tr = {
            .selector = (uint16_t)(head->tss_selector_first + 16 * index), .type = TYPE_TSS_BUSY, .present = 1,
            .base = head->tss_first + index * head->tss_stride, .limit = (uint32_t)head->tss_limit,
        },
        .ldt = no_ldt(), .gdt_base = head->gdt, .gdt_limit = (uint16_t)head->gdt_limit,
        .idt_base = head->idt, .idt_limit = (uint16_t)head->idt_limit,
    };
}

void
start_waiting(struct cpu_start *ret)
{
    *ret = (struct cpu_start) { .kind = CPU_START_WAIT };
}
