/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The pools that compress and decompress pages: what comes out is what went in, and what is no page is refused. */
#include "../../src/migrate/migrate-private.h"

#include <string.h>
#include <zlib.h>

enum { PAGES = 300, BACK = 64 };

struct round_trip {
    uint8_t pages[PAGES][PAGE_SIZE], loaded[PAGES][PAGE_SIZE];
    struct pool *in, *out;
    unsigned coded, done;
};

static void
fill_page(uint8_t *page, unsigned seed)
{
    for (unsigned i = 0; i < PAGE_SIZE; i++)
        page[i] = seed % 4 == 0 ? (uint8_t)g_test_rand_int() : seed % 4 == 1 ? (uint8_t)(i / 64) : (uint8_t)seed;
}

static bool
loaded(void *self, struct squeeze_job *job, GError **error)
{
    struct round_trip *t = self;

    g_assert_true(job->good);
    t->done++;
    return true;
}

/* A compressed page goes to the other pool at once. */
static bool
coded(void *self, struct squeeze_job *job, GError **error)
{
    struct round_trip *t = self;
    bool done;

    g_assert_true(job->good);
    g_assert_cmpuint(job->coded_size, <=, CODED_MOST);
    struct squeeze_job *load = pool_take(t->in, true, &done);
    if (done)
        loaded(t, load, NULL);
    memcpy(load->coded, job->coded, job->coded_size);
    load->coded_size = job->coded_size;
    load->target = t->loaded[job->offset / PAGE_SIZE];
    pool_give(t->in, load);
    t->coded++;
    return true;
}

static void
squeeze(struct round_trip *t, unsigned at, int level)
{
    bool done;
    struct squeeze_job *job = pool_take(t->out, true, &done);

    if (done)
        coded(t, job, NULL);
    job->offset = at * PAGE_SIZE;
    job->level = level;
    memcpy(job->page, t->pages[at], PAGE_SIZE);
    pool_give(t->out, job);
}

static void
pages_come_out_as_they_went_in(void)
{
    static const struct { unsigned out, in; } threads[] = { { 1, 1 }, { 8, 2 }, { 3, 5 } };

    g_assert_cmpuint(CODED_MOST, ==, compressBound(PAGE_SIZE));
    for (unsigned i = 0; i < G_N_ELEMENTS(threads); i++) {
        struct round_trip *t = g_new0(struct round_trip, 1);
        t->out = pool_new(false, threads[i].out, NULL);
        t->in = pool_new(true, threads[i].in, NULL);
        for (unsigned at = 0; at < PAGES; at++) {
            fill_page(t->pages[at], at);
            squeeze(t, at, (int)(at % 10));
        }
        g_assert_true(pool_drain(t->out, coded, t, NULL));
        g_assert_cmpuint(t->coded, ==, PAGES);
        g_assert_true(pool_drain(t->in, loaded, t, NULL));
        g_assert_cmpuint(t->done, ==, PAGES);
        g_assert_cmpint(memcmp(t->pages, t->loaded, sizeof t->pages), ==, 0);
        pool_free(t->out);
        pool_free(t->in);
        g_free(t);
    }
}

static const uint8_t sample[PAGE_SIZE] = { 1, 2, 3 };

static void
give_sample(struct pool *p, struct squeeze_job *job, uint8_t *target)
{
    uLongf size = sizeof job->coded;

    g_assert_cmpint(compress2(job->coded, &size, sample, PAGE_SIZE, 6), ==, Z_OK);
    job->coded_size = (uint32_t)size;
    job->target = target;
    pool_give(p, job);
}

static bool
count_good(void *self, struct squeeze_job *job, GError **error)
{
    *(unsigned *)self += job->good;
    return true;
}

/* What is in the pool counts as at work until it was taken back. */
static void
what_was_given_is_at_work_until_taken_back(void)
{
    struct pool *p = pool_new(true, 1, NULL);
    uint8_t target[PAGE_SIZE];
    unsigned good = 0;
    bool done;

    struct squeeze_job *job = pool_take(p, false, &done);
    g_assert_nonnull(job);
    g_assert_false(done);
    g_assert_true(pool_take(p, false, &done) == job);           /* it was not given */
    g_assert_false(pool_works_on(p, target));
    give_sample(p, job, target);
    g_assert_true(pool_works_on(p, target));
    g_assert_false(pool_works_on(p, target + 1));
    g_assert_true(pool_drain(p, count_good, &good, NULL));
    g_assert_cmpuint(good, ==, 1);
    g_assert_false(pool_works_on(p, target));
    g_assert_cmpmem(target, PAGE_SIZE, sample, PAGE_SIZE);
    pool_free(p);
    pool_free(NULL);
}

/* Every job of the ring goes round some times, and none is given twice before its result was taken back. */
static void
full_ring_is_waited_for(void)
{
    enum { GIVEN = 1000 };
    uint8_t (*targets)[PAGE_SIZE] = g_malloc0((size_t)GIVEN * PAGE_SIZE);
    struct pool *p = pool_new(true, 2, NULL);
    unsigned good = 0, refused = 0;
    bool done;

    for (unsigned i = 0; i < GIVEN; i++) {
        struct squeeze_job *job = pool_take(p, false, &done);

        refused += job == NULL;
        if (!job)
            job = pool_take(p, true, &done);
        if (done)
            count_good(&good, job, NULL);
        give_sample(p, job, targets[i]);
    }
    g_test_message("%u times the ring was full", refused);
    g_assert_true(pool_drain(p, count_good, &good, NULL));
    g_assert_cmpuint(good, ==, GIVEN);
    for (unsigned i = 0; i < GIVEN; i++)
        g_assert_cmpmem(targets[i], PAGE_SIZE, sample, PAGE_SIZE);
    pool_free(p);
    g_free(targets);
}

/* Results come in the order in which jobs were given. */
static bool
note_order(void *self, struct squeeze_job *job, GError **error)
{
    uint64_t *next = self;

    g_assert_cmpuint(job->offset, ==, *next);
    *next += PAGE_SIZE;
    return true;
}

static void
results_come_in_order(void)
{
    struct pool *p = pool_new(false, 3, NULL);
    uint64_t next = 0;
    bool done;

    for (unsigned i = 0; i < PAGES; i++) {
        struct squeeze_job *job = pool_take(p, true, &done);

        if (done)
            note_order(&next, job, NULL);
        job->offset = i * PAGE_SIZE;
        job->level = 1;
        memset(job->page, (int)i, PAGE_SIZE);
        pool_give(p, job);
    }
    g_assert_true(pool_drain(p, note_order, &next, NULL));
    g_assert_cmpuint(next, ==, PAGES * PAGE_SIZE);
    pool_free(p);
}

static bool
note_bad(void *self, struct squeeze_job *job, GError **error)
{
    g_assert_true(job->good || job->why);
    *(bool *)self = job->good;
    return true;
}

static bool
inflates(struct pool *p, const uint8_t *coded_bytes, uint32_t size, uint8_t target[PAGE_SIZE + BACK])
{
    bool done, good = false;
    struct squeeze_job *job = pool_take(p, true, &done);

    g_assert_false(done);
    memcpy(job->coded, coded_bytes, size);
    job->coded_size = size;
    job->target = target;
    memset(target, 0xee, PAGE_SIZE + BACK);
    pool_give(p, job);
    g_assert_true(pool_drain(p, note_bad, &good, NULL));
    for (unsigned i = 0; i < BACK; i++)
        g_assert_cmpuint(target[PAGE_SIZE + i], ==, 0xee);
    return good;
}

static void
what_is_no_page_is_refused(void)
{
    uint8_t page[2 * PAGE_SIZE], out[2 * CODED_MOST], target[PAGE_SIZE + BACK];
    struct pool *p = pool_new(true, 2, NULL);
    static const unsigned sizes[] = { 0, 1, PAGE_SIZE - 1, PAGE_SIZE + 1, PAGE_SIZE + 200 };

    memset(page, 7, sizeof page);
    for (unsigned i = 0; i < G_N_ELEMENTS(sizes); i++) {
        uLongf size = sizeof out;
        compress2(out, &size, page, sizes[i], 6);
        g_assert_false(inflates(p, out, (uint32_t)size, target));
    }
    uLongf size = sizeof out;
    compress2(out, &size, page, PAGE_SIZE, 6);
    g_assert_true(inflates(p, out, (uint32_t)size, target));
    for (uLongf cut = 1; cut < size; cut++)
        g_assert_false(inflates(p, out, (uint32_t)cut, target));
    out[size] = 0;
    g_assert_false(inflates(p, out, (uint32_t)size + 1, target));
    for (uLongf at = 2; at < size; at++) {
        out[at] ^= 0x40;
        g_assert_false(inflates(p, out, (uint32_t)size, target));
        out[at] ^= 0x40;
    }
    g_assert_true(inflates(p, out, (uint32_t)size, target));
    pool_free(p);
}

/* By zlib alone: exactly one stream of one page? */
static bool
zlib_inflates(const uint8_t *coded_bytes, uint32_t size, uint8_t page[PAGE_SIZE + 1])
{
    z_stream z = { .next_in = (uint8_t *)coded_bytes, .avail_in = size, .next_out = page,
                   .avail_out = PAGE_SIZE + 1 };

    g_assert_cmpint(inflateInit(&z), ==, Z_OK);
    bool good = inflate(&z, Z_FINISH) == Z_STREAM_END && z.total_out == PAGE_SIZE && z.avail_in == 0;
    inflateEnd(&z);
    return good;
}

/* Damaged, cut, or with something behind. */
static uint32_t
damage(uint8_t *stream, uint32_t size)
{
    for (int i = g_test_rand_int_range(0, 3); i > 0; i--)
        stream[g_test_rand_int_range(0, (int)size)] ^= (uint8_t)(1u << g_test_rand_int_range(0, 8));
    return g_test_rand_bit() ? size : (uint32_t)g_test_rand_int_range(1, (int)MIN(size + 8, CODED_MOST));
}

/* What zlib takes for a page the faster library takes too, for the same one.  It is content with tables that have
 * gaps, where zlib is not: but the page's sum must be right, and nothing may follow it. */
static void
assert_judged_alike(bool good, const uint8_t *target, const uint8_t *stream, uint32_t size)
{
    uint8_t known[PAGE_SIZE + 1];
    uint32_t sum;

    if (zlib_inflates(stream, size, known)) {
        g_assert_true(good);
        g_assert_cmpmem(target, PAGE_SIZE, known, PAGE_SIZE);
    } else if (good) {
        memcpy(&sum, stream + size - sizeof sum, sizeof sum);
        g_assert_cmphex(GUINT32_FROM_BE(sum), ==, adler32(1, target, PAGE_SIZE));
    }
}

static void
both_libraries_agree(void)
{
    enum { STREAMS = 20000 };
    uint8_t page[PAGE_SIZE], target[PAGE_SIZE], stream[CODED_MOST];
    struct deflater *d = deflater_new();
    unsigned taken = 0;

    if (!d) {
        g_test_skip("numon is built without ISA-L");
        return;
    }
    for (unsigned i = 0; i < STREAMS; i++) {
        fill_page(page, i);
        size_t size = deflater_deflate(d, 1 + (int)i % 3, page, stream, sizeof stream);
        g_assert_cmpuint(size, >, 0);
        memset(stream + size, (int)i, sizeof stream - size);
        uint32_t part = damage(stream, (uint32_t)size);
        bool good = deflater_inflate(d, stream, part, target);

        assert_judged_alike(good, target, stream, part);
        taken += good;
    }
    g_assert_cmpuint(taken, >, STREAMS / 20);
    deflater_free(d);
}

int
main(int argc, char **argv)
{
    main_thread_claim();
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/compress/pages come out as they went in", pages_come_out_as_they_went_in);
    g_test_add_func("/compress/what was given is at work until taken back",
                    what_was_given_is_at_work_until_taken_back);
    g_test_add_func("/compress/full ring is waited for", full_ring_is_waited_for);
    g_test_add_func("/compress/results come in order", results_come_in_order);
    g_test_add_func("/compress/what is no page is refused", what_is_no_page_is_refused);
    g_test_add_func("/compress/both libraries agree", both_libraries_agree);
    return g_test_run();
}
