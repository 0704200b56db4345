/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What became of each page in each round: half a byte a page and round, which is made when the round first sends
 * something of the block and which the kernel gives memory for only where pages were sent.  The first round and the
 * last ones are kept, 64 at most and as many as fit a thousandth of guest memory (16 MiB at least).
 *
 * The migration thread writes without a lock, bytes that others only read; maps come and go under the session's. */
#include "migrate-private.h"

#include <string.h>

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
    for (unsigned i = 0; i < BLOCKS_MAX; i++)
        g_clear_pointer(&h->writers[i], g_free);
}

/* --- who wrote -------------------------------------------------------------------------------------------------- */

void
history_watch(struct session *s, struct subscriber *subscriber)
{
    struct hub *hub = s->guest.hub;

    if (!hub_tells_cpus(hub) || !subscriber_watch_writers(hub, subscriber, NULL))
        return;
    lock_take(&s->lock);
    s->history.subscriber = subscriber;
    lock_drop(&s->lock);
}

static uint8_t *
copy_writers(const struct subscriber *subscriber, const struct block *b)
{
    uint8_t *copy = g_try_malloc(b->page_count);

    for (uint64_t page = 0; copy && page < b->page_count; page++)
        copy[page] = (uint8_t)(subscriber_writer(subscriber, b, page) + 1);
    return copy;
}

void
history_end(struct session *s, const struct moving_list *blocks)
{
    struct page_history *h = &s->history;
    uint8_t *copies[BLOCKS_MAX] = { NULL };

    if (!h->subscriber)
        return;
    for (unsigned i = 0; i < blocks->count; i++)
        copies[blocks->at[i].block->index] = copy_writers(h->subscriber, blocks->at[i].block);
    lock_take(&s->lock);
    memcpy(h->writers, copies, sizeof copies);
    h->subscriber = NULL;
    lock_drop(&s->lock);
}

bool
session_knows_writers(struct session *s)
{
    lock_take(&s->lock);
    bool knows = s->history.subscriber || s->history.writers[0];
    lock_drop(&s->lock);
    return knows;
}

/* --- rounds ----------------------------------------------------------------------------------------------------- */

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
    h->names[b->index] = g_intern_string(b->name);
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

/* The same form for all, as of memory that was never touched: sixteen pages at a time. */
static void
store_run(_Atomic uint8_t *forms, uint64_t first, uint64_t count, uint8_t form)
{
    enum { WORD_PAGES = 16 };
    uint64_t page = first, end = first + count, word = form * UINT64_C(0x1111111111111111);

    for (; page < end && page % WORD_PAGES; page++)
        store(forms, page, form);
    for (; page + WORD_PAGES <= end; page += WORD_PAGES)
        atomic_store_explicit((_Atomic uint64_t *)&forms[page / 2], word, memory_order_relaxed);
    for (; page < end; page++)
        store(forms, page, form);
}

void
history_note(struct session *s, const struct block *b, uint64_t first, uint64_t count, const uint8_t *forms)
{
    const struct history_map *map = open_map(s, b);
    uint64_t i = 0;

    if (!map || !map->forms || first + count > map->pages)
        return;
    if (count > 1 && memcmp(forms, forms + 1, count - 1) == 0) {
        store_run(map->forms, first, count, forms[0]);
        return;
    }
    if (count && first % 2)
        store(map->forms, first, forms[i++]);
    for (; i + 1 < count; i += 2)
        atomic_store_explicit(&map->forms[(first + i) / 2], (uint8_t)(forms[i] | forms[i + 1] << 4),
                              memory_order_relaxed);
    if (i < count)
        store(map->forms, first + i, forms[i]);
}

/* --- reading ---------------------------------------------------------------------------------------------------- */

/* Its index then: later others may have gone.  -1: it was not there. */
static int
index_of(const struct page_history *h, const struct block *b)
{
    const char *name = g_intern_string(b->name);

    for (int i = 0; i < BLOCKS_MAX; i++)
        if (h->names[i] == name)
            return i;
    return -1;
}

static uint8_t
form_of(const struct history_round *r, int index, uint64_t page)
{
    const struct history_map *map = index < 0 ? NULL : &r->blocks[index];

    if (!map || !map->forms || page >= map->pages)
        return FATE_NONE;
    return atomic_load_explicit(&map->forms[page / 2], memory_order_relaxed) >> page % 2 * 4 & 0xf;
}

/* The pages of a block are as many as its maps have: those of all rounds have as many. */
static uint64_t
pages_of(const struct page_history *h, int index)
{
    uint64_t pages = 0;

    for (unsigned i = 0; h->rounds && i < h->rounds->len; i++)
        pages = MAX(pages, ((const struct history_round *)h->rounds->pdata[i])->blocks[index].pages);
    return pages;
}

int
session_page_writer(struct session *s, const struct block *b, uint64_t page)
{
    const struct page_history *h = &s->history;
    int cpu = -1;

    lock_take(&s->lock);
    int index = index_of(h, b);
    if (h->subscriber)
        cpu = subscriber_writer(h->subscriber, b, page);
    else if (index >= 0 && h->writers[index] && page < pages_of(h, index))
        cpu = (int)h->writers[index][page] - 1;
    lock_drop(&s->lock);
    return cpu;
}

GArray *
session_page_history(struct session *s, const struct block *b, uint64_t page)
{
    GArray *list = g_array_new(FALSE, FALSE, sizeof(struct migrate_page_round));

    lock_take(&s->lock);
    int index = index_of(&s->history, b);
    for (unsigned i = 0; s->history.rounds && i < s->history.rounds->len; i++) {
        const struct history_round *r = s->history.rounds->pdata[i];
        struct migrate_page_round found = { .round = r->number, .fate = form_of(r, index, page) };

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
    int index = index_of(&s->history, b);
    for (unsigned i = 0; s->history.rounds && i < s->history.rounds->len && !found; i++) {
        const struct history_round *r = s->history.rounds->pdata[i];

        found = r->number == round;
        if (found)
            *ret = index < 0 ? 0 : count_sent(&r->blocks[index], first, count);
    }
    lock_drop(&s->lock);
    return found;
}
