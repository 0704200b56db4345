/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The synthetic accelerator: host threads that run the workload itself on guest memory, with the pages and the
 * control pages of the real guest.  No CPU is emulated.
 *
 * What a real vCPU has in registers is struct registers here; it travels as section "synthetic-cpu".  Time is guest
 * time: nanoseconds during which the vCPU was out of its parking place, so that neither a stop nor a migration
 * leaves work to catch up.  A vCPU parks between two page writes only. */
#ifndef SYNTHETIC_PRIVATE_H
#define SYNTHETIC_PRIVATE_H

#include "accel.h"
#include "workload.h"

/* Owned by the vCPU's thread; anybody's while it is parked. */
struct registers {
    uint64_t total;                 /* page writes: the witness */
    uint64_t clock_ns;              /* guest time */
    uint64_t paced_ns;              /* guest time up to which the rate's page writes are done */
    uint64_t tick_ns;               /* guest time of the next tick; CPU 0 */
    bool begun;                     /* it is online; CPU 0 has printed the topology */
};

struct cpu {
    /* Fixed. */
    struct accel *accel;
    unsigned index;

    struct registers registers;

    /* Owned by the vCPU's thread; made anew each time it goes out. */
    uint64_t base_ns;               /* host time at which guest time was 0 */
    struct control_head *head;
    struct control_cpu *page;
    struct control_parameters parameters;
    uint64_t sequence;              /* of the parameters; odd: none yet */
    uint64_t count;                 /* pages it writes now; 0: none */
    uint64_t *table;                /* host address of the area's expected generations */
    uint8_t *pages;                 /* host address of the area's first page */
    uint64_t number;                /* its page number in guest physical memory */
    const struct block *block;      /* that holds the area, and where in it */
    uint64_t table_page, first_page;
    uint64_t delay_ns;              /* what each of its page writes costs now */
    uint64_t probe_request;         /* the measurement it is busy with, and which node comes next */
    unsigned probe_node;

    uint64_t ring_used;             /* pages made dirty since its ring was full */
    _Atomic uint64_t ring_nap_us;   /* sleep then */

    struct lock lock;               /* rank 12: the nap */
    struct condition wake;
    _Atomic bool kicked;            /* changed under the lock */
};

/* Pages that a vCPU may make dirty before it naps, if it is limited: 1 MiB. */
enum { SYNTHETIC_RING = 256 };

struct accel {
    struct accel_setup setup;
    struct hub *hub;                /* NULL until told */
    struct cpu *cpus;
    struct state_section *sections; /* room for one a slot */
    unsigned section_count;
};

static inline bool
is_present(const struct accel *a, unsigned cpu)
{
    return !a->setup.cpus_present || bit_test(a->setup.cpus_present, cpu);
}

/* work.c: guest time until kicked.  '*ret_text' is set with VCPU_ERROR. */
enum vcpu_exit synthetic_run(struct cpu *c, char **ret_text);
/* What an access to the node's memory costs by numa-delay=, and the wait for it, which a kick ends. */
uint64_t synthetic_cost(const struct cpu *c, unsigned node);
void synthetic_pay(struct cpu *c, uint64_t ns);
uint64_t synthetic_now_ns(void);
bool synthetic_kicked(const struct cpu *c);
/* probe.c: measures the next node if numon asks for it; true if it did. */
bool synthetic_probe_turn(struct cpu *c);
/* print.c: the lines of the real guest (src/guest/guest.h), on the serial port. */
void synthetic_print_topology(struct accel *a);
void synthetic_print_tick(struct accel *a, uint64_t number, uint64_t pages);

/* Control page words that other threads look at meanwhile. */
static inline uint64_t
word_get(const uint64_t *word)
{
    return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

static inline void
word_set(uint64_t *word, uint64_t value)
{
    __atomic_store_n(word, value, __ATOMIC_RELEASE);
}

#endif
