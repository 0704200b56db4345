/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Memory devices of machines in one process: they come while the guest moves from one to the other and back; the map
 * tells who follows it; and a reset that the guest asks for meanwhile is done once. */
#include "machine-bench.h"

#include <string.h>

/* --- the world -------------------------------------------------------------------------------------------------- */

struct ended { bool done; char *error; };

static void
note_end(void *self, const GError *error)
{
    struct ended *e = self;

    *e = (struct ended) { true, error ? g_strdup(error->message) : NULL };
}

static void
note_guest(void *self, const char *text)
{
    struct world *w = self;

    w->resets += strcmp(text, "the guest reset itself") == 0;
}

static struct values *
parsed(const struct property *table, int implied, const char *text)
{
    g_autoptr(GError) error = NULL;
    struct values *v = property_parse_options(table, implied, text, &error);

    g_assert_no_error(error);
    return v;
}

static struct machine *
machine_of(struct world *w)
{
    struct machine_events events = { .self = w, .guest = note_guest };
    struct machine *m = machine_new(w->mailbox, w->jobs, &events);
    struct definition *d = definition_new();
    g_autoptr(values) memory = parsed(memory_properties, MEMORY_P_SIZE, "32M,slots=8,maxmem=4G");
    g_autoptr(values) accel = parsed(accel_properties, ACCEL_P_ACCEL, "synthetic");
    g_autoptr(values) workload = property_parse_pairs(workload_properties, "pattern=random rate=5000 size=2M", NULL);
    g_autoptr(GError) error = NULL;

    g_assert_true(definition_set_memory(d, memory, NULL) && definition_set_accel(d, accel, NULL) &&
                  definition_set_workload(d, workload, NULL));
    g_assert_true(machine_define(m, d, &error));
    world_build(w, m);
    return m;
}

/* Adds backend and device; "" or why not. */
static char *
add(struct world *w, struct machine *m, enum memory_device_kind kind, const char *backend, const char *device)
{
    g_autoptr(values) of_backend = parsed(backend_ram_properties, -1, backend);
    g_autoptr(values) of_device = parsed(memory_device_properties(kind), -1, device);
    struct definition *d = definition_copy(machine_definition(m));
    g_autoptr(GError) error = NULL;
    struct ended e = { 0 };

    g_assert_true(definition_add_backend(d, BACKEND_RAM, of_backend, NULL));
    if (!machine_define_backends(m, d, &error) || !machine_device_add(m, kind, of_device, note_end, &e, &error))
        return g_strdup(error->message);
    loop_until(w, e.done);
    return e.error ? e.error : g_strdup("");
}

static void
assert_added(struct world *w, struct machine *m, enum memory_device_kind kind, const char *backend,
             const char *device)
{
    g_autofree char *error = add(w, m, kind, backend, device);

    g_assert_cmpstr(error, ==, "");
}

/* --- moving ----------------------------------------------------------------------------------------------------- */

static uint64_t
syncs(struct machine *m)
{
    struct migrate_info info;
    uint64_t count;

    session_info(machine_session(m), &info);
    count = info.dirty_syncs;
    migrate_info_release(&info);
    return count;
}

static void
begin_move(struct world *w, struct machine *from, struct machine *to)
{
    const char *uri = to == w->a ? w->other_uri : w->uri;

    /* Less than the guest dirties. */
    g_assert_true(migrate_parameter_set(machine_parameters(from), "downtime-limit", "0", NULL));
    g_assert_true(migrate_parameter_set(machine_parameters(from), "max-bandwidth", "8M", NULL));
    g_assert_true(machine_incoming(to, uri, false, NULL));
    g_assert_true(machine_migrate(from, uri, NULL));
    loop_until(w, syncs(from) >= 2);
}

static void
end_move(struct world *w, struct machine *from, struct machine *to)
{
    uint64_t before;

    g_assert_true(migrate_parameter_set(machine_parameters(from), "downtime-limit", "2000", NULL));
    g_assert_true(migrate_parameter_set(machine_parameters(from), "max-bandwidth", "0", NULL));
    loop_until(w, migrate_state_ended(world_state(from)) && migrate_state_ended(world_state(to)));
    g_assert_cmpstr(migrate_state_name(world_state(from)), ==, "completed");
    loop_until(w, !machine_awaits_incoming(to));
    before = world_ticks(to);
    loop_until(w, world_ticks(to) >= before + 3);
}

static char *
content_of(struct machine *m, const char *block)
{
    const struct block *b = guest_map_find_block(machine_map(m), block);
    uint64_t used;

    g_assert_nonnull(b);
    used = atomic_load(&b->used);
    return used ? g_compute_checksum_for_data(G_CHECKSUM_SHA256, b->host, used) : g_strdup("none");
}

static void
fill(struct machine *m, const char *name)
{
    struct block *b = guest_map_find_block(machine_map(m), name);

    for (uint64_t i = 0; i < b->size; i += 4096 * 3)
        memset(b->host + i, (int)(i / 4096), 100);
    hub_mark(m->parts->hub, b, 0, b->page_count);
}

static void
assert_resized(struct machine *m, const char *name, uint64_t size)
{
    bool pending = false;

    g_assert_true(machine_device_resize(m, name, size, NULL, NULL, &pending, NULL));
    g_assert_false(pending);
}

/* What a growing device could not get whole is given back: that must be nobody's memory yet. */
static void
no_guest_is_awaited_while_memory_is_taken(void)
{
    g_autoptr(GError) error = NULL;
    struct ended grown = { 0 };
    bool pending = false;
    struct world w;

    world_open(&w, g_main_context_new());
    w.b = machine_of(&w);
    assert_added(&w, w.b, DEVICE_VIRTIO_MEM, "id=vm,size=64M", "id=v,memdev=vm,prealloc=on");
    g_assert_true(machine_device_resize(w.b, "v", 64 * MIB, note_end, &grown, &pending, NULL));
    g_assert_true(pending);
    g_assert_false(machine_incoming(w.b, w.uri, false, &error));
    g_assert_error(error, NUMON_ERROR, NUMON_ERROR_STATE);
    loop_until(&w, grown.done);
    g_assert_cmpstr(grown.error, ==, NULL);
    g_assert_true(machine_incoming(w.b, w.uri, false, NULL));
    world_close(&w);
}

static void
devices_join_a_move_and_the_next(void)
{
    static const char *const blocks[] = { "first", "second", "vm" };
    struct world w;

    world_open(&w, g_main_context_new());
    w.a = machine_of(&w);
    w.b = machine_of(&w);
    machine_cont(w.a, false, NULL);
    loop_until(&w, world_ticks(w.a) >= 3);
    begin_move(&w, w.a, w.b);
    assert_added(&w, w.a, DEVICE_DIMM, "id=first,size=8M", "id=x,memdev=first,slot=5");
    assert_added(&w, w.a, DEVICE_VIRTIO_MEM, "id=vm,size=16M", "id=v,memdev=vm,requested-size=4M");
    fill(w.a, "first");
    assert_resized(w.a, "v", 12 * MIB);
    fill(w.a, "vm");
    assert_resized(w.a, "v", 8 * MIB);
    g_assert_false(machine_device_delete(w.a, "x", NULL));
    end_move(&w, w.a, w.b);
    begin_move(&w, w.b, w.a);
    assert_added(&w, w.b, DEVICE_DIMM, "id=second,size=8M", "memdev=second");
    fill(w.b, "second");
    end_move(&w, w.b, w.a);
    for (unsigned i = 0; i < G_N_ELEMENTS(blocks); i++) {
        g_autofree char *here = content_of(w.a, blocks[i]), *there = content_of(w.b, blocks[i]);

        g_assert_cmpstr(here, ==, there);
    }
    g_assert_true(definition_equal(machine_definition(w.a), machine_definition(w.b)));
    g_assert_cmpuint(definition_plugged(machine_definition(w.a), -1), ==, 24 * MIB);
    g_assert_true(machine_device_delete(w.a, "x", NULL));
    world_close(&w);
}

/* The source ends it: its device stays, the destination's goes, and both do it all again. */
static void
a_cancelled_move_leaves_a_device_where_the_guest_is(void)
{
    struct world w;

    world_open(&w, g_main_context_new());
    w.a = machine_of(&w);
    w.b = machine_of(&w);
    machine_cont(w.a, false, NULL);
    loop_until(&w, world_ticks(w.a) >= 3);
    for (unsigned i = 0; i < 3; i++) {
        begin_move(&w, w.a, w.b);
        assert_added(&w, w.a, DEVICE_DIMM, "id=hot,size=8M", "id=x,memdev=hot");
        if (i)
            loop_until(&w, guest_map_find_block(machine_map(w.b), "hot"));
        g_assert_true(machine_migrate_cancel(w.a, NULL));
        loop_until(&w, migrate_state_ended(world_state(w.a)) && migrate_state_ended(world_state(w.b)));
        loop_until(&w, !guest_map_find_block(machine_map(w.b), "hot"));
        g_assert_null(definition_device(machine_definition(w.b), "x"));
        g_assert_null(definition_backend(machine_definition(w.b), "hot"));
        g_assert_nonnull(definition_device(machine_definition(w.a), "x"));
        g_assert_true(machine_device_delete(w.a, "x", NULL));
        struct definition *d = definition_copy(machine_definition(w.a));
        g_assert_true(definition_delete_backend(d, "hot", NULL));
        g_assert_true(machine_define_backends(w.a, d, NULL));
    }
    begin_move(&w, w.a, w.b);
    end_move(&w, w.a, w.b);
    world_close(&w);
}

/* --- resets ----------------------------------------------------------------------------------------------------- */

/* A vCPU's request is on its way to main while main changes the devices. */
static void
a_reset_meanwhile_is_done_once(void)
{
    struct world w;
    unsigned before;

    world_open(&w, g_main_context_new());
    w.a = machine_of(&w);
    machine_cont(w.a, false, NULL);
    loop_until(&w, world_ticks(w.a) >= 3);
    assert_added(&w, w.a, DEVICE_DIMM, "id=hot,size=8M", "id=x,memdev=hot");
    for (unsigned i = 0; i < 2; i++) {
        before = w.resets;
        /* As a triple fault does it, and as a device does it. */
        if (i)
            machine_power_event(w.a, POWER_RESET, 0);
        else
            run_request(machine_run(w.a), VCPU_RESET);
        if (i)
            assert_added(&w, w.a, DEVICE_DIMM, "id=next,size=8M", "memdev=next");
        else
            g_assert_true(machine_device_delete(w.a, "x", NULL));
        g_assert_true(i || !machine_running(w.a));      /* the change does not let go what waits for a reset */
        loop_until(&w, w.resets > before && machine_running(w.a) && world_ticks(w.a) >= 3);
        g_assert_cmpuint(w.resets, ==, before + 1);
    }
    world_close(&w);
}

/* --- who follows the map ---------------------------------------------------------------------------------------- */

struct listener { GString *heard; const char *name; bool refuses_added, refuses_removed; };

static bool
heard_added(void *self, struct block *b, GError **error)
{
    struct listener *l = self;

    g_string_append_printf(l->heard, "%s+%s ", l->name, b->name);
    return !l->refuses_added || fail(error, NUMON_ERROR_HOST, "%s says no", l->name);
}

static bool
heard_removed(void *self, struct block *b, GError **error)
{
    struct listener *l = self;

    g_string_append_printf(l->heard, "%s-%s ", l->name, b->name);
    return !l->refuses_removed || fail(error, NUMON_ERROR_HOST, "%s says no", l->name);
}

static void
heard_resized(void *self, struct block *b, uint64_t before)
{
    struct listener *l = self;

    g_string_append_printf(l->heard, "%s:%s:%u ", l->name, b->name, (unsigned)(before / PAGE_SIZE));
}

static struct block *
small_block(const char *name)
{
    struct backend_options o;

    backend_options_init_default(&o, name, 16 * PAGE_SIZE);
    return block_new(&o, NULL);
}

static void
followers_are_told_in_turn_and_may_refuse(void)
{
    g_autoptr(guest_map) map = guest_map_new();
    g_autoptr(GString) heard = g_string_new(NULL);
    struct listener one = { heard, "one" }, two = { heard, "two" };
    struct block *b = small_block("b"), *ram = small_block("ram");
    struct section s = { .gpa = GIB, .size = b->size, .block = b, .node = -1 };
    g_autoptr(GError) error = NULL;

    guest_map_take_block(map, ram);
    guest_map_follow(map, &(struct block_follower) { heard_added, heard_removed, heard_resized, &one });
    guest_map_follow(map, &(struct block_follower) { .self = heard });
    guest_map_follow(map, &(struct block_follower) { heard_added, heard_removed, NULL, &two });
    two.refuses_added = true;
    g_assert_false(guest_map_plug(map, b, &s, &error));
    g_assert_cmpstr(error->message, ==, "two says no");
    g_clear_error(&error);
    g_assert_cmpuint(map->blocks->len, ==, 1);
    g_assert_null(guest_map_find(map, GIB));
    two.refuses_added = false;
    g_assert_true(guest_map_plug(map, b, &s, NULL));
    g_assert_cmpstr(heard->str, ==, "one+b two+b one-b one+b two+b ");
    g_string_truncate(heard, 0);
    b->resizable = true;
    guest_map_resize(map, b, 4 * PAGE_SIZE);
    guest_map_resize(map, b, 4 * PAGE_SIZE);
    guest_map_resize(map, b, 0);
    g_assert_cmpstr(heard->str, ==, "one:b:16 one:b:4 ");
    g_string_truncate(heard, 0);
    one.refuses_removed = true;
    g_assert_false(guest_map_unplug(map, b, &error));
    g_assert_nonnull(guest_map_find(map, GIB));
    one.refuses_removed = false;
    guest_map_unfollow(map, &two);
    g_assert_true(guest_map_unplug(map, b, NULL));
    g_assert_cmpstr(heard->str, ==, "two-b one-b two+b one-b ");
    g_assert_null(guest_map_find(map, GIB));
    block_free(b);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    main_thread_claim();
    g_test_add_func("/devices/followers-are-told-in-turn-and-may-refuse", followers_are_told_in_turn_and_may_refuse);
    g_test_add_func("/devices/a-reset-meanwhile-is-done-once", a_reset_meanwhile_is_done_once);
    g_test_add_func("/devices/no-guest-is-awaited-while-memory-is-taken", no_guest_is_awaited_while_memory_is_taken);
    g_test_add_func("/devices/devices-join-a-move-and-the-next", devices_join_a_move_and_the_next);
    g_test_add_func("/devices/a-cancelled-move-leaves-a-device-where-the-guest-is",
                    a_cancelled_move_leaves_a_device_where_the_guest_is);
    return g_test_run();
}
