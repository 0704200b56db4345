/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The CPU model "base": features that every x86-64 processor has and that KVM carries over completely, so that a
 * guest moves between hosts of one vendor.  No extended state (XSAVE, AVX), nothing later than SSE3, no memory
 * type ranges, whose registers do not travel.
 *
 * The table says what may be shown; what the host cannot do is left out.  Identity and topology leaves are made. */
#include "kvm-private.h"

#include <errno.h>
#include <string.h>

enum {
    LEAF_TOPOLOGY   = 0x0b,
    LEAF_BASIC_LAST = LEAF_TOPOLOGY,
    LEAF_KVM        = 0x40000000,
    LEAF_EXTENDED   = 0x80000000, LEAF_EXTENDED_LAST = 0x80000008,

    /* Family 15, model 107, stepping 1: what QEMU's qemu64 is, so that guests know its quirks. */
    SIGNATURE       = 0x00060fb1,
    ECX_HYPERVISOR  = 1u << 31,
    EDX_HTT         = 1 << 28,
    CLFLUSH_SIZE    = 8,            /* in units of 8 bytes */
    VIRTUAL_BITS    = 48,
};

#define BIT(n) (1u << (n))

/* Registers of leaves as far as the model shows them (Intel SDM 2A, CPUID; AMD APM 3, appendix E). */
static const struct {
    uint32_t function, eax, ebx, ecx, edx;
} shown[] = {
    { .function = 1,
      .ecx = BIT(0) | BIT(21),                              /* SSE3, x2APIC */
      .edx = BIT(0) | BIT(2) | BIT(3) | BIT(4) | BIT(5) | BIT(6) | BIT(7) | BIT(8) | BIT(9) |   /* FPU to APIC */
             BIT(11) | BIT(13) | BIT(14) | BIT(15) | BIT(16) | BIT(17) | BIT(19) |  /* SEP PGE MCA CMOV PAT PSE36 CLFSH */
             BIT(23) | BIT(24) | BIT(25) | BIT(26) },       /* MMX FXSR SSE SSE2 */
    { .function = LEAF_KVM + 1,
      .eax = BIT(0) | BIT(1) | BIT(3) | BIT(24) },          /* kvmclock old and new, no delay by I/O, stable */
    { .function = LEAF_EXTENDED + 1,
      .ecx = BIT(0),                                        /* LAHF */
      .edx = BIT(11) | BIT(20) | BIT(29) | 0x0183f37d },    /* SYSCALL NX LM, and AMD's copies of leaf 1 */
    { .function = LEAF_EXTENDED + 7, .edx = BIT(8) },       /* invariant TSC: a destination has the same */
};

static struct kvm_cpuid2 *
supported_cpuid(const struct kvm *k, GError **error)
{
    /* Asking costs a CPUID instruction an entry, slow where those trap: so the first room is ample. */
    for (unsigned room = 256; room <= 4096; room *= 2) {
        struct kvm_cpuid2 *c = g_malloc0(sizeof(*c) + room * sizeof(c->entries[0]));

        c->nent = room;
        if (kvm_ioctl(k->system_fd, KVM_GET_SUPPORTED_CPUID, c) == 0)
            return c;
        g_free(c);
        if (errno != E2BIG && errno != ENOMEM)
            break;
    }
    fail_host(error, errno, "cannot learn which CPU features KVM supports");
    return NULL;
}

static const struct kvm_cpuid_entry2 *
find_leaf(const struct kvm_cpuid2 *c, uint32_t function)
{
    static const struct kvm_cpuid_entry2 none;

    for (unsigned i = 0; i < c->nent; i++)
        if (c->entries[i].function == function)
            return &c->entries[i];
    return &none;
}

static struct kvm_cpuid_entry2 *
add_leaf(struct kvm_cpuid2 *c, uint32_t function)
{
    struct kvm_cpuid_entry2 *e = &c->entries[c->nent++];

    g_assert(c->nent <= CPUID_ENTRIES_MAX);
    e->function = function;
    return e;
}

static void
add_shown(struct kvm_cpuid2 *c, const struct kvm_cpuid2 *supported)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(shown); i++) {
        const struct kvm_cpuid_entry2 *host = find_leaf(supported, shown[i].function);
        struct kvm_cpuid_entry2 *e = add_leaf(c, shown[i].function);

        e->eax = host->eax & shown[i].eax;
        e->ebx = host->ebx & shown[i].ebx;
        e->ecx = host->ecx & shown[i].ecx;
        e->edx = host->edx & shown[i].edx;
    }
}

static void
add_identity(struct kvm_cpuid2 *c, const struct kvm_cpuid2 *supported, unsigned physical_bits)
{
    static const char brand[48] = "numon base CPU";
    const struct kvm_cpuid_entry2 *vendor = find_leaf(supported, 0);
    struct kvm_cpuid_entry2 *e = add_leaf(c, 0);

    e->eax = LEAF_BASIC_LAST;
    e->ebx = vendor->ebx;
    e->ecx = vendor->ecx;
    e->edx = vendor->edx;
    e = add_leaf(c, LEAF_KVM);
    e->eax = LEAF_KVM + 1;
    e->ebx = 0x4b4d564b;            /* "KVMKVMKVM" (Documentation/virt/kvm/x86/cpuid.rst) */
    e->ecx = 0x564b4d56;
    e->edx = 0x4d;
    e = add_leaf(c, LEAF_EXTENDED);
    e->eax = LEAF_EXTENDED_LAST;
    e->ebx = vendor->ebx;
    e->ecx = vendor->ecx;
    e->edx = vendor->edx;
    for (unsigned i = 0; i < 3; i++) {
        e = add_leaf(c, LEAF_EXTENDED + 2 + i);
        memcpy(&e->eax, brand + 16 * i, 16);            /* eax to edx lie in a row */
    }
    e = add_leaf(c, LEAF_EXTENDED_LAST);
    e->eax = physical_bits | VIRTUAL_BITS << 8;
}

static unsigned
bits_for(unsigned count)
{
    unsigned bits = 0;

    while (1u << bits < count)
        bits++;
    return bits;
}

/* Leaves 1 and 0xb as far as they differ between vCPUs. */
static void
add_topology(struct kvm_cpuid2 *c, const struct topology_final *t, unsigned apic_id)
{
    static const unsigned alone[SMP_LEVELS] = { 1, 1, 1, 1, 1 };
    const unsigned *levels = t ? t->smp.levels : alone;
    unsigned threads = levels[SMP_THREADS], in_module = threads * levels[SMP_CORES];
    unsigned cpus = in_module * levels[SMP_MODULES] * levels[SMP_DIES];
    unsigned thread_bits = bits_for(threads);
    unsigned socket_bits = thread_bits + bits_for(levels[SMP_CORES]) + bits_for(levels[SMP_MODULES]) +
                           bits_for(levels[SMP_DIES]);
    struct kvm_cpuid_entry2 *e = (struct kvm_cpuid_entry2 *)find_leaf(c, 1);
    const struct { unsigned bits, count, type; } level[] = { { thread_bits, threads, 1 }, { socket_bits, cpus, 2 },
                                                             { 0, 0, 0 } };

    e->eax = SIGNATURE;
    e->ebx = apic_id << 24 | MIN(cpus, 255) << 16 | CLFLUSH_SIZE << 8;
    e->ecx |= ECX_HYPERVISOR;
    e->edx |= cpus > 1 ? EDX_HTT : 0;
    for (unsigned i = 0; i < G_N_ELEMENTS(level); i++) {
        e = add_leaf(c, LEAF_TOPOLOGY);
        e->index = i;
        e->flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
        e->eax = level[i].bits;
        e->ebx = level[i].count;
        e->ecx = level[i].type << 8 | i;
        e->edx = apic_id;
    }
}

bool
vcpu_set_cpuid(struct kvm_cpu *c, GError **error)
{
    struct kvm *k = c->kvm;
    g_autofree struct kvm_cpuid2 *made = NULL;

    if (!k->supported) {
        k->supported = supported_cpuid(k, error);
        if (!k->supported)
            return false;
    }
    made = g_malloc0(sizeof(*made) + CPUID_ENTRIES_MAX * sizeof(made->entries[0]));
    add_shown(made, k->supported);
    add_identity(made, k->supported, k->physical_bits);
    add_topology(made, k->topology, c->apic_id);
    if (kvm_ioctl(c->fd, KVM_SET_CPUID2, made) < 0)
        return fail_host(error, errno, "cannot give vCPU %u its features", c->index);
    k->xcr0 = 1;                    /* x87 alone, without XSAVE */
    if (c->index == 0)
        k->cpuid = g_steal_pointer(&made);
    return true;
}
