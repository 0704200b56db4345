/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A migration's report as a page: samples.c keeps what it was like, report.c lays the page out, report-charts.c
 * draws. */
#ifndef REPORT_H
#define REPORT_H

#include "migrate-views.h"

/* --- samples.c -------------------------------------------------------------------------------------------------- */

struct migrate_sample {
    uint64_t us;                    /* since the session's begin */
    uint64_t bandwidth;             /* bytes/s since the sample before */
    struct migrate_info info;       /* without its texts */
};
/* Of the current or last session, the oldest first; NULL: none were taken. */
const GArray *samples_list(const struct samples *s);

/* --- report-charts.c -------------------------------------------------------------------------------------------- */

struct chart {
    const char *title, *unit;       /* what a number of the axis counts: "MiB/s" */
    const char *color;              /* a CSS variable's name */
    const double *x, *y;            /* seconds; values */
    unsigned count;
    double x_most;
    bool steps;                     /* values hold until the next */
    const GArray *rounds;           /* struct migrate_round: their borders; or NULL */
};
void chart_draw(const struct chart *c, GString *out);
/* One bar in parts, and a legend. */
struct bar_part { const char *name; double value; const char *text; };
void bar_draw(const struct bar_part *parts, unsigned count, GString *out);
/* A map of cells, each a square as dark as 'share' (0 to 1). */
void heat_draw(const double *shares, unsigned count, GString *out);

#endif
