/* SPDX-License-Identifier: GPL-3.0-or-later */
/* ACPI tables (ACPI specification 6.4): the root (RSDP, XSDT) here, one file for each of the others.
 *
 * The RSDP is the first thing in the area that guests search, and the other tables follow it as long as they fit
 * below 1 MiB; what does not fit lies below it, downward: in the area of a PC's option ROMs and then of its video
 * memory, of which this machine has neither.  Memory maps have all of that as reserved. */
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

/* --- where they lie --------------------------------------------------------------------------------------------- */

struct tables {
    GPtrArray *list;                    /* struct acpi_table *; the XSDT's in its order */
    uint64_t high;                      /* the next free place behind the RSDP */
    uint64_t low;                       /* the end of what is free before it */
    uint64_t missing;                   /* bytes for which there was none */
};

static void
free_table(void *p)
{
    struct acpi_table *t = p;

    g_byte_array_unref(t->bytes);
    g_free(t);
}

static uint64_t
take_place(struct tables *t, uint64_t size)
{
    uint64_t aligned = (size + TABLE_ALIGN - 1) / TABLE_ALIGN * TABLE_ALIGN;

    if (aligned <= BOOT_ACPI_END - t->high) {
        t->high += aligned;
        return t->high - aligned;
    }
    if (aligned <= t->low - BOOT_ACPI_LEAST) {
        t->low -= aligned;
        return t->low;
    }
    t->missing += aligned;
    return 0;
}

/* Adds a table (taken) at the next free place and returns that. */
static uint64_t
add_table(struct tables *tables, const char *signature, GByteArray *bytes)
{
    struct acpi_table *t = g_new0(struct acpi_table, 1);

    g_strlcpy(t->signature, signature, sizeof t->signature);
    t->gpa = take_place(tables, bytes->len);
    t->bytes = bytes;
    g_ptr_array_add(tables->list, t);
    return t->gpa;
}

/* --- the root --------------------------------------------------------------------------------------------------- */

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

static GByteArray *
dsdt_build(void)
{
    return g_byte_array_append(g_byte_array_new(), acpi_dsdt, (guint)(acpi_dsdt_end - acpi_dsdt));
}

/* Every table but the DSDT, which the FADT points to, and itself. */
static GByteArray *
xsdt_build(const GPtrArray *tables)
{
    GByteArray *xsdt = acpi_table_begin("XSDT", XSDT_REVISION, sizeof(struct acpi_header));

    for (unsigned i = 0; i < tables->len; i++) {
        const struct acpi_table *t = tables->pdata[i];
        uint64_t gpa = GUINT64_TO_LE(t->gpa);

        if (strcmp(t->signature, "DSDT") != 0)
            g_byte_array_append(xsdt, (const uint8_t *)&gpa, sizeof gpa);
    }
    acpi_table_end(xsdt);
    return xsdt;
}

/* The root comes first in the list, and the DSDT after the FADT that points to it: as a guest finds them. */
static void
add_root(struct tables *t)
{
    struct acpi_table *rsdp = g_new0(struct acpi_table, 1);
    uint64_t xsdt = add_table(t, "XSDT", xsdt_build(t->list));
    gpointer dsdt = t->list->pdata[0];

    g_strlcpy(rsdp->signature, "RSDP", sizeof rsdp->signature);
    rsdp->gpa = BOOT_RSDP_GPA;
    rsdp->bytes = rsdp_build(xsdt);
    t->list->pdata[0] = t->list->pdata[1];
    t->list->pdata[1] = dsdt;
    g_ptr_array_insert(t->list, 0, g_ptr_array_steal_index(t->list, t->list->len - 1));
    g_ptr_array_insert(t->list, 0, rsdp);
}

/* The HMAT is what can be too large: its matrices, one for each kind of value that was given, at 128 nodes. */
static void
fail_room(const struct acpi_setup *s, const struct tables *t, GError **error)
{
    uint64_t room = MAX(BOOT_ACPI_END - t->high, t->low - BOOT_ACPI_LEAST);
    unsigned kinds;
    uint64_t matrix, most = hmat_kinds_that_fit(s->topology, s->hmat, room, &kinds, &matrix);

    fail(error, NUMON_ERROR_LIMIT, "cannot describe the machine to its guest: %u kinds of latency and bandwidth "
         "between %u nodes take %" PRIu64 " KiB each of its ACPI tables, which have room for %" PRIu64 " such", kinds,
         s->topology->node_count, (matrix + KIB - 1) / KIB, most);
}

GPtrArray *
acpi_build(const struct acpi_setup *s, GError **error)
{
    const struct topology_final *topology = s->topology;
    g_autoptr(GPtrArray) list = g_ptr_array_new_with_free_func(free_table);
    struct tables t = { .list = list, .high = BOOT_RSDP_GPA + TABLE_ALIGN, .low = BOOT_RSDP_GPA };

    add_table(&t, "FACP", fadt_build(add_table(&t, "DSDT", dsdt_build())));
    add_table(&t, "APIC", madt_build(topology));
    if (topology->node_count)
        add_table(&t, "SRAT", srat_build(s));
    if (topology->node_count && topology->has_distances)
        add_table(&t, "SLIT", slit_build(topology));
    if (topology->node_count && s->hmat)
        add_table(&t, "HMAT", hmat_build(topology, s->hmat));
    add_root(&t);
    if (!t.missing)
        return g_steal_pointer(&list);
    fail_room(s, &t, error);
    return NULL;
}

bool
acpi_write(const struct acpi_setup *s, const struct guest_map *map, GError **error)
{
    g_autoptr(GPtrArray) tables = acpi_build(s, error);

    if (!tables)
        return false;
    for (unsigned i = 0; i < tables->len; i++) {
        const struct acpi_table *t = tables->pdata[i];

        if (!put(map, t->gpa, t->bytes->data, t->bytes->len, "ACPI tables", error))
            return false;
    }
    return true;
}
