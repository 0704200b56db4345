/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The rule of a migration in words: what is pending, what would fit, why it is not less, and the one change that
 * would let it finish now; after the end what failed where, and what is true of both sides. */
#include "why.h"

#include <math.h>

/* The line is held back by the limit, not by itself, from this share of it on. */
#define CAPPED_FROM 0.8
/* A limit so many times as high may be asked for; beyond it a longer stop is the likelier way. */
enum { RAISE_MOST = 4 };
enum { DOWNTIME_LIMIT_MOST_MS = 2000000 };
/* A slice takes 50 ms, and a window's rest 100 ms. */
enum { SILENT_MS = 1000 };

char *
why_size(uint64_t bytes)
{
    static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
    double number = (double)bytes;
    unsigned unit = 0;

    while (number >= 1023.95 && unit + 1 < G_N_ELEMENTS(units)) {
        number /= 1024;
        unit++;
    }
    return g_strdup_printf(unit ? "%.1f %s" : "%.0f %s", number, units[unit]);
}

/* Up to two digits: a number that a person would type. */
static uint64_t
rounded_up(uint64_t number)
{
    uint64_t step = 1;

    while (number / step >= 100)
        step *= 10;
    return (number + step - 1) / step * step;
}

/* a * b / c, rounded up; far too much is the most. */
static uint64_t
scaled(uint64_t a, uint64_t b, uint64_t c)
{
    unsigned __int128 whole = ((unsigned __int128)a * b + c - 1) / c;

    return whole > G_MAXINT64 ? G_MAXINT64 : (uint64_t)whole;
}

static bool
is_capped(const struct why *w)
{
    return w->max_bandwidth && !w->avail_switchover_bandwidth
        && (double)w->bandwidth >= CAPPED_FROM * (double)w->max_bandwidth;
}

char *
why_change(const struct why *w)
{
    /* A tenth more than what is pending now: it is not less at the next look. */
    uint64_t wanted = w->pending + w->pending / 10, ms, mib;

    if (w->state != MIGRATE_ACTIVE || w->direction != MIGRATE_OUT || w->first_pass || w->pending <= w->fits
        || w->bandwidth == 0)
        return NULL;
    mib = scaled(wanted, 1000, MAX(w->downtime_limit_ms, 1) * MIB);
    if (is_capped(w) && mib <= w->max_bandwidth / MIB * RAISE_MOST)
        return g_strdup_printf("migrate_set_parameter max-bandwidth %" G_GUINT64_FORMAT "M", rounded_up(mib));
    ms = scaled(wanted, 1000, w->bandwidth);
    if (ms > DOWNTIME_LIMIT_MOST_MS)
        return NULL;
    return g_strdup_printf("migrate_set_parameter downtime-limit %" G_GUINT64_FORMAT,
                           MIN(rounded_up(MAX(ms, 1)), DOWNTIME_LIMIT_MOST_MS));
}

/* By what the last round left, beside the least and the most that those before it did; the first, which leaves less
 * than all of memory in any case, counts by what it left. */
enum migrate_verdict
why_trend(const GArray *rounds)
{
    enum { BEFORE = 3 };
    const struct migrate_round *last = NULL;
    uint64_t least = UINT64_MAX, most = 0;
    unsigned before = 0;

    for (unsigned i = rounds->len; i-- > 0 && before < BEFORE;) {
        const struct migrate_round *r = &g_array_index(rounds, struct migrate_round, i);

        if (r->open || r->verdict == VERDICT_LAST)
            continue;
        if (last) {
            least = MIN(least, r->dirty_end);
            most = MAX(most, r->dirty_end);
            before++;
        } else {
            last = r;
        }
    }
    if (before == 0)
        return VERDICT_OPEN;
    if (last->dirty_end <= last->fits_bytes || last->dirty_end < least - least / 20)
        return VERDICT_CONVERGING;
    return last->dirty_end > most + most / 20 ? VERDICT_DIVERGING : VERDICT_STALLED;
}

/* --- a migration out, under way --------------------------------------------------------------------------------- */

static void
append_size(GString *out, uint64_t bytes)
{
    g_autofree char *size = why_size(bytes);

    g_string_append(out, size);
}

/* "38.2 MiB are pending and 12.8 MiB would fit (300 ms at 42.7 MiB/s)" */
static void
append_pending(const struct why *w, GString *out)
{
    append_size(out, w->pending);
    g_string_append(out, " are pending and ");
    append_size(out, w->fits);
    g_string_append_printf(out, " would fit (%" G_GUINT64_FORMAT " ms at ", w->downtime_limit_ms);
    append_size(out, w->bandwidth);
    g_string_append(out, "/s)");
}

static void
append_cause(const struct why *w, GString *out)
{
    switch (w->verdict) {
    case VERDICT_CONVERGING:
        g_string_append(out, "; each round leaves less, so it should end by itself");
        break;
    case VERDICT_STALLED:
    case VERDICT_DIVERGING:
        g_string_append_printf(out, "; the guest dirties %s, ",
                               w->verdict == VERDICT_STALLED ? "as much as a round sends"
                                                             : "more than a round sends");
        append_size(out, w->dirtied);
        g_string_append(out, "/s");
        break;
    case VERDICT_OPEN:
    case VERDICT_SHORTENING:
    case VERDICT_LAST:
    case MIGRATE_VERDICTS:
        break;
    }
    if (w->throttle_percent)
        g_string_append_printf(out, "; auto-converge takes %u %% of its time", w->throttle_percent);
}

static void
append_change(const struct why *w, GString *out)
{
    g_autofree char *change = why_change(w);

    if (change)
        g_string_append_printf(out, "; `%s` would let it finish now", change);
    else if (w->bandwidth)
        g_string_append(out, "; no downtime limit would be long enough: the guest must write less");
}

static void
append_first_pass(const struct why *w, GString *out)
{
    g_string_append(out, "first pass: ");
    append_size(out, w->pending);
    g_string_append(out, " of ");
    append_size(out, w->total);
    g_string_append(out, " are still to be sent once");
    if (w->bandwidth == 0 || w->silent_ms >= SILENT_MS)
        return;
    g_string_append_printf(out, ", at most %" G_GUINT64_FORMAT " s at ",
                           (uint64_t)ceil((double)w->pending / (double)w->bandwidth));
    append_size(out, w->bandwidth);
    g_string_append(out, "/s");
    if (is_capped(w))
        g_string_append(out, "; max-bandwidth is what holds it back");
}

/* "; the line has taken nothing for 3.2 s" */
static void
append_silence(const struct why *w, GString *out)
{
    if (w->silent_ms >= SILENT_MS)
        g_string_append_printf(out, "; the line has taken nothing for %.1f s", (double)w->silent_ms / 1000);
}

/* It fits. */
static void
append_end(const struct why *w, GString *out)
{
    if (w->shortening)
        g_string_append_printf(out, "; as rounds still shrink, another one makes the stop shorter (downtime-effort "
                               "%u %%)", w->downtime_effort);
    else
        g_string_append(out, "; the guest is stopped at the next look at its dirty pages");
}

static void
append_active(const struct why *w, GString *out)
{
    if (w->first_pass) {
        append_first_pass(w, out);
        append_silence(w, out);
        return;
    }
    if (w->held)
        g_string_append_printf(out, "held after round %" G_GUINT64_FORMAT " (`migrate_continue` goes on): ",
                               w->round - 1);
    else
        g_string_append_printf(out, "round %" G_GUINT64_FORMAT ": ", w->round);
    append_pending(w, out);
    if (w->pending <= w->fits) {
        append_end(w, out);
        return;
    }
    if (w->silent_ms >= SILENT_MS) {
        append_silence(w, out);
        return;
    }
    append_cause(w, out);
    append_change(w, out);
}

static void
append_device(const struct why *w, GString *out)
{
    g_string_append_printf(out, "the guest is stopped, %.1f ms so far (downtime-limit %" G_GUINT64_FORMAT " ms)",
                           (double)w->stopped_us / 1000, w->downtime_limit_ms);
    if (w->part)
        g_string_append_printf(out, "; behind it: %s", w->part);
}

/* --- after the end ---------------------------------------------------------------------------------------------- */

static void
append_where(const struct why *w, GString *out)
{
    switch (w->ended_in) {
    case MIGRATE_ACTIVE:
        if (w->direction == MIGRATE_IN) {
            g_string_append(out, " while RAM was loaded, ");
            append_size(out, w->came);
            g_string_append(out, " having come");
            break;
        }
        g_string_append_printf(out, " in round %" G_GUINT64_FORMAT " with ", w->round);
        append_size(out, w->pending);
        g_string_append(out, " pending");
        break;
    case MIGRATE_PRE_SWITCHOVER:
        g_string_append(out, " while it waited before the switchover");
        break;
    case MIGRATE_DEVICE:
        g_string_append_printf(out, " in the switchover%s%s", w->part ? ", after: " : "", w->part ? w->part : "");
        break;
    default:
        g_string_append(out, w->direction == MIGRATE_IN ? " before a source had said what it sends"
                        : " before the first page");
        break;
    }
}

static void
append_owner(const struct why *w, GString *out)
{
    switch (w->owner) {
    case OWNER_HERE:
        g_string_append_printf(out, "; the guest is whole and %s here, and the destination %s",
                               w->runs ? "runs" : "stopped",
                               w->begun ? "keeps nothing of it" : "never had any of it");
        break;
    case OWNER_THERE:
        g_string_append(out, w->handed ? "; the guest is at the destination, with the memory that it had here"
                        : "; the guest is at the destination, and what is here is a stopped copy");
        break;
    case OWNER_UNKNOWN:
        g_string_append_printf(out, "; the guest is stopped here and may run at the destination%s: `migrate_outcome` "
                               "asks it", w->handed ? " with the same memory" : "");
        break;
    case OWNER_COPY:
        g_string_append(out, "; the stream holds a whole copy, and the guest is stopped here until `cont`");
        break;
    }
}

static void
append_completed(const struct why *w, GString *out)
{
    if (w->handed) {
        append_size(out, w->handed);
        g_string_append_printf(out, " of memory were handed over and not copied, and the guest stood still for %.1f "
                               "ms",
                               (double)w->stopped_us / 1000);
        append_owner(w, out);
        return;
    }
    g_string_append_printf(out, "finished in %" G_GUINT64_FORMAT " rounds: what was left fitted, ", w->rounds);
    if (w->shortened)
        g_string_append_printf(out, "%u more round%s made it less (downtime-effort), ", w->shortened,
                               w->shortened == 1 ? "" : "s");
    g_string_append_printf(out, "and the guest stood still for %.1f ms", (double)w->stopped_us / 1000);
    append_owner(w, out);
}

/* Failed or cancelled. */
static void
append_broken(const struct why *w, GString *out)
{
    g_string_append(out, w->state == MIGRATE_CANCELLED ? "cancelled" : "failed");
    append_where(w, out);
    if (w->error)
        g_string_append_printf(out, ": %s", w->error);
    if (w->direction == MIGRATE_OUT)
        append_owner(w, out);
    else
        g_string_append(out, "; nothing of a guest is kept here, and the source, if there was one, still has its "
                        "own");
}

static void
append_came(const struct why *w, GString *out)
{
    if (w->handed) {
        append_size(out, w->handed);
        g_string_append(out, " of memory were handed over; nothing runs here before all is loaded");
        return;
    }
    append_size(out, w->came);
    g_string_append(out, " have come; nothing runs here before all is loaded");
}

static void
append_connecting(const struct why *w, GString *out)
{
    g_string_append_printf(out, "connecting to %s", w->uri);
}

static void
append_waiting(const struct why *w, GString *out)
{
    g_string_append_printf(out, "waiting at %s for a source", w->uri);
}

#define NO_MIGRATION "no migration has begun (`migrate URI` sends the guest, `migrate_incoming URI` waits for one)"
#define ON_ITS_WAY_BACK "being cancelled: the worker is on its way back"

/* What is to be said of each state, at the source and at the destination: a text or a function. */
struct saying {
    const char *text;
    void (*append)(const struct why *w, GString *out);
};
static const struct saying sayings[MIGRATE_STATES][2] = {
    [MIGRATE_NONE] = { { NO_MIGRATION }, { NO_MIGRATION } },
    [MIGRATE_SETUP] = { { .append = append_connecting }, { .append = append_waiting } },
    [MIGRATE_ACTIVE] = { { .append = append_active }, { .append = append_came } },
    [MIGRATE_PRE_SWITCHOVER] = { { "the guest is stopped and nothing of its last state was sent: `migrate_continue "
                                   "pre-switchover` hands it over, `migrate_cancel` lets it go on here" },
                                 { .append = append_came } },
    [MIGRATE_DEVICE] = { { .append = append_device },
                         { "the source has stopped its guest, whose last pages and devices are being loaded" } },
    [MIGRATE_COMPLETED] = { { .append = append_completed }, { "all was loaded: the guest is here" } },
    [MIGRATE_FAILED] = { { .append = append_broken }, { .append = append_broken } },
    [MIGRATE_CANCELLING] = { { ON_ITS_WAY_BACK }, { ON_ITS_WAY_BACK } },
    [MIGRATE_CANCELLED] = { { .append = append_broken }, { .append = append_broken } },
};

char *
why_sentence(const struct why *w)
{
    const struct saying *s = &sayings[w->state][w->direction == MIGRATE_IN];
    GString *out = g_string_new(NULL);

    if (s->append)
        s->append(w, out);
    else
        g_string_append(out, s->text);
    return g_string_free(out, FALSE);
}
