/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Memory devices of a built machine: one comes (its memory is made in a job, then put into the map with the vCPUs held
 * off), one goes.  The definition follows, so that a peer, a saved script and a later build have the same; slots and
 * addresses become explicit with the first change, as devices that come or go do not move others. */
#include "machine-private.h"

#include <string.h>

/* --- may they change -------------------------------------------------------------------------------------------- */

static bool
can_change(struct machine *m, const char *attempt, GError **error)
{
    if (!m->parts)
        return fail(error, NUMON_ERROR_STATE, "cannot %s: the machine is not built", attempt);
    if (m->populating)
        return fail(error, NUMON_ERROR_STATE, "cannot %s: memory is being preallocated", attempt);
    if (machine_switching(m))
        return fail(error, NUMON_ERROR_STATE, "cannot %s: a migration is in progress, and the destination has the "
                    "devices that were there at its start (`migrate_cancel` ends it)", attempt);
    if (machine_awaits_incoming(m))
        return fail(error, NUMON_ERROR_STATE, "cannot %s: this machine waits for an incoming guest (in preconfig "
                    "device_add gives it what the source has)", attempt);
    if (run_reasons(m->parts->run) & STOP_MIGRATE)
        return fail(error, NUMON_ERROR_STATE, "cannot %s: the guest was migrated away", attempt);
    if (m->measurements)
        return fail(error, NUMON_ERROR_STATE, "cannot %s: the memory's usage is being measured", attempt);
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

    if (m->parts && !can_change(m, "add a device", error))
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
    struct definition *definition;      /* as it will be; owned until then */
    struct device_place place;          /* its device borrowed from 'definition' */
    struct block *block;                /* owned until it is in the map */
    GError *error;
    void (*done)(void *self, const GError *error);
    void *self;
};

/* With the vCPUs held off; a reset that the guest asked for keeps its own hold. */
static void
let_go(struct machine *m)
{
    if (!atomic_load(&m->reset_wanted))
        run_release(m->parts->run, STOP_CHANGE, NULL);
    else
        machine_reset_if_wanted(m);
}

static bool
attach(void *self, GError **error)
{
    struct plug *p = self;
    struct parts *parts = p->machine->parts;

    guest_map_take_block(parts->map, p->block);
    machine_map_device(parts->map, p->block, &p->place, parts->topology.node_count > 0);
    if (!parts->class->memory_added ||
        parts->class->memory_added(parts->accel, guest_map_find(parts->map, p->place.addr), error))
        return true;
    guest_map_remove_block(parts->map, p->block);
    return false;
}

static bool
detach(void *self, GError **error)
{
    struct plug *p = self;
    struct parts *parts = p->machine->parts;

    if (parts->class->memory_removed && !parts->class->memory_removed(parts->accel, p->block, error))
        return false;
    guest_map_remove_block(parts->map, p->block);
    return true;
}

/* Also a step that can be undone once the machine is torn down. */
static void
adopt_definition(struct machine *m, struct definition *d)
{
    undo_record(m->undo, m->definition, d);
    definition_free(m->definition);
    m->definition = d;
}

static void
tell_plugged(struct machine *m, const struct device_place *p)
{
    g_autofree char *size = size_format(p->size);
    g_autofree char *text = g_strdup_printf("memory device '%s' added: %s of %s at 0x%" G_GINT64_MODIFIER "x",
                                            memory_device_label(p->device), memory_device_names[p->device->kind], size,
                                            p->addr);

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

static void
plug_finish(struct plug *p)
{
    struct machine *m = p->machine;
    bool ok;

    if (p->error || !can_change(m, "add the device", &p->error))
        return;
    run_hold(m->parts->run, STOP_CHANGE);
    ok = hub_add_block(m->parts->hub, p->block, attach, p, &p->error);
    let_go(m);
    if (!ok)
        return;
    p->block = NULL;
    adopt_definition(m, g_steal_pointer(&p->definition));
    tell_plugged(m, &p->place);
}

static void
plug_free(struct plug *p)
{
    block_free(p->block);
    definition_free(p->definition);
    g_clear_error(&p->error);
    g_free(p);
}

static void
plug_done(struct job *job, void *data)
{
    struct plug *p = data;

    p->machine->populating = NULL;
    plug_finish(p);
    p->done(p->self, p->error);
    plug_free(p);
}

bool
machine_device_add(struct machine *m, enum memory_device_kind kind, const struct values *v,
                   void (*done)(void *self, const GError *error), void *self, GError **error)
{
    g_autofree struct device_place *places = NULL;
    struct definition *d;
    struct plug *p;

    if (!can_change(m, "add a device", error))
        return false;
    d = with_device(m, kind, v, error);
    if (!d)
        return false;
    if (!has_slot(m, error)) {
        definition_free(d);
        return false;
    }
    g_array_index(d->devices, struct memory_device, d->devices->len - 1).hotplugged = true;
    places = definition_device_places(d);
    p = g_new0(struct plug, 1);
    *p = (struct plug) { .machine = m, .definition = d, .place = places[d->devices->len - 1], .done = done, .self = self };
    machine_progress_begin(m);
    m->populating = job_start(m->jobs, plug_work, plug_done, p);
    return true;
}

/* --- deleting --------------------------------------------------------------------------------------------------- */

/* The block made of a backend. */
static struct block *
device_block(const struct machine *m, const char *memdev)
{
    for (unsigned i = 0; i < m->parts->map->blocks->len; i++) {
        struct block *b = g_ptr_array_index(m->parts->map->blocks, i);

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
machine_device_delete(struct machine *m, const char *name, GError **error)
{
    const struct memory_device *device = definition_device(m->definition, name);
    struct plug p = { .machine = m };
    g_autofree char *text = g_strdup_printf("memory device '%s' deleted", name);
    bool ok;

    if (!device)
        return fail(error, NUMON_ERROR_ARGUMENT, "Device '%s' not found", name);
    if (!can_change(m, "delete the device", error) || !can_unplug(device, error))
        return false;
    p.block = device_block(m, device->memdev);
    run_hold(m->parts->run, STOP_CHANGE);
    ok = hub_remove_block(m->parts->hub, p.block->index, detach, &p, error);
    let_go(m);
    if (!ok)
        return false;
    block_free(p.block);
    p.definition = definition_copy(m->definition);
    definition_pin_devices(p.definition);
    definition_delete_device(p.definition, name, NULL);
    adopt_definition(m, p.definition);
    machine_tell(m, text);
    return true;
}

/* --- backends of devices to come ---------------------------------------------------------------------------------- */

bool
machine_define_backends(struct machine *m, struct definition *d, GError **error)
{
    if (!m->parts)
        return machine_define(m, d, error);
    if (m->populating) {
        definition_free(d);
        return fail(error, NUMON_ERROR_STATE, "cannot change the memory backends: memory is being preallocated");
    }
    adopt_definition(m, d);
    return true;
}
