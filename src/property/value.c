/* SPDX-License-Identifier: GPL-3.0-or-later */
/* One value of one property: from text to the member of 'struct value' that its type uses.
 *
 * The messages begin as QEMU's do ("Parameter 'val' expects ...") and end with what was found, so that scripts which
 * look for the one still work and people see the other. */
#include "property.h"

#include <string.h>

/* "a number", "a number from 1 to 8", "a number of at least 1". */
static char *
describe_number(const struct property *p)
{
    if (p->max)
        return g_strdup_printf("a number from %" G_GUINT64_FORMAT " to %" G_GUINT64_FORMAT, p->min, p->max);
    if (p->min)
        return g_strdup_printf("a number of at least %" G_GUINT64_FORMAT, p->min);
    return g_strdup("a number");
}

static char *
describe_size(const struct property *p)
{
    g_autofree char *min = size_format(p->min);
    g_autofree char *max = size_format(p->max);

    if (p->max)
        return g_strdup_printf("a size value from %s to %s", min, max);
    if (p->min)
        return g_strdup_printf("a size value of at least %s", min);
    return g_strdup("a size value");
}

/* "idle, sequential, random or hot". */
static char *
describe_choices(const struct property *p)
{
    GString *out = g_string_new(NULL);

    for (unsigned i = 0; p->choices[i]; i++)
        g_string_append_printf(out, "%s%s", i == 0 ? "" : p->choices[i + 1] ? ", " : " or ", p->choices[i]);
    return g_string_free(out, FALSE);
}

static bool
in_range(const struct property *p, uint64_t number)
{
    return number >= p->min && (!p->max || number <= p->max);
}

static bool
parse_bool(const struct property *p, const char *text, struct value *ret, GError **error)
{
    static const char *const words[][2] = {
        { "off", "on" }, { "no", "yes" }, { "false", "true" }, { "n", "y" },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(words); i++) {
        for (unsigned on = 0; on < 2; on++) {
            if (!strcmp(text, words[i][on])) {
                ret->flag = on;
                return true;
            }
        }
    }
    return fail(error, NUMON_ERROR_ARGUMENT, "Parameter '%s' expects 'on' or 'off', not '%s'", p->name, text);
}

static bool
parse_size(const struct property *p, const char *text, struct value *ret, GError **error)
{
    g_autofree char *wanted = NULL;
    g_autoptr(GError) reason = NULL;
    uint64_t number;

    if (!size_parse(text, p->unit_size ? p->unit_size : 1, &number, &reason))
        return fail(error, NUMON_ERROR_ARGUMENT, "Parameter '%s' expects a size value: %s", p->name, reason->message);
    if (in_range(p, number)) {
        ret->number = number;
        return true;
    }
    wanted = describe_size(p);
    return fail(error, NUMON_ERROR_ARGUMENT, "Parameter '%s' expects %s, not '%s'", p->name, wanted, text);
}

static void
take_word(struct value *ret, const char *text)
{
    g_free(ret->word);
    ret->word = g_strdup(text);
}

/* The index of the text among the words of 'choices'; -1 if it is none of them or there are none. */
static int
find_choice(const struct property *p, const char *text)
{
    for (int i = 0; p->choices && p->choices[i]; i++)
        if (!strcmp(text, p->choices[i]))
            return i;
    return -1;
}

/* Sets the error for a number that is none, or too small, or too large; always false. */
static bool
fail_uint(const struct property *p, const char *text, GError **error)
{
    g_autofree char *wanted = describe_number(p);
    g_autofree char *unit = p->unit ? g_strdup_printf(" (%s)", p->unit) : g_strdup("");
    g_autofree char *words = p->choices ? describe_choices(p) : NULL;

    return fail(error, NUMON_ERROR_ARGUMENT, "Parameter '%s' expects %s%s%s%s, not '%s'", p->name, wanted, unit,
                words ? ", or " : "", words ? words : "", text);
}

static bool
parse_uint(const struct property *p, const char *text, struct value *ret, GError **error)
{
    uint64_t number = 0;

    if (find_choice(p, text) >= 0)
        take_word(ret, text);
    else if (number_parse(text, &number, NULL) && in_range(p, number))
        g_clear_pointer(&ret->word, g_free);
    else
        return fail_uint(p, text, error);
    ret->number = number;
    return true;
}

static bool
parse_id(const struct property *p, const char *text, struct value *ret, GError **error)
{
    size_t good = 0;

    if (g_ascii_isalpha(text[0]))
        while (text[good] && (g_ascii_isalnum(text[good]) || strchr("-._", text[good])))
            good++;
    if (good == 0 || text[good])
        return fail(error, NUMON_ERROR_ARGUMENT,
                    "Parameter '%s' expects an identifier (a letter, then letters, digits, '-', '.' or '_'), "
                    "not '%s'", p->name, text);
    if (good >= ID_SIZE)
        return fail(error, NUMON_ERROR_ARGUMENT,
                    "Parameter '%s' expects an identifier of at most %d characters, not '%s'", p->name, ID_SIZE - 1,
                    text);
    take_word(ret, text);
    return true;
}

static bool
parse_choice(const struct property *p, const char *text, struct value *ret, GError **error)
{
    g_autofree char *wanted = NULL;
    int found = find_choice(p, text);

    if (found >= 0) {
        ret->number = (unsigned)found;
        take_word(ret, text);
        return true;
    }
    wanted = describe_choices(p);
    return fail(error, NUMON_ERROR_ARGUMENT, "Parameter '%s' expects %s, not '%s'", p->name, wanted, text);
}

static bool
parse_by_type(const struct property *p, const char *text, struct value *ret, GError **error)
{
    switch (p->type) {
    case PROPERTY_BOOL:
        return parse_bool(p, text, ret, error);
    case PROPERTY_UINT:
        return parse_uint(p, text, ret, error);
    case PROPERTY_SIZE:
        return parse_size(p, text, ret, error);
    case PROPERTY_ID:
        return parse_id(p, text, ret, error);
    case PROPERTY_CHOICE:
        return parse_choice(p, text, ret, error);
    case PROPERTY_WORD:
    case PROPERTY_REST:
        take_word(ret, text);
        return true;
    case PROPERTY_LIST:
    case PROPERTY_FLAG:
    case PROPERTY_END:
        break;
    }
    g_assert_not_reached();
}

bool
property_parse_value(const struct property *p, const char *text, struct value *ret, GError **error)
{
    if (!parse_by_type(p, text, ret, error))
        return false;
    ret->set = true;
    return true;
}
