/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Bytes on the wire: what the format demands of each record, and that no bytes of a peer do harm. */
#include "../../src/migrate/migrate-private.h"

#include <string.h>

static void
head_is_as_the_format_has_it(void)
{
    g_autoptr(GByteArray) out = g_byte_array_new();
    static const uint8_t wanted[] = {
        0x51, 0x45, 0x56, 0x4d, 0, 0, 0, 3, 7, 0, 0, 0, 3, 'a', 'b', 'c', 5, 27,
    };

    wire_put_head(out, "abc", 0x1122334455667788, 0, "x=1\n");
    g_assert_cmpmem(out->data, sizeof wanted, wanted, sizeof wanted);
    const uint8_t *rest = out->data + sizeof wanted;
    g_assert_cmpmem(rest, 27, MACHINE_SUBSECTION, 27);
    static const uint8_t fields[] = {
        0, 0, 0, 1, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10, 0,
        0, 0, 0, 4, 'x', '=', '1', '\n',
    };
    g_assert_cmpmem(rest + 27, out->len - sizeof wanted - 27, fields, sizeof fields);
}

static void
page_header_names_a_block_once(void)
{
    uint8_t bytes[RAM_HEADER_MOST];
    static const uint8_t named[] = { 0, 0, 0, 0, 0, 0, 0, 8, 2, 'm', '0' };
    static const uint8_t again[] = { 0, 0, 0, 1, 0, 0, 0x10, 0x22 };

    g_assert_cmpmem(bytes, wire_ram_header(bytes, 0, RAM_PAGE, "m0"), named, sizeof named);
    g_assert_cmpmem(bytes, wire_ram_header(bytes, 0x100001000, RAM_ZERO, NULL), again, sizeof again);
}

static void
zero_pages_in_a_row_are_found(void)
{
    uint8_t bytes[5 * RAM_ZERO_SIZE + RAM_HEADER_MOST], one[RAM_HEADER_MOST];
    uint64_t offset = 0;

    wire_ram_zeros(bytes, 0x7000, 5);
    for (unsigned i = 0; i < 5; i++) {
        g_assert_cmpuint(wire_ram_header(one, 0x7000 + i * PAGE_SIZE, RAM_ZERO, NULL), ==, 8);
        g_assert_cmpmem(bytes + i * RAM_ZERO_SIZE, 8, one, 8);
        g_assert_cmpuint(bytes[i * RAM_ZERO_SIZE + 8], ==, 0);
    }
    g_assert_cmpuint(wire_ram_zero_run(bytes, 5 * RAM_ZERO_SIZE, &offset), ==, 5);
    g_assert_cmpuint(offset, ==, 0x7000);
    g_assert_cmpuint(wire_ram_zero_run(bytes, 5 * RAM_ZERO_SIZE - 1, &offset), ==, 4);
    g_assert_cmpuint(wire_ram_zero_run(bytes, 8, &offset), ==, 0);
    bytes[3 * RAM_ZERO_SIZE + 8] = 1;                   /* a page of ones */
    g_assert_cmpuint(wire_ram_zero_run(bytes, 5 * RAM_ZERO_SIZE, &offset), ==, 3);
    wire_ram_header(bytes + 2 * RAM_ZERO_SIZE, 0xa000, RAM_ZERO, NULL);         /* one is missing */
    g_assert_cmpuint(wire_ram_zero_run(bytes, 5 * RAM_ZERO_SIZE, &offset), ==, 2);
    wire_ram_header(bytes + RAM_ZERO_SIZE, 0x8000, RAM_PAGE, NULL);
    g_assert_cmpuint(wire_ram_zero_run(bytes, 5 * RAM_ZERO_SIZE, &offset), ==, 1);
    wire_ram_header(bytes, 0x7000, RAM_PAGE, NULL);
    g_assert_cmpuint(wire_ram_zero_run(bytes, 5 * RAM_ZERO_SIZE, &offset), ==, 0);
    wire_ram_zeros(bytes, UINT64_MAX - RAM_FLAGS, 2);   /* the last page of all, then the first */
    g_assert_cmpuint(wire_ram_zero_run(bytes, 2 * RAM_ZERO_SIZE, &offset), <=, 2);
}

static void
run_of_pages_has_one_header(void)
{
    uint8_t bytes[RAM_RUN_HEADER_MOST];
    static const uint8_t named[] = { 0, 0, 0, 0, 0, 0, 0x34, 2, 2, 'm', '0', 0, 0, 0x10, 0 };
    static const uint8_t again[] = { 0, 0, 0, 1, 0, 0, 0x14, 0x28, 0, 0, 0, 2 };

    g_assert_cmpmem(bytes, wire_ram_run_header(bytes, 0x3000, RAM_ZERO, RAM_RUN_MOST, "m0"), named, sizeof named);
    g_assert_cmpmem(bytes, wire_ram_run_header(bytes, 0x100001000, RAM_PAGE, 2, NULL), again, sizeof again);
    g_assert_cmphex(wire_ram_feature(RAM_RUN | RAM_ZERO | RAM_CONTINUE), ==, FEATURE_RUNS);
    g_assert_cmphex(wire_ram_feature(RAM_RUN | RAM_PAGE), ==, FEATURE_RUNS);
    g_assert_cmphex(wire_ram_feature(RAM_ZERO | RAM_CONTINUE), ==, 0);
    g_assert_cmpstr(feature_name(FEATURE_RUNS), ==, "runs");
}

static void
global_state_comes_back(void)
{
    g_autoptr(GByteArray) out = g_byte_array_new();
    enum migrate_run_state state;

    for (unsigned i = 0; i < MIGRATE_RUN_STATES; i++) {
        g_byte_array_set_size(out, 0);
        wire_put_global_state(out, i);
        g_assert_cmpuint(out->len, ==, GLOBAL_STATE_SIZE);
        g_assert_true(wire_global_state_decode(out->data, &state, NULL));
        g_assert_cmpint(state, ==, i);
    }
    out->data[3] = 3;
    g_assert_false(wire_global_state_decode(out->data, &state, NULL));
    memset(out->data, 0xff, out->len);
    g_assert_false(wire_global_state_decode(out->data, &state, NULL));
}

/* Also those that a migration itself goes through, and QEMU's that numon has not. */
static void
other_global_states_are_refused(void)
{
    static const char *const words[] = {
        "", "Running", "running ", "postmigrate", "inmigrate", "finish-migrate", "io-error", "guest-panicked",
        "watchdog",
        "suspended", "save-vm", "\xff\xfe", "../../etc/passwd",
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(words); i++) {
        uint8_t data[GLOBAL_STATE_SIZE] = { [3] = (uint8_t)(strlen(words[i]) + 1) };
        enum migrate_run_state state = RUN_STATE_RUNNING;
        g_autoptr(GError) error = NULL;

        memcpy(data + 4, words[i], strlen(words[i]));
        g_assert_false(wire_global_state_decode(data, &state, &error));
        g_assert_error(error, NUMON_ERROR, NUMON_ERROR_PEER);
        g_assert_true(g_utf8_validate(error->message, -1, NULL));
    }
}

static void
return_messages_are_checked(void)
{
    struct return_message m;
    uint8_t data[RETURN_MOST + 1] = { 0, 0, 0, 7 };

    g_assert_true(wire_return_decode(RETURN_PONG, data, 4, &m, NULL));
    g_assert_cmpuint(m.value, ==, 7);
    g_assert_false(wire_return_decode(RETURN_PONG, data, 3, &m, NULL));
    g_assert_false(wire_return_decode(RETURN_SHUT, data, 5, &m, NULL));
    g_assert_true(wire_return_decode(RETURN_REASON, "no", 2, &m, NULL));
    g_assert_cmpstr(m.text, ==, "no");
    g_assert_false(wire_return_decode(RETURN_REASON, data, 0, &m, NULL));
    g_assert_false(wire_return_decode(RETURN_REASON, "\xff\xff", 2, &m, NULL));
    g_assert_false(wire_return_decode(RETURN_REASON, "a\0b", 3, &m, NULL));
    memset(data, 'x', sizeof data);
    g_assert_true(wire_return_decode(RETURN_REASON, data, RETURN_MOST, &m, NULL));
    g_assert_false(wire_return_decode(RETURN_REASON, data, RETURN_MOST + 1, &m, NULL));
    g_assert_false(wire_return_decode(99, data, 4, &m, NULL));
}

/* Lengths of which QEMU's stream analyser was seen to take some and to stumble over others. */
static void
description_length_avoids_the_trap(void)
{
    static const uint32_t bad[] = { 0x7b, 0x27b, 0x17b7b, 0x1007b, 0x7b01, 0x01010101 };
    static const uint32_t good[] = { 0x300, 0x7b00, 0x7c, 0x7a7a };

    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++)
        g_assert_false(wire_description_length_safe(bad[i]));
    for (unsigned i = 0; i < G_N_ELEMENTS(good); i++)
        g_assert_true(wire_description_length_safe(good[i]));
}

static void
description_is_padded_and_ends_with_the_id(void)
{
    static const struct state_field fields[] = { { "f", STATE_U8, 0 }, { 0 } };
    uint8_t object[1] = { 0 };
    g_autofree char *tail = wire_description_tail(42);

    for (unsigned length = 1; length < 127; length++) {
        char name[ID_SIZE] = { 0 };
        memset(name, 'n', length);
        struct state_section section = { .name = name, .version = 1, .fields = fields, .object = object };
        const struct state_section *sections[] = { &section };
        struct migrate_guest guest = { .machine_type = "numon-0.1", .sections = sections, .section_count = 1 };
        GString *json = wire_description(&guest, 42, length % 2 ? FEATURE_CHECKSUM : 0, 100, NULL);
        g_assert_true(wire_description_length_safe(json->len));
        g_assert_true(g_str_has_suffix(json->str, tail));
        g_assert_cmpint(json->str[0], ==, '{');
        g_string_free(json, TRUE);
    }
}

static void
outcome_words_survive_no_damage(void)
{
    static const uint32_t words[] = { OUTCOME_WORD_RUNNING, OUTCOME_WORD_DISCARDED, OUTCOME_WORD_UNKNOWN };
    uint8_t bytes[OUTCOME_SIZE];
    uint32_t word;
    uint64_t id = 0;

    wire_question(bytes, 99);
    g_assert_true(wire_question_decode(bytes, &id));
    g_assert_cmpuint(id, ==, 99);
    for (unsigned w = 0; w < G_N_ELEMENTS(words); w++)
        for (unsigned at = 0; at < OUTCOME_SIZE; at++)
            for (unsigned damage = 0; damage < 256; damage++) {
                wire_answer(bytes, words[w], 99);
                bytes[at] ^= damage;
                g_assert_cmpint(wire_answer_decode(bytes, 99, &word), ==, damage == 0);
            }
}

static void
cursor_stops_at_its_end(void)
{
    static const uint8_t bytes[7] = { 1, 2, 3, 4, 5, 6, 7 };
    struct cursor in = { bytes, bytes + sizeof bytes };
    uint64_t big;
    uint32_t middle = 0;
    uint16_t small = 0;
    uint8_t tiny = 0;

    g_assert_false(cursor_take64(&in, &big));
    g_assert_true(cursor_take32(&in, &middle) && middle == 0x01020304);
    g_assert_true(cursor_take16(&in, &small) && small == 0x0506);
    g_assert_false(cursor_take16(&in, &small));
    g_assert_true(cursor_take8(&in, &tiny) && tiny == 7);
    g_assert_false(cursor_take8(&in, &tiny));
}

/* As many messages as it takes, each within the bound; what is damaged is refused or at least harmless. */
static void
parts_of_the_downtime_come_through(void)
{
    g_autoptr(GArray) sent = g_array_new(FALSE, TRUE, sizeof(struct migrate_part));
    g_autoptr(GArray) found = g_array_new(FALSE, TRUE, sizeof(struct migrate_part));
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    unsigned at = 0, messages = 0;

    for (unsigned i = 0; i < 300; i++) {
        struct migrate_part p = { .us = i * UINT64_C(1000000007) };
        g_snprintf(p.name, sizeof p.name, "load kvm-cpu %u%s", i,
                   i == 7 ? " with the longest name that there can be, cut: 63" : "");
        g_array_append_val(sent, p);
    }
    while (at < sent->len)
        wire_put_parts(bytes, sent, &at);
    for (unsigned place = 0; place < bytes->len; messages++) {
        struct cursor in = { bytes->data + place, bytes->data + bytes->len };
        uint16_t type = 0, size = 0;
        g_assert_true(cursor_take16(&in, &type) && cursor_take16(&in, &size));
        g_assert_cmpuint(type, ==, RETURN_PARTS);
        g_assert_cmpuint(size, <=, RETURN_MOST);
        g_assert_true(wire_parts_decode(in.at, size, found, NULL));
        for (unsigned cut = 1; cut < size; cut++) {
            g_autoptr(GArray) some = g_array_new(FALSE, TRUE, sizeof(struct migrate_part));
            if (!wire_parts_decode(in.at, cut, some, NULL))
                g_assert_cmpuint(some->len, <, 300);
        }
        place += 4 + size;
    }
    g_assert_cmpuint(messages, >, 1);
    g_assert_cmpuint(found->len, ==, sent->len);
    for (unsigned i = 0; i < sent->len; i++) {
        const struct migrate_part *a = &g_array_index(sent, struct migrate_part, i);
        const struct migrate_part *b = &g_array_index(found, struct migrate_part, i);
        g_assert_cmpstr(a->name, ==, b->name);
        g_assert_cmpuint(b->us, ==, MIN(a->us, UINT32_MAX));
    }
}

static void
hostile_parts_are_refused(void)
{
    static const struct { uint8_t bytes[12]; size_t size; } bad[] = {
        { { 0, 0, 0, 1 }, 4 }, { { 0, 0, 0, 1, 0 }, 5 }, { { 0, 0, 0, 1, 3, 'a', 'b' }, 7 },
        { { 0, 0, 0, 1, 2, 0xc3, 'b' }, 7 }, { { 0, 0, 0, 1, 2, 'a', 0 }, 7 }, { { 0, 0, 0, 1, 64, 'a' }, 6 },
    };
    g_autoptr(GArray) found = g_array_new(FALSE, TRUE, sizeof(struct migrate_part));
    static const uint8_t good[] = { 0, 0, 0, 1, 1, 'a' };

    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;
        g_assert_false(wire_parts_decode(bad[i].bytes, bad[i].size, found, &error));
        g_assert_error(error, NUMON_ERROR, NUMON_ERROR_PEER);
    }
    g_assert_cmpuint(found->len, ==, 0);
    for (unsigned i = 0; i < MIGRATE_PARTS; i++)
        g_assert_true(wire_parts_decode(good, sizeof good, found, NULL));
    g_assert_false(wire_parts_decode(good, sizeof good, found, NULL));
}

/* It is added to what passed here, and the sum must be one. */
static void
hostile_progress_is_refused(void)
{
    static const struct { uint64_t progress_us, gap_us; bool good; } told[] = {
        { 1962, 7077, true }, { UINT32_MAX, INT64_MAX, true }, { UINT64_MAX, 1, false }, { 1, UINT64_MAX, false },
        { (uint64_t)UINT32_MAX + 1, 0, false },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(told); i++) {
        g_autoptr(GByteArray) bytes = g_byte_array_new();
        g_autoptr(GError) error = NULL;
        struct return_message m;

        wire_put_progress(bytes, told[i].progress_us, told[i].gap_us);
        bool good = wire_return_decode(RETURN_PROGRESS, bytes->data + 4, bytes->len - 4, &m, &error);
        g_assert_cmpint(good, ==, told[i].good);
        if (good)
            g_assert_cmpuint(m.progress_us, ==, told[i].progress_us);
        else
            g_assert_error(error, NUMON_ERROR, NUMON_ERROR_PEER);
    }
}

int
main(int argc, char **argv)
{
    main_thread_claim();
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/wire/head is as the format has it", head_is_as_the_format_has_it);
    g_test_add_func("/wire/page header names a block once", page_header_names_a_block_once);
    g_test_add_func("/wire/zero pages in a row are found", zero_pages_in_a_row_are_found);
    g_test_add_func("/wire/run of pages has one header", run_of_pages_has_one_header);
    g_test_add_func("/wire/global state comes back", global_state_comes_back);
    g_test_add_func("/wire/other global states are refused", other_global_states_are_refused);
    g_test_add_func("/wire/return messages are checked", return_messages_are_checked);
    g_test_add_func("/wire/description length avoids the trap", description_length_avoids_the_trap);
    g_test_add_func("/wire/description is padded and ends with the id", description_is_padded_and_ends_with_the_id);
    g_test_add_func("/wire/outcome words survive no damage", outcome_words_survive_no_damage);
    g_test_add_func("/wire/cursor stops at its end", cursor_stops_at_its_end);
    g_test_add_func("/wire/parts-of-the-downtime-come-through", parts_of_the_downtime_come_through);
    g_test_add_func("/wire/hostile-parts-are-refused", hostile_parts_are_refused);
    g_test_add_func("/wire/hostile progress is refused", hostile_progress_is_refused);
    return g_test_run();
}
