/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Pages that were never there: they read as zero, and reading them would only make them come.  What the kernel says
 * of private anonymous memory (neither present nor swapped) and of a memfd shared with its mapping (a hole); all
 * other memory is taken to be there.  A source asks after it has cleared the pages' dirty bits, so that a page which
 * comes between is sent again. */
#include "migrate-private.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

enum { PAGEMAP_CHUNK = 512 };       /* entries read at once */
/* Documentation/admin-guide/mm/pagemap.rst: bit 63 present, bit 62 swapped. */
#define PAGEMAP_THERE (UINT64_C(3) << 62)

void
presence_init(struct presence *p)
{
    p->pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
}

void
presence_release(struct presence *p)
{
    close_fd(&p->pagemap);
}

static void
absent_private(const struct presence *p, const struct block *b, uint64_t first, uint64_t count, uint64_t *absent)
{
    uint64_t entries[PAGEMAP_CHUNK];
    uint64_t at = (uintptr_t)b->host / PAGE_SIZE + first;

    for (uint64_t done = 0; done < count;) {
        size_t size = MIN(count - done, PAGEMAP_CHUNK) * sizeof *entries;
        ssize_t got = p->pagemap < 0 ? -1 : pread(p->pagemap, entries, size, (off_t)((at + done) * sizeof *entries));
        if (got < (ssize_t)sizeof *entries)
            return;
        for (size_t i = 0; i < (size_t)got / sizeof *entries; i++)
            if (!(entries[i] & PAGEMAP_THERE))
                bit_set(absent, done + i);
        done += (size_t)got / sizeof *entries;
    }
}

static void
absent_shared(const struct block *b, uint64_t first, uint64_t count, uint64_t *absent)
{
    uint64_t end = first + count;

    for (uint64_t at = first; at < end;) {
        off_t data = lseek(b->fd, (off_t)(at * PAGE_SIZE), SEEK_DATA);
        if (data < 0 && errno != ENXIO)
            return;
        uint64_t next = data < 0 ? end : MIN((uint64_t)data / PAGE_SIZE, end);
        bits_set(absent, at - first, next - at);
        if (next == end)
            return;
        off_t hole = lseek(b->fd, (off_t)(next * PAGE_SIZE), SEEK_HOLE);
        if (hole < 0)
            return;
        at = ((uint64_t)hole + PAGE_SIZE - 1) / PAGE_SIZE;
    }
}

void
presence_absent(const struct presence *p, const struct block *b, uint64_t first, uint64_t count, uint64_t *absent)
{
    for (uint64_t i = 0; i < WORDS_FOR(count); i++)
        absent[i] = 0;
    if (b->fd < 0 && !b->options.share)
        absent_private(p, b, first, count, absent);
    else if (b->fd >= 0 && b->options.share && b->options.kind != BACKEND_FILE)
        absent_shared(b, first, count, absent);
}

bool
memory_is_whole(const struct migrate_guest *g, GError **error)
{
    g_autofree char *lost = guest_map_lost(g->map);

    return !lost || fail(error, NUMON_ERROR_HOST, "cannot migrate guest memory: %s", lost);
}
