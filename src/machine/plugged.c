/* SPDX-License-Identifier: GPL-3.0-or-later */
/* How much of each virtio-mem is plugged: its first so many bytes, which is the used length of its block.  It changes
 * live, also while a migration runs, and travels in a section of its own. */
#include "machine-private.h"

#include <string.h>

/* --- as it travels ---------------------------------------------------------------------------------------------- */

static bool
save_plugged(void *object, GError **error)
{
    struct plugged *p = object;

    p->state = atomic_load(&p->block->used);
    return true;
}

/* Pages that came for what is not plugged are zeros, as the source discarded them, or nobody's: so they need not be
 * there either.  Until now the used length is what was announced. */
static bool
load_plugged(void *object, GError **error)
{
    struct plugged *p = object;
    uint64_t announced = atomic_load(&p->block->used);

    if (p->state > announced || p->state % p->block->page_size || p->state % p->block_size)
        return fail(error, NUMON_ERROR_PEER, "virtio-mem of '%s': %" G_GUINT64_FORMAT " bytes plugged of %"
                    G_GUINT64_FORMAT, p->block->name, p->state, announced);
    atomic_store(&p->block->used, p->state);
    if (!block_discard_range(p->block, p->state, p->block->size - p->state, error))
        return false;
    /* Memory that is handed over was preallocated by its source, and is only to be looked at yet. */
    return !p->prealloc || atomic_load(&p->block->handed)
        || block_populate_range(p->block, 0, p->state, NULL, error);
}

static const struct state_field plugged_fields[] = {
    { "size", STATE_U64, offsetof(struct plugged, state) },
    { 0 }
};

/* --- the list --------------------------------------------------------------------------------------------------- */

void
machine_release_plugged(struct parts *p)
{
    g_clear_pointer(&p->plugged, g_free);
    g_clear_pointer(&p->plugged_sections, g_free);
    p->plugged_count = 0;
}

/* By address, which both sides of a migration have in common: not so the order of the definition. */
void
machine_list_plugged(struct parts *p, const struct definition *d)
{
    machine_release_plugged(p);
    p->plugged = g_new0(struct plugged, d->devices->len + 1);
    p->plugged_sections = g_new0(struct state_section, d->devices->len + 1);
    for (guint i = 0; i < p->map->sections->len; i++) {
        struct block *b = g_array_index(p->map->sections, struct section, i).block;
        const struct memory_device *device = definition_device_of_backend(d, b->options.id);
        struct plugged *to = &p->plugged[p->plugged_count];

        if (!b->resizable || !device)
            continue;
        *to = (struct plugged) { .block = b, .block_size = device->block_size, .prealloc = device->prealloc,
                                .defined = device->requested_size };
        p->plugged_sections[p->plugged_count] = (struct state_section) {
            "virtio-mem", p->plugged_count, 1, plugged_fields, to, save_plugged, load_plugged,
        };
        p->plugged_count++;
    }
}

void
machine_reset_plugged(struct parts *p)
{
    for (unsigned i = 0; i < p->plugged_count; i++)
        atomic_store(&p->plugged[i].block->used, p->plugged[i].defined);
}

/* The device made of the block. */
static struct memory_device *
device_of_block(struct definition *d, const struct block *b)
{
    const struct memory_device *device = definition_device_of_backend(d, b->options.id);

    return device ? &g_array_index(d->devices, struct memory_device,
                                   device - (struct memory_device *)d->devices->data)
                  : NULL;
}

void
machine_take_plugged(void *machine)
{
    struct machine *m = machine;
    /* In place: who has just added a device still looks at it there. */
    g_autoptr(definition) before = definition_copy(m->definition);

    for (unsigned i = 0; m->parts && i < m->parts->plugged_count; i++) {
        struct plugged *p = &m->parts->plugged[i];
        struct memory_device *device = device_of_block(m->definition, p->block);

        p->defined = atomic_load(&p->block->used);
        if (device)
            device->requested_size = p->defined;
    }
    undo_record(m->undo, before, m->definition);
}

/* --- changing it ------------------------------------------------------------------------------------------------ */

/* What goes is discarded first and marked then: a migration under way sends zeros for it, and its destination
 * discards it too when it learns how much is plugged. */
static bool
resize(struct machine *m, struct block *b, uint64_t size, GError **error)
{
    uint64_t now = atomic_load(&b->used);

    if (size < now && !block_discard_range(b, size, now - size, error))
        return false;
    if (size < now)
        hub_mark(m->parts->hub, b, size / PAGE_SIZE, (now - size) / PAGE_SIZE);
    guest_map_resize(m->parts->map, b, size);
    return true;
}

static struct plugged *
plugged_of(const struct parts *p, const char *memdev)
{
    for (unsigned i = 0; i < p->plugged_count; i++) {
        if (strcmp(p->plugged[i].block->options.id, memdev) == 0)
            return &p->plugged[i];
    }
    g_assert_not_reached();
}

/* Now, and says so. */
static bool
resize_device(struct machine *m, struct block *b, const char *name, uint64_t size, GError **error)
{
    g_autofree char *now = size_format(size);
    g_autofree char *text = g_strdup_printf("memory device '%s' has %s plugged", name, now);
    bool ok;

    if (!machine_writes_begin(m, "change the requested size", error))
        return false;
    ok = resize(m, b, size, error);
    machine_writes_end(m);
    if (ok) {
        machine_take_plugged(m);
        machine_tell(m, text);
    }
    return ok;
}

/* --- more of one with 'prealloc': the host is asked first ------------------------------------------------------- */

struct growth {
    struct machine *machine;
    struct block *block;
    char *name;                     /* the device's */
    uint64_t from, size;            /* bytes plugged before and after */
    GError *error;
    void (*done)(void *self, const GError *error);
    void *self;
};

static void
grow_work(struct job *job, void *data)
{
    struct growth *g = data;

    g->machine->progress.job = job;
    block_populate_range(g->block, g->from, g->size - g->from, &g->machine->progress, &g->error);
}

/* What could not be had whole is given back. */
static void
grow_done(struct job *job, void *data)
{
    struct growth *g = data;

    g->machine->populating = NULL;
    if (!g->error && job_cancelled(job))
        fail(&g->error, NUMON_ERROR_STATE, "the memory was not preallocated: the session ends");
    if (g->error || !resize_device(g->machine, g->block, g->name, g->size, &g->error))
        block_discard_range(g->block, g->from, g->size - g->from, NULL);
    g->done(g->self, g->error);
    g_clear_error(&g->error);
    g_free(g->name);
    g_free(g);
}

static void
begin_growth(struct machine *m, const struct growth *how)
{
    struct growth *g = g_new(struct growth, 1);

    *g = *how;
    g->machine = m;
    g->name = g_strdup(how->name);
    machine_progress_begin(m);
    m->populating = job_start(m->jobs, grow_work, grow_done, g);
}

bool
machine_device_resize(struct machine *m, const char *name, uint64_t size,
                      void (*done)(void *self, const GError *error), void *self, bool *ret_pending, GError **error)
{
    g_autoptr(definition) d = definition_copy(m->definition);
    const struct plugged *p;
    uint64_t now;

    *ret_pending = false;
    if (!definition_resize_device(d, name, size, error))
        return false;
    if (!m->parts)
        return machine_define(m, g_steal_pointer(&d), error);
    if (machine_awaits_incoming(m))
        return fail(error, NUMON_ERROR_STATE, "cannot change the requested size: it comes with the guest");
    p = plugged_of(m->parts, definition_device(d, name)->memdev);
    if (m->populating && p->prealloc)
        return fail(error, NUMON_ERROR_STATE, "cannot change the requested size: memory is being preallocated");
    now = atomic_load(&p->block->used);
    if (!p->prealloc || size <= now)
        return resize_device(m, p->block, name, size, error);
    *ret_pending = true;
    begin_growth(m, &(struct growth) { .block = p->block, .name = (char *)name, .from = now, .size = size,
                                       .done = done,
                                       .self = self });
    return true;
}
