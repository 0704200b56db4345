/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The synthetic accelerator as a class: creation, reset, kicks, migrated state.  The guest itself is work.c. */
#include "synthetic-private.h"

static const struct state_field cpu_fields[] = {
    { "total", STATE_U64, offsetof(struct registers, total) },
    { "clock_ns", STATE_U64, offsetof(struct registers, clock_ns) },
    { "paced_ns", STATE_U64, offsetof(struct registers, paced_ns) },
    { "tick_ns", STATE_U64, offsetof(struct registers, tick_ns) },
    { "begun", STATE_BOOL, offsetof(struct registers, begun) },
    { 0 }
};

static bool
synthetic_probe(GError **error)
{
    return true;
}

static void
cpu_init(struct cpu *c, struct accel *a, unsigned index)
{
    c->accel = a;
    c->index = index;
    lock_init(&c->lock, 12, "synthetic vcpu");
    condition_init(&c->wake);
}

static struct accel *
synthetic_create(const struct accel_setup *setup, GError **error)
{
    struct accel *a;

    if (setup->cpu_slots > CONTROL_CPUS) {
        fail(error, NUMON_ERROR_LIMIT, "cannot run %u CPUs: accelerator 'synthetic' has %u at most", setup->cpu_slots,
             CONTROL_CPUS);
        return NULL;
    }
    a = g_new0(struct accel, 1);
    a->setup = *setup;
    a->cpus = g_new0(struct cpu, setup->cpu_slots);
    a->sections = g_new0(struct state_section, setup->cpu_slots);
    for (unsigned i = 0; i < setup->cpu_slots; i++)
        cpu_init(&a->cpus[i], a, i);
    return a;
}

static void
synthetic_destroy(struct accel *a)
{
    if (!a)
        return;
    for (unsigned i = 0; i < a->setup.cpu_slots; i++) {
        condition_release(&a->cpus[i].wake);
        lock_release(&a->cpus[i].lock);
    }
    g_free(a->sections);
    g_free(a->cpus);
    g_free(a);
}

/* Every write is marked; there is no log to collect. */
static struct dirty_source
synthetic_dirty_source(struct accel *a)
{
    return (struct dirty_source) { .tells_cpus = true };
}

static uint64_t
synthetic_ring_pages(struct accel *a)
{
    return SYNTHETIC_RING;
}

static void
synthetic_ring_nap(struct accel *a, unsigned cpu, uint64_t us)
{
    atomic_store(&a->cpus[cpu].ring_nap_us, us);
}

static void
synthetic_set_hub(struct accel *a, struct hub *hub)
{
    a->hub = hub;
}

static bool
synthetic_reset(struct accel *a, unsigned cpu, const struct cpu_start *start, GError **error)
{
    a->cpus[cpu].registers = (struct registers) { 0 };
    return true;
}

static bool
synthetic_add(struct accel *a, unsigned cpu, const struct cpu_start *start, GError **error)
{
    return synthetic_reset(a, cpu, start, error);
}

static enum vcpu_exit
synthetic_vcpu_run(struct accel *a, unsigned cpu, char **ret_text)
{
    return synthetic_run(&a->cpus[cpu], ret_text);
}

/* It comes back between two page writes with its guest time up to date. */
static void
synthetic_settle(struct accel *a, unsigned cpu)
{
}

static void
set_kicked(struct cpu *c, bool kicked)
{
    lock_take(&c->lock);
    atomic_store_explicit(&c->kicked, kicked, memory_order_relaxed);
    condition_broadcast(&c->wake);
    lock_drop(&c->lock);
}

static void
synthetic_kick(struct accel *a, unsigned cpu)
{
    set_kicked(&a->cpus[cpu], true);
}

static void
synthetic_unkick(struct accel *a, unsigned cpu)
{
    set_kicked(&a->cpus[cpu], false);
}

static bool
synthetic_witness(struct accel *a, unsigned cpu, uint64_t *ret, GError **error)
{
    *ret = a->cpus[cpu].registers.total;
    return true;
}

/* CPUs only come, so that as many are the same ones; then the list stays as it is: a migration may have it in
 * hand. */
static const struct state_section *
synthetic_sections(struct accel *a, unsigned *ret_count)
{
    unsigned cpus = 0, count = 0;

    for (unsigned i = 0; i < a->setup.cpu_slots; i++)
        cpus += is_present(a, i);
    for (unsigned i = 0; cpus != a->section_count && i < a->setup.cpu_slots; i++) {
        if (is_present(a, i))
            a->sections[count++] = (struct state_section) {
                .name = "synthetic-cpu", .instance = i, .version = 1, .fields = cpu_fields,
                .object = &a->cpus[i].registers,
            };
    }
    *ret_count = a->section_count = cpus;
    return a->sections;
}

/* The layout of control pages and areas is all that both sides must share. */
static void
synthetic_describe(struct accel *a, GString *lines)
{
    g_string_append_printf(lines, "workload-version=%d\n", CONTROL_VERSION);
}

/* Guest time counts nanoseconds. */
static uint64_t
synthetic_tsc_khz(struct accel *a)
{
    return 1000000;
}

const struct accel_class accel_synthetic = {
    .name = "synthetic",
    .summary = "the workload in host threads; no CPU is emulated, no privilege needed",
    .lays_out_workload = true,
    .probe = synthetic_probe,
    .create = synthetic_create,
    .destroy = synthetic_destroy,
    .dirty_source = synthetic_dirty_source,
    .set_hub = synthetic_set_hub,
    .ring_pages = synthetic_ring_pages,
    .ring_nap = synthetic_ring_nap,
    .vcpu_reset = synthetic_reset,
    .vcpu_add = synthetic_add,
    .vcpu_run = synthetic_vcpu_run,
    .vcpu_settle = synthetic_settle,
    .vcpu_kick = synthetic_kick,
    .vcpu_unkick = synthetic_unkick,
    .vcpu_witness = synthetic_witness,
    .sections = synthetic_sections,
    .describe = synthetic_describe,
    .tsc_khz = synthetic_tsc_khz,
};
