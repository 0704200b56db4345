/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Where things go: the memory map that kernels are given, and room in it for the kernel and its initrd.  The map of a
 * machine that is not built serves to say beforehand whether they fit. */
#include "boot-private.h"

G_STATIC_ASSERT(sizeof(struct map_entry) == 24);
G_STATIC_ASSERT(BOOT_MAP_ENTRIES * sizeof(struct map_entry) <= 0x1000);

/* What is not RAM to a kernel although memory may lie there: a PC's video and BIOS area. */
static const struct map_entry bios_area = { BOOT_LOW_RAM_END, BOOT_HIGH_RAM - BOOT_LOW_RAM_END, MAP_RESERVED, 0 };

/* --- the memory map --------------------------------------------------------------------------------------------- */

/* Appends, joined with the last entry if it continues that. */
static void
append(struct memory_map *m, uint64_t base, uint64_t end, uint32_t type)
{
    struct map_entry *last = m->count ? &m->entries[m->count - 1] : NULL;

    if (base >= end)
        return;
    if (last && last->type == type && last->base + last->size == base)
        last->size = end - last->base;
    else if (m->count < BOOT_MAP_ENTRIES)
        m->entries[m->count++] = (struct map_entry) { base, end - base, type, 0 };
}

/* RAM from 'base' to 'end', which rise from call to call, but for the BIOS area. */
static void
append_ram(struct memory_map *m, uint64_t base, uint64_t end)
{
    uint64_t low = bios_area.base, high = bios_area.base + bios_area.size;

    append(m, base, MIN(end, low), MAP_RAM);
    if (base <= low && end > low)
        append(m, low, high, MAP_RESERVED);
    append(m, MAX(base, high), end, MAP_RAM);
}

void
memory_map_build(const struct guest_map *map, struct memory_map *ret)
{
    ret->count = 0;
    for (unsigned i = 0; i < map->sections->len; i++) {
        const struct section *s = &g_array_index(map->sections, struct section, i);

        if (!s->block->device)
            append_ram(ret, s->gpa, s->gpa + s->size);
    }
}

void
memory_map_of(uint64_t ram_bytes, struct memory_map *ret)
{
    ret->count = 0;
    append_ram(ret, 0, MIN(ram_bytes, LAYOUT_LOW_END));
    if (ram_bytes > LAYOUT_LOW_END)
        append_ram(ret, LAYOUT_HIGH_START, LAYOUT_HIGH_START + (ram_bytes - LAYOUT_LOW_END));
}

/* --- room in it ------------------------------------------------------------------------------------------------- */

static bool
is_ram(const struct memory_map *m, uint64_t base, uint64_t size)
{
    for (unsigned i = 0; i < m->count; i++) {
        const struct map_entry *e = &m->entries[i];

        if (e->type == MAP_RAM && base >= e->base && base - e->base <= e->size && size <= e->size - (base - e->base))
            return true;
    }
    return false;
}

static uint64_t
align_up(uint64_t n, uint64_t alignment)
{
    return (n + alignment - 1) / alignment * alignment;
}

/* The lowest aligned place from 'from' on and below 'limit'; 0 if there is none. */
static uint64_t
find_low(const struct memory_map *m, uint64_t from, uint64_t size, uint64_t alignment, uint64_t limit)
{
    for (unsigned i = 0; i < m->count; i++) {
        uint64_t base = align_up(MAX(from, m->entries[i].base), alignment);

        if (is_ram(m, base, size) && base < limit && size <= limit - base)
            return base;
    }
    return 0;
}

/* The highest page-aligned place below 'limit' and at or above 'from'; 0 if there is none. */
static uint64_t
find_high(const struct memory_map *m, uint64_t from, uint64_t size, uint64_t limit)
{
    for (unsigned i = m->count; i-- > 0;) {
        uint64_t end = MIN(m->entries[i].base + m->entries[i].size, limit), base;

        if (end < size)
            continue;
        base = (end - size) / PAGE_SIZE * PAGE_SIZE;
        if (base >= from && is_ram(m, base, size))
            return base;
    }
    return 0;
}

static uint64_t
high_ram(const struct memory_map *m)
{
    uint64_t end = 0;

    for (unsigned i = 0; i < m->count; i++)
        if (m->entries[i].type == MAP_RAM && m->entries[i].base < LAYOUT_HIGH_START)
            end = m->entries[i].base + m->entries[i].size;
    return end;
}

/* --- the kernel ------------------------------------------------------------------------------------------------- */

/* '*ret_end': the first byte behind what it takes. */
static bool
plan_linux(const struct kernel *k, const struct memory_map *ram, uint64_t *ret, uint64_t *ret_end, GError **error)
{
    const struct linux_image *l = &k->image.linux_image;
    uint64_t preferred = l->preferred ? l->preferred : BOOT_HIGH_RAM;
    uint64_t start = l->relocatable ? align_up(preferred, l->alignment) : preferred;

    if (!l->relocatable) {
        /* It is loaded at 1 MiB and moves itself. */
        *ret_end = MAX(BOOT_HIGH_RAM + l->size, start + l->room);
        start = *ret_end <= LAYOUT_HIGH_START && is_ram(ram, BOOT_HIGH_RAM, *ret_end - BOOT_HIGH_RAM) ? BOOT_HIGH_RAM
                                                                                                      : 0;
    } else {
        if (start + l->room > LAYOUT_HIGH_START || !is_ram(ram, start, l->room))
            start = find_low(ram, BOOT_HIGH_RAM, l->room, l->alignment, LAYOUT_HIGH_START);
        *ret_end = start + l->room;
    }
    *ret = start;
    return start || fail_file(&k->file, error, "it needs %" PRIu64 " bytes of RAM in a row below 4 GiB (%s 0x%" PRIx64
                              "), RAM ends at 0x%" PRIx64, l->relocatable ? l->room : *ret_end - BOOT_HIGH_RAM,
                              l->relocatable ? "best at" : "from 1 MiB on, to run at", preferred, high_ram(ram));
}

static bool
plan_segments(const struct kernel *k, const struct memory_map *ram, GError **error)
{
    for (unsigned i = 0; i < k->image.segment_count; i++) {
        const struct segment *s = &k->image.segments[i];

        if (!is_ram(ram, s->gpa, s->memory_size))
            return fail_file(&k->file, error, "%" PRIu64 " bytes at 0x%" PRIx64 " are not all guest RAM, which ends "
                             "at 0x%" PRIx64, s->memory_size, s->gpa, high_ram(ram));
    }
    return true;
}

/* --- modules ---------------------------------------------------------------------------------------------------- */

static bool
fail_module(const struct module *m, uint64_t from, uint64_t limit, const struct memory_map *ram, GError **error)
{
    return fail_file(&m->file, error, "it does not fit: there are no %" PRIu64 " bytes of RAM in a row from "
                     "0x%" PRIx64 ", where the kernel ends, to 0x%" PRIx64, m->file.size, from,
                     MIN(limit, high_ram(ram)));
}

/* Linux and PVH kernels have it as high as it may be, as what they unpack comes next to them. */
static bool
plan_initrd(const struct boot_files *f, const struct memory_map *ram, uint64_t from, uint64_t limit, struct plan *ret,
            GError **error)
{
    for (unsigned i = 0; i < f->module_count; i++) {
        ret->modules[i] = find_high(ram, from, f->modules[i].file.size, limit);
        if (!ret->modules[i])
            return fail_module(&f->modules[i], from, limit, ram, error);
        limit = ret->modules[i];
    }
    return true;
}

/* Multiboot kernels have them behind themselves, in order, as in QEMU. */
static bool
plan_multiboot(const struct boot_files *f, const struct memory_map *ram, uint64_t from, struct plan *ret,
               GError **error)
{
    for (unsigned i = 0; i < f->module_count; i++) {
        uint64_t size = f->modules[i].file.size;

        ret->modules[i] = find_low(ram, from, size, PAGE_SIZE, LAYOUT_HIGH_START);
        if (!ret->modules[i])
            return fail_module(&f->modules[i], from, LAYOUT_HIGH_START, ram, error);
        from = ret->modules[i] + size;
    }
    return true;
}

bool
plan_make(const struct boot_files *files, const struct memory_map *ram, struct plan *ret, GError **error)
{
    const struct kernel *k = &files->kernel;
    uint64_t end, limit = LAYOUT_HIGH_START;

    *ret = (struct plan) { 0 };
    if (k->image.kind == KERNEL_LINUX) {
        ret->kernel_fits = plan_linux(k, ram, &ret->kernel, &end, error);
        limit = MIN(k->image.linux_image.initrd_limit, LAYOUT_HIGH_START);
    } else {
        ret->kernel_fits = plan_segments(k, ram, error);
        end = k->image.end;
    }
    if (!ret->kernel_fits)
        return false;
    return k->image.kind == KERNEL_MULTIBOOT ? plan_multiboot(files, ram, end, ret, error)
                                             : plan_initrd(files, ram, end, limit, ret, error);
}
