/* SPDX-License-Identifier: GPL-3.0-or-later */
/* `cpu`, which is two commands of QEMU: -cpu in preconfig, where it says what the CPUs show, and once there are CPUs
 * the one that other commands look at. */
#include "monitor-private.h"

enum { CPU_P_MODEL };
const struct property cpu_args[] = {
    [CPU_P_MODEL] = { "model", PROPERTY_WORD, .complete = COMPLETE_CPU,
                      .help = "base or host, then ,+FEATURE and ,-FEATURE for each; or a CPU's number; without it, "
                              "shows which" },
    { 0 }
};

unsigned
monitor_cpu(struct monitor *m)
{
    const struct topology_final *t = machine_topology(m->machine);

    return t && topology_has_cpu(t, m->cpu) ? m->cpu : 0;
}

static enum outcome
choose(struct call *call, const char *text, GError **error)
{
    static const struct property index = { "index", PROPERTY_UINT, .max = TOPOLOGY_CPUS - 1 };
    const struct topology_final *t = machine_topology(call->monitor->machine);
    struct value v = { 0 };
    bool good = when_allowed(call->monitor, "cpu INDEX", WHEN_BUILT, error) &&
                property_parse_value(&index, text, &v, error);

    g_free(v.word);
    if (!good)
        return COMMAND_FAILED;
    if (!topology_has_cpu(t, v.number)) {
        g_autofree char *cpus = topology_spell_cpus(t);

        fail(error, NUMON_ERROR_ARGUMENT, "invalid CPU index: there is no CPU %s, the guest has %s", text, cpus);
        return COMMAND_FAILED;
    }
    call->monitor->cpu = (unsigned)v.number;
    return COMMAND_DONE;
}

static bool
edit_cpu(struct definition *d, const struct values *v, GError **error)
{
    return definition_set_cpu(d, v->at[CPU_P_MODEL].word, error);
}

static enum outcome
show(struct call *call)
{
    struct monitor *m = call->monitor;
    g_autofree char *model = cpu_options_spell(&machine_definition(m->machine)->cpu);

    if (monitor_built(m))
        call_print(call, "%u\n", monitor_cpu(m));
    else
        call_print(call, "%s\n", model);
    return COMMAND_DONE;
}

enum outcome
cpu_run(struct call *call, GError **error)
{
    const char *what = call->args->at[CPU_P_MODEL].word;

    if (!call->args->at[CPU_P_MODEL].set)
        return show(call);
    if (g_ascii_isdigit(*what))
        return choose(call, what, error);
    if (monitor_built(call->monitor)) {
        fail(error, NUMON_ERROR_STATE, "'%s' is no CPU's number, and a model is chosen in preconfig "
             "(`enter_preconfig` goes back there)", what);
        return COMMAND_FAILED;
    }
    return call_edit(call, edit_cpu, error);
}
