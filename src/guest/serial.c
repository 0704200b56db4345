/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The first serial port, write only (PC16550D data sheet).  A byte costs an exit to the VMM: 8 us from ring 0, 34 us
 * from user mode on a page-table KVM.  numon's UART takes every byte at once, so there the status is not asked. */
#include "guest.h"

enum { UART = 0x3f8, UART_INTERRUPTS = UART + 1, UART_FIFO = UART + 2, UART_LINE = UART + 3, UART_STATUS = UART + 5 };
enum { LINE_8N1 = 0x03, LINE_DIVISOR = 0x80, STATUS_EMPTY = 0x20, DIVISOR_115200 = 1 };
enum { BEGIN_TRIES = 5000 };
enum { POLLS = 100000 };                /* a byte takes 87 us at 115200 baud; a dead port must not hang the guest */

static bool
on_numon(void)
{
    return load(&head->flags) & CONTROL_FLAG_NAP;
}

void
serial_init(void)
{
    if (on_numon())
        return;
    out8(UART_INTERRUPTS, 0);
    out8(UART_LINE, LINE_DIVISOR);
    out8(UART, DIVISOR_115200);
    out8(UART_INTERRUPTS, 0);
    out8(UART_LINE, LINE_8N1);
    out8(UART_FIFO, 0x07);              /* enable, clear both */
}

static void
print_char(char c)
{
    if (!on_numon())
        for (unsigned i = 0; i < POLLS && !(in8(UART_STATUS) & STATUS_EMPTY); i++)
            relax();
    out8(UART, c);
}

static uint64_t printing;

void
print_begin(void)
{
    for (unsigned i = 0; i < BEGIN_TRIES && __atomic_exchange_n(&printing, 1, __ATOMIC_ACQUIRE); i++)
        relax();
}

void
print_end(void)
{
    store(&printing, 0);
}

void
print(const char *text)
{
    while (*text)
        print_char(*text++);
}

static void
print_based(uint64_t n, unsigned base)
{
    char text[21];
    unsigned at = sizeof text - 1;

    text[at] = '\0';
    do {
        text[--at] = "0123456789abcdef"[n % base];
        n /= base;
    } while (n);
    print(text + at);
}

void
print_number(uint64_t n)
{
    print_based(n, 10);
}

void
print_hex(uint64_t n)
{
    print("0x");
    print_based(n, 16);
}
