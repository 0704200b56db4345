/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What help, usage errors and the manual say of a table, derived from its declarations. */
#include "property.h"

#include <string.h>

/* "N", or "N|unlimited" where words stand beside numbers. */
static char *
number_shape(const struct property *p)
{
    g_autofree char *words = p->choices ? g_strjoinv("|", (char **)p->choices) : NULL;

    return words ? g_strconcat("N|", words, NULL) : g_strdup("N");
}

char *
property_shape(const struct property *p)
{
    switch (p->type) {
    case PROPERTY_BOOL:
        return g_strdup("on|off");
    case PROPERTY_UINT:
        return number_shape(p);
    case PROPERTY_SIZE:
        return g_strdup("SIZE");
    case PROPERTY_WORD:
        return g_strdup("WORD");
    case PROPERTY_ID:
        return g_strdup("ID");
    case PROPERTY_CHOICE:
        return g_strjoinv("|", (char **)p->choices);
    case PROPERTY_LIST:
        return g_strdup("LIST");
    case PROPERTY_FLAG:
        return g_strdup(p->name);
    case PROPERTY_REST:
        return g_strdup("TEXT");
    case PROPERTY_END:
        break;
    }
    g_assert_not_reached();
}

/* A positional word by its meaning: "URI", "SECONDS"; choices as they are, "TEXT..." to the end of the line. */
static char *
positional_shape(const struct property *p)
{
    g_autofree char *name = NULL;

    if (p->type == PROPERTY_FLAG || (p->name[0] != '-' && (p->type == PROPERTY_CHOICE || p->type == PROPERTY_BOOL)))
        return property_shape(p);
    if (p->name[0] == '-') {
        g_autofree char *shape = property_shape(p);

        return g_strconcat(p->name, " ", shape, NULL);
    }
    name = g_ascii_strup(p->name, -1);
    if (p->type == PROPERTY_WORD && p->choices) {
        g_autofree char *words = g_strjoinv("|", (char **)p->choices);

        return g_strconcat(words, "|", name, NULL);
    }
    return g_strconcat(name, p->type == PROPERTY_REST || p->repeatable ? "..." : "", NULL);
}

static void
append_item(GString *out, const struct property *p, const char *separator, const char *text)
{
    if (p->required)
        g_string_append_printf(out, "%s%s", separator, text);
    else if (*separator == ' ')
        g_string_append_printf(out, " [%s]", text);
    else
        g_string_append_printf(out, "[%s%s]", separator, text);
}

char *
property_usage_options(const struct property *table, int implied)
{
    GString *out = g_string_new(NULL);

    for (int i = 0; table[i].type != PROPERTY_END; i++) {
        g_autofree char *shape = property_shape(&table[i]);
        g_autofree char *text = i == implied ? g_strdup(shape) : g_strconcat(table[i].name, "=", shape, NULL);

        append_item(out, &table[i], out->len ? "," : "", text);
    }
    return g_string_free(out, FALSE);
}

char *
property_usage_pairs(const struct property *table)
{
    GString *out = g_string_new(NULL);

    for (unsigned i = 0; table[i].type != PROPERTY_END; i++) {
        g_autofree char *shape = property_shape(&table[i]);
        g_autofree char *text = g_strconcat(table[i].name, "=", shape, NULL);

        append_item(out, &table[i], out->len ? " " : "", text);
    }
    return g_string_free(out, FALSE);
}

char *
property_usage_words(const struct property *table)
{
    GString *out = g_string_new(NULL);

    for (unsigned i = 0; table[i].type != PROPERTY_END; i++) {
        g_autofree char *text = positional_shape(&table[i]);

        append_item(out, &table[i], out->len ? " " : "", text);
    }
    return g_string_free(out, FALSE);
}

static void
append_note(GString *notes, const char *text)
{
    g_string_append_printf(notes, "%s%s", notes->len ? ", " : "", text);
}

static char *
number_text(const struct property *p, uint64_t number)
{
    return p->type == PROPERTY_SIZE ? size_format(number) : g_strdup_printf("%" G_GUINT64_FORMAT, number);
}

static void
append_range(GString *notes, const struct property *p)
{
    g_autofree char *min = number_text(p, p->min);
    g_autofree char *max = number_text(p, p->max);
    g_autofree char *text = NULL;

    if (p->type != PROPERTY_UINT && p->type != PROPERTY_SIZE && p->type != PROPERTY_LIST)
        return;
    if (p->max || p->type == PROPERTY_LIST)
        text = g_strdup_printf("%s to %s", min, max);
    else if (p->min)
        text = g_strdup_printf("at least %s", min);
    if (text)
        append_note(notes, text);
}

/* Of a positional number: its head does not show the words that may stand for it. */
static void
append_choices(GString *notes, const struct property *p)
{
    g_autofree char *words = g_strjoinv(", ", (char **)p->choices);
    g_autofree char *text = g_strconcat("or ", words, NULL);

    append_note(notes, text);
}

/* "bytes, 1 MiB to 2 TiB, default 128M". */
static char *
describe(const struct property *p, bool by_position)
{
    GString *notes = g_string_new(NULL);

    if (p->unit)
        append_note(notes, p->unit);
    append_range(notes, p);
    if (by_position && p->type == PROPERTY_UINT && p->choices)
        append_choices(notes, p);
    if (p->value_default) {
        g_autofree char *text = g_strconcat("default ", p->value_default, NULL);

        append_note(notes, text);
    }
    if (p->required)
        append_note(notes, "required");
    return g_string_free(notes, FALSE);
}

static char *
help_head(const struct property *p)
{
    g_autofree char *shape = property_shape(p);

    return g_strconcat(p->name, "=", shape, NULL);
}

static void
help_table(const struct property *table, char *(*head_of)(const struct property *p), GString *out)
{
    size_t width = 0;

    for (unsigned i = 0; table[i].type != PROPERTY_END; i++) {
        g_autofree char *head = head_of(&table[i]);

        width = MAX(width, strlen(head));
    }
    for (unsigned i = 0; table[i].type != PROPERTY_END; i++) {
        g_autofree char *head = head_of(&table[i]);
        g_autofree char *notes = describe(&table[i], head_of == positional_shape);

        g_string_append_printf(out, "  %-*s  %s", (int)MIN(width, 36), head, table[i].help ? table[i].help : "");
        if (*notes)
            g_string_append_printf(out, " (%s)", notes);
        g_string_append_c(out, '\n');
    }
}

void
property_help(const struct property *table, GString *out)
{
    help_table(table, help_head, out);
}

void
property_help_words(const struct property *table, GString *out)
{
    help_table(table, positional_shape, out);
}

void
property_append_word(GString *out, const char *word)
{
    for (; *word; word++)
        g_string_append(out, *word == ',' ? ",," : (char[]){ *word, '\0' });
}
