/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The dirty log of KVM against a guest that writes pages it is told to. */
#include "kvm-bench.h"

#include <string.h>

/* Waits for [RBP] to change, then writes to each of the [RBP+8] pages whose addresses follow, and tells. */
GUEST(guest_pages,
      "xor %r15d, %r15d\n"
      "1: pause\n cmp (%rbp), %r15\n je 1b\n"
      "mov (%rbp), %r15\n mov 8(%rbp), %rcx\n lea 16(%rbp), %r8\n"
      "2: mov (%r8), %r9\n movq %r15, (%r9)\n add $8, %r8\n dec %rcx\n jnz 2b\n"
      "mov %r15d, %eax\n mov %esi, %edx\n out %eax, %dx\n jmp 1b");

/* Where a page of guest memory lies in its block. */
static uint64_t
block_page(const struct section *s, uint64_t page)
{
    return (page * PAGE_SIZE - s->gpa + s->offset) / PAGE_SIZE;
}

/* Has the guest write to these pages of guest memory and waits for it. */
static void
write_pages(struct bench *b, uint64_t turn, const unsigned *pages, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        put_u64(b, DATA + 16 + 8 * i, (uint64_t)pages[i] * PAGE_SIZE);
    put_u64(b, DATA + 8, count);
    put_u64(b, DATA, turn);
    go(b);
    wait_value(&b->station, 0, turn);
    run_hold(b->run, STOP_USER);
}

/* Processors with nested paging may write to page tables as they walk them (AMD APM 2, 15.25.6), so those are not
 * looked at. */
static void
expect_log(struct bench *b, struct dirty_source log, const unsigned *pages, unsigned count)
{
    const struct section *tables = guest_map_find(b->map, PML4);

    for (unsigned i = 0; i < b->map->blocks->len; i++) {
        struct block *block = g_ptr_array_index(b->map->blocks, i);
        uint64_t words = WORDS_FOR(block->page_count);
        g_autofree uint64_t *want = g_new0(uint64_t, words), *got = g_new0(uint64_t, words);

        for (unsigned p = 0; p < count; p++) {
            const struct section *s = guest_map_find(b->map, (uint64_t)pages[p] * PAGE_SIZE);

            if (s->block == block)
                bit_set(want, block_page(s, pages[p]));
        }
        g_assert_true(log.collect(log.self, block, got, NULL));
        if (block == tables->block)
            bits_clear(got, block_page(tables, PML4 / PAGE_SIZE), (CODE - PML4) / PAGE_SIZE);
        g_assert_cmpmem(got, words * 8, want, words * 8);
    }
}

static void
test_dirty(void)
{
    struct bench b;
    struct dirty_source log;
    unsigned pages[200], count, edges[] = { FREE_PAGE, 599, 600, 1049, 1050, PAGES - 1 };

    if (!BENCH(&b, 1, guest_pages))
        return;
    log = accel_kvm.dirty_source(b.accel);
    write_pages(&b, 1, edges, G_N_ELEMENTS(edges));     /* page tables get their marks now */
    g_assert_true(log.start(log.self, NULL));
    for (uint64_t turn = 2; turn < 10; turn++) {
        count = (unsigned)g_test_rand_int_range(1, G_N_ELEMENTS(pages));
        for (unsigned i = 0; i < count; i++)
            pages[i] = (unsigned)g_test_rand_int_range(FREE_PAGE, PAGES);
        if (turn == 2) {
            memcpy(pages, edges, sizeof(edges));
            count = MAX(count, G_N_ELEMENTS(edges));
            for (unsigned i = G_N_ELEMENTS(edges); i < count; i++)
                pages[i] = edges[i % G_N_ELEMENTS(edges)];
        }
        write_pages(&b, turn, pages, count);
        expect_log(&b, log, pages, count);
        expect_log(&b, log, NULL, 0);
    }
    log.stop(log.self);
    write_pages(&b, 10, edges, G_N_ELEMENTS(edges));
    g_assert_true(log.start(log.self, NULL));
    expect_log(&b, log, NULL, 0);
    bench_release(&b);
}

int
main(int argc, char **argv)
{
    main_thread_claim();
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/kvm/dirty", test_dirty);
    return g_test_run();
}
