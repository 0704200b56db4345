/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the files of the workload guest share.
 *
 * The guest is one image that any x86-64 VMM can load at 1 MiB.  entry.S brings CPU 0 into 64-bit mode with every
 * address below 4 GiB mapped one to one, and at once into user mode (ring 3), where everything else happens: ports
 * are open through the I/O permission bitmap of the task state segment, interrupts stay off, there are no system
 * calls.  Ring 0 is left for exceptions, which are fatal: panic.c.  On a page-table KVM an instruction in ring 0
 * costs 0.7 us and most vector instructions fail there, so all code uses general registers only.
 *
 * Every CPU keeps its total of page writes in r15, in all code (-ffixed-r15): the witness that travels in vCPU
 * state and not in RAM.
 *
 * What it prints on the serial port at 0x3f8 (a contract; the synthetic accelerator prints the same lines):
 *
 *   numon workload guest
 *   nodes 2 cpus 4                             without SRAT: nodes 1
 *   node 0 cpus 0 1 size 1024 MB               one a node; CPU numbers rising; MB = 2^20 bytes, rounded to nearest
 *   node 1 cpus none size 512 MB               a node without CPUs
 *   distance 0: 10 21                          one a node, only if the guest was given distances (SLIT)
 *   distance 1: 21 10
 *   tick 1 pages 12345                         each interval: number from 1, pages written by all CPUs so far
 *
 * Lines end with "\n" alone.  Anything unusual is one line more before the first tick: "cpu 3 did not start",
 * "tsc frequency not found, 1000000 kHz assumed", "panic: ...".
 */
#ifndef GUEST_H
#define GUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "control-page.h"
#include "layout.h"

#define head  ((struct control_head *)(uintptr_t)CONTROL_GPA)
#define nodes ((struct control_node *)(uintptr_t)CONTROL_NODES_GPA)

static inline struct control_cpu *
cpu_page(uint64_t cpu)
{
    return (struct control_cpu *)(uintptr_t)(CONTROL_CPUS_GPA + cpu * CONTROL_PAGE);
}

/* --- instructions ---------------------------------------------------------------------------------------------- */

static inline void
out8(uint16_t port, uint8_t value)
{
    __asm__ volatile("outb %0, %1" :: "a"(value), "Nd"(port));
}

static inline uint8_t
in8(uint16_t port)
{
    uint8_t value;

    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static inline void
out32(uint16_t port, uint32_t value)
{
    __asm__ volatile("outl %0, %1" :: "a"(value), "Nd"(port));
}

static inline uint64_t
read_tsc(void)
{
    uint32_t low, high;

    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    return (uint64_t)high << 32 | low;
}

static inline void
relax(void)
{
    __asm__ volatile("pause" ::: "memory");
}

/* A word that another CPU or numon may change at any time. */
static inline uint64_t
load(const uint64_t *word)
{
    return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

static inline void
store(uint64_t *word, uint64_t value)
{
    __atomic_store_n(word, value, __ATOMIC_RELEASE);
}

/* --- serial.c --------------------------------------------------------------------------------------------------- */

void serial_init(void);
/* Around lines that two CPUs might print at once.  Waits for the other, but not for ever: it may be the very CPU that
 * was printing and got an exception. */
void print_begin(void);
void print_end(void);
void print(const char *text);
void print_number(uint64_t n);
void print_hex(uint64_t n);

/* --- memory.c: what the loader says of RAM, and page tables for what lies above 4 GiB --------------------------- */

struct piece { uint64_t base, size; };

enum { PIECES = 128 };

struct loader_info {
    struct piece ram[PIECES];           /* usable RAM */
    unsigned ram_count;
    uint64_t rsdp;                      /* 0: not told */
    char command_line[1024];            /* cut if longer */
};

/* Reads what lies behind EBX for this way in (ENTRY_). */
void loader_read(unsigned entry, uint64_t info, struct loader_info *ret);
/* Makes [base, base + size) accessible; returns how many bytes from 'base' are, page tables being finite. */
uint64_t map_range(uint64_t base, uint64_t size);

/* --- acpi.c: SRAT, SLIT and MADT, every length checked ---------------------------------------------------------- */

struct affinity { uint64_t base, size, node; };

enum { AFFINITIES = 512 };

struct platform {
    unsigned cpu_count;                 /* at least 1; with slots that are free */
    bool enabled[CONTROL_CPUS];         /* it is there; the first one always */
    uint32_t apic_id[CONTROL_CPUS];
    uint32_t cpu_node[CONTROL_CPUS];
    unsigned node_count;                /* 0: no SRAT */
    struct affinity memory[AFFINITIES];
    unsigned memory_count;
    bool has_distances;
    uint8_t distance[CONTROL_NODES][CONTROL_NODES];
};

void acpi_read(uint64_t rsdp, struct platform *ret);

/* --- layout.c --------------------------------------------------------------------------------------------------- */

/* Fills control_node and control_cpu pages from what was found. */
void lay_out(struct platform *p, const struct loader_info *info);
void print_topology(const struct platform *p, const struct loader_info *info);

/* --- parameters.c ----------------------------------------------------------------------------------------------- */

/* Reads KEY=VALUE words of the command line; unknown ones are passed over. '*ret_tsc_khz' unchanged if absent. */
void parameters_parse(const char *command_line, struct control_parameters *p, uint64_t *ret_tsc_khz);
/* Copies the parameters if numon has changed them since 'sequence' and is not just writing; true if so. */
bool parameters_refresh(struct control_parameters *p, uint64_t *sequence);

/* --- clock.c: the time stamp counter, which may jump or go backwards when the guest is moved -------------------- */

/* kHz, measured against the PIT (Intel 8254); 0 if that does not count. */
uint64_t clock_measure(void);
/* Time stamp ticks since the last call, 0 if time went backwards. */
uint64_t clock_elapsed(uint64_t *last);
/* Waits without giving up the CPU; ends early when '*word' is no longer 'value' (NULL: never). */
void clock_spin(uint64_t microseconds, const uint64_t *word, uint64_t value);

/* --- smp.c ------------------------------------------------------------------------------------------------------ */

uint32_t apic_own_id(void);
/* Starts the other CPUs that are there by INIT-SIPI and waits until each is online or it takes too long. */
void cpus_start(const struct platform *p);

/* --- panic.c ---------------------------------------------------------------------------------------------------- */

/* Fills the interrupt descriptor table. */
void exceptions_init(void);

/* --- probe.c ---------------------------------------------------------------------------------------------------- */

struct probing { uint64_t request, node; };     /* how far the CPU is with it */

/* Measures the next node if numon asks for it; true if there are more. */
bool probe_turn(struct probing *p, struct control_probe *probe, uint64_t khz);

/* --- work.c ----------------------------------------------------------------------------------------------------- */

/* Every CPU ends here. */
void work(uint64_t cpu) __attribute__((noreturn));
/* Gives up the vCPU for at most so long if numon offers it, else spins; ends early on new parameters. */
void rest(uint64_t microseconds, uint64_t sequence);

#endif
