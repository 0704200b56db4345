/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The port and MMIO bus: two arrays of claimed ranges by rising base, looked up by bisection.
 *
 * Ranges are claimed before vCPUs run and never change after, so lookups need no lock.  An access goes whole to the
 * range that holds all of it; one that sticks out is taken byte by byte, each byte by whoever holds it. */
#include "device.h"

#include <inttypes.h>

struct claim {
    uint64_t base, length;
    char *name;
    const struct bus_ops *ops;
    void *device;
};

struct bus {
    GArray *claims[2];              /* struct claim, by enum bus_space */
};

static void
claim_release(void *claim)
{
    g_free(((struct claim *)claim)->name);
}

struct bus *
bus_new(void)
{
    struct bus *bus = g_new0(struct bus, 1);

    for (unsigned i = 0; i < G_N_ELEMENTS(bus->claims); i++) {
        bus->claims[i] = g_array_new(FALSE, FALSE, sizeof(struct claim));
        g_array_set_clear_func(bus->claims[i], claim_release);
    }
    return bus;
}

void
bus_free(struct bus *bus)
{
    if (!bus)
        return;
    for (unsigned i = 0; i < G_N_ELEMENTS(bus->claims); i++)
        g_array_unref(bus->claims[i]);
    g_free(bus);
}

/* How many claims begin at or below 'address'. */
static unsigned
claims_below(const GArray *claims, uint64_t address)
{
    unsigned low = 0, high = claims->len;

    while (low < high) {
        unsigned middle = (low + high) / 2;

        if (g_array_index(claims, struct claim, middle).base <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The claim that holds 'address', or NULL. */
static const struct claim *
claim_find(const GArray *claims, uint64_t address)
{
    unsigned below = claims_below(claims, address);
    const struct claim *c;

    if (below == 0)
        return NULL;
    c = &g_array_index(claims, struct claim, below - 1);
    return address - c->base < c->length ? c : NULL;
}

bool
bus_claim(struct bus *bus, enum bus_space space, uint64_t base, uint64_t length, const char *name,
          const struct bus_ops *ops, void *device, GError **error)
{
    GArray *claims = bus->claims[space];
    unsigned below = claims_below(claims, base);
    const struct claim *taken = claim_find(claims, base);
    struct claim c = { .base = base, .length = length, .ops = ops, .device = device };

    g_assert(length > 0 && base + length - 1 >= base);
    if (!taken && below < claims->len && g_array_index(claims, struct claim, below).base - base < length)
        taken = &g_array_index(claims, struct claim, below);
    if (taken)
        return fail(error, NUMON_ERROR_STATE, "cannot give %s 0x%" PRIx64 " to 0x%" PRIx64 " to %s: %s has 0x%" PRIx64
                    " to 0x%" PRIx64, space == BUS_PORT ? "ports" : "addresses", base, base + length - 1, name,
                    taken->name, taken->base, taken->base + taken->length - 1);
    c.name = g_strdup(name);
    g_array_insert_val(claims, below, c);
    return true;
}

void
bus_each(const struct bus *bus, enum bus_space space,
         void (*tell)(void *self, const char *name, uint64_t base, uint64_t length), void *self)
{
    for (unsigned i = 0; i < bus->claims[space]->len; i++) {
        const struct claim *c = &g_array_index(bus->claims[space], struct claim, i);

        tell(self, c->name, c->base, c->length);
    }
}

uint64_t
bus_read(struct bus *bus, enum bus_space space, uint64_t address, unsigned size)
{
    const struct claim *c = claim_find(bus->claims[space], address);
    uint64_t value = 0;

    if (c && address - c->base + size <= c->length)
        return c->ops->read(c->device, address - c->base, size);
    if (size == 1)
        return 0xff;
    for (unsigned i = 0; i < size; i++)
        value |= (bus_read(bus, space, address + i, 1) & 0xff) << 8 * i;
    return value;
}

void
bus_write(struct bus *bus, enum bus_space space, uint64_t address, unsigned size, uint64_t value)
{
    const struct claim *c = claim_find(bus->claims[space], address);

    if (c && address - c->base + size <= c->length) {
        c->ops->write(c->device, address - c->base, size, value);
        return;
    }
    for (unsigned i = 0; size > 1 && i < size; i++)
        bus_write(bus, space, address + i, 1, value >> 8 * i & 0xff);
}
