/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The machine as its user sees it: the definition, building it, tearing it down. */
#include "machine-private.h"

#include <string.h>

static void
tell_trace(void *machine, const char *text)
{
    g_autofree char *line = g_strconcat("trace ", text, NULL);

    machine_tell(machine, line);
}

struct machine *
machine_new(struct mailbox *mailbox, struct jobs *jobs, const struct machine_events *events)
{
    struct machine *m = g_new0(struct machine, 1);

    m->mailbox = mailbox;
    m->jobs = jobs;
    if (events)
        m->events = *events;
    m->definition = definition_new();
    m->undo = undo_new();
    lock_init(&m->writes, 5, "machine writes");
    lock_init(&m->mapping, 6, "guest map");
    condition_init(&m->written);
    migrate_parameters_init(&m->parameters);
    atomic_store(&m->exit_value, -1);
    m->trace = trace_new(mailbox, tell_trace, m);
    return m;
}

struct trace *
machine_trace(struct machine *m)
{
    return m->trace;
}

void
machine_free(struct machine *m)
{
    if (!m)
        return;
    machine_abandon_reset(m);
    machine_free_sessions(m);
    g_clear_pointer(&m->migrations, g_ptr_array_unref);
    g_clear_pointer(&m->arrivals, g_array_unref);
    machine_end_measurements(m);
    machine_forget_dirty_rate(m);
    machine_latency_abandon(m);
    parts_free(m->parts);
    mailbox_forget(m->mailbox, m);
    trace_free(m->trace);
    g_free(m->described);
    definition_free(m->definition);
    undo_free(m->undo);
    condition_release(&m->written);
    lock_release(&m->writes);
    lock_release(&m->mapping);
    g_free(m);
}

/* --- the definition --------------------------------------------------------------------------------------------- */

const struct definition *
machine_definition(const struct machine *m)
{
    return m->definition;
}

void
machine_adopt(struct machine *m, struct definition *d)
{
    undo_record(m->undo, m->definition, d);
    definition_free(m->definition);
    m->definition = d;
}

bool
machine_define(struct machine *m, struct definition *d, GError **error)
{
    if (m->parts || m->building) {
        definition_free(d);
        return fail(error, NUMON_ERROR_STATE,
                    m->building ? "cannot change the definition: the machine is just being built"
                    : "cannot change the definition: the machine is built (`enter_preconfig` tears it down)");
    }
    machine_adopt(m, d);
    return true;
}

bool
machine_undo(struct machine *m, bool back, unsigned count, GError **error)
{
    unsigned depth = undo_depth(m->undo, back);
    const char *word = back ? "undo" : "redo";

    if (m->parts || m->building)
        return fail(error, NUMON_ERROR_STATE, "cannot %s: the machine is built (`enter_preconfig` tears it down)",
                    word);
    if (depth == 0)
        return fail(error, NUMON_ERROR_STATE, "there is nothing to %s", word);
    if (count > depth)
        return fail(error, NUMON_ERROR_STATE, "cannot %s %u changes: there %s %u", word, count,
                    depth == 1 ? "is" : "are", depth);
    while (count--) {
        struct definition *d = back ? undo_back(m->undo, m->definition) : undo_forth(m->undo, m->definition);

        definition_free(m->definition);
        m->definition = d;
    }
    return true;
}

bool
machine_built(const struct machine *m)
{
    return m->parts != NULL;
}

/* What the workload guest is told: its command line, and the node that it shall write to. */
static void
check_workload(const struct definition *d, GPtrArray *problems)
{
    g_autoptr(GError) error = NULL;
    struct control_parameters parameters;
    uint32_t node;

    if (!parts_is_workload(d))
        return;
    if (d->append && !boot_check_command_line(d->append, &error)) {
        problem_add(problems, g_strdup("append"), "%s", error->message);
        return;
    }
    if (!parts_workload(d, &parameters, &error)) {
        problem_add(problems, g_strdup("append"), "%s", error->message);
        return;
    }
    node = parameters.node;
    if (node == CONTROL_NODE_OWN || (node == 0 && d->topology.node_count == 0) || d->topology.nodes[node].present)
        return;
    problem_add(problems, g_strdup(node == d->workload.node ? "workload node=own" : "append"),
                "the workload is to write to node %u, which does not exist", node);
}

/* Kernel, initrd and command line, but for what check_workload and the definition's own problems have. */
static void
check_kernel(const struct definition *d, GPtrArray *problems)
{
    static const char *const remedies[] = {
        [BOOT_KERNEL] = ("kernel " BUILTIN_WORKLOAD), [BOOT_INITRD] = "initrd", [BOOT_COMMAND_LINE] = "append",
    };
    g_autoptr(GError) error = NULL;
    bool workload = parts_is_workload(d);
    enum boot_part part;

    if (workload && definition_ram(d) < RAM_MIN)
        return;
    if (!boot_check(d->kernel, d->initrd, workload ? NULL : d->append, definition_ram(d), &part, &error))
        problem_add(problems, g_strdup(remedies[part]), "%s", error->message);
}

/* What stands against the kernel and the accelerator on this host. */
static void
check_host(const struct definition *d, GPtrArray *problems)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *reason = NULL;
    const struct accel_class *class = parts_choose_accel(d, &reason, &error);

    if (!class) {
        problem_add(problems, g_strdup(d->accel == ACCEL_AUTO ? "accel synthetic" : "accel auto"), "%s",
                    error->message);
    } else if (class->lays_out_workload && !parts_is_workload(d)) {
        problem_add(problems, g_strdup("kernel " BUILTIN_WORKLOAD),
                    "accelerator '%s' emulates no CPU, so it cannot run kernel '%s'", class->name, d->kernel);
    }
    g_clear_error(&error);
    check_kernel(d, problems);
    check_workload(d, problems);
}

/* What the guest would be told must have room in its memory. */
static void
check_tables(const struct definition *d, GPtrArray *problems)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) tables = machine_plan_acpi(d, &error);

    if (!tables)
        problem_add(problems, g_strdup("machine hmat=off"), "%s", error->message);
}

GPtrArray *
machine_check(const struct machine *m)
{
    GPtrArray *problems = definition_check(m->definition);

    if (!problems->len)
        check_tables(m->definition, problems);
    check_host(m->definition, problems);
    return problems;
}

/* --- building --------------------------------------------------------------------------------------------------- */

/* A machine under construction; lives from machine_build to its 'done'. */
struct build {
    struct machine *machine;
    struct definition *definition;      /* the job's own copy */
    struct topology_final topology;
    struct guest_map *map;
    struct boot_files *files;           /* of a kernel that is a file: in memory already */
    char *warning;
    GError *error;
    void (*done)(void *self, const GError *error);
    void *self;
};

/* The workload guest comes later: it is small, and wants its memory cleared first. */
static void
build_load(struct build *b)
{
    if (!b->map || parts_is_workload(b->definition))
        return;
    b->files = boot_files_open(b->definition->kernel, b->definition->initrd, &b->error);
    if (b->files)
        boot_load_files(b->files, b->map, &b->error);
}

static void
build_memory(struct job *job, void *data)
{
    struct build *b = data;

    b->machine->progress.job = job;
    b->map = machine_make_map(b->definition, &b->topology, &b->machine->progress, &b->warning, &b->error);
    build_load(b);
}

static void
forget_guest(struct machine *m)
{
    m->launched = m->awaits = false;
    atomic_store(&m->ran, false);
    atomic_store(&m->shut_down, false);
    machine_forget_wishes(m);
}

static bool
build_finish(struct build *b, GError **error)
{
    struct machine *m = b->machine;
    struct parts *p = parts_new(m, &b->topology, g_steal_pointer(&b->map), error);

    if (!p)
        return false;
    m->parts = p;
    p->memory_warning = g_steal_pointer(&b->warning);
    p->files_loaded = b->files;
    p->files = g_steal_pointer(&b->files);
    forget_guest(m);
    if (parts_load(p, b->definition, error))
        return true;
    m->parts = NULL;
    parts_free(p);
    return false;
}

static void
build_free(void *data)
{
    struct build *b = data;

    guest_map_free(b->map);
    boot_files_free(b->files);
    definition_free(b->definition);
    g_free(b->warning);
    g_clear_error(&b->error);
    g_free(b);
}

static void
build_done(struct job *job, void *data)
{
    struct build *b = data;
    struct machine *m = b->machine;

    m->building = false;
    if (!b->error && !b->map)
        fail(&b->error, NUMON_ERROR_STATE, "the machine was not built: the session ends");
    if (!b->error)
        build_finish(b, &b->error);
    machine_changed(m);
    b->done(b->self, b->error);
    build_free(b);
}

static void
build_refused(void *data)
{
    struct build *b = data;

    b->done(b->self, b->error);
}

static bool
can_build(struct machine *m, bool checked, GError **error)
{
    g_autoptr(GPtrArray) problems = NULL;

    if (m->building)
        return fail(error, NUMON_ERROR_STATE, "cannot build the machine: it is just being built");
    if (m->parts)
        return fail(error, NUMON_ERROR_STATE, "cannot build the machine: it is built already");
    if (checked)
        return true;
    problems = machine_check(m);
    if (problems->len) {
        const struct problem *first = g_ptr_array_index(problems, 0);

        return fail(error, NUMON_ERROR_ARGUMENT, "cannot build the machine: %s (`check` lists %u problem%s)",
                    first->text, problems->len, problems->len == 1 ? "" : "s");
    }
    return true;
}

/* What is there when a machine is built was not plugged hot. */
static void
forget_hotplugged(struct definition *d)
{
    for (guint i = 0; i < d->devices->len; i++)
        g_array_index(d->devices, struct memory_device, i).hotplugged = false;
}

static void
begin_build(struct machine *m, bool checked, void (*done)(void *self, const GError *error), void *self)
{
    struct build *b = g_new0(struct build, 1);

    *b = (struct build) { .machine = m, .done = done, .self = self };
    forget_hotplugged(m->definition);
    b->definition = definition_copy(m->definition);
    if (can_build(m, checked, &b->error)) {
        m->building = true;
        machine_progress_begin(m);
        definition_complete(b->definition, &b->topology);
        job_start(m->jobs, build_memory, build_done, b);
        return;
    }
    /* Told through the mailbox, so that 'done' never comes from within. */
    mailbox_post(m->mailbox, build_refused, b, build_free);
}

void
machine_build(struct machine *m, void (*done)(void *self, const GError *error), void *self)
{
    begin_build(m, false, done, self);
}

void
machine_build_checked(struct machine *m, void (*done)(void *self, const GError *error), void *self)
{
    begin_build(m, true, done, self);
}

/* --- tearing down ----------------------------------------------------------------------------------------------- */

static bool
can_tear_down(struct machine *m, bool force, GError **error)
{
    if (m->building)
        return fail(error, NUMON_ERROR_STATE, "cannot tear the machine down: it is just being built");
    if (m->verify_busy)
        return fail(error, NUMON_ERROR_STATE, "cannot tear the machine down: a verification runs");
    if (m->measurements || m->latency || m->dirtyings)
        return fail(error, NUMON_ERROR_STATE, "cannot tear the machine down: its memory is being measured");
    if (m->populating)
        return fail(error, NUMON_ERROR_STATE, "cannot tear the machine down: memory is being preallocated");
    if (m->resetting && !force)
        return fail(error, NUMON_ERROR_STATE, "cannot tear the machine down: the guest is being reset "
                    "(`enter_preconfig -f`)");
    if (force)
        return true;
    if (machine_running(m))
        return fail(error, NUMON_ERROR_STATE,
                    "cannot tear the machine down: the guest runs (`stop` it, or `enter_preconfig -f`)");
    /* Its source has been told that it is here, or is just being told. */
    if (machine_arriving(m) && !session_may_cancel(m->incoming, NULL))
        return fail(error, NUMON_ERROR_STATE, "cannot tear the machine down: a guest is just arriving "
                    "(`enter_preconfig -f`)");
    if (machine_out_lives(m))
        return fail(error, NUMON_ERROR_STATE, "cannot tear the machine down: a migration is not settled "
                    "(`migrate_cancel`, `migrate_outcome`, or `enter_preconfig -f`)");
    return true;
}

bool
machine_teardown(struct machine *m, bool force, GError **error)
{
    if (!m->parts && !m->building)
        return true;
    if (!can_tear_down(m, force, error))
        return false;
    machine_abandon_reset(m);
    machine_free_sessions(m);
    machine_settle_arrivals(m);
    machine_forget_dirty_rate(m);
    parts_free(m->parts);
    m->parts = NULL;
    forget_hotplugged(m->definition);
    forget_guest(m);
    machine_freeze(m, false);
    machine_changed(m);
    return true;
}

/* --- looking in ------------------------------------------------------------------------------------------------- */

const char *
machine_accel(const struct machine *m)
{
    return m->parts ? m->parts->class->name : NULL;
}

const char *
machine_accel_warning(const struct machine *m)
{
    return m->parts ? m->parts->accel_warning : NULL;
}

const char *
machine_dirty_log(const struct machine *m)
{
    return m->parts && m->parts->class->dirty_log ? m->parts->class->dirty_log(m->parts->accel) : NULL;
}

const char *
machine_accel_reason(const struct machine *m)
{
    return m->parts ? m->parts->accel_reason : NULL;
}

const struct topology_final *
machine_topology(const struct machine *m)
{
    return m->parts ? &m->parts->topology : NULL;
}

const struct guest_map *
machine_map(const struct machine *m)
{
    return m->parts ? m->parts->map : NULL;
}

const struct bus *
machine_bus(const struct machine *m)
{
    return m->parts ? m->parts->bus : NULL;
}

GVariant *
machine_accel_facts(struct machine *m)
{
    GVariantBuilder dict;

    if (!m->parts)
        return NULL;
    g_variant_builder_init(&dict, G_VARIANT_TYPE_VARDICT);
    if (m->parts->class->inform)
        m->parts->class->inform(m->parts->accel, &dict);
    return g_variant_builder_end(&dict);
}

struct run *
machine_run(struct machine *m)
{
    return m->parts ? m->parts->run : NULL;
}

struct serial *
machine_serial(struct machine *m, unsigned port)
{
    return m->parts ? m->parts->serials[port] : NULL;
}

struct migrate_parameters *
machine_parameters(struct machine *m)
{
    return &m->parameters;
}

struct migrate_capabilities *
machine_capabilities(struct machine *m)
{
    return &m->capabilities;
}

struct session *
machine_session(struct machine *m)
{
    return m->last;
}
