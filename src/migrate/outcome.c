/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What became of a guest: the destination decides it once and tells whoever asks by migration id.
 *
 * Question and answer are 16 bytes each, on a connection of their own to the destination's listener (wire.c).  The
 * listener lives as long as the session.  A question that comes while the guest is still being loaded decides: it is
 * discarded, so that the source may go on.  One that comes while the positive answer is being written waits until it
 * is known whether that could be done.  So "running" and "discarded" are each final. */
#include "migrate-private.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PENDING_MOST = 8, PENDING_US = 30 * 1000 * 1000, REFUSE_DRAIN_US = 100 * 1000,
       ACCEPT_REST_MS = 100 };

/* --- the decision ----------------------------------------------------------------------------------------------- */

void
outcome_begin(struct session *s, uint64_t id)
{
    lock_take(&s->lock);
    s->id = id;
    s->outcome = OUTCOME_LOADING;
    lock_drop(&s->lock);
}

bool
outcome_answering(struct session *s)
{
    lock_take(&s->lock);
    bool good = s->outcome == OUTCOME_LOADING && s->state != MIGRATE_CANCELLING && !s->closing;
    if (good) {
        s->outcome = OUTCOME_ANSWERING;
        s->committed = true;
    }
    lock_drop(&s->lock);
    return good;
}

void
outcome_running(struct session *s)
{
    lock_take(&s->lock);
    s->outcome = OUTCOME_RUNNING;
    condition_broadcast(&s->changed);
    lock_drop(&s->lock);
}

bool
outcome_discard(struct session *s)
{
    lock_take(&s->lock);
    bool before = s->outcome == OUTCOME_DISCARDED;
    if (s->outcome != OUTCOME_NONE)
        s->outcome = OUTCOME_DISCARDED;
    condition_broadcast(&s->changed);
    lock_drop(&s->lock);
    return before;
}

/* The answer to a question; decides where that is still open. */
static uint32_t
outcome_word(struct session *s, uint64_t id)
{
    uint32_t word = OUTCOME_WORD_UNKNOWN;
    bool discarded = false;

    lock_take(&s->lock);
    while (s->id == id && s->outcome == OUTCOME_ANSWERING && !s->closing)
        condition_wait(&s->changed, &s->lock);
    if (s->id == id) {
        discarded = s->outcome == OUTCOME_LOADING;
        if (discarded)
            s->outcome = OUTCOME_DISCARDED;
        if (s->outcome == OUTCOME_RUNNING)
            word = OUTCOME_WORD_RUNNING;
        else if (s->outcome == OUTCOME_DISCARDED)
            word = OUTCOME_WORD_DISCARDED;
    }
    lock_drop(&s->lock);
    if (discarded)
        session_wake(s);            /* the worker need not read on */
    return word;
}

/* --- the destination's listener --------------------------------------------------------------------------------- */

/* A connection that has not yet said what it is. */
struct pending {
    int fd;                         /* -1: free */
    int64_t deadline_us;
    unsigned size;
    uint8_t bytes[OUTCOME_SIZE];
};

void
refuse(struct channel *c, const char *reason, int64_t drain_us)
{
    g_autofree char *valid = g_utf8_make_valid(reason, -1);
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    size_t size = MIN(strlen(valid), RETURN_MOST);
    int64_t deadline = g_get_monotonic_time() + drain_us;
    _Atomic uint64_t unused = 0;
    uint32_t status = GUINT32_TO_BE(1);
    char drain[4096];

    while (size > 0 && (valid[size] & 0xc0) == 0x80)
        size--;
    wire_put_return(bytes, RETURN_REASON, valid, size);
    wire_put_return(bytes, RETURN_SHUT, &status, sizeof status);
    struct iovec iov = { bytes->data, bytes->len };
    if (!channel_write(c, &iov, 1, drain_us / 1000, &unused, NULL))
        return;
    channel_end_output(c);
    while (channel_read(c, drain, sizeof drain, deadline, NULL) > 0 && g_get_monotonic_time() < deadline)
        ;
}

static void
refuse_stream(struct session *s, struct pending *p)
{
    struct channel *c = channel_new_socket(p->fd, s->quit);

    p->fd = -1;
    refuse(c, "this destination takes no (other) guest now", REFUSE_DRAIN_US);
    channel_free(c);
}

static void
hand_over(struct session *s, struct pending *p)
{
    lock_take(&s->lock);
    bool wanted = !s->connected && s->state == MIGRATE_SETUP && !s->closing;
    if (wanted) {
        s->connected = true;
        s->connection = p->fd;
        memcpy(s->first, p->bytes, p->size);
        s->first_size = p->size;
        condition_broadcast(&s->changed);
    }
    lock_drop(&s->lock);
    if (wanted)
        p->fd = -1;
    else
        refuse_stream(s, p);
}

static void
answer_question(struct session *s, struct pending *p)
{
    uint8_t answer[OUTCOME_SIZE];
    uint64_t id;

    if (wire_question_decode(p->bytes, &id)) {
        wire_answer(answer, outcome_word(s, id), id);
        /* An empty socket buffer takes 16 bytes; if it does not, the source asks again. */
        if (send(p->fd, answer, sizeof answer, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
            errno = 0;
    }
    close_fd(&p->fd);
}

/* Some of its first bytes came, or its end. */
static void
pending_read(struct session *s, struct pending *p)
{
    static const uint8_t question[4] = { QUESTION_MAGIC >> 24, QUESTION_MAGIC >> 16 & 0xff,
                                         QUESTION_MAGIC >> 8 & 0xff, QUESTION_MAGIC & 0xff };
    size_t want = (p->size < 4 ? 4 : OUTCOME_SIZE) - p->size;
    ssize_t got = read(p->fd, p->bytes + p->size, want);

    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got > 0)
        p->size += (unsigned)got;
    bool asks = memcmp(p->bytes, question, MIN(p->size, 4)) == 0;
    if (got <= 0 && (p->size == 0 || asks))
        close_fd(&p->fd);           /* somebody looked whether we are there */
    else if (!asks && (got <= 0 || p->size >= 4))
        hand_over(s, p);
    else if (p->size == OUTCOME_SIZE)
        answer_question(s, p);
}

static void
accept_one(struct session *s, struct pending pending[PENDING_MOST])
{
    struct pending *place = &pending[0];
    int fd = accept4(s->listener.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    if (fd < 0) {
        /* Out of descriptors, say: the connection stays in the queue, and trying again at once would only spin. */
        if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
            poll(&(struct pollfd) { s->quit, POLLIN, 0 }, 1, ACCEPT_REST_MS);
        return;
    }
    for (unsigned i = 0; i < PENDING_MOST; i++) {
        struct pending *p = &pending[i];
        if (p->fd < 0 || (place->fd >= 0 && p->deadline_us < place->deadline_us))
            place = p;
    }
    close_fd(&place->fd);           /* all places taken: the oldest has said nothing for the longest time */
    *place = (struct pending) { .fd = fd, .deadline_us = g_get_monotonic_time() + PENDING_US };
}

static int
pending_timeout(struct pending pending[PENDING_MOST])
{
    int64_t now = g_get_monotonic_time(), first = INT64_MAX;

    for (unsigned i = 0; i < PENDING_MOST; i++) {
        if (pending[i].fd >= 0 && pending[i].deadline_us <= now)
            close_fd(&pending[i].fd);
        if (pending[i].fd >= 0)
            first = MIN(first, pending[i].deadline_us);
    }
    return first == INT64_MAX ? -1 : (int)((first - now + 999) / 1000);
}

void *
server_main(void *session)
{
    struct session *s = session;
    struct pending pending[PENDING_MOST];

    for (unsigned i = 0; i < PENDING_MOST; i++)
        pending[i] = (struct pending) { .fd = -1 };
    for (;;) {
        struct pollfd fds[PENDING_MOST + 2] = { { s->quit, POLLIN, 0 }, { s->listener.fd, POLLIN, 0 } };
        int timeout = pending_timeout(pending);
        for (unsigned i = 0; i < PENDING_MOST; i++)
            fds[i + 2] = (struct pollfd) { pending[i].fd, POLLIN, 0 };
        if (poll(fds, G_N_ELEMENTS(fds), timeout) < 0)
            continue;
        if (fds[0].revents)
            break;
        for (unsigned i = 0; i < PENDING_MOST; i++)
            if (fds[i + 2].revents)
                pending_read(s, &pending[i]);
        if (fds[1].revents)
            accept_one(s, pending);
    }
    for (unsigned i = 0; i < PENDING_MOST; i++)
        close_fd(&pending[i].fd);
    return NULL;
}

/* --- the source asks -------------------------------------------------------------------------------------------- */

struct question {
    struct session *session;        /* borrowed: its thread is joined before it is freed */
    void (*done)(void *self, enum migrate_owner owner, const GError *error);
    void *self;
    GDestroyNotify release;         /* of 'self'; may be NULL */
    enum migrate_owner owner;
    GError *error;                  /* owned */
};

static void
question_free(void *data)
{
    struct question *q = data;

    if (q->release)
        q->release(q->self);
    g_clear_error(&q->error);
    g_free(q);
}

static void
question_deliver(void *data)
{
    struct question *q = data;

    q->done(q->self, q->owner, q->error);
}

static bool
exchange(struct channel *c, uint64_t id, int64_t deadline_us, uint32_t *ret_word, GError **error)
{
    uint8_t bytes[OUTCOME_SIZE];
    struct iovec iov = { bytes, sizeof bytes };
    _Atomic uint64_t unused = 0;

    wire_question(bytes, id);
    if (!channel_write(c, &iov, 1, (uint64_t)MAX(deadline_us - g_get_monotonic_time(), 1000) / 1000, &unused, error))
        return false;
    for (size_t done = 0; done < sizeof bytes;) {
        ssize_t got = channel_read(c, bytes + done, sizeof bytes - done, deadline_us, error);
        if (got < 0)
            return false;
        if (got == 0)
            return fail(error, NUMON_ERROR_PEER, "the connection was closed without an answer");
        done += (size_t)got;
    }
    return wire_answer_decode(bytes, id, ret_word) || fail(error, NUMON_ERROR_PEER, "the answer makes no sense");
}

static bool
ask(struct session *s, uint64_t id, uint32_t *ret_word, GError **error)
{
    int64_t deadline = g_get_monotonic_time() + (int64_t)counter_read(&s->parameters->switchover_timeout) * 1000;

    if (!address_listens(&s->address))
        return fail(error, NUMON_ERROR_STATE, "over this transport nobody can be asked again");
    struct channel *c = channel_open(&s->address, MIGRATE_OUT, s->quit, deadline, error);
    bool good = c && exchange(c, id, deadline, ret_word, error);
    channel_free(c);
    return good;
}

/* Writes down what was learnt, unless the user decided meanwhile. */
static void
learn(struct session *s, struct question *q, enum migrate_owner learnt)
{
    lock_take(&s->lock);
    if (s->owner == OWNER_UNKNOWN)
        s->owner = learnt;
    q->owner = s->owner;
    s->asking = false;
    lock_drop(&s->lock);
}

void *
asker_main(void *question)
{
    struct question *q = question;
    struct session *s = q->session;
    enum migrate_owner learnt = OWNER_UNKNOWN;
    uint32_t word = OUTCOME_WORD_UNKNOWN;
    uint64_t id = session_id(s);

    /* What both sides have mapped says more than whoever answers. */

    if (claim_runs(&s->claim))
        learnt = OWNER_THERE;
    else if (handover_is(s) && claim_back(&s->claim))
        learnt = OWNER_HERE;
    else if (!ask(s, id, &word, &q->error))
        g_prefix_error(&q->error, "cannot learn from the destination what became of the guest: ");
    else if (word == OUTCOME_WORD_UNKNOWN)
        fail(&q->error, NUMON_ERROR_PEER, "the destination knows nothing of this migration (%016" G_GINT64_MODIFIER
             "x)", id);
    else if (word == OUTCOME_WORD_RUNNING)
        learnt = OWNER_THERE;
    else if (claim_back(&s->claim))
        learnt = OWNER_HERE;
    else
        fail(&q->error, NUMON_ERROR_PEER, "the destination says that it discarded the guest, and still claims its "
             "memory");
    learn(s, q, learnt);
    session_post(s, question_deliver, q, question_free);
    if (learnt == OWNER_THERE)
        handover_let_go(s);
    return NULL;
}

void
session_ask_outcome(struct session *s, void (*done)(void *self, enum migrate_owner owner, const GError *error),
                    void *self, GDestroyNotify release)
{
    struct question *q = g_new0(struct question, 1);

    *q = (struct question) { .session = s, .done = done, .self = self, .release = release };
    lock_take(&s->lock);
    q->owner = s->owner;
    bool needed = q->owner == OWNER_UNKNOWN && !s->asking;
    s->asking = s->asking || needed;
    lock_drop(&s->lock);
    if (!needed && q->owner == OWNER_UNKNOWN)
        fail(&q->error, NUMON_ERROR_STATE, "the destination is being asked already");
    if (needed)
        thread_join(&s->asker);     /* of an earlier question: it has ended, or is about to */
    if (needed && thread_start(&s->asker, "migrate-ask", asker_main, q, &q->error))
        return;
    if (needed) {
        lock_take(&s->lock);
        s->asking = false;
        lock_drop(&s->lock);
    }
    session_post(s, question_deliver, q, question_free);
}
