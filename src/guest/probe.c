/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Measures how near each node's memory is, when numon asks: control-page.h has the question and the two loops.
 *
 * One node a turn, so that the ticks go on.  Of many short rounds the best counts: a CPU that lost its host CPU, was
 * stopped or moved in the middle is only slower.  A time stamp that went backwards gives no round at all. */
#include "guest.h"

enum { ROUND_LOADS = 1024, CHUNK = 1 << 20, ROUNDS_LEAST = 4, ROUNDS_MAX = 100000 };

struct meter {
    uint64_t budget;                    /* time stamp ticks for one measurement */
    uint64_t spent, best;               /* best: of a round */
    unsigned rounds;
};

static struct meter
meter_new(const struct control_probe *probe, uint64_t khz)
{
    return (struct meter) { .budget = load(&probe->budget_us) / 2 * khz / 1000, .best = UINT64_MAX };
}

/* Counts a round that began at 'start'; true if there is time for another. */
static bool
meter_count(struct meter *m, uint64_t start)
{
    uint64_t ticks = clock_elapsed(&start);

    m->spent += ticks;
    if (ticks && ticks < m->best)
        m->best = ticks;
    m->rounds++;
    return m->rounds < ROUNDS_LEAST || (m->spent < m->budget && m->rounds < ROUNDS_MAX);
}

static uint64_t
measure_access(const struct control_probe *probe, uint64_t base, uint64_t bytes, uint64_t khz)
{
    struct meter m = meter_new(probe, khz);
    uint64_t state = read_tsc(), start;

    do {
        start = read_tsc();
        state = control_probe_walk((const void *)(uintptr_t)base, bytes / CONTROL_LINE, ROUND_LOADS, state);
    } while (meter_count(&m, start));
    return m.best == UINT64_MAX ? 0 : m.best * 1000000 / ROUND_LOADS * 1000 / khz;
}

static uint64_t
measure_bandwidth(const struct control_probe *probe, uint64_t base, uint64_t bytes, uint64_t khz)
{
    struct meter m = meter_new(probe, khz);
    uint64_t chunk = bytes < CHUNK ? bytes : CHUNK, at = 0, start;

    do {
        start = read_tsc();
        control_probe_stream((const void *)(uintptr_t)(base + at), chunk);
        at = at + 2 * chunk <= bytes ? at + chunk : 0;
    } while (meter_count(&m, start));
    return m.best == UINT64_MAX ? 0 : chunk * khz / m.best * 1000;
}

static void
measure_node(struct control_probe *probe, uint64_t node, uint64_t khz)
{
    uint64_t bytes = load(&probe->bytes), base = control_probe_range(&nodes[node], &bytes);

    if (bytes == 0) {
        probe->near[node] = (struct control_nearness) { 0, 0 };
        return;
    }
    /* The first look at a page is dear: page tables of the guest, and of the host below. */
    for (uint64_t at = 0; at < bytes; at += CONTROL_PAGE)
        (void)load((const uint64_t *)(uintptr_t)(base + at));
    probe->near[node].access_ps = measure_access(probe, base, bytes, khz);
    probe->near[node].bandwidth = measure_bandwidth(probe, base, bytes, khz);
}

bool
probe_turn(struct probing *p, struct control_probe *probe, uint64_t khz)
{
    uint64_t request = load(&probe->request);

    if (request == load(&probe->answer) || khz == 0)
        return false;
    if (request != p->request)
        *p = (struct probing) { .request = request };
    measure_node(probe, p->node, khz);
    if (++p->node < head->node_count)
        return true;
    p->node = 0;
    store(&probe->answer, request);
    return false;
}
