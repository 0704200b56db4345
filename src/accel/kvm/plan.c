/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Which slots KVM must lose and gain for the guest to find a new view of its memory; pure.
 *
 * The view is brought to runs: contiguous in guest memory and in one block, equally writable, whole pages only (of a
 * page that a device shares with RAM, no slot can hold a part: all its accesses go to the bus).  A slot stands as
 * long as all of it lies so in a run: no neighbour that comes or goes disturbs it.  What no standing slot holds gets
 * slots of its own, as large as they may be.  So memory that something is mapped into the middle of loses its slot
 * and gets two, before and behind; and when that goes again, the hole gets a third.  Only when KVM has not slots
 * enough for this are all neighbours joined, at the cost of replacing slots in use. */
#include "kvm-private.h"

#include <inttypes.h>

/* A run, or what of it is left to be given slots. */
struct run_of_pages {
    uint64_t gpa, size;
    struct block *block;
    uint64_t offset;
    bool readonly;
};

static bool
trimmed(const struct section *s, struct run_of_pages *ret)
{
    uint64_t first = (s->gpa + PAGE_SIZE - 1) / PAGE_SIZE * PAGE_SIZE,
        end = (s->gpa + s->size) / PAGE_SIZE * PAGE_SIZE;

    if (s->kind == SECTION_DEVICE || first >= end)
        return false;
    *ret = (struct run_of_pages) {
        .gpa = first, .size = end - first, .block = s->block, .offset = s->offset + (first - s->gpa),
        .readonly = s->kind == SECTION_ROM,
    };
    return true;
}

static bool
continues(const struct run_of_pages *a, const struct run_of_pages *b)
{
    return a->block == b->block && a->readonly == b->readonly && a->gpa + a->size == b->gpa &&
           a->offset + a->size == b->offset;
}

static GArray *
list_runs(const GArray *view, const struct slot_rules *rules)
{
    GArray *runs = g_array_new(FALSE, FALSE, sizeof(struct run_of_pages));

    for (unsigned i = 0; i < view->len; i++) {
        struct run_of_pages r, *last = runs->len ? &g_array_index(runs, struct run_of_pages, runs->len - 1) : NULL;

        if (!trimmed(&g_array_index(view, struct section, i), &r))
            continue;
        r.readonly = r.readonly && rules->readonly;
        if (last && continues(last, &r))
            last->size += r.size;
        else
            g_array_append_val(runs, r);
    }
    return runs;
}

static bool
lies_in(const struct kvm_slot *s, const struct run_of_pages *r)
{
    return s->block && s->block == r->block && s->readonly == r->readonly && s->gpa >= r->gpa &&
           s->size <= r->size && s->gpa - r->gpa <= r->size - s->size &&
           s->first_page * PAGE_SIZE == r->offset + (s->gpa - r->gpa);
}

/* The slot in the run with the lowest address from 'gpa' on, or -1. */
static int
next_standing(const struct slot_plan *plan, const struct run_of_pages *r, uint64_t gpa)
{
    int found = -1;

    for (unsigned i = 0; i < plan->count; i++)
        if (plan->stands[i] && plan->slots[i].gpa >= gpa && lies_in(&plan->slots[i], r) &&
            (found < 0 || plan->slots[i].gpa < plan->slots[found].gpa))
            found = (int)i;
    return found;
}

static void
gain(struct slot_plan *plan, const struct run_of_pages *r, uint64_t gpa, uint64_t end, uint64_t most)
{
    while (gpa < end) {
        struct kvm_slot s = {
            .gpa = gpa, .size = MIN(end - gpa, most), .block = r->block, .readonly = r->readonly,
            .first_page = (r->offset + (gpa - r->gpa)) / PAGE_SIZE,
        };

        g_array_append_val(plan->gains, s);
        gpa += s.size;
    }
}

static void
fill_run(struct slot_plan *plan, const struct run_of_pages *r, const struct slot_rules *rules)
{
    uint64_t gpa = r->gpa;

    for (int i; (i = next_standing(plan, r, gpa)) >= 0; gpa = plan->slots[i].gpa + plan->slots[i].size)
        gain(plan, r, gpa, plan->slots[i].gpa, rules->most_size);
    gain(plan, r, gpa, r->gpa + r->size, rules->most_size);
}

/* Whether the slot is one that joining all would make again. */
static bool
is_whole(const struct kvm_slot *s, const struct run_of_pages *r, const struct slot_rules *rules)
{
    uint64_t before = s->gpa - r->gpa;

    return before % rules->most_size == 0 && s->size == MIN(r->size - before, rules->most_size);
}

static void
decide_standing(struct slot_plan *plan, const GArray *runs, const struct slot_rules *rules, bool join)
{
    for (unsigned i = 0; i < plan->count; i++) {
        plan->stands[i] = false;
        for (unsigned r = 0; r < runs->len && !plan->stands[i]; r++) {
            const struct run_of_pages *run = &g_array_index(runs, struct run_of_pages, r);

            plan->stands[i] = lies_in(&plan->slots[i], run) && (!join || is_whole(&plan->slots[i], run, rules));
        }
    }
}

static unsigned
slots_after(const struct slot_plan *plan)
{
    unsigned standing = 0;

    for (unsigned i = 0; i < plan->count; i++)
        standing += plan->stands[i];
    return standing + plan->gains->len;
}

static unsigned
try_plan(struct slot_plan *plan, const GArray *runs, const struct slot_rules *rules, bool join)
{
    g_array_set_size(plan->gains, 0);
    decide_standing(plan, runs, rules, join);
    for (unsigned i = 0; i < runs->len; i++)
        fill_run(plan, &g_array_index(runs, struct run_of_pages, i), rules);
    return slots_after(plan);
}

bool
slot_plan_make(struct slot_plan *plan, const struct kvm_slot *slots, unsigned count, const GArray *view,
               const struct slot_rules *rules, GError **error)
{
    g_autoptr(GArray) runs = list_runs(view, rules);
    unsigned after;

    *plan = (struct slot_plan) {
        .slots = slots, .count = count, .stands = g_new0(bool, count + 1),
        .gains = g_array_new(FALSE, FALSE, sizeof(struct kvm_slot)),
    };
    if (try_plan(plan, runs, rules, false) <= rules->limit)
        return true;
    after = try_plan(plan, runs, rules, true);
    if (after <= rules->limit)
        return true;
    slot_plan_release(plan);
    return fail(error, NUMON_ERROR_LIMIT, "hypervisor has no free memory slots left: the guest's memory needs %u, "
                "KVM gives %u here (fewer memory devices or larger pieces need fewer)", after, rules->limit);
}

void
slot_plan_release(struct slot_plan *plan)
{
    g_clear_pointer(&plan->stands, g_free);
    g_clear_pointer(&plan->gains, g_array_unref);
}
