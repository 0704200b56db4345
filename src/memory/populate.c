/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Preallocation: all pages of a block taken from the host, by one or several threads.  Content stays as it is, so
 * that it can be done while the guest runs.  Pieces are handed out one by one: a thread that is slowed down by a far
 * host node does not keep the others waiting. */
#include "memory-private.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PIECE = 16 << 20 };              /* bytes at once; a page if that is larger */

#ifndef MADV_POPULATE_WRITE
# define MADV_POPULATE_WRITE 23         /* linux/mman-common.h, since 5.14 */
#endif

struct populate {
    struct block *block;
    struct block_progress *progress;    /* may be NULL */
    uint64_t piece;
    _Atomic uint64_t next;              /* byte where the next piece begins */
    _Atomic int host_errno;             /* of the first that failed */
    _Atomic bool cancelled;
};

/* For kernels without MADV_POPULATE_WRITE: a write of what is there already.  Room is made first, for a touch that
 * shared memory cannot serve is SIGBUS. */
static int
touch(struct block *b, uint64_t first, uint64_t size)
{
    off_t at = (off_t)(b->options.offset + first);

    if (b->fd >= 0 && b->options.share && fallocate(b->fd, FALLOC_FL_KEEP_SIZE, at, (off_t)size) != 0)
        return errno;
    for (uint64_t at_byte = first; at_byte < first + size; at_byte += PAGE_SIZE)
        __atomic_fetch_or((uint64_t *)(b->host + at_byte), 0, __ATOMIC_RELAXED);
    return block_lost(b, NULL) ? ENOMEM : 0;
}

static int
populate_piece(struct block *b, uint64_t first, uint64_t size)
{
    int status;

    do
        status = madvise(b->host + first, size, MADV_POPULATE_WRITE) == 0 ? 0 : errno;
    while (status == EINTR || status == EAGAIN);
    return status == EINVAL ? touch(b, first, size) : status;
}

static void *
populate_thread(void *data)
{
    struct populate *p = data;
    struct block *b = p->block;

    while (!atomic_load(&p->host_errno) && !atomic_load(&p->cancelled)) {
        uint64_t first = atomic_fetch_add(&p->next, p->piece);
        int status, none = 0;

        if (first >= b->size)
            break;
        status = populate_piece(b, first, MIN(p->piece, b->size - first));
        if (status)
            atomic_compare_exchange_strong(&p->host_errno, &none, status);
        if (p->progress)
            atomic_fetch_add(&p->progress->done, MIN(p->piece, b->size - first));
        if (p->progress && p->progress->job && job_cancelled(p->progress->job))
            atomic_store(&p->cancelled, true);
    }
    return NULL;
}

/* As many as asked for, but no more than there are CPUs or pieces. */
static unsigned
thread_count(const struct populate *p)
{
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    uint64_t pieces = (p->block->size + p->piece - 1) / p->piece;

    return (unsigned)MIN(MIN(p->block->options.prealloc_threads, (uint64_t)MAX(cpus, 1)), pieces);
}

static bool
fail_populate(const struct populate *p, GError **error)
{
    int host_errno = atomic_load(&p->host_errno);

    if (host_errno == EFAULT && p->block->page_size > PAGE_SIZE)
        return fail_block(p->block, host_errno, "preallocate without enough free huge pages", error);
    return fail_block(p->block, host_errno, "preallocate", error);
}

bool
block_populate(struct block *b, struct block_progress *progress, GError **error)
{
    struct populate p = { .block = b, .progress = progress, .piece = MAX(PIECE, b->page_size) };
    unsigned count = thread_count(&p);
    g_autofree struct thread *others = g_new0(struct thread, count);
    GError *start_error = NULL;

    if (progress)
        atomic_fetch_add(&progress->total, b->size);
    for (unsigned i = 1; i < count && !start_error; i++)
        thread_start(&others[i], "prealloc", populate_thread, &p, &start_error);
    if (start_error)
        atomic_store(&p.cancelled, true);
    populate_thread(&p);
    for (unsigned i = 1; i < count; i++)
        thread_join(&others[i]);
    if (start_error) {
        g_propagate_error(error, start_error);
        return false;
    }
    if (atomic_load(&p.host_errno))
        return fail_populate(&p, error);
    if (atomic_load(&p.cancelled))
        return fail(error, NUMON_ERROR_STATE, "the preallocation of backend '%s' was cancelled", b->options.id);
    return true;
}

bool
block_populate_range(struct block *b, uint64_t first, uint64_t size, struct block_progress *progress, GError **error)
{
    uint64_t end = (first + size + b->page_size - 1) / b->page_size * b->page_size, piece = MAX(PIECE, b->page_size);
    struct populate p = { .block = b };

    first = first / b->page_size * b->page_size;
    if (progress)
        atomic_fetch_add(&progress->total, end - first);
    for (uint64_t at = first; at < end; at += piece) {
        if (progress && progress->job && job_cancelled(progress->job))
            return fail(error, NUMON_ERROR_STATE, "the preallocation of backend '%s' was cancelled", b->options.id);
        p.host_errno = populate_piece(b, at, MIN(piece, end - at));
        if (p.host_errno)
            return fail_populate(&p, error);
        if (progress)
            atomic_fetch_add(&progress->done, MIN(piece, end - at));
    }
    return true;
}
