/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The section "ram" as a destination reads it.  The peer's bytes choose block and page: every
 * offset is checked against its block.
 *
 * A zero page that arrives at memory which was never touched leaves it untouched, so that a sparse guest stays
 * sparse.  Whether a block is fresh is asked of the kernel when the stream begins (presence.c); unknown means that
 * pages are looked at. */
#include "migrate-private.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

enum { LOOK_PAGES = 4096 };         /* at once */

static bool
block_fresh(struct presence *p, const struct block *b)
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

static bool
add_block(struct ram_in *r, struct presence *p, struct block *b, GError **error)
{
    struct loading l = { .block = b, .handed = -1, .seen = g_try_new0(uint64_t, WORDS_FOR(b->page_count)) };

    if (!l.seen)
        return fail(error, NUMON_ERROR_HOST, "cannot keep account of the pages of '%s': %s", b->name,
                    g_strerror(ENOMEM));
    l.fresh = block_fresh(p, b);
    r->blocks[r->count++] = l;
    return true;
}

bool
ram_in_join(struct ram_in *r, GError **error)
{
    const GPtrArray *blocks = r->session->guest.map->blocks;
    size_t of = r->of ? (size_t)(r->of - r->blocks) : 0;
    struct presence presence;
    bool good = true;

    r->blocks = g_renew(struct loading, r->blocks, blocks->len + 1);
    if (r->of)
        r->of = &r->blocks[of];
    presence_init(&presence);
    while (good && r->count < blocks->len)
        good = add_block(r, &presence, blocks->pdata[r->count], error);
    presence_release(&presence);
    return good;
}

bool
ram_in_init(struct ram_in *r, struct session *s, struct input *in, GError **error)
{
    *r = (struct ram_in) { .session = s, .input = in, .counter = &s->counters.precopy_bytes };
    return ram_in_join(r, error);
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
    for (unsigned i = 0; i < r->count; i++) {
        g_free(r->blocks[i].seen);
        local_release(&r->blocks[i]);
        close_fd(&r->blocks[i].handed);
    }
    g_clear_pointer(&r->blocks, g_free);
    r->count = 0;
}

/* --- lists of blocks -------------------------------------------------------------------------------------------- */

struct loading *
ram_in_find(struct ram_in *r, GError **error)
{
    char name[NAME_MOST + 1];

    if (!input_take_name(r->input, name, error))
        return NULL;
    for (unsigned i = 0; i < r->count; i++)
        if (g_str_equal(r->blocks[i].block->name, name))
            return &r->blocks[i];
    input_fail(r->input, error, "RAM block '%s' does not exist here", name);
    return NULL;
}

/* Its used length there, which is this side's from now on. */
static bool
check_length(struct ram_in *r, const struct loading *l, uint64_t size, uint64_t left, GError **error)
{
    const struct block *b = l->block;

    if (size != b->size && !b->resizable)
        return input_fail(r->input, error, "RAM block '%s' has %" PRIu64 " bytes at the source and %" PRIu64 " here",
                          b->name, size, b->size);
    if (size > b->size || size % PAGE_SIZE || size == 0)
        return input_fail(r->input, error, "RAM block '%s' has %" PRIu64 " bytes at the source, and here whole pages "
                          "up to %" PRIu64 " bytes are allowed", b->name, size, b->size);
    if (size / PAGE_SIZE <= l->pages)
        return input_fail(r->input, error, "RAM block '%s' is listed twice, and not longer than before", b->name);
    return size <= left
        || input_fail(r->input, error, "the sizes of the RAM blocks are more than the total of the list");
}

static bool
take_block(struct ram_in *r, uint64_t *left, GError **error)
{
    struct loading *l = ram_in_find(r, error);
    uint64_t size = 0;

    if (!l || !input_take64(r->input, &size, error) || !check_length(r, l, size, *left, error))
        return false;
    /* A block that grew may be made anew by other readers: this one keeps what it has. */
    l->pages = size / PAGE_SIZE;
    if (l->block->resizable)
        atomic_store(&l->block->used, size);
    *left -= size;
    return true;
}

static bool
take_blocks(struct ram_in *r, uint64_t total, GError **error)
{
    uint64_t sum = 0;

    for (uint64_t left = total; left > 0;)
        if (!take_block(r, &left, error))
            return false;
    for (unsigned i = 0; i < r->count; i++)
        sum += r->blocks[i].pages * PAGE_SIZE;
    atomic_store(&r->session->total_bytes, sum);
    return true;
}

bool
ram_in_start(struct ram_in *r, GError **error)
{
    uint64_t word;

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
    if (!take_blocks(r, word & ~(uint64_t)RAM_FLAGS, error))
        return false;
    /* One of which nothing is plugged has no length that could be listed. */
    for (unsigned i = 0; i < r->count; i++)
        if (r->blocks[i].pages == 0 && !r->blocks[i].block->resizable)
            return input_fail(r->input, error, "RAM block '%s' is missing at the source", r->blocks[i].block->name);
    for (unsigned i = 0; i < r->count; i++)
        if (r->blocks[i].pages == 0)
            atomic_store(&r->blocks[i].block->used, 0);
    if (!input_take64(r->input, &word, error))
        return false;
    if (word != RAM_EOS)
        return input_fail(r->input, error, "the list of RAM blocks does not end with EOS");
    return handover_show(r, error);
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
    const struct loading *l = r->of;
    uint8_t *page = b->host + offset, fill;

    if (!input_take8(r->input, &fill, error))
        return broken_off(b, offset, error);
    if (fill)
        return input_fail(r->input, error, "zero page 0x%" PRIx64 " of block '%s' is filled with 0x%02x", offset,
                          b->name, fill);
    if (seen || (!l->fresh && !page_is_zero(page)))
        memset(page, 0, PAGE_SIZE);
    counter_add(&r->session->counters.pages_zero, 1);
    return true;
}

/* What became of pages that changed here counts for who follows the guest's writes. */
static void
mark_pages(struct ram_in *r, struct block *b, uint64_t first, uint64_t count)
{
    struct hub *hub = r->session->guest.hub;

    if (hub && hub_active(hub))
        hub_mark(hub, b, first, count);
}

static void
mark_page(struct ram_in *r, struct block *b, uint64_t offset)
{
    mark_pages(r, b, offset / PAGE_SIZE, 1);
}

static bool
load_normal(struct ram_in *r, struct block *b, uint64_t offset, GError **error)
{
    uint64_t first = offset / PAGE_SIZE, last = first;

    if (!(ahead_may(r) ? ahead_load(r, &last, error) : input_read(r->input, b->host + offset, PAGE_SIZE, error)))
        return broken_off(b, last * PAGE_SIZE, error);
    counter_add(&r->session->counters.pages_normal, last - first + 1);
    if (last > first)
        mark_pages(r, b, first + 1, last - first);
    r->follows = true;
    r->last = last;
    return true;
}

/* Behind a page that came whole: those that follow it. */
static bool
load_followers(struct ram_in *r, GError **error)
{
    uint64_t last = r->last;

    r->follows = false;
    r->place = r->input->offset;
    if (!ahead_may(r))
        return true;
    if (!ahead_go_on(r, &last, error))
        return broken_off(r->of->block, last * PAGE_SIZE, error);
    if (last == r->last)
        return true;
    counter_add(&r->session->counters.pages_normal, last - r->last);
    counter_add(r->counter, r->input->offset - r->place);
    mark_pages(r, r->of->block, r->last + 1, last - r->last);
    r->follows = true;
    r->last = last;
    return true;
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

/* --- runs of pages, which a numon sends that gets answers ------------------------------------------------------- */

/* Pages of the record's block, some of which came before or have something in them. */
static void
make_zero(struct ram_in *r, uint64_t first, uint64_t count)
{
    const struct loading *l = r->of;
    uint8_t *page = l->block->host + first * PAGE_SIZE;

    for (uint64_t i = first; i < first + count; i++, page += PAGE_SIZE)
        if (bit_test(l->seen, i) || (!l->fresh && !page_is_zero(page)))
            memset(page, 0, PAGE_SIZE);
    mark_pages(r, l->block, first, count);
}

/* Into the file behind memory that was never touched: a write makes a page with its content, where a touch of the
 * mapping is a fault that makes one of zeros first.  The guest's first touch maps it. */
static bool
write_pages(struct ram_in *r, const struct block *b, uint64_t at, uint64_t size, GError **error)
{
    while (size > 0) {
        size_t there;

        if (!input_await(r->input, error))
            return false;
        const uint8_t *from = input_peek(r->input, &there);
        ssize_t written = pwrite(b->fd, from, MIN(there, size), (off_t)at);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return fail_host(error, written < 0 ? errno : ENOSPC, "cannot write to the memory of '%s'", b->name);
        input_skip(r->input, (size_t)written);
        at += (uint64_t)written;
        size -= (uint64_t)written;
    }
    return true;
}

static bool
read_pages(struct ram_in *r, uint64_t first, uint64_t count, bool seen, GError **error)
{
    const struct block *b = r->of->block;
    uint64_t at = first * PAGE_SIZE, size = count * PAGE_SIZE;

    if (b->options.kind == BACKEND_MEMFD && b->options.share && b->page_size == PAGE_SIZE && r->of->fresh && !seen)
        return write_pages(r, b, at, size, error);
    return ahead_may(r) ? input_read_pages(r->input, b->host + at, size, error)
                        : input_read(r->input, b->host + at, size, error);
}

static bool
load_pages(struct ram_in *r, uint64_t first, uint64_t count, bool seen, GError **error)
{
    struct block *b = r->of->block;
    uint64_t place = r->input->offset;

    if (!read_pages(r, first, count, seen, error))
        return broken_off(b, first * PAGE_SIZE + (r->input->offset - place) / PAGE_SIZE * PAGE_SIZE, error);
    mark_pages(r, b, first, count);
    counter_add(&r->session->counters.pages_normal, count);
    return true;
}

static bool
load_run(struct ram_in *r, uint64_t offset, unsigned flags, GError **error)
{
    struct loading *l = r->of;
    uint64_t first = offset / PAGE_SIZE;

    if (!input_take32(r->input, &r->run, error))
        return broken_off(l->block, offset, error);
    uint64_t count = r->run;
    if (count == 0 || count > RAM_RUN_MOST || count > l->pages - first)
        return input_fail(r->input, error, "a run of %" PRIu64 " pages from 0x%" PRIx64 " of block '%s' (1 to %d are "
                          "allowed, and it has %" PRIu64 " from there on)", count, offset, l->block->name,
                          RAM_RUN_MOST, l->pages - first);
    bool seen = bits_next(l->seen, first + count, first) < first + count;
    /* What workers still do to these pages comes first. */
    if (seen && !drain(r, error))
        return false;
    if (flags & RAM_ZERO && (seen || !l->fresh))
        make_zero(r, first, count);
    bits_set(l->seen, first, count);
    if (!(flags & RAM_ZERO))
        return load_pages(r, first, count, seen, error);
    counter_add(&r->session->counters.pages_zero, count);
    return true;
}

/* --- records ---------------------------------------------------------------------------------------------------- */

/* The record's word is read: to 'of' its page belongs. */
static bool
take_place(struct ram_in *r, uint64_t offset, bool go_on, GError **error)
{
    if (!go_on) {
        r->of = ram_in_find(r, error);
        if (!r->of)
            return false;
    } else if (!r->of) {
        return input_fail(r->input, error, "the first page names no block");
    }
    return offset / PAGE_SIZE < r->of->pages
        || input_fail(r->input, error, "page at 0x%" PRIx64 " lies outside of block '%s' (%" PRIu64 " bytes)", offset,
                      r->of->block->name, r->of->pages * PAGE_SIZE);
}

static bool
load_page(struct ram_in *r, uint64_t offset, unsigned flags, GError **error)
{
    if (!take_place(r, offset, flags & RAM_CONTINUE, error))
        return false;
    r->run = 0;
    if (flags & RAM_RUN)
        return load_run(r, offset, flags, error);
    struct block *b = r->of->block;
    bool seen = bit_test(r->of->seen, offset / PAGE_SIZE);
    bit_set(r->of->seen, offset / PAGE_SIZE);
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
    { 0x001, "a full copy of 2009" }, { RAM_MEM_SIZE, "a list of blocks with pages" }, { 0x080, "RDMA" },
    { 0x200, "multifd" },
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
    uint64_t needed = wire_ram_feature(flags);

    if (kind != RAM_ZERO && kind != RAM_PAGE && !needed)
        return refuse_flags(r, flags, error);
    if (r->features & FEATURE_HANDOVER)
        return input_fail(r->input, error, "a page comes though the source's memory was handed over");
    return (r->features & needed) == needed
        || input_fail(r->input, error, "a record of section 'ram' has the flags 0x%x, and the stream's head "
                      "announced no %s", flags, feature_name(needed));
}

/* The record at hand, which was read. */
static void
trace_page(struct ram_in *r, uint64_t offset, unsigned flags)
{
    uint64_t bytes = r->input->offset - r->place, header = 8 + (flags & RAM_CONTINUE ? 0 : 1 + strlen(r->of->block->name));
    struct explain_event e = {
        .kind = EXPLAIN_PAGE, .place = r->place, .bytes = bytes, .name = r->of->block->name, .number = offset,
        .pages = r->run,
        .form = flags & RAM_ZERO ? PAGE_ZERO : flags & RAM_XBZRLE ? PAGE_DELTA
              : flags & RAM_COMPRESS ? PAGE_COMPRESSED : PAGE_WHOLE,
    };

    trace_record(r->session, &e, r->coded, e.form == PAGE_DELTA ? bytes - header - 3 : 0);
}

/* Zero pages in a row that come to memory which nobody touched, and which stays so: they are only noted.  True if
 * there were any. */
static bool
take_zeros(struct ram_in *r)
{
    struct loading *l = r->of;
    uint64_t offset, count, first;
    const uint8_t *at;
    size_t size;

    if (!l || !l->fresh || trace_on(r->session))
        return false;
    at = input_peek(r->input, &size);
    count = wire_ram_zero_run(at, size, &offset);
    first = count ? offset / PAGE_SIZE : 0;
    if (count == 0 || first >= l->pages || count > l->pages - first
        || bits_next(l->seen, first + count, first) < first + count)
        return false;
    bits_set(l->seen, first, count);
    input_skip(r->input, count * RAM_ZERO_SIZE);
    counter_add(&r->session->counters.pages_zero, count);
    counter_add(r->counter, count * RAM_ZERO_SIZE);
    return true;
}

bool
ram_in_pages(struct ram_in *r, GError **error)
{
    uint64_t word;

    for (;;) {
        if (r->follows && !load_followers(r, error))
            return false;
        if (take_zeros(r))
            continue;
        r->place = r->input->offset;
        if (!input_take64(r->input, &word, error))
            return false;
        unsigned flags = word & RAM_FLAGS;
        if (word == RAM_EOS)
            return drain(r, error);
        if (flags == RAM_MEM_SIZE && !(r->features & FEATURE_HANDOVER)) {
            if (!take_blocks(r, word & ~(uint64_t)RAM_FLAGS, error))
                return false;
            continue;
        }
        uint64_t offset = word & ~(uint64_t)RAM_FLAGS;
        if (!check_flags(r, flags, error)
            || !(flags & RAM_LOCAL ? local_load(r, offset, flags & RAM_CONTINUE, error)
                 : load_page(r, offset, flags, error)))
            return false;
        counter_add(r->counter, r->input->offset - r->place);
        if (trace_on(r->session) && !(flags & RAM_LOCAL))
            trace_page(r, offset, flags);
    }
}

bool
ram_in_complete(struct ram_in *r, GError **error)
{
    for (unsigned i = 0; i < r->count; i++) {
        const struct loading *l = &r->blocks[i];
        uint64_t missing = bits_next_clear(l->seen, l->pages, 0);
        if (missing < l->pages)
            return input_fail(r->input, error, "page 0x%" PRIx64 " of block '%s' never came", missing * PAGE_SIZE,
                              l->block->name);
        if (l->pages == 0 && !l->block->resizable)
            return input_fail(r->input, error, "RAM block '%s' came and was never listed", l->block->name);
    }
    return true;
}

bool
ram_in_whole(const struct ram_in *r, GError **error)
{
    for (unsigned i = 0; i < r->count; i++)
        if (!block_is_whole(r->blocks[i].block, error))
            return false;
    return true;
}
