/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The way back through a definition's changes: every state comes back exactly, in both directions, at any depth. */
#include "config.h"

#include <malloc.h>
#include <string.h>

typedef bool edit_function(struct definition *d, const struct values *v, GError **error);

static bool
add_backend(struct definition *d, const struct values *v, GError **error)
{
    return definition_add_backend(d, BACKEND_RAM, v, error);
}

static bool
delete_node(struct definition *d, const struct values *v, GError **error)
{
    return definition_delete_node(d, (unsigned)v->at[DIST_P_SRC].number, error);
}

static bool
add_dimm(struct definition *d, const struct values *v, GError **error)
{
    return definition_add_device(d, DEVICE_DIMM, v, error);
}

static bool
delete_device(struct definition *d, const struct values *v, GError **error)
{
    return definition_delete_device(d, v->at[0].word, error);
}

static const struct property device_id[] = { { "id", PROPERTY_WORD, .required = true }, { 0 } };
static const struct property node_id[] = { { "src", PROPERTY_UINT, .max = 127, .required = true }, { 0 } };

static const struct line { const struct property *table; int implied; edit_function *edit; const char *text; }
lines[] = {
    { machine_properties, -1, definition_set_machine, "hmat=on" },
    { smp_properties, SMP_P_CPUS, definition_set_smp, "4,sockets=2" },
    { backend_ram_properties, -1, add_backend, "id=m0,size=64M" },
    { backend_ram_properties, -1, add_backend, "id=m1,size=64M" },
    { node_properties, -1, definition_add_node, "cpus=0-1,memdev=m0" },
    { node_properties, -1, definition_add_node, "cpus=2-3,memdev=m1" },
    { dist_properties, -1, definition_set_distance, "src=0,dst=1,val=21" },
    { hmat_lb_properties, -1, definition_add_hmat_lb,
      "initiator=0,target=1,hierarchy=memory,data-type=access-latency,latency=10" },
    { hmat_lb_properties, -1, definition_add_hmat_lb,
      "initiator=0,target=1,hierarchy=memory,data-type=access-bandwidth,bandwidth=1G" },
    { hmat_lb_properties, -1, definition_add_hmat_lb,
      "initiator=0,target=0,hierarchy=memory,data-type=access-latency,latency=5" },
    { hmat_cache_properties, -1, definition_add_hmat_cache,
      "node-id=1,size=1M,level=1,associativity=direct,policy=none,line=64" },
    { memory_properties, MEMORY_P_SIZE, definition_set_memory, "128M" },
    { dist_properties, -1, definition_set_distance, "src=0,dst=1,val=31" },
    { node_id, -1, delete_node, "src=1" },
    { accel_properties, ACCEL_P_ACCEL, definition_set_accel, "synthetic" },
    { memory_properties, MEMORY_P_SIZE, definition_set_memory, "128M,slots=4,maxmem=1G" },
    { backend_ram_properties, -1, add_backend, "id=d0,size=64M" },
    { backend_ram_properties, -1, add_backend, "id=d1,size=64M" },
    { dimm_properties, -1, add_dimm, "memdev=d0,id=x" },
    { dimm_properties, -1, add_dimm, "memdev=d1,id=y" },
    { device_id, 0, delete_device, "x" },
    { dimm_properties, -1, add_dimm, "memdev=d0,id=z" },
};

static struct definition *
changed(const struct definition *d, const struct line *l)
{
    GError *error = NULL;
    g_autoptr(values) v = property_parse_options(l->table, l->implied, l->text, &error);
    struct definition *copy = definition_copy(d);

    g_assert_no_error(error);
    l->edit(copy, v, &error);
    g_assert_no_error(error);
    return copy;
}

static void
every_state_comes_back(void)
{
    struct definition *states[G_N_ELEMENTS(lines) + 1] = { definition_new() };
    struct undo *u = undo_new();
    guint count = G_N_ELEMENTS(lines);
    struct definition *now;

    for (guint i = 0; i < count; i++) {
        states[i + 1] = changed(states[i], &lines[i]);
        undo_record(u, states[i], states[i + 1]);
        undo_record(u, states[i + 1], states[i + 1]);
        g_assert_cmpuint(undo_depth(u, true), ==, i + 1);
    }
    now = definition_copy(states[count]);
    for (unsigned round = 0; round < 2; round++) {
        for (guint i = count; i-- > 0;) {
            struct definition *d = undo_back(u, now);

            g_assert_true(definition_equal(d, states[i]));
            definition_free(now);
            now = d;
        }
        g_assert_null(undo_back(u, now));
        for (guint i = 0; i < count; i++) {
            struct definition *d = undo_forth(u, now);

            g_assert_true(definition_equal(d, states[i + 1]));
            definition_free(now);
            now = d;
        }
        g_assert_null(undo_forth(u, now));
    }
    definition_free(now);
    for (guint i = 0; i <= count; i++)
        definition_free(states[i]);
    undo_free(u);
}

static void
a_change_ends_the_way_forth(void)
{
    g_autoptr(definition) empty = definition_new(), one = changed(empty, &lines[0]),
        other = changed(empty, &lines[1]);
    struct undo *u = undo_new();
    g_autoptr(definition) back = NULL;

    undo_record(u, empty, one);
    back = undo_back(u, one);
    g_assert_cmpuint(undo_depth(u, false), ==, 1);
    undo_record(u, back, other);
    g_assert_cmpuint(undo_depth(u, false), ==, 0);
    g_assert_cmpuint(undo_depth(u, true), ==, 1);
    undo_free(u);
}

/* A machine that is given memory and relieved of it all day long. */
static void
steps_do_not_pile_up(void)
{
    enum { TURNS = 2000 };
    g_autoptr(definition) d = definition_new();
    struct undo *u = undo_new();
    size_t before = mallinfo2().uordblks;

    for (unsigned i = 0; i < 3; i++) {
        struct definition *next = changed(d, &lines[G_N_ELEMENTS(lines) - 7 + i]);

        definition_free(d);
        d = next;
    }
    for (unsigned turn = 0; turn < TURNS; turn++) {
        g_autoptr(definition) with = changed(d, &lines[G_N_ELEMENTS(lines) - 4]);

        undo_record(u, d, with);
        undo_record(u, with, d);
    }
    g_assert_cmpuint(undo_depth(u, true), ==, 2 * TURNS);
    g_assert_cmpuint(mallinfo2().uordblks - before, <, 2 * TURNS * 2048);
    /* Nor those that change much. */
    for (unsigned turn = 0; turn < TURNS; turn++) {
        g_autoptr(definition) other = changed(d, &lines[11]);

        undo_record(u, d, other);
        undo_record(u, other, d);
    }
    g_assert_cmpuint(undo_depth(u, true), >, 50);
    g_assert_cmpuint(mallinfo2().uordblks - before, <, 24 * MIB);
    undo_free(u);
}

int
main(int argc, char **argv)
{
    main_thread_claim();
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/undo/states", every_state_comes_back);
    g_test_add_func("/undo/steps-do-not-pile-up", steps_do_not_pile_up);
    g_test_add_func("/undo/forth", a_change_ends_the_way_forth);
    return g_test_run();
}
