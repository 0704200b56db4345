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

enum { SEQUENCES = 10000, COMMANDS = 24, NODES = 6, BACKENDS = 4, CPUS = 24, TABLES = 3 };

/* --- the model -------------------------------------------------------------------------------------------------- */

struct model_node { int present, has_mem, dev, initiator; uint64_t mem; };      /* dev, initiator: -1 none */

struct model {
    int cpus, max, sockets, cores, threads;
    uint64_t memory;                    /* MiB; 0: not entered */
    int split, hmat;                    /* split: 0 default, 1 legacy, 2 off */
    uint64_t backend[BACKENDS];         /* MiB; 0: none */
    struct model_node node[NODES];
    int order[NODES], count;
    int dist[NODES][NODES];
    int cpu[CPUS];                      /* node, or -1 */
    int64_t lb[TABLES][NODES][NODES];   /* -1: not given.  Two tables of latency, one of bandwidth (MiB/s) */
};

static void
model_init(struct model *m)
{
    memset(m, 0, sizeof *m);
    m->cpus = m->max = m->sockets = m->cores = m->threads = 1;
    for (int i = 0; i < CPUS; i++)
        m->cpu[i] = -1;
    memset(m->lb, -1, sizeof m->lb);
}

static int
model_smp(struct model *m, int cpus, int max, int s, int c, int t)
{
    int total = max ? max : cpus;

    if (!total) {
        s = s ? s : 1, c = c ? c : 1, t = t ? t : 1;
        total = s * c * t;
    } else if (!c) {
        s = s ? s : 1, t = t ? t : 1;
        c = total / (s * t);
    } else if (!s) {
        t = t ? t : 1;
        s = total / (c * t);
    } else if (!t) {
        t = total / (s * c);
    }
    if (s * c * t != total || (cpus && cpus > total))
        return 0;
    for (int i = total; i < CPUS; i++)
        if (m->cpu[i] >= 0)
            return 0;
    m->cpus = cpus ? cpus : total, m->max = total;
    m->sockets = s, m->cores = c, m->threads = t;
    return 1;
}

static int
model_owner(const struct model *m, int backend)
{
    for (int i = 0; i < NODES; i++)
        if (m->node[i].present && m->node[i].dev == backend)
            return i;
    return -1;
}

static int
model_node(struct model *m, int id, uint32_t cpus, int64_t mem, int dev, int initiator)
{
    int any_mem = mem >= 0, any_dev = dev >= 0;

    if (id < 0)
        id = m->count;
    if (id >= NODES || m->node[id].present)
        return 0;
    for (int i = 0; i < CPUS; i++)
        if ((cpus >> i & 1) && (i >= m->max || m->cpu[i] >= 0))
            return 0;
    for (int i = 0; i < NODES; i++) {
        any_mem |= m->node[i].present && m->node[i].has_mem;
        any_dev |= m->node[i].present && m->node[i].dev >= 0;
    }
    if ((any_mem && any_dev) || (dev >= 0 && (!m->backend[dev] || model_owner(m, dev) >= 0)))
        return 0;
    if (initiator >= 0 && (!m->hmat || (cpus && initiator != id)))
        return 0;
    m->node[id] = (struct model_node) { 1, mem >= 0, dev, initiator, mem >= 0 ? (uint64_t)mem : 0 };
    m->order[m->count++] = id;
    for (int i = 0; i < CPUS; i++)
        if (cpus >> i & 1)
            m->cpu[i] = id;
    return 1;
}

static int
model_dist(struct model *m, int a, int b, int val)
{
    if (!m->node[a].present || !m->node[b].present || val < 10 || (a == b && val != 10))
        return 0;
    m->dist[a][b] = val;
    return 1;
}

/* -1: all. */
static int
model_matches(const struct model *m, int i, int s, int c, int t)
{
    return (s < 0 || i / (m->cores * m->threads) == s) && (c < 0 || i / m->threads % m->cores == c)
        && (t < 0 || i % m->threads == t);
}

static int
model_cpu(struct model *m, int node, int s, int c, int t)
{
    int found = 0, n = node;

    if (n < 0 || !m->node[n].present || (m->hmat && m->node[n].initiator >= 0 && m->node[n].initiator != n))
        return 0;
    for (int i = 0; i < m->max; i++)
        if (model_matches(m, i, s, c, t)) {
            found = 1;
            if (m->cpu[i] >= 0 && m->cpu[i] != n)
                return 0;
        }
    for (int i = 0; found && i < m->max; i++)
        if (model_matches(m, i, s, c, t))
            m->cpu[i] = n;
    return found;
}

static int
model_uncpu(struct model *m, int node, int s, int c, int t)
{
    int found = 0;

    if (node >= 0 && !m->node[node].present)
        return 0;
    for (int i = 0; i < m->max; i++)
        if (m->cpu[i] >= 0 && model_matches(m, i, s, c, t) && (node < 0 || m->cpu[i] == node)) {
            m->cpu[i] = -1;
            found = 1;
        }
    return found;
}

static int
model_delete(struct model *m, int id)
{
    int kept = 0;

    if (!m->node[id].present)
        return 0;
    m->node[id].present = 0;
    for (int i = 0; i < m->count; i++)
        if (m->order[i] != id)
            m->order[kept++] = m->order[i];
    m->count = kept;
    for (int i = 0; i < CPUS; i++)
        if (m->cpu[i] == id)
            m->cpu[i] = -1;
    for (int i = 0; i < NODES; i++) {
        m->dist[id][i] = m->dist[i][id] = 0;
        for (int t = 0; t < TABLES; t++)
            m->lb[t][id][i] = m->lb[t][i][id] = -1;
    }
    return 1;
}

/* Some step must divide all values and count each below 65535: powers of ten for latency, of two for bandwidth. */
static int
model_encodes(int64_t table[NODES][NODES], int factor)
{
    int64_t largest = 1, top = 0;

    for (int64_t step = 1; step <= INT64_C(1) << 40; step *= factor) {
        int divides = 1;

        for (int i = 0; i < NODES * NODES; i++) {
            int64_t v = table[i / NODES][i % NODES];

            divides &= v <= 0 || v % step == 0;
            top = v > top ? v : top;
        }
        if (divides)
            largest = step;
    }
    return top / largest < 65535;
}

static int
model_lb(struct model *m, int which, int from, int to, int64_t value)
{
    int cpus = 0;

    for (int i = 0; i < CPUS; i++)
        cpus |= m->cpu[i] == from;
    if (!m->hmat || !m->node[from].present || !m->node[to].present || !cpus || m->lb[which][from][to] >= 0)
        return 0;
    m->lb[which][from][to] = value;
    if (model_encodes(m->lb[which], which < 2 ? 10 : 2))
        return 1;
    m->lb[which][from][to] = -1;
    return 0;
}

static int
model_machine(struct model *m, int split, int hmat)
{
    int used = 0;

    for (int i = 0; i < NODES; i++)
        used |= m->node[i].present && m->node[i].initiator >= 0;
    for (int i = 0; i < TABLES * NODES * NODES; i++)
        used |= (&m->lb[0][0][0])[i] >= 0;
    if (hmat == 0 && used)
        return 0;
    m->split = split >= 0 ? split : m->split;
    m->hmat = hmat >= 0 ? hmat : m->hmat;
    return 1;
}

/* --- what comes out of the model -------------------------------------------------------------------------------- */

static uint64_t
model_size(const struct model *m, int id)
{
    const struct model_node *n = &m->node[id];

    return !n->present ? 0 : n->has_mem ? n->mem : n->dev >= 0 ? m->backend[n->dev] : 0;
}

static uint64_t
model_ram(const struct model *m)
{
    uint64_t backends = 0;

    for (int i = 0; i < NODES; i++)
        backends += m->node[i].present && m->node[i].dev >= 0 ? m->backend[m->node[i].dev] : 0;
    return m->memory ? m->memory : backends ? backends : 128;
}

/* Sizes in bytes, with RAM divided; returns the sum. */
static uint64_t
model_sizes(const struct model *m, uint64_t sizes[NODES])
{
    uint64_t sum = 0, ram = model_ram(m) << 20, rest = 0, given = 0;
    int left = m->count;

    for (int i = 0; i < NODES; i++) {
        sizes[i] = model_size(m, i) << 20;
        sum += sizes[i];
    }
    if (sum || !m->count || m->split == 2)
        return sum;
    for (int i = 0; i < NODES; i++) {
        if (!m->node[i].present)
            continue;
        rest += ram / (uint64_t)m->count;
        sizes[i] = rest >> 23 << 23;
        rest = m->split == 1 ? 0 : rest - sizes[i];
        if (--left == 0)
            sizes[i] = ram - given;
        given += sizes[i];
    }
    return ram;
}

static int
model_place(const struct model *m, int i)
{
    int mapped = 0;

    for (int k = 0; k < CPUS; k++)
        mapped |= m->cpu[k] >= 0;
    return m->cpu[i] >= 0 ? m->cpu[i] : mapped ? 0 : i / (m->cores * m->threads) % m->count;
}

static int
model_has_cpus(const struct model *m, int node)
{
    for (int i = 0; i < m->max; i++)
        if (model_place(m, i) == node)
            return 1;
    return 0;
}

static int
model_distances_complete(const struct model *m)
{
    int any = 0, both = 0, good = 1;

    for (int a = 0; a < NODES; a++)
        for (int b = 0; b < NODES; b++) {
            any |= m->dist[a][b] > 0;
            both |= m->dist[a][b] && m->dist[b][a] && m->dist[a][b] != m->dist[b][a];
        }
    for (int a = 0; any && a < NODES; a++)
        for (int b = 0; b < NODES; b++)
            if (a != b && m->node[a].present && m->node[b].present)
                good &= both ? m->dist[a][b] > 0 : m->dist[a][b] || m->dist[b][a];
    return good;
}

static int
model_complete(const struct model *m)
{
    uint64_t sizes[NODES], sum = model_sizes(m, sizes);

    if (model_ram(m) < 16)
        return 0;
    if (!m->count)
        return 1;
    for (int i = 0; i < m->count; i++)
        if (!m->node[i].present)
            return 0;
    for (int i = 0; i < NODES; i++) {
        int initiator = m->node[i].present ? m->node[i].initiator : -1;

        if (initiator >= 0 && (!m->node[initiator].present || !model_has_cpus(m, initiator)))
            return 0;
        for (int k = 0; k < TABLES * NODES; k++)
            if (m->lb[k / NODES][i][k % NODES] >= 0 && !model_has_cpus(m, i))
                return 0;
    }
    return sum == model_ram(m) << 20 && model_distances_complete(m);
}

/* --- both sides --------------------------------------------------------------------------------------------------- */

struct run {
    GRand *rand;
    struct definition *d;
    struct model m;
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
unmap_cpu(struct definition *d, const struct values *v, GError **error)
{
    return topology_unmap_cpu(&d->topology, v, error);
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
    *program = taken(r, cpu_properties, -1, back ? unmap_cpu : definition_map_cpu);
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
        struct run r = { .rand = g_rand_new_with_seed(i), .d = definition_new(), .text = g_string_new(NULL) };

        model_init(&r.m);
        for (int n = 0; n < COMMANDS; n++)
            step(&r, i, n);
        compare(&r);
        complete += r.m.count > 1 && model_complete(&r.m);
        definition_free(r.d);
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
