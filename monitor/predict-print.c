/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The tables of a prediction: predicted rounds, beside those that came where there are any. */
#include "migrate-views.h"

#include <inttypes.h>

static bool
flag_at(GVariant *row, const char *key)
{
    gboolean flag = FALSE;

    g_variant_lookup(row, key, "b", &flag);
    return flag;
}

static void
print_basis(GVariant *tree, GString *out)
{
    g_autofree char *bandwidth = why_size(tree_number(tree, "bandwidth")), *line = why_size(tree_number(tree, "line"));
    g_autofree char *cache = why_size(tree_number(tree, "xbzrle-cache-pages") * PAGE_SIZE);

    g_string_append_printf(out, "guest: %" PRIu64 " of %" PRIu64 " pages hold something; ",
                           tree_number(tree, "filled-pages"), tree_number(tree, "pages"));
    if (tree_number(tree, "write-rate"))
        g_string_append_printf(out, "it writes %" PRIu64 " pages/s, %s %" PRIu64 "\n", tree_number(tree, "write-rate"),
                               flag_at(tree, "sequential") ? "one after the other, of" : "at random among",
                               tree_number(tree, "working-pages"));
    else
        g_string_append(out, "it writes nothing\n");
    g_string_append_printf(out, "line: %s/s (%s); at the switchover %s/s (%s)\n", bandwidth,
                           tree_text(tree, "bandwidth-from"), line, tree_text(tree, "line-from"));
    g_string_append_printf(out, "downtime-limit %" PRIu64 " ms, ", tree_number(tree, "downtime-limit"));
    if (tree_number(tree, "xbzrle-cache-pages"))
        g_string_append_printf(out, "xbzrle with a cache of %s (%" PRIu64 " bytes a delta), ", cache,
                               tree_number(tree, "delta-bytes"));
    if (flag_at(tree, "auto-converge"))
        g_string_append(out, "auto-converge, ");
    g_string_append_printf(out, "throttle %" PRIu64 " %%\n", tree_number(tree, "throttle"));
}

static void
print_round(GVariant *row, GString *out)
{
    g_autofree char *bytes = why_size(tree_number(row, "bytes")), *left = why_size(tree_number(row, "dirty-end-bytes"));

    if (row)
        g_string_append_printf(out, " %8.3f %10s %10s %4" PRIu64, (double)tree_number(row, "duration-us") / 1e6, bytes,
                               left, tree_number(row, "throttle"));
    else
        g_string_append_printf(out, " %8s %10s %10s %4s", "", "", "", "");
}

/* Predicted rounds, beside those that came if there are any. */
static void
print_rounds(GVariant *tree, GString *out)
{
    g_autoptr(GVariant) rounds = g_variant_lookup_value(tree, "rounds", G_VARIANT_TYPE("aa{sv}"));
    g_autoptr(GVariant) fact = g_variant_lookup_value(tree, "fact-rounds", G_VARIANT_TYPE("aa{sv}"));
    size_t predicted = g_variant_n_children(rounds), came = fact ? g_variant_n_children(fact) : 0;

    if (fact)
        g_string_append_printf(out, "%5s %-35s   %s\n", "", "  predicted", "  recorded");
    for (unsigned side = 0; side < (fact ? 2 : 1); side++)
        g_string_append_printf(out, "%s%8s %10s %10s %4s", side ? "   " : "round ", "time s", "sent", "left", "thr%");
    g_string_append_c(out, '\n');
    for (size_t i = 0; i < MAX(predicted, came); i++) {
        g_autoptr(GVariant) left = i < predicted ? g_variant_get_child_value(rounds, i) : NULL;
        g_autoptr(GVariant) right = i < came ? g_variant_get_child_value(fact, i) : NULL;

        g_string_append_printf(out, "%5zu", i + 1);
        print_round(left, out);
        if (fact) {
            g_string_append(out, "  ");
            print_round(right, out);
        }
        while (out->len && out->str[out->len - 1] == ' ')
            g_string_truncate(out, out->len - 1);
        g_string_append_c(out, '\n');
    }
}

static void
print_verdict(GVariant *tree, GString *out)
{
    g_autofree char *sent = why_size(tree_number(tree, "bytes")), *left = why_size(tree_number(tree, "last-remaining"));
    g_autofree char *fits = why_size(tree_number(tree, "bandwidth") * tree_number(tree, "downtime-limit") / 1000);

    if (flag_at(tree, "converges"))
        g_string_append_printf(out, "predicted: %.3f s, %s, downtime %.1f ms\n",
                               (double)tree_number(tree, "total-us") / 1e6, sent,
                               (double)tree_number(tree, "downtime-us") / 1e3);
    else
        g_string_append_printf(out, "predicted: will not converge: after each pass %s remain, and %s would fit\n",
                               left,
                               fits);
    if (!tree_number(tree, "fact-total-us"))
        return;
    g_autofree char *came = why_size(tree_number(tree, "fact-bytes"));
    g_string_append_printf(out, "recorded: %s, %.3f s, %s", tree_text(tree, "fact-state"),
                           (double)tree_number(tree, "fact-total-us") / 1e6, came);
    if (tree_number(tree, "fact-downtime-us"))
        g_string_append_printf(out, ", downtime %.1f ms", (double)tree_number(tree, "fact-downtime-us") / 1e3);
    g_string_append_c(out, '\n');
}

void
prediction_print(GVariant *tree, GString *out)
{
    if (!tree_number(tree, "pages"))
        return;
    print_basis(tree, out);
    print_rounds(tree, out);
    print_verdict(tree, out);
}
