/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The topology as command lines.  Canonical: nodes in the order of their creation, each with its CPUs by index
 * however they were mapped, distances by rising ids; so entering the lines and saving again gives the same bytes. */
#include "topology.h"

#include "topology-private.h"

static void
append_number(GString *out, const char *key, unsigned number)
{
    if (number)
        g_string_append_printf(out, "%s%s=%u", out->len ? "," : "", key, number);
}

void
topology_save_smp(const struct topology *t, GString *out)
{
    g_autoptr(GString) keys = g_string_new(NULL);
    const struct smp *s = &t->smp;

    if (s->cpus)
        g_string_append_printf(keys, "%u", s->cpus);
    for (unsigned i = 0; i < SMP_LEVELS; i++)
        append_number(keys, smp_properties[SMP_P_SOCKETS + i].name, s->levels[i]);
    append_number(keys, "maxcpus", s->maxcpus);
    if (keys->len)
        g_string_append_printf(out, "smp %s\n", keys->str);
}

/* ",cpus=0-1,cpus=4": one range an item, which QEMU reads too. */
static void
append_cpus(const struct topology *t, unsigned id, GString *out)
{
    for (unsigned first = 0, end; first < TOPOLOGY_CPUS; first = end) {
        end = first + 1;
        if (t->cpu_node[first] != (int)id)
            continue;
        while (end < TOPOLOGY_CPUS && t->cpu_node[end] == (int)id)
            end++;
        if (end - first == 1)
            g_string_append_printf(out, ",cpus=%u", first);
        else
            g_string_append_printf(out, ",cpus=%u-%u", first, end - 1);
    }
}

static void
node_save(const struct topology *t, unsigned id, GString *out)
{
    const struct node *n = &t->nodes[id];

    g_string_append_printf(out, "numa node,nodeid=%u", id);
    append_cpus(t, id, out);
    if (n->has_mem) {
        g_autofree char *size = size_spell(n->mem);
        g_string_append_printf(out, ",mem=%s", size);
    }
    if (n->memdev[0]) {
        g_string_append(out, ",memdev=");
        property_append_word(out, n->memdev);
    }
    if (n->has_initiator)
        g_string_append_printf(out, ",initiator=%u", n->initiator);
}

void
topology_save_numa(const struct topology *t, GString *out)
{
    for (unsigned i = 0; i < t->node_count; i++) {
        node_save(t, t->node_order[i], out);
        g_string_append_c(out, '\n');
    }
    distance_save(t, out);
}

/* Equal parts in whole MiB where that leaves something for all, else in whole pages; the last takes the rest. */
static void
divide_memory(struct topology *t, uint64_t bytes)
{
    uint64_t part = bytes / t->node_count;

    part -= part % (part >= MIB ? MIB : PAGE_SIZE);
    for (unsigned i = 0; i < t->node_count; i++) {
        struct node *n = &t->nodes[t->node_order[i]];

        n->has_mem = true;
        n->mem = i + 1 < t->node_count ? part : bytes - part * i;
    }
}

char *
topology_resize_commands(const struct topology *t, uint64_t bytes)
{
    struct topology anew = *t;
    GString *out = g_string_new(NULL);

    divide_memory(&anew, bytes);
    for (unsigned i = 0; i < t->node_count; i++)
        g_string_append_printf(out, "numa_del node %u\n", t->node_order[i]);
    topology_save_numa(&anew, out);
    g_string_truncate(out, out->len - 1);
    return g_string_free(out, FALSE);
}
