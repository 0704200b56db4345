/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The UART's migrated state.  Version 1 had neither breaks nor bytes that wait to be sent, and no interrupt line. */
#include "uart-private.h"

static bool
count_fits(uint8_t *count, const char *what, GError **error)
{
    unsigned found = *count;

    if (found <= FIFO_SIZE)
        return true;
    *count = 0;
    return fail(error, NUMON_ERROR_PEER, "cannot load the UART: %u bytes in a %s of %d", found, what, FIFO_SIZE);
}

/* Frozen, so that nothing leaves and no line rises before the guest may run (uart_freeze). */
static bool
uart_after_load(void *object, GError **error)
{
    struct uart *u = object;

    if (!count_fits(&u->fifo_count, "FIFO", error) || !count_fits(&u->out_count, "transmitter", error))
        return false;
    u->ier &= IER_KEPT;
    u->mcr &= MCR_KEPT;
    u->fcr &= FCR_KEPT;
    u->overrun &= LSR_OVERRUN;
    u->breaks &= (uint16_t)((1u << u->fifo_count) - 1);
    u->timeout = u->timeout && u->fifo_count && u->fcr & FCR_ENABLE;
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
    { "timeout", STATE_BOOL, offsetof(struct uart, timeout), .since = 2 },
    { "breaks", STATE_U16, offsetof(struct uart, breaks), .since = 2 },
    { "out", STATE_BUFFER, offsetof(struct uart, out), FIFO_SIZE, .since = 2 },
    { "out_count", STATE_U8, offsetof(struct uart, out_count), .since = 2 },
    { 0 }
};

struct state_section
uart_state(struct uart *u, unsigned number)
{
    return (struct state_section) {
        .name = "uart", .instance = number, .version = 2, .fields = uart_fields, .object = u,
        .after_load = uart_after_load,
    };
}
