/* SPDX-License-Identifier: GPL-3.0-or-later */
/* One vCPU: creation and the KVM_RUN loop; exits.c has what its exits ask for.
 *
 * An exit for I/O or MMIO leaves an instruction half done: KVM completes it (an IN's register is loaded, RIP moves
 * on) at the beginning of the next KVM_RUN.  So the answer is put into the shared page at once, and before the
 * registers may be read, vcpu_settle runs KVM_RUN with immediate_exit, which completes it and executes nothing. */
#include "kvm-private.h"

#include <errno.h>
#include <inttypes.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

bool
vcpu_create(struct kvm *k, unsigned index, unsigned apic_id, GError **error)
{
    struct kvm_cpu *c = &k->cpus[index];
    void *run;

    *c = (struct kvm_cpu) { .kvm = k, .index = index, .apic_id = apic_id, .stats_fd = -1 };
    lock_init(&c->lock, 12, "vCPU nap");
    lock_init(&c->registers, 13, "vCPU registers");
    condition_init(&c->woken);
    c->fd = kvm_ioctl_number(k->vm_fd, KVM_CREATE_VCPU, apic_id);
    if (c->fd < 0)
        return fail_host(error, errno, "cannot create vCPU %u (APIC id %u)", index, apic_id);
    run = mmap(NULL, k->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, c->fd, 0);
    if (run == MAP_FAILED)
        return fail_host(error, errno, "cannot map the page of vCPU %u", index);
    c->run = run;
    c->watch.leave = &c->run->immediate_exit;
    return ring_map(c, error) && vcpu_set_cpuid(c, error) && mce_create(c, error);
}

void
vcpu_release(struct kvm_cpu *c, size_t run_size)
{
    if (c->run)
        munmap(c->run, run_size);
    close_fd(&c->stats_fd);
    close_fd(&c->fd);
    cpu_state_release(&c->state);
    lock_take(&c->registers);
    cpu_state_release(&c->cache);
    lock_drop(&c->registers);
    lock_release(&c->registers);
    condition_release(&c->woken);
    lock_release(&c->lock);
}

/* --- running ---------------------------------------------------------------------------------------------------- */

/* immediate_exit as 'kicked' says, which may come meanwhile. */
static void
follow_kick(struct kvm_cpu *c)
{
    __atomic_store_n(&c->run->immediate_exit, 0, __ATOMIC_SEQ_CST);
    if (atomic_load(&c->kicked))
        __atomic_store_n(&c->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
}

/* KVM_RUN; the signal handler looks at 'armed' to tell the guest's accesses from ours. */
static int
enter_guest(struct kvm_cpu *c)
{
    int r;

    atomic_store(&c->watch.armed, true);
    r = ioctl(c->fd, KVM_RUN, NULL);
    atomic_store(&c->watch.armed, false);
    return r;
}

/* Why KVM_RUN failed. */
static enum vcpu_exit
came_back(struct kvm_cpu *c, int run_errno, char **ret_text)
{
    uintptr_t failed = atomic_exchange(&c->watch.failed, 0);

    if (failed) {
        follow_kick(c);             /* the handler has asked for the exit, perhaps a stop too */
        return mce_memory_failed(c, failed, ret_text);
    }
    if (run_errno == EINTR || run_errno == EAGAIN) {
        exit_interrupted(c);
        return VCPU_AGAIN;
    }
    *ret_text = vcpu_fault_text(c, c->kvm->map, run_errno);
    return VCPU_ERROR;
}

enum vcpu_exit
kvm_vcpu_run(struct accel *a, unsigned cpu, char **ret_text)
{
    struct kvm_cpu *c = &((struct kvm *)a)->cpus[cpu];
    enum vcpu_exit what = VCPU_AGAIN;
    g_autoptr(GError) error = NULL;

    if (!registers_write_back(c, &error)) {
        *ret_text = g_strdup(error->message);
        return VCPU_ERROR;
    }
    registers_forget(c);
    page_watch_begin(&c->watch);
    while (what == VCPU_AGAIN && !atomic_load(&c->kicked)) {
        if (!c->exit_left && enter_guest(c) < 0)
            return came_back(c, errno, ret_text);
        c->exit_left = false;
        what = exit_handle(c, ret_text);
    }
    return what;
}

/* One instruction may need several exits (a string of bytes, a read across two pages): all are answered here.  What
 * is not I/O waits for the next vcpu_run. */
void
kvm_vcpu_settle(struct accel *a, unsigned cpu)
{
    struct kvm_cpu *c = &((struct kvm *)a)->cpus[cpu];

    __atomic_store_n(&c->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
    while (!c->exit_left && ioctl(c->fd, KVM_RUN, NULL) == 0) {
        if (c->run->exit_reason == KVM_EXIT_IO || c->run->exit_reason == KVM_EXIT_MMIO)
            exit_handle(c, NULL);
        else if (c->run->exit_reason != KVM_EXIT_INTR)
            c->exit_left = true;
        else
            break;
    }
    follow_kick(c);
}

bool
kvm_vcpu_translate(struct accel *a, unsigned cpu, uint64_t address, uint64_t *ret_gpa, GError **error)
{
    struct kvm_translation t = { .linear_address = address };

    if (!registers_write_back(&((struct kvm *)a)->cpus[cpu], error))
        return false;
    if (kvm_ioctl(((struct kvm *)a)->cpus[cpu].fd, KVM_TRANSLATE, &t) < 0)
        return fail_host(error, errno, "cannot translate 0x%" PRIx64 " by CPU %u", address, cpu);
    if (!t.valid)
        return fail(error, NUMON_ERROR_ARGUMENT, "guest virtual 0x%" PRIx64 " is not mapped by CPU %u", address, cpu);
    *ret_gpa = t.physical_address;
    return true;
}
