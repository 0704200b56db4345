/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the model of a migration is given: settings, what is known of the line, the host and the switchover, and what
 * the guest does. */
#include "predict.h"

/* Where neither a rehearsal nor a migration has shown it: a page, and a switchover without its pages. */
static const struct rehearsal_result host_assumed = {
    .fresh_us = 1.4, .again_us = 1.2, .alone_us = 1.4, .absent_us = 0.05, .setup_us = 1000, .switchover_us = 1000,
};
/* What a rehearsal has no part of, measured on a quiet host: a vCPU is stopped, saved and loaded; the devices. */
enum { VCPU_US = 250, DEVICES_US = 900 };
/* Of the parts with pages, what they take without any. */
enum { ROUND_TRIP_US = 300 };
enum { DELTA_ASSUMED = 64 };
enum { LAST_RAM_LEAST = 4 << 20 };      /* bytes of a switchover that tell how fast the line is */

/* --- settings --------------------------------------------------------------------------------------------------- */

static uint64_t
read_parameter(const _Atomic uint64_t *p)
{
    return atomic_load_explicit(p, memory_order_relaxed);
}

static uint64_t
part_us(const struct migrate_record *r, const char *name)
{
    for (unsigned i = 0; i < r->parts->len; i++)
        if (g_str_equal(g_array_index(r->parts, struct migrate_part, i).name, name))
            return g_array_index(r->parts, struct migrate_part, i).us;
    return 0;
}

/* What a migration out that came to its end has shown of the line and of the switchover.  The destination loads while
 * the last pages are still on their way, so what they took is in three parts. */
static void
learn(struct predicting *p, const struct migrate_record *r)
{
    uint64_t ram_us = part_us(r, "last RAM") + part_us(r, "flush") + part_us(r, "destination load");
    double line;

    if (r->info.direction != MIGRATE_OUT || r->info.state != MIGRATE_COMPLETED)
        return;
    if (r->info.downtime_bytes >= LAST_RAM_LEAST && ram_us) {
        line = (double)r->info.downtime_bytes * 1e6 / (double)ram_us;
        p->input.line = p->input.line < LINE_UNKNOWN ? MAX(p->input.line, line) : line;
        p->line_from = "as migrations have shown";
    }
    p->input.fixed_us = r->stopped_us - MIN(ram_us, r->stopped_us) + MIN(ram_us, ROUND_TRIP_US);
    p->fixed_from = "as the last migration had it";
    if (r->info.xbzrle_pages > r->info.xbzrle_same + r->info.xbzrle_overflows)
        p->input.delta_bytes = (double)(r->info.xbzrle_bytes - MIN(r->info.xbzrle_overflows * PAGE_SIZE,
                                                                   r->info.xbzrle_bytes))
                             / (double)(r->info.xbzrle_pages - r->info.xbzrle_same - r->info.xbzrle_overflows);
}

/* Bytes a second over all of it, while the guest ran. */
static double
record_bandwidth(const struct migrate_record *r)
{
    uint64_t us = r->info.total_ms * 1000 - MIN(r->stopped_us, r->info.total_ms * 1000);

    return us ? (double)r->info.bytes * 1e6 / (double)us : 0;
}

void
predict_set_bandwidth(struct predicting *p, const struct values *v)
{
    uint64_t most = read_parameter(&machine_parameters(p->monitor->machine)->max_bandwidth);

    p->input.paced = v->at[SETTING_BANDWIDTH].set || most;
    if (v->at[SETTING_BANDWIDTH].set) {
        p->input.bandwidth = (double)v->at[SETTING_BANDWIDTH].number;
        p->bandwidth_from = "as asked";
    } else if (most) {
        p->input.bandwidth = (double)most;
        p->bandwidth_from = "max-bandwidth";
    } else if (p->record && record_bandwidth(p->record) > 0) {
        p->input.bandwidth = record_bandwidth(p->record);
        p->bandwidth_from = "as recorded";
    } else {
        p->input.bandwidth = p->input.line;
        p->bandwidth_from = p->line_from;
    }
}

/* By what the accelerator says of its log; one without a log marks pages at once. */
static enum predict_log
log_of(const struct machine *machine)
{
    const char *log = machine_dirty_log(machine);

    return !log ? LOG_AT_ONCE : g_str_has_prefix(log, dirty_log_names[DIRTY_LOG_MANUAL]) ? LOG_CLEARED : LOG_KEPT;
}

static void
set_converge(struct predict_input *in, const struct machine *machine, const struct migrate_parameters *p)
{
    in->converges = machine_capabilities((struct machine *)machine)->auto_converge;
    in->converge_threshold = (unsigned)read_parameter(&p->throttle_trigger_threshold);
    in->converge_initial = (unsigned)read_parameter(&p->cpu_throttle_initial);
    in->converge_increment = (unsigned)read_parameter(&p->cpu_throttle_increment);
    in->converge_most = (unsigned)read_parameter(&p->max_cpu_throttle);
    in->converge_tailslow = read_parameter(&p->cpu_throttle_tailslow);
}

/* The last migration out that is kept. */
static void
learn_from_last(struct predicting *p)
{
    g_autoptr(GPtrArray) list = machine_migrations(p->monitor->machine);

    for (unsigned i = 0; i < list->len; i++)
        learn(p, list->pdata[i]);
}

static unsigned
present_cpus(const struct machine *machine)
{
    uint64_t present[WORDS_FOR(TOPOLOGY_CPUS)];

    definition_cpus(machine_definition((struct machine *)machine), present);
    return (unsigned)bits_count(present, TOPOLOGY_CPUS);
}

/* With what the rehearsal found, or what is assumed. */
void
predict_set_host(struct predicting *p, const struct rehearsal_result *host, const char *from)
{
    struct predict_input *in = &p->input;

    in->host = *host;
    p->host_from = from;
    in->line = LINE_UNKNOWN;
    p->line_from = "not known: no slower than the host";
    in->fixed_us = host->switchover_us + DEVICES_US + VCPU_US * present_cpus(p->monitor->machine);
    p->fixed_from = from;
    learn_from_last(p);
    if (p->record)
        learn(p, p->record);
}

void
predict_set_input(struct predicting *p, const struct values *v)
{
    struct machine *machine = p->monitor->machine;
    const struct migrate_parameters *now = machine_parameters(machine);
    struct predict_input *in = &p->input;

    in->delta_bytes = DELTA_ASSUMED;
    predict_set_host(p, &host_assumed, "assumed");
    in->downtime_limit_ms = v->at[SETTING_DOWNTIME].set ? v->at[SETTING_DOWNTIME].number
                                                        : read_parameter(&now->downtime_limit);
    in->switchover_bandwidth = read_parameter(&now->avail_switchover_bandwidth);
    in->eager = read_parameter(&now->switchover) == SWITCHOVER_EAGER;
    in->downtime_effort = (unsigned)read_parameter(&now->downtime_effort);
    in->log = log_of(machine);
    in->throttle_percent = v->at[SETTING_THROTTLE].set ? (unsigned)v->at[SETTING_THROTTLE].number : 0;
    if (v->at[SETTING_CACHE].set)
        in->cache_pages = v->at[SETTING_CACHE].number / PAGE_SIZE;
    else if (machine_capabilities(machine)->xbzrle)
        in->cache_pages = read_parameter(&now->xbzrle_cache_size) / PAGE_SIZE;
    set_converge(in, machine, now);
    predict_set_bandwidth(p, v);
}

/* --- the guest -------------------------------------------------------------------------------------------------- */

static void
add_piece(struct predicting *p, uint64_t pages, double filled, double working)
{
    struct predict_piece piece = { .pages = pages, .filled = filled, .working = working };

    g_array_append_val(p->pieces, piece);
    p->pages += pages;
    p->filled += piece.filled;
}

/* As it was measured: cells where something was written share what is written. */
void
predict_take_measure(struct predicting *p, const struct dirty_measure *q)
{
    g_autoptr(GArray) points = g_array_new(FALSE, FALSE, sizeof(struct predict_point));
    uint64_t touched = 0, dirty = 0;

    for (unsigned i = 0; i < q->cells->len; i++) {
        const struct dirty_cell *c = &g_array_index(q->cells, struct dirty_cell, i);
        touched += c->dirty ? c->pages : 0;
        dirty += c->dirty;
    }
    for (unsigned i = 0; i < q->points->len; i++) {
        const struct dirty_point *d = &g_array_index(q->points, struct dirty_point, i);
        struct predict_point point = { d->us, d->pages };
        g_array_append_val(points, point);
    }
    predict_fit((const struct predict_point *)(const void *)points->data, points->len, touched, &p->writes);
    for (unsigned i = 0; i < q->cells->len; i++) {
        const struct dirty_cell *c = &g_array_index(q->cells, struct dirty_cell, i);
        double share = dirty ? p->writes.working * (double)c->dirty / (double)dirty : 0;
        bool all = p->writes.working >= 0.98 * (double)touched;

        add_piece(p, c->pages, (double)c->filled, c->dirty == 0 ? 0 : all ? (double)c->pages
                                                                          : MIN(share, (double)c->pages));
    }
    /* To watch memory from the beginning is to watch each page again, which in a migration comes with sending it. */
    if (p->input.log == LOG_CLEARED)
        p->input.log_us = (double)q->log_us / (double)MAX(p->pages, 1);
    if (q->delta_pages)
        p->input.delta_bytes = (double)q->delta_bytes / (double)q->delta_pages;
    p->input.write_rate = p->writes.rate;
    p->input.sequential = p->writes.sequential;
}

/* As its rounds tell; but not by what rounds left that a person held, or those behind them: a replay holds none.  Where
 * the working pages lie is not known: everywhere alike. */
void
predict_take_record(struct predicting *p, const struct migrate_record *r)
{
    enum { PIECES = 64 };
    uint64_t pages = r->info.total_bytes / PAGE_SIZE, zero = 0, writes = 0, us = 0;
    bool held = false;

    for (unsigned i = 0; i < r->rounds->len; i++) {
        const struct migrate_round *round = &g_array_index(r->rounds, struct migrate_round, i);
        struct predict_round known = { .duration_us = round->duration_us, .fresh_pages = round->fresh_pages };

        if (i == 0)
            zero = round->pages_zero;
        if (round->verdict == VERDICT_LAST || round->open)
            continue;
        if (round->writes_known) {
            writes += round->writes;
            us += (round->duration_us + round->held_us) * (100 - MIN(round->throttle_percent, 99)) / 100;
        }
        held = held || round->held_us;
        if (!held)
            g_array_append_val(p->known, known);
    }
    for (unsigned i = 0; i < PIECES; i++)
        add_piece(p, pages / PIECES, (double)(pages - MIN(zero, pages)) / PIECES, 0);
    p->input.write_rate = us ? (double)writes * 1e6 / (double)us : 0;
}

void
predict_fit_record(struct predicting *p)
{
    const struct migrate_record *r = p->record;
    const struct migrate_round *last = &g_array_index(r->rounds, struct migrate_round, r->rounds->len - 1);
    struct predict_input then = p->input;
    uint64_t fits = r->rounds->len > 1 ? last[-1].fits_bytes : 0;

    then.count = p->pieces->len;
    then.bandwidth = record_bandwidth(r);
    then.downtime_limit_ms = then.bandwidth > 0 ? (uint64_t)((double)fits * 1000 / then.bandwidth) : 0;
    then.switchover_bandwidth = 0;
    then.cache_pages = r->info.cache_bytes / PAGE_SIZE;
    then.throttle_percent = 0;
    if (r->info.dirty_syncs > 1 && p->known->len && then.bandwidth > 0)
        predict_fit_rounds(&then, (struct predict_piece *)(void *)p->pieces->data,
                           (const struct predict_round *)(const void *)p->known->data, p->known->len, &p->writes);
    p->input.write_rate = p->writes.rate;
    p->input.sequential = p->writes.sequential;
}
