/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Kernel files: which kind.  QEMU's order: Multiboot before ELF with a PVH note before Linux.  A flat binary says
 * nothing of itself, so it must be asked for. */
#include "boot-private.h"

#include <elf.h>
#include <string.h>

#define BUILTIN "builtin:"
#define FLAT "flat:"
#define SUPPORTED "a Linux bzImage ('HdrS' at byte 0x202), an ELF file with a PVH note or a Multiboot 1 header " \
                  "(0x1badb002 in the first 8 KiB), or a file with a Multiboot 1 header that has addresses"

static bool
is_elf(const uint8_t *head, uint64_t size)
{
    return size >= SELFMAG && memcmp(head, ELFMAG, SELFMAG) == 0;
}

static bool
recognise(const struct bootfile *file, const uint8_t *head, uint64_t size, struct kernel_image *ret, GError **error)
{
    struct multiboot_header header;
    bool multiboot = multiboot_find(head, size, &header);

    if (is_elf(head, size)) {
        if (!elf_read(file, head, size, multiboot, ret, error))
            return false;
        return ret->kind == KERNEL_PVH || multiboot ||
               fail_file(file, error, "it is an ELF file with neither a PVH note (XEN_ELFNOTE_PHYS32_ENTRY) nor a "
                         "Multiboot 1 header (0x1badb002 in the first 8 KiB)");
    }
    if (multiboot)
        return multiboot_read(file, &header, ret, error);
    if (linux_recognise(head, size))
        return linux_read(file, head, size, ret, error);
    return fail_file(file, error, "its %" PRIu64 " bytes are of unknown format: numon looked for " SUPPORTED
                     " (`kernel flat:FILE` takes any code for real mode)", file->size);
}

bool
kernel_recognise(const struct bootfile *file, struct kernel_image *ret, GError **error)
{
    uint64_t size = MIN(file->size, KERNEL_HEAD);
    g_autofree uint8_t *head = g_malloc0(KERNEL_HEAD);

    *ret = (struct kernel_image) { .kind = KERNEL_MULTIBOOT };
    return bootfile_read(file, 0, head, size, error) && recognise(file, head, size, ret, error);
}

/* It may fill conventional memory; the code knows the rest by itself. */
static bool
read_flat(const struct bootfile *file, struct kernel_image *ret, GError **error)
{
    if (file->size > BOOT_LOW_RAM_END - BOOT_FLAT_GPA)
        return fail_file(file, error, "a flat binary has at most %d bytes (from 0x%x to 0x%x), it has %" PRIu64,
                         BOOT_LOW_RAM_END - BOOT_FLAT_GPA, BOOT_FLAT_GPA, BOOT_LOW_RAM_END, file->size);
    *ret = (struct kernel_image) { .kind = KERNEL_FLAT, .entry = BOOT_FLAT_GPA, .segment_count = 1 };
    ret->segments[0] = (struct segment) {
        .file_size = file->size, .gpa = BOOT_FLAT_GPA, .memory_size = file->size,
    };
    ret->end = BOOT_FLAT_GPA + file->size;
    return true;
}

bool
kernel_open(const char *name, struct kernel *ret, GError **error)
{
    bool flat = g_str_has_prefix(name, FLAT);

    *ret = (struct kernel) { .file.fd = -1 };
    if (strcmp(name, BUILTIN_WORKLOAD) == 0)
        ret->file = (struct bootfile) {
            .what = "kernel", .name = g_strdup(name), .bytes = builtin_workload, .fd = -1,
            .size = (uint64_t)(builtin_workload_end - builtin_workload),
        };
    else if (g_str_has_prefix(name, BUILTIN))
        return fail(error, NUMON_ERROR_ARGUMENT, "cannot load kernel '%s': the only builtin one is '"
                    BUILTIN_WORKLOAD "'", name);
    else if (!bootfile_open(&ret->file, "kernel", flat ? name + strlen(FLAT) : name, error))
        return false;
    return flat ? read_flat(&ret->file, &ret->image, error) : kernel_recognise(&ret->file, &ret->image, error);
}

/* --- kernel and initrd together --------------------------------------------------------------------------------- */

static bool
add_module(struct boot_files *f, const char *path, const char *text, GError **error)
{
    struct module *m = &f->modules[f->module_count];

    if (f->module_count == MODULES_MAX)
        return fail(error, NUMON_ERROR_LIMIT, "cannot load initrd '%s': it is one more than %d modules", path,
                    MODULES_MAX);
    f->module_count++;
    m->text = g_strdup(text);
    m->file.fd = -1;
    return bootfile_open(&m->file, "initrd", path, error) &&
           (m->file.size <= UINT32_MAX ||
            fail_file(&m->file, error, "it has %" PRIu64 " bytes, the protocols have room for 32-bit sizes",
                      m->file.size));
}

/* "FILE ARGUMENTS,FILE ARGUMENTS"; two commas stand for one in it. */
static bool
add_modules(struct boot_files *f, const char *list, GError **error)
{
    g_autoptr(GString) one = g_string_new(NULL);

    do {
        g_autofree char *path = NULL;

        g_string_truncate(one, 0);
        for (; *list && (*list != ',' || list[1] == ','); list++) {
            g_string_append_c(one, *list);
            list += *list == ',';
        }
        g_strchug(one->str);
        path = g_strndup(one->str, strcspn(one->str, " "));
        if (!*path)
            return fail(error, NUMON_ERROR_ARGUMENT, "cannot load initrd: between two commas of its list of modules "
                        "there is no file name");
        if (!add_module(f, path, one->str, error))
            return false;
    } while (*list++ == ',');
    return true;
}

static bool
open_initrd(struct boot_files *f, const char *initrd, GError **error)
{
    if (f->kernel.file.bytes)
        return fail(error, NUMON_ERROR_ARGUMENT, "cannot load initrd '%s': kernel '%s' takes none", initrd,
                    f->kernel.file.name);
    if (f->kernel.image.kind == KERNEL_FLAT)
        return fail(error, NUMON_ERROR_ARGUMENT, "cannot load initrd '%s': a flat binary takes none", initrd);
    return f->kernel.image.kind == KERNEL_MULTIBOOT ? add_modules(f, initrd, error)
                                                    : add_module(f, initrd, "", error);
}

struct boot_files *
files_open(const char *kernel, const char *initrd, enum boot_part *ret_part, GError **error)
{
    g_autoptr(boot_files) f = g_new0(struct boot_files, 1);

    *ret_part = BOOT_KERNEL;
    if (!kernel_open(kernel, &f->kernel, error))
        return NULL;
    *ret_part = BOOT_INITRD;
    if (initrd && !open_initrd(f, initrd, error))
        return NULL;
    return g_steal_pointer(&f);
}

struct boot_files *
boot_files_open(const char *kernel, const char *initrd, GError **error)
{
    enum boot_part part;

    return files_open(kernel, initrd, &part, error);
}

void
boot_files_free(struct boot_files *f)
{
    if (!f)
        return;
    bootfile_close(&f->kernel.file);
    for (unsigned i = 0; i < f->module_count; i++) {
        bootfile_close(&f->modules[i].file);
        g_free(f->modules[i].text);
    }
    g_free(f);
}
