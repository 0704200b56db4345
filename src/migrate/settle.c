/* SPDX-License-Identifier: GPL-3.0-or-later */
/* When is the guest stopped?  It may be as soon as the rest fits downtime-limit.  But while rounds still shrink, and
 * cost little, another one leaves less to be sent while the guest stands.  So they go on as long as they are expected
 * to end, the switchover behind them included, within downtime-effort percent more time than the migration would have
 * taken otherwise. */
#include "migrate-private.h"

#include <math.h>

/* A rest that goes in this time beyond what a look at the log takes is not worth another round. */
enum { SHORT_US = 100 };
/* A round that leaves a larger share of what there was does not shrink any more. */
#define SHRINKS 0.75

void
flow_add(struct flow *f, double raw, double wire, double us)
{
    f->raw += raw;
    f->wire += wire;
    f->us += us;
    while (f->us > 2 * PACE_WINDOW_US) {
        f->raw /= 2;
        f->wire /= 2;
        f->us /= 2;
    }
}

/* Microseconds that these bytes of memory take while nothing holds them back. */
static double
sending_us(const struct flow *f, double bytes)
{
    return bytes <= 0 ? 0 : f->raw > 0 ? bytes * f->us / f->raw : INFINITY;
}

/* The same under max-bandwidth, from now on: what goes beyond this window waits for the next ones. */
static double
round_us(const struct settle_facts *k)
{
    double wire = k->flow->raw > 0 ? (double)k->rest * k->flow->wire / k->flow->raw : (double)k->rest;
    double send = sending_us(k->flow, (double)k->rest), windows;

    if (k->budget == UINT64_MAX || wire <= (double)k->budget)
        return send;
    windows = floor((wire - (double)k->budget) / (double)MAX(k->window_budget, 1));
    return MAX(send, (double)MAX(k->window_end_us - k->now_us, 0) + windows * PACE_WINDOW_US);
}

enum settle_step
settle_look(struct settle *s, const struct settle_facts *k)
{
    double send = sending_us(k->flow, (double)k->rest), now = (double)k->now_us, passed = now - (double)k->begin_us;
    double round, next;
    bool shrank;

    if (k->rest > k->fits)
        return SETTLE_TOO_MUCH;
    if (s->until_us == 0)
        s->until_us = now + send + (passed + send) * k->effort / 100;
    shrank = s->rest == 0 || (double)k->rest <= SHRINKS * (double)s->rest;
    s->rest = k->rest;
    if (k->effort == 0 || !shrank || send <= (double)k->look_us + SHORT_US)
        return SETTLE_STOP;
    round = round_us(k) + (double)k->look_us;
    next = k->fresh_us > 0 ? (double)k->fresh / (double)k->fresh_us * round : INFINITY;
    if (next > SHRINKS * (double)k->rest || now + round + sending_us(k->flow, next) > s->until_us)
        return SETTLE_STOP;
    return SETTLE_SHORTEN;
}
