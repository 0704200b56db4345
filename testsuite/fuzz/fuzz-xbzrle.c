/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Any bytes as the difference of a page: nothing outside of the page is touched, and what was decoded can be encoded
 * again, by each unit of the CPU in the same way, and decoded to the same page. */
#include "../../src/migrate/migrate-private.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The decoded page against what it was before. */
static void
encode_again(const uint8_t *old, const uint8_t *new, size_t size)
{
    uint8_t first[PAGE_SIZE], other[PAGE_SIZE];
    size_t used = xbzrle_encode_by(XBZRLE_PLAIN, old, new, size, first, size);

    for (unsigned unit = XBZRLE_PLAIN + 1; unit < XBZRLE_UNITS; unit++)
        if (xbzrle_has(unit)) {
            g_assert(xbzrle_encode_by(unit, old, new, size, other, size) == used);
            g_assert(used == XBZRLE_TOO_BIG || memcmp(first, other, used) == 0);
        }
    if (used == XBZRLE_TOO_BIG)
        return;
    memcpy(other, old, size);
    g_assert(xbzrle_decode(first, used, other, size));
    g_assert(memcmp(other, new, size) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    /* The size of the page is the fuzzer's, so that short differences reach its end; on the heap, so that a
     * sanitizer sees it. */
    size_t page_size = size >= 2 ? 2 + (data[0] | data[1] << 8) % (PAGE_SIZE - 1) : PAGE_SIZE;
    g_autofree uint8_t *old = g_malloc(page_size);

    for (size_t i = 0; i < page_size; i++)
        old[i] = (uint8_t)(i * 7 + i / 256);
    g_autofree uint8_t *new = g_memdup2(old, page_size);
    if (size >= 2 && xbzrle_decode(data + 2, size - 2, new, page_size))
        encode_again(old, new, page_size);
    return 0;
}
