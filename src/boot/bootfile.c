/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Files that are loaded.  They are read where and when something of them is wanted, straight into guest memory: so a
 * large one costs no memory of numon's, and one that changes or shrinks meanwhile is an error and no more. */
#include "boot-private.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool
fail_file(const struct bootfile *f, GError **error, const char *format, ...)
{
    g_autofree char *text = NULL;
    va_list args;

    va_start(args, format);
    text = g_strdup_vprintf(format, args);
    va_end(args);
    return fail(error, NUMON_ERROR_ARGUMENT, "cannot load %s '%s': %s", f->what, f->name, text);
}

static const char *
type_name(mode_t mode)
{
    return S_ISDIR(mode) ? "a folder" : S_ISFIFO(mode) ? "a pipe" : S_ISSOCK(mode) ? "a socket" : "a device";
}

bool
bootfile_open(struct bootfile *f, const char *what, const char *name, GError **error)
{
    struct stat st;

    /* O_NONBLOCK: a pipe that nobody writes to would be waited for. */
    *f = (struct bootfile) {
        .what = what, .name = g_strdup(name), .fd = open(name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY),
    };
    if (f->fd < 0 || fstat(f->fd, &st) < 0)
        return fail_host(error, errno, "cannot open %s '%s'", what, name);
    if (!S_ISREG(st.st_mode))
        return fail_file(f, error, "it is %s, not a file", type_name(st.st_mode));
    if (st.st_size == 0)
        return fail_file(f, error, "it is empty");
    f->size = (uint64_t)st.st_size;
    return true;
}

void
bootfile_close(struct bootfile *f)
{
    if (f->name && !f->bytes && f->fd >= 0)
        close(f->fd);
    g_free(f->name);
    *f = (struct bootfile) { .fd = -1 };
}

bool
bootfile_has(const struct bootfile *f, uint64_t offset, uint64_t size)
{
    return offset <= f->size && size <= f->size - offset;
}

uint64_t
number_at(const uint8_t *bytes, uint64_t offset, unsigned size)
{
    uint64_t n = 0;

    for (unsigned i = size; i-- > 0;)
        n = n << 8 | bytes[offset + i];
    return n;
}

bool
bootfile_read(const struct bootfile *f, uint64_t offset, void *to, uint64_t size, GError **error)
{
    g_assert(bootfile_has(f, offset, size));
    if (f->bytes) {
        memcpy(to, f->bytes + offset, size);
        return true;
    }
    for (uint64_t got = 0; got < size;) {
        ssize_t n = pread(f->fd, (uint8_t *)to + got, size - got, (off_t)(offset + got));

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail_host(error, errno, "cannot read %s '%s' at byte %" PRIu64, f->what, f->name, offset + got);
        if (n == 0)
            return fail(error, NUMON_ERROR_HOST, "cannot read %s '%s': it had %" PRIu64 " bytes when it was opened "
                        "and has %" PRIu64 " now", f->what, f->name, f->size, offset + got);
        got += (uint64_t)n;
    }
    return true;
}

/* One piece within a section: what the file has of it, then zeros.  Fresh memory has them already. */
static bool
load_piece(const struct bootfile *f, uint64_t offset, uint64_t size, const struct section *s, uint8_t *to,
           uint64_t memory_size, GError **error)
{
    if (!bootfile_read(f, offset, to, size, error))
        return false;
    if (s->block->had_content)
        memset(to + size, 0, memory_size - size);
    return true;
}

bool
bootfile_load(const struct bootfile *f, uint64_t offset, uint64_t size, const struct guest_map *map, uint64_t gpa,
              uint64_t memory_size, GError **error)
{
    uint64_t start = gpa, end = gpa + memory_size;

    while (gpa < end) {
        const struct section *s = guest_map_find(map, gpa);
        uint64_t piece = s ? MIN(end, s->gpa + s->size) - gpa : 0, from_file = MIN(piece, size);
        uint8_t *to = s && s->block ? guest_map_host(map, gpa, piece) : NULL;

        if (!to)
            return fail_file(f, error, "%" PRIu64 " bytes at 0x%" PRIx64 " are not all guest RAM", memory_size,
                             start);
        if (!load_piece(f, offset, from_file, s, to, piece, error))
            return false;
        offset += from_file;
        size -= from_file;
        gpa += piece;
    }
    return true;
}
