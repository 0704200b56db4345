/* SPDX-License-Identifier: GPL-3.0-or-later */
/* `show`: the configuration as a script of ours, as one QEMU command line or as QMP lines.  The latter two are made
 * of the lines of a saved definition, whose options are QEMU's; before, what numon completes by itself is written
 * out, as QEMU 7.2 has no `mem=` and no division of RAM on its machines. */
#include <string.h>

#include "boot.h"
#include "monitor-private.h"

enum { SHOW_FORMAT };
enum show_format { SHOW_NUMON, SHOW_QEMU, SHOW_QMP };
static const char *const format_names[] = {
    [SHOW_NUMON] = "numon", [SHOW_QEMU] = "qemu", [SHOW_QMP] = "qmp", NULL
};

const struct property show_args[] = {
    [SHOW_FORMAT] = { "-f", PROPERTY_CHOICE, .choices = format_names, .value_default = "numon",
                      .help = "commands, a QEMU command line, or QMP lines" },
    { 0 }
};

/* --- completed ------------------------------------------------------------------------------------------------ */

static void
free_id(const struct definition *d, unsigned node, char id[ID_SIZE])
{
    g_snprintf(id, ID_SIZE, "ram-node%u", node);
    while (definition_backend(d, id))
        g_strlcat(id, "x", ID_SIZE);
}

/* Each node's memory as a backend, the nodes that follow from the options there, no option of numon's own. */
static struct definition *
completed(const struct definition *d)
{
    struct definition *q = definition_copy(d);
    struct topology *t = &q->topology;

    definition_topology(d, t);
    t->options.auto_enable = false;
    t->options.auto_assign = AUTO_ASSIGN_DEFAULT;
    if (t->smp.levels[SMP_MODULES] == 1)
        t->smp.levels[SMP_MODULES] = 0;
    for (unsigned id = 0; id < TOPOLOGY_NODES; id++) {
        struct node *n = &t->nodes[id];
        struct backend_options o;

        if (n->present && n->has_mem && n->mem) {
            free_id(q, id, n->memdev);
            backend_options_init_default(&o, n->memdev, n->mem);
            o.kind = d->mem_path ? BACKEND_FILE : BACKEND_RAM;
            o.mem_path = d->mem_path ? g_intern_string(d->mem_path) : NULL;
            o.prealloc = d->mem_prealloc;
            g_array_append_val(q->backends, o);
        }
        n->has_mem = false;
    }
    return q;
}

/* --- one command line ------------------------------------------------------------------------------------------- */

static void
add_option(GString *out, const char *option, const char *value)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789=,.:/_-+@%";
    bool quote = !*value || strspn(value, plain) != strlen(value);
    g_autofree char *word = quote ? g_shell_quote(value) : g_strdup(value);

    g_string_append_printf(out, " %s %s", option, word);
}

/* The workload guest takes its parameters from the command line where numon does not put them into memory. */
static void
add_kernel(GString *out, const struct definition *d)
{
    bool builtin = strcmp(d->kernel, "builtin:workload") == 0;
    g_autofree char *path = builtin ? boot_builtin_path(NULL) : g_strdup(d->kernel);
    g_autofree char *pairs = builtin ? workload_parameters_format(&d->workload, true) : g_strdup("");
    g_autofree char *text = g_strjoin(d->append && *pairs ? " " : "", pairs, d->append ? d->append : "", NULL);

    /* QEMU has nothing that starts a flat binary. */
    if (!path || g_str_has_prefix(path, "flat:"))
        return;
    add_option(out, "-kernel", path);
    if (d->initrd)
        add_option(out, "-initrd", d->initrd);
    if (*text)
        add_option(out, "-append", text);
}

static void
add_machine(GString *out, const struct definition *d)
{
    GString *name = g_string_new(NULL);

    if (d->name) {
        property_append_word(name, d->name);
        add_option(out, "-name", name->str);
    }
    g_string_free(name, TRUE);
    g_autofree char *machine = g_strconcat("q35", d->topology.options.hmat ? ",hmat=on" : "",
                                           d->nvdimm ? ",nvdimm=on" : "", NULL);
    add_option(out, "-machine", machine);
    /* QEMU has the model "host" on KVM alone. */
    if (d->accel == ACCEL_KVM || d->cpu.model == CPU_MODEL_HOST)
        add_option(out, "-accel", "kvm");
}

/* The feature, and what it needs, which QEMU does not add by itself. */
static void
want(uint64_t *wanted, unsigned feature)
{
    const char *needs = cpu_features[feature].needs;

    bits_set(wanted, feature, 1);
    if (needs && !(cpu_features[cpu_feature_find(needs)].flags & CPU_F_BASE))
        want(wanted, (unsigned)cpu_feature_find(needs));
}

/* The model "base" is QEMU's usual one with two features less; KVM's own QEMU adds by itself.  There "-" counts for
 * more than "+". */
static void
add_cpu(GString *out, const struct definition *d)
{
    static const struct cpu_options usual;
    bool host = d->cpu.model == CPU_MODEL_HOST;
    GString *text = g_string_new(host ? "host" : "qemu64,-svm");
    uint64_t on[CPU_FEATURE_WORDS] = { 0 };

    for (unsigned i = 0; i < cpu_feature_count; i++)
        if (bit_test(d->cpu.on, i))
            want(on, i);
    for (unsigned i = 0; i < cpu_feature_count; i++) {
        bool off = bit_test(d->cpu.off, i)
            || (!host && !bit_test(on, i) && strcmp(cpu_features[i].name, "cx16") == 0);

        if (off || bit_test(on, i))
            g_string_append_printf(text, ",%c%s", off ? '-' : '+', cpu_features[i].name);
    }
    if (!cpu_options_equal(&d->cpu, &usual))
        add_option(out, "-cpu", text->str);
    g_string_free(text, TRUE);
}

static void
add_target(GString *out, const char *option, const char *target)
{
    g_autofree char *path = serial_target_path(target);
    g_autofree char *listening = g_strdup_printf("unix:%s,server=on,wait=off", path);

    add_option(out, option, g_str_has_prefix(target, "unix:") ? listening : target);
}

/* Ports go by the order of the options there: one that is missing below another is put in, its output dropped. */
static void
add_serials(GString *out, const struct definition *d)
{
    unsigned last = SERIAL_PORTS - 1;

    while (!d->serials[last])
        last--;
    for (unsigned i = 0; i <= last; i++)
        add_target(out, "-serial", d->serials[i] ? d->serials[i] : "null");
}

/* QEMU's driver for a device of ours on its q35: virtio devices are on PCI there, CPUs of the type that it has for
 * the model. */
static char *
driver_name(const struct definition *d, const char *name, size_t size)
{
    if (size == 3 && strncmp(name, "cpu", size) == 0)
        return g_strdup(d->cpu.model == CPU_MODEL_HOST ? CPU_TYPE_HOST : "qemu64-x86_64-cpu");
    return g_strdup_printf("%.*s%s", (int)size, name, strncmp(name, "virtio-", 7) == 0 ? "-pci" : "");
}

static void
add_device(GString *out, const struct definition *d, const char *text)
{
    size_t size = strcspn(text, ",");
    g_autofree char *driver = driver_name(d, text, size), *value = g_strconcat(driver, text + size, NULL);

    add_option(out, "-device", value);
}

/* "memory 2G" -> -m 2G, and so on, in the order of the saved lines. */
static void
add_lines(GString *out, const struct definition *d, char **lines)
{
    static const struct { const char *start, *option; } options[] = {
        { "memory ", "-m" }, { "smp ", "-smp" }, { "object_add ", "-object" }, { "numa ", "-numa" },
    };

    for (; *lines; lines++) {
        for (size_t i = 0; i < G_N_ELEMENTS(options); i++) {
            if (g_str_has_prefix(*lines, options[i].start))
                add_option(out, options[i].option, *lines + strlen(options[i].start));
        }
        if (g_str_has_prefix(*lines, "device_add "))
            add_device(out, d, *lines + strlen("device_add "));
    }
}

static void
show_qemu(struct call *call, const struct definition *d, char **lines)
{
    g_autoptr(GString) out = g_string_new("qemu-system-x86_64");

    add_machine(out, d);
    if (!d->memory.entered) {
        g_autofree char *ram = size_spell(definition_ram(d));

        add_option(out, "-m", ram);
    }
    if (d->mem_path && !d->topology.node_count)
        add_option(out, "-mem-path", d->mem_path);
    if (d->mem_prealloc)
        g_string_append(out, " -mem-prealloc");
    add_cpu(out, d);
    add_lines(out, d, lines);
    add_kernel(out, d);
    add_serials(out, d);
    if (d->debugcon)
        add_target(out, "-debugcon", d->debugcon);
    call_print(call, "%s\n", out->str);
}

/* --- QMP lines -------------------------------------------------------------------------------------------------- */

static void
append_string(GString *out, const char *text)
{
    g_string_append_c(out, '"');
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
        if (*c == '"' || *c == '\\')
            g_string_append_printf(out, "\\%c", *c);
        else if (*c < ' ')
            g_string_append_printf(out, "\\u%04x", *c);
        else
            g_string_append_c(out, (char)*c);
    }
    g_string_append_c(out, '"');
}

static void
append_list(GString *out, const uint64_t *words, uint64_t limit)
{
    const char *comma = "";

    g_string_append_c(out, '[');
    for (uint64_t i = bits_next(words, limit, 0); i < limit; i = bits_next(words, limit, i + 1)) {
        g_string_append_printf(out, "%s%" G_GUINT64_FORMAT, comma, i);
        comma = ", ";
    }
    g_string_append_c(out, ']');
}

static void
append_value(GString *out, const struct property *p, const struct value *v)
{
    switch (p->type) {
    case PROPERTY_BOOL:
        g_string_append(out, v->flag ? "true" : "false");
        break;
    case PROPERTY_UINT:
    case PROPERTY_SIZE:
        g_string_append_printf(out, "%" G_GUINT64_FORMAT, v->number);
        break;
    case PROPERTY_LIST:
        append_list(out, v->words, p->max + 1);
        break;
    default:
        append_string(out, v->word);
        break;
    }
}

/* {"execute": "COMMAND", "arguments": {"WHAT": "KIND", ...}}; 'text' is what our own save wrote. */
static void
append_command(GString *out, const char *command, const char *what, const char *kind, const struct property *table,
               const char *text)
{
    g_autoptr(values) v = property_parse_options(table, -1, text, NULL);

    g_assert(v);
    g_string_append_printf(out, "{\"execute\": \"%s\", \"arguments\": {\"%s\": \"%s\"", command, what, kind);
    for (unsigned i = 0; i < v->count; i++) {
        if (!v->at[i].set)
            continue;
        g_string_append_printf(out, ", \"%s\": ", table[i].name);
        append_value(out, &table[i], &v->at[i]);
    }
    g_string_append(out, "}}\n");
}

/* The variant that a line "object_add KIND,..." or "numa KIND,..." names. */
static void
append_variant(GString *out, const struct definition *d, const struct command *c, const char *execute,
               const char *what, const char *rest)
{
    size_t size = strcspn(rest, ",");

    for (const struct command_variant *v = c->variants; v->name; v++) {
        bool device = strcmp(execute, "device_add") == 0;
        g_autofree char *name = device ? driver_name(d, v->name, strlen(v->name)) : g_strdup(v->name);

        if (strlen(v->name) == size && !strncmp(v->name, rest, size))
            append_command(out, execute, what, name, v->args, rest[size] ? rest + size + 1 : "");
    }
}

static void
show_qmp(struct call *call, const struct definition *d, char **lines)
{
    static const struct { const char *command, *execute, *what; } kinds[] = {
        { "object_add", "object-add", "qom-type" }, { "numa", "set-numa-node", "type" },
        { "device_add", "device_add", "driver" },
    };
    enum { DEVICES = 2 };
    g_autoptr(GString) out = g_string_new("{\"execute\": \"qmp_capabilities\"}\n");

    bool devices = false;

    /* Devices are saved last; QEMU takes them once the machine is there. */
    for (; *lines; lines++) {
        for (size_t i = 0; i < G_N_ELEMENTS(kinds); i++) {
            size_t size = strlen(kinds[i].command);

            if (strncmp(*lines, kinds[i].command, size) != 0 || (*lines)[size] != ' ')
                continue;
            if (i == DEVICES && !devices)
                g_string_append(out, "{\"execute\": \"x-exit-preconfig\"}\n");
            devices = devices || i == DEVICES;
            append_variant(out, d, command_find(kinds[i].command), kinds[i].execute, kinds[i].what,
                           *lines + size + 1);
        }
    }
    if (!devices)
        g_string_append(out, "{\"execute\": \"x-exit-preconfig\"}\n");
    call_print(call, "%s", out->str);
}

enum outcome
show_run(struct call *call, GError **error)
{
    const struct definition *entered = machine_definition(call->monitor->machine);
    g_autoptr(definition) d = completed(entered);
    const struct value *format = &call->args->at[SHOW_FORMAT];
    g_autofree char *text = definition_save(format->set && format->number != SHOW_NUMON ? d : entered);
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);

    if (!format->set || format->number == SHOW_NUMON)
        call_print(call, "%s", text);
    else if (format->number == SHOW_QEMU)
        show_qemu(call, d, lines);
    else
        show_qmp(call, d, lines);
    return COMMAND_DONE;
}
