/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Resets, which the user or the guest asks for.  Emptying much memory and reading a kernel and its initrd take long,
 * so a job does both, while the guest is held and main writes nothing of it; then main resets CPUs and devices, and
 * the guest goes on.  Who asks meanwhile waits for the same reset. */
#include "machine-private.h"

struct waiter {
    void (*done)(void *self, const GError *error);
    void *self;
};

struct reset {
    /* Fixed. */
    struct machine *machine;        /* of main */
    struct parts *parts;
    struct definition *definition;  /* the job's own copy */
    bool wanted;                    /* by the guest */
    struct job *job;

    GArray *waiters;                /* struct waiter; main's */
    bool abandoned;                 /* main's: the machine has gone, or goes */

    struct lock lock;               /* rank 5 */
    struct condition changed;       /* 'working' fell */
    bool working GUARDED;
    bool over GUARDED;              /* nothing is to be done any more */

    /* Of the job until it is done. */
    bool filled;
    GError *error;
};

/* --- the job ---------------------------------------------------------------------------------------------------- */

static bool
begin_work(struct reset *r)
{
    bool wanted;

    lock_take(&r->lock);
    wanted = r->working = !r->over;
    lock_drop(&r->lock);
    return wanted;
}

static void
reset_memory(struct job *job, void *data)
{
    struct reset *r = data;

    if (!begin_work(r))
        return;
    r->filled = parts_clear(r->parts, false, &r->error) && parts_fill(r->parts, r->definition, &r->error);
    lock_take(&r->lock);
    r->working = false;
    condition_broadcast(&r->changed);
    lock_drop(&r->lock);
}

/* --- its end, on main ------------------------------------------------------------------------------------------- */

static void
reset_free(struct reset *r)
{
    g_array_unref(r->waiters);
    definition_free(r->definition);
    g_clear_error(&r->error);
    condition_release(&r->changed);
    lock_release(&r->lock);
    g_free(r);
}

static void
mark_all(struct parts *p)
{
    for (unsigned i = 0; i < p->map->blocks->len; i++) {
        struct block *b = g_ptr_array_index(p->map->blocks, i);

        hub_mark(p->hub, b, 0, b->page_count);
    }
}

void
machine_forget_wishes(struct machine *m)
{
    atomic_store(&m->reset_wanted, 0);
    atomic_store(&m->exit_value, -1);
    atomic_store(&m->paused_there, false);
}

/* What is in memory counts from here on, whatever became of it. */
static bool
take_memory(struct reset *r)
{
    struct machine *m = r->machine;

    m->resetting = NULL;
    if (!r->filled && !r->error)
        fail(&r->error, NUMON_ERROR_STATE, "the guest was not reset: the session ends");
    /* Main held the guest for it, which the reset is about to let go. */
    if (r->filled && guest_map_is_lost(r->parts->map)) {
        g_autofree char *lost = guest_map_lost(r->parts->map);

        r->filled = fail(&r->error, NUMON_ERROR_HOST, "the guest was not reset: %s", lost);
    }
    r->filled = r->filled && parts_reset(r->parts, &r->error);
    mark_all(r->parts);
    machine_forget_wishes(m);
    atomic_store(&m->shut_down, false);
    machine_writes_end(m);
    return r->filled;
}

static void
add_waiter(struct reset *r, void (*done)(void *self, const GError *error), void *self)
{
    struct waiter w = { done, self };

    if (done)
        g_array_append_val(r->waiters, w);
}

bool
machine_after_reset(struct machine *m, void (*done)(void *self, const GError *error), void *self)
{
    if (m->resetting)
        add_waiter(m->resetting, done, self);
    return m->resetting;
}

static void
answer(struct reset *r)
{
    for (guint i = 0; i < r->waiters->len; i++) {
        const struct waiter *w = &g_array_index(r->waiters, struct waiter, i);

        w->done(w->self, r->error);
    }
}

static void
reset_done(struct job *job, void *data)
{
    struct reset *r = data;
    struct machine *m = r->machine;
    bool ok;

    if (r->abandoned) {
        reset_free(r);
        return;
    }
    ok = take_memory(r);
    if (!ok)
        run_hold(r->parts->run, STOP_ERROR);
    run_release(r->parts->run, ok ? STOP_CHANGE | STOP_ERROR : STOP_CHANGE, r->error ? NULL : &r->error);
    if (r->wanted)
        machine_tell(m, r->error ? r->error->message : "the guest reset itself");
    machine_changed(m);
    answer(r);
    reset_free(r);
}

/* --- its beginning ---------------------------------------------------------------------------------------------- */

/* NULL with an error: the guest is just being handed over.  One that wanted it keeps its wish. */
static struct reset *
begin(struct machine *m, bool wanted, GError **error)
{
    struct reset *r;

    run_hold(m->parts->run, STOP_CHANGE);
    if (!machine_writes_begin(m, "reset the guest", error)) {
        if (!atomic_load(&m->reset_wanted))
            run_release(m->parts->run, STOP_CHANGE, NULL);
        return NULL;
    }
    r = g_new0(struct reset, 1);
    r->machine = m;
    r->parts = m->parts;
    r->definition = definition_copy(m->definition);
    r->wanted = wanted;
    r->waiters = g_array_new(FALSE, FALSE, sizeof(struct waiter));
    lock_init(&r->lock, 5, "reset");
    condition_init(&r->changed);
    m->resetting = r;
    r->job = job_start(m->jobs, reset_memory, reset_done, r);
    return r;
}

bool
machine_may_reset(struct machine *m, bool force, GError **error)
{
    if (!machine_need_built(m, "reset", error))
        return false;
    if (machine_awaits_incoming(m))
        return fail(error, NUMON_ERROR_STATE, "cannot reset: the guest has not arrived yet");
    if (m->verify_busy)
        return fail(error, NUMON_ERROR_STATE, "cannot reset: a verification runs");
    return !(run_reasons(m->parts->run) & STOP_MIGRATE) ||
           machine_may_claim(m, true, force, error);
}

bool
machine_reset(struct machine *m, bool force, void (*done)(void *self, const GError *error), void *self,
              GError **error)
{
    struct reset *r = m->resetting;

    if (!machine_may_reset(m, force, error))
        return false;
    if (!r && run_reasons(m->parts->run) & STOP_MIGRATE) {
        if (!machine_claim_guest(m, true, error))
            return false;
        run_hold(m->parts->run, STOP_USER);
        run_release(m->parts->run, STOP_MIGRATE, NULL);
    }
    if (!r)
        r = begin(m, false, error);
    if (r)
        add_waiter(r, done, self);
    machine_changed(m);
    return r != NULL;
}

void
machine_reset_if_wanted(struct machine *m)
{
    if (!m->parts || m->resetting || m->verify_busy || machine_awaits_incoming(m) || !atomic_load(&m->reset_wanted))
        return;
    if (m->reboot == REBOOT_SHUTDOWN)
        machine_end_at_reset(m);
    else
        begin(m, true, NULL);
    machine_changed(m);
}

/* --- torn down meanwhile ---------------------------------------------------------------------------------------- */

void
machine_abandon_reset(struct machine *m)
{
    struct reset *r = m->resetting;

    if (!r)
        return;
    job_cancel(r->job);
    lock_take(&r->lock);
    r->over = true;
    while (r->working)
        condition_wait(&r->changed, &r->lock);
    lock_drop(&r->lock);
    m->resetting = NULL;
    r->abandoned = true;
    machine_writes_end(m);
    g_clear_error(&r->error);
    fail(&r->error, NUMON_ERROR_STATE, "the guest was not reset: its machine is torn down");
    answer(r);
    g_array_set_size(r->waiters, 0);
}
