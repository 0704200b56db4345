/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Numbers of the platform that devices answer to and ACPI tables tell: read by C and, through the preprocessor, by
 * src/boot/dsdt.asl.  Plain macros without casts or suffixes, since ASL knows neither.
 *
 * Ports 0x600 to 0x65f are in none of the PC's devices.  All registers are little-endian. */
#ifndef PLATFORM_H
#define PLATFORM_H

/* --- the PC's own ----------------------------------------------------------------------------------------------- */

#define PLATFORM_UART_PORT      0x3f8   /* 8 ports */
#define PLATFORM_UART_IRQ       4
/* The other three, which a machine may lack: reads are all ones then. */
#define PLATFORM_UART_2_PORT    0x2f8
#define PLATFORM_UART_2_IRQ     3       /* of the fourth too, as the third has the first's */
#define PLATFORM_UART_3_PORT    0x3e8
#define PLATFORM_UART_4_PORT    0x2e8
#define PLATFORM_UART_MODEM     4       /* offset of the modem control register, which never has its highest bit */
#define PLATFORM_RTC_PORT       0x70    /* 2 ports */
#define PLATFORM_RTC_IRQ        8
#define PLATFORM_RTC_CENTURY    0x32    /* byte of the CMOS */

/* --- ACPI's power registers (ACPI 6.4, 4.8.3.7 and 4.8.3.6), a byte each ---------------------------------------- */

/* Written SLEEP_ENABLE with the sleep type above it (bits 2 to 4): type PLATFORM_SLEEP_S5 ends the guest, no other is
 * known.  Reads 0. */
#define PLATFORM_SLEEP_CONTROL_PORT 0x600
#define PLATFORM_SLEEP_ENABLE   0x20
#define PLATFORM_SLEEP_SHIFT    2
#define PLATFORM_SLEEP_S5       5
/* Reads 0, as no sleep ends; what is written is dropped. */
#define PLATFORM_SLEEP_STATUS_PORT  0x601
/* Written PLATFORM_RESET_VALUE resets the guest.  Reads 0. */
#define PLATFORM_RESET_PORT     0x602
#define PLATFORM_RESET_VALUE    0x01

/* --- Generic Event Device (ACPI 6.4, 5.6.9) --------------------------------------------------------------------- */

/* 32 bits: which events there were since it was last read; reading forgets them and lowers the line, which is high
 * while there are any. */
#define PLATFORM_EVENTS_PORT    0x604
#define PLATFORM_EVENTS_IRQ     9
#define PLATFORM_EVENT_MEMORY   0x01    /* look at the memory slots */
#define PLATFORM_EVENT_CPU      0x02    /* look at the CPU slots */
#define PLATFORM_EVENT_POWER    0x04    /* the power button was pressed */

/* --- slots of memory and CPUs: one block of 32-bit registers each ----------------------------------------------- */

#define PLATFORM_MEMORY_SLOTS_PORT  0x620
#define PLATFORM_MEMORY_SLOTS   256     /* QEMU's limit too */
#define PLATFORM_CPU_SLOTS_PORT 0x640
#define PLATFORM_CPU_SLOTS      128

#define PLATFORM_SLOTS_SIZE     0x20    /* ports of one block */
#define PLATFORM_SLOT_NONE      0xffffffff

/* Offsets.  All but the first are of the slot that was selected last. */
#define PLATFORM_SLOT_SELECT    0x00    /* written: the slot; read: the first with an event, or SLOT_NONE */
#define PLATFORM_SLOT_STATUS    0x04    /* read: SLOT_ENABLED and events; written: events to forget, or SLOT_EJECT */
#define PLATFORM_SLOT_BASE      0x08    /* read: first byte of the memory, 64 bits */
#define PLATFORM_SLOT_SIZE      0x10    /* read: bytes, 64 bits */
#define PLATFORM_SLOT_NODE      0x18    /* read: proximity domain */
#define PLATFORM_SLOT_ID        0x1c    /* read: a CPU's APIC id */
/* Written only: what _OST is given; the second makes it known. */
#define PLATFORM_SLOT_OST_EVENT 0x08
#define PLATFORM_SLOT_OST_STATUS 0x0c
/* Written 1: the guest interprets the tables, so it is asked before something is taken out. */
#define PLATFORM_SLOT_LISTEN    0x1c

#define PLATFORM_SLOT_ENABLED   0x01    /* something is in it */
#define PLATFORM_SLOT_INSERTED  0x02    /* event: something came */
#define PLATFORM_SLOT_WANTED    0x04    /* event: it is wanted back */
#define PLATFORM_SLOT_EJECT     0x08    /* the guest lets go of it */

#endif
