/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The model of a migration against one that is played page by page with a guest of dice. */
#include <math.h>

#include "../../src/migrate/migrate-private.h"

enum { PAGES = 32768, WORKING = 16384, PIECES = 64, SLICE_MS = 50 };

/* --- played page by page ---------------------------------------------------------------------------------------- */

struct played { double total_s, downtime_s, bytes; bool converges; };

static void
play_writes(GRand *dice, bool *dirty, double rate, double seconds, double *carry)
{
    *carry += rate * seconds;
    for (; *carry >= 1; (*carry)--)
        dirty[g_rand_int_range(dice, 0, WORKING)] = true;
}

static uint64_t
count(const bool *dirty)
{
    uint64_t n = 0;

    for (unsigned i = 0; i < PAGES; i++)
        n += dirty[i];
    return n;
}

static struct played
play(uint32_t seed, double rate, double bandwidth, double line, double downtime_s)
{
    g_autofree bool *dirty = g_new(bool, PAGES);
    GRand *dice = g_rand_new_with_seed(seed);
    struct played p = { 0 };
    double carry = 0;
    unsigned at = 0;
    bool swept = false;

    for (unsigned i = 0; i < PAGES; i++)
        dirty[i] = true;
    while (p.total_s < 100) {
        double budget = bandwidth * SLICE_MS / 1000, used = 0;

        for (; at < PAGES && used + PAGE_SIZE + 8 <= budget; at++) {
            used += dirty[at] ? PAGE_SIZE + 8 : 0;
            dirty[at] = false;
        }
        play_writes(dice, dirty, rate, used / bandwidth, &carry);
        p.total_s += used / bandwidth;
        p.bytes += used;
        swept = swept || at == PAGES;
        if (swept && (double)count(dirty) * PAGE_SIZE <= bandwidth * downtime_s) {
            p.downtime_s = (double)count(dirty) * (PAGE_SIZE + 8) / line;
            p.total_s += p.downtime_s;
            p.converges = true;
            break;
        }
        if (at == PAGES)
            at = 0;
    }
    g_rand_free(dice);
    return p;
}

/* --- the model -------------------------------------------------------------------------------------------------- */

static struct predict_piece pieces[PIECES];

static struct predict_input
input_of(double rate, double bandwidth, double line, uint64_t downtime_ms)
{
    for (unsigned i = 0; i < PIECES; i++)
        pieces[i] = (struct predict_piece) { PAGES / PIECES, PAGES / PIECES, i < PIECES / 2 ? PAGES / PIECES : 0 };
    return (struct predict_input) {
        .pieces = pieces, .count = PIECES, .write_rate = rate, .bandwidth = bandwidth, .line = line,
        .downtime_limit_ms = downtime_ms, .delta_bytes = 64,
    };
}

static void
assert_near(double found, double wanted, double share)
{
    if (fabs(found - wanted) > share * wanted)
        g_error("%g is not within %g %% of %g", found, share * 100, wanted);
}

static void
model_and_dice_agree(void)
{
    static const double rates[] = { 500, 2000, 5000, 8000 }, bandwidths[] = { 40e6, 125e6, 500e6 };

    for (unsigned r = 0; r < G_N_ELEMENTS(rates); r++)
        for (unsigned b = 0; b < G_N_ELEMENTS(bandwidths); b++) {
            struct predict_input in = input_of(rates[r], bandwidths[b], 3e9, 100);
            struct predict_result result;
            struct played p = play(7 + r, rates[r], bandwidths[b], 3e9, 0.1);

            predict_run(&in, &result);
            g_test_message("%.0f pages/s at %.0f bytes/s: %.2f s, played %.2f s", rates[r], bandwidths[b],
                           (double)result.total_us / 1e6, p.total_s);
            g_assert_true(result.converges && p.converges);
            assert_near((double)result.total_us / 1e6, p.total_s, 0.1);
            assert_near((double)result.downtime_us / 1e6, p.downtime_s, 0.25);
            assert_near((double)result.bytes, p.bytes + p.downtime_s * 3e9, 0.1);
            predict_result_release(&result);
        }
}

static void
too_many_writes_never_converge(void)
{
    struct predict_input in = input_of(50000, 40e6, 3e9, 100);
    struct predict_result result;

    g_assert_false(play(1, 50000, 40e6, 3e9, 0.1).converges);
    predict_run(&in, &result);
    g_assert_false(result.converges);
    g_assert_cmpuint(result.last_remaining, >, 4000000);
    predict_result_release(&result);
}

/* A sweep does not turn back, even where the guest writes a piece faster than the line takes it. */
static void
a_pass_has_each_page_once(void)
{
    struct predict_input in = input_of(20000, 2e6, 3e9, 100);
    const struct predict_round *first;
    struct predict_result result;

    predict_run(&in, &result);
    g_assert_false(result.converges);
    g_assert_cmpuint(result.rounds->len, >, 1);
    first = &g_array_index(result.rounds, struct predict_round, 0);
    assert_near((double)first->bytes, PAGES * (PAGE_SIZE + 8.0), 0.001);
    /* All but what was sent just before. */
    assert_near((double)result.last_remaining, WORKING * (double)PAGE_SIZE, 0.05);
    predict_result_release(&result);
}

/* Each of these brings the same guest to the end. */
static void
what_helps_is_seen_to_help(void)
{
    struct predict_input in = input_of(50000, 40e6, 3e9, 100);
    struct predict_result result;

    in.throttle_percent = 95;
    predict_run(&in, &result);
    g_assert_true(result.converges);
    predict_result_release(&result);
    in.throttle_percent = 0;
    in.cache_pages = WORKING;
    predict_run(&in, &result);
    g_assert_true(result.converges);
    predict_result_release(&result);
    in.cache_pages = 16;
    predict_run(&in, &result);
    g_assert_false(result.converges);
    predict_result_release(&result);
    in.cache_pages = 0;
    in.converges = true;
    in.converge_threshold = 50;
    in.converge_initial = 20;
    in.converge_increment = 10;
    in.converge_most = 99;
    predict_run(&in, &result);
    g_assert_true(result.converges && result.throttle_percent >= 50);
    predict_result_release(&result);
}

static void
zero_pages_cost_next_to_nothing(void)
{
    struct predict_input in = input_of(0, 40e6, 3e9, 100);
    struct predict_result result;

    for (unsigned i = 0; i < PIECES; i++)
        pieces[i] = (struct predict_piece) { PAGES / PIECES, 0, 0 };
    predict_run(&in, &result);
    g_assert_true(result.converges);
    g_assert_cmpuint(result.bytes, <, PAGES / 64);
    g_assert_cmpuint(result.bytes, >, 0);
    predict_result_release(&result);
}

/* Part of a page never remains: a guest that hardly writes leaves none, which fits where no downtime is allowed. */
static void
nothing_fits_no_downtime(void)
{
    struct predict_input in = input_of(10, 3e9, 3e9, 0);
    struct predict_result result;

    predict_run(&in, &result);
    g_assert_true(result.converges);
    g_assert_cmpuint(result.rounds->len, <=, 3);
    predict_result_release(&result);
    in = input_of(50000, 40e6, 3e9, 0);
    predict_run(&in, &result);
    g_assert_false(result.converges);
    predict_result_release(&result);
}

/* A log that is not cleared tells of pages too that were written before they were sent. */
static void
a_log_that_is_kept_tells_more(void)
{
    struct predict_input in = input_of(3000, 40e6, 3e9, 100);
    struct predict_result kept, cleared;

    in.log = LOG_KEPT;
    predict_run(&in, &kept);
    in.log = LOG_CLEARED;
    predict_run(&in, &cleared);
    g_assert_cmpuint(g_array_index(kept.rounds, struct predict_round, 0).dirty_end, >,
                     g_array_index(cleared.rounds, struct predict_round, 0).dirty_end);
    predict_result_release(&kept);
    predict_result_release(&cleared);
}

static void
rate_and_working_set_are_found(void)
{
    static const uint64_t us[] = { 50000, 100000, 200000, 300000, 450000, 600000, 800000, 1000000 };
    struct predict_point points[G_N_ELEMENTS(us)];
    struct predict_writes w;

    for (unsigned i = 0; i < G_N_ELEMENTS(us); i++)
        points[i] = (struct predict_point) { us[i],
                                             (uint64_t)(2000 * (1 - exp(-20000 * (double)us[i] / 1e6 / 2000))) };
    predict_fit(points, G_N_ELEMENTS(us), 65536, &w);
    assert_near(w.working, 2000, 0.1);
    assert_near(w.rate, 20000, 0.2);
    for (unsigned i = 0; i < G_N_ELEMENTS(us); i++)
        points[i].pages = (uint64_t)(65536 * (1 - exp(-5000 * (double)us[i] / 1e6 / 65536)));
    predict_fit(points, G_N_ELEMENTS(us), 65536, &w);
    assert_near(w.working, 65536, 0.01);
    assert_near(w.rate, 5000, 0.1);
    for (unsigned i = 0; i < G_N_ELEMENTS(us); i++)
        points[i].pages = 0;
    predict_fit(points, G_N_ELEMENTS(us), 65536, &w);
    g_assert_true(w.rate == 0 && w.working == 0);
}

/* A host that needs longer for a page than the line: the first pass takes what it takes there. */
static void
a_slow_host_is_no_faster_than_it_is(void)
{
    struct predict_input in = input_of(0, 3e9, 3e9, 300);
    struct predict_result result;

    in.host = (struct rehearsal_result) { .fresh_us = 40, .again_us = 10, .alone_us = 10, .absent_us = 1,
                                          .setup_us = 5000 };
    predict_run(&in, &result);
    assert_near((double)result.total_us, PAGES * 40 + 5000, 0.02);
    predict_result_release(&result);
    /* What is sent again, or at the switchover, finds its place made. */
    in.write_rate = 8000;
    predict_run(&in, &result);
    assert_near((double)result.downtime_us,
                (double)g_array_index(result.rounds, struct predict_round, result.rounds->len - 1).bytes / 4104 * 10,
                0.01);
    g_assert_cmpuint(result.downtime_us, >, 10000);
    predict_result_release(&result);
    for (unsigned i = 0; i < PIECES; i++)
        pieces[i] = (struct predict_piece) { PAGES / PIECES, 0, 0 };
    in.write_rate = 0;
    predict_run(&in, &result);
    assert_near((double)result.total_us, PAGES + 5000, 0.02);
    predict_result_release(&result);
}

/* Of the last pages of a guest that writes here and there few have a neighbour that goes too; of one that writes in
 * order nearly all. */
static void
pages_that_lie_alone_cost_more(void)
{
    struct predict_input in = input_of(2000, 3e9, 3e9, 300);
    struct predict_result result;

    in.host = (struct rehearsal_result) { .fresh_us = 10, .again_us = 10, .alone_us = 30, .absent_us = 1 };
    predict_run(&in, &result);
    double pages = (double)g_array_index(result.rounds, struct predict_round, result.rounds->len - 1).bytes / 4104;
    g_assert_true(pages > 100 && pages < WORKING / 8);
    assert_near((double)result.downtime_us, pages * (30 - 20 * pages / WORKING), 0.02);
    predict_result_release(&result);
    in.sequential = true;
    predict_run(&in, &result);
    pages = (double)g_array_index(result.rounds, struct predict_round, result.rounds->len - 1).bytes / 4104;
    g_assert_cmpfloat(pages, >, 100);
    assert_near((double)result.downtime_us, pages * 10, 0.02);
    predict_result_release(&result);
}

/* What the guest writes to a page that is still to be sent in this pass costs nothing more, also where the whole pass
 * is shorter than one of the engine's slices. */
static void
a_short_pass_is_no_single_step(void)
{
    struct predict_input in = input_of(8000, 4e9, 4e9, 300);
    struct predict_result result;
    double pass_s = PAGES * (PAGE_SIZE + 8.0) / 4e9, left;

    g_assert_cmpfloat(pass_s, <, 0.05);
    in.log = LOG_CLEARED;
    predict_run(&in, &result);
    left = (double)g_array_index(result.rounds, struct predict_round, 0).dirty_end / PAGE_SIZE;
    /* The working half goes first: half of what is written meanwhile lies behind the sweep, then all of it. */
    assert_near(left, 8000 * pass_s * (0.25 + 0.5), 0.1);
    predict_result_release(&result);
}

/* A log that is told of each page that goes takes its time too; of one that is not there it is not told. */
static void
a_log_takes_its_time(void)
{
    struct predict_input in = input_of(0, 3e9, 3e9, 300);
    struct predict_result result;

    in.host = (struct rehearsal_result) { .fresh_us = 4, .again_us = 4, .alone_us = 4, .absent_us = 1 };
    in.log_us = 1;
    predict_run(&in, &result);
    assert_near((double)result.total_us, PAGES * 5, 0.01);
    predict_result_release(&result);
    for (unsigned i = 0; i < PIECES; i++)
        pieces[i] = (struct predict_piece) { PAGES / PIECES, 0, 0 };
    predict_run(&in, &result);
    assert_near((double)result.total_us, PAGES, 0.01);
    predict_result_release(&result);
}

/* A guest that gets less done while pages go leaves less to be sent again. */
static void
a_busy_host_slows_its_guest(void)
{
    struct predict_input in = input_of(8000, 125e6, 3e9, 10);
    struct predict_result free, busy;

    predict_run(&in, &free);
    in.busy_share = 0.25;
    predict_run(&in, &busy);
    g_assert_cmpuint(g_array_index(busy.rounds, struct predict_round, 0).dirty_end * 2, <,
                     g_array_index(free.rounds, struct predict_round, 0).dirty_end);
    predict_result_release(&free);
    predict_result_release(&busy);
}

/* What max-bandwidth allows for a window goes at the line's speed; a look follows at once, before the guest has
 * written for the rest of the window: so the same guest may fit that never would if the pages went evenly. */
static void
a_window_is_sent_at_once(void)
{
    struct predict_input in = input_of(8000, 40e6, 3e9, 500);
    struct predict_result even, paced;

    predict_run(&in, &even);
    in.paced = true;
    predict_run(&in, &paced);
    g_assert_true(even.converges && paced.converges);
    assert_near((double)paced.total_us, (double)even.total_us, 0.25);
    g_assert_cmpuint(paced.total_us, <, even.total_us);
    predict_result_release(&even);
    predict_result_release(&paced);
}

/* --- rehearsals ------------------------------------------------------------------------------------------------- */

struct heard { unsigned times; struct rehearsal_result result; bool failed; };

static void
hear(void *self, const struct rehearsal_result *result, const GError *error)
{
    struct heard *h = self;

    h->times++;
    h->failed = error != NULL;
    h->result = *result;
}

static unsigned
open_descriptors(void)
{
    GDir *dir = g_dir_open("/proc/self/fd", 0, NULL);
    unsigned count = 0;

    while (g_dir_read_name(dir))
        count++;
    g_dir_close(dir);
    return count;
}

static void
a_rehearsal_takes_no_more_than_there_is(void)
{
    struct memory_left left = { .known = false };
    g_autoptr(GError) error = NULL;
    uint64_t size;

    g_assert_true(rehearsal_size(&left, &size, NULL));
    g_assert_cmpuint(size, ==, REHEARSAL_MOST);
    left = (struct memory_left) { true, 64 * KIB * MIB, "the host" };
    g_assert_true(rehearsal_size(&left, &size, NULL));
    g_assert_cmpuint(size, ==, REHEARSAL_MOST);
    left.bytes = 300 * MIB;
    g_assert_true(rehearsal_size(&left, &size, NULL));
    g_assert_cmpuint(size, ==, 50 * MIB);
    left = (struct memory_left) { true, 191 * MIB, "memory cgroup /job" };
    g_assert_false(rehearsal_size(&left, &size, &error));
    g_assert_cmpstr(error->message, ==, "cannot rehearse a migration: it takes 96 MiB at least, and half of the 191 "
                    "MiB that memory cgroup /job has left is less");
}

static void
a_rehearsal_finds_what_pages_take(void)
{
    struct mailbox *mailbox = mailbox_new(NULL);
    struct jobs *jobs = jobs_new(mailbox, 2);
    struct heard h = { 0 };
    unsigned before = open_descriptors();
    struct rehearsal *r = rehearsal_new(mailbox, jobs, hear, &h, NULL);

    while (!h.times)
        g_main_context_iteration(NULL, TRUE);
    g_assert_false(h.failed);
    g_test_message("fresh %.2f us, again %.2f us, alone %.2f us, absent %.3f us, switchover %u us", h.result.fresh_us,
                   h.result.again_us, h.result.alone_us, h.result.absent_us, (unsigned)h.result.switchover_us);
    g_assert_true(h.result.fresh_us > 0 && h.result.again_us > 0 && h.result.absent_us > 0);
    g_assert_true(h.result.absent_us < h.result.again_us);
    g_assert_true(h.result.alone_us >= h.result.again_us);
    g_assert_cmpuint(h.result.size, >=, REHEARSAL_LEAST);
    g_assert_cmpuint(h.result.switchover_us, >, 0);
    rehearsal_free(r);
    g_assert_cmpuint(open_descriptors(), ==, before);
    jobs_free(jobs);
    mailbox_free(mailbox);
}

/* At any moment: while memory is filled, and while sessions run. */
static void
a_rehearsal_can_be_given_up(void)
{
    for (unsigned turns = 0; turns < 12; turns += 3) {
        struct mailbox *mailbox = mailbox_new(NULL);
        struct jobs *jobs = jobs_new(mailbox, 2);
        struct heard h = { 0 };
        struct rehearsal *r = rehearsal_new(mailbox, jobs, hear, &h, NULL);

        for (unsigned i = 0; i < turns && !h.times; i++)
            g_main_context_iteration(NULL, TRUE);
        unsigned times = h.times;
        rehearsal_free(r);
        jobs_free(jobs);
        while (g_main_context_iteration(NULL, FALSE))
            ;
        g_assert_cmpuint(h.times, ==, times);
        mailbox_free(mailbox);
    }
}

int
main(int argc, char **argv)
{
    main_thread_claim();
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/predict/model-and-dice-agree", model_and_dice_agree);
    g_test_add_func("/predict/too-many-writes-never-converge", too_many_writes_never_converge);
    g_test_add_func("/predict/a-pass-has-each-page-once", a_pass_has_each_page_once);
    g_test_add_func("/predict/what-helps-is-seen-to-help", what_helps_is_seen_to_help);
    g_test_add_func("/predict/zero-pages-cost-next-to-nothing", zero_pages_cost_next_to_nothing);
    g_test_add_func("/predict/nothing-fits-no-downtime", nothing_fits_no_downtime);
    g_test_add_func("/predict/a-log-that-is-kept-tells-more", a_log_that_is_kept_tells_more);
    g_test_add_func("/predict/rate-and-working-set-are-found", rate_and_working_set_are_found);
    g_test_add_func("/predict/a-slow-host-is-no-faster-than-it-is", a_slow_host_is_no_faster_than_it_is);
    g_test_add_func("/predict/pages-that-lie-alone-cost-more", pages_that_lie_alone_cost_more);
    g_test_add_func("/predict/a-short-pass-is-no-single-step", a_short_pass_is_no_single_step);
    g_test_add_func("/predict/a-log-takes-its-time", a_log_takes_its_time);
    g_test_add_func("/predict/a-busy-host-slows-its-guest", a_busy_host_slows_its_guest);
    g_test_add_func("/predict/a-window-is-sent-at-once", a_window_is_sent_at_once);
    g_test_add_func("/predict/a-rehearsal-takes-no-more-than-there-is", a_rehearsal_takes_no_more_than_there_is);
    g_test_add_func("/predict/a-rehearsal-finds-what-pages-take", a_rehearsal_finds_what_pages_take);
    g_test_add_func("/predict/a-rehearsal-can-be-given-up", a_rehearsal_can_be_given_up);
    return g_test_run();
}
