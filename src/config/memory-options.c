/* SPDX-License-Identifier: GPL-3.0-or-later */
/* `memory SIZE[,slots=N][,maxmem=SIZE]` and its rules, QEMU's -m. */
#include "config.h"

#include <inttypes.h>

#include "config-private.h"

enum { SLOTS_MAX = 256 };       /* ACPI's count of memory devices is a byte */

const struct property memory_properties[] = {
    [MEMORY_P_SIZE] = { "size", PROPERTY_SIZE, .max = RAM_MAX, .unit_size = MIB, .unit = "bytes", .required = true,
                        .help = "RAM the guest starts with" },
    [MEMORY_P_SLOTS] = { "slots", PROPERTY_UINT, .max = UINT32_MAX, .help = "memory devices that may be added" },
    [MEMORY_P_MAXMEM] = { "maxmem", PROPERTY_SIZE, .max = RAM_MAX, .unit_size = MIB, .unit = "bytes",
                          .help = "RAM and memory devices together at most" },
    { 0 }
};

static bool
sizes_are_right(const struct memory_options *m, bool has_maxmem, GError **error)
{
    if (m->size == 0)
        return fail(error, NUMON_ERROR_ARGUMENT, "memory size must be greater than zero");
    if (m->size % PAGE_SIZE)
        return fail(error, NUMON_ERROR_ARGUMENT, "memory size (%" PRIu64 " bytes) must be aligned to multiple of %d "
                    "bytes", m->size, PAGE_SIZE);
    if (has_maxmem && m->maxmem % PAGE_SIZE)
        return fail(error, NUMON_ERROR_ARGUMENT, "maximum memory size (%" PRIu64 " bytes) must be aligned to "
                    "multiple of %d bytes", m->maxmem, PAGE_SIZE);
    if (has_maxmem && m->maxmem < m->size)
        return fail(error, NUMON_ERROR_ARGUMENT, "invalid value of maxmem: maximum memory size (0x%" PRIx64 ") must "
                    "be at least the initial memory size (0x%" PRIx64 ")", m->maxmem, m->size);
    return true;
}

static bool
slots_are_right(const struct memory_options *m, bool has_maxmem, GError **error)
{
    if (m->slots && !has_maxmem)
        return fail(error, NUMON_ERROR_ARGUMENT, "slots specified but no max-size: give maxmem=SIZE too");
    if (m->slots && m->maxmem == m->size)
        return fail(error, NUMON_ERROR_ARGUMENT, "invalid value of maxmem: memory slots were specified but maximum "
                    "memory size (0x%" PRIx64 ") is equal to the initial memory size (0x%" PRIx64 ")", m->maxmem,
                    m->size);
    if (m->slots > SLOTS_MAX)
        return fail(error, NUMON_ERROR_LIMIT, "unsupported amount of memory slots: %u, at most %d", m->slots,
                    SLOTS_MAX);
    return true;
}

bool
definition_set_memory(struct definition *d, const struct values *v, GError **error)
{
    bool has_maxmem = v->at[MEMORY_P_MAXMEM].set;
    struct memory_options m = {
        .entered = true,
        .size = v->at[MEMORY_P_SIZE].number,
        .maxmem = v->at[MEMORY_P_MAXMEM].number,
        .slots = (unsigned)v->at[MEMORY_P_SLOTS].number,
    };

    if (!sizes_are_right(&m, has_maxmem, error) || !slots_are_right(&m, has_maxmem, error))
        return false;
    d->memory = m;
    return true;
}

void
memory_save(const struct memory_options *m, GString *out)
{
    g_autofree char *size = size_spell(m->size), *maxmem = size_spell(m->maxmem);

    g_string_append_printf(out, "memory %s", size);
    if (m->slots)
        g_string_append_printf(out, ",slots=%u", m->slots);
    if (m->maxmem)
        g_string_append_printf(out, ",maxmem=%s", maxmem);
}

/* What the nodes' backends hold together. */
static uint64_t
backends_of_nodes(const struct definition *d)
{
    const struct topology *t = &d->topology;

    for (unsigned i = 0; i < t->node_count; i++) {
        if (t->nodes[t->node_order[i]].memdev[0])
            return topology_memory(t, definition_backends(d));
    }
    return 0;
}

uint64_t
definition_ram(const struct definition *d)
{
    uint64_t backends = d->memory.entered ? 0 : backends_of_nodes(d);

    if (d->memory.entered)
        return d->memory.size;
    return backends ? backends : RAM_DEFAULT;
}
