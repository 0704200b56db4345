/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Memory in QEMU's layouts: a line has 16 bytes, or 8 of single ones; each item has the width that its size can
 * need. */
#include "debug.h"

#include <inttypes.h>
#include <string.h>

enum { INSTRUCTION_MAX = 15 };          /* bytes: Intel SDM 2, 2.3.11 */

static bool
set_letter(struct dump_format *f, char c)
{
    static const char sizes[] = "bhwg";
    const char *size = strchr(sizes, c);

    if (size)
        f->size = 1u << (size - sizes);
    else if (strchr("xduoci", c))
        f->letter = c;
    return size || strchr("xduoci", c);
}

bool
dump_format_parse(const char *text, struct dump_format *ret, GError **error)
{
    struct dump_format f = { .count = 1, .letter = 'x', .size = 4 };
    const char *at = text ? text : "";
    char *end;

    if (g_ascii_isdigit(*at)) {
        f.count = g_ascii_strtoull(at, &end, 10);
        at = end;
    }
    for (; *at; at++)
        if (!set_letter(&f, *at))
            return fail(error, NUMON_ERROR_ARGUMENT, "invalid char in format: '%c' in '/%s'; it is /COUNT, one of "
                        "x d u o c i, one of b h w g", *at, text);
    if (f.letter == 'c')
        f.size = 1;
    if (f.count == 0)
        return fail(error, NUMON_ERROR_ARGUMENT, "format '/%s' shows nothing: its count is 0", text);
    if (f.count > DUMP_BYTES_MAX || dump_format_bytes(&f) > DUMP_BYTES_MAX)
        return fail(error, NUMON_ERROR_LIMIT, "format '/%s' shows more than %d bytes (memsave and pmemsave write "
                    "files)",
                    text, DUMP_BYTES_MAX);
    *ret = f;
    return true;
}

uint64_t
dump_format_bytes(const struct dump_format *f)
{
    return f->count * (f->letter == 'i' ? INSTRUCTION_MAX : f->size);
}

static uint64_t
item(const uint8_t *bytes, unsigned size)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < size; i++)
        value |= (uint64_t)bytes[i] << 8 * i;
    return value;
}

static void
append_character(GString *out, char c)
{
    static const char plain[] = "\n\r\t\\'", letters[] = "nrt\\'";
    const char *special = c ? strchr(plain, c) : NULL;

    if (special)
        g_string_append_printf(out, "'\\%c'", letters[special - plain]);
    else if (c >= 32 && c <= 126)
        g_string_append_printf(out, "'%c'", c);
    else
        g_string_append_printf(out, "'\\x%02x'", (unsigned char)c);
}

static void
append_item(const struct dump_format *f, uint64_t value, GString *out)
{
    unsigned bits = f->size * 8, shift = 64 - bits;

    g_string_append_c(out, ' ');
    switch (f->letter) {
    case 'x':
        g_string_append_printf(out, "0x%0*" PRIx64, (int)bits / 4, value);
        break;
    case 'o':
        g_string_append_printf(out, "0%0*" PRIo64, (int)(bits + 2) / 3, value);
        break;
    case 'u':
        g_string_append_printf(out, "%*" PRIu64, (int)(bits * 10 + 32) / 33, value);
        break;
    case 'd':
        g_string_append_printf(out, "%*" PRId64, (int)(bits * 10 + 32) / 33, (int64_t)(value << shift) >> shift);
        break;
    default:
        append_character(out, (char)value);
    }
}

uint64_t
dump_append(const struct dump_format *f, uint64_t address, const uint8_t *bytes, uint64_t size, GString *out)
{
    unsigned line = f->size == 1 ? 8 : 16;
    uint64_t wanted = MIN(size, dump_format_bytes(f)) / f->size * f->size;

    for (uint64_t at = 0; at < wanted; at += f->size) {
        if (at % line == 0)
            g_string_append_printf(out, "%s%016" PRIx64 ":", at ? "\n" : "", address + at);
        append_item(f, item(bytes + at, f->size), out);
    }
    if (wanted)
        g_string_append_c(out, '\n');
    return wanted;
}
