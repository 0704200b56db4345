/* SPDX-License-Identifier: GPL-3.0-or-later */
/* RAM blocks: the host memory behind one backend.
 *
 *   kind    share   mapping                              discarded by
 *   ram     off     private anonymous, huge pages asked  MADV_DONTNEED
 *   ram     on      shared mapping of a memfd            hole punch
 *   memfd   off     private mapping of a memfd           MADV_DONTNEED (the file itself stays a hole)
 *   memfd   on      shared mapping of a memfd            hole punch
 *
 * A shared "ram" block has a memfd behind it too, so that its holes can be told from its zeros (SEEK_DATA).  Nothing
 * is reserved beyond what the host's overcommit rule wants: a size that the host cannot have is refused by mmap or
 * ftruncate, and is an error here. */
#include "memory.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

enum { HUGE_SIZE = 2 * 1024 * 1024 };

#ifndef MADV_POPULATE_WRITE
# define MADV_POPULATE_WRITE 23         /* linux/mman-common.h, since 5.14 */
#endif

static bool
fail_block(const struct block *b, int host_errno, const char *verb, GError **error)
{
    g_autofree char *size = size_format(b->size);

    return fail_host(error, host_errno, "cannot %s backend '%s' (%s)", verb, b->name, size);
}

static bool
open_memfd(struct block *b, GError **error)
{
    if (b->size > INT64_MAX)
        return fail_block(b, EFBIG, "create", error);
    b->fd = memfd_create(b->name, MFD_CLOEXEC);
    if (b->fd < 0)
        return fail_block(b, errno, "create", error);
    if (ftruncate(b->fd, (off_t)b->size) != 0)
        return fail_block(b, errno, "create", error);
    return true;
}

/* Maps anonymous memory so that host and guest agree on where huge pages begin: takes more, gives back the ends. */
static void *
map_aligned(uint64_t size)
{
    uint64_t room = size + HUGE_SIZE;
    uint8_t *raw, *host;

    if (room < size) {
        errno = ENOMEM;
        return MAP_FAILED;
    }
    raw = mmap(NULL, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (raw == MAP_FAILED)
        return MAP_FAILED;
    host = (uint8_t *)(((uintptr_t)raw + HUGE_SIZE - 1) / HUGE_SIZE * HUGE_SIZE);
    if (host > raw)
        munmap(raw, (size_t)(host - raw));
    if (raw + room > host + size)
        munmap(host + size, (size_t)(raw + room - (host + size)));
    /* Only now is it accounted: what the host cannot have is refused here. */
    raw = mmap(host, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    if (raw == MAP_FAILED) {
        int host_errno = errno;

        munmap(host, size);
        errno = host_errno;
    }
    return raw;
}

static bool
map_block(struct block *b, GError **error)
{
    void *host;

    if (b->options.kind == BACKEND_RAM && !b->options.share) {
        host = map_aligned(b->size);
    } else {
        if (!open_memfd(b, error))
            return false;
        host = mmap(NULL, b->size, PROT_READ | PROT_WRITE, b->options.share ? MAP_SHARED : MAP_PRIVATE, b->fd, 0);
    }
    if (host == MAP_FAILED)
        return fail_block(b, errno, "map", error);
    b->host = host;
    return true;
}

/* Merging and huge pages are advice: a host without them is no error. */
static bool
advise_block(struct block *b, GError **error)
{
    if (madvise(b->host, b->size, MADV_DONTFORK) != 0)
        return fail_block(b, errno, "keep from child processes", error);
    if (!b->options.dump && madvise(b->host, b->size, MADV_DONTDUMP) != 0)
        return fail_block(b, errno, "keep from core dumps", error);
    if (b->options.merge)
        (void)madvise(b->host, b->size, MADV_MERGEABLE);
    if (b->fd < 0)
        (void)madvise(b->host, b->size, MADV_HUGEPAGE);
    return true;
}

/* For kernels without MADV_POPULATE_WRITE: fallocate first, for a touch that shared memory cannot serve is SIGBUS. */
static int
populate_by_touch(struct block *b)
{
    if (b->fd >= 0 && fallocate(b->fd, 0, 0, (off_t)b->size) != 0)
        return errno;
    for (uint64_t at = 0; at < b->size; at += PAGE_SIZE)
        *(volatile uint8_t *)(b->host + at) = 0;
    return 0;
}

static bool
populate_block(struct block *b, GError **error)
{
    int host_errno = 0;

    if (madvise(b->host, b->size, MADV_POPULATE_WRITE) != 0)
        host_errno = errno;
    if (host_errno == EINVAL)
        host_errno = populate_by_touch(b);
    if (host_errno)
        return fail_block(b, host_errno, "preallocate", error);
    return true;
}

struct block *
block_new(const struct backend_options *options, GError **error)
{
    g_autoptr(block) b = g_new0(struct block, 1);

    g_strlcpy(b->name, options->id, sizeof b->name);
    b->size = options->size;
    b->page_count = options->size / PAGE_SIZE;
    b->fd = -1;
    b->options = *options;
    if (!map_block(b, error) || !advise_block(b, error))
        return NULL;
    if (options->prealloc && !populate_block(b, error))
        return NULL;
    return g_steal_pointer(&b);
}

void
block_free(struct block *b)
{
    if (!b)
        return;
    if (b->host)
        munmap(b->host, b->size);
    close_fd(&b->fd);
    g_free(b);
}

bool
block_discard(struct block *b, GError **error)
{
    int status;

    if (b->options.share)
        status = fallocate(b->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)b->size);
    else
        status = madvise(b->host, b->size, MADV_DONTNEED);
    if (status != 0)
        return fail_block(b, errno, "clear", error);
    return true;
}
