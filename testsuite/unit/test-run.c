/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Run control over a class whose CPUs do nothing but wait for a kick: parking, kicks that come too early, reasons
 * from two threads at once, events. */
#include "accel.h"

#include <time.h>
#include <unistd.h>

enum { CPUS = 4, SLEEP_S = 20 };

enum order { ORDER_NONE, ORDER_ERROR, ORDER_RESET, ORDER_SHUTDOWN, ORDER_DEAF };

struct accel {
    _Atomic bool kicked[CPUS];
    _Atomic unsigned slices[CPUS];
    _Atomic int64_t ran_us;             /* all CPUs together, in vcpu_run */
    _Atomic unsigned out;               /* CPUs in vcpu_run */
    _Atomic unsigned unsettled;         /* CPUs that ran and have not settled since */
    bool dirty[CPUS];                   /* ran since it settled; the vCPU's own */
    _Atomic int order[CPUS];            /* what a CPU does next, once */
    struct run *run;
};

/* As a system call that a signal ends, but with a moment between the look at the flag and the call in which the
 * signal comes too early. */
static void
sleep_until_signal(struct accel *a, unsigned cpu)
{
    const struct timespec moment = { 0, 20000 }, long_time = { SLEEP_S, 0 };

    if (a->kicked[cpu])
        return;
    nanosleep(&moment, NULL);
    nanosleep(&long_time, NULL);
}

static enum vcpu_exit
fake_run(struct accel *a, unsigned cpu, char **ret_text)
{
    enum order order = atomic_exchange(&a->order[cpu], ORDER_NONE);
    int64_t begin_us = g_get_monotonic_time();

    a->out++;
    if (!a->dirty[cpu])
        a->unsettled++;
    a->dirty[cpu] = true;
    a->slices[cpu]++;
    if (order == ORDER_DEAF)
        while (!a->order[cpu])
            g_thread_yield();
    if (order == ORDER_RESET)
        run_request(a->run, VCPU_RESET);
    else if (order == ORDER_NONE)
        sleep_until_signal(a, cpu);
    a->ran_us += g_get_monotonic_time() - begin_us;
    a->out--;
    if (order == ORDER_ERROR)
        *ret_text = g_strdup("it broke");
    return order == ORDER_ERROR ? VCPU_ERROR : order == ORDER_SHUTDOWN ? VCPU_SHUTDOWN : VCPU_AGAIN;
}

static void
fake_settle(struct accel *a, unsigned cpu)
{
    if (a->dirty[cpu])
        a->unsettled--;
    a->dirty[cpu] = false;
}

static void
fake_kick(struct accel *a, unsigned cpu)
{
    a->kicked[cpu] = true;
}

static void
fake_unkick(struct accel *a, unsigned cpu)
{
    a->kicked[cpu] = false;
}

static const struct accel_class fake_class = {
    .name = "fake", .vcpu_run = fake_run, .vcpu_settle = fake_settle, .vcpu_kick = fake_kick,
    .vcpu_unkick = fake_unkick,
};

struct bench {
    struct mailbox *mailbox;
    struct accel accel;
    struct run *run;
    unsigned events;
    struct run_event last;
    char *text;
};

static void
take_event(void *self, const struct run_event *e)
{
    struct bench *b = self;

    b->events++;
    b->last = *e;
    g_free(b->text);
    b->text = g_strdup(e->text);
}

static void
bench_init(struct bench *b)
{
    *b = (struct bench) { .mailbox = mailbox_new(NULL) };
    b->run = run_new(&fake_class, &b->accel, CPUS, NULL, b->mailbox, take_event, b);
    b->accel.run = b->run;
}

static void
bench_release(struct bench *b)
{
    run_free(b->run);
    mailbox_free(b->mailbox);
    g_free(b->text);
}

static void
wait_slices(struct bench *b)
{
    for (unsigned cpu = 0; cpu < CPUS; cpu++)
        while (!b->accel.slices[cpu])
            g_thread_yield();
}

static void
wait_events(struct bench *b, unsigned count)
{
    while (b->events < count) {
        mailbox_drain(b->mailbox);
        g_thread_yield();
    }
}

static void
expect_parked(struct bench *b)
{
    g_assert_cmpuint(b->accel.out, ==, 0);
    g_assert_cmpuint(b->accel.unsettled, ==, 0);
}

static void
guest_runs_when_no_reason_is_left(void)
{
    struct bench b;

    bench_init(&b);
    g_assert_cmpuint(run_reasons(b.run), ==, STOP_USER);
    run_hold(b.run, STOP_MIGRATE);
    g_assert_cmpint(run_thread_id(b.run, 0), ==, 0);
    g_assert_true(run_release(b.run, STOP_USER, NULL));
    g_assert_cmpint(run_thread_id(b.run, 0), ==, 0);
    g_assert_true(run_release(b.run, STOP_MIGRATE, NULL));
    g_assert_true(run_running(b.run));
    wait_slices(&b);
    g_assert_cmpint(run_thread_id(b.run, 3), !=, getpid());
    run_hold(b.run, STOP_USER);
    expect_parked(&b);
    bench_release(&b);
}

static void
no_kick_is_lost(void)
{
    struct bench b;

    bench_init(&b);
    for (unsigned i = 0; i < 150; i++) {
        int64_t begin;

        g_assert_true(run_release(b.run, STOP_USER, NULL));
        if (i % 3)
            g_usleep(i % 3 * 30);
        begin = g_get_monotonic_time();
        run_hold(b.run, STOP_USER);
        expect_parked(&b);
        g_assert_cmpint(g_get_monotonic_time() - begin, <, (SLEEP_S - 5) * G_USEC_PER_SEC);
    }
    bench_release(&b);
}

struct other {
    struct bench *bench;
    _Atomic bool done;
};

static void *
hold_and_release(void *data)
{
    struct other *o = data;

    while (!o->done) {
        run_hold(o->bench->run, STOP_MIGRATE);
        expect_parked(o->bench);
        g_assert_true(run_release(o->bench->run, STOP_MIGRATE, NULL));
    }
    return NULL;
}

static void
two_threads_hold_at_once(void)
{
    struct bench b;
    struct other o = { .bench = &b };
    struct thread thread = { 0 };

    bench_init(&b);
    g_assert_true(run_release(b.run, STOP_USER, NULL));
    g_assert_true(thread_start(&thread, "other", hold_and_release, &o, NULL));
    for (unsigned i = 0; i < 100; i++) {
        unsigned slices;

        run_hold(b.run, STOP_USER);
        slices = b.accel.slices[1];
        expect_parked(&b);
        g_thread_yield();
        g_assert_cmpuint(b.accel.slices[1], ==, slices);
        g_assert_true(run_release(b.run, STOP_USER, NULL));
    }
    o.done = true;
    thread_join(&thread);
    g_assert_true(run_running(b.run));
    bench_release(&b);
}

static void
error_stops_all_and_tells_main(void)
{
    struct bench b;

    bench_init(&b);
    b.accel.order[2] = ORDER_ERROR;
    g_assert_true(run_release(b.run, STOP_USER, NULL));
    wait_events(&b, 1);
    g_assert_cmpint(b.last.what, ==, VCPU_ERROR);
    g_assert_cmpuint(b.last.cpu, ==, 2);
    g_assert_cmpstr(b.text, ==, "it broke");
    g_assert_cmpuint(run_reasons(b.run), ==, STOP_ERROR);
    run_hold(b.run, STOP_USER);
    expect_parked(&b);
    bench_release(&b);
}

static void
request_is_told_once_until_released(void)
{
    struct bench b;

    bench_init(&b);
    b.accel.order[1] = b.accel.order[3] = ORDER_RESET;
    for (unsigned round = 1; round <= 3; round++) {
        g_assert_true(run_release(b.run, STOP_USER | STOP_CHANGE, NULL));
        wait_events(&b, round);
        g_assert_cmpint(b.last.what, ==, VCPU_RESET);
        g_assert_true(b.last.cpu == 1 || b.last.cpu == 3);
        g_assert_cmpuint(run_reasons(b.run), ==, STOP_CHANGE);
        run_hold(b.run, STOP_CHANGE);
        expect_parked(&b);
        mailbox_drain(b.mailbox);
        g_assert_cmpuint(b.events, ==, round);
        b.accel.order[1] = b.accel.order[3] = ORDER_RESET;
    }
    b.accel.order[1] = b.accel.order[3] = ORDER_NONE;
    b.accel.order[0] = ORDER_SHUTDOWN;
    g_assert_true(run_release(b.run, STOP_CHANGE, NULL));
    wait_events(&b, 4);
    g_assert_cmpint(b.last.what, ==, VCPU_SHUTDOWN);
    g_assert_cmpuint(run_reasons(b.run), ==, STOP_ERROR);
    bench_release(&b);
}

static void *
hold_once(void *data)
{
    run_hold(data, STOP_MIGRATE);
    return NULL;
}

static void
hold_ends_when_its_reason_is_taken_away(void)
{
    struct bench b;
    struct thread thread = { 0 };

    bench_init(&b);
    b.accel.order[0] = ORDER_DEAF;
    g_assert_true(run_release(b.run, STOP_USER, NULL));
    wait_slices(&b);
    g_assert_true(thread_start(&thread, "holder", hold_once, b.run, NULL));
    while (!(run_reasons(b.run) & STOP_MIGRATE))
        g_thread_yield();
    g_assert_true(run_release(b.run, STOP_MIGRATE, NULL));
    thread_join(&thread);
    g_assert_true(run_running(b.run));
    b.accel.order[0] = ORDER_SHUTDOWN;
    wait_events(&b, 1);
    bench_release(&b);
}

/* At 90 % a CPU runs for 10 ms and sleeps for 90. */
static void
throttle_takes_its_part_of_the_time(void)
{
    struct bench b;

    bench_init(&b);
    g_assert_true(run_release(b.run, STOP_USER, NULL));
    g_assert_true(run_throttle(b.run, 90, NULL));
    int64_t begin_us = g_get_monotonic_time();
    while (run_throttle_naps(b.run) < 6 * CPUS)
        g_usleep(1000);
    run_hold(b.run, STOP_USER);
    int64_t passed_us = g_get_monotonic_time() - begin_us;
    g_assert_cmpint(passed_us, >=, 5 * 100000 - 1000);
    g_assert_cmpint(b.accel.ran_us, <, CPUS * passed_us / 3);
    g_assert_cmpint(b.accel.ran_us, >, 0);
    bench_release(&b);
}

/* A nap of 990 ms does not keep anybody who stops the guest, nor outlive the throttle. */
static void
stop_cuts_a_nap_short(void)
{
    struct bench b;

    bench_init(&b);
    g_assert_true(run_release(b.run, STOP_USER, NULL));
    g_assert_true(run_throttle(b.run, 99, NULL));
    while (run_throttle_naps(b.run) < CPUS)
        g_usleep(100);
    int64_t begin_us = g_get_monotonic_time();
    run_hold(b.run, STOP_USER);
    g_assert_cmpint(g_get_monotonic_time() - begin_us, <, 400000);
    expect_parked(&b);
    g_assert_true(run_throttle(b.run, 0, NULL));
    g_assert_true(run_release(b.run, STOP_USER, NULL));
    uint64_t naps = run_throttle_naps(b.run);
    for (unsigned cpu = 0; cpu < CPUS; cpu++)
        b.accel.slices[cpu] = 0;
    run_hold(b.run, STOP_USER);
    run_release(b.run, STOP_USER, NULL);
    wait_slices(&b);
    g_assert_cmpuint(run_throttle_naps(b.run), ==, naps);
    bench_release(&b);
}

static void
late_event_finds_nobody(void)
{
    struct bench b;

    bench_init(&b);
    b.accel.order[0] = ORDER_ERROR;
    g_assert_true(run_release(b.run, STOP_USER, NULL));
    while (!(run_reasons(b.run) & STOP_ERROR))
        g_thread_yield();
    run_free(g_steal_pointer(&b.run));
    mailbox_drain(b.mailbox);
    g_assert_cmpuint(b.events, ==, 0);
    bench_release(&b);
}

int
main(int argc, char **argv)
{
    main_thread_claim();
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/run/guest-runs-when-no-reason-is-left", guest_runs_when_no_reason_is_left);
    g_test_add_func("/run/no-kick-is-lost", no_kick_is_lost);
    g_test_add_func("/run/two-threads-hold-at-once", two_threads_hold_at_once);
    g_test_add_func("/run/error-stops-all-and-tells-main", error_stops_all_and_tells_main);
    g_test_add_func("/run/request-is-told-once", request_is_told_once_until_released);
    g_test_add_func("/run/hold-ends-when-its-reason-is-taken-away", hold_ends_when_its_reason_is_taken_away);
    g_test_add_func("/run/throttle-takes-its-part-of-the-time", throttle_takes_its_part_of_the_time);
    g_test_add_func("/run/stop-cuts-a-nap-short", stop_cuts_a_nap_short);
    g_test_add_func("/run/late-event-finds-nobody", late_event_finds_nobody);
    return g_test_run();
}
