/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What guests of KVM see of the time that they are stopped to be moved. */
#include "kvm-bench.h"

enum { AWAY_US = 60000, NEAR_US = 30000 };

/* Reads the time stamp counter for ever, complains if it went back, and tells now and then.  R15 counts the readings,
 * R14 holds the last one, of this CPU alone. */
GUEST(guest_watch,
      "xor %r15d, %r15d\n xor %r14d, %r14d\n mov %esi, %r8d\n"
      "1: lfence\n rdtsc\n shl $32, %rdx\n or %rdx, %rax\n cmp %r14, %rax\n jb 9f\n mov %rax, %r14\n"
      "inc %r15\n test $0xffff, %r15d\n jnz 1b\n"
      "mov %r15d, %eax\n mov %r8d, %edx\n out %eax, %dx\n jmp 1b\n"
      "9: lea 8(%r8), %edx\n out %eax, %dx\n jmp 9b");

/* A move as a migration makes it, with a pause in the middle. */
static struct time_jump
move(struct bench *b, bool clock_stops, char **ret_warning)
{
    g_autoptr(GByteArray) bytes = NULL;
    struct time_jump jump = { 0 };

    run_hold(b->run, STOP_USER);
    accel_kvm.time_stop(b->accel);
    bytes = save(b);
    drop_vm(b);
    move_memory(b);
    g_usleep(AWAY_US);                      /* the downtime, which is what is looked at */
    b->clock_stops = clock_stops;
    make_vm(b);
    load(b, bytes);
    accel_kvm.time_start(b->accel, &jump, ret_warning);
    go(b);
    for (unsigned cpu = 0; cpu < b->cpu_count; cpu++)
        wait_value(&b->station, cpu, value_now(&b->station, cpu) + 1);
    g_test_message("away %" G_GINT64_FORMAT " us, clock on by %" G_GINT64_FORMAT " us, counter (%s) by %"
                   G_GINT64_FORMAT " us; %s", jump.away_us, jump.clock_us, jump.tsc_set ? "set" : "the host's",
                   jump.tsc_us, *ret_warning ? *ret_warning : "no warning");
    g_assert_true(jump.known);
    g_assert_cmpint(jump.away_us, >=, AWAY_US);
    return jump;
}

static void
test_downtime_is_added(void)
{
    struct bench b;
    g_autofree char *warning = NULL;

    if (!BENCH(&b, 2, guest_watch))
        return;
    go(&b);
    for (unsigned i = 0; i < 3; i++) {
        struct time_jump jump;

        g_clear_pointer(&warning, g_free);
        jump = move(&b, false, &warning);
        g_assert_cmpint(ABS(jump.clock_us - jump.away_us), <, NEAR_US);
        g_assert_cmpint(ABS(jump.tsc_us - jump.away_us), <, NEAR_US);
        g_assert_null(warning);
    }
    run_hold(b.run, STOP_USER);
    bench_release(&b);
}

static void
test_downtime_is_left_out(void)
{
    struct bench b;

    if (!BENCH(&b, 2, guest_watch))
        return;
    go(&b);
    for (unsigned i = 0; i < 3; i++) {
        g_autofree char *warning = NULL;
        struct time_jump jump = move(&b, true, &warning);

        g_assert_cmpint(jump.clock_us, >=, 0);
        g_assert_cmpint(jump.clock_us, <, NEAR_US);
        if (jump.tsc_set) {
            g_assert_cmpint(jump.tsc_us, >=, 0);
            g_assert_cmpint(jump.tsc_us, <, NEAR_US);
            g_assert_null(warning);
        } else {
            g_assert_cmpint(jump.tsc_us, >=, AWAY_US);
            g_assert_nonnull(warning);
        }
    }
    run_hold(b.run, STOP_USER);
    bench_release(&b);
}

/* What is saved long after the stop is of the stop. */
static void
test_saved_time_is_that_of_the_stop(void)
{
    struct bench b;
    g_autoptr(GByteArray) bytes = NULL;
    g_autofree char *warning = NULL;
    struct time_jump jump;

    if (!BENCH(&b, 1, guest_watch))
        return;
    go(&b);
    wait_value(&b.station, 0, 1);
    run_hold(b.run, STOP_USER);
    accel_kvm.time_stop(b.accel);
    g_usleep(AWAY_US);                      /* the last pages would be sent now */
    bytes = save(&b);
    drop_vm(&b);
    make_vm(&b);
    load(&b, bytes);
    accel_kvm.time_start(b.accel, &jump, &warning);
    g_assert_cmpint(jump.away_us, >=, AWAY_US);
    g_assert_cmpint(jump.clock_us, >=, AWAY_US);
    bench_release(&b);
}

int
main(int argc, char **argv)
{
    main_thread_claim();
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/kvm/time/downtime-is-added", test_downtime_is_added);
    g_test_add_func("/kvm/time/downtime-is-left-out", test_downtime_is_left_out);
    g_test_add_func("/kvm/time/saved-time-is-that-of-the-stop", test_saved_time_is_that_of_the_stop);
    return g_test_run();
}
