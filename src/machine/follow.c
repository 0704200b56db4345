/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Who follows the blocks of a built machine's map from its beginning: the accelerator, which keeps its slots by it
 * and may refuse, and `trace map`.  A migration out follows too while it lives (src/migrate/join.c). */
#include "machine-private.h"

/* --- the accelerator -------------------------------------------------------------------------------------------- */

/* The view is without a block that is about to go. */
static bool
keep_slots(struct parts *p, const struct block *without, GError **error)
{
    g_autoptr(GArray) view = NULL;

    if (!p->class->memory_changed)
        return true;
    view = guest_map_view(p->map, without);
    return p->class->memory_changed(p->accel, view, error);
}

static bool
slots_added(void *self, struct block *b, GError **error)
{
    return keep_slots(self, NULL, error);
}

static bool
slots_removed(void *self, struct block *b, GError **error)
{
    return keep_slots(self, b, error);
}

/* --- trace map -------------------------------------------------------------------------------------------------- */

static bool
trace_added(void *self, struct block *b, GError **error)
{
    const struct machine *m = self;
    g_autofree char *size = size_format(b->size);

    for (unsigned i = 0; trace_is_on(m->trace, TRACE_MAP) && i < m->parts->map->sections->len; i++) {
        const struct section *s = &g_array_index(m->parts->map->sections, struct section, i);

        if (s->block == b)
            trace_line(m->trace, TRACE_MAP, "block '%s' added: %s at 0x%" G_GINT64_MODIFIER "x", b->name, size,
                       s->gpa);
    }
    return true;
}

static bool
trace_removed(void *self, struct block *b, GError **error)
{
    const struct machine *m = self;

    trace_line(m->trace, TRACE_MAP, "block '%s' gone", b->name);
    return true;
}

static void
trace_resized(void *self, struct block *b, uint64_t before)
{
    const struct machine *m = self;
    g_autofree char *was = size_format(before), *is = size_format(atomic_load(&b->used));
    g_autofree char *size = size_format(b->size);

    trace_line(m->trace, TRACE_MAP, "block '%s' uses %s of %s, and used %s", b->name, is, size, was);
}

void
machine_follow_map(struct machine *m, struct parts *p)
{
    guest_map_follow(p->map, &(struct block_follower) { .added = slots_added, .removed = slots_removed, .self = p });
    guest_map_follow(p->map, &(struct block_follower) {
        .added = trace_added, .removed = trace_removed, .resized = trace_resized, .self = m,
    });
}
