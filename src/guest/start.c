/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The order of a start, and what the image says about itself. */
#include "guest.h"

enum { TSC_KHZ_ASSUMED = 1000000, START_WAIT_US = 1000 };

extern const char ap_start[], pml4[], gdt[], gdt_end[], idt[], tss[], user_stacks[];

/* The linker puts it at CONTROL_GPA, so that numon finds it in memory after loading. */
extern struct control_head control_image;
struct control_head control_image __attribute__((section(".control"))) = {
    .magic = CONTROL_MAGIC,
    .version = CONTROL_VERSION,
    .ap_entry = (uintptr_t)ap_start,
    .page_table = (uintptr_t)pml4,
    .gdt = (uintptr_t)gdt,
    .gdt_limit = SELECTOR_TSS + 16 * GUEST_CPUS - 1,
    .idt = (uintptr_t)idt,
    .idt_limit = 32 * 16 - 1,
    .tss_first = (uintptr_t)tss,
    .tss_stride = TSS_STRIDE,
    .tss_limit = TSS_LIMIT,
    .tss_selector_first = SELECTOR_TSS,
    .user_code = SELECTOR_USER_CODE,
    .user_data = SELECTOR_USER_DATA,
    .stack_first = (uintptr_t)user_stacks,
    .stack_stride = USER_STACK_STRIDE,
    .probes = 1,
};

_Static_assert(GUEST_CPUS == CONTROL_CPUS, "one stack and task state segment a CPU");

/* Large, so not on the 4 KiB stack; CPU 0 alone uses them. */
static struct platform platform;
static struct loader_info loader;

void first_cpu(unsigned entry, uint64_t info) __attribute__((noreturn));
void other_cpu(uint64_t cpu) __attribute__((noreturn));

/* Parameters and time stamp frequency that numon has not put into the control page itself. */
static void
settle_parameters(void)
{
    struct control_parameters p;
    uint64_t tsc_khz = 0;

    parameters_parse(loader.command_line, &p, &tsc_khz);
    if (!(head->flags & CONTROL_FLAG_PARAMETERS) && load(&head->sequence) == 0)
        head->parameters = p;
    if (head->tsc_khz)
        return;
    if (!tsc_khz)
        tsc_khz = clock_measure();
    if (!tsc_khz) {
        tsc_khz = TSC_KHZ_ASSUMED;
        print("tsc frequency not found, 1000000 kHz assumed\n");
    }
    store(&head->tsc_khz, tsc_khz);
}

void
first_cpu(unsigned entry, uint64_t info)
{
    exceptions_init();
    store(&head->stage, STAGE_STARTING);
    serial_init();
    print("numon workload guest\n");
    loader_read(entry, info, &loader);
    acpi_read(loader.rsdp, &platform);
    lay_out(&platform, &loader);
    settle_parameters();
    /* Printing takes long with many nodes: the others may begin. */
    store(&head->stage, STAGE_RUNNING);
    if (!(head->flags & CONTROL_FLAG_DIRECT))
        cpus_start(&platform);
    print_topology(&platform, &loader);
    work(0);
}

void
other_cpu(uint64_t cpu)
{
    /* Many waiting CPUs must not keep the first one from its work. */
    while (load(&head->stage) != STAGE_RUNNING || cpu >= load(&head->cpu_count))
        rest(START_WAIT_US * (1 + cpu / 8), load(&head->sequence));
    work(cpu);
}
