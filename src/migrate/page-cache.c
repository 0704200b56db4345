/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Pages as the destination has them, for the differences.  Direct mapped: 2^k slots, an address
 * has its slot by its low bits.  An entry bears an age, the count of dirty syncs at its insertion or last hit; who
 * was of use within the last two rounds keeps its slot.
 *
 * One owner; no locks.  The data's memory comes with the first use of each slot. */
#include "migrate-private.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

struct entry {
    uint64_t address;               /* of a page, in the global numbering of RAM */
    uint64_t age;
    bool used;
};

struct page_cache {
    uint64_t slots;                 /* a power of two */
    struct entry *entries;          /* mapped, as data; all unused at first */
    uint8_t *data;                  /* PAGE_SIZE a slot */
};

enum { LIFETIME = 2 };              /* rounds */

uint64_t
page_cache_size_round(uint64_t bytes)
{
    return bytes < PAGE_SIZE ? PAGE_SIZE : UINT64_C(1) << (63 - __builtin_clzll(bytes));
}

/* Memory of which only what is touched is really there; NULL if so much cannot be. */
static void *
map_memory(uint64_t bytes)
{
    void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (at == MAP_FAILED)
        return NULL;
    madvise(at, bytes, MADV_DONTDUMP);
    return at;
}

struct page_cache *
page_cache_new(uint64_t bytes, GError **error)
{
    g_autofree char *size = size_format(bytes);
    struct page_cache *c = g_new0(struct page_cache, 1);

    c->slots = bytes / PAGE_SIZE;
    c->data = map_memory(bytes);
    c->entries = c->data ? map_memory(c->slots * sizeof *c->entries) : NULL;
    if (c->entries)
        return c;
    int why = errno;
    page_cache_free(c);
    fail_host(error, why, "cannot make a page cache of %s (xbzrle-cache-size)", size);
    return NULL;
}

void
page_cache_free(struct page_cache *c)
{
    if (!c)
        return;
    if (c->data)
        munmap(c->data, c->slots * PAGE_SIZE);
    if (c->entries)
        munmap(c->entries, c->slots * sizeof *c->entries);
    g_free(c);
}

uint64_t
page_cache_bytes(const struct page_cache *c)
{
    return c->slots * PAGE_SIZE;
}

static uint64_t
slot_of(const struct page_cache *c, uint64_t address)
{
    return address / PAGE_SIZE & (c->slots - 1);
}

uint8_t *
page_cache_find(struct page_cache *c, uint64_t address, uint64_t age)
{
    uint64_t slot = slot_of(c, address);
    struct entry *e = &c->entries[slot];

    if (!e->used || e->address != address)
        return NULL;
    e->age = age;
    return c->data + slot * PAGE_SIZE;
}

uint8_t *
page_cache_insert(struct page_cache *c, uint64_t address, uint64_t age)
{
    uint64_t slot = slot_of(c, address);
    struct entry *e = &c->entries[slot];

    if (e->used && e->address != address && e->age + LIFETIME > age)
        return NULL;
    *e = (struct entry) { address, age, true };
    return c->data + slot * PAGE_SIZE;
}
