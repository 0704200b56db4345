/* SPDX-License-Identifier: GPL-3.0-or-later */
/* zlib streams by libdeflate, where numon is built with it: about twice as fast, and smaller.  What it does not do is
 * left to zlib, which also judges whatever it refuses.  One worker's: no lock. */
#include "migrate-private.h"

#ifdef HAVE_LIBDEFLATE
# include <libdeflate.h>

struct deflater {
    struct libdeflate_compressor *compressor;       /* of 'level'; NULL at first */
    struct libdeflate_decompressor *decompressor;   /* NULL at first */
    int level;
};

struct deflater *
deflater_new(void)
{
    return g_new0(struct deflater, 1);
}

void
deflater_free(struct deflater *d)
{
    if (!d)
        return;
    libdeflate_free_compressor(d->compressor);
    libdeflate_free_decompressor(d->decompressor);
    g_free(d);
}

size_t
deflater_deflate(struct deflater *d, int level, const uint8_t *page, uint8_t *out, size_t room)
{
    if (!d->compressor || d->level != level) {
        libdeflate_free_compressor(d->compressor);
        d->compressor = libdeflate_alloc_compressor(level);
        d->level = level;
    }
    return d->compressor ? libdeflate_zlib_compress(d->compressor, page, PAGE_SIZE, out, room) : 0;
}

bool
deflater_inflate(struct deflater *d, const uint8_t *coded, size_t size, uint8_t *target)
{
    size_t used = 0;

    if (!d->decompressor)
        d->decompressor = libdeflate_alloc_decompressor();
    return d->decompressor && libdeflate_zlib_decompress_ex(d->decompressor, coded, size, target, PAGE_SIZE, &used,
                                                            NULL) == LIBDEFLATE_SUCCESS && used == size;
}

#else

struct deflater *
deflater_new(void)
{
    return NULL;
}

void
deflater_free(struct deflater *d)
{
}

size_t
deflater_deflate(struct deflater *d, int level, const uint8_t *page, uint8_t *out, size_t room)
{
    return 0;
}

bool
deflater_inflate(struct deflater *d, const uint8_t *coded, size_t size, uint8_t *target)
{
    return false;
}

#endif
