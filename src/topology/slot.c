/* SPDX-License-Identifier: GPL-3.0-or-later */
/* CPUs that are plugged into a slot: which slot the ids of `device_add cpu` name, with QEMU's wordings. */
#include "topology.h"

#include <inttypes.h>

#include "topology-private.h"

const struct property cpu_plug_properties[] = {
    [PLUG_P_ID] = { "id", PROPERTY_ID, .help = "name by which it can be deleted" },
    [PLUG_P_SOCKET] = { "socket-id", PROPERTY_UINT, .max = UINT32_MAX,
                        .help = "socket; required, as core and thread" },
    [PLUG_P_DIE] = { "die-id", PROPERTY_UINT, .max = UINT32_MAX,
                     .help = "die in its socket; required if there are several" },
    [PLUG_P_MODULE] = { "module-id", PROPERTY_UINT, .max = UINT32_MAX,
                        .help = "module in its die; required if there are several" },
    [PLUG_P_CORE] = { "core-id", PROPERTY_UINT, .max = UINT32_MAX, .help = "core in its module" },
    [PLUG_P_THREAD] = { "thread-id", PROPERTY_UINT, .max = UINT32_MAX, .help = "thread in its core" },
    [PLUG_P_NODE] = { "node-id", PROPERTY_UINT, .max = UINT32_MAX, .complete = COMPLETE_NODE,
                      .help = "the slot's node; no other is taken" },
    { 0 }
};

/* One id among the 'count' of its level. */
static bool
read_id(const struct smp *smp, enum smp_level level, const struct values *v, unsigned *ret, GError **error)
{
    const char *name = cpu_plug_properties[PLUG_P_SOCKET + level].name;
    const struct value *id = &v->at[PLUG_P_SOCKET + level];
    unsigned last = smp->levels[level] - 1;

    if (!id->set && smp_has_level(smp, level))
        return fail(error, NUMON_ERROR_ARGUMENT, "CPU %s is not set: it must be in range 0:%u", name, last);
    if (id->set && id->number > last)
        return fail(error, NUMON_ERROR_ARGUMENT, "Invalid CPU %s: %" PRIu64 " must be in range 0:%u", name,
                    id->number, last);
    *ret = id->set ? (unsigned)id->number : 0;
    return true;
}

bool
topology_find_slot(const struct topology *t, const uint64_t *taken, const struct values *v, unsigned *ret_slot,
                   GError **error)
{
    struct smp smp = topology_smp(t);
    const struct value *node = &v->at[PLUG_P_NODE];
    unsigned slot = 0, id = 0, required;

    for (enum smp_level level = 0; level < SMP_LEVELS; level++) {
        if (!read_id(&smp, level, v, &id, error))
            return false;
        slot = slot * smp.levels[level] + id;
    }
    if (bit_test(taken, slot))
        return fail(error, NUMON_ERROR_STATE, "CPU[%u] with APIC ID %u exists", slot, smp_apic_id(&smp, slot));
    required = (unsigned)MAX(topology_cpu_node(t, slot), 0);
    if (node->set && node->number != required)
        return fail(error, NUMON_ERROR_ARGUMENT, "invalid node-id, must be %u", required);
    *ret_slot = slot;
    return true;
}

void
smp_spell_place(const struct smp *smp, unsigned slot, GString *out)
{
    struct cpu_place p = smp_place(smp, slot);
    const unsigned ids[SMP_LEVELS] = { p.socket, p.die, p.module, p.core, p.thread };

    for (enum smp_level level = 0; level < SMP_LEVELS; level++) {
        if (smp_has_level(smp, level))
            g_string_append_printf(out, "%s%s=%u", level ? "," : "", cpu_plug_properties[PLUG_P_SOCKET + level].name,
                                   ids[level]);
    }
}
