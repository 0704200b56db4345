/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Memory that goes from one process to another without being copied: the descriptor of a block's memfd, whose size is
 * sealed, is mapped in place of another block's memory, at the same address.
 *
 *   own         host: the block's memfd                 fd: the same      a block as it was made
 *   shown       host: another memfd, to be read only    fd: the own one   what was handed over may be looked at
 *   adopted     host: that memfd, to be written         fd: that one      it is the block's memory now
 *
 * While it is shown nobody can change it from here, whatever goes wrong: a write ends the process, and what gives the
 * block's memory back to the host reaches the own one alone.  block_renew leads from any of the three to fresh
 * memory, so that what was handed over, or taken along, is out of reach for good.  The number of the descriptor stays
 * the same. */
#include "memory-private.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

enum { SIZE_SEALS = F_SEAL_SHRINK | F_SEAL_GROW, WRITE_SEALS = F_SEAL_WRITE | F_SEAL_FUTURE_WRITE };

static bool
is_shared_memfd(const struct block *b, GError **error)
{
    const struct backend_options *o = &b->options;

    if (b->fd >= 0 && o->share && (o->kind == BACKEND_RAM || o->kind == BACKEND_MEMFD))
        return true;
    return fail(error, NUMON_ERROR_STATE, "the memory of '%s' is %s with share=%s, which only its own process has (a "
                "memory-backend-memfd with share=on can be handed over)", b->name, backend_kind_names[o->kind],
                o->share ? "on" : "off");
}

bool
block_may_hand_over(const struct block *b, GError **error)
{
    if (!is_shared_memfd(b, error))
        return false;
    if (b->options.kind == BACKEND_MEMFD && !b->options.seal)
        return fail(error, NUMON_ERROR_STATE, "the memory of '%s' has seal=off: it cannot be handed over, as anybody "
                    "could change its size", b->name);
    /* Nobody here ever changes it. */
    if (fcntl(b->fd, F_ADD_SEALS, SIZE_SEALS) == 0 || (fcntl(b->fd, F_GET_SEALS) & SIZE_SEALS) == SIZE_SEALS)
        return true;
    return fail_block(b, errno, "seal", error);
}

bool
block_may_take_over(const struct block *b, GError **error)
{
    return is_shared_memfd(b, error);
}

/* The size of the pages of a memory file system's file; 0: it is of another. */
static uint64_t
memory_page_size(int fd)
{
    struct statfs fs;

    if (fstatfs(fd, &fs) != 0)
        return 0;
    if (fs.f_type == HUGETLBFS_MAGIC)
        return (uint64_t)fs.f_bsize;
    return fs.f_type == TMPFS_MAGIC ? PAGE_SIZE : 0;
}

bool
block_check_offer(const struct block *b, int fd, bool to_keep, GError **error)
{
    int seals = fcntl(fd, F_GET_SEALS), flags = fcntl(fd, F_GETFL);
    uint64_t page_size = memory_page_size(fd);
    struct stat s;

    if (fstat(fd, &s) != 0 || !S_ISREG(s.st_mode) || page_size == 0 || seals < 0)
        return fail(error, NUMON_ERROR_PEER, "what was handed over for '%s' is no memfd", b->name);
    if ((uint64_t)s.st_size != b->size)
        return fail(error, NUMON_ERROR_PEER, "the memory handed over for '%s' has %" G_GINT64_FORMAT " bytes, and "
                    "here it has %" G_GUINT64_FORMAT, b->name, (gint64)s.st_size, b->size);
    if ((seals & SIZE_SEALS) != SIZE_SEALS)
        return fail(error, NUMON_ERROR_PEER, "the memory handed over for '%s' is not sealed: its size could be "
                    "changed under the guest", b->name);
    if (!to_keep)
        return true;
    if ((flags & O_ACCMODE) != O_RDWR || seals & WRITE_SEALS)
        return fail(error, NUMON_ERROR_PEER, "the memory handed over for '%s' cannot be written", b->name);
    if (page_size != b->page_size) {
        g_autofree char *theirs = size_format(page_size), *ours = size_format(b->page_size);

        return fail(error, NUMON_ERROR_PEER, "the memory handed over for '%s' is of pages of %s, and here of %s",
                    b->name, theirs, ours);
    }
    return true;
}

/* In place of what is there; false with errno. */
static bool
map_over(const struct block *b, int fd, int access, int flags)
{
    flags |= MAP_FIXED | MAP_SHARED | (b->options.reserve ? 0 : MAP_NORESERVE);
    return mmap(b->host, b->size, access, flags, fd, 0) != MAP_FAILED;
}

bool
block_show(struct block *b, int fd, GError **error)
{
    atomic_store(&b->handed, true);
    if (!map_over(b, fd, PROT_READ, 0))
        return fail_block(b, errno, "map what was handed over for", error);
    return madvise(b->host, b->size, MADV_DONTFORK) == 0 || fail_block(b, errno, "keep from child processes", error);
}

bool
block_adopt(struct block *b, int fd, GError **error)
{
    if (mprotect(b->host, b->size, PROT_READ | PROT_WRITE) != 0)
        return fail_block(b, errno, "take over memory for", error);
    if (!block_advise(b, error))
        return false;
    return dup3(fd, b->fd, O_CLOEXEC) >= 0 || fail_block(b, errno, "take over memory for", error);
}

/* Huge pages are set aside by who maps them, and there may be none to spare: then they come as they are touched. */
static bool
put_in_place(struct block *b, const struct block *fresh, GError **error)
{
    const int access = PROT_READ | PROT_WRITE;

    if (!map_over(b, fresh->fd, access, 0)
        && (b->page_size == PAGE_SIZE || !map_over(b, fresh->fd, access, MAP_NORESERVE)))
        return fail_block(b, errno, "map fresh memory for", error);
    if (dup3(fresh->fd, b->fd, O_CLOEXEC) < 0)
        return fail_block(b, errno, "take fresh memory for", error);
    atomic_store(&b->handed, false);
    return block_advise(b, error);
}

/* The host gives no fresh memory: what the block had must be out of reach all the same. */
static void
cut_off(struct block *b)
{
    const int flags = MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    CLEANUP_FD int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);

    if (mmap(b->host, b->size, PROT_READ | PROT_WRITE, flags, -1, 0) != MAP_FAILED)
        madvise(b->host, b->size, MADV_DONTFORK);
    if (nothing >= 0)
        dup3(nothing, b->fd, O_CLOEXEC);
    block_note_lost(b, 0);
}

bool
block_renew(struct block *b, GError **error)
{
    struct block fresh = { .size = b->size, .fd = -1, .options = b->options };
    bool good;

    g_strlcpy(fresh.name, b->name, sizeof fresh.name);
    good = block_open(&fresh, error) && put_in_place(b, &fresh, error);
    close_fd(&fresh.fd);
    if (!good)
        cut_off(b);
    return good;
}
