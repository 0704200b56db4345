/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The guest of a synthetic vCPU: begin, take up parameters, tick, write pages at the rate, rest.
 *
 * Order of a write, as the dirty hub wants it: the page (and its table entry) is written, then marked.  The vCPU's
 * own control page changes with each write and is marked once a batch; a vCPU parks only between batches.
 *
 * Guest memory may hold anything (a stream may have brought it): addresses are taken from workload_area, which has
 * looked at the map. */
#include "synthetic-private.h"

#include <time.h>

enum {
    BATCH = 64,                     /* pages between looks at clock and parameters */
    LOOK_US = 20000,                /* longest rest: a new parameter acts within this time */
    REST_US = 1000,                 /* shortest rest at a rate: one wake-up writes that much */
    BACKLOG_NS = 10 * 1000 * 1000,  /* what a vCPU that the host kept waiting catches up */
    INTERVAL_MAX_MS = 3600000,
    SPIN_MOST_NS = 200 * 1000,
};

#define SECOND_NS UINT64_C(1000000000)

uint64_t
synthetic_now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * SECOND_NS + (uint64_t)now.tv_nsec;
}

bool
synthetic_kicked(const struct cpu *c)
{
    return atomic_load_explicit(&c->kicked, memory_order_relaxed);
}

static void
mark_page(struct cpu *c, uint64_t gpa)
{
    if (c->accel->hub)
        hub_mark_gpa(c->accel->hub, gpa, CONTROL_PAGE);
}

static void
mark_own_page(struct cpu *c)
{
    mark_page(c, CONTROL_CPUS_GPA + (uint64_t)c->index * CONTROL_PAGE);
}

/* Ends early when kicked. */
static void
rest(struct cpu *c, uint64_t microseconds)
{
    int64_t deadline = g_get_monotonic_time() + (int64_t)microseconds;

    lock_take(&c->lock);
    while (!synthetic_kicked(c) && condition_wait_until(&c->wake, &c->lock, deadline))
        ;
    lock_drop(&c->lock);
}

/* --- parameters ------------------------------------------------------------------------------------------------- */

/* Copies the parameters unless main is just writing them; true if there are new ones. */
static bool
take_parameters(struct cpu *c)
{
    const struct control_parameters *p = &c->head->parameters;
    uint64_t sequence = word_get(&c->head->sequence);
    struct control_parameters now;

    if (sequence == c->sequence || sequence % 2)
        return false;
    now = (struct control_parameters) {
        .pattern = __atomic_load_n(&p->pattern, __ATOMIC_ACQUIRE),
        .write = __atomic_load_n(&p->write, __ATOMIC_ACQUIRE),
        .fill = __atomic_load_n(&p->fill, __ATOMIC_ACQUIRE),
        .node = __atomic_load_n(&p->node, __ATOMIC_ACQUIRE),
        .rate = word_get(&p->rate),
        .size = word_get(&p->size),
        .interval_ms = CLAMP(word_get(&p->interval_ms), 1, INTERVAL_MAX_MS),
    };
    if (word_get(&c->head->sequence) != sequence)
        return false;
    c->parameters = now;
    c->sequence = sequence;
    return true;
}

/* The node whose memory is written now. */
static unsigned
target_node(struct cpu *c)
{
    struct control_node nodes[CONTROL_NODES];
    uint64_t count = MIN(word_get(&c->head->node_count), CONTROL_NODES), own = word_get(&c->page->node);

    if (own >= count || !guest_map_read(c->accel->setup.map, CONTROL_NODES_GPA, nodes, sizeof nodes))
        return 0;
    return (unsigned)control_target(nodes, count, own, c->parameters.node);
}

/* In proportion to the distance from the CPU's own node; without distances as guests assume them. */
uint64_t
synthetic_cost(const struct cpu *c, unsigned node)
{
    const struct accel_setup *setup = &c->accel->setup;
    int own = setup->cpu_nodes ? setup->cpu_nodes[c->index] : -1;
    unsigned distance = own < 0 || own == (int)node ? DISTANCE_LOCAL : 2 * DISTANCE_LOCAL;

    if (own >= 0 && setup->topology && setup->topology->has_distances)
        distance = setup->topology->distance[own][node];
    return setup->numa_delay_ns * distance / DISTANCE_LOCAL;
}

/* Finds the area and remembers how much of it is in use. */
static void
take_area(struct cpu *c)
{
    const struct guest_map *map = c->accel->setup.map;
    unsigned node = target_node(c);
    struct control_area area;
    const struct section *s;

    c->count = 0;
    word_set(&c->page->target_node, node);
    mark_own_page(c);
    if (c->parameters.pattern == PATTERN_IDLE || c->parameters.pattern > PATTERN_HOT ||
        !workload_area(map, c->index, node, &area))
        return;
    s = guest_map_find(map, area.pages);
    c->count = CLAMP(c->parameters.size / CONTROL_PAGE, 1, area.capacity);
    c->table = guest_map_host(map, area.table, area.capacity * sizeof(uint64_t));
    c->pages = guest_map_host(map, area.pages, area.capacity * CONTROL_PAGE);
    c->number = area.pages / CONTROL_PAGE;
    c->block = s->block;
    c->first_page = (s->offset + (area.pages - s->gpa)) / PAGE_SIZE;
    c->table_page = (s->offset + (area.table - s->gpa)) / PAGE_SIZE;
    c->delay_ns = synthetic_cost(c, node);
    word_set(&c->page->used[node], MAX(word_get(&c->page->used[node]), c->count));
    mark_own_page(c);
}

static void
refresh(struct cpu *c)
{
    struct registers *r = &c->registers;

    if (!take_parameters(c))
        return;
    take_area(c);
    r->tick_ns = MIN(r->tick_ns, r->clock_ns + c->parameters.interval_ms * 1000000);
}

/* --- CPU 0's part ----------------------------------------------------------------------------------------------- */

static uint64_t
pages_of_all(struct accel *a)
{
    uint64_t total = 0;

    for (unsigned cpu = 0; cpu < a->setup.cpu_slots; cpu++) {
        const struct control_cpu *page = guest_map_host(a->setup.map, CONTROL_CPUS_GPA + (uint64_t)cpu * CONTROL_PAGE,
                                                        CONTROL_PAGE);

        total += page ? word_get(&page->pages_written) : 0;
    }
    return total;
}

static void
tick(struct cpu *c)
{
    struct registers *r = &c->registers;
    uint64_t interval_ns = c->parameters.interval_ms * 1000000, number;

    if (c->index != 0 || r->clock_ns < r->tick_ns)
        return;
    number = word_get(&c->head->ticks) + 1;
    word_set(&c->head->ticks, number);
    mark_page(c, CONTROL_GPA);
    synthetic_print_tick(c->accel, number, pages_of_all(c->accel));
    r->tick_ns += interval_ns;
    if (r->tick_ns <= r->clock_ns)
        r->tick_ns = r->clock_ns + interval_ns;
}

/* The first moments.  False while the CPU must wait for CPU 0. */
static bool
begin(struct cpu *c)
{
    if (c->index != 0 && word_get(&c->head->stage) != STAGE_RUNNING)
        return false;
    word_set(&c->page->online, 1);
    mark_own_page(c);
    if (c->index == 0) {
        synthetic_print_topology(c->accel);
        c->registers.tick_ns = c->registers.clock_ns + c->parameters.interval_ms * 1000000;
        word_set(&c->head->stage, STAGE_RUNNING);
        mark_page(c, CONTROL_GPA);
    }
    c->registers.paced_ns = c->registers.clock_ns;
    c->registers.begun = true;
    return true;
}

/* --- writing ---------------------------------------------------------------------------------------------------- */

/* Writes the pattern's next page and returns its index in the area.  The one function that writes guest memory while
 * a migration may read it (testsuite/tsan.supp). */
static __attribute__((noinline)) uint64_t
synthetic_write_page(struct cpu *c)
{
    uint64_t i = control_next(c->page, c->parameters.pattern, c->count);

    c->registers.total = control_write_page(c->page, &c->table[i], (uint64_t *)(c->pages + i * CONTROL_PAGE),
                                            c->number + i, c->parameters.write, c->parameters.fill,
                                            c->registers.total);
    return i;
}

/* Short times are spun away, as a CPU waits for its memory; a kick ends them. */
void
synthetic_pay(struct cpu *c, uint64_t ns)
{
    uint64_t until = ns ? synthetic_now_ns() + ns : 0;

    for (uint64_t now = until ? synthetic_now_ns() : 0; now < until && !synthetic_kicked(c);
         now = synthetic_now_ns()) {
        if (until - now > SPIN_MOST_NS)
            rest(c, (until - now) / 1000);
    }
}

/* By a clock that a guest which moves can compare with itself. */
static void
note_turn(struct cpu *c)
{
    uint64_t now = (uint64_t)g_get_real_time() * 1000, last = word_get(&c->page->turn);

    if (last && now > last && now - last > word_get(&c->page->gap))
        word_set(&c->page->gap, now - last);
    word_set(&c->page->turn, now);
}

static void
write_pages(struct cpu *c, uint64_t count)
{
    struct hub *hub = c->accel->hub;
    uint64_t began = synthetic_now_ns();

    note_turn(c);
    for (; count && !synthetic_kicked(c); count--) {
        uint64_t i = synthetic_write_page(c);

        synthetic_pay(c, c->delay_ns);
        if (!hub)
            continue;
        c->ring_used += hub_mark_by(hub, c->block, c->first_page + i, c->index);
        c->ring_used += hub_mark_by(hub, c->block, c->table_page + i * sizeof(uint64_t) / PAGE_SIZE, c->index);
    }
    word_set(&c->page->writing, word_get(&c->page->writing) + (synthetic_now_ns() - began));
    mark_own_page(c);
}

/* With a limited dirty rate: its ring is full. */
static void
nap_for_ring(struct cpu *c)
{
    uint64_t nap_us = counter_read(&c->ring_nap_us);

    if (c->ring_used < SYNTHETIC_RING)
        return;
    c->ring_used = 0;
    if (nap_us)
        rest(c, nap_us);
}

/* Pages between two looks: where each costs much, fewer. */
static uint64_t
batch(const struct cpu *c)
{
    return c->delay_ns ? CLAMP(LOOK_US * 1000 / c->delay_ns, 1, BATCH) : BATCH;
}

/* How many pages are due now, at most a batch, and in '*ret_rest_us' for how long there is nothing to do. */
static uint64_t
pages_due(struct cpu *c, uint64_t *ret_rest_us)
{
    struct registers *r = &c->registers;
    uint64_t rate = MIN(c->parameters.rate, SECOND_NS), period, due;

    *ret_rest_us = LOOK_US;
    if (c->count == 0 || rate == 0) {
        r->paced_ns = r->clock_ns;
        return c->count ? batch(c) : 0;
    }
    period = SECOND_NS / rate;
    r->paced_ns = MIN(r->paced_ns, r->clock_ns);
    if (r->clock_ns - r->paced_ns > MAX(BACKLOG_NS, period))
        r->paced_ns = r->clock_ns - MAX(BACKLOG_NS, period);
    due = (r->clock_ns - r->paced_ns) * rate / SECOND_NS;
    due = MIN(due, batch(c));
    r->paced_ns += due * SECOND_NS / rate;
    *ret_rest_us = CLAMP((r->paced_ns + period - MIN(r->paced_ns + period, r->clock_ns)) / 1000, REST_US, LOOK_US);
    return due;
}

/* A rest must not sleep over CPU 0's next tick. */
static uint64_t
rest_until_tick(struct cpu *c, uint64_t rest_us)
{
    const struct registers *r = &c->registers;

    if (c->index != 0)
        return rest_us;
    return MIN(rest_us, (r->tick_ns - MIN(r->tick_ns, r->clock_ns)) / 1000 + 1);
}

/* One turn: what is due now, or a rest. */
static void
work(struct cpu *c)
{
    uint64_t rest_us, due;

    c->registers.clock_ns = synthetic_now_ns() - c->base_ns;
    /* Pages that it wrote are gone: main, which was told, is about to stop it. */
    if (guest_map_is_lost(c->accel->setup.map)) {
        rest(c, LOOK_US);
        return;
    }
    refresh(c);
    if (!c->registers.begun && !begin(c)) {
        rest(c, REST_US);
        return;
    }
    tick(c);
    if (synthetic_probe_turn(c)) {
        mark_own_page(c);
        return;
    }
    due = pages_due(c, &rest_us);
    if (due) {
        write_pages(c, due);
        nap_for_ring(c);
    } else {
        rest(c, rest_until_tick(c, rest_us));
    }
}

/* Looks the control pages up.  False if guest memory has none for this CPU. */
static bool
find_control_pages(struct cpu *c)
{
    const struct guest_map *map = c->accel->setup.map;

    c->head = guest_map_host(map, CONTROL_GPA, CONTROL_PAGE);
    c->page = guest_map_host(map, CONTROL_CPUS_GPA + (uint64_t)c->index * CONTROL_PAGE, CONTROL_PAGE);
    c->sequence = 1;
    c->count = 0;
    workload_parameters_init(&c->parameters);
    return c->page && workload_present(map) && word_get(&c->head->cpu_count) == c->accel->setup.cpu_slots;
}

enum vcpu_exit
synthetic_run(struct cpu *c, char **ret_text)
{
    if (!find_control_pages(c)) {
        *ret_text = g_strdup("there is no workload guest in memory");
        return VCPU_ERROR;
    }
    c->base_ns = synthetic_now_ns() - c->registers.clock_ns;
    while (!synthetic_kicked(c))
        work(c);
    c->registers.clock_ns = synthetic_now_ns() - c->base_ns;
    return VCPU_AGAIN;
}
