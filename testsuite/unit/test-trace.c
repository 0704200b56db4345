/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Traces: off says nothing, on lets a bounded number of lines a second through and tells of all others. */
#include "base.h"

#include <string.h>

struct told {
    unsigned lines;
    uint64_t left_out;              /* as the lines say */
    char *last;
};

static void
tell(void *self, const char *text)
{
    struct told *t = self;
    const char *at = strchr(text, '(');

    t->lines++;
    if (at)
        t->left_out += g_ascii_strtoull(at + 1, NULL, 10);
    g_free(t->last);
    t->last = g_strdup(text);
}

static void
test_off(void)
{
    struct mailbox *mailbox = mailbox_new(NULL);
    struct told told = { 0 };
    struct trace *t = trace_new(mailbox, tell, &told);

    trace_line(NULL, TRACE_MAP, "nothing");
    trace_line(t, TRACE_MAP, "nothing");
    trace_switch(t, TRACE_EXITS, true);
    trace_line(t, TRACE_MAP, "nothing");
    mailbox_drain(mailbox);
    g_assert_cmpuint(told.lines, ==, 0);
    trace_switch(t, TRACE_MAP, true);
    trace_line(t, TRACE_MAP, "block %d", 7);
    g_assert_cmpuint(told.lines, ==, 0);
    mailbox_drain(mailbox);
    g_assert_cmpstr(told.last, ==, "map: block 7");
    trace_line(t, TRACE_MAP, "dropped with the trace");
    trace_free(t);
    mailbox_drain(mailbox);
    g_assert_cmpuint(told.lines, ==, 1);
    g_free(told.last);
    mailbox_free(mailbox);
}

static void *
write_many(void *trace)
{
    for (int i = 0; i < 1000; i++)
        trace_line(trace, TRACE_EXITS, "%d", i);
    return NULL;
}

/* Every line written is told or counted, whatever second it came in. */
static void
test_limit(void)
{
    struct mailbox *mailbox = mailbox_new(NULL);
    struct told told = { 0 };
    struct trace *t = trace_new(mailbox, tell, &told);
    struct thread writers[4] = { 0 };
    uint64_t written = 4 * 1000;
    int64_t begin = g_get_monotonic_time();

    trace_switch(t, TRACE_EXITS, true);
    for (unsigned i = 0; i < G_N_ELEMENTS(writers); i++)
        g_assert_true(thread_start(&writers[i], "writer", write_many, t, NULL));
    for (unsigned i = 0; i < G_N_ELEMENTS(writers); i++)
        thread_join(&writers[i]);
    mailbox_drain(mailbox);
    g_assert_cmpuint(told.lines, >=, TRACE_LINES_A_SECOND);
    g_assert_cmpuint(told.lines, <=, TRACE_LINES_A_SECOND * (2 + (g_get_monotonic_time() - begin) / G_USEC_PER_SEC));
    for (unsigned before = told.lines; told.lines == before; written++) {
        trace_line(t, TRACE_EXITS, "one more");
        mailbox_drain(mailbox);
    }
    g_assert_cmpuint(told.lines + told.left_out, ==, written);
    trace_free(t);
    g_free(told.last);
    mailbox_free(mailbox);
}

int
main(int argc, char **argv)
{
    main_thread_claim();
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/trace/a-class-that-is-off-says-nothing", test_off);
    g_test_add_func("/trace/every-line-is-told-or-counted", test_limit);
    return g_test_run();
}
