/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The KVM accelerator under run control, with small guests that start in ring 3 with paging on, a TSS whose I/O
 * bitmap opens every port, and no IDT: whatever goes wrong in them is a triple fault.  IOPL 3 opens the ports once
 * more: page-table KVM takes it away, but a software processor with SVM finds no bitmap in the busy TSS that a CPU
 * has which is started with its task register loaded.
 *
 * Each guest finds its CPU index in RDI, the base of its test ports in RSI, the virtual address of its MMIO
 * registers in RBX and of its data in RBP.  Test ports, by CPU 16 of them: +0 value written, +4 reads count up from
 * 1, +8 something went wrong.  MMIO reads count up likewise. */
#include "accel.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

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

/* Says hello on the UART byte by byte, then by a string instruction; reads 16 numbers by one string instruction;
 * ports of each size; then counts for ever. */
GUEST(guest_hello,
      "lea 8f(%rip), %r8\n mov $0x3f8, %edx\n"
      "1: mov (%r8), %al\n out %al, %dx\n inc %r8\n cmpb $0, (%r8)\n jne 1b\n"
      "lea 9f(%rip), %rsi\n mov $6, %ecx\n cld\n rep outsb\n"
      "mov $0x604, %edx\n mov %rbp, %rdi\n mov $16, %ecx\n rep insl\n"
      "mov $0x60c, %edx\n mov $0x11, %al\n out %al, %dx\n mov $0x2222, %ax\n out %ax, %dx\n"
      "mov $0x33333333, %eax\n out %eax, %dx\n"
      "mov $0x600, %edx\n mov $1, %eax\n out %eax, %dx\n"
      "2: inc %r15\n jmp 2b\n"
      "8: .asciz \"hi \"\n 9: .ascii \"there\\n\"");

/* Counts in R15, reading each time a port, an MMIO register, and one that lies across two pages, which takes two
 * exits; all must say what the count says.  XMM0 and memory carry the count besides.  Each eighth time a string goes
 * to the UART, an exit a byte. */
GUEST(guest_count,
      "xor %r15d, %r15d\n movq %r15, %xmm0\n mov %r15, (%rbp)\n"
      "1: lea 4(%rsi), %edx\n in %dx, %eax\n lea 1(%r15), %r8\n cmp %r8d, %eax\n jne 9f\n"
      "mov (%rbx), %eax\n cmp %r8d, %eax\n jne 9f\n"
      "mov %rdi, %r10\n shl $12, %r10\n mov $0x40001ffc, %r11d\n mov (%r10, %r11), %rax\n"
      "lea 1(, %r15, 2), %r9\n cmp %r9d, %eax\n jne 9f\n shr $32, %rax\n inc %r9\n cmp %r9d, %eax\n jne 9f\n"
      "movq %xmm0, %r9\n cmp %r9, %r15\n jne 9f\n cmp (%rbp), %r15\n jne 9f\n"
      "inc %r15\n movq %r15, %xmm0\n mov %r15, (%rbp)\n"
      "test $7, %r15b\n jnz 1b\n"
      "mov $50, %eax\n mov $0x510, %edx\n out %eax, %dx\n"
      "test %edi, %edi\n jnz 2f\n"
      "mov %rsi, %r10\n lea 8f(%rip), %rsi\n mov $8, %ecx\n mov $0x3f8, %edx\n cld\n rep outsb\n mov %r10, %rsi\n"
      "2: mov %r15d, %eax\n mov %esi, %edx\n out %eax, %dx\n jmp 1b\n"
      "8: .ascii \"abcdefgh\"\n"
      "9: lea 8(%rsi), %edx\n out %eax, %dx\n jmp 9b");

/* Waits for [RBP] to change, then writes to each of the [RBP+8] pages whose addresses follow, and tells. */
GUEST(guest_pages,
      "xor %r15d, %r15d\n"
      "1: pause\n cmp (%rbp), %r15\n je 1b\n"
      "mov (%rbp), %r15\n mov 8(%rbp), %rcx\n lea 16(%rbp), %r8\n"
      "2: mov (%r8), %r9\n movq %r15, (%r9)\n add $8, %r8\n dec %rcx\n jnz 2b\n"
      "mov %r15d, %eax\n mov %esi, %edx\n out %eax, %dx\n jmp 1b");

/* Tells 1, naps ten seconds, tells 2, then naps 20 ms and tells 3. */
GUEST(guest_nap,
      "mov %esi, %edx\n mov $1, %eax\n out %eax, %dx\n"
      "mov $0x510, %edx\n mov $10000000, %eax\n out %eax, %dx\n"
      "mov %esi, %edx\n mov $2, %eax\n out %eax, %dx\n"
      "mov $0x510, %edx\n mov $20000, %eax\n out %eax, %dx\n"
      "mov %esi, %edx\n mov $3, %eax\n out %eax, %dx\n"
      "1: pause\n jmp 1b");

GUEST(guest_fault, "mov %esi, %edx\n mov $1, %eax\n out %eax, %dx\n ud2");
GUEST(guest_lost, "jmp *%rbx");
/* Counts in R15 and tells it every few milliseconds. */
GUEST(guest_spin,
      "mov %esi, %edx\n mov $1, %eax\n out %eax, %dx\n"
      "1: inc %r15\n test $0x3fffff, %r15d\n jnz 1b\n mov %r15d, %eax\n out %eax, %dx\n jmp 1b");

/* Ring 0: enables its local APIC in x2APIC form, tells 1, waits for [RBP], then sends INIT and SIPI to APIC id 1,
 * which starts in real mode at AP_CODE, tells 7 and halts. */
GUEST(guest_wakes,
      "mov $0x1b, %ecx\n rdmsr\n or $0xc00, %eax\n wrmsr\n"
      "mov $0x80f, %ecx\n mov $0x1ff, %eax\n xor %edx, %edx\n wrmsr\n"
      "mov $1, %eax\n mov %esi, %edx\n out %eax, %dx\n"
      "1: pause\n cmpl $0, (%rbp)\n je 1b\n"
      "mov $0x830, %ecx\n mov $1, %edx\n mov $0x4500, %eax\n wrmsr\n mov $0x4609, %eax\n wrmsr\n"
      "2: pause\n jmp 2b");
GUEST(guest_woken,
      ".code16\n mov $0x610, %dx\n mov $7, %eax\n out %eax, %dx\n 1: hlt\n jmp 1b\n .code64");

/* --- the machine ------------------------------------------------------------------------------------------------ */

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
    struct guest_map *map;
    const uint8_t *code;
    unsigned cpu_count;
    struct accel *accel;
    struct run *run;
    unsigned events;
    enum vcpu_exit last_event;
    char *last_text;
};

static uint64_t
station_read(void *device, uint64_t offset, unsigned size)
{
    struct station *s = device;
    uint64_t value;

    lock_take(&s->lock);
    value = ++s->in[offset / PORT_STRIDE];
    lock_drop(&s->lock);
    return value;
}

static void
station_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct station *s = device;
    unsigned cpu = offset / PORT_STRIDE;

    lock_take(&s->lock);
    switch (offset % PORT_STRIDE) {
    case 0:
        s->value[cpu] = value;
        s->written[cpu]++;
        break;
    case 8:
        s->wrong++;
        break;
    case 12:
        s->sizes[size / 2] = value;
        break;
    }
    condition_broadcast(&s->changed);
    lock_drop(&s->lock);
}

static uint64_t
station_mmio_read(void *device, uint64_t offset, unsigned size)
{
    struct station *s = device;
    uint64_t value;

    lock_take(&s->lock);
    value = ++s->mmio[offset / MMIO_STRIDE];
    lock_drop(&s->lock);
    return value;
}

static uint64_t
station_cross_read(void *device, uint64_t offset, unsigned size)
{
    struct station *s = device;
    uint64_t value;

    lock_take(&s->lock);
    value = ++s->cross[offset / PAGE_SIZE];
    lock_drop(&s->lock);
    return value;
}

/* Waits until the CPU has told 'value' or more. */
static void
wait_value(struct station *s, unsigned cpu, uint64_t value)
{
    int64_t deadline = g_get_monotonic_time() + WAIT_SECONDS * G_USEC_PER_SEC;
    bool in_time = true;
    uint64_t now, wrong;

    lock_take(&s->lock);
    while (s->value[cpu] < value && !s->wrong && in_time)
        in_time = condition_wait_until(&s->changed, &s->lock, deadline);
    now = s->value[cpu];
    wrong = s->wrong;
    lock_drop(&s->lock);
    g_assert_cmpuint(wrong, ==, 0);
    g_assert_cmpuint(now, >=, value);
}

static uint64_t
value_now(struct station *s, unsigned cpu)
{
    uint64_t value;

    lock_take(&s->lock);
    value = s->value[cpu];
    lock_drop(&s->lock);
    return value;
}

static void
on_event(void *self, const struct run_event *e)
{
    struct bench *b = self;

    b->events++;
    b->last_event = e->what;
    g_free(b->last_text);
    b->last_text = g_strdup(e->text);
}

static void
wait_event(struct bench *b)
{
    while (!b->events)
        g_main_context_iteration(NULL, TRUE);
    b->events = 0;
}

/* Two blocks, of which the guest sees pieces at offsets that are no multiple of 64 pages. */
static struct guest_map *
make_map(void)
{
    static const struct { unsigned block, gpa, size, offset; } pieces[] = {
        { 0, 0, 600, 7 }, { 1, 600, 450, 65 }, { 0, 1050, 324, 700 },
    };
    struct guest_map *map = guest_map_new();
    struct backend_options options;
    static const char *const names[] = { "a", "b" };

    for (unsigned i = 0; i < 2; i++) {
        struct block *block;

        backend_options_init_default(&options, names[i], (i ? 515 : 1024) * PAGE_SIZE);
        block = block_new(&options, NULL);
        g_assert_nonnull(block);
        guest_map_take_block(map, block);
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(pieces); i++) {
        struct section s = {
            .gpa = (uint64_t)pieces[i].gpa * PAGE_SIZE, .size = (uint64_t)pieces[i].size * PAGE_SIZE,
            .block = g_ptr_array_index(map->blocks, pieces[i].block),
            .offset = (uint64_t)pieces[i].offset * PAGE_SIZE, .node = -1,
        };

        guest_map_add(map, &s);
    }
    return map;
}

static void
put(struct bench *b, uint64_t gpa, const void *bytes, size_t size)
{
    g_assert_true(guest_map_write(b->map, gpa, bytes, size));
}

static void
put_u64(struct bench *b, uint64_t gpa, uint64_t value)
{
    put(b, gpa, &value, sizeof(value));
}

static void
lay_out_guest(struct bench *b, size_t code_size)
{
    static const uint64_t gdt[] = { 0, 0x00af9b000000ffff, 0x00cf93000000ffff, 0x00affb000000ffff,
                                    0x00cff3000000ffff };
    static const uint8_t ones = 0xff;

    put(b, GDT, gdt, sizeof(gdt));
    put_u64(b, PML4, PDPT | 7);
    put_u64(b, PDPT, PD_RAM | 7);
    put_u64(b, PDPT + 8, PD_MMIO | 7);
    for (uint64_t i = 0; i < 512; i++)
        put_u64(b, PD_RAM + 8 * i, i * 2 * MIB | 0x87);
    put_u64(b, PD_MMIO, MMIO | 0x87);
    for (unsigned cpu = 0; cpu < CPUS; cpu++) {
        uint64_t base = TSS + cpu * TSS_STRIDE;
        uint16_t iomap = TSS_IOMAP;

        put(b, base + 0x66, &iomap, sizeof(iomap));
        put(b, base + TSS_LIMIT, &ones, 1);
        put_u64(b, GDT + 0x28 + 16 * cpu, TSS_LIMIT | (base & 0xffffff) << 16 | UINT64_C(0x8b) << 40);
    }
    put(b, CODE, b->code, code_size);
}

static struct cpu_start
start_of(unsigned cpu)
{
    struct cpu_segment data = { .selector = 0x23, .limit = UINT32_MAX, .type = 3, .dpl = 3, .present = 1, .db = 1,
                                .s = 1, .g = 1 };
    struct cpu_segment code = { .selector = 0x1b, .limit = UINT32_MAX, .type = 11, .dpl = 3, .present = 1, .s = 1,
                                .l = 1, .g = 1 };

    return (struct cpu_start) {
        .kind = CPU_START_DIRECT, .rip = CODE, .rsp = STACK + (cpu + 1) * PAGE_SIZE, .rflags = RFLAGS_IOPL_3,
        .rdi = cpu, .rsi = PORTS + cpu * PORT_STRIDE, .rbx = MMIO_VIRTUAL + cpu * MMIO_STRIDE,
        .rbp = DATA + cpu * 4 * PAGE_SIZE,
        .cr0 = 0x80010033, .cr3 = PML4, .cr4 = 0x620, .efer = 0x500,
        .cs = code, .ds = data, .es = data, .fs = data, .gs = data, .ss = data,
        .tr = { .selector = (uint16_t)(0x28 + 16 * cpu), .base = TSS + cpu * TSS_STRIDE, .limit = TSS_LIMIT,
                .type = 11, .present = 1 },
        .gdt_base = GDT, .gdt_limit = 0x28 + 16 * CPUS - 1,
    };
}

static struct cpu_start
start_in_ring_0(unsigned cpu)
{
    struct cpu_start start = start_of(cpu);

    start.cs.selector = 0x08;
    start.ss.selector = 0x10;
    start.cs.dpl = start.ss.dpl = 0;
    return start;
}

static void
make_vm(struct bench *b)
{
    static const unsigned apic_ids[] = { 0, 1, 2, 3 };
    static const int nodes[] = { -1, -1, -1, -1 };
    struct accel_setup setup = { .cpu_count = b->cpu_count, .apic_ids = apic_ids, .map = b->map, .bus = b->bus,
                                 .mailbox = b->mailbox, .cpu_nodes = nodes };
    GError *error = NULL;

    b->accel = accel_kvm.create(&setup, &error);
    g_assert_no_error(error);
    b->run = run_new(&accel_kvm, b->accel, b->cpu_count, b->mailbox, on_event, b);
}

static void
drop_vm(struct bench *b)
{
    run_free(b->run);
    accel_kvm.destroy(b->accel);
}

static void
reset_cpus(struct bench *b)
{
    GError *error = NULL;

    for (unsigned cpu = 0; cpu < b->cpu_count; cpu++) {
        struct cpu_start start = start_of(cpu);

        accel_kvm.vcpu_reset(b->accel, cpu, &start, &error);
        g_assert_no_error(error);
    }
}

static bool
kvm_works(void)
{
    g_autoptr(GError) error = NULL;

    if (accel_kvm.probe(&error))
        return true;
    g_test_skip(error->message);
    return false;
}

/* False if there is no KVM here: the test is skipped, with the reason. */
static bool
bench_init(struct bench *b, unsigned cpu_count, const uint8_t *code, const uint8_t *end)
{
    static const struct bus_ops ports = { station_read, station_write };
    static const struct bus_ops mmio = { station_mmio_read, station_write };
    static const struct bus_ops cross = { station_cross_read, station_write };

    if (!kvm_works())
        return false;
    *b = (struct bench) { .cpu_count = cpu_count, .code = code };
    lock_init(&b->station.lock, 15, "test station");
    condition_init(&b->station.changed);
    b->mailbox = mailbox_new(NULL);
    b->bus = bus_new();
    b->serial = serial_new("null", b->mailbox, NULL);
    b->uart = uart_new(b->serial);
    g_assert_true(uart_attach(b->uart, b->bus, 0x3f8, NULL));
    g_assert_true(bus_claim(b->bus, BUS_PORT, PORTS, PORT_STRIDE * CPUS, "test", &ports, &b->station, NULL));
    g_assert_true(bus_claim(b->bus, BUS_MMIO, MMIO, MMIO_STRIDE * CPUS, "test", &mmio, &b->station, NULL));
    g_assert_true(bus_claim(b->bus, BUS_MMIO, CROSS, PAGE_SIZE * (CPUS - 1) + 8, "test", &cross, &b->station, NULL));
    b->map = make_map();
    lay_out_guest(b, end - code);
    make_vm(b);
    reset_cpus(b);
    return true;
}
#define BENCH(b, cpus, guest) bench_init(b, cpus, guest, guest##_end)

static void
bench_release(struct bench *b)
{
    drop_vm(b);
    guest_map_free(b->map);
    uart_free(b->uart);
    serial_free(b->serial);
    bus_free(b->bus);
    mailbox_free(b->mailbox);
    condition_release(&b->station.changed);
    lock_release(&b->station.lock);
    g_free(b->last_text);
}

static void
go(struct bench *b)
{
    GError *error = NULL;

    run_release(b->run, STOP_USER, &error);
    g_assert_no_error(error);
}

/* --- tests ------------------------------------------------------------------------------------------------------ */

static void
test_hello(void)
{
    struct bench b;
    uint64_t position = 0, witness;
    g_autofree char *text = NULL;
    uint32_t numbers[16];
    size_t size;

    if (!BENCH(&b, 1, guest_hello))
        return;
    go(&b);
    wait_value(&b.station, 0, 1);
    run_hold(b.run, STOP_USER);
    text = serial_read(b.serial, &position, &size);
    g_assert_cmpstr(text, ==, "hi there\n");
    g_assert_true(guest_map_read(b.map, DATA, numbers, sizeof(numbers)));
    for (unsigned i = 0; i < 16; i++)
        g_assert_cmpuint(numbers[i], ==, i + 1);
    g_assert_cmphex(b.station.sizes[0], ==, 0x11);
    g_assert_cmphex(b.station.sizes[1], ==, 0x2222);
    g_assert_cmphex(b.station.sizes[2], ==, 0x33333333);
    g_assert_true(accel_kvm.vcpu_witness(b.accel, 0, &witness, NULL));
    g_assert_cmpuint(accel_kvm.tsc_khz(b.accel), >, 100000);
    bench_release(&b);
}

static void
test_creation_time(void)
{
    struct bench b;
    int64_t begin, made, told;

    if (!BENCH(&b, CPUS, guest_spin))
        return;
    drop_vm(&b);
    begin = g_get_monotonic_time();
    make_vm(&b);
    reset_cpus(&b);
    made = g_get_monotonic_time();
    go(&b);
    wait_value(&b.station, 0, 1);
    told = g_get_monotonic_time();
    g_test_message("4 vCPUs: %" G_GINT64_FORMAT " us to create and reset, %" G_GINT64_FORMAT " us to the first OUT",
                   made - begin, told - made);
    g_assert_cmpint(told - begin, <, G_USEC_PER_SEC);
    bench_release(&b);
}

/* --- moving ----------------------------------------------------------------------------------------------------- */

struct cursor { const GByteArray *bytes; size_t at; };

static bool
cursor_read(void *from, void *bytes, size_t size, GError **error)
{
    struct cursor *c = from;

    if (size > c->bytes->len - c->at)
        return fail(error, NUMON_ERROR_PEER, "stream ended");
    memcpy(bytes, c->bytes->data + c->at, size);
    c->at += size;
    return true;
}

static GByteArray *
save(struct bench *b)
{
    GByteArray *bytes = g_byte_array_new();
    unsigned count;
    const struct state_section *s = accel_kvm.sections(b->accel, &count);
    GError *error = NULL;

    for (unsigned i = 0; i < count; i++) {
        if (s[i].before_save)
            s[i].before_save(s[i].object, &error);
        g_assert_no_error(error);
        state_save(&s[i], bytes);
    }
    return bytes;
}

static void
load(struct bench *b, const GByteArray *bytes)
{
    struct cursor c = { .bytes = bytes };
    unsigned count;
    const struct state_section *s = accel_kvm.sections(b->accel, &count);
    GError *error = NULL;

    for (unsigned i = 0; i < count; i++) {
        state_load(&s[i], s[i].version, cursor_read, &c, &error);
        g_assert_no_error(error);
        if (s[i].after_load)
            s[i].after_load(s[i].object, &error);
        g_assert_no_error(error);
    }
    g_assert_cmpuint(c.at, ==, bytes->len);
}

/* Copies RAM into fresh blocks, as a migration does. */
static void
move_memory(struct bench *b)
{
    struct guest_map *to = make_map();

    for (unsigned i = 0; i < to->blocks->len; i++) {
        struct block *old = g_ptr_array_index(b->map->blocks, i), *new = g_ptr_array_index(to->blocks, i);

        memcpy(new->host, old->host, old->size);
    }
    guest_map_free(b->map);
    b->map = to;
}

/* Into a new VM, which must then say the same of vCPU 0's registers (time goes on in other parts). */
static void
hop(struct bench *b)
{
    g_autoptr(GByteArray) bytes = save(b), again = NULL;

    drop_vm(b);
    move_memory(b);
    make_vm(b);
    load(b, bytes);
    again = save(b);
    g_assert_cmpuint(again->len, ==, bytes->len);
    g_assert_cmpmem(again->data, REGISTER_BYTES, bytes->data, REGISTER_BYTES);
}

static void
test_moves(gconstpointer data)
{
    unsigned cpus = GPOINTER_TO_UINT(data), hops = cpus == CPUS ? 50 : 20;
    struct bench b;
    uint64_t seen = 0, position = 0;
    g_autofree char *text = NULL;
    size_t size;

    if (!BENCH(&b, cpus, guest_count))
        return;
    for (unsigned i = 0; i < hops; i++) {
        go(&b);
        g_usleep(g_test_rand_int_range(0, 4000));       /* a moment, not a wait */
        run_hold(b.run, STOP_USER);
        hop(&b);
    }
    /* All go on after the last move, and have lost nothing. */
    for (unsigned cpu = 0; cpu < cpus; cpu++)
        seen += b.station.value[cpu];
    go(&b);
    for (unsigned cpu = 0; cpu < cpus; cpu++)
        wait_value(&b.station, cpu, value_now(&b.station, cpu) + 8);
    run_hold(b.run, STOP_USER);
    for (unsigned cpu = 0; cpu < cpus; cpu++) {
        uint64_t witness, stored;

        g_assert_true(accel_kvm.vcpu_witness(b.accel, cpu, &witness, NULL));
        g_assert_true(guest_map_read(b.map, start_of(cpu).rbp, &stored, sizeof(stored)));
        g_assert_cmpuint(witness - stored, <=, 1);      /* stopped between the two */
        g_assert_cmpuint(b.station.in[cpu] - witness, <=, 1);
    }
    g_assert_cmpuint(b.station.wrong, ==, 0);
    text = serial_read(b.serial, &position, &size);
    for (size_t i = 0; i < size; i++)
        g_assert_cmpint(text[i], ==, "abcdefgh"[i % 8]);
    g_test_message("%u vCPUs, %u moves, count of all %" G_GUINT64_FORMAT, cpus, hops, seen);
    bench_release(&b);
}

/* --- dirty log -------------------------------------------------------------------------------------------------- */

/* Where a page of guest memory lies in its block. */
static uint64_t
block_page(const struct section *s, uint64_t page)
{
    return (page * PAGE_SIZE - s->gpa + s->offset) / PAGE_SIZE;
}

/* Has the guest write to these pages of guest memory and waits for it. */
static void
write_pages(struct bench *b, uint64_t turn, const unsigned *pages, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        put_u64(b, DATA + 16 + 8 * i, (uint64_t)pages[i] * PAGE_SIZE);
    put_u64(b, DATA + 8, count);
    put_u64(b, DATA, turn);
    go(b);
    wait_value(&b->station, 0, turn);
    run_hold(b->run, STOP_USER);
}

/* Processors with nested paging may write to page tables as they walk them (AMD APM 2, 15.25.6), so those are not
 * looked at. */
static void
expect_log(struct bench *b, struct dirty_source log, const unsigned *pages, unsigned count)
{
    const struct section *tables = guest_map_find(b->map, PML4);

    for (unsigned i = 0; i < b->map->blocks->len; i++) {
        struct block *block = g_ptr_array_index(b->map->blocks, i);
        uint64_t words = WORDS_FOR(block->page_count);
        g_autofree uint64_t *want = g_new0(uint64_t, words), *got = g_new0(uint64_t, words);

        for (unsigned p = 0; p < count; p++) {
            const struct section *s = guest_map_find(b->map, (uint64_t)pages[p] * PAGE_SIZE);

            if (s->block == block)
                bit_set(want, block_page(s, pages[p]));
        }
        g_assert_true(log.collect(log.self, block, got, NULL));
        if (block == tables->block)
            bits_clear(got, block_page(tables, PML4 / PAGE_SIZE), (CODE - PML4) / PAGE_SIZE);
        g_assert_cmpmem(got, words * 8, want, words * 8);
    }
}

static void
test_dirty(void)
{
    struct bench b;
    struct dirty_source log;
    unsigned pages[200], count, edges[] = { FREE_PAGE, 599, 600, 1049, 1050, PAGES - 1 };

    if (!BENCH(&b, 1, guest_pages))
        return;
    log = accel_kvm.dirty_source(b.accel);
    write_pages(&b, 1, edges, G_N_ELEMENTS(edges));     /* page tables get their marks now */
    g_assert_true(log.start(log.self, NULL));
    for (uint64_t turn = 2; turn < 10; turn++) {
        count = (unsigned)g_test_rand_int_range(1, G_N_ELEMENTS(pages));
        for (unsigned i = 0; i < count; i++)
            pages[i] = (unsigned)g_test_rand_int_range(FREE_PAGE, PAGES);
        if (turn == 2) {
            memcpy(pages, edges, sizeof(edges));
            count = MAX(count, G_N_ELEMENTS(edges));
            for (unsigned i = G_N_ELEMENTS(edges); i < count; i++)
                pages[i] = edges[i % G_N_ELEMENTS(edges)];
        }
        write_pages(&b, turn, pages, count);
        expect_log(&b, log, pages, count);
        expect_log(&b, log, NULL, 0);
    }
    log.stop(log.self);
    write_pages(&b, 10, edges, G_N_ELEMENTS(edges));
    g_assert_true(log.start(log.self, NULL));
    expect_log(&b, log, NULL, 0);
    bench_release(&b);
}

/* --- kicks, naps, ends ------------------------------------------------------------------------------------------ */

static void
test_kicks(void)
{
    struct bench b;
    int64_t begin, took, best = INT64_MAX;          /* the rest says how busy the host is */
    uint64_t before = 0, witness;

    if (!BENCH(&b, 2, guest_spin))
        return;
    for (unsigned i = 0; i < 20; i++) {
        go(&b);
        for (unsigned cpu = 0; cpu < 2; cpu++)
            wait_value(&b.station, cpu, value_now(&b.station, cpu) + 1);
        begin = g_get_monotonic_time();
        run_hold(b.run, STOP_USER);
        took = g_get_monotonic_time() - begin;
        best = MIN(best, took);
        g_assert_true(accel_kvm.vcpu_witness(b.accel, 1, &witness, NULL));
        g_assert_true(i == 0 || witness > before);      /* the first tells before it counts */
        before = witness;
    }
    g_test_message("holding 2 spinning vCPUs takes %" G_GINT64_FORMAT " us", best);
    g_assert_cmpint(best, <, 50000);
    bench_release(&b);
}

static void
test_nap(void)
{
    struct bench b;
    int64_t begin;

    if (!BENCH(&b, 1, guest_nap))
        return;
    begin = g_get_monotonic_time();
    go(&b);
    wait_value(&b.station, 0, 1);
    g_usleep(2000);                     /* so that it sleeps; should it not yet, the nap is cut all the same */
    run_hold(b.run, STOP_USER);
    hop(&b);
    go(&b);
    wait_value(&b.station, 0, 2);
    g_assert_cmpint(g_get_monotonic_time() - begin, <, 5 * G_USEC_PER_SEC);
    begin = g_get_monotonic_time();
    wait_value(&b.station, 0, 3);
    g_test_message("the rest of a nap of 20 ms: %" G_GINT64_FORMAT " us", g_get_monotonic_time() - begin);
    g_assert_cmpint(g_get_monotonic_time() - begin, >, 10000);
    run_hold(b.run, STOP_USER);
    g_assert_cmpuint(b.station.written[0], ==, 3);
    bench_release(&b);
}

static void
test_triple_fault(void)
{
    struct bench b;

    if (!BENCH(&b, 2, guest_fault))
        return;
    for (unsigned i = 1; i <= 3; i++) {
        go(&b);
        wait_event(&b);
        g_assert_cmpint(b.last_event, ==, VCPU_RESET);
        g_assert_true(run_reasons(b.run) & STOP_CHANGE);
        run_hold(b.run, STOP_CHANGE | STOP_USER);
        g_assert_cmpuint(b.station.written[0], <=, i);
        g_assert_cmpuint(b.station.written[0] + b.station.written[1], >=, i);
        reset_cpus(&b);
        g_assert_true(run_release(b.run, STOP_CHANGE, NULL));
    }
    bench_release(&b);
}

/* In ring 0, as user mode gets an exception from KVM instead. */
static void
test_internal_error(void)
{
    struct bench b;
    struct cpu_start start = start_in_ring_0(0);

    if (!BENCH(&b, 1, guest_lost))
        return;
    g_assert_true(accel_kvm.vcpu_reset(b.accel, 0, &start, NULL));
    go(&b);
    wait_event(&b);
    g_assert_cmpint(b.last_event, ==, VCPU_ERROR);
    g_test_message("%s", b.last_text);
    g_assert_nonnull(strstr(b.last_text, "cannot emulate"));
    g_assert_nonnull(strstr(b.last_text, "rip 0x40000000"));
    g_assert_true(run_reasons(b.run) & STOP_ERROR);
    bench_release(&b);
}

/* A CPU that waits for its start-up message, and one that has halted, can be held and moved. */
static void
test_startup(void)
{
    struct bench b;
    struct cpu_start start = start_in_ring_0(0), wait = { .kind = CPU_START_WAIT };

    if (!BENCH(&b, 2, guest_wakes))
        return;
    put(&b, AP_CODE, guest_woken, guest_woken_end - guest_woken);
    g_assert_true(accel_kvm.vcpu_reset(b.accel, 0, &start, NULL));
    g_assert_true(accel_kvm.vcpu_reset(b.accel, 1, &wait, NULL));
    go(&b);
    wait_value(&b.station, 0, 1);
    run_hold(b.run, STOP_USER);
    hop(&b);
    go(&b);
    g_assert_cmpuint(value_now(&b.station, 1), ==, 0);
    put_u64(&b, start.rbp, 1);
    wait_value(&b.station, 1, 7);
    run_hold(b.run, STOP_USER);
    hop(&b);
    go(&b);
    run_hold(b.run, STOP_USER);
    g_assert_cmpuint(b.station.written[1], ==, 1);
    bench_release(&b);
}

static void
test_describe(void)
{
    struct bench b;
    g_autoptr(GString) lines = g_string_new(NULL), other = g_string_new(NULL);

    if (!BENCH(&b, 2, guest_spin))
        return;
    accel_kvm.describe(b.accel, lines);
    drop_vm(&b);
    make_vm(&b);
    accel_kvm.describe(b.accel, other);
    g_assert_cmpstr(lines->str, ==, other->str);
    g_test_message("%s", lines->str);
    g_assert_nonnull(strstr(lines->str, "kvm-tsc-khz="));
    bench_release(&b);
}

static void
test_many(void)
{
    unsigned ids[128];
    int nodes[128];
    struct bench b;
    struct accel_setup setup = { .cpu_count = 128, .apic_ids = ids, .cpu_nodes = nodes };
    GError *error = NULL;
    struct accel *many;

    if (!BENCH(&b, 1, guest_spin))
        return;
    for (unsigned i = 0; i < 128; i++) {
        ids[i] = i * 2;
        nodes[i] = -1;
    }
    setup.map = b.map;
    setup.bus = b.bus;
    setup.mailbox = b.mailbox;
    many = accel_kvm.create(&setup, &error);
    g_assert_no_error(error);
    for (unsigned i = 0; i < 128; i++) {
        struct cpu_start start = { .kind = CPU_START_WAIT };

        if (i == 0)
            start = start_of(0);
        accel_kvm.vcpu_reset(many, i, &start, &error);
        g_assert_no_error(error);
    }
    accel_kvm.destroy(many);
    setup.cpu_count = 129;
    g_assert_null(accel_kvm.create(&setup, &error));
    g_assert_error(error, NUMON_ERROR, NUMON_ERROR_LIMIT);
    g_clear_error(&error);
    bench_release(&b);
}

int
main(int argc, char **argv)
{
    main_thread_claim();
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/kvm/hello", test_hello);
    g_test_add_func("/kvm/creation-time", test_creation_time);
    g_test_add_data_func("/kvm/moves/1", GUINT_TO_POINTER(1), test_moves);
    g_test_add_data_func("/kvm/moves/2", GUINT_TO_POINTER(2), test_moves);
    g_test_add_data_func("/kvm/moves/4", GUINT_TO_POINTER(4), test_moves);
    g_test_add_func("/kvm/dirty", test_dirty);
    g_test_add_func("/kvm/kicks", test_kicks);
    g_test_add_func("/kvm/nap", test_nap);
    g_test_add_func("/kvm/triple-fault", test_triple_fault);
    g_test_add_func("/kvm/internal-error", test_internal_error);
    g_test_add_func("/kvm/startup", test_startup);
    g_test_add_func("/kvm/describe", test_describe);
    g_test_add_func("/kvm/many", test_many);
    return g_test_run();
}
