/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Two machines in one process: building, running, verifying, and moving a guest from one to the other and back. */
#include "machine-bench.h"

#include <string.h>

/* Two nodes, four CPUs, a random workload. */
static struct definition *
example(const char *accel)
{
    struct definition *d = definition_new();
    g_autoptr(GError) error = NULL;
    g_autoptr(values) w = NULL;

    world_set(d, memory_properties, MEMORY_P_SIZE, definition_set_memory, "64M");
    world_set(d, smp_properties, SMP_P_CPUS, definition_set_smp, "4,sockets=2");
    world_set(d, accel_properties, ACCEL_P_ACCEL, definition_set_accel, accel);
    world_set(d, node_properties, -1, definition_add_node, "nodeid=0,cpus=0-1,mem=32M");
    world_set(d, node_properties, -1, definition_add_node, "nodeid=1,cpus=2-3,mem=32M");
    world_set(d, dist_properties, -1, definition_set_distance, "src=0,dst=1,val=21");
    w = property_parse_pairs(workload_properties, "pattern=random rate=5000 size=2M interval=20", &error);
    g_assert_no_error(error);
    definition_set_workload(d, w, &error);
    g_assert_no_error(error);
    return d;
}

struct built { bool done; char *error; };

static void
build_done(void *self, const GError *error)
{
    struct built *b = self;

    b->done = true;
    b->error = error ? g_strdup(error->message) : NULL;
}

static struct machine *
machine_of(struct world *w, const char *accel)
{
    struct machine *m = machine_new(w->mailbox, w->jobs, NULL);
    g_autoptr(GError) error = NULL;

    machine_define(m, example(accel), &error);
    g_assert_no_error(error);
    world_build(w, m);
    return m;
}

static void
open_pair(struct world *w, const char *accel)
{
    world_open(w, g_main_context_new());
    w->a = machine_of(w, accel);
    w->b = machine_of(w, accel);
}

/* A machine that is being built can be neither changed nor built nor torn down, and says so. */
static void
a_build_is_left_alone(void)
{
    struct world w;
    struct built first = { 0 }, second = { 0 };
    g_autoptr(GError) error = NULL;

    world_open(&w, g_main_context_new());
    w.a = machine_new(w.mailbox, w.jobs, NULL);
    machine_define(w.a, example("synthetic"), &error);
    g_assert_no_error(error);
    machine_build(w.a, build_done, &first);
    g_assert_false(machine_define(w.a, example("synthetic"), &error));
    g_assert_cmpstr(error->message, ==, "cannot change the definition: the machine is just being built");
    g_clear_error(&error);
    g_assert_false(machine_teardown(w.a, true, &error));
    g_assert_cmpstr(error->message, ==, "cannot tear the machine down: it is just being built");
    machine_build(w.a, build_done, &second);
    loop_until(&w, first.done && second.done);
    g_assert_cmpstr(second.error, ==, "cannot build the machine: it is just being built");
    g_free(second.error);
    g_assert_cmpstr(first.error, ==, NULL);
    world_close(&w);
}

static void
until_cancelled(struct job *job, void *data)
{
    while (!job_cancelled(job))
        g_usleep(1000);
}

static void
nothing_more(struct job *job, void *data)
{
}

/* The session ends while its build waits behind other jobs. */
static void
a_build_that_never_began_is_told(void)
{
    struct world w;
    struct built b = { 0 };
    g_autoptr(GError) error = NULL;

    world_open(&w, g_main_context_new());
    w.a = machine_new(w.mailbox, w.jobs, NULL);
    machine_define(w.a, example("synthetic"), &error);
    g_assert_no_error(error);
    job_start(w.jobs, until_cancelled, nothing_more, NULL);
    job_start(w.jobs, until_cancelled, nothing_more, NULL);
    machine_build(w.a, build_done, &b);
    jobs_free(g_steal_pointer(&w.jobs));
    g_assert_true(b.done);
    g_assert_cmpstr(b.error, ==, "the machine was not built: the session ends");
    g_assert_false(machine_built(w.a));
    g_free(b.error);
    world_close(&w);
}

struct verified { bool done; uint64_t pages, lost; char *text; };

static void
verify_done(void *self, const struct workload_verdict *v, const GError *error)
{
    struct verified *r = self;

    g_assert_no_error(error);
    *r = (struct verified) { true, v->pages, v->lost, g_strdup(v->text) };
}

static void
assert_nothing_lost(struct world *w, struct machine *m)
{
    struct verified r = { 0 };
    g_autoptr(GError) error = NULL;

    machine_verify(m, verify_done, &r, &error);
    g_assert_no_error(error);
    loop_until(w, r.done);
    g_assert_cmpstr(r.text, ==, NULL);
    g_assert_cmpuint(r.lost, ==, 0);
    g_assert_cmpuint(r.pages, >, 0);
}

/* Moves the running guest and checks what is true on both sides afterwards. */
static void
move(struct world *w, struct machine *from, struct machine *to)
{
    /* Each destination goes on listening, for a source that asks what became of its guest. */
    const char *uri = to == w->a ? w->other_uri : w->uri;
    g_autoptr(GError) error = NULL;
    uint64_t before;

    machine_incoming(to, uri, false, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(machine_status(to), ==, "inmigrate");
    before = world_ticks(from);
    machine_migrate(from, uri, &error);
    g_assert_no_error(error);
    loop_until(w, migrate_state_ended(world_state(from)));
    g_assert_cmpstr(migrate_state_name(world_state(from)), ==, "completed");
    loop_until(w, !machine_awaits_incoming(to));
    g_assert_cmpstr(machine_status(from), ==, "postmigrate");
    g_assert_cmpstr(machine_status(to), ==, "running");
    g_assert_false(machine_cont(from, false, NULL));
    g_assert_cmpuint(world_ticks(to), >=, before);
    loop_until(w, world_ticks(to) >= before + 5);
}

static bool
works(const char *accel)
{
    g_autoptr(GError) error = NULL;

    if (accel_find(accel)->probe(&error))
        return true;
    g_test_skip(error->message);
    return false;
}

/* --- tests ------------------------------------------------------------------------------------------------------ */

static void
guest_runs_stops_and_resets(gconstpointer accel)
{
    struct world w;
    g_autoptr(GError) error = NULL;
    uint64_t n;

    if (!works(accel))
        return;
    world_open(&w, g_main_context_new());
    w.a = machine_of(&w, accel);
    g_assert_cmpstr(machine_status(w.a), ==, "prelaunch");
    machine_cont(w.a, false, &error);
    g_assert_no_error(error);
    loop_until(&w, world_ticks(w.a) >= 3);
    machine_stop(w.a, &error);
    g_assert_cmpstr(machine_status(w.a), ==, "paused");
    assert_nothing_lost(&w, w.a);
    n = world_ticks(w.a);
    g_usleep(60000);
    g_assert_cmpuint(world_ticks(w.a), ==, n);
    world_reset(&w, w.a, false);
    g_assert_cmpuint(world_ticks(w.a), ==, 0);
    machine_cont(w.a, false, &error);
    loop_until(&w, world_ticks(w.a) >= 3);
    assert_nothing_lost(&w, w.a);
    world_close(&w);
}

static void
verify_failed(void *self, const struct workload_verdict *v, const GError *error)
{
    struct verified *r = self;

    *r = (struct verified) { .done = true, .text = error ? g_strdup(error->message) : NULL };
}

/* One that is cancelled gives no verdict, not even before its turn, and the guest goes on. */
static void
a_verification_can_be_cancelled(void)
{
    struct world w;
    struct verified r = { 0 };
    struct job *busy[2];

    world_open(&w, g_main_context_new());
    w.a = machine_of(&w, "synthetic");
    machine_verify_cancel(w.a);
    machine_cont(w.a, false, NULL);
    loop_until(&w, world_ticks(w.a) >= 1);
    for (int i = 0; i < 2; i++)
        busy[i] = job_start(w.jobs, until_cancelled, nothing_more, NULL);
    g_assert_true(machine_verify(w.a, verify_failed, &r, NULL));
    g_assert_false(machine_running(w.a));
    machine_verify_cancel(w.a);
    for (int i = 0; i < 2; i++)
        job_cancel(busy[i]);
    loop_until(&w, r.done);
    g_assert_cmpstr(r.text, ==, "cannot verify: it was cancelled");
    g_assert_true(machine_running(w.a));
    g_free(r.text);
    assert_nothing_lost(&w, w.a);
    world_close(&w);
}

static void
guest_moves_there_and_back(gconstpointer accel)
{
    struct world w;

    if (!works(accel))
        return;
    open_pair(&w, accel);
    atomic_store(&machine_parameters(w.a)->max_bandwidth, 0);
    atomic_store(&machine_parameters(w.b)->max_bandwidth, 0);
    /* Whether it converges on a busy host, or a slowed down program, is not the question here. */
    atomic_store(&machine_parameters(w.a)->downtime_limit, 5000);
    atomic_store(&machine_parameters(w.b)->downtime_limit, 5000);
    machine_cont(w.a, false, NULL);
    loop_until(&w, world_ticks(w.a) >= 5);
    for (int i = 0; i < 3; i++) {
        move(&w, w.a, w.b);
        assert_nothing_lost(&w, w.b);
        move(&w, w.b, w.a);
        assert_nothing_lost(&w, w.a);
    }
    world_close(&w);
}

static void
another_definition_is_refused(gconstpointer accel)
{
    struct world w;
    struct definition *d = example(accel);
    struct migrate_info info;

    if (!works(accel)) {
        definition_free(d);
        return;
    }
    world_open(&w, g_main_context_new());
    w.a = machine_of(&w, accel);
    w.b = machine_new(w.mailbox, w.jobs, NULL);
    world_set(d, dist_properties, -1, definition_set_distance, "src=0,dst=1,val=30");
    machine_define(w.b, d, NULL);
    world_build(&w, w.b);
    machine_cont(w.a, false, NULL);
    loop_until(&w, world_ticks(w.a) >= 2);
    g_assert_true(machine_incoming(w.b, w.uri, false, NULL));
    g_assert_true(machine_migrate(w.a, w.uri, NULL));
    loop_until(&w, migrate_state_ended(world_state(w.a)) && migrate_state_ended(world_state(w.b)));
    session_info(machine_session(w.a), &info);
    g_assert_cmpint(info.state, ==, MIGRATE_FAILED);
    g_assert_nonnull(strstr(info.error, "distances from node 0: source 10 21, here 10 30"));
    migrate_info_release(&info);
    g_assert_cmpstr(machine_status(w.a), ==, "running");
    g_assert_cmpstr(machine_status(w.b), ==, "inmigrate");
    assert_nothing_lost(&w, w.a);
    world_close(&w);
}

static void
paused_guest_arrives_paused(gconstpointer accel)
{
    struct world w;

    if (!works(accel))
        return;
    open_pair(&w, accel);
    machine_cont(w.a, false, NULL);
    loop_until(&w, world_ticks(w.a) >= 2);
    machine_stop(w.a, NULL);
    g_assert_true(machine_incoming(w.b, w.uri, false, NULL));
    g_assert_true(machine_migrate(w.a, w.uri, NULL));
    loop_until(&w, migrate_state_ended(world_state(w.a)) && !machine_awaits_incoming(w.b));
    g_assert_cmpstr(machine_status(w.b), ==, "paused");
    assert_nothing_lost(&w, w.b);
    world_close(&w);
}

static void
hand_over(struct world *w, struct machine *from, struct machine *to)
{
    const char *uri = to == w->a ? w->other_uri : w->uri;

    g_assert_true(machine_incoming(to, uri, false, NULL));
    g_assert_true(machine_migrate(from, uri, NULL));
    loop_until(w, migrate_state_ended(world_state(from)) && !machine_awaits_incoming(to));
    g_assert_cmpstr(machine_status(from), ==, "postmigrate");
}

static void
assert_runs(struct world *w, struct machine *m)
{
    uint64_t before;

    loop_until(w, strcmp(machine_status(m), "running") == 0);
    before = world_ticks(m);
    loop_until(w, world_ticks(m) >= before + 3);
    assert_nothing_lost(w, m);
}

/* It is no other guest for having moved; and what it left does not stop the next one that comes. */
static void
guest_arrives_as_it_was(gconstpointer accel)
{
    static const struct { enum vcpu_exit what; const char *status, *says; } cases[] = {
        { VCPU_ERROR, "internal-error", "stopped with an internal error" },
        { VCPU_SHUTDOWN, "shutdown", "has ended itself" },
    };
    struct world w;

    if (!works(accel))
        return;
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) error = NULL;

        open_pair(&w, accel);
        g_assert_true(machine_cont(w.a, false, NULL));
        loop_until(&w, world_ticks(w.a) >= 2);
        run_request(machine_run(w.a), cases[i].what);
        g_assert_cmpstr(machine_status(w.a), ==, cases[i].status);      /* main need not have heard of it */
        hand_over(&w, w.a, w.b);
        g_assert_cmpstr(machine_status(w.b), ==, cases[i].status);
        g_assert_false(machine_cont(w.b, false, &error));
        g_assert_nonnull(strstr(error->message, cases[i].says));
        assert_nothing_lost(&w, w.b);
        world_reset(&w, w.b, false);
        assert_runs(&w, w.b);
        hand_over(&w, w.b, w.a);
        assert_runs(&w, w.a);
        world_close(&w);
    }
}

static void
guest_that_never_ran_arrives_so(gconstpointer accel)
{
    struct world w;

    if (!works(accel))
        return;
    open_pair(&w, accel);
    hand_over(&w, w.a, w.b);
    g_assert_cmpstr(machine_status(w.b), ==, "prelaunch");
    g_assert_true(machine_cont(w.b, false, NULL));
    loop_until(&w, world_ticks(w.b) >= 3);
    assert_runs(&w, w.b);
    world_close(&w);
}

/* Its wish goes with it, and is not left where it comes back to. */
static void
a_reset_wanted_at_the_last_moment_goes_along(void)
{
    struct world w;

    open_pair(&w, "synthetic");
    g_assert_true(machine_cont(w.a, false, NULL));
    loop_until(&w, world_ticks(w.a) >= 2);
    atomic_store(&machine_capabilities(w.a)->pause_before_switchover, true);
    g_assert_true(machine_incoming(w.b, w.uri, false, NULL));
    g_assert_true(machine_migrate(w.a, w.uri, NULL));
    loop_until(&w, world_state(w.a) == MIGRATE_PRE_SWITCHOVER);
    run_request(machine_run(w.a), VCPU_RESET);
    g_assert_true(machine_migrate_continue(w.a, MIGRATE_PRE_SWITCHOVER, NULL));
    loop_until(&w, migrate_state_ended(world_state(w.a)) && !machine_awaits_incoming(w.b));
    g_assert_cmpuint(w.b->state.reset_wanted, ==, 1);
    assert_runs(&w, w.b);
    g_assert_cmpuint(atomic_load(&w.b->reset_wanted), ==, 0);
    hand_over(&w, w.b, w.a);
    assert_runs(&w, w.a);
    world_close(&w);
}

static void
a_listener_that_fails_changes_nothing(void)
{
    struct world w;
    g_autoptr(GError) error = NULL;

    world_open(&w, g_main_context_new());
    w.a = machine_of(&w, "synthetic");
    g_assert_false(machine_incoming(w.a, "unix:/nonexistent/socket", true, &error));
    g_assert_error(error, NUMON_ERROR, NUMON_ERROR_HOST);
    g_assert_cmpstr(machine_status(w.a), ==, "prelaunch");
    g_assert_true(machine_cont(w.a, false, NULL));
    loop_until(&w, world_ticks(w.a) >= 2);
    assert_nothing_lost(&w, w.a);
    world_close(&w);
}

/* Between the answer to its source, which lets go of it then, and its first step here it is nowhere else. */
static void
a_guest_that_is_just_arriving_is_not_torn_down(void)
{
    g_autoptr(GError) error = NULL;
    struct world w;

    open_pair(&w, "synthetic");
    g_assert_true(machine_cont(w.a, false, NULL));
    loop_until(&w, world_ticks(w.a) >= 2);
    g_assert_true(machine_incoming(w.b, w.uri, false, NULL));
    lock_take(&w.b->writes);            /* before it starts the guest, its thread wants it */
    g_assert_true(machine_migrate(w.a, w.uri, NULL));
    while (!migrate_state_ended(world_state(w.a)))
        g_usleep(500);
    g_assert_false(machine_teardown(w.b, false, &error));
    lock_drop(&w.b->writes);
    g_assert_nonnull(strstr(error->message, "a guest is just arriving"));
    loop_until(&w, !machine_awaits_incoming(w.b));
    assert_runs(&w, w.b);
    world_close(&w);
}

/* Its session still answers who asks what became of the guest. */
static void
a_refused_second_one_leaves_the_first_as_it_was(void)
{
    struct world w;
    struct session *first;

    open_pair(&w, "synthetic");
    g_assert_true(machine_cont(w.a, false, NULL));
    loop_until(&w, world_ticks(w.a) >= 2);
    hand_over(&w, w.a, w.b);
    assert_runs(&w, w.b);
    hand_over(&w, w.b, w.a);
    first = machine_session(w.b);
    g_assert_false(machine_incoming(w.b, "unix:/nonexistent/socket", true, NULL));
    g_assert_true(machine_session(w.b) == first);
    g_assert_nonnull(w.b->incoming);
    g_assert_false(atomic_load(&w.b->arrive_paused));
    hand_over(&w, w.a, w.b);
    assert_runs(&w, w.b);
    world_close(&w);
}

/* Main writes guest memory (or a reset's job does): a migration does not take its last copy until that is
 * done, and no lock is held over it. */
static void
a_migration_waits_for_who_writes(void)
{
    struct world w;
    struct lock lowest;

    open_pair(&w, "synthetic");
    lock_init(&lowest, 1, "lowest");
    g_assert_true(machine_incoming(w.b, w.uri, false, NULL));
    g_assert_true(machine_cont(w.a, false, NULL));
    g_assert_true(machine_writes_begin(w.a, "write", NULL));
    lock_take(&lowest);
    lock_drop(&lowest);
    g_assert_true(machine_migrate(w.a, w.uri, NULL));
    loop_until(&w, run_reasons(machine_run(w.a)) & STOP_MIGRATE);
    g_usleep(20000);
    g_assert_cmpstr(migrate_state_name(world_state(w.a)), ==, "device");
    machine_writes_end(w.a);
    loop_until(&w, migrate_state_ended(world_state(w.a)) && !machine_awaits_incoming(w.b));
    g_assert_cmpstr(machine_status(w.a), ==, "postmigrate");
    g_assert_false(machine_writes_begin(w.a, "write", NULL));
    lock_release(&lowest);
    world_close(&w);
}

/* What a machine has posted must not be delivered once it is gone. */
static void
count_told(void *self, const char *text)
{
    ++*(unsigned *)self;
}

/* The guest asks for a reset, or ends itself, and is reset before main has heard of it: nothing is left to be
 * done. */
static void
a_request_that_was_served_is_not_served_again(void)
{
    static const enum power_event requests[] = { POWER_RESET, POWER_OFF, POWER_EXIT };
    struct world w;
    unsigned told = 0;
    struct machine_events events = { .self = &told, .guest = count_told };
    struct machine *m;

    world_open(&w, g_main_context_new());
    m = machine_new(w.mailbox, w.jobs, &events);
    g_assert_true(machine_define(m, example("synthetic"), NULL));
    world_build(&w, m);
    g_assert_true(machine_cont(m, false, NULL));
    for (unsigned i = 0; i < G_N_ELEMENTS(requests); i++) {
        machine_power_event(m, requests[i], 3);
        world_reset(&w, m, false);
        mailbox_drain(w.mailbox);
        g_assert_cmpuint(told, ==, 0);
        g_assert_cmpstr(machine_status(m), ==, "running");
    }
    machine_power_event(m, POWER_RESET, 0);
    loop_until(&w, told == 1);                  /* one that was not served is */
    machine_free(m);
    world_close(&w);
}

static void
a_freed_machine_says_nothing(void)
{
    struct world w;

    open_pair(&w, "synthetic");
    g_assert_true(machine_incoming(w.b, w.uri, false, NULL));
    g_assert_true(machine_cont(w.a, false, NULL));
    g_assert_true(machine_migrate(w.a, w.uri, NULL));
    /* Its letters wait: nobody runs the loop. */
    while (!(run_reasons(machine_run(w.a)) & STOP_MIGRATE))
        g_usleep(500);
    machine_free(g_steal_pointer(&w.a));
    mailbox_drain(w.mailbox);
    world_close(&w);
}

int
main(int argc, char **argv)
{
    static const char *const accels[] = { "synthetic", "kvm" };

    g_test_init(&argc, &argv, NULL);
    main_thread_claim();
    for (size_t i = 0; i < G_N_ELEMENTS(accels); i++) {
        g_autofree char *run = g_strdup_printf("/machine/%s/guest-runs-stops-and-resets", accels[i]);
        g_autofree char *move_ = g_strdup_printf("/machine/%s/guest-moves-there-and-back", accels[i]);
        g_autofree char *refuse = g_strdup_printf("/machine/%s/another-definition-is-refused", accels[i]);
        g_autofree char *paused = g_strdup_printf("/machine/%s/paused-guest-arrives-paused", accels[i]);

        g_autofree char *as_it_was = g_strdup_printf("/machine/%s/guest-arrives-as-it-was", accels[i]);
        g_autofree char *never = g_strdup_printf("/machine/%s/guest-that-never-ran-arrives-so", accels[i]);

        g_test_add_data_func(as_it_was, accels[i], guest_arrives_as_it_was);
        g_test_add_data_func(never, accels[i], guest_that_never_ran_arrives_so);
        g_test_add_data_func(run, accels[i], guest_runs_stops_and_resets);
        g_test_add_data_func(move_, accels[i], guest_moves_there_and_back);
        g_test_add_data_func(refuse, accels[i], another_definition_is_refused);
        g_test_add_data_func(paused, accels[i], paused_guest_arrives_paused);
    }
    g_test_add_func("/machine/a-verification-can-be-cancelled", a_verification_can_be_cancelled);
    g_test_add_func("/machine/a-reset-wanted-at-the-last-moment-goes-along",
                    a_reset_wanted_at_the_last_moment_goes_along);
    g_test_add_func("/machine/a-listener-that-fails-changes-nothing", a_listener_that_fails_changes_nothing);
    g_test_add_func("/machine/a-guest-that-is-just-arriving-is-not-torn-down",
                    a_guest_that_is_just_arriving_is_not_torn_down);
    g_test_add_func("/machine/a-refused-second-one-leaves-the-first-as-it-was",
                    a_refused_second_one_leaves_the_first_as_it_was);
    g_test_add_func("/machine/a-migration-waits-for-who-writes", a_migration_waits_for_who_writes);
    g_test_add_func("/machine/a-build-is-left-alone", a_build_is_left_alone);
    g_test_add_func("/machine/a-build-that-never-began-is-told", a_build_that_never_began_is_told);
    g_test_add_func("/machine/a-request-that-was-served-is-not-served-again",
                    a_request_that_was_served_is_not_served_again);
    g_test_add_func("/machine/a-freed-machine-says-nothing", a_freed_machine_says_nothing);
    return g_test_run();
}
