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
 * A log that protects late (the source has 'clear') goes on reporting a page, which the guest may write at will,
 * until the page is cleared there.  'late' has a bit for each page that was collected and not cleared since.  The
 * rule that keeps every write: while a page is late, its bit is set in every active subscriber.  Collecting sets
 * both.  The first subscriber that takes its bit clears the page below before it reads it, and the page is late no
 * more: what was written until then it sees, and the others have their bits still; what is written from then on is
 * reported to all.  So a page that is not late is never cleared below, however many subscribers take their bit of it:
 * a write that nobody has collected yet cannot be forgotten.
 *   Pages are cleared a chunk of CHUNK_PAGES at a time, which is a system call for each chunk and not for each page;
 * of the chunk only pages that are late, for which the rule holds: their bits stay set, at worst a page is reported
 * once more.  Those that are not there need not be cleared: asleep.c.  A subscriber that starts with clear bitmaps
 * breaks the rule for pages that are late; so all of these are cleared below before it comes.  One that starts with
 * all bits set keeps it, and a log that 'starts_full' begins with all pages late, none protected: what a migration's
 * first pass wants. */
#include "memory-private.h"

enum { CHUNK_PAGES = 4096 };        /* 16 MiB: about 100 us of KVM's time if all are to be protected */

const char *const dirty_log_names[] = { "auto", "bitmap", "manual", "ring", NULL };

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
    lock_take(&hub->lock);
    hub->presence.pagemap = -1;
    lock_drop(&hub->lock);
    return hub;
}

static void
free_words(struct hub *hub, struct subscriber *s)
{
    for (unsigned i = 0; s->words && i < hub->map->blocks->len; i++)
        g_free(s->words[i]);
    for (unsigned i = 0; s->writers && i < hub->map->blocks->len; i++)
        g_free(s->writers[i]);
    g_clear_pointer(&s->words, g_free);
    g_clear_pointer(&s->writers, g_free);
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
    for (unsigned i = 0; hub->late && i < hub->map->blocks->len; i++) {
        g_free(hub->late[i]);
        g_free(hub->asleep[i]);
    }
    g_free(hub->late);
    g_free(hub->asleep);
    presence_release(&hub->presence);
    lock_drop(&hub->lock);
    for (unsigned i = 0; i < SLOTS; i++)
        free_words(hub, &hub->slots[i]);
    lock_release(&hub->lock);
    g_free(hub->gates_memory);
    g_free(hub);
}

/* --- subscribers ------------------------------------------------------------------------------------------------ */

bool
hub_active(const struct hub *hub)
{
    return hub_active_mask(hub) != 0;
}

int
hub_dirty(struct hub *hub, const struct block *b, uint64_t page)
{
    uint64_t active = hub_active_mask(hub);

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

/* 'late' and 'asleep' for the blocks that have none yet. */
static bool
allocate_late(struct hub *hub, GError **error) REQUIRES(hub->lock)
{
    if (!hub->source.clear)
        return true;
    if (!hub->late) {
        hub->late = g_new0(uint64_t *, BLOCKS_MAX);
        hub->asleep = g_new0(uint64_t *, BLOCKS_MAX);
    }
    for (unsigned i = 0; i < hub->map->blocks->len; i++) {
        uint64_t words = WORDS_FOR(block_at(hub, i)->page_count);

        if (!hub->late[i])
            hub->late[i] = g_try_malloc0_n(words, sizeof(uint64_t));
        if (!hub->asleep[i])
            hub->asleep[i] = g_try_malloc0_n(words, sizeof(uint64_t));
        if (!hub->late[i] || !hub->asleep[i])
            return fail_words(words, error);
    }
    return true;
}

static bool
allocate_scratch(struct hub *hub, GError **error) REQUIRES(hub->lock)
{
    uint64_t most = 0;

    for (unsigned i = 0; i < hub->map->blocks->len; i++)
        most = MAX(most, WORDS_FOR(block_at(hub, i)->page_count));
    if (!hub->scratch) {
        hub->scratch = g_try_new0(uint64_t, 2 * MAX(most, 1));
        hub->scratch_words = hub->scratch ? MAX(most, 1) : 0;
    }
    if (hub->presence.pagemap < 0)
        presence_init(&hub->presence);
    return (hub->scratch || fail_words(most, error)) && allocate_late(hub, error);
}

/* Gives the slot clear bitmaps.  The array of them is made for every block that may come: who marks reads it without
 * the lock. */
static bool
prepare_slot(struct hub *hub, struct subscriber *s, GError **error)
{
    if (!s->words)
        s->words = g_new0(_Atomic uint64_t *, BLOCKS_MAX);
    atomic_store(&s->watches, false);
    for (unsigned cpu = 0; cpu < HUB_CPUS; cpu++)
        atomic_store_explicit(&s->cpu_pages[cpu], 0, memory_order_relaxed);
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
    uint64_t free_mask = ~hub_active_mask(hub) & ((UINT64_C(1) << SLOTS) - 1);
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

static bool collect_all(struct hub *hub, GError **error) REQUIRES(hub->lock);
static bool clear_late(struct hub *hub, GError **error) REQUIRES(hub->lock);

static void
fill_late(struct hub *hub) REQUIRES(hub->lock)
{
    for (unsigned i = 0; hub->late && i < hub->map->blocks->len; i++) {
        struct block *b = block_at(hub, i);

        bits_clear(hub->late[i], 0, b->page_count);
        bits_clear(hub->asleep[i], 0, b->page_count);
        if (hub->source.starts_full)
            bits_set(hub->late[i], 0, b->page_count);
    }
}

static void
fill_words(struct hub *hub, struct subscriber *s)
{
    for (unsigned i = 0; i < hub->map->blocks->len; i++)
        bits_set_atomic(s->words[i], 0, block_at(hub, i)->page_count);
}

/* The first subscriber switches the log on.  Pages that are late, and what the log has for the subscribers that are
 * there, must not be left to one that starts with clear bitmaps. */
static bool
start_logging(struct hub *hub, bool full, GError **error) REQUIRES(hub->lock)
{
    bool first = hub->count == 0;

    if (first && hub->source.start && !hub->source.start(hub->source.self, error))
        return false;
    if (first)
        fill_late(hub);
    if (full || ((first || collect_all(hub, error)) && clear_late(hub, error)))
        return true;
    if (first && hub->source.stop)
        hub->source.stop(hub->source.self);
    return false;
}

static struct subscriber *
subscribe(struct hub *hub, const char *who, bool full, GError **error)
{
    struct subscriber *s;

    lock_take(&hub->lock);
    s = free_slot(hub, who, error);
    if (s && !(allocate_scratch(hub, error) && prepare_slot(hub, s, error) && start_logging(hub, full, error)))
        s = NULL;
    if (s && full)
        fill_words(hub, s);
    if (s) {
        set_active(hub, s, true);
        hub->count++;
    }
    lock_drop(&hub->lock);
    return s;
}

struct subscriber *
hub_subscribe(struct hub *hub, const char *who, GError **error)
{
    return subscribe(hub, who, false, error);
}

struct subscriber *
hub_subscribe_full(struct hub *hub, const char *who, GError **error)
{
    return subscribe(hub, who, true, error);
}

void
hub_unsubscribe(struct hub *hub, struct subscriber *s)
{
    if (!s)
        return;
    lock_take(&hub->lock);
    set_active(hub, s, false);
    hub->count--;
    if (hub->count == 0 && hub->source.stop)
        hub->source.stop(hub->source.self);
    lock_drop(&hub->lock);
}

/* --- blocks that come and go ------------------------------------------------------------------------------------ */

static bool
grow_scratch(struct hub *hub, uint64_t words, GError **error) REQUIRES(hub->lock)
{
    uint64_t *grown = hub->scratch ? g_try_realloc_n(hub->scratch, 2 * words, sizeof *grown) : NULL;

    if (hub->scratch && !grown)
        return fail_words(words, error);
    hub->scratch = grown;
    hub->scratch_words = grown ? words : 0;
    return true;
}

static void
drop_words(struct hub *hub, unsigned index) REQUIRES(hub->lock)
{
    for (unsigned i = 0; i < SLOTS; i++) {
        if (hub->slots[i].words)
            g_clear_pointer(&hub->slots[i].words[index], g_free);
        if (hub->slots[i].writers)
            g_clear_pointer(&hub->slots[i].writers[index], g_free);
    }
    if (hub->late) {
        g_clear_pointer(&hub->late[index], g_free);
        g_clear_pointer(&hub->asleep[index], g_free);
    }
}

static bool
add_late(struct hub *hub, const struct block *b, unsigned index, GError **error) REQUIRES(hub->lock)
{
    uint64_t words = WORDS_FOR(b->page_count);

    if (!hub->late)
        return true;
    hub->late[index] = g_try_malloc0_n(words, sizeof(uint64_t));
    hub->asleep[index] = g_try_malloc0_n(words, sizeof(uint64_t));
    if (!hub->late[index] || !hub->asleep[index])
        return fail_words(words, error);
    if (hub->source.starts_full)
        bits_set(hub->late[index], 0, b->page_count);
    return true;
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
        if (hub->slots[i].writers)
            hub->slots[i].writers[index] = g_try_malloc0(b->page_count);
    }
    return add_late(hub, b, index, error);
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

/* Those behind the block that went move up. */
static void
close_gap(void **by_block, unsigned index)
{
    for (unsigned n = index; by_block && n < BLOCKS_MAX - 1; n++)
        by_block[n] = by_block[n + 1];
    if (by_block)
        by_block[BLOCKS_MAX - 1] = NULL;
}

/* Who tells of a writer looks into 'writers' without the lock (mark.c). */
static bool
nobody_remembers(const struct hub *hub, unsigned index, GError **error) REQUIRES(hub->lock)
{
    for (uint64_t active = hub_active_mask(hub); active; active &= active - 1) {
        const struct subscriber *s = &hub->slots[__builtin_ctzll(active)];

        if (atomic_load_explicit(&s->watches, memory_order_relaxed))
            return fail(error, NUMON_ERROR_STATE, "cannot take '%s' away: '%s' remembers who writes its pages",
                        block_at(hub, index)->name, s->who);
    }
    return true;
}

bool
hub_remove_block(struct hub *hub, unsigned index, bool (*change)(void *self, GError **error), void *self,
                 GError **error)
{
    bool ok;

    lock_take(&hub->lock);
    ok = nobody_remembers(hub, index, error) && change(self, error);
    if (ok)
        drop_words(hub, index);
    if (ok) {
        for (unsigned i = 0; i < SLOTS; i++) {
            close_gap((void **)hub->slots[i].words, index);
            close_gap((void **)hub->slots[i].writers, index);
        }
        close_gap((void **)hub->late, index);
        close_gap((void **)hub->asleep, index);
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

/* Clears below the pages from 'first' on that are late, 'count' of them looked at; 'first' is a multiple of 64. */
static bool
clear_late_range(struct hub *hub, struct block *b, uint64_t first, uint64_t count, GError **error) REQUIRES(hub->lock)
{
    uint64_t *late = hub->late[b->index] + first / 64;

    if (bits_next(late, count, 0) == count)
        return true;
    if (!hub->source.clear(hub->source.self, b, first, count, late, error))
        return false;
    bits_clear(late, 0, count);
    return true;
}

static bool
clear_late(struct hub *hub, GError **error)
{
    for (unsigned i = 0; hub->late && i < hub->map->blocks->len; i++)
        if (!clear_late_range(hub, block_at(hub, i), 0, block_at(hub, i)->page_count, error))
            return false;
    return true;
}

static void
give_to_all(struct hub *hub, const struct block *b, const uint64_t *words)
{
    uint64_t active = hub_active_mask(hub);

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
    if (hub->asleep && !hub_collect_asleep(hub, b, error))
        return false;
    give_to_all(hub, b, hub->scratch);
    for (uint64_t i = 0; hub->late && i < WORDS_FOR(b->page_count); i++)
        hub->late[b->index][i] |= hub->scratch[i];
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

/* Of the pages of a word that were taken, none may stay late. */
static bool
clear_taken(struct hub *hub, const struct subscriber *s, struct block *b, uint64_t word, uint64_t taken,
            GError **error) REQUIRES(hub->lock)
{
    uint64_t chunk = word * 64 / CHUNK_PAGES * CHUNK_PAGES;

    if (taken)
        hub_wake(hub, s, b, word, taken);
    if (!(hub->late[b->index][word] & taken))
        return true;
    return clear_late_range(hub, b, chunk, MIN(CHUNK_PAGES, b->page_count - chunk), error);
}

/* hub_clear for a log that protects late. */
static bool
clear_below(struct hub *hub, struct subscriber *s, struct block *b, uint64_t first, uint64_t count, uint64_t *ret_set,
            GError **error) REQUIRES(hub->lock)
{
    uint64_t set = 0;

    while (count) {
        uint64_t here = MIN(count, 64 - first % 64);
        uint64_t taken = take_word(s->words[b->index], first, here);

        set += (unsigned)__builtin_popcountll(taken);
        if (!clear_taken(hub, s, b, first / 64, taken, error))
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
    if (!hub->source.clear) {
        *ret_set = bits_take_atomic(s->words[b->index], first, count);
        return true;
    }
    lock_take(&hub->lock);
    ok = clear_below(hub, s, b, first, count, ret_set, error);
    lock_drop(&hub->lock);
    return ok;
}

bool
hub_clear_all(struct hub *hub, struct subscriber *s, GError **error)
{
    bool ok = true;

    lock_take(&hub->lock);
    for (unsigned i = 0; ok && i < hub->map->blocks->len; i++) {
        struct block *b = block_at(hub, i);
        uint64_t set;

        if (hub->source.clear)
            ok = clear_below(hub, s, b, 0, b->page_count, &set, error);
        else
            (void)bits_take_atomic(s->words[i], 0, b->page_count);
    }
    lock_drop(&hub->lock);
    return ok;
}
