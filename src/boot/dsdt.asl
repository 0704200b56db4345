/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The DSDT (ACPI 6.4, 5.2.11.1): what a guest cannot find by looking.  Power off, the power button, the PC devices it
 * has no other way to route interrupts for, and slots of memory and CPUs.  It is the same for every machine: what
 * differs is read from the slots' registers (platform.h), by methods that all slots share.
 *
 * Goes through the C preprocessor, which makes the slots out of one macro, and then iasl. */
#include "platform.h"

/* m(00) ... m(0F) of a row of sixteen. */
#define ROW(m, h) m(h##0) m(h##1) m(h##2) m(h##3) m(h##4) m(h##5) m(h##6) m(h##7) \
                  m(h##8) m(h##9) m(h##A) m(h##B) m(h##C) m(h##D) m(h##E) m(h##F)
#define HALF(m, a, b, c, d, e, f, g, h) \
    ROW(m, a) ROW(m, b) ROW(m, c) ROW(m, d) ROW(m, e) ROW(m, f) ROW(m, g) ROW(m, h)
#define EACH_OF_128(m) HALF(m, 0, 1, 2, 3, 4, 5, 6, 7)
#define EACH_OF_256(m) EACH_OF_128(m) HALF(m, 8, 9, A, B, C, D, E, F)
#if PLATFORM_CPU_SLOTS != 128 || PLATFORM_MEMORY_SLOTS != 256
#error "the slots below are not as many as the registers have"
#endif

/* One block of registers under names that begin with 'p', and how to use it under the lock pLCK. */
#define SLOT_REGISTERS(p, port)                                                             \
    OperationRegion (p##REG, SystemIO, port, PLATFORM_SLOTS_SIZE)                           \
    Field (p##REG, DWordAcc, NoLock, Preserve)                                              \
    {                                                                                       \
        p##SEL, 32, p##STS, 32, p##BLO, 32, p##BHI, 32,                                     \
        p##SLO, 32, p##SHI, 32, p##NOD, 32, p##UID, 32                                      \
    }                                                                                       \
    Field (p##REG, DWordAcc, NoLock, WriteAsZeros)                                          \
    {                                                                                       \
        Offset (PLATFORM_SLOT_OST_EVENT), p##OEV, 32, p##OST, 32,                           \
        Offset (PLATFORM_SLOT_LISTEN), p##LIS, 32                                           \
    }                                                                                       \
    Mutex (p##LCK, 0)

#define SLOT_METHODS(p)                                                                     \
    Method (p##STA, 1, Serialized)                                                          \
    {                                                                                       \
        Acquire (p##LCK, 0xFFFF)                                                            \
        p##SEL = Arg0                                                                       \
        Local0 = p##STS                                                                     \
        Release (p##LCK)                                                                    \
        If (Local0 & PLATFORM_SLOT_ENABLED) { Return (0x0F) }                               \
        Return (0)                                                                          \
    }                                                                                       \
    Method (p##PXM, 1, Serialized)                                                          \
    {                                                                                       \
        Acquire (p##LCK, 0xFFFF)                                                            \
        p##SEL = Arg0                                                                       \
        Local0 = p##NOD                                                                     \
        Release (p##LCK)                                                                    \
        Return (Local0)                                                                     \
    }                                                                                       \
    Method (p##EJ0, 1, Serialized)                                                          \
    {                                                                                       \
        Acquire (p##LCK, 0xFFFF)                                                            \
        p##SEL = Arg0                                                                       \
        p##STS = PLATFORM_SLOT_EJECT                                                        \
        Release (p##LCK)                                                                    \
    }                                                                                       \
    Method (p##OSI, 3, Serialized)                                                          \
    {                                                                                       \
        Acquire (p##LCK, 0xFFFF)                                                            \
        p##SEL = Arg0                                                                       \
        p##OEV = Arg1                                                                       \
        p##OST = Arg2                                                                       \
        Release (p##LCK)                                                                    \
    }                                                                                       \
    /* Tells of every slot with an event; reading the selector finds the next one. */       \
    Method (p##SCN, 0, Serialized)                                                          \
    {                                                                                       \
        Acquire (p##LCK, 0xFFFF)                                                            \
        Local0 = p##SEL                                                                     \
        While (Local0 != PLATFORM_SLOT_NONE)                                                \
        {                                                                                   \
            p##SEL = Local0                                                                 \
            Local1 = p##STS                                                                 \
            p##STS = Local1 & (PLATFORM_SLOT_INSERTED | PLATFORM_SLOT_WANTED)               \
            If (Local1 & PLATFORM_SLOT_INSERTED) { p##TFY (Local0, 1) }                     \
            If (Local1 & PLATFORM_SLOT_WANTED) { p##TFY (Local0, 3) }                       \
            Local0 = p##SEL                                                                 \
        }                                                                                   \
        Release (p##LCK)                                                                    \
    }

#define MEMORY_SLOT(n)                                                                      \
    Device (M0##n)                                                                          \
    {                                                                                       \
        Name (_HID, EisaId ("PNP0C80"))                                                     \
        Name (_UID, 0x##n)                                                                  \
        Method (_STA) { Return (MSTA (0x##n)) }                                             \
        Method (_CRS) { Return (MCRS (0x##n)) }                                             \
        Method (_PXM) { Return (MPXM (0x##n)) }                                             \
        Method (_EJ0, 1) { MEJ0 (0x##n) }                                                   \
        Method (_OST, 3) { MOSI (0x##n, Arg0, Arg1) }                                       \
    }
#define TELL_MEMORY(n) If (Arg0 == 0x##n) { Notify (M0##n, Arg1) Return }

#define CPU_SLOT(n)                                                                         \
    Device (C0##n)                                                                          \
    {                                                                                       \
        Name (_HID, "ACPI0007")                                                             \
        Name (_UID, 0x##n)                                                                  \
        Method (_STA) { Return (CSTA (0x##n)) }                                             \
        Method (_MAT) { Return (CMAT (0x##n)) }                                             \
        Method (_PXM) { Return (CPXM (0x##n)) }                                             \
        Method (_EJ0, 1) { CEJ0 (0x##n) }                                                   \
        Method (_OST, 3) { COSI (0x##n, Arg0, Arg1) }                                       \
    }
#define TELL_CPU(n) If (Arg0 == 0x##n) { Notify (C0##n, Arg1) Return }

/* One of the ports that a machine may lack: there is nothing then that answers. */
#define MORE_SERIAL(name, uid, port, irq)                                                   \
    Device (name)                                                                           \
    {                                                                                       \
        Name (_HID, EisaId ("PNP0501"))                                                     \
        Name (_UID, uid)                                                                    \
        OperationRegion (UREG, SystemIO, port, 8)                                           \
        Field (UREG, ByteAcc, NoLock, Preserve) { Offset (PLATFORM_UART_MODEM), UMCR, 8 }   \
        Method (_STA)                                                                       \
        {                                                                                   \
            If (UMCR == 0xFF) { Return (0) }                                                \
            Return (0x0F)                                                                   \
        }                                                                                   \
        Name (_CRS, ResourceTemplate ()                                                     \
        {                                                                                   \
            IO (Decode16, port, port, 0, 8)                                                 \
            IRQ (Edge, ActiveHigh, Shared) { irq }                                          \
        })                                                                                  \
    }

DefinitionBlock ("", "DSDT", 2, "NUMON ", "NUMON   ", 1)
{
    /* SLP_TYP of the sleep control register. */
    Name (\_S5, Package () { PLATFORM_SLEEP_S5, 0, 0, 0 })

    Scope (\_SB)
    {
        /* Runs in guests that interpret tables, and in no other. */
        Method (_INI)
        {
            \_SB.MEMS.MLIS = 1
            \_SB.CPUS.CLIS = 1
        }

        Device (PWRB)
        {
            Name (_HID, EisaId ("PNP0C0C"))
            Name (_UID, 0)
        }

        Device (COM1)
        {
            Name (_HID, EisaId ("PNP0501"))
            Name (_UID, 1)
            Name (_CRS, ResourceTemplate ()
            {
                IO (Decode16, PLATFORM_UART_PORT, PLATFORM_UART_PORT, 0, 8)
                IRQNoFlags () { PLATFORM_UART_IRQ }
            })
        }

        MORE_SERIAL (COM2, 2, PLATFORM_UART_2_PORT, PLATFORM_UART_2_IRQ)
        MORE_SERIAL (COM3, 3, PLATFORM_UART_3_PORT, PLATFORM_UART_IRQ)
        MORE_SERIAL (COM4, 4, PLATFORM_UART_4_PORT, PLATFORM_UART_2_IRQ)

        Device (RTC)
        {
            Name (_HID, EisaId ("PNP0B00"))
            Name (_CRS, ResourceTemplate ()
            {
                IO (Decode16, PLATFORM_RTC_PORT, PLATFORM_RTC_PORT, 0, 2)
                IRQNoFlags () { PLATFORM_RTC_IRQ }
            })
        }

        Device (GED)
        {
            Name (_HID, "ACPI0013")
            Name (_UID, 0)
            Name (_CRS, ResourceTemplate ()
            {
                Interrupt (ResourceConsumer, Level, ActiveHigh, Exclusive) { PLATFORM_EVENTS_IRQ }
            })
            OperationRegion (EREG, SystemIO, PLATFORM_EVENTS_PORT, 4)
            Field (EREG, DWordAcc, NoLock, Preserve) { EVTS, 32 }

            Method (_EVT, 1, Serialized)
            {
                Local0 = EVTS
                If (Local0 & PLATFORM_EVENT_MEMORY) { \_SB.MEMS.MSCN () }
                If (Local0 & PLATFORM_EVENT_CPU) { \_SB.CPUS.CSCN () }
                If (Local0 & PLATFORM_EVENT_POWER) { Notify (PWRB, 0x80) }
            }
        }

        Device (MEMS)
        {
            Name (_HID, EisaId ("PNP0A06"))
            Name (_UID, "memory slots")
            SLOT_REGISTERS (M, PLATFORM_MEMORY_SLOTS_PORT)
            Method (MTFY, 2) { EACH_OF_256 (TELL_MEMORY) }
            SLOT_METHODS (M)

            Method (MCRS, 1, Serialized)
            {
                Name (BUFF, ResourceTemplate ()
                {
                    QWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, Cacheable, ReadWrite,
                                 0, 0, 0xFFFFFFFFFFFFFFFE, 0, 0xFFFFFFFFFFFFFFFF, , , MEM)
                })
                CreateQWordField (BUFF, \_SB.MEMS.MCRS.MEM._MIN, MIN)
                CreateQWordField (BUFF, \_SB.MEMS.MCRS.MEM._MAX, MAX)
                CreateQWordField (BUFF, \_SB.MEMS.MCRS.MEM._LEN, LEN)
                Acquire (MLCK, 0xFFFF)
                MSEL = Arg0
                MIN = (MBHI << 32) | MBLO
                LEN = (MSHI << 32) | MSLO
                MAX = MIN + LEN - 1
                Release (MLCK)
                Return (BUFF)
            }

            EACH_OF_256 (MEMORY_SLOT)
        }

        Device (CPUS)
        {
            Name (_HID, "ACPI0010")
            Name (_CID, EisaId ("PNP0A05"))
            SLOT_REGISTERS (C, PLATFORM_CPU_SLOTS_PORT)
            Method (CTFY, 2) { EACH_OF_128 (TELL_CPU) }
            SLOT_METHODS (C)

            /* The CPU's entry of the MADT, which says of one that came later that it is not enabled. */
            Method (CMAT, 1, Serialized)
            {
                Name (XAPI, Buffer (8) { 0, 8 })
                CreateByteField (XAPI, 2, XUID)
                CreateByteField (XAPI, 3, XID)
                CreateDWordField (XAPI, 4, XFLG)
                Name (X2AP, Buffer (16) { 9, 16 })
                CreateDWordField (X2AP, 4, X2ID)
                CreateDWordField (X2AP, 8, X2FL)
                CreateDWordField (X2AP, 12, X2UI)
                Acquire (CLCK, 0xFFFF)
                CSEL = Arg0
                Local0 = CUID
                Local1 = CSTS & PLATFORM_SLOT_ENABLED
                Release (CLCK)
                If (Local0 < 0xFF)
                {
                    XUID = Arg0
                    XID = Local0
                    XFLG = Local1
                    Return (XAPI)
                }
                X2ID = Local0
                X2FL = Local1
                X2UI = Arg0
                Return (X2AP)
            }

            EACH_OF_128 (CPU_SLOT)
        }
    }
}
