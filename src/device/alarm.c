/* SPDX-License-Identifier: GPL-3.0-or-later */
/* An alarm clock: any thread says when, main is called.  It is a source of the main loop whose time GLib lets other
 * threads set. */
#include "device-private.h"

struct alarm {
    GSource source;
    void (*ring)(void *self);
    void *self;
};

static gboolean
alarm_dispatch(GSource *source, GSourceFunc unused, gpointer nothing)
{
    struct alarm *a = (struct alarm *)source;

    g_source_set_ready_time(source, -1);
    a->ring(a->self);
    return G_SOURCE_CONTINUE;
}

struct alarm *
alarm_new(void (*ring)(void *self), void *self)
{
    static GSourceFuncs functions = { .dispatch = alarm_dispatch };
    struct alarm *a = (struct alarm *)g_source_new(&functions, sizeof(*a));

    a->ring = ring;
    a->self = self;
    g_source_attach(&a->source, g_main_context_get_thread_default());
    return a;
}

void
alarm_free(struct alarm *a)
{
    if (!a)
        return;
    g_source_destroy(&a->source);
    g_source_unref(&a->source);
}

void
alarm_set(struct alarm *a, int64_t at_us)
{
    g_source_set_ready_time(&a->source, at_us);
}
