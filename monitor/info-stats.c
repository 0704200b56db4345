/* SPDX-License-Identifier: GPL-3.0-or-later */
/* `info exits`: what vCPUs leave their guest for.  `info stats`: what the accelerator counts itself, in QEMU's
 * layout.  Both show rates from the second look on. */
#include "monitor-private.h"

#include <inttypes.h>
#include <string.h>

enum { EXITS_MOST = 64 };

/* --- exits ------------------------------------------------------------------------------------------------------ */

static GVariant *
exit_tree(struct monitor *m, const char *who, const struct exit_count *e)
{
    g_autofree char *name = g_strconcat("exits ", who, " ", e->name, NULL);
    GVariantBuilder dict;
    double rate;

    g_variant_builder_init(&dict, G_VARIANT_TYPE_VARDICT);
    g_variant_builder_add(&dict, "{sv}", "reason", g_variant_new_string(e->name));
    g_variant_builder_add(&dict, "{sv}", "help", g_variant_new_string(e->help));
    g_variant_builder_add(&dict, "{sv}", "count", g_variant_new_uint64(e->count));
    g_variant_builder_add(&dict, "{sv}", "host-ns", g_variant_new_uint64(e->host_ns));
    if (look_rate(m, name, e->count, &rate))
        g_variant_builder_add(&dict, "{sv}", "rate", g_variant_new_double(rate));
    return g_variant_builder_end(&dict);
}

/* Those that happened; 'all' takes them up. */
static GVariant *
cpu_exits(struct monitor *m, unsigned cpu, const struct exit_count *counts, unsigned n, struct exit_count *all)
{
    g_autofree char *who = g_strdup_printf("%u", cpu);
    GVariantBuilder list;

    g_variant_builder_init(&list, G_VARIANT_TYPE("aa{sv}"));
    for (unsigned i = 0; i < n; i++) {
        all[i].name = counts[i].name;
        all[i].help = counts[i].help;
        all[i].count += counts[i].count;
        all[i].host_ns += counts[i].host_ns;
        if (counts[i].count)
            g_variant_builder_add_value(&list, exit_tree(m, who, &counts[i]));
    }
    return g_variant_builder_end(&list);
}

static GVariant *
all_exits(struct monitor *m, const struct exit_count *all, unsigned n)
{
    GVariantBuilder list;

    g_variant_builder_init(&list, G_VARIANT_TYPE("aa{sv}"));
    for (unsigned i = 0; i < n; i++)
        if (all[i].count)
            g_variant_builder_add_value(&list, exit_tree(m, "all", &all[i]));
    return g_variant_builder_end(&list);
}

enum { EXITS_P_ALL };
static const struct property exits_args[] = {
    [EXITS_P_ALL] = { "-a", PROPERTY_FLAG, .help = "of each CPU, not only of all together" },
    { 0 }
};

static GVariant *
exits_get(struct monitor *m, const struct values *args, GError **error)
{
    const struct topology_final *t = machine_topology(m->machine);
    struct exit_count all[EXITS_MOST] = { 0 }, counts[EXITS_MOST];
    GVariantBuilder tree, cpus;
    unsigned n = 0;

    g_variant_builder_init(&cpus, G_VARIANT_TYPE("a{uaa{sv}}"));
    for (unsigned cpu = 0; cpu < TOPOLOGY_CPUS; cpu++) {
        if (!topology_has_cpu(t, cpu))
            continue;
        n = MIN(machine_exits(m->machine, cpu, counts, EXITS_MOST), EXITS_MOST);
        g_variant_builder_add(&cpus, "{u@aa{sv}}", cpu, cpu_exits(m, cpu, counts, n, all));
    }
    g_variant_builder_init(&tree, G_VARIANT_TYPE_VARDICT);
    g_variant_builder_add(&tree, "{sv}", "all", all_exits(m, all, n));
    if (args->at[EXITS_P_ALL].set)
        g_variant_builder_add(&tree, "{sv}", "cpus", g_variant_builder_end(&cpus));
    else
        g_variant_builder_clear(&cpus);
    return g_variant_builder_end(&tree);
}

static void
print_exits(GVariant *list, const char *who, GString *out)
{
    g_string_append_printf(out, "%-16s %12s %12s %14s %12s\n", who, "count", "per second", "time in host", "each");
    for (gsize i = 0; i < g_variant_n_children(list); i++) {
        g_autoptr(GVariant) e = g_variant_get_child_value(list, i);
        guint64 count = 0, ns = 0;
        const char *reason = "";
        double rate;

        g_variant_lookup(e, "reason", "&s", &reason);
        g_variant_lookup(e, "count", "t", &count);
        g_variant_lookup(e, "host-ns", "t", &ns);
        g_string_append_printf(out, "  %-14s %12" G_GUINT64_FORMAT, reason, count);
        if (g_variant_lookup(e, "rate", "d", &rate))
            g_string_append_printf(out, " %12.0f", rate);
        else
            g_string_append_printf(out, " %12s", "-");
        g_string_append_printf(out, " %11.3f ms %9.3f us\n", (double)ns / 1e6,
                               (double)ns / 1e3 / (double)MAX(count, 1));
    }
}

static void
exits_print(GVariant *tree, GString *out)
{
    g_autoptr(GVariant) all = g_variant_lookup_value(tree, "all", G_VARIANT_TYPE("aa{sv}"));
    g_autoptr(GVariant) cpus = g_variant_lookup_value(tree, "cpus", G_VARIANT_TYPE("a{uaa{sv}}"));

    if (g_variant_n_children(all) == 0) {
        g_string_append(out, "no vCPU has left its guest\n");
        return;
    }
    print_exits(all, "all CPUs", out);
    for (gsize i = 0; cpus && i < g_variant_n_children(cpus); i++) {
        g_autoptr(GVariant) list = NULL;
        g_autofree char *who = NULL;
        guint32 cpu;

        g_variant_get_child(cpus, i, "{u@aa{sv}}", &cpu, &list);
        who = g_strdup_printf("CPU %u", cpu);
        print_exits(list, who, out);
    }
}

/* --- stats ------------------------------------------------------------------------------------------------------ */

static const char *const targets[] = { "vm", "vcpu", NULL };
enum { STATS_P_TARGET };
static const struct property stats_args[] = {
    [STATS_P_TARGET] = { "target", PROPERTY_CHOICE, .choices = targets, .required = true,
                         .help = "vm: of all; vcpu: of the current CPU" },
    { 0 }
};

/* The same with a rate for what only grows, from the second look on. */
static GVariant *
with_rate(struct monitor *m, const char *who, GVariant *one)
{
    g_auto(GVariantDict) dict = G_VARIANT_DICT_INIT(one);
    g_autoptr(GVariant) values = g_variant_lookup_value(one, "values", G_VARIANT_TYPE("at"));
    g_autofree char *key = NULL;
    const char *name = "", *kind = "";
    guint64 value;
    double rate;

    g_variant_lookup(one, "name", "&s", &name);
    g_variant_lookup(one, "kind", "&s", &kind);
    key = g_strconcat("stats ", who, " ", name, NULL);
    if (strcmp(kind, "cumulative") == 0 && g_variant_n_children(values) == 1) {
        g_variant_get_child(values, 0, "t", &value);
        if (look_rate(m, key, value, &rate))
            g_variant_dict_insert(&dict, "rate", "d", rate);
    }
    return g_variant_dict_end(&dict);
}

static GVariant *
with_rates(struct monitor *m, const char *who, GVariant *list)
{
    GVariantBuilder to;

    g_variant_builder_init(&to, G_VARIANT_TYPE("aa{sv}"));
    for (gsize i = 0; i < g_variant_n_children(list); i++) {
        g_autoptr(GVariant) one = g_variant_get_child_value(list, i);

        g_variant_builder_add_value(&to, with_rate(m, who, one));
    }
    return g_variant_builder_end(&to);
}

static GVariant *
stats_get(struct monitor *m, const struct values *args, GError **error)
{
    bool of_cpu = args->at[STATS_P_TARGET].number == 1;
    int cpu = of_cpu ? (int)monitor_cpu(m) : -1;
    g_autofree char *who = g_strdup_printf("%d", cpu);
    g_autoptr(GVariant) plain = NULL;
    GVariantBuilder list, tree;
    const char *provider;

    g_variant_builder_init(&list, G_VARIANT_TYPE("aa{sv}"));
    if (!machine_stats(m->machine, cpu, &list, &provider, error)) {
        g_variant_builder_clear(&list);
        return NULL;
    }
    plain = g_variant_ref_sink(g_variant_builder_end(&list));
    g_variant_builder_init(&tree, G_VARIANT_TYPE_VARDICT);
    g_variant_builder_add(&tree, "{sv}", "provider", g_variant_new_string(provider));
    if (of_cpu)
        g_variant_builder_add(&tree, "{sv}", "cpu", g_variant_new_uint32((guint32)cpu));
    g_variant_builder_add(&tree, "{sv}", "stats", with_rates(m, who, plain));
    return g_variant_builder_end(&tree);
}

/* "seconds", "ns", "* 10^-8 s", "KiB": a unit and its scale as QEMU spells them. */
static char *
spell_unit(GVariant *one)
{
    static const char *const prefixes[] = { "n", "u", "m", "", "k", "M", "G", "T" };
    static const char *const binary[] = { "", "Ki", "Mi", "Gi", "Ti" };
    const char *unit = "", *letter;
    gint32 exponent = 0;
    guint32 base = 10;

    g_variant_lookup(one, "unit", "&s", &unit);
    g_variant_lookup(one, "exponent", "i", &exponent);
    g_variant_lookup(one, "base", "u", &base);
    letter = strcmp(unit, "seconds") == 0 ? "s" : strcmp(unit, "bytes") == 0 ? "B" : unit;
    if (!*unit && !exponent)
        return g_strdup("");
    if (base == 10 && exponent % 3 == 0 && exponent >= -9 && exponent <= 12 && strlen(letter) == 1)
        return g_strdup_printf(", %s%s", prefixes[exponent / 3 + 3], letter);
    if (base == 2 && exponent % 10 == 0 && exponent >= 0 && exponent <= 40 && strlen(letter) == 1)
        return g_strdup_printf(", %s%s", binary[exponent / 10], letter);
    return exponent ? g_strdup_printf(", * %u^%d%s%s", base, exponent, *unit ? " " : "", letter)
                    : g_strdup_printf(", %s", letter);
}

static void
print_values(GVariant *one, GString *out)
{
    g_autoptr(GVariant) values = g_variant_lookup_value(one, "values", G_VARIANT_TYPE("at"));
    gsize count = g_variant_n_children(values);

    for (gsize i = 0; i < count; i++) {
        guint64 value;

        g_variant_get_child(values, i, "t", &value);
        g_string_append_printf(out, "%s%" G_GUINT64_FORMAT, i ? " " : count > 1 ? "[" : "", value);
    }
    g_string_append(out, count > 1 ? "]" : "");
}

static void
print_one(GVariant *one, GString *out)
{
    g_autofree char *unit = spell_unit(one);
    const char *name = "", *kind = "";
    guint32 bucket = 0;
    double rate;

    g_variant_lookup(one, "name", "&s", &name);
    g_variant_lookup(one, "kind", "&s", &kind);
    g_variant_lookup(one, "bucket-size", "u", &bucket);
    g_string_append_printf(out, "    %s (%s%s", name, kind, unit);
    if (strcmp(kind, "linear-histogram") == 0)
        g_string_append_printf(out, ", bucket size=%u", bucket);
    g_string_append(out, "): ");
    print_values(one, out);
    if (g_variant_lookup(one, "rate", "d", &rate))
        g_string_append_printf(out, " (%.0f/s)", rate);
    g_string_append_c(out, '\n');
}

static void
stats_print(GVariant *tree, GString *out)
{
    g_autoptr(GVariant) list = g_variant_lookup_value(tree, "stats", G_VARIANT_TYPE("aa{sv}"));
    const char *provider = "";

    g_variant_lookup(tree, "provider", "&s", &provider);
    g_string_append_printf(out, "provider: %s\n", provider);
    for (gsize i = 0; i < g_variant_n_children(list); i++) {
        g_autoptr(GVariant) one = g_variant_get_child_value(list, i);

        print_one(one, out);
    }
}

const struct info_item info_stats_items[] = {
    { "exits", "show why vCPUs left their guest, and how often", WHEN_BUILT, exits_args, exits_get, exits_print },
    { "stats", "show what the accelerator counts", WHEN_BUILT, stats_args, stats_get, stats_print },
    { 0 }
};
