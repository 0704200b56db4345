/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The section "ram" as a destination reads it (REFERENCE.md 3.7).  The peer's bytes choose block and page: every
 * offset is checked against its block.
 *
 * A zero page that arrives at memory which was never touched leaves it untouched, so that a sparse guest stays
 * sparse.  Whether a block is fresh is asked of the kernel when the stream begins (presence.c); unknown means that
 * pages are looked at. */
#include "migrate-private.h"

#include <inttypes.h>
#include <string.h>

enum { LOOK_PAGES = 4096 };         /* at once */

static bool
block_fresh(const struct presence *p, const struct block *b)
{
    uint64_t absent[WORDS_FOR(LOOK_PAGES)];

    for (uint64_t at = 0; at < b->page_count; at += LOOK_PAGES) {
        uint64_t count = MIN(b->page_count - at, LOOK_PAGES);
        presence_absent(p, b, at, count, absent);
        if (bits_next_clear(absent, count, 0) < count)
            return false;
    }
    return true;
}

static struct block *
block_at(const struct ram_in *r, unsigned i)
{
    return r->session->guest.map->blocks->pdata[i];
}

static unsigned
block_count(const struct ram_in *r)
{
    return r->session->guest.map->blocks->len;
}

bool
ram_in_init(struct ram_in *r, struct session *s, struct input *in)
{
    *r = (struct ram_in) { .session = s, .input = in, .counter = &s->counters.precopy_bytes };
    unsigned count = block_count(r);
    struct presence presence;
    bool good = true;

    r->seen = g_new0(uint64_t *, count + 1);
    r->fresh = g_new0(bool, count + 1);
    r->listed = g_new0(bool, count + 1);
    presence_init(&presence);
    for (unsigned i = 0; i < count; i++) {
        r->seen[i] = g_try_new0(uint64_t, WORDS_FOR(block_at(r, i)->page_count));
        good = good && r->seen[i];
        r->fresh[i] = block_fresh(&presence, block_at(r, i));
    }
    presence_release(&presence);
    return good;
}

void
ram_in_release(struct ram_in *r)
{
    for (unsigned i = 0; r->seen && i < block_count(r); i++)
        g_free(r->seen[i]);
    g_clear_pointer(&r->seen, g_free);
    g_clear_pointer(&r->fresh, g_free);
    g_clear_pointer(&r->listed, g_free);
}

/* --- START ------------------------------------------------------------------------------------------------------ */

static struct block *
find_block(struct ram_in *r, unsigned *ret_at, GError **error)
{
    char name[NAME_MOST + 1];

    if (!input_take_name(r->input, name, error))
        return NULL;
    for (unsigned i = 0; i < block_count(r); i++)
        if (g_str_equal(block_at(r, i)->name, name)) {
            *ret_at = i;
            return block_at(r, i);
        }
    input_fail(r->input, error, "RAM block '%s' does not exist here", name);
    return NULL;
}

static bool
take_block(struct ram_in *r, uint64_t *left, GError **error)
{
    unsigned at = 0;
    uint64_t size = 0;
    struct block *b = find_block(r, &at, error);

    if (!b || !input_take64(r->input, &size, error))
        return false;
    if (r->listed[at])
        return input_fail(r->input, error, "RAM block '%s' is listed twice", b->name);
    if (size != b->size)
        return input_fail(r->input, error, "RAM block '%s' has %" PRIu64 " bytes at the source and %" PRIu64 " here",
                          b->name, size, b->size);
    if (size > *left)
        return input_fail(r->input, error, "the sizes of the RAM blocks are more than the total of the list");
    r->listed[at] = true;
    *left -= size;
    return true;
}

bool
ram_in_start(struct ram_in *r, GError **error)
{
    uint64_t word, left;

    if (!input_take64(r->input, &word, error))
        return false;
    if ((word & RAM_FLAGS) != RAM_MEM_SIZE)
        return input_fail(r->input, error, "section 'ram' begins with flags 0x%x instead of the list of blocks",
                          (unsigned)(word & RAM_FLAGS));
    for (left = word & ~(uint64_t)RAM_FLAGS; left > 0;)
        if (!take_block(r, &left, error))
            return false;
    for (unsigned i = 0; i < block_count(r); i++)
        if (!r->listed[i])
            return input_fail(r->input, error, "RAM block '%s' is missing at the source", block_at(r, i)->name);
    if (!input_take64(r->input, &word, error))
        return false;
    return word == RAM_EOS || input_fail(r->input, error, "the list of RAM blocks does not end with EOS");
}

/* --- pages ------------------------------------------------------------------------------------------------------ */

static bool
load_zero(struct ram_in *r, struct block *b, uint8_t *page, bool seen, GError **error)
{
    uint8_t fill;

    if (!input_take8(r->input, &fill, error))
        return false;
    if (fill)
        return input_fail(r->input, error, "a zero page of block '%s' is filled with 0x%02x", b->name, fill);
    if (seen || (!r->fresh[b->index] && !page_is_zero(page)))
        memset(page, 0, PAGE_SIZE);
    counter_add(&r->session->counters.pages_zero, 1);
    return true;
}

static bool
load_normal(struct ram_in *r, uint8_t *page, GError **error)
{
    counter_add(&r->session->counters.pages_normal, 1);
    return input_read(r->input, page, PAGE_SIZE, error);
}

/* One ZERO or PAGE record, whose first word is read. */
static bool
load_page(struct ram_in *r, uint64_t offset, unsigned flags, GError **error)
{
    struct hub *hub = r->session->guest.hub;
    unsigned at = 0;

    if (!(flags & RAM_CONTINUE)) {
        r->block = find_block(r, &at, error);
        if (!r->block)
            return false;
    } else if (!r->block) {
        return input_fail(r->input, error, "the first page names no block");
    }
    struct block *b = r->block;
    if (offset >= b->size)
        return input_fail(r->input, error, "page at 0x%" PRIx64 " lies outside of block '%s' (%" PRIu64 " bytes)",
                          offset, b->name, b->size);
    uint64_t index = offset / PAGE_SIZE;
    bool seen = bit_test(r->seen[b->index], index);
    bit_set(r->seen[b->index], index);
    if (!(flags & RAM_ZERO ? load_zero(r, b, b->host + offset, seen, error)
                           : load_normal(r, b->host + offset, error)))
        return false;
    if (hub && hub_active(hub))
        hub_mark(hub, b, index, 1);
    return true;
}

bool
ram_in_pages(struct ram_in *r, GError **error)
{
    uint64_t word;

    for (;;) {
        uint64_t before = r->input->offset;
        if (!input_take64(r->input, &word, error))
            return false;
        unsigned flags = word & RAM_FLAGS, kind = flags & ~(unsigned)RAM_CONTINUE;
        if (word == RAM_EOS)
            return true;
        if (kind != RAM_ZERO && kind != RAM_PAGE)
            return input_fail(r->input, error, "a record of section 'ram' has the unknown flags 0x%x", flags);
        if (!load_page(r, word & ~(uint64_t)RAM_FLAGS, flags, error))
            return false;
        counter_add(r->counter, r->input->offset - before);
    }
}

bool
ram_in_complete(struct ram_in *r, GError **error)
{
    for (unsigned i = 0; i < block_count(r); i++) {
        const struct block *b = block_at(r, i);
        uint64_t missing = bits_next_clear(r->seen[i], b->page_count, 0);
        if (missing < b->page_count)
            return input_fail(r->input, error, "page 0x%" PRIx64 " of block '%s' never came", missing * PAGE_SIZE,
                              b->name);
    }
    return true;
}
