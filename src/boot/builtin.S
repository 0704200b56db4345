/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The workload guest's image inside this program, so that builtin:workload needs no installed file.  The assembler
 * runs in the top build folder. */
        .section .rodata
        .balign 64
        .globl builtin_workload, builtin_workload_end
        .type builtin_workload, @object
builtin_workload:
        .incbin "src/guest/numon-workload.elf"
builtin_workload_end:
        .byte 0
        .size builtin_workload, builtin_workload_end - builtin_workload

        .section .note.GNU-stack, "", @progbits
