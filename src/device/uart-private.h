/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The UART's registers and what it is made of, for uart.c and its migrated state. */
#ifndef UART_PRIVATE_H
#define UART_PRIVATE_H

#include "device-private.h"

enum {
    REG_DATA, REG_IER, REG_IIR_FCR, REG_LCR, REG_MCR, REG_LSR, REG_MSR, REG_SCR, UART_PORTS,

    IER_RECEIVED = 0x01, IER_TRANSMIT = 0x02, IER_LINE = 0x04, IER_MODEM = 0x08, IER_KEPT = 0x0f,
    IIR_NONE = 0x01, IIR_MODEM = 0x00, IIR_TRANSMIT = 0x02, IIR_RECEIVED = 0x04, IIR_LINE = 0x06, IIR_TIMEOUT = 0x0c,
    IIR_CAUSE = 0x0f, IIR_FIFO = 0xc0,
    FCR_ENABLE = 0x01, FCR_CLEAR_RECEIVER = 0x02, FCR_CLEAR_TRANSMITTER = 0x04, FCR_KEPT = 0xc9,
    LCR_DLAB = 0x80,
    MCR_KEPT = 0x1f, MCR_LOOP = 0x10,
    LSR_READY = 0x01, LSR_OVERRUN = 0x02, LSR_BREAK = 0x10, LSR_FIFO_ERROR = 0x80,
    LSR_EMPTY = 0x60,               /* THRE and TEMT */
    LSR_TROUBLE = LSR_OVERRUN | LSR_BREAK,
    MSR_LINES = 0xb0,               /* carrier, data set ready, clear to send: somebody listens */
    MSR_DELTA = 0x0f,
    FIFO_SIZE = 16,
    DIVISOR_RESET = 12,             /* 9600 bit/s */
    UART_CLOCK = 1843200,           /* Hz; sixteen times the bits a second of divisor 1 */
};

struct uart {
    /* Fixed. */
    struct serial *serial;          /* borrowed, as irqs */
    struct irqs *irqs;              /* NULL: nobody takes interrupts */
    unsigned gsi, sharer;           /* its line, and which of those who share it this is */
    int64_t (*now_us)(void);        /* monotonic */
    struct alarm *alarm;            /* owned; NULL: a test's clock */

    struct lock lock;               /* rank 15 */
    /* Under the lock; migrated. */
    uint8_t ier, fcr, lcr, mcr, scr;
    uint8_t msr;                    /* as read, with the changes since the last reading in bits 0 to 3 */
    uint8_t overrun;                /* LSR bit 1 */
    bool transmit_told;             /* the "transmitter empty" interrupt was identified since the last byte */
    bool timeout;                   /* the FIFO's timeout is due */
    uint16_t divisor;
    uint8_t fifo[FIFO_SIZE];        /* received, oldest first */
    uint8_t fifo_count;
    uint16_t breaks;                /* a bit a byte of the FIFO: it is a break */
    uint8_t out[FIFO_SIZE];         /* to be sent, oldest first; only while the target's reader is behind */
    uint8_t out_count;
    /* Under the lock. */
    int64_t timeout_at;             /* when the FIFO's timeout is due; -1: never */
    int64_t armed_at;               /* when the alarm rings; -1: it does not */
    bool starved;                   /* input waits outside */
    bool frozen;                    /* registers are being saved, or loaded, or are those of a guest that left */
};

#endif
