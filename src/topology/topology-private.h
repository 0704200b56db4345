/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the files of src/topology share. */
#ifndef TOPOLOGY_PRIVATE_H
#define TOPOLOGY_PRIVATE_H

#include "topology.h"

/* What smp_derive makes of the topology's own levels; set_smp let nothing else in. */
struct smp topology_smp(const struct topology *t);
/* The node's size in bytes; 0 if it has none (or its backend is gone). */
uint64_t node_bytes(const struct node *n, struct backend_lookup backends);
/* Appends the "numa dist,..." lines. */
void distance_save(const struct topology *t, GString *out);
uint32_t hmat_lb_key(const struct hmat_lb *e);
bool caches_equal(const struct hmat *a, const struct hmat *b);
void caches_save(const struct hmat *h, GString *out);
/* Takes away the caches of nodes whose latency or bandwidth is not known any more. */
void caches_forget_unfounded(struct hmat *h);
/* True if a CPU was put into the node explicitly; such a node is its own initiator. */
bool node_has_own_cpus(const struct topology *t, unsigned node);
/* With HMAT, a node that gets CPUs can have no other initiator than itself. */
bool initiator_is_right(const struct topology *t, unsigned node, bool has_initiator, uint64_t initiator,
                        GError **error);
/* True if some CPU has an explicit node. */
bool cpus_mapped(const struct topology *t);

#endif
