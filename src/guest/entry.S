/* SPDX-License-Identifier: GPL-3.0-or-later */
/* From the loader's 32-bit protected mode to 64-bit user mode, for CPU 0 (Multiboot, PVH) and for CPUs started by
 * INIT-SIPI; the static tables that needs; the first instructions of every exception.
 *
 * Ring 0 is slow on a page-table KVM, so nothing is computed here that can be laid down at build time.  A CPU that
 * numon starts directly begins at ap_start, in user mode. */
#include "layout.h"

#define CR0_START   0x80010033          /* PG WP NE ET MP PE */
#define CR4_START   0x20                /* PAE */
#define MSR_EFER    0xc0000080
#define EFER_LME    0x100
#define PTE_TABLE   0x27                /* accessed, user, writable, present */
#define PTE_PAGE    0xe7                /* 2 MiB, dirty, accessed, user, writable, present */
#define PTE_DEVICE  (PTE_PAGE | 0x18)   /* uncached */
/* Interrupts off, IOPL 3.  The I/O bitmap opens the ports wherever IOPL does not last; IOPL does where an emulated
 * SVM processor, given back a busy TSS as every KVM tells it, does not look at the bitmap. */
#define FLAGS_USER  0x3002
#define APIC_ID     0xfee00020          /* Intel SDM 3A, 11.4.1 */

#ifndef WITHOUT_MULTIBOOT
/* Multiboot 0.6.96, 3.1.1: within the first 8192 bytes, 4-byte aligned.  Flags: modules page aligned, memory map. */
        .section .multiboot, "a"
        .align 4
        .long 0x1badb002, 3, -(0x1badb002 + 3)
#endif

/* Xen's public/elfnote.h: the 32-bit entry of the PVH protocol.  Eight bytes: some loaders read so many. */
        .section .note.Xen, "a", @note
        .align 4
        .long 4, 8, 18                  /* name and descriptor size, XEN_ELFNOTE_PHYS32_ENTRY */
        .asciz "Xen"
        .quad start_pvh

/* --- 32-bit: no stack, no paging; EBX points at what the loader says -------------------------------------------- */

        .section .text.entry, "ax"
        .code32
        .globl start_pvh, start_multiboot
start_pvh:
        movl    $ENTRY_PVH, %edi
        jmp     start
start_multiboot:
        movl    $ENTRY_MULTIBOOT, %edi
start:
        cli
        cld
        movl    $start64, %ebp
to_long_mode:
        lgdt    gdt_pointer
        movl    $pml4, %eax
        movl    %eax, %cr3
        movl    $CR4_START, %eax
        movl    %eax, %cr4
        movl    $MSR_EFER, %ecx
        movl    $EFER_LME, %eax
        xorl    %edx, %edx
        wrmsr
        movl    $CR0_START, %eax
        movl    %eax, %cr0
        ljmp    $SELECTOR_CODE, $1f
        .code64
1:      lidt    idt_pointer
        jmp     *%rbp

start64:
        movl    $SELECTOR_TSS, %eax
        ltr     %ax
        movl    $kernel_stacks + KERNEL_STACK_STRIDE, %esp
        movl    %ebx, %esi              /* arguments: way in, loader's information */
        movl    $user_stacks + USER_STACK_STRIDE, %edx
        movl    $user_first, %ecx
to_user:                                /* ECX: where, EDX: stack */
        pushq   $SELECTOR_USER_DATA
        pushq   %rdx
        pushq   $FLAGS_USER
        pushq   $SELECTOR_USER_CODE
        pushq   %rcx
        iretq

        .globl ap_start
user_first:
        xorl    %r15d, %r15d
        call    first_cpu
ap_start:                               /* RDI: CPU index */
        xorl    %r15d, %r15d
        call    other_cpu

/* --- the other CPUs after INIT-SIPI: real mode, at TRAMPOLINE --------------------------------------------------- */

        .globl trampoline, trampoline_end
        .code16
trampoline:
        cli
        cld
        xorw    %ax, %ax
        movw    %ax, %ds
        lgdtl   TRAMPOLINE + (2f - trampoline)
        movl    $0x11, %eax             /* ET PE */
        movl    %eax, %cr0
        ljmpl   $SELECTOR_CODE32, $ap32
        .align 4
2:      .word   gdt_end - gdt - 1
        .long   gdt
trampoline_end:

        .code32
ap32:
        movl    $SELECTOR_DATA, %eax
        movl    %eax, %ds
        movl    %eax, %es
        movl    %eax, %ss
        movl    $ap64, %ebp
        jmp     to_long_mode

        .code64
ap64:
        movl    APIC_ID, %eax
        shrl    $24, %eax
        movzbl  apic_to_cpu(%rax), %edi
        movl    %edi, %eax
        shll    $4, %eax
        addl    $SELECTOR_TSS, %eax
        ltr     %ax
        movl    %edi, %eax
        incl    %eax
        imull   $KERNEL_STACK_STRIDE, %eax, %esp
        addl    $kernel_stacks, %esp
        imull   $USER_STACK_STRIDE, %eax, %edx
        addl    $user_stacks, %edx
        movl    $ap_start, %ecx
        jmp     to_user

/* --- exceptions: vector and error code on the stack, then panic.c ----------------------------------------------- */

        .globl exception_stubs
        .align 16
exception_stubs:
        .set    vector, 0
        .rept   32
        .align  16
        /* These push an error code themselves: Intel SDM 3A, table 6-1. */
        .if     vector != 8 && (vector < 10 || vector > 14) && vector != 17 && vector != 21 && vector != 29 && vector != 30
        pushq   $0
        .endif
        pushq   $vector
        jmp     exception
        .set    vector, vector + 1
        .endr

exception:
        cld
        movq    %rsp, %rdi
        movq    %cr2, %rsi
        andq    $-16, %rsp
        call    panic_exception

/* --- tables ----------------------------------------------------------------------------------------------------- */

        .data
        .align 8
        .globl gdt, gdt_end, gdt_tss
gdt:
        .quad   0
        .quad   0x00cf9b000000ffff      /* SELECTOR_CODE32 */
        .quad   0x00af9b000000ffff      /* SELECTOR_CODE */
        .quad   0x00cf93000000ffff      /* SELECTOR_DATA */
        .quad   0x00cff3000000ffff      /* SELECTOR_USER_DATA */
        .quad   0x00affb000000ffff      /* SELECTOR_USER_CODE */
gdt_tss:                                /* CPU 0's; the others' are filled in by smp.c.  TSS_xx: workload.ld */
        .word   TSS_LIMIT, TSS_15_0
        .byte   TSS_23_16, 0x89, 0, TSS_31_24
        .quad   0
        .fill   16 * (GUEST_CPUS - 1), 1, 0
gdt_end:

gdt_pointer:
        .word   gdt_end - gdt - 1
        .quad   gdt
        .align 8
        .globl idt_pointer
idt_pointer:
        .word   32 * 16 - 1
        .quad   idt

        .align 4096
        .globl pml4
pml4:   .quad   pdpt + PTE_TABLE
        .fill   511, 8, 0
pdpt:   .quad   page_directories + PTE_TABLE, page_directories + 0x1000 + PTE_TABLE
        .quad   page_directories + 0x2000 + PTE_TABLE, page_directories + 0x3000 + PTE_TABLE
        .fill   508, 8, 0
page_directories:
        .set    address, 0
        .rept   2032
        .quad   address + PTE_PAGE
        .set    address, address + 0x200000
        .endr
        .rept   16                      /* from 0xfe000000: interrupt controllers */
        .quad   address + PTE_DEVICE
        .set    address, address + 0x200000
        .endr

        .globl tss
tss:
        .set    n, 0
        .rept   GUEST_CPUS
        .long   0
        .quad   kernel_stacks + (n + 1) * KERNEL_STACK_STRIDE
        .fill   90, 1, 0
        .word   TSS_STRIDE * (GUEST_CPUS - n)   /* the shared I/O permission bitmap, from this segment's base */
        .fill   TSS_STRIDE - 104, 1, 0
        .set    n, n + 1
        .endr
        .fill   TSS_SPACE - TSS_STRIDE * GUEST_CPUS, 1, 0

        .bss
        .globl idt, apic_to_cpu, kernel_stacks, user_stacks, spare_tables
        .align 16
idt:            .skip 32 * 16
apic_to_cpu:    .skip 256
        .align 4096
kernel_stacks:  .skip KERNEL_STACK_STRIDE * GUEST_CPUS
user_stacks:    .skip USER_STACK_STRIDE * GUEST_CPUS
spare_tables:   .skip SPARE_TABLES * 4096

        .section .note.GNU-stack, "", @progbits
