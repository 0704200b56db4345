/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The ACPI tables that lie in guest memory, found as a guest finds them.  What is there may have come with a guest
 * from elsewhere: every length is checked. */
#include "boot-private.h"

#include <string.h>

enum {
    RSDP_SIZE = 36, RSDP_XSDT = 24,     /* ACPI 6.4, table 5-27 */
    FADT_DSDT = 140,                    /* table 5-33, X_DSDT */
    TABLES_MAX = 64,
};

static struct acpi_table *
table_new(const char *name, uint64_t gpa, const uint8_t *bytes, uint32_t size)
{
    struct acpi_table *t = g_new0(struct acpi_table, 1);

    /* It becomes a file's name, and the guest may have written it: no '/' is let through. */
    for (unsigned i = 0; i < 4; i++)
        t->signature[i] = g_ascii_isalnum(name[i]) ? name[i] : '_';
    t->gpa = gpa;
    t->bytes = g_byte_array_append(g_byte_array_new(), bytes, size);
    return t;
}

static void
free_table(void *p)
{
    struct acpi_table *t = p;

    g_byte_array_unref(t->bytes);
    g_free(t);
}

/* NULL with an error: there is no table of a likely length at this address. */
static struct acpi_table *
read_table(const struct guest_map *map, uint64_t gpa, GError **error)
{
    struct acpi_header h;
    g_autofree uint8_t *bytes = NULL;
    uint32_t length;

    if (guest_map_read(map, gpa, &h, sizeof h)) {
        length = GUINT32_FROM_LE(h.length);
        bytes = length >= sizeof h && length <= LAYOUT_ACPI_SIZE ? g_malloc(length) : NULL;
        if (bytes && guest_map_read(map, gpa, bytes, length))
            return table_new(h.signature, gpa, bytes, length);
    }
    fail(error, NUMON_ERROR_STATE, "cannot read the guest's ACPI tables: there is none at 0x%" PRIx64
         ", which another points to", gpa);
    return NULL;
}

static uint64_t
pointer_at(const struct acpi_table *t, unsigned at)
{
    uint64_t pointer = 0;

    if (at + sizeof pointer <= t->bytes->len)
        memcpy(&pointer, t->bytes->data + at, sizeof pointer);
    return GUINT64_FROM_LE(pointer);
}

/* A table of the XSDT, and the one more that an FADT points to. */
static bool
add_table(GPtrArray *tables, const struct guest_map *map, uint64_t gpa, GError **error)
{
    struct acpi_table *t = read_table(map, gpa, error), *dsdt;

    if (!t)
        return false;
    g_ptr_array_add(tables, t);
    if (strcmp(t->signature, "FACP") != 0 || !pointer_at(t, FADT_DSDT))
        return true;
    dsdt = read_table(map, pointer_at(t, FADT_DSDT), error);
    if (dsdt)
        g_ptr_array_add(tables, dsdt);
    return dsdt != NULL;
}

static bool
add_all(GPtrArray *tables, const struct guest_map *map, const struct acpi_table *xsdt, GError **error)
{
    for (unsigned at = sizeof(struct acpi_header); at + 8 <= xsdt->bytes->len && tables->len < TABLES_MAX; at += 8)
        if (!add_table(tables, map, pointer_at(xsdt, at), error))
            return false;
    return true;
}

GPtrArray *
acpi_read(const struct guest_map *map, GError **error)
{
    g_autoptr(GPtrArray) tables = g_ptr_array_new_with_free_func(free_table);
    uint8_t rsdp[RSDP_SIZE];
    struct acpi_table *root, *xsdt;

    if (!guest_map_read(map, LAYOUT_RSDP_GPA, rsdp, sizeof rsdp) || memcmp(rsdp, "RSD PTR ", 8) != 0) {
        fail(error, NUMON_ERROR_STATE, "there are no ACPI tables in guest memory");
        return NULL;
    }
    root = table_new("RSDP", LAYOUT_RSDP_GPA, rsdp, sizeof rsdp);
    g_ptr_array_add(tables, root);
    xsdt = read_table(map, pointer_at(root, RSDP_XSDT), error);
    if (!xsdt)
        return NULL;
    g_ptr_array_add(tables, xsdt);
    return add_all(tables, map, xsdt, error) ? g_steal_pointer(&tables) : NULL;
}
