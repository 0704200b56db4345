/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Measurements from the machine's side.  That of latency ends with a result or a reason whatever becomes of the guest
 * meanwhile, and believes nothing that guest memory says; that of usage counts what lies elsewhere than asked for. */
#include "machine-bench.h"

#include <string.h>

struct answer {
    bool done;
    char *error;
    struct latency_cpu first;       /* CPU 0's */
    struct latency_node node[2];
};

static const struct control_head *
head_of(struct world *w)
{
    return guest_map_host(machine_map(w->a), CONTROL_GPA, CONTROL_PAGE);
}

static bool
guest_began(struct world *w)
{
    return __atomic_load_n(&head_of(w)->ticks, __ATOMIC_ACQUIRE) > 0;
}

/* A guest that runs: two CPUs, two nodes. */
static void
world_init(struct world *w, const char *accel)
{
    struct definition *d = definition_new();

    /* Timers of the library are on the default context. */
    world_open(w, g_main_context_ref(g_main_context_default()));
    w->a = machine_new(w->mailbox, w->jobs, NULL);
    world_set(d, memory_properties, MEMORY_P_SIZE, definition_set_memory, "64M");
    world_set(d, smp_properties, SMP_P_CPUS, definition_set_smp, "2,sockets=2");
    world_set(d, accel_properties, ACCEL_P_ACCEL, definition_set_accel, accel);
    world_set(d, node_properties, -1, definition_add_node, "nodeid=0,cpus=0,mem=32M");
    world_set(d, node_properties, -1, definition_add_node, "nodeid=1,cpus=1,mem=32M");
    d->workload.interval_ms = 20;
    g_assert_true(machine_define(w->a, d, NULL));
    world_build(w, w->a);
    g_assert_true(machine_cont(w->a, false, NULL));
    loop_until(w, guest_began(w));
}

static void
take_answer(void *self, const struct latency *result, const GError *error)
{
    struct answer *a = self;

    a->done = true;
    a->error = error ? g_strdup(error->message) : NULL;
    a->first = result->cpus[0];
    for (unsigned n = 0; n < MIN(result->node_count, 2); n++)
        a->node[n] = result->nodes[n];
}

static void
expect_error(struct world *w, struct answer *a, const char *text)
{
    loop_until(w, a->done);
    g_assert_nonnull(a->error);
    if (!strstr(a->error, text))
        g_error("'%s' is not in '%s'", text, a->error);
    g_clear_pointer(&a->error, g_free);
    g_assert_null(w->a->latency);
}

static void
expect_result(struct world *w, uint64_t bytes)
{
    struct answer a = { 0 };
    g_autoptr(GError) error = NULL;

    machine_measure_latency(w->a, bytes, take_answer, &a, &error);
    g_assert_no_error(error);
    g_assert_false(a.done);
    loop_until(w, a.done);
    g_assert_cmpstr(a.error, ==, NULL);
    for (unsigned n = 0; n < 2; n++) {
        g_assert_cmpuint(a.node[n].bytes, ==, bytes);
        g_assert_cmpuint(a.first.nodes[n].access_ps, >, 0);
        g_assert_cmpuint(a.first.nodes[n].bandwidth, >, 0);
    }
}

static void
expect_refused(struct world *w, const char *text)
{
    struct answer a = { 0 };
    g_autoptr(GError) error = NULL;

    g_assert_false(machine_measure_latency(w->a, MIB, take_answer, &a, &error));
    g_assert_error(error, NUMON_ERROR, NUMON_ERROR_STATE);
    if (!strstr(error->message, text))
        g_error("'%s' is not in '%s'", text, error->message);
    g_assert_false(a.done);
}

/* What CPU 0 was asked last. */
static uint64_t
requests(struct world *w)
{
    const struct control_cpu *c = guest_map_host(machine_map(w->a), CONTROL_CPUS_GPA, CONTROL_PAGE);

    return __atomic_load_n(&c->probe.request, __ATOMIC_ACQUIRE);
}

static void
it_ends_whatever_becomes_of_the_guest(void)
{
    struct world w;
    struct answer a = { 0 };
    uint64_t asked;

    world_init(&w, "synthetic");
    expect_result(&w, 2 * MIB);
    g_assert_true(machine_measure_latency(w.a, MIB, take_answer, &a, NULL));
    expect_refused(&w, "under way already");
    g_assert_false(machine_teardown(w.a, true, NULL));
    g_assert_true(machine_stop(w.a, NULL));
    expect_error(&w, &a, "the guest stopped meanwhile, its status is 'paused'");
    expect_refused(&w, "its status is 'paused'");
    machine_cont(w.a, false, NULL);
    expect_result(&w, MIB);

    a = (struct answer) { 0 };
    g_assert_true(machine_measure_latency(w.a, MIB, take_answer, &a, NULL));
    asked = requests(&w);
    loop_until(&w, requests(&w) > asked);
    world_reset(&w, w.a, true);
    expect_error(&w, &a, "began anew");
    machine_cont(w.a, false, NULL);
    loop_until(&w, guest_began(&w));
    expect_result(&w, MIB);
    world_close(&w);
}

static void
abandoned_it_leaves_nothing(void)
{
    struct world w;
    struct answer a = { 0 };

    world_init(&w, "synthetic");
    machine_latency_abandon(w.a);
    /* In the job, and while a vCPU is being asked. */
    for (int i = 0; i < 2; i++) {
        g_assert_true(machine_measure_latency(w.a, MIB, take_answer, &a, NULL));
        if (i)
            g_usleep(50000);
        for (int turn = 0; i && turn < 20; turn++)
            g_main_context_iteration(w.context, FALSE);
        machine_latency_abandon(w.a);
        expect_result(&w, MIB);
        g_assert_false(a.done);
    }
    /* Asked again, abandoned again. */
    g_assert_true(machine_measure_latency(w.a, MIB, take_answer, &a, NULL));
    machine_latency_abandon(w.a);
    g_assert_true(machine_measure_latency(w.a, MIB, take_answer, &a, NULL));
    machine_latency_abandon(w.a);
    loop_until(&w, !w.a->latency);
    g_assert_false(a.done);
    /* With the session, also while it is to begin again. */
    g_assert_true(machine_measure_latency(w.a, MIB, take_answer, &a, NULL));
    machine_latency_abandon(w.a);
    g_assert_true(machine_measure_latency(w.a, MIB, take_answer, &a, NULL));
    world_close(&w);
    g_free(a.error);
}

/* Whatever control pages say, nobody reads what is not RAM. */
static void
hostile_nodes_are_not_read(void)
{
    static const struct control_node places[] = {
        { 0, 0, 0, 0 }, { UINT64_MAX - 4095, 8192, 0, 0 }, { CONTROL_FREE, UINT64_MAX - 4095, 0, 0 },
        { CONTROL_FREE, UINT64_C(1) << 40, 0, 0 }, { UINT64_C(1) << 40, MIB, 0, 0 }, { CONTROL_FREE + 8, MIB, 0, 0 },
    };
    struct world w;

    world_init(&w, "synthetic");
    for (unsigned i = 0; i < G_N_ELEMENTS(places); i++) {
        struct control_node *nodes = guest_map_host(machine_map(w.a), CONTROL_NODES_GPA, CONTROL_PAGE);
        struct control_node kept = nodes[1];
        struct answer a = { 0 };

        g_assert_true(machine_stop(w.a, NULL));
        nodes[1] = places[i];
        g_assert_true(machine_cont(w.a, false, NULL));
        g_assert_true(machine_measure_latency(w.a, MIB, take_answer, &a, NULL));
        loop_until(&w, a.done);
        g_assert_cmpstr(a.error, ==, NULL);
        g_assert_cmpuint(a.first.nodes[0].access_ps, >, 0);
        g_assert_cmpuint(a.node[1].bytes > 0, ==, a.first.nodes[1].access_ps > 0);
        g_assert_true(machine_stop(w.a, NULL));
        nodes[1] = kept;
        g_assert_true(machine_cont(w.a, false, NULL));
    }
    expect_result(&w, MIB);
    world_close(&w);
}

static void
who_does_not_measure_is_told(void)
{
    struct world w;
    struct control_head *head;
    struct answer a = { 0 };

    world_init(&w, "synthetic");
    head = guest_map_host(machine_map(w.a), CONTROL_GPA, CONTROL_PAGE);
    __atomic_store_n(&head->probes, 0, __ATOMIC_RELEASE);
    g_assert_true(machine_measure_latency(w.a, MIB, take_answer, &a, NULL));
    expect_error(&w, &a, "it is older than that");
    __atomic_store_n(&head->magic, 1, __ATOMIC_RELEASE);
    expect_refused(&w, "there is no workload guest in memory");
    __atomic_store_n(&head->magic, CONTROL_MAGIC, __ATOMIC_RELEASE);
    __atomic_store_n(&head->stage, STAGE_PANIC, __ATOMIC_RELEASE);
    expect_refused(&w, "has panicked");
    __atomic_store_n(&head->stage, STAGE_STARTING, __ATOMIC_RELEASE);
    expect_refused(&w, "just starting");
    world_close(&w);
}

struct usage_answer { bool done; uint64_t found, misplaced; unsigned backends; };

static void
take_usage(void *self, const GArray *nodes, const GError *error)
{
    struct usage_answer *a = self;

    g_assert_no_error(error);
    *a = (struct usage_answer) { .done = true };
    for (unsigned i = 0; i < nodes->len; i++) {
        const struct node_usage *u = &g_array_index(nodes, struct node_usage, i);

        a->found += u->places.found;
        a->backends += u->placements->len;
        for (unsigned k = 0; k < u->placements->len; k++)
            a->misplaced += g_array_index(u->placements, struct placement, k).misplaced;
    }
}

static struct usage_answer
usage_of(struct world *w)
{
    struct usage_answer a = { 0 };

    g_assert_true(machine_measure_usage(w->a, 4096, take_usage, &a, NULL));
    loop_until(w, a.done);
    return a;
}

/* The host may have one node only: so the policy is what is changed, behind the host's back. */
static void
pages_elsewhere_than_asked_for_are_counted(void)
{
    struct usage_answer a;
    struct block *b;
    struct world w;

    world_init(&w, "synthetic");
    expect_result(&w, 2 * MIB);
    a = usage_of(&w);
    if (a.found == 0) {
        g_test_skip("the host's kernel does not tell where pages lie");
        world_close(&w);
        return;
    }
    g_assert_cmpuint(a.misplaced, ==, 0);
    b = g_ptr_array_index(machine_map(w.a)->blocks, 0);
    b->options.policy = HOST_POLICY_BIND;
    memset(b->options.host_nodes, 0xff, sizeof b->options.host_nodes);
    g_assert_cmpuint(usage_of(&w).misplaced, ==, 0);
    memset(b->options.host_nodes, 0, sizeof b->options.host_nodes);
    bit_set(b->options.host_nodes, HOST_NODES - 1);
    a = usage_of(&w);
    g_assert_cmpuint(a.misplaced, ==, a.found);
    g_assert_cmpuint(a.backends, ==, 2);        /* both nodes' rows name their one backend */
    world_close(&w);
}

static void
a_kvm_guest_measures(void)
{
    g_autoptr(GError) error = NULL;
    struct world w;

    if (!accel_kvm.probe(&error)) {
        g_test_skip(error->message);
        return;
    }
    world_init(&w, "kvm");
    expect_result(&w, MIB);
    expect_result(&w, 64 * KIB);
    world_close(&w);
}

int
main(int argc, char **argv)
{
    main_thread_claim();
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/latency/it-ends-whatever-becomes-of-the-guest", it_ends_whatever_becomes_of_the_guest);
    g_test_add_func("/latency/abandoned-it-leaves-nothing", abandoned_it_leaves_nothing);
    g_test_add_func("/latency/hostile-nodes-are-not-read", hostile_nodes_are_not_read);
    g_test_add_func("/latency/who-does-not-measure-is-told", who_does_not_measure_is_told);
    g_test_add_func("/latency/pages-elsewhere-than-asked-for-are-counted",
                    pages_elsewhere_than_asked_for_are_counted);
    g_test_add_func("/latency/a-kvm-guest-measures", a_kvm_guest_measures);
    return g_test_run();
}
