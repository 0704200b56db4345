/* SPDX-License-Identifier: GPL-3.0-or-later */
/* All of guest memory in pieces that each belong to one block, node and vCPU, so that what is counted by piece adds
 * up to the whole in every way it is looked at.  Sorted by block and page, without gaps.  The worker's own: no
 * lock. */
#include "migrate-private.h"

/* More would cost time with every slice: then vCPUs are not told apart. */
enum { PIECES_MOST = 4096 };

static int
by_place(const void *a, const void *b)
{
    const struct migrate_range *x = a, *y = b;

    if (x->block->index != y->block->index)
        return x->block->index < y->block->index ? -1 : 1;
    return x->first < y->first ? -1 : x->first > y->first;
}

static void
add_piece(GArray *list, const struct migrate_range *range, uint64_t first, uint64_t end, bool owned)
{
    struct piece piece = { .range = *range, .name = g_intern_string(range->block->name) };

    if (first >= end)
        return;
    piece.range.first = first;
    piece.range.count = end - first;
    if (!owned)
        piece.range.node = piece.range.cpu = -1;
    g_array_append_val(list, piece);
}

/* The pieces of one block: its ranges, from '*at' on, and what lies between them. */
static void
add_block(GArray *list, const struct block *b, const GArray *ranges, unsigned *at)
{
    struct migrate_range whole = { .block = b, .node = -1, .cpu = -1 };
    uint64_t done = 0;

    for (; *at < ranges->len && g_array_index(ranges, struct migrate_range, *at).block == b; (*at)++) {
        const struct migrate_range *r = &g_array_index(ranges, struct migrate_range, *at);
        uint64_t end = MIN(r->first + r->count, b->page_count);

        add_piece(list, &whole, done, MIN(r->first, b->page_count), false);
        add_piece(list, r, MAX(r->first, done), end, true);
        done = MAX(done, end);
    }
    add_piece(list, &whole, done, b->page_count, false);
}

/* What main adds to the map meanwhile is left out until it is in the list. */
static GArray *
partition(const struct migrate_guest *guest, const struct moving_list *moving)
{
    g_autoptr(GArray) ranges = g_array_new(FALSE, FALSE, sizeof(struct migrate_range));
    GArray *list = g_array_new(FALSE, FALSE, sizeof(struct piece));
    unsigned at = 0;

    if (guest->ranges)
        guest->ranges(guest->self, ranges);
    if (ranges->len > PIECES_MOST)
        g_array_set_size(ranges, 0);
    g_array_sort(ranges, by_place);
    for (unsigned i = 0; i < moving->count; i++)
        add_block(list, moving->at[i].block, ranges, &at);
    return list;
}

void
pieces_init(struct pieces *p, const struct migrate_guest *guest, const struct moving_list *moving, int64_t now_us)
{
    *p = (struct pieces) { .guest = guest, .moving = moving, .list = partition(guest, moving),
                           .blocks = moving->count,
                           .period_us = now_us };
}

void
pieces_release(struct pieces *p)
{
    g_clear_pointer(&p->list, g_array_unref);
}

void
pieces_update(struct pieces *p)
{
    unsigned count = p->moving->count;

    if (count == p->blocks)
        return;
    g_autoptr(GArray) now = partition(p->guest, p->moving);
    for (unsigned i = 0; i < now->len; i++) {
        struct piece *came = &g_array_index(now, struct piece, i);
        if (came->range.block->index >= p->blocks)
            g_array_append_val(p->list, *came);
    }
    p->blocks = count;
}

void
pieces_excuse(struct pieces *p, const struct block *b, uint64_t first, uint64_t count)
{
    for (unsigned i = 0; i < p->list->len; i++) {
        struct piece *piece = &g_array_index(p->list, struct piece, i);
        const struct migrate_range *r = &piece->range;
        uint64_t from = MAX(first, r->first), end = MIN(first + count, r->first + r->count);

        if (r->block == b && from < end)
            piece->before += end - from;
    }
}

static bool
holds(const struct piece *p, const struct block *b, uint64_t page)
{
    return p->range.block == b && page >= p->range.first && page - p->range.first < p->range.count;
}

struct piece *
pieces_find(struct pieces *p, const struct block *b, uint64_t page, uint64_t *ret_left)
{
    unsigned low = 0, high = p->list->len;

    while (!holds(&g_array_index(p->list, struct piece, p->at), b, page)) {
        g_assert(low < high);
        p->at = low + (high - low) / 2;
        const struct migrate_range *r = &g_array_index(p->list, struct piece, p->at).range;
        if (r->block->index < b->index || (r->block == b && r->first + r->count <= page))
            low = p->at + 1;
        else
            high = p->at;
    }
    struct piece *found = &g_array_index(p->list, struct piece, p->at);
    *ret_left = found->range.first + found->range.count - page;
    return found;
}

/* Set bits among 'count' from 'first'. */
static uint64_t
count_range(const _Atomic uint64_t *words, uint64_t first, uint64_t count)
{
    uint64_t total = 0;

    while (count) {
        uint64_t here = MIN(count, 64 - first % 64);
        uint64_t word = atomic_load_explicit(&words[first / 64], memory_order_relaxed) >> first % 64;
        if (here < 64)
            word &= (UINT64_C(1) << here) - 1;
        total += (unsigned)__builtin_popcountll(word);
        first += here;
        count -= here;
    }
    return total;
}

uint64_t
pieces_remaining(struct pieces *p, struct subscriber *subscriber)
{
    uint64_t total = 0;

    for (unsigned i = 0; i < p->list->len; i++) {
        struct piece *piece = &g_array_index(p->list, struct piece, i);
        const struct migrate_range *r = &piece->range;
        uint64_t pages = p->moving->at[r->block->index].pages, end = MIN(r->first + r->count, pages);
        piece->remaining = r->first < end ? count_range(subscriber_words(subscriber, r->block), r->first,
                                                        end - r->first) : 0;
        total += piece->remaining;
    }
    return total;
}

uint64_t
pieces_sync(struct pieces *p, struct subscriber *subscriber, uint64_t *ret_remaining)
{
    uint64_t total = 0;

    *ret_remaining = pieces_remaining(p, subscriber);
    for (unsigned i = 0; i < p->list->len; i++) {
        struct piece *piece = &g_array_index(p->list, struct piece, i);
        uint64_t known = piece->remaining + piece->taken, fresh = known > piece->before ? known - piece->before : 0;

        piece->before = piece->remaining;
        piece->taken = 0;
        piece->fresh += fresh;
        total += fresh;
    }
    return total;
}

void
pieces_forget(struct pieces *p)
{
    for (unsigned i = 0; i < p->list->len; i++)
        g_array_index(p->list, struct piece, i).fresh = 0;
}

void
pieces_period(struct pieces *p, int64_t now_us)
{
    p->last_period_us = (uint64_t)MAX(now_us - p->period_us, 1);
    p->period_us = now_us;
    for (unsigned i = 0; i < p->list->len; i++) {
        struct piece *piece = &g_array_index(p->list, struct piece, i);
        piece->period_fresh = piece->fresh;
        piece->fresh = 0;
    }
}
