/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Tables and paragraphs for screens of any width. */
#include "../../monitor/table.h"

#include <string.h>

static const struct table_column columns[] = {
    { "row", 99 }, { "first", 10 }, { "second", 30 }, { "nothing", 90 }, { "third", 20 }, { "verdict", 80, true },
};

static struct table *
example(void)
{
    struct table *t = table_new(columns, G_N_ELEMENTS(columns));

    for (unsigned row = 1; row <= 3; row++) {
        table_add(t, "%u", row);
        table_add(t, "%u", row * 1000);
        table_add(t, "%u.5", row * 20000);
        table_add_text(t, row == 2 ? "-" : "0");
        table_add(t, "%uM", row);
        table_add_text(t, row == 3 ? "done" : "goes on");
    }
    return t;
}

static char *
printed(unsigned width)
{
    g_autoptr(table) t = example();
    GString *out = g_string_new(NULL);

    table_print(t, width, out);
    return g_string_free(out, FALSE);
}

static glong
widest_line(const char *text)
{
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    glong widest = 0;

    for (unsigned i = 0; lines[i]; i++)
        widest = MAX(widest, g_utf8_strlen(lines[i], -1));
    return widest;
}

static void
a_program_gets_every_column_in_one_line(void)
{
    g_autofree char *text = printed(0);

    g_assert_cmpstr(text, ==, "row first  second nothing third verdict\n"
                              "  1  1000 20000.5       0    1M goes on\n"
                              "  2  2000 40000.5       -    2M goes on\n"
                              "  3  3000 60000.5       0    3M done\n");
}

static void
what_holds_nothing_goes_first(void)
{
    g_autofree char *text = printed(32);

    g_assert_cmpstr(text, ==, "row first  second third verdict\n"
                              "  1  1000 20000.5    1M goes on\n"
                              "  2  2000 40000.5    2M goes on\n"
                              "  3  3000 60000.5    3M done\n");
}

static void
a_row_has_two_lines_where_one_has_no_room(void)
{
    g_autofree char *text = printed(20);

    g_assert_cmpstr(text, ==, "row first  second\n"
                              "    third verdict\n"
                              "  1  1000 20000.5\n"
                              "       1M goes on\n"
                              "  2  2000 40000.5\n"
                              "       2M goes on\n"
                              "  3  3000 60000.5\n"
                              "       3M done\n");
}

static void
columns_of_a_low_rank_are_named_where_they_have_no_room(void)
{
    g_autofree char *text = printed(12);

    g_assert_cmpstr(text, ==, "row  second\n"
                              "    verdict\n"
                              "  1 20000.5\n"
                              "    goes on\n"
                              "  2 40000.5\n"
                              "    goes on\n"
                              "  3 60000.5\n"
                              "    done\n"
                              "(a wider\n screen also\n shows:\n first,\n third)\n");
}

static const struct table_column both[] = {
    { "row", 99 }, { "time", 90 }, { "sent", 80 }, { "| time", 90 }, { "sent", 80 },
};

/* One line a row, and of two sides as much of the one as of the other. */
static void
sides_stay_side_by_side(void)
{
    static const struct { unsigned width; const char *wanted; } widths[] = {
        { 0, "row  time sent | time sent\n  1 0.125  11M  0.135  12M\n" },
        { 26, "row  time sent | time sent\n  1 0.125  11M  0.135  12M\n" },
        { 25, "row  time | time\n  1 0.125  0.135\n(a wider screen also\n shows: sent)\n" },
    };
    static const char *const cells[] = { "1", "0.125", "11M", "0.135", "12M" };
    g_autoptr(table) t = table_new(both, G_N_ELEMENTS(both));
    g_autoptr(GString) out = g_string_new(NULL);

    for (unsigned i = 0; i < G_N_ELEMENTS(cells); i++)
        table_add_text(t, cells[i]);
    for (unsigned i = 0; i < G_N_ELEMENTS(widths); i++) {
        g_string_truncate(out, 0);
        table_print_flat(t, widths[i].width, out);
        g_assert_cmpstr(out->str, ==, widths[i].wanted);
    }
}

static void
no_line_is_wider_than_the_screen(void)
{
    for (unsigned width = 12; width < 60; width++) {
        g_autofree char *text = printed(width);

        g_assert_cmpint(widest_line(text), <=, width);
        g_assert_nonnull(strstr(text, "verdict"));
    }
}

static void
a_paragraph_breaks_at_blanks(void)
{
    g_autoptr(GString) out = g_string_new(NULL);

    wrap_text(out, "one two three four", 2, 9);
    g_assert_cmpstr(out->str, ==, "one two\n  three\n  four\n");
    g_string_truncate(out, 0);
    wrap_text(out, "one two three four", 2, 0);
    g_assert_cmpstr(out->str, ==, "one two three four\n");
    g_string_truncate(out, 0);
    wrap_text(out, "überlänge äöü ß", 1, 9);
    g_assert_cmpstr(out->str, ==, "überlänge\n äöü ß\n");
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/table/a-program-gets-every-column-in-one-line", a_program_gets_every_column_in_one_line);
    g_test_add_func("/table/what-holds-nothing-goes-first", what_holds_nothing_goes_first);
    g_test_add_func("/table/a-row-has-two-lines-where-one-has-no-room", a_row_has_two_lines_where_one_has_no_room);
    g_test_add_func("/table/columns-of-a-low-rank-are-named",
                    columns_of_a_low_rank_are_named_where_they_have_no_room);
    g_test_add_func("/table/sides-stay-side-by-side", sides_stay_side_by_side);
    g_test_add_func("/table/no-line-is-wider-than-the-screen", no_line_is_wider_than_the_screen);
    g_test_add_func("/table/a-paragraph-breaks-at-blanks", a_paragraph_breaks_at_blanks);
    return g_test_run();
}
