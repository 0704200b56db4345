/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The section "ram" of a stream in a file: what came of which page, and in which pass.
 *
 * The stream does not say where a pass over memory begins, but each goes from the first block's first page to the
 * last of the last, and ends with a part: so a part that begins at or below where the one before ended is of a new
 * one, and the section's END is one of its own.  Compressed pages may change places within a part: it is counted when
 * it is whole. */
#include "explain.h"

#include <inttypes.h>
#include <string.h>
#include <zlib.h>

enum { RAM_FULL = 0x001, RAM_HOOK = 0x080, RAM_MULTIFD_FLUSH = 0x200 };

static struct explain_block *
block_at(struct explain *e, unsigned i)
{
    return &g_array_index(e->report.blocks, struct explain_block, i);
}

static struct explain_account *
account_at(struct explain *e, unsigned i)
{
    return &g_array_index(e->accounts, struct explain_account, i);
}

/* --- rounds ----------------------------------------------------------------------------------------------------- */

static void
count_add(struct explain_count *to, const struct explain_count *c)
{
    for (unsigned form = 0; form < PAGE_FORMS; form++) {
        to->records[form] += c->records[form];
        to->bytes[form] += c->bytes[form];
    }
}

static bool
count_empty(const struct explain_count *c)
{
    return !c->records[PAGE_ZERO] && !c->records[PAGE_WHOLE] && !c->records[PAGE_DELTA]
        && !c->records[PAGE_COMPRESSED];
}

static void
flush_block(struct explain *e, unsigned i)
{
    struct explain_account *a = account_at(e, i);
    GArray *rows = e->report.rows;

    if (count_empty(&a->part))
        return;
    if (!a->row || g_array_index(rows, struct explain_row, a->row - 1).round != e->round) {
        struct explain_row row = { .round = e->round, .block = i };
        g_array_append_val(rows, row);
        a->row = rows->len;
    }
    count_add(&g_array_index(rows, struct explain_row, a->row - 1).count, &a->part);
    count_add(&block_at(e, i)->count, &a->part);
    a->part = (struct explain_count) { 0 };
}

/* A part is over. */
static void
flush_part(struct explain *e)
{
    GArray *rows = e->report.rows;

    if (e->part_low == UINT64_MAX)
        return;
    bool again = e->high != UINT64_MAX && (e->part_low <= e->high || e->part_ends);
    if (e->round == 0 || (again && rows->len + e->accounts->len <= EXPLAIN_ROWS_MOST)) {
        e->round++;
        e->high = e->part_high;
    } else {
        e->report.folded = e->report.folded || again;
        e->high = again ? e->part_high : MAX(e->high, e->part_high);
    }
    for (unsigned i = 0; i < e->accounts->len; i++)
        flush_block(e, i);
}

void
explain_ram_begin(struct explain *e, bool end)
{
    e->part_low = UINT64_MAX;
    e->part_high = 0;
    e->part_ends = end;
}

/* --- blocks ----------------------------------------------------------------------------------------------------- */

/* A bit a page, unless all of them are too many. */
static uint64_t *
make_seen(struct explain *e, uint64_t size)
{
    uint64_t pages = size / PAGE_SIZE;

    if (pages > EXPLAIN_PAGES_MOST - e->pages_accounted)
        return NULL;
    e->pages_accounted += pages;
    return g_try_new0(uint64_t, WORDS_FOR(pages) + 1);
}

static bool
add_block(struct explain *e, const char *name, uint64_t size, uint64_t place, GError **error)
{
    struct explain_block b = { .size = size, .place = place };
    struct explain_account a = { .start = e->report.blocks->len * EXPLAIN_BLOCK_MOST };

    if (e->report.blocks->len == EXPLAIN_BLOCKS_MOST)
        return input_fail(&e->input, error, "the stream has more than %d RAM blocks", EXPLAIN_BLOCKS_MOST);
    if (size == 0 || size % PAGE_SIZE || size > EXPLAIN_BLOCK_MOST)
        return input_fail(&e->input, error, "RAM block '%s' has %" PRIu64 " bytes", name, size);
    g_strlcpy(b.name, name, sizeof b.name);
    a.seen = make_seen(e, size);
    b.counted = a.seen != NULL;
    g_array_append_val(e->report.blocks, b);
    g_array_append_val(e->accounts, a);
    explain_tell(e, &(struct explain_event) {
        .kind = EXPLAIN_BLOCK, .place = place, .bytes = e->input.offset - place, .name = name, .number = size });
    return true;
}

static int
find_block(struct explain *e, const char *name)
{
    for (unsigned i = 0; i < e->report.blocks->len; i++)
        if (g_str_equal(block_at(e, i)->name, name))
            return (int)i;
    return -1;
}

/* Listed again it has become longer. */
static bool
grow_block(struct explain *e, unsigned i, uint64_t size, uint64_t place, GError **error)
{
    struct explain_block *b = block_at(e, i);
    struct explain_account *a = account_at(e, i);
    uint64_t pages = size / PAGE_SIZE, before = b->size / PAGE_SIZE;

    if (size <= b->size || size % PAGE_SIZE || size > EXPLAIN_BLOCK_MOST) {
        explain_fault(e, place, "RAM block '%s' of %" PRIu64 " bytes is listed again with %" PRIu64, b->name, b->size,
                      size);
        return true;
    }
    b->size = size;
    if (a->seen && pages - before <= EXPLAIN_PAGES_MOST - e->pages_accounted) {
        uint64_t *seen = g_try_renew(uint64_t, a->seen, WORDS_FOR(pages) + 1);
        if (seen) {
            memset(seen + WORDS_FOR(before) + 1, 0, (WORDS_FOR(pages) - WORDS_FOR(before)) * sizeof *seen);
            a->seen = seen;
            e->pages_accounted += pages - before;
            return true;
        }
    }
    g_clear_pointer(&a->seen, g_free);
    b->counted = false;
    return true;
}

static bool
take_block(struct explain *e, uint64_t *left, GError **error)
{
    char name[NAME_MOST + 1];
    uint64_t place = e->input.offset, size;
    int known;

    if (!input_take_name(&e->input, name, error) || !input_take64(&e->input, &size, error))
        return false;
    if (size > *left)
        return input_fail(&e->input, error, "the sizes of the RAM blocks are more than the total of the list");
    *left -= size;
    known = find_block(e, name);
    if (known >= 0)
        return grow_block(e, (unsigned)known, size, place, error) && (!e->ignore_shared || explain_skip(e, 8, error));
    return add_block(e, name, size, place, error) && (!e->ignore_shared || explain_skip(e, 8, error));
}

static bool
take_list(struct explain *e, uint64_t left, GError **error)
{
    while (left > 0)
        if (!take_block(e, &left, error))
            return false;
    return true;
}

/* --- pages ------------------------------------------------------------------------------------------------------ */

static bool
take_zero(struct explain *e, uint64_t place, GError **error)
{
    uint8_t fill;

    if (!input_take8(&e->input, &fill, error))
        return false;
    if (fill)
        explain_fault(e, place, "a zero page is filled with 0x%02x", fill);
    return true;
}

/* Reads what changed into the page; the bytes stand in 'bytes'. */
static bool
take_delta(struct explain *e, uint64_t place, bool seen, unsigned *ret_runs, GError **error)
{
    uint8_t encoding;
    uint16_t size;
    bool good;

    explain_stops(e, place, "a delta page (XBZRLE)");
    if (!input_take8(&e->input, &encoding, error) || !input_take16(&e->input, &size, error))
        return false;
    if (encoding != XBZRLE_ENCODING)
        explain_fault(e, place, "a delta page has the unknown encoding %u", encoding);
    if (size == 0 || size > PAGE_SIZE)
        return input_fail(&e->input, error, "a delta page has %u bytes (1 to %d are allowed)", size, PAGE_SIZE);
    if (!seen)
        explain_fault(e, place, "a delta page never came whole before");
    if (!input_read(&e->input, e->bytes, size, error))
        return false;
    *ret_runs = xbzrle_list_runs(e->bytes, size, e->runs, EXPLAIN_RUNS_MOST, &good);
    if (!good)
        explain_fault(e, place, "a delta page is no encoding of one");
    return true;
}

static bool
take_compressed(struct explain *e, uint64_t place, GError **error)
{
    uLongf length = PAGE_SIZE;
    uint32_t size;

    explain_stops(e, place, "a compressed page");
    if (!input_take32(&e->input, &size, error))
        return false;
    if (size == 0 || size > CODED_MOST)
        return input_fail(&e->input, error, "a compressed page has %u bytes (1 to %u are allowed)", size, CODED_MOST);
    if (!input_read(&e->input, e->bytes, size, error))
        return false;
    if (uncompress(e->page, &length, e->bytes, size) != Z_OK || length != PAGE_SIZE)
        explain_fault(e, place, "a compressed page cannot be decompressed");
    return true;
}

static bool
take_form(unsigned flags, enum page_form *ret)
{
    switch (flags & ~(unsigned)RAM_CONTINUE) {
    case RAM_ZERO:
        *ret = PAGE_ZERO;
        return true;
    case RAM_PAGE:
        *ret = PAGE_WHOLE;
        return true;
    case RAM_XBZRLE:
        *ret = PAGE_DELTA;
        return true;
    case RAM_COMPRESS:
        *ret = PAGE_COMPRESSED;
        return true;
    default:
        return false;
    }
}

/* Which block the record is of. */
static bool
take_name(struct explain *e, bool goes_on, GError **error)
{
    char name[NAME_MOST + 1];

    if (goes_on)
        return e->block >= 0 || input_fail(&e->input, error, "the first page names no block");
    if (!input_take_name(&e->input, name, error))
        return false;
    e->block = find_block(e, name);
    return e->block >= 0 || input_fail(&e->input, error, "RAM block '%s' was not listed", name);
}

static bool
take_content(struct explain *e, enum page_form form, uint64_t place, bool seen, unsigned *ret_runs, GError **error)
{
    switch (form) {
    case PAGE_ZERO:
        return take_zero(e, place, error);
    case PAGE_DELTA:
        return take_delta(e, place, seen, ret_runs, error);
    case PAGE_COMPRESSED:
        return take_compressed(e, place, error);
    default:
        return explain_skip(e, PAGE_SIZE, error);
    }
}

static void
check_announced(struct explain *e, enum page_form form, uint64_t place)
{
    uint64_t needed = form == PAGE_DELTA ? FEATURE_XBZRLE : form == PAGE_COMPRESSED ? FEATURE_COMPRESS : 0;

    if (e->report.ours && (e->report.features & needed) != needed)
        explain_fault(e, place, "the stream's head announced no %s pages", page_form_names[form]);
}

static void
count_page(struct explain *e, enum page_form form, uint64_t offset, uint64_t bytes)
{
    struct explain_account *a = account_at(e, (unsigned)e->block);
    uint64_t address = a->start + offset;

    e->part_low = MIN(e->part_low, address);
    e->part_high = MAX(e->part_high, address);
    a->part.records[form]++;
    a->part.bytes[form] += bytes;
    if (!a->seen || bit_test(a->seen, offset / PAGE_SIZE))
        return;
    bit_set(a->seen, offset / PAGE_SIZE);
    block_at(e, (unsigned)e->block)->pages++;
}

static bool
take_page(struct explain *e, uint64_t offset, unsigned flags, uint64_t place, GError **error)
{
    enum page_form form;
    unsigned runs = 0;

    if (!take_form(flags, &form))
        return input_fail(&e->input, error, "a record of section 'ram' has the flags 0x%x", flags);
    if (!take_name(e, flags & RAM_CONTINUE, error))
        return false;
    const struct explain_block *b = block_at(e, (unsigned)e->block);
    const struct explain_account *a = account_at(e, (unsigned)e->block);
    bool inside = offset < b->size;
    bool seen = inside && (!a->seen || bit_test(a->seen, offset / PAGE_SIZE));
    check_announced(e, form, place);
    if (!inside)
        explain_fault(e, place, "page 0x%" PRIx64 " lies outside of block '%s' (%" PRIu64 " bytes)", offset, b->name,
                      b->size);
    if (!take_content(e, form, place, seen || !inside, &runs, error))
        return false;
    if (inside)
        count_page(e, form, offset, e->input.offset - place);
    explain_tell(e, &(struct explain_event) {
        .kind = EXPLAIN_PAGE, .place = place, .bytes = e->input.offset - place, .name = b->name, .number = offset,
        .form = form, .runs = e->runs, .run_count = runs });
    return true;
}

/* Of 'count' pages those that the block has are counted; the record's bytes are the first one's. */
static void
count_run(struct explain *e, enum page_form form, uint64_t offset, uint64_t count, uint64_t bytes)
{
    uint64_t size = block_at(e, (unsigned)e->block)->size, end = offset + count * PAGE_SIZE;

    for (; offset < MIN(end, size); offset += PAGE_SIZE, bytes = 0)
        count_page(e, form, offset, bytes);
}

/* Pages in a row, in one record of numon's own. */
static bool
take_run(struct explain *e, uint64_t offset, unsigned flags, uint64_t place, GError **error)
{
    enum page_form form = flags & RAM_ZERO ? PAGE_ZERO : PAGE_WHOLE;
    uint32_t count;

    explain_stops(e, place, "a run of pages");
    if (!take_name(e, flags & RAM_CONTINUE, error) || !input_take32(&e->input, &count, error))
        return false;
    const struct explain_block *b = block_at(e, (unsigned)e->block);
    if (e->report.ours && !(e->report.features & FEATURE_RUNS))
        explain_fault(e, place, "the stream's head announced no runs of pages");
    if (count == 0 || count > RAM_RUN_MOST)
        return input_fail(&e->input, error, "a run of %u pages (1 to %d are allowed)", count, RAM_RUN_MOST);
    if (offset >= b->size || count > (b->size - offset) / PAGE_SIZE)
        explain_fault(e, place, "%u pages from 0x%" PRIx64 " on lie outside of block '%s' (%" PRIu64 " bytes)", count,
                      offset, b->name, b->size);
    if (form == PAGE_WHOLE && !explain_skip(e, (uint64_t)count * PAGE_SIZE, error))
        return false;
    count_run(e, form, offset, count, e->input.offset - place);
    explain_tell(e, &(struct explain_event) {
        .kind = EXPLAIN_PAGE, .place = place, .bytes = e->input.offset - place, .name = b->name, .number = offset,
        .form = form, .pages = count });
    return true;
}

bool
explain_ram_record(struct explain *e, bool *ret_eos, GError **error)
{
    uint64_t place = e->input.offset, word;

    if (!input_take64(&e->input, &word, error))
        return false;
    unsigned flags = word & RAM_FLAGS;
    *ret_eos = word == RAM_EOS;
    if (*ret_eos)
        flush_part(e);
    if (*ret_eos || word == RAM_MULTIFD_FLUSH)
        return true;
    if (flags == RAM_MEM_SIZE)
        return take_list(e, word & ~(uint64_t)RAM_FLAGS, error);
    word &= ~(uint64_t)RAM_FLAGS;
    if (wire_ram_feature(flags) == FEATURE_RUNS)
        return take_run(e, word, flags, place, error);
    return take_page(e, word, flags, place, error);
}

void
explain_ram_end(struct explain *e)
{
    if (e->in_ram)
        flush_part(e);
    for (unsigned i = 0; i < e->report.blocks->len; i++) {
        const struct explain_block *b = block_at(e, i);
        if (b->counted && b->pages < b->size / PAGE_SIZE)
            explain_fault(e, e->input.offset, "%" PRIu64 " of %" PRIu64 " pages of block '%s' never came, the first "
                          "at 0x%" PRIx64, b->size / PAGE_SIZE - b->pages, b->size / PAGE_SIZE, b->name,
                          bits_next_clear(account_at(e, i)->seen, b->size / PAGE_SIZE, 0) * PAGE_SIZE);
    }
}

void
explain_ram_release(struct explain *e)
{
    for (unsigned i = 0; i < e->accounts->len; i++)
        g_free(account_at(e, i)->seen);
    g_array_unref(e->accounts);
}
