/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The workload itself: every CPU writes pages of its area at its rate; CPU 0 also prints the ticks.
 *
 * Pace: each turn of the loop earns 'credit', elapsed time stamp ticks times pages per second; a page costs
 * the ticks of one second.  Credit is capped at 10 ms worth of writing beyond a rest (at least one page), so a guest
 * that was stopped does not catch up, and a time stamp that jumps does no harm. */
#include "guest.h"

enum {
    BATCH = 64,                         /* pages between two looks at parameters and time */
    BACKLOG_MS = 10,
    REST_MIN_US = 1000, REST_MAX_US = 10000, REST_IDLE_US = 20000,
    RESTS_PER_SECOND = 10000,           /* of all CPUs together: a rest costs the host about 50 us */
    INTERVAL_MIN_MS = 1, INTERVAL_MAX_MS = 3600000, INTERVAL_DEFAULT_MS = 250,
};
#define RATE_MAX UINT64_C(1000000000)   /* products with 10 ms of ticks fit 64 bits */

struct worker {
    uint64_t cpu;
    struct control_cpu *page;
    struct control_parameters parameters;
    uint64_t sequence;                  /* of 'parameters' */
    struct control_area area;
    uint64_t count;                     /* pages of the area that are written to */
    uint64_t shortest;                  /* rest, microseconds */
    uint64_t khz;
    uint64_t last;                      /* time stamp of the last turn */
    uint64_t credit;                    /* ticks times pages per second */
    uint64_t since_tick;                /* time stamp ticks, CPU 0 only */
    struct probing probing;
};

/* Counts r15 up: not in C, so that its place among the stores around it is certain. */
static inline uint64_t
count_write(void)
{
    uint64_t total;

    __asm__ volatile("incq %%r15\n\tmovq %%r15, %0" : "=r"(total) :: "memory", "cc");
    return total;
}

static void
adopt(struct worker *w)
{
    struct control_parameters *p = &w->parameters;
    uint64_t target = control_target(nodes, head->node_count, w->page->node, p->node);

    w->area = control_area(nodes, head->cpu_count, w->cpu, w->page->node, w->page->rank, target);
    w->page->target_node = target;
    w->count = p->size / CONTROL_PAGE;
    if (w->count == 0)
        w->count = 1;
    if (w->count > w->area.capacity)
        w->count = w->area.capacity;
    if (p->rate > RATE_MAX)
        p->rate = 0;
    if (p->interval_ms < INTERVAL_MIN_MS)
        p->interval_ms = INTERVAL_DEFAULT_MS;
    if (p->interval_ms > INTERVAL_MAX_MS)
        p->interval_ms = INTERVAL_MAX_MS;
    w->shortest = head->cpu_count * 1000000 / RESTS_PER_SECOND;
    w->shortest = w->shortest < REST_MIN_US ? REST_MIN_US : w->shortest > REST_MAX_US ? REST_MAX_US : w->shortest;
    w->credit = 0;
}

static bool
idle(const struct worker *w)
{
    return w->parameters.pattern == PATTERN_IDLE || w->parameters.pattern > PATTERN_HOT || w->count == 0;
}

static void
write_one(struct worker *w)
{
    struct control_cpu *cpu = w->page;
    uint64_t index = control_next(cpu, w->parameters.pattern, w->count);
    uint64_t address = w->area.pages + index * CONTROL_PAGE;
    uint64_t *used = &cpu->used[cpu->target_node];

    if (*used <= index)
        *used = index + 1;
    CONTROL_BARRIER();
    control_change_page(cpu, (uint64_t *)(uintptr_t)w->area.table + index, (uint64_t *)(uintptr_t)address,
                        address / CONTROL_PAGE, w->parameters.write, w->parameters.fill);
    control_withdraw(cpu, count_write());
}

/* Earns for 'elapsed' ticks and returns how many pages may be written now. */
static uint64_t
allowance(struct worker *w, uint64_t elapsed)
{
    uint64_t second = w->khz * 1000, rate = w->parameters.rate, pages;
    uint64_t most = w->khz * (BACKLOG_MS + w->shortest / 1000);

    if (idle(w))
        return 0;
    if (rate == 0)
        return BATCH;
    w->credit += (elapsed < most ? elapsed : most) * rate;
    if (w->credit > most * rate && w->credit > second)
        w->credit = most * rate > second ? most * rate : second;
    pages = w->credit / second;
    if (pages > BATCH)
        pages = BATCH;
    w->credit -= pages * second;
    return pages;
}

/* Microseconds until there is something to do; 0: at once. */
static uint64_t
spare_time(const struct worker *w)
{
    uint64_t second = w->khz * 1000, us = REST_IDLE_US, tick;

    if (!idle(w)) {
        if (w->parameters.rate == 0 || w->credit >= second)
            return 0;
        us = (second - w->credit) / w->parameters.rate * 1000 / w->khz;
        us = us < w->shortest ? w->shortest : us > REST_MAX_US ? REST_MAX_US : us;
    }
    if (w->cpu == 0) {
        tick = w->parameters.interval_ms * w->khz;
        tick = tick > w->since_tick ? (tick - w->since_tick) * 1000 / w->khz + 1 : 0;
        us = us < tick ? us : tick;
    }
    return us;
}

static void
print_tick(void)
{
    uint64_t total = 0;

    for (uint64_t i = 0; i < head->cpu_count; i++)
        total += load(&cpu_page(i)->pages_written);
    print_begin();
    print("tick ");
    print_number(head->ticks + 1);
    print(" pages ");
    print_number(total);
    print("\n");
    print_end();
    store(&head->ticks, head->ticks + 1);
}

/* Stopped time counts as one interval at most. */
static void
tick(struct worker *w, uint64_t elapsed)
{
    uint64_t interval = w->parameters.interval_ms * w->khz;

    w->since_tick += elapsed < interval ? elapsed : interval;
    if (w->since_tick < interval)
        return;
    w->since_tick -= interval;
    if (w->since_tick > interval / 2)
        w->since_tick = 0;
    print_tick();
}

void
rest(uint64_t microseconds, uint64_t sequence)
{
    if (load(&head->flags) & CONTROL_FLAG_NAP)
        out32(CONTROL_NAP_PORT, microseconds);
    else
        clock_spin(microseconds, &head->sequence, sequence);
}

static void
turn(struct worker *w)
{
    uint64_t elapsed, pages, us, khz = load(&head->tsc_khz), began;

    if (khz)
        w->khz = khz;
    if (parameters_refresh(&w->parameters, &w->sequence))
        adopt(w);
    elapsed = clock_elapsed(&w->last);
    if (elapsed > load(&w->page->gap))
        store(&w->page->gap, elapsed);
    began = w->last;
    pages = allowance(w, elapsed);
    if (pages) {
        while (pages--)
            write_one(w);
        store(&w->page->writing, load(&w->page->writing) + clock_elapsed(&began));
    }
    if (w->cpu == 0)
        tick(w, elapsed);
    if (probe_turn(&w->probing, &w->page->probe, w->khz))
        return;
    us = spare_time(w);
    if (us)
        rest(us, w->sequence);
}

void
work(uint64_t cpu)
{
    struct worker w = { .cpu = cpu, .page = cpu_page(cpu), .sequence = UINT64_MAX, .last = read_tsc() };

    store(&w.page->online, 1);
    while (!parameters_refresh(&w.parameters, &w.sequence))
        relax();
    adopt(&w);
    while (load(&head->stage) == STAGE_RUNNING)
        turn(&w);
    for (;;)                            /* another CPU had an exception */
        rest(REST_IDLE_US, load(&head->sequence));
}
