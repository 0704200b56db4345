/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Guests of KVM that are moved between virtual machines of one process, at any moment. */
#include "kvm-bench.h"

#include <string.h>

/* Counts in R15, reading each time a port, an MMIO register, and one that lies across two pages, which takes two
 * exits; all must say what the count says.  XMM0 and memory carry the count besides.  Each eighth time a string goes
 * to the UART, an exit a byte. */
GUEST(guest_count,
      "xor %r15d, %r15d\n movq %r15, %xmm0\n mov %r15, (%rbp)\n"
      "1: lea 4(%rsi), %edx\n in %dx, %eax\n lea 1(%r15), %r8\n cmp %r8d, %eax\n jne 9f\n"
      "mov (%rbx), %eax\n cmp %r8d, %eax\n jne 9f\n"
      "mov %rdi, %r10\n shl $12, %r10\n mov $0x40001ffc, %r11d\n mov (%r10, %r11), %rax\n"
      "lea 1(, %r15, 2), %r9\n cmp %r9d, %eax\n jne 9f\n shr $32, %rax\n inc %r9\n cmp %r9d, %eax\n jne 9f\n"
      "movq %xmm0, %r9\n cmp %r9, %r15\n jne 9f\n cmp (%rbp), %r15\n jne 9f\n"
      "inc %r15\n movq %r15, %xmm0\n mov %r15, (%rbp)\n"
      "test $7, %r15b\n jnz 1b\n"
      "mov $50, %eax\n mov $0x510, %edx\n out %eax, %dx\n"
      "test %edi, %edi\n jnz 2f\n"
      "mov %rsi, %r10\n lea 8f(%rip), %rsi\n mov $8, %ecx\n mov $0x3f8, %edx\n cld\n rep outsb\n mov %r10, %rsi\n"
      "2: mov %r15d, %eax\n mov %esi, %edx\n out %eax, %dx\n jmp 1b\n"
      "8: .ascii \"abcdefgh\"\n"
      "9: lea 8(%rsi), %edx\n out %eax, %dx\n jmp 9b");

/* Ring 0: enables its local APIC in x2APIC form, tells 1, waits for [RBP], then sends INIT and SIPI to the APIC
 * id in the next word; the CPU starts in real mode at AP_CODE, makes its APIC's form the same, tells 7 and halts. */
GUEST(guest_wakes,
      "mov $0x1b, %ecx\n rdmsr\n or $0xc00, %eax\n wrmsr\n"
      "mov $0x80f, %ecx\n mov $0x1ff, %eax\n xor %edx, %edx\n wrmsr\n"
      "mov $1, %eax\n mov %esi, %edx\n out %eax, %dx\n"
      "1: pause\n cmpl $0, (%rbp)\n je 1b\n"
      "mov $0x830, %ecx\n mov 8(%rbp), %edx\n mov $0x4500, %eax\n wrmsr\n mov $0x4609, %eax\n wrmsr\n"
      "2: pause\n jmp 2b");
GUEST(guest_woken,
      ".code16\n mov $0x1b, %ecx\n rdmsr\n or $0xc00, %eax\n wrmsr\n mov $0x610, %dx\n mov $7, %eax\n out %eax, "
      "%dx\n 1: hlt\n jmp 1b\n .code64");

static void
test_moves(gconstpointer data)
{
    unsigned cpus = GPOINTER_TO_UINT(data), hops = cpus == CPUS ? 50 : 20;
    struct bench b;
    uint64_t seen = 0, position = 0;
    g_autofree char *text = NULL;
    size_t size;

    if (!BENCH(&b, cpus, guest_count))
        return;
    for (unsigned i = 0; i < hops; i++) {
        go(&b);
        g_usleep(g_test_rand_int_range(0, 4000));       /* a moment, not a wait */
        run_hold(b.run, STOP_USER);
        hop(&b);
    }
    /* All go on after the last move, and have lost nothing. */
    for (unsigned cpu = 0; cpu < cpus; cpu++)
        seen += b.station.value[cpu];
    go(&b);
    for (unsigned cpu = 0; cpu < cpus; cpu++)
        wait_value(&b.station, cpu, value_now(&b.station, cpu) + 8);
    run_hold(b.run, STOP_USER);
    for (unsigned cpu = 0; cpu < cpus; cpu++) {
        uint64_t witness, stored;

        g_assert_true(accel_kvm.vcpu_witness(b.accel, cpu, &witness, NULL));
        g_assert_true(guest_map_read(b.map, start_of(cpu).rbp, &stored, sizeof(stored)));
        g_assert_cmpuint(witness - stored, <=, 1);      /* stopped between the two */
        g_assert_cmpuint(b.station.in[cpu] - witness, <=, 1);
    }
    g_assert_cmpuint(b.station.wrong, ==, 0);
    text = serial_read(b.serial, &position, &size);
    for (size_t i = 0; i < size; i++)
        g_assert_cmpint(text[i], ==, "abcdefgh"[i % 8]);
    g_test_message("%u vCPUs, %u moves, count of all %" G_GUINT64_FORMAT, cpus, hops, seen);
    bench_release(&b);
}

/* Both begin, the first wakes the second, and both are held and moved on the way. */
static void
wake(struct bench *b, uint64_t id)
{
    struct cpu_start start = start_in_ring_0(0), wait = { .kind = CPU_START_WAIT };
    uint64_t told = b->station.written[1];

    b->station.value[0] = b->station.value[1] = 0;
    put_u64(b, start.rbp, 0);
    put_u64(b, start.rbp + 8, id);
    g_assert_true(accel_kvm.vcpu_reset(b->accel, 0, &start, NULL));
    g_assert_true(accel_kvm.vcpu_reset(b->accel, 1, &wait, NULL));
    go(b);
    wait_value(&b->station, 0, 1);
    run_hold(b->run, STOP_USER);
    hop(b);
    go(b);
    g_assert_cmpuint(value_now(&b->station, 1), ==, 0);
    put_u64(b, start.rbp, 1);
    wait_value(&b->station, 1, 7);
    run_hold(b->run, STOP_USER);
    hop(b);
    go(b);
    run_hold(b->run, STOP_USER);
    g_assert_cmpuint(b->station.written[1], ==, told + 1);
}

/* A CPU that waits for its start-up message, and one that has halted, can be held and moved; both begin again after a
 * reset.  So it is where only the x2APIC form has room for the id (from 255 on), and where xAPIC's 8 bits are those
 * of another CPU (256). */
static void
test_startup(gconstpointer data)
{
    unsigned apic_ids[] = { 0, GPOINTER_TO_UINT(data) };
    struct bench b;

    if (!BENCH(&b, 2, guest_wakes))
        return;
    drop_vm(&b);
    b.apic_ids = apic_ids;
    make_vm(&b);
    put(&b, AP_CODE, guest_woken, guest_woken_end - guest_woken);
    wake(&b, apic_ids[1]);
    wake(&b, apic_ids[1]);
    bench_release(&b);
}

int
main(int argc, char **argv)
{
    main_thread_claim();
    g_test_init(&argc, &argv, NULL);
    g_test_add_data_func("/kvm/moves/1", GUINT_TO_POINTER(1), test_moves);
    g_test_add_data_func("/kvm/moves/2", GUINT_TO_POINTER(2), test_moves);
    g_test_add_data_func("/kvm/moves/4", GUINT_TO_POINTER(4), test_moves);
    g_test_add_data_func("/kvm/startup", GUINT_TO_POINTER(1), test_startup);
    g_test_add_data_func("/kvm/startup/id-254", GUINT_TO_POINTER(254), test_startup);
    g_test_add_data_func("/kvm/startup/id-255", GUINT_TO_POINTER(255), test_startup);
    g_test_add_data_func("/kvm/startup/id-256", GUINT_TO_POINTER(256), test_startup);
    g_test_add_data_func("/kvm/startup/id-300", GUINT_TO_POINTER(300), test_startup);
    return g_test_run();
}
