/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The power block: ports by which a guest ends, restarts or speaks.  None keeps anything.
 *
 * There are as many ways to reset as guests try: 0x64 is the command port of a keyboard controller (Intel 8042) of
 * which only "pulse reset" works, its status saying that it is ready and has nothing; 0x92 is system control port
 * A, 0xcf9 the reset control register of Intel's chip sets, in the midst of the ports that would choose a PCI
 * register (there is no PCI: they read as all ones); 0x602 is ACPI's reset register.  0x600 is ACPI's sleep
 * control, of which S5 ends the guest.  0xf4 takes an exit value in 1 to 4 bytes, as QEMU's isa-debug-exit does.
 * 0xe9 is the debug console of Bochs; reading it gives 0xe9, by which a guest finds it. */
#include "device.h"
#include "platform.h"

enum {
    I8042_PORT    = 0x64,
    I8042_RESET   = 0xfe,           /* pulse output line 0, which is RESET */
    PORT_A        = 0x92,
    PORT_A_RESET  = 0x01,
    PORT_A_A20    = 0x02,           /* always on */
    PCI_PORT      = 0xcf8, PCI_PORTS = 4,
    CHIPSET_RESET = 1,              /* of these, the byte whose ... */
    CHIPSET_CPU   = 0x04,           /* ... bit 2 resets */
    EXIT_PORT     = 0xf4, EXIT_PORTS = 4,
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
read_zero(void *device, uint64_t offset, unsigned size)
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
port_a_read(void *device, uint64_t offset, unsigned size)
{
    return PORT_A_A20;
}

static void
port_a_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct power *p = device;

    if (value & PORT_A_RESET)
        p->event(p->self, POWER_RESET, 0);
}

/* A byte of the reset control register reads 0; all else is where PCI would be. */
static uint64_t
pci_read(void *device, uint64_t offset, unsigned size)
{
    return offset == CHIPSET_RESET && size == 1 ? 0 : UINT64_MAX >> (64 - 8 * size);
}

static void
pci_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct power *p = device;

    if (offset == CHIPSET_RESET && size == 1 && value & CHIPSET_CPU)
        p->event(p->self, POWER_RESET, 0);
}

/* Sleep control, sleep status, reset: a byte each. */
static void
acpi_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct power *p = device;
    unsigned type = value >> PLATFORM_SLEEP_SHIFT & 7;

    if (offset == 0 && value & PLATFORM_SLEEP_ENABLE && type == PLATFORM_SLEEP_S5)
        p->event(p->self, POWER_OFF, 0);
    else if (offset + PLATFORM_SLEEP_CONTROL_PORT == PLATFORM_RESET_PORT && value == PLATFORM_RESET_VALUE)
        p->event(p->self, POWER_RESET, 0);
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
    static const struct bus_ops i8042 = { read_zero, i8042_write };
    static const struct bus_ops port_a = { port_a_read, port_a_write };
    static const struct bus_ops pci = { pci_read, pci_write };
    static const struct bus_ops acpi = { read_zero, acpi_write };
    static const struct bus_ops exit_ops = { read_zero, exit_write };
    static const struct bus_ops debug = { debug_read, debug_write };

    return bus_claim(bus, BUS_PORT, I8042_PORT, 1, "i8042", &i8042, p, error) &&
           bus_claim(bus, BUS_PORT, PORT_A, 1, "system control port A", &port_a, p, error) &&
           bus_claim(bus, BUS_PORT, DEBUG_PORT, 1, "debug console", &debug, p, error) &&
           bus_claim(bus, BUS_PORT, EXIT_PORT, EXIT_PORTS, "exit port", &exit_ops, p, error) &&
           bus_claim(bus, BUS_PORT, PLATFORM_SLEEP_CONTROL_PORT,
                     PLATFORM_RESET_PORT + 1 - PLATFORM_SLEEP_CONTROL_PORT,
                     "ACPI power", &acpi, p, error) &&
           bus_claim(bus, BUS_PORT, PCI_PORT, PCI_PORTS, "reset control", &pci, p, error);
}
