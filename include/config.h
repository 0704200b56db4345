/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The definition: what the user has entered so far, a plain copyable value.  A command edits a copy and swaps it in
 * on success, so a refused command changes nothing; check, save and (later) undo work on it.  Main thread, or any
 * thread on its own copy. */
#ifndef CONFIG_H
#define CONFIG_H

#include "base.h"
#include "cpu.h"
#include "device.h"
#include "memory.h"
#include "topology.h"
#include "workload.h"

#define RAM_DEFAULT (128 * MIB)
#define RAM_MIN     (16 * MIB)      /* for the workload guest */
#define RAM_MAX     (64 * TIB)      /* of one backend and of memory */

struct memory_options {
    bool entered;
    uint64_t size, maxmem;          /* bytes; maxmem 0: not given */
    unsigned slots;
};

enum accel_choice { ACCEL_AUTO, ACCEL_KVM, ACCEL_SYNTHETIC };
extern const char *const accel_choice_names[];      /* "auto", "kvm", "synthetic", NULL */
/* What becomes of the guest's time while it is stopped to be moved. */
enum clock_choice { CLOCK_ADVANCE, CLOCK_STOP };
extern const char *const clock_choice_names[];

/* A CPU that is plugged into a slot. */
struct cpu_device {
    char id[ID_SIZE];               /* "": it has none */
    unsigned slot;
};

typedef struct definition {
    char *name;                     /* -name; NULL if unset */
    struct memory_options memory;
    struct topology topology;
    struct hmat hmat;
    GArray *backends;               /* struct backend_options, in creation order */
    GArray *devices;                /* struct memory_device, in creation order */
    GArray *cpus;                   /* struct cpu_device, in creation order */
    bool nvdimm;                    /* the machine may have nvdimms */
    enum accel_choice accel;
    uint64_t numa_delay_ns;         /* synthetic: what an access to local memory costs; 0: nothing */
    enum clock_choice clock;        /* kvm */
    enum dirty_log dirty_log;       /* kvm */
    unsigned dirty_ring_size;       /* entries; 0: not given */
    struct cpu_options cpu;         /* kvm: what CPUs show */
    char *kernel;                   /* never NULL: "builtin:workload" */
    char *initrd;                   /* NULL if unset */
    char *append;                   /* NULL if unset */
    char *serials[SERIAL_PORTS];    /* the first never NULL: "null"; others NULL: there is no such port */
    char *debugcon;                 /* where the debug console's output goes; NULL: to the first serial port */
    char *mem_path;                 /* file or folder of RAM without backend; NULL: ordinary memory */
    bool mem_prealloc;              /* preallocate all RAM */
    struct control_parameters workload;
} definition;

struct definition *definition_new(void);
struct definition *definition_copy(const struct definition *d);
void definition_free(struct definition *d);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(definition, definition_free)
bool definition_equal(const struct definition *a, const struct definition *b);

/* Option tables; each with the enum of its indices. */
enum { MEMORY_P_SIZE, MEMORY_P_SLOTS, MEMORY_P_MAXMEM };
extern const struct property memory_properties[];           /* implied: size; without suffix MiB */
enum { MACHINE_P_AUTO_ASSIGN, MACHINE_P_AUTO_ENABLE, MACHINE_P_HMAT, MACHINE_P_NVDIMM };
extern const struct property machine_properties[];
enum { ACCEL_P_ACCEL, ACCEL_P_NUMA_DELAY, ACCEL_P_CLOCK, ACCEL_P_DIRTY_LOG, ACCEL_P_DIRTY_RING_SIZE };
extern const struct property accel_properties[];            /* implied: accel */

/* Each changes 'd' or fails with 'd' unchanged.  Wordings are QEMU's where it has the rule. */
bool definition_set_memory(struct definition *d, const struct values *v, GError **error);
bool definition_set_smp(struct definition *d, const struct values *v, GError **error);
bool definition_set_machine(struct definition *d, const struct values *v, GError **error);
bool definition_set_accel(struct definition *d, const struct values *v, GError **error);
/* "MODEL,+feature,-feature", in place of what was said before. */
bool definition_set_cpu(struct definition *d, const char *text, GError **error);
bool definition_add_backend(struct definition *d, enum backend_kind kind, const struct values *v, GError **error);
/* What a backend's options become with a property changed (backend_options_change), if the device made of it lets
 * them.  Error: ARGUMENT, STATE. */
bool definition_backend_changed(const struct definition *d, const char *id, const char *property, const char *text,
                                struct backend_options *ret, GError **error);
/* Replaces the options of the backend with the same id, which must be there. */
void definition_change_backend(struct definition *d, const struct backend_options *o);
bool definition_delete_backend(struct definition *d, const char *id, GError **error);
bool definition_add_node(struct definition *d, const struct values *v, GError **error);
bool definition_set_distance(struct definition *d, const struct values *v, GError **error);
bool definition_add_hmat_lb(struct definition *d, const struct values *v, GError **error);
bool definition_add_hmat_cache(struct definition *d, const struct values *v, GError **error);
bool definition_unmap_cpu(struct definition *d, const struct values *v, GError **error);
/* The node with all that was said of it. */
bool definition_delete_node(struct definition *d, unsigned node, GError **error);
bool definition_map_cpu(struct definition *d, const struct values *v, GError **error);
bool definition_set_workload(struct definition *d, const struct values *v, GError **error);
/* Kernel, append, name, serial are plain strings.  In append and name each control character becomes a blank and
 * blanks at both ends go, so that save and re-entry give the same; NULL or "" unsets. */
bool definition_set_kernel(struct definition *d, const char *kernel, GError **error);
bool definition_set_initrd(struct definition *d, const char *initrd, GError **error);      /* "" or NULL unsets it */
void definition_set_append(struct definition *d, const char *text);
void definition_set_name(struct definition *d, const char *name);
/* -mem-path and -mem-prealloc; "" or NULL unsets the path. */
bool definition_set_mem_path(struct definition *d, const char *path, GError **error);
void definition_set_mem_prealloc(struct definition *d, bool on);
/* Of one of the SERIAL_PORTS; "none" takes a port away, but not the first. */
bool definition_set_serial(struct definition *d, unsigned port, const char *target, GError **error);
/* NULL: to the serial line. */
bool definition_set_debugcon(struct definition *d, const char *target, GError **error);

const struct backend_options *definition_backend(const struct definition *d, const char *id);
/* The node that uses a backend, or -1. */
int definition_backend_user(const struct definition *d, const char *id);
struct backend_lookup definition_backends(const struct definition *d);
/* Memory devices.  Adding is refused if there is no place for it (device_place_find) or its backend is busy.  A
 * device without id goes by its backend's. */
bool definition_add_device(struct definition *d, enum memory_device_kind kind, const struct values *v,
                           GError **error);
/* Also deletes a CPU. */
bool definition_delete_device(struct definition *d, const char *name, GError **error);
/* Sets what is plugged of a virtio-mem. */
bool definition_resize_device(struct definition *d, const char *name, uint64_t size, GError **error);
const struct memory_device *definition_device(const struct definition *d, const char *name);
const struct memory_device *definition_device_of_backend(const struct definition *d, const char *memdev);
/* The place of each device, in the order of 'devices', to be freed; NULL if some has none. */
struct device_place *definition_device_places(const struct definition *d);
struct device_room definition_device_room(const struct definition *d);
/* Makes slots and addresses that were automatic explicit: devices that come or go later do not move others. */
void definition_pin_devices(struct definition *d);
/* Bytes that devices add to a node, or (-1) to all. */
uint64_t definition_plugged(const struct definition *d, int node);
/* RAM in bytes: as entered, else the sum of the nodes' backends, else RAM_DEFAULT. */
uint64_t definition_ram(const struct definition *d);
/* The topology that will be built: as entered, and what follows from the machine's options.  Returns what was
 * added. */
enum { TOPOLOGY_IMPLICIT = 1, TOPOLOGY_SPLIT = 2 };     /* the one implicit node; RAM divided between the nodes */
unsigned definition_topology(const struct definition *d, struct topology *ret);
/* The same completed; only for a definition without problems. */
void definition_complete(const struct definition *d, struct topology_final *ret);
/* Plugs a CPU into the slot that the values name; it is then the last of 'cpus'. */
bool definition_add_cpu(struct definition *d, const struct values *v, GError **error);
/* By id or path; NULL if there is none. */
const struct cpu_device *definition_cpu_device(const struct definition *d, const char *name);
/* By what a slot's CPU goes beside its number: "/machine/peripheral/ID" or another path; NULL if it has none.  Caller
 * frees. */
char *definition_cpu_path(const struct definition *d, unsigned slot);
/* The slots that will have a CPU, from the start or plugged in: WORDS_FOR(TOPOLOGY_CPUS) words. */
void definition_cpus(const struct definition *d, uint64_t *ret_slots);
/* What a user should know and need not mend: appends char *. */
void definition_warnings(const struct definition *d, GPtrArray *warnings);
/* The latencies, bandwidths and caches that the guest is told of; NULL if it is told of none. */
const struct hmat *definition_told_hmat(const struct definition *d);
/* Every problem at once: struct problem *, in a useful order; empty if it can be built. */
GPtrArray *definition_check(const struct definition *d);
/* "complete: 2 nodes, 4 CPUs, 2 GiB".  Caller frees. */
char *definition_summary(const struct definition *d);
/* The way back through changes.  A step that changes nothing is none; a new one ends the way forth. */
struct undo;
struct undo *undo_new(void);
void undo_free(struct undo *u);                     /* NULL is fine */
void undo_record(struct undo *u, const struct definition *before, const struct definition *after);
/* What the definition was before (after) the step next to 'now'; NULL if there is none.  Caller frees. */
struct definition *undo_back(struct undo *u, const struct definition *now);
struct definition *undo_forth(struct undo *u, const struct definition *now);
unsigned undo_depth(const struct undo *u, bool back);   /* how many steps there are */
/* A script of commands that gives this definition; canonical: entering it and saving again gives the same bytes.
 * Caller frees. */
char *definition_save(const struct definition *d);

#endif
