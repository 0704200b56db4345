/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The sentence that tells why a migration does what it does: numbers in, words out. */
#include <string.h>

#include "../../monitor/why.h"

struct scenario { const char *name; struct why facts; const char *sentence; };

#define OUT(s) .direction = MIGRATE_OUT, .state = MIGRATE_ ## s, .total = 4 * GIB, .downtime_limit_ms = 300, \
    .begun = true
#define IN(s) .direction = MIGRATE_IN, .state = MIGRATE_ ## s, .owner = OWNER_THERE
#define LATER OUT(ACTIVE), .round = 5, .runs = true

static const struct scenario scenarios[] = {
    { "none", { .state = MIGRATE_NONE },
      "no migration has begun (`migrate URI` sends the guest, `migrate_incoming URI` waits for one)" },
    { "connecting", { OUT(SETUP), .uri = "tcp:b:4444" }, "connecting to tcp:b:4444" },
    { "first pass", { OUT(ACTIVE), .first_pass = true, .round = 1, .pending = 3 * GIB, .bandwidth = 512 * MIB },
      "first pass: 3.0 GiB of 4.0 GiB are still to be sent once, at most 6 s at 512.0 MiB/s" },
    { "slow line", { OUT(ACTIVE), .first_pass = true, .round = 1, .pending = 4 * GIB, .bandwidth = 4 * MIB,
                     .max_bandwidth = 4 * MIB },
      "first pass: 4.0 GiB of 4.0 GiB are still to be sent once, at most 1024 s at 4.0 MiB/s; max-bandwidth is what "
      "holds it back" },
    { "dead line", { OUT(ACTIVE), .first_pass = true, .round = 1, .pending = GIB, .bandwidth = MIB,
                     .silent_ms = 3200 },
      "first pass: 1.0 GiB of 4.0 GiB are still to be sent once; the line has taken nothing for 3.2 s" },
    { "fits", { LATER, .pending = 10 * MIB, .fits = 12 * MIB, .bandwidth = 40 * MIB },
      "round 5: 10.0 MiB are pending and 12.0 MiB would fit (300 ms at 40.0 MiB/s); the guest is stopped at the next "
      "look at its dirty pages" },
    { "fits and shortens", { LATER, .pending = 10 * MIB, .fits = 12 * MIB, .bandwidth = 40 * MIB, .shortening = true,
                             .downtime_effort = 10 },
      "round 5: 10.0 MiB are pending and 12.0 MiB would fit (300 ms at 40.0 MiB/s); as rounds still shrink, another "
      "one makes the stop shorter (downtime-effort 10 %)" },
    { "converging", { LATER, .pending = 40 * MIB, .fits = 12 * MIB, .bandwidth = 40 * MIB,
                      .verdict = VERDICT_CONVERGING, .dirtied = 10 * MIB },
      "round 5: 40.0 MiB are pending and 12.0 MiB would fit (300 ms at 40.0 MiB/s); each round leaves less, so it "
      "should end by itself; `migrate_set_parameter downtime-limit 1100` would let it finish now" },
    { "stalled", { LATER, .pending = 40 * MIB, .fits = 12 * MIB, .bandwidth = 40 * MIB, .verdict = VERDICT_STALLED,
                   .dirtied = 40 * MIB },
      "round 5: 40.0 MiB are pending and 12.0 MiB would fit (300 ms at 40.0 MiB/s); the guest dirties as much as a "
      "round sends, 40.0 MiB/s; `migrate_set_parameter downtime-limit 1100` would let it finish now" },
    { "diverging", { LATER, .pending = 90 * MIB, .fits = 12 * MIB, .bandwidth = 40 * MIB,
                     .verdict = VERDICT_DIVERGING,
                     .dirtied = 90 * MIB },
      "round 5: 90.0 MiB are pending and 12.0 MiB would fit (300 ms at 40.0 MiB/s); the guest dirties more than a "
      "round sends, 90.0 MiB/s; `migrate_set_parameter downtime-limit 2500` would let it finish now" },
    { "capped", { LATER, .pending = 20 * MIB, .fits = 12 * MIB, .bandwidth = 40 * MIB, .max_bandwidth = 42 * MIB,
                  .verdict = VERDICT_STALLED, .dirtied = 40 * MIB },
      "round 5: 20.0 MiB are pending and 12.0 MiB would fit (300 ms at 40.0 MiB/s); the guest dirties as much as a "
      "round sends, 40.0 MiB/s; `migrate_set_parameter max-bandwidth 74M` would let it finish now" },
    { "far above the limit", { LATER, .pending = 400 * MIB, .fits = 12 * MIB, .bandwidth = 40 * MIB,
                               .max_bandwidth = 42 * MIB, .verdict = VERDICT_STALLED, .dirtied = 40 * MIB },
      "round 5: 400.0 MiB are pending and 12.0 MiB would fit (300 ms at 40.0 MiB/s); the guest dirties as much as a "
      "round sends, 40.0 MiB/s; `migrate_set_parameter downtime-limit 11000` would let it finish now" },
    { "reckoned by hand", { LATER, .pending = 40 * MIB, .fits = 3 * MIB, .bandwidth = 10 * MIB,
                            .max_bandwidth = 10 * MIB, .avail_switchover_bandwidth = 10 * MIB,
                            .verdict = VERDICT_STALLED, .dirtied = 40 * MIB },
      "round 5: 40.0 MiB are pending and 3.0 MiB would fit (300 ms at 10.0 MiB/s); the guest dirties as much as a "
      "round sends, 40.0 MiB/s; `migrate_set_parameter downtime-limit 4400` would let it finish now" },
    { "hopeless", { LATER, .pending = 4 * TIB, .fits = 300 * KIB, .bandwidth = MIB, .verdict = VERDICT_STALLED,
                    .dirtied = GIB },
      "round 5: 4.0 TiB are pending and 300.0 KiB would fit (300 ms at 1.0 MiB/s); the guest dirties as much as a "
      "round sends, 1.0 GiB/s; no downtime limit would be long enough: the guest must write less" },
    { "throttled", { LATER, .pending = 40 * MIB, .fits = 12 * MIB, .bandwidth = 40 * MIB,
                     .verdict = VERDICT_CONVERGING, .throttle_percent = 30, .dirtied = 20 * MIB },
      "round 5: 40.0 MiB are pending and 12.0 MiB would fit (300 ms at 40.0 MiB/s); each round leaves less, so it "
      "should end by itself; auto-converge takes 30 % of its time; `migrate_set_parameter downtime-limit 1100` would "
      "let it finish now" },
    { "held", { LATER, .held = true, .pending = 10 * MIB, .fits = 5 * MIB, .bandwidth = 40 * MIB,
                .verdict = VERDICT_STALLED, .dirtied = 10 * MIB },
      "held after round 4 (`migrate_continue` goes on): 10.0 MiB are pending and 5.0 MiB would fit (300 ms at 40.0 "
      "MiB/s); the guest dirties as much as a round sends, 10.0 MiB/s; `migrate_set_parameter downtime-limit 280` "
      "would let it finish now" },
    { "waits before the switchover", { OUT(PRE_SWITCHOVER) },
      "the guest is stopped and nothing of its last state was sent: `migrate_continue pre-switchover` hands it over, "
      "`migrate_cancel` lets it go on here" },
    { "switching over", { OUT(DEVICE), .stopped_us = 12345, .part = "last RAM" },
      "the guest is stopped, 12.3 ms so far (downtime-limit 300 ms); behind it: last RAM" },
    { "completed", { OUT(COMPLETED), .owner = OWNER_THERE, .rounds = 7, .stopped_us = 12345 },
      "finished in 7 rounds: what was left fitted, and the guest stood still for 12.3 ms; the guest is at the "
      "destination, and what is here is a stopped copy" },
    { "completed, shortened", { OUT(COMPLETED), .owner = OWNER_THERE, .rounds = 7, .shortened = 2,
                                .stopped_us = 2345 },
      "finished in 7 rounds: what was left fitted, 2 more rounds made it less (downtime-effort), and the guest stood "
      "still for 2.3 ms; the guest is at the destination, and what is here is a stopped copy" },
    { "saved", { OUT(COMPLETED), .owner = OWNER_COPY, .rounds = 2, .stopped_us = 1000 },
      "finished in 2 rounds: what was left fitted, and the guest stood still for 1.0 ms; the stream holds a whole "
      "copy, and the guest is stopped here until `cont`" },
    { "cancelling", { OUT(CANCELLING) }, "being cancelled: the worker is on its way back" },
    { "cancelled", { OUT(CANCELLED), .ended_in = MIGRATE_ACTIVE, .round = 3, .pending = 40 * MIB, .runs = true },
      "cancelled in round 3 with 40.0 MiB pending; the guest is whole and runs here, and the destination keeps "
      "nothing of it" },
    { "never reached", { .direction = MIGRATE_OUT, .state = MIGRATE_FAILED, .ended_in = MIGRATE_SETUP, .runs = true,
                         .error = "cannot connect to 'x': No such file or directory" },
      "failed before the first page: cannot connect to 'x': No such file or directory; the guest is whole and runs "
      "here, and the destination never had any of it" },
    { "refused", { OUT(FAILED), .ended_in = MIGRATE_ACTIVE, .round = 1, .pending = 4 * GIB, .runs = true,
                   .error = "the destination refused: nodes: source 2, here 1" },
      "failed in round 1 with 4.0 GiB pending: the destination refused: nodes: source 2, here 1; the guest is whole "
      "and runs here, and the destination keeps nothing of it" },
    { "link cut in the switchover", { OUT(FAILED), .ended_in = MIGRATE_DEVICE, .part = "flush", .runs = false,
                                      .error = "the destination closed the connection" },
      "failed in the switchover, after: flush: the destination closed the connection; the guest is whole and stopped "
      "here, and the destination keeps nothing of it" },
    { "link cut before the answer", { OUT(FAILED), .ended_in = MIGRATE_DEVICE, .owner = OWNER_UNKNOWN,
                                      .part = "description", .error = "the answer did not come" },
      "failed in the switchover, after: description: the answer did not come; the guest is stopped here and may run "
      "at the destination: `migrate_outcome` asks it" },
    { "waiting", { IN(SETUP), .uri = "unix:/tmp/x" }, "waiting at unix:/tmp/x for a source" },
    { "arriving", { IN(ACTIVE), .came = 300 * MIB }, "300.0 MiB have come; nothing runs here before all is loaded" },
    { "arriving devices", { IN(DEVICE) },
      "the source has stopped its guest, whose last pages and devices are being loaded" },
    { "arrived", { .direction = MIGRATE_IN, .state = MIGRATE_COMPLETED, .owner = OWNER_HERE },
      "all was loaded: the guest is here" },
    { "not loaded", { IN(FAILED), .ended_in = MIGRATE_ACTIVE, .came = 300 * MIB, .error = "the source went away" },
      "failed while RAM was loaded, 300.0 MiB having come: the source went away; nothing of a guest is kept here, "
      "and the source, if there was one, still has its own" },
};

static void
says_why(gconstpointer data)
{
    const struct scenario *s = data;
    g_autofree char *sentence = why_sentence(&s->facts);

    g_assert_cmpstr(sentence, ==, s->sentence);
}

/* What it says would be enough: reckoned back by the engine's own rule. */
static void
the_change_is_enough(void)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(scenarios); i++) {
        const struct why *w = &scenarios[i].facts;
        g_autofree char *change = why_change(w);
        const char *number = change ? strrchr(change, ' ') + 1 : NULL;

        if (!change)
            continue;
        double value = (double)g_ascii_strtoull(number, NULL, 10);
        double fits = strstr(change, "downtime-limit") ? value * (double)w->bandwidth / 1000
                    : value * (double)MIB * (double)w->downtime_limit_ms / 1000;
        g_assert_cmpfloat(fits, >=, (double)w->pending);
        g_assert_cmpfloat(fits, <=, (double)w->pending * 1.25);
    }
}

static void
sizes_are_short(void)
{
    static const struct { uint64_t bytes; const char *text; } sizes[] = {
        { 0, "0 B" }, { 1023, "1023 B" }, { 1024, "1.0 KiB" }, { 1536, "1.5 KiB" }, { MIB - 1, "1.0 MiB" },
        { 1023 * MIB, "1023.0 MiB" }, { UINT64_MAX, "16.0 EiB" },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(sizes); i++) {
        g_autofree char *text = why_size(sizes[i].bytes);
        g_assert_cmpstr(text, ==, sizes[i].text);
    }
}

/* What each round left, in MiB, of which 12 would fit; 0 ends them. */
static const struct { unsigned left[6]; enum migrate_verdict wanted; } trends[] = {
    { { 0 }, VERDICT_OPEN },
    /* Less than all of memory, as any first pass leaves. */
    { { 90 }, VERDICT_OPEN },
    { { 90, 60 }, VERDICT_CONVERGING }, { { 90, 60, 45, 38, 33 }, VERDICT_CONVERGING },
    { { 40, 11 }, VERDICT_CONVERGING },
    { { 40, 41 }, VERDICT_STALLED }, { { 40, 39, 40 }, VERDICT_STALLED },
    /* Up and down. */
    { { 40, 44, 38, 41, 37 }, VERDICT_STALLED }, { { 40, 36, 44 }, VERDICT_DIVERGING },
    { { 40, 44, 38, 43 }, VERDICT_STALLED }, { { 20, 30, 40 }, VERDICT_DIVERGING },
    /* What is long past does not count. */
    { { 20, 60, 50, 45, 40 }, VERDICT_CONVERGING },
};

static void
one_round_is_no_trend(void)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(trends); i++) {
        g_autoptr(GArray) rounds = g_array_new(FALSE, TRUE, sizeof(struct migrate_round));
        struct migrate_round open = { .open = true };

        for (unsigned n = 0; n < 6 && trends[i].left[n]; n++) {
            struct migrate_round r = { .dirty_end = trends[i].left[n] * MIB, .fits_bytes = 12 * MIB,
                                       .verdict = VERDICT_CONVERGING };
            g_array_append_val(rounds, r);
        }
        g_array_append_val(rounds, open);
        g_test_message("trend %u", i);
        g_assert_cmpint(why_trend(rounds), ==, trends[i].wanted);
    }
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    main_thread_claim();
    for (unsigned i = 0; i < G_N_ELEMENTS(scenarios); i++) {
        g_autofree char *name = g_strdup_printf("/why/%s", scenarios[i].name);
        g_strdelimit(name, " ", '-');
        g_test_add_data_func(name, &scenarios[i], says_why);
    }
    g_test_add_func("/why/the-change-is-enough", the_change_is_enough);
    g_test_add_func("/why/sizes-are-short", sizes_are_short);
    g_test_add_func("/why/one-round-is-no-trend", one_round_is_no_trend);
    return g_test_run();
}
