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
                    setup->kernel, head.version, CONTROL_VERSION);
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
        || fail(error, NUMON_ERROR_LIMIT, "cannot pass a command line of %zu characters to the kernel, the limit is %d",
                size, BOOT_COMMAND_SIZE - 1);
}

static struct acpi_setup
acpi_setup_of(const struct topology_final *topology, const struct hmat *hmat, const struct guest_map *map)
{
    return (struct acpi_setup) { topology, hmat, map->device_base, map->device_size };
}

static bool
load(const struct boot_setup *setup, const struct kernel *k, struct cpu_start *starts, GError **error)
{
    const char *command_line = setup->command_line ? setup->command_line : "";
    struct acpi_setup acpi = acpi_setup_of(setup->topology, setup->hmat, setup->map);

    if (!boot_check_command_line(command_line, error) || !kernel_load(k, setup->map, error) ||
        !acpi_write(&acpi, setup->map, error))
        return false;
    if (!(k->image.kind == KERNEL_PVH ? pvh_write(setup->map, command_line, BOOT_RSDP_GPA, error)
                                      : multiboot_write(setup->map, command_line, error)))
        return false;
    if (!fill_control_page(setup, error))
        return false;
    start_protected(k->image.kind, k->image.entry, &starts[0]);
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
boot_load(const struct boot_setup *setup, struct cpu_start *starts, GError **error)
{
    struct kernel k;
    bool ok = kernel_open(setup->kernel, &k, error) && load(setup, &k, starts, error);

    kernel_release(&k);
    return ok;
}

bool
boot_check(const char *kernel, uint64_t ram_bytes, GError **error)
{
    struct kernel k;
    bool ok = kernel_open(kernel, &k, error);

    if (ok && k.image.end > ram_bytes) {
        g_autofree char *ram = size_format(ram_bytes);

        ok = fail(error, NUMON_ERROR_ARGUMENT, "cannot load kernel '%s': it reaches to 0x%" PRIx64 ", RAM is %s",
                  kernel, k.image.end, ram);
    }
    kernel_release(&k);
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
