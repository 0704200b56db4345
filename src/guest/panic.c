/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Exceptions are fatal: say what happened, note it in the control page, stop.  Runs in ring 0. */
#include "guest.h"

/* What entry.S and the CPU leave on the stack. */
struct exception_frame { uint64_t vector, error, rip, cs, flags, rsp, ss; };

struct gate {
    uint16_t offset_low, selector;
    uint8_t stack, type;
    uint16_t offset_middle;
    uint32_t offset_high, unused;
};

enum { EXCEPTIONS = 32, STUB_SIZE = 16, GATE_INTERRUPT = 0x8e, GATE_FROM_USER = 0xee, VECTOR_BREAKPOINT = 3 };

extern const char exception_stubs[];
extern struct gate idt[EXCEPTIONS];

void
exceptions_init(void)
{
    for (unsigned i = 0; i < EXCEPTIONS; i++) {
        uint64_t stub = (uintptr_t)exception_stubs + i * STUB_SIZE;

        idt[i] = (struct gate) {
            .offset_low = stub, .selector = SELECTOR_CODE, .offset_middle = stub >> 16, .offset_high = stub >> 32,
            .type = i == VECTOR_BREAKPOINT ? GATE_FROM_USER : GATE_INTERRUPT,
        };
    }
}

void panic_exception(const struct exception_frame *f, uint64_t cr2) __attribute__((noreturn));
void
panic_exception(const struct exception_frame *f, uint64_t cr2)
{
    store(&head->panic, f->vector);
    store(&head->stage, STAGE_PANIC);
    print_begin();
    print("panic: vector ");
    print_number(f->vector);
    print(" error ");
    print_hex(f->error);
    print(" rip ");
    print_hex(f->rip);
    print(" rsp ");
    print_hex(f->rsp);
    print(" cr2 ");
    print_hex(cr2);
    print("\n");
    print_end();
    for (;;)
        if (head->flags & CONTROL_FLAG_NAP)
            out32(CONTROL_NAP_PORT, 1000000);
        else
            __asm__ volatile("cli; hlt");
}
