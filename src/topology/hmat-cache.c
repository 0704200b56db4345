/* SPDX-License-Identifier: GPL-3.0-or-later */
/* `numa hmat-cache`: caches of a node's memory, level 1 nearest to the CPUs' caches (ACPI 6.5, 5.2.28.5).  One array,
 * sorted by node and level; the levels of a node have no gap, and each is larger than the one below. */
#include "topology.h"

#include <inttypes.h>

#include "topology-private.h"

const char *const hmat_associativity_names[] = { "none", "direct", "complex", NULL };
const char *const hmat_policy_names[] = { "none", "write-back", "write-through", NULL };

const struct property hmat_cache_properties[] = {
    [CACHE_P_NODE] = { "node-id", PROPERTY_UINT, .max = UINT32_MAX, .required = true, .complete = COMPLETE_NODE,
                       .help = "node whose memory is cached" },
    [CACHE_P_SIZE] = { "size", PROPERTY_SIZE, .max = UINT64_MAX, .unit = "bytes", .required = true,
                       .help = "size of the cache; larger than the level below" },
    [CACHE_P_LEVEL] = { "level", PROPERTY_UINT, .max = UINT8_MAX, .required = true, .help = "1 to 3, in this order" },
    [CACHE_P_ASSOCIATIVITY] = { "associativity", PROPERTY_CHOICE, .choices = hmat_associativity_names,
                                .required = true, .help = "how an address finds its place" },
    [CACHE_P_POLICY] = { "policy", PROPERTY_CHOICE, .choices = hmat_policy_names, .required = true,
                         .help = "what a write does" },
    [CACHE_P_LINE] = { "line", PROPERTY_UINT, .max = UINT16_MAX, .unit = "bytes", .required = true,
                       .help = "size of a line" },
    { 0 }
};

/* `numa_del hmat-cache`: a level goes with those above it. */
const struct property hmat_cache_filter[] = {
    [CACHE_P_NODE] = { "node-id", PROPERTY_UINT, .max = TOPOLOGY_NODES - 1, .required = true,
                       .complete = COMPLETE_NODE, .help = "node whose memory is cached" },
    [CACHE_FILTER_P_LEVEL] = { "level", PROPERTY_UINT, .min = 1, .max = HMAT_LEVELS,
                               .help = "the level, and those above it; left out: all" },
    { 0 }
};

const struct hmat_cache *
hmat_cache_at(const struct hmat *h, guint i)
{
    return &((const struct hmat_cache *)h->cache->data)[i];
}

const struct hmat_cache *
hmat_cache_find(const struct hmat *h, unsigned node, unsigned level)
{
    for (guint i = 0; i < h->cache->len; i++) {
        const struct hmat_cache *c = hmat_cache_at(h, i);

        if (c->node == node && c->level == level)
            return c;
    }
    return NULL;
}

bool
caches_equal(const struct hmat *a, const struct hmat *b)
{
    for (guint i = 0; a->cache->len == b->cache->len && i < a->cache->len; i++) {
        const struct hmat_cache *x = hmat_cache_at(a, i), *y = hmat_cache_at(b, i);

        if (x->node != y->node || x->level != y->level || x->size != y->size || x->line != y->line
            || x->associativity != y->associativity || x->policy != y->policy)
            return false;
    }
    return a->cache->len == b->cache->len;
}

/* True if a latency and a bandwidth to this node's memory are known. */
static bool
has_lb(const struct hmat *h, unsigned node)
{
    bool latency = false, bandwidth = false;

    for (guint i = 0; i < h->lb->len; i++) {
        const struct hmat_lb *e = hmat_lb_at(h, i);

        if (e->target != node || !e->value)
            continue;
        latency |= hmat_is_latency(e->type);
        bandwidth |= !hmat_is_latency(e->type);
    }
    return latency && bandwidth;
}

static bool
place_is_right(const struct hmat *h, const struct topology *t, uint64_t node, uint64_t level, GError **error)
{
    if (node >= TOPOLOGY_NODES || !t->nodes[node].present)
        return fail(error, NUMON_ERROR_ARGUMENT, "Invalid node-id=%" PRIu64 ", it should be less than %u and the "
                    "node declared", node, t->node_count);
    if (!has_lb(h, (unsigned)node))
        return fail(error, NUMON_ERROR_STATE, "The latency and bandwidth information of node-id=%" PRIu64 " should "
                    "be provided before memory side cache attributes", node);
    if (level < 1 || level > HMAT_LEVELS)
        return fail(error, NUMON_ERROR_ARGUMENT, "Invalid level=%" PRIu64 ", it should be larger than 0 and less "
                    "than or equal to %d", level, HMAT_LEVELS);
    if (hmat_cache_find(h, (unsigned)node, (unsigned)level))
        return fail(error, NUMON_ERROR_STATE, "Duplicate configuration of the side cache for node-id=%" PRIu64 " and "
                    "level=%" PRIu64, node, level);
    return true;
}

static bool
size_is_right(const struct hmat *h, unsigned node, unsigned level, uint64_t size, GError **error)
{
    /* QEMU takes a cache of no size at the lowest level. */
    if (size == 0)
        return fail(error, NUMON_ERROR_ARGUMENT, "Invalid size=0, the size of level=%u should be larger than nothing",
                    level);

    const struct hmat_cache *below = level > 1 ? hmat_cache_find(h, node, level - 1) : NULL;

    if (level > 1 && !below)
        return fail(error, NUMON_ERROR_STATE, "Cache level=%u shall be defined first", level - 1);
    if (below && size <= below->size)
        return fail(error, NUMON_ERROR_ARGUMENT, "Invalid size=%" PRIu64 ", the size of level=%u should be larger "
                    "than the size(%" PRIu64 ") of level=%u", size, level, below->size, level - 1);
    return true;
}

bool
hmat_add_cache(struct hmat *h, const struct topology *t, const struct values *v, GError **error)
{
    uint64_t node = v->at[CACHE_P_NODE].number, level = v->at[CACHE_P_LEVEL].number;
    uint64_t size = v->at[CACHE_P_SIZE].number;
    guint place = 0;

    if (!hmat_enabled(t, error) || !place_is_right(h, t, node, level, error)
        || !size_is_right(h, (unsigned)node, (unsigned)level, size, error))
        return false;

    struct hmat_cache c = {
        .node = (uint8_t)node, .level = (uint8_t)level, .size = size, .line = (uint16_t)v->at[CACHE_P_LINE].number,
        .associativity = (uint8_t)v->at[CACHE_P_ASSOCIATIVITY].number,
        .policy = (uint8_t)v->at[CACHE_P_POLICY].number,
    };
    while (place < h->cache->len && (hmat_cache_at(h, place)->node < c.node
                                     || (hmat_cache_at(h, place)->node == c.node
                                         && hmat_cache_at(h, place)->level < c.level)))
        place++;
    g_array_insert_val(h->cache, place, c);
    return true;
}

bool
hmat_delete_cache(struct hmat *h, const struct values *v, GError **error)
{
    const struct value *level = &v->at[CACHE_FILTER_P_LEVEL];
    unsigned node = (unsigned)v->at[CACHE_P_NODE].number;
    guint before = h->cache->len;

    for (guint i = h->cache->len; i-- > 0;) {
        const struct hmat_cache *c = hmat_cache_at(h, i);

        if (c->node == node && (!level->set || c->level >= level->number))
            g_array_remove_index(h->cache, i);
    }
    return h->cache->len < before
        || fail(error, NUMON_ERROR_ARGUMENT, "no match found: node %u has no such hmat-cache", node);
}

void
caches_forget_unfounded(struct hmat *h)
{
    for (guint i = h->cache->len; i-- > 0;) {
        if (!has_lb(h, hmat_cache_at(h, i)->node))
            g_array_remove_index(h->cache, i);
    }
}

void
caches_save(const struct hmat *h, GString *out)
{
    for (guint i = 0; i < h->cache->len; i++) {
        const struct hmat_cache *c = hmat_cache_at(h, i);
        g_autofree char *size = size_spell(c->size);

        g_string_append_printf(out,
                               "numa hmat-cache,node-id=%u,size=%s,level=%u,associativity=%s,policy=%s,line=%u\n",
                               c->node, size, c->level, hmat_associativity_names[c->associativity],
                               hmat_policy_names[c->policy], c->line);
    }
}
