/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Pages that a mapping cannot have when they are touched: its file was truncated underneath, no huge page is left, a
 * file system is full, the hardware failed.  The kernel then raises SIGBUS in whichever thread touched it: a vCPU of
 * the synthetic accelerator, a migration, a verification, main.
 *
 * The handler puts an empty page in its place, so that the thread goes on, notes the page as lost and makes the map's
 * eventfd readable: main stops the guest and says why.  Whoever hands on what it read looks at guest_map_is_lost
 * before it says that it succeeded.  A SIGBUS anywhere else ends the process, as without us.
 *
 * The disposition of a signal belongs to the process, and a handler is given nothing but the address: so the table of
 * mappings has to be at file scope, the one such state of this folder.  It holds no reference to a machine, only
 * ranges, and two machines have different rows.  A row's 'start' is published last and taken back first; nobody may
 * touch a mapping that is being let go, so that no handler looks at a row while it changes hands. */
#include "memory-private.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { GUARDS = 1024 };

struct guard {
    _Atomic uintptr_t start;        /* 0: row is free; GUARD_TAKEN: being filled */
    _Atomic uintptr_t end;
    _Atomic uint64_t page_size;
    _Atomic uint64_t lost;          /* the first lost guest page + 1; 0: none */
    _Atomic int fd;                 /* eventfd, or -1 */
};

enum { GUARD_TAKEN = 1 };

static struct guard guards[GUARDS];

/* Of the thread that the signal is for; the same reason makes it lie here. */
static __thread struct page_watch *watching;

/* --- the handler: only what is safe in one ---------------------------------------------------------------------- */

static void
note_lost(struct guard *g, uint64_t page)
{
    uint64_t none = 0;

    atomic_compare_exchange_strong(&g->lost, &none, page + 1);
}

/* False if the host does not even give an empty page. */
static bool
replace_page(struct guard *g, uintptr_t at)
{
    uintptr_t start = atomic_load(&g->start);
    uint64_t page_size = atomic_load(&g->page_size), one = 1;
    void *page = (void *)(start + (at - start) / page_size * page_size);
    int fd = atomic_load(&g->fd), flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE;

    note_lost(g, (at - start) / PAGE_SIZE);
    if (mmap(page, page_size, PROT_READ | PROT_WRITE, flags, -1, 0) == MAP_FAILED)
        return false;
    madvise(page, page_size, MADV_DONTFORK);
    if (fd >= 0 && write(fd, &one, sizeof one) < 0)
        return true;            /* its counter is full: readable all the same */
    return true;
}

/* True if the processor met it for a guest, whose vCPU will see to it. */
static bool
leave_to_vcpu(const siginfo_t *info, uintptr_t at)
{
    if (info->si_code != BUS_MCEERR_AR || !watching || !atomic_load(&watching->armed))
        return false;
    atomic_store(&watching->failed, at);
    __atomic_store_n(watching->leave, 1, __ATOMIC_SEQ_CST);
    return true;
}

static void
take_bus_error(int number, siginfo_t *info, void *context)
{
    int saved = errno;
    uintptr_t at = (uintptr_t)info->si_addr;

    for (unsigned i = 0; info->si_code > 0 && i < GUARDS; i++) {
        uintptr_t start = atomic_load(&guards[i].start);

        if (start <= GUARD_TAKEN || at < start || at >= atomic_load(&guards[i].end))
            continue;
        if (!leave_to_vcpu(info, at) && !replace_page(&guards[i], at))
            break;
        errno = saved;
        return;
    }
    /* Not ours: the access is tried again, and ends the process.  One sent by somebody is raised again. */
    signal(SIGBUS, SIG_DFL);
    if (info->si_code <= 0)
        raise(SIGBUS);
}

static void
install_handler(void)
{
    struct sigaction action = { .sa_sigaction = take_bus_error, .sa_flags = SA_SIGINFO | SA_ONSTACK };

    sigemptyset(&action.sa_mask);
    sigaction(SIGBUS, &action, NULL);
}

/* --- rows ------------------------------------------------------------------------------------------------------- */

bool
guard_add(struct block *b, GError **error)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, install_handler);
    for (unsigned i = 0; i < GUARDS; i++) {
        struct guard *g = &guards[i];
        uintptr_t none = 0;

        if (!atomic_compare_exchange_strong(&g->start, &none, GUARD_TAKEN))
            continue;
        atomic_store(&g->end, (uintptr_t)b->host + b->size);
        atomic_store(&g->page_size, b->page_size);
        atomic_store(&g->lost, 0);
        atomic_store(&g->fd, -1);
        atomic_store(&g->start, (uintptr_t)b->host);
        b->guard = i;
        return true;
    }
    return fail(error, NUMON_ERROR_LIMIT,
                "cannot map backend '%s': at most %d RAM blocks in one process", b->name, GUARDS);
}

void
guard_remove(struct block *b)
{
    struct guard *g = &guards[b->guard];

    if (atomic_load(&g->start) == (uintptr_t)b->host)
        atomic_store(&g->start, 0);
}

void
guard_notify(const struct block *b, int fd)
{
    atomic_store(&guards[b->guard].fd, fd);
}

void
guard_mark(const struct block *b, uint64_t page)
{
    note_lost(&guards[b->guard], page);
}

bool
block_lost(const struct block *b, uint64_t *ret_page)
{
    uint64_t lost = atomic_load(&guards[b->guard].lost);

    if (lost && ret_page)
        *ret_page = lost - 1;
    return lost != 0;
}

/* --- which and why ---------------------------------------------------------------------------------------------- */

static struct block *
block_at(const struct guest_map *map, unsigned i)
{
    return g_ptr_array_index(map->blocks, i);
}

bool
guest_map_is_lost(const struct guest_map *map)
{
    for (unsigned i = 0; i < map->blocks->len; i++) {
        if (block_lost(block_at(map, i), NULL))
            return true;
    }
    return false;
}

/* Bytes of the block that its file has; all of them if it has no file or that cannot be told. */
static uint64_t
bytes_behind(const struct block *b)
{
    struct stat s;
    uint64_t size;

    if (b->fd < 0 || fstat(b->fd, &s) != 0)
        return b->size;
    size = (uint64_t)s.st_size;
    return size <= b->options.offset ? 0 : MIN(size - b->options.offset, b->size);
}

static void
append_reason(const struct block *b, uint64_t page, GString *out)
{
    if (page * PAGE_SIZE >= bytes_behind(b) / PAGE_SIZE * PAGE_SIZE)
        g_string_append_printf(out, "its file was truncated to %" PRIu64 " bytes of the block", bytes_behind(b));
    else if (b->page_size > PAGE_SIZE)
        g_string_append(out, "the host has no huge page left for it");
    else if (b->fd >= 0)
        g_string_append(out, "the host has no room for it or cannot read it");
    else
        g_string_append(out, "the host's memory failed there");
}

char *
block_lost_text(const struct block *b)
{
    GString *out;
    uint64_t page;

    if (!block_lost(b, &page))
        return NULL;
    out = g_string_new(NULL);
    g_string_append_printf(out, "page %" PRIu64 " of backend '%s'", page, b->options.id);
    if (b->options.mem_path)
        g_string_append_printf(out, " (file '%s')", b->options.mem_path);
    g_string_append(out, " is lost: ");
    append_reason(b, page, out);
    return g_string_free(out, FALSE);
}

char *
guest_map_lost(const struct guest_map *map)
{
    char *text = NULL;

    for (unsigned i = 0; i < map->blocks->len && !text; i++)
        text = block_lost_text(block_at(map, i));
    return text;
}

/* The first page of a block of huge pages that is not there, if there is none to be had. */
static bool
missing_huge_page(const struct block *b, uint64_t *ret_page)
{
    struct host_huge_pool pools[HOST_HUGE_POOLS];
    unsigned count = host_huge_pools(-1, pools, HOST_HUGE_POOLS);
    unsigned char there = 1;

    if (b->page_size == PAGE_SIZE)
        return false;
    for (unsigned i = 0; i < count; i++) {
        if (pools[i].page_size == b->page_size && pools[i].free)
            return false;
    }
    for (uint64_t at = 0; at < b->size; at += b->page_size) {
        *ret_page = at / PAGE_SIZE;
        if (mincore(b->host + at, PAGE_SIZE, &there) == 0 && !(there & 1))
            return true;
    }
    return false;
}

void
guest_map_blame(const struct guest_map *map, uint64_t gpa)
{
    const struct section *s = gpa == UINT64_MAX ? NULL : guest_map_find(map, gpa);

    if (s) {
        guard_mark(s->block, (s->offset + (gpa - s->gpa)) / PAGE_SIZE);
        return;
    }
    for (unsigned i = 0; i < map->blocks->len; i++) {
        const struct block *b = block_at(map, i);
        uint64_t page = (bytes_behind(b) + PAGE_SIZE - 1) / PAGE_SIZE;

        if (page < b->page_count || missing_huge_page(b, &page)) {
            guard_mark(b, page);
            return;
        }
    }
}

/* --- pages that a guest's processor lost ------------------------------------------------------------------------ */

void
page_watch_begin(struct page_watch *w)
{
    watching = w;
}

static uint64_t
gpa_of(const struct guest_map *map, const struct block *b, uint64_t offset)
{
    for (unsigned i = 0; i < map->sections->len; i++) {
        const struct section *s = &g_array_index(map->sections, struct section, i);

        if (s->block == b && offset >= s->offset && offset - s->offset < s->size)
            return s->gpa + (offset - s->offset);
    }
    return UINT64_MAX;
}

bool
guest_map_locate(const struct guest_map *map, const void *host, struct block **ret_block, uint64_t *ret_page,
                 uint64_t *ret_gpa)
{
    const uint8_t *at = host;

    for (unsigned i = 0; i < map->blocks->len; i++) {
        struct block *b = block_at(map, i);

        if (at < b->host || at >= b->host + b->size)
            continue;
        *ret_block = b;
        *ret_page = (uint64_t)(at - b->host) / PAGE_SIZE;
        *ret_gpa = gpa_of(map, b, (uint64_t)(at - b->host));
        return true;
    }
    return false;
}

bool
block_replace_page(struct block *b, uint64_t page)
{
    uint8_t *at = b->host + page * PAGE_SIZE;

    if (b->page_size != PAGE_SIZE ||
        mmap(at, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) ==
        MAP_FAILED)
        return false;
    madvise(at, PAGE_SIZE, MADV_DONTFORK);
    return true;
}

void
block_note_lost(struct block *b, uint64_t page)
{
    guard_mark(b, page);
}
