/* SPDX-License-Identifier: GPL-3.0-or-later */
/* How fast may we send, and how fast did we?  Time is cut into windows of 100 ms, each with a budget of
 * max-bandwidth / 10 bytes; a page may be larger than a small budget, and what it took too much is owed by the next
 * windows.  The bandwidth is that of the last whole window. */
#include "migrate-private.h"

/* A limit that was just lowered must not have to pay for what was sent under the old one. */
enum { DEBT_MOST = 2 * PAGE_SIZE };

uint64_t
pace_window_budget(uint64_t max_bandwidth)
{
    return max_bandwidth == 0 ? UINT64_MAX : MAX(max_bandwidth / (1000000 / PACE_WINDOW_US), 1);
}

void
pace_init(struct pace *p, int64_t now_us)
{
    *p = (struct pace) { .begin_us = now_us, .window_us = now_us };
}

void
pace_advance(struct pace *p, uint64_t max_bandwidth, int64_t now_us)
{
    int64_t passed = now_us - p->window_us;

    if (passed < PACE_WINDOW_US)
        return;
    p->bytes_per_ms = (double)p->bytes * 1000 / (double)passed;
    p->pages_per_second = (double)p->pages * 1000000 / (double)passed;
    if (max_bandwidth == 0) {
        p->debt = 0;
    } else {
        uint64_t budget = pace_window_budget(max_bandwidth) * (uint64_t)(passed / PACE_WINDOW_US);
        uint64_t spent = p->debt + p->bytes;
        p->debt = spent > budget ? MIN(spent - budget, DEBT_MOST) : 0;
    }
    p->last_window_us = (uint64_t)passed;
    p->window_us = now_us;
    p->bytes = 0;
    p->pages = 0;
}

void
pace_resume(struct pace *p, int64_t held_us, int64_t now_us)
{
    p->begin_us += held_us;
    p->window_us = MIN(p->window_us + held_us, now_us);
}

uint64_t
pace_budget(const struct pace *p, uint64_t max_bandwidth)
{
    if (max_bandwidth == 0)
        return UINT64_MAX;
    uint64_t budget = pace_window_budget(max_bandwidth), spent = p->debt + p->bytes;
    return spent < budget ? budget - spent : 0;
}

void
pace_spend(struct pace *p, uint64_t bytes, uint64_t pages)
{
    p->total += bytes;
    p->bytes += bytes;
    p->pages += pages;
}

int64_t
pace_window_end(const struct pace *p)
{
    return p->window_us + PACE_WINDOW_US;
}

double
pace_bandwidth(const struct pace *p, uint64_t max_bandwidth, int64_t now_us)
{
    if (p->bytes_per_ms > 0)
        return p->bytes_per_ms;
    double ms = MAX((double)(now_us - p->begin_us) / 1000, 1);
    double rate = (double)p->total / ms;
    /* The first window's budget is often spent at once: that is no proof of a faster link. */
    return max_bandwidth && rate > (double)max_bandwidth / 1000 ? (double)max_bandwidth / 1000 : rate;
}

uint64_t
pace_threshold(double bytes_per_ms, uint64_t avail_switchover_bandwidth, uint64_t downtime_limit_ms)
{
    double rate = avail_switchover_bandwidth ? (double)avail_switchover_bandwidth / 1000 : bytes_per_ms;
    double bytes = rate * (double)downtime_limit_ms;

    return bytes >= 1e18 ? UINT64_C(1000000000000000000) : (uint64_t)bytes;
}
