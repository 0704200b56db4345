/* SPDX-License-Identifier: GPL-3.0-or-later */
/* `info host_numa`: the host below, laid out as `info numa` lays out the guest. */
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
    g_string_append_printf(out, "\nnode %u size: %" G_GUINT64_FORMAT " MB\nnode %u free: %" G_GUINT64_FORMAT " MB\n", id,
                           size / MIB, id, unused / MIB);
    g_variant_iter_init(&i, huge);
    while (g_variant_iter_next(&i, "(ttt)", &page, &pages_free, &pages)) {
        g_autofree char *text = size_format(page);

        g_string_append_printf(out, "node %u huge pages of %s: %" G_GUINT64_FORMAT " of %" G_GUINT64_FORMAT " free\n", id,
                               text, pages_free, pages);
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

const struct info_item info_memory_items[] = {
    { "host_numa", "show the host's nodes, their memory and distances", WHEN_ALWAYS, NULL, host_numa_get,
      host_numa_print },
    { 0 }
};
