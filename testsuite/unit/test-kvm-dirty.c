/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The dirty log of KVM, in each of its three ways, against guests that write: pages they are told to, all the time,
 * in kernel mode, and pages that KVM writes for them. */
#include "kvm-bench.h"

#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

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
        /* From a page on that is no slot's first, in pieces of odd sizes. */
        for (uint64_t at = 0; log.clear && at < block->page_count; at += 192)
            g_assert_true(log.clear(log.self, block, at, MIN(192, block->page_count - at), got + at / 64, NULL));
        if (block == tables->block)
            bits_clear(got, block_page(tables, PML4 / PAGE_SIZE), (CODE - PML4) / PAGE_SIZE);
        g_assert_cmpmem(got, words * 8, want, words * 8);
    }
}

/* A machine with one vCPU whose writes are logged so; false if that is not to be had here: skipped with the
 * reason. */
static bool
bench_with_log(struct bench *b, enum dirty_log mode, unsigned cpu_count, const uint8_t *code, const uint8_t *end)
{
    g_autoptr(GError) error = NULL;
    struct accel_setup probe = { 0 };

    if (!bench_init(b, cpu_count, code, end))
        return false;
    drop_vm(b);
    b->dirty_log = mode;
    b->dirty_ring_size = mode == DIRTY_LOG_RING ? DIRTY_RING_MIN : 0;
    probe = (struct accel_setup) { .cpu_slots = 1, .apic_ids = (const unsigned[]) { 0 }, .map = b->map, .bus = b->bus,
                                   .mailbox = b->mailbox, .dirty_log = mode, .dirty_ring_size = b->dirty_ring_size };
    struct accel *a = accel_kvm.create(&probe, &error);
    bool works = a;

    accel_kvm.destroy(a);
    b->dirty_log = works ? mode : DIRTY_LOG_BITMAP;
    b->dirty_ring_size = works ? b->dirty_ring_size : 0;
    make_vm(b);
    reset_cpus(b);
    if (works)
        return true;
    g_test_skip(error->message);
    bench_release(b);
    return false;
}
#define BENCH_WITH_LOG(b, mode, cpus, guest) bench_with_log(b, mode, cpus, guest, guest##_end)

/* A log that starts with all pages reported is clear after this. */
static void
drain(struct bench *b, struct dirty_source log)
{
    for (unsigned i = 0; log.clear && i < b->map->blocks->len; i++) {
        struct block *block = g_ptr_array_index(b->map->blocks, i);
        g_autofree uint64_t *all = g_new0(uint64_t, WORDS_FOR(block->page_count));

        g_assert_true(log.collect(log.self, block, all, NULL));
        g_assert_true(log.clear(log.self, block, 0, block->page_count, all, NULL));
    }
}

static void
pages_written_are_reported_once(gconstpointer mode)
{
    struct bench b;
    struct dirty_source log;
    unsigned pages[200], count, edges[] = { FREE_PAGE, 599, 600, 1049, 1050, PAGES - 1 };

    if (!BENCH_WITH_LOG(&b, GPOINTER_TO_UINT(mode), 1, guest_pages))
        return;
    log = accel_kvm.dirty_source(b.accel);
    write_pages(&b, 1, edges, G_N_ELEMENTS(edges));     /* page tables get their marks now */
    g_assert_true(log.start(log.self, NULL));
    drain(&b, log);
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
    drain(&b, log);
    expect_log(&b, log, NULL, 0);
    log.stop(log.self);
    bench_release(&b);
}

/* --- a copier, as a migration is, against guests that write all the time ---------------------------------------- */

/* Writes its count to [RBP+8] pages from [RBP] on, again and again. */
GUEST(guest_storm,
      "xor %r15d, %r15d\n"
      "1: inc %r15\n mov (%rbp), %r8\n mov 8(%rbp), %rcx\n"
      "2: mov %r15, (%r8)\n add $4096, %r8\n dec %rcx\n jnz 2b\n"
      "mov %r15d, %eax\n mov %esi, %edx\n test $15, %r15b\n jnz 1b\n out %eax, %dx\n jmp 1b");

struct copier {
    struct bench *b;
    struct hub *hub;
    struct subscriber *subscriber;
    uint8_t *copies[2];             /* of each block */
};

/* Copies what is dirty; a chunk of pages at a time, as a migration does.  Returns how many. */
static uint64_t
copy_dirty(struct copier *c, GError **error)
{
    uint64_t total = 0, set;

    if (!hub_sync(c->hub, error))
        return UINT64_MAX;
    for (unsigned i = 0; i < c->b->map->blocks->len; i++) {
        struct block *block = g_ptr_array_index(c->b->map->blocks, i);
        _Atomic uint64_t *words = subscriber_words(c->subscriber, block);

        for (uint64_t page = 0; (page = bits_next_atomic(words, block->page_count, page)) < block->page_count;
             page++) {
            g_assert_true(hub_clear(c->hub, c->subscriber, block, page, 1, &set, NULL));
            memcpy(c->copies[i] + page * PAGE_SIZE, block->host + page * PAGE_SIZE, PAGE_SIZE);
            total += set;
        }
    }
    return total;
}

static void
copier_begin(struct copier *c, struct bench *b, bool full)
{
    *c = (struct copier) { .b = b, .hub = hub_new(b->map, accel_kvm.dirty_source(b->accel)) };
    accel_kvm.set_hub(b->accel, c->hub);
    c->subscriber = (full ? hub_subscribe_full : hub_subscribe)(c->hub, "copier", NULL);
    g_assert_nonnull(c->subscriber);
    for (unsigned i = 0; i < b->map->blocks->len; i++) {
        struct block *block = g_ptr_array_index(b->map->blocks, i);

        c->copies[i] = g_malloc(block->size);
        memcpy(c->copies[i], block->host, block->size);
    }
}

static void
expect_equal(const struct copier *c)
{
    for (unsigned i = 0; i < c->b->map->blocks->len; i++) {
        const struct block *block = g_ptr_array_index(c->b->map->blocks, i);

        for (uint64_t page = 0; page < block->page_count; page++)
            g_assert_cmpmem(c->copies[i] + page * PAGE_SIZE, PAGE_SIZE, block->host + page * PAGE_SIZE, PAGE_SIZE);
    }
}

static void
copier_end(struct copier *c)
{
    hub_unsubscribe(c->hub, c->subscriber);
    accel_kvm.set_hub(c->b->accel, NULL);
    hub_free(c->hub);
    for (unsigned i = 0; i < G_N_ELEMENTS(c->copies); i++)
        g_free(c->copies[i]);
}

/* Beside the copier somebody measures now and then: comes, has pages reported and goes. */
static void
measure_now_and_then(struct copier *c, struct subscriber **s, unsigned turn)
{
    const struct block *b = g_ptr_array_index(c->b->map->blocks, 0);

    if (turn % 7 == 1) {
        *s = hub_subscribe(c->hub, "measures", NULL);
        g_assert_nonnull(*s);
    }
    if (turn % 7 == 5) {
        wait_value(&c->b->station, 0, value_now(&c->b->station, 0) + 32);
        g_assert_true(hub_sync(c->hub, NULL));
        g_assert_cmpuint(bits_count_atomic(subscriber_words(*s, b), b->page_count), >, 0);
        hub_unsubscribe(c->hub, g_steal_pointer(s));
    }
}

static void
give_storm(struct bench *b, unsigned cpus)
{
    uint64_t each = (PAGES - FREE_PAGE) / cpus;

    for (unsigned cpu = 0; cpu < cpus; cpu++) {
        put_u64(b, DATA + cpu * 4 * PAGE_SIZE, (FREE_PAGE + cpu * each) * PAGE_SIZE);
        put_u64(b, DATA + cpu * 4 * PAGE_SIZE + 8, each);
    }
}

static void
storm(enum dirty_log mode, unsigned cpus, bool full)
{
    struct subscriber *other = NULL;
    struct bench b;
    struct copier c;

    if (!BENCH_WITH_LOG(&b, mode, cpus, guest_storm))
        return;
    give_storm(&b, cpus);
    copier_begin(&c, &b, full);
    go(&b);
    for (unsigned cpu = 0; cpu < cpus; cpu++)
        wait_value(&b.station, cpu, 16);
    for (unsigned turn = 0; turn < 40; turn++) {
        g_assert_cmpuint(copy_dirty(&c, NULL), !=, UINT64_MAX);
        measure_now_and_then(&c, &other, turn);
        if (turn % 4 == 0)
            wait_value(&b.station, 0, value_now(&b.station, 0) + 32);
    }
    wait_value(&b.station, 0, value_now(&b.station, 0) + 32);
    run_hold(b.run, STOP_USER);
    g_assert_cmpuint(copy_dirty(&c, NULL), >, 0);
    expect_equal(&c);
    g_assert_cmpuint(copy_dirty(&c, NULL), ==, 0);
    for (unsigned cpu = 0; cpu < cpus && mode == DIRTY_LOG_RING; cpu++)
        g_assert_cmpuint(subscriber_cpu_pages(c.subscriber, cpu), >, (PAGES - FREE_PAGE) / cpus);
    copier_end(&c);
    bench_release(&b);
}

static void
copy_beside_writers_is_whole(gconstpointer mode)
{
    storm(GPOINTER_TO_UINT(mode), 1, true);     /* the one ring is too small for its pages */
    storm(GPOINTER_TO_UINT(mode), 2, false);
}

/* --- signals ---------------------------------------------------------------------------------------------------- */

struct pest {
    struct run *run;
    pid_t main;
    unsigned cpus;
    _Atomic bool end;
};

/* As a stop, a throttle or a terminal would, but all the time. */
static void *
pester(void *data)
{
    struct pest *p = data;

    while (!atomic_load(&p->end)) {
        for (unsigned cpu = 0; cpu <= p->cpus; cpu++) {
            pid_t id = cpu < p->cpus ? run_thread_id(p->run, cpu) : p->main;

            if (id)
                syscall(SYS_tgkill, getpid(), id, SIGUSR1);
        }
        g_usleep(20);
    }
    return NULL;
}

/* Linux 6.16 ends a reset of rings at a signal and forgets to protect the last pages again: the log must not let that
 * happen.  The rings are too small for these pages, so that vCPUs, too, empty theirs. */
static void
copy_beside_signals_is_whole(gconstpointer mode)
{
    struct thread thread = { 0 };
    struct bench b;
    struct copier c;
    struct pest p = { .main = gettid(), .cpus = 1 };

    if (!BENCH_WITH_LOG(&b, GPOINTER_TO_UINT(mode), 1, guest_storm))
        return;
    give_storm(&b, 1);
    copier_begin(&c, &b, true);
    p.run = b.run;
    g_assert_true(thread_start(&thread, "pester", pester, &p, NULL));
    for (unsigned turn = 0; turn < 15; turn++) {
        go(&b);
        for (unsigned i = 0; i < 3; i++)
            g_assert_cmpuint(copy_dirty(&c, NULL), !=, UINT64_MAX);
        wait_value(&b.station, 0, value_now(&b.station, 0) + 16);
        run_hold(b.run, STOP_USER);
        g_assert_cmpuint(copy_dirty(&c, NULL), !=, UINT64_MAX);
        expect_equal(&c);
    }
    atomic_store(&p.end, true);
    thread_join(&thread);
    copier_end(&c);
    bench_release(&b);
}

/* --- kernel mode ------------------------------------------------------------------------------------------------ */

static void
reset_in_ring_0(struct bench *b)
{
    struct cpu_start start = start_in_ring_0(0);

    g_assert_true(accel_kvm.vcpu_reset(b->accel, 0, &start, NULL));
}

/* Where KVM does not stop such a guest for a full ring the log may break: that is said, and the guest goes on. */
static void
copy_beside_a_kernel_is_whole_or_fails(gconstpointer mode)
{
    g_autoptr(GError) error = NULL;
    struct bench b;
    struct copier c;
    uint64_t pages = 0;

    if (!BENCH_WITH_LOG(&b, GPOINTER_TO_UINT(mode), 1, guest_storm))
        return;
    reset_in_ring_0(&b);
    give_storm(&b, 1);
    copier_begin(&c, &b, true);
    go(&b);
    for (unsigned turn = 0; turn < 10 && pages != UINT64_MAX; turn++) {
        pages = copy_dirty(&c, &error);
        wait_value(&b.station, 0, value_now(&b.station, 0) + 32);
    }
    run_hold(b.run, STOP_USER);
    if (pages != UINT64_MAX && copy_dirty(&c, &error) != UINT64_MAX)
        expect_equal(&c);
    g_assert_true(!error || GPOINTER_TO_UINT(mode) == DIRTY_LOG_RING);
    copier_end(&c);
    go(&b);
    wait_value(&b.station, 0, value_now(&b.station, 0) + 32);
    bench_release(&b);
}

/* Gives KVM its clock page [RBP], then tells; and again at each [RBP+8] that changes. */
GUEST(guest_clock,
      "mov (%rbp), %rax\n mov %rax, %rdx\n shr $32, %rdx\n or $1, %eax\n mov $0x4b564d01, %ecx\n wrmsr\n"
      "xor %r15d, %r15d\n"
      "1: pause\n cmp 8(%rbp), %r15\n je 1b\n mov 8(%rbp), %r15\n"
      "mov %r15d, %eax\n mov %esi, %edx\n out %eax, %dx\n jmp 1b");

static void
clock_page_that_kvm_writes_is_reported(gconstpointer mode)
{
    struct bench b;
    struct copier c;
    uint64_t at = (uint64_t)(FREE_PAGE + 3) * PAGE_SIZE;

    if (!BENCH_WITH_LOG(&b, GPOINTER_TO_UINT(mode), 1, guest_clock))
        return;
    reset_in_ring_0(&b);
    put_u64(&b, DATA, at);
    put_u64(&b, DATA + 8, 1);
    copier_begin(&c, &b, false);
    go(&b);
    wait_value(&b.station, 0, 1);
    run_hold(b.run, STOP_USER);
    g_assert_cmpuint(copy_dirty(&c, NULL), !=, UINT64_MAX);
    expect_equal(&c);
    /* System time is not 0 there: it was KVM that wrote, not the test. */
    g_assert_cmpuint(*(uint32_t *)guest_map_host(b.map, at, 32), !=, 0);
    copier_end(&c);
    bench_release(&b);
}

/* --- looking ---------------------------------------------------------------------------------------------------- */

static bool
slots_log(struct bench *b)
{
    g_autoptr(GVariant) facts = NULL, slots = NULL, first = NULL;
    gboolean logging = FALSE;
    GVariantBuilder dict;

    g_variant_builder_init(&dict, G_VARIANT_TYPE_VARDICT);
    accel_kvm.inform(b->accel, &dict);
    facts = g_variant_ref_sink(g_variant_builder_end(&dict));
    slots = g_variant_lookup_value(facts, "slot-table", G_VARIANT_TYPE("aa{sv}"));
    g_assert_cmpuint(g_variant_n_children(slots), >, 0);
    first = g_variant_get_child_value(slots, 0);
    g_assert_true(g_variant_lookup(first, "logging", "b", &logging));
    return logging;
}

static void *
subscribe_again_and_again(void *data)
{
    struct hub *hub = data;

    for (unsigned i = 0; i < 100; i++)
        hub_unsubscribe(hub, hub_subscribe(hub, "comes and goes", NULL));
    return NULL;
}

/* A migration's thread begins and ends it while main lists the slots. */
static void
slots_tell_whether_they_log(void)
{
    struct thread other = { 0 };
    struct subscriber *s;
    struct bench b;
    struct hub *hub;

    if (!BENCH_WITH_LOG(&b, DIRTY_LOG_BITMAP, 1, guest_storm))
        return;
    hub = hub_new(b.map, accel_kvm.dirty_source(b.accel));
    g_assert_true(thread_start(&other, "subscriber", subscribe_again_and_again, hub, NULL));
    for (unsigned i = 0; i < 100; i++)
        slots_log(&b);
    thread_join(&other);
    g_assert_false(slots_log(&b));
    s = hub_subscribe(hub, "stays", NULL);
    g_assert_true(slots_log(&b));
    hub_unsubscribe(hub, s);
    g_assert_false(slots_log(&b));
    hub_free(hub);
    bench_release(&b);
}

int
main(int argc, char **argv)
{
    static const struct { const char *name; GTestDataFunc test; } tests[] = {
        { "pages-written-are-reported-once", pages_written_are_reported_once },
        { "copy-beside-writers-is-whole", copy_beside_writers_is_whole },
        { "copy-beside-signals-is-whole", copy_beside_signals_is_whole },
        { "copy-beside-a-kernel-is-whole-or-fails", copy_beside_a_kernel_is_whole_or_fails },
        { "clock-page-that-kvm-writes-is-reported", clock_page_that_kvm_writes_is_reported },
    };

    main_thread_claim();
    g_test_init(&argc, &argv, NULL);
    for (unsigned mode = DIRTY_LOG_BITMAP; mode <= DIRTY_LOG_RING; mode++) {
        for (unsigned i = 0; i < G_N_ELEMENTS(tests); i++) {
            g_autofree char *path = g_strdup_printf("/kvm/dirty/%s/%s", dirty_log_names[mode], tests[i].name);

            g_test_add_data_func(path, GUINT_TO_POINTER(mode), tests[i].test);
        }
    }
    g_test_add_func("/kvm/dirty/slots-tell-whether-they-log", slots_tell_whether_they_log);
    return g_test_run();
}
