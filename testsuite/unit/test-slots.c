/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The view of a map and the plan for its slots, against a reference that paints every page by itself: thousands of
 * random maps, each made from the one before. */
#include <string.h>

#include "../../src/accel/kvm/kvm-private.h"

enum { PAGES = 96, BLOCKS = 4, SLOTS = 64, STEPS = 40, ROUNDS = 150 };

/* What the guest finds in a page. */
struct paint {
    const struct block *block;      /* NULL: nothing that a slot can hold */
    uint64_t page;                  /* of the block */
    bool readonly;
};

struct world {
    struct block blocks[BLOCKS];
    struct guest_map map;           /* with arrays of its own, and no host memory */
    struct paint paint[PAGES];
    struct kvm_slot slots[SLOTS];
    struct slot_rules rules;
};

static void
world_begin(struct world *w)
{
    memset(w, 0, sizeof *w);
    w->map.sections = g_array_new(FALSE, FALSE, sizeof(struct section));
    w->map.covers = g_array_new(FALSE, FALSE, sizeof(struct section));
    for (unsigned i = 0; i < BLOCKS; i++)
        w->blocks[i] = (struct block) { .size = PAGES * PAGE_SIZE, .page_count = PAGES, .index = i };
    w->rules = (struct slot_rules) {
        .most_size = (uint64_t)g_test_rand_int_range(1, 2 * PAGES) * PAGE_SIZE, .limit = SLOTS,
        .readonly = g_test_rand_bit(),
    };
}

static void
world_end(struct world *w)
{
    g_array_unref(w->map.sections);
    g_array_unref(w->map.covers);
}

/* --- random maps ------------------------------------------------------------------------------------------------ */

/* RAM from page to page, often contiguous in its block with the piece before. */
static void
add_ram(struct world *w)
{
    uint64_t page = 0, of_block = 0;
    unsigned block = 0;

    g_array_set_size(w->map.sections, 0);
    while (page < PAGES) {
        uint64_t count = (uint64_t)g_test_rand_int_range(1, 24);
        struct section s;

        count = MIN(count, PAGES - page);
        if (g_test_rand_int_range(0, 3) == 0) {
            block = (unsigned)g_test_rand_int_range(0, BLOCKS);
            of_block = (uint64_t)g_test_rand_int_range(0, PAGES);
        }
        of_block = of_block + count > PAGES ? 0 : of_block;
        s = (struct section) {
            .gpa = page * PAGE_SIZE, .size = count * PAGE_SIZE, .block = &w->blocks[block],
            .offset = of_block * PAGE_SIZE,
        };
        if (g_test_rand_int_range(0, 4))
            g_array_append_val(w->map.sections, s);
        page += count;
        of_block += count;
    }
}

static void
add_cover(struct world *w)
{
    uint64_t page = (uint64_t)g_test_rand_int_range(0, PAGES - 8), count = (uint64_t)g_test_rand_int_range(1, 8);

    if (g_test_rand_bit())
        guest_map_protect(&w->map, "rom", page * PAGE_SIZE, count * PAGE_SIZE);
    else if (g_test_rand_bit())
        guest_map_cover(&w->map, "device", page * PAGE_SIZE, count * PAGE_SIZE);
    else
        guest_map_cover(&w->map, "odd device", page * PAGE_SIZE + 8, count * PAGE_SIZE - 16);
}

/* One transaction: RAM anew, or covers that come or go. */
static void
change_map(struct world *w)
{
    bool anew = w->map.sections->len == 0 || g_test_rand_int_range(0, 8) == 0;

    if (anew) {
        g_array_set_size(w->map.covers, 0);
        add_ram(w);
    }
    if (w->map.covers->len > 6)
        g_array_set_size(w->map.covers, 0);
    else if (w->map.covers->len && g_test_rand_bit())
        g_array_remove_index(w->map.covers, (unsigned)g_test_rand_int_range(0, (int)w->map.covers->len));
    else
        add_cover(w);
}

/* --- the reference ---------------------------------------------------------------------------------------------- */

static void
paint_section(struct world *w, const struct section *s)
{
    for (uint64_t page = s->gpa / PAGE_SIZE; page * PAGE_SIZE < s->gpa + s->size; page++) {
        uint64_t of_block = s->offset / PAGE_SIZE + page - s->gpa / PAGE_SIZE;

        w->paint[page] = (struct paint) { 0 };
        if (s->kind != SECTION_DEVICE)
            w->paint[page] = (struct paint) { s->block, of_block, s->kind == SECTION_ROM && w->rules.readonly };
    }
}

/* Layer over layer.  A page that a device has a part of is lost for slots, unless a later layer takes all of it. */
static void
paint_map(struct world *w)
{
    memset(w->paint, 0, sizeof w->paint);
    for (unsigned i = 0; i < w->map.sections->len; i++)
        paint_section(w, &g_array_index(w->map.sections, struct section, i));
    for (unsigned i = 0; i < w->map.covers->len; i++)
        paint_section(w, &g_array_index(w->map.covers, struct section, i));
}

static bool
paint_continues(const struct paint *a, const struct paint *b)
{
    return a->block && a->block == b->block && a->page + 1 == b->page && a->readonly == b->readonly;
}

/* How many slots the pages need at least that are not held already. */
static unsigned
fewest_slots(const struct world *w, const bool *held)
{
    uint64_t most = w->rules.most_size / PAGE_SIZE, length = 0;
    unsigned count = 0;

    for (unsigned i = 0; i < PAGES; i++) {
        if (!w->paint[i].block || held[i])
            continue;
        length = i && !held[i - 1] && paint_continues(&w->paint[i - 1], &w->paint[i]) ? length + 1 : 1;
        count += length % most == (most == 1 ? 0 : 1);
    }
    return count;
}

static bool
slot_is_right(const struct world *w, const struct kvm_slot *s)
{
    for (uint64_t i = 0; i < s->size / PAGE_SIZE; i++) {
        const struct paint *p = &w->paint[s->gpa / PAGE_SIZE + i];

        if (p->block != s->block || p->page != s->first_page + i || p->readonly != s->readonly)
            return false;
    }
    return true;
}

/* --- checks ----------------------------------------------------------------------------------------------------- */

static void
check_view(const struct world *w, const GArray *view)
{
    uint64_t end = 0;

    for (unsigned i = 0; i < view->len; i++) {
        const struct section *s = &g_array_index(view, struct section, i);

        g_assert_cmpuint(s->gpa, >=, end);
        g_assert_cmpuint(s->size, >, 0);
        end = s->gpa + s->size;
    }
}

/* Every page that a slot can hold is in exactly one, and no other is. */
static void
check_slots(const struct world *w)
{
    unsigned held[PAGES] = { 0 }, used = 0;

    for (unsigned i = 0; i < SLOTS; i++) {
        const struct kvm_slot *s = &w->slots[i];

        if (!s->block)
            continue;
        used++;
        g_assert_cmpuint(s->size, <=, w->rules.most_size);
        g_assert_true(slot_is_right(w, s));
        for (uint64_t page = 0; page < s->size / PAGE_SIZE; page++)
            held[s->gpa / PAGE_SIZE + page]++;
    }
    for (unsigned i = 0; i < PAGES; i++)
        g_assert_cmpuint(held[i], ==, w->paint[i].block != NULL);
    g_assert_cmpuint(used, <=, w->rules.limit);
}

/* What is right and was there is left alone, unless slots ran short. */
static void
check_standing(const struct world *w, const struct slot_plan *plan)
{
    bool held[PAGES] = { false }, right[SLOTS];
    unsigned used = 0;

    for (unsigned i = 0; i < SLOTS; i++) {
        const struct kvm_slot *s = &w->slots[i];

        right[i] = s->block && slot_is_right(w, s);
        used += right[i];
        for (uint64_t page = 0; right[i] && page < s->size / PAGE_SIZE; page++)
            held[s->gpa / PAGE_SIZE + page] = true;
        g_assert_true(!plan->stands[i] || right[i]);
    }
    used += fewest_slots(w, held);
    for (unsigned i = 0; i < SLOTS && used <= w->rules.limit; i++)
        g_assert_true(plan->stands[i] == right[i]);
}

static void
apply(struct world *w, const struct slot_plan *plan)
{
    unsigned to = 0;

    for (unsigned i = 0; i < SLOTS; i++)
        if (!plan->stands[i])
            w->slots[i] = (struct kvm_slot) { 0 };
    for (unsigned i = 0; i < plan->gains->len; i++) {
        while (w->slots[to].block)
            to++;
        w->slots[to] = g_array_index(plan->gains, struct kvm_slot, i);
    }
}

static void
step(struct world *w)
{
    g_autoptr(GArray) view = NULL;
    g_autoptr(GError) error = NULL;
    const bool none[PAGES] = { false };
    struct slot_plan plan;

    change_map(w);
    paint_map(w);
    view = guest_map_view(&w->map, NULL);
    check_view(w, view);
    if (!slot_plan_make(&plan, w->slots, SLOTS, view, &w->rules, &error)) {
        g_assert_error(error, NUMON_ERROR, NUMON_ERROR_LIMIT);
        g_assert_cmpuint(fewest_slots(w, none), >, w->rules.limit);
        /* The map that was refused is taken back whole: the next begins with none. */
        memset(w->slots, 0, sizeof w->slots);
        g_array_set_size(w->map.sections, 0);
        return;
    }
    check_standing(w, &plan);
    apply(w, &plan);
    check_slots(w);
    slot_plan_release(&plan);
}

static void
test_random(void)
{
    for (int round = 0; round < ROUNDS; round++) {
        struct world w;

        world_begin(&w);
        for (int i = 0; i < STEPS; i++) {
            w.rules.limit = g_test_rand_bit() ? SLOTS : (unsigned)g_test_rand_int_range(1, 12);
            step(&w);
        }
        world_end(&w);
    }
}

/* --- single cases ----------------------------------------------------------------------------------------------- */

static struct slot_plan
plan_of(struct world *w)
{
    g_autoptr(GArray) view = guest_map_view(&w->map, NULL);
    struct slot_plan plan;

    g_assert_true(slot_plan_make(&plan, w->slots, SLOTS, view, &w->rules, NULL));
    return plan;
}

static void
begin_with_one(struct world *w)
{
    struct slot_plan plan;

    world_begin(w);
    w->rules = (struct slot_rules) { .most_size = GIB, .limit = SLOTS, .readonly = true };
    g_array_append_val(w->map.sections, ((struct section) { .size = 64 * PAGE_SIZE, .block = &w->blocks[0] }));
    plan = plan_of(w);
    g_assert_cmpuint(plan.gains->len, ==, 1);
    apply(w, &plan);
    slot_plan_release(&plan);
}

static void
test_middle(void)
{
    struct world w;
    struct slot_plan plan;

    begin_with_one(&w);
    guest_map_protect(&w.map, "rom", 16 * PAGE_SIZE, 8 * PAGE_SIZE);
    plan = plan_of(&w);
    g_assert_false(plan.stands[0]);
    g_assert_cmpuint(plan.gains->len, ==, 3);
    g_assert_cmpuint(g_array_index(plan.gains, struct kvm_slot, 0).size, ==, 16 * PAGE_SIZE);
    g_assert_true(g_array_index(plan.gains, struct kvm_slot, 1).readonly);
    g_assert_cmpuint(g_array_index(plan.gains, struct kvm_slot, 2).first_page, ==, 24);
    slot_plan_release(&plan);
    world_end(&w);
}

static void
test_neighbour(void)
{
    struct world w;
    struct slot_plan plan;
    struct section next = { .gpa = 64 * PAGE_SIZE, .size = 8 * PAGE_SIZE, .offset = 64 * PAGE_SIZE };

    begin_with_one(&w);
    next.block = &w.blocks[0];
    g_array_append_val(w.map.sections, next);
    plan = plan_of(&w);
    g_assert_true(plan.stands[0]);
    g_assert_cmpuint(plan.gains->len, ==, 1);
    slot_plan_release(&plan);
    w.rules.limit = 1;
    plan = plan_of(&w);
    g_assert_false(plan.stands[0]);
    g_assert_cmpuint(plan.gains->len, ==, 1);
    g_assert_cmpuint(g_array_index(plan.gains, struct kvm_slot, 0).size, ==, 72 * PAGE_SIZE);
    slot_plan_release(&plan);
    world_end(&w);
}

static void
test_refused(void)
{
    struct world w;
    struct slot_plan plan;
    g_autoptr(GArray) view = NULL;
    g_autoptr(GError) error = NULL;

    begin_with_one(&w);
    w.rules.limit = 2;
    guest_map_cover(&w.map, "device", 16 * PAGE_SIZE, PAGE_SIZE);
    guest_map_cover(&w.map, "device", 32 * PAGE_SIZE, PAGE_SIZE);
    view = guest_map_view(&w.map, NULL);
    g_assert_false(slot_plan_make(&plan, w.slots, SLOTS, view, &w.rules, &error));
    g_assert_error(error, NUMON_ERROR, NUMON_ERROR_LIMIT);
    g_assert_nonnull(strstr(error->message, "needs 3, KVM gives 2"));
    world_end(&w);
}

int
main(int argc, char **argv)
{
    main_thread_claim();
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/slots/random-maps-give-each-page-its-one-slot", test_random);
    g_test_add_func("/slots/what-is-mapped-over-the-middle-splits", test_middle);
    g_test_add_func("/slots/a-new-neighbour-disturbs-nobody-while-slots-last", test_neighbour);
    g_test_add_func("/slots/too-many-pieces-are-refused-with-the-numbers", test_refused);
    return g_test_run();
}
