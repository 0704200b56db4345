/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What a migration was like from moment to moment: ten samples a second, kept for `migrate_report`, and written to
 * a file for `migrate_record`.  A watcher looks after every event whether a migration is under way; while one is,
 * a timer takes samples.  In memory they are no more than SAMPLES_MOST: then every second one goes, and half as
 * many are kept from then on. */
#include "report.h"

#include <inttypes.h>
#include <string.h>

enum { SAMPLE_MS = 100, SAMPLES_MOST = 4096, FLUSH_BYTES = 16 * 1024 };

/* `migrate_record`: the file, while it is written. */
struct recorder {
    struct outfile *file;
    GString *text;                  /* lines not written yet */
    uint64_t lines;
    GError *error;
};

struct samples {
    struct monitor *monitor;
    struct watcher *watcher;
    guint timer;                    /* 0: no migration is under way */
    GArray *list;                   /* struct migrate_sample */
    uint64_t id;                    /* of the migration that they are of; 0: none yet */
    int64_t begun_us;
    unsigned stride, skipped;       /* one of so many is kept; those since the last kept */
    struct recorder *recorder;      /* NULL: none */
};

/* --- the file --------------------------------------------------------------------------------------------------- */

static void
recorder_free(struct recorder *r)
{
    outfile_abandon(r->file);
    g_string_free(r->text, TRUE);
    g_clear_error(&r->error);
    g_free(r);
}

static void
commit_work(struct job *job, void *data)
{
    struct recorder *r = data;

    outfile_commit(g_steal_pointer(&r->file), &r->error);
}

/* The recorder's file and what to tell of it. */
struct commit { struct monitor *monitor; struct recorder *recorder; };

static void
commit_job(struct job *job, void *data)
{
    commit_work(job, ((struct commit *)data)->recorder);
}

static void
commit_done(struct job *job, void *data)
{
    struct commit *c = data;
    struct recorder *r = c->recorder;

    if (c->monitor->quitting)
        ;                           /* nobody reads any more */
    else if (r->error)
        monitor_event(c->monitor, "migrate_record: %s", r->error->message);
    else
        monitor_event(c->monitor, "migrate_record: %" PRIu64 " samples written", r->lines);
    recorder_free(r);
    g_free(c);
}

static void
flush(struct recorder *r)
{
    if (!r->error)
        outfile_write(r->file, r->text->str, r->text->len, &r->error);
    g_string_truncate(r->text, 0);
}

/* The file takes its name, by a job: the disk may be slow. */
static void
end_recorder(struct samples *s)
{
    struct commit *c = g_new(struct commit, 1);

    *c = (struct commit) { s->monitor, g_steal_pointer(&s->recorder) };
    flush(c->recorder);
    if (c->recorder->error)
        commit_done(NULL, c);
    else
        job_start(s->monitor->jobs, commit_job, commit_done, c);
}

static void
record_line(struct recorder *r, const struct migrate_sample *p)
{
    const struct migrate_info *i = &p->info;

    g_string_append_printf(r->text, "%.3f,%s,%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64,
                           (double)p->us / 1e6, migrate_state_name(i->state), i->dirty_syncs, i->bytes,
                           i->remaining_bytes, p->bandwidth,
                           i->dirty_pages_rate);
    g_string_append_printf(r->text, ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%u,%" PRIu64 "\n",
                           i->pages_zero, i->pages_normal, i->xbzrle_pages, i->compress_pages, i->throttle_percent,
                           i->expected_downtime_ms);
    r->lines++;
    if (r->text->len >= FLUSH_BYTES)
        flush(r);
}

/* --- sampling --------------------------------------------------------------------------------------------------- */

static struct migrate_sample *
sample_at(const struct samples *s, unsigned i)
{
    return &g_array_index(s->list, struct migrate_sample, i);
}

static void
keep(struct samples *s, const struct migrate_sample *p, bool last)
{
    if (++s->skipped < s->stride && !last)
        return;
    s->skipped = 0;
    if (s->list->len == SAMPLES_MOST) {
        for (unsigned i = 0; i < SAMPLES_MOST / 2; i++)
            *sample_at(s, i) = *sample_at(s, 2 * i);
        g_array_set_size(s->list, SAMPLES_MOST / 2);
        s->stride *= 2;
    }
    g_array_append_val(s->list, *p);
}

/* The current or last session's; '*ret_alive': it is under way. */
static bool
read_session(const struct samples *s, struct migrate_sample *ret, bool *ret_alive)
{
    struct session *session = machine_session(s->monitor->machine);

    *ret_alive = false;
    if (!session)
        return false;
    session_info(session, &ret->info);
    migrate_info_release(&ret->info);       /* texts are not kept */
    *ret_alive = ret->info.state != MIGRATE_NONE && !migrate_state_ended(ret->info.state);
    return true;
}

static void
take(struct samples *s, struct migrate_sample *p, bool last)
{
    const struct migrate_sample *before = s->list->len ? sample_at(s, s->list->len - 1) : NULL;

    p->us = (uint64_t)(g_get_monotonic_time() - s->begun_us);
    if (before && p->us > before->us && p->info.bytes >= before->info.bytes)
        p->bandwidth = (p->info.bytes - before->info.bytes) * 1000000 / (p->us - before->us);
    keep(s, p, last);
    if (s->recorder)
        record_line(s->recorder, p);
}

/* One sample more; false if it is the last, with which the file is complete. */
static bool
go_on(struct samples *s)
{
    struct migrate_sample p = { 0 };
    bool alive, ours = read_session(s, &p, &alive) && p.info.id == s->id;

    if (ours)
        take(s, &p, !alive);
    if (ours && alive)
        return true;
    s->timer = 0;
    if (s->recorder)
        end_recorder(s);
    return false;
}

static gboolean
tick(gpointer data)
{
    on_main_thread();
    return go_on(data) ? G_SOURCE_CONTINUE : G_SOURCE_REMOVE;
}

static void
begin(struct samples *s, struct migrate_sample *first)
{
    g_array_set_size(s->list, 0);
    s->id = first->info.id;
    s->begun_us = g_get_monotonic_time() - (int64_t)first->info.total_ms * 1000;
    s->stride = 1;
    s->skipped = 0;
    take(s, first, true);
    s->timer = g_timeout_add(SAMPLE_MS, tick, s);
}

/* Watcher: after every event.  It was there before any that waits: whoever hears of the end finds the file complete
 * but for its name. */
static bool
look(void *data)
{
    struct samples *s = data;
    struct migrate_sample p = { 0 };
    bool alive, there = read_session(s, &p, &alive);
    guint timer = s->timer;

    if (timer && (!there || !alive || p.info.id != s->id) && !go_on(s))
        g_source_remove(timer);
    /* What listens has not begun. */
    if (!s->timer && alive && !(p.info.direction == MIGRATE_IN && p.info.state == MIGRATE_SETUP))
        begin(s, &p);
    return false;
}

struct samples *
samples_new(struct monitor *m)
{
    struct samples *s = g_new0(struct samples, 1);

    s->monitor = m;
    s->stride = 1;
    s->list = g_array_new(FALSE, TRUE, sizeof(struct migrate_sample));
    s->watcher = monitor_watch(m, 0, look, s);
    return s;
}

void
samples_free(struct samples *s)
{
    if (!s)
        return;
    if (s->timer)
        g_source_remove(s->timer);
    monitor_unwatch(s->monitor, s->watcher);
    if (s->recorder) {
        flush(s->recorder);
        commit_work(NULL, s->recorder);
        recorder_free(s->recorder);
    }
    g_array_unref(s->list);
    g_free(s);
}

const GArray *
samples_list(const struct samples *s)
{
    struct migrate_sample now = { 0 };
    bool alive;

    return s->id && read_session(s, &now, &alive) && now.info.id == s->id ? s->list : NULL;
}

/* --- migrate_record --------------------------------------------------------------------------------------------- */

enum { RECORD_FILE };
const struct property record_args[] = {
    [RECORD_FILE] = { "FILE", PROPERTY_WORD, .complete = COMPLETE_FILE,
                      .help = "where to, comma-separated; without it the recording ends here" },
    { 0 }
};

enum outcome
record_command(struct call *call, GError **error)
{
    struct samples *s = call->monitor->samples;
    const char *path = call->args->at[RECORD_FILE].word;
    struct recorder *r;

    /* One whose end nobody looked at yet. */
    look(s);
    if (!path && !s->recorder) {
        fail(error, NUMON_ERROR_STATE, "nothing is being recorded");
        return COMMAND_FAILED;
    }
    if (path && s->recorder) {
        fail(error, NUMON_ERROR_STATE, "a recording is under way already (`migrate_record` without a file ends it)");
        return COMMAND_FAILED;
    }
    if (!path) {
        end_recorder(s);
        return COMMAND_DONE;
    }
    r = g_new0(struct recorder, 1);
    r->text = g_string_new("seconds,state,round,bytes,remaining_bytes,bytes_per_second,dirty_pages_per_second,"
                           "zero_pages,whole_pages,cached_pages,compressed_pages,throttle_percent,"
                           "expected_downtime_ms\n");
    r->file = outfile_open(path, error);
    if (!r->file) {
        recorder_free(r);
        return COMMAND_FAILED;
    }
    s->recorder = r;
    return COMMAND_DONE;
}
