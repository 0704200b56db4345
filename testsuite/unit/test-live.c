/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The live view's lines: never wider than the screen, drawn with what the terminal can show. */
#include <string.h>

#include "../../monitor/live.h"

static struct live_facts
facts(unsigned count)
{
    struct live_facts f = {
        .why = { .direction = MIGRATE_OUT, .state = MIGRATE_ACTIVE, .round = 4, .total = 128 * MIB,
                 .pending = 15 * MIB,
                 .fits = 203 * KIB, .bandwidth = 20 * MIB, .downtime_limit_ms = 10, .verdict = VERDICT_STALLED,
                 .dirtied = 20 * MIB, .throttle_percent = 20 },
        .sent = 20 * MIB, .remaining = 32 * MIB, .dirtied = 19 * MIB, .total_ms = 12345, .expected_downtime_ms = 777,
    };

    for (unsigned i = 0; i < count; i++)
        live_sample_add(&f, &(struct live_sample) { i, (double)(count - i), 1000 });
    return f;
}

static bool
is_ascii(const char *text)
{
    while (*text && (unsigned char)*text < 0x80)
        text++;
    return !*text;
}

static void
lines_fit_any_width(void)
{
    struct live_facts f = facts(LIVE_SAMPLES + 17);

    for (unsigned throttle = 0; throttle <= 99; throttle += 99)
        for (unsigned width = 1; width <= 250; width++)
            for (unsigned utf8 = 0; utf8 < 2; utf8++) {
                f.why.throttle_percent = throttle;
                g_autoptr(GPtrArray) lines = live_lines(&f, width, utf8);

                g_assert_cmpuint(lines->len, ==, 6);
                for (unsigned i = 0; i < lines->len; i++) {
                    g_assert_true(g_utf8_validate(lines->pdata[i], -1, NULL));
                    g_assert_cmpint(g_utf8_strlen(lines->pdata[i], -1), <=, MAX(width, LIVE_WIDTH_LEAST));
                    g_assert_true(utf8 || is_ascii(lines->pdata[i]));
                    g_assert_null(strchr(lines->pdata[i], '\n'));
                }
            }
}

static void
lines_say_what_is(void)
{
    struct live_facts f = facts(3);
    g_autoptr(GPtrArray) lines = live_lines(&f, 80, false);

    g_assert_cmpstr(lines->pdata[0], ==, "active  round 4  [###################################............]  75 %  "
                    "12.3 s");
    g_assert_true(g_str_has_prefix(lines->pdata[1], "sent       20.0 MiB/s  "));
    g_assert_true(g_str_has_prefix(lines->pdata[2], "dirtied    19.0 MiB/s  "));
    g_assert_true(g_str_has_prefix(lines->pdata[3], "left         32.0 MiB  "));
    g_assert_cmpstr(lines->pdata[4], ==, "downtime 777 ms expected, 10 ms allowed, throttle 20 %");
    g_assert_cmpstr(lines->pdata[5], ==, "15.0 MiB pending, 203.0 KiB fit; downtime-limit 830 ends it");
}

/* What is missing to the minute is empty, the largest is full, and what is there shows. */
static void
sparklines_show_the_last_minute(void)
{
    double rising[LIVE_SAMPLES], one = 5;

    for (unsigned i = 0; i < LIVE_SAMPLES; i++)
        rising[i] = i;
    g_autofree char *whole = live_sparkline(rising, LIVE_SAMPLES, 8, false);
    g_autofree char *half = live_sparkline(rising, LIVE_SAMPLES / 2, 8, false);
    g_autofree char *newest = live_sparkline(&one, 1, 8, false);
    g_autofree char *none = live_sparkline(NULL, 0, 8, false);
    g_autofree char *pretty = live_sparkline(rising, LIVE_SAMPLES, 8, true);
    g_assert_cmpstr(whole, ==, ".:-=+*%#");
    g_assert_cmpuint(strspn(half, " "), ==, 4);
    g_assert_cmpint(half[7], ==, '#');
    g_assert_cmpstr(newest, ==, "       #");
    g_assert_cmpstr(none, ==, "        ");
    g_assert_cmpstr(pretty, ==, "▁▂▃▄▅▆▇█");
}

/* However narrow: what to do is the last that goes. */
static void
the_change_outlives_the_cause(void)
{
    struct live_facts f = facts(0);
    g_autofree char *wide = live_why(&f.why, 400, true), *middle = live_why(&f.why, 80, true);
    g_autofree char *narrow = live_why(&f.why, 40, true), *cut = live_why(&f.why, 10, true);

    g_assert_true(g_str_has_prefix(wide, "round 4: 15.0 MiB are pending"));
    g_assert_cmpstr(middle, ==, "15.0 MiB pending, 203.0 KiB fit; downtime-limit 830 ends it");
    g_assert_cmpstr(narrow, ==, "downtime-limit 830 ends it");
    g_assert_cmpstr(cut, ==, "15.0 MiB …");
}

static void
terminal_obeys_no_peer(void)
{
    struct live_facts f = facts(3);

    f.why.state = MIGRATE_FAILED;
    f.why.error = "RAM block 'a\033[2Jb\nc\td' was not listed";
    for (unsigned width = 40; width <= 400; width += 40) {
        g_autoptr(GPtrArray) lines = live_lines(&f, width, true);
        for (unsigned i = 0; i < lines->len; i++)
            for (const char *p = lines->pdata[i]; *p; p++)
                g_assert_false(g_ascii_iscntrl(*p));
    }
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    main_thread_claim();
    g_test_add_func("/live/lines-fit-any-width", lines_fit_any_width);
    g_test_add_func("/live/lines-say-what-is", lines_say_what_is);
    g_test_add_func("/live/sparklines-show-the-last-minute", sparklines_show_the_last_minute);
    g_test_add_func("/live/the-change-outlives-the-cause", the_change_outlives_the_cause);
    g_test_add_func("/live/terminal obeys no peer", terminal_obeys_no_peer);
    return g_test_run();
}
