/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The guest's time over a migration: the clock that paravirtual guests read, and the time stamp counters.
 *
 * All are read together right after the stop (time_stop), with the time of day, and what is saved is that moment's.
 * The destination sets them as they were while it loads, so that a host that cannot is found out while the source
 * may still go on, and once more just before the guest runs (time_start), then with what became of the time between:
 * added, or not.  Either way nothing goes backwards.
 *
 * A counter is the host's plus an offset that KVM keeps for each vCPU.  Where the offset itself can be set, CPUs stay
 * exactly as far apart as they were.  Elsewhere the counter is written; KVM then takes values that are near to each
 * other for one and the same moment.  Some KVM take either write and do nothing: only trying tells
 * (Documentation/virt/kvm/devices/vcpu.rst, section 4). */
#include "kvm-private.h"

#include <errno.h>
#include <inttypes.h>
#include <time.h>

enum {
    MSR_TSC = 0x10,
    TRIAL_SHIFT = 41,               /* a step of minutes, which no counter makes by itself meanwhile */
    UNEXPLAINED_US = 10000,
};

static uint64_t
wall_clock_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* --- one counter ------------------------------------------------------------------------------------------------ */

bool
tsc_read(struct kvm_cpu *c, uint64_t *ret)
{
    return msr_read(c, MSR_TSC, ret);
}

static bool
offset_access(struct kvm_cpu *c, unsigned long request, uint64_t *offset)
{
    struct kvm_device_attr attribute = {
        .group = KVM_VCPU_TSC_CTRL, .attr = KVM_VCPU_TSC_OFFSET, .addr = (uint64_t)(uintptr_t)offset,
    };

    return kvm_ioctl(c->fd, request, &attribute) == 0;
}

/* --- what can be done here -------------------------------------------------------------------------------------- */

static bool
near(uint64_t value, uint64_t wanted)
{
    return value - wanted < UINT64_C(1) << (TRIAL_SHIFT - 1);
}

/* Moves vCPU 0's counter by its offset, looks, and moves it back. */
static bool
offset_moves_it(struct kvm_cpu *c)
{
    uint64_t offset, moved, before, after;
    bool works;

    if (!offset_access(c, KVM_HAS_DEVICE_ATTR, &offset) || !offset_access(c, KVM_GET_DEVICE_ATTR, &offset) ||
        !tsc_read(c, &before))
        return false;
    moved = offset + (UINT64_C(1) << TRIAL_SHIFT);
    works = offset_access(c, KVM_SET_DEVICE_ATTR, &moved) && tsc_read(c, &after) &&
            near(after, before + (UINT64_C(1) << TRIAL_SHIFT));
    offset_access(c, KVM_SET_DEVICE_ATTR, &offset);
    return works;
}

/* The same by its value; the reset that follows writes 0 again. */
static bool
value_moves_it(struct kvm_cpu *c)
{
    uint64_t before, after;

    return tsc_read(c, &before) && msr_write(c, MSR_TSC, before + (UINT64_C(1) << TRIAL_SHIFT))
        && tsc_read(c, &after) &&
           near(after, before + (UINT64_C(1) << TRIAL_SHIFT));
}

void
time_learn(struct kvm *k)
{
    struct kvm_cpu *first = &k->cpus[0];

    k->tsc_setting = offset_moves_it(first) ? TSC_BY_OFFSET : value_moves_it(first) ? TSC_BY_VALUE : TSC_FIXED;
}

const char *
time_setting_text(const struct kvm *k)
{
    switch (k->tsc_setting) {
    case TSC_BY_OFFSET:
        return "by its offset";
    case TSC_BY_VALUE:
        return "by its value";
    case TSC_FIXED:
        break;
    }
    return "not at all: guests see the host's";
}

/* Two hosts of one kind measure a few kHz apart, and KVM takes 250 ppm for the same. */
bool
time_near_khz(const struct kvm *k, uint64_t khz)
{
    return MAX(khz, k->tsc_khz) - MIN(khz, k->tsc_khz) <= k->tsc_khz / 4000;
}

/* True if the counter can be made to count so fast: found out on vCPU 0, which then counts as before. */
bool
time_takes_khz(struct kvm *k, uint64_t khz)
{
    bool takes = time_near_khz(k, khz) || (khz && khz <= UINT32_MAX &&
                                           kvm_ioctl_number(k->cpus[0].fd, KVM_SET_TSC_KHZ, khz) == 0);

    if (takes && !time_near_khz(k, khz))
        kvm_ioctl_number(k->cpus[0].fd, KVM_SET_TSC_KHZ, k->tsc_khz);
    return takes;
}

/* Where the offset cannot be set, writing 0 at its reset has put it in step (KVM: "synchronizing"). */
void
time_join(struct kvm_cpu *c)
{
    struct kvm_cpu *first = &c->kvm->cpus[0];
    int khz = kvm_ioctl_number(first->fd, KVM_GET_TSC_KHZ, 0);
    uint64_t offset;

    if (khz > 0 && khz != kvm_ioctl_number(c->fd, KVM_GET_TSC_KHZ, 0))
        kvm_ioctl_number(c->fd, KVM_SET_TSC_KHZ, (unsigned long)khz);
    if (c->kvm->tsc_setting == TSC_BY_OFFSET && offset_access(first, KVM_GET_DEVICE_ATTR, &offset))
        offset_access(c, KVM_SET_DEVICE_ATTR, &offset);
}

/* --- the source ------------------------------------------------------------------------------------------------- */

bool
clock_read(struct kvm *k, struct chips_state *s)
{
    struct kvm_clock_data clock = { 0 };

    if (kvm_ioctl(k->vm_fd, KVM_GET_CLOCK, &clock) < 0)
        return false;
    s->clock_ns = clock.clock;
    s->wall_ns = wall_clock_ns();
    return true;
}

bool
clock_write(struct kvm *k, uint64_t clock_ns)
{
    struct kvm_clock_data clock = { .clock = clock_ns };

    return kvm_ioctl(k->vm_fd, KVM_SET_CLOCK, &clock) == 0;
}

void
kvm_time_stop(struct accel *a)
{
    struct kvm *k = (struct kvm *)a;

    /* What cannot be read now is read when it is saved, and fails there. */
    k->stopped = clock_read(k, &k->stop_time);
    for (unsigned i = 0; i < k->cpu_slots; i++)
        if (kvm_has_cpu(k, i))
            k->stopped = tsc_read(&k->cpus[i], &k->cpus[i].stop_tsc) && k->stopped;
}

void
tsc_before_save(struct kvm_cpu *c, struct cpu_state *s)
{
    if (c->kvm->stopped)
        msr_record_set(s, MSR_TSC, c->stop_tsc);
    s->tsc_offset = 0;
    s->tsc_offset_known = c->kvm->tsc_setting == TSC_BY_OFFSET &&
                          offset_access(c, KVM_GET_DEVICE_ATTR, &s->tsc_offset);
}

/* --- the destination -------------------------------------------------------------------------------------------- */

bool
tsc_after_load(struct kvm_cpu *c, const struct cpu_state *s, GError **error)
{
    uint64_t saved, now;

    if (c->kvm->tsc_setting != TSC_FIXED || !msr_record_get(s, MSR_TSC, &saved) || !tsc_read(c, &now) || now >= saved)
        return true;
    return fail(error, NUMON_ERROR_HOST, "cannot load vCPU %u: its time stamp counter would go back from %" PRIu64
                " to %" PRIu64 ", this host's own, which KVM here cannot set", c->index, saved, now);
}

/* CPUs are as far apart as they were, vCPU 0 shows 'first' now. */
static bool
set_offsets(struct kvm *k, uint64_t first)
{
    uint64_t base = 0, now = 0;
    bool ok = offset_access(&k->cpus[0], KVM_GET_DEVICE_ATTR, &base) && tsc_read(&k->cpus[0], &now);

    base += first - now;
    for (unsigned i = 0; ok && i < k->cpu_slots; i++) {
        const struct cpu_state *s = &k->cpus[i].state;
        uint64_t offset = base + (s->tsc_offset_known && k->cpus[0].state.tsc_offset_known
                                  ? s->tsc_offset - k->cpus[0].state.tsc_offset : 0);

        ok = !kvm_has_cpu(k, i) || offset_access(&k->cpus[i], KVM_SET_DEVICE_ATTR, &offset);
    }
    return ok;
}

static bool
set_values(struct kvm *k, uint64_t passed)
{
    uint64_t saved;
    bool ok = true;

    for (unsigned i = 0; i < k->cpu_slots; i++)
        if (kvm_has_cpu(k, i))
            ok = msr_record_get(&k->cpus[i].state, MSR_TSC, &saved) && msr_write(&k->cpus[i], MSR_TSC, saved + passed)
            && ok;
    return ok;
}

static uint64_t
ticks(const struct kvm *k, uint64_t ns)
{
    return (uint64_t)((__uint128_t)ns * k->cpus[0].state.tsc_khz / 1000000);
}

static bool
set_counters(struct kvm *k, uint64_t saved, uint64_t passed_ns)
{
    switch (k->tsc_setting) {
    case TSC_BY_OFFSET:
        return set_offsets(k, saved + ticks(k, passed_ns));
    case TSC_BY_VALUE:
        return set_values(k, ticks(k, passed_ns));
    case TSC_FIXED:
        break;
    }
    return true;
}

/* What the guest will read, against what it read last. */
static void
measure(struct kvm *k, uint64_t saved_tsc, struct time_jump *ret)
{
    struct chips_state now = { 0 };
    uint64_t tsc = saved_tsc, khz = MAX(k->cpus[0].state.tsc_khz, 1);

    ret->known = clock_read(k, &now) && tsc_read(&k->cpus[0], &tsc);
    ret->clock_us = (int64_t)(now.clock_ns - k->chips.clock_ns) / 1000;
    ret->tsc_us = (int64_t)((__int128_t)(int64_t)(tsc - saved_tsc) * 1000 / (int64_t)khz);
    ret->away_us = k->chips.wall_ns ? (int64_t)(now.wall_ns - k->chips.wall_ns) / 1000 : 0;
    ret->tsc_set = k->tsc_setting != TSC_FIXED;
}

static char *
warning(const struct kvm *k, const struct time_jump *j, bool set)
{
    if (!set)
        return g_strdup("the guest's clocks could not be set a last time: they went on since its state was loaded");
    if (!j->tsc_set && ABS(j->tsc_us - j->clock_us) > UNEXPLAINED_US)
        return g_strdup_printf("the guest's time stamp counter went on by %.3f s and its clock by %.3f s: KVM here "
                               "cannot set the counter", (double)j->tsc_us / 1e6, (double)j->clock_us / 1e6);
    return NULL;
}

void
kvm_time_start(struct accel *a, struct time_jump *ret, char **ret_warning)
{
    struct kvm *k = (struct kvm *)a;
    uint64_t wall = wall_clock_ns(), away = 0, saved_tsc = 0;
    bool set;

    if (!k->clock_stops && k->chips.wall_ns && wall > k->chips.wall_ns)
        away = wall - k->chips.wall_ns;
    msr_record_get(&k->cpus[0].state, MSR_TSC, &saved_tsc);
    set = set_counters(k, saved_tsc, away);
    set = clock_write(k, k->chips.clock_ns + away) && set;
    /* Guests that measure how long a CPU did nothing are told that it was stopped; those that have not asked for the
     * paravirtual clock cannot be. */
    for (unsigned i = 0; i < k->cpu_slots; i++)
        if (kvm_has_cpu(k, i))
            kvm_ioctl_number(k->cpus[i].fd, KVM_KVMCLOCK_CTRL, 0);
    measure(k, saved_tsc, ret);
    *ret_warning = warning(k, ret, set);
}
