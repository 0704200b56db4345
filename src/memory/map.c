/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The guest physical map: sections by rising address, found by bisection.  It does not change while vCPUs run, so no
 * lock; who follows its blocks is told of each that comes, goes or gets another length. */
#include "memory-private.h"

#include <string.h>
#include <sys/eventfd.h>

static void
free_block(void *b)
{
    block_free(b);
}

struct guest_map *
guest_map_new(void)
{
    struct guest_map *map = g_new0(struct guest_map, 1);

    map->blocks = g_ptr_array_new_with_free_func(free_block);
    map->sections = g_array_new(FALSE, FALSE, sizeof(struct section));
    map->covers = g_array_new(FALSE, FALSE, sizeof(struct section));
    map->followers = g_array_new(FALSE, FALSE, sizeof(struct block_follower));
    map->lost_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return map;
}

void
guest_map_free(struct guest_map *map)
{
    if (!map)
        return;
    g_array_unref(map->followers);
    g_array_unref(map->sections);
    g_array_unref(map->covers);
    g_ptr_array_unref(map->blocks);
    close_fd(&map->lost_fd);
    g_free(map);
}

void
guest_map_take_block(struct guest_map *map, struct block *b)
{
    g_assert(!guest_map_find_block(map, b->name));
    b->index = map->blocks->len;
    guard_notify(b, map->lost_fd);
    g_ptr_array_add(map->blocks, b);
}

struct block *
guest_map_find_block(const struct guest_map *map, const char *name)
{
    for (unsigned i = 0; i < map->blocks->len; i++) {
        struct block *b = map->blocks->pdata[i];

        if (strcmp(b->name, name) == 0)
            return b;
    }
    return NULL;
}

static void
remove_of_block(GArray *sections, const struct block *b)
{
    for (unsigned i = sections->len; i-- > 0;) {
        if (g_array_index(sections, struct section, i).block == b)
            g_array_remove_index(sections, i);
    }
}

struct block *
guest_map_remove_block(struct guest_map *map, struct block *b)
{
    remove_of_block(map->sections, b);
    remove_of_block(map->covers, b);
    g_ptr_array_steal_index(map->blocks, b->index);
    for (unsigned i = b->index; i < map->blocks->len; i++)
        ((struct block *)map->blocks->pdata[i])->index = i;
    guard_notify(b, -1);
    return b;
}

/* --- blocks that come and go ------------------------------------------------------------------------------------ */

void
guest_map_follow(struct guest_map *map, const struct block_follower *f)
{
    g_array_append_val(map->followers, *f);
}

void
guest_map_unfollow(struct guest_map *map, const void *self)
{
    for (unsigned i = map->followers->len; i-- > 0;) {
        if (g_array_index(map->followers, struct block_follower, i).self == self)
            g_array_remove_index(map->followers, i);
    }
}

static const struct block_follower *
follower_at(const struct guest_map *map, unsigned i)
{
    return &g_array_index(map->followers, struct block_follower, i);
}

static bool
tell_added(const struct block_follower *f, struct block *b, GError **error)
{
    return !f->added || f->added(f->self, b, error);
}

static bool
tell_removed(const struct block_follower *f, struct block *b, GError **error)
{
    return !f->removed || f->removed(f->self, b, error);
}

bool
guest_map_plug(struct guest_map *map, struct block *b, const struct section *s, GError **error)
{
    unsigned told = 0;

    guest_map_take_block(map, b);
    guest_map_add(map, s);
    while (told < map->followers->len && tell_added(follower_at(map, told), b, error))
        told++;
    if (told == map->followers->len)
        return true;
    while (told-- > 0)
        tell_removed(follower_at(map, told), b, NULL);
    guest_map_remove_block(map, b);
    return false;
}

bool
guest_map_unplug(struct guest_map *map, struct block *b, GError **error)
{
    unsigned left = map->followers->len;

    while (left > 0 && tell_removed(follower_at(map, left - 1), b, error))
        left--;
    if (left == 0) {
        guest_map_remove_block(map, b);
        return true;
    }
    for (; left < map->followers->len; left++)
        tell_added(follower_at(map, left), b, NULL);
    return false;
}

void
guest_map_resize(struct guest_map *map, struct block *b, uint64_t used)
{
    uint64_t before = atomic_exchange(&b->used, used);

    g_assert(b->resizable && used <= b->size && used % b->page_size == 0);
    for (unsigned i = 0; used != before && i < map->followers->len; i++) {
        const struct block_follower *f = follower_at(map, i);

        if (f->resized)
            f->resized(f->self, b, before);
    }
}

/* --- sections --------------------------------------------------------------------------------------------------- */

static const struct section *
section_at(const struct guest_map *map, unsigned i)
{
    return &g_array_index(map->sections, struct section, i);
}

/* How many sections begin at or below 'gpa'. */
static unsigned
sections_up_to(const struct guest_map *map, uint64_t gpa)
{
    unsigned low = 0, high = map->sections->len;

    while (low < high) {
        unsigned middle = low + (high - low) / 2;

        if (section_at(map, middle)->gpa <= gpa)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

void
guest_map_add(struct guest_map *map, const struct section *s)
{
    unsigned at = sections_up_to(map, s->gpa);

    g_assert(s->size && s->gpa % PAGE_SIZE == 0 && s->size % PAGE_SIZE == 0 && s->offset % PAGE_SIZE == 0);
    g_assert(s->offset <= s->block->size && s->size <= s->block->size - s->offset);
    g_assert(at == 0 || section_at(map, at - 1)->gpa + section_at(map, at - 1)->size <= s->gpa);
    g_assert(at == map->sections->len || s->gpa + s->size <= section_at(map, at)->gpa);
    g_array_insert_val(map->sections, at, *s);
}

const struct section *
guest_map_find(const struct guest_map *map, uint64_t gpa)
{
    unsigned after = sections_up_to(map, gpa);
    const struct section *s;

    if (after == 0)
        return NULL;
    s = section_at(map, after - 1);
    return gpa - s->gpa < s->size ? s : NULL;
}

void *
guest_map_host(const struct guest_map *map, uint64_t gpa, uint64_t size)
{
    const struct section *s = guest_map_find(map, gpa);

    if (!s || size > s->size - (gpa - s->gpa))
        return NULL;
    return s->block->host + s->offset + (gpa - s->gpa);
}

/* The host address of 'gpa' and, in '*size', how much of it this section holds; NULL if it is not RAM. */
static uint8_t *
piece_at(const struct guest_map *map, uint64_t gpa, uint64_t *size)
{
    const struct section *s = guest_map_find(map, gpa);

    if (!s)
        return NULL;
    *size = MIN(*size, s->size - (gpa - s->gpa));
    return s->block->host + s->offset + (gpa - s->gpa);
}

bool
guest_map_read(const struct guest_map *map, uint64_t gpa, void *to, uint64_t size)
{
    uint8_t *out = to;

    while (size) {
        uint64_t here = size;
        const uint8_t *host = piece_at(map, gpa, &here);

        if (!host)
            return false;
        memcpy(out, host, here);
        out += here;
        gpa += here;
        size -= here;
    }
    return true;
}

bool
guest_map_write(const struct guest_map *map, uint64_t gpa, const void *from, uint64_t size)
{
    const uint8_t *in = from;

    while (size) {
        uint64_t here = size;
        uint8_t *host = piece_at(map, gpa, &here);

        if (!host)
            return false;
        memcpy(host, in, here);
        in += here;
        gpa += here;
        size -= here;
    }
    return true;
}

uint64_t
guest_map_ram_bytes(const struct guest_map *map)
{
    uint64_t total = 0;

    for (unsigned i = 0; i < map->sections->len; i++)
        total += section_at(map, i)->block->device ? 0 : section_at(map, i)->size;
    return total;
}
