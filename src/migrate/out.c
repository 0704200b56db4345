/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The source's worker: connects, sends passes over guest memory until the rest fits the downtime limit, switches
 * over (switchover.c). */
#include "migrate-private.h"

#include <string.h>
#include <unistd.h>

enum { PING_BEGIN = 1 };
enum { EXPECTED_DOWNTIME_BYTES = 10000 };       /* as in QEMU */
enum { RATE_PERIOD_US = 1000 * 1000 };
/* With auto-converge a long pass must not keep the guest from being slowed down. */
enum { CONVERGE_SYNC_US = 5 * 1000 * 1000 };
/* A refusal and the broken connection behind it arrive at about the same time. */
enum { LAST_WORDS_US = 500 * 1000 };

/* --- pages ------------------------------------------------------------------------------------------------------ */

/* What is in the output since 'before' counts as sent. */
static void
spend(struct out *o, uint64_t before, uint64_t pages)
{
    uint64_t bytes = o->output.queued - before, copied = (o->ram.copied - o->copied_before) * PAGE_SIZE;

    o->copied_before = o->ram.copied;
    pace_spend(&o->pace, bytes + copied, pages);
    counter_add(o->ram.last ? &o->session->counters.downtime_bytes : &o->session->counters.precopy_bytes, bytes);
}

/* Of one piece. */
static bool
send_part_of_run(struct out *o, struct piece *piece, struct block *b, uint64_t first, uint64_t count, GError **error)
{
    const _Atomic uint64_t *zero = &o->session->counters.pages_zero;
    uint64_t before = o->output.queued, zero_before = counter_read(zero), taken_before = o->ram.taken;

    if (!ram_out_run(&o->ram, b, first, count, error))
        return false;
    spend(o, before, count);
    piece->taken += o->ram.taken - taken_before;
    piece->sent += count;
    piece->zero += counter_read(zero) - zero_before;
    return true;
}

bool
out_send_run(struct out *o, struct block *b, uint64_t first, uint64_t count, GError **error)
{
    while (count) {
        uint64_t here;
        struct piece *piece = pieces_find(&o->pieces, b, first, &here);

        here = MIN(here, count);
        if (!send_part_of_run(o, piece, b, first, here, error) || !local_settle(o, false, error))
            return false;
        first += here;
        count -= here;
    }
    return true;
}

static double
bandwidth(struct out *o)
{
    return pace_bandwidth(&o->pace, parameter(&o->session->parameters->max_bandwidth), g_get_monotonic_time());
}

static uint64_t
threshold(struct out *o)
{
    struct migrate_parameters *p = o->session->parameters;

    return pace_threshold(bandwidth(o), parameter(&p->avail_switchover_bandwidth), parameter(&p->downtime_limit));
}

static void
show_pace(struct out *o)
{
    struct session *s = o->session;
    uint64_t given = parameter(&s->parameters->avail_switchover_bandwidth);

    pace_advance(&o->pace, parameter(&s->parameters->max_bandwidth), g_get_monotonic_time());
    atomic_store(&s->bytes_per_second, (uint64_t)(o->pace.bytes_per_ms * 1000));
    atomic_store(&s->pages_per_second, (uint64_t)o->pace.pages_per_second);
    atomic_store(&s->fits_bytes, threshold(o));
    atomic_store(&s->switchover_bandwidth, given ? given : (uint64_t)(bandwidth(o) * 1000));
}

/* Pages until the budget is spent, the slice's time is over or the pass ends ('*ret_end'). */
static bool
send_slice_pages(struct out *o, bool *ret_end, GError **error)
{
    int64_t until = g_get_monotonic_time() + PACE_SLICE_US;
    struct block *b;
    uint64_t first, count;

    *ret_end = false;
    while (g_get_monotonic_time() < until) {
        uint64_t budget = pace_budget(&o->pace, parameter(&o->session->parameters->max_bandwidth));
        if (budget == 0)
            return true;
        if (!sweep_next(&o->sweep, CLAMP(budget / PAGE_SIZE, 1, RUN_MOST), &b, &first, &count)) {
            *ret_end = true;
            return true;
        }
        if (!out_send_run(o, b, first, count, error))
            return false;
    }
    return true;
}

bool
out_put(struct out *o, GError **error)
{
    return output_put_array(&o->output, o->bytes, error);
}

bool
out_begin_part(struct out *o, uint8_t record, GError **error)
{
    g_autoptr(GArray) list = g_array_new(FALSE, FALSE, sizeof(struct moving));

    ram_out_part(&o->ram);
    atomic_store(&o->session->slice_us, g_get_monotonic_time());
    if (!out_join(o, list, error))
        return false;
    if (list->len)
        sweep_begin(&o->sweep, &o->ram.list);
    if (trace_on(o->session))
        trace_record(o->session, &(struct explain_event) {
            .kind = record == RECORD_PART ? EXPLAIN_PART : EXPLAIN_END, .place = o->output.queued, .bytes = 5,
            .name = "ram", .id = RAM_ID }, NULL, 0);
    wire_put_part(o->bytes, record, RAM_ID);
    if (list->len)
        wire_put_blocks(o->bytes, (struct moving *)list->data, list->len);
    return out_put(o, error);
}

bool
out_end_part(struct out *o, GError **error)
{
    uint64_t before = o->output.queued;

    if (!ram_out_drain(&o->ram, error) || !local_settle(o, true, error))
        return false;
    spend(o, before, 0);
    wire_put64(o->bytes, RAM_EOS);
    wire_put_footer(o->bytes, RAM_ID);
    return out_put(o, error) && output_flush(&o->output, error) && ram_out_whole(&o->ram, error);
}

/* --- passes ----------------------------------------------------------------------------------------------------- */

/* Their rate, over a second or more; the first value may come earlier. */
static void
reckon_dirty_rate(struct out *o, uint64_t fresh)
{
    struct session *s = o->session;
    int64_t now = g_get_monotonic_time(), passed = now - o->rate_us;

    o->rate_pages += fresh;
    if (passed < (counter_read(&s->dirty_rate) ? RATE_PERIOD_US : PACE_WINDOW_US))
        return;
    atomic_store(&s->dirty_rate, o->rate_pages * 1000000 / (uint64_t)passed);
    o->rate_pages = 0;
    o->rate_us = now;
    pieces_period(&o->pieces, now);
    ram_out_reckon(&o->ram, false);
}

static bool
parameter_on(const _Atomic bool *p)
{
    return atomic_load_explicit(p, memory_order_relaxed);
}

/* The round that ends, as it is recorded. */
static void
record_round(struct out *o, uint64_t bytes, uint64_t fresh)
{
    uint64_t window = o->pace.last_window_us;
    struct round_facts facts = {
        .dirty_bytes = bytes, .fresh_pages = fresh, .bandwidth = (uint64_t)(bandwidth(o) * 1000),
        .bandwidth_window_us = window ? window : (uint64_t)(o->sync_us - o->pace.begin_us),
        .fits_bytes = threshold(o),
    };

    facts.shortening = o->step == SETTLE_SHORTEN;
    record_sync(o->session, &facts, o->stopped);
    record_shares(o->session, &o->pieces);
}

/* Little enough is left for the switchover, and it may come now: or does another round pay?  Who looks at rounds one
 * by one, or wants the guest to stop soon, is not kept waiting. */
static enum settle_step
judge(struct out *o, uint64_t bytes, uint64_t fresh, int64_t fresh_us)
{
    struct migrate_parameters *p = o->session->parameters;
    bool swept = ram_out_swept(&o->ram), eager = parameter(&p->switchover) == SWITCHOVER_EAGER;
    uint64_t most = parameter(&p->max_bandwidth);
    struct settle_facts facts = {
        .rest = bytes, .fits = threshold(o), .fresh = fresh * PAGE_SIZE, .fresh_us = fresh_us, .flow = &o->flow,
        .budget = pace_budget(&o->pace, most), .window_budget = pace_window_budget(most),
        .window_end_us = pace_window_end(&o->pace), .begin_us = o->pace.begin_us, .now_us = g_get_monotonic_time(),
        .look_us = o->look_us,
        .effort = eager || parameter_on(&p->step) ? 0 : (unsigned)parameter(&p->downtime_effort),
    };

    if (o->stopped)
        return SETTLE_STOP;
    return (swept || eager) && !session_joins(o->session) ? settle_look(&o->settle, &facts) : SETTLE_TOO_MUCH;
}

/* Collects what the guest wrote; '*ret_bytes' remain to be sent. */
bool
out_sync(struct out *o, uint64_t *ret_bytes, GError **error)
{
    struct session *s = o->session;
    int64_t begin_us = g_get_monotonic_time(), before_us = o->sync_us;
    uint64_t pages;

    if (!hub_sync(s->guest.hub, error))
        return false;
    uint64_t fresh = pieces_sync(&o->pieces, o->subscriber, &pages);
    counter_add(&s->counters.dirty_syncs, 1);
    o->sync_us = g_get_monotonic_time();
    o->look_us = o->sync_us - begin_us;
    reckon_dirty_rate(o, fresh);
    if (!out_slow_down(o, fresh, error))
        return false;
    *ret_bytes = pages * PAGE_SIZE;
    atomic_store(&s->remaining_bytes, *ret_bytes);
    double rate = bandwidth(o);
    if (counter_read(&s->dirty_rate) && counter_read(&s->counters.bytes) > EXPECTED_DOWNTIME_BYTES && rate > 0)
        atomic_store(&s->expected_downtime_ms, (uint64_t)((double)*ret_bytes / rate));
    o->step = judge(o, *ret_bytes, fresh, o->sync_us - before_us);
    atomic_store(&s->shortening, o->step == SETTLE_SHORTEN);
    record_round(o, *ret_bytes, fresh);
    return true;
}

/* A round is over.  Where it was held and the rest did fit, the guest went on meanwhile: is that still so? */
static bool
end_round(struct out *o, bool *fits, GError **error)
{
    struct session *s = o->session;
    uint64_t bytes;

    session_pass(s, counter_read(&s->counters.dirty_syncs));
    if (!parameter_on(&s->parameters->step))
        return true;
    if (!out_hold(o, error))
        return false;
    if (!*fits)
        return true;
    if (!out_sync(o, &bytes, error))
        return false;
    session_pass(s, counter_read(&s->counters.dirty_syncs));
    *fits = o->step == SETTLE_STOP;
    return true;
}

/* Is the log to be read after this slice?  At the end of a pass in any case; else when what is known to remain is
 * little enough, though not amid a round that shall make it less before its window is spent, unless that takes too
 * long. */
static bool
look_due(struct out *o, bool end, uint64_t bytes)
{
    struct session *s = o->session;
    int64_t now_us = g_get_monotonic_time();
    bool swept = ram_out_swept(&o->ram);
    bool may_stop = swept || parameter(&s->parameters->switchover) == SWITCHOVER_EAGER;
    bool late = swept && out_slows_down(o) && now_us - o->sync_us >= CONVERGE_SYNC_US;
    bool spent = pace_budget(&o->pace, parameter(&s->parameters->max_bandwidth)) == 0;
    bool shortens = o->step == SETTLE_SHORTEN && !spent && (double)now_us < o->settle.until_us;

    atomic_store(&s->swept, swept);
    return end || late || (may_stop && !shortens && bytes <= threshold(o));
}

/* After a slice: may the guest be stopped? */
static bool
look_ahead(struct out *o, bool end, bool *ret_fits, GError **error)
{
    struct session *s = o->session;
    uint64_t bytes = pieces_remaining(&o->pieces, o->subscriber) * PAGE_SIZE;

    *ret_fits = false;
    atomic_store(&s->remaining_bytes, bytes);
    record_shares(s, &o->pieces);
    if (!look_due(o, end, bytes))
        return true;
    if (!out_sync(o, &bytes, error))
        return false;
    *ret_fits = o->step == SETTLE_STOP;
    if (*ret_fits && !parameter_on(&s->parameters->step))
        return true;
    if (end || o->step == SETTLE_SHORTEN)
        sweep_begin(&o->sweep, &o->ram.list);
    return end_round(o, ret_fits, error);
}

/* The budget of this window is spent: the rest of it passes; cancel and the return path wake. */
static bool
await_window(struct out *o, GError **error)
{
    struct channel *c = o->channel;

    if (pace_budget(&o->pace, parameter(&o->session->parameters->max_bandwidth)) == 0
        && channel_wait(c, -1, 0, pace_window_end(&o->pace)) == CHANNEL_WOKEN)
        return fail(error, NUMON_ERROR_STATE, "interrupted between two windows");
    return true;
}

/* One part of the section, as much as a slice takes. */
static bool
send_slice(struct out *o, bool *ret_end, GError **error)
{
    struct session *s = o->session;
    int64_t begin_us = g_get_monotonic_time();
    uint64_t before = o->output.queued, zero = counter_read(&s->counters.pages_zero), handled = o->ram.handled;
    uint64_t copied = o->ram.copied;

    if (!session_alive(s, error) || !out_begin_part(o, RECORD_PART, error) || !send_slice_pages(o, ret_end, error)
        || !out_end_part(o, error))
        return false;
    handled = o->ram.handled - handled;
    zero = counter_read(&s->counters.pages_zero) - zero;
    copied = (o->ram.copied - copied) * PAGE_SIZE;
    flow_add(&o->flow, (double)((handled - MIN(zero, handled)) * PAGE_SIZE),
             (double)(o->output.queued - before + copied), (double)(g_get_monotonic_time() - begin_us));
    return true;
}

static bool
send_passes(struct out *o, GError **error)
{
    for (bool fits = false, end; !fits;) {
        if (!send_slice(o, &end, error))
            return false;
        show_pace(o);
        if (!look_ahead(o, end, &fits, error) || (!fits && !await_window(o, error)))
            return false;
        show_pace(o);
    }
    return true;
}

/* --- set-up ----------------------------------------------------------------------------------------------------- */

static bool
send_head(struct out *o, const char *text, GError **error)
{
    struct session *s = o->session;

    wire_put_head(o->bytes, s->guest.machine_type, session_id(s), s->features, text);
    if (o->back) {
        wire_put_command(o->bytes, COMMAND_OPEN_RETURN_PATH, NULL, 0);
        wire_put_ping(o->bytes, PING_BEGIN);
        wire_put_ping(o->bytes, PING_PARTS);
    }
    if (!handover_send(o, error))
        return false;
    wire_put_section(o->bytes, RECORD_START, RAM_ID, "ram", 0, RAM_VERSION);
    wire_put_block_list(o->bytes, o->ram.list.at, o->ram.list.count);
    wire_put_footer(o->bytes, RAM_ID);
    return out_put(o, error) && output_flush(&o->output, error);
}

static bool
connect_out(struct out *o, GError **error)
{
    struct session *s = o->session;

    o->channel = channel_open(&s->address, MIGRATE_OUT, s->wake, INT64_MAX, error);
    if (!o->channel)
        return false;
    channel_watch_link(o->channel, parameter(&s->parameters->link_timeout), false);
    o->output.channel = o->channel;
    o->output.accepted = &s->counters.bytes;
    o->output.summing = s->features & FEATURE_CHECKSUM;
    o->ram.one_way = !channel_two_way(o->channel);
    if (o->ram.one_way)
        return true;
    o->back = return_new(o->channel, error);
    if (o->back)
        o->channel->alarm = return_alarm(o->back);
    return o->back != NULL;
}

/* Logging is on before the first page is read; all pages being dirty counts as the first sync. */
static bool
begin_passes(struct out *o, GError **error)
{
    struct session *s = o->session;
    int64_t now = g_get_monotonic_time();
    uint64_t pages;

    o->subscriber = hub_subscribe_full(s->guest.hub, "migration", error);
    if (!o->subscriber)
        return false;
    history_watch(s, o->subscriber);
    o->ram.list.subscriber = o->subscriber;
    sweep_fill(&o->ram.list);
    sweep_begin(&o->sweep, &o->ram.list);
    counter_add(&s->counters.dirty_syncs, 1);
    pace_init(&o->pace, now);
    converge_init(&o->converge, now);
    o->rate_us = o->sync_us = now;
    pieces_init(&o->pieces, &s->guest, &o->ram.list, now);
    pieces_sync(&o->pieces, o->subscriber, &pages);
    /* What is dirty at the beginning is not the guest's doing. */
    pieces_forget(&o->pieces);
    atomic_store(&s->remaining_bytes, pages * PAGE_SIZE);
    record_first(s, &(struct round_facts) { .dirty_bytes = pages * PAGE_SIZE });
    record_shares(s, &o->pieces);
    atomic_store(&s->expected_downtime_ms, parameter(&s->parameters->downtime_limit));
    if (!session_enter(s, MIGRATE_ACTIVE))
        return session_alive(s, error);
    session_pass(s, 1);
    return true;
}

/* --- the whole -------------------------------------------------------------------------------------------------- */

static bool
run_out(struct out *o, GError **error)
{
    struct session *s = o->session;
    const char *text = s->description;

    return ram_out_init(&o->ram, s, &o->output, error) && connect_out(o, error) && send_head(o, text, error)
        && (handover_is(s) ? handover_begin(o, error) : begin_passes(o, error) && send_passes(o, error))
        && out_switch_over(o, strlen(text), error);
}

/* What failed is often only what follows from why: the destination's reason, or how the command ended. */
static void
improve_error(struct out *o, GError **error)
{
    g_autoptr(GError) better = NULL;
    enum return_verdict verdict = RETURN_NOTHING;

    bool interrupted = g_error_matches(*error, NUMON_ERROR, NUMON_ERROR_STATE);
    if (o->owner != OWNER_HERE || !o->channel || !session_alive(o->session, NULL)
        || !(interrupted || o->channel->broken))
        return;
    if (o->back)
        verdict = return_wait(o->back, 0, g_get_monotonic_time() + LAST_WORDS_US, NULL, &better);
    else if (o->channel->child && !child_wait(o->channel, g_get_monotonic_time() + LAST_WORDS_US, &better)
             && o->channel->child)
        g_clear_error(&better);     /* it still runs: that says nothing */
    if (verdict == RETURN_LOADED)
        fail(&better, NUMON_ERROR_PEER, "the destination answered before the end of the stream");
    if (better && (verdict == RETURN_REFUSED || interrupted || !o->back)) {
        g_clear_error(error);
        *error = g_steal_pointer(&better);
    }
}

static void
release_out(struct out *o)
{
    return_free(o->back);
    channel_free(o->channel);
    g_byte_array_unref(o->bytes);
    g_array_unref(o->joined);
    ram_out_release(&o->ram);
    pieces_release(&o->pieces);
    g_free(o);
}

/* What the guest made of it is known a moment after all is over; session_free does not wait for it. */
static void
hear_last_word(struct out *o)
{
    uint64_t progress_us, gap_us;

    if (return_last_word(o->back, g_get_monotonic_time() + LAST_WORDS_US, &progress_us, &gap_us))
        record_progress(o->session, progress_us, gap_us);
}

void *
out_main(void *session)
{
    struct session *s = session;
    struct out *o = g_new0(struct out, 1);
    GError *error = NULL;

    o->session = s;
    o->owner = OWNER_HERE;
    o->bytes = g_byte_array_new();
    o->joined = g_array_new(FALSE, FALSE, sizeof(uint32_t));
    bool done = run_out(o, &error);
    if (!done)
        handover_take_back(o, &error);
    enum migrate_owner owner = o->owner;
    out_end_throttle(o);
    if (!done && o->stopped)
        record_part(s, MIGRATE_PART_FAILED);
    if (o->stopped && owner == OWNER_HERE) {
        s->guest.go_on(s->guest.self);
        record_part(s, "guest goes on here");
    }
    if (!done)
        improve_error(o, &error);
    history_end(s, &o->ram.list);
    hub_unsubscribe(s->guest.hub, o->subscriber);
    session_end(s, owner, error);
    if (owner == OWNER_THERE)
        handover_let_go(s);
    if (done && o->back)
        hear_last_word(o);
    release_out(o);
    return NULL;
}
