/* SPDX-License-Identifier: GPL-3.0-or-later */
/* usage: bench-xbzrle
 * What it costs to encode a page as the difference from its predecessor: by a plain loop over bytes, and by each unit
 * of the encoder that this CPU has.  Nanoseconds of CPU time a page, the best of some rounds, for pages that differ
 * in more or fewer places. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../../src/migrate/migrate-private.h"

enum { PAGES = 2048, ROUNDS = 9 };

static double
cpu_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static size_t
put_length(uint8_t *out, size_t length)
{
    out[0] = (uint8_t)(length & 0x7f);
    if (length < 0x80)
        return 1;
    out[0] |= 0x80;
    out[1] = (uint8_t)(length >> 7);
    return 2;
}

/* The same encoding, byte by byte. */
static __attribute__((noinline)) size_t
encode_bytes(const uint8_t *old, const uint8_t *new, uint8_t *out)
{
    size_t used = 0, at = 0;

    while (at < PAGE_SIZE) {
        size_t begin = at, end;

        while (begin < PAGE_SIZE && old[begin] == new[begin])
            begin++;
        if (begin == PAGE_SIZE)
            break;
        for (end = begin; end < PAGE_SIZE && old[end] != new[end];)
            end++;
        if (used + 4 + end - begin > PAGE_SIZE)
            return XBZRLE_TOO_BIG;
        used += put_length(out + used, begin - at);
        used += put_length(out + used, end - begin);
        memcpy(out + used, new + begin, end - begin);
        used += end - begin;
        at = end;
    }
    return used;
}

/* 'places' changes of 'bytes' each. */
static const struct pattern { const char *name; unsigned places, bytes; } patterns[] = {
    { "same", 0, 0 }, { "1 word", 1, 8 }, { "1 line", 1, 64 }, { "8 words", 8, 8 }, { "64 bytes", 64, 1 },
    { "256 bytes", 256, 1 }, { "half", 1, PAGE_SIZE / 2 },
};

static void
fill(uint8_t *old, uint8_t *new, const struct pattern *p)
{
    for (size_t i = 0; i < (size_t)PAGES * PAGE_SIZE; i++)
        old[i] = (uint8_t)rand();
    memcpy(new, old, (size_t)PAGES * PAGE_SIZE);
    for (unsigned page = 0; page < PAGES; page++)
        for (unsigned i = 0; i < p->places; i++) {
            size_t at = (size_t)rand() % (PAGE_SIZE - p->bytes + 1);

            for (unsigned n = 0; n < p->bytes; n++)
                new[(size_t)page * PAGE_SIZE + at + n] = (uint8_t)(old[(size_t)page * PAGE_SIZE + at + n] + 1);
        }
}

/* 'unit' XBZRLE_UNITS: the loop over bytes. */
static double
measure(const uint8_t *old, const uint8_t *new, unsigned unit)
{
    uint8_t out[PAGE_SIZE];
    double best = 1e18;

    for (unsigned round = 0; round < ROUNDS; round++) {
        double began = cpu_ns();
        size_t sum = 0;

        for (size_t at = 0; at < (size_t)PAGES * PAGE_SIZE; at += PAGE_SIZE)
            sum += unit == XBZRLE_UNITS ? encode_bytes(old + at, new + at, out)
                                        : xbzrle_encode_by(unit, old + at, new + at, PAGE_SIZE, out, PAGE_SIZE);
        __asm__ volatile("" :: "r"(sum) : "memory");
        best = MIN(best, (cpu_ns() - began) / PAGES);
    }
    return best;
}

int
main(void)
{
    static const char *const names[] = { "plain", "avx2", "avx512" };
    uint8_t *old = g_malloc((size_t)PAGES * PAGE_SIZE), *new = g_malloc((size_t)PAGES * PAGE_SIZE);

    printf("%-10s %10s", "ns a page", "bytes");
    for (unsigned unit = 0; unit < XBZRLE_UNITS; unit++)
        printf(" %10s  times", names[unit]);
    printf("\n");
    for (unsigned i = 0; i < G_N_ELEMENTS(patterns); i++) {
        fill(old, new, &patterns[i]);
        double bytes = measure(old, new, XBZRLE_UNITS);

        printf("%-10s %10.0f", patterns[i].name, bytes);
        for (unsigned unit = 0; unit < XBZRLE_UNITS; unit++) {
            double ns = xbzrle_has(unit) ? measure(old, new, unit) : 0;
            printf(" %10.0f %6.1f", ns, ns ? bytes / ns : 0);
        }
        printf("\n");
    }
    g_free(old);
    g_free(new);
    return 0;
}
