/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Traces: lines that any thread may write about what happens inside, shown on main while their class is on.
 *
 * A class that is off costs its writer one relaxed load.  One that is on lets TRACE_LINES_A_SECOND lines through and
 * counts the others, so that no class, however busy what it tells of, floods a terminal or the main loop; the next
 * line that comes through tells how many were left out. */
#include "base.h"

#include <stdarg.h>
#include <string.h>

const struct trace_class_info trace_class_info[] = {
#define X(c, name, help) { name, help },
    TRACE_CLASSES(X)
#undef X
    { 0 }
};

struct budget {
    int64_t second;                 /* monotonic: the one that 'lines' is of */
    unsigned lines;                 /* let through in it */
    uint64_t left_out;              /* since the last that came through */
};

struct trace {
    /* Fixed. */
    struct mailbox *mailbox;        /* borrowed */
    void (*tell)(void *self, const char *text);
    void *self;

    _Atomic bool on[TRACE_CLASSES_COUNT];

    struct lock lock;               /* rank 57 */
    struct budget budgets[TRACE_CLASSES_COUNT] GUARDED;
    GPtrArray *waiting GUARDED;     /* char *: for main, oldest first */
};

UNCHECKED struct trace *
trace_new(struct mailbox *mailbox, void (*tell)(void *self, const char *text), void *self)
{
    struct trace *t = g_new0(struct trace, 1);

    t->mailbox = mailbox;
    t->tell = tell;
    t->self = self;
    t->waiting = g_ptr_array_new_with_free_func(g_free);
    lock_init(&t->lock, 57, "trace");
    return t;
}

UNCHECKED void
trace_free(struct trace *t)
{
    if (!t)
        return;
    mailbox_forget(t->mailbox, t);
    g_ptr_array_unref(t->waiting);
    lock_release(&t->lock);
    g_free(t);
}

bool
trace_is_on(const struct trace *t, enum trace_class c)
{
    return t && atomic_load_explicit(&t->on[c], memory_order_relaxed);
}

void
trace_switch(struct trace *t, enum trace_class c, bool on)
{
    lock_take(&t->lock);
    t->budgets[c] = (struct budget) { 0 };
    lock_drop(&t->lock);
    atomic_store(&t->on[c], on);
}

/* Nothing is shown while the lock is held. */
static void
deliver(void *trace)
{
    struct trace *t = trace;
    g_autoptr(GPtrArray) lines = NULL;

    lock_take(&t->lock);
    lines = t->waiting;
    t->waiting = g_ptr_array_new_with_free_func(g_free);
    lock_drop(&t->lock);
    for (unsigned i = 0; i < lines->len; i++)
        t->tell(t->self, lines->pdata[i]);
}

/* Whether one more may come through now; '*ret_left_out' is what the line must tell then. */
static bool
spend(struct budget *b, uint64_t *ret_left_out)
{
    int64_t second = g_get_monotonic_time() / G_USEC_PER_SEC;

    if (second != b->second) {
        b->second = second;
        b->lines = 0;
    }
    if (b->lines >= TRACE_LINES_A_SECOND) {
        b->left_out++;
        return false;
    }
    b->lines++;
    *ret_left_out = b->left_out;
    b->left_out = 0;
    return true;
}

bool
trace_wants(struct trace *t, enum trace_class c)
{
    int64_t second = g_get_monotonic_time() / G_USEC_PER_SEC;
    bool wants;

    if (!trace_is_on(t, c))
        return false;
    lock_take(&t->lock);
    wants = second != t->budgets[c].second || t->budgets[c].lines < TRACE_LINES_A_SECOND;
    if (!wants)
        t->budgets[c].left_out++;
    lock_drop(&t->lock);
    return wants;
}

void
trace_line(struct trace *t, enum trace_class c, const char *format, ...)
{
    uint64_t left_out = 0;
    bool first = false, passes;
    va_list args;
    GString *text;

    if (!trace_is_on(t, c))
        return;
    lock_take(&t->lock);
    passes = spend(&t->budgets[c], &left_out);
    lock_drop(&t->lock);
    if (!passes)
        return;
    text = g_string_new(trace_class_info[c].name);
    if (left_out)
        g_string_append_printf(text, " (%" G_GUINT64_FORMAT " lines left out)", left_out);
    g_string_append(text, ": ");
    va_start(args, format);
    g_string_append_vprintf(text, format, args);
    va_end(args);
    lock_take(&t->lock);
    first = t->waiting->len == 0;
    g_ptr_array_add(t->waiting, g_string_free(text, FALSE));
    lock_drop(&t->lock);
    if (first)
        mailbox_post(t->mailbox, deliver, t, NULL);
}
