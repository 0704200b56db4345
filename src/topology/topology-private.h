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
/* True if some CPU has an explicit node. */
bool cpus_mapped(const struct topology *t);

#endif
