/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The PVH start of day (xen/include/public/arch-x86/hvm/start_info.h), and the memory map that kernels are given. */
#include "boot-private.h"

#include <string.h>

struct hvm_start_info {
    uint32_t magic, version, flags, module_count;
    uint64_t module_list, command_line, rsdp, memory_map;
    uint32_t memory_map_entries, reserved;
} __attribute__((packed));
G_STATIC_ASSERT(sizeof(struct hvm_start_info) == 56);
G_STATIC_ASSERT(sizeof(struct map_entry) == 24);
G_STATIC_ASSERT(BOOT_MAP_ENTRIES * sizeof(struct map_entry) <= 0x1000);

enum { START_INFO_MAGIC = 0x336ec578, START_INFO_VERSION = 1 };

/* What is not RAM to a kernel although memory may lie there: a PC's video and BIOS area. */
static const struct map_entry bios_area = { BOOT_LOW_RAM_END, BOOT_HIGH_RAM - BOOT_LOW_RAM_END, MAP_RESERVED, 0 };

/* Appends, joined with the last entry if it continues that. */
static unsigned
append(struct map_entry *entries, unsigned count, unsigned limit, uint64_t base, uint64_t end, uint32_t type)
{
    struct map_entry *last = count ? &entries[count - 1] : NULL;

    if (base >= end)
        return count;
    if (last && last->type == type && last->base + last->size == base) {
        last->size = end - last->base;
        return count;
    }
    if (count == limit)
        return count;
    entries[count] = (struct map_entry) { base, end - base, type, 0 };
    return count + 1;
}

unsigned
memory_map_build(const struct guest_map *map, struct map_entry *ret, unsigned limit)
{
    uint64_t low = bios_area.base, high = bios_area.base + bios_area.size;
    unsigned count = 0;
    bool hole = false;

    for (unsigned i = 0; i < map->sections->len; i++) {
        const struct section *s = &g_array_index(map->sections, struct section, i);
        uint64_t end = s->gpa + s->size;

        if (s->block->device)
            continue;
        count = append(ret, count, limit, s->gpa, MIN(end, low), MAP_RAM);
        if (!hole && end > low) {
            count = append(ret, count, limit, low, high, MAP_RESERVED);
            hole = true;
        }
        count = append(ret, count, limit, MAX(s->gpa, high), end, MAP_RAM);
    }
    return count;
}

bool
put(const struct guest_map *map, uint64_t gpa, const void *bytes, uint64_t size, const char *what, GError **error)
{
    if (guest_map_write(map, gpa, bytes, size))
        return true;
    return fail(error, NUMON_ERROR_ARGUMENT,
                "cannot put the %s into guest memory: %" PRIu64 " bytes at 0x%" PRIx64 " are not all RAM", what, size,
                gpa);
}

bool
pvh_write(const struct guest_map *map, const char *command_line, uint64_t rsdp, GError **error)
{
    struct map_entry entries[BOOT_MAP_ENTRIES];
    unsigned count = memory_map_build(map, entries, BOOT_MAP_ENTRIES);
    struct hvm_start_info info = {
        .magic = START_INFO_MAGIC, .version = START_INFO_VERSION, .command_line = BOOT_COMMAND_GPA, .rsdp = rsdp,
        .memory_map = BOOT_MAP_GPA, .memory_map_entries = count,
    };

    return put(map, BOOT_INFO_GPA, &info, sizeof info, "PVH start info", error) &&
           put(map, BOOT_MAP_GPA, entries, count * sizeof entries[0], "memory map", error) &&
           put(map, BOOT_COMMAND_GPA, command_line, strlen(command_line) + 1, "command line", error);
}
