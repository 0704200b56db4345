/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Whether the definition can be built: every problem with the commands that mend it.
 *
 * Two rules meet in the amount of memory: RAM must be enough for the workload guest, and the nodes must hold exactly
 * RAM.  So both remedies work towards one amount ("wanted"): what the nodes hold, if that is enough, else what RAM
 * should be.  They have a part that changes the nodes and a part that changes RAM; entering both parts, in either
 * order, mends both.  RAM cannot follow nodes that hold more than RAM_MAX: then the nodes follow. */
#include "config.h"

#include <string.h>

#include "config-private.h"

struct amounts {
    uint64_t ram, sum, least, wanted;       /* bytes */
    bool backends;                          /* the nodes' memory is backends */
    bool follows;                           /* the nodes' memory is divided RAM, whatever its size */
    unsigned kept;                          /* ids from this one on are too much for RAM_MAX */
};

static bool
nodes_have_backends(const struct topology *t)
{
    for (unsigned i = 0; i < t->node_count; i++) {
        if (t->nodes[t->node_order[i]].memdev[0])
            return true;
    }
    return false;
}

/* How much the nodes hold that fit RAM_MAX together, by rising ids; '*ret_kept' is the first that does not. */
static uint64_t
sum_that_fits(const struct definition *d, unsigned *ret_kept)
{
    struct topology t = d->topology;

    for (*ret_kept = TOPOLOGY_NODES; topology_memory(&t, definition_backends(d)) > RAM_MAX;) {
        --*ret_kept;
        if (t.nodes[*ret_kept].present)
            topology_delete_node(&t, *ret_kept, NULL);
    }
    return topology_memory(&t, definition_backends(d));
}

static struct amounts
reckon(const struct definition *d, const struct topology *t, unsigned made)
{
    struct amounts a = {
        .ram = definition_ram(d),
        .least = strcmp(d->kernel, KERNEL_DEFAULT) == 0 ? RAM_MIN : PAGE_SIZE,
        .backends = nodes_have_backends(t),
        .follows = made != 0,
    };

    a.sum = t->node_count ? topology_memory(t, definition_backends(d)) : a.ram;
    a.wanted = a.sum >= a.least ? a.sum : MAX(a.ram, a.least);
    if (a.sum > RAM_MAX)
        a.wanted = a.backends ? sum_that_fits(d, &a.kept) : MAX(a.ram, a.least);
    return a;
}

/* RAM as it was entered but with another size; slots only where there is still room for them. */
static char *
memory_commands(const struct definition *d, const struct amounts *a)
{
    struct memory_options m = d->memory;
    GString *out = g_string_new(NULL);

    /* RAM that was never entered follows the backends. */
    if (a->wanted != a->ram && (m.entered || !a->backends)) {
        m.size = a->wanted;
        if (m.maxmem <= m.size)
            m.maxmem = m.slots = 0;
        memory_save(&m, out);
    }
    return g_string_free(out, FALSE);
}

/* The id that the next node may have without leaving a gap, or with filling one; TOPOLOGY_NODES if all are taken. */
static unsigned
next_node(const struct topology *t)
{
    unsigned above = TOPOLOGY_NODES, gap = 0;

    while (above > 0 && !t->nodes[above - 1].present)
        above--;
    while (gap < TOPOLOGY_NODES && t->nodes[gap].present)
        gap++;
    return above < TOPOLOGY_NODES ? above : gap;
}

static char *
free_backend_id(const struct definition *d, unsigned number)
{
    char *id = g_strdup_printf("m%u", number);

    while (definition_backend(d, id)) {
        g_free(id);
        id = g_strdup_printf("m%u", ++number);
    }
    return id;
}

/* One more node with a backend of its own for what is missing; with distances if others have some.  (To ids that
 * are missing themselves it can have them only when these are there: that takes a second check.) */
static char *
add_backend_commands(const struct definition *d, uint64_t bytes)
{
    const struct topology *t = &d->topology;
    unsigned node = next_node(t);
    g_autofree char *size = size_spell(bytes), *id = free_backend_id(d, node);
    GString *out = g_string_new(NULL);

    g_string_append_printf(out, "object_add %s,id=%s,size=%s\nnuma node,nodeid=%u,memdev=%s",
                           backend_kind_names[BACKEND_RAM], id, size, node, id);
    for (unsigned i = 0; topology_has_distances(t) && i < t->node_count; i++)
        g_string_append_printf(out, "\nnuma dist,src=%u,dst=%u,val=%d\nnuma dist,src=%u,dst=%u,val=%d", node,
                               t->node_order[i], DISTANCE_USUAL, t->node_order[i], node, DISTANCE_USUAL);
    return g_string_free(out, FALSE);
}

/* Nodes that are made anew have lost what was said of their memory: that follows. */
static char *
resize_commands(const struct definition *d, uint64_t bytes)
{
    g_autofree char *nodes = topology_resize_commands(&d->topology, bytes);
    GString *out = g_string_new(nodes);

    g_string_append_c(out, '\n');
    hmat_save(&d->hmat, out);
    g_string_truncate(out, out->len - 1);
    return g_string_free(out, FALSE);
}

static char *
delete_commands(const struct topology *t, unsigned first)
{
    GString *out = g_string_new(NULL);

    for (unsigned id = TOPOLOGY_NODES; id-- > first;) {
        if (t->nodes[id].present)
            g_string_append_printf(out, "%snuma_del node %u", out->len ? "\n" : "", id);
    }
    return g_string_free(out, FALSE);
}

static char *
node_commands(const struct definition *d, const struct amounts *a)
{
    if (!d->topology.node_count || a->follows || a->sum == a->wanted)
        return g_strdup("");
    if (a->backends && a->sum > RAM_MAX)
        return delete_commands(&d->topology, a->kept);
    if (a->backends && next_node(&d->topology) == TOPOLOGY_NODES)
        return delete_commands(&d->topology, TOPOLOGY_NODES - 1);
    if (a->backends)
        return add_backend_commands(d, a->wanted - a->sum);
    return resize_commands(d, a->wanted);
}

static char *
join(const char *first, const char *second)
{
    return g_strconcat(first, *first && *second ? "\n" : "", second, NULL);
}

static void
check_least(const struct amounts *a, const char *remedy, GPtrArray *problems)
{
    g_autofree char *ram = size_format(a->ram), *least = size_format(a->least);

    problem_add(problems, g_strdup(remedy), "RAM size (%s) is less than the %s that the workload guest needs", ram,
                least);
}

static void
check_most(const struct amounts *a, const char *remedy, GPtrArray *problems)
{
    g_autofree char *ram = size_format(a->ram), *most = size_format(RAM_MAX);

    problem_add(problems, g_strdup(remedy), "RAM size (%s) is more than the %s that a guest can have", ram, most);
}

GPtrArray *
definition_check(const struct definition *d)
{
    GPtrArray *problems = g_ptr_array_new_with_free_func((GDestroyNotify)problem_free);
    struct topology t;
    struct amounts a = reckon(d, &t, definition_topology(d, &t));
    g_autofree char *memory = memory_commands(d, &a), *nodes = node_commands(d, &a), *both = join(nodes, memory);
    bool too_little = a.ram < a.least, divided = too_little && a.sum != a.ram;

    if (too_little)
        check_least(&a, divided ? memory : both, problems);
    if (a.ram > RAM_MAX)
        check_most(&a, both, problems);
    topology_check(&t, a.ram, !divided ? both : *nodes ? nodes : memory, definition_backends(d), problems);
    definition_check_devices(d, problems);
    return problems;
}

static void
append_count(GString *out, unsigned count, const char *what)
{
    g_string_append_printf(out, "%u %s%s, ", count, what, count == 1 ? "" : "s");
}

char *
definition_summary(const struct definition *d)
{
    g_autofree char *ram = size_format(definition_ram(d));
    GString *out = g_string_new("complete: ");
    uint64_t cpus[WORDS_FOR(TOPOLOGY_CPUS)];
    struct topology t;

    definition_cpus(d, cpus);
    definition_topology(d, &t);
    append_count(out, t.node_count, "node");
    append_count(out, (unsigned)bits_count(cpus, TOPOLOGY_CPUS), "CPU");
    g_string_append(out, ram);
    return g_string_free(out, FALSE);
}
