/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the host holds of a piece of a block: pages present, swapped, mapped as huge ones, and on which host nodes
 * they lie.  Presence is read for every page (PAGEMAP_SCAN, ranges at a time; older kernels: /proc/self/pagemap),
 * places only for samples, a bounded batch a call, for each costs a walk of the page tables. */
#include "memory.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { REGIONS = 256, ENTRIES = 512, BATCH = 512 };

/* Documentation/admin-guide/mm/pagemap.rst: bit 63 present, bit 62 swapped. */
#define ENTRY_PRESENT (UINT64_C(1) << 63)
#define ENTRY_SWAPPED (UINT64_C(1) << 62)

/* linux/fs.h since 6.7, which may be newer than the headers here. */
struct scan_region { uint64_t start, end, categories; };
struct scan {
    uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
    uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};
#define SCAN_IOCTL _IOWR('f', 16, struct scan)
enum { SCAN_PRESENT = 1 << 3, SCAN_SWAPPED = 1 << 4, SCAN_ZERO = 1 << 5, SCAN_HUGE = 1 << 6 };

static void
add_region(const struct scan_region *r, struct memory_usage *usage)
{
    uint64_t bytes = r->end - r->start;

    if (r->categories & SCAN_SWAPPED)
        usage->swapped += bytes;
    /* The page of zeros that all share takes no memory. */
    if (!(r->categories & SCAN_PRESENT) || r->categories & SCAN_ZERO)
        return;
    usage->resident += bytes;
    if (r->categories & SCAN_HUGE)
        usage->huge += bytes;
}

/* False if the kernel has no such call. */
static bool
scan_range(int pagemap, uint64_t start, uint64_t end, struct memory_usage *usage)
{
    struct scan_region regions[REGIONS];
    struct scan scan = {
        .size = sizeof scan, .start = start, .end = end, .vec = (uintptr_t)regions, .vec_len = REGIONS,
        .category_anyof_mask = SCAN_PRESENT | SCAN_SWAPPED,
        .return_mask = SCAN_PRESENT | SCAN_SWAPPED | SCAN_ZERO | SCAN_HUGE,
    };

    while (scan.start < end) {
        int count = ioctl(pagemap, SCAN_IOCTL, &scan);

        if (count < 0)
            return false;
        for (int i = 0; i < count; i++)
            add_region(&regions[i], usage);
        if (scan.walk_end <= scan.start)
            break;
        scan.start = scan.walk_end;
    }
    return true;
}

static void
read_range(int pagemap, uint64_t start, uint64_t end, struct memory_usage *usage)
{
    uint64_t entries[ENTRIES], at = start / PAGE_SIZE, last = end / PAGE_SIZE;

    while (at < last) {
        size_t size = MIN(last - at, ENTRIES) * sizeof *entries;
        ssize_t got = pread(pagemap, entries, size, (off_t)(at * sizeof *entries));

        if (got < (ssize_t)sizeof *entries)
            return;
        for (size_t i = 0; i < (size_t)got / sizeof *entries; i++) {
            usage->resident += entries[i] & ENTRY_PRESENT ? PAGE_SIZE : 0;
            usage->swapped += entries[i] & ENTRY_SWAPPED ? PAGE_SIZE : 0;
        }
        at += (size_t)got / sizeof *entries;
    }
}

void
block_usage(const struct block *b, uint64_t offset, uint64_t size, struct memory_usage *usage)
{
    CLEANUP_FD int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    uint64_t start = (uintptr_t)b->host + offset;
    struct memory_usage scanned = *usage;

    if (scan_range(pagemap, start, start + size, &scanned)) {
        *usage = scanned;
        return;
    }
    usage->huge_unknown = true;
    read_range(pagemap, start, start + size, usage);
}

/* Counts one batch; what is not there has a negative answer. */
static void
count_batch(void **pages, unsigned count, struct memory_places *places)
{
    int nodes[BATCH];

    if (count == 0 || host_page_nodes(pages, count, nodes) != 0)
        return;
    for (unsigned i = 0; i < count; i++) {
        if (nodes[i] < 0 || nodes[i] >= HOST_NODES)
            continue;
        places->found++;
        places->on_node[nodes[i]]++;
    }
}

void
block_places(const struct block *b, uint64_t offset, uint64_t size, uint64_t samples, struct memory_places *places)
{
    uint64_t pages = size / PAGE_SIZE, wanted = MIN(samples, pages);
    void *batch[BATCH];
    unsigned count = 0;

    for (uint64_t i = 0; i < wanted; i++) {
        /* Evenly spread; 128 bits, for the product of two large counts. */
        uint64_t page = (uint64_t)((unsigned __int128)i * pages / wanted);

        batch[count++] = b->host + offset + page * PAGE_SIZE;
        if (count == BATCH) {
            count_batch(batch, count, places);
            count = 0;
        }
    }
    count_batch(batch, count, places);
    places->asked += wanted;
}
