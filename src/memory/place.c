/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Where memory devices go: a slot and an address for each, as QEMU gives them.  The region for devices lies above RAM
 * and begins at a whole GiB; it has a GiB more for each slot, so that alignment cannot use it up, and the sum of the
 * devices is limited apart. */
#include "memory.h"

#include <inttypes.h>

#define LOW_END    (3 * GIB)        /* RAM below the gap and above, as src/boot has it */
#define HIGH_START (4 * GIB)

static uint64_t
align_up(uint64_t n, uint64_t align)
{
    return (n + align - 1) / align * align;
}

struct device_room
device_room_for(uint64_t ram, uint64_t maxmem, unsigned slots, unsigned node_count)
{
    struct device_room room = { .slots = slots, .node_count = node_count };

    if (maxmem <= ram)
        return room;
    room.limit = maxmem - ram;
    room.base = align_up(HIGH_START + (ram > LOW_END ? ram - LOW_END : 0), GIB);
    room.size = room.limit + slots * GIB;
    return room;
}

/* --- slots ------------------------------------------------------------------------------------------------------ */

static const struct device_place *
holder_of_slot(const struct device_place *others, unsigned count, int slot)
{
    for (unsigned i = 0; i < count; i++) {
        if (others[i].slot == slot)
            return &others[i];
    }
    return NULL;
}

static unsigned
slots_used(const struct device_place *others, unsigned count)
{
    unsigned used = 0;

    for (unsigned i = 0; i < count; i++)
        used += others[i].slot >= 0;
    return used;
}

static bool
find_slot(const struct device_room *room, const struct device_place *others, unsigned count, struct device_place *ret,
          GError **error)
{
    const struct device_place *holder;
    unsigned used = slots_used(others, count);
    int wanted = ret->device->slot;

    if (room->slots == 0)
        return fail(error, NUMON_ERROR_STATE, "no slots were allocated, please specify the 'slots' option: 0 of 0 in "
                    "use");
    if (wanted >= (int)room->slots)
        return fail(error, NUMON_ERROR_ARGUMENT, "invalid slot number %d, valid range is [0-%u]", wanted,
                    room->slots - 1);
    holder = wanted >= 0 ? holder_of_slot(others, count, wanted) : NULL;
    if (holder)
        return fail(error, NUMON_ERROR_STATE, "slot %d is busy: device '%s' has it; %u of %u slots in use", wanted,
                    memory_device_label(holder->device), used, room->slots);
    if (used >= room->slots)
        return fail(error, NUMON_ERROR_LIMIT, "no free slots available: %u of %u in use", used, room->slots);
    ret->slot = wanted;
    for (int slot = 0; ret->slot < 0; slot++) {
        if (!holder_of_slot(others, count, slot))
            ret->slot = slot;
    }
    return true;
}

/* --- addresses -------------------------------------------------------------------------------------------------- */

static const struct device_place *
overlapping(const struct device_place *others, unsigned count, uint64_t addr, uint64_t size)
{
    for (unsigned i = 0; i < count; i++) {
        if (others[i].addr < addr + size && addr < others[i].addr + others[i].size)
            return &others[i];
    }
    return NULL;
}

static bool
fits(const struct device_room *room, uint64_t addr, uint64_t size)
{
    return addr >= room->base && addr - room->base <= room->size && size <= room->size - (addr - room->base);
}

static bool
check_room(const struct device_room *room, const struct device_place *others, unsigned count,
           const struct device_place *p, GError **error)
{
    g_autofree char *wanted = size_format(p->size), *left = NULL;
    uint64_t used = 0;

    for (unsigned i = 0; i < count; i++)
        used += others[i].size;
    if (room->limit == 0)
        return fail(error, NUMON_ERROR_STATE, "memory devices (e.g. for memory hotplug) are not enabled, please "
                    "specify the maxmem option");
    if (p->size <= room->limit - MIN(used, room->limit))
        return true;
    left = size_format(room->limit - MIN(used, room->limit));
    return fail(error, NUMON_ERROR_LIMIT, "not enough space, currently 0x%" PRIx64 " in use of total space for "
                "memory devices 0x%" PRIx64 ": %s wanted, %s left of maxmem", used, room->limit, wanted, left);
}

/* The address that was asked for. */
static bool
take_address(const struct device_room *room, const struct device_place *others, unsigned count,
             struct device_place *ret, GError **error)
{
    uint64_t addr = ret->device->addr;
    const struct device_place *other;

    if (addr % ret->align)
        return fail(error, NUMON_ERROR_ARGUMENT, "address must be aligned to 0x%" PRIx64 ": 0x%" PRIx64 " is not",
                    ret->align, addr);
    if (!fits(room, addr, ret->size))
        return fail(error, NUMON_ERROR_ARGUMENT, "can't add memory device [0x%" PRIx64 ":0x%" PRIx64 "], usable "
                    "range for memory devices [0x%" PRIx64 ":0x%" PRIx64 "]", addr, ret->size, room->base,
                    room->size);
    other = overlapping(others, count, addr, ret->size);
    if (other)
        return fail(error, NUMON_ERROR_STATE, "address range conflicts with memory device id='%s', which lies at "
                    "[0x%" PRIx64 ":0x%" PRIx64 "]", memory_device_label(other->device), other->addr, other->size);
    ret->addr = addr;
    return true;
}

/* The lowest that is free: behind each device that is in the way. */
static bool
find_address(const struct device_room *room, const struct device_place *others, unsigned count,
             struct device_place *ret, GError **error)
{
    uint64_t addr = align_up(room->base, ret->align);

    while (fits(room, addr, ret->size)) {
        const struct device_place *other = overlapping(others, count, addr, ret->size);

        if (!other) {
            ret->addr = addr;
            return true;
        }
        addr = align_up(other->addr + other->size, ret->align);
    }
    return fail(error, NUMON_ERROR_LIMIT, "could not find position in guest address space for memory device - memory "
                "fragmented due to alignments: 0x%" PRIx64 " bytes aligned to 0x%" PRIx64 " wanted in "
                "[0x%" PRIx64 ":0x%"
                PRIx64 "]", ret->size, ret->align, room->base, room->size);
}

bool
device_place_find(const struct device_room *room, const struct device_place *others, unsigned count,
                  struct device_place *ret, GError **error)
{
    struct device_place p = *ret;

    p.slot = -1;
    if (memory_device_has_slot(p.device->kind) && !find_slot(room, others, count, &p, error))
        return false;
    if (!check_room(room, others, count, &p, error))
        return false;
    if (p.device->addr ? !take_address(room, others, count, &p, error)
                       : !find_address(room, others, count, &p, error))
        return false;
    *ret = p;
    return true;
}
