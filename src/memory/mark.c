/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Marks: pages that writers without page protection changed, and what is known of which vCPU wrote.  The order of
 * marks and subscriptions stands in hub.c. */
#include "memory-private.h"

/* Threads are told apart by where their control blocks lie, which is far apart and in steps of whole stacks. */
static struct gate *
my_gate(struct hub *hub)
{
    uint64_t hash = (uint64_t)pthread_self() * UINT64_C(0x9e3779b97f4a7c15);

    return &hub->gates[hash >> 58];
}

G_STATIC_ASSERT(GATES == 1 << (64 - 58));

void
hub_mark(struct hub *hub, const struct block *b, uint64_t first, uint64_t count)
{
    uint64_t active = atomic_fetch_add_explicit(&my_gate(hub)->active, 0, memory_order_acq_rel);

    g_assert(first <= b->page_count && count <= b->page_count - first);
    for (; active; active &= active - 1)
        bits_set_atomic(hub->slots[__builtin_ctzll(active)].words[b->index], first, count);
}

void
hub_mark_gpa(struct hub *hub, uint64_t gpa, uint64_t size)
{
    const GArray *sections = hub->map->sections;

    for (unsigned i = 0; i < sections->len; i++) {
        const struct section *s = &g_array_index(sections, struct section, i);
        uint64_t from = MAX(gpa, s->gpa), last = MIN(gpa + (size - 1), s->gpa + (s->size - 1));
        uint64_t first = (s->offset + (from - s->gpa)) / PAGE_SIZE;

        if (size && from <= last)
            hub_mark(hub, s->block, first, last / PAGE_SIZE - from / PAGE_SIZE + 1);
    }
}

/* --- which vCPU wrote ------------------------------------------------------------------------------------------- */

bool
hub_tells_cpus(const struct hub *hub)
{
    return hub->source.tells_cpus;
}

/* Without the hub's lock, from vCPUs and from whoever empties a dirty ring.  'writers' holds still meanwhile: arrays
 * come before 'watches' is set, and those of a block before the block; none goes while an active subscriber watches,
 * and a removal of a block takes the accelerator's lock, which who empties a ring holds, before it drops them. */
static void
count_writer(struct subscriber *s, const struct block *b, uint64_t page, unsigned cpu)
{
    _Atomic uint8_t *writers;

    if (cpu >= HUB_CPUS)
        return;
    counter_add(&s->cpu_pages[cpu], 1);
    if (!atomic_load_explicit(&s->watches, memory_order_acquire) || cpu == UINT8_MAX)
        return;
    writers = s->writers[b->index];
    if (writers)
        atomic_store_explicit(&writers[page], (uint8_t)(cpu + 1), memory_order_relaxed);
}

bool
hub_mark_by(struct hub *hub, const struct block *b, uint64_t page, unsigned cpu)
{
    uint64_t active = atomic_fetch_add_explicit(&my_gate(hub)->active, 0, memory_order_acq_rel);
    uint64_t bit = UINT64_C(1) << page % 64;
    bool clean = false;

    g_assert(page < b->page_count);
    for (; active; active &= active - 1) {
        struct subscriber *s = &hub->slots[__builtin_ctzll(active)];

        if (atomic_fetch_or_explicit(&s->words[b->index][page / 64], bit, memory_order_release) & bit)
            continue;
        clean = true;
        count_writer(s, b, page, cpu);
    }
    return clean;
}

void
hub_wrote(struct hub *hub, const struct block *b, uint64_t page, unsigned cpu)
{
    for (uint64_t active = hub_active_mask(hub); active; active &= active - 1)
        count_writer(&hub->slots[__builtin_ctzll(active)], b, page, cpu);
}

uint64_t
subscriber_cpu_pages(const struct subscriber *s, unsigned cpu)
{
    return cpu < HUB_CPUS ? counter_read(&s->cpu_pages[cpu]) : 0;
}

bool
subscriber_watch_writers(struct hub *hub, struct subscriber *s, GError **error)
{
    bool ok = true;

    lock_take(&hub->lock);
    if (!s->writers)
        s->writers = g_new0(_Atomic uint8_t *, BLOCKS_MAX);
    for (unsigned i = 0; ok && i < hub->map->blocks->len; i++) {
        uint64_t pages = ((const struct block *)hub->map->blocks->pdata[i])->page_count;

        if (!s->writers[i])
            s->writers[i] = g_try_malloc0(pages);
        for (uint64_t page = 0; s->writers[i] && page < pages; page++)
            atomic_store_explicit(&s->writers[i][page], 0, memory_order_relaxed);
        ok = s->writers[i] || fail(error, NUMON_ERROR_HOST, "cannot allocate %" G_GUINT64_FORMAT " bytes to remember "
                                   "which vCPU wrote each page", pages);
    }
    if (ok)
        atomic_store_explicit(&s->watches, true, memory_order_release);
    lock_drop(&hub->lock);
    return ok;
}

int
subscriber_writer(const struct subscriber *s, const struct block *b, uint64_t page)
{
    if (!atomic_load_explicit(&s->watches, memory_order_acquire) || !s->writers[b->index])
        return -1;
    return (int)atomic_load_explicit(&s->writers[b->index][page], memory_order_relaxed) - 1;
}
