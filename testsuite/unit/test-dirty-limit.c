/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The rule of dirty limits against a writer made of arithmetic, and the thread against one made of a thread. */
#include "accel.h"

enum { RING = 256 };

/* A writer that fills its ring at 'speed' and then sleeps. */
static uint64_t
rate_with(uint64_t speed, uint64_t nap_us)
{
    uint64_t bytes = RING * PAGE_SIZE, full_us = bytes * G_USEC_PER_SEC / speed;

    return bytes * G_USEC_PER_SEC / (full_us + nap_us);
}

static void
any_quota_is_reached(void)
{
    static const uint64_t speeds[] = { 50, 400, 3000 }, quotas[] = { 1, 7, 30, 100, 350, 1000 };

    for (unsigned i = 0; i < G_N_ELEMENTS(speeds); i++) {
        for (unsigned j = 0; j < G_N_ELEMENTS(quotas); j++) {
            uint64_t speed = speeds[i] * MIB, quota = quotas[j] * MIB, nap = 0;
            uint64_t full_us = (uint64_t)RING * PAGE_SIZE * G_USEC_PER_SEC / speed;
            uint64_t least = MAX(quota, speed / 100);       /* it sleeps 99 times its ring's time at most */

            for (unsigned turn = 0; turn < 40; turn++)
                nap = dirty_limit_nap(nap, quota, rate_with(speed, nap), full_us);
            g_assert_cmpuint(rate_with(speed, nap), <=, least + least / 4);
            if (speed > quota)
                g_assert_cmpuint(rate_with(speed, nap), >=, quota - quota / 4);
            else
                g_assert_cmpuint(nap, ==, 0);
        }
    }
}

static void
near_enough_is_left_alone(void)
{
    g_assert_cmpuint(dirty_limit_nap(700, 100 * MIB, 110 * MIB, 1000), ==, 700);
    g_assert_cmpuint(dirty_limit_nap(700, 1000 * MIB, 980 * MIB, 1000), ==, 700);
    g_assert_cmpuint(dirty_limit_nap(700, 1000 * MIB, 1030 * MIB, 1000), ==, 800);
    g_assert_cmpuint(dirty_limit_nap(700, 1000 * MIB, 970 * MIB, 1000), ==, 600);
    g_assert_cmpuint(dirty_limit_nap(0, 100 * MIB, 400 * MIB, 1000), ==, 3000);
    g_assert_cmpuint(dirty_limit_nap(5000, 100 * MIB, 25 * MIB, 1000), ==, 2000);
    g_assert_cmpuint(dirty_limit_nap(98000, MIB, 400 * MIB, 1000), ==, 99000);
    g_assert_cmpuint(dirty_limit_nap(10, 100 * MIB, 0, 1000), ==, 0);
}

/* --- the thread ------------------------------------------------------------------------------------------------- */

/* Two writers; an accelerator that only has rings. */
struct accel {
    struct hub *hub;
    struct block *block;
    _Atomic uint64_t nap_us[2];
    _Atomic bool done;
};

static uint64_t
ring_pages(struct accel *a)
{
    return RING;
}

static void
ring_nap(struct accel *a, unsigned cpu, uint64_t us)
{
    atomic_store(&a->nap_us[cpu], us);
}

static const struct accel_class with_rings = { .name = "test", .ring_pages = ring_pages, .ring_nap = ring_nap };
static const struct accel_class without_rings = { .name = "test" };

struct writer { struct accel *accel; unsigned cpu; };

/* About 100 MiB a second, each writer in its half. */
static void *
write_on(void *data)
{
    struct writer *w = data;
    struct accel *a = w->accel;
    uint64_t half = a->block->page_count / 2;

    for (uint64_t i = 0; !a->done; i++) {
        hub_mark_by(a->hub, a->block, w->cpu * half + i % half, w->cpu);
        if (i % RING == RING - 1)
            g_usleep((gulong)(10000 + a->nap_us[w->cpu]));
    }
    return NULL;
}

static void
wait_for_rate(struct dirty_limit *l, unsigned cpu, uint64_t least, uint64_t most)
{
    int64_t deadline = g_get_monotonic_time() + 30 * G_USEC_PER_SEC;
    struct dirty_limit_info info;

    do {
        g_usleep(20000);
        dirty_limit_get(l, cpu, &info);
        g_assert_cmpint(g_get_monotonic_time(), <, deadline);
    } while (info.rate < least || info.rate > most);
}

static void
a_writer_is_slowed_to_its_quota(void)
{
    struct accel a = { .done = false };
    struct guest_map *map = guest_map_new();
    struct backend_options options;
    struct writer writers[2] = { { &a, 0 }, { &a, 1 } };
    struct thread threads[2] = { { 0 } };
    struct dirty_limit_info info;
    struct dirty_limit *l;

    backend_options_init_default(&options, "ram", 256 * MIB);
    a.block = block_new(&options, NULL);
    guest_map_take_block(map, a.block);
    a.hub = hub_new(map, (struct dirty_source) { .tells_cpus = true });
    l = dirty_limit_new(&with_rings, &a, a.hub, 2);
    for (unsigned i = 0; i < 2; i++)
        g_assert_true(thread_start(&threads[i], "writer", write_on, &writers[i], NULL));
    g_assert_false(hub_active(a.hub));
    g_assert_true(dirty_limit_set(l, 1, 10 * MIB, 200, NULL));
    wait_for_rate(l, 1, 8 * MIB, 13 * MIB);
    g_assert_true(dirty_limit_get(l, 1, &info));
    g_assert_cmpuint(info.quota, ==, 10 * MIB);
    g_assert_cmpuint(info.nap_us, >, 0);
    g_assert_false(dirty_limit_get(l, 0, &info));
    g_assert_cmpuint(atomic_load(&a.nap_us[0]), ==, 0);         /* the other is not hurt */
    g_assert_true(dirty_limit_set(l, -1, 30 * MIB, 0, NULL));
    wait_for_rate(l, 0, 24 * MIB, 37 * MIB);
    wait_for_rate(l, 1, 24 * MIB, 37 * MIB);
    g_assert_true(dirty_limit_set(l, -1, 0, 0, NULL));
    g_assert_cmpuint(atomic_load(&a.nap_us[0]), ==, 0);
    g_assert_cmpuint(atomic_load(&a.nap_us[1]), ==, 0);
    while (hub_active(a.hub))
        g_usleep(1000);
    a.done = true;
    for (unsigned i = 0; i < 2; i++)
        thread_join(&threads[i]);
    dirty_limit_free(l);
    hub_free(a.hub);
    guest_map_free(map);
}

static void
without_a_ring_it_is_refused(void)
{
    struct accel a = { .done = false };
    struct guest_map *map = guest_map_new();
    struct hub *hub = hub_new(map, (struct dirty_source) { 0 });
    struct dirty_limit *l = dirty_limit_new(&without_rings, &a, hub, 2);
    struct dirty_limit_info info;
    g_autoptr(GError) error = NULL;

    g_assert_false(dirty_limit_set(l, -1, MIB, 0, &error));
    g_assert_error(error, NUMON_ERROR, NUMON_ERROR_STATE);
    g_assert_false(dirty_limit_get(l, 0, &info));
    dirty_limit_free(l);
    hub_free(hub);
    guest_map_free(map);
}

/* --- memory that comes and goes --------------------------------------------------------------------------------- */

struct change { struct guest_map *map; struct block *block; };

static bool
put_block(void *self, GError **error)
{
    struct change *c = self;

    guest_map_take_block(c->map, c->block);
    return true;
}

static bool
take_block(void *self, GError **error)
{
    struct change *c = self;

    block_free(guest_map_remove_block(c->map, c->block));
    return true;
}

/* The thread looks each millisecond at what main changes at the same time. */
static void
blocks_come_and_go_meanwhile(void)
{
    struct accel a = { .done = false };
    struct guest_map *map = guest_map_new();
    struct hub *hub = hub_new(map, (struct dirty_source) { .tells_cpus = true });
    struct dirty_limit *l = dirty_limit_new(&with_rings, &a, hub, 2);
    struct backend_options options;
    struct change c = { .map = map };

    g_assert_true(dirty_limit_set(l, -1, MIB, 1, NULL));
    while (!hub_active(hub))
        g_usleep(1000);
    for (int64_t until = g_get_monotonic_time() + G_USEC_PER_SEC; g_get_monotonic_time() < until;) {
        for (unsigned i = 0; i < 24; i++) {
            char id[8];

            g_snprintf(id, sizeof id, "m%u", i);
            backend_options_init_default(&options, id, 256 * MIB);
            c.block = block_new(&options, NULL);
            g_assert_true(hub_add_block(hub, c.block, put_block, &c, NULL));
        }
        while (map->blocks->len) {
            c.block = map->blocks->pdata[0];
            g_assert_true(hub_remove_block(hub, 0, take_block, &c, NULL));
        }
    }
    dirty_limit_free(l);
    hub_free(hub);
    guest_map_free(map);
}

int
main(int argc, char **argv)
{
    main_thread_claim();
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/dirty-limit/any-quota-is-reached", any_quota_is_reached);
    g_test_add_func("/dirty-limit/near-enough-is-left-alone", near_enough_is_left_alone);
    g_test_add_func("/dirty-limit/a-writer-is-slowed-to-its-quota", a_writer_is_slowed_to_its_quota);
    g_test_add_func("/dirty-limit/without-a-ring-it-is-refused", without_a_ring_it_is_refused);
    g_test_add_func("/dirty-limit/blocks-come-and-go-meanwhile", blocks_come_and_go_meanwhile);
    return g_test_run();
}
