/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Auto-converge: when is the guest to be slowed down, and by how much?  At the first dirty sync after each second,
 * what was dirtied is compared with what was sent in the same time.  As with QEMU the second time that it is more
 * than the threshold allows is an action; then each further time is one, and an action takes, beyond the increment
 * that is given, what would have kept the guest within the threshold.  QEMU goes on by increments: with 20 and 10 %
 * it takes 18 seconds to come to where a guest that writes as fast as it can is held. */
#include "migrate-private.h"

enum { PERIOD_US = 1000 * 1000, STRIKES = 2 };

void
converge_init(struct converge *c, int64_t now_us)
{
    *c = (struct converge) { .period_us = now_us };
}

/* Brings the guest down to what the line takes; with tailslow that is the most, else the least. */
static unsigned
increment_of(const struct converge *c, const struct converge_rules *rules, double allowed, double dirtied)
{
    double now = 100 - c->percent, needed = now - now * allowed / dirtied;

    return rules->tailslow ? (unsigned)MIN(needed, rules->increment) : (unsigned)MAX(needed, rules->increment);
}

static bool
act(struct converge *c, const struct converge_rules *rules, double allowed, double dirtied)
{
    unsigned before = c->percent, more = increment_of(c, rules, allowed, dirtied);

    c->percent = before ? before + more : rules->tailslow ? rules->initial : MAX(rules->initial, more);
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
    if (++c->count < STRIKES && (c->percent == 0 || rules->tailslow))
        return CONVERGE_STRIKE;
    c->count = 0;
    return act(c, rules, allowed, found) ? CONVERGE_THROTTLE : CONVERGE_STRIKE;
}
