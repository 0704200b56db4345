/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Errors, sizes, lists, bits and descriptors. */
#include "base.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

/* --- errors ----------------------------------------------------------------------------------------------------- */

static void
each_code_has_its_word(void)
{
    static const char *const words[] = { "argument", "state", "host", "peer", "limit" };

    for (int code = NUMON_ERROR_ARGUMENT; code <= NUMON_ERROR_LIMIT; code++) {
        g_autoptr(GError) error = NULL;

        g_assert_false(fail(&error, code, "size %d", 4));
        g_assert_error(error, NUMON_ERROR, code);
        g_assert_cmpstr(error->message, ==, "size 4");
        g_assert_cmpstr(error_word(error), ==, words[code]);
    }
    g_assert_cmpstr(error_word(NULL), ==, "ok");
}

static void
a_foreign_error_is_just_an_error(void)
{
    g_autoptr(GError) error = g_error_new_literal(G_FILE_ERROR, G_FILE_ERROR_NOENT, "none");

    g_assert_cmpstr(error_word(error), ==, "error");
}

static void
a_host_error_ends_with_its_reason(void)
{
    g_autoptr(GError) error = NULL;

    g_assert_false(fail_host(&error, ENOENT, "cannot open '%s'", "x"));
    g_assert_error(error, NUMON_ERROR, NUMON_ERROR_HOST);
    g_assert_cmpstr(error->message, ==, "cannot open 'x': No such file or directory");
    g_assert_false(fail(NULL, NUMON_ERROR_STATE, "nobody listens"));
    g_assert_false(fail_host(NULL, ENOENT, "nobody listens"));
}

/* --- sizes ------------------------------------------------------------------------------------------------------ */

static void
sizes_are_read(void)
{
    static const struct { const char *text; uint64_t unit, want; } cases[] = {
        { "0", 1, 0 }, { "1", 1, 1 }, { "128", MIB, 128 * MIB }, { "7b", MIB, 7 }, { "7B", MIB, 7 },
        { "1k", 1, KIB }, { "1K", 1, KIB }, { "2m", 1, 2 * MIB }, { "2M", 1, 2 * MIB }, { "3G", 1, 3 * GIB },
        { "3g", 1, 3 * GIB }, { "4T", 1, 4 * TIB }, { "5P", 1, 5 * 1024 * TIB }, { "15E", 1, 15 * 1024 * 1024 * TIB },
        { "1GiB", 1, GIB }, { "1gib", 1, GIB }, { "1GB", 1, GIB }, { "1KB", 1, KIB }, { "1.5G", 1, 3 * GIB / 2 },
        { "0.5k", 1, 512 }, { "1.0M", 1, MIB }, { "1.000000000000000000000000k", 1, KIB },
        { "0.125E", 1, TIB * 131072 },
        { "0x10", 1, 16 }, { "0X1f", MIB, 31 * MIB }, { "0x10M", 1, 16 * MIB }, { "0x1b", 1, 27 }, { "0x1E", 1, 30 },
        { "18446744073709551615", 1, UINT64_MAX }, { "0xffffffffffffffff", 1, UINT64_MAX },
        { "00012", 1, 12 },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) error = NULL;
        uint64_t got = 77;

        g_test_message("%s", cases[i].text);
        g_assert_true(size_parse(cases[i].text, cases[i].unit, &got, &error));
        g_assert_no_error(error);
        g_assert_cmpuint(got, ==, cases[i].want);
    }
}

static void
bad_sizes_are_refused(void)
{
    static const struct { const char *text, *why; } cases[] = {
        { "", "a number" }, { " ", "a number" }, { "k", "a number" }, { "-1", "a number" }, { "+1", "a number" },
        { " 1", "a number" }, { "1 ", "a number" }, { "1 M", "a number" }, { "1X", "a number" },
        { "1kk", "a number" },
        { "1MiBs", "a number" }, { "1Mi", "a number" }, { "1bB", "a number" }, { "1biB", "a number" },
        { "0x", "a number" }, { "0xg", "a number" }, { "0x1.8k", "a number" }, { "1.", "a number" },
        { "1.k", "a number" }, { ".5k", "a number" }, { "1.5", "a number" }, { "1,5k", "a number" },
        { "1.1k", "whole number" }, { "0.5b", "whole number" }, { "0.0000000000000000001E", "whole number" },
        { "18446744073709551616", "64 bits" }, { "16E", "64 bits" }, { "0x10000000000000000", "64 bits" },
        { "17179869184G", "64 bits" }, { "999999999999999999999999999999999999", "64 bits" },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) error = NULL;
        g_autofree char *quoted = g_strdup_printf("invalid size '%s'", cases[i].text);
        uint64_t got = 77;

        g_test_message("%s", cases[i].text);
        g_assert_false(size_parse(cases[i].text, 1, &got, &error));
        g_assert_error(error, NUMON_ERROR, NUMON_ERROR_ARGUMENT);
        g_assert_true(g_str_has_prefix(error->message, quoted));
        g_assert_nonnull(strstr(error->message, cases[i].why));
        g_assert_cmpuint(got, ==, 77);
    }
    g_assert_false(size_parse("17592186044416", MIB, &(uint64_t){ 0 }, NULL));
}

static void
sizes_are_shown_exactly(void)
{
    static const struct { uint64_t bytes; const char *format, *spell; } cases[] = {
        { 0, "0 bytes", "0b" }, { 1, "1 byte", "1b" }, { 100, "100 bytes", "100b" }, { 1024, "1 KiB", "1k" },
        { 1025, "1025 bytes", "1025b" }, { 1536 * MIB, "1536 MiB", "1536M" }, { 2 * GIB, "2 GiB", "2G" },
        { 4 * TIB, "4 TiB", "4T" }, { 5 * 1024 * TIB, "5 PiB", "5P" }, { UINT64_C(1) << 63, "8 EiB", "8E" },
        { UINT64_MAX, "18446744073709551615 bytes", "18446744073709551615b" },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *format = size_format(cases[i].bytes), *spell = size_spell(cases[i].bytes);
        uint64_t back;

        g_assert_cmpstr(format, ==, cases[i].format);
        g_assert_cmpstr(spell, ==, cases[i].spell);
        g_assert_true(size_parse(spell, MIB, &back, NULL));
        g_assert_cmpuint(back, ==, cases[i].bytes);
    }
}

static void
numbers_are_whole_and_plain(void)
{
    static const char *const bad[] = { "", "-1", "+1", "1k", "1.0", " 1", "1 ", "x", "0x", "18446744073709551616" };
    uint64_t got;

    g_assert_true(number_parse("255", &got, NULL));
    g_assert_cmpuint(got, ==, 255);
    g_assert_true(number_parse("0xfF", &got, NULL));
    g_assert_cmpuint(got, ==, 255);
    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;

        g_assert_false(number_parse(bad[i], &got, &error));
        g_assert_error(error, NUMON_ERROR, NUMON_ERROR_ARGUMENT);
        g_assert_cmpuint(got, ==, 255);
    }
}

/* --- lists ------------------------------------------------------------------------------------------------------ */

static void
lists_come_back_in_ranges(void)
{
    static const struct { const char *text, *want; } cases[] = {
        { "0", "0" }, { "0-3,8", "0-3,8" }, { "8,0-3", "0-3,8" }, { "0,1,2", "0-2" }, { "63-64", "63-64" },
        { "0-127", "0-127" }, { "5-5", "5" }, { "1-2,2-3", "1-3" }, { "127", "127" },
    };
    g_autofree char *none = NULL;

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        uint64_t words[2] = { 0 };
        g_autofree char *text = NULL;

        g_assert_true(list_parse(cases[i].text, 128, words, NULL));
        text = list_format(words, 128);
        g_assert_cmpstr(text, ==, cases[i].want);
    }
    none = list_format((uint64_t[1]){ 0 }, 64);
    g_assert_cmpstr(none, ==, "");
}

static void
bad_lists_change_nothing(void)
{
    static const char *const bad[] = {
        "", ",", "1,", ",1", "1,,2", "a", "1-", "-1", "3-1", "1-2-3", "128", "0-128", "1 ", "0x1", "1;2",
        "99999999999999999999", "0-18446744073709551616", "4294967296", "0-3,x",
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        uint64_t words[2] = { 0x10, 0 };
        g_autoptr(GError) error = NULL;

        g_test_message("%s", bad[i]);
        g_assert_false(list_parse(bad[i], 128, words, &error));
        g_assert_error(error, NUMON_ERROR, NUMON_ERROR_ARGUMENT);
        g_assert_nonnull(strstr(error->message, bad[i]));
        g_assert_cmpuint(words[0], ==, 0x10);
        g_assert_cmpuint(words[1], ==, 0);
    }
}

/* --- names ------------------------------------------------------------------------------------------------------ */

static void
dash_and_underscore_are_one(void)
{
    g_assert_true(name_equal("exit_preconfig", "exit-preconfig"));
    g_assert_true(name_equal("", ""));
    g_assert_false(name_equal("exit", "exit_"));
    g_assert_false(name_equal("exit_", "exit"));
    g_assert_true(name_has_prefix("max-bandwidth", "max_b?", 5));
    g_assert_false(name_has_prefix("max", "max-b", 5));
}

static void
distances_of_names_are_counted(void)
{
    g_autofree char *endless = g_strnfill(1000 * 1000, 'x');

    g_assert_cmpuint(name_distance("max_bandwidth", "max-bandwidth"), ==, 0);
    g_assert_cmpuint(name_distance("", "size"), ==, 4);
    g_assert_cmpuint(name_distance("szie", "size"), ==, 2);
    g_assert_cmpuint(name_distance("sizes", "size"), ==, 1);
    g_assert_cmpuint(name_distance("kitten", "sitting"), ==, 3);
    g_assert_cmpuint(name_distance(endless, "x"), ==, ID_SIZE - 1);
}

/* --- bits ------------------------------------------------------------------------------------------------------- */

enum { BITS = 200 };        /* over three words and a part */

static void
random_words(uint64_t *words)
{
    bool sparse = g_test_rand_bit();

    for (unsigned i = 0; i < WORDS_FOR(BITS); i++) {
        words[i] = (uint64_t)(uint32_t)g_test_rand_int() << 32 | (uint32_t)g_test_rand_int();
        if (sparse)
            words[i] &= words[i] >> 7 & words[i] << 11;
    }
}

static uint64_t
naive_next(const uint64_t *words, uint64_t bits, uint64_t from, bool want)
{
    while (from < bits && bit_test(words, from) != want)
        from++;
    return MIN(from, bits);
}

/* Sets or clears bit by bit. */
static void
naive_change(uint64_t *words, uint64_t first, uint64_t count, bool set)
{
    for (uint64_t i = first; i < first + count; i++) {
        if (set)
            bit_set(words, i);
        else
            bit_clear(words, i);
    }
}

static void
bits_agree_with_naive_loops(void)
{
    for (unsigned round = 0; round < 3000; round++) {
        uint64_t words[WORDS_FOR(BITS)], want[WORDS_FOR(BITS)], taken = 0, size = sizeof words;
        _Atomic uint64_t shared[WORDS_FOR(BITS)];
        uint64_t first = (uint64_t)g_test_rand_int_range(0, BITS + 1);
        uint64_t count = (uint64_t)g_test_rand_int_range(0, (gint32)(BITS + 1 - first));

        random_words(words);
        memcpy(want, words, size);
        g_assert_cmpuint(bits_next(words, BITS, first), ==, naive_next(words, BITS, first, true));
        g_assert_cmpuint(bits_next_clear(words, BITS, first), ==, naive_next(words, BITS, first, false));
        for (uint64_t i = first; i < first + count; i++)
            taken += bit_test(words, i);
        for (unsigned i = 0; i < WORDS_FOR(BITS); i++)
            shared[i] = words[i];
        g_assert_cmpuint(bits_next_atomic(shared, BITS, first), ==, naive_next(words, BITS, first, true));
        g_assert_cmpuint(bits_count_atomic(shared, BITS), ==, bits_count(words, BITS));
        g_assert_cmpuint(bits_take_atomic(shared, first, count), ==, taken);
        bits_clear(words, first, count);
        naive_change(want, first, count, false);
        g_assert_cmpmem(words, size, want, size);
        g_assert_cmpmem((void *)shared, size, want, size);
        bits_set(words, first, count);
        bits_set_atomic(shared, first, count);
        naive_change(want, first, count, true);
        g_assert_cmpmem(words, size, want, size);
        g_assert_cmpmem((void *)shared, size, want, size);
    }
}

static void
counting_stops_at_the_last_bit(void)
{
    uint64_t words[2] = { UINT64_MAX, UINT64_MAX };

    for (unsigned bits = 0; bits <= 128; bits++)
        g_assert_cmpuint(bits_count(words, bits), ==, bits);
    g_assert_cmpuint(bits_next(words, 0, 0), ==, 0);
    g_assert_cmpuint(bits_next(words, 100, 500), ==, 100);
    g_assert_cmpuint(bits_next_clear(words, 100, 0), ==, 100);
}

/* --- descriptors ------------------------------------------------------------------------------------------------ */

static void *
read_all(void *data)
{
    int fd = *(int *)data;
    size_t total = 0;
    char part[1000];
    ssize_t n;

    while ((n = read(fd, part, sizeof part)) > 0)
        total += (size_t)n;
    return GSIZE_TO_POINTER(total);
}

static void
write_all_waits_for_room(void)
{
    enum { SIZE = 1 << 20 };
    g_autofree char *data = g_malloc0(SIZE);
    int fds[2];
    pthread_t reader;
    void *total;

    g_assert_cmpint(pipe2(fds, O_CLOEXEC), ==, 0);
    g_assert_cmpint(fcntl(fds[1], F_SETFL, O_NONBLOCK), ==, 0);
    g_assert_cmpint(pthread_create(&reader, NULL, read_all, &fds[0]), ==, 0);
    g_assert_true(write_all(fds[1], data, SIZE));
    close_fd(&fds[1]);
    pthread_join(reader, &total);
    g_assert_cmpuint(GPOINTER_TO_SIZE(total), ==, SIZE);
    close_fd(&fds[0]);
    g_assert_cmpint(fds[0], ==, -1);
    close_fd(&fds[0]);
    g_assert_false(write_all(-1, data, 1));
    g_assert_cmpint(errno, ==, EBADF);
}

int
main(int argc, char **argv)
{
    main_thread_claim();
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/base/each-code-has-its-word", each_code_has_its_word);
    g_test_add_func("/base/a-foreign-error-is-just-an-error", a_foreign_error_is_just_an_error);
    g_test_add_func("/base/a-host-error-ends-with-its-reason", a_host_error_ends_with_its_reason);
    g_test_add_func("/base/sizes-are-read", sizes_are_read);
    g_test_add_func("/base/bad-sizes-are-refused", bad_sizes_are_refused);
    g_test_add_func("/base/sizes-are-shown-exactly", sizes_are_shown_exactly);
    g_test_add_func("/base/numbers-are-whole-and-plain", numbers_are_whole_and_plain);
    g_test_add_func("/base/lists-come-back-in-ranges", lists_come_back_in_ranges);
    g_test_add_func("/base/bad-lists-change-nothing", bad_lists_change_nothing);
    g_test_add_func("/base/dash-and-underscore-are-one", dash_and_underscore_are_one);
    g_test_add_func("/base/distances-of-names-are-counted", distances_of_names_are_counted);
    g_test_add_func("/base/bits-agree-with-naive-loops", bits_agree_with_naive_loops);
    g_test_add_func("/base/counting-stops-at-the-last-bit", counting_stops_at_the_last_bit);
    g_test_add_func("/base/write-all-waits-for-room", write_all_waits_for_room);
    return g_test_run();
}
