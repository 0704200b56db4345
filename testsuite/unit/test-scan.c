/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Dirty words to runs: compared with a scan of bit by bit. */
#include "../../src/migrate/migrate-private.h"

enum { BITS = 1000 };

/* The simple truth. */
static bool
slow_run(const _Atomic uint64_t *words, uint64_t bits, uint64_t from, uint64_t most, uint64_t *first, uint64_t *count)
{
    uint64_t end;

    while (from < bits && !(words[from / 64] >> from % 64 & 1))
        from++;
    if (from >= bits)
        return false;
    for (end = from; end < bits && end - from < most && (words[end / 64] >> end % 64 & 1); end++)
        ;
    *first = from;
    *count = end - from;
    return true;
}

static void
compare(const _Atomic uint64_t *words, uint64_t bits, uint64_t most)
{
    for (uint64_t from = 0; from <= bits;) {
        uint64_t first = 0, count = 0, slow_first = 0, slow_count = 0;
        bool found = scan_run(words, bits, from, most, &first, &count);
        g_assert_cmpint(found, ==, slow_run(words, bits, from, most, &slow_first, &slow_count));
        g_assert_cmpuint(first, ==, slow_first);
        g_assert_cmpuint(count, ==, slow_count);
        if (!found)
            break;
        from = first + count;
    }
}

static void
runs_are_those_of_a_slow_scan(void)
{
    static _Atomic uint64_t words[WORDS_FOR(BITS)];

    for (unsigned round = 0; round < 2000; round++) {
        int density = g_test_rand_int_range(1, 64);
        uint64_t bits = (uint64_t)g_test_rand_int_range(1, BITS + 1);
        bool bit = false;
        for (unsigned i = 0; i < BITS; i++) {
            if (g_test_rand_int_range(0, density) == 0)
                bit = !bit;
            if (bit)
                words[i / 64] |= UINT64_C(1) << i % 64;
            else
                words[i / 64] &= ~(UINT64_C(1) << i % 64);
        }
        compare(words, bits, (uint64_t)g_test_rand_int_range(1, 200));
    }
}

static void
full_and_empty_words_have_their_borders(void)
{
    _Atomic uint64_t words[3] = { UINT64_MAX, UINT64_MAX, UINT64_MAX };

    for (uint64_t bits = 1; bits <= 192; bits++)
        for (uint64_t most = 1; most <= 200; most += 21)
            compare(words, bits, most);
    for (unsigned i = 0; i < 3; i++)
        words[i] = 0;
    compare(words, 192, 10);
    words[1] = UINT64_C(1) << 63;
    words[2] = 1;
    compare(words, 192, 10);
}

static struct guest_map *
make_map(void)
{
    struct guest_map *map = guest_map_new();
    struct backend_options options;

    for (unsigned i = 0; i < 3; i++) {
        g_autofree char *name = g_strdup_printf("m%u", i);
        backend_options_init_default(&options, name, (i + 1) * 100 * PAGE_SIZE);
        guest_map_take_block(map, block_new(&options, NULL));
    }
    return map;
}

static void
sweep_visits_each_dirty_page_once(void)
{
    g_autoptr(guest_map) map = make_map();
    struct hub *hub = hub_new(map, (struct dirty_source) { 0 });
    struct subscriber *s = hub_subscribe(hub, "test", NULL);
    struct moving moving[8];
    struct moving_list list = { moving, map->blocks->len, s };
    struct sweep sweep;
    struct block *b;
    uint64_t first, count, pages = 0;

    for (unsigned i = 0; i < list.count; i++) {
        b = map->blocks->pdata[i];
        moving[i] = (struct moving) { .block = b, .pages = b->page_count };
    }
    sweep_fill(&list);
    g_assert_cmpuint(sweep_remaining(&list), ==, 600);
    sweep_begin(&sweep, &list);
    while (sweep_next(&sweep, 64, &b, &first, &count)) {
        uint64_t taken = 0;
        g_assert_cmpuint(count, <=, 64);
        g_assert_cmpuint(first + count, <=, b->page_count);
        g_assert_true(hub_clear(hub, s, b, first, count, &taken, NULL));
        g_assert_cmpuint(taken, ==, count);
        pages += count;
        hub_mark(hub, map->blocks->pdata[0], 0, 1);     /* behind the sweep */
    }
    g_assert_cmpuint(pages, ==, 600);
    g_assert_cmpuint(sweep_remaining(&list), ==, 1);
    /* What lies behind the length that was announced is nobody's. */
    sweep_fill(&list);
    moving[0].pages--;
    g_assert_cmpuint(sweep_remaining(&list), ==, 599);
    sweep_begin(&sweep, &list);
    for (pages = 0; sweep_next(&sweep, 64, &b, &first, &count);)
        pages += count;
    g_assert_cmpuint(pages, ==, 599);
    hub_unsubscribe(hub, s);
    hub_free(hub);
}

/* Both kinds of memory; reading a page of private memory makes it come, as zero. */
static void
pages_never_there_are_known(void)
{
    static const uint64_t there[] = { 0, 3, 64, 65, 199 };
    struct presence p;

    presence_init(&p);
    for (unsigned kind = 0; kind < 2; kind++) {
        struct backend_options options;
        uint64_t absent[WORDS_FOR(200)];
        backend_options_init_default(&options, "b", 200 * PAGE_SIZE);
        options.kind = kind ? BACKEND_MEMFD : BACKEND_RAM;
        options.share = kind;
        g_autoptr(block) b = block_new(&options, NULL);
        for (unsigned i = 0; i < G_N_ELEMENTS(there); i++)
            b->host[there[i] * PAGE_SIZE] = 1;
        presence_absent(&p, b, 0, 200, absent);
        g_assert_cmpuint(bits_count(absent, 200), ==, 195);
        for (unsigned i = 0; i < G_N_ELEMENTS(there); i++)
            g_assert_false(bit_test(absent, there[i]));
        presence_absent(&p, b, 60, 10, absent);
        g_assert_cmpuint(absent[0], ==, 0x3ff & ~UINT64_C(0x30));
        b->options.share = !kind;       /* of such memory nothing is known */
        presence_absent(&p, b, 0, 200, absent);
        g_assert_cmpuint(bits_count(absent, 200), ==, 0);
    }
    presence_release(&p);
}

/* A folder where files are of huge pages; NULL: there is none. */
static char *
huge_folder(void)
{
    g_autofree char *mounts = NULL;
    g_autoptr(GRegex) row = g_regex_new("^\\S+ (\\S+) hugetlbfs .*pagesize=2M", G_REGEX_MULTILINE, 0, NULL);
    g_autoptr(GMatchInfo) found = NULL;

    g_file_get_contents("/proc/mounts", &mounts, NULL, NULL);
    return mounts && g_regex_match(row, mounts, 0, &found) ? g_match_info_fetch(found, 1) : NULL;
}

/* Reading one byte of a huge page that is not there takes it from the host, and there may be no other. */
static void
huge_pages_never_there_are_known(void)
{
    g_autofree char *folder = huge_folder();

    for (unsigned i = 0; i < (folder ? 4 : 2); i++) {
        struct backend_options options;
        uint64_t absent[WORDS_FOR(1024)], pages;
        g_autoptr(GError) error = NULL;
        struct presence p;

        backend_options_init_default(&options, "b", 4 * MIB);
        options.kind = i < 2 ? BACKEND_MEMFD : BACKEND_FILE;
        options.share = i % 2;
        options.hugetlb = i < 2;
        options.hugetlbsize = i < 2 ? 2 * MIB : 0;
        options.mem_path = i < 2 ? NULL : folder;
        options.reserve = true;
        g_autoptr(block) b = block_new(&options, &error);
        if (!b) {
            g_test_skip(error->message);
            return;
        }
        pages = b->page_size / PAGE_SIZE;
        presence_init(&p);
        presence_absent(&p, b, 0, 2 * pages, absent);
        g_assert_cmpuint(bits_count(absent, 2 * pages), ==, 2 * pages);
        b->host[pages * PAGE_SIZE] = 1;
        presence_absent(&p, b, 0, 2 * pages, absent);
        g_assert_cmpuint(bits_count(absent, 2 * pages), ==, pages);
        g_assert_true(bit_test(absent, pages - 1) && !bit_test(absent, pages));
        presence_absent(&p, b, pages - 3, 10, absent);
        g_assert_cmpuint(absent[0], ==, 7);
        presence_release(&p);
    }
}

static block *
new_huge_block(GError **error)
{
    struct backend_options options;

    backend_options_init_default(&options, "b", 4 * MIB);
    options.kind = BACKEND_MEMFD;
    options.share = options.hugetlb = options.reserve = options.seal = true;
    options.hugetlbsize = 2 * MIB;
    return block_new(&options, error);
}

/* Whose first user mapped and filled them, and this process has not touched them yet. */
static void
huge_pages_handed_over_are_there(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(block) from = new_huge_block(&error), to = from ? new_huge_block(&error) : NULL;
    uint64_t absent[WORDS_FOR(1024)];
    struct presence p;

    if (!to) {
        g_test_skip(error->message);
        return;
    }
    from->host[5] = 7;
    presence_init(&p);
    g_assert_true(block_may_hand_over(from, NULL));
    g_assert_true(block_check_offer(to, from->fd, true, NULL));
    g_assert_true(block_show(to, from->fd, NULL) && block_adopt(to, from->fd, NULL));
    presence_absent(&p, to, 0, 1024, absent);
    g_assert_cmpuint(bits_count(absent, 1024), ==, 0);
    g_assert_cmpuint(to->host[5], ==, 7);
    g_assert_true(block_renew(from, NULL) && block_renew(to, NULL));
    presence_absent(&p, to, 0, 1024, absent);
    g_assert_cmpuint(bits_count(absent, 1024), ==, 1024);
    presence_release(&p);
}

int
main(int argc, char **argv)
{
    main_thread_claim();
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/scan/runs are those of a slow scan", runs_are_those_of_a_slow_scan);
    g_test_add_func("/scan/full and empty words have their borders", full_and_empty_words_have_their_borders);
    g_test_add_func("/scan/sweep visits each dirty page once", sweep_visits_each_dirty_page_once);
    g_test_add_func("/scan/pages never there are known", pages_never_there_are_known);
    g_test_add_func("/scan/huge pages never there are known", huge_pages_never_there_are_known);
    g_test_add_func("/scan/huge pages handed over are there", huge_pages_handed_over_are_there);
    return g_test_run();
}
