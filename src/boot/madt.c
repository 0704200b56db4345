/* SPDX-License-Identifier: GPL-3.0-or-later */
/* MADT: which CPUs and interrupt controllers there are (ACPI 6.4, 5.2.12). */
#include "boot-private.h"

struct madt {                           /* table 5-43 */
    struct acpi_header header;
    uint32_t local_apic, flags;
} __attribute__((packed));
G_STATIC_ASSERT(sizeof(struct madt) == 44);

struct madt_local_apic {                /* table 5-46 */
    uint8_t type, length, processor, apic_id;
    uint32_t flags;
} __attribute__((packed));
G_STATIC_ASSERT(sizeof(struct madt_local_apic) == 8);

struct madt_io_apic {                   /* table 5-48 */
    uint8_t type, length, id, reserved;
    uint32_t address, first_interrupt;
} __attribute__((packed));
G_STATIC_ASSERT(sizeof(struct madt_io_apic) == 12);

struct madt_local_nmi {                 /* table 5-53 */
    uint8_t type, length, processor;
    uint16_t flags;
    uint8_t pin;
} __attribute__((packed));
G_STATIC_ASSERT(sizeof(struct madt_local_nmi) == 6);

struct madt_x2apic {                    /* table 5-59 */
    uint8_t type, length;
    uint16_t reserved;
    uint32_t apic_id, flags, processor;
} __attribute__((packed));
G_STATIC_ASSERT(sizeof(struct madt_x2apic) == 16);

struct madt_x2apic_nmi {                /* table 5-60 */
    uint8_t type, length;
    uint16_t flags;
    uint32_t processor;
    uint8_t pin, reserved[3];
} __attribute__((packed));
G_STATIC_ASSERT(sizeof(struct madt_x2apic_nmi) == 12);

enum { LOCAL_APIC = 0, IO_APIC = 1, LOCAL_NMI = 4, X2APIC = 9, X2APIC_NMI = 10 };
enum { MADT_REVISION = 5, PC_COMPATIBLE = 1, CPU_ENABLED = 1 << 0, CPU_ONLINE_CAPABLE = 1 << 1, LINT1 = 1 };
enum { ALL_PROCESSORS = 0xff };
#define ALL_X2APIC_PROCESSORS UINT32_MAX

#define APPEND(table, ...) g_byte_array_append(table, (const uint8_t *)&(__VA_ARGS__), sizeof(__VA_ARGS__))

/* A free slot is listed too, as one that can be enabled: so guests know that a CPU may come there. */
static void
add_cpu(GByteArray *table, uint32_t apic_id, uint32_t processor, uint32_t flags)
{
    if (apic_id <= XAPIC_ID_MAX)
        APPEND(table, (struct madt_local_apic) {
            LOCAL_APIC, sizeof(struct madt_local_apic), (uint8_t)processor, (uint8_t)apic_id,
            GUINT32_TO_LE(flags),
        });
    else
        APPEND(table, (struct madt_x2apic) {
            X2APIC, sizeof(struct madt_x2apic), 0, GUINT32_TO_LE(apic_id), GUINT32_TO_LE(flags),
            GUINT32_TO_LE(processor),
        });
}

static void
add_cpus(GByteArray *table, const struct topology_final *t)
{
    unsigned last = 0;

    for (unsigned slot = 0; slot < t->smp.maxcpus; slot++) {
        last = smp_apic_id(&t->smp, slot);
        add_cpu(table, last, slot, bit_test(t->present, slot) ? CPU_ENABLED : CPU_ONLINE_CAPABLE);
    }
    APPEND(table, (struct madt_local_nmi) {
        LOCAL_NMI, sizeof(struct madt_local_nmi), ALL_PROCESSORS, 0, LINT1,
    });
    if (last > XAPIC_ID_MAX)
        APPEND(table, (struct madt_x2apic_nmi) {
            X2APIC_NMI, sizeof(struct madt_x2apic_nmi), 0, ALL_X2APIC_PROCESSORS, LINT1, { 0 },
        });
}

/* There is no override of an ISA interrupt: KVM wires each to the I/O APIC's input of the same number, and so its
 * timer. */
GByteArray *
madt_build(const struct topology_final *topology)
{
    GByteArray *table = acpi_table_begin("APIC", MADT_REVISION, sizeof(struct madt));
    struct madt *madt = (struct madt *)table->data;

    madt->local_apic = GUINT32_TO_LE(LAYOUT_LOCAL_APIC_GPA);
    madt->flags = GUINT32_TO_LE(PC_COMPATIBLE);
    add_cpus(table, topology);
    APPEND(table, (struct madt_io_apic) {
        IO_APIC, sizeof(struct madt_io_apic), 0, 0, GUINT32_TO_LE(LAYOUT_IO_APIC_GPA), 0,
    });
    acpi_table_end(table);
    return table;
}
