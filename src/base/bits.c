/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Words of bits: bit n is bit n % 64 of word n / 64, as KVM's dirty log has them.  Ranges are walked a word at a
 * time: each step handles the bits of one word that lie in the range. */
#include "base.h"

/* The part of a range that lies in one word. */
struct part {
    uint64_t word;
    uint64_t mask;
};

/* Takes the first word's part off the range [*first, *first + *count), which is not empty. */
static struct part
next_part(uint64_t *first, uint64_t *count)
{
    unsigned shift = *first % 64;
    uint64_t here = MIN(*count, 64 - shift);
    struct part p = { *first / 64, (UINT64_MAX >> (64 - here)) << shift };

    *first += here;
    *count -= here;
    return p;
}

void
bits_set(uint64_t *words, uint64_t first, uint64_t count)
{
    while (count) {
        struct part p = next_part(&first, &count);

        words[p.word] |= p.mask;
    }
}

void
bits_clear(uint64_t *words, uint64_t first, uint64_t count)
{
    while (count) {
        struct part p = next_part(&first, &count);

        words[p.word] &= ~p.mask;
    }
}

uint64_t
bits_count(const uint64_t *words, uint64_t bits)
{
    uint64_t first = 0, total = 0;

    while (bits) {
        struct part p = next_part(&first, &bits);

        total += (unsigned)__builtin_popcountll(words[p.word] & p.mask);
    }
    return total;
}

/* The first bit at or after 'from' that differs from 'flip', a word of all zeros or all ones. */
static uint64_t
next_unlike(const uint64_t *words, uint64_t bits, uint64_t from, uint64_t flip)
{
    uint64_t count = from < bits ? bits - from : 0;

    while (count) {
        struct part p = next_part(&from, &count);
        uint64_t found = (words[p.word] ^ flip) & p.mask;

        if (found)
            return p.word * 64 + (unsigned)__builtin_ctzll(found);
    }
    return bits;
}

uint64_t
bits_next(const uint64_t *words, uint64_t bits, uint64_t from)
{
    return next_unlike(words, bits, from, 0);
}

uint64_t
bits_next_clear(const uint64_t *words, uint64_t bits, uint64_t from)
{
    return next_unlike(words, bits, from, UINT64_MAX);
}

void
bits_set_atomic(_Atomic uint64_t *words, uint64_t first, uint64_t count)
{
    while (count) {
        struct part p = next_part(&first, &count);

        atomic_fetch_or_explicit(&words[p.word], p.mask, memory_order_release);
    }
}

uint64_t
bits_take_atomic(_Atomic uint64_t *words, uint64_t first, uint64_t count)
{
    uint64_t taken = 0;

    while (count) {
        struct part p = next_part(&first, &count);
        uint64_t before = atomic_fetch_and_explicit(&words[p.word], ~p.mask, memory_order_acquire);

        taken += (unsigned)__builtin_popcountll(before & p.mask);
    }
    return taken;
}

uint64_t
bits_count_atomic(const _Atomic uint64_t *words, uint64_t bits)
{
    uint64_t first = 0, total = 0;

    while (bits) {
        struct part p = next_part(&first, &bits);

        total += (unsigned)__builtin_popcountll(atomic_load_explicit(&words[p.word], memory_order_relaxed) & p.mask);
    }
    return total;
}

uint64_t
bits_next_atomic(const _Atomic uint64_t *words, uint64_t bits, uint64_t from)
{
    uint64_t count = from < bits ? bits - from : 0;

    while (count) {
        struct part p = next_part(&from, &count);
        uint64_t found = atomic_load_explicit(&words[p.word], memory_order_relaxed) & p.mask;

        if (found)
            return p.word * 64 + (unsigned)__builtin_ctzll(found);
    }
    return bits;
}
