/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Memory of the source that the destination, on the same host, gets by its descriptors: to keep (handover.c) or to
 * copy from (local.c). */
#ifndef MIGRATE_HANDOVER_PRIVATE_H
#define MIGRATE_HANDOVER_PRIVATE_H

#include "migrate.h"

/* --- handover.c: memory that stays where it is ------------------------------------------------------------------ */

/* Who may run the guest: a word in a page that both sides have mapped. */
struct claim {
    _Atomic uint32_t *word;         /* NULL: memory is not handed over */
    int fd;                         /* -1: none */
};
void claim_release(struct claim *c);
/* Source: true if the destination never ran the guest and never will: it may go on here. */
bool claim_back(const struct claim *c);
bool claim_runs(const struct claim *c);             /* the guest ran there */
/* The same for a user who says so: false only if it ran there. */
bool claim_forced_back(const struct claim *c);
bool claim_may_be_forced(const struct claim *c);

struct session;
struct out;
struct ram_in;
/* Main: in mode cpr-transfer, can this migration be one?  Makes the claim then. */
bool handover_prepare(struct session *s, GError **error);
bool handover_is(const struct session *s);          /* of a source */
/* Source's worker, in the place of pages, the dirty log and passes. */
bool handover_send(struct out *o, GError **error);
bool handover_begin(struct out *o, GError **error);
bool handover_send_end(struct out *o, GError **error);
/* Before a guest that was stopped goes on here: 'owner' becomes UNKNOWN if it may not (false). */
bool handover_take_back(struct out *o, GError **error);
/* The guest is gone: fresh memory in the place of what went along.  May take long. */
void handover_let_go(struct session *s);
/* Destination's worker: the section; the list of blocks was read; all is loaded; before and after the answer. */
bool handover_take(struct ram_in *r, uint32_t instance, GError **error);
bool handover_show(struct ram_in *r, GError **error);
bool handover_adopt(struct ram_in *r, GError **error);
bool handover_claim(struct session *s, GError **error);
bool handover_run(struct session *s, GError **error);
/* It did not come to that: fresh memory, before anything is reset. */
void handover_give_back(struct session *s, struct ram_in *r);

/* --- local.c: pages that the destination copies ----------------------------------------------------------------- */

/* Main: capability local-copy.  Says in 'sent_because' why not, if that is so; true. */
bool local_prepare(struct session *s);
bool local_may(const struct session *s, const struct block *b);
/* Source's worker: the descriptors; after pages were told: waits, if many were ('all': if any were), until they are
 * copied, so that the pace is the copying's. */
bool local_offer(struct out *o, GError **error);
bool local_settle(struct out *o, bool all, GError **error);
/* Destination's worker: a descriptor; a record, whose word was read; the end. */
bool local_take(struct ram_in *r, uint32_t instance, GError **error);
bool local_load(struct ram_in *r, uint64_t offset, bool go_on, GError **error);
struct loading;
void local_release(struct loading *l);

#endif
