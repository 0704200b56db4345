/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Is a page all zeros?  Most pages that are not differ in their first words, so these are looked at first; the rest
 * goes 128 bytes a step, with AVX2 where the CPU has it (SSE2 is part of x86-64). */
#include "memory.h"

#include <immintrin.h>

#include "memory-private.h"

bool
page_is_zero_plain(const uint8_t *page)
{
    const __m128i *at = (const __m128i *)page, *end = (const __m128i *)(page + PAGE_SIZE);
    const __m128i zero = _mm_setzero_si128();

    for (; at < end; at += 8) {
        __m128i a = _mm_or_si128(_mm_or_si128(at[0], at[1]), _mm_or_si128(at[2], at[3]));
        __m128i b = _mm_or_si128(_mm_or_si128(at[4], at[5]), _mm_or_si128(at[6], at[7]));

        if (_mm_movemask_epi8(_mm_cmpeq_epi8(_mm_or_si128(a, b), zero)) != 0xffff)
            return false;
    }
    return true;
}

__attribute__((target("avx2"))) bool
page_is_zero_avx2(const uint8_t *page)
{
    const __m256i *at = (const __m256i *)page, *end = (const __m256i *)(page + PAGE_SIZE);

    for (; at < end; at += 4) {
        __m256i any = _mm256_or_si256(_mm256_or_si256(at[0], at[1]), _mm256_or_si256(at[2], at[3]));

        if (!_mm256_testz_si256(any, any))
            return false;
    }
    return true;
}

bool
page_has_avx2(void)
{
    /* Reads a word that libgcc filled at the program's start. */
    return __builtin_cpu_supports("avx2");
}

bool
page_is_zero(const uint8_t *page)
{
    const uint64_t *words = (const uint64_t *)page;

    if (words[0] | words[1])
        return false;
    return page_has_avx2() ? page_is_zero_avx2(page) : page_is_zero_plain(page);
}
