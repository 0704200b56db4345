/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Numbers that the guest's assembly, its C and its linker script share.  Nothing but #define. */
#ifndef GUEST_LAYOUT_H
#define GUEST_LAYOUT_H

#define GUEST_BASE          0x100000    /* linked here; CONTROL_GPA (0x200000) ends code and data */
#define GUEST_CPUS          128         /* CONTROL_CPUS */

/* Selectors.  Task state segment n: SELECTOR_TSS + 16 n. */
#define SELECTOR_CODE32     0x08
#define SELECTOR_CODE       0x10
#define SELECTOR_DATA       0x18
#define SELECTOR_USER_DATA  0x23
#define SELECTOR_USER_CODE  0x2b
#define SELECTOR_TSS        0x30

/* Task state segments stand TSS_STRIDE apart and share one I/O permission bitmap behind the last, all zeros: every
 * port below PORT_LIMIT is open to user mode.  One limit serves all: it reaches the bitmap's end for the first one
 * (ports behind the end of a later one's bitmap are bytes that are zero too). */
#define TSS_STRIDE          128
#define PORT_LIMIT          0x800
#define TSS_LIMIT           (TSS_STRIDE * GUEST_CPUS + PORT_LIMIT / 8)
#define TSS_SPACE           (TSS_LIMIT + 1 + TSS_STRIDE * GUEST_CPUS)

#define KERNEL_STACK_STRIDE 0x400       /* only exceptions run there */
#define USER_STACK_STRIDE   0x1000

/* Where the other CPUs' first instructions are copied to for INIT-SIPI: below 1 MiB, page aligned. */
#define TRAMPOLINE          0x8000
#define TRAMPOLINE_VECTOR   (TRAMPOLINE >> 12)

/* Page directories for memory above 4 GiB are taken from here; ends at CONTROL_FREE. */
#define SPARE_TABLES        704

/* How the first CPU came in. */
#define ENTRY_MULTIBOOT     1
#define ENTRY_PVH           2

#endif
