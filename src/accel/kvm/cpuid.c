/* SPDX-License-Identifier: GPL-3.0-or-later */
/* CPUID of vCPUs: what KVM says that guests can have, and what it shows of the leaves that a vCPU was given. */
#include "kvm-private.h"

#include <errno.h>
#include <string.h>

enum {
    LEAF_FEATURES = 1, LEAF_XSAVE = 0xd,
    ECX_X2APIC = 1 << 21, ECX_TSC_DEADLINE = 1 << 24, ECX_XSAVE = 1 << 26,
    LEAF_POWER = 6, EAX_ARAT = 1 << 2,
};
#define ECX_HYPERVISOR (UINT32_C(1) << 31)

/* --- KVM's lists and ours --------------------------------------------------------------------------------------- */

static GArray *
leaves_from(const struct kvm_cpuid2 *c)
{
    GArray *leaves = g_array_new(FALSE, TRUE, sizeof(struct cpuid_leaf));

    for (unsigned i = 0; i < c->nent; i++) {
        const struct kvm_cpuid_entry2 *e = &c->entries[i];
        struct cpuid_leaf *leaf = cpuid_make(leaves, e->function, e->index);

        leaf->indexed = e->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
        leaf->reg[CPUID_EAX] = e->eax;
        leaf->reg[CPUID_EBX] = e->ebx;
        leaf->reg[CPUID_ECX] = e->ecx;
        leaf->reg[CPUID_EDX] = e->edx;
    }
    return leaves;
}

static struct kvm_cpuid2 *
leaves_to(const GArray *leaves)
{
    struct kvm_cpuid2 *c = g_malloc0(sizeof *c + leaves->len * sizeof c->entries[0]);

    c->nent = leaves->len;
    for (guint i = 0; i < leaves->len; i++) {
        const struct cpuid_leaf *leaf = &g_array_index(leaves, struct cpuid_leaf, i);

        c->entries[i] = (struct kvm_cpuid_entry2) {
            .function = leaf->function, .index = leaf->index,
            .flags = leaf->indexed ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0,
            .eax = leaf->reg[CPUID_EAX], .ebx = leaf->reg[CPUID_EBX], .ecx = leaf->reg[CPUID_ECX],
            .edx = leaf->reg[CPUID_EDX],
        };
    }
    return c;
}

/* KVM_GET_SUPPORTED_CPUID of /dev/kvm, or KVM_GET_CPUID2 of a vCPU; NULL sets errno. */
static struct kvm_cpuid2 *
get_list(int fd, unsigned long request)
{
    /* Asking costs a CPUID instruction an entry, slow where those trap: so the first room is ample. */
    for (unsigned room = 256; room <= 4096; room *= 2) {
        struct kvm_cpuid2 *c = g_malloc0(sizeof *c + room * sizeof c->entries[0]);

        c->nent = room;
        if (kvm_ioctl(fd, request, c) == 0)
            return c;
        g_free(c);
        if (errno != E2BIG && errno != ENOMEM)
            break;
    }
    return NULL;
}

/* What KVM makes itself, and does not list in all of its versions (api.rst, KVM_GET_SUPPORTED_CPUID). */
static void
add_unlisted(const struct kvm *k, GArray *leaves)
{
    struct cpuid_leaf *leaf = cpuid_make(leaves, LEAF_FEATURES, 0);

    leaf->reg[CPUID_ECX] |= ECX_HYPERVISOR | ECX_X2APIC;
    if (kvm_capability(k, KVM_CAP_TSC_DEADLINE_TIMER))
        leaf->reg[CPUID_ECX] |= ECX_TSC_DEADLINE;
    cpuid_make(leaves, LEAF_POWER, 0)->reg[CPUID_EAX] |= EAX_ARAT;
}

/* --- what guests get -------------------------------------------------------------------------------------------- */

static const char *
refuses(void *self, unsigned feature)
{
    return cpu_trial_refuses(self, cpu_features[feature].name);
}

bool
cpuid_init(struct kvm *k, const struct cpu_options *options, GError **error)
{
    static const struct cpu_options usual = { .model = CPU_MODEL_BASE };
    g_autofree struct kvm_cpuid2 *supported = get_list(k->system_fd, KVM_GET_SUPPORTED_CPUID);
    struct cpu_trial trial = { .vm_fd = -1, .cpu_fd = -1, .system_fd = k->system_fd, .supported = supported };
    struct cpu_host host = { .refuses = refuses, .self = &trial };

    if (!supported)
        return fail_host(error, errno, "cannot learn which CPU features KVM supports");
    k->supported = leaves_from(supported);
    add_unlisted(k, k->supported);
    host.leaves = k->supported;
    cpu_resolve(options ? options : &usual, &host, &k->cpu);
    cpu_trial_release(&trial);
    return true;
}

void
cpuid_release(struct kvm *k)
{
    g_clear_pointer(&k->supported, g_array_unref);
    g_clear_pointer(&k->cpuid, g_array_unref);
}

/* Gives a vCPU its leaves; '*ret_seen' are those that it then has. */
static bool
give(const struct kvm *k, int fd, unsigned apic_id, uint64_t tsc_khz, GArray **ret_seen)
{
    const struct cpu_leaves_input in = {
        .cpu = &k->cpu, .host = k->supported, .topology = k->topology, .apic_id = apic_id,
        .physical_bits = k->physical_bits, .tsc_khz = tsc_khz,
    };
    g_autoptr(GArray) leaves = cpu_leaves(&in);
    g_autofree struct kvm_cpuid2 *list = leaves_to(leaves), *seen = NULL;

    if (kvm_ioctl(fd, KVM_SET_CPUID2, list) < 0)
        return false;
    if (ret_seen)
        seen = get_list(fd, KVM_GET_CPUID2);
    if (ret_seen)
        *ret_seen = seen ? leaves_from(seen) : g_array_ref(leaves);
    return true;
}

static uint64_t
own_khz(int fd)
{
    return (uint64_t)MAX(kvm_ioctl_number(fd, KVM_GET_TSC_KHZ, 0), 0);
}

static uint64_t
xcr0_seen(const GArray *seen)
{
    bool xsave = cpuid_get(seen, LEAF_FEATURES, 0, CPUID_ECX) & ECX_XSAVE;

    if (!xsave)
        return 1;
    return cpuid_get(seen, LEAF_XSAVE, 0, CPUID_EAX) | (uint64_t)cpuid_get(seen, LEAF_XSAVE, 0, CPUID_EDX) << 32;
}

bool
vcpu_set_cpuid(struct kvm_cpu *c, GError **error)
{
    struct kvm *k = c->kvm;

    c->told_khz = c->index == 0 ? own_khz(c->fd) : k->cpus[0].told_khz;
    if (!give(k, c->fd, c->apic_id, c->told_khz, c->index == 0 ? &k->cpuid : NULL))
        return fail_host(error, errno, "cannot give vCPU %u its features", c->index);
    if (c->index != 0)
        return true;
    cpu_note_seen(&k->cpu, k->cpuid);
    k->xcr0 = xcr0_seen(k->cpuid);
    return true;
}

void
vcpu_tell_khz(struct kvm_cpu *c, uint64_t khz)
{
    if (khz != c->told_khz && give(c->kvm, c->fd, c->apic_id, khz, NULL))
        c->told_khz = khz;
}

/* --- for people ------------------------------------------------------------------------------------------------- */

/* A vCPU of a virtual machine that is there for this alone. */
static bool
preview(struct kvm *k, const struct cpu_options *options, GError **error)
{
    g_autoptr(GArray) seen = NULL;
    bool given;
    int fd;

    if (!cpuid_init(k, options, error))
        return false;
    fd = kvm_ioctl_number(k->vm_fd, KVM_CREATE_VCPU, 0);
    given = fd >= 0 && give(k, fd, 0, own_khz(fd), &seen);
    if (given)
        cpu_note_seen(&k->cpu, seen);
    else
        fail_host(error, errno, "cannot try the CPU features of KVM here");
    close_fd(&fd);
    return given;
}

bool
kvm_cpu_resolve(struct accel *a, const struct cpu_options *options, struct cpu_resolved *ret, GError **error)
{
    struct kvm k = { .system_fd = -1, .vm_fd = -1, .physical_bits = PHYSICAL_BITS };
    bool ok = true;

    if (a) {
        *ret = ((struct kvm *)a)->cpu;
        return true;
    }
    ok = kvm_open(&k, error) && preview(&k, options, error);
    if (ok)
        *ret = k.cpu;
    cpuid_release(&k);
    close_fd(&k.vm_fd);
    close_fd(&k.system_fd);
    return ok;
}
