/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Backends, blocks, zero pages and the guest physical map. */
#include "memory.h"

#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "../../src/memory/memory-private.h"

static struct block *
new_block(enum backend_kind kind, bool share, uint64_t size)
{
    struct backend_options o;
    struct block *b;

    backend_options_init_default(&o, "m0", size);
    o.kind = kind;
    o.share = share;
    b = block_new(&o, NULL);
    g_assert_nonnull(b);
    return b;
}

static void
every_kind_reads_zero_and_clears(void)
{
    for (unsigned i = 0; i < 4; i++) {
        g_autoptr(block) b = new_block(i / 2 ? BACKEND_MEMFD : BACKEND_RAM, i % 2, 3 * MIB + PAGE_SIZE);

        g_assert_cmpuint(b->page_count, ==, 769);
        g_assert_true(page_is_zero(b->host + 768 * PAGE_SIZE));
        memset(b->host, 0x5a, b->size);
        g_assert_false(page_is_zero(b->host + 768 * PAGE_SIZE));
        g_assert_true(block_discard(b, NULL));
        for (uint64_t page = 0; page < b->page_count; page++)
            g_assert_true(page_is_zero(b->host + page * PAGE_SIZE));
    }
}

static void
shared_blocks_have_a_private_descriptor(void)
{
    g_autoptr(block) private = new_block(BACKEND_RAM, false, MIB);
    g_autoptr(block) shared = new_block(BACKEND_RAM, true, MIB);
    g_autoptr(block) memfd = new_block(BACKEND_MEMFD, true, MIB);

    g_assert_cmpint(private->fd, ==, -1);
    g_assert_cmpuint((uintptr_t)private->host % (2 * MIB), ==, 0);
    g_assert_cmpint(fcntl(shared->fd, F_GETFD), ==, FD_CLOEXEC);
    g_assert_cmpint(fcntl(memfd->fd, F_GETFD), ==, FD_CLOEXEC);
    g_assert_cmpint(lseek(memfd->fd, 0, SEEK_DATA), ==, -1);
    memfd->host[5 * PAGE_SIZE] = 1;
    g_assert_cmpint(lseek(memfd->fd, 0, SEEK_DATA), ==, 5 * PAGE_SIZE);
}

/* The flags that /proc/self/smaps has for the mapping that begins at 'host'. */
static char *
mapping_flags(const void *host)
{
    g_autofree char *text = NULL, *want = g_strdup_printf("\n%lx-", (unsigned long)host);
    const char *at, *flags;

    g_assert_true(g_file_get_contents("/proc/self/smaps", &text, NULL, NULL));
    at = strstr(text, want);
    g_assert_nonnull(at);
    flags = strstr(at, "VmFlags:");
    g_assert_nonnull(flags);
    return g_strndup(flags, strcspn(flags, "\n"));
}

static void
options_reach_the_host(void)
{
    struct backend_options o;
    g_autoptr(block) b = NULL;
    g_autofree char *flags = NULL;
    g_autofree unsigned char *in = g_malloc(512);

    backend_options_init_default(&o, "m1", 2 * MIB);
    o.dump = false;
    o.prealloc = true;
    b = block_new(&o, NULL);
    g_assert_nonnull(b);
    flags = mapping_flags(b->host);
    g_assert_nonnull(strstr(flags, " dc"));     /* not copied by fork */
    g_assert_nonnull(strstr(flags, " dd"));     /* not dumped */
    g_assert_cmpint(mincore(b->host, b->size, in), ==, 0);
    for (unsigned i = 0; i < 512; i++)
        g_assert_true(in[i] & 1);
}

static void
impossible_size_is_an_error(void)
{
    static const uint64_t sizes[] = { 100 * TIB, UINT64_C(1) << 62, UINT64_MAX & ~UINT64_C(4095) };

    for (unsigned i = 0; i < 4 * G_N_ELEMENTS(sizes); i++) {
        g_autoptr(GError) error = NULL;
        struct backend_options o;

        backend_options_init_default(&o, "huge", sizes[i / 4]);
        o.kind = i % 4 / 2 ? BACKEND_MEMFD : BACKEND_RAM;
        o.share = i % 2;
        g_assert_null(block_new(&o, &error));
        g_assert_error(error, NUMON_ERROR, NUMON_ERROR_HOST);
        g_assert_nonnull(strstr(error->message, "'huge'"));
        g_assert_nonnull(i / 4 ? error->message : strstr(error->message, "100 TiB"));
    }
}

static void
zero_page_is_told_at_every_byte(void)
{
    g_autoptr(block) b = new_block(BACKEND_RAM, false, PAGE_SIZE);

    g_assert_true(page_is_zero(b->host) && page_is_zero_plain(b->host));
    g_assert_true(!page_has_avx2() || page_is_zero_avx2(b->host));
    for (unsigned i = 0; i < PAGE_SIZE; i++) {
        b->host[i] = (uint8_t)(1u << i % 8);
        g_assert_false(page_is_zero(b->host));
        g_assert_false(page_is_zero_plain(b->host));
        g_assert_false(page_has_avx2() && page_is_zero_avx2(b->host));
        b->host[i] = 0;
    }
}

static bool
read_backend(const char *text, enum backend_kind kind, struct backend_options *ret, GError **error)
{
    g_autoptr(values) v = property_parse_options(kind == BACKEND_RAM ? backend_ram_properties
                                                                     : backend_memfd_properties, -1, text, error);

    return v && backend_options_read(kind, v, ret, error);
}

static void
backend_options_have_their_rules(void)
{
    struct backend_options o = { 0 };
    g_autoptr(GError) zero = NULL;
    g_autoptr(GError) odd = NULL;

    g_assert_true(read_backend("id=m0,size=1G", BACKEND_RAM, &o, NULL));
    g_assert_cmpstr(o.id, ==, "m0");
    g_assert_cmpuint(o.size, ==, GIB);
    g_assert_true(!o.share && !o.prealloc && o.merge && o.dump);
    g_assert_true(read_backend("id=m1,size=8192,merge=off,prealloc=on", BACKEND_MEMFD, &o, NULL));
    g_assert_true(o.share && o.prealloc && !o.merge && o.dump);
    g_assert_false(read_backend("id=m2,size=0", BACKEND_RAM, &o, &zero));
    g_assert_error(zero, NUMON_ERROR, NUMON_ERROR_ARGUMENT);
    g_assert_false(read_backend("id=m2,size=5000", BACKEND_RAM, &o, &odd));
    g_assert_nonnull(strstr(odd->message, "5000"));
    g_assert_cmpstr(o.id, ==, "m1");
}

/* Two blocks, three sections: 0-64K and 64K-128K of 'a' in two nodes, a hole, 1M-1M+64K of 'b'. */
static struct guest_map *
three_sections(void)
{
    struct guest_map *map = guest_map_new();
    struct backend_options o;
    struct block *a, *b;

    backend_options_init_default(&o, "a", 128 * KIB);
    a = block_new(&o, NULL);
    guest_map_take_block(map, a);
    backend_options_init_default(&o, "b", 64 * KIB);
    b = block_new(&o, NULL);
    guest_map_take_block(map, b);
    guest_map_add(map, &(struct section) { MIB, 64 * KIB, b, 0, 1 });
    guest_map_add(map, &(struct section) { 0, 64 * KIB, a, 0, 0 });
    guest_map_add(map, &(struct section) { 64 * KIB, 64 * KIB, a, 64 * KIB, 1 });
    return map;
}

static void
map_finds_what_is_there(void)
{
    g_autoptr(guest_map) map = three_sections();
    struct block *a = guest_map_find_block(map, "a");

    g_assert_cmpuint(guest_map_find_block(map, "b")->index, ==, 1);
    g_assert_null(guest_map_find_block(map, "c"));
    g_assert_cmpuint(guest_map_ram_bytes(map), ==, 192 * KIB);
    g_assert_cmpint(guest_map_find(map, 0)->node, ==, 0);
    g_assert_cmpint(guest_map_find(map, 64 * KIB - 1)->node, ==, 0);
    g_assert_cmpint(guest_map_find(map, 64 * KIB)->node, ==, 1);
    g_assert_null(guest_map_find(map, 128 * KIB));
    g_assert_null(guest_map_find(map, MIB - 1));
    g_assert_null(guest_map_find(map, MIB + 64 * KIB));
    g_assert_null(guest_map_find(map, UINT64_MAX));
    g_assert_true(guest_map_host(map, 64 * KIB + 8, 16) == a->host + 64 * KIB + 8);
    g_assert_nonnull(guest_map_host(map, 0, 64 * KIB));
    g_assert_null(guest_map_host(map, 0, 64 * KIB + 1));
    g_assert_null(guest_map_host(map, 8, UINT64_MAX));
}

static void
copies_cross_section_borders(void)
{
    g_autoptr(guest_map) map = three_sections();
    uint8_t out[16], in[16] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16 };

    g_assert_true(guest_map_write(map, 64 * KIB - 5, in, 16));
    g_assert_true(guest_map_read(map, 64 * KIB - 5, out, 16));
    g_assert_cmpmem(in, 16, out, 16);
    g_assert_cmpuint(guest_map_find_block(map, "a")->host[64 * KIB], ==, 6);
    g_assert_false(guest_map_write(map, 128 * KIB - 5, in, 16));
    g_assert_false(guest_map_read(map, MIB + 64 * KIB - 1, out, 2));
    g_assert_true(guest_map_read(map, 5 * MIB, out, 0));
}

/* A block in a file of 8 pages, of which the first page is skipped. */
static struct block *
new_file_block(const char *path, const char *id, bool share)
{
    struct backend_options o;
    struct block *b;

    backend_options_init_default(&o, id, 7 * PAGE_SIZE);
    o.kind = BACKEND_FILE;
    o.mem_path = g_intern_string(path);
    o.offset = PAGE_SIZE;
    o.share = share;
    b = block_new(&o, NULL);
    g_assert_nonnull(b);
    return b;
}

static char *
temporary_path(void)
{
    g_autofree char *path = g_build_filename(g_get_tmp_dir(), "numon-test-XXXXXX", NULL);
    int fd = g_mkstemp(path);

    g_assert_cmpint(fd, >=, 0);
    close(fd);
    return g_steal_pointer(&path);
}

static bool
is_readable(int fd)
{
    struct pollfd p = { .fd = fd, .events = POLLIN };

    return poll(&p, 1, 0) == 1;
}

/* Two maps: what one loses the other keeps. */
static void
lost_pages_do_not_end_the_process(void)
{
    g_autofree char *path = temporary_path(), *text = NULL;
    g_autoptr(guest_map) map = guest_map_new(), other = guest_map_new();
    struct block *b = new_file_block(path, "m0", true);
    uint64_t page = 99;

    guest_map_take_block(map, b);
    guest_map_take_block(other, new_block(BACKEND_RAM, false, MIB));
    memset(b->host, 0x5a, b->size);
    g_assert_false(guest_map_is_lost(map));
    g_assert_cmpint(truncate(path, 3 * PAGE_SIZE), ==, 0);
    g_assert_cmpint(b->host[PAGE_SIZE], ==, 0x5a);
    g_assert_false(block_lost(b, &page));
    g_assert_cmpint(b->host[4 * PAGE_SIZE + 5], ==, 0);
    b->host[5 * PAGE_SIZE] = 1;
    g_assert_true(block_lost(b, &page));
    g_assert_cmpuint(page, ==, 4);
    g_assert_true(guest_map_is_lost(map));
    text = guest_map_lost(map);
    g_assert_nonnull(strstr(text, "page 4 of backend 'm0'"));
    g_assert_nonnull(strstr(text, "its file was truncated to 8192 bytes of the block"));
    g_assert_true(is_readable(map->lost_fd));
    g_assert_false(block_discard(b, NULL));
    g_assert_false(guest_map_is_lost(other));
    g_assert_false(is_readable(other->lost_fd));
    unlink(path);
}

/* KVM is told of a lost page by EFAULT, without a signal. */
static void
lost_pages_are_found_without_a_signal(void)
{
    g_autofree char *path = temporary_path(), *text = NULL;
    g_autoptr(guest_map) map = guest_map_new();
    struct block *b = new_file_block(path, "m0", true);

    guest_map_take_block(map, b);
    guest_map_blame(map, UINT64_MAX);
    g_assert_null(guest_map_lost(map));
    g_assert_cmpint(truncate(path, 6 * PAGE_SIZE), ==, 0);
    guest_map_blame(map, UINT64_MAX);
    text = guest_map_lost(map);
    g_assert_nonnull(strstr(text, "page 5 of backend 'm0'"));
    g_assert_false(is_readable(map->lost_fd));
    unlink(path);
}

/* Anywhere else a SIGBUS ends the process, as without us. */
static void
foreign_bus_errors_end_the_process(void)
{
    if (g_test_subprocess()) {
        g_autoptr(block) b = new_block(BACKEND_RAM, false, MIB);
        int fd = memfd_create("foreign", MFD_CLOEXEC);
        volatile uint8_t *page = mmap(NULL, PAGE_SIZE, PROT_READ, MAP_SHARED, fd, 0);

        g_assert_nonnull(b);            /* it is watched, so the handler is in place */
        setrlimit(RLIMIT_CORE, &(struct rlimit) { 0 });
        g_assert_cmpint(page[0], ==, 0);
        exit(0);
    }
    g_test_trap_subprocess(NULL, 20 * G_USEC_PER_SEC, G_TEST_SUBPROCESS_DEFAULT);
    g_test_trap_assert_failed();
}

static void
what_a_file_held_clears(void)
{
    for (unsigned share = 0; share < 2; share++) {
        g_autofree char *path = temporary_path(), *content = g_strnfill(8 * PAGE_SIZE, 'x');
        g_autoptr(block) b = NULL;

        g_assert_true(g_file_set_contents(path, content, 8 * PAGE_SIZE, NULL));
        b = new_file_block(path, "m0", share);
        g_assert_true(b->had_content);
        g_assert_cmpint(b->host[6 * PAGE_SIZE], ==, 'x');
        g_assert_true(block_discard(b, NULL));
        for (unsigned page = 0; page < 7; page++)
            g_assert_true(page_is_zero(b->host + page * PAGE_SIZE));
        unlink(path);
    }
}

static void
populating_keeps_content(void)
{
    g_autoptr(block) b = new_block(BACKEND_MEMFD, true, 40 * MIB);
    struct block_progress progress = { 0 };

    b->host[33 * MIB] = 7;
    b->options.prealloc_threads = 3;
    g_assert_true(block_populate(b, &progress, NULL));
    g_assert_cmpuint(progress.done, ==, 40 * MIB);
    g_assert_cmpuint(progress.total, ==, 40 * MIB);
    g_assert_cmpint(b->host[33 * MIB], ==, 7);
    g_assert_cmpint(lseek(b->fd, 0, SEEK_HOLE), ==, 40 * MIB);
}

/* Every property differs from its default, and comes back from what was saved. */
static void
saved_options_read_back(void)
{
    static const char *const lines[BACKEND_KINDS] = {
        [BACKEND_RAM] = ("id=a,size=8M,share=on,prealloc=on,merge=off,dump=off,prealloc-threads=3,host-nodes=0,"
                         "policy=bind,x-use-canonical-path-for-ramblock-id=on"),
        [BACKEND_FILE] = "id=a,size=8M,reserve=off,mem-path=/tmp,,x,align=2M,offset=4K,discard-data=on",
        [BACKEND_MEMFD] = "id=a,size=8M,share=off,policy=interleave,host-nodes=0,hugetlb=on,seal=off",
        [BACKEND_SHM] = "id=a,size=8M,policy=preferred,host-nodes=0",
    };

    for (unsigned kind = 0; kind < BACKEND_KINDS; kind++) {
        g_autoptr(values) v = property_parse_options(backend_properties(kind), -1, lines[kind], NULL), again = NULL;
        g_autoptr(GString) saved = g_string_new(NULL);
        struct backend_options o, back;

        g_assert_nonnull(v);
        g_assert_true(backend_options_read(kind, v, &o, NULL));
        backend_options_save(&o, saved);
        g_assert_true(g_str_has_prefix(saved->str, backend_kind_names[kind]));
        again = property_parse_options(backend_properties(kind), -1, strchr(saved->str, ',') + 1, NULL);
        g_assert_nonnull(again);
        g_assert_true(backend_options_read(kind, again, &back, NULL));
        g_assert_true(backend_options_equal(&o, &back));
        back.dump = !back.dump;
        g_assert_false(backend_options_equal(&o, &back));
    }
}

int
main(int argc, char **argv)
{
    main_thread_claim();
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/memory/every-kind-reads-zero-and-clears", every_kind_reads_zero_and_clears);
    g_test_add_func("/memory/shared-blocks-have-a-descriptor", shared_blocks_have_a_private_descriptor);
    g_test_add_func("/memory/options-reach-the-host", options_reach_the_host);
    g_test_add_func("/memory/impossible-size-is-an-error", impossible_size_is_an_error);
    g_test_add_func("/memory/zero-page-at-every-byte", zero_page_is_told_at_every_byte);
    g_test_add_func("/memory/backend-options-have-their-rules", backend_options_have_their_rules);
    g_test_add_func("/memory/map-finds-what-is-there", map_finds_what_is_there);
    g_test_add_func("/memory/copies-cross-section-borders", copies_cross_section_borders);
    g_test_add_func("/memory/lost-pages-do-not-end-the-process", lost_pages_do_not_end_the_process);
    g_test_add_func("/memory/lost-pages-are-found-without-a-signal", lost_pages_are_found_without_a_signal);
    g_test_add_func("/memory/foreign-bus-errors-end-the-process", foreign_bus_errors_end_the_process);
    g_test_add_func("/memory/what-a-file-held-clears", what_a_file_held_clears);
    g_test_add_func("/memory/populating-keeps-content", populating_keeps_content);
    g_test_add_func("/memory/saved-options-read-back", saved_options_read_back);
    return g_test_run();
}
