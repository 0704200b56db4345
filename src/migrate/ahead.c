/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Pages straight into guest memory.  A page that comes whole is mostly followed by its neighbour, so one vectored
 * read takes what is left of the page, and the headers and pages that are expected behind it.  Headers are compared
 * after: what did not belong there goes back to the input's buffer, and is read as the records that it is.
 *
 * Only pages that never came are written to ahead: what lies there is nobody's, and each must still come (or the load
 * fails).  In memory that nobody touched it reads as zero, which a zero page relies on; so it is made zero again.  A
 * guess that fails makes the next one small, and none goes beyond the huge page that the host may give for the page
 * at hand, so that a sparse guest stays sparse. */
#include "migrate-private.h"

#include <string.h>

enum { HEADER = 8, AHEAD_MOST = 63, HUGE_PAGES = 512 };
_Static_assert(AHEAD_MOST * (HEADER + PAGE_SIZE) <= INPUT_BYTES, "what was read in vain fits the input's buffer");

struct ahead {
    uint8_t headers[AHEAD_MOST][HEADER];
    unsigned count;                     /* pages expected behind 'index' */
    uint64_t index;                     /* the page being filled */
    size_t filled;                      /* bytes of it */
};

/* Huge pages and files may lack room, which is told apart only when memory is touched the ordinary way (guard.c). */
bool
ahead_may(const struct ram_in *r)
{
    const struct block *b = r->of->block;

    return !r->input->summing && !trace_on(r->session) && b->page_size == PAGE_SIZE
        && (b->options.kind == BACKEND_RAM || b->options.kind == BACKEND_MEMFD);
}

static uint8_t *
page_of(const struct ram_in *r, uint64_t index)
{
    return r->of->block->host + index * PAGE_SIZE;
}

/* The index behind the huge page, 2 MiB of addresses of ours, in which page 'index' lies. */
static uint64_t
huge_page_end(const struct ram_in *r, uint64_t index)
{
    return index + HUGE_PAGES - (uintptr_t)page_of(r, index) / PAGE_SIZE % HUGE_PAGES;
}

static unsigned
fill_pieces(const struct ram_in *r, struct ahead *a, struct iovec *iov)
{
    uint64_t next = a->index + 1, end = MIN(next + r->ahead, MIN(r->of->pages, huge_page_end(r, a->index)));
    unsigned n = 0;

    a->count = next < end ? (unsigned)(bits_next(r->of->seen, end, next) - next) : 0;
    iov[n++] = (struct iovec) { page_of(r, a->index) + a->filled, PAGE_SIZE - a->filled };
    for (unsigned i = 0; i < a->count; i++) {
        iov[n++] = (struct iovec) { a->headers[i], HEADER };
        iov[n++] = (struct iovec) { page_of(r, next + i), PAGE_SIZE };
    }
    return n;
}

/* Gives 'left' bytes back, which were read for the headers and pages from number 'i' on. */
static void
give_back(struct ram_in *r, struct ahead *a, unsigned i, size_t left)
{
    for (; left > 0; i++) {
        size_t header = MIN(left, HEADER), body = MIN(left - header, PAGE_SIZE);
        uint8_t *page = page_of(r, a->index + 1 + i);

        input_give_back(r->input, a->headers[i], header);
        input_give_back(r->input, page, body);
        if (r->of->fresh)
            memset(page, 0, body);
        left -= header + body;
    }
}

/* Takes up to 'left' bytes as the page's. */
static size_t
fill_page(struct ram_in *r, struct ahead *a, size_t left)
{
    size_t part = MIN(left, PAGE_SIZE - a->filled);

    a->filled += part;
    r->input->offset += part;
    return left - part;
}

/* What was read: as many pages as were rightly expected. */
static void
take_pages(struct ram_in *r, struct ahead *a, size_t left)
{
    unsigned i = 0, count = a->count;

    left = fill_page(r, a, left);
    while (i < count && left >= HEADER && wire_ram_is_page(a->headers[i], (a->index + 1) * PAGE_SIZE)) {
        bit_set(r->of->seen, ++a->index);
        r->input->offset += HEADER;
        a->filled = 0;
        left = fill_page(r, a, left - HEADER);
        i++;
    }
    if (i == count)
        r->ahead = MIN(MAX(r->ahead * 2, 1), AHEAD_MOST);
    else if (left >= HEADER)
        r->ahead = 1;
    a->index -= i;
    give_back(r, a, i, left);
    a->index += i;
}

/* Until the page at hand is whole, with the input's buffer empty. */
static bool
read_pages(struct ram_in *r, struct ahead *a, GError **error)
{
    struct iovec iov[1 + 2 * AHEAD_MOST];
    size_t got;

    do {
        unsigned pieces = fill_pieces(r, a, iov);
        if (pieces == 1 && a->filled == PAGE_SIZE)
            return true;
        if (!input_read_pieces(r->input, iov, pieces, &got, error))
            return false;
        take_pages(r, a, got);
    } while (a->filled < PAGE_SIZE);
    return true;
}

bool
ahead_load(struct ram_in *r, uint64_t *index, GError **error)
{
    struct ahead a = { .index = *index };
    bool good;

    input_peek(r->input, &a.filled);
    a.filled = MIN(a.filled, PAGE_SIZE);
    good = input_read(r->input, page_of(r, a.index), a.filled, error)
        && (a.filled == PAGE_SIZE || read_pages(r, &a, error));
    *index = a.index;
    return good;
}

bool
ahead_go_on(struct ram_in *r, uint64_t *index, GError **error)
{
    struct ahead a = { .index = *index, .filled = PAGE_SIZE };
    size_t buffered;

    input_peek(r->input, &buffered);
    bool good = buffered > 0 || read_pages(r, &a, error);
    *index = a.index;
    return good;
}
