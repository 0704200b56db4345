/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Steps of the host's clock: a timer that is never due is cancelled by each (timerfd_create(2),
 * TFD_TIMER_CANCEL_ON_SET), and set anew for the next. */
#include "device-private.h"

#include <glib-unix.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define NEVER_S (INT64_C(1) << 38)      /* since 1970, in some thousands of years */

struct clock_watch {
    int fd;
    GSource *source;
    void (*stepped)(void *self);
    void *self;
};

static bool
watch_again(const struct clock_watch *w)
{
    struct itimerspec never = { .it_value.tv_sec = (time_t)NEVER_S };

    return timerfd_settime(w->fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &never, NULL) == 0;
}

static gboolean
look(gint fd, GIOCondition condition, gpointer data)
{
    const struct clock_watch *w = data;
    uint64_t count;

    /* The error that it was cancelled is all that it has to say. */
    if (read(fd, &count, sizeof count) < 0 && !watch_again(w))
        return G_SOURCE_REMOVE;
    w->stepped(w->self);
    return G_SOURCE_CONTINUE;
}

struct clock_watch *
clock_watch_new(void (*stepped)(void *self), void *self)
{
    struct clock_watch *w = g_new0(struct clock_watch, 1);

    *w = (struct clock_watch) { timerfd_create(CLOCK_REALTIME, TFD_CLOEXEC | TFD_NONBLOCK), NULL, stepped, self };
    if (w->fd < 0 || !watch_again(w)) {
        clock_watch_free(w);
        return NULL;
    }
    w->source = g_unix_fd_source_new(w->fd, G_IO_IN);
    g_source_set_callback(w->source, G_SOURCE_FUNC(look), w, NULL);
    g_source_attach(w->source, g_main_context_get_thread_default());
    return w;
}

void
clock_watch_free(struct clock_watch *w)
{
    if (!w)
        return;
    if (w->source) {
        g_source_destroy(w->source);
        g_source_unref(w->source);
    }
    close_fd(&w->fd);
    g_free(w);
}
