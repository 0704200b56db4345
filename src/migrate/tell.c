/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Events of a session on their way to main. */
#include "migrate-private.h"

/* Outlives the session while letters are in the mailbox; a letter that arrives after session_free says nothing. */
struct tell {
    struct migrate_events events;
    bool over;                      /* main only */
    _Atomic unsigned references;
};

struct letter {
    struct tell *tell;
    void (*deliver)(void *data);
    void *data;
    GDestroyNotify release;
    enum migrate_state state;
    uint64_t count;
    unsigned percent;
};

void
tell_free(struct tell *t)
{
    if (atomic_fetch_sub(&t->references, 1) == 1)
        g_free(t);
}

struct tell *
tell_new(const struct migrate_events *events)
{
    struct tell *t = g_new0(struct tell, 1);

    if (events)
        t->events = *events;
    atomic_init(&t->references, 1);
    return t;
}

void
tell_end(struct tell *t)
{
    t->over = true;
}

static void
letter_free(void *data)
{
    struct letter *l = data;

    if (l->release)
        l->release(l->data);
    tell_free(l->tell);
    g_free(l);
}

static void
deliver_state(void *data)
{
    struct letter *l = data;

    if (!l->tell->over && l->tell->events.state)
        l->tell->events.state(l->tell->events.self, l->state);
}

static void
deliver_pass(void *data)
{
    struct letter *l = data;

    if (!l->tell->over && l->tell->events.pass)
        l->tell->events.pass(l->tell->events.self, l->count);
}

static void
deliver_throttle(void *data)
{
    struct letter *l = data;

    if (!l->tell->over && l->tell->events.throttle)
        l->tell->events.throttle(l->tell->events.self, l->count, l->percent);
}

static void
deliver_other(void *data)
{
    struct letter *l = data;

    if (!l->tell->over)
        l->deliver(l->data);
}

static struct letter *
letter_new(struct session *s)
{
    struct letter *l = g_new0(struct letter, 1);

    l->tell = s->tell;
    atomic_fetch_add(&s->tell->references, 1);
    return l;
}

void
session_tell_state(struct session *s, enum migrate_state state)
{
    struct letter *l = letter_new(s);

    l->state = state;
    mailbox_post(s->mailbox, deliver_state, l, letter_free);
}

void
session_pass(struct session *s, uint64_t count)
{
    struct letter *l = letter_new(s);

    l->count = count;
    mailbox_post(s->mailbox, deliver_pass, l, letter_free);
}

void
session_throttle(struct session *s, unsigned percent)
{
    struct letter *l = letter_new(s);

    atomic_store(&s->throttle_percent, percent);
    l->count = counter_read(&s->counters.throttle_strikes);
    l->percent = percent;
    mailbox_post(s->mailbox, deliver_throttle, l, letter_free);
}

void
session_post(struct session *s, void (*deliver)(void *data), void *data, GDestroyNotify release)
{
    struct letter *l = letter_new(s);

    l->deliver = deliver;
    l->data = data;
    l->release = release;
    mailbox_post(s->mailbox, deliver_other, l, letter_free);
}
