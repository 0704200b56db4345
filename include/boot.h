/* SPDX-License-Identifier: GPL-3.0-or-later */
/* From a definition's kernel to guest memory and first register state: kernel files, ACPI tables, the start of each
 * CPU.  Pure functions over guest memory; any thread while vCPUs are parked. */
#ifndef BOOT_H
#define BOOT_H

#include "base.h"
#include "control-page.h"
#include "memory.h"
#include "topology.h"

/* Where RAM lies in guest physical space: the gap below 4 GiB is for the local APIC, the I/O APIC and devices, as on
 * QEMU's q35 with gigabyte alignment. */
#define LAYOUT_LOW_END    (3 * GIB)
#define LAYOUT_HIGH_START (4 * GIB)

/* PC interrupt controllers: Intel 82093AA 3.0 and Intel SDM 3A, 10.4.1. */
#define LAYOUT_IO_APIC_GPA    UINT32_C(0xfec00000)
#define LAYOUT_LOCAL_APIC_GPA UINT32_C(0xfee00000)
enum { LAYOUT_APIC_SIZE = 4096 };
/* Where the ACPI tables are: the RSDP is searched in the upper half (ACPI 6.4, 5.2.5.1).  The guest cannot write
 * there. */
enum { LAYOUT_ACPI_GPA = 0xc0000, LAYOUT_ACPI_SIZE = 0x40000, LAYOUT_RSDP_GPA = 0xe0000 };

/* How many of 'size' bytes of RAM lie in one piece at '*gpa', which is moved up first to where RAM goes on. */
uint64_t layout_piece(uint64_t *gpa, uint64_t size);

struct cpu_segment {
    uint16_t selector;
    uint64_t base;
    uint32_t limit;                 /* bytes - 1 */
    uint8_t type, dpl, present, db, s, l, g;    /* as in struct kvm_segment */
};

/* The registers a CPU starts with; what is not named is as after reset. */
struct cpu_start {
    enum cpu_start_kind {
        CPU_START_DIRECT,           /* runs from these registers */
        CPU_START_WAIT,             /* waits for INIT-SIPI */
    } kind;
    uint64_t rip, rsp, rflags, rax, rbx, rcx, rdx, rsi, rdi, rbp;
    uint64_t cr0, cr3, cr4, efer;
    struct cpu_segment cs, ds, es, fs, gs, ss, tr, ldt;
    uint64_t gdt_base, idt_base;
    uint16_t gdt_limit, idt_limit;
};

/* Kernel and initrd, open and recognised; they stay open, so that a reset finds them even if the names are gone. */
struct boot_files;
/* 'kernel': path, "builtin:workload", or "flat:" and the path of code for real mode.  'initrd': NULL, or a path; for
 * a Multiboot kernel "FILE ARGUMENTS,FILE ARGUMENTS" as QEMU has it, a comma in a name being written twice.
 * Error: ARGUMENT, LIMIT or HOST, naming the file and what was looked for.  Any thread. */
struct boot_files *boot_files_open(const char *kernel, const char *initrd, GError **error);
void boot_files_free(struct boot_files *files);     /* NULL is fine */
typedef struct boot_files boot_files;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(boot_files, boot_files_free)

struct boot_setup {
    const struct guest_map *map;
    const struct topology_final *topology;
    const struct hmat *hmat;        /* NULL: the guest is not told of latencies and bandwidths */
    const struct boot_files *files;
    bool loaded;                    /* boot_load_files was called with them */
    const char *command_line;       /* may be NULL */
    bool direct_cpus;               /* start the workload guest's other CPUs directly */
    /* For the workload guest; other kernels ignore them. */
    const struct control_parameters *workload;      /* put into the control page; NULL: it parses its command line */
    uint64_t tsc_khz;               /* frequency of the time stamp counter; 0: the guest finds out */
};

/* Loads kernel and initrd alone, which takes long where they are large.  Any thread.  Error as of boot_load. */
bool boot_load_files(const struct boot_files *files, const struct guest_map *map, GError **error);
/* Loads kernel, initrd, command line and ACPI tables into guest memory (fresh: all zeros) and fills 'starts' (one a
 * CPU slot).  Error: ARGUMENT or HOST naming the file and what was looked for; guest memory may then be half written.
 * Does not mark pages dirty. */
bool boot_load(const struct boot_setup *setup, struct cpu_start *starts, GError **error);
/* Says anew which CPUs there are, to a guest that was loaded and has not begun. */
void boot_update_cpus(const struct topology_final *topology, const struct hmat *hmat, const struct guest_map *map);
/* How a CPU starts that is not the first: the workload guest, if it lies in memory and numon loaded it, has it run at
 * once; else it waits. */
void boot_start_cpu(const struct guest_map *map, unsigned slot, struct cpu_start *ret);
/* Checks that kernel and initrd exist, are of a known kind and fit RAM, and that the kernel takes the command line
 * (may be NULL), without a machine.  '*ret_part' (may be NULL) says what an error is about. */
enum boot_part { BOOT_KERNEL, BOOT_INITRD, BOOT_COMMAND_LINE };
bool boot_check(const char *kernel, const char *initrd, const char *command_line, uint64_t ram_bytes,
                enum boot_part *ret_part, GError **error);
/* Checks that a kernel can be given this command line.  Error: LIMIT. */
bool boot_check_command_line(const char *text, GError **error);
/* Path of the installed or built image behind "builtin:workload", or NULL with an error saying where it looked.
 * Caller frees. */
char *boot_builtin_path(GError **error);

/* --- ACPI tables: what the guest is told, also before there is a machine ---------------------------------------- */

struct acpi_setup {
    const struct topology_final *topology;
    const struct hmat *hmat;        /* NULL: no HMAT */
    uint64_t device_base, device_size;      /* where memory devices may come to lie; size 0: nowhere */
};
struct acpi_table {
    char signature[5];              /* "RSDP", "FACP", "DSDT", "APIC", "SRAT", "SLIT", "HMAT", "XSDT" */
    uint64_t gpa;
    GByteArray *bytes;              /* as in guest memory */
};
/* All tables, struct acpi_table *; caller unrefs.  NULL with LIMIT: there is no room for them. */
GPtrArray *acpi_build(const struct acpi_setup *s, GError **error);
/* Those in guest memory, found from the RSDP on and not looked into: they may be wrong.  Caller unrefs.  NULL with
 * STATE: there are none, or one points to none. */
GPtrArray *acpi_read(const struct guest_map *map, GError **error);

#endif
