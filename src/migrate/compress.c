/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Pages as zlib streams, made and read by worker threads.
 *
 * A pool has a ring of jobs, some for each worker.  The migration thread fills and gives them in turn, workers take
 * the next few that were given, and results are taken back in the order in which they were given.  A job belongs to
 * the migration thread while it is IDLE or DONE, to the pool while it is READY; the pool's lock (rank 40) guards that
 * word and the counts, so nothing is copied or coded under it.  To wake a thread costs about as much as to inflate a
 * page: so who sleeps is woken when some jobs have come together, or when somebody waits.  A page to be compressed is
 * copied into the job first: its guest goes on writing it, and what deflate reads must not change under it. */
#include "migrate-private.h"

#include <string.h>
#include <zlib.h>

enum job_state { JOB_IDLE, JOB_READY, JOB_DONE };
/* Jobs for each worker, and in all unless there are more workers; what a worker takes at once; how many wake one. */
enum { JOBS_EACH = 16, JOBS_MOST = 512, TAKEN_MOST = 4, WAKE_FROM = 4 };

struct worker {
    /* Fixed before the thread starts. */
    struct pool *pool;
    struct thread thread;
    /* Its own. */
    struct deflater *fast;          /* owned; NULL: there is zlib alone */
    z_stream stream;
    int level;                      /* of 'stream' */
    bool made;                      /* 'stream' is */
};

struct slot {
    enum job_state state GUARDED;   /* under the pool's lock; says whose the rest is */
    struct squeeze_job job;
};

struct pool {
    /* Fixed before threads start. */
    bool inflates;
    unsigned count, size;
    struct worker *workers;         /* 'count'; owned */
    struct slot *ring;              /* 'size'; owned */

    struct lock lock;               /* rank 40 */
    struct condition ready;         /* jobs are */
    struct condition done;          /* 'under_way' has come down to 'awaited' */
    bool end GUARDED;
    unsigned first GUARDED, waiting GUARDED;        /* jobs that were given and no worker has yet */
    unsigned asleep GUARDED;        /* workers */
    unsigned under_way GUARDED;     /* jobs given and not done */
    unsigned awaited GUARDED;       /* the migration thread sleeps until it is no more; UINT_MAX: it does not */

    /* Migration thread. */
    unsigned next;                  /* the job to be given next */
    unsigned busy;                  /* jobs before it that were not yet taken back */
    const uint8_t **targets;        /* of the jobs in the ring; owned */
};

/* --- a worker --------------------------------------------------------------------------------------------------- */

static int
set_level(struct worker *w, int level)
{
    if (w->level == level)
        return Z_OK;
    w->level = level;
    return deflateParams(&w->stream, w->level, Z_DEFAULT_STRATEGY);
}

static void
deflate_job(struct worker *w, struct squeeze_job *j)
{
    z_stream *z = &w->stream;
    int status;

    j->coded_size = w->fast ? (uint32_t)deflater_deflate(w->fast, j->level, j->page, j->coded, sizeof j->coded) : 0;
    j->good = j->coded_size > 0;
    if (j->good)
        return;
    status = deflateReset(z);
    if (status == Z_OK)
        status = set_level(w, j->level);
    z->next_in = j->page;
    z->avail_in = PAGE_SIZE;
    z->next_out = j->coded;
    z->avail_out = sizeof j->coded;
    if (status == Z_OK)
        status = deflate(z, Z_FINISH);
    j->coded_size = (uint32_t)(sizeof j->coded - z->avail_out);
    j->good = status == Z_STREAM_END;
    j->why = z->msg ? z->msg : "the output does not fit";
}

/* Exactly one page, and nothing behind the end of its stream. */
static void
inflate_job(struct worker *w, struct squeeze_job *j)
{
    z_stream *z = &w->stream;
    uint8_t beyond;
    int status;

    j->good = w->fast && deflater_inflate(w->fast, j->coded, j->coded_size, j->target);
    if (j->good)
        return;
    status = inflateReset(z);
    z->next_in = j->coded;
    z->avail_in = j->coded_size;
    z->next_out = j->target;
    z->avail_out = PAGE_SIZE;
    if (status == Z_OK)
        status = inflate(z, Z_SYNC_FLUSH);
    if (status == Z_OK && z->avail_out == 0) {
        /* The page is whole; the stream's end may still want reading, but must bring no byte more. */
        z->next_out = &beyond;
        z->avail_out = 1;
        status = inflate(z, Z_FINISH);
    }
    j->good = status == Z_STREAM_END && z->total_out == PAGE_SIZE && z->avail_in == 0;
    j->why = z->msg ? z->msg : status == Z_STREAM_END ? "its length is wrong" : "it does not end";
}

/* Sleeps until there is something to do; false if there will not be any more. */
static bool
await_jobs(struct pool *p) REQUIRES(p->lock)
{
    while (p->waiting == 0 && !p->end) {
        p->asleep++;
        condition_wait(&p->ready, &p->lock);
        p->asleep--;
    }
    return p->waiting > 0;
}

/* The next few, so many that the others have some too; '*ret_first' is where they begin in the ring. */
static unsigned
take_jobs(struct pool *p, unsigned *ret_first) REQUIRES(p->lock)
{
    unsigned count = CLAMP(p->waiting / p->count, 1, TAKEN_MOST);

    *ret_first = p->first;
    p->first = (p->first + count) % p->size;
    p->waiting -= count;
    return count;
}

static void
finish_jobs(struct pool *p, unsigned first, unsigned count) REQUIRES(p->lock)
{
    for (unsigned i = 0; i < count; i++)
        p->ring[(first + i) % p->size].state = JOB_DONE;
    p->under_way -= count;
    if (p->awaited != UINT_MAX && p->under_way <= p->awaited)
        condition_signal(&p->done);
}

static void *
worker_main(void *data)
{
    struct worker *w = data;
    struct pool *p = w->pool;
    unsigned first;

    lock_take(&p->lock);
    while (await_jobs(p)) {
        unsigned count = take_jobs(p, &first);
        lock_drop(&p->lock);
        for (unsigned i = 0; i < count; i++) {
            struct squeeze_job *job = &p->ring[(first + i) % p->size].job;
            if (p->inflates)
                inflate_job(w, job);
            else
                deflate_job(w, job);
        }
        lock_take(&p->lock);
        finish_jobs(p, first, count);
    }
    lock_drop(&p->lock);
    return NULL;
}

/* --- the pool --------------------------------------------------------------------------------------------------- */

static bool
worker_start(struct pool *p, struct worker *w, GError **error)
{
    w->level = Z_BEST_SPEED;
    int status = p->inflates ? inflateInit(&w->stream) : deflateInit(&w->stream, w->level);
    if (status != Z_OK)
        return fail(error, NUMON_ERROR_HOST, "cannot start zlib: %s", zError(status));
    w->made = true;
    w->fast = deflater_new();
    return thread_start(&w->thread, p->inflates ? "decompress" : "compress", worker_main, w, error);
}

struct pool *
pool_new(bool inflates, unsigned count, GError **error)
{
    struct pool *p = g_new0(struct pool, 1);

    p->inflates = inflates;
    p->count = count;
    p->size = MAX(MIN(count * JOBS_EACH, JOBS_MOST), count);
    lock_init(&p->lock, 40, "compression");
    lock_take(&p->lock);
    p->awaited = UINT_MAX;
    lock_drop(&p->lock);
    condition_init(&p->ready);
    condition_init(&p->done);
    p->ring = g_new0(struct slot, p->size);
    p->targets = g_new0(const uint8_t *, p->size);
    p->workers = g_new0(struct worker, count);
    for (unsigned i = 0; i < count; i++)
        p->workers[i].pool = p;
    for (unsigned i = 0; i < count; i++)
        if (!worker_start(p, &p->workers[i], error)) {
            pool_free(p);
            return NULL;
        }
    return p;
}

static void
worker_release(struct pool *p, struct worker *w)
{
    thread_join(&w->thread);
    if (w->made && p->inflates)
        inflateEnd(&w->stream);
    else if (w->made)
        deflateEnd(&w->stream);
    deflater_free(w->fast);
}

void
pool_free(struct pool *p)
{
    if (!p)
        return;
    lock_take(&p->lock);
    p->end = true;
    condition_broadcast(&p->ready);
    lock_drop(&p->lock);
    for (unsigned i = 0; i < p->count; i++)
        worker_release(p, &p->workers[i]);
    g_free(p->workers);
    g_free(p->ring);
    g_free(p->targets);
    condition_release(&p->ready);
    condition_release(&p->done);
    lock_release(&p->lock);
    g_free(p);
}

/* Sleeps until no more than so many are under way. */
static void
await_done(struct pool *p, unsigned most) REQUIRES(p->lock)
{
    if (p->waiting > 0 && p->asleep > 0)
        condition_broadcast(&p->ready);
    p->awaited = most;
    condition_wait(&p->done, &p->lock);
    p->awaited = UINT_MAX;
}

/* A full ring is half emptied before the migration thread goes on: it is not to be woken for each page. */
struct squeeze_job *
pool_take(struct pool *p, bool wait, bool *ret_done)
{
    struct slot *slot = &p->ring[p->next];

    lock_take(&p->lock);
    bool full = slot->state == JOB_READY, usable = !full || wait;
    while (full && wait && (slot->state == JOB_READY || p->under_way > p->size / 2))
        await_done(p, p->size / 2);
    *ret_done = usable && slot->state == JOB_DONE;
    if (usable)
        slot->state = JOB_IDLE;
    lock_drop(&p->lock);
    p->busy -= *ret_done;
    return usable ? &slot->job : NULL;
}

void
pool_give(struct pool *p, struct squeeze_job *job)
{
    struct slot *slot = &p->ring[p->next];

    g_assert(job == &slot->job);
    p->targets[p->next] = job->target;
    p->busy++;
    p->next = (p->next + 1) % p->size;
    lock_take(&p->lock);
    slot->state = JOB_READY;
    p->waiting++;
    p->under_way++;
    if (p->asleep > 0 && p->waiting % WAKE_FROM == 0)
        condition_signal(&p->ready);
    lock_drop(&p->lock);
}

bool
pool_drain(struct pool *p, bool (*done)(void *self, struct squeeze_job *job, GError **error), void *self,
           GError **error)
{
    lock_take(&p->lock);
    while (p->under_way > 0)
        await_done(p, 0);
    lock_drop(&p->lock);
    while (p->busy > 0) {
        struct slot *slot = &p->ring[(p->next + p->size - p->busy) % p->size];

        lock_take(&p->lock);
        slot->state = JOB_IDLE;
        lock_drop(&p->lock);
        p->busy--;
        if (!done(self, &slot->job, error))
            return false;
    }
    return true;
}

/* What was given keeps its target until it is taken back. */
bool
pool_works_on(struct pool *p, const uint8_t *target)
{
    for (unsigned i = 1; i <= p->busy; i++)
        if (p->targets[(p->next + p->size - i) % p->size] == target)
            return true;
    return false;
}
