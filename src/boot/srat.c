/* SPDX-License-Identifier: GPL-3.0-or-later */
/* SRAT: which node each CPU and each piece of RAM belongs to (ACPI 6.4, 5.2.16). */
#include "boot-private.h"

struct srat {                           /* table 5-65 */
    struct acpi_header header;
    uint32_t reserved_1;                /* 1, for backward compatibility */
    uint64_t reserved_2;
} __attribute__((packed));
G_STATIC_ASSERT(sizeof(struct srat) == 48);

struct srat_local_apic {                /* table 5-66 */
    uint8_t type, length, domain_low, apic_id;
    uint32_t flags;
    uint8_t sapic_eid, domain_high[3];
    uint32_t clock_domain;
} __attribute__((packed));
G_STATIC_ASSERT(sizeof(struct srat_local_apic) == 16);

struct srat_memory {                    /* table 5-68 */
    uint8_t type, length;
    uint32_t domain;
    uint16_t reserved_1;
    uint64_t base, size;
    uint32_t reserved_2, flags;
    uint64_t reserved_3;
} __attribute__((packed));
G_STATIC_ASSERT(sizeof(struct srat_memory) == 40);

struct srat_x2apic {                    /* table 5-70 */
    uint8_t type, length;
    uint16_t reserved_1;
    uint32_t domain, apic_id, flags, clock_domain, reserved_2;
} __attribute__((packed));
G_STATIC_ASSERT(sizeof(struct srat_x2apic) == 24);

enum { SRAT_REVISION = 3, LOCAL_APIC = 0, MEMORY = 1, X2APIC = 2, ENABLED = 1 << 0, HOT_PLUGGABLE = 1 << 1 };

#define APPEND(table, ...) g_byte_array_append(table, (const uint8_t *)&(__VA_ARGS__), sizeof(__VA_ARGS__))

static void
add_cpu(GByteArray *table, uint32_t apic_id, uint32_t node)
{
    if (apic_id <= XAPIC_ID_MAX)
        APPEND(table, (struct srat_local_apic) {
            LOCAL_APIC, sizeof(struct srat_local_apic), (uint8_t)node, (uint8_t)apic_id, GUINT32_TO_LE(ENABLED),
            0, { (uint8_t)(node >> 8), 0, 0 }, 0,
        });
    else
        APPEND(table, (struct srat_x2apic) {
            X2APIC, sizeof(struct srat_x2apic), 0, GUINT32_TO_LE(node), GUINT32_TO_LE(apic_id),
            GUINT32_TO_LE(ENABLED), 0, 0,
        });
}

static void
add_memory(GByteArray *table, uint32_t node, uint64_t base, uint64_t size, uint32_t flags)
{
    APPEND(table, (struct srat_memory) {
        .type = MEMORY, .length = sizeof(struct srat_memory), .domain = GUINT32_TO_LE(node),
        .base = GUINT64_TO_LE(base), .size = GUINT64_TO_LE(size), .flags = GUINT32_TO_LE(flags),
    });
}

/* Nodes lie in the order of their numbers, around the hole below 4 GiB. */
static void
add_ram(GByteArray *table, const struct topology_final *t)
{
    uint64_t gpa = 0, piece;

    for (unsigned node = 0; node < t->node_count; node++)
        for (uint64_t left = t->node_size[node]; left; left -= piece, gpa += piece) {
            piece = layout_piece(&gpa, left);
            add_memory(table, node, gpa, piece, ENABLED);
        }
}

GByteArray *
srat_build(const struct acpi_setup *s)
{
    const struct topology_final *t = s->topology;
    GByteArray *table = acpi_table_begin("SRAT", SRAT_REVISION, sizeof(struct srat));

    ((struct srat *)table->data)->reserved_1 = GUINT32_TO_LE(1);
    /* Free slots too: a CPU that comes later has its node already. */
    for (unsigned slot = 0; slot < t->smp.maxcpus; slot++)
        add_cpu(table, smp_apic_id(&t->smp, slot), t->cpu_node[slot]);
    add_ram(table, t);
    /* To whichever node a device will belong, its slot says it then; guests want to know the range at their start. */
    if (s->device_size)
        add_memory(table, t->node_count - 1, s->device_base, s->device_size, ENABLED | HOT_PLUGGABLE);
    acpi_table_end(table);
    return table;
}
