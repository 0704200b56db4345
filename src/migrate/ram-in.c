/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The section "ram" as a destination reads it.  The peer's bytes choose block and page: every
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
    unsigned count = r->count = block_count(r);
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
ram_in_stop(struct ram_in *r)
{
    g_clear_pointer(&r->pool, pool_free);
}

void
ram_in_release(struct ram_in *r)
{
    ram_in_stop(r);
    for (unsigned i = 0; r->seen && i < r->count; i++)
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

    if (r->features & FEATURE_COMPRESS) {
        r->pool = pool_new(true, (unsigned)counter_read(&r->session->parameters->decompress_threads), error);
        if (!r->pool)
            return false;
    }
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

/* Says which page could not be read; always false. */
static bool
broken_off(const struct block *b, uint64_t offset, GError **error)
{
    g_prefix_error(error, "page 0x%" PRIx64 " of block '%s': ", offset, b->name);
    return false;
}

static bool
load_zero(struct ram_in *r, struct block *b, uint64_t offset, bool seen, GError **error)
{
    uint8_t *page = b->host + offset, fill;

    if (!input_take8(r->input, &fill, error))
        return broken_off(b, offset, error);
    if (fill)
        return input_fail(r->input, error, "zero page 0x%" PRIx64 " of block '%s' is filled with 0x%02x", offset,
                          b->name, fill);
    if (seen || (!r->fresh[b->index] && !page_is_zero(page)))
        memset(page, 0, PAGE_SIZE);
    counter_add(&r->session->counters.pages_zero, 1);
    return true;
}

static bool
load_normal(struct ram_in *r, struct block *b, uint64_t offset, GError **error)
{
    counter_add(&r->session->counters.pages_normal, 1);
    return input_read(r->input, b->host + offset, PAGE_SIZE, error) || broken_off(b, offset, error);
}

/* What became of a page that changed here counts for who follows the guest's writes. */
static void
mark_page(struct ram_in *r, struct block *b, uint64_t offset)
{
    struct hub *hub = r->session->guest.hub;

    if (hub && hub_active(hub))
        hub_mark(hub, b, offset / PAGE_SIZE, 1);
}

static bool
load_difference(struct ram_in *r, struct block *b, uint64_t offset, bool seen, GError **error)
{
    uint8_t encoding;
    uint16_t size;

    if (!input_take8(r->input, &encoding, error) || !input_take16(r->input, &size, error))
        return false;
    if (encoding != XBZRLE_ENCODING)
        return input_fail(r->input, error, "page 0x%" PRIx64 " of block '%s' has the unknown encoding %u", offset,
                          b->name, encoding);
    if (size == 0 || size > PAGE_SIZE)
        return input_fail(r->input, error, "the difference for page 0x%" PRIx64 " of block '%s' has %u bytes (1 to "
                          "%u are allowed)", offset, b->name, size, PAGE_SIZE);
    if (!seen)
        return input_fail(r->input, error, "page 0x%" PRIx64 " of block '%s' comes as a difference and never came "
                          "before", offset, b->name);
    if (!input_read(r->input, r->coded, size, error))
        return false;
    counter_add(&r->session->counters.xbzrle_pages, 1);
    counter_add(&r->session->counters.xbzrle_bytes, size);
    return xbzrle_decode(r->coded, size, b->host + offset, PAGE_SIZE)
        || input_fail(r->input, error, "the difference for page 0x%" PRIx64 " of block '%s' is no encoding of one",
                      offset, b->name);
}

/* A worker is done with a page. */
static bool
finish_job(void *self, struct squeeze_job *job, GError **error)
{
    struct ram_in *r = self;

    if (!job->good)
        return fail(error, NUMON_ERROR_PEER, "page 0x%" PRIx64 " of block '%s' cannot be decompressed: %s (record at "
                    "byte %" PRIu64 " of the stream)", job->offset, job->block->name, job->why, job->place);
    mark_page(r, job->block, job->offset);
    return true;
}

static bool
load_compressed(struct ram_in *r, struct block *b, uint64_t offset, GError **error)
{
    uint32_t size;
    bool done;

    if (!input_take32(r->input, &size, error))
        return false;
    if (size == 0 || size > CODED_MOST)
        return input_fail(r->input, error, "page 0x%" PRIx64 " of block '%s' has %u compressed bytes (1 to %u are "
                          "allowed)", offset, b->name, size, CODED_MOST);
    struct squeeze_job *job = pool_take(r->pool, true, &done);
    if ((done && !finish_job(r, job, error)) || !input_read(r->input, job->coded, size, error))
        return false;
    job->block = b;
    job->offset = offset;
    job->place = r->place;
    job->target = b->host + offset;
    job->coded_size = size;
    counter_add(&r->session->counters.compress_pages, 1);
    counter_add(&r->session->counters.compressed_bytes, size);
    pool_give(r->pool, job);
    return true;
}

static bool
drain(struct ram_in *r, GError **error)
{
    return !r->pool || pool_drain(r->pool, finish_job, r, error);
}

/* The record's word is read.  '*ret' is its page. */
static bool
take_place(struct ram_in *r, uint64_t offset, bool go_on, struct block **ret, GError **error)
{
    unsigned at = 0;

    if (!go_on) {
        r->block = find_block(r, &at, error);
        if (!r->block)
            return false;
    } else if (!r->block) {
        return input_fail(r->input, error, "the first page names no block");
    }
    *ret = r->block;
    return offset < r->block->size
        || input_fail(r->input, error, "page at 0x%" PRIx64 " lies outside of block '%s' (%" PRIu64 " bytes)", offset,
                      r->block->name, r->block->size);
}

static bool
load_page(struct ram_in *r, uint64_t offset, unsigned flags, GError **error)
{
    struct block *b = NULL;

    if (!take_place(r, offset, flags & RAM_CONTINUE, &b, error))
        return false;
    bool seen = bit_test(r->seen[b->index], offset / PAGE_SIZE);
    bit_set(r->seen[b->index], offset / PAGE_SIZE);
    /* What a worker still does to this page comes first. */
    if (r->pool && pool_works_on(r->pool, b->host + offset) && !drain(r, error))
        return false;
    if (flags & RAM_COMPRESS)
        return load_compressed(r, b, offset, error);
    if (!(flags & RAM_ZERO ? load_zero(r, b, offset, seen, error)
          : flags & RAM_XBZRLE ? load_difference(r, b, offset, seen, error)
          : load_normal(r, b, offset, error)))
        return false;
    mark_page(r, b, offset);
    return true;
}

/* What QEMU has beside, by name. */
static const struct { unsigned flag; const char *name; } foreign_flags[] = {
    { 0x001, "a full copy of 2009" }, { RAM_MEM_SIZE, "a list of blocks" }, { 0x080, "RDMA" }, { 0x200, "multifd" },
};

static bool
refuse_flags(struct ram_in *r, unsigned flags, GError **error)
{
    for (size_t i = 0; i < G_N_ELEMENTS(foreign_flags); i++)
        if (flags & foreign_flags[i].flag)
            return input_fail(r->input, error, "a record of section 'ram' has the flags 0x%x: %s is not supported "
                              "here", flags, foreign_flags[i].name);
    return input_fail(r->input, error, "a record of section 'ram' has the unknown flags 0x%x", flags);
}

static bool
check_flags(struct ram_in *r, unsigned flags, GError **error)
{
    unsigned kind = flags & ~(unsigned)RAM_CONTINUE;
    uint64_t needed = kind == RAM_XBZRLE ? FEATURE_XBZRLE : kind == RAM_COMPRESS ? FEATURE_COMPRESS : 0;

    if (kind != RAM_ZERO && kind != RAM_PAGE && !needed)
        return refuse_flags(r, flags, error);
    return (r->features & needed) == needed
        || input_fail(r->input, error, "a record of section 'ram' has the flags 0x%x, and the stream's head "
                      "announced no %s", flags, kind == RAM_XBZRLE ? "xbzrle" : "compress");
}

/* The record at hand, which was read. */
static void
trace_page(struct ram_in *r, uint64_t offset, unsigned flags)
{
    uint64_t bytes = r->input->offset - r->place, header = 8 + (flags & RAM_CONTINUE ? 0 : 1 + strlen(r->block->name));
    struct explain_event e = {
        .kind = EXPLAIN_PAGE, .place = r->place, .bytes = bytes, .name = r->block->name, .number = offset,
        .form = flags & RAM_ZERO ? PAGE_ZERO : flags & RAM_XBZRLE ? PAGE_DELTA
              : flags & RAM_COMPRESS ? PAGE_COMPRESSED : PAGE_WHOLE,
    };

    trace_record(r->session, &e, r->coded, e.form == PAGE_DELTA ? bytes - header - 3 : 0);
}

bool
ram_in_pages(struct ram_in *r, GError **error)
{
    uint64_t word;

    for (;;) {
        r->place = r->input->offset;
        if (!input_take64(r->input, &word, error))
            return false;
        unsigned flags = word & RAM_FLAGS;
        if (word == RAM_EOS)
            return drain(r, error);
        if (!check_flags(r, flags, error) || !load_page(r, word & ~(uint64_t)RAM_FLAGS, flags, error))
            return false;
        counter_add(r->counter, r->input->offset - r->place);
        if (trace_on(r->session))
            trace_page(r, word & ~(uint64_t)RAM_FLAGS, flags);
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
