/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Text that fits a screen: tables that fold and leave out columns, sentences that are wrapped at blanks.  A width of
 * 0 is that of programs: nothing is folded, wrapped or left out. */
#ifndef TABLE_H
#define TABLE_H

#include <glib.h>
#include <stdbool.h>

struct table_column {
    const char *name;
    unsigned rank;                  /* columns of a higher rank go first where not all have room; those of one all or
                                     * none */
    bool left;                      /* aligned to the left */
};
typedef struct table table;
/* The columns are borrowed. */
struct table *table_new(const struct table_column *columns, unsigned count);
void table_free(struct table *t);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(table, table_free)
/* The next cell, row by row; formatted, or ready and owned by the caller. */
void table_add(struct table *t, const char *format, ...) G_GNUC_PRINTF(2, 3);
void table_add_text(struct table *t, const char *text);
/* A row is one line, or two where one has no room; columns that have none in these either are named at the end, but
 * for those that hold nothing anywhere. */
void table_print(const struct table *t, unsigned width, GString *out);
/* The same with one line a row, for what is to be seen side by side. */
void table_print_flat(const struct table *t, unsigned width, GString *out);

/* Appends one paragraph in lines of at most 'width' columns, all but the first indented. */
void wrap_text(GString *out, const char *text, unsigned indent, unsigned width);

#endif
