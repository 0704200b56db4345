/* SPDX-License-Identifier: GPL-3.0-or-later */
/* `numa dist`: a matrix of what was given, 0 where nothing was.  One direction stands for both unless both are
 * given; a node's distance to itself is 10. */
#include "topology.h"

#include "topology-private.h"

const struct property dist_properties[] = {
    [DIST_P_SRC] = { "src", PROPERTY_UINT, .max = TOPOLOGY_NODES - 1, .required = true, .complete = COMPLETE_NODE,
                     .help = "node that the distance is from" },
    [DIST_P_DST] = { "dst", PROPERTY_UINT, .max = TOPOLOGY_NODES - 1, .required = true, .complete = COMPLETE_NODE,
                     .help = "node that the distance is to" },
    [DIST_P_VAL] = { "val", PROPERTY_UINT, .max = UINT8_MAX, .required = true,
                     .help = "relative distance; 10 is local, 255 unreachable" },
    { 0 }
};

bool
topology_set_distance(struct topology *t, const struct values *v, GError **error)
{
    unsigned src = (unsigned)v->at[DIST_P_SRC].number, dst = (unsigned)v->at[DIST_P_DST].number;
    unsigned val = (unsigned)v->at[DIST_P_VAL].number;

    if (!t->nodes[src].present || !t->nodes[dst].present)
        return fail(error, NUMON_ERROR_STATE, "Source/Destination NUMA node is missing. "
                    "Please use '-numa node' option to declare it first.");
    if (val < DISTANCE_MIN)
        return fail(error, NUMON_ERROR_ARGUMENT, "NUMA distance (%u) is invalid, it shouldn't be less than %d.", val,
                    DISTANCE_MIN);
    if (src == dst && val != DISTANCE_LOCAL)
        return fail(error, NUMON_ERROR_ARGUMENT, "Local distance of node %u should be %d.", src, DISTANCE_LOCAL);
    t->distance[src][dst] = (uint8_t)val;
    return true;
}

bool
topology_delete_distance(struct topology *t, unsigned src, unsigned dst, GError **error)
{
    if (src >= TOPOLOGY_NODES || dst >= TOPOLOGY_NODES || !t->distance[src][dst])
        return fail(error, NUMON_ERROR_ARGUMENT, "cannot delete the distance from node %u to node %u: none was given",
                    src, dst);
    t->distance[src][dst] = 0;
    return true;
}

enum distance_kind
topology_distance(const struct topology *t, unsigned src, unsigned dst, unsigned *ret_value)
{
    if (t->distance[src][dst]) {
        *ret_value = t->distance[src][dst];
        return DISTANCE_GIVEN;
    }
    if (src == dst) {
        *ret_value = DISTANCE_LOCAL;
        return DISTANCE_DEFAULT;
    }
    *ret_value = t->distance[dst][src];
    return *ret_value ? DISTANCE_MIRRORED : DISTANCE_MISSING;
}

bool
topology_has_distances(const struct topology *t)
{
    const uint8_t *first = &t->distance[0][0];

    for (size_t i = 0; i < sizeof t->distance; i++) {
        if (first[i])
            return true;
    }
    return false;
}

void
distance_save(const struct topology *t, GString *out)
{
    for (unsigned src = 0; src < TOPOLOGY_NODES; src++) {
        for (unsigned dst = 0; dst < TOPOLOGY_NODES; dst++) {
            if (t->distance[src][dst])
                g_string_append_printf(out, "numa dist,src=%u,dst=%u,val=%u\n", src, dst, t->distance[src][dst]);
        }
    }
}
