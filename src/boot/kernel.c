/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Kernel files: which kind, and into guest memory with them. */
#include "boot-private.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BUILTIN "builtin:"
#define SUPPORTED "numon boots ELF kernels with a PVH note and Multiboot 1 kernels"

/* Linux: Documentation/arch/x86/boot.rst, "The Real-Mode Kernel Header". */
enum { LINUX_MAGIC_OFFSET = 0x202 };

static bool
read_whole(int fd, const char *name, uint64_t size, uint8_t *to, GError **error)
{
    for (uint64_t got = 0; got < size; ) {
        ssize_t n = read(fd, to + got, size - got);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail_host(error, errno, "cannot read kernel '%s'", name);
        if (n == 0)
            return fail(error, NUMON_ERROR_HOST, "cannot read kernel '%s': it shrank while it was read", name);
        got += (uint64_t)n;
    }
    return true;
}

static bool
read_file(const char *name, struct kernel *k, GError **error)
{
    CLEANUP_FD int fd = open(name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0)
        return fail_host(error, errno, "cannot open kernel '%s'", name);
    if (!S_ISREG(st.st_mode))
        return fail(error, NUMON_ERROR_ARGUMENT, "cannot load kernel '%s': it is not a regular file", name);
    if ((uint64_t)st.st_size > KERNEL_FILE_MAX)
        return fail(error, NUMON_ERROR_LIMIT, "cannot load kernel '%s': it has %" PRIu64 " bytes, the limit is %"
                    PRIu64, name, (uint64_t)st.st_size, (uint64_t)KERNEL_FILE_MAX);
    k->owned = g_try_malloc((gsize)st.st_size + 1);
    if (!k->owned)
        return fail_host(error, ENOMEM, "cannot read kernel '%s'", name);
    k->file = (struct file_bytes) { k->name, k->owned, (uint64_t)st.st_size };
    return read_whole(fd, name, k->file.size, k->owned, error);
}

static bool
recognise(const struct file_bytes *file, struct kernel_image *ret, GError **error)
{
    struct multiboot_header header;
    bool multiboot = multiboot_find(file, &header);

    if (elf_recognise(file)) {
        if (!elf_read(file, ret, error))
            return false;
        if (ret->kind == KERNEL_PVH || multiboot)
            return true;
        return fail(error, NUMON_ERROR_ARGUMENT,
                    "cannot load kernel '%s': it has neither a PVH note nor a Multiboot header", file->name);
    }
    if (multiboot)
        return multiboot_read(file, &header, ret, error);
    if (file->size >= LINUX_MAGIC_OFFSET + 4 && memcmp(file->bytes + LINUX_MAGIC_OFFSET, "HdrS", 4) == 0)
        return fail(error, NUMON_ERROR_ARGUMENT,
                    "cannot load kernel '%s': it is a Linux bzImage; " SUPPORTED " (Linux's own vmlinux is one)",
                    file->name);
    return fail(error, NUMON_ERROR_ARGUMENT, "cannot load kernel '%s': unknown format; " SUPPORTED, file->name);
}

bool
kernel_open(const char *name, struct kernel *ret, GError **error)
{
    *ret = (struct kernel) { .name = g_strdup(name) };
    if (strcmp(name, BUILTIN_WORKLOAD) == 0)
        ret->file = (struct file_bytes) {
            ret->name, builtin_workload, (uint64_t)(builtin_workload_end - builtin_workload),
        };
    else if (g_str_has_prefix(name, BUILTIN))
        return fail(error, NUMON_ERROR_ARGUMENT, "cannot load kernel '%s': the only builtin one is '"
                    BUILTIN_WORKLOAD "'", name);
    else if (!read_file(name, ret, error))
        return false;
    return recognise(&ret->file, &ret->image, error);
}

void
kernel_release(struct kernel *k)
{
    g_free(k->name);
    g_free(k->owned);
    *k = (struct kernel) { 0 };
}

/* Over section borders; the end does not overflow (image_add). */
static bool
is_ram(const struct guest_map *map, uint64_t gpa, uint64_t size)
{
    for (uint64_t end = gpa + size; gpa < end;) {
        const struct section *s = guest_map_find(map, gpa);

        if (!s)
            return false;
        gpa = s->gpa + s->size;
    }
    return true;
}

bool
kernel_load(const struct kernel *k, const struct guest_map *map, GError **error)
{
    for (unsigned i = 0; i < k->image.segment_count; i++) {
        const struct segment *s = &k->image.segments[i];

        /* Behind what the file has are zeros already; but they must be RAM. */
        if (!is_ram(map, s->gpa, s->memory_size) ||
            !guest_map_write(map, s->gpa, k->file.bytes + s->offset, s->file_size))
            return fail(error, NUMON_ERROR_ARGUMENT, "cannot load kernel '%s': %" PRIu64 " bytes at 0x%" PRIx64
                        " are not all guest RAM", k->name, s->memory_size, s->gpa);
    }
    return true;
}
