/* SPDX-License-Identifier: GPL-3.0-or-later */
/* usage: bench-dirty [JSON-FILE [RUNS [GIB...]]]
 * What each way of KVM to log writes costs the guest and the one who collects: a guest in user mode writes to every
 * page, to one in a hundred, or to none of 1 and 4 GiB, backed by huge pages or small ones, while a subscriber as a
 * migration is takes what is dirty, round by round.  Prints the medians as a table and writes them as JSON.
 *
 * start: logging is switched on.  first: the first pass takes all pages.  write: what a page write costs the guest by
 * its own time stamp counter, the first in each round.  sync, take: the log is read; what is dirty is taken, so that
 * the next write is seen. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "accel.h"

enum {
    GDT = 0x1000, PML4 = 0x2000, PDPT = 0x3000, PD = 0x4000, CODE = 0x20000, DATA = 0x21000, TSS = 0x30000,
    TSS_LIMIT = 0x2068, TSS_IOMAP = 0x68, GIB_MOST = 8, ROUNDS = 2,
};
/* What the guest runs from lies low; what it writes follows in the block, and lies at 4 GiB, above all devices. */
#define LOW  (2 * MIB)
#define HIGH (4 * GIB)

/* Waits for [RBP] to change; writes to [RBP+8] pages, [RBP+16] bytes apart, from [RBP+24] on; tells the ticks that
 * took in [RBP+32], then the turn in [RBP+40]. */
extern const uint8_t guest_write[], guest_write_end[];
__asm__(".pushsection .rodata\n.globl guest_write, guest_write_end\nguest_write:\n"
        "xor %r15d, %r15d\n1: pause\n cmp (%rbp), %r15\n je 1b\n mov (%rbp), %r15\n"
        "mov 8(%rbp), %rcx\n mov 24(%rbp), %r8\n rdtsc\n mov %eax, %r10d\n mov %edx, %r11d\n"
        "test %rcx, %rcx\n jz 3f\n"
        "2: mov %r15, (%r8)\n add 16(%rbp), %r8\n dec %rcx\n jnz 2b\n"
        "3: rdtsc\n sub %r10d, %eax\n sbb %r11d, %edx\n shl $32, %rdx\n or %rdx, %rax\n"
        "mov %rax, 32(%rbp)\n mov %r15, 40(%rbp)\n jmp 1b\n"
        "guest_write_end:\n.popsection\n");

struct bench {
    struct mailbox *mailbox;
    struct bus *bus;
    struct guest_map *map;
    struct block *block;
    struct accel *accel;
    struct hub *hub;
    struct run *run;
    double ticks_ns;                /* nanoseconds of one tick */
    uint64_t turn;
};

/* Of one setting, in order of the table's columns. */
enum { COST_START, COST_FIRST, COST_WRITE, COST_SYNC, COST_TAKE, COST_STOP, COSTS };
static const char *const cost_names[COSTS] = { "start_us", "first_us", "write_ns", "sync_us", "take_us", "stop_us" };
enum { RUNS_MOST = 32 };
struct costs { double of[COSTS][RUNS_MOST]; };

static void
die(const char *what, const GError *error)
{
    fprintf(stderr, "bench-dirty: %s: %s\n", what, error ? error->message : g_strerror(errno));
    exit(1);
}

static void
on_event(void *self, const struct run_event *e)
{
    fprintf(stderr, "bench-dirty: the guest has ended: %s\n", e->text ? e->text : "reset");
    exit(1);
}

/* --- the guest -------------------------------------------------------------------------------------------------- */

static uint64_t *
word(struct bench *b, uint64_t gpa)
{
    return (uint64_t *)(void *)(b->block->host + gpa);
}

static void
lay_out(struct bench *b)
{
    static const uint64_t gdt[] = { 0, 0x00af9b000000ffff, 0x00cf93000000ffff, 0x00affb000000ffff,
                                    0x00cff3000000ffff };

    memcpy(b->block->host + GDT, gdt, sizeof gdt);
    *word(b, GDT + 0x28) = TSS_LIMIT | (uint64_t)(TSS & 0xffffff) << 16 | UINT64_C(0x8b) << 40;
    *word(b, PML4) = PDPT | 7;
    for (uint64_t i = 0; i < 4 + GIB_MOST; i++) {
        *word(b, PDPT + 8 * i) = (PD + i * PAGE_SIZE) | 7;
        for (uint64_t j = 0; j < 512; j++)
            *word(b, PD + i * PAGE_SIZE + 8 * j) = (i * 512 + j) * 2 * MIB | 0x87;
    }
    *(uint16_t *)(void *)(b->block->host + TSS + 0x66) = TSS_IOMAP;
    memcpy(b->block->host + CODE, guest_write, (size_t)(guest_write_end - guest_write));
}

static void
reset(struct bench *b)
{
    struct cpu_segment data = { .selector = 0x23, .limit = UINT32_MAX, .type = 3, .dpl = 3, .present = 1, .db = 1,
                                .s = 1, .g = 1 };
    struct cpu_segment code = { .selector = 0x1b, .limit = UINT32_MAX, .type = 11, .dpl = 3, .present = 1, .s = 1,
                                .l = 1, .g = 1 };
    struct cpu_start start = {
        .kind = CPU_START_DIRECT, .rip = CODE, .rsp = DATA + PAGE_SIZE, .rflags = 0x2, .rbp = DATA,
        .cr0 = 0x80010033, .cr3 = PML4, .cr4 = 0x620, .efer = 0x500,
        .cs = code, .ds = data, .es = data, .fs = data, .gs = data, .ss = data,
        .tr = { .selector = 0x28, .base = TSS, .limit = TSS_LIMIT, .type = 11, .present = 1 },
        .gdt_base = GDT, .gdt_limit = 0x37,
    };
    g_autoptr(GError) error = NULL;

    if (!accel_kvm.vcpu_reset(b->accel, 0, &start, &error))
        die("cannot start the guest", error);
}

/* Has it write to so many pages spread over its memory; nanoseconds for each. */
static double
write_pages(struct bench *b, uint64_t pages)
{
    uint64_t all = (b->block->size - LOW) / PAGE_SIZE;

    *word(b, DATA + 8) = pages;
    *word(b, DATA + 16) = pages ? all / pages * PAGE_SIZE : 0;
    *word(b, DATA + 24) = HIGH;
    __atomic_store_n(word(b, DATA), ++b->turn, __ATOMIC_RELEASE);
    while (__atomic_load_n(word(b, DATA + 40), __ATOMIC_ACQUIRE) != b->turn)
        g_usleep(200);
    return pages ? (double)*word(b, DATA + 32) * b->ticks_ns / (double)pages : 0;
}

/* --- a machine -------------------------------------------------------------------------------------------------- */

static void
open_bench(struct bench *b, enum dirty_log mode, uint64_t size, bool huge)
{
    static const unsigned apic_ids[] = { 0 };
    static const int nodes[] = { -1 };
    struct backend_options options;
    struct accel_setup setup = { .cpu_slots = 1, .apic_ids = apic_ids, .cpu_nodes = nodes, .dirty_log = mode };
    g_autoptr(GError) error = NULL;

    *b = (struct bench) { .mailbox = mailbox_new(NULL), .bus = bus_new(), .map = guest_map_new() };
    backend_options_init_default(&options, "ram", size);
    b->block = block_new(&options, &error);
    if (!b->block)
        die("no memory", error);
    madvise(b->block->host, size, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
    memset(b->block->host, 0, size);
    guest_map_take_block(b->map, b->block);
    guest_map_add(b->map, &(struct section) { .gpa = 0, .size = LOW, .block = b->block, .node = -1 });
    guest_map_add(b->map, &(struct section) { .gpa = HIGH, .size = size - LOW, .block = b->block, .offset = LOW,
                                              .node = -1 });
    lay_out(b);
    setup.map = b->map;
    setup.bus = b->bus;
    setup.mailbox = b->mailbox;
    b->accel = accel_kvm.create(&setup, &error);
    if (!b->accel)
        die("no guest", error);
    b->hub = hub_new(b->map, accel_kvm.dirty_source(b->accel));
    accel_kvm.set_hub(b->accel, b->hub);
    b->ticks_ns = 1e6 / (double)accel_kvm.tsc_khz(b->accel);
    reset(b);
    b->run = run_new(&accel_kvm, b->accel, 1, NULL, b->mailbox, on_event, b);
    if (!run_release(b->run, STOP_USER, &error))
        die("no vCPU", error);
}

static void
close_bench(struct bench *b)
{
    run_free(b->run);
    accel_kvm.destroy(b->accel);
    hub_free(b->hub);
    guest_map_free(b->map);
    bus_free(b->bus);
    mailbox_free(b->mailbox);
}

/* --- measuring -------------------------------------------------------------------------------------------------- */

/* Takes what is dirty, as a migration does: runs of at most 64 pages. */
static void
take_dirty(struct bench *b, struct subscriber *s)
{
    _Atomic uint64_t *words = subscriber_words(s, b->block);
    uint64_t set;

    for (uint64_t page = 0; (page = bits_next_atomic(words, b->block->page_count, page)) < b->block->page_count;) {
        uint64_t count = MIN(64 - page % 64, b->block->page_count - page);

        if (!hub_clear(b->hub, s, b->block, page, count, &set, NULL))
            die("cannot clear", NULL);
        page += count;
    }
}

static double
since(int64_t *us)
{
    int64_t now = g_get_monotonic_time();
    double passed = (double)(now - *us);

    *us = now;
    return passed;
}

static void
measure(struct bench *b, uint64_t pages, struct costs *c, unsigned run)
{
    g_autoptr(GError) error = NULL;
    int64_t us = g_get_monotonic_time();
    struct subscriber *s = hub_subscribe_full(b->hub, "bench", &error);

    if (!s)
        die("cannot log", error);
    c->of[COST_START][run] = since(&us);
    take_dirty(b, s);
    c->of[COST_FIRST][run] = since(&us);
    for (unsigned round = 0; round < ROUNDS; round++) {
        c->of[COST_WRITE][run] += write_pages(b, pages) / ROUNDS;
        since(&us);
        if (!hub_sync(b->hub, &error))
            die("cannot sync", error);
        c->of[COST_SYNC][run] += since(&us) / ROUNDS;
        take_dirty(b, s);
        c->of[COST_TAKE][run] += since(&us) / ROUNDS;
    }
    since(&us);
    hub_unsubscribe(b->hub, s);
    c->of[COST_STOP][run] = since(&us);
}

static int
compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double
median(double *of, unsigned runs)
{
    qsort(of, runs, sizeof *of, compare);
    return runs % 2 ? of[runs / 2] : (of[runs / 2 - 1] + of[runs / 2]) / 2;
}

static void
report(FILE *json, const char *mode, unsigned gib, bool huge, unsigned percent, struct costs *c, unsigned runs)
{
    static bool more;

    printf("%-6s %u GiB %-5s %3u %%", mode, gib, huge ? "huge" : "small", percent);
    if (json)
        fprintf(json, "%s\n  { \"log\": \"%s\", \"gib\": %u, \"pages\": \"%s\", \"dirty_percent\": %u",
                more ? "," : "", mode, gib, huge ? "huge" : "small", percent);
    for (unsigned cost = 0; cost < COSTS; cost++) {
        double value = median(c->of[cost], runs);

        printf(" %10.*f", value < 10 ? 1 : 0, value);
        if (json)
            fprintf(json, ", \"%s\": %.1f", cost_names[cost], value);
    }
    printf("\n");
    fflush(stdout);
    if (json)
        fprintf(json, " }");
    more = true;
}

static void
bench_one(FILE *json, enum dirty_log mode, unsigned gib, bool huge, unsigned runs)
{
    static const unsigned percents[] = { 0, 1, 100 };
    struct bench b;

    open_bench(&b, mode, gib * GIB, huge);
    write_pages(&b, (gib * GIB - LOW) / PAGE_SIZE);
    for (unsigned i = 0; i < G_N_ELEMENTS(percents); i++) {
        struct costs c = { 0 };

        for (unsigned run = 0; run < runs; run++)
            measure(&b, (gib * GIB - LOW) / PAGE_SIZE * percents[i] / 100, &c, run);
        report(json, dirty_log_names[mode], gib, huge, percents[i], &c, runs);
    }
    close_bench(&b);
}

int
main(int argc, char **argv)
{
    FILE *json = argc > 1 ? fopen(argv[1], "w") : NULL;
    unsigned runs = argc > 2 ? CLAMP((unsigned)atoi(argv[2]), 1, RUNS_MOST) : 3;
    g_autoptr(GError) error = NULL;

    main_thread_claim();
    if (argc > 1 && !json)
        die(argv[1], NULL);
    if (!accel_kvm.probe(&error))
        die("KVM does not work here", error);
    printf("%-6s %-5s %-5s %5s", "log", "size", "pages", "dirty");
    for (unsigned cost = 0; cost < COSTS; cost++)
        printf(" %10s", cost_names[cost]);
    printf("\n");
    if (json)
        fprintf(json, "[");
    for (unsigned at = 3; at < MAX((unsigned)argc, 5); at++) {
        unsigned gib = (unsigned)argc > 3
            ? (at < (unsigned)argc ? MIN((unsigned)atoi(argv[at]), (unsigned)GIB_MOST) : 0) : at == 3 ? 1 : 4;

        for (unsigned huge = 0; gib && huge < 2; huge++)
            for (unsigned mode = DIRTY_LOG_BITMAP; mode <= DIRTY_LOG_RING; mode++)
                bench_one(json, mode, gib, huge, runs);
    }
    if (json)
        fprintf(json, "\n]\n");
    return json && fclose(json) != 0;
}
