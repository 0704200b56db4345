/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Blocks that come, or get longer, while the guest moves.
 *
 * The map belongs to main.  A source's worker goes over a list of its own; main, telling the map's followers, puts
 * each block that came into the session's queue together with the commands that make the same device elsewhere, and
 * the worker takes it between two parts of the section "ram": it writes those commands as a section of their own,
 * then names the block and its length in front of the next pages, as QEMU lists blocks.  All its pages are dirty.  A
 * block that got longer is listed again; one that got shorter is not: what it lost goes as zeros.  After guest.stop
 * nothing comes any more, so the last part has all.
 *
 * A destination's worker hands the commands to main and waits: only main changes what there is.  It waits no longer
 * than the session lives; a device that is ready after that is for nobody. */
#include "migrate-private.h"

#include <string.h>

enum { JOIN_ID = 1 << 24 };         /* section ids of devices that join, behind all others */

/* --- source: main tells ----------------------------------------------------------------------------------------- */

void
joining_free(void *joining)
{
    struct joining *j = joining;

    g_free(j->text);
    g_free(j);
}

static bool
lives(struct session *s)
{
    lock_take(&s->lock);
    bool ended = s->closing || migrate_state_ended(s->state);
    lock_drop(&s->lock);
    return !ended;
}

static bool
block_added(void *self, struct block *b, GError **error)
{
    struct session *s = self;
    struct joining *j;
    char *text;

    if (!lives(s))
        return true;
    if (handover_is(s))
        return fail(error, NUMON_ERROR_STATE, "cannot add '%s' while the guest's memory is handed over", b->name);
    if (!s->guest.announce)
        return fail(error, NUMON_ERROR_STATE, "cannot add '%s' while the guest moves", b->name);
    text = s->guest.announce(s->guest.self, b, error);
    if (!text)
        return false;
    j = g_new(struct joining, 1);
    *j = (struct joining) { .block = b, .text = text };
    lock_take(&s->lock);
    if (!s->joining)
        s->joining = g_ptr_array_new_with_free_func(joining_free);
    g_ptr_array_add(s->joining, j);
    lock_drop(&s->lock);
    return true;
}

static bool
withdraw(struct session *s, const struct block *b)
{
    bool found = false;

    lock_take(&s->lock);
    for (unsigned i = 0; s->joining && i < s->joining->len && !found; i++) {
        found = ((struct joining *)s->joining->pdata[i])->block == b;
        if (found)
            g_ptr_array_remove_index(s->joining, i);
    }
    lock_drop(&s->lock);
    return found;
}

/* Another follower kept it out, if the worker has not taken it yet; what that has must stay. */
static bool
block_removed(void *self, struct block *b, GError **error)
{
    return !lives(self) || withdraw(self, b)
        || fail(error, NUMON_ERROR_STATE, "cannot take '%s' away while the guest moves", b->name);
}

static void
block_resized(void *self, struct block *b, uint64_t before)
{
    atomic_store(&((struct session *)self)->grown, true);
}

void
session_follow(struct session *s)
{
    guest_map_follow(s->guest.map, &(struct block_follower) {
        .added = block_added, .removed = block_removed, .resized = block_resized, .self = s,
    });
    s->following = true;
}

void
session_unfollow(struct session *s)
{
    if (s->following)
        guest_map_unfollow(s->guest.map, s);
    s->following = false;
}

void
session_list_blocks(struct session *s)
{
    const GPtrArray *blocks = s->guest.map->blocks;
    uint64_t total = 0;

    s->blocks = g_renew(struct moving, s->blocks, blocks->len + 1);
    s->block_count = blocks->len;
    for (unsigned i = 0; i < blocks->len; i++) {
        struct block *b = blocks->pdata[i];
        s->blocks[i] = (struct moving) { .block = b, .pages = atomic_load(&b->used) / PAGE_SIZE };
        total += s->blocks[i].pages * PAGE_SIZE;
    }
    atomic_store(&s->total_bytes, total);
}

void
session_set_sections(struct session *s, const struct state_section *const *sections, unsigned count)
{
    lock_take(&s->lock);
    s->guest.sections = sections;
    s->guest.section_count = count;
    lock_drop(&s->lock);
}

/* --- source: the worker takes ----------------------------------------------------------------------------------- */

bool
session_joins(struct session *s)
{
    lock_take(&s->lock);
    bool joins = s->joining != NULL;
    lock_drop(&s->lock);
    return joins || atomic_load(&s->grown);
}

static bool
announce(struct out *o, const struct joining *j, GError **error)
{
    uint32_t size = strlen(j->text), count = o->joined->len;

    wire_put_section(o->bytes, RECORD_FULL, JOIN_ID + count, JOIN_SECTION, count, JOIN_VERSION);
    wire_put32(o->bytes, size);
    g_byte_array_append(o->bytes, (const uint8_t *)j->text, size);
    wire_put_footer(o->bytes, JOIN_ID + count);
    g_array_append_val(o->joined, size);
    return out_put(o, error);
}

/* All blocks: which are longer than was announced?  What becomes dirty by that is not the guest's doing. */
static void
list_grown(struct out *o, GArray *list)
{
    uint64_t total = 0, first;

    for (unsigned i = 0; i < o->ram.list.count; i++) {
        struct moving *m = &o->ram.list.at[i];

        if (ram_out_grow(&o->ram, m, &first)) {
            g_array_append_val(list, *m);
            pieces_excuse(&o->pieces, m->block, first, m->pages - first);
        }
        total += m->pages * PAGE_SIZE;
    }
    atomic_store(&o->session->total_bytes, total);
}

bool
out_join(struct out *o, GArray *list, GError **error)
{
    struct session *s = o->session;
    bool grown = atomic_exchange(&s->grown, false);

    lock_take(&s->lock);
    g_autoptr(GPtrArray) joining = g_steal_pointer(&s->joining);
    lock_drop(&s->lock);
    for (unsigned i = 0; joining && i < joining->len; i++) {
        const struct joining *j = joining->pdata[i];

        if (!announce(o, j, error))
            return false;
        ram_out_join(&o->ram, j->block);
    }
    pieces_update(&o->pieces);
    if (grown || joining)
        list_grown(o, list);
    return true;
}

/* --- destination ------------------------------------------------------------------------------------------------ */

struct migrate_arrival {
    /* Main only. */
    struct session *session;        /* NULL once that is freed */
    unsigned references;            /* the letter that brings it to main, and whoever makes the device */
    char *text;                     /* owned */
    bool delivered;
};

static void
arrival_drop(struct migrate_arrival *a)
{
    if (--a->references > 0)
        return;
    g_free(a->text);
    g_free(a);
}

static void
arrival_deliver(void *arrival)
{
    struct migrate_arrival *a = arrival;
    const struct migrate_guest *g = &a->session->guest;

    a->delivered = true;
    g->arrive(g->self, a->text, a);
}

static void
arrival_release(void *arrival)
{
    struct migrate_arrival *a = arrival;

    if (!a->delivered)
        a->references--;
    arrival_drop(a);
}

/* Only main cancels and closes, so what it finds here lasts until it returns to its loop. */
bool
migrate_arrival_wanted(const struct migrate_arrival *a)
{
    struct session *s = a->session;

    if (!s)
        return false;
    lock_take(&s->lock);
    bool wanted = s->arrival == a && s->state == MIGRATE_ACTIVE && !s->closing;
    lock_drop(&s->lock);
    return wanted;
}

void
migrate_arrival_done(struct migrate_arrival *a, const GError *error)
{
    struct session *s = a->session;

    if (s) {
        lock_take(&s->lock);
        s->arrival = NULL;
        s->arrival_error = error ? g_error_copy(error) : NULL;
        condition_broadcast(&s->changed);
        lock_drop(&s->lock);
    }
    arrival_drop(a);
}

void
arrival_forget(struct session *s)
{
    lock_take(&s->lock);
    if (s->arrival)
        s->arrival->session = NULL;
    s->arrival = NULL;
    g_clear_error(&s->arrival_error);
    lock_drop(&s->lock);
}

bool
in_join(struct session *s, const char *text, GError **error)
{
    struct migrate_arrival *a;
    GError *failure;
    bool wanted;

    if (!s->guest.arrive)
        return fail(error, NUMON_ERROR_PEER, "the source got a memory device, and none can be added here");
    a = g_new0(struct migrate_arrival, 1);
    *a = (struct migrate_arrival) { .session = s, .references = 2, .text = g_strdup(text) };
    lock_take(&s->lock);
    s->arrival = a;
    session_post(s, arrival_deliver, a, arrival_release);
    while (s->arrival == a && s->state == MIGRATE_ACTIVE && !s->closing)
        condition_wait(&s->changed, &s->lock);
    wanted = s->arrival != a;
    failure = g_steal_pointer(&s->arrival_error);
    lock_drop(&s->lock);
    if (!wanted)
        return session_alive(s, error);
    if (failure)
        g_propagate_prefixed_error(error, failure, "the memory device that the source got cannot be had here: ");
    return failure == NULL;
}
