/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The leaves that tell of a CPU's place: which bits of its APIC id are its thread, core, module, die and socket, how
 * many CPUs each level has, and which share a cache.
 *
 * A count that a guest takes for a width (caches, leaf 1 and 4 of Intel) is the number of ids that there could be, a
 * power of two; where the leaf tells a width beside it, it is the number of CPUs.  Ids have gaps where counts are no
 * powers of two.
 *
 * A cache is shared by CPUs of one node only: guests take CPUs that share their last cache for neighbours, and
 * complain if the nodes say otherwise.  So where a die's CPUs are in several nodes, the last cache is shared by the
 * largest aligned block of ids that is in one node, and AMD's node ids number these blocks. */
#include "cpu-private.h"

enum {
    X2APIC_LEVEL_THREAD = 1, X2APIC_LEVEL_CORE = 2, X2APIC_LEVEL_MODULE = 3, X2APIC_LEVEL_DIE = 5,
    APIC_ID_BITS_MAX = 32,
    CORES_FIELD_MAX = 63, SHARING_FIELD_MAX = 4095, NODES_FIELD_MAX = 7,
    CACHE_DATA = 1, CACHE_CODE = 2, CACHE_UNIFIED = 3,
    SELF_INITIALIZING = 1 << 8, INCLUSIVE = 1 << 1,
};

/* One CPU alone, or what the machine has. */
struct levels {
    struct smp smp;
    const struct topology_final *topology;      /* NULL: no nodes */
};

static struct levels
levels_of(const struct topology_final *t)
{
    struct levels alone = { .smp = { 1, 1, { 1, 1, 1, 1, 1 } } };

    return t ? (struct levels) { t->smp, t->node_count ? t : NULL } : alone;
}

/* CPUs in one of this level. */
static unsigned
cpus_in(const struct smp *s, enum smp_level level)
{
    unsigned count = 1;

    for (unsigned i = level + 1; i < SMP_LEVELS; i++)
        count *= s->levels[i];
    return count;
}

/* --- nodes and caches ------------------------------------------------------------------------------------------- */

/* True if all CPUs whose ids differ in 'bits' low bits only are in one node. */
static bool
in_one_node(const struct topology_final *t, unsigned bits)
{
    for (unsigned slot = 1; slot < t->smp.maxcpus; slot++) {
        /* Slots count upwards as ids do, so that those of one block lie in a row. */
        if (smp_apic_id(&t->smp, slot) >> bits == smp_apic_id(&t->smp, slot - 1) >> bits &&
            t->cpu_node[slot] != t->cpu_node[slot - 1])
            return false;
    }
    return true;
}

static unsigned
last_bits(const struct levels *l)
{
    unsigned bits = smp_apic_shift(&l->smp, SMP_DIES);

    while (l->topology && bits > 0 && !in_one_node(l->topology, bits))
        bits--;
    return bits;
}

unsigned
cpu_shared_bits(const struct topology_final *t)
{
    struct levels l = levels_of(t);

    return last_bits(&l);
}

/* 64 byte lines; the sizes are QEMU's usual ones. */
static const struct cache {
    unsigned level, type, ways, sets;
    bool of_core;                   /* else the last one */
} caches[] = {
    { 1, CACHE_DATA, 8, 64, true },             /* 32 KiB */
    { 1, CACHE_CODE, 8, 64, true },             /* 32 KiB */
    { 2, CACHE_UNIFIED, 16, 4096, true },       /* 4 MiB */
    { 3, CACHE_UNIFIED, 16, 16384, false },     /* 16 MiB */
};
enum { LINE_SIZE = 64, L1_KIB = 32, L2_KIB = 4096, L3_HALF_MIB = 32 };

/* Leaf 4, or 0x8000001d, which has the same form without the number of cores; one index more ends the list. */
static void
add_caches(GArray *leaves, const struct levels *l, uint32_t function)
{
    unsigned last = last_bits(l), core = smp_apic_shift(&l->smp, SMP_CORES);
    unsigned cores = 1u << (smp_apic_shift(&l->smp, SMP_SOCKETS) - core);

    for (unsigned i = 0; i < G_N_ELEMENTS(caches); i++) {
        const struct cache *c = &caches[i];
        unsigned sharing = 1u << (c->of_core ? MIN(core, last) : last);
        struct cpuid_leaf *leaf = cpuid_make(leaves, function, i);

        leaf->reg[CPUID_EAX] = c->type | c->level << 5 | SELF_INITIALIZING |
                               MIN(sharing - 1, SHARING_FIELD_MAX) << 14;
        if (function == LEAF_CACHES)
            leaf->reg[CPUID_EAX] |= MIN(cores - 1, CORES_FIELD_MAX) << 26;
        leaf->reg[CPUID_EBX] = (LINE_SIZE - 1) | (c->ways - 1) << 22;
        leaf->reg[CPUID_ECX] = c->sets - 1;
        leaf->reg[CPUID_EDX] = c->of_core ? 0 : INCLUSIVE;
    }
    cpuid_make(leaves, function, G_N_ELEMENTS(caches));
}

/* The older way to tell of caches (APM 3, E.4.4 and E.4.5): sizes, and how many ways, by a code. */
static void
add_cache_sizes(GArray *leaves, enum cpu_vendor vendor)
{
    enum { WAYS_8 = 6, WAYS_16 = 8, LINES_PER_TAG = 1 };
    struct cpuid_leaf *leaf;

    if (vendor != CPU_INTEL) {
        leaf = cpuid_make(leaves, LEAF_L1, 0);
        leaf->reg[CPUID_ECX] = (uint32_t)L1_KIB << 24 | 8 << 16 | LINES_PER_TAG << 8 | LINE_SIZE;
        leaf->reg[CPUID_EDX] = leaf->reg[CPUID_ECX];
    }
    leaf = cpuid_make(leaves, LEAF_L2, 0);
    leaf->reg[CPUID_ECX] = (uint32_t)L2_KIB << 16 | WAYS_16 << 12 | LINES_PER_TAG << 8 | LINE_SIZE;
    if (vendor != CPU_INTEL)
        leaf->reg[CPUID_EDX] = (uint32_t)L3_HALF_MIB << 18 | WAYS_16 << 12 | LINES_PER_TAG << 8 | LINE_SIZE;
}

/* --- levels ----------------------------------------------------------------------------------------------------- */

/* One level of leaf 0xb or 0x1f: how many bits lie below the next level's, and how many CPUs the next one has. */
static void
add_level(GArray *leaves, uint32_t function, unsigned index, unsigned type, unsigned bits, unsigned cpus,
          unsigned apic_id)
{
    struct cpuid_leaf *leaf = cpuid_make(leaves, function, index);

    leaf->reg[CPUID_EAX] = bits;
    leaf->reg[CPUID_EBX] = cpus;
    leaf->reg[CPUID_ECX] = type << 8 | index;
    leaf->reg[CPUID_EDX] = apic_id;
}

/* It knows threads and cores: all above a thread is core. */
static void
add_two_levels(GArray *leaves, const struct smp *s, unsigned apic_id)
{
    add_level(leaves, LEAF_TOPOLOGY, 0, X2APIC_LEVEL_THREAD, smp_apic_shift(s, SMP_CORES), cpus_in(s, SMP_CORES),
              apic_id);
    add_level(leaves, LEAF_TOPOLOGY, 1, X2APIC_LEVEL_CORE, smp_apic_shift(s, SMP_SOCKETS), cpus_in(s, SMP_SOCKETS),
              apic_id);
    add_level(leaves, LEAF_TOPOLOGY, 2, 0, 0, 0, apic_id);
}

/* Only machines with modules or dies have it. */
static void
add_all_levels(GArray *leaves, const struct smp *s, unsigned apic_id)
{
    static const struct { enum smp_level level; unsigned type; } known[] = {
        { SMP_THREADS, X2APIC_LEVEL_THREAD }, { SMP_CORES, X2APIC_LEVEL_CORE }, { SMP_MODULES, X2APIC_LEVEL_MODULE },
        { SMP_DIES, X2APIC_LEVEL_DIE },
    };
    unsigned index = 0;

    if (!smp_has_level(s, SMP_DIES) && !smp_has_level(s, SMP_MODULES))
        return;
    for (unsigned i = 0; i < G_N_ELEMENTS(known); i++) {
        enum smp_level above = known[i].level - 1;

        /* What the next level above is of those that there are. */
        while (above > SMP_SOCKETS && !smp_has_level(s, above))
            above--;
        if (smp_has_level(s, known[i].level))
            add_level(leaves, LEAF_TOPOLOGY_2, index++, known[i].type, smp_apic_shift(s, above), cpus_in(s, above),
                      apic_id);
    }
    add_level(leaves, LEAF_TOPOLOGY_2, index, 0, 0, 0, apic_id);
}

static unsigned
numbers_below(unsigned bits, unsigned limit)
{
    return bits < APIC_ID_BITS_MAX ? MIN(1u << bits, limit) : limit;
}

static void
add_amd(GArray *leaves, const struct levels *l, unsigned apic_id)
{
    unsigned core = smp_apic_shift(&l->smp, SMP_CORES), socket = smp_apic_shift(&l->smp, SMP_SOCKETS);
    unsigned node = last_bits(l);
    unsigned cpus = cpus_in(&l->smp, SMP_SOCKETS), nodes = numbers_below(socket - node, NODES_FIELD_MAX + 1);
    struct cpuid_leaf *leaf = cpuid_make(leaves, LEAF_EXTENDED_FEATURES, 0);

    leaf->reg[CPUID_ECX] |= FEATURE_TOPOEXT | (cpus > 1 ? FEATURE_CMP_LEGACY : 0);
    if (cpus > 1)
        cpuid_make(leaves, LEAF_SIZES, 0)->reg[CPUID_ECX] = socket << 12 | MIN(cpus - 1, 255);
    leaf = cpuid_make(leaves, LEAF_AMD_TOPOLOGY, 0);
    leaf->reg[CPUID_EAX] = apic_id;
    leaf->reg[CPUID_EBX] = (l->smp.levels[SMP_THREADS] - 1) << 8 |
                           (apic_id >> core & (numbers_below(socket - core, 256) - 1));
    leaf->reg[CPUID_ECX] = (nodes - 1) << 8 | (apic_id >> node & 255);
}

void
cpu_topology_leaves(GArray *leaves, const struct topology_final *t, unsigned apic_id, enum cpu_vendor vendor)
{
    struct levels l = levels_of(t);
    unsigned cpus = cpus_in(&l.smp, SMP_SOCKETS), ids = numbers_below(smp_apic_shift(&l.smp, SMP_SOCKETS), 255);
    struct cpuid_leaf *leaf = cpuid_make(leaves, LEAF_FEATURES, 0);

    leaf->reg[CPUID_EBX] |= apic_id << 24 | (vendor == CPU_INTEL ? ids : MIN(cpus, 255)) << 16;
    leaf->reg[CPUID_EDX] |= cpus > 1 ? FEATURE_HTT : 0;
    if (vendor == CPU_INTEL)
        add_caches(leaves, &l, LEAF_CACHES);
    add_two_levels(leaves, &l.smp, apic_id);
    add_all_levels(leaves, &l.smp, apic_id);
    add_cache_sizes(leaves, vendor);
    if (vendor != CPU_AMD)
        return;
    add_caches(leaves, &l, LEAF_AMD_CACHES);
    add_amd(leaves, &l, apic_id);
}
