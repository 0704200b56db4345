/* SPDX-License-Identifier: GPL-3.0-or-later */
/* info migrate rounds, nodes, blocks, vcpus: tables of the recording. */
#include "migrate-views.h"
#include "table.h"

static void
put(GVariantDict *dict, const char *key, uint64_t number)
{
    g_variant_dict_insert(dict, key, "t", number);
}

/* One key, under which the rows stand. */
static GVariant *
named(const char *name, GVariantBuilder *rows)
{
    GVariantDict dict;

    g_variant_dict_init(&dict, NULL);
    g_variant_dict_insert_value(&dict, name, g_variant_builder_end(rows));
    return g_variant_dict_end(&dict);
}

/* --- rounds ----------------------------------------------------------------------------------------------------- */

static GVariant *
round_row(const struct migrate_round *r)
{
    GVariantDict row;

    g_variant_dict_init(&row, NULL);
    put(&row, "round", r->number);
    if (r->last != r->number)
        put(&row, "to-round", r->last);
    put(&row, "start-us", r->start_us);
    put(&row, "duration-us", r->duration_us);
    if (r->held_us)
        put(&row, "held-us", r->held_us);
    put(&row, "zero", r->pages_zero);
    put(&row, "normal", r->pages_normal);
    put(&row, "delta", r->pages_delta);
    put(&row, "same", r->pages_same);
    put(&row, "compressed", r->pages_compressed);
    put(&row, "bytes", r->bytes);
    put(&row, "ram-bytes", r->ram_bytes);
    if (r->bandwidth_window_us) {
        put(&row, "bandwidth", r->bandwidth);
        put(&row, "bandwidth-window-us", r->bandwidth_window_us);
        put(&row, "fits-bytes", r->fits_bytes);
    }
    put(&row, "dirty-start-bytes", r->dirty_start);
    put(&row, "dirty-end-bytes", r->dirty_end);
    put(&row, "dirtied-pages", r->fresh_pages);
    put(&row, "dirty-rate", r->dirty_rate);
    put(&row, "throttle", r->throttle_percent);
    put(&row, "expected-downtime", r->expected_downtime_ms);
    if (r->writes_known)
        put(&row, "guest-writes", r->writes);
    put(&row, "throttled-us", r->throttled_us);
    if (r->slowed_known)
        put(&row, "slowed-us", r->slowed_us);
    g_variant_dict_insert(&row, "verdict", "s", migrate_verdict_name(r->verdict));
    g_variant_dict_insert(&row, "open", "b", (gboolean)r->open);
    return g_variant_dict_end(&row);
}

GVariant *
rounds_tree(const struct migrate_record *r)
{
    GVariantBuilder rows;

    g_variant_builder_init(&rows, G_VARIANT_TYPE("aa{sv}"));
    for (unsigned i = 0; r && i < r->rounds->len; i++)
        g_variant_builder_add_value(&rows, round_row(&g_array_index(r->rounds, struct migrate_round, i)));
    return named("rounds", &rows);
}

/* In at most seven columns: "128.0M", "4096K", "0". */
static char *
short_size(uint64_t bytes)
{
    static const char units[] = "BKMGTPE";
    double number = (double)bytes;
    unsigned unit = 0;

    while (number >= 9999.5 && unit + 1 < sizeof units - 1) {
        number /= 1024;
        unit++;
    }
    return g_strdup_printf(number < 100 && unit ? "%.1f%c" : "%.0f%c", number, units[unit]);
}

static void
add_size(struct table *t, uint64_t bytes)
{
    g_autofree char *size = short_size(bytes);

    table_add_text(t, size);
}

static void
add_number(struct table *t, GVariant *row, const char *key)
{
    table_add(t, "%" G_GUINT64_FORMAT, tree_number(row, key));
}

static double
seconds_at(GVariant *row, const char *key)
{
    return (double)tree_number(row, key) / 1e6;
}

/* Pages a second that the guest wrote, and what it lost: time asleep, and time that writing took longer than
 * before. */
static void
add_guest(struct table *t, GVariant *row)
{
    double seconds = seconds_at(row, "duration-us") + seconds_at(row, "held-us");
    uint64_t writes, slowed = 0;

    if (g_variant_lookup(row, "guest-writes", "t", &writes))
        table_add(t, "%.0f", seconds > 0 ? (double)writes / seconds : 0.0);
    else
        table_add_text(t, "-");
    g_variant_lookup(row, "slowed-us", "t", &slowed);
    table_add(t, "%.1f", (double)(tree_number(row, "throttled-us") + slowed) / 1000);
}

static void
add_bandwidth(struct table *t, GVariant *row)
{
    uint64_t bandwidth;

    if (g_variant_lookup(row, "bandwidth", "t", &bandwidth)) {
        add_size(t, bandwidth);
        table_add(t, "%.0f", (double)tree_number(row, "bandwidth-window-us") / 1000);
    } else {
        table_add_text(t, "-");
        table_add_text(t, "-");
    }
}

static void
add_verdict(struct table *t, GVariant *row)
{
    const char *verdict = "";
    gboolean open = FALSE;

    g_variant_lookup(row, "verdict", "&s", &verdict);
    g_variant_lookup(row, "open", "b", &open);
    table_add(t, "%s%s", verdict, open && !g_str_equal(verdict, "open") ? " (open)" : "");
}

/* What tells how it goes comes first where there is little room. */
static const struct table_column round_columns[] = {
    { "round", 99 }, { "start s", 30 }, { "time s", 85 }, { "zero", 38 }, { "normal", 40 }, { "delta", 42 },
    { "compr", 41 }, { "sent", 75 }, { "line/s", 72 }, { "in ms", 20 }, { "dirty", 70 }, { "left", 80 },
    { "pages/s", 78 }, { "thr", 60 }, { "down", 62 }, { "writes/s", 50 }, { "lost ms", 48 }, { "verdict", 90, true },
};

static void
add_round(struct table *t, GVariant *row)
{
    uint64_t number = tree_number(row, "round"), last;

    if (g_variant_lookup(row, "to-round", "t", &last))
        table_add(t, "%" G_GUINT64_FORMAT "-%" G_GUINT64_FORMAT, number, last);
    else
        table_add(t, "%" G_GUINT64_FORMAT, number);
    table_add(t, "%.3f", seconds_at(row, "start-us"));
    table_add(t, "%.3f", seconds_at(row, "duration-us"));
    add_number(t, row, "zero");
    add_number(t, row, "normal");
    add_number(t, row, "delta");
    add_number(t, row, "compressed");
    add_size(t, tree_number(row, "bytes"));
    add_bandwidth(t, row);
    add_size(t, tree_number(row, "dirty-start-bytes"));
    add_size(t, tree_number(row, "dirty-end-bytes"));
    add_number(t, row, "dirty-rate");
    add_number(t, row, "throttle");
    add_number(t, row, "expected-downtime");
    add_guest(t, row);
    add_verdict(t, row);
}

void
rounds_print(GVariant *tree, unsigned columns, GString *out)
{
    g_autoptr(GVariant) rows = g_variant_lookup_value(tree, "rounds", G_VARIANT_TYPE("aa{sv}"));
    g_autoptr(table) t = table_new(round_columns, G_N_ELEMENTS(round_columns));

    if (g_variant_n_children(rows) == 0) {
        g_string_append(out, "no rounds\n");
        return;
    }
    for (size_t i = 0; i < g_variant_n_children(rows); i++) {
        g_autoptr(GVariant) row = g_variant_get_child_value(rows, i);

        add_round(t, row);
    }
    table_print(t, columns, out);
}

/* --- shares ----------------------------------------------------------------------------------------------------- */

struct group { const char *block; int number; uint64_t pages, remaining, fresh, sent, zero; };

static bool
same_group(const struct group *g, const struct migrate_share *s, char by)
{
    return by == 'b' ? g->block == s->block : g->number == (by == 'n' ? s->node : s->cpu);
}

static int
by_number(const void *a, const void *b)
{
    const struct group *x = a, *y = b;

    return (x->number < 0) != (y->number < 0) ? (x->number < 0) - (y->number < 0) : x->number - y->number;
}

static GArray *
group_shares(const struct migrate_record *r, char by)
{
    GArray *groups = g_array_new(FALSE, TRUE, sizeof(struct group));

    for (unsigned i = 0; i < r->shares->len; i++) {
        const struct migrate_share *s = &g_array_index(r->shares, struct migrate_share, i);
        unsigned at = 0;

        while (at < groups->len && !same_group(&g_array_index(groups, struct group, at), s, by))
            at++;
        if (at == groups->len) {
            struct group g = { .block = s->block, .number = by == 'n' ? s->node : s->cpu };
            g_array_append_val(groups, g);
        }
        struct group *g = &g_array_index(groups, struct group, at);
        g->pages += s->pages;
        g->remaining += s->remaining;
        g->fresh += s->fresh_pages;
        g->sent += s->sent;
        g->zero += s->zero;
    }
    if (by != 'b')
        g_array_sort(groups, by_number);
    return groups;
}

static GVariant *
share_row(const struct migrate_record *r, const struct group *g, char by)
{
    const struct migrate_cpu *c = NULL;
    GVariantDict row;

    g_variant_dict_init(&row, NULL);
    if (by == 'b')
        g_variant_dict_insert_value(&row, "block", text_variant(g->block));
    else if (g->number >= 0)
        put(&row, by == 'n' ? "node" : "vcpu", (uint64_t)g->number);
    put(&row, "pages", g->pages);
    put(&row, "remaining-pages", g->remaining);
    if (r->share_period_us) {
        put(&row, "dirtied-pages", g->fresh);
        put(&row, "period-us", r->share_period_us);
        put(&row, "dirty-rate", g->fresh * 1000000 / r->share_period_us);
    }
    put(&row, "sent-pages", g->sent);
    put(&row, "zero-pages", g->zero);
    if (by == 'v' && g->number >= 0 && (unsigned)g->number < r->cpus->len)
        c = &g_array_index(r->cpus, struct migrate_cpu, g->number);
    if (c && c->writes_known)
        put(&row, "guest-writes", c->writes);
    if (c)
        put(&row, "throttled-us", c->throttled_us);
    return g_variant_dict_end(&row);
}

GVariant *
shares_tree(const struct migrate_record *r, const char *by)
{
    g_autoptr(GArray) groups = r ? group_shares(r, by[0]) : NULL;
    GVariantBuilder rows;

    g_variant_builder_init(&rows, G_VARIANT_TYPE("aa{sv}"));
    for (unsigned i = 0; groups && i < groups->len; i++)
        g_variant_builder_add_value(&rows, share_row(r, &g_array_index(groups, struct group, i), by[0]));
    return named(by, &rows);
}

static char *
share_name(GVariant *row)
{
    const char *block;
    uint64_t number;

    if (g_variant_lookup(row, "block", "&s", &block))
        return g_strdup(block);
    if (g_variant_lookup(row, "node", "t", &number))
        return g_strdup_printf("node %" G_GUINT64_FORMAT, number);
    if (g_variant_lookup(row, "vcpu", "t", &number))
        return g_strdup_printf("vcpu %" G_GUINT64_FORMAT, number);
    return g_strdup("none");
}

static const struct table_column share_columns[] = {
    { "pages of", 99, true }, { "in all", 70 }, { "remaining", 90 }, { "dirtied/s", 80 }, { "sent", 50 },
    { "zero", 60 }, { "writes", 40 }, { "asleep ms", 30 },
};
enum { SHARE_COLUMNS = G_N_ELEMENTS(share_columns), SHARE_CPU_COLUMNS = 2 };

/* Of vCPUs two columns more. */
static void
add_share(struct table *t, GVariant *row, bool vcpus)
{
    g_autofree char *name = share_name(row);
    uint64_t sent = tree_number(row, "sent-pages"), number;

    table_add_text(t, name);
    add_number(t, row, "pages");
    add_number(t, row, "remaining-pages");
    if (g_variant_lookup(row, "dirty-rate", "t", &number))
        table_add(t, "%" G_GUINT64_FORMAT, number);
    else
        table_add_text(t, "-");
    add_number(t, row, "sent-pages");
    table_add(t, "%.1f%%", sent ? (double)tree_number(row, "zero-pages") * 100 / (double)sent : 0.0);
    if (!vcpus)
        return;
    if (g_variant_lookup(row, "guest-writes", "t", &number))
        table_add(t, "%" G_GUINT64_FORMAT, number);
    else
        table_add_text(t, "");
    if (g_variant_lookup(row, "throttled-us", "t", &number))
        table_add(t, "%.1f", (double)number / 1000);
    else
        table_add_text(t, "");
}

void
shares_print(GVariant *tree, unsigned columns, GString *out)
{
    static const char *const names[] = { "nodes", "blocks", "vcpus" };
    g_autoptr(GVariant) rows = NULL;
    bool vcpus = false;

    for (unsigned i = 0; !rows && i < G_N_ELEMENTS(names); i++) {
        rows = g_variant_lookup_value(tree, names[i], G_VARIANT_TYPE("aa{sv}"));
        vcpus = g_str_equal(names[i], "vcpus");
    }
    if (!rows || g_variant_n_children(rows) == 0) {
        g_string_append(out, "no pages were looked at\n");
        return;
    }
    g_autoptr(table) t = table_new(share_columns, SHARE_COLUMNS - (vcpus ? 0 : SHARE_CPU_COLUMNS));
    for (size_t i = 0; i < g_variant_n_children(rows); i++) {
        g_autoptr(GVariant) row = g_variant_get_child_value(rows, i);

        add_share(t, row, vcpus);
    }
    table_print(t, columns, out);
}
