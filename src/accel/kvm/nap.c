/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The nap: a guest without timer interrupts gives up its vCPU for a while by one OUT.  A kick cuts it short; what is
 * left of it is lost, as the guest looks at its own clock anyway. */
#include "kvm-private.h"

void
vcpu_nap(struct kvm_cpu *c, uint64_t us)
{
    int64_t deadline = g_get_monotonic_time() + (int64_t)us;

    lock_take(&c->lock);
    while (!atomic_load(&c->kicked) && condition_wait_until(&c->woken, &c->lock, deadline))
        ;
    lock_drop(&c->lock);
}

void
kvm_vcpu_kick(struct accel *a, unsigned cpu)
{
    struct kvm_cpu *c = &((struct kvm *)a)->cpus[cpu];

    atomic_store(&c->kicked, true);
    __atomic_store_n(&c->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
    lock_take(&c->lock);
    condition_signal(&c->woken);
    lock_drop(&c->lock);
}

/* A kick that comes after the first line sets the flag again after us, or is seen by the last line. */
void
kvm_vcpu_unkick(struct accel *a, unsigned cpu)
{
    struct kvm_cpu *c = &((struct kvm *)a)->cpus[cpu];

    atomic_store(&c->kicked, false);
    __atomic_store_n(&c->run->immediate_exit, 0, __ATOMIC_SEQ_CST);
    if (atomic_load(&c->kicked))
        __atomic_store_n(&c->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
}
