/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Pages that were never there: they read as zero, and reading them would only make them come.  What the kernel says
 * of private anonymous memory (neither present nor swapped), of a memfd shared with its mapping (a hole), and of a
 * memfd or unnamed file of huge pages, which nobody but this mapping fills and whose holes SEEK_DATA does not see (not
 * mapped); all other memory is taken to be there, also huge pages that another process filled and handed over.  A
 * source asks after it has cleared the pages' dirty bits, so that a page which comes between is sent again. */
#include "memory.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGEMAP_CHUNK = 512 };       /* entries read at once */
/* Documentation/admin-guide/mm/pagemap.rst: bit 63 present, bit 62 swapped. */
#define PAGEMAP_THERE (UINT64_C(3) << 62)

void
presence_init(struct presence *p)
{
    *p = (struct presence) { .pagemap = -1 };
    p->pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
}

void
presence_release(struct presence *p)
{
    close_fd(&p->pagemap);
}

/* Of kernels that have it (6.7): only what is there is listed.  Documentation/admin-guide/mm/pagemap.rst. */
struct scan_region { uint64_t start, end, categories; };
struct scan_request {
    uint64_t size, flags, start, end, walk_end, regions, region_count, max_pages, category_inverted, category_mask,
        category_anyof_mask, return_mask;
};
#define SCAN_IOCTL _IOWR('f', 16, struct scan_request)
enum { SCAN_THERE = 1 << 3 | 1 << 4 };      /* present, swapped */
enum { SCAN_REGIONS = 64 };                 /* at once */

static bool
absent_scanned(const struct presence *p, const struct block *b, uint64_t first, uint64_t count, uint64_t *absent)
{
    struct scan_region regions[SCAN_REGIONS];
    uintptr_t begin = (uintptr_t)b->host + first * PAGE_SIZE;
    struct scan_request request = {
        .size = sizeof request, .start = begin, .end = begin + count * PAGE_SIZE, .regions = (uintptr_t)regions,
        .region_count = SCAN_REGIONS, .category_anyof_mask = SCAN_THERE, .return_mask = SCAN_THERE,
    };

    bits_set(absent, 0, count);
    for (; request.start < request.end; request.start = request.walk_end) {
        int found = p->pagemap < 0 ? -1 : ioctl(p->pagemap, SCAN_IOCTL, &request);
        if (found < 0 || request.walk_end <= request.start) {
            bits_clear(absent, 0, count);
            return false;
        }
        for (int i = 0; i < found; i++)
            bits_clear(absent, (regions[i].start - begin) / PAGE_SIZE,
                       (regions[i].end - regions[i].start) / PAGE_SIZE);
    }
    return true;
}

static void
absent_private(const struct presence *p, const struct block *b, uint64_t first, uint64_t count, uint64_t *absent)
{
    uint64_t entries[PAGEMAP_CHUNK];
    uint64_t at = (uintptr_t)b->host / PAGE_SIZE + first;

    if (absent_scanned(p, b, first, count, absent))
        return;
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

/* To look for the next hole takes as long as the data before it are, so it is remembered where that was. */
static void
absent_shared(struct presence *p, const struct block *b, uint64_t first, uint64_t count, uint64_t *absent)
{
    uint64_t end = first + count;

    for (uint64_t at = first; at < end;) {
        if (p->block == b && at >= p->data && at < p->data_end) {
            at = p->data_end;
            continue;
        }
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
        p->block = b;
        p->data = next;
        p->data_end = at;
    }
}

/* Reading one byte would take a whole huge page, perhaps the last one. */
static void
absent_huge(const struct block *b, uint64_t first, uint64_t count, uint64_t *absent)
{
    uint64_t pages = b->page_size / PAGE_SIZE, end = first + count;

    for (uint64_t at = first; at < end;) {
        uint64_t begin = at / pages * pages, next = MIN(begin + pages, end);
        unsigned char there = 1;

        if (mincore(b->host + begin * PAGE_SIZE, PAGE_SIZE, &there) == 0 && !(there & 1))
            bits_set(absent, at - first, next - at);
        at = next;
    }
}

void
presence_absent(struct presence *p, const struct block *b, uint64_t first, uint64_t count, uint64_t *absent)
{
    for (uint64_t i = 0; i < WORDS_FOR(count); i++)
        absent[i] = 0;
    if (b->page_size > PAGE_SIZE && atomic_load(&b->handed))
        return;
    if (b->page_size > PAGE_SIZE && (b->options.kind == BACKEND_MEMFD || b->unnamed))
        absent_huge(b, first, count, absent);
    else if (b->fd < 0 && !b->options.share)
        absent_private(p, b, first, count, absent);
    else if (b->fd >= 0 && b->options.share && b->options.kind != BACKEND_FILE)
        absent_shared(p, b, first, count, absent);
}
