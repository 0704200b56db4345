/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Locks with ranks and conditions on the monotonic clock, over pthread.
 *
 * Unless NDEBUG is defined each thread remembers the locks it holds; taking one whose rank is not above all of them
 * aborts and names both, so that an order that could deadlock is found by the first test that comes along. */
#include "base.h"

#include <errno.h>
#include <time.h>

#ifndef NDEBUG

enum { HELD_MAX = 16 };

/* Owned by its thread. */
static _Thread_local struct {
    const struct lock *lock[HELD_MAX];
    unsigned count;
} held;

static void
held_check(const struct lock *l)
{
    for (unsigned i = 0; i < held.count; i++)
        if (held.lock[i]->rank >= l->rank)
            g_error("lock '%s' (rank %u) wanted while '%s' (rank %u) is held", l->name, l->rank,
                    held.lock[i]->name, held.lock[i]->rank);
    g_assert(held.count < HELD_MAX);
}

static void
held_add(const struct lock *l)
{
    held.lock[held.count++] = l;
}

static void
held_remove(const struct lock *l)
{
    for (unsigned i = held.count; i-- > 0;) {
        if (held.lock[i] == l) {
            held.lock[i] = held.lock[--held.count];
            return;
        }
    }
    g_error("lock '%s' (rank %u) dropped by a thread that does not hold it", l->name, l->rank);
}

#else

static void
held_check(const struct lock *l)
{
}

static void
held_add(const struct lock *l)
{
}

static void
held_remove(const struct lock *l)
{
}

#endif

/* pthread's calls fail only if we misuse them. */
static void
expect_zero(int status, const char *call, const struct lock *l)
{
    if (G_UNLIKELY(status))
        g_error("%s of lock '%s': %s", call, l->name, g_strerror(status));
}

void
lock_init(struct lock *l, unsigned rank, const char *name)
{
    l->rank = rank;
    l->name = name;
    expect_zero(pthread_mutex_init(&l->mutex, NULL), "pthread_mutex_init", l);
}

void
lock_release(struct lock *l)
{
    expect_zero(pthread_mutex_destroy(&l->mutex), "pthread_mutex_destroy", l);
}

UNCHECKED void
lock_take(struct lock *l)
{
    held_check(l);
    expect_zero(pthread_mutex_lock(&l->mutex), "pthread_mutex_lock", l);
    held_add(l);
}

UNCHECKED void
lock_drop(struct lock *l)
{
    held_remove(l);
    expect_zero(pthread_mutex_unlock(&l->mutex), "pthread_mutex_unlock", l);
}

void
condition_init(struct condition *c)
{
    pthread_condattr_t attributes;

    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&c->cond, &attributes);
    pthread_condattr_destroy(&attributes);
}

void
condition_release(struct condition *c)
{
    pthread_cond_destroy(&c->cond);
}

void
condition_wait(struct condition *c, struct lock *l)
{
    expect_zero(pthread_cond_wait(&c->cond, &l->mutex), "pthread_cond_wait", l);
}

bool
condition_wait_until(struct condition *c, struct lock *l, int64_t deadline_us)
{
    int64_t us = MAX(deadline_us, 0);
    struct timespec when = { .tv_sec = us / G_USEC_PER_SEC, .tv_nsec = us % G_USEC_PER_SEC * 1000 };
    int status = pthread_cond_timedwait(&c->cond, &l->mutex, &when);

    if (status == ETIMEDOUT)
        return false;
    expect_zero(status, "pthread_cond_timedwait", l);
    return true;
}

void
condition_signal(struct condition *c)
{
    pthread_cond_signal(&c->cond);
}

void
condition_broadcast(struct condition *c)
{
    pthread_cond_broadcast(&c->cond);
}
