/* SPDX-License-Identifier: GPL-3.0-or-later */
/* ACPI tables (ACPI specification 6.4): the root (RSDP, XSDT) here, one file for each of the others.  They lie from
 * BOOT_ACPI_GPA on, RSDP first, so that a guest which is not told finds them by scanning. */
#include "boot-private.h"

#include <string.h>

struct rsdp {                           /* table 5-27 */
    char signature[8];
    uint8_t checksum;                   /* of the first 20 bytes */
    char oem_id[6];
    uint8_t revision;
    uint32_t rsdt;
    uint32_t length;
    uint64_t xsdt;
    uint8_t extended_checksum;          /* of all */
    uint8_t reserved[3];
} __attribute__((packed));
G_STATIC_ASSERT(sizeof(struct rsdp) == 36);

enum { RSDP_REVISION = 2, RSDP_FIRST_PART = 20, XSDT_REVISION = 1, TABLE_ALIGN = 64 };

static uint8_t
sum_to_zero(const uint8_t *bytes, size_t size)
{
    uint8_t sum = 0;

    for (size_t i = 0; i < size; i++)
        sum += bytes[i];
    return (uint8_t)-sum;
}

GByteArray *
acpi_table_begin(const char *signature, uint8_t revision, unsigned size)
{
    GByteArray *table = g_byte_array_new();
    struct acpi_header *h;

    g_byte_array_set_size(table, size);
    memset(table->data, 0, size);
    h = (struct acpi_header *)table->data;
    memcpy(h->signature, signature, sizeof h->signature);
    h->revision = revision;
    memcpy(h->oem_id, "NUMON ", sizeof h->oem_id);
    memcpy(h->oem_table_id, "NUMON   ", sizeof h->oem_table_id);
    h->oem_revision = GUINT32_TO_LE(1);
    memcpy(h->creator_id, "NUMN", sizeof h->creator_id);
    h->creator_revision = GUINT32_TO_LE(1);
    return table;
}

void
acpi_table_end(GByteArray *table)
{
    struct acpi_header *h = (struct acpi_header *)table->data;

    h->length = GUINT32_TO_LE(table->len);
    h->checksum = 0;
    h->checksum = sum_to_zero(table->data, table->len);
}

static void
free_table(void *p)
{
    struct acpi_table *t = p;

    g_byte_array_unref(t->bytes);
    g_free(t);
}

/* Adds a table (taken) at the next free place and returns that. */
static uint64_t
add_table(GPtrArray *tables, const char *signature, GByteArray *bytes, uint64_t *next)
{
    struct acpi_table *t = g_new0(struct acpi_table, 1);

    g_strlcpy(t->signature, signature, sizeof t->signature);
    t->gpa = *next;
    t->bytes = bytes;
    g_ptr_array_add(tables, t);
    *next = (t->gpa + bytes->len + TABLE_ALIGN - 1) / TABLE_ALIGN * TABLE_ALIGN;
    return t->gpa;
}

static GByteArray *
rsdp_build(uint64_t xsdt)
{
    struct rsdp r = { .revision = RSDP_REVISION, .length = GUINT32_TO_LE(sizeof r), .xsdt = GUINT64_TO_LE(xsdt) };

    memcpy(r.signature, "RSD PTR ", sizeof r.signature);
    memcpy(r.oem_id, "NUMON ", sizeof r.oem_id);
    r.checksum = sum_to_zero((const uint8_t *)&r, RSDP_FIRST_PART);
    r.extended_checksum = sum_to_zero((const uint8_t *)&r, sizeof r);
    return g_byte_array_append(g_byte_array_new(), (const uint8_t *)&r, sizeof r);
}

GPtrArray *
acpi_build(const struct topology_final *topology, const struct guest_map *map)
{
    GPtrArray *tables = g_ptr_array_new_with_free_func(free_table);
    GByteArray *xsdt = acpi_table_begin("XSDT", XSDT_REVISION, sizeof(struct acpi_header));
    uint64_t next = BOOT_ACPI_GPA + TABLE_ALIGN, rsdp = BOOT_ACPI_GPA;

    add_table(tables, "APIC", madt_build(topology), &next);
    if (topology->node_count) {
        add_table(tables, "SRAT", srat_build(topology, map), &next);
        if (topology->has_distances)
            add_table(tables, "SLIT", slit_build(topology), &next);
    }
    for (unsigned i = 0; i < tables->len; i++) {
        const struct acpi_table *t = tables->pdata[i];
        uint64_t gpa = GUINT64_TO_LE(t->gpa);

        g_byte_array_append(xsdt, (const uint8_t *)&gpa, sizeof gpa);
    }
    acpi_table_end(xsdt);
    add_table(tables, "RSDP", rsdp_build(add_table(tables, "XSDT", xsdt, &next)), &rsdp);
    return tables;
}

bool
acpi_write(const struct topology_final *topology, const struct guest_map *map, GError **error)
{
    g_autoptr(GPtrArray) tables = acpi_build(topology, map);

    for (unsigned i = 0; i < tables->len; i++) {
        const struct acpi_table *t = tables->pdata[i];

        if (t->gpa + t->bytes->len > BOOT_ACPI_END)
            return fail(error, NUMON_ERROR_LIMIT, "cannot describe the machine to its guest: the ACPI table %s of %u "
                        "bytes does not fit below 1 MiB", t->signature, t->bytes->len);
        if (!put(map, t->gpa, t->bytes->data, t->bytes->len, "ACPI tables", error))
            return false;
    }
    return true;
}
