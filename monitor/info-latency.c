/* SPDX-License-Identifier: GPL-3.0-or-later */
/* `info numa_latency`: what each vCPU measured of each node's memory, as two matrices, and what to think of them. */
#include <string.h>
#include <unistd.h>

#include "monitor-private.h"

enum { LATENCY_SIZE };
const struct property latency_args[] = {
    [LATENCY_SIZE] = { "-s", PROPERTY_SIZE, .min = 64 * KIB, .max = 16 * GIB, .value_default = "64M", .unit = "bytes",
                       .help = "memory of each node that is read; more than the host's caches hold" },
    { 0 }
};

/* --- the tree --------------------------------------------------------------------------------------------------- */

/* Nanoseconds and bytes a second to each node; what has no memory is 0. */
static GVariant *
cpu_tree(const struct latency *l, unsigned cpu)
{
    const struct latency_cpu *c = &l->cpus[cpu];
    GVariantBuilder dict, access, bandwidth;

    g_variant_builder_init(&access, G_VARIANT_TYPE("ad"));
    g_variant_builder_init(&bandwidth, G_VARIANT_TYPE("at"));
    for (unsigned node = 0; node < l->node_count; node++) {
        g_variant_builder_add(&access, "d", (double)c->nodes[node].access_ps / 1000);
        g_variant_builder_add(&bandwidth, "t", c->nodes[node].bandwidth);
    }
    g_variant_builder_init(&dict, G_VARIANT_TYPE_VARDICT);
    g_variant_builder_add(&dict, "{sv}", "cpu", g_variant_new_uint32(cpu));
    g_variant_builder_add(&dict, "{sv}", "node", g_variant_new_uint32(c->node));
    g_variant_builder_add(&dict, "{sv}", "online", g_variant_new_boolean(c->online));
    g_variant_builder_add(&dict, "{sv}", "access-ns", g_variant_builder_end(&access));
    g_variant_builder_add(&dict, "{sv}", "bandwidth", g_variant_builder_end(&bandwidth));
    return g_variant_builder_end(&dict);
}

/* The host nodes that hold what was read, as a list; "" if that is not known.  A host with one node needs no
 * asking. */
static char *
holders(const struct memory_places *places)
{
    uint64_t nodes[WORDS_FOR(HOST_NODES)] = { 0 }, held[WORDS_FOR(HOST_NODES)] = { 0 };

    host_nodes(nodes);
    for (unsigned node = 0; node < HOST_NODES; node++) {
        if (places->on_node[node])
            bit_set(held, node);
    }
    return list_format(bits_count(nodes, HOST_NODES) == 1 ? nodes : held, HOST_NODES);
}

static GVariant *
node_tree(const struct latency_node *n, unsigned node)
{
    GVariantBuilder dict;

    g_variant_builder_init(&dict, G_VARIANT_TYPE_VARDICT);
    g_variant_builder_add(&dict, "{sv}", "node", g_variant_new_uint32(node));
    g_variant_builder_add(&dict, "{sv}", "read", g_variant_new_uint64(n->bytes));
    g_variant_builder_add(&dict, "{sv}", "host-nodes",
                          g_variant_new_take_string(n->bytes ? holders(&n->places) : g_strdup("")));
    return g_variant_builder_end(&dict);
}

/* The host's largest cache in bytes; 0 if it does not say. */
static uint64_t
host_cache(void)
{
    long last = sysconf(_SC_LEVEL3_CACHE_SIZE), middle = sysconf(_SC_LEVEL2_CACHE_SIZE);

    return (uint64_t)MAX(MAX(last, middle), 0);
}

static GVariant *
latency_tree(struct monitor *m, const struct latency *l)
{
    const struct definition *d = machine_definition(m->machine);
    GVariantBuilder tree, cpus, nodes;

    g_variant_builder_init(&cpus, G_VARIANT_TYPE("aa{sv}"));
    for (unsigned cpu = 0; cpu < l->cpu_count; cpu++) {
        if (l->cpus[cpu].present)
            g_variant_builder_add_value(&cpus, cpu_tree(l, cpu));
    }
    g_variant_builder_init(&nodes, G_VARIANT_TYPE("aa{sv}"));
    for (unsigned node = 0; node < l->node_count; node++)
        g_variant_builder_add_value(&nodes, node_tree(&l->nodes[node], node));
    g_variant_builder_init(&tree, G_VARIANT_TYPE_VARDICT);
    g_variant_builder_add(&tree, "{sv}", "cpus", g_variant_builder_end(&cpus));
    g_variant_builder_add(&tree, "{sv}", "nodes", g_variant_builder_end(&nodes));
    g_variant_builder_add(&tree, "{sv}", "host-cache", g_variant_new_uint64(host_cache()));
    g_variant_builder_add(&tree, "{sv}", "numa-delay", g_variant_new_uint64(
        g_strcmp0(machine_accel(m->machine), "synthetic") == 0 ? d->numa_delay_ns : 0));
    return g_variant_builder_end(&tree);
}

/* --- the measurement -------------------------------------------------------------------------------------------- */

static void
latency_done(void *self, const struct latency *result, const GError *error)
{
    struct call *call = self;

    call->data = NULL;
    call->data_free = NULL;
    info_finish(call, info_find("numa_latency"), error ? NULL : latency_tree(call->monitor, result), error);
}

/* The call is abandoned. */
static void
latency_abandon(void *data)
{
    machine_latency_abandon(((struct monitor *)data)->machine);
}

enum outcome
latency_begin(struct call *call, const struct values *args, GError **error)
{
    if (!machine_measure_latency(call->monitor->machine, args->at[LATENCY_SIZE].number, latency_done, call, error))
        return COMMAND_FAILED;
    call->data = call->monitor;
    call->data_free = latency_abandon;
    return COMMAND_PENDING;
}

/* --- the matrices ----------------------------------------------------------------------------------------------- */

enum { COLUMN = 9 };

/* Few digits behind the point, and none where there are many before it. */
static void
print_value(double value, GString *out)
{
    g_string_append_printf(out, " %*.*f", COLUMN - 1, value < 10 ? 2 : value < 100000 ? 1 : 0, value);
}

static void
print_row(GVariant *cpu, bool bandwidth, GString *out)
{
    g_autoptr(GVariant) access = g_variant_lookup_value(cpu, "access-ns", G_VARIANT_TYPE("ad"));
    g_autoptr(GVariant) bytes = g_variant_lookup_value(cpu, "bandwidth", G_VARIANT_TYPE("at"));
    g_autofree char *head = NULL;
    guint32 index = 0, node = 0;
    gboolean online = FALSE;

    g_variant_lookup(cpu, "cpu", "u", &index);
    g_variant_lookup(cpu, "node", "u", &node);
    g_variant_lookup(cpu, "online", "b", &online);
    head = g_strdup_printf("vCPU %u (%u):", index, node);
    g_string_append_printf(out, "%-16s", head);
    for (gsize i = 0; i < g_variant_n_children(access); i++) {
        guint64 per_second;
        double ns;

        g_variant_get_child(access, i, "d", &ns);
        g_variant_get_child(bytes, i, "t", &per_second);
        if (!online || ns <= 0)
            g_string_append_printf(out, "%*s", COLUMN, "-");
        else
            print_value(bandwidth ? (double)per_second / MIB : ns, out);
    }
    g_string_append(out, online ? "\n" : "  not online\n");
}

static void
print_matrix(GVariant *cpus, gsize node_count, bool bandwidth, GString *out)
{
    g_string_append_printf(out, "%-16s", "to node");
    for (gsize node = 0; node < node_count; node++)
        g_string_append_printf(out, "%*" G_GSIZE_FORMAT, COLUMN, node);
    g_string_append_c(out, '\n');
    for (gsize i = 0; i < g_variant_n_children(cpus); i++) {
        g_autoptr(GVariant) cpu = g_variant_get_child_value(cpus, i);

        print_row(cpu, bandwidth, out);
    }
}

/* --- what to think of them -------------------------------------------------------------------------------------- */

static const char *
holders_of(GVariant *nodes, gsize i, guint64 *ret_read)
{
    g_autoptr(GVariant) node = g_variant_get_child_value(nodes, i);
    const char *text = "";

    g_variant_lookup(node, "read", "t", ret_read);
    g_variant_lookup(node, "host-nodes", "&s", &text);
    return text;
}

/* The nodes whose memory lies where that of node 'first' does; their places in 'ret_words'. */
static unsigned
find_sharers(GVariant *nodes, gsize first, uint64_t *ret_words)
{
    guint64 read = 0;
    const char *where = holders_of(nodes, first, &read);
    unsigned count = 0;

    for (gsize i = 0; i < g_variant_n_children(nodes); i++) {
        guint64 other = 0;

        if (strcmp(holders_of(nodes, i, &other), where) == 0 && other) {
            bit_set(ret_words, i);
            count++;
        }
    }
    return count;
}

/* One line for each set of host nodes; or that there is one for all. */
static void
print_places(GVariant *nodes, GString *out)
{
    uint64_t told[WORDS_FOR(CONTROL_NODES)] = { 0 }, sharers[WORDS_FOR(CONTROL_NODES)];
    unsigned with_memory = 0;

    for (gsize i = 0; i < g_variant_n_children(nodes); i++) {
        guint64 read = 0;

        holders_of(nodes, i, &read);
        with_memory += read > 0;
    }
    for (gsize i = 0; i < g_variant_n_children(nodes); i++) {
        guint64 read = 0;
        const char *where = holders_of(nodes, i, &read);
        const char *plural = strpbrk(where, ",-") ? "s" : "";
        g_autofree char *list = NULL;
        unsigned count;

        if (read == 0 || bit_test(told, i))
            continue;
        memset(sharers, 0, sizeof sharers);
        count = find_sharers(nodes, i, sharers);
        for (size_t w = 0; w < G_N_ELEMENTS(told); w++)
            told[w] |= sharers[w];
        list = list_format(sharers, CONTROL_NODES);
        if (!*where)
            g_string_append_printf(out, "node%s %s: on which host node is not known\n", count > 1 ? "s" : "", list);
        else if (count == with_memory && count > 1 && !*plural)
            g_string_append_printf(out, "all nodes share host node %s: the host's distances have no part in this\n",
                                   where);
        else
            g_string_append_printf(out, "node%s %s: %s host node%s %s\n", count > 1 ? "s" : "", list,
                                   count > 1 ? "share" : "on", plural, where);
    }
}

static void
print_caveats(GVariant *tree, GVariant *nodes, GString *out)
{
    guint64 cache = 0, delay = 0, most = 0;

    g_variant_lookup(tree, "host-cache", "t", &cache);
    g_variant_lookup(tree, "numa-delay", "t", &delay);
    for (gsize i = 0; i < g_variant_n_children(nodes); i++) {
        guint64 read = 0;

        holders_of(nodes, i, &read);
        most = MAX(most, read);
    }
    if (delay)
        g_string_append_printf(out, "accel synthetic: an access costs %" G_GUINT64_FORMAT " ns more at distance 10, "
                               "in proportion at others\n", delay);
    if (cache && most && most <= cache) {
        g_autofree char *held = size_format(cache), *text = size_format(most);

        g_string_append_printf(out, "the %s read of a node fit%s into a cache of the host (%s): -s reads more\n",
                               text, strstr(text, "1 ") == text ? "s" : "", held);
    }
}

void
latency_print(GVariant *tree, GString *out)
{
    g_autoptr(GVariant) cpus = g_variant_lookup_value(tree, "cpus", G_VARIANT_TYPE("aa{sv}"));
    g_autoptr(GVariant) nodes = g_variant_lookup_value(tree, "nodes", G_VARIANT_TYPE("aa{sv}"));
    gsize count = g_variant_n_children(nodes);

    g_string_append(out, "time per access, ns\n");
    print_matrix(cpus, count, false, out);
    g_string_append(out, "bandwidth, MB/s\n");
    print_matrix(cpus, count, true, out);
    print_places(nodes, out);
    print_caveats(tree, nodes, out);
}
