/* SPDX-License-Identifier: GPL-3.0-or-later */
/* HMAT: how fast memory is from where (ACPI 6.4, 5.2.27), of what the user gave by `numa hmat-lb` and `hmat-cache`.
 * Structures about the memory of a node are made for nodes that have some: guests refuse others. */
#include "boot-private.h"

struct hmat_head {                      /* table 5-141 */
    struct acpi_header header;
    uint32_t reserved;
} __attribute__((packed));
G_STATIC_ASSERT(sizeof(struct hmat_head) == 40);

struct hmat_proximity {                 /* table 5-144: memory proximity domain attributes */
    uint16_t type, reserved_1;
    uint32_t length;
    uint16_t flags, reserved_2;
    uint32_t initiator, memory, reserved_3;
    uint64_t reserved_4, reserved_5;
} __attribute__((packed));
G_STATIC_ASSERT(sizeof(struct hmat_proximity) == 40);

struct hmat_locality {                  /* table 5-145; initiators, targets and the matrix follow */
    uint16_t type, reserved_1;
    uint32_t length;
    uint8_t hierarchy, data_type, min_transfer, reserved_2;
    uint32_t initiators, targets, reserved_3;
    uint64_t base;                      /* what an entry counts: picoseconds or MB/s */
} __attribute__((packed));
G_STATIC_ASSERT(sizeof(struct hmat_locality) == 32);

struct hmat_side_cache {                /* table 5-146 */
    uint16_t type, reserved_1;
    uint32_t length, memory, reserved_2;
    uint64_t size;
    uint32_t attributes;                /* levels, this level, associativity, policy: 4 bits each; line size 16 */
    uint16_t reserved_3, handles;
} __attribute__((packed));
G_STATIC_ASSERT(sizeof(struct hmat_side_cache) == 32);

enum { HMAT_REVISION = 2, PROXIMITY = 0, LOCALITY = 1, SIDE_CACHE = 2, INITIATOR_VALID = 1 << 0 };
enum { PICOSECONDS = 1000 };            /* in a nanosecond */

#define APPEND(table, ...) g_byte_array_append(table, (const uint8_t *)&(__VA_ARGS__), sizeof(__VA_ARGS__))

/* The nodes whose CPUs access, in the order of their numbers; returns how many. */
static unsigned
list_initiators(const struct topology_final *t, uint32_t *ret)
{
    bool has[TOPOLOGY_NODES] = { false };
    unsigned count = 0;

    for (unsigned slot = 0; slot < t->smp.maxcpus; slot++)
        has[t->cpu_node[slot]] = true;
    for (unsigned node = 0; node < t->node_count; node++)
        if (has[node])
            ret[count++] = GUINT32_TO_LE(node);
    return count;
}

static void
add_proximity(GByteArray *table, const struct topology_final *t)
{
    for (unsigned node = 0; node < t->node_count; node++) {
        bool valid = t->node_initiator[node] >= 0;

        if (t->node_size[node] == 0)
            continue;
        APPEND(table, (struct hmat_proximity) {
            .type = GUINT16_TO_LE(PROXIMITY), .length = GUINT32_TO_LE(sizeof(struct hmat_proximity)),
            .flags = GUINT16_TO_LE(valid ? INITIATOR_VALID : 0),
            .initiator = GUINT32_TO_LE(valid ? (uint32_t)t->node_initiator[node] : 0),
            .memory = GUINT32_TO_LE(node),
        });
    }
}

static uint32_t
locality_length(const struct topology_final *t, unsigned initiators)
{
    return (uint32_t)(sizeof(struct hmat_locality) + (initiators + t->node_count) * sizeof(uint32_t) +
                      initiators * t->node_count * sizeof(uint16_t));
}

static void
add_locality(GByteArray *table, const struct topology_final *t, const struct hmat *h, unsigned hierarchy,
             unsigned type)
{
    uint32_t nodes[TOPOLOGY_NODES];
    unsigned count = list_initiators(t, nodes);
    uint64_t base = hmat_base(h, hierarchy, type);
    uint64_t unit = hmat_is_latency(type) ? base * PICOSECONDS : base / MIB;
    uint32_t length = locality_length(t, count);

    APPEND(table, (struct hmat_locality) {
        .type = GUINT16_TO_LE(LOCALITY), .length = GUINT32_TO_LE(length), .hierarchy = (uint8_t)hierarchy,
        .data_type = (uint8_t)type, .initiators = GUINT32_TO_LE(count), .targets = GUINT32_TO_LE(t->node_count),
        .base = GUINT64_TO_LE(unit),
    });
    g_byte_array_append(table, (const uint8_t *)nodes, count * sizeof nodes[0]);
    for (uint32_t target = 0; target < t->node_count; target++)
        APPEND(table, (uint32_t) { GUINT32_TO_LE(target) });
    for (unsigned i = 0; i < count; i++)
        for (unsigned target = 0; target < t->node_count; target++) {
            const struct hmat_lb *e = hmat_find(h, hierarchy, type, GUINT32_FROM_LE(nodes[i]), target);

            APPEND(table, (uint16_t) { GUINT16_TO_LE(e ? hmat_encode(e->value, base) : 0) });
        }
}

static unsigned
cache_levels(const struct hmat *h, unsigned node)
{
    unsigned levels = 0;

    while (hmat_cache_find(h, node, levels + 1))
        levels++;
    return levels;
}

static void
add_cache(GByteArray *table, const struct hmat *h, const struct hmat_cache *c)
{
    uint32_t attributes = cache_levels(h, c->node) | (uint32_t)c->level << 4 | (uint32_t)c->associativity << 8 |
                          (uint32_t)c->policy << 12 | (uint32_t)c->line << 16;

    APPEND(table, (struct hmat_side_cache) {
        .type = GUINT16_TO_LE(SIDE_CACHE), .length = GUINT32_TO_LE(sizeof(struct hmat_side_cache)),
        .memory = GUINT32_TO_LE(c->node), .size = GUINT64_TO_LE(c->size), .attributes = GUINT32_TO_LE(attributes),
    });
}

GByteArray *
hmat_build(const struct topology_final *topology, const struct hmat *h)
{
    GByteArray *table = acpi_table_begin("HMAT", HMAT_REVISION, sizeof(struct hmat_head));

    add_proximity(table, topology);
    for (unsigned hierarchy = 0; hierarchy < HMAT_HIERARCHIES; hierarchy++)
        for (unsigned type = 0; type < HMAT_TYPES; type++)
            if (hmat_base(h, hierarchy, type))
                add_locality(table, topology, h, hierarchy, type);
    for (guint i = 0; i < h->cache->len; i++)
        if (topology->node_size[hmat_cache_at(h, i)->node])
            add_cache(table, h, hmat_cache_at(h, i));
    acpi_table_end(table);
    return table;
}

uint64_t
hmat_kinds_that_fit(const struct topology_final *topology, const struct hmat *h, uint64_t room, unsigned *ret_kinds,
                    uint64_t *ret_bytes)
{
    g_autoptr(GByteArray) table = hmat_build(topology, h);
    uint32_t nodes[TOPOLOGY_NODES];
    uint64_t rest;

    *ret_bytes = locality_length(topology, list_initiators(topology, nodes));
    *ret_kinds = 0;
    for (unsigned hierarchy = 0; hierarchy < HMAT_HIERARCHIES; hierarchy++)
        for (unsigned type = 0; type < HMAT_TYPES; type++)
            *ret_kinds += hmat_base(h, hierarchy, type) != 0;
    rest = table->len - *ret_kinds * *ret_bytes;
    return room > rest ? (room - rest) / *ret_bytes : 0;
}
