/* SPDX-License-Identifier: GPL-3.0-or-later */
/* `machine KEY=VALUE,...`: what QEMU has as properties of its machine, and the topology that they make of what was
 * entered.  A key that is not given stays as it is. */
#include "config.h"

#include <string.h>

#include "config-private.h"

const struct property machine_properties[] = {
    [MACHINE_P_AUTO_ASSIGN] = { "numa-auto-assign", PROPERTY_CHOICE, .choices = auto_assign_names,
                                .value_default = "default",
                                .help = "how RAM is divided when no node has a size: rests carried on, all to the "
                                        "last node, or not at all" },
    [MACHINE_P_AUTO_ENABLE] = { "auto-enable-numa", PROPERTY_BOOL, .value_default = "off",
                                .help = "one node when none is declared; with memory slots it is there anyway" },
    [MACHINE_P_HMAT] = { "hmat", PROPERTY_BOOL, .value_default = "off",
                         .help = "the guest is told latencies, bandwidths and memory side caches" },
    [MACHINE_P_NVDIMM] = { "nvdimm", PROPERTY_BOOL, .value_default = "off", .help = "it may have nvdimms" },
    { 0 }
};

/* What was said with HMAT on would be lost without a word. */
static bool
hmat_can_go(const struct definition *d, GError **error)
{
    const struct topology *t = &d->topology;

    for (unsigned i = 0; i < t->node_count; i++) {
        if (t->nodes[t->node_order[i]].has_initiator)
            return fail(error, NUMON_ERROR_STATE, "cannot turn hmat off: node %u has an initiator; numa_del "
                        "initiator takes it back", t->node_order[i]);
    }
    if (d->hmat.lb->len)
        return fail(error, NUMON_ERROR_STATE, "cannot turn hmat off: latency or bandwidth was given; numa_del "
                    "hmat-lb takes it back");
    return true;
}

bool
definition_set_machine(struct definition *d, const struct values *v, GError **error)
{
    struct numa_options *o = &d->topology.options;
    const struct value *hmat = &v->at[MACHINE_P_HMAT];

    if (hmat->set && !hmat->flag && !hmat_can_go(d, error))
        return false;
    if (hmat->set)
        o->hmat = hmat->flag;
    if (v->at[MACHINE_P_NVDIMM].set)
        d->nvdimm = v->at[MACHINE_P_NVDIMM].flag;
    if (v->at[MACHINE_P_AUTO_ASSIGN].set)
        o->auto_assign = (enum auto_assign)v->at[MACHINE_P_AUTO_ASSIGN].number;
    if (v->at[MACHINE_P_AUTO_ENABLE].set)
        o->auto_enable = v->at[MACHINE_P_AUTO_ENABLE].flag;
    return true;
}

void
machine_options_save(const struct definition *d, GString *out)
{
    const struct numa_options *o = &d->topology.options;
    g_autoptr(GString) keys = g_string_new(NULL);

    if (o->auto_assign != AUTO_ASSIGN_DEFAULT)
        g_string_append_printf(keys, ",%s=%s", machine_properties[MACHINE_P_AUTO_ASSIGN].name,
                               auto_assign_names[o->auto_assign]);
    if (o->auto_enable)
        g_string_append_printf(keys, ",%s=on", machine_properties[MACHINE_P_AUTO_ENABLE].name);
    if (o->hmat)
        g_string_append_printf(keys, ",%s=on", machine_properties[MACHINE_P_HMAT].name);
    if (d->nvdimm)
        g_string_append_printf(keys, ",%s=on", machine_properties[MACHINE_P_NVDIMM].name);
    if (keys->len)
        g_string_append_printf(out, "machine %s\n", keys->str + 1);
}

unsigned
definition_topology(const struct definition *d, struct topology *ret)
{
    unsigned made = 0;

    *ret = d->topology;
    if (ret->node_count == 0 && (ret->options.auto_enable || d->memory.slots > 0)) {
        topology_add_implicit_node(ret, definition_ram(d));
        made |= TOPOLOGY_IMPLICIT;
    }
    if (topology_auto_assign(ret, definition_ram(d), definition_backends(d)))
        made |= TOPOLOGY_SPLIT;
    return made;
}

void
definition_complete(const struct definition *d, struct topology_final *ret)
{
    struct topology t;

    definition_topology(d, &t);
    topology_complete(&t, definition_ram(d), definition_backends(d), ret);
    definition_cpus(d, ret->present);
}

void
definition_warnings(const struct definition *d, GPtrArray *warnings)
{
    struct topology t;

    definition_topology(d, &t);
    topology_warnings(&t, warnings);
    if (d->cpu.model == CPU_MODEL_HOST && d->accel != ACCEL_SYNTHETIC)
        g_ptr_array_add(warnings, g_strdup("cpu host shows what this host has: the guest moves only to hosts that "
                                           "give it the same (info cpu_features); cpu base moves between hosts of "
                                           "one vendor"));
}
