/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The dirty hub over a log that protects late, against every order of writes, syncs and readers that come and go; and
 * what it knows of who wrote. */
#include "memory.h"

static uint64_t
taken(struct hub *hub, struct subscriber *s, struct block *b, uint64_t first, uint64_t count)
{
    uint64_t set = UINT64_MAX;

    g_assert_true(hub_clear(hub, s, b, first, count, &set, NULL));
    return set;
}

static struct guest_map *
small_map(struct block **ret_block, uint64_t pages)
{
    struct guest_map *map = guest_map_new();
    struct backend_options options;

    backend_options_init_default(&options, "ram", pages * PAGE_SIZE);
    *ret_block = block_new(&options, NULL);
    g_assert_nonnull(*ret_block);
    guest_map_take_block(map, *ret_block);
    return map;
}

enum { LATE_PAGES = 4096 + 300, READERS = 4, STEPS = 6000, YOUNG_SCENES = 60, YOUNG_STEPS = 60 };

/* Page by page what KVM does: a page is reported from its first write on until it is cleared, and only a page that
 * was cleared since is protected, so that a write to it is noticed. */
struct late_log {
    bool reported[LATE_PAGES], protected[LATE_PAGES];
    bool starts_full;
    struct scene *scene;            /* its guest writes to pages that are about to be cleared; NULL: it does not */
};
static void scene_write(struct scene *s, unsigned page);

static bool
late_start(void *self, GError **error)
{
    struct late_log *log = self;

    for (unsigned i = 0; i < LATE_PAGES; i++) {
        log->reported[i] = log->starts_full;
        log->protected[i] = !log->starts_full;
    }
    return true;
}

static bool
late_collect(void *self, struct block *b, uint64_t *words, GError **error)
{
    for (unsigned i = 0; i < LATE_PAGES; i++)
        if (((struct late_log *)self)->reported[i])
            bit_set(words, i);
    return true;
}

static bool
late_clear(void *self, struct block *b, uint64_t first, uint64_t count, const uint64_t *words, GError **error)
{
    struct late_log *log = self;

    g_assert_cmpuint(first % 64, ==, 0);
    g_assert_cmpuint(first + count, <=, LATE_PAGES);
    for (uint64_t i = 0; i < count; i++) {
        if (!bit_test(words, i))
            continue;
        if (log->scene && g_test_rand_int_range(0, 50) == 0)
            scene_write(log->scene, (unsigned)(first + i));
        log->reported[first + i] = false;
        log->protected[first + i] = true;
    }
    return true;
}

static void
late_stop(void *self)
{
}

/* A reader has of each page the version it read last; right after a subscription that starts clear it reads all. */
struct reader {
    struct subscriber *subscriber;      /* NULL: it does not watch */
    unsigned seen[LATE_PAGES];
};

struct scene {
    struct late_log log;
    struct hub *hub;
    struct block *block;
    unsigned version[LATE_PAGES];
    struct reader readers[READERS];
};

/* The version stands in the page too: one that was never written is not there. */
static void
scene_write(struct scene *s, unsigned page)
{
    *(unsigned *)(void *)(s->block->host + page * PAGE_SIZE) = ++s->version[page];
    if (s->log.protected[page]) {
        s->log.protected[page] = false;
        s->log.reported[page] = true;
    }
}

static void
scene_come_or_go(struct scene *s, struct reader *r)
{
    bool full = g_test_rand_bit();

    if (r->subscriber) {
        hub_unsubscribe(s->hub, g_steal_pointer(&r->subscriber));
        return;
    }
    r->subscriber = (full ? hub_subscribe_full : hub_subscribe)(s->hub, "reader", NULL);
    g_assert_nonnull(r->subscriber);
    for (unsigned i = 0; i < LATE_PAGES; i++)
        r->seen[i] = full ? UINT_MAX : s->version[i];
}

static void
scene_read(struct scene *s, struct reader *r, unsigned first, unsigned count)
{
    _Atomic uint64_t *words = r->subscriber ? subscriber_words(r->subscriber, s->block) : NULL;

    for (unsigned page = first; words && page < MIN(first + count, LATE_PAGES); page++) {
        if (!(words[page / 64] >> page % 64 & 1))
            continue;
        taken(s->hub, r->subscriber, s->block, page, 1);
        if (g_test_rand_bit())
            scene_write(s, page);       /* between the clear and the read */
        r->seen[page] = s->version[page];
    }
}

/* Of pages that are not there it believes what it is told.  The guest writes some before, between and after. */
static void
scene_read_there(struct scene *s, struct reader *r, unsigned first, unsigned count)
{
    uint64_t absent[WORDS_FOR(LATE_PAGES)], set;

    count = MIN(count, LATE_PAGES - first);
    if (!r->subscriber)
        return;
    g_assert_true(hub_clear_there(s->hub, r->subscriber, s->block, first, count, absent, &set, NULL));
    for (unsigned i = 0; i < count; i++) {
        if (g_test_rand_int_range(0, 100) == 0)
            scene_write(s, first + i);
        r->seen[first + i] = bit_test(absent, i) ? 0 : s->version[first + i];
    }
}

/* After a sync each reader has seen each page as it is, or has its bit. */
static void
scene_check(struct scene *s)
{
    g_assert_true(hub_sync(s->hub, NULL));
    for (unsigned i = 0; i < READERS; i++) {
        struct reader *r = &s->readers[i];
        _Atomic uint64_t *words = r->subscriber ? subscriber_words(r->subscriber, s->block) : NULL;

        for (unsigned page = 0; words && page < LATE_PAGES; page++)
            g_assert_true(r->seen[page] == s->version[page] || words[page / 64] >> page % 64 & 1);
    }
}

/* Half of the pages are near the border of two chunks. */
static unsigned
scene_page(void)
{
    return g_test_rand_bit() ? (unsigned)g_test_rand_int_range(4096 - 100, 4096 + 100)
                             : (unsigned)g_test_rand_int_range(0, LATE_PAGES);
}

static void
scene_step(struct scene *s)
{
    struct reader *r = &s->readers[g_test_rand_int_range(0, READERS)];

    switch (g_test_rand_int_range(0, 16)) {
    case 0:
        scene_come_or_go(s, r);
        break;
    case 1: case 2: case 3:
        scene_check(s);
        break;
    case 4: case 5: case 6: case 7:
        scene_read(s, r, scene_page(), (unsigned)g_test_rand_int_range(1, 300));
        break;
    case 8: case 9:
        scene_read_there(s, r, (unsigned)g_test_rand_int_range(0, LATE_PAGES),
                         (unsigned)g_test_rand_int_range(1, 3000));
        break;
    default:
        for (unsigned i = 0; i < 20; i++)
            scene_write(s, scene_page());
    }
}

static void
play_scene(bool starts_full, unsigned steps)
{
    struct scene *s = g_new0(struct scene, 1);
    struct guest_map *map = small_map(&s->block, LATE_PAGES);

    s->log.starts_full = starts_full;
    s->log.scene = s;
    s->hub = hub_new(map, (struct dirty_source) { late_start, late_collect, late_clear, late_stop, &s->log,
                                                  .starts_full = starts_full });
    for (unsigned i = 0; i < steps; i++)
        scene_step(s);
    scene_check(s);
    hub_free(s->hub);
    guest_map_free(map);
    g_free(s);
}

static void
late_log_keeps_every_write_in_every_order(void)
{
    play_scene(false, STEPS);
    play_scene(true, STEPS);
}

/* As long as most of them are not there. */
static void
pages_that_come_are_noticed_in_every_order(void)
{
    for (unsigned i = 0; i < YOUNG_SCENES; i++)
        play_scene(i % 4 != 0, YOUNG_STEPS);
}

/* A migration's first pass over memory that nobody touched asks nothing of the log; a page that comes later does. */
static void
pages_not_there_are_not_cleared_below(void)
{
    struct scene *s = g_new0(struct scene, 1);
    struct guest_map *map = small_map(&s->block, LATE_PAGES);
    uint64_t absent[WORDS_FOR(LATE_PAGES)], set;

    s->log.starts_full = true;
    s->hub = hub_new(map, (struct dirty_source) { late_start, late_collect, late_clear, late_stop, &s->log,
                                                  .starts_full = true });
    struct subscriber *one = hub_subscribe_full(s->hub, "one", NULL), *two = hub_subscribe_full(s->hub, "two", NULL);
    _Atomic uint64_t *words = subscriber_words(one, s->block), *others = subscriber_words(two, s->block);
    /* In two parts that share a word. */
    g_assert_true(hub_clear_there(s->hub, one, s->block, 0, 990, absent, &set, NULL));
    g_assert_cmpuint(bits_next_clear(absent, 990, 0), ==, 990);
    g_assert_true(hub_clear_there(s->hub, one, s->block, 990, LATE_PAGES - 990, absent, &set, NULL));
    g_assert_cmpuint(set, ==, LATE_PAGES - 990);
    g_assert_cmpuint(bits_next_clear(absent, LATE_PAGES - 990, 0), ==, LATE_PAGES - 990);
    g_assert_true(hub_sync(s->hub, NULL));
    g_assert_cmpuint(bits_count_atomic(words, LATE_PAGES), ==, 0);
    for (unsigned i = 0; i < LATE_PAGES; i++)
        g_assert_false(s->log.protected[i]);
    scene_write(s, 3000);
    g_assert_true(hub_sync(s->hub, NULL));
    g_assert_cmpuint(bits_count_atomic(words, LATE_PAGES), ==, 1);
    g_assert_true(words[3000 / 64] >> 3000 % 64 & 1);
    g_assert_true(s->log.protected[3000] && !s->log.protected[LATE_PAGES - 1]);
    /* Another reader that looks wakes it, and the first is told. */
    g_assert_cmpuint(taken(s->hub, two, s->block, 980, 1), ==, 1);
    g_assert_true(s->log.protected[980] && !s->log.protected[LATE_PAGES - 1]);
    g_assert_cmpuint(bits_count_atomic(words, LATE_PAGES), ==, 2);
    g_assert_cmpuint(bits_count_atomic(others, LATE_PAGES), ==, LATE_PAGES - 1);
    hub_free(s->hub);
    guest_map_free(map);
    g_free(s);
}

/* --- who wrote -------------------------------------------------------------------------------------------------- */

static void
writers_are_counted_and_remembered(void)
{
    struct block *b;
    g_autoptr(guest_map) map = small_map(&b, 256);
    struct hub *hub = hub_new(map, (struct dirty_source) { .tells_cpus = true });
    struct subscriber *one = hub_subscribe(hub, "one", NULL), *two = hub_subscribe(hub, "two", NULL);

    g_assert_true(hub_tells_cpus(hub));
    g_assert_true(hub_mark_by(hub, b, 5, 2));
    g_assert_cmpint(subscriber_writer(one, b, 5), ==, -1);
    g_assert_true(subscriber_watch_writers(hub, one, NULL));
    g_assert_false(hub_mark_by(hub, b, 5, 3));          /* still dirty for both: not counted again */
    g_assert_cmpuint(taken(hub, one, b, 5, 1), ==, 1);
    g_assert_true(hub_mark_by(hub, b, 5, 3));
    g_assert_cmpuint(subscriber_cpu_pages(one, 2), ==, 1);
    g_assert_cmpuint(subscriber_cpu_pages(one, 3), ==, 1);
    g_assert_cmpuint(subscriber_cpu_pages(two, 3), ==, 0);
    g_assert_cmpint(subscriber_writer(one, b, 5), ==, 3);
    g_assert_cmpint(subscriber_writer(two, b, 5), ==, -1);
    hub_wrote(hub, b, 6, 200);
    g_assert_cmpuint(subscriber_cpu_pages(two, 200), ==, 1);
    g_assert_cmpint(subscriber_writer(one, b, 6), ==, 200);
    g_assert_cmpuint(subscriber_cpu_pages(two, HUB_CPUS), ==, 0);
    hub_unsubscribe(hub, one);
    one = hub_subscribe(hub, "again", NULL);
    g_assert_cmpuint(subscriber_cpu_pages(one, 3), ==, 0);
    g_assert_cmpint(subscriber_writer(one, b, 5), ==, -1);
    hub_free(hub);
}

int
main(int argc, char **argv)
{
    main_thread_claim();
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/hub-late/every-write-is-kept-in-every-order", late_log_keeps_every_write_in_every_order);
    g_test_add_func("/hub-late/pages-that-come-are-noticed-in-every-order",
                    pages_that_come_are_noticed_in_every_order);
    g_test_add_func("/hub-late/pages-not-there-are-not-cleared-below", pages_not_there_are_not_cleared_below);
    g_test_add_func("/hub-late/writers-are-counted-and-remembered", writers_are_counted_and_remembered);
    return g_test_run();
}
