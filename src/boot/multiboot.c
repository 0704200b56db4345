/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Multiboot specification 0.6.96: header (3.1), boot information (3.3).  Modules as QEMU gives them: each is told its
 * name and arguments in one text. */
#include "boot-private.h"

#include <string.h>

enum {
    HEADER_MAGIC = 0x1badb002, HEADER_SEARCH = 8192, HEADER_BARE = 12, HEADER_ADDRESSES = 32,
    HEADER_KNOWN = 0x3,                 /* modules page aligned, memory information */
    HEADER_REQUIRED = 0xffff,           /* the loader must refuse what it does not know of these */
    HEADER_HAS_ADDRESSES = 0x10000,
};
enum { INFO_MEMORY = 1, INFO_COMMAND_LINE = 4, INFO_MODULES = 8, INFO_MAP = 64, INFO_LOADER = 512 };
enum { LOADER_OFFSET = 0x80, MODULES_OFFSET = 0x100 };  /* from BOOT_INFO_GPA */

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

struct multiboot_module { uint32_t start, end, text, reserved; };
G_STATIC_ASSERT(MODULES_OFFSET + MODULES_MAX * sizeof(struct multiboot_module) <= BOOT_INFO_SIZE);

static uint32_t
word_at(const uint8_t *head, uint64_t offset)
{
    return (uint32_t)number_at(head, offset, 4);
}

bool
multiboot_find(const uint8_t *head, uint64_t head_size, struct multiboot_header *ret)
{
    uint64_t end = MIN(head_size, HEADER_SEARCH);

    for (uint64_t at = 0; at + HEADER_BARE <= end; at += 4) {
        uint32_t flags = word_at(head, at + 4);

        if (word_at(head, at) != HEADER_MAGIC || HEADER_MAGIC + flags + word_at(head, at + 8) != 0)
            continue;
        *ret = (struct multiboot_header) { .offset = (uint32_t)at, .flags = flags };
        if (flags & HEADER_HAS_ADDRESSES && at + HEADER_ADDRESSES <= end) {
            ret->header_address = word_at(head, at + 12);
            ret->load_address = word_at(head, at + 16);
            ret->load_end = word_at(head, at + 20);
            ret->bss_end = word_at(head, at + 24);
            ret->entry = word_at(head, at + 28);
        } else {
            ret->flags &= ~HEADER_HAS_ADDRESSES;
        }
        return true;
    }
    return false;
}

bool
multiboot_read(const struct bootfile *file, const struct multiboot_header *h, struct kernel_image *ret,
               GError **error)
{
    uint64_t before = h->header_address - h->load_address, offset = h->offset - before, size, memory;
    struct segment s;

    if (h->flags & HEADER_REQUIRED & ~HEADER_KNOWN)
        return fail_file(file, error, "its Multiboot header asks for features 0x%x, numon knows 0x%x",
                         h->flags & HEADER_REQUIRED, HEADER_KNOWN);
    if (!(h->flags & HEADER_HAS_ADDRESSES))
        return fail_file(file, error, "its Multiboot header has no addresses and it is not ELF");
    if (h->header_address < h->load_address || before > h->offset)
        return fail_file(file, error, "its Multiboot header at offset %u says it lies at 0x%x of an image at 0x%x",
                         h->offset, h->header_address, h->load_address);
    if ((h->load_end && h->load_end < h->load_address) || (h->bss_end && h->bss_end < h->load_end))
        return fail_file(file, error, "the addresses in its Multiboot header fall");
    size = h->load_end ? h->load_end - h->load_address : file->size - offset;
    memory = h->bss_end > h->load_address ? h->bss_end - h->load_address : size;
    s = (struct segment) {
        .offset = offset, .file_size = size, .gpa = h->load_address, .memory_size = MAX(memory, size),
    };
    *ret = (struct kernel_image) { .kind = KERNEL_MULTIBOOT, .entry = h->entry };
    return image_add(ret, file, &s, error) && image_check_entry(ret, file, error);
}

/* The list of modules, and their texts one behind the other. */
static bool
write_modules(const struct telling *t, GError **error)
{
    struct multiboot_module list[MODULES_MAX];
    uint32_t text = BOOT_TABLES_GPA;

    for (unsigned i = 0; i < t->files->module_count; i++) {
        const struct module *m = &t->files->modules[i];
        uint64_t size = strlen(m->text) + 1, start = t->plan->modules[i];

        if (size > BOOT_TABLES_GPA + BOOT_TABLES_SIZE - text)
            return fail(error, NUMON_ERROR_LIMIT, "cannot load initrd '%s': names and arguments of all modules have "
                        "more than %d characters", m->file.name, BOOT_TABLES_SIZE);
        list[i] = (struct multiboot_module) {
            .start = (uint32_t)start, .end = (uint32_t)(start + m->file.size), .text = text,
        };
        if (!put(t->map, text, m->text, size, "module's arguments", error))
            return false;
        text += (uint32_t)size;
    }
    return put(t->map, BOOT_INFO_GPA + MODULES_OFFSET, list, t->files->module_count * sizeof list[0],
               "list of modules", error);
}

/* KiB from 1 MiB on. */
static uint32_t
memory_upper(const struct memory_map *ram)
{
    for (unsigned i = 0; i < ram->count; i++)
        if (ram->entries[i].base == BOOT_HIGH_RAM && ram->entries[i].type == MAP_RAM)
            return (uint32_t)MIN(ram->entries[i].size / 1024, UINT32_MAX);
    return 0;
}

static bool
write_map(const struct telling *t, GError **error)
{
    struct multiboot_memory memory[BOOT_MAP_ENTRIES];

    for (unsigned i = 0; i < t->ram->count; i++) {
        const struct map_entry *e = &t->ram->entries[i];

        memory[i] = (struct multiboot_memory) {
            .size = sizeof memory[0] - 4, .base = e->base, .length = e->size, .type = e->type,
        };
    }
    return put(t->map, BOOT_MAP_GPA, memory, t->ram->count * sizeof memory[0], "memory map", error);
}

bool
multiboot_write(const struct telling *t, GError **error)
{
    static const char loader[] = "numon";
    struct multiboot_info info = {
        .flags = INFO_MEMORY | INFO_COMMAND_LINE | INFO_MAP | INFO_LOADER |
                 (t->files->module_count ? INFO_MODULES : 0),
        .memory_lower = BOOT_LOW_RAM_END / 1024,
        .command_line = BOOT_COMMAND_GPA,
        .modules = t->files->module_count,
        .module_list = t->files->module_count ? BOOT_INFO_GPA + MODULES_OFFSET : 0,
        .map_size = t->ram->count * (uint32_t)sizeof(struct multiboot_memory),
        .map = BOOT_MAP_GPA,
        .loader_name = BOOT_INFO_GPA + LOADER_OFFSET,
    };

    G_STATIC_ASSERT(sizeof info <= LOADER_OFFSET && LOADER_OFFSET + sizeof loader <= MODULES_OFFSET);
    info.memory_upper = memory_upper(t->ram);
    return write_map(t, error) && write_modules(t, error) &&
           put(t->map, BOOT_INFO_GPA, &info, sizeof info, "Multiboot information", error) &&
           put(t->map, info.loader_name, loader, sizeof loader, "Multiboot information", error);
}
