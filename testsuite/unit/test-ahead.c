/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Pages that a destination reads straight into guest memory: runs of all lengths, which stop when they are expected
 * to go on, in pieces of all sizes.  Source and destination in one process. */
#include "migrate-fake.h"

#include <glib/gstdio.h>
#include <string.h>

#include "../../src/migrate/migrate-private.h"

enum { BLOCK_PAGES = 1024 };

static struct block *
block_of(struct fake *f, unsigned i)
{
    return f->map->blocks->pdata[i];
}

/* Runs of whole pages, of lengths by chance, and between them pages of zeros and now and then one of a single
 * byte. */
static void
fill_runs(struct fake *f, uint64_t seed)
{
    static const unsigned lengths[] = { 1, 2, 3, 4, 5, 8, 15, 31, 62, 63, 64, 65, 127, 200 };
    GRand *rand = g_rand_new_with_seed((guint32)seed);

    for (unsigned i = 0; i < FAKE_BLOCKS; i++) {
        struct block *b = block_of(f, i);
        for (uint64_t page = 0; page < b->page_count;) {
            unsigned run = lengths[g_rand_int_range(rand, 0, G_N_ELEMENTS(lengths))];
            for (; run && page < b->page_count; run--, page++)
                for (unsigned w = 0; w < PAGE_SIZE / 4; w++)
                    ((uint32_t *)(void *)(b->host + page * PAGE_SIZE))[w] = g_rand_int(rand);
            page += (uint64_t)g_rand_int_range(rand, 0, 4);
            if (page < b->page_count && g_rand_boolean(rand))
                b->host[page * PAGE_SIZE + 4000] = 1;
        }
    }
    g_rand_free(rand);
}

static void
check_pair(struct pair *p)
{
    PAIR_WAIT(p, side_ended(&p->from) && side_ended(&p->to));
    g_autofree char *error = side_error(&p->to);
    g_assert_cmpstr(error, ==, "");
    g_assert_cmpstr(p->to.states->str, ==, "setup active device completed");
    pair_assert_equal(p);
    g_assert_cmpuint(counter_read(&p->to.session->counters.pages_normal), ==,
                     counter_read(&p->from.session->counters.pages_normal));
    g_assert_cmpuint(counter_read(&p->to.session->counters.pages_zero), ==,
                     counter_read(&p->from.session->counters.pages_zero));
    g_assert_cmpuint(counter_read(&p->to.session->counters.bytes), ==,
                     counter_read(&p->from.session->counters.bytes));
}

static void
runs_arrive_over_a_socket(void)
{
    for (unsigned seed = 1; seed <= 4; seed++) {
        struct pair p;

        pair_init(&p, BLOCK_PAGES * PAGE_SIZE, seed % 2 ? 0 : 50);
        fill_runs(&p.from.fake, seed);
        fake_run(&p.from.fake);
        atomic_store(&p.parameters.max_bandwidth, 0);
        g_autofree char *uri = g_strconcat("unix:", p.path, NULL);
        pair_start(&p, uri, uri);
        check_pair(&p);
        pair_release(&p);
    }
}

/* Each read brings so many bytes: headers and pages are cut anywhere. */
static void
runs_arrive_in_pieces(void)
{
    static const unsigned sizes[] = { 1021, 4103, 4104, 4105, 65535 };

    for (unsigned i = 0; i < G_N_ELEMENTS(sizes); i++) {
        struct pair p;

        pair_init(&p, BLOCK_PAGES * PAGE_SIZE, 0);
        fill_runs(&p.from.fake, 10 + i);
        fake_run(&p.from.fake);
        atomic_store(&p.parameters.max_bandwidth, 0);
        g_autofree char *file = g_build_filename(p.directory, "file", NULL);
        g_autofree char *out = g_strdup_printf("exec:cat > '%s'", file);
        g_autofree char *in = g_strdup_printf("exec:dd bs=%u if='%s' 2> /dev/null", sizes[i], file);
        g_assert_true(session_start(p.from.session, out, NULL));
        PAIR_WAIT(&p, side_ended(&p.from));
        g_assert_true(session_start(p.to.session, in, NULL));
        check_pair(&p);
        g_unlink(file);
        pair_release(&p);
    }
}

/* What was read in vain into memory that nobody touched must not stay there: whoever reads it expects zeros. */
static void
memory_read_into_in_vain_is_zero(void)
{
    struct pair p;

    pair_init(&p, BLOCK_PAGES * PAGE_SIZE, 0);
    for (unsigned i = 0; i < FAKE_BLOCKS; i++)
        for (uint64_t page = 0; page < block_of(&p.from.fake, i)->page_count; page++)
            if (page % 128 < 100)
                memset(block_of(&p.from.fake, i)->host + page * PAGE_SIZE, 0xa5, PAGE_SIZE);
    fake_run(&p.from.fake);
    atomic_store(&p.parameters.max_bandwidth, 0);
    g_autofree char *uri = g_strconcat("unix:", p.path, NULL);
    pair_start(&p, uri, uri);
    check_pair(&p);
    for (unsigned i = 0; i < FAKE_BLOCKS; i++)
        for (uint64_t page = 0; page < block_of(&p.to.fake, i)->page_count; page++)
            g_assert_true((page % 128 >= 100) == page_is_zero(block_of(&p.to.fake, i)->host + page * PAGE_SIZE));
    pair_release(&p);
}

int
main(int argc, char **argv)
{
    main_thread_claim();
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/ahead/runs arrive over a socket", runs_arrive_over_a_socket);
    g_test_add_func("/ahead/runs arrive in pieces", runs_arrive_in_pieces);
    g_test_add_func("/ahead/memory read into in vain is zero", memory_read_into_in_vain_is_zero);
    return g_test_run();
}
