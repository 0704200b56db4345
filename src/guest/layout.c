/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Divides what was found among nodes and CPUs (control-page.h says how) and says it on the serial port. */
#include "guest.h"

enum { MEGABYTE = 1 << 20 };

static struct piece
intersect(struct piece a, struct piece b)
{
    uint64_t first = a.base > b.base ? a.base : b.base;
    uint64_t a_end = a.base + a.size, b_end = b.base + b.size, end = a_end < b_end ? a_end : b_end;

    return (struct piece) { first, end > first ? end - first : 0 };
}

/* Makes it the node's free range if what lies above CONTROL_FREE is larger than the one so far. */
static void
offer(struct control_node *node, struct piece p)
{
    uint64_t end = (p.base + p.size) & ~(uint64_t)(CONTROL_PAGE - 1);
    uint64_t base = (p.base + CONTROL_PAGE - 1) & ~(uint64_t)(CONTROL_PAGE - 1);

    if (base < CONTROL_FREE)
        base = CONTROL_FREE;
    if (end > base && end - base > node->size) {
        node->base = base;
        node->size = end - base;
    }
}

static void
lay_out_nodes(const struct platform *p, const struct loader_info *info)
{
    for (unsigned r = 0; r < info->ram_count; r++) {
        if (p->node_count == 0)
            offer(&nodes[0], info->ram[r]);
        for (unsigned m = 0; m < p->memory_count; m++) {
            struct piece memory = { p->memory[m].base, p->memory[m].size };

            offer(&nodes[p->memory[m].node], intersect(memory, info->ram[r]));
        }
    }
    for (unsigned n = 0; n < CONTROL_NODES; n++)
        if (nodes[n].size)
            nodes[n].size = map_range(nodes[n].base, nodes[n].size) & ~(uint64_t)(CONTROL_PAGE - 1);
}

/* Where numon did not start the others, CPU 0 is the one that runs this. */
static void
put_own_first(struct platform *p)
{
    uint32_t own = apic_own_id();

    for (unsigned i = 1; i < p->cpu_count; i++)
        if (p->apic_id[i] == own) {
            uint32_t node = p->cpu_node[i];

            p->apic_id[i] = p->apic_id[0];
            p->cpu_node[i] = p->cpu_node[0];
            p->enabled[i] = p->enabled[0];
            p->enabled[0] = true;
            p->apic_id[0] = own;
            p->cpu_node[0] = node;
            return;
        }
}

void
lay_out(struct platform *p, const struct loader_info *info)
{
    if (!(head->flags & CONTROL_FLAG_DIRECT))
        put_own_first(p);
    lay_out_nodes(p, info);
    for (unsigned i = 0; i < p->cpu_count; i++) {
        struct control_cpu *cpu = cpu_page(i);

        cpu->apic_id = p->apic_id[i];
        cpu->node = p->cpu_node[i];
        cpu->rank = nodes[cpu->node].cpus++;
        cpu->target_node = cpu->node;
        cpu->random = (i + 1) * UINT64_C(0x9e3779b97f4a7c15);
    }
    head->cpu_count = p->cpu_count;
    head->node_count = p->node_count ? p->node_count : 1;
}

static uint64_t
node_bytes(const struct platform *p, const struct loader_info *info, unsigned node)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < p->memory_count; i++)
        if (p->memory[i].node == node)
            sum += p->memory[i].size;
    for (unsigned i = 0; p->node_count == 0 && i < info->ram_count; i++)
        sum += info->ram[i].size;
    return sum;
}

static void
print_node(const struct platform *p, const struct loader_info *info, unsigned node)
{
    bool any = false;

    print("node ");
    print_number(node);
    print(" cpus");
    for (unsigned i = 0; i < p->cpu_count; i++)
        if (p->enabled[i] && p->cpu_node[i] == node) {
            print(" ");
            print_number(i);
            any = true;
        }
    print(any ? " size " : " none size ");
    print_number((node_bytes(p, info, node) + MEGABYTE / 2) / MEGABYTE);
    print(" MB\n");
}

void
print_topology(const struct platform *p, const struct loader_info *info)
{
    unsigned cpus = 0;

    for (unsigned i = 0; i < p->cpu_count; i++)
        cpus += p->enabled[i];
    print("nodes ");
    print_number(head->node_count);
    print(" cpus ");
    print_number(cpus);
    print("\n");
    for (unsigned n = 0; n < head->node_count; n++)
        print_node(p, info, n);
    for (unsigned i = 0; p->has_distances && i < p->node_count; i++) {
        print("distance ");
        print_number(i);
        print(":");
        for (unsigned j = 0; j < p->node_count; j++) {
            print(" ");
            print_number(p->distance[i][j]);
        }
        print("\n");
    }
}
