/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the test programs of the KVM accelerator share: see the header. */
#include "kvm-bench.h"

#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <string.h>

/* Counts in R15 and tells it every few milliseconds. */
GUEST(guest_spin,
      "mov %esi, %edx\n mov $1, %eax\n out %eax, %dx\n"
      "1: inc %r15\n test $0x3fffff, %r15d\n jnz 1b\n mov %r15d, %eax\n out %eax, %dx\n jmp 1b");

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

void
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

uint64_t
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

void
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

void
put(struct bench *b, uint64_t gpa, const void *bytes, size_t size)
{
    g_assert_true(guest_map_write(b->map, gpa, bytes, size));
}

void
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

struct cpu_start
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

struct cpu_start
start_in_ring_0(unsigned cpu)
{
    struct cpu_start start = start_of(cpu);

    start.cs.selector = 0x08;
    start.ss.selector = 0x10;
    start.cs.dpl = start.ss.dpl = 0;
    return start;
}

void
make_vm(struct bench *b)
{
    static const unsigned apic_ids[] = { 0, 1, 2, 3 };
    static const int nodes[] = { -1, -1, -1, -1 };
    struct accel_setup setup = { .cpu_slots = b->cpu_count, .apic_ids = b->apic_ids ? b->apic_ids : apic_ids,
                                 .map = b->map, .bus = b->bus, .mailbox = b->mailbox, .cpu_nodes = nodes,
                                 .clock_stops = b->clock_stops,
                                 .dirty_log = b->dirty_log, .dirty_ring_size = b->dirty_ring_size };
    GError *error = NULL;

    b->accel = accel_kvm.create(&setup, &error);
    g_assert_no_error(error);
    b->run = run_new(&accel_kvm, b->accel, b->cpu_count, NULL, b->mailbox, on_event, b);
}

void
drop_vm(struct bench *b)
{
    run_free(b->run);
    accel_kvm.destroy(b->accel);
}

void
reset_cpus(struct bench *b)
{
    GError *error = NULL;

    for (unsigned cpu = 0; cpu < b->cpu_count; cpu++) {
        struct cpu_start start = start_of(cpu);

        accel_kvm.vcpu_reset(b->accel, cpu, &start, &error);
        g_assert_no_error(error);
    }
}

bool
kvm_has_rings(void)
{
    int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    bool has = fd >= 0 && ioctl(fd, KVM_CHECK_EXTENSION, KVM_CAP_DIRTY_LOG_RING) > 0;

    close_fd(&fd);
    return has;
}

bool
kvm_works(void)
{
    g_autoptr(GError) error = NULL;

    if (accel_kvm.probe(&error))
        return true;
    g_test_skip(error->message);
    return false;
}

bool
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
    b->irqs = irqs_new();
    b->uart = uart_new(b->serial, b->irqs, UART_GSI, NULL);
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

void
bench_release(struct bench *b)
{
    drop_vm(b);
    guest_map_free(b->map);
    uart_free(b->uart);
    irqs_free(b->irqs);
    serial_free(b->serial);
    bus_free(b->bus);
    mailbox_free(b->mailbox);
    condition_release(&b->station.changed);
    lock_release(&b->station.lock);
    g_free(b->last_text);
}

void
go(struct bench *b)
{
    GError *error = NULL;

    run_release(b->run, STOP_USER, &error);
    g_assert_no_error(error);
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

GByteArray *
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

void
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
void
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

void
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
