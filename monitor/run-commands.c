/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Run control, and `wait`: what scripts need instead of sleeping.
 *
 * A wait is a condition (a table entry), a number, and a deadline.  Its function looks once and says met, not yet, or
 * never (with the reason).  It looks at once, after every event of the machine, and now and then, because ticks and
 * the dirty sync count make no event. */
#include <string.h>

#include "monitor-private.h"

enum { WAIT_SECONDS_DEFAULT = 30 };

/* --- cont, stop, system_reset ----------------------------------------------------------------------------------- */

enum { FORCE_FLAG };
static const struct property cont_args[] = {
    [FORCE_FLAG] = { "-f", PROPERTY_FLAG, .help = "although the guest was migrated away, or nobody knows" },
    { 0 }
};
static const struct property reset_args[] = {
    [FORCE_FLAG] = { "-f", PROPERTY_FLAG, .help = "although the guest was migrated away" },
    { 0 }
};

static bool
may_cont(struct monitor *m, GError **error)
{
    return machine_may_cont(m->machine, false, error);
}

static bool
may_stop(struct monitor *m, GError **error)
{
    return true;
}

static bool
may_reset(struct monitor *m, GError **error)
{
    return machine_may_reset(m->machine, false, error);
}

static enum outcome
run_cont(struct call *call, GError **error)
{
    bool force = call->args->at[FORCE_FLAG].set;

    return machine_cont(call->monitor->machine, force, error) ? COMMAND_DONE : COMMAND_FAILED;
}

static enum outcome
run_stop(struct call *call, GError **error)
{
    return machine_stop(call->monitor->machine, error) ? COMMAND_DONE : COMMAND_FAILED;
}

static bool
may_powerdown(struct monitor *m, GError **error)
{
    return machine_may_powerdown(m->machine, error);
}

static enum outcome
run_system_powerdown(struct call *call, GError **error)
{
    bool listens;

    if (!machine_powerdown(call->monitor->machine, &listens, error))
        return COMMAND_FAILED;
    if (!listens)
        call_print(call, "the guest has not said that it listens to ACPI events: it may take no notice\n");
    return COMMAND_DONE;
}

/* Outlives its call if that is detached, until the guest was reset. */
struct resetting {
    struct call *call;                  /* NULL once detached */
    struct monitor *monitor;
};

static void
reset_forget_call(void *data)
{
    ((struct resetting *)data)->call = NULL;
}

static void
reset_done(void *self, const GError *error)
{
    struct resetting *r = self;

    workload_sample_take(r->monitor);
    if (r->call) {
        r->call->data = NULL;
        r->call->data_free = NULL;
        call_finish(r->call, error);
    }
    g_free(r);
}

static enum outcome
run_system_reset(struct call *call, GError **error)
{
    struct resetting *r = g_new(struct resetting, 1);

    *r = (struct resetting) { call, call->monitor };
    if (!machine_reset(call->monitor->machine, call->args->at[FORCE_FLAG].set, reset_done, r, error)) {
        g_free(r);
        return COMMAND_FAILED;
    }
    call->data = r;
    call->data_free = reset_forget_call;
    return COMMAND_PENDING;
}

static void
reset_detach(struct call *call)
{
    call_print(call, "the guest is reset all the same\n");
}

/* Without argument it shows what is set. */
static enum outcome
run_set_action(struct call *call, GError **error)
{
    struct machine *machine = call->monitor->machine;
    const struct values *v = call->args;

    if (v->at[ACTION_P_REBOOT].set || v->at[ACTION_P_SHUTDOWN].set)
        machine_set_action(machine, v);
    else
        call_print(call, "reboot=%s,shutdown=%s\n", reboot_action_names[machine_reboot_action(machine)],
                   shutdown_action_names[machine_shutdown_action(machine)]);
    return COMMAND_DONE;
}

/* --- wait ------------------------------------------------------------------------------------------------------- */

enum wait_answer { WAIT_MET, WAIT_NOT_YET, WAIT_NEVER };

struct wait {
    struct call *call;
    struct watcher *watcher;
    const struct wait_condition *condition;
    uint64_t number;                    /* round, ticks */
    enum migrate_state state;           /* of a migration; MIGRATE_NONE: any end that is good */
    unsigned seconds;
    int64_t deadline_us;                /* monotonic */
    uint64_t ticks_last, ticks_seen;    /* the guest's count at the last look; how many came since the start */
    bool ticks_known;                   /* ticks_last holds */
};

struct wait_condition {
    enum wait_answer (*look)(struct wait *w, GError **error);
    unsigned period_ms;
    /* What was waited for and what is there instead, for the timeout's error.  Caller frees. */
    char *(*describe)(struct wait *w);
};

enum { WAIT_MIGRATION, WAIT_ROUND, WAIT_THROTTLE, WAIT_HELD, WAIT_RUNNING, WAIT_DIRTY_RATE, WAIT_TICKS,
       WAIT_CONDITIONS };

enum { MIGRATION_STATUS, MIGRATION_SECONDS };
static const char *const wait_states[] = {
    "setup", "active", "pre-switchover", "device", "completed", "failed", "cancelling", "cancelled", NULL
};
static const struct property wait_migration_args[] = {
    [MIGRATION_STATUS] = { "status", PROPERTY_UINT, .max = 86400, .choices = wait_states,
                           .help = "status to come to, without it a good end; or the timeout" },
    [MIGRATION_SECONDS] = { "seconds", PROPERTY_UINT, .max = 86400, .unit = "s", .value_default = "30",
                            .help = "give up after so long" },
    { 0 }
};
/* The number and the timeout of `wait round` and `wait ticks`. */
enum { COUNT_NUMBER, COUNT_SECONDS };
static const struct property wait_round_args[] = {
    [COUNT_NUMBER] = { "count", PROPERTY_UINT, .min = 1, .required = true,
                       .help = "dirty sync count that the migration must reach" },
    [COUNT_SECONDS] = { "seconds", PROPERTY_UINT, .max = 86400, .unit = "s", .value_default = "30",
                        .help = "give up after so long" },
    { 0 }
};
static const struct property wait_throttle_args[] = {
    [COUNT_NUMBER] = { "percent", PROPERTY_UINT, .min = 1, .max = 99, .required = true, .unit = "%",
                       .help = "throttle of the vCPUs that auto-converge must reach" },
    [COUNT_SECONDS] = { "seconds", PROPERTY_UINT, .max = 86400, .unit = "s", .value_default = "30",
                        .help = "give up after so long" },
    { 0 }
};
static const struct property wait_ticks_args[] = {
    [COUNT_NUMBER] = { "count", PROPERTY_UINT, .min = 1, .required = true,
                       .help = "how many more ticks the workload guest must make" },
    [COUNT_SECONDS] = { "seconds", PROPERTY_UINT, .max = 86400, .unit = "s", .value_default = "30",
                        .help = "give up after so long" },
    { 0 }
};
enum { RUNNING_SECONDS };
static const struct property wait_running_args[] = {
    [RUNNING_SECONDS] = { "seconds", PROPERTY_UINT, .max = 86400, .unit = "s", .value_default = "30",
                          .help = "give up after so long" },
    { 0 }
};

static const struct command_variant wait_variants[] = {
    [WAIT_MIGRATION] = { "migration", wait_migration_args, -1, .by_words = true,
                         .summary = "until the migration ends well, or comes to a status" },
    [WAIT_ROUND] = { "round", wait_round_args, -1, .by_words = true,
                     .summary = "until the dirty sync count has reached a number" },
    [WAIT_THROTTLE] = { "throttle", wait_throttle_args, -1, .by_words = true,
                        .summary = "until auto-converge has come to a throttle" },
    [WAIT_HELD] = { "held", wait_running_args, -1, .by_words = true,
                    .summary = "until the migration waits after a round (migrate_step)" },
    [WAIT_RUNNING] = { "running", wait_running_args, -1, .by_words = true, .summary = "until the guest runs" },
    [WAIT_DIRTY_RATE] = { "dirty_rate", wait_running_args, -1, .by_words = true,
                          .summary = "until the measurement of the dirty rate has ended" },
    [WAIT_TICKS] = { "ticks", wait_ticks_args, -1, .by_words = true,
                     .summary = "until the workload guest has made so many more ticks" },
    [WAIT_CONDITIONS] = { NULL }
};

/* --- the migration ---------------------------------------------------------------------------------------------- */

static bool
migration_read(struct wait *w, struct migrate_info *ret)
{
    struct session *s = machine_session(w->call->monitor->machine);

    if (s)
        session_info(s, ret);
    return s != NULL;
}

/* The reason for an end that is not the one waited for; never met then. */
static enum wait_answer
ended_otherwise(const struct migrate_info *i, const char *expected, GError **error)
{
    if (i->state == MIGRATE_FAILED)
        fail(error, i->error_code, "the migration failed: %s", i->error ? i->error : "no reason given");
    else if (i->state == MIGRATE_CANCELLED)
        fail(error, NUMON_ERROR_STATE, "the migration was cancelled");
    else
        fail(error, NUMON_ERROR_STATE, "the migration has completed, so it will not be %s", expected);
    return WAIT_NEVER;
}

/* A state that was passed counts as reached: setup, active, device and completed follow each other. */
static enum wait_answer
judge_migration(const struct migrate_info *i, enum migrate_state wanted, GError **error)
{
    enum migrate_state goal = wanted == MIGRATE_NONE ? MIGRATE_COMPLETED : wanted;

    if (i->state == goal || (goal <= MIGRATE_COMPLETED && i->state <= MIGRATE_COMPLETED && i->state >= goal))
        return WAIT_MET;
    if (!migrate_state_ended(i->state))
        return WAIT_NOT_YET;
    return ended_otherwise(i, migrate_state_name(goal), error);
}

static enum wait_answer
look_migration(struct wait *w, GError **error)
{
    struct migrate_info i;
    enum wait_answer answer;

    if (!migration_read(w, &i))
        return WAIT_NOT_YET;
    answer = judge_migration(&i, w->state, error);
    migrate_info_release(&i);
    return answer;
}

static enum wait_answer
look_round(struct wait *w, GError **error)
{
    struct migrate_info i;
    enum wait_answer answer = WAIT_NOT_YET;

    if (!migration_read(w, &i))
        return WAIT_NOT_YET;
    if (i.dirty_syncs >= w->number) {
        answer = WAIT_MET;
    } else if (migrate_state_ended(i.state)) {
        fail(error, NUMON_ERROR_STATE, "the migration has ended %s with dirty sync count %" G_GUINT64_FORMAT
             ", below %" G_GUINT64_FORMAT "%s%s", migrate_state_name(i.state), i.dirty_syncs, w->number,
             i.error ? ": " : "", i.error ? i.error : "");
        answer = WAIT_NEVER;
    }
    migrate_info_release(&i);
    return answer;
}

static enum wait_answer
look_throttle(struct wait *w, GError **error)
{
    struct migrate_info i;
    enum wait_answer answer = WAIT_NOT_YET;

    if (!migration_read(w, &i))
        return WAIT_NOT_YET;
    if (i.throttle_percent >= w->number)
        answer = WAIT_MET;
    else if (migrate_state_ended(i.state)) {
        fail(error, NUMON_ERROR_STATE, "the migration has ended %s with %" G_GUINT64_FORMAT " strikes",
             migrate_state_name(i.state), i.throttle_strikes);
        answer = WAIT_NEVER;
    }
    migrate_info_release(&i);
    return answer;
}

static char *
describe_throttle(struct wait *w)
{
    struct migrate_info i;
    char *text;

    if (!migration_read(w, &i))
        return g_strdup("for a migration: none has begun");
    text = g_strdup_printf("for a throttle of %" G_GUINT64_FORMAT " %%: it is %u %%", w->number, i.throttle_percent);
    migrate_info_release(&i);
    return text;
}

static char *
describe_migration(struct wait *w)
{
    const char *goal = migrate_state_name(w->state == MIGRATE_NONE ? MIGRATE_COMPLETED : w->state);
    struct migrate_info i;
    char *text;

    if (!migration_read(w, &i))
        return g_strdup("for a migration: none has begun");
    text = g_strdup_printf("for the migration to be %s: it is %s", goal, migrate_state_name(i.state));
    migrate_info_release(&i);
    return text;
}

static char *
describe_round(struct wait *w)
{
    struct migrate_info i;
    char *text;

    if (!migration_read(w, &i))
        return g_strdup("for a migration: none has begun");
    text = g_strdup_printf("for dirty sync count %" G_GUINT64_FORMAT ": it is %" G_GUINT64_FORMAT, w->number,
                           i.dirty_syncs);
    migrate_info_release(&i);
    return text;
}

/* --- the guest -------------------------------------------------------------------------------------------------- */

static enum wait_answer
look_running(struct wait *w, GError **error)
{
    return machine_running(w->call->monitor->machine) ? WAIT_MET : WAIT_NOT_YET;
}

static enum wait_answer
look_held(struct wait *w, GError **error)
{
    struct migrate_info i;
    enum wait_answer answer = WAIT_NOT_YET;

    if (!migration_read(w, &i))
        return WAIT_NOT_YET;
    if (i.held)
        answer = WAIT_MET;
    else if (migrate_state_ended(i.state)) {
        fail(error, NUMON_ERROR_STATE, "the migration has ended %s and waits no more", migrate_state_name(i.state));
        answer = WAIT_NEVER;
    }
    migrate_info_release(&i);
    return answer;
}

static char *
describe_held(struct wait *w)
{
    struct migrate_info i;
    char *text;

    if (!migration_read(w, &i))
        return g_strdup("for a migration: none has begun");
    text = g_strdup_printf("for the migration to be held after a round: it is %s", migrate_state_name(i.state));
    migrate_info_release(&i);
    return text;
}

static char *
describe_running(struct wait *w)
{
    return g_strdup_printf("for the guest to run: its status is %s", machine_status(w->call->monitor->machine));
}

static enum wait_answer
look_dirty_rate(struct wait *w, GError **error)
{
    const struct dirty_rate_status *s = machine_dirty_rate(w->call->monitor->machine);

    if (s->measuring)
        return WAIT_NOT_YET;
    if (s->measured)
        return WAIT_MET;
    fail(error, NUMON_ERROR_STATE, "%s%s",
         s->failure ? "the measurement failed: " : "no dirty rate is being measured",
         s->failure ? s->failure : "");
    return WAIT_NEVER;
}

static char *
describe_dirty_rate(struct wait *w)
{
    return g_strdup("for the dirty rate: it is still being measured");
}

/* Counts on: after a reset the guest's own count begins at 0 again. */
static void
count_ticks(struct wait *w, uint64_t ticks)
{
    if (w->ticks_known)
        w->ticks_seen += ticks >= w->ticks_last ? ticks - w->ticks_last : ticks;
    w->ticks_last = ticks;
    w->ticks_known = true;
}

/* While a guest arrives, its control page changes by what the source does: that is no tick here. */
static enum wait_answer
look_ticks(struct wait *w, GError **error)
{
    struct machine *machine = w->call->monitor->machine;
    g_autofree struct workload_status *s = NULL;

    if (!machine_built(machine) || machine_awaits_incoming(machine))
        return WAIT_NOT_YET;
    s = g_new(struct workload_status, 1);
    if (!workload_status(machine_map(machine), s, error))
        return WAIT_NEVER;
    count_ticks(w, s->ticks);
    if (w->ticks_seen >= w->number)
        return WAIT_MET;
    if (g_str_equal(machine_status(machine), "postmigrate")) {
        fail(error, NUMON_ERROR_STATE, "the guest has moved away after %" G_GUINT64_FORMAT " of %" G_GUINT64_FORMAT
             " ticks", w->ticks_seen, w->number);
        return WAIT_NEVER;
    }
    if (s->stage != STAGE_PANIC)
        return WAIT_NOT_YET;
    fail(error, NUMON_ERROR_STATE, "the guest has panicked (reason %" G_GUINT64_FORMAT ") after %" G_GUINT64_FORMAT
         " of %" G_GUINT64_FORMAT " ticks", s->panic, w->ticks_seen, w->number);
    return WAIT_NEVER;
}

static char *
describe_ticks(struct wait *w)
{
    return g_strdup_printf("for %" G_GUINT64_FORMAT " ticks: %" G_GUINT64_FORMAT " came, the guest's status is %s",
                           w->number, w->ticks_seen, machine_status(w->call->monitor->machine));
}

static const struct wait_condition wait_conditions[WAIT_CONDITIONS] = {
    [WAIT_MIGRATION] = { look_migration, 100, describe_migration },
    [WAIT_ROUND]     = { look_round, 10, describe_round },
    [WAIT_THROTTLE]  = { look_throttle, 10, describe_throttle },
    [WAIT_HELD]      = { look_held, 10, describe_held },
    [WAIT_RUNNING]   = { look_running, 100, describe_running },
    [WAIT_DIRTY_RATE] = { look_dirty_rate, 100, describe_dirty_rate },
    [WAIT_TICKS]     = { look_ticks, 5, describe_ticks },
};

/* --- the command ------------------------------------------------------------------------------------------------ */

static bool
wait_check(void *data)
{
    struct wait *w = data;
    g_autoptr(GError) error = NULL;
    enum wait_answer answer = w->condition->look(w, &error);

    if (answer == WAIT_NOT_YET && g_get_monotonic_time() < w->deadline_us)
        return false;
    if (answer == WAIT_NOT_YET) {
        g_autofree char *what = w->condition->describe(w);

        fail(&error, NUMON_ERROR_STATE, "waited %u s %s", w->seconds, what);
    }
    w->watcher = NULL;
    call_finish(w->call, error);
    return true;
}

static void
wait_detach(struct call *call)
{
    struct wait *w = call->data;

    if (w->watcher)
        monitor_unwatch(call->monitor, w->watcher);
    w->watcher = NULL;
}

static enum migrate_state
state_of(const char *name)
{
    for (int s = MIGRATE_NONE + 1; s < MIGRATE_STATES; s++) {
        if (strcmp(migrate_state_name((enum migrate_state)s), name) == 0)
            return (enum migrate_state)s;
    }
    return MIGRATE_NONE;
}

/* A number last on the line is the timeout, also where a status may stand. */
static bool
read_migration(struct wait *w, const struct values *v, GError **error)
{
    const struct value *status = &v->at[MIGRATION_STATUS], *seconds = &v->at[MIGRATION_SECONDS];

    if (status->set && status->word)
        w->state = state_of(status->word);
    else if (status->set && seconds->set)
        return fail(error, NUMON_ERROR_ARGUMENT, "'%" G_GUINT64_FORMAT "' is no migration status", status->number);
    else if (status->set)
        w->seconds = (unsigned)status->number;
    if (seconds->set)
        w->seconds = (unsigned)seconds->number;
    return true;
}

static bool
read_wait(struct wait *w, const struct values *v, int kind, GError **error)
{
    const struct value *seconds = NULL;

    w->seconds = WAIT_SECONDS_DEFAULT;
    if (kind == WAIT_MIGRATION)
        return read_migration(w, v, error);
    if (kind == WAIT_RUNNING || kind == WAIT_HELD || kind == WAIT_DIRTY_RATE) {
        seconds = &v->at[RUNNING_SECONDS];
    } else {
        w->number = v->at[COUNT_NUMBER].number;
        seconds = &v->at[COUNT_SECONDS];
    }
    if (seconds->set)
        w->seconds = (unsigned)seconds->number;
    return true;
}

static enum outcome
run_wait(struct call *call, GError **error)
{
    int kind = (int)(call->variant - wait_variants);
    struct wait *w = g_new0(struct wait, 1);

    *w = (struct wait) { .call = call, .condition = &wait_conditions[kind] };
    call->data = w;
    call->data_free = g_free;
    if (!read_wait(w, call->args, kind, error)) {
        call->usage = command_usage(call->command, call->variant);
        return COMMAND_FAILED;
    }
    w->deadline_us = g_get_monotonic_time() + (int64_t)w->seconds * G_USEC_PER_SEC;
    switch (w->condition->look(w, error)) {
    case WAIT_MET:
        return COMMAND_DONE;
    case WAIT_NEVER:
        return COMMAND_FAILED;
    case WAIT_NOT_YET:
        break;
    }
    w->watcher = monitor_watch(call->monitor, w->condition->period_ms, wait_check, w);
    return COMMAND_PENDING;
}

static const struct command run_commands[] = {
    { .name = "cont", .alias = "c", .summary = "let the guest run", .form = FORM_WORDS, .args = cont_args,
      .when = WHEN_BUILT, .may = may_cont, .run = run_cont,
      .details = "While a guest arrives: it will run when it has arrived." },
    { .name = "stop", .alias = "s", .summary = "pause the guest", .form = FORM_WORDS, .when = WHEN_BUILT,
      .may = may_stop, .run = run_stop },
    { .name = "system_reset", .summary = "reset the guest: it boots anew", .form = FORM_WORDS, .args = reset_args,
      .when = WHEN_BUILT, .may = may_reset, .run = run_system_reset, .detach = reset_detach },
    { .name = "system_powerdown", .summary = "press the power button", .form = FORM_WORDS, .when = WHEN_BUILT,
      .may = may_powerdown, .run = run_system_powerdown,
      .details = "An ACPI event, which a guest may answer by ending itself; wait and set_action are for that." },
    { .name = "set_action", .summary = "choose what becomes of a guest that resets or ends", .form = FORM_OPTIONS,
      .args = machine_action_properties, .implied = -1, .option = "-action", .when = WHEN_ALWAYS,
          .run = run_set_action,
      .details = "Without argument shows what is set.  A guest that was ended waits for system_reset, as one that "
                 "ended itself.  With shutdown=poweroff the program ends, with status 0 or, after a value to the "
                 "exit port, with twice the value plus 1, as with QEMU's isa-debug-exit." },
    { .name = "wait", .summary = "wait for a migration, a round, or the guest", .form = FORM_VARIANTS,
      .variants = wait_variants, .when = WHEN_ALWAYS, .run = run_wait, .detach = wait_detach,
      .details = "It is an error if it does not come to pass in 30 seconds, or in the time that is given last.  A "
                 "migration that has ended counts until the next begins; if none has begun yet, the wait is for the "
                 "first." },
    { 0 }
};

const struct command_group run_group = { .title = "Run control", .commands = run_commands };
