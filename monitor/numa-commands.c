/* SPDX-License-Identifier: GPL-3.0-or-later */
/* NUMA at the prompt: `numa node|dist|cpu` adds to the definition's topology, `numa_del` takes back.  The rules and
 * their wordings are the topology's. */
#include "monitor-private.h"

enum {
    NUMA_NODE, NUMA_DIST, NUMA_CPU, NUMA_LB, NUMA_CACHE, NUMA_KINDS,
    NUMA_INITIATOR = NUMA_KINDS, NUMA_DEL_KINDS             /* only to take back */
};

static const struct command_variant numa_variants[] = {
    [NUMA_NODE] = { "node", node_properties, -1, .summary = "declare a node, its CPUs and its memory" },
    [NUMA_DIST] = { "dist", dist_properties, -1, .summary = "set the distance from a node to a node" },
    [NUMA_CPU]  = { "cpu", cpu_properties, -1, .summary = "put CPUs, by their place in the levels, into a node" },
    [NUMA_LB]   = { "hmat-lb", hmat_lb_properties, -1, .summary = "tell latency or bandwidth from node to node" },
    [NUMA_CACHE] = { "hmat-cache", hmat_cache_properties, -1, .summary = "tell of a cache of a node's memory" },
    [NUMA_KINDS] = { NULL }
};

static enum outcome
run_numa(struct call *call, GError **error)
{
    static edit_function *const edits[NUMA_KINDS] = {
        [NUMA_NODE] = definition_add_node, [NUMA_DIST] = definition_set_distance, [NUMA_CPU] = definition_map_cpu,
        [NUMA_LB] = definition_add_hmat_lb, [NUMA_CACHE] = definition_add_hmat_cache,
    };

    enum outcome outcome = call_edit(call, edits[call->variant - numa_variants], error);

    if (outcome == COMMAND_DONE && call->args->table == node_properties && call->args->at[NODE_P_MEM].set)
        call_warn_once(call, WARNED_MEM, "Parameter -numa node,mem is deprecated, use -numa node,memdev instead");
    return outcome;
}

enum { DEL_NODE };
static const struct property del_node_args[] = {
    [DEL_NODE] = { "node", PROPERTY_UINT, .max = TOPOLOGY_NODES - 1, .required = true, .complete = COMPLETE_NODE,
                   .help = "node to take away, with its distances and its CPUs' mapping" },
    { 0 }
};

enum { DEL_SRC, DEL_DST };
static const struct property del_dist_args[] = {
    [DEL_SRC] = { "src", PROPERTY_UINT, .max = TOPOLOGY_NODES - 1, .required = true, .complete = COMPLETE_NODE,
                  .help = "node that the distance is from" },
    [DEL_DST] = { "dst", PROPERTY_UINT, .max = TOPOLOGY_NODES - 1, .required = true, .complete = COMPLETE_NODE,
                  .help = "node that the distance is to" },
    { 0 }
};

static const struct command_variant numa_del_variants[] = {
    [NUMA_NODE] = { "node", del_node_args, -1, .by_words = true, .summary = "take a node away" },
    [NUMA_DIST] = { "dist", del_dist_args, -1, .by_words = true, .summary = "take a distance back" },
    [NUMA_CPU]  = { "cpu", cpu_properties, -1, .or_blanks = true, .summary = "take CPUs out of their node" },
    [NUMA_LB]   = { "hmat-lb", hmat_lb_filter, -1, .or_blanks = true,
                    .summary = "take latencies and bandwidths back" },
    [NUMA_CACHE] = { "hmat-cache", hmat_cache_filter, -1, .or_blanks = true,
                     .summary = "take memory side caches back" },
    [NUMA_INITIATOR] = { "initiator", del_node_args, -1, .by_words = true,
                         .summary = "take a node's initiator back" },
    [NUMA_DEL_KINDS] = { NULL }
};

static bool
edit_delete_node(struct definition *d, const struct values *v, GError **error)
{
    return definition_delete_node(d, (unsigned)v->at[DEL_NODE].number, error);
}

static bool
edit_delete_distance(struct definition *d, const struct values *v, GError **error)
{
    return topology_delete_distance(&d->topology, (unsigned)v->at[DEL_SRC].number, (unsigned)v->at[DEL_DST].number,
                                    error);
}

static bool
edit_delete_lb(struct definition *d, const struct values *v, GError **error)
{
    return hmat_delete_lb(&d->hmat, v, error);
}

static bool
edit_delete_cache(struct definition *d, const struct values *v, GError **error)
{
    return hmat_delete_cache(&d->hmat, v, error);
}

static bool
edit_delete_initiator(struct definition *d, const struct values *v, GError **error)
{
    return topology_delete_initiator(&d->topology, (unsigned)v->at[DEL_NODE].number, error);
}

static enum outcome
run_numa_del(struct call *call, GError **error)
{
    static edit_function *const edits[NUMA_DEL_KINDS] = {
        [NUMA_NODE] = edit_delete_node, [NUMA_DIST] = edit_delete_distance, [NUMA_CPU] = definition_unmap_cpu,
        [NUMA_LB] = edit_delete_lb, [NUMA_CACHE] = edit_delete_cache, [NUMA_INITIATOR] = edit_delete_initiator,
    };

    return call_edit(call, edits[call->variant - numa_del_variants], error);
}

static const struct command numa_commands[] = {
    { .name = "numa", .summary = "define nodes, distances and CPU placement", .form = FORM_VARIANTS,
      .variants = numa_variants, .option = "-numa", .when = WHEN_PRECONFIG, .run = run_numa,
      .details = "By default there is no node, or one if there are memory slots.  CPUs that no node names are "
                 "divided by sockets over the nodes, or go to node 0 if any CPU was placed.  RAM is divided if no "
                 "node has a size." },
    { .name = "numa_del", .summary = "take back a node, a distance or a CPU's placement", .form = FORM_VARIANTS,
      .variants = numa_del_variants, .when = WHEN_PRECONFIG, .run = run_numa_del },
    { 0 }
};

const struct command_group numa_group = { .title = "NUMA", .commands = numa_commands };
