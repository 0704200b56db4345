/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Multiboot specification 0.6.96: header (3.1), boot information (3.3). */
#include "boot-private.h"

#include <string.h>

enum {
    HEADER_MAGIC = 0x1badb002, HEADER_SEARCH = 8192, HEADER_BARE = 12, HEADER_ADDRESSES = 32,
    HEADER_KNOWN = 0x3,                 /* modules page aligned, memory information */
    HEADER_REQUIRED = 0xffff,           /* the loader must refuse what it does not know of these */
    HEADER_HAS_ADDRESSES = 0x10000,
};
enum { INFO_MEMORY = 1, INFO_COMMAND_LINE = 4, INFO_MAP = 64, INFO_LOADER = 512 };

struct multiboot_info {
    uint32_t flags, memory_lower, memory_upper, boot_device, command_line, modules, module_list, symbols[4];
    uint32_t map_size, map, drives_size, drives, config_table, loader_name;
} __attribute__((packed));
G_STATIC_ASSERT(sizeof(struct multiboot_info) == 68);

struct multiboot_memory {
    uint32_t size;                      /* of the rest */
    uint64_t base, length;
    uint32_t type;
} __attribute__((packed));
G_STATIC_ASSERT(sizeof(struct multiboot_memory) == 24);

static uint32_t
word_at(const struct file_bytes *file, uint64_t offset)
{
    uint32_t word;

    memcpy(&word, file->bytes + offset, sizeof word);
    return GUINT32_FROM_LE(word);
}

bool
multiboot_find(const struct file_bytes *file, struct multiboot_header *ret)
{
    uint64_t end = MIN(file->size, HEADER_SEARCH);

    for (uint64_t at = 0; at + HEADER_BARE <= end; at += 4) {
        uint32_t flags = word_at(file, at + 4);

        if (word_at(file, at) != HEADER_MAGIC || HEADER_MAGIC + flags + word_at(file, at + 8) != 0)
            continue;
        *ret = (struct multiboot_header) { .offset = (uint32_t)at, .flags = flags };
        if (flags & HEADER_HAS_ADDRESSES && at + HEADER_ADDRESSES <= file->size) {
            ret->header_address = word_at(file, at + 12);
            ret->load_address = word_at(file, at + 16);
            ret->load_end = word_at(file, at + 20);
            ret->bss_end = word_at(file, at + 24);
            ret->entry = word_at(file, at + 28);
        } else {
            ret->flags &= ~HEADER_HAS_ADDRESSES;
        }
        return true;
    }
    return false;
}

bool
multiboot_read(const struct file_bytes *file, const struct multiboot_header *h, struct kernel_image *ret,
               GError **error)
{
    uint64_t before = h->header_address - h->load_address, offset = h->offset - before, size, memory;
    struct segment s;

    if (h->flags & HEADER_REQUIRED & ~HEADER_KNOWN)
        return fail(error, NUMON_ERROR_ARGUMENT, "cannot load kernel '%s': its Multiboot header asks for features "
                    "0x%x, numon knows 0x%x", file->name, h->flags & HEADER_REQUIRED, HEADER_KNOWN);
    if (!(h->flags & HEADER_HAS_ADDRESSES))
        return fail(error, NUMON_ERROR_ARGUMENT,
                    "cannot load kernel '%s': its Multiboot header has no addresses and it is not ELF", file->name);
    if (h->header_address < h->load_address || before > h->offset)
        return fail(error, NUMON_ERROR_ARGUMENT, "cannot load kernel '%s': its Multiboot header at offset %u says it "
                    "lies at 0x%x of an image at 0x%x", file->name, h->offset, h->header_address, h->load_address);
    if ((h->load_end && h->load_end < h->load_address) || (h->bss_end && h->bss_end < h->load_end))
        return fail(error, NUMON_ERROR_ARGUMENT, "cannot load kernel '%s': the addresses in its Multiboot header "
                    "fall", file->name);
    size = h->load_end ? h->load_end - h->load_address : file->size - offset;
    memory = h->bss_end > h->load_address ? h->bss_end - h->load_address : size;
    s = (struct segment) {
        .offset = offset, .file_size = size, .gpa = h->load_address, .memory_size = MAX(memory, size),
    };
    *ret = (struct kernel_image) { .kind = KERNEL_MULTIBOOT, .entry = h->entry };
    return image_add(ret, file, &s, error);
}

bool
multiboot_write(const struct guest_map *map, const char *command_line, GError **error)
{
    static const char loader[] = "numon";
    struct map_entry entries[BOOT_MAP_ENTRIES];
    unsigned count = memory_map_build(map, entries, BOOT_MAP_ENTRIES);
    struct multiboot_memory memory[BOOT_MAP_ENTRIES];
    struct multiboot_info info = {
        .flags = INFO_MEMORY | INFO_COMMAND_LINE | INFO_MAP | INFO_LOADER,
        .memory_lower = BOOT_LOW_RAM_END / 1024,
        .command_line = BOOT_COMMAND_GPA,
        .map_size = count * (uint32_t)sizeof memory[0],
        .map = BOOT_MAP_GPA,
        .loader_name = BOOT_INFO_GPA + sizeof info,
    };

    for (unsigned i = 0; i < count; i++) {
        memory[i] = (struct multiboot_memory) {
            .size = sizeof memory[0] - 4, .base = entries[i].base, .length = entries[i].size, .type = entries[i].type,
        };
        if (entries[i].base == BOOT_HIGH_RAM && entries[i].type == MAP_RAM)
            info.memory_upper = (uint32_t)MIN(entries[i].size / 1024, UINT32_MAX);
    }
    return put(map, BOOT_INFO_GPA, &info, sizeof info, "Multiboot information", error) &&
           put(map, info.loader_name, loader, sizeof loader, "Multiboot information", error) &&
           put(map, BOOT_MAP_GPA, memory, info.map_size, "memory map", error) &&
           put(map, BOOT_COMMAND_GPA, command_line, strlen(command_line) + 1, "command line", error);
}
