/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What a guest's CPU shows of itself: features by name, models of them, and the leaves of CPUID made of these, of the
 * levels of `smp` and of the nodes.  Pure: whoever runs CPUs says what the host has.  Any thread; nothing is kept.
 *
 * Names are QEMU's.  Leaves are those of Intel's SDM 2A (CPUID), AMD's APM 3 (appendix E) and Linux'
 * Documentation/virt/kvm/x86/cpuid.rst. */
#ifndef CPU_H
#define CPU_H

#include "base.h"
#include "topology.h"

/* --- leaves ----------------------------------------------------------------------------------------------------- */

enum cpuid_register { CPUID_EAX, CPUID_EBX, CPUID_ECX, CPUID_EDX };

struct cpuid_leaf {
    uint32_t function, index;       /* EAX and, if 'indexed', ECX of the instruction */
    bool indexed;
    uint32_t reg[4];                /* by enum cpuid_register */
};

/* Of an array of struct cpuid_leaf: the leaf, or NULL; one of its registers, 0 without the leaf. */
struct cpuid_leaf *cpuid_find(const GArray *leaves, uint32_t function, uint32_t index);
uint32_t cpuid_get(const GArray *leaves, uint32_t function, uint32_t index, enum cpuid_register reg);
/* The leaf, made with zeros if it is not there; valid until the next is made. */
struct cpuid_leaf *cpuid_make(GArray *leaves, uint32_t function, uint32_t index);

enum cpu_vendor { CPU_INTEL, CPU_AMD, CPU_OTHER };      /* AMD: also Hygon, which has the same leaves */
enum cpu_vendor cpuid_vendor(const GArray *leaves);

/* --- features --------------------------------------------------------------------------------------------------- */

enum { CPU_FEATURES_MAX = 192, CPU_FEATURE_WORDS = WORDS_FOR(CPU_FEATURES_MAX) };

struct cpu_feature {
    const char *name, *alias;       /* alias: another name that is understood, or NULL */
    uint32_t function;              /* the leaf it is in, its index and register, and its bits there */
    uint8_t index, reg;
    uint32_t mask;
    unsigned flags;
    uint32_t xsave;                 /* parts of the extended state that it brings along, as in XCR0 */
    const char *needs;              /* the feature without which it does not work, which stands before it; or NULL */
    const char *refused;            /* why a user cannot have it or go without it; NULL: can */
};
enum {
    CPU_F_BASE = 1 << 0,            /* of the model "base" */
    CPU_F_BY_NAME = 1 << 1,         /* not of "host" either: a guest has it only if it was asked for */
    CPU_F_TOPOLOGY = 1 << 2,        /* follows from `smp` */
};
/* By number; 'cpu_feature_count' of them, in the order in which they are listed. */
extern const struct cpu_feature cpu_features[];
extern const unsigned cpu_feature_count;
/* The number of a name or alias ('.', '_' and '-' are equal), or -1. */
int cpu_feature_find(const char *name);
/* Where it lies: "1.ecx.28", "7.0.ebx.5", "0x80000001.edx.29".  Caller frees. */
char *cpu_feature_place(const struct cpu_feature *f);

/* --- what was asked for ----------------------------------------------------------------------------------------- */

enum cpu_model { CPU_MODEL_BASE, CPU_MODEL_HOST };
extern const char *const cpu_model_names[];         /* NULL-terminated */

struct cpu_options {
    enum cpu_model model;
    uint64_t on[CPU_FEATURE_WORDS], off[CPU_FEATURE_WORDS];     /* by number: "+name", "-name" */
};

/* "base,+avx,-sse4.2", also QEMU's "base,avx=on"; what comes later counts.  Error: ARGUMENT, '*ret' unchanged. */
bool cpu_options_parse(const char *text, struct cpu_options *ret, GError **error);
bool cpu_options_equal(const struct cpu_options *a, const struct cpu_options *b);
/* As it is parsed, features in the order of their numbers.  Caller frees. */
char *cpu_options_spell(const struct cpu_options *o);

/* --- what the guest gets ---------------------------------------------------------------------------------------- */

/* A host: what its leaves say that guests can have, and what it cannot run all the same. */
struct cpu_host {
    const GArray *leaves;           /* struct cpuid_leaf */
    /* Why a feature that the leaves have does not work (static text), or NULL.  Asked only for features that the
     * guest would have, those that others need first; 'refuses' NULL: all work. */
    const char *(*refuses)(void *self, unsigned feature);
    void *self;
};

enum cpu_feature_state { CPU_FEATURE_OFF, CPU_FEATURE_ON, CPU_FEATURE_LEFT_OUT };
/* How a feature came to its state. */
enum cpu_feature_why {
    CPU_WHY_MODEL,                  /* on: of the model; off: not of it */
    CPU_WHY_ASKED,                  /* on: the user wants it */
    CPU_WHY_NEEDED,                 /* on: another one that the user wants needs it */
    CPU_WHY_REMOVED,                /* off: the user does not want it */
    CPU_WHY_LACKING,                /* left out: the host's leaves do not have it; off: "host" has what there is */
    CPU_WHY_REFUSED,                /* left out: tried, and does not work; 'text' says how */
    CPU_WHY_DEPENDS,                /* left out: what it needs is not on */
    CPU_WHY_FORCED,                 /* on: the host shows it whatever was asked for */
    CPU_WHY_TOPOLOGY,               /* on, off: it follows from `smp` */
};
struct cpu_feature_status {
    enum cpu_feature_state state;
    enum cpu_feature_why why;
    bool asked;                     /* by the user, with "+" */
    unsigned other;                 /* of NEEDED and DEPENDS: the other feature */
    const char *text;               /* of REFUSED; static */
};

struct cpu_resolved {
    struct cpu_options options;
    enum cpu_vendor vendor;
    struct cpu_feature_status status[CPU_FEATURES_MAX];
    uint64_t xcr0;                  /* what the guest may set of it */
};
void cpu_resolve(const struct cpu_options *o, const struct cpu_host *host, struct cpu_resolved *ret);
/* "KVM here lacks it", with 'host' for "KVM here"; caller frees. */
char *cpu_status_text(const struct cpu_resolved *r, unsigned feature, const char *host);
/* What a user who asked for more should know: "the guest's CPUs go without cx16 (KVM here ...), ..."; NULL if there
 * is nothing.  Caller frees. */
char *cpu_warning(const struct cpu_resolved *r, const char *host);

/* --- the guest's leaves ----------------------------------------------------------------------------------------- */

struct cpu_leaves_input {
    const struct cpu_resolved *cpu;
    const GArray *host;             /* leaves of the host, for its name and the sizes of extended state */
    const struct topology_final *topology;      /* NULL: one CPU */
    unsigned apic_id;               /* smp_apic_id of its slot */
    unsigned physical_bits;         /* of guest physical addresses */
    uint64_t tsc_khz;               /* 0: not known */
};
/* All leaves of one CPU, by rising function and index; to be unreferenced. */
GArray *cpu_leaves(const struct cpu_leaves_input *in);
/* Of these the ones that follow from the topology alone, added to 'leaves', of which leaf 1 may be there. */
void cpu_topology_leaves(GArray *leaves, const struct topology_final *t, unsigned apic_id, enum cpu_vendor vendor);
/* How many low bits of the APIC id tell apart CPUs that share the last cache: a die, or less where a die's CPUs are
 * in several nodes. */
unsigned cpu_shared_bits(const struct topology_final *t);

/* Appends the names of the features that leaves show, each followed by a blank; "7.0.ebx.12" where a bit has none.
 * Without those that follow from the topology, and those that the guest itself switches on and off. */
void cpu_features_seen(const GArray *leaves, GString *out);
/* The leaves that a host really shows may have more than was asked for, or less: notes that in 'r'. */
void cpu_note_seen(struct cpu_resolved *r, const GArray *seen);

#endif
