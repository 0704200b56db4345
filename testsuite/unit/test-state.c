/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Saving, loading and describing fields. */
#include "state.h"

#include <json-glib/json-glib.h>
#include <string.h>

enum { BUFFER_SIZE = 5, BLOB_MAX = 16 };

struct thing {
    uint8_t small;
    uint16_t pair[2];
    uint32_t word;
    uint64_t wide;
    bool on;
    uint8_t buffer[BUFFER_SIZE];
    void *blob;
    uint32_t blob_length;
    uint32_t later;
};

static const struct state_field thing_fields[] = {
    { "small", STATE_U8, offsetof(struct thing, small) },
    { "pair", STATE_U16, offsetof(struct thing, pair), .count = 2 },
    { "word", STATE_U32, offsetof(struct thing, word) },
    { "wide", STATE_U64, offsetof(struct thing, wide) },
    { "on", STATE_BOOL, offsetof(struct thing, on) },
    { "buffer", STATE_BUFFER, offsetof(struct thing, buffer), .count = BUFFER_SIZE },
    { "blob", STATE_VARIABLE, offsetof(struct thing, blob), .count = BLOB_MAX,
      .length_offset = offsetof(struct thing, blob_length) },
    { "later", STATE_U32, offsetof(struct thing, later), .since = 2 },
    { 0 }
};

/* What the thing below looks like on the wire. */
static const uint8_t wire[] = {
    0x11, 0x22, 0x23, 0x33, 0x34, 0x44, 0x45, 0x46, 0x47, 0x51, 0x52, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58, 0x01,
    'h', 'e', 'l', 'l', 'o', 0, 0, 0, 3, 'x', 'y', 'z', 0x61, 0x62, 0x63, 0x64,
};

static struct thing
thing_full(void)
{
    return (struct thing){
        .small = 0x11, .pair = { 0x2223, 0x3334 }, .word = 0x44454647, .wide = UINT64_C(0x5152535455565758),
        .on = true,
        .buffer = { 'h', 'e', 'l', 'l', 'o' }, .blob = g_memdup2("xyz", 3), .blob_length = 3, .later = 0x61626364,
    };
}

static struct state_section
section_of(struct thing *t)
{
    return (struct state_section){
        .name = "thing", .instance = 7, .version = 2, .fields = thing_fields, .object = t,
    };
}

struct source { const uint8_t *at, *end; };

static bool
source_read(void *from, void *bytes, size_t size, GError **error)
{
    struct source *s = from;

    if ((size_t)(s->end - s->at) < size)
        return fail(error, NUMON_ERROR_PEER, "the stream ended");
    memcpy(bytes, s->at, size);
    s->at += size;
    return true;
}

static void
bytes_are_big_endian_in_order(void)
{
    g_autoptr(GByteArray) out = g_byte_array_new();
    struct thing t = thing_full();
    struct state_section section = section_of(&t);

    state_save(&section, out);
    g_assert_cmpmem(out->data, out->len, wire, sizeof wire);
    g_free(t.blob);
}

static void
load_gives_back_what_was_saved(void)
{
    struct thing t = { .blob = g_strdup("old and longer"), .blob_length = 14 }, want = thing_full();
    struct state_section section = section_of(&t);
    struct source from = { wire, wire + sizeof wire };
    g_autoptr(GError) error = NULL;

    g_assert_true(state_load(&section, 2, source_read, &from, &error));
    g_assert_no_error(error);
    g_assert_true(from.at == from.end);
    g_assert_cmpuint(t.small, ==, want.small);
    g_assert_cmpuint(t.pair[0], ==, want.pair[0]);
    g_assert_cmpuint(t.pair[1], ==, want.pair[1]);
    g_assert_cmpuint(t.word, ==, want.word);
    g_assert_cmpuint(t.wide, ==, want.wide);
    g_assert_true(t.on);
    g_assert_cmpmem(t.buffer, BUFFER_SIZE, "hello", 5);
    g_assert_cmpmem(t.blob, t.blob_length, "xyz", 3);
    g_assert_cmpuint(t.later, ==, want.later);
    g_free(t.blob);
    g_free(want.blob);
}

static void
an_empty_blob_travels(void)
{
    g_autoptr(GByteArray) out = g_byte_array_new();
    struct thing t = { 0 }, back = { .blob = g_strdup("x"), .blob_length = 1 };
    struct state_section section = section_of(&t), into = section_of(&back);
    struct source from;

    state_save(&section, out);
    from = (struct source){ out->data, out->data + out->len };
    g_assert_true(state_load(&into, 2, source_read, &from, NULL));
    g_assert_cmpuint(back.blob_length, ==, 0);
    g_assert_null(back.blob);
}

static void
an_older_version_leaves_later_fields_alone(void)
{
    struct thing t = { .later = 99 };
    struct state_section section = section_of(&t);
    struct source from = { wire, wire + sizeof wire - 4 };

    g_assert_true(state_load(&section, 1, source_read, &from, NULL));
    g_assert_true(from.at == from.end);
    g_assert_cmpuint(t.later, ==, 99);
    g_free(t.blob);
}

static void
a_newer_version_is_refused(void)
{
    struct thing t = { 0 };
    struct state_section section = section_of(&t);
    struct source from = { wire, wire + sizeof wire };
    g_autoptr(GError) error = NULL;

    g_assert_false(state_load(&section, 3, source_read, &from, &error));
    g_assert_error(error, NUMON_ERROR, NUMON_ERROR_PEER);
    g_assert_cmpstr(error->message, ==, "cannot load section 'thing' instance 7: found version 3, known up to 2");
    g_assert_true(from.at == wire);
}

static void
a_cut_at_every_byte_is_an_error(void)
{
    for (size_t size = 0; size < sizeof wire; size++) {
        struct thing t = { 0 };
        struct state_section section = section_of(&t);
        g_autofree uint8_t *copy = g_memdup2(wire, size);      /* so that AddressSanitizer sees a read past it */
        struct source from = { copy, copy + size };
        g_autoptr(GError) error = NULL;

        g_assert_false(state_load(&section, 2, source_read, &from, &error));
        g_assert_error(error, NUMON_ERROR, NUMON_ERROR_PEER);
        g_assert_true(g_str_has_prefix(error->message, "cannot load section 'thing' instance 7, field '"));
        g_assert_true(g_str_has_suffix(error->message, ": the stream ended"));
        g_free(t.blob);
    }
}

static void
expect_bad_byte(size_t at, uint8_t byte, const char *message)
{
    uint8_t bad[sizeof wire];
    struct thing t = { .blob = g_strdup("kept"), .blob_length = 4 };
    struct state_section section = section_of(&t);
    struct source from = { bad, bad + sizeof bad };
    g_autoptr(GError) error = NULL;

    memcpy(bad, wire, sizeof bad);
    bad[at] = byte;
    g_assert_false(state_load(&section, 2, source_read, &from, &error));
    g_assert_error(error, NUMON_ERROR, NUMON_ERROR_PEER);
    g_assert_cmpstr(error->message, ==, message);
    g_assert_cmpmem(t.blob, t.blob_length, "kept", 4);
    g_free(t.blob);
}

static void
hostile_bytes_are_named(void)
{
    expect_bad_byte(17, 2, "cannot load section 'thing' instance 7, field 'on': found 0x02 where 0 or 1 is expected");
    expect_bad_byte(26, 17, "cannot load section 'thing' instance 7, field 'blob': found a length of 17 bytes where "
                            "at most 16 are expected");
    expect_bad_byte(23, 0xff, "cannot load section 'thing' instance 7, field 'blob': found a length of 4278190083 "
                              "bytes where at most 16 are expected");
}

static void
random_bytes_are_safe(void)
{
    for (unsigned round = 0; round < 2000; round++) {
        struct thing t = { 0 };
        struct state_section section = section_of(&t);
        uint8_t bytes[64];
        struct source from = { bytes, bytes + g_test_rand_int_range(0, sizeof bytes) };

        for (size_t i = 0; i < sizeof bytes; i++)
            bytes[i] = (uint8_t)(g_test_rand_int() & (round & 1 ? 0xff : 1));
        state_load(&section, 2, source_read, &from, NULL);
        g_assert_cmpuint(t.blob_length, <=, BLOB_MAX);
        g_free(t.blob);
    }
}

/* The bytes that a reader of the description takes for its fields. */
static size_t
described_size(JsonArray *fields)
{
    size_t total = 0;

    for (unsigned i = 0; i < json_array_get_length(fields); i++) {
        JsonObject *f = json_array_get_object_element(fields, i);
        gint64 count = json_object_get_int_member_with_default(f, "array_len", 1);

        total += (size_t)(json_object_get_int_member(f, "size") * count);
    }
    return total;
}

static void
the_description_covers_exactly_the_bytes(void)
{
    struct thing t = thing_full();
    struct state_section section = section_of(&t);
    g_autoptr(GString) json = g_string_new(NULL);
    g_autoptr(JsonNode) root = NULL;
    JsonObject *object;

    state_describe(&section, json);
    root = json_from_string(json->str, NULL);
    g_assert_nonnull(root);
    object = json_node_get_object(root);
    g_assert_cmpstr(json_object_get_string_member(object, "name"), ==, "thing");
    g_assert_cmpstr(json_object_get_string_member(object, "vmsd_name"), ==, "thing");
    g_assert_cmpint(json_object_get_int_member(object, "instance_id"), ==, 7);
    g_assert_cmpint(json_object_get_int_member(object, "version"), ==, 2);
    g_assert_cmpuint(described_size(json_object_get_array_member(object, "fields")), ==, sizeof wire);
    g_assert_nonnull(strstr(json->str, "{\"name\":\"pair\",\"array_len\":2,\"type\":\"uint16\",\"size\":2}"));
    g_assert_nonnull(strstr(json->str, "{\"name\":\"blob_length\",\"type\":\"uint32\",\"size\":4},"
                                       "{\"name\":\"blob\",\"type\":\"buffer\",\"size\":3}"));
    g_free(t.blob);
}

int
main(int argc, char **argv)
{
    main_thread_claim();
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/state/bytes-are-big-endian-in-order", bytes_are_big_endian_in_order);
    g_test_add_func("/state/load-gives-back-what-was-saved", load_gives_back_what_was_saved);
    g_test_add_func("/state/an-empty-blob-travels", an_empty_blob_travels);
    g_test_add_func("/state/an-older-version-leaves-later-fields-alone", an_older_version_leaves_later_fields_alone);
    g_test_add_func("/state/a-newer-version-is-refused", a_newer_version_is_refused);
    g_test_add_func("/state/a-cut-at-every-byte-is-an-error", a_cut_at_every_byte_is_an_error);
    g_test_add_func("/state/hostile-bytes-are-named", hostile_bytes_are_named);
    g_test_add_func("/state/random-bytes-are-safe", random_bytes_are_safe);
    g_test_add_func("/state/the-description-covers-exactly-the-bytes", the_description_covers_exactly_the_bytes);
    return g_test_run();
}
