/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Pages that nobody ever touched, and a log that protects late (hub.c).
 *
 * To clear pages below costs the kernel some time for each, also for such as are not there; and a page that is not
 * there cannot have been written.  So where a reader takes many in a row that are not there, the log is left as it is:
 * they are asleep, which stands in place of late.  What the log says of them is not listened to; each collection asks
 * the kernel instead which of them have come.  These are cleared below, then looked at: one that has something in it
 * was written and goes to every subscriber, one of zeros is as its readers believe it to be.
 *
 * Asleep means: who took its bit takes the page to be zero, and the others have their bits still.  Where somebody takes
 * the bit of a page that is asleep, to read it, it is late again, and is cleared below; what was written to it until then
 * the reader sees, and the others get their bits back.
 *   A reader believes what the kernel said after he had taken the bits.  Of pages that are late, and are cleared below,
 * it must be asked after that: what was written before is forgotten by the log.  All of it under one lock, so that no
 * other reader clears in between. */
#include "memory-private.h"

/* Less is not worth asking for at each collection; as many pages as the kernel tells of in one go. */
enum { SLEEP_LEAST = 512, LOOK_PAGES = 32768 };

/* 'count' bits of a word from 'first' on, which may lie in another one. */
static uint64_t
word_mask(uint64_t first, uint64_t count)
{
    return (UINT64_MAX >> (64 - count)) << first % 64;
}

/* Moves bits of a range from one bitmap to another. */
static void
move_bits(uint64_t *from, uint64_t *to, uint64_t first, uint64_t count)
{
    while (count) {
        uint64_t here = MIN(count, 64 - first % 64), mask = word_mask(first, here);

        to[first / 64] |= from[first / 64] & mask;
        from[first / 64] &= ~mask;
        first += here;
        count -= here;
    }
}

void
hub_wake(struct hub *hub, const struct subscriber *s, const struct block *b, uint64_t word, uint64_t pages)
{
    uint64_t woken = hub->asleep[b->index][word] & pages;

    if (!woken)
        return;
    hub->asleep[b->index][word] &= ~woken;
    hub->late[b->index][word] |= woken;
    for (uint64_t active = hub_active_mask(hub); active; active &= active - 1) {
        const struct subscriber *other = &hub->slots[__builtin_ctzll(active)];

        if (other != s)
            atomic_fetch_or_explicit(&other->words[b->index][word], woken, memory_order_release);
    }
}

/* Clears below the pages of the range that are late. */
static bool
clear_late(struct hub *hub, struct block *b, uint64_t first, uint64_t count, GError **error) REQUIRES(hub->lock)
{
    uint64_t begin = first / 64 * 64, bits = first + count - begin;
    uint64_t *late = hub->late[b->index] + begin / 64, *mask = hub->scratch + hub->scratch_words;

    bits_clear(mask, 0, (bits + 63) / 64 * 64);
    for (uint64_t at = bits_next(late, bits, first - begin), end; at < bits; at = bits_next(late, bits, end)) {
        end = bits_next_clear(late, bits, at);
        bits_set(mask, at, end - at);
    }
    if (bits_next(mask, bits, 0) == bits)
        return true;
    if (!hub->source.clear(hub->source.self, b, begin, bits, mask, error))
        return false;
    bits_clear(late, first - begin, count);
    return true;
}

/* --- falling asleep ----------------------------------------------------------------------------------------------- */

/* Pages whose bits were just taken: those that are not there, and that are many, fall asleep; the others are cleared
 * below.  '*ret_others': some of these were not there either. */
static bool
let_sleep(struct hub *hub, struct block *b, uint64_t first, uint64_t count, const uint64_t *absent, bool *ret_others,
          GError **error) REQUIRES(hub->lock)
{
    for (uint64_t i = bits_next(absent, count, 0), end; i < count; i = bits_next(absent, count, end)) {
        end = bits_next_clear(absent, count, i);
        if (end - i >= SLEEP_LEAST)
            move_bits(hub->late[b->index], hub->asleep[b->index], first + i, end - i);
        else
            *ret_others = true;
    }
    return clear_late(hub, b, first, count, error);
}

static bool
clear_there(struct hub *hub, struct subscriber *s, struct block *b, uint64_t first, uint64_t count, uint64_t *absent,
            uint64_t *ret_set, GError **error) REQUIRES(hub->lock)
{
    bool others = false;

    for (uint64_t at = first, here; at < first + count; at += here) {
        here = MIN(first + count - at, 64 - at % 64);
        hub_wake(hub, s, b, at / 64, word_mask(at, here));
    }
    *ret_set = bits_take_atomic(s->words[b->index], first, count);
    presence_absent(&hub->presence, b, first, count, absent);
    if (!let_sleep(hub, b, first, count, absent, &others, error))
        return false;
    if (others)
        presence_absent(&hub->presence, b, first, count, absent);
    return true;
}

bool
hub_clear_there(struct hub *hub, struct subscriber *s, struct block *b, uint64_t first, uint64_t count,
                uint64_t *absent, uint64_t *ret_set, GError **error)
{
    bool ok = true;

    g_assert(count > 0 && first <= b->page_count && count <= b->page_count - first);
    lock_take(&hub->lock);
    if (hub->source.clear) {
        ok = clear_there(hub, s, b, first, count, absent, ret_set, error);
    } else {
        *ret_set = bits_take_atomic(s->words[b->index], first, count);
        presence_absent(&hub->presence, b, first, count, absent);
    }
    lock_drop(&hub->lock);
    return ok;
}

/* --- waking up ---------------------------------------------------------------------------------------------------- */

static bool
look_at_those_that_came(struct hub *hub, struct block *b, uint64_t first, uint64_t count, GError **error)
    REQUIRES(hub->lock)
{
    move_bits(hub->asleep[b->index], hub->late[b->index], first, count);
    if (!clear_late(hub, b, first, count, error))
        return false;
    for (uint64_t page = first; page < first + count; page++)
        if (page_is_zero(b->host + page * PAGE_SIZE))
            bits_clear(hub->scratch, page, 1);
        else
            bit_set(hub->scratch, page);
    return true;
}

/* Pages in a row that are asleep. */
static bool
look_at_sleepers(struct hub *hub, struct block *b, uint64_t first, uint64_t count, GError **error) REQUIRES(hub->lock)
{
    uint64_t absent[WORDS_FOR(LOOK_PAGES)];

    presence_absent(&hub->presence, b, first, count, absent);
    for (uint64_t i = bits_next_clear(absent, count, 0), end; i < count; i = bits_next_clear(absent, count, end)) {
        end = bits_next(absent, count, i);
        if (!look_at_those_that_came(hub, b, first + i, end - i, error))
            return false;
    }
    return true;
}

bool
hub_collect_asleep(struct hub *hub, struct block *b, GError **error)
{
    uint64_t *asleep = hub->asleep[b->index], pages = b->page_count;

    for (uint64_t first = bits_next(asleep, pages, 0), end; first < pages; first = bits_next(asleep, pages, end)) {
        end = MIN(bits_next_clear(asleep, pages, first), first + LOOK_PAGES);
        if (!look_at_sleepers(hub, b, first, end - first, error))
            return false;
    }
    for (uint64_t i = 0; i < WORDS_FOR(pages); i++)
        hub->scratch[i] &= ~asleep[i];
    return true;
}
