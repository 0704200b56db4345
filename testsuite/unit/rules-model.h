/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A simple model of the rules of nodes, CPUs, distances and HMAT, written apart from the program: it shares no code
 * with it and works on small numbers.  Functions return whether the command is taken; -1 stands for what was left
 * out. */
#ifndef RULES_MODEL_H
#define RULES_MODEL_H

#include <stdint.h>

enum { NODES = 6, BACKENDS = 4, CPUS = 24, TABLES = 3 };

struct model_node { int present, has_mem, dev, initiator; uint64_t mem; };      /* dev, initiator: -1 none */

struct model {
    int cpus, max, sockets, cores, threads;
    uint64_t memory;                    /* MiB; 0: not entered */
    int split, hmat;                    /* split: 0 default, 1 legacy, 2 off */
    uint64_t backend[BACKENDS];         /* MiB; 0: none */
    struct model_node node[NODES];
    int order[NODES], count;
    int dist[NODES][NODES];
    int cpu[CPUS];                      /* node, or -1 */
    int64_t lb[TABLES][NODES][NODES];   /* -1: not given.  Two tables of latency, one of bandwidth (MiB/s) */
};

void model_init(struct model *m);
int model_smp(struct model *m, int cpus, int max, int s, int c, int t);
/* The node that has the backend, or -1. */
int model_owner(const struct model *m, int backend);
int model_node(struct model *m, int id, uint32_t cpus, int64_t mem, int dev, int initiator);
int model_dist(struct model *m, int a, int b, int val);
int model_cpu(struct model *m, int node, int s, int c, int t);
int model_uncpu(struct model *m, int node, int s, int c, int t);
int model_delete(struct model *m, int id);
int model_lb(struct model *m, int which, int from, int to, int64_t value);
int model_machine(struct model *m, int split, int hmat);
/* Sizes in bytes, with RAM divided between nodes that have none; returns the sum. */
uint64_t model_sizes(const struct model *m, uint64_t sizes[NODES]);
/* The node of a CPU. */
int model_place(const struct model *m, int i);
/* Whether it can be built. */
int model_complete(const struct model *m);

#endif
