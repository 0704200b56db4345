/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Kernels and first registers, without running anything. */
#include "boot.h"

#include <elf.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { RSDP_GPA = 0xe0000, INFO_GPA = 0x6000 };

/* --- a machine to load into ------------------------------------------------------------------------------------- */

static void
add_ram(struct guest_map *map, const char *name, uint64_t gpa, uint64_t size, int node)
{
    struct backend_options o;
    struct block *b;

    backend_options_init_default(&o, name, size);
    b = block_new(&o, NULL);
    g_assert_nonnull(b);
    guest_map_take_block(map, b);
    guest_map_add(map, &(struct section) { .gpa = gpa, .size = size, .block = b, .node = node });
}

/* 'nodes' nodes of 16 MiB each. */
static struct guest_map *
new_map(unsigned node_count)
{
    struct guest_map *map = guest_map_new();

    for (unsigned i = 0; i < MAX(node_count, 1); i++) {
        g_autofree char *name = g_strdup_printf("m%u", i);

        add_ram(map, name, i * 16 * MIB, 16 * MIB, node_count ? (int)i : -1);
    }
    return map;
}

static struct topology_final *
new_topology(unsigned nodes, unsigned cpus)
{
    struct topology_final *t = g_new0(struct topology_final, 1);

    t->smp = (struct smp) { .cpus = cpus, .maxcpus = cpus, .levels = { 1, 1, 1, cpus, 1 } };
    bits_set(t->present, 0, cpus);
    t->node_count = nodes;
    t->has_distances = nodes > 0;
    for (unsigned i = 0; i < cpus; i++)
        t->cpu_node[i] = nodes ? (uint8_t)(i % nodes) : 0;
    for (unsigned i = 0; i < nodes; i++) {
        t->node_size[i] = 16 * MIB;
        for (unsigned j = 0; j < nodes; j++)
            t->distance[i][j] = i == j ? 10 : (uint8_t)(11 + (i * 7 + j * 3) % 240);
    }
    return t;
}

static uint64_t
field(const struct guest_map *map, uint64_t gpa, unsigned size)
{
    uint64_t n = 0;

    g_assert_true(guest_map_read(map, gpa, &n, size));
    return GUINT64_FROM_LE(n);
}

static bool
load_kernel(const struct guest_map *map, const struct topology_final *t, const char *kernel, struct cpu_start *starts,
            GError **error)
{
    g_autoptr(boot_files) files = boot_files_open(kernel, NULL, error);
    struct boot_setup setup = {
        .map = map, .topology = t, .files = files, .command_line = "pattern=hot",
        .direct_cpus = true, .tsc_khz = 1234567,
    };

    return files && boot_load(&setup, starts, error);
}

/* --- the start -------------------------------------------------------------------------------------------------- */

static void
workload_guest_starts_as_its_control_page_says(void)
{
    g_autoptr(guest_map) map = new_map(2);
    g_autofree struct topology_final *t = new_topology(2, 3);
    const struct control_head *head = guest_map_host(map, CONTROL_GPA, sizeof *head);
    struct cpu_start starts[3];
    g_autoptr(GError) error = NULL;

    load_kernel(map, t, "builtin:workload", starts, &error);
    g_assert_no_error(error);
    g_assert_cmphex(head->magic, ==, CONTROL_MAGIC);
    g_assert_cmphex(head->flags, ==, CONTROL_FLAG_NAP | CONTROL_FLAG_DIRECT);
    g_assert_cmpuint(head->tsc_khz, ==, 1234567);
    g_assert_cmphex(starts[0].cr0, ==, 0x11);
    g_assert_cmphex(starts[0].rbx, ==, INFO_GPA);
    g_assert_cmpuint(starts[0].cs.db, ==, 1);
    for (unsigned i = 1; i < 3; i++) {
        g_assert_cmpint(starts[i].kind, ==, CPU_START_DIRECT);
        g_assert_cmphex(starts[i].rip, ==, head->ap_entry);
        g_assert_cmpuint(starts[i].rdi, ==, i);
        g_assert_cmpuint(starts[i].cs.dpl, ==, 3);
        g_assert_cmpuint(starts[i].ss.dpl, ==, 3);
        g_assert_cmpuint(starts[i].cs.l, ==, 1);
        g_assert_cmphex(starts[i].rsp, ==, head->stack_first + (i + 1) * head->stack_stride);
        g_assert_cmphex(starts[i].tr.base, ==, head->tss_first + i * head->tss_stride);
        /* The I/O permission bitmap lies where the segment says, within its limit, and is all zeros. */
        g_assert_cmpuint(field(map, starts[i].tr.base + 102, 2) + CONTROL_NAP_PORT / 8 + 1, <=, starts[i].tr.limit);
        g_assert_cmpuint(field(map, starts[i].tr.base + field(map, starts[i].tr.base + 102, 2) +
                               CONTROL_NAP_PORT / 8, 2), ==, 0);
    }
}

static void
start_info_describes_ram_and_command_line(void)
{
    g_autoptr(guest_map) map = new_map(2);
    g_autofree struct topology_final *t = new_topology(2, 1);
    g_autofree char *multiboot = boot_builtin_path(NULL), *folder = g_path_get_dirname(multiboot);
    g_autofree char *pvh = g_build_filename(folder, "numon-workload-pvh.elf", NULL);
    uint64_t entries;
    char text[12];
    struct cpu_start start;

    g_assert_true(load_kernel(map, t, pvh, &start, NULL));
    g_assert_cmphex(field(map, INFO_GPA, 4), ==, 0x336ec578);
    g_assert_true(guest_map_read(map, field(map, INFO_GPA + 24, 8), text, sizeof text));
    g_assert_cmpstr(text, ==, "pattern=hot");
    g_assert_cmphex(field(map, INFO_GPA + 32, 8), ==, RSDP_GPA);
    entries = field(map, INFO_GPA + 40, 8);
    g_assert_cmpuint(field(map, INFO_GPA + 48, 4), ==, 3);
    g_assert_cmphex(field(map, entries, 8) + field(map, entries + 8, 8), ==, 0x9fc00);
    g_assert_cmpuint(field(map, entries + 24 + 16, 4), ==, 2);
    g_assert_cmphex(field(map, entries + 48, 8), ==, MIB);
    g_assert_cmphex(field(map, entries + 56, 8), ==, 31 * MIB);
    g_assert_cmpuint(field(map, entries + 64, 4), ==, 1);
}

static void
parameters_go_into_the_control_page(void)
{
    g_autoptr(guest_map) map = new_map(0);
    g_autofree struct topology_final *t = new_topology(0, 2);
    struct control_parameters p = { .pattern = PATTERN_HOT, .rate = 77 };
    struct cpu_start starts[2];
    g_autoptr(boot_files) files = boot_files_open("builtin:workload", NULL, NULL);
    struct boot_setup setup = { .map = map, .topology = t, .files = files, .workload = &p };
    const struct control_head *head = guest_map_host(map, CONTROL_GPA, sizeof *head);

    g_assert_true(boot_load(&setup, starts, NULL));
    g_assert_cmphex(head->flags, ==, CONTROL_FLAG_NAP | CONTROL_FLAG_PARAMETERS);
    g_assert_cmpuint(head->parameters.rate, ==, 77);
    g_assert_cmpint(starts[1].kind, ==, CPU_START_WAIT);
}

static void
installed_image_is_the_builtin_one(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *path = boot_builtin_path(&error);
    g_autoptr(guest_map) a = new_map(1), b = new_map(1);
    g_autofree struct topology_final *t = new_topology(1, 1);
    struct cpu_start start;

    g_assert_no_error(error);
    g_assert_true(boot_check("builtin:workload", NULL, NULL, 16 * MIB, NULL, NULL));
    g_assert_false(boot_check("builtin:workload", NULL, NULL, 2 * MIB, NULL, NULL));
    g_assert_true(load_kernel(a, t, path, &start, NULL));
    g_assert_true(load_kernel(b, t, "builtin:workload", &start, NULL));
    g_assert_cmpmem(guest_map_host(a, 0, 8 * MIB), 8 * MIB, guest_map_host(b, 0, 8 * MIB), 8 * MIB);
}

/* --- hostile files ---------------------------------------------------------------------------------------------- */

/* Loads the bytes as a kernel; the code of the error, -1 if it loaded. */
static int
try_bytes(const struct guest_map *map, const void *bytes, gsize size, char **ret_text)
{
    g_autofree struct topology_final *t = new_topology(0, 1);
    g_autofree char *file = g_strdup_printf("%s/numon-test-kernel-%d", g_get_tmp_dir(), getpid());
    g_autoptr(GError) error = NULL;
    struct cpu_start start;
    bool ok;

    g_assert_true(g_file_set_contents(file, bytes, (gssize)size, NULL));
    ok = load_kernel(map, t, file, &start, &error);
    g_unlink(file);
    g_assert_true(ok == !error);
    if (ret_text)
        *ret_text = error ? g_strdup(error->message) : NULL;
    return error ? error->code : -1;
}

static char *
read_image(gsize *ret_size)
{
    g_autofree char *path = boot_builtin_path(NULL);
    char *image = NULL;

    g_assert_true(g_file_get_contents(path, &image, ret_size, NULL));
    return image;
}

static void
truncated_files_are_refused(void)
{
    g_autoptr(guest_map) map = new_map(0);
    gsize size, used;
    g_autofree char *image = read_image(&size);

    /* Section headers and symbols at the end are not needed. */
    const Elf32_Phdr *ph = (const Elf32_Phdr *)(image + ((const Elf32_Ehdr *)image)->e_phoff);
    used = ph[1].p_offset + ph[1].p_filesz;
    g_assert_cmpuint(used, <=, size);
    for (gsize cut = 0; cut < used; cut += 64)
        g_assert_cmpint(try_bytes(map, image, cut, NULL), >=, 0);
    g_assert_cmpint(try_bytes(map, image, used, NULL), ==, -1);
}

static void
wild_program_headers_are_refused(void)
{
    static const uint32_t wild[] = { 0, 1, 0x1000, 0xfffff, 0x7fffffff, 0x80000000, 0xffffff00, 0xffffffff };
    g_autoptr(guest_map) map = new_map(0);
    gsize size;
    g_autofree char *image = read_image(&size);
    g_autofree char *copy = g_memdup2(image, size);
    unsigned refused = 0;

    /* Every word of the headers in turn: nothing may crash; most are refused. */
    for (unsigned at = 16; at < sizeof(Elf32_Ehdr) + 3 * sizeof(Elf32_Phdr); at += 4)
        for (unsigned i = 0; i < G_N_ELEMENTS(wild); i++) {
            memcpy(copy + at, &wild[i], 4);
            refused += try_bytes(map, copy, size, NULL) >= 0;
            memcpy(copy + at, image + at, 4);
        }
    g_assert_cmpuint(refused, >, 50);     /* flags, alignment and section headers do not matter */
    g_assert_cmpint(try_bytes(map, copy, size, NULL), ==, -1);
}

/* A guest would begin in zeros, or in nothing, and be reset or lost. */
static void
an_entry_outside_is_refused(void)
{
    static const uint32_t wild[] = { 0, 0xfffff, 0x7fffffff, 0xffffffff };
    g_autoptr(guest_map) map = new_map(0);
    gsize size;
    g_autofree char *image = read_image(&size);
    Elf32_Ehdr *head = (Elf32_Ehdr *)image;

    for (unsigned i = 0; i < G_N_ELEMENTS(wild); i++) {
        g_autofree char *text = NULL, *wanted = NULL;

        wanted = g_strdup_printf(": it is to be entered at 0x%x, where nothing of it is loaded", wild[i]);
        head->e_entry = wild[i];
        g_assert_cmpint(try_bytes(map, image, size, &text), ==, NUMON_ERROR_ARGUMENT);
        g_assert_true(g_str_has_suffix(text, wanted));
    }
}

static void
wild_notes_are_refused(void)
{
    static const uint32_t wild[] = { 0, 3, 5, 0x7fffffff, 0xfffffff0, 0xffffffff };
    g_autoptr(guest_map) map = new_map(0);
    gsize size;
    g_autofree char *image = read_image(&size);
    const Elf32_Phdr *note = (const Elf32_Phdr *)(image + ((const Elf32_Ehdr *)image)->e_phoff) + 2;
    g_autofree char *copy = g_memdup2(image, size);

    g_assert_cmpuint(note->p_type, ==, PT_NOTE);
    /* Without a good note the Multiboot entry still works: nothing may crash or read outside. */
    for (unsigned at = 0; at < 12; at += 4)
        for (unsigned i = 0; i < G_N_ELEMENTS(wild); i++) {
            memcpy(copy + note->p_offset + at, &wild[i], 4);
            g_assert_cmpint(try_bytes(map, copy, size, NULL), ==, -1);
            memcpy(copy + note->p_offset + at, image + note->p_offset + at, 4);
        }
}

static void
too_large_for_ram_is_refused(void)
{
    g_autoptr(guest_map) map = new_map(0);
    gsize size;
    g_autofree char *image = read_image(&size), *text = NULL;
    Elf32_Phdr *ph = (Elf32_Phdr *)(image + ((Elf32_Ehdr *)image)->e_phoff);

    ph[1].p_memsz = 64 << 20;
    g_assert_cmpint(try_bytes(map, image, size, &text), ==, NUMON_ERROR_ARGUMENT);
    g_assert_nonnull(strstr(text, "not all guest RAM"));
    ph[1].p_memsz = 0xfff00000;
    g_assert_cmpint(try_bytes(map, image, size, NULL), ==, NUMON_ERROR_ARGUMENT);
    /* Both ends are RAM, what lies between is a hole. */
    add_ram(map, "far", 48 * MIB, 16 * MIB, -1);
    ph[1].p_memsz = 56 * MIB - ph[1].p_paddr;
    g_assert_cmpint(try_bytes(map, image, size, NULL), ==, NUMON_ERROR_ARGUMENT);
    add_ram(map, "between", 16 * MIB, 32 * MIB, -1);
    g_assert_cmpint(try_bytes(map, image, size, NULL), ==, -1);
}

static void
other_files_are_named(void)
{
    g_autoptr(guest_map) map = new_map(0);
    g_autofree char *zeros = g_malloc0(0x1000), *text = NULL;
    g_autoptr(GError) error = NULL;

    g_assert_cmpint(try_bytes(map, zeros, 0x1000, &text), ==, NUMON_ERROR_ARGUMENT);
    g_assert_nonnull(strstr(text, "bzImage"));
    g_assert_nonnull(strstr(text, "PVH"));
    g_assert_cmpint(try_bytes(map, "hello", 5, NULL), ==, NUMON_ERROR_ARGUMENT);
    g_assert_cmpint(try_bytes(map, "", 0, NULL), ==, NUMON_ERROR_ARGUMENT);
    g_assert_false(boot_check("/nonexistent/kernel", NULL, NULL, GIB, NULL, &error));
    g_assert_error(error, NUMON_ERROR, NUMON_ERROR_HOST);
    g_clear_error(&error);
    g_assert_false(boot_check("/dev/zero", NULL, NULL, GIB, NULL, &error));
    g_assert_error(error, NUMON_ERROR, NUMON_ERROR_ARGUMENT);
    g_clear_error(&error);
    g_assert_false(boot_check("builtin:linux", NULL, NULL, GIB, NULL, &error));
    g_assert_error(error, NUMON_ERROR, NUMON_ERROR_ARGUMENT);
}

/* A flat Multiboot image: header at the start, addresses given. */
static void
flat_multiboot_is_loaded(void)
{
    g_autoptr(guest_map) map = new_map(0);
    g_autofree struct topology_final *t = new_topology(0, 1);
    uint32_t words[16] = {
        0x1badb002, 0x10003, -(0x1badb002u + 0x10003u), 0x100000, 0x100000, 0x100040, 0x101000, 0x100020,
        [8] = 0xf4f4f4f4,
    };
    g_autofree char *file = g_strdup_printf("%s/numon-test-flat-%d", g_get_tmp_dir(), getpid());
    struct cpu_start start;

    g_assert_true(g_file_set_contents(file, (char *)words, sizeof words, NULL));
    g_assert_true(load_kernel(map, t, file, &start, NULL));
    g_unlink(file);
    g_assert_cmphex(start.rip, ==, 0x100020);
    g_assert_cmphex(start.rax, ==, 0x2badb002);
    g_assert_cmphex(field(map, 0x100020, 4), ==, 0xf4f4f4f4);
    g_assert_cmphex(field(map, start.rbx, 4), ==, 1 | 4 | 64 | 512);
    g_assert_cmpuint(field(map, start.rbx + 8, 4), ==, 15 * 1024);
    /* Its addresses are data of the file like any other. */
    words[4] = 0xfff00000;
    g_assert_cmpint(try_bytes(map, words, sizeof words, NULL), >=, 0);
    words[4] = 0xff000;
    g_assert_cmpint(try_bytes(map, words, sizeof words, NULL), >=, 0);
    words[4] = 0x100000;
    words[5] = 0xffffffff;
    g_assert_cmpint(try_bytes(map, words, sizeof words, NULL), >=, 0);
    words[5] = 0x100040;
    words[6] = 0xfffffff0;
    g_assert_cmpint(try_bytes(map, words, sizeof words, NULL), >=, 0);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    main_thread_claim();
    g_test_add_func("/boot/workload-guest-starts-as-its-control-page-says",
                    workload_guest_starts_as_its_control_page_says);
    g_test_add_func("/boot/start-info-describes-ram-and-command-line", start_info_describes_ram_and_command_line);
    g_test_add_func("/boot/parameters-go-into-the-control-page", parameters_go_into_the_control_page);
    g_test_add_func("/boot/installed-image-is-the-builtin-one", installed_image_is_the_builtin_one);
    g_test_add_func("/boot/truncated-files-are-refused", truncated_files_are_refused);
    g_test_add_func("/boot/wild-program-headers-are-refused", wild_program_headers_are_refused);
    g_test_add_func("/boot/an-entry-outside-is-refused", an_entry_outside_is_refused);
    g_test_add_func("/boot/wild-notes-are-refused", wild_notes_are_refused);
    g_test_add_func("/boot/too-large-for-ram-is-refused", too_large_for_ram_is_refused);
    g_test_add_func("/boot/other-files-are-named", other_files_are_named);
    g_test_add_func("/boot/flat-multiboot-is-loaded", flat_multiboot_is_loaded);
    return g_test_run();
}
