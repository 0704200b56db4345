/* SPDX-License-Identifier: GPL-3.0-or-later */
/* How fast the guest dirties its memory, measured between a beginning and an end that the caller chooses.
 *
 * By the hub (bitmap, ring): a subscriber of its own, whose bits are counted by node at the end and, where the log
 * tells who wrote, by the vCPU that wrote the page last, so that vCPUs never come to more than the whole.  By
 * samples: checksums of pages chosen evenly, one at random in each stretch, so many in a GiB; those that changed
 * stand for the others.  Samples cost the guest nothing; a page that is not there is not read, which would make it be
 * there. */
#include "memory.h"

#include <string.h>
#include <sys/mman.h>
#include <zlib.h>

const char *const dirty_rate_mode_names[] = { "page-sampling", "dirty-bitmap", "dirty-ring", NULL };

/* A page that was looked at. */
struct sample {
    unsigned section;
    uint32_t sum;                   /* CRC-32 of its content */
    uint64_t page;                  /* in its block */
    bool present;
};

struct dirty_rate {
    const struct guest_map *map;    /* borrowed, frozen meanwhile */
    struct hub *hub;
    enum dirty_rate_mode mode;
    uint64_t per_gib;               /* samples */
    unsigned cpus;                  /* vCPUs to be told */
    struct subscriber *subscriber;
    GArray *samples;                /* struct sample */
    int64_t begun_us;
};

static const struct section *
section_at(const struct guest_map *map, unsigned i)
{
    return &g_array_index(map->sections, struct section, i);
}

/* --- samples ---------------------------------------------------------------------------------------------------- */

/* The content as one number; false for a page that the host does not have now. */
static bool
sum_page(const struct block *b, uint64_t page, uint32_t *ret)
{
    uint8_t *at = b->host + page * PAGE_SIZE;
    unsigned char there = 0;

    if (mincore(at, PAGE_SIZE, &there) == 0 && !(there & 1))
        return false;
    *ret = (uint32_t)crc32(0, at, PAGE_SIZE);
    return true;
}

static uint64_t
samples_of(const struct dirty_rate *r, const struct section *s)
{
    uint64_t pages = s->size / PAGE_SIZE;
    unsigned __int128 wanted = (unsigned __int128)r->per_gib * s->size / GIB;

    return CLAMP((uint64_t)wanted, MIN(pages, 16), pages);
}

static void
take_samples(struct dirty_rate *r, unsigned section)
{
    const struct section *s = section_at(r->map, section);
    uint64_t pages = s->size / PAGE_SIZE, count = samples_of(r, s);

    for (uint64_t i = 0; i < count; i++) {
        uint64_t from = pages * i / count, to = pages * (i + 1) / count;
        struct sample one = { .section = section };

        one.page = s->offset / PAGE_SIZE + from + g_random_int() % (to - from);
        one.present = sum_page(s->block, one.page, &one.sum);
        g_array_append_val(r->samples, one);
    }
}

static bool
has_changed(const struct dirty_rate *r, const struct sample *one)
{
    uint32_t sum;

    if (!sum_page(section_at(r->map, one->section)->block, one->page, &sum))
        return false;
    return !one->present || sum != one->sum;
}

/* --- rows ------------------------------------------------------------------------------------------------------- */

static struct dirty_rate_node *
row_of(GArray *nodes, int node)
{
    struct dirty_rate_node fresh = { .node = node };

    for (unsigned i = 0; i < nodes->len; i++)
        if (g_array_index(nodes, struct dirty_rate_node, i).node == node)
            return &g_array_index(nodes, struct dirty_rate_node, i);
    g_array_append_val(nodes, fresh);
    return &g_array_index(nodes, struct dirty_rate_node, nodes->len - 1);
}

/* Pages that were written; 'by_cpu' (NULL: not wanted) gets them by vCPU. */
static uint64_t
dirty_pages(const struct dirty_rate *r, const struct section *s, uint64_t *by_cpu)
{
    const _Atomic uint64_t *words = subscriber_words(r->subscriber, s->block);
    uint64_t first = s->offset / PAGE_SIZE, end = first + s->size / PAGE_SIZE, count = 0;

    for (uint64_t page = bits_next_atomic(words, end, first); page < end;
         page = bits_next_atomic(words, end, page + 1)) {
        int cpu = by_cpu ? subscriber_writer(r->subscriber, s->block, page) : -1;

        count++;
        if (cpu >= 0 && (unsigned)cpu < r->cpus)
            by_cpu[cpu]++;
    }
    return count;
}

static uint64_t
changed_pages(const struct dirty_rate *r, unsigned section)
{
    const struct section *s = section_at(r->map, section);
    uint64_t looked = 0, changed = 0;

    for (unsigned i = 0; i < r->samples->len; i++) {
        const struct sample *one = &g_array_index(r->samples, struct sample, i);

        if (one->section != section)
            continue;
        looked++;
        changed += has_changed(r, one);
    }
    return looked ? (uint64_t)((unsigned __int128)(s->size / PAGE_SIZE) * changed / looked) : 0;
}

static void
count_section(struct dirty_rate *r, unsigned i, struct dirty_rate_result *ret)
{
    const struct section *s = section_at(r->map, i);
    uint64_t *by_cpu = r->mode == DIRTY_RATE_RING ? (uint64_t *)ret->cpus->data : NULL;
    uint64_t pages = r->mode == DIRTY_RATE_SAMPLING ? changed_pages(r, i) : dirty_pages(r, s, by_cpu);

    row_of(ret->nodes, s->node)->pages += pages;
    ret->pages += pages;
}

/* --- from beginning to end -------------------------------------------------------------------------------------- */

struct dirty_rate *
dirty_rate_begin(const struct guest_map *map, struct hub *hub, enum dirty_rate_mode mode, uint64_t samples_per_gib,
                 unsigned cpus, GError **error)
{
    struct dirty_rate *r = g_new0(struct dirty_rate, 1);

    *r = (struct dirty_rate) {
        .map = map, .hub = hub, .mode = mode, .per_gib = samples_per_gib, .cpus = MIN(cpus, HUB_CPUS),
        .samples = g_array_new(FALSE, FALSE, sizeof(struct sample)),
    };
    if (mode != DIRTY_RATE_SAMPLING) {
        r->subscriber = hub_subscribe(hub, "dirty rate", error);
        if (!r->subscriber
            || (mode == DIRTY_RATE_RING && !subscriber_watch_writers(hub, r->subscriber, error))) {
            dirty_rate_free(r);
            return NULL;
        }
    }
    for (unsigned i = 0; mode == DIRTY_RATE_SAMPLING && i < map->sections->len; i++)
        take_samples(r, i);
    r->begun_us = g_get_monotonic_time();
    return r;
}

bool
dirty_rate_end(struct dirty_rate *r, struct dirty_rate_result *ret, GError **error)
{
    if (r->subscriber && !hub_sync(r->hub, error))
        return false;
    *ret = (struct dirty_rate_result) {
        .passed_us = (uint64_t)MAX(g_get_monotonic_time() - r->begun_us, 1),
        .nodes = g_array_new(FALSE, TRUE, sizeof(struct dirty_rate_node)),
        .cpus = g_array_new(FALSE, TRUE, sizeof(uint64_t)),
    };
    if (r->mode == DIRTY_RATE_RING)
        g_array_set_size(ret->cpus, r->cpus);
    for (unsigned i = 0; i < r->map->sections->len; i++)
        count_section(r, i, ret);
    return true;
}

void
dirty_rate_free(struct dirty_rate *r)
{
    if (!r)
        return;
    hub_unsubscribe(r->hub, r->subscriber);
    g_array_unref(r->samples);
    g_free(r);
}

void
dirty_rate_result_release(struct dirty_rate_result *result)
{
    g_clear_pointer(&result->nodes, g_array_unref);
    g_clear_pointer(&result->cpus, g_array_unref);
}
