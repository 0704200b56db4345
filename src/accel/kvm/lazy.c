/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The registers of a parked vCPU, for whoever looks: a verification, `info registers`, a debugger.
 *
 * Each part is read from KVM when it is first asked for, and held until the vCPU runs again.  One that was changed is
 * given back once, before the vCPU runs or KVM is asked for something that depends on it, and at the level RUNTIME:
 * clocks and run state have gone on and are not touched.  Main and the migration's thread may look at the same
 * time. */
#include "kvm-private.h"

#include <string.h>

static bool
fetch(struct kvm_cpu *c, unsigned which, GError **error) REQUIRES(c->registers)
{
    which &= c->kvm->parts & ~c->cached;
    if (!which)
        return true;
    if (!cpu_state_get(c, &c->cache, which, error))
        return false;
    c->cached |= which;
    c->fetched++;
    return true;
}

static bool
write_back(struct kvm_cpu *c, GError **error) REQUIRES(c->registers)
{
    if (!c->changed)
        return true;
    if (!cpu_state_put(c, &c->cache, c->changed, PUT_RUNTIME, error))
        return false;
    c->changed = 0;
    c->written++;
    return true;
}

bool
registers_get(struct kvm_cpu *c, struct kvm_regs *ret, GError **error)
{
    bool ok;

    lock_take(&c->registers);
    ok = fetch(c, part_named(c->kvm, "registers"), error);
    if (ok)
        *ret = c->cache.regs;
    lock_drop(&c->registers);
    return ok;
}

bool
registers_set(struct kvm_cpu *c, const struct kvm_regs *regs, GError **error)
{
    unsigned part = part_named(c->kvm, "registers");
    bool ok;

    lock_take(&c->registers);
    ok = fetch(c, part, error);
    if (ok && memcmp(&c->cache.regs, regs, sizeof *regs) != 0) {
        c->cache.regs = *regs;
        c->changed |= part;
    }
    lock_drop(&c->registers);
    return ok;
}

bool
registers_write_back(struct kvm_cpu *c, GError **error)
{
    bool ok;

    lock_take(&c->registers);
    ok = write_back(c, error);
    lock_drop(&c->registers);
    return ok;
}

void
registers_forget(struct kvm_cpu *c)
{
    lock_take(&c->registers);
    c->cached = c->changed = 0;
    lock_drop(&c->registers);
}

bool
registers_look(struct kvm_cpu *c, struct registers_seen *ret, GError **error)
{
    unsigned wanted = part_named(c->kvm, "registers") | part_named(c->kvm, "special registers") |
                      part_named(c->kvm, "debug registers") | part_named(c->kvm, "run state");
    bool ok;

    lock_take(&c->registers);
    ok = fetch(c, wanted, error);
    if (ok)
        *ret = (struct registers_seen) { c->cache.regs, c->cache.sregs, c->cache.debugregs, c->cache.mp_state };
    lock_drop(&c->registers);
    return ok;
}
