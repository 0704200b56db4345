/* SPDX-License-Identifier: GPL-3.0-or-later */
/* How a guest writes, from what was measured: pages that were dirty after so long, or the rounds of a migration.
 * What explains them best is looked for on a grid, and then around the best of that. */
#include "migrate-private.h"

#include <math.h>

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
