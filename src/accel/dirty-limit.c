/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Limits of the rate at which vCPUs dirty memory.
 *
 * The log has a ring for each vCPU, which holds so many pages.  A vCPU whose ring is full sleeps for a while before
 * it goes on, so one that writes little is never kept waiting.  A thread measures each vCPU's rate once a period, by
 * a subscriber of its own, and finds the sleep that brings the rate to the quota, as QEMU does: from the time that
 * the ring takes to fill at the highest rate seen, in proportion while the rate is far from the quota, then by tenths
 * of that time.
 *
 * QEMU is content within 25 MiB/s.  So is numon, but within an eighth of a quota that is smaller than 200 MiB/s. */
#include "accel.h"

#include <inttypes.h>

enum { PERIOD_MS = 1000 };
#define TOLERANCE_MOST (25 * MIB)

struct limited {
    uint64_t quota;                 /* bytes a second; 0: none */
    uint64_t nap_us;                /* after each full ring */
    uint64_t pages;                 /* the subscriber's count at the last look */
    uint64_t rate, highest;         /* bytes a second: of the last period, of all */
};

struct dirty_limit {
    /* Fixed. */
    const struct accel_class *class;
    struct accel *accel;
    struct hub *hub;
    unsigned cpu_slots;

    struct lock lock;               /* rank 18 */
    struct thread thread;           /* under the lock; started with the first limit */
    struct condition wake;
    struct limited *cpus GUARDED;
    unsigned period_ms GUARDED;
    bool ending GUARDED;
};

uint64_t
dirty_limit_nap(uint64_t nap_us, uint64_t quota, uint64_t rate, uint64_t full_us)
{
    uint64_t tolerance = MIN(TOLERANCE_MOST, quota / 8), far = rate > quota ? rate - quota : quota - rate;
    uint64_t percent = far * 100 / MAX(MAX(rate, quota), 1), step;

    if (far <= tolerance)
        return nap_us;
    percent = MIN(percent, 99);
    step = percent > 50 ? full_us * percent / (100 - percent) : full_us / 10;
    if (rate > quota)
        nap_us += step;
    else
        nap_us -= MIN(nap_us, step);
    return MIN(nap_us, full_us * 99);
}

struct dirty_limit *
dirty_limit_new(const struct accel_class *class, struct accel *a, struct hub *hub, unsigned cpu_slots)
{
    struct dirty_limit *l = g_new0(struct dirty_limit, 1);

    l->class = class;
    l->accel = a;
    l->hub = hub;
    l->cpu_slots = MIN(cpu_slots, HUB_CPUS);
    lock_init(&l->lock, 18, "dirty limit");
    condition_init(&l->wake);
    lock_take(&l->lock);
    l->cpus = g_new0(struct limited, l->cpu_slots);
    l->period_ms = PERIOD_MS;
    lock_drop(&l->lock);
    return l;
}

void
dirty_limit_free(struct dirty_limit *l)
{
    if (!l)
        return;
    lock_take(&l->lock);
    l->ending = true;
    condition_broadcast(&l->wake);
    lock_drop(&l->lock);
    thread_join(&l->thread);
    lock_take(&l->lock);
    g_free(l->cpus);
    lock_drop(&l->lock);
    condition_release(&l->wake);
    lock_release(&l->lock);
    g_free(l);
}

/* --- the thread ------------------------------------------------------------------------------------------------- */

static bool
is_limiting(const struct dirty_limit *l) REQUIRES(l->lock)
{
    for (unsigned cpu = 0; cpu < l->cpu_slots; cpu++)
        if (l->cpus[cpu].quota)
            return true;
    return false;
}

static void
adjust(struct dirty_limit *l, unsigned cpu, uint64_t pages, uint64_t passed_us) REQUIRES(l->lock)
{
    struct limited *c = &l->cpus[cpu];
    uint64_t full_us;

    c->rate = (pages - c->pages) * PAGE_SIZE * G_USEC_PER_SEC / MAX(passed_us, 1);
    c->pages = pages;
    c->highest = MAX(c->highest, c->rate);
    if (!c->quota || !c->highest)
        return;
    full_us = l->class->ring_pages(l->accel) * PAGE_SIZE * G_USEC_PER_SEC / c->highest;
    c->nap_us = dirty_limit_nap(c->nap_us, c->quota, c->rate, full_us);
    l->class->ring_nap(l->accel, cpu, c->nap_us);
}

/* One look at all vCPUs.  False if the log fails: limits cannot be kept then, and vCPUs are let go. */
static bool
look(struct dirty_limit *l, struct subscriber *s, int64_t *last_us) EXCLUDES(l->lock)
{
    int64_t now;

    /* Pages that are written again after this count again. */
    if (!hub_sync(l->hub, NULL) || !hub_clear_all(l->hub, s, NULL))
        return false;
    now = g_get_monotonic_time();
    lock_take(&l->lock);
    for (unsigned cpu = 0; cpu < l->cpu_slots; cpu++)
        adjust(l, cpu, subscriber_cpu_pages(s, cpu), (uint64_t)(now - *last_us));
    lock_drop(&l->lock);
    *last_us = now;
    return true;
}

static void
begin_limiting(struct dirty_limit *l) REQUIRES(l->lock)
{
    for (unsigned cpu = 0; cpu < l->cpu_slots; cpu++)
        l->cpus[cpu].pages = l->cpus[cpu].rate = l->cpus[cpu].highest = l->cpus[cpu].nap_us = 0;
}

/* Until no vCPU is limited any more; returns with the lock dropped and taken again. */
static void
limit(struct dirty_limit *l) REQUIRES(l->lock)
{
    struct subscriber *s;
    int64_t last_us;
    bool works;

    begin_limiting(l);
    lock_drop(&l->lock);
    s = hub_subscribe(l->hub, "dirty limit", NULL);
    last_us = g_get_monotonic_time();
    works = s;
    lock_take(&l->lock);
    while (works && !l->ending && is_limiting(l)) {
        int64_t until = last_us + (int64_t)l->period_ms * 1000;

        if (g_get_monotonic_time() < until) {
            condition_wait_until(&l->wake, &l->lock, until);
            continue;
        }
        lock_drop(&l->lock);
        works = look(l, s, &last_us);
        lock_take(&l->lock);
    }
    for (unsigned cpu = 0; cpu < l->cpu_slots; cpu++) {
        l->class->ring_nap(l->accel, cpu, 0);
        l->cpus[cpu] = (struct limited) { .quota = works ? l->cpus[cpu].quota : 0 };
    }
    lock_drop(&l->lock);
    hub_unsubscribe(l->hub, s);
    lock_take(&l->lock);
}

static void *
limit_thread(void *data)
{
    struct dirty_limit *l = data;

    lock_take(&l->lock);
    while (!l->ending) {
        if (is_limiting(l))
            limit(l);
        else
            condition_wait(&l->wake, &l->lock);
    }
    lock_drop(&l->lock);
    return NULL;
}

/* --- for main and the migration thread -------------------------------------------------------------------------- */

bool
dirty_limit_possible(const struct dirty_limit *l, GError **error)
{
    if (l->class->ring_pages && l->class->ring_pages(l->accel))
        return true;
    return fail(error, NUMON_ERROR_STATE, "the dirty rate of vCPUs can be limited only with a dirty ring "
                "(`accel kvm,dirty-log=ring`, or accel synthetic)");
}

/* Clears what a vCPU had when its limit ends, so that it runs on at once. */
static void
set_one(struct dirty_limit *l, unsigned cpu, uint64_t quota) REQUIRES(l->lock)
{
    l->cpus[cpu].quota = quota;
    if (quota)
        return;
    l->cpus[cpu].nap_us = 0;
    l->class->ring_nap(l->accel, cpu, 0);
}

bool
dirty_limit_set(struct dirty_limit *l, int cpu, uint64_t quota, unsigned period_ms, GError **error)
{
    bool ok = true;

    if (!dirty_limit_possible(l, error))
        return quota == 0;
    lock_take(&l->lock);
    if (quota && !l->thread.started)
        ok = thread_start(&l->thread, "dirty limit", limit_thread, l, error);
    for (unsigned i = 0; ok && i < l->cpu_slots; i++)
        if (cpu < 0 || (unsigned)cpu == i)
            set_one(l, i, quota);
    if (period_ms)
        l->period_ms = period_ms;
    condition_broadcast(&l->wake);
    lock_drop(&l->lock);
    return ok;
}

bool
dirty_limit_get(struct dirty_limit *l, unsigned cpu, struct dirty_limit_info *ret)
{
    lock_take(&l->lock);
    const struct limited none = { 0 }, *c = cpu < l->cpu_slots ? &l->cpus[cpu] : &none;
    uint64_t ring = l->class->ring_pages ? l->class->ring_pages(l->accel) : 0;
    *ret = (struct dirty_limit_info) {
        .quota = c->quota, .rate = c->rate, .nap_us = c->nap_us,
        .full_us = c->highest ? ring * PAGE_SIZE * G_USEC_PER_SEC / c->highest : 0,
    };
    lock_drop(&l->lock);
    return ret->quota != 0;
}
