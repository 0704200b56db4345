/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The slots that guests see which interpret ACPI tables: what is in them follows the definition, such a guest is told
 * of what comes, and asked before something goes.  What it lets go of is taken out on main, at once or, where a
 * migration or a measurement must find it, when that has ended: until then the guest sees an empty slot already.
 *
 * A guest that does not interpret tables, such as the workload guest, never says that it listens: nobody is asked. */
#include "machine-private.h"

#include <string.h>

#include "platform.h"

/* --- what is in them -------------------------------------------------------------------------------------------- */

static void
fill_memory(struct parts *p, const struct definition *d)
{
    g_autofree struct device_place *places = definition_device_places(d);
    struct slot_content content[PLATFORM_MEMORY_SLOTS] = { 0 };

    for (guint i = 0; places && i < d->devices->len; i++) {
        const struct device_place *at = &places[i];

        /* Memory of other kinds is for drivers of its own, not for whoever looks for memory. */
        if (at->device->kind == DEVICE_DIMM)
            content[at->slot] = (struct slot_content) {
                .there = true, .base = at->addr, .size = at->size,
                .node = p->topology.node_count ? at->device->node : 0,
            };
    }
    for (unsigned slot = 0; slot < PLATFORM_MEMORY_SLOTS; slot++)
        bays_set(p->memory_slots, slot, &content[slot]);
}

static void
fill_cpus(struct parts *p)
{
    for (unsigned slot = 0; slot < p->cpu_slots; slot++)
        bays_set(p->cpus_seen, slot, &(struct slot_content) {
            .there = topology_has_cpu(&p->topology, slot), .id = p->apic_ids[slot],
            .node = p->topology.node_count ? p->topology.cpu_node[slot] : 0,
        });
}

void
machine_fill_slots(struct parts *p, const struct definition *d)
{
    fill_memory(p, d);
    fill_cpus(p);
}

/* --- memory that goes ------------------------------------------------------------------------------------------- */

/* The place of a device, or NULL if it is not of those that lie in slots. */
static const struct device_place *
find_place(const struct device_place *places, const struct definition *d, const struct memory_device *device)
{
    unsigned i = (unsigned)(device - (const struct memory_device *)d->devices->data);

    return device->kind == DEVICE_DIMM ? &places[i] : NULL;
}

/* The device in a slot, which may be an automatic one; NULL if there is none. */
static const struct memory_device *
device_in(struct machine *m, unsigned slot)
{
    g_autofree struct device_place *places = definition_device_places(m->definition);

    for (guint i = 0; places && i < m->definition->devices->len; i++)
        if (places[i].device->kind == DEVICE_DIMM && places[i].slot == (int)slot)
            return places[i].device;
    return NULL;
}

bool
machine_ask_for_device(struct machine *m, const struct memory_device *device, bool *ret_asked, GError **error)
{
    const char *label = memory_device_label(device);
    g_autofree char *text = g_strdup_printf("memory device '%s': the guest was asked to let go of it", label);
    g_autofree struct device_place *places = definition_device_places(m->definition);
    const struct device_place *at = find_place(places, m->definition, device);

    *ret_asked = at && bays_listen(m->parts->memory_slots);
    if (!*ret_asked)
        return true;
    if (!bays_want(m->parts->memory_slots, (unsigned)at->slot))
        return fail(error, NUMON_ERROR_STATE, "cannot delete the device: the guest was asked already to let go of "
                    "memory device '%s'", label);
    machine_tell(m, text);
    return true;
}

void
machine_device_came(struct machine *m, const struct device_place *at)
{
    if (at->device->kind == DEVICE_DIMM)
        bays_inserted(m->parts->memory_slots, (unsigned)at->slot);
}

static void
take_out(struct machine *m, unsigned slot)
{
    g_autofree char *name = g_strdup(memory_device_label(device_in(m, slot)));
    g_autofree char *text = g_strdup_printf("memory device '%s' deleted: the guest let go of it", name);
    g_autoptr(GError) error = NULL;

    if (machine_take_device(m, name, NULL, &error)) {
        machine_tell(m, text);
        return;
    }
    bays_keep(m->parts->memory_slots, slot);
    machine_tell(m, error->message);
}

/* --- what the guest refuses ------------------------------------------------------------------------------------- */

/* ACPI 6.4, tables 6-60 and 6-61. */
static const char *
refusal_text(bool came, uint32_t code)
{
    static const char *const going[] = {
        [0x80] = "it does not support that", [0x81] = "a program uses it", [0x82] = "it is busy",
        [0x83] = "something that depends on it is busy",
    };
    static const char *const coming[] = { [0x81] = "its driver failed", [0x82] = "it does not support that" };

    if (code <= 2)
        return code == 1 ? "it failed" : "it does not know that event";
    if (came)
        return code < G_N_ELEMENTS(coming) && coming[code] ? coming[code] : "no reason that ACPI knows";
    return code < G_N_ELEMENTS(going) && going[code] ? going[code] : "no reason that ACPI knows";
}

/* What is in a slot, by name; NULL if nothing is. */
static char *
name_in(struct machine *m, const struct bays *s, unsigned slot)
{
    const struct memory_device *device;

    if (s == m->parts->cpus_seen)
        return g_strdup_printf("CPU %u", slot);
    device = device_in(m, slot);
    return device ? g_strdup_printf("memory device '%s'", memory_device_label(device)) : NULL;
}

static void
tell_refusals(struct machine *m, struct bays *s)
{
    uint32_t code;
    unsigned slot;
    bool came;

    while (bays_refused(s, &slot, &came, &code)) {
        g_autofree char *name = name_in(m, s, slot);
        g_autofree char *text = g_strdup_printf("the guest refused to %s %s: %s (_OST 0x%x)",
                                                came ? "take" : "let go of", name, refusal_text(came, code), code);

        if (name)
            machine_tell(m, text);
    }
}

static void
settle(void *machine)
{
    struct machine *m = machine;
    struct bays *memory = m->parts ? m->parts->memory_slots : NULL;

    if (!memory)
        return;
    tell_refusals(m, memory);
    tell_refusals(m, m->parts->cpus_seen);
    for (unsigned slot = bays_ejected(memory, 0); slot < PLATFORM_MEMORY_SLOTS; slot = bays_ejected(memory, slot + 1))
        if (machine_may_change_devices(m, "delete the device", false, NULL))
            take_out(m, slot);
    machine_settle_cpus(m);
}

/* On a vCPU's thread. */
static void
answered(void *self)
{
    struct machine *m = self;

    mailbox_post(m->mailbox, settle, m, NULL);
}

/* What is being loaded belongs to the thread that loads it. */
void
machine_settle_ejections(struct machine *m)
{
    if (m->parts && !machine_awaits_incoming(m) &&
        (bays_ejected(m->parts->memory_slots, 0) < PLATFORM_MEMORY_SLOTS ||
         bays_ejected(m->parts->cpus_seen, 0) < PLATFORM_CPU_SLOTS))
        answered(m);
}

/* --- making them ------------------------------------------------------------------------------------------------ */

bool
machine_make_slots(struct parts *p, struct machine *m, GError **error)
{
    p->ged = ged_new(p->irqs);
    p->memory_slots = bays_new("memory-slots", PLATFORM_MEMORY_SLOTS, PLATFORM_EVENT_MEMORY, p->ged, answered, m);
    p->cpus_seen = bays_new("cpu-slots", PLATFORM_CPU_SLOTS, PLATFORM_EVENT_CPU, p->ged, answered, m);
    return ged_attach(p->ged, p->bus, error) &&
           bays_attach(p->memory_slots, p->bus, PLATFORM_MEMORY_SLOTS_PORT, error) &&
           bays_attach(p->cpus_seen, p->bus, PLATFORM_CPU_SLOTS_PORT, error);
}

void
machine_reset_slots(struct parts *p)
{
    ged_reset(p->ged);
    bays_reset(p->memory_slots);
    bays_reset(p->cpus_seen);
}

void
machine_free_slots(struct parts *p)
{
    bays_free(p->cpus_seen);
    bays_free(p->memory_slots);
    ged_free(p->ged);
}
