/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The composition root: owns the definition, builds the parts from it, hands them their interfaces, owns the run
 * state and the migration sessions.  Two machines in one process work.  Main thread unless said otherwise. */
#ifndef MACHINE_H
#define MACHINE_H

#include "accel.h"
#include "base.h"
#include "config.h"
#include "device.h"
#include "memory.h"
#include "migrate.h"
#include "topology.h"
#include "workload.h"

struct machine;

/* What the machine tells whoever shows it; each on main.  Any may be NULL. */
struct machine_events {
    void *self;
    void (*run_state)(void *self);                              /* machine_status changed */
    void (*migration)(void *self, enum migrate_state s);        /* of the current session */
    void (*pass)(void *self, uint64_t count);
    void (*throttle)(void *self, uint64_t strikes, unsigned percent);   /* see struct migrate_events */
    void (*guest)(void *self, const char *text);                /* "guest reset", "vCPU 1 stopped: ...", lines */
    /* The guest ended itself, action shutdown=poweroff; the exit status that isa-debug-exit would have given. */
    void (*power_off)(void *self, int status);
};

struct machine *machine_new(struct mailbox *mailbox, struct jobs *jobs, const struct machine_events *events);
/* Its traces; each line is an event 'guest', "trace exits: ...".  Never NULL. */
struct trace *machine_trace(struct machine *m);
/* After jobs_free: jobs work on the machine's memory. */
void machine_free(struct machine *m);

/* --- preconfig -------------------------------------------------------------------------------------------------- */

const struct definition *machine_definition(const struct machine *m);
/* Swaps in an edited copy (taken).  Error STATE once the machine is built ('*d' is then freed too). */
bool machine_define(struct machine *m, struct definition *d, GError **error);
/* Takes back the last 'count' changes of the definition, or (not 'back') makes them again.  STATE if there are fewer
 * or the machine is built; nothing changes then. */
bool machine_undo(struct machine *m, bool back, unsigned count, GError **error);
bool machine_built(const struct machine *m);
/* Problems of the definition and of this host with it (kernel file, accelerator): struct problem *. */
GPtrArray *machine_check(const struct machine *m);
/* Builds the parts: preconfig -> prelaunch.  Needs a definition without problems.  Error: as the parts say, and
 * everything is as before.  Preallocation makes it slow: 'done' is called on main when it ended ('error' NULL if it
 * is built), never from within this call. */
void machine_build(struct machine *m, void (*done)(void *self, const GError *error), void *self);
/* The same of a definition in which machine_check just found no problem: it is not looked at a second time. */
void machine_build_checked(struct machine *m, void (*done)(void *self, const GError *error), void *self);
/* Tears the machine down to preconfig.  Without 'force' refused (STATE) while the guest runs or a migration lives. */
bool machine_teardown(struct machine *m, bool force, GError **error);
/* The accelerator in use and, if none was asked for by name, why not the ones before it (NULL if the first). */
const char *machine_accel(const struct machine *m);
const char *machine_accel_reason(const struct machine *m);
/* Which dirty log the accelerator uses and why; NULL: it has none, or there is no machine yet. */
const char *machine_dirty_log(const struct machine *m);

/* What the user should know of how the accelerator runs it (a warning without "warning: "), or NULL. */
const char *machine_accel_warning(const struct machine *m);
/* What the user should know of the memory it was built with (a warning without "warning: "), or NULL. */
const char *machine_memory_warning(const struct machine *m);
/* True while memory is being preallocated: bytes done of those known to be wanted. */
bool machine_preallocating(const struct machine *m, uint64_t *ret_done, uint64_t *ret_total);
/* Changes a property of a memory backend (backend_options_change), also of a machine that is built, whose mapping
 * changes with it.  '*ret_pending' is true if 'done' is called on main, never from within: memory is being taken from
 * the host.  False with everything as before. */
bool machine_change_backend(struct machine *m, const char *id, const char *property, const char *text,
                            void (*done)(void *self, const GError *error), void *self, bool *ret_pending,
                            GError **error);

/* What a vCPU's page tables make of a virtual address; the guest is held for a moment.  Error: ARGUMENT, STATE. */
bool machine_translate(struct machine *m, unsigned cpu, uint64_t address, uint64_t *ret_gpa, GError **error);
/* The accelerator's slot that holds the address; -1 if none. */
int machine_slot(const struct machine *m, uint64_t gpa);
/* hub_dirty of a block of the machine, which must be built. */
int machine_dirty(struct machine *m, const struct block *b, uint64_t page);
/* One backend of a node's memory: where its pages should be, and how many samples lie elsewhere. */
struct placement {
    const struct backend_options *backend;      /* borrowed; only while 'done' runs */
    uint64_t misplaced;
};
/* What a guest node uses of the host. */
struct node_usage {
    int node;                       /* -1: RAM of a machine without nodes */
    uint64_t size, plugged;         /* bytes; plugged is the part of memory devices, as `info numa` has it */
    struct memory_usage memory;
    uint64_t dirty_pages, dirty_rate;       /* pages written during the measurement; a second */
    struct memory_places places;
    GArray *placements;             /* struct placement, one a backend */
};
/* Measures all nodes, for a second while the guest runs; then 'done' on main, never from within, with struct
 * node_usage by rising address.  Error: STATE, LIMIT, HOST. */
bool machine_measure_usage(struct machine *m, uint64_t samples,
                           void (*done)(void *self, const GArray *nodes, const GError *error), void *self,
                           GError **error);
/* How near the memory of each node is to each vCPU, as the vCPUs measured it. */
struct latency_cpu {
    bool present;                   /* its slot has a CPU */
    bool online;                    /* else it was not asked */
    unsigned node;                  /* its own */
    struct control_nearness nodes[CONTROL_NODES];
};
struct latency_node {
    uint64_t bytes;                 /* of it were read; 0: it has no memory */
    struct memory_places places;    /* of samples of what was read */
};
struct latency {
    uint64_t bytes, budget_us;      /* asked for: of each node, for each vCPU and node */
    unsigned cpu_count, node_count;
    struct latency_cpu *cpus;
    struct latency_node *nodes;
};
/* Measures one vCPU after the other while the guest goes on; then 'done' on main, never from within, with a result
 * that goes with the call.  What is read, 'bytes' at the end of each node's memory, is taken from the host.  Error:
 * STATE (the guest does not run or is not the workload guest; one is under way), HOST. */
bool machine_measure_latency(struct machine *m, uint64_t bytes,
                             void (*done)(void *self, const struct latency *result, const GError *error), void *self,
                             GError **error);
/* Nobody waits for it any more: 'done' will not be called. */
void machine_latency_abandon(struct machine *m);
/* How the guest dirties its memory. */
struct dirty_cell {                             /* a piece of one section */
    uint64_t gpa, pages;
    int node;                                   /* -1: none */
    struct block *block;                        /* borrowed */
    uint64_t first;                             /* page of the block */
    uint64_t dirty;                             /* pages written during the measurement */
    uint64_t filled;                            /* pages that are not zero, by samples */
};
struct dirty_point { uint64_t us, pages; };     /* pages written until then, each counted once */
struct dirty_measure {
    GArray *cells, *points;                     /* struct dirty_cell by rising address; struct dirty_point */
    uint64_t log_us;                            /* until all of memory was watched; 0: it is not */
    uint64_t delta_pages, delta_bytes;          /* pages that changed, encoded against what they were: samples */
};
/* All of memory in cells of equally many pages (the last of a section may have fewer), 'most' at most unless there
 * are more sections.  Caller unrefs. */
GArray *machine_dirty_cells(const struct guest_map *map, unsigned most);
/* Measures for 'ms' while the guest runs, then 'done' on main, never from within; without a point if the guest does
 * not run.  Errors: STATE, LIMIT, HOST. */
bool machine_measure_dirty(struct machine *m, unsigned cells, unsigned ms,
                           void (*done)(void *self, const struct dirty_measure *result, const GError *error),
                           void *self, GError **error);
/* Memory devices of a built machine (the rules: definition_add_device).  One that is added joins a migration out
 * until the guest's memory is frozen; none goes then (STATE).  'done' is called on main, never from within, when the
 * device is there or could not be had. */
bool machine_device_add(struct machine *m, enum memory_device_kind kind, const struct values *v,
                        void (*done)(void *self, const GError *error), void *self, GError **error);
/* Deletes a memory device or, where the guest can be asked for it, a CPU.  A guest that interprets ACPI tables is
 * asked for what lies in a slot; events tell whether it lets go. */
bool machine_device_delete(struct machine *m, const char *name, GError **error);
/* Where a device would be; nothing changes.  Any time. */
bool machine_device_plan(struct machine *m, enum memory_device_kind kind, const struct values *v, uint64_t *ret_addr,
                         int *ret_slot, GError **error);
/* Plugs a CPU into a built machine, running or not; it is refused (STATE) during a migration and a verification.  The
 * rules: definition_add_cpu. */
bool machine_cpu_add(struct machine *m, const struct values *v, GError **error);
/* Which CPU it would be, in which node (-1: none); nothing changes.  Any time. */
bool machine_cpu_plan(struct machine *m, const struct values *v, unsigned *ret_slot, int *ret_node, GError **error);
/* How much of a virtio-mem is plugged, in preconfig or on a built machine, also during a migration until the guest's
 * memory is frozen.  '*ret_pending' as in machine_change_backend: more of one with 'prealloc'. */
bool machine_device_resize(struct machine *m, const char *name, uint64_t size,
                           void (*done)(void *self, const GError *error), void *self, bool *ret_pending,
                           GError **error);
/* As machine_define, also for a built machine: nothing but backends that nothing uses may differ. */
bool machine_define_backends(struct machine *m, struct definition *d, GError **error);

/* The last measurement of the dirty rate, or the one under way. */
struct dirty_rate_status {
    bool measuring, measured;       /* neither: there was none, or it failed */
    enum dirty_rate_mode mode;
    unsigned seconds;
    uint64_t samples;               /* a GiB */
    int64_t start_ms;               /* since 1970 */
    struct dirty_rate_result result;        /* if measured and not measuring */
    char *failure;                  /* of the last one; NULL: it had none */
};
/* Begins to measure for so long; a change of the machine is told when it ends.  Error: STATE. */
bool machine_calc_dirty_rate(struct machine *m, enum dirty_rate_mode mode, unsigned seconds, uint64_t samples,
                             GError **error);
const struct dirty_rate_status *machine_dirty_rate(const struct machine *m);
/* Limits the dirty rate of a vCPU (-1: of all) to so many bytes a second; 0 ends that.  Error: ARGUMENT, STATE,
 * HOST. */
bool machine_limit_dirty(struct machine *m, int cpu, uint64_t quota, GError **error);
/* Whether it could be, also before the machine is built.  Error STATE: there is or will be no ring. */
bool machine_can_limit(const struct machine *m, GError **error);
/* False if the vCPU is not limited. */
bool machine_dirty_limit(const struct machine *m, unsigned cpu, struct dirty_limit_info *ret);

/* The ACPI tables that the guest has or, in preconfig, that it would be given: struct acpi_table *; caller unrefs.
 * NULL with STATE (there are none) or LIMIT (acpi_build). */
GPtrArray *machine_acpi(const struct machine *m, GError **error);

/* --- run control ------------------------------------------------------------------------------------------------ */

/* QEMU's word: "running", "paused", "prelaunch", "preconfig", "inmigrate", "finish-migrate", "postmigrate",
 * "internal-error", "shutdown". */
const char *machine_status(const struct machine *m);
bool machine_running(const struct machine *m);
/* 'force': although it was migrated away, or nobody knows: the user does (the hand-off rules are in migrate.h). */
bool machine_cont(struct machine *m, bool force, GError **error);
bool machine_stop(struct machine *m, GError **error);
/* Boots the guest anew.  A job empties its memory and loads it; 'done' (may be NULL) is called on main, never from
 * within, when the guest may go on, or with what went wrong: then it stays stopped. */
bool machine_reset(struct machine *m, bool force, void (*done)(void *self, const GError *error), void *self,
                   GError **error);
/* Presses the power button.  What the guest makes of it is its own; '*ret_listens': it has said that it looks at
 * events. */
bool machine_powerdown(struct machine *m, bool *ret_listens, GError **error);

/* What becomes of a guest that resets (also by a triple fault) or ends itself; QEMU's words. */
enum reboot_action { REBOOT_RESET, REBOOT_SHUTDOWN };
enum shutdown_action { SHUTDOWN_PAUSE, SHUTDOWN_POWEROFF };
extern const char *const reboot_action_names[], *const shutdown_action_names[];
enum { ACTION_P_REBOOT, ACTION_P_SHUTDOWN };
extern const struct property machine_action_properties[];
/* Changes those that are given.  Any time. */
void machine_set_action(struct machine *m, const struct values *v);
enum reboot_action machine_reboot_action(const struct machine *m);
enum shutdown_action machine_shutdown_action(const struct machine *m);

/* --- migration -------------------------------------------------------------------------------------------------- */

struct migrate_parameters *machine_parameters(struct machine *m);       /* live in every state, also preconfig */
struct migrate_capabilities *machine_capabilities(struct machine *m);
bool machine_migrate(struct machine *m, const char *uri, GError **error);
/* True if the guest was migrated away and acknowledged. */
bool machine_away(const struct machine *m);
/* True while a migration out is under way. */
bool machine_switching(const struct machine *m);
bool machine_migrate_cancel(struct machine *m, GError **error);
/* Lets a migration out that waits in this state go on; see session_continue. */
bool machine_migrate_continue(struct machine *m, enum migrate_state at, GError **error);
/* `migrate_step`: it waits after each round; off lets one that waits there go on. */
void machine_migrate_step(struct machine *m, bool on);
/* The rules of the moment by which these go, alone: false (STATE) with what they would say. */
bool machine_may_migrate(struct machine *m, GError **error);
bool machine_may_cancel(struct machine *m, GError **error);
bool machine_may_continue(struct machine *m, enum migrate_state at, GError **error);
bool machine_may_receive(struct machine *m, GError **error);
bool machine_may_ask_outcome(struct machine *m, GError **error);
bool machine_may_cont(struct machine *m, bool force, GError **error);
bool machine_may_reset(struct machine *m, bool force, GError **error);
bool machine_may_powerdown(struct machine *m, GError **error);
/* The machine must be built and have no guest of its own: fresh (never run), or migrated away.  'paused': the guest
 * arrives paused.  Refused, it changes nothing. */
bool machine_incoming(struct machine *m, const char *uri, bool paused, GError **error);
/* True if this machine waits for (or has failed) an incoming guest and has none of its own. */
bool machine_awaits_incoming(const struct machine *m);
/* -incoming defer: inmigrate without a listener. */
void machine_defer_incoming(struct machine *m);
/* The current or last session, in either direction; NULL if there was none. */
struct session *machine_session(struct machine *m);
/* Migrations that have ended, the oldest first: struct migrate_record *, copies that go with the array (caller
 * unrefs).  The last MACHINE_MIGRATIONS of them. */
enum { MACHINE_MIGRATIONS = 64 };
GPtrArray *machine_migrations(struct machine *m);
/* What the last guest that arrived saw of the time that it was stopped to be moved; false if none did, or it reads
 * the host's time.  Any thread. */
bool machine_time_jump(struct machine *m, struct time_jump *ret);
/* Settles an unknown outcome; see session_ask_outcome. */
bool machine_ask_outcome(struct machine *m, void (*done)(void *self, enum migrate_owner owner, const GError *error),
                         void *self, GDestroyNotify release, GError **error);

/* --- looking in ------------------------------------------------------------------------------------------------- */

const struct topology_final *machine_topology(const struct machine *m);     /* NULL in preconfig */
const struct guest_map *machine_map(const struct machine *m);               /* NULL in preconfig */
struct run *machine_run(struct machine *m);                                 /* NULL in preconfig */
/* A vCPU's registers; the guest is held for a moment.  Errors: STATE (no machine), ARGUMENT (no such CPU, or none is
 * emulated), HOST. */
bool machine_registers(struct machine *m, unsigned cpu, struct cpu_registers *ret, GError **error);
/* struct accel_class's stats; the guest is held for a moment.  Errors: STATE, ARGUMENT, HOST. */
bool machine_stats(struct machine *m, int cpu, GVariantBuilder *list, const char **ret_provider, GError **error);
/* struct accel_class's exits; 0 without machine, or where nothing leaves a guest. */
unsigned machine_exits(struct machine *m, unsigned cpu, struct exit_count *ret, unsigned room);
const struct bus *machine_bus(const struct machine *m);                     /* NULL in preconfig */
/* What the guest's CPUs show, or would if it were built now, and with which accelerator; '*ret_emulated' is false,
 * and '*ret' of no use, if that emulates no CPU.  Milliseconds before it is built.  Error: HOST. */
bool machine_cpu_features(struct machine *m, struct cpu_resolved *ret, bool *ret_emulated, const char **ret_accel,
                          GError **error);
/* What the accelerator tells of itself: a{sv}, floating; NULL in preconfig. */
GVariant *machine_accel_facts(struct machine *m);
/* NULL in preconfig, or if it has no such port, of SERIAL_PORTS. */
struct serial *machine_serial(struct machine *m, unsigned port);
/* Parameters: of the running guest, or the initial ones. */
bool machine_workload_set(struct machine *m, const struct values *v, GError **error);
void machine_workload_get(struct machine *m, struct control_parameters *ret);
/* Stops the guest with STOP_VERIFY, checks in a job, lets it go on; 'done' on main. */
bool machine_verify(struct machine *m,
                    void (*done)(void *self, const struct workload_verdict *v, const GError *error), void *self,
                    GError **error);
/* The verification under way, if there is one, ends soon and without a verdict. */
void machine_verify_cancel(struct machine *m);

#endif
