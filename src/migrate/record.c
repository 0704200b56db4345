/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The recording of a session, all of it under the session's lock: taken a few times a round and a slice, never for a
 * page.  A round is the difference of the counters at its two ends; the first begins at zero and the last is closed
 * when the session ends, so that nothing is counted twice or not at all. */
#include "migrate-private.h"

#include <stdarg.h>

/* A vCPU that wrote fewer pages before is no measure of what a write costs. */
enum { SAMPLE_WRITES = 1000 };

const char *
migrate_verdict_name(enum migrate_verdict v)
{
    static const char *const names[MIGRATE_VERDICTS] = {
        [VERDICT_OPEN] = "open", [VERDICT_CONVERGING] = "converging", [VERDICT_STALLED] = "stalled",
        [VERDICT_DIVERGING] = "diverging", [VERDICT_SHORTENING] = "shortening",
        [VERDICT_LAST] = "last",
    };

    return names[v];
}

void
record_init(struct recording *r)
{
    *r = (struct recording) {
        .rounds = g_array_new(FALSE, TRUE, sizeof(struct migrate_round)),
        .path = g_array_new(FALSE, TRUE, sizeof(struct migrate_step)),
        .parts = g_array_new(FALSE, TRUE, sizeof(struct migrate_part)),
        .shares = g_array_new(FALSE, TRUE, sizeof(struct migrate_share)),
        .cpus = g_array_new(FALSE, TRUE, sizeof(struct migrate_cpu)),
        .base_cpus = g_array_new(FALSE, TRUE, sizeof(struct migrate_cpu)),
        .there = g_array_new(FALSE, TRUE, sizeof(struct migrate_part)),
        .first_cpus = g_array_new(FALSE, TRUE, sizeof(struct migrate_cpu)),
    };
}

void
record_release(struct recording *r)
{
    g_array_unref(r->rounds);
    g_array_unref(r->path);
    g_array_unref(r->parts);
    g_array_unref(r->shares);
    g_array_unref(r->cpus);
    g_array_unref(r->base_cpus);
    g_array_unref(r->first_cpus);
    g_array_unref(r->there);
}

/* --- rounds ----------------------------------------------------------------------------------------------------- */

enum migrate_verdict
round_verdict(uint64_t dirty_start, uint64_t dirty_end, uint64_t fits_bytes)
{
    uint64_t margin = dirty_start / 20;

    if (dirty_end <= fits_bytes || dirty_end < dirty_start - margin)
        return VERDICT_CONVERGING;
    return dirty_end > dirty_start + margin ? VERDICT_DIVERGING : VERDICT_STALLED;
}

static struct migrate_round *
open_round(struct recording *r)
{
    return r->rounds->len ? &g_array_index(r->rounds, struct migrate_round, r->rounds->len - 1) : NULL;
}

/* Time that writing took between two looks at a vCPU beyond what as many writes took before 'first'. */
static uint64_t
slowed_us(const struct migrate_cpu *first, const struct migrate_cpu *a, const struct migrate_cpu *b)
{
    double cost = first->writes ? (double)first->writing_us / (double)first->writes : 0;
    double usual = cost * (double)(b->writes - a->writes), found = (double)(b->writing_us - a->writing_us);

    return found > usual ? (uint64_t)(found - usual) : 0;
}

/* What the guest did between two looks at its vCPUs. */
static void
add_cpus(struct migrate_round *round, const struct recording *r)
{
    const GArray *first = r->first_cpus, *from = r->base_cpus, *to = r->cpus;

    round->writes = round->slowed_us = round->throttled_us = 0;
    round->writes_known = round->slowed_known = to->len > 0 && from->len == to->len && first->len == to->len;
    for (unsigned i = 0; round->writes_known && i < to->len; i++) {
        const struct migrate_cpu *a = &g_array_index(from, struct migrate_cpu, i);
        const struct migrate_cpu *b = &g_array_index(to, struct migrate_cpu, i);
        const struct migrate_cpu *f = &g_array_index(first, struct migrate_cpu, i);

        if (!b->present)
            continue;
        round->writes_known = a->writes_known && b->writes_known && b->writes >= a->writes;
        round->slowed_known = round->slowed_known && round->writes_known && f->writing_known
            && f->writes >= SAMPLE_WRITES
                              && b->writing_us >= a->writing_us;
        round->writes += b->writes - a->writes;
        round->throttled_us += b->throttled_us - a->throttled_us;
        round->slowed_us += round->slowed_known ? slowed_us(f, a, b) : 0;
    }
}

/* Figures of the open round so far, from the counters 'now'. */
static void
fill_round(const struct recording *r, const struct migrate_info *now, int64_t now_us, struct migrate_round *round)
{
    const struct migrate_info *b = &r->base;
    uint64_t coded = now->xbzrle_pages - b->xbzrle_pages, whole = now->xbzrle_overflows - b->xbzrle_overflows;

    round->duration_us = (uint64_t)MAX(now_us - r->round_us, 0);
    round->pages_zero = now->pages_zero - b->pages_zero;
    round->pages_normal = now->pages_normal - b->pages_normal;
    round->pages_same = now->xbzrle_same - b->xbzrle_same;
    round->pages_delta = coded - whole - round->pages_same;
    round->pages_compressed = now->compress_pages - b->compress_pages;
    round->bytes = now->bytes - b->bytes;
    round->ram_bytes = now->precopy_bytes + now->downtime_bytes - b->precopy_bytes - b->downtime_bytes;
    round->throttle_percent = now->throttle_percent;
    round->expected_downtime_ms = now->expected_downtime_ms;
    add_cpus(round, r);
}

static void
read_now(const struct session *s, struct migrate_info *ret)
{
    *ret = (struct migrate_info) { 0 };
#define X(c, unit, help) ret->c = counter_read(&s->counters.c);
    MIGRATE_COUNTERS(X)
#undef X
    ret->throttle_percent = (unsigned)counter_read(&s->throttle_percent);
    ret->expected_downtime_ms = counter_read(&s->expected_downtime_ms);
}

/* The sum of two that follow each other. */
static void
join(struct migrate_round *a, const struct migrate_round *b)
{
    struct migrate_round sum = *b;

    sum.number = a->number;
    sum.start_us = a->start_us;
    sum.dirty_start = a->dirty_start;
    sum.duration_us += a->duration_us;
    sum.pages_zero += a->pages_zero;
    sum.pages_normal += a->pages_normal;
    sum.pages_delta += a->pages_delta;
    sum.pages_same += a->pages_same;
    sum.pages_compressed += a->pages_compressed;
    sum.bytes += a->bytes;
    sum.ram_bytes += a->ram_bytes;
    sum.fresh_pages += a->fresh_pages;
    sum.writes_known = a->writes_known && b->writes_known;
    sum.slowed_known = a->slowed_known && b->slowed_known;
    sum.writes += a->writes;
    sum.slowed_us += a->slowed_us;
    sum.held_us += a->held_us;
    sum.throttled_us += a->throttled_us;
    uint64_t passed = sum.duration_us + sum.held_us;
    sum.dirty_rate = passed ? sum.fresh_pages * 1000000 / passed : 0;
    *a = sum;
}

/* The first, which is a pass over all memory, and the later half stay as they are. */
void
rounds_fold(GArray *rounds)
{
    unsigned fold = MIGRATE_ROUNDS / 2;

    if (rounds->len < MIGRATE_ROUNDS)
        return;
    struct migrate_round *second = &g_array_index(rounds, struct migrate_round, 1);
    for (unsigned i = 2; i <= fold; i++)
        join(second, &g_array_index(rounds, struct migrate_round, i));
    g_array_remove_range(rounds, 2, fold - 1);
}

/* The guest's own account; it may take a lock of lower rank, so not under ours. */
static GArray *
read_cpus(struct session *s)
{
    GArray *cpus = g_array_new(FALSE, TRUE, sizeof(struct migrate_cpu));

    if (s->guest.progress)
        s->guest.progress(s->guest.self, cpus);
    return cpus;
}

static void
replace(GArray **place, const GArray *by)
{
    g_array_set_size(*place, 0);
    if (by->len)
        g_array_append_vals(*place, by->data, by->len);
}

static void
begin_round(struct session *s, uint64_t number, uint64_t dirty_bytes, int64_t now_us) REQUIRES(s->lock)
{
    struct recording *r = &s->record;
    struct migrate_round round = { .number = number, .last = number, .dirty_start = dirty_bytes, .open = true,
                                   .start_us = (uint64_t)(now_us - s->begin_us) };

    rounds_fold(r->rounds);
    g_array_append_val(r->rounds, round);
    r->round_us = now_us;
    history_begin(&s->history, number);
}

void
record_first(struct session *s, const struct round_facts *f)
{
    g_autoptr(GArray) cpus = read_cpus(s);

    lock_take(&s->lock);
    begin_round(s, 1, f->dirty_bytes, s->begin_us);
    if (f->last)
        open_round(&s->record)->verdict = VERDICT_LAST;
    replace(&s->record.cpus, cpus);
    replace(&s->record.base_cpus, cpus);
    replace(&s->record.first_cpus, cpus);
    lock_drop(&s->lock);
}

void
record_sync(struct session *s, const struct round_facts *f, bool last)
{
    g_autoptr(GArray) cpus = read_cpus(s);
    int64_t now_us = g_get_monotonic_time();
    struct recording *r = &s->record;
    struct migrate_info now;

    lock_take(&s->lock);
    struct migrate_round *round = open_round(r);
    replace(&r->cpus, cpus);
    read_now(s, &now);
    fill_round(r, &now, now_us, round);
    round->dirty_end = f->dirty_bytes;
    round->fresh_pages = f->fresh_pages;
    uint64_t passed = round->duration_us + round->held_us;
    round->dirty_rate = passed ? f->fresh_pages * 1000000 / passed : 0;
    round->bandwidth = f->bandwidth;
    round->bandwidth_window_us = f->bandwidth_window_us;
    round->fits_bytes = f->fits_bytes;
    round->verdict = f->shortening ? VERDICT_SHORTENING
                   : round_verdict(round->dirty_start, f->dirty_bytes, f->fits_bytes);
    round->open = false;
    uint64_t number = round->last + 1;
    r->base = now;
    replace(&r->base_cpus, cpus);
    begin_round(s, number, f->dirty_bytes, now_us);
    if (last)
        open_round(r)->verdict = VERDICT_LAST;
    lock_drop(&s->lock);
}

void
record_held(struct session *s, int64_t held_us, uint64_t dirty_bytes)
{
    lock_take(&s->lock);
    struct migrate_round *round = open_round(&s->record);
    round->held_us += (uint64_t)held_us;
    round->start_us += (uint64_t)held_us;
    round->dirty_start = dirty_bytes;
    s->record.round_us += held_us;
    lock_drop(&s->lock);
}

void
record_end(struct session *s)
{
    struct migrate_round *round = open_round(&s->record);
    struct migrate_info now;

    if (!round || !round->open)
        return;
    read_now(s, &now);
    fill_round(&s->record, &now, s->end_us, round);
    round->dirty_end = counter_read(&s->remaining_bytes);
    round->open = false;
}

/* --- shares ----------------------------------------------------------------------------------------------------- */

void
record_shares(struct session *s, const struct pieces *p)
{
    lock_take(&s->lock);
    GArray *shares = s->record.shares;
    g_array_set_size(shares, p->list->len);
    for (unsigned i = 0; i < p->list->len; i++) {
        const struct piece *piece = &g_array_index(p->list, struct piece, i);
        g_array_index(shares, struct migrate_share, i) = (struct migrate_share) {
            .block = piece->name, .node = piece->range.node, .cpu = piece->range.cpu, .pages = piece->range.count,
            .remaining = piece->remaining, .fresh_pages = piece->period_fresh, .sent = piece->sent,
            .zero = piece->zero,
        };
    }
    s->record.share_period_us = p->last_period_us;
    lock_drop(&s->lock);
}

/* --- path and parts --------------------------------------------------------------------------------------------- */

void
record_step(struct session *s, enum migrate_state state, int64_t now_us)
{
    struct migrate_step step = { state, s->begin_us ? (uint64_t)(now_us - s->begin_us) : 0 };

    g_array_append_val(s->record.path, step);
}

void
record_stop(struct session *s)
{
    lock_take(&s->lock);
    s->record.mark_us = g_get_monotonic_time();
    if (s->direction == MIGRATE_OUT)
        s->stop_us = s->record.mark_us;
    lock_drop(&s->lock);
}

void
record_part(struct session *s, const char *format, ...)
{
    struct migrate_part part = { 0 };
    va_list args;

    va_start(args, format);
    g_vsnprintf(part.name, sizeof part.name, format, args);
    va_end(args);
    lock_take(&s->lock);
    if (s->record.mark_us && s->record.parts->len < MIGRATE_PARTS) {
        int64_t now = g_get_monotonic_time();
        part.us = (uint64_t)(now - s->record.mark_us);
        s->record.mark_us = now;
        g_array_append_val(s->record.parts, part);
    }
    lock_drop(&s->lock);
}

void
record_there(struct session *s, const GArray *parts)
{
    lock_take(&s->lock);
    s->record.there_asked = parts != NULL;
    if (parts)
        replace(&s->record.there, parts);
    lock_drop(&s->lock);
}

void
record_progress(struct session *s, uint64_t progress_us, uint64_t gap_us)
{
    lock_take(&s->lock);
    s->record.progress_us = progress_us;
    s->record.guest_gap_us = gap_us;
    lock_drop(&s->lock);
}

/* --- copies ----------------------------------------------------------------------------------------------------- */

static GArray *
copy_array(const GArray *a, size_t size)
{
    GArray *copy = g_array_sized_new(FALSE, TRUE, (unsigned)size, a->len);

    if (a->len)
        g_array_append_vals(copy, a->data, a->len);
    return copy;
}

/* Since the session's begin. */
static void
subtract_cpus(GArray *cpus, const GArray *first)
{
    for (unsigned i = 0; i < MIN(cpus->len, first->len); i++) {
        struct migrate_cpu *c = &g_array_index(cpus, struct migrate_cpu, i);
        const struct migrate_cpu *f = &g_array_index(first, struct migrate_cpu, i);
        c->writes -= MIN(f->writes, c->writes);
        c->throttled_us -= MIN(f->throttled_us, c->throttled_us);
        c->writing_us -= MIN(f->writing_us, c->writing_us);
    }
}

static void
copy_arrays(const struct recording *r, struct migrate_record *ret)
{
    ret->rounds = copy_array(r->rounds, sizeof(struct migrate_round));
    ret->path = copy_array(r->path, sizeof(struct migrate_step));
    ret->parts = copy_array(r->parts, sizeof(struct migrate_part));
    ret->shares = copy_array(r->shares, sizeof(struct migrate_share));
    ret->cpus = copy_array(r->cpus, sizeof(struct migrate_cpu));
    ret->there = copy_array(r->there, sizeof(struct migrate_part));
    ret->there_asked = r->there_asked;
    ret->progress_us = r->progress_us;
    ret->guest_gap_us = r->guest_gap_us;
    ret->share_period_us = r->share_period_us;
}

struct migrate_record *
session_record(struct session *s)
{
    struct migrate_record *copy = g_new0(struct migrate_record, 1);
    struct recording *r = &s->record;

    lock_take(&s->lock);
    session_read(s, &copy->info);
    copy_arrays(r, copy);
    if (copy->rounds->len && open_round(r)->open) {
        struct migrate_round *round = &g_array_index(copy->rounds, struct migrate_round, copy->rounds->len - 1);
        fill_round(r, &copy->info, g_get_monotonic_time(), round);
        round->dirty_end = copy->info.remaining_bytes;
    }
    subtract_cpus(copy->cpus, r->first_cpus);
    if (r->mark_us && !migrate_state_ended(copy->info.state))
        copy->stopped_us = (uint64_t)(g_get_monotonic_time() - r->mark_us);
    lock_drop(&s->lock);
    for (unsigned i = 0; i < copy->parts->len; i++)
        copy->stopped_us += g_array_index(copy->parts, struct migrate_part, i).us;
    return copy;
}

struct migrate_record *
migrate_record_copy(const struct migrate_record *r)
{
    struct migrate_record *copy = g_memdup2(r, sizeof *r);

    copy->info.error = g_strdup(r->info.error);
    copy->info.uri = g_strdup(r->info.uri);
    copy->rounds = g_array_copy(r->rounds);
    copy->path = g_array_copy(r->path);
    copy->parts = g_array_copy(r->parts);
    copy->shares = g_array_copy(r->shares);
    copy->cpus = g_array_copy(r->cpus);
    copy->there = g_array_copy(r->there);
    return copy;
}

void
migrate_record_free(struct migrate_record *r)
{
    if (!r)
        return;
    migrate_info_release(&r->info);
    g_clear_pointer(&r->rounds, g_array_unref);
    g_clear_pointer(&r->path, g_array_unref);
    g_clear_pointer(&r->parts, g_array_unref);
    g_clear_pointer(&r->shares, g_array_unref);
    g_clear_pointer(&r->cpus, g_array_unref);
    g_clear_pointer(&r->there, g_array_unref);
    g_free(r);
}
