/* SPDX-License-Identifier: GPL-3.0-or-later */
/* How the files of src/workload/ reach the control pages in guest memory.  A guest can write anything there, and a
 * stream can bring anything: every address goes through the map, every count is bounded before use. */
#ifndef WORKLOAD_PRIVATE_H
#define WORKLOAD_PRIVATE_H

#include "workload.h"

/* NULL if that page is not RAM. */
struct control_head *workload_head(const struct guest_map *map);
struct control_node *workload_nodes(const struct guest_map *map);
struct control_cpu *workload_cpu(const struct guest_map *map, unsigned cpu);

/* A word that a vCPU may change meanwhile. */
static inline uint64_t
peek(const uint64_t *word)
{
    return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

static inline uint32_t
peek32(const uint32_t *word)
{
    return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

/* A word that vCPUs, or a migration, may look at meanwhile. */
static inline void
poke(uint64_t *word, uint64_t value)
{
    __atomic_store_n(word, value, __ATOMIC_RELEASE);
}

#endif
