/* SPDX-License-Identifier: GPL-3.0-or-later */
/* When the guest is stopped, as a table of what a look at the log finds: a line of 1000 bytes a microsecond. */
#include "../../src/migrate/migrate-private.h"

#define MS 1000

static const struct flow line = { .raw = 1000 * 1000, .wire = 1000 * 1000, .us = 1000 };

/* A second has passed; 10 ms of the line are left and 300 would fit; the guest writes at a fifth of the line's
 * speed. */
static struct settle_facts
usual(void)
{
    return (struct settle_facts) {
        .rest = 10 * 1000 * 1000, .fits = 300 * 1000 * 1000, .fresh = 200 * 1000, .fresh_us = 1000, .flow = &line,
        .budget = UINT64_MAX, .window_budget = UINT64_MAX, .now_us = 2000 * MS, .begin_us = 1000 * MS,
        .look_us = 100, .effort = 10,
    };
}

static void
what_does_not_fit_is_too_much(void)
{
    struct settle_facts k = usual();
    struct settle s = { 0 };

    k.rest = k.fits + 1;
    g_assert_cmpint(settle_look(&s, &k), ==, SETTLE_TOO_MUCH);
    g_assert_cmpfloat(s.until_us, ==, 0);
}

static void
without_effort_what_fits_is_the_end(void)
{
    struct settle_facts k = usual();
    struct settle s = { 0 };

    k.effort = 0;
    g_assert_cmpint(settle_look(&s, &k), ==, SETTLE_STOP);
}

static void
shrinking_rounds_go_on_until_the_rest_is_short(void)
{
    struct settle_facts k = usual();
    struct settle s = { 0 };
    unsigned rounds = 0;

    while (settle_look(&s, &k) == SETTLE_SHORTEN && ++rounds < 100) {
        k.now_us += (int64_t)k.rest / 1000;
        k.rest /= 5;
    }
    g_assert_cmpuint(rounds, ==, 3);                    /* 10 ms, 2, 0.4, 0.08 */
    g_assert_cmpuint(k.rest, ==, 80 * 1000);
}

static void
rounds_that_do_not_shrink_end(void)
{
    struct settle_facts k = usual();
    struct settle s = { 0 };

    g_assert_cmpint(settle_look(&s, &k), ==, SETTLE_SHORTEN);
    k.now_us += 10 * MS;
    k.rest = 8 * 1000 * 1000;
    g_assert_cmpint(settle_look(&s, &k), ==, SETTLE_STOP);
}

static void
guest_as_fast_as_the_line_is_stopped_at_once(void)
{
    struct settle_facts k = usual();
    struct settle s = { 0 };

    k.fresh = 900 * 1000;
    g_assert_cmpint(settle_look(&s, &k), ==, SETTLE_STOP);
}

/* 200 ms are left: a tenth more than 1.2 s pays for a round that leaves 40, not for one after 1.29 s. */
static void
time_spent_is_bounded_by_the_effort(void)
{
    struct settle_facts k = usual();
    struct settle s = { 0 };

    k.rest = 200 * 1000 * 1000;
    g_assert_cmpint(settle_look(&s, &k), ==, SETTLE_SHORTEN);
    g_assert_cmpfloat(s.until_us, ==, 2320 * MS);
    s.most = 0;
    k.now_us += 90 * MS;
    g_assert_cmpint(settle_look(&s, &k), ==, SETTLE_STOP);
}

/* max-bandwidth allows 30 MB in 100 ms, of which the guest dirties 20: a rest of 40 MB is less by 10 after each
 * window, until it goes at once. */
static void
windows_drain_what_exceeds_one(void)
{
    struct settle_facts k = usual();
    struct settle s = { 0 };
    unsigned windows = 0;

    k.window_budget = 30 * 1000 * 1000;
    k.budget = 0;
    k.rest = 40 * 1000 * 1000;
    k.effort = 50;
    for (; settle_look(&s, &k) == SETTLE_SHORTEN && k.rest > 10 * 1000 * 1000; windows++) {
        k.window_end_us = k.now_us + 70 * MS;
        k.now_us += 100 * MS;
        k.rest -= 10 * 1000 * 1000;
    }
    g_assert_cmpuint(windows, ==, 3);
    /* A guest that dirties what a window takes is stopped at once. */
    s = (struct settle) { 0 };
    k.rest = 40 * 1000 * 1000;
    k.window_end_us = k.now_us + 70 * MS;
    k.fresh = 299 * 1000;
    g_assert_cmpint(settle_look(&s, &k), ==, SETTLE_STOP);
}

/* Pages that go as differences take less of the window than they are long. */
static void
budget_is_of_the_stream_not_of_memory(void)
{
    struct flow squeezed = { .raw = 1000 * 1000, .wire = 100 * 1000, .us = 1000 };
    struct settle_facts k = usual();
    struct settle s = { 0 };

    k.flow = &squeezed;
    k.budget = k.window_budget = 1000 * 1000;
    k.window_end_us = k.now_us + 50 * MS;
    g_assert_cmpint(settle_look(&s, &k), ==, SETTLE_SHORTEN);
    k.budget = k.window_budget = 900 * 1000;
    s = (struct settle) { 0 };
    g_assert_cmpint(settle_look(&s, &k), ==, SETTLE_STOP);
}

static void
unknown_line_shortens_nothing(void)
{
    struct flow nothing = { 0 };
    struct settle_facts k = usual();
    struct settle s = { 0 };

    k.flow = &nothing;
    g_assert_cmpint(settle_look(&s, &k), ==, SETTLE_STOP);
    k.rest = 0;
    g_assert_cmpint(settle_look(&s, &k), ==, SETTLE_STOP);
}

/* What was sent long ago counts less and less. */
static void
flow_forgets(void)
{
    struct flow f = { 0 };

    for (unsigned i = 0; i < 20; i++)
        flow_add(&f, 1000, 1000, 50 * MS);
    for (unsigned i = 0; i < 20; i++)
        flow_add(&f, 5000, 1000, 50 * MS);
    g_assert_cmpfloat_with_epsilon(f.raw / f.us, 0.1, 0.001);
    g_assert_cmpfloat_with_epsilon(f.raw / f.wire, 5, 0.01);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/settle/what-does-not-fit-is-too-much", what_does_not_fit_is_too_much);
    g_test_add_func("/settle/without-effort-what-fits-is-the-end", without_effort_what_fits_is_the_end);
    g_test_add_func("/settle/shrinking-rounds-go-on-until-the-rest-is-short",
                    shrinking_rounds_go_on_until_the_rest_is_short);
    g_test_add_func("/settle/rounds-that-do-not-shrink-end", rounds_that_do_not_shrink_end);
    g_test_add_func("/settle/guest-as-fast-as-the-line-is-stopped-at-once",
                    guest_as_fast_as_the_line_is_stopped_at_once);
    g_test_add_func("/settle/time-spent-is-bounded-by-the-effort", time_spent_is_bounded_by_the_effort);
    g_test_add_func("/settle/windows-drain-what-exceeds-one", windows_drain_what_exceeds_one);
    g_test_add_func("/settle/budget-is-of-the-stream-not-of-memory", budget_is_of_the_stream_not_of_memory);
    g_test_add_func("/settle/unknown-line-shortens-nothing", unknown_line_shortens_nothing);
    g_test_add_func("/settle/flow-forgets", flow_forgets);
    return g_test_run();
}
