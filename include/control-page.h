/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The contract between the workload guest (src/guest), the synthetic accelerator and numon's verifier: where the
 * control pages lie in guest memory, what they hold, and how one page is written so that a loss or a tear shows.
 * Freestanding: the guest includes it.
 *
 * Guest physical memory of the workload guest:
 *
 *   CONTROL_GPA             control_head, one page
 *   + 1 page                control_node[CONTROL_NODES], CONTROL_NODES_PAGES pages
 *   then                    control_cpu[CONTROL_CPUS], one page each
 *   CONTROL_FREE            from here on in each node's memory: the areas
 *
 * Each node has one free range (its largest piece above CONTROL_FREE, page aligned).  Its first half is divided
 * equally among the node's own CPUs, its second half among all CPUs of the guest, counting those that may come later.
 * So every (CPU, node) pair has an area that no other pair touches, found by arithmetic: control_area().  An area
 * begins with its table of expected generations, 8 bytes a page, apart from the pages; the pages follow.
 *
 * A page begins with four words: page number (guest physical address / 4096), generation (its count of writes),
 * checksum, and a magic.  The checksum is the sum over all other words of word[i] * (2 i + 1) modulo 2^64, so a
 * change of one word changes it incrementally and a lost change stays visible for ever after.
 *
 * Order of one write, and why: announce the page (a stop in the middle is told from a tear); compare the old page
 * with the table and count a mismatch (running on never hides a loss); change the page; count up the table; count
 * up the vCPU's total, which lives in a register (vCPU state, not RAM); withdraw the announcement.
 */
#ifndef CONTROL_PAGE_H
#define CONTROL_PAGE_H

#include <stdint.h>

/* How users name the image that is linked into numon. */
#define BUILTIN_WORKLOAD "builtin:workload"

enum {
    CONTROL_GPA         = 0x200000,
    CONTROL_PAGE        = 4096,
    CONTROL_NODES       = 128,
    CONTROL_CPUS        = 128,
    CONTROL_NODES_PAGES = 1,
    CONTROL_NODES_GPA   = CONTROL_GPA + CONTROL_PAGE,
    CONTROL_CPUS_GPA    = CONTROL_NODES_GPA + CONTROL_NODES_PAGES * CONTROL_PAGE,
    CONTROL_FREE        = 0x600000,     /* image, control pages and stacks end below */
    CONTROL_VERSION     = 1,
    /* The nap port: "out %eax" gives up the vCPU for EAX microseconds, or until numon wants it back. */
    CONTROL_NAP_PORT    = 0x0510,
};

#define CONTROL_MAGIC      UINT64_C(0x6c6f72746e6f636e)     /* "ncontrol" */
#define CONTROL_PAGE_MAGIC UINT64_C(0x65676170646f6f67)     /* "goodpage" */

enum control_pattern { PATTERN_IDLE, PATTERN_SEQUENTIAL, PATTERN_RANDOM, PATTERN_HOT };
enum control_write { WRITE_WORD, WRITE_LINE, WRITE_PAGE };
enum control_fill { FILL_ZERO, FILL_RANDOM, FILL_TEXT };

#define CONTROL_NODE_OWN UINT32_MAX

/* What `workload` sets.  All vCPUs read it; numon replaces it whole under control_head.sequence. */
struct control_parameters {
    uint32_t pattern, write, fill;      /* the enums above */
    uint32_t node;                      /* whose memory to write; CONTROL_NODE_OWN: each its own */
    uint64_t rate;                      /* pages per second and vCPU; 0: unlimited */
    uint64_t size;                      /* bytes per vCPU, cut to the area's capacity */
    uint64_t interval_ms;               /* between ticks */
};

enum { CONTROL_FLAG_NAP = 1, CONTROL_FLAG_DIRECT = 2, CONTROL_FLAG_PARAMETERS = 4 };

enum control_stage { STAGE_OFF, STAGE_STARTING, STAGE_RUNNING, STAGE_PANIC };

/* Word sized members only, so that both sides see whole values. */
struct control_head {
    /* In the image as built. */
    uint64_t magic;                     /* CONTROL_MAGIC */
    uint64_t version;
    /* How numon starts the other CPUs directly, in user mode with paging on: see boot.h. */
    uint64_t ap_entry;                  /* rip; rdi = CPU index */
    uint64_t page_table;                /* cr3 */
    uint64_t gdt, gdt_limit, idt, idt_limit;
    uint64_t tss_first, tss_stride, tss_limit;      /* CPU n: tss_first + n * tss_stride; selector the same way */
    uint64_t tss_selector_first;        /* + 16 n */
    uint64_t user_code, user_data;      /* selectors, RPL 3 */
    uint64_t stack_first, stack_stride; /* CPU n's user stack top: stack_first + (n + 1) * stack_stride */
    /* By numon before the start; zero elsewhere. */
    uint64_t flags;                     /* CONTROL_FLAG_ */
    uint64_t tsc_khz;                   /* 0: the guest takes tsc_khz= or measures */
    /* By numon at any time: sequence odd while it writes. */
    uint64_t sequence;
    struct control_parameters parameters;
    /* By the guest. */
    uint64_t stage;                     /* enum control_stage */
    uint64_t panic;                     /* vector or reason, with STAGE_PANIC */
    uint64_t cpu_count, node_count;     /* CPUs with those that may come later: what pages and areas there are */
    uint64_t ticks;                     /* serial lines "tick N pages TOTAL" printed */
    /* In the image as built: 1 if this guest answers struct control_probe. */
    uint64_t probes;
};

struct control_node {
    uint64_t base, size;                /* its free range; size 0: no memory */
    uint64_t cpus;                      /* how many CPUs it has, with those that may come later */
    uint64_t reserved;
};

/* How near memory is to a CPU: its own measurement. */
struct control_nearness {
    uint64_t access_ps;                 /* picoseconds for one load, each waiting for the one before it */
    uint64_t bandwidth;                 /* bytes a second, read in order */
};

/* numon asks one CPU, the CPU answers.  A request is there while 'request' differs from 'answer'. */
struct control_probe {
    /* By numon, 'request' last. */
    uint64_t bytes;                     /* read this much of each node: see control_probe_range */
    uint64_t budget_us;                 /* for each node, half for either measurement */
    uint64_t request;                   /* counts */
    /* By the CPU, 'answer' last. */
    uint64_t answer;
    struct control_nearness near[CONTROL_NODES];        /* by node; zeros: the node has no memory that can be read */
};

struct control_cpu {
    uint64_t apic_id;
    uint64_t node;                      /* its node; 0 without NUMA */
    uint64_t rank;                      /* its place among the node's CPUs */
    uint64_t online;
    uint64_t announced;                 /* page number + 1 of the page being written; 0: none */
    uint64_t pages_written;             /* copy of the register's total, for people; the register is the witness */
    uint64_t mismatches;                /* pages that were not what the table said */
    uint64_t bad_page, bad_found, bad_expected;     /* first mismatch: page number, generation found, expected */
    uint64_t target_node;               /* where it writes now */
    uint64_t random;                    /* generator state */
    uint64_t position;                  /* sequential pattern */
    uint64_t gap;                       /* longest time between two turns of its loop since numon made it 0; in ticks
                                         * of 1/tsc_khz ms, as below */
    uint64_t writing;                   /* time spent with writing pages */
    uint64_t turn;                      /* of the synthetic accelerator: host's clock at the last batch of writes */
    uint64_t used[CONTROL_NODES];       /* by node: pages of its area that may have been written, from 0 */
    struct control_probe probe;
};

#ifdef __cplusplus
# error "C only"
#endif
_Static_assert(sizeof(struct control_head) <= CONTROL_PAGE, "head fits a page");
_Static_assert(sizeof(struct control_node) * CONTROL_NODES <= CONTROL_NODES_PAGES * CONTROL_PAGE, "nodes fit");
_Static_assert(sizeof(struct control_cpu) <= CONTROL_PAGE, "one CPU fits a page");
_Static_assert(CONTROL_CPUS_GPA + CONTROL_CPUS * CONTROL_PAGE < CONTROL_FREE, "control pages end below the areas");

/* --- areas ------------------------------------------------------------------------------------------------------ */

struct control_area {
    uint64_t table;                     /* guest physical address of the expected generations */
    uint64_t pages;                     /* guest physical address of the first page */
    uint64_t capacity;                  /* pages; 0: this pair has no area */
};

/* The area of CPU 'cpu' (its node 'own', its rank there) in node 'node'. */
static inline struct control_area
control_area(const struct control_node *nodes, uint64_t cpu_count, uint64_t cpu, uint64_t own, uint64_t rank,
             uint64_t node)
{
    const struct control_node *n = &nodes[node];
    uint64_t half = n->size / 2 / CONTROL_PAGE * CONTROL_PAGE;
    uint64_t start, share, unit;
    struct control_area area = { 0, 0, 0 };

    if (half == 0)
        return area;
    share = node == own ? half / (n->cpus ? n->cpus : 1) : half / cpu_count;
    share = share / CONTROL_PAGE * CONTROL_PAGE;
    start = node == own ? n->base + rank * share : n->base + half + cpu * share;
    /* 512 table entries fill one page, so 513 pages carry 512. */
    unit = share / CONTROL_PAGE;
    area.capacity = unit * 512 / 513;
    if (area.capacity == 0)
        return area;
    area.table = start;
    area.pages = start + (area.capacity * 8 + CONTROL_PAGE - 1) / CONTROL_PAGE * CONTROL_PAGE;
    while (area.pages + area.capacity * CONTROL_PAGE > start + share)
        area.capacity--;
    return area;
}

/* The node a CPU writes to: as asked, else its own, else (no memory there) the first that has memory. */
static inline uint64_t
control_target(const struct control_node *nodes, uint64_t node_count, uint64_t own, uint32_t wanted)
{
    uint64_t n = wanted == CONTROL_NODE_OWN || wanted >= node_count ? own : wanted;

    if (nodes[n].size)
        return n;
    for (n = 0; n < node_count; n++)
        if (nodes[n].size)
            return n;
    return 0;
}

/* --- one page --------------------------------------------------------------------------------------------------- */

enum { CONTROL_WORDS = CONTROL_PAGE / 8, CONTROL_HEAD_WORDS = 4 };
enum { WORD_NUMBER, WORD_GENERATION, WORD_CHECKSUM, WORD_MAGIC };

static inline uint64_t
control_random(uint64_t *state)         /* xorshift64*; state never 0 */
{
    uint64_t x = *state;

    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    *state = x;
    return x * UINT64_C(0x2545f4914f6cdd1d);
}

/* Word i of a page with this fill: a pure function, so that a page can be rebuilt. */
static inline uint64_t
control_fill_word(uint32_t fill, uint64_t number, uint64_t generation, uint64_t i)
{
    uint64_t x = number * UINT64_C(0x9e3779b97f4a7c15) + generation * UINT64_C(0xbf58476d1ce4e5b9) + i;

    if (fill == FILL_ZERO)
        return 0;
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    x ^= x >> 31;
    if (fill == FILL_RANDOM)
        return x | 1;
    /* Text: eight lower-case letters from a small alphabet, the last one a blank now and then. */
    x = (x & UINT64_C(0x0707070707070707)) + UINT64_C(0x6161616161616161);
    return i % 3 ? x : (x & UINT64_C(0x00ffffffffffffff)) | UINT64_C(0x2000000000000000);
}

static inline uint64_t
control_checksum(const uint64_t *page)
{
    uint64_t sum = 0;

    for (uint64_t i = 0; i < CONTROL_WORDS; i++)
        if (i != WORD_CHECKSUM)
            sum += page[i] * (2 * i + 1);
    return sum;
}

static inline void
control_put(uint64_t *page, uint64_t i, uint64_t word)
{
    page[WORD_CHECKSUM] += (word - page[i]) * (2 * i + 1);
    page[i] = word;
}

#define CONTROL_BARRIER() __asm__ volatile("" ::: "memory")

/* First half of a write: announces page 'number', compares it with the table, changes page and table.  After it the
 * vCPU counts up its total, then calls control_withdraw. */
static inline void
control_change_page(struct control_cpu *cpu, uint64_t *entry, uint64_t *page, uint64_t number, uint32_t write,
                    uint32_t fill)
{
    uint64_t expected = *entry, generation = expected + 1, first, count;
    int whole = expected == 0 || write == WRITE_PAGE;
    int bad;

    cpu->announced = number + 1;
    CONTROL_BARRIER();
    if (expected == 0)
        bad = page[WORD_GENERATION] != 0 || page[WORD_NUMBER] != 0;
    else
        bad = page[WORD_GENERATION] != expected || page[WORD_NUMBER] != number ||
              page[WORD_MAGIC] != CONTROL_PAGE_MAGIC || (whole && page[WORD_CHECKSUM] != control_checksum(page));
    if (bad && cpu->mismatches++ == 0) {
        cpu->bad_page = number;
        cpu->bad_found = page[WORD_GENERATION];
        cpu->bad_expected = expected;
    }
    if (whole) {
        for (uint64_t i = CONTROL_HEAD_WORDS; i < CONTROL_WORDS; i++)
            page[i] = control_fill_word(fill, number, generation, i);
        page[WORD_NUMBER] = number;
        page[WORD_GENERATION] = generation;
        page[WORD_MAGIC] = CONTROL_PAGE_MAGIC;
        page[WORD_CHECKSUM] = control_checksum(page);
    } else {
        count = write == WRITE_LINE ? 8 : 1;
        first = write == WRITE_LINE ? 8 + generation % 63 * 8 : CONTROL_HEAD_WORDS + generation % 508;
        for (uint64_t i = first; i < first + count; i++)
            control_put(page, i, control_fill_word(fill, number, generation, i));
        control_put(page, WORD_GENERATION, generation);
    }
    CONTROL_BARRIER();
    *entry = generation;
    CONTROL_BARRIER();
}

/* Second half: 'total' is the vCPU's count of writes, this one included. */
static inline void
control_withdraw(struct control_cpu *cpu, uint64_t total)
{
    cpu->pages_written = total;
    CONTROL_BARRIER();
    cpu->announced = 0;
}

/* Writes page 'number' once and returns the new total.  For a caller that can only be stopped between two calls; the
 * guest, which can be stopped at any instruction, counts its register up between the two halves itself. */
static inline uint64_t
control_write_page(struct control_cpu *cpu, uint64_t *entry, uint64_t *page, uint64_t number, uint32_t write,
                   uint32_t fill, uint64_t registers_total)
{
    control_change_page(cpu, entry, page, number, write, fill);
    control_withdraw(cpu, ++registers_total);
    return registers_total;
}

/* The next page of the pattern, below 'count' (not 0). */
static inline uint64_t
control_next(struct control_cpu *cpu, uint32_t pattern, uint64_t count)
{
    uint64_t r;

    if (pattern == PATTERN_SEQUENTIAL)
        return cpu->position++ % count;
    r = control_random(&cpu->random);
    if (pattern == PATTERN_HOT && r >> 60 != 0 && count >= 10)
        return (r >> 8 & 0xffffffff) % (count / 10);        /* 15 of 16 writes go to a tenth */
    return (r >> 8 & 0xffffffff) % count;
}

/* --- how near memory is ----------------------------------------------------------------------------------------- */

enum { CONTROL_LINE = 64 };

/* What is read of a node: the end of its free range, where the workload writes last.  Nothing is written.  Returns
 * the guest physical address, and in '*bytes' how much of what was asked for there is, whole pages. */
static inline uint64_t
control_probe_range(const struct control_node *node, uint64_t *bytes)
{
    if (*bytes > node->size)
        *bytes = node->size;
    *bytes -= *bytes % CONTROL_PAGE;
    return node->base + node->size - *bytes;
}

/* Loads 'count' words from lines of the buffer in a random order ('lines', below 2^32).  Each address depends on what
 * the load before gave, so that no two are under way at once: the loaded word is made 0 in a way that neither
 * compiler nor processor sees through, then added.  Returns the next 'state'. */
static inline uint64_t
control_probe_walk(const void *buffer, uint64_t lines, uint64_t count, uint64_t state)
{
    uint64_t zero = 0, word;

    for (; count; count--) {
        const char *line = (const char *)buffer + ((state >> 32) * lines >> 32) * CONTROL_LINE;

        __asm__ volatile("movq (%1), %0\n\tandq %2, %0" : "=&r"(word) : "r"(line), "r"(zero) : "cc", "memory");
        state = (state + word) * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    }
    return state;
}

/* Loads every word of 'bytes' (whole lines) in order. */
static inline void
control_probe_stream(const void *from, uint64_t bytes)
{
    uint64_t word;

    for (const char *line = from, *end = line + bytes; line < end; line += CONTROL_LINE)
        __asm__ volatile("movq (%1), %0\n\tmovq 8(%1), %0\n\tmovq 16(%1), %0\n\tmovq 24(%1), %0\n\t"
                         "movq 32(%1), %0\n\tmovq 40(%1), %0\n\tmovq 48(%1), %0\n\tmovq 56(%1), %0"
                         : "=&r"(word) : "r"(line) : "memory");
}

#endif
