/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The topology's rules: each refusal with its words and with the topology unchanged, what is completed, what is
 * saved.  Backends are names. */
#include "topology.h"

#include <string.h>

enum { BACKEND_SIZE = 64 * 1024 * 1024 };

/* Backends m0 to m9 exist and have 64 MiB each. */
static bool
fake_size(const void *self, const char *id, uint64_t *ret_bytes)
{
    *ret_bytes = BACKEND_SIZE;
    return id[0] == 'm' && g_ascii_isdigit(id[1]) && !id[2];
}

static const struct backend_lookup fakes = { .size = fake_size };

/* Applies "smp ..." , "node ...", "dist ...", "cpu ...", "uncpu ..." */
static bool
apply(struct topology *t, const char *line, GError **error)
{
    static const struct { const char *name; const struct property *table; int implied; } kinds[] = {
        { "smp ", smp_properties, SMP_P_CPUS }, { "node ", node_properties, -1 }, { "dist ", dist_properties, -1 },
        { "cpu ", cpu_properties, -1 }, { "uncpu ", cpu_properties, -1 },
    };
    unsigned kind = 0;

    while (!g_str_has_prefix(line, kinds[kind].name))
        g_assert_cmpuint(++kind, <, G_N_ELEMENTS(kinds));
    g_autoptr(values) v = property_parse_options(kinds[kind].table, kinds[kind].implied,
                                                 line + strlen(kinds[kind].name), error);
    if (!v)
        return false;
    switch (kind) {
    case 0:
        return topology_set_smp(t, v, error);
    case 1:
        return topology_add_node(t, v, fakes, error);
    case 2:
        return topology_set_distance(t, v, error);
    case 3:
        return topology_map_cpu(t, v, error);
    default:
        return topology_unmap_cpu(t, v, error);
    }
}

static void
enter(struct topology *t, const char *lines)
{
    g_auto(GStrv) each = g_strsplit(lines, "\n", -1);

    for (unsigned i = 0; each[i]; i++) {
        GError *error = NULL;

        apply(t, each[i], &error);
        g_assert_no_error(error);
    }
}

static struct topology
topology_of(const char *lines)
{
    struct topology t;

    topology_init(&t);
    if (*lines)
        enter(&t, lines);
    return t;
}

/* The line is refused with words that begin with 'words', and nothing changed. */
static void
refused(const char *lines, const char *line, enum numon_error code, const char *words)
{
    struct topology t = topology_of(lines), before = t;
    g_autoptr(GError) error = NULL;

    g_assert_false(apply(&t, line, &error));
    g_assert_error(error, NUMON_ERROR, (int)code);
    if (!g_str_has_prefix(error->message, words))
        g_assert_cmpstr(error->message, ==, words);
    g_assert_true(topology_equal(&t, &before));
}

#define TWO "smp 4,sockets=2\nnode mem=64M\nnode mem=64M"
#define ARGUMENT NUMON_ERROR_ARGUMENT
#define STATE    NUMON_ERROR_STATE
#define LIMIT    NUMON_ERROR_LIMIT

static void
refusals_use_qemus_words_and_change_nothing(void)
{
    static const struct { const char *before, *line; enum numon_error code; const char *words; } cases[] = {
        { TWO, "node nodeid=0", STATE, "Duplicate NUMA nodeid: 0" },
        { TWO, "node nodeid=128", LIMIT, "Max number of NUMA nodes reached: 128" },
        { TWO, "node cpus=9", ARGUMENT, "CPU index (9) should be smaller than maxcpus (4)" },
        { TWO, "node cpus=3-9", ARGUMENT, "CPU index (4) should be smaller than maxcpus (4)" },
        { "smp 4\nnode cpus=0-1", "node cpus=1-3", STATE, "CPU is already assigned to node-id: 0" },
        { "", "node memdev=nope", ARGUMENT, "memdev=nope does not exist" },
        { "", "node mem=1M,memdev=m0", ARGUMENT,
          "numa configuration should use either mem= or memdev=,mixing both is not allowed" },
        { "node memdev=m0", "node mem=64M", ARGUMENT,
          "numa configuration should use either mem= or memdev=,mixing both is not allowed" },
        { "node mem=64M", "node memdev=m0", ARGUMENT,
          "numa configuration should use either mem= or memdev=,mixing both is not allowed" },
        { "node memdev=m0", "node memdev=m0", STATE, "memory backend m0 can't be used multiple times" },
        { "", "node mem=100b", ARGUMENT, "mem (100 bytes) should be a multiple of 4096 bytes" },
        { TWO, "dist src=0,dst=1,val=9", ARGUMENT,
          "NUMA distance (9) is invalid, it shouldn't be less than 10." },
        { TWO, "dist src=0,dst=0,val=11", ARGUMENT, "Local distance of node 0 should be 10." },
        { TWO, "dist src=0,dst=5,val=11", STATE, "Source/Destination NUMA node is missing. Please use '-numa node' "
          "option to declare it first." },
        { TWO, "dist src=5,dst=0,val=11", STATE, "Source/Destination NUMA node is missing." },
        { TWO, "dist src=0,dst=128,val=11", ARGUMENT, "" },
        { TWO, "dist src=0,dst=1,val=256", ARGUMENT, "" },
        { TWO, "dist src=0,val=20", ARGUMENT, "" },
        { TWO, "cpu socket-id=0", ARGUMENT, "Missing mandatory node-id property" },
        { TWO, "cpu node-id=5,socket-id=0", STATE, "Invalid node-id=5, NUMA node must be defined with -numa "
          "node,nodeid=ID before it's used with -numa cpu,node-id=ID" },
        { TWO, "cpu node-id=128", STATE, "Invalid node-id=128, " },
        { TWO, "cpu node-id=0,socket-id=9", ARGUMENT, "no match found" },
        { TWO, "cpu node-id=0,die-id=0", ARGUMENT, "die-id is not supported" },
        { TWO "\ncpu node-id=0", "cpu node-id=1,socket-id=0", STATE, "CPU is already assigned to node-id: 0" },
        { TWO "\ncpu node-id=0,socket-id=1", "cpu node-id=1", STATE, "CPU is already assigned to node-id: 0" },
        { TWO, "uncpu socket-id=0", ARGUMENT, "no match found" },
        { TWO "\ncpu node-id=0,socket-id=0", "uncpu node-id=1", ARGUMENT, "no match found" },
        { TWO, "uncpu node-id=7", STATE, "Invalid node-id=7, " },
        { "smp 4\nnode cpus=3", "smp 2", STATE, "CPU index (3) should be smaller than maxcpus (2)" },
        { "", "smp 0", ARGUMENT, "Invalid CPU topology: CPU topology parameters must be greater than zero" },
        { "", "smp 4,sockets=0", ARGUMENT, "Invalid CPU topology: CPU topology parameters must be greater than "
          "zero" },
        { "", "smp 129", LIMIT, "Invalid SMP CPUs 129. The max CPUs supported by this machine is 128" },
        { TWO, "cpu node-id=0,module-id=0", ARGUMENT, "module-id is not supported" },
        { TWO, "cpu node-id=0,cluster-id=0", ARGUMENT, "cluster-id is not supported" },
        { TWO, "cpu node-id=0,book-id=0", ARGUMENT, "book-id is not supported" },
        { TWO, "cpu node-id=0,drawer-id=0", ARGUMENT, "drawer-id is not supported" },
        { "", "smp 4,clusters=2", ARGUMENT, "clusters > 1 not supported by this machine's CPU topology: clusters=2" },
        { "", "smp 4,books=0", ARGUMENT, "Invalid CPU topology: CPU topology parameters must be greater than zero" },
        { "", "smp sockets=65535,dies=65535,cores=65535,threads=65535", ARGUMENT, "Invalid CPU topology: " },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++)
        refused(cases[i].before, cases[i].line, cases[i].code, cases[i].words);
}

/* What QEMU 7.2 made of the same -smp lines (query-hotpluggable-cpus): maxcpus, sockets, dies, cores, threads. */
static void
levels_follow_as_in_qemu(void)
{
    static const struct { const char *line; unsigned max, sockets, dies, cores, threads; } cases[] = {
        { "1", 1, 1, 1, 1, 1 }, { "4", 4, 1, 1, 4, 1 }, { "6", 6, 1, 1, 6, 1 },
        { "sockets=2", 2, 2, 1, 1, 1 }, { "cores=3", 3, 1, 1, 3, 1 }, { "threads=2", 2, 1, 1, 1, 2 },
        { "dies=2", 2, 1, 2, 1, 1 }, { "maxcpus=8", 8, 1, 1, 8, 1 }, { "2,maxcpus=8", 8, 1, 1, 8, 1 },
        { "4,sockets=2", 4, 2, 1, 2, 1 }, { "4,cores=2", 4, 2, 1, 2, 1 }, { "4,threads=2", 4, 1, 1, 2, 2 },
        { "8,dies=2", 8, 1, 2, 4, 1 }, { "8,sockets=2,threads=2", 8, 2, 1, 2, 2 },
        { "8,cores=2,threads=2", 8, 2, 1, 2, 2 }, { "8,sockets=2,cores=2", 8, 2, 1, 2, 2 },
        { "12,sockets=3,dies=2", 12, 3, 2, 2, 1 }, { "12,sockets=3,dies=2,threads=2", 12, 3, 2, 1, 2 },
        { "5,maxcpus=8,cores=2", 8, 4, 1, 2, 1 }, { "8,sockets=2,dies=2,cores=2,threads=1", 8, 2, 2, 2, 1 },
        { "sockets=3,cores=3,threads=2", 18, 3, 1, 3, 2 }, { "3,maxcpus=6,sockets=3,threads=2", 6, 3, 1, 1, 2 },
        { "sockets=2,maxcpus=8", 8, 2, 1, 4, 1 }, { "threads=2,maxcpus=6", 6, 1, 1, 3, 2 },
        { "cores=2,dies=2", 4, 1, 2, 2, 1 }, { "16,dies=4,cores=2", 16, 2, 4, 2, 1 },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *line = g_strdup_printf("smp %s", cases[i].line);
        struct topology t = topology_of(line);
        struct smp s;

        g_assert_true(smp_derive(&t.smp, &s, NULL));
        g_assert_cmpuint(s.maxcpus, ==, cases[i].max);
        g_assert_cmpuint(s.levels[SMP_SOCKETS], ==, cases[i].sockets);
        g_assert_cmpuint(s.levels[SMP_DIES], ==, cases[i].dies);
        g_assert_cmpuint(s.levels[SMP_CORES], ==, cases[i].cores);
        g_assert_cmpuint(s.levels[SMP_THREADS], ==, cases[i].threads);
    }
}

/* The same lines' refusals by QEMU 7.2. */
static void
levels_that_do_not_fit_are_refused_as_in_qemu(void)
{
#define MATCH "Invalid CPU topology: product of the hierarchy must match maxcpus: "
    static const struct { const char *line, *words; } cases[] = {
        { "6,sockets=4", MATCH "sockets (4) * dies (1) * cores (1) * threads (1) != maxcpus (6)" },
        { "9,cores=2", MATCH "sockets (4) * dies (1) * cores (2) * threads (1) != maxcpus (9)" },
        { "7,threads=2", MATCH "sockets (1) * dies (1) * cores (3) * threads (2) != maxcpus (7)" },
        { "2,sockets=4", MATCH "sockets (4) * dies (1) * cores (0) * threads (1) != maxcpus (2)" },
        { "4,sockets=2,dies=2,cores=2,threads=2,maxcpus=12",
          MATCH "sockets (2) * dies (2) * cores (2) * threads (2) != maxcpus (12)" },
        { "9,sockets=2,cores=2,threads=2", MATCH "sockets (2) * dies (1) * cores (2) * threads (2) != maxcpus (9)" },
        { "8,maxcpus=4", "Invalid CPU topology: maxcpus must be equal to or greater than smp: "
          "sockets (1) * dies (1) * cores (4) * threads (1) == maxcpus (4) < smp_cpus (8)" },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *line = g_strdup_printf("smp %s", cases[i].line);
        refused("smp 2", line, ARGUMENT, cases[i].words);
    }
}

/* apic-id of each CPU of QEMU 7.2 with -smp sockets=3,dies=2,cores=3,threads=2. */
static void
apic_ids_have_each_level_in_its_own_bits(void)
{
    static const unsigned socket[] = { 0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 13 };
    struct topology t = topology_of("smp sockets=3,dies=2,cores=3,threads=2");
    struct smp s;

    g_assert_true(smp_derive(&t.smp, &s, NULL));
    for (unsigned cpu = 0; cpu < s.maxcpus; cpu++) {
        struct cpu_place p = smp_place(&s, cpu);

        g_assert_cmpuint(smp_apic_id(&s, cpu), ==, cpu / 12 * 16 + socket[cpu % 12]);
        g_assert_cmpuint(((p.socket * 2 + p.die) * 3 + p.core) * 2 + p.thread, ==, cpu);
    }
    t = topology_of("smp sockets=3,cores=3,threads=2");
    g_assert_true(smp_derive(&t.smp, &s, NULL));
    g_assert_cmpuint(smp_apic_id(&s, 5), ==, 5);
    g_assert_cmpuint(smp_apic_id(&s, 6), ==, 8);
    g_assert_cmpuint(smp_apic_id(&s, 17), ==, 21);
}

/* Modules lie between dies and cores; an id of theirs is a key where a die has several. */
static void
modules_are_a_level(void)
{
    struct topology t = topology_of("smp 24,sockets=2,modules=3,threads=2\nnode mem=64M\nnode mem=64M\n"
                                    "cpu node-id=1,module-id=2\ncpu node-id=0,module-id=0,core-id=1");
    struct smp s;

    g_assert_true(smp_derive(&t.smp, &s, NULL));
    g_assert_cmpuint(s.levels[SMP_MODULES], ==, 3);
    g_assert_cmpuint(s.levels[SMP_CORES], ==, 2);
    for (unsigned cpu = 0; cpu < s.maxcpus; cpu++) {
        struct cpu_place p = smp_place(&s, cpu);

        g_assert_cmpuint(((p.socket * 3 + p.module) * 2 + p.core) * 2 + p.thread, ==, cpu);
        g_assert_cmpuint(smp_apic_id(&s, cpu), ==, p.socket << 4 | p.module << 2 | p.core << 1 | p.thread);
        g_assert_cmpint(t.cpu_node[cpu], ==, p.module == 2 ? 1 : p.module == 0 && p.core == 1 ? 0 : -1);
    }
    refused("smp 4,modules=2", "smp 9,modules=2", ARGUMENT, MATCH
            "sockets (1) * dies (1) * modules (2) * cores (4) * threads (1) != maxcpus (9)");
}

/* The place that is spelled for a slot names that slot; only its own node is right for it, and only while it is
 * free. */
static void
every_slot_is_found_by_its_place(void)
{
    static const char *const lines[] = {
        "smp 1,maxcpus=24,sockets=2,modules=3,threads=2\nnode mem=64M\nnode mem=64M",
        "smp 2,sockets=3,dies=2,cores=3,threads=2,maxcpus=36\nnode mem=64M\nnode mem=64M\ncpu node-id=1,thread-id=1",
        "smp 1,maxcpus=128",
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(lines); i++) {
        struct topology t = topology_of(lines[i]);
        struct smp s;

        g_assert_true(smp_derive(&t.smp, &s, NULL));
        for (unsigned slot = 0; slot < s.maxcpus; slot++) {
            uint64_t taken[WORDS_FOR(TOPOLOGY_CPUS)] = { 0 };
            g_autoptr(GString) place = g_string_new(NULL);
            unsigned node = (unsigned)MAX(topology_cpu_node(&t, slot), 0), found = UINT_MAX;

            smp_spell_place(&s, slot, place);
            g_string_append_printf(place, ",node-id=%u", node);
            g_autoptr(values) v = property_parse_options(cpu_plug_properties, -1, place->str, NULL);
            g_assert_true(topology_find_slot(&t, taken, v, &found, NULL));
            g_assert_cmpuint(found, ==, slot);
            v->at[PLUG_P_NODE].number = node + 1;
            g_assert_false(topology_find_slot(&t, taken, v, &found, NULL));
            v->at[PLUG_P_NODE].number = node;
            bit_set(taken, slot);
            g_assert_false(topology_find_slot(&t, taken, v, &found, NULL));
        }
    }
}

/* --- check ------------------------------------------------------------------------------------------------------ */

static char *
problems_of(const struct topology *t, uint64_t ram)
{
    g_autoptr(GPtrArray) problems = g_ptr_array_new_with_free_func((GDestroyNotify)problem_free);
    GString *text = g_string_new(NULL);

    topology_check(t, ram, "memory N", fakes, problems);
    for (guint i = 0; i < problems->len; i++) {
        const struct problem *p = problems->pdata[i];

        g_string_append_printf(text, "%s -> %s\n", p->text, p->remedy);
    }
    return g_string_free(text, FALSE);
}

static void
expect_problems(const char *lines, uint64_t ram, const char *wanted)
{
    struct topology t = topology_of(lines);
    g_autofree char *found = problems_of(&t, ram);

    g_assert_cmpstr(found, ==, wanted);
}

#define ONE_DISTANCE(a, b)                                                                                           \
    "The distance between node " #a " and " #b " is missing, at least one distance value between each nodes should " \
    "be provided. -> numa dist,src=" #a ",dst=" #b ",val=20\n"
#define BOTH(a, b, val)                                                                                              \
    "The distance from node " #a " to " #b " is missing: At least one asymmetrical pair of distances is given, "     \
    "please provide distances for both directions of all node pairs. -> numa "                                       \
    "dist,src=" #a ",dst=" #b ",val=" #val "\n"
#define THREE "node mem=64M\nnode mem=64M\nnode mem=64M"

static void
check_lists_every_problem(void)
{
    expect_problems("", 128 * MIB, "");
    expect_problems("node mem=64M\nnode mem=64M", 128 * MIB, "");
    expect_problems("node nodeid=3,mem=64M\nnode nodeid=1,mem=64M", 256 * MIB,
                    "total memory for NUMA nodes (0x8000000) should equal RAM size (0x10000000) -> memory N\n"
                    "numa: Node ID missing: 0 -> numa node,nodeid=0\n"
                    "numa: Node ID missing: 2 -> numa node,nodeid=2\n");
    expect_problems(THREE "\ndist src=0,dst=1,val=20", 192 * MIB, ONE_DISTANCE(0, 2) ONE_DISTANCE(1, 2));
    expect_problems(THREE "\ndist src=0,dst=1,val=20\ndist src=1,dst=0,val=21\ndist src=2,dst=0,val=30", 192 * MIB,
                    BOTH(0, 2, 30) ONE_DISTANCE(1, 2) BOTH(2, 1, 20));
    expect_problems(THREE "\ndist src=0,dst=0,val=10", 192 * MIB,
                    ONE_DISTANCE(0, 1) ONE_DISTANCE(0, 2) ONE_DISTANCE(1, 2));
}

static void
a_missing_node_comes_with_its_distances(void)
{
    expect_problems("node nodeid=0,mem=64M\nnode nodeid=2,mem=64M\ndist src=0,dst=2,val=21", 128 * MIB,
                    "numa: Node ID missing: 1 -> numa node,nodeid=1\n"
                    "numa dist,src=0,dst=1,val=20\nnuma dist,src=2,dst=1,val=20\n");
}

static void
resizing_makes_equal_nodes_and_keeps_the_rest(void)
{
    struct topology t = topology_of("smp 4\nnode nodeid=1,cpus=0,cpus=2\nnode nodeid=0,cpus=1\n"
                                    "dist src=0,dst=1,val=15");
    g_autofree char *commands = topology_resize_commands(&t, 33 * MIB);

    g_assert_cmpstr(commands, ==, "numa_del node 1\nnuma_del node 0\n"
                    "numa node,nodeid=1,cpus=0,cpus=2,mem=16M\nnuma node,nodeid=0,cpus=1,mem=17M\n"
                    "numa dist,src=0,dst=1,val=15");
}

/* --- completing ------------------------------------------------------------------------------------------------- */

static void
distances_are_mirrored_only_where_one_is_missing(void)
{
    struct topology t = topology_of(TWO "\ndist src=1,dst=0,val=21");
    struct topology_final final;
    unsigned value;

    g_assert_cmpint(topology_distance(&t, 1, 0, &value), ==, DISTANCE_GIVEN);
    g_assert_cmpint(topology_distance(&t, 0, 1, &value), ==, DISTANCE_MIRRORED);
    g_assert_cmpuint(value, ==, 21);
    g_assert_cmpint(topology_distance(&t, 0, 0, &value), ==, DISTANCE_DEFAULT);
    g_assert_cmpuint(value, ==, 10);
    topology_complete(&t, 128 * MIB, fakes, &final);
    g_assert_true(final.has_distances);
    g_assert_cmpuint(final.distance[0][1], ==, 21);
    g_assert_cmpuint(final.distance[1][0], ==, 21);
    g_assert_cmpuint(final.distance[1][1], ==, 10);
    enter(&t, "dist src=0,dst=1,val=31");
    topology_complete(&t, 128 * MIB, fakes, &final);
    g_assert_cmpuint(final.distance[0][1], ==, 31);
    g_assert_cmpuint(final.distance[1][0], ==, 21);
    t = topology_of(TWO);
    g_assert_cmpint(topology_distance(&t, 0, 1, &value), ==, DISTANCE_MISSING);
    topology_complete(&t, 128 * MIB, fakes, &final);
    g_assert_false(final.has_distances);
}

static void
expect_cpu_nodes(const char *lines, const char *wanted, const char *warned)
{
    struct topology t = topology_of(lines);
    struct topology_final final;
    g_autoptr(GPtrArray) warnings = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GString) found = g_string_new(NULL), now = g_string_new(NULL);

    topology_complete(&t, topology_memory(&t, fakes), fakes, &final);
    for (unsigned cpu = 0; cpu < final.smp.maxcpus; cpu++) {
        g_string_append_printf(found, "%u", final.cpu_node[cpu]);
        g_string_append_printf(now, "%d", topology_cpu_node(&t, cpu));
    }
    g_assert_cmpstr(found->str, ==, wanted);
    g_assert_cmpstr(now->str, ==, wanted);
    topology_warnings(&t, warnings);
    g_ptr_array_add(warnings, NULL);
    g_autofree char *all = g_strjoinv("\n", (char **)warnings->pdata);
    g_assert_cmpstr(all, ==, warned);
}

#define DIVIDED(cpus, others, socket, node, other) \
    "CPU(s) " cpus " and CPU(s) " others " in socket-" #socket " have been associated with node-" #node " and node-" \
    #other " respectively. It can cause OSes like Linux to misbehave"

static void
cpus_go_where_qemu_puts_them(void)
{
    expect_cpu_nodes("smp 4\nnode mem=1M\nnode mem=1M", "0000", "");
    expect_cpu_nodes("smp 6,sockets=3\nnode mem=1M\nnode mem=1M", "001100", "");
    expect_cpu_nodes("smp 4,sockets=2\nnode mem=1M\nnode mem=1M,cpus=0", "1000",
                     "CPU(s) not present in any NUMA nodes: CPU 1 [socket-id: 0, core-id: 1, thread-id: 0], "
                     "CPU 2 [socket-id: 1, core-id: 0, thread-id: 0], CPU 3 [socket-id: 1, core-id: 1, "
                     "thread-id: 0]; they will be in node 0\n" DIVIDED("0", "1", 0, 1, 0));
    expect_cpu_nodes("smp 8,sockets=2,threads=2\nnode mem=1M\nnode mem=1M\ncpu node-id=1,thread-id=1\n"
                     "cpu node-id=0,thread-id=0", "01010101", DIVIDED("0,2", "1,3", 0, 0, 1) "\n"
                     DIVIDED("4,6", "5,7", 1, 0, 1));
    expect_cpu_nodes("smp 5\nnode mem=1M,cpus=1-2\nnode mem=1M,cpus=0,cpus=4\nnode mem=1M,cpus=3", "10021",
                     DIVIDED("0,4", "1-2", 0, 1, 0) "\n" DIVIDED("0,4", "3", 0, 1, 2) "\n"
                     DIVIDED("1-2", "3", 0, 0, 2));
    expect_cpu_nodes("smp 6\nnode mem=1M,cpus=0\nnode cpus=1\nnode cpus=2\nnode cpus=3\nnode cpus=4\nnode cpus=5",
                     "012345", "the CPUs in socket-0 have been associated with 6 nodes. It can cause OSes like Linux "
                     "to misbehave");
}

static void
a_wildcard_takes_every_cpu(void)
{
    struct topology t = topology_of("smp 8,sockets=1,dies=2,cores=4\nnode mem=1M\nnode mem=1M\n"
                                    "cpu node-id=1,die-id=1,core-id=2\ncpu node-id=1,die-id=1\ncpu "
                                    "node-id=0,die-id=0");

    for (unsigned cpu = 0; cpu < 8; cpu++)
        g_assert_cmpint(t.cpu_node[cpu], ==, cpu / 4);
    enter(&t, "uncpu core-id=0");
    for (unsigned cpu = 0; cpu < 8; cpu++)
        g_assert_cmpint(t.cpu_node[cpu], ==, cpu % 4 ? (int)cpu / 4 : -1);
    enter(&t, "uncpu node-id=1");
    g_assert_cmpint(t.cpu_node[5], ==, -1);
    g_assert_cmpint(t.cpu_node[1], ==, 0);
}

static void
without_nodes_there_is_no_numa(void)
{
    struct topology t = topology_of("smp 4");
    struct topology_final final;

    topology_complete(&t, 128 * MIB, fakes, &final);
    g_assert_cmpuint(final.node_count, ==, 0);
    g_assert_cmpuint(final.smp.cpus, ==, 4);
    g_assert_cmpint(topology_cpu_node(&t, 0), ==, -1);
}

/* --- taking back ------------------------------------------------------------------------------------------------ */

static void
everything_can_be_taken_back(void)
{
    struct topology t = topology_of(TWO "\ndist src=0,dst=1,val=20\ncpu node-id=1,socket-id=1"), empty;
    g_autoptr(GError) error = NULL;

    g_assert_true(topology_delete_distance(&t, 0, 1, NULL));
    g_assert_false(topology_has_distances(&t));
    g_assert_false(topology_delete_distance(&t, 0, 1, &error));
    g_assert_cmpstr(error->message, ==, "cannot delete the distance from node 0 to node 1: none was given");
    g_clear_error(&error);
    enter(&t, "dist src=0,dst=1,val=20\ndist src=1,dst=0,val=20");
    g_assert_true(topology_delete_node(&t, 1, NULL));
    g_assert_false(topology_has_distances(&t));
    g_assert_cmpint(t.cpu_node[2], ==, -1);
    g_assert_false(topology_delete_node(&t, 1, &error));
    g_assert_cmpstr(error->message, ==, "cannot delete NUMA node 1: it is not declared");
    g_assert_false(topology_delete_node(&t, 128, NULL));
    g_assert_true(topology_delete_node(&t, 0, NULL));
    empty = topology_of("smp 4,sockets=2");
    g_assert_true(topology_equal(&t, &empty));
}

static void
saving_keeps_the_order_of_creation(void)
{
    struct topology t = topology_of("smp 8,sockets=2,maxcpus=8\nnode nodeid=2,cpus=0-2,cpus=7,memdev=m2\n"
                                    "node nodeid=0,memdev=m0\nnode nodeid=1\ndist src=2,dst=0,val=30\n"
                                    "dist src=0,dst=0,val=10");
    g_autoptr(GString) out = g_string_new(NULL);

    topology_save_smp(&t, out);
    topology_save_numa(&t, out);
    g_assert_cmpstr(out->str, ==, "smp 8,sockets=2,maxcpus=8\n"
                    "numa node,nodeid=2,cpus=0-2,cpus=7,memdev=m2\nnuma node,nodeid=0,memdev=m0\n"
                    "numa node,nodeid=1\nnuma dist,src=0,dst=0,val=10\nnuma dist,src=2,dst=0,val=30\n");
}

static void
all_128_nodes_with_a_full_matrix_work(void)
{
    struct topology t = topology_of("smp 128,sockets=128");
    struct topology_final final;

    for (unsigned i = 0; i < TOPOLOGY_NODES; i++)
        enter(&t, "node mem=1M");
    refused(TWO, "node nodeid=128", LIMIT, "Max number of NUMA nodes reached: 128");
    for (unsigned src = 0; src < TOPOLOGY_NODES; src++) {
        for (unsigned dst = 0; dst < TOPOLOGY_NODES; dst++) {
            g_autofree char *line = g_strdup_printf("dist src=%u,dst=%u,val=%u", src, dst,
                                                    src == dst ? 10 : 11 + (src * 3 + dst) % 244);
            enter(&t, line);
        }
    }
    g_autofree char *problems = problems_of(&t, 128 * MIB);
    g_assert_cmpstr(problems, ==, "");
    topology_complete(&t, 128 * MIB, fakes, &final);
    g_assert_cmpuint(final.cpu_node[127], ==, 127);
    g_assert_cmpuint(final.distance[127][126], ==, 11 + (127 * 3 + 126) % 244);
}

int
main(int argc, char **argv)
{
    main_thread_claim();
    g_test_init(&argc, &argv, NULL);
#define ADD(f) g_test_add_func("/topology/" #f, f)
    ADD(refusals_use_qemus_words_and_change_nothing);
    ADD(levels_follow_as_in_qemu);
    ADD(levels_that_do_not_fit_are_refused_as_in_qemu);
    ADD(apic_ids_have_each_level_in_its_own_bits);
    ADD(modules_are_a_level);
    ADD(every_slot_is_found_by_its_place);
    ADD(check_lists_every_problem);
    ADD(a_missing_node_comes_with_its_distances);
    ADD(resizing_makes_equal_nodes_and_keeps_the_rest);
    ADD(distances_are_mirrored_only_where_one_is_missing);
    ADD(cpus_go_where_qemu_puts_them);
    ADD(a_wildcard_takes_every_cpu);
    ADD(without_nodes_there_is_no_numa);
    ADD(everything_can_be_taken_back);
    ADD(saving_keeps_the_order_of_creation);
    ADD(all_128_nodes_with_a_full_matrix_work);
    return g_test_run();
}
