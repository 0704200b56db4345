/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The pages of a source, one by one: what goes into the stream is what its page cache remembers, whatever the guest
 * does between the looking and the sending; and which record a page becomes. */
#include "../../src/migrate/migrate-private.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PAGES = 8, TAKEN_MOST = 64 * 1024 };

struct rig {
    struct guest_map *map;
    struct hub *hub;
    struct block *block;
    struct migrate_parameters parameters;
    struct session session;
    struct output output;
    struct ram_out ram;
    _Atomic uint64_t accepted;
    int far;                        /* the other end of the channel */
    uint8_t taken[TAKEN_MOST];      /* from there */
    size_t taken_size;
};

static struct rig *
rig_new(uint64_t features, uint64_t cache_bytes)
{
    struct rig *g = g_new0(struct rig, 1);
    struct backend_options options;
    int ends[2];

    backend_options_init_default(&options, "m0", PAGES * PAGE_SIZE);
    g->map = guest_map_new();
    g->block = block_new(&options, NULL);
    guest_map_take_block(g->map, g->block);
    g->hub = hub_new(g->map, (struct dirty_source) { 0 });
    migrate_parameters_init(&g->parameters);
    lock_init(&g->session.lock, 30, "rig");
    g->session.guest = (struct migrate_guest) { .map = g->map, .hub = g->hub };
    g->session.parameters = &g->parameters;
    g->session.features = features;
    lock_take(&g->session.lock);
    g->session.new_cache = cache_bytes ? page_cache_new(cache_bytes, NULL) : NULL;
    lock_drop(&g->session.lock);
    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), ==, 0);
    g->output.channel = channel_new_socket(ends[0], -1);
    g->output.accepted = &g->accepted;
    g->far = ends[1];
    session_list_blocks(&g->session);
    g_assert_true(ram_out_init(&g->ram, &g->session, &g->output, NULL));
    g->ram.list.subscriber = hub_subscribe(g->hub, "test", NULL);
    ram_out_part(&g->ram);
    return g;
}

static void
rig_free(struct rig *g)
{
    hub_unsubscribe(g->hub, g->ram.list.subscriber);
    ram_out_release(&g->ram);
    g_free(g->session.blocks);
    channel_free(g->output.channel);
    close(g->far);
    hub_free(g->hub);
    guest_map_free(g->map);
    lock_release(&g->session.lock);
    g_free(g);
}

static uint8_t *
page_of(struct rig *g, unsigned index)
{
    return g->block->host + index * PAGE_SIZE;
}

static void
look(struct rig *g, unsigned index)
{
    g_assert_true(ram_out_run(&g->ram, g->block, index, 1, NULL));
}

/* Sends what was looked at; it is left in 'taken'. */
static void
send_out(struct rig *g)
{
    g_assert_true(ram_out_drain(&g->ram, NULL));
    uint64_t before = g->accepted;
    g_assert_true(output_flush(&g->output, NULL));
    size_t size = g->accepted - before;
    g_assert_cmpuint(size, <=, sizeof g->taken);
    for (g->taken_size = 0; g->taken_size < size;) {
        ssize_t got = read(g->far, g->taken + g->taken_size, size - g->taken_size);
        g_assert_cmpint(got, >, 0);
        g->taken_size += (size_t)got;
    }
}

/* The flags of the record that 'taken' begins with. */
static unsigned
flags_taken(const struct rig *g)
{
    g_assert_cmpuint(g->taken_size, >=, 8);
    return (unsigned)g->taken[6] << 8 | g->taken[7];
}

static void
begin_round(struct rig *g)
{
    g->ram.list.at[0].sent = PAGES;
    counter_add(&g->session.counters.dirty_syncs, 1);
    ram_out_part(&g->ram);
}

/* Its guest writes a page while that waits in the output, and writes it back before the next look. */
static void
cache_remembers_what_was_sent(void)
{
    struct rig *g = rig_new(FEATURE_XBZRLE, 64 * KIB);
    uint8_t *page = page_of(g, 3);

    begin_round(g);
    memset(page, 'A', PAGE_SIZE);
    look(g, 3);
    memset(page, 'B', PAGE_SIZE);
    send_out(g);
    g_assert_cmpuint(flags_taken(g), ==, 3 * PAGE_SIZE % 65536 + RAM_PAGE);
    g_assert_cmpuint(g->taken_size, ==, 8 + 1 + 2 + PAGE_SIZE);
    for (unsigned i = 11; i < g->taken_size; i++)
        g_assert_cmpuint(g->taken[i], ==, 'A');
    memset(page, 'A', PAGE_SIZE);
    begin_round(g);
    look(g, 3);
    send_out(g);
    g_assert_cmpuint(g->taken_size, ==, 0);             /* equal to what the destination has */
    g_assert_cmpuint(g->session.counters.xbzrle_pages, ==, 1);
    /* The same for a difference that is too large. */
    begin_round(g);
    memset(page, 'C', PAGE_SIZE);
    look(g, 3);
    memset(page, 'D', PAGE_SIZE);
    send_out(g);
    g_assert_cmpuint(g->session.counters.xbzrle_overflows, ==, 1);
    g_assert_cmpuint(g->taken_size, ==, 8 + PAGE_SIZE);
    g_assert_cmpuint(g->taken[8], ==, 'C');
    g_assert_cmpuint(g->taken[7 + PAGE_SIZE], ==, 'C');
    rig_free(g);
}

static void
zero_page_changes_the_copy(void)
{
    struct rig *g = rig_new(FEATURE_XBZRLE, 64 * KIB);
    uint8_t *page = page_of(g, 1);

    begin_round(g);
    memset(page, 'A', PAGE_SIZE);
    look(g, 1);
    send_out(g);
    begin_round(g);
    memset(page, 0, PAGE_SIZE);
    look(g, 1);
    send_out(g);
    g_assert_cmpuint(flags_taken(g), ==, PAGE_SIZE + RAM_ZERO + RAM_CONTINUE);
    begin_round(g);
    memset(page + PAGE_SIZE / 2, 'A', PAGE_SIZE / 2);
    look(g, 1);
    send_out(g);
    /* Against zeros it is half of the page, behind the record's word, encoding and length and two runs' lengths. */
    g_assert_cmpuint(g->taken_size, ==, 8 + 3 + 2 + 2 + PAGE_SIZE / 2);
    g_assert_cmpuint(flags_taken(g), ==, PAGE_SIZE + RAM_XBZRLE + RAM_CONTINUE);
    g_assert_cmpuint(g->session.counters.xbzrle_bytes, ==, 3 + 2 + 2 + PAGE_SIZE / 2);
    rig_free(g);
}

/* Slots 2: pages 0 and 2 want the same. */
static void
refused_page_goes_whole_and_has_no_copy(void)
{
    struct rig *g = rig_new(FEATURE_XBZRLE, 2 * PAGE_SIZE);

    begin_round(g);
    memset(page_of(g, 0), 'A', PAGE_SIZE);
    memset(page_of(g, 2), 'B', PAGE_SIZE);
    look(g, 0);
    look(g, 2);
    send_out(g);
    begin_round(g);
    look(g, 0);
    look(g, 2);
    send_out(g);
    g_assert_cmpuint(g->taken_size, ==, 8 + PAGE_SIZE);
    g_assert_cmpuint(flags_taken(g), ==, 2 * PAGE_SIZE + RAM_PAGE + RAM_CONTINUE);
    g_assert_cmpuint(g->session.counters.xbzrle_misses, ==, 3);
    g_assert_cmpuint(g->session.counters.xbzrle_pages, ==, 1);
    /* The last stage takes nothing in any more. */
    g->ram.last = true;
    begin_round(g);
    memset(page_of(g, 1), 'C', PAGE_SIZE);
    look(g, 1);
    look(g, 1);
    send_out(g);
    g_assert_cmpuint(g->taken_size, ==, 2 * (8 + PAGE_SIZE));
    rig_free(g);
}

static bool
is_good(void *self, struct squeeze_job *job, GError **error)
{
    return job->good;
}

/* A page changes after it was given to a worker: what is sent is the copy. */
static void
compressed_is_the_copy(void)
{
    struct rig *g = rig_new(FEATURE_COMPRESS, 0);

    for (unsigned i = 0; i < 3; i++)
        memset(page_of(g, i), 'A' + (int)i, PAGE_SIZE);
    look(g, 0);
    look(g, 1);
    look(g, 2);
    memset(page_of(g, 0), 0, 3 * PAGE_SIZE);
    send_out(g);
    g_assert_cmpuint(g->session.counters.compress_pages, ==, 2);
    g_assert_cmpuint(g->session.counters.pages_normal, ==, 1);      /* the first of the block */
    g_assert_cmpuint(g->session.counters.compressed_bytes, <, 200);
    g_assert_cmpuint(g->taken_size, ==, 8 + 3 + PAGE_SIZE + 2 * 8 + g->session.counters.compressed_bytes);
    struct pool *pool = pool_new(true, 1, NULL);
    const uint8_t *at = g->taken + 8 + 3 + PAGE_SIZE;
    for (unsigned i = 1; i < 3; i++) {
        bool done;
        uint8_t page[PAGE_SIZE];
        struct squeeze_job *job = pool_take(pool, true, &done);
        g_assert_cmpuint((unsigned)at[6] << 8 | at[7], ==, i * PAGE_SIZE + RAM_COMPRESS + RAM_CONTINUE);
        job->coded_size = (uint32_t)at[10] << 8 | at[11];
        memcpy(job->coded, at + 12, job->coded_size);
        job->target = page;
        pool_give(pool, job);
        at += 12 + job->coded_size;
        g_assert_true(pool_drain(pool, is_good, NULL, NULL));
        for (unsigned k = 0; k < PAGE_SIZE; k++)
            g_assert_cmpuint(page[k], ==, 'A' + i);
    }
    pool_free(pool);
    rig_free(g);
}

/* Of eight pages the fourth to the sixth have something in them. */
static void
pages_go_by_runs_to_who_knows_them(void)
{
    for (unsigned known = 0; known < 2; known++) {
        struct rig *g = rig_new(known ? FEATURE_RUNS : 0, 0);

        memset(page_of(g, 3), 'A', 3 * PAGE_SIZE);
        g_assert_true(ram_out_run(&g->ram, g->block, 0, PAGES, NULL));
        send_out(g);
        g_assert_cmpuint(g->session.counters.pages_zero, ==, 5);
        g_assert_cmpuint(g->session.counters.pages_normal, ==, 3);
        g_assert_cmpuint(flags_taken(g), ==, known ? RAM_RUN | RAM_ZERO : RAM_ZERO);
        g_assert_cmpuint(g->taken_size, ==, 3 + 3 * PAGE_SIZE
                         + (known ? 3 * (8 + 4) : 5 * RAM_ZERO_SIZE + 3 * 8));
        for (unsigned i = 0; i < PAGES; i++)
            g_assert_cmpint(g->ram.fates[i], ==, i >= 3 && i < 6 ? FATE_WHOLE : FATE_ZERO);
        memset(page_of(g, 3), 0, PAGE_SIZE);        /* alone it is no run */
        look(g, 3);
        look(g, 4);
        send_out(g);
        g_assert_cmpuint(g->taken_size, ==, RAM_ZERO_SIZE + 8 + PAGE_SIZE);
        rig_free(g);
    }
}

int
main(int argc, char **argv)
{
    main_thread_claim();
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/ram-out/cache remembers what was sent", cache_remembers_what_was_sent);
    g_test_add_func("/ram-out/zero page changes the copy", zero_page_changes_the_copy);
    g_test_add_func("/ram-out/refused page goes whole and has no copy", refused_page_goes_whole_and_has_no_copy);
    g_test_add_func("/ram-out/compressed is the copy", compressed_is_the_copy);
    g_test_add_func("/ram-out/pages go by runs to who knows them", pages_go_by_runs_to_who_knows_them);
    return g_test_run();
}
