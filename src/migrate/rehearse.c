/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What migrations cost on this host: the engine sends a guest of its own, that never runs, to itself over a pair of
 * sockets.  First its pages go into memory that was never touched; then all of them once more, in their order, as
 * what was written while they went; then, at the switchover, pages that lie as those of a guest do that writes here
 * and there.  The destination knows by then that these pages came before, and expects no runs of them.  At last a
 * guest all of whose pages never were there, which also shows a switchover without any. */
#include "migrate-private.h"

#include <errno.h>
#include <inttypes.h>
#include <sys/socket.h>

/* Who sends to whom. */
enum { FILLED, EMPTY, SOURCES };
enum { FIRST, SECOND, UNTOUCHED, DESTINATIONS };
/* Each twice, and where pages are filled into other memory.  What pages take is what they took on the average, as it
 * will be in a migration; of a moment, as a switchover without pages is, the better counts. */
static const struct { unsigned from, to; } stages[] = {
    { FILLED, FIRST }, { FILLED, SECOND }, { EMPTY, UNTOUCHED }, { EMPTY, UNTOUCHED },
};
enum { STAGES = G_N_ELEMENTS(stages) };
/* More than caches hold, and less than anybody waits for. */
#define ABSENT_BYTES (256 * MIB)
/* One page of so many is written again at the end, here and there. */
enum { SCATTER = 4 };

/* A guest of one block. */
struct stand_in {
    struct guest_map *map;
    struct hub *hub;
    struct session *session;            /* of the stage at hand */
    bool writes;                        /* a source whose pages are filled */
    unsigned looks;                     /* at its log, in this stage; the migration's thread */
    uint64_t scattered;                 /* pages written at the end of the stage; that thread too */
};

struct rehearsal {
    struct mailbox *mailbox;
    struct jobs *jobs;
    void (*done)(void *self, const struct rehearsal_result *result, const GError *error);
    void *self;
    struct migrate_parameters parameters;
    struct stand_in from[SOURCES], to[DESTINATIONS];
    uint64_t size;                      /* of what is filled, bytes */
    unsigned stage;
    bool filling, abandoned;
    guint idle;
    double scattered_us;                /* of a switchover with scattered pages */
    struct rehearsal_result result;
};

/* --- the guest -------------------------------------------------------------------------------------------------- */

static void
do_nothing(void *self)
{
}

/* All pages were written during the first pass, and none since. */
static bool
collect(void *self, struct block *block, uint64_t *words, GError **error)
{
    struct stand_in *s = self;

    if (s->writes && s->looks++ == 0)
        bits_set(words, 0, block->page_count);
    return true;
}

/* Any bits of a page's number. */
static uint64_t
mix(uint64_t page)
{
    page *= UINT64_C(0x9e3779b97f4a7c15);
    return page >> 40;
}

/* The guest is stopped: the last that it wrote lies here and there, but for the end of its memory, which caches hold
 * as it went just now. */
static void
scatter(void *self)
{
    struct stand_in *s = self;
    const struct block *b = s->map->blocks->pdata[0];

    s->scattered = 0;
    for (uint64_t page = 0; s->writes && page < b->page_count / 4 * 3; page++)
        if (mix(page) % SCATTER == 0) {
            hub_mark(s->hub, b, page, 1);
            s->scattered++;
        }
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
    s->hub = hub_new(s->map, (struct dirty_source) { .collect = collect, .self = s });
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
        .agree = agree_always, .stop = scatter, .go_on = do_nothing, .run_state = always_running,
        .start = start_nothing, .reset = do_nothing,
    };
    g_autofree char *uri = g_strdup_printf("fd:%d", fd);

    session_free(s->session);
    s->looks = 0;
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
first_page_us(const struct migrate_record *r)
{
    const struct migrate_round *first = &g_array_index(r->rounds, struct migrate_round, 0);
    uint64_t us = first->duration_us - MIN(active_us(r), first->duration_us);

    return (double)us / (double)(r->info.total_bytes / PAGE_SIZE);
}

/* Of the second, which ends in the round after it if a slice of time is just over. */
static double
next_page_us(const struct migrate_record *r)
{
    uint64_t us = 0, pages = 0;

    for (unsigned i = 1; i + 1 < r->rounds->len; i++) {
        const struct migrate_round *round = &g_array_index(r->rounds, struct migrate_round, i);
        us += round->duration_us;
        pages += round->pages_normal;
    }
    return (double)us / (double)MAX(pages, 1);
}

/* Of the switchover, after the guest was stopped, which here is when pages are marked. */
static uint64_t
switchover_us(const struct migrate_record *r)
{
    return r->stopped_us - g_array_index(r->parts, struct migrate_part, 0).us;
}

static double
lesser(double before, double now)
{
    return before > 0 ? MIN(before, now) : now;
}

/* Each is one of two. */
static void
take_result(struct rehearsal *r, const struct migrate_record *record)
{
    const struct stand_in *from = &r->from[stages[r->stage].from];
    struct rehearsal_result *to = &r->result;

    if (!from->writes) {
        to->absent_us += first_page_us(record) / 2;
        to->setup_us = (uint64_t)lesser((double)to->setup_us, (double)active_us(record));
        to->switchover_us = (uint64_t)lesser((double)to->switchover_us, (double)switchover_us(record));
        return;
    }
    to->fresh_us += first_page_us(record) / 2;
    to->again_us += next_page_us(record) / 2;
    r->scattered_us += (double)switchover_us(record) / 2;
}

/* Of the pages of that switchover so many lie behind one that went too; for the others all that it took more than in
 * their order is to blame. */
static void
reckon_alone(struct rehearsal *r)
{
    struct rehearsal_result *to = &r->result;
    double page = (r->scattered_us - (double)to->switchover_us) / (double)MAX(r->from[FILLED].scattered, 1);

    to->alone_us = to->again_us + MAX(page - to->again_us, 0) / (1 - 1.0 / SCATTER);
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

static bool
has_all(const struct rehearsal *r, const struct migrate_record *record)
{
    return record->parts->len > 0 && record->rounds->len > (r->from[stages[r->stage].from].writes ? 2 : 1);
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
    bool good = record->info.state == MIGRATE_COMPLETED && has_all(r, record);
    if (good)
        take_result(r, record);
    else
        fail(&error, NUMON_ERROR_HOST, "cannot rehearse a migration: %s",
             record->info.error ? record->info.error : "it was not completed");
    migrate_record_free(record);
    r->stage++;
    if (good && r->stage < STAGES)
        good = begin_stage(r, &error);
    if (good && r->stage == STAGES)
        reckon_alone(r);
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
        if (!stand_in_init(&r->from[i], i == FILLED ? r->size : ABSENT_BYTES, error))
            return false;
    r->from[FILLED].writes = true;
    for (unsigned i = 0; i < DESTINATIONS; i++)
        if (!stand_in_init(&r->to[i], i == UNTOUCHED ? ABSENT_BYTES : r->size, error))
            return false;
    return true;
}

/* It has three times this: the source and two destinations.  Half of what is left is left alone, as others need
 * some. */
bool
rehearsal_size(const struct memory_left *left, uint64_t *ret_size, GError **error)
{
    uint64_t most = left->known ? left->bytes / 2 / 3 / (2 * MIB) * (2 * MIB) : REHEARSAL_MOST;
    g_autofree char *there = g_strdup_printf("%" PRIu64 " MiB", left->bytes / MIB);

    if (most < REHEARSAL_LEAST)
        return fail(error, NUMON_ERROR_HOST, "cannot rehearse a migration: it takes %u MiB at least, and half of "
                    "the %s that %s has left is less", (unsigned)(3 * REHEARSAL_LEAST / MIB), there, left->where);
    *ret_size = MIN(most, REHEARSAL_MOST);
    return true;
}

struct rehearsal *
rehearsal_new(struct mailbox *mailbox, struct jobs *jobs,
              void (*done)(void *self, const struct rehearsal_result *result, const GError *error),
              void *self, GError **error)
{
    struct memory_left left;
    uint64_t size;

    memory_left("", &left);
    if (!rehearsal_size(&left, &size, error))
        return NULL;
    struct rehearsal *r = g_new0(struct rehearsal, 1);
    *r = (struct rehearsal) { .mailbox = mailbox, .jobs = jobs, .done = done, .self = self, .size = size,
                            .result = { .size = size } };
    migrate_parameters_init(&r->parameters);
    atomic_store(&r->parameters.max_bandwidth, 0);
    /* Nothing but nothing fits: so there is a second pass, and no third. */
    atomic_store(&r->parameters.downtime_limit, 0);
    atomic_store(&r->parameters.downtime_effort, 0);
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
