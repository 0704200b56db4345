/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the files of src/cpu share: numbers of leaves. */
#ifndef CPU_PRIVATE_H
#define CPU_PRIVATE_H

#include "cpu.h"

#define BIT(n) (UINT32_C(1) << (n))

enum {
    LEAF_VENDOR = 0, LEAF_FEATURES = 1, LEAF_DESCRIPTORS = 2, LEAF_CACHES = 4, LEAF_POWER = 6, LEAF_MORE = 7,
    LEAF_TOPOLOGY = 0xb, LEAF_XSAVE = 0xd, LEAF_TSC = 0x15, LEAF_TOPOLOGY_2 = 0x1f,
    LEAF_HYPERVISOR = 0x40000000, LEAF_KVM = 0x40000001, LEAF_TIMING = 0x40000010,
};
/* Too large for the constants of an enum. */
#define LEAF_EXTENDED           UINT32_C(0x80000000)
#define LEAF_EXTENDED_FEATURES  UINT32_C(0x80000001)
#define LEAF_BRAND              UINT32_C(0x80000002)
#define LEAF_L1                 UINT32_C(0x80000005)
#define LEAF_L2                 UINT32_C(0x80000006)
#define LEAF_ADVANCED_POWER     UINT32_C(0x80000007)
#define LEAF_SIZES              UINT32_C(0x80000008)
#define LEAF_AMD_CACHES         UINT32_C(0x8000001d)
#define LEAF_AMD_TOPOLOGY       UINT32_C(0x8000001e)
#define LEAF_AMD_MORE           UINT32_C(0x80000021)

/* Features that follow from the topology. */
#define FEATURE_HTT             BIT(28)         /* 1.edx */
#define FEATURE_CMP_LEGACY      BIT(1)          /* 0x80000001.ecx */
#define FEATURE_TOPOEXT         BIT(22)

/* Bits of 0x80000001.edx that on AMD repeat those of 1.edx. */
#define AMD_COPIES              UINT32_C(0x0183f3ff)

/* True if a feature is on. */
static inline bool
cpu_is_on(const struct cpu_resolved *r, unsigned feature)
{
    return r->status[feature].state == CPU_FEATURE_ON;
}

#endif
