/* SPDX-License-Identifier: GPL-3.0-or-later */
/* How the guest dirties its memory: a subscriber of the dirty hub that clears nothing, whose bits a job counts
 * again and again while they grow, then by place; some pages are copied early and compared at the end.  The
 * machine cannot be torn down, nor its memory change, meanwhile. */
#include "machine-private.h"

#include <string.h>

enum { STEP_US = 5 * 1000, COPIES = 256, CELL_SAMPLES = 16 };

/* Of the period, in per cent. */
static const unsigned looks[] = { 5, 10, 20, 30, 45, 60, 80, 100 };

struct dirtying {
    struct machine *machine;
    struct subscriber *subscriber;      /* NULL: the guest does not run, nothing becomes dirty */
    int64_t begun_us;                   /* the subscription */
    uint64_t period_us;
    struct dirty_measure result;
    uint8_t *copies;                    /* COPIES pages */
    const uint8_t *copied[COPIES];      /* where they came from */
    unsigned copy_count;
    GError *error;
    void (*done)(void *self, const struct dirty_measure *result, const GError *error);
    void *self;
};

/* --- cells ------------------------------------------------------------------------------------------------------ */

/* The least power of two with which all of memory is not more than 'most' cells, as far as each section needs one. */
static uint64_t
cell_pages(const struct guest_map *map, unsigned most)
{
    for (uint64_t pages = 1;; pages *= 2) {
        uint64_t cells = 0, sections = map->sections->len;

        for (unsigned i = 0; i < sections; i++)
            cells += (g_array_index(map->sections, struct section, i).size / PAGE_SIZE + pages - 1) / pages;
        if (cells <= MAX(most, sections))
            return pages;
    }
}

GArray *
machine_dirty_cells(const struct guest_map *map, unsigned most)
{
    GArray *cells = g_array_new(FALSE, TRUE, sizeof(struct dirty_cell));
    uint64_t pages = cell_pages(map, most);

    for (unsigned i = 0; i < map->sections->len; i++) {
        const struct section *s = &g_array_index(map->sections, struct section, i);

        for (uint64_t at = 0; at < s->size / PAGE_SIZE; at += pages) {
            struct dirty_cell cell = {
                .gpa = s->gpa + at * PAGE_SIZE, .node = s->node, .block = s->block,
                .first = s->offset / PAGE_SIZE + at, .pages = MIN(pages, s->size / PAGE_SIZE - at),
            };
            g_array_append_val(cells, cell);
        }
    }
    return cells;
}

static uint64_t
count_bits(const _Atomic uint64_t *words, uint64_t first, uint64_t count)
{
    uint64_t end = first + count, set = 0;

    for (uint64_t page = first; page < end;) {
        uint64_t here = MIN(64 - page % 64, end - page);
        uint64_t mask = (here < 64 ? (UINT64_C(1) << here) - 1 : UINT64_MAX) << page % 64;

        set += (uint64_t)__builtin_popcountll(atomic_load_explicit(&words[page / 64], memory_order_relaxed) & mask);
        page += here;
    }
    return set;
}

static uint64_t
count_cells(struct dirtying *q)
{
    GArray *cells = q->result.cells;
    uint64_t set = 0;

    for (unsigned i = 0; i < cells->len; i++) {
        struct dirty_cell *c = &g_array_index(cells, struct dirty_cell, i);

        c->dirty = count_bits(subscriber_words(q->subscriber, c->block), c->first, c->pages);
        set += c->dirty;
    }
    return set;
}

/* --- samples ---------------------------------------------------------------------------------------------------- */

/* Pages spread over a cell: how many are not zero?  Those that were never there are not read: that would make them
 * come, and a migration find them. */
static void
sample_cell(struct presence *p, struct dirty_cell *c)
{
    uint64_t samples = MIN(c->pages, CELL_SAMPLES);

    for (uint64_t i = 0; i < samples; i++) {
        uint64_t page = c->first + i * c->pages / samples, absent = 0;

        presence_absent(p, c->block, page, 1, &absent);
        c->filled += absent || page_is_zero(c->block->host + page * PAGE_SIZE) ? 0 : 1;
    }
    c->filled = c->filled * c->pages / MAX(samples, 1);
}

static void
sample_cells(const struct dirtying *q, struct job *job)
{
    GArray *cells = q->result.cells;
    struct presence p;

    presence_init(&p);
    for (unsigned i = 0; i < cells->len && !job_cancelled(job); i++)
        sample_cell(&p, &g_array_index(cells, struct dirty_cell, i));
    presence_release(&p);
}

/* A page is copied while its guest writes it: named in testsuite/tsan.supp. */
static void __attribute__((noinline))
page_snapshot(uint8_t *to, const uint8_t *page)
{
    memcpy(to, page, PAGE_SIZE);
}

/* Pages that were dirty at the first look, spread over memory. */
static void
copy_pages(struct dirtying *q, uint64_t dirty)
{
    uint64_t step = MAX(dirty / COPIES, 1), seen = 0;
    GArray *cells = q->result.cells;

    for (unsigned i = 0; i < cells->len; i++) {
        const struct dirty_cell *c = &g_array_index(cells, struct dirty_cell, i);
        const _Atomic uint64_t *words = subscriber_words(q->subscriber, c->block);

        for (uint64_t page = bits_next_atomic(words, c->first + c->pages, c->first);
             page < c->first + c->pages && q->copy_count < COPIES;
             page = bits_next_atomic(words, c->first + c->pages, page + 1)) {
            if (seen++ % step)
                continue;
            q->copied[q->copy_count] = c->block->host + page * PAGE_SIZE;
            page_snapshot(q->copies + q->copy_count * PAGE_SIZE, q->copied[q->copy_count]);
            q->copy_count++;
        }
    }
}

/* What their differences came to. */
static void
compare_pages(struct dirtying *q)
{
    uint8_t now[PAGE_SIZE];

    for (unsigned i = 0; i < q->copy_count; i++) {
        page_snapshot(now, q->copied[i]);
        size_t size = migrate_delta_size(q->copies + i * PAGE_SIZE, now);
        if (size == 0)
            continue;
        q->result.delta_bytes += size;
        q->result.delta_pages++;
    }
}

/* --- the measurement -------------------------------------------------------------------------------------------- */

static bool
wait_until(struct job *job, int64_t us)
{
    while (g_get_monotonic_time() < us && !job_cancelled(job))
        g_usleep(MIN(STEP_US, (gulong)MAX(us - g_get_monotonic_time(), 1)));
    return !job_cancelled(job);
}

static bool
look(struct dirtying *q, unsigned i)
{
    struct dirty_point point;

    if (!hub_sync(q->machine->parts->hub, &q->error))
        return false;
    point.us = (uint64_t)(g_get_monotonic_time() - q->begun_us);
    point.pages = count_cells(q);
    g_array_append_val(q->result.points, point);
    if (i == 0)
        copy_pages(q, point.pages);
    return true;
}

static void
measure(struct job *job, void *data)
{
    struct dirtying *q = data;

    sample_cells(q, job);
    if (!q->subscriber)
        return;
    for (unsigned i = 0; i < G_N_ELEMENTS(looks); i++)
        if (!wait_until(job, q->begun_us + (int64_t)(q->period_us * looks[i] / 100)) || !look(q, i))
            return;
    compare_pages(q);
}

static void
measured(struct job *job, void *data)
{
    struct dirtying *q = data;
    struct machine *m = q->machine;

    hub_unsubscribe(m->parts->hub, q->subscriber);
    m->dirtyings--;
    if (!q->error && q->subscriber && q->result.points->len < G_N_ELEMENTS(looks))
        fail(&q->error, NUMON_ERROR_STATE, "the measurement was abandoned");
    q->done(q->self, &q->result, q->error);
    machine_settle_arrivals(m);
    g_array_unref(q->result.cells);
    g_array_unref(q->result.points);
    g_clear_error(&q->error);
    g_free(q->copies);
    g_free(q);
}

bool
machine_measure_dirty(struct machine *m, unsigned cells, unsigned ms,
                      void (*done)(void *self, const struct dirty_measure *result, const GError *error), void *self,
                      GError **error)
{
    struct subscriber *s = NULL;
    struct dirtying *q;
    int64_t begin_us;

    if (!m->parts)
        return fail(error, NUMON_ERROR_STATE, "cannot measure memory: there is no machine yet");
    /* Memory devices may come with the guest, and go if it does not come. */
    if (machine_awaits_incoming(m) && machine_arriving(m))
        return fail(error, NUMON_ERROR_STATE, "cannot measure memory: this machine waits for an incoming guest");
    machine_settle_arrivals(m);
    begin_us = g_get_monotonic_time();
    if (machine_running(m)) {
        s = hub_subscribe(m->parts->hub, "dirty measurement", error);
        if (!s)
            return false;
    }
    q = g_new0(struct dirtying, 1);
    *q = (struct dirtying) {
        .machine = m, .subscriber = s, .begun_us = g_get_monotonic_time(), .period_us = (uint64_t)ms * 1000,
        .done = done, .self = self,
        .copies = g_malloc((size_t)COPIES * PAGE_SIZE),
        .result = { .log_us = s ? (uint64_t)(g_get_monotonic_time() - begin_us) : 0,
                    .cells = machine_dirty_cells(m->parts->map, cells),
                    .points = g_array_new(FALSE, TRUE, sizeof(struct dirty_point)) },
    };
    m->dirtyings++;
    job_start(m->jobs, measure, measured, q);
    return true;
}
