/* SPDX-License-Identifier: GPL-3.0-or-later */
/* How near memory is, measured in the guest: a job takes from the host what will be read (a page that was never
 * written would be the one page of zeros that all share) and asks where it lies; then one vCPU after the other is
 * asked, so that they do not measure each other, and a timer looks for the answers.  One measurement a machine at a
 * time. */
#include "machine-private.h"

enum { LOOK_MS = 3, SAMPLES = 512 };
enum {
    BUDGET_MOST_US = 10000, BUDGET_LEAST_US = 1000,     /* for a vCPU and a node */
    BUDGET_ALL_US = 2 * G_USEC_PER_SEC,                 /* for all, as long as the least allows it */
    PATIENCE_US = 5 * G_USEC_PER_SEC,                   /* a host that is busy, a vCPU that naps */
    PAGE_US = 30,                                       /* the first look of a vCPU at a page, at worst */
    STANDSTILL_US = G_USEC_PER_SEC,                     /* a guest may stand still for so long */
};

struct buffer { struct block *block; uint64_t offset; };

struct latency_work {
    struct machine *machine;
    struct buffer buffers[CONTROL_NODES];       /* what is read of each node; block NULL: nothing */
    struct job *job;                            /* takes that from the host; NULL: vCPUs are being asked */
    bool again;                                 /* it was abandoned, and begins anew when the job has ended */
    guint timer;
    unsigned cpu;                               /* the one that is being asked */
    uint64_t request;                           /* 0: it is not online yet */
    int64_t asked_us, ran_us;                   /* when it was asked; when the guest was last seen running */
    uint64_t patience_us;
    struct latency result;
    GError *error;
    void (*done)(void *self, const struct latency *result, const GError *error);   /* NULL: nobody waits any more */
    void *self;
};

/* Tells whoever waits, and forgets it. */
static void
finish(struct latency_work *q)
{
    struct machine *m = q->machine;

    if (q->timer)
        g_source_remove(q->timer);
    m->latency = NULL;
    if (q->done)
        q->done(q->self, &q->result, q->error);
    g_clear_error(&q->error);
    g_free(q->result.cpus);
    g_free(q->result.nodes);
    g_free(q);
}

/* --- one vCPU after the other ----------------------------------------------------------------------------------- */

/* For one node more, with what an access costs there. */
static uint64_t
node_patience(const struct latency_work *q, unsigned node)
{
    uint64_t farthest = UINT64_C(255) / 10 + 1, delay = q->machine->definition->numa_delay_ns * farthest / 1000;

    return 2 * q->result.budget_us + 2 * delay + q->result.nodes[node].bytes / PAGE_SIZE * PAGE_US;
}

static void
next_cpu(struct latency_work *q)
{
    q->cpu++;
    q->request = 0;
    q->asked_us = g_get_monotonic_time();
}

/* False with q->error. */
static bool
ask(struct latency_work *q)
{
    struct parts *p = q->machine->parts;
    bool ok;

    if (!machine_writes_begin(q->machine, "measure", &q->error))
        return false;
    ok = workload_probe_ask(p->map, p->hub, q->cpu, q->result.bytes, q->result.budget_us, &q->request, &q->error);
    machine_writes_end(q->machine);
    q->asked_us = g_get_monotonic_time();
    return ok;
}

/* A slot without a CPU is passed over, a CPU that is not online after a moment. */
static bool
begin_cpu(struct latency_work *q, GError **error)
{
    g_autofree struct workload_status *s = g_new(struct workload_status, 1);

    if (!workload_status(q->machine->parts->map, s, error))
        return false;
    q->result.cpus[q->cpu].node = (unsigned)MIN(s->cpus[q->cpu].node, CONTROL_NODES - 1);
    q->result.cpus[q->cpu].online = s->cpus[q->cpu].online;
    q->result.cpus[q->cpu].present = topology_has_cpu(&q->machine->parts->topology, q->cpu);
    if (s->stage == STAGE_PANIC)
        return fail(error, NUMON_ERROR_STATE, "cannot measure: the guest has panicked");
    if (s->cpus[q->cpu].online)
        return ask(q);
    if (!q->result.cpus[q->cpu].present || g_get_monotonic_time() - q->asked_us > STANDSTILL_US)
        next_cpu(q);
    return true;
}

static bool
look_at_cpu(struct latency_work *q, GError **error)
{
    switch (workload_probe_read(q->machine->parts->map, q->cpu, q->request, q->result.cpus[q->cpu].nodes)) {
    case WORKLOAD_ANSWERED:
        next_cpu(q);
        return true;
    case WORKLOAD_ASKED_NO_MORE:
        return fail(error, NUMON_ERROR_STATE, "cannot measure: the guest began anew meanwhile");
    case WORKLOAD_NO_ANSWER_YET:
        break;
    }
    return g_get_monotonic_time() - q->asked_us < (int64_t)q->patience_us ||
           fail(error, NUMON_ERROR_STATE, "cannot measure: vCPU %u has not answered in %" G_GUINT64_FORMAT " s",
                q->cpu, q->patience_us / G_USEC_PER_SEC);
}

/* True if there is more to wait for. */
static bool
step(struct latency_work *q)
{
    int64_t now = g_get_monotonic_time();

    if (machine_running(q->machine))
        q->ran_us = now;
    else if (now - q->ran_us > STANDSTILL_US)
        return fail(&q->error, NUMON_ERROR_STATE, "cannot measure: the guest stopped meanwhile, its status is '%s'",
                    machine_status(q->machine));
    else
        return true;
    return (q->request ? look_at_cpu(q, &q->error) : begin_cpu(q, &q->error)) && q->cpu < q->result.cpu_count;
}

static gboolean
look(gpointer data)
{
    struct latency_work *q = data;

    if (step(q))
        return G_SOURCE_CONTINUE;
    q->timer = 0;
    finish(q);
    return G_SOURCE_REMOVE;
}

/* --- what will be read ------------------------------------------------------------------------------------------ */

static void
take_buffers(struct job *job, void *data)
{
    struct latency_work *q = data;
    struct block_progress progress = { .job = job };

    for (unsigned n = 0; n < q->result.node_count; n++) {
        const struct buffer *b = &q->buffers[n];
        struct latency_node *to = &q->result.nodes[n];

        if (!b->block)
            continue;
        /* A file that cannot be written has its pages already. */
        if (!b->block->options.readonly && !block_populate_range(b->block, b->offset, to->bytes, &progress,
                                                                 &q->error))
            return;
        block_places(b->block, b->offset, to->bytes, SAMPLES, &to->places);
    }
}

static void
find_buffers(struct latency_work *q)
{
    const struct guest_map *map = q->machine->parts->map;

    for (unsigned n = 0; n < q->result.node_count; n++) {
        const struct section *s;
        uint64_t gpa;

        if (!workload_probe_range(map, n, q->result.bytes, &gpa, &q->result.nodes[n].bytes))
            continue;
        s = guest_map_find(map, gpa);
        q->buffers[n] = (struct buffer) { s->block, s->offset + (gpa - s->gpa) };
    }
}

/* --- the measurement -------------------------------------------------------------------------------------------- */

static bool
can_measure(struct machine *m, struct workload_status *ret, GError **error)
{
    if (!m->parts)
        return fail(error, NUMON_ERROR_STATE, "cannot measure: there is no machine yet");
    if (machine_awaits_incoming(m))
        return fail(error, NUMON_ERROR_STATE, "cannot measure: the guest has not arrived yet");
    if (!machine_running(m))
        return fail(error, NUMON_ERROR_STATE, "cannot measure: the guest does it itself, and its status is '%s'%s",
                    machine_status(m), run_reasons(m->parts->run) == STOP_USER ? " (`cont` lets it run)" : "");
    if (!workload_present(m->parts->map))
        return fail(error, NUMON_ERROR_STATE, "cannot measure: there is no workload guest in memory, and no other "
                    "measures (`kernel " BUILTIN_WORKLOAD "`)");
    if (!workload_status(m->parts->map, ret, error))
        return false;
    if (ret->stage == STAGE_PANIC)
        return fail(error, NUMON_ERROR_STATE, "cannot measure: the guest has panicked");
    if (ret->stage != STAGE_RUNNING || ret->cpu_count == 0 || ret->node_count == 0)
        return fail(error, NUMON_ERROR_STATE, "cannot measure: the guest is just starting (`wait ticks 1`)");
    return true;
}

/* Made anew where an abandoned measurement begins again. */
static bool
prepare(struct latency_work *q, GError **error)
{
    g_autofree struct workload_status *s = g_new(struct workload_status, 1);
    uint64_t pairs;

    if (!can_measure(q->machine, s, error))
        return false;
    pairs = s->cpu_count * s->node_count;
    g_free(q->result.cpus);
    g_free(q->result.nodes);
    q->result = (struct latency) {
        .bytes = q->result.bytes, .budget_us = CLAMP(BUDGET_ALL_US / pairs, BUDGET_LEAST_US, BUDGET_MOST_US),
        .cpu_count = (unsigned)s->cpu_count, .node_count = (unsigned)s->node_count,
        .cpus = g_new0(struct latency_cpu, s->cpu_count), .nodes = g_new0(struct latency_node, s->node_count),
    };
    find_buffers(q);
    q->patience_us = PATIENCE_US;
    for (unsigned n = 0; n < q->result.node_count; n++)
        q->patience_us += node_patience(q, n);
    return true;
}

static gboolean begin(gpointer data);

static void
buffers_taken(struct job *job, void *data)
{
    struct latency_work *q = data;

    q->job = NULL;
    if (q->again) {
        g_clear_error(&q->error);
        q->again = false;
        q->timer = g_idle_add(begin, q);
        return;
    }
    if (!q->error && job_cancelled(job))
        fail(&q->error, NUMON_ERROR_STATE, "cannot measure: it was cancelled");
    if (q->error || !q->done) {
        finish(q);
        return;
    }
    q->ran_us = q->asked_us = g_get_monotonic_time();
    q->timer = g_timeout_add(LOOK_MS, look, q);
}

/* Once more, after an abandoned one has ended. */
static gboolean
begin(gpointer data)
{
    struct latency_work *q = data;

    q->timer = 0;
    if (prepare(q, &q->error))
        q->job = job_start(q->machine->jobs, take_buffers, buffers_taken, q);
    else
        finish(q);
    return G_SOURCE_REMOVE;
}

bool
machine_measure_latency(struct machine *m, uint64_t bytes,
                        void (*done)(void *self, const struct latency *result, const GError *error), void *self,
                        GError **error)
{
    struct latency_work *q = m->latency;

    if (q && q->done)
        return fail(error, NUMON_ERROR_STATE, "cannot measure: a measurement is under way already");
    if (q) {
        /* Its job has not yet heard that nobody waits for it. */
        q->again = true;
        q->result.bytes = bytes;
        q->done = done;
        q->self = self;
        return true;
    }
    q = g_new0(struct latency_work, 1);
    *q = (struct latency_work) { .machine = m, .result.bytes = bytes, .done = done, .self = self };
    if (!prepare(q, error)) {
        g_free(q);
        return false;
    }
    m->latency = q;
    q->job = job_start(m->jobs, take_buffers, buffers_taken, q);
    return true;
}

/* A vCPU that is busy with it need not go on: it is asked for nothing instead. */
static void
withdraw(struct latency_work *q)
{
    struct machine *m = q->machine;
    uint64_t request;

    if (!q->request || !m->parts || !machine_writes_begin(m, "measure", NULL))
        return;
    workload_probe_ask(m->parts->map, m->parts->hub, q->cpu, 0, 0, &request, NULL);
    machine_writes_end(m);
}

void
machine_latency_abandon(struct machine *m)
{
    struct latency_work *q = m->latency;

    if (!q)
        return;
    q->done = NULL;
    q->again = false;
    if (q->job) {
        job_cancel(q->job);
    } else {
        withdraw(q);
        finish(q);
    }
}
