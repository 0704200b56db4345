/* SPDX-License-Identifier: GPL-3.0-or-later */
/* RAM divided between nodes without sizes: QEMU's two ways, against values worked out by hand. */
#include "topology.h"

#include "config.h"

enum { MOST = 8 };

struct split_case { uint64_t bytes; unsigned count; uint64_t legacy[MOST], carried[MOST]; };

/* Sizes in MiB.  1024 by 6: a sixth is rounded down to bytes, so the third node's due is 2 bytes below 176 MiB. */
static const struct split_case whole[] = {
    { 1024, 1, { 1024 }, { 1024 } },
    { 1024, 2, { 512, 512 }, { 512, 512 } },
    { 1024, 3, { 336, 336, 352 }, { 336, 344, 344 } },
    { 1024, 4, { 256, 256, 256, 256 }, { 256, 256, 256, 256 } },
    { 1024, 5, { 200, 200, 200, 200, 224 }, { 200, 208, 200, 208, 208 } },
    { 1024, 6, { 168, 168, 168, 168, 168, 184 }, { 168, 168, 168, 176, 168, 176 } },
    { 1024, 7, { 144, 144, 144, 144, 144, 144, 160 }, { 144, 144, 144, 152, 144, 144, 152 } },
    { 1024, 8, { 128, 128, 128, 128, 128, 128, 128, 128 }, { 128, 128, 128, 128, 128, 128, 128, 128 } },
    { 1000, 1, { 1000 }, { 1000 } },
    { 1000, 2, { 496, 504 }, { 496, 504 } },
    { 1000, 3, { 328, 328, 344 }, { 328, 336, 336 } },
    { 1000, 4, { 248, 248, 248, 256 }, { 248, 248, 248, 256 } },
    { 1000, 5, { 200, 200, 200, 200, 200 }, { 200, 200, 200, 200, 200 } },
    { 1000, 8, { 120, 120, 120, 120, 120, 120, 120, 160 }, { 120, 128, 120, 128, 128, 120, 128, 128 } },
    { 20, 3, { 0, 0, 20 }, { 0, 8, 12 } },
    { 7, 2, { 0, 7 }, { 0, 7 } },
};

static void
check_way(enum auto_assign how, uint64_t unit, uint64_t extra, const struct split_case *c, const uint64_t *wanted)
{
    uint64_t sizes[MOST];

    topology_split(how, c->bytes * unit + extra, c->count, sizes);
    for (unsigned i = 0; i < c->count; i++)
        g_assert_cmpuint(sizes[i], ==, wanted[i] * unit + (i + 1 == c->count ? extra : 0));
}

static void
splits_are_qemus(void)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(whole); i++) {
        check_way(AUTO_ASSIGN_LEGACY, MIB, 0, &whole[i], whole[i].legacy);
        check_way(AUTO_ASSIGN_DEFAULT, MIB, 0, &whole[i], whole[i].carried);
    }
}

/* One page more than 129 MiB: what is no whole step is the last node's. */
static void
rests_below_a_step_go_to_the_last(void)
{
    static const struct split_case odd = { 129, 2, { 64, 65 }, { 64, 65 } };

    check_way(AUTO_ASSIGN_LEGACY, MIB, PAGE_SIZE, &odd, odd.legacy);
    check_way(AUTO_ASSIGN_DEFAULT, MIB, PAGE_SIZE, &odd, odd.carried);
}

/* --- which definitions are divided ------------------------------------------------------------------------------ */

static void
enter(struct definition *d, const struct property *table, int implied, const char *text,
      bool (*edit)(struct definition *d, const struct values *v, GError **error))
{
    GError *error = NULL;
    g_autoptr(values) v = property_parse_options(table, implied, text, &error);

    g_assert_no_error(error);
    edit(d, v, &error);
    g_assert_no_error(error);
}

static void
node(struct definition *d, const char *text)
{
    enter(d, node_properties, -1, text, definition_add_node);
}

static void
expect_sizes(const struct definition *d, unsigned made, unsigned count, const uint64_t *mib)
{
    struct topology t;
    struct topology_final final;

    g_assert_cmpuint(definition_topology(d, &t), ==, made);
    definition_complete(d, &final);
    g_assert_cmpuint(final.node_count, ==, count);
    for (unsigned i = 0; i < count; i++)
        g_assert_cmpuint(final.node_size[i], ==, mib[i] * MIB);
}

static void
only_nodes_without_any_size_are_divided(void)
{
    g_autoptr(definition) d = definition_new();

    enter(d, memory_properties, MEMORY_P_SIZE, "1000", definition_set_memory);
    node(d, "nodeid=2");
    node(d, "nodeid=0");
    node(d, "nodeid=1");
    expect_sizes(d, TOPOLOGY_SPLIT, 3, (const uint64_t[]) { 328, 336, 336 });
    enter(d, machine_properties, -1, "numa-auto-assign=legacy", definition_set_machine);
    expect_sizes(d, TOPOLOGY_SPLIT, 3, (const uint64_t[]) { 328, 328, 344 });
    node(d, "mem=1000M");
    expect_sizes(d, 0, 4, (const uint64_t[]) { 0, 0, 0, 1000 });
}

static void
off_leaves_the_problem(void)
{
    g_autoptr(definition) d = definition_new();
    g_autoptr(GPtrArray) problems = NULL;

    node(d, "nodeid=0");
    enter(d, machine_properties, -1, "numa-auto-assign=off", definition_set_machine);
    problems = definition_check(d);
    g_assert_cmpuint(problems->len, ==, 1);
    g_assert_cmpstr(((struct problem *)problems->pdata[0])->text, ==,
                    "total memory for NUMA nodes (0x0) should equal RAM size (0x8000000)");
}

static void
slots_or_the_option_make_one_node(void)
{
    g_autoptr(definition) d = definition_new();

    expect_sizes(d, 0, 0, NULL);
    enter(d, machine_properties, -1, "auto-enable-numa=on", definition_set_machine);
    expect_sizes(d, TOPOLOGY_IMPLICIT, 1, (const uint64_t[]) { 128 });
    enter(d, machine_properties, -1, "auto-enable-numa=off", definition_set_machine);
    enter(d, memory_properties, MEMORY_P_SIZE, "64,maxmem=128", definition_set_memory);
    expect_sizes(d, 0, 0, NULL);
    enter(d, memory_properties, MEMORY_P_SIZE, "64,maxmem=128,slots=1", definition_set_memory);
    expect_sizes(d, TOPOLOGY_IMPLICIT, 1, (const uint64_t[]) { 64 });
    node(d, "nodeid=0");
    node(d, "nodeid=1");
    expect_sizes(d, TOPOLOGY_SPLIT, 2, (const uint64_t[]) { 32, 32 });
}

int
main(int argc, char **argv)
{
    main_thread_claim();
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/split/qemu", splits_are_qemus);
    g_test_add_func("/split/rests", rests_below_a_step_go_to_the_last);
    g_test_add_func("/split/which", only_nodes_without_any_size_are_divided);
    g_test_add_func("/split/off", off_leaves_the_problem);
    g_test_add_func("/split/implicit", slots_or_the_option_make_one_node);
    return g_test_run();
}
