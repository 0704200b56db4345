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

enum { RECORD_BYTES = 8, DELTA_HEADER = 3, ZERO_BYTES = 9 };
enum { STEADY_PASSES = 6 };
#define TIME_MOST_US (UINT64_C(1800) * 1000000)
#define SLICE_S 0.05

struct piece_state {
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
    double writer;                      /* sequential: working pages passed, below 'working' */
    double now_s, round_s, looked_s;    /* time; where the round began; last look at the log */
    double sent, round_sent;            /* bytes */
    double known_before;                /* dirty pages at the last look */
    double taken;                       /* sent since */
    double cached;
    bool swept;
    struct converge converge;
    unsigned steady;
    double last_remaining;
};

/* --- the guest -------------------------------------------------------------------------------------------------- */

/* A share of the working pages is written. */
static void
make_dirty(struct model *m, struct piece_state *p, double share)
{
    double fresh = p->clean * share;

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

static void
guest_runs(struct model *m, double dt)
{
    if (m->in->sequential)
        write_sequential(m, dt);
    else
        write_random(m, dt);
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

/* Sends as much of one kind as 'budget' bytes allow; what remains of the budget is returned. */
static double
send_kind(struct model *m, double *pages, double bytes, double budget)
{
    double count = MIN(*pages, budget / bytes);

    *pages -= count;
    m->sent += count * bytes;
    return budget - count * bytes;
}

/* '*budget' falls; false if the piece was not finished. */
static bool
send_piece(struct model *m, struct piece_state *p, double *budget)
{
    double before = p->dirty;

    *budget = send_kind(m, &p->zero, ZERO_BYTES, *budget);
    *budget = send_kind(m, &p->fixed, PAGE_SIZE + RECORD_BYTES, *budget);
    *budget = send_kind(m, &p->dirty, page_bytes(m, p), *budget);
    p->clean += before - p->dirty;
    clear_log(m, p, before - p->dirty);
    m->taken += before - p->dirty;
    remember(m, p, before - p->dirty);
    return p->zero + p->fixed + p->dirty < 1e-6;
}

/* True at the end of the pass; '*ret_s' is how long it took. */
static bool
send_slice(struct model *m, double *ret_s)
{
    double budget = m->in->bandwidth * SLICE_S, all = budget;

    while (m->sweep < m->in->count && send_piece(m, &m->at[m->sweep], &budget))
        m->sweep++;
    *ret_s = MAX((all - budget) / m->in->bandwidth, 1e-6);
    return m->sweep == m->in->count;
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

/* Passes after which as much remains as before, and nothing will change that. */
static bool
is_steady(struct model *m, double remaining)
{
    bool may_slow = m->in->converges && m->converge.percent < m->in->converge_most;
    bool same = fabs(remaining - m->last_remaining) <= 0.02 * m->last_remaining;

    m->steady = same && !may_slow ? m->steady + 1 : 0;
    m->last_remaining = remaining;
    return m->steady >= STEADY_PASSES;
}

static double
fits_bytes(const struct model *m)
{
    double rate = m->in->switchover_bandwidth ? (double)m->in->switchover_bandwidth : m->in->bandwidth;

    return rate * (double)m->in->downtime_limit_ms / 1000;
}

/* --- the whole -------------------------------------------------------------------------------------------------- */

static void
switch_over(struct model *m)
{
    double before = m->sent, line = m->in->line, unlimited = 1e15;

    m->sweep = 0;
    while (m->sweep < m->in->count && send_piece(m, &m->at[m->sweep], &unlimited))
        m->sweep++;
    double down_s = (double)m->in->fixed_us / 1e6 + (m->sent - before) / line;
    m->now_s += down_s;
    m->out->converges = true;
    m->out->downtime_us = (uint64_t)(down_s * 1e6);
    record(m, 0, 0);
}

static void
run_model(struct model *m)
{
    double pass_s, remaining;
    bool end;

    while (m->now_s * 1e6 < (double)TIME_MOST_US) {
        end = send_slice(m, &pass_s);
        guest_runs(m, pass_s);
        m->swept = m->swept || end;
        bool may_stop = m->swept || m->in->eager;
        bool late = m->swept && m->in->converges && m->now_s - m->looked_s >= 5;
        if (!end && !late && (!may_stop || remaining_bytes(m) > fits_bytes(m)))
            continue;
        remaining = read_log(m);
        /* The guest has whole pages: what is expected to be less than half of one is none. */
        if (may_stop && (remaining < PAGE_SIZE / 2 || remaining <= fits_bytes(m))) {
            switch_over(m);
            return;
        }
        if (end && is_steady(m, remaining))
            return;
        if (end)
            m->sweep = 0;
    }
}

void
predict_run(const struct predict_input *in, struct predict_result *ret)
{
    struct model m = { .in = in, .out = ret };

    *ret = (struct predict_result) { .rounds = g_array_new(FALSE, TRUE, sizeof(struct predict_round)) };
    m.at = g_new0(struct piece_state, in->count + 1);
    for (unsigned i = 0; i < in->count; i++) {
        const struct predict_piece *p = &in->pieces[i];
        double working = CLAMP(p->working, 0, (double)p->pages), filled = CLAMP(p->filled, 0, (double)p->pages);
        double fixed = MAX(filled - working, 0);

        m.at[i] = (struct piece_state) { .fixed = fixed, .zero = (double)p->pages - working - fixed,
                                         .working = working, .dirty = working, .blank = MAX(working - filled, 0) };
        m.working += working;
    }
    m.known_before = m.working;
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

/* --- from what was measured ------------------------------------------------------------------------------------- */

/* Pages written at least once in 't' seconds. */
static double
written(double rate, double working, bool sequential, double t)
{
    return sequential ? MIN(rate * t, working) : working * (1 - exp(-rate * t / working));
}

/* How badly it explains the points: squares over what chance and a busy host make of a count. */
#define NOISE 0.08
#define BURST_S 0.1                 /* a guest may write what it wants to write in so long at once */
static double
misfit(const struct predict_point *points, unsigned count, double rate, double working, bool sequential)
{
    double burst = BURST_S * (double)points[count - 1].pages * 1e6 / (double)points[count - 1].us, sum = 0;

    for (unsigned i = 0; i < count; i++) {
        double pages = (double)points[i].pages;
        double off = written(rate, working, sequential, (double)points[i].us / 1e6) - pages;

        sum += off * off / (MAX(pages, 1) + burst * burst + pages * pages * NOISE * NOISE);
    }
    return sum;
}

/* The rate that fits best. */
static double
fit_rate(const struct predict_point *points, unsigned count, double working, bool sequential, double *ret_misfit)
{
    const struct predict_point *last = &points[count - 1];
    double low = log((double)MAX(last->pages, 1) / ((double)last->us / 1e6) / 4), high = low + log(1e5);
    double best = exp(low);

    *ret_misfit = INFINITY;
    for (unsigned zoom = 0; zoom < 4; zoom++) {
        double step = (high - low) / 40;

        for (double at = low; at <= high; at += step) {
            double bad = misfit(points, count, exp(at), working, sequential);
            if (bad < *ret_misfit) {
                *ret_misfit = bad;
                best = exp(at);
            }
        }
        low = log(best) - step;
        high = log(best) + step;
    }
    return best;
}

/* What speaks for a smaller working set, or another order, must be more than chance. */
enum { CLEARLY = 6, WORKING_STEPS = 60 };

/* The best of one order; '*ret_misfit' is its, '*ret_widest' that of the largest working set. */
static struct predict_writes
fit_working(const struct predict_point *points, unsigned count, double least, double most, bool sequential,
            double *ret_misfit)
{
    struct predict_writes widest = { 0 }, best = { 0 };
    double widest_bad = INFINITY, best_bad = INFINITY;

    for (unsigned i = 0; i <= WORKING_STEPS; i++) {
        double working = least * pow(most / least, 1 - (double)i / WORKING_STEPS), bad;
        double rate = fit_rate(points, count, working, sequential, &bad);
        struct predict_writes w = { .rate = rate, .working = working, .sequential = sequential };

        if (i == 0) {
            widest = w;
            widest_bad = bad;
        }
        if (bad < best_bad) {
            best = w;
            best_bad = bad;
        }
    }
    bool clearly = best_bad < widest_bad - CLEARLY;
    *ret_misfit = clearly ? best_bad : widest_bad;
    return clearly ? best : widest;
}

void
predict_fit(const struct predict_point *points, unsigned count, uint64_t most_working, struct predict_writes *ret)
{
    uint64_t most_seen = 0;
    double random_bad, sequential_bad;

    *ret = (struct predict_writes) { 0 };
    for (unsigned i = 0; i < count; i++)
        most_seen = MAX(most_seen, points[i].pages);
    if (most_seen == 0)
        return;
    double least = (double)most_seen, most = MAX((double)most_working, least);
    struct predict_writes sequential = fit_working(points, count, least, most, true, &sequential_bad);
    *ret = fit_working(points, count, least, most, false, &random_bad);
    if (sequential_bad < random_bad - CLEARLY)
        *ret = sequential;
}

/* --- from rounds that there were -------------------------------------------------------------------------------- */

/* How far the model's rounds are from those. */
static double
rounds_misfit(const struct predict_input *in, const struct predict_round *rounds, unsigned count)
{
    struct predict_result r;
    double sum = 0;

    predict_run(in, &r);
    for (unsigned i = 0; i < count; i++) {
        const struct predict_round *found = NULL;

        if (i < r.rounds->len)
            found = &g_array_index(r.rounds, struct predict_round, i);
        double off = log(((double)(found ? found->fresh_pages : 0) + 100) / ((double)rounds[i].fresh_pages + 100));
        double longer = log(((double)(found ? found->duration_us : 0) + 1e4) / ((double)rounds[i].duration_us + 1e4));
        sum += off * off + longer * longer;
    }
    predict_result_release(&r);
    return sum;
}

static void
set_working(struct predict_input *in, struct predict_piece *pieces, double working)
{
    for (unsigned i = 0; i < in->count; i++)
        pieces[i].working = MIN(working / in->count, (double)pieces[i].pages);
}

void
predict_fit_rounds(struct predict_input *in, struct predict_piece *pieces, const struct predict_round *rounds,
                   unsigned count, struct predict_writes *ret)
{
    enum { ROUNDS_MOST = 8, STEPS = 16, ZOOMS = 3 };
    double pages = 0, known = in->write_rate, best = INFINITY, fresh = 100, seconds = 0.01;

    count = MIN(count, ROUNDS_MOST);
    for (unsigned i = 0; i < in->count; i++)
        pages += MAX(pieces[i].filled, 1);
    for (unsigned i = 0; i < count; i++) {
        fresh = MAX(fresh, (double)rounds[i].fresh_pages);
        seconds += (double)rounds[i].duration_us / 1e6;
    }
    double low = log(MIN(fresh, pages)), high = log(MAX(pages, fresh));
    double slow = log(fresh / seconds / 4), fast = slow + log(1000);
    in->pieces = pieces;
    for (unsigned zoom = 0; zoom < ZOOMS; zoom++) {
        double step = (high - low) / STEPS, rate_step = (fast - slow) / STEPS;

        for (unsigned i = 0; i <= STEPS; i++)
            for (unsigned k = 0; k <= (known > 0 ? 0 : STEPS); k++) {
                struct predict_writes w = { .working = exp(low + i * step), .sequential = in->sequential,
                                            .rate = known > 0 ? known : exp(slow + k * rate_step) };
                in->write_rate = w.rate;
                set_working(in, pieces, w.working);
                double bad = rounds_misfit(in, rounds, count);
                if (bad < best) {
                    best = bad;
                    *ret = w;
                }
            }
        low = MAX(log(ret->working) - step, low);
        high = MIN(log(ret->working) + step, high);
        slow = log(ret->rate) - rate_step;
        fast = log(ret->rate) + rate_step;
    }
    in->write_rate = ret->rate;
    set_working(in, pieces, ret->working);
}
