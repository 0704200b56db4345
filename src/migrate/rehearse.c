/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What migrations cost on this host: the engine sends a guest of its own, that never runs, to itself over a pair of
 * sockets.  First pages into memory that was never touched, then the same pages into the same memory, then pages that
 * never were there.  Time a page is that of the first pass. */
#include "migrate-private.h"

#include <errno.h>
#include <sys/socket.h>

/* Who sends to whom. */
enum { FILLED, EMPTY, SOURCES };
enum { FIRST, SECOND, UNTOUCHED, DESTINATIONS };
/* Each twice, into other memory: the better counts, as what others take of the host now and then is no part of it. */
static const struct { unsigned from, to; } stages[] = {
    { FILLED, FIRST }, { FILLED, SECOND },          /* fresh */
    { FILLED, FIRST }, { FILLED, SECOND },          /* again */
    { EMPTY, UNTOUCHED },                           /* absent */
};
enum { STAGE_AGAIN = 2, STAGE_ABSENT = 4, STAGES = G_N_ELEMENTS(stages) };
/* More than caches hold, and less than anybody waits for. */
#define FILLED_BYTES (96 * MIB)
#define ABSENT_BYTES (256 * MIB)

/* A guest of one block. */
struct stand_in {
    struct guest_map *map;
    struct hub *hub;
    struct session *session;            /* of the stage at hand */
};

struct rehearsal {
    struct mailbox *mailbox;
    struct jobs *jobs;
    void (*done)(void *self, const struct rehearsal_result *result, const GError *error);
    void *self;
    struct migrate_parameters parameters;
    struct stand_in from[SOURCES], to[DESTINATIONS];
    unsigned stage;
    bool filling, abandoned;
    guint idle;
    struct rehearsal_result result;
};

/* --- the guest -------------------------------------------------------------------------------------------------- */

static void
do_nothing(void *self)
{
}

static enum migrate_run_state
always_running(void *self)
{
    return RUN_STATE_RUNNING;
}

static char *
describe_nothing(void *self)
{
    return g_strdup("");
}

static bool
agree_always(void *self, const char *theirs, GError **error)
{
    return true;
}

static void
start_nothing(void *self, enum migrate_run_state state)
{
}

static bool
stand_in_init(struct stand_in *s, uint64_t size, GError **error)
{
    struct backend_options options;
    struct block *b;

    backend_options_init_default(&options, "rehearsal", size);
    b = block_new(&options, error);
    if (!b)
        return false;
    s->map = guest_map_new();
    guest_map_take_block(s->map, b);
    s->hub = hub_new(s->map, (struct dirty_source) { 0 });
    return true;
}

static void
stand_in_release(struct stand_in *s)
{
    session_free(s->session);
    if (s->hub)
        hub_free(s->hub);
    guest_map_free(s->map);
}

static bool
stand_in_start(struct stand_in *s, struct rehearsal *r, enum migrate_direction direction, int fd,
               const struct migrate_events *events, GError **error)
{
    struct migrate_guest guest = {
        .self = s, .map = s->map, .hub = s->hub, .machine_type = "rehearsal", .describe = describe_nothing,
        .agree = agree_always, .stop = do_nothing, .go_on = do_nothing, .run_state = always_running,
        .start = start_nothing, .reset = do_nothing,
    };
    g_autofree char *uri = g_strdup_printf("fd:%d", fd);

    session_free(s->session);
    s->session = session_new(direction, &guest, &r->parameters, NULL, r->mailbox, events);
    s->session->own_descriptor = true;
    return session_start(s->session, uri, error);
}

/* --- stages ----------------------------------------------------------------------------------------------------- */

static void
finish(struct rehearsal *r, const GError *error)
{
    void (*done)(void *self, const struct rehearsal_result *result, const GError *error) = r->done;

    r->done = NULL;
    if (done)
        done(r->self, &r->result, error);
}

static uint64_t
active_us(const struct migrate_record *r)
{
    for (unsigned i = 0; i < r->path->len; i++)
        if (g_array_index(r->path, struct migrate_step, i).state == MIGRATE_ACTIVE)
            return g_array_index(r->path, struct migrate_step, i).at_us;
    return 0;
}

/* Of the first pass, without what came before it. */
static double
page_us(const struct migrate_record *r)
{
    const struct migrate_round *first = &g_array_index(r->rounds, struct migrate_round, 0);
    uint64_t us = first->duration_us - MIN(active_us(r), first->duration_us);

    return (double)us / (double)(r->info.total_bytes / PAGE_SIZE);
}

static double
lesser(double before, double now)
{
    return before > 0 ? MIN(before, now) : now;
}

static void
take_result(struct rehearsal *r, const struct migrate_record *record)
{
    struct rehearsal_result *to = &r->result;

    if (r->stage == STAGE_ABSENT) {
        to->absent_us = page_us(record);
        return;
    }
    if (r->stage < STAGE_AGAIN) {
        to->fresh_us = lesser(to->fresh_us, page_us(record));
        return;
    }
    to->again_us = lesser(to->again_us, page_us(record));
    to->setup_us = (uint64_t)lesser((double)to->setup_us, (double)active_us(record));
    to->switchover_us = (uint64_t)lesser((double)to->switchover_us, (double)record->stopped_us);
}

static bool begin_stage(struct rehearsal *r, GError **error);

static bool
stage_ended(const struct rehearsal *r)
{
    const struct stand_in *sides[] = { &r->from[stages[r->stage].from], &r->to[stages[r->stage].to] };

    for (unsigned i = 0; i < G_N_ELEMENTS(sides); i++) {
        struct migrate_info info;

        session_info(sides[i]->session, &info);
        migrate_info_release(&info);
        if (!migrate_state_ended(info.state))
            return false;
    }
    return true;
}

/* Sessions are freed from here, not from an event of theirs. */
static gboolean
next_stage(gpointer data)
{
    struct rehearsal *r = data;
    g_autoptr(GError) error = NULL;

    on_main_thread();
    r->idle = 0;
    if (!stage_ended(r))
        return G_SOURCE_REMOVE;
    struct migrate_record *record = session_record(r->from[stages[r->stage].from].session);
    bool good = record->info.state == MIGRATE_COMPLETED && record->rounds->len > 0;
    if (good)
        take_result(r, record);
    else
        fail(&error, NUMON_ERROR_HOST, "cannot rehearse a migration: %s",
             record->info.error ? record->info.error : "it was not completed");
    migrate_record_free(record);
    r->stage++;
    if (good && r->stage < STAGES)
        good = begin_stage(r, &error);
    if (!good || r->stage == STAGES)
        finish(r, error);
    return G_SOURCE_REMOVE;
}

static void
note_state(void *self, enum migrate_state state)
{
    struct rehearsal *r = self;

    if (migrate_state_ended(state) && !r->idle)
        r->idle = g_idle_add_full(G_PRIORITY_DEFAULT, next_stage, r, NULL);
}

static bool
begin_stage(struct rehearsal *r, GError **error)
{
    struct migrate_events events = { .self = r, .state = note_state };
    struct stand_in *from = &r->from[stages[r->stage].from], *to = &r->to[stages[r->stage].to];
    int fds[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
        return fail_host(error, errno, "cannot make a pair of sockets");
    if (!stand_in_start(to, r, MIGRATE_IN, fds[1], &events, error)) {
        close_fd(&fds[0]);
        close_fd(&fds[1]);
        return false;
    }
    if (!stand_in_start(from, r, MIGRATE_OUT, fds[0], &events, error)) {
        close_fd(&fds[0]);
        return false;
    }
    return true;
}

/* --- the whole -------------------------------------------------------------------------------------------------- */

static void
fill(struct job *job, void *data)
{
    struct rehearsal *r = data;
    const struct block *b = r->from[0].map->blocks->pdata[0];

    for (uint64_t at = 0; at < b->size && !job_cancelled(job); at += PAGE_SIZE)
        b->host[at] = 1;
}

static void
release(struct rehearsal *r)
{
    if (r->idle)
        g_source_remove(r->idle);
    for (unsigned i = 0; i < SOURCES; i++)
        stand_in_release(&r->from[i]);
    for (unsigned i = 0; i < DESTINATIONS; i++)
        stand_in_release(&r->to[i]);
    g_free(r);
}

static void
filled(struct job *job, void *data)
{
    struct rehearsal *r = data;
    g_autoptr(GError) error = NULL;

    r->filling = false;
    if (r->abandoned)
        release(r);
    else if (!begin_stage(r, &error))
        finish(r, error);
}

static bool
make_guests(struct rehearsal *r, GError **error)
{
    for (unsigned i = 0; i < SOURCES; i++)
        if (!stand_in_init(&r->from[i], i == FILLED ? FILLED_BYTES : ABSENT_BYTES, error))
            return false;
    for (unsigned i = 0; i < DESTINATIONS; i++)
        if (!stand_in_init(&r->to[i], i == UNTOUCHED ? ABSENT_BYTES : FILLED_BYTES, error))
            return false;
    return true;
}

struct rehearsal *
rehearsal_new(struct mailbox *mailbox, struct jobs *jobs,
              void (*done)(void *self, const struct rehearsal_result *result, const GError *error), void *self,
              GError **error)
{
    struct rehearsal *r = g_new0(struct rehearsal, 1);

    *r = (struct rehearsal) { .mailbox = mailbox, .jobs = jobs, .done = done, .self = self };
    migrate_parameters_init(&r->parameters);
    atomic_store(&r->parameters.max_bandwidth, 0);
    if (!make_guests(r, error)) {
        release(r);
        return NULL;
    }
    r->filling = true;
    job_start(jobs, fill, filled, r);
    return r;
}

void
rehearsal_free(struct rehearsal *r)
{
    if (!r)
        return;
    r->done = NULL;
    r->abandoned = true;
    if (!r->filling)
        release(r);
}
