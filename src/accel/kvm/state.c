/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The state of a vCPU: the fields that travel, and the one table that says how each part is read from KVM and put
 * back.  Parts are put in the order of the table and read in the opposite one. */
#include "kvm-private.h"

#include <errno.h>
#include <string.h>

#define AT(member) offsetof(struct kvm_cpu, state.member)
#define U64(name, member) { name, STATE_U64, AT(member) }
#define REGISTER(r) U64(#r, regs.r)
/* The nine bytes from 'type' on: type, present, dpl, db, s, l, g, avl, unusable. */
#define SEGMENT(x)                                                                                       \
    { #x ".base", STATE_U64, AT(sregs.x.base) }, { #x ".limit", STATE_U32, AT(sregs.x.limit) },          \
    { #x ".selector", STATE_U16, AT(sregs.x.selector) }, { #x ".attributes", STATE_U8, AT(sregs.x.type), 9 }
#define TABLE(x) { #x ".base", STATE_U64, AT(sregs.x.base) }, { #x ".limit", STATE_U16, AT(sregs.x.limit) }
#define EVENT(type, member) { "events." #member, type, AT(events.member) }

_Static_assert(offsetof(struct kvm_segment, unusable) - offsetof(struct kvm_segment, type) == 8, "nine bytes");

const struct state_field cpu_fields[] = {
    REGISTER(rax), REGISTER(rbx), REGISTER(rcx), REGISTER(rdx), REGISTER(rsi), REGISTER(rdi), REGISTER(rsp),
    REGISTER(rbp), REGISTER(r8), REGISTER(r9), REGISTER(r10), REGISTER(r11), REGISTER(r12), REGISTER(r13),
    REGISTER(r14), REGISTER(r15), REGISTER(rip), REGISTER(rflags),
    SEGMENT(cs), SEGMENT(ds), SEGMENT(es), SEGMENT(fs), SEGMENT(gs), SEGMENT(ss), SEGMENT(tr), SEGMENT(ldt),
    TABLE(gdt), TABLE(idt),
    U64("cr0", sregs.cr0), U64("cr2", sregs.cr2), U64("cr3", sregs.cr3), U64("cr4", sregs.cr4),
    U64("cr8", sregs.cr8), U64("efer", sregs.efer), U64("apic_base", sregs.apic_base),
    { "interrupt_bitmap", STATE_U64, AT(sregs.interrupt_bitmap), 4 },
    { "sregs_flags", STATE_U64, AT(sregs_flags), .since = 2 },
    { "pdptrs", STATE_U64, AT(pdptrs), 4, .since = 2 },
    U64("xcr0", xcr0),
    { "xsave", STATE_VARIABLE, AT(xsave), XSAVE_SIZE_MAX, AT(xsave_size) },
    { "lapic", STATE_BUFFER, AT(lapic), KVM_APIC_REG_SIZE },
    { "msrs", STATE_VARIABLE, AT(msrs), MSRS_MAX * MSR_RECORD_SIZE, AT(msrs_size) },
    { "dr", STATE_U64, AT(debugregs.db), 4 }, U64("dr6", debugregs.dr6), U64("dr7", debugregs.dr7),
    EVENT(STATE_U32, flags),
    EVENT(STATE_U8, exception.injected), EVENT(STATE_U8, exception.nr), EVENT(STATE_U8, exception.has_error_code),
    EVENT(STATE_U8, exception.pending), EVENT(STATE_U32, exception.error_code),
    EVENT(STATE_U8, exception_has_payload), EVENT(STATE_U64, exception_payload),
    EVENT(STATE_U8, interrupt.injected), EVENT(STATE_U8, interrupt.nr), EVENT(STATE_U8, interrupt.soft),
    EVENT(STATE_U8, interrupt.shadow),
    EVENT(STATE_U8, nmi.injected), EVENT(STATE_U8, nmi.pending), EVENT(STATE_U8, nmi.masked),
    EVENT(STATE_U32, sipi_vector),
    EVENT(STATE_U8, smi.smm), EVENT(STATE_U8, smi.pending), EVENT(STATE_U8, smi.smm_inside_nmi),
    EVENT(STATE_U8, smi.latched_init), EVENT(STATE_U8, triple_fault.pending),
    { "mp_state", STATE_U32, AT(mp_state) },
    { "tsc_khz", STATE_U32, AT(tsc_khz) },
    { "tsc_offset", STATE_U64, AT(tsc_offset), .since = 2 },
    { "tsc_offset_known", STATE_BOOL, AT(tsc_offset_known), .since = 2 },
    { 0 }
};

/* Parts that are one ioctl each way. */
#define PART(part, GET, SET, member)                                    \
    static int get_##part(struct kvm_cpu *c, struct cpu_state *s)      \
    {                                                                   \
        return kvm_ioctl(c->fd, GET, &s->member);                       \
    }                                                                   \
    static int put_##part(struct kvm_cpu *c, struct cpu_state *s)      \
    {                                                                   \
        return kvm_ioctl(c->fd, SET, &s->member);                       \
    }

PART(regs, KVM_GET_REGS, KVM_SET_REGS, regs)
PART(sregs, KVM_GET_SREGS, KVM_SET_SREGS, sregs)
PART(lapic, KVM_GET_LAPIC, KVM_SET_LAPIC, lapic)
PART(events, KVM_GET_VCPU_EVENTS, KVM_SET_VCPU_EVENTS, events)
PART(debugregs, KVM_GET_DEBUGREGS, KVM_SET_DEBUGREGS, debugregs)
PART(mp_state, KVM_GET_MP_STATE, KVM_SET_MP_STATE, mp_state)

_Static_assert(sizeof(struct kvm_mp_state) == sizeof(uint32_t), "mp_state is one word");

/* The segments, the two tables and the control registers lie alike in both; what the newer one has instead of a
 * bitmap is in the events. */
#define SREGS_COMMON offsetof(struct kvm_sregs, interrupt_bitmap)
_Static_assert(offsetof(struct kvm_sregs2, flags) == SREGS_COMMON, "the same up to there");

static int
get_sregs2(struct kvm_cpu *c, struct cpu_state *s)
{
    struct kvm_sregs2 sregs;
    int r = kvm_ioctl(c->fd, KVM_GET_SREGS2, &sregs);

    if (r < 0)
        return r;
    memset(&s->sregs, 0, sizeof s->sregs);
    memcpy(&s->sregs, &sregs, SREGS_COMMON);
    s->sregs_flags = sregs.flags;
    memcpy(s->pdptrs, sregs.pdptrs, sizeof s->pdptrs);
    return 0;
}

static int
put_sregs2(struct kvm_cpu *c, struct cpu_state *s)
{
    struct kvm_sregs2 sregs = { .flags = s->sregs_flags };

    memcpy(&sregs, &s->sregs, SREGS_COMMON);
    memcpy(sregs.pdptrs, s->pdptrs, sizeof s->pdptrs);
    return kvm_ioctl(c->fd, KVM_SET_SREGS2, &sregs);
}

static int
resize_xsave(struct kvm_cpu *c, struct cpu_state *s)
{
    uint8_t *larger;

    if (s->xsave_size == c->kvm->xsave_size)
        return 0;
    larger = g_malloc0(c->kvm->xsave_size);
    if (s->xsave)
        memcpy(larger, s->xsave, MIN(s->xsave_size, c->kvm->xsave_size));
    g_free(s->xsave);
    s->xsave = larger;
    s->xsave_size = c->kvm->xsave_size;
    return 0;
}

static int
get_xsave(struct kvm_cpu *c, struct cpu_state *s)
{
    resize_xsave(c, s);
    return kvm_ioctl(c->fd, KVM_GET_XSAVE, s->xsave);
}

static int
get_xsave2(struct kvm_cpu *c, struct cpu_state *s)
{
    resize_xsave(c, s);
    return kvm_ioctl(c->fd, KVM_GET_XSAVE2, s->xsave);
}

/* One that came with less has the rest in its first state, zeros. */
static int
put_xsave(struct kvm_cpu *c, struct cpu_state *s)
{
    resize_xsave(c, s);
    return kvm_ioctl(c->fd, KVM_SET_XSAVE, s->xsave);
}

static int
get_xcrs(struct kvm_cpu *c, struct cpu_state *s)
{
    struct kvm_xcrs xcrs = { 0 };
    int r = kvm_ioctl(c->fd, KVM_GET_XCRS, &xcrs);

    s->xcr0 = xcrs.nr_xcrs ? xcrs.xcrs[0].value : 1;
    return r;
}

static int
put_xcrs(struct kvm_cpu *c, struct cpu_state *s)
{
    struct kvm_xcrs xcrs = { .nr_xcrs = 1, .xcrs = { { .xcr = 0, .value = s->xcr0 } } };

    return kvm_ioctl(c->fd, KVM_SET_XCRS, &xcrs);
}

static int
get_tsc_khz(struct kvm_cpu *c, struct cpu_state *s)
{
    int khz = kvm_ioctl_number(c->fd, KVM_GET_TSC_KHZ, 0);

    s->tsc_khz = (uint32_t)MAX(khz, 0);
    return khz;
}

static int
put_tsc_khz(struct kvm_cpu *c, struct cpu_state *s)
{
    if ((int)s->tsc_khz == kvm_ioctl_number(c->fd, KVM_GET_TSC_KHZ, 0) ||
        kvm_ioctl_number(c->fd, KVM_SET_TSC_KHZ, s->tsc_khz) == 0)
        return 0;
    return time_near_khz(c->kvm, s->tsc_khz) ? 0 : -1;
}

/* In the order of putting.  The special registers bring the APIC base, which says in which form the local APIC is;
 * that needs to be there before the deadline MSR; the plain registers drop pending exceptions, so events follow;
 * a CPU that waits is put to sleep last.  Reading in the opposite order lets KVM_GET_MP_STATE and the events take in
 * what was pending before the registers are looked at.
 *
 * A part with a capability is there only where KVM has that; of two with one name the first that is there counts. */
static const struct part {
    const char *word;               /* in the configuration of a stream */
    const char *name;
    int capability;                 /* 0: always there */
    enum put_level level;           /* from which on it is put */
    int (*get)(struct kvm_cpu *c, struct cpu_state *s);
    int (*put)(struct kvm_cpu *c, struct cpu_state *s);
} parts[] = {
    { "tsc-khz", "frequency of the time stamp counter", 0, PUT_FULL, get_tsc_khz, put_tsc_khz },
    { "sregs2", "special registers", KVM_CAP_SREGS2, PUT_RUNTIME, get_sregs2, put_sregs2 },
    { "sregs", "special registers", 0, PUT_RUNTIME, get_sregs, put_sregs },
    { "regs", "registers", 0, PUT_RUNTIME, get_regs, put_regs },
    { "xsave2", "vector registers", KVM_CAP_XSAVE2, PUT_RUNTIME, get_xsave2, put_xsave },
    { "xsave", "vector registers", 0, PUT_RUNTIME, get_xsave, put_xsave },
    { "xcrs", "extended control registers", KVM_CAP_XCRS, PUT_RUNTIME, get_xcrs, put_xcrs },
    { "lapic", "local APIC", 0, PUT_RESET, get_lapic, put_lapic },
    { "msrs", "MSRs", 0, PUT_RUNTIME, NULL, NULL },         /* msr.c: it has more to say */
    { "debugregs", "debug registers", KVM_CAP_DEBUGREGS, PUT_RUNTIME, get_debugregs, put_debugregs },
    { "events", "events", 0, PUT_RUNTIME, get_events, put_events },
    { "mp-state", "run state", 0, PUT_RESET, get_mp_state, put_mp_state },
};

_Static_assert(G_N_ELEMENTS(parts) <= 32, "a set of parts is a word");

unsigned
parts_learn(const struct kvm *k)
{
    unsigned there = 0;

    for (unsigned i = 0; i < G_N_ELEMENTS(parts); i++)
        if ((!parts[i].capability || kvm_capability(k, parts[i].capability)) &&
            !(i && there & 1u << (i - 1) && strcmp(parts[i].name, parts[i - 1].name) == 0))
            there |= 1u << i;
    return there;
}

unsigned
part_named(const struct kvm *k, const char *name)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(parts); i++)
        if (k->parts & 1u << i && strcmp(parts[i].name, name) == 0)
            return 1u << i;
    return 0;
}

bool
part_is(const struct kvm *k, const char *word)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(parts); i++)
        if (strcmp(parts[i].word, word) == 0)
            return k->parts & 1u << i;
    return false;
}

const char *
part_word(unsigned i)
{
    return i < G_N_ELEMENTS(parts) ? parts[i].word : NULL;
}

bool
cpu_state_get(struct kvm_cpu *c, struct cpu_state *s, unsigned which, GError **error)
{
    which &= c->kvm->parts;
    for (unsigned i = G_N_ELEMENTS(parts); i-- > 0;) {
        if (!(which & 1u << i))
            continue;
        if (!parts[i].get && !msrs_get(c, s, error))
            return false;
        if (parts[i].get && parts[i].get(c, s) < 0)
            return fail_host(error, errno, "cannot read the %s of vCPU %u", parts[i].name, c->index);
    }
    return true;
}

bool
cpu_state_put(struct kvm_cpu *c, struct cpu_state *s, unsigned which, enum put_level level, GError **error)
{
    which &= c->kvm->parts;
    for (unsigned i = 0; i < G_N_ELEMENTS(parts); i++) {
        if (!(which & 1u << i) || parts[i].level > level)
            continue;
        if (!parts[i].put && !msrs_put(c, s, level, error))
            return false;
        if (parts[i].put && parts[i].put(c, s) < 0)
            return fail_host(error, errno, "cannot set the %s of vCPU %u", parts[i].name, c->index);
    }
    return true;
}

void
cpu_state_release(struct cpu_state *s)
{
    g_clear_pointer(&s->xsave, g_free);
    g_clear_pointer(&s->msrs, g_free);
    s->xsave_size = s->msrs_size = 0;
}

bool
cpu_before_save(void *object, GError **error)
{
    struct kvm_cpu *c = object;

    if (!registers_write_back(c, error) || !cpu_state_get(c, &c->state, PARTS_ALL, error))
        return false;
    tsc_before_save(c, &c->state);
    return true;
}

/* What KVM takes on trust; all else it checks itself. */
bool
cpu_after_load(void *object, GError **error)
{
    struct kvm_cpu *c = object;
    struct cpu_state *s = &c->state;

    if (s->xsave_size > c->kvm->xsave_size || s->xsave_size < sizeof(struct kvm_xsave))
        return fail(error, NUMON_ERROR_PEER, "cannot load vCPU %u: it has %u bytes of vector registers, KVM here %u",
                    c->index, s->xsave_size, c->kvm->xsave_size);
    if (s->sregs_flags && !part_is(c->kvm, "sregs2"))
        return fail(error, NUMON_ERROR_HOST, "cannot load vCPU %u: KVM here lacks KVM_CAP_SREGS2 (page directory "
                    "pointers of 32-bit guests)", c->index);
    if (s->msrs_size % MSR_RECORD_SIZE)
        return fail(error, NUMON_ERROR_PEER, "cannot load vCPU %u: %u bytes of MSRs are not whole records", c->index,
                    s->msrs_size);
    s->debugregs.flags = 0;
    c->exit_left = false;
    registers_forget(c);
    vcpu_tell_khz(c, s->tsc_khz);
    return cpu_state_put(c, s, PARTS_ALL, PUT_FULL, error) && tsc_after_load(c, s, error);
}
