/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The mailbox: a queue of letters that any thread adds to and the main thread delivers.  An eventfd that the main
 * loop watches is written when the queue stops being empty; a letter leaves the queue before it is delivered, so that
 * a delivery may post, drain or take long. */
#include "base.h"

#include <errno.h>
#include <glib-unix.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct letter {
    struct letter *next;
    void (*deliver)(void *data);
    void *data;
    GDestroyNotify release;         /* may be NULL */
};

struct mailbox {
    /* Fixed from mailbox_new to mailbox_free. */
    int event_fd;
    GSource *source;                /* owned */

    struct lock lock;               /* rank 60 */
    struct letter *first GUARDED;   /* owned; oldest first */
    struct letter **last GUARDED;   /* where the next one goes */
    uint64_t posted GUARDED;        /* letters ever posted */
    uint64_t delivered GUARDED;     /* letters ever taken out */
};

/* Neither can block or fail: the descriptor is non-blocking and the count far from its limit. */
static void
ring(struct mailbox *m)
{
    uint64_t one = 1;

    while (write(m->event_fd, &one, sizeof one) < 0 && errno == EINTR)
        continue;
}

static void
unring(struct mailbox *m)
{
    uint64_t count;

    while (read(m->event_fd, &count, sizeof count) < 0 && errno == EINTR)
        continue;
}

/* Takes out the oldest letter if fewer than 'until' have been taken; the caller frees it. */
static struct letter *
take_letter(struct mailbox *m, uint64_t until)
{
    struct letter *letter = NULL;

    lock_take(&m->lock);
    if (m->first && m->delivered < until) {
        letter = m->first;
        m->first = letter->next;
        if (!m->first)
            m->last = &m->first;
        m->delivered++;
    }
    lock_drop(&m->lock);
    return letter;
}

static void
letter_free(struct letter *letter)
{
    if (letter->release)
        letter->release(letter->data);
    g_free(letter);
}

/* Takes out the oldest letter with this data; the caller frees it. */
static struct letter *
take_letter_with(struct mailbox *m, const void *data)
{
    struct letter **at, *letter;

    lock_take(&m->lock);
    at = &m->first;
    while (*at && (*at)->data != data)
        at = &(*at)->next;
    letter = *at;
    if (letter) {
        *at = letter->next;
        if (!*at)
            m->last = at;
        m->delivered++;
    }
    lock_drop(&m->lock);
    return letter;
}

static void
deliver_until(struct mailbox *m, uint64_t until)
{
    struct letter *letter;

    while ((letter = take_letter(m, until))) {
        letter->deliver(letter->data);
        letter_free(letter);
    }
}

static uint64_t
posted_so_far(struct mailbox *m)
{
    uint64_t posted;

    lock_take(&m->lock);
    posted = m->posted;
    lock_drop(&m->lock);
    return posted;
}

/* Delivers what waits now; what deliveries post comes in the next turn of the loop, after the terminal had its. */
static gboolean
on_ring(int fd, GIOCondition condition, void *data)
{
    struct mailbox *m = data;
    bool more;

    on_main_thread();
    unring(m);
    deliver_until(m, posted_so_far(m));
    lock_take(&m->lock);
    more = m->first != NULL;
    lock_drop(&m->lock);
    if (more)
        ring(m);
    return G_SOURCE_CONTINUE;
}

/* Nobody else knows the mailbox yet. */
UNCHECKED struct mailbox *
mailbox_new(GMainContext *context)
{
    struct mailbox *m = g_new0(struct mailbox, 1);

    lock_init(&m->lock, 60, "mailbox");
    m->last = &m->first;
    m->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (m->event_fd < 0)
        g_error("cannot create an eventfd: %s", g_strerror(errno));
    m->source = g_unix_fd_source_new(m->event_fd, G_IO_IN);
    g_source_set_callback(m->source, G_SOURCE_FUNC(on_ring), m, NULL);
    g_source_attach(m->source, context);
    return m;
}

void
mailbox_free(struct mailbox *m)
{
    struct letter *letter;

    if (!m)
        return;
    while ((letter = take_letter(m, UINT64_MAX)))
        letter_free(letter);
    g_source_destroy(m->source);
    g_source_unref(m->source);
    close_fd(&m->event_fd);
    lock_release(&m->lock);
    g_free(m);
}

void
mailbox_post(struct mailbox *m, void (*deliver)(void *data), void *data, GDestroyNotify release)
{
    struct letter *letter = g_new(struct letter, 1);
    bool was_empty;

    *letter = (struct letter){ .deliver = deliver, .data = data, .release = release };
    lock_take(&m->lock);
    was_empty = m->first == NULL;
    *m->last = letter;
    m->last = &letter->next;
    m->posted++;
    lock_drop(&m->lock);
    if (was_empty)
        ring(m);
}

void
mailbox_forget(struct mailbox *m, const void *data)
{
    struct letter *letter;

    on_main_thread();
    while ((letter = take_letter_with(m, data)))
        letter_free(letter);
}

void
mailbox_drain(struct mailbox *m)
{
    on_main_thread();
    deliver_until(m, UINT64_MAX);
}
