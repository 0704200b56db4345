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
    if (machine_arriving(m))
        return fail(error, NUMON_ERROR_STATE, "cannot %s: the migration that brought the guest is just ending "
                    "(`wait migration`)", attempt);
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

/* The accelerator follows the map, without a block that is about to go. */
static bool
follow(struct parts *p, const struct block *without, GError **error)
{
    g_autoptr(GArray) view = NULL;

    if (!p->class->memory_changed)
        return true;
    view = guest_map_view(p->map, without);
    return p->class->memory_changed(p->accel, view, error);
}

static bool
attach(void *self, GError **error)
{
    struct plug *p = self;
    struct parts *parts = p->machine->parts;

    guest_map_take_block(parts->map, p->block);
    machine_map_device(parts->map, p->block, &p->place, parts->topology.node_count > 0);
    if (follow(parts, NULL, error))
        return true;
    guest_map_remove_block(parts->map, p->block);
    return false;
}

static bool
detach(void *self, GError **error)
{
    struct plug *p = self;
    struct parts *parts = p->machine->parts;

    if (!follow(parts, p->block, error))
        return false;
    guest_map_remove_block(parts->map, p->block);
    return true;
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

    if (!p->error && !p->block)
        fail(&p->error, NUMON_ERROR_STATE, "the device was not added: the session ends");
    if (p->error || !can_change(m, "add the device", &p->error))
        return;
    run_hold(m->parts->run, STOP_CHANGE);
    ok = hub_add_block(m->parts->hub, p->block, attach, p, &p->error);
    let_go(m);
    if (!ok)
        return;
    p->block = NULL;
    machine_adopt(m, g_steal_pointer(&p->definition));
    /* That copy is as old as the job; what was resized since is known to the parts. */
    machine_take_plugged(m);
    parts_list_sections(m->parts, m);
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
    *p = (struct plug) {
        .machine = m, .definition = d, .place = places[d->devices->len - 1], .done = done, .self = self,
    };
    machine_progress_begin(m);
    m->populating = job_start(m->jobs, plug_work, plug_done, p);
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
machine_device_delete(struct machine *m, const char *name, GError **error)
{
    const struct memory_device *device = definition_device(m->definition, name);
    struct plug p = { .machine = m };
    g_autofree char *text = g_strdup_printf("memory device '%s' deleted", name);
    bool ok;

    if (!device)
        return machine_cpu_keep(m, name, error);
    if (!can_change(m, "delete the device", error) || !can_unplug(device, error))
        return false;
    p.block = device_block(m->parts, device->memdev);
    run_hold(m->parts->run, STOP_CHANGE);
    ok = hub_remove_block(m->parts->hub, p.block->index, detach, &p, error);
    let_go(m);
    if (!ok)
        return false;
    block_free(p.block);
    p.definition = definition_copy(m->definition);
    definition_pin_devices(p.definition);
    definition_delete_device(p.definition, name, NULL);
    machine_adopt(m, p.definition);
    parts_list_sections(m->parts, m);
    machine_tell(m, text);
    return true;
}

/* --- how much of a virtio-mem is plugged ------------------------------------------------------------------------ */

static bool
save_plugged(void *object, GError **error)
{
    struct plugged *p = object;

    p->state = atomic_load(&p->size);
    return true;
}

/* Pages that came for what is not plugged are zeros, as the source discarded them, or nobody's: so they need not be
 * there either. */
static bool
load_plugged(void *object, GError **error)
{
    struct plugged *p = object;

    if (p->state > p->block->size || p->state % p->block->page_size || p->state % p->block_size)
        return fail(error, NUMON_ERROR_PEER, "virtio-mem of '%s': %" G_GUINT64_FORMAT " bytes plugged of %"
                    G_GUINT64_FORMAT, p->block->name, p->state, p->block->size);
    atomic_store(&p->size, p->state);
    return block_discard_range(p->block, p->state, p->block->size - p->state, error);
}

static const struct state_field plugged_fields[] = {
    { "size", STATE_U64, offsetof(struct plugged, state) },
    { 0 }
};

void
machine_release_plugged(struct parts *p)
{
    g_clear_pointer(&p->plugged, g_free);
    g_clear_pointer(&p->plugged_sections, g_free);
    p->plugged_count = 0;
}

void
machine_list_plugged(struct parts *p, const struct definition *d)
{
    machine_release_plugged(p);
    p->plugged = g_new0(struct plugged, d->devices->len + 1);
    p->plugged_sections = g_new0(struct state_section, d->devices->len + 1);
    for (guint i = 0; i < d->devices->len; i++) {
        const struct memory_device *device = &g_array_index(d->devices, struct memory_device, i);
        struct plugged *to = &p->plugged[p->plugged_count];

        if (device->kind != DEVICE_VIRTIO_MEM)
            continue;
        to->block = device_block(p, device->memdev);
        to->block_size = device->block_size;
        atomic_store(&to->size, device->requested_size);
        p->plugged_sections[p->plugged_count] = (struct state_section) {
            "virtio-mem", p->plugged_count, 1, plugged_fields, to, save_plugged, load_plugged,
        };
        p->plugged_count++;
    }
}

/* The device made of the block. */
static struct memory_device *
device_of_block(struct definition *d, const struct block *b)
{
    const struct memory_device *device = definition_device_of_backend(d, b->options.id);

    return device ? &g_array_index(d->devices, struct memory_device, device - (struct memory_device *)d->devices->data)
                  : NULL;
}

void
machine_take_plugged(void *machine)
{
    struct machine *m = machine;

    for (unsigned i = 0; m->parts && i < m->parts->plugged_count; i++) {
        struct plugged *p = &m->parts->plugged[i];
        struct memory_device *device = device_of_block(m->definition, p->block);

        if (device)
            device->requested_size = atomic_load(&p->size);
    }
}

/* What goes is discarded first and marked then: a migration under way sends zeros for it, and its destination discards
 * it too when it learns how much is plugged. */
static bool
resize(struct machine *m, struct plugged *p, uint64_t size, GError **error)
{
    uint64_t now = atomic_load(&p->size);

    if (size < now && !block_discard_range(p->block, size, now - size, error))
        return false;
    if (size < now)
        hub_mark(m->parts->hub, p->block, size / PAGE_SIZE, (now - size) / PAGE_SIZE);
    atomic_store(&p->size, size);
    return true;
}

bool
machine_device_resize(struct machine *m, const char *name, uint64_t size, GError **error)
{
    g_autoptr(definition) d = definition_copy(m->definition);
    struct plugged *p = NULL;
    bool ok;

    if (!definition_resize_device(d, name, size, error))
        return false;
    if (!m->parts)
        return machine_define(m, g_steal_pointer(&d), error);
    if (machine_awaits_incoming(m))
        return fail(error, NUMON_ERROR_STATE, "cannot change the requested size: it comes with the guest");
    for (unsigned i = 0; i < m->parts->plugged_count; i++)
        if (strcmp(m->parts->plugged[i].block->options.id, definition_device(d, name)->memdev) == 0)
            p = &m->parts->plugged[i];
    g_assert(p);
    if (!machine_writes_begin(m, "change the requested size", error))
        return false;
    ok = resize(m, p, size, error);
    machine_writes_end(m);
    if (ok) {
        g_autofree char *now = size_format(size);
        g_autofree char *text = g_strdup_printf("memory device '%s' has %s plugged", name, now);

        machine_take_plugged(m);
        machine_tell(m, text);
    }
    return ok;
}

/* --- backends of devices to come ---------------------------------------------------------------------------------- */

bool
machine_define_backends(struct machine *m, struct definition *d, GError **error)
{
    if (!m->parts)
        return machine_define(m, d, error);
    /* A session's thread reads the definition. */
    if (!can_change(m, "change the memory backends", error)) {
        definition_free(d);
        return false;
    }
    machine_adopt(m, d);
    return true;
}
