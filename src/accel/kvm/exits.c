/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What a vCPU leaves its guest for, and what is done about it: one table of all reasons that KVM has on x86
 * (Documentation/virt/kvm/api.rst, section 5).  A reason without a function ends the guest's run: it says what
 * happened and that numon does not handle it.
 *
 * Each vCPU counts its exits by reason, and the time from each to the end of what was done about it.  It alone
 * adds. */
#include "kvm-private.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

/* Reasons that the installed headers may be too old for. */
enum { EXIT_NOTIFY = 37, EXIT_MEMORY_FAULT = 39, EXIT_TDX = 40 };

/* --- I/O -------------------------------------------------------------------------------------------------------- */

static uint64_t
get_number(const uint8_t *bytes, unsigned size)
{
    uint64_t value = 0;

    memcpy(&value, bytes, MIN(size, sizeof(value)));        /* both sides are little-endian */
    return value;
}

static void
put_number(uint8_t *bytes, unsigned size, uint64_t value)
{
    memcpy(bytes, &value, MIN(size, sizeof(value)));
}

static enum vcpu_exit
port_access(struct kvm_cpu *c, char **ret_text)
{
    struct kvm_run *run = c->run;
    uint8_t *data = (uint8_t *)run + run->io.data_offset;
    unsigned size = run->io.size, port = run->io.port;
    struct bus *bus = c->kvm->bus;

    for (uint32_t i = 0; i < run->io.count; i++, data += size) {
        if (run->io.direction == KVM_EXIT_IO_IN)
            put_number(data, size, bus_read(bus, BUS_PORT, port, size));
        else if (port == CONTROL_NAP_PORT && size == 4)
            vcpu_nap(c, get_number(data, size));
        else
            bus_write(bus, BUS_PORT, port, size, get_number(data, size));
    }
    return VCPU_AGAIN;
}

static enum vcpu_exit
mmio_access(struct kvm_cpu *c, char **ret_text)
{
    struct kvm_run *run = c->run;
    unsigned size = MIN(run->mmio.len, sizeof(run->mmio.data));
    struct bus *bus = c->kvm->bus;

    if (run->mmio.is_write)
        bus_write(bus, BUS_MMIO, run->mmio.phys_addr, size, get_number(run->mmio.data, size));
    else
        put_number(run->mmio.data, size, bus_read(bus, BUS_MMIO, run->mmio.phys_addr, size));
    return VCPU_AGAIN;
}

/* --- others ----------------------------------------------------------------------------------------------------- */

static enum vcpu_exit
go_on(struct kvm_cpu *c, char **ret_text)
{
    return VCPU_AGAIN;
}

/* KVM halts by itself; where it does not, no interrupt will come either. */
static enum vcpu_exit
halt(struct kvm_cpu *c, char **ret_text)
{
    vcpu_nap(c, G_USEC_PER_SEC);
    return VCPU_AGAIN;
}

static enum vcpu_exit
dirty_ring_full(struct kvm_cpu *c, char **ret_text)
{
    ring_full(c);
    return VCPU_AGAIN;
}

/* A triple fault, which resets a PC. */
static enum vcpu_exit
triple_fault(struct kvm_cpu *c, char **ret_text)
{
    return VCPU_RESET;
}

static enum vcpu_exit
system_event(struct kvm_cpu *c, char **ret_text)
{
    switch (c->run->system_event.type) {
    case KVM_SYSTEM_EVENT_SHUTDOWN:
        return VCPU_SHUTDOWN;
    case KVM_SYSTEM_EVENT_RESET:
        return VCPU_RESET;
    case KVM_SYSTEM_EVENT_WAKEUP:           /* of one that sleeps; ours run */
        return VCPU_AGAIN;
    }
    *ret_text = vcpu_fault_text(c, NULL, 0);
    return VCPU_ERROR;
}

/* --- the table -------------------------------------------------------------------------------------------------- */

static const struct exit_kind {
    unsigned reason;
    const char *name, *help;
    enum vcpu_exit (*handle)(struct kvm_cpu *c, char **ret_text);       /* NULL: the guest cannot go on */
} kinds[] = {
    { KVM_EXIT_IO, "io", "port access", port_access },
    { KVM_EXIT_MMIO, "mmio", "access to an address without memory", mmio_access },
    { KVM_EXIT_INTR, "interrupted", "a signal for the vCPU's thread: a stop, or a throttle", go_on },
    { KVM_EXIT_HLT, "halt", "halted, where KVM does not wait by itself", halt },
    { KVM_EXIT_IRQ_WINDOW_OPEN, "irq-window", "an interrupt can be taken", go_on },
    { KVM_EXIT_SET_TPR, "set-tpr", "task priority lowered", go_on },
    { KVM_EXIT_TPR_ACCESS, "tpr-access", "task priority touched", go_on },
    { KVM_EXIT_IOAPIC_EOI, "ioapic-eoi", "end of an interrupt for an I/O APIC outside the kernel", go_on },
    { KVM_EXIT_X86_BUS_LOCK, "bus-lock", "an access locked the bus", go_on },
    { KVM_EXIT_DIRTY_RING_FULL, "ring-full", "the vCPU's dirty ring must be emptied", dirty_ring_full },
    { KVM_EXIT_SHUTDOWN, "shutdown", "triple fault", triple_fault },
    { KVM_EXIT_SYSTEM_EVENT, "system-event", "reset, power-off or crash", system_event },
    { KVM_EXIT_INTERNAL_ERROR, "internal-error", "KVM could not go on, as with an instruction that it cannot emulate",
      NULL },
    { KVM_EXIT_FAIL_ENTRY, "fail-entry", "the processor refused to enter the guest", NULL },
    { KVM_EXIT_UNKNOWN, "unknown", "the processor left the guest for a reason that KVM does not know", NULL },
    { KVM_EXIT_EXCEPTION, "exception", "an exception for the host", NULL },
    { KVM_EXIT_HYPERCALL, "hypercall", "a call to the host that KVM does not serve", NULL },
    { KVM_EXIT_DEBUG, "debug", "a breakpoint or a step", NULL },
    { KVM_EXIT_NMI, "nmi", "a non-maskable interrupt for the host", NULL },
    { KVM_EXIT_WATCHDOG, "watchdog", "a watchdog ran out", NULL },
    { KVM_EXIT_HYPERV, "hyperv", "a call of the Hyper-V interface", NULL },
    { KVM_EXIT_XEN, "xen", "a call of the Xen interface", NULL },
    { KVM_EXIT_X86_RDMSR, "rdmsr", "an MSR read that KVM does not serve", NULL },
    { KVM_EXIT_X86_WRMSR, "wrmsr", "an MSR written that KVM does not serve", NULL },
    { KVM_EXIT_AP_RESET_HOLD, "ap-reset-hold", "a CPU waits to be started anew", NULL },
    { EXIT_NOTIFY, "notify", "the guest kept the processor from taking interrupts for too long", NULL },
    { EXIT_MEMORY_FAULT, "memory-fault", "the host cannot give a page of the guest's memory", NULL },
    { EXIT_TDX, "tdx", "a call of the TDX interface", NULL },
    { UINT32_MAX, "other", "a reason newer than numon", NULL },
};

_Static_assert(G_N_ELEMENTS(kinds) == EXIT_KINDS, "counters and kinds are as many");

/* The last one stands for all that are not in the table. */
static unsigned
kind_of(unsigned reason)
{
    unsigned i = 0;

    while (i < EXIT_KINDS - 1 && kinds[i].reason != reason)
        i++;
    return i;
}

const char *
exit_help(unsigned reason)
{
    return kinds[kind_of(reason)].help;
}

const char *
exit_name(unsigned reason)
{
    return kinds[kind_of(reason)].name;
}

static int64_t
now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* The vCPU's thread alone writes it. */
static void
add(_Atomic uint64_t *counter, uint64_t n)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n, memory_order_relaxed);
}

/* --- telling ---------------------------------------------------------------------------------------------------- */

/* After it was handled, so that what was read is known. */
static void
tell_exit(const struct kvm_cpu *c, const struct exit_kind *kind)
{
    const struct kvm_run *run = c->run;
    struct trace *t = c->kvm->trace;

    if (run->exit_reason == KVM_EXIT_IO)
        trace_line(t, TRACE_EXITS, "CPU %u %s %u byte%s %s port 0x%x: 0x%" PRIx64 "%s", c->index,
                   run->io.direction == KVM_EXIT_IO_IN ? "in" : "out", run->io.size, run->io.size == 1 ? "" : "s",
                   run->io.direction == KVM_EXIT_IO_IN ? "from" : "to", run->io.port,
                   get_number((const uint8_t *)run + run->io.data_offset, run->io.size),
                   run->io.count > 1 ? " and more" : "");
    else if (run->exit_reason == KVM_EXIT_MMIO)
        trace_line(t, TRACE_EXITS, "CPU %u mmio %s %u byte%s at 0x%" PRIx64 ": 0x%" PRIx64, c->index,
                   run->mmio.is_write ? "write" : "read", run->mmio.len, run->mmio.len == 1 ? "" : "s",
                   (uint64_t)run->mmio.phys_addr, get_number(run->mmio.data, run->mmio.len));
    else
        trace_line(t, TRACE_EXITS, "CPU %u %s: %s", c->index, kind->name, kind->help);
}

enum vcpu_exit
exit_handle(struct kvm_cpu *c, char **ret_text)
{
    unsigned kind = kind_of(c->run->exit_reason);
    int64_t begin = now_ns();
    enum vcpu_exit what = VCPU_ERROR;

    if (kinds[kind].handle)
        what = kinds[kind].handle(c, ret_text);
    else
        *ret_text = vcpu_fault_text(c, NULL, 0);
    if (trace_is_on(c->kvm->trace, TRACE_EXITS))
        tell_exit(c, &kinds[kind]);
    add(&c->exits[kind].count, 1);
    add(&c->exits[kind].host_ns, (uint64_t)(now_ns() - begin));
    return what;
}

void
exit_interrupted(struct kvm_cpu *c)
{
    add(&c->exits[kind_of(KVM_EXIT_INTR)].count, 1);
}

unsigned
kvm_exits(struct accel *a, unsigned cpu, struct exit_count *ret, unsigned room)
{
    const struct kvm_cpu *c = &((struct kvm *)a)->cpus[cpu];

    for (unsigned i = 0; i < MIN(room, EXIT_KINDS); i++)
        ret[i] = (struct exit_count) {
            kinds[i].name, kinds[i].help, atomic_load_explicit(&c->exits[i].count, memory_order_relaxed),
            atomic_load_explicit(&c->exits[i].host_ns, memory_order_relaxed),
        };
    return EXIT_KINDS;
}
