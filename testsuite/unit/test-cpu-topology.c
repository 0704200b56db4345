/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The leaves of CPUID that tell where a CPU is: values worked out by hand from the manuals, and a reader that takes
 * them apart as a guest does and must find each CPU where `smp` has it. */
#include "cpu.h"

#include <string.h>

enum { L1D, L1I, L2, L3, CACHES };
#define AMD_CACHES UINT32_C(0x8000001d)
#define AMD_NODES  UINT32_C(0x8000001e)
#define AMD_SIZES  UINT32_C(0x80000008)

static struct topology_final *
machine(unsigned sockets, unsigned dies, unsigned modules, unsigned cores, unsigned threads)
{
    struct topology_final *t = g_new0(struct topology_final, 1);

    t->smp = (struct smp) { .levels = { sockets, dies, modules, cores, threads } };
    t->smp.cpus = t->smp.maxcpus = sockets * dies * modules * cores * threads;
    return t;
}

static GArray *
leaves_of(const struct topology_final *t, unsigned slot, enum cpu_vendor vendor)
{
    GArray *leaves = g_array_new(FALSE, TRUE, sizeof(struct cpuid_leaf));

    cpu_topology_leaves(leaves, t, t ? smp_apic_id(&t->smp, slot) : 0, vendor);
    return leaves;
}

static void
expect(const GArray *leaves, uint32_t function, uint32_t index, uint32_t eax, uint32_t ebx, uint32_t ecx,
       uint32_t edx)
{
    const struct cpuid_leaf *leaf = cpuid_find(leaves, function, index);

    g_assert_nonnull(leaf);
    g_assert_cmphex(leaf->reg[CPUID_EAX], ==, eax);
    g_assert_cmphex(leaf->reg[CPUID_EBX], ==, ebx);
    g_assert_cmphex(leaf->reg[CPUID_ECX], ==, ecx);
    g_assert_cmphex(leaf->reg[CPUID_EDX], ==, edx);
}

/* --- by hand ---------------------------------------------------------------------------------------------------- */

/* Slot 11 of 2 sockets, 4 cores, 2 threads: socket 1, core 1, thread 1 is id 1'01'1. */
static void
intel_of_whole_bits(void)
{
    g_autofree struct topology_final *t = machine(2, 1, 1, 4, 2);
    g_autoptr(GArray) l = leaves_of(t, 11, CPU_INTEL);

    expect(l, 1, 0, 0, 0x0b080000, 0, 1 << 28);
    expect(l, 0xb, 0, 1, 2, 0x100, 11);
    expect(l, 0xb, 1, 3, 8, 0x201, 11);
    expect(l, 0xb, 2, 0, 0, 2, 11);
    expect(l, 4, L1D, 0x0c004121, 0x01c0003f, 63, 0);
    expect(l, 4, L1I, 0x0c004122, 0x01c0003f, 63, 0);
    expect(l, 4, L2, 0x0c004143, 0x03c0003f, 4095, 0);
    expect(l, 4, L3, 0x0c01c163, 0x03c0003f, 16383, 2);
    expect(l, 4, CACHES, 0, 0, 0, 0);
    g_assert_null(cpuid_find(l, 0x1f, 0));
    g_assert_null(cpuid_find(l, AMD_NODES, 0));
    g_assert_null(cpuid_find(l, AMD_CACHES, 0));
}

/* Slot 5 of 2 sockets of 3 cores: socket 1, core 2 is id 1'10; no core 3, so id 3 is none. */
static void
amd_with_gaps(void)
{
    g_autofree struct topology_final *t = machine(2, 1, 1, 3, 1);
    g_autoptr(GArray) l = leaves_of(t, 5, CPU_AMD);

    expect(l, 1, 0, 0, 0x06030000, 0, 1 << 28);
    expect(l, 0xb, 0, 0, 1, 0x100, 6);
    expect(l, 0xb, 1, 2, 3, 0x201, 6);
    expect(l, AMD_SIZES, 0, 0, 0, 0x2002, 0);
    expect(l, AMD_NODES, 0, 6, 2, 1, 0);
    expect(l, AMD_CACHES, L1D, 0x121, 0x01c0003f, 63, 0);
    expect(l, AMD_CACHES, L3, 0xc163, 0x03c0003f, 16383, 2);
    g_assert_cmphex(cpuid_get(l, 0x80000001, 0, CPUID_ECX), ==, 1 << 22 | 1 << 1);      /* TOPOEXT, CmpLegacy */
    g_assert_null(cpuid_find(l, 4, 0));
}

/* Slot 6 of 1 socket, 2 dies, 2 cores, 2 threads: die 1, core 1, thread 0. */
static void
dies_have_leaf_1f(void)
{
    g_autofree struct topology_final *t = machine(1, 2, 1, 2, 2);
    g_autoptr(GArray) intel = leaves_of(t, 6, CPU_INTEL), amd = leaves_of(t, 6, CPU_AMD);

    expect(intel, 0x1f, 0, 1, 2, 0x100, 6);
    expect(intel, 0x1f, 1, 2, 4, 0x201, 6);
    expect(intel, 0x1f, 2, 3, 8, 0x502, 6);
    expect(intel, 0x1f, 3, 0, 0, 3, 6);
    expect(intel, 0xb, 1, 3, 8, 0x201, 6);
    expect(intel, 4, L3, 0x0c00c163, 0x03c0003f, 16383, 2);     /* of a die: 4 ids */
    expect(amd, AMD_NODES, 0, 6, 1 << 8 | 3, 1 << 8 | 1, 0);
}

/* Slot 27 of 2 dies, 2 modules, 3 cores, 3 threads: die 1, module 1, core 0, thread 0 is id 1'1'00'00. */
static void
modules_are_between_cores_and_dies(void)
{
    g_autofree struct topology_final *t = machine(1, 2, 2, 3, 3);
    g_autoptr(GArray) l = leaves_of(t, 27, CPU_INTEL);

    g_assert_cmphex(smp_apic_id(&t->smp, 27), ==, 0x30);
    expect(l, 0x1f, 0, 2, 3, 0x100, 0x30);
    expect(l, 0x1f, 1, 4, 9, 0x201, 0x30);
    expect(l, 0x1f, 2, 5, 18, 0x302, 0x30);
    expect(l, 0x1f, 3, 6, 36, 0x503, 0x30);
    expect(l, 0x1f, 4, 0, 0, 4, 0x30);
    g_assert_cmphex(cpuid_get(l, 1, 0, CPUID_EBX), ==, 0x30400000);         /* 64 ids */
}

static void
one_cpu_is_alone(void)
{
    for (unsigned vendor = CPU_INTEL; vendor <= CPU_OTHER; vendor++) {
        g_autoptr(GArray) l = leaves_of(NULL, 0, vendor);

        expect(l, 1, 0, 0, 0x00010000, 0, 0);
        expect(l, 0xb, 0, 0, 1, 0x100, 0);
        expect(l, 0xb, 1, 0, 1, 0x201, 0);
        g_assert_cmphex(cpuid_get(l, AMD_SIZES, 0, CPUID_ECX), ==, 0);
    }
}

/* Four cores of one socket in two nodes: guests would wonder about a cache that reaches from one to the other. */
static void
caches_stay_in_a_node(void)
{
    static const uint8_t halves[] = { 0, 0, 1, 1 }, odd[] = { 0, 1, 1, 1 };
    g_autofree struct topology_final *t = machine(1, 1, 1, 4, 1);

    t->node_count = 2;
    g_assert_cmpuint(cpu_shared_bits(t), ==, 2);
    memcpy(t->cpu_node, halves, sizeof halves);
    g_assert_cmpuint(cpu_shared_bits(t), ==, 1);
    g_autoptr(GArray) l = leaves_of(t, 2, CPU_AMD), intel = leaves_of(t, 2, CPU_INTEL);
    expect(l, AMD_NODES, 0, 2, 2, 1 << 8 | 1, 0);
    g_assert_cmphex(cpuid_get(l, AMD_CACHES, L3, CPUID_EAX), ==, 0x4163);
    g_assert_cmphex(cpuid_get(intel, 4, L3, CPUID_EAX), ==, 0x0c004163);
    memcpy(t->cpu_node, odd, sizeof odd);
    g_assert_cmpuint(cpu_shared_bits(t), ==, 0);
    t->node_count = 0;
    g_assert_cmpuint(cpu_shared_bits(t), ==, 2);
}

/* --- as guests read it ------------------------------------------------------------------------------------------ */

static unsigned
width_for(unsigned count)
{
    unsigned bits = 0;

    while (1u << bits < count)
        bits++;
    return bits;
}

static unsigned
take(unsigned *id, unsigned bits)
{
    unsigned field = *id & ((1u << bits) - 1);

    *id >>= bits;
    return field;
}

/* SDM 3A, 9.9.3.2: levels from the lowest, each with the bits below the next. */
static struct cpu_place
read_levels(const GArray *leaves)
{
    uint32_t function = cpuid_find(leaves, 0x1f, 0) ? 0x1f : 0xb;
    unsigned id = cpuid_get(leaves, function, 0, CPUID_EDX), below = 0;
    struct cpu_place place = { 0 };

    for (unsigned i = 0; cpuid_get(leaves, function, i, CPUID_ECX) >> 8; i++) {
        unsigned shift = cpuid_get(leaves, function, i, CPUID_EAX), field = take(&id, shift - below);

        g_assert_cmpuint(cpuid_get(leaves, function, i, CPUID_ECX) & 255, ==, i);
        below = shift;
        switch (cpuid_get(leaves, function, i, CPUID_ECX) >> 8) {
        case 1: place.thread = field; break;
        case 2: place.core = field; break;
        case 3: place.module = field; break;
        case 5: place.die = field; break;
        default: g_assert_not_reached();
        }
    }
    place.socket = id;
    return place;
}

/* Before leaf 0xb there was (SDM 3A, 9.9.3.1): widths from the numbers of ids in leaves 1 and 4. */
static void
check_old_intel(const GArray *leaves, const struct smp *s, struct cpu_place p, unsigned id)
{
    unsigned package = width_for(cpuid_get(leaves, 1, 0, CPUID_EBX) >> 16 & 255);
    unsigned core = width_for((cpuid_get(leaves, 4, 0, CPUID_EAX) >> 26) + 1), thread = package - core;

    /* Its fields end there. */
    if (smp_apic_shift(s, SMP_SOCKETS) > 7 || smp_apic_shift(s, SMP_SOCKETS) - smp_apic_shift(s, SMP_CORES) > 6)
        return;
    g_assert_cmpuint(id >> package, ==, p.socket);
    g_assert_cmpuint(id & ((1u << thread) - 1), ==, p.thread);
}

/* APM 3, appendix E.5: the width of ids in a socket, then threads of a core, and a number of each core. */
static void
check_amd(const GArray *leaves, const struct smp *s, struct cpu_place p, unsigned id)
{
    uint32_t sizes = cpuid_get(leaves, AMD_SIZES, 0, CPUID_ECX), ebx = cpuid_get(leaves, AMD_NODES, 0, CPUID_EBX);
    uint32_t ecx = cpuid_get(leaves, AMD_NODES, 0, CPUID_ECX);
    unsigned in_socket = s->maxcpus / s->levels[SMP_SOCKETS];

    g_assert_cmpuint(cpuid_get(leaves, AMD_NODES, 0, CPUID_EAX), ==, id);
    g_assert_cmpuint(id >> (sizes >> 12 & 15), ==, p.socket);
    g_assert_cmpuint((sizes & 255) + 1, ==, in_socket > 1 ? in_socket : 1);
    g_assert_cmpuint((ebx >> 8 & 255) + 1, ==, s->levels[SMP_THREADS]);
    g_assert_cmpuint(ebx & 255, ==, ((p.die << width_for(s->levels[SMP_MODULES]) | p.module)
                                     << width_for(s->levels[SMP_CORES]) | p.core) & 255);
    g_assert_cmpuint(ecx & 255, ==, (p.socket << width_for(s->levels[SMP_DIES]) | p.die) & 255);
    g_assert_cmpuint((ecx >> 8 & 7) + 1, ==, 1u << width_for(s->levels[SMP_DIES]));
}

static void
check_slot(const struct topology_final *t, unsigned slot)
{
    struct cpu_place place = smp_place(&t->smp, slot);
    unsigned id = smp_apic_id(&t->smp, slot);

    for (unsigned vendor = CPU_INTEL; vendor <= CPU_OTHER; vendor++) {
        g_autoptr(GArray) leaves = leaves_of(t, slot, vendor);
        struct cpu_place read = read_levels(leaves);

        g_assert_cmpuint(read.socket, ==, place.socket);
        g_assert_cmpuint(read.die, ==, place.die);
        g_assert_cmpuint(read.module, ==, place.module);
        g_assert_cmpuint(read.core, ==, place.core);
        g_assert_cmpuint(read.thread, ==, place.thread);
        g_assert_cmpuint(cpuid_get(leaves, 1, 0, CPUID_EBX) >> 24, ==, id & 255);
        g_assert_cmpuint(cpuid_get(leaves, 1, 0, CPUID_EDX) >> 28 & 1, ==,
                         t->smp.maxcpus > t->smp.levels[SMP_SOCKETS]);
        if (vendor == CPU_INTEL)
            check_old_intel(leaves, &t->smp, place, id);
        else if (vendor == CPU_AMD)
            check_amd(leaves, &t->smp, place, id);
    }
}

static void
every_cpu_is_read_back_where_it_is(void)
{
    unsigned machines = 0;

    for (unsigned n = 0; n < 3 * 3 * 3 * 6 * 3; n++) {
        unsigned threads = n % 3 + 1, cores = n / 3 % 6 + 1, modules = n / 18 % 3 + 1, dies = n / 54 % 3 + 1;
        g_autofree struct topology_final *t = machine(n / 162 % 3 + 1, dies, modules, cores, threads);
        unsigned last = 0;

        for (unsigned slot = 0; slot < t->smp.maxcpus; slot++) {
            unsigned id = smp_apic_id(&t->smp, slot);

            g_assert_true(slot == 0 || id > last);
            last = id;
            check_slot(t, slot);
        }
        machines++;
    }
    g_assert_cmpuint(machines, ==, 486);
}

/* --- caches and nodes ------------------------------------------------------------------------------------------- */

/* CPUs that a cache's leaf has as sharing it with this one, as Linux reckons, must be in its node. */
static void
check_caches(const struct topology_final *t, unsigned slot, enum cpu_vendor vendor, uint32_t function)
{
    g_autoptr(GArray) leaves = leaves_of(t, slot, vendor);
    unsigned id = smp_apic_id(&t->smp, slot), before = 0;

    for (unsigned i = 0; cpuid_get(leaves, function, i, CPUID_EAX) & 31; i++) {
        unsigned bits = width_for((cpuid_get(leaves, function, i, CPUID_EAX) >> 14 & 4095) + 1);

        g_assert_cmpuint(bits, >=, before);             /* what shares a small one shares the larger */
        before = bits;
        for (unsigned other = 0; other < t->smp.maxcpus; other++)
            if (smp_apic_id(&t->smp, other) >> bits == id >> bits)
                g_assert_cmpuint(t->cpu_node[other], ==, t->cpu_node[slot]);
    }
}

static void
no_cache_reaches_into_another_node(void)
{
    for (unsigned n = 0; n < 60; n++) {
        g_autofree struct topology_final *t = machine(g_test_rand_int_range(1, 4), g_test_rand_int_range(1, 3),
                                                      g_test_rand_int_range(1, 3), g_test_rand_int_range(1, 5),
                                                      g_test_rand_int_range(1, 3));
        unsigned run = (unsigned)g_test_rand_int_range(1, 9);

        t->node_count = 4;
        for (unsigned slot = 0; slot < t->smp.maxcpus; slot++)
            t->cpu_node[slot] = (uint8_t)(slot / run % t->node_count);
        for (unsigned slot = 0; slot < t->smp.maxcpus; slot++) {
            check_caches(t, slot, CPU_INTEL, 4);
            check_caches(t, slot, CPU_AMD, AMD_CACHES);
        }
    }
}

#define ADD(function) g_test_add_func("/cpu-topology/" #function, function)

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ADD(intel_of_whole_bits);
    ADD(amd_with_gaps);
    ADD(dies_have_leaf_1f);
    ADD(modules_are_between_cores_and_dies);
    ADD(one_cpu_is_alone);
    ADD(caches_stay_in_a_node);
    ADD(every_cpu_is_read_back_where_it_is);
    ADD(no_cache_reaches_into_another_node);
    return g_test_run();
}
