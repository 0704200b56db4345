/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The dirty hub: one collector of changed pages, many subscribers, none of which can take a page from another.
 *
 * Slots.  A subscriber is one of SLOTS slots of the hub.  A slot's bitmaps are allocated when it is first used and
 * live until hub_free, so a marker that still believes in a subscriber that has just gone sets a bit in memory that
 * is there; the next user of the slot may then see a page too many, never one too few.
 *
 * Gates.  A marker must learn which slots are active, and a subscriber that comes must not miss a write whose marker
 * did not see it: "write page; read active" against "set active; read page" is the pattern that store buffers break.
 * So the marker reads the mask by an atomic addition of nothing, and the subscriber changes it by an atomic or.  Both
 * change the same word, so one comes first: either the marker sees the slot, or the subscriber acquires what the
 * marker released, the page's new content, before it reads any page.  There are GATES copies of the mask on cache
 * lines of their own, a thread always using the same one, so that vCPUs do not fight for a line; the subscriber
 * changes all of them.
 *
 * Order.  A reader clears the bit (acquire), then reads; a marking writer writes, then sets the bit (release).  Both
 * are read-modify-writes of the same word.  Either the reader's clear comes after the mark and sees the page, or the
 * mark comes after the clear and stays.
 *
 * A log that protects late (the source has 'clear') reports a page until it is cleared, and only pages cleared since
 * are protected.  With one subscriber, hub_clear reaches down to it.  With more, one subscriber's clear would take
 * away a write that the others have not collected: then each sync clears at once what it has collected, before it
 * gives it to the subscribers, and hub_clear has nothing left to do below. */
#include "memory.h"

enum { SLOTS = 16, GATES = 64, CACHE_LINE = 64 };

struct subscriber {
    unsigned slot;
    _Atomic uint64_t **words;       /* by block index; NULL until the slot is first used; lives until hub_free */
    const char *who;                /* for debuggers */
};

struct gate {
    _Alignas(CACHE_LINE) _Atomic uint64_t active;       /* bit n: slot n */
};

struct hub {
    /* Fixed from hub_new on. */
    const struct guest_map *map;    /* borrowed, frozen */
    struct dirty_source source;
    struct gate *gates;             /* GATES of them; atomic */
    void *gates_memory;             /* what 'gates' was aligned in; owned */
    _Atomic bool shared_late;       /* several subscribers of a log that protects late; written under the lock */

    /* Written under the lock while inactive; markers read what the gates have published. */
    struct subscriber slots[SLOTS];

    struct lock lock;               /* rank 20 */
    unsigned count GUARDED;         /* active slots */
    uint64_t *scratch GUARDED;      /* words of the largest block */
    uint64_t scratch_words GUARDED;
};

static struct block *
block_at(const struct hub *hub, unsigned i)
{
    return hub->map->blocks->pdata[i];
}

struct hub *
hub_new(struct guest_map *map, struct dirty_source source)
{
    struct hub *hub = g_new0(struct hub, 1);

    hub->map = map;
    hub->source = source;
    hub->gates_memory = g_malloc0((GATES + 1) * sizeof(struct gate));
    hub->gates = (struct gate *)(((uintptr_t)hub->gates_memory + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE);
    lock_init(&hub->lock, 20, "dirty hub");
    return hub;
}

static void
free_words(struct hub *hub, struct subscriber *s)
{
    for (unsigned i = 0; s->words && i < hub->map->blocks->len; i++)
        g_free(s->words[i]);
    g_clear_pointer(&s->words, g_free);
}

void
hub_free(struct hub *hub)
{
    if (!hub)
        return;
    lock_take(&hub->lock);
    if (hub->count && hub->source.stop)
        hub->source.stop(hub->source.self);
    g_free(hub->scratch);
    lock_drop(&hub->lock);
    for (unsigned i = 0; i < SLOTS; i++)
        free_words(hub, &hub->slots[i]);
    lock_release(&hub->lock);
    g_free(hub->gates_memory);
    g_free(hub);
}

/* --- subscribers ------------------------------------------------------------------------------------------------ */

static uint64_t
active_mask(const struct hub *hub)
{
    return atomic_load_explicit(&hub->gates[0].active, memory_order_acquire);
}

bool
hub_active(const struct hub *hub)
{
    return active_mask(hub) != 0;
}

int
hub_dirty(struct hub *hub, const struct block *b, uint64_t page)
{
    uint64_t active = active_mask(hub);

    if (!active || !hub_sync(hub, NULL))
        return -1;
    for (unsigned i = 0; i < SLOTS; i++) {
        if (active >> i & 1 && atomic_load(&hub->slots[i].words[b->index][page / 64]) >> (page % 64) & 1)
            return 1;
    }
    return 0;
}

/* The error of memory for bitmaps that the host does not have. */
static bool
fail_words(uint64_t words, GError **error)
{
    g_autofree char *size = size_format(words * sizeof(uint64_t));

    return fail(error, NUMON_ERROR_HOST, "cannot allocate a dirty bitmap of %s", size);
}

static bool
allocate_scratch(struct hub *hub, GError **error) REQUIRES(hub->lock)
{
    uint64_t most = 0;

    for (unsigned i = 0; i < hub->map->blocks->len; i++)
        most = MAX(most, WORDS_FOR(block_at(hub, i)->page_count));
    if (!hub->scratch) {
        hub->scratch = g_try_new0(uint64_t, MAX(most, 1));
        hub->scratch_words = hub->scratch ? MAX(most, 1) : 0;
    }
    return hub->scratch || fail_words(most, error);
}

/* Gives the slot clear bitmaps.  The array of them is made for every block that may come: who marks reads it without
 * the lock. */
static bool
prepare_slot(struct hub *hub, struct subscriber *s, GError **error)
{
    if (!s->words)
        s->words = g_new0(_Atomic uint64_t *, BLOCKS_MAX);
    for (unsigned i = 0; i < hub->map->blocks->len; i++) {
        uint64_t pages = block_at(hub, i)->page_count, words = WORDS_FOR(pages);

        if (s->words[i])
            (void)bits_take_atomic(s->words[i], 0, pages);
        else
            s->words[i] = g_try_malloc0_n(words, sizeof(uint64_t));
        if (!s->words[i])
            return fail_words(words, error);
    }
    return true;
}

static struct subscriber *
free_slot(struct hub *hub, const char *who, GError **error)
{
    uint64_t free_mask = ~active_mask(hub) & ((UINT64_C(1) << SLOTS) - 1);
    struct subscriber *s;

    if (!free_mask) {
        fail(error, NUMON_ERROR_LIMIT, "cannot watch dirty pages for '%s': there are %u watchers already", who,
             SLOTS);
        return NULL;
    }
    s = &hub->slots[__builtin_ctzll(free_mask)];
    s->slot = (unsigned)(s - hub->slots);
    s->who = who;
    return s;
}

static void
set_active(struct hub *hub, const struct subscriber *s, bool on)
{
    uint64_t bit = UINT64_C(1) << s->slot;

    for (unsigned i = 0; i < GATES; i++) {
        if (on)
            atomic_fetch_or_explicit(&hub->gates[i].active, bit, memory_order_acq_rel);
        else
            atomic_fetch_and_explicit(&hub->gates[i].active, ~bit, memory_order_acq_rel);
    }
}

static void
set_count(struct hub *hub, unsigned count) REQUIRES(hub->lock)
{
    hub->count = count;
    atomic_store(&hub->shared_late, count > 1 && hub->source.clear);
}

static bool collect_all(struct hub *hub, GError **error) REQUIRES(hub->lock);

/* The first subscriber switches the log on.  The second finds pages that the first has collected and not yet
 * cleared: collecting once more as shared clears them, so that their next write is seen by both. */
static bool
start_logging(struct hub *hub, GError **error) REQUIRES(hub->lock)
{
    if (hub->count == 0)
        return !hub->source.start || hub->source.start(hub->source.self, error);
    if (hub->count > 1 || !hub->source.clear)
        return true;
    set_count(hub, 2);
    if (collect_all(hub, error))
        return true;
    set_count(hub, 1);
    return false;
}

struct subscriber *
hub_subscribe(struct hub *hub, const char *who, GError **error)
{
    struct subscriber *s;

    lock_take(&hub->lock);
    s = free_slot(hub, who, error);
    if (s && !(allocate_scratch(hub, error) && prepare_slot(hub, s, error) && start_logging(hub, error)))
        s = NULL;
    if (s) {
        set_active(hub, s, true);
        set_count(hub, (unsigned)__builtin_popcountll(active_mask(hub)));
    }
    lock_drop(&hub->lock);
    return s;
}

void
hub_unsubscribe(struct hub *hub, struct subscriber *s)
{
    if (!s)
        return;
    lock_take(&hub->lock);
    set_active(hub, s, false);
    set_count(hub, hub->count - 1);
    if (hub->count == 0 && hub->source.stop)
        hub->source.stop(hub->source.self);
    lock_drop(&hub->lock);
}

/* --- blocks that come and go ------------------------------------------------------------------------------------- */

static bool
grow_scratch(struct hub *hub, uint64_t words, GError **error) REQUIRES(hub->lock)
{
    uint64_t *grown = hub->scratch ? g_try_realloc_n(hub->scratch, words, sizeof *grown) : NULL;

    if (hub->scratch && !grown)
        return fail_words(words, error);
    hub->scratch = grown;
    hub->scratch_words = grown ? words : 0;
    return true;
}

static void
drop_words(struct hub *hub, unsigned index)
{
    for (unsigned i = 0; i < SLOTS; i++) {
        if (hub->slots[i].words)
            g_clear_pointer(&hub->slots[i].words[index], g_free);
    }
}

/* Bitmaps of a block that is not in the map yet, all of it dirty, for each slot that has any. */
static bool
add_words(struct hub *hub, const struct block *b, unsigned index, GError **error) REQUIRES(hub->lock)
{
    uint64_t words = WORDS_FOR(b->page_count);

    if (words > hub->scratch_words && !grow_scratch(hub, words, error))
        return false;
    for (unsigned i = 0; i < SLOTS; i++) {
        _Atomic uint64_t **all = hub->slots[i].words;

        if (!all)
            continue;
        all[index] = g_try_malloc0_n(words, sizeof(uint64_t));
        if (!all[index])
            return fail_words(words, error);
        bits_set_atomic(all[index], 0, b->page_count);
    }
    return true;
}

bool
hub_add_block(struct hub *hub, const struct block *b, bool (*change)(void *self, GError **error), void *self,
              GError **error)
{
    unsigned index = hub->map->blocks->len;
    bool ok;

    if (index == BLOCKS_MAX)
        return fail(error, NUMON_ERROR_LIMIT, "cannot add '%s': a machine has %d blocks of memory at most", b->name,
                    BLOCKS_MAX);
    lock_take(&hub->lock);
    ok = add_words(hub, b, index, error) && change(self, error);
    if (!ok)
        drop_words(hub, index);
    lock_drop(&hub->lock);
    return ok;
}

bool
hub_remove_block(struct hub *hub, unsigned index, bool (*change)(void *self, GError **error), void *self,
                 GError **error)
{
    bool ok;

    lock_take(&hub->lock);
    ok = change(self, error);
    if (ok)
        drop_words(hub, index);
    for (unsigned i = 0; ok && i < SLOTS; i++) {
        _Atomic uint64_t **all = hub->slots[i].words;

        for (unsigned n = index; all && n < BLOCKS_MAX - 1; n++)
            all[n] = all[n + 1];
        if (all)
            all[BLOCKS_MAX - 1] = NULL;
    }
    lock_drop(&hub->lock);
    return ok;
}

_Atomic uint64_t *
subscriber_words(struct subscriber *s, const struct block *b)
{
    return s->words[b->index];
}

/* --- collecting and clearing ------------------------------------------------------------------------------------ */

/* Lets the log report the next write to each page set in 'words', a run of them at a time. */
static bool
clear_runs(struct hub *hub, struct block *b, const uint64_t *words, GError **error)
{
    uint64_t first = bits_next(words, b->page_count, 0);

    while (first < b->page_count) {
        uint64_t end = bits_next_clear(words, b->page_count, first);

        if (!hub->source.clear(hub->source.self, b, first, end - first, error))
            return false;
        first = bits_next(words, b->page_count, end);
    }
    return true;
}

static void
give_to_all(struct hub *hub, const struct block *b, const uint64_t *words)
{
    uint64_t active = active_mask(hub);

    for (; active; active &= active - 1) {
        _Atomic uint64_t *to = hub->slots[__builtin_ctzll(active)].words[b->index];

        for (uint64_t i = 0; i < WORDS_FOR(b->page_count); i++)
            if (words[i])
                atomic_fetch_or_explicit(&to[i], words[i], memory_order_release);
    }
}

static bool
collect_block(struct hub *hub, struct block *b, GError **error) REQUIRES(hub->lock)
{
    bits_clear(hub->scratch, 0, b->page_count);
    if (!hub->source.collect(hub->source.self, b, hub->scratch, error))
        return false;
    if (atomic_load(&hub->shared_late) && !clear_runs(hub, b, hub->scratch, error))
        return false;
    give_to_all(hub, b, hub->scratch);
    return true;
}

static bool
collect_all(struct hub *hub, GError **error)
{
    if (!hub->source.collect)
        return true;
    for (unsigned i = 0; i < hub->map->blocks->len; i++)
        if (!collect_block(hub, block_at(hub, i), error))
            return false;
    return true;
}

bool
hub_sync(struct hub *hub, GError **error)
{
    bool ok = true;

    lock_take(&hub->lock);
    if (hub->count)
        ok = collect_all(hub, error);
    lock_drop(&hub->lock);
    return ok;
}

/* Takes the bits of one word that lie in [first, first + count). */
static uint64_t
take_word(_Atomic uint64_t *words, uint64_t first, uint64_t count)
{
    uint64_t mask = (count < 64 ? (UINT64_C(1) << count) - 1 : UINT64_MAX) << first % 64;

    if (!(atomic_load_explicit(&words[first / 64], memory_order_relaxed) & mask))
        return 0;
    return atomic_fetch_and_explicit(&words[first / 64], ~mask, memory_order_acquire) & mask;
}

/* Lets a log that protects late report the next write to the pages set in 'taken', pages of word 'word'.  Only to
 * these: another page of the range may have been written since the last sync, and would be forgotten. */
static bool
clear_word(struct hub *hub, struct block *b, uint64_t word, uint64_t taken, GError **error)
{
    while (taken) {
        unsigned first = (unsigned)__builtin_ctzll(taken);
        uint64_t rest = ~(taken >> first);
        unsigned count = rest ? (unsigned)__builtin_ctzll(rest) : 64;

        count = MIN(count, 64 - first);
        if (!hub->source.clear(hub->source.self, b, word * 64 + first, count, error))
            return false;
        taken &= ~((count < 64 ? (UINT64_C(1) << count) - 1 : UINT64_MAX) << first);
    }
    return true;
}

/* hub_clear's work; 'below': reaches down to the log, under the lock. */
static bool
clear_range(struct hub *hub, struct subscriber *s, struct block *b, uint64_t first, uint64_t count, bool below,
            uint64_t *ret_set, GError **error)
{
    uint64_t set = 0;

    while (count) {
        uint64_t here = MIN(count, 64 - first % 64);
        uint64_t taken = take_word(s->words[b->index], first, here);

        set += (unsigned)__builtin_popcountll(taken);
        if (below && !clear_word(hub, b, first / 64, taken, error))
            return false;
        first += here;
        count -= here;
    }
    *ret_set = set;
    return true;
}

bool
hub_clear(struct hub *hub, struct subscriber *s, struct block *b, uint64_t first, uint64_t count, uint64_t *ret_set,
          GError **error)
{
    bool ok;

    g_assert(first <= b->page_count && count <= b->page_count - first);
    if (!hub->source.clear)
        return clear_range(hub, s, b, first, count, false, ret_set, error);
    lock_take(&hub->lock);
    ok = clear_range(hub, s, b, first, count, !atomic_load(&hub->shared_late), ret_set, error);
    lock_drop(&hub->lock);
    return ok;
}

/* --- marking ---------------------------------------------------------------------------------------------------- */

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
