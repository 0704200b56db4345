/* SPDX-License-Identifier: GPL-3.0-or-later */
/* calc_dirty_rate, `info dirty_rate`: QEMU's names, options and lines, and a line a node besides. */
#include "monitor-private.h"

enum { SECONDS_MOST = 60, SAMPLES_LEAST = 128, SAMPLES_MOST = 16384 };      /* QEMU's */

enum { RATE_RING, RATE_BITMAP, RATE_SECONDS, RATE_SAMPLES };
const struct property dirty_rate_args[] = {
    [RATE_RING] = { "-r", PROPERTY_FLAG, .help = "by the dirty ring, which also tells the rate of each vCPU" },
    [RATE_BITMAP] = { "-b", PROPERTY_FLAG, .help = "by the dirty log" },
    [RATE_SECONDS] = { "second", PROPERTY_UINT, .min = 1, .max = SECONDS_MOST, .required = true, .unit = "s",
                       .help = "how long it measures" },
    [RATE_SAMPLES] = { "sample_pages_per_GB", PROPERTY_UINT, .min = SAMPLES_LEAST, .max = SAMPLES_MOST,
                       .value_default = "512", .help = "without -r or -b: pages of each GiB that are compared" },
    { 0 }
};

enum outcome
dirty_rate_run(struct call *call, GError **error)
{
    const struct value *v = call->args->at;
    enum dirty_rate_mode mode = v[RATE_RING].set ? DIRTY_RATE_RING
                                                 : v[RATE_BITMAP].set ? DIRTY_RATE_BITMAP : DIRTY_RATE_SAMPLING;

    if (v[RATE_RING].set && v[RATE_BITMAP].set) {
        fail(error, NUMON_ERROR_ARGUMENT, "either -r or -b, not both");
        return COMMAND_FAILED;
    }
    if (mode != DIRTY_RATE_SAMPLING && v[RATE_SAMPLES].set) {
        fail(error, NUMON_ERROR_ARGUMENT, "sample_pages_per_GB is for measuring without %s",
             v[RATE_RING].set ? "-r" : "-b");
        return COMMAND_FAILED;
    }
    if (!machine_calc_dirty_rate(call->monitor->machine, mode, (unsigned)v[RATE_SECONDS].number,
                                 v[RATE_SAMPLES].number, error))
        return COMMAND_FAILED;
    call_print(call, "Starting dirty rate measurement with period %" G_GUINT64_FORMAT " seconds\n"
               "[Please use 'info dirty_rate' to check results]\n", v[RATE_SECONDS].number);
    return COMMAND_DONE;
}

/* --- info dirty_rate -------------------------------------------------------------------------------------------- */

static GVariant *
rate_row(const char *what, int index, uint64_t pages, uint64_t passed_us)
{
    uint64_t rate = (uint64_t)((unsigned __int128)pages * PAGE_SIZE * G_USEC_PER_SEC / passed_us);
    GVariantBuilder dict;

    g_variant_builder_init(&dict, G_VARIANT_TYPE_VARDICT);
    g_variant_builder_add(&dict, "{sv}", what, g_variant_new_int32(index));
    g_variant_builder_add(&dict, "{sv}", "pages", g_variant_new_uint64(pages));
    g_variant_builder_add(&dict, "{sv}", "bytes-per-second", g_variant_new_uint64(rate));
    return g_variant_builder_end(&dict);
}

/* A slot that has no CPU is none of the guest's; one that was taken out since keeps what it wrote. */
static void
add_result(GVariantBuilder *tree, const struct dirty_rate_result *r, const struct topology_final *t)
{
    GVariantBuilder nodes, cpus;

    g_variant_builder_init(&nodes, G_VARIANT_TYPE("aa{sv}"));
    g_variant_builder_init(&cpus, G_VARIANT_TYPE("aa{sv}"));
    for (unsigned i = 0; i < r->nodes->len; i++) {
        const struct dirty_rate_node *n = &g_array_index(r->nodes, struct dirty_rate_node, i);

        if (n->node >= 0)
            g_variant_builder_add_value(&nodes, rate_row("node", n->node, n->pages, r->passed_us));
    }
    for (unsigned cpu = 0; cpu < r->cpus->len; cpu++) {
        uint64_t pages = g_array_index(r->cpus, uint64_t, cpu);

        if (pages || topology_has_cpu(t, cpu))
            g_variant_builder_add_value(&cpus, rate_row("vcpu", (int)cpu, pages, r->passed_us));
    }
    g_variant_builder_add(tree, "{sv}", "total", rate_row("node", -1, r->pages, r->passed_us));
    g_variant_builder_add(tree, "{sv}", "nodes", g_variant_builder_end(&nodes));
    g_variant_builder_add(tree, "{sv}", "vcpus", g_variant_builder_end(&cpus));
}

static GVariant *
rate_get(struct monitor *m, const struct values *args, GError **error)
{
    const struct dirty_rate_status *s = machine_dirty_rate(m->machine);
    const char *status = s->measuring ? "measuring" : s->measured ? "measured" : "unstarted";
    GVariantBuilder tree;

    g_variant_builder_init(&tree, G_VARIANT_TYPE_VARDICT);
    g_variant_builder_add(&tree, "{sv}", "status", g_variant_new_string(status));
    if (s->failure)
        g_variant_builder_add(&tree, "{sv}", "error", text_variant(s->failure));
    if (!s->measuring && !s->measured)
        return g_variant_builder_end(&tree);
    g_variant_builder_add(&tree, "{sv}", "start-time", g_variant_new_uint64((uint64_t)s->start_ms));
    g_variant_builder_add(&tree, "{sv}", "calc-time", g_variant_new_uint64(s->seconds));
    if (s->mode == DIRTY_RATE_SAMPLING)
        g_variant_builder_add(&tree, "{sv}", "sample-pages", g_variant_new_uint64(s->samples));
    g_variant_builder_add(&tree, "{sv}", "mode", g_variant_new_string(dirty_rate_mode_names[s->mode]));
    if (s->measured && !s->measuring)
        add_result(&tree, &s->result, machine_topology(m->machine));
    return g_variant_builder_end(&tree);
}

static void
print_rows(GVariant *tree, const char *list, const char *what, GString *out)
{
    g_autoptr(GVariant) rows = g_variant_lookup_value(tree, list, G_VARIANT_TYPE("aa{sv}"));

    for (gsize i = 0; rows && i < g_variant_n_children(rows); i++) {
        g_autoptr(GVariant) row = g_variant_get_child_value(rows, i);
        guint64 rate = 0;
        gint32 index = 0;

        g_variant_lookup(row, what, "i", &index);
        g_variant_lookup(row, "bytes-per-second", "t", &rate);
        g_string_append_printf(out, "%s[%d], Dirty rate: %" G_GUINT64_FORMAT " (MB/s)\n", what, index, rate / MIB);
    }
}

/* A rate in QEMU's MB is in MiB. */
static void
rate_print(GVariant *tree, GString *out)
{
    g_autoptr(GVariant) total = g_variant_lookup_value(tree, "total", G_VARIANT_TYPE_VARDICT);
    const char *status = "", *text;
    guint64 number;

    g_variant_lookup(tree, "status", "&s", &status);
    g_string_append_printf(out, "Status: %s\n", status);
    if (g_variant_lookup(tree, "error", "&s", &text))
        g_string_append_printf(out, "The last measurement failed: %s\n", text);
    if (!g_variant_lookup(tree, "start-time", "t", &number))
        return;
    g_string_append_printf(out, "Start Time: %" G_GUINT64_FORMAT " (ms)\n", number);
    if (g_variant_lookup(tree, "sample-pages", "t", &number))
        g_string_append_printf(out, "Sample Pages: %" G_GUINT64_FORMAT " (per GB)\n", number);
    if (g_variant_lookup(tree, "calc-time", "t", &number))
        g_string_append_printf(out, "Period: %" G_GUINT64_FORMAT " (sec)\n", number);
    if (g_variant_lookup(tree, "mode", "&s", &text))
        g_string_append_printf(out, "Mode: %s\n", text);
    if (total && g_variant_lookup(total, "bytes-per-second", "t", &number))
        g_string_append_printf(out, "Dirty rate: %" G_GUINT64_FORMAT " (MB/s)\n", number / MIB);
    else
        g_string_append(out, "Dirty rate: (not ready)\n");
    print_rows(tree, "vcpus", "vcpu", out);
    print_rows(tree, "nodes", "node", out);
}

const struct info_item info_dirty_rate_items[] = {
    { "dirty_rate", "show how fast the guest dirties its memory", WHEN_ALWAYS, NULL, rate_get, rate_print },
    { 0 }
};
