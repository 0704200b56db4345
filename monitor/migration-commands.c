/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Commands of live migration. */
#include "monitor-private.h"

#include <string.h>

enum { STATUS_PERIOD_MS = 1000 };

/* An exec: command has blanks in it, and people quote that as a whole or not at all.  Replaces '*uri', which is the
 * rest of the line, by what stands between the quotes. */
static bool
unquote(char **uri, GError **error)
{
    static const struct property one[] = { { "URI", PROPERTY_WORD, .required = true }, { 0 } };
    g_autoptr(values) v = NULL;

    if (**uri != '"')
        return true;
    v = property_parse_words(one, *uri, error);
    if (!v)
        return false;
    g_free(*uri);
    *uri = g_steal_pointer(&v->at[0].word);
    return true;
}

/* --- migrate ---------------------------------------------------------------------------------------------------- */

enum { MIGRATE_A_DETACH, MIGRATE_A_URI };
static const struct property migrate_args[] = {
    [MIGRATE_A_DETACH] = { "-d", PROPERTY_FLAG, .help = "do not wait for the end" },
    [MIGRATE_A_URI] = { "URI", PROPERTY_REST, .required = true, .complete = COMPLETE_URI,
                        .help = "unix:PATH, tcp:HOST:PORT, exec:COMMAND, fd:NUMBER, file:PATH[,offset=SIZE] or "
                                "peer:NAME" },
    { 0 }
};

/* A migrate command that waits: for its peer first, then for the end. */
struct follow {
    struct call *call;          /* NULL: abandoned */
    struct watcher *watcher;
    int64_t next_line_us;
};

static void
follow_free(void *data)
{
    struct follow *f = data;

    if (f->watcher)
        monitor_unwatch(f->call->monitor, f->watcher);
    g_free(f);
}

/* "active: round 3, 12 of 1024 MiB left, 512 MiB sent, 950.0 mbps, 20000 pages/s dirtied, downtime expected 13 ms" */
static char *
status_line(const struct migrate_info *i)
{
    GString *out = g_string_new(migrate_state_name(i->state));

    g_string_append_printf(out, ": round %" G_GUINT64_FORMAT ", %" G_GUINT64_FORMAT " of %" G_GUINT64_FORMAT
                           " MiB left, %" G_GUINT64_FORMAT " MiB sent, %.1f mbps, %" G_GUINT64_FORMAT
                           " pages/s dirtied", i->dirty_syncs, i->remaining_bytes / MIB, i->total_bytes / MIB,
                           i->bytes / MIB, i->mbps, i->dirty_pages_rate);
    g_string_append_printf(out, ", downtime expected %" G_GUINT64_FORMAT " ms", i->expected_downtime_ms);
    return g_string_free(out, FALSE);
}

static void
follow_show(struct follow *f, const struct migrate_info *i)
{
    g_autofree char *line = status_line(i);
    int64_t now = g_get_monotonic_time();

    if (now < f->next_line_us)
        return;
    f->next_line_us = now + STATUS_PERIOD_MS * 1000;
    if (call_redraws(f->call)) {
        call_redraw(f->call, line);
    } else {
        call_print(f->call, "%s\n", line);
        call_flush(f->call);
    }
}

char *
migrate_end_line(const struct migrate_info *i)
{
    return g_strdup_printf("completed: %" G_GUINT64_FORMAT " rounds, %" G_GUINT64_FORMAT " MiB in %" G_GUINT64_FORMAT
                           " ms (%.1f mbps), downtime %.1f ms", i->dirty_syncs, i->bytes / MIB, i->total_ms, i->mbps,
                           (double)i->downtime_us / 1000);
}

static void
follow_end(struct follow *f, const struct migrate_info *i)
{
    g_autofree char *line = migrate_end_line(i);
    g_autoptr(GError) error = NULL;
    struct call *call = f->call;

    if (i->state == MIGRATE_COMPLETED)
        call_print(call, "%s\n", line);
    else if (i->state == MIGRATE_CANCELLED)
        fail(&error, NUMON_ERROR_STATE, "the migration was cancelled; the guest stayed here");
    else
        fail(&error, i->error_code, "migration failed: %s", i->error ? i->error : "no reason known");
    call_finish(call, error);
}

/* Watcher: looks at the session after every event and once a second. */
static bool
follow_check(void *data)
{
    struct follow *f = data;
    struct session *s = machine_session(f->call->monitor->machine);
    struct migrate_info info;
    bool ended;

    if (!s) {
        g_autoptr(GError) error = NULL;

        f->watcher = NULL;
        fail(&error, NUMON_ERROR_STATE, "the machine was torn down under the migration");
        call_finish(f->call, error);
        return true;
    }
    session_info(s, &info);
    ended = migrate_state_ended(info.state);
    if (!ended)
        follow_show(f, &info);
    if (ended) {
        f->watcher = NULL;
        follow_end(f, &info);
    }
    migrate_info_release(&info);
    return ended;
}

/* The guest is on its way: wait or not, as asked. */
static enum outcome
follow_start(struct call *call)
{
    struct follow *f = call->data;

    if (call->args->at[MIGRATE_A_DETACH].set)
        return COMMAND_DONE;
    if (live_possible(call)) {
        live_start(call->monitor, call->input);
        return COMMAND_DONE;
    }
    f->next_line_us = g_get_monotonic_time() + STATUS_PERIOD_MS * 1000;
    f->watcher = monitor_watch(call->monitor, STATUS_PERIOD_MS, follow_check, f);
    return COMMAND_PENDING;
}

static void
migrate_to_peer(void *self, const char *uri, const GError *error)
{
    struct call *call = self;
    g_autoptr(GError) failure = NULL;

    if (error || !machine_migrate(call->monitor->machine, uri, &failure))
        call_finish(call, error ? error : failure);
    else if (follow_start(call) == COMMAND_DONE)
        call_finish(call, NULL);
}

static enum outcome
run_migrate(struct call *call, GError **error)
{
    struct follow *f = g_new0(struct follow, 1);
    const char *uri;

    f->call = call;
    call->data = f;
    call->data_free = follow_free;
    if (!unquote(&call->args->at[MIGRATE_A_URI].word, error))
        return COMMAND_FAILED;
    uri = call->args->at[MIGRATE_A_URI].word;
    if (g_str_has_prefix(uri, "peer:"))
        return peer_prepare(call, uri + strlen("peer:"), migrate_to_peer, error) ? COMMAND_PENDING : COMMAND_FAILED;
    if (!machine_migrate(call->monitor->machine, uri, error))
        return COMMAND_FAILED;
    return follow_start(call);
}

static void
detach_migrate(struct call *call)
{
    peer_forget(call->monitor, call);
    call_print(call, MIGRATION_GOES_ON "\n");
}

/* --- the rules of the moment ------------------------------------------------------------------------------------ */

static bool
may_migrate(struct monitor *m, GError **error)
{
    return machine_may_migrate(m->machine, error);
}

static bool
may_cancel(struct monitor *m, GError **error)
{
    return machine_may_cancel(m->machine, error);
}

static bool
may_continue(struct monitor *m, GError **error)
{
    return machine_may_continue(m->machine, MIGRATE_NONE, error);
}

static bool
may_receive(struct monitor *m, GError **error)
{
    /* In preconfig it builds the machine first. */
    return !machine_built(m->machine) || machine_may_receive(m->machine, error);
}

static bool
may_ask_outcome(struct monitor *m, GError **error)
{
    return machine_may_ask_outcome(m->machine, error);
}

static bool
may_set(struct monitor *m, GError **error)
{
    return true;
}

static bool
may_set_capability(struct monitor *m, GError **error)
{
    return !machine_switching(m->machine)
        || fail(error, NUMON_ERROR_STATE, "cannot set a capability: a migration is in progress");
}

/* --- migrate_cancel, migrate_incoming, migrate_outcome ---------------------------------------------------------- */

static enum outcome
run_cancel(struct call *call, GError **error)
{
    return machine_migrate_cancel(call->monitor->machine, error) ? COMMAND_DONE : COMMAND_FAILED;
}

enum { CONTINUE_A_STATE };
enum { CONTINUE_PRE_SWITCHOVER, CONTINUE_ACTIVE };
static const char *const continue_states[] = { "pre-switchover", "active", NULL };
static const struct property continue_args[] = {
    [CONTINUE_A_STATE] = { "STATE", PROPERTY_CHOICE, .choices = continue_states,
                           .help = "the state in which the migration waits; without it whichever that is" },
    { 0 }
};

static enum outcome
run_continue(struct call *call, GError **error)
{
    const struct value *v = &call->args->at[CONTINUE_A_STATE];
    enum migrate_state at = !v->set ? MIGRATE_NONE
                          : v->number == CONTINUE_ACTIVE ? MIGRATE_ACTIVE : MIGRATE_PRE_SWITCHOVER;

    return machine_migrate_continue(call->monitor->machine, at, error) ? COMMAND_DONE : COMMAND_FAILED;
}

enum { STEP_A_STATE };
static const struct property step_args[] = {
    [STEP_A_STATE] = { "STATE", PROPERTY_BOOL, .required = true, .help = "on or off; off lets one that waits go on" },
    { 0 }
};

static enum outcome
run_step(struct call *call, GError **error)
{
    machine_migrate_step(call->monitor->machine, call->args->at[STEP_A_STATE].flag);
    return COMMAND_DONE;
}

enum { INCOMING_A_URI };
static const struct property incoming_args[] = {
    [INCOMING_A_URI] = { "URI", PROPERTY_REST, .required = true, .complete = COMPLETE_URI,
                         .help = "unix:PATH, tcp:HOST:PORT, exec:COMMAND, fd:NUMBER or file:PATH to take the guest "
                                 "from" },
    { 0 }
};

static enum outcome
listen_now(struct call *call, GError **error)
{
    struct monitor *m = call->monitor;
    const char *uri = call->args->at[INCOMING_A_URI].word;
    struct migrate_info info;

    if (!machine_incoming(m->machine, uri, m->start_paused, error))
        return COMMAND_FAILED;
    session_info(machine_session(m->machine), &info);
    if (g_strcmp0(info.uri, uri) != 0)
        call_print(call, "waiting at %s\n", info.uri);
    migrate_info_release(&info);
    return COMMAND_DONE;
}

static void
built_for_incoming(struct call *call, const GError *error)
{
    g_autoptr(GError) failure = NULL;

    if (!error)
        listen_now(call, &failure);
    call_finish(call, error ? error : failure);
}

static enum outcome
run_incoming(struct call *call, GError **error)
{
    char **uri = &call->args->at[INCOMING_A_URI].word;

    if (!unquote(uri, error) || !migrate_uri_check(*uri, MIGRATE_IN, error))
        return COMMAND_FAILED;
    if (machine_built(call->monitor->machine))
        return listen_now(call, error);
    return monitor_build(call, built_for_incoming, error) ? COMMAND_PENDING : COMMAND_FAILED;
}

/* The call of a migrate_outcome; cleared when it is abandoned. */
struct question { struct call *call; };

static void
outcome_known(void *self, enum migrate_owner owner, const GError *error)
{
    struct question *q = self;

    if (q->call && owner == OWNER_THERE)
        call_print(q->call, "the guest runs on the destination; here it is a stopped copy\n");
    if (q->call && owner == OWNER_HERE)
        call_print(q->call, "the destination does not have the guest; it goes on here\n");
    if (q->call)
        call_finish(q->call, error);
}

static void
detach_outcome(struct call *call)
{
    struct question *q = call->data;

    q->call = NULL;
}

static enum outcome
run_outcome(struct call *call, GError **error)
{
    struct question *q = g_new(struct question, 1);

    q->call = call;
    if (!machine_ask_outcome(call->monitor->machine, outcome_known, q, g_free, error)) {
        g_free(q);
        return COMMAND_FAILED;
    }
    call->data = q;
    return COMMAND_PENDING;
}

/* --- parameters and capabilities -------------------------------------------------------------------------------- */

enum { SET_A_NAME, SET_A_VALUE };
static const struct property parameter_args[] = {
    [SET_A_NAME] = { "NAME", PROPERTY_WORD, .required = true, .complete = COMPLETE_PARAMETER,
                     .help = "the parameter" },
    [SET_A_VALUE] = { "VALUE", PROPERTY_WORD, .required = true, .complete = COMPLETE_PARAMETER_VALUE,
                      .help = "its new value; a bandwidth without suffix counts MiB/s" },
    { 0 }
};

/* A size without suffix is said as understood. */
static void
echo_parameter(struct call *call, const char *name, const char *text)
{
    const struct property *p = &migrate_parameter_properties[property_find(migrate_parameter_properties, name)];
    struct value value = { 0 };

    if (p->type != PROPERTY_SIZE || !size_is_bare(text) || !property_parse_value(p, text, &value, NULL))
        return;
    g_autofree char *size = size_format(value.number);

    if (value.number)
        call_print(call, "%s: %s%s\n", p->name, size, g_strcmp0(p->unit, "bytes/second") == 0 ? "/s" : "");
}

static enum outcome
run_set_parameter(struct call *call, GError **error)
{
    const struct value *v = call->args->at;
    struct machine *m = call->monitor->machine;
    g_autofree char *note = NULL;

    if (!session_parameter_set(machine_session(m), machine_parameters(m), v[SET_A_NAME].word, v[SET_A_VALUE].word,
                               &note, error))
        return COMMAND_FAILED;
    if (note)
        call_print(call, "%s\n", note);
    else
        echo_parameter(call, v[SET_A_NAME].word, v[SET_A_VALUE].word);
    return COMMAND_DONE;
}

static const struct property capability_args[] = {
    [SET_A_NAME] = { "NAME", PROPERTY_WORD, .required = true, .complete = COMPLETE_CAPABILITY,
                     .help = "the capability" },
    [SET_A_VALUE] = { "STATE", PROPERTY_BOOL, .required = true, .help = "on or off" },
    { 0 }
};

static enum outcome
run_set_capability(struct call *call, GError **error)
{
    struct monitor *m = call->monitor;
    const struct value *v = call->args->at;

    if (machine_switching(m->machine)) {
        fail(error, NUMON_ERROR_STATE, "cannot set capability '%s': a migration is in progress", v[SET_A_NAME].word);
        return COMMAND_FAILED;
    }
    if (name_equal(v[SET_A_NAME].word, "dirty-limit") && v[SET_A_VALUE].flag && !machine_can_limit(m->machine, error))
        return COMMAND_FAILED;
    return migrate_capability_set(machine_capabilities(m->machine), v[SET_A_NAME].word, v[SET_A_VALUE].flag, error)
               ? COMMAND_DONE : COMMAND_FAILED;
}

/* --- the group -------------------------------------------------------------------------------------------------- */

static const struct command migration_commands[] = {
    { .name = "set_vcpu_dirty_limit", .summary = "limit how fast vCPUs dirty memory",
      .details = "A vCPU that has made as many pages dirty as its ring holds sleeps until its rate is what it may "
                 "be; one that writes less is not kept waiting. Needs `accel kvm,dirty-log=ring`, best with a "
                 "dirty-ring-size of 1024 to 4096, or accel synthetic.",
      .form = FORM_WORDS, .args = dirty_limit_args, .when = WHEN_BUILT, .run = dirty_limit_run },
    { .name = "cancel_vcpu_dirty_limit", .summary = "let vCPUs dirty memory as fast as they can",
      .form = FORM_WORDS, .args = dirty_unlimit_args, .when = WHEN_BUILT, .run = dirty_unlimit_run },
    { .name = "calc_dirty_rate", .summary = "measure how fast the guest dirties its memory",
      .details = "Returns at once; `info dirty_rate` shows what came of it, and `wait dirty_rate` waits for that. "
                 "Without -r and -b pages are compared by samples, which costs the guest nothing.",
      .form = FORM_WORDS, .args = dirty_rate_args, .when = WHEN_BUILT, .run = dirty_rate_run },
    { .name = "migrate", .summary = "send the guest to another numon while it runs",
      .details = "Waits for the end with a status line a second; Ctrl-C leaves the migration running. On a terminal "
                 "its progress stands above the prompt, where commands can be typed meanwhile. Guests do not move "
                 "between numon and QEMU.",
      .form = FORM_WORDS, .args = migrate_args, .when = WHEN_BUILT, .may = may_migrate, .run = run_migrate,
          .detach = detach_migrate },
    { .name = "migrate_cancel", .summary = "end the migration; the guest stays here",
      .details = "Refused once the last byte may have been sent: then the destination's answer decides.",
      .form = FORM_WORDS, .when = WHEN_BUILT, .may = may_cancel, .run = run_cancel },
    { .name = "migrate_continue", .summary = "let a migration go on that waits",
      .details = "For the capability pause-before-switchover, where the guest is stopped and nothing of its last "
                 "state has been sent yet, and for `migrate_step`. `migrate_cancel` lets the guest go on here "
                 "instead.",
      .form = FORM_WORDS, .args = continue_args, .when = WHEN_BUILT, .may = may_continue, .run = run_continue },
    { .name = "migrate_incoming", .summary = "wait for a guest to arrive",
      .details = "In preconfig it builds the machine first. After a failed load it may be given again; where a guest "
                 "was migrated away it takes it back.",
      .form = FORM_WORDS, .args = incoming_args, .when = WHEN_ALWAYS, .may = may_receive, .run = run_incoming },
    { .name = "migrate_step", .summary = "let a migration wait after each round, or not",
      .details = "It then waits for `migrate_continue`; the guest goes on. `info migrate` and its views say what was "
                 "found, and parameters can be changed meanwhile.",
      .form = FORM_WORDS, .args = step_args, .when = WHEN_ALWAYS, .may = may_set, .run = run_step },
    { .name = "migrate_outcome", .summary = "ask the destination what became of the guest",
      .details = "For a migration whose link died between the last byte and the answer: the destination says running "
                 "or discarded, and this side follows. If it cannot be reached nothing changes.",
      .form = FORM_WORDS, .when = WHEN_BUILT, .may = may_ask_outcome, .run = run_outcome, .detach = detach_outcome },
    { .name = "migrate_set_parameter", .summary = "change a migration parameter, also while one runs",
      .form = FORM_WORDS, .args = parameter_args, .names = migrate_parameter_properties, .when = WHEN_ALWAYS,
      .may = may_set, .run = run_set_parameter },
    { .name = "migrate_set_capability", .summary = "switch a migration capability on or off",
      .form = FORM_WORDS, .args = capability_args, .names = migrate_capability_properties, .when = WHEN_ALWAYS,
      .may = may_set_capability, .run = run_set_capability },
    { .name = "migrate_record", .summary = "write ten samples a second of a migration to a file",
      .details = "Of the one under way, or the next: the file is complete when that has ended, or with "
                 "`migrate_record` alone. A line of names, then comma-separated values.",
      .form = FORM_WORDS, .args = record_args, .when = WHEN_ALWAYS, .run = record_command },
    { .name = "migrate_report", .summary = "write a page about the current or last migration",
      .details = "One file of HTML that needs nothing else: bandwidth, dirty rate and what remains over time, "
                 "rounds, parts of the downtime, a map of memory, the settings, and the numbers as JSON.",
      .form = FORM_WORDS, .args = report_args, .when = WHEN_ALWAYS, .run = report_command, .detach = report_detach },
    { .name = "migrate_predict", .summary = "rounds, time and downtime that a migration would have",
      .details = "Looks for a second at what the guest writes, then reckons the rounds with the parameters and "
                 "capabilities that are set, or others given. With -r it replays a migration that has ended, both "
                 "side by side. `info prediction` shows the last prediction beside what came.",
      .form = FORM_WORDS, .args = predict_args, .names = predict_settings, .when = WHEN_BUILT,
      .run = predict_command, .detach = predict_detach },
    { .name = "explain", .summary = "what a stream in a file holds, and what is wrong",
      .details = "Sections, pages by kind with their bytes for each block and round, what must agree, faults with "
                 "their place in the file, and what would stop QEMU's stream analyser. The stream does not say where "
                 "a round begins: pages that go from low to high addresses are of one. With -v each record stands on "
                 "a line before: its place, its bytes and what it is; of a delta page what changes where.",
      .form = FORM_WORDS, .args = explain_args, .when = WHEN_ALWAYS, .run = explain_command,
      .detach = explain_detach },
    { 0 }
};

const struct command_group migration_group = { "Live migration", migration_commands };
