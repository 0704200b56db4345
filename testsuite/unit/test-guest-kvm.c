/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The workload guest on the smallest KVM runner there can be: boot_load's memory and registers, a serial port, the
 * nap port.  Shows that the image runs by itself, and that what the vCPUs' registers count is what memory holds. */
#include "boot.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <linux/kvm.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { VCPUS = 2, NODE_MIB = 32, UART = 0x3f8, UART_STATUS = 0x3fd, TSS_GPA = 0xfffbd000, RUN_LIMIT_S = 20 };
#define BUILTIN "builtin:workload"
enum { CPUID_ENTRIES = 256 };

struct vm;

struct vcpu {
    struct vm *vm;
    int fd;
    struct kvm_run *run;
    size_t run_size;
    struct thread thread;
    _Atomic int tid;
    uint64_t total;                     /* r15 at the end */
};

struct vm {
    int kvm, fd;
    struct guest_map *map;
    struct topology_final topology;
    struct vcpu vcpus[VCPUS];
    int64_t start_us;
    _Atomic bool stop;
    struct lock lock;                   /* rank 15; for what follows, while vCPUs run */
    GString *serial;
    int64_t first_byte_us;              /* after the start */
    char *failure;
};

/* --- one vCPU --------------------------------------------------------------------------------------------------- */

static void
copy_segment(struct kvm_segment *to, const struct cpu_segment *from)
{
    *to = (struct kvm_segment) {
        .base = from->base, .limit = from->limit, .selector = from->selector, .type = from->type,
        .present = from->present, .dpl = from->dpl, .db = from->db, .s = from->s, .l = from->l, .g = from->g,
    };
}

static void
set_registers(struct vcpu *v, const struct cpu_start *s)
{
    struct kvm_regs regs = {
        .rip = s->rip, .rsp = s->rsp, .rflags = s->rflags, .rax = s->rax, .rbx = s->rbx, .rcx = s->rcx,
        .rdx = s->rdx, .rsi = s->rsi, .rdi = s->rdi, .rbp = s->rbp,
    };
    struct kvm_mp_state runnable = { KVM_MP_STATE_RUNNABLE };
    struct kvm_sregs sregs;

    if (s->kind == CPU_START_WAIT)
        return;
    g_assert_cmpint(ioctl(v->fd, KVM_GET_SREGS, &sregs), ==, 0);
    copy_segment(&sregs.cs, &s->cs);
    copy_segment(&sregs.ds, &s->ds);
    copy_segment(&sregs.es, &s->es);
    copy_segment(&sregs.fs, &s->fs);
    copy_segment(&sregs.gs, &s->gs);
    copy_segment(&sregs.ss, &s->ss);
    copy_segment(&sregs.tr, &s->tr);
    copy_segment(&sregs.ldt, &s->ldt);
    sregs.gdt = (struct kvm_dtable) { .base = s->gdt_base, .limit = s->gdt_limit };
    sregs.idt = (struct kvm_dtable) { .base = s->idt_base, .limit = s->idt_limit };
    sregs.cr0 = s->cr0;
    sregs.cr3 = s->cr3;
    sregs.cr4 = s->cr4;
    sregs.efer = s->efer;
    g_assert_cmpint(ioctl(v->fd, KVM_SET_SREGS, &sregs), ==, 0);
    g_assert_cmpint(ioctl(v->fd, KVM_SET_REGS, &regs), ==, 0);
    g_assert_cmpint(ioctl(v->fd, KVM_SET_MP_STATE, &runnable), ==, 0);
}

static void
give_up(struct vm *vm, const char *why, uint64_t detail)
{
    lock_take(&vm->lock);
    if (!vm->failure)
        vm->failure = g_strdup_printf("%s %" G_GUINT64_FORMAT, why, (guint64)detail);
    lock_drop(&vm->lock);
    atomic_store(&vm->stop, true);
}

static void
port(struct vm *vm, struct kvm_run *run)
{
    uint8_t *data = (uint8_t *)run + run->io.data_offset;
    uint32_t us;

    if (run->io.direction == KVM_EXIT_IO_IN) {
        memset(data, run->io.port == UART_STATUS ? 0x60 : 0xff, run->io.size * run->io.count);
    } else if (run->io.port == UART) {
        lock_take(&vm->lock);
        if (vm->serial->len == 0)
            vm->first_byte_us = g_get_monotonic_time() - vm->start_us;
        g_string_append_len(vm->serial, (char *)data, run->io.count);
        lock_drop(&vm->lock);
    } else if (run->io.port == CONTROL_NAP_PORT && run->io.size == 4) {
        memcpy(&us, data, sizeof us);
        g_usleep(MIN(us, 20000));
    }
}

static void *
vcpu_body(void *data)
{
    struct vcpu *v = data;
    struct kvm_regs regs;

    atomic_store(&v->tid, (int)syscall(SYS_gettid));
    while (!atomic_load(&v->vm->stop)) {
        if (ioctl(v->fd, KVM_RUN, 0) < 0) {
            if (errno != EINTR && errno != EAGAIN)
                give_up(v->vm, "KVM_RUN failed, errno", (uint64_t)errno);
            continue;
        }
        if (v->run->exit_reason == KVM_EXIT_IO)
            port(v->vm, v->run);
        else if (v->run->exit_reason != KVM_EXIT_INTR && v->run->exit_reason != KVM_EXIT_MMIO)
            give_up(v->vm, "exit reason", v->run->exit_reason);
    }
    /* Completes a pending port access. */
    __atomic_store_n(&v->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
    ioctl(v->fd, KVM_RUN, 0);
    if (ioctl(v->fd, KVM_GET_REGS, &regs) == 0)
        v->total = regs.r15;
    return NULL;
}

static void
nothing(int signal_number)
{
}

/* --- the machine ------------------------------------------------------------------------------------------------ */

static void
add_node(struct vm *vm, unsigned node)
{
    struct backend_options o;
    g_autofree char *name = g_strdup_printf("m%u", node);
    uint64_t size = NODE_MIB * MIB, gpa = node * size;
    struct kvm_userspace_memory_region slot;
    struct block *b;

    backend_options_init_default(&o, name, size);
    b = block_new(&o, NULL);
    g_assert_nonnull(b);
    guest_map_take_block(vm->map, b);
    guest_map_add(vm->map, &(struct section) { .gpa = gpa, .size = size, .block = b, .node = (int)node });
    slot = (struct kvm_userspace_memory_region) {
        .slot = node, .guest_phys_addr = gpa, .memory_size = size, .userspace_addr = (uint64_t)(uintptr_t)b->host,
    };
    g_assert_cmpint(ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION, &slot), ==, 0);
}

static void
new_vcpu(struct vm *vm, unsigned i)
{
    g_autofree struct kvm_cpuid2 *cpuid = g_malloc0(sizeof *cpuid + CPUID_ENTRIES * sizeof cpuid->entries[0]);
    struct vcpu *v = &vm->vcpus[i];

    cpuid->nent = CPUID_ENTRIES;
    v->vm = vm;
    v->fd = ioctl(vm->fd, KVM_CREATE_VCPU, i);
    g_assert_cmpint(v->fd, >=, 0);
    v->run_size = (size_t)ioctl(vm->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
    v->run = mmap(NULL, v->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd, 0);
    g_assert_true(v->run != MAP_FAILED);
    g_assert_cmpint(ioctl(vm->kvm, KVM_GET_SUPPORTED_CPUID, cpuid), ==, 0);
    g_assert_cmpint(ioctl(v->fd, KVM_SET_CPUID2, cpuid), ==, 0);
}

static bool
vm_init(struct vm *vm)
{
    *vm = (struct vm) { .start_us = g_get_monotonic_time(), .fd = -1, .map = guest_map_new() };
    vm->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (vm->kvm >= 0)
        vm->fd = ioctl(vm->kvm, KVM_CREATE_VM, 0);
    if (vm->fd < 0) {
        g_autofree char *why = g_strdup_printf("/dev/kvm: %s", g_strerror(errno));

        g_test_skip(why);
        guest_map_free(vm->map);
        close_fd(&vm->kvm);
        return false;
    }
    g_assert_cmpint(ioctl(vm->fd, KVM_SET_TSS_ADDR, TSS_GPA), ==, 0);
    /* Slots first: once there are vCPUs each costs a grace period of the kernel, 4 ms. */
    for (unsigned i = 0; i < VCPUS; i++)
        add_node(vm, i);
    g_assert_cmpint(ioctl(vm->fd, KVM_CREATE_IRQCHIP, 0), ==, 0);
    lock_init(&vm->lock, 15, "serial");
    vm->serial = g_string_new(NULL);
    vm->topology.smp = (struct smp) { .cpus = VCPUS, .maxcpus = VCPUS, .levels = { VCPUS, 1, 1, 1, 1 } };
    bits_set(vm->topology.present, 0, VCPUS);
    vm->topology.node_count = VCPUS;
    vm->topology.has_distances = true;
    for (unsigned i = 0; i < VCPUS; i++) {
        new_vcpu(vm, i);
        vm->topology.cpu_node[i] = (uint8_t)i;
        vm->topology.node_size[i] = NODE_MIB * MIB;
        for (unsigned j = 0; j < VCPUS; j++)
            vm->topology.distance[i][j] = i == j ? 10 : 21;
    }
    return true;
}

static void
vm_start(struct vm *vm, const char *kernel, bool direct, const struct control_parameters *p,
         const char *command_line)
{
    g_autoptr(boot_files) files = boot_files_open(kernel, NULL, NULL);
    struct boot_setup setup = {
        .map = vm->map, .topology = &vm->topology, .files = files, .command_line = command_line,
        .direct_cpus = direct, .workload = p,
        .tsc_khz = (uint64_t)ioctl(vm->vcpus[0].fd, KVM_GET_TSC_KHZ, 0),
    };
    struct cpu_start starts[VCPUS];
    g_autoptr(GError) error = NULL;

    boot_load(&setup, starts, &error);
    g_assert_no_error(error);
    for (unsigned i = 0; i < VCPUS; i++)
        set_registers(&vm->vcpus[i], &starts[i]);
    for (unsigned i = 0; i < VCPUS; i++)
        g_assert_true(thread_start(&vm->vcpus[i].thread, "vcpu", vcpu_body, &vm->vcpus[i], NULL));
}

static const struct control_head *
head_of(struct vm *vm)
{
    return guest_map_host(vm->map, CONTROL_GPA, sizeof(struct control_head));
}

static struct control_cpu *
cpu_of(struct vm *vm, unsigned cpu)
{
    return guest_map_host(vm->map, CONTROL_CPUS_GPA + cpu * CONTROL_PAGE, sizeof(struct control_cpu));
}

static uint64_t
peek(const uint64_t *word)
{
    return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

/* Until the guest has printed so many ticks, or something went wrong. */
static void
wait_ticks(struct vm *vm, uint64_t ticks)
{
    int64_t deadline = g_get_monotonic_time() + RUN_LIMIT_S * G_USEC_PER_SEC;

    while (peek(&head_of(vm)->ticks) < ticks && !atomic_load(&vm->stop) && peek(&head_of(vm)->stage) != STAGE_PANIC)
        if (g_get_monotonic_time() > deadline) {
            give_up(vm, "too few ticks:", peek(&head_of(vm)->ticks));
            return;
        } else {
            g_usleep(1000);
        }
}

static void
wait_text(struct vm *vm, const char *text)
{
    int64_t deadline = g_get_monotonic_time() + RUN_LIMIT_S * G_USEC_PER_SEC;
    bool seen = false;

    while (!seen && g_get_monotonic_time() < deadline) {
        lock_take(&vm->lock);
        seen = strstr(vm->serial->str, text) != NULL;
        lock_drop(&vm->lock);
        g_usleep(1000);
    }
    g_assert_true(seen);
}

/* Stops the vCPUs; their totals are then known. */
static void
vm_stop(struct vm *vm)
{
    atomic_store(&vm->stop, true);
    for (unsigned i = 0; i < VCPUS; i++) {
        struct vcpu *v = &vm->vcpus[i];

        __atomic_store_n(&v->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
        while (!atomic_load(&v->tid))
            g_usleep(100);
        syscall(SYS_tgkill, getpid(), atomic_load(&v->tid), SIGUSR1);
        thread_join(&v->thread);
    }
    if (vm->failure)
        g_test_message("%s", vm->failure);
    g_test_message("serial: %s", vm->serial->str);
    g_assert_null(vm->failure);
}

static void
vm_release(struct vm *vm)
{
    for (unsigned i = 0; i < VCPUS; i++) {
        munmap(vm->vcpus[i].run, vm->vcpus[i].run_size);
        close_fd(&vm->vcpus[i].fd);
    }
    close_fd(&vm->fd);
    close_fd(&vm->kvm);
    g_string_free(vm->serial, TRUE);
    lock_release(&vm->lock);
    guest_map_free(vm->map);
}

/* --- what memory says ------------------------------------------------------------------------------------------- */

/* Every page of the CPU's area in a node against its table; returns the sum of generations. */
static uint64_t
check_area(struct vm *vm, unsigned cpu, unsigned node)
{
    const struct control_node *nodes = guest_map_host(vm->map, CONTROL_NODES_GPA, sizeof *nodes * VCPUS);
    const struct control_cpu *c = cpu_of(vm, cpu);
    struct control_area area = control_area(nodes, VCPUS, cpu, c->node, c->rank, node);
    uint64_t sum = 0;

    g_assert_cmpuint(c->used[node], <=, area.capacity);
    for (uint64_t i = 0; i < area.capacity; i++) {
        const uint64_t *entry = guest_map_host(vm->map, area.table + i * 8, 8);
        const uint64_t *page = guest_map_host(vm->map, area.pages + i * CONTROL_PAGE, CONTROL_PAGE);

        sum += *entry;
        if (*entry == 0)
            continue;
        g_assert_cmpuint(i, <, c->used[node]);
        if (c->announced == (area.pages / CONTROL_PAGE + i) + 1)
            continue;
        g_assert_cmpuint(page[WORD_NUMBER], ==, area.pages / CONTROL_PAGE + i);
        g_assert_cmpuint(page[WORD_GENERATION], ==, *entry);
        g_assert_cmpuint(page[WORD_CHECKSUM], ==, control_checksum(page));
    }
    return sum;
}

static void
check_totals(struct vm *vm)
{
    for (unsigned cpu = 0; cpu < VCPUS; cpu++) {
        const struct control_cpu *c = cpu_of(vm, cpu);
        uint64_t sum = 0, total = vm->vcpus[cpu].total;

        for (unsigned node = 0; node < VCPUS; node++)
            sum += check_area(vm, cpu, node);
        g_assert_cmpuint(c->mismatches, ==, 0);
        g_assert_cmpuint(total, >, 0);
        if (c->announced)
            g_assert_true(sum == total || sum == total + 1);
        else
            g_assert_cmpuint(sum, ==, total);
    }
}

static const char topology_text[] =
    "numon workload guest\n"
    "nodes 2 cpus 2\n"
    "node 0 cpus 0 size 32 MB\n"
    "node 1 cpus 1 size 32 MB\n"
    "distance 0: 10 21\n"
    "distance 1: 21 10\n"
    "tick 1 pages ";

static void
run_guest(const char *kernel, bool direct, const struct control_parameters *p, const char *command_line)
{
    struct vm vm;

    if (!vm_init(&vm))
        return;
    vm_start(&vm, kernel, direct, p, command_line);
    wait_ticks(&vm, 3);
    vm_stop(&vm);
    g_assert_cmpuint(head_of(&vm)->stage, ==, STAGE_RUNNING);
    g_test_message("first serial byte after %" G_GINT64_FORMAT " us", vm.first_byte_us);
    g_assert_true(g_str_has_prefix(vm.serial->str, topology_text));
    g_assert_cmpuint(cpu_of(&vm, 1)->online, ==, 1);
    check_totals(&vm);
    vm_release(&vm);
}

static void
direct_start_runs_and_loses_nothing(void)
{
    struct control_parameters p = {
        .pattern = PATTERN_RANDOM, .write = WRITE_LINE, .fill = FILL_TEXT, .node = CONTROL_NODE_OWN, .size = MIB,
        .interval_ms = 20,
    };

    run_guest(BUILTIN, true, &p, NULL);
}

static void
startup_messages_work_too(void)
{
    run_guest(BUILTIN, false, NULL, "quiet pattern=sequential rate=50000 write=page size=1M node=0 interval=20 "
              "fill=zero");
}

/* How many times slower than usual this machine may be; the rig says so. */
static uint64_t
slowness(void)
{
    const char *factor = g_getenv("NUMON_TIME_FACTOR");

    return factor ? MAX(g_ascii_strtoull(factor, NULL, 10), 1) : 1;
}

static void
rate_is_kept_and_changes_act(void)
{
    struct control_parameters p = {
        .pattern = PATTERN_HOT, .fill = FILL_RANDOM, .node = CONTROL_NODE_OWN, .size = MIB, .interval_ms = 10,
        .rate = 20000,
    };
    struct control_head *head;
    struct vm vm;
    uint64_t before, after, rate;
    int64_t start;

    if (!vm_init(&vm))
        return;
    vm_start(&vm, BUILTIN, true, &p, NULL);
    wait_ticks(&vm, 2);
    /* A new setting acts soon: here, standing still. */
    head = guest_map_host(vm.map, CONTROL_GPA, sizeof *head);
    start = g_get_monotonic_time();
    before = peek(&cpu_of(&vm, 1)->pages_written);
    wait_ticks(&vm, peek(&head->ticks) + 30);
    after = peek(&cpu_of(&vm, 1)->pages_written);
    rate = (after - before) * G_USEC_PER_SEC / (uint64_t)(g_get_monotonic_time() - start);
    g_test_message("rate %" G_GUINT64_FORMAT " of 20000", (guint64)rate);
    /* Losing the CPU makes it slower on a busy host, nothing makes it faster. */
    g_assert_cmpuint(rate, >, 4000 / slowness());
    g_assert_cmpuint(rate, <, 22000);
    __atomic_add_fetch(&head->sequence, 1, __ATOMIC_SEQ_CST);
    head->parameters.pattern = PATTERN_IDLE;
    __atomic_add_fetch(&head->sequence, 1, __ATOMIC_SEQ_CST);
    wait_ticks(&vm, peek(&head->ticks) + 10);
    before = peek(&cpu_of(&vm, 1)->pages_written);
    wait_ticks(&vm, peek(&head->ticks) + 5);
    g_assert_cmpuint(peek(&cpu_of(&vm, 1)->pages_written), ==, before);
    vm_stop(&vm);
    check_totals(&vm);
    vm_release(&vm);
}

/* The same image without its PVH note: the loader falls back to Multiboot. */
static void
multiboot_entry_runs(void)
{
    struct control_parameters p = {
        .pattern = PATTERN_SEQUENTIAL, .fill = FILL_TEXT, .node = CONTROL_NODE_OWN, .size = MIB, .interval_ms = 10,
    };
    g_autofree char *path = boot_builtin_path(NULL), *image = NULL;
    g_autofree char *file = g_strdup_printf("%s/numon-test-multiboot-%d", g_get_tmp_dir(), getpid());
    unsigned patched = 0;
    gsize size;

    g_assert_true(g_file_get_contents(path, &image, &size, NULL));
    for (gsize i = 0; i + 16 < size; i += 4)
        if (memcmp(image + i, "\x04\0\0\0\x08\0\0\0\x12\0\0\0Xen", 16) == 0) {
            image[i + 12] = 'Y';
            patched++;
        }
    g_assert_cmpuint(patched, ==, 1);
    g_assert_true(g_file_set_contents(file, image, (gssize)size, NULL));
    run_guest(file, true, &p, NULL);
    g_unlink(file);
}

/* Memory that is not mapped: the guest must stop and say so, not restart or go on. */
static void
exception_is_said_and_noted(void)
{
    struct control_parameters p = { .pattern = PATTERN_IDLE, .node = CONTROL_NODE_OWN, .size = MIB,
                                    .interval_ms = 10 };
    struct control_head *head;
    struct control_node *node;
    struct vm vm;

    if (!vm_init(&vm))
        return;
    vm_start(&vm, BUILTIN, true, &p, NULL);
    wait_ticks(&vm, 2);
    head = guest_map_host(vm.map, CONTROL_GPA, sizeof *head);
    node = guest_map_host(vm.map, CONTROL_NODES_GPA + sizeof *node, sizeof *node);
    node->base = UINT64_C(1) << 45;
    __atomic_add_fetch(&head->sequence, 1, __ATOMIC_SEQ_CST);
    head->parameters.pattern = PATTERN_SEQUENTIAL;
    __atomic_add_fetch(&head->sequence, 1, __ATOMIC_SEQ_CST);
    wait_ticks(&vm, UINT64_MAX);
    wait_text(&vm, "cr2 0x2000");
    vm_stop(&vm);
    g_assert_cmpuint(head->stage, ==, STAGE_PANIC);
    g_assert_cmpuint(head->panic, ==, 14);
    g_assert_nonnull(strstr(vm.serial->str, "panic: vector 14 error 0x"));
    vm_release(&vm);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    main_thread_claim();
    signal(SIGUSR1, nothing);
    g_test_add_func("/guest-kvm/direct-start-runs-and-loses-nothing", direct_start_runs_and_loses_nothing);
    g_test_add_func("/guest-kvm/startup-messages-work-too", startup_messages_work_too);
    g_test_add_func("/guest-kvm/rate-is-kept-and-changes-act", rate_is_kept_and_changes_act);
    g_test_add_func("/guest-kvm/multiboot-entry-runs", multiboot_entry_runs);
    g_test_add_func("/guest-kvm/exception-is-said-and-noted", exception_is_said_and_noted);
    return g_test_run();
}
