/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the files of src/machine/ share. */
#ifndef MACHINE_PRIVATE_H
#define MACHINE_PRIVATE_H

#include "machine.h"

/* What exists once the machine is built; all of it goes at once with parts_free.  Fixed from parts_new on, but for
 * 'starts'. */
struct parts {
    struct topology_final topology; /* who is present changes on main, while vCPUs are parked */
    struct guest_map *map;
    guint lost_id;                  /* watches the map for lost pages */
    struct hub *hub;
    struct bus *bus;
    struct irqs *irqs;
    struct serial *serials[SERIAL_PORTS];           /* NULL: there is no such port; the first is always there */
    struct serial *debugcon;        /* NULL: the debug console's output goes to the first serial port */
    struct uart *uarts[SERIAL_PORTS];
    struct rtc *rtc;
    struct power *power;
    struct ged *ged;
    struct bays *memory_slots, *cpus_seen;         /* as guests see them that interpret ACPI tables */
    const struct accel_class *class;
    char *memory_warning;           /* of machine_make_map, or NULL */
    char *accel_reason;             /* why not the accelerators before it; NULL if it was the first or named */
    char *accel_warning;            /* what the accelerator has to say to what was asked of it, or NULL */
    struct accel *accel;
    unsigned cpu_slots;             /* all by slot: a CPU goes by the number of its slot */
    unsigned apic_ids[TOPOLOGY_CPUS];
    int cpu_nodes[TOPOLOGY_CPUS];
    struct boot_files *files;       /* NULL: nothing is loaded from files */
    bool files_loaded;              /* they lie in memory, for the next parts_load */
    struct cpu_start *starts;       /* filled by parts_load */
    struct run *run;
    struct dirty_limit *limit;
    struct state_section own[5 + SERIAL_PORTS];     /* rtc, machine, ged and slots; uarts */
    unsigned own_count;
    struct plugged *plugged;        /* one a virtio-mem, by rising address */
    struct state_section *plugged_sections;
    unsigned plugged_count;
    const struct state_section **sections;          /* all of the stream, in order */
    unsigned section_count;
};

/* How much of a virtio-mem is plugged, which is its block's used length, as it travels.  The definition has it too;
 * main brings them together. */
struct plugged {
    struct block *block;
    uint64_t block_size;            /* the device's: it is plugged in multiples */
    bool prealloc;                  /* what is plugged is taken from the host before the guest has it */
    uint64_t defined;               /* bytes, when this list was made */
    uint64_t state;                 /* the section's field, only while it is saved or loaded */
};

struct machine {
    /* Fixed from machine_new on. */
    struct mailbox *mailbox;
    struct jobs *jobs;
    struct machine_events events;
    struct trace *trace;

    /* Owned by main. */
    struct definition *definition;
    struct undo *undo;              /* of the definition */
    struct parts *parts;            /* NULL in preconfig */
    bool building;                  /* a job makes guest memory */
    struct reset *resetting;        /* a job empties and fills it; NULL: none */
    struct job *verify_job;
    bool verify_busy;
    struct block_progress progress; /* of the preallocation under way, if 'building' or 'populating' */
    unsigned dirtyings;             /* measurements of dirtying, under way */
    struct dirty_rate_run *dirty_rate_run;          /* one of them, or NULL */
    struct dirty_rate_status dirty_rate;
    GList *measurements;            /* struct measurement *: of usage, under way */
    struct latency_work *latency;   /* a measurement of latency under way, or NULL */
    struct job *populating;         /* a live change of 'prealloc' */
    bool plug_waits;                    /* a device that was made is to come once the guest was reset */
    enum reboot_action reboot;
    enum shutdown_action shutdown;
    bool launched;                  /* the guest has run, or arrived */
    bool awaits;                    /* for an incoming guest, or its arrival was not looked at yet: see
                                     * machine_awaits_incoming */
    struct session *outgoing, *incoming, *last;     /* last: one of the two, or NULL */
    const struct definition *coming;                /* as it will be, while a block is put into the map */
    GArray *arrivals;               /* struct arrival: devices that came for a guest that is not here yet; or NULL */
    GPtrArray *migrations;          /* struct migrate_record *: of sessions that have ended and are gone; NULL:
                                     * none */

    /* Of the incoming migration's thread. */
    struct control_cpu *watched[CONTROL_CPUS];
    unsigned watched_count;
    uint64_t watched_khz;

    /* Fixed while there is an incoming session. */
    char *described;                /* what this machine is, as it was when it began to wait; owned */

    /* Who writes guest memory beside the vCPUs: it looks at 'frozen', writes and marks, and says when it is done; a
     * migration waits for that before it freezes, so that its last dirty sync sees every mark. */
    struct lock writes;             /* rank 5 */
    struct condition written;       /* 'writing' fell */
    bool frozen GUARDED;            /* the guest's last copy is being made, or it is gone */
    bool writing GUARDED;           /* main writes, or the job of a reset that it began */
    struct time_jump jump GUARDED;  /* of the last guest that arrived */

    struct lock mapping;            /* rank 6: main changes the map, a migration's thread looks at it */

    /* Atomic. */
    struct migrate_parameters parameters;
    struct migrate_capabilities capabilities;
    _Atomic bool arrive_paused;     /* what the user of a destination said: -S, stop */
    _Atomic bool ran;               /* the guest, here or where it came from */
    _Atomic bool shut_down;         /* the guest ended itself */
    _Atomic bool arrived;           /* the guest that the incoming session brings is here */
    _Atomic int64_t exit_value;     /* that the guest wrote to the exit port, which ended it; -1: it did not.  Travels
                                     * in section "machine", as the next */
    _Atomic uint8_t reset_wanted;   /* by the guest */
    _Atomic bool paused_there;      /* a guest that cannot go on arrived paused by its user, beside that */

    /* That section's fields, only while it is saved or loaded. */
    struct { uint8_t reset_wanted, paused; uint64_t exit_value; } state;
};

/* --- machine.c -------------------------------------------------------------------------------------------------- */

/* 'd' (taken) is the definition from now on, also of a machine that is built and has followed: a step that can be
 * undone once it is torn down. */
void machine_adopt(struct machine *m, struct definition *d);

/* --- parts.c ---------------------------------------------------------------------------------------------------- */

/* Everything else; takes 'map' (also on error).  Main. */
struct parts *parts_new(struct machine *m, const struct topology_final *t, struct guest_map *map, GError **error);
void parts_free(struct parts *p);
/* Guest memory all zeros, and nothing told to CPUs or devices yet; persistent devices keep what they hold unless
 * 'persistent'.  Long where there is much of it.  vCPUs parked; any thread. */
bool parts_clear(struct parts *p, bool persistent, GError **error);
/* What the guest finds in its memory before the first instruction, and how its CPUs will begin: kernel and initrd are
 * read, which takes long where they are large.  vCPUs parked; any thread. */
bool parts_fill(struct parts *p, const struct definition *d, GError **error);
/* CPUs as they were to begin, devices as after power-on.  vCPUs parked; any thread, main once there is a guest. */
bool parts_reset(struct parts *p, GError **error);
/* Fills, then resets. */
bool parts_load(struct parts *p, const struct definition *d, GError **error);
/* Clears, then resets: what a stream is loaded into. */
bool parts_empty(struct parts *p, bool persistent, GError **error);
/* Parameters of the workload guest at its start: the definition's, then those on the kernel's command line. */
bool parts_workload(const struct definition *d, struct control_parameters *ret, GError **error);
bool parts_is_workload(const struct definition *d);
/* The accelerator that the definition asks for or, with "auto", the first that works; '*ret_reason' (owned) says
 * why not the ones before. */
const struct accel_class *parts_choose_accel(const struct definition *d, char **ret_reason, GError **error);

/* --- memory.c --------------------------------------------------------------------------------------------------- */

/* The guest's memory alone, as definition and topology say; slow with preallocation, any thread.  '*ret_warning'
 * (owned by caller) is what its user should know, or NULL. */
struct guest_map *machine_make_map(const struct definition *d, const struct topology_final *t,
                                   struct block_progress *progress, char **ret_warning, GError **error);
/* The memory of one device, and where the guest finds it. */
struct block *machine_make_device(const struct definition *d, const struct device_place *p,
                                  struct block_progress *progress, GError **error);
struct section machine_device_section(struct block *b, const struct device_place *p, bool numa);
/* A preallocation begins. */
void machine_progress_begin(struct machine *m);
/* Ends those of usage that wait for their second; before the parts go. */
void machine_end_measurements(struct machine *m);
/* Of the dirty rate: the one under way, and what the last one found. */
void machine_forget_dirty_rate(struct machine *m);
/* A page of the map cannot be had any more: stops the guest, says why.  GUnixFDSourceFunc. */
gboolean machine_memory_lost(gint fd, GIOCondition condition, gpointer machine);

/* --- account.c: for the recording of a migration; see struct migrate_guest -------------------------------------- */

void machine_ranges(void *self, GArray *ranges);
void machine_progress(void *self, GArray *cpus);
enum migrate_progress machine_progressed(void *self, uint64_t *ret_gap_us);
/* What machine_progressed looks at from now on; on the incoming migration's thread, as that, before the guest
 * runs. */
void machine_watch_progress(struct machine *m);

/* --- devices.c -------------------------------------------------------------------------------------------------- */

/* Makes and puts in the last device of 'd' (taken on success), which came with a guest; says so to 'a'. Error STATE,
 * LIMIT. */
bool machine_device_arrive(struct machine *m, struct definition *d, bool with_backend, struct migrate_arrival *a,
                           GError **error);
/* Takes a device out, and its backend out of the definition if that is named. */
bool machine_take_device(struct machine *m, const char *name, const char *backend, GError **error);

/* May it change now?  'comes': one is added.  Error: STATE. */
bool machine_may_change_devices(struct machine *m, const char *attempt, bool comes, GError **error);

/* --- hotplug.c -------------------------------------------------------------------------------------------------- */

bool machine_make_slots(struct parts *p, struct machine *m, GError **error);
void machine_free_slots(struct parts *p);
void machine_reset_slots(struct parts *p);
/* What is in them follows the definition and the CPUs there are. */
void machine_fill_slots(struct parts *p, const struct definition *d);
/* Asks a guest that listens to let go of the device; '*ret_asked' is false if there is none to be asked.  Error
 * STATE: it was asked and has not answered. */
bool machine_ask_for_device(struct machine *m, const struct memory_device *device, bool *ret_asked, GError **error);
/* Tells a guest that listens of a device that came. */
void machine_device_came(struct machine *m, const struct device_place *at);
/* Takes out, soon, what the guest has let go of, if nothing hinders it any more.  Main. */
void machine_settle_ejections(struct machine *m);

/* --- acpi.c ----------------------------------------------------------------------------------------------------- */

/* The tables of a definition that has no problems; caller unrefs.  Error: LIMIT. */
GPtrArray *machine_plan_acpi(const struct definition *d, GError **error);

/* --- arrive.c --------------------------------------------------------------------------------------------------- */

/* struct migrate_guest's announce and arrive. */
char *machine_announce(void *self, const struct block *b, GError **error);
void machine_arrive(void *self, const char *text, struct migrate_arrival *a);
/* A device came with a guest that is not here yet. */
void machine_note_arrival(struct machine *m, const struct memory_device *device, bool with_backend);
/* No guest is being brought any more: if none came, the devices that came for it go.  Main. */
void machine_settle_arrivals(struct machine *m);

/* --- follow.c --------------------------------------------------------------------------------------------------- */

/* Those that follow a built machine's map from its beginning. */
void machine_follow_map(struct machine *m, struct parts *p);

/* --- plugged.c -------------------------------------------------------------------------------------------------- */

/* Lists the virtio-mem devices' sections anew, after devices came or went. */
void machine_list_plugged(struct parts *p, const struct definition *d);
void machine_release_plugged(struct parts *p);
/* As it was when they were listed: what a stream brought is void.  Any thread, vCPUs parked. */
void machine_reset_plugged(struct parts *p);
/* The definition takes what arrived with the guest.  Main. */
void machine_take_plugged(void *machine);
/* What comes from outside (input, time) changes no device while they are frozen.  Any thread, vCPUs parked. */
void parts_freeze_devices(struct parts *p, bool frozen);
/* All sections anew; no migration lives. */
void parts_list_sections(struct parts *p, struct machine *m);

/* --- cpus.c ----------------------------------------------------------------------------------------------------- */

/* Asks the guest to let go of a CPU, or fails: why it stays, or that there is no device of the name. */
bool machine_cpu_delete(struct machine *m, const char *name, GError **error);
/* Takes out the CPUs that the guest has let go of, if nothing hinders it. */
void machine_settle_cpus(struct machine *m);

/* --- ended.c ---------------------------------------------------------------------------------------------------- */

/* Frees a session, NULL too; what it came to is kept (machine_migrations).  Main. */
void machine_retire(struct machine *m, struct session **place);

/* --- reset.c ---------------------------------------------------------------------------------------------------- */

/* Does the reset that the guest wanted, unless its memory is frozen or being verified: then later. */
void machine_reset_if_wanted(struct machine *m);
/* What the guest that was here, or did not come, had asked for.  Any thread. */
void machine_forget_wishes(struct machine *m);
/* False: no reset is under way.  Else 'done' is called on main when it is over, whatever came of it. */
bool machine_after_reset(struct machine *m, void (*done)(void *self, const GError *error), void *self);
/* Ends a reset that is under way: waits for its job, which may be long. */
void machine_abandon_reset(struct machine *m);

/* --- run.c ------------------------------------------------------------------------------------------------------ */

/* May this side run the guest, by the rules of the hand-off?  'anew': after a reset. */
bool machine_may_claim(struct machine *m, bool anew, bool force, GError **error);
/* It is ours from here on. */
bool machine_claim_guest(struct machine *m, bool anew, GError **error);
/* Error STATE: there is no machine yet. */
bool machine_need_built(const struct machine *m, const char *attempt, GError **error);
/* The guest reset itself with action reboot=shutdown. */
void machine_end_at_reset(struct machine *m);

/* What it is but for a migration.  Any thread. */
enum migrate_run_state machine_run_state(struct machine *m);
/* struct run calls it with what vCPUs tell. */
void machine_vcpu_event(void *self, const struct run_event *e);
/* A device asks on a vCPU's thread. */
void machine_power_event(void *self, enum power_event what, uint64_t value);
void machine_changed(struct machine *m);
/* A line for whoever shows the machine. */
void machine_tell(struct machine *m, const char *text);
/* ": it wrote 3 to the exit port, which is exit status 7" of a guest that ended so, else "".  Caller frees. */
char *machine_exit_text(const struct machine *m);
/* Does what action shutdown=poweroff asks for if the guest has ended. */
void machine_heed_end(struct machine *m);
/* The guest's memory may be written beside its vCPUs until machine_writes_end; false (STATE) while frozen.  Holds no
 * lock between the two.  Main. */
bool machine_writes_begin(struct machine *m, const char *attempt, GError **error);
void machine_writes_end(struct machine *m);
/* Freezes, once nobody writes, or lets go.  Any thread. */
void machine_freeze(struct machine *m, bool frozen);

/* --- agree.c ---------------------------------------------------------------------------------------------------- */

/* struct migrate_guest's describe and agree. */
char *machine_describe(void *self);
bool machine_agree(void *self, const char *theirs, GError **error);

/* --- migrate.c -------------------------------------------------------------------------------------------------- */

void machine_free_sessions(struct machine *m);
/* The sections of the machine's parts, to the session under way. */
void machine_hand_sections(struct machine *m);
/* A guest has come, and the thread that brought it has not ended. */
bool machine_arriving(const struct machine *m);
/* A way out is under way, or its outcome unknown. */
bool machine_out_lives(const struct machine *m);

#endif
