/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The guest's NUMA topology as the user has entered it: CPU levels, nodes, distances, CPU placement, with QEMU's
 * rules and wordings.  A plain value without pointers: copy it by assignment.
 * Any thread may read a copy; nothing here locks or keeps state. */
#ifndef TOPOLOGY_H
#define TOPOLOGY_H

#include "base.h"
#include "property.h"

enum {
    TOPOLOGY_NODES = 128,           /* node ids 0..127 */
    TOPOLOGY_CPUS = 128,            /* limit of both accelerators */
    DISTANCE_LOCAL = 10,
    DISTANCE_MIN = 10,
    DISTANCE_USUAL = 20,            /* between two nodes, where nothing else is known (QEMU's and ACPI's) */
    DISTANCE_UNREACHABLE = 255,
};

enum smp_level { SMP_SOCKETS, SMP_DIES, SMP_MODULES, SMP_CORES, SMP_THREADS, SMP_LEVELS };
extern const char *const smp_level_names[SMP_LEVELS];       /* "sockets", ... as `smp` has them */

/* What the user gave (0: not given) and, by smp_derive, what follows. */
struct smp {
    unsigned cpus, maxcpus;
    unsigned levels[SMP_LEVELS];
};

/* Where a CPU sits; ids count from 0 within the level above. */
struct cpu_place { unsigned socket, die, module, core, thread; };

struct node {
    uint64_t mem;                   /* bytes, with has_mem */
    char memdev[ID_SIZE];           /* backend id, or "" */
    bool present;
    bool has_mem;                   /* 'mem=' was given */
    bool has_initiator;
    uint8_t initiator;              /* with has_initiator: node whose CPUs are nearest to this memory */
    uint32_t zero;
};

/* How nodes get memory when none was given a size: QEMU's two historic ways (8 MiB steps; what is left over is
 * carried from node to node, or all goes to the last), or not at all. */
enum auto_assign { AUTO_ASSIGN_DEFAULT, AUTO_ASSIGN_LEGACY, AUTO_ASSIGN_OFF };
extern const char *const auto_assign_names[];       /* NULL-terminated */

/* Properties of the machine that are about NUMA. */
struct numa_options {
    enum auto_assign auto_assign;
    bool auto_enable;               /* one node when none is declared */
    bool hmat;                      /* the guest is told of latencies, bandwidths and memory side caches */
};

/* A CPU goes by the number of its slot, QEMU's cpu-index: maxcpus places, counted as smp_place has it.  The first
 * 'cpus' slots have their CPU from the start; the others are free until one is plugged in. */
struct topology {
    struct numa_options options;
    struct smp smp;                 /* as entered */
    struct node nodes[TOPOLOGY_NODES];
    uint8_t node_order[TOPOLOGY_NODES];             /* ids in the order of creation; 'node_count' of them */
    unsigned node_count;
    uint8_t distance[TOPOLOGY_NODES][TOPOLOGY_NODES];   /* [src][dst]; 0: not given */
    int16_t cpu_node[TOPOLOGY_CPUS];                /* explicit mapping by slot; -1: none */
};

/* Heterogeneous memory: values between initiators (nodes with CPUs) and targets (nodes), and memory side caches. */
enum { HMAT_LEVELS = 3, HMAT_HIERARCHIES = 4, HMAT_TYPES = 6, HMAT_BANDWIDTH = 3 /* the first type that is one */ };
extern const char *const hmat_hierarchy_names[], *const hmat_type_names[], *const hmat_associativity_names[],
    *const hmat_policy_names[];                     /* NULL-terminated; the index is ACPI's number */

/* These two and struct node have no bytes between their members: undo compares them byte by byte. */
struct hmat_lb {
    uint8_t hierarchy, type, initiator, target;
    uint32_t zero;
    uint64_t value;                 /* ns or bytes/second; 0: not known */
};

struct hmat_cache {
    uint8_t node, level;            /* level from 1 */
    uint8_t associativity, policy;
    uint16_t line, zero;            /* line: bytes */
    uint64_t size;                  /* bytes */
};

/* Outside of struct topology, which stays a value of fixed size. */
struct hmat {
    GArray *lb;                     /* struct hmat_lb, by rising hierarchy, type, initiator, target */
    GArray *cache;                  /* struct hmat_cache, by rising node, level */
};

/* What the rules need to know of memory backends, which live outside.  Returns false if there is none of the id. */
struct backend_lookup {
    bool (*size)(const void *self, const char *id, uint64_t *ret_bytes);
    const void *self;
};

/* One thing that is wrong, and what mends it: one command, or several, a line each, to be given in that order. */
struct problem { char *text, *remedy; };
void problem_free(struct problem *p);
/* Appends to an array of struct problem *. */
void problem_add(GPtrArray *problems, char *remedy_taken, const char *format, ...) G_GNUC_PRINTF(3, 4);

void topology_init(struct topology *t);             /* no node, 1 CPU, nothing mapped */

bool topology_equal(const struct topology *a, const struct topology *b);

/* Divides RAM between 'count' nodes (not 0); 'how' is one of the two ways. */
void topology_split(enum auto_assign how, uint64_t bytes, unsigned count, uint64_t *ret_sizes);
/* Gives the nodes their shares if none has a size and the options say so; true if it did. */
bool topology_auto_assign(struct topology *t, uint64_t bytes, struct backend_lookup backends);
/* Makes node 0 with this size; there is no node yet. */
void topology_add_implicit_node(struct topology *t, uint64_t bytes);

/* Option tables, each with the enum of its indices. */
enum { SMP_P_CPUS, SMP_P_SOCKETS, SMP_P_DIES, SMP_P_MODULES, SMP_P_CORES, SMP_P_THREADS, SMP_P_MAXCPUS,
       SMP_P_DRAWERS, SMP_P_BOOKS, SMP_P_CLUSTERS, SMP_P_COUNT };
extern const struct property smp_properties[];      /* implied: cpus */
enum { NODE_P_NODEID, NODE_P_CPUS, NODE_P_MEM, NODE_P_MEMDEV, NODE_P_INITIATOR };
extern const struct property node_properties[];
enum { DIST_P_SRC, DIST_P_DST, DIST_P_VAL };
extern const struct property dist_properties[];
enum { CPU_P_NODE, CPU_P_SOCKET, CPU_P_DIE, CPU_P_MODULE, CPU_P_CORE, CPU_P_THREAD, CPU_P_DRAWER, CPU_P_BOOK,
       CPU_P_CLUSTER };
extern const struct property cpu_properties[];

/* `device_add cpu`; the ids from socket to thread in the order of the levels. */
enum { PLUG_P_ID, PLUG_P_SOCKET, PLUG_P_DIE, PLUG_P_MODULE, PLUG_P_CORE, PLUG_P_THREAD, PLUG_P_NODE };
extern const struct property cpu_plug_properties[];

enum { LB_P_INITIATOR, LB_P_TARGET, LB_P_HIERARCHY, LB_P_TYPE, LB_P_LATENCY, LB_P_BANDWIDTH };
extern const struct property hmat_lb_properties[];
extern const struct property hmat_lb_filter[];      /* to delete; the first four, none required */
enum { CACHE_P_NODE, CACHE_P_SIZE, CACHE_P_LEVEL, CACHE_P_ASSOCIATIVITY, CACHE_P_POLICY, CACHE_P_LINE };
extern const struct property hmat_cache_properties[];
enum { CACHE_FILTER_P_LEVEL = 1 };
extern const struct property hmat_cache_filter[];   /* to delete: CACHE_P_NODE, CACHE_FILTER_P_LEVEL */

/* Each applies parsed values to 't' or fails (ARGUMENT or STATE) with 't' unchanged. */
bool topology_set_smp(struct topology *t, const struct values *v, GError **error);
bool topology_add_node(struct topology *t, const struct values *v, struct backend_lookup backends, GError **error);
bool topology_set_distance(struct topology *t, const struct values *v, GError **error);
bool topology_map_cpu(struct topology *t, const struct values *v, GError **error);
/* The way back: a node (with its distances and CPU mapping), one distance, a CPU mapping (the values' wildcards
 * match as in topology_map_cpu; node-id optional). */
bool topology_delete_node(struct topology *t, unsigned node, GError **error);
bool topology_delete_initiator(struct topology *t, unsigned node, GError **error);
bool topology_delete_distance(struct topology *t, unsigned src, unsigned dst, GError **error);
bool topology_unmap_cpu(struct topology *t, const struct values *v, GError **error);

/* True if CPUs have an id of this level: dies and modules only where there are several. */
bool smp_has_level(const struct smp *derived, enum smp_level level);
void hmat_init(struct hmat *h);
void hmat_copy(struct hmat *to, const struct hmat *from);       /* 'to' is not initialised */
void hmat_release(struct hmat *h);
bool hmat_equal(const struct hmat *a, const struct hmat *b);
/* As above; 't' says which nodes there are and which have CPUs. */
bool hmat_add_lb(struct hmat *h, const struct topology *t, const struct values *v, GError **error);
bool hmat_add_cache(struct hmat *h, const struct topology *t, const struct values *v, GError **error);
/* Take back what matches; a cache goes when latency or bandwidth of its node is gone. */
bool hmat_delete_lb(struct hmat *h, const struct values *v, GError **error);
bool hmat_delete_cache(struct hmat *h, const struct values *v, GError **error);
void hmat_forget_node(struct hmat *h, unsigned node);
/* STATE if the machine's HMAT is off. */
bool hmat_enabled(const struct topology *t, GError **error);
bool hmat_is_latency(unsigned type);
const struct hmat_lb *hmat_lb_at(const struct hmat *h, guint i);
const struct hmat_cache *hmat_cache_at(const struct hmat *h, guint i);
/* NULL if there is none. */
const struct hmat_lb *hmat_find(const struct hmat *h, unsigned hierarchy, unsigned type, unsigned initiator,
                                unsigned target);
const struct hmat_cache *hmat_cache_find(const struct hmat *h, unsigned node, unsigned level);
/* What an entry of one table counts, in ns or bytes/second (0: the table is empty), and a value as ACPI's entry. */
uint64_t hmat_base(const struct hmat *h, unsigned hierarchy, unsigned type);
uint16_t hmat_encode(uint64_t value, uint64_t base);
/* STATE if the initiator of a value has lost its CPUs. */
bool hmat_initiators_have_cpus(const struct hmat *h, const struct topology *t, GError **error);
/* Appends "numa hmat-lb,..." and "numa hmat-cache,..." lines. */
void hmat_save(const struct hmat *h, GString *out);

/* Fills every level, as QEMU 7.2 derives them: what is left goes to cores, then sockets, then threads.  False with
 * the product rule's message if they do not fit; '*ret' is then unchanged. */
bool smp_derive(const struct smp *entered, struct smp *ret, GError **error);
struct cpu_place smp_place(const struct smp *derived, unsigned slot);
/* Appends "socket-id=0,core-id=1,thread-id=0": the ids of its place that CPUs of this machine have. */
void smp_spell_place(const struct smp *derived, unsigned slot, GString *out);
/* The slot that the values' ids name, which must be free ('taken': words) and, if a node is given, in that node.
 * Error: ARGUMENT, STATE. */
bool topology_find_slot(const struct topology *t, const uint64_t *taken, const struct values *v, unsigned *ret_slot,
                        GError **error);
/* The APIC id of the CPU in a slot: each level in the bits it needs, as QEMU assigns them. */
unsigned smp_apic_id(const struct smp *derived, unsigned slot);
/* The bit from which on an APIC id has the number of this level; threads have it from bit 0. */
unsigned smp_apic_shift(const struct smp *derived, enum smp_level level);

/* The sum of the nodes' sizes in bytes; UINT64_MAX if it does not fit. */
uint64_t topology_memory(const struct topology *t, struct backend_lookup backends);
/* Lists everything that is wrong with the topology as a whole: missing ids, RAM sum, distances.  'ram_remedy' mends
 * a sum of the nodes' sizes that is not 'ram_bytes'. */
void topology_check(const struct topology *t, uint64_t ram_bytes, const char *ram_remedy,
                    struct backend_lookup backends, GPtrArray *problems);
/* The commands that make nodes without backends anew with equal sizes, together 'bytes'; a line each.  Caller
 * frees. */
char *topology_resize_commands(const struct topology *t, uint64_t bytes);

/* The completed topology: what the guest is told. */
struct topology_final {
    struct smp smp;                                 /* derived */
    unsigned node_count;                            /* 0: no NUMA */
    uint64_t node_size[TOPOLOGY_NODES];             /* bytes; sum is RAM */
    char node_memdev[TOPOLOGY_NODES][ID_SIZE];
    uint8_t cpu_node[TOPOLOGY_CPUS];                /* by slot, also of free ones */
    int16_t node_initiator[TOPOLOGY_NODES];         /* whose CPUs are nearest: given, or itself if it has some; -1 */
    uint64_t present[WORDS_FOR(TOPOLOGY_CPUS)];     /* slots that have a CPU; slot 0 always */
    bool has_distances;                             /* else the guest gets no SLIT */
    uint8_t distance[TOPOLOGY_NODES][TOPOLOGY_NODES];
};
/* True if the slot has a CPU; any number. */
bool topology_has_cpu(const struct topology_final *t, uint64_t slot);
/* Those there are, "CPUs 0-1,3" or "CPU 0".  Caller frees. */
char *topology_spell_cpus(const struct topology_final *t);
/* The node that a slot's CPU will be in as far as the topology goes now: mapped, the default (whole sockets, when
 * none is mapped), node 0 (when others are), or -1 if there is no such node yet.  'slot' is below maxcpus. */
int topology_cpu_node(const struct topology *t, unsigned slot);
/* True if some slot will be in the node, mapped or by default. */
bool topology_has_cpus(const struct topology *t, unsigned node);
/* Only for a topology that has no problems. */
void topology_complete(const struct topology *t, uint64_t ram_bytes, struct backend_lookup backends,
                       struct topology_final *ret);
/* What a user should know and need not mend (unmapped CPUs to node 0, sockets divided between nodes): appends
 * char * to 'warnings'. */
void topology_warnings(const struct topology *t, GPtrArray *warnings);

/* A distance as it will be: given, mirrored from the other direction, local by default, or missing. */
enum distance_kind { DISTANCE_GIVEN, DISTANCE_MIRRORED, DISTANCE_DEFAULT, DISTANCE_MISSING };
enum distance_kind topology_distance(const struct topology *t, unsigned src, unsigned dst, unsigned *ret_value);
bool topology_has_distances(const struct topology *t);

/* Append the command lines that give this topology: "smp ...", nothing if it was never entered; then, once the
 * backends are there, "numa node,..." in the order of creation and "numa dist,..." by rising ids. */
void topology_save_smp(const struct topology *t, GString *out);
void topology_save_numa(const struct topology *t, GString *out);

/* --- the host's own nodes (host.c).  Any thread ----------------------------------------------------------------- */

enum {
    HOST_NODES = 128,               /* of the host, as QEMU's host-nodes */
    HOST_CPUS = 1024,
    HOST_HUGE_POOLS = 8,            /* sizes of huge pages */
};

enum host_policy { HOST_POLICY_DEFAULT, HOST_POLICY_PREFERRED, HOST_POLICY_BIND, HOST_POLICY_INTERLEAVE };
extern const char *const host_policy_names[];       /* "default", ...; NULL-terminated */

/* The nodes there are: WORDS_FOR(HOST_NODES) words. */
void host_nodes(uint64_t *ret_words);
/* True if all wanted nodes exist and have memory.  'attempt' is what follows "cannot ", the node's number follows
 * it: "bind backend 'm0' to".  Error: ARGUMENT. */
bool host_nodes_check(const uint64_t *wanted, const char *attempt, GError **error);
/* Binds a mapping that nobody touched yet; returns 0 or errno.  The kernel passes over nodes that do not exist: check
 * them before. */
int host_bind(void *start, uint64_t size, enum host_policy policy, const uint64_t *nodes);
/* The host node of each page, or a negative errno if it is not present; returns 0 or errno. */
int host_page_nodes(void **pages, unsigned long count, int *ret_nodes);

struct host_node {
    uint64_t total, free;                   /* bytes */
    uint64_t cpus[WORDS_FOR(HOST_CPUS)];
};
void host_node_read(unsigned node, struct host_node *ret);
/* The CPUs of all nodes: WORDS_FOR(HOST_CPUS) words. */
void host_cpus(uint64_t *ret_words);
unsigned host_distance(unsigned from, unsigned to);     /* 0: not known */

struct host_huge_pool {
    uint64_t page_size;             /* bytes */
    uint64_t total, free;           /* pages */
};
/* The host's pools of huge pages (of one node, or -1: of all) by rising size; returns how many. */
unsigned host_huge_pools(int node, struct host_huge_pool *ret, unsigned limit);

#endif
