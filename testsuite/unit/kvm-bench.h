/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The KVM accelerator under run control, with small guests that start in ring 3 with paging on, a TSS whose I/O
 * bitmap opens every port, and no IDT: whatever goes wrong in them is a triple fault.  IOPL 3 opens the ports once
 * more: page-table KVM takes it away, but a software processor with SVM finds no bitmap in the busy TSS that a CPU
 * has which is started with its task register loaded.
 *
 * Each guest finds its CPU index in RDI, the base of its test ports in RSI, the virtual address of its MMIO
 * registers in RBX and of its data in RBP.  Test ports, by CPU 16 of them: +0 value written, +4 reads count up from
 * 1, +8 something went wrong.  MMIO reads count up likewise. */
#ifndef KVM_BENCH_H
#define KVM_BENCH_H

#include "accel.h"

enum {
    GDT = 0x1000, PML4 = 0x2000, PDPT = 0x3000, PD_RAM = 0x4000, PD_MMIO = 0x5000, CODE = 0x8000, AP_CODE = 0x9000,
    TSS = 0x10000, TSS_STRIDE = 0x3000, TSS_LIMIT = 0x2068, TSS_IOMAP = 0x68,
    STACK = 0x30000, DATA = 0x40000,
    MMIO_VIRTUAL = 0x40000000, MMIO = 0xd0000000, MMIO_STRIDE = 0x100,
    CROSS = MMIO + 0x1ffc,              /* eight bytes of CPU 0 on two pages; the other CPUs' one page on each */
    PORTS = 0x600, PORT_STRIDE = 16,
    CPUS = 4, PAGES = 1374, FREE_PAGE = 128,
    REGISTER_BYTES = 18 * 8 + 8 * 23 + 2 * 10 + 7 * 8,     /* general, segments, tables, control registers */
    RFLAGS_IOPL_3 = 0x3002,
    WAIT_SECONDS = 20,
};

#define GUEST(name, body)                                                                                       \
    extern const uint8_t name[], name##_end[];                                                                  \
    __asm__(".pushsection .rodata\n.globl " #name ", " #name "_end\n" #name ":\n" body "\n" #name "_end:\n"   \
            ".popsection\n")

/* Counts in R15 and tells it every few milliseconds. */
extern const uint8_t guest_spin[], guest_spin_end[];

/* What the guests talk to.  It outlives a VM: a guest that is moved goes on with it. */
struct station {
    struct lock lock;                       /* rank 15 */
    struct condition changed;
    uint64_t value[CPUS], written[CPUS];    /* last value, and how many */
    uint64_t in[CPUS], mmio[CPUS], cross[CPUS];     /* reads so far */
    uint64_t wrong;
    uint64_t sizes[3];                      /* last value written to +12 with 1, 2, 4 bytes */
};

struct bench {
    struct mailbox *mailbox;
    struct station station;
    struct bus *bus;
    struct serial *serial;
    struct uart *uart;
    struct irqs *irqs;
    struct guest_map *map;
    const uint8_t *code;
    unsigned cpu_count;
    bool clock_stops;                       /* of VMs made from now on */
    const unsigned *apic_ids;               /* likewise; NULL: the CPU's numbers */
    enum dirty_log dirty_log;               /* likewise */
    unsigned dirty_ring_size;
    struct accel *accel;
    struct run *run;
    unsigned events;
    enum vcpu_exit last_event;
    char *last_text;
};

/* Skips the test, with the reason, where there is no KVM. */
bool kvm_works(void);
/* Whether there is KVM with dirty rings. */
bool kvm_has_rings(void);
/* A machine whose CPUs run 'code' from the start.  False if there is no KVM here: the test is skipped. */
bool bench_init(struct bench *b, unsigned cpu_count, const uint8_t *code, const uint8_t *end);
#define BENCH(b, cpus, guest) bench_init(b, cpus, guest, guest##_end)
void bench_release(struct bench *b);
/* The accelerator alone, over the same memory and devices. */
void make_vm(struct bench *b);
void drop_vm(struct bench *b);
void reset_cpus(struct bench *b);
struct cpu_start start_of(unsigned cpu);
struct cpu_start start_in_ring_0(unsigned cpu);
/* Takes the user's stop away. */
void go(struct bench *b);
void put(struct bench *b, uint64_t gpa, const void *bytes, size_t size);
void put_u64(struct bench *b, uint64_t gpa, uint64_t value);
/* Waits until the CPU has told 'value' or more; what it told last. */
void wait_value(struct station *s, unsigned cpu, uint64_t value);
uint64_t value_now(struct station *s, unsigned cpu);
void wait_event(struct bench *b);

/* All sections of the accelerator as they travel. */
GByteArray *save(struct bench *b);
/* Guest memory into fresh blocks. */
void move_memory(struct bench *b);
void load(struct bench *b, const GByteArray *bytes);
/* Moves everything into a new VM, which must then say the same of vCPU 0's registers (time goes on in other
 * parts). */
void hop(struct bench *b);

#endif
