/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A 16550A UART (National PC16550D data sheet; section numbers below are its own).
 *
 * The line is as fast as its other end.  What the guest sends goes to the serial ring at once, so that the
 * transmitter is always empty - unless the reader of the target has fallen behind: then bytes wait in the
 * transmitter's FIFO, which the guest sees as "not empty" until main says that there is room.  What comes from
 * outside goes to the receiver's FIFO as far as there is room; the rest waits outside, so that only loopback
 * overruns.  The time of a character counts only for the FIFO's timeout.  Neither word length nor parity change a
 * byte, and OUT2 does not gate the interrupt: guests that never set them up work, as with QEMU.
 *
 * Each thread that changes a register brings the interrupt line up to date before it drops the lock. */
#include "uart-private.h"

#include "platform.h"

/* Where a PC has them: addresses and interrupts of COM1 to COM4. */
const struct uart_place uart_places[SERIAL_PORTS] = {
    { UART_PORT, UART_GSI, 0, "uart" },
    { PLATFORM_UART_2_PORT, PLATFORM_UART_2_IRQ, 0, "uart1" },
    { PLATFORM_UART_3_PORT, UART_GSI, 1, "uart2" },
    { PLATFORM_UART_4_PORT, PLATFORM_UART_2_IRQ, 1, "uart3" },
};

/* --- receiver and transmitter ----------------------------------------------------------------------------------- */

static unsigned
room_of(const struct uart *u)
{
    return u->fcr & FCR_ENABLE ? FIFO_SIZE : 1;
}

/* Four characters of the line's speed, each of start, data, parity and stop bits, in microseconds (8.4). */
static int64_t
timeout_us(const struct uart *u)
{
    int64_t bits = 1 + 5 + (u->lcr & 3) + (u->lcr & 0x08 ? 1 : 0) + (u->lcr & 0x04 ? 2 : 1);
    int64_t divisor = MAX(u->divisor, 1);

    return 4 * bits * divisor * 16 * 1000000 / UART_CLOCK;
}

/* The alarm rings no later than the timeout is due; one that rings too early is set anew then.  So it is set once for
 * many bytes. */
static void
arm(struct uart *u)
{
    bool early = u->armed_at >= 0 && u->armed_at <= u->timeout_at;

    if (!u->alarm || u->timeout_at < 0 || !(u->ier & IER_RECEIVED) || early)
        return;
    u->armed_at = u->timeout_at;
    alarm_set(u->alarm, u->armed_at);
}

/* A byte came or was taken: the timeout counts anew. */
static void
restart_timeout(struct uart *u)
{
    u->timeout = false;
    u->timeout_at = u->fifo_count && u->fcr & FCR_ENABLE ? u->now_us() + timeout_us(u) : -1;
    arm(u);
}

static void
clear_receiver(struct uart *u)
{
    u->fifo_count = 0;
    u->breaks = 0;
    restart_timeout(u);
}

static void
store(struct uart *u, uint8_t byte, bool is_break)
{
    u->breaks &= ~(1u << u->fifo_count);
    u->breaks |= (uint16_t)is_break << u->fifo_count;
    u->fifo[u->fifo_count++] = byte;
    restart_timeout(u);
}

static uint8_t
fetch(struct uart *u)
{
    uint8_t byte = u->fifo[0];

    if (u->fifo_count == 0)
        return 0;
    u->fifo_count--;
    u->breaks >>= 1;
    for (unsigned i = 0; i < u->fifo_count; i++)
        u->fifo[i] = u->fifo[i + 1];
    restart_timeout(u);
    return byte;
}

static void
loop_back(struct uart *u, uint8_t byte)
{
    if (u->fifo_count < room_of(u)) {
        store(u, byte, false);
        return;
    }
    u->overrun = LSR_OVERRUN;
    if (room_of(u) == 1)
        u->fifo[0] = byte;          /* the new byte takes the place of the unread one */
}

/* The transmitter has become empty, which the guest is told once. */
static void
transmitted(struct uart *u)
{
    u->out_count = 0;
    u->transmit_told = false;
}

static void
send(struct uart *u, uint8_t byte)
{
    if (u->mcr & MCR_LOOP) {
        loop_back(u, byte);
        transmitted(u);
    } else if (u->out_count == 0 && !serial_full(u->serial)) {
        serial_put(u->serial, byte);
        transmitted(u);
    } else if (u->out_count < room_of(u)) {
        u->out[u->out_count++] = byte;
    } else {
        serial_lose(u->serial, 1);  /* the guest did not look whether it may */
    }
}

/* What waits in the transmitter goes, if there is room. */
static void
drain(struct uart *u)
{
    if (u->out_count == 0 || serial_full(u->serial))
        return;
    for (unsigned i = 0; i < u->out_count; i++)
        serial_put(u->serial, u->out[i]);
    transmitted(u);
}

/* --- modem lines ------------------------------------------------------------------------------------------------ */

/* The lines as MCR makes them: in loopback the outputs are the inputs (8.6.7). */
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

/* --- interrupts ------------------------------------------------------------------------------------------------- */

static uint8_t
line_status(const struct uart *u)
{
    return u->overrun | (u->fifo_count ? LSR_READY : 0) | (u->out_count ? 0 : LSR_EMPTY) |
           (u->fifo_count && u->breaks & 1 ? LSR_BREAK : 0) | (u->fcr & FCR_ENABLE && u->breaks ? LSR_FIFO_ERROR : 0);
}

static bool
receiver_calls(const struct uart *u)
{
    static const uint8_t triggers[] = { 1, 4, 8, 14 };

    return u->fifo_count >= (u->fcr & FCR_ENABLE ? triggers[u->fcr >> 6] : 1);
}

/* What IIR says, by priority (8.6.4, Table III). */
static uint8_t
identify(const struct uart *u)
{
    uint8_t fifo = u->fcr & FCR_ENABLE ? IIR_FIFO : 0;

    if (u->ier & IER_LINE && line_status(u) & LSR_TROUBLE)
        return fifo | IIR_LINE;
    if (u->ier & IER_RECEIVED && u->timeout)
        return fifo | IIR_TIMEOUT;
    if (u->ier & IER_RECEIVED && receiver_calls(u))
        return fifo | IIR_RECEIVED;
    if (u->ier & IER_TRANSMIT && u->out_count == 0 && !u->transmit_told)
        return fifo | IIR_TRANSMIT;
    if (u->ier & IER_MODEM && u->msr & MSR_DELTA)
        return fifo | IIR_MODEM;
    return fifo | IIR_NONE;
}

static void
update_line(struct uart *u)
{
    if (u->irqs)
        irqs_share(u->irqs, u->gsi, u->sharer, !(identify(u) & IIR_NONE));
}

/* --- registers -------------------------------------------------------------------------------------------------- */

static uint8_t
read_register(struct uart *u, uint64_t offset)
{
    uint8_t value;

    switch (offset) {
    case REG_DATA:
        return u->lcr & LCR_DLAB ? u->divisor & 0xff : fetch(u);
    case REG_IER:
        return u->lcr & LCR_DLAB ? u->divisor >> 8 : u->ier;
    case REG_IIR_FCR:
        value = identify(u);
        u->transmit_told = u->transmit_told || (value & IIR_CAUSE) == IIR_TRANSMIT;
        return value;
    case REG_LCR:
        return u->lcr;
    case REG_MCR:
        return u->mcr;
    case REG_LSR:
        value = line_status(u);
        u->overrun = 0;
        u->breaks &= ~1u;
        return value;
    case REG_MSR:
        value = u->msr;
        u->msr &= ~MSR_DELTA;
        return value;
    default:
        return u->scr;
    }
}

/* The interrupt of an empty transmitter comes anew when it is switched on, even if IIR had told it: the data sheet
 * does not say so, but chips do, and drivers test it. */
static void
set_ier(struct uart *u, uint8_t value)
{
    if (value & ~u->ier & IER_TRANSMIT)
        u->transmit_told = false;
    u->ier = value & IER_KEPT;
    arm(u);
}

static void
set_fcr(struct uart *u, uint8_t value)
{
    bool turned = (value ^ u->fcr) & FCR_ENABLE;

    /* The other bits count only while the lowest is written as 1 (8.6.3). */
    u->fcr = value & FCR_ENABLE ? value & FCR_KEPT : 0;
    if (turned || (value & FCR_ENABLE && value & FCR_CLEAR_RECEIVER))
        clear_receiver(u);
    if (u->out_count && (turned || (value & FCR_ENABLE && value & FCR_CLEAR_TRANSMITTER)))
        transmitted(u);
}

static void
write_register(struct uart *u, uint64_t offset, uint8_t value)
{
    switch (offset) {
    case REG_DATA:
        if (u->lcr & LCR_DLAB)
            u->divisor = (u->divisor & 0xff00) | value;
        else
            send(u, value);
        break;
    case REG_IER:
        if (u->lcr & LCR_DLAB)
            u->divisor = (u->divisor & 0xff) | value << 8;
        else
            set_ier(u, value);
        break;
    case REG_IIR_FCR:
        set_fcr(u, value);
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
}

/* The receiver is empty, or as good as outside has to wait no longer. */
static void
ask_for_input(struct uart *u)
{
    if (!u->starved || u->fifo_count || u->frozen || u->mcr & MCR_LOOP)
        return;
    u->starved = false;
    serial_wake(u->serial);
}

static uint64_t
uart_read(void *device, uint64_t offset, unsigned size)
{
    struct uart *u = device;
    uint64_t value = 0;

    lock_take(&u->lock);
    for (unsigned i = 0; i < size; i++)
        value |= (uint64_t)read_register(u, offset + i) << 8 * i;
    ask_for_input(u);
    update_line(u);
    lock_drop(&u->lock);
    return value;
}

static void
uart_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct uart *u = device;

    lock_take(&u->lock);
    for (unsigned i = 0; i < size; i++)
        write_register(u, offset + i, value >> 8 * i & 0xff);
    ask_for_input(u);
    update_line(u);
    lock_drop(&u->lock);
}

static bool
attach(struct uart *u, struct bus *bus, uint64_t port, const char *name, GError **error)
{
    static const struct bus_ops ops = { uart_read, uart_write };

    return bus_claim(bus, BUS_PORT, port, UART_PORTS, name, &ops, u, error);
}

bool
uart_attach(struct uart *u, struct bus *bus, uint64_t port, GError **error)
{
    return attach(u, bus, port, "uart", error);
}

bool
uart_attach_at(struct uart *u, struct bus *bus, unsigned number, GError **error)
{
    return attach(u, bus, uart_places[number].port, uart_places[number].name, error);
}

/* --- the outside, on main --------------------------------------------------------------------------------------- */

static size_t
take_input(void *self, const uint8_t *bytes, size_t size)
{
    struct uart *u = self;
    size_t taken = 0;

    lock_take(&u->lock);
    while (!u->frozen && !(u->mcr & MCR_LOOP) && taken < size && u->fifo_count < room_of(u))
        store(u, bytes[taken++], false);
    u->starved = taken < size;
    update_line(u);
    lock_drop(&u->lock);
    return taken;
}

/* A break is a character of zeros for longer than its time.  One without room is lost, as on a line. */
static void
take_break(void *self)
{
    struct uart *u = self;

    lock_take(&u->lock);
    if (!u->frozen && !(u->mcr & MCR_LOOP) && u->fifo_count < room_of(u))
        store(u, 0, true);
    update_line(u);
    lock_drop(&u->lock);
}

static void
take_room(void *self)
{
    struct uart *u = self;

    lock_take(&u->lock);
    if (!u->frozen)
        drain(u);
    update_line(u);
    lock_drop(&u->lock);
}

void
uart_tick(struct uart *u)
{
    lock_take(&u->lock);
    if (!u->frozen && u->timeout_at >= 0 && u->now_us() >= u->timeout_at) {
        u->timeout = u->fifo_count > 0 && u->fcr & FCR_ENABLE;
        u->timeout_at = -1;
    }
    u->armed_at = -1;
    if (!u->frozen)
        arm(u);
    update_line(u);
    lock_drop(&u->lock);
}

static void
ring(void *self)
{
    uart_tick(self);
}

void
uart_freeze(struct uart *u, bool frozen)
{
    lock_take(&u->lock);
    u->frozen = frozen;
    if (!frozen) {
        drain(u);
        u->starved = false;
        if (u->fifo_count && !u->timeout)
            restart_timeout(u);
        update_line(u);
    }
    lock_drop(&u->lock);
    if (!frozen)
        serial_wake(u->serial);
}

/* --- made, reset, freed ----------------------------------------------------------------------------------------- */

void
uart_reset(struct uart *u)
{
    lock_take(&u->lock);
    u->ier = u->fcr = u->lcr = u->mcr = u->scr = u->overrun = 0;
    transmitted(u);
    u->msr = MSR_LINES;
    u->divisor = DIVISOR_RESET;
    clear_receiver(u);
    update_line(u);
    lock_drop(&u->lock);
    serial_wake(u->serial);
}

static struct uart *
make(struct serial *serial, struct irqs *irqs, unsigned gsi, unsigned sharer, int64_t (*now_us)(void))
{
    static const struct serial_guest ends = { take_input, take_break, take_room };
    struct uart *u = g_new0(struct uart, 1);

    u->serial = serial;
    u->irqs = irqs;
    u->gsi = gsi;
    u->sharer = sharer;
    u->now_us = now_us ? now_us : g_get_monotonic_time;
    u->armed_at = -1;
    lock_init(&u->lock, 15, "uart");
    if (!now_us)
        u->alarm = alarm_new(ring, u);
    uart_reset(u);
    serial_attach(serial, &ends, u);
    return u;
}

struct uart *
uart_new(struct serial *serial, struct irqs *irqs, unsigned gsi, int64_t (*now_us)(void))
{
    return make(serial, irqs, gsi, 0, now_us);
}

struct uart *
uart_new_at(struct serial *serial, struct irqs *irqs, unsigned number)
{
    return make(serial, irqs, uart_places[number].gsi, uart_places[number].sharer, NULL);
}

void
uart_free(struct uart *u)
{
    if (!u)
        return;
    serial_attach(u->serial, NULL, NULL);
    alarm_free(u->alarm);
    lock_release(&u->lock);
    g_free(u);
}
