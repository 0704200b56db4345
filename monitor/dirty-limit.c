/* SPDX-License-Identifier: GPL-3.0-or-later */
/* set_vcpu_dirty_limit, cancel_vcpu_dirty_limit, `info vcpu_dirty_limit`: QEMU's names and lines.  Its MB are MiB. */
#include "monitor-private.h"

enum { RATE_MOST = 1 << 20 };       /* MiB/s: more than any memory */

enum { LIMIT_RATE, LIMIT_CPU };
const struct property dirty_limit_args[] = {
    [LIMIT_RATE] = { "dirty_rate", PROPERTY_UINT, .min = 1, .max = RATE_MOST, .required = true, .unit = "MB/s",
                     .help = "what a vCPU may dirty in a second" },
    [LIMIT_CPU] = { "cpu_index", PROPERTY_UINT, .max = HUB_CPUS - 1, .help = "the vCPU; without it, all" },
    { 0 }
};
enum { CANCEL_CPU };
const struct property dirty_unlimit_args[] = {
    [CANCEL_CPU] = { "cpu_index", PROPERTY_UINT, .max = HUB_CPUS - 1, .help = "the vCPU; without it, all" },
    { 0 }
};

enum outcome
dirty_limit_run(struct call *call, GError **error)
{
    const struct value *v = call->args->at;
    int cpu = v[LIMIT_CPU].set ? (int)v[LIMIT_CPU].number : -1;

    if (!machine_limit_dirty(call->monitor->machine, cpu, v[LIMIT_RATE].number * MIB, error))
        return COMMAND_FAILED;
    call_print(call, "[Please use 'info vcpu_dirty_limit' to query dirty limit for virtual CPU]\n");
    return COMMAND_DONE;
}

enum outcome
dirty_unlimit_run(struct call *call, GError **error)
{
    const struct value *v = call->args->at;
    int cpu = v[CANCEL_CPU].set ? (int)v[CANCEL_CPU].number : -1;

    if (!machine_limit_dirty(call->monitor->machine, cpu, 0, error))
        return COMMAND_FAILED;
    call_print(call, "[Please use 'info vcpu_dirty_limit' to query dirty limit for virtual CPU]\n");
    return COMMAND_DONE;
}

static GVariant *
limit_row(unsigned cpu, const struct dirty_limit_info *i)
{
    GVariantBuilder dict;

    g_variant_builder_init(&dict, G_VARIANT_TYPE_VARDICT);
    g_variant_builder_add(&dict, "{sv}", "cpu-index", g_variant_new_uint32(cpu));
    g_variant_builder_add(&dict, "{sv}", "limit-rate", g_variant_new_uint64(i->quota));
    g_variant_builder_add(&dict, "{sv}", "current-rate", g_variant_new_uint64(i->rate));
    g_variant_builder_add(&dict, "{sv}", "sleep-us", g_variant_new_uint64(i->nap_us));
    g_variant_builder_add(&dict, "{sv}", "ring-full-us", g_variant_new_uint64(i->full_us));
    return g_variant_builder_end(&dict);
}

static GVariant *
limit_get(struct monitor *m, const struct values *args, GError **error)
{
    GVariantBuilder rows;

    g_variant_builder_init(&rows, G_VARIANT_TYPE("aa{sv}"));
    for (unsigned cpu = 0; cpu < HUB_CPUS; cpu++) {
        struct dirty_limit_info info;

        if (machine_dirty_limit(m->machine, cpu, &info))
            g_variant_builder_add_value(&rows, limit_row(cpu, &info));
    }
    return g_variant_builder_end(&rows);
}

static void
limit_print(GVariant *tree, GString *out)
{
    if (g_variant_n_children(tree) == 0)
        g_string_append(out, "Dirty page limit not enabled!\n");
    for (gsize i = 0; i < g_variant_n_children(tree); i++) {
        g_autoptr(GVariant) row = g_variant_get_child_value(tree, i);
        guint64 quota = 0, rate = 0;
        guint32 cpu = 0;

        g_variant_lookup(row, "cpu-index", "u", &cpu);
        g_variant_lookup(row, "limit-rate", "t", &quota);
        g_variant_lookup(row, "current-rate", "t", &rate);
        g_string_append_printf(out, "vcpu[%u], limit rate %" G_GUINT64_FORMAT " (MB/s), current rate "
                               "%" G_GUINT64_FORMAT
                               " (MB/s)\n", cpu, quota / MIB, rate / MIB);
    }
}

const struct info_item info_dirty_limit_items[] = {
    { "vcpu_dirty_limit", "show the limits of the vCPUs' dirty rates", WHEN_ALWAYS, NULL, limit_get, limit_print },
    { 0 }
};
