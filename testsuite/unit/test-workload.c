/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Parameters, the layout of areas, and that the verifier finds every loss that is planted. */
#include "workload.h"

#include <string.h>

enum { CPUS = 3, NODES = 2, PAGES = 16, WRITES = 200 };

struct guest {
    struct guest_map *map;
    struct block *block;
    uint64_t totals[CPUS];
};

static void
add_node(struct guest *g, uint64_t gpa, uint64_t size, int node)
{
    guest_map_add(g->map, &(struct section) { gpa, size, g->block, gpa, node });
}

static struct control_cpu *
cpu_page(struct guest *g, unsigned cpu)
{
    return guest_map_host(g->map, CONTROL_CPUS_GPA + cpu * CONTROL_PAGE, CONTROL_PAGE);
}

static struct control_head *
head_page(struct guest *g)
{
    return guest_map_host(g->map, CONTROL_GPA, CONTROL_PAGE);
}

/* Node 0: 0 to 10 MiB with CPUs 0 and 1; node 1: 10 to 16 MiB with CPU 2. */
static void
guest_init(struct guest *g)
{
    static const int cpu_node[CPUS] = { 0, 0, 1 };
    struct backend_options o;

    *g = (struct guest) { .map = guest_map_new() };
    backend_options_init_default(&o, "ram", 16 * MIB);
    g->block = block_new(&o, NULL);
    g_assert_nonnull(g->block);
    guest_map_take_block(g->map, g->block);
    add_node(g, 0, 10 * MIB, 0);
    add_node(g, 10 * MIB, 6 * MIB, 1);
    g_assert_false(workload_present(g->map));
    g_assert_true(workload_lay_out(g->map, cpu_node, CPUS, NODES, NULL));
    g_assert_true(workload_present(g->map));
    head_page(g)->stage = STAGE_RUNNING;
}

static void
guest_release(struct guest *g)
{
    guest_map_free(g->map);
}

static struct control_area
area_of(struct guest *g, unsigned cpu, unsigned node)
{
    struct control_area area;

    g_assert_true(workload_area(g->map, cpu, node, &area));
    return area;
}

static uint64_t *
entry_of(struct guest *g, unsigned cpu, unsigned node, uint64_t i)
{
    return guest_map_host(g->map, area_of(g, cpu, node).table + i * 8, 8);
}

static uint64_t *
page_of(struct guest *g, unsigned cpu, unsigned node, uint64_t i)
{
    return guest_map_host(g->map, area_of(g, cpu, node).pages + i * CONTROL_PAGE, CONTROL_PAGE);
}

static void
write_one(struct guest *g, unsigned cpu, unsigned node, uint64_t i, uint32_t write)
{
    g->totals[cpu] = control_write_page(cpu_page(g, cpu), entry_of(g, cpu, node, i), page_of(g, cpu, node, i),
                                        area_of(g, cpu, node).pages / CONTROL_PAGE + i, write, FILL_RANDOM,
                                        g->totals[cpu]);
}

/* Every CPU writes pages in every node, each page several times, the last page never. */
static void
guest_work(struct guest *g)
{
    uint64_t random = 88172645463325252;

    for (unsigned cpu = 0; cpu < CPUS; cpu++) {
        for (unsigned node = 0; node < NODES; node++) {
            cpu_page(g, cpu)->used[node] = PAGES;
            for (unsigned i = 0; i < WRITES; i++)
                write_one(g, cpu, node, control_random(&random) % (PAGES - 1), i % 3);
        }
    }
}

static void
verify(struct guest *g, struct workload_verdict *ret)
{
    g_assert_true(workload_verify(g->map, g->totals, CPUS, NULL, ret, NULL));
}

static void
expect_whole(struct guest *g, uint64_t in_flight)
{
    struct workload_verdict v;

    verify(g, &v);
    g_assert_cmpstr(v.text, ==, NULL);
    g_assert_cmpuint(v.lost, ==, 0);
    g_assert_cmpuint(v.pages, ==, CPUS * NODES * PAGES);
    g_assert_cmpuint(v.in_flight, ==, in_flight);
}

static void
expect_lost(struct guest *g, uint64_t lost, const char *text)
{
    struct workload_verdict v;

    verify(g, &v);
    g_assert_cmpuint(v.lost, ==, lost);
    g_assert_nonnull(v.text);
    if (!strstr(v.text, text))
        g_error("'%s' is not in '%s'", text, v.text);
    workload_verdict_release(&v);
}

/* --- parameters ------------------------------------------------------------------------------------------------- */

static bool
read_text(struct control_parameters *p, const char *text)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(values) v = property_parse_pairs(workload_properties, text, &error);

    return v && workload_parameters_read(p, v, &error);
}

static void
parameters_are_read_and_written(void)
{
    struct control_parameters p, again;
    g_autofree char *all = NULL, *changed = NULL, *none = NULL;

    workload_parameters_init(&p);
    none = workload_parameters_format(&p, true);
    g_assert_cmpstr(none, ==, "");
    g_assert_true(read_text(&p, "rate=20000 pattern=hot"));
    g_assert_true(read_text(&p, "size=8M node=1"));
    changed = workload_parameters_format(&p, true);
    g_assert_cmpstr(changed, ==, "pattern=hot rate=20000 size=8M node=1");
    all = workload_parameters_format(&p, false);
    g_assert_cmpstr(all, ==, "pattern=hot rate=20000 size=8M write=word fill=random node=1 interval=250");
    workload_parameters_init(&again);
    g_assert_true(read_text(&again, all));
    g_assert_cmpmem(&p, sizeof p, &again, sizeof again);
    g_assert_true(read_text(&p, "rate=unlimited node=own"));
    g_assert_cmpuint(p.rate, ==, 0);
    g_assert_cmpuint(p.node, ==, CONTROL_NODE_OWN);
    g_assert_cmpuint(p.size, ==, 8 * MIB);
}

static void
wrong_parameters_are_refused(void)
{
    static const char *const wrong[] = {
        "rate=0", "rate=fast", "rate=-1", "node=128", "node=none", "size=0", "size=5", "interval=0", "pattern=x",
        "write=x", "fill=x", "speed=1",
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(wrong); i++) {
        struct control_parameters p;

        g_assert_false(read_text(&p, wrong[i]));
    }
}

static void
parameters_are_applied_under_the_sequence(void)
{
    struct guest g;
    struct control_parameters p, now;
    struct hub *hub;
    struct subscriber *s;

    guest_init(&g);
    hub = hub_new(g.map, (struct dirty_source) { 0 });
    s = hub_subscribe(hub, "test", NULL);
    workload_parameters_init(&p);
    g_assert_true(read_text(&p, "pattern=random rate=5 write=page fill=text node=1 interval=20"));
    g_assert_true(workload_apply(g.map, hub, &p, NULL));
    g_assert_cmpuint(head_page(&g)->sequence, ==, 2);
    g_assert_true(bit_test((uint64_t *)subscriber_words(s, g.block), CONTROL_GPA / PAGE_SIZE));
    g_assert_true(workload_parameters_current(g.map, &now, NULL));
    g_assert_cmpmem(&p, sizeof p, &now, sizeof now);
    head_page(&g)->sequence = 7;            /* left odd: the next change heals it */
    g_assert_true(workload_apply(g.map, NULL, &p, NULL));
    g_assert_cmpuint(head_page(&g)->sequence, ==, 8);
    hub_free(hub);
    guest_release(&g);
}

/* --- layout ----------------------------------------------------------------------------------------------------- */

static void
areas_never_overlap(void)
{
    struct guest g;
    uint8_t *owner;

    guest_init(&g);
    owner = g_malloc0(16 * MIB / PAGE_SIZE);
    for (unsigned i = 0; i < CPUS * NODES; i++) {
        struct control_area a = area_of(&g, i / NODES, i % NODES);

        g_assert_cmpuint(a.capacity, >, 100);
        for (uint64_t gpa = a.table; gpa < a.pages + a.capacity * PAGE_SIZE; gpa += PAGE_SIZE) {
            g_assert_cmpuint(gpa, >=, CONTROL_FREE);
            g_assert_cmpint(guest_map_find(g.map, gpa)->node, ==, i % NODES);
            g_assert_cmpuint(owner[gpa / PAGE_SIZE], ==, 0);
            owner[gpa / PAGE_SIZE] = 1;
        }
    }
    g_free(owner);
    guest_release(&g);
}

static void
status_tells_of_cpus(void)
{
    struct guest g;
    struct workload_status s;
    g_autoptr(GError) error = NULL;

    guest_init(&g);
    guest_work(&g);
    g_assert_true(workload_status(g.map, &s, NULL));
    g_assert_cmpuint(s.stage, ==, STAGE_RUNNING);
    g_assert_cmpuint(s.cpu_count, ==, CPUS);
    g_assert_cmpuint(s.cpus[2].node, ==, 1);
    g_assert_cmpuint(s.cpus[2].pages_written, ==, WRITES * NODES);
    head_page(&g)->magic++;
    g_assert_false(workload_status(g.map, &s, &error));
    g_assert_error(error, NUMON_ERROR, NUMON_ERROR_STATE);
    guest_release(&g);
}

/* --- the verifier ----------------------------------------------------------------------------------------------- */

static void
whole_guest_is_whole(void)
{
    struct guest g;

    guest_init(&g);
    guest_work(&g);
    expect_whole(&g, 0);
    guest_release(&g);
}

/* Each plants one loss in a guest that was whole; the second half takes it back, so that the next finds it whole. */
static void
every_planted_loss_is_found(void)
{
    struct guest g;
    uint64_t *page, *other, keep[CONTROL_WORDS];

    guest_init(&g);
    guest_work(&g);
    page = page_of(&g, 1, 0, 3);
    other = page_of(&g, 1, 0, 4);

    memcpy(keep, page, sizeof keep);
    write_one(&g, 1, 0, 3, WRITE_WORD);
    memcpy(page, keep, sizeof keep);
    expect_lost(&g, 1, "generation");       /* an old copy of the page */
    ++*entry_of(&g, 1, 0, 3);
    expect_lost(&g, 2, "expected");
    *entry_of(&g, 1, 0, 3) -= 2;
    g.totals[1]--;
    expect_whole(&g, 0);

    --*entry_of(&g, 2, 1, 5);               /* an old copy of the table, and one of both */
    expect_lost(&g, 2, "CPU 2, node 1: generation");
    --page_of(&g, 2, 1, 5)[WORD_GENERATION];
    page_of(&g, 2, 1, 5)[WORD_CHECKSUM] -= 2 * WORD_GENERATION + 1;
    expect_lost(&g, 1, "by its register");
    ++*entry_of(&g, 2, 1, 5);
    control_put(page_of(&g, 2, 1, 5), WORD_GENERATION, *entry_of(&g, 2, 1, 5));
    expect_whole(&g, 0);

    memset(page, 0, PAGE_SIZE);             /* a page that never came */
    expect_lost(&g, 1, "generation 0 found");
    memcpy(page, keep, sizeof keep);

    memcpy(page, other, PAGE_SIZE);         /* a page in another's place: the generations may even agree */
    *entry_of(&g, 1, 0, 3) = *entry_of(&g, 1, 0, 4);
    g.totals[1] += page[WORD_GENERATION] - keep[WORD_GENERATION];
    expect_lost(&g, 1, "found in its place");
    *entry_of(&g, 1, 0, 3) = keep[WORD_GENERATION];
    g.totals[1] += keep[WORD_GENERATION] - page[WORD_GENERATION];
    memcpy(page, keep, sizeof keep);

    for (unsigned i = 0; i < CONTROL_WORDS * 64; i += 61) {
        page[i / 64] ^= UINT64_C(1) << i % 64;
        expect_lost(&g, 1, "of CPU 1, node 0");
        page[i / 64] ^= UINT64_C(1) << i % 64;
    }

    page_of(&g, 0, 1, PAGES - 1)[100] = 1;  /* a page that nobody wrote */
    expect_lost(&g, 1, "never written");
    page_of(&g, 0, 1, PAGES - 1)[100] = 0;

    g.totals[0]++;
    expect_lost(&g, 1, "CPU 0: its pages");
    g.totals[0]--;
    cpu_page(&g, 2)->used[0] = 0;           /* an old copy of the control page */
    expect_lost(&g, 1, "CPU 2: its pages");
    cpu_page(&g, 2)->used[0] = PAGES;
    head_page(&g)->cpu_count--;
    expect_lost(&g, 1, "tells of 2 CPU slots");
    head_page(&g)->cpu_count++;
    expect_whole(&g, 0);
    guest_release(&g);
}

static void
guest_that_wrote_on_did_not_hide_it(void)
{
    struct guest g;
    uint64_t *page, keep[CONTROL_WORDS];

    guest_init(&g);
    guest_work(&g);
    page = page_of(&g, 0, 1, 3);
    memcpy(keep, page, sizeof keep);
    write_one(&g, 0, 1, 3, WRITE_WORD);
    memcpy(page, keep, sizeof keep);
    write_one(&g, 0, 1, 3, WRITE_PAGE);
    expect_lost(&g, 1, "CPU 0, node 1: generation");
    guest_release(&g);
}

/* Every moment at which a vCPU can be stopped in a write is tolerated for the announced page and for no other. */
static void
write_in_flight_is_tolerated_once(void)
{
    struct guest g;
    uint64_t *page;

    guest_init(&g);
    guest_work(&g);
    page = page_of(&g, 1, 1, 2);
    cpu_page(&g, 1)->announced = area_of(&g, 1, 1).pages / CONTROL_PAGE + 2 + 1;
    expect_whole(&g, 1);                            /* announced only */
    page[77] ^= 1;
    expect_whole(&g, 1);                            /* half written */
    page[77] ^= 1;
    control_put(page, WORD_GENERATION, page[WORD_GENERATION] + 1);
    expect_whole(&g, 1);                            /* page before its table */
    ++*entry_of(&g, 1, 1, 2);
    expect_whole(&g, 1);                            /* table before the total */
    g.totals[1]++;
    expect_whole(&g, 1);                            /* not yet withdrawn */
    g.totals[1]++;
    expect_lost(&g, 1, "by its register");
    g.totals[1]--;
    page[WORD_GENERATION] += 2;
    expect_lost(&g, 1, "while it is written");
    page[WORD_GENERATION] -= 4;
    expect_lost(&g, 1, "while it is written");
    page[WORD_GENERATION] += 2;
    page[WORD_NUMBER]++;
    expect_lost(&g, 1, "another page's");
    page[WORD_NUMBER]--;
    cpu_page(&g, 1)->announced++;
    page[77] ^= 1;
    expect_lost(&g, 1, "checksum");
    guest_release(&g);
}

/* A guest can write anything into its control pages: no crash, no endless loop, never whole. */
static void
hostile_control_pages_do_no_harm(void)
{
    static const uint64_t values[] = {
        0, 1, 2, 3, 127, 128, 4095, 4096, UINT64_C(1) << 32, UINT64_C(1) << 52, UINT64_C(1) << 63, UINT64_MAX,
        UINT64_MAX - 4095, UINT64_MAX / 2, CONTROL_FREE, 16 * MIB - 4096,
    };
    uint64_t random = 99;

    for (unsigned round = 0; round < 400; round++) {
        struct workload_verdict v = { 0 };
        struct workload_status s;
        struct guest g;

        guest_init(&g);
        guest_work(&g);
        for (unsigned i = 0; i < 1 + round % 5; i++) {
            uint64_t gpa = CONTROL_GPA + control_random(&random) % (2 + CPUS) * CONTROL_PAGE;
            uint64_t *word = guest_map_host(g.map, gpa + control_random(&random) % 40 * 8, 8);

            *word = values[control_random(&random) % G_N_ELEMENTS(values)];
        }
        if (workload_verify(g.map, g.totals, CPUS, NULL, &v, NULL))
            workload_verdict_release(&v);
        (void)workload_status(g.map, &s, NULL);
        guest_release(&g);
    }
}

/* Every node's range is all of RAM: the areas lie over each other, and verifying them must not take for ever. */
static void
overlapping_areas_are_verified_once(void)
{
    struct workload_verdict v;
    struct control_node *nodes;
    struct guest g;

    guest_init(&g);
    nodes = guest_map_host(g.map, CONTROL_NODES_GPA, CONTROL_PAGE);
    for (unsigned n = 0; n < CONTROL_NODES; n++)
        nodes[n] = (struct control_node) { .base = CONTROL_FREE, .size = 4 * MIB, .cpus = 1 };
    for (unsigned cpu = 0; cpu < CPUS; cpu++) {
        for (unsigned n = 0; n < CONTROL_NODES; n++)
            cpu_page(&g, cpu)->used[n] = 100;
    }
    verify(&g, &v);
    g_assert_cmpuint(v.pages, <=, 16 * MIB / PAGE_SIZE);
    g_assert_cmpuint(v.lost, >, 0);
    g_assert_nonnull(strstr(v.text, "its area lies where others do"));
    workload_verdict_release(&v);
    guest_release(&g);
}

static void
verify_without_a_guest_is_refused(void)
{
    struct guest g;
    struct workload_verdict v;
    g_autoptr(GError) error = NULL;

    guest_init(&g);
    head_page(&g)->magic = 0;
    g_assert_false(workload_verify(g.map, g.totals, CPUS, NULL, &v, &error));
    g_assert_error(error, NUMON_ERROR, NUMON_ERROR_STATE);
    guest_release(&g);
}

int
main(int argc, char **argv)
{
    main_thread_claim();
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/workload/parameters-are-read-and-written", parameters_are_read_and_written);
    g_test_add_func("/workload/wrong-parameters-are-refused", wrong_parameters_are_refused);
    g_test_add_func("/workload/parameters-are-applied", parameters_are_applied_under_the_sequence);
    g_test_add_func("/workload/areas-never-overlap", areas_never_overlap);
    g_test_add_func("/workload/status-tells-of-cpus", status_tells_of_cpus);
    g_test_add_func("/workload/whole-guest-is-whole", whole_guest_is_whole);
    g_test_add_func("/workload/every-planted-loss-is-found", every_planted_loss_is_found);
    g_test_add_func("/workload/writing-on-hides-nothing", guest_that_wrote_on_did_not_hide_it);
    g_test_add_func("/workload/write-in-flight-is-tolerated-once", write_in_flight_is_tolerated_once);
    g_test_add_func("/workload/hostile-control-pages-do-no-harm", hostile_control_pages_do_no_harm);
    g_test_add_func("/workload/overlapping-areas-are-verified-once", overlapping_areas_are_verified_once);
    g_test_add_func("/workload/verify-without-a-guest-is-refused", verify_without_a_guest_is_refused);
    return g_test_run();
}
