/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The way back, read by a thread of its own: pongs, the reason of a refusal, the end.
 *
 * What comes may be damaged, and the source must not take a guest back that runs over there.  So only a reason that
 * is followed by SHUT with a status is a refusal, and only SHUT 0 without one is a success; whatever else ends the
 * way back leaves the outcome open. */
#include "migrate-private.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct return_path {
    /* Fixed before the thread starts. */
    struct channel reading;         /* the same socket; woken by 'stop' alone */
    int wake;                       /* of the session; borrowed */
    int stop, news, alarm;          /* eventfds */
    struct thread thread;

    struct lock lock;               /* rank 50 */
    enum return_verdict verdict GUARDED;
    uint32_t pong GUARDED;          /* value of the last one */
    char *reason GUARDED;           /* owned; NULL if none came */
    GError *failure GUARDED;        /* owned; with LOST */
    GArray *parts GUARDED;          /* struct migrate_part; owned */
    bool progressed GUARDED, over GUARDED;
    uint64_t progress_us GUARDED, gap_us GUARDED;
};

static void
ring(int event)
{
    uint64_t one = 1;

    write_all(event, &one, sizeof one);
}

/* Takes 'failure'. */
static void
give_verdict(struct return_path *r, enum return_verdict verdict, GError *failure)
{
    lock_take(&r->lock);
    r->verdict = verdict;
    r->failure = failure;
    lock_drop(&r->lock);
    ring(r->news);
    ring(r->alarm);
}

static bool
read_exactly(struct return_path *r, void *to, size_t size, GError **error)
{
    for (size_t done = 0; done < size;) {
        ssize_t got = channel_read(&r->reading, (char *)to + done, size - done, INT64_MAX, error);
        if (got < 0)
            return false;
        if (got == 0)
            return fail(error, NUMON_ERROR_PEER, "the destination closed the connection");
        done += (size_t)got;
    }
    return true;
}

static bool
take_parts(struct return_path *r, const void *data, size_t size, GError **error)
{
    lock_take(&r->lock);
    bool good = wire_parts_decode(data, size, r->parts, error);
    lock_drop(&r->lock);
    return good;
}

static bool
read_message(struct return_path *r, struct return_message *ret, GError **error)
{
    uint8_t header[4], data[RETURN_MOST];
    struct cursor in = { header, header + sizeof header };
    uint16_t type = 0, size = 0;

    if (!read_exactly(r, header, sizeof header, error))
        return false;
    cursor_take16(&in, &type);
    cursor_take16(&in, &size);
    if (size > RETURN_MOST)
        return fail(error, NUMON_ERROR_PEER, "the destination sent a message of %u bytes (at most %d are allowed)",
                    size, RETURN_MOST);
    return read_exactly(r, data, size, error) && wire_return_decode(type, data, size, ret, error)
        && (type != RETURN_PARTS || take_parts(r, data, size, error));
}

/* True if nothing more is to be read. */
static bool
take_shut(struct return_path *r, uint32_t status, bool refused)
{
    if ((status != 0) == refused)
        give_verdict(r, refused ? RETURN_REFUSED : RETURN_LOADED, NULL);
    else
        give_verdict(r, RETURN_LOST, g_error_new(NUMON_ERROR, NUMON_ERROR_PEER, "the destination ended with status "
                                                 "%u, %s a reason", status, refused ? "having given" : "without"));
    return true;
}

static bool
take_message(struct return_path *r, const struct return_message *m)
{
    bool refused;

    lock_take(&r->lock);
    if (m->type == RETURN_PONG)
        r->pong = m->value;
    else if (m->type == RETURN_REASON && !r->reason)
        r->reason = g_strdup(m->text);
    refused = r->reason != NULL;
    lock_drop(&r->lock);
    if (m->type == RETURN_SHUT)
        return take_shut(r, m->value, refused);
    ring(r->news);
    return false;
}

/* The verdict is known; nothing that comes now changes it. */
static void
hear_last_word(struct return_path *r)
{
    struct return_message m = { 0 };
    bool heard = read_message(r, &m, NULL) && m.type == RETURN_PROGRESS;

    lock_take(&r->lock);
    r->progressed = heard;
    r->progress_us = m.progress_us;
    r->gap_us = m.gap_us;
    r->over = true;
    lock_drop(&r->lock);
    ring(r->news);
}

static void *
return_main(void *data)
{
    struct return_path *r = data;
    struct return_message message;
    GError *error = NULL;

    do {
        if (!read_message(r, &message, &error)) {
            give_verdict(r, RETURN_LOST, error);
            return NULL;
        }
    } while (!take_message(r, &message));
    hear_last_word(r);
    return NULL;
}

struct return_path *
return_new(struct channel *c, GError **error)
{
    struct return_path *r = g_new0(struct return_path, 1);

    lock_init(&r->lock, 50, "return path");
    lock_take(&r->lock);
    r->parts = g_array_new(FALSE, TRUE, sizeof(struct migrate_part));
    lock_drop(&r->lock);
    r->wake = c->wake;
    r->stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    r->news = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    r->alarm = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    r->reading = (struct channel) { .in = c->in, .out = c->out, .wake = r->stop, .alarm = -1, .child_fd = -1 };
    if (r->stop < 0 || r->news < 0 || r->alarm < 0)
        fail_host(error, errno, "cannot make an event descriptor");
    else if (thread_start(&r->thread, "migrate-return", return_main, r, error))
        return r;
    return_free(r);
    return NULL;
}

void
return_free(struct return_path *r)
{
    if (!r)
        return;
    if (r->thread.started)
        ring(r->stop);
    thread_join(&r->thread);
    close_fd(&r->stop);
    close_fd(&r->news);
    close_fd(&r->alarm);
    lock_take(&r->lock);
    g_free(r->reason);
    g_array_unref(r->parts);
    g_clear_error(&r->failure);
    lock_drop(&r->lock);
    lock_release(&r->lock);
    g_free(r);
}

int
return_alarm(struct return_path *r)
{
    return r->alarm;
}

static enum return_verdict
read_verdict(struct return_path *r, uint32_t pong, bool *ret_pong, GError **error)
{
    enum return_verdict verdict;

    lock_take(&r->lock);
    verdict = r->verdict;
    if (ret_pong)
        *ret_pong = pong != 0 && r->pong == pong;
    if (verdict == RETURN_REFUSED)
        fail(error, NUMON_ERROR_PEER, "the destination refused: %s", r->reason);
    else if (verdict == RETURN_LOST && error)
        *error = g_error_copy(r->failure);
    lock_drop(&r->lock);
    return verdict;
}

enum return_verdict
return_wait(struct return_path *r, uint32_t pong, int64_t deadline_us, bool *ret_pong, GError **error)
{
    struct channel waiting = { .wake = r->wake, .alarm = -1 };
    uint64_t count;

    for (;;) {
        enum return_verdict verdict = read_verdict(r, pong, ret_pong, error);
        if (verdict != RETURN_NOTHING || (ret_pong && *ret_pong))
            return verdict;
        if (channel_wait(&waiting, r->news, POLLIN, deadline_us) != CHANNEL_READY)
            return read_verdict(r, pong, ret_pong, error);
        if (read(r->news, &count, sizeof count) < 0 && errno != EAGAIN && errno != EINTR)
            return read_verdict(r, pong, ret_pong, error);
    }
}

GArray *
return_parts(struct return_path *r)
{
    lock_take(&r->lock);
    GArray *parts = g_array_copy(r->parts);
    lock_drop(&r->lock);
    return parts;
}

bool
return_last_word(struct return_path *r, int64_t deadline_us, uint64_t *ret_progress_us, uint64_t *ret_gap_us)
{
    struct channel waiting = { .wake = r->wake, .alarm = -1 };
    bool over = false, heard = false;
    uint64_t count;

    while (!over) {
        lock_take(&r->lock);
        over = r->over;
        heard = r->progressed;
        *ret_progress_us = r->progress_us;
        *ret_gap_us = r->gap_us;
        lock_drop(&r->lock);
        if (!over && (channel_wait(&waiting, r->news, POLLIN, deadline_us) != CHANNEL_READY
                      || (read(r->news, &count, sizeof count) < 0 && errno != EAGAIN && errno != EINTR)))
            break;
    }
    return heard;
}
