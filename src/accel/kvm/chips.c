/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The devices that KVM has in the kernel: two 8259 interrupt controllers and the I/O APIC, the 8254 timer, and the
 * clock that paravirtual guests read. */
#include "kvm-private.h"

#include <errno.h>
#include <string.h>
#include <time.h>

enum { PIC_MASK_ALL = 0xff };

/* The timer counts from a moment of this host's monotonic clock; in a stream the moment is its age. */
static void
turn_load_times(struct kvm_pit_state2 *pit)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    for (unsigned i = 0; i < G_N_ELEMENTS(pit->channels); i++)
        pit->channels[i].count_load_time = (__s64)((uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec -
                                                   (uint64_t)pit->channels[i].count_load_time);
}

/* --- one chip --------------------------------------------------------------------------------------------------- */

static int
get_chip(struct kvm *k, unsigned id, void *to, size_t size)
{
    struct kvm_irqchip chip = { .chip_id = id };
    int r = kvm_ioctl(k->vm_fd, KVM_GET_IRQCHIP, &chip);

    memcpy(to, &chip.chip, size);
    return r;
}

static int
put_chip(struct kvm *k, unsigned id, const void *from, size_t size)
{
    struct kvm_irqchip chip = { .chip_id = id };

    memcpy(&chip.chip, from, size);
    return kvm_ioctl(k->vm_fd, KVM_SET_IRQCHIP, &chip);
}

static int
get_irqchips(struct kvm *k, struct chips_state *s)
{
    int r = get_chip(k, KVM_IRQCHIP_PIC_MASTER, &s->pics[0], sizeof(s->pics[0]));

    r = r < 0 ? r : get_chip(k, KVM_IRQCHIP_PIC_SLAVE, &s->pics[1], sizeof(s->pics[1]));
    return r < 0 ? r : get_chip(k, KVM_IRQCHIP_IOAPIC, &s->ioapic, sizeof(s->ioapic));
}

static int
put_irqchips(struct kvm *k, const struct chips_state *s)
{
    int r = put_chip(k, KVM_IRQCHIP_PIC_MASTER, &s->pics[0], sizeof(s->pics[0]));

    r = r < 0 ? r : put_chip(k, KVM_IRQCHIP_PIC_SLAVE, &s->pics[1], sizeof(s->pics[1]));
    return r < 0 ? r : put_chip(k, KVM_IRQCHIP_IOAPIC, &s->ioapic, sizeof(s->ioapic));
}

static int
get_pit(struct kvm *k, struct chips_state *s)
{
    int r = kvm_ioctl(k->vm_fd, KVM_GET_PIT2, &s->pit);

    turn_load_times(&s->pit);
    return r;
}

static int
put_pit(struct kvm *k, const struct chips_state *s)
{
    struct kvm_pit_state2 pit = s->pit;

    turn_load_times(&pit);
    return kvm_ioctl(k->vm_fd, KVM_SET_PIT2, &pit);
}

/* --- sections --------------------------------------------------------------------------------------------------- */

#define AT(member) offsetof(struct kvm, chips.member)
/* All of it is bytes, from last_irr to elcr_mask. */
#define PIC(n) { "pic" #n, STATE_U8, AT(pics[n]), sizeof(struct kvm_pic_state) }
#define CHANNEL(n)                                                                                                  \
    { "channel" #n ".count", STATE_U32, AT(pit.channels[n].count) },                                                \
    { "channel" #n ".latched_count", STATE_U16, AT(pit.channels[n].latched_count) },                                \
    /* count_latched, status_latched, status, read_state, write_state, write_latch, rw_mode, mode, bcd, gate */     \
    { "channel" #n ".control", STATE_U8, AT(pit.channels[n].count_latched), 10 },                                   \
    { "channel" #n ".age_ns", STATE_U64, AT(pit.channels[n].count_load_time) }

_Static_assert(sizeof(struct kvm_pic_state) == 16, "sixteen registers of a byte");
_Static_assert(offsetof(struct kvm_pit_channel_state, gate) -
               offsetof(struct kvm_pit_channel_state, count_latched) == 9, "ten bytes");

static const struct state_field irqchip_fields[] = {
    PIC(0), PIC(1),
    { "ioapic.base", STATE_U64, AT(ioapic.base_address) },
    { "ioapic.select", STATE_U32, AT(ioapic.ioregsel) },
    { "ioapic.id", STATE_U32, AT(ioapic.id) },
    { "ioapic.irr", STATE_U32, AT(ioapic.irr) },
    { "ioapic.redirections", STATE_U64, AT(ioapic.redirtbl), KVM_IOAPIC_NUM_PINS },
    { 0 }
};

static const struct state_field pit_fields[] = {
    CHANNEL(0), CHANNEL(1), CHANNEL(2), { "flags", STATE_U32, AT(pit.flags) }, { 0 }
};

static const struct state_field clock_fields[] = {
    { "clock_ns", STATE_U64, AT(clock_ns) }, { "wall_ns", STATE_U64, AT(wall_ns), .since = 2 }, { 0 }
};

#define SECTION(part, what)                                                                          \
    static bool part##_before_save(void *object, GError **error)                                    \
    {                                                                                                \
        struct kvm *k = object;                                                                      \
        return get_##part(k, &k->chips) == 0 || fail_host(error, errno, "cannot read " what);        \
    }                                                                                                \
    static bool part##_after_load(void *object, GError **error)                                     \
    {                                                                                                \
        struct kvm *k = object;                                                                      \
        return put_##part(k, &k->chips) == 0 || fail_host(error, errno, "cannot set " what);         \
    }

SECTION(irqchips, "the interrupt controllers")
SECTION(pit, "the timer")

static bool
clock_before_save(void *object, GError **error)
{
    struct kvm *k = object;

    if (!k->stopped)
        return clock_read(k, &k->chips) || fail_host(error, errno, "cannot read the clock");
    k->chips.clock_ns = k->stop_time.clock_ns;
    k->chips.wall_ns = k->stop_time.wall_ns;
    return true;
}

static bool
clock_after_load(void *object, GError **error)
{
    struct kvm *k = object;

    return clock_write(k, k->chips.clock_ns) || fail_host(error, errno, "cannot set the clock");
}

void
chips_sections(struct kvm *k, struct state_section *to)
{
    to[0] = (struct state_section) { .name = "kvm-irqchip", .version = 1, .fields = irqchip_fields, .object = k,
                                     .before_save = irqchips_before_save, .after_load = irqchips_after_load };
    to[1] = (struct state_section) { .name = "kvm-pit", .version = 1, .fields = pit_fields, .object = k,
                                     .before_save = pit_before_save, .after_load = pit_after_load };
    to[2] = (struct state_section) { .name = "kvm-clock", .version = 2, .fields = clock_fields, .object = k,
                                     .before_save = clock_before_save, .after_load = clock_after_load };
}

/* --- lines ------------------------------------------------------------------------------------------------------ */

void
kvm_irq_line(struct accel *a, unsigned gsi, bool level)
{
    struct kvm_irq_level line = { .irq = gsi, .level = level };

    /* Fails only without controllers, and they were made. */
    kvm_ioctl(((struct kvm *)a)->vm_fd, KVM_IRQ_LINE, &line);
}

/* --- creation and reset ----------------------------------------------------------------------------------------- */

bool
chips_create(struct kvm *k, GError **error)
{
    struct kvm_pit_config pit = { 0 };

    if (kvm_ioctl_number(k->vm_fd, KVM_CREATE_IRQCHIP, 0) < 0)
        return fail_host(error, errno, "cannot create the interrupt controllers");
    if (kvm_ioctl(k->vm_fd, KVM_CREATE_PIT2, &pit) < 0)
        return fail_host(error, errno, "cannot create the timer");
    if (get_irqchips(k, &k->reset_chips) < 0 || get_pit(k, &k->reset_chips) < 0)
        return fail_host(error, errno, "cannot read the state of the interrupt controllers and the timer");
    /* A PIC that was never programmed would raise vectors from 0 on for whatever reaches it. */
    k->reset_chips.pics[0].imr = k->reset_chips.pics[1].imr = PIC_MASK_ALL;
    return true;
}

bool
chips_reset(struct kvm *k, GError **error)
{
    k->chips = k->reset_chips;
    if (put_irqchips(k, &k->chips) < 0 || put_pit(k, &k->chips) < 0 || !clock_write(k, 0))
        return fail_host(error, errno, "cannot reset the interrupt controllers, the timer and the clock");
    return true;
}
