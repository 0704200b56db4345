/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Run control as the user sees it: status words, cont, stop, reset, what the guest asks for, and the workload. */
#include "machine-private.h"
#include "platform.h"

#include <string.h>

/* Tells whoever shows the machine that its status may have changed. */
void
machine_changed(struct machine *m)
{
    machine_settle_ejections(m);
    if (m->events.run_state)
        m->events.run_state(m->events.self);
}

void
machine_tell(struct machine *m, const char *text)
{
    if (m->events.guest)
        m->events.guest(m->events.self, text);
}

/* --- status ----------------------------------------------------------------------------------------------------- */

/* A guest that ended itself a moment ago has not told main yet. */
static bool
ended_itself(const struct machine *m)
{
    unsigned requests = run_requests(m->parts->run);

    return atomic_load(&m->shut_down)
        || (requests & 1u << VCPU_SHUTDOWN && !(requests & 1u << VCPU_ERROR));
}

static enum migrate_run_state
run_state_of(const struct machine *m, unsigned reasons)
{
    if (reasons & STOP_ERROR)
        return ended_itself(m) ? RUN_STATE_SHUTDOWN : RUN_STATE_INTERNAL_ERROR;
    if (reasons & STOP_USER)
        return atomic_load(&m->ran) ? RUN_STATE_PAUSED : RUN_STATE_PRELAUNCH;
    return reasons ? RUN_STATE_PAUSED : RUN_STATE_RUNNING;
}

const char *
machine_status(const struct machine *m)
{
    unsigned reasons = m->parts ? run_reasons(m->parts->run) : 0;

    if (!m->parts)
        return "preconfig";
    if (m->awaits && reasons & STOP_MIGRATE)
        return "inmigrate";
    if (reasons & STOP_MIGRATE)
        return m->outgoing && (session_owner(m->outgoing) == OWNER_THERE || session_owner(m->outgoing) == OWNER_COPY)
                   ? "postmigrate" : "finish-migrate";
    return migrate_run_state_name(run_state_of(m, reasons));
}

enum migrate_run_state
machine_run_state(struct machine *m)
{
    /* Other stops are this side's: a verification, memory that is being plugged. */
    return run_state_of(m, run_reasons(m->parts->run) & (STOP_USER | STOP_ERROR));
}

bool
machine_running(const struct machine *m)
{
    return m->parts && run_running(m->parts->run);
}

bool
machine_awaits_incoming(const struct machine *m)
{
    /* The session takes its stop away when the guest has arrived, a moment before main hears of it. */
    return m->awaits && run_reasons(m->parts->run) & STOP_MIGRATE;
}

/* --- who may write guest memory --------------------------------------------------------------------------------- */

bool
machine_writes_begin(struct machine *m, const char *attempt, GError **error)
{
    bool frozen;

    if (m->resetting)
        return fail(error, NUMON_ERROR_STATE, "cannot %s: the guest is being reset", attempt);
    lock_take(&m->writes);
    frozen = m->frozen;
    m->writing = !frozen;
    lock_drop(&m->writes);
    if (!frozen)
        return true;
    return fail(error, NUMON_ERROR_STATE, "cannot %s: the guest is %s", attempt,
                m->outgoing && session_owner(m->outgoing) == OWNER_THERE ? "running on the other side of a migration"
                                                          : "being handed over by a migration");
}

void
machine_writes_end(struct machine *m)
{
    lock_take(&m->writes);
    m->writing = false;
    condition_broadcast(&m->written);
    lock_drop(&m->writes);
}

void
machine_freeze(struct machine *m, bool frozen)
{
    lock_take(&m->writes);
    while (frozen && m->writing)
        condition_wait(&m->written, &m->writes);
    m->frozen = frozen;
    lock_drop(&m->writes);
    if (m->parts)
        parts_freeze_devices(m->parts, frozen);
}

bool
machine_need_built(const struct machine *m, const char *attempt, GError **error)
{
    if (m->parts)
        return true;
    return fail(error, NUMON_ERROR_STATE, "cannot %s: there is no machine yet (`launch` builds and starts it)",
                attempt);
}

/* --- cont and stop ---------------------------------------------------------------------------------------------- */

bool
machine_may_claim(struct machine *m, bool anew, bool force, GError **error)
{
    const char *attempt = anew ? "reset" : "go on", *command = anew ? "system_reset" : "cont";
    enum migrate_owner owner = m->outgoing ? session_owner(m->outgoing) : OWNER_HERE;

    if (machine_switching(m))
        return fail(error, NUMON_ERROR_STATE, "cannot %s: the guest is being handed over (`migrate_cancel` takes it "
                    "back while that is safe)", attempt);
    if (owner == OWNER_THERE && !force)
        return fail(error, NUMON_ERROR_STATE, "cannot %s: the guest was migrated away and runs on the other side; "
                    "`%s -f` would run a second copy", attempt, command);
    if (owner == OWNER_UNKNOWN && !force)
        return fail(error, NUMON_ERROR_STATE, "cannot %s: the link died before the destination's answer, so it may "
                    "run there; `migrate_outcome` asks it, `%s -f` is for when you know that it does not", attempt,
                    command);
    if (!m->outgoing || session_may_claim(m->outgoing, anew, error))
        return true;
    g_prefix_error(error, "cannot %s: ", attempt);
    return false;
}

bool
machine_claim_guest(struct machine *m, bool anew, GError **error)
{
    enum migrate_owner owner = m->outgoing ? session_owner(m->outgoing) : OWNER_HERE;

    if ((owner == OWNER_THERE || owner == OWNER_UNKNOWN) && !session_claim(m->outgoing, anew, error))
        return false;
    machine_freeze(m, false);
    return true;
}

/* With these reasons to stop. */
static bool
may_go_on(struct machine *m, unsigned reasons, bool force, GError **error)
{
    /* Whose it is comes first: one that has left is not to be started anew here. */
    if (reasons & STOP_MIGRATE && !machine_may_claim(m, false, force, error))
        return false;
    return !(reasons & STOP_ERROR)
        || fail(error, NUMON_ERROR_STATE, "cannot go on: the guest %s (`system_reset%s` starts it anew)",
                ended_itself(m) ? "has ended itself" : "stopped with an internal error", force ? " -f" : "");
}

bool
machine_may_cont(struct machine *m, bool force, GError **error)
{
    return machine_need_built(m, "go on", error)
        && (machine_awaits_incoming(m) || may_go_on(m, run_reasons(m->parts->run), force, error));
}

bool
machine_cont(struct machine *m, bool force, GError **error)
{
    unsigned reasons;

    if (!machine_need_built(m, "go on", error))
        return false;
    atomic_store(&m->arrive_paused, false);
    if (machine_awaits_incoming(m))
        return true;
    reasons = run_reasons(m->parts->run);
    if (!may_go_on(m, reasons, force, error))
        return false;
    if (reasons & STOP_MIGRATE && !machine_claim_guest(m, false, error))
        return false;
    m->launched = true;
    atomic_store(&m->ran, true);
    /* Only a migration's stop that was claimed: one may begin just now. */
    if (!run_release(m->parts->run, STOP_USER | (reasons & STOP_MIGRATE), error))
        return false;
    machine_reset_if_wanted(m);
    machine_changed(m);
    return true;
}

bool
machine_stop(struct machine *m, GError **error)
{
    if (!machine_need_built(m, "stop", error))
        return false;
    atomic_store(&m->arrive_paused, true);
    if (machine_awaits_incoming(m))
        return true;
    run_hold(m->parts->run, STOP_USER);
    machine_changed(m);
    return true;
}

/* --- what the user wants done ----------------------------------------------------------------------------------- */

const char *const reboot_action_names[] = { [REBOOT_RESET] = "reset", [REBOOT_SHUTDOWN] = "shutdown", NULL };
const char *const shutdown_action_names[] = { [SHUTDOWN_PAUSE] = "pause", [SHUTDOWN_POWEROFF] = "poweroff", NULL };

const struct property machine_action_properties[] = {
    [ACTION_P_REBOOT] = { "reboot", PROPERTY_CHOICE, .choices = reboot_action_names,
                          .help = "the guest resets, or meets a triple fault: it boots anew (the default), or that "
                                  "ends it" },
    [ACTION_P_SHUTDOWN] = { "shutdown", PROPERTY_CHOICE, .choices = shutdown_action_names,
                            .help = "the guest ends itself: it is left to be looked at (the default), or numon ends "
                                    "too" },
    { 0 }
};

void
machine_set_action(struct machine *m, const struct values *v)
{
    if (v->at[ACTION_P_REBOOT].set)
        m->reboot = (enum reboot_action)v->at[ACTION_P_REBOOT].number;
    if (v->at[ACTION_P_SHUTDOWN].set)
        m->shutdown = (enum shutdown_action)v->at[ACTION_P_SHUTDOWN].number;
}

enum reboot_action
machine_reboot_action(const struct machine *m)
{
    return m->reboot;
}

enum shutdown_action
machine_shutdown_action(const struct machine *m)
{
    return m->shutdown;
}

/* --- its end ---------------------------------------------------------------------------------------------------- */

bool
machine_may_powerdown(struct machine *m, GError **error)
{
    if (!machine_need_built(m, "press the power button", error))
        return false;
    if (machine_awaits_incoming(m))
        return fail(error, NUMON_ERROR_STATE, "cannot press the power button: the guest has not arrived yet");
    if (run_reasons(m->parts->run) & STOP_ERROR)
        return fail(error, NUMON_ERROR_STATE, "cannot press the power button: the guest %s (`system_reset` starts it "
                    "anew)", atomic_load(&m->shut_down) ? "has ended itself" : "stopped with an internal error");
    return true;
}

bool
machine_powerdown(struct machine *m, bool *ret_listens, GError **error)
{
    if (!machine_may_powerdown(m, error) || !machine_writes_begin(m, "press the power button", error))
        return false;
    ged_raise(m->parts->ged, PLATFORM_EVENT_POWER);
    *ret_listens = bays_listen(m->parts->memory_slots);
    machine_writes_end(m);
    return true;
}

/* As with QEMU's isa-debug-exit; 0 of a guest that ended otherwise. */
static int
exit_status(const struct machine *m)
{
    int64_t value = atomic_load(&m->exit_value);

    return value < 0 ? 0 : (int)((uint64_t)value << 1 & 0xff) | 1;
}

char *
machine_exit_text(const struct machine *m)
{
    int64_t value = atomic_load(&m->exit_value);

    if (value < 0)
        return g_strdup("");
    return g_strdup_printf(": it wrote %" G_GINT64_FORMAT " to the exit port, which is exit status %d", value,
                           exit_status(m));
}

void
machine_heed_end(struct machine *m)
{
    if (atomic_load(&m->shut_down) && m->shutdown == SHUTDOWN_POWEROFF && m->events.power_off)
        m->events.power_off(m->events.self, exit_status(m));
}

/* The guest ended itself, or is taken to have.  Both stops, so that it is never without one. */
static void
guest_ended(struct machine *m, const char *text)
{
    atomic_store(&m->shut_down, true);
    run_hold(m->parts->run, STOP_ERROR);
    run_release(m->parts->run, STOP_CHANGE, NULL);
    machine_tell(m, text);
    machine_changed(m);
    machine_heed_end(m);
}

static void
guest_left(struct machine *m)
{
    g_autofree char *how = machine_exit_text(m), *text = g_strconcat("the guest ended itself", how, NULL);

    guest_ended(m, text);
}

/* One that is being handed over takes its wish along. */
void
machine_end_at_reset(struct machine *m)
{
    if (!machine_writes_begin(m, "end the guest", NULL))
        return;
    machine_writes_end(m);
    machine_forget_wishes(m);
    guest_ended(m, "the guest reset itself, which ends it (action reboot=shutdown)");
}

/* --- what vCPUs and devices tell -------------------------------------------------------------------------------- */

/* It was served before main heard of it: by a reset since then. */
static bool
is_stale(const struct machine *m, const struct run_event *e)
{
    if (e->what == VCPU_RESET && atomic_load(&m->reset_wanted))
        return false;
    return (e->what == VCPU_RESET || e->what == VCPU_SHUTDOWN) && !(run_requests(m->parts->run) & 1u << e->what);
}

void
machine_vcpu_event(void *self, const struct run_event *e)
{
    struct machine *m = self;
    g_autofree char *text = NULL;

    if (is_stale(m, e) || (m->resetting && (e->what == VCPU_RESET || e->what == VCPU_SHUTDOWN)))
        return;
    if (e->what == VCPU_RESET) {
        atomic_store(&m->reset_wanted, 1);
        machine_reset_if_wanted(m);
        return;
    }
    if (e->what == VCPU_SHUTDOWN) {
        guest_left(m);
        return;
    }
    if (e->what == VCPU_NOTE) {
        text = g_strdup_printf("vCPU %u: %s", e->cpu, e->text);
        machine_tell(m, text);
        return;
    }
    atomic_store(&m->shut_down, false);
    text = g_strdup_printf("vCPU %u stopped: %s", e->cpu, e->text ? e->text : "no reason given");
    machine_tell(m, text);
    machine_changed(m);
}

void
machine_power_event(void *self, enum power_event what, uint64_t value)
{
    struct machine *m = self;

    if (what == POWER_RESET)
        atomic_store(&m->reset_wanted, 1);
    else
        atomic_store(&m->exit_value, what == POWER_OFF ? -1 : (int64_t)(value & UINT32_MAX));
    run_request(m->parts->run, what == POWER_RESET ? VCPU_RESET : VCPU_SHUTDOWN);
}

/* --- workload --------------------------------------------------------------------------------------------------- */

static bool
node_exists(const struct machine *m, uint32_t node, GError **error)
{
    unsigned count = MAX(m->parts->topology.node_count, 1);

    return node == CONTROL_NODE_OWN || node < count
        || fail(error, NUMON_ERROR_ARGUMENT, "cannot set the workload: node %u does not exist, the machine has %u "
                "node%s",
                node, count, count == 1 ? "" : "s");
}

bool
machine_workload_set(struct machine *m, const struct values *v, GError **error)
{
    struct control_parameters parameters;
    bool ok;

    if (!m->parts) {
        g_autoptr(definition) d = definition_copy(m->definition);

        return definition_set_workload(d, v, error) && machine_define(m, g_steal_pointer(&d), error);
    }
    if (machine_awaits_incoming(m))
        return fail(error, NUMON_ERROR_STATE, "cannot set the workload: it comes with the guest");
    if (!machine_writes_begin(m, "set the workload", error))
        return false;
    ok = workload_parameters_current(m->parts->map, &parameters, error) &&
         workload_parameters_read(&parameters, v, error) && node_exists(m, parameters.node, error) &&
         workload_apply(m->parts->map, m->parts->hub, &parameters, error);
    machine_writes_end(m);
    return ok;
}

void
machine_workload_get(struct machine *m, struct control_parameters *ret)
{
    if (!m->parts || machine_awaits_incoming(m) || !workload_parameters_current(m->parts->map, ret, NULL))
        *ret = m->definition->workload;
}

/* --- verify ----------------------------------------------------------------------------------------------------- */

struct verification {
    struct machine *machine;
    uint64_t totals[TOPOLOGY_CPUS];         /* by slot; 0 where there is no CPU */
    struct workload_verdict verdict;
    GError *error;
    void (*done)(void *self, const struct workload_verdict *v, const GError *error);
    void *self;
};

static void
verify_work(struct job *job, void *data)
{
    struct verification *v = data;
    struct parts *p = v->machine->parts;

    g_autofree char *lost = NULL;

    workload_verify(p->map, v->totals, p->cpu_slots, job, &v->verdict, &v->error);
    lost = guest_map_lost(p->map);
    if (!lost)
        return;
    g_clear_error(&v->error);
    fail(&v->error, NUMON_ERROR_HOST, "cannot verify: %s", lost);
}

static void
verify_done(struct job *job, void *data)
{
    struct verification *v = data;
    struct machine *m = v->machine;

    m->verify_busy = false;
    /* It may have been cancelled before it began: nothing was looked at then. */
    if (!v->error && job_cancelled(job))
        fail(&v->error, NUMON_ERROR_STATE, "cannot verify: it was cancelled");
    run_release(m->parts->run, STOP_VERIFY, v->error ? NULL : &v->error);
    machine_reset_if_wanted(m);
    machine_changed(m);
    v->done(v->self, &v->verdict, v->error);
    workload_verdict_release(&v->verdict);
    g_clear_error(&v->error);
    g_free(v);
}

static bool
verify_read_totals(struct verification *v, GError **error)
{
    struct parts *p = v->machine->parts;

    for (unsigned slot = 0; slot < p->cpu_slots; slot++)
        if (topology_has_cpu(&p->topology, slot) && !p->class->vcpu_witness(p->accel, slot, &v->totals[slot], error))
            return false;
    return true;
}

bool
machine_verify(struct machine *m, void (*done)(void *self, const struct workload_verdict *v, const GError *error),
               void *self, GError **error)
{
    struct verification *v;

    if (!machine_need_built(m, "verify", error))
        return false;
    if (machine_awaits_incoming(m))
        return fail(error, NUMON_ERROR_STATE, "cannot verify: the guest has not arrived yet");
    if (m->verify_busy)
        return fail(error, NUMON_ERROR_STATE, "cannot verify: a verification runs already");
    if (m->resetting)
        return fail(error, NUMON_ERROR_STATE, "cannot verify: the guest is being reset");
    if (m->outgoing && session_took_memory(m->outgoing))
        return fail(error, NUMON_ERROR_STATE, "cannot verify: the guest's memory went along with it");
    v = g_new0(struct verification, 1);
    *v = (struct verification) { .machine = m, .done = done, .self = self };
    run_hold(m->parts->run, STOP_VERIFY);
    if (!verify_read_totals(v, error)) {
        run_release(m->parts->run, STOP_VERIFY, NULL);
        g_free(v);
        return false;
    }
    m->verify_busy = true;
    m->verify_job = job_start(m->jobs, verify_work, verify_done, v);
    return true;
}

void
machine_verify_cancel(struct machine *m)
{
    if (m->verify_busy)
        job_cancel(m->verify_job);
}
