/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Memory devices and CPUs at the prompt: `device_add`, `device_del`, `hotplug_plan`, `info memory-devices`.  In
 * preconfig they are part of the definition; on a built machine they come, and memory goes, while the guest runs. */
#include <string.h>

#include "monitor-private.h"

/* Memory devices by kind, then what a CPU goes by. */
enum { DEVICE_CPU = MEMORY_DEVICE_KINDS, DEVICE_CPU_BASE, DEVICE_CPU_HOST, DEVICE_CPU_QEMU, DEVICE_VARIANTS };

static const struct command_variant device_variants[] = {
    [DEVICE_DIMM] = { "pc-dimm", dimm_properties, -1, .summary = "memory in a slot" },
    [DEVICE_NVDIMM] = { "nvdimm", nvdimm_properties, -1,
                        .summary = "persistent memory in a slot; needs machine nvdimm=on" },
    [DEVICE_VIRTIO_PMEM] = { "virtio-pmem", virtio_pmem_properties, -1, .summary = "persistent memory, of node 0" },
    [DEVICE_VIRTIO_MEM] = { "virtio-mem", virtio_mem_properties, -1,
                            .summary = "memory of which blocks come and go" },
    [DEVICE_CPU] = { "cpu", cpu_plug_properties, -1, .summary = "CPU in a free slot (info hotpluggable-cpus)" },
    [DEVICE_CPU_BASE] = { CPU_TYPE, cpu_plug_properties, -1, .summary = "the same" },
    [DEVICE_CPU_HOST] = { CPU_TYPE_HOST, cpu_plug_properties, -1, .summary = "the same, where the model is host" },
    [DEVICE_CPU_QEMU] = { "qemu64-x86_64-cpu", cpu_plug_properties, -1,
                          .summary = "the same, as QEMU calls its own" },
    [DEVICE_VARIANTS] = { NULL }
};

/* --- device_add, device_del ------------------------------------------------------------------------------------- */

/* A device that is being added to a built machine. */
struct adding {
    struct call *call;              /* NULL once detached */
    struct progress *progress;
    struct monitor *monitor;
};

static bool
edit_add_dimm(struct definition *d, const struct values *v, GError **error)
{
    return definition_add_device(d, DEVICE_DIMM, v, error);
}

static bool
edit_add_nvdimm(struct definition *d, const struct values *v, GError **error)
{
    return definition_add_device(d, DEVICE_NVDIMM, v, error);
}

static bool
edit_add_pmem(struct definition *d, const struct values *v, GError **error)
{
    return definition_add_device(d, DEVICE_VIRTIO_PMEM, v, error);
}

static bool
edit_add_virtio_mem(struct definition *d, const struct values *v, GError **error)
{
    return definition_add_device(d, DEVICE_VIRTIO_MEM, v, error);
}

static void
adding_forget_call(void *data)
{
    struct adding *a = data;

    progress_end(a->progress);
    a->progress = NULL;
    a->call = NULL;
}

static void
adding_done(void *self, const GError *error)
{
    struct adding *a = self;
    struct call *call = a->call;

    if (call) {
        adding_forget_call(a);
        call->data = NULL;
        call->data_free = NULL;
        call_finish(call, error);
    } else if (error) {
        monitor_event(a->monitor, "the device was not added: %s", error->message);
    }
    g_free(a);
}

/* All CPUs are of one model; QEMU's wording. */
static bool
type_fits(struct call *call, GError **error)
{
    enum cpu_model model = machine_definition(call->monitor->machine)->cpu.model;
    const char *named = call->variant->name, *expected = model == CPU_MODEL_HOST ? CPU_TYPE_HOST : CPU_TYPE;

    return (strcmp(named, CPU_TYPE) != 0 && strcmp(named, CPU_TYPE_HOST) != 0) || strcmp(named, expected) == 0 ||
           fail(error, NUMON_ERROR_ARGUMENT, "Invalid CPU type, expected cpu type: '%s'", expected);
}

static enum outcome
run_device_add(struct call *call, GError **error)
{
    static edit_function *const edits[DEVICE_VARIANTS] = {
        [DEVICE_DIMM] = edit_add_dimm, [DEVICE_NVDIMM] = edit_add_nvdimm, [DEVICE_VIRTIO_PMEM] = edit_add_pmem,
        [DEVICE_VIRTIO_MEM] = edit_add_virtio_mem, [DEVICE_CPU] = definition_add_cpu,
        [DEVICE_CPU_BASE] = definition_add_cpu, [DEVICE_CPU_HOST] = definition_add_cpu,
        [DEVICE_CPU_QEMU] = definition_add_cpu,
    };
    enum memory_device_kind kind = (enum memory_device_kind)(call->variant - device_variants);
    struct adding *a;

    if (!type_fits(call, error))
        return COMMAND_FAILED;
    if (!monitor_built(call->monitor))
        return call_edit(call, edits[call->variant - device_variants], error);
    if (call->variant->args == cpu_plug_properties)
        return machine_cpu_add(call->monitor->machine, call->args, error) ? COMMAND_DONE : COMMAND_FAILED;
    a = g_new(struct adding, 1);
    *a = (struct adding) { .call = call, .monitor = call->monitor };
    if (!machine_device_add(call->monitor->machine, kind, call->args, adding_done, a, error)) {
        g_free(a);
        return COMMAND_FAILED;
    }
    a->progress = progress_start(call);
    call->data = a;
    call->data_free = adding_forget_call;
    call_echo_sizes(call);
    return COMMAND_PENDING;
}

static void
detach_device_add(struct call *call)
{
    call_print(call, "the device is still being added\n");
}

enum { DEVICE_DEL_ID };
static const struct property device_del_args[] = {
    [DEVICE_DEL_ID] = { "id", PROPERTY_WORD, .required = true, .complete = COMPLETE_DEVICE,
                        .help = "device; one without id goes by its memdev, a CPU by its path" },
    { 0 }
};

static bool
edit_delete_device(struct definition *d, const struct values *v, GError **error)
{
    return definition_delete_device(d, v->at[DEVICE_DEL_ID].word, error);
}

static enum outcome
run_device_del(struct call *call, GError **error)
{
    if (!monitor_built(call->monitor))
        return call_edit(call, edit_delete_device, error);
    return machine_device_delete(call->monitor->machine, call->args->at[DEVICE_DEL_ID].word, error) ? COMMAND_DONE
                                                                                                    : COMMAND_FAILED;
}

static enum outcome
plan_cpu(struct call *call, GError **error)
{
    unsigned slot;
    int node;

    if (!machine_cpu_plan(call->monitor->machine, call->args, &slot, &node, error))
        return COMMAND_FAILED;
    call_print(call, "%s would be CPU %u", call->variant->name, slot);
    if (node >= 0)
        call_print(call, " in node %d", node);
    call_print(call, "\n");
    return COMMAND_DONE;
}

static enum outcome
run_hotplug_plan(struct call *call, GError **error)
{
    enum memory_device_kind kind = (enum memory_device_kind)(call->variant - device_variants);
    uint64_t addr;
    int slot;

    if (call->variant->args == cpu_plug_properties)
        return plan_cpu(call, error);
    if (!machine_device_plan(call->monitor->machine, kind, call->args, &addr, &slot, error))
        return COMMAND_FAILED;
    call_print(call, "%s would be at 0x%" G_GINT64_MODIFIER "x", call->variant->name, addr);
    if (slot >= 0)
        call_print(call, " in slot %d", slot);
    call_print(call, "\n");
    return COMMAND_DONE;
}

static const struct command device_commands[] = {
    { .name = "device_add", .summary = "add a memory device or a CPU", .form = FORM_VARIANTS,
      .variants = device_variants,
      .option = "-device", .when = WHEN_ALWAYS, .run = run_device_add, .detach = detach_device_add,
      .details = "On a built machine it is added while the guest runs; during a migration the destination gets a "
                 "memory device too, and no CPU comes.  What the guest finds at its start does not count memory so "
                 "added as RAM.  A CPU's node is that of its slot; the workload guest begins to use it at once." },
    { .name = "device_del", .summary = "delete a memory device or a CPU", .form = FORM_WORDS, .args = device_del_args,
      .when = WHEN_ALWAYS, .run = run_device_del,
      .details = "On a built machine its memory is taken from the guest at once, but not during a migration; a CPU "
                 "can be deleted in preconfig only." },
    { .name = "hotplug_plan", .summary = "tell whether a device could be added", .form = FORM_VARIANTS,
      .variants = device_variants, .when = WHEN_ALWAYS, .run = run_hotplug_plan,
      .details = "Shows where it would be, or the limit that stops it; nothing changes." },
    { 0 }
};

const struct command_group device_group = { .title = "Memory devices and CPUs", .commands = device_commands };

/* --- info memory-devices ---------------------------------------------------------------------------------------- */

/* The kinds' own names, which QEMU's listings use. */
static const char *const listed_names[MEMORY_DEVICE_KINDS] = {
    [DEVICE_DIMM] = "dimm", [DEVICE_NVDIMM] = "nvdimm", [DEVICE_VIRTIO_PMEM] = "virtio-pmem",
    [DEVICE_VIRTIO_MEM] = "virtio-mem",
};

static gint
compare_addresses(gconstpointer a, gconstpointer b)
{
    const struct device_place *x = a, *y = b;

    return x->addr < y->addr ? -1 : x->addr > y->addr;
}

static void
add_number(GVariantBuilder *dict, const char *key, uint64_t n)
{
    g_variant_builder_add(dict, "{sv}", key, g_variant_new_uint64(n));
}

/* What QEMU's listing does not have, where it is not the default. */
static void
add_particulars(GVariantBuilder *dict, const struct memory_device *d)
{
    if (d->label_size)
        add_number(dict, "label-size", d->label_size);
    if (d->unarmed)
        g_variant_builder_add(dict, "{sv}", "unarmed", g_variant_new_boolean(TRUE));
    if (*d->uuid)
        g_variant_builder_add(dict, "{sv}", "uuid", g_variant_new_string(d->uuid));
    if (d->prealloc)
        g_variant_builder_add(dict, "{sv}", "prealloc", g_variant_new_boolean(TRUE));
    if (d->inaccessible != INACCESSIBLE_ON)
        g_variant_builder_add(dict, "{sv}", "unplugged-inaccessible",
                              g_variant_new_string(d->inaccessible == INACCESSIBLE_OFF ? "off" : "auto"));
}

static GVariant *
device_tree(const struct device_place *p)
{
    const struct memory_device *d = p->device;
    bool slot = memory_device_has_slot(d->kind);
    GVariantBuilder dict;

    g_variant_builder_init(&dict, G_VARIANT_TYPE_VARDICT);
    g_variant_builder_add(&dict, "{sv}", "type", g_variant_new_string(listed_names[d->kind]));
    g_variant_builder_add(&dict, "{sv}", "id", g_variant_new_string(d->id));
    add_number(&dict, slot ? "addr" : "memaddr", p->addr);
    if (slot)
        add_number(&dict, "slot", (uint64_t)p->slot);
    if (d->kind != DEVICE_VIRTIO_PMEM)
        add_number(&dict, "node", d->node);
    if (d->kind == DEVICE_VIRTIO_MEM) {
        add_number(&dict, "requested-size", d->requested_size);
        add_number(&dict, "max-size", p->size);
        add_number(&dict, "block-size", d->block_size);
    }
    add_number(&dict, "size", d->kind == DEVICE_VIRTIO_MEM ? d->requested_size : p->size);
    g_variant_builder_add(&dict, "{sv}", "memdev", g_variant_new_take_string(g_strconcat(BACKEND_CANONICAL_PREFIX,
                                                                                         d->memdev, NULL)));
    if (slot) {
        g_variant_builder_add(&dict, "{sv}", "hotplugged", g_variant_new_boolean(d->hotplugged));
        g_variant_builder_add(&dict, "{sv}", "hotpluggable", g_variant_new_boolean(TRUE));
    }
    add_particulars(&dict, d);
    return g_variant_builder_end(&dict);
}

static GVariant *
memory_devices_get(struct monitor *m, const struct values *args, GError **error)
{
    const struct definition *d = machine_definition(m->machine);
    g_autofree struct device_place *places = definition_device_places(d);
    GVariantBuilder tree, list;

    if (!places) {
        fail(error, NUMON_ERROR_STATE, "cannot place the memory devices (`check` tells why)");
        return NULL;
    }
    qsort(places, d->devices->len, sizeof *places, compare_addresses);
    g_variant_builder_init(&list, G_VARIANT_TYPE("aa{sv}"));
    for (guint i = 0; i < d->devices->len; i++)
        g_variant_builder_add_value(&list, device_tree(&places[i]));
    g_variant_builder_init(&tree, G_VARIANT_TYPE_VARDICT);
    g_variant_builder_add(&tree, "{sv}", "devices", g_variant_builder_end(&list));
    return g_variant_builder_end(&tree);
}

static void
print_device(GVariant *device, GString *out)
{
    static const char *const keys[] = { "slot", "node", "requested-size", "size", "max-size", "block-size" };
    static const char *const flags[] = { "hotplugged", "hotpluggable", "unarmed", "prealloc" };
    static const char *const words[] = { "uuid", "unplugged-inaccessible" };
    const char *type = "", *id = "", *memdev = "", *word;
    gboolean flag;
    guint64 n;

    g_variant_lookup(device, "type", "&s", &type);
    g_variant_lookup(device, "id", "&s", &id);
    g_variant_lookup(device, "memdev", "&s", &memdev);
    g_string_append_printf(out, "Memory device [%s]: \"%s\"\n", type, id);
    if (g_variant_lookup(device, "addr", "t", &n))
        g_string_append_printf(out, "  addr: 0x%" G_GINT64_MODIFIER "x\n", n);
    if (g_variant_lookup(device, "memaddr", "t", &n))
        g_string_append_printf(out, "  memaddr: 0x%" G_GINT64_MODIFIER "x\n", n);
    for (size_t i = 0; i < G_N_ELEMENTS(keys); i++) {
        if (g_variant_lookup(device, keys[i], "t", &n))
            g_string_append_printf(out, "  %s: %" G_GUINT64_FORMAT "\n", keys[i], n);
    }
    g_string_append_printf(out, "  memdev: %s\n", memdev);
    for (size_t i = 0; i < G_N_ELEMENTS(flags); i++) {
        if (g_variant_lookup(device, flags[i], "b", &flag))
            g_string_append_printf(out, "  %s: %s\n", flags[i], flag ? "true" : "false");
    }
    if (g_variant_lookup(device, "label-size", "t", &n))
        g_string_append_printf(out, "  label-size: %" G_GUINT64_FORMAT "\n", n);
    for (size_t i = 0; i < G_N_ELEMENTS(words); i++) {
        if (g_variant_lookup(device, words[i], "&s", &word))
            g_string_append_printf(out, "  %s: %s\n", words[i], word);
    }
}

static void
memory_devices_print(GVariant *tree, GString *out)
{
    g_autoptr(GVariant) devices = g_variant_lookup_value(tree, "devices", G_VARIANT_TYPE("aa{sv}"));

    for (gsize i = 0; i < g_variant_n_children(devices); i++) {
        g_autoptr(GVariant) device = g_variant_get_child_value(devices, i);

        print_device(device, out);
    }
}

const struct info_item info_device_items[] = {
    { "memory-devices", "show the memory devices", WHEN_ALWAYS, NULL, memory_devices_get, memory_devices_print },
    { 0 }
};
