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
    return read_exactly(r, data, size, error) && wire_return_decode(type, data, size, ret, error);
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

static void *
return_main(void *data)
{
    struct return_path *r = data;
    struct return_message message;
    GError *error = NULL;

    for (;;) {
        if (!read_message(r, &message, &error)) {
            give_verdict(r, RETURN_LOST, error);
            return NULL;
        }
        if (take_message(r, &message))
            return NULL;
    }
}

struct return_path *
return_new(struct channel *c, GError **error)
{
    struct return_path *r = g_new0(struct return_path, 1);

    lock_init(&r->lock, 50, "return path");
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
