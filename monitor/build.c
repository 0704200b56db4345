/* SPDX-License-Identifier: GPL-3.0-or-later */
/* From a definition to a machine: the check that names every problem with its remedy, and the pending build that
 * commands share (exit_preconfig, launch, migrate_incoming). */
#include "monitor-private.h"

static void
print_warnings(struct call *call, const struct definition *d)
{
    g_autoptr(GPtrArray) warnings = g_ptr_array_new_with_free_func(g_free);

    definition_warnings(d, warnings);
    for (guint i = 0; i < warnings->len; i++)
        call_print(call, "warning: %s\n", (const char *)warnings->pdata[i]);
}

/* What each node got of RAM that no `numa node` divided. */
static void
print_division(struct call *call, const struct definition *d)
{
    struct topology t;

    if (!(definition_topology(d, &t) & TOPOLOGY_SPLIT))
        return;
    call_warn_once(call, WARNED_SPLIT, "Default splitting of RAM between nodes is deprecated, Use '-numa "
                   "node,memdev' to explicitly define RAM allocation per node");
    for (unsigned id = 0; id < TOPOLOGY_NODES; id++) {
        g_autofree char *size = size_format(t.nodes[id].mem);

        if (t.nodes[id].present)
            call_print(call, "node %u: %s of RAM (numa-auto-assign=%s)\n", id, size,
                       auto_assign_names[t.options.auto_assign]);
    }
}

/* One command, or several, a line each. */
static void
print_remedy(struct call *call, const char *remedy)
{
    g_auto(GStrv) lines = g_strsplit(remedy ? remedy : "", "\n", -1);

    for (char **line = lines; *line; line++) {
        if (**line)
            call_print(call, "   mend: %s\n", *line);
    }
}

bool
monitor_check(struct call *call, GError **error)
{
    struct machine *machine = call->monitor->machine;
    g_autoptr(GPtrArray) problems = machine_check(machine);

    for (guint i = 0; i < problems->len; i++) {
        const struct problem *p = problems->pdata[i];

        call_print(call, "problem: %s\n", p->text);
        print_remedy(call, p->remedy);
    }
    if (problems->len > 0)
        return fail(error, NUMON_ERROR_STATE, "the machine cannot be built: %u problem%s", problems->len,
                    problems->len == 1 ? "" : "s");
    print_warnings(call, machine_definition(machine));
    print_division(call, machine_definition(machine));
    return true;
}

/* One build under way; lives until machine_build reports, even if its call has gone. */
struct build {
    struct monitor *monitor;
    struct call *call;              /* NULL once detached */
    struct progress *progress;
    void (*done)(struct call *call, const GError *error);
};

static void
build_forget_call(void *data)
{
    struct build *b = data;

    progress_end(b->progress);
    b->progress = NULL;
    b->call = NULL;
}

static void
say_built(struct call *call)
{
    struct machine *machine = call->monitor->machine;
    const char *warnings[] = { machine_memory_warning(machine), machine_accel_warning(machine) };
    const char *reason = machine_accel_reason(machine);

    for (unsigned i = 0; i < G_N_ELEMENTS(warnings); i++)
        if (warnings[i])
            call_print(call, "warning: %s\n", warnings[i]);
    if (reason)
        call_print(call, "using %s: %s\n", machine_accel(machine), reason);
}

/* Rates that `info workload` shows first count from the moment the guest starts. */
static bool
watch_start(void *data)
{
    struct monitor *m = data;

    if (!machine_built(m->machine))
        m->sample = (struct workload_sample) { 0 };
    else if (machine_running(m->machine) != m->sample.running)
        workload_sample_take(m);
    return false;
}

static void
build_done(void *self, const GError *error)
{
    struct build *b = self;
    struct call *call = b->call;

    if (!error && !b->monitor->sampler)
        b->monitor->sampler = monitor_watch(b->monitor, 0, watch_start, b->monitor);
    if (call) {
        progress_end(b->progress);
        call->data = NULL;
        call->data_free = NULL;
        if (!error)
            say_built(call);
        b->done(call, error);
    } else if (error) {
        monitor_event(b->monitor, "building the machine failed: %s", error->message);
    } else {
        monitor_event(b->monitor, "the machine is built");
    }
    g_free(b);
}

bool
monitor_build(struct call *call, void (*done)(struct call *call, const GError *error), GError **error)
{
    struct build *b;

    if (!monitor_check(call, error))
        return false;
    b = g_new(struct build, 1);
    *b = (struct build) { .monitor = call->monitor, .call = call, .done = done };
    call->data = b;
    call->data_free = build_forget_call;
    b->progress = progress_start(call);
    machine_build_checked(call->monitor->machine, build_done, b);
    return true;
}
