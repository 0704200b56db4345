/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The power block: three write-mostly ports by which a guest ends, restarts or speaks.
 *
 * 0x64 is the command port of a keyboard controller (Intel 8042) of which only "pulse reset" works; its status says
 * that the controller is ready and has nothing.  0xf4 takes an exit value, as QEMU's isa-debug-exit does.  0xe9 is
 * the debug console of Bochs; reading it gives 0xe9, by which a guest finds it. */
#include "device.h"

enum {
    I8042_PORT    = 0x64,
    I8042_RESET   = 0xfe,           /* pulse output line 0, which is RESET */
    EXIT_PORT     = 0xf4,
    DEBUG_PORT    = 0xe9,
};

struct power {
    struct serial *debug;           /* borrowed; NULL: debug output is dropped */
    void (*event)(void *self, enum power_event what, uint64_t value);
    void *self;
};

struct power *
power_new(struct serial *debug, void (*event)(void *self, enum power_event what, uint64_t value), void *self)
{
    struct power *p = g_new(struct power, 1);

    *p = (struct power) { .debug = debug, .event = event, .self = self };
    return p;
}

void
power_free(struct power *p)
{
    g_free(p);
}

static uint64_t
i8042_read(void *device, uint64_t offset, unsigned size)
{
    return 0;
}

static void
i8042_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct power *p = device;

    if ((value & 0xff) == I8042_RESET)
        p->event(p->self, POWER_RESET, 0);
}

static uint64_t
exit_read(void *device, uint64_t offset, unsigned size)
{
    return 0;
}

static void
exit_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct power *p = device;

    p->event(p->self, POWER_EXIT, value);
}

static uint64_t
debug_read(void *device, uint64_t offset, unsigned size)
{
    return DEBUG_PORT;
}

static void
debug_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct power *p = device;

    if (p->debug)
        serial_put(p->debug, (uint8_t)value);
}

bool
power_attach(struct power *p, struct bus *bus, GError **error)
{
    static const struct bus_ops i8042 = { i8042_read, i8042_write };
    static const struct bus_ops exit_ops = { exit_read, exit_write };
    static const struct bus_ops debug = { debug_read, debug_write };

    return bus_claim(bus, BUS_PORT, I8042_PORT, 1, "i8042", &i8042, p, error) &&
           bus_claim(bus, BUS_PORT, EXIT_PORT, 4, "exit port", &exit_ops, p, error) &&
           bus_claim(bus, BUS_PORT, DEBUG_PORT, 1, "debug console", &debug, p, error);
}
