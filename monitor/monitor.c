/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The program's state: made and freed here, with the machine's events turned into event lines and into looks of those
 * who wait (watchers). */
#include "monitor-private.h"

#include <stdarg.h>
#include <string.h>

enum { JOB_THREADS = 2 };

struct watcher {
    struct monitor *monitor;
    bool (*check)(void *data);
    void *data;
    unsigned timer_id;          /* 0: none */
    bool gone;                  /* to be freed when no look is under way */
};

/* --- the machine tells ------------------------------------------------------------------------------------------ */

static void
event_run_state(void *self)
{
    struct monitor *m = self;

    if (!monitor_built(m))
        memset(m->console_position, 0, sizeof m->console_position);
    monitor_changed(m);
}

static void
event_migration(void *self, enum migrate_state s)
{
    struct monitor *m = self;

    if (machine_capabilities(m->machine)->events)
        monitor_event(m, "migration %s", migrate_state_name(s));
    monitor_changed(m);
}

static void
event_pass(void *self, uint64_t count)
{
    struct monitor *m = self;

    if (machine_capabilities(m->machine)->events)
        monitor_event(m, "migration pass %" G_GUINT64_FORMAT, count);
    monitor_changed(m);
}

static void
event_throttle(void *self, uint64_t strikes, unsigned percent)
{
    struct monitor *m = self;

    if (machine_capabilities(m->machine)->events)
        monitor_event(m, "migration throttle %u%% (strike %" G_GUINT64_FORMAT ")", percent, strikes);
    monitor_changed(m);
}

static void
event_guest(void *self, const char *text)
{
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);

    for (unsigned i = 0; lines[i]; i++)
        monitor_event(self, "%s", lines[i]);
    monitor_changed(self);
}

static void
event_power_off(void *self, int status)
{
    monitor_quit(self, status);
}

/* --- made, run, freed ------------------------------------------------------------------------------------------- */

static void
free_peer(gpointer data)
{
    peer_free(data);
}

static void
free_input(gpointer data)
{
    input_free(data);
}

struct monitor *
monitor_new(void)
{
    struct monitor *m = g_new0(struct monitor, 1);
    struct machine_events events = {
        .self = m, .run_state = event_run_state, .migration = event_migration, .pass = event_pass,
        .throttle = event_throttle, .guest = event_guest, .power_off = event_power_off,
    };

    m->loop = g_main_loop_new(NULL, FALSE);
    m->context = g_main_loop_get_context(m->loop);
    m->mailbox = mailbox_new(m->context);
    m->jobs = jobs_new(m->mailbox, JOB_THREADS);
    m->inputs = g_ptr_array_new_with_free_func(free_input);
    m->peers = g_ptr_array_new_with_free_func(free_peer);
    m->history = g_ptr_array_new_with_free_func(g_free);
    m->looks = looks_new();
    m->watchers = g_ptr_array_new();
    m->machine = machine_new(m->mailbox, m->jobs, &events);
    m->samples = samples_new(m);
    return m;
}

static void
free_watchers(struct monitor *m)
{
    if (m->changed_id)
        g_source_remove(m->changed_id);
    for (unsigned i = 0; i < m->watchers->len; i++) {
        struct watcher *w = m->watchers->pdata[i];

        if (w->timer_id)
            g_source_remove(w->timer_id);
        g_free(w);
    }
    g_ptr_array_free(m->watchers, TRUE);
}

/* Inputs first: that abandons what still waits while all it waits for is there. */
void
monitor_free(struct monitor *m)
{
    if (!m)
        return;
    m->quitting = true;
    live_free(m->live);
    samples_free(m->samples);
    g_ptr_array_free(m->inputs, TRUE);
    m->inputs = NULL;
    g_ptr_array_free(m->peers, TRUE);
    /* Jobs work on the machine's memory: they end first, and their last words are heard. */
    jobs_free(m->jobs);
    mailbox_drain(m->mailbox);
    machine_free(m->machine);
    free_watchers(m);
    mailbox_free(m->mailbox);
    g_ptr_array_free(m->history, TRUE);
    g_clear_pointer(&m->prediction, g_variant_unref);
    g_hash_table_unref(m->looks);
    g_free(m->history_path);
    g_free(m->incoming);
    g_main_loop_unref(m->loop);
    g_free(m);
}

int
monitor_run(struct monitor *m)
{
    if (!m->quitting)
        g_main_loop_run(m->loop);
    return m->exit_status;
}

void
monitor_quit(struct monitor *m, int status)
{
    if (!m->quitting)
        m->exit_status = status;
    m->quitting = true;
    g_main_loop_quit(m->loop);
}

static bool
migration_lives(const struct monitor *m)
{
    struct session *s = machine_session(m->machine);
    struct migrate_info info;
    bool lives;

    if (!s)
        return false;
    session_info(s, &info);
    lives = info.state != MIGRATE_NONE && !migrate_state_ended(info.state);
    migrate_info_release(&info);
    return lives;
}

const char *
monitor_at_stake(const struct monitor *m)
{
    for (unsigned i = 0; i < m->peers->len; i++) {
        if (peer_holds_guest(m->peers->pdata[i]))
            return "a peer holds the only copy of the guest";
    }
    if (migration_lives(m))
        return "a migration is active";
    return machine_running(m->machine) ? "a guest is running" : NULL;
}

bool
monitor_built(const struct monitor *m)
{
    return machine_built(m->machine);
}

const char *
monitor_status(const struct monitor *m)
{
    return machine_status(m->machine);
}

bool
monitor_edit(struct monitor *m, bool (*edit)(struct definition *d, const struct values *v, GError **error),
             const struct values *v, GError **error)
{
    struct definition *d = definition_copy(machine_definition(m->machine));

    if (!edit(d, v, error)) {
        definition_free(d);
        return false;
    }
    return machine_define(m->machine, d, error);
}

/* --- events and watchers ---------------------------------------------------------------------------------------- */

void
monitor_event(struct monitor *m, const char *format, ...)
{
    va_list args;
    g_autofree char *text = NULL, *shown = NULL;

    if (!m->inputs)
        return;
    va_start(args, format);
    text = g_strdup_vprintf(format, args);
    va_end(args);
    shown = text_printable(text);
    g_strdelimit(shown, "\n", ' ');
    for (unsigned i = 0; i < m->inputs->len; i++) {
        struct input *in = m->inputs->pdata[i];

        in->class->event(in, shown);
    }
}

/* Frees the watchers that are gone; only when no check is running. */
static void
sweep(struct monitor *m)
{
    for (unsigned i = m->watchers->len; i-- > 0;) {
        struct watcher *w = m->watchers->pdata[i];

        if (w->gone)
            g_free(g_ptr_array_remove_index(m->watchers, i));
    }
}

static void
watcher_look(struct watcher *w)
{
    w->monitor->looking = true;
    if (!w->gone && w->check(w->data))
        monitor_unwatch(w->monitor, w);
    w->monitor->looking = false;
}

static gboolean
watcher_tick(gpointer data)
{
    struct watcher *w = data;
    struct monitor *m = w->monitor;
    bool gone;

    on_main_thread();
    watcher_look(w);
    gone = w->gone;
    sweep(m);
    return gone ? G_SOURCE_REMOVE : G_SOURCE_CONTINUE;
}

static gboolean
look_all(gpointer data)
{
    struct monitor *m = data;

    on_main_thread();
    m->changed_id = 0;
    for (unsigned i = 0; i < m->watchers->len; i++)
        watcher_look(m->watchers->pdata[i]);
    sweep(m);
    return G_SOURCE_REMOVE;
}

void
monitor_changed(struct monitor *m)
{
    if (!m->changed_id && m->watchers->len)
        m->changed_id = g_idle_add_full(G_PRIORITY_DEFAULT, look_all, m, NULL);
}

struct watcher *
monitor_watch(struct monitor *m, unsigned period_ms, bool (*check)(void *data), void *data)
{
    struct watcher *w = g_new0(struct watcher, 1);

    *w = (struct watcher) { .monitor = m, .check = check, .data = data };
    g_ptr_array_add(m->watchers, w);
    if (period_ms)
        w->timer_id = g_timeout_add(period_ms, watcher_tick, w);
    return w;
}

/* Only marked while a check runs, which may be this one's own. */
void
monitor_unwatch(struct monitor *m, struct watcher *w)
{
    if (!w || w->gone)
        return;
    w->gone = true;
    if (w->timer_id)
        g_source_remove(w->timer_id);
    w->timer_id = 0;
    if (!m->looking)
        sweep(m);
}
