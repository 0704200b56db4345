/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The machine's memory: making it as the definition says, changing its backends live, and what becomes of the guest
 * when a page of it cannot be had any more.
 *
 * Guest physical RAM: nodes in the order of their ids, below 3 GiB first, the rest from 4 GiB on.  Without memory
 * backends all RAM is one block, RAM_BLOCK, of which the nodes are ranges; mem_path is about that block alone,
 * mem_prealloc about all. */
#include "machine-private.h"

#include <string.h>
#include <unistd.h>

/* --- making it -------------------------------------------------------------------------------------------------- */

/* A map under construction. */
struct making {
    const struct definition *definition;
    struct guest_map *map;
    struct block_progress *progress;
    char *warning;
    uint64_t gpa;                   /* the next that is free */
};

static struct block *
take_block(struct making *k, const struct backend_options *options, GError **error)
{
    struct backend_options o = *options;
    struct block *b;

    o.prealloc = o.prealloc || (k->definition->mem_prealloc && o.reserve);
    b = block_new_watched(&o, k->progress, error);
    if (b)
        guest_map_take_block(k->map, b);
    return b;
}

/* All RAM that has no backend.  From a file if one was asked for; without mem_prealloc, which insists, ordinary
 * memory does too (QEMU's -mem-path). */
static struct block *
take_ram(struct making *k, GError **error)
{
    const struct definition *d = k->definition;
    struct backend_options ram;
    GError *reason = NULL;
    struct block *b;

    backend_options_init_default(&ram, RAM_BLOCK, definition_ram(d));
    if (!d->mem_path)
        return take_block(k, &ram, error);
    ram.kind = BACKEND_FILE;
    ram.mem_path = g_intern_string(d->mem_path);
    b = take_block(k, &ram, &reason);
    if (b)
        return b;
    if (d->mem_prealloc) {
        g_propagate_error(error, reason);
        return NULL;
    }
    k->warning = g_strdup_printf("%s; using ordinary memory instead of mem_path '%s'", reason->message, d->mem_path);
    g_error_free(reason);
    ram.kind = BACKEND_RAM;
    ram.mem_path = NULL;
    return take_block(k, &ram, error);
}

/* Puts 'size' bytes of a block at the next free guest physical addresses, around the hole. */
static void
place(struct making *k, struct block *block, uint64_t offset, uint64_t size, int node)
{
    while (size) {
        uint64_t piece = layout_piece(&k->gpa, size);
        struct section s = { .gpa = k->gpa, .size = piece, .block = block, .offset = offset, .node = node };

        guest_map_add(k->map, &s);
        k->gpa += piece;
        offset += piece;
        size -= piece;
    }
}

static bool
make_nodes(struct making *k, const struct topology_final *t, GError **error)
{
    struct block *shared = NULL;
    uint64_t offset = 0;

    for (unsigned n = 0; n < t->node_count; n++) {
        const char *id = t->node_memdev[n];
        struct block *block = shared;

        if (t->node_size[n] == 0)
            continue;
        if (*id)
            block = take_block(k, definition_backend(k->definition, id), error);
        else if (!shared)
            block = shared = take_ram(k, error);
        if (!block)
            return false;
        place(k, block, *id ? 0 : offset, t->node_size[n], (int)n);
        if (!*id)
            offset += t->node_size[n];
    }
    if (k->definition->mem_path && !shared)
        k->warning = g_strdup_printf("mem_path '%s' has no effect: all nodes have memory backends",
                                     k->definition->mem_path);
    return true;
}

static bool
make_all(struct making *k, const struct topology_final *t, GError **error)
{
    struct block *block;

    if (t->node_count)
        return make_nodes(k, t, error);
    block = take_ram(k, error);
    if (!block)
        return false;
    place(k, block, 0, block->size, -1);
    return true;
}

static bool
make_devices(struct making *k, bool numa, GError **error)
{
    const struct definition *d = k->definition;
    g_autofree struct device_place *places = definition_device_places(d);

    for (guint i = 0; i < d->devices->len; i++) {
        struct block *b = machine_make_device(d, &places[i], k->progress, error);

        if (!b)
            return false;
        struct section s = machine_device_section(b, &places[i], numa);

        guest_map_take_block(k->map, b);
        guest_map_add(k->map, &s);
    }
    return true;
}

struct block *
machine_make_device(const struct definition *d, const struct device_place *p, struct block_progress *progress,
                    GError **error)
{
    struct backend_options o = *definition_backend(d, p->device->memdev);
    struct block *b;

    /* What is not plugged of a virtio-mem must not be taken from the host. */
    o.prealloc = o.prealloc || (d->mem_prealloc && o.reserve && p->device->kind != DEVICE_VIRTIO_MEM);
    b = block_new_watched(&o, progress, error);
    if (b && p->addr % b->page_size) {
        g_autofree char *page = size_format(b->page_size);

        fail(error, NUMON_ERROR_ARGUMENT, "address must be aligned to the page size of backend '%s', %s: 0x%"
             G_GINT64_MODIFIER "x is not", b->options.id, page, p->addr);
        g_clear_pointer(&b, block_free);
    }
    if (b && p->device->prealloc && !block_populate_range(b, 0, p->device->requested_size, progress, error))
        g_clear_pointer(&b, block_free);
    if (b) {
        b->device = true;
        b->persistent = p->device->kind == DEVICE_NVDIMM || p->device->kind == DEVICE_VIRTIO_PMEM;
        b->resizable = p->device->kind == DEVICE_VIRTIO_MEM;
        if (b->resizable)
            atomic_store(&b->used, p->device->requested_size);
    }
    return b;
}

struct section
machine_device_section(struct block *b, const struct device_place *p, bool numa)
{
    return (struct section) {
        .gpa = p->addr, .size = p->size, .block = b, .node = numa ? (int)p->device->node : -1,
    };
}

struct guest_map *
machine_make_map(const struct definition *d, const struct topology_final *t, struct block_progress *progress,
                 char **ret_warning, GError **error)
{
    struct making k = { .definition = d, .map = guest_map_new(), .progress = progress };
    struct device_room room = definition_device_room(d);
    bool ok = make_all(&k, t, error) && make_devices(&k, t->node_count > 0, error);

    guest_map_protect(k.map, "acpi-tables", LAYOUT_ACPI_GPA, LAYOUT_ACPI_SIZE);
    k.map->device_base = room.base;
    k.map->device_size = room.size;
    *ret_warning = k.warning;
    if (ok)
        return k.map;
    guest_map_free(k.map);
    return NULL;
}

const char *
machine_memory_warning(const struct machine *m)
{
    return m->parts ? m->parts->memory_warning : NULL;
}

void
machine_progress_begin(struct machine *m)
{
    atomic_store(&m->progress.done, 0);
    atomic_store(&m->progress.total, 0);
    m->progress.job = NULL;
}

bool
machine_preallocating(const struct machine *m, uint64_t *ret_done, uint64_t *ret_total)
{
    *ret_done = atomic_load(&m->progress.done);
    *ret_total = atomic_load(&m->progress.total);
    return (m->building || m->populating) && *ret_total > 0;
}

/* --- losing it -------------------------------------------------------------------------------------------------- */

gboolean
machine_memory_lost(gint fd, GIOCondition condition, gpointer machine)
{
    struct machine *m = machine;
    g_autofree char *lost = guest_map_lost(m->parts->map), *text = NULL;
    uint64_t count;

    if (read(fd, &count, sizeof count) < 0 || run_reasons(m->parts->run) & STOP_ERROR)
        return G_SOURCE_CONTINUE;       /* the guest stands still already: one line is enough */
    run_hold(m->parts->run, STOP_ERROR);
    text = g_strdup_printf("the guest stopped: %s", lost ? lost : "a page of its memory is lost");
    machine_tell(m, text);
    machine_changed(m);
    return G_SOURCE_CONTINUE;
}

/* --- changing it ------------------------------------------------------------------------------------------------ */

/* A backend of a built machine whose 'prealloc' becomes on. */
struct population {
    struct machine *machine;
    struct block *block;
    struct backend_options options; /* as they will be */
    GError *error;
    void (*done)(void *self, const GError *error);
    void *self;
};

static void
populate_work(struct job *job, void *data)
{
    struct population *p = data;

    p->machine->progress.job = job;
    block_populate(p->block, &p->machine->progress, &p->error);
}

static void
adopt_backend(struct machine *m, const struct backend_options *o)
{
    struct definition *d = definition_copy(m->definition);

    definition_change_backend(d, o);
    machine_adopt(m, d);
}

static void
populate_done(struct job *job, void *data)
{
    struct population *p = data;
    struct machine *m = p->machine;

    m->populating = NULL;
    if (!p->error && job_cancelled(job))
        fail(&p->error, NUMON_ERROR_STATE, "the memory was not preallocated: the session ends");
    if (!p->error) {
        p->block->options.prealloc = true;
        adopt_backend(m, &p->options);
    }
    p->done(p->self, p->error);
    machine_settle_arrivals(m);
    g_clear_error(&p->error);
    g_free(p);
}

static struct block *
block_of_backend(const struct machine *m, const char *id)
{
    for (unsigned i = 0; m->parts && i < m->parts->map->blocks->len; i++) {
        struct block *b = g_ptr_array_index(m->parts->map->blocks, i);

        if (strcmp(b->options.id, id) == 0)
            return b;
    }
    return NULL;
}

static void
begin_population(struct machine *m, struct block *b, const struct backend_options *o,
                 void (*done)(void *self, const GError *error), void *self)
{
    struct population *p = g_new0(struct population, 1);

    *p = (struct population) { .machine = m, .block = b, .options = *o, .done = done, .self = self };
    machine_progress_begin(m);
    m->populating = job_start(m->jobs, populate_work, populate_done, p);
}

bool
machine_change_backend(struct machine *m, const char *id, const char *property, const char *text,
                       void (*done)(void *self, const GError *error), void *self, bool *ret_pending, GError **error)
{
    struct block *block = block_of_backend(m, id);
    struct backend_options changed;

    *ret_pending = false;
    if (m->building || m->populating || m->resetting)
        return fail(error, NUMON_ERROR_STATE, "cannot change property '%s' of '%s': %s", property, id,
                    m->building ? "the machine is being built" : m->populating ? "memory is being preallocated"
                                                                               : "the guest is being reset");
    if (!definition_backend_changed(m->definition, id, property, text, &changed, error))
        return false;
    if (block && !block_change(block, &changed, error))
        return false;
    *ret_pending = block && changed.prealloc && !block->options.prealloc;
    if (*ret_pending)
        begin_population(m, block, &changed, done, self);
    else
        adopt_backend(m, &changed);
    return true;
}

/* --- following an address --------------------------------------------------------------------------------------- */

int
machine_slot(const struct machine *m, uint64_t gpa)
{
    return m->parts && m->parts->class->slot ? m->parts->class->slot(m->parts->accel, gpa) : -1;
}

int
machine_dirty(struct machine *m, const struct block *b, uint64_t page)
{
    return hub_dirty(m->parts->hub, b, page);
}
