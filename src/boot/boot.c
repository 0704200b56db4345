/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The order of loading, the workload guest's control page, and where its image lies as a file. */
#include "boot-private.h"

#include <string.h>
#include <unistd.h>

uint64_t
layout_piece(uint64_t *gpa, uint64_t size)
{
    if (*gpa == LAYOUT_LOW_END)
        *gpa = LAYOUT_HIGH_START;
    return *gpa < LAYOUT_LOW_END ? MIN(size, LAYOUT_LOW_END - *gpa) : size;
}

bool
put(const struct guest_map *map, uint64_t gpa, const void *bytes, uint64_t size, const char *what, GError **error)
{
    if (guest_map_write(map, gpa, bytes, size))
        return true;
    return fail(error, NUMON_ERROR_ARGUMENT,
                "cannot put the %s into guest memory: %" PRIu64 " bytes at 0x%" PRIx64 " are not all RAM", what, size,
                gpa);
}

/* Fills the control page if the kernel just loaded has one. */
static bool
fill_control_page(const struct boot_setup *setup, GError **error)
{
    struct control_head head;

    if (!guest_map_read(setup->map, CONTROL_GPA, &head, sizeof head) || head.magic != CONTROL_MAGIC)
        return true;
    if (head.version != CONTROL_VERSION)
        return fail(error, NUMON_ERROR_ARGUMENT,
                    "cannot load kernel '%s': its control page has version %" PRIu64 ", this numon knows %d",
                    setup->files->kernel.file.name, head.version, CONTROL_VERSION);
    head.flags = CONTROL_FLAG_NAP | (setup->direct_cpus ? CONTROL_FLAG_DIRECT : 0);
    head.tsc_khz = setup->tsc_khz;
    if (setup->workload) {
        head.parameters = *setup->workload;
        head.flags |= CONTROL_FLAG_PARAMETERS;
    }
    return put(setup->map, CONTROL_GPA, &head, sizeof head, "control page", error);
}

bool
boot_check_command_line(const char *text, GError **error)
{
    size_t size = strlen(text);

    return size < BOOT_COMMAND_SIZE
        || fail(error, NUMON_ERROR_LIMIT, "cannot pass a command line of %zu characters to the kernel, the limit is "
                "%d",
                size, BOOT_COMMAND_SIZE - 1);
}

static struct acpi_setup
acpi_setup_of(const struct topology_final *topology, const struct hmat *hmat, const struct guest_map *map)
{
    return (struct acpi_setup) { topology, hmat, map->device_base, map->device_size };
}

static bool
check_command_line(const struct boot_files *f, const char *text, GError **error)
{
    const struct kernel_image *i = &f->kernel.image;

    if (i->kind == KERNEL_FLAT && *text)
        return fail(error, NUMON_ERROR_ARGUMENT, "cannot pass a command line to kernel '%s': a flat binary takes "
                    "none", f->kernel.file.name);
    if (i->kind == KERNEL_LINUX && strlen(text) > i->linux_image.command_limit)
        return fail(error, NUMON_ERROR_LIMIT, "cannot pass a command line of %zu characters to kernel '%s', which "
                    "takes %" PRIu64, strlen(text), f->kernel.file.name, i->linux_image.command_limit);
    return boot_check_command_line(text, error);
}

static bool
load_files(const struct boot_files *f, const struct plan *plan, const struct guest_map *map, GError **error)
{
    const struct kernel *k = &f->kernel;
    const struct linux_image *l = &k->image.linux_image;

    if (k->image.kind == KERNEL_LINUX &&
        !bootfile_load(&k->file, l->offset, l->size, map, plan->kernel, l->size, error))
        return false;
    for (unsigned i = 0; i < k->image.segment_count; i++) {
        const struct segment *s = &k->image.segments[i];

        if (!bootfile_load(&k->file, s->offset, s->file_size, map, s->gpa, s->memory_size, error))
            return false;
    }
    for (unsigned i = 0; i < f->module_count; i++) {
        const struct bootfile *file = &f->modules[i].file;

        if (!bootfile_load(file, 0, file->size, map, plan->modules[i], file->size, error))
            return false;
    }
    return true;
}

bool
boot_load_files(const struct boot_files *files, const struct guest_map *map, GError **error)
{
    struct memory_map ram;
    struct plan plan;

    memory_map_build(map, &ram);
    return plan_make(files, &ram, &plan, error) && load_files(files, &plan, map, error);
}

/* What the kernel finds beside itself, and the registers of the first CPU. */
static bool
tell(const struct telling *t, struct cpu_start *ret, GError **error)
{
    const struct kernel_image *image = &t->files->kernel.image;
    bool ok = true;

    switch (image->kind) {
    case KERNEL_LINUX:
        ok = linux_write(t, error);
        start_linux(image->linux_image.wide, t->plan->kernel, ret);
        break;
    case KERNEL_FLAT:
        start_flat(ret);
        return true;
    case KERNEL_PVH:
        ok = pvh_write(t, error);
        start_protected(image->kind, (uint32_t)image->entry, ret);
        break;
    case KERNEL_MULTIBOOT:
        ok = multiboot_write(t, error);
        start_protected(image->kind, (uint32_t)image->entry, ret);
        break;
    }
    return ok && put(t->map, BOOT_COMMAND_GPA, t->command_line, strlen(t->command_line) + 1, "command line", error);
}

/* Linux resets by a jump to the firmware where ACPI is reduced and there is no EFI, and tries nothing else. */
static bool
put_reset(const struct guest_map *map, GError **error)
{
    static const uint8_t code[] = {
        0xb0, 0xfe,             /* mov $0xfe, %al: pulse the keyboard controller's reset line */
        0xe6, 0x64,             /* out %al, $0x64 */
        0xf4, 0xeb, 0xfd,       /* 1: hlt; jmp 1b */
    };

    return put(map, BOOT_RESET_GPA, code, sizeof code, "reset vector", error);
}

bool
boot_load(const struct boot_setup *setup, struct cpu_start *starts, GError **error)
{
    const char *command_line = setup->command_line ? setup->command_line : "";
    const struct boot_files *f = setup->files;
    struct memory_map ram;
    struct plan plan;
    struct telling t = { setup->map, &ram, f, &plan, command_line, BOOT_RSDP_GPA };
    struct acpi_setup acpi = acpi_setup_of(setup->topology, setup->hmat, setup->map);

    memory_map_build(setup->map, &ram);
    if (!check_command_line(f, command_line, error) || !plan_make(f, &ram, &plan, error) ||
        (!setup->loaded && !load_files(f, &plan, setup->map, error)) || !acpi_write(&acpi, setup->map, error) ||
        !put_reset(setup->map, error) || !tell(&t, &starts[0], error) || !fill_control_page(setup, error))
        return false;
    for (unsigned slot = 1; slot < setup->topology->smp.maxcpus; slot++)
        boot_start_cpu(setup->map, slot, &starts[slot]);
    return true;
}

void
boot_update_cpus(const struct topology_final *topology, const struct hmat *hmat, const struct guest_map *map)
{
    struct acpi_setup acpi = acpi_setup_of(topology, hmat, map);
    /* Every slot has its entries already: the tables are as large as before, so they fit. */
    bool written = acpi_write(&acpi, map, NULL);

    g_assert(written);
}

void
boot_start_cpu(const struct guest_map *map, unsigned slot, struct cpu_start *ret)
{
    struct control_head head;

    if (guest_map_read(map, CONTROL_GPA, &head, sizeof head) && head.magic == CONTROL_MAGIC &&
        head.version == CONTROL_VERSION && head.flags & CONTROL_FLAG_DIRECT)
        start_direct(&head, slot, ret);
    else
        start_waiting(ret);
}

bool
boot_check(const char *kernel, const char *initrd, const char *command_line, uint64_t ram_bytes,
           enum boot_part *ret_part, GError **error)
{
    enum boot_part part;
    g_autoptr(boot_files) f = files_open(kernel, initrd, &part, error);
    struct memory_map ram;
    struct plan plan;
    bool ok = f;

    if (f) {
        memory_map_of(ram_bytes, &ram);
        part = BOOT_COMMAND_LINE;
        ok = check_command_line(f, command_line ? command_line : "", error);
    }
    if (f && ok) {
        ok = plan_make(f, &ram, &plan, error);
        part = plan.kernel_fits ? BOOT_INITRD : BOOT_KERNEL;
    }
    if (ret_part)
        *ret_part = part;
    return ok;
}

char *
boot_builtin_path(GError **error)
{
    static const char name[] = "numon-workload.elf";
    g_autofree char *self = g_file_read_link("/proc/self/exe", NULL);
    g_autofree char *folder = g_path_get_dirname(self ? self : "./numon");
    char *places[] = {
        /* Beside the program in the build tree, where unit programs lie two folders deeper, or installed. */
        g_build_filename(folder, "src", "guest", name, NULL),
        g_build_filename(folder, "..", "..", "src", "guest", name, NULL),
        g_build_filename(PKGDATADIR, name, NULL),
        g_build_filename(folder, "..", "share", "numon", name, NULL),
        NULL,
    };
    char *found = NULL;

    for (unsigned i = 0; places[i] && !found; i++)
        if (access(places[i], R_OK) == 0)
            found = g_strdup(places[i]);
    if (!found)
        fail(error, NUMON_ERROR_HOST, "cannot find the workload guest's image: neither %s nor %s is there", places[0],
             places[2]);
    for (unsigned i = 0; places[i]; i++)
        g_free(places[i]);
    return found;
}
