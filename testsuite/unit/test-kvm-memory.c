/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Memory that the host's hardware lost under a guest of KVM.  Only the kernel can send its signal to another thread:
 * so this thread sends it to itself to try the handler, and what the handler would do to a vCPU's thread is done
 * here.  A page is really poisoned only where NUMON_POISON is set, as it is gone for the host until that starts
 * anew. */
#include "kvm-bench.h"

#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../../src/accel/kvm/kvm-private.h"

enum { IDT = 0x20000, HANDLER = 0xa000, VECTOR_MC = 18, CR4_MCE = 1 << 6, LOST_GPA = 0x60000 };

/* Ring 0: tells 1, then counts.  [RBP+8]: touches the page at that address once it is not 0. */
GUEST(guest_careful,
      "mov %esi, %r8d\n mov $1, %eax\n mov %esi, %edx\n out %eax, %dx\n"
      "1: mov 8(%rbp), %rcx\n test %rcx, %rcx\n jz 1b\n mov (%rcx), %rax\n jmp 1b");
/* The machine check's: tells the address in bank 9 (MSR 0x426), takes the check as done (MSR 0x17a), and halts. */
GUEST(guest_machine_check,
      "mov $0x426, %ecx\n rdmsr\n mov %r8d, %edx\n out %eax, %dx\n"
      "mov $0x17a, %ecx\n xor %eax, %eax\n xor %edx, %edx\n wrmsr\n 1: hlt\n jmp 1b");

static void *
host_of(struct bench *b, uint64_t gpa)
{
    return guest_map_host(b->map, gpa, PAGE_SIZE);
}

/* As the handler leaves it on the vCPU's thread. */
static void
leave_failure(struct bench *b, void *host)
{
    struct kvm_cpu *c = ((struct kvm *)b->accel)->cpus;

    atomic_store(&c->watch.failed, (uintptr_t)host);
    __atomic_store_n(c->watch.leave, 1, __ATOMIC_SEQ_CST);
    syscall(SYS_tgkill, getpid(), run_thread_id(b->run, 0), SIGUSR1);
}

/* As the kernel does when memory is touched that it took out of use. */
static void
send_to_myself(void *host)
{
    siginfo_t info = { .si_signo = SIGBUS, .si_code = BUS_MCEERR_AR };

    info.si_addr = host;
    info.si_addr_lsb = 12;
    g_assert_cmpint(syscall(SYS_rt_tgsigqueueinfo, getpid(), gettid(), SIGBUS, &info), ==, 0);
}

static void
test_the_handler_tells_the_guest_s_accesses_from_ours(void)
{
    struct backend_options options;
    struct block *b;
    uint8_t leave = 0;
    struct page_watch watch = { .leave = &leave };
    uint64_t page;

    backend_options_init_default(&options, "m", 4 * PAGE_SIZE);
    b = block_new(&options, NULL);
    g_assert_nonnull(b);
    memset(b->host, 0xee, 4 * PAGE_SIZE);
    page_watch_begin(&watch);
    atomic_store(&watch.armed, true);
    send_to_myself(b->host + PAGE_SIZE + 8);
    g_assert_true(atomic_load(&watch.failed) == (uintptr_t)(b->host + PAGE_SIZE + 8));
    g_assert_cmpuint(leave, ==, 1);
    g_assert_false(block_lost(b, &page));
    g_assert_cmphex(b->host[PAGE_SIZE], ==, 0xee);
    atomic_store(&watch.armed, false);
    send_to_myself(b->host + 2 * PAGE_SIZE);
    g_assert_true(block_lost(b, &page));
    g_assert_cmpuint(page, ==, 2);
    g_assert_cmphex(b->host[2 * PAGE_SIZE], ==, 0);
    page_watch_begin(NULL);
    block_free(b);
}

static void
test_guest_without_machine_checks_stops(void)
{
    struct bench b;
    uint64_t page;

    if (!BENCH(&b, 2, guest_spin))
        return;
    go(&b);
    wait_value(&b.station, 0, 1);
    leave_failure(&b, host_of(&b, LOST_GPA));
    wait_event(&b);
    g_test_message("%s", b.last_text);
    g_assert_cmpint(b.last_event, ==, VCPU_ERROR);
    g_assert_nonnull(strstr(b.last_text, "guest physical address 0x60000 (page 103 of backend 'a')"));
    g_assert_nonnull(strstr(b.last_text, "has not switched machine checks on") ? b.last_text
                     : strstr(b.last_text, "no machine checks to recover from"));
    g_assert_true(run_reasons(b.run) & STOP_ERROR);
    run_hold(b.run, STOP_USER);
    g_assert_true(block_lost(g_ptr_array_index(b.map->blocks, 0), &page));
    g_assert_cmpuint(page, ==, 103);
    bench_release(&b);
}

/* Where a processor begins that has machine checks on, and what it does with one. */
static void
start_carefully(struct bench *b)
{
    struct cpu_start start = start_in_ring_0(0);
    const struct { uint16_t low, selector; uint8_t ist, type; uint16_t middle; uint32_t high, none; } gate = {
        .low = HANDLER, .selector = 0x08, .type = 0x8e,
    };

    _Static_assert(sizeof gate == 16, "a gate of a 64-bit IDT");
    put(b, HANDLER, guest_machine_check, (size_t)(guest_machine_check_end - guest_machine_check));
    put(b, IDT + VECTOR_MC * 16, &gate, sizeof gate);
    start.idt_base = IDT;
    start.idt_limit = 256 * 16 - 1;
    start.cr4 |= CR4_MCE;
    start.rsp &= ~UINT64_C(15);
    g_assert_true(accel_kvm.vcpu_reset(b->accel, 0, &start, NULL));
}

static void
expect_machine_check(struct bench *b)
{
    wait_value(&b->station, 0, LOST_GPA);
    g_assert_cmphex(value_now(&b->station, 0), ==, LOST_GPA);
    wait_event(b);
    g_test_message("%s", b->last_text);
    g_assert_cmpint(b->last_event, ==, VCPU_NOTE);
    g_assert_nonnull(strstr(b->last_text, "was given a machine check"));
    g_assert_false(run_reasons(b->run) & STOP_ERROR);
    g_assert_false(guest_map_is_lost(b->map));
}

static void
test_guest_is_given_a_machine_check(void)
{
    struct bench b;

    if (!BENCH(&b, 1, guest_careful))
        return;
    if (!((struct kvm *)b.accel)->recovers) {
        g_test_skip("KVM here has no machine checks to recover from");
        bench_release(&b);
        return;
    }
    start_carefully(&b);
    memset(host_of(&b, LOST_GPA), 0xee, PAGE_SIZE);
    go(&b);
    wait_value(&b.station, 0, 1);
    leave_failure(&b, host_of(&b, LOST_GPA));
    expect_machine_check(&b);
    g_assert_cmphex(*(uint8_t *)host_of(&b, LOST_GPA), ==, 0);
    run_hold(b.run, STOP_USER);
    bench_release(&b);
}

static void
test_poisoned_page(void)
{
    struct bench b;

    if (!g_getenv("NUMON_POISON")) {
        g_test_skip("NUMON_POISON is not set: a poisoned page is gone for the host until it starts anew");
        return;
    }
    if (!BENCH(&b, 1, guest_careful))
        return;
    memset(host_of(&b, LOST_GPA), 0xee, PAGE_SIZE);
    if (!((struct kvm *)b.accel)->recovers || madvise(host_of(&b, LOST_GPA), PAGE_SIZE, MADV_HWPOISON) != 0) {
        g_test_skip("this host poisons no page, or KVM here has no machine checks to recover from");
        bench_release(&b);
        return;
    }
    start_carefully(&b);
    go(&b);
    wait_value(&b.station, 0, 1);
    put_u64(&b, DATA + 8, LOST_GPA);
    expect_machine_check(&b);
    run_hold(b.run, STOP_USER);
    bench_release(&b);
}

int
main(int argc, char **argv)
{
    main_thread_claim();
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/kvm/memory/the-handler-tells-the-guest-s-accesses-from-ours",
                    test_the_handler_tells_the_guest_s_accesses_from_ours);
    g_test_add_func("/kvm/memory/guest-without-machine-checks-stops", test_guest_without_machine_checks_stops);
    g_test_add_func("/kvm/memory/guest-is-given-a-machine-check", test_guest_is_given_a_machine_check);
    g_test_add_func("/kvm/memory/poisoned-page", test_poisoned_page);
    return g_test_run();
}
