/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The machine as a migration sees it: stopping and going on, arriving, who has the guest. */
#include "machine-private.h"

#include <string.h>

#define MACHINE_TYPE "numon-0.1"

/* --- what a session calls, on its thread ------------------------------------------------------------------------ */

static void
post_changed(void *data)
{
    machine_changed(data);
}

static void
out_stop(void *self)
{
    struct machine *m = self;

    run_hold(m->parts->run, STOP_MIGRATE);
    if (m->parts->class->time_stop)
        m->parts->class->time_stop(m->parts->accel);
    machine_freeze(m, true);
    mailbox_post(m->mailbox, post_changed, m, NULL);
}

static void
out_go_on(void *self)
{
    struct machine *m = self;
    g_autoptr(GError) error = NULL;

    machine_freeze(m, false);
    /* The vCPU threads exist since the guest ran; only starting one can fail. */
    if (!run_release(m->parts->run, STOP_MIGRATE, &error))
        run_hold(m->parts->run, STOP_USER);
    mailbox_post(m->mailbox, post_changed, m, NULL);
}

static bool
out_throttle(void *self, unsigned percent, GError **error)
{
    struct machine *m = self;

    return run_throttle(m->parts->run, percent, error);
}

static bool
out_limit(void *self, uint64_t quota, unsigned period_ms, GError **error)
{
    struct machine *m = self;

    return dirty_limit_set(m->parts->limit, -1, quota, period_ms, error);
}

static void
out_limit_times(void *self, uint64_t *ret_nap_us, uint64_t *ret_full_us)
{
    struct machine *m = self;

    for (unsigned cpu = 0; cpu < m->parts->cpu_slots; cpu++) {
        struct dirty_limit_info info;

        dirty_limit_get(m->parts->limit, cpu, &info);
        *ret_nap_us = MAX(*ret_nap_us, info.nap_us);
        *ret_full_us = MAX(*ret_full_us, info.full_us);
    }
}

static enum migrate_run_state
out_run_state(void *self)
{
    return machine_run_state(self);
}

/* From here on the machine has no guest of its own. */
static bool
in_make_room(void *self, GError **error)
{
    struct machine *m = self;
    unsigned before = run_reasons(m->parts->run);

    run_hold(m->parts->run, STOP_USER | STOP_MIGRATE);
    parts_freeze_devices(m->parts, true);
    /* Memory that went along with a guest must not be emptied here. */
    if (m->outgoing)
        session_settle(m->outgoing);
    if (!parts_empty(m->parts, true, error)) {
        parts_freeze_devices(m->parts, false);
        run_release(m->parts->run, (STOP_USER | STOP_MIGRATE) & ~before, NULL);
        return false;
    }
    m->awaits = m->launched = true;
    atomic_store(&m->ran, true);
    /* Of the guest that left. */
    atomic_store(&m->shut_down, false);
    machine_forget_wishes(m);
    run_release(m->parts->run, STOP_ERROR | STOP_CHANGE, NULL);
    return true;
}

struct note {
    struct machine *machine;
    char *text;
};

static void
tell_note(void *data)
{
    struct note *n = data;

    machine_tell(n->machine, n->text);
}

static void
free_note(void *data)
{
    struct note *n = data;

    g_free(n->text);
    g_free(n);
}

/* The guest's time, last of all before it runs. */
static void
in_time(struct machine *m)
{
    const struct parts *p = m->parts;
    struct time_jump jump = { 0 };
    struct note *n;

    if (!p->class->time_start)
        return;
    n = g_new0(struct note, 1);
    n->machine = m;
    p->class->time_start(p->accel, &jump, &n->text);
    lock_take(&m->writes);
    m->jump = jump;
    lock_drop(&m->writes);
    if (n->text)
        mailbox_post(m->mailbox, tell_note, n, free_note);
    else
        free_note(n);
}

static bool
in_time_jump(void *self, struct time_jump *ret)
{
    return machine_time_jump(self, ret);
}

/* One that cannot go on arrives so; its stop is the only one then, but for its user's there, as where it came from.
 * Returns those that go. */
static unsigned
in_run_state(struct machine *m, enum migrate_run_state s)
{
    bool paused = s == RUN_STATE_PAUSED || s == RUN_STATE_PRELAUNCH || atomic_load(&m->arrive_paused);
    struct note *n;

    atomic_store(&m->ran, s != RUN_STATE_PRELAUNCH);
    atomic_store(&m->shut_down, s == RUN_STATE_SHUTDOWN);
    if (s == RUN_STATE_SHUTDOWN || s == RUN_STATE_INTERNAL_ERROR) {
        g_autofree char *how = s == RUN_STATE_SHUTDOWN ? machine_exit_text(m) : g_strdup("");

        run_hold(m->parts->run, STOP_ERROR);
        paused = paused || atomic_load(&m->paused_there);
        n = g_new(struct note, 1);
        *n = (struct note) { m, g_strdup_printf("the guest arrived in state '%s'%s", migrate_run_state_name(s),
                                                how) };
        mailbox_post(m->mailbox, tell_note, n, free_note);
    }
    return paused ? STOP_MIGRATE : STOP_MIGRATE | STOP_USER;
}

static void
in_start(void *self, enum migrate_run_state s)
{
    struct machine *m = self;
    unsigned reasons;

    atomic_store(&m->arrived, true);
    mailbox_post(m->mailbox, machine_take_plugged, m, NULL);
    reasons = in_run_state(m, s);
    machine_freeze(m, false);
    irqs_tell(m->parts->irqs);
    in_time(m);
    machine_watch_progress(m);
    /* A reset that the guest wanted while it was handed over is done by main, before it runs. */
    if (atomic_load(&m->reset_wanted))
        run_hold(m->parts->run, STOP_CHANGE);
    if (!run_release(m->parts->run, reasons, NULL))
        run_hold(m->parts->run, STOP_USER);
    /* A `stop` that came between the look and the release. */
    if (atomic_load(&m->arrive_paused))
        run_hold(m->parts->run, STOP_USER);
}

static void
in_reset(void *self)
{
    struct machine *m = self;

    /* It held nothing but what came in; should the host refuse, the next stream's load says so again. */
    parts_empty(m->parts, true, NULL);
    machine_reset_plugged(m->parts);
    machine_forget_wishes(m);
}

bool
machine_time_jump(struct machine *m, struct time_jump *ret)
{
    lock_take(&m->writes);
    *ret = m->jump;
    lock_drop(&m->writes);
    return ret->known;
}

/* --- sessions --------------------------------------------------------------------------------------------------- */

static void
tell_state(struct machine *m, enum migrate_state s)
{
    machine_changed(m);
    if (m->events.migration)
        m->events.migration(m->events.self, s);
}

/* --- events of a session ---------------------------------------------------------------------------------------- */

static void
in_changed(void *self, enum migrate_state s)
{
    struct machine *m = self;

    if (s == MIGRATE_COMPLETED) {
        /* The guest is here: what became of its way out no longer matters.  But it runs since before this letter was
         * written, and where its arrival was looked at already, 'outgoing' is its next way out. */
        if (m->awaits)
            machine_retire(m, &m->outgoing);
        m->awaits = false;
        machine_reset_if_wanted(m);
        machine_heed_end(m);
    }
    if (migrate_state_ended(s))
        machine_settle_arrivals(m);
    tell_state(m, s);
}

static void
out_changed(void *self, enum migrate_state s)
{
    struct machine *m = self;

    if (migrate_state_ended(s) && session_owner(m->outgoing) == OWNER_HERE)
        machine_reset_if_wanted(m);
    tell_state(m, s);
}

static void
session_passed(void *self, uint64_t count)
{
    struct machine *m = self;

    if (m->events.pass)
        m->events.pass(m->events.self, count);
}

static void
session_throttled(void *self, uint64_t strikes, unsigned percent)
{
    struct machine *m = self;

    if (m->events.throttle)
        m->events.throttle(m->events.self, strikes, percent);
}

static struct session *
make_session(struct machine *m, enum migrate_direction direction)
{
    struct migrate_guest guest = {
        .self = m, .trace = machine_trace(m), .map = m->parts->map, .hub = m->parts->hub,
        .sections = m->parts->sections,
        .section_count = m->parts->section_count, .machine_type = MACHINE_TYPE,
        .describe = machine_describe, .agree = machine_agree,
        .stop = out_stop, .go_on = out_go_on, .throttle = out_throttle, .limit = out_limit,
        .limit_times = out_limit_times,
        .run_state = out_run_state,
        .announce = machine_announce, .arrive = machine_arrive,
        .make_room = in_make_room, .start = in_start, .reset = in_reset,
        .time_jump = in_time_jump,
        .ranges = machine_ranges, .progress = machine_progress, .progressed = machine_progressed,
    };
    struct migrate_events events = {
        .self = m, .state = direction == MIGRATE_OUT ? out_changed : in_changed, .pass = session_passed,
        .throttle = session_throttled,
    };

    return session_new(direction, &guest, &m->parameters, &m->capabilities, m->mailbox, &events);
}

static bool
session_lives(struct session *s)
{
    struct migrate_info info;
    bool lives;

    if (!s)
        return false;
    session_info(s, &info);
    lives = !migrate_state_ended(info.state) && info.state != MIGRATE_NONE;
    migrate_info_release(&info);
    return lives;
}

void
machine_hand_sections(struct machine *m)
{
    struct session *s = session_lives(m->incoming) ? m->incoming : m->outgoing;

    if (session_lives(s))
        session_set_sections(s, m->parts->sections, m->parts->section_count);
}

bool
machine_arriving(const struct machine *m)
{
    return session_lives(m->incoming);
}

bool
machine_out_lives(const struct machine *m)
{
    return m->outgoing && (session_lives(m->outgoing) || session_owner(m->outgoing) == OWNER_UNKNOWN);
}

bool
machine_away(const struct machine *m)
{
    return m->parts && run_reasons(m->parts->run) & STOP_MIGRATE && m->outgoing &&
           session_owner(m->outgoing) == OWNER_THERE;
}

bool
machine_switching(const struct machine *m)
{
    return session_lives(m->outgoing);
}

void
machine_free_sessions(struct machine *m)
{
    m->last = NULL;
    machine_retire(m, &m->outgoing);
    machine_retire(m, &m->incoming);
}

/* --- out -------------------------------------------------------------------------------------------------------- */

bool
machine_may_migrate(struct machine *m, GError **error)
{
    if (!m->parts)
        return fail(error, NUMON_ERROR_STATE,
                    "cannot migrate: there is no machine yet (`launch` builds and starts it)");
    if (machine_awaits_incoming(m))
        return fail(error, NUMON_ERROR_STATE, "cannot migrate: this machine waits for an incoming guest");
    if (atomic_load(&m->capabilities.dirty_limit) && !machine_can_limit(m, error))
        return false;
    if (machine_switching(m))
        return fail(error, NUMON_ERROR_STATE, "cannot migrate: a migration is in progress (`info migrate` shows it)");
    if (run_reasons(m->parts->run) & STOP_MIGRATE)
        return fail(error, NUMON_ERROR_STATE,
                    "cannot migrate: the guest is paused due to a previous migration (`cont` first)");
    return true;
}

/* Replaces one of the two sessions; 'last' follows. */
static void
adopt(struct machine *m, struct session **place, struct session *s)
{
    m->last = NULL;
    machine_retire(m, place);
    *place = m->last = s;
}

bool
machine_migrate(struct machine *m, const char *uri, GError **error)
{
    struct session *s;

    if (!migrate_uri_check(uri, MIGRATE_OUT, error) || !machine_may_migrate(m, error))
        return false;
    s = make_session(m, MIGRATE_OUT);
    if (!session_start(s, uri, error)) {
        session_free(s);
        return false;
    }
    /* Only now: after a refusal what is told is still of the migration before.  Events are heard later. */
    m->awaits = false;
    adopt(m, &m->outgoing, s);
    return true;
}

bool
machine_may_cancel(struct machine *m, GError **error)
{
    if (!m->last)
        return fail(error, NUMON_ERROR_STATE, "cannot cancel: there is no migration");
    return session_may_cancel(m->last, error);
}

bool
machine_migrate_cancel(struct machine *m, GError **error)
{
    return machine_may_cancel(m, error) && session_cancel(m->last, error);
}

bool
machine_may_continue(struct machine *m, enum migrate_state at, GError **error)
{
    if (!m->outgoing)
        return fail(error, NUMON_ERROR_STATE, "cannot let a migration go on: there is none");
    return session_may_continue(m->outgoing, at, error);
}

bool
machine_migrate_continue(struct machine *m, enum migrate_state at, GError **error)
{
    return machine_may_continue(m, at, error) && session_continue(m->outgoing, at, error);
}

void
machine_migrate_step(struct machine *m, bool on)
{
    atomic_store(&m->parameters.step, on);
    if (!on && m->outgoing && session_may_continue(m->outgoing, MIGRATE_ACTIVE, NULL))
        session_continue(m->outgoing, MIGRATE_ACTIVE, NULL);
}

/* --- in --------------------------------------------------------------------------------------------------------- */

bool
machine_may_receive(struct machine *m, GError **error)
{
    bool away = m->outgoing && session_owner(m->outgoing) == OWNER_THERE;

    if (!m->parts)
        return fail(error, NUMON_ERROR_STATE, "cannot wait for a guest: there is no machine yet");
    if (m->awaits && session_lives(m->incoming))
        return fail(error, NUMON_ERROR_STATE, "cannot wait for a guest: this machine waits already "
                    "(`migrate_cancel` ends that)");
    /* Also of a guest that never ran. */
    if (machine_out_lives(m))
        return fail(error, NUMON_ERROR_STATE, "cannot wait for a guest: the way out of this machine's own is not "
                    "settled (`migrate_cancel`, `migrate_outcome`)");
    if (m->launched && !away && !machine_awaits_incoming(m))
        return fail(error, NUMON_ERROR_STATE, "cannot wait for a guest: this machine has one of its own "
                    "(`enter_preconfig` tears it down)");
    if (m->verify_busy)
        return fail(error, NUMON_ERROR_STATE, "cannot wait for a guest: a verification runs");
    if (m->measurements || m->dirtyings)
        return fail(error, NUMON_ERROR_STATE, "cannot wait for a guest: the memory is being measured");
    if (m->resetting)
        return fail(error, NUMON_ERROR_STATE, "cannot wait for a guest: this machine's own is being reset");
    machine_settle_arrivals(m);
    if (m->arrivals)
        return fail(error, NUMON_ERROR_STATE, "cannot wait for a guest: memory that came with the last one is being "
                    "preallocated");
    if (m->populating)
        return fail(error, NUMON_ERROR_STATE, "cannot wait for a guest: memory is being preallocated");
    if (guest_map_is_lost(m->parts->map))
        return fail(error, NUMON_ERROR_STATE, "cannot wait for a guest: a page of this machine's memory is lost "
                    "(`enter_preconfig` lets it go)");
    return true;
}

/* A destination whose guest came, or did not, still answers there what became of it; the next one that is to listen
 * at the same place needs it to be free. */
static bool
answers_at(struct session *s, const char *uri)
{
    struct migrate_info info;
    const char *port = strrchr(uri, ':');
    bool there;

    if (!s || !port)
        return false;
    session_info(s, &info);
    there = info.uri && (g_str_equal(info.uri, uri)
                         || (g_str_has_prefix(uri, "tcp:") && g_str_has_suffix(info.uri, port)));
    migrate_info_release(&info);
    return there;
}

bool
machine_incoming(struct machine *m, const char *uri, bool paused, GError **error)
{
    bool paused_before = atomic_load(&m->arrive_paused), arrived_before = atomic_load(&m->arrived);
    struct session *s;

    if (!migrate_uri_check(uri, MIGRATE_IN, error) || !machine_may_receive(m, error))
        return false;
    if (answers_at(m->incoming, uri))
        adopt(m, &m->incoming, NULL);
    s = make_session(m, MIGRATE_IN);
    g_free(m->described);
    m->described = machine_describe(m);
    atomic_store(&m->arrive_paused, paused);
    atomic_store(&m->arrived, false);
    if (!session_start(s, uri, error)) {
        atomic_store(&m->arrive_paused, paused_before);
        atomic_store(&m->arrived, arrived_before);
        session_free(s);
        return false;
    }
    adopt(m, &m->incoming, s);
    machine_changed(m);
    if (session_exposed(s))
        machine_tell(m, "other hosts can reach this listener, and nothing protects a migration stream: "
                     "whoever connects can read or replace the guest");
    return true;
}

void
machine_defer_incoming(struct machine *m)
{
    run_hold(m->parts->run, STOP_USER | STOP_MIGRATE);
    m->awaits = m->launched = true;
    atomic_store(&m->ran, true);
    machine_changed(m);
}

/* --- the outcome ------------------------------------------------------------------------------------------------ */

struct outcome_question {
    struct machine *machine;
    void (*done)(void *self, enum migrate_owner owner, const GError *error);
    void *self;
    GDestroyNotify release;
};

static void
outcome_question_free(void *data)
{
    struct outcome_question *q = data;

    if (q->release)
        q->release(q->self);
    g_free(q);
}

static void
outcome_told(void *self, enum migrate_owner owner, const GError *error)
{
    struct outcome_question *q = self;
    struct machine *m = q->machine;

    if (owner == OWNER_HERE) {
        out_go_on(m);
        machine_reset_if_wanted(m);
    }
    machine_changed(m);
    q->done(q->self, owner, error);
}

bool
machine_may_ask_outcome(struct machine *m, GError **error)
{
    return (m->outgoing && session_owner(m->outgoing) == OWNER_UNKNOWN)
        || fail(error, NUMON_ERROR_STATE, "there is no migration whose outcome is unknown");
}

bool
machine_ask_outcome(struct machine *m, void (*done)(void *self, enum migrate_owner owner, const GError *error),
                    void *self, GDestroyNotify release, GError **error)
{
    struct outcome_question *q;

    if (!machine_may_ask_outcome(m, error))
        return false;
    q = g_new(struct outcome_question, 1);
    *q = (struct outcome_question) { .machine = m, .done = done, .self = self, .release = release };
    session_ask_outcome(m->outgoing, outcome_told, q, outcome_question_free);
    return true;
}
