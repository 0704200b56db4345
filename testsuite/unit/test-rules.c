/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Random sequences of configuration commands against a model of the rules that shares no code with the program: both
 * must agree on what is taken and what is refused, on the nodes that come out (what `info numa` shows) and on whether
 * the machine can be built.
 *
 * A sequence is known by its number: NUMON_RULES_FIRST=N and NUMON_RULES_COUNT=1 run one again, with --verbose its
 * commands are shown. */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "rules-model.h"

enum { SEQUENCES = 10000, COMMANDS = 24 };

/* --- both sides ------------------------------------------------------------------------------------------------- */

struct run {
    GRand *rand;
    struct definition *d;
    struct model m;
    struct undo *undo;
    GString *text;                  /* of the command now */
};

static int
choose(struct run *r, int from, int end)
{
    return g_rand_int_range(r->rand, from, end);
}

static bool
chance(struct run *r, int percent)
{
    return choose(r, 0, 100) < percent;
}

/* -1 with the given chance to leave it out, else appends ",KEY=N" with N below 'end'. */
static int
key(struct run *r, const char *name, int given_percent, int from, int end)
{
    int n;

    if (!chance(r, given_percent))
        return -1;
    n = choose(r, from, end);
    g_string_append_printf(r->text, ",%s=%d", name, n);
    return n;
}

static bool
taken(struct run *r, const struct property *table, int implied,
      bool (*edit)(struct definition *d, const struct values *v, GError **error))
{
    g_autoptr(GError) error = NULL;
    g_autoptr(values) v = property_parse_options(table, implied, r->text->len ? r->text->str + 1 : "", &error);
    struct definition *copy = definition_copy(r->d);
    bool ok = v && edit(copy, v, &error);

    g_assert_true(ok || definition_equal(copy, r->d));
    if (ok)
        undo_record(r->undo, r->d, copy);
    definition_free(ok ? r->d : copy);
    r->d = ok ? copy : r->d;
    if (g_test_verbose())
        g_test_message("%s: %s", r->text->str, ok ? "taken" : error->message);
    return ok;
}

static bool
add_ram(struct definition *d, const struct values *v, GError **error)
{
    return definition_add_backend(d, BACKEND_RAM, v, error);
}

static bool
delete_node(struct definition *d, const struct values *v, GError **error)
{
    return definition_delete_node(d, (unsigned)v->at[0].number, error);
}

static bool
delete_distance(struct definition *d, const struct values *v, GError **error)
{
    return topology_delete_distance(&d->topology, (unsigned)v->at[0].number, (unsigned)v->at[1].number, error);
}

static bool
delete_backend(struct definition *d, const struct values *v, GError **error)
{
    return definition_delete_backend(d, v->at[0].word, error);
}

static const struct property two_numbers[] = {
    { "a", PROPERTY_UINT, .max = 127 }, { "b", PROPERTY_UINT, .max = 127 }, { 0 }
};
static const struct property one_id[] = { { "id", PROPERTY_ID }, { 0 } };

static void
try_smp(struct run *r, bool *program, bool *model)
{
    int cpus = key(r, "cpus", 60, 1, 9), max = key(r, "maxcpus", 40, 1, 13), s = key(r, "sockets", 40, 1, 4);
    int c = key(r, "cores", 40, 1, 4), t = key(r, "threads", 30, 1, 3);

    *model = model_smp(&r->m, MAX(cpus, 0), MAX(max, 0), MAX(s, 0), MAX(c, 0), MAX(t, 0));
    *program = taken(r, smp_properties, SMP_P_CPUS, definition_set_smp);
}

static void
try_memory(struct run *r, bool *program, bool *model)
{
    static const int sizes[] = { 8, 16, 32, 48, 64, 96, 128, 129 };
    int size = sizes[choose(r, 0, G_N_ELEMENTS(sizes))];

    g_string_append_printf(r->text, ",size=%dM", size);
    r->m.memory = (uint64_t)size;
    *model = true;
    *program = taken(r, memory_properties, MEMORY_P_SIZE, definition_set_memory);
}

static void
try_machine(struct run *r, bool *program, bool *model)
{
    int split = chance(r, 40) ? choose(r, 0, 3) : -1, hmat = chance(r, 60) ? chance(r, 80) : -1;

    if (split >= 0)
        g_string_append_printf(r->text, ",numa-auto-assign=%s", auto_assign_names[split]);
    if (hmat >= 0)
        g_string_append_printf(r->text, ",hmat=%s", hmat ? "on" : "off");
    *model = model_machine(&r->m, split, hmat);
    *program = taken(r, machine_properties, -1, definition_set_machine);
}

static void
try_object(struct run *r, bool *program, bool *model)
{
    int id = choose(r, 0, BACKENDS), size = 16 * choose(r, 1, 4);

    g_string_append_printf(r->text, ",id=m%d,size=%dM", id, size);
    *model = !r->m.backend[id];
    if (*model)
        r->m.backend[id] = (uint64_t)size;
    *program = taken(r, backend_ram_properties, -1, add_ram);
}

static void
try_object_del(struct run *r, bool *program, bool *model)
{
    int id = choose(r, 0, BACKENDS);

    g_string_append_printf(r->text, ",id=m%d", id);
    *model = r->m.backend[id] && model_owner(&r->m, id) < 0;
    if (*model)
        r->m.backend[id] = 0;
    *program = taken(r, one_id, -1, delete_backend);
}

static void
try_node(struct run *r, bool *program, bool *model)
{
    int id = chance(r, 5) ? 128 : r->m.count < NODES && chance(r, 60) ? -1 : choose(r, 0, NODES);
    int first = chance(r, 50) ? choose(r, 0, 10) : -1, last = first + choose(r, 0, 3);
    int64_t mem = chance(r, 25) ? 8 * choose(r, 0, 9) : -1;
    int dev = chance(r, 40) ? choose(r, 0, BACKENDS) : -1, initiator;
    uint32_t cpus = first < 0 ? 0 : ((2u << (last - first)) - 1) << first;

    if (id >= 0)
        g_string_append_printf(r->text, ",nodeid=%d", id);
    if (first >= 0)
        g_string_append_printf(r->text, ",cpus=%d-%d", first, last);
    if (mem >= 0)
        g_string_append_printf(r->text, ",mem=%dM", (int)mem);
    if (dev >= 0)
        g_string_append_printf(r->text, ",memdev=m%d", dev);
    initiator = key(r, "initiator", 10, 0, NODES);
    *model = model_node(&r->m, id, cpus, mem, dev, initiator);
    *program = taken(r, node_properties, -1, definition_add_node);
}

static void
try_dist(struct run *r, bool *program, bool *model)
{
    int a = key(r, "src", 100, 0, NODES), b = key(r, "dst", 100, 0, NODES);
    int val = a == b ? key(r, "val", 100, 9, 12) : key(r, "val", 100, 9, 30);

    *model = model_dist(&r->m, a, b, val);
    *program = taken(r, dist_properties, -1, definition_set_distance);
}

static void
try_cpu(struct run *r, bool *program, bool *model)
{
    bool back = chance(r, 25);
    int node = key(r, "node-id", back ? 50 : 95, 0, NODES), s = key(r, "socket-id", 50, 0, 4);
    int c = key(r, "core-id", 50, 0, 4), t = key(r, "thread-id", 40, 0, 3);

    *model = back ? model_uncpu(&r->m, node, s, c, t) : model_cpu(&r->m, node, s, c, t);
    *program = taken(r, cpu_properties, -1, back ? definition_unmap_cpu : definition_map_cpu);
}

static void
try_delete(struct run *r, bool *program, bool *model)
{
    int a = key(r, "a", 100, 0, NODES), b;

    if (chance(r, 50)) {
        *model = model_delete(&r->m, a);
        *program = taken(r, two_numbers, -1, delete_node);
        return;
    }
    b = key(r, "b", 100, 0, NODES);
    *model = r->m.dist[a][b] > 0;
    r->m.dist[a][b] = 0;
    *program = taken(r, two_numbers, -1, delete_distance);
}

static void
try_lb(struct run *r, bool *program, bool *model)
{
    static const struct { const char *keys, *unit; } tables[TABLES] = {
        { "hierarchy=memory,data-type=read-latency,latency=", "" },
        { "hierarchy=first-level,data-type=read-latency,latency=", "" },
        { "hierarchy=memory,data-type=access-bandwidth,bandwidth=", "M" },
    };
    static const int values[] = { 0, 1, 5, 10, 64, 700, 65534, 65535, 65536, 655340, 1310720 };
    int from = key(r, "initiator", 100, 0, NODES), to = key(r, "target", 100, 0, NODES);
    int which = choose(r, 0, TABLES), value = values[choose(r, 0, G_N_ELEMENTS(values))];

    g_string_append_printf(r->text, ",%s%d%s", tables[which].keys, value, tables[which].unit);
    *model = model_lb(&r->m, which, from, to, value);
    *program = taken(r, hmat_lb_properties, -1, definition_add_hmat_lb);
}

static void
step(struct run *r, unsigned sequence, int n)
{
    static const struct { int weight; void (*try)(struct run *r, bool *program, bool *model); } kinds[] = {
        { 8, try_smp }, { 6, try_memory }, { 8, try_machine }, { 14, try_object }, { 3, try_object_del },
        { 26, try_node }, { 16, try_dist }, { 12, try_cpu }, { 5, try_delete }, { 12, try_lb },
    };
    int at = choose(r, 0, 110), kind = 0;
    bool program = false, model = false;

    while (at >= kinds[kind].weight)
        at -= kinds[kind++].weight;
    g_string_truncate(r->text, 0);
    kinds[kind].try(r, &program, &model);
    if (program != model)
        g_error("sequence %u, command %d (kind %d) '%s': the program %s it, the model %s it", sequence, n, kind,
                r->text->str, program ? "takes" : "refuses", model ? "takes" : "refuses");
}

/* What `info numa` shows: nodes in the order of creation, their CPUs and sizes. */
static void
compare(const struct run *r)
{
    struct topology t;
    uint64_t sizes[NODES];
    g_autoptr(GPtrArray) problems = definition_check(r->d);

    definition_topology(r->d, &t);
    model_sizes(&r->m, sizes);
    g_assert_cmpint(t.node_count, ==, r->m.count);
    for (int i = 0; i < r->m.count; i++) {
        int id = r->m.order[i];
        const struct backend_options *b = definition_backend(r->d, t.nodes[id].memdev);

        g_assert_cmpint(t.node_order[i], ==, id);
        g_assert_cmpuint(t.nodes[id].has_mem ? t.nodes[id].mem : b ? b->size : 0, ==, sizes[id]);
    }
    for (int i = 0; r->m.count && i < r->m.max; i++) {
        int node = model_place(&r->m, i);

        g_assert_cmpint(topology_cpu_node(&t, (unsigned)i), ==, node < NODES && r->m.node[node].present ? node : -1);
    }
    for (int i = 0; i < NODES * NODES; i++)
        g_assert_cmpint(t.distance[i / NODES][i % NODES], ==, r->m.dist[i / NODES][i % NODES]);
    g_assert_cmpint(problems->len == 0, ==, model_complete(&r->m));
}

/* What is saved gives the same definition, whatever was entered. */
static void
reenter(const struct definition *d)
{
    static const struct { const char *start; const struct property *table; int implied;
                          bool (*edit)(struct definition *d, const struct values *v, GError **error); } kinds[] = {
        { "machine ", machine_properties, -1, definition_set_machine },
        { "memory ", memory_properties, MEMORY_P_SIZE, definition_set_memory },
        { "smp ", smp_properties, SMP_P_CPUS, definition_set_smp },
        { "object_add memory-backend-ram,", backend_ram_properties, -1, add_ram },
        { "numa node,", node_properties, -1, definition_add_node },
        { "numa dist,", dist_properties, -1, definition_set_distance },
        { "numa hmat-lb,", hmat_lb_properties, -1, definition_add_hmat_lb },
    };
    g_autofree char *text = definition_save(d), *again = NULL;
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    g_autoptr(definition) copy = definition_new();

    for (unsigned i = 0; lines[i] && *lines[i]; i++) {
        unsigned kind = 0;
        GError *error = NULL;

        while (!g_str_has_prefix(lines[i], kinds[kind].start))
            g_assert_cmpuint(++kind, <, G_N_ELEMENTS(kinds));
        g_autoptr(values) v = property_parse_options(kinds[kind].table, kinds[kind].implied,
                                                     lines[i] + strlen(kinds[kind].start), &error);
        g_assert_no_error(error);
        kinds[kind].edit(copy, v, &error);
        g_assert_no_error(error);
    }
    again = definition_save(copy);
    g_assert_cmpstr(again, ==, text);
    g_assert_true(definition_equal(copy, d));
}

/* All the way back there is nothing; all the way forth everything again. */
static void
go_back_and_forth(const struct run *r)
{
    struct definition *now = definition_copy(r->d), *next;
    g_autoptr(definition) empty = definition_new();

    while ((next = undo_back(r->undo, now))) {
        definition_free(now);
        now = next;
    }
    g_assert_true(definition_equal(now, empty));
    while ((next = undo_forth(r->undo, now))) {
        definition_free(now);
        now = next;
    }
    g_assert_true(definition_equal(now, r->d));
    definition_free(now);
}

static unsigned
number_of(const char *name, unsigned otherwise)
{
    const char *text = g_getenv(name);

    return text ? (unsigned)strtoul(text, NULL, 10) : otherwise;
}

static void
program_and_model_agree(void)
{
    unsigned first = number_of("NUMON_RULES_FIRST", 0), count = number_of("NUMON_RULES_COUNT", SEQUENCES);
    unsigned complete = 0;

    for (unsigned i = first; i < first + count; i++) {
        struct run r = { .rand = g_rand_new_with_seed(i), .d = definition_new(), .text = g_string_new(NULL),
                         .undo = undo_new() };

        model_init(&r.m);
        for (int n = 0; n < COMMANDS; n++)
            step(&r, i, n);
        compare(&r);
        reenter(r.d);
        go_back_and_forth(&r);
        complete += r.m.count > 1 && model_complete(&r.m);
        definition_free(r.d);
        undo_free(r.undo);
        g_string_free(r.text, TRUE);
        g_rand_free(r.rand);
    }
    g_test_message("%u sequences, %u of them complete machines with several nodes", count, complete);
    g_assert_true(count < SEQUENCES || complete > SEQUENCES / 100);
}

int
main(int argc, char **argv)
{
    main_thread_claim();
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/rules/random", program_and_model_agree);
    return g_test_run();
}
