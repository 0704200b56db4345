/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Differences between pages: the encoder against the rule written out byte by byte, with each unit of the CPU; the
 * decoder against what must not be accepted. */
#include "../../src/migrate/migrate-private.h"

#include <string.h>

enum { SHORT_MOST = 10, WIDE = 160, ROUNDS = 400 };

/* --- the rule, byte by byte ------------------------------------------------------------------------------------- */

static size_t
rule_length(uint8_t *out, size_t n)
{
    if (n < 128) {
        out[0] = (uint8_t)n;
        return 1;
    }
    out[0] = (uint8_t)(n % 128 + 128);
    out[1] = (uint8_t)(n / 128);
    return 2;
}

static size_t
rule_encode(const uint8_t *old, const uint8_t *new, size_t size, uint8_t *out, size_t room)
{
    size_t at = 0, used = 0;

    if (memcmp(old, new, size) == 0)
        return 0;
    while (at < size) {
        size_t equal = 0, other = 0;
        if (used + 2 > room)
            return XBZRLE_TOO_BIG;
        while (at + equal < size && old[at + equal] == new[at + equal])
            equal++;
        if (at + equal == size)
            return used;
        used += rule_length(out + used, equal);
        at += equal;
        if (used + 2 > room)
            return XBZRLE_TOO_BIG;
        while (at + other < size && old[at + other] != new[at + other])
            other++;
        used += rule_length(out + used, other);
        if (used + other > room)
            return XBZRLE_TOO_BIG;
        memcpy(out + used, new + at, other);
        used += other;
        at += other;
    }
    return used;
}

/* What is left on the stack is of another pair of pages then: a map that is not filled would show. */
static void
forget_the_map(uint8_t *out, unsigned round)
{
    static const uint8_t zero[PAGE_SIZE];
    uint8_t other[PAGE_SIZE];

    memset(other, round % 2, PAGE_SIZE);
    xbzrle_encode_by(XBZRLE_PLAIN, zero, other, PAGE_SIZE, out, PAGE_SIZE);
}

/* Every unit says what the rule says, writes not a byte too many, and decoding gives the new page. */
static void
assert_rule(const uint8_t *old, const uint8_t *new, size_t size, size_t room)
{
    uint8_t wanted[2 * PAGE_SIZE], out[2 * PAGE_SIZE + 1], page[PAGE_SIZE];
    size_t expected = rule_encode(old, new, size, wanted, room);
    static unsigned round;

    for (unsigned unit = 0; unit < XBZRLE_UNITS; unit++) {
        if (!xbzrle_has(unit))
            continue;
        forget_the_map(out, round++ / XBZRLE_UNITS);
        memset(out, 0xee, room + 1);
        size_t used = xbzrle_encode_by(unit, old, new, size, out, room);
        g_assert_cmpuint(used, ==, expected);
        g_assert_cmpuint(out[room], ==, 0xee);
        if (used == XBZRLE_TOO_BIG)
            continue;
        g_assert_cmpmem(out, used, wanted, used);
        memcpy(page, old, size);
        g_assert_true(xbzrle_decode(out, used, page, size));
        g_assert_cmpmem(page, size, new, size);
    }
}

/* --- encoder ---------------------------------------------------------------------------------------------------- */

static void
short_pages_exhaustively(void)
{
    uint8_t old[SHORT_MOST], new[SHORT_MOST];

    for (size_t size = 1; size <= SHORT_MOST; size++)
        for (unsigned mask = 0; mask < 1u << size; mask++) {
            for (size_t i = 0; i < size; i++) {
                old[i] = (uint8_t)(i * 37);
                new[i] = (uint8_t)(old[i] ^ (mask >> i & 1 ? 0x80 >> i % 8 : 0));
            }
            for (size_t room = 2; room <= 2 * size + 4; room++)
                assert_rule(old, new, size, room);
        }
}

/* Sizes around the width of a step, one run of differing bytes at each place. */
static void
every_run_at_every_place(void)
{
    static const size_t sizes[] = { 63, 64, 65, 127, 128, 129, WIDE };
    uint8_t old[WIDE], new[WIDE];

    for (size_t i = 0; i < WIDE; i++)
        old[i] = (uint8_t)(i * 11);
    for (unsigned s = 0; s < G_N_ELEMENTS(sizes); s++)
        for (size_t begin = 0; begin < sizes[s]; begin++)
            for (size_t end = begin + 1; end <= sizes[s]; end++) {
                memcpy(new, old, WIDE);
                for (size_t i = begin; i < end; i++)
                    new[i] ^= 0x10;
                assert_rule(old, new, sizes[s], WIDE + 8);
            }
}

static void
whole_pages_at_random(void)
{
    uint8_t *old = g_malloc(PAGE_SIZE + 64), *new = g_malloc(PAGE_SIZE + 64);

    for (unsigned round = 0; round < ROUNDS; round++) {
        size_t skew = (size_t)g_test_rand_int_range(0, 64);
        unsigned runs = (unsigned)g_test_rand_int_range(0, round % 8 == 0 ? 3000 : 60);
        for (size_t i = 0; i < PAGE_SIZE; i++)
            old[skew + i] = new[skew + i] = (uint8_t)g_test_rand_int();
        for (; runs > 0; runs--) {
            size_t at = (size_t)g_test_rand_int_range(0, PAGE_SIZE);
            size_t end = at + (size_t)g_test_rand_int_range(1, round % 2 ? 4 : 300);
            for (; at < MIN(end, PAGE_SIZE); at++)
                new[skew + at] = (uint8_t)g_test_rand_int();
        }
        assert_rule(old + skew, new + skew, PAGE_SIZE, PAGE_SIZE);
        assert_rule(old + skew, new + skew, PAGE_SIZE, (size_t)g_test_rand_int_range(2, PAGE_SIZE));
    }
    g_free(old);
    g_free(new);
}

static void
equal_pages_encode_to_nothing_and_all_new_overflows(void)
{
    uint8_t old[PAGE_SIZE], new[PAGE_SIZE], out[2 * PAGE_SIZE];

    memset(old, 1, PAGE_SIZE);
    memset(new, 1, PAGE_SIZE);
    g_assert_cmpuint(xbzrle_encode(old, new, PAGE_SIZE, out, PAGE_SIZE), ==, 0);
    memset(new, 2, PAGE_SIZE);
    g_assert_cmpuint(xbzrle_encode(old, new, PAGE_SIZE, out, PAGE_SIZE), ==, XBZRLE_TOO_BIG);
    for (size_t i = 0; i < PAGE_SIZE; i += 2)
        new[i] = 1;
    g_assert_cmpuint(xbzrle_encode(old, new, PAGE_SIZE, out, PAGE_SIZE), ==, XBZRLE_TOO_BIG);
}

static void
bytes_are_those_of_the_format(void)
{
    uint8_t old[PAGE_SIZE] = { 0 }, new[PAGE_SIZE] = { 0 }, out[PAGE_SIZE];
    static const uint8_t wanted[] = { 0, 1, 7, 0xff, 1, 2, 8, 9, 0xf6, 0x1d, 1, 10 };

    new[0] = 7;             /* equal run 0, then 1 byte */
    new[256] = 8;           /* equal run 255, then 2 bytes */
    new[257] = 9;
    new[4088] = 10;         /* equal run 3830 = 29 * 128 + 118, then 1 byte; the rest is left out */
    size_t used = xbzrle_encode(old, new, PAGE_SIZE, out, PAGE_SIZE);
    g_assert_cmpmem(out, used, wanted, sizeof wanted);
}

/* --- decoder ---------------------------------------------------------------------------------------------------- */

static void
bad_encodings_are_refused(void)
{
    static const struct { uint8_t size, bytes[8]; } bad[] = {
        { 1, { 0 } },                           /* half a run */
        { 2, { 0, 1 } },                        /* no length of what differs */
        { 2, { 0x80, 0x01 } },
        { 3, { 0, 0, 0 } },                     /* nothing differs */
        { 3, { 0, 2, 5 } },                     /* fewer bytes than told */
        { 4, { 0x80, 0x80, 1, 5 } },            /* more than 14 bits */
        { 5, { 0, 0x81, 0x80, 1, 5 } },
        { 4, { 0x80, 0x20, 1, 5 } },            /* from 4096 on */
        { 5, { 0xff, 0x1f, 2, 5, 5 } },         /* from 4095 on, two bytes */
        { 4, { 0xff, 0x7f, 1, 5 } },            /* far beyond */
        { 6, { 0, 1, 5, 0, 1, 5 } },            /* an equal run of 0 which is not the first */
        { 4, { 0, 1, 5, 1 } },                  /* half a run at the end */
    };
    static const struct { uint8_t size, bytes[8]; } good[] = {
        { 0, { 0 } }, { 3, { 0, 1, 5 } }, { 4, { 0xff, 0x1f, 1, 5 } }, { 6, { 0, 1, 5, 1, 1, 5 } },
        { 4, { 0x80, 0x00, 1, 5 } },
    };
    uint8_t page[PAGE_SIZE + 1] = { 0 };

    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++)
        if (xbzrle_decode(bad[i].bytes, bad[i].size, page, PAGE_SIZE))
            g_error("encoding %u was accepted", i);
    for (unsigned i = 0; i < G_N_ELEMENTS(good); i++)
        if (!xbzrle_decode(good[i].bytes, good[i].size, page, PAGE_SIZE))
            g_error("encoding %u was refused", i);
    g_assert_cmpuint(page[PAGE_SIZE], ==, 0);
    g_assert_cmpuint(page[PAGE_SIZE - 1], ==, 5);
}

/* Whatever the bytes: no byte outside of the page is read or written. */
static void
random_bytes_never_leave_the_page(void)
{
    uint8_t coded[64], page[PAGE_SIZE + 2];

    for (unsigned round = 0; round < 200000; round++) {
        size_t used = (size_t)g_test_rand_int_range(1, sizeof coded), size = (size_t)g_test_rand_int_range(1, 200);
        for (size_t i = 0; i < used; i++)
            coded[i] = (uint8_t)(g_test_rand_int() >> (round % 3 * 3));
        page[0] = page[size + 1] = 0xee;
        uint8_t *exact = g_memdup2(coded, used);            /* so that a sanitizer sees its end */
        xbzrle_decode(exact, used, page + 1, size);
        g_free(exact);
        g_assert_cmpuint(page[0] + page[size + 1], ==, 0xee * 2);
    }
}

/* --- page cache ------------------------------------------------------------------------------------------------- */

static void
cache_keeps_what_was_of_use_lately(void)
{
    enum { SLOTS = 4 };
    GError *error = NULL;
    struct page_cache *c = page_cache_new(SLOTS * PAGE_SIZE, &error);
    uint64_t here = 2 * PAGE_SIZE, other = (2 + SLOTS) * PAGE_SIZE;

    g_assert_no_error(error);
    g_assert_cmpuint(page_cache_bytes(c), ==, SLOTS * PAGE_SIZE);
    g_assert_null(page_cache_find(c, 0, 5));
    uint8_t *slot = page_cache_insert(c, here, 5);
    g_assert_nonnull(slot);
    slot[0] = 42;
    g_assert_null(page_cache_insert(c, other, 5));
    g_assert_null(page_cache_insert(c, other, 6));
    g_assert_true(page_cache_find(c, here, 5) == slot && slot[0] == 42);
    g_assert_null(page_cache_find(c, other, 6));
    g_assert_true(page_cache_find(c, here, 6) == slot);     /* a hit: of use until 7 */
    g_assert_null(page_cache_insert(c, other, 7));
    g_assert_true(page_cache_insert(c, here, 7) == slot);   /* its own slot at any age */
    g_assert_null(page_cache_insert(c, other, 8));
    g_assert_true(page_cache_insert(c, other, 9) == slot);
    g_assert_null(page_cache_find(c, here, 9));
    g_assert_nonnull(page_cache_insert(c, 3 * PAGE_SIZE, 9));       /* another slot */
    page_cache_free(c);
    page_cache_free(NULL);
}

static void
cache_sizes(void)
{
    g_autoptr(GError) error = NULL;

    g_assert_cmpuint(page_cache_size_round(1), ==, PAGE_SIZE);
    g_assert_cmpuint(page_cache_size_round(PAGE_SIZE), ==, PAGE_SIZE);
    g_assert_cmpuint(page_cache_size_round(2 * PAGE_SIZE - 1), ==, PAGE_SIZE);
    g_assert_cmpuint(page_cache_size_round(100 * MIB), ==, 64 * MIB);
    g_assert_cmpuint(page_cache_size_round(UINT64_MAX), ==, UINT64_C(1) << 63);
    g_assert_null(page_cache_new(UINT64_C(1) << 62, &error));
    g_assert_error(error, NUMON_ERROR, NUMON_ERROR_HOST);
    g_assert_nonnull(strstr(error->message, "xbzrle-cache-size"));
}

int
main(int argc, char **argv)
{
    main_thread_claim();
    g_test_init(&argc, &argv, NULL);
    for (unsigned unit = 0; unit < XBZRLE_UNITS; unit++)
        g_test_message("unit %u: %s", unit, xbzrle_has(unit) ? "present" : "not present");
    g_test_add_func("/xbzrle/short pages exhaustively", short_pages_exhaustively);
    g_test_add_func("/xbzrle/every run at every place", every_run_at_every_place);
    g_test_add_func("/xbzrle/whole pages at random", whole_pages_at_random);
    g_test_add_func("/xbzrle/equal pages encode to nothing and all new overflows",
                    equal_pages_encode_to_nothing_and_all_new_overflows);
    g_test_add_func("/xbzrle/bytes are those of the format", bytes_are_those_of_the_format);
    g_test_add_func("/xbzrle/bad encodings are refused", bad_encodings_are_refused);
    g_test_add_func("/xbzrle/random bytes never leave the page", random_bytes_never_leave_the_page);
    g_test_add_func("/xbzrle/cache keeps what was of use lately", cache_keeps_what_was_of_use_lately);
    g_test_add_func("/xbzrle/cache sizes", cache_sizes);
    return g_test_run();
}
