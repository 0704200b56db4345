/* SPDX-License-Identifier: GPL-3.0-or-later */
/* CPU levels.  A slot's number counts threads within cores within modules within dies within sockets, so its place is
 * the number written in a mixed base; the APIC id is the same place with each level in whole bits. */
#include "topology.h"

#include "topology-private.h"

/* A level is a 16-bit number; the product is formed so that it cannot pass 64 bits. */
#define LEVEL(name_, help_) { name_, PROPERTY_UINT, .max = UINT16_MAX, .help = help_ }

const struct property smp_properties[] = {
    [SMP_P_CPUS] = { "cpus", PROPERTY_UINT, .max = UINT16_MAX, .help = "CPUs the guest starts with" },
    [SMP_P_SOCKETS] = LEVEL("sockets", "sockets of the machine"),
    [SMP_P_DIES] = LEVEL("dies", "dies of a socket"),
    [SMP_P_MODULES] = LEVEL("modules", "modules of a die"),
    [SMP_P_CORES] = LEVEL("cores", "cores of a module"),
    [SMP_P_THREADS] = LEVEL("threads", "threads of a core"),
    [SMP_P_MAXCPUS] = { "maxcpus", PROPERTY_UINT, .max = UINT16_MAX, .help = "CPUs the machine has room for" },
    [SMP_P_DRAWERS] = LEVEL("drawers", "a level of other machines; only 1 here"),
    [SMP_P_BOOKS] = LEVEL("books", "a level of other machines; only 1 here"),
    [SMP_P_CLUSTERS] = LEVEL("clusters", "a level of other machines; only 1 here"),
    { 0 }
};

const char *const smp_level_names[SMP_LEVELS] = { "sockets", "dies", "modules", "cores", "threads" };

bool
smp_has_level(const struct smp *s, enum smp_level level)
{
    return (level != SMP_DIES && level != SMP_MODULES) || s->levels[level] > 1;
}

static uint64_t
product(const struct smp *s)
{
    uint64_t n = 1;

    /* Whatever is above 2^32 is as wrong as any. */
    for (unsigned i = 0; i < SMP_LEVELS; i++)
        n = MIN(n, UINT32_MAX + UINT64_C(1)) * s->levels[i];
    return n;
}

/* "sockets (2) * dies (1) * cores (2) * threads (1)", as QEMU 7.2 has it; modules, which it has not, if there are. */
static char *
spell_levels(const struct smp *s)
{
    GString *text = g_string_new(NULL);

    for (unsigned i = 0; i < SMP_LEVELS; i++) {
        if (i != SMP_MODULES || s->levels[i] > 1)
            g_string_append_printf(text, "%s%s (%u)", i ? " * " : "", smp_level_names[i], s->levels[i]);
    }
    return g_string_free(text, FALSE);
}

/* What is left of 'total' for the one level that is 0. */
static unsigned
remainder_of(const struct smp *s, unsigned total)
{
    uint64_t others = 1;

    for (unsigned i = 0; i < SMP_LEVELS; i++)
        others = MIN(others, UINT32_MAX + UINT64_C(1)) * (s->levels[i] ? s->levels[i] : 1);
    return (unsigned)(total / others);
}

/* QEMU 7.2's order of preference: cores, then sockets, then threads take what is left; dies and modules are 1 unless
 * given. */
static void
fill_levels(struct smp *s)
{
    unsigned total = s->maxcpus ? s->maxcpus : s->cpus;
    unsigned *levels = s->levels;
    unsigned taker = !levels[SMP_CORES] ? SMP_CORES : !levels[SMP_SOCKETS] ? SMP_SOCKETS : SMP_THREADS;
    bool take = total && !levels[taker];

    for (unsigned i = 0; i < SMP_LEVELS; i++) {
        if (!levels[i] && !(take && i == taker))
            levels[i] = 1;
    }
    if (take)
        levels[taker] = remainder_of(s, total);
    if (!s->maxcpus)
        s->maxcpus = total ? total : (unsigned)MIN(product(s), UINT32_MAX);
    if (!s->cpus)
        s->cpus = s->maxcpus;
}

bool
smp_derive(const struct smp *entered, struct smp *ret, GError **error)
{
    struct smp s = *entered;

    fill_levels(&s);
    g_autofree char *levels = spell_levels(&s);
    if (product(&s) != s.maxcpus)
        return fail(error, NUMON_ERROR_ARGUMENT,
                    "Invalid CPU topology: product of the hierarchy must match maxcpus: %s != maxcpus (%u)",
                    levels, s.maxcpus);
    if (s.maxcpus < s.cpus)
        return fail(error, NUMON_ERROR_ARGUMENT,
                    "Invalid CPU topology: maxcpus must be equal to or greater than smp: "
                    "%s == maxcpus (%u) < smp_cpus (%u)", levels, s.maxcpus, s.cpus);
    if (s.maxcpus > TOPOLOGY_CPUS)
        return fail(error, NUMON_ERROR_LIMIT, "Invalid SMP CPUs %u. The max CPUs supported by this machine is %d",
                    s.maxcpus, TOPOLOGY_CPUS);
    *ret = s;
    return true;
}

struct smp
topology_smp(const struct topology *t)
{
    struct smp s;
    bool derived = smp_derive(&t->smp, &s, NULL);

    g_assert(derived);
    return s;
}

struct cpu_place
smp_place(const struct smp *s, unsigned slot)
{
    struct cpu_place place;
    unsigned rest = slot;

    place.thread = rest % s->levels[SMP_THREADS];
    rest /= s->levels[SMP_THREADS];
    place.core = rest % s->levels[SMP_CORES];
    rest /= s->levels[SMP_CORES];
    place.module = rest % s->levels[SMP_MODULES];
    rest /= s->levels[SMP_MODULES];
    place.die = rest % s->levels[SMP_DIES];
    place.socket = rest / s->levels[SMP_DIES];
    return place;
}

/* How many bits tell 'count' things apart. */
static unsigned
bits_for(unsigned count)
{
    return count > 1 ? 32 - (unsigned)__builtin_clz(count - 1) : 0;
}

unsigned
smp_apic_shift(const struct smp *s, enum smp_level level)
{
    unsigned bits = 0;

    for (unsigned i = level + 1; i < SMP_LEVELS; i++)
        bits += bits_for(s->levels[i]);
    return bits;
}

unsigned
smp_apic_id(const struct smp *s, unsigned slot)
{
    struct cpu_place place = smp_place(s, slot);

    return place.socket << smp_apic_shift(s, SMP_SOCKETS) | place.die << smp_apic_shift(s, SMP_DIES) |
           place.module << smp_apic_shift(s, SMP_MODULES) | place.core << smp_apic_shift(s, SMP_CORES) | place.thread;
}

/* CPUs of another smp line would leave explicit mappings of CPUs that are no more. */
static bool
mappings_fit(const struct topology *t, unsigned maxcpus, GError **error)
{
    for (unsigned cpu = maxcpus; cpu < TOPOLOGY_CPUS; cpu++) {
        if (t->cpu_node[cpu] >= 0)
            return fail(error, NUMON_ERROR_STATE,
                        "CPU index (%u) should be smaller than maxcpus (%u): it is mapped to NUMA node %d, "
                        "take that back first", cpu, maxcpus, t->cpu_node[cpu]);
    }
    return true;
}

bool
topology_set_smp(struct topology *t, const struct values *v, GError **error)
{
    struct smp entered = {
        .cpus = (unsigned)v->at[SMP_P_CPUS].number,
        .maxcpus = (unsigned)v->at[SMP_P_MAXCPUS].number,
    };
    struct smp derived;

    for (unsigned i = 0; i < SMP_P_COUNT; i++) {
        if (v->at[i].set && v->at[i].number == 0)
            return fail(error, NUMON_ERROR_ARGUMENT,
                        "Invalid CPU topology: CPU topology parameters must be greater than zero: %s=0",
                        smp_properties[i].name);
        if (i > SMP_P_MAXCPUS && v->at[i].set && v->at[i].number > 1)
            return fail(error, NUMON_ERROR_ARGUMENT, "%s > 1 not supported by this machine's CPU topology: %s=%u",
                        smp_properties[i].name, smp_properties[i].name, (unsigned)v->at[i].number);
    }
    for (unsigned i = 0; i < SMP_LEVELS; i++)
        entered.levels[i] = (unsigned)v->at[SMP_P_SOCKETS + i].number;
    if (!smp_derive(&entered, &derived, error) || !mappings_fit(t, derived.maxcpus, error))
        return false;
    t->smp = entered;
    return true;
}
