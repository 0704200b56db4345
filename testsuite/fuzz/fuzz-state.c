/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Any bytes as a section of a stream: what is loaded can be saved again as the same bytes, and described. */
#include "state.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct object {
    uint16_t words[3];
    bool flag;
    uint8_t raw[5];
    uint64_t late;
    uint8_t *bytes;
    uint32_t size;
};

static const struct state_field fields[] = {
    { "words", STATE_U16, offsetof(struct object, words), 3 },
    { "flag", STATE_BOOL, offsetof(struct object, flag) },
    { "raw", STATE_BUFFER, offsetof(struct object, raw), 5 },
    { "late", STATE_U64, offsetof(struct object, late), .since = 2 },
    { "bytes", STATE_VARIABLE, offsetof(struct object, bytes), 64, offsetof(struct object, size) },
    { 0 }
};

struct input { const uint8_t *at; size_t left; };

static bool
take(void *from, void *bytes, size_t size, GError **error)
{
    struct input *in = from;

    if (size > in->left)
        return fail(error, NUMON_ERROR_PEER, "it ends");
    memcpy(bytes, in->at, size);
    in->at += size;
    in->left -= size;
    return true;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct object object = { .flag = false };
    struct state_section section = { .name = "fuzz", .version = 2, .fields = fields, .object = &object };
    struct input in = { data + (size > 0), size - (size > 0) };
    g_autoptr(GByteArray) saved = g_byte_array_new();
    g_autoptr(GString) json = g_string_new(NULL);
    g_autoptr(GError) error = NULL;
    uint32_t version = size ? data[0] % 4 : 0;

    if (state_load(&section, version, take, &in, &error)) {
        section.version = MAX(version, 1);
        state_save(&section, saved);
        g_assert(saved->len == (size_t)(in.at - data) - (size > 0));
        g_assert(memcmp(saved->data, data + 1, saved->len) == 0);
        state_describe(&section, json);
    } else {
        g_assert(error);
    }
    g_free(object.bytes);
    return 0;
}
