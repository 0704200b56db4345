/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Tables as wide as their cells, laid out for a screen.  Columns keep their order; those with room are chosen by
 * rank, and each stands in the first or the second line of its row. */
#include "table.h"

#include <stdarg.h>
#include <string.h>

enum { LINES = 2, HIDDEN = LINES };

struct table {
    const struct table_column *columns;
    unsigned count;
    GPtrArray *cells;               /* char *, row by row */
};

struct table *
table_new(const struct table_column *columns, unsigned count)
{
    struct table *t = g_new(struct table, 1);

    *t = (struct table) { columns, count, g_ptr_array_new_with_free_func(g_free) };
    return t;
}

void
table_free(struct table *t)
{
    if (!t)
        return;
    g_ptr_array_unref(t->cells);
    g_free(t);
}

void
table_add_text(struct table *t, const char *text)
{
    g_ptr_array_add(t->cells, g_strdup(text));
}

void
table_add(struct table *t, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    g_ptr_array_add(t->cells, g_strdup_vprintf(format, args));
    va_end(args);
}

/* --- layout ----------------------------------------------------------------------------------------------------- */

struct layout {
    unsigned *widths;               /* of each column */
    unsigned *lines;                /* where it stands; HIDDEN: nowhere */
    unsigned width;                 /* of the screen; 0: no end */
    unsigned most;                  /* lines a row; LINES at most */
};

static const char *
cell(const struct table *t, unsigned row, unsigned column)
{
    return t->cells->pdata[row * t->count + column];
}

static unsigned
row_count(const struct table *t)
{
    return t->cells->len / t->count;
}

/* Nothing but noughts and dashes. */
static bool
is_empty(const struct table *t, unsigned column)
{
    for (unsigned row = 0; row < row_count(t); row++)
        if (cell(t, row, column)[strspn(cell(t, row, column), "0.-%B ")])
            return false;
    return row_count(t) > 0;
}

static unsigned
natural_width(const struct table *t, unsigned column)
{
    glong width = g_utf8_strlen(t->columns[column].name, -1);

    for (unsigned row = 0; row < row_count(t); row++)
        width = MAX(width, g_utf8_strlen(cell(t, row, column), -1));
    return (unsigned)width;
}

/* Puts the chosen columns into lines, in their order; false if they have no room in so many. */
static bool
place(const struct table *t, struct layout *l, const bool *chosen, unsigned lines)
{
    unsigned line = 0, used = 0;

    for (unsigned i = 0; i < t->count; i++) {
        if (!chosen[i]) {
            l->lines[i] = HIDDEN;
            continue;
        }
        if (used && l->width && used + 1 + l->widths[i] > l->width) {
            line++;
            /* Under the row's name. */
            used = l->widths[0];
            if (line == lines || used + 1 + l->widths[i] > l->width)
                return false;
        }
        used += (used ? 1 : 0) + l->widths[i];
        l->lines[i] = line;
    }
    return true;
}

/* The highest rank of the columns that were not tried yet; false if there are none. */
static bool
next_rank(const struct table *t, const bool *tried, unsigned *ret)
{
    bool any = false;

    for (unsigned i = 0; i < t->count; i++)
        if (!tried[i] && (!any || t->columns[i].rank > *ret)) {
            *ret = t->columns[i].rank;
            any = true;
        }
    return any;
}

/* Those of one rank all, or none. */
static void
choose_rank(const struct table *t, struct layout *l, unsigned rank, bool *tried, bool *chosen)
{
    g_autofree bool *before = g_memdup2(chosen, t->count * sizeof *chosen);

    for (unsigned i = 0; i < t->count; i++)
        if (!tried[i] && t->columns[i].rank == rank)
            tried[i] = chosen[i] = true;
    if (!place(t, l, chosen, l->most))
        memcpy(chosen, before, t->count * sizeof *chosen);
}

static void
choose(const struct table *t, struct layout *l)
{
    g_autofree bool *chosen = g_new(bool, t->count), *tried = g_new0(bool, t->count);
    unsigned rank = 0;

    for (unsigned i = 0; i < t->count; i++)
        chosen[i] = true;
    if (place(t, l, chosen, 1))
        return;
    for (unsigned i = 0; i < t->count; i++)
        chosen[i] = i == 0 || !is_empty(t, i);
    if (place(t, l, chosen, 1) || place(t, l, chosen, l->most))
        return;
    for (unsigned i = 0; i < t->count; i++) {
        tried[i] = !chosen[i] || i == 0;
        chosen[i] = i == 0;
    }
    while (next_rank(t, tried, &rank))
        choose_rank(t, l, rank, tried, chosen);
    place(t, l, chosen, l->most);
}

/* --- lines ------------------------------------------------------------------------------------------------------ */

static void
append_cell(const struct table *t, const struct layout *l, unsigned column, const char *text, GString *out)
{
    unsigned blanks = l->widths[column] - (unsigned)MIN(g_utf8_strlen(text, -1), (glong)l->widths[column]);

    if (!t->columns[column].left)
        g_string_append_printf(out, "%*s", (int)blanks, "");
    g_string_append(out, text);
    if (t->columns[column].left)
        g_string_append_printf(out, "%*s", (int)blanks, "");
}

static void
end_line(GString *out)
{
    while (out->len && out->str[out->len - 1] == ' ')
        g_string_truncate(out, out->len - 1);
    g_string_append_c(out, '\n');
}

/* 'row' -1: the names. */
static void
append_row(const struct table *t, const struct layout *l, int row, GString *out)
{
    for (unsigned line = 0; line < LINES; line++) {
        bool any = false;

        for (unsigned i = 0; i < t->count; i++) {
            if (l->lines[i] != line)
                continue;
            if (!any && line > 0)
                g_string_append_printf(out, "%*s", (int)l->widths[0], "");
            if (any || line > 0)
                g_string_append_c(out, ' ');
            append_cell(t, l, i, row < 0 ? t->columns[i].name : cell(t, (unsigned)row, i), out);
            any = true;
        }
        if (any)
            end_line(out);
    }
}

/* Is there one of its name to the left? */
static bool
is_hidden_before(const struct table *t, const struct layout *l, unsigned column)
{
    for (unsigned i = 0; i < column; i++)
        if (l->lines[i] == HIDDEN && !is_empty(t, i) && g_str_equal(t->columns[i].name, t->columns[column].name))
            return true;
    return false;
}

static void
append_hidden(const struct table *t, const struct layout *l, GString *out)
{
    g_autoptr(GString) names = g_string_new(NULL);

    for (unsigned i = 0; i < t->count; i++)
        if (l->lines[i] == HIDDEN && !is_empty(t, i) && !is_hidden_before(t, l, i))
            g_string_append_printf(names, "%s%s", names->len ? ", " : "(a wider screen also shows: ",
                                   t->columns[i].name);
    if (names->len == 0)
        return;
    g_string_append_c(names, ')');
    wrap_text(out, names->str, 1, l->width);
}

static void
print(const struct table *t, unsigned width, unsigned most, GString *out)
{
    g_autofree unsigned *widths = g_new(unsigned, t->count), *lines = g_new(unsigned, t->count);
    struct layout l = { widths, lines, width, most };

    for (unsigned i = 0; i < t->count; i++)
        widths[i] = natural_width(t, i);
    choose(t, &l);
    append_row(t, &l, -1, out);
    for (unsigned row = 0; row < row_count(t); row++)
        append_row(t, &l, (int)row, out);
    append_hidden(t, &l, out);
}

void
table_print(const struct table *t, unsigned width, GString *out)
{
    print(t, width, LINES, out);
}

void
table_print_flat(const struct table *t, unsigned width, GString *out)
{
    print(t, width, 1, out);
}

/* --- paragraphs ------------------------------------------------------------------------------------------------- */

void
wrap_text(GString *out, const char *text, unsigned indent, unsigned width)
{
    g_auto(GStrv) words = g_strsplit(text, " ", -1);
    glong used = 0;

    if (width == 0) {
        g_string_append_printf(out, "%s\n", text);
        return;
    }
    for (unsigned i = 0; words[i]; i++) {
        glong size = g_utf8_strlen(words[i], -1);

        if (used && used + 1 + size > (glong)width) {
            g_string_append_printf(out, "\n%*s", (int)indent, "");
            used = indent;
        } else if (i) {
            g_string_append_c(out, ' ');
            used++;
        }
        g_string_append(out, words[i]);
        used += size;
    }
    g_string_append_c(out, '\n');
}
