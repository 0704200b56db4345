/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What runs the guest and what it finds in memory: `info kvm`, `info mtree`. */
#include "monitor-private.h"

#include <inttypes.h>
#include <string.h>

#include "accel.h"

/* --- kvm -------------------------------------------------------------------------------------------------------- */

enum { KVM_P_SLOTS, KVM_P_ALL };
static const struct property kvm_args[] = {
    [KVM_P_SLOTS] = { "-s", PROPERTY_FLAG, .help = "also the memory slots" },
    [KVM_P_ALL] = { "-v", PROPERTY_FLAG, .help = "also what this KVM can do, and its limits" },
    { 0 }
};

/* In preconfig: what the choice comes to here, by trying it.  '*ret_default' is NULL if it was made by name. */
static bool
kvm_would_run(const struct definition *d, char **ret_default)
{
    g_autoptr(GError) error = NULL;
    bool works;

    *ret_default = NULL;
    if (d->accel == ACCEL_SYNTHETIC)
        return false;
    works = accel_kvm.probe(&error);
    if (d->accel == ACCEL_AUTO)
        *ret_default = works ? g_strdup("the first accelerator that works: kvm")
                             : g_strdup_printf("the first accelerator that works: synthetic, as kvm does not: %s",
                                               error->message);
    return works;
}

/* What the accelerator tells if it is KVM, as far as it was asked for. */
static void
add_facts(struct monitor *m, const struct values *args, GVariantBuilder *tree)
{
    g_autoptr(GVariant) facts = machine_accel_facts(m->machine);
    GVariantIter entries;
    const char *name;
    GVariant *value;

    if (!facts)
        return;
    g_variant_iter_init(&entries, g_variant_ref_sink(facts));
    while (g_variant_iter_next(&entries, "{&sv}", &name, &value)) {
        bool slots = strcmp(name, "slot-table") == 0;

        if (slots ? args->at[KVM_P_SLOTS].set : args->at[KVM_P_ALL].set)
            g_variant_builder_add(tree, "{sv}", name, value);
        g_variant_unref(value);
    }
}

static GVariant *
kvm_get(struct monitor *m, const struct values *args, GError **error)
{
    const char *accel = machine_accel(m->machine);
    g_autofree char *by_default = NULL;
    GVariantBuilder tree;
    bool enabled;

    if ((args->at[KVM_P_SLOTS].set || args->at[KVM_P_ALL].set) && !accel) {
        fail(error, NUMON_ERROR_STATE, "there is no virtual machine to ask yet: the machine is not built "
             "(`exit_preconfig`)");
        return NULL;
    }
    if (accel)
        enabled = strcmp(accel, accel_kvm.name) == 0;
    else
        enabled = kvm_would_run(machine_definition(m->machine), &by_default);
    g_variant_builder_init(&tree, G_VARIANT_TYPE_VARDICT);
    g_variant_builder_add(&tree, "{sv}", "enabled", g_variant_new_boolean(enabled));
    if (by_default)
        g_variant_builder_add(&tree, "{sv}", "default", text_variant(by_default));
    if (machine_dirty_log(m->machine))
        g_variant_builder_add(&tree, "{sv}", "dirty-log", g_variant_new_string(machine_dirty_log(m->machine)));
    if (enabled)
        add_facts(m, args, &tree);
    return g_variant_builder_end(&tree);
}

static void
print_slot(GVariant *s, GString *out)
{
    gboolean readonly = FALSE, logging = FALSE;
    const char *block = "";
    guint32 slot = 0;

    g_variant_lookup(s, "slot", "u", &slot);
    g_variant_lookup(s, "block", "&s", &block);
    g_variant_lookup(s, "readonly", "b", &readonly);
    g_variant_lookup(s, "logging", "b", &logging);
    g_string_append_printf(out, "%4u  %016" PRIx64 "-%016" PRIx64 "  %s @%016" PRIx64 " at host 0x%" PRIx64 "%s%s\n",
                           slot, tree_number(s, "gpa"), tree_number(s, "gpa") + tree_number(s, "size") - 1, block,
                           tree_number(s, "offset"),
                           tree_number(s, "host"), readonly ? ", read-only" : "", logging ? ", logged" : "");
}

/* Numbers and switches, one a line. */
static void
print_facts(GVariant *tree, GString *out)
{
    GVariantIter entries;
    const char *name;
    GVariant *value;

    g_variant_iter_init(&entries, tree);
    while (g_variant_iter_next(&entries, "{&sv}", &name, &value)) {
        g_autofree char *text = g_variant_is_container(value) ? NULL
                                : g_variant_is_of_type(value, G_VARIANT_TYPE_STRING)
                                ? g_variant_dup_string(value, NULL)
                                : g_variant_print(value, FALSE);

        if (text && strcmp(name, "enabled") != 0 && strcmp(name, "default") != 0
            && strcmp(name, "dirty-log") != 0)
            g_string_append_printf(out, "%s: %s\n", name, text);
        g_variant_unref(value);
    }
}

static void
print_capabilities(GVariant *tree, GString *out)
{
    g_autoptr(GVariant) list = g_variant_lookup_value(tree, "capabilities", G_VARIANT_TYPE("a(sis)"));
    const char *name, *help;
    GVariantIter entries;
    gint32 number;

    if (!list)
        return;
    g_string_append(out, "capabilities:\n");
    g_variant_iter_init(&entries, list);
    while (g_variant_iter_next(&entries, "(&si&s)", &name, &number, &help))
        g_string_append_printf(out, "  %-26s %8d  %s\n", name, number, help);
}

static void
kvm_print(GVariant *tree, GString *out)
{
    g_autoptr(GVariant) slots = g_variant_lookup_value(tree, "slot-table", G_VARIANT_TYPE("aa{sv}"));
    const char *by_default = NULL, *log = NULL;
    gboolean enabled = FALSE;

    g_variant_lookup(tree, "enabled", "b", &enabled);
    g_string_append_printf(out, "kvm support: %s\n", enabled ? "enabled" : "disabled");
    if (g_variant_lookup(tree, "default", "&s", &by_default))
        g_string_append_printf(out, "default: %s\n", by_default);
    if (g_variant_lookup(tree, "dirty-log", "&s", &log))
        g_string_append_printf(out, "dirty log: %s\n", log);
    print_facts(tree, out);
    print_capabilities(tree, out);
    for (gsize i = 0; slots && i < g_variant_n_children(slots); i++) {
        g_autoptr(GVariant) s = g_variant_get_child_value(slots, i);

        print_slot(s, out);
    }
}

/* --- mtree ------------------------------------------------------------------------------------------------------ */

enum { MTREE_P_FLAT };
static const struct property mtree_args[] = {
    [MTREE_P_FLAT] = { "-f", PROPERTY_FLAG, .help = "what the guest finds in the end, without what is covered" },
    { 0 }
};

static const char *const kind_names[] = { "ram", "rom", "i/o" };       /* by enum section_kind */

/* Priority 0 is RAM; a higher one covers a lower. */
static GVariant *
region_tree(const char *name, uint64_t start, uint64_t size, int priority, const char *kind, uint64_t offset,
            int node)
{
    GVariantBuilder dict;

    g_variant_builder_init(&dict, G_VARIANT_TYPE_VARDICT);
    g_variant_builder_add(&dict, "{sv}", "name", text_variant(name));
    g_variant_builder_add(&dict, "{sv}", "start", g_variant_new_uint64(start));
    g_variant_builder_add(&dict, "{sv}", "end", g_variant_new_uint64(start + size - 1));
    g_variant_builder_add(&dict, "{sv}", "priority", g_variant_new_int32(priority));
    g_variant_builder_add(&dict, "{sv}", "kind", g_variant_new_string(kind));
    g_variant_builder_add(&dict, "{sv}", "offset", g_variant_new_uint64(offset));
    if (node >= 0)
        g_variant_builder_add(&dict, "{sv}", "node", g_variant_new_int32(node));
    return g_variant_builder_end(&dict);
}

static void
add_section(GVariantBuilder *list, const struct section *s, int priority, bool flat)
{
    const char *name = s->name && !flat ? s->name : s->block ? s->block->name : s->name;

    g_variant_builder_add_value(list, region_tree(name, s->gpa, s->size, priority, kind_names[s->kind], s->offset,
                                                  s->node));
}

static void
add_sections(GVariantBuilder *list, const GArray *sections, int priority, int step, bool flat)
{
    for (unsigned i = 0; i < sections->len; i++)
        add_section(list, &g_array_index(sections, struct section, i), priority + step * (int)i, flat);
}

static void
add_port(void *list, const char *name, uint64_t base, uint64_t length)
{
    g_variant_builder_add_value(list, region_tree(name, base, length, 0, kind_names[SECTION_DEVICE], 0, -1));
}

static GVariant *
mtree_get(struct monitor *m, const struct values *args, GError **error)
{
    const struct guest_map *map = machine_map(m->machine);
    bool flat = args->at[MTREE_P_FLAT].set;
    GVariantBuilder memory, ports, tree;

    g_variant_builder_init(&memory, G_VARIANT_TYPE("aa{sv}"));
    g_variant_builder_init(&ports, G_VARIANT_TYPE("aa{sv}"));
    if (flat) {
        g_autoptr(GArray) view = guest_map_view(map, NULL);

        add_sections(&memory, view, 0, 0, true);
    } else {
        add_sections(&memory, map->sections, 0, 0, false);
        add_sections(&memory, map->covers, 1, 1, false);
    }
    bus_each(machine_bus(m->machine), BUS_MMIO, add_port, &memory);
    bus_each(machine_bus(m->machine), BUS_PORT, add_port, &ports);
    g_variant_builder_init(&tree, G_VARIANT_TYPE_VARDICT);
    g_variant_builder_add(&tree, "{sv}", "flat", g_variant_new_boolean(flat));
    g_variant_builder_add(&tree, "{sv}", "memory", g_variant_builder_end(&memory));
    g_variant_builder_add(&tree, "{sv}", "io", g_variant_builder_end(&ports));
    return g_variant_builder_end(&tree);
}

static void
print_region(GVariant *r, const char *indent, GString *out)
{
    const char *name = "", *kind = "";
    gint32 priority = 0, node = -1;

    g_variant_lookup(r, "name", "&s", &name);
    g_variant_lookup(r, "kind", "&s", &kind);
    g_variant_lookup(r, "priority", "i", &priority);
    g_variant_lookup(r, "node", "i", &node);
    g_string_append_printf(out, "%s%016" PRIx64 "-%016" PRIx64 " (prio %d, %s): %s", indent, tree_number(r, "start"),
                           tree_number(r, "end"), priority, kind, name);
    if (tree_number(r, "offset"))
        g_string_append_printf(out, " @%016" PRIx64, tree_number(r, "offset"));
    if (node >= 0)
        g_string_append_printf(out, " node %d", node);
    g_string_append_c(out, '\n');
}

static void
print_regions(GVariant *tree, const char *name, const char *indent, GString *out)
{
    g_autoptr(GVariant) list = g_variant_lookup_value(tree, name, G_VARIANT_TYPE("aa{sv}"));

    for (gsize i = 0; i < g_variant_n_children(list); i++) {
        g_autoptr(GVariant) r = g_variant_get_child_value(list, i);

        print_region(r, indent, out);
    }
}

/* QEMU's layouts. */
static void
mtree_print(GVariant *tree, GString *out)
{
    gboolean flat = FALSE;

    g_variant_lookup(tree, "flat", "b", &flat);
    g_string_append(out, flat ? "FlatView #0\n AS \"I/O\", root: io\n Root memory region: io\n"
                              : "address-space: I/O\n  0000000000000000-000000000000ffff (prio 0, i/o): io\n");
    print_regions(tree, "io", flat ? "  " : "    ", out);
    g_string_append(out, flat ? "\nFlatView #1\n AS \"memory\", root: system\n Root memory region: system\n"
                              : "\naddress-space: memory\n  0000000000000000-ffffffffffffffff (prio 0, i/o): "
                              "system\n");
    print_regions(tree, "memory", flat ? "  " : "    ", out);
}

const struct info_item info_kvm_items[] = {
    { "kvm", "show whether KVM runs the guest", WHEN_ALWAYS, kvm_args, kvm_get, kvm_print },
    { "mtree", "show what lies where in the guest's memory and ports", WHEN_BUILT, mtree_args, mtree_get,
      mtree_print },
    { 0 }
};
