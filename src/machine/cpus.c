/* SPDX-License-Identifier: GPL-3.0-or-later */
/* CPUs that come to a built machine.  A vCPU is made in a free slot while the others are parked, and is then one of
 * them: it is run, throttled, pinned, saved and reset with them.  The workload guest has pages and areas for every
 * slot from its start, so its CPU begins to work at once; other kernels find it when they start, and until then it
 * waits to be started.
 *
 * A CPU's registers hold what the guest has put there, so that only a guest that interprets ACPI tables, which can be
 * asked, lets go of one.  The accelerator keeps it then, reset, for the next that comes to the slot. */
#include "machine-private.h"

static bool
can_plug(struct machine *m, const char *attempt, GError **error)
{
    if (!m->parts)
        return fail(error, NUMON_ERROR_STATE, "cannot %s: the machine is not built", attempt);
    if (m->populating)
        return fail(error, NUMON_ERROR_STATE, "cannot %s: memory is being preallocated", attempt);
    if (m->plug_waits)
        return fail(error, NUMON_ERROR_STATE, "cannot %s: a device waits for the guest's reset", attempt);
    if (machine_switching(m))
        return fail(error, NUMON_ERROR_STATE, "cannot %s: a migration is in progress, and the destination has the "
                    "CPUs that were there at its start (`migrate_cancel` ends it)", attempt);
    if (machine_awaits_incoming(m))
        return !machine_arriving(m) ||
               fail(error, NUMON_ERROR_STATE, "cannot %s: this machine waits for an incoming guest (after "
                    "`migrate_cancel` it can be given what the source has)", attempt);
    if (machine_arriving(m))
        return fail(error, NUMON_ERROR_STATE, "cannot %s: the migration that brought the guest is just ending "
                    "(`wait migration`)", attempt);
    if (run_reasons(m->parts->run) & STOP_MIGRATE)
        return fail(error, NUMON_ERROR_STATE, "cannot %s: the guest was migrated away", attempt);
    if (m->verify_busy)
        return fail(error, NUMON_ERROR_STATE, "cannot %s: a verification runs", attempt);
    if (m->resetting)
        return fail(error, NUMON_ERROR_STATE, "cannot %s: the guest is being reset", attempt);
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

    if (m->parts && !can_plug(m, "add a CPU", error))
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

    if (!can_plug(m, "add a CPU", error))
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

/* --- going ------------------------------------------------------------------------------------------------------ */

bool
machine_cpu_delete(struct machine *m, const char *name, GError **error)
{
    g_autoptr(definition) d = definition_copy(m->definition);
    const struct cpu_device *c = definition_cpu_device(d, name);
    unsigned slot = c ? c->slot : 0;
    g_autofree char *text = g_strdup_printf("CPU %u: the guest was asked to let go of it", slot);

    if (!definition_delete_device(d, name, error) || !can_plug(m, "delete a CPU", error))
        return false;
    if (!bays_listen(m->parts->cpus_seen))
        return fail(error, NUMON_ERROR_STATE, "cannot delete CPU %u: the guest works with it, and has not said that "
                    "it can be asked for it back (`enter_preconfig` ends the guest; then it can be deleted)", slot);
    if (!bays_want(m->parts->cpus_seen, slot))
        return fail(error, NUMON_ERROR_STATE, "cannot delete CPU %u: the guest was asked already to let go of it",
                    slot);
    machine_tell(m, text);
    return true;
}

static bool
unplug(struct machine *m, unsigned slot, GError **error)
{
    struct parts *p = m->parts;

    p->starts[slot] = (struct cpu_start) { .kind = CPU_START_WAIT };
    if (!p->class->vcpu_reset(p->accel, slot, &p->starts[slot], error))
        return false;
    run_remove_cpu(p->run, slot);
    bit_clear(p->topology.present, slot);
    return true;
}

/* The name of the CPU that was plugged into a slot, to delete it by; NULL if it was there from the start. */
static char *
plugged_name(const struct definition *d, unsigned slot)
{
    for (guint i = 0; i < d->cpus->len; i++)
        if (g_array_index(d->cpus, struct cpu_device, i).slot == slot)
            return definition_cpu_path(d, slot);
    return NULL;
}

static bool
take_out(struct machine *m, unsigned slot, GError **error)
{
    g_autofree char *name = plugged_name(m->definition, slot);
    g_autoptr(definition) d = definition_copy(m->definition);
    bool ok;

    if (!name)
        return fail(error, NUMON_ERROR_STATE, "the guest let go of CPU %u, which was there from the start: it stays",
                    slot);
    if (!definition_delete_device(d, name, error))
        return false;
    run_hold(m->parts->run, STOP_PLUG);
    ok = unplug(m, slot, error);
    if (ok) {
        machine_adopt(m, g_steal_pointer(&d));
        parts_list_sections(m->parts, m);
    }
    run_release(m->parts->run, STOP_PLUG, NULL);
    return ok;
}

void
machine_settle_cpus(struct machine *m)
{
    struct bays *bays = m->parts->cpus_seen;

    for (unsigned slot = bays_ejected(bays, 0); slot < m->parts->cpu_slots; slot = bays_ejected(bays, slot + 1)) {
        g_autofree char *text = g_strdup_printf("CPU %u deleted: the guest let go of it", slot);
        g_autoptr(GError) error = NULL;

        if (!can_plug(m, "delete a CPU", NULL))
            return;
        if (!take_out(m, slot, &error))
            bays_keep(bays, slot);
        machine_tell(m, error ? error->message : text);
    }
}
