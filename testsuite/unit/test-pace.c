/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Budgets, bandwidth and the threshold of the switchover, with time passed in: no test here waits. */
#include "../../src/migrate/migrate-private.h"

/* Sends pages as fast as the budget lets for 'seconds'; returns the bytes. */
static uint64_t
run(struct pace *p, int64_t *now, uint64_t max_bandwidth, unsigned seconds)
{
    uint64_t before = p->total;

    for (int64_t end = *now + (int64_t)seconds * 1000000; *now < end;) {
        pace_advance(p, max_bandwidth, *now);
        if (pace_budget(p, max_bandwidth) > 0) {
            pace_spend(p, PAGE_SIZE + 8, 1);
            *now += 2;
        } else {
            *now = pace_window_end(p);
        }
    }
    return p->total - before;
}

static void
limit_is_kept_on_average(void)
{
    static const uint64_t limits[] = { 10 * KIB, 64 * KIB, 1 * MIB, 128 * MIB };

    for (unsigned i = 0; i < G_N_ELEMENTS(limits); i++) {
        struct pace p;
        int64_t now = 1000;
        pace_init(&p, now);
        double sent = (double)run(&p, &now, limits[i], 20) / 20;
        g_assert_cmpfloat(sent, <=, (double)limits[i] * 1.05 + PAGE_SIZE);
        g_assert_cmpfloat(sent, >=, (double)limits[i] * 0.9);
    }
}

static void
change_of_the_limit_acts_at_once(void)
{
    struct pace p;
    int64_t now = 0;

    pace_init(&p, now);
    run(&p, &now, 0, 2);
    uint64_t slow = run(&p, &now, 100 * KIB, 5);
    g_assert_cmpuint(slow, <=, 600 * KIB);
    g_assert_cmpuint(slow, >=, 400 * KIB);
    g_assert_cmpuint(run(&p, &now, 10 * MIB, 1), >=, 9 * MIB);
    g_assert_cmpuint(pace_budget(&p, 0), ==, UINT64_MAX);
}

static void
bandwidth_is_that_of_the_last_window(void)
{
    struct pace p;

    pace_init(&p, 0);
    pace_spend(&p, 500000, 100);
    g_assert_cmpfloat(pace_bandwidth(&p, 0, 50000), ==, 10000);        /* so far: 500 kB in 50 ms */
    g_assert_cmpfloat(pace_bandwidth(&p, 1000000, 50000), ==, 1000);   /* not above the limit */
    pace_advance(&p, 0, 99999);
    g_assert_cmpfloat(p.bytes_per_ms, ==, 0);
    pace_advance(&p, 0, 100000);
    g_assert_cmpfloat(pace_bandwidth(&p, 0, 100000), ==, 5000);
    g_assert_cmpfloat(p.pages_per_second, ==, 1000);
    pace_spend(&p, 100, 1);
    pace_advance(&p, 0, 300000);
    g_assert_cmpfloat(pace_bandwidth(&p, 0, 300000), ==, 0.5);
}

static void
threshold_is_bandwidth_times_downtime(void)
{
    g_assert_cmpuint(pace_threshold(1000, 0, 300), ==, 300000);
    g_assert_cmpuint(pace_threshold(1000, 5000000, 300), ==, 1500000);
    g_assert_cmpuint(pace_threshold(1000, 0, 0), ==, 0);
    g_assert_cmpuint(pace_threshold(1e9, UINT64_MAX, 2000000), >, GIB);
}

int
main(int argc, char **argv)
{
    main_thread_claim();
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/pace/limit is kept on average", limit_is_kept_on_average);
    g_test_add_func("/pace/change of the limit acts at once", change_of_the_limit_acts_at_once);
    g_test_add_func("/pace/bandwidth is that of the last window", bandwidth_is_that_of_the_last_window);
    g_test_add_func("/pace/threshold is bandwidth times downtime", threshold_is_bandwidth_times_downtime);
    return g_test_run();
}
