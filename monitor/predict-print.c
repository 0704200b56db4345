/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The tables of a prediction: predicted rounds, beside those that came where there are any. */
#include "migrate-views.h"

#include <inttypes.h>

static guint64
number_at(GVariant *row, const char *key)
{
    guint64 number = 0;

    if (row)
        g_variant_lookup(row, key, "t", &number);
    return number;
}

static bool
flag_at(GVariant *row, const char *key)
{
    gboolean flag = FALSE;

    g_variant_lookup(row, key, "b", &flag);
    return flag;
}

static const char *
text_at(GVariant *row, const char *key)
{
    const char *text = "";

    g_variant_lookup(row, key, "&s", &text);
    return text;
}

static void
print_basis(GVariant *tree, GString *out)
{
    g_autofree char *bandwidth = why_size(number_at(tree, "bandwidth")), *line = why_size(number_at(tree, "line"));
    g_autofree char *cache = why_size(number_at(tree, "xbzrle-cache-pages") * PAGE_SIZE);

    g_string_append_printf(out, "guest: %" PRIu64 " of %" PRIu64 " pages hold something; ",
                           number_at(tree, "filled-pages"), number_at(tree, "pages"));
    if (number_at(tree, "write-rate"))
        g_string_append_printf(out, "it writes %" PRIu64 " pages/s, %s %" PRIu64 "\n", number_at(tree, "write-rate"),
                               flag_at(tree, "sequential") ? "one after the other, of" : "at random among",
                               number_at(tree, "working-pages"));
    else
        g_string_append(out, "it writes nothing\n");
    g_string_append_printf(out, "line: %s/s (%s); at the switchover %s/s (%s)\n", bandwidth,
                           text_at(tree, "bandwidth-from"), line, text_at(tree, "line-from"));
    g_string_append_printf(out, "downtime-limit %" PRIu64 " ms, ", number_at(tree, "downtime-limit"));
    if (number_at(tree, "xbzrle-cache-pages"))
        g_string_append_printf(out, "xbzrle with a cache of %s (%" PRIu64 " bytes a delta), ", cache,
                               number_at(tree, "delta-bytes"));
    if (flag_at(tree, "auto-converge"))
        g_string_append(out, "auto-converge, ");
    g_string_append_printf(out, "throttle %" PRIu64 " %%\n", number_at(tree, "throttle"));
}

static void
print_round(GVariant *row, GString *out)
{
    g_autofree char *bytes = why_size(number_at(row, "bytes")), *left = why_size(number_at(row, "dirty-end-bytes"));

    if (row)
        g_string_append_printf(out, " %8.3f %10s %10s %4" PRIu64, (double)number_at(row, "duration-us") / 1e6, bytes,
                               left, number_at(row, "throttle"));
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
    g_autofree char *sent = why_size(number_at(tree, "bytes")), *left = why_size(number_at(tree, "last-remaining"));
    g_autofree char *fits = why_size(number_at(tree, "bandwidth") * number_at(tree, "downtime-limit") / 1000);

    if (flag_at(tree, "converges"))
        g_string_append_printf(out, "predicted: %.3f s, %s, downtime %.1f ms\n",
                               (double)number_at(tree, "total-us") / 1e6, sent,
                               (double)number_at(tree, "downtime-us") / 1e3);
    else
        g_string_append_printf(out, "predicted: will not converge: after each pass %s remain, and %s would fit\n",
                               left,
                               fits);
    if (!number_at(tree, "fact-total-us"))
        return;
    g_autofree char *came = why_size(number_at(tree, "fact-bytes"));
    g_string_append_printf(out, "recorded: %s, %.3f s, %s", text_at(tree, "fact-state"),
                           (double)number_at(tree, "fact-total-us") / 1e6, came);
    if (number_at(tree, "fact-downtime-us"))
        g_string_append_printf(out, ", downtime %.1f ms", (double)number_at(tree, "fact-downtime-us") / 1e3);
    g_string_append_c(out, '\n');
}

void
prediction_print(GVariant *tree, GString *out)
{
    if (!number_at(tree, "pages"))
        return;
    print_basis(tree, out);
    print_rounds(tree, out);
    print_verdict(tree, out);
}
