/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A guest whose map changes under it: what it may no longer write stays as it was, what was written before a slot
 * went is in the next collection, and what was mapped over comes back with its content. */
#include "kvm-bench.h"

#include <string.h>

/* Waits for [RBP] to change, then writes it to the address in [RBP+8], reads that back, puts what it read into
 * [RBP+16], and tells. */
GUEST(guest_write,
      "xor %r15d, %r15d\n"
      "1: pause\n cmp (%rbp), %r15\n je 1b\n"
      "mov (%rbp), %r15\n mov 8(%rbp), %r9\n mov %r15, (%r9)\n mov (%r9), %r10\n mov %r10, 16(%rbp)\n"
      "mov %r15d, %eax\n mov %esi, %edx\n out %eax, %dx\n jmp 1b");

enum { FIRST = 700, COUNT = 100 };      /* pages in the middle of block "b" */

/* What the guest reads back from a page that it has written 'turn' to. */
static uint64_t
write_page(struct bench *b, uint64_t turn, uint64_t page)
{
    uint64_t back;

    put_u64(b, DATA + 8, page * PAGE_SIZE);
    put_u64(b, DATA, turn);
    go(b);
    wait_value(&b->station, 0, turn);
    run_hold(b->run, STOP_USER);
    g_assert_true(guest_map_read(b->map, DATA + 16, &back, sizeof back));
    return back;
}

static uint64_t
content(struct bench *b, uint64_t page)
{
    uint64_t value;

    g_assert_true(guest_map_read(b->map, page * PAGE_SIZE, &value, sizeof value));
    return value;
}

static void
follow(struct bench *b)
{
    g_autoptr(GArray) view = guest_map_view(b->map, NULL);
    g_autoptr(GError) error = NULL;

    accel_kvm.memory_changed(b->accel, view, &error);
    g_assert_no_error(error);
}

/* Whether a page is in the log, and not again in the next. */
static bool
logged(struct bench *b, struct dirty_source log, uint64_t page)
{
    const struct section *s = guest_map_find(b->map, page * PAGE_SIZE);
    uint64_t of_block = (page * PAGE_SIZE - s->gpa + s->offset) / PAGE_SIZE;
    g_autofree uint64_t *words = g_new0(uint64_t, WORDS_FOR(s->block->page_count));
    g_autofree uint64_t *all = g_new0(uint64_t, WORDS_FOR(s->block->page_count));

    g_assert_true(log.collect(log.self, s->block, words, NULL));
    if (log.clear)
        bits_set(all, 0, s->block->page_count);
    if (log.clear)
        g_assert_true(log.clear(log.self, s->block, 0, s->block->page_count, all, NULL));
    return bit_test(words, of_block);
}

static void
test_protect(void)
{
    struct bench b;

    if (!BENCH(&b, 1, guest_write))
        return;
    g_assert_cmpuint(write_page(&b, 1, FIRST), ==, 1);
    guest_map_protect(b.map, "rom", FIRST * PAGE_SIZE, COUNT * PAGE_SIZE);
    follow(&b);
    g_assert_cmpuint(write_page(&b, 2, FIRST), ==, 1);
    g_assert_cmpuint(write_page(&b, 3, FIRST + COUNT - 1), ==, 0);
    g_assert_cmpuint(content(&b, FIRST), ==, 1);
    g_assert_cmpuint(write_page(&b, 4, FIRST - 1), ==, 4);
    g_assert_cmpuint(write_page(&b, 5, FIRST + COUNT), ==, 5);
    g_array_set_size(b.map->covers, 0);
    follow(&b);
    g_assert_cmpuint(write_page(&b, 6, FIRST), ==, 6);
    g_assert_cmpuint(content(&b, FIRST), ==, 6);
    bench_release(&b);
}

static void
test_cover(void)
{
    struct bench b;

    if (!BENCH(&b, 1, guest_write))
        return;
    g_assert_cmpuint(write_page(&b, 1, FIRST), ==, 1);
    guest_map_cover(b.map, "device", FIRST * PAGE_SIZE + 256, 256);
    follow(&b);
    g_assert_cmpuint(write_page(&b, 2, FIRST), ==, UINT64_MAX);
    g_assert_cmpuint(content(&b, FIRST), ==, 1);
    g_assert_cmpuint(write_page(&b, 3, FIRST - 1), ==, 3);
    g_assert_cmpuint(write_page(&b, 4, FIRST + 1), ==, 4);
    bench_release(&b);
}

static void
test_log(gconstpointer mode)
{
    struct bench b;
    struct dirty_source log;

    if (!BENCH(&b, 1, guest_write))
        return;
    drop_vm(&b);
    b.dirty_log = GPOINTER_TO_UINT(mode);
    make_vm(&b);
    reset_cpus(&b);
    log = accel_kvm.dirty_source(b.accel);
    g_assert_true(log.start(log.self, NULL));
    logged(&b, log, FIRST);
    write_page(&b, 1, FIRST + COUNT);
    guest_map_protect(b.map, "rom", FIRST * PAGE_SIZE, COUNT * PAGE_SIZE);
    follow(&b);
    g_assert_true(logged(&b, log, FIRST + COUNT));
    g_assert_false(logged(&b, log, FIRST + COUNT));
    write_page(&b, 2, FIRST + COUNT);
    g_array_set_size(b.map->covers, 0);
    follow(&b);
    g_assert_true(logged(&b, log, FIRST + COUNT));
    write_page(&b, 3, FIRST);
    g_assert_true(logged(&b, log, FIRST));
    log.stop(log.self);
    bench_release(&b);
}

int
main(int argc, char **argv)
{
    main_thread_claim();
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/kvm-map/what-is-read-only-stays-as-it-was", test_protect);
    g_test_add_func("/kvm-map/a-device-takes-its-whole-page", test_cover);
    g_test_add_data_func("/kvm-map/no-write-is-lost-with-a-slot-that-goes/bitmap", GUINT_TO_POINTER(DIRTY_LOG_BITMAP),
                         test_log);
    g_test_add_data_func("/kvm-map/no-write-is-lost-with-a-slot-that-goes/auto", GUINT_TO_POINTER(DIRTY_LOG_AUTO),
                         test_log);
    if (kvm_has_rings())
        g_test_add_data_func("/kvm-map/no-write-is-lost-with-a-slot-that-goes/ring", GUINT_TO_POINTER(DIRTY_LOG_RING),
                             test_log);
    return g_test_run();
}
