/* SPDX-License-Identifier: GPL-3.0-or-later */
/* `info` of the machine as it runs: status, CPUs, accelerator, RAM blocks, serial output.  Layouts are QEMU 7.2's; in
 * preconfig a line more says what the defaults will be. */
#include <string.h>

#include "monitor-private.h"

static void
print_default(GVariant *tree, GString *out)
{
    const char *text;

    if (g_variant_lookup(tree, "default", "&s", &text))
        g_string_append_printf(out, "default: %s\n", text);
}

/* --- status ----------------------------------------------------------------------------------------------------- */

static GVariant *
status_get(struct monitor *m, const struct values *args, GError **error)
{
    /* One look: a migration's thread may stop the guest, or let it run, between two. */
    const char *status = machine_status(m->machine);
    GVariantBuilder tree;

    g_variant_builder_init(&tree, G_VARIANT_TYPE_VARDICT);
    g_variant_builder_add(&tree, "{sv}", "running", g_variant_new_boolean(strcmp(status, "running") == 0));
    g_variant_builder_add(&tree, "{sv}", "status", g_variant_new_string(status));
    return g_variant_builder_end(&tree);
}

static void
status_print(GVariant *tree, GString *out)
{
    gboolean running = FALSE;
    const char *status = "";

    g_variant_lookup(tree, "running", "b", &running);
    g_variant_lookup(tree, "status", "&s", &status);
    g_string_append_printf(out, "VM status: %s", running ? "running" : "paused");
    if (strcmp(status, "running") != 0 && strcmp(status, "paused") != 0)
        g_string_append_printf(out, " (%s)", status);
    g_string_append_c(out, '\n');
}

/* --- cpus ------------------------------------------------------------------------------------------------------- */

/* "4 CPUs as sockets=2,dies=1,cores=2,threads=1": the levels that follow from what was entered; NULL if all were. */
static char *
levels_default(const struct smp *entered, const struct smp *derived)
{
    g_autoptr(GString) levels = g_string_new(NULL);
    bool complete = true;

    for (int i = 0; i < SMP_LEVELS; i++) {
        if (i == SMP_MODULES && derived->levels[i] == 1)
            continue;
        g_string_append_printf(levels, "%s%s=%u", i ? "," : "", smp_level_names[i], derived->levels[i]);
        complete = complete && entered->levels[i];
    }
    if (complete)
        return NULL;
    return g_strdup_printf("%u CPU%s as %s", derived->cpus, derived->cpus == 1 ? "" : "s", levels->str);
}

enum { CPUS_P_ALL };
static const struct property cpus_args[] = {
    [CPUS_P_ALL] = { "-a", PROPERTY_FLAG, .help = "also where they are: guest node, host CPUs, pinned or not" },
    { 0 }
};

static GVariant *
cpu_tree(unsigned index, int thread_id, bool current)
{
    GVariantBuilder dict;

    g_variant_builder_init(&dict, G_VARIANT_TYPE_VARDICT);
    g_variant_builder_add(&dict, "{sv}", "index", g_variant_new_uint32(index));
    g_variant_builder_add(&dict, "{sv}", "current", g_variant_new_boolean(current));
    g_variant_builder_add(&dict, "{sv}", "thread-id", g_variant_new_int32(thread_id));
    return g_variant_builder_end(&dict);
}

/* For -a: by CPU, its guest node (-1: none), the host CPUs its thread may run on, and whether it was pinned. */
static void
add_place(GVariantBuilder *list, struct monitor *m, unsigned cpu)
{
    const struct topology_final *final = machine_topology(m->machine);
    const struct topology *pending = &machine_definition(m->machine)->topology;
    struct run *run = machine_run(m->machine);
    uint64_t host[WORDS_FOR(HOST_CPUS)] = { 0 };
    bool pinned = run && run_pinned(run, cpu, host);
    g_autofree char *cpus = list_format(host, HOST_CPUS);
    int node = final ? (final->node_count ? final->cpu_node[cpu] : -1) : topology_cpu_node(pending, cpu);

    g_variant_builder_add(list, "(isb)", node, cpus, pinned);
}

static void
print_place(GVariant *places, gsize cpu, GString *out)
{
    const char *cpus;
    gboolean pinned;
    gint32 node;

    g_variant_get_child(places, cpu, "(i&sb)", &node, &cpus, &pinned);
    if (node >= 0)
        g_string_append_printf(out, " node=%d", node);
    if (*cpus)
        g_string_append_printf(out, " host_cpus=%s%s", cpus, pinned ? " (pinned)" : "");
}

/* A CPU's thread starts with the guest: until then its id is 0. */
static GVariant *
cpus_get(struct monitor *m, const struct values *args, GError **error)
{
    const struct definition *d = machine_definition(m->machine);
    struct run *run = machine_run(m->machine);
    uint64_t present[WORDS_FOR(TOPOLOGY_CPUS)];
    GVariantBuilder tree, list, places;
    struct smp smp;

    g_variant_builder_init(&tree, G_VARIANT_TYPE_VARDICT);
    if (!run && smp_derive(&d->topology.smp, &smp, NULL)) {
        g_autofree char *levels = levels_default(&d->topology.smp, &smp);

        if (levels)
            g_variant_builder_add(&tree, "{sv}", "default", g_variant_new_string(levels));
    }
    definition_cpus(d, present);
    g_variant_builder_init(&list, G_VARIANT_TYPE("aa{sv}"));
    g_variant_builder_init(&places, G_VARIANT_TYPE("a(isb)"));
    for (unsigned cpu = 0; cpu < TOPOLOGY_CPUS; cpu++) {
        if (!bit_test(present, cpu))
            continue;
        g_variant_builder_add_value(&list, cpu_tree(cpu, run ? run_thread_id(run, cpu) : 0,
                                                       cpu == monitor_cpu(m)));
        add_place(&places, m, cpu);
    }
    g_variant_builder_add(&tree, "{sv}", "cpus", g_variant_builder_end(&list));
    if (args->at[CPUS_P_ALL].set)
        g_variant_builder_add(&tree, "{sv}", "places", g_variant_builder_end(&places));
    else
        g_variant_builder_clear(&places);
    return g_variant_builder_end(&tree);
}

static void
cpus_print(GVariant *tree, GString *out)
{
    g_autoptr(GVariant) list = g_variant_lookup_value(tree, "cpus", G_VARIANT_TYPE("aa{sv}"));
    g_autoptr(GVariant) places = g_variant_lookup_value(tree, "places", G_VARIANT_TYPE("a(isb)"));
    gsize count = g_variant_n_children(list);

    for (gsize i = 0; i < count; i++) {
        g_autoptr(GVariant) cpu = g_variant_get_child_value(list, i);
        gboolean current = FALSE;
        guint32 index = 0;
        gint32 thread_id = 0;

        g_variant_lookup(cpu, "current", "b", &current);
        g_variant_lookup(cpu, "index", "u", &index);
        g_variant_lookup(cpu, "thread-id", "i", &thread_id);
        g_string_append_printf(out, "%c CPU #%u: thread_id=%d", current ? '*' : ' ', index, thread_id);
        if (places)
            print_place(places, i, out);
        g_string_append_c(out, '\n');
    }
    print_default(tree, out);
}

/* --- ramblock --------------------------------------------------------------------------------------------------- */

static GVariant *
block_tree(const struct block *b, uint64_t offset)
{
    GVariantBuilder dict;

    g_variant_builder_init(&dict, G_VARIANT_TYPE_VARDICT);
    g_variant_builder_add(&dict, "{sv}", "name", g_variant_new_string(b->name));
    g_variant_builder_add(&dict, "{sv}", "page-size", g_variant_new_uint64(PAGE_SIZE));
    g_variant_builder_add(&dict, "{sv}", "offset", g_variant_new_uint64(offset));
    g_variant_builder_add(&dict, "{sv}", "used", g_variant_new_uint64(atomic_load(&b->used)));
    g_variant_builder_add(&dict, "{sv}", "total", g_variant_new_uint64(b->size));
    return g_variant_builder_end(&dict);
}

/* Offsets count through all blocks, one after the other, as in QEMU's RAM address space. */
static GVariant *
ramblock_get(struct monitor *m, const struct values *args, GError **error)
{
    const struct guest_map *map = machine_map(m->machine);
    GVariantBuilder tree, list;
    uint64_t offset = 0;

    g_variant_builder_init(&list, G_VARIANT_TYPE("aa{sv}"));
    for (guint i = 0; map && i < map->blocks->len; i++) {
        const struct block *b = map->blocks->pdata[i];

        g_variant_builder_add_value(&list, block_tree(b, offset));
        offset += b->size;
    }
    g_variant_builder_init(&tree, G_VARIANT_TYPE_VARDICT);
    g_variant_builder_add(&tree, "{sv}", "blocks", g_variant_builder_end(&list));
    return g_variant_builder_end(&tree);
}

static void
print_block(GVariant *b, GString *out)
{
    guint64 page_size = 0, offset = 0, used = 0, total = 0;
    g_autofree char *page_text = NULL;
    const char *name = "";

    g_variant_lookup(b, "name", "&s", &name);
    g_variant_lookup(b, "page-size", "t", &page_size);
    g_variant_lookup(b, "offset", "t", &offset);
    g_variant_lookup(b, "used", "t", &used);
    g_variant_lookup(b, "total", "t", &total);
    page_text = size_format(page_size);
    g_string_append_printf(out, "%24s %8s  0x%016" G_GINT64_MODIFIER "x 0x%016" G_GINT64_MODIFIER "x 0x%016"
                           G_GINT64_MODIFIER "x\n", name, page_text, offset, used, total);
}

static void
ramblock_print(GVariant *tree, GString *out)
{
    g_autoptr(GVariant) blocks = g_variant_lookup_value(tree, "blocks", G_VARIANT_TYPE("aa{sv}"));
    gsize count = g_variant_n_children(blocks);

    g_string_append_printf(out, "%24s %8s  %18s %18s %18s\n", "Block Name", "PSize", "Offset", "Used", "Total");
    for (gsize i = 0; i < count; i++) {
        g_autoptr(GVariant) b = g_variant_get_child_value(blocks, i);

        print_block(b, out);
    }
}

/* --- serial ----------------------------------------------------------------------------------------------------- */

static void
add_port(GVariantBuilder *tree, struct monitor *m, unsigned port)
{
    struct serial *serial = machine_serial(m->machine, port);
    struct serial_counts c = { 0 };
    const char *target = serial ? serial_target(serial) : machine_definition(m->machine)->serials[port];

    if (serial)
        serial_counts(serial, &c);
    g_variant_builder_add(tree, "{sv}", "target", text_variant(target));
    g_variant_builder_add(tree, "{sv}", "bytes", g_variant_new_uint64(c.total));
    g_variant_builder_add(tree, "{sv}", "kept", g_variant_new_uint64(MIN(c.total, SERIAL_RING_SIZE)));
    g_variant_builder_add(tree, "{sv}", "lost", g_variant_new_uint64(c.lost));
    g_variant_builder_add(tree, "{sv}", "reader", g_variant_new_boolean(c.reader));
    g_variant_builder_add(tree, "{sv}", "input", g_variant_new_uint64(c.waiting));
}

/* The first port, and those that there are besides. */
static GVariant *
serial_get(struct monitor *m, const struct values *args, GError **error)
{
    GVariantBuilder tree, more;

    g_variant_builder_init(&tree, G_VARIANT_TYPE_VARDICT);
    g_variant_builder_init(&more, G_VARIANT_TYPE("aa{sv}"));
    add_port(&tree, m, 0);
    for (unsigned i = 1; i < SERIAL_PORTS; i++) {
        if (!machine_definition(m->machine)->serials[i])
            continue;
        g_variant_builder_open(&more, G_VARIANT_TYPE_VARDICT);
        g_variant_builder_add(&more, "{sv}", "port", g_variant_new_uint64(i));
        add_port(&more, m, i);
        g_variant_builder_close(&more);
    }
    g_variant_builder_add(&tree, "{sv}", "more", g_variant_builder_end(&more));
    return g_variant_builder_end(&tree);
}

static void
print_port(GVariant *tree, GString *out)
{
    const char *target = "";
    guint64 bytes = 0, kept = 0, lost = 0, input = 0;
    gboolean reader = FALSE;

    g_variant_lookup(tree, "lost", "t", &lost);
    g_variant_lookup(tree, "reader", "b", &reader);
    g_variant_lookup(tree, "input", "t", &input);
    g_variant_lookup(tree, "target", "&s", &target);
    g_variant_lookup(tree, "bytes", "t", &bytes);
    g_variant_lookup(tree, "kept", "t", &kept);
    g_string_append_printf(out, "target: %s\nbytes: %" G_GUINT64_FORMAT "\nkept: %" G_GUINT64_FORMAT " of %d\nlost: %"
                           G_GUINT64_FORMAT "\nreader: %s\ninput that waits: %" G_GUINT64_FORMAT "\n", target, bytes,
                           kept, SERIAL_RING_SIZE, lost, reader ? "yes" : "no", input);
}

static void
serial_print(GVariant *tree, GString *out)
{
    g_autoptr(GVariant) more = g_variant_lookup_value(tree, "more", G_VARIANT_TYPE("aa{sv}"));

    print_port(tree, out);
    for (gsize i = 0; i < g_variant_n_children(more); i++) {
        g_autoptr(GVariant) port = g_variant_get_child_value(more, i);

        g_string_append_printf(out, "port %" G_GUINT64_FORMAT ":\n", tree_number(port, "port"));
        print_port(port, out);
    }
}

const struct info_item info_run_items[] = {
    { "status", "show whether the guest runs", WHEN_ALWAYS, NULL, status_get, status_print },
    { "cpus", "show the CPUs and their threads", WHEN_ALWAYS, cpus_args, cpus_get, cpus_print },
    { "ramblock", "show the blocks that RAM is made of", WHEN_ALWAYS, NULL, ramblock_get, ramblock_print },
    { "workload", "show what the workload guest has done", WHEN_ALWAYS, NULL, info_workload_get,
      info_workload_print },
    { "serial", "show where serial output goes and how much came", WHEN_ALWAYS, NULL, serial_get, serial_print },
    { 0 }
};
