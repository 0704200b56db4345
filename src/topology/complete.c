/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the guest is told: default CPU places and mirrored distances filled in. */
#include "topology.h"

#include <string.h>

#include "topology-private.h"

/* QEMU's default of this machine: whole sockets, one after the other, so that no cache is divided. */
static int
default_node(const struct topology *t, const struct smp *smp, unsigned cpu)
{
    return (int)(smp_place(smp, cpu).socket % t->node_count);
}

static int
place_cpu(const struct topology *t, const struct smp *smp, bool mapped, unsigned cpu)
{
    if (t->cpu_node[cpu] >= 0)
        return t->cpu_node[cpu];
    return mapped ? 0 : default_node(t, smp, cpu);
}

int
topology_cpu_node(const struct topology *t, unsigned cpu)
{
    if (!t->node_count)
        return -1;

    struct smp smp = topology_smp(t);
    int node = place_cpu(t, &smp, cpus_mapped(t), cpu);
    return t->nodes[node].present ? node : -1;
}

static void
complete_distances(const struct topology *t, struct topology_final *ret)
{
    for (unsigned src = 0; src < ret->node_count; src++) {
        for (unsigned dst = 0; dst < ret->node_count; dst++) {
            unsigned value;

            topology_distance(t, src, dst, &value);
            ret->distance[src][dst] = (uint8_t)value;
        }
    }
}

void
topology_complete(const struct topology *t, uint64_t ram_bytes, struct backend_lookup backends,
                  struct topology_final *ret)
{
    memset(ret, 0, sizeof *ret);
    ret->smp = topology_smp(t);
    ret->node_count = t->node_count;
    if (!t->node_count)
        return;

    g_assert(topology_memory(t, backends) == ram_bytes);
    bool mapped = cpus_mapped(t);
    for (unsigned id = 0; id < t->node_count; id++) {
        ret->node_size[id] = node_bytes(&t->nodes[id], backends);
        memcpy(ret->node_memdev[id], t->nodes[id].memdev, ID_SIZE);
    }
    for (unsigned cpu = 0; cpu < ret->smp.maxcpus; cpu++)
        ret->cpu_node[cpu] = (uint8_t)place_cpu(t, &ret->smp, mapped, cpu);
    ret->has_distances = topology_has_distances(t);
    if (ret->has_distances)
        complete_distances(t, ret);
}

static void
describe_cpu(const struct smp *smp, unsigned cpu, GString *out)
{
    struct cpu_place p = smp_place(smp, cpu);

    g_string_append_printf(out, "%sCPU %u [socket-id: %u, ", out->len ? ", " : "", cpu, p.socket);
    if (smp->levels[SMP_DIES] > 1)
        g_string_append_printf(out, "die-id: %u, ", p.die);
    if (smp->levels[SMP_MODULES] > 1)
        g_string_append_printf(out, "module-id: %u, ", p.module);
    g_string_append_printf(out, "core-id: %u, thread-id: %u]", p.core, p.thread);
}

void
topology_warnings(const struct topology *t, GPtrArray *warnings)
{
    struct smp smp = topology_smp(t);
    g_autoptr(GString) cpus = g_string_new(NULL);

    if (!t->node_count || !cpus_mapped(t))
        return;
    for (unsigned cpu = 0; cpu < smp.maxcpus; cpu++) {
        if (t->cpu_node[cpu] < 0)
            describe_cpu(&smp, cpu, cpus);
    }
    if (cpus->len)
        g_ptr_array_add(warnings, g_strdup_printf("CPU(s) not present in any NUMA nodes: %s; they will be in node 0",
                                                  cpus->str));
}
