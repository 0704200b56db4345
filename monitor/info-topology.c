/* SPDX-License-Identifier: GPL-3.0-or-later */
/* `info hotpluggable-cpus` in QEMU's layout, and `info topology`: the whole topology drawn for people.
 *
 * The drawing's tree holds texts: "nodes" with lines for each, "ids" of the nodes by rising number, "distances" and
 * the "cells" of each of "tables" as rows (from) of columns (to), "notes".  A cell tells where it comes from: 21
 * given, (21) mirrored from the other direction, [10] default, ? missing, - not known. */
#include <string.h>

#include "monitor-private.h"

/* --- hotpluggable-cpus ------------------------------------------------------------------------------------------ */

static GVariant *
slot_tree(const struct definition *d, const struct topology_final *final, const struct smp *smp, unsigned cpu)
{
    const struct topology *t = &d->topology;
    g_autofree char *path = definition_cpu_path(d, cpu);
    struct cpu_place p = smp_place(smp, cpu);
    const struct { const char *key; bool has; unsigned id; } ids[] = {
        { "socket-id", true, p.socket }, { "die-id", smp_has_level(smp, SMP_DIES), p.die },
        { "module-id", smp_has_level(smp, SMP_MODULES), p.module }, { "core-id", true, p.core },
        { "thread-id", true, p.thread },
    };
    int node = final && final->node_count ? final->cpu_node[cpu] : t->cpu_node[cpu];
    GVariantBuilder dict, props;

    g_variant_builder_init(&props, G_VARIANT_TYPE("a(su)"));
    if (node >= 0)
        g_variant_builder_add(&props, "(su)", "node-id", (guint32)node);
    for (size_t i = 0; i < G_N_ELEMENTS(ids); i++) {
        if (ids[i].has)
            g_variant_builder_add(&props, "(su)", ids[i].key, ids[i].id);
    }
    g_variant_builder_init(&dict, G_VARIANT_TYPE_VARDICT);
    g_variant_builder_add(&dict, "{sv}", "type",
                          g_variant_new_string(d->cpu.model == CPU_MODEL_HOST ? CPU_TYPE_HOST : CPU_TYPE));
    g_variant_builder_add(&dict, "{sv}", "vcpus-count", g_variant_new_uint32(1));
    if (path && (final || definition_cpu_device(d, path)))
        g_variant_builder_add(&dict, "{sv}", "qom-path", g_variant_new_string(path));
    g_variant_builder_add(&dict, "{sv}", "props", g_variant_builder_end(&props));
    return g_variant_builder_end(&dict);
}

/* Highest slot first; the CPUs of the start exist once the machine is built, those plugged in from then on. */
static GVariant *
slots_get(struct monitor *m, const struct values *args, GError **error)
{
    const struct definition *d = machine_definition(m->machine);
    const struct topology_final *final = machine_topology(m->machine);
    GVariantBuilder tree, list;
    struct smp smp;
    bool derived = smp_derive(&d->topology.smp, &smp, NULL);

    g_assert(derived);
    g_variant_builder_init(&list, G_VARIANT_TYPE("aa{sv}"));
    for (unsigned cpu = smp.maxcpus; cpu-- > 0;)
        g_variant_builder_add_value(&list, slot_tree(d, final, &smp, cpu));
    g_variant_builder_init(&tree, G_VARIANT_TYPE_VARDICT);
    g_variant_builder_add(&tree, "{sv}", "slots", g_variant_builder_end(&list));
    return g_variant_builder_end(&tree);
}

static void
print_slot(GVariant *slot, GString *out)
{
    g_autoptr(GVariant) props = g_variant_lookup_value(slot, "props", G_VARIANT_TYPE("a(su)"));
    const char *type = "", *path, *key;
    guint32 count = 0, id;
    GVariantIter i;

    g_variant_lookup(slot, "type", "&s", &type);
    g_variant_lookup(slot, "vcpus-count", "u", &count);
    g_string_append_printf(out, "  type: \"%s\"\n  vcpus_count: \"%u\"\n", type, count);
    if (g_variant_lookup(slot, "qom-path", "&s", &path))
        g_string_append_printf(out, "  qom_path: \"%s\"\n", path);
    g_string_append(out, "  CPUInstance Properties:\n");
    g_variant_iter_init(&i, props);
    while (g_variant_iter_next(&i, "(&su)", &key, &id))
        g_string_append_printf(out, "    %s: \"%u\"\n", key, id);
}

static void
slots_print(GVariant *tree, GString *out)
{
    g_autoptr(GVariant) slots = g_variant_lookup_value(tree, "slots", G_VARIANT_TYPE("aa{sv}"));

    g_string_append(out, "Hotpluggable CPUs:\n");
    for (gsize i = 0; i < g_variant_n_children(slots); i++) {
        g_autoptr(GVariant) slot = g_variant_get_child_value(slots, i);

        print_slot(slot, out);
    }
}

/* --- topology: the nodes ---------------------------------------------------------------------------------------- */

/* What the drawing is made of. */
struct view {
    const struct definition *d;
    struct topology t;              /* as it will be built */
    unsigned made;                  /* enum of definition_topology */
    struct smp smp;
    uint64_t present[WORDS_FOR(TOPOLOGY_CPUS)];     /* slots that will have a CPU */
    bool mapped;                    /* some CPU has an explicit node */
};

/* Appends "; 0-1 WHAT" for the node's CPUs that were given (or not) and are there (or not). */
static void
add_cpus(GString *line, const struct view *v, unsigned node, bool given, bool present, const char *what)
{
    uint64_t words[WORDS_FOR(TOPOLOGY_CPUS)] = { 0 };

    for (unsigned cpu = 0; cpu < v->smp.maxcpus; cpu++) {
        if (topology_cpu_node(&v->t, cpu) == (int)node && (v->t.cpu_node[cpu] >= 0) == given
            && bit_test(v->present, cpu) == present)
            bit_set(words, cpu);
    }
    g_autofree char *list = list_format(words, TOPOLOGY_CPUS);
    if (*list)
        g_string_append_printf(line, "%s%s %s%s", line->len ? "; " : "", list, what,
                               present ? "" : ", not plugged in");
}

static char *
cpus_line(const struct view *v, unsigned node)
{
    const char *otherwise = v->mapped ? "left over" : "by default";
    GString *line = g_string_new(NULL);

    for (int present = 1; present >= 0; present--) {
        add_cpus(line, v, node, true, present, "given");
        add_cpus(line, v, node, false, present, otherwise);
    }
    if (!line->len)
        g_string_append(line, "none");
    return g_string_free(line, FALSE);
}

static char *
memory_line(const struct view *v, const struct node *n)
{
    const struct backend_options *b = n->memdev[0] ? definition_backend(v->d, n->memdev) : NULL;
    g_autofree char *size = size_format(b ? b->size : n->mem);

    if (b)
        return g_strdup_printf("%s, %s %s", size, backend_kind_names[b->kind], b->id);
    if (!n->has_mem || !n->mem)
        return g_strdup("none");
    if (v->made & TOPOLOGY_SPLIT)
        return g_strdup_printf("%s, by numa-auto-assign=%s", size, auto_assign_names[v->t.options.auto_assign]);
    return g_strdup_printf("%s, %s", size, v->made & TOPOLOGY_IMPLICIT ? "all RAM" : "given by mem=");
}

static char *
host_line(const struct view *v, const struct node *n)
{
    const struct backend_options *b = n->memdev[0] ? definition_backend(v->d, n->memdev) : NULL;

    if (!b || b->policy == HOST_POLICY_DEFAULT)
        return g_strdup("any host node");

    g_autofree char *nodes = list_format(b->host_nodes, HOST_NODES);
    return g_strdup_printf("%s, host nodes %s", host_policy_names[b->policy], nodes);
}

static GVariant *
node_tree(const struct view *v, unsigned id)
{
    const struct node *n = &v->t.nodes[id];
    g_autofree char *cpus = cpus_line(v, id), *memory = memory_line(v, n), *host = host_line(v, n);
    GVariantBuilder lines;

    g_variant_builder_init(&lines, G_VARIANT_TYPE_STRING_ARRAY);
    g_variant_builder_add_value(&lines, g_variant_new_printf("CPUs    %s", cpus));
    g_variant_builder_add_value(&lines, g_variant_new_printf("memory  %s", memory));
    g_variant_builder_add_value(&lines, g_variant_new_printf("host    %s", host));
    if (n->has_initiator)
        g_variant_builder_add_value(&lines, g_variant_new_printf("nearest CPUs: node %u", n->initiator));
    for (unsigned level = 1; level <= HMAT_LEVELS; level++) {
        const struct hmat_cache *c = hmat_cache_find(&v->d->hmat, id, level);

        if (!c)
            continue;
        g_autofree char *size = size_format(c->size);
        g_variant_builder_add_value(&lines, g_variant_new_printf("cache %u %s, %s, %s, lines of %u bytes", level,
                                                                 size, hmat_associativity_names[c->associativity],
                                                                 hmat_policy_names[c->policy], c->line));
    }
    return g_variant_builder_end(&lines);
}

/* --- topology: matrices ----------------------------------------------------------------------------------------- */

/* One cell of the matrix 'which': the distances, or a table of HMAT. */
struct matrix {
    bool hmat;
    unsigned hierarchy, type;       /* with hmat */
};

static char *
distance_cell(const struct topology *t, unsigned src, unsigned dst)
{
    unsigned value = 0;
    enum distance_kind kind = topology_distance(t, src, dst, &value);

    switch (kind) {
    case DISTANCE_GIVEN:
        return g_strdup_printf("%u", value);
    case DISTANCE_MIRRORED:
        return g_strdup_printf("(%u)", value);
    case DISTANCE_DEFAULT:
        return g_strdup_printf("[%u]", value);
    default:
        return g_strdup("?");
    }
}

static char *
cell(const struct view *v, const struct matrix *m, unsigned src, unsigned dst)
{
    const struct hmat_lb *e;

    if (!m->hmat)
        return distance_cell(&v->t, src, dst);
    e = hmat_find(&v->d->hmat, m->hierarchy, m->type, src, dst);
    if (!e || !e->value)
        return g_strdup("-");
    return g_strdup_printf("%" G_GUINT64_FORMAT, hmat_is_latency(m->type) ? e->value : e->value / MIB);
}

static GVariant *
matrix_tree(const struct view *v, const struct matrix *m)
{
    GVariantBuilder rows;

    g_variant_builder_init(&rows, G_VARIANT_TYPE("aas"));
    for (unsigned src = 0; src < TOPOLOGY_NODES; src++) {
        if (!v->t.nodes[src].present)
            continue;
        g_variant_builder_open(&rows, G_VARIANT_TYPE("as"));
        for (unsigned dst = 0; dst < TOPOLOGY_NODES; dst++) {
            if (!v->t.nodes[dst].present)
                continue;
            g_autofree char *text = cell(v, m, src, dst);
            g_variant_builder_add(&rows, "s", text);
        }
        g_variant_builder_close(&rows);
    }
    return g_variant_builder_end(&rows);
}

/* Each table that has an entry: its title and its rows. */
static GVariant *
tables_tree(const struct view *v)
{
    GVariantBuilder tables;

    g_variant_builder_init(&tables, G_VARIANT_TYPE("a(saas)"));
    for (unsigned i = 0; i < HMAT_HIERARCHIES * HMAT_TYPES; i++) {
        struct matrix m = { true, i / HMAT_TYPES, i % HMAT_TYPES };
        bool latency = hmat_is_latency(m.type);
        uint64_t base = hmat_base(&v->d->hmat, m.hierarchy, m.type);

        if (!base)
            continue;
        g_autofree char *title = g_strdup_printf("%s %s in %s, counted in steps of %" G_GUINT64_FORMAT,
                                                 hmat_hierarchy_names[m.hierarchy], hmat_type_names[m.type],
                                                 latency ? "ns" : "MiB/s", latency ? base : base / MIB);
        g_variant_builder_add(&tables, "(s@aas)", title, matrix_tree(v, &m));
    }
    return g_variant_builder_end(&tables);
}

/* --- topology: the whole ---------------------------------------------------------------------------------------- */

static void
add_levels_note(GVariantBuilder *notes, const struct view *v)
{
    GString *line = g_string_new(NULL);

    for (unsigned i = 0; i < SMP_LEVELS; i++) {
        if (smp_has_level(&v->smp, i))
            g_string_append_printf(line, "%s%u %s%s", i ? ", " : "", v->smp.levels[i], smp_level_names[i],
                                   v->t.smp.levels[i] ? "" : " (by default)");
    }
    g_variant_builder_add_value(notes, g_variant_new_printf("%u CPUs of at most %u: %s",
                                                            (unsigned)bits_count(v->present, TOPOLOGY_CPUS),
                                                            v->smp.maxcpus, line->str));
    g_string_free(line, TRUE);
}

static GVariant *
notes_tree(const struct view *v)
{
    g_autoptr(GPtrArray) warnings = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GPtrArray) problems = definition_check(v->d);
    GVariantBuilder notes;

    g_variant_builder_init(&notes, G_VARIANT_TYPE_STRING_ARRAY);
    add_levels_note(&notes, v);
    if (v->made & TOPOLOGY_IMPLICIT)
        g_variant_builder_add(&notes, "s", "node 0 is there by default: none was declared");
    if (v->made & TOPOLOGY_SPLIT)
        g_variant_builder_add(&notes, "s", "no node has a size: RAM is divided between them");
    if (v->t.node_count && !topology_has_distances(&v->t))
        g_variant_builder_add(&notes, "s", "no distance was given: the guest is told none");
    definition_warnings(v->d, warnings);
    for (guint i = 0; i < warnings->len; i++)
        g_variant_builder_add_value(&notes, g_variant_new_printf("warning: %s", (char *)warnings->pdata[i]));
    for (guint i = 0; i < problems->len; i++)
        g_variant_builder_add_value(&notes, g_variant_new_printf("problem: %s",
                                                                 ((struct problem *)problems->pdata[i])->text));
    return g_variant_builder_end(&notes);
}

static struct view *
view_new(const struct definition *d)
{
    struct view *v = g_new0(struct view, 1);
    bool derived = smp_derive(&d->topology.smp, &v->smp, NULL);

    g_assert(derived);
    v->d = d;
    v->made = definition_topology(d, &v->t);
    definition_cpus(d, v->present);
    for (unsigned cpu = 0; cpu < TOPOLOGY_CPUS; cpu++)
        v->mapped |= v->t.cpu_node[cpu] >= 0;
    return v;
}

static GVariant *
topology_tree(const struct view *v)
{
    GVariantBuilder tree, ids, nodes;
    struct matrix distances = { .hmat = false };

    g_variant_builder_init(&ids, G_VARIANT_TYPE("au"));
    g_variant_builder_init(&nodes, G_VARIANT_TYPE("aas"));
    for (unsigned id = 0; id < TOPOLOGY_NODES; id++) {
        if (!v->t.nodes[id].present)
            continue;
        g_variant_builder_add(&ids, "u", id);
        g_variant_builder_add_value(&nodes, node_tree(v, id));
    }
    g_variant_builder_init(&tree, G_VARIANT_TYPE_VARDICT);
    g_variant_builder_add(&tree, "{sv}", "ids", g_variant_builder_end(&ids));
    g_variant_builder_add(&tree, "{sv}", "nodes", g_variant_builder_end(&nodes));
    if (topology_has_distances(&v->t))
        g_variant_builder_add(&tree, "{sv}", "distances", matrix_tree(v, &distances));
    g_variant_builder_add(&tree, "{sv}", "tables", tables_tree(v));
    g_variant_builder_add(&tree, "{sv}", "notes", notes_tree(v));
    return g_variant_builder_end(&tree);
}

enum { TOPOLOGY_OUTPUT };
static const struct property topology_args[] = {
    [TOPOLOGY_OUTPUT] = { "-o", PROPERTY_WORD, .complete = COMPLETE_FILE,
                          .help = "write a picture to this SVG file" },
    { 0 }
};

static bool
write_picture(GVariant *tree, const char *path, GError **error)
{
    g_autoptr(GString) svg = g_string_new(NULL);
    struct outfile *f = outfile_open(path, error);

    if (!f)
        return false;
    topology_draw_svg(tree, svg);
    if (outfile_write(f, svg->str, svg->len, error))
        return outfile_commit(f, error);
    outfile_abandon(f);
    return false;
}

static GVariant *
topology_get(struct monitor *m, const struct values *args, GError **error)
{
    g_autofree struct view *v = view_new(machine_definition(m->machine));
    GVariant *tree = topology_tree(v);

    if (args->at[TOPOLOGY_OUTPUT].set && !write_picture(tree, args->at[TOPOLOGY_OUTPUT].word, error)) {
        g_variant_unref(g_variant_ref_sink(tree));
        return NULL;
    }
    return tree;
}

/* --- topology: drawn with characters ---------------------------------------------------------------------------- */

static void
draw_rule(GString *out, int width)
{
    g_string_append_c(out, '+');
    for (int i = 0; i < width + 2; i++)
        g_string_append_c(out, '-');
    g_string_append(out, "+\n");
}

static int
widest(GVariant *nodes)
{
    GVariantIter i;
    GVariantIter *lines;
    const char *line;
    int width = 20;

    g_variant_iter_init(&i, nodes);
    while (g_variant_iter_loop(&i, "as", &lines)) {
        while (g_variant_iter_next(lines, "&s", &line))
            width = MAX(width, (int)strlen(line) + 2);
    }
    return width;
}

static void
draw_nodes(GVariant *nodes, GVariant *ids, GString *out)
{
    int width = widest(nodes);
    gsize count = g_variant_n_children(nodes);

    for (gsize i = 0; i < count; i++) {
        g_autoptr(GVariant) lines = g_variant_get_child_value(nodes, i);
        GVariantIter each;
        const char *line;
        guint32 id;

        g_variant_get_child(ids, i, "u", &id);
        draw_rule(out, width);
        g_string_append_printf(out, "| node %-*u |\n", width - 5, id);
        g_variant_iter_init(&each, lines);
        while (g_variant_iter_next(&each, "&s", &line))
            g_string_append_printf(out, "|   %-*s |\n", width - 2, line);
    }
    if (count)
        draw_rule(out, width);
}

static void
draw_matrix(const char *title, GVariant *rows, GVariant *ids, GString *out)
{
    gsize count = g_variant_n_children(ids);
    guint32 id;
    int width = 5;

    for (gsize r = 0; r < count; r++) {
        for (gsize c = 0; c < count; c++) {
            g_autoptr(GVariant) row = g_variant_get_child_value(rows, r);
            const char *text;

            g_variant_get_child(row, c, "&s", &text);
            width = MAX(width, (int)strlen(text));
        }
    }
    g_string_append_printf(out, "%s (from row to column):\nnode", title);
    for (gsize c = 0; c < count; c++) {
        g_variant_get_child(ids, c, "u", &id);
        g_string_append_printf(out, " %*u", width, id);
    }
    g_string_append_c(out, '\n');
    for (gsize r = 0; r < count; r++) {
        g_autoptr(GVariant) row = g_variant_get_child_value(rows, r);

        g_variant_get_child(ids, r, "u", &id);
        g_string_append_printf(out, "%3u:", id);
        for (gsize c = 0; c < count; c++) {
            const char *text;

            g_variant_get_child(row, c, "&s", &text);
            g_string_append_printf(out, " %*s", width, text);
        }
        g_string_append_c(out, '\n');
    }
}

static void
topology_print(GVariant *tree, GString *out)
{
    g_autoptr(GVariant) ids = g_variant_lookup_value(tree, "ids", G_VARIANT_TYPE("au"));
    g_autoptr(GVariant) nodes = g_variant_lookup_value(tree, "nodes", G_VARIANT_TYPE("aas"));
    g_autoptr(GVariant) distances = g_variant_lookup_value(tree, "distances", G_VARIANT_TYPE("aas"));
    g_autoptr(GVariant) tables = g_variant_lookup_value(tree, "tables", G_VARIANT_TYPE("a(saas)"));
    g_autoptr(GVariant) notes = g_variant_lookup_value(tree, "notes", G_VARIANT_TYPE_STRING_ARRAY);
    GVariantIter i;
    const char *text;

    draw_nodes(nodes, ids, out);
    if (distances)
        draw_matrix("distances: (n) mirrored, [n] by default, ? missing", distances, ids, out);
    for (gsize t = 0; t < g_variant_n_children(tables); t++) {
        g_autoptr(GVariant) rows = NULL;

        g_variant_get_child(tables, t, "(&s@aas)", &text, &rows);
        draw_matrix(text, rows, ids, out);
    }
    g_variant_iter_init(&i, notes);
    while (g_variant_iter_next(&i, "&s", &text))
        g_string_append_printf(out, "%s\n", text);
}

const struct info_item info_topology_items[] = {
    { "hotpluggable-cpus", "show the places that CPUs have or can have", WHEN_ALWAYS, NULL, slots_get, slots_print },
    { "topology", "draw the topology: nodes, distances, HMAT", WHEN_ALWAYS, topology_args, topology_get,
      topology_print },
    { 0 }
};
