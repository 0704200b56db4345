/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A 16550A UART (National PC16550D data sheet) for guests that poll: every register works, no interrupt is raised.
 *
 * What the guest sends goes to the serial ring at once, so the transmitter is always empty.  Nothing is received
 * from outside; in loopback mode (MCR bit 4) the receiver gets what is sent, which is how drivers tell a real 16550
 * and its FIFO.  The receiver is a FIFO of 16 bytes, or one byte while FCR bit 0 is clear. */
#include "device.h"

enum {
    REG_DATA, REG_IER, REG_IIR_FCR, REG_LCR, REG_MCR, REG_LSR, REG_MSR, REG_SCR, UART_PORTS,

    IER_RECEIVED = 0x01, IER_TRANSMIT = 0x02, IER_LINE = 0x04, IER_MODEM = 0x08,
    IIR_NONE = 0x01, IIR_MODEM = 0x00, IIR_TRANSMIT = 0x02, IIR_RECEIVED = 0x04, IIR_LINE = 0x06, IIR_FIFO = 0xc0,
    FCR_ENABLE = 0x01, FCR_CLEAR_RECEIVER = 0x02, FCR_KEPT = 0xc9,
    LCR_DLAB = 0x80,
    MCR_KEPT = 0x1f, MCR_LOOP = 0x10,
    LSR_READY = 0x01, LSR_OVERRUN = 0x02, LSR_EMPTY = 0x60,     /* THRE and TEMT */
    MSR_LINES = 0xb0,               /* carrier, data set ready, clear to send: somebody listens */
    MSR_DELTA = 0x0f,
    FIFO_SIZE = 16,
    DIVISOR_RESET = 12,             /* 9600 bit/s of a 1.8432 MHz clock */
};

struct uart {
    struct serial *serial;          /* borrowed */
    struct lock lock;               /* rank 15 */
    /* Under the lock; migrated. */
    uint8_t ier, fcr, lcr, mcr, scr;
    uint8_t msr;                    /* as read, with the changes since the last reading in bits 0 to 3 */
    uint8_t overrun;                /* LSR bit 1 */
    bool transmit_told;             /* the "transmitter empty" interrupt was identified since the last byte */
    uint16_t divisor;
    uint8_t fifo[FIFO_SIZE];        /* oldest first */
    uint8_t fifo_count;
};

struct uart *
uart_new(struct serial *serial)
{
    struct uart *u = g_new0(struct uart, 1);

    u->serial = serial;
    lock_init(&u->lock, 15, "uart");
    uart_reset(u);
    return u;
}

void
uart_free(struct uart *u)
{
    if (!u)
        return;
    lock_release(&u->lock);
    g_free(u);
}

void
uart_reset(struct uart *u)
{
    lock_take(&u->lock);
    u->ier = u->fcr = u->lcr = u->mcr = u->scr = u->overrun = u->fifo_count = 0;
    u->transmit_told = false;
    u->msr = MSR_LINES;
    u->divisor = DIVISOR_RESET;
    lock_drop(&u->lock);
}

/* The modem lines as MCR makes them: in loopback the outputs are the inputs (data sheet 8.6.7). */
static uint8_t
modem_lines(uint8_t mcr)
{
    if (!(mcr & MCR_LOOP))
        return MSR_LINES;
    return (mcr & 0x01 ? 0x20 : 0) | (mcr & 0x02 ? 0x10 : 0) | (mcr & 0x04 ? 0x40 : 0) | (mcr & 0x08 ? 0x80 : 0);
}

static void
set_modem(struct uart *u, uint8_t mcr)
{
    uint8_t before = u->msr & 0xf0, after;

    u->mcr = mcr & MCR_KEPT;
    after = modem_lines(u->mcr);
    u->msr = after | (u->msr & MSR_DELTA) | ((before ^ after) >> 4 & 0x0b);
    if (before & ~after & 0x40)
        u->msr |= 0x04;             /* ring indicator tells its trailing edge only */
}

static uint8_t
identify(struct uart *u)
{
    uint8_t fifo = u->fcr & FCR_ENABLE ? IIR_FIFO : 0;

    if (u->ier & IER_LINE && u->overrun)
        return fifo | IIR_LINE;
    if (u->ier & IER_RECEIVED && u->fifo_count)
        return fifo | IIR_RECEIVED;
    if (u->ier & IER_TRANSMIT && !u->transmit_told) {
        u->transmit_told = true;
        return fifo | IIR_TRANSMIT;
    }
    if (u->ier & IER_MODEM && u->msr & MSR_DELTA)
        return fifo | IIR_MODEM;
    return fifo | IIR_NONE;
}

static uint8_t
receive(struct uart *u)
{
    uint8_t byte = u->fifo[0];

    if (u->fifo_count == 0)
        return 0;
    u->fifo_count--;
    for (unsigned i = 0; i < u->fifo_count; i++)
        u->fifo[i] = u->fifo[i + 1];
    return byte;
}

static void
loop_back(struct uart *u, uint8_t byte)
{
    unsigned room = u->fcr & FCR_ENABLE ? FIFO_SIZE : 1;

    if (u->fifo_count < room) {
        u->fifo[u->fifo_count++] = byte;
        return;
    }
    u->overrun = LSR_OVERRUN;
    if (room == 1)
        u->fifo[0] = byte;          /* the new byte takes the place of the unread one */
}

static uint8_t
read_register(struct uart *u, uint64_t offset)
{
    uint8_t value;

    switch (offset) {
    case REG_DATA:
        return u->lcr & LCR_DLAB ? u->divisor & 0xff : receive(u);
    case REG_IER:
        return u->lcr & LCR_DLAB ? u->divisor >> 8 : u->ier;
    case REG_IIR_FCR:
        return identify(u);
    case REG_LCR:
        return u->lcr;
    case REG_MCR:
        return u->mcr;
    case REG_LSR:
        value = LSR_EMPTY | u->overrun | (u->fifo_count ? LSR_READY : 0);
        u->overrun = 0;
        return value;
    case REG_MSR:
        value = u->msr;
        u->msr &= ~MSR_DELTA;
        return value;
    default:
        return u->scr;
    }
}

/* Returns true if the byte leaves the UART. */
static bool
write_data(struct uart *u, uint8_t value)
{
    if (u->lcr & LCR_DLAB) {
        u->divisor = (u->divisor & 0xff00) | value;
        return false;
    }
    u->transmit_told = false;
    if (!(u->mcr & MCR_LOOP))
        return true;
    loop_back(u, value);
    return false;
}

static bool
write_register(struct uart *u, uint64_t offset, uint8_t value)
{
    switch (offset) {
    case REG_DATA:
        return write_data(u, value);
    case REG_IER:
        if (u->lcr & LCR_DLAB) {
            u->divisor = (u->divisor & 0xff) | value << 8;
        } else {
            if (value & ~u->ier & IER_TRANSMIT)
                u->transmit_told = false;
            u->ier = value & 0x0f;
        }
        break;
    case REG_IIR_FCR:
        if (value & FCR_CLEAR_RECEIVER || (value ^ u->fcr) & FCR_ENABLE)
            u->fifo_count = 0;
        u->fcr = value & FCR_ENABLE ? value & FCR_KEPT : 0;
        break;
    case REG_LCR:
        u->lcr = value;
        break;
    case REG_MCR:
        set_modem(u, value);
        break;
    case REG_SCR:
        u->scr = value;
        break;
    }
    return false;
}

static uint64_t
uart_read(void *device, uint64_t offset, unsigned size)
{
    struct uart *u = device;
    uint64_t value = 0;

    lock_take(&u->lock);
    for (unsigned i = 0; i < size; i++)
        value |= (uint64_t)read_register(u, offset + i) << 8 * i;
    lock_drop(&u->lock);
    return value;
}

static void
uart_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct uart *u = device;

    for (unsigned i = 0; i < size; i++) {
        uint8_t byte = value >> 8 * i & 0xff;
        bool leaves;

        lock_take(&u->lock);
        leaves = write_register(u, offset + i, byte);
        lock_drop(&u->lock);
        if (leaves)
            serial_put(u->serial, byte);
    }
}

bool
uart_attach(struct uart *u, struct bus *bus, uint64_t port, GError **error)
{
    static const struct bus_ops ops = { uart_read, uart_write };

    return bus_claim(bus, BUS_PORT, port, UART_PORTS, "uart", &ops, u, error);
}

static bool
uart_after_load(void *object, GError **error)
{
    struct uart *u = object;

    if (u->fifo_count > FIFO_SIZE) {
        unsigned count = u->fifo_count;

        u->fifo_count = 0;
        return fail(error, NUMON_ERROR_PEER, "cannot load the UART: %u bytes in a FIFO of %d", count, FIFO_SIZE);
    }
    u->ier &= 0x0f;
    u->mcr &= MCR_KEPT;
    u->overrun &= LSR_OVERRUN;
    return true;
}

static const struct state_field uart_fields[] = {
    { "ier", STATE_U8, offsetof(struct uart, ier) },
    { "fcr", STATE_U8, offsetof(struct uart, fcr) },
    { "lcr", STATE_U8, offsetof(struct uart, lcr) },
    { "mcr", STATE_U8, offsetof(struct uart, mcr) },
    { "scr", STATE_U8, offsetof(struct uart, scr) },
    { "msr", STATE_U8, offsetof(struct uart, msr) },
    { "overrun", STATE_U8, offsetof(struct uart, overrun) },
    { "transmit_told", STATE_BOOL, offsetof(struct uart, transmit_told) },
    { "divisor", STATE_U16, offsetof(struct uart, divisor) },
    { "fifo", STATE_BUFFER, offsetof(struct uart, fifo), FIFO_SIZE },
    { "fifo_count", STATE_U8, offsetof(struct uart, fifo_count) },
    { 0 }
};

struct state_section
uart_state(struct uart *u)
{
    return (struct state_section) {
        .name = "uart", .version = 1, .fields = uart_fields, .object = u, .after_load = uart_after_load,
    };
}
