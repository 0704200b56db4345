/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the files of src/boot share: where numon puts things into guest memory, and the parts of a start. */
#ifndef BOOT_PRIVATE_H
#define BOOT_PRIVATE_H

#include "boot.h"

#include <inttypes.h>

/* --- guest physical layout below 1 MiB: a PC's conventional memory is free where there is no firmware ----------- */

enum {
    BOOT_INFO_GPA       = 0x6000,       /* PVH start info or Multiboot information; any RAM by their protocols */
    BOOT_MAP_GPA        = 0x7000,       /* the memory map they point to */
    BOOT_MAP_ENTRIES    = 128,
    BOOT_COMMAND_GPA    = 0x9000,       /* command line; 0x8000 is the workload guest's trampoline */
    BOOT_COMMAND_SIZE   = 4096,         /* with its NUL */
    BOOT_LOW_RAM_END    = 0x9fc00,      /* where a PC's extended BIOS data area begins (640 KiB - 1 KiB) */
    BOOT_ACPI_GPA       = LAYOUT_ACPI_GPA,
    BOOT_ACPI_END       = LAYOUT_ACPI_GPA + LAYOUT_ACPI_SIZE,
    BOOT_RSDP_GPA       = LAYOUT_RSDP_GPA,
    BOOT_HIGH_RAM       = 0x100000,     /* kernels may lie from here on */
};

/* --- kernel files ----------------------------------------------------------------------------------------------- */

enum {
    KERNEL_SEGMENTS = 64,
};
#define KERNEL_FILE_MAX (512 * MIB)

/* A file in memory; hostile. */
struct file_bytes {
    const char *name;                   /* as the user gave it, for messages */
    const uint8_t *bytes;
    uint64_t size;
};

struct segment {
    uint64_t offset, file_size;         /* within the file (checked) */
    uint64_t gpa, memory_size;          /* the rest is zeros; from BOOT_HIGH_RAM on, no overflow (checked) */
};

enum kernel_kind { KERNEL_PVH, KERNEL_MULTIBOOT };

/* What is to be loaded where. */
struct kernel_image {
    enum kernel_kind kind;
    uint32_t entry;                     /* 32-bit protected mode, paging off */
    struct segment segments[KERNEL_SEGMENTS];
    unsigned segment_count;
    uint64_t end;                       /* first guest physical byte after the last segment */
};

struct kernel {
    char *name;
    uint8_t *owned;                     /* file contents; NULL for the builtin one */
    struct file_bytes file;
    struct kernel_image image;
};

/* Reads and recognises a kernel.  '*ret' must be released also after an error. */
bool kernel_open(const char *name, struct kernel *ret, GError **error);
void kernel_release(struct kernel *k);
bool kernel_load(const struct kernel *k, const struct guest_map *map, GError **error);

/* True if the file says it is ELF. */
bool elf_recognise(const struct file_bytes *file);
/* Reads headers, segments, entry and the PVH note.  'ret->kind' is KERNEL_PVH with that note's entry, else
 * KERNEL_MULTIBOOT with the file's own. */
bool elf_read(const struct file_bytes *file, struct kernel_image *ret, GError **error);
/* Adds a segment after checking it against the file and against numon's own places. */
bool image_add(struct kernel_image *image, const struct file_bytes *file, const struct segment *s, GError **error);

struct multiboot_header { uint32_t offset, flags, header_address, load_address, load_end, bss_end, entry; };
/* Finds the Multiboot 1 header; false if there is none. */
bool multiboot_find(const struct file_bytes *file, struct multiboot_header *ret);
/* For a header with address fields: the flat image it describes. */
bool multiboot_read(const struct file_bytes *file, const struct multiboot_header *h, struct kernel_image *ret,
                    GError **error);

/* The image linked into this program. */
extern const uint8_t builtin_workload[], builtin_workload_end[];

/* --- what the kernel is told ------------------------------------------------------------------------------------ */

enum { MAP_RAM = 1, MAP_RESERVED = 2 };     /* ACPI 6.4, table 15-374 */
struct map_entry { uint64_t base, size; uint32_t type, reserved; };

/* RAM as firmware would report it, by rising address; neighbours joined.  At most 'limit'; returns how many. */
unsigned memory_map_build(const struct guest_map *map, struct map_entry *ret, unsigned limit);
/* Writes start info (Multiboot information) with command line, memory map and, for PVH, the RSDP. */
bool pvh_write(const struct guest_map *map, const char *command_line, uint64_t rsdp, GError **error);
bool multiboot_write(const struct guest_map *map, const char *command_line, GError **error);
/* Writes into guest memory; the error names 'what' and the place. */
bool put(const struct guest_map *map, uint64_t gpa, const void *bytes, uint64_t size, const char *what,
         GError **error);

/* --- ACPI ------------------------------------------------------------------------------------------------------- */

struct acpi_header {                    /* ACPI 6.4, table 5-28 */
    char signature[4];
    uint32_t length;                    /* bytes, header included */
    uint8_t revision, checksum;
    char oem_id[6], oem_table_id[8];
    uint32_t oem_revision;
    char creator_id[4];
    uint32_t creator_revision;
} __attribute__((packed));
G_STATIC_ASSERT(sizeof(struct acpi_header) == 36);

/* An array that begins with 'size' zero bytes whose header is filled in, but for length and checksum. */
GByteArray *acpi_table_begin(const char *signature, uint8_t revision, unsigned size);
/* Sets length and checksum. */
void acpi_table_end(GByteArray *table);

GByteArray *fadt_build(uint64_t dsdt);
GByteArray *madt_build(const struct topology_final *topology);
GByteArray *srat_build(const struct acpi_setup *s);
GByteArray *slit_build(const struct topology_final *topology);
GByteArray *hmat_build(const struct topology_final *topology, const struct hmat *h);
/* The DSDT, made by iasl. */
extern const uint8_t acpi_dsdt[], acpi_dsdt_end[];
/* Builds all tables and writes them. */
bool acpi_write(const struct acpi_setup *s, const struct guest_map *map, GError **error);

/* The largest id that the 8-bit local APIC structures can carry; above, x2APIC ones (ACPI 6.4, 5.2.12.12). */
enum { XAPIC_ID_MAX = 254 };

/* --- first registers -------------------------------------------------------------------------------------------- */

/* 32-bit protected mode as both protocols want it. */
void start_protected(enum kernel_kind kind, uint32_t entry, struct cpu_start *ret);
/* CPU 'index' of the workload guest, straight in user mode. */
void start_direct(const struct control_head *head, unsigned index, struct cpu_start *ret);
void start_waiting(struct cpu_start *ret);

#endif
