/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The tables of a prediction: predicted rounds, beside those that came where there are any. */
#include "migrate-views.h"
#include "table.h"

#include <inttypes.h>
#include <string.h>

static bool
flag_at(GVariant *row, const char *key)
{
    gboolean flag = FALSE;

    g_variant_lookup(row, key, "b", &flag);
    return flag;
}

static void
print_guest(GVariant *tree, unsigned columns, GString *out)
{
    g_autoptr(GString) line = g_string_new(NULL);
    double share;

    g_string_append_printf(line, "guest: %" PRIu64 " of %" PRIu64 " pages hold something; ",
                           tree_number(tree, "filled-pages"), tree_number(tree, "pages"));
    if (!tree_number(tree, "write-rate"))
        g_string_append(line, "it writes nothing");
    else
        g_string_append_printf(line, "it writes %" PRIu64 " pages/s, %s %" PRIu64, tree_number(tree, "write-rate"),
                               flag_at(tree, "sequential") ? "one after the other, of" : "at random among",
                               tree_number(tree, "working-pages"));
    if (g_variant_lookup(tree, "busy-share", "d", &share) && share < 0.95)
        g_string_append_printf(line, "; while pages go it gets %.0f %% of that done", share * 100);
    wrap_text(out, line->str, 2, columns);
}

/* "119.2 MiB/s (max-bandwidth)", or only where it would be from. */
static void
append_rate(GVariant *tree, const char *key, const char *from, GString *out)
{
    g_autofree char *rate = why_size(tree_number(tree, key));

    if (tree_number(tree, key))
        g_string_append_printf(out, "%s/s (%s)", rate, tree_text(tree, from));
    else
        g_string_append(out, tree_text(tree, from));
}

static void
print_line(GVariant *tree, unsigned columns, GString *out)
{
    g_autofree char *fresh = why_size(tree_number(tree, "host-fresh"));
    g_autofree char *again = why_size(tree_number(tree, "host-again"));
    g_autofree char *alone = why_size(tree_number(tree, "host-alone"));
    g_autoptr(GString) line = g_string_new("line: ");

    append_rate(tree, "bandwidth", "bandwidth-from", line);
    g_string_append(line, "; at the switchover ");
    append_rate(tree, "line", "line-from", line);
    wrap_text(out, line->str, 2, columns);
    g_string_printf(line, "host: %s/s into memory that is new to the destination; once more %s/s in order, %s/s "
                    "where pages lie alone (%s)", fresh, again, alone, tree_text(tree, "host-from"));
    wrap_text(out, line->str, 2, columns);
    g_string_printf(line, "switchover: %.1f ms besides pages (%s)", (double)tree_number(tree, "fixed-us") / 1e3,
                    tree_text(tree, "fixed-from"));
    wrap_text(out, line->str, 2, columns);
}

static void
print_basis(GVariant *tree, unsigned columns, GString *out)
{
    g_autofree char *cache = why_size(tree_number(tree, "xbzrle-cache-pages") * PAGE_SIZE);
    g_autoptr(GString) line = g_string_new(NULL);

    print_guest(tree, columns, out);
    print_line(tree, columns, out);
    g_string_printf(line, "downtime-limit %" PRIu64 " ms, ", tree_number(tree, "downtime-limit"));
    if (tree_number(tree, "xbzrle-cache-pages"))
        g_string_append_printf(line, "xbzrle with a cache of %s (%" PRIu64 " bytes a delta), ", cache,
                               tree_number(tree, "delta-bytes"));
    if (flag_at(tree, "auto-converge"))
        g_string_append(line, "auto-converge, ");
    g_string_append_printf(line, "throttle %" PRIu64 " %%", tree_number(tree, "throttle"));
    wrap_text(out, line->str, 2, columns);
}

/* Of one side, then of the other where it has come; a narrow screen has less of both. */
static const struct table_column round_columns[] = {
    { "round", 99 }, { "time s", 90 }, { "sent", 80 }, { "left", 85 }, { "thr%", 70 },
    { "| time s", 90 }, { "sent", 80 }, { "left", 85 }, { "thr%", 70 },
};
enum { ONE_SIDE = 5, BOTH_SIDES = G_N_ELEMENTS(round_columns) };

static void
add_side(struct table *t, GVariant *row)
{
    g_autofree char *bytes = row ? why_size(tree_number(row, "bytes")) : NULL;
    g_autofree char *left = row ? why_size(tree_number(row, "dirty-end-bytes")) : NULL;

    if (!row) {
        for (unsigned i = 0; i < ONE_SIDE - 1; i++)
            table_add_text(t, "");
        return;
    }
    table_add(t, "%.3f", (double)tree_number(row, "duration-us") / 1e6);
    table_add_text(t, bytes);
    table_add_text(t, left);
    table_add(t, "%" PRIu64, tree_number(row, "throttle"));
}

/* What stands on either side of the bar in the table's first line. */
static void
print_sides(const char *table, GString *out)
{
    const char *bar = strchr(table, '|');

    g_string_append_printf(out, "%*s | recorded\n%s", bar ? (int)(bar - table) - 1 : 0, "predicted", table);
}

/* Predicted rounds, beside those that came if there are any. */
static void
print_rounds(GVariant *tree, unsigned columns, GString *out)
{
    g_autoptr(GVariant) rounds = g_variant_lookup_value(tree, "rounds", G_VARIANT_TYPE("aa{sv}"));
    g_autoptr(GVariant) fact = g_variant_lookup_value(tree, "fact-rounds", G_VARIANT_TYPE("aa{sv}"));
    size_t predicted = g_variant_n_children(rounds), came = fact ? g_variant_n_children(fact) : 0;
    g_autoptr(table) t = table_new(round_columns, fact ? BOTH_SIDES : ONE_SIDE);

    for (size_t i = 0; i < MAX(predicted, came); i++) {
        g_autoptr(GVariant) left = i < predicted ? g_variant_get_child_value(rounds, i) : NULL;
        g_autoptr(GVariant) right = i < came ? g_variant_get_child_value(fact, i) : NULL;

        table_add(t, "%zu", i + 1);
        add_side(t, left);
        if (fact)
            add_side(t, right);
    }
    g_autoptr(GString) text = g_string_new(NULL);
    table_print_flat(t, columns, text);
    if (fact)
        print_sides(text->str, out);
    else
        g_string_append(out, text->str);
}

static void
print_predicted(GVariant *tree, unsigned columns, GString *out)
{
    g_autofree char *sent = why_size(tree_number(tree, "bytes"));
    g_autofree char *left = why_size(tree_number(tree, "last-remaining"));
    g_autofree char *fits = why_size(tree_number(tree, "fits-bytes")), *text = NULL;

    if (flag_at(tree, "converges"))
        text = g_strdup_printf("predicted: %.3f s, %s, downtime %.1f ms", (double)tree_number(tree, "total-us") / 1e6,
                               sent, (double)tree_number(tree, "downtime-us") / 1e3);
    else if (!tree_number(tree, "last-remaining"))
        text = g_strdup_printf("predicted: will not converge: the first pass is not over after %" PRIu64 " s",
                               tree_number(tree, "total-us") / 1000000);
    else
        text = g_strdup_printf("predicted: will not converge: each pass leaves %s at least, and %s would fit", left,
                               fits);
    wrap_text(out, text, 2, columns);
}

static void
print_recorded(GVariant *tree, unsigned columns, GString *out)
{
    g_autofree char *came = why_size(tree_number(tree, "fact-bytes"));
    g_autoptr(GString) line = g_string_new(NULL);

    if (!tree_number(tree, "fact-total-us"))
        return;
    g_string_printf(line, "recorded: %s, %.3f s, %s", tree_text(tree, "fact-state"),
                    (double)tree_number(tree, "fact-total-us") / 1e6, came);
    if (tree_number(tree, "fact-downtime-us"))
        g_string_append_printf(line, ", downtime %.1f ms", (double)tree_number(tree, "fact-downtime-us") / 1e3);
    wrap_text(out, line->str, 2, columns);
}

void
prediction_print(GVariant *tree, unsigned columns, GString *out)
{
    if (!tree_number(tree, "pages"))
        return;
    print_basis(tree, columns, out);
    print_rounds(tree, columns, out);
    print_predicted(tree, columns, out);
    print_recorded(tree, columns, out);
}
