/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Who keeps the live view of a migration on a terminal: samples it five times a second and hands the lines to the
 * terminal, which draws them above its prompt.  The command that began it is over, so that others can be typed. */
#include "live.h"
#include "migrate-views.h"

struct live {
    struct monitor *monitor;
    struct input *input;
    struct watcher *watcher;
    struct live_facts facts;
    int64_t sampled_us;
};

bool
live_possible(const struct call *call)
{
    /* A script, or what was pasted behind it, goes on when the migration has ended. */
    return call->input->class->block && call->input->class->columns(call->input) && !call->parent
        && g_queue_is_empty((GQueue *)&call->input->lines)
        && !(call->input->class->more && call->input->class->more(call->input));
}

void
live_free(struct live *l)
{
    if (!l)
        return;
    monitor_unwatch(l->monitor, l->watcher);
    l->monitor->live = NULL;
    g_free(l);
}

static void
take_facts(struct live *l, const struct migrate_record *r)
{
    struct live_facts *f = &l->facts;
    const struct migrate_info *i = &r->info;
    int64_t now = g_get_monotonic_time();

    why_of(l->monitor->machine, r, &f->why);
    f->sent = (uint64_t)(i->mbps * 1e6 / 8);
    f->remaining = i->remaining_bytes;
    f->dirtied = i->dirty_pages_rate * i->page_size;
    f->total_ms = i->total_ms;
    f->expected_downtime_ms = i->expected_downtime_ms;
    /* An event of the machine makes it look too. */
    if (now - l->sampled_us < LIVE_PERIOD_MS * 1000 / 2)
        return;
    l->sampled_us = now;
    live_sample_add(f, &(struct live_sample) { (double)f->sent, (double)f->dirtied, (double)f->remaining });
}

static void
draw(struct live *l)
{
    g_autoptr(GPtrArray) lines = live_lines(&l->facts, l->input->class->columns(l->input),
                                            l->input->class->utf8 && l->input->class->utf8(l->input));

    l->input->class->block(l->input, lines);
}

static void
tell_end(struct live *l, const struct migrate_info *i)
{
    g_autofree char *text = NULL;

    if (i->state == MIGRATE_COMPLETED)
        text = migrate_end_line(i);
    else if (i->state == MIGRATE_CANCELLED)
        text = g_strdup("Error: the migration was cancelled; the guest stayed here");
    else
        text = g_strdup_printf("Error: migration failed: %s", i->error ? i->error : "no reason known");
    g_autofree char *shown = text_printable(text);
    l->input->class->block(l->input, NULL);
    l->input->class->event(l->input, shown);
}

/* Watcher: after every event and five times a second. */
static bool
live_check(void *data)
{
    struct live *l = data;
    struct session *s = machine_session(l->monitor->machine);
    struct migrate_record *r = s ? session_record(s) : NULL;
    bool ended = !r || migrate_state_ended(r->info.state);

    if (r) {
        take_facts(l, r);
        draw(l);
        if (ended)
            tell_end(l, &r->info);
    } else {
        l->input->class->block(l->input, NULL);
    }
    /* What they borrow of the record goes with it. */
    l->facts.why = (struct why) { 0 };
    migrate_record_free(r);
    if (ended)
        live_free(l);
    return false;
}

void
live_start(struct monitor *m, struct input *in)
{
    struct live *l = g_new0(struct live, 1);

    live_free(m->live);
    m->live = l;
    l->monitor = m;
    l->input = in;
    l->watcher = monitor_watch(m, LIVE_PERIOD_MS, live_check, l);
    live_check(l);
}

bool
live_stop(struct monitor *m)
{
    struct live *l = m->live;

    if (!l)
        return false;
    l->input->class->block(l->input, NULL);
    l->input->class->event(l->input, MIGRATION_GOES_ON);
    live_free(l);
    return true;
}
