/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What must agree on both sides of a migration.
 *
 * The description that travels in configuration/numon-machine is lines "name: value"; the destination compares them
 * line by line with its own and names every difference.  Host matters (backend kind, policy, preallocation, sharing)
 * are not in it. */
#include "machine-private.h"

#include <string.h>

static void
describe_memory(const struct parts *p, GString *out)
{
    for (unsigned i = 0; i < p->map->blocks->len; i++) {
        const struct block *b = g_ptr_array_index(p->map->blocks, i);

        g_string_append_printf(out, "RAM block '%s': %" G_GUINT64_FORMAT " bytes\n", b->name, b->size);
    }
    for (unsigned i = 0; i < p->map->sections->len; i++) {
        const struct section *s = &g_array_index(p->map->sections, struct section, i);

        g_string_append_printf(out, "RAM at 0x%" G_GINT64_MODIFIER "x: %" G_GUINT64_FORMAT " bytes of '%s' from %"
                               G_GUINT64_FORMAT "\n", s->gpa, s->size, s->block->name, s->offset);
    }
}

/* Backends' names apart, what the guest can see of them. */
static void
describe_devices(const struct definition *d, GString *out)
{
    g_autofree struct device_place *places = definition_device_places(d);

    for (guint i = 0; places && i < d->devices->len; i++) {
        const struct memory_device *device = places[i].device;

        g_string_append_printf(out, "memory device '%s': %s of %" G_GUINT64_FORMAT " bytes at "
                               "0x%" G_GINT64_MODIFIER "x, node %u, slot %d, block size %" G_GUINT64_FORMAT,
                               memory_device_label(device), memory_device_names[device->kind], places[i].size,
                               places[i].addr, device->node, places[i].slot, device->block_size);
        memory_device_describe(device, out);
        g_string_append_c(out, '\n');
    }
}

static void
describe_nodes(const struct topology_final *t, GString *out)
{
    g_string_append_printf(out, "NUMA nodes: %u\n", t->node_count);
    for (unsigned n = 0; n < t->node_count; n++) {
        uint64_t cpus[WORDS_FOR(TOPOLOGY_CPUS)] = { 0 };
        g_autofree char *list = NULL;

        for (unsigned slot = 0; slot < t->smp.maxcpus; slot++)
            if (t->cpu_node[slot] == n)
                bit_set(cpus, slot);
        list = list_format(cpus, TOPOLOGY_CPUS);
        g_string_append_printf(out, "node %u: %" G_GUINT64_FORMAT " bytes, CPU slots %s\n", n, t->node_size[n],
                               *list ? list : "none");
    }
    for (unsigned src = 0; t->has_distances && src < t->node_count; src++) {
        g_string_append_printf(out, "distances from node %u:", src);
        for (unsigned dst = 0; dst < t->node_count; dst++)
            g_string_append_printf(out, " %u", t->distance[src][dst]);
        g_string_append_c(out, '\n');
    }
}

/* One line an initiator: its values to all targets; then the caches. */
static void
describe_hmat(const struct definition *d, GString *out)
{
    const struct topology *t = &d->topology;
    uint32_t open = UINT32_MAX;

    g_string_append_printf(out, "HMAT: %s", t->options.hmat ? "on" : "off");
    for (guint i = 0; i < d->hmat.lb->len; i++) {
        const struct hmat_lb *e = hmat_lb_at(&d->hmat, i);
        uint32_t row = (uint32_t)e->hierarchy << 16 | (uint32_t)e->type << 8 | e->initiator;

        if (row != open)
            g_string_append_printf(out, "\nHMAT %s %s from node %u:", hmat_hierarchy_names[e->hierarchy],
                                   hmat_type_names[e->type], e->initiator);
        open = row;
        g_string_append_printf(out, " %" G_GUINT64_FORMAT " to %u", e->value, e->target);
    }
    g_string_append_c(out, '\n');
    for (guint i = 0; i < d->hmat.cache->len; i++) {
        const struct hmat_cache *c = hmat_cache_at(&d->hmat, i);

        g_string_append_printf(out, "HMAT cache %u of node %u: %" G_GUINT64_FORMAT " bytes, %s, %s, line %u\n",
                               c->level, c->node, c->size, hmat_associativity_names[c->associativity],
                               hmat_policy_names[c->policy], c->line);
    }
    for (unsigned n = 0; n < TOPOLOGY_NODES; n++)
        if (t->nodes[n].present && t->nodes[n].has_initiator)
            g_string_append_printf(out, "initiator of node %u: %u\n", n, t->nodes[n].initiator);
}

/* Nothing where there is but the first, as before there could be others. */
static void
describe_serials(const struct parts *p, GString *out)
{
    const char *comma = "more serial ports: ";

    for (unsigned i = 1; i < SERIAL_PORTS; i++) {
        if (!p->uarts[i])
            continue;
        g_string_append_printf(out, "%s%u", comma, i);
        comma = ",";
    }
    if (*comma == ',')
        g_string_append_c(out, '\n');
}

char *
machine_describe(void *self)
{
    const struct machine *m = self;
    const struct parts *p = m->parts;
    const struct smp *smp = &p->topology.smp;
    g_autofree char *cpus = list_format(p->topology.present, TOPOLOGY_CPUS);
    GString *out = g_string_new(NULL);

    g_string_append_printf(out, "accelerator: %s\n", p->class->name);
    g_string_append_printf(out, "CPUs: %s\n", cpus);
    g_string_append_printf(out, "CPU slots: %u (sockets %u, dies %u, modules %u, cores %u, threads %u)\n",
                           smp->maxcpus, smp->levels[SMP_SOCKETS], smp->levels[SMP_DIES],
                           smp->levels[SMP_MODULES], smp->levels[SMP_CORES], smp->levels[SMP_THREADS]);
    describe_memory(p, out);
    g_string_append_printf(out, "memory device addresses: %" G_GUINT64_FORMAT " bytes from "
                           "0x%" G_GINT64_MODIFIER "x\n",
                           p->map->device_size, p->map->device_base);
    describe_devices(m->definition, out);
    describe_nodes(&p->topology, out);
    if (m->definition->topology.options.hmat)
        describe_hmat(m->definition, out);
    g_string_append(out, "devices: uart rtc power\n");
    describe_serials(p, out);
    if (p->class->describe)
        p->class->describe(p->accel, out);
    return g_string_free(out, FALSE);
}

/* The line's name: up to ':' or '='. */
static size_t
name_length(const char *line)
{
    return strcspn(line, ":=");
}

/* The line of 'lines' with the same name, or NULL. */
static const char *
find_line(char *const *lines, const char *wanted)
{
    size_t length = name_length(wanted);

    for (; *lines; lines++)
        if (name_length(*lines) == length && memcmp(*lines, wanted, length) == 0)
            return *lines;
    return NULL;
}

static const char *
line_value(const char *line)
{
    const char *value = line + name_length(line);

    return *value ? value + 1 + strspn(value + 1, " ") : value;
}

/* Why 'theirs', which is not 'ours', keeps the guest from coming; NULL if it does not.  Caller frees. */
static char *
difference(const struct parts *p, const char *theirs, const char *ours)
{
    g_autofree char *name = g_strndup(ours, name_length(ours));

    if (p->class->differs && g_str_has_prefix(name, p->class->name))
        return p->class->differs(p->accel, name, line_value(theirs), line_value(ours));
    return g_strdup_printf("source %s, here %s", line_value(theirs), line_value(ours));
}

/* Appends "NAME: source A, here B" for each line of 'ours' that is not in 'theirs', and the reverse. */
static void
list_differences(const struct parts *p, char *const *ours, char *const *theirs, GString *out)
{
    for (char *const *l = ours; *l; l++) {
        const char *t = **l ? find_line(theirs, *l) : *l;
        g_autofree char *what = !t ? g_strdup_printf("source has none, here %s", line_value(*l))
                              : strcmp(t, *l) == 0 ? NULL : difference(p, t, *l);

        if (what)
            g_string_append_printf(out, "%s%.*s: %s", out->len ? "; " : "", (int)name_length(*l), *l, what);
    }
    for (char *const *t = theirs; *t; t++)
        if (**t && !find_line(ours, *t))
            g_string_append_printf(out, "%s%.*s: source %s, here none", out->len ? "; " : "", (int)name_length(*t),
                                   *t, line_value(*t));
}

/* Appends "; CPU 3 is missing here: device_add cpu,..." for each CPU that only the source has, if its slot is here
 * too, and "; CPU 3 is not at the source". */
static void
explain_cpus(const struct topology_final *t, char *const *theirs, GString *out)
{
    uint64_t there[WORDS_FOR(TOPOLOGY_CPUS)] = { 0 };
    const char *line = find_line(theirs, "CPUs");

    if (!line || !list_parse(line_value(line), TOPOLOGY_CPUS, there, NULL))
        return;
    for (unsigned slot = 0; slot < t->smp.maxcpus; slot++) {
        bool here = topology_has_cpu(t, slot);

        if (bit_test(there, slot) == here)
            continue;
        g_string_append_printf(out, "; CPU %u is %s", slot,
                               here ? "not at the source" : "missing here: device_add cpu,");
        if (!here)
            smp_spell_place(&t->smp, slot, out);
    }
}

bool
machine_agree(void *self, const char *theirs, GError **error)
{
    const struct machine *m = self;
    g_auto(GStrv) our_lines = g_strsplit(m->described, "\n", -1);
    g_auto(GStrv) their_lines = g_strsplit(theirs, "\n", -1);
    g_autoptr(GString) differences = g_string_new(NULL);

    list_differences(m->parts, our_lines, their_lines, differences);
    if (differences->len == 0)
        return true;
    explain_cpus(&m->parts->topology, their_lines, differences);
    return fail(error, NUMON_ERROR_PEER, "the machines differ: %s", differences->str);
}
