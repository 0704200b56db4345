/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the files of src/boot share: where numon puts things into guest memory, and the parts of a start. */
#ifndef BOOT_PRIVATE_H
#define BOOT_PRIVATE_H

#include "boot.h"

#include <inttypes.h>

/* --- guest physical layout below 1 MiB: a PC's conventional memory is free where there is no firmware ----------- */

enum {
    BOOT_INFO_GPA       = 0x6000,       /* PVH start info, Multiboot information or Linux's zero page; any RAM does */
    BOOT_INFO_SIZE      = 0x1000,
    BOOT_MAP_GPA        = 0x7000,       /* the memory map they point to; for Linux the descriptor table instead */
    BOOT_MAP_ENTRIES    = 128,
    BOOT_STACK_TOP      = 0x9000,       /* for Linux; 0x8000 is the workload guest's trampoline */
    BOOT_COMMAND_GPA    = 0x9000,       /* command line */
    BOOT_COMMAND_SIZE   = 4096,         /* with its NUL */
    BOOT_TABLES_GPA     = 0xa000,       /* page tables for Linux's 64-bit entry, else texts of Multiboot modules */
    BOOT_TABLES_SIZE    = 0x6000,
    BOOT_FLAT_GPA       = 0x10000,      /* a flat binary: where lkvm has it too */
    BOOT_LOW_RAM_END    = 0x9fc00,      /* where a PC's extended BIOS data area begins (640 KiB - 1 KiB) */
    BOOT_ACPI_LEAST     = 0xa0000,      /* a PC's video memory, which this machine has not: for tables that are
                                         * large */
    BOOT_ACPI_END       = 0xffff0,
    BOOT_RSDP_GPA       = LAYOUT_RSDP_GPA,
    BOOT_RESET_GPA      = 0xffff0,      /* f000:fff0, where a PC's firmware begins: who jumps there wants a reset */
    BOOT_HIGH_RAM       = 0x100000,     /* kernels may lie from here on */
};

/* --- files (bootfile.c) ----------------------------------------------------------------------------------------- */

/* An open file, or bytes of this program.  Its contents are hostile and may change while it is open. */
struct bootfile {
    const char *what;                   /* "kernel" or "initrd", for messages */
    char *name;                         /* as the user gave it */
    const uint8_t *bytes;               /* of this program; NULL: there is a descriptor */
    int fd;
    uint64_t size;                      /* bytes, when it was opened */
};

/* Opens a regular file; close it also after an error. */
bool bootfile_open(struct bootfile *f, const char *what, const char *name, GError **error);
void bootfile_close(struct bootfile *f);
/* Reads 'size' bytes at 'offset', all of them.  Error: HOST. */
bool bootfile_read(const struct bootfile *f, uint64_t offset, void *to, uint64_t size, GError **error);
/* Reads into guest memory, which must be RAM there, and clears behind up to 'memory_size'. */
bool bootfile_load(const struct bootfile *f, uint64_t offset, uint64_t size, const struct guest_map *map,
                   uint64_t gpa, uint64_t memory_size, GError **error);
/* True if [offset, offset + size) lies in the file. */
bool bootfile_has(const struct bootfile *f, uint64_t offset, uint64_t size);
/* A little-endian number of 1 to 8 bytes at a place known to be there. */
uint64_t number_at(const uint8_t *bytes, uint64_t offset, unsigned size);
/* "cannot load kernel 'NAME': " and the rest.  Error: ARGUMENT. */
bool fail_file(const struct bootfile *f, GError **error, const char *format, ...) G_GNUC_PRINTF(3, 4);

/* --- kernel files ----------------------------------------------------------------------------------------------- */

enum {
    KERNEL_SEGMENTS = 64,
    KERNEL_HEAD = 8192,                 /* what says which kind it is lies within */
    MODULES_MAX = 64,
};

struct segment {
    uint64_t offset, file_size;         /* within the file (checked) */
    uint64_t gpa, memory_size;          /* the rest is zeros; from BOOT_HIGH_RAM on, no overflow (checked) */
};

enum kernel_kind { KERNEL_PVH, KERNEL_MULTIBOOT, KERNEL_LINUX, KERNEL_FLAT };

/* Linux's setup header: from 0x1f1 on, at most up to what follows it in struct boot_params. */
enum { LINUX_SETUP = 0x1f1, LINUX_SETUP_END = 0x290 };

struct linux_image {
    uint8_t setup[LINUX_SETUP_END - LINUX_SETUP];       /* zeros behind its end */
    uint64_t offset, size;              /* of the part in protected mode, in the file */
    bool wide;                          /* it has the 64-bit entry */
    bool relocatable;
    uint64_t alignment, preferred;      /* preferred: 0 if it does not say */
    uint64_t room;                      /* bytes that it needs from its run-time start on */
    uint64_t initrd_limit;              /* first address that an initrd may not have */
    uint64_t command_limit;             /* characters */
};

/* What is to be loaded where. */
struct kernel_image {
    enum kernel_kind kind;
    uint64_t entry;                     /* 32-bit protected mode, paging off; not of Linux */
    struct segment segments[KERNEL_SEGMENTS];           /* not of Linux */
    unsigned segment_count;
    uint64_t end;                       /* first guest physical byte after the last segment */
    struct linux_image linux_image;
};

struct kernel {
    struct bootfile file;
    struct kernel_image image;
};

struct module { struct bootfile file; char *text; };        /* text: what a Multiboot kernel is told */

struct boot_files {
    struct kernel kernel;
    struct module modules[MODULES_MAX];
    unsigned module_count;
};

/* boot_files_open; '*ret_part' is what an error is about. */
struct boot_files *files_open(const char *kernel, const char *initrd, enum boot_part *ret_part, GError **error);
/* Opens and recognises a kernel.  '*ret' must be released also after an error. */
bool kernel_open(const char *name, struct kernel *ret, GError **error);
/* Recognises an open one. */
bool kernel_recognise(const struct bootfile *file, struct kernel_image *ret, GError **error);

/* Reads headers, segments, entry and the PVH note.  'ret->kind' is KERNEL_PVH with that note's entry, else
 * KERNEL_MULTIBOOT with the file's own; a 32-bit file with a Multiboot header is taken by that, as QEMU does. */
bool elf_read(const struct bootfile *file, const uint8_t *head, uint64_t head_size, bool multiboot,
              struct kernel_image *ret, GError **error);
/* Adds a segment after checking it against the file, the others and numon's own places. */
bool image_add(struct kernel_image *image, const struct bootfile *file, const struct segment *s, GError **error);
/* Checks that the kernel begins in something that is loaded. */
bool image_check_entry(const struct kernel_image *image, const struct bootfile *file, GError **error);

struct multiboot_header { uint32_t offset, flags, header_address, load_address, load_end, bss_end, entry; };
/* Finds the Multiboot 1 header; false if there is none. */
bool multiboot_find(const uint8_t *head, uint64_t head_size, struct multiboot_header *ret);
/* For a header with address fields: the flat image it describes. */
bool multiboot_read(const struct bootfile *file, const struct multiboot_header *h, struct kernel_image *ret,
                    GError **error);

/* True if there is a Linux setup header. */
bool linux_recognise(const uint8_t *head, uint64_t head_size);
bool linux_read(const struct bootfile *file, const uint8_t *head, uint64_t head_size, struct kernel_image *ret,
                GError **error);

/* The image linked into this program. */
extern const uint8_t builtin_workload[], builtin_workload_end[];

/* --- where it all goes (plan.c) --------------------------------------------------------------------------------- */

enum { MAP_RAM = 1, MAP_RESERVED = 2 };     /* ACPI 6.4, table 15-374 */
struct map_entry { uint64_t base, size; uint32_t type, reserved; };
struct memory_map { struct map_entry entries[BOOT_MAP_ENTRIES]; unsigned count; };

/* RAM as firmware would report it, by rising address; neighbours joined. */
void memory_map_build(const struct guest_map *map, struct memory_map *ret);
/* The same of a machine that is not built, with so much RAM. */
void memory_map_of(uint64_t ram_bytes, struct memory_map *ret);

struct plan {
    bool kernel_fits;                   /* also when a module does not */
    uint64_t kernel;                    /* where Linux is loaded */
    uint64_t modules[MODULES_MAX];
};

/* Finds room for kernel and modules.  Error: ARGUMENT, naming the file, what it wants and what there is. */
bool plan_make(const struct boot_files *files, const struct memory_map *ram, struct plan *ret, GError **error);

/* --- what the kernel is told ------------------------------------------------------------------------------------ */

struct telling {
    const struct guest_map *map;
    const struct memory_map *ram;
    const struct boot_files *files;
    const struct plan *plan;
    const char *command_line;
    uint64_t rsdp;
};

/* Write start info, Multiboot information or zero page, with command line, memory map and modules. */
bool pvh_write(const struct telling *t, GError **error);
bool multiboot_write(const struct telling *t, GError **error);
bool linux_write(const struct telling *t, GError **error);
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
/* How many kinds of latency and bandwidth an HMAT of so many bytes could have beside its other structures, how many
 * kinds were given, and the bytes that one takes. */
uint64_t hmat_kinds_that_fit(const struct topology_final *topology, const struct hmat *h, uint64_t room,
                             unsigned *ret_kinds, uint64_t *ret_bytes);
/* The DSDT, made by iasl. */
extern const uint8_t acpi_dsdt[], acpi_dsdt_end[];
/* Builds all tables and writes them. */
bool acpi_write(const struct acpi_setup *s, const struct guest_map *map, GError **error);

/* The largest id that the 8-bit local APIC structures can carry; above, x2APIC ones (ACPI 6.4, 5.2.12.12). */
enum { XAPIC_ID_MAX = 254 };

/* --- first registers -------------------------------------------------------------------------------------------- */

/* 32-bit protected mode as PVH and Multiboot want it. */
void start_protected(enum kernel_kind kind, uint32_t entry, struct cpu_start *ret);
/* Linux, loaded at 'load', by its 64-bit entry or its 32-bit one. */
void start_linux(bool wide, uint64_t load, struct cpu_start *ret);
/* A flat binary, in real mode. */
void start_flat(struct cpu_start *ret);
/* CPU 'index' of the workload guest, straight in user mode. */
void start_direct(const struct control_head *head, unsigned index, struct cpu_start *ret);
void start_waiting(struct cpu_start *ret);

#endif
