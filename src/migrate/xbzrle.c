/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A page as the difference from its predecessor: runs in turn, the length of what is equal, the
 * length of what differs, then the differing bytes of the new page.  A length is ULEB128 of at most 14 bits.  An
 * equal run may have length 0 only at the start; one at the end is left out.
 *
 * The encoder first makes a map of the differing bytes, one bit a byte, and then walks from border to border in it:
 * only the map depends on the CPU.  The decoder is long copies, for which memcpy chooses the CPU's best itself. */
#include "migrate-private.h"

#include <immintrin.h>
#include <string.h>

enum { MAP_WORDS = WORDS_FOR(PAGE_SIZE), STEP = 64, LENGTH_MOST = 2, SHORT_LENGTHS = 0x80, SHORT_RUN = 16 };
enum { BORDERS_AT_ONCE = 4 };

/* --- the map of differing bytes --------------------------------------------------------------------------------- */

static uint64_t
step_plain(const uint8_t *old, const uint8_t *new, size_t size)
{
    uint64_t bits = 0;

    for (size_t i = 0; i < size; i++)
        bits |= (uint64_t)(old[i] != new[i]) << i;
    return bits;
}

static void
map_plain(const uint8_t *old, const uint8_t *new, size_t size, uint64_t *map)
{
    for (size_t at = 0; at < size; at += STEP) {
        size_t part = MIN(size - at, STEP);
        *map++ = memcmp(old + at, new + at, part) ? step_plain(old + at, new + at, part) : 0;
    }
}

__attribute__((target("avx2"))) static uint64_t
step_avx2(const uint8_t *old, const uint8_t *new)
{
    __m256i low = _mm256_cmpeq_epi8(_mm256_loadu_si256((const __m256i *)old),
                                    _mm256_loadu_si256((const __m256i *)new));
    __m256i high = _mm256_cmpeq_epi8(_mm256_loadu_si256((const __m256i *)(old + 32)),
                                     _mm256_loadu_si256((const __m256i *)(new + 32)));

    return ~((uint64_t)(uint32_t)_mm256_movemask_epi8(low) | (uint64_t)(uint32_t)_mm256_movemask_epi8(high) << 32);
}

__attribute__((target("avx2"))) static void
map_avx2(const uint8_t *old, const uint8_t *new, size_t size, uint64_t *map)
{
    size_t at = 0;

    for (; size - at >= STEP; at += STEP)
        *map++ = step_avx2(old + at, new + at);
    if (at < size)
        *map = step_plain(old + at, new + at, size - at);
}

__attribute__((target("avx512bw"))) static void
map_avx512(const uint8_t *old, const uint8_t *new, size_t size, uint64_t *map)
{
    size_t at = 0;

    for (; size - at >= STEP; at += STEP)
        *map++ = _mm512_cmpneq_epi8_mask(_mm512_loadu_si512(old + at), _mm512_loadu_si512(new + at));
    if (at < size)
        *map = step_plain(old + at, new + at, size - at);
}

/* What list_borders_fast needs. */
static bool
has_bits(void)
{
    return __builtin_cpu_supports("bmi") && __builtin_cpu_supports("popcnt");
}

bool
xbzrle_has(enum xbzrle_unit unit)
{
    switch (unit) {
    case XBZRLE_AVX512:
        return __builtin_cpu_supports("avx512bw") && has_bits();
    case XBZRLE_AVX2:
        return __builtin_cpu_supports("avx2") && has_bits();
    default:
        return true;
    }
}

/* --- encode ----------------------------------------------------------------------------------------------------- */

static size_t
put_length(uint8_t *out, uint64_t length)
{
    out[0] = (uint8_t)length;
    if (length < SHORT_LENGTHS)
        return 1;
    out[0] |= SHORT_LENGTHS;
    out[1] = (uint8_t)(length >> 7);
    return 2;
}

struct coding {
    const uint8_t *new;
    size_t size;
    uint8_t *out;
    size_t room, used;
    size_t at;                      /* behind the last run that differs */
};

/* Most runs are short: as long as nobody minds what stands behind them, all are copied alike. */
static inline void
copy_run(struct coding *c, size_t begin, size_t length)
{
    if (length <= SHORT_RUN && c->size - begin >= SHORT_RUN && c->room - c->used >= SHORT_RUN)
        memcpy(c->out + c->used, c->new + begin, SHORT_RUN);
    else
        memcpy(c->out + c->used, c->new + begin, length);
    c->used += length;
}

/* What is equal up to 'begin', and what differs up to 'end'.  Room for two bytes is asked for before every length. */
static inline bool
put_run(struct coding *c, size_t begin, size_t end)
{
    if (c->room - c->used < LENGTH_MOST)
        return false;
    c->used += put_length(c->out + c->used, begin - c->at);
    if (c->room - c->used < LENGTH_MOST)
        return false;
    c->used += put_length(c->out + c->used, end - begin);
    if (c->room - c->used < end - begin)
        return false;
    copy_run(c, begin, end - begin);
    c->at = end;
    return true;
}

/* Borders are where a bit differs from the one before it: runs that differ begin and end there, in turn.  One behind
 * the other into 'at', which has room for some more than there are; returns how many. */
static unsigned
list_borders(const uint64_t *map, size_t words, uint16_t *at)
{
    uint64_t before = 0;
    unsigned count = 0;

    for (size_t i = 0; i < words; i++) {
        for (uint64_t borders = map[i] ^ (map[i] << 1 | before); borders; borders &= borders - 1)
            at[count++] = (uint16_t)(i * 64 + (uint64_t)__builtin_ctzll(borders));
        before = map[i] >> 63;
    }
    return count;
}

/* The same.  How many there are in a word is hard to foretell: so four are written at once, of which those that are
 * none are written over. */
__attribute__((target("bmi,popcnt"))) static unsigned
list_borders_fast(const uint64_t *map, size_t words, uint16_t *at)
{
    uint64_t before = 0, last_bit = UINT64_C(1) << 63;
    unsigned count = 0;

    for (size_t i = 0; i < words; i++) {
        /* Most of a page is the same, mostly. */
        if (i % 4 == 0 && words - i >= 4 && !(before | map[i] | map[i + 1] | map[i + 2] | map[i + 3])) {
            i += 3;
            continue;
        }
        uint64_t borders = map[i] ^ (map[i] << 1 | before);
        unsigned end = count + (unsigned)__builtin_popcountll(borders);
        do {
            for (unsigned k = 0; k < BORDERS_AT_ONCE; k++, borders &= borders - 1)
                at[count + k] = (uint16_t)(i * 64 + (uint64_t)__builtin_ctzll(borders | last_bit));
            count += BORDERS_AT_ONCE;
        } while (count < end);
        count = end;
        before = map[i] >> 63;
    }
    return count;
}

/* Above the page's last byte the map has zeros. */
static size_t
encode_map(bool fast, const uint64_t *map, const uint8_t *new, size_t size, uint8_t *out, size_t room)
{
    struct coding c = { .new = new, .size = size, .out = out, .room = room };
    uint16_t at[PAGE_SIZE + 2 * BORDERS_AT_ONCE];
    unsigned count = (fast ? list_borders_fast : list_borders)(map, WORDS_FOR(size), at);

    at[count] = (uint16_t)size;
    for (unsigned i = 0; i < count; i += 2)
        if (!put_run(&c, at[i], at[i + 1]))
            return XBZRLE_TOO_BIG;
    /* So it is before the equal run at the end, too, which is then left out. */
    return c.at > 0 && c.at < size && room - c.used < LENGTH_MOST ? XBZRLE_TOO_BIG : c.used;
}

size_t
xbzrle_encode_by(enum xbzrle_unit unit, const uint8_t *old, const uint8_t *new, size_t size, uint8_t *out,
                 size_t room)
{
    uint64_t map[MAP_WORDS];

    g_assert(size <= PAGE_SIZE);
    if (unit == XBZRLE_AVX512)
        map_avx512(old, new, size, map);
    else if (unit == XBZRLE_AVX2)
        map_avx2(old, new, size, map);
    else
        map_plain(old, new, size, map);
    return encode_map(unit != XBZRLE_PLAIN, map, new, size, out, room);
}

size_t
xbzrle_encode(const uint8_t *old, const uint8_t *new, size_t size, uint8_t *out, size_t room)
{
    enum xbzrle_unit unit = xbzrle_has(XBZRLE_AVX512) ? XBZRLE_AVX512
                          : xbzrle_has(XBZRLE_AVX2) ? XBZRLE_AVX2 : XBZRLE_PLAIN;

    return xbzrle_encode_by(unit, old, new, size, out, room);
}

/* --- decode ----------------------------------------------------------------------------------------------------- */

/* No run stands in fewer than two bytes. */
static bool
take_length(struct cursor *in, size_t *ret)
{
    uint8_t low, high = 0;

    if (in->end - in->at < 2)
        return false;
    cursor_take8(in, &low);
    if (low >= SHORT_LENGTHS) {
        cursor_take8(in, &high);
        if (high >= SHORT_LENGTHS)
            return false;
    }
    *ret = (size_t)(low % SHORT_LENGTHS) | (size_t)high << 7;
    return true;
}

bool
xbzrle_take_run(struct cursor *in, bool first, size_t size, size_t *at, size_t *ret_run)
{
    size_t run;

    if (!take_length(in, &run) || (run == 0 && !first) || run > size - *at)
        return false;
    *at += run;
    return take_length(in, ret_run) && *ret_run > 0 && *ret_run <= size - *at
        && *ret_run <= (size_t)(in->end - in->at);
}

bool
xbzrle_decode(const uint8_t *coded, size_t coded_size, uint8_t *page, size_t size)
{
    struct cursor in = { coded, coded + coded_size };
    size_t at = 0, run;

    while (in.at < in.end) {
        if (!xbzrle_take_run(&in, in.at == coded, size, &at, &run))
            return false;
        memcpy(page + at, in.at, run);
        in.at += run;
        at += run;
    }
    return true;
}

unsigned
xbzrle_list_runs(const uint8_t *coded, size_t size, struct explain_run *runs, unsigned most, bool *ret_good)
{
    struct cursor in = { coded, coded + size };
    size_t at = 0, run = 0;
    unsigned count = 0;
    bool good = true;

    for (; in.at < in.end; in.at += run, at += run) {
        good = count < most && xbzrle_take_run(&in, in.at == coded, PAGE_SIZE, &at, &run);
        if (!good)
            break;
        runs[count++] = (struct explain_run) { (unsigned)at, (unsigned)run, in.at };
    }
    if (ret_good)
        *ret_good = good;
    return count;
}

size_t
migrate_delta_size(const uint8_t *old, const uint8_t *now)
{
    uint8_t coded[PAGE_SIZE];
    size_t size = xbzrle_encode(old, now, PAGE_SIZE, coded, sizeof coded);

    return size == XBZRLE_TOO_BIG ? PAGE_SIZE : size;
}
