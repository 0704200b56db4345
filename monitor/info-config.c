/* SPDX-License-Identifier: GPL-3.0-or-later */
/* `info` of what the machine is made of: nodes, distances, memory.  In preconfig it shows what will be built.
 * Layouts are QEMU 7.2's; what QEMU does not show in them (distances, defaults in preconfig) follows after. */
#include <string.h>

#include "monitor-private.h"

/* --- numa ------------------------------------------------------------------------------------------------------- */

/* One node of either kind of topology, ready to show. */
struct shown_node {
    unsigned id;
    uint64_t size, plugged;         /* bytes; 'size' without what is plugged */
};

static GVariant *
node_tree(const struct shown_node *n, const int *cpu_node, const uint64_t *present)
{
    GVariantBuilder dict, cpus;

    g_variant_builder_init(&cpus, G_VARIANT_TYPE("au"));
    for (unsigned cpu = 0; cpu < TOPOLOGY_CPUS; cpu++) {
        if (bit_test(present, cpu) && cpu_node[cpu] == (int)n->id)
            g_variant_builder_add(&cpus, "u", cpu);
    }
    g_variant_builder_init(&dict, G_VARIANT_TYPE_VARDICT);
    g_variant_builder_add(&dict, "{sv}", "id", g_variant_new_uint32(n->id));
    g_variant_builder_add(&dict, "{sv}", "cpus", g_variant_builder_end(&cpus));
    g_variant_builder_add(&dict, "{sv}", "size", g_variant_new_uint64(n->size));
    g_variant_builder_add(&dict, "{sv}", "plugged", g_variant_new_uint64(n->plugged));
    return g_variant_builder_end(&dict);
}

static uint64_t
pending_size(const struct definition *d, const struct node *n)
{
    const struct backend_options *backend;

    if (n->has_mem)
        return n->mem;
    backend = n->memdev[0] ? definition_backend(d, n->memdev) : NULL;
    return backend ? backend->size : 0;
}

static void
add_pending_nodes(GVariantBuilder *nodes, const struct definition *d)
{
    g_autofree struct topology *t = g_new(struct topology, 1);
    uint64_t present[WORDS_FOR(TOPOLOGY_CPUS)];
    int cpu_node[TOPOLOGY_CPUS];

    definition_topology(d, t);
    definition_cpus(d, present);
    for (unsigned cpu = 0; cpu < TOPOLOGY_CPUS; cpu++)
        cpu_node[cpu] = bit_test(present, cpu) ? topology_cpu_node(t, cpu) : -1;
    for (unsigned i = 0; i < t->node_count; i++) {
        unsigned id = t->node_order[i];
        struct shown_node n = { id, pending_size(d, &t->nodes[id]), definition_plugged(d, (int)id) };

        g_variant_builder_add_value(nodes, node_tree(&n, cpu_node, present));
    }
}

static void
add_final_nodes(GVariantBuilder *nodes, const struct definition *d, const struct topology_final *t)
{
    int cpu_node[TOPOLOGY_CPUS];

    for (unsigned cpu = 0; cpu < TOPOLOGY_CPUS; cpu++)
        cpu_node[cpu] = t->cpu_node[cpu];
    for (unsigned id = 0; id < t->node_count; id++) {
        struct shown_node n = { id, t->node_size[id], definition_plugged(d, (int)id) };

        g_variant_builder_add_value(nodes, node_tree(&n, cpu_node, t->present));
    }
}

/* Fills one row each of values (0: missing) and of marks; the columns are the nodes in 'order'. */
static void
pending_row(const struct topology *t, unsigned src, GVariantBuilder *rows, GVariantBuilder *mirrored)
{
    g_variant_builder_open(rows, G_VARIANT_TYPE("au"));
    g_variant_builder_open(mirrored, G_VARIANT_TYPE("ab"));
    for (unsigned i = 0; i < t->node_count; i++) {
        unsigned value = 0;
        enum distance_kind kind = topology_distance(t, src, t->node_order[i], &value);

        g_variant_builder_add(rows, "u", kind == DISTANCE_MISSING ? 0 : value);
        g_variant_builder_add(mirrored, "b", kind == DISTANCE_MIRRORED);
    }
    g_variant_builder_close(rows);
    g_variant_builder_close(mirrored);
}

static void
final_row(const struct topology_final *t, unsigned src, GVariantBuilder *rows, GVariantBuilder *mirrored)
{
    g_variant_builder_open(rows, G_VARIANT_TYPE("au"));
    g_variant_builder_open(mirrored, G_VARIANT_TYPE("ab"));
    for (unsigned dst = 0; dst < t->node_count; dst++) {
        g_variant_builder_add(rows, "u", t->distance[src][dst]);
        g_variant_builder_add(mirrored, "b", FALSE);
    }
    g_variant_builder_close(rows);
    g_variant_builder_close(mirrored);
}

static void
add_distances(GVariantBuilder *tree, const struct topology *pending, const struct topology_final *final)
{
    GVariantBuilder rows, mirrored;
    unsigned count = final ? final->node_count : pending->node_count;

    g_variant_builder_init(&rows, G_VARIANT_TYPE("aau"));
    g_variant_builder_init(&mirrored, G_VARIANT_TYPE("aab"));
    for (unsigned i = 0; i < count; i++) {
        if (final)
            final_row(final, i, &rows, &mirrored);
        else
            pending_row(pending, pending->node_order[i], &rows, &mirrored);
    }
    g_variant_builder_add(tree, "{sv}", "distances", g_variant_builder_end(&rows));
    g_variant_builder_add(tree, "{sv}", "mirrored", g_variant_builder_end(&mirrored));
}

/* "nodes"; with distances also "distances" and "mirrored", matrices by the nodes' place in "nodes". */
static GVariant *
numa_get(struct monitor *m, const struct values *args, GError **error)
{
    const struct definition *d = machine_definition(m->machine);
    const struct topology_final *final = machine_topology(m->machine);
    GVariantBuilder tree, nodes;

    g_variant_builder_init(&nodes, G_VARIANT_TYPE("aa{sv}"));
    if (final)
        add_final_nodes(&nodes, d, final);
    else
        add_pending_nodes(&nodes, d);
    g_variant_builder_init(&tree, G_VARIANT_TYPE_VARDICT);
    g_variant_builder_add(&tree, "{sv}", "nodes", g_variant_builder_end(&nodes));
    if (final ? final->has_distances : topology_has_distances(&d->topology))
        add_distances(&tree, &d->topology, final);
    return g_variant_builder_end(&tree);
}

static void
print_node(GVariant *node, GString *out)
{
    g_autoptr(GVariant) cpus = g_variant_lookup_value(node, "cpus", G_VARIANT_TYPE("au"));
    guint32 id = 0, cpu;
    guint64 size = 0, plugged = 0;
    GVariantIter i;

    g_variant_lookup(node, "id", "u", &id);
    g_variant_lookup(node, "size", "t", &size);
    g_variant_lookup(node, "plugged", "t", &plugged);
    g_string_append_printf(out, "node %u cpus:", id);
    g_variant_iter_init(&i, cpus);
    while (g_variant_iter_next(&i, "u", &cpu))
        g_string_append_printf(out, " %u", cpu);
    g_string_append_printf(out, "\nnode %u size: %" G_GUINT64_FORMAT " MB\n", id, (size + plugged) / MIB);
    g_string_append_printf(out, "node %u plugged: %" G_GUINT64_FORMAT " MB\n", id, plugged / MIB);
}

static void
print_distance(unsigned value, bool mirrored, GString *out)
{
    g_autofree char *text = NULL;

    if (value == 0)
        text = g_strdup("?");
    else
        text = g_strdup_printf(mirrored ? "(%u)" : "%u", value);
    g_string_append_printf(out, " %5s", text);
}

/* A row a source node, a column a destination node. */
static void
print_distances(const guint32 *ids, gsize count, GVariant *rows, GVariant *mirrored, GString *out)
{
    g_string_append(out, "distances:\nnode");
    for (gsize i = 0; i < count; i++)
        g_string_append_printf(out, " %5u", ids[i]);
    g_string_append_c(out, '\n');
    for (gsize row = 0; row < count; row++) {
        g_autoptr(GVariant) row_values = g_variant_get_child_value(rows, row);
        g_autoptr(GVariant) row_marks = g_variant_get_child_value(mirrored, row);

        g_string_append_printf(out, "%3u:", ids[row]);
        for (gsize column = 0; column < count; column++) {
            guint32 value;
            gboolean mark;

            g_variant_get_child(row_values, column, "u", &value);
            g_variant_get_child(row_marks, column, "b", &mark);
            print_distance(value, mark, out);
        }
        g_string_append_c(out, '\n');
    }
}

static void
numa_print(GVariant *tree, GString *out)
{
    g_autoptr(GVariant) nodes = g_variant_lookup_value(tree, "nodes", G_VARIANT_TYPE("aa{sv}"));
    g_autoptr(GVariant) distances = g_variant_lookup_value(tree, "distances", NULL);
    g_autoptr(GVariant) mirrored = g_variant_lookup_value(tree, "mirrored", NULL);
    gsize count = g_variant_n_children(nodes);
    g_autofree guint32 *ids = g_new0(guint32, count + 1);

    g_string_append_printf(out, "%" G_GSIZE_FORMAT " nodes\n", count);
    for (gsize i = 0; i < count; i++) {
        g_autoptr(GVariant) node = g_variant_get_child_value(nodes, i);

        g_variant_lookup(node, "id", "u", &ids[i]);
        print_node(node, out);
    }
    if (distances)
        print_distances(ids, count, distances, mirrored, out);
}

/* --- memdev ----------------------------------------------------------------------------------------------------- */

static GVariant *
backend_tree(const struct backend_options *o)
{
    GVariantBuilder dict;

    g_variant_builder_init(&dict, G_VARIANT_TYPE_VARDICT);
    g_variant_builder_add(&dict, "{sv}", "id", g_variant_new_string(o->id));
    g_variant_builder_add(&dict, "{sv}", "type", g_variant_new_string(backend_kind_names[o->kind]));
    g_variant_builder_add(&dict, "{sv}", "size", g_variant_new_uint64(o->size));
    g_variant_builder_add(&dict, "{sv}", "merge", g_variant_new_boolean(o->merge));
    g_variant_builder_add(&dict, "{sv}", "dump", g_variant_new_boolean(o->dump));
    g_variant_builder_add(&dict, "{sv}", "prealloc", g_variant_new_boolean(o->prealloc));
    g_variant_builder_add(&dict, "{sv}", "share", g_variant_new_boolean(o->share));
    g_variant_builder_add(&dict, "{sv}", "reserve", g_variant_new_boolean(o->reserve));
    g_variant_builder_add(&dict, "{sv}", "policy", g_variant_new_string(host_policy_names[o->policy]));
    g_variant_builder_add(&dict, "{sv}", "host-nodes",
                          g_variant_new_take_string(list_format(o->host_nodes, HOST_NODES)));
    return g_variant_builder_end(&dict);
}

static GVariant *
memdev_get(struct monitor *m, const struct values *args, GError **error)
{
    const GArray *backends = machine_definition(m->machine)->backends;
    GVariantBuilder tree, list;

    g_variant_builder_init(&list, G_VARIANT_TYPE("aa{sv}"));
    for (guint i = 0; i < backends->len; i++)
        g_variant_builder_add_value(&list, backend_tree(&g_array_index(backends, struct backend_options, i)));
    g_variant_builder_init(&tree, G_VARIANT_TYPE_VARDICT);
    g_variant_builder_add(&tree, "{sv}", "backends", g_variant_builder_end(&list));
    return g_variant_builder_end(&tree);
}

static void
print_flag(GVariant *dict, const char *key, GString *out)
{
    gboolean flag = FALSE;

    g_variant_lookup(dict, key, "b", &flag);
    g_string_append_printf(out, "  %s: %s\n", key, flag ? "true" : "false");
}

static void
print_backend(GVariant *backend, GString *out)
{
    static const char *const flags[] = { "merge", "dump", "prealloc", "share", "reserve" };
    const char *id = "", *policy = "", *host_nodes = "";
    guint64 size = 0;

    g_variant_lookup(backend, "id", "&s", &id);
    g_variant_lookup(backend, "size", "t", &size);
    g_variant_lookup(backend, "policy", "&s", &policy);
    g_variant_lookup(backend, "host-nodes", "&s", &host_nodes);
    g_string_append_printf(out, "memory backend: %s\n  size:  %" G_GUINT64_FORMAT "\n", id, size);
    for (size_t i = 0; i < G_N_ELEMENTS(flags); i++)
        print_flag(backend, flags[i], out);
    g_string_append_printf(out, "  policy: %s\n  host nodes: %s\n", policy, host_nodes);
}

static void
memdev_print(GVariant *tree, GString *out)
{
    g_autoptr(GVariant) backends = g_variant_lookup_value(tree, "backends", G_VARIANT_TYPE("aa{sv}"));
    gsize count = g_variant_n_children(backends);

    for (gsize i = 0; i < count; i++) {
        g_autoptr(GVariant) backend = g_variant_get_child_value(backends, i);

        print_backend(backend, out);
    }
    g_string_append_c(out, '\n');
}

/* --- memory_size_summary ---------------------------------------------------------------------------------------- */

/* Where the size comes from if `memory` was never entered; NULL if it was. */
static const char *
size_default(const struct definition *d)
{
    if (d->memory.entered)
        return NULL;
    for (unsigned i = 0; i < d->topology.node_count; i++) {
        if (d->topology.nodes[d->topology.node_order[i]].memdev[0])
            return "the sum of the nodes' memory backends, as `memory` was not entered";
    }
    return "128 MiB, as `memory` was not entered";
}

static GVariant *
size_summary_get(struct monitor *m, const struct values *args, GError **error)
{
    const struct definition *d = machine_definition(m->machine);
    const struct guest_map *map = machine_map(m->machine);
    const char *origin = map ? NULL : size_default(d);
    GVariantBuilder tree;

    g_variant_builder_init(&tree, G_VARIANT_TYPE_VARDICT);
    g_variant_builder_add(&tree, "{sv}", "base-memory",
                          g_variant_new_uint64(map ? guest_map_ram_bytes(map) : definition_ram(d)));
    g_variant_builder_add(&tree, "{sv}", "plugged-memory", g_variant_new_uint64(definition_plugged(d, -1)));
    if (origin)
        g_variant_builder_add(&tree, "{sv}", "default", g_variant_new_string(origin));
    return g_variant_builder_end(&tree);
}

static void
size_summary_print(GVariant *tree, GString *out)
{
    guint64 base = 0, plugged = 0;
    const char *origin;

    g_variant_lookup(tree, "base-memory", "t", &base);
    g_variant_lookup(tree, "plugged-memory", "t", &plugged);
    g_string_append_printf(out, "base memory: %" G_GUINT64_FORMAT "\nplugged memory: %" G_GUINT64_FORMAT "\n", base,
                           plugged);
    if (g_variant_lookup(tree, "default", "&s", &origin))
        g_string_append_printf(out, "default: %s\n", origin);
}

const struct info_item info_config_items[] = {
    { "numa", "show the NUMA nodes and their distances", WHEN_ALWAYS, NULL, numa_get, numa_print },
    { "memdev", "show the memory backends", WHEN_ALWAYS, NULL, memdev_get, memdev_print },
    { "memory_size_summary", "show the size of the machine's memory", WHEN_ALWAYS, NULL, size_summary_get,
      size_summary_print },
    { 0 }
};
