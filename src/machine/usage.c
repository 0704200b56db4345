/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the guest's nodes use of the host: a subscriber of the dirty hub for a second while the guest runs, then a job
 * that counts its bits and asks the kernel about the pages.  The machine cannot be torn down meanwhile. */
#include "machine-private.h"

enum { PERIOD_MS = 1000 };

struct measurement {
    struct machine *machine;
    struct subscriber *subscriber;  /* NULL: the guest does not run, nothing becomes dirty */
    int64_t begun_us;
    guint timer;                    /* 0: the job runs */
    uint64_t samples;
    GArray *nodes;                  /* struct node_usage */
    GError *error;
    void (*done)(void *self, const GArray *nodes, const GError *error);
    void *self;
};

/* The node's row, made if it is new. */
static struct node_usage *
row_of(struct measurement *q, int node)
{
    struct node_usage fresh = { .node = node };

    for (unsigned i = 0; i < q->nodes->len; i++) {
        if (g_array_index(q->nodes, struct node_usage, i).node == node)
            return &g_array_index(q->nodes, struct node_usage, i);
    }
    fresh.placements = g_array_new(FALSE, TRUE, sizeof(struct placement));
    g_array_append_val(q->nodes, fresh);
    return &g_array_index(q->nodes, struct node_usage, q->nodes->len - 1);
}

static uint64_t
dirty_pages(const struct measurement *q, const struct section *s)
{
    const _Atomic uint64_t *words = q->subscriber ? subscriber_words(q->subscriber, s->block) : NULL;
    uint64_t end = (s->offset + s->size) / PAGE_SIZE, count = 0;

    if (!words)
        return 0;
    for (uint64_t page = bits_next_atomic(words, end, s->offset / PAGE_SIZE); page < end;
         page = bits_next_atomic(words, end, page + 1))
        count++;
    return count;
}

/* Samples of a piece on nodes that its policy does not name; the default names none. */
static uint64_t
count_misplaced(const struct backend_options *o, const struct memory_places *places)
{
    uint64_t count = 0;

    for (unsigned node = 0; o->policy != HOST_POLICY_DEFAULT && node < HOST_NODES; node++)
        count += bit_test(o->host_nodes, node) ? 0 : places->on_node[node];
    return count;
}

/* Adds what was found of a piece to the node's, and to its backend's. */
static void
add_places(struct node_usage *u, const struct backend_options *o, const struct memory_places *places)
{
    struct placement fresh = { .backend = o }, *of = NULL;

    u->places.asked += places->asked;
    u->places.found += places->found;
    for (unsigned node = 0; node < HOST_NODES; node++)
        u->places.on_node[node] += places->on_node[node];
    for (unsigned i = 0; i < u->placements->len; i++) {
        if (g_array_index(u->placements, struct placement, i).backend == o)
            of = &g_array_index(u->placements, struct placement, i);
    }
    if (!of) {
        g_array_append_val(u->placements, fresh);
        of = &g_array_index(u->placements, struct placement, u->placements->len - 1);
    }
    of->misplaced += count_misplaced(o, places);
}

static void
measure_section(struct measurement *q, const struct section *s)
{
    struct node_usage *u = row_of(q, s->node);
    struct memory_places places = { 0 };
    uint64_t of_node = 0, plugged;

    /* A node's samples are shared out among its pieces. */
    for (unsigned i = 0; i < q->machine->parts->map->sections->len; i++) {
        const struct section *other = &g_array_index(q->machine->parts->map->sections, struct section, i);

        of_node += other->node == s->node ? other->size : 0;
    }
    /* Of a virtio-mem as much as is plugged; of an nvdimm what is not labels. */
    plugged = s->block->device ? MIN(s->size, atomic_load(&s->block->used)) : 0;
    u->plugged += plugged;
    u->size += s->block->device ? plugged : s->size;
    u->dirty_pages += dirty_pages(q, s);
    block_usage(s->block, s->offset, s->size, &u->memory);
    block_places(s->block, s->offset, s->size,
                 (uint64_t)(((unsigned __int128)q->samples * s->size + of_node - 1) / of_node), &places);
    add_places(u, &s->block->options, &places);
}

static void
release_row(void *row)
{
    g_array_unref(((struct node_usage *)row)->placements);
}

static void
measure_work(struct job *job, void *data)
{
    struct measurement *q = data;
    const struct parts *p = q->machine->parts;
    uint64_t passed;

    if (q->subscriber && !hub_sync(p->hub, &q->error))
        return;
    passed = MAX((uint64_t)(g_get_monotonic_time() - q->begun_us), 1);
    for (unsigned i = 0; i < p->map->sections->len && !job_cancelled(job); i++)
        measure_section(q, &g_array_index(p->map->sections, struct section, i));
    for (unsigned i = 0; i < q->nodes->len; i++) {
        struct node_usage *u = &g_array_index(q->nodes, struct node_usage, i);

        u->dirty_rate = u->dirty_pages * G_USEC_PER_SEC / passed;
    }
}

static void
measure_done(struct job *job, void *data)
{
    struct measurement *q = data;
    struct machine *m = q->machine;

    hub_unsubscribe(m->parts->hub, q->subscriber);
    m->measurements = g_list_remove(m->measurements, q);
    q->done(q->self, q->nodes, q->error);
    machine_settle_arrivals(m);
    g_array_unref(q->nodes);
    g_clear_error(&q->error);
    g_free(q);
}

static gboolean
measure_now(gpointer data)
{
    struct measurement *q = data;

    q->timer = 0;
    job_start(q->machine->jobs, measure_work, measure_done, q);
    return G_SOURCE_REMOVE;
}

bool
machine_measure_usage(struct machine *m, uint64_t samples,
                      void (*done)(void *self, const GArray *nodes, const GError *error), void *self, GError **error)
{
    struct measurement *q;
    struct subscriber *s = NULL;

    if (!m->parts)
        return fail(error, NUMON_ERROR_STATE, "cannot measure memory: there is no machine yet");
    /* Memory devices may come with the guest, and go if it does not come. */
    if (machine_awaits_incoming(m) && machine_arriving(m))
        return fail(error, NUMON_ERROR_STATE, "cannot measure memory: this machine waits for an incoming guest");
    machine_settle_arrivals(m);
    if (machine_running(m)) {
        s = hub_subscribe(m->parts->hub, "numa_usage", error);
        if (!s)
            return false;
    }
    q = g_new0(struct measurement, 1);
    *q = (struct measurement) {
        .machine = m, .subscriber = s, .begun_us = g_get_monotonic_time(), .samples = samples, .done = done,
        .self = self, .nodes = g_array_new(FALSE, TRUE, sizeof(struct node_usage)),
    };
    g_array_set_clear_func(q->nodes, release_row);
    m->measurements = g_list_prepend(m->measurements, q);
    if (s)
        q->timer = g_timeout_add(PERIOD_MS, measure_now, q);
    else
        measure_now(q);
    return true;
}

void
machine_end_measurements(struct machine *m)
{
    while (m->measurements) {
        struct measurement *q = m->measurements->data;

        if (q->timer)
            g_source_remove(q->timer);
        fail(&q->error, NUMON_ERROR_STATE, "the measurement was abandoned");
        measure_done(NULL, q);
    }
}
