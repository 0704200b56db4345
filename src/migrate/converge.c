/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Auto-converge: when is the guest to be slowed down, and by how much?  As QEMU decides it: at the first dirty sync
 * after each second, what was dirtied is compared with what was sent in the same time; every second time that it is
 * more than the threshold allows is an action. */
#include "migrate-private.h"

enum { PERIOD_US = 1000 * 1000, STRIKES = 2 };

void
converge_init(struct converge *c, int64_t now_us)
{
    *c = (struct converge) { .period_us = now_us };
}

/* With tailslow no more than brings the guest down to what the line takes. */
static unsigned
increment_of(const struct converge *c, const struct converge_rules *rules, double allowed, double dirtied)
{
    double now = 100 - c->percent, ideal = now * allowed / dirtied;

    if (!rules->tailslow || now - ideal >= rules->increment)
        return rules->increment;
    return now > ideal ? (unsigned)(now - ideal) : 0;
}

static bool
act(struct converge *c, const struct converge_rules *rules, double allowed, double dirtied)
{
    unsigned before = c->percent;

    c->percent = before ? before + increment_of(c, rules, allowed, dirtied) : rules->initial;
    c->percent = MIN(c->percent, MAX(rules->most, before));
    return c->percent != before;
}

enum converge_step
converge_sync(struct converge *c, const struct converge_rules *rules, uint64_t dirtied, uint64_t sent, int64_t now_us)
{
    c->dirtied += dirtied;
    if (now_us - c->period_us < PERIOD_US)
        return CONVERGE_NOTHING;
    double allowed = (double)(sent - c->sent_before) * rules->threshold / 100, found = (double)c->dirtied;
    c->period_us = now_us;
    c->sent_before = sent;
    c->dirtied = 0;
    if (found <= allowed)
        return CONVERGE_NOTHING;
    if (++c->count < STRIKES)
        return CONVERGE_STRIKE;
    c->count = 0;
    return act(c, rules, allowed, found) ? CONVERGE_THROTTLE : CONVERGE_STRIKE;
}
