/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The DSDT as iasl made it of dsdt.asl.  The assembler looks in the top source folder. */
        .section .rodata
        .balign 64
        .globl acpi_dsdt, acpi_dsdt_end
        .type acpi_dsdt, @object
acpi_dsdt:
        .incbin "src/boot/dsdt.aml"
acpi_dsdt_end:
        .byte 0
        .size acpi_dsdt, acpi_dsdt_end - acpi_dsdt

        .section .note.GNU-stack, "", @progbits
