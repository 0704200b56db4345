/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Auto-converge as a table: periods of a second with so much dirtied and sent give these throttles. */
#include "../../src/migrate/migrate-private.h"

enum { SECOND_US = 1000 * 1000 };

static const struct converge_rules plain = { .threshold = 50, .initial = 20, .increment = 10, .most = 99 };

static void
second_strike_throttles(void)
{
    struct converge c;
    uint64_t sent = 0;

    converge_init(&c, 0);
    for (unsigned second = 1; second <= 20; second++) {
        sent += 1000;
        enum converge_step step = converge_sync(&c, &plain, 501, sent, second * SECOND_US);
        unsigned percent = second < 2 ? 0 : MIN(20 + (second - 2) * 10, 99);
        g_assert_cmpuint(c.percent, ==, percent);
        g_assert_cmpint(step, ==, second >= 2 && second <= 10 ? CONVERGE_THROTTLE : CONVERGE_STRIKE);
    }
    g_assert_cmpuint(c.percent, ==, 99);
}

/* As much is dirtied as the line takes, whatever is done: half of what the guest still had, each time; and where ten
 * times as much is, all that was too much at once. */
static void
great_excess_is_taken_at_once(void)
{
    static const unsigned percents[] = { 0, 50, 75, 87, 97, 99 };
    struct converge c;

    converge_init(&c, 0);
    for (unsigned second = 1; second <= G_N_ELEMENTS(percents); second++) {
        converge_sync(&c, &plain, 1000, second * 1000, second * SECOND_US);
        g_assert_cmpuint(c.percent, ==, percents[second - 1]);
    }
    converge_init(&c, 0);
    converge_sync(&c, &plain, 10000, 1000, SECOND_US);
    converge_sync(&c, &plain, 10000, 2000, 2 * SECOND_US);
    g_assert_cmpuint(c.percent, ==, 95);
}

/* Not more than the threshold is no strike, and does not take one away either. */
static void
good_period_neither_adds_nor_clears(void)
{
    struct converge c;

    converge_init(&c, 0);
    g_assert_cmpint(converge_sync(&c, &plain, 501, 1000, SECOND_US), ==, CONVERGE_STRIKE);
    g_assert_cmpint(converge_sync(&c, &plain, 500, 2000, 2 * SECOND_US), ==, CONVERGE_NOTHING);
    g_assert_cmpint(converge_sync(&c, &plain, 501, 3000, 3 * SECOND_US), ==, CONVERGE_THROTTLE);
    g_assert_cmpuint(c.percent, ==, 20);
}

/* Syncs within a second add up to one period. */
static void
short_rounds_add_up(void)
{
    struct converge c;

    converge_init(&c, 0);
    g_assert_cmpint(converge_sync(&c, &plain, 300, 500, SECOND_US / 2), ==, CONVERGE_NOTHING);
    g_assert_cmpint(converge_sync(&c, &plain, 300, 1000, SECOND_US - 1), ==, CONVERGE_NOTHING);
    g_assert_cmpint(converge_sync(&c, &plain, 0, 1000, SECOND_US), ==, CONVERGE_STRIKE);
    g_assert_cmpint(converge_sync(&c, &plain, 0, 2000, 2 * SECOND_US), ==, CONVERGE_NOTHING);
}

static void
tail_is_slow(void)
{
    struct converge_rules rules = plain;
    struct converge c;

    rules.tailslow = true;
    converge_init(&c, 0);
    c.percent = 60;
    c.count = 1;
    /* Allowed 500, found 550: 40 % of the time should be 36 %. */
    g_assert_cmpint(converge_sync(&c, &rules, 550, 1000, SECOND_US), ==, CONVERGE_THROTTLE);
    g_assert_cmpuint(c.percent, ==, 63);
    g_assert_cmpint(converge_sync(&c, &rules, 5000, 2000, 2 * SECOND_US), ==, CONVERGE_STRIKE);
    c.count = 1;
    g_assert_cmpint(converge_sync(&c, &rules, 5000, 3000, 3 * SECOND_US), ==, CONVERGE_THROTTLE);
    g_assert_cmpuint(c.percent, ==, 73);
}

/* Parameters changed in the middle: no more than the new limit, and never less than what it is. */
static void
limit_holds(void)
{
    struct converge_rules rules = plain;
    struct converge c;

    rules.most = 65;
    converge_init(&c, 0);
    c.percent = 60;
    c.count = 1;
    g_assert_cmpint(converge_sync(&c, &rules, 900, 1000, SECOND_US), ==, CONVERGE_THROTTLE);
    g_assert_cmpuint(c.percent, ==, 65);
    rules.most = 30;
    c.count = 1;
    g_assert_cmpint(converge_sync(&c, &rules, 900, 2000, 2 * SECOND_US), ==, CONVERGE_STRIKE);
    g_assert_cmpuint(c.percent, ==, 65);
}

int
main(int argc, char **argv)
{
    main_thread_claim();
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/converge/second strike throttles", second_strike_throttles);
    g_test_add_func("/converge/great excess is taken at once", great_excess_is_taken_at_once);
    g_test_add_func("/converge/good period neither adds nor clears", good_period_neither_adds_nor_clears);
    g_test_add_func("/converge/short rounds add up", short_rounds_add_up);
    g_test_add_func("/converge/tail is slow", tail_is_slow);
    g_test_add_func("/converge/limit holds", limit_holds);
    return g_test_run();
}
