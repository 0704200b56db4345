/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The Generic Event Device (ACPI 6.4, 5.6.9): a register of events that happened, and a line that is high while there
 * are any.  The guest's method reads the register, which empties it, and does what each bit says (dsdt.asl). */
#include "device.h"
#include "platform.h"

struct ged {
    struct irqs *irqs;              /* borrowed */
    struct lock lock;               /* rank 15 */
    uint32_t events;                /* under the lock; migrated */
};

struct ged *
ged_new(struct irqs *irqs)
{
    struct ged *g = g_new0(struct ged, 1);

    g->irqs = irqs;
    lock_init(&g->lock, 15, "ged");
    return g;
}

void
ged_free(struct ged *g)
{
    if (!g)
        return;
    lock_release(&g->lock);
    g_free(g);
}

/* Returns what there was. */
static uint32_t
set_events(struct ged *g, uint32_t kept, uint32_t added)
{
    uint32_t before;

    lock_take(&g->lock);
    before = g->events;
    g->events = (before & kept) | added;
    irqs_set(g->irqs, PLATFORM_EVENTS_IRQ, g->events != 0);
    lock_drop(&g->lock);
    return before;
}

void
ged_raise(struct ged *g, uint32_t events)
{
    set_events(g, UINT32_MAX, events);
}

void
ged_reset(struct ged *g)
{
    set_events(g, 0, 0);
}

static uint64_t
ged_read(void *device, uint64_t offset, unsigned size)
{
    return offset == 0 ? set_events(device, 0, 0) : 0;
}

static void
ged_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
}

bool
ged_attach(struct ged *g, struct bus *bus, GError **error)
{
    static const struct bus_ops ops = { ged_read, ged_write };

    return bus_claim(bus, BUS_PORT, PLATFORM_EVENTS_PORT, sizeof g->events, "ged", &ops, g, error);
}

/* --- as it travels ---------------------------------------------------------------------------------------------- */

static bool
ged_after_load(void *object, GError **error)
{
    set_events(object, UINT32_MAX, 0);
    return true;
}

static const struct state_field ged_fields[] = {
    { "events", STATE_U32, offsetof(struct ged, events) },
    { 0 }
};

struct state_section
ged_state(struct ged *g)
{
    return (struct state_section) {
        .name = "ged", .version = 1, .fields = ged_fields, .object = g, .after_load = ged_after_load,
    };
}
