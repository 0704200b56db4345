/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The migration engine.  It knows neither KVM nor devices, only the small interface it is handed.  One session moves
 * one guest once, out or in.  Threads: main calls; a migration thread and, outgoing, a return-path thread work. */
#ifndef MIGRATE_H
#define MIGRATE_H

#include "base.h"
#include "memory.h"
#include "property.h"
#include "state.h"

/* --- parameters and capabilities: declared once, live ----------------------------------------------------------- */

enum { SWITCHOVER_PATIENT, SWITCHOVER_EAGER };           /* when may a guest be stopped */
extern const char *const migrate_switchover_words[], *const migrate_mode_words[];
enum { MIGRATE_MODE_NORMAL, MIGRATE_MODE_TRANSFER };      /* guest memory is copied, or handed over */

/* Name in C, name for people, property type, unit of a number without suffix, min, max, default as typed, unit, words
 * of a choice (else NULL), help.  A choice's value is its index, a switch's 0 or 1. */
#define MIGRATE_PARAMETERS(X)                                                                                      \
    X(compress_level, "compress-level", PROPERTY_UINT, 1, 0, 9, "1", NULL, NULL,                                   \
      "effort of compress: 0 none, 1 fast, 9 most")                                                                \
    X(compress_threads, "compress-threads", PROPERTY_UINT, 1, 1, 255, "8", NULL, NULL,                             \
      "threads that compress pages; fixed while a migration runs")                                                 \
    X(compress_wait_thread, "compress-wait-thread", PROPERTY_BOOL, 0, 0, 0, "on", NULL, NULL,                      \
      "wait while all these threads are at work; off sends a page whole then")                                     \
    X(decompress_threads, "decompress-threads", PROPERTY_UINT, 1, 1, 255, "2", NULL, NULL,                         \
      "threads of a destination that read compressed pages; fixed while a migration runs")                         \
    X(throttle_trigger_threshold, "throttle-trigger-threshold", PROPERTY_UINT, 1, 1, 100, "50", "%", NULL,         \
      "auto-converge: dirtied bytes that count as a strike, in percent of the bytes sent in the same time")        \
    X(cpu_throttle_initial, "cpu-throttle-initial", PROPERTY_UINT, 1, 1, 99, "20", "%", NULL,                      \
      "auto-converge: time that is taken from vCPUs at first, at least")                                           \
    X(cpu_throttle_increment, "cpu-throttle-increment", PROPERTY_UINT, 1, 1, 99, "10", "%", NULL,                  \
      "auto-converge: how much more is taken each further time, at least")                                         \
    X(cpu_throttle_tailslow, "cpu-throttle-tailslow", PROPERTY_BOOL, 0, 0, 0, "off", NULL, NULL,                   \
      "auto-converge: take no more than seems to be needed")                                                       \
    X(max_cpu_throttle, "max-cpu-throttle", PROPERTY_UINT, 1, 1, 99, "99", "%", NULL,                              \
      "auto-converge: most that is taken; not below cpu-throttle-initial")                                         \
    X(max_bandwidth, "max-bandwidth", PROPERTY_SIZE, MIB, 0, 0, "128M", "bytes/second", NULL,             \
      "most that is sent in a second; 0 is unlimited")                                                             \
    X(avail_switchover_bandwidth, "avail-switchover-bandwidth", PROPERTY_SIZE, MIB, 0, 0, "0",            \
      "bytes/second", NULL, "bandwidth to reckon the switchover with; 0 is the measured one")                      \
    X(downtime_limit, "downtime-limit", PROPERTY_UINT, 1, 0, 2000000, "300", "ms", NULL,                           \
      "longest stop of the guest at the switchover")                                                               \
    X(xbzrle_cache_size, "xbzrle-cache-size", PROPERTY_SIZE, 1, PAGE_SIZE, UINT64_C(1) << 63, "64M", "bytes", NULL, \
      "memory for copies of pages that xbzrle compares with, a power of two; a new size empties it")               \
    X(dirty_limit_period, "x-vcpu-dirty-limit-period", PROPERTY_UINT, 1, 1, 1000, "1000", "ms", NULL,              \
      "dirty-limit: time between two looks at the vCPUs' rates")                                                   \
    X(vcpu_dirty_limit, "vcpu-dirty-limit", PROPERTY_UINT, 1, 1, 1048576, "1", "MB/s", NULL,                       \
      "dirty-limit: what each vCPU may dirty in a second, in MiB")                                                 \
    X(downtime_effort, "downtime-effort", PROPERTY_UINT, 1, 0, 100, "10", "%", NULL,                               \
      "once the rest fits: more time, in percent, that shrinking rounds may take to shorten the stop; 0 is none")  \
    X(mode, "mode", PROPERTY_CHOICE, 0, 0, 0, "normal", NULL, migrate_mode_words,                                  \
      "cpr-transfer hands shared memory over to a process of this host instead of copying it")                     \
    X(switchover, "switchover", PROPERTY_CHOICE, 0, 0, 0, "patient", NULL, migrate_switchover_words,               \
      "patient finishes the first pass before it may stop the guest, eager may stop it at any time")               \
    X(switchover_timeout, "switchover-timeout", PROPERTY_UINT, 1, 100, 600000, "5000", "ms", NULL,                 \
      "without progress for so long while switching over, the source goes on by itself")                           \
    X(link_timeout, "link-timeout", PROPERTY_UINT, 1, 0, 3600, "60", "s", NULL,                                    \
      "tcp: a host that does not even answer the network for so long is gone; 0 waits for ever")

struct migrate_parameters {
#define X(c, name, type, unit_size, min, max, value, unit, words, help) _Atomic uint64_t c;
    MIGRATE_PARAMETERS(X)
#undef X
    _Atomic bool step;                      /* `migrate_step`: a source waits after each round; live */
};
/* The table, in the order of the macro; with the offset of each value in struct migrate_parameters. */
extern const struct property migrate_parameter_properties[];
extern const size_t migrate_parameter_offsets[];
void migrate_parameters_init(struct migrate_parameters *p);
/* Live: a running migration takes it up at its next slice.  Error: ARGUMENT. */
bool migrate_parameter_set(struct migrate_parameters *p, const char *name, const char *value, GError **error);
struct session;
/* The same while 's' (NULL: none) may be under way, which is given what it needs for the new value; without room for
 * a page cache of the size asked all stays as it was.  '*ret_note' says what was made of the value if that is not
 * what was asked, else NULL; caller frees.  Errors: ARGUMENT, HOST.  Main. */
bool session_parameter_set(struct session *s, struct migrate_parameters *p, const char *name, const char *value,
                           char **ret_note, GError **error);
/* The value of the table's entry 'at' as info shows it, without its unit: "134217728", "patient", "on".  Caller
 * frees. */
char *migrate_parameter_text(const struct migrate_parameters *p, unsigned at);

/* X(C name, name for people, help): all default off. */
#define MIGRATE_CAPABILITIES(X)                                                                                     \
    X(xbzrle, "xbzrle", "after the first pass send what changed in a page; QEMU's stream analyser cannot read that") \
    X(auto_converge, "auto-converge", "slow the guest's CPUs down while it dirties memory faster than the line")   \
    X(zero_blocks, "zero-blocks", "taken for the sake of old scripts: it changes nothing here")                    \
    X(compress, "compress",                                                                                        \
      "threads compress pages, with xbzrle those of the first pass; QEMU's stream analyser cannot read that")      \
    X(events, "events", "an event line at each change of state and each pass")                                     \
    X(return_path, "return-path", "refuse a transport without a way back (where there is one it is always open)")  \
    X(pause_before_switchover, "pause-before-switchover",                                                          \
      "the guest being stopped, wait for `migrate_continue pre-switchover`")                                       \
    X(dirty_limit, "dirty-limit",                                                                                  \
      "hold each vCPU to vcpu-dirty-limit while the guest dirties memory faster than the line; needs a dirty ring") \
    X(checksum, "checksum", "sum every byte of the stream up; the destination compares before it answers")         \
    X(local_copy, "local-copy", "on one host, over a unix socket: the destination copies shared memory itself")

struct migrate_capabilities {
#define X(c, name, help) _Atomic bool c;
    MIGRATE_CAPABILITIES(X)
#undef X
};
struct migrate_capability_info { const char *name, *help; size_t offset; };
extern const struct migrate_capability_info migrate_capability_info[];      /* ends with a NULL name */
extern const struct property migrate_capability_properties[];               /* the same as switches */
/* Error: ARGUMENT; also for what QEMU has and numon has not, with the reason where there is one. */
bool migrate_capability_set(struct migrate_capabilities *c, const char *name, bool on, GError **error);

/* --- states ---------------------------------------------------------------------------------------------------- */

enum migrate_state {
    MIGRATE_NONE, MIGRATE_SETUP, MIGRATE_ACTIVE, MIGRATE_PRE_SWITCHOVER, MIGRATE_DEVICE, MIGRATE_COMPLETED,
    MIGRATE_FAILED, MIGRATE_CANCELLING, MIGRATE_CANCELLED,
    MIGRATE_STATES
};
const char *migrate_state_name(enum migrate_state s);       /* QEMU's words */
/* True if a session in state 'from' may come to be in state 'to' next. */
bool migrate_state_may_follow(enum migrate_state from, enum migrate_state to);
static inline bool
migrate_state_ended(enum migrate_state s)
{
    return s == MIGRATE_COMPLETED || s == MIGRATE_FAILED || s == MIGRATE_CANCELLED;
}

/* --- counters --------------------------------------------------------------------------------------------------- */

#define MIGRATE_COUNTERS(X)                                                                \
    X(bytes, "bytes", "written to (read from) the stream, headers included")              \
    X(pages_normal, "pages", "sent whole")                                                 \
    X(pages_zero, "pages", "sent as a zero marker")                                        \
    X(precopy_bytes, "bytes", "of RAM before the guest stopped")                           \
    X(downtime_bytes, "bytes", "of RAM after the guest stopped")                           \
    X(throttle_strikes, "strikes", "seconds in which the guest dirtied more than auto-converge lets pass")         \
    X(dirty_syncs, "syncs", "collections of the dirty log, the first all-dirty one included")  \
    X(xbzrle_pages, "pages", "found in the page cache: sent as a difference, whole, or not at all") \
    X(xbzrle_bytes, "bytes", "of these, without the word that begins each record")         \
    X(xbzrle_misses, "pages", "not found in the page cache")                               \
    X(xbzrle_same, "pages", "found there and the same: not sent at all")                   \
    X(xbzrle_overflows, "pages", "whose difference would have been larger than a page")    \
    X(compress_pages, "pages", "sent compressed")                                          \
    X(compressed_bytes, "bytes", "of these, without the word that begins each record")     \
    X(handed_bytes, "bytes", "of memory handed over as descriptors, not sent")             \
    X(copied_bytes, "bytes", "of pages that the destination copied from memory of the source")  \
    X(compress_busy, "pages", "sent whole because all compressing threads were at work")

struct migrate_counters {
#define X(c, unit, help) _Atomic uint64_t c;
    MIGRATE_COUNTERS(X)
#undef X
};
extern const struct counter_info migrate_counter_info[];    /* ends with a NULL name */

/* --- what the machine hands in ---------------------------------------------------------------------------------- */

/* One vCPU's account since it was made; a list of them has one for each CPU slot. */
struct migrate_cpu {
    uint64_t writes;                        /* pages written, as the workload guest counts them */
    uint64_t writing_us;                    /* time it spent with that, by its own clock */
    bool writes_known, writing_known;
    uint64_t throttled_us;                  /* time it was kept asleep */
    bool present;                           /* the slot has a vCPU; else all is 0 */
};
/* A range of a block whose pages belong to one node and one vCPU. */
struct migrate_range {
    const struct block *block;
    uint64_t first, count;                  /* pages */
    int node, cpu;                          /* -1: none */
};
/* A memory device on its way into a destination.  Both functions: main. */
struct migrate_arrival;
/* May it be put into the map?  False: the migration has ended, it is not wanted any more. */
bool migrate_arrival_wanted(const struct migrate_arrival *a);
/* Once: it is in the map, and session_set_sections was called; or 'error' says why not.  'a' is gone then. */
void migrate_arrival_done(struct migrate_arrival *a, const GError *error);

/* Why a guest runs or stands, but for the migration; it travels in "globalstate" and stays so at the destination. */
enum migrate_run_state {
    RUN_STATE_RUNNING,
    RUN_STATE_PAUSED,                       /* by its user */
    RUN_STATE_PRELAUNCH,                    /* it never ran */
    RUN_STATE_INTERNAL_ERROR,               /* it cannot go on */
    RUN_STATE_SHUTDOWN,                     /* it ended itself */
    MIGRATE_RUN_STATES
};
const char *migrate_run_state_name(enum migrate_run_state s);       /* QEMU's word */

enum migrate_progress { PROGRESS_UNKNOWN, PROGRESS_NONE, PROGRESS_SEEN };

struct migrate_guest {
    void *self;
    struct trace *trace;                    /* for records of the stream; may be NULL */
    struct guest_map *map;                  /* while the session lives blocks come, and none goes */
    struct hub *hub;
    /* vCPUs first, then devices: saved and described in this order.  session_set_sections changes them. */
    const struct state_section *const *sections;
    unsigned section_count;
    const char *machine_type;               /* "numon-0.1" */
    /* Subsection configuration/numon-machine: lines "key=value" in a fixed order, what must agree.  Caller frees. */
    char *(*describe)(void *self);
    /* Destination: on main by session_start, once it can be reached: whatever is here goes.  NULL: nothing is. */
    bool (*make_room)(void *self, GError **error);
    /* Destination: is theirs ours?  Error PEER names every difference ("distance 0 1: source 21, here 20"). */
    bool (*agree)(void *self, const char *theirs, GError **error);
    /* Source: on main, for a block that has just come into the map: the commands that give a machine the same memory
     * device, one a line.  Caller frees; NULL with an error keeps the block out.  NULL: blocks cannot come. */
    char *(*announce)(void *self, const struct block *b, GError **error);
    /* Destination: on main: the source got the memory device of this text, which is nothing but bytes of the peer's.
     * Makes the same here and calls migrate_arrival_done, at once or later.  NULL: devices cannot come. */
    void (*arrive)(void *self, const char *text, struct migrate_arrival *a);
    /* Migration thread: parks the vCPUs (STOP_MIGRATE); after that RAM changes no more, and no block comes. */
    void (*stop)(void *self);
    /* Migration thread, if the guest was stopped and is still ours (also after a cancel): takes STOP_MIGRATE away
     * again.  Called before the state says FAILED or CANCELLED. */
    void (*go_on)(void *self);
    /* Migration thread, auto-converge: takes so many percent of their time from the vCPUs; 0 ends it.  Error: HOST.
     * NULL if they cannot be throttled. */
    bool (*throttle)(void *self, unsigned percent, GError **error);
    /* Migration thread, dirty-limit: lets each vCPU dirty so many bytes a second, looked at so often; 0 ends it.
     * Error: STATE, HOST.  NULL if that cannot be. */
    bool (*limit)(void *self, uint64_t quota, unsigned period_ms, GError **error);
    /* The longest sleep of a vCPU whose ring is full, and the time that one takes to fill at its fastest. */
    void (*limit_times)(void *self, uint64_t *ret_nap_us, uint64_t *ret_full_us);
    /* Migration thread, for the account of rounds; NULL: not known.  Appends a struct migrate_cpu a CPU slot. */
    void (*progress)(void *self, GArray *cpus);
    /* Migration thread, at the start and when blocks came: appends a struct migrate_range for each part of guest
     * memory that has a node or a vCPU, none overlapping.  NULL: nothing has. */
    void (*ranges)(void *self, GArray *ranges);
    /* Read after stop(). */
    enum migrate_run_state (*run_state)(void *self);
    /* Destination: everything loaded and the answer is sent: takes STOP_MIGRATE away; the guest goes on as it was. */
    void (*start)(void *self, enum migrate_run_state s);
    /* Destination, after start(), on the migration's thread: has the guest done anything yet?  SEEN with the gap that
     * it saw, by its own clock; UNKNOWN if that cannot be told.  May be NULL. */
    enum migrate_progress (*progressed)(void *self, uint64_t *ret_gap_us);
    /* Destination, after a failed load: RAM and devices as fresh. */
    void (*reset)(void *self);
    /* Destination, after start(): what the guest saw of the time that it was stopped; false if that is not known (an
     * accelerator whose guests read the host's time).  Any thread; may be NULL. */
    bool (*time_jump)(void *self, struct time_jump *ret);
};

struct migrate_events {
    void *self;
    /* On main, through the mailbox, at each change of state, in order, none left out. */
    void (*state)(void *self, enum migrate_state s);
    /* On main: a pass begins (the dirty sync count). */
    void (*pass)(void *self, uint64_t count);
    /* On main: auto-converge counted a strike, or changed the throttle. */
    void (*throttle)(void *self, uint64_t strikes, unsigned percent);
};

/* --- sessions --------------------------------------------------------------------------------------------------- */

enum migrate_direction { MIGRATE_OUT, MIGRATE_IN };

/* The source's knowledge of who may run the guest. */
enum migrate_owner {
    OWNER_HERE,             /* ours; it runs or may run here */
    OWNER_THERE,            /* acknowledged: the other side has it */
    OWNER_UNKNOWN,          /* the link died between our last byte and the answer */
    OWNER_COPY,             /* one-way transport done: a file or pipe holds a copy, ours may go on */
};

/* Parameters and capabilities are borrowed and may change live. */
struct session *session_new(enum migrate_direction direction, const struct migrate_guest *guest,
                            struct migrate_parameters *parameters, struct migrate_capabilities *capabilities,
                            struct mailbox *mailbox, const struct migrate_events *events);
/* Cancels, joins its threads, frees.  Main. */
void session_free(struct session *s);
/* Checks the URI's form (unix:PATH, tcp:HOST:PORT, exec:COMMAND, fd:NUMBER, file:PATH[,offset=SIZE]) without touching
 * anything. */
bool migrate_uri_check(const char *uri, enum migrate_direction direction, GError **error);
/* Sets up and returns in state SETUP; connecting and everything else happens on the migration thread.  Incoming:
 * the listener exists when this returns (errors are told here), the guest is loaded when a source connects; a
 * source that is refused or fails leaves the machine fresh, and the session ends FAILED. */
bool session_start(struct session *s, const char *uri, GError **error);
/* Any moment; refused (STATE) once the last byte may have been written.  The end is told by events. */
bool session_cancel(struct session *s, GError **error);
/* Would it be refused now?  The same errors; nothing happens. */
bool session_may_cancel(struct session *s, GError **error);
/* Lets a migration go on that waits in this state: PRE_SWITCHOVER, or ACTIVE between two rounds; NONE: in whichever
 * it waits.  Error STATE: it does not wait there. */
bool session_continue(struct session *s, enum migrate_state at, GError **error);
bool session_may_continue(struct session *s, enum migrate_state at, GError **error);
/* Of an incoming session: HERE once the guest was started here, THERE until then. */
enum migrate_owner session_owner(struct session *s);
/* True if it listens where other hosts reach it: nothing protects the stream.  Main, after session_start. */
bool session_exposed(const struct session *s);
/* Blocks have come, so there are other sections: main, before guest.stop returns or migrate_arrival_done. */
void session_set_sections(struct session *s, const struct state_section *const *sections, unsigned count);
/* Owner unknown: asks the destination again by migration id (running, discarded, unknown) on a thread; 'done' on
 * main with its answer: OWNER_THERE, OWNER_HERE (the caller then lets the guest go on), or OWNER_UNKNOWN and an
 * error saying what was tried.  Not called any more after session_free.  'release' (may be NULL) is called on 'self'
 * in the end, told or not. */
void session_ask_outcome(struct session *s, void (*done)(void *self, enum migrate_owner owner, const GError *error),
                         void *self, GDestroyNotify release);
/* The user said `cont -f`, or `system_reset -f` ('anew'): ours.  Error STATE: it ran elsewhere in its memory.
 * Main. */
bool session_claim(struct session *s, bool anew, GError **error);
bool session_may_claim(struct session *s, bool anew, GError **error);
/* Did the guest's memory go along with it?  Any thread.  Waits until what is here is fresh.  Main. */
bool session_took_memory(struct session *s);
void session_settle(struct session *s);

/* One consistent reading; any thread. */
struct migrate_info {
    enum migrate_direction direction;
    enum migrate_state state;
    enum migrate_owner owner;
    char *error;                            /* owned; NULL if none */
    enum numon_error error_code;            /* of it: HOST or LIMIT is this side's; all else PEER */
    char *uri;                              /* owned; as given; incoming tcp with the port chosen */
    const char *sent_because;               /* static: why local-copy could not be; NULL: it could, or is off */
    uint64_t id;                            /* the migration's random id; 0 before it is known */
    uint64_t total_ms, setup_ms, downtime_us, expected_downtime_ms;
    bool downtime_known;
    uint64_t total_bytes, remaining_bytes, page_size;
#define X(c, unit, help) uint64_t c;
    MIGRATE_COUNTERS(X)
#undef X
    unsigned throttle_percent;              /* auto-converge: of the vCPUs' time, now */
    bool dirty_limit;                       /* the limit is in force: */
    uint64_t limit_nap_us, limit_full_us;   /* see limit_times */
    uint64_t dirty_pages_rate;              /* pages per second over the last sync period */
    /* Zero without the capability.  Rates are of the last period. */
    bool xbzrle, compress;
    uint64_t cache_bytes;
    double xbzrle_miss_rate;                /* misses per page looked at */
    double xbzrle_encoding_rate;            /* raw bytes per encoded byte */
    double compress_busy_rate, compress_rate;   /* the same: busy per page, raw per compressed */
    double mbps;                            /* 10^6 bit/s: last window, or the whole once ended */
    uint64_t pages_per_second;
    /* Source, before the guest stopped: what may remain for a switchover, and the bytes/s that is reckoned with. */
    uint64_t fits_bytes, switchover_bandwidth;
    uint64_t silent_ms;                     /* since a slice began: of a line that takes nothing, long */
    bool shortening;                        /* the rest would fit; the round under way is to make the stop shorter */
    bool held;                              /* between two rounds, until session_continue */
    bool first_pass;                        /* not every page was sent once */
};
void session_info(struct session *s, struct migrate_info *ret);
void migrate_info_release(struct migrate_info *i);

/* --- the recording: what a migration was like ------------------------------------------------------------------- */

/* How the rest of a round compares with what there was to send at its beginning. */
enum migrate_verdict {
    VERDICT_OPEN,                           /* it goes on, or was broken off */
    VERDICT_CONVERGING,                     /* less remains, or little enough for the switchover */
    VERDICT_STALLED,                        /* as much remains, within 5 % */
    VERDICT_DIVERGING,                      /* more */
    VERDICT_SHORTENING,                     /* little enough; another round is to make the stop shorter */
    VERDICT_LAST,                           /* the guest is stopped: nothing is written any more */
    MIGRATE_VERDICTS
};
const char *migrate_verdict_name(enum migrate_verdict v);

/* What lies between two collections of the dirty log.  The first begins with the session and the last ends with it,
 * so that the sums over all rounds are the session's totals; source only. */
struct migrate_round {
    uint64_t number, last;                  /* from 1; the same, but where old rounds were summed up in one */
    uint64_t start_us, duration_us;         /* the start since the session's */
    uint64_t pages_zero, pages_normal, pages_delta, pages_same, pages_compressed;
    uint64_t bytes, ram_bytes;              /* of the stream; of these, of RAM */
    uint64_t bandwidth, bandwidth_window_us;        /* bytes/s at its end; measured over so long */
    uint64_t dirty_start, dirty_end;        /* bytes that had to be sent */
    uint64_t fresh_pages;                   /* that the guest dirtied meanwhile, each counted once */
    uint64_t dirty_rate;                    /* the same a second, the time it was held included */
    unsigned throttle_percent;              /* at its end */
    uint64_t expected_downtime_ms;
    uint64_t fits_bytes;                    /* what could have remained at its end for a switchover */
    uint64_t held_us;                       /* before it began; not in its duration */
    /* Of all vCPUs together: pages written, by the guest's own count; time kept asleep; time that writing them took
     * beyond what it took before the migration, which is what write faults cost. */
    bool writes_known, slowed_known;
    uint64_t writes, throttled_us, slowed_us;
    enum migrate_verdict verdict;
    bool open;                              /* it goes on: figures so far */
};
/* Older rounds are summed up in the second one. */
enum { MIGRATE_ROUNDS = 1024 };

/* The time is since the session's begin; an incoming one's begins when its source connects. */
struct migrate_step { enum migrate_state state; uint64_t at_us; };

/* Of the time the guest stood still. */
enum { MIGRATE_PART_NAME = 64, MIGRATE_PARTS = 1024 };
struct migrate_part { char name[MIGRATE_PART_NAME]; uint64_t us; };
/* The part that ends a switchover which came to nothing: what follows the last that was done. */
#define MIGRATE_PART_FAILED "until it failed"

/* Of guest memory: what belongs to one block, node and vCPU. */
struct migrate_share {
    const char *block;                      /* its name, interned */
    int node, cpu;                          /* -1: none */
    uint64_t pages, remaining;
    uint64_t fresh_pages;                   /* dirtied during the last whole period of 'share_period_us' */
    uint64_t sent, zero;                    /* pages dealt with; of these, zero markers */
};

struct migrate_record {
    struct migrate_info info;
    GArray *rounds;                         /* struct migrate_round */
    GArray *path;                           /* struct migrate_step: every state it was in */
    GArray *parts;                          /* struct migrate_part, in their order; their sum is 'stopped_us', to
                                             * which the part under way is added */
    uint64_t stopped_us;
    GArray *there;                          /* outgoing: the same of the destination, since the last RAM began to
                                             * come */
    uint64_t progress_us;                   /* from the guest's start until it did something; 0: not known */
    bool there_asked;                       /* it was asked for it */
    uint64_t guest_gap_us;                  /* between two turns of the guest's loop, by its clock; 0: not known */
    GArray *shares;                         /* struct migrate_share */
    uint64_t share_period_us;               /* 0: no period is over yet */
    GArray *cpus;                           /* struct migrate_cpu, since the session's begin; empty if not known */
};
/* One consistent copy, while it runs and after it.  Any thread. */
struct migrate_record *session_record(struct session *s);
struct migrate_record *migrate_record_copy(const struct migrate_record *r);
void migrate_record_free(struct migrate_record *r);     /* NULL is fine */

/* --- what became of one page ------------------------------------------------------------------------------------ */

/* In one round of a source. */
enum page_fate {
    FATE_NONE,                              /* it was not sent */
    FATE_ZERO, FATE_WHOLE, FATE_COMPRESSED,
    FATE_BUSY,                              /* whole: all compressing threads were at work */
    FATE_DELTA,
    FATE_SAME,                              /* nothing: it is as it was sent before */
    FATE_MISS,                              /* whole: there was no copy; one was made */
    FATE_MISS_TAKEN,                        /* whole: another page has its place in the cache */
    FATE_MISS_LAST,                         /* whole: there was no copy, and none is made at the switchover */
    FATE_OVERFLOW,                          /* whole: its difference is larger */
    PAGE_FATES
};
struct migrate_page_round { uint64_t round; enum page_fate fate; };
/* For each round that is remembered (the first, and as many of the last as a thousandth of guest memory has room for)
 * what became of the page: struct migrate_page_round.  Caller unrefs.  Any thread while the block is there. */
GArray *session_page_history(struct session *s, const struct block *b, uint64_t page);
/* The vCPU that made the page dirty last while the migration was under way; -1: none did, or it is not known. */
int session_page_writer(struct session *s, const struct block *b, uint64_t page);
/* True if that is known for some pages: the dirty log tells vCPUs apart. */
bool session_knows_writers(struct session *s);
/* How many of these pages were sent, or found to be the same, in a round: they were dirty when it began.  False if
 * the round is not remembered. */
bool session_round_pages(struct session *s, uint64_t round, const struct block *b, uint64_t first, uint64_t count,
                         uint64_t *ret);

/* Bytes of the difference of two pages, PAGE_SIZE if it would be larger, 0 if they are equal.  Pure. */
size_t migrate_delta_size(const uint8_t *old, const uint8_t *now);

/* --- what migrations cost on this host -------------------------------------------------------------------------- */

/* As the engine found it that sent so much to itself, twice.  Time a page: into memory that the destination has not
 * touched yet; once more, behind the one before it, and alone; of a page that is not there. */
enum { REHEARSAL_LEAST = 32 << 20, REHEARSAL_MOST = 96 << 20 };
struct rehearsal_result {
    uint64_t size;
    double fresh_us, again_us, alone_us, absent_us;
    uint64_t setup_us, switchover_us;           /* until the first page; without pages, devices and vCPUs */
};
struct rehearsal;
/* Then 'done' on main, never from within, unless rehearsal_free came first.  It takes some tenths of a second and
 * three times 96 MiB of memory, or less where less is left.  Error: HOST, LIMIT.  Main. */
struct rehearsal *rehearsal_new(struct mailbox *mailbox, struct jobs *jobs,
                                void (*done)(void *self, const struct rehearsal_result *result, const GError *error),
                                void *self, GError **error);
void rehearsal_free(struct rehearsal *r);       /* not from 'done'; NULL is fine */
/* How much of it one side fills, with so much left.  Error HOST: too little is.  Pure. */
struct memory_left;
bool rehearsal_size(const struct memory_left *left, uint64_t *ret_size, GError **error);

/* --- what a migration would be like: pure ----------------------------------------------------------------------- */

/* Memory by rising address: all pages; of these, not zero; of all, that the guest writes. */
struct predict_piece { uint64_t pages; double filled, working; };
struct predict_point { uint64_t us, pages; };   /* pages written until then, each counted once */
struct predict_writes {
    double rate, working;                       /* pages/s; pages among which they are */
    bool sequential;                            /* one after the other; else at random */
};
/* What explains the points best, with at most 'most_working' pages. */
void predict_fit(const struct predict_point *points, unsigned count, uint64_t most_working,
                 struct predict_writes *ret);

/* When writes are known: at once; when the log is read; the same, but what was written before a page was sent is not
 * reported. */
enum predict_log { LOG_AT_ONCE, LOG_KEPT, LOG_CLEARED };
struct predict_input {
    const struct predict_piece *pieces;
    unsigned count;
    double write_rate;                          /* pages/s */
    bool sequential;
    enum predict_log log;
    double log_us;                              /* of a page that is there, to be watched again: LOG_CLEARED */
    double bandwidth, line;                     /* bytes/s: while the guest runs; of the line itself */
    bool paced;                                 /* 'bandwidth' is max-bandwidth: what a window allows goes at once */
    struct rehearsal_result host;               /* what pages take besides; zeros: nothing */
    double busy_share;                          /* of 'write_rate', while pages are being sent; 0: all of it */
    uint64_t switchover_bandwidth;              /* avail-switchover-bandwidth; 0: 'bandwidth' */
    uint64_t downtime_limit_ms, fixed_us;       /* fixed: of the switchover, whatever remains to be sent */
    unsigned downtime_effort;                   /* percent */
    bool eager;
    uint64_t cache_pages;                       /* of xbzrle; 0: off */
    double delta_bytes;                         /* of a page that is in it */
    unsigned throttle_percent;                  /* taken from the guest all the time */
    bool converges, converge_tailslow;          /* auto-converge, with its parameters */
    unsigned converge_threshold, converge_initial, converge_increment, converge_most;
};
struct predict_round {
    uint64_t duration_us, bytes, dirty_end, fresh_pages;        /* dirty_end: bytes */
    unsigned throttle_percent;
};
struct predict_result {
    bool converges;                             /* else total_us is when that was clear */
    uint64_t total_us, downtime_us, bytes, last_remaining;      /* what remained after the last pass, bytes */
    uint64_t fits_bytes;                        /* what could have remained then */
    unsigned throttle_percent;
    GArray *rounds;                             /* struct predict_round; the last is the switchover */
};
/* The same, and how a migration went whose settings are those of 'in': finds 'working' and, unless 'write_rate' is
 * known (not 0), that too; pieces get 'working' alike.  'ends' of the rounds' dirty pages: fresh_pages and
 * duration_us. */
void predict_fit_rounds(struct predict_input *in, struct predict_piece *pieces, const struct predict_round *rounds,
                        unsigned count, struct predict_writes *ret);
void predict_run(const struct predict_input *in, struct predict_result *ret);
void predict_result_release(struct predict_result *r);

/* --- a stream in a file, explained ------------------------------------------------------------------------------ */

/* The forms in which a page goes. */
enum page_form { PAGE_ZERO, PAGE_WHOLE, PAGE_DELTA, PAGE_COMPRESSED, PAGE_FORMS };
extern const char *const page_form_names[];

/* A record of several pages counts as so many; bytes are of whole records. */
struct explain_count { uint64_t records[PAGE_FORMS], bytes[PAGE_FORMS]; };

struct explain_block {
    char name[ID_SIZE];
    uint64_t size, place;                   /* bytes; byte of the stream at which it was announced */
    uint64_t pages;                         /* that came; those counted once that came again */
    bool counted;                           /* false: too large to keep account of, 'pages' is 0 */
    struct explain_count count;
};
/* A pass over memory, as the order of addresses tells it: pages that go from low to high are of one. */
struct explain_row {
    unsigned round, block;                  /* from 1; place in the list of blocks */
    struct explain_count count;
};
struct explain_section {
    char name[ID_SIZE];
    uint32_t id, instance, version;
    uint64_t place, bytes;                  /* of its head; of all its parts, heads and footers included */
    uint64_t parts;
};
struct explain_note { uint64_t place, count; char *text; };        /* the first of them; text owned */

struct explain_report {
    uint64_t size, read;                    /* bytes: of the file; understood */
    char *machine_type;                     /* owned; NULL: the stream has no configuration */
    bool ours;                              /* it has a numon's subsection: */
    uint64_t id, features;                  /* as in the subsection */
    char *text;                             /* what must agree; owned */
    char *capabilities;                     /* of QEMU's, that the stream names; owned or NULL */
    GArray *sections, *blocks, *rows, *faults, *stops;      /* struct explain_...; the last two explain_note */
    uint64_t more_faults;                   /* beyond those kept */
    bool folded;                            /* so many rounds that the last row of a block is of all the rest */
    uint64_t commands, command_bytes, description_bytes;
};
extern const struct migrate_feature_name { uint64_t feature; const char *name; } migrate_feature_names[];

/* What 'record' of explain_new is told, in the order of the stream. */
enum explain_kind {
    EXPLAIN_HEAD, EXPLAIN_CONFIGURATION, EXPLAIN_SUBSECTION, EXPLAIN_COMMAND, EXPLAIN_SECTION, EXPLAIN_PART,
    EXPLAIN_END, EXPLAIN_BLOCK, EXPLAIN_PAGE, EXPLAIN_FIELD, EXPLAIN_FOOTER, EXPLAIN_EOF, EXPLAIN_DESCRIPTION,
};
struct explain_run { unsigned at, size; const uint8_t *bytes; };    /* of a page, what changed */
struct explain_event {
    enum explain_kind kind;
    uint64_t place, bytes;                  /* of the record in the stream */
    const char *name;                       /* machine type, subsection, section, block, field */
    uint32_t id, instance, version;         /* of a section; command: its number */
    uint64_t number;                        /* page: its offset; block: its size; field: its bytes */
    enum page_form form;                    /* of a page */
    uint64_t pages;                         /* so many in a row, from 'number' on; 0: the one */
    const struct explain_run *runs;         /* of a delta; of a field its first bytes */
    unsigned run_count;
};
/* Appends a line about it, without a newline; names are as they stand in the stream. */
void explain_append(GString *out, const struct explain_event *e);
struct explain;
/* Opens a file for reading only; 'record' (may be NULL) is told each record by explain_run.  Memory is bounded
 * whatever the file holds.  Errors: HOST, ARGUMENT (no plain file). */
struct explain *explain_new(const char *path, void (*record)(void *self, const struct explain_event *e), void *self,
                            GError **error);
void explain_free(struct explain *e);
/* Reads on, record by record, until the end, or '*enough' is true after a record ('enough' may be NULL), or
 * explain_stop.  '*ret_end': nothing more comes.  What is wrong with the stream is a fault of the report and no
 * error.  Any one thread.  Errors: HOST, STATE (stopped). */
bool explain_run(struct explain *e, const bool *enough, bool *ret_end, GError **error);
void explain_stop(struct explain *e);       /* any thread */
/* What is known so far, borrowed. */
const struct explain_report *explain_report(const struct explain *e);

#endif
