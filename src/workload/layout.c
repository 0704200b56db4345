/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Control pages as the workload guest itself lays them out from SRAT, for the accelerator that loads no image. */
#include "workload.h"

#include <string.h>

#include "workload-private.h"

/* The part of a section above CONTROL_FREE, as a node's free range. */
static struct control_node
free_part(const struct section *s)
{
    uint64_t end = s->gpa + s->size, base = MAX(s->gpa, CONTROL_FREE);

    return (struct control_node) { .base = base, .size = end > base ? end - base : 0 };
}

/* Each node's largest piece; without NUMA all memory is node 0's. */
static void
find_free_ranges(const struct guest_map *map, struct control_node *nodes)
{
    for (unsigned i = 0; i < map->sections->len; i++) {
        const struct section *s = &g_array_index(map->sections, struct section, i);
        struct control_node found = free_part(s);
        unsigned node = s->node < 0 ? 0 : (unsigned)s->node;

        if (!s->block->device && node < CONTROL_NODES && found.size > nodes[node].size) {
            nodes[node].base = found.base;
            nodes[node].size = found.size;
        }
    }
}

static bool
pages_are_ram(const struct guest_map *map, unsigned cpu_slots, GError **error)
{
    bool ok = workload_head(map) && workload_nodes(map);

    for (unsigned cpu = 0; ok && cpu < cpu_slots; cpu++)
        ok = workload_cpu(map, cpu) != NULL;
    return ok || fail(error, NUMON_ERROR_ARGUMENT,
                      "cannot lay out the workload guest: its control pages (2 MiB to 6 MiB) are not all RAM");
}

static void
put_cpu(struct control_cpu *c, unsigned cpu, struct control_node *node, unsigned index)
{
    memset(c, 0, sizeof *c);
    c->apic_id = cpu;
    c->node = index;
    c->rank = node->cpus++;
    c->target_node = index;
    c->random = UINT64_C(0x9e3779b97f4a7c15) * (cpu + 1);
}

bool
workload_lay_out(const struct guest_map *map, const int *cpu_node, unsigned cpu_slots, unsigned node_count,
                 GError **error)
{
    struct control_head *head = workload_head(map);
    struct control_node *nodes = workload_nodes(map);

    g_assert(cpu_slots <= CONTROL_CPUS && node_count <= CONTROL_NODES);
    if (!pages_are_ram(map, cpu_slots, error))
        return false;
    memset(head, 0, CONTROL_PAGE);
    memset(nodes, 0, CONTROL_PAGE);
    *head = (struct control_head) {
        .magic = CONTROL_MAGIC, .version = CONTROL_VERSION, .cpu_count = cpu_slots, .node_count = MAX(node_count, 1),
        .probes = 1, .flags = CONTROL_FLAG_NAP | CONTROL_FLAG_DIRECT | CONTROL_FLAG_PARAMETERS,
    };
    workload_parameters_init(&head->parameters);
    find_free_ranges(map, nodes);
    for (unsigned cpu = 0; cpu < cpu_slots; cpu++) {
        unsigned node = cpu_node[cpu] < 0 ? 0 : (unsigned)cpu_node[cpu];

        put_cpu(workload_cpu(map, cpu), cpu, &nodes[node], node);
    }
    return true;
}
