/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The state of a vCPU of KVM: read when asked for, written back when changed and no more than that, moved in full,
 * and refused by name where KVM lacks something. */
#include "kvm-bench.h"

#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

#include "../../src/accel/kvm/kvm-private.h"

enum { MSR_TSC = 0x10, MSR_LSTAR = 0xc0000082, MSR_KERNEL_GS_BASE = 0xc0000102, MSR_PAT = 0x277,
       MSR_HV_VP_RUNTIME = 0x40000010, MSR_HV_TIME_REF_COUNT = 0x40000020 };

static struct kvm_cpu *
cpu_of(struct bench *b, unsigned cpu)
{
    return &((struct kvm *)b->accel)->cpus[cpu];
}

static void
get_all(struct kvm_cpu *c, struct cpu_state *s)
{
    GError *error = NULL;

    cpu_state_get(c, s, PARTS_ALL, &error);
    g_assert_no_error(error);
}

static void
run_a_while(struct bench *b)
{
    go(b);
    wait_value(&b->station, 0, value_now(&b->station, 0) + 1);
    run_hold(b->run, STOP_USER);
}

static void
counts(struct kvm_cpu *c, uint64_t *ret_fetched, uint64_t *ret_written)
{
    lock_take(&c->registers);
    *ret_fetched = c->fetched;
    *ret_written = c->written;
    lock_drop(&c->registers);
}

static void
test_registers_are_read_once(void)
{
    struct bench b;
    struct kvm_cpu *c;
    uint64_t fetched, again, written, witness;

    if (!BENCH(&b, 1, guest_spin))
        return;
    c = cpu_of(&b, 0);
    run_a_while(&b);
    counts(c, &fetched, &written);
    g_assert_cmpuint(fetched, ==, 0);           /* nobody asked */
    for (unsigned i = 0; i < 3; i++)
        g_assert_true(accel_kvm.vcpu_witness(b.accel, 0, &witness, NULL));
    counts(c, &fetched, &written);
    g_assert_cmpuint(fetched, ==, 1);
    run_a_while(&b);
    g_assert_true(accel_kvm.vcpu_witness(b.accel, 0, &again, NULL));
    g_assert_cmpuint(again, >, witness);
    counts(c, &fetched, &written);
    g_assert_cmpuint(fetched, ==, 2);
    g_assert_cmpuint(written, ==, 0);
    bench_release(&b);
}

static void
test_only_changes_are_written_back(void)
{
    struct bench b;
    struct kvm_cpu *c;
    struct kvm_regs regs;
    uint64_t fetched, written, witness;

    if (!BENCH(&b, 1, guest_spin))
        return;
    c = cpu_of(&b, 0);
    run_a_while(&b);
    g_assert_true(registers_get(c, &regs, NULL));
    g_assert_true(registers_set(c, &regs, NULL));
    run_a_while(&b);
    counts(c, &fetched, &written);
    g_assert_cmpuint(written, ==, 0);
    g_assert_true(registers_get(c, &regs, NULL));
    regs.r15 = UINT64_C(1) << 40;
    g_assert_true(registers_set(c, &regs, NULL));
    g_assert_true(accel_kvm.vcpu_witness(b.accel, 0, &witness, NULL));
    g_assert_cmpuint(witness, ==, UINT64_C(1) << 40);           /* before KVM has it */
    b.station.value[0] = 0;                     /* it tells the lower half, which begins anew */
    run_a_while(&b);
    g_assert_true(accel_kvm.vcpu_witness(b.accel, 0, &witness, NULL));
    g_assert_cmpuint(witness, >=, UINT64_C(1) << 40);
    counts(c, &fetched, &written);
    g_assert_cmpuint(written, ==, 1);
    bench_release(&b);
}

/* A save takes what was changed and not yet given to KVM. */
static void
test_a_change_is_saved(void)
{
    struct bench b;
    struct kvm_regs regs;
    uint64_t witness;

    if (!BENCH(&b, 1, guest_spin))
        return;
    g_assert_true(registers_get(cpu_of(&b, 0), &regs, NULL));
    regs.r15 = 4711;
    g_assert_true(registers_set(cpu_of(&b, 0), &regs, NULL));
    hop(&b);
    g_assert_true(accel_kvm.vcpu_witness(b.accel, 0, &witness, NULL));
    g_assert_cmpuint(witness, ==, 4711);
    bench_release(&b);
}

static uint64_t
msr_of(struct kvm_cpu *c, uint32_t index)
{
    struct cpu_state s = { 0 };
    uint64_t value;

    get_all(c, &s);
    g_assert_true(msr_record_get(&s, index, &value));
    cpu_state_release(&s);
    return value;
}

static void
test_levels(void)
{
    struct bench b;
    struct kvm_cpu *c;
    struct cpu_state s = { 0 }, now = { 0 };
    GError *error = NULL;
    uint64_t before;

    if (!BENCH(&b, 1, guest_spin))
        return;
    c = cpu_of(&b, 0);
    get_all(c, &s);
    g_assert_true(msr_record_get(&s, MSR_TSC, &before));
    msr_record_set(&s, MSR_TSC, before / 2);
    msr_record_set(&s, MSR_LSTAR, 0x1234000);
    s.regs.rbx = 77;
    s.mp_state = KVM_MP_STATE_HALTED;
    s.lapic[0x80] = 0x20;                       /* task priority */
    cpu_state_put(c, &s, PARTS_ALL, PUT_RUNTIME, &error);
    g_assert_no_error(error);
    get_all(c, &now);
    g_assert_cmpuint(now.regs.rbx, ==, 77);
    g_assert_cmphex(msr_of(c, MSR_LSTAR), ==, 0x1234000);
    g_assert_cmpuint(now.mp_state, ==, KVM_MP_STATE_RUNNABLE);
    g_assert_cmpuint(now.lapic[0x80], ==, 0);
    /* A host whose own counters are not in step may take it back to where it last ran, not to what was refused. */
    g_assert_cmpuint(msr_of(c, MSR_TSC), >, before - before / 4);
    cpu_state_put(c, &s, PARTS_ALL, PUT_RESET, &error);
    g_assert_no_error(error);
    get_all(c, &now);
    g_assert_cmpuint(now.mp_state, ==, KVM_MP_STATE_HALTED);
    cpu_state_release(&s);
    cpu_state_release(&now);
    bench_release(&b);
}

static void
zero_time(struct cpu_state *s)
{
    uint32_t none = 0;

    msr_record_set(s, MSR_TSC, 0);
    memcpy(s->lapic + 0x390, &none, sizeof none);       /* the timer's current count */
    s->tsc_offset = 0;
}

static void
expect_msrs(const struct cpu_state *after, const struct cpu_state *before)
{
    g_assert_cmpuint(after->msrs_size, ==, before->msrs_size);
    for (uint32_t at = 0; at < before->msrs_size; at += MSR_RECORD_SIZE) {
        uint32_t index;
        uint64_t was, is;

        memcpy(&index, before->msrs + at, 4);
        index = GUINT32_FROM_BE(index);
        g_assert_true(msr_record_get(before, index, &was));
        g_assert_true(msr_record_get(after, index, &is));
        if (was != is)
            g_test_message("MSR 0x%x was 0x%" PRIx64 ", is 0x%" PRIx64, index, was, is);
        g_assert_true(is == was || index == MSR_HV_VP_RUNTIME || index == MSR_HV_TIME_REF_COUNT);
    }
}

/* Values in every part that no reset has, in the state and, moved, in another virtual machine. */
static void
test_moves_in_full(void)
{
    struct bench b;
    struct cpu_state before = { 0 }, after = { 0 };
    GError *error = NULL;

    if (!BENCH(&b, 2, guest_spin))
        return;
    run_a_while(&b);
    for (unsigned cpu = 0; cpu < 2; cpu++) {
        get_all(cpu_of(&b, cpu), &before);
        for (unsigned i = 0; i < 4; i++)
            before.debugregs.db[i] = 0x1000 * (i + 1) + cpu;
        msr_record_set(&before, MSR_LSTAR, 0x5550000 + cpu);
        msr_record_set(&before, MSR_KERNEL_GS_BASE, 0x6660000 + cpu);
        msr_record_set(&before, MSR_PAT, UINT64_C(0x0007010600070106));
        memset(before.xsave + 160, 0xa5 + (int)cpu, 256);   /* XMM0 to XMM15 (Intel SDM 1, 10.5.1) */
        before.xsave[512] |= 2;                             /* which are not in their first state */
        before.regs.r13 = 0x1313 + cpu;
        before.sregs.cr2 = 0x2222000 + cpu;
        before.sregs.cr8 = 3;
        before.lapic[0x80] = 0x30;
        cpu_state_put(cpu_of(&b, cpu), &before, PARTS_ALL, PUT_FULL, &error);
        g_assert_no_error(error);
    }
    for (unsigned cpu = 0; cpu < 2; cpu++) {
        get_all(cpu_of(&b, cpu), &before);
        g_assert_cmphex(before.debugregs.db[3], ==, 0x4000 + cpu);
        hop(&b);
        get_all(cpu_of(&b, cpu), &after);
        zero_time(&before);
        zero_time(&after);
        g_assert_cmpmem(&after.regs, sizeof after.regs, &before.regs, sizeof before.regs);
        g_assert_cmpmem(&after.sregs, sizeof after.sregs, &before.sregs, sizeof before.sregs);
        g_assert_cmpmem(&after.debugregs, sizeof after.debugregs, &before.debugregs, sizeof before.debugregs);
        g_assert_cmpmem(&after.events, sizeof after.events, &before.events, sizeof before.events);
        g_assert_cmpmem(after.xsave, after.xsave_size, before.xsave, before.xsave_size);
        expect_msrs(&after, &before);
        g_assert_cmpmem(after.lapic, sizeof after.lapic, before.lapic, sizeof before.lapic);
        g_assert_cmphex(after.xcr0, ==, before.xcr0);
        g_assert_cmpuint(after.mp_state, ==, before.mp_state);
    }
    cpu_state_release(&before);
    cpu_state_release(&after);
    bench_release(&b);
}

static void
test_registers_for_people(void)
{
    struct bench b;
    struct cpu_registers seen;
    uint64_t fetched, written;

    if (!BENCH(&b, 1, guest_spin))
        return;
    for (unsigned i = 0; i < 2; i++) {
        g_assert_true(accel_kvm.registers(b.accel, 0, &seen, NULL));
        g_assert_cmphex(seen.rip, ==, CODE);
        g_assert_cmphex(seen.cs.selector, ==, 0x1b);
        g_assert_cmphex(seen.cr3, ==, PML4);
        g_assert_cmphex(seen.debug[7], ==, 0x400);
    }
    counts(cpu_of(&b, 0), &fetched, &written);
    g_assert_cmpuint(fetched, ==, 1);
    bench_release(&b);
}

/* --- what is refused -------------------------------------------------------------------------------------------- */

struct denial { int calls, denied_call; };

static int
all_but_one(void *self, int number)
{
    struct denial *d = self;

    return d->calls++ != d->denied_call;
}

static void
test_a_missing_capability_is_named(void)
{
    struct denial d = { .denied_call = -1 };
    int count;

    g_assert_true(kvm_check_required(all_but_one, &d, NULL));
    count = d.calls;
    g_assert_cmpint(count, >, 10);
    for (int i = 0; i < count; i++) {
        g_autoptr(GError) error = NULL;

        d = (struct denial) { .denied_call = i };
        g_assert_false(kvm_check_required(all_but_one, &d, &error));
        g_assert_error(error, NUMON_ERROR, NUMON_ERROR_HOST);
        g_assert_true(g_regex_match_simple("^cannot use /dev/kvm: it lacks KVM_CAP_[A-Z0-9_]+ \\([a-z].+\\)$",
                                           error->message, 0, 0));
    }
}

static void
expect_difference(struct bench *b, const char *name, const char *source, const char *here, const char *wanted)
{
    g_autofree char *text = accel_kvm.differs(b->accel, name, source, here);

    g_test_message("%s: %s", name, text ? text : "no hindrance");
    g_assert_cmpstr(text, ==, wanted);
}

static void
test_each_cpu_has_its_own_apic_id(void)
{
    struct bench b;
    struct kvm *k;

    if (!BENCH(&b, 4, guest_spin))
        return;
    k = (struct kvm *)b.accel;
    for (unsigned cpu = 0; cpu < 4; cpu++) {
        g_autofree struct kvm_cpuid2 *c = g_malloc0(sizeof *c + 256 * sizeof c->entries[0]);
        unsigned found = 0;

        c->nent = 256;
        g_assert_cmpint(kvm_ioctl(k->cpus[cpu].fd, KVM_GET_CPUID2, c), ==, 0);
        for (unsigned i = 0; i < c->nent; i++) {
            if (c->entries[i].function == 1)
                g_assert_cmpuint(c->entries[i].ebx >> 24, ==, cpu);
            if (c->entries[i].function == 0xb)
                g_assert_cmpuint(c->entries[i].edx, ==, cpu);
            found += c->entries[i].function == 1 || c->entries[i].function == 0xb;
        }
        g_assert_cmpuint(found, >=, 3);
    }
    bench_release(&b);
}

/* A trial that failed must not spoil those after it: in either order each gives the same answer. */
static void
test_trials_of_features_do_not_disturb_each_other(void)
{
    g_autofree struct kvm_cpuid2 *c = g_malloc0(sizeof *c + 256 * sizeof c->entries[0]);
    const char *first[CPU_FEATURES_MAX];
    struct cpu_trial up = { .vm_fd = -1, .cpu_fd = -1, .supported = c }, down = up;
    unsigned refused = 0;

    if (!kvm_works())
        return;
    up.system_fd = down.system_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    c->nent = 256;
    g_assert_cmpint(kvm_ioctl(up.system_fd, KVM_GET_SUPPORTED_CPUID, c), ==, 0);
    for (unsigned i = 0; i < cpu_feature_count; i++)
        first[i] = cpu_trial_refuses(&up, cpu_features[i].name);
    for (unsigned i = cpu_feature_count; i-- > 0;) {
        g_assert_cmpstr(cpu_trial_refuses(&down, cpu_features[i].name), ==, first[i]);
        refused += first[i] != NULL;
    }
    g_assert_true(up.works && down.works);
    g_assert_null(cpu_trial_refuses(&down, "smep-of-another-name"));
    g_test_message("%u features do not run here", refused);
    cpu_trial_release(&up);
    cpu_trial_release(&down);
    close_fd(&up.system_fd);
}

static void
test_what_cannot_be_taken_is_named(void)
{
    struct bench b;
    struct kvm *k;
    g_autofree char *near = NULL, *khz = NULL;

    if (!BENCH(&b, 1, guest_spin))
        return;
    k = (struct kvm *)b.accel;
    expect_difference(&b, "kvm-msrs", "10 174 ", "10 12 174 175 ", NULL);
    expect_difference(&b, "kvm-msrs", "10 174 c0000104 48 ", "10 174 ", "KVM here cannot set 0xc0000104 0x48");
    expect_difference(&b, "kvm-state", "regs sregs ", "regs sregs2 events ", NULL);
    expect_difference(&b, "kvm-state", "regs nested events ", "regs sregs2 events ", "KVM here has no nested");
    expect_difference(&b, "kvm-xcr0", "0x7", "0xe7", NULL);
    expect_difference(&b, "kvm-xcr0", "0xe7", "0x7", "source 0xe7, here 0x7");
    expect_difference(&b, "kvm-xsave-size", "4096", "11008", NULL);
    expect_difference(&b, "kvm-xsave-size", "11008", "4096", "source 11008, here 4096");
    expect_difference(&b, "kvm-xsave-size", "many", "4096", "source many, here 4096");
    expect_difference(&b, "kvm-cpu-signature", "0x60fb1", "0x60fb2", "source 0x60fb1, here 0x60fb2");
    expect_difference(&b, "kvm-cpu", "base", "host", NULL);
    expect_difference(&b, "kvm-cpu-features", "sse2 avx ", "avx sse2 ", NULL);
    expect_difference(&b, "kvm-cpu-features", "sse2 avx aes ", "pku sse2 ", "not here: avx aes, only here: pku (info "
                      "cpu_features says why; the same `cpu` on both sides, with + and -, makes them equal)");
    expect_difference(&b, "kvm-cpu-features", "sse2 ", "sse2 aes ", "only here: aes (info cpu_features says why; the "
                      "same `cpu` on both sides, with + and -, makes them equal)");
    near = g_strdup_printf("%" G_GUINT64_FORMAT, k->tsc_khz + 1);
    khz = g_strdup_printf("%" G_GUINT64_FORMAT, k->tsc_khz);
    expect_difference(&b, "kvm-tsc-khz", near, khz, NULL);
    expect_difference(&b, "kvm-tsc", "its own", "12", NULL);
    if (k->tsc_setting == TSC_FIXED) {
        g_autofree char *text = accel_kvm.differs(b.accel, "kvm-tsc", "18446744073709551615", "1");

        g_assert_nonnull(strstr(text, "would go back"));
    }
    expect_difference(&b, "kvm-tsc", "1", "2", NULL);
    bench_release(&b);
}

int
main(int argc, char **argv)
{
    main_thread_claim();
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/kvm/state/registers-are-read-once", test_registers_are_read_once);
    g_test_add_func("/kvm/state/only-changes-are-written-back", test_only_changes_are_written_back);
    g_test_add_func("/kvm/state/a-change-is-saved", test_a_change_is_saved);
    g_test_add_func("/kvm/state/levels", test_levels);
    g_test_add_func("/kvm/state/moves-in-full", test_moves_in_full);
    g_test_add_func("/kvm/state/registers-for-people", test_registers_for_people);
    g_test_add_func("/kvm/state/a-missing-capability-is-named", test_a_missing_capability_is_named);
    g_test_add_func("/kvm/state/each-cpu-has-its-own-apic-id", test_each_cpu_has_its_own_apic_id);
    g_test_add_func("/kvm/state/trials-of-features-do-not-disturb-each-other",
                    test_trials_of_features_do_not_disturb_each_other);
    g_test_add_func("/kvm/state/what-cannot-be-taken-is-named", test_what_cannot_be_taken_is_named);
    return g_test_run();
}
