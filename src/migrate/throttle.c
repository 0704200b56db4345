/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A source slows its guest down: auto-converge takes time from the vCPUs, dirty-limit lets each dirty so much and no
 * more.  When is converge.c's to say. */
#include "migrate-private.h"

static bool
converges(const struct out *o)
{
    const struct session *s = o->session;

    return s->capabilities && atomic_load(&s->capabilities->auto_converge) && s->guest.throttle;
}

static bool
limits(const struct out *o)
{
    const struct session *s = o->session;

    return s->capabilities && atomic_load(&s->capabilities->dirty_limit) && s->guest.limit;
}

/* Dirty-limit, after every second strike: each vCPU may dirty so much and no more. */
static bool
hold_limit(struct out *o, GError **error)
{
    struct session *s = o->session;
    struct migrate_parameters *p = s->parameters;

    o->converge.percent = 0;
    if (o->converge.count == 0) {
        if (!s->guest.limit(s->guest.self, parameter(&p->vcpu_dirty_limit) * MIB,
                            (unsigned)parameter(&p->dirty_limit_period), error))
            return false;
        atomic_store(&s->dirty_limit, true);
    }
    return true;
}

static void
show_limit(struct session *s)
{
    uint64_t nap_us = 0, full_us = 0;

    if (!atomic_load(&s->dirty_limit))
        return;
    s->guest.limit_times(s->guest.self, &nap_us, &full_us);
    atomic_store(&s->limit_nap_us, nap_us);
    atomic_store(&s->limit_full_us, full_us);
}

static void
end_limit(struct session *s)
{
    if (atomic_exchange(&s->dirty_limit, false))
        s->guest.limit(s->guest.self, 0, 0, NULL);
}

static void
end_share(struct out *o)
{
    struct session *s = o->session;

    if (o->converge.percent == 0)
        return;
    o->converge.percent = 0;
    s->guest.throttle(s->guest.self, 0, NULL);
    session_throttle(s, 0);
}

/* What was switched off under way lets go of the guest. */
static void
let_go(struct out *o)
{
    if (!limits(o))
        end_limit(o->session);
    if (!converges(o))
        end_share(o);
}

bool
out_slows_down(const struct out *o)
{
    return converges(o) || limits(o) || o->converge.percent || atomic_load(&o->session->dirty_limit);
}

bool
out_slow_down(struct out *o, uint64_t fresh, GError **error)
{
    struct session *s = o->session;
    struct migrate_parameters *p = s->parameters;
    struct converge_rules rules = {
        .threshold = (unsigned)parameter(&p->throttle_trigger_threshold),
        .initial = (unsigned)parameter(&p->cpu_throttle_initial),
        .increment = (unsigned)parameter(&p->cpu_throttle_increment),
        .most = (unsigned)parameter(&p->max_cpu_throttle), .tailslow = parameter(&p->cpu_throttle_tailslow),
    };

    if (o->stopped)
        return true;
    let_go(o);
    if (!converges(o) && !limits(o))
        return true;
    show_limit(s);
    /* What the guest wrote while the line was not used says nothing of the two. */
    if (o->was_held)
        fresh = 0;
    o->was_held = false;
    switch (converge_sync(&o->converge, &rules, fresh * PAGE_SIZE, counter_read(&s->counters.bytes),
                          g_get_monotonic_time())) {
    case CONVERGE_NOTHING:
        return true;
    case CONVERGE_THROTTLE:
        if (!limits(o) && !s->guest.throttle(s->guest.self, o->converge.percent, error))
            return false;
        break;
    case CONVERGE_STRIKE:
        break;
    }
    if (limits(o) && !hold_limit(o, error))
        return false;
    counter_add(&s->counters.throttle_strikes, 1);
    session_throttle(s, o->converge.percent);
    return true;
}

void
out_end_throttle(struct out *o)
{
    end_limit(o->session);
    end_share(o);
}
