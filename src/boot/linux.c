/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Linux's bzImage by its 64-bit entry, or by its 32-bit one where it has no other (Documentation/arch/x86/boot.rst:
 * "Details of Header Fields", "32-bit Boot Protocol", "64-bit Boot Protocol"; fields of struct boot_params:
 * Documentation/arch/x86/zero-page.rst).  The kernel's code for real mode is not run: numon says what that would have
 * asked a BIOS.  Offsets are the same in the file and in struct boot_params, the "zero page". */
#include "boot-private.h"

#include <string.h>

/* boot.rst, "The Real-Mode Kernel Header" and "Details of Header Fields". */
enum {
    SETUP_SECTS         = 0x1f1,        /* 1 byte, read: 512-byte sectors of code for real mode behind the first */
    SYSSIZE             = 0x1f4,        /* 4, read: 16-byte units of code for protected mode */
    VID_MODE            = 0x1fa,        /* 2, modify: video mode */
    BOOT_FLAG           = 0x1fe,        /* 2, read */
    JUMP_SIZE           = 0x201,        /* 1, read: the header ends so many bytes behind 0x202 */
    HEADER              = 0x202,        /* 4, read: "HdrS" */
    VERSION             = 0x206,        /* 2, read: boot protocol */
    TYPE_OF_LOADER      = 0x210,        /* 1, write */
    LOADFLAGS           = 0x211,        /* 1, modify */
    CODE32_START        = 0x214,        /* 4, modify: where it was loaded */
    RAMDISK_IMAGE       = 0x218,        /* 4, write */
    RAMDISK_SIZE        = 0x21c,        /* 4, write */
    CMD_LINE_PTR        = 0x228,        /* 4, write */
    INITRD_ADDR_MAX     = 0x22c,        /* 4, read: the last address that an initrd may have */
    KERNEL_ALIGNMENT    = 0x230,        /* 4, read */
    RELOCATABLE_KERNEL  = 0x234,        /* 1, read */
    XLOADFLAGS          = 0x236,        /* 2, read, from 2.12 on */
    CMDLINE_SIZE        = 0x238,        /* 4, read: characters without the NUL */
    PREF_ADDRESS        = 0x258,        /* 8, read, from 2.10 on */
    INIT_SIZE           = 0x260,        /* 4, read, from 2.10 on: memory that it needs at once */
    HEADER_END          = 0x264,        /* of what numon reads */

    BOOT_FLAG_MAGIC     = 0xaa55,
    SETUP_SECTS_DEFAULT = 4,            /* what 0 stands for */
    SECTOR              = 512,
    SYSSIZE_UNIT        = 16,
    VERSION_LEAST       = 0x20a,        /* 2.10, Linux 2.6.31: says how much memory it needs */
    VERSION_XLOADFLAGS  = 0x20c,
    LOADFLAG_LOADED_HIGH = 1 << 0,
    LOADFLAG_CAN_USE_HEAP = 1 << 7,
    XLF_KERNEL_64       = 1 << 0,
    LOADER_UNDEFINED    = 0xff,         /* no id was assigned to numon */
    VIDEO_NORMAL        = 0xffff,       /* "Special Command Line Options": vga=normal */
};

/* zero-page.rst; the entries are struct boot_e820_entry of arch/x86/include/uapi/asm/bootparam.h. */
enum {
    ACPI_RSDP_ADDR      = 0x070,        /* 8 bytes */
    E820_ENTRIES        = 0x1e8,        /* 1 */
    E820_TABLE          = 0x2d0,
    E820_SIZE           = 20,           /* address 8, size 8, type 4 */
    ZERO_PAGE_SIZE      = 4096,
};
G_STATIC_ASSERT(E820_TABLE + BOOT_MAP_ENTRIES * E820_SIZE <= ZERO_PAGE_SIZE);
G_STATIC_ASSERT(LINUX_SETUP == (int)SETUP_SECTS && (int)HEADER_END <= LINUX_SETUP_END);

/* --- the file --------------------------------------------------------------------------------------------------- */

bool
linux_recognise(const uint8_t *head, uint64_t head_size)
{
    return head_size >= HEADER + 4 && memcmp(head + HEADER, "HdrS", 4) == 0;
}

/* What numon needs of the kernel. */
static bool
check_header(const struct bootfile *file, const uint8_t *head, uint64_t head_size, GError **error)
{
    unsigned version = (unsigned)number_at(head, VERSION, 2);

    if (head_size < HEADER_END)
        return fail_file(file, error, "it is truncated: it ends within its Linux setup header");
    if (number_at(head, BOOT_FLAG, 2) != BOOT_FLAG_MAGIC)
        return fail_file(file, error, "it has Linux's 'HdrS' but at byte 0x1fe 0x%04x instead of 0xaa55",
                         (unsigned)number_at(head, BOOT_FLAG, 2));
    if (version < VERSION_LEAST)
        return fail_file(file, error, "it is a Linux kernel with boot protocol %u.%02u; numon looked for 2.10 (Linux "
                         "2.6.31) or later", version >> 8, version & 0xff);
    return head[LOADFLAGS] & LOADFLAG_LOADED_HIGH ||
           fail_file(file, error, "it is a Linux zImage for low memory; numon looked for a bzImage (LOADED_HIGH)");
}

/* Its part in protected mode, which follows that for real mode. */
static bool
read_size(const struct bootfile *file, const uint8_t *head, struct linux_image *l, GError **error)
{
    uint64_t sectors = head[SETUP_SECTS] ? head[SETUP_SECTS] : SETUP_SECTS_DEFAULT;

    l->offset = (sectors + 1) * SECTOR;
    l->size = number_at(head, SYSSIZE, 4) * SYSSIZE_UNIT;
    if (l->size == 0)
        return fail_file(file, error, "its Linux setup header says that it has no code for protected mode (syssize "
                         "0)");
    return bootfile_has(file, l->offset, l->size) ||
           fail_file(file, error, "it is truncated: its Linux setup header tells of %" PRIu64 " bytes at offset "
                     "%" PRIu64 ", the file has %" PRIu64, l->size, l->offset, file->size);
}

static bool
read_placement(const struct bootfile *file, const uint8_t *head, struct linux_image *l, GError **error)
{
    l->relocatable = head[RELOCATABLE_KERNEL] != 0;
    l->alignment = number_at(head, KERNEL_ALIGNMENT, 4);
    l->preferred = number_at(head, PREF_ADDRESS, 8);
    l->room = MAX(number_at(head, INIT_SIZE, 4), l->size);
    l->initrd_limit = number_at(head, INITRD_ADDR_MAX, 4) + 1;
    l->command_limit = number_at(head, CMDLINE_SIZE, 4);
    if (l->relocatable && (l->alignment < PAGE_SIZE || l->alignment > GIB || l->alignment & (l->alignment - 1)))
        return fail_file(file, error, "its Linux setup header asks for an alignment of 0x%" PRIx64
                         ", numon looked for a power of two from 4 KiB to 1 GiB", l->alignment);
    return (l->preferred == 0 || (l->preferred >= BOOT_HIGH_RAM && l->preferred < LAYOUT_HIGH_START)) ||
           fail_file(file, error, "its Linux setup header asks for address 0x%" PRIx64 ", numon loads kernels "
                     "between 1 MiB and 4 GiB", l->preferred);
}

bool
linux_read(const struct bootfile *file, const uint8_t *head, uint64_t head_size, struct kernel_image *ret,
           GError **error)
{
    struct linux_image l = { 0 };
    uint64_t end;

    if (!check_header(file, head, head_size, error) || !read_size(file, head, &l, error) ||
        !read_placement(file, head, &l, error))
        return false;
    l.wide = number_at(head, VERSION, 2) >= VERSION_XLOADFLAGS && number_at(head, XLOADFLAGS, 2) & XLF_KERNEL_64;
    /* "32-bit Boot Protocol": the header ends where its jump goes; numon's fields are in it in any case. */
    end = CLAMP((uint64_t)HEADER + head[JUMP_SIZE], (uint64_t)HEADER_END, MIN(head_size, (uint64_t)LINUX_SETUP_END));
    memcpy(l.setup, head + LINUX_SETUP, end - LINUX_SETUP);
    *ret = (struct kernel_image) { .kind = KERNEL_LINUX, .linux_image = l };
    return true;
}

/* --- what it is told -------------------------------------------------------------------------------------------- */

static void
set(uint8_t *page, unsigned offset, unsigned size, uint64_t n)
{
    for (unsigned i = 0; i < size; i++, n >>= 8)
        page[offset + i] = (uint8_t)n;
}

static void
set_map(uint8_t *page, const struct memory_map *ram)
{
    set(page, E820_ENTRIES, 1, ram->count);
    for (unsigned i = 0; i < ram->count; i++) {
        const struct map_entry *e = &ram->entries[i];

        set(page, E820_TABLE + i * E820_SIZE, 8, e->base);
        set(page, E820_TABLE + i * E820_SIZE + 8, 8, e->size);
        set(page, E820_TABLE + i * E820_SIZE + 16, 4, e->type);
    }
}

/* "64-bit Boot Protocol": what the kernel is given lies in identity-mapped memory.  All below 4 GiB, by pages of
 * 2 MiB (Intel SDM 3A, 4.5). */
static bool
write_page_tables(const struct guest_map *map, GError **error)
{
    enum { ENTRIES = 512, PRESENT_WRITABLE = 3, LARGE = 1 << 7, TABLES = 6 };
    g_autofree uint64_t *tables = g_new0(uint64_t, TABLES * ENTRIES);

    G_STATIC_ASSERT(TABLES * PAGE_SIZE <= BOOT_TABLES_SIZE);
    tables[0] = GUINT64_TO_LE((BOOT_TABLES_GPA + PAGE_SIZE) | PRESENT_WRITABLE);
    for (uint64_t i = 0; i < 4; i++)
        tables[ENTRIES + i] = GUINT64_TO_LE((BOOT_TABLES_GPA + (2 + i) * PAGE_SIZE) | PRESENT_WRITABLE);
    for (uint64_t i = 0; i < 4 * ENTRIES; i++)
        tables[2 * ENTRIES + i] = GUINT64_TO_LE(i * 2 * MIB | PRESENT_WRITABLE | LARGE);
    return put(map, BOOT_TABLES_GPA, tables, TABLES * PAGE_SIZE, "page tables", error);
}

/* "32-bit Boot Protocol": flat code at selector 0x10, flat data at 0x18 (Intel SDM 3A, 3.4.5). */
static bool
write_descriptors(const struct guest_map *map, bool wide, GError **error)
{
    uint64_t table[] = {
        0, 0, GUINT64_TO_LE(wide ? UINT64_C(0x00af9b000000ffff) : UINT64_C(0x00cf9b000000ffff)),
        GUINT64_TO_LE(UINT64_C(0x00cf93000000ffff)),
    };

    return put(map, BOOT_MAP_GPA, table, sizeof table, "descriptor table", error);
}

bool
linux_write(const struct telling *t, GError **error)
{
    const struct linux_image *l = &t->files->kernel.image.linux_image;
    g_autofree uint8_t *page = g_malloc0(ZERO_PAGE_SIZE);

    memcpy(page + LINUX_SETUP, l->setup, sizeof l->setup);
    set(page, VID_MODE, 2, VIDEO_NORMAL);
    set(page, TYPE_OF_LOADER, 1, LOADER_UNDEFINED);
    /* The heap is of the code for real mode. */
    page[LOADFLAGS] &= (uint8_t)~LOADFLAG_CAN_USE_HEAP;
    set(page, CODE32_START, 4, t->plan->kernel);
    set(page, CMD_LINE_PTR, 4, BOOT_COMMAND_GPA);
    set(page, RAMDISK_IMAGE, 4, t->files->module_count ? t->plan->modules[0] : 0);
    set(page, RAMDISK_SIZE, 4, t->files->module_count ? t->files->modules[0].file.size : 0);
    set(page, ACPI_RSDP_ADDR, 8, t->rsdp);
    set_map(page, t->ram);
    return put(t->map, BOOT_INFO_GPA, page, ZERO_PAGE_SIZE, "zero page", error) &&
           write_descriptors(t->map, l->wide, error) && (!l->wide || write_page_tables(t->map, error));
}
