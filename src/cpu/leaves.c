/* SPDX-License-Identifier: GPL-3.0-or-later */
/* All leaves of a guest's CPU: its name, features, extended state, clocks, KVM's own, and its place. */
#include "cpu-private.h"

#include <string.h>

enum {
    /* Family 15, model 107, stepping 1: what QEMU's qemu64 is, so that guests know its quirks. */
    BASE_SIGNATURE      = 0x00060fb1,
    CLFLUSH_UNITS       = 8,                /* of 8 bytes, a line of 64 */
    VIRTUAL_BITS        = 48, VIRTUAL_BITS_LA57 = 57,
    XSAVE_LEGACY        = 512 + 64,         /* bytes: x87, SSE and the header */
    XSAVE_PARTS         = 32,
    KVM_BUS_KHZ         = 1000000,          /* KVM's local APIC counts nanoseconds */
    DESCRIPTORS_ELSEWHERE = 0x00feff01,     /* caches are in leaf 4, address translation in leaf 0x18 */
};

static bool
is_on(const struct cpu_leaves_input *in, const char *name)
{
    return cpu_is_on(in->cpu, (unsigned)cpu_feature_find(name));
}

/* --- names ------------------------------------------------------------------------------------------------------ */

/* The first leaf of each range has who it is, and 'largest', which is filled in last. */
static void
add_vendor(GArray *leaves, const struct cpu_leaves_input *in, uint32_t function)
{
    struct cpuid_leaf *leaf = cpuid_make(leaves, function, 0);

    for (unsigned i = CPUID_EBX; i <= CPUID_EDX; i++)
        leaf->reg[i] = cpuid_get(in->host, LEAF_VENDOR, 0, i);
}

static void
add_brand(GArray *leaves, const struct cpu_leaves_input *in)
{
    static const char base[3][16] = { "numon base CPU", "", "" };
    uint32_t first = cpuid_get(in->host, LEAF_BRAND, 0, CPUID_EAX);
    bool own = in->cpu->options.model == CPU_MODEL_HOST && first;

    for (unsigned i = 0; i < G_N_ELEMENTS(base); i++) {
        struct cpuid_leaf *leaf = cpuid_make(leaves, LEAF_BRAND + i, 0);

        memcpy(leaf->reg, base[i], sizeof leaf->reg);
        for (unsigned r = CPUID_EAX; own && r <= CPUID_EDX; r++)
            leaf->reg[r] = cpuid_get(in->host, LEAF_BRAND + i, 0, r);
    }
}

static void
add_hypervisor(GArray *leaves, const struct cpu_leaves_input *in)
{
    static const char signature[12] = "KVMKVMKVM";      /* Documentation/virt/kvm/x86/cpuid.rst */
    struct cpuid_leaf *leaf = cpuid_make(leaves, LEAF_HYPERVISOR, 0);

    memcpy(&leaf->reg[CPUID_EBX], signature, sizeof signature);
    cpuid_make(leaves, LEAF_KVM, 0);
    if (!in->tsc_khz)
        return;
    leaf = cpuid_make(leaves, LEAF_TIMING, 0);
    leaf->reg[CPUID_EAX] = (uint32_t)in->tsc_khz;
    leaf->reg[CPUID_EBX] = KVM_BUS_KHZ;
}

/* --- features --------------------------------------------------------------------------------------------------- */

static void
add_features(GArray *leaves, const struct cpu_leaves_input *in)
{
    uint32_t copies;

    for (unsigned i = 0; i < cpu_feature_count; i++) {
        const struct cpu_feature *f = &cpu_features[i];

        if (cpu_is_on(in->cpu, i))
            cpuid_make(leaves, f->function, f->index)->reg[f->reg] |= f->mask;
    }
    if (in->cpu->vendor != CPU_AMD)
        return;
    copies = cpuid_get(leaves, LEAF_FEATURES, 0, CPUID_EDX) & AMD_COPIES;
    cpuid_make(leaves, LEAF_EXTENDED_FEATURES, 0)->reg[CPUID_EDX] |= copies;
}

static void
add_signature(GArray *leaves, const struct cpu_leaves_input *in)
{
    uint32_t own = cpuid_get(in->host, LEAF_FEATURES, 0, CPUID_EAX);
    uint32_t signature = in->cpu->options.model == CPU_MODEL_HOST && own ? own : BASE_SIGNATURE;
    struct cpuid_leaf *leaf = cpuid_make(leaves, LEAF_FEATURES, 0);

    leaf->reg[CPUID_EAX] = signature;
    leaf->reg[CPUID_EBX] |= CLFLUSH_UNITS << 8;
    cpuid_make(leaves, LEAF_EXTENDED_FEATURES, 0)->reg[CPUID_EAX] = in->cpu->vendor == CPU_AMD ? signature : 0;
    cpuid_make(leaves, LEAF_MORE, 0)->reg[CPUID_EAX] = cpuid_find(leaves, LEAF_MORE, 1) ? 1 : 0;
    cpuid_make(leaves, LEAF_SIZES, 0)->reg[CPUID_EAX] |=
        in->physical_bits | (uint32_t)(is_on(in, "la57") ? VIRTUAL_BITS_LA57 : VIRTUAL_BITS) << 8;
    if (in->cpu->vendor == CPU_INTEL)
        cpuid_make(leaves, LEAF_DESCRIPTORS, 0)->reg[CPUID_EAX] = DESCRIPTORS_ELSEWHERE;
}

/* Sizes and places of the parts are the host's; how much all take is what the guest's own parts end at.  What is in
 * use, the second number, the host keeps up to date (KVM does). */
static void
add_xsave(GArray *leaves, const struct cpu_leaves_input *in)
{
    uint32_t end = XSAVE_LEGACY;
    struct cpuid_leaf *leaf;

    if (!is_on(in, "xsave"))
        return;
    cpuid_make(leaves, LEAF_XSAVE, 0);
    cpuid_make(leaves, LEAF_XSAVE, 1);
    for (unsigned part = 2; part < XSAVE_PARTS; part++) {
        const struct cpuid_leaf *of_host = cpuid_find(in->host, LEAF_XSAVE, part);

        if (!(in->cpu->xcr0 >> part & 1) || !of_host)
            continue;
        leaf = cpuid_make(leaves, LEAF_XSAVE, part);
        memcpy(leaf->reg, of_host->reg, sizeof leaf->reg);
        end = MAX(end, leaf->reg[CPUID_EAX] + leaf->reg[CPUID_EBX]);
    }
    leaf = cpuid_make(leaves, LEAF_XSAVE, 0);
    leaf->reg[CPUID_EAX] = (uint32_t)in->cpu->xcr0;
    leaf->reg[CPUID_EBX] = XSAVE_LEGACY;
    leaf->reg[CPUID_ECX] = end;
}

/* The counter by a crystal that is also what the local APIC counts (SDM 3A, 11.5.4).  AMD has no such leaf. */
static void
add_tsc(GArray *leaves, const struct cpu_leaves_input *in)
{
    struct cpuid_leaf *leaf;

    if (in->cpu->vendor != CPU_INTEL || !in->tsc_khz)
        return;
    leaf = cpuid_make(leaves, LEAF_TSC, 0);
    leaf->reg[CPUID_EAX] = KVM_BUS_KHZ;
    leaf->reg[CPUID_EBX] = (uint32_t)in->tsc_khz;
    leaf->reg[CPUID_ECX] = KVM_BUS_KHZ * 1000;
}

/* --- all together ----------------------------------------------------------------------------------------------- */

static int
by_function(gconstpointer a, gconstpointer b)
{
    const struct cpuid_leaf *x = a, *y = b;

    if (x->function != y->function)
        return x->function < y->function ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

/* The first leaf of each range tells the last. */
static void
fill_largest(GArray *leaves)
{
    static const uint32_t ranges[] = { LEAF_VENDOR, LEAF_HYPERVISOR, LEAF_EXTENDED };

    g_array_sort(leaves, by_function);
    for (guint i = 0; i < leaves->len; i++) {
        uint32_t function = g_array_index(leaves, struct cpuid_leaf, i).function;

        for (unsigned r = 0; r < G_N_ELEMENTS(ranges); r++)
            if (function >> 28 == ranges[r] >> 28)
                cpuid_find(leaves, ranges[r], 0)->reg[CPUID_EAX] = function;
    }
}

GArray *
cpu_leaves(const struct cpu_leaves_input *in)
{
    GArray *leaves = g_array_new(FALSE, TRUE, sizeof(struct cpuid_leaf));

    add_vendor(leaves, in, LEAF_VENDOR);
    add_vendor(leaves, in, LEAF_EXTENDED);
    add_brand(leaves, in);
    add_hypervisor(leaves, in);
    add_features(leaves, in);
    add_signature(leaves, in);
    add_xsave(leaves, in);
    add_tsc(leaves, in);
    cpu_topology_leaves(leaves, in->topology, in->apic_id, in->cpu->vendor);
    fill_largest(leaves);
    return leaves;
}
