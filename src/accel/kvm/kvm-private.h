/* SPDX-License-Identifier: GPL-3.0-or-later */
/* One virtual machine of Linux KVM: its descriptors, slots, vCPUs and the state that travels.
 *
 * struct accel is this file's struct kvm under another name.  Every vCPU ioctl but KVM_RUN is issued while the vCPU
 * is parked, from whatever thread: one issued while KVM_RUN goes on would wait for as long as the guest runs. */
#ifndef KVM_PRIVATE_H
#define KVM_PRIVATE_H

#include "accel.h"
#include "cpu.h"

#include <linux/kvm.h>

enum {
    KVM_CPUS_MAX = 128,
    PHYSICAL_BITS = 40,             /* of guest physical addresses, as every x86-64 processor with virtualisation
                                     * has */
    XSAVE_SIZE_MAX = 65536,         /* a page more than any processor has */
    MSRS_MAX = 1024,
    MSR_RECORD_SIZE = 12,           /* in a stream: be32 index, be64 value */
};

/* Guest memory as KVM has it: one slot a contiguous piece of a block. */
struct kvm_slot {
    uint64_t gpa, size;             /* bytes */
    struct block *block;            /* borrowed from the map */
    uint64_t first_page;            /* in the block */
    bool readonly;                  /* writes of the guest go to the bus */
    uint64_t *log;                  /* WORDS_FOR(pages) words, NULL until logging: what KVM_GET_DIRTY_LOG fills, or
                                     * what was harvested and not collected (under kvm.dirty.lock) */
};

struct slot_rules {
    uint64_t most_size;             /* of a slot: bytes, whole pages */
    unsigned limit;                 /* slots that KVM has */
    bool readonly;                  /* KVM has read-only slots; else what is to be one is writable */
};

/* What a vCPU is made of, as it travels. */
struct cpu_state {
    struct kvm_regs regs;
    struct kvm_sregs sregs;
    uint64_t sregs_flags, pdptrs[4];        /* if KVM has them: struct kvm_sregs2 */
    struct kvm_debugregs debugregs;
    struct kvm_vcpu_events events;
    uint64_t xcr0;
    uint32_t mp_state;
    uint32_t tsc_khz;               /* of the time stamp counter that the guest has seen so far */
    uint64_t tsc_offset;            /* of this counter to the source's, in its own ticks */
    bool tsc_offset_known;
    uint8_t lapic[KVM_APIC_REG_SIZE];
    uint8_t *xsave;                 /* owned */
    uint32_t xsave_size;
    uint8_t *msrs;                  /* owned: records of MSR_RECORD_SIZE */
    uint32_t msrs_size;             /* bytes */
};

/* How much is put: RUNTIME leaves the counters, clocks and whether the CPU runs alone, as they go on meanwhile; RESET
 * has all but the counter's frequency; FULL is what comes with a guest. */
enum put_level { PUT_RUNTIME, PUT_RESET, PUT_FULL };

/* How often a vCPU left its guest for one reason, and the time that this took the host. */
struct exit_counter { _Atomic uint64_t count, host_ns; };
enum { EXIT_KINDS = 29 };

struct kvm_cpu {
    /* Fixed. */
    struct kvm *kvm;
    unsigned index, apic_id;
    int fd;
    int stats_fd;                   /* main's; -1 until they are asked for */
    struct kvm_run *run;            /* shared with the kernel; its contents belong to the vCPU's thread */

    _Atomic bool kicked;            /* set by kick, taken back by unkick; run->immediate_exit follows it */
    struct lock lock;               /* rank 12: the nap */
    struct condition woken;
    struct exit_counter exits[EXIT_KINDS];      /* written by the vCPU's thread, or whoever settles it */

    /* Registers as somebody asked for them since it parked. */
    struct lock registers;          /* rank 13 */
    struct cpu_state cache GUARDED;
    unsigned cached GUARDED, changed GUARDED;       /* parts of 'cache' that hold; of these, those KVM has not got */
    uint64_t fetched GUARDED, written GUARDED;      /* how often, for tests */

    /* Owned by the vCPU's thread, or whoever has parked it. */
    struct page_watch watch;        /* its thread tells it and reads it; the signal handler on that thread writes
                                     * it */
    bool exit_left;                 /* KVM_RUN told something while settling; it lies in 'run' */
    struct cpu_state state;         /* of the last save or load */
    uint64_t told_khz;              /* the time stamp counter's frequency that its CPUID tells; 0: none */
    uint64_t stop_tsc;              /* if kvm.stopped: its time stamp counter right after the stop */
};

/* The in-kernel devices, as they travel. */
struct chips_state {
    struct kvm_pic_state pics[2];
    struct kvm_ioapic_state ioapic;
    struct kvm_pit_state2 pit;
    uint64_t clock_ns;
    uint64_t wall_ns;               /* the host's time of day when that was read; 0: not known */
};

/* A vCPU's dirty ring; under kvm.dirty.lock. */
struct kvm_ring {
    struct kvm *kvm;
    unsigned cpu;
    struct kvm_dirty_gfn *entries;  /* shared with the kernel; NULL: the slot has no vCPU */
    uint32_t fetch;                 /* the entry to be taken next; wraps */
    uint32_t harvested;             /* by the last harvest */
    uint64_t pages_at_full;         /* 'pages' after the last exit for a full ring */
    _Atomic uint64_t pages, fulls;  /* entries taken; exits for a full ring */
    _Atomic uint64_t nap_us;        /* how long the vCPU sleeps after each of these */
};

/* The dirty log (dirty.c). */
struct kvm_dirty {
    /* Fixed after create. */
    bool ready;                     /* what is below can be released */
    enum dirty_log mode;            /* not AUTO */
    bool starts_full;               /* manual: all pages are reported at first */
    char *text;                     /* which and why; owned */
    uint32_t size;                  /* entries of each ring, a power of two */
    bool leaky;                     /* guest code in kernel mode is not stopped for a full ring */
    struct kvm_ring *rings;         /* by vCPU slot; NULL in other modes */
    unsigned ring_count;
    struct thread reaper;

    _Atomic(struct hub *) hub;      /* NULL until told */
    struct lock lock;               /* rank 22: rings, and slots where there are rings */
    struct condition wake;
    _Atomic unsigned waiting;       /* vCPUs whose ring is full, for the lock */
    struct condition served;        /* one of them is done */
    bool reaping GUARDED, ending GUARDED;
    bool broken GUARDED;            /* a ring overflowed, of this vCPU */
    unsigned broken_cpu GUARDED;
};

/* How a time stamp counter can be set here. */
enum tsc_setting { TSC_FIXED, TSC_BY_VALUE, TSC_BY_OFFSET };

struct kvm {
    /* Fixed after create. */
    int system_fd, vm_fd;
    int stats_fd;                   /* main's; -1 until they are asked for */
    size_t run_size;
    struct bus *bus;                /* borrowed */
    struct trace *trace;            /* borrowed; may be NULL */
    const struct guest_map *map;    /* borrowed */
    struct kvm_slot *slots;
    unsigned slot_count;            /* those without block are free */
    struct slot_rules slot_rules;   /* KVM's */
    GArray *kept;                   /* struct kvm_slot: logs of slots that have gone, not collected yet; hub's lock */
    _Atomic bool logging;           /* slots log writes; changes under the hub's lock, who shows it has none */
    struct kvm_dirty dirty;
    struct kvm_cpu *cpus;           /* by slot; those never made are zeros */
    unsigned cpu_slots;
    const uint64_t *cpus_present;   /* borrowed; NULL: all */
    const unsigned *apic_ids;       /* by slot; borrowed */
    const struct topology_final *topology;      /* borrowed; may be NULL */
    unsigned physical_bits;         /* of guest physical addresses, as CPUID tells them */
    uint32_t xsave_size;
    unsigned parts;                 /* of the table in state.c: those that KVM has here */
    uint32_t *msr_indices;          /* those that travel, in the order of loading */
    unsigned msr_count;
    uint64_t xcr0;                  /* what the guest may set of it */
    uint64_t tsc_khz;
    enum tsc_setting tsc_setting;
    bool recovers;                  /* machine checks that a guest can survive */
    bool clock_stops;               /* downtime is not added to the guest's time */
    GArray *supported;              /* struct cpuid_leaf: what guests can have here */
    struct cpu_resolved cpu;        /* what this one gets of it */
    GArray *cpuid;                  /* struct cpuid_leaf: what vCPU 0 has, as KVM shows it */
    struct state_section *sections; /* NULL until asked for */
    unsigned section_count;
    struct cpu_state reset_cpu;     /* as KVM made vCPU 0 */
    struct chips_state reset_chips;

    /* By who has parked the vCPUs. */
    struct chips_state chips;       /* of the last save or load */
    bool stopped;                   /* by time_stop: what is saved now has the time of that moment */
    struct chips_state stop_time;   /* if so: its clocks alone */
};

/* True if the slot has a CPU. */
static inline bool
kvm_has_cpu(const struct kvm *k, unsigned slot)
{
    return !k->cpus_present || bit_test(k->cpus_present, slot);
}

/* ioctl() that goes on after EINTR; -1 sets errno. */
int kvm_ioctl(int fd, unsigned long request, void *argument);
int kvm_ioctl_number(int fd, unsigned long request, unsigned long argument);

/* plan.c */
/* What must become of the slots.  Slots that do not stand go before any comes. */
struct slot_plan {
    const struct kvm_slot *slots;   /* borrowed: those there are; without block they are free */
    unsigned count;
    bool *stands;                   /* by slot; a free one does not */
    GArray *gains;                  /* struct kvm_slot without log: those that come */
};
/* Plans for a view of guest_map_view.  Error: LIMIT, and there is nothing to release. */
bool slot_plan_make(struct slot_plan *plan, const struct kvm_slot *slots, unsigned count, const GArray *view,
                    const struct slot_rules *rules, GError **error);
void slot_plan_release(struct slot_plan *plan);

/* Opens /dev/kvm and creates an empty VM; what was opened stays in 'k', whose descriptors are -1 before. */
bool kvm_open(struct kvm *k, GError **error);
/* What KVM says of a capability, 0 if it has it not. */
int kvm_capability(const struct kvm *k, int number);
/* False, naming the first of what numon cannot do without that 'has' denies. */
bool kvm_check_required(int (*has)(void *self, int capability), void *self, GError **error);

/* slots.c */
bool slots_init(struct kvm *k, const struct guest_map *map, GError **error);
unsigned slots_used(const struct kvm *k);
bool kvm_memory_room(struct accel *a, GError **error);
bool kvm_memory_changed(struct accel *a, const GArray *view, GError **error);
void slots_free(struct kvm *k);
/* The slots in use, aa{sv}: slot, gpa, size, block, offset, host, readonly, logging.  Floating. */
GVariant *slots_tree(const struct kvm *k);
/* KVM_SET_USER_MEMORY_REGION of one slot; false sets errno. */
bool slot_set(struct kvm *k, unsigned index, bool logging);

int kvm_slot_of(struct accel *a, uint64_t gpa);

/* dirty.c */
/* Reads what the guest wrote in a slot that is about to go, for the next collection of its block.  Between
 * dirty_slots_change and dirty_slots_changed, as every change of the slots. */
bool log_keep(struct kvm *k, unsigned slot, GError **error) REQUIRES(k->dirty.lock);
void dirty_slots_change(struct kvm *k) CHECKED(acquire_capability(k->dirty.lock));
void dirty_slots_changed(struct kvm *k) CHECKED(release_capability(k->dirty.lock));
struct dirty_source kvm_dirty_source(struct accel *a);
/* Chooses the way to log, before slots and vCPUs are made. */
bool dirty_init(struct kvm *k, const struct accel_setup *setup, GError **error);
void dirty_release(struct kvm *k);
const char *kvm_dirty_log(struct accel *a);
/* What a user should know of the log in use, or NULL; caller frees. */
char *dirty_warning(const struct kvm *k);
void kvm_set_hub(struct accel *a, struct hub *hub);
/* ORs 'pages' bits of 'from' into 'to', beginning at bit 'first' there. */
void dirty_or_shifted(uint64_t *to, uint64_t first, const uint64_t *from, uint64_t pages);
void dirty_collect_kept(struct kvm *k, const struct block *block, uint64_t *words);

/* dirty-ring.c */
bool rings_init(struct kvm *k, const struct accel_setup *setup, GError **error);
/* Gives a VM without vCPUs rings; 0 entries become as many as are useful. */
bool rings_enable(int vm_fd, uint32_t *entries, GError **error);
void rings_release(struct kvm *k);
bool rings_start(struct kvm *k, GError **error);
void rings_stop(struct kvm *k);
bool rings_collect(void *self, struct block *block, uint64_t *words, GError **error);
/* Takes what all rings have into the logs of the slots. */
bool rings_reap(struct kvm *k) REQUIRES(k->dirty.lock);
/* Maps a vCPU's ring, once it was created. */
bool ring_map(struct kvm_cpu *c, GError **error);
/* After KVM_EXIT_DIRTY_RING_FULL, on the vCPU's thread. */
void ring_full(struct kvm_cpu *c);

uint64_t kvm_ring_pages(struct accel *a);
void kvm_ring_nap(struct accel *a, unsigned cpu, uint64_t us);

/* dirty-trial.c: '*ret_leaky' if guest code in kernel mode is not stopped for a full ring.  Error: HOST. */
bool ring_trial(int system_fd, bool *ret_leaky, GError **error);

/* vcpu.c */
bool vcpu_create(struct kvm *k, unsigned index, unsigned apic_id, GError **error);
void vcpu_release(struct kvm_cpu *c, size_t run_size);
bool kvm_vcpu_add(struct accel *a, unsigned cpu, const struct cpu_start *start, GError **error);
enum vcpu_exit kvm_vcpu_run(struct accel *a, unsigned cpu, char **ret_text);
bool kvm_vcpu_translate(struct accel *a, unsigned cpu, uint64_t address, uint64_t *ret_gpa, GError **error);
void kvm_vcpu_settle(struct accel *a, unsigned cpu);
void kvm_vcpu_kick(struct accel *a, unsigned cpu);
void kvm_vcpu_unkick(struct accel *a, unsigned cpu);

/* exits.c */
/* Does what can be done about the exit that lies in 'run'; anything but VCPU_AGAIN is for run.c. */
enum vcpu_exit exit_handle(struct kvm_cpu *c, char **ret_text);
/* KVM_RUN came back without one, for a signal. */
void exit_interrupted(struct kvm_cpu *c);
const char *exit_name(unsigned reason), *exit_help(unsigned reason);
unsigned kvm_exits(struct accel *a, unsigned cpu, struct exit_count *ret, unsigned room);

/* capabilities.c: a(sis), name, number, what it means.  Floating. */
GVariant *capabilities_tree(const struct kvm *k);

/* stats.c */
bool kvm_stats(struct accel *a, int cpu, GVariantBuilder *list, const char **ret_provider, GError **error);

/* registers.c */
bool kvm_registers(struct accel *a, unsigned cpu, struct cpu_registers *ret, GError **error);

/* fault.c: what a vCPU that cannot go on says. */
char *vcpu_fault_text(struct kvm_cpu *c, const struct guest_map *map, int run_errno);

/* nap.c: gives up the vCPU for 'us' microseconds or until it is kicked.  On the vCPU's thread. */
void vcpu_nap(struct kvm_cpu *c, uint64_t us);

/* cpuid.c */
/* Finds out which features guests get, before the first vCPU; 'options' NULL: the model "base". */
bool cpuid_init(struct kvm *k, const struct cpu_options *options, GError **error);
void cpuid_release(struct kvm *k);
bool vcpu_set_cpuid(struct kvm_cpu *c, GError **error);
/* The frequency that a guest comes with stands in its leaves; a vCPU that has run already keeps what it has seen. */
void vcpu_tell_khz(struct kvm_cpu *c, uint64_t khz);
bool kvm_cpu_resolve(struct accel *a, const struct cpu_options *options, struct cpu_resolved *ret, GError **error);

/* cpu-trial.c: begin with zeros but for the first four. */
struct cpu_trial {
    int vm_fd, cpu_fd;                      /* -1 */
    int system_fd;
    const struct kvm_cpuid2 *supported;     /* borrowed: what the vCPU shows */
    bool begun, works;
    uint8_t *memory;
    struct kvm_run *run;
    size_t run_size;
    struct kvm_sregs sregs;
    struct kvm_vcpu_events events;
};
/* Why a feature that KVM lists does not work (static text, to follow "KVM here"), or NULL: it does, or cannot be
 * tried. */
const char *cpu_trial_refuses(struct cpu_trial *t, const char *feature);
void cpu_trial_release(struct cpu_trial *t);

/* msr.c */
bool msrs_list(struct kvm *k, GError **error);
bool msrs_get(struct kvm_cpu *c, struct cpu_state *s, GError **error);
bool msrs_put(struct kvm_cpu *c, const struct cpu_state *s, enum put_level level, GError **error);

/* One MSR in KVM; false if it has it not, or refuses the value. */
bool msr_read(struct kvm_cpu *c, uint32_t index, uint64_t *ret);
bool msr_write(struct kvm_cpu *c, uint32_t index, uint64_t value);
/* The value of the record of one MSR; false if there is none. */
bool msr_record_get(const struct cpu_state *s, uint32_t index, uint64_t *ret);
void msr_record_set(struct cpu_state *s, uint32_t index, uint64_t value);

/* time.c */
void time_learn(struct kvm *k);
/* How a counter can be set here, in a word or two. */
const char *time_setting_text(const struct kvm *k);
/* A vCPU that comes later and was reset counts as vCPU 0 does. */
void time_join(struct kvm_cpu *c);
bool time_takes_khz(struct kvm *k, uint64_t khz);
bool tsc_read(struct kvm_cpu *c, uint64_t *ret);
/* The clock of the virtual machine; false sets errno. */
bool clock_read(struct kvm *k, struct chips_state *s);
bool clock_write(struct kvm *k, uint64_t clock_ns);
/* Puts the moment of the stop into a state that was just read. */
void tsc_before_save(struct kvm_cpu *c, struct cpu_state *s);
/* False if a counter that cannot be set would go backwards. */
bool tsc_after_load(struct kvm_cpu *c, const struct cpu_state *s, GError **error);
void kvm_time_stop(struct accel *a);
void kvm_time_start(struct accel *a, struct time_jump *ret, char **ret_warning);

/* True if a counter of this frequency may be taken for one of this host's. */
bool time_near_khz(const struct kvm *k, uint64_t khz);

/* mce.c: machine checks, and memory that the host lost. */
bool mce_create(struct kvm_cpu *c, GError **error);
unsigned mce_banks(const struct kvm *k);
/* The MSRs of the banks into 'ret' (may be NULL); how many there are. */
unsigned mce_msrs(const struct kvm *k, uint32_t *ret);
/* The guest touched a page at this address of ours that the hardware lost.  On the vCPU's thread. */
enum vcpu_exit mce_memory_failed(struct kvm_cpu *c, uintptr_t host, char **ret_text);

/* describe.c: what both sides of a migration must agree in. */
void kvm_describe(struct accel *a, GString *lines);
char *kvm_differs(struct accel *a, const char *name, const char *source, const char *here);

/* lazy.c: the registers of a parked vCPU, read when somebody asks.  Any thread that has it parked. */
bool registers_get(struct kvm_cpu *c, struct kvm_regs *ret, GError **error);
/* Changes them; KVM gets them before the vCPU runs, or is looked at otherwise. */
bool registers_set(struct kvm_cpu *c, const struct kvm_regs *regs, GError **error);
bool registers_write_back(struct kvm_cpu *c, GError **error);
void registers_forget(struct kvm_cpu *c);
/* What people look at, together. */
struct registers_seen {
    struct kvm_regs regs;
    struct kvm_sregs sregs;
    struct kvm_debugregs debugregs;
    uint32_t mp_state;
};
bool registers_look(struct kvm_cpu *c, struct registers_seen *ret, GError **error);

/* state.c */
extern const struct state_field cpu_fields[];
#define PARTS_ALL UINT32_MAX
/* The parts that there are here; one of them by its name; its word, NULL after the last one. */
unsigned parts_learn(const struct kvm *k);
unsigned part_named(const struct kvm *k, const char *name);
bool part_is(const struct kvm *k, const char *word);
const char *part_word(unsigned i);
/* Reads (writes) these parts of a parked vCPU, in the order of one table. */
bool cpu_state_get(struct kvm_cpu *c, struct cpu_state *s, unsigned which, GError **error);
bool cpu_state_put(struct kvm_cpu *c, struct cpu_state *s, unsigned which, enum put_level level, GError **error);
void cpu_state_release(struct cpu_state *s);
bool cpu_before_save(void *object, GError **error);
bool cpu_after_load(void *object, GError **error);

/* chips.c: interrupt controllers, timer, clock. */
enum { CHIPS_SECTIONS = 3 };
bool chips_create(struct kvm *k, GError **error);
bool chips_reset(struct kvm *k, GError **error);
void chips_sections(struct kvm *k, struct state_section *to);
void kvm_irq_line(struct accel *a, unsigned gsi, bool level);

/* reset.c */
bool reset_capture(struct kvm *k, GError **error);
bool kvm_vcpu_reset(struct accel *a, unsigned cpu, const struct cpu_start *start, GError **error);

#endif
