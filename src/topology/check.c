/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What is wrong with the topology as a whole, every problem with the commands that mend it: entering all of them, in
 * order, leaves no problem. */
#include "topology.h"

#include <inttypes.h>

#include "topology-private.h"

void
problem_free(struct problem *p)
{
    if (!p)
        return;
    g_free(p->text);
    g_free(p->remedy);
    g_free(p);
}

void
problem_add(GPtrArray *problems, char *remedy_taken, const char *format, ...)
{
    struct problem *p = g_new(struct problem, 1);
    va_list args;

    va_start(args, format);
    *p = (struct problem) { .text = g_strdup_vprintf(format, args), .remedy = remedy_taken };
    va_end(args);
    g_ptr_array_add(problems, p);
}

/* Nodes are 0 to this - 1 when the topology is completed. */
static unsigned
id_limit(const struct topology *t)
{
    unsigned limit = TOPOLOGY_NODES;

    while (limit > 0 && !t->nodes[limit - 1].present)
        limit--;
    return limit;
}

/* Both directions of some pair were given and differ: then every direction must be. */
static bool
asymmetric(const struct topology *t)
{
    for (unsigned src = 0; src < TOPOLOGY_NODES; src++) {
        for (unsigned dst = 0; dst < src; dst++) {
            if (t->distance[src][dst] && t->distance[dst][src] && t->distance[src][dst] != t->distance[dst][src])
                return true;
        }
    }
    return false;
}

/* A node without CPUs and memory fills the gap; with distances it needs its own, to the ids below and to the nodes
 * above that are there. */
static char *
missing_node_remedy(const struct topology *t, unsigned id, bool distances, bool both_ways)
{
    GString *remedy = g_string_new(NULL);

    g_string_append_printf(remedy, "numa node,nodeid=%u", id);
    for (unsigned other = 0; distances && other < TOPOLOGY_NODES; other++) {
        if (other == id || (other > id && !t->nodes[other].present))
            continue;
        g_string_append_printf(remedy, "\nnuma dist,src=%u,dst=%u,val=%d", other, id, DISTANCE_USUAL);
        if (both_ways)
            g_string_append_printf(remedy, "\nnuma dist,src=%u,dst=%u,val=%d", id, other, DISTANCE_USUAL);
    }
    return g_string_free(remedy, FALSE);
}

static void
check_ids(const struct topology *t, bool distances, bool both_ways, GPtrArray *problems)
{
    unsigned limit = id_limit(t);

    for (unsigned id = 0; id < limit; id++) {
        if (!t->nodes[id].present)
            problem_add(problems, missing_node_remedy(t, id, distances, both_ways), "numa: Node ID missing: %u", id);
    }
}

static void
check_memory(const struct topology *t, uint64_t ram_bytes, const char *remedy, struct backend_lookup backends,
             GPtrArray *problems)
{
    uint64_t sum = topology_memory(t, backends);

    if (sum != ram_bytes)
        problem_add(problems, g_strdup(remedy), "total memory for NUMA nodes (0x%" PRIx64 ") should equal RAM size "
                    "(0x%" PRIx64 ")", sum, ram_bytes);
}

static char *
distance_remedy(unsigned src, unsigned dst, unsigned val)
{
    return g_strdup_printf("numa dist,src=%u,dst=%u,val=%u", src, dst, val);
}

static void
check_pair(const struct topology *t, unsigned a, unsigned b, bool both_ways, GPtrArray *problems)
{
    unsigned there = t->distance[a][b], back = t->distance[b][a];

    if (!there && !back) {
        problem_add(problems, distance_remedy(a, b, DISTANCE_USUAL), "The distance between node %u and %u is "
                    "missing, at least one distance value between each nodes should be provided.", a, b);
        there = DISTANCE_USUAL;
    }
    if (!both_ways || (there && back))
        return;

    unsigned src = there ? b : a, dst = there ? a : b;
    problem_add(problems, distance_remedy(src, dst, there ? there : back),
                "The distance from node %u to %u is missing: At least one asymmetrical pair of distances is given, "
                "please provide distances for both directions of all node pairs.", src, dst);
}

static void
check_distances(const struct topology *t, bool both_ways, GPtrArray *problems)
{
    for (unsigned a = 0; a < TOPOLOGY_NODES; a++) {
        for (unsigned b = a + 1; t->nodes[a].present && b < TOPOLOGY_NODES; b++) {
            if (t->nodes[b].present)
                check_pair(t, a, b, both_ways, problems);
        }
    }
}

static void
check_initiators(const struct topology *t, GPtrArray *problems)
{
    for (unsigned id = 0; id < TOPOLOGY_NODES; id++) {
        const struct node *n = &t->nodes[id];

        if (!n->present || !n->has_initiator)
            continue;
        if (!t->nodes[n->initiator].present)
            problem_add(problems, g_strdup_printf("numa_del initiator %u", id), "NUMA node %u is missing, use "
                        "'-numa node' option to declare it first: it is the initiator of node %u", n->initiator, id);
        else if (!topology_has_cpus(t, n->initiator))
            problem_add(problems, g_strdup_printf("numa_del initiator %u", id), "The initiator of NUMA node %u is "
                        "invalid: node %u has no CPUs", id, n->initiator);
    }
}

void
topology_check(const struct topology *t, uint64_t ram_bytes, const char *ram_remedy, struct backend_lookup backends,
               GPtrArray *problems)
{
    if (!t->node_count)
        return;

    bool distances = topology_has_distances(t), both_ways = distances && asymmetric(t);
    /* First: nodes of a new size lose the distances that the remedies below give them. */
    check_memory(t, ram_bytes, ram_remedy, backends, problems);
    check_ids(t, distances, both_ways, problems);
    if (distances)
        check_distances(t, both_ways, problems);
    check_initiators(t, problems);
}
