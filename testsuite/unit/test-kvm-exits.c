/* SPDX-License-Identifier: GPL-3.0-or-later */
/* How a vCPU of KVM leaves its guest for good, and what is said of it. */
#include "kvm-bench.h"

#include <string.h>

#include "../../src/accel/kvm/kvm-private.h"

GUEST(guest_fault, "mov %esi, %edx\n mov $1, %eax\n out %eax, %dx\n ud2");
GUEST(guest_lost, "jmp *%rbx");
/* An instruction that processors have and page-table KVM does not emulate; then tells 2. */
GUEST(guest_counts_bits, "mov $0x77, %r11d\n popcnt %r11, %r11\n mov $2, %eax\n mov %esi, %edx\n out %eax, %dx\n"
                         "1: pause\n jmp 1b");

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

/* Either the processor does it, or the dump shows registers and code. */
static void
test_unemulated_code_is_dumped(void)
{
    struct bench b;
    struct cpu_start start = start_in_ring_0(0);

    if (!BENCH(&b, 1, guest_counts_bits))
        return;
    g_assert_true(accel_kvm.vcpu_reset(b.accel, 0, &start, NULL));
    go(&b);
    while (!b.events && value_now(&b.station, 0) != 2)
        g_main_context_iteration(NULL, FALSE);
    if (b.events) {
        g_assert_cmpint(b.last_event, ==, VCPU_ERROR);
        g_assert_nonnull(strstr(b.last_text, "cannot emulate"));
        g_assert_nonnull(strstr(b.last_text, "R11=0000000000000077"));
        g_assert_nonnull(strstr(b.last_text, "CR3=0000000000002000"));
        g_assert_nonnull(strstr(b.last_text, "41 bb 77 00 00 00 <f3> 4d 0f b8 db b8 02"));
    } else {
        g_test_message("this KVM runs it");
    }
    bench_release(&b);
}

/* --- exits that no guest here can bring about: written into the page of a parked vCPU --------------------------- */

struct made {
    const char *name;
    struct kvm_run run;
    enum vcpu_exit what;
    const char *text;               /* part of what is said; NULL: nothing is */
};

static const struct made made[] = {
    { "irq-window", { .exit_reason = KVM_EXIT_IRQ_WINDOW_OPEN }, VCPU_AGAIN, NULL },
    { "interrupted", { .exit_reason = KVM_EXIT_INTR }, VCPU_AGAIN, NULL },
    { "set-tpr", { .exit_reason = KVM_EXIT_SET_TPR }, VCPU_AGAIN, NULL },
    { "bus-lock", { .exit_reason = KVM_EXIT_X86_BUS_LOCK }, VCPU_AGAIN, NULL },
    { "shutdown", { .exit_reason = KVM_EXIT_SHUTDOWN }, VCPU_RESET, NULL },
    { "system-event", { .exit_reason = KVM_EXIT_SYSTEM_EVENT, .system_event.type = KVM_SYSTEM_EVENT_SHUTDOWN },
      VCPU_SHUTDOWN, NULL },
    { "system-event", { .exit_reason = KVM_EXIT_SYSTEM_EVENT, .system_event.type = KVM_SYSTEM_EVENT_RESET },
      VCPU_RESET, NULL },
    { "system-event", { .exit_reason = KVM_EXIT_SYSTEM_EVENT, .system_event.type = KVM_SYSTEM_EVENT_CRASH,
                        .system_event.ndata = 2, .system_event.data = { 0xdead, 0xbeef } },
      VCPU_ERROR, "system event: crash, data 0xdead 0xbeef" },
    { "system-event", { .exit_reason = KVM_EXIT_SYSTEM_EVENT, .system_event.type = 77 },
      VCPU_ERROR, "system event 77, which numon does not know" },
    { "internal-error", { .exit_reason = KVM_EXIT_INTERNAL_ERROR,
                          .internal = { .suberror = KVM_INTERNAL_ERROR_DELIVERY_EV, .ndata = 3,
                                        .data = { 1, 2, 0xabc } } },
      VCPU_ERROR, "could not deliver an event, data 0x1 0x2 0xabc" },
    { "internal-error", { .exit_reason = KVM_EXIT_INTERNAL_ERROR,
                          .internal = { .suberror = 99, .ndata = UINT32_MAX } }, VCPU_ERROR,
          "internal error 99, data 0x0" },
    { "internal-error", { .exit_reason = KVM_EXIT_INTERNAL_ERROR,
                          .emulation_failure = { .suberror = KVM_INTERNAL_ERROR_EMULATION, .ndata = 5,
                                                 .flags = KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES,
                                                 .insn_size = 2, .insn_bytes = { 0x0f, 0xaa } } },
      VCPU_ERROR, "cannot emulate an instruction, bytes 0f aa;" },
    { "fail-entry", { .exit_reason = KVM_EXIT_FAIL_ENTRY,
                      .fail_entry = { .hardware_entry_failure_reason = 0x80000021, .cpu = 3 } },
      VCPU_ERROR, "refused to enter the guest, reason 0x80000021, on host CPU 3" },
    { "unknown", { .exit_reason = KVM_EXIT_UNKNOWN, .hw.hardware_exit_reason = 0x7b },
      VCPU_ERROR, "reason 0x7b, which KVM does not know" },
    { "exception", { .exit_reason = KVM_EXIT_EXCEPTION, .ex = { .exception = 13, .error_code = 0x18 } },
      VCPU_ERROR, "exception 13, error code 0x18" },
    { "rdmsr", { .exit_reason = KVM_EXIT_X86_RDMSR, .msr.index = 0x1234 }, VCPU_ERROR, "read MSR 0x1234" },
    { "wrmsr", { .exit_reason = KVM_EXIT_X86_WRMSR, .msr.index = 0x1234 }, VCPU_ERROR, "wrote MSR 0x1234" },
    { "hypercall", { .exit_reason = KVM_EXIT_HYPERCALL, .hypercall.nr = 12 }, VCPU_ERROR, "hypercall 12" },
    { "debug", { .exit_reason = KVM_EXIT_DEBUG, .debug.arch = { .exception = 3, .pc = 0x8000 } },
      VCPU_ERROR, "exception 3 at 0x8000" },
    { "hyperv", { .exit_reason = KVM_EXIT_HYPERV }, VCPU_ERROR, "(hyperv: a call of the Hyper-V interface)" },
    { "other", { .exit_reason = 4711 }, VCPU_ERROR, "reason 4711 (other: a reason newer than numon)" },
};

static uint64_t
count_of(struct bench *b, const char *name)
{
    struct exit_count counts[64];
    unsigned count = accel_kvm.exits(b->accel, 0, counts, G_N_ELEMENTS(counts));

    for (unsigned i = 0; i < count; i++)
        if (strcmp(counts[i].name, name) == 0)
            return counts[i].count;
    g_assert_not_reached();
}

static void
test_every_reason_is_handled_or_reported(void)
{
    struct bench b;
    struct kvm_cpu *c;

    if (!BENCH(&b, 1, guest_fault))
        return;
    c = ((struct kvm *)b.accel)->cpus;
    for (unsigned i = 0; i < G_N_ELEMENTS(made); i++) {
        uint64_t before = count_of(&b, made[i].name);
        g_autofree char *text = NULL;

        memcpy(c->run, &made[i].run, sizeof made[i].run);
        g_assert_cmpint(exit_handle(c, &text), ==, made[i].what);
        g_test_message("%s: %.*s", made[i].name, text ? (int)strcspn(text, "\n") : 7, text ? text : "handled");
        g_assert_cmpint(text != NULL, ==, made[i].text != NULL);
        if (text) {
            g_assert_nonnull(strstr(text, made[i].text));
            g_assert_nonnull(strstr(text, "RIP=0000000000008000"));
        }
        g_assert_cmpuint(count_of(&b, made[i].name), ==, before + 1);
    }
    memset(c->run, 0, sizeof(struct kvm_run));
    bench_release(&b);
}

/* What a guest does shows in the counts. */
static void
test_exits_are_counted(void)
{
    struct bench b;
    struct exit_count counts[64];
    uint64_t host_ns = 0;

    if (!BENCH(&b, 1, guest_spin))
        return;
    /* A stop need not find it in the guest each time. */
    for (unsigned i = 0; i < 3 || (i < 100 && count_of(&b, "interrupted") == 0); i++) {
        go(&b);
        wait_value(&b.station, 0, value_now(&b.station, 0) + 1);
        g_usleep(1000);             /* a moment, so that it is in the guest again */
        run_hold(b.run, STOP_USER);
    }
    g_assert_cmpuint(count_of(&b, "io"), ==, b.station.written[0]);
    g_assert_cmpuint(count_of(&b, "interrupted"), >=, 1);
    g_assert_cmpuint(count_of(&b, "mmio"), ==, 0);
    for (unsigned i = accel_kvm.exits(b.accel, 0, counts, G_N_ELEMENTS(counts)); i-- > 0;)
        host_ns += counts[i].host_ns;
    g_assert_cmpuint(host_ns, >, 0);
    bench_release(&b);
}

int
main(int argc, char **argv)
{
    main_thread_claim();
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/kvm/triple-fault", test_triple_fault);
    g_test_add_func("/kvm/internal-error", test_internal_error);
    g_test_add_func("/kvm/exits/unemulated-code-is-dumped", test_unemulated_code_is_dumped);
    g_test_add_func("/kvm/exits/every-reason-is-handled-or-reported", test_every_reason_is_handled_or_reported);
    g_test_add_func("/kvm/exits/exits-are-counted", test_exits_are_counted);
    return g_test_run();
}
