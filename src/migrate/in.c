/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The destination's worker: takes the connection, has the stream loaded (load.c), answers, starts the guest.
 *
 * The guest is started only after the positive answer was wholly written; if writing fails, it is discarded, and
 * whoever asks is told so (outcome.c). */
#include "migrate-private.h"

#include <string.h>

enum {
    PROGRESS_US = 400 * 1000,       /* a guest that does nothing for so long is idle, or paused */
    PROGRESS_FINE_US = 5000,        /* and is watched closely for so long */
    DRAIN_US = 2 * 1000 * 1000,     /* a refused source is heard out: closing earlier could take our words with it */
    CHILD_END_US = 1000 * 1000,     /* a command has so long to end by itself */
};

/* --- what it says ----------------------------------------------------------------------------------------------- */

static bool
say(struct in *n, GByteArray *bytes, GError **error)
{
    struct iovec iov = { bytes->data, bytes->len };
    _Atomic uint64_t unused = 0;

    return channel_write(n->channel, &iov, 1, counter_read(&n->session->parameters->switchover_timeout), &unused,
                         error);
}

bool
in_say32(struct in *n, uint16_t type, uint32_t value, GError **error)
{
    g_autoptr(GByteArray) bytes = g_byte_array_new();

    value = GUINT32_TO_BE(value);
    wire_put_return(bytes, type, &value, sizeof value);
    return say(n, bytes, error);
}

/* --- the whole -------------------------------------------------------------------------------------------------- */

/* The connection that the server thread accepted. */
static struct channel *
take_connection(struct in *n, GError **error)
{
    struct session *s = n->session;
    int fd;

    lock_take(&s->lock);
    while (s->connection < 0 && s->state == MIGRATE_SETUP && !s->closing)
        condition_wait(&s->changed, &s->lock);
    fd = s->connection;
    s->connection = -1;
    memcpy(n->input.bytes, s->first, s->first_size);
    n->input.end = s->first_size;
    lock_drop(&s->lock);
    if (fd >= 0)
        return channel_new_socket(fd, s->wake);
    session_alive(s, error);
    return NULL;
}

static bool
open_in(struct in *n, GError **error)
{
    struct session *s = n->session;

    n->channel = address_listens(&s->address) ? take_connection(n, error)
               : channel_open(&s->address, MIGRATE_IN, s->wake, INT64_MAX, error);
    if (!n->channel)
        return false;
    channel_take_descriptors(n->channel, true);
    channel_watch_link(n->channel, counter_read(&s->parameters->link_timeout), true);
    n->input.channel = n->channel;
    n->input.counter = &s->counters.bytes;
    n->input.summing = true;        /* until the head has said whether it is to be */
    counter_add(&s->counters.bytes, n->input.end);
    lock_take(&s->lock);
    s->begin_us = g_get_monotonic_time();
    lock_drop(&s->lock);
    return ram_in_init(&n->ram, s, &n->input, error);
}

static bool
load(struct in *n, GError **error)
{
    if (!open_in(n, error) || !load_head(n, error))
        return false;
    if (!session_enter(n->session, MIGRATE_ACTIVE))
        return session_alive(n->session, error);
    while (!n->ended)
        if (!load_record(n, error))
            return false;
    record_part(n->session, "description");
    return true;
}

/* What took how long here so far. */
static bool
send_parts(struct in *n, GError **error)
{
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    struct session *s = n->session;
    unsigned at = 0;

    if (!n->parts_wanted || !n->back)
        return true;
    lock_take(&s->lock);
    while (at < s->record.parts->len)
        wire_put_parts(bytes, s->record.parts, &at);
    lock_drop(&s->lock);
    return bytes->len == 0 || say(n, bytes, error);
}

/* Looks for the guest's first turn, as long as that is worth knowing; session_free does not wait for it. */
static void
watch_progress(struct in *n)
{
    struct session *s = n->session;
    const struct migrate_guest *g = &s->guest;
    int64_t begin_us = g_get_monotonic_time(), now_us = begin_us;
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    uint64_t gap_us = 0;
    enum migrate_progress progress = PROGRESS_NONE;

    while (progress == PROGRESS_NONE && now_us - begin_us < PROGRESS_US && session_alive(s, NULL)) {
        progress = g->progressed ? g->progressed(g->self, &gap_us) : PROGRESS_UNKNOWN;
        now_us = g_get_monotonic_time();
        if (progress == PROGRESS_NONE)
            g_usleep(now_us - begin_us < PROGRESS_FINE_US ? 50 : 1000);
    }
    if (progress != PROGRESS_SEEN)
        return;
    record_progress(s, (uint64_t)(now_us - begin_us), gap_us);
    if (!n->parts_wanted || !n->back)
        return;
    wire_put_progress(bytes, (uint64_t)(now_us - begin_us), gap_us);
    say(n, bytes, NULL);
}

/* From outcome_answering() on it is only the writing of the answer that decides. */
static bool
answer(struct in *n, GError **error)
{
    struct session *s = n->session;

    if (!handover_adopt(&n->ram, error))
        return false;
    if (!outcome_answering(s)) {
        session_alive(s, error);
        return false;
    }
    if (!handover_claim(s, error))
        return false;
    bool running = !n->back || (send_parts(n, error) && in_say32(n, RETURN_SHUT, 0, error));
    if (!running || !handover_run(s, error))
        return false;
    record_part(s, "answer");
    outcome_running(s);
    s->guest.start(s->guest.self, n->run_state);
    record_part(s, "start vCPUs");
    return true;
}

/* Where the stream came from a command, how that ended says more than that it ended; and a question that discarded
 * the guest says more than that reading was interrupted. */
static void
improve_error(struct in *n, bool asked, GError **error)
{
    g_autoptr(GError) better = NULL;

    if (asked) {
        g_clear_error(error);
        fail(error, NUMON_ERROR_PEER, "the source asked what became of the guest before all of it was loaded");
    }
    if (!n->channel || !n->channel->child || !session_alive(n->session, NULL))
        return;
    if (!child_wait(n->channel, g_get_monotonic_time() + CHILD_END_US / 4, &better) && !n->channel->child)
        g_prefix_error(error, "%s; ", better->message);
}

static void
discard(struct in *n, GError **error)
{
    struct session *s = n->session;

    ram_in_stop(&n->ram);
    handover_give_back(s, &n->ram);
    bool asked = outcome_discard(s);
    improve_error(n, asked, error);
    s->guest.reset(s->guest.self);
    if (n->channel && channel_two_way(n->channel))
        refuse(n->channel, (*error)->message, DRAIN_US);
}

void *
in_main(void *session)
{
    struct session *s = session;
    struct in *n = g_new0(struct in, 1);
    GError *error = NULL;

    n->session = s;
    n->loaded = g_new0(bool, s->guest.section_count + 1);
    bool running = load(n, &error) && answer(n, &error);
    if (!running)
        discard(n, &error);
    else if (n->channel->child)
        child_wait(n->channel, g_get_monotonic_time() + CHILD_END_US, NULL);
    ram_in_release(&n->ram);
    session_end(s, running ? OWNER_HERE : OWNER_THERE, error);
    if (running)
        watch_progress(n);
    channel_free(n->channel);
    g_free(n->loaded);
    g_free(n);
    return NULL;
}
