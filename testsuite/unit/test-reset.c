/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Resets while a job empties and fills the guest's memory: who waits, what is refused meanwhile, what a guest wants
 * that is being verified, and a machine that goes before its guest was reset.  Jobs that do nothing keep the reset's
 * from its turn for as long as a test looks. */
#include "machine-bench.h"

#include <string.h>

enum { BUSY = 2 };                      /* as many as the pool has threads */

struct bench {
    struct world w;
    struct machine *m;
    struct job *busy[BUSY];
    unsigned told;                      /* lines "the guest reset itself" */
    unsigned ended;                     /* "the guest ended itself" */
    char *answers[2];
    unsigned answered;
};

static void
until_cancelled(struct job *job, void *data)
{
    while (!job_cancelled(job))
        g_usleep(1000);
}

static void
hinder(struct bench *b)
{
    for (unsigned i = 0; i < BUSY; i++)
        b->busy[i] = job_start(b->w.jobs, until_cancelled, NULL, NULL);
}

static void
let_go(struct bench *b)
{
    for (unsigned i = 0; i < BUSY; i++)
        job_cancel(b->busy[i]);
}

static void
hear(void *self, const char *text)
{
    struct bench *b = self;

    b->told += strcmp(text, "the guest reset itself") == 0;
    b->ended += strcmp(text, "the guest ended itself") == 0;
}

static bool
add_ram(struct definition *d, const struct values *v, GError **error)
{
    return definition_add_backend(d, BACKEND_RAM, v, error);
}

static void
open_bench(struct bench *b)
{
    struct machine_events events = { .self = b, .guest = hear };
    struct definition *d = definition_new();
    g_autoptr(values) v = property_parse_pairs(workload_properties, "pattern=random rate=5000 size=2M interval=20",
                                               NULL);

    *b = (struct bench) { 0 };
    world_open(&b->w, g_main_context_new());
    world_set(d, memory_properties, MEMORY_P_SIZE, definition_set_memory, "64M,slots=4,maxmem=1G");
    world_set(d, accel_properties, ACCEL_P_ACCEL, definition_set_accel, "synthetic");
    world_set(d, node_properties, -1, definition_add_node, "nodeid=0,cpus=0,mem=64M");
    world_set(d, backend_ram_properties, -1, add_ram, "id=m1,size=4M");
    world_set(d, backend_ram_properties, -1, add_ram, "id=m2,size=4M");
    g_assert_true(definition_set_workload(d, v, NULL));
    b->m = b->w.a = machine_new(b->w.mailbox, b->w.jobs, &events);
    g_assert_true(machine_define(b->m, d, NULL));
    world_build(&b->w, b->m);
    g_assert_true(machine_cont(b->m, false, NULL));
}

static void
close_bench(struct bench *b)
{
    for (unsigned i = 0; i < b->answered; i++)
        g_free(b->answers[i]);
    world_close(&b->w);
}

static void
answer(void *self, const GError *error)
{
    struct bench *b = self;

    g_assert_cmpuint(b->answered, <, G_N_ELEMENTS(b->answers));
    b->answers[b->answered++] = g_strdup(error ? error->message : NULL);
}

static void
no_answer(void *self, const GError *error)
{
}

static void
says(GError **error, const char *wanted)
{
    g_assert_nonnull(*error);
    g_assert_cmpint((*error)->code, ==, NUMON_ERROR_STATE);
    if (!strstr((*error)->message, wanted))
        g_error("'%s' is not in '%s'", wanted, (*error)->message);
    g_clear_error(error);
}

static void
no_verdict(void *self, const struct workload_verdict *v, const GError *error)
{
    g_assert_not_reached();
}

/* One reset for all who ask; the guest stands still and nobody else touches its memory. */
static void
who_asks_waits_and_others_are_refused(void)
{
    struct bench b;
    g_autoptr(GError) error = NULL;

    open_bench(&b);
    loop_until(&b.w, world_ticks(b.m) >= 2);
    hinder(&b);
    g_assert_true(machine_reset(b.m, false, answer, &b, NULL));
    g_assert_true(machine_reset(b.m, false, answer, &b, NULL));
    g_assert_false(machine_running(b.m));
    g_assert_cmpuint(b.answered, ==, 0);
    g_assert_false(machine_writes_begin(b.m, "write", &error));
    says(&error, "cannot write: the guest is being reset");
    g_assert_false(machine_verify(b.m, no_verdict, NULL, &error));
    says(&error, "is being reset");
    g_assert_false(machine_teardown(b.m, false, &error));
    says(&error, "is being reset");
    g_assert_false(machine_may_change_devices(b.m, "delete a device", false, &error));
    says(&error, "cannot delete a device: the guest is being reset");
    g_assert_false(machine_may_receive(b.m, &error));
    says(&error, "cannot wait for a guest");
    /* What vCPUs wanted before is served with it. */
    machine_power_event(b.m, POWER_OFF, 0);
    mailbox_drain(b.w.mailbox);
    g_assert_true(run_reasons(machine_run(b.m)) & STOP_CHANGE);
    g_assert_cmpuint(b.ended, ==, 0);
    let_go(&b);
    loop_until(&b.w, b.answered == 2);
    g_assert_cmpstr(b.answers[0], ==, NULL);
    g_assert_cmpstr(b.answers[1], ==, NULL);
    g_assert_cmpuint(b.told, ==, 0);
    g_assert_cmpstr(machine_status(b.m), ==, "running");
    loop_until(&b.w, world_ticks(b.m) >= 2);
    close_bench(&b);
}

/* `stop` and `cont` mean the guest that begins anew. */
static void
stopped_meanwhile_it_stays_so(void)
{
    struct bench b;

    open_bench(&b);
    loop_until(&b.w, world_ticks(b.m) >= 2);
    hinder(&b);
    g_assert_true(machine_reset(b.m, false, answer, &b, NULL));
    g_assert_true(machine_stop(b.m, NULL));
    let_go(&b);
    loop_until(&b.w, b.answered == 1);
    g_assert_cmpstr(machine_status(b.m), ==, "paused");
    g_assert_cmpuint(world_ticks(b.m), ==, 0);
    g_assert_true(machine_cont(b.m, false, NULL));
    loop_until(&b.w, world_ticks(b.m) >= 2);
    close_bench(&b);
}

static void
a_machine_goes_before_its_guest_was_reset(void)
{
    struct bench b;

    open_bench(&b);
    hinder(&b);
    g_assert_true(machine_reset(b.m, false, answer, &b, NULL));
    g_assert_true(machine_teardown(b.m, true, NULL));
    g_assert_cmpuint(b.answered, ==, 1);
    g_assert_cmpstr(b.answers[0], ==, "the guest was not reset: its machine is torn down");
    let_go(&b);
    world_build(&b.w, b.m);
    g_assert_true(machine_cont(b.m, false, NULL));
    loop_until(&b.w, world_ticks(b.m) >= 2);
    close_bench(&b);
}

static void
a_session_ends_before_its_guest_was_reset(void)
{
    struct bench b;

    open_bench(&b);
    hinder(&b);
    g_assert_true(machine_reset(b.m, false, answer, &b, NULL));
    jobs_free(g_steal_pointer(&b.w.jobs));
    g_assert_cmpuint(b.answered, ==, 1);
    g_assert_cmpstr(b.answers[0], ==, "the guest was not reset: the session ends");
    close_bench(&b);
}

struct verified { bool done; uint64_t lost; };

static void
verify_done(void *self, const struct workload_verdict *v, const GError *error)
{
    g_assert_no_error(error);
    *(struct verified *)self = (struct verified) { true, v->lost + (v->text != NULL) };
}

/* Its pages must not go under the hands of who counts them. */
static void
a_wish_waits_for_a_verification(void)
{
    struct bench b;
    struct verified v = { 0 };

    open_bench(&b);
    loop_until(&b.w, world_ticks(b.m) >= 2);
    hinder(&b);
    g_assert_true(machine_verify(b.m, verify_done, &v, NULL));
    machine_power_event(b.m, POWER_RESET, 0);
    mailbox_drain(b.w.mailbox);
    g_assert_null(b.m->resetting);
    g_assert_cmpuint(b.told, ==, 0);
    let_go(&b);
    loop_until(&b.w, v.done);
    g_assert_cmpuint(v.lost, ==, 0);
    loop_until(&b.w, b.told == 1);
    loop_until(&b.w, world_ticks(b.m) >= 2);
    g_assert_cmpstr(machine_status(b.m), ==, "running");
    close_bench(&b);
}

static bool
plug(struct bench *b, const char *text, GError **error)
{
    g_autoptr(values) v = property_parse_options(dimm_properties, -1, text, NULL);

    return machine_device_add(b->m, DEVICE_DIMM, v, answer, b, error);
}

/* A device that was made and waits for the guest's memory to be emptied. */
static void
plug_while_it_is_reset(struct bench *b)
{
    g_autoptr(GError) error = NULL;

    open_bench(b);
    g_assert_true(plug(b, "id=d1,memdev=m1", NULL));
    hinder(b);
    machine_reset(b->m, false, no_answer, NULL, NULL);
    loop_until(&b->w, b->m->plug_waits);
    g_assert_nonnull(b->m->resetting);
    /* It would have the same slot, and the one that waits would undo what was defined since. */
    g_assert_false(plug(b, "id=d2,memdev=m2", &error));
    says(&error, "another device waits for the guest's reset");
    g_assert_cmpuint(b->answered, ==, 0);
}

static void
a_device_waits_and_no_other_comes(void)
{
    struct bench b;

    plug_while_it_is_reset(&b);
    let_go(&b);
    loop_until(&b.w, b.answered == 1);
    g_assert_cmpstr(b.answers[0], ==, NULL);
    g_assert_true(plug(&b, "id=d2,memdev=m2", NULL));
    loop_until(&b.w, b.answered == 2);
    g_assert_cmpstr(b.answers[1], ==, NULL);
    g_assert_cmpuint(machine_definition(b.m)->devices->len, ==, 2);
    close_bench(&b);
}

static void
a_device_that_waits_does_not_come_to_a_machine_that_goes(void)
{
    struct bench b;

    plug_while_it_is_reset(&b);
    g_assert_true(machine_teardown(b.m, true, NULL));
    g_assert_cmpuint(b.answered, ==, 1);
    g_assert_cmpstr(b.answers[0], ==, "the guest was not reset: its machine is torn down");
    g_assert_cmpuint(machine_definition(b.m)->devices->len, ==, 0);
    let_go(&b);
    close_bench(&b);
}

int
main(int argc, char **argv)
{
    main_thread_claim();
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/reset/who-asks-waits-and-others-are-refused", who_asks_waits_and_others_are_refused);
    g_test_add_func("/reset/stopped-meanwhile-it-stays-so", stopped_meanwhile_it_stays_so);
    g_test_add_func("/reset/a-machine-goes-before-its-guest-was-reset", a_machine_goes_before_its_guest_was_reset);
    g_test_add_func("/reset/a-session-ends-before-its-guest-was-reset", a_session_ends_before_its_guest_was_reset);
    g_test_add_func("/reset/a-wish-waits-for-a-verification", a_wish_waits_for_a_verification);
    g_test_add_func("/reset/a-device-waits-and-no-other-comes", a_device_waits_and_no_other_comes);
    g_test_add_func("/reset/a-device-that-waits-does-not-come-to-a-machine-that-goes",
                    a_device_that_waits_does_not_come_to_a_machine_that_goes);
    return g_test_run();
}
