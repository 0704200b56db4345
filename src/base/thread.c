/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Threads and the role of the main thread.  Whether a thread is the main one is known to that thread alone, so that
 * asking needs no lock. */
#include "base.h"

#include <signal.h>

/* A capability for clang's analysis; it has no content. */
struct role main_role;

/* Owned by its thread. */
static _Thread_local bool thread_is_main;

enum { THREAD_NAME_SIZE = 16 };         /* pthread_setname_np(3), with the NUL */

void
main_thread_claim(void)
{
    thread_is_main = true;
    /* GLib makes its table of error domains, and we our quark, at the first error: before there are threads, so that
     * ThreadSanitizer, which does not see GLib's locks, finds them made. */
    g_error_free(g_error_new_literal(NUMON_ERROR, NUMON_ERROR_STATE, ""));
}

void
on_main_thread(void)
{
    if (G_UNLIKELY(!thread_is_main))
        g_error("called on another thread than the main thread");
}

/* What a new thread must not take: everything but the kick and the signals that its own faults raise. */
static void
thread_signals(sigset_t *ret)
{
    static const int open[] = { SIGUSR1, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP };

    sigfillset(ret);
    for (unsigned i = 0; i < G_N_ELEMENTS(open); i++)
        sigdelset(ret, open[i]);
}

bool
thread_start(struct thread *t, const char *name, void *(*body)(void *data), void *data, GError **error)
{
    char short_name[THREAD_NAME_SIZE];
    sigset_t blocked, before;
    int status;

    thread_signals(&blocked);
    pthread_sigmask(SIG_SETMASK, &blocked, &before);
    status = pthread_create(&t->id, NULL, body, data);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    t->started = status == 0;
    if (!t->started)
        return fail_host(error, status, "cannot start thread '%s'", name);
    g_strlcpy(short_name, name, sizeof short_name);
    pthread_setname_np(t->id, short_name);
    return true;
}

void
thread_join(struct thread *t)
{
    if (!t->started)
        return;
    pthread_join(t->id, NULL);
    t->started = false;
}
