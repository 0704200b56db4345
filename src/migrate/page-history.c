/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What became of each page in each round: half a byte a page and round, which is made when the round first sends
 * something of the block and which the kernel gives memory for only where pages were sent.  The first round and the
 * last ones are kept, 64 at most and as many as fit a thousandth of guest memory (16 MiB at least).
 *
 * The migration thread writes without a lock, bytes that others only read; maps come and go under the session's. */
#include "migrate-private.h"

enum { HISTORY_LEAST = 16 << 20, HISTORY_PART = 1000, HISTORY_ROUNDS = 64 };

struct history_map {
    uint64_t pages;
    _Atomic uint8_t *forms;             /* two pages a byte, the first in the low half; owned; NULL: none sent */
};
struct history_round {
    uint64_t number;
    struct history_map blocks[BLOCKS_MAX];      /* by the block's index */
};

static uint64_t
map_bytes(uint64_t pages)
{
    return (pages + 1) / 2;
}

static void
free_round(void *data)
{
    struct history_round *r = data;

    for (unsigned i = 0; i < BLOCKS_MAX; i++)
        g_free((void *)r->blocks[i].forms);
    g_free(r);
}

void
history_init(struct page_history *h, uint64_t total_bytes)
{
    *h = (struct page_history) {
        .rounds = g_ptr_array_new_with_free_func(free_round), .most = MAX(total_bytes / HISTORY_PART, HISTORY_LEAST),
    };
}

void
history_release(struct page_history *h)
{
    g_clear_pointer(&h->rounds, g_ptr_array_unref);
}

static struct history_round *
last_round(const struct page_history *h)
{
    return h->rounds && h->rounds->len ? h->rounds->pdata[h->rounds->len - 1] : NULL;
}

/* The oldest but the first goes. */
static void
drop_round(struct page_history *h)
{
    const struct history_round *r = h->rounds->pdata[1];

    for (unsigned i = 0; i < BLOCKS_MAX; i++)
        h->bytes -= r->blocks[i].forms ? map_bytes(r->blocks[i].pages) : 0;
    g_ptr_array_remove_index(h->rounds, 1);
}

void
history_begin(struct page_history *h, uint64_t number)
{
    struct history_round *r;

    if (!h->rounds)
        return;
    r = g_try_new0(struct history_round, 1);
    if (!r)
        return;
    if (h->rounds->len == HISTORY_ROUNDS)
        drop_round(h);
    r->number = number;
    g_ptr_array_add(h->rounds, r);
}

/* The map of the block in the last round; NULL: nothing is kept. */
static struct history_map *
open_map(struct session *s, const struct block *b)
{
    struct page_history *h = &s->history;
    struct history_round *r = last_round(h);
    struct history_map *map = r ? &r->blocks[b->index] : NULL;

    if (!map || map->forms)
        return map;
    lock_take(&s->lock);
    while (h->bytes + map_bytes(b->page_count) > h->most && h->rounds->len > 2)
        drop_round(h);
    map->forms = g_try_malloc0(map_bytes(b->page_count));
    map->pages = map->forms ? b->page_count : 0;
    h->bytes += map_bytes(map->pages);
    lock_drop(&s->lock);
    return map;
}

static void
store(_Atomic uint8_t *forms, uint64_t page, uint8_t form)
{
    unsigned shift = page % 2 * 4;
    uint8_t now = atomic_load_explicit(&forms[page / 2], memory_order_relaxed);

    now = (uint8_t)((now & ~(0xf << shift)) | form << shift);
    atomic_store_explicit(&forms[page / 2], now, memory_order_relaxed);
}

void
history_note(struct session *s, const struct block *b, uint64_t first, uint64_t count, const uint8_t *forms)
{
    const struct history_map *map = open_map(s, b);
    uint64_t i = 0;

    if (!map || !map->forms || first + count > map->pages)
        return;
    if (count && first % 2)
        store(map->forms, first, forms[i++]);
    for (; i + 1 < count; i += 2)
        atomic_store_explicit(&map->forms[(first + i) / 2], (uint8_t)(forms[i] | forms[i + 1] << 4),
                              memory_order_relaxed);
    if (i < count)
        store(map->forms, first + i, forms[i]);
}

/* --- reading ---------------------------------------------------------------------------------------------------- */

static uint8_t
form_of(const struct history_round *r, const struct block *b, uint64_t page)
{
    const struct history_map *map = &r->blocks[b->index];

    if (!map->forms || page >= map->pages)
        return FATE_NONE;
    return atomic_load_explicit(&map->forms[page / 2], memory_order_relaxed) >> page % 2 * 4 & 0xf;
}

GArray *
session_page_history(struct session *s, const struct block *b, uint64_t page)
{
    GArray *list = g_array_new(FALSE, FALSE, sizeof(struct migrate_page_round));

    lock_take(&s->lock);
    for (unsigned i = 0; s->history.rounds && i < s->history.rounds->len; i++) {
        const struct history_round *r = s->history.rounds->pdata[i];
        struct migrate_page_round found = { .round = r->number, .fate = form_of(r, b, page) };

        g_array_append_val(list, found);
    }
    lock_drop(&s->lock);
    return list;
}

static uint64_t
count_sent(const struct history_map *map, uint64_t first, uint64_t count)
{
    uint64_t end = MIN(first + count, map->pages), sent = 0;

    for (uint64_t page = first; map->forms && page < end; page++) {
        uint8_t two = atomic_load_explicit(&map->forms[page / 2], memory_order_relaxed);

        if (two == 0) {
            page |= 1;
            continue;
        }
        sent += (two >> page % 2 * 4 & 0xf) != FATE_NONE;
    }
    return sent;
}

bool
session_round_pages(struct session *s, uint64_t round, const struct block *b, uint64_t first, uint64_t count,
                    uint64_t *ret)
{
    bool found = false;

    lock_take(&s->lock);
    for (unsigned i = 0; s->history.rounds && i < s->history.rounds->len && !found; i++) {
        const struct history_round *r = s->history.rounds->pdata[i];

        found = r->number == round;
        if (found)
            *ret = count_sent(&r->blocks[b->index], first, count);
    }
    lock_drop(&s->lock);
    return found;
}
