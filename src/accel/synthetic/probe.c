/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Measures how near each node's memory is, when numon asks: the counterpart of src/guest/probe.c.  With numa-delay=
 * each load and each page that is read in order costs what a page write costs there.
 *
 * One node a turn.  A kick in the middle gives no result: the vCPU begins the node again when it goes on. */
#include "synthetic-private.h"

enum { ROUND_LOADS = 1024, CHUNK = 1 << 20, ROUNDS_WANTED = 16, ROUNDS_LEAST = 4 };

/* One measurement: the best round so far, in picoseconds of one load or one byte. */
struct meter {
    uint64_t end_ns;
    unsigned rounds;                /* that it takes at least */
    uint64_t best_ps;
};

/* Counts a round of 'count' that began at 'start_ns'; true if there is time for another. */
static bool
meter_count(const struct cpu *c, struct meter *m, uint64_t start_ns, uint64_t count)
{
    uint64_t now = synthetic_now_ns(), ns = now - start_ns;

    if (ns < UINT64_MAX / 1000)
        m->best_ps = MIN(m->best_ps, MAX(ns * 1000 / count, 1));
    m->rounds -= m->rounds > 0;
    return (now < m->end_ns || m->rounds) && !synthetic_kicked(c);
}

/* A host that is busy may take the CPU away for all of the time: a few rounds there are in any case, unless one alone
 * takes longer than that. */
static struct meter
meter_new(uint64_t budget_ns, uint64_t cost_ns)
{
    return (struct meter) { synthetic_now_ns() + budget_ns, cost_ns < budget_ns ? ROUNDS_LEAST : 1, UINT64_MAX };
}

/* So short that there is time for several rounds: the host may take the CPU away in some. */
static uint64_t
accesses_of_round(uint64_t most, uint64_t budget_ns, uint64_t cost_ns)
{
    return cost_ns ? CLAMP(budget_ns / ROUNDS_WANTED / cost_ns, 1, most) : most;
}

static uint64_t
measure_access(struct cpu *c, const uint8_t *buffer, uint64_t bytes, uint64_t budget_ns, uint64_t cost_ns)
{
    struct meter m = meter_new(budget_ns, cost_ns);
    uint64_t round = accesses_of_round(ROUND_LOADS, budget_ns, cost_ns), state = m.end_ns, start, count;

    do {
        start = synthetic_now_ns();
        count = 0;
        do {
            uint64_t loads = cost_ns ? 1 : ROUND_LOADS;

            state = control_probe_walk(buffer, bytes / CONTROL_LINE, loads, state);
            synthetic_pay(c, cost_ns);
            count += loads;
        } while (count < round && !synthetic_kicked(c));
    } while (meter_count(c, &m, start, count));
    return m.best_ps;
}

/* Bytes a second. */
static uint64_t
measure_bandwidth(struct cpu *c, const uint8_t *buffer, uint64_t bytes, uint64_t budget_ns, uint64_t cost_ns)
{
    struct meter m = meter_new(budget_ns, cost_ns);
    uint64_t most = MIN(bytes, CHUNK), at = 0, start, count;
    uint64_t round = accesses_of_round(most / CONTROL_PAGE, budget_ns, cost_ns) * CONTROL_PAGE;

    do {
        start = synthetic_now_ns();
        count = 0;
        do {
            uint64_t piece = cost_ns ? CONTROL_PAGE : round;

            control_probe_stream(buffer + at, piece);
            synthetic_pay(c, cost_ns);
            count += piece;
            at = at + 2 * piece <= bytes ? at + piece : 0;
        } while (count < round && !synthetic_kicked(c));
    } while (meter_count(c, &m, start, count / 1024));
    /* Of 1024 bytes, so that fast memory is not rounded to whole picoseconds a byte. */
    return UINT64_C(1024000000000000) / m.best_ps;
}

/* The memory that is read of a node; NULL if there is none.  What the control page says of nodes may be anything. */
static const uint8_t *
find_buffer(const struct cpu *c, unsigned node, uint64_t *bytes)
{
    const struct guest_map *map = c->accel->setup.map;
    struct control_node n;
    uint64_t base;

    if (!guest_map_read(map, CONTROL_NODES_GPA + node * sizeof n, &n, sizeof n))
        return NULL;
    base = control_probe_range(&n, bytes);
    return *bytes ? guest_map_host(map, base, *bytes) : NULL;
}

static void
measure_node(struct cpu *c, struct control_probe *probe, unsigned node)
{
    uint64_t bytes = MIN(word_get(&probe->bytes), UINT64_C(1) << 36), cost = synthetic_cost(c, node);
    uint64_t budget = MIN(word_get(&probe->budget_us), G_USEC_PER_SEC) * 1000 / 2, access = 0, bandwidth = 0;
    const uint8_t *buffer = find_buffer(c, node, &bytes);

    if (buffer) {
        for (uint64_t at = 0; at < bytes; at += CONTROL_PAGE)
            control_probe_stream(buffer + at, CONTROL_LINE);
        access = measure_access(c, buffer, bytes, budget, cost);
        bandwidth = measure_bandwidth(c, buffer, bytes, budget, cost);
    }
    word_set(&probe->near[node].access_ps, access);
    word_set(&probe->near[node].bandwidth, bandwidth);
}

bool
synthetic_probe_turn(struct cpu *c)
{
    struct control_probe *probe = &c->page->probe;
    uint64_t request = word_get(&probe->request), count = MIN(word_get(&c->head->node_count), CONTROL_NODES);

    if (request == word_get(&probe->answer))
        return false;
    if (request != c->probe_request || c->probe_node >= count) {
        c->probe_request = request;
        c->probe_node = 0;
    }
    measure_node(c, probe, c->probe_node);
    if (!synthetic_kicked(c) && ++c->probe_node >= count)
        word_set(&probe->answer, request);
    return true;
}
