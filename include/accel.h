/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The accelerator interface: who runs the guest's CPUs.  Implementations: accel/kvm, accel/synthetic.
 * vCPU threads, parking and stop reasons are common (run.c); a class says only how a slice of guest time is run. */
#ifndef ACCEL_H
#define ACCEL_H

#include "base.h"
#include "boot.h"
#include "cpu.h"
#include "device.h"
#include "memory.h"
#include "state.h"

struct accel;

/* Why a vCPU came back from vcpu_run. */
enum vcpu_exit {
    VCPU_AGAIN,                     /* a kick, or nothing special: run it again unless parked */
    VCPU_RESET,                     /* the guest asked for a reset (triple fault, i8042) */
    VCPU_SHUTDOWN,                  /* the guest ended itself */
    VCPU_ERROR,                     /* it cannot go on; the message says why */
    VCPU_NOTE,                      /* it goes on, and its user is told the message */
};

/* One reason for which vCPUs leave their guest. */
struct exit_count {
    const char *name, *help;
    uint64_t count;
    uint64_t host_ns;               /* from these exits to the end of what the host did about them */
};

/* A vCPU's registers for people: a copy that changes nothing. */
struct cpu_registers {
    uint64_t general[16];           /* rax rbx rcx rdx rsi rdi rbp rsp r8 to r15 */
    uint64_t rip, rflags, cr0, cr2, cr3, cr4, cr8, efer;
    uint64_t debug[8];              /* dr0 to dr7; 4 and 5 are none */
    struct cpu_segment es, cs, ss, ds, fs, gs, ldt, tr;
    uint64_t gdt_base, idt_base;
    uint16_t gdt_limit, idt_limit;
    uint16_t fcw, fsw;
    uint8_t ftw;                    /* abridged: a bit a register that is in use */
    uint32_t mxcsr;
    uint8_t fpr[8][16], xmm[16][16];
    bool halted;
};

struct accel_setup {
    unsigned cpu_slots;             /* a CPU goes by its slot: 0 to cpu_slots - 1 */
    const uint64_t *cpus_present;   /* slots that have a CPU: words, borrowed as all below; NULL: all.  Changes while
                                     * vCPUs are parked */
    const unsigned *apic_ids;       /* by slot; borrowed */
    struct guest_map *map;          /* borrowed, as all below; complete */
    struct bus *bus;
    struct mailbox *mailbox;
    const int *cpu_nodes;           /* by slot; -1 without NUMA */
    unsigned node_count;
    const struct topology_final *topology;      /* what the guest is told; synthetic prints it */
    struct trace *trace;            /* may be NULL */
    uint64_t numa_delay_ns;         /* synthetic: cost of a page write at distance 10; 0: none */
    char **ret_warning;             /* NULL, or set on success: what the user should know (owned by caller), or
                                     * NULL */
    enum dirty_log dirty_log;       /* kvm: how writes are logged */
    unsigned dirty_ring_size;       /* kvm, ring: entries, a power of two; 0: as many as are useful */
    const struct cpu_options *cpu;  /* kvm: what its CPUs show; NULL: the model "base" */
    bool clock_stops;               /* kvm: a migration's downtime is not added to the guest's time */
};

/* One implementation.  All functions but vcpu_run, vcpu_settle and vcpu_kick: while vCPUs are parked. */
struct accel_class {
    const char *name;               /* "kvm", "synthetic" */
    const char *summary;
    /* No CPU is emulated: the machine calls workload_lay_out and workload_apply instead of boot_load, and only
     * builtin:workload runs. */
    bool lays_out_workload;
    /* Tries whether it works here, by creating what it needs and letting it go.  Error: HOST, why not. */
    bool (*probe)(GError **error);
    struct accel *(*create)(const struct accel_setup *setup, GError **error);
    void (*destroy)(struct accel *a);
    /* The dirty log; functions may be NULL. */
    struct dirty_source (*dirty_source)(struct accel *a);
    /* Which log is in use, and why; NULL: it marks every page it writes. */
    const char *(*dirty_log)(struct accel *a);
    /* How many pages a vCPU may make dirty before it has to stop for a moment; 0, or NULL: that is not so.  Any
     * thread. */
    uint64_t (*ring_pages)(struct accel *a);
    /* How long the vCPU sleeps then from now on; 0: not at all.  A stop cuts that short.  Any thread. */
    void (*ring_nap)(struct accel *a, unsigned cpu, uint64_t us);
    /* Guest memory that comes and goes, while vCPUs are parked and nobody collects; NULL: nothing is to be done,
     * there is always room.  'changed' is told what the guest finds from now on (guest_map_view); it follows, with
     * what was written so far kept for the next collection, or all stays as it was. */
    bool (*memory_room)(struct accel *a, GError **error);
    bool (*memory_changed)(struct accel *a, const GArray *view, GError **error);
    /* The hub exists only after the accelerator: told once, before vCPUs run.  May be NULL. */
    void (*set_hub)(struct accel *a, struct hub *hub);
    /* Puts a vCPU into its first state.  Also resets local APIC, events, FPU; vCPU 0's call resets the interrupt
     * chip, timer and clock.  A class that lays out the workload takes no notice of 'start', which may be NULL. */
    bool (*vcpu_reset)(struct accel *a, unsigned cpu, const struct cpu_start *start, GError **error);
    /* Makes the vCPU of a slot that has none and puts it into its first state, while the others are parked; it is
     * among 'cpus_present' afterwards.  Error: as before, and it may be tried again. */
    bool (*vcpu_add)(struct accel *a, unsigned cpu, const struct cpu_start *start, GError **error);
    /* On the vCPU's thread: guest time, until kicked or something to tell.  '*ret_text' (owned by caller) with
     * VCPU_ERROR. */
    enum vcpu_exit (*vcpu_run)(struct accel *a, unsigned cpu, char **ret_text);
    /* On the vCPU's thread, before it parks: completes what a pending I/O or MMIO exit left open. */
    void (*vcpu_settle)(struct accel *a, unsigned cpu);
    /* Any thread: makes a vcpu_run that goes on or comes return soon.  The vCPU's thread also gets SIGUSR1. */
    void (*vcpu_kick)(struct accel *a, unsigned cpu);
    /* Before a vCPU that was kicked runs again. */
    void (*vcpu_unkick)(struct accel *a, unsigned cpu);
    /* The level of an input of the interrupt controllers (an I/O APIC's, below IRQ_LINES).  Any thread, in the order
     * in which the line turns (irqs_connect); does not wait.  NULL: there are no controllers. */
    void (*irq_line)(struct accel *a, unsigned gsi, bool level);
    /* The workload's witness: the vCPU's total of page writes, from its register. */
    bool (*vcpu_witness)(struct accel *a, unsigned cpu, uint64_t *ret, GError **error);
    /* Sections of the vCPUs there are and of in-kernel devices, in the order of the stream; borrowed, valid until
     * it is asked again. */
    const struct state_section *(*sections)(struct accel *a, unsigned *ret_count);
    /* Appends "key=value" lines that source and destination must share (features, TSC frequency). */
    void (*describe)(struct accel *a, GString *lines);
    /* A line 'name' of describe is not the same at the source: NULL if that is no hindrance here, else what is, for
     * the destination's refusal (owned by caller).  vCPUs parked.  NULL: all lines must be equal. */
    char *(*differs)(struct accel *a, const char *name, const char *source, const char *here);
    /* Guest time over a migration; both NULL where guests read the host's time.  vCPUs parked.  time_stop: right
     * after the stop; what is saved from then on is of this moment.  time_start: all sections were loaded and the
     * next thing is that the guest runs; '*ret_warning' (owned by caller) is what its user should know of its time,
     * or NULL. */
    void (*time_stop)(struct accel *a);
    void (*time_start)(struct accel *a, struct time_jump *ret, char **ret_warning);
    /* Frequency of the time stamp counter the guest sees, kHz. */
    uint64_t (*tsc_khz)(struct accel *a);
    /* The number of the accelerator's slot that holds this guest physical address, or -1; NULL if it has none. */
    int (*slot)(struct accel *a, uint64_t gpa);
    /* What `info registers` shows; NULL if no CPU is emulated. */
    bool (*registers)(struct accel *a, unsigned cpu, struct cpu_registers *ret, GError **error);
    /* The guest physical address of a virtual one by the vCPU's page tables; NULL if it has none. */
    bool (*translate)(struct accel *a, unsigned cpu, uint64_t address, uint64_t *ret_gpa, GError **error);
    /* What the CPUs of 'a' show, or (NULL) those of a guest with these options would: found out by trying, which
     * takes milliseconds.  NULL: no CPU is emulated.  Error: HOST. */
    bool (*cpu_resolve)(struct accel *a, const struct cpu_options *options, struct cpu_resolved *ret, GError **error);
    /* How often the vCPU left its guest, by reason, since it was made: fills up to 'room' of them, returns how many
     * there are, the same in the same order for all CPUs.  Any thread.  NULL: nothing leaves a guest. */
    unsigned (*exits)(struct accel *a, unsigned cpu, struct exit_count *ret, unsigned room);
    /* Appends statistics of the VM (cpu -1) or a parked vCPU to a list of type aa{sv}: name, kind, unit, base and
     * exponent of the unit, bucket-size, values (at); '*ret_provider' says whose they are.  NULL: there are none.
     * Error: HOST. */
    bool (*stats)(struct accel *a, int cpu, GVariantBuilder *list, const char **ret_provider, GError **error);
    /* Lines "name: value" for `info kvm -v` and the like: appends to a GVariantBuilder of type a{sv}; may be NULL. */
    void (*inform)(struct accel *a, GVariantBuilder *dict);
};

extern const struct accel_class accel_kvm, accel_synthetic;
/* NULL-terminated, in the order in which they are tried. */
extern const struct accel_class *const accel_classes[];
const struct accel_class *accel_find(const char *name);

/* --- run control ------------------------------------------------------------------------------------------------ */

/* The guest runs when no reason to stop is left. */
enum stop_reason {
    STOP_USER      = 1 << 0,        /* `stop`, -S, and before the first cont */
    STOP_VERIFY    = 1 << 1,
    STOP_MIGRATE   = 1 << 2,        /* switching over, or migrated away */
    STOP_DEBUGGER  = 1 << 3,
    STOP_ERROR     = 1 << 4,
    STOP_CHANGE    = 1 << 5,        /* a reset was asked for, or main resets */
    STOP_PLUG      = 1 << 6,        /* main puts something into the machine or takes it out */
};

/* Something that vCPUs tell main, delivered through the mailbox. */
struct run_event {
    enum vcpu_exit what;            /* NOTE, after which it goes on; RESET, SHUTDOWN or ERROR.  The reason is set
                                     * already: STOP_CHANGE with RESET, else STOP_ERROR; all CPUs park, and main takes
                                     * it away */
    unsigned cpu;
    char *text;
};

struct run;
/* Starts with STOP_USER.  Threads begin with the first release of the last reason. 'event' runs on main.
 * 'present' are the slots that have a vCPU, words; NULL: all. */
struct run *run_new(const struct accel_class *class, struct accel *a, unsigned cpu_slots, const uint64_t *present,
                    struct mailbox *mailbox, void (*event)(void *self, const struct run_event *e), void *self);
void run_free(struct run *r);       /* stops and joins */
/* The slot has a vCPU from now on, which is parked.  The guest is held.  Error: HOST, a thread cannot start. */
bool run_add_cpu(struct run *r, unsigned cpu, GError **error);
/* It has none any more: its thread stays parked, until the slot has one again.  The guest is held. */
void run_remove_cpu(struct run *r, unsigned cpu);
/* Adds reasons and waits until every vCPU is parked (settled, its state readable), or somebody takes one of these
 * reasons away again.  Any thread but a vCPU's. */
void run_hold(struct run *r, unsigned reasons);
/* Takes reasons away; the guest runs if none is left.  False (HOST) if a thread cannot start.  Any thread but a
 * vCPU's. */
bool run_release(struct run *r, unsigned reasons, GError **error);
unsigned run_reasons(struct run *r);
/* Bit n: a vCPU told main enum vcpu_exit n, and its reason still stands; main may not have heard of it yet. */
unsigned run_requests(struct run *r);
static inline bool run_running(struct run *r) { return run_reasons(r) == 0; }
/* Throttles every vCPU to 100 - 'percent' hundredths of its time: after each 10 ms that it may run it sleeps outside
 * the guest for 10 ms * p / (1 - p), until a stop cuts that short.  0 ends it; at most 99.  False
 * (HOST) if the thread that counts the time cannot start.  Any thread but a vCPU's. */
bool run_throttle(struct run *r, unsigned percent, GError **error);
/* Times that a vCPU was put to sleep so, since the start. */
uint64_t run_throttle_naps(struct run *r);
/* Time that a vCPU was kept asleep so, since the start. */
uint64_t run_throttled_us(struct run *r, unsigned cpu);
/* Thread id (gettid) of a vCPU; 0 before it started. */
int run_thread_id(struct run *r, unsigned cpu);
/* Lets a vCPU's thread run on these host CPUs only (WORDS_FOR(HOST_CPUS) words), now and when it starts.  Error:
 * HOST. */
bool run_pin(struct run *r, unsigned cpu, const uint64_t *host_cpus, GError **error);
/* The host CPUs that its thread may run on, as the host says once it started; true if it was pinned. */
bool run_pinned(struct run *r, unsigned cpu, uint64_t *ret_host_cpus);
/* From a device on a vCPU's thread, without the device's lock: the guest asks for a reset or ends itself.  Stops all,
 * tells main; no waiting. */
void run_request(struct run *r, enum vcpu_exit what);

/* --- limits of the dirty rate (dirty-limit.c) ------------------------------------------------------------------- */

struct dirty_limit;
/* All but 'class' and 'cpu_slots' borrowed. */
struct dirty_limit *dirty_limit_new(const struct accel_class *class, struct accel *a, struct hub *hub,
                                    unsigned cpu_slots);
void dirty_limit_free(struct dirty_limit *l);           /* before accelerator and hub; NULL is fine */
/* Error STATE: the log has no rings. */
bool dirty_limit_possible(const struct dirty_limit *l, GError **error);
/* Limits a vCPU (-1: all) to so many bytes a second, or (0) lets it go.  'period_ms' 0: leaves the time between two
 * looks.  Error: STATE, HOST.  Any thread but a vCPU's. */
bool dirty_limit_set(struct dirty_limit *l, int cpu, uint64_t quota, unsigned period_ms, GError **error);
struct dirty_limit_info {
    uint64_t quota, rate;           /* bytes a second; the rate of the last period */
    uint64_t nap_us, full_us;       /* its sleep for each full ring; the time that one took to fill at its fastest */
};
/* False if it is not limited.  Any thread. */
bool dirty_limit_get(struct dirty_limit *l, unsigned cpu, struct dirty_limit_info *ret);
/* The rule: the sleep for the next period, from the last one's, quota and rate in bytes a second. */
uint64_t dirty_limit_nap(uint64_t nap_us, uint64_t quota, uint64_t rate, uint64_t full_us);

#endif
