/* SPDX-License-Identifier: GPL-3.0-or-later */
/* `info host_numa`: the host below, laid out as `info numa` lays out the guest.  `info numa_usage`: what the guest's
 * nodes use of it. */
#include <string.h>

#include "monitor-private.h"

static GVariant *
cpu_list(const uint64_t *cpus)
{
    GVariantBuilder list;

    g_variant_builder_init(&list, G_VARIANT_TYPE("au"));
    for (unsigned cpu = 0; cpu < HOST_CPUS; cpu++) {
        if (bit_test(cpus, cpu))
            g_variant_builder_add(&list, "u", cpu);
    }
    return g_variant_builder_end(&list);
}

/* By size: bytes of a page, pages free, pages in all. */
static GVariant *
huge_list(unsigned node)
{
    struct host_huge_pool pools[HOST_HUGE_POOLS];
    unsigned count = host_huge_pools((int)node, pools, HOST_HUGE_POOLS);
    GVariantBuilder list;

    g_variant_builder_init(&list, G_VARIANT_TYPE("a(ttt)"));
    for (unsigned i = 0; i < count; i++)
        g_variant_builder_add(&list, "(ttt)", pools[i].page_size, pools[i].free, pools[i].total);
    return g_variant_builder_end(&list);
}

static GVariant *
host_node_tree(unsigned node, const uint64_t *nodes)
{
    GVariantBuilder dict, distances;
    struct host_node host;

    host_node_read(node, &host);
    g_variant_builder_init(&distances, G_VARIANT_TYPE("au"));
    for (unsigned to = 0; to < HOST_NODES; to++) {
        if (bit_test(nodes, to))
            g_variant_builder_add(&distances, "u", host_distance(node, to));
    }
    g_variant_builder_init(&dict, G_VARIANT_TYPE_VARDICT);
    g_variant_builder_add(&dict, "{sv}", "id", g_variant_new_uint32(node));
    g_variant_builder_add(&dict, "{sv}", "cpus", cpu_list(host.cpus));
    g_variant_builder_add(&dict, "{sv}", "size", g_variant_new_uint64(host.total));
    g_variant_builder_add(&dict, "{sv}", "free", g_variant_new_uint64(host.free));
    g_variant_builder_add(&dict, "{sv}", "huge-pages", huge_list(node));
    g_variant_builder_add(&dict, "{sv}", "distances", g_variant_builder_end(&distances));
    return g_variant_builder_end(&dict);
}

static GVariant *
host_numa_get(struct monitor *m, const struct values *args, GError **error)
{
    uint64_t nodes[WORDS_FOR(HOST_NODES)];
    GVariantBuilder tree, list;

    host_nodes(nodes);
    g_variant_builder_init(&list, G_VARIANT_TYPE("aa{sv}"));
    for (unsigned node = 0; node < HOST_NODES; node++) {
        if (bit_test(nodes, node))
            g_variant_builder_add_value(&list, host_node_tree(node, nodes));
    }
    g_variant_builder_init(&tree, G_VARIANT_TYPE_VARDICT);
    g_variant_builder_add(&tree, "{sv}", "nodes", g_variant_builder_end(&list));
    return g_variant_builder_end(&tree);
}

static void
print_host_node(GVariant *node, guint32 id, GString *out)
{
    g_autoptr(GVariant) cpus = g_variant_lookup_value(node, "cpus", G_VARIANT_TYPE("au"));
    g_autoptr(GVariant) huge = g_variant_lookup_value(node, "huge-pages", G_VARIANT_TYPE("a(ttt)"));
    guint64 size = 0, unused = 0, page, pages_free, pages;
    GVariantIter i;
    guint32 cpu;

    g_variant_lookup(node, "size", "t", &size);
    g_variant_lookup(node, "free", "t", &unused);
    g_string_append_printf(out, "node %u cpus:", id);
    g_variant_iter_init(&i, cpus);
    while (g_variant_iter_next(&i, "u", &cpu))
        g_string_append_printf(out, " %u", cpu);
    g_string_append_printf(out, "\nnode %u size: %" G_GUINT64_FORMAT " MB\nnode %u free: %" G_GUINT64_FORMAT " MB\n",
                           id, size / MIB, id, unused / MIB);
    g_variant_iter_init(&i, huge);
    while (g_variant_iter_next(&i, "(ttt)", &page, &pages_free, &pages)) {
        g_autofree char *text = size_format(page);

        g_string_append_printf(out, "node %u huge pages of %s: %" G_GUINT64_FORMAT " of %" G_GUINT64_FORMAT " free\n",
                               id, text, pages_free, pages);
    }
}

/* A row a node from which, a column a node to which. */
static void
print_host_distances(GVariant *nodes, const guint32 *ids, gsize count, GString *out)
{
    g_string_append(out, "distances:\nnode");
    for (gsize i = 0; i < count; i++)
        g_string_append_printf(out, " %5u", ids[i]);
    for (gsize row = 0; row < count; row++) {
        g_autoptr(GVariant) node = g_variant_get_child_value(nodes, row);
        g_autoptr(GVariant) distances = g_variant_lookup_value(node, "distances", G_VARIANT_TYPE("au"));

        g_string_append_printf(out, "\n%3u:", ids[row]);
        for (gsize column = 0; column < count; column++) {
            guint32 value;

            g_variant_get_child(distances, column, "u", &value);
            g_string_append_printf(out, value ? " %5u" : "     ?", value);
        }
    }
    g_string_append_c(out, '\n');
}

static void
host_numa_print(GVariant *tree, GString *out)
{
    g_autoptr(GVariant) nodes = g_variant_lookup_value(tree, "nodes", G_VARIANT_TYPE("aa{sv}"));
    gsize count = g_variant_n_children(nodes);
    g_autofree guint32 *ids = g_new0(guint32, count + 1);

    g_string_append_printf(out, "%" G_GSIZE_FORMAT " host node%s\n", count, count == 1 ? "" : "s");
    for (gsize i = 0; i < count; i++) {
        g_autoptr(GVariant) node = g_variant_get_child_value(nodes, i);

        g_variant_lookup(node, "id", "u", &ids[i]);
        print_host_node(node, ids[i], out);
    }
    print_host_distances(nodes, ids, count, out);
}

/* --- numa_usage ------------------------------------------------------------------------------------------------- */

enum { USAGE_SAMPLES };
enum { SAMPLES_MOST = 1 << 20 };
static const struct property usage_args[] = {
    [USAGE_SAMPLES] = { "-s", PROPERTY_UINT, .min = 1, .max = SAMPLES_MOST, .value_default = "512", .unit = "pages",
                        .help = "pages a node whose place on the host is asked for" },
    { 0 }
};

/* A measurement under way; lives until the machine reports, even if its call has gone. */
struct usage { struct call *call; };

static GVariant *
places_tree(const struct memory_places *p)
{
    GVariantBuilder list;

    g_variant_builder_init(&list, G_VARIANT_TYPE("a(ut)"));
    for (unsigned node = 0; node < HOST_NODES; node++) {
        if (p->on_node[node])
            g_variant_builder_add(&list, "(ut)", node, p->on_node[node]);
    }
    return g_variant_builder_end(&list);
}

/* By backend: its id, policy, host nodes, and samples that lie elsewhere. */
static GVariant *
policies_tree(const struct node_usage *u)
{
    GVariantBuilder list;

    g_variant_builder_init(&list, G_VARIANT_TYPE("a(ssst)"));
    for (unsigned i = 0; i < u->placements->len; i++) {
        const struct placement *p = &g_array_index(u->placements, struct placement, i);
        g_autofree char *nodes = list_format(p->backend->host_nodes, HOST_NODES);

        g_variant_builder_add(&list, "(ssst)", p->backend->id, host_policy_names[p->backend->policy], nodes,
                              p->misplaced);
    }
    return g_variant_builder_end(&list);
}

static GVariant *
usage_tree(const struct node_usage *u)
{
    GVariantBuilder dict;

    g_variant_builder_init(&dict, G_VARIANT_TYPE_VARDICT);
    g_variant_builder_add(&dict, "{sv}", "node", g_variant_new_int32(u->node));
    g_variant_builder_add(&dict, "{sv}", "size", g_variant_new_uint64(u->size));
    g_variant_builder_add(&dict, "{sv}", "plugged", g_variant_new_uint64(u->plugged));
    g_variant_builder_add(&dict, "{sv}", "resident", g_variant_new_uint64(u->memory.resident));
    g_variant_builder_add(&dict, "{sv}", "swapped", g_variant_new_uint64(u->memory.swapped));
    if (!u->memory.huge_unknown)
        g_variant_builder_add(&dict, "{sv}", "huge", g_variant_new_uint64(u->memory.huge));
    g_variant_builder_add(&dict, "{sv}", "dirty-rate", g_variant_new_uint64(u->dirty_rate));
    g_variant_builder_add(&dict, "{sv}", "samples", g_variant_new_uint64(u->places.asked));
    g_variant_builder_add(&dict, "{sv}", "present", g_variant_new_uint64(u->places.found));
    g_variant_builder_add(&dict, "{sv}", "places", places_tree(&u->places));
    g_variant_builder_add(&dict, "{sv}", "policies", policies_tree(u));
    return g_variant_builder_end(&dict);
}

static void
usage_done(void *self, const GArray *nodes, const GError *error)
{
    struct usage *usage = self;
    struct call *call = usage->call;
    GVariantBuilder list;

    g_free(usage);
    if (!call)
        return;
    call->data = NULL;
    call->data_free = NULL;
    g_variant_builder_init(&list, G_VARIANT_TYPE("aa{sv}"));
    for (unsigned i = 0; i < nodes->len; i++)
        g_variant_builder_add_value(&list, usage_tree(&((const struct node_usage *)(const void *)nodes->data)[i]));
    info_finish(call, info_find("numa_usage"), g_variant_builder_end(&list), error);
}

static void
usage_forget_call(void *data)
{
    struct usage *usage = data;

    usage->call = NULL;
}

static enum outcome
usage_begin(struct call *call, const struct values *args, GError **error)
{
    struct usage *usage = g_new(struct usage, 1);

    usage->call = call;
    if (!machine_measure_usage(call->monitor->machine, args->at[USAGE_SAMPLES].number, usage_done, usage, error)) {
        g_free(usage);
        return COMMAND_FAILED;
    }
    call->data = usage;
    call->data_free = usage_forget_call;
    return COMMAND_PENDING;
}

static guint64
usage_number(GVariant *row, const char *key)
{
    guint64 number = 0;

    g_variant_lookup(row, key, "t", &number);
    return number;
}

/* Backends are named where a node has several. */
static void
print_policies(GVariant *row, GString *out)
{
    g_autoptr(GVariant) policies = g_variant_lookup_value(row, "policies", G_VARIANT_TYPE("a(ssst)"));
    const char *id, *policy, *nodes;
    guint64 misplaced;
    GVariantIter i;
    bool several = g_variant_n_children(policies) > 1, first = true;

    g_variant_iter_init(&i, policies);
    while (g_variant_iter_next(&i, "(&s&s&st)", &id, &policy, &nodes, &misplaced)) {
        g_string_append_printf(out, "%s %s%s%s%s%s", first ? "; policy" : ",", several ? id : "", several ? " " : "",
                               policy, *nodes ? " " : "", nodes);
        if (misplaced)
            g_string_append_printf(out, " (%" G_GUINT64_FORMAT " MISPLACED)", misplaced);
        first = false;
    }
}

static void
print_places(GVariant *row, const char *name, GString *out)
{
    g_autoptr(GVariant) places = g_variant_lookup_value(row, "places", G_VARIANT_TYPE("a(ut)"));
    guint64 pages;
    GVariantIter i;
    guint32 node;

    g_string_append_printf(out, "%s places:", name);
    g_variant_iter_init(&i, places);
    while (g_variant_iter_next(&i, "(ut)", &node, &pages))
        g_string_append_printf(out, " %" G_GUINT64_FORMAT " on host node %u,", pages, node);
    g_string_append_printf(out, " %" G_GUINT64_FORMAT " absent of %" G_GUINT64_FORMAT " sampled",
                           usage_number(row, "samples") - usage_number(row, "present"), usage_number(row, "samples"));
    print_policies(row, out);
    g_string_append_c(out, '\n');
}

static void
print_usage(GVariant *row, GString *out)
{
    static const char *const sizes[] = { "size", "plugged", "resident", "swapped" };
    g_autofree char *name = NULL;
    gint32 node = -1;
    guint64 huge;

    g_variant_lookup(row, "node", "i", &node);
    name = node < 0 ? g_strdup("RAM") : g_strdup_printf("node %d", node);
    for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++)
        g_string_append_printf(out, "%s %s: %" G_GUINT64_FORMAT " kB\n", name, sizes[i],
                               usage_number(row, sizes[i]) / KIB);
    if (g_variant_lookup(row, "huge", "t", &huge))
        g_string_append_printf(out, "%s huge pages: %" G_GUINT64_FORMAT " kB\n", name, huge / KIB);
    else
        g_string_append_printf(out, "%s huge pages: not known to this host's kernel\n", name);
    g_string_append_printf(out, "%s dirty rate: %" G_GUINT64_FORMAT " pages/s\n", name,
                           usage_number(row, "dirty-rate"));
    print_places(row, name, out);
}

static void
usage_print(GVariant *tree, GString *out)
{
    for (gsize i = 0; i < g_variant_n_children(tree); i++) {
        g_autoptr(GVariant) row = g_variant_get_child_value(tree, i);

        print_usage(row, out);
    }
}

const struct info_item info_memory_items[] = {
    { "host_numa", "show the host's nodes, their memory and distances", WHEN_ALWAYS, NULL, .get = host_numa_get,
      .print = host_numa_print },
    { "numa_usage", "show what each node uses of the host; takes a second", WHEN_BUILT, usage_args,
      .begin = usage_begin, .print = usage_print },
    { "numa_latency", "measure how near each node is to each vCPU", WHEN_BUILT, latency_args, .begin = latency_begin,
      .print = latency_print },
    { 0 }
};
