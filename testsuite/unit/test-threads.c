/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Locks, threads, the mailbox and jobs. */
#include "base.h"

#include <signal.h>
#include <string.h>
#include <sys/resource.h>

/* --- locks and threads ------------------------------------------------------------------------------------------ */

UNCHECKED static void
take_downward(void)
{
    struct lock low, high;

    lock_init(&low, 10, "low");
    lock_init(&high, 20, "high");
    lock_take(&high);
    lock_take(&low);
}

static void
the_wrong_order_aborts(void)
{
#ifdef NDEBUG
    g_test_skip("ranks are not checked with NDEBUG");
    return;
#endif
    if (g_test_subprocess()) {
        take_downward();
        return;
    }
    g_test_trap_subprocess(NULL, 0, 0);
    g_test_trap_assert_failed();
    g_test_trap_assert_stderr("*lock 'low' (rank 10) wanted while 'high' (rank 20) is held*");
}

static void
the_right_order_passes(void)
{
    struct lock low, high;

    lock_init(&low, 10, "low");
    lock_init(&high, 20, "high");
    for (unsigned i = 0; i < 3; i++) {
        lock_take(&low);
        lock_take(&high);
        lock_drop(&low);
        lock_drop(&high);
    }
    lock_release(&low);
    lock_release(&high);
}

static void *
call_on_main_thread(void *data)
{
    on_main_thread();
    return NULL;
}

static void
another_thread_is_not_main(void)
{
    struct thread t = { 0 };

    on_main_thread();
    if (g_test_subprocess()) {
        thread_start(&t, "other", call_on_main_thread, NULL, NULL);
        thread_join(&t);
        return;
    }
    g_test_trap_subprocess(NULL, 0, 0);
    g_test_trap_assert_failed();
    g_test_trap_assert_stderr("*another thread*");
}

struct handshake {
    struct lock lock;
    struct condition changed;
    int turn GUARDED;
};

static void *
take_turns(void *data)
{
    struct handshake *h = data;

    lock_take(&h->lock);
    for (int i = 0; i < 100; i++) {
        while (h->turn != 1)
            condition_wait(&h->changed, &h->lock);
        h->turn = 0;
        condition_broadcast(&h->changed);
    }
    lock_drop(&h->lock);
    return NULL;
}

static void
threads_take_turns(void)
{
    struct handshake h = { 0 };
    struct thread t = { 0 };

    lock_init(&h.lock, 10, "handshake");
    condition_init(&h.changed);
    g_assert_true(thread_start(&t, "a-name-that-is-too-long", take_turns, &h, NULL));
    lock_take(&h.lock);
    for (int i = 0; i < 100; i++) {
        h.turn = 1;
        condition_signal(&h.changed);
        while (h.turn != 0)
            g_assert_true(condition_wait_until(&h.changed, &h.lock, g_get_monotonic_time() + 20 * G_USEC_PER_SEC));
    }
    lock_drop(&h.lock);
    thread_join(&t);
    thread_join(&t);
    condition_release(&h.changed);
    lock_release(&h.lock);
}

static void
a_deadline_passes(void)
{
    struct handshake h = { 0 };
    int64_t begin = g_get_monotonic_time(), deadline = begin + 20000;

    lock_init(&h.lock, 10, "handshake");
    condition_init(&h.changed);
    lock_take(&h.lock);
    while (condition_wait_until(&h.changed, &h.lock, deadline))
        continue;
    g_assert_false(condition_wait_until(&h.changed, &h.lock, 0));
    lock_drop(&h.lock);
    g_assert_cmpint(g_get_monotonic_time(), >=, deadline);
    condition_release(&h.changed);
    lock_release(&h.lock);
}

static void *
read_mask(void *data)
{
    pthread_sigmask(SIG_SETMASK, NULL, data);
    return NULL;
}

static void
a_thread_takes_only_the_kick(void)
{
    struct thread t = { 0 };
    sigset_t mask, before, after;

    pthread_sigmask(SIG_SETMASK, NULL, &before);
    g_assert_true(thread_start(&t, "mask", read_mask, &mask, NULL));
    thread_join(&t);
    pthread_sigmask(SIG_SETMASK, NULL, &after);
    g_assert_true(sigismember(&mask, SIGINT) && sigismember(&mask, SIGTERM) && sigismember(&mask, SIGCHLD));
    g_assert_false(sigismember(&mask, SIGUSR1));
    g_assert_cmpint(sigismember(&before, SIGINT), ==, sigismember(&after, SIGINT));
}

/* --- the mailbox ------------------------------------------------------------------------------------------------ */

enum { POSTERS = 4, LETTERS = 500 };

struct poster {
    struct thread thread;
    struct mailbox *mailbox;
    unsigned number;
    unsigned *next;             /* by poster: the letter that must come next */
    unsigned *total;
};

struct message { struct poster *from; unsigned number; };

static void
receive(void *data)
{
    struct message *m = data;

    on_main_thread();
    g_assert_cmpuint(m->number, ==, m->from->next[m->from->number]);
    m->from->next[m->from->number]++;
    ++*m->from->total;
}

static void *
post_all(void *data)
{
    struct poster *p = data;

    for (unsigned i = 0; i < LETTERS; i++) {
        struct message *m = g_new(struct message, 1);

        *m = (struct message){ p, i };
        mailbox_post(p->mailbox, receive, m, g_free);
    }
    return NULL;
}

static void
letters_of_each_thread_arrive_in_order(void)
{
    g_autoptr(GMainContext) context = g_main_context_new();
    struct mailbox *mailbox = mailbox_new(context);
    struct poster posters[POSTERS];
    unsigned next[POSTERS] = { 0 }, total = 0;

    for (unsigned i = 0; i < POSTERS; i++) {
        posters[i] = (struct poster){ .mailbox = mailbox, .number = i, .next = next, .total = &total };
        g_assert_true(thread_start(&posters[i].thread, "poster", post_all, &posters[i], NULL));
    }
    while (total < POSTERS * LETTERS)
        g_main_context_iteration(context, TRUE);
    for (unsigned i = 0; i < POSTERS; i++)
        thread_join(&posters[i].thread);
    g_assert_false(g_main_context_iteration(context, FALSE));
    mailbox_free(mailbox);
}

static void
add_one(void *data)
{
    ++*(int *)data;
}

static void
never_delivered(void *data)
{
    g_assert_not_reached();
}

static void
freeing_releases_what_was_not_delivered(void)
{
    struct mailbox *mailbox = mailbox_new(NULL);
    int released = 0;

    mailbox_post(mailbox, never_delivered, &released, add_one);
    mailbox_post(mailbox, never_delivered, &released, NULL);
    mailbox_post(mailbox, never_delivered, &released, add_one);
    mailbox_free(mailbox);
    g_assert_cmpint(released, ==, 2);
    mailbox_free(NULL);
}

static void
what_is_forgotten_is_released_and_never_comes(void)
{
    struct mailbox *mailbox = mailbox_new(NULL);
    int released = 0, delivered = 0;

    mailbox_post(mailbox, never_delivered, &released, add_one);
    mailbox_post(mailbox, add_one, &delivered, NULL);
    mailbox_post(mailbox, never_delivered, &released, add_one);
    mailbox_forget(mailbox, &released);
    g_assert_cmpint(released, ==, 2);
    mailbox_post(mailbox, add_one, &delivered, NULL);
    while (g_main_context_iteration(NULL, FALSE))
        continue;
    g_assert_cmpint(delivered, ==, 2);
    mailbox_forget(mailbox, &released);
    mailbox_free(mailbox);
}

struct chain { struct mailbox *mailbox; int left; };

static void
post_again(void *data)
{
    struct chain *c = data;

    if (--c->left > 0)
        mailbox_post(c->mailbox, post_again, c, NULL);
}

static void
a_delivery_may_post(void)
{
    g_autoptr(GMainContext) context = g_main_context_new();
    struct mailbox *mailbox = mailbox_new(context);
    struct chain chain = { mailbox, 3 };

    mailbox_post(mailbox, post_again, &chain, NULL);
    g_main_context_iteration(context, TRUE);
    g_assert_cmpint(chain.left, ==, 2);         /* one turn delivers only what waited when it began */
    g_main_context_iteration(context, TRUE);
    g_main_context_iteration(context, TRUE);
    g_assert_cmpint(chain.left, ==, 0);
    chain.left = 3;
    mailbox_post(mailbox, post_again, &chain, NULL);
    mailbox_drain(mailbox);
    g_assert_cmpint(chain.left, ==, 0);
    mailbox_free(mailbox);
}

/* --- jobs ------------------------------------------------------------------------------------------------------- */

struct task { _Atomic bool began, gate; bool worked, done, was_cancelled; };

static void
work_through(struct job *job, void *data)
{
    ((struct task *)data)->worked = true;
}

static void
work_until_cancelled(struct job *job, void *data)
{
    struct task *t = data;

    t->worked = true;
    atomic_store(&t->began, true);
    while (!job_cancelled(job))
        g_usleep(100);
}

static void
note_done(struct job *job, void *data)
{
    struct task *t = data;

    on_main_thread();
    g_assert_false(t->done);
    t->done = true;
    t->was_cancelled = job_cancelled(job);
}

static void
every_job_is_done_once(void)
{
    struct mailbox *mailbox = mailbox_new(NULL);
    struct jobs *jobs = jobs_new(mailbox, 3);
    struct task tasks[50] = { 0 };

    for (unsigned i = 0; i < G_N_ELEMENTS(tasks); i++)
        job_start(jobs, work_through, note_done, &tasks[i]);
    for (unsigned i = 0; i < G_N_ELEMENTS(tasks); i++) {
        while (!tasks[i].done)
            g_main_context_iteration(NULL, TRUE);
        g_assert_true(tasks[i].worked);
        g_assert_false(tasks[i].was_cancelled);
    }
    jobs_free(jobs);
    mailbox_free(mailbox);
}

static void
a_cancelled_job_ends_early(void)
{
    struct mailbox *mailbox = mailbox_new(NULL);
    struct jobs *jobs = jobs_new(mailbox, 1);
    struct task running = { 0 }, waiting = { 0 };
    struct job *first = job_start(jobs, work_until_cancelled, note_done, &running);
    struct job *second = job_start(jobs, work_until_cancelled, note_done, &waiting);

    job_cancel(second);
    job_cancel(first);
    while (!running.done || !waiting.done)
        g_main_context_iteration(NULL, TRUE);
    g_assert_true(running.was_cancelled && waiting.was_cancelled);
    g_assert_false(waiting.worked);
    jobs_free(jobs);
    mailbox_free(mailbox);
}

static void
freeing_ends_all_jobs(void)
{
    struct mailbox *mailbox = mailbox_new(NULL);
    struct jobs *jobs = jobs_new(mailbox, 2);
    struct task tasks[5] = { 0 };

    for (unsigned i = 0; i < G_N_ELEMENTS(tasks); i++)
        job_start(jobs, work_until_cancelled, i ? note_done : NULL, &tasks[i]);
    while (!atomic_load(&tasks[0].began))
        g_usleep(100);
    jobs_free(jobs);
    for (unsigned i = 1; i < G_N_ELEMENTS(tasks); i++)
        g_assert_true(tasks[i].done && tasks[i].was_cancelled);
    mailbox_drain(mailbox);
    mailbox_free(mailbox);
    jobs_free(NULL);
}

/* Leaves room for small allocations, but for no thread's stack. */
static void
forbid_threads(void)
{
    g_autofree char *statm = NULL;
    struct rlimit limit = { 0 };

    g_assert_true(g_file_get_contents("/proc/self/statm", &statm, NULL, NULL));
    limit.rlim_cur = limit.rlim_max = g_ascii_strtoull(statm, NULL, 10) * PAGE_SIZE + 2 * MIB;
    g_assert_cmpint(setrlimit(RLIMIT_AS, &limit), ==, 0);
}

static void
without_threads_main_does_the_work(void)
{
    struct mailbox *mailbox;
    struct jobs *jobs;
    struct task task = { 0 };

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    g_test_skip("a sanitizer needs the address space that this test takes away");
    return;
#endif
    if (!g_test_subprocess()) {
        g_test_trap_subprocess(NULL, 0, 0);
        g_test_trap_assert_passed();
        return;
    }
    mailbox = mailbox_new(NULL);
    jobs = jobs_new(mailbox, 2);
    forbid_threads();
    job_start(jobs, work_through, note_done, &task);
    g_assert_true(task.worked);
    g_assert_false(task.done);
    mailbox_drain(mailbox);
    g_assert_true(task.done);
    jobs_free(jobs);
    mailbox_free(mailbox);
}

int
main(int argc, char **argv)
{
    main_thread_claim();
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/threads/the-wrong-order-aborts", the_wrong_order_aborts);
    g_test_add_func("/threads/the-right-order-passes", the_right_order_passes);
    g_test_add_func("/threads/another-thread-is-not-main", another_thread_is_not_main);
    g_test_add_func("/threads/threads-take-turns", threads_take_turns);
    g_test_add_func("/threads/a-deadline-passes", a_deadline_passes);
    g_test_add_func("/threads/a-thread-takes-only-the-kick", a_thread_takes_only_the_kick);
    g_test_add_func("/threads/letters-of-each-thread-arrive-in-order", letters_of_each_thread_arrive_in_order);
    g_test_add_func("/threads/freeing-releases-what-was-not-delivered", freeing_releases_what_was_not_delivered);
    g_test_add_func("/threads/what-is-forgotten-is-released-and-never-comes",
                    what_is_forgotten_is_released_and_never_comes);
    g_test_add_func("/threads/a-delivery-may-post", a_delivery_may_post);
    g_test_add_func("/threads/every-job-is-done-once", every_job_is_done_once);
    g_test_add_func("/threads/a-cancelled-job-ends-early", a_cancelled_job_ends_early);
    g_test_add_func("/threads/freeing-ends-all-jobs", freeing_ends_all_jobs);
    g_test_add_func("/threads/without-threads-main-does-the-work", without_threads_main_does_the_work);
    return g_test_run();
}
