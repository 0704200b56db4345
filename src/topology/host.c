/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The host's own NUMA nodes: which there are, what they hold, binding memory to them and asking where pages lie.
 * The only file that knows libnuma.  A host without NUMA counts as one node, 0, that nothing can be bound to. */
#include "topology.h"

#include <errno.h>
#include <numa.h>
#include <numaif.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

const char *const host_policy_names[] = {
    [HOST_POLICY_DEFAULT] = "default",
    [HOST_POLICY_PREFERRED] = "preferred",
    [HOST_POLICY_BIND] = "bind",
    [HOST_POLICY_INTERLEAVE] = "interleave",
    NULL
};

static bool
has_numa(void)
{
    return numa_available() >= 0;
}

/* --- which nodes there are -------------------------------------------------------------------------------------- */

static bool
node_has_memory(unsigned node)
{
    long long free_bytes;

    return has_numa() ? numa_node_size64((int)node, &free_bytes) > 0 : node == 0;
}

void
host_nodes(uint64_t *ret_words)
{
    int highest = has_numa() ? numa_max_node() : 0;

    memset(ret_words, 0, WORDS_FOR(HOST_NODES) * sizeof *ret_words);
    for (int node = 0; node <= highest && node < HOST_NODES; node++) {
        if (!has_numa() || numa_bitmask_isbitset(numa_nodes_ptr, (unsigned)node))
            bit_set(ret_words, (unsigned)node);
    }
}

bool
host_nodes_check(const uint64_t *wanted, const char *attempt, GError **error)
{
    uint64_t there[WORDS_FOR(HOST_NODES)];

    host_nodes(there);
    for (unsigned node = 0; node < HOST_NODES; node++) {
        if (!bit_test(wanted, node) || (bit_test(there, node) && node_has_memory(node)))
            continue;
        g_autofree char *list = list_format(there, HOST_NODES);

        if (bit_test(there, node))
            return fail(error, NUMON_ERROR_ARGUMENT, "cannot %s host node %u: it has no memory", attempt, node);
        return fail(error, NUMON_ERROR_ARGUMENT, "cannot %s host node %u: this host has %s %s", attempt, node,
                    strpbrk(list, ",-") ? "nodes" : "only node", list);
    }
    return true;
}

/* --- binding ---------------------------------------------------------------------------------------------------- */

static int
mbind_mode(enum host_policy policy)
{
    switch (policy) {
    case HOST_POLICY_PREFERRED:
        return MPOL_PREFERRED;
    case HOST_POLICY_BIND:
        return MPOL_BIND;
    case HOST_POLICY_INTERLEAVE:
        return MPOL_INTERLEAVE;
    case HOST_POLICY_DEFAULT:
        break;
    }
    return MPOL_DEFAULT;
}

int
host_bind(void *start, uint64_t size, enum host_policy policy, const uint64_t *nodes)
{
    unsigned long mask[HOST_NODES / (8 * sizeof(unsigned long))] = { 0 };
    unsigned flags = policy == HOST_POLICY_DEFAULT ? 0 : MPOL_MF_STRICT | MPOL_MF_MOVE;

    if (policy == HOST_POLICY_DEFAULT)
        return 0;
    for (unsigned node = 0; node < HOST_NODES; node++) {
        if (bit_test(nodes, node))
            mask[node / (8 * sizeof *mask)] |= 1UL << node % (8 * sizeof *mask);
    }
    /* The kernel takes one bit less than 'maxnode' (mbind(2), bugs). */
    return mbind(start, size, mbind_mode(policy), mask, HOST_NODES + 1, flags) == 0 ? 0 : errno;
}

int
host_page_nodes(void **pages, unsigned long count, int *ret_nodes)
{
    if (!has_numa())
        return ENOSYS;
    return move_pages(0, count, pages, NULL, ret_nodes, 0) == 0 ? 0 : errno;
}

/* --- what they hold --------------------------------------------------------------------------------------------- */

static void
read_cpus(unsigned node, uint64_t *ret_words)
{
    struct bitmask *cpus = has_numa() ? numa_allocate_cpumask() : NULL;

    if (cpus && numa_node_to_cpus((int)node, cpus) == 0) {
        for (unsigned cpu = 0; cpu < MIN(cpus->size, HOST_CPUS); cpu++) {
            if (numa_bitmask_isbitset(cpus, cpu))
                bit_set(ret_words, cpu);
        }
    }
    for (long cpu = 0; !has_numa() && cpu < MIN(sysconf(_SC_NPROCESSORS_ONLN), HOST_CPUS); cpu++)
        bit_set(ret_words, (uint64_t)cpu);
    if (cpus)
        numa_free_cpumask(cpus);
}

void
host_node_read(unsigned node, struct host_node *ret)
{
    long long free_bytes = 0, total = has_numa() ? numa_node_size64((int)node, &free_bytes) : 0;

    *ret = (struct host_node) { .total = total > 0 ? (uint64_t)total : 0, .free = (uint64_t)MAX(free_bytes, 0) };
    if (!has_numa()) {
        ret->total = (uint64_t)sysconf(_SC_PHYS_PAGES) * PAGE_SIZE;
        ret->free = (uint64_t)sysconf(_SC_AVPHYS_PAGES) * PAGE_SIZE;
    }
    read_cpus(node, ret->cpus);
}

void
host_cpus(uint64_t *ret_words)
{
    uint64_t nodes[WORDS_FOR(HOST_NODES)];

    memset(ret_words, 0, WORDS_FOR(HOST_CPUS) * sizeof *ret_words);
    host_nodes(nodes);
    for (unsigned node = 0; node < HOST_NODES; node++) {
        if (bit_test(nodes, node))
            read_cpus(node, ret_words);
    }
}

unsigned
host_distance(unsigned from, unsigned to)
{
    int distance = has_numa() ? numa_distance((int)from, (int)to) : 0;

    if (distance > 0)
        return (unsigned)distance;
    return from == to ? DISTANCE_LOCAL : 0;
}

/* --- huge pages ------------------------------------------------------------------------------------------------- */

static bool
read_count(const char *folder, const char *name, uint64_t *ret)
{
    g_autofree char *path = g_build_filename(folder, name, NULL), *text = NULL;

    return g_file_get_contents(path, &text, NULL, NULL) && number_parse(g_strstrip(text), ret, NULL);
}

static bool
read_huge_pool(const char *folder, const char *name, struct host_huge_pool *ret)
{
    g_autofree char *pool = g_build_filename(folder, name, NULL);
    uint64_t kib;

    if (sscanf(name, "hugepages-%" G_GUINT64_FORMAT "kB", &kib) != 1)
        return false;
    ret->page_size = kib * KIB;
    return read_count(pool, "nr_hugepages", &ret->total) && read_count(pool, "free_hugepages", &ret->free);
}

static int
compare_pools(const void *a, const void *b)
{
    const struct host_huge_pool *x = a, *y = b;

    return (x->page_size > y->page_size) - (x->page_size < y->page_size);
}

unsigned
host_huge_pools(int node, struct host_huge_pool *ret, unsigned limit)
{
    g_autofree char *folder = node < 0 ? g_strdup("/sys/kernel/mm/hugepages")
                                       : g_strdup_printf("/sys/devices/system/node/node%d/hugepages", node);
    g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
    unsigned count = 0;

    for (const char *name; dir && count < limit && (name = g_dir_read_name(dir));)
        count += read_huge_pool(folder, name, &ret[count]);
    qsort(ret, count, sizeof *ret, compare_pools);
    return count;
}
