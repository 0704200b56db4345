/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The commands about guest memory: where RAM without backends comes from, what of a backend can be changed live, and
 * the progress of preallocation, which can take minutes. */
#include <string.h>

#include "monitor-private.h"

/* --- progress --------------------------------------------------------------------------------------------------- */

enum { PROGRESS_PERIOD_MS = 1000 };

struct progress {
    struct call *call;
    struct watcher *watcher;
    int64_t next_us;                /* the first line comes after a period */
};

static bool
show_progress(void *data)
{
    struct progress *p = data;
    int64_t now = g_get_monotonic_time();
    g_autofree char *line = NULL;
    uint64_t done, total;

    if (now < p->next_us || !machine_preallocating(p->call->monitor->machine, &done, &total))
        return false;
    p->next_us = now + PROGRESS_PERIOD_MS * 1000;
    line = g_strdup_printf("preallocated %" G_GUINT64_FORMAT " of %" G_GUINT64_FORMAT " MiB", done / MIB,
                           total / MIB);
    if (call_redraws(p->call)) {
        call_redraw(p->call, line);
    } else {
        call_print(p->call, "%s\n", line);
        call_flush(p->call);
    }
    return false;
}

struct progress *
progress_start(struct call *call)
{
    struct progress *p = g_new(struct progress, 1);

    *p = (struct progress) { .call = call, .next_us = g_get_monotonic_time() + PROGRESS_PERIOD_MS * 1000 };
    p->watcher = monitor_watch(call->monitor, PROGRESS_PERIOD_MS, show_progress, p);
    return p;
}

void
progress_end(struct progress *p)
{
    if (!p)
        return;
    monitor_unwatch(p->call->monitor, p->watcher);
    g_free(p);
}

/* --- qom_set ---------------------------------------------------------------------------------------------------- */

enum { QOM_SET_ID, QOM_SET_PROPERTY, QOM_SET_VALUE };
static const struct property qom_set_args[] = {
    [QOM_SET_ID] = { "id", PROPERTY_WORD, .required = true, .complete = COMPLETE_BACKEND,
                     .help = "memory backend, as ID or /objects/ID, or virtio-mem device" },
    [QOM_SET_PROPERTY] = { "property", PROPERTY_WORD, .required = true,
                           .help = "merge, dump or prealloc; of a device requested-size" },
    [QOM_SET_VALUE] = { "value", PROPERTY_WORD, .required = true, .help = "on or off; prealloc only on; a size" },
    { 0 }
};

/* A change that takes memory from the host; lives until machine_change_backend reports. */
struct change {
    struct call *call;              /* NULL once detached */
    struct progress *progress;
    struct monitor *monitor;
};

static void
change_forget_call(void *data)
{
    struct change *c = data;

    progress_end(c->progress);
    c->progress = NULL;
    c->call = NULL;
}

static void
change_done(void *self, const GError *error)
{
    struct change *c = self;
    struct call *call = c->call;

    if (call) {
        change_forget_call(c);
        call->data = NULL;
        call->data_free = NULL;
        call_finish(call, error);
    } else if (error) {
        monitor_event(c->monitor, "the preallocation failed: %s", error->message);
    }
    g_free(c);
}

static const char *
without_prefix(const char *id)
{
    return g_str_has_prefix(id, BACKEND_CANONICAL_PREFIX) ? id + strlen(BACKEND_CANONICAL_PREFIX) : id;
}

static bool
edit_backend(struct definition *d, const struct values *v, GError **error)
{
    struct backend_options changed;

    if (!definition_backend_changed(d, without_prefix(v->at[QOM_SET_ID].word), v->at[QOM_SET_PROPERTY].word,
                                    v->at[QOM_SET_VALUE].word, &changed, error))
        return false;
    definition_change_backend(d, &changed);
    return true;
}

/* The machine was asked for a change: what becomes of the call.  'c' belongs to the machine if it is pending. */
static enum outcome
change_begun(struct change *c, bool ok, bool pending)
{
    struct call *call = c->call;

    if (!ok || !pending) {
        g_free(c);
        return ok ? COMMAND_DONE : COMMAND_FAILED;
    }
    c->progress = progress_start(call);
    call->data = c;
    call->data_free = change_forget_call;
    return COMMAND_PENDING;
}

static struct change *
change_new(struct call *call)
{
    struct change *c = g_new(struct change, 1);

    *c = (struct change) { .call = call, .monitor = call->monitor };
    return c;
}

/* A device's only property that can change. */
static enum outcome
set_device(struct call *call, GError **error)
{
    const struct value *at = call->args->at;
    struct change *c;
    bool ok, pending = false;
    uint64_t size;

    if (!name_equal(at[QOM_SET_PROPERTY].word, "requested-size")) {
        fail(error, NUMON_ERROR_ARGUMENT, "cannot change property '%s' of device '%s': only requested-size can "
             "change",
             at[QOM_SET_PROPERTY].word, at[QOM_SET_ID].word);
        return COMMAND_FAILED;
    }
    if (!size_parse(at[QOM_SET_VALUE].word, 1, &size, error))
        return COMMAND_FAILED;
    c = change_new(call);
    ok = machine_device_resize(call->monitor->machine, at[QOM_SET_ID].word, size, change_done, c, &pending, error);
    return change_begun(c, ok, pending);
}

static enum outcome
run_qom_set(struct call *call, GError **error)
{
    const struct value *at = call->args->at;
    struct change *c;
    bool ok, pending = false;

    /* A device without id goes by its backend's: then the property tells which is meant. */
    if (definition_device(machine_definition(call->monitor->machine), at[QOM_SET_ID].word) &&
        (strcmp(at[QOM_SET_PROPERTY].word, "requested-size") == 0 ||
         !definition_backend(machine_definition(call->monitor->machine), at[QOM_SET_ID].word)))
        return set_device(call, error);

    if (!monitor_built(call->monitor))
        return call_edit(call, edit_backend, error);
    c = change_new(call);
    ok = machine_change_backend(call->monitor->machine, without_prefix(at[QOM_SET_ID].word),
                                at[QOM_SET_PROPERTY].word, at[QOM_SET_VALUE].word, change_done, c, &pending, error);
    return change_begun(c, ok, pending);
}

static void
detach_qom_set(struct call *call)
{
    call_print(call, "the preallocation goes on\n");
}

/* --- mem_path, mem_prealloc ------------------------------------------------------------------------------------- */

enum { MEM_PATH_PATH };
static const struct property mem_path_args[] = {
    [MEM_PATH_PATH] = { "path", PROPERTY_WORD, .required = true, .complete = COMPLETE_FILE,
                        .help = "file, or folder for a nameless one; \"\" for ordinary memory" },
    { 0 }
};

enum { MEM_PREALLOC_STATE };
static const struct property mem_prealloc_args[] = {
    [MEM_PREALLOC_STATE] = { "state", PROPERTY_BOOL, .value_default = "on", .help = "whether to preallocate" },
    { 0 }
};

static bool
edit_mem_path(struct definition *d, const struct values *v, GError **error)
{
    return definition_set_mem_path(d, v->at[MEM_PATH_PATH].word, error);
}

static bool
edit_mem_prealloc(struct definition *d, const struct values *v, GError **error)
{
    definition_set_mem_prealloc(d, v->at[MEM_PREALLOC_STATE].flag);
    return true;
}

static enum outcome
run_mem_path(struct call *call, GError **error)
{
    return call_edit(call, edit_mem_path, error);
}

static enum outcome
run_mem_prealloc(struct call *call, GError **error)
{
    return call_edit(call, edit_mem_prealloc, error);
}

/* --- vcpu_pin --------------------------------------------------------------------------------------------------- */

enum { PIN_VCPU, PIN_CPUS, PIN_NODE };
static const struct property vcpu_pin_args[] = {
    [PIN_VCPU] = { "vcpu", PROPERTY_UINT, .max = TOPOLOGY_CPUS - 1, .required = true, .help = "CPU of the guest" },
    [PIN_CPUS] = { "cpus", PROPERTY_LIST, .max = HOST_CPUS - 1, .help = "host CPUs that it may run on" },
    [PIN_NODE] = { "node", PROPERTY_UINT, .max = HOST_NODES - 1, .help = "or all those of a host node" },
    { 0 }
};

static bool
cpus_of_node(unsigned node, uint64_t *ret, GError **error)
{
    uint64_t nodes[WORDS_FOR(HOST_NODES)];
    struct host_node host;
    g_autofree char *list = NULL;

    host_nodes(nodes);
    list = list_format(nodes, HOST_NODES);
    if (!bit_test(nodes, node))
        return fail(error, NUMON_ERROR_ARGUMENT, "cannot pin to host node %u: this host has %s %s", node,
                    strpbrk(list, ",-") ? "nodes" : "only node", list);
    host_node_read(node, &host);
    if (bits_count(host.cpus, HOST_CPUS) == 0)
        return fail(error, NUMON_ERROR_ARGUMENT, "cannot pin to host node %u: it has no CPUs", node);
    memcpy(ret, host.cpus, sizeof host.cpus);
    return true;
}

/* The host CPUs that were asked for; the kernel would pass over those that do not exist. */
static bool
pin_target(const struct value *at, uint64_t *ret, GError **error)
{
    uint64_t there[WORDS_FOR(HOST_CPUS)];

    if (at[PIN_CPUS].set == at[PIN_NODE].set)
        return fail(error, NUMON_ERROR_ARGUMENT, "vcpu_pin needs either cpus=LIST or node=N");
    if (at[PIN_NODE].set)
        return cpus_of_node((unsigned)at[PIN_NODE].number, ret, error);
    host_cpus(there);
    for (unsigned cpu = 0; cpu < HOST_CPUS; cpu++) {
        if (!bit_test(at[PIN_CPUS].words, cpu) || bit_test(there, cpu))
            continue;
        g_autofree char *list = list_format(there, HOST_CPUS);

        return fail(error, NUMON_ERROR_ARGUMENT, "cannot pin to host CPU %u: this host has CPUs %s", cpu, list);
    }
    memcpy(ret, at[PIN_CPUS].words, sizeof there);
    return true;
}

static enum outcome
run_vcpu_pin(struct call *call, GError **error)
{
    struct machine *machine = call->monitor->machine;
    const struct value *at = call->args->at;
    const struct topology_final *topology = machine_topology(machine);
    uint64_t cpus[WORDS_FOR(HOST_CPUS)];

    if (!topology_has_cpu(topology, at[PIN_VCPU].number)) {
        g_autofree char *there = topology_spell_cpus(topology);

        fail(error, NUMON_ERROR_ARGUMENT, "cannot pin vCPU %" G_GUINT64_FORMAT ": the guest has %s",
             at[PIN_VCPU].number, there);
        return COMMAND_FAILED;
    }
    return pin_target(at, cpus, error) && run_pin(machine_run(machine), (unsigned)at[PIN_VCPU].number, cpus, error)
               ? COMMAND_DONE : COMMAND_FAILED;
}

static const struct command memory_commands[] = {
    { .name = "mem_path", .summary = "take RAM without backend from a file", .form = FORM_WORDS,
      .args = mem_path_args, .option = "-mem-path", .when = WHEN_PRECONFIG, .run = run_mem_path,
      .details = "If that fails when the machine is built, ordinary memory is used and a warning says why; with "
                 "mem_prealloc it is an error." },
    { .name = "mem_prealloc", .summary = "take all RAM from the host before the guest starts", .form = FORM_WORDS,
      .args = mem_prealloc_args, .option = "-mem-prealloc", .when = WHEN_PRECONFIG, .run = run_mem_prealloc,
      .details = "Also that of backends, but for those with reserve=off and those of a virtio-mem." },
    { .name = "qom_set", .summary = "change a property of a memory backend or device", .form = FORM_WORDS,
      .args = qom_set_args,
      .when = WHEN_ALWAYS, .run = run_qom_set, .detach = detach_qom_set,
      .details = "merge and dump can be changed at any time, and prealloc from off to on; the guest may run." },
    { .name = "vcpu_pin", .summary = "let a vCPU run on some host CPUs only", .form = FORM_PAIRS,
      .args = vcpu_pin_args, .when = WHEN_BUILT, .run = run_vcpu_pin,
      .details = "Either cpus or node.  Also before the guest runs; info cpus -a shows it." },
    { .name = "walk", .summary = "follow an address through every layer of memory", .form = FORM_WORDS,
      .args = walk_args, .when = WHEN_BUILT, .run = walk_run,
      .details = "From the guest's address to the host node of its page.  A virtual address stops the CPUs for a "
                 "moment." },
    { 0 }
};

const struct command_group memory_group = { .title = "Guest memory", .commands = memory_commands };
