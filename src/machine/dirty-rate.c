/* SPDX-License-Identifier: GPL-3.0-or-later */
/* One measurement of the dirty rate at a time: a job begins it, a timer lets the period pass, a job ends it.  What
 * the last one found stays until the machine goes. */
#include "machine-private.h"

struct dirty_rate_run {
    struct machine *machine;
    struct dirty_rate *rate;        /* NULL: it has not begun, or could not */
    unsigned seconds;
    uint64_t samples;
    unsigned cpus;
    guint timer;                    /* 0: a job is at work */
    struct dirty_rate_result result;
    GError *error;
};

static void
run_ended(struct job *job, void *data)
{
    struct dirty_rate_run *q = data;
    struct machine *m = q->machine;
    struct dirty_rate_status *s = &m->dirty_rate;

    dirty_rate_free(q->rate);
    m->dirtyings--;
    m->dirty_rate_run = NULL;
    s->measuring = false;
    s->measured = !q->error && q->result.nodes;
    g_clear_pointer(&s->failure, g_free);
    dirty_rate_result_release(&s->result);
    if (q->error)
        s->failure = g_strdup(q->error->message);
    s->result = q->result;
    g_clear_error(&q->error);
    g_free(q);
    machine_settle_arrivals(m);
    machine_changed(m);
}

static void
end_run(struct job *job, void *data)
{
    struct dirty_rate_run *q = data;

    if (!dirty_rate_end(q->rate, &q->result, &q->error))
        q->result = (struct dirty_rate_result) { 0 };
}

static gboolean
period_passed(gpointer data)
{
    struct dirty_rate_run *q = data;

    q->timer = 0;
    job_start(q->machine->jobs, end_run, run_ended, q);
    return G_SOURCE_REMOVE;
}

static void
begin_run(struct job *job, void *data)
{
    struct dirty_rate_run *q = data;
    struct parts *p = q->machine->parts;

    q->rate = dirty_rate_begin(p->map, p->hub, q->machine->dirty_rate.mode, q->samples, q->cpus, &q->error);
}

static void
run_begun(struct job *job, void *data)
{
    struct dirty_rate_run *q = data;

    if (q->rate)
        q->timer = g_timeout_add(q->seconds * 1000, period_passed, q);
    else
        run_ended(NULL, q);
}

bool
machine_calc_dirty_rate(struct machine *m, enum dirty_rate_mode mode, unsigned seconds, uint64_t samples,
                        GError **error)
{
    struct dirty_rate_run *q;

    if (!m->parts)
        return fail(error, NUMON_ERROR_STATE, "cannot measure the dirty rate: there is no machine yet");
    /* Memory devices may come with the guest, and go if it does not come. */
    if (machine_awaits_incoming(m) && machine_arriving(m))
        return fail(error, NUMON_ERROR_STATE, "cannot measure the dirty rate: this machine waits for an incoming "
                    "guest");
    machine_settle_arrivals(m);
    if (m->dirty_rate.measuring)
        return fail(error, NUMON_ERROR_STATE, "cannot measure the dirty rate: a measurement is under way "
                    "(`info dirty_rate` shows it)");
    if (mode == DIRTY_RATE_RING && !hub_tells_cpus(m->parts->hub))
        return fail(error, NUMON_ERROR_STATE, "cannot measure the dirty rate by vCPU: the dirty log here does not "
                    "tell who wrote (`accel kvm,dirty-log=ring` does, and accel synthetic)");
    q = g_new(struct dirty_rate_run, 1);
    *q = (struct dirty_rate_run) { .machine = m, .seconds = seconds, .samples = samples,
                                   .cpus = m->parts->cpu_slots };
    m->dirty_rate.mode = mode;
    m->dirty_rate.seconds = seconds;
    m->dirty_rate.samples = samples;
    m->dirty_rate.start_ms = g_get_real_time() / 1000;
    m->dirty_rate.measuring = true;
    m->dirty_rate_run = q;
    m->dirtyings++;
    job_start(m->jobs, begin_run, run_begun, q);
    return true;
}

const struct dirty_rate_status *
machine_dirty_rate(const struct machine *m)
{
    return &m->dirty_rate;
}

void
machine_forget_dirty_rate(struct machine *m)
{
    if (m->dirty_rate_run) {
        if (m->dirty_rate_run->timer)
            g_source_remove(m->dirty_rate_run->timer);
        run_ended(NULL, m->dirty_rate_run);
    }
    g_free(m->dirty_rate.failure);
    dirty_rate_result_release(&m->dirty_rate.result);
    m->dirty_rate = (struct dirty_rate_status) { 0 };
}

/* --- limits ----------------------------------------------------------------------------------------------------- */

bool
machine_can_limit(const struct machine *m, GError **error)
{
    const struct definition *d = m->definition;
    g_autofree char *reason = NULL;
    const struct accel_class *class;

    if (m->parts)
        return dirty_limit_possible(m->parts->limit, error);
    class = parts_choose_accel(d, &reason, error);
    if (!class)
        return false;
    if (class == &accel_kvm && d->dirty_log != DIRTY_LOG_RING)
        return fail(error, NUMON_ERROR_STATE, "the dirty rate of vCPUs can be limited only with a dirty ring "
                    "(`accel kvm,dirty-log=ring`, or accel synthetic)");
    return true;
}

bool
machine_limit_dirty(struct machine *m, int cpu, uint64_t quota, GError **error)
{
    struct parts *p = m->parts;

    if (!p)
        return fail(error, NUMON_ERROR_STATE, "cannot limit the dirty rate: there is no machine yet");
    if (cpu >= 0 && ((unsigned)cpu >= p->cpu_slots || !bit_test(p->topology.present, (unsigned)cpu)))
        return fail(error, NUMON_ERROR_ARGUMENT, "there is no vCPU %d", cpu);
    if (!dirty_limit_possible(p->limit, error))
        return false;
    if (machine_switching(m) && atomic_load(&m->capabilities.dirty_limit))
        return fail(error, NUMON_ERROR_STATE, "cannot limit the dirty rate: a migration with the capability "
                    "dirty-limit does");
    return dirty_limit_set(p->limit, cpu, quota, 0, error);
}

bool
machine_dirty_limit(const struct machine *m, unsigned cpu, struct dirty_limit_info *ret)
{
    /* A slot without a CPU has the limit of all, for the one that comes. */
    return m->parts && topology_has_cpu(&m->parts->topology, cpu) && dirty_limit_get(m->parts->limit, cpu, ret);
}
