/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Capability local-copy: over a unix socket, to a process of the same host, pages of shared memory do not go through
 * it.  The destination is handed descriptors of the source's memfds, for reading only, in sections
 * "memory-copy" in front of the list of blocks; then it is told by records which pages to copy, and copies them.
 *
 *   section "memory-copy": length byte, name, be64 size; its first byte brings the descriptor.
 *   record RAM_LOCAL: as that of a page, with be32 count of pages in place of the page; a count of 0 asks for an
 *   answer: be32 follows, which the destination sends back when all before was copied.
 *
 * Which page is told when is as for pages that are sent: its dirty bit is cleared first, so a page that its guest
 * writes while it is copied, or between being told and copied, is told again; and of the last ones the guest, which
 * is stopped by then, changes none.  The source waits for the copying now and then, or it could not know how fast
 * that is.
 * The kernel copies, so that memory which cannot be had, on either side, is an error and no signal. */
#include "migrate-private.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { LOCAL_ID = 3 << 24 };                /* section ids, behind those of memory that is handed over */
enum { SETTLE_PAGES = 32 * 1024 * 1024 / PAGE_SIZE };
enum { MARK_BASE = 0x4c000000 };            /* answers that no ping has */

/* --- source ----------------------------------------------------------------------------------------------------- */

static bool
any_may(const struct session *s)
{
    const GPtrArray *blocks = s->guest.map->blocks;

    for (unsigned i = 0; i < blocks->len; i++)
        if (block_may_hand_over(blocks->pdata[i], NULL))
            return true;
    return false;
}

bool
local_prepare(struct session *s)
{
    s->sent_because = NULL;
    if (handover_is(s) || !s->capabilities || !atomic_load(&s->capabilities->local_copy))
        return true;
    if (s->address.transport != TRANSPORT_UNIX)
        s->sent_because = "this transport is no unix socket, which could carry descriptors";
    else if (s->features & (FEATURE_XBZRLE | FEATURE_COMPRESS | FEATURE_CHECKSUM))
        s->sent_because = "xbzrle, compress and checksum are of pages in the stream";
    else if (!any_may(s))
        s->sent_because = "none of it is shared and sealed (memory-backend-memfd, or share=on)";
    else
        s->features |= FEATURE_LOCAL;
    return true;
}

bool
local_may(const struct session *s, const struct block *b)
{
    return s->features & FEATURE_LOCAL && block_may_hand_over(b, NULL);
}

static bool
offer(struct out *o, const struct block *b, uint32_t instance, GError **error)
{
    g_autofree char *path = g_strdup_printf("/proc/self/fd/%d", b->fd);
    CLEANUP_FD int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return fail_host(error, errno, "cannot open the memory of '%s' for reading", b->name);
    wire_put_section(o->bytes, RECORD_FULL, LOCAL_ID + instance, LOCAL_SECTION, instance, LOCAL_VERSION);
    wire_put_name(o->bytes, b->name);
    wire_put64(o->bytes, b->size);
    wire_put_footer(o->bytes, LOCAL_ID + instance);
    o->channel->give = &fd;
    o->channel->give_count = 1;
    bool good = out_put(o, error) && output_flush(&o->output, error);
    o->channel->give = NULL;
    return good;
}

bool
local_offer(struct out *o, GError **error)
{
    uint32_t instance = 0;

    for (unsigned i = 0; i < o->ram.list.count; i++)
        if (o->ram.list.at[i].local && !offer(o, o->ram.list.at[i].block, instance++, error))
            return false;
    return true;
}

static bool
await_copies(struct out *o, uint32_t mark, GError **error)
{
    uint64_t patience_ms = o->stopped ? parameter(&o->session->parameters->switchover_timeout) : 0;
    int64_t deadline = o->stopped ? g_get_monotonic_time() + (int64_t)patience_ms * 1000 : INT64_MAX;
    bool ponged = false;

    if (!out_await_pong(o, mark, deadline, &ponged, error))
        return false;
    return ponged || fail(error, NUMON_ERROR_PEER, "the destination did not copy what it was told to within %u ms "
                          "(switchover-timeout)", (unsigned)patience_ms);
}

bool
local_settle(struct out *o, bool all, GError **error)
{
    struct ram_out *r = &o->ram;
    uint8_t record[RAM_HEADER_MOST + 4 + 4];
    uint32_t mark, zero = 0;

    if (r->told == 0 || (!all && r->told < SETTLE_PAGES))
        return true;
    r->told = 0;
    mark = MARK_BASE + (++r->marks & 0xffffff);
    mark = GUINT32_TO_BE(mark);
    size_t size = wire_ram_header(record, 0, RAM_LOCAL, NULL);
    memcpy(record + size, &zero, sizeof zero);
    memcpy(record + size + sizeof zero, &mark, sizeof mark);
    return output_put(&o->output, record, size + sizeof zero + sizeof mark, error) && output_flush(&o->output, error)
        && await_copies(o, GUINT32_FROM_BE(mark), error);
}

/* --- destination ------------------------------------------------------------------------------------------------ */

/* A memfd's pages are written through the descriptor: so they need not be made zero before. */
static bool
has_memfd(const struct block *b)
{
    return b->fd >= 0 && b->options.share && b->page_size == PAGE_SIZE
        && (b->options.kind == BACKEND_RAM || b->options.kind == BACKEND_MEMFD);
}

bool
local_take(struct ram_in *r, uint32_t instance, GError **error)
{
    GArray *given = r->input->channel->given;
    uint64_t size = 0;

    if (!(r->features & FEATURE_LOCAL) || r->features & FEATURE_HANDOVER || instance != r->handovers++)
        return input_fail(r->input, error, "section '" LOCAL_SECTION "' instance %u is not expected here", instance);
    struct loading *l = ram_in_find(r, error);
    if (!l || !input_take64(r->input, &size, error))
        return false;
    if (size != l->block->size || l->handed >= 0)
        return input_fail(r->input, error, "memory of %" PRIu64 " bytes to copy from is not that of '%s', or is "
                          "there twice", size, l->block->name);
    if (!given || given->len == 0)
        return input_fail(r->input, error, "the descriptor of the memory of '%s' did not come: what lies between "
                          "passes bytes only (`migrate_set_capability local-copy off` sends them)", l->block->name);
    l->handed = g_array_index(given, int, 0);
    g_array_remove_index(given, 0);
    if (!block_check_offer(l->block, l->handed, false, error))
        return false;
    if (!has_memfd(l->block))
        return true;
    void *map = mmap(NULL, l->block->size, PROT_READ, MAP_SHARED, l->handed, 0);
    if (map == MAP_FAILED)
        return fail_host(error, errno, "cannot map the source's memory of '%s'", l->block->name);
    l->copied = map;
    return true;
}

void
local_release(struct loading *l)
{
    if (l->copied)
        munmap(l->copied, l->block->size);
    l->copied = NULL;
}

static bool
copy(const struct loading *l, uint64_t offset, uint64_t size, GError **error)
{
    const struct block *b = l->block;

    while (size > 0) {
        ssize_t done = l->copied ? pwrite(b->fd, l->copied + offset, size, (off_t)offset)
                     : pread(l->handed, b->host + offset, size, (off_t)offset);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return fail_host(error, done < 0 ? errno : EIO, "cannot copy page 0x%" PRIx64 " of block '%s'", offset,
                             b->name);
        offset += (uint64_t)done;
        size -= (uint64_t)done;
    }
    return true;
}

/* All before was copied. */
static bool
answer_mark(struct ram_in *r, GError **error)
{
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    _Atomic uint64_t unused = 0;
    uint32_t mark;

    if (!input_take32(r->input, &mark, error))
        return false;
    mark = GUINT32_TO_BE(mark);
    wire_put_return(bytes, RETURN_PONG, &mark, sizeof mark);
    struct iovec iov = { bytes->data, bytes->len };
    return channel_write(r->input->channel, &iov, 1, counter_read(&r->session->parameters->switchover_timeout),
                         &unused, error);
}

bool
local_load(struct ram_in *r, uint64_t offset, bool go_on, GError **error)
{
    struct migrate_counters *c = &r->session->counters;
    struct hub *hub = r->session->guest.hub;
    uint64_t first = offset / PAGE_SIZE;
    uint32_t count;

    if (!go_on) {
        r->of = ram_in_find(r, error);
        if (!r->of)
            return false;
    }
    if (!input_take32(r->input, &count, error))
        return false;
    if (count == 0)
        return answer_mark(r, error);
    struct loading *l = r->of;
    if (!l || l->handed < 0 || first >= l->pages || count > RAM_RUN_MOST || count > l->pages - first)
        return input_fail(r->input, error, "%u pages at 0x%" PRIx64 " of block '%s' are to be copied, and cannot be",
                          count, offset, l ? l->block->name : "?");
    if (channel_wait(r->input->channel, -1, 0, 0) == CHANNEL_WOKEN)
        return fail(error, NUMON_ERROR_STATE, "interrupted while copying");
    bits_set(l->seen, first, count);
    if (!copy(l, offset, (uint64_t)count * PAGE_SIZE, error))
        return false;
    counter_add(&c->pages_normal, count);
    counter_add(&c->copied_bytes, (uint64_t)count * PAGE_SIZE);
    if (hub && hub_active(hub))
        hub_mark(hub, l->block, first, count);
    if (trace_on(r->session))
        trace_record(r->session, &(struct explain_event) {
            .kind = EXPLAIN_PAGE, .place = r->place, .bytes = r->input->offset - r->place, .name = l->block->name,
            .number = offset, .form = PAGE_WHOLE }, NULL, 0);
    return true;
}
