/* SPDX-License-Identifier: GPL-3.0-or-later */
/* `migrate_predict`: what a migration would be like, from a second's look at how the guest writes, or from the
 * rounds that one had; `info prediction`: the last prediction beside what came.  The model is
 * src/migrate/predict.c's. */
#include "predict.h"

#include <inttypes.h>

enum { CELLS_MOST = 512, PERIOD_MS = 1000 };

enum { PREDICT_RECORD, PREDICT_SETTINGS };
const struct property predict_args[] = {
    [PREDICT_RECORD] = { "-r", PROPERTY_UINT, .max = MACHINE_MIGRATIONS - 1,
                         .help = "replay this one of `info migrate history` instead of measuring" },
    [PREDICT_SETTINGS] = { "SETTINGS", PROPERTY_REST, .help = "other settings than those set, KEY=VALUE each" },
    { 0 }
};
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

static void
predicting_free(struct predicting *p)
{
    if (p->later)
        g_source_remove(p->later);
    rehearsal_free(p->rehearsal);
    values_free(p->settings);
    predict_result_release(&p->result);
    g_array_unref(p->pieces);
    g_array_unref(p->known);
    migrate_record_free(p->record);
    g_free(p->host_note);
    g_free(p);
}

static void
forget_call(void *data)
{
    struct predicting *p = data;

    p->call = NULL;
    /* Whatever else it waits for tells of its end. */
    if (p->rehearsal)
        predicting_free(p);
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

/* What the host carries, in bytes/s, and what is left to the guest meanwhile. */
static void
put_host(GVariantDict *dict, const struct predicting *p)
{
    const struct rehearsal_result *host = &p->input.host;

    put(dict, "host-fresh", (uint64_t)(PAGE_SIZE * 1e6 / MAX(host->fresh_us, 1e-3)));
    put(dict, "host-again", (uint64_t)(PAGE_SIZE * 1e6 / MAX(host->again_us, 1e-3)));
    put(dict, "host-alone", (uint64_t)(PAGE_SIZE * 1e6 / MAX(host->alone_us, 1e-3)));
    put(dict, "setup-us", host->setup_us);
    g_variant_dict_insert_value(dict, "host-from", g_variant_new_take_string(
        g_strdup_printf("%s%s%s", p->host_from, p->host_note ? ": " : "", p->host_note ? p->host_note : "")));
    if (p->input.busy_share > 0)
        g_variant_dict_insert(dict, "busy-share", "d", p->input.busy_share);
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
    if (p->input.bandwidth < LINE_UNKNOWN)
        put(&dict, "bandwidth", (uint64_t)p->input.bandwidth);
    g_variant_dict_insert(&dict, "bandwidth-from", "s", p->bandwidth_from);
    if (p->input.line < LINE_UNKNOWN)
        put(&dict, "line", (uint64_t)p->input.line);
    g_variant_dict_insert(&dict, "line-from", "s", p->line_from);
    put_host(&dict, p);
    put(&dict, "downtime-limit", p->input.downtime_limit_ms);
    put(&dict, "fixed-us", p->input.fixed_us);
    g_variant_dict_insert(&dict, "fixed-from", "s", p->fixed_from);
    put(&dict, "xbzrle-cache-pages", p->input.cache_pages);
    put(&dict, "delta-bytes", (uint64_t)p->input.delta_bytes);
    put(&dict, "throttle", p->input.throttle_percent);
    g_variant_dict_insert(&dict, "auto-converge", "b", (gboolean)p->input.converges);
    g_variant_dict_insert(&dict, "converges", "b", (gboolean)p->result.converges);
    put(&dict, "total-us", p->result.total_us);
    put(&dict, "downtime-us", p->result.downtime_us);
    put(&dict, "bytes", p->result.bytes);
    put(&dict, "last-remaining", p->result.last_remaining);
    put(&dict, "fits-bytes", p->result.fits_bytes);
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
        predict_fit_record(p);
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
        info_print(call, info_find("prediction"), tree);
        if (!p->record) {
            g_clear_pointer(&m->prediction, g_variant_unref);
            m->prediction = g_variant_ref(tree);
            m->predicted_after = session_number(m);
        }
        call_finish(call, NULL);
    }
    predicting_free(p);
}

/* --- a rehearsal, while the guest runs -------------------------------------------------------------------------- */

/* Pages that all vCPUs have written; false if nobody counts them. */
static bool
count_writes(const struct predicting *p, uint64_t *ret)
{
    struct machine *machine = p->monitor->machine;
    g_autofree struct workload_status *s = g_new0(struct workload_status, 1);

    if (!machine_built(machine) || !machine_running(machine) || !workload_status(machine_map(machine), s, NULL))
        return false;
    *ret = 0;
    for (unsigned i = 0; i < MIN(s->cpu_count, CONTROL_CPUS); i++)
        *ret += s->cpus[i].pages_written;
    return true;
}

/* Pages/s since the last call, or -1. */
static double
rate_since(struct predicting *p)
{
    uint64_t before = p->written;
    int64_t now_us = g_get_monotonic_time(), passed_us = now_us - p->writes_us;
    bool known = p->writes_us > 0, now_known = count_writes(p, &p->written);

    p->writes_us = now_known ? now_us : 0;
    return known && now_known && passed_us > 0 && p->written >= before
         ? (double)(p->written - before) * 1e6 / (double)passed_us : -1;
}

static void
give_up(struct predicting *p, const GError *error)
{
    struct call *call = p->call;

    if (call) {
        call->data = NULL;
        call->data_free = NULL;
        call_finish(call, error);
    }
    predicting_free(p);
}

static void
reckon(struct predicting *p)
{
    if (p->calm_rate > 0 && p->busy_rate >= 0)
        p->input.busy_share = CLAMP(p->busy_rate / p->calm_rate, 0.02, 1);
    predict_set_bandwidth(p, p->settings);
    job_start(p->monitor->jobs, predict_work, predict_done, p);
}

static void
measured(void *self, const struct dirty_measure *result, const GError *error)
{
    struct predicting *p = self;

    if (!p->call || error) {
        give_up(p, error);
        return;
    }
    p->calm_rate = rate_since(p);
    predict_take_measure(p, result);
    reckon(p);
}

static bool
measure(struct predicting *p, GError **error)
{
    return machine_measure_dirty(p->monitor->machine, CELLS_MOST, PERIOD_MS, measured, p, error);
}

/* From within the rehearsal, which cannot be freed there. */
static gboolean
measure_later(gpointer data)
{
    struct predicting *p = data;
    g_autoptr(GError) error = NULL;

    on_main_thread();
    p->later = 0;
    g_clear_pointer(&p->rehearsal, rehearsal_free);
    if (!measure(p, &error))
        give_up(p, error);
    return G_SOURCE_REMOVE;
}

/* What a migration costs now; a host that refuses leaves what was assumed. */
static void
rehearsed(void *self, const struct rehearsal_result *result, const GError *error)
{
    struct predicting *p = self;

    double rate = rate_since(p);

    if (!error) {
        p->busy_rate = rate;
        predict_set_host(p, result, "rehearsed here just now");
        if (result->size < REHEARSAL_MOST)
            p->host_note = g_strdup_printf("with %u MiB only, as the host has little memory left",
                                           (unsigned)(result->size / MIB));
    } else {
        p->host_note = g_strdup(error->message);
    }
    p->later = g_idle_add_full(G_PRIORITY_DEFAULT, measure_later, p, NULL);
}

/* The rehearsal first: who has just made memory ready for a migration finds it as the migration would. */
static bool
look_at_host(struct predicting *p, GError **error)
{
    g_autoptr(GError) refusal = NULL;

    if (!machine_built(p->monitor->machine) || machine_awaits_incoming(p->monitor->machine))
        return measure(p, error);       /* which says why not */
    rate_since(p);
    p->rehearsal = rehearsal_new(p->monitor->mailbox, p->monitor->jobs, rehearsed, p, &refusal);
    if (p->rehearsal)
        return true;
    p->host_note = g_strdup(refusal->message);
    return measure(p, error);
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

    p->settings = property_parse_pairs(predict_settings, at[PREDICT_SETTINGS].word ? at[PREDICT_SETTINGS].word : "",
                                       error);
    if (!p->settings || (at[PREDICT_RECORD].set && !choose_record(p, at[PREDICT_RECORD].number, error)))
        return false;
    if (!p->record && counter_read(&machine_parameters(p->monitor->machine)->mode) != MIGRATE_MODE_NORMAL)
        return fail(error, NUMON_ERROR_STATE, "cannot predict rounds: in mode cpr-transfer there are none, whatever "
                    "the size of memory (`migrate_set_parameter mode normal` for a migration that copies it)");
    predict_set_input(p, p->settings);
    if (!p->record)
        return look_at_host(p, error);
    predict_take_record(p, p->record);
    reckon(p);
    return true;
}

enum outcome
predict_command(struct call *call, GError **error)
{
    struct predicting *p = g_new0(struct predicting, 1);

    p->monitor = call->monitor;
    p->call = call;
    p->calm_rate = p->busy_rate = -1;
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
      .get = info_get, .fit = prediction_print },
    { 0 }
};
