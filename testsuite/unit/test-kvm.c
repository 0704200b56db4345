/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The KVM accelerator under run control: running, I/O, kicks, naps, what it says of itself. */
#include "kvm-bench.h"

#include <string.h>

/* Says hello on the UART byte by byte, then by a string instruction; reads 16 numbers by one string instruction;
 * ports of each size; then counts for ever. */
GUEST(guest_hello,
      "lea 8f(%rip), %r8\n mov $0x3f8, %edx\n"
      "1: mov (%r8), %al\n out %al, %dx\n inc %r8\n cmpb $0, (%r8)\n jne 1b\n"
      "lea 9f(%rip), %rsi\n mov $6, %ecx\n cld\n rep outsb\n"
      "mov $0x604, %edx\n mov %rbp, %rdi\n mov $16, %ecx\n rep insl\n"
      "mov $0x60c, %edx\n mov $0x11, %al\n out %al, %dx\n mov $0x2222, %ax\n out %ax, %dx\n"
      "mov $0x33333333, %eax\n out %eax, %dx\n"
      "mov $0x600, %edx\n mov $1, %eax\n out %eax, %dx\n"
      "2: inc %r15\n jmp 2b\n"
      "8: .asciz \"hi \"\n 9: .ascii \"there\\n\"");

/* Tells 1, naps ten seconds, tells 2, then naps 20 ms and tells 3. */
GUEST(guest_nap,
      "mov %esi, %edx\n mov $1, %eax\n out %eax, %dx\n"
      "mov $0x510, %edx\n mov $10000000, %eax\n out %eax, %dx\n"
      "mov %esi, %edx\n mov $2, %eax\n out %eax, %dx\n"
      "mov $0x510, %edx\n mov $20000, %eax\n out %eax, %dx\n"
      "mov %esi, %edx\n mov $3, %eax\n out %eax, %dx\n"
      "1: pause\n jmp 1b");

static void
test_hello(void)
{
    struct bench b;
    uint64_t position = 0, witness;
    g_autofree char *text = NULL;
    uint32_t numbers[16];
    size_t size;

    if (!BENCH(&b, 1, guest_hello))
        return;
    go(&b);
    wait_value(&b.station, 0, 1);
    run_hold(b.run, STOP_USER);
    text = serial_read(b.serial, &position, &size);
    g_assert_cmpstr(text, ==, "hi there\n");
    g_assert_true(guest_map_read(b.map, DATA, numbers, sizeof(numbers)));
    for (unsigned i = 0; i < 16; i++)
        g_assert_cmpuint(numbers[i], ==, i + 1);
    g_assert_cmphex(b.station.sizes[0], ==, 0x11);
    g_assert_cmphex(b.station.sizes[1], ==, 0x2222);
    g_assert_cmphex(b.station.sizes[2], ==, 0x33333333);
    g_assert_true(accel_kvm.vcpu_witness(b.accel, 0, &witness, NULL));
    g_assert_cmpuint(accel_kvm.tsc_khz(b.accel), >, 100000);
    bench_release(&b);
}

static void
test_creation_time(void)
{
    struct bench b;
    int64_t begin, made, told;

    if (!BENCH(&b, CPUS, guest_spin))
        return;
    drop_vm(&b);
    begin = g_get_monotonic_time();
    make_vm(&b);
    reset_cpus(&b);
    made = g_get_monotonic_time();
    go(&b);
    wait_value(&b.station, 0, 1);
    told = g_get_monotonic_time();
    g_test_message("4 vCPUs: %" G_GINT64_FORMAT " us to create and reset, %" G_GINT64_FORMAT " us to the first OUT",
                   made - begin, told - made);
    g_assert_cmpint(told - begin, <, G_USEC_PER_SEC);
    bench_release(&b);
}

enum { KICKS = 21 };

static int
compare_times(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

/* The median time in which a guest that never leaves by itself is held: in ring 3 it runs on the processor, in ring 0
 * of page-table KVM in its emulator. */
static void
expect_stops(const char *what, bool ring_0, int64_t most_us)
{
    struct bench b;
    int64_t took[KICKS];
    uint64_t before = 0, witness;

    if (!BENCH(&b, 2, guest_spin))
        return;
    for (unsigned cpu = 0; ring_0 && cpu < 2; cpu++) {
        struct cpu_start start = start_in_ring_0(cpu);

        g_assert_true(accel_kvm.vcpu_reset(b.accel, cpu, &start, NULL));
    }
    for (unsigned i = 0; i < KICKS; i++) {
        go(&b);
        for (unsigned cpu = 0; !ring_0 && cpu < 2; cpu++)
            wait_value(&b.station, cpu, value_now(&b.station, cpu) + 1);
        if (ring_0)
            g_usleep(1000);         /* a moment, not a wait */
        took[i] = g_get_monotonic_time();
        run_hold(b.run, STOP_USER);
        took[i] = g_get_monotonic_time() - took[i];
        g_assert_true(accel_kvm.vcpu_witness(b.accel, 1, &witness, NULL));
        g_assert_true(i == 0 || ring_0 || witness > before);        /* the first tells before it counts */
        before = witness;
    }
    qsort(took, KICKS, sizeof took[0], compare_times);
    g_test_message("holding 2 vCPUs that %s: median %" G_GINT64_FORMAT " us, longest %" G_GINT64_FORMAT " us", what,
                   took[KICKS / 2], took[KICKS - 1]);
    g_assert_cmpint(took[KICKS / 2], <, most_us);
    bench_release(&b);
}

static void
test_kicks(void)
{
    expect_stops("are busy", false, 10000);
}

static void
test_kicks_in_ring_0(void)
{
    expect_stops("are busy in ring 0", true, 100000);
}

static void
test_nap(void)
{
    struct bench b;
    int64_t begin;

    if (!BENCH(&b, 1, guest_nap))
        return;
    begin = g_get_monotonic_time();
    go(&b);
    wait_value(&b.station, 0, 1);
    g_usleep(2000);                     /* so that it sleeps; should it not yet, the nap is cut all the same */
    run_hold(b.run, STOP_USER);
    hop(&b);
    go(&b);
    wait_value(&b.station, 0, 2);
    g_assert_cmpint(g_get_monotonic_time() - begin, <, 5 * G_USEC_PER_SEC);
    begin = g_get_monotonic_time();
    wait_value(&b.station, 0, 3);
    g_test_message("the rest of a nap of 20 ms: %" G_GINT64_FORMAT " us", g_get_monotonic_time() - begin);
    g_assert_cmpint(g_get_monotonic_time() - begin, >, 10000);
    run_hold(b.run, STOP_USER);
    g_assert_cmpuint(b.station.written[0], ==, 3);
    bench_release(&b);
}

static void
cut_counter(GString *lines)
{
    char *at = strstr(lines->str, "kvm-tsc=");

    g_assert_nonnull(at);
    g_string_truncate(lines, (gsize)(at - lines->str));
}

static void
test_describe(void)
{
    struct bench b;
    g_autoptr(GString) lines = g_string_new(NULL), other = g_string_new(NULL);

    if (!BENCH(&b, 2, guest_spin))
        return;
    accel_kvm.describe(b.accel, lines);
    drop_vm(&b);
    make_vm(&b);
    accel_kvm.describe(b.accel, other);
    g_test_message("%s", lines->str);
    /* A counter that is the host's goes on, and nothing else does. */
    cut_counter(lines);
    cut_counter(other);
    g_assert_cmpstr(lines->str, ==, other->str);
    g_assert_nonnull(strstr(lines->str, "kvm-tsc-khz="));
    bench_release(&b);
}

static void
test_many(void)
{
    unsigned ids[128];
    int nodes[128];
    struct bench b;
    struct accel_setup setup = { .cpu_slots = 128, .apic_ids = ids, .cpu_nodes = nodes };
    GError *error = NULL;
    struct accel *many;

    if (!BENCH(&b, 1, guest_spin))
        return;
    for (unsigned i = 0; i < 128; i++) {
        ids[i] = i * 2;
        nodes[i] = -1;
    }
    setup.map = b.map;
    setup.bus = b.bus;
    setup.mailbox = b.mailbox;
    many = accel_kvm.create(&setup, &error);
    g_assert_no_error(error);
    for (unsigned i = 0; i < 128; i++) {
        struct cpu_start start = { .kind = CPU_START_WAIT };

        if (i == 0)
            start = start_of(0);
        accel_kvm.vcpu_reset(many, i, &start, &error);
        g_assert_no_error(error);
    }
    accel_kvm.destroy(many);
    setup.cpu_slots = 129;
    g_assert_null(accel_kvm.create(&setup, &error));
    g_assert_error(error, NUMON_ERROR, NUMON_ERROR_LIMIT);
    g_clear_error(&error);
    bench_release(&b);
}

int
main(int argc, char **argv)
{
    main_thread_claim();
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/kvm/hello", test_hello);
    g_test_add_func("/kvm/creation-time", test_creation_time);
    g_test_add_func("/kvm/kicks", test_kicks);
    g_test_add_func("/kvm/kicks-in-ring-0", test_kicks_in_ring_0);
    g_test_add_func("/kvm/nap", test_nap);
    g_test_add_func("/kvm/describe", test_describe);
    g_test_add_func("/kvm/many", test_many);
    return g_test_run();
}
