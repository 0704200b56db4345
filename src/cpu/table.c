/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Features by QEMU's names, with the leaf, register and bits where they are shown (Intel SDM 2A, CPUID; AMD APM 3,
 * appendix E; Linux' Documentation/virt/kvm/x86/cpuid.rst).  One that another needs stands before it.
 *
 * The model "base" has what every x86-64 processor has and KVM carries over completely, so that a guest moves between
 * hosts of one vendor: no extended state (XSAVE, AVX), nothing later than SSE3.  Beside these it has what KVM makes
 * itself and Linux needs to find its clocks without measuring (kvmclock, the deadline timer, a local APIC timer that
 * does not stop).  Of KVM's other offers "host" has those that are told through memory and MSRs, which travel; those
 * that a guest calls, or for which an interrupt must be agreed on, a user gets by name. */
#include "cpu-private.h"

#define X64     "every x86-64 guest needs it"
#define SMP     "it follows from `smp`"
#define NESTED  "what a guest hypervisor has in the processor does not migrate"
#define MTRR    "the registers of memory type ranges do not migrate"
#define ARCH    "what it tells of the processor's flaws cannot be set at a destination"

const struct cpu_feature cpu_features[] = {
#define AT .function = LEAF_FEATURES, .index = 0, .reg = CPUID_EDX
    { "fpu", AT, .mask = BIT(0), .flags = CPU_F_BASE, .refused = X64 },
    { "vme", AT, .mask = BIT(1) },
    { "de", AT, .mask = BIT(2), .flags = CPU_F_BASE },
    { "pse", AT, .mask = BIT(3), .flags = CPU_F_BASE },
    { "tsc", AT, .mask = BIT(4), .flags = CPU_F_BASE, .refused = X64 },
    { "msr", AT, .mask = BIT(5), .flags = CPU_F_BASE, .refused = X64 },
    { "pae", AT, .mask = BIT(6), .flags = CPU_F_BASE, .refused = X64 },
    { "mce", AT, .mask = BIT(7), .flags = CPU_F_BASE },
    { "cx8", AT, .mask = BIT(8), .flags = CPU_F_BASE, .refused = X64 },
    { "apic", AT, .mask = BIT(9), .flags = CPU_F_BASE, .refused = X64 },
    { "sep", AT, .mask = BIT(11), .flags = CPU_F_BASE },
    { "mtrr", AT, .mask = BIT(12), .refused = MTRR },
    { "pge", AT, .mask = BIT(13), .flags = CPU_F_BASE },
    { "mca", AT, .mask = BIT(14), .flags = CPU_F_BASE, .needs = "mce" },
    { "cmov", AT, .mask = BIT(15), .flags = CPU_F_BASE },
    { "pat", AT, .mask = BIT(16), .flags = CPU_F_BASE },
    { "pse36", AT, .mask = BIT(17), .flags = CPU_F_BASE },
    { "clflush", AT, .mask = BIT(19), .flags = CPU_F_BASE },
    { "mmx", AT, .mask = BIT(23), .flags = CPU_F_BASE },
    { "fxsr", AT, .mask = BIT(24), .flags = CPU_F_BASE },
    { "sse", AT, .mask = BIT(25), .flags = CPU_F_BASE, .needs = "fxsr" },
    { "sse2", AT, .mask = BIT(26), .flags = CPU_F_BASE, .needs = "sse" },
    { "ss", AT, .mask = BIT(27) },
    { "ht", AT, .mask = BIT(28), .flags = CPU_F_TOPOLOGY, .refused = SMP },
#undef AT
#define AT .function = LEAF_EXTENDED_FEATURES, .index = 0, .reg = CPUID_EDX
    { "syscall", AT, .mask = BIT(11), .flags = CPU_F_BASE },
    { "nx", .alias = "xd", AT, .mask = BIT(20), .flags = CPU_F_BASE },
    { "mmxext", AT, .mask = BIT(22), .needs = "mmx" },
    { "fxsr-opt", .alias = "ffxsr", AT, .mask = BIT(25), .needs = "fxsr" },
    { "lm", .alias = "i64", AT, .mask = BIT(29), .flags = CPU_F_BASE, .refused = X64 },
    { "pdpe1gb", AT, .mask = BIT(26), .needs = "lm" },
    { "rdtscp", AT, .mask = BIT(27) },
    { "3dnow", AT, .mask = BIT(31), .needs = "mmx" },
    { "3dnowext", AT, .mask = BIT(30), .needs = "3dnow" },
#undef AT
#define AT .function = LEAF_FEATURES, .index = 0, .reg = CPUID_ECX
    { "pni", .alias = "sse3", AT, .mask = BIT(0), .flags = CPU_F_BASE, .needs = "sse2" },
    { "pclmulqdq", .alias = "pclmuldq", AT, .mask = BIT(1), .needs = "sse2" },
    { "vmx", AT, .mask = BIT(5), .refused = NESTED },
    { "ssse3", AT, .mask = BIT(9), .needs = "pni" },
    { "cx16", AT, .mask = BIT(13) },
    { "pcid", AT, .mask = BIT(17), .needs = "lm" },
    { "sse4.1", AT, .mask = BIT(19), .needs = "ssse3" },
    { "sse4.2", AT, .mask = BIT(20), .needs = "sse4.1" },
    { "x2apic", AT, .mask = BIT(21), .flags = CPU_F_BASE, .needs = "apic" },
    { "movbe", AT, .mask = BIT(22) },
    { "popcnt", AT, .mask = BIT(23) },
    { "tsc-deadline", AT, .mask = BIT(24), .flags = CPU_F_BASE, .needs = "apic" },
    { "aes", AT, .mask = BIT(25), .needs = "sse2" },
    { "xsave", AT, .mask = BIT(26), .xsave = 0x3, .needs = "fxsr" },
    { "avx", AT, .mask = BIT(28), .xsave = 0x4, .needs = "xsave" },
    { "f16c", AT, .mask = BIT(29), .needs = "avx" },
    { "fma", AT, .mask = BIT(12), .needs = "avx" },
    { "rdrand", AT, .mask = BIT(30) },
    { "hypervisor", AT, .mask = BIT(31), .flags = CPU_F_BASE },
#undef AT
#define AT .function = LEAF_EXTENDED_FEATURES, .index = 0, .reg = CPUID_ECX
    { "lahf-lm", AT, .mask = BIT(0), .flags = CPU_F_BASE },
    { "cmp-legacy", AT, .mask = BIT(1), .flags = CPU_F_TOPOLOGY, .refused = SMP },
    { "svm", AT, .mask = BIT(2), .refused = NESTED },
    { "cr8legacy", AT, .mask = BIT(4) },
    { "abm", AT, .mask = BIT(5) },
    { "sse4a", AT, .mask = BIT(6), .needs = "pni" },
    { "misalignsse", AT, .mask = BIT(7), .needs = "sse" },
    { "3dnowprefetch", AT, .mask = BIT(8) },
    { "xop", AT, .mask = BIT(11), .needs = "avx" },
    { "fma4", AT, .mask = BIT(16), .needs = "avx" },
    { "tbm", AT, .mask = BIT(21) },
    { "topoext", AT, .mask = BIT(22), .flags = CPU_F_TOPOLOGY, .refused = SMP },
#undef AT
#define AT .function = LEAF_POWER, .index = 0, .reg = CPUID_EAX
    { "arat", AT, .mask = BIT(2), .flags = CPU_F_BASE, .needs = "apic" },
#undef AT
#define AT .function = LEAF_MORE, .index = 0, .reg = CPUID_EBX
    { "fsgsbase", AT, .mask = BIT(0) },
    { "tsc-adjust", AT, .mask = BIT(1) },
    { "bmi1", AT, .mask = BIT(3) },
    { "hle", AT, .mask = BIT(4) },
    { "avx2", AT, .mask = BIT(5), .needs = "avx" },
    { "fdp-excptn-only", AT, .mask = BIT(6) },
    { "smep", AT, .mask = BIT(7) },
    { "bmi2", AT, .mask = BIT(8) },
    { "erms", AT, .mask = BIT(9) },
    { "invpcid", AT, .mask = BIT(10), .needs = "pcid" },
    { "rtm", AT, .mask = BIT(11) },
    { "zero-fcs-fds", AT, .mask = BIT(13) },
    { "avx512f", AT, .mask = BIT(16), .xsave = 0xe0, .needs = "avx2" },
    { "avx512dq", AT, .mask = BIT(17), .needs = "avx512f" },
    { "rdseed", AT, .mask = BIT(18) },
    { "adx", AT, .mask = BIT(19) },
    { "smap", AT, .mask = BIT(20) },
    { "avx512ifma", AT, .mask = BIT(21), .needs = "avx512f" },
    { "clflushopt", AT, .mask = BIT(23) },
    { "clwb", AT, .mask = BIT(24) },
    { "avx512cd", AT, .mask = BIT(28), .needs = "avx512f" },
    { "sha-ni", AT, .mask = BIT(29), .needs = "sse2" },
    { "avx512bw", AT, .mask = BIT(30), .needs = "avx512f" },
    { "avx512vl", AT, .mask = BIT(31), .needs = "avx512f" },
#undef AT
#define AT .function = LEAF_MORE, .index = 0, .reg = CPUID_ECX
    { "avx512vbmi", AT, .mask = BIT(1), .needs = "avx512f" },
    { "umip", AT, .mask = BIT(2) },
    { "pku", AT, .mask = BIT(3), .xsave = 0x200, .needs = "xsave" },
    { "waitpkg", AT, .mask = BIT(5) },
    { "avx512vbmi2", AT, .mask = BIT(6), .needs = "avx512f" },
    { "gfni", AT, .mask = BIT(8), .needs = "sse2" },
    { "vaes", AT, .mask = BIT(9), .needs = "avx" },
    { "vpclmulqdq", AT, .mask = BIT(10), .needs = "avx" },
    { "avx512vnni", AT, .mask = BIT(11), .needs = "avx512f" },
    { "avx512bitalg", AT, .mask = BIT(12), .needs = "avx512f" },
    { "avx512-vpopcntdq", AT, .mask = BIT(14), .needs = "avx512f" },
    { "la57", AT, .mask = BIT(16), .needs = "lm" },
    { "rdpid", AT, .mask = BIT(22) },
    { "bus-lock-detect", AT, .mask = BIT(24) },
    { "cldemote", AT, .mask = BIT(25) },
    { "movdiri", AT, .mask = BIT(27) },
    { "movdir64b", AT, .mask = BIT(28) },
#undef AT
#define AT .function = LEAF_MORE, .index = 0, .reg = CPUID_EDX
    { "fsrm", AT, .mask = BIT(4) },
    { "avx512-vp2intersect", AT, .mask = BIT(8), .needs = "avx512f" },
    { "md-clear", AT, .mask = BIT(10) },
    { "serialize", AT, .mask = BIT(14) },
    { "avx512-fp16", AT, .mask = BIT(23), .needs = "avx512f" },
    { "spec-ctrl", AT, .mask = BIT(26) },
    { "stibp", AT, .mask = BIT(27) },
    { "flush-l1d", AT, .mask = BIT(28) },
    { "arch-capabilities", AT, .mask = BIT(29), .refused = ARCH },
    { "ssbd", AT, .mask = BIT(31), .needs = "spec-ctrl" },
#undef AT
#define AT .function = LEAF_MORE, .index = 1, .reg = CPUID_EAX
    { "avx-vnni", AT, .mask = BIT(4), .needs = "avx2" },
    { "avx512-bf16", AT, .mask = BIT(5), .needs = "avx512f" },
    { "fzrm", AT, .mask = BIT(10) },
    { "fsrs", AT, .mask = BIT(11) },
    { "fsrc", AT, .mask = BIT(12) },
    { "avx-ifma", AT, .mask = BIT(23), .needs = "avx2" },
#undef AT
#define AT .function = LEAF_XSAVE, .index = 1, .reg = CPUID_EAX
    { "xsaveopt", AT, .mask = BIT(0), .needs = "xsave" },
    { "xsavec", AT, .mask = BIT(1), .needs = "xsave" },
    { "xgetbv1", AT, .mask = BIT(2), .needs = "xsave" },
    { "xsaves", AT, .mask = BIT(3), .needs = "xsavec" },
#undef AT
#define AT .function = LEAF_ADVANCED_POWER, .index = 0, .reg = CPUID_EDX
    { "invtsc", AT, .mask = BIT(8), .flags = CPU_F_BASE, .needs = "tsc" },
#undef AT
#define AT .function = LEAF_SIZES, .index = 0, .reg = CPUID_EBX
    { "clzero", AT, .mask = BIT(0) },
    { "xsaveerptr", AT, .mask = BIT(2), .needs = "xsave" },
    { "wbnoinvd", AT, .mask = BIT(9) },
    { "ibpb", AT, .mask = BIT(12) },
    { "ibrs", AT, .mask = BIT(14) },
    { "amd-stibp", AT, .mask = BIT(15) },
    { "amd-ssbd", AT, .mask = BIT(24) },
    { "virt-ssbd", AT, .mask = BIT(25) },
    { "amd-no-ssb", AT, .mask = BIT(26) },
    { "amd-psfd", AT, .mask = BIT(28) },
#undef AT
#define AT .function = LEAF_AMD_MORE, .index = 0, .reg = CPUID_EAX
    { "no-nested-data-bp", AT, .mask = BIT(0) },
    { "lfence-always-serializing", AT, .mask = BIT(2) },
    { "null-sel-clr-base", AT, .mask = BIT(6) },
    { "auto-ibrs", AT, .mask = BIT(8) },
#undef AT
#define AT .function = LEAF_KVM, .index = 0, .reg = CPUID_EAX
    { "kvmclock", AT, .mask = BIT(0) | BIT(3), .flags = CPU_F_BASE },
    { "kvm-nopiodelay", AT, .mask = BIT(1), .flags = CPU_F_BASE },
    { "kvm-asyncpf", AT, .mask = BIT(4), .flags = CPU_F_BY_NAME },
    { "kvm-steal-time", AT, .mask = BIT(5) },
    { "kvm-pv-eoi", AT, .mask = BIT(6), .needs = "apic" },
    { "kvm-pv-unhalt", AT, .mask = BIT(7), .flags = CPU_F_BY_NAME },
    { "kvm-pv-tlb-flush", AT, .mask = BIT(9), .flags = CPU_F_BY_NAME, .needs = "kvm-steal-time" },
    { "kvm-asyncpf-vmexit", AT, .mask = BIT(10), .flags = CPU_F_BY_NAME, .needs = "kvm-asyncpf" },
    { "kvm-pv-ipi", AT, .mask = BIT(11), .flags = CPU_F_BY_NAME, .needs = "apic" },
    { "kvm-poll-control", AT, .mask = BIT(12), .flags = CPU_F_BY_NAME },
    { "kvm-pv-sched-yield", AT, .mask = BIT(13), .flags = CPU_F_BY_NAME, .needs = "kvm-steal-time" },
    { "kvm-asyncpf-int", AT, .mask = BIT(14), .flags = CPU_F_BY_NAME, .needs = "kvm-asyncpf" },
    { "kvmclock-stable-bit", AT, .mask = BIT(24), .flags = CPU_F_BASE, .needs = "kvmclock" },
#undef AT
};

const unsigned cpu_feature_count = G_N_ELEMENTS(cpu_features);

_Static_assert(G_N_ELEMENTS(cpu_features) <= CPU_FEATURES_MAX, "sets of features have room for all");
