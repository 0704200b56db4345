/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Saving, loading and describing an object from the table of its fields.
 *
 * On the wire each element is big-endian and of the width of its type; nothing lies between fields.  The description
 * names the same elements in the same order, so that a reader which knows no device of ours (QEMU's
 * scripts/analyze-migration.py) finds each one. */
#include "state.h"

#include <json-glib/json-glib.h>
#include <string.h>

enum { WIDTH_MAX = 8 };

/* Bytes of one element; a buffer's element is one byte. */
static uint32_t
element_width(enum state_type type)
{
    switch (type) {
    case STATE_U8:
    case STATE_BOOL:
    case STATE_BUFFER:
    case STATE_VARIABLE:
        return 1;
    case STATE_U16:
        return 2;
    case STATE_U32:
        return 4;
    case STATE_U64:
        return 8;
    case STATE_END:
        break;
    }
    g_assert_not_reached();
}

/* QEMU's name of the type. */
static const char *
type_name(enum state_type type)
{
    switch (type) {
    case STATE_U8:
        return "uint8";
    case STATE_U16:
        return "uint16";
    case STATE_U32:
        return "uint32";
    case STATE_U64:
        return "uint64";
    case STATE_BOOL:
        return "bool";
    case STATE_BUFFER:
    case STATE_VARIABLE:
        return "buffer";
    case STATE_END:
        break;
    }
    g_assert_not_reached();
}

static bool
is_raw(const struct state_field *f)
{
    return f->type == STATE_BUFFER || f->type == STATE_VARIABLE;
}

static uint32_t
element_count(const struct state_field *f)
{
    return f->count || is_raw(f) ? f->count : 1;
}

static bool
in_version(const struct state_field *f, uint32_t version)
{
    return f->since <= MAX(version, 1);
}

/* Copies one element between host and wire order, which is the same operation in both directions. */
static void
swap_element(uint8_t *to, const uint8_t *from, uint32_t width)
{
    for (uint32_t i = 0; i < width; i++)
        to[i] = from[G_BYTE_ORDER == G_LITTLE_ENDIAN ? width - 1 - i : i];
}

static uint32_t
length_of(const struct state_section *section, const struct state_field *f)
{
    uint32_t length;

    memcpy(&length, (const uint8_t *)section->object + f->length_offset, sizeof length);
    return length;
}

static void *
bytes_of(const struct state_section *section, const struct state_field *f)
{
    void *bytes;

    memcpy(&bytes, (const uint8_t *)section->object + f->offset, sizeof bytes);
    return bytes;
}

static void
append_be32(GByteArray *out, uint32_t value)
{
    uint32_t wire = GUINT32_TO_BE(value);

    g_byte_array_append(out, (const uint8_t *)&wire, sizeof wire);
}

static void
save_elements(const struct state_section *section, const struct state_field *f, GByteArray *out)
{
    const uint8_t *at = (const uint8_t *)section->object + f->offset;
    uint32_t width = element_width(f->type);
    uint8_t wire[WIDTH_MAX];

    for (uint32_t i = 0; i < element_count(f); i++, at += width) {
        swap_element(wire, at, width);
        g_byte_array_append(out, wire, width);
    }
}

static void
save_field(const struct state_section *section, const struct state_field *f, GByteArray *out)
{
    uint32_t length;

    if (f->type == STATE_BUFFER) {
        g_byte_array_append(out, (const uint8_t *)section->object + f->offset, f->count);
    } else if (f->type == STATE_VARIABLE) {
        length = length_of(section, f);
        g_assert(length <= f->count);
        append_be32(out, length);
        if (length)
            g_byte_array_append(out, bytes_of(section, f), length);
    } else {
        save_elements(section, f, out);
    }
}

void
state_save(const struct state_section *section, GByteArray *out)
{
    for (const struct state_field *f = section->fields; f->type != STATE_END; f++)
        if (in_version(f, section->version))
            save_field(section, f, out);
}

/* --- loading ---------------------------------------------------------------------------------------------------- */

/* One load: where the bytes come from and for whom. */
struct load {
    const struct state_section *section;
    state_read read;
    void *from;
};

static bool
load_elements(const struct load *l, const struct state_field *f, GError **error)
{
    uint8_t *at = (uint8_t *)l->section->object + f->offset;
    uint32_t width = element_width(f->type);
    uint8_t wire[WIDTH_MAX];

    for (uint32_t i = 0; i < element_count(f); i++, at += width) {
        if (!l->read(l->from, wire, width, error))
            return false;
        if (f->type == STATE_BOOL && wire[0] > 1)
            return fail(error, NUMON_ERROR_PEER, "found 0x%02x where 0 or 1 is expected", wire[0]);
        swap_element(at, wire, width);
    }
    return true;
}

static bool
load_variable(const struct load *l, const struct state_field *f, GError **error)
{
    uint8_t *object = l->section->object;
    g_autofree void *bytes = NULL;
    void *old = bytes_of(l->section, f);
    uint32_t length;

    if (!l->read(l->from, &length, sizeof length, error))
        return false;
    length = GUINT32_FROM_BE(length);
    if (length > f->count)
        return fail(error, NUMON_ERROR_PEER, "found a length of %u bytes where at most %u are expected", length,
                    f->count);
    bytes = g_try_malloc(length);
    if (length && !bytes)
        return fail(error, NUMON_ERROR_LIMIT, "cannot allocate %u bytes", length);
    if (length && !l->read(l->from, bytes, length, error))
        return false;
    memcpy(object + f->offset, &bytes, sizeof bytes);
    memcpy(object + f->length_offset, &length, sizeof length);
    g_steal_pointer(&bytes);
    g_free(old);
    return true;
}

static bool
load_field(const struct load *l, const struct state_field *f, GError **error)
{
    if (f->type == STATE_BUFFER)
        return f->count == 0 || l->read(l->from, (uint8_t *)l->section->object + f->offset, f->count, error);
    if (f->type == STATE_VARIABLE)
        return load_variable(l, f, error);
    return load_elements(l, f, error);
}

bool
state_load(const struct state_section *section, uint32_t version, state_read read, void *from, GError **error)
{
    struct load l = { section, read, from };

    if (version > section->version)
        return fail(error, NUMON_ERROR_PEER, "cannot load section '%s' instance %u: found version %u, known up to %u",
                    section->name, section->instance, version, section->version);
    for (const struct state_field *f = section->fields; f->type != STATE_END; f++) {
        if (in_version(f, version) && !load_field(&l, f, error)) {
            g_prefix_error(error, "cannot load section '%s' instance %u, field '%s': ", section->name,
                           section->instance, f->name);
            return false;
        }
    }
    return true;
}

/* --- describing ------------------------------------------------------------------------------------------------- */

static void
add_text(JsonBuilder *b, const char *name, const char *text)
{
    json_builder_set_member_name(b, name);
    json_builder_add_string_value(b, text);
}

static void
add_number(JsonBuilder *b, const char *name, uint32_t number)
{
    json_builder_set_member_name(b, name);
    json_builder_add_int_value(b, number);
}

/* 'array_len' 1 stands for a field that is no array. */
static void
add_field(JsonBuilder *b, const char *name, const char *type, uint32_t size, uint32_t array_len)
{
    json_builder_begin_object(b);
    add_text(b, "name", name);
    if (array_len > 1)
        add_number(b, "array_len", array_len);
    add_text(b, "type", type);
    add_number(b, "size", size);
    json_builder_end_object(b);
}

static void
describe_field(const struct state_section *section, const struct state_field *f, JsonBuilder *b)
{
    g_autofree char *length_name = NULL;

    if (f->type == STATE_BUFFER) {
        add_field(b, f->name, type_name(f->type), f->count, 1);
    } else if (f->type == STATE_VARIABLE) {
        length_name = g_strconcat(f->name, "_length", NULL);
        add_field(b, length_name, type_name(STATE_U32), sizeof(uint32_t), 1);
        add_field(b, f->name, type_name(f->type), length_of(section, f), 1);
    } else {
        add_field(b, f->name, type_name(f->type), element_width(f->type), element_count(f));
    }
}

static JsonNode *
describe_section(const struct state_section *section)
{
    g_autoptr(JsonBuilder) b = json_builder_new_immutable();

    json_builder_begin_object(b);
    add_text(b, "name", section->name);
    add_number(b, "instance_id", section->instance);
    add_text(b, "vmsd_name", section->name);
    add_number(b, "version", section->version);
    json_builder_set_member_name(b, "fields");
    json_builder_begin_array(b);
    for (const struct state_field *f = section->fields; f->type != STATE_END; f++)
        if (in_version(f, section->version))
            describe_field(section, f, b);
    json_builder_end_array(b);
    json_builder_end_object(b);
    return json_builder_get_root(b);
}

void
state_describe(const struct state_section *section, GString *json)
{
    g_autoptr(JsonNode) root = describe_section(section);
    g_autofree char *text = json_to_string(root, FALSE);

    g_string_append(json, text);
}
