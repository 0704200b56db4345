/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What a migration would be like.  Guest memory is a row of pieces, each with pages that are never written and pages
 * that are, of which some are clean, some known to be dirty, and some dirty in a log that was not read yet: counts,
 * no single pages.  The engine's own loop then runs over them, slice by slice of model time: a sweep in the order of
 * addresses, a look at the log at the end of each pass or when little remains, auto-converge, the switchover.
 *
 * The guest writes at random among its working pages, each equally often: in a time dt a clean one stays clean with
 * the probability exp(-rate * dt / working).  Or it goes through them one after the other, again and again. */
#include "migrate-private.h"

#include <math.h>

enum { RECORD_BYTES = 8, DELTA_HEADER = 3, RUN_BYTES = 32 };
/* Zero pages go as one record for many in a row. */
#define ZERO_BYTES ((double)RUN_BYTES / RUN_MOST)
enum { STEADY_PASSES = 6 };
#define TIME_MOST_US (UINT64_C(1800) * 1000000)
#define SLICE_S (PACE_SLICE_US / 1e6)
#define WINDOW_S (PACE_WINDOW_US / 1e6)
/* The guest writes while pages go: a step of the model is so much of the first pass. */
enum { STEPS_OF_PASS = 64, STEPS_OF_SLICE = 16 };

struct piece_state {
    double pages;                       /* all */
    double fixed, zero;                 /* pages never sent yet that nobody writes */
    double working, clean, hidden;      /* hidden: written since the log was read */
    double blank;                       /* of working pages: zero, as they were never written */
    double dirty;
    double cached;                      /* of working pages: in the page cache */
};

struct model {
    const struct predict_input *in;
    struct predict_result *out;
    struct piece_state *at;
    double working;                     /* pages, of all pieces */
    unsigned sweep;                     /* piece to be sent next */
    double passed, behind;              /* of it: the share of its working pages that this pass had; dirty of these */
    double writer;                      /* sequential: working pages passed, below 'working' */
    double step_s;
    double now_s, round_s, looked_s;    /* time; where the round began; last look at the log */
    double sent, round_sent;            /* bytes */
    double raw;                         /* bytes of pages that were not zero */
    double window_s, window_sent;       /* where the pace's window began, and with how many bytes sent */
    double begin_s;                     /* first page */
    double rate;                        /* bytes/s of the last whole window; 0: there was none yet */
    double known_before;                /* dirty pages at the last look */
    double taken;                       /* sent since */
    double cached;
    bool swept, switching;
    struct converge converge;
    struct flow flow;
    struct settle settle;
    enum settle_step step;
    unsigned passes;                    /* of these */
    double least, least_before;         /* the least that one left, and of as many before */
    double last_remaining;
};

/* --- the guest -------------------------------------------------------------------------------------------------- */

/* A share of the working pages is written. */
static void
make_dirty(struct model *m, struct piece_state *p, double share)
{
    double fresh = p->clean * share;

    if (m->in->log == LOG_AT_ONCE && m->sweep < m->in->count && p == &m->at[m->sweep])
        m->behind += CLAMP(p->working * m->passed - m->behind, 0, p->clean) * share;
    p->blank -= p->blank * share;
    if (m->in->log == LOG_AT_ONCE) {
        p->clean -= fresh;
        p->dirty += fresh;
    } else {
        p->hidden += (p->working - p->hidden) * share;
    }
}

/* The log tells what is in it: of these pages the share that was clean. */
static void
reveal(struct piece_state *p)
{
    double fresh = p->working > 0 ? p->hidden * p->clean / p->working : 0;

    p->clean -= fresh;
    p->dirty += fresh;
    p->hidden = 0;
}

/* Of 'pages' that were just sent. */
static void
clear_log(const struct model *m, struct piece_state *p, double pages)
{
    if (m->in->log == LOG_CLEARED && p->working > 0)
        p->hidden -= p->hidden * pages / p->working;
}

static double
write_rate(const struct model *m)
{
    double throttled = MAX(m->in->throttle_percent, m->converge.percent);

    return m->in->write_rate * (1 - throttled / 100);
}

static void
write_random(struct model *m, double dt)
{
    double share = m->working > 0 ? 1 - exp(-write_rate(m) * dt / m->working) : 0;

    for (unsigned i = 0; i < m->in->count; i++)
        make_dirty(m, &m->at[i], share);
}

/* The pages of [from, from + count) of all working pages, which wrap around. */
static void
write_range(struct model *m, double from, double count)
{
    double start = 0;

    for (unsigned i = 0; i < m->in->count; i++) {
        struct piece_state *p = &m->at[i];
        double first = MAX(from, start), end = MIN(from + count, start + p->working);

        if (end > first && p->working > 0)
            make_dirty(m, p, (end - first) / p->working);
        start += p->working;
    }
}

static void
write_sequential(struct model *m, double dt)
{
    double count = MIN(write_rate(m) * dt, m->working), left = m->working - m->writer;

    if (m->working <= 0)
        return;
    write_range(m, m->writer, MIN(count, left));
    if (count > left)
        write_range(m, 0, count - left);
    m->writer = fmod(m->writer + count, m->working);
}

/* While pages are sent the guest may get less done: 'dt' is then the time of a guest that has the host to itself. */
static void
guest_runs(struct model *m, double dt, bool busy)
{
    double share = busy && m->in->busy_share > 0 ? m->in->busy_share : 1;

    if (m->in->sequential)
        write_sequential(m, dt * share);
    else
        write_random(m, dt * share);
    m->now_s += dt;
}

/* --- sending ---------------------------------------------------------------------------------------------------- */

/* Bytes of a page that was written before: a delta if it is in the cache; one that is not goes into it. */
static double
page_bytes(struct model *m, const struct piece_state *p)
{
    double whole = PAGE_SIZE + RECORD_BYTES, blank, hit;

    if (p->working <= 0)
        return whole;
    blank = MIN(p->blank / p->working, 1);
    whole = blank * ZERO_BYTES + (1 - blank) * whole;
    if (!m->in->cache_pages || !m->swept)
        return whole;
    hit = MIN(p->cached / p->working, 1);
    return hit * (m->in->delta_bytes + RECORD_BYTES + DELTA_HEADER) + (1 - hit) * whole;
}

static void
remember(struct model *m, struct piece_state *p, double pages)
{
    double fresh = p->working > 0 ? pages * (1 - MIN(p->cached / p->working, 1)) : 0;

    if (!m->in->cache_pages || !m->swept)
        return;
    fresh = MIN(fresh, (double)m->in->cache_pages - m->cached);
    p->cached += fresh;
    m->cached += fresh;
}

/* What a slice may take. */
struct budget { double bytes, s; };

/* Bytes/s of the line while pages go. */
static double
speed(const struct model *m)
{
    return m->in->paced || m->switching ? m->in->line : MIN(m->in->line, m->in->bandwidth);
}

/* Sends as much of one kind as the budget allows; a page takes 'host_us', or what the line needs. */
static void
send_kind(struct model *m, double *pages, double bytes, double host_us, struct budget *b)
{
    double page_s = MAX(bytes / speed(m), host_us / 1e6);
    double count = MIN(*pages, MIN(b->bytes / bytes, b->s / page_s));

    *pages -= count;
    m->sent += count * bytes;
    b->bytes -= count * bytes;
    b->s -= count * page_s;
}

/* Host time of a page that goes once more: one of 'dirty' ahead of the sweep, of which neighbours go together. */
static double
again_us(const struct model *m, const struct piece_state *p, double dirty)
{
    const struct rehearsal_result *host = &m->in->host;
    double ahead = p->pages * (1 - m->passed);
    double together = m->in->sequential || ahead <= 0 ? 1 : MIN(dirty / ahead, 1);

    return host->again_us + (host->alone_us - host->again_us) * (1 - together);
}

/* What the guest writes behind the sweep is for the next pass.  '*b' falls; false if the piece was not finished. */
static bool
send_piece(struct model *m, struct piece_state *p, struct budget *b)
{
    const struct rehearsal_result *host = &m->in->host;
    double before = p->dirty, ahead = MAX(before - m->behind, 0), left = ahead, log_us = m->in->log_us;

    send_kind(m, &p->zero, ZERO_BYTES, host->absent_us, b);
    m->raw += p->fixed * PAGE_SIZE;
    send_kind(m, &p->fixed, PAGE_SIZE + RECORD_BYTES, host->fresh_us + log_us, b);
    m->raw -= p->fixed * PAGE_SIZE;
    send_kind(m, &left, page_bytes(m, p), (m->swept ? again_us(m, p, ahead) : host->fresh_us) + log_us, b);
    m->raw += (ahead - left) * PAGE_SIZE;
    p->dirty -= ahead - left;
    m->passed = left > 0 ? 1 - (1 - m->passed) * left / ahead : 1;
    p->clean += before - p->dirty;
    clear_log(m, p, before - p->dirty);
    m->taken += before - p->dirty;
    remember(m, p, before - p->dirty);
    return p->zero + p->fixed + left < 1e-6;
}

/* Pieces from that of the sweep on; true at the end of the pass. */
static bool
send_pieces(struct model *m, struct budget *b)
{
    while (m->sweep < m->in->count && send_piece(m, &m->at[m->sweep], b)) {
        m->sweep++;
        m->passed = m->behind = 0;
    }
    return m->sweep == m->in->count;
}

/* True at the end of the pass.  The guest writes meanwhile. */
static bool
send_slice(struct model *m)
{
    double left_s = SLICE_S, spent_s = 0, bytes = m->in->bandwidth * WINDOW_S - (m->sent - m->window_sent);
    double raw = m->raw, sent = m->sent, began_s = m->now_s;
    bool end = false;

    bytes = m->in->paced ? MAX(bytes, RUN_BYTES) : INFINITY;
    do {
        struct budget b = { .bytes = bytes, .s = MIN(left_s, m->step_s) };

        end = send_pieces(m, &b);
        spent_s = MIN(left_s, m->step_s) - b.s;
        guest_runs(m, MAX(spent_s, 1e-6), true);
        left_s -= spent_s;
        bytes = b.bytes;
    } while (!end && left_s > 1e-6 && spent_s > 1e-6);
    flow_add(&m->flow, m->raw - raw, m->sent - sent, (m->now_s - began_s) * 1e6);
    return end;
}

/* As src/migrate/pace.c: a window that is spent passes before more is sent. */
static void
end_window(struct model *m)
{
    double left = m->window_s + WINDOW_S - m->now_s;
    bool spent = m->in->paced && m->sent - m->window_sent >= m->in->bandwidth * WINDOW_S - PAGE_SIZE;

    if (left > 0 && !spent)
        return;
    if (left > 0)
        guest_runs(m, left, false);
    m->rate = (m->sent - m->window_sent) / (m->now_s - m->window_s);
    m->window_s = m->now_s;
    m->window_sent = m->sent;
}

static double
remaining_bytes(const struct model *m)
{
    double pages = 0;

    for (unsigned i = 0; i < m->in->count; i++)
        pages += m->at[i].dirty + m->at[i].fixed + m->at[i].zero;
    return pages * PAGE_SIZE;
}

/* --- looks at the log ------------------------------------------------------------------------------------------- */

static void
record(struct model *m, double remaining, double fresh)
{
    double round_s = m->now_s - m->round_s;
    struct predict_round r = {
        .duration_us = (uint64_t)(round_s * 1e6), .bytes = (uint64_t)(m->sent - m->round_sent),
        .dirty_end = (uint64_t)remaining, .fresh_pages = (uint64_t)fresh, .throttle_percent = m->converge.percent,
    };

    if (m->out->rounds->len < MIGRATE_ROUNDS)
        g_array_append_val(m->out->rounds, r);
    m->round_s = m->now_s;
    m->round_sent = m->sent;
}

/* Bytes/s as the engine sees it. */
static double
bandwidth_seen(const struct model *m)
{
    double rate = m->rate > 0 ? m->rate : m->now_s > m->begin_s ? m->sent / (m->now_s - m->begin_s) : 0;

    return MIN(rate, m->in->bandwidth);
}

static double
fits_bytes(const struct model *m)
{
    double rate = m->in->switchover_bandwidth ? (double)m->in->switchover_bandwidth : bandwidth_seen(m);

    return rate * (double)m->in->downtime_limit_ms / 1000;
}

/* By the engine's own rule.  The guest has whole pages: what is expected to be less than half of one is none. */
static enum settle_step
judge(struct model *m, double remaining, double fresh)
{
    double window = m->in->bandwidth * WINDOW_S, left = window - (m->sent - m->window_sent);
    struct settle_facts k = {
        .rest = remaining < PAGE_SIZE / 2 ? 0 : (uint64_t)remaining, .fits = (uint64_t)fits_bytes(m),
        .fresh = (uint64_t)fresh, .fresh_us = (int64_t)((m->now_s - m->looked_s) * 1e6), .flow = &m->flow,
        .budget = m->in->paced ? (uint64_t)MAX(left, 0) : UINT64_MAX,
        .window_budget = m->in->paced ? (uint64_t)window : UINT64_MAX,
        .window_end_us = (int64_t)((m->window_s + WINDOW_S) * 1e6), .begin_us = (int64_t)(m->begin_s * 1e6),
        .now_us = (int64_t)(m->now_s * 1e6), .effort = m->in->eager ? 0 : m->in->downtime_effort,
    };

    return m->swept || m->in->eager ? settle_look(&m->settle, &k) : SETTLE_TOO_MUCH;
}

/* What remains to be sent. */
static double
read_log(struct model *m)
{
    double dirty = 0;

    for (unsigned i = 0; i < m->in->count; i++) {
        reveal(&m->at[i]);
        dirty += m->at[i].dirty;
    }
    double fresh = MAX(dirty + m->taken - m->known_before, 0), remaining = remaining_bytes(m);
    m->step = judge(m, remaining, fresh * PAGE_SIZE);
    m->known_before = dirty;
    m->taken = 0;
    m->looked_s = m->now_s;
    if (m->in->converges)
        converge_sync(&m->converge, &(struct converge_rules) {
            .threshold = m->in->converge_threshold, .initial = m->in->converge_initial,
            .increment = m->in->converge_increment, .most = m->in->converge_most,
            .tailslow = m->in->converge_tailslow,
        }, (uint64_t)(fresh * PAGE_SIZE), (uint64_t)m->sent, (int64_t)(m->now_s * 1e6));
    record(m, remaining, fresh);
    return remaining;
}

/* After a pass: so many passes leave as much, at best, as so many before them, and nothing will change that. */
static bool
is_steady(struct model *m, double remaining)
{
    bool may_slow = m->in->converges && m->converge.percent < m->in->converge_most, steady;

    m->last_remaining = remaining;
    m->least = m->passes++ ? MIN(m->least, remaining) : remaining;
    if (m->passes < STEADY_PASSES)
        return false;
    steady = !may_slow && m->least >= 0.98 * m->least_before && m->least_before > 0;
    /* They go up and down a little. */
    if (steady)
        m->last_remaining = m->least_before;
    m->least_before = m->least;
    m->passes = 0;
    return steady;
}

/* --- the whole -------------------------------------------------------------------------------------------------- */

static void
switch_over(struct model *m)
{
    struct budget unlimited = { INFINITY, 3600 }, b = unlimited;

    m->sweep = 0;
    m->passed = m->behind = 0;
    m->switching = true;
    send_pieces(m, &b);
    double down_s = (double)m->in->fixed_us / 1e6 + unlimited.s - b.s;
    m->now_s += down_s;
    m->out->converges = true;
    m->out->downtime_us = (uint64_t)(down_s * 1e6);
    record(m, 0, 0);
}

/* Is a look at the log due?  At the end of a pass in any case. */
static bool
look_due(const struct model *m, bool end, bool may_stop)
{
    bool late = m->swept && m->in->converges && m->now_s - m->looked_s >= 5;
    bool spent = m->in->paced && m->in->bandwidth * WINDOW_S - (m->sent - m->window_sent) < PAGE_SIZE;
    bool shortens = m->step == SETTLE_SHORTEN && !spent && m->now_s * 1e6 < m->settle.until_us;

    return end || late || (may_stop && !shortens && remaining_bytes(m) <= fits_bytes(m));
}

static void
run_model(struct model *m)
{
    while (m->now_s * 1e6 < (double)TIME_MOST_US) {
        double remaining;
        bool end = send_slice(m);

        m->swept = m->swept || end;
        bool may_stop = m->swept || m->in->eager;
        if (look_due(m, end, may_stop)) {
            remaining = read_log(m);
            m->out->fits_bytes = (uint64_t)fits_bytes(m);
            if (m->step == SETTLE_STOP) {
                switch_over(m);
                return;
            }
            if (end && is_steady(m, remaining))
                return;
            if (end || m->step == SETTLE_SHORTEN)
                m->sweep = 0;
            if (m->step == SETTLE_SHORTEN)
                m->passed = m->behind = 0;
        }
        end_window(m);
    }
}

/* All pieces: nothing was sent yet. */
static void
set_pieces(struct model *m)
{
    const struct predict_input *in = m->in;
    double pass_s = 0, page_s = MAX(PAGE_SIZE / speed(m), in->host.fresh_us / 1e6);

    m->at = g_new0(struct piece_state, in->count + 1);
    for (unsigned i = 0; i < in->count; i++) {
        const struct predict_piece *p = &in->pieces[i];
        double working = CLAMP(p->working, 0, (double)p->pages), filled = CLAMP(p->filled, 0, (double)p->pages);
        double fixed = MAX(filled - working, 0);

        m->at[i] = (struct piece_state) { .pages = (double)p->pages, .fixed = fixed,
                                          .zero = (double)p->pages - working - fixed,
                                          .working = working, .dirty = working, .blank = MAX(working - filled, 0) };
        m->working += working;
        pass_s += filled * page_s;
    }
    m->known_before = m->working;
    m->step_s = CLAMP(pass_s / STEPS_OF_PASS, SLICE_S / STEPS_OF_SLICE, SLICE_S);
}

void
predict_run(const struct predict_input *in, struct predict_result *ret)
{
    struct model m = { .in = in, .out = ret };

    *ret = (struct predict_result) { .rounds = g_array_new(FALSE, TRUE, sizeof(struct predict_round)) };
    set_pieces(&m);
    m.now_s = m.looked_s = m.window_s = m.begin_s = (double)in->host.setup_us / 1e6;
    converge_init(&m.converge, 0);
    if (in->bandwidth > 0 && in->line > 0)
        run_model(&m);
    ret->total_us = (uint64_t)(m.now_s * 1e6);
    ret->bytes = (uint64_t)m.sent;
    ret->throttle_percent = m.converge.percent;
    ret->last_remaining = (uint64_t)m.last_remaining;
    g_free(m.at);
}

void
predict_result_release(struct predict_result *r)
{
    g_clear_pointer(&r->rounds, g_array_unref);
}
