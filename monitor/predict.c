/* SPDX-License-Identifier: GPL-3.0-or-later */
/* `migrate_predict`: what a migration would be like, from a second's look at how the guest writes, or from the
 * rounds that one had; `info prediction`: the last prediction beside what came.  The model is
 * src/migrate/predict.c's; here are the numbers it is given and the tables. */
#include "migrate-views.h"

#include <inttypes.h>
#include <string.h>

enum { CELLS_MOST = 512, PERIOD_MS = 1000 };
/* Where no migration has shown it: what one host sends to itself, and a switchover without its pages. */
#define LINE_ASSUMED (UINT64_C(3000) * MIB)
enum { FIXED_ASSUMED_US = 1500, DELTA_ASSUMED = 64 };
enum { LAST_RAM_LEAST = 1 << 20 };      /* bytes of a switchover that tell how fast the line is */

enum { PREDICT_RECORD, PREDICT_SETTINGS };
const struct property predict_args[] = {
    [PREDICT_RECORD] = { "-r", PROPERTY_UINT, .max = MACHINE_MIGRATIONS,
                         .help = "replay this one of `info migrate history` instead of measuring" },
    [PREDICT_SETTINGS] = { "SETTINGS", PROPERTY_REST, .help = "other settings than those set, KEY=VALUE each" },
    { 0 }
};
enum { SETTING_BANDWIDTH, SETTING_DOWNTIME, SETTING_CACHE, SETTING_THROTTLE };
const struct property predict_settings[] = {
    [SETTING_BANDWIDTH] = { "bandwidth", PROPERTY_SIZE, .unit_size = MIB, .min = 1, .unit = "bytes/second",
                            .help = "as max-bandwidth" },
    [SETTING_DOWNTIME] = { "downtime", PROPERTY_UINT, .max = 2000000, .unit = "ms", .help = "as downtime-limit" },
    [SETTING_CACHE] = { "xbzrle-cache-size", PROPERTY_SIZE, .unit = "bytes",
                        .help = "with xbzrle and a cache of this size; 0 without" },
    [SETTING_THROTTLE] = { "throttle", PROPERTY_UINT, .max = 99, .unit = "%",
                           .help = "taken from the guest's CPUs all the time" },
    { 0 }
};

struct predicting {
    struct monitor *monitor;
    struct call *call;                  /* NULL: it has gone */
    struct predict_input input;
    struct predict_result result;       /* the job's while it works */
    GArray *pieces;                     /* struct predict_piece */
    struct predict_writes writes;
    uint64_t pages;
    double filled;
    const char *bandwidth_from, *line_from;     /* static */
    struct migrate_record *record;      /* -r; owned */
    GArray *known;                      /* struct predict_round: those it had */
};

static void
predicting_free(struct predicting *p)
{
    predict_result_release(&p->result);
    g_array_unref(p->pieces);
    g_array_unref(p->known);
    migrate_record_free(p->record);
    g_free(p);
}

static void
forget_call(void *data)
{
    struct predicting *p = data;

    p->call = NULL;
}

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

/* What a migration out that came to its end has shown of the line. */
static void
learn(struct predicting *p, const struct migrate_record *r)
{
    uint64_t ram_us = part_us(r, "last RAM") + part_us(r, "flush") + part_us(r, "destination load");

    if (r->info.direction != MIGRATE_OUT || r->info.state != MIGRATE_COMPLETED)
        return;
    if (r->stopped_us > ram_us)
        p->input.fixed_us = r->stopped_us - ram_us;
    if (r->info.downtime_bytes >= LAST_RAM_LEAST && ram_us) {
        p->input.line = (double)r->info.downtime_bytes * 1e6 / (double)ram_us;
        p->line_from = "as the last migration showed";
    }
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

static void
set_bandwidth(struct predicting *p, const struct values *v)
{
    uint64_t most = read_parameter(&machine_parameters(p->monitor->machine)->max_bandwidth);

    if (v->at[SETTING_BANDWIDTH].set) {
        p->input.bandwidth = (double)v->at[SETTING_BANDWIDTH].number;
        p->input.line = MAX(p->input.line, p->input.bandwidth);
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

static void
set_input(struct predicting *p, const struct values *v)
{
    struct machine *machine = p->monitor->machine;
    const struct migrate_parameters *now = machine_parameters(machine);
    struct predict_input *in = &p->input;

    in->line = (double)LINE_ASSUMED;
    p->line_from = "assumed: no migration has shown it yet";
    in->fixed_us = FIXED_ASSUMED_US;
    in->delta_bytes = DELTA_ASSUMED;
    learn_from_last(p);
    if (p->record)
        learn(p, p->record);
    in->downtime_limit_ms = v->at[SETTING_DOWNTIME].set ? v->at[SETTING_DOWNTIME].number
                                                        : read_parameter(&now->downtime_limit);
    in->switchover_bandwidth = read_parameter(&now->avail_switchover_bandwidth);
    in->eager = read_parameter(&now->switchover) == SWITCHOVER_EAGER;
    in->log = log_of(machine);
    in->throttle_percent = v->at[SETTING_THROTTLE].set ? (unsigned)v->at[SETTING_THROTTLE].number : 0;
    if (v->at[SETTING_CACHE].set)
        in->cache_pages = v->at[SETTING_CACHE].number / PAGE_SIZE;
    else if (machine_capabilities(machine)->xbzrle)
        in->cache_pages = read_parameter(&now->xbzrle_cache_size) / PAGE_SIZE;
    set_converge(in, machine, now);
    set_bandwidth(p, v);
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
static void
take_measure(struct predicting *p, const struct dirty_measure *q)
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
    if (q->delta_pages)
        p->input.delta_bytes = (double)q->delta_bytes / (double)q->delta_pages;
    p->input.write_rate = p->writes.rate;
    p->input.sequential = p->writes.sequential;
}

/* As its rounds tell.  Where the working pages lie is not known: everywhere alike. */
static void
take_record(struct predicting *p, const struct migrate_record *r)
{
    enum { PIECES = 64 };
    uint64_t pages = r->info.total_bytes / PAGE_SIZE, zero = 0, writes = 0, us = 0;

    for (unsigned i = 0; i < r->rounds->len; i++) {
        const struct migrate_round *round = &g_array_index(r->rounds, struct migrate_round, i);
        struct predict_round known = { .duration_us = round->duration_us, .fresh_pages = round->fresh_pages };

        if (i == 0)
            zero = round->pages_zero;
        if (round->verdict == VERDICT_LAST || round->open)
            continue;
        if (round->writes_known) {
            writes += round->writes;
            us += round->duration_us * (100 - MIN(round->throttle_percent, 99)) / 100;
        }
        g_array_append_val(p->known, known);
    }
    for (unsigned i = 0; i < PIECES; i++)
        add_piece(p, pages / PIECES, (double)(pages - MIN(zero, pages)) / PIECES, 0);
    p->input.write_rate = us ? (double)writes * 1e6 / (double)us : 0;
}

/* The job: finds what the guest did, with the settings that the recorded migration had. */
static void
fit_record(struct predicting *p)
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

/* --- the tree --------------------------------------------------------------------------------------------------- */

static void
put(GVariantDict *dict, const char *key, uint64_t number)
{
    g_variant_dict_insert(dict, key, "t", number);
}

static GVariant *
predicted_rounds(const struct predict_result *r)
{
    GVariantBuilder rows;

    g_variant_builder_init(&rows, G_VARIANT_TYPE("aa{sv}"));
    for (unsigned i = 0; i < r->rounds->len; i++) {
        const struct predict_round *round = &g_array_index(r->rounds, struct predict_round, i);
        GVariantDict row;

        g_variant_dict_init(&row, NULL);
        put(&row, "round", i + 1);
        put(&row, "duration-us", round->duration_us);
        put(&row, "bytes", round->bytes);
        put(&row, "dirty-end-bytes", round->dirty_end);
        put(&row, "dirtied-pages", round->fresh_pages);
        put(&row, "throttle", round->throttle_percent);
        g_variant_builder_add_value(&rows, g_variant_dict_end(&row));
    }
    return g_variant_builder_end(&rows);
}

/* What came: rounds and the whole. */
static void
put_fact(GVariantDict *dict, const struct migrate_record *r)
{
    g_autoptr(GVariant) tree = g_variant_ref_sink(rounds_tree(r));
    GVariant *rounds = g_variant_lookup_value(tree, "rounds", NULL);

    g_variant_dict_insert_value(dict, "fact-rounds", rounds);
    g_variant_unref(rounds);
    g_variant_dict_insert(dict, "fact-state", "s", migrate_state_name(r->info.state));
    put(dict, "fact-total-us", r->info.total_ms * 1000);
    put(dict, "fact-bytes", r->info.bytes);
    if (r->info.downtime_known)
        put(dict, "fact-downtime-us", r->info.downtime_us);
}

static GVariant *
prediction_tree(const struct predicting *p)
{
    GVariantDict dict;

    g_variant_dict_init(&dict, NULL);
    put(&dict, "pages", p->pages);
    put(&dict, "filled-pages", (uint64_t)p->filled);
    put(&dict, "working-pages", (uint64_t)p->writes.working);
    put(&dict, "write-rate", (uint64_t)p->writes.rate);
    g_variant_dict_insert(&dict, "sequential", "b", (gboolean)p->writes.sequential);
    put(&dict, "bandwidth", (uint64_t)p->input.bandwidth);
    put(&dict, "line", (uint64_t)p->input.line);
    g_variant_dict_insert(&dict, "bandwidth-from", "s", p->bandwidth_from);
    g_variant_dict_insert(&dict, "line-from", "s", p->line_from);
    put(&dict, "downtime-limit", p->input.downtime_limit_ms);
    put(&dict, "fixed-us", p->input.fixed_us);
    put(&dict, "xbzrle-cache-pages", p->input.cache_pages);
    put(&dict, "delta-bytes", (uint64_t)p->input.delta_bytes);
    put(&dict, "throttle", p->input.throttle_percent);
    g_variant_dict_insert(&dict, "auto-converge", "b", (gboolean)p->input.converges);
    g_variant_dict_insert(&dict, "converges", "b", (gboolean)p->result.converges);
    put(&dict, "total-us", p->result.total_us);
    put(&dict, "downtime-us", p->result.downtime_us);
    put(&dict, "bytes", p->result.bytes);
    put(&dict, "last-remaining", p->result.last_remaining);
    put(&dict, "last-throttle", p->result.throttle_percent);
    g_variant_dict_insert_value(&dict, "rounds", predicted_rounds(&p->result));
    if (p->record)
        put_fact(&dict, p->record);
    return g_variant_ref_sink(g_variant_dict_end(&dict));
}

/* --- the command ------------------------------------------------------------------------------------------------ */

static uint64_t
session_number(struct monitor *m)
{
    struct session *s = machine_session(m->machine);
    struct migrate_info info;

    if (!s)
        return 0;
    session_info(s, &info);
    migrate_info_release(&info);
    return info.id;
}

static void
predict_work(struct job *job, void *data)
{
    struct predicting *p = data;

    if (p->record)
        fit_record(p);
    p->input.pieces = (const struct predict_piece *)(const void *)p->pieces->data;
    p->input.count = p->pieces->len;
    predict_run(&p->input, &p->result);
}

static void
predict_done(struct job *job, void *data)
{
    struct predicting *p = data;
    struct monitor *m = p->monitor;
    struct call *call = p->call;

    if (call) {
        g_autoptr(GVariant) tree = prediction_tree(p);

        call->data = NULL;
        call->data_free = NULL;
        prediction_print(tree, call->output);
        if (!p->record) {
            g_clear_pointer(&m->prediction, g_variant_unref);
            m->prediction = g_variant_ref(tree);
            m->predicted_after = session_number(m);
        }
        call_finish(call, NULL);
    }
    predicting_free(p);
}

static void
measured(void *self, const struct dirty_measure *result, const GError *error)
{
    struct predicting *p = self;
    struct call *call = p->call;

    if (!call || error) {
        if (call) {
            call->data = NULL;
            call->data_free = NULL;
            call_finish(call, error);
        }
        predicting_free(p);
        return;
    }
    take_measure(p, result);
    job_start(p->monitor->jobs, predict_work, predict_done, p);
}

static bool
choose_record(struct predicting *p, uint64_t number, GError **error)
{
    g_autoptr(GPtrArray) list = machine_migrations(p->monitor->machine);
    const struct migrate_record *r = number < list->len ? list->pdata[number] : NULL;

    if (!r)
        return fail(error, NUMON_ERROR_ARGUMENT, "there is no record %" PRIu64 ": `info migrate history` lists %u",
                    number, list->len);
    if (r->info.direction != MIGRATE_OUT || r->rounds->len < 2)
        return fail(error, NUMON_ERROR_STATE, "record %" PRIu64 " has no rounds that could be replayed", number);
    p->record = migrate_record_copy(r);
    return true;
}

static bool
begin(struct predicting *p, GError **error)
{
    const struct value *at = p->call->args->at;
    g_autoptr(values) v = property_parse_pairs(predict_settings, at[PREDICT_SETTINGS].word ? at[PREDICT_SETTINGS].word
                                                                                           : "", error);

    if (!v || (at[PREDICT_RECORD].set && !choose_record(p, at[PREDICT_RECORD].number, error)))
        return false;
    set_input(p, v);
    if (!p->record)
        return machine_measure_dirty(p->monitor->machine, CELLS_MOST, PERIOD_MS, measured, p, error);
    take_record(p, p->record);
    job_start(p->monitor->jobs, predict_work, predict_done, p);
    return true;
}

enum outcome
predict_command(struct call *call, GError **error)
{
    struct predicting *p = g_new0(struct predicting, 1);

    p->monitor = call->monitor;
    p->call = call;
    p->pieces = g_array_new(FALSE, FALSE, sizeof(struct predict_piece));
    p->known = g_array_new(FALSE, FALSE, sizeof(struct predict_round));
    if (!begin(p, error)) {
        predicting_free(p);
        return COMMAND_FAILED;
    }
    call->data = p;
    call->data_free = forget_call;
    return COMMAND_PENDING;
}

void
predict_detach(struct call *call)
{
}

/* --- info prediction -------------------------------------------------------------------------------------------- */

static GVariant *
info_get(struct monitor *m, const struct values *args, GError **error)
{
    struct session *s = machine_session(m->machine);
    GVariantDict dict;

    if (!m->prediction) {
        fail(error, NUMON_ERROR_STATE, "nothing was predicted yet: `migrate_predict` does");
        return NULL;
    }
    g_variant_dict_init(&dict, m->prediction);
    if (s && session_number(m) != m->predicted_after) {
        struct migrate_record *r = session_record(s);

        if (r->info.direction == MIGRATE_OUT)
            put_fact(&dict, r);
        migrate_record_free(r);
    }
    return g_variant_dict_end(&dict);
}

const struct info_item info_predict_items[] = {
    { .name = "prediction", .summary = "the last prediction beside what came of it", .when = WHEN_ALWAYS,
      .get = info_get, .print = prediction_print },
    { 0 }
};
