/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Any bytes as a migration stream: the loader takes them or says why not, and writes nowhere but into guest memory.
 * The guest has two blocks of four pages, of which one may be shorter, and one device; one block more may come, of
 * whatever length its text begins with.  What was refused leaves its memory empty. */
#define _GNU_SOURCE
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../../src/migrate/migrate-private.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { BLOCKS = 2, BLOCK_PAGES = 4 };

struct device { uint64_t counter; uint8_t *bytes; uint32_t size; };

static const struct state_field device_fields[] = {
    { "counter", STATE_U64, offsetof(struct device, counter) },
    { "bytes", STATE_VARIABLE, offsetof(struct device, bytes), 64, offsetof(struct device, size) },
    { 0 }
};

struct guest {
    struct guest_map *map;
    struct hub *hub;
    struct device device;
    struct state_section section;
    const struct state_section *sections[1];
    struct block *coming;                   /* in the map, or NULL */
    bool started, reset;
};

static char *
guest_describe(void *self)
{
    return g_strdup("nodes: 2\n");
}

static bool
guest_agree(void *self, const char *theirs, GError **error)
{
    return g_str_equal(theirs, "nodes: 2\n") || fail(error, NUMON_ERROR_PEER, "the machines differ: %s", theirs);
}

static void
guest_nothing(void *self)
{
}

static bool
guest_make_room(void *self, GError **error)
{
    return true;
}

static enum migrate_run_state
guest_run_state(void *self)
{
    return RUN_STATE_RUNNING;
}

static void
guest_start(void *self, enum migrate_run_state state)
{
    ((struct guest *)self)->started = true;
}

static void
guest_reset(void *self)
{
    struct guest *g = self;

    g->reset = true;
    for (unsigned i = 0; i < g->map->blocks->len; i++)
        g_assert_true(block_discard(g->map->blocks->pdata[i], NULL));
}

static bool
put_into_map(void *self, GError **error)
{
    struct guest *g = self;

    guest_map_take_block(g->map, g->coming);
    return true;
}

static void
guest_arrive(void *self, const char *text, struct migrate_arrival *a)
{
    struct guest *g = self;
    g_autoptr(GError) error = NULL;
    struct backend_options options;

    if (g->coming || !migrate_arrival_wanted(a)) {
        fail(&error, NUMON_ERROR_STATE, "no more");
    } else {
        backend_options_init_default(&options, "m2", BLOCK_PAGES * PAGE_SIZE);
        g->coming = block_new(&options, NULL);
        g->coming->resizable = *text == 'r';
        g_assert_true(hub_add_block(g->hub, g->coming, put_into_map, g, NULL));
    }
    migrate_arrival_done(a, error);
}

static void
guest_init(struct guest *g)
{
    *g = (struct guest) { .map = guest_map_new() };
    for (unsigned i = 0; i < BLOCKS; i++) {
        struct backend_options options;
        backend_options_init_default(&options, i ? "m1" : "m0", BLOCK_PAGES * PAGE_SIZE);
        guest_map_take_block(g->map, block_new(&options, NULL));
    }
    ((struct block *)g->map->blocks->pdata[1])->resizable = true;
    g->hub = hub_new(g->map, (struct dirty_source) { 0 });
    g->section = (struct state_section) { .name = "device", .version = 1, .fields = device_fields,
                                          .object = &g->device };
    g->sections[0] = &g->section;
}

static void
guest_release(struct guest *g)
{
    hub_free(g->hub);
    guest_map_free(g->map);
    g_free(g->device.bytes);
}

static struct session *
guest_session(struct guest *g, enum migrate_direction direction, struct migrate_parameters *parameters,
              struct migrate_capabilities *capabilities, struct mailbox *mailbox)
{
    const struct migrate_guest guest = {
        .self = g, .map = g->map, .hub = g->hub, .sections = g->sections, .section_count = 1,
        .machine_type = "numon-0.1", .describe = guest_describe, .agree = guest_agree, .stop = guest_nothing,
        .go_on = guest_nothing, .run_state = guest_run_state, .make_room = guest_make_room,
        .start = guest_start, .reset = guest_reset, .arrive = guest_arrive,
    };

    return session_new(direction, &guest, parameters, capabilities, mailbox, NULL);
}

/* Inherited descriptors do not close on exec: so this one passes for one. */
static int
file_of(const uint8_t *data, size_t size)
{
    int fd = memfd_create("stream", 0);

    g_assert_true(fd >= 0 && write_all(fd, data, size) && lseek(fd, 0, SEEK_SET) == 0);
    return fd;
}

static void
seen(void *self, const struct explain_event *e)
{
    unsigned *events = self;

    for (unsigned i = 0; i < e->run_count; i++)
        g_assert_true(e->runs[i].at + e->runs[i].size <= PAGE_SIZE || e->kind == EXPLAIN_FIELD);
    (*events)++;
}

/* The same bytes as a file to be explained: whatever they are, that ends and says so. */
static void
explain(const uint8_t *data, size_t size)
{
    int fd = file_of(data, size);
    g_autofree char *path = g_strdup_printf("/proc/self/fd/%d", fd);
    unsigned events = 0;
    bool end = false;
    struct explain *e = explain_new(path, seen, &events, NULL);

    g_assert_true(e && explain_run(e, NULL, &end, NULL) && end);
    g_assert_cmpuint(explain_report(e)->read, <=, size);
    explain_free(e);
    close_fd(&fd);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct migrate_capabilities capabilities = { 0 };
    struct migrate_parameters parameters;
    struct migrate_info info;
    struct mailbox *mailbox;
    struct guest g;

    main_thread_claim();
    explain(data, size);
    mailbox = mailbox_new(NULL);
    migrate_parameters_init(&parameters);
    guest_init(&g);
    g_autofree char *uri = g_strdup_printf("fd:%d", file_of(data, size));
    struct session *s = guest_session(&g, MIGRATE_IN, &parameters, &capabilities, mailbox);
    g_assert_true(session_start(s, uri, NULL));
    for (session_info(s, &info); !migrate_state_ended(info.state); session_info(s, &info)) {
        migrate_info_release(&info);
        if (!g_main_context_iteration(NULL, FALSE))
            g_usleep(50);
    }
    thread_join(&s->worker);
    g_assert_true(info.state == MIGRATE_COMPLETED ? g.started && !info.error
                  : info.state == MIGRATE_FAILED && !g.started && info.error);
    for (unsigned i = 0; g.reset && i < g.map->blocks->len * BLOCK_PAGES; i++)
        g_assert_true(page_is_zero(((struct block *)g.map->blocks->pdata[i / BLOCK_PAGES])->host
                                   + i % BLOCK_PAGES * PAGE_SIZE));
    migrate_info_release(&info);
    session_free(s);
    mailbox_free(mailbox);
    guest_release(&g);
    return 0;
}
