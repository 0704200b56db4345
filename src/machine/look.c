/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Looking into a vCPU: it is held for the moment that this takes, and nothing of it changes. */
#include "machine-private.h"

/* Whether there is such a vCPU and the accelerator has what is asked of it. */
static bool
can_look(const struct machine *m, unsigned cpu, const char *what, GError **error)
{
    const struct parts *p = m->parts;

    if (!p)
        return fail(error, NUMON_ERROR_STATE, "cannot %s: there is no machine yet", what);
    if (!topology_has_cpu(&p->topology, cpu)) {
        g_autofree char *cpus = topology_spell_cpus(&p->topology);

        return fail(error, NUMON_ERROR_ARGUMENT, "there is no CPU %u: the guest has %s", cpu, cpus);
    }
    return true;
}

static bool
fail_not_emulated(const struct parts *p, const char *what, GError **error)
{
    return fail(error, NUMON_ERROR_ARGUMENT, "accelerator '%s' emulates no CPU, so there are no %s", p->class->name,
                what);
}

bool
machine_translate(struct machine *m, unsigned cpu, uint64_t address, uint64_t *ret_gpa, GError **error)
{
    struct parts *p = m->parts;
    bool ok;

    if (!can_look(m, cpu, "translate an address", error))
        return false;
    if (!p->class->translate)
        return fail_not_emulated(p, "virtual addresses", error);
    run_hold(p->run, STOP_DEBUGGER);
    ok = p->class->translate(p->accel, cpu, address, ret_gpa, error);
    return run_release(p->run, STOP_DEBUGGER, ok ? error : NULL) && ok;
}

bool
machine_registers(struct machine *m, unsigned cpu, struct cpu_registers *ret, GError **error)
{
    struct parts *p = m->parts;
    bool ok;

    if (!can_look(m, cpu, "read registers", error))
        return false;
    if (!p->class->registers)
        return fail_not_emulated(p, "registers", error);
    run_hold(p->run, STOP_DEBUGGER);
    ok = p->class->registers(p->accel, cpu, ret, error);
    return run_release(p->run, STOP_DEBUGGER, ok ? error : NULL) && ok;
}

bool
machine_stats(struct machine *m, int cpu, GVariantBuilder *list, const char **ret_provider, GError **error)
{
    struct parts *p = m->parts;
    bool ok;

    if (!can_look(m, MAX(cpu, 0), "read statistics", error))
        return false;
    if (!p->class->stats)
        return fail(error, NUMON_ERROR_ARGUMENT, "accelerator '%s' has no statistics (`info workload` shows what its "
                    "CPUs do)", p->class->name);
    run_hold(p->run, STOP_DEBUGGER);
    ok = p->class->stats(p->accel, cpu, list, ret_provider, error);
    return run_release(p->run, STOP_DEBUGGER, ok ? error : NULL) && ok;
}

unsigned
machine_exits(struct machine *m, unsigned cpu, struct exit_count *ret, unsigned room)
{
    return m->parts && m->parts->class->exits ? m->parts->class->exits(m->parts->accel, cpu, ret, room) : 0;
}

bool
machine_cpu_features(struct machine *m, struct cpu_resolved *ret, bool *ret_emulated, const char **ret_accel,
                     GError **error)
{
    struct parts *p = m->parts;
    g_autofree char *reason = NULL;
    const struct accel_class *class = p ? p->class : parts_choose_accel(m->definition, &reason, error);

    if (!class || (class->cpu_resolve && !class->cpu_resolve(p ? p->accel : NULL, &m->definition->cpu, ret, error)))
        return false;
    *ret_emulated = class->cpu_resolve;
    *ret_accel = class->name;
    return true;
}
