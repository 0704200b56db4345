/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The other CPUs where numon does not start them: INIT-SIPI-SIPI through the local APIC's registers in memory
 * (Intel SDM 3A, 8.4.4 and 10.4), from user mode. */
#include "guest.h"

enum { APIC = 0xfee00000 };
enum { APIC_ID = 0x20, APIC_SPURIOUS = 0xf0, APIC_COMMAND = 0x300, APIC_TARGET = 0x310 };
enum { SPURIOUS_ENABLE = 0x1ff, COMMAND_INIT = 0x4500, COMMAND_STARTUP = 0x4600, COMMAND_PENDING = 0x1000 };
enum { INIT_WAIT_US = 10000, STARTUP_WAIT_US = 200, ONLINE_WAIT_US = 1000, ONLINE_WAITS = 2000, XAPIC_IDS = 255 };

extern const char trampoline[], trampoline_end[];
extern uint8_t apic_to_cpu[256];
extern uint64_t gdt_tss[2 * GUEST_CPUS];
extern const char tss[];

static volatile uint32_t *
apic(unsigned offset)
{
    return (volatile uint32_t *)(uintptr_t)(APIC + offset);
}

uint32_t
apic_own_id(void)
{
    return *apic(APIC_ID) >> 24;
}

static void
command(uint32_t target, uint32_t what)
{
    *apic(APIC_TARGET) = target << 24;
    *apic(APIC_COMMAND) = what;
    for (unsigned i = 0; i < 1000 && *apic(APIC_COMMAND) & COMMAND_PENDING; i++)
        relax();
}

/* Descriptor of CPU n's task state segment: Intel SDM 3A, figure 7-4. */
static void
describe_tss(unsigned cpu)
{
    uint64_t base = (uintptr_t)tss + cpu * TSS_STRIDE;

    gdt_tss[2 * cpu] = (base & 0xffffff) << 16 | (base >> 24 & 0xff) << 56 | UINT64_C(0x89) << 40 | TSS_LIMIT;
    gdt_tss[2 * cpu + 1] = base >> 32;
}

static void
start_cpu(unsigned cpu)
{
    uint32_t id = cpu_page(cpu)->apic_id;
    const uint64_t *online = &cpu_page(cpu)->online;

    command(id, COMMAND_INIT);
    clock_spin(INIT_WAIT_US, NULL, 0);
    for (unsigned i = 0; i < 2 && !load(online); i++) {
        command(id, COMMAND_STARTUP | TRAMPOLINE_VECTOR);
        clock_spin(STARTUP_WAIT_US, online, 0);
    }
    for (unsigned i = 0; i < ONLINE_WAITS && !load(online); i++)
        clock_spin(ONLINE_WAIT_US, online, 0);
    if (!load(online)) {
        print("cpu ");
        print_number(cpu);
        print(" did not start\n");
    }
}

void
cpus_start(const struct platform *p)
{
    char *to = (char *)(uintptr_t)TRAMPOLINE;

    for (const char *from = trampoline; from < trampoline_end; )
        *to++ = *from++;
    for (unsigned i = 1; i < p->cpu_count; i++) {
        describe_tss(i);
        if (cpu_page(i)->apic_id < XAPIC_IDS)
            apic_to_cpu[cpu_page(i)->apic_id] = i;
    }
    /* With a local APIC that is not enabled by software, some KVMs never let the second CPU start. */
    *apic(APIC_SPURIOUS) = SPURIOUS_ENABLE;
    for (unsigned i = 1; i < p->cpu_count; i++)
        if (p->enabled[i] && cpu_page(i)->apic_id < XAPIC_IDS)
            start_cpu(i);
}
