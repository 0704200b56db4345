/* SPDX-License-Identifier: GPL-3.0-or-later */
/* `watch`: runs a line again and again below itself, with a heading before each run, until its count is reached, the
 * line fails, or the user is content (Ctrl-C). */
#include "general.h"

enum { WATCH_P_SECONDS, WATCH_P_COUNT, WATCH_P_COMMAND };
const struct property watch_properties[] = {
    { "-n", PROPERTY_UINT, .min = 1, .max = 86400, .unit = "s", .value_default = "2",
      .help = "time from run to run" },
    { "-c", PROPERTY_UINT, .min = 1, .max = 1000000000, .help = "how many runs; without it until Ctrl-C" },
    { "command", PROPERTY_REST, .required = true, .complete = COMPLETE_COMMAND, .help = "the line to run" },
    { 0 }
};

struct watch {
    struct call *call;
    unsigned seconds, count;    /* count 0: without end */
    unsigned runs;              /* begun */
    unsigned timer_id;          /* until the next run; 0 while one is under way */
};

static void watch_line_done(struct call *call, const GError *error);

static void
watch_free(gpointer data)
{
    struct watch *w = data;

    if (w->timer_id)
        g_source_remove(w->timer_id);
    g_free(w);
}

static void
watch_once(struct watch *w)
{
    const char *line = w->call->args->at[WATCH_P_COMMAND].word;

    call_print(w->call, "%s--- %s (%u)\n", w->runs ? "\n" : "", line, w->runs + 1);
    w->runs++;
    call_run(w->call, line, watch_line_done);
}

static gboolean
watch_tick(gpointer data)
{
    struct watch *w = data;

    on_main_thread();
    w->timer_id = 0;
    watch_once(w);
    return G_SOURCE_REMOVE;
}

static void
watch_line_done(struct call *call, const GError *error)
{
    struct watch *w = call->data;

    if (error || w->runs == w->count)
        call_finish(call, error);
    else
        w->timer_id = g_timeout_add_seconds(w->seconds, watch_tick, w);
}

enum outcome
watch_run(struct call *call, GError **error)
{
    struct watch *w = g_new0(struct watch, 1);

    w->call = call;
    w->seconds = call->args->at[WATCH_P_SECONDS].number;
    w->count = call->args->at[WATCH_P_COUNT].set ? call->args->at[WATCH_P_COUNT].number : 0;
    call->data = w;
    call->data_free = watch_free;
    watch_once(w);
    return COMMAND_PENDING;
}

/* The timer goes with the call's data. */
void
watch_detach(struct call *call)
{
}
