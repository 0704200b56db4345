/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The definition as a script: only what differs from an empty definition, in an order that works. */
#include "config.h"

#include <string.h>

#include "config-private.h"

/* A word as property_parse_words reads it back. */
static void
append_quoted(GString *out, const char *word)
{
    if (!strpbrk(word, " \"\\")) {
        g_string_append(out, word);
        return;
    }
    g_string_append_c(out, '"');
    for (const char *c = word; *c; c++) {
        if (*c == '"' || *c == '\\')
            g_string_append_c(out, '\\');
        g_string_append_c(out, *c);
    }
    g_string_append_c(out, '"');
}

static void
save_word(GString *out, const char *command, const char *word, const char *standard)
{
    if (strcmp(word, standard) == 0)
        return;
    g_string_append_printf(out, "%s ", command);
    append_quoted(out, word);
    g_string_append_c(out, '\n');
}

static void
save_memory(const struct definition *d, GString *out)
{
    if (!d->memory.entered)
        return;
    memory_save(&d->memory, out);
    g_string_append_c(out, '\n');
}

static void
save_backends(const struct definition *d, GString *out)
{
    for (guint i = 0; i < d->backends->len; i++) {
        backend_save(&((const struct backend_options *)d->backends->data)[i], out);
        g_string_append_c(out, '\n');
    }
}

static void
save_workload(const struct definition *d, GString *out)
{
    g_autofree char *pairs = workload_parameters_format(&d->workload, true);

    if (*pairs)
        g_string_append_printf(out, "workload %s\n", pairs);
}

static void
save_accel(const struct definition *d, GString *out)
{
    g_string_append_printf(out, "accel %s", accel_choice_names[d->accel]);
    if (d->numa_delay_ns)
        g_string_append_printf(out, ",numa-delay=%" G_GUINT64_FORMAT, d->numa_delay_ns);
    if (d->clock != CLOCK_ADVANCE)
        g_string_append_printf(out, ",clock=%s", clock_choice_names[d->clock]);
    if (d->dirty_log != DIRTY_LOG_AUTO)
        g_string_append_printf(out, ",dirty-log=%s", dirty_log_names[d->dirty_log]);
    if (d->dirty_ring_size)
        g_string_append_printf(out, ",dirty-ring-size=%u", d->dirty_ring_size);
    g_string_append_c(out, '\n');
}

static void
save_cpu(const struct definition *d, GString *out)
{
    static const struct cpu_options usual;
    g_autofree char *text = cpu_options_spell(&d->cpu);

    if (!cpu_options_equal(&d->cpu, &usual))
        g_string_append_printf(out, "cpu %s\n", text);
}

static void
save_serials(const struct definition *d, GString *out)
{
    save_word(out, "serial_target", d->serials[0], SERIAL_DEFAULT);
    for (unsigned i = 1; i < SERIAL_PORTS; i++) {
        if (!d->serials[i])
            continue;
        g_string_append(out, "serial_target ");
        append_quoted(out, d->serials[i]);
        g_string_append_printf(out, " %u\n", i);
    }
}

char *
definition_save(const struct definition *d)
{
    GString *out = g_string_new(NULL);

    if (d->name)
        g_string_append_printf(out, "name %s\n", d->name);
    machine_options_save(d, out);
    save_memory(d, out);
    topology_save_smp(&d->topology, out);
    save_cpu(d, out);
    if (d->accel != ACCEL_AUTO || d->clock != CLOCK_ADVANCE || d->dirty_log != DIRTY_LOG_AUTO)
        save_accel(d, out);
    save_word(out, "kernel", d->kernel, KERNEL_DEFAULT);
    if (d->initrd)
        save_word(out, "initrd", d->initrd, "");
    if (d->append)
        g_string_append_printf(out, "append %s\n", d->append);
    save_serials(d, out);
    if (d->debugcon)
        save_word(out, "debugcon", d->debugcon, "");
    if (d->mem_path)
        save_word(out, "mem_path", d->mem_path, "");
    if (d->mem_prealloc)
        g_string_append(out, "mem_prealloc on\n");
    save_backends(d, out);
    topology_save_numa(&d->topology, out);
    hmat_save(&d->hmat, out);
    devices_save(d, out);
    cpus_save(d, out);
    save_workload(d, out);
    return g_string_free(out, FALSE);
}
