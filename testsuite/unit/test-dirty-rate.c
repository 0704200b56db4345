/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The dirty rate of writes that a test makes itself. */
#include "memory.h"

enum { PAGES = 64, CPUS = 3 };

/* A ring's log: it tells of the same page again and again, as others empty it. */
static bool
nothing_more(void *self, struct block *b, uint64_t *words, GError **error)
{
    return true;
}

static bool
start_nothing(void *self, GError **error)
{
    return true;
}

static void
stop_nothing(void *self)
{
}

static uint64_t
pages_of(const struct dirty_rate_result *r, unsigned cpu)
{
    return g_array_index(r->cpus, uint64_t, cpu);
}

static void
vcpus_come_to_no_more_than_the_whole(void)
{
    struct dirty_source source = { .start = start_nothing, .collect = nothing_more, .stop = stop_nothing,
                                   .tells_cpus = true };
    g_autoptr(guest_map) map = guest_map_new();
    struct backend_options options;
    struct dirty_rate_result found;
    struct dirty_rate *rate;
    struct block *b;
    struct hub *hub;

    backend_options_init_default(&options, "ram", PAGES * PAGE_SIZE);
    b = block_new(&options, NULL);
    guest_map_take_block(map, b);
    guest_map_add(map, &(struct section) { .size = PAGES * PAGE_SIZE, .block = b, .node = -1 });
    hub = hub_new(map, source);
    rate = dirty_rate_begin(map, hub, DIRTY_RATE_RING, 0, CPUS, NULL);
    g_assert_nonnull(rate);
    for (unsigned round = 0; round < 5; round++) {
        for (uint64_t page = 0; page < 8; page++) {
            hub_mark(hub, b, page, 1);
            hub_wrote(hub, b, page, page == 7 ? round % 2 : 0);
        }
        hub_mark(hub, b, 20, 1);
        hub_wrote(hub, b, 20, 1);
    }
    hub_mark(hub, b, 40, 2);            /* a device */
    g_assert_true(dirty_rate_end(rate, &found, NULL));
    g_assert_cmpuint(found.pages, ==, 11);
    g_assert_cmpuint(found.cpus->len, ==, CPUS);
    g_assert_cmpuint(pages_of(&found, 0), ==, 8);
    g_assert_cmpuint(pages_of(&found, 1), ==, 1);
    g_assert_cmpuint(pages_of(&found, 2), ==, 0);
    dirty_rate_result_release(&found);
    dirty_rate_free(rate);
    hub_free(hub);
}

int
main(int argc, char **argv)
{
    main_thread_claim();
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/dirty-rate/vcpus-come-to-no-more-than-the-whole", vcpus_come_to_no_more_than_the_whole);
    return g_test_run();
}
