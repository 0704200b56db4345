/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A session: one guest that moves once, out or in.  Here is the state machine, and what main may do.
 *
 * The worker (out.c, in.c) makes all transitions but two: main sets SETUP, and CANCELLING, upon which the worker is
 * woken, unwinds by itself and ends CANCELLED.  'committed' is the point of no return: of a source, the last byte of
 * the stream may be written; of a destination, its answer.  Setting it and cancelling exclude each other under the
 * lock, so that exactly one of them happens first. */
#include "migrate-private.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <unistd.h>

#define TO(state) (1u << (state))
static const uint32_t next_states[MIGRATE_STATES] = {
    [MIGRATE_NONE]       = TO(MIGRATE_SETUP),
    [MIGRATE_SETUP]      = TO(MIGRATE_ACTIVE) | TO(MIGRATE_FAILED) | TO(MIGRATE_CANCELLING),
    [MIGRATE_ACTIVE]     = TO(MIGRATE_PRE_SWITCHOVER) | TO(MIGRATE_DEVICE) | TO(MIGRATE_FAILED)
                         | TO(MIGRATE_CANCELLING),
    [MIGRATE_PRE_SWITCHOVER] = TO(MIGRATE_DEVICE) | TO(MIGRATE_FAILED) | TO(MIGRATE_CANCELLING),
    [MIGRATE_DEVICE]     = TO(MIGRATE_COMPLETED) | TO(MIGRATE_FAILED) | TO(MIGRATE_CANCELLING),
    [MIGRATE_CANCELLING] = TO(MIGRATE_CANCELLED),
};

const char *
migrate_state_name(enum migrate_state s)
{
    static const char *const names[MIGRATE_STATES] = {
        [MIGRATE_NONE] = "none", [MIGRATE_SETUP] = "setup", [MIGRATE_ACTIVE] = "active",
        [MIGRATE_PRE_SWITCHOVER] = "pre-switchover", [MIGRATE_DEVICE] = "device",
        [MIGRATE_COMPLETED] = "completed", [MIGRATE_FAILED] = "failed", [MIGRATE_CANCELLING] = "cancelling",
        [MIGRATE_CANCELLED] = "cancelled",
    };

    return names[s];
}

bool
migrate_state_may_follow(enum migrate_state from, enum migrate_state to)
{
    return next_states[from] & TO(to);
}

/* --- transitions ------------------------------------------------------------------------------------------------ */

/* The one place where the state changes.  Posting under the lock keeps the events in the order of the changes. */
static void
change_state(struct session *s, enum migrate_state next) REQUIRES(s->lock)
{
    int64_t now = g_get_monotonic_time();

    g_assert(next_states[s->state] & TO(next));
    s->state = next;
    if (next == MIGRATE_SETUP && s->direction == MIGRATE_OUT)
        s->begin_us = now;
    else if (next == MIGRATE_ACTIVE)
        s->active_us = now;
    else if (migrate_state_ended(next))
        s->end_us = now;
    record_step(s, next, now);
    if (migrate_state_ended(next))
        record_end(s);
    session_tell_state(s, next);
    condition_broadcast(&s->changed);
}

bool
session_enter(struct session *s, enum migrate_state next)
{
    bool free;

    lock_take(&s->lock);
    free = s->state != MIGRATE_CANCELLING && !s->closing;
    if (free)
        change_state(s, next);
    lock_drop(&s->lock);
    return free;
}

void
session_end(struct session *s, enum migrate_owner owner, GError *error)
{
    lock_take(&s->lock);
    s->owner = owner;
    if (s->state == MIGRATE_CANCELLING) {
        change_state(s, MIGRATE_CANCELLED);
        g_clear_error(&error);
    } else {
        s->failure = error;
        change_state(s, error ? MIGRATE_FAILED : MIGRATE_COMPLETED);
    }
    lock_drop(&s->lock);
}

void
session_handed(struct session *s)
{
    lock_take(&s->lock);
    s->handed_us = s->record.mark_us;
    lock_drop(&s->lock);
}

bool
session_commit(struct session *s)
{
    lock_take(&s->lock);
    s->committed = s->state != MIGRATE_CANCELLING && !s->closing;
    bool committed = s->committed;
    lock_drop(&s->lock);
    return committed;
}

void
session_uncommit(struct session *s)
{
    lock_take(&s->lock);
    s->committed = false;
    lock_drop(&s->lock);
}

bool
session_alive(struct session *s, GError **error)
{
    lock_take(&s->lock);
    bool alive = s->state != MIGRATE_CANCELLING && !s->closing;
    lock_drop(&s->lock);
    return alive || fail(error, NUMON_ERROR_STATE, "the migration was ended from here");
}

void
session_wake(struct session *s)
{
    uint64_t one = 1;

    write_all(s->wake, &one, sizeof one);
}

/* --- what main does --------------------------------------------------------------------------------------------- */

struct session *
session_new(enum migrate_direction direction, const struct migrate_guest *guest,
            struct migrate_parameters *parameters, struct migrate_capabilities *capabilities, struct mailbox *mailbox,
            const struct migrate_events *events)
{
    struct session *s = g_new0(struct session, 1);

    s->direction = direction;
    s->guest = *guest;
    s->parameters = parameters;
    s->capabilities = capabilities;
    s->mailbox = mailbox;
    s->tell = tell_new(events);
    s->listener.fd = -1;
    s->wake = s->quit = s->proceed = s->claim.fd = -1;
    lock_init(&s->lock, 30, "migration session");
    condition_init(&s->changed);
    lock_take(&s->lock);
    s->connection = -1;
    record_init(&s->record);
    s->owner = direction == MIGRATE_OUT ? OWNER_HERE : OWNER_THERE;
    lock_drop(&s->lock);
    return s;
}

/* Nobody asks any more whose a guest is that may run with this very memory: it must be out of reach before that is
 * let go, as memory with discard-data would take the content along. */
static void
leave_memory(struct session *s)
{
    if (handover_is(s) && session_owner(s) == OWNER_UNKNOWN && !claim_back(&s->claim))
        handover_let_go(s);
}

void
session_free(struct session *s)
{
    uint64_t one = 1;

    if (!s)
        return;
    tell_end(s->tell);
    lock_take(&s->lock);
    s->closing = true;
    condition_broadcast(&s->changed);
    lock_drop(&s->lock);
    session_unfollow(s);
    if (s->wake >= 0)
        session_wake(s);
    if (s->quit >= 0)
        write_all(s->quit, &one, sizeof one);
    thread_join(&s->worker);
    thread_join(&s->server);
    thread_join(&s->asker);
    leave_memory(s);
    arrival_forget(s);
    listener_close(&s->listener);
    address_release(&s->address);
    claim_release(&s->claim);
    close_fd(&s->wake);
    close_fd(&s->quit);
    close_fd(&s->proceed);
    tell_free(s->tell);
    lock_take(&s->lock);
    record_release(&s->record);
    history_release(&s->history);
    page_cache_free(s->new_cache);
    g_clear_pointer(&s->joining, g_ptr_array_unref);
    close_fd(&s->connection);
    g_clear_error(&s->failure);
    g_free(s->uri);
    g_free(s->description);
    g_free(s->blocks);
    lock_drop(&s->lock);
    condition_release(&s->changed);
    lock_release(&s->lock);
    g_free(s);
}

/* Who knows it may ask what became of the guest, so it must not be guessed. */
static uint64_t
random_id(void)
{
    uint64_t id = 0;

    while (id == 0)
        if (getrandom(&id, sizeof id, 0) != sizeof id)
            id = (uint64_t)g_random_int() << 32 | g_random_int();
    return id;
}

/* How pages go is settled here, so that it cannot change under way and a cache too large is told at once. */
static bool
prepare_pages(struct session *s, GError **error)
{
    uint64_t bytes = counter_read(&s->parameters->xbzrle_cache_size);
    struct page_cache *cache = NULL;

    if (s->capabilities && atomic_load(&s->capabilities->compress))
        s->features |= FEATURE_COMPRESS;
    if (!s->capabilities || !atomic_load(&s->capabilities->xbzrle))
        return true;
    cache = page_cache_new(bytes, error);
    if (!cache)
        return false;
    s->features |= FEATURE_XBZRLE;
    lock_take(&s->lock);
    s->new_cache = cache;
    s->cache_bytes = bytes;
    lock_drop(&s->lock);
    return true;
}

/* A cache of another size, if one is in use. */
static bool
resize_cache(struct session *s, uint64_t bytes, GError **error)
{
    struct page_cache *cache;

    lock_take(&s->lock);
    bool used = s->cache_bytes && !migrate_state_ended(s->state);
    lock_drop(&s->lock);
    if (!used)
        return true;
    cache = page_cache_new(bytes, error);
    if (!cache)
        return false;
    lock_take(&s->lock);
    struct page_cache *unused = s->new_cache;
    s->new_cache = cache;
    s->cache_bytes = bytes;
    lock_drop(&s->lock);
    page_cache_free(unused);
    return true;
}

static bool
prepare(struct session *s, const char *uri, GError **error)
{
    if (!address_parse(uri, s->direction, &s->address, error))
        return false;
    bool two_way = address_listens(&s->address);
    s->address.own = s->own_descriptor;
    if (s->address.transport == TRANSPORT_FD && !inherited_check(&s->address, s->direction, &two_way, error))
        return false;
    if (!two_way && s->capabilities && atomic_load(&s->capabilities->return_path))
        return fail(error, NUMON_ERROR_STATE, "'%s' has no way back, and the capability return-path demands one",
                    uri);
    s->features = 0;
    if (s->direction == MIGRATE_OUT && s->capabilities && atomic_load(&s->capabilities->checksum))
        s->features |= FEATURE_CHECKSUM;
    /* Who answers is numon; a file may be read by others. */
    if (s->direction == MIGRATE_OUT && two_way)
        s->features |= FEATURE_RUNS;
    s->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    s->quit = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    s->proceed = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (s->wake < 0 || s->quit < 0 || s->proceed < 0)
        return fail_host(error, errno, "cannot make an event descriptor");
    if (s->direction == MIGRATE_OUT)
        return handover_prepare(s, error) && (handover_is(s) || prepare_pages(s, error)) && local_prepare(s);
    if (address_listens(&s->address))
        return listener_open(&s->listener, &s->address, uri, error);
    return true;
}

/* So that a refused start leaves a session that may be started again. */
static void
unprepare(struct session *s)
{
    listener_close(&s->listener);
    address_release(&s->address);
    claim_release(&s->claim);
    close_fd(&s->wake);
    close_fd(&s->quit);
    close_fd(&s->proceed);
}

/* Only now: a refused start has changed nothing. */
static bool
make_room(struct session *s, GError **error)
{
    return s->direction == MIGRATE_OUT || !s->guest.make_room || s->guest.make_room(s->guest.self, error);
}

static bool
start_threads(struct session *s, GError **error)
{
    bool out = s->direction == MIGRATE_OUT;

    if (s->listener.fd >= 0 && !thread_start(&s->server, "migrate-listen", server_main, s, error))
        return false;
    return thread_start(&s->worker, out ? "migrate-out" : "migrate-in", out ? out_main : in_main, s, error);
}

/* What main may change later, as it is when the migration begins. */
static void
take_stock(struct session *s)
{
    session_list_blocks(s);
    if (s->direction == MIGRATE_IN)
        return;
    if (!s->history.rounds)
        history_init(&s->history, atomic_load(&s->total_bytes));
    s->description = s->guest.describe(s->guest.self);
    session_follow(s);
}

bool
session_start(struct session *s, const char *uri, GError **error)
{
    lock_take(&s->lock);
    bool fresh = s->state == MIGRATE_NONE;
    lock_drop(&s->lock);
    if (!fresh)
        return fail(error, NUMON_ERROR_STATE, "this migration was started already");
    if (!prepare(s, uri, error) || !make_room(s, error)) {
        unprepare(s);
        return false;
    }
    take_stock(s);
    lock_take(&s->lock);
    s->uri = g_strdup(s->listener.uri ? s->listener.uri : uri);
    if (s->direction == MIGRATE_OUT)
        s->id = random_id();
    change_state(s, MIGRATE_SETUP);
    lock_drop(&s->lock);
    g_autoptr(GError) failure = NULL;
    if (start_threads(s, &failure))
        return true;
    session_end(s, s->direction == MIGRATE_OUT ? OWNER_HERE : OWNER_THERE, g_error_copy(failure));
    g_propagate_error(error, g_steal_pointer(&failure));
    return false;
}

bool
session_parameter_set(struct session *s, struct migrate_parameters *p, const char *name, const char *text,
                      char **ret_note, GError **error)
{
    uint64_t before = counter_read(&p->xbzrle_cache_size), asked = 0;

    *ret_note = NULL;
    if (!migrate_parameter_set(p, name, text, error))
        return false;
    if (!name_equal(name, "xbzrle-cache-size"))
        return true;
    uint64_t now = counter_read(&p->xbzrle_cache_size);
    if (s && !resize_cache(s, now, error)) {
        atomic_store(&p->xbzrle_cache_size, before);
        return false;
    }
    g_autofree char *size = size_format(now);
    if (size_parse(text, 1, &asked, NULL) && asked != now)
        *ret_note = g_strdup_printf("xbzrle-cache-size is rounded down to a power of two: %s", size);
    return true;
}

static bool
may_cancel(struct session *s, GError **error) REQUIRES(s->lock)
{
    if (s->state == MIGRATE_NONE || migrate_state_ended(s->state))
        return fail(error, NUMON_ERROR_STATE, "no migration is running");
    return !s->committed || fail(error, NUMON_ERROR_STATE, "too late to cancel: the guest is being handed over");
}

bool
session_may_cancel(struct session *s, GError **error)
{
    lock_take(&s->lock);
    bool good = may_cancel(s, error);
    lock_drop(&s->lock);
    return good;
}

bool
session_cancel(struct session *s, GError **error)
{
    lock_take(&s->lock);
    bool good = may_cancel(s, error);
    if (good && s->state != MIGRATE_CANCELLING)
        change_state(s, MIGRATE_CANCELLING);
    lock_drop(&s->lock);
    if (good)
        session_wake(s);
    return good;
}

bool
session_may_continue(struct session *s, enum migrate_state at, GError **error)
{
    lock_take(&s->lock);
    enum migrate_state state = s->state;
    bool held = s->held;
    lock_drop(&s->lock);
    if (at != MIGRATE_NONE && state != at)
        return fail(error, NUMON_ERROR_STATE, "cannot let the migration go on: it is %s, not %s",
                    migrate_state_name(state), migrate_state_name(at));
    return state == MIGRATE_PRE_SWITCHOVER || held
        || fail(error, NUMON_ERROR_STATE, "cannot let the migration go on: it is %s and does not wait",
                migrate_state_name(state));
}

bool
session_continue(struct session *s, enum migrate_state at, GError **error)
{
    uint64_t one = 1;

    if (!session_may_continue(s, at, error))
        return false;
    /* From now on, not from when the worker wakes: who asks next asks for the next time. */
    lock_take(&s->lock);
    s->held = false;
    lock_drop(&s->lock);
    write_all(s->proceed, &one, sizeof one);
    return true;
}

void
session_hold(struct session *s, bool held)
{
    uint64_t count;

    /* What came before it waited was not meant for this wait. */
    if (held && read(s->proceed, &count, sizeof count) < 0)
        count = 0;
    lock_take(&s->lock);
    s->held = held;
    session_tell_state(s, s->state);
    lock_drop(&s->lock);
}

uint64_t
session_id(struct session *s)
{
    lock_take(&s->lock);
    uint64_t id = s->id;
    lock_drop(&s->lock);
    return id;
}

enum migrate_owner
session_owner(struct session *s)
{
    lock_take(&s->lock);
    enum migrate_owner owner = s->owner;
    lock_drop(&s->lock);
    return owner;
}

bool
session_exposed(const struct session *s)
{
    return s->listener.exposed;
}

bool
session_may_claim(struct session *s, bool anew, GError **error)
{
    enum migrate_owner owner = session_owner(s);

    if (!handover_is(s) || owner == OWNER_HERE || (owner == OWNER_THERE && anew))
        return true;
    if (owner == OWNER_THERE)
        return fail(error, NUMON_ERROR_STATE, "the guest's memory went along with it, nothing of it is here "
                    "(`system_reset -f` starts anew)");
    return claim_may_be_forced(&s->claim)
        || fail(error, NUMON_ERROR_STATE, "the guest runs, or ran, at the destination with the very memory that it "
                "had here (`migrate_outcome` asks; `enter_preconfig` tears this machine down)");
}

bool
session_claim(struct session *s, bool anew, GError **error)
{
    if (!session_may_claim(s, anew, error))
        return false;
    session_settle(s);
    lock_take(&s->lock);
    bool good = !handover_is(s) || s->owner != OWNER_UNKNOWN || claim_forced_back(&s->claim);
    if (good)
        s->owner = OWNER_HERE;
    lock_drop(&s->lock);
    return good || session_may_claim(s, anew, error);
}

bool
session_took_memory(struct session *s)
{
    return handover_is(s) && session_owner(s) == OWNER_THERE;
}

/* They end by themselves: the worker soon after the state has. */
void
session_settle(struct session *s)
{
    uint64_t one = 1;

    if (!handover_is(s))
        return;
    session_wake(s);
    /* A destination that stands still keeps who asks it waiting, and is not to keep main. */
    if (s->quit >= 0)
        write_all(s->quit, &one, sizeof one);
    thread_join(&s->worker);
    thread_join(&s->asker);
}
