/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Bytes on the wire: QEMU's file format (its docs/devel/migration and scripts/analyze-migration.py), the messages of
 * the return path, and our question after an outcome.  Pure: nothing here reads or writes a descriptor.  All integers
 * are big-endian. */
#include "migrate-private.h"

#include <inttypes.h>
#include <string.h>

/* --- encode ----------------------------------------------------------------------------------------------------- */

void
wire_put8(GByteArray *out, uint8_t value)
{
    g_byte_array_append(out, &value, 1);
}

void
wire_put16(GByteArray *out, uint16_t value)
{
    value = GUINT16_TO_BE(value);
    g_byte_array_append(out, (uint8_t *)&value, sizeof value);
}

void
wire_put32(GByteArray *out, uint32_t value)
{
    value = GUINT32_TO_BE(value);
    g_byte_array_append(out, (uint8_t *)&value, sizeof value);
}

void
wire_put64(GByteArray *out, uint64_t value)
{
    value = GUINT64_TO_BE(value);
    g_byte_array_append(out, (uint8_t *)&value, sizeof value);
}

void
wire_put_name(GByteArray *out, const char *name)
{
    size_t length = strlen(name);

    g_assert(length > 0 && length <= NAME_MOST);
    wire_put8(out, (uint8_t)length);
    g_byte_array_append(out, (const uint8_t *)name, length);
}

void
wire_put_head(GByteArray *out, const char *machine_type, uint64_t id, uint64_t features, const char *text)
{
    wire_put32(out, STREAM_MAGIC);
    wire_put32(out, STREAM_VERSION);
    wire_put8(out, RECORD_CONFIGURATION);
    wire_put32(out, strlen(machine_type));
    g_byte_array_append(out, (const uint8_t *)machine_type, strlen(machine_type));
    wire_put8(out, RECORD_SUBSECTION);
    wire_put_name(out, MACHINE_SUBSECTION);
    wire_put32(out, MACHINE_SUBSECTION_VERSION);
    wire_put64(out, id);
    wire_put64(out, features);
    wire_put32(out, PAGE_SIZE);
    wire_put32(out, strlen(text));
    g_byte_array_append(out, (const uint8_t *)text, strlen(text));
}

void
wire_put_command(GByteArray *out, uint16_t command, const void *data, uint16_t size)
{
    wire_put8(out, RECORD_COMMAND);
    wire_put16(out, command);
    wire_put16(out, size);
    g_byte_array_append(out, data, size);
}

void
wire_put_ping(GByteArray *out, uint32_t value)
{
    value = GUINT32_TO_BE(value);
    wire_put_command(out, COMMAND_PING, &value, sizeof value);
}

void
wire_put_section(GByteArray *out, uint8_t record, uint32_t id, const char *name, uint32_t instance, uint32_t version)
{
    wire_put8(out, record);
    wire_put32(out, id);
    wire_put_name(out, name);
    wire_put32(out, instance);
    wire_put32(out, version);
}

void
wire_put_part(GByteArray *out, uint8_t record, uint32_t id)
{
    wire_put8(out, record);
    wire_put32(out, id);
}

void
wire_put_footer(GByteArray *out, uint32_t id)
{
    wire_put_part(out, RECORD_FOOTER, id);
}

/* Readers take names until the total is used up: they would not see a block of no length at the end. */
void
wire_put_blocks(GByteArray *out, const struct moving *blocks, unsigned count)
{
    uint64_t total = 0;

    for (unsigned i = 0; i < count; i++)
        total += blocks[i].pages * PAGE_SIZE;
    wire_put64(out, total | RAM_MEM_SIZE);
    for (unsigned i = 0; i < count; i++) {
        if (blocks[i].pages == 0)
            continue;
        wire_put_name(out, blocks[i].block->name);
        wire_put64(out, blocks[i].pages * PAGE_SIZE);
    }
}

void
wire_put_block_list(GByteArray *out, const struct moving *blocks, unsigned count)
{
    wire_put_blocks(out, blocks, count);
    wire_put64(out, RAM_EOS);
}

const char *
migrate_run_state_name(enum migrate_run_state s)
{
    static const char *const names[MIGRATE_RUN_STATES] = {
        [RUN_STATE_RUNNING] = "running", [RUN_STATE_PAUSED] = "paused", [RUN_STATE_PRELAUNCH] = "prelaunch",
        [RUN_STATE_INTERNAL_ERROR] = "internal-error", [RUN_STATE_SHUTDOWN] = "shutdown",
    };

    return names[s];
}

void
wire_put_global_state(GByteArray *out, enum migrate_run_state state)
{
    char text[GLOBAL_STATE_TEXT] = { 0 };

    g_strlcpy(text, migrate_run_state_name(state), sizeof text);
    wire_put32(out, strlen(text) + 1);
    g_byte_array_append(out, (const uint8_t *)text, sizeof text);
}

void
wire_put_return(GByteArray *out, uint16_t type, const void *data, uint16_t size)
{
    wire_put16(out, type);
    wire_put16(out, size);
    g_byte_array_append(out, data, size);
}

/* Room for a part's numbers beside its name. */
enum { PART_FIXED = 4 + 1 };

void
wire_put_parts(GByteArray *out, const GArray *parts, unsigned *at)
{
    g_autoptr(GByteArray) data = g_byte_array_new();

    for (; *at < parts->len; ++*at) {
        const struct migrate_part *p = &g_array_index(parts, struct migrate_part, *at);
        size_t size = strlen(p->name);

        if (data->len + PART_FIXED + size > RETURN_MOST)
            break;
        wire_put32(data, (uint32_t)MIN(p->us, UINT32_MAX));
        wire_put8(data, (uint8_t)size);
        g_byte_array_append(data, (const uint8_t *)p->name, (unsigned)size);
    }
    wire_put_return(out, RETURN_PARTS, data->data, (uint16_t)data->len);
}

bool
wire_parts_decode(const void *data, size_t size, GArray *parts, GError **error)
{
    struct cursor in = { data, (const uint8_t *)data + size };

    while (in.at < in.end) {
        struct migrate_part p = { 0 };
        uint32_t us = 0;
        uint8_t length = 0;

        if (!cursor_take32(&in, &us) || !cursor_take8(&in, &length) || length == 0 || length >= MIGRATE_PART_NAME
            || length > in.end - in.at || !g_utf8_validate_len((const char *)in.at, length, NULL))
            return fail(error, NUMON_ERROR_PEER, "the destination told of its part of the downtime, and that is not "
                        "readable");
        if (parts->len == MIGRATE_PARTS)
            return fail(error, NUMON_ERROR_PEER, "the destination told of more than %d parts of the downtime",
                        MIGRATE_PARTS);
        p.us = us;
        memcpy(p.name, in.at, length);
        in.at += length;
        g_array_append_val(parts, p);
    }
    return true;
}

void
wire_put_progress(GByteArray *out, uint64_t progress_us, uint64_t gap_us)
{
    g_autoptr(GByteArray) data = g_byte_array_new();

    wire_put64(data, progress_us);
    wire_put64(data, gap_us);
    wire_put_return(out, RETURN_PROGRESS, data->data, (uint16_t)data->len);
}

static void
store64(uint8_t *to, uint64_t value)
{
    value = GUINT64_TO_BE(value);
    memcpy(to, &value, sizeof value);
}

static void
store32(uint8_t *to, uint32_t value)
{
    value = GUINT32_TO_BE(value);
    memcpy(to, &value, sizeof value);
}

size_t
wire_ram_header(uint8_t out[RAM_HEADER_MOST], uint64_t offset, unsigned flags, const char *name)
{
    store64(out, offset | flags | (name ? 0 : RAM_CONTINUE));
    if (!name)
        return 8;
    size_t length = strlen(name);
    g_assert(length > 0 && length <= NAME_MOST);
    out[8] = (uint8_t)length;
    memcpy(out + 9, name, length);
    return 9 + length;
}

size_t
wire_ram_run_header(uint8_t out[RAM_RUN_HEADER_MOST], uint64_t offset, unsigned kind, uint32_t count,
                    const char *name)
{
    size_t size = wire_ram_header(out, offset, kind | RAM_RUN, name);

    g_assert(count > 0 && count <= RAM_RUN_MOST);
    store32(out + size, count);
    return size + sizeof count;
}

void
wire_ram_zeros(uint8_t *out, uint64_t offset, uint64_t count)
{
    for (; count; count--) {
        store64(out, offset | RAM_ZERO | RAM_CONTINUE);
        out[8] = 0;
        out += RAM_ZERO_SIZE;
        offset += PAGE_SIZE;
    }
}

uint64_t
wire_ram_zero_run(const uint8_t *from, size_t size, uint64_t *ret_offset)
{
    uint64_t word, next, count = 0;

    for (; size >= RAM_ZERO_SIZE; size -= RAM_ZERO_SIZE) {
        memcpy(&word, from, sizeof word);
        word = GUINT64_FROM_BE(word);
        if (count == 0 && (word & RAM_FLAGS) == (RAM_ZERO | RAM_CONTINUE))
            *ret_offset = next = word & ~(uint64_t)RAM_FLAGS;
        else if (count == 0 || word != (next | RAM_ZERO | RAM_CONTINUE))
            break;
        if (from[8] != 0)
            break;
        from += RAM_ZERO_SIZE;
        next += PAGE_SIZE;
        count++;
    }
    return count;
}

uint64_t
wire_ram_feature(unsigned flags)
{
    switch (flags & ~(unsigned)RAM_CONTINUE) {
    case RAM_XBZRLE:
        return FEATURE_XBZRLE;
    case RAM_COMPRESS:
        return FEATURE_COMPRESS;
    case RAM_LOCAL:
        return FEATURE_LOCAL;
    case RAM_RUN | RAM_ZERO:
    case RAM_RUN | RAM_PAGE:
        return FEATURE_RUNS;
    default:
        return 0;
    }
}

bool
wire_ram_is_page(const uint8_t header[8], uint64_t offset)
{
    uint64_t word;

    memcpy(&word, header, sizeof word);
    return GUINT64_FROM_BE(word) == (offset | RAM_PAGE | RAM_CONTINUE);
}

/* --- the description -------------------------------------------------------------------------------------------- */

char *
wire_description_tail(uint64_t id)
{
    return g_strdup_printf("\"migration_id\": \"%016" PRIx64 "\"}", id);
}

/* A reader looks for the last NUL byte before the text and takes the first '{' after it: none may stand among the
 * bytes of the length (QEMU's stream analyser looks for the first brace after the last NUL). */
bool
wire_description_length_safe(uint32_t length)
{
    unsigned low = 4;

    for (unsigned i = 0; i < 4; i++)
        if ((length >> (8 * i) & 0xff) == 0) {
            low = i;
            break;
        }
    if (low == 4)
        return false;
    for (unsigned i = 0; i < low; i++)
        if ((length >> (8 * i) & 0xff) == '{')
            return false;
    return true;
}

static void
describe_field(GString *json, const char *name, const char *type, size_t size)
{
    g_string_append_printf(json, "%s{\"name\": \"%s\", \"type\": \"%s\", \"size\": %zu}",
                           json->str[json->len - 1] == '[' ? "" : ", ", name, type, size);
}

static void
describe_configuration(GString *json, const char *machine_type, size_t text_size)
{
    g_string_append(json, "\"configuration\": {\"vmsd_name\": \"configuration\", \"version\": 1, \"fields\": [");
    describe_field(json, "len", "uint32", 4);
    describe_field(json, "name", "buffer", strlen(machine_type));
    g_string_append_printf(json, "], \"subsections\": [{\"vmsd_name\": \"" MACHINE_SUBSECTION "\", \"version\": %d, "
                           "\"fields\": [", MACHINE_SUBSECTION_VERSION);
    describe_field(json, "id", "uint64", 8);
    describe_field(json, "features", "uint64", 8);
    describe_field(json, "page_size", "uint32", 4);
    describe_field(json, "length", "uint32", 4);
    describe_field(json, "text", "buffer", text_size);
    g_string_append(json, "]}]}");
}

static void
describe_checksum(GString *json)
{
    g_string_append_printf(json, ", {\"name\": \"" CHECKSUM_SECTION "\", \"instance_id\": 0, \"vmsd_name\": \""
                           CHECKSUM_SECTION "\", \"version\": %d, \"fields\": [", CHECKSUM_VERSION);
    describe_field(json, "before", "uint32", 4);
    describe_field(json, "after", "uint32", 4);
    g_string_append(json, "]}");
}

static void
describe_joined(GString *json, const GArray *joined)
{
    for (unsigned i = 0; joined && i < joined->len; i++) {
        g_string_append_printf(json, ", {\"name\": \"" JOIN_SECTION "\", \"instance_id\": %u, \"vmsd_name\": \""
                               JOIN_SECTION "\", \"version\": %d, \"fields\": [", i, JOIN_VERSION);
        describe_field(json, "length", "uint32", 4);
        describe_field(json, "text", "buffer", g_array_index(joined, uint32_t, i));
        g_string_append(json, "]}");
    }
}

GString *
wire_description(const struct migrate_guest *guest, uint64_t id, uint64_t features, size_t text_size,
                 const GArray *joined)
{
    GString *json = g_string_new("{");
    g_autofree char *tail = wire_description_tail(id);

    describe_configuration(json, guest->machine_type, text_size);
    g_string_append_printf(json, ", \"page_size\": %d, \"devices\": [{\"name\": \"globalstate\", \"instance_id\": 0, "
                           "\"vmsd_name\": \"globalstate\", \"version\": 1, \"fields\": [", PAGE_SIZE);
    describe_field(json, "size", "uint32", 4);
    describe_field(json, "runstate", "buffer", GLOBAL_STATE_TEXT);
    g_string_append(json, "]}");
    describe_joined(json, joined);
    for (unsigned i = 0; i < guest->section_count; i++) {
        g_string_append(json, ", ");
        state_describe(guest->sections[i], json);
    }
    if (features & FEATURE_CHECKSUM)
        describe_checksum(json);
    g_string_append(json, "], ");
    while (!wire_description_length_safe(json->len + strlen(tail)))
        g_string_append_c(json, ' ');
    return g_string_append(json, tail);
}

/* --- decode ----------------------------------------------------------------------------------------------------- */

static bool
cursor_take(struct cursor *in, void *to, size_t size)
{
    if ((size_t)(in->end - in->at) < size)
        return false;
    memcpy(to, in->at, size);
    in->at += size;
    return true;
}

bool
cursor_take8(struct cursor *in, uint8_t *ret)
{
    return cursor_take(in, ret, 1);
}

bool
cursor_take16(struct cursor *in, uint16_t *ret)
{
    uint16_t raw;

    if (!cursor_take(in, &raw, sizeof raw))
        return false;
    *ret = GUINT16_FROM_BE(raw);
    return true;
}

bool
cursor_take32(struct cursor *in, uint32_t *ret)
{
    uint32_t raw;

    if (!cursor_take(in, &raw, sizeof raw))
        return false;
    *ret = GUINT32_FROM_BE(raw);
    return true;
}

bool
cursor_take64(struct cursor *in, uint64_t *ret)
{
    uint64_t raw;

    if (!cursor_take(in, &raw, sizeof raw))
        return false;
    *ret = GUINT64_FROM_BE(raw);
    return true;
}

static bool
decode_reason(const void *data, size_t size, struct return_message *ret, GError **error)
{
    if (size == 0 || !g_utf8_validate_len(data, size, NULL))
        return fail(error, NUMON_ERROR_PEER, "the destination refused without a readable reason");
    memcpy(ret->text, data, size);
    ret->text[size] = '\0';
    return true;
}

static bool
decode_progress(struct cursor *in, size_t size, struct return_message *ret, GError **error)
{
    if (size != 16 || !cursor_take64(in, &ret->progress_us) || !cursor_take64(in, &ret->gap_us))
        return fail(error, NUMON_ERROR_PEER, "the destination told of its guest's progress in %zu bytes instead of "
                    "16",
                    size);
    /* It is added to what passed here. */
    return (ret->progress_us <= UINT32_MAX && ret->gap_us <= INT64_MAX)
        || fail(error, NUMON_ERROR_PEER, "the destination told of its guest's progress after %" PRIu64 " us and a "
                "gap of %"
                PRIu64 " us, which cannot be", ret->progress_us, ret->gap_us);
}

bool
wire_return_decode(uint16_t type, const void *data, size_t size, struct return_message *ret, GError **error)
{
    struct cursor in = { data, (const uint8_t *)data + size };

    *ret = (struct return_message) { .type = type };
    if (size > RETURN_MOST)
        return fail(error, NUMON_ERROR_PEER, "the destination sent a message of %zu bytes (at most %d are allowed)",
                    size, RETURN_MOST);
    switch (type) {
    case RETURN_SHUT:
    case RETURN_PONG:
        if (size != 4 || !cursor_take32(&in, &ret->value))
            return fail(error, NUMON_ERROR_PEER, "the destination sent message %u with %zu bytes instead of 4", type,
                        size);
        return true;
    case RETURN_REASON:
        return decode_reason(data, size, ret, error);
    case RETURN_PARTS:
        return true;
    case RETURN_PROGRESS:
        return decode_progress(&in, size, ret, error);
    default:
        return fail(error, NUMON_ERROR_PEER, "the destination sent an unknown message (type 0x%x, %zu bytes)", type,
                    size);
    }
}

bool
wire_global_state_decode(const uint8_t data[GLOBAL_STATE_SIZE], enum migrate_run_state *ret, GError **error)
{
    struct cursor in = { data, data + GLOBAL_STATE_SIZE };
    const char *text = (const char *)data + 4;
    uint32_t size = 0;

    cursor_take32(&in, &size);
    if (size == 0 || size > GLOBAL_STATE_TEXT || strnlen(text, GLOBAL_STATE_TEXT) != size - 1)
        return fail(error, NUMON_ERROR_PEER, "section 'globalstate' has a run state of %u bytes that does not end "
                    "there", size);
    for (unsigned state = 0; state < MIGRATE_RUN_STATES; state++) {
        if (g_str_equal(text, migrate_run_state_name(state))) {
            *ret = state;
            return true;
        }
    }
    return fail(error, NUMON_ERROR_PEER, "section 'globalstate' has the run state '%s', which numon does not have",
                g_utf8_validate(text, -1, NULL) ? text : "?");
}

/* --- the question after an outcome ------------------------------------------------------------------------------ */

void
wire_question(uint8_t out[OUTCOME_SIZE], uint64_t id)
{
    store32(out, QUESTION_MAGIC);
    store32(out + 4, OUTCOME_VERSION);
    store64(out + 8, id);
}

bool
wire_question_decode(const uint8_t in[OUTCOME_SIZE], uint64_t *ret_id)
{
    struct cursor c = { in, in + OUTCOME_SIZE };
    uint32_t magic = 0, version = 0;

    return cursor_take32(&c, &magic) && magic == QUESTION_MAGIC && cursor_take32(&c, &version)
        && version == OUTCOME_VERSION && cursor_take64(&c, ret_id);
}

void
wire_answer(uint8_t out[OUTCOME_SIZE], uint32_t word, uint64_t id)
{
    store32(out, ANSWER_MAGIC);
    store32(out + 4, word);
    store64(out + 8, id);
}

bool
wire_answer_decode(const uint8_t in[OUTCOME_SIZE], uint64_t id, uint32_t *ret_word)
{
    struct cursor c = { in, in + OUTCOME_SIZE };
    uint32_t magic = 0, word = 0;
    uint64_t about = 0;

    if (!cursor_take32(&c, &magic) || magic != ANSWER_MAGIC || !cursor_take32(&c, &word) || !cursor_take64(&c, &about)
        || about != id)
        return false;
    if (word != OUTCOME_WORD_RUNNING && word != OUTCOME_WORD_DISCARDED && word != OUTCOME_WORD_UNKNOWN)
        return false;
    *ret_word = word;
    return true;
}
