/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The pages of a source: which record each becomes.  A zero page is a marker.  In the first pass, and without xbzrle
 * in all, workers may compress pages; after the first pass xbzrle sends the difference from what
 * was sent before (4.1).  All else goes whole.
 *
 * What the page cache holds is what the destination has: so a page that enters it is sent from its copy there, not
 * from guest memory, which may have changed in between; and a page that goes any other way never has an entry, or
 * changes it.  A copy waits in the output until that is flushed, at the end of a part at the latest; until then its
 * age keeps others out of its slot. */
#include "migrate-private.h"

#include <inttypes.h>
#include <string.h>

/* --- set-up ----------------------------------------------------------------------------------------------------- */

bool
ram_out_init(struct ram_out *r, struct session *s, struct output *output, GError **error)
{
    r->session = s;
    r->output = output;
    for (unsigned i = 0; i < s->block_count; i++) {
        struct moving *m = ram_out_join(r, s->blocks[i].block);

        m->pages = s->blocks[i].pages;
        m->local = local_may(s, m->block);
    }
    if (s->features & FEATURE_COMPRESS)
        r->pool = pool_new(false, (unsigned)parameter(&s->parameters->compress_threads), error);
    return r->pool || !(s->features & FEATURE_COMPRESS);
}

void
ram_out_release(struct ram_out *r)
{
    pool_free(r->pool);
    page_cache_free(r->cache);
    g_free(r->list.at);
}

void
ram_out_part(struct ram_out *r)
{
    struct session *s = r->session;

    lock_take(&s->lock);
    struct page_cache *new_cache = g_steal_pointer(&s->new_cache);
    lock_drop(&s->lock);
    if (!new_cache)
        return;
    page_cache_free(r->cache);
    r->cache = new_cache;
}

/* --- blocks ----------------------------------------------------------------------------------------------------- */

/* Addresses leave room for the longest length. */
struct moving *
ram_out_join(struct ram_out *r, struct block *b)
{
    struct moving_list *l = &r->list;
    const struct moving *last = l->count ? &l->at[l->count - 1] : NULL;
    struct moving m = { .block = b, .address = last ? last->address + last->block->size : 0 };

    g_assert(b->index == l->count);
    l->at = g_renew(struct moving, l->at, l->count + 1);
    l->at[l->count] = m;
    return &l->at[l->count++];
}

static struct moving *
moving_of(const struct ram_out *r, const struct block *b)
{
    return &r->list.at[b->index];
}

/* A reader of files may make a block anew that it finds listed again (QEMU's stream analyser does so): then all of it
 * goes again.  Not as if it had never gone where the page cache believes that it did. */
bool
ram_out_grow(struct ram_out *r, struct moving *m, uint64_t *ret_first)
{
    uint64_t before = m->pages, from = r->one_way ? 0 : before;

    m->pages = MAX(before, atomic_load(&m->block->used) / PAGE_SIZE);
    if (m->pages == before)
        return false;
    if (r->one_way && !r->cache)
        m->sent = 0;
    bits_set_atomic(subscriber_words(r->list.subscriber, m->block), from, m->pages - from);
    *ret_first = from;
    return true;
}

bool
ram_out_swept(const struct ram_out *r)
{
    for (unsigned i = 0; i < r->list.count; i++)
        if (r->list.at[i].sent < r->list.at[i].pages)
            return false;
    return true;
}

bool
block_is_whole(const struct block *b, GError **error)
{
    g_autofree char *lost = block_lost_text(b);

    return !lost || fail(error, NUMON_ERROR_HOST, "cannot migrate guest memory: %s", lost);
}

bool
ram_out_whole(const struct ram_out *r, GError **error)
{
    for (unsigned i = 0; i < r->list.count; i++)
        if (!block_is_whole(r->list.at[i].block, error))
            return false;
    return true;
}

/* --- records ---------------------------------------------------------------------------------------------------- */

/* The page behind 'header' may be read until the output is flushed. */
static size_t
put_header(struct ram_out *r, struct block *b, uint64_t offset, unsigned kind, uint8_t header[])
{
    const char *name = b == r->block ? NULL : b->name;

    r->block = b;
    return wire_ram_header(header, offset, kind, name);
}

static size_t
put_run_header(struct ram_out *r, struct block *b, uint64_t first, unsigned kind, uint64_t count, uint8_t header[])
{
    const char *name = b == r->block ? NULL : b->name;

    r->block = b;
    return wire_ram_run_header(header, first * PAGE_SIZE, kind, (uint32_t)count, name);
}

static uint64_t
cache_address(const struct ram_out *r, const struct block *b, uint64_t index)
{
    return moving_of(r, b)->address + index * PAGE_SIZE;
}

static bool
send_whole(struct ram_out *r, struct block *b, uint64_t index, const uint8_t *page, GError **error)
{
    uint8_t header[RAM_HEADER_MOST];
    size_t size = put_header(r, b, index * PAGE_SIZE, RAM_PAGE, header);

    counter_add(&r->session->counters.pages_normal, 1);
    return output_put_page(r->output, header, size, page, error);
}

/* Pages in a row as they are. */
static bool
send_whole_run(struct ram_out *r, struct block *b, uint64_t first, uint64_t count, GError **error)
{
    uint8_t header[RAM_RUN_HEADER_MOST];
    size_t size = put_run_header(r, b, first, RAM_PAGE, count, header);

    counter_add(&r->session->counters.pages_normal, count);
    r->handled += count;
    r->fate = FATE_WHOLE;
    return output_put_pages(r->output, header, size, b->host + first * PAGE_SIZE, count, error);
}

/* The records of zero pages in a row: one, or one for each where others than numon may read them. */
static bool
put_zeros(struct ram_out *r, struct block *b, uint64_t first, uint64_t count, GError **error)
{
    uint8_t record[RAM_RUN_HEADER_MOST];
    size_t size;

    if (count > 1 && r->session->features & FEATURE_RUNS) {
        size = put_run_header(r, b, first, RAM_ZERO, count, record);
        return output_put(r->output, record, size, error);
    }
    size = put_header(r, b, first * PAGE_SIZE, RAM_ZERO, record);
    record[size++] = 0;
    return output_put(r->output, record, size, error)
        && output_put_zeros(r->output, (first + 1) * PAGE_SIZE, count - 1, error);
}

/* Zero pages in a row.  'again': they were sent before, and there is but one. */
static bool
send_zeros(struct ram_out *r, struct block *b, uint64_t first, uint64_t count, bool again, GError **error)
{
    struct session *s = r->session;

    if (r->cache && again) {
        uint8_t *cached = page_cache_insert(r->cache, cache_address(r, b, first),
                                            counter_read(&s->counters.dirty_syncs));
        if (cached)
            memset(cached, 0, PAGE_SIZE);
    }
    counter_add(&s->counters.pages_zero, count);
    r->fate = FATE_ZERO;
    return put_zeros(r, b, first, count, error);
}

/* --- differences ------------------------------------------------------------------------------------------------ */

/* A page is copied while its guest writes it: what matters is that the copy is what is sent.  Named in
 * testsuite/tsan.supp. */
static void __attribute__((noinline))
page_snapshot(uint8_t *to, const uint8_t *page)
{
    memcpy(to, page, PAGE_SIZE);
}

static bool
put_difference(struct ram_out *r, struct block *b, uint64_t index, uint16_t coded_size, GError **error)
{
    uint8_t header[RAM_HEADER_MOST + 3];
    size_t size = put_header(r, b, index * PAGE_SIZE, RAM_XBZRLE, header);

    header[size++] = XBZRLE_ENCODING;
    header[size++] = (uint8_t)(coded_size >> 8);
    header[size++] = (uint8_t)coded_size;
    counter_add(&r->session->counters.xbzrle_bytes, size - 8 + coded_size);
    r->fate = FATE_DELTA;
    r->coded_size = coded_size;
    return output_put(r->output, header, size, error) && output_put(r->output, r->coded, coded_size, error);
}

static bool
send_missed(struct ram_out *r, struct block *b, uint64_t index, uint64_t age, GError **error)
{
    const uint8_t *page = b->host + index * PAGE_SIZE;
    uint8_t *cached = r->last ? NULL : page_cache_insert(r->cache, cache_address(r, b, index), age);

    counter_add(&r->session->counters.xbzrle_misses, 1);
    r->fate = cached ? FATE_MISS : r->last ? FATE_MISS_LAST : FATE_MISS_TAKEN;
    if (cached)
        page_snapshot(cached, page);
    return send_whole(r, b, index, cached ? cached : page, error);
}

static bool
send_difference(struct ram_out *r, struct block *b, uint64_t index, GError **error)
{
    struct migrate_counters *c = &r->session->counters;
    uint64_t age = counter_read(&c->dirty_syncs);
    uint8_t *cached = page_cache_find(r->cache, cache_address(r, b, index), age);

    if (!cached)
        return send_missed(r, b, index, age, error);
    counter_add(&c->xbzrle_pages, 1);
    page_snapshot(r->now, b->host + index * PAGE_SIZE);
    size_t size = xbzrle_encode(cached, r->now, PAGE_SIZE, r->coded, PAGE_SIZE);
    if (size == 0) {
        counter_add(&c->xbzrle_same, 1);
        r->fate = FATE_SAME;
        return true;
    }
    memcpy(cached, r->now, PAGE_SIZE);
    if (size != XBZRLE_TOO_BIG)
        return put_difference(r, b, index, (uint16_t)size, error);
    counter_add(&c->xbzrle_overflows, 1);
    r->fate = FATE_OVERFLOW;
    counter_add(&c->xbzrle_bytes, PAGE_SIZE);
    return send_whole(r, b, index, cached, error);
}

/* --- compression ------------------------------------------------------------------------------------------------ */

/* The record of what a worker made. */
static bool
put_squeezed(void *self, struct squeeze_job *job, GError **error)
{
    struct ram_out *r = self;
    struct migrate_counters *c = &r->session->counters;
    uint8_t header[RAM_HEADER_MOST + 4];
    uint32_t length = GUINT32_TO_BE(job->coded_size);

    if (!job->good)
        return fail(error, NUMON_ERROR_HOST, "cannot compress page 0x%" PRIx64 " of block '%s': %s", job->offset,
                    job->block->name, job->why);
    size_t size = put_header(r, job->block, job->offset, RAM_COMPRESS, header);
    memcpy(header + size, &length, sizeof length);
    size += sizeof length;
    counter_add(&c->compress_pages, 1);
    counter_add(&c->compressed_bytes, size - 8 + job->coded_size);
    if (trace_on(r->session))
        trace_record(r->session, &(struct explain_event) {
            .kind = EXPLAIN_PAGE, .place = r->output->queued, .bytes = size + job->coded_size,
                .name = job->block->name,
            .number = job->offset, .form = PAGE_COMPRESSED }, NULL, 0);
    return output_put(r->output, header, size, error) && output_put(r->output, job->coded, job->coded_size, error);
}

static bool
send_squeezed(struct ram_out *r, struct block *b, uint64_t index, GError **error)
{
    struct session *s = r->session;
    const uint8_t *page = b->host + index * PAGE_SIZE;
    bool done;
    struct squeeze_job *job = pool_take(r->pool, parameter(&s->parameters->compress_wait_thread), &done);

    if (!job) {
        counter_add(&s->counters.compress_busy, 1);
        r->fate = FATE_BUSY;
        return send_whole(r, b, index, page, error);
    }
    if (done && !put_squeezed(r, job, error))
        return false;
    job->block = b;
    job->offset = index * PAGE_SIZE;
    job->level = (int)parameter(&s->parameters->compress_level);
    page_snapshot(job->page, page);
    pool_give(r->pool, job);
    r->fate = FATE_COMPRESSED;
    return true;
}

bool
ram_out_drain(struct ram_out *r, GError **error)
{
    return !r->pool || pool_drain(r->pool, put_squeezed, r, error);
}

/* --- pages ------------------------------------------------------------------------------------------------------ */

/* Which of up to 64 pages are to go as zero pages; 'absent' of them need not be read for that.  A reader of files may
 * pass over a zero record, taking it that a file is zero from the first: so there a page that became zero again goes
 * whole (QEMU's stream analyser does so). */
static uint64_t
zero_pages(const struct ram_out *r, const struct moving *m, uint64_t first, unsigned count, uint64_t absent)
{
    const uint8_t *page = m->block->host + first * PAGE_SIZE;
    uint64_t zero = 0;

    if (absent == UINT64_MAX && count == 64 && (!r->one_way || first >= m->sent))
        return absent;
    for (unsigned i = 0; i < count; i++, page += PAGE_SIZE)
        if ((!r->one_way || first + i >= m->sent) && (absent >> i & 1 || page_is_zero(page)))
            zero |= UINT64_C(1) << i;
    return zero;
}

/* 'zeros': so many from here on are zero pages.  Returns how many were sent, 0 with an error. */
static uint64_t
send_pages(struct ram_out *r, struct block *b, uint64_t index, uint64_t zeros, bool again, GError **error)
{
    const uint8_t *page = b->host + index * PAGE_SIZE;
    bool first = b != r->block;

    r->fate = FATE_WHOLE;
    r->handled += MAX(zeros, 1);
    /* What workers have belongs to the block before. */
    if (first && !ram_out_drain(r, error))
        return 0;
    if (zeros)
        return send_zeros(r, b, index, zeros, again, error) ? zeros : 0;
    if (r->cache && again)
        return send_difference(r, b, index, error);
    /* The first page of a block goes at once, as its record bears the name. */
    if (r->pool && !first)
        return send_squeezed(r, b, index, error);
    return send_whole(r, b, index, page, error);
}

/* A page's record, which began at byte 'place' of the stream; of a compressed one put_squeezed tells. */
static void
trace_page(struct ram_out *r, const struct block *b, uint64_t index, uint64_t place)
{
    struct explain_event e = {
        .kind = EXPLAIN_PAGE, .place = place, .bytes = r->output->queued - place, .name = b->name,
        .number = index * PAGE_SIZE,
        .form = r->fate == FATE_ZERO ? PAGE_ZERO : r->fate == FATE_DELTA ? PAGE_DELTA : PAGE_WHOLE,
    };

    if (r->fate != FATE_COMPRESSED && r->fate != FATE_SAME)
        trace_record(r->session, &e, r->coded, r->coded_size);
}

/* Those pages from 'index' on that can go together, at most 'same', which all are zero or all are not.  One by one
 * where each has a place of its own: in a trace, in the page cache, with a worker.  Returns how many were sent, 0
 * with an error. */
static uint64_t
send_alike(struct ram_out *r, const struct moving *m, uint64_t index, uint64_t same, bool zero, GError **error)
{
    struct session *s = r->session;
    bool again = index < m->sent, single = trace_on(s) || (r->cache && again);

    if (zero)
        return send_pages(r, m->block, index, single ? 1 : same, again, error);
    if (single || same == 1 || r->pool || r->output->summing || !(s->features & FEATURE_RUNS))
        return send_pages(r, m->block, index, 0, again, error);
    return send_whole_run(r, m->block, index, same, error) ? same : 0;
}

/* The pages of a run, of which those in 'zero' are zero pages. */
static bool
send_run(struct ram_out *r, const struct moving *m, uint64_t first, uint64_t count, const uint64_t *zero,
         GError **error)
{
    bool traced = trace_on(r->session);

    for (uint64_t i = 0, sent; i < count; i += sent) {
        uint64_t place = r->output->queued;
        bool is_zero = bit_test(zero, i);
        uint64_t end = is_zero ? bits_next_clear(zero, count, i) : bits_next(zero, count, i);

        sent = send_alike(r, m, first + i, end - i, is_zero, error);
        if (!sent)
            return false;
        memset(r->fates + i, (int)r->fate, sent);
        if (traced)
            trace_page(r, m->block, first + i, place);
    }
    return true;
}

/* A run that the destination is to copy. */
static bool
tell_copies(struct ram_out *r, struct block *b, uint64_t first, uint64_t count, GError **error)
{
    uint8_t header[RAM_HEADER_MOST + 4];
    uint64_t place = r->output->queued;
    size_t size = put_header(r, b, first * PAGE_SIZE, RAM_LOCAL, header);
    uint32_t pages = GUINT32_TO_BE((uint32_t)count);

    memcpy(header + size, &pages, sizeof pages);
    size += sizeof pages;
    counter_add(&r->session->counters.pages_normal, count);
    counter_add(&r->session->counters.copied_bytes, count * PAGE_SIZE);
    r->told += count;
    r->copied += count;
    if (trace_on(r->session))
        trace_record(r->session, &(struct explain_event) {
            .kind = EXPLAIN_PAGE, .place = place, .bytes = size, .name = b->name, .number = first * PAGE_SIZE,
            .form = PAGE_WHOLE }, NULL, 0);
    return output_put(r->output, header, size, error);
}

/* Pages that were never there are zero pages; all else is copied without being looked at. */
static bool
tell_run(struct ram_out *r, const struct moving *m, uint64_t first, uint64_t count, const uint64_t *absent,
         GError **error)
{
    for (uint64_t i = 0, next; i < count; i = next) {
        bool zero = bit_test(absent, i);

        next = zero ? bits_next_clear(absent, count, i) : bits_next(absent, count, i);
        if (!(zero ? send_zeros(r, m->block, first + i, next - i, false, error)
              : tell_copies(r, m->block, first + i, next - i, error)))
            return false;
        memset(r->fates + i, zero ? FATE_ZERO : FATE_WHOLE, next - i);
        r->handled += next - i;
    }
    return true;
}

bool
ram_out_run(struct ram_out *r, struct block *b, uint64_t first, uint64_t count, GError **error)
{
    uint64_t taken = 0, zero[WORDS_FOR(RUN_MOST)] = { 0 };
    struct moving *m = moving_of(r, b);

    g_assert(count <= RUN_MOST);
    struct hub *hub = r->session->guest.hub;

    if (!(first + count > m->sent ? hub_clear_there(hub, r->list.subscriber, b, first, count, zero, &taken, error)
                                  : hub_clear(hub, r->list.subscriber, b, first, count, &taken, error)))
        return false;
    r->taken += taken;
    for (uint64_t i = 0; !m->local && i < count; i += 64)
        zero[i / 64] = zero_pages(r, m, first + i, (unsigned)MIN(count - i, 64), zero[i / 64]);
    if (!(m->local ? tell_run : send_run)(r, m, first, count, zero, error))
        return false;
    history_note(r->session, b, first, count, r->fates);
    /* What was never sent is dirty, so runs leave none of it out. */
    if (first <= m->sent)
        m->sent = MAX(m->sent, first + count);
    return true;
}

/* --- rates ------------------------------------------------------------------------------------------------------ */

static double
ratio(uint64_t a, uint64_t b)
{
    return b ? (double)a / (double)b : 0;
}

void
ram_out_reckon(struct ram_out *r, bool end)
{
    struct session *s = r->session;
    const struct migrate_counters *c = &s->counters;
    const struct ram_rates *b = &r->before, now = {
        r->handled, counter_read(&c->xbzrle_misses), counter_read(&c->xbzrle_pages), counter_read(&c->xbzrle_bytes),
        counter_read(&c->compress_busy), counter_read(&c->compress_pages), counter_read(&c->compressed_bytes),
    };
    uint64_t handled = now.handled - b->handled;

    if (handled == 0 || (end && r->reckoned))
        return;
    r->reckoned = true;
    atomic_store(&s->xbzrle_miss_rate, ratio(now.misses - b->misses, handled));
    atomic_store(&s->xbzrle_encoding_rate, ratio((now.deltas - b->deltas) * PAGE_SIZE,
                                                 now.delta_bytes - b->delta_bytes));
    atomic_store(&s->compress_busy_rate, ratio(now.busy - b->busy, handled));
    if (now.squeezed > b->squeezed)
        atomic_store(&s->compress_rate, ratio((now.squeezed - b->squeezed) * PAGE_SIZE,
                                              now.squeezed_bytes - b->squeezed_bytes));
    r->before = now;
}
