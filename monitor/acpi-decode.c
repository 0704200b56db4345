/* SPDX-License-Identifier: GPL-3.0-or-later */
/* ACPI tables as value trees and text.  What a table may hold is data: each structure is a list of fields with their
 * places (ACPI 6.4, 5.2).  The bytes may be a guest's own, and wrong: what does not hold is left out, and said. */
#include "acpi.h"

#include <inttypes.h>
#include <string.h>

struct shown {
    const char *name;               /* NULL ends a list; says how it is shown (form_of) */
    unsigned offset, size;          /* of the structure; bytes */
};

/* A structure within a table, told by its type. */
struct kind {
    unsigned type;
    const char *name;               /* NULL ends a list */
    unsigned size;                  /* at least so many bytes */
    const struct shown *fields;
};

struct layout {
    const char *signature, *name;
    const struct shown *fields;     /* of the table itself; NULL: none beside the header's */
    unsigned head;                  /* where structures begin */
    const struct kind *kinds;       /* NULL: none */
    bool wide;                      /* type and length are 2 and, from byte 4 on, 4 bytes; else one each */
};

enum { HEADER_SIZE = 36, SLIT_HEAD = 44, ENTRIES_MAX = 4096 };

static const struct shown rsdp_fields[] = {
    { "revision", 15, 1 }, { "xsdt", 24, 8 }, { 0 }
};
static const struct shown facp_fields[] = {
    { "dsdt", 140, 8 }, { "profile", 45, 1 }, { "sci-interrupt", 46, 2 },
    { "century", 108, 1 }, { "boot-flags", 109, 2 }, { "flags", 112, 4 },
    { "reset-port", 120, 8 }, { "reset-value", 128, 1 }, { "minor-version", 131, 1 },
    { "sleep-control-port", 248, 8 }, { "sleep-status-port", 260, 8 }, { 0 }
};
static const struct shown apic_fields[] = { { "local-apic", 36, 4 }, { "flags", 40, 4 }, { 0 } };
static const struct shown madt_apic[] = {
    { "processor", 2, 1 }, { "apic-id", 3, 1 }, { "flags", 4, 4 }, { 0 }
};
static const struct shown madt_ioapic[] = {
    { "id", 2, 1 }, { "address", 4, 4 }, { "first-interrupt", 8, 4 }, { 0 }
};
static const struct shown madt_override[] = {
    { "bus", 2, 1 }, { "source", 3, 1 }, { "interrupt", 4, 4 }, { "flags", 8, 2 }, { 0 }
};
static const struct shown madt_nmi[] = {
    { "processor", 2, 1 }, { "flags", 3, 2 }, { "pin", 5, 1 }, { 0 }
};
static const struct shown madt_x2apic[] = {
    { "processor", 12, 4 }, { "apic-id", 4, 4 }, { "flags", 8, 4 }, { 0 }
};
static const struct shown madt_x2nmi[] = {
    { "processor", 4, 4 }, { "flags", 2, 2 }, { "pin", 8, 1 }, { 0 }
};
static const struct kind madt_kinds[] = {
    { 0, "local APIC", 8, madt_apic }, { 1, "I/O APIC", 12, madt_ioapic },
    { 2, "interrupt override", 10, madt_override },
    { 4, "local APIC NMI", 6, madt_nmi }, { 9, "local x2APIC", 16, madt_x2apic },
    { 10, "local x2APIC NMI", 12, madt_x2nmi }, { 0 }
};
/* The high bytes of a domain (at 9) are 0 in every table of numon, as there are no more than 128 nodes. */
static const struct shown srat_apic[] = {
    { "domain", 2, 1 }, { "apic-id", 3, 1 }, { "flags", 4, 4 }, { 0 }
};
static const struct shown srat_memory[] = {
    { "domain", 2, 4 }, { "base", 8, 8 }, { "size", 16, 8 }, { "flags", 28, 4 }, { 0 }
};
static const struct shown srat_x2apic[] = {
    { "domain", 4, 4 }, { "apic-id", 8, 4 }, { "flags", 12, 4 }, { 0 }
};
static const struct kind srat_kinds[] = {
    { 0, "CPU", 16, srat_apic }, { 1, "memory", 40, srat_memory }, { 2, "CPU, x2APIC", 24, srat_x2apic }, { 0 }
};
static const struct shown slit_fields[] = { { "localities", 36, 8 }, { 0 } };
static const struct shown hmat_proximity[] = {
    { "flags", 8, 2 }, { "initiator", 12, 4 }, { "memory", 16, 4 }, { 0 }
};
static const struct shown hmat_locality[] = {
    { "initiators", 12, 4 }, { "targets", 16, 4 }, { "unit", 24, 8 }, { 0 }
};
static const struct shown hmat_cache[] = {
    { "memory", 8, 4 }, { "size", 16, 8 }, { "attributes", 24, 4 }, { 0 }
};
static const struct kind hmat_kinds[] = {
    { 0, "proximity", 40, hmat_proximity }, { 1, "locality", 32, hmat_locality },
    { 2, "memory side cache", 32, hmat_cache }, { 0 }
};

static const struct layout layouts[] = {
    { "RSDP", "root pointer", rsdp_fields }, { "XSDT", "extended root" }, { "DSDT", "definitions (AML)" },
    { "FACP", "fixed hardware", facp_fields },
    { "APIC", "CPUs and interrupt controllers", apic_fields, 44, madt_kinds },
    { "SRAT", "nodes of CPUs and memory", NULL, 48, srat_kinds }, { "SLIT", "distances", slit_fields },
    { "HMAT", "latencies, bandwidths, memory side caches", NULL, 40, hmat_kinds, true },
};

static const struct layout *
layout_of(const struct acpi_table *t)
{
    static const struct layout unknown = { "", "unknown" };

    for (unsigned i = 0; i < G_N_ELEMENTS(layouts); i++)
        if (strcmp(layouts[i].signature, t->signature) == 0)
            return &layouts[i];
    return &unknown;
}

/* --- reading ---------------------------------------------------------------------------------------------------- */

/* Little-endian; 0 beyond the end. */
static uint64_t
number_at(const GByteArray *b, uint64_t at, unsigned size)
{
    uint64_t n = 0;

    if (at + size <= b->len)
        memcpy(&n, b->data + at, size);
    return GUINT64_FROM_LE(n);
}

static bool
sums_to_zero(const GByteArray *b)
{
    uint8_t sum = 0;

    for (guint i = 0; i < b->len; i++)
        sum += b->data[i];
    return sum == 0;
}

static void
add_number(GVariantBuilder *dict, const char *name, uint64_t n)
{
    g_variant_builder_add(dict, "{sv}", name, g_variant_new_uint64(n));
}

static void
add_fields(GVariantBuilder *dict, const GByteArray *b, uint64_t from, const struct shown *fields)
{
    for (; fields && fields->name; fields++)
        add_number(dict, fields->name, number_at(b, from + fields->offset, fields->size));
}

/* What a locality is of, in the words of `numa hmat-lb`. */
static void
add_locality_words(GVariantBuilder *dict, const GByteArray *b, uint64_t at)
{
    uint64_t hierarchy = number_at(b, at + 8, 1) & 0x0f, type = number_at(b, at + 9, 1);

    g_variant_builder_add(dict, "{sv}", "hierarchy", g_variant_new_string(
                              hierarchy < HMAT_HIERARCHIES ? hmat_hierarchy_names[hierarchy] : "unknown"));
    g_variant_builder_add(dict, "{sv}", "data-type", g_variant_new_string(
                              type < HMAT_TYPES ? hmat_type_names[type] : "unknown"));
}

/* The matrix of a locality, row by row as entries are encoded. */
static void
add_matrix(GVariantBuilder *dict, const GByteArray *b, uint64_t at, uint64_t length)
{
    uint64_t rows = number_at(b, at + 12, 4), columns = number_at(b, at + 16, 4), first = 32 + 4 * (rows + columns);
    GVariantBuilder matrix;

    if (rows > TOPOLOGY_NODES || columns > TOPOLOGY_NODES || first + 2 * rows * columns > length)
        return;
    g_variant_builder_init(&matrix, G_VARIANT_TYPE("aat"));
    for (unsigned row = 0; row < rows; row++) {
        g_variant_builder_open(&matrix, G_VARIANT_TYPE("at"));
        g_variant_builder_add(&matrix, "t", number_at(b, at + 32 + 4 * row, 4));
        for (unsigned column = 0; column < columns; column++)
            g_variant_builder_add(&matrix, "t", number_at(b, at + first + 2 * (row * columns + column), 2));
        g_variant_builder_close(&matrix);
    }
    g_variant_builder_add(dict, "{sv}", "matrix", g_variant_builder_end(&matrix));
}

static GVariant *
entry_tree(const struct layout *l, const GByteArray *b, uint64_t at, uint64_t type, uint64_t length)
{
    const struct kind *k = l->kinds;
    GVariantBuilder dict;

    while (k->name && k->type != type)
        k++;
    g_variant_builder_init(&dict, G_VARIANT_TYPE_VARDICT);
    if (k->name && length >= k->size) {
        g_variant_builder_add(&dict, "{sv}", "kind", g_variant_new_string(k->name));
        if (k->fields == hmat_locality)
            add_locality_words(&dict, b, at);
        add_fields(&dict, b, at, k->fields);
        if (k->fields == hmat_locality)
            add_matrix(&dict, b, at, length);
    } else {
        g_variant_builder_add(&dict, "{sv}", "kind", g_variant_new_string("unknown"));
        add_number(&dict, "type", type);
        add_number(&dict, "length", length);
    }
    return g_variant_builder_end(&dict);
}

static void
add_entries(GVariantBuilder *dict, const struct layout *l, const GByteArray *b)
{
    GVariantBuilder list;
    uint64_t at = l->head, length;

    g_variant_builder_init(&list, G_VARIANT_TYPE("aa{sv}"));
    for (unsigned n = 0; n < ENTRIES_MAX && at + (l->wide ? 8 : 2) <= b->len; n++, at += length) {
        length = l->wide ? number_at(b, at + 4, 4) : number_at(b, at + 1, 1);
        if (length < (l->wide ? 8 : 2) || at + length > b->len)
            break;
        g_variant_builder_add_value(&list, entry_tree(l, b, at, number_at(b, at, l->wide ? 2 : 1), length));
    }
    g_variant_builder_add(dict, "{sv}", "entries", g_variant_builder_end(&list));
    if (at != b->len)
        add_number(dict, "unread", b->len - MIN(at, b->len));
}

static void
add_distances(GVariantBuilder *dict, const GByteArray *b)
{
    uint64_t count = number_at(b, HEADER_SIZE, 8);
    GVariantBuilder matrix;

    if (count > TOPOLOGY_NODES || SLIT_HEAD + count * count > b->len)
        return;
    g_variant_builder_init(&matrix, G_VARIANT_TYPE("aat"));
    for (unsigned row = 0; row < count; row++) {
        g_variant_builder_open(&matrix, G_VARIANT_TYPE("at"));
        for (unsigned column = 0; column < count; column++)
            g_variant_builder_add(&matrix, "t", number_at(b, SLIT_HEAD + row * count + column, 1));
        g_variant_builder_close(&matrix);
    }
    g_variant_builder_add(dict, "{sv}", "distances", g_variant_builder_end(&matrix));
}

static void
add_tables(GVariantBuilder *dict, const GByteArray *b)
{
    GVariantBuilder list;

    g_variant_builder_init(&list, G_VARIANT_TYPE("at"));
    for (guint at = HEADER_SIZE; at + 8 <= b->len; at += 8)
        g_variant_builder_add(&list, "t", number_at(b, at, 8));
    g_variant_builder_add(dict, "{sv}", "tables", g_variant_builder_end(&list));
}

static void
begin_tree(GVariantBuilder *dict, const struct acpi_table *t)
{
    bool root = strcmp(t->signature, "RSDP") == 0;

    g_variant_builder_init(dict, G_VARIANT_TYPE_VARDICT);
    g_variant_builder_add(dict, "{sv}", "signature", g_variant_new_string(t->signature));
    g_variant_builder_add(dict, "{sv}", "name", g_variant_new_string(layout_of(t)->name));
    add_number(dict, "address", t->gpa);
    add_number(dict, "length", t->bytes->len);
    add_number(dict, "revision", number_at(t->bytes, root ? 15 : 8, 1));
    g_variant_builder_add(dict, "{sv}", "checksum-good", g_variant_new_boolean(sums_to_zero(t->bytes)));
}

GVariant *
acpi_summarize(const struct acpi_table *t)
{
    GVariantBuilder dict;

    begin_tree(&dict, t);
    return g_variant_builder_end(&dict);
}

GVariant *
acpi_decode(const struct acpi_table *t)
{
    const struct layout *l = layout_of(t);
    GVariantBuilder dict, fields;

    begin_tree(&dict, t);
    g_variant_builder_init(&fields, G_VARIANT_TYPE_VARDICT);
    add_fields(&fields, t->bytes, 0, l->fields);
    g_variant_builder_add(&dict, "{sv}", "fields", g_variant_builder_end(&fields));
    if (l->kinds)
        add_entries(&dict, l, t->bytes);
    if (strcmp(l->signature, "SLIT") == 0)
        add_distances(&dict, t->bytes);
    if (strcmp(l->signature, "XSDT") == 0)
        add_tables(&dict, t->bytes);
    return g_variant_builder_end(&dict);
}

/* --- printing --------------------------------------------------------------------------------------------------- */

/* How a number is shown, by its name in any list. */
enum form { DECIMAL, HEX, BYTES };

static enum form
form_of(const char *name)
{
    static const char *const hex[] = { "xsdt", "dsdt", "century", "boot-flags", "flags", "reset-port", "reset-value",
                                       "sleep-control-port", "sleep-status-port", "local-apic", "address", "base",
                                       "attributes", NULL };

    if (strcmp(name, "size") == 0)
        return BYTES;
    return g_strv_contains(hex, name) ? HEX : DECIMAL;
}

static void
print_number(const char *name, uint64_t n, GString *out)
{
    g_autofree char *size = size_format(n);

    switch (form_of(name)) {
    case DECIMAL:
        g_string_append_printf(out, "%s %" PRIu64, name, n);
        break;
    case HEX:
        g_string_append_printf(out, "%s 0x%" PRIx64, name, n);
        break;
    case BYTES:
        g_string_append_printf(out, "%s 0x%" PRIx64 " (%s)", name, n, size);
        break;
    }
}

/* Bits of a structure's flags, lowest first. */
static void
print_flags(GVariant *entry, GString *out)
{
    static const struct { const char *kind, *bits[3]; } known[] = {
        { "local APIC", { "enabled", "can be enabled" } }, { "local x2APIC", { "enabled", "can be enabled" } },
        { "CPU", { "enabled" } }, { "CPU, x2APIC", { "enabled" } },
        { "memory", { "enabled", "hot-pluggable", "non-volatile" } }, { "proximity", { "initiator valid" } },
    };
    uint64_t flags = tree_number(entry, "flags");

    for (unsigned i = 0; i < G_N_ELEMENTS(known); i++)
        for (unsigned bit = 0; strcmp(tree_text(entry, "kind"), known[i].kind) == 0 && bit < 3; bit++)
            if (flags >> bit & 1 && known[i].bits[bit])
                g_string_append_printf(out, ", %s", known[i].bits[bit]);
}

/* The values of a dictionary, in order, between 'before' and 'after' each. */
static void
print_values(GVariant *dict, const char *before, const char *after, GString *out)
{
    GVariantIter entries;
    const char *name;
    GVariant *value;

    g_variant_iter_init(&entries, dict);
    while (g_variant_iter_next(&entries, "{&sv}", &name, &value)) {
        if (g_variant_is_of_type(value, G_VARIANT_TYPE_UINT64)) {
            g_string_append(out, before);
            print_number(name, g_variant_get_uint64(value), out);
            g_string_append(out, after);
        } else if (g_variant_is_of_type(value, G_VARIANT_TYPE_STRING) && strcmp(name, "kind") != 0) {
            g_string_append_printf(out, "%s%s %s%s", before, name, g_variant_get_string(value, NULL), after);
        }
        g_variant_unref(value);
    }
}

static void
print_rows(GVariant *dict, const char *key, const char *indent, bool labelled, GString *out)
{
    g_autoptr(GVariant) matrix = g_variant_lookup_value(dict, key, G_VARIANT_TYPE("aat"));

    for (gsize row = 0; matrix && row < g_variant_n_children(matrix); row++) {
        g_autoptr(GVariant) numbers = g_variant_get_child_value(matrix, row);
        gsize count;
        const guint64 *at = g_variant_get_fixed_array(numbers, &count, sizeof *at);

        g_string_append(out, indent);
        if (labelled && count)
            g_string_append_printf(out, "from %" PRIu64 ":", at[0]);
        for (gsize i = labelled; i < count; i++)
            g_string_append_printf(out, "%s%*" PRIu64, i || labelled ? " " : "", labelled ? 5 : 3, at[i]);
        g_string_append_c(out, '\n');
    }
}

static void
print_entries(GVariant *table, GString *out)
{
    g_autoptr(GVariant) list = g_variant_lookup_value(table, "entries", G_VARIANT_TYPE("aa{sv}"));

    for (gsize i = 0; list && i < g_variant_n_children(list); i++) {
        g_autoptr(GVariant) entry = g_variant_get_child_value(list, i);

        g_string_append_printf(out, "  %s:", tree_text(entry, "kind"));
        print_values(entry, " ", ",", out);
        g_string_truncate(out, out->len - 1);
        print_flags(entry, out);
        g_string_append_c(out, '\n');
        print_rows(entry, "matrix", "    ", true, out);
    }
    if (tree_number(table, "unread"))
        g_string_append_printf(out, "  %" PRIu64 " bytes at the end are no whole entry\n",
                               tree_number(table, "unread"));
}

void
acpi_print_summary(GVariant *table, GString *out)
{
    gboolean good = FALSE;

    g_variant_lookup(table, "checksum-good", "b", &good);
    g_string_append_printf(out, "%s at 0x%05" PRIx64 ": %6" PRIu64 " bytes, revision %" PRIu64 ", %s%s\n",
                           tree_text(table, "signature"), tree_number(table, "address"), tree_number(table, "length"),
                           tree_number(table, "revision"), tree_text(table, "name"),
                           good ? "" : ", checksum WRONG");
}

void
acpi_print(GVariant *table, GString *out)
{
    g_autoptr(GVariant) fields = g_variant_lookup_value(table, "fields", G_VARIANT_TYPE_VARDICT);
    g_autoptr(GVariant) tables = g_variant_lookup_value(table, "tables", G_VARIANT_TYPE("at"));

    acpi_print_summary(table, out);
    print_values(fields, "  ", "\n", out);
    for (gsize i = 0; tables && i < g_variant_n_children(tables); i++) {
        guint64 address;

        g_variant_get_child(tables, i, "t", &address);
        g_string_append_printf(out, "  table 0x%" PRIx64 "\n", address);
    }
    print_entries(table, out);
    print_rows(table, "distances", "  ", false, out);
}
