/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The recording of a migration: what its rounds, shares and parts must add up to. */
#include "migrate-fake.h"

#include <string.h>

#include "../../src/migrate/migrate-private.h"

enum { MIDDLE = 256 * PAGE_SIZE, SMALL = 64 * PAGE_SIZE };

static void
a_round_is_judged_by_what_remains(void)
{
    g_assert_cmpint(round_verdict(1000, 900, 0), ==, VERDICT_CONVERGING);
    g_assert_cmpint(round_verdict(1000, 949, 0), ==, VERDICT_CONVERGING);
    g_assert_cmpint(round_verdict(1000, 950, 0), ==, VERDICT_STALLED);
    g_assert_cmpint(round_verdict(1000, 1050, 0), ==, VERDICT_STALLED);
    g_assert_cmpint(round_verdict(1000, 1051, 0), ==, VERDICT_DIVERGING);
    g_assert_cmpint(round_verdict(1000, 2000, 2000), ==, VERDICT_CONVERGING);
    g_assert_cmpint(round_verdict(0, 0, 0), ==, VERDICT_CONVERGING);
}

static struct migrate_round
sum_of(const GArray *rounds)
{
    struct migrate_round sum = { 0 };

    for (unsigned i = 0; i < rounds->len; i++) {
        const struct migrate_round *r = &g_array_index(rounds, struct migrate_round, i);
        sum.duration_us += r->duration_us;
        sum.pages_zero += r->pages_zero;
        sum.pages_normal += r->pages_normal;
        sum.pages_delta += r->pages_delta;
        sum.pages_same += r->pages_same;
        sum.pages_compressed += r->pages_compressed;
        sum.bytes += r->bytes;
        sum.ram_bytes += r->ram_bytes;
        sum.fresh_pages += r->fresh_pages;
        sum.writes += r->writes;
    }
    return sum;
}

/* However many there were, the sums stay, and the first and the newest are told apart. */
static void
old_rounds_are_summed_up(void)
{
    g_autoptr(GArray) rounds = g_array_new(FALSE, TRUE, sizeof(struct migrate_round));
    struct migrate_round before = { 0 }, after;
    unsigned count = 5 * MIGRATE_ROUNDS / 2;

    for (unsigned i = 1; i <= count; i++) {
        struct migrate_round r = { .number = i, .last = i, .duration_us = i, .bytes = 7 * i, .pages_zero = i % 3,
                                   .fresh_pages = i % 5, .writes = i, .dirty_start = i, .dirty_end = i + 1 };
        rounds_fold(rounds);
        g_array_append_val(rounds, r);
        before.duration_us += i;
        before.bytes += 7 * (uint64_t)i;
        before.pages_zero += i % 3;
        before.fresh_pages += i % 5;
        before.writes += i;
        g_assert_cmpuint(rounds->len, <=, MIGRATE_ROUNDS);
    }
    after = sum_of(rounds);
    g_assert_cmpuint(after.duration_us, ==, before.duration_us);
    g_assert_cmpuint(after.bytes, ==, before.bytes);
    g_assert_cmpuint(after.pages_zero, ==, before.pages_zero);
    g_assert_cmpuint(after.fresh_pages, ==, before.fresh_pages);
    g_assert_cmpuint(after.writes, ==, before.writes);
    g_assert_cmpuint(g_array_index(rounds, struct migrate_round, 0).last, ==, 1);
    for (unsigned i = 1; i < rounds->len; i++) {
        const struct migrate_round *a = &g_array_index(rounds, struct migrate_round, i - 1), *b = a + 1;
        g_assert_cmpuint(b->number, ==, a->last + 1);
        g_assert_cmpuint(b->dirty_start, ==, a->dirty_end);
    }
    g_assert_cmpuint(g_array_index(rounds, struct migrate_round, rounds->len - 1).last, ==, count);
}

/* --- against the totals ----------------------------------------------------------------------------------------- */

static uint64_t
total_pages(const struct guest_map *map)
{
    uint64_t pages = 0;

    for (unsigned i = 0; i < map->blocks->len; i++)
        pages += ((const struct block *)map->blocks->pdata[i])->page_count;
    return pages;
}

static void
assert_rounds(const struct migrate_record *r)
{
    struct migrate_round sum = sum_of(r->rounds);
    const struct migrate_info *i = &r->info;

    g_assert_cmpuint(r->rounds->len, ==, i->dirty_syncs);
    g_assert_cmpuint(sum.bytes, ==, i->bytes);
    g_assert_cmpuint(sum.ram_bytes, ==, i->precopy_bytes + i->downtime_bytes);
    g_assert_cmpuint(sum.pages_zero, ==, i->pages_zero);
    g_assert_cmpuint(sum.pages_normal, ==, i->pages_normal);
    g_assert_cmpuint(sum.pages_compressed, ==, i->compress_pages);
    g_assert_cmpuint(sum.pages_delta + sum.pages_same + i->xbzrle_overflows, ==, i->xbzrle_pages);
    for (unsigned n = 0; n < r->rounds->len; n++) {
        const struct migrate_round *a = &g_array_index(r->rounds, struct migrate_round, n);
        bool last = n + 1 == r->rounds->len;

        g_assert_cmpuint(a->number, ==, n + 1);
        g_assert_false(a->open);
        if (a->verdict == VERDICT_SHORTENING)
            g_assert_cmpuint(a->dirty_end, <=, a->fits_bytes);
        else
            g_assert_cmpint(a->verdict, ==, last ? VERDICT_LAST : round_verdict(a->dirty_start, a->dirty_end,
                                                                                 a->fits_bytes));
        if (last)
            break;
        g_assert_cmpuint(a[1].dirty_start, ==, a->dirty_end);
        g_assert_cmpuint(a[1].start_us, ==, a->start_us + a->duration_us);
    }
}

static void
assert_shares(const struct migrate_record *r, const struct guest_map *map)
{
    uint64_t pages = 0, zero = 0, sent = 0, remaining = 0;

    for (unsigned i = 0; i < r->shares->len; i++) {
        const struct migrate_share *s = &g_array_index(r->shares, struct migrate_share, i);
        pages += s->pages;
        zero += s->zero;
        sent += s->sent;
        remaining += s->remaining;
    }
    g_assert_cmpuint(pages, ==, total_pages(map));
    g_assert_cmpuint(zero, ==, r->info.pages_zero);
    g_assert_cmpuint(sent, ==, r->info.pages_zero + r->info.pages_normal + r->info.compress_pages
                     + r->info.xbzrle_pages - r->info.xbzrle_overflows);
    g_assert_cmpuint(remaining, ==, 0);
}

static uint64_t
parts_sum(const struct migrate_record *r)
{
    uint64_t us = 0;

    for (unsigned i = 0; i < r->parts->len; i++)
        us += g_array_index(r->parts, struct migrate_part, i).us;
    return us;
}

static bool
has_part(const struct migrate_record *r, const char *name)
{
    for (unsigned i = 0; i < r->parts->len; i++)
        if (g_str_equal(g_array_index(r->parts, struct migrate_part, i).name, name))
            return true;
    return false;
}

static void
assert_path(const struct migrate_record *r, const char *wanted)
{
    g_autoptr(GString) path = g_string_new(NULL);
    uint64_t at = 0;

    for (unsigned i = 0; i < r->path->len; i++) {
        const struct migrate_step *s = &g_array_index(r->path, struct migrate_step, i);
        g_string_append_printf(path, "%s%s", i ? " " : "", migrate_state_name(s->state));
        g_assert_cmpuint(s->at_us, >=, at);
        at = s->at_us;
    }
    g_assert_cmpstr(path->str, ==, wanted);
}

/* Pages are cut out of runs where ranges begin and end, and belong to them alone. */
static void
move_and_check(void (*prepare)(struct pair *p))
{
    static const char *const parts[] = { "stop vCPUs", "drain", "last sync", "last RAM", "save fake-device 0",
                                         "flush",
                                         "destination load", "description", "answer" };
    struct pair p;

    pair_open(&p, SMALL, 100, 31);
    prepare(&p);
    g_autofree char *uri = g_strconcat("unix:", p.path, NULL);
    pair_start(&p, uri, uri);
    PAIR_WAIT(&p, p.from.passes >= 3);
    atomic_store(&p.from.fake.held, false);
    atomic_store(&p.parameters.max_bandwidth, 0);
    atomic_store(&p.parameters.downtime_limit, 300);
    PAIR_WAIT(&p, side_ended(&p.from) && side_ended(&p.to));
    pair_assert_moved(&p);
    struct migrate_record *from = session_record(p.from.session), *to = session_record(p.to.session);
    assert_rounds(from);
    assert_shares(from, p.from.fake.map);
    assert_path(from, "setup active device completed");
    assert_path(to, "setup active device completed");
    for (unsigned i = 0; i < G_N_ELEMENTS(parts); i++)
        g_assert_true(has_part(from, parts[i]));
    g_assert_cmpuint(parts_sum(from), ==, from->stopped_us);
    g_assert_cmpuint(from->stopped_us, ==, from->info.downtime_us);
    g_assert_true(from->there_asked);
    g_assert_cmpuint(from->there->len, >, 2);
    g_assert_cmpstr(g_array_index(from->there, struct migrate_part, 0).name, ==, "last RAM");
    g_assert_true(has_part(to, "last RAM") && has_part(to, "load fake-device 0") && has_part(to, "start vCPUs"));
    g_assert_cmpuint(parts_sum(to), ==, to->stopped_us);
    struct migrate_record *copy = migrate_record_copy(from);
    migrate_record_free(from);
    assert_rounds(copy);
    migrate_record_free(copy);
    migrate_record_free(to);
    pair_release(&p);
}

/* What may remain is less than the page that is always dirty. */
static void
narrow(struct pair *p)
{
    atomic_store(&p->from.fake.held, true);
    atomic_store(&p->parameters.downtime_limit, 1);
    atomic_store(&p->parameters.max_bandwidth, 3 * MIB);
}

static void
with_differences(struct pair *p)
{
    narrow(p);
    atomic_store(&p->capabilities.xbzrle, true);
}

static void
with_compression(struct pair *p)
{
    narrow(p);
    /* All of it fits into one window of the other's, and what went in a part of one seems to be fast. */
    atomic_store(&p->parameters.max_bandwidth, MIB / 2);
    atomic_store(&p->capabilities.compress, true);
}

static void
rounds_add_up_to_the_totals(void)
{
    move_and_check(narrow);
}

static void
differences_add_up_too(void)
{
    move_and_check(with_differences);
}

static void
compressed_pages_add_up_too(void)
{
    move_and_check(with_compression);
}

/* While a person looks, the guest goes on, and so does what is told. */
static void
a_round_that_is_held_begins_with_what_is_left_then(void)
{
    struct pair p;
    struct migrate_info info = { 0 };

    pair_open(&p, SMALL, 0, 32);
    atomic_store(&p.parameters.step, true);
    g_autofree char *uri = g_strconcat("unix:", p.path, NULL);
    pair_start(&p, uri, uri);
    do {
        migrate_info_release(&info);
        pair_turn(&p);
        session_info(p.from.session, &info);
    } while (!info.held);
    g_assert_cmpuint(info.remaining_bytes, ==, 0);
    hub_mark(p.from.fake.hub, p.from.fake.map->blocks->pdata[0], 1, 2);
    for (int64_t until = g_get_monotonic_time() + 10000000; info.remaining_bytes == 0;) {
        g_assert_cmpint(g_get_monotonic_time(), <, until);
        migrate_info_release(&info);
        pair_turn(&p);
        session_info(p.from.session, &info);
    }
    g_assert_cmpuint(info.remaining_bytes, ==, 2 * PAGE_SIZE);
    migrate_info_release(&info);
    struct migrate_record *r = session_record(p.from.session);
    const struct migrate_round *round = &g_array_index(r->rounds, struct migrate_round, r->rounds->len - 1);
    g_assert_true(round->open);
    g_assert_cmpuint(round->dirty_start, ==, 2 * PAGE_SIZE);
    g_assert_cmpuint(round[-1].dirty_end, ==, 0);
    g_assert_cmpuint(round->held_us, >, 100000);
    migrate_record_free(r);
    atomic_store(&p.parameters.step, false);
    g_assert_true(session_continue(p.from.session, MIGRATE_NONE, NULL));
    PAIR_WAIT(&p, side_ended(&p.from) && side_ended(&p.to));
    pair_assert_equal(&p);
    pair_release(&p);
}

/* --- pieces ----------------------------------------------------------------------------------------------------- */

/* Odd borders, one range over the block's end, one block without any. */
static void
odd_ranges(void *self, GArray *ranges)
{
    const struct fake *f = self;
    const struct block *b0 = f->map->blocks->pdata[0], *b2 = f->map->blocks->pdata[2];
    const struct migrate_range list[] = {
        { b2, 100, 1000000, 1, 3 }, { b0, 3, 1, 0, 0 }, { b0, 4, 67, 0, 1 }, { b0, 200, 7, -1, 2 },
    };

    g_array_append_vals(ranges, list, G_N_ELEMENTS(list));
}

static struct moving_list
list_moving(const struct guest_map *map, struct moving at[FAKE_BLOCKS])
{
    for (unsigned i = 0; i < map->blocks->len; i++) {
        struct block *b = map->blocks->pdata[i];

        at[i] = (struct moving) { .block = b, .pages = b->page_count };
    }
    return (struct moving_list) { at, map->blocks->len, NULL };
}

static void
pieces_cover_all_memory_once(void)
{
    struct moving at_moving[FAKE_BLOCKS];
    struct moving_list moving;
    struct pair p;
    struct pieces pieces;
    uint64_t at = 0, total = 0, left;
    const struct block *block = NULL;

    pair_init(&p, MIDDLE, 0);
    struct migrate_guest guest = { .self = &p.from.fake, .map = p.from.fake.map, .ranges = odd_ranges };
    moving = list_moving(guest.map, at_moving);
    pieces_init(&pieces, &guest, &moving, 0);
    for (unsigned i = 0; i < pieces.list->len; i++) {
        const struct migrate_range *r = &g_array_index(pieces.list, struct piece, i).range;
        if (r->block != block)
            at = 0;
        block = r->block;
        g_assert_cmpuint(r->first, ==, at);
        at += r->count;
        total += r->count;
    }
    g_assert_cmpuint(total, ==, total_pages(guest.map));
    for (unsigned b = 0; b < guest.map->blocks->len; b++)
        for (uint64_t page = 0; page < 250; page++) {
            const struct piece *found = pieces_find(&pieces, guest.map->blocks->pdata[b], page, &left);
            g_assert_true(found->range.block == guest.map->blocks->pdata[b]);
            g_assert_cmpuint(page, >=, found->range.first);
            g_assert_cmpuint(left, ==, found->range.first + found->range.count - page);
        }
    g_assert_cmpint(pieces_find(&pieces, guest.map->blocks->pdata[0], 70, &left)->range.cpu, ==, 1);
    g_assert_cmpint(pieces_find(&pieces, guest.map->blocks->pdata[0], 71, &left)->range.cpu, ==, -1);
    pieces_release(&pieces);
    pair_release(&p);
}

/* What was set, taken and set again, by hand. */
static void
a_page_dirtied_again_counts_again(void)
{
    struct moving at[FAKE_BLOCKS];
    struct moving_list moving;
    struct pair p;
    struct pieces pieces;
    uint64_t remaining, left, taken;

    pair_init(&p, MIDDLE, 0);
    struct hub *hub = p.from.fake.hub;
    struct migrate_guest guest = { .self = &p.from.fake, .map = p.from.fake.map, .ranges = odd_ranges };
    struct block *b = guest.map->blocks->pdata[0];
    struct subscriber *subscriber = hub_subscribe(hub, "test", NULL);
    moving = list_moving(guest.map, at);
    pieces_init(&pieces, &guest, &moving, 0);
    hub_mark(hub, b, 2, 70);
    g_assert_cmpuint(pieces_sync(&pieces, subscriber, &remaining), ==, 70);
    g_assert_cmpuint(remaining, ==, 70);
    struct piece *one = pieces_find(&pieces, b, 4, &left);
    g_assert_cmpuint(one->remaining, ==, 67);
    g_assert_true(hub_clear(hub, subscriber, b, 4, 10, &taken, NULL));
    one->taken += taken;
    hub_mark(hub, b, 4, 5);
    g_assert_cmpuint(pieces_sync(&pieces, subscriber, &remaining), ==, 5);
    g_assert_cmpuint(remaining, ==, 65);
    pieces_period(&pieces, 1000);
    g_assert_cmpuint(one->period_fresh, ==, 72);
    pieces_release(&pieces);
    hub_unsubscribe(hub, subscriber);
    pair_release(&p);
}

/* Main may add a block to the map meanwhile: the worker goes by its own list. */
static void
writers_are_kept_of_the_blocks_that_moved(void)
{
    struct moving at[FAKE_BLOCKS];
    struct moving_list moved;
    struct session s = { .guest.self = NULL };
    struct pair p;

    pair_init(&p, MIDDLE, 0);
    struct hub *hub = hub_new(p.from.fake.map, (struct dirty_source) { .tells_cpus = true });
    struct subscriber *subscriber = hub_subscribe(hub, "test", NULL);
    struct block *b = p.from.fake.map->blocks->pdata[0];
    s.guest = (struct migrate_guest) { .hub = hub, .map = p.from.fake.map };
    lock_init(&s.lock, 30, "migration session");
    moved = list_moving(p.from.fake.map, at);
    g_assert_cmpuint(moved.count, >, 1);
    moved.count--;
    history_watch(&s, subscriber);
    hub_mark_by(hub, b, 3, 1);
    history_end(&s, &moved);
    lock_take(&s.lock);
    g_assert_null(s.history.subscriber);
    g_assert_cmpuint(s.history.writers[b->index][3], ==, 1 + 1);
    g_assert_cmpuint(s.history.writers[b->index][4], ==, 0);
    g_assert_null(s.history.writers[moved.count]);
    history_release(&s.history);
    lock_drop(&s.lock);
    lock_release(&s.lock);
    hub_unsubscribe(hub, subscriber);
    hub_free(hub);
    pair_release(&p);
}

/* Runs of one form go many pages at a time: they may begin and end anywhere, beside others. */
static void
what_became_of_a_page_is_found_again(void)
{
    enum { RUNS = 400, LONGEST = 80 };
    struct session s = { .guest.self = NULL };
    struct pair p;
    uint32_t seed = 7;

    pair_init(&p, MIDDLE, 0);
    struct block *b = p.from.fake.map->blocks->pdata[1];
    g_autofree uint8_t *wanted = g_new0(uint8_t, b->page_count);
    lock_init(&s.lock, 30, "migration session");
    lock_take(&s.lock);
    history_init(&s.history, b->size);
    history_begin(&s.history, 1);
    lock_drop(&s.lock);
    for (unsigned run = 0; run < RUNS; run++) {
        uint8_t forms[LONGEST];
        uint64_t count = 1 + (seed = seed * 1103515245 + 12345) / 65536 % LONGEST;
        uint64_t first = (seed = seed * 1103515245 + 12345) / 65536 % (b->page_count - count);

        for (uint64_t i = 0; i < count; i++)
            wanted[first + i] = forms[i] = (uint8_t)(run % 3 ? FATE_ZERO : 1 + (i + run) % (PAGE_FATES - 1));
        history_note(&s, b, first, count, forms);
    }
    for (uint64_t page = 0; page < b->page_count; page++) {
        g_autoptr(GArray) found = session_page_history(&s, b, page);
        g_assert_cmpuint(found->len, ==, 1);
        g_assert_cmpuint(g_array_index(found, struct migrate_page_round, 0).fate, ==, wanted[page]);
    }
    lock_take(&s.lock);
    history_release(&s.history);
    lock_drop(&s.lock);
    lock_release(&s.lock);
    pair_release(&p);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    main_thread_claim();
    g_test_add_func("/record/a-round-is-judged-by-what-remains", a_round_is_judged_by_what_remains);
    g_test_add_func("/record/old-rounds-are-summed-up", old_rounds_are_summed_up);
    g_test_add_func("/record/pieces-cover-all-memory-once", pieces_cover_all_memory_once);
    g_test_add_func("/record/a-page-dirtied-again-counts-again", a_page_dirtied_again_counts_again);
    g_test_add_func("/record/rounds-add-up-to-the-totals", rounds_add_up_to_the_totals);
    g_test_add_func("/record/differences-add-up-too", differences_add_up_too);
    g_test_add_func("/record/compressed-pages-add-up-too", compressed_pages_add_up_too);
    g_test_add_func("/record/a-round-that-is-held-begins-with-what-is-left-then",
                    a_round_that_is_held_begins_with_what_is_left_then);
    g_test_add_func("/record/writers-are-kept-of-the-blocks-that-moved", writers_are_kept_of_the_blocks_that_moved);
    g_test_add_func("/record/what-became-of-a-page-is-found-again", what_became_of_a_page_is_found_again);
    return g_test_run();
}
