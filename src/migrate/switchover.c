/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The end of a migration out: the guest stops, its last pages and its devices go, and it is handed over.
 *
 * Who may run the guest.  Until the stream's last byte may have been written it is ours: any failure lets it go on.
 * That byte is held back until the link took all others and, where there is a way back, the destination has answered
 * a ping that stands behind the last device: so a link that died earlier is noticed while there is a way back.  A
 * last byte that the link did not take was never sent.  After it only the destination's word decides. */
#include "migrate-private.h"

#include <poll.h>

enum { STATE_ID = 2, FIRST_SECTION_ID = 3 };
enum { PING_LOADED = 0x4e4d };

/* --- switchover ------------------------------------------------------------------------------------------------- */

static bool
enter(struct out *o, enum migrate_state next, GError **error)
{
    return session_enter(o->session, next) || session_alive(o->session, error);
}

/* People look at what is stopped, for as long as they like; the other side may go away meanwhile. */
static bool
pause_before_switchover(struct out *o, GError **error)
{
    if (!enter(o, MIGRATE_PRE_SWITCHOVER, error))
        return false;
    if (channel_wait(o->channel, o->session->proceed, POLLIN, INT64_MAX) != CHANNEL_READY)
        return fail(error, NUMON_ERROR_STATE, "interrupted before the switchover");
    return enter(o, MIGRATE_DEVICE, error);
}

static bool
stop_guest(struct out *o, GError **error)
{
    struct session *s = o->session;
    bool pauses = s->capabilities && atomic_load(&s->capabilities->pause_before_switchover);
    uint64_t rest;

    if (pauses ? !session_alive(s, error) : !enter(o, MIGRATE_DEVICE, error))
        return false;
    record_stop(s);
    o->stopped = true;
    o->ram.last = true;
    s->guest.stop(s->guest.self);
    record_part(s, "stop vCPUs");
    if (pauses && !pause_before_switchover(o, error))
        return false;
    if (pauses)
        record_part(s, "wait for migrate_continue");
    o->output.stall_ms = parameter(&s->parameters->switchover_timeout);
    /* Before the last look at the log: reading a device's state may still write to guest memory. */
    for (unsigned i = 0; i < s->guest.section_count; i++) {
        const struct state_section *section = s->guest.sections[i];
        if (section->before_save && !section->before_save(section->object, error))
            return false;
    }
    record_part(s, "drain");
    if (handover_is(s))
        return true;
    if (!out_sync(o, &rest, error))
        return false;
    record_part(s, "last sync");
    return true;
}

static bool
send_last_pages(struct out *o, GError **error)
{
    struct block *b;
    uint64_t first, count;

    if (handover_is(o->session))
        return handover_send_end(o, error);
    if (!out_begin_part(o, RECORD_END, error))
        return false;
    sweep_begin(&o->sweep, &o->ram.list);
    while (sweep_next(&o->sweep, RUN_MOST, &b, &first, &count))
        if (!session_alive(o->session, error) || !out_send_run(o, b, first, count, error))
            return false;
    atomic_store(&o->session->remaining_bytes, 0);
    if (!out_end_part(o, error))
        return false;
    ram_out_reckon(&o->ram, true);
    pieces_remaining(&o->pieces, o->subscriber);
    record_shares(o->session, &o->pieces);
    record_part(o->session, "last RAM");
    return true;
}

/* What stands in 'bytes' goes next. */
static void
trace_section(struct out *o, const struct state_section *section, uint32_t id)
{
    if (trace_on(o->session))
        trace_record(o->session, &(struct explain_event) {
            .kind = EXPLAIN_SECTION, .place = o->output.queued, .bytes = o->bytes->len, .name = section->name,
            .id = id, .instance = section->instance, .version = section->version }, NULL, 0);
}

static bool
send_devices(struct out *o, GError **error)
{
    const struct migrate_guest *g = &o->session->guest;

    wire_put_section(o->bytes, RECORD_FULL, STATE_ID, "globalstate", 0, 1);
    wire_put_global_state(o->bytes, g->run_state(g->self));
    wire_put_footer(o->bytes, STATE_ID);
    for (unsigned i = 0; i < g->section_count; i++) {
        const struct state_section *section = g->sections[i];
        wire_put_section(o->bytes, RECORD_FULL, FIRST_SECTION_ID + i, section->name, section->instance,
                         section->version);
        state_save(section, o->bytes);
        wire_put_footer(o->bytes, FIRST_SECTION_ID + i);
        trace_section(o, section, FIRST_SECTION_ID + i);
        if (!out_put(o, error))
            return false;
        record_part(o->session, "save %s %u", section->name, section->instance);
    }
    return true;
}

static int64_t
switchover_deadline(struct out *o)
{
    return g_get_monotonic_time() + (int64_t)parameter(&o->session->parameters->switchover_timeout) * 1000;
}

bool
out_await_pong(struct out *o, uint32_t mark, int64_t deadline_us, bool *ret_pong, GError **error)
{
    switch (return_wait(o->back, mark, deadline_us, ret_pong, error)) {
    case RETURN_NOTHING:
        return session_alive(o->session, error);
    case RETURN_LOADED:
        return fail(error, NUMON_ERROR_PEER, "the destination answered before the end of the stream");
    case RETURN_REFUSED:
    case RETURN_LOST:
        break;
    }
    return false;
}

/* Everything before this ping was loaded when it is answered.  What the link still holds may be much: as long as it
 * gets less there is progress. */
static bool
ping_destination(struct out *o, GError **error)
{
    uint64_t underway = UINT64_MAX;
    bool ponged = false;

    if (!o->back)
        return true;
    wire_put_ping(o->bytes, PING_LOADED);
    if (!out_put(o, error) || !output_flush(&o->output, error))
        return false;
    record_part(o->session, "flush");
    for (int64_t deadline = switchover_deadline(o); !ponged && g_get_monotonic_time() < deadline;) {
        if (!out_await_pong(o, PING_LOADED, MIN(deadline, g_get_monotonic_time() + PACE_WINDOW_US), &ponged, error))
            return false;
        uint64_t now_underway = channel_underway(o->channel);
        if (now_underway < underway && now_underway > 0)
            deadline = switchover_deadline(o);
        underway = now_underway;
    }
    if (ponged)
        record_part(o->session, "destination load");
    return ponged || fail(error, NUMON_ERROR_PEER, "the destination did not confirm the device state within %u ms "
                          "(switchover-timeout)",
                          (unsigned)parameter(&o->session->parameters->switchover_timeout));
}

static void
put_description(const struct out *o, size_t text_size, GByteArray *to)
{
    struct session *s = o->session;
    GString *json = wire_description(&s->guest, session_id(s), s->features, text_size, o->joined);

    wire_put8(to, RECORD_EOF);
    wire_put8(to, RECORD_DESCRIPTION);
    wire_put32(to, json->len);
    g_byte_array_append(to, (const uint8_t *)json->str, json->len);
    g_string_free(json, TRUE);
}

/* All but the last byte, which is returned. */
static bool
send_description(struct out *o, size_t text_size, char *ret_last, GError **error)
{
    put_description(o, text_size, o->bytes);
    *ret_last = (char)o->bytes->data[o->bytes->len - 1];
    g_byte_array_set_size(o->bytes, o->bytes->len - 1);
    if (!out_put(o, error) || !output_flush(&o->output, error))
        return false;
    record_part(o->session, "description");
    return true;
}

/* The sum of all bytes before the two sums, and of those that will follow the section. */
static bool
send_checksum(struct out *o, size_t text_size, GError **error)
{
    uint32_t id = FIRST_SECTION_ID + o->session->guest.section_count;
    g_autoptr(GByteArray) rest = g_byte_array_new();

    if (!o->output.summing)
        return true;
    wire_put_section(o->bytes, RECORD_FULL, id, CHECKSUM_SECTION, 0, CHECKSUM_VERSION);
    if (!out_put(o, error) || !output_flush(&o->output, error))
        return false;
    if (o->back)
        wire_put_ping(rest, PING_LOADED);
    put_description(o, text_size, rest);
    wire_put32(o->bytes, o->output.sum);
    wire_put32(o->bytes, checksum_add(0, rest->data, rest->len));
    wire_put_footer(o->bytes, id);
    if (!out_put(o, error) || !output_flush(&o->output, error))
        return false;
    record_part(o->session, "checksum");
    return true;
}

/* --- hand-off --------------------------------------------------------------------------------------------------- */

/* One-way: a copy is in the pipe; it is whole once the command has ended well, or the file is on the disk.  Of a
 * command that took all and ended otherwise, or does not end, nobody knows where it brought the guest, and whether
 * that runs there. */
static bool
await_command(struct out *o, GError **error)
{
    g_autoptr(GError) why = NULL;

    if (!file_finish(o->channel, error))
        return false;
    channel_end_output(o->channel);
    o->owner = OWNER_COPY;
    if (child_wait(o->channel, switchover_deadline(o), &why))
        return true;
    /* It may be bringing the guest to life, or still storing it: it goes on without us. */
    child_leave(o->channel);
    return fail(error, NUMON_ERROR_PEER, "the whole guest was sent, but %s: it stays paused here; `cont` goes on, "
                "once you know that no copy of it runs", why->message);
}

static bool
await_answer(struct out *o, GError **error)
{
    g_autoptr(GError) why = NULL;

    o->owner = OWNER_UNKNOWN;
    switch (return_wait(o->back, 0, switchover_deadline(o), NULL, &why)) {
    case RETURN_LOADED:
        o->owner = OWNER_THERE;
        return true;
    case RETURN_REFUSED:
        o->owner = OWNER_HERE;
        g_propagate_error(error, g_steal_pointer(&why));
        return false;
    case RETURN_LOST:
    case RETURN_NOTHING:
        break;
    }
    if (claim_runs(&o->session->claim)) {
        o->owner = OWNER_THERE;
        return true;
    }
    if (handover_is(o->session) && claim_back(&o->session->claim)) {
        o->owner = OWNER_HERE;
        return fail(error, NUMON_ERROR_PEER, "the destination's answer did not come (%s), and it had not claimed the "
                    "guest's memory: the guest goes on here",
                    why ? why->message : "nothing within switchover-timeout");
    }
    return fail(error, NUMON_ERROR_PEER, "the whole guest was sent, but the destination's answer did not come (%s): "
                "the guest stays paused here until %s", why ? why->message : "nothing within switchover-timeout",
                address_listens(&o->session->address)
                ? "`migrate_outcome` has asked the destination what became of it"
                : "`cont -f`, for when you know that it does not run there: nobody can be asked over this transport");
}

static bool
hand_off(struct out *o, char last, GError **error)
{
    bool unused;

    /* It may have refused, or gone, while the description went out. */
    if (o->back && !out_await_pong(o, PING_LOADED, 0, &unused, error))
        return false;
    if (!session_commit(o->session))
        return session_alive(o->session, error);
    if (!output_put(&o->output, &last, 1, error) || !output_flush(&o->output, error)) {
        session_uncommit(o->session);       /* a single byte is sent whole or not at all */
        return false;
    }
    bool good = o->back ? await_answer(o, error) : await_command(o, error);
    if (good)
        record_part(o->session, o->back ? "answer" : "end of the stream is taken");
    session_handed(o->session);
    if (o->back) {
        g_autoptr(GArray) parts = return_parts(o->back);
        record_there(o->session, parts);
    }
    return good;
}

bool
out_switch_over(struct out *o, size_t text_size, GError **error)
{
    char last;

    return stop_guest(o, error) && send_last_pages(o, error) && send_devices(o, error)
        && send_checksum(o, text_size, error) && ping_destination(o, error)
        && send_description(o, text_size, &last, error) && hand_off(o, last, error);
}
