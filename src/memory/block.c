/* SPDX-License-Identifier: GPL-3.0-or-later */
/* RAM blocks: the host memory behind one backend.
 *
 *   kind    share   mapping                              discarded by
 *   ram     off     private anonymous, huge pages asked  MADV_DONTNEED
 *   ram     on      shared mapping of a memfd            hole punch
 *   memfd   off     private mapping of a memfd           MADV_DONTNEED (the file itself stays a hole)
 *   memfd   on      shared mapping of a memfd            hole punch
 *   shm     on      shared mapping of a nameless object  hole punch
 *   file    off     private mapping of a file            MADV_DONTNEED, and zeros over what the file holds
 *   file    on      shared mapping of a file             hole punch, or zeros where the file system has no holes
 *
 * A shared "ram" block has a memfd behind it too, so that its holes can be told from its zeros (SEEK_DATA).  The
 * host's policy is set before the first touch, merging and dumping are advice to the kernel about the mapping. */
#include "memory-private.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { HUGE_SIZE = 2 * 1024 * 1024 };

bool
fail_block(const struct block *b, int host_errno, const char *verb, GError **error)
{
    g_autofree char *size = size_format(b->size);

    return fail_host(error, host_errno, "cannot %s backend '%s' (%s)", verb, b->options.id, size);
}

/* --- mapping ---------------------------------------------------------------------------------------------------- */

/* Host and guest agree on where huge pages begin: takes more address space, gives back the ends. */
static void *
find_room(uint64_t size, uint64_t align)
{
    uint64_t room = size + align;
    uint8_t *raw, *host;

    if (room < size) {
        errno = ENOMEM;
        return MAP_FAILED;
    }
    raw = mmap(NULL, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (raw == MAP_FAILED)
        return MAP_FAILED;
    host = (uint8_t *)(((uintptr_t)raw + align - 1) / align * align);
    if (host > raw)
        munmap(raw, (size_t)(host - raw));
    if (raw + room > host + size)
        munmap(host + size, (size_t)(raw + room - (host + size)));
    return host;
}

static void *
map_aligned(const struct block *b)
{
    const struct backend_options *o = &b->options;
    uint64_t align = MAX(MAX(o->align, b->page_size), b->fd < 0 ? HUGE_SIZE : PAGE_SIZE);
    int flags = MAP_FIXED | (b->fd < 0 ? MAP_ANONYMOUS : 0) | (o->share ? MAP_SHARED : MAP_PRIVATE) |
                (o->reserve ? 0 : MAP_NORESERVE);
    void *room = find_room(b->size, align), *host;

    if (room == MAP_FAILED)
        return room;
    /* Only now is it accounted: what the host cannot have is refused here. */
    host = mmap(room, b->size, PROT_READ | PROT_WRITE, flags, b->fd, (off_t)o->offset);
    if (host == MAP_FAILED) {
        int host_errno = errno;

        munmap(room, b->size);
        errno = host_errno;
    }
    return host;
}

/* With strict overcommit the kernel accounts for private memory whatever it is told (mmap(2), MAP_NORESERVE). */
static bool
check_reserve(const struct block *b, GError **error)
{
    g_autofree char *mode = NULL;

    if (b->options.reserve || b->options.share || b->page_size > PAGE_SIZE ||
        !g_file_get_contents("/proc/sys/vm/overcommit_memory", &mode, NULL, NULL) || *mode != '2')
        return true;
    return fail(error, NUMON_ERROR_HOST,
                "cannot map backend '%s' with reserve=off: this host's vm.overcommit_memory is 2, "
                "which always reserves", b->options.id);
}

static bool
map_block(struct block *b, GError **error)
{
    void *host;

    if (!block_open(b, error) || !check_reserve(b, error))
        return false;
    host = map_aligned(b);
    if (host == MAP_FAILED)
        return fail_block(b, errno, "map", error);
    b->host = host;
    return guard_add(b, error);
}

/* --- advice ----------------------------------------------------------------------------------------------------- */

static bool
bind_block(struct block *b, GError **error)
{
    const struct backend_options *o = &b->options;
    g_autofree char *nodes = list_format(o->host_nodes, HOST_NODES);
    g_autofree char *attempt = g_strdup_printf("bind backend '%s' to", o->id);
    int host_errno;

    /* Nodes may have gone since the backend was defined. */
    if (!host_nodes_check(o->host_nodes, attempt, error))
        return false;
    host_errno = host_bind(b->host, b->size, o->policy, o->host_nodes);
    if (host_errno)
        return fail_host(error, host_errno, "cannot bind backend '%s' to host nodes %s with policy %s", o->id, nodes,
                         host_policy_names[o->policy]);
    return true;
}

static bool
set_dump(struct block *b, bool dump, GError **error)
{
    if (madvise(b->host, b->size, dump ? MADV_DODUMP : MADV_DONTDUMP) == 0)
        return true;
    return fail_block(b, errno, dump ? "include in core dumps" : "keep from core dumps", error);
}

static bool
set_merge(struct block *b, bool merge, GError **error)
{
    if (madvise(b->host, b->size, merge ? MADV_MERGEABLE : MADV_UNMERGEABLE) == 0)
        return true;
    return fail_block(b, errno, merge ? "let the host merge pages of" : "keep the host from merging pages of", error);
}

/* At the beginning merging and huge pages are advice: a host without them is no error. */
bool
block_advise(struct block *b, GError **error)
{
    if (madvise(b->host, b->size, MADV_DONTFORK) != 0)
        return fail_block(b, errno, "keep from child processes", error);
    if (!b->options.dump && !set_dump(b, false, error))
        return false;
    if (b->options.merge)
        (void)madvise(b->host, b->size, MADV_MERGEABLE);
    if (b->fd < 0)
        (void)madvise(b->host, b->size, MADV_HUGEPAGE);
    return bind_block(b, error);
}

bool
block_change(struct block *b, const struct backend_options *o, GError **error)
{
    bool dump = b->options.dump;

    if (o->dump != dump && !set_dump(b, o->dump, error))
        return false;
    if (o->merge != b->options.merge && !set_merge(b, o->merge, error)) {
        if (o->dump != dump)
            set_dump(b, dump, NULL);
        return false;
    }
    b->options.dump = o->dump;
    b->options.merge = o->merge;
    return true;
}

/* --- blocks ----------------------------------------------------------------------------------------------------- */

struct block *
block_new_watched(const struct backend_options *options, struct block_progress *progress, GError **error)
{
    g_autoptr(block) b = g_new0(struct block, 1);

    g_snprintf(b->name, sizeof b->name, "%s%s", options->canonical_name ? BACKEND_CANONICAL_PREFIX : "", options->id);
    b->size = options->size;
    b->page_count = options->size / PAGE_SIZE;
    atomic_init(&b->used, options->size);
    b->fd = -1;
    b->options = *options;
    if (map_block(b, error) && block_advise(b, error) && (!options->prealloc || block_populate(b, progress, error)))
        return g_steal_pointer(&b);
    /* Some file systems let a file be made that is too large to be mapped, or to be filled. */
    if (b->made_file)
        unlink(options->mem_path);
    return NULL;
}

struct block *
block_new(const struct backend_options *options, GError **error)
{
    return block_new_watched(options, NULL, error);
}

void
block_free(struct block *b)
{
    if (!b)
        return;
    if (b->host) {
        if (b->options.discard_data && b->options.share)
            (void)madvise(b->host, b->size, MADV_REMOVE);
        guard_remove(b);
        munmap(b->host, b->size);
    }
    close_fd(&b->fd);
    g_free(b);
}

/* Zeros over what is not zero: for memory that cannot be given back. */
static void
write_zeros(struct block *b, uint64_t first, uint64_t size)
{
    for (uint64_t at = first; at < first + size; at += PAGE_SIZE) {
        if (!page_is_zero(b->host + at))
            memset(b->host + at, 0, PAGE_SIZE);
    }
}

static bool
discard_shared(struct block *b, uint64_t first, uint64_t size, GError **error)
{
    off_t at = (off_t)(b->options.offset + first);

    if (fallocate(b->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, (off_t)size) == 0)
        return true;
    if (errno != EOPNOTSUPP)
        return fail_block(b, errno, "clear", error);
    write_zeros(b, first, size);
    return true;
}

bool
block_discard_range(struct block *b, uint64_t first, uint64_t size, GError **error)
{
    if (size == 0)
        return true;
    if (b->options.share)
        return discard_shared(b, first, size, error);
    if (madvise(b->host + first, size, MADV_DONTNEED) != 0)
        return fail_block(b, errno, "clear", error);
    if (b->had_content)
        write_zeros(b, first, size);
    return true;
}

bool
block_discard(struct block *b, GError **error)
{
    uint64_t page;

    if (block_lost(b, &page))
        return fail(error, NUMON_ERROR_HOST, "cannot clear backend '%s': its page %" G_GUINT64_FORMAT " is lost "
                    "(`enter_preconfig` lets it go)", b->options.id, page);
    return block_discard_range(b, 0, b->size, error);
}
