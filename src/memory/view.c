/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the guest finds at each physical address: RAM at the bottom, over it what covers it, the later over the
 * earlier.  The map keeps the layers; the view is their flat picture, made anew for whoever follows the map. */
#include "memory-private.h"

static const struct section *
section_in(const GArray *sections, unsigned i)
{
    return &g_array_index(sections, struct section, i);
}

/* The part of a section in [gpa, end). */
static struct section
part(const struct section *s, uint64_t gpa, uint64_t end)
{
    struct section p = *s;

    p.gpa = MAX(s->gpa, gpa);
    p.size = MIN(s->gpa + s->size, end) - p.gpa;
    p.offset += p.gpa - s->gpa;
    return p;
}

/* Appends the part if there is one. */
static void
append_part(GArray *to, const struct section *s, uint64_t gpa, uint64_t end)
{
    struct section p;

    if (s->gpa >= end || s->gpa + s->size <= gpa)
        return;
    p = part(s, gpa, end);
    g_array_append_val(to, p);
}

/* A view with 'top' over the one given, which is let go. */
static GArray *
with_cover(GArray *view, const struct section *top)
{
    GArray *covered = g_array_sized_new(FALSE, FALSE, sizeof(struct section), view->len + 2);
    uint64_t end = top->gpa + top->size;

    for (unsigned i = 0; i < view->len; i++)
        append_part(covered, section_in(view, i), 0, top->gpa);
    g_array_append_val(covered, *top);
    for (unsigned i = 0; i < view->len; i++)
        append_part(covered, section_in(view, i), end, UINT64_MAX);
    g_array_unref(view);
    return covered;
}

GArray *
guest_map_view(const struct guest_map *map, const struct block *without)
{
    GArray *view = g_array_sized_new(FALSE, FALSE, sizeof(struct section), map->sections->len + 1);

    for (unsigned i = 0; i < map->sections->len; i++)
        if (section_in(map->sections, i)->block != without)
            g_array_append_vals(view, section_in(map->sections, i), 1);
    for (unsigned i = 0; i < map->covers->len; i++)
        if (!without || section_in(map->covers, i)->block != without)
            view = with_cover(view, section_in(map->covers, i));
    return view;
}

void
guest_map_protect(struct guest_map *map, const char *name, uint64_t gpa, uint64_t size)
{
    g_assert(gpa % PAGE_SIZE == 0 && size % PAGE_SIZE == 0);
    for (unsigned i = 0; i < map->sections->len; i++) {
        unsigned before = map->covers->len;

        append_part(map->covers, section_in(map->sections, i), gpa, gpa + size);
        if (map->covers->len == before)
            continue;
        g_array_index(map->covers, struct section, before).kind = SECTION_ROM;
        g_array_index(map->covers, struct section, before).name = name;
    }
}

void
guest_map_cover(struct guest_map *map, const char *name, uint64_t gpa, uint64_t size)
{
    struct section s = { .gpa = gpa, .size = size, .node = -1, .kind = SECTION_DEVICE, .name = name };

    g_assert(size && gpa + size > gpa);
    g_array_append_val(map->covers, s);
}
