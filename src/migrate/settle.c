/* SPDX-License-Identifier: GPL-3.0-or-later */
/* When is the guest stopped?  It may be as soon as the rest fits downtime-limit.  But while rounds still shrink, and
 * cost little, another one leaves less to be sent while the guest stands.  So they go on as long as they are expected
 * to end, the switchover behind them included, within downtime-effort percent more time than the migration would have
 * taken otherwise. */
#include "migrate-private.h"

#include <math.h>

/* A rest that goes in this time beyond what a look at the log takes is not worth another round. */
enum { SHORT_US = 100 };
/* What a round must leave at most of what there was: of one that sends all of it; and of a window that cannot. */
#define SHRINKS 0.75
#define DRAINS 0.95

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

/* What the next look will find, and when. */
struct outlook { double us, rest, most; };

/* One round more.  Under max-bandwidth what is beyond this window's budget waits for the next window, which takes as
 * much as it may; the look is when that has gone, the guest writes on. */
static struct outlook
next_look(const struct settle_facts *k)
{
    double rest = (double)k->rest, raw = k->flow->wire > 0 ? k->flow->raw / k->flow->wire : 1;
    double write_rate = k->fresh_us > 0 ? (double)k->fresh / (double)k->fresh_us : INFINITY;
    bool goes_at_once = k->budget == UINT64_MAX || rest <= (double)k->budget * raw;
    double goes = goes_at_once ? rest : MIN(rest, (double)k->window_budget * raw);
    double us = sending_us(k->flow, goes) + (double)k->look_us;

    if (!goes_at_once)
        us += (double)MAX(k->window_end_us - k->now_us, 0);
    return (struct outlook) { us, rest - goes + write_rate * us, rest * (goes_at_once ? SHRINKS : DRAINS) };
}

enum settle_step
settle_look(struct settle *s, const struct settle_facts *k)
{
    double send = sending_us(k->flow, (double)k->rest), now = (double)k->now_us, passed = now - (double)k->begin_us;
    struct outlook next;
    bool as_hoped;

    if (k->rest > k->fits)
        return SETTLE_TOO_MUCH;
    if (s->until_us == 0)
        s->until_us = now + send + (passed + send) * k->effort / 100;
    as_hoped = s->most == 0 || (double)k->rest <= s->most;
    if (k->effort == 0 || !as_hoped || send <= (double)k->look_us + SHORT_US)
        return SETTLE_STOP;
    next = next_look(k);
    if (next.rest > next.most || now + next.us + sending_us(k->flow, next.rest) > s->until_us)
        return SETTLE_STOP;
    s->most = next.most;
    return SETTLE_SHORTEN;
}
