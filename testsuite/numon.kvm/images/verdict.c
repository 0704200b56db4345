/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Test kernels that give their verdict through the exit port, in numon and in QEMU (isa-debug-exit) alike: 0 is good,
 * else the number of the step that was not.  32-bit ring 0, loaded by Multiboot 1; one image a test, which -DTEST
 * names.  Short code in general registers only, as some KVMs emulate ring 0. */
#include <stdbool.h>
#include <stdint.h>

enum { EXIT_PORT = 0xf4, UART = 0x3f8, CMOS = 0x70, PIC_1 = 0x20, PIC_2 = 0xa0, PIT = 0x40 };
enum { MULTIBOOT_MAGIC = 0x1badb002, BOOTED_MAGIC = 0x2badb002, INFO_MEMORY = 1, INFO_COMMAND = 4, INFO_MAP = 64 };
enum { PAGE = 4096, SCRATCH = 0x800000, SCRATCH_SIZE = 0x10000 };

/* --- entry ------------------------------------------------------------------------------------------------------ */

__asm__(".section .multiboot, \"a\"\n .balign 4\n .long 0x1badb002, 0, -0x1badb002\n"
        ".text\n .globl _start\n"
        "_start: mov $stack_end, %esp\n push %ebx\n push %eax\n call verdict\n"
        " mov $0xf4, %edx\n out %eax, %dx\n"
        "1: hlt\n jmp 1b\n"
        ".bss\n .balign 16\n .skip 16384\n stack_end:\n .text\n");

struct info { uint32_t flags, lower, upper, device, command, modules, module_list, symbols[4], map_length,
              map_address; };

static inline void out8(uint16_t port, uint8_t value) { __asm__ volatile("outb %0, %1" :: "a"(value), "Nd"(port)); }
static inline uint8_t
in8(uint16_t port)
{
    uint8_t value;

    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static inline uint32_t
read_cr0(void)
{
    uint32_t value;

    __asm__ volatile("mov %%cr0, %0" : "=r"(value));
    return value;
}

static inline uint64_t
rdmsr(uint32_t index)
{
    uint32_t low, high;

    __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(index));
    return (uint64_t)high << 32 | low;
}

static inline void
wrmsr(uint32_t index, uint64_t value)
{
    __asm__ volatile("wrmsr" :: "c"(index), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)));
}

static inline void
cpuid(uint32_t leaf, uint32_t r[4])
{
    __asm__ volatile("cpuid" : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3]) : "a"(leaf), "c"(0));
}

/* --- interrupts and exceptions ---------------------------------------------------------------------------------- */

struct gate { uint16_t low, selector, type, high; };
static struct gate idt[256];
static const struct { uint16_t limit; uint32_t base; } __attribute__((packed)) idt_pointer = {
    sizeof idt - 1, (uint32_t)0
};
static volatile uint32_t caught, caught_error, ticks;

/* A vector's entry: tells which came, with its error code, and goes on behind the instruction by the address in
 * 'resume'. */
extern volatile uint32_t resume;
volatile uint32_t resume;
#define CATCH(n, pop) \
    __asm__(".text\n catch_" #n ": " pop "\n movl $" #n ", caught\n mov resume, %eax\n mov %eax, (%esp)\n iret\n")
CATCH(0, "movl $0, caught_error");
CATCH(6, "movl $0, caught_error");
CATCH(13, "popl caught_error");
CATCH(14, "popl caught_error");
__asm__(".text\n tick: push %eax\n incl ticks\n mov $0x20, %al\n outb %al, $0x20\n pop %eax\n iret\n");
void catch_0(void), catch_6(void), catch_13(void), catch_14(void), tick(void);

static void
set_gate(unsigned vector, void (*entry)(void))
{
    uint16_t selector;

    __asm__("mov %%cs, %0" : "=r"(selector));
    idt[vector] = (struct gate) { (uint32_t)entry & 0xffff, selector, 0x8e00, (uint32_t)entry >> 16 };
}

static void
load_idt(void)
{
    struct { uint16_t limit; uint32_t base; } __attribute__((packed)) pointer = { idt_pointer.limit, (uint32_t)idt };

    __asm__ volatile("lidt %0" :: "m"(pointer));
}

/* The Multiboot loader's GDT may be gone, and an iret loads CS anew. */
static void
load_gdt(void)
{
    static const uint64_t gdt[] = { 0, 0x00cf9b000000ffff, 0x00cf93000000ffff };
    struct { uint16_t limit; uint32_t base; } __attribute__((packed)) pointer = { sizeof gdt - 1, (uint32_t)gdt };

    __asm__ volatile("lgdt %0\n ljmp $8, $1f\n 1: mov $16, %%eax\n mov %%eax, %%ds\n mov %%eax, %%es\n mov %%eax, "
                     "%%ss\n"
                     :: "m"(pointer) : "eax", "memory");
}

/* Runs instructions that must raise a vector. */
#define RAISES(vector, error, ...) ({                                                                      \
    caught = 99;                                                                                            \
    __asm__ volatile("movl $1f, resume\n" __VA_ARGS__ "\n 1:" ::: "eax", "ecx", "edx", "memory");          \
    caught == (vector) && caught_error == (error); })

/* --- the tests -------------------------------------------------------------------------------------------------- */

/* What Multiboot 1 promises (0.6.96, 3.2 and 3.3). */
uint32_t
test_entry(uint32_t magic, const struct info *info)
{
    uint32_t flags;

    __asm__ volatile("pushf\n pop %0" : "=r"(flags));
    if (magic != BOOTED_MAGIC)
        return 1;
    if ((read_cr0() & 0x80000001) != 1)
        return 2;
    if (flags & (1 << 9 | 1 << 17))
        return 3;
    if ((info->flags & (INFO_MEMORY | INFO_COMMAND | INFO_MAP)) != (INFO_MEMORY | INFO_COMMAND | INFO_MAP))
        return 4;
    if (info->upper < 30 * 1024 || info->upper > 64 * 1024)
        return 5;
    for (uint32_t at = info->map_address; at < info->map_address + info->map_length; at += *(uint32_t *)at + 4) {
        const uint32_t *entry = (const uint32_t *)at;

        if (entry[5] == 1 && entry[1] <= SCRATCH && entry[1] + entry[3] >= SCRATCH + SCRATCH_SIZE)
            return 0;
    }
    return 6;
}

uint32_t
test_memory(uint32_t magic, const struct info *info)
{
    volatile uint32_t *words = (uint32_t *)SCRATCH;
    uint32_t old = 7, count = 256;
    void *to = (void *)SCRATCH;
    const void *from;

    __asm__ volatile("cld\n rep stosl" : "+D"(to), "+c"(count) : "a"(0x5a5aa5a5) : "memory");
    if (count || words[0] != 0x5a5aa5a5 || words[255] != 0x5a5aa5a5 || words[256] != 0)
        return 1;
    for (unsigned i = 0; i < 64; i++)
        words[i] = i * 0x01010101;
    from = (const void *)SCRATCH;
    to = (void *)(SCRATCH + PAGE - 16);         /* over a page's border */
    count = 64;
    __asm__ volatile("rep movsl" : "+D"(to), "+S"(from), "+c"(count) :: "memory");
    if (*(volatile uint32_t *)(SCRATCH + PAGE - 16 + 63 * 4) != 63 * 0x01010101u)
        return 2;
    words[0] = 7;
    __asm__ volatile("lock cmpxchgl %2, %1" : "+a"(old), "+m"(words[0]) : "r"(9) : "memory");
    if (old != 7 || words[0] != 9)
        return 3;
    __asm__ volatile("lock xaddl %0, %1" : "+r"(old), "+m"(words[0]) :: "memory");
    return old == 9 && words[0] == 16 ? 0 : 4;
}

uint32_t
test_exceptions(uint32_t magic, const struct info *info)
{
    load_gdt();
    set_gate(0, catch_0);
    set_gate(6, catch_6);
    set_gate(13, catch_13);
    load_idt();
    if (!RAISES(0, 0, "xor %%ecx, %%ecx\n xor %%edx, %%edx\n mov $1, %%eax\n div %%ecx"))
        return 1;
    if (!RAISES(6, 0, "ud2"))
        return 2;
    if (!RAISES(13, 0x40, "mov $0x40, %%eax\n mov %%eax, %%gs"))
        return 3;
    return 0;
}

/* Two levels, 4 KiB pages: the first 16 MiB onto themselves but for one page that is not there and one that is
 * elsewhere. */
uint32_t
test_paging(uint32_t magic, const struct info *info)
{
    static uint32_t directory[1024] __attribute__((aligned(4096))), tables[4][1024] __attribute__((aligned(4096)));
    volatile uint32_t *first = (uint32_t *)SCRATCH, *other = (uint32_t *)(SCRATCH + PAGE);
    volatile uint32_t *absent = (uint32_t *)(SCRATCH + 2 * PAGE);
    uint32_t address;

    for (uint32_t i = 0; i < 4 * 1024; i++)
        tables[i / 1024][i % 1024] = i * PAGE | 3;
    for (uint32_t i = 0; i < 4; i++)
        directory[i] = (uint32_t)tables[i] | 3;
    *first = 1;
    *other = 2;
    tables[SCRATCH >> 22][SCRATCH >> 12 & 1023] = (SCRATCH + PAGE) | 3;
    tables[SCRATCH >> 22][(SCRATCH >> 12 & 1023) + 2] = 0;
    load_gdt();
    set_gate(14, catch_14);
    load_idt();
    __asm__ volatile("mov %0, %%cr3\n mov %%cr0, %%eax\n or $0x80000000, %%eax\n mov %%eax, %%cr0"
                     :: "r"(directory) : "eax", "memory");
    if (*first != 2)
        return 1;
    *first = 3;
    if (*other != 3 || !(tables[SCRATCH >> 22][SCRATCH >> 12 & 1023] & 1 << 6))
        return 2;
    tables[SCRATCH >> 22][SCRATCH >> 12 & 1023] = SCRATCH | 3;
    __asm__ volatile("invlpg %0" :: "m"(*first) : "memory");
    if (*first != 1)
        return 3;
    if (!RAISES(14, 2, "movl $5, 0x802000"))
        return 4;
    __asm__ volatile("mov %%cr2, %0" : "=r"(address));
    return address == (uint32_t)absent ? 0 : 5;
}

/* Ten ticks of the PIT through the PICs. */
uint32_t
test_timer(uint32_t magic, const struct info *info)
{
    static const uint8_t words[][2] = { { PIC_1, 0x11 }, { PIC_2, 0x11 }, { PIC_1 + 1, 0x20 }, { PIC_2 + 1, 0x28 },
        { PIC_1 + 1, 4 }, { PIC_2 + 1, 2 }, { PIC_1 + 1, 1 }, { PIC_2 + 1, 1 }, { PIC_1 + 1, 0xfe },
        { PIC_2 + 1, 0xff },
        { PIT + 3, 0x34 }, { PIT, 0xa9 }, { PIT, 0x04 } };      /* 1193 of 1193182 Hz: a millisecond */

    load_gdt();
    set_gate(0x20, tick);
    load_idt();
    for (unsigned i = 0; i < sizeof words / sizeof words[0]; i++)
        out8(words[i][0], words[i][1]);
    while (ticks < 10)
        __asm__ volatile("sti\n hlt\n cli" ::: "memory");
    out8(PIC_1 + 1, 0xff);
    return 0;
}

uint32_t
test_apic(uint32_t magic, const struct info *info)
{
    volatile uint32_t *apic = (uint32_t *)0xfee00000;
    uint64_t base = rdmsr(0x1b);

    if ((base & 0xfffff000) != 0xfee00000 || !(base & 1 << 11) || !(base & 1 << 8))
        return 1;
    if ((apic[0x30 / 4] & 0xf0) != 0x10 || apic[0x20 / 4] >> 24 != 0)
        return 2;
    apic[0x80 / 4] = 0x50;                  /* task priority */
    if (apic[0x80 / 4] != 0x50)
        return 3;
    apic[0xf0 / 4] = 0x1ff;
    return apic[0xf0 / 4] == 0x1ff ? 0 : 4;
}

uint32_t
test_features(uint32_t magic, const struct info *info)
{
    uint32_t r[4];
    uint64_t efer;

    cpuid(0, r);
    if (r[0] < 1)
        return 1;
    cpuid(1, r);
    if ((r[3] & 0x07000311) != 0x07000311)      /* FPU, TSC, CX8, APIC, FXSR, SSE, SSE2 */
        return 2;
    cpuid(0x80000000, r);
    if (r[0] < 0x80000001)
        return 3;
    cpuid(0x80000001, r);
    if (!(r[3] & 1 << 29) || !(r[3] & 1 << 20))     /* long mode, no-execute */
        return 4;
    efer = rdmsr(0xc0000080);
    wrmsr(0xc0000080, efer | 1 << 11);
    return rdmsr(0xc0000080) == (efer | 1 << 11) ? 0 : 5;
}

static void
put(char c)
{
    while (!(in8(UART + 5) & 0x20))
        ;
    out8(UART, (uint8_t)c);
}

static void
put_hex(uint32_t value, char after)
{
    for (int shift = 28; shift >= 0; shift -= 4)
        put("0123456789abcdef"[value >> shift & 15]);
    put(after);
}

/* One leaf on the serial line, if it is not all zeros. */
static void
put_leaf(uint32_t leaf, uint32_t index)
{
    uint32_t r[4];

    __asm__ volatile("cpuid" : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3]) : "a"(leaf), "c"(index));
    if (!(r[0] | r[1] | r[2] | r[3]))
        return;
    put_hex(leaf, ' ');
    put_hex(index, ' ');
    for (unsigned i = 0; i < 4; i++)
        put_hex(r[i], i < 3 ? ' ' : '\n');
}

/* All that CPUID shows, for the suite to judge. */
uint32_t
test_cpuid(uint32_t magic, const struct info *info)
{
    static const uint32_t ranges[] = { 0, 0x40000000, 0x80000000 }, indexed[] = { 4, 7, 0xb, 0xd, 0x1f, 0x8000001d };
    uint32_t r[4];

    for (unsigned i = 0; i < 3; i++) {
        cpuid(ranges[i], r);
        if (r[0] - ranges[i] > 0x100)
            return 1;
        for (uint32_t leaf = ranges[i]; leaf <= r[0]; leaf++) {
            uint32_t indices = 1;

            for (unsigned k = 0; k < sizeof indexed / sizeof indexed[0]; k++)
                if (leaf == indexed[k])
                    indices = 10;
            for (uint32_t index = 0; index < indices; index++)
                put_leaf(leaf, index);
        }
    }
    return 0;
}

uint32_t
test_ports(uint32_t magic, const struct info *info)
{
    static const char text[] = "verdict\n";
    uint8_t status;

    out8(UART + 7, 0x5a);
    if (in8(UART + 7) != 0x5a)
        return 1;
    for (const char *c = text; *c; c++) {
        for (unsigned i = 0; !(in8(UART + 5) & 0x20); i++)
            if (i == 100000)
                return 2;
        out8(UART, *c);
    }
    out8(CMOS, 0x0d);
    if (!(in8(CMOS + 1) & 0x80))
        return 3;
    out8(CMOS, 0x0b);
    status = in8(CMOS + 1);
    return status & 2 ? 0 : 4;                      /* 24 hours */
}

static void
set_up_pics(uint8_t mask)
{
    static const uint8_t words[][2] = { { PIC_1, 0x11 }, { PIC_2, 0x11 }, { PIC_1 + 1, 0x20 }, { PIC_2 + 1, 0x28 },
        { PIC_1 + 1, 4 }, { PIC_2 + 1, 2 }, { PIC_1 + 1, 1 }, { PIC_2 + 1, 1 }, { PIC_2 + 1, 0xff } };

    for (unsigned i = 0; i < sizeof words / sizeof words[0]; i++)
        out8(words[i][0], words[i][1]);
    out8(PIC_1 + 1, mask);
}

/* What the first PIC has been asked for (its IRR), whether or not it is masked. */
static uint8_t
requested(void)
{
    out8(PIC_1, 0x0a);
    return in8(PIC_1);
}

/* The UART's interrupt line as far as the PIC, which needs no interrupt to be taken. */
uint32_t
test_line(uint32_t magic, const struct info *info)
{
    set_up_pics(0xff);
    out8(UART + 1, 0);
    out8(UART + 2, 0xc7);
    if (in8(UART + 2) != 0xc1 || requested() & 1 << 4)
        return 1;
    out8(UART + 1, 0x02);                           /* the transmitter is empty */
    if (!(requested() & 1 << 4) || in8(UART + 2) != 0xc2 || in8(UART + 2) != 0xc1)
        return 2;
    set_up_pics(0xff);
    if (requested() & 1 << 4)
        return 3;
    out8(UART + 1, 0x01);
    out8(UART + 4, 0x1b);                           /* loopback: what is sent comes back */
    for (unsigned i = 0; i < 14; i++) {
        if (requested() & 1 << 4)
            return 4;
        out8(UART, 'a' + i);
    }
    if (!(requested() & 1 << 4) || in8(UART + 2) != 0xc4)
        return 5;
    for (unsigned i = 0; i < 14; i++)
        if (in8(UART) != 'a' + i)
            return 6;
    return in8(UART + 5) == 0x60 && in8(UART + 2) == 0xc1 ? 0 : 7;
}

/* Each serial port that there is says which it is and pulls its own interrupt; then the last one is listened to. */
uint32_t
test_serials(uint32_t magic, const struct info *info)
{
    static const uint16_t bases[] = { 0x3f8, 0x2f8, 0x3e8, 0x2e8 };
    static const char text[] = "port ", got[] = "got ";
    uint16_t last = UART;

    for (unsigned i = 0; i < 4; i++) {
        unsigned irq = i % 2 ? 3 : 4;

        if (in8(bases[i] + 4) == 0xff)
            continue;
        last = bases[i];
        for (const char *c = text; *c; c++)
            out8(last, *c);
        out8(last, '0' + i);
        out8(last, '\n');
        out8(last + 1, 0);
        set_up_pics(0xff);
        if (requested() & 1 << irq)
            return 1 + i;
        out8(last + 1, 0x02);                       /* the transmitter is empty */
        if (!(requested() & 1 << irq) || (in8(last + 2) & 0x0f) != 0x02)
            return 5 + i;
        out8(last + 1, 0);
    }
    while (!(in8(last + 5) & 0x01))
        __asm__ volatile("pause");
    for (const char *c = got; *c; c++)
        out8(last, *c);
    out8(last, in8(last));
    out8(last, '\n');
    return 0;
}

/* Ten interrupts of an empty transmitter, each answered by the next byte. */
static volatile uint32_t sent;
void sent_one(void);
void
sent_one(void)
{
    if ((in8(UART + 2) & 0x0f) == 0x02 && ++sent < 10)
        out8(UART, '.');
    out8(PIC_1, 0x20);
}
__asm__(".text\n on_uart: pusha\n cld\n call sent_one\n popa\n iret\n");
void on_uart(void);

uint32_t
test_uart(uint32_t magic, const struct info *info)
{
    load_gdt();
    set_gate(0x24, on_uart);
    load_idt();
    set_up_pics((uint8_t)~(1 << 4));
    out8(UART + 2, 0x07);
    out8(UART + 4, 0x0b);
    out8(UART + 1, 0x02);
    while (sent < 10)
        __asm__ volatile("sti\n hlt\n cli" ::: "memory");
    out8(UART + 1, 0);
    return 0;
}

/* The power button's event, which the ACPI's methods would read, as soon as it is there; then S5. */
uint32_t
test_button(uint32_t magic, const struct info *info)
{
    static const char ready[] = "ready\r\n";

    for (const char *c = ready; *c; c++)
        out8(UART, *c);
    while (!(in8(0x604) & 4))
        ;
    out8(0x600, 0x20 | 5 << 2);
    return 1;
}

/* Resets once by each way there is, which the memory of the RTC counts, and then ends. */
uint32_t
test_resets(uint32_t magic, const struct info *info)
{
    static const uint16_t ways[][2] = { { 0x64, 0xfe }, { 0x92, 0x03 }, { 0xcf9, 0x06 }, { 0x602, 0x01 } };
    uint8_t count;

    out8(CMOS, 0x7f);
    count = in8(CMOS + 1);
    out8(CMOS + 1, count + 1);
    if (count < 4) {
        out8(ways[count][0], (uint8_t)ways[count][1]);
        return 1;
    }
    return count == 4 ? 0 : 2;
}

/* Finds the debug console, and says something there and on the serial line. */
uint32_t
test_debugcon(uint32_t magic, const struct info *info)
{
    if (in8(0xe9) != 0xe9)
        return 1;
    for (const char *c = "to the debug console\n"; *c; c++)
        out8(0xe9, *c);
    for (const char *c = "to the serial line\n"; *c; c++)
        out8(UART, *c);
    return 0;
}

/* No test of its own: says "ready", then what it receives, the case of letters turned, until that is '.'. */
uint32_t
test_echo(uint32_t magic, const struct info *info)
{
    static const char ready[] = "ready\r\n";
    uint8_t byte = 0;

    out8(UART + 2, 0x07);
    for (const char *c = ready; *c; c++)
        out8(UART, *c);
    while (byte != '.') {
        while (!(in8(UART + 5) & 1))
            ;
        byte = in8(UART);
        while (!(in8(UART + 5) & 0x20))
            ;
        out8(UART, byte >= 'A' ? byte ^ 0x20 : byte);
    }
    return 0;
}

/* A verdict that is not good must come through as it is. */
uint32_t
test_bad(uint32_t magic, const struct info *info)
{
    return 41;
}

uint32_t
verdict(uint32_t magic, const struct info *info)
{
    return TEST(magic, info);
}
