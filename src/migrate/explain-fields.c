/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The description at a stream's end, and the sections whose length only it tells.  It is found as QEMU's stream
 * analyser (scripts/analyze-migration.py) finds it: the first brace after the last NUL byte of the file. */
#include "explain.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

enum { DEPTH_MOST = 64 };           /* of the JSON text and of what it describes */
enum { HEADER_SIZE = 1 + 4 };       /* of the description's record */
enum { NULL_POINTER = '0' };        /* QEMU's, in an array of pointers */

/* --- members that may be missing or of another type ------------------------------------------------------------- */

static bool
number_of(JsonObject *o, const char *name, int64_t *ret)
{
    JsonNode *n = json_object_get_member(o, name);

    if (!n || !JSON_NODE_HOLDS_VALUE(n) || json_node_get_value_type(n) != G_TYPE_INT64)
        return false;
    *ret = json_node_get_int(n);
    return true;
}

static const char *
text_of(JsonObject *o, const char *name)
{
    JsonNode *n = json_object_get_member(o, name);

    return n && JSON_NODE_HOLDS_VALUE(n) && json_node_get_value_type(n) == G_TYPE_STRING ? json_node_get_string(n)
                                                                                         : NULL;
}

static JsonArray *
list_of(JsonObject *o, const char *name)
{
    JsonNode *n = json_object_get_member(o, name);

    return n && JSON_NODE_HOLDS_ARRAY(n) ? json_node_get_array(n) : NULL;
}

static JsonObject *
object_of(JsonObject *o, const char *name)
{
    JsonNode *n = json_object_get_member(o, name);

    return n && JSON_NODE_HOLDS_OBJECT(n) ? json_node_get_object(n) : NULL;
}

static JsonObject *
object_at(JsonArray *a, unsigned i)
{
    JsonNode *n = json_array_get_element(a, i);

    return n && JSON_NODE_HOLDS_OBJECT(n) ? json_node_get_object(n) : NULL;
}

static JsonObject *
root_of(const struct explain *e)
{
    JsonNode *n = e->parser ? json_parser_get_root(e->parser) : NULL;

    return n && JSON_NODE_HOLDS_OBJECT(n) ? json_node_get_object(n) : NULL;
}

/* --- finding it ------------------------------------------------------------------------------------------------- */

/* The parser goes down by recursion. */
static bool
too_deep(const char *text, size_t size)
{
    unsigned depth = 0;
    bool quoted = false;

    for (size_t i = 0; i < size; i++) {
        if (quoted && text[i] == '\\')
            i++;
        else if (text[i] == '"')
            quoted = !quoted;
        else if (!quoted && (text[i] == '{' || text[i] == '['))
            depth++;
        else if (!quoted && depth && (text[i] == '}' || text[i] == ']'))
            depth--;
        if (depth > DEPTH_MOST)
            return true;
    }
    return false;
}

static void
check_devices(struct explain *e, JsonArray *devices)
{
    for (unsigned i = 0; i < json_array_get_length(devices); i++) {
        JsonObject *d = object_at(devices, i);
        const char *name = d ? text_of(d, "name") : NULL;
        int64_t instance;

        if (!name || !number_of(d, "instance_id", &instance) || !list_of(d, "fields"))
            explain_stops(e, e->description_place, "a device that is described without name, instance_id or fields");
        else if (g_str_equal(name, "ram"))
            explain_stops(e, e->description_place, "RAM that is described as a device");
    }
}

static void
parse_description(struct explain *e, const char *text, size_t size)
{
    g_autoptr(GError) why = NULL;
    int64_t page_size;

    if (too_deep(text, size)) {
        explain_fault(e, e->description_place, "the description goes more than %d levels deep", DEPTH_MOST);
        return;
    }
    e->parser = json_parser_new();
    if (!json_parser_load_from_data(e->parser, text, (gssize)size, &why) || !root_of(e)) {
        explain_fault(e, e->description_place, "the description is no JSON object%s%s", why ? ": " : "",
                      why ? why->message : "");
        explain_stops(e, e->description_place, "a description that is no JSON");
        g_clear_object(&e->parser);
        return;
    }
    if (!number_of(root_of(e), "page_size", &page_size) || page_size != PAGE_SIZE)
        explain_stops(e, e->description_place, "a page_size that is not the stream's");
    if (list_of(root_of(e), "devices"))
        check_devices(e, list_of(root_of(e), "devices"));
    else
        explain_stops(e, e->description_place, "a description without devices");
}

static void
no_description(struct explain *e, const char *why)
{
    explain_stops(e, e->report.size, why);
    explain_fault(e, e->report.size, "%s", why);
}

static const uint8_t *
last_nul(const uint8_t *bytes, size_t size)
{
    for (size_t i = size; i > 0; i--)
        if (bytes[i - 1] == 0)
            return &bytes[i - 1];
    return NULL;
}

/* 'tail' is the end of the file. */
static void
look_for_description(struct explain *e, const uint8_t *tail, size_t size)
{
    const uint8_t *nul = last_nul(tail, size);
    const uint8_t *brace = nul ? memchr(nul, '{', size - (size_t)(nul - tail)) : NULL;
    struct cursor header;
    uint8_t record = 0;
    uint32_t length = 0;

    if (!nul || !brace || brace - tail < HEADER_SIZE) {
        no_description(e, "the file does not end with a description");
        return;
    }
    header = (struct cursor) { brace - HEADER_SIZE, brace };
    cursor_take8(&header, &record);
    cursor_take32(&header, &length);
    if (record != RECORD_DESCRIPTION) {
        no_description(e, "the description is not found where the last NUL byte leads to");
        return;
    }
    size_t left = size - (size_t)(brace - tail);
    e->description_place = e->report.size - left - HEADER_SIZE;
    if (length != left)
        explain_fault(e, e->description_place, "the description has %u bytes and %zu follow", length, left);
    if (!g_utf8_validate_len((const char *)brace, MIN(length, left), NULL)) {
        explain_fault(e, e->description_place, "the description is no text");
        explain_stops(e, e->description_place, "a description that is no text");
        return;
    }
    parse_description(e, (const char *)brace, MIN(length, left));
}

bool
explain_find_description(struct explain *e, GError **error)
{
    size_t size = MIN(e->report.size, DESCRIPTION_MOST), at = 0;
    g_autofree uint8_t *tail = g_try_malloc(size + 1);

    if (!tail)
        return fail(error, NUMON_ERROR_HOST, "cannot read the end of the stream: %s", g_strerror(ENOMEM));
    while (at < size) {
        ssize_t got = pread(e->channel.in, tail + at, size - at, (off_t)(e->report.size - size + at));
        if (got < 0 && errno != EINTR)
            return fail_host(error, errno, "cannot read the end of the stream");
        if (got == 0)
            return fail(error, NUMON_ERROR_STATE, "the file became shorter while it was read");
        at += got > 0 ? (size_t)got : 0;
    }
    look_for_description(e, tail, size);
    return true;
}

void
explain_check_description(struct explain *e, uint64_t place, uint64_t size)
{
    if (e->parser && place != e->description_place)
        explain_fault(e, place, "the description is not the one that is found from the end of the file");
    if (e->input.offset < e->report.size)
        explain_fault(e, e->input.offset, "%" G_GUINT64_FORMAT " bytes follow the end",
                      e->report.size - e->input.offset);
}

/* --- reading by it ---------------------------------------------------------------------------------------------- */

static bool take_fields(struct explain *e, JsonObject *d, unsigned depth, GError **error);

/* An element that is no structure. */
static bool
take_plain(struct explain *e, const char *name, const char *type, int64_t size, GError **error)
{
    uint64_t place = e->input.offset;
    struct explain_run first = { 0, (unsigned)MIN(size, 16), e->bytes };
    uint8_t length;

    if (g_str_equal(type, "nullptr"))
        size = first.size = 1;
    if (g_str_equal(type, "capability")) {
        if (!input_take8(&e->input, &length, error) || !explain_skip(e, length, error))
            return false;
        first.size = 0;
    } else if (!input_read(&e->input, e->bytes, first.size, error)
               || !explain_skip(e, (uint64_t)size - first.size, error)) {
        return false;
    }
    if (g_str_equal(type, "nullptr") && e->bytes[0] != NULL_POINTER)
        explain_stops(e, place, "a null pointer that is none");
    explain_tell(e, &(struct explain_event) {
        .kind = EXPLAIN_FIELD, .place = place, .bytes = e->input.offset - place, .name = name,
        .number = e->input.offset - place, .runs = &first, .run_count = 1 });
    return true;
}

static bool
take_element(struct explain *e, JsonObject *f, const char *name, const char *type, int64_t size, unsigned depth,
             GError **error)
{
    JsonObject *inner = object_of(f, "struct");

    return inner ? take_fields(e, inner, depth + 1, error) : take_plain(e, name, type, size, error);
}

static bool
take_field(struct explain *e, JsonObject *f, unsigned depth, GError **error)
{
    const char *name = f ? text_of(f, "name") : NULL, *type = f ? text_of(f, "type") : NULL;
    int64_t size = 0, count = 1;

    if (!name || !type || !number_of(f, "size", &size) || size < 0)
        return input_fail(&e->input, error, "a field is described without name, type or size");
    number_of(f, "array_len", &count);
    for (int64_t i = 0; i < count; i++) {
        uint64_t before = e->input.offset;
        if (!take_element(e, f, name, type, size, depth, error))
            return false;
        if (e->input.offset == before)
            break;                  /* so are all the others */
    }
    return true;
}

static bool
take_inner_subsection(struct explain *e, JsonObject *d, unsigned depth, GError **error)
{
    const char *wanted = d ? text_of(d, "vmsd_name") : NULL;
    char name[NAME_MOST + 1];
    uint8_t record;
    uint32_t version;

    if (!wanted)
        return input_fail(&e->input, error, "a subsection is described without its name");
    if (!input_take8(&e->input, &record, error))
        return false;
    if (record != RECORD_SUBSECTION)
        return input_fail(&e->input, error, "subsection '%s' is described and not there", wanted);
    if (!input_take_name(&e->input, name, error) || !input_take32(&e->input, &version, error))
        return false;
    if (!g_str_equal(name, wanted))
        return input_fail(&e->input, error, "subsection '%s' is there and '%s' described", name, wanted);
    return take_fields(e, d, depth + 1, error);
}

static bool
take_fields(struct explain *e, JsonObject *d, unsigned depth, GError **error)
{
    JsonArray *fields = list_of(d, "fields"), *subsections = list_of(d, "subsections");

    if (atomic_load(&e->stopped))
        return fail(error, NUMON_ERROR_STATE, "interrupted while reading");
    if (depth > DEPTH_MOST || !fields)
        return input_fail(&e->input, error, "what is described has no fields");
    for (unsigned i = 0; i < json_array_get_length(fields); i++)
        if (!take_field(e, object_at(fields, i), depth, error))
            return false;
    for (unsigned i = 0; subsections && i < json_array_get_length(subsections); i++)
        if (!take_inner_subsection(e, object_at(subsections, i), depth, error))
            return false;
    return true;
}

static JsonObject *
find_device(const struct explain *e, const struct explain_section *s)
{
    JsonObject *root = root_of(e);
    JsonArray *devices = root ? list_of(root, "devices") : NULL;

    for (unsigned i = 0; devices && i < json_array_get_length(devices); i++) {
        JsonObject *d = object_at(devices, i);
        const char *name = d ? text_of(d, "name") : NULL;
        int64_t instance;

        if (name && g_str_equal(name, s->name) && number_of(d, "instance_id", &instance) && instance == s->instance)
            return d;
    }
    return NULL;
}

bool
explain_fields(struct explain *e, const struct explain_section *s, bool *ret_known, GError **error)
{
    JsonObject *d = find_device(e, s);

    *ret_known = d && list_of(d, "fields");
    return !*ret_known || take_fields(e, d, 0, error);
}

static JsonObject *
configuration(const struct explain *e)
{
    JsonObject *root = root_of(e);

    return root ? object_of(root, "configuration") : NULL;
}

bool
explain_configuration_described(const struct explain *e)
{
    return configuration(e) != NULL;
}

bool
explain_configuration_fields(struct explain *e, const char *name, bool *ret_known, GError **error)
{
    JsonObject *d = configuration(e);
    JsonArray *subsections = d ? list_of(d, "subsections") : NULL;

    *ret_known = false;
    for (unsigned i = 0; subsections && i < json_array_get_length(subsections); i++) {
        JsonObject *s = object_at(subsections, i);
        const char *is = s ? text_of(s, "vmsd_name") : NULL;

        if (is && g_str_equal(is, name)) {
            *ret_known = true;
            return take_fields(e, s, 0, error);
        }
    }
    return true;
}
