/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Sizes, numbers and lists of indices as people write them: "4G", "1.5M", "0x1000", "0-3,8".
 *
 * A size is a whole part, an optional decimal fraction and an optional binary suffix.  It is computed exactly, in
 * integers of 128 bits, so that "1.1k" is refused (it is no whole number of bytes) instead of rounded. */
#include "base.h"

#include <string.h>

__extension__ typedef unsigned __int128 wide;

/* 10^18 times the largest suffix, 2^60, still fits 'wide'. */
enum { FRACTION_DIGITS = 18 };

/* In order of magnitude: suffix number n counts 2^(10 n) bytes. */
static const char suffixes[] = "bkMGTPE";

struct number {
    uint64_t whole;
    uint64_t fraction, scale;       /* the fraction is fraction / scale; 0 / 1 if there is none */
    bool has_fraction;
    bool overflow;                  /* the whole part does not fit 64 bits */
    bool inexact;                   /* the fraction has more digits than any whole number of bytes can need */
};

static int
digit_value(char c, unsigned base)
{
    int value = g_ascii_xdigit_value(c);

    return value >= 0 && (unsigned)value < base ? value : -1;
}

/* Reads digits into n->whole; returns what follows, or NULL if there is no digit. */
static const char *
read_whole(const char *at, unsigned base, struct number *n)
{
    const char *begin = at;

    for (; digit_value(*at, base) >= 0; at++) {
        wide next = (wide)n->whole * base + (unsigned)digit_value(*at, base);

        n->overflow |= next > UINT64_MAX;
        n->whole = (uint64_t)next;
    }
    return at > begin ? at : NULL;
}

/* Reads the digits after the point; trailing zeros say nothing and are left out. */
static const char *
read_fraction(const char *at, struct number *n)
{
    const char *end = at;
    size_t used;

    while (g_ascii_isdigit(*end))
        end++;
    if (end == at)
        return NULL;
    used = (size_t)(end - at);
    while (used && at[used - 1] == '0')
        used--;
    n->has_fraction = true;
    n->inexact = used > FRACTION_DIGITS;
    for (size_t i = 0; i < used && !n->inexact; i++) {
        n->fraction = n->fraction * 10 + (uint64_t)(at[i] - '0');
        n->scale *= 10;
    }
    return end;
}

/* Reads "12", "0x1f" or "1.5"; returns what follows, or NULL if this is no number. */
static const char *
read_number(const char *at, struct number *n)
{
    *n = (struct number){ .scale = 1 };
    if (at[0] == '0' && (at[1] == 'x' || at[1] == 'X'))
        return read_whole(at + 2, 16, n);
    at = read_whole(at, 10, n);
    if (at && *at == '.')
        at = read_fraction(at + 1, n);
    return at;
}

/* Reads a suffix that is all of the text: "", "k", "KB", "KiB"; false if it is something else. */
static bool
read_suffix(const char *at, uint64_t unit, uint64_t *ret)
{
    const char *letter;

    if (!*at) {
        *ret = unit;
        return true;
    }
    letter = strchr(suffixes, g_ascii_toupper(*at));
    if (!letter)
        letter = strchr(suffixes, g_ascii_tolower(*at));
    if (!letter)
        return false;
    *ret = UINT64_C(1) << (10 * (letter - suffixes));
    at++;
    return !*at || (letter != suffixes && (!g_ascii_strcasecmp(at, "ib") || !g_ascii_strcasecmp(at, "b")));
}

bool
size_parse(const char *text, uint64_t unit, uint64_t *ret, GError **error)
{
    struct number n;
    const char *rest = read_number(text, &n);
    uint64_t scale = 0;
    wide total;

    if (!rest || !read_suffix(rest, unit, &scale) || (n.has_fraction && !*rest))
        return fail(error, NUMON_ERROR_ARGUMENT,
                    "invalid size '%s': a number with an optional suffix b, k, M, G, T, P or E is expected", text);
    if (n.inexact || (wide)n.fraction * scale % n.scale)
        return fail(error, NUMON_ERROR_ARGUMENT, "invalid size '%s': it is not a whole number of bytes", text);
    total = (wide)n.whole * scale + (wide)n.fraction * scale / n.scale;
    if (n.overflow || total > UINT64_MAX)
        return fail(error, NUMON_ERROR_ARGUMENT, "invalid size '%s': it does not fit 64 bits", text);
    *ret = (uint64_t)total;
    return true;
}

bool
number_parse(const char *text, uint64_t *ret, GError **error)
{
    struct number n;
    const char *rest = read_number(text, &n);

    if (!rest || *rest || n.has_fraction)
        return fail(error, NUMON_ERROR_ARGUMENT, "invalid number '%s': a whole number without sign is expected",
                    text);
    if (n.overflow)
        return fail(error, NUMON_ERROR_ARGUMENT, "invalid number '%s': it does not fit 64 bits", text);
    *ret = n.whole;
    return true;
}

/* The number of the largest suffix that divides the size. */
static unsigned
whole_suffix(uint64_t bytes)
{
    unsigned suffix = 0;

    while (bytes && suffix + 2 < sizeof suffixes && bytes % 1024 == 0) {
        bytes /= 1024;
        suffix++;
    }
    return suffix;
}

char *
size_format(uint64_t bytes)
{
    static const char *const names[] = { "bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
    unsigned suffix = whole_suffix(bytes);

    return g_strdup_printf("%" G_GUINT64_FORMAT " %s", bytes >> (10 * suffix), bytes == 1 ? "byte" : names[suffix]);
}

char *
size_spell(uint64_t bytes)
{
    unsigned suffix = whole_suffix(bytes);

    return g_strdup_printf("%" G_GUINT64_FORMAT "%c", bytes >> (10 * suffix), suffixes[suffix]);
}

/* Reads "3" or "0-3" from the text up to 'end'. */
static bool
read_range(const char *text, const char *at, const char *end, unsigned limit, unsigned *ret_first, unsigned *ret_last,
           GError **error)
{
    struct number first = { .scale = 1 }, last;
    const char *rest = read_whole(at, 10, &first);

    last = first;
    if (rest && *rest == '-') {
        last = (struct number){ .scale = 1 };
        rest = read_whole(rest + 1, 10, &last);
    }
    if (rest != end)
        return fail(error, NUMON_ERROR_ARGUMENT, "invalid list '%s': indices and ranges such as 0-3,8 are expected",
                    text);
    if (first.overflow || last.overflow || first.whole >= limit || last.whole >= limit)
        return fail(error, NUMON_ERROR_ARGUMENT, "invalid list '%s': '%.*s' is not below %u", text, (int)(end - at),
                    at, limit);
    if (last.whole < first.whole)
        return fail(error, NUMON_ERROR_ARGUMENT, "invalid list '%s': range '%.*s' falls", text, (int)(end - at), at);
    *ret_first = (unsigned)first.whole;
    *ret_last = (unsigned)last.whole;
    return true;
}

bool
list_parse(const char *text, unsigned limit, uint64_t *words, GError **error)
{
    g_autofree uint64_t *found = g_new0(uint64_t, WORDS_FOR(limit) + 1);
    const char *at = text, *end;
    unsigned first = 0, last = 0;

    do {
        end = strchrnul(at, ',');
        if (!read_range(text, at, end, limit, &first, &last, error))
            return false;
        bits_set(found, first, last - first + 1);
        at = end + 1;
    } while (*end);
    for (uint64_t i = 0; i < WORDS_FOR(limit); i++)
        words[i] |= found[i];
    return true;
}

char *
list_format(const uint64_t *words, unsigned limit)
{
    GString *out = g_string_new(NULL);
    uint64_t first = bits_next(words, limit, 0);

    while (first < limit) {
        uint64_t end = bits_next_clear(words, limit, first);

        g_string_append_printf(out, "%s%u", out->len ? "," : "", (unsigned)first);
        if (end - first > 1)
            g_string_append_printf(out, "-%u", (unsigned)(end - 1));
        first = bits_next(words, limit, end);
    }
    return g_string_free(out, FALSE);
}
