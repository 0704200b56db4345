/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A guest that does with the registers of slots what the methods of the DSDT and a kernel behind them do: it says
 * that it listens, takes what comes, refuses to let go the first time that it is asked, and lets go then.  What it
 * does it says on the debug console.  32-bit ring 0, loaded by Multiboot 1; it polls, as some KVMs emulate ring 0. */
#include <stdint.h>

#include "platform.h"

enum { DEBUG_PORT = 0xe9, PIC_2 = 0xa0, PIC_READ_REQUESTS = 0x0a, PAUSES = 2000 };
enum { OST_CAME = 1, OST_WANTED = 3, OST_GOOD = 0, OST_BUSY = 0x82, OST_GOING = 0x84 };

__asm__(".section .multiboot, \"a\"\n .balign 4\n .long 0x1badb002, 0, -0x1badb002\n"
        ".text\n .globl _start\n"
        "_start: mov $stack_end, %esp\n call serve\n"
        ".bss\n .balign 16\n .skip 16384\n stack_end:\n .text\n");

static inline void out8(uint16_t port, uint8_t value) { __asm__ volatile("outb %0, %1" :: "a"(value), "Nd"(port)); }
static inline void out32(uint16_t port, uint32_t value) { __asm__ volatile("outl %0, %1" :: "a"(value), "Nd"(port)); }
static inline uint8_t
in8(uint16_t port)
{
    uint8_t value;

    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static inline uint32_t
in32(uint16_t port)
{
    uint32_t value;

    __asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static void
say(const char *text)
{
    while (*text)
        out8(DEBUG_PORT, (uint8_t)*text++);
}

static void
say_number(const char *label, uint32_t n)
{
    say(label);
    for (int shift = 28; shift >= 0; shift -= 4)
        out8(DEBUG_PORT, (uint8_t)"0123456789abcdef"[n >> shift & 15]);
}

static void
answer(uint16_t block, uint32_t event, uint32_t code)
{
    out32(block + PLATFORM_SLOT_OST_EVENT, event);
    out32(block + PLATFORM_SLOT_OST_STATUS, code);
}

static void
came(uint16_t block)
{
    say_number(" base ", in32(block + PLATFORM_SLOT_BASE + 4));
    say_number("", in32(block + PLATFORM_SLOT_BASE));
    say_number(" size ", in32(block + PLATFORM_SLOT_SIZE));
    say_number(" node ", in32(block + PLATFORM_SLOT_NODE));
    say_number(" id ", in32(block + PLATFORM_SLOT_ID));
    say(" came\n");
    answer(block, OST_CAME, OST_GOOD);
}

static void
wanted(uint16_t block, int refuses)
{
    if (refuses) {
        say(" refused\n");
        answer(block, OST_WANTED, OST_BUSY);
        return;
    }
    answer(block, OST_WANTED, OST_GOING);
    out32(block + PLATFORM_SLOT_STATUS, PLATFORM_SLOT_EJECT);
    say_number(" let go, status ", in32(block + PLATFORM_SLOT_STATUS));
    say("\n");
    answer(block, OST_WANTED, OST_GOOD);
}

static void
look(const char *name, uint16_t block, int *refusals)
{
    uint32_t slot, status;

    while ((slot = in32(block + PLATFORM_SLOT_SELECT)) != PLATFORM_SLOT_NONE) {
        out32(block + PLATFORM_SLOT_SELECT, slot);
        status = in32(block + PLATFORM_SLOT_STATUS);
        out32(block + PLATFORM_SLOT_STATUS, status & (PLATFORM_SLOT_INSERTED | PLATFORM_SLOT_WANTED));
        say(name);
        say_number(" ", slot);
        if (status & PLATFORM_SLOT_INSERTED)
            came(block);
        if (status & PLATFORM_SLOT_WANTED)
            wanted(block, (*refusals)-- > 0);
    }
}

void serve(void);
void
serve(void)
{
    int memory_refusals = 1, cpu_refusals = 1;
    uint32_t events;

    out32(PLATFORM_MEMORY_SLOTS_PORT + PLATFORM_SLOT_LISTEN, 1);
    out32(PLATFORM_CPU_SLOTS_PORT + PLATFORM_SLOT_LISTEN, 1);
    out8(PIC_2, PIC_READ_REQUESTS);
    say("listening\n");
    for (;;) {
        uint8_t requests = in8(PIC_2);

        events = in32(PLATFORM_EVENTS_PORT);
        if (events)
            say(requests & 1 << (PLATFORM_EVENTS_IRQ - 8) ? "interrupt\n" : "no interrupt\n");
        if (events & PLATFORM_EVENT_MEMORY)
            look("memory", PLATFORM_MEMORY_SLOTS_PORT, &memory_refusals);
        if (events & PLATFORM_EVENT_CPU)
            look("cpu", PLATFORM_CPU_SLOTS_PORT, &cpu_refusals);
        if (events & PLATFORM_EVENT_POWER)
            say("button\n");
        for (int i = 0; i < PAUSES; i++)
            __asm__ volatile("pause");
    }
}
