/* SPDX-License-Identifier: GPL-3.0-or-later */
/* CPUs that come to a built machine.  A vCPU is made in a free slot while the others are parked, and is then one of
 * them: it is run, throttled, pinned, saved and reset with them.  The workload guest has pages and areas for every slot
 * from its start, so its CPU begins to work at once; other kernels find it when they start, and until then it waits to
 * be started.
 *
 * Nobody takes a CPU away again: its registers hold what the guest has put there, and only the guest can let go of it. */
#include "machine-private.h"

static bool
can_plug(struct machine *m, GError **error)
{
    if (!m->parts)
        return fail(error, NUMON_ERROR_STATE, "cannot add a CPU: the machine is not built");
    if (m->populating)
        return fail(error, NUMON_ERROR_STATE, "cannot add a CPU: memory is being preallocated");
    if (machine_switching(m))
        return fail(error, NUMON_ERROR_STATE, "cannot add a CPU: a migration is in progress, and the destination has the "
                    "CPUs that were there at its start (`migrate_cancel` ends it)");
    if (machine_awaits_incoming(m))
        return !machine_arriving(m) ||
               fail(error, NUMON_ERROR_STATE, "cannot add a CPU: this machine waits for an incoming guest (after "
                    "`migrate_cancel` it can be given what the source has)");
    if (machine_arriving(m))
        return fail(error, NUMON_ERROR_STATE, "cannot add a CPU: the migration that brought the guest is just ending "
                    "(`wait migration`)");
    if (run_reasons(m->parts->run) & STOP_MIGRATE)
        return fail(error, NUMON_ERROR_STATE, "cannot add a CPU: the guest was migrated away");
    if (m->verify_busy)
        return fail(error, NUMON_ERROR_STATE, "cannot add a CPU: a verification runs");
    return true;
}

/* A copy of the definition with the CPU last; NULL with an error. */
static struct definition *
with_cpu(struct machine *m, const struct values *v, GError **error)
{
    g_autoptr(definition) d = definition_copy(m->definition);

    return definition_add_cpu(d, v, error) ? g_steal_pointer(&d) : NULL;
}

static unsigned
last_slot(const struct definition *d)
{
    return g_array_index(d->cpus, struct cpu_device, d->cpus->len - 1).slot;
}

bool
machine_cpu_plan(struct machine *m, const struct values *v, unsigned *ret_slot, int *ret_node, GError **error)
{
    g_autofree struct topology *t = g_new(struct topology, 1);
    g_autoptr(definition) d = NULL;

    if (m->parts && !can_plug(m, error))
        return false;
    d = with_cpu(m, v, error);
    if (!d)
        return false;
    definition_topology(d, t);
    *ret_slot = last_slot(d);
    *ret_node = topology_cpu_node(t, *ret_slot);
    return true;
}

/* With the vCPUs parked.  A guest that has not begun finds the CPU as one from the start. */
static bool
plug(struct machine *m, unsigned slot, GError **error)
{
    struct parts *p = m->parts;

    boot_start_cpu(p->map, slot, &p->starts[slot]);
    if (!p->class->vcpu_add(p->accel, slot, &p->starts[slot], error) || !run_add_cpu(p->run, slot, error))
        return false;
    bit_set(p->topology.present, slot);
    if (!atomic_load(&m->ran) && !p->class->lays_out_workload)
        boot_update_cpus(&p->topology, definition_told_hmat(m->definition), p->map);
    return true;
}

static void
tell_plugged(struct machine *m, unsigned slot)
{
    const struct topology_final *t = &m->parts->topology;
    g_autoptr(GString) text = g_string_new(NULL);

    g_string_append_printf(text, "CPU %u added: ", slot);
    smp_spell_place(&t->smp, slot, text);
    if (t->node_count)
        g_string_append_printf(text, ", node %u", t->cpu_node[slot]);
    machine_tell(m, text->str);
}

bool
machine_cpu_add(struct machine *m, const struct values *v, GError **error)
{
    g_autoptr(definition) d = NULL;
    unsigned slot;
    bool ok;

    if (!can_plug(m, error))
        return false;
    d = with_cpu(m, v, error);
    if (!d)
        return false;
    slot = last_slot(d);
    run_hold(m->parts->run, STOP_PLUG);
    ok = plug(m, slot, error);
    if (ok)
        parts_list_sections(m->parts, m);
    run_release(m->parts->run, STOP_PLUG, NULL);
    if (!ok)
        return false;
    machine_adopt(m, g_steal_pointer(&d));
    tell_plugged(m, slot);
    bays_inserted(m->parts->cpus_seen, slot);
    return true;
}

bool
machine_cpu_keep(struct machine *m, const char *name, GError **error)
{
    g_autoptr(definition) d = definition_copy(m->definition);
    const struct cpu_device *c = definition_cpu_device(d, name);
    unsigned slot = c ? c->slot : 0;

    if (!definition_delete_device(d, name, error))
        return false;
    return fail(error, NUMON_ERROR_STATE, "cannot delete CPU %u: the guest works with it, and this machine has no way to "
                "ask for it back (`enter_preconfig` ends the guest; then it can be deleted)", slot);
}
