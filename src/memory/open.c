/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What lies behind a block's mapping: nothing, a memfd, a shared memory object without a name, or a file of the
 * user's.  Sizes are set here, so that what the host cannot have is refused before anything is mapped. */
#include "memory-private.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

enum { SHM_TRIES = 100 };

#ifndef MFD_HUGE_SHIFT
# define MFD_HUGE_SHIFT 26              /* linux/memfd.h */
#endif

static bool
size_fd(const struct block *b, uint64_t bytes, GError **error)
{
    if (bytes > INT64_MAX)
        return fail_block(b, EFBIG, "create", error);
    return ftruncate(b->fd, (off_t)bytes) == 0 || fail_block(b, errno, "create", error);
}

/* --- memfd ------------------------------------------------------------------------------------------------------ */

static unsigned
memfd_flags(const struct backend_options *o)
{
    unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;

    if (o->hugetlb)
        flags |= MFD_HUGETLB;
    if (o->hugetlbsize)
        flags |= (unsigned)__builtin_ctzll(o->hugetlbsize) << MFD_HUGE_SHIFT;
    return flags;
}

static bool
open_memfd(struct block *b, GError **error)
{
    if (!backend_page_size(&b->options, &b->page_size, error))
        return false;
    b->fd = memfd_create(b->name, memfd_flags(&b->options));
    if (b->fd < 0)
        return fail_block(b, errno, "create", error);
    if (!size_fd(b, b->size, error))
        return false;
    if (b->options.seal && fcntl(b->fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) != 0)
        return fail_block(b, errno, "seal", error);
    return true;
}

/* --- shared memory ---------------------------------------------------------------------------------------------- */

/* Its name goes at once: whoever shall share it gets the descriptor. */
static bool
open_shm(struct block *b, GError **error)
{
    for (unsigned i = 0; b->fd < 0 && i < SHM_TRIES; i++) {
        g_autofree char *name = g_strdup_printf("/numon-%d-%08x", (int)getpid(), g_random_int());

        b->fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (b->fd >= 0)
            shm_unlink(name);
        else if (errno != EEXIST)
            break;
    }
    if (b->fd < 0)
        return fail_block(b, errno, "create shared memory for", error);
    return size_fd(b, b->size, error);
}

/* --- file ------------------------------------------------------------------------------------------------------- */

static bool
fail_file(const struct block *b, int host_errno, const char *verb, GError **error)
{
    return fail_host(error, host_errno,
                     "cannot %s file '%s' of backend '%s'", verb, b->options.mem_path, b->options.id);
}

/* A file without a name in the folder. */
static bool
open_in_folder(struct block *b, GError **error)
{
    g_autofree char *path = g_strdup_printf("%s/numon-%s.XXXXXX", b->options.mem_path, b->options.id);

    b->fd = mkostemp(path, O_CLOEXEC);
    if (b->fd < 0)
        return fail_file(b, errno, "make a file in the folder instead of", error);
    unlink(path);
    b->unnamed = true;
    return true;
}

static bool
open_path(struct block *b, GError **error)
{
    const char *path = b->options.mem_path;

    if (g_file_test(path, G_FILE_TEST_IS_DIR))
        return b->options.readonly ? fail_file(b, EISDIR, "read", error) : open_in_folder(b, error);
    /* A pipe without a writer would hold us for ever; what is no file is refused below. */
    b->fd = open(path, (b->options.readonly ? O_RDONLY : O_RDWR) | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (b->fd < 0 && errno == ENOENT && !b->options.readonly) {
        b->fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        b->made_file = b->fd >= 0;
    }
    return b->fd >= 0 || fail_file(b, errno, "open", error);
}

/* The size of the pages that the file system maps. */
static bool
take_page_size(struct block *b, GError **error)
{
    g_autofree char *size = NULL;
    struct statfs fs;

    if (fstatfs(b->fd, &fs) != 0)
        return fail_file(b, errno, "examine", error);
    b->page_size = fs.f_type == HUGETLBFS_MAGIC ? (uint64_t)fs.f_bsize : PAGE_SIZE;
    size = size_format(b->page_size);
    if (b->size % b->page_size)
        return fail(error, NUMON_ERROR_ARGUMENT,
                    "cannot map backend '%s': its size, %" G_GUINT64_FORMAT " bytes, must be "
                    "a multiple of the page size of file '%s', %s", b->options.id, b->size, b->options.mem_path,
                    size);
    if (b->options.offset % b->page_size)
        return fail(error, NUMON_ERROR_ARGUMENT,
                    "cannot map backend '%s': its offset, %" G_GUINT64_FORMAT " bytes, must "
                    "be a multiple of the page size of file '%s', %s", b->options.id, b->options.offset,
                    b->options.mem_path, size);
    return true;
}

/* An empty file gets the size; one that holds something must have it. */
static bool
take_file_size(struct block *b, GError **error)
{
    uint64_t wanted = b->options.offset + b->size;
    struct stat s;

    if (fstat(b->fd, &s) != 0)
        return fail_file(b, errno, "examine", error);
    if (!S_ISREG(s.st_mode))
        return fail(error, NUMON_ERROR_ARGUMENT, "cannot map backend '%s': '%s' is no regular file", b->options.id,
                    b->options.mem_path);
    b->had_content = s.st_size > 0;
    if (!b->had_content && !b->options.readonly)
        return size_fd(b, wanted, error);
    if ((uint64_t)s.st_size >= wanted)
        return true;
    return fail(error, NUMON_ERROR_ARGUMENT,
                "cannot map backend '%s': backing store size 0x%" G_GINT64_MODIFIER "x of '%s' "
                "does not match 'size' and 'offset', together 0x%" G_GINT64_MODIFIER "x", b->options.id,
                (guint64)s.st_size, b->options.mem_path, wanted);
}

/* Two machines in one piece of a file would destroy each other's guests: a peer is given the same definition.  The
 * lock is the descriptor's (fcntl(2), open file description locks), so it ends with the block; file systems without
 * locks have none. */
static bool
lock_file(const struct block *b, GError **error)
{
    struct flock lock = {
        .l_type = b->options.share ? F_WRLCK : F_RDLCK, .l_whence = SEEK_SET,
        .l_start = (off_t)b->options.offset, .l_len = (off_t)b->size,
    };

    if (fcntl(b->fd, F_OFD_SETLK, &lock) == 0 || (errno != EAGAIN && errno != EACCES))
        return true;
    return fail(error, NUMON_ERROR_STATE,
                "cannot map backend '%s': file '%s' is the memory of another machine (a folder "
                "as mem-path gives each its own file)", b->options.id, b->options.mem_path);
}

static bool
open_file(struct block *b, GError **error)
{
    return open_path(b, error) && lock_file(b, error) && take_page_size(b, error) && take_file_size(b, error);
}

bool
block_open(struct block *b, GError **error)
{
    b->page_size = PAGE_SIZE;
    switch (b->options.kind) {
    case BACKEND_FILE:
        return open_file(b, error);
    case BACKEND_SHM:
        return open_shm(b, error);
    case BACKEND_MEMFD:
        return open_memfd(b, error);
    case BACKEND_RAM:
    case BACKEND_KINDS:
        break;
    }
    return !b->options.share || open_memfd(b, error);
}
