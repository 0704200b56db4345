/* SPDX-License-Identifier: GPL-3.0-or-later */
/* How a vCPU of KVM leaves its guest for good, and what is said of it. */
#include "kvm-bench.h"

#include <string.h>

GUEST(guest_fault, "mov %esi, %edx\n mov $1, %eax\n out %eax, %dx\n ud2");
GUEST(guest_lost, "jmp *%rbx");

static void
test_triple_fault(void)
{
    struct bench b;

    if (!BENCH(&b, 2, guest_fault))
        return;
    for (unsigned i = 1; i <= 3; i++) {
        go(&b);
        wait_event(&b);
        g_assert_cmpint(b.last_event, ==, VCPU_RESET);
        g_assert_true(run_reasons(b.run) & STOP_CHANGE);
        run_hold(b.run, STOP_CHANGE | STOP_USER);
        g_assert_cmpuint(b.station.written[0], <=, i);
        g_assert_cmpuint(b.station.written[0] + b.station.written[1], >=, i);
        reset_cpus(&b);
        g_assert_true(run_release(b.run, STOP_CHANGE, NULL));
    }
    bench_release(&b);
}

/* In ring 0, as user mode gets an exception from KVM instead. */
static void
test_internal_error(void)
{
    struct bench b;
    struct cpu_start start = start_in_ring_0(0);

    if (!BENCH(&b, 1, guest_lost))
        return;
    g_assert_true(accel_kvm.vcpu_reset(b.accel, 0, &start, NULL));
    go(&b);
    wait_event(&b);
    g_assert_cmpint(b.last_event, ==, VCPU_ERROR);
    g_test_message("%s", b.last_text);
    g_assert_nonnull(strstr(b.last_text, "cannot emulate"));
    g_assert_nonnull(strstr(b.last_text, "rip 0x40000000"));
    g_assert_true(run_reasons(b.run) & STOP_ERROR);
    bench_release(&b);
}

int
main(int argc, char **argv)
{
    main_thread_claim();
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/kvm/triple-fault", test_triple_fault);
    g_test_add_func("/kvm/internal-error", test_internal_error);
    return g_test_run();
}
