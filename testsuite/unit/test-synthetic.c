/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The synthetic guest end to end without a machine: two nodes, four CPUs, real threads, real memory.  It loses
 * nothing, marks every page it changes, keeps its rate, prints what the real guest prints, and goes on elsewhere. */
#include "accel.h"
#include "workload.h"

#include <string.h>

enum { CPUS = 4, RAM = 32 * 1024 * 1024, BUDGET_US = 20000000 };

static const int cpu_nodes[CPUS] = { 0, 0, 1, 1 };

struct guest {
    struct topology_final topology;
    struct guest_map *map;
    struct block *block;
    struct mailbox *mailbox;
    struct bus *bus;
    GString *printed;               /* by CPU 0; looked at while parked */
    struct accel *accel;
    struct hub *hub;
    struct run *run;
};

static void
take_byte(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    g_string_append_c(device, (char)value);
}

static const struct bus_ops printer_ops = { .write = take_byte };

static void
no_event(void *self, const struct run_event *e)
{
    g_error("vCPU %u: %s", e->cpu, e->text);
}

static void
make_memory(struct guest *g)
{
    struct backend_options o;

    backend_options_init_default(&o, "ram", RAM);
    g->block = block_new(&o, NULL);
    g_assert_nonnull(g->block);
    g->map = guest_map_new();
    guest_map_take_block(g->map, g->block);
    for (int node = 0; node < 2; node++)
        guest_map_add(g->map, &(struct section) { node * (RAM / 2), RAM / 2, g->block, node * (RAM / 2), node });
    g->topology = (struct topology_final) {
        .node_count = 2, .node_size = { RAM / 2, RAM / 2 }, .cpu_node = { 0, 0, 1, 1 }, .has_distances = true,
        .distance = { { 10, 21 }, { 21, 10 } },
    };
}

/* With the first 'cpus' of its CPUs. */
static void
guest_init_with(struct guest *g, unsigned cpus)
{
    struct accel_setup setup = { .cpu_slots = CPUS, .cpu_nodes = cpu_nodes, .node_count = 2 };

    *g = (struct guest) { .mailbox = mailbox_new(NULL), .bus = bus_new(), .printed = g_string_new(NULL) };
    make_memory(g);
    g_assert_true(bus_claim(g->bus, BUS_PORT, 0x3f8, 8, "printer", &printer_ops, g->printed, NULL));
    setup.map = g->map;
    setup.bus = g->bus;
    setup.mailbox = g->mailbox;
    setup.topology = &g->topology;
    bits_set(g->topology.present, 0, cpus);
    setup.cpus_present = g->topology.present;
    g->accel = accel_synthetic.create(&setup, NULL);
    g->hub = hub_new(g->map, accel_synthetic.dirty_source(g->accel));
    accel_synthetic.set_hub(g->accel, g->hub);
    g->run = run_new(&accel_synthetic, g->accel, CPUS, g->topology.present, g->mailbox, no_event, g);
}

static void
guest_init(struct guest *g)
{
    guest_init_with(g, CPUS);
}

static void
guest_release(struct guest *g)
{
    run_free(g->run);
    accel_synthetic.destroy(g->accel);
    hub_free(g->hub);
    bus_free(g->bus);
    guest_map_free(g->map);
    mailbox_free(g->mailbox);
    g_string_free(g->printed, TRUE);
}

static void
guest_set(struct guest *g, const char *text)
{
    struct control_parameters p;
    g_autoptr(values) v = property_parse_pairs(workload_properties, text, NULL);

    workload_parameters_init(&p);
    g_assert_true(v && workload_parameters_read(&p, v, NULL) && workload_apply(g->map, g->hub, &p, NULL));
}

static void
guest_load(struct guest *g, const char *parameters)
{
    g_assert_true(workload_lay_out(g->map, cpu_nodes, CPUS, 2, NULL));
    for (unsigned cpu = 0; cpu < CPUS; cpu++)
        g_assert_true(accel_synthetic.vcpu_reset(g->accel, cpu, NULL, NULL));
    guest_set(g, parameters);
}

static void
guest_go(struct guest *g)
{
    g_assert_true(run_release(g->run, STOP_USER, NULL));
}

static void
guest_stop(struct guest *g)
{
    run_hold(g->run, STOP_USER);
}

static uint64_t
pages_written(struct guest *g)
{
    struct workload_status s;
    uint64_t total = 0;

    g_assert_true(workload_status(g->map, &s, NULL));
    for (unsigned cpu = 0; cpu < CPUS; cpu++)
        total += s.cpus[cpu].pages_written;
    return total;
}

/* Has each CPU written since, and all together 'count' pages? */
static bool
has_written(struct guest *g, const struct workload_status *since, uint64_t begin, uint64_t count)
{
    struct workload_status now;

    g_assert_true(workload_status(g->map, &now, NULL));
    for (unsigned cpu = 0; cpu < CPUS; cpu++)
        if (topology_has_cpu(&g->topology, cpu) && now.cpus[cpu].pages_written == since->cpus[cpu].pages_written)
            return false;
    return pages_written(g) >= begin + count;
}

static void
guest_work(struct guest *g, uint64_t count)
{
    int64_t deadline = g_get_monotonic_time() + BUDGET_US;
    uint64_t begin = pages_written(g);
    struct workload_status since;

    g_assert_true(workload_status(g->map, &since, NULL));
    guest_go(g);
    while (!has_written(g, &since, begin, count)) {
        if (g_get_monotonic_time() > deadline)
            g_error("only %" G_GUINT64_FORMAT " pages", pages_written(g) - begin);
        g_usleep(500);
    }
    guest_stop(g);
}

static uint64_t
expect_whole(struct guest *g)
{
    struct workload_verdict v;
    uint64_t totals[CPUS];

    for (unsigned cpu = 0; cpu < CPUS; cpu++)
        g_assert_true(accel_synthetic.vcpu_witness(g->accel, cpu, &totals[cpu], NULL));
    g_assert_true(workload_verify(g->map, totals, CPUS, NULL, &v, NULL));
    g_assert_cmpstr(v.text, ==, NULL);
    g_assert_cmpuint(v.lost, ==, 0);
    g_assert_cmpuint(v.in_flight, ==, 0);
    return v.pages;
}

static void
every_pattern_loses_nothing(void)
{
    static const char *const settings[] = {
        "pattern=random interval=20", "pattern=sequential write=line size=64K", "pattern=hot write=page fill=text",
        "pattern=random node=0", "pattern=sequential node=1 fill=zero",
    };
    struct guest g;

    guest_init(&g);
    guest_load(&g, "pattern=idle");
    for (unsigned i = 0; i < G_N_ELEMENTS(settings); i++) {
        guest_set(&g, settings[i]);
        guest_work(&g, 20000);
        g_assert_cmpuint(expect_whole(&g), >, 0);
    }
    guest_release(&g);
}

static void
topology_and_ticks_are_printed(void)
{
    static const char topology[] = "numon workload guest\nnodes 2 cpus 4\nnode 0 cpus 0 1 size 16 MB\n"
                                   "node 1 cpus 2 3 size 16 MB\ndistance 0: 10 21\ndistance 1: 21 10\ntick 1 pages ";
    struct guest g;
    struct workload_status s;
    const char *second;

    guest_init(&g);
    guest_load(&g, "interval=10");
    guest_go(&g);
    do {
        g_usleep(1000);
        g_assert_true(workload_status(g.map, &s, NULL));
    } while (s.ticks < 3);
    guest_stop(&g);
    g_assert_cmpuint(s.stage, ==, STAGE_RUNNING);
    if (!g_str_has_prefix(g.printed->str, topology))
        g_error("printed: %s", g.printed->str);
    second = strstr(g.printed->str, "\ntick 2 pages 0\n");
    g_assert_nonnull(second);
    guest_release(&g);
}

/* The pages that differ from 'before' and are not marked. */
static uint64_t
unmarked_changes(struct guest *g, struct subscriber *s, const uint8_t *before, uint64_t *ret_changed)
{
    uint64_t unmarked = 0;

    for (uint64_t page = 0; page < g->block->page_count; page++) {
        if (memcmp(before + page * PAGE_SIZE, g->block->host + page * PAGE_SIZE, PAGE_SIZE) == 0)
            continue;
        ++*ret_changed;
        if (bits_next_atomic(subscriber_words(s, g->block), page + 1, page) != page)
            unmarked++;
    }
    return unmarked;
}

static void
every_changed_page_is_marked(void)
{
    g_autofree uint8_t *before = g_malloc(RAM);
    struct guest g;

    guest_init(&g);
    guest_load(&g, "pattern=random interval=5");
    for (unsigned round = 0; round < 3; round++) {
        struct subscriber *s = hub_subscribe(g.hub, "test", NULL);
        uint64_t changed = 0;

        memcpy(before, g.block->host, RAM);
        guest_work(&g, 3000);
        g_assert_cmpuint(unmarked_changes(&g, s, before, &changed), ==, 0);
        g_assert_cmpuint(changed, >, 100);
        hub_unsubscribe(g.hub, s);
        guest_set(&g, "pattern=sequential write=page size=1M node=1 interval=5");
    }
    guest_release(&g);
}

/* By words, as the guest's control words change by words. */
static void
copy_page(uint8_t *to, const uint8_t *from)
{
    for (unsigned i = 0; i < PAGE_SIZE; i += 8)
        *(uint64_t *)(to + i) = __atomic_load_n((const uint64_t *)(from + i), __ATOMIC_RELAXED);
}

static void
copy_marked(struct guest *g, struct subscriber *s, uint8_t *copy)
{
    _Atomic uint64_t *words = subscriber_words(s, g->block);
    uint64_t count = g->block->page_count, set;

    for (uint64_t page = bits_next_atomic(words, count, 0); page < count;
         page = bits_next_atomic(words, count, page + 1)) {
        g_assert_true(hub_clear(g->hub, s, g->block, page, 1, &set, NULL));
        copy_page(copy + page * PAGE_SIZE, g->block->host + page * PAGE_SIZE);
    }
}

/* A migration in small: what was copied while the guest ran, and then what was still marked, is the guest. */
static void
copy_of_a_running_guest_is_the_guest(void)
{
    g_autofree uint8_t *copy = g_malloc0(RAM);
    struct guest g;
    struct subscriber *s;

    guest_init(&g);
    s = hub_subscribe(g.hub, "copier", NULL);
    guest_load(&g, "pattern=random size=256K interval=1");
    for (uint64_t page = 0; page < g.block->page_count; page++)
        copy_page(copy + page * PAGE_SIZE, g.block->host + page * PAGE_SIZE);
    for (unsigned round = 0; round < 10; round++) {
        guest_go(&g);
        for (unsigned i = 0; i < 20; i++)
            copy_marked(&g, s, copy);
        guest_stop(&g);
        copy_marked(&g, s, copy);
        for (uint64_t page = 0; page < g.block->page_count; page++)
            g_assert_true(memcmp(copy + page * PAGE_SIZE, g.block->host + page * PAGE_SIZE, PAGE_SIZE) == 0);
    }
    expect_whole(&g);
    guest_release(&g);
}

/* Turns of 15 ms with stops as long between, more than a backlog: how many of the pages that the rate allows between
 * go and stop were written, in percent. */
static uint64_t
percent_of_rate(struct guest *g)
{
    uint64_t before = pages_written(g);
    int64_t ran = 0;

    for (unsigned i = 0; i < 15; i++) {
        int64_t begin = g_get_monotonic_time();

        guest_go(g);
        g_usleep(15000);
        guest_stop(g);
        ran += g_get_monotonic_time() - begin;
        g_usleep(15000);
    }
    return (pages_written(g) - before) * 100 / ((uint64_t)ran * CPUS * 20000 / 1000000);
}

/* A host that is busy with other things may keep it from its rate, but it never exceeds it. */
static void
rate_is_kept_and_a_stop_not_caught_up(void)
{
    struct guest g;
    uint64_t percent = 0;

    guest_init(&g);
    guest_load(&g, "pattern=random rate=20000");
    for (unsigned attempt = 0; attempt < 20 && percent < 60; attempt++) {
        percent = percent_of_rate(&g);
        g_assert_cmpuint(percent, <, 110);
    }
    g_assert_cmpuint(percent, >=, 60);
    expect_whole(&g);
    guest_release(&g);
}

/* A rest lasts 20 ms unless it is cut short; a busy host may be slow now and then. */
static void
kick_ends_a_rest(void)
{
    struct guest g;
    unsigned quick = 0;

    guest_init(&g);
    guest_load(&g, "pattern=idle");
    for (unsigned i = 0; i < 100; i++) {
        int64_t begin;

        guest_go(&g);
        g_usleep(100);
        begin = g_get_monotonic_time();
        guest_stop(&g);
        quick += g_get_monotonic_time() - begin < 5000;
    }
    g_assert_cmpuint(quick, >=, 20);
    guest_release(&g);
}

struct cursor { const uint8_t *at, *end; };

static bool
read_bytes(void *from, void *bytes, size_t size, GError **error)
{
    struct cursor *c = from;

    if ((size_t)(c->end - c->at) < size)
        return fail(error, NUMON_ERROR_PEER, "short");
    memcpy(bytes, c->at, size);
    c->at += size;
    return true;
}

static void
move_state(struct guest *from, struct guest *to)
{
    unsigned count;
    const struct state_section *source = accel_synthetic.sections(from->accel, &count), *sink;

    g_assert_cmpuint(count, ==, CPUS);
    sink = accel_synthetic.sections(to->accel, &count);
    for (unsigned i = 0; i < count; i++) {
        g_autoptr(GByteArray) bytes = g_byte_array_new();
        struct cursor c;

        state_save(&source[i], bytes);
        c = (struct cursor) { bytes->data, bytes->data + bytes->len };
        g_assert_true(state_load(&sink[i], source[i].version, read_bytes, &c, NULL));
    }
    memcpy(to->block->host, from->block->host, RAM);
}

static void
moved_guest_goes_on(void)
{
    struct guest source, sink;
    struct workload_status before, after;

    guest_init(&source);
    guest_init(&sink);
    guest_load(&source, "pattern=random interval=10");
    guest_work(&source, 20000);
    move_state(&source, &sink);
    g_assert_true(workload_status(source.map, &before, NULL));
    expect_whole(&sink);
    guest_work(&sink, 20000);
    expect_whole(&sink);
    g_assert_true(workload_status(sink.map, &after, NULL));
    g_assert_cmpuint(after.cpus[3].pages_written, >, before.cpus[3].pages_written);
    g_assert_null(strstr(sink.printed->str, "numon workload guest"));
    guest_release(&source);
    guest_release(&sink);
}

static void
take_error(void *self, const struct run_event *e)
{
    g_assert_cmpint(e->what, ==, VCPU_ERROR);
    *(char **)self = g_strdup(e->text);
}

static void
memory_without_workload_is_an_error(void)
{
    struct guest g;
    char *text = NULL;

    guest_init(&g);
    run_free(g.run);
    g.run = run_new(&accel_synthetic, g.accel, CPUS, NULL, g.mailbox, take_error, &text);
    guest_go(&g);
    while (!text)
        mailbox_drain(g.mailbox);
    g_assert_nonnull(strstr(text, "no workload guest"));
    g_assert_cmpuint(run_reasons(g.run), ==, STOP_ERROR);
    g_free(text);
    guest_release(&g);
}

static void
add_cpu(struct guest *g, unsigned cpu)
{
    g_assert_true(accel_synthetic.vcpu_add(g->accel, cpu, NULL, NULL));
    g_assert_true(run_add_cpu(g->run, cpu, NULL));
    bit_set(g->topology.present, cpu);
}

/* One before the first run, when no CPU has a thread, one later. */
static void
cpus_that_come_later_work(void)
{
    struct workload_status s;
    struct guest g;
    unsigned count;

    guest_init_with(&g, 2);
    guest_load(&g, "pattern=random interval=10");
    add_cpu(&g, 3);
    guest_work(&g, 20000);
    g_assert_nonnull(strstr(g.printed->str, "nodes 2 cpus 3\nnode 0 cpus 0 1 size 16 MB\nnode 1 cpus 3 size 16 "
                            "MB\n"));
    accel_synthetic.sections(g.accel, &count);
    g_assert_cmpuint(count, ==, 3);
    g_assert_true(workload_status(g.map, &s, NULL));
    g_assert_false(s.cpus[2].online);
    g_assert_cmpuint(run_thread_id(g.run, 2), ==, 0);
    expect_whole(&g);
    add_cpu(&g, 2);
    guest_work(&g, 20000);
    g_assert_cmpint(run_thread_id(g.run, 2), !=, 0);
    expect_whole(&g);
    g_assert_cmpuint(accel_synthetic.sections(g.accel, &count)[2].instance, ==, 2);
    g_assert_cmpuint(count, ==, CPUS);
    guest_release(&g);
}

int
main(int argc, char **argv)
{
    main_thread_claim();
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/synthetic/every-pattern-loses-nothing", every_pattern_loses_nothing);
    g_test_add_func("/synthetic/topology-and-ticks-are-printed", topology_and_ticks_are_printed);
    g_test_add_func("/synthetic/every-changed-page-is-marked", every_changed_page_is_marked);
    g_test_add_func("/synthetic/copy-of-a-running-guest", copy_of_a_running_guest_is_the_guest);
    g_test_add_func("/synthetic/rate-is-kept", rate_is_kept_and_a_stop_not_caught_up);
    g_test_add_func("/synthetic/kick-ends-a-rest", kick_ends_a_rest);
    g_test_add_func("/synthetic/moved-guest-goes-on", moved_guest_goes_on);
    g_test_add_func("/synthetic/memory-without-workload-is-an-error", memory_without_workload_is_an_error);
    g_test_add_func("/synthetic/cpus-that-come-later-work", cpus_that_come_later_work);
    return g_test_run();
}
