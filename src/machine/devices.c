/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Memory devices of a built machine: one comes (its memory is made in a job, then put into the map with the vCPUs
 * held off), one goes.  The definition follows, so that a peer, a saved script and a later build have the same; slots
 * and addresses become explicit with the first change, as devices that come or go do not move others. */
#include "machine-private.h"

#include <string.h>

/* --- may they change -------------------------------------------------------------------------------------------- */

/* The same while a migration is under way, or awaited: what comes joins it, what would go must stay. */
static bool
can_change_moving(struct machine *m, const char *attempt, bool comes, GError **error)
{
    bool stopped = run_reasons(m->parts->run) & STOP_MIGRATE;

    if (machine_switching(m) && !comes)
        return fail(error, NUMON_ERROR_STATE, "cannot %s: a migration is in progress, and what moves must stay "
                    "(`migrate_cancel` ends it)", attempt);
    if (machine_switching(m) && stopped)
        return fail(error, NUMON_ERROR_STATE, "cannot %s: the guest is being handed over by a migration", attempt);
    if (machine_awaits_incoming(m) && machine_arriving(m))
        return fail(error, NUMON_ERROR_STATE, "cannot %s: this machine waits for an incoming guest (after "
                    "`migrate_cancel` it can be given what the source has)", attempt);
    if (machine_awaits_incoming(m))
        return true;
    if (machine_arriving(m))
        return fail(error, NUMON_ERROR_STATE, "cannot %s: the migration that brought the guest is just ending "
                    "(`wait migration`)", attempt);
    return !stopped || fail(error, NUMON_ERROR_STATE, "cannot %s: the guest was migrated away", attempt);
}

bool
machine_may_change_devices(struct machine *m, const char *attempt, bool comes, GError **error)
{
    if (!m->parts)
        return fail(error, NUMON_ERROR_STATE, "cannot %s: the machine is not built", attempt);
    if (m->populating || m->plug_waits)
        return fail(error, NUMON_ERROR_STATE, "cannot %s: %s", attempt,
                    m->populating ? "memory is being preallocated" : "another device waits for the guest's reset");
    if (m->resetting && !comes)
        return fail(error, NUMON_ERROR_STATE, "cannot %s: the guest is being reset", attempt);
    if (!can_change_moving(m, attempt, comes, error))
        return false;
    if (m->measurements || m->latency || m->dirtyings)
        return fail(error, NUMON_ERROR_STATE, "cannot %s: the memory is being measured", attempt);
    if (m->verify_busy)
        return fail(error, NUMON_ERROR_STATE, "cannot %s: a verification runs", attempt);
    return true;
}

/* The accelerator's own limit. */
static bool
has_slot(struct machine *m, GError **error)
{
    return !m->parts->class->memory_room || m->parts->class->memory_room(m->parts->accel, error);
}

/* A copy of the definition with the device last; NULL with an error. */
static struct definition *
with_device(struct machine *m, enum memory_device_kind kind, const struct values *v, GError **error)
{
    g_autoptr(definition) d = definition_copy(m->definition);

    if (!definition_add_device(d, kind, v, error))
        return NULL;
    definition_pin_devices(d);
    return g_steal_pointer(&d);
}

bool
machine_device_plan(struct machine *m, enum memory_device_kind kind, const struct values *v, uint64_t *ret_addr,
                    int *ret_slot, GError **error)
{
    g_autoptr(definition) d = NULL;
    const struct memory_device *device;

    if (m->parts && !machine_may_change_devices(m, "add a device", true, error))
        return false;
    d = with_device(m, kind, v, error);
    if (!d || (m->parts && !has_slot(m, error)))
        return false;
    device = &g_array_index(d->devices, struct memory_device, d->devices->len - 1);
    *ret_addr = device->addr;
    *ret_slot = device->slot;
    return true;
}

/* --- the map changes -------------------------------------------------------------------------------------------- */

struct plug {
    struct machine *machine;
    struct migrate_arrival *arrival;    /* it comes with a guest; else NULL */
    bool with_backend;                  /* so does its backend */
    struct definition *definition;      /* as it will be; owned until then */
    struct device_place place;          /* its device borrowed from 'definition' */
    struct block *block;                /* owned until it is in the map */
    GError *error;
    void (*done)(void *self, const GError *error);      /* of one that the user adds */
    void *self;
};

/* Whoever is told of the block finds the device in 'coming'. */
static bool
attach(void *self, GError **error)
{
    struct plug *p = self;
    struct parts *parts = p->machine->parts;
    bool ok;
    struct section s = machine_device_section(p->block, &p->place, parts->topology.node_count > 0);

    p->machine->coming = p->definition;
    ok = guest_map_plug(parts->map, p->block, &s, error);
    p->machine->coming = NULL;
    return ok;
}

static bool
detach(void *self, GError **error)
{
    struct plug *p = self;

    return guest_map_unplug(p->machine->parts->map, p->block, error);
}

/* All sections anew, also for the migration that the device joins. */
static void
list_sections(struct machine *m)
{
    parts_list_sections(m->parts, m);
    machine_hand_sections(m);
}

static void
tell_plugged(struct machine *m, const struct plug *plug)
{
    const struct device_place *p = &plug->place;
    g_autofree char *size = size_format(p->size);
    g_autofree char *text = g_strdup_printf("memory device '%s' %s: %s of %s at 0x%" G_GINT64_MODIFIER "x",
                                            memory_device_label(p->device),
                                            plug->arrival ? "came with the guest" : "added",
                                            memory_device_names[p->device->kind], size, p->addr);

    machine_tell(m, text);
}

/* --- adding ----------------------------------------------------------------------------------------------------- */

static void
plug_work(struct job *job, void *data)
{
    struct plug *p = data;

    p->machine->progress.job = job;
    p->block = machine_make_device(p->definition, &p->place, &p->machine->progress, &p->error);
}

static bool
put_into_map(struct plug *p)
{
    struct machine *m = p->machine;
    struct definition *d;
    bool ok;

    run_hold(m->parts->run, STOP_PLUG);
    lock_take(&m->mapping);
    ok = hub_add_block(m->parts->hub, p->block, attach, p, &p->error);
    lock_drop(&m->mapping);
    if (ok) {
        p->block = NULL;
        d = g_steal_pointer(&p->definition);
        machine_adopt(m, d);
        /* That copy is as old as the job; what was resized since is known to the parts. */
        machine_take_plugged(m);
        list_sections(m);
    }
    run_release(m->parts->run, STOP_PLUG, NULL);
    return ok;
}

static bool
may_plug(struct plug *p)
{
    if (p->error)
        return false;
    if (!p->block)
        return fail(&p->error, NUMON_ERROR_STATE, "the device was not added: the session ends");
    if (p->arrival)
        return migrate_arrival_wanted(p->arrival)
            || fail(&p->error, NUMON_ERROR_STATE, "the device was not added: the migration has ended");
    return machine_may_change_devices(p->machine, "add the device", true, &p->error);
}

static void
plug_finish(struct plug *p)
{
    struct machine *m = p->machine;
    bool ok;

    if (!may_plug(p))
        return;
    if (p->arrival) {
        ok = put_into_map(p);
    } else {
        /* A migration that comes to its end either sees the block, or keeps it out. */
        if (!machine_writes_begin(m, "add the device", &p->error))
            return;
        ok = put_into_map(p);
        /* The guest is told before its devices may be saved, so that the word goes with it. */
        if (ok)
            machine_device_came(m, &p->place);
        machine_writes_end(m);
    }
    if (ok && p->arrival)
        machine_note_arrival(m, p->place.device, p->with_backend);
    if (ok)
        tell_plugged(m, p);
}

static void
plug_free(struct plug *p)
{
    block_free(p->block);
    definition_free(p->definition);
    g_clear_error(&p->error);
    g_free(p);
}

/* Not before a guest that is being reset has its memory again. */
static void
plug_settled(void *data, const GError *of_reset)
{
    struct plug *p = data;

    p->machine->plug_waits = machine_after_reset(p->machine, plug_settled, p);
    if (p->machine->plug_waits)
        return;
    if (of_reset && !p->error)
        p->error = g_error_copy(of_reset);
    plug_finish(p);
    if (p->arrival)
        migrate_arrival_done(p->arrival, p->error);
    else
        p->done(p->self, p->error);
    machine_settle_arrivals(p->machine);
    plug_free(p);
}

static void
plug_done(struct job *job, void *data)
{
    struct plug *p = data;

    p->machine->populating = NULL;
    plug_settled(p, NULL);
}

/* The last device of the definition, which is taken. */
static void
begin_plug(struct machine *m, struct definition *d, const struct plug *how)
{
    g_autofree struct device_place *places = NULL;
    struct plug *p = g_memdup2(how, sizeof *how);

    g_array_index(d->devices, struct memory_device, d->devices->len - 1).hotplugged = true;
    places = definition_device_places(d);
    p->machine = m;
    p->definition = d;
    p->place = places[d->devices->len - 1];
    machine_progress_begin(m);
    m->populating = job_start(m->jobs, plug_work, plug_done, p);
}

bool
machine_device_add(struct machine *m, enum memory_device_kind kind, const struct values *v,
                   void (*done)(void *self, const GError *error), void *self, GError **error)
{
    struct definition *d;

    machine_settle_arrivals(m);
    if (!machine_may_change_devices(m, "add a device", true, error))
        return false;
    d = with_device(m, kind, v, error);
    if (!d)
        return false;
    if (!has_slot(m, error)) {
        definition_free(d);
        return false;
    }
    begin_plug(m, d, &(struct plug) { .done = done, .self = self });
    return true;
}

bool
machine_device_arrive(struct machine *m, struct definition *d, bool with_backend, struct migrate_arrival *a,
                      GError **error)
{
    if (m->populating || m->plug_waits)
        return fail(error, NUMON_ERROR_STATE, "cannot add a device: another is just being added");
    if (!has_slot(m, error))
        return false;
    begin_plug(m, d, &(struct plug) { .arrival = a, .with_backend = with_backend });
    return true;
}

/* --- deleting --------------------------------------------------------------------------------------------------- */

/* The block made of a backend. */
static struct block *
device_block(const struct parts *p, const char *memdev)
{
    for (unsigned i = 0; i < p->map->blocks->len; i++) {
        struct block *b = g_ptr_array_index(p->map->blocks, i);

        if (b->device && strcmp(b->options.id, memdev) == 0)
            return b;
    }
    return NULL;
}

static bool
can_unplug(const struct memory_device *device, GError **error)
{
    if (device->kind != DEVICE_VIRTIO_MEM || device->requested_size == 0)
        return true;
    return fail(error, NUMON_ERROR_STATE, "virtio-mem device cannot get unplugged while some of its memory is still "
                "plugged: %" G_GUINT64_FORMAT " bytes of '%s'", device->requested_size, memory_device_label(device));
}

bool
machine_take_device(struct machine *m, const char *name, const char *backend, GError **error)
{
    struct plug p = { .machine = m };
    bool ok;

    p.block = device_block(m->parts, definition_device(m->definition, name)->memdev);
    run_hold(m->parts->run, STOP_PLUG);
    lock_take(&m->mapping);
    ok = hub_remove_block(m->parts->hub, p.block->index, detach, &p, error);
    lock_drop(&m->mapping);
    if (ok) {
        p.definition = definition_copy(m->definition);
        definition_pin_devices(p.definition);
        definition_delete_device(p.definition, name, NULL);
        if (backend)
            definition_delete_backend(p.definition, backend, NULL);
        machine_adopt(m, p.definition);
        parts_list_sections(m->parts, m);
    }
    run_release(m->parts->run, STOP_PLUG, NULL);
    if (ok)
        block_free(p.block);
    return ok;
}

bool
machine_device_delete(struct machine *m, const char *name, GError **error)
{
    const struct memory_device *device = definition_device(m->definition, name);
    g_autofree char *text = g_strdup_printf("memory device '%s' deleted", name);

    bool asked;

    if (!device)
        return machine_cpu_delete(m, name, error);
    if (!machine_may_change_devices(m, "delete the device", false, error) || !can_unplug(device, error)
        || !machine_ask_for_device(m, device, &asked, error))
        return false;
    if (asked)
        return true;
    if (!machine_take_device(m, name, NULL, error))
        return false;
    machine_tell(m, text);
    return true;
}

/* --- backends of devices to come -------------------------------------------------------------------------------- */

bool
machine_define_backends(struct machine *m, struct definition *d, GError **error)
{
    if (!m->parts)
        return machine_define(m, d, error);
    if (!machine_may_change_devices(m, "change the memory backends", true, error)) {
        definition_free(d);
        return false;
    }
    machine_adopt(m, d);
    return true;
}
