/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Why a migration does what it does, in one sentence from its numbers.  Pure. */
#ifndef WHY_H
#define WHY_H

#include "migrate.h"

struct why {
    enum migrate_direction direction;
    enum migrate_state state;               /* MIGRATE_NONE: there never was a migration */
    enum migrate_owner owner;
    const char *uri, *error;                /* borrowed; may be NULL */
    enum migrate_state ended_in;            /* of one that has ended: where it was before */
    bool begun;                             /* the other side was reached */
    const char *part;                       /* the last part of the switchover that is over; NULL: none */
    uint64_t round;
    bool held;                              /* `migrate_step on` holds it */
    uint64_t silent_ms;                     /* for so long the line has taken nothing */
    bool first_pass;
    uint64_t pending;                       /* bytes: what the round began with; first pass: what is left */
    uint64_t total, came;                   /* bytes of RAM; of the stream so far */
    uint64_t handed;                        /* bytes of RAM that were handed over instead of sent */
    uint64_t fits;                          /* bytes that may remain for a switchover */
    uint64_t bandwidth;                     /* bytes/s that this was reckoned with */
    uint64_t max_bandwidth;                 /* 0: unlimited */
    uint64_t avail_switchover_bandwidth;    /* 0: measured */
    uint64_t downtime_limit_ms;
    bool shortening;                        /* it fits, and a round goes on to make the stop shorter */
    unsigned downtime_effort;               /* percent */
    unsigned shortened;                     /* rounds that did so */
    uint64_t dirtied;                       /* bytes/s */
    enum migrate_verdict verdict;           /* as why_trend has it */
    unsigned throttle_percent;
    uint64_t stopped_us;                    /* so far, or in all */
    uint64_t rounds;
    bool runs;                              /* the guest runs here */
};

/* How several rounds went: one alone leaves a little more or less by chance.  OPEN before there were two. */
enum migrate_verdict why_trend(const GArray *rounds);
/* Caller frees. */
char *why_sentence(const struct why *w);
/* The one command that would let it finish now; NULL if none is needed or none would.  Caller frees. */
char *why_change(const struct why *w);
/* "12.8 MiB", "0 B": for people, not to be read back.  Caller frees. */
char *why_size(uint64_t bytes);

#endif
