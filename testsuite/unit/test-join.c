/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Blocks that come or change their length while the guest moves: whatever the moment, what the source held at its
 * stop is what the destination has; and a device that a destination is still making survives the session that wanted
 * it. */
#include "migrate-fake.h"

#include <glib/gstdio.h>
#include <string.h>

#include "../../src/memory/memory-private.h"
#include "../../src/migrate/migrate-private.h"

enum { SMALL = 16 * PAGE_SIZE, MIDDLE = 256 * PAGE_SIZE, LARGE = 8192 * PAGE_SIZE, MOVES = 30 };

static struct block *
last_block(const struct guest_map *map)
{
    return map->blocks->pdata[map->blocks->len - 1];
}

/* A pair whose passes go on until released, one of them over. */
static void
begin(struct pair *p, unsigned pause_us)
{
    g_autofree char *uri = NULL;

    pair_init(p, SMALL, pause_us);
    uri = g_strdup_printf("unix:%s", p->path);
    fake_fill(&p->from.fake, 11);
    atomic_store(&p->parameters.downtime_limit, 0);
    atomic_store(&p->from.fake.held, true);
    fake_run(&p->from.fake);
    pair_start(p, uri, uri);
    PAIR_WAIT(p, p->from.passes >= 2);
}

static void
release(struct pair *p)
{
    atomic_store(&p->from.fake.held, false);
    atomic_store(&p->parameters.downtime_limit, 2000);
}

static uint64_t
pages_of_all(const struct guest_map *map)
{
    uint64_t pages = 0;

    for (unsigned i = 0; i < map->blocks->len; i++)
        pages += ((struct block *)map->blocks->pdata[i])->page_count;
    return pages;
}

static void
finish(struct pair *p)
{
    release(p);
    PAIR_WAIT(p, side_ended(&p->from) && side_ended(&p->to));
    pair_assert_moved(p);
}

static void
a_block_that_comes_moves_too(void)
{
    struct migrate_info info;
    struct pair p;

    begin(&p, 5);
    g_assert_true(fake_add_block(&p.from.fake, "hot", MIDDLE, MIDDLE));
    PAIR_WAIT(&p, p.to.fake.arrivals == 1);
    uint64_t passes = p.from.passes;
    PAIR_WAIT(&p, p.from.passes >= passes + 2);
    session_info(p.from.session, &info);
    g_assert_cmpuint(info.total_bytes, ==, pages_of_all(p.from.fake.map) * PAGE_SIZE);
    migrate_info_release(&info);
    finish(&p);
    pair_release(&p);
}

/* Its pages, which nobody wrote, are not what the guest dirties. */
static void
a_block_that_comes_is_no_dirt(void)
{
    struct pair p;

    begin(&p, 0);
    g_assert_true(fake_add_block(&p.from.fake, "hot", 4 * MIDDLE, 4 * MIDDLE));
    uint64_t passes = p.from.passes;
    PAIR_WAIT(&p, p.from.passes >= passes + 3);
    finish(&p);
    struct migrate_record *r = session_record(p.from.session);
    for (unsigned i = 0; i < r->rounds->len && i < 1000; i++) {
        const struct migrate_round *round = &g_array_index(r->rounds, struct migrate_round, i);

        g_assert_cmpuint(round->fresh_pages, <=, round->last - round->number + 1);   /* 'held': one page a pass */
    }
    migrate_record_free(r);
    pair_release(&p);
}

static void
a_block_grows_and_shrinks(void)
{
    struct pair p;
    uint64_t passes;

    begin(&p, 5);
    g_assert_true(fake_add_block(&p.from.fake, "hot", MIDDLE, 0));
    struct block *b = last_block(p.from.fake.map);
    static const uint64_t lengths[] = { 16, 128, 64, 256, 0, 32 };
    for (unsigned i = 0; i < G_N_ELEMENTS(lengths); i++) {
        g_assert_true(fake_resize(&p.from.fake, b, lengths[i] * PAGE_SIZE));
        passes = p.from.passes;
        PAIR_WAIT(&p, p.from.passes >= passes + 2);
    }
    finish(&p);
    g_assert_cmpuint(p.from.fake.stopped_size[b->index], ==, 32 * PAGE_SIZE);
    g_assert_cmpuint(atomic_load(&last_block(p.to.fake.map)->used), ==, MIDDLE);     /* the longest */
    pair_release(&p);
}

/* With what the page cache believes at stake. */
static void
differences_of_such_a_block_are_right(void)
{
    struct pair p;
    uint64_t passes;

    pair_init(&p, SMALL, 5);
    g_autofree char *uri = g_strdup_printf("unix:%s", p.path);
    fake_fill(&p.from.fake, 12);
    atomic_store(&p.capabilities.xbzrle, true);
    atomic_store(&p.parameters.xbzrle_cache_size, 256 * KIB);
    atomic_store(&p.parameters.downtime_limit, 0);
    atomic_store(&p.from.fake.held, true);
    fake_run(&p.from.fake);
    pair_start(&p, uri, uri);
    PAIR_WAIT(&p, p.from.passes >= 2);
    g_assert_true(fake_add_block(&p.from.fake, "hot", MIDDLE, 64 * PAGE_SIZE));
    for (unsigned i = 1; i < 6; i++) {
        passes = p.from.passes;
        PAIR_WAIT(&p, p.from.passes >= passes + 2);
        g_assert_true(fake_resize(&p.from.fake, last_block(p.from.fake.map), (i % 2 ? 16 : 64 + 32 * i) * PAGE_SIZE));
    }
    finish(&p);
    pair_release(&p);
}

/* At any moment, the first and the last included: what was let in arrives. */
static void
moments_do_not_matter(void)
{
    for (unsigned move = 0; move < MOVES; move++) {
        struct pair p;
        unsigned let_in = 0;

        pair_init(&p, SMALL, 20);
        g_autofree char *uri = g_strdup_printf("unix:%s", p.path);
        fake_fill(&p.from.fake, move + 1);
        atomic_store(&p.capabilities.compress, move % 3 == 1);
        atomic_store(&p.parameters.switchover, move % 2);
        fake_run(&p.from.fake);
        pair_start(&p, uri, uri);
        for (unsigned turn = move * 3; turn-- > 0 && !side_ended(&p.from);)
            g_main_context_iteration(NULL, FALSE);
        for (unsigned i = 0; i < 5; i++) {
            g_autofree char *name = g_strdup_printf("hot%u", i);
            let_in += fake_add_block(&p.from.fake, name, SMALL * (i + 1), i % 2 ? SMALL / 2 : SMALL * (i + 1));
            if (i % 2 && let_in)
                fake_resize(&p.from.fake, last_block(p.from.fake.map),
                            atomic_load(&last_block(p.from.fake.map)->used));
            g_main_context_iteration(NULL, FALSE);
        }
        PAIR_WAIT(&p, side_ended(&p.from) && side_ended(&p.to));
        pair_assert_moved(&p);
        g_assert_cmpuint(p.to.fake.arrivals, ==, let_in);
        pair_release(&p);
    }
}

/* What comes while the session ends is in the map and not in the worker's list; who wrote each page is asked then. */
static void
blocks_come_while_it_ends(void)
{
    for (unsigned move = 0; move < 5; move++) {
        struct pair p;

        pair_init(&p, LARGE, 0);
        g_autofree char *uri = g_strdup_printf("unix:%s", p.path);
        p.from.fake.hub->source.tells_cpus = true;
        atomic_store(&p.parameters.downtime_limit, 0);
        atomic_store(&p.from.fake.held, true);
        fake_run(&p.from.fake);
        pair_start(&p, uri, uri);
        PAIR_WAIT(&p, p.from.passes >= 2);
        g_assert_true(session_cancel(p.from.session, NULL));
        for (unsigned i = 0; i < 20; i++) {
            g_autofree char *name = g_strdup_printf("hot%u", i);

            fake_add_block(&p.from.fake, name, SMALL, SMALL);
            g_usleep(100 * (move + 1));
        }
        PAIR_WAIT(&p, side_ended(&p.from) && side_ended(&p.to));
        g_assert_cmpint(side_state(&p.from), ==, MIGRATE_CANCELLED);
        g_assert_true(session_knows_writers(p.from.session));
        pair_release(&p);
    }
}

/* --- what goes wrong -------------------------------------------------------------------------------------------- */

static void
a_refusal_is_told_on_both_sides(void)
{
    struct pair p;

    begin(&p, 5);
    p.to.fake.refuses = "no memory is left here";
    g_assert_true(fake_add_block(&p.from.fake, "hot", MIDDLE, MIDDLE));
    PAIR_WAIT(&p, side_ended(&p.from) && side_ended(&p.to));
    g_autofree char *here = side_error(&p.from), *there = side_error(&p.to);
    g_assert_nonnull(strstr(here, "no memory is left here"));
    g_assert_nonnull(strstr(there, "no memory is left here"));
    g_assert_cmpint(session_owner(p.from.session), ==, OWNER_HERE);
    g_assert_true(p.from.fake.running);
    g_assert_cmpuint(p.to.fake.resets, ==, 1);
    g_assert_nonnull(guest_map_find_block(p.from.fake.map, "hot"));
    /* The migration is over: now it may come and go as it likes. */
    g_assert_true(fake_add_block(&p.from.fake, "next", SMALL, SMALL));
    pair_release(&p);
}

/* The destination's user gives up while the device is being made; what is made after that is for nobody. */
static void
a_device_may_outlive_the_wish_for_it(void)
{
    struct pair p;

    begin(&p, 5);
    p.to.fake.keeps_waiting = true;
    g_assert_true(fake_add_block(&p.from.fake, "hot", SMALL, SMALL));
    PAIR_WAIT(&p, p.to.fake.arrival);
    g_assert_true(session_cancel(p.to.session, NULL));
    PAIR_WAIT(&p, side_ended(&p.to) && side_ended(&p.from));
    g_assert_cmpint(side_state(&p.to), ==, MIGRATE_CANCELLED);
    fake_let_arrive(&p.to.fake);
    g_assert_cmpuint(p.to.fake.unwanted, ==, 1);
    g_assert_true(p.from.fake.running);
    pair_release(&p);
}

static void
a_device_may_outlive_the_session(void)
{
    struct pair p;

    begin(&p, 5);
    p.to.fake.keeps_waiting = true;
    g_assert_true(fake_add_block(&p.from.fake, "hot", SMALL, SMALL));
    PAIR_WAIT(&p, p.to.fake.arrival);
    session_free(g_steal_pointer(&p.to.session));
    PAIR_WAIT(&p, side_ended(&p.from));
    fake_let_arrive(&p.to.fake);
    g_assert_cmpuint(p.to.fake.unwanted, ==, 1);
    pair_release(&p);
}

/* The letter that would have asked for it is never delivered. */
static void
a_session_may_end_before_main_hears(void)
{
    struct pair p;

    begin(&p, 5);
    g_assert_true(fake_add_block(&p.from.fake, "hot", SMALL, SMALL));
    for (unsigned i = 0; i < 100; i++)
        g_usleep(1000);             /* the worker waits; main does not turn */
    session_free(g_steal_pointer(&p.to.session));
    PAIR_WAIT(&p, side_ended(&p.from));
    g_assert_cmpuint(p.to.fake.arrivals, ==, 0);
    g_assert_null(p.to.fake.arrival);
    pair_release(&p);
}

static void
none_goes_while_the_guest_moves(void)
{
    struct pair p;
    g_autoptr(GError) error = NULL;

    begin(&p, 5);
    g_assert_true(fake_add_block(&p.from.fake, "hot", SMALL, SMALL));
    PAIR_WAIT(&p, p.to.fake.arrivals == 1);
    g_assert_false(guest_map_unplug(p.from.fake.map, last_block(p.from.fake.map), &error));
    g_assert_error(error, NUMON_ERROR, NUMON_ERROR_STATE);
    g_assert_nonnull(guest_map_find_block(p.from.fake.map, "hot"));
    g_assert_true(session_cancel(p.from.session, NULL));
    PAIR_WAIT(&p, side_ended(&p.from) && side_ended(&p.to));
    pair_release(&p);
}

/* --- hostile streams -------------------------------------------------------------------------------------------- */

static void
put_start(GByteArray *out, const struct fake *f)
{
    struct session s = { .guest.map = f->map };

    wire_put_head(out, f->machine_type, 77, 0, f->description);
    wire_put_section(out, RECORD_START, RAM_ID, "ram", 0, RAM_VERSION);
    session_list_blocks(&s);
    wire_put_block_list(out, s.blocks, FAKE_BLOCKS);
    g_free(s.blocks);
    wire_put_footer(out, RAM_ID);
}

static void
put_join(GByteArray *out, uint32_t instance, uint32_t version, const char *text)
{
    wire_put_section(out, RECORD_FULL, 1000 + instance, JOIN_SECTION, instance, version);
    wire_put32(out, strlen(text));
    g_byte_array_append(out, (const uint8_t *)text, strlen(text));
    wire_put_footer(out, 1000 + instance);
}

/* The list of one block. */
static void
put_listed(GByteArray *out, uint64_t total, const char *name, uint64_t size)
{
    wire_put_part(out, RECORD_PART, RAM_ID);
    wire_put64(out, total | RAM_MEM_SIZE);
    wire_put_name(out, name);
    wire_put64(out, size);
}

static void
put_zero_page(GByteArray *out, const char *name, uint64_t offset)
{
    uint8_t header[RAM_HEADER_MOST];

    g_byte_array_append(out, header, wire_ram_header(header, offset, RAM_ZERO, name));
    wire_put8(out, 0);
}

static void
end_part(GByteArray *out, uint8_t record)
{
    if (record == RECORD_END)
        wire_put_part(out, record, RAM_ID);
    wire_put64(out, RAM_EOS);
    wire_put_footer(out, RAM_ID);
}

static void
before_ram(GByteArray *out, struct fake *f)
{
    wire_put_head(out, f->machine_type, 77, 0, f->description);
    put_join(out, 0, 1, "hot 65536 65536");
}

static void
after_ram(GByteArray *out, struct fake *f)
{
    put_start(out, f);
    for (unsigned i = 0; i < FAKE_BLOCKS; i++) {
        struct block *b = f->map->blocks->pdata[i];

        wire_put_part(out, RECORD_PART, RAM_ID);
        for (uint64_t page = 0; page < b->page_count; page++)
            put_zero_page(out, b->name, page * PAGE_SIZE);
        end_part(out, RECORD_PART);
    }
    end_part(out, RECORD_END);
    put_join(out, 0, 1, "hot 65536 65536");
}

static void
out_of_order(GByteArray *out, struct fake *f)
{
    put_start(out, f);
    put_join(out, 1, 1, "hot 65536 65536");
}

static void
of_another_version(GByteArray *out, struct fake *f)
{
    put_start(out, f);
    put_join(out, 0, 2, "hot 65536 65536");
}

static void
too_long(GByteArray *out, struct fake *f)
{
    g_autofree char *text = g_strnfill(JOIN_TEXT_MOST + 1, 'x');

    put_start(out, f);
    put_join(out, 0, 1, text);
}

static void
no_text(GByteArray *out, struct fake *f)
{
    put_start(out, f);
    put_join(out, 0, 1, "hot \xff\xfe");
}

static void
never_listed(GByteArray *out, struct fake *f)
{
    put_start(out, f);
    put_join(out, 0, 1, "hot 65536 65536");
    wire_put_part(out, RECORD_PART, RAM_ID);
    put_zero_page(out, "hot", 0);
}

static void
unknown_listed(GByteArray *out, struct fake *f)
{
    put_start(out, f);
    put_listed(out, SMALL, "hot", SMALL);
}

static void
fixed_listed_again(GByteArray *out, struct fake *f)
{
    put_start(out, f);
    put_listed(out, SMALL, "m0", SMALL);
}

static void
fixed_of_another_length(GByteArray *out, struct fake *f)
{
    put_start(out, f);
    put_join(out, 0, 1, "hot 65536 65536");
    put_listed(out, 32768, "hot", 32768);
}

static void
longer_than_it_may_be(GByteArray *out, struct fake *f)
{
    put_start(out, f);
    put_join(out, 0, 1, "hot 65536 0");
    put_listed(out, 131072, "hot", 131072);
}

static void
of_no_whole_pages(GByteArray *out, struct fake *f)
{
    put_start(out, f);
    put_join(out, 0, 1, "hot 65536 0");
    put_listed(out, 8192, "hot", 5000);
}

static void
shorter_than_before(GByteArray *out, struct fake *f)
{
    put_start(out, f);
    put_join(out, 0, 1, "hot 65536 0");
    put_listed(out, 32768, "hot", 32768);
    end_part(out, RECORD_PART);
    put_listed(out, 16384, "hot", 16384);
}

static void
more_than_the_total(GByteArray *out, struct fake *f)
{
    put_start(out, f);
    put_join(out, 0, 1, "hot 65536 0");
    put_listed(out, 4096, "hot", 32768);
}

static void
behind_its_length(GByteArray *out, struct fake *f)
{
    put_start(out, f);
    put_join(out, 0, 1, "hot 65536 0");
    put_listed(out, 32768, "hot", 32768);
    put_zero_page(out, "hot", 32768);
}

static const struct {
    void (*put)(GByteArray *out, struct fake *f);
    const char *why;
} wrong[] = {
    { before_ram, "is not known or cannot be here" }, { after_ram, "is not known or cannot be here" },
    { out_of_order, "instance 1 version 1 is not known or cannot be here" },
    { of_another_version, "instance 0 version 2 is not known" },
    { too_long, "has 4097 bytes (at most 4096 are allowed)" }, { no_text, "is not text" },
    { never_listed, "page at 0x0 lies outside of block 'hot' (0 bytes)" },
    { unknown_listed, "RAM block 'hot' does not exist here" }, { fixed_listed_again, "'m0' is listed twice" },
    { fixed_of_another_length, "has 32768 bytes at the source and 65536 here" },
    { longer_than_it_may_be, "here whole pages up to 65536 bytes are allowed" },
    { of_no_whole_pages, "here whole pages up to 65536 bytes are allowed" },
    { shorter_than_before, "is listed twice, and not longer than before" },
    { more_than_the_total, "more than the total of the list" },
    { behind_its_length, "page at 0x8000 lies outside of block 'hot' (32768 bytes)" },
};

static void
wrong_announcements_are_refused(void)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(wrong); i++) {
        struct pair p;
        g_autoptr(GByteArray) stream = g_byte_array_new();

        pair_init(&p, SMALL, 0);
        g_autofree char *file = g_build_filename(p.directory, "file", NULL);
        g_autofree char *uri = g_strdup_printf("file:%s", file);
        wrong[i].put(stream, &p.to.fake);
        g_byte_array_append(stream, (const uint8_t[64]) { 0 }, 64);
        g_assert_true(g_file_set_contents(file, (const char *)stream->data, stream->len, NULL));
        g_assert_true(session_start(p.to.session, uri, NULL));
        PAIR_WAIT(&p, side_ended(&p.to));
        g_autofree char *error = side_error(&p.to);
        if (!strstr(error, wrong[i].why))
            g_error("%u: '%s' and not '%s'", i, error, wrong[i].why);
        g_assert_cmpuint(p.to.fake.starts, ==, 0);
        g_assert_cmpuint(p.to.fake.resets, ==, 1);
        g_unlink(file);
        pair_release(&p);
    }
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    main_thread_claim();
    g_test_add_func("/join/a-block-that-comes-moves-too", a_block_that_comes_moves_too);
    g_test_add_func("/join/a-block-that-comes-is-no-dirt", a_block_that_comes_is_no_dirt);
    g_test_add_func("/join/a-block-grows-and-shrinks", a_block_grows_and_shrinks);
    g_test_add_func("/join/differences-of-such-a-block-are-right", differences_of_such_a_block_are_right);
    g_test_add_func("/join/moments-do-not-matter", moments_do_not_matter);
    g_test_add_func("/join/blocks-come-while-it-ends", blocks_come_while_it_ends);
    g_test_add_func("/join/a-refusal-is-told-on-both-sides", a_refusal_is_told_on_both_sides);
    g_test_add_func("/join/a-device-may-outlive-the-wish-for-it", a_device_may_outlive_the_wish_for_it);
    g_test_add_func("/join/a-device-may-outlive-the-session", a_device_may_outlive_the_session);
    g_test_add_func("/join/a-session-may-end-before-main-hears", a_session_may_end_before_main_hears);
    g_test_add_func("/join/none-goes-while-the-guest-moves", none_goes_while_the_guest_moves);
    g_test_add_func("/join/wrong-announcements-are-refused", wrong_announcements_are_refused);
    return g_test_run();
}
