/* SPDX-License-Identifier: GPL-3.0-or-later */
/* `info workload`: the parameters, and what each vCPU has achieved.  A rate needs two readings of the guest's
 * progress: the one of now and the last one kept in the monitor, which is taken when the guest starts or stops, when
 * the workload changes, and by `info workload` itself. */
#include <string.h>

#include "monitor-private.h"

/* A newer reading replaces the last one only after so long: rates over less time say little. */
enum { SAMPLE_PERIOD_US = 250 * 1000 };

/* NULL if there is no machine, or no workload guest in its memory. */
static struct workload_status *
read_status(struct monitor *m)
{
    g_autofree struct workload_status *s = g_new0(struct workload_status, 1);

    if (!machine_built(m->machine) || machine_awaits_incoming(m->machine) ||
        !workload_status(machine_map(m->machine), s, NULL))
        return NULL;
    return g_steal_pointer(&s);
}

static void
sample_keep(struct monitor *m, const struct workload_status *s, int64_t now_us)
{
    m->sample = (struct workload_sample) { .running = machine_running(m->machine) };
    if (!s)
        return;
    m->sample.time_us = now_us;
    for (unsigned cpu = 0; cpu < CONTROL_CPUS; cpu++)
        m->sample.pages[cpu] = s->cpus[cpu].pages_written;
}

void
workload_sample_take(struct monitor *m)
{
    g_autofree struct workload_status *s = read_status(m);

    sample_keep(m, s, g_get_monotonic_time());
}

/* Pages per second since the last reading. */
static double
rate_of(const struct monitor *m, unsigned cpu, uint64_t pages, int64_t now_us)
{
    const struct workload_sample *last = &m->sample;

    if (!machine_running(m->machine) || !last->time_us || now_us <= last->time_us || pages < last->pages[cpu])
        return 0;
    return (double)(pages - last->pages[cpu]) * G_USEC_PER_SEC / (double)(now_us - last->time_us);
}

static GVariant *
cpu_tree(const struct monitor *m, const struct workload_status *s, unsigned cpu, int64_t now_us)
{
    const struct workload_cpu *c = &s->cpus[cpu];
    GVariantBuilder dict;

    g_variant_builder_init(&dict, G_VARIANT_TYPE_VARDICT);
    g_variant_builder_add(&dict, "{sv}", "index", g_variant_new_uint32(cpu));
    g_variant_builder_add(&dict, "{sv}", "online", g_variant_new_boolean(c->online));
    g_variant_builder_add(&dict, "{sv}", "node", g_variant_new_uint64(c->node));
    g_variant_builder_add(&dict, "{sv}", "target-node", g_variant_new_uint64(c->target_node));
    g_variant_builder_add(&dict, "{sv}", "pages-written", g_variant_new_uint64(c->pages_written));
    g_variant_builder_add(&dict, "{sv}", "rate", g_variant_new_double(rate_of(m, cpu, c->pages_written, now_us)));
    g_variant_builder_add(&dict, "{sv}", "mismatches", g_variant_new_uint64(c->mismatches));
    return g_variant_builder_end(&dict);
}

static const char *
stage_name(enum control_stage stage)
{
    static const char *const names[] = {
        [STAGE_OFF] = "off", [STAGE_STARTING] = "starting", [STAGE_RUNNING] = "running", [STAGE_PANIC] = "panicked",
    };

    return (size_t)stage < G_N_ELEMENTS(names) ? names[stage] : "unknown";
}

static void
add_progress(GVariantBuilder *tree, struct monitor *m, const struct workload_status *s, int64_t now_us)
{
    uint64_t present[WORDS_FOR(TOPOLOGY_CPUS)];
    GVariantBuilder list;

    definition_cpus(machine_definition(m->machine), present);
    g_variant_builder_add(tree, "{sv}", "stage", g_variant_new_string(stage_name(s->stage)));
    g_variant_builder_add(tree, "{sv}", "ticks", g_variant_new_uint64(s->ticks));
    g_variant_builder_init(&list, G_VARIANT_TYPE("aa{sv}"));
    for (unsigned cpu = 0; cpu < MIN(s->cpu_count, CONTROL_CPUS); cpu++)
        if (bit_test(present, cpu))
            g_variant_builder_add_value(&list, cpu_tree(m, s, cpu, now_us));
    g_variant_builder_add(tree, "{sv}", "cpus", g_variant_builder_end(&list));
}

/* "kernel" and "parameters" always; "stage", "ticks" and "cpus" once a workload guest is there. */
GVariant *
info_workload_get(struct monitor *m, const struct values *args, GError **error)
{
    g_autofree struct workload_status *s = read_status(m);
    g_autofree char *text = NULL;
    struct control_parameters parameters;
    int64_t now_us = g_get_monotonic_time();
    GVariantBuilder tree;

    machine_workload_get(m->machine, &parameters);
    text = workload_parameters_format(&parameters, false);
    g_variant_builder_init(&tree, G_VARIANT_TYPE_VARDICT);
    g_variant_builder_add(&tree, "{sv}", "kernel", text_variant(machine_definition(m->machine)->kernel));
    g_variant_builder_add(&tree, "{sv}", "parameters", g_variant_new_string(text));
    if (s) {
        add_progress(&tree, m, s, now_us);
        if (now_us - m->sample.time_us >= SAMPLE_PERIOD_US)
            sample_keep(m, s, now_us);
    }
    return g_variant_builder_end(&tree);
}

static void
print_cpu(GVariant *cpu, GString *out)
{
    guint64 node = 0, target = 0, pages = 0, mismatches = 0;
    gboolean online = FALSE;
    guint32 index = 0;
    double rate = 0;

    g_variant_lookup(cpu, "index", "u", &index);
    g_variant_lookup(cpu, "online", "b", &online);
    g_variant_lookup(cpu, "node", "t", &node);
    g_variant_lookup(cpu, "target-node", "t", &target);
    g_variant_lookup(cpu, "pages-written", "t", &pages);
    g_variant_lookup(cpu, "rate", "d", &rate);
    g_variant_lookup(cpu, "mismatches", "t", &mismatches);
    g_string_append_printf(out, "CPU %u: node %" G_GUINT64_FORMAT ", %" G_GUINT64_FORMAT " pages written, "
                           "%.0f pages/s", index, node, pages, rate);
    if (target != node)
        g_string_append_printf(out, ", to node %" G_GUINT64_FORMAT, target);
    if (mismatches)
        g_string_append_printf(out, ", %" G_GUINT64_FORMAT " mismatches", mismatches);
    g_string_append(out, online ? "\n" : ", not online\n");
}

void
info_workload_print(GVariant *tree, GString *out)
{
    g_autoptr(GVariant) cpus = g_variant_lookup_value(tree, "cpus", G_VARIANT_TYPE("aa{sv}"));
    const char *kernel = "", *parameters = "", *stage;
    guint64 ticks = 0;

    g_variant_lookup(tree, "kernel", "&s", &kernel);
    g_variant_lookup(tree, "parameters", "&s", &parameters);
    g_string_append_printf(out, "kernel: %s\nparameters: %s\n", kernel, parameters);
    if (!cpus)
        return;
    g_variant_lookup(tree, "ticks", "t", &ticks);
    if (g_variant_lookup(tree, "stage", "&s", &stage))
        g_string_append_printf(out, "stage: %s\nticks: %" G_GUINT64_FORMAT "\n", stage, ticks);
    for (gsize i = 0; i < g_variant_n_children(cpus); i++) {
        g_autoptr(GVariant) cpu = g_variant_get_child_value(cpus, i);

        print_cpu(cpu, out);
    }
}
