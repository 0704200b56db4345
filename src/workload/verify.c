/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The proof that nothing was lost.
 *
 * Three accounts of the same writes must agree: the pages (number, generation, checksum, magic), the table of
 * expected generations that lies apart from them, and each vCPU's total, which is not in RAM at all.  A page that
 * came late disagrees with its table; a table that came late too disagrees with the total; what the guest itself
 * found amiss before it wrote on is in its count of mismatches.
 *
 * A vCPU stopped in the middle of a write has announced its page.  That one page may be half written, its table entry
 * one step behind it, and the table's sum one step ahead of the total; nothing else may differ.
 *
 * Guest memory may hold anything: counts are bounded, addresses go through the map, and no more pages are looked at
 * than there are, although control pages may place areas over each other. */
#include "workload.h"

#include "workload-private.h"

enum { PAGES_PER_LOOK = 1024 };             /* between looks at job_cancelled */

struct check {
    /* Fixed. */
    const struct guest_map *map;
    struct job *job;                        /* may be NULL */
    bool running;                           /* the guest says that it has started all CPUs */
    uint64_t ram_pages;

    /* Of the CPU in hand. */
    unsigned cpu, node;
    uint64_t announced;                     /* page number + 1; 0: none */
    uint64_t sum;                           /* of its expected generations */

    struct workload_verdict verdict;
};

void
workload_verdict_release(struct workload_verdict *v)
{
    g_clear_pointer(&v->text, g_free);
}

/* Counts a loss; the first is told. */
static void G_GNUC_PRINTF(3, 4)
lose(struct check *c, uint64_t count, const char *format, ...)
{
    va_list args;

    c->verdict.lost = count > UINT64_MAX - c->verdict.lost ? UINT64_MAX : c->verdict.lost + count;
    if (c->verdict.text)
        return;
    va_start(args, format);
    c->verdict.text = g_strdup_vprintf(format, args);
    va_end(args);
}

#define PAGE_TEXT "page 0x%" G_GINT64_MODIFIER "x of CPU %u, node %u: "
#define U64 G_GUINT64_FORMAT

/* --- pages ------------------------------------------------------------------------------------------------------ */

/* The page that is just being written: at most one step from its table entry. */
static void
check_announced(struct check *c, const uint64_t *page, uint64_t number, uint64_t expected)
{
    uint64_t found = page[WORD_GENERATION];

    c->verdict.in_flight++;
    if (found != expected && found != expected + 1)
        lose(c, 1, PAGE_TEXT "generation %" U64 " found while it is written, %" U64 " expected", number * PAGE_SIZE,
             c->cpu, c->node, found, expected);
    else if (expected && (page[WORD_NUMBER] != number || page[WORD_MAGIC] != CONTROL_PAGE_MAGIC))
        lose(c, 1, PAGE_TEXT "another page's words found while it is written", number * PAGE_SIZE, c->cpu, c->node);
}

static void
check_written(struct check *c, const uint64_t *page, uint64_t number, uint64_t expected)
{
    uint64_t checksum = control_checksum(page);

    if (page[WORD_GENERATION] != expected)
        lose(c, 1, PAGE_TEXT "generation %" U64 " found, %" U64 " expected", number * PAGE_SIZE, c->cpu, c->node,
             page[WORD_GENERATION], expected);
    else if (page[WORD_NUMBER] != number)
        lose(c, 1, PAGE_TEXT "page 0x%" G_GINT64_MODIFIER "x found in its place", number * PAGE_SIZE, c->cpu, c->node,
             page[WORD_NUMBER] * PAGE_SIZE);
    else if (page[WORD_MAGIC] != CONTROL_PAGE_MAGIC || page[WORD_CHECKSUM] != checksum)
        lose(c, 1, PAGE_TEXT "checksum 0x%" G_GINT64_MODIFIER "x found, 0x%" G_GINT64_MODIFIER "x expected",
             number * PAGE_SIZE, c->cpu, c->node, page[WORD_CHECKSUM], checksum);
}

static void
check_page(struct check *c, const uint64_t *page, uint64_t number, uint64_t expected)
{
    c->verdict.pages++;
    c->sum += expected;
    if (number + 1 == c->announced)
        check_announced(c, page, number, expected);
    else if (expected)
        check_written(c, page, number, expected);
    else if (!page_is_zero((const uint8_t *)page))
        lose(c, 1, PAGE_TEXT "generation %" U64 " found, never written", number * PAGE_SIZE, c->cpu, c->node,
             page[WORD_GENERATION]);
}

/* The pages of one (CPU, node) pair that may have been written.  False if the job was cancelled. */
static bool
check_area(struct check *c, const struct control_area *area, uint64_t used)
{
    const uint64_t *table = guest_map_host(c->map, area->table, used * sizeof(uint64_t));
    const uint8_t *pages = guest_map_host(c->map, area->pages, used * CONTROL_PAGE);

    g_assert(table && pages);               /* workload_area has looked */
    for (uint64_t i = 0; i < used; i++) {
        if (i % PAGES_PER_LOOK == 0 && c->job && job_cancelled(c->job))
            return false;
        check_page(c, (const uint64_t *)(pages + i * CONTROL_PAGE), area->pages / CONTROL_PAGE + i, table[i]);
    }
    return true;
}

/* --- CPUs ------------------------------------------------------------------------------------------------------- */

static bool
check_areas(struct check *c, const struct control_cpu *cpu)
{
    for (c->node = 0; c->node < CONTROL_NODES; c->node++) {
        uint64_t used = cpu->used[c->node];
        struct control_area area;

        if (used == 0)
            continue;
        if (!workload_area(c->map, c->cpu, c->node, &area) || used > area.capacity)
            lose(c, 1, "CPU %u, node %u: %" U64 " pages used, more than there are", c->cpu, c->node, used);
        else if (used > c->ram_pages - MIN(c->verdict.pages, c->ram_pages))
            lose(c, 1, "CPU %u, node %u: its area lies where others do", c->cpu, c->node);
        else if (!check_area(c, &area, used))
            return false;
    }
    return true;
}

static void
check_total(struct check *c, uint64_t total)
{
    if (c->sum == total || (c->announced && c->sum == total + 1))
        return;
    lose(c, 1, "CPU %u: its pages were written %" U64 " times by the table, %" U64 " times by its register", c->cpu,
         c->sum, total);
}

/* What the guest itself found before it wrote on. */
static void
add_mismatches(struct check *c, const struct control_cpu *cpu)
{
    const struct section *s = guest_map_find(c->map, cpu->bad_page * PAGE_SIZE);

    if (cpu->mismatches)
        lose(c, cpu->mismatches, PAGE_TEXT "generation %" U64 " found, %" U64 " expected, by the guest itself",
             cpu->bad_page * PAGE_SIZE, c->cpu, s && s->node > 0 ? (unsigned)s->node : 0, cpu->bad_found,
             cpu->bad_expected);
}

/* False if the job was cancelled. */
static bool
check_cpu(struct check *c, unsigned index, uint64_t total)
{
    const struct control_cpu *cpu = workload_cpu(c->map, index);

    if (cpu && !c->running && !cpu->online && total == 0)
        return true;                        /* it has not begun */
    c->cpu = index;
    c->sum = 0;
    if (!cpu) {
        lose(c, 1, "CPU %u: its control page is not RAM", index);
        return true;
    }
    c->announced = cpu->announced;
    if (!check_areas(c, cpu))
        return false;
    check_total(c, total);
    add_mismatches(c, cpu);
    return true;
}

/* --- all -------------------------------------------------------------------------------------------------------- */

/* Does the head know the CPUs?  While the guest starts it need not, as long as none has written. */
static bool
check_head(struct check *c, const struct control_head *head, const uint64_t *totals, unsigned cpu_slots)
{
    bool written = head->stage == STAGE_RUNNING;

    c->running = head->stage == STAGE_RUNNING;
    if (head->stage == STAGE_PANIC)
        lose(c, 1, "the guest panicked (%" U64 ")", head->panic);
    for (unsigned cpu = 0; cpu < cpu_slots; cpu++)
        written = written || totals[cpu];
    if (head->cpu_count == cpu_slots)
        return true;
    if (written)
        lose(c, 1, "the control page tells of %" U64 " CPU slots, the machine has %u", head->cpu_count, cpu_slots);
    return false;
}

bool
workload_verify(const struct guest_map *map, const uint64_t *totals, unsigned cpu_slots, struct job *job,
                struct workload_verdict *ret, GError **error)
{
    struct check c = { .map = map, .job = job, .ram_pages = guest_map_ram_bytes(map) / PAGE_SIZE };
    bool whole = true;

    if (!workload_present(map))
        return fail(error, NUMON_ERROR_STATE, "cannot verify: there is no workload guest in memory");
    if (check_head(&c, workload_head(map), totals, cpu_slots))
        for (unsigned cpu = 0; whole && cpu < cpu_slots; cpu++)
            whole = check_cpu(&c, cpu, totals[cpu]);
    if (!whole) {
        workload_verdict_release(&c.verdict);
        return fail(error, NUMON_ERROR_STATE, "cannot verify: it was cancelled");
    }
    *ret = c.verdict;
    return true;
}
