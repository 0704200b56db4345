/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The dirty hub: nobody takes a page from another, no write is missed whatever its moment, with real threads. */
#include "memory.h"

enum { PAGES = 256, ROUNDS = 20000 };

/* A log that protects late, as KVM's with manual protection: a page is reported until cleared, and a write to a page
 * that was not cleared since is not told apart from the earlier one. */
struct fake_log {
    bool on;
    unsigned starts, stops, clears;
    uint64_t words[WORDS_FOR(PAGES)];
};

static bool
fake_start(void *self, GError **error)
{
    struct fake_log *log = self;

    log->on = true;
    log->starts++;
    bits_clear(log->words, 0, PAGES);
    return true;
}

static bool
fake_collect(void *self, struct block *b, uint64_t *words, GError **error)
{
    struct fake_log *log = self;

    for (unsigned i = 0; i < WORDS_FOR(PAGES); i++)
        words[i] |= log->words[i];
    return true;
}

static bool
fake_clear(void *self, struct block *b, uint64_t first, uint64_t count, const uint64_t *words, GError **error)
{
    struct fake_log *log = self;

    g_assert_cmpuint(first % 64, ==, 0);
    log->clears++;
    for (uint64_t i = 0; i < WORDS_FOR(count); i++)
        log->words[first / 64 + i] &= ~words[i];
    return true;
}

static void
fake_stop(void *self)
{
    struct fake_log *log = self;

    log->on = false;
    log->stops++;
}

static struct dirty_source
fake_source(struct fake_log *log)
{
    return (struct dirty_source) { fake_start, fake_collect, fake_clear, fake_stop, log };
}

static struct guest_map *
small_map(struct block **ret_block)
{
    struct guest_map *map = guest_map_new();
    struct backend_options options;

    backend_options_init_default(&options, "ram", PAGES * PAGE_SIZE);
    *ret_block = block_new(&options, NULL);
    g_assert_nonnull(*ret_block);
    guest_map_take_block(map, *ret_block);
    guest_map_add(map, &(struct section) { .gpa = 0, .size = PAGES * PAGE_SIZE, .block = *ret_block, .node = -1 });
    return map;
}

static uint64_t
marked(struct subscriber *s, const struct block *b)
{
    return bits_count_atomic(subscriber_words(s, b), PAGES);
}

static uint64_t
taken(struct hub *hub, struct subscriber *s, struct block *b, uint64_t first, uint64_t count)
{
    uint64_t set = UINT64_MAX;

    g_assert_true(hub_clear(hub, s, b, first, count, &set, NULL));
    return set;
}

static void
marks_reach_every_subscriber(void)
{
    struct block *b;
    g_autoptr(guest_map) map = small_map(&b);
    struct hub *hub = hub_new(map, (struct dirty_source) { 0 });
    struct subscriber *one, *two;

    hub_mark(hub, b, 0, 3);
    g_assert_false(hub_active(hub));
    one = hub_subscribe(hub, "one", NULL);
    two = hub_subscribe(hub, "two", NULL);
    g_assert_cmpuint(marked(one, b), ==, 0);
    hub_mark(hub, b, 60, 10);
    hub_mark_gpa(hub, 5 * PAGE_SIZE + 4095, 2);
    hub_mark_gpa(hub, PAGES * PAGE_SIZE - 1, 1 << 20);
    hub_mark_gpa(hub, UINT64_MAX - 5, 5);
    g_assert_cmpuint(marked(one, b), ==, 13);
    g_assert_cmpuint(taken(hub, one, b, 0, PAGES), ==, 13);
    g_assert_cmpuint(marked(one, b), ==, 0);
    g_assert_cmpuint(marked(two, b), ==, 13);
    hub_unsubscribe(hub, one);
    g_assert_true(hub_active(hub));
    hub_unsubscribe(hub, two);
    g_assert_false(hub_active(hub));
    hub_free(hub);
}

static void
slot_used_again_starts_clear(void)
{
    struct block *b;
    g_autoptr(guest_map) map = small_map(&b);
    struct hub *hub = hub_new(map, (struct dirty_source) { 0 });

    for (unsigned i = 0; i < 40; i++) {
        struct subscriber *s = hub_subscribe(hub, "again", NULL);

        g_assert_nonnull(s);
        g_assert_cmpuint(marked(s, b), ==, 0);
        hub_mark(hub, b, i, 1);
        hub_unsubscribe(hub, s);
    }
    hub_free(hub);
}

static void
too_many_subscribers_are_refused(void)
{
    struct block *b;
    g_autoptr(guest_map) map = small_map(&b);
    struct hub *hub = hub_new(map, (struct dirty_source) { 0 });
    g_autoptr(GError) error = NULL;
    unsigned count = 0;

    while (hub_subscribe(hub, "many", &error))
        count++;
    g_assert_error(error, NUMON_ERROR, NUMON_ERROR_LIMIT);
    g_assert_cmpuint(count, ==, 16);
    hub_free(hub);
}

static void
log_runs_while_somebody_watches(void)
{
    struct block *b;
    g_autoptr(guest_map) map = small_map(&b);
    struct fake_log log = { 0 };
    struct hub *hub = hub_new(map, fake_source(&log));
    struct subscriber *one = hub_subscribe(hub, "one", NULL), *two;

    g_assert_true(log.on);
    bit_set(log.words, 7);
    g_assert_cmpuint(marked(one, b), ==, 0);
    g_assert_true(hub_sync(hub, NULL));
    g_assert_cmpuint(marked(one, b), ==, 1);
    two = hub_subscribe(hub, "two", NULL);
    hub_unsubscribe(hub, one);
    g_assert_true(log.on);
    hub_unsubscribe(hub, two);
    g_assert_false(log.on);
    g_assert_cmpuint(log.starts, ==, 1);
    g_assert_cmpuint(log.stops, ==, 1);
    hub_free(hub);
}

static void
late_log_is_cleared_only_where_a_page_was_taken(void)
{
    struct block *b;
    g_autoptr(guest_map) map = small_map(&b);
    struct fake_log log = { 0 };
    struct hub *hub = hub_new(map, fake_source(&log));
    struct subscriber *one = hub_subscribe(hub, "one", NULL);

    bits_set(log.words, 62, 4);
    g_assert_true(hub_sync(hub, NULL));
    bit_set(log.words, 70);             /* written after the sync: must not be forgotten */
    g_assert_cmpuint(taken(hub, one, b, 0, PAGES), ==, 4);
    g_assert_cmpuint(bits_count(log.words, PAGES), ==, 1);
    g_assert_cmpuint(log.clears, ==, 1);
    g_assert_true(hub_sync(hub, NULL));
    g_assert_cmpuint(taken(hub, one, b, 0, PAGES), ==, 1);
    g_assert_cmpuint(bits_count(log.words, PAGES), ==, 0);
    hub_free(hub);
}

static void
late_log_loses_nothing_between_two_subscribers(void)
{
    struct block *b;
    g_autoptr(guest_map) map = small_map(&b);
    struct fake_log log = { 0 };
    struct hub *hub = hub_new(map, fake_source(&log));
    struct subscriber *one = hub_subscribe(hub, "one", NULL), *two;

    bit_set(log.words, 9);
    g_assert_true(hub_sync(hub, NULL));
    two = hub_subscribe(hub, "two", NULL);
    bit_set(log.words, 9);              /* written again, after the second came */
    g_assert_cmpuint(taken(hub, one, b, 9, 1), ==, 1);
    g_assert_true(hub_sync(hub, NULL));
    g_assert_cmpuint(taken(hub, two, b, 9, 1), ==, 1);
    bit_set(log.words, 9);              /* after the second has read it, before the first does */
    g_assert_cmpuint(taken(hub, one, b, 9, 1), ==, 1);
    g_assert_true(hub_sync(hub, NULL));
    g_assert_cmpuint(marked(one, b), ==, 1);
    g_assert_cmpuint(marked(two, b), ==, 1);
    hub_free(hub);
}

/* --- with threads ----------------------------------------------------------------------------------------------- */

struct race {
    struct hub *hub;
    struct block *block;
    _Atomic bool done;
};

static _Atomic uint64_t *
content(struct block *b, uint64_t page)
{
    return (_Atomic uint64_t *)(b->host + page * PAGE_SIZE);
}

/* Writes pages, then marks: relaxed, so that only the hub's order makes the content visible. */
static void *
write_then_mark(void *data)
{
    struct race *r = data;

    for (uint64_t i = 1; !r->done; i++) {
        uint64_t page = i * 7 % PAGES;

        atomic_store_explicit(content(r->block, page), i, memory_order_relaxed);
        hub_mark(r->hub, r->block, page, 1);
    }
    return NULL;
}

/* What a copier has in the end must be what the writer wrote last. */
static void
copy_marked(struct race *r, struct subscriber *s, uint64_t *copy)
{
    _Atomic uint64_t *words = subscriber_words(s, r->block);

    for (uint64_t page = bits_next_atomic(words, PAGES, 0); page < PAGES;
         page = bits_next_atomic(words, PAGES, page + 1)) {
        taken(r->hub, s, r->block, page, 1);
        copy[page] = atomic_load_explicit(content(r->block, page), memory_order_relaxed);
    }
}

static void
check_copy(struct race *r, const uint64_t *copy)
{
    for (uint64_t page = 0; page < PAGES; page++)
        g_assert_cmpuint(copy[page], ==, *content(r->block, page));
}

/* A copier that subscribes, copies everything, then what is marked, while a second does the same: what each has in
 * the end is what is there.  The first copies are made right after subscribing, where a missed mark would show. */
static void
copier_ends_with_what_was_written(void)
{
    struct block *b;
    g_autoptr(guest_map) map = small_map(&b);
    struct race r = { .hub = hub_new(map, (struct dirty_source) { 0 }), .block = b };
    uint64_t copies[2][PAGES];
    struct thread writer = { 0 };

    for (unsigned round = 0; round < 40; round++) {
        struct subscriber *s[2];

        r.done = false;
        g_assert_true(thread_start(&writer, "writer", write_then_mark, &r, NULL));
        for (unsigned i = 0; i < 2; i++) {
            s[i] = hub_subscribe(r.hub, "copier", NULL);
            for (uint64_t page = 0; page < PAGES; page++)
                copies[i][page] = atomic_load_explicit(content(b, page), memory_order_relaxed);
        }
        for (unsigned i = 0; i < 100; i++)
            copy_marked(&r, s[i % 2], copies[i % 2]);
        r.done = true;
        thread_join(&writer);
        for (unsigned i = 0; i < 2; i++) {
            copy_marked(&r, s[i], copies[i]);
            check_copy(&r, copies[i]);
            hub_unsubscribe(r.hub, s[i]);
        }
    }
    hub_free(r.hub);
}

/* One write at a time, met by a reader at the same moment. */
struct meeting {
    struct race *race;
    _Atomic uint64_t go, met;       /* rounds begun and written; go is UINT64_MAX at the end */
    int64_t deadline_us;            /* a busy host meets less often */
};

static void
write_and_mark(struct race *r, uint64_t value)
{
    atomic_store_explicit(content(r->block, 3), value, memory_order_relaxed);
    hub_mark(r->hub, r->block, 3, 1);
}

static void *
write_at_meeting(void *data)
{
    struct meeting *m = data;
    uint64_t go = 0;

    for (uint64_t i = 1;; i++) {
        for (unsigned turn = 1; (go = atomic_load_explicit(&m->go, memory_order_acquire)) < i; turn++)
            if (turn % 1024 == 0)
                g_thread_yield();
        if (go == UINT64_MAX)
            return NULL;
        write_and_mark(m->race, i);
        atomic_store_explicit(&m->met, i, memory_order_release);
    }
}

static void
meeting_begin(struct meeting *m, struct race *r, struct thread *writer)
{
    *m = (struct meeting) { .race = r, .deadline_us = g_get_monotonic_time() + G_USEC_PER_SEC / 2 };
    g_assert_true(thread_start(writer, "writer", write_at_meeting, m, NULL));
}

/* Begins round i unless there were enough or time is up. */
static bool
meeting_next(struct meeting *m, uint64_t i)
{
    if (i > ROUNDS || g_get_monotonic_time() > m->deadline_us)
        return false;
    atomic_store_explicit(&m->go, i, memory_order_release);
    return true;
}

static void
meeting_end(struct meeting *m, struct thread *writer)
{
    atomic_store_explicit(&m->go, UINT64_MAX, memory_order_release);
    thread_join(writer);
}

static uint64_t
read_content(struct race *r)
{
    return atomic_load_explicit(content(r->block, 3), memory_order_relaxed);
}

static void
clear_and_read(struct race *r, struct subscriber *s, uint64_t *seen)
{
    uint64_t set = taken(r->hub, s, r->block, 3, 1);

    if (set)
        *seen = read_content(r);
}

static bool
has_met(struct meeting *m, uint64_t i)
{
    return atomic_load_explicit(&m->met, memory_order_acquire) >= i;
}

static void
subscribe_at_meeting(struct meeting *m, uint64_t i)
{
    struct subscriber *s = hub_subscribe(m->race->hub, "meets", NULL);
    uint64_t seen = read_content(m->race);

    while (!has_met(m, i))
        g_thread_yield();
    g_assert_true(seen == i || marked(s, m->race->block) == 1);
    hub_unsubscribe(m->race->hub, s);
}

/* The subscriber has the content or the mark, however the two moments fall. */
static void
write_that_meets_a_subscription_is_seen(void)
{
    struct block *b;
    g_autoptr(guest_map) map = small_map(&b);
    struct race r = { .hub = hub_new(map, (struct dirty_source) { 0 }), .block = b };
    struct meeting m;
    struct thread writer = { 0 };

    meeting_begin(&m, &r, &writer);
    for (uint64_t i = 1; meeting_next(&m, i); i++)
        subscribe_at_meeting(&m, i);
    meeting_end(&m, &writer);
    hub_free(r.hub);
}

/* A reader that clears first and reads then, again and again: in the end it has the content or the mark. */
static void
write_that_meets_a_reader_is_seen(void)
{
    struct block *b;
    g_autoptr(guest_map) map = small_map(&b);
    struct race r = { .hub = hub_new(map, (struct dirty_source) { 0 }), .block = b };
    struct meeting m;
    struct subscriber *s = hub_subscribe(r.hub, "meets", NULL);
    struct thread writer = { 0 };
    uint64_t seen = 0;

    meeting_begin(&m, &r, &writer);
    for (uint64_t i = 1; meeting_next(&m, i); i++) {
        for (unsigned turn = 1; !has_met(&m, i); turn++) {
            clear_and_read(&r, s, &seen);
            if (turn % 1024 == 0)
                g_thread_yield();
        }
        g_assert_true(seen == i || marked(s, b) == 1);
    }
    meeting_end(&m, &writer);
    hub_free(r.hub);
}

/* --- blocks that come and go ------------------------------------------------------------------------------------ */

struct change {
    struct guest_map *map;
    struct block *block;
    bool refuse;
};

static bool
put_block(void *self, GError **error)
{
    struct change *c = self;

    if (c->refuse)
        return fail(error, NUMON_ERROR_HOST, "refused");
    guest_map_take_block(c->map, c->block);
    guest_map_add(c->map, &(struct section) { .gpa = GIB + (uint64_t)c->block->index * GIB, .size = c->block->size,
                                              .block = c->block, .node = -1 });
    return true;
}

static bool
take_block(void *self, GError **error)
{
    struct change *c = self;

    block_free(guest_map_remove_block(c->map, c->block));
    return true;
}

static struct block *
new_block(const char *id, unsigned pages)
{
    struct backend_options options;

    backend_options_init_default(&options, id, pages * PAGE_SIZE);
    return block_new(&options, NULL);
}

static void
blocks_come_dirty_and_go(void)
{
    struct block *ram, *first = new_block("first", 2 * PAGES), *second = new_block("second", PAGES);
    struct guest_map *map = small_map(&ram);
    struct hub *hub = hub_new(map, (struct dirty_source) { 0 });
    struct subscriber *s = hub_subscribe(hub, "test", NULL);
    struct change c = { .map = map, .block = first, .refuse = true };
    g_autoptr(GError) error = NULL;

    g_assert_false(hub_add_block(hub, first, put_block, &c, &error));
    g_assert_cmpuint(map->blocks->len, ==, 1);
    c.refuse = false;
    g_assert_true(hub_add_block(hub, first, put_block, &c, NULL));
    g_assert_cmpuint(bits_count_atomic(subscriber_words(s, first), 2 * PAGES), ==, 2 * PAGES);
    g_assert_cmpuint(marked(s, ram), ==, 0);
    c.block = second;
    g_assert_true(hub_add_block(hub, second, put_block, &c, NULL));
    g_assert_cmpuint(taken(hub, s, second, 0, PAGES), ==, PAGES);
    hub_mark(hub, second, 7, 1);
    hub_mark(hub, ram, 3, 2);
    c.block = first;
    g_assert_true(hub_remove_block(hub, first->index, take_block, &c, NULL));
    g_assert_cmpuint(second->index, ==, 1);
    g_assert_cmpuint(marked(s, second), ==, 1);
    g_assert_cmpuint(bits_next_atomic(subscriber_words(s, second), PAGES, 0), ==, 7);
    g_assert_cmpuint(marked(s, ram), ==, 2);
    g_assert_null(guest_map_find(map, 2 * GIB));
    g_assert_nonnull(guest_map_find(map, 3 * GIB));
    hub_unsubscribe(hub, s);
    hub_free(hub);
    guest_map_free(map);
}

static void
no_block_goes_while_writers_are_remembered(void)
{
    struct block *ram, *more = new_block("more", PAGES);
    struct guest_map *map = small_map(&ram);
    struct hub *hub = hub_new(map, (struct dirty_source) { .tells_cpus = true });
    struct subscriber *s = hub_subscribe(hub, "test", NULL), *other = hub_subscribe(hub, "other", NULL);
    struct change c = { .map = map, .block = more };
    g_autoptr(GError) error = NULL;

    g_assert_true(hub_add_block(hub, more, put_block, &c, NULL));
    g_assert_true(subscriber_watch_writers(hub, s, NULL));
    hub_wrote(hub, more, PAGES - 1, 3);
    g_assert_false(hub_remove_block(hub, more->index, take_block, &c, &error));
    g_assert_error(error, NUMON_ERROR, NUMON_ERROR_STATE);
    g_assert_cmpuint(map->blocks->len, ==, 2);
    g_assert_cmpint(subscriber_writer(s, more, PAGES - 1), ==, 3);
    hub_unsubscribe(hub, s);
    g_assert_true(hub_remove_block(hub, more->index, take_block, &c, NULL));
    hub_wrote(hub, ram, 0, 3);
    hub_unsubscribe(hub, other);
    hub_free(hub);
    guest_map_free(map);
}

int
main(int argc, char **argv)
{
    main_thread_claim();
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/hub/marks-reach-every-subscriber", marks_reach_every_subscriber);
    g_test_add_func("/hub/slot-used-again-starts-clear", slot_used_again_starts_clear);
    g_test_add_func("/hub/no-block-goes-while-writers-are-remembered", no_block_goes_while_writers_are_remembered);
    g_test_add_func("/hub/too-many-subscribers-are-refused", too_many_subscribers_are_refused);
    g_test_add_func("/hub/log-runs-while-somebody-watches", log_runs_while_somebody_watches);
    g_test_add_func("/hub/late-log-is-cleared-only-where-taken", late_log_is_cleared_only_where_a_page_was_taken);
    g_test_add_func("/hub/late-log-loses-nothing-between-two", late_log_loses_nothing_between_two_subscribers);
    g_test_add_func("/hub/copier-ends-with-what-was-written", copier_ends_with_what_was_written);
    g_test_add_func("/hub/write-that-meets-a-subscription", write_that_meets_a_subscription_is_seen);
    g_test_add_func("/hub/write-that-meets-a-reader", write_that_meets_a_reader_is_seen);
    g_test_add_func("/hub/blocks-come-dirty-and-go", blocks_come_dirty_and_go);
    return g_test_run();
}
