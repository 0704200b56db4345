/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The ACPI tables of the machine: those that would be built of the definition, or those in guest memory. */
#include "machine-private.h"

static struct acpi_setup
setup_of(const struct definition *d, const struct topology_final *t)
{
    struct device_room room = definition_device_room(d);

    return (struct acpi_setup) {
        .topology = t, .hmat = definition_told_hmat(d), .device_base = room.base, .device_size = room.size,
    };
}

GPtrArray *
machine_plan_acpi(const struct definition *d, GError **error)
{
    g_autofree struct topology_final *t = g_new(struct topology_final, 1);
    struct acpi_setup setup;

    definition_complete(d, t);
    setup = setup_of(d, t);
    return acpi_build(&setup, error);
}

GPtrArray *
machine_acpi(const struct machine *m, GError **error)
{
    g_autoptr(GPtrArray) problems = NULL;

    if (m->parts && m->parts->class->lays_out_workload) {
        fail(error, NUMON_ERROR_STATE, "there are no ACPI tables: accelerator '%s' emulates no CPU that would read "
             "them", m->parts->class->name);
        return NULL;
    }
    if (m->parts)
        return acpi_read(m->parts->map, error);
    problems = definition_check(m->definition);
    if (problems->len) {
        const struct problem *first = g_ptr_array_index(problems, 0);

        fail(error, NUMON_ERROR_STATE, "cannot say what the ACPI tables will be: %s (`check` lists %u problem%s)",
             first->text, problems->len, problems->len == 1 ? "" : "s");
        return NULL;
    }
    return machine_plan_acpi(m->definition, error);
}
