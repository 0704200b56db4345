/* SPDX-License-Identifier: GPL-3.0-or-later */
/* ACPI tables that a guest brought are anybody's: reading and decoding takes any bytes, and says what is wrong. */
#include "../../monitor/acpi.h"

#include <string.h>

enum { RSDP_GPA = 0xe0000, XSDT_GPA = 0xe0040, TABLE_GPA = 0xe0100, LOW_GPA = 0x1000, ROUNDS = 400 };

static const char *const signatures[] = { "RSDP", "XSDT", "FACP", "DSDT", "APIC", "SRAT", "SLIT", "HMAT", "SSDT" };

static void
decode(const char *signature, const uint8_t *bytes, unsigned size, GString *out)
{
    struct acpi_table t = { .gpa = TABLE_GPA, .bytes = g_byte_array_new() };
    g_autoptr(GVariant) tree = NULL;

    g_strlcpy(t.signature, signature, sizeof t.signature);
    g_byte_array_append(t.bytes, bytes, size);
    tree = g_variant_ref_sink(acpi_decode(&t));
    acpi_print(tree, out);
    g_byte_array_unref(t.bytes);
}

static void
any_bytes_are_decoded(void)
{
    g_autoptr(GString) out = g_string_new(NULL);

    for (unsigned round = 0; round < ROUNDS; round++) {
        uint8_t bytes[600];
        unsigned size = (unsigned)g_test_rand_int_range(0, sizeof bytes);

        for (unsigned i = 0; i < size; i++)
            bytes[i] = (uint8_t)(g_test_rand_int_range(0, 4) ? g_test_rand_int_range(0, 12) : g_test_rand_int());
        for (unsigned i = 0; i < G_N_ELEMENTS(signatures); i++)
            decode(signatures[i], bytes, size, out);
        g_string_truncate(out, 0);
    }
}

/* A matrix larger than its structure, one of more nodes than there can be, and an entry that sticks out. */
static void
what_does_not_hold_is_left_out(void)
{
    g_autoptr(GString) out = g_string_new(NULL);
    uint8_t hmat[72] = { [40] = 1, [44] = 32, [52] = 200, [56] = 200 };
    uint8_t srat[90] = { [48] = 1, [49] = 40, [88] = 1, [89] = 16 };
    uint8_t slit[48] = { [36] = 3 };

    decode("HMAT", hmat, sizeof hmat, out);
    g_assert_nonnull(strstr(out->str, "locality: hierarchy memory, data-type access-latency, initiators 200"));
    g_assert_null(strstr(out->str, "from"));
    decode("SRAT", srat, sizeof srat, out);
    g_assert_nonnull(strstr(out->str, "2 bytes at the end are no whole entry"));
    g_assert_nonnull(strstr(out->str, "checksum WRONG"));
    g_string_truncate(out, 0);
    decode("SLIT", slit, sizeof slit, out);
    g_assert_nonnull(strstr(out->str, "localities 3\n"));
    g_assert_null(strstr(out->str, "0   0"));
}

/* --- reading from guest memory ---------------------------------------------------------------------------------- */

static struct guest_map *
new_map(void)
{
    struct guest_map *map = guest_map_new();
    struct backend_options o;
    struct block *b;

    backend_options_init_default(&o, "m", MIB);
    b = block_new(&o, NULL);
    g_assert_nonnull(b);
    guest_map_take_block(map, b);
    guest_map_add(map, &(struct section) { .size = MIB, .block = b, .node = -1 });
    return map;
}

static void
write_number(struct guest_map *map, uint64_t gpa, uint64_t n, unsigned size)
{
    g_assert_true(guest_map_write(map, gpa, &n, size));
}

static void
write_head(struct guest_map *map, uint64_t gpa, const char *signature, uint32_t length)
{
    g_assert_true(guest_map_write(map, gpa, signature, 4));
    write_number(map, gpa + 4, length, 4);
}

static int
error_of(const struct guest_map *map)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) tables = acpi_read(map, &error);

    g_assert_true(!tables == !!error);
    return error ? error->code : (int)tables->len + 100;
}

static void
pointers_lead_nowhere(void)
{
    g_autoptr(guest_map) map = new_map();

    g_assert_cmpint(error_of(map), ==, NUMON_ERROR_STATE);
    g_assert_true(guest_map_write(map, RSDP_GPA, "RSD PTR ", 8));
    g_assert_cmpint(error_of(map), ==, NUMON_ERROR_STATE);
    write_number(map, RSDP_GPA + 24, UINT64_MAX - 8, 8);
    g_assert_cmpint(error_of(map), ==, NUMON_ERROR_STATE);
    write_number(map, RSDP_GPA + 24, XSDT_GPA, 8);
    write_head(map, XSDT_GPA, "XSDT", 35);
    g_assert_cmpint(error_of(map), ==, NUMON_ERROR_STATE);
    write_head(map, XSDT_GPA, "XSDT", UINT32_MAX);
    g_assert_cmpint(error_of(map), ==, NUMON_ERROR_STATE);
    write_head(map, XSDT_GPA, "XSDT", 44);
    g_assert_cmpint(error_of(map), ==, NUMON_ERROR_STATE);
    write_number(map, XSDT_GPA + 36, TABLE_GPA, 8);
    write_head(map, TABLE_GPA, "\x01?\xff ", 36);
    g_assert_cmpint(error_of(map), ==, 103);
    /* Longer than all tables may be together, and yet in memory. */
    write_number(map, XSDT_GPA + 36, LOW_GPA, 8);
    write_head(map, LOW_GPA, "SSDT", LAYOUT_ACPI_SIZE + 1);
    g_assert_cmpint(error_of(map), ==, NUMON_ERROR_STATE);
    write_head(map, LOW_GPA, "SSDT", LAYOUT_ACPI_SIZE);
    g_assert_cmpint(error_of(map), ==, 103);
}

/* `acpi_dump` makes file names of them. */
static void
signatures_lead_out_of_no_folder(void)
{
    static const char *const given[] = { "../X", "A/.B", "/etc", "..\\\n", "SSDT" };
    static const char *const kept[] = { "___X", "A__B", "_etc", "____", "SSDT" };

    for (unsigned i = 0; i < G_N_ELEMENTS(given); i++) {
        g_autoptr(guest_map) map = new_map();
        g_autoptr(GPtrArray) tables = NULL;

        g_assert_true(guest_map_write(map, RSDP_GPA, "RSD PTR ", 8));
        write_number(map, RSDP_GPA + 24, XSDT_GPA, 8);
        write_head(map, XSDT_GPA, "XSDT", 44);
        write_number(map, XSDT_GPA + 36, TABLE_GPA, 8);
        write_head(map, TABLE_GPA, given[i], 36);
        tables = acpi_read(map, NULL);
        g_assert_nonnull(tables);
        g_assert_cmpstr(((const struct acpi_table *)tables->pdata[2])->signature, ==, kept[i]);
    }
}

/* An FADT that says that it is its own DSDT. */
static void
a_circle_is_gone_round_once(void)
{
    g_autoptr(guest_map) map = new_map();

    g_assert_true(guest_map_write(map, RSDP_GPA, "RSD PTR ", 8));
    write_number(map, RSDP_GPA + 24, XSDT_GPA, 8);
    write_head(map, XSDT_GPA, "XSDT", 44);
    write_number(map, XSDT_GPA + 36, TABLE_GPA, 8);
    write_head(map, TABLE_GPA, "FACP", 276);
    write_number(map, TABLE_GPA + 140, TABLE_GPA, 8);
    g_assert_cmpint(error_of(map), ==, 104);
}

int
main(int argc, char **argv)
{
    main_thread_claim();
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/acpi-text/any-bytes-are-decoded", any_bytes_are_decoded);
    g_test_add_func("/acpi-text/what-does-not-hold-is-left-out", what_does_not_hold_is_left_out);
    g_test_add_func("/acpi-text/pointers-lead-nowhere", pointers_lead_nowhere);
    g_test_add_func("/acpi-text/signatures-lead-out-of-no-folder", signatures_lead_out_of_no_folder);
    g_test_add_func("/acpi-text/a-circle-is-gone-round-once", a_circle_is_gone_round_once);
    return g_test_run();
}
