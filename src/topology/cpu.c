/* SPDX-License-Identifier: GPL-3.0-or-later */
/* `numa cpu`: CPUs by their place.  A key that is left out matches all; what is stored is the node of each CPU
 * index, the same as `numa node,cpus=` stores. */
#include "topology.h"

#include <inttypes.h>
#include <string.h>

#include "topology-private.h"

const struct property cpu_properties[] = {
    [CPU_P_NODE] = { "node-id", PROPERTY_UINT, .max = UINT16_MAX, .complete = COMPLETE_NODE,
                     .help = "node that the CPUs are in" },
    [CPU_P_SOCKET] = { "socket-id", PROPERTY_UINT, .max = UINT32_MAX, .help = "socket; left out: all" },
    [CPU_P_DIE] = { "die-id", PROPERTY_UINT, .max = UINT32_MAX, .help = "die in its socket; left out: all" },
    [CPU_P_MODULE] = { "module-id", PROPERTY_UINT, .max = UINT32_MAX, .help = "module in its die; left out: all" },
    [CPU_P_CORE] = { "core-id", PROPERTY_UINT, .max = UINT32_MAX, .help = "core in its module; left out: all" },
    [CPU_P_THREAD] = { "thread-id", PROPERTY_UINT, .max = UINT32_MAX, .help = "thread in its core; left out: all" },
    [CPU_P_DRAWER] = { "drawer-id", PROPERTY_UINT, .max = UINT32_MAX, .help = "of other machines; refused here" },
    [CPU_P_BOOK] = { "book-id", PROPERTY_UINT, .max = UINT32_MAX, .help = "of other machines; refused here" },
    [CPU_P_CLUSTER] = { "cluster-id", PROPERTY_UINT, .max = UINT32_MAX, .help = "of other machines; refused here" },
    { 0 }
};

static bool
matches(const struct smp *smp, unsigned cpu, const struct values *v)
{
    struct cpu_place p = smp_place(smp, cpu);

    return (!v->at[CPU_P_SOCKET].set || v->at[CPU_P_SOCKET].number == p.socket)
        && (!v->at[CPU_P_DIE].set || v->at[CPU_P_DIE].number == p.die)
        && (!v->at[CPU_P_MODULE].set || v->at[CPU_P_MODULE].number == p.module)
        && (!v->at[CPU_P_CORE].set || v->at[CPU_P_CORE].number == p.core)
        && (!v->at[CPU_P_THREAD].set || v->at[CPU_P_THREAD].number == p.thread);
}

/* Dies and modules are levels of the machine only where there are several; some keys are of other machines. */
static bool
keys_supported(const struct smp *smp, const struct values *v, GError **error)
{
    const struct { unsigned key; bool supported; } keys[] = {
        { CPU_P_DIE, smp_has_level(smp, SMP_DIES) }, { CPU_P_MODULE, smp_has_level(smp, SMP_MODULES) },
        { CPU_P_DRAWER, false }, { CPU_P_BOOK, false }, { CPU_P_CLUSTER, false },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(keys); i++) {
        if (v->at[keys[i].key].set && !keys[i].supported)
            return fail(error, NUMON_ERROR_ARGUMENT, "%s is not supported", cpu_properties[keys[i].key].name);
    }
    return true;
}

static bool
node_is_declared(const struct topology *t, const struct value *node, GError **error)
{
    if (!node->set)
        return fail(error, NUMON_ERROR_ARGUMENT, "Missing mandatory node-id property");
    if (node->number >= TOPOLOGY_NODES || !t->nodes[node->number].present)
        return fail(error, NUMON_ERROR_STATE, "Invalid node-id=%" PRIu64 ", NUMA node must be defined with "
                    "-numa node,nodeid=ID before it's used with -numa cpu,node-id=ID", node->number);
    return true;
}

bool
topology_map_cpu(struct topology *t, const struct values *v, GError **error)
{
    struct smp smp = topology_smp(t);
    int16_t mapped[TOPOLOGY_CPUS];
    unsigned found = 0;

    if (!node_is_declared(t, &v->at[CPU_P_NODE], error) || !keys_supported(&smp, v, error))
        return false;

    int16_t node = (int16_t)v->at[CPU_P_NODE].number;
    const struct node *n = &t->nodes[node];
    if (!initiator_is_right(t, (unsigned)node, n->has_initiator, n->initiator, error))
        return false;
    memcpy(mapped, t->cpu_node, sizeof mapped);
    for (unsigned cpu = 0; cpu < smp.maxcpus; cpu++) {
        if (!matches(&smp, cpu, v))
            continue;
        if (mapped[cpu] >= 0 && mapped[cpu] != node)
            return fail(error, NUMON_ERROR_STATE, "CPU is already assigned to node-id: %d (CPU index %u)",
                        mapped[cpu], cpu);
        mapped[cpu] = node;
        found++;
    }
    if (!found)
        return fail(error, NUMON_ERROR_ARGUMENT, "no match found");
    memcpy(t->cpu_node, mapped, sizeof mapped);
    return true;
}

bool
topology_unmap_cpu(struct topology *t, const struct values *v, GError **error)
{
    struct smp smp = topology_smp(t);
    const struct value *node = &v->at[CPU_P_NODE];
    unsigned found = 0;

    if ((node->set && !node_is_declared(t, node, error)) || !keys_supported(&smp, v, error))
        return false;
    for (unsigned cpu = 0; cpu < smp.maxcpus; cpu++) {
        if (t->cpu_node[cpu] < 0 || !matches(&smp, cpu, v) || (node->set && t->cpu_node[cpu] != (int)node->number))
            continue;
        t->cpu_node[cpu] = -1;
        found++;
    }
    return found || fail(error, NUMON_ERROR_ARGUMENT, "no match found: none of these CPUs is mapped to a node");
}

bool
cpus_mapped(const struct topology *t)
{
    for (unsigned cpu = 0; cpu < TOPOLOGY_CPUS; cpu++) {
        if (t->cpu_node[cpu] >= 0)
            return true;
    }
    return false;
}
