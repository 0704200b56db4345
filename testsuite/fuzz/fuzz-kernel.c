/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Any bytes as a kernel file: recognised or refused, never read outside; what is recognised is loaded into a small
 * machine with modules beside it, and nothing of it lies where something else does. */
#include "../../src/boot/boot-private.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { RAM = 32 * MIB };

static struct guest_map *
map_new(void)
{
    struct guest_map *map = guest_map_new();
    struct backend_options o;
    struct block *b;

    backend_options_init_default(&o, "ram", RAM);
    b = block_new(&o, NULL);
    g_assert_nonnull(b);
    guest_map_take_block(map, b);
    guest_map_add(map, &(struct section) { .size = RAM, .block = b, .node = -1 });
    return map;
}

/* What is to be loaded lies in the file, does not wrap and does not overlap. */
static void
check_segments(const struct bootfile *file, const struct kernel_image *image)
{
    for (unsigned i = 0; i < image->segment_count; i++) {
        const struct segment *s = &image->segments[i];

        g_assert(s->offset <= file->size && s->file_size <= file->size - s->offset);
        g_assert(s->file_size <= s->memory_size && s->gpa + s->memory_size >= s->gpa);
        g_assert(s->gpa >= BOOT_HIGH_RAM && s->gpa + s->memory_size <= image->end);
        for (unsigned j = 0; j < i; j++) {
            const struct segment *o = &image->segments[j];

            g_assert(o->gpa + o->memory_size <= s->gpa || s->gpa + s->memory_size <= o->gpa);
        }
    }
}

/* What the modules are off: the kernel, low memory, each other. */
static void
check_plan(const struct boot_files *f, const struct plan *plan)
{
    const struct kernel_image *image = &f->kernel.image;
    bool moved = image->kind == KERNEL_LINUX;
    uint64_t end = moved ? plan->kernel + (image->linux_image.relocatable ? image->linux_image.room : 0) : image->end;

    for (unsigned i = 0; i < f->module_count; i++) {
        uint64_t at = plan->modules[i];

        g_assert(at >= end && at >= BOOT_HIGH_RAM && at + f->modules[i].file.size <= RAM);
        for (unsigned j = 0; j < i; j++)
            g_assert(at + f->modules[i].file.size <= plan->modules[j] ||
                     plan->modules[j] + f->modules[j].file.size <= at);
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct guest_map *map;
    static uint8_t content[5000];
    struct topology_final topology = { .smp = { .cpus = 1, .maxcpus = 1, .levels = { 1, 1, 1, 1, 1 } } };
    g_autofree struct boot_files *f = g_new0(struct boot_files, 1);
    struct boot_setup setup = { .map = map, .topology = &topology, .files = f };
    struct cpu_start start;
    struct memory_map ram;
    struct plan plan;

    f->kernel.file = (struct bootfile) { .what = "kernel", .name = (char *)"fuzz", .bytes = data, .size = size };
    if (!kernel_recognise(&f->kernel.file, &f->kernel.image, NULL))
        return 0;
    check_segments(&f->kernel.file, &f->kernel.image);
    f->module_count = f->kernel.image.kind == KERNEL_MULTIBOOT ? 3 : 1;
    for (unsigned i = 0; i < f->module_count; i++)
        f->modules[i] = (struct module) {
            .file = { .what = "initrd", .name = (char *)"i", .bytes = content, .size = 4000 + 500 * i },
            .text = (char *)"i x",
        };
    memory_map_of(RAM, &ram);
    if (plan_make(f, &ram, &plan, NULL))
        check_plan(f, &plan);
    if (!map) {
        main_thread_claim();
        map = map_new();
    }
    setup.map = map;
    boot_load(&setup, &start, NULL);
    return 0;
}
