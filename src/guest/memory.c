/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the loader says: RAM, command line, ACPI's root.  And page tables for memory above 4 GiB.
 *
 * entry.S maps the first 4 GiB one to one with 2 MiB pages.  Above, each gigabyte that an area needs gets a page
 * directory from 'spare_tables': SPARE_TABLES of them, about 700 GiB, plus one table for each further 512 GiB. */
#include "guest.h"

enum { BOOT_COPY_LIMIT = sizeof ((struct loader_info *)0)->command_line };
#define STATIC_LIMIT   (UINT64_C(4) << 30)
#define ADDRESS_LIMIT  (UINT64_C(1) << 46)
#define GIGABYTE       (UINT64_C(1) << 30)
#define BIG_PAGE       (UINT64_C(2) << 20)

/* xen/include/public/arch-x86/hvm/start_info.h */
struct start_info {
    uint32_t magic, version, flags, modules;
    uint64_t module_list, command_line, rsdp, memory_map;
    uint32_t memory_map_entries, reserved;
};
struct memory_map_entry { uint64_t base, size; uint32_t type, reserved; };
enum { START_INFO_MAGIC = 0x336ec578, MEMORY_RAM = 1 };

/* Multiboot 0.6.96, 3.3 */
struct multiboot_info {
    uint32_t flags, memory_lower, memory_upper, boot_device, command_line, modules, module_list, symbols[4];
    uint32_t memory_map_size, memory_map;
};
struct multiboot_memory { uint32_t size; uint64_t base, length; uint32_t type; } __attribute__((packed));
enum { MULTIBOOT_MEMORY = 1, MULTIBOOT_COMMAND_LINE = 4, MULTIBOOT_MAP = 64 };

enum { PTE_PRESENT = 1, PTE_TABLE = 0x27, PTE_PAGE = 0xe7 };

extern uint64_t pml4[512], spare_tables[SPARE_TABLES][512];

static unsigned spare_used;

static void
add_ram(struct loader_info *info, uint64_t base, uint64_t size, uint32_t type)
{
    if (type == MEMORY_RAM && size && base + size > base && info->ram_count < PIECES)
        info->ram[info->ram_count++] = (struct piece) { base, size };
}

static void
copy_command_line(struct loader_info *info, uint64_t address)
{
    const char *from = (const char *)(uintptr_t)address;
    unsigned n = 0;

    if (!address || address >= STATIC_LIMIT - BOOT_COPY_LIMIT)
        return;
    while (n < BOOT_COPY_LIMIT - 1 && from[n]) {
        info->command_line[n] = from[n];
        n++;
    }
}

static void
read_pvh(const struct start_info *s, struct loader_info *info)
{
    const struct memory_map_entry *map = (const void *)(uintptr_t)s->memory_map;

    if (s->magic != START_INFO_MAGIC)
        return;
    info->rsdp = s->rsdp;
    copy_command_line(info, s->command_line);
    if (s->version >= 1 && s->memory_map && s->memory_map < STATIC_LIMIT - PIECES * 8 * sizeof *map)
        for (uint32_t i = 0; i < s->memory_map_entries && i < PIECES * 8; i++)
            add_ram(info, map[i].base, map[i].size, map[i].type);
}

static void
read_multiboot(const struct multiboot_info *m, struct loader_info *info)
{
    if (m->flags & MULTIBOOT_COMMAND_LINE)
        copy_command_line(info, m->command_line);
    if (m->flags & MULTIBOOT_MAP) {
        for (uint64_t at = m->memory_map; at < (uint64_t)m->memory_map + m->memory_map_size; ) {
            const struct multiboot_memory *e = (const void *)(uintptr_t)at;

            add_ram(info, e->base, e->length, e->type);
            at += e->size + 4;
        }
    } else if (m->flags & MULTIBOOT_MEMORY) {
        add_ram(info, 1 << 20, (uint64_t)m->memory_upper << 10, MEMORY_RAM);
    }
}

void
loader_read(unsigned entry, uint64_t info, struct loader_info *ret)
{
    if (entry == ENTRY_PVH)
        read_pvh((const void *)(uintptr_t)info, ret);
    else
        read_multiboot((const void *)(uintptr_t)info, ret);
}

/* The table behind entry 'index', made if there is none; NULL if the spare ones are used up. */
static uint64_t *
next_table(uint64_t *table, unsigned index)
{
    if (!(table[index] & PTE_PRESENT)) {
        if (spare_used == SPARE_TABLES)
            return NULL;
        store(&table[index], (uintptr_t)spare_tables[spare_used++] | PTE_TABLE);
    }
    return (uint64_t *)(uintptr_t)(table[index] & ~UINT64_C(0xfff));
}

/* Maps the gigabyte at 'base'.  The directory is filled before it is linked in: writing to a live table can cost a
 * fault each time where page tables are shadowed.  Nothing was there before, so no TLB holds it. */
static bool
map_gigabyte(uint64_t base)
{
    uint64_t *pdpt = next_table(pml4, base >> 39 & 511), *directory;
    unsigned index = base >> 30 & 511;

    if (!pdpt)
        return false;
    if (pdpt[index] & PTE_PRESENT)
        return true;
    if (spare_used == SPARE_TABLES)
        return false;
    directory = spare_tables[spare_used++];
    for (unsigned i = 0; i < 512; i++)
        directory[i] = (base + i * BIG_PAGE) | PTE_PAGE;
    store(&pdpt[index], (uintptr_t)directory | PTE_TABLE);
    return true;
}

uint64_t
map_range(uint64_t base, uint64_t size)
{
    uint64_t end = base + size;

    if (end < base || end > ADDRESS_LIMIT)
        end = ADDRESS_LIMIT;
    for (uint64_t at = base & ~(GIGABYTE - 1); at < end; at += GIGABYTE)
        if (at >= STATIC_LIMIT && !map_gigabyte(at))
            return at > base ? at - base : 0;
    return end > base ? end - base : 0;
}
