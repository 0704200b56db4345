/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What tests of the migration engine stand on: a guest of some blocks that a thread keeps writing, a pair of them
 * with sessions between, and a link that does harm. */
#ifndef MIGRATE_FAKE_H
#define MIGRATE_FAKE_H

#include "migrate.h"

enum { FAKE_BLOCKS = 3, FAKE_BLOCKS_MOST = 16, FAKE_LIST = 5 };      /* at the start; with those that come */

struct fake_device {
    uint64_t counter;
    uint32_t list[FAKE_LIST];
    uint8_t flag;
    uint8_t bytes[100];
};

struct fake {
    struct guest_map *map;
    struct hub *hub;
    struct fake_device device;
    unsigned loads;                         /* after_load calls */
    struct state_section section;
    const struct state_section *sections[1];
    const char *description;
    const char *machine_type;
    enum migrate_run_state run_state;
    _Atomic unsigned throttle, throttles;   /* percent now; times it was changed */
    _Atomic int *running_somewhere;         /* of the pair: never above 1 */
    _Atomic unsigned stops, go_ons, starts, resets;
    _Atomic int started_in;         /* enum migrate_run_state */
    /* The writer. */
    struct thread thread;
    struct lock lock;                       /* rank 10: held while it writes */
    _Atomic bool running, end;
    _Atomic bool held;                      /* its log never runs dry: a pass follows a pass */
    unsigned pause_us;                      /* between two writes; 0: no writer */
    uint64_t seed;
    /* Memory and device as they were at the last stop; owned. */
    uint8_t *stopped[FAKE_BLOCKS_MOST];
    uint64_t stopped_size[FAKE_BLOCKS_MOST];
    struct fake_device stopped_device;
    /* Main: blocks that come to a destination. */
    const char *refuses;                    /* why they cannot; NULL: they can */
    bool keeps_waiting;                     /* they are kept here until fake_let_arrive */
    struct migrate_arrival *arrival;
    char *arrival_text;                     /* owned */
    unsigned arrivals, unwanted;            /* that came; that nobody wanted any more */
};

struct side {
    struct fake fake;
    struct session *session;
    GString *states;                        /* "setup active ..." as events told */
    uint64_t passes;
};

/* Source and destination in one process. */
struct pair {
    struct mailbox *mailbox;
    struct migrate_parameters parameters;
    struct migrate_capabilities capabilities;
    struct side from, to;
    _Atomic int running_somewhere;
    char *directory, *path;                 /* of sockets; owned */
};

void pair_init(struct pair *p, uint64_t block_size, unsigned pause_us);
/* The same with a guest that runs at the source, its memory filled from the seed. */
void pair_open(struct pair *p, uint64_t block_size, unsigned pause_us, uint64_t seed);
/* All memory is shared, and the mode is cpr-transfer. */
void pair_init_shared(struct pair *p, uint64_t block_size, unsigned pause_us);
void pair_release(struct pair *p);
/* New sessions, not started; the old ones are freed. */
void pair_sessions(struct pair *p);
/* Runs the main loop until the condition holds; aborts after ten seconds. */
#define PAIR_WAIT(p, condition)                                                             \
    do {                                                                                    \
        int64_t pair_limit = g_get_monotonic_time() + 10 * 1000000;                         \
        while (!(condition)) {                                                              \
            g_assert_cmpint(g_get_monotonic_time(), <, pair_limit);                         \
            pair_turn(p);                                                                   \
        }                                                                                   \
    } while (0)
void pair_turn(struct pair *p);             /* one turn of the main loop, a millisecond at most */
enum migrate_state side_state(struct side *s);
char *side_error(struct side *s);           /* caller frees; "" if none */
bool side_ended(struct side *s);
/* Starts both sessions: the source with the first URI, the destination with the second. */
void pair_start(struct pair *p, const char *out, const char *in);
/* Memory and device of the destination are those of the source at its stop. */
void pair_assert_equal(struct pair *p);
/* It moved whole: besides, states, owners and figures on both sides. */
void pair_assert_moved(struct pair *p);
/* Starts the guest of the source and its writer. */
void fake_run(struct fake *f);
void fake_fill(struct fake *f, uint64_t seed);
/* Main, source: a block comes, full of random pages; resizable if 'used' is less than 'size'.  False: the guest was
 * stopped already, or the session keeps it out. */
bool fake_add_block(struct fake *f, const char *name, uint64_t size, uint64_t used);
/* The same for another used length. */
bool fake_resize(struct fake *f, struct block *b, uint64_t used);
/* Main, destination: goes on with the one that was kept waiting. */
void fake_let_arrive(struct fake *f);

/* --- a link that does harm -------------------------------------------------------------------------------------- */

enum harm { HARM_NONE, HARM_CUT, HARM_END, HARM_DAMAGE, HARM_STALL };

struct proxy {
    /* Fixed before the thread starts. */
    char *path, *target;                    /* owned */
    enum harm harm;
    bool backward;                          /* harm what the destination says */
    bool drops_descriptors;                 /* passes bytes only */
    uint64_t offset;                        /* at this byte of the first connection */
    uint8_t damage;                         /* xor */
    struct thread thread;
    int listener, stop;
    _Atomic uint64_t forward_bytes, backward_bytes;
    _Atomic bool harmed;
};

void proxy_start(struct proxy *x, const char *path, const char *target);
void proxy_stop(struct proxy *x);

#endif
