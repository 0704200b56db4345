/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The way back through a definition's changes, and forth again.
 *
 * A step holds what differs between the definition before and after a command.  Nearly all commands change a few
 * bytes of the topology, here and there, or one entry of an array: for these the step is those bytes, before and
 * after, so that thousands of `numa dist`, or of devices that come and go, cost little.  Where anything else changed
 * it is both definitions.  The oldest steps go when all together are too large. */
#include "config.h"

#include <string.h>

#include "config-private.h"

/* A range of bytes that was replaced: the old ones, then the new ones. */
struct span {
    size_t at, old_size, new_size;
    uint8_t *bytes;                 /* owned; NULL if nothing differs */
};

enum { ARRAYS = 5, LISTS = 2, MOST_BYTES = 16 * 1024 * 1024, GAP = 64 };

struct step {
    struct definition *before, *after;      /* both or none */
    struct span *topology;          /* without them: its ranges that differ, at least GAP bytes apart */
    unsigned topology_count;
    struct span arrays[ARRAYS];
    size_t bytes;                   /* that it takes */
};

struct undo {
    GPtrArray *steps;               /* struct step *, oldest first */
    guint done;                     /* the first so many can be undone, the rest redone */
    size_t bytes;                   /* of all steps */
};

/* Their elements are plain.  From LISTS on those whose bytes may differ where they are equal. */
static GArray *
array_of(const struct definition *d, unsigned i)
{
    GArray *const arrays[ARRAYS] = { d->hmat.lb, d->hmat.cache, d->backends, d->devices, d->cpus };

    return arrays[i];
}

static void
step_free(gpointer data)
{
    struct step *s = data;

    definition_free(s->before);
    definition_free(s->after);
    for (unsigned i = 0; i < s->topology_count; i++)
        g_free(s->topology[i].bytes);
    g_free(s->topology);
    for (unsigned i = 0; i < ARRAYS; i++)
        g_free(s->arrays[i].bytes);
    g_free(s);
}

struct undo *
undo_new(void)
{
    struct undo *u = g_new0(struct undo, 1);

    u->steps = g_ptr_array_new_with_free_func(step_free);
    return u;
}

void
undo_free(struct undo *u)
{
    if (!u)
        return;
    g_ptr_array_free(u->steps, TRUE);
    g_free(u);
}

/* --- ranges of bytes ------------------------------------------------------------------------------------------ */

/* How many bytes from the start (or, 'back', from the end) are equal; 'a' and 'b' point there.  Block by block: most
 * commands leave most of a topology alone. */
static size_t
equal_run(const uint8_t *a, const uint8_t *b, size_t size, bool back)
{
    enum { BLOCK = 256 };
    size_t same = 0;

    while (size - same >= BLOCK && memcmp(back ? a - same - BLOCK : a + same, back ? b - same - BLOCK : b + same,
                                          BLOCK) == 0)
        same += BLOCK;
    while (same < size && (back ? a[-(ptrdiff_t)same - 1] == b[-(ptrdiff_t)same - 1] : a[same] == b[same]))
        same++;
    return same;
}

static struct span
span_of(const void *before, size_t old_size, const void *after, size_t new_size)
{
    const uint8_t *old = before, *new = after;
    size_t least = MIN(old_size, new_size), start = least ? equal_run(old, new, least, false) : 0;
    size_t end = least > start ? equal_run(old + old_size, new + new_size, least - start, true) : 0;

    struct span s = { .at = start, .old_size = old_size - start - end, .new_size = new_size - start - end };
    if (s.old_size + s.new_size == 0)
        return s;
    s.bytes = g_malloc(s.old_size + s.new_size);
    if (s.old_size)
        memcpy(s.bytes, old + start, s.old_size);
    if (s.new_size)
        memcpy(s.bytes + s.old_size, new + start, s.new_size);
    return s;
}

static struct span
array_span(const GArray *before, const GArray *after)
{
    size_t size = g_array_get_element_size((GArray *)before);

    return span_of(before->data, before->len * size, after->data, after->len * size);
}

static void
span_put(const struct span *s, bool back, uint8_t *bytes)
{
    if (s->bytes && back)
        memcpy(bytes + s->at, s->bytes, s->old_size);
    else if (s->bytes)
        memcpy(bytes + s->at, s->bytes + s->old_size, s->new_size);
}

/* The array with the range put back (or forth); its elements may become more or fewer. */
static void
array_put(const struct span *s, bool back, GArray *array)
{
    size_t size = g_array_get_element_size(array), gone = back ? s->new_size : s->old_size;
    size_t come = back ? s->old_size : s->new_size, rest = array->len * size - s->at - gone;

    if (!s->bytes)
        return;
    g_autofree uint8_t *tail = rest ? g_memdup2(array->data + s->at + gone, rest) : NULL;
    g_array_set_size(array, (guint)((s->at + come + rest) / size));
    span_put(s, back, (uint8_t *)array->data);
    if (rest)
        memcpy(array->data + s->at + come, tail, rest);
}

/* --- steps ---------------------------------------------------------------------------------------------------- */

static size_t
span_bytes(const struct span *s)
{
    return s->old_size + s->new_size;
}

/* Where the range of differing bytes ends that begins at 'at': GAP equal ones follow, or nothing but equal ones. */
static size_t
end_of_range(const uint8_t *old, const uint8_t *new, size_t at, size_t size)
{
    size_t end = at + 1;

    for (;;) {
        size_t same = equal_run(old + end, new + end, MIN(size - end, GAP), false);

        if (same >= GAP || end + same >= size)
            return end;
        end += same + 1;
    }
}

/* What a command changes lies far apart in a topology: a node, and the list of nodes. */
static void
record_topology(struct step *s, const struct topology *before, const struct topology *after)
{
    const uint8_t *old = (const uint8_t *)before, *new = (const uint8_t *)after;
    size_t size = sizeof *before, at = equal_run(old, new, size, false);
    g_autoptr(GArray) spans = g_array_new(FALSE, FALSE, sizeof(struct span));

    while (at < size) {
        size_t end = end_of_range(old, new, at, size);
        struct span range = span_of(old + at, end - at, new + at, end - at);

        range.at += at;
        s->bytes += sizeof range + span_bytes(&range);
        g_array_append_val(spans, range);
        at = end + equal_run(old + end, new + end, size - end, false);
    }
    s->topology_count = spans->len;
    s->topology = spans->len ? g_memdup2(spans->data, spans->len * sizeof(struct span)) : NULL;
}

/* What the arrays of a definition take is little beside it. */
static struct step *
step_new(const struct definition *before, const struct definition *after)
{
    struct step *s = g_new0(struct step, 1);

    s->bytes = sizeof *s;
    if (!definition_rest_equal(before, after)) {
        s->before = definition_copy(before);
        s->after = definition_copy(after);
        s->bytes += 2 * sizeof *before;
        return s;
    }
    record_topology(s, &before->topology, &after->topology);
    for (unsigned i = 0; i < (definition_lists_equal(before, after) ? LISTS : ARRAYS); i++) {
        s->arrays[i] = array_span(array_of(before, i), array_of(after, i));
        s->bytes += span_bytes(&s->arrays[i]);
    }
    return s;
}

/* The first 'count', or the last. */
static void
drop_steps(struct undo *u, guint first, guint count)
{
    for (guint i = first; i < first + count; i++)
        u->bytes -= ((const struct step *)u->steps->pdata[i])->bytes;
    if (count)
        g_ptr_array_remove_range(u->steps, first, count);
}

void
undo_record(struct undo *u, const struct definition *before, const struct definition *after)
{
    struct step *s = step_new(before, after);
    guint old = 0;
    size_t bytes;

    if (s->bytes == sizeof *s) {
        step_free(s);               /* nothing differs */
        return;
    }
    drop_steps(u, u->done, u->steps->len - u->done);
    g_ptr_array_add(u->steps, s);
    u->bytes += s->bytes;
    for (bytes = u->bytes; bytes > MOST_BYTES && old < u->steps->len - 1; old++)
        bytes -= ((const struct step *)u->steps->pdata[old])->bytes;
    drop_steps(u, 0, old);
    u->done = u->steps->len;
}

static struct definition *
step_apply(const struct step *s, bool back, const struct definition *now)
{
    struct definition *d;

    if (s->before)
        return definition_copy(back ? s->before : s->after);
    d = definition_copy(now);
    for (unsigned i = 0; i < s->topology_count; i++)
        span_put(&s->topology[i], back, (uint8_t *)&d->topology);
    for (unsigned i = 0; i < ARRAYS; i++)
        array_put(&s->arrays[i], back, array_of(d, i));
    return d;
}

struct definition *
undo_back(struct undo *u, const struct definition *now)
{
    return u->done ? step_apply(u->steps->pdata[--u->done], true, now) : NULL;
}

struct definition *
undo_forth(struct undo *u, const struct definition *now)
{
    return u->done < u->steps->len ? step_apply(u->steps->pdata[u->done++], false, now) : NULL;
}

unsigned
undo_depth(const struct undo *u, bool back)
{
    return back ? u->done : u->steps->len - u->done;
}
