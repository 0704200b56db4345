/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Jobs: a bounded pool of threads for work that would hold up the main loop.
 *
 * A job is in exactly one place: the waiting queue, the hands of a pool thread, or the finished queue, from which the
 * main thread takes it to call 'done'.  A letter in the mailbox says only "look at the finished queue" and holds a
 * reference of its own, so that jobs_free can call what is left of 'done' itself and late letters find nothing. */
#include "base.h"

struct job {
    struct jobs *jobs;
    void (*work)(struct job *job, void *data);
    void (*done)(struct job *job, void *data);      /* may be NULL */
    void *data;
    _Atomic bool cancelled;
};

struct jobs {
    /* Fixed before the first thread starts. */
    struct mailbox *mailbox;        /* borrowed */
    struct thread *threads;         /* owned */
    unsigned thread_count;

    _Atomic unsigned references;    /* the owner's and one a letter under way */

    struct lock lock;               /* rank 40 */
    struct condition changed;       /* a job waits, or the pool ends */
    GQueue waiting GUARDED;         /* struct job * */
    GQueue finished GUARDED;        /* struct job * */
    GPtrArray *running GUARDED;     /* struct job *, in the hands of pool threads */
    bool ending GUARDED;
};

/* The last reference: nobody else knows the jobs any more. */
UNCHECKED static void
jobs_unref(void *data)
{
    struct jobs *jobs = data;

    if (atomic_fetch_sub(&jobs->references, 1) > 1)
        return;
    g_ptr_array_unref(jobs->running);
    condition_release(&jobs->changed);
    lock_release(&jobs->lock);
    g_free(jobs->threads);
    g_free(jobs);
}

/* Calls 'done' of every finished job.  On main. */
static void
deliver_finished(void *data)
{
    struct jobs *jobs = data;
    struct job *job;

    on_main_thread();
    do {
        lock_take(&jobs->lock);
        job = g_queue_pop_head(&jobs->finished);
        lock_drop(&jobs->lock);
        if (job && job->done)
            job->done(job, job->data);
        g_free(job);
    } while (job);
}

/* The next job to work on, moved to 'running'; NULL when the pool ends. */
static struct job *
take_job(struct jobs *jobs)
{
    struct job *job = NULL;

    lock_take(&jobs->lock);
    while (!jobs->ending && g_queue_is_empty(&jobs->waiting))
        condition_wait(&jobs->changed, &jobs->lock);
    if (!jobs->ending) {
        job = g_queue_pop_head(&jobs->waiting);
        g_ptr_array_add(jobs->running, job);
    }
    lock_drop(&jobs->lock);
    return job;
}

static void
finish_job(struct jobs *jobs, struct job *job)
{
    atomic_fetch_add(&jobs->references, 1);
    lock_take(&jobs->lock);
    g_ptr_array_remove_fast(jobs->running, job);
    g_queue_push_tail(&jobs->finished, job);
    lock_drop(&jobs->lock);
    mailbox_post(jobs->mailbox, deliver_finished, jobs, jobs_unref);
}

static void *
pool_thread(void *data)
{
    struct jobs *jobs = data;
    struct job *job;

    while ((job = take_job(jobs))) {
        if (!job_cancelled(job))
            job->work(job, job->data);
        finish_job(jobs, job);
    }
    return NULL;
}

/* Nobody else knows the jobs yet. */
UNCHECKED struct jobs *
jobs_new(struct mailbox *mailbox, unsigned threads)
{
    struct jobs *jobs = g_new0(struct jobs, 1);

    jobs->mailbox = mailbox;
    jobs->threads = g_new0(struct thread, threads);
    jobs->thread_count = threads;
    jobs->references = 1;
    lock_init(&jobs->lock, 40, "jobs");
    condition_init(&jobs->changed);
    g_queue_init(&jobs->waiting);
    g_queue_init(&jobs->finished);
    jobs->running = g_ptr_array_new();
    return jobs;
}

/* A host that gives us no thread at all must not leave a job waiting for ever: main does it, however long it
 * takes. */
static void
work_on_main(struct jobs *jobs)
{
    struct job *job = take_job(jobs);

    if (!job_cancelled(job))
        job->work(job, job->data);
    finish_job(jobs, job);
}

/* Starts one more thread if there are more jobs than threads: a program that never needs a job has none. */
static void
grow_pool(struct jobs *jobs)
{
    unsigned wanted, started = 0;

    while (started < jobs->thread_count && jobs->threads[started].started)
        started++;
    lock_take(&jobs->lock);
    wanted = g_queue_get_length(&jobs->waiting) + jobs->running->len;
    lock_drop(&jobs->lock);
    if (started >= jobs->thread_count || started >= wanted)
        return;
    if (!thread_start(&jobs->threads[started], "job", pool_thread, jobs, NULL) && started == 0)
        work_on_main(jobs);
}

void
jobs_free(struct jobs *jobs)
{
    struct job *job;

    if (!jobs)
        return;
    lock_take(&jobs->lock);
    jobs->ending = true;
    for (unsigned i = 0; i < jobs->running->len; i++)
        job_cancel(jobs->running->pdata[i]);
    while ((job = g_queue_pop_head(&jobs->waiting))) {
        job_cancel(job);
        g_queue_push_tail(&jobs->finished, job);
    }
    condition_broadcast(&jobs->changed);
    lock_drop(&jobs->lock);
    for (unsigned i = 0; i < jobs->thread_count; i++)
        thread_join(&jobs->threads[i]);
    deliver_finished(jobs);
    jobs_unref(jobs);
}

struct job *
job_start(struct jobs *jobs, void (*work)(struct job *job, void *data), void (*done)(struct job *job, void *data),
          void *data)
{
    struct job *job = g_new0(struct job, 1);

    job->jobs = jobs;
    job->work = work;
    job->done = done;
    job->data = data;
    lock_take(&jobs->lock);
    g_queue_push_tail(&jobs->waiting, job);
    condition_signal(&jobs->changed);
    lock_drop(&jobs->lock);
    grow_pool(jobs);
    return job;
}

void
job_cancel(struct job *job)
{
    atomic_store_explicit(&job->cancelled, true, memory_order_relaxed);
}

bool
job_cancelled(struct job *job)
{
    return atomic_load_explicit(&job->cancelled, memory_order_relaxed);
}
