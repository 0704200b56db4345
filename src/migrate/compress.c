/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Pages as zlib streams, made and read by worker threads.
 *
 * A pool has N workers, each with a zlib state, a faster one where there is (deflate.c), and one job.  The job passes
 * between two owners: the migration thread has it while it is IDLE or DONE, its worker while it is READY; the pool's
 * lock (rank 40) guards only that word, so nothing is copied or coded under it.  A page to be compressed is copied
 * into the job first: its guest goes on writing it, and what deflate reads must not change under it. */
#include "migrate-private.h"

#include <string.h>
#include <zlib.h>

enum job_state { JOB_IDLE, JOB_READY, JOB_DONE };

struct worker {
    /* Fixed before the thread starts. */
    struct pool *pool;
    struct thread thread;
    struct condition ready;
    enum job_state state GUARDED;   /* under the pool's lock; says whose the rest is */
    struct squeeze_job job;
    struct deflater *fast;          /* owned; NULL: there is zlib alone */
    z_stream stream;
    int level;                      /* of 'stream' */
    bool made;                      /* 'stream' is */
};

struct pool {
    bool inflates;
    unsigned count;
    struct worker *workers;         /* owned */
    struct lock lock;               /* rank 40 */
    struct condition done;          /* some job is */
    bool end GUARDED;
    unsigned next;                  /* migration thread: where to look first for an idle worker */
    unsigned busy;                  /* migration thread: jobs not yet taken back */
};

/* --- a worker --------------------------------------------------------------------------------------------------- */

static int
set_level(struct worker *w)
{
    if (w->level == w->job.level)
        return Z_OK;
    w->level = w->job.level;
    return deflateParams(&w->stream, w->level, Z_DEFAULT_STRATEGY);
}

static void
deflate_job(struct worker *w)
{
    struct squeeze_job *j = &w->job;
    z_stream *z = &w->stream;
    int status;

    j->coded_size = w->fast ? (uint32_t)deflater_deflate(w->fast, j->level, j->page, j->coded, sizeof j->coded) : 0;
    j->good = j->coded_size > 0;
    if (j->good)
        return;
    status = deflateReset(z);
    if (status == Z_OK)
        status = set_level(w);
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
inflate_job(struct worker *w)
{
    struct squeeze_job *j = &w->job;
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

static void *
worker_main(void *data)
{
    struct worker *w = data;
    struct pool *p = w->pool;

    lock_take(&p->lock);
    for (;;) {
        while (w->state != JOB_READY && !p->end)
            condition_wait(&w->ready, &p->lock);
        if (w->state != JOB_READY)
            break;
        lock_drop(&p->lock);
        if (p->inflates)
            inflate_job(w);
        else
            deflate_job(w);
        lock_take(&p->lock);
        w->state = JOB_DONE;
        condition_signal(&p->done);
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
    lock_init(&p->lock, 40, "compression");
    condition_init(&p->done);
    p->workers = g_new0(struct worker, count);
    for (unsigned i = 0; i < count; i++) {
        p->workers[i].pool = p;
        condition_init(&p->workers[i].ready);
    }
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
    condition_release(&w->ready);
}

void
pool_free(struct pool *p)
{
    if (!p)
        return;
    lock_take(&p->lock);
    p->end = true;
    for (unsigned i = 0; i < p->count; i++)
        condition_signal(&p->workers[i].ready);
    lock_drop(&p->lock);
    for (unsigned i = 0; i < p->count; i++)
        worker_release(p, &p->workers[i]);
    g_free(p->workers);
    condition_release(&p->done);
    lock_release(&p->lock);
    g_free(p);
}

/* The next worker that does nothing, or, failing that, one that is done. */
static struct worker *
find_free(struct pool *p) REQUIRES(p->lock)
{
    for (unsigned i = 0; i < p->count; i++) {
        struct worker *w = &p->workers[(p->next + i) % p->count];
        if (w->state != JOB_READY) {
            p->next = (p->next + i + 1) % p->count;
            return w;
        }
    }
    return NULL;
}

struct squeeze_job *
pool_take(struct pool *p, bool wait, bool *ret_done)
{
    lock_take(&p->lock);
    struct worker *w = find_free(p);
    while (!w && wait) {
        condition_wait(&p->done, &p->lock);
        w = find_free(p);
    }
    *ret_done = w && w->state == JOB_DONE;
    if (w)
        w->state = JOB_IDLE;
    lock_drop(&p->lock);
    p->busy -= *ret_done;
    return w ? &w->job : NULL;
}

void
pool_give(struct pool *p, struct squeeze_job *job)
{
    struct worker *w = (struct worker *)((char *)job - offsetof(struct worker, job));

    p->busy++;
    lock_take(&p->lock);
    w->state = JOB_READY;
    condition_signal(&w->ready);
    lock_drop(&p->lock);
}

/* Waits until the worker is not at work; true if it had something done. */
static bool
take_back(struct pool *p, struct worker *w)
{
    lock_take(&p->lock);
    while (w->state == JOB_READY)
        condition_wait(&p->done, &p->lock);
    bool done = w->state == JOB_DONE;
    w->state = JOB_IDLE;
    lock_drop(&p->lock);
    p->busy -= done;
    return done;
}

bool
pool_drain(struct pool *p, bool (*done)(void *self, struct squeeze_job *job, GError **error), void *self,
           GError **error)
{
    for (unsigned i = 0; p->busy > 0 && i < p->count; i++)
        if (take_back(p, &p->workers[i]) && !done(self, &p->workers[i].job, error))
            return false;
    return true;
}

bool
pool_works_on(struct pool *p, const uint8_t *target)
{
    bool found = false;

    if (p->busy == 0)
        return false;
    lock_take(&p->lock);
    for (unsigned i = 0; i < p->count; i++)
        found = found || (p->workers[i].state != JOB_IDLE && p->workers[i].job.target == target);
    lock_drop(&p->lock);
    return found;
}
