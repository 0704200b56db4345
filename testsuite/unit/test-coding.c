/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Migrations that send differences and compressed pages, source and destination in one process: they arrive whole,
 * the counters agree with each other, and records that are wrong are refused with their place. */
#include "migrate-fake.h"

#include <glib/gstdio.h>
#include <string.h>

#include "../../src/migrate/migrate-private.h"

enum { SMALL = 32 * PAGE_SIZE, MIDDLE = 256 * PAGE_SIZE };

static struct migrate_info
figures(struct side *s)
{
    struct migrate_info info;

    session_info(s->session, &info);
    migrate_info_release(&info);
    return info;
}

/* --- it works --------------------------------------------------------------------------------------------------- */

static void
hold_up(struct pair *p)
{
    atomic_store(&p->parameters.max_bandwidth, 8 * MIB);
    atomic_store(&p->parameters.downtime_limit, 0);
    atomic_store(&p->from.fake.held, true);
}

static void
let_go(struct pair *p)
{
    atomic_store(&p->from.fake.held, false);
    atomic_store(&p->parameters.max_bandwidth, 0);
    atomic_store(&p->parameters.downtime_limit, 300);
}

/* A writing guest held up for some passes, until so many differences have arrived, then let go. */
static void
move_in_rounds(struct pair *p, uint64_t seed, uint64_t differences)
{
    fake_fill(&p->from.fake, seed);
    fake_run(&p->from.fake);
    hold_up(p);
    g_autofree char *uri = g_strconcat("unix:", p->path, NULL);
    pair_start(p, uri, uri);
    PAIR_WAIT(p, p->from.passes >= 4 && figures(&p->to).xbzrle_pages >= differences);
    let_go(p);
    PAIR_WAIT(p, side_ended(&p->from) && side_ended(&p->to));
    pair_assert_moved(p);
}

static void
assert_no_coding(const struct migrate_info *i)
{
    g_assert_false(i->xbzrle || i->compress);
    g_assert_cmpuint(i->cache_bytes + i->xbzrle_pages + i->xbzrle_misses, ==, 0);
    g_assert_cmpuint(i->compress_pages + i->compress_busy, ==, 0);
}

static void
differences_go_after_the_first_pass(void)
{
    struct pair p;

    pair_init(&p, SMALL, 100);
    atomic_store(&p.capabilities.xbzrle, true);
    move_in_rounds(&p, 31, 300);
    struct migrate_info i = figures(&p.from), in = figures(&p.to);
    g_assert_true(i.xbzrle && !i.compress);
    g_assert_cmpuint(i.cache_bytes, ==, 64 * MIB);
    g_assert_cmpuint(i.xbzrle_pages, >, 0);
    g_assert_cmpuint(i.xbzrle_misses, >, 0);
    g_assert_cmpuint(in.xbzrle_pages, >, 0);
    g_assert_cmpuint(in.xbzrle_pages, <=, i.xbzrle_pages - i.xbzrle_overflows);
    /* Three words of a page are written at a time. */
    g_assert_cmpuint(i.xbzrle_bytes, <, i.xbzrle_pages * PAGE_SIZE / 4);
    /* Of the last period, in which there may have been none. */
    g_assert_true(i.xbzrle_encoding_rate > 4 || i.xbzrle_encoding_rate == 0);
    g_assert_cmpfloat(i.xbzrle_miss_rate, >=, 0);
    g_assert_cmpfloat(i.xbzrle_miss_rate, <=, 1);
    g_assert_cmpuint(i.compress_pages, ==, 0);
    pair_release(&p);
}

static void
pages_are_compressed_in_all_passes(void)
{
    struct pair p;

    pair_init(&p, SMALL, 100);
    atomic_store(&p.capabilities.compress, true);
    move_in_rounds(&p, 32, 0);
    struct migrate_info i = figures(&p.from), in = figures(&p.to);
    g_assert_true(i.compress && !i.xbzrle);
    g_assert_cmpuint(i.compress_pages, >, 0);
    g_assert_cmpuint(i.compress_busy, ==, 0);
    /* The first page of a block goes whole each time its block's turn comes; nothing else does. */
    g_assert_cmpuint(i.pages_normal, <, i.compress_pages);
    g_assert_cmpuint(i.compressed_bytes, <, i.compress_pages * (PAGE_SIZE + 100));
    g_assert_cmpuint(in.compressed_bytes, ==, i.compressed_bytes - 4 * i.compress_pages);
    g_assert_cmpfloat(i.compress_rate, >, 0.9);     /* half of these pages are random */
    g_assert_cmpuint(i.xbzrle_pages, ==, 0);
    pair_release(&p);
}

static void
both_compress_first_and_send_differences_then(void)
{
    struct pair p;

    pair_init(&p, SMALL, 100);
    atomic_store(&p.capabilities.compress, true);
    atomic_store(&p.capabilities.xbzrle, true);
    atomic_store(&p.parameters.compress_threads, 3);
    atomic_store(&p.parameters.compress_level, 9);
    move_in_rounds(&p, 33, 300);
    struct migrate_info i = figures(&p.from);
    g_assert_cmpuint(i.compress_pages, >, 0);
    g_assert_cmpuint(i.compress_pages, <=, i.total_bytes / PAGE_SIZE);      /* of one pass */
    g_assert_cmpuint(i.xbzrle_pages, >, 0);
    pair_release(&p);
}

/* Without capabilities no counter moves; and what one migration counted is not in the next. */
static void
counters_begin_at_zero(void)
{
    struct pair p;

    pair_init(&p, SMALL, 100);
    move_in_rounds(&p, 34, 0);
    struct migrate_info i = figures(&p.from);
    assert_no_coding(&i);
    pair_release(&p);
}

static void
busy_workers_let_pages_pass_whole(void)
{
    struct pair p;

    pair_init(&p, MIDDLE, 0);
    atomic_store(&p.capabilities.compress, true);
    atomic_store(&p.parameters.compress_threads, 1);
    atomic_store(&p.parameters.compress_level, 9);
    atomic_store(&p.parameters.compress_wait_thread, 0);
    fake_fill(&p.from.fake, 35);
    fake_run(&p.from.fake);
    g_autofree char *uri = g_strconcat("unix:", p.path, NULL);
    pair_start(&p, uri, uri);
    PAIR_WAIT(&p, side_ended(&p.from) && side_ended(&p.to));
    pair_assert_moved(&p);
    struct migrate_info i = figures(&p.from);
    g_assert_cmpuint(i.compress_busy, >, 0);
    g_assert_cmpuint(i.compress_busy, <=, i.pages_normal);
    g_assert_cmpfloat(i.compress_busy_rate, >, 0);
    pair_release(&p);
}

/* Every page and many slots: what is not in the cache goes whole, what is goes as a difference. */
static void
tiny_cache_misses(void)
{
    struct pair p;

    pair_init(&p, SMALL, 50);
    atomic_store(&p.capabilities.xbzrle, true);
    atomic_store(&p.parameters.xbzrle_cache_size, 2 * PAGE_SIZE);
    move_in_rounds(&p, 36, 5);
    struct migrate_info i = figures(&p.from);
    g_assert_cmpuint(i.cache_bytes, ==, 2 * PAGE_SIZE);
    g_assert_cmpuint(i.xbzrle_misses, >, 100);
    pair_release(&p);
}

/* A new size under way empties the cache; one for which there is no room changes nothing. */
static void
cache_is_resized_live(void)
{
    struct pair p;
    g_autoptr(GError) error = NULL;
    char *note = NULL;

    pair_init(&p, SMALL, 100);
    atomic_store(&p.capabilities.xbzrle, true);
    fake_fill(&p.from.fake, 37);
    fake_run(&p.from.fake);
    hold_up(&p);
    g_autofree char *uri = g_strconcat("unix:", p.path, NULL);
    pair_start(&p, uri, uri);
    PAIR_WAIT(&p, figures(&p.from).xbzrle_pages > 0);
    uint64_t misses = figures(&p.from).xbzrle_misses;
    g_assert_false(session_parameter_set(p.from.session, &p.parameters, "xbzrle-cache-size", "4E", &note, &error));
    g_assert_error(error, NUMON_ERROR, NUMON_ERROR_HOST);
    g_assert_null(note);
    g_assert_cmpuint(p.parameters.xbzrle_cache_size, ==, 64 * MIB);
    g_assert_cmpuint(figures(&p.from).cache_bytes, ==, 64 * MIB);
    g_assert_true(session_parameter_set(p.from.session, &p.parameters, "xbzrle_cache_size", "5M", &note, NULL));
    g_assert_nonnull(strstr(note, "4 MiB"));
    g_free(note);
    g_assert_cmpuint(p.parameters.xbzrle_cache_size, ==, 4 * MIB);
    g_assert_cmpuint(figures(&p.from).cache_bytes, ==, 4 * MIB);
    PAIR_WAIT(&p, figures(&p.from).xbzrle_misses > misses);
    let_go(&p);
    PAIR_WAIT(&p, side_ended(&p.from) && side_ended(&p.to));
    pair_assert_moved(&p);
    pair_release(&p);
}

static void
cache_without_room_is_an_error_of_the_start(void)
{
    struct pair p;
    g_autoptr(GError) error = NULL;
    char *note = NULL;

    pair_init(&p, SMALL, 0);
    atomic_store(&p.capabilities.xbzrle, true);
    g_assert_true(session_parameter_set(NULL, &p.parameters, "xbzrle-cache-size", "4E", &note, NULL));
    g_assert_null(note);
    g_autofree char *uri = g_strconcat("unix:", p.path, NULL);
    g_assert_false(session_start(p.from.session, uri, &error));
    g_assert_error(error, NUMON_ERROR, NUMON_ERROR_HOST);
    g_assert_cmpint(side_state(&p.from), ==, MIGRATE_NONE);
    g_assert_true(session_parameter_set(p.from.session, &p.parameters, "xbzrle-cache-size", "1M", &note, NULL));
    pair_release(&p);
}

/* A file written with both is read again without any capability set. */
static void
file_tells_what_reading_it_needs(void)
{
    struct pair p;

    pair_open(&p, SMALL, 20, 38);
    g_autofree char *file = g_build_filename(p.directory, "file", NULL);
    g_autofree char *out = g_strdup_printf("exec:cat > '%s'", file);
    g_autofree char *in = g_strdup_printf("exec:cat '%s'", file);
    atomic_store(&p.capabilities.compress, true);
    atomic_store(&p.capabilities.xbzrle, true);
    hold_up(&p);
    g_assert_true(session_start(p.from.session, out, NULL));
    PAIR_WAIT(&p, figures(&p.from).xbzrle_bytes > 1000);
    let_go(&p);
    PAIR_WAIT(&p, side_ended(&p.from));
    g_assert_cmpint(side_state(&p.from), ==, MIGRATE_COMPLETED);
    atomic_store(&p.capabilities.compress, false);
    atomic_store(&p.capabilities.xbzrle, false);
    g_assert_true(session_start(p.to.session, in, NULL));
    PAIR_WAIT(&p, side_ended(&p.to));
    g_assert_cmpint(side_state(&p.to), ==, MIGRATE_COMPLETED);
    pair_assert_equal(&p);
    g_assert_cmpuint(figures(&p.to).compress_pages, ==, figures(&p.from).compress_pages);
    g_assert_cmpuint(figures(&p.to).xbzrle_pages, >, 0);
    g_unlink(file);
    pair_release(&p);
}

/* --- refusals --------------------------------------------------------------------------------------------------- */

enum { RECORDS_MOST = 3 };

/* Records of page 5 of block "m1": flags, then the bytes behind. */
struct record { unsigned flags; uint32_t size; const uint8_t *bytes; };

static const uint8_t zeros[CODED_MOST + 8];
#define BYTES(...) sizeof (const uint8_t[]) { __VA_ARGS__ }, (const uint8_t[]) { __VA_ARGS__ }

static const struct {
    uint64_t features;
    struct record records[RECORDS_MOST];
    const char *why;
} wrong[] = {
    { 0, { { RAM_XBZRLE, BYTES(1, 0, 3, 0, 1, 5) } }, "announced no xbzrle" },
    { 0, { { RAM_COMPRESS, BYTES(0, 0, 0, 1, 0) } }, "announced no compress" },
    { 3, { { RAM_XBZRLE, BYTES(1, 0, 3, 0, 1, 5) } }, "never came before" },
    { 3, { { RAM_ZERO, BYTES(0) }, { RAM_XBZRLE, BYTES(2, 0, 3, 0, 1, 5) } }, "unknown encoding 2" },
    { 3, { { RAM_ZERO, BYTES(0) }, { RAM_XBZRLE, BYTES(1, 0, 0) } }, "has 0 bytes" },
    { 3, { { RAM_ZERO, BYTES(0) }, { RAM_XBZRLE, BYTES(1, 0x10, 1) } }, "has 4097 bytes" },
    { 3, { { RAM_ZERO, BYTES(0) }, { RAM_XBZRLE, BYTES(1, 0, 3, 0, 0, 5) } }, "is no encoding" },
    { 3, { { RAM_COMPRESS, BYTES(0, 0, 0, 0) } }, "has 0 compressed bytes" },
    { 3, { { RAM_COMPRESS, BYTES(0, 0, 0x10, 0x0f) } }, "has 4111 compressed bytes" },
    { 3, { { RAM_COMPRESS, BYTES(0xff, 0xff, 0xff, 0xff) } }, "compressed bytes" },
    { 3, { { RAM_COMPRESS, BYTES(0, 0, 0, 4, 1, 2, 3, 4) } }, "cannot be decompressed" },
    { 3, { { RAM_COMPRESS, BYTES(0, 0, 0, 4, 1, 2, 3, 4) }, { RAM_ZERO, BYTES(0) } }, "cannot be decompressed" },
    { 3, { { RAM_PAGE | RAM_XBZRLE, BYTES(0) } }, "unknown flags 0x48" },
    { 3, { { 0x080, BYTES(0) } }, "RDMA is not supported" },
    { 3, { { 0x200, BYTES(0) } }, "multifd is not supported" },
    { 3, { { 0x001, BYTES(0) } }, "2009 is not supported" },
    { 3, { { 0x800, BYTES(0) } }, "announced no memory-copy" },
    { 1 << 20, { { 0 } }, "not known here (0x100000)" },
    /* Runs: the block has 64 pages. */
    { 0, { { RAM_RUN | RAM_ZERO, BYTES(0, 0, 0, 2) } }, "announced no runs" },
    { 0, { { RAM_RUN | RAM_PAGE, BYTES(0, 0, 0, 2) } }, "announced no runs" },
    { 16, { { RAM_RUN | RAM_ZERO, BYTES(0, 0, 0, 0) } }, "a run of 0 pages from 0x5000" },
    { 16, { { RAM_RUN | RAM_ZERO, BYTES(0, 0, 0, 60) } }, "a run of 60 pages" },
    { 16, { { RAM_RUN | RAM_PAGE, BYTES(0, 0, 0, 60) } }, "a run of 60 pages" },
    { 16, { { RAM_RUN | RAM_ZERO, BYTES(0, 0, 0x10, 1) } }, "1 to 4096 are allowed" },
    { 16, { { RAM_RUN | RAM_PAGE, BYTES(0xff, 0xff, 0xff, 0xff) } }, "it has 59 from there on" },
    { 16, { { RAM_RUN, BYTES(0, 0, 0, 1) } }, "unknown flags 0x400" },
    { 16, { { RAM_RUN | RAM_XBZRLE, BYTES(0, 0, 0, 1) } }, "unknown flags 0x440" },
    { 16, { { RAM_RUN | RAM_ZERO | RAM_PAGE, BYTES(0, 0, 0, 1) } }, "unknown flags 0x40a" },
    { 16, { { RAM_RUN | RAM_ZERO, BYTES(0, 0, 0, 59) }, { 0x800, BYTES(0) } }, "announced no memory-copy" },
    { 18, { { RAM_COMPRESS, BYTES(0, 0, 0, 4, 1, 2, 3, 4) }, { RAM_RUN | RAM_ZERO, BYTES(0, 0, 0, 2) } },
      "cannot be decompressed" },
    { 18, { { RAM_COMPRESS, BYTES(0, 0, 0, 4, 1, 2, 3, 4) }, { RAM_RUN | RAM_PAGE, BYTES(0, 0, 0, 2) } },
      "cannot be decompressed" },
};

static void
put_block_list(const struct fake *f, GByteArray *out)
{
    struct session s = { .guest.map = f->map };

    session_list_blocks(&s);
    wire_put_block_list(out, s.blocks, s.block_count);
    g_free(s.blocks);
}

static void
put_stream(GByteArray *out, const struct fake *f, uint64_t features, const struct record *records)
{
    wire_put_head(out, f->machine_type, 77, features, f->description);
    wire_put_section(out, RECORD_START, 1, "ram", 0, RAM_VERSION);
    put_block_list(f, out);
    wire_put_footer(out, 1);
    wire_put_part(out, RECORD_PART, 1);
    for (unsigned i = 0; i < RECORDS_MOST && records[i].flags; i++) {
        uint8_t header[RAM_HEADER_MOST];
        g_byte_array_append(out, header, wire_ram_header(header, 5 * PAGE_SIZE, records[i].flags, i ? NULL : "m1"));
        g_byte_array_append(out, records[i].bytes, records[i].size);
    }
    wire_put64(out, RAM_EOS);
    wire_put_footer(out, 1);
    g_byte_array_append(out, zeros, sizeof zeros);
}

static void
wrong_records_are_refused_with_their_place(void)
{
    struct pair p;

    pair_init(&p, SMALL, 0);
    g_autofree char *file = g_build_filename(p.directory, "file", NULL);
    g_autofree char *in = g_strdup_printf("exec:cat '%s'", file);
    for (unsigned i = 0; i < G_N_ELEMENTS(wrong); i++) {
        g_autoptr(GByteArray) stream = g_byte_array_new();
        put_stream(stream, &p.to.fake, wrong[i].features, wrong[i].records);
        g_assert_true(g_file_set_contents(file, (const char *)stream->data, stream->len, NULL));
        pair_sessions(&p);
        g_assert_true(session_start(p.to.session, in, NULL));
        PAIR_WAIT(&p, side_ended(&p.to));
        g_assert_cmpint(side_state(&p.to), ==, MIGRATE_FAILED);
        g_autofree char *text = side_error(&p.to);
        g_test_message("%s", text);
        if (!strstr(text, wrong[i].why) || !strstr(text, "of the stream"))
            g_error("case %u: '%s' is not in '%s'", i, wrong[i].why, text);
        if (strstr(text, "page 0x"))
            g_assert_nonnull(strstr(text, "page 0x5000 of block 'm1'"));
    }
    g_unlink(file);
    pair_release(&p);
}

int
main(int argc, char **argv)
{
    main_thread_claim();
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/coding/differences go after the first pass", differences_go_after_the_first_pass);
    g_test_add_func("/coding/pages are compressed in all passes", pages_are_compressed_in_all_passes);
    g_test_add_func("/coding/both compress first and send differences then",
                    both_compress_first_and_send_differences_then);
    g_test_add_func("/coding/counters begin at zero", counters_begin_at_zero);
    g_test_add_func("/coding/busy workers let pages pass whole", busy_workers_let_pages_pass_whole);
    g_test_add_func("/coding/tiny cache misses", tiny_cache_misses);
    g_test_add_func("/coding/cache is resized live", cache_is_resized_live);
    g_test_add_func("/coding/cache without room is an error of the start",
                    cache_without_room_is_an_error_of_the_start);
    g_test_add_func("/coding/file tells what reading it needs", file_tells_what_reading_it_needs);
    g_test_add_func("/coding/wrong records are refused with their place",
                    wrong_records_are_refused_with_their_place);
    return g_test_run();
}
