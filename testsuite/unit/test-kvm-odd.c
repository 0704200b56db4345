/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A KVM that has other MSRs than this host's, or fails: this program stands between the accelerator and ioctl(2) (ld
 * --wrap) and says what another would.  MSRs from ODD_FIRST on are its own: they hold what was written to them. */
#include "kvm-bench.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "../../src/accel/kvm/kvm-private.h"

enum { ODD_FIRST = 0x20000000, ODD_MOST = MSRS_MAX, MSR_BANK_2_ADDR = 0x40a, MSR_BANK_3_CTL = 0x40c };

static struct {
    unsigned odd_msrs;              /* in the list, beside this host's */
    uint32_t unreadable, unsettable;        /* one of each; 0: none */
    bool no_registers;
    uint64_t values[ODD_MOST];
} host;

int __real_ioctl(int fd, unsigned long request, ...);
int __wrap_ioctl(int fd, unsigned long request, ...);

static int
list_msrs(int fd, struct kvm_msr_list *list)
{
    unsigned room = list->nmsrs;
    int r = __real_ioctl(fd, KVM_GET_MSR_INDEX_LIST, list);

    list->nmsrs += host.odd_msrs;
    if (r < 0 || list->nmsrs > room) {
        errno = r < 0 ? errno : E2BIG;
        return -1;
    }
    for (unsigned i = 0; i < host.odd_msrs; i++)
        list->indices[list->nmsrs - host.odd_msrs + i] = ODD_FIRST + i;
    return 0;
}

static bool
one_msr(int fd, unsigned long request, struct kvm_msr_entry *e)
{
    g_autofree struct kvm_msrs *one = g_malloc0(sizeof *one + sizeof *e);
    bool done;

    if (e->index == (request == KVM_GET_MSRS ? host.unreadable : host.unsettable))
        return false;
    if (e->index - ODD_FIRST < ODD_MOST) {
        if (request == KVM_GET_MSRS)
            e->data = host.values[e->index - ODD_FIRST];
        else
            host.values[e->index - ODD_FIRST] = e->data;
        return true;
    }
    one->nmsrs = 1;
    one->entries[0] = *e;
    done = __real_ioctl(fd, request, one) == 1;
    if (done)
        *e = one->entries[0];
    return done;
}

/* As KVM does it: up to the first that it refuses, and less than 256 in all. */
static int
transfer_msrs(int fd, unsigned long request, struct kvm_msrs *m)
{
    unsigned done = 0;

    if (m->nmsrs >= 256) {
        errno = E2BIG;
        return -1;
    }
    while (done < m->nmsrs && one_msr(fd, request, &m->entries[done]))
        done++;
    return (int)done;
}

int
__wrap_ioctl(int fd, unsigned long request, ...)
{
    va_list args;
    void *argument;

    va_start(args, request);
    argument = va_arg(args, void *);
    va_end(args);
    if (request == KVM_GET_MSR_INDEX_LIST)
        return list_msrs(fd, argument);
    if (request == KVM_GET_MSRS || request == KVM_SET_MSRS)
        return transfer_msrs(fd, request, argument);
    if (request == KVM_GET_REGS && host.no_registers) {
        errno = EIO;
        return -1;
    }
    return __real_ioctl(fd, request, argument);
}

/* --- tests ------------------------------------------------------------------------------------------------------ */

static bool
travels(const struct bench *b, uint32_t index)
{
    const struct kvm *k = (const struct kvm *)b->accel;

    for (unsigned i = 0; i < k->msr_count; i++)
        if (k->msr_indices[i] == index)
            return true;
    return false;
}

static unsigned
count_of_msrs(const struct bench *b)
{
    return ((const struct kvm *)b->accel)->msr_count;
}

static void
test_an_msr_that_cannot_be_had_leaves_the_others(void)
{
    struct bench b;
    unsigned all;

    memset(&host, 0, sizeof host);
    if (!BENCH(&b, 1, guest_spin))
        return;
    all = count_of_msrs(&b);
    if (!travels(&b, MSR_BANK_2_ADDR)) {
        g_test_skip("KVM here has no banks of machine checks");
        bench_release(&b);
        return;
    }
    drop_vm(&b);
    host.odd_msrs = 3;
    host.unreadable = MSR_BANK_2_ADDR;
    host.unsettable = ODD_FIRST + 1;
    make_vm(&b);
    g_assert_cmpuint(count_of_msrs(&b), ==, all + 3 - 2);
    g_assert_false(travels(&b, MSR_BANK_2_ADDR) || travels(&b, ODD_FIRST + 1));
    g_assert_true(travels(&b, MSR_BANK_3_CTL) && travels(&b, ODD_FIRST) && travels(&b, ODD_FIRST + 2));
    reset_cpus(&b);
    hop(&b);
    bench_release(&b);
}

/* More than KVM takes in one call. */
static void
test_many_msrs_travel(void)
{
    struct bench b;
    g_autoptr(GByteArray) bytes = NULL;
    enum { MANY = 600 };

    memset(&host, 0, sizeof host);
    host.odd_msrs = MANY;
    if (!BENCH(&b, 1, guest_spin))
        return;
    g_assert_true(travels(&b, ODD_FIRST) && travels(&b, ODD_FIRST + MANY - 1));
    for (unsigned i = 0; i < MANY; i++)
        host.values[i] = 0x100000000 * i + 7;
    bytes = save(&b);
    memset(host.values, 0, sizeof host.values);
    load(&b, bytes);
    for (unsigned i = 0; i < MANY; i++)
        g_assert_cmphex(host.values[i], ==, 0x100000000 * i + 7);
    bench_release(&b);
}

/* The banks' count too. */
static void
test_too_many_msrs_are_refused(void)
{
    static const unsigned apic_ids[] = { 0 };
    struct bench b;
    struct accel_setup setup = { .cpu_slots = 1, .apic_ids = apic_ids };
    unsigned all, own;

    memset(&host, 0, sizeof host);
    if (!BENCH(&b, 1, guest_spin))
        return;
    all = count_of_msrs(&b);
    own = all - mce_msrs((struct kvm *)b.accel, NULL);
    setup.map = b.map;
    setup.bus = b.bus;
    setup.mailbox = b.mailbox;
    for (unsigned odd = MSRS_MAX - all; odd <= MSRS_MAX - own + 1; odd++) {
        g_autoptr(GError) error = NULL;
        struct accel *a;

        host.odd_msrs = odd;
        a = accel_kvm.create(&setup, &error);
        if (odd > MSRS_MAX - all + 1)       /* some of this host's may not travel */
            g_assert_error(error, NUMON_ERROR, NUMON_ERROR_LIMIT);
        else
            g_assert_true(a || g_error_matches(error, NUMON_ERROR, NUMON_ERROR_LIMIT));
        g_assert_true(!a || ((struct kvm *)a)->msr_count <= MSRS_MAX);
        if (a)
            accel_kvm.destroy(a);
    }
    bench_release(&b);
}

static void
test_registers_that_cannot_be_read_leave_all_as_it_was(void)
{
    struct bench b;
    struct kvm_regs regs = { .rax = 0x1111 };
    struct cpu_registers seen = { .rip = 0x2222 };
    struct kvm_cpu *c;
    uint64_t witness = 0x3333;
    g_autoptr(GError) error = NULL;

    memset(&host, 0, sizeof host);
    if (!BENCH(&b, 1, guest_spin))
        return;
    c = ((struct kvm *)b.accel)->cpus;
    host.no_registers = true;
    g_assert_false(registers_get(c, &regs, &error));
    g_assert_error(error, NUMON_ERROR, NUMON_ERROR_HOST);
    g_assert_cmphex(regs.rax, ==, 0x1111);
    g_assert_false(accel_kvm.vcpu_witness(b.accel, 0, &witness, NULL));
    g_assert_cmphex(witness, ==, 0x3333);
    g_assert_false(accel_kvm.registers(b.accel, 0, &seen, NULL));
    g_assert_cmphex(seen.rip, ==, 0x2222);
    host.no_registers = false;
    g_assert_true(registers_get(c, &regs, NULL));
    g_assert_cmphex(regs.rip, ==, CODE);
    bench_release(&b);
}

int
main(int argc, char **argv)
{
    main_thread_claim();
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/kvm/odd/an-msr-that-cannot-be-had-leaves-the-others",
                    test_an_msr_that_cannot_be_had_leaves_the_others);
    g_test_add_func("/kvm/odd/many-msrs-travel", test_many_msrs_travel);
    g_test_add_func("/kvm/odd/too-many-msrs-are-refused", test_too_many_msrs_are_refused);
    g_test_add_func("/kvm/odd/registers-that-cannot-be-read-leave-all-as-it-was",
                    test_registers_that_cannot_be_read_leave_all_as_it_was);
    return g_test_run();
}
