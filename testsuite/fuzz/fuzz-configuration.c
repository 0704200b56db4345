/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Any bytes as what a source says of its machine, to a real machine on the synthetic accelerator: it compares them
 * line by line with its own, says what differs, and waits again. */
#define _GNU_SOURCE
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../../src/migrate/migrate-private.h"
#include "machine.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct world {
    GMainContext *context;
    struct mailbox *mailbox;
    struct jobs *jobs;
    struct machine *machine;
    bool built;
};

static void
set_words(struct definition *d, const struct property *table, int implied,
          bool (*set)(struct definition *, const struct values *, GError **), const char *text)
{
    g_autoptr(values) v = property_parse_options(table, implied, text, NULL);

    g_assert_true(v && set(d, v, NULL));
}

static void
note_built(void *self, const GError *error)
{
    g_assert_null(error);
    ((struct world *)self)->built = true;
}

/* Built once: the loads leave it as it was. */
static struct world *
world_new(void)
{
    struct world *w = g_new0(struct world, 1);
    struct definition *d = definition_new();

    main_thread_claim();
    w->context = g_main_context_new();
    w->mailbox = mailbox_new(w->context);
    w->jobs = jobs_new(w->mailbox, 1);
    w->machine = machine_new(w->mailbox, w->jobs, NULL);
    set_words(d, accel_properties, ACCEL_P_ACCEL, definition_set_accel, "synthetic");
    set_words(d, memory_properties, MEMORY_P_SIZE, definition_set_memory, "16M");
    set_words(d, smp_properties, SMP_P_CPUS, definition_set_smp, "2,sockets=2");
    set_words(d, node_properties, -1, definition_add_node, "nodeid=0,cpus=0,mem=8M");
    set_words(d, node_properties, -1, definition_add_node, "nodeid=1,cpus=1,mem=8M");
    set_words(d, dist_properties, -1, definition_set_distance, "src=0,dst=1,val=21");
    g_assert_true(machine_define(w->machine, d, NULL));
    machine_build(w->machine, note_built, w);
    while (!w->built)
        g_main_context_iteration(w->context, TRUE);
    return w;
}

static GByteArray *
stream_of(const uint8_t *data, size_t size)
{
    GByteArray *out = g_byte_array_new();

    wire_put_head(out, "numon-0.1", 1, 0, "");
    g_byte_array_set_size(out, out->len - 4);
    wire_put32(out, (uint32_t)size);
    return g_byte_array_append(out, data, size);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct world *world;
    g_autoptr(GByteArray) stream = stream_of(data, size);
    g_autoptr(GError) error = NULL;
    struct migrate_info info = { .state = MIGRATE_NONE };
    int fd = memfd_create("stream", 0);

    if (!world)
        world = world_new();
    g_assert_true(write_all(fd, stream->data, stream->len) && lseek(fd, 0, SEEK_SET) == 0);
    g_autofree char *uri = g_strdup_printf("fd:%d", fd);
    machine_incoming(world->machine, uri, false, &error);
    g_assert_no_error(error);
    while (!migrate_state_ended(info.state)) {
        migrate_info_release(&info);
        g_main_context_iteration(world->context, TRUE);
        session_info(machine_session(world->machine), &info);
    }
    g_assert_true(info.state == MIGRATE_FAILED && info.error && g_utf8_validate(info.error, -1, NULL));
    migrate_info_release(&info);
    g_assert_true(machine_awaits_incoming(world->machine));
    return 0;
}
