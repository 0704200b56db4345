/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the guest is told: default CPU places and mirrored distances filled in. */
#include "topology.h"

#include <string.h>

#include "topology-private.h"

/* QEMU's default of this machine: whole sockets, one after the other, so that no cache is divided. */
static int
default_node(const struct topology *t, const struct smp *smp, unsigned slot)
{
    return (int)(smp_place(smp, slot).socket % t->node_count);
}

static int
place_cpu(const struct topology *t, const struct smp *smp, bool mapped, unsigned slot)
{
    if (t->cpu_node[slot] >= 0)
        return t->cpu_node[slot];
    return mapped ? 0 : default_node(t, smp, slot);
}

int
topology_cpu_node(const struct topology *t, unsigned slot)
{
    if (!t->node_count)
        return -1;

    struct smp smp = topology_smp(t);
    int node = place_cpu(t, &smp, cpus_mapped(t), slot);
    return t->nodes[node].present ? node : -1;
}

bool
topology_has_cpus(const struct topology *t, unsigned node)
{
    struct smp smp = topology_smp(t);
    bool mapped = cpus_mapped(t);

    for (unsigned slot = 0; t->node_count && slot < smp.maxcpus; slot++) {
        if (place_cpu(t, &smp, mapped, slot) == (int)node)
            return true;
    }
    return false;
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

/* A node's own CPUs are nearest to its memory. */
static void
complete_initiators(const struct topology *t, struct topology_final *ret)
{
    for (unsigned id = 0; id < t->node_count; id++)
        ret->node_initiator[id] = t->nodes[id].has_initiator ? t->nodes[id].initiator : -1;
    for (unsigned slot = 0; slot < ret->smp.maxcpus; slot++)
        ret->node_initiator[ret->cpu_node[slot]] = ret->cpu_node[slot];
}

void
topology_complete(const struct topology *t, uint64_t ram_bytes, struct backend_lookup backends,
                  struct topology_final *ret)
{
    memset(ret, 0, sizeof *ret);
    ret->smp = topology_smp(t);
    bits_set(ret->present, 0, ret->smp.cpus);
    ret->node_count = t->node_count;
    if (!t->node_count)
        return;

    g_assert(topology_memory(t, backends) == ram_bytes);
    bool mapped = cpus_mapped(t);
    for (unsigned id = 0; id < t->node_count; id++) {
        ret->node_size[id] = node_bytes(&t->nodes[id], backends);
        memcpy(ret->node_memdev[id], t->nodes[id].memdev, ID_SIZE);
    }
    for (unsigned slot = 0; slot < ret->smp.maxcpus; slot++)
        ret->cpu_node[slot] = (uint8_t)place_cpu(t, &ret->smp, mapped, slot);
    complete_initiators(t, ret);
    ret->has_distances = topology_has_distances(t);
    if (ret->has_distances)
        complete_distances(t, ret);
}

bool
topology_has_cpu(const struct topology_final *t, uint64_t slot)
{
    return slot < TOPOLOGY_CPUS && bit_test(t->present, slot);
}

char *
topology_spell_cpus(const struct topology_final *t)
{
    g_autofree char *list = list_format(t->present, TOPOLOGY_CPUS);

    return g_strdup_printf("CPU%s %s", bits_count(t->present, TOPOLOGY_CPUS) > 1 ? "s" : "", list);
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

static void
warn_unmapped(const struct topology *t, const struct smp *smp, GPtrArray *warnings)
{
    g_autoptr(GString) cpus = g_string_new(NULL);

    for (unsigned cpu = 0; cpu < smp->maxcpus; cpu++) {
        if (t->cpu_node[cpu] < 0)
            describe_cpu(smp, cpu, cpus);
    }
    if (cpus->len)
        g_ptr_array_add(warnings, g_strdup_printf("CPU(s) not present in any NUMA nodes: %s; they will be in node 0",
                                                  cpus->str));
}

/* The CPUs of each node within one socket. */
struct socket_share {
    unsigned node;
    uint64_t cpus[WORDS_FOR(TOPOLOGY_CPUS)];
};

static unsigned
share_socket(const struct topology *t, const struct smp *smp, unsigned socket, struct socket_share *shares)
{
    unsigned count = 0, size = smp->maxcpus / smp->levels[SMP_SOCKETS];

    for (unsigned cpu = socket * size; cpu < (socket + 1) * size; cpu++) {
        unsigned node = (unsigned)place_cpu(t, smp, true, cpu), i = 0;

        while (i < count && shares[i].node != node)
            i++;
        if (i == count)
            shares[count++] = (struct socket_share) { .node = node };
        bit_set(shares[i].cpus, cpu);
    }
    return count;
}

static void
warn_pair(unsigned socket, const struct socket_share *a, const struct socket_share *b, GPtrArray *warnings)
{
    g_autofree char *cpus = list_format(a->cpus, TOPOLOGY_CPUS), *others = list_format(b->cpus, TOPOLOGY_CPUS);

    g_ptr_array_add(warnings, g_strdup_printf("CPU(s) %s and CPU(s) %s in socket-%u have been associated with "
                                              "node-%u and node-%u respectively. It can cause OSes like Linux to "
                                              "misbehave", cpus, others, socket, a->node, b->node));
}

/* A pair of nodes that divide a socket is a warning, up to a number that people can still read. */
static void
warn_divided(const struct topology *t, const struct smp *smp, GPtrArray *warnings)
{
    enum { NODES_SHOWN = 5 };
    struct socket_share shares[TOPOLOGY_CPUS];

    for (unsigned socket = 0; socket < smp->levels[SMP_SOCKETS]; socket++) {
        unsigned count = share_socket(t, smp, socket, shares);

        if (count > NODES_SHOWN) {
            g_ptr_array_add(warnings, g_strdup_printf("the CPUs in socket-%u have been associated with %u nodes. It "
                                                      "can cause OSes like Linux to misbehave", socket, count));
            continue;
        }
        for (unsigned a = 0; a < count; a++) {
            for (unsigned b = a + 1; b < count; b++)
                warn_pair(socket, &shares[a], &shares[b], warnings);
        }
    }
}

void
topology_warnings(const struct topology *t, GPtrArray *warnings)
{
    struct smp smp = topology_smp(t);

    if (!t->node_count || !cpus_mapped(t))
        return;
    warn_unmapped(t, &smp, warnings);
    warn_divided(t, &smp, warnings);
}
