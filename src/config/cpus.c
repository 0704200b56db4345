/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Which CPU slots have a CPU: the first ones from the start, others because `device_add` plugged one in. */
#include "config.h"

#include <string.h>

#include "config-private.h"

static const struct cpu_device *
device_at(const struct definition *d, guint i)
{
    return &g_array_index(d->cpus, struct cpu_device, i);
}

static struct smp
derived_smp(const struct definition *d)
{
    struct smp smp;
    bool derived = smp_derive(&d->topology.smp, &smp, NULL);

    g_assert(derived);
    return smp;
}

void
definition_cpus(const struct definition *d, uint64_t *ret_slots)
{
    memset(ret_slots, 0, WORDS_FOR(TOPOLOGY_CPUS) * sizeof *ret_slots);
    bits_set(ret_slots, 0, derived_smp(d).cpus);
    for (guint i = 0; i < d->cpus->len; i++)
        bit_set(ret_slots, device_at(d, i)->slot);
}

static char *
device_path(const struct cpu_device *c)
{
    return *c->id ? g_strconcat("/machine/peripheral/", c->id, NULL)
                  : g_strdup_printf("/machine/peripheral-anon/device[%u]", c->slot);
}

const struct cpu_device *
definition_cpu_device(const struct definition *d, const char *name)
{
    for (guint i = 0; i < d->cpus->len; i++) {
        const struct cpu_device *c = device_at(d, i);
        g_autofree char *path = device_path(c);

        if (strcmp(path, name) == 0 || (*c->id && strcmp(c->id, name) == 0))
            return c;
    }
    return NULL;
}

static const struct cpu_device *
device_in_slot(const struct definition *d, unsigned slot)
{
    for (guint i = 0; i < d->cpus->len; i++) {
        if (device_at(d, i)->slot == slot)
            return device_at(d, i);
    }
    return NULL;
}

char *
definition_cpu_path(const struct definition *d, unsigned slot)
{
    const struct cpu_device *c = device_in_slot(d, slot);

    if (c)
        return device_path(c);
    return slot < derived_smp(d).cpus ? g_strdup_printf("/machine/cpu[%u]", slot) : NULL;
}

bool
definition_add_cpu(struct definition *d, const struct values *v, GError **error)
{
    g_autofree struct topology *t = g_new(struct topology, 1);
    const char *id = v->at[PLUG_P_ID].set ? v->at[PLUG_P_ID].word : "";
    uint64_t taken[WORDS_FOR(TOPOLOGY_CPUS)];
    struct cpu_device device = { 0 };

    definition_topology(d, t);
    definition_cpus(d, taken);
    if (!topology_find_slot(t, taken, v, &device.slot, error))
        return false;
    if (*id && (definition_device(d, id) || definition_cpu_device(d, id)))
        return fail(error, NUMON_ERROR_STATE, "Duplicate ID '%s' for device", id);
    g_strlcpy(device.id, id, sizeof device.id);
    g_array_append_val(d->cpus, device);
    return true;
}

bool
definition_delete_cpu(struct definition *d, const char *name, GError **error)
{
    const struct cpu_device *c = definition_cpu_device(d, name);
    unsigned cpus = derived_smp(d).cpus;

    for (unsigned slot = 0; slot < cpus; slot++) {
        g_autofree char *path = definition_cpu_path(d, slot);

        if (strcmp(path, name) == 0)
            return slot == 0 ? fail(error, NUMON_ERROR_STATE, "Boot CPU is unpluggable")
                             : fail(error, NUMON_ERROR_STATE,
                                    "cannot delete CPU %u: it is one of the %u that are there from the start (`smp` "
                                    "says how many)", slot, cpus);
    }
    if (!c)
        return fail(error, NUMON_ERROR_ARGUMENT, "Device '%s' not found", name);
    g_array_remove_index(d->cpus, (guint)(c - device_at(d, 0)));
    return true;
}

static bool
same_place(const struct smp *a, const struct smp *b, unsigned slot)
{
    struct cpu_place x = smp_place(a, slot), y = smp_place(b, slot);

    return x.socket == y.socket && x.die == y.die && x.module == y.module && x.core == y.core && x.thread == y.thread;
}

/* With other levels or numbers of CPUs, those plugged in stay where they are or the change is refused. */
bool
cpus_fit(const struct definition *before, const struct definition *after, GError **error)
{
    struct smp old = derived_smp(before), new = derived_smp(after);

    for (guint i = 0; i < before->cpus->len; i++) {
        const struct cpu_device *c = device_at(before, i);
        g_autofree char *path = device_path(c);

        if (c->slot >= new.cpus && c->slot < new.maxcpus && same_place(&old, &new, c->slot))
            continue;
        return fail(error, NUMON_ERROR_STATE, "cannot change the CPUs: '%s' was plugged into slot %u, which would be "
                    "%s (`device_del %s` first)", path, c->slot, c->slot >= new.maxcpus ? "no more"
                    : c->slot < new.cpus ? "that of a CPU from the start" : "at another place",
                    *c->id ? c->id : path);
    }
    return true;
}

void
cpus_save(const struct definition *d, GString *out)
{
    struct smp smp = derived_smp(d);

    for (guint i = 0; i < d->cpus->len; i++) {
        const struct cpu_device *c = device_at(d, i);

        g_string_append(out, "device_add cpu,");
        if (*c->id)
            g_string_append_printf(out, "id=%s,", c->id);
        smp_spell_place(&smp, c->slot, out);
        g_string_append_c(out, '\n');
    }
}

bool
cpus_equal(const GArray *a, const GArray *b)
{
    for (guint i = 0; a->len == b->len && i < a->len; i++) {
        const struct cpu_device *x = &g_array_index(a, struct cpu_device, i);
        const struct cpu_device *y = &g_array_index(b, struct cpu_device, i);

        if (x->slot != y->slot || strcmp(x->id, y->id) != 0)
            return false;
    }
    return a->len == b->len;
}
