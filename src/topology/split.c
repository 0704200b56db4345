/* SPDX-License-Identifier: GPL-3.0-or-later */
/* RAM for nodes that were given none: QEMU's two historic ways to divide it, and the one node that stands for none.
 * Sizes are whole multiples of 8 MiB but for the last node's; the ways differ in what becomes of the rests. */
#include "topology.h"

#include "topology-private.h"

#define SPLIT_ALIGN (8 * MIB)

const char *const auto_assign_names[] = {
    [AUTO_ASSIGN_DEFAULT] = "default", [AUTO_ASSIGN_LEGACY] = "legacy", [AUTO_ASSIGN_OFF] = "off", NULL
};

void
topology_split(enum auto_assign how, uint64_t bytes, unsigned count, uint64_t *ret_sizes)
{
    uint64_t share = bytes / count, carried = 0, used = 0;

    for (unsigned i = 0; i + 1 < count; i++) {
        uint64_t due = share + (how == AUTO_ASSIGN_DEFAULT ? carried : 0);

        ret_sizes[i] = due - due % SPLIT_ALIGN;
        carried = due - ret_sizes[i];
        used += ret_sizes[i];
    }
    ret_sizes[count - 1] = bytes - used;
}

bool
topology_auto_assign(struct topology *t, uint64_t bytes, struct backend_lookup backends)
{
    uint64_t sizes[TOPOLOGY_NODES];
    unsigned given = 0;

    if (!t->node_count || t->options.auto_assign == AUTO_ASSIGN_OFF || topology_memory(t, backends) > 0)
        return false;
    topology_split(t->options.auto_assign, bytes, t->node_count, sizes);
    for (unsigned id = 0; id < TOPOLOGY_NODES; id++) {
        struct node *n = &t->nodes[id];

        if (!n->present)
            continue;
        n->has_mem = true;
        n->mem = sizes[given++];
    }
    return true;
}

void
topology_add_implicit_node(struct topology *t, uint64_t bytes)
{
    g_assert(t->node_count == 0);
    t->nodes[0] = (struct node) { .present = true, .has_mem = true, .mem = bytes };
    t->node_order[t->node_count++] = 0;
}
