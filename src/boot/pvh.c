/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The PVH start of day (xen/include/public/arch-x86/hvm/start_info.h). */
#include "boot-private.h"

#include <string.h>

struct hvm_start_info {
    uint32_t magic, version, flags, module_count;
    uint64_t module_list, command_line, rsdp, memory_map;
    uint32_t memory_map_entries, reserved;
} __attribute__((packed));
G_STATIC_ASSERT(sizeof(struct hvm_start_info) == 56);

struct hvm_modlist_entry { uint64_t address, size, command_line, reserved; };
enum { MODULES_OFFSET = 0x100 };        /* from BOOT_INFO_GPA */
G_STATIC_ASSERT(MODULES_OFFSET + MODULES_MAX * sizeof(struct hvm_modlist_entry) <= BOOT_INFO_SIZE);

enum { START_INFO_MAGIC = 0x336ec578, START_INFO_VERSION = 1 };

bool
pvh_write(const struct telling *t, GError **error)
{
    struct hvm_modlist_entry list[MODULES_MAX];
    unsigned count = t->files->module_count;
    struct hvm_start_info info = {
        .magic = START_INFO_MAGIC, .version = START_INFO_VERSION, .command_line = BOOT_COMMAND_GPA, .rsdp = t->rsdp,
        .module_count = count, .module_list = count ? BOOT_INFO_GPA + MODULES_OFFSET : 0,
        .memory_map = BOOT_MAP_GPA, .memory_map_entries = t->ram->count,
    };

    for (unsigned i = 0; i < count; i++)
        list[i] = (struct hvm_modlist_entry) { t->plan->modules[i], t->files->modules[i].file.size, 0, 0 };
    return put(t->map, BOOT_INFO_GPA, &info, sizeof info, "PVH start info", error) &&
           put(t->map, BOOT_INFO_GPA + MODULES_OFFSET, list, count * sizeof list[0], "list of modules", error) &&
           put(t->map, BOOT_MAP_GPA, t->ram->entries, t->ram->count * sizeof t->ram->entries[0], "memory map", error);
}
