/* SPDX-License-Identifier: GPL-3.0-or-later */
/* One prediction under way: predict-input.c fills in what the model is given, predict.c has it reckoned and shown. */
#ifndef PREDICT_H
#define PREDICT_H

#include "migrate-views.h"

/* A line of which nothing is known is faster than any host. */
#define LINE_UNKNOWN 1e15

enum { SETTING_BANDWIDTH, SETTING_DOWNTIME, SETTING_CACHE, SETTING_THROTTLE };

struct predicting {
    struct monitor *monitor;
    struct call *call;                  /* NULL: it has gone */
    struct predict_input input;
    struct predict_result result;       /* the job's while it works */
    GArray *pieces;                     /* struct predict_piece */
    struct predict_writes writes;
    uint64_t pages;
    double filled;
    const char *bandwidth_from, *line_from, *host_from, *fixed_from;     /* static */
    char *host_note;                    /* why it is not, or little, rehearsed; owned; NULL: it is */
    struct values *settings;            /* owned */
    struct rehearsal *rehearsal;
    guint later;                        /* source that ends it; 0: none */
    double busy_rate, calm_rate;        /* pages/s that vCPUs wrote, by their own count, during the rehearsal and
                                         * after it; -1: not known */
    uint64_t written;                   /* the count when it began */
    int64_t writes_us;                  /* and the time */
    struct migrate_record *record;      /* -r; owned */
    GArray *known;                      /* struct predict_round: those it had */
};

/* From what is set and 'v', with a host as it is assumed to be. */
void predict_set_input(struct predicting *p, const struct values *v);
/* The host, as 'from' found it; then the bandwidth, which may depend on that. */
void predict_set_host(struct predicting *p, const struct rehearsal_result *host, const char *from);
void predict_set_bandwidth(struct predicting *p, const struct values *v);
/* The guest: as it was measured, or as the rounds of a migration tell. */
void predict_take_measure(struct predicting *p, const struct dirty_measure *q);
void predict_take_record(struct predicting *p, const struct migrate_record *r);
/* On a job's thread, after the latter: finds what the guest did, with the settings that the migration had. */
void predict_fit_record(struct predicting *p);

#endif
