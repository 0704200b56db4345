/* SPDX-License-Identifier: GPL-3.0-or-later */
/* `numa node`: which nodes there are, what memory and which CPUs they have.  A node's size is its 'mem' or that of
 * its backend; a topology uses the one or the other.  QEMU's wordings. */
#include "topology.h"

#include <inttypes.h>
#include <string.h>

#include "topology-private.h"

/* Ids and CPU indices are 16 bits wide as in QEMU; which of them there can be is a rule below. */
const struct property node_properties[] = {
    [NODE_P_NODEID] = { "nodeid", PROPERTY_UINT, .max = UINT16_MAX,
                        .help = "its id; without it the number of nodes so far" },
    [NODE_P_CPUS] = { "cpus", PROPERTY_LIST, .max = UINT16_MAX, .repeatable = true,
                      .help = "CPUs by index, as 0-3 or 0-1,4" },
    [NODE_P_MEM] = { "mem", PROPERTY_SIZE, .max = UINT64_C(1) << 46, .unit_size = MIB, .unit = "bytes",
                     .help = "its part of RAM; not together with memdev anywhere" },
    [NODE_P_MEMDEV] = { "memdev", PROPERTY_ID, .complete = COMPLETE_FREE_BACKEND,
                        .help = "memory backend that is its memory" },
    [NODE_P_INITIATOR] = { "initiator", PROPERTY_UINT, .max = UINT16_MAX, .complete = COMPLETE_NODE,
                           .help = "node whose CPUs are nearest to its memory; with CPUs of its own only itself" },
    { 0 }
};

void
topology_init(struct topology *t)
{
    memset(t, 0, sizeof *t);
    for (unsigned i = 0; i < TOPOLOGY_CPUS; i++)
        t->cpu_node[i] = -1;
}

static bool
node_equal(const struct node *a, const struct node *b)
{
    return a->present == b->present && a->has_mem == b->has_mem && a->mem == b->mem
        && strcmp(a->memdev, b->memdev) == 0 && a->has_initiator == b->has_initiator
        && a->initiator == b->initiator;
}

/* Member by member: padding bytes are nobody's. */
bool
topology_equal(const struct topology *a, const struct topology *b)
{
    for (unsigned i = 0; i < TOPOLOGY_NODES; i++) {
        if (!node_equal(&a->nodes[i], &b->nodes[i]))
            return false;
    }
    return a->options.auto_assign == b->options.auto_assign && a->options.auto_enable == b->options.auto_enable
        && a->options.hmat == b->options.hmat
        && a->node_count == b->node_count && memcmp(&a->smp, &b->smp, sizeof a->smp) == 0
        && memcmp(a->node_order, b->node_order, sizeof a->node_order) == 0
        && memcmp(a->distance, b->distance, sizeof a->distance) == 0
        && memcmp(a->cpu_node, b->cpu_node, sizeof a->cpu_node) == 0;
}

uint64_t
node_bytes(const struct node *n, struct backend_lookup backends)
{
    uint64_t bytes = 0;

    if (n->has_mem)
        return n->mem;
    if (n->memdev[0] && !backends.size(backends.self, n->memdev, &bytes))
        return 0;
    return bytes;
}

uint64_t
topology_memory(const struct topology *t, struct backend_lookup backends)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < t->node_count; i++) {
        if (__builtin_add_overflow(sum, node_bytes(&t->nodes[t->node_order[i]], backends), &sum))
            return UINT64_MAX;
    }
    return sum;
}

static bool
id_is_free(const struct topology *t, uint64_t id, GError **error)
{
    if (id >= TOPOLOGY_NODES)
        return fail(error, NUMON_ERROR_LIMIT, "Max number of NUMA nodes reached: %" PRIu64, id);
    if (t->nodes[id].present)
        return fail(error, NUMON_ERROR_STATE, "Duplicate NUMA nodeid: %" PRIu64, id);
    return true;
}

static bool
cpus_are_free(const struct topology *t, const uint64_t *words, GError **error)
{
    unsigned maxcpus = topology_smp(t).maxcpus;

    for (uint64_t cpu = bits_next(words, UINT16_MAX + 1, 0); cpu <= UINT16_MAX;
         cpu = bits_next(words, UINT16_MAX + 1, cpu + 1)) {
        if (cpu >= maxcpus)
            return fail(error, NUMON_ERROR_ARGUMENT,
                        "CPU index (%" PRIu64 ") should be smaller than maxcpus (%u)", cpu, maxcpus);
        if (t->cpu_node[cpu] >= 0)
            return fail(error, NUMON_ERROR_STATE, "CPU is already assigned to node-id: %d (CPU index %" PRIu64
                        ")", t->cpu_node[cpu], cpu);
    }
    return true;
}

/* One way of giving memory for all nodes. */
static bool
kinds_agree(const struct topology *t, bool mem, bool memdev, GError **error)
{
    for (unsigned i = 0; i < t->node_count; i++) {
        const struct node *n = &t->nodes[t->node_order[i]];

        mem |= n->has_mem;
        memdev |= n->memdev[0] != '\0';
    }
    if (mem && memdev)
        return fail(error, NUMON_ERROR_ARGUMENT,
                    "numa configuration should use either mem= or memdev=,mixing both is not allowed");
    return true;
}

static bool
memdev_is_free(const struct topology *t, const char *id, struct backend_lookup backends, GError **error)
{
    uint64_t bytes;

    if (!backends.size(backends.self, id, &bytes))
        return fail(error, NUMON_ERROR_ARGUMENT, "memdev=%s does not exist, give object_add first", id);
    for (unsigned i = 0; i < t->node_count; i++) {
        if (strcmp(t->nodes[t->node_order[i]].memdev, id) == 0)
            return fail(error, NUMON_ERROR_STATE, "memory backend %s can't be used multiple times: node %u has it",
                        id, t->node_order[i]);
    }
    return true;
}

static bool
memory_is_right(const struct topology *t, const struct values *v, struct backend_lookup backends, GError **error)
{
    const struct value *mem = &v->at[NODE_P_MEM], *memdev = &v->at[NODE_P_MEMDEV];

    if (!kinds_agree(t, mem->set, memdev->set, error))
        return false;
    if (mem->set && mem->number % PAGE_SIZE)
        return fail(error, NUMON_ERROR_ARGUMENT, "mem (%" PRIu64 " bytes) should be a multiple of %d bytes",
                    mem->number, PAGE_SIZE);
    return !memdev->set || memdev_is_free(t, memdev->word, backends, error);
}

bool
initiator_is_right(const struct topology *t, unsigned node, bool has_initiator, uint64_t initiator, GError **error)
{
    if (t->options.hmat && has_initiator && initiator != node)
        return fail(error, NUMON_ERROR_STATE, "The initiator of CPU NUMA node %u should be itself (got %" PRIu64 ")",
                    node, initiator);
    return true;
}

static bool
initiator_fits(const struct topology *t, unsigned id, const struct values *v, GError **error)
{
    const struct value *initiator = &v->at[NODE_P_INITIATOR];

    if (!initiator->set)
        return true;
    if (!hmat_enabled(t, error))
        return false;
    if (initiator->number >= TOPOLOGY_NODES)
        return fail(error, NUMON_ERROR_ARGUMENT, "The initiator id %" PRIu64 " expects an integer between 0 and %d",
                    initiator->number, TOPOLOGY_NODES - 1);
    return !v->at[NODE_P_CPUS].set || initiator_is_right(t, id, true, initiator->number, error);
}

bool
topology_add_node(struct topology *t, const struct values *v, struct backend_lookup backends, GError **error)
{
    const struct value *cpus = &v->at[NODE_P_CPUS];
    uint64_t id = v->at[NODE_P_NODEID].set ? v->at[NODE_P_NODEID].number : t->node_count;

    if (!id_is_free(t, id, error) || (cpus->set && !cpus_are_free(t, cpus->words, error))
        || !memory_is_right(t, v, backends, error) || !initiator_fits(t, (unsigned)id, v, error))
        return false;

    struct node *n = &t->nodes[id];
    *n = (struct node) { .present = true, .has_mem = v->at[NODE_P_MEM].set, .mem = v->at[NODE_P_MEM].number,
                         .has_initiator = v->at[NODE_P_INITIATOR].set,
                         .initiator = (uint8_t)v->at[NODE_P_INITIATOR].number };
    if (v->at[NODE_P_MEMDEV].set)
        g_strlcpy(n->memdev, v->at[NODE_P_MEMDEV].word, sizeof n->memdev);
    t->node_order[t->node_count++] = (uint8_t)id;
    for (unsigned cpu = 0; cpus->set && cpu < TOPOLOGY_CPUS; cpu++) {
        if (bit_test(cpus->words, cpu))
            t->cpu_node[cpu] = (int16_t)id;
    }
    return true;
}

bool
topology_delete_initiator(struct topology *t, unsigned node, GError **error)
{
    if (node >= TOPOLOGY_NODES || !t->nodes[node].present || !t->nodes[node].has_initiator)
        return fail(error, NUMON_ERROR_ARGUMENT, "cannot delete the initiator of NUMA node %u: none was given", node);
    t->nodes[node].has_initiator = false;
    t->nodes[node].initiator = 0;
    return true;
}

static void
forget_order(struct topology *t, unsigned node)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < t->node_count; i++) {
        if (t->node_order[i] != node)
            t->node_order[kept++] = t->node_order[i];
    }
    t->node_count = kept;
    t->node_order[kept] = 0;
}

bool
topology_delete_node(struct topology *t, unsigned node, GError **error)
{
    if (node >= TOPOLOGY_NODES || !t->nodes[node].present)
        return fail(error, NUMON_ERROR_ARGUMENT, "cannot delete NUMA node %u: it is not declared", node);
    t->nodes[node] = (struct node) { 0 };
    forget_order(t, node);
    for (unsigned i = 0; i < TOPOLOGY_NODES; i++)
        t->distance[node][i] = t->distance[i][node] = 0;
    for (unsigned cpu = 0; cpu < TOPOLOGY_CPUS; cpu++) {
        if (t->cpu_node[cpu] == (int)node)
            t->cpu_node[cpu] = -1;
    }
    return true;
}
