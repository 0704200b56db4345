/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The live view of a migration: lines for a terminal of any width, drawn from facts and samples.  Pure but for the
 * controller at the end. */
#ifndef LIVE_H
#define LIVE_H

#include "why.h"

/* Five a second, for a minute. */
enum { LIVE_PERIOD_MS = 200, LIVE_SAMPLES = 60 * 1000 / LIVE_PERIOD_MS, LIVE_WIDTH_LEAST = 40 };

struct live_sample { double sent, dirtied, remaining; };        /* bytes/s, bytes/s, bytes */

struct live_facts {
    struct why why;
    uint64_t sent, remaining, dirtied;      /* bytes/s, bytes, bytes/s */
    uint64_t total_ms;
    uint64_t expected_downtime_ms;
    /* The last minute, oldest first. */
    struct live_sample samples[LIVE_SAMPLES];
    unsigned count;
};
void live_sample_add(struct live_facts *f, const struct live_sample *s);
/* Lines of at most 'width' columns, taken as LIVE_WIDTH_LEAST if less; each a char *.  Caller unrefs. */
GPtrArray *live_lines(const struct live_facts *f, unsigned width, bool utf8);
/* So many columns of the values, each the mean of its share of the minute, scaled to the largest.  Caller frees. */
char *live_sparkline(const double *values, unsigned count, unsigned columns, bool utf8);
/* The sentence in at most 'width' columns: the whole, or a shorter form, at last cut off.  Caller frees. */
char *live_why(const struct why *w, unsigned width, bool utf8);

#endif
