/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Linux bzImages, initrds and modules, flat binaries: what is read of the files, where they are put, what the kernel
 * is told, and what is refused.  Without running anything. */
#include "boot.h"

#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { INFO_GPA = 0x6000, RSDP_GPA = 0xe0000, SECTORS = 3, SETUP_SIZE = (SECTORS + 1) * 512, CODE_SIZE = 48 * 1024 };

/* --- a machine and files ---------------------------------------------------------------------------------------- */

static struct guest_map *
new_map(uint64_t size)
{
    struct guest_map *map = guest_map_new();
    struct backend_options o;
    struct block *b;

    backend_options_init_default(&o, "ram", size);
    b = block_new(&o, NULL);
    g_assert_nonnull(b);
    guest_map_take_block(map, b);
    guest_map_add(map, &(struct section) { .size = size / 2, .block = b, .node = 0 });
    guest_map_add(map, &(struct section) { .gpa = size / 2, .size = size / 2, .block = b, .offset = size / 2,
                                          .node = 1 });
    return map;
}

static uint64_t
field(const struct guest_map *map, uint64_t gpa, unsigned size)
{
    uint64_t n = 0;

    g_assert_true(guest_map_read(map, gpa, &n, size));
    return GUINT64_FROM_LE(n);
}

static void
set(uint8_t *to, unsigned offset, unsigned size, uint64_t n)
{
    for (unsigned i = 0; i < size; i++, n >>= 8)
        to[offset + i] = (uint8_t)n;
}

/* A bzImage of which every byte of code tells its place; as Linux 6.1 has its header.  Caller frees. */
static uint8_t *
new_image(void)
{
    uint8_t *image = g_malloc0(SETUP_SIZE + CODE_SIZE);

    set(image, 0x1f1, 1, SECTORS);
    set(image, 0x1f4, 4, CODE_SIZE / 16);
    set(image, 0x1fe, 2, 0xaa55);
    set(image, 0x200, 2, 0x6aeb);
    memcpy(image + 0x202, "HdrS", 4);
    set(image, 0x206, 2, 0x20f);
    set(image, 0x211, 1, 0x81);
    set(image, 0x22c, 4, 0x7fffffff);
    set(image, 0x230, 4, 0x200000);
    set(image, 0x234, 1, 1);
    set(image, 0x236, 2, 0x7f);
    set(image, 0x238, 4, 2047);
    set(image, 0x258, 8, 0x1000000);
    set(image, 0x260, 4, 0x800000);
    for (unsigned i = 0; i < CODE_SIZE; i++)
        image[SETUP_SIZE + i] = (uint8_t)(i ^ i >> 8);
    return image;
}

static char *folder;

/* Writes a file into the folder; caller frees the path. */
static char *
new_file(const char *name, const void *bytes, gsize size)
{
    char *path = g_build_filename(folder, name, NULL);

    g_assert_true(g_file_set_contents(path, bytes, (gssize)size, NULL));
    return path;
}

static bool
load(const struct guest_map *map, const char *kernel, const char *initrd, const char *append, struct cpu_start *ret,
     GError **error)
{
    g_autofree struct topology_final *t = g_new0(struct topology_final, 1);
    g_autoptr(boot_files) files = boot_files_open(kernel, initrd, error);
    struct boot_setup setup = { .map = map, .topology = t, .files = files, .command_line = append };

    t->smp = (struct smp) { .cpus = 1, .maxcpus = 1, .levels = { 1, 1, 1, 1, 1 } };
    bits_set(t->present, 0, 1);
    return files && boot_load(&setup, ret, error);
}

/* Loads an image as a kernel; what was said against it, NULL if nothing.  Caller frees. */
static char *
refusal(const struct guest_map *map, const uint8_t *image, gsize size, const char *initrd)
{
    g_autofree char *path = new_file("image", image, size);
    g_autoptr(GError) error = NULL;
    struct cpu_start start;
    bool ok = load(map, path, initrd, NULL, &start, &error);

    g_assert_true(ok == !error);
    g_assert_true(ok || strstr(error->message, initrd ? "initrd '" : path));
    return error ? g_strdup(error->message) : NULL;
}

static void
is_refused(const struct guest_map *map, const uint8_t *image, const char *initrd, const char *because)
{
    g_autofree char *text = refusal(map, image, SETUP_SIZE + CODE_SIZE, initrd);

    if (!text || !strstr(text, because))
        g_error("not refused because of '%s' but: %s", because, text ? text : "loaded");
}

/* --- Linux ------------------------------------------------------------------------------------------------------ */

static void
code_lies_at(const struct guest_map *map, const uint8_t *image, uint64_t gpa)
{
    g_assert_cmpmem(guest_map_host(map, gpa, CODE_SIZE), CODE_SIZE, image + SETUP_SIZE, CODE_SIZE);
}

static void
zero_page_says_what_there_is(void)
{
    g_autoptr(guest_map) map = new_map(64 * MIB);
    g_autofree uint8_t *image = new_image();
    g_autofree char *kernel = new_file("kernel", image, SETUP_SIZE + CODE_SIZE);
    g_autofree char *initrd = new_file("initrd", "initial", 7);
    g_autoptr(GError) error = NULL;
    struct cpu_start start;
    uint64_t at;

    load(map, kernel, initrd, "console=ttyS0", &start, &error);
    g_assert_no_error(error);
    code_lies_at(map, image, 0x1000000);
    g_assert_cmpmem(guest_map_host(map, INFO_GPA + 0x202, 4), 4, "HdrS", 4);
    g_assert_cmphex(field(map, INFO_GPA + 0x070, 8), ==, RSDP_GPA);
    g_assert_cmphex(field(map, INFO_GPA + 0x1ef, 1), ==, 0);            /* the sentinel */
    g_assert_cmphex(field(map, INFO_GPA + 0x1fa, 2), ==, 0xffff);
    g_assert_cmphex(field(map, INFO_GPA + 0x210, 1), ==, 0xff);
    g_assert_cmphex(field(map, INFO_GPA + 0x211, 1), ==, 0x01);
    g_assert_cmphex(field(map, INFO_GPA + 0x214, 4), ==, 0x1000000);
    g_assert_cmphex(field(map, INFO_GPA + 0x258, 8), ==, 0x1000000);
    at = field(map, INFO_GPA + 0x228, 4);
    g_assert_cmpstr(guest_map_host(map, at, 14), ==, "console=ttyS0");
    g_assert_cmpuint(field(map, INFO_GPA + 0x21c, 4), ==, 7);
    g_assert_cmphex(field(map, INFO_GPA + 0x218, 4), ==, 64 * MIB - 4096);
    g_assert_cmpmem(guest_map_host(map, 64 * MIB - 4096, 7), 7, "initial", 7);
    /* The memory map: conventional memory, what a PC has there, the rest of both nodes. */
    g_assert_cmpuint(field(map, INFO_GPA + 0x1e8, 1), ==, 3);
    at = INFO_GPA + 0x2d0;
    g_assert_cmphex(field(map, at, 8), ==, 0);
    g_assert_cmphex(field(map, at + 8, 8), ==, 0x9fc00);
    g_assert_cmphex(field(map, at + 16, 4), ==, 1);
    g_assert_cmphex(field(map, at + 20, 8), ==, 0x9fc00);
    g_assert_cmphex(field(map, at + 36, 4), ==, 2);
    g_assert_cmphex(field(map, at + 40, 8), ==, MIB);
    g_assert_cmphex(field(map, at + 48, 8), ==, 63 * MIB);
}

/* The address that the page tables at 'root' give for an address, by large pages. */
static uint64_t
translate(const struct guest_map *map, uint64_t root, uint64_t address)
{
    uint64_t entry = field(map, root + (address >> 39 & 511) * 8, 8);

    g_assert_cmphex(entry & 0xfff, ==, 3);
    entry = field(map, (entry & ~UINT64_C(0xfff)) + (address >> 30 & 511) * 8, 8);
    g_assert_cmphex(entry & 0xfff, ==, 3);
    entry = field(map, (entry & ~UINT64_C(0xfff)) + (address >> 21 & 511) * 8, 8);
    g_assert_cmphex(entry & 0xfff, ==, 0x83);
    return (entry & ~UINT64_C(0xfff)) + (address & (2 * MIB - 1));
}

static void
long_mode_is_entered_as_documented(void)
{
    g_autoptr(guest_map) map = new_map(64 * MIB);
    g_autofree uint8_t *image = new_image();
    g_autofree char *kernel = new_file("kernel", image, SETUP_SIZE + CODE_SIZE);
    struct cpu_start s;

    g_assert_true(load(map, kernel, NULL, NULL, &s, NULL));
    g_assert_cmphex(s.rip, ==, 0x1000200);
    g_assert_cmphex(s.rsi, ==, INFO_GPA);
    g_assert_cmphex(s.rflags & 0x200, ==, 0);
    g_assert_cmphex(s.cr0 & 0x80000001, ==, 0x80000001);
    g_assert_cmphex(s.cr4 & 0x20, ==, 0x20);
    g_assert_cmphex(s.efer & 0x500, ==, 0x500);
    g_assert_cmphex(s.cs.selector, ==, 0x10);
    g_assert_true(s.cs.l && !s.cs.db);
    g_assert_cmphex(s.ds.selector, ==, 0x18);
    g_assert_cmphex(s.es.selector, ==, 0x18);
    g_assert_cmphex(s.ss.selector, ==, 0x18);
    g_assert_cmphex(field(map, s.gdt_base + 0x10, 8), ==, 0x00af9b000000ffff);
    g_assert_cmphex(field(map, s.gdt_base + 0x18, 8), ==, 0x00cf93000000ffff);
    g_assert_cmpuint(s.gdt_limit, ==, 0x1f);
    for (uint64_t address = 0; address < 4 * GIB; address += 62 * MIB + 4097)
        g_assert_cmphex(translate(map, s.cr3, address), ==, address);
}

static void
begins_in_32_bits(unsigned version, unsigned xloadflags)
{
    g_autoptr(guest_map) map = new_map(64 * MIB);
    g_autofree uint8_t *image = new_image();
    struct cpu_start s;

    set(image, 0x206, 2, version);
    set(image, 0x236, 2, xloadflags);
    g_autofree char *kernel = new_file("kernel", image, SETUP_SIZE + CODE_SIZE);
    g_assert_true(load(map, kernel, NULL, NULL, &s, NULL));
    g_assert_cmphex(s.rip, ==, 0x1000000);
    g_assert_cmphex(s.rsi, ==, INFO_GPA);
    g_assert_cmphex(s.cr0, ==, 0x11);
    g_assert_cmphex(s.efer, ==, 0);
    g_assert_true(s.cs.db && !s.cs.l);
    g_assert_cmphex(field(map, s.gdt_base + 0x10, 8), ==, 0x00cf9b000000ffff);
    g_assert_cmphex(s.rbx | s.rbp | s.rdi, ==, 0);
}

/* Before boot protocol 2.12 nothing says whether there is one: what stands there means something else. */
static void
without_a_64_bit_entry_the_32_bit_one_is_taken(void)
{
    begins_in_32_bits(0x20f, 0x7e);
    begins_in_32_bits(0x20b, 0x7f);
}

static void
kernel_goes_where_there_is_room(void)
{
    g_autoptr(guest_map) map = new_map(24 * MIB);
    g_autofree uint8_t *image = new_image();

    /* As it prefers, to the last byte. */
    g_assert_null(refusal(map, image, SETUP_SIZE + CODE_SIZE, NULL));
    code_lies_at(map, image, 16 * MIB);
    /* That is too little: then the first place, aligned. */
    set(image, 0x260, 4, 0x800001);
    g_assert_null(refusal(map, image, SETUP_SIZE + CODE_SIZE, NULL));
    code_lies_at(map, image, 2 * MIB);
    set(image, 0x230, 4, 0x1000000);
    is_refused(map, image, NULL, "8388609 bytes of RAM in a row below 4 GiB (best at 0x1000000), RAM ends at "
               "0x1800000");
    /* One that cannot be moved is at 1 MiB and runs where it says. */
    set(image, 0x234, 1, 0);
    is_refused(map, image, NULL, "bytes of RAM in a row");
    set(image, 0x260, 4, 0x800000);
    g_assert_null(refusal(map, image, SETUP_SIZE + CODE_SIZE, NULL));
    code_lies_at(map, image, MIB);
    set(image, 0x258, 8, 0xfff00000);
    is_refused(map, image, NULL, "bytes of RAM in a row");
}

static void
initrd_is_below_its_limit_and_off_the_kernel(void)
{
    g_autoptr(guest_map) map = new_map(64 * MIB);
    g_autofree uint8_t *image = new_image(), *content = g_malloc0(8 * MIB);
    g_autofree char *initrd = new_file("big", content, 8 * MIB - 1);

    set(image, 0x22c, 4, 40 * MIB - 1);
    g_assert_null(refusal(map, image, SETUP_SIZE + CODE_SIZE, initrd));
    g_assert_cmphex(field(map, INFO_GPA + 0x218, 4), ==, 32 * MIB);
    g_assert_cmphex(field(map, INFO_GPA + 0x21c, 4), ==, 8 * MIB - 1);
    set(image, 0x22c, 4, 32 * MIB - 1);
    g_assert_null(refusal(map, image, SETUP_SIZE + CODE_SIZE, initrd));
    g_assert_cmphex(field(map, INFO_GPA + 0x218, 4), ==, 24 * MIB);
    set(image, 0x22c, 4, 32 * MIB - 4097);
    is_refused(map, image, initrd, "it does not fit: there are no 8388607 bytes of RAM in a row from 0x1800000, "
               "where the kernel ends, to 0x1fff000");
    /* Nothing of a kernel is its, though it would have room there. */
    set(image, 0x22c, 4, 0);
    is_refused(map, image, initrd, "it does not fit");
    set(image, 0x22c, 4, 0xffffffff);
    g_assert_null(refusal(map, image, SETUP_SIZE + CODE_SIZE, initrd));
    g_assert_cmphex(field(map, INFO_GPA + 0x218, 4), ==, 56 * MIB);
    g_unlink(initrd);
}

static void
headers_that_cannot_be_are_refused(void)
{
    static const struct { unsigned at, size; uint64_t value; const char *because; } wild[] = {
        { 0x1fe, 2, 0xaa54, "0xaa54 instead of 0xaa55" },
        { 0x206, 2, 0x0209, "boot protocol 2.09" },
        { 0x211, 1, 0x80, "zImage" },
        { 0x1f4, 4, 0, "no code for protected mode" },
        { 0x1f4, 4, CODE_SIZE / 16 + 1, "truncated" },
        { 0x1f4, 4, 0xffffffff, "truncated" },
        { 0x1f1, 1, 255, "truncated" },
        { 0x1f1, 1, 0, "truncated" },
        { 0x230, 4, 0, "alignment of 0x0" },
        { 0x230, 4, 0x1001, "alignment of 0x1001" },
        { 0x230, 4, 0x80000000, "alignment of 0x80000000" },
        { 0x258, 8, 0xfffff, "asks for address 0xfffff" },
        { 0x258, 8, UINT64_MAX, "asks for address 0xffffffffffffffff" },
        { 0x258, 8, 0x100000000, "asks for address 0x100000000" },
        { 0x260, 4, 0xffffffff, "4294967295 bytes of RAM in a row" },
    };
    g_autoptr(guest_map) map = new_map(64 * MIB);

    for (unsigned i = 0; i < G_N_ELEMENTS(wild); i++) {
        g_autofree uint8_t *image = new_image();

        set(image, wild[i].at, wild[i].size, wild[i].value);
        is_refused(map, image, NULL, wild[i].because);
    }
}

static void
truncated_images_are_refused(void)
{
    g_autoptr(guest_map) map = new_map(64 * MIB);
    g_autofree uint8_t *image = new_image();

    for (gsize size = 0; size < SETUP_SIZE + CODE_SIZE; size += size < 0x400 ? 1 : 509) {
        g_autofree char *text = refusal(map, image, size, NULL);

        g_assert_nonnull(text);
        g_assert_nonnull(strstr(text, size == 0 ? "empty" : size < 0x206 ? "unknown format" : "truncated"));
    }
}

static void
command_lines_have_the_kernels_limit(void)
{
    g_autoptr(guest_map) map = new_map(64 * MIB);
    g_autofree uint8_t *image = new_image();
    g_autofree char *kernel = new_file("kernel", image, SETUP_SIZE + CODE_SIZE), *line = g_strnfill(2047, 'x');
    g_autofree char *longer = g_strnfill(2048, 'x');
    g_autoptr(GError) error = NULL;
    struct cpu_start start;
    enum boot_part part;

    g_assert_true(load(map, kernel, NULL, line, &start, NULL));
    g_assert_true(boot_check(kernel, NULL, line, GIB, &part, NULL));
    g_assert_false(boot_check(kernel, NULL, longer, GIB, &part, &error));
    g_assert_error(error, NUMON_ERROR, NUMON_ERROR_LIMIT);
    g_assert_nonnull(strstr(error->message, "2048 characters"));
    g_assert_cmpint(part, ==, BOOT_COMMAND_LINE);
    g_assert_false(load(map, kernel, NULL, longer, &start, NULL));
}

/* What is said before there is a machine is what holds when there is one. */
static void
checks_beforehand_agree_with_loading(void)
{
    g_autofree uint8_t *image = new_image(), *content = g_malloc0(2 * MIB);
    g_autofree char *kernel = new_file("kernel", image, SETUP_SIZE + CODE_SIZE);
    g_autofree char *initrd = new_file("two", content, 2 * MIB);

    for (uint64_t ram = 2 * MIB; ram <= 32 * MIB; ram += MIB) {
        g_autoptr(guest_map) map = new_map(ram);
        g_autoptr(GError) said = NULL, error = NULL;
        struct cpu_start start;
        enum boot_part part;

        load(map, kernel, initrd, NULL, &start, &error);
        boot_check(kernel, initrd, NULL, ram, &part, &said);
        g_assert_cmpstr(error ? error->message : "", ==, said ? said->message : "");
        g_assert_true(!said || part == (strstr(said->message, "initrd") ? BOOT_INITRD : BOOT_KERNEL));
    }
}

static void
what_is_no_file_is_named(void)
{
    g_autofree char *pipe = g_build_filename(folder, "pipe", NULL), *none = g_build_filename(folder, "none", NULL);
    g_autofree uint8_t *image = new_image();
    g_autofree char *kernel = new_file("kernel", image, SETUP_SIZE + CODE_SIZE), *empty = new_file("empty", "", 0);
    const struct { const char *name, *because; } files[] = {
        { folder, "it is a folder, not a file" }, { pipe, "it is a pipe, not a file" }, { none, "No such file" },
        { "/dev/zero", "it is a device, not a file" }, { empty, "it is empty" },
    };

    g_assert_cmpint(mkfifo(pipe, 0600), ==, 0);
    for (unsigned i = 0; i < G_N_ELEMENTS(files); i++) {
        g_autoptr(GError) as_kernel = NULL, as_initrd = NULL;
        enum boot_part part;

        g_assert_false(boot_check(files[i].name, NULL, NULL, GIB, &part, &as_kernel));
        g_assert_cmpint(part, ==, BOOT_KERNEL);
        g_assert_nonnull(strstr(as_kernel->message, files[i].because));
        g_assert_nonnull(strstr(as_kernel->message, "kernel '"));
        g_assert_false(boot_check(kernel, files[i].name, NULL, GIB, &part, &as_initrd));
        g_assert_cmpint(part, ==, BOOT_INITRD);
        g_assert_nonnull(strstr(as_initrd->message, files[i].because));
        g_assert_nonnull(strstr(as_initrd->message, "initrd '"));
    }
    g_unlink(pipe);
}

/* A file that was opened and has shrunk since: an error, and nothing worse. */
static void
shrunken_files_are_told(void)
{
    g_autoptr(guest_map) map = new_map(64 * MIB);
    g_autofree uint8_t *image = new_image();
    g_autofree char *kernel = new_file("kernel", image, SETUP_SIZE + CODE_SIZE);
    g_autofree char *other = g_build_filename(folder, "two", NULL);
    g_autoptr(boot_files) files = boot_files_open(kernel, NULL, NULL);
    g_autofree struct topology_final *t = g_new0(struct topology_final, 1);
    struct boot_setup setup = { .map = map, .topology = t, .files = files };
    struct cpu_start start;
    g_autoptr(GError) error = NULL;

    t->smp = (struct smp) { .cpus = 1, .maxcpus = 1, .levels = { 1, 1, 1, 1, 1 } };
    g_assert_true(boot_load(&setup, &start, NULL));
    /* A name that is gone does not matter. */
    g_assert_cmpint(g_rename(kernel, other), ==, 0);
    g_assert_true(boot_load(&setup, &start, NULL));
    g_assert_cmpint(truncate(other, SETUP_SIZE + 100), ==, 0);
    g_assert_false(boot_load(&setup, &start, &error));
    g_assert_error(error, NUMON_ERROR, NUMON_ERROR_HOST);
    g_assert_nonnull(strstr(error->message, "bytes when it was opened"));
}

/* --- Multiboot modules, PVH modules, flat binaries -------------------------------------------------------------- */

static char *
new_multiboot(void)
{
    uint32_t words[16] = {
        0x1badb002, 0x10003, -(0x1badb002u + 0x10003u), 0x100000, 0x100000, 0x100040, 0x101004, 0x100020,
        [8] = 0xf4f4f4f4,
    };

    return new_file("multiboot", words, sizeof words);
}

static void
modules_are_told_their_names_and_arguments(void)
{
    g_autoptr(guest_map) map = new_map(64 * MIB);
    g_autofree char *kernel = new_multiboot(), *one = new_file("one", "first", 5);
    g_autofree char *two = new_file("a,b", "second!", 7);
    g_autofree char *doubled = g_strdup_printf("%s/a,,b", folder);
    g_autofree char *list = g_strdup_printf("%s -x 1,%s,%s y,,z", one, doubled, one);
    g_autofree char *first = g_strdup_printf("%s -x 1", one), *third = g_strdup_printf("%s y,z", one);
    const char *texts[] = { first, two, third }, *contents[] = { "first", "second!", "first" };
    g_autoptr(GError) error = NULL;
    struct cpu_start start;
    uint64_t at, end = 0x101004;

    load(map, kernel, list, "arguments", &start, &error);
    g_assert_no_error(error);
    g_assert_cmphex(start.rax, ==, 0x2badb002);
    g_assert_cmphex(field(map, INFO_GPA, 4), ==, 1 | 4 | 8 | 64 | 512);
    g_assert_cmpuint(field(map, INFO_GPA + 4, 4), ==, 639);             /* KiB below 1 MiB and from there on */
    g_assert_cmpuint(field(map, INFO_GPA + 8, 4), ==, 63 * 1024);
    g_assert_cmpuint(field(map, INFO_GPA + 20, 4), ==, 3);
    at = field(map, INFO_GPA + 24, 4);
    for (unsigned i = 0; i < 3; i++, at += 16) {
        uint64_t from = field(map, at, 4), size = strlen(contents[i]);

        g_assert_cmphex(from % 4096, ==, 0);
        g_assert_cmphex(from, >=, end);
        end = field(map, at + 4, 4);
        g_assert_cmpuint(end - from, ==, size);
        g_assert_cmpmem(guest_map_host(map, from, size), size, contents[i], size);
        g_assert_cmpstr(guest_map_host(map, field(map, at + 8, 4), 1), ==, texts[i]);
    }
}

static void
lists_of_modules_that_cannot_be_are_refused(void)
{
    g_autoptr(guest_map) map = new_map(64 * MIB);
    g_autofree char *kernel = new_multiboot(), *one = new_file("one", "first", 5);
    g_autofree char *big = g_build_filename(folder, "sparse", NULL), *arguments = g_strnfill(30000, 'a');
    g_autoptr(GString) many = g_string_new(one);
    const struct { char *list; const char *because; } lists[] = {
        { g_strdup_printf("%s,", one), "no file name" }, { g_strdup(" , x"), "no file name" },
        { g_strdup_printf("%s,%s/none", one, folder), "none': No such file" },
        { g_strdup_printf("%s,%s", one, big), "it does not fit: there are no 67108864 bytes of RAM" },
        { g_strdup_printf("%s %s", one, arguments), "more than 24576 characters" },
        { many->str, "more than 64 modules" },
    };
    int fd = open(big, O_CREAT | O_WRONLY, 0600);
    struct cpu_start start;

    g_assert_cmpint(ftruncate(fd, 64 << 20), ==, 0);
    close(fd);
    for (unsigned i = 0; i < 64; i++)
        g_string_append_printf(many, ",%s", one);
    for (unsigned i = 0; i < G_N_ELEMENTS(lists); i++) {
        const char *list = i == G_N_ELEMENTS(lists) - 1 ? many->str : lists[i].list;
        g_autoptr(GError) error = NULL;

        g_assert_false(load(map, kernel, list, NULL, &start, &error));
        if (!strstr(error->message, lists[i].because))
            g_error("'%s' is not about '%s'", error->message, lists[i].because);
        if (list != many->str)
            g_free(lists[i].list);
    }
    g_unlink(big);
}

static void
pvh_kernel_finds_its_initrd(void)
{
    g_autoptr(guest_map) map = new_map(64 * MIB);
    g_autofree char *multiboot = boot_builtin_path(NULL), *images = g_path_get_dirname(multiboot);
    g_autofree char *kernel = g_build_filename(images, "numon-workload-pvh.elf", NULL);
    g_autofree char *initrd = new_file("with, comma and blank", "initial", 7);
    g_autoptr(GError) error = NULL;
    struct cpu_start start;
    uint64_t at;

    load(map, kernel, initrd, NULL, &start, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(field(map, INFO_GPA + 12, 4), ==, 1);
    at = field(map, INFO_GPA + 16, 8);
    g_assert_cmpuint(field(map, at + 8, 8), ==, 7);
    g_assert_cmpmem(guest_map_host(map, field(map, at, 8), 7), 7, "initial", 7);
    g_unlink(initrd);
}

static void
flat_binaries_begin_in_real_mode(void)
{
    g_autoptr(guest_map) map = new_map(2 * MIB);
    g_autofree uint8_t *code = g_malloc0(0x90000);
    g_autofree char *path = new_file("flat", "\xf4 any", 5), *large = new_file("large", code, 0x9fc00 - 0x10000 + 1);
    g_autofree char *name = g_strconcat("flat:", path, NULL), *too_large = g_strconcat("flat:", large, NULL);
    g_autoptr(GError) error = NULL;
    struct cpu_start s;

    load(map, name, NULL, NULL, &s, &error);
    g_assert_no_error(error);
    g_assert_cmpmem(guest_map_host(map, 0x10000, 5), 5, "\xf4 any", 5);
    g_assert_cmphex(s.cs.base + s.rip, ==, 0x10000);
    g_assert_cmphex(s.cs.selector, ==, 0x1000);
    g_assert_cmphex(s.ss.selector, ==, 0x1000);
    g_assert_cmphex(s.rsp, ==, 0x8000);
    g_assert_cmphex(s.cr0 & 1, ==, 0);
    g_assert_cmphex(s.cs.limit, ==, 0xffff);
    g_assert_false(load(map, too_large, NULL, NULL, &s, &error));
    g_assert_nonnull(strstr(error->message, "at most 588800 bytes"));
    g_clear_error(&error);
    g_assert_false(load(map, name, path, NULL, &s, &error));
    g_assert_nonnull(strstr(error->message, "flat binary takes none"));
    g_clear_error(&error);
    g_assert_false(load(map, name, NULL, "x", &s, &error));
    g_assert_nonnull(strstr(error->message, "flat binary takes none"));
    g_clear_error(&error);
    g_assert_false(load(map, "builtin:workload", path, NULL, &s, &error));
    g_assert_nonnull(strstr(error->message, "takes none"));
    g_unlink(large);
}

/* Memory that held something is clear behind what a file has of a segment. */
static void
what_a_file_does_not_have_is_zeros(void)
{
    g_autofree char *kernel = new_multiboot(), *path = g_build_filename(folder, "memory", NULL);
    g_autofree uint8_t *old = g_malloc(4 * MIB);
    g_autoptr(guest_map) map = guest_map_new();
    struct backend_options o;
    struct cpu_start start;
    struct block *b;

    memset(old, 0xee, 4 * MIB);
    g_assert_true(g_file_set_contents(path, (char *)old, 4 * MIB, NULL));
    backend_options_init_default(&o, "file", 4 * MIB);
    o.kind = BACKEND_FILE;
    o.mem_path = g_intern_string(path);
    b = block_new(&o, NULL);
    g_assert_nonnull(b);
    guest_map_take_block(map, b);
    guest_map_add(map, &(struct section) { .size = 4 * MIB, .block = b, .node = -1 });
    g_assert_true(load(map, kernel, NULL, NULL, &start, NULL));
    g_assert_cmphex(field(map, 0x100020, 4), ==, 0xf4f4f4f4);
    for (uint64_t at = 0x100040; at < 0x101000; at++)
        g_assert_cmphex(field(map, at, 1), ==, 0);
    g_assert_cmphex(field(map, 0x101004, 4), ==, 0xeeeeeeee);
    g_unlink(path);
}

int
main(int argc, char **argv)
{
    static const char *const left[] = {
        "image", "kernel", "initrd", "two", "empty", "multiboot", "one", "a,b", "flat", "pipe", "big", "large",
    };
    int status;

    g_test_init(&argc, &argv, NULL);
    main_thread_claim();
    folder = g_dir_make_tmp("numon-linux-XXXXXX", NULL);
    g_assert_nonnull(folder);
    g_test_add_func("/linux/zero-page-says-what-there-is", zero_page_says_what_there_is);
    g_test_add_func("/linux/long-mode-is-entered-as-documented", long_mode_is_entered_as_documented);
    g_test_add_func("/linux/without-a-64-bit-entry-the-32-bit-one-is-taken",
                    without_a_64_bit_entry_the_32_bit_one_is_taken);
    g_test_add_func("/linux/kernel-goes-where-there-is-room", kernel_goes_where_there_is_room);
    g_test_add_func("/linux/initrd-is-below-its-limit-and-off-the-kernel",
                    initrd_is_below_its_limit_and_off_the_kernel);
    g_test_add_func("/linux/headers-that-cannot-be-are-refused", headers_that_cannot_be_are_refused);
    g_test_add_func("/linux/truncated-images-are-refused", truncated_images_are_refused);
    g_test_add_func("/linux/command-lines-have-the-kernels-limit", command_lines_have_the_kernels_limit);
    g_test_add_func("/linux/checks-beforehand-agree-with-loading", checks_beforehand_agree_with_loading);
    g_test_add_func("/linux/what-is-no-file-is-named", what_is_no_file_is_named);
    g_test_add_func("/linux/shrunken-files-are-told", shrunken_files_are_told);
    g_test_add_func("/linux/modules-are-told-their-names-and-arguments", modules_are_told_their_names_and_arguments);
    g_test_add_func("/linux/lists-of-modules-that-cannot-be-are-refused",
                    lists_of_modules_that_cannot_be_are_refused);
    g_test_add_func("/linux/pvh-kernel-finds-its-initrd", pvh_kernel_finds_its_initrd);
    g_test_add_func("/linux/flat-binaries-begin-in-real-mode", flat_binaries_begin_in_real_mode);
    g_test_add_func("/linux/what-a-file-does-not-have-is-zeros", what_a_file_does_not_have_is_zeros);
    status = g_test_run();
    for (unsigned i = 0; i < G_N_ELEMENTS(left); i++) {
        g_autofree char *path = g_build_filename(folder, left[i], NULL);

        g_unlink(path);
    }
    g_rmdir(folder);
    return status;
}
