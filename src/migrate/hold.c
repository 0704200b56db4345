/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A source that waits between two rounds, for a person who looks at it: the guest goes on meanwhile, and so does what
 * is known of it. */
#include "migrate-private.h"

#include <poll.h>

/* Who is shown what remains sees it move. */
enum { HELD_LOOK_US = 250 * 1000 };

/* Between two rounds the guest goes on: what remains now is what the next begins with.  '*at_us' is the look
 * before. */
static bool
look_while_held(struct out *o, int64_t *at_us, GError **error)
{
    int64_t now_us = g_get_monotonic_time();
    struct session *s = o->session;

    if (!hub_sync(s->guest.hub, error))
        return false;
    uint64_t bytes = pieces_remaining(&o->pieces, o->subscriber) * PAGE_SIZE;
    record_shares(s, &o->pieces);
    record_held(s, now_us - *at_us, bytes);
    *at_us = now_us;
    /* Last: who sees it finds the record of it, too. */
    atomic_store(&s->remaining_bytes, bytes);
    return true;
}

/* Until a person says so, or nobody wants it any more. */
static bool
await_proceed(struct out *o, int64_t *at_us, GError **error)
{
    enum channel_wait found = CHANNEL_LATE;

    while (found == CHANNEL_LATE && atomic_load_explicit(&o->session->parameters->step, memory_order_relaxed)) {
        found = channel_wait(o->channel, o->session->proceed, POLLIN, g_get_monotonic_time() + HELD_LOOK_US);
        if (found == CHANNEL_WOKEN)
            return fail(error, NUMON_ERROR_STATE, "interrupted between two rounds");
        if (!look_while_held(o, at_us, error))
            return false;
    }
    return true;
}

/* After a round, for a person who looks at it. */
bool
out_hold(struct out *o, GError **error)
{
    int64_t begin_us = g_get_monotonic_time(), at_us = begin_us;

    session_hold(o->session, true);
    bool good = await_proceed(o, &at_us, error);
    session_hold(o->session, false);
    int64_t now_us = g_get_monotonic_time();
    pace_resume(&o->pace, now_us - begin_us, now_us);
    o->was_held = true;
    return good;
}
