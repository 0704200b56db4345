/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What is going out, gathered: headers are copied into one buffer, pages stay in guest memory, and both leave in one
 * big write. */
#include "migrate-private.h"

#include <string.h>

bool
output_flush(struct output *o, GError **error)
{
    unsigned pieces = o->pieces;

    o->pieces = 0;
    o->used = 0;
    o->waiting = 0;
    for (unsigned i = 0; o->summing && i < pieces; i++)
        o->sum = checksum_add(o->sum, o->iov[i].iov_base, o->iov[i].iov_len);
    return pieces == 0 || channel_write(o->channel, o->iov, pieces, o->stall_ms, o->accepted, error);
}

/* 'size' bytes were put into the buffer, for which there was room. */
static void
taken(struct output *o, size_t size)
{
    uint8_t *to = o->bytes + o->used;
    struct iovec *last = o->pieces ? &o->iov[o->pieces - 1] : NULL;

    o->used += size;
    o->queued += size;
    if (last && (uint8_t *)last->iov_base + last->iov_len == to)
        last->iov_len += size;
    else
        o->iov[o->pieces++] = (struct iovec) { to, size };
}

static void
append(struct output *o, const void *data, size_t size)
{
    memcpy(o->bytes + o->used, data, size);
    taken(o, size);
}

bool
output_put(struct output *o, const void *data, size_t size, GError **error)
{
    while (size > 0) {
        if (o->used == OUTPUT_BYTES || o->pieces == OUTPUT_PIECES)
            if (!output_flush(o, error))
                return false;
        size_t part = MIN(size, OUTPUT_BYTES - o->used);
        append(o, data, part);
        data = (const uint8_t *)data + part;
        size -= part;
    }
    return true;
}

bool
output_put_zeros(struct output *o, uint64_t offset, uint64_t count, GError **error)
{
    while (count > 0) {
        if (OUTPUT_BYTES - o->used < RAM_ZERO_SIZE || o->pieces == OUTPUT_PIECES)
            if (!output_flush(o, error))
                return false;
        uint64_t part = MIN(count, (OUTPUT_BYTES - o->used) / RAM_ZERO_SIZE);
        wire_ram_zeros(o->bytes + o->used, offset, part);
        taken(o, part * RAM_ZERO_SIZE);
        offset += part * PAGE_SIZE;
        count -= part;
    }
    return true;
}

bool
output_put_array(struct output *o, GByteArray *a, GError **error)
{
    bool good = output_put(o, a->data, a->len, error);

    g_byte_array_set_size(a, 0);
    return good;
}

bool
output_put_pages(struct output *o, const uint8_t header[], size_t header_size, const uint8_t *pages, uint64_t count,
                 GError **error)
{
    size_t size = count * PAGE_SIZE;

    g_assert(!o->summing);
    if (o->used + header_size > OUTPUT_BYTES || o->pieces + 2 > OUTPUT_PIECES)
        if (!output_flush(o, error))
            return false;
    append(o, header, header_size);
    o->iov[o->pieces++] = (struct iovec) { (uint8_t *)pages, size };
    o->queued += size;
    o->waiting += size;
    return o->waiting < OUTPUT_WAITING || output_flush(o, error);
}

bool
output_put_page(struct output *o, const uint8_t header[], size_t header_size, const uint8_t *page, GError **error)
{
    if (o->summing)
        return output_put(o, header, header_size, error) && output_put(o, page, PAGE_SIZE, error);
    return output_put_pages(o, header, header_size, page, 1, error);
}
