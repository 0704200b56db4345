/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Dirty words to runs of pages.  One bit a page, 64-bit words, bit 0 lowest; other threads set bits at any time, so a
 * run is what was set when its words were looked at: hub_clear() says how many of it were really taken. */
#include "migrate-private.h"

bool
scan_run(const _Atomic uint64_t *words, uint64_t bits, uint64_t from, uint64_t most, uint64_t *ret_first,
         uint64_t *ret_count)
{
    uint64_t first = from < bits ? bits_next_atomic(words, bits, from) : bits;

    if (first >= bits || most == 0)
        return false;
    uint64_t end = bits - first > most ? first + most : bits;
    uint64_t at = first + 1;
    while (at < end) {
        uint64_t clear = ~(atomic_load_explicit(&words[at / 64], memory_order_relaxed) >> (at % 64));
        /* Above the word's last bit 'clear' has ones: they end the run at the word's border, no further. */
        uint64_t length = clear ? (uint64_t)__builtin_ctzll(clear) : 64;
        if (length > 64 - at % 64)
            length = 64 - at % 64;
        at += length;
        if (at % 64 != 0 || length == 0)
            break;
    }
    *ret_first = first;
    *ret_count = MIN(at, end) - first;
    return true;
}

void
sweep_begin(struct sweep *w, const struct moving_list *list)
{
    *w = (struct sweep) { .list = list };
}

bool
sweep_next(struct sweep *w, uint64_t most, struct block **ret_block, uint64_t *ret_first, uint64_t *ret_count)
{
    for (; w->block < w->list->count; w->block++, w->page = 0) {
        const struct moving *m = &w->list->at[w->block];

        if (!scan_run(subscriber_words(w->list->subscriber, m->block), m->pages, w->page, most, ret_first, ret_count))
            continue;
        w->page = *ret_first + *ret_count;
        *ret_block = m->block;
        return true;
    }
    return false;
}

void
sweep_fill(const struct moving_list *list)
{
    for (unsigned i = 0; i < list->count; i++)
        bits_set_atomic(subscriber_words(list->subscriber, list->at[i].block), 0, list->at[i].pages);
}

uint64_t
sweep_remaining(const struct moving_list *list)
{
    uint64_t pages = 0;

    for (unsigned i = 0; i < list->count; i++)
        pages += bits_count_atomic(subscriber_words(list->subscriber, list->at[i].block), list->at[i].pages);
    return pages;
}
