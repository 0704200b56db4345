/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Machines in one process, for the test programs of src/machine. */
#ifndef MACHINE_BENCH_H
#define MACHINE_BENCH_H

#include "../../src/machine/machine-private.h"

#define DEADLINE_US (60 * G_USEC_PER_SEC)

struct world {
    GMainContext *context;
    struct mailbox *mailbox;
    struct jobs *jobs;
    struct machine *a, *b;          /* NULL until a test makes them */
    unsigned resets;                /* that machines told of, where a test counts them */
    char *directory;                /* a new one, for sockets */
    char *uri, *other_uri;          /* of sockets there */
};
/* 'context' (taken). */
void world_open(struct world *w, GMainContext *context);
/* The machines go first. */
void world_close(struct world *w);

/* Changes a definition by an option as it is typed, which must succeed. */
void world_set(struct definition *d, const struct property *table, int implied,
               bool (*change)(struct definition *, const struct values *, GError **), const char *text);
/* Builds a machine that has been defined, which must succeed. */
void world_build(struct world *w, struct machine *m);
/* Resets a machine, which must succeed. */
void world_reset(struct world *w, struct machine *m, bool force);

/* Lines that the workload guest has printed, one an interval; it must not have panicked. */
uint64_t world_ticks(struct machine *m);
/* Of its migration; why it failed is logged. */
enum migrate_state world_state(struct machine *m);

/* Runs the main loop until the condition holds; fails the test after the deadline. */
#define loop_until(w, condition)                                                                     \
    do {                                                                                              \
        int64_t end_ = g_get_monotonic_time() + DEADLINE_US;                                          \
        while (!(condition)) {                                                                        \
            g_assert_cmpint(g_get_monotonic_time(), <, end_);                                         \
            if (!g_main_context_iteration((w)->context, FALSE))                                       \
                g_usleep(500);                                                                        \
        }                                                                                             \
    } while (0)

#endif
