/* SPDX-License-Identifier: GPL-3.0-or-later */
/* `device_add` and `device_del`: the memory devices in the order of their creation, which is the order in which they
 * are given slots and addresses.  A device is refused when it has no place beside those before it; what is changed
 * later (memory, nodes) can leave some without one, which is a problem of the definition as a whole. */
#include "config.h"

#include <string.h>

#include "config-private.h"

static struct memory_device *
device_at(const struct definition *d, guint i)
{
    return &g_array_index(d->devices, struct memory_device, i);
}

const struct memory_device *
definition_device(const struct definition *d, const char *name)
{
    for (guint i = 0; i < d->devices->len; i++) {
        if (strcmp(memory_device_label(device_at(d, i)), name) == 0)
            return device_at(d, i);
    }
    return NULL;
}

const struct memory_device *
definition_device_of_backend(const struct definition *d, const char *memdev)
{
    for (guint i = 0; i < d->devices->len; i++) {
        if (strcmp(device_at(d, i)->memdev, memdev) == 0)
            return device_at(d, i);
    }
    return NULL;
}

struct device_room
definition_device_room(const struct definition *d)
{
    g_autofree struct topology *t = g_new(struct topology, 1);

    definition_topology(d, t);
    return device_room_for(definition_ram(d), d->memory.maxmem, d->memory.slots, t->node_count);
}

/* --- places ----------------------------------------------------------------------------------------------------- */

static bool
check_node(const struct memory_device *device, const struct device_room *room, GError **error)
{
    unsigned count = MAX(room->node_count, 1);

    if (device->node < count)
        return true;
    if (device->kind == DEVICE_VIRTIO_MEM)
        return fail(error, NUMON_ERROR_ARGUMENT, "'node' property exceeds number of NUMA nodes: %u, there are %u",
                    device->node, count);
    return fail(error, NUMON_ERROR_ARGUMENT, "'DIMM property node has value %u' which exceeds the number of numa "
                "nodes: %u",
                device->node, count);
}

/* The place of one device beside those that have theirs. */
static bool
find_place(const struct definition *d, const struct memory_device *device, const struct device_room *room,
           const struct device_place *others, unsigned count, struct device_place *ret, GError **error)
{
    const struct backend_options *backend = definition_backend(d, device->memdev);
    int node = definition_backend_user(d, device->memdev);
    uint64_t page;

    if (!backend)
        return fail(error, NUMON_ERROR_ARGUMENT, "object '%s' not found: there is no such memory backend",
                    device->memdev);
    if (node >= 0)
        return fail(error, NUMON_ERROR_STATE, "can't use already busy memdev: %s is the memory of node %d",
                    device->memdev, node);
    if (device->kind == DEVICE_NVDIMM && !d->nvdimm)
        return fail(error, NUMON_ERROR_STATE, "nvdimm is not enabled: missing 'nvdimm' in '-M' (`machine "
                    "nvdimm=on`)");
    if (!backend_page_size(backend, &page, error) || !memory_device_check_sizes(device, backend, error) ||
        !check_node(device, room, error))
        return false;
    *ret = (struct device_place) { .device = device, .size = memory_device_size(device, backend, page) };
    ret->align = MAX(MAX(page, backend->align), MAX(device->block_size, PAGE_SIZE));
    return device_place_find(room, others, count, ret, error);
}

bool
definition_place_devices(const struct definition *d, struct device_place *ret, GPtrArray *problems, GError **error)
{
    struct device_room room = definition_device_room(d);
    unsigned placed = 0;

    for (guint i = 0; i < d->devices->len; i++) {
        g_autoptr(GError) why = NULL;

        if (find_place(d, device_at(d, i), &room, ret, placed, &ret[placed], &why)) {
            placed++;
        } else if (problems) {
            problem_add(problems, g_strdup_printf("device_del %s", memory_device_label(device_at(d, i))),
                        "memory device '%s': %s", memory_device_label(device_at(d, i)), why->message);
        } else {
            g_propagate_error(error, g_steal_pointer(&why));
            return false;
        }
    }
    return true;
}

struct device_place *
definition_device_places(const struct definition *d)
{
    struct device_place *places = g_new0(struct device_place, d->devices->len + 1);

    if (definition_place_devices(d, places, NULL, NULL))
        return places;
    g_free(places);
    return NULL;
}

void
definition_check_devices(const struct definition *d, GPtrArray *problems)
{
    g_autofree struct device_place *places = g_new0(struct device_place, d->devices->len + 1);

    definition_place_devices(d, places, problems, NULL);
}

/* --- adding and deleting ---------------------------------------------------------------------------------------- */

static bool
check_names(const struct definition *d, const struct memory_device *device, GError **error)
{
    const struct memory_device *user = definition_device_of_backend(d, device->memdev);

    if (user)
        return fail(error, NUMON_ERROR_STATE, "can't use already busy memdev: %s is the memory of device '%s'",
                    device->memdev, memory_device_label(user));
    if (definition_device(d, memory_device_label(device)) || definition_cpu_device(d, memory_device_label(device)))
        return fail(error, NUMON_ERROR_STATE, "Duplicate ID '%s' for device", memory_device_label(device));
    return true;
}

bool
definition_add_device(struct definition *d, enum memory_device_kind kind, const struct values *v, GError **error)
{
    g_autofree struct device_place *places = g_new0(struct device_place, d->devices->len + 1);
    struct device_room room = definition_device_room(d);
    struct memory_device device;

    if (!memory_device_read(kind, v, &device, error) || !check_names(d, &device, error) ||
        !definition_place_devices(d, places, NULL, error) ||
        !find_place(d, &device, &room, places, d->devices->len, &places[d->devices->len], error))
        return false;
    g_array_append_val(d->devices, device);
    return true;
}

bool
definition_delete_device(struct definition *d, const char *name, GError **error)
{
    const struct memory_device *device = definition_device(d, name);

    if (!device)
        return definition_delete_cpu(d, name, error);
    g_array_remove_index(d->devices, (guint)(device - device_at(d, 0)));
    return true;
}

bool
definition_resize_device(struct definition *d, const char *name, uint64_t size, GError **error)
{
    const struct memory_device *device = definition_device(d, name);
    struct memory_device changed;

    if (!device)
        return fail(error, NUMON_ERROR_ARGUMENT, "Device '%s' not found", name);
    if (device->kind != DEVICE_VIRTIO_MEM)
        return fail(error, NUMON_ERROR_ARGUMENT, "Property '%s.requested-size' not found: only virtio-mem has it",
                    memory_device_names[device->kind]);
    changed = *device;
    changed.requested_size = size;
    if (!memory_device_check_sizes(&changed, definition_backend(d, device->memdev), error))
        return false;
    *device_at(d, (guint)(device - device_at(d, 0))) = changed;
    return true;
}

void
definition_pin_devices(struct definition *d)
{
    g_autofree struct device_place *places = definition_device_places(d);

    for (guint i = 0; places && i < d->devices->len; i++) {
        device_at(d, i)->addr = places[i].addr;
        device_at(d, i)->slot = places[i].slot;
    }
}

/* --- what they add ---------------------------------------------------------------------------------------------- */

/* What a device adds; its place knows, but there is none while the definition has problems. */
static uint64_t
plugged_of(const struct memory_device *device, const struct backend_options *backend)
{
    uint64_t page = PAGE_SIZE;

    if (device->kind == DEVICE_VIRTIO_MEM)
        return device->requested_size;
    backend_page_size(backend, &page, NULL);
    return memory_device_size(device, backend, page);
}

uint64_t
definition_plugged(const struct definition *d, int node)
{
    uint64_t total = 0;

    for (guint i = 0; i < d->devices->len; i++) {
        const struct memory_device *device = device_at(d, i);
        const struct backend_options *backend = definition_backend(d, device->memdev);

        if (backend && (node < 0 || device->node == (unsigned)node))
            total += plugged_of(device, backend);
    }
    return total;
}

void
devices_save(const struct definition *d, GString *out)
{
    for (guint i = 0; i < d->devices->len; i++) {
        memory_device_save(device_at(d, i), out);
        g_string_append_c(out, '\n');
    }
}

bool
devices_equal(const GArray *a, const GArray *b)
{
    for (guint i = 0; a->len == b->len && i < a->len; i++) {
        if (!memory_device_equal(&g_array_index(a, struct memory_device, i),
                                 &g_array_index(b, struct memory_device, i)))
            return false;
    }
    return a->len == b->len;
}
