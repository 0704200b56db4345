/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What comes in, buffered, with the offset of each byte in the stream for whoever must say where it went wrong. */
#include "migrate-private.h"

#include <inttypes.h>
#include <string.h>

bool
input_fail(struct input *in, GError **error, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    g_autofree char *text = g_strdup_vprintf(format, args);
    va_end(args);
    return fail(error, NUMON_ERROR_PEER, "%s (before byte %" PRIu64 " of the stream)", text, in->offset);
}

bool
input_read_pieces(struct input *in, const struct iovec *iov, unsigned count, size_t *ret_size, GError **error)
{
    /* A source that sends faster than we load never makes the read wait, where a cancel would be seen. */
    if (channel_wait(in->channel, -1, 0, 0) == CHANNEL_WOKEN)
        return fail(error, NUMON_ERROR_STATE, "interrupted while receiving");
    ssize_t got = channel_read_pieces(in->channel, iov, count, INT64_MAX, error);
    if (got < 0)
        return false;
    if (got == 0)
        return input_fail(in, error, "the stream ends too early");
    in->at = in->end = 0;
    *ret_size = (size_t)got;
    counter_add(in->counter, (uint64_t)got);
    return true;
}

void
input_give_back(struct input *in, const void *data, size_t size)
{
    g_assert(size <= INPUT_BYTES - in->end);
    memcpy(in->bytes + in->end, data, size);
    in->end += size;
}

static bool
input_fill(struct input *in, GError **error)
{
    size_t got;

    if (!input_read_pieces(in, &(struct iovec) { in->bytes, INPUT_BYTES }, 1, &got, error))
        return false;
    in->end = got;
    return true;
}

bool
input_await(struct input *in, GError **error)
{
    return in->at < in->end || input_fill(in, error);
}

bool
input_read(void *input, void *to, size_t size, GError **error)
{
    struct input *in = input;
    uint8_t *at = to;

    while (size > 0) {
        if (!input_await(in, error))
            return false;
        size_t part = MIN(size, in->end - in->at);
        memcpy(at, in->bytes + in->at, part);
        if (in->summing)
            in->sum = checksum_add(in->sum, at, part);
        in->at += part;
        in->offset += part;
        at += part;
        size -= part;
    }
    return true;
}

/* What may come behind the pages in the same read, so that the next header costs none. */
enum { BEHIND = 512 };

bool
input_read_pages(struct input *in, uint8_t *to, size_t size, GError **error)
{
    size_t part = MIN(size, in->end - in->at), got;

    g_assert(!in->summing);
    memcpy(to, in->bytes + in->at, part);
    in->at += part;
    in->offset += part;
    for (size_t done = part; done < size; done += MIN(got, size - done)) {
        struct iovec iov[] = { { to + done, size - done }, { in->bytes, BEHIND } };

        if (!input_read_pieces(in, iov, G_N_ELEMENTS(iov), &got, error))
            return false;
        in->offset += MIN(got, size - done);
        in->end = got - MIN(got, size - done);
    }
    return true;
}

const uint8_t *
input_peek(const struct input *in, size_t *ret_size)
{
    *ret_size = in->end - in->at;
    return in->bytes + in->at;
}

void
input_skip(struct input *in, size_t size)
{
    if (in->summing)
        in->sum = checksum_add(in->sum, in->bytes + in->at, size);
    in->at += size;
    in->offset += size;
}

bool
input_take8(struct input *in, uint8_t *ret, GError **error)
{
    return input_read(in, ret, 1, error);
}

bool
input_take16(struct input *in, uint16_t *ret, GError **error)
{
    uint16_t raw;

    if (!input_read(in, &raw, sizeof raw, error))
        return false;
    *ret = GUINT16_FROM_BE(raw);
    return true;
}

bool
input_take32(struct input *in, uint32_t *ret, GError **error)
{
    uint32_t raw;

    if (!input_read(in, &raw, sizeof raw, error))
        return false;
    *ret = GUINT32_FROM_BE(raw);
    return true;
}

bool
input_take64(struct input *in, uint64_t *ret, GError **error)
{
    uint64_t raw;

    if (!input_read(in, &raw, sizeof raw, error))
        return false;
    *ret = GUINT64_FROM_BE(raw);
    return true;
}

bool
input_take_name(struct input *in, char ret[NAME_MOST + 1], GError **error)
{
    uint8_t length;

    if (!input_take8(in, &length, error))
        return false;
    if (length == 0 || length > NAME_MOST)
        return input_fail(in, error, "a name has %u bytes (1 to %d are allowed)", length, NAME_MOST);
    if (!input_read(in, ret, length, error))
        return false;
    ret[length] = '\0';
    if (!g_utf8_validate_len(ret, length, NULL))
        return input_fail(in, error, "a name of %u bytes is not text", length);
    return true;
}
