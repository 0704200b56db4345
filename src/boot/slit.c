/* SPDX-License-Identifier: GPL-3.0-or-later */
/* SLIT: distances between nodes (ACPI 6.4, 5.2.17). */
#include "boot-private.h"

struct slit {                           /* table 5-75; the matrix follows, a byte a pair, row by row */
    struct acpi_header header;
    uint64_t count;
} __attribute__((packed));
G_STATIC_ASSERT(sizeof(struct slit) == 44);

enum { SLIT_REVISION = 1 };

GByteArray *
slit_build(const struct topology_final *topology)
{
    GByteArray *table = acpi_table_begin("SLIT", SLIT_REVISION, sizeof(struct slit));

    ((struct slit *)table->data)->count = GUINT64_TO_LE((uint64_t)topology->node_count);
    for (unsigned src = 0; src < topology->node_count; src++)
        g_byte_array_append(table, topology->distance[src], topology->node_count);
    acpi_table_end(table);
    return table;
}
