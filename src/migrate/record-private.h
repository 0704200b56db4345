/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The recording of a session: rounds, path, parts of the downtime, shares.  The migration thread writes it, a run of
 * pages, a slice or a round at a time; whoever shows it takes a copy. */
#ifndef MIGRATE_RECORD_PRIVATE_H
#define MIGRATE_RECORD_PRIVATE_H

#include "migrate.h"

/* A migrate_range with its account; the worker's own. */
struct piece {
    struct migrate_range range;
    const char *name;               /* of the block, interned */
    uint64_t before;                /* pages set at the last sync */
    uint64_t taken;                 /* since then from the log */
    uint64_t remaining;
    uint64_t fresh, period_fresh;   /* dirtied in this period, and in the last whole one */
    uint64_t sent, zero;
};

/* All of guest memory that moves, by block and page.  Worker. */
struct moving_list;
struct pieces {
    const struct migrate_guest *guest;
    const struct moving_list *moving;       /* borrowed; it may grow: then pieces_update */
    GArray *list;                   /* struct piece */
    unsigned blocks;                /* of 'moving' that are in it */
    unsigned at;                    /* the last one found */
    int64_t period_us;              /* its beginning */
    uint64_t last_period_us;        /* length of the last whole one; 0: none */
};
void pieces_init(struct pieces *p, const struct migrate_guest *guest, const struct moving_list *moving,
                 int64_t now_us);
void pieces_release(struct pieces *p);
/* Takes up blocks that came. */
void pieces_update(struct pieces *p);
/* Pages became dirty that nobody wrote. */
void pieces_excuse(struct pieces *p, const struct block *b, uint64_t first, uint64_t count);
/* The piece that a page is of; '*ret_left' pages of it from there on. */
struct piece *pieces_find(struct pieces *p, const struct block *b, uint64_t page, uint64_t *ret_left);
/* Pages that are set now, of all. */
uint64_t pieces_remaining(struct pieces *p, struct subscriber *subscriber);
/* After a sync: counts what is set, and returns what became dirty since the sync before. */
uint64_t pieces_sync(struct pieces *p, struct subscriber *subscriber, uint64_t *ret_remaining);
/* What the last sync found dirty does not count as dirtied. */
void pieces_forget(struct pieces *p);
/* A period ends: what was dirtied in it stands until the next ends. */
void pieces_period(struct pieces *p, int64_t now_us);

/* Of a session, under its lock (rank 30). */
struct recording {
    GArray *rounds, *path, *parts, *shares, *cpus;  /* as in struct migrate_record; the last round is open */
    uint64_t share_period_us;
    struct migrate_info base;       /* counters where the open round began */
    GArray *base_cpus;              /* vCPUs there; and where the session began */
    GArray *first_cpus;
    GArray *there;
    bool there_asked;
    uint64_t progress_us, guest_gap_us;
    int64_t round_us;
    int64_t mark_us;                /* end of the last part; 0: the guest was not stopped */
};
void record_init(struct recording *r);
void record_release(struct recording *r);

/* What the worker knows at a dirty sync. */
struct round_facts {
    uint64_t dirty_bytes, fresh_pages, bandwidth, bandwidth_window_us, fits_bytes;
    bool shortening;                /* the rest would fit; the next round is to make it less */
    bool last;                      /* of the first round: there will be no other */
};
struct session;
/* The first round began with the session; this much is to be sent. */
void record_first(struct session *s, const struct round_facts *f);
/* A round ends and the next begins; 'last': the guest is stopped. */
void record_sync(struct session *s, const struct round_facts *f, bool last);
/* The round that is open begins only now, with so much to be sent: it was held so much longer. */
void record_held(struct session *s, int64_t held_us, uint64_t dirty_bytes);
/* Shares as they are now. */
void record_shares(struct session *s, const struct pieces *p);
/* The guest stops now: parts begin.  A part ends: all since the one before was 'name'. */
void record_stop(struct session *s);
void record_part(struct session *s, const char *format, ...) G_GNUC_PRINTF(2, 3);
/* Outgoing: what the destination told of its parts (NULL: it was not asked). */
void record_there(struct session *s, const GArray *parts);
/* The guest's first turn after it was moved, so long after its start, and the gap that it saw. */
void record_progress(struct session *s, uint64_t progress_us, uint64_t gap_us);
/* How a round is judged; pure. */
enum migrate_verdict round_verdict(uint64_t dirty_start, uint64_t dirty_end, uint64_t fits_bytes);
/* Sums up the older rounds where there are too many; pure. */
void rounds_fold(GArray *rounds);

#endif
