/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A list of leaves, and whose they are. */
#include "cpu-private.h"

#include <string.h>

struct cpuid_leaf *
cpuid_find(const GArray *leaves, uint32_t function, uint32_t index)
{
    for (guint i = 0; i < leaves->len; i++) {
        struct cpuid_leaf *leaf = &g_array_index(leaves, struct cpuid_leaf, i);

        if (leaf->function == function && leaf->index == index)
            return leaf;
    }
    return NULL;
}

uint32_t
cpuid_get(const GArray *leaves, uint32_t function, uint32_t index, enum cpuid_register reg)
{
    const struct cpuid_leaf *leaf = cpuid_find(leaves, function, index);

    return leaf ? leaf->reg[reg] : 0;
}

/* Whether the instruction looks at ECX too. */
static bool
is_indexed(uint32_t function)
{
    return function == LEAF_CACHES || function == LEAF_MORE || function == LEAF_TOPOLOGY || function == LEAF_XSAVE ||
           function == LEAF_TOPOLOGY_2 || function == LEAF_AMD_CACHES;
}

struct cpuid_leaf *
cpuid_make(GArray *leaves, uint32_t function, uint32_t index)
{
    struct cpuid_leaf made = { .function = function, .index = index, .indexed = is_indexed(function) };
    struct cpuid_leaf *leaf = cpuid_find(leaves, function, index);

    if (leaf)
        return leaf;
    g_array_append_val(leaves, made);
    return &g_array_index(leaves, struct cpuid_leaf, leaves->len - 1);
}

enum cpu_vendor
cpuid_vendor(const GArray *leaves)
{
    static const struct { char text[13]; enum cpu_vendor vendor; } known[] = {
        { "GenuineIntel", CPU_INTEL }, { "AuthenticAMD", CPU_AMD }, { "HygonGenuine", CPU_AMD },
    };
    const struct cpuid_leaf *leaf = cpuid_find(leaves, LEAF_VENDOR, 0);
    char text[13] = "";

    if (leaf) {
        memcpy(text, &leaf->reg[CPUID_EBX], 4);
        memcpy(text + 4, &leaf->reg[CPUID_EDX], 4);
        memcpy(text + 8, &leaf->reg[CPUID_ECX], 4);
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(known); i++)
        if (strcmp(text, known[i].text) == 0)
            return known[i].vendor;
    return CPU_OTHER;
}
