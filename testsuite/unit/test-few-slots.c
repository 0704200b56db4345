/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A host whose KVM has few memory slots, or none left although it said so: what does not fit is refused with the
 * numbers and leaves all as it was.  The host is real; this program stands between it and ioctl(2) (ld --wrap) and
 * says what a smaller one would. */
#include "../../src/machine/machine-private.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stdarg.h>
#include <string.h>

#define DEADLINE_US (60 * G_USEC_PER_SEC)

enum { FEW = 5 };

/* How many slots the host has, and whether it refuses the next one. */
static struct { int slots; bool full; } host = { .slots = FEW };

int __real_ioctl(int fd, unsigned long request, ...);
int __wrap_ioctl(int fd, unsigned long request, ...);

int
__wrap_ioctl(int fd, unsigned long request, ...)
{
    const struct kvm_userspace_memory_region *region;
    va_list args;
    void *argument;

    va_start(args, request);
    argument = va_arg(args, void *);
    va_end(args);
    if (request == KVM_CHECK_EXTENSION && (uintptr_t)argument == KVM_CAP_NR_MEMSLOTS)
        return host.slots;
    if (request == KVM_SET_USER_MEMORY_REGION) {
        region = argument;
        if (region->memory_size && ((region->slot & 0xffff) >= (unsigned)host.slots || host.full)) {
            errno = host.full ? ENOSPC : EINVAL;
            return -1;
        }
    }
    return __real_ioctl(fd, request, argument);
}

struct world {
    GMainContext *context;
    struct mailbox *mailbox;
    struct jobs *jobs;
    struct machine *m;
};

#define loop_until(w, condition)                                                                     \
    do {                                                                                              \
        int64_t end_ = g_get_monotonic_time() + DEADLINE_US;                                          \
        while (!(condition)) {                                                                        \
            g_assert_cmpint(g_get_monotonic_time(), <, end_);                                         \
            if (!g_main_context_iteration((w)->context, FALSE))                                       \
                g_usleep(500);                                                                        \
        }                                                                                             \
    } while (0)

struct ended { bool done; char *error; };

static void
ended(void *self, const GError *error)
{
    struct ended *e = self;

    e->done = true;
    e->error = error ? g_strdup(error->message) : NULL;
}

static void
set(struct definition *d, const struct property *table, int implied,
    bool (*change)(struct definition *, const struct values *, GError **), const char *text)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(values) v = property_parse_options(table, implied, text, &error);

    g_assert_no_error(error);
    change(d, v, &error);
    g_assert_no_error(error);
}

static bool
add_ram(struct definition *d, const struct values *v, GError **error)
{
    return definition_add_backend(d, BACKEND_RAM, v, error);
}

/* Two nodes of RAM, and backends d0 to d5 for dimms. */
static void
world_init(struct world *w)
{
    struct definition *d = definition_new();
    struct ended e = { 0 };

    host.slots = FEW;
    host.full = false;
    *w = (struct world) { .context = g_main_context_new() };
    w->mailbox = mailbox_new(w->context);
    w->jobs = jobs_new(w->mailbox, 2);
    w->m = machine_new(w->mailbox, w->jobs, NULL);
    set(d, memory_properties, MEMORY_P_SIZE, definition_set_memory, "64M,slots=16,maxmem=1G");
    set(d, accel_properties, ACCEL_P_ACCEL, definition_set_accel, "kvm");
    set(d, node_properties, -1, definition_add_node, "nodeid=0,cpus=0,mem=64M");
    for (unsigned i = 0; i < 6; i++) {
        g_autofree char *text = g_strdup_printf("id=d%u,size=4M", i);

        set(d, backend_ram_properties, -1, add_ram, text);
    }
    g_assert_true(machine_define(w->m, d, NULL));
    machine_build(w->m, ended, &e);
    loop_until(w, e.done);
    g_assert_cmpstr(e.error, ==, NULL);
    g_assert_true(machine_cont(w->m, false, NULL));
}

static void
world_release(struct world *w)
{
    jobs_free(w->jobs);
    machine_free(w->m);
    mailbox_free(w->mailbox);
    g_main_context_unref(w->context);
}

/* Adds a dimm of the backend; the error, or NULL.  Caller frees. */
static char *
plug(struct world *w, unsigned backend)
{
    g_autofree char *text = g_strdup_printf("id=x%u,memdev=d%u", backend, backend);
    g_autoptr(values) v = property_parse_options(dimm_properties, -1, text, NULL);
    struct ended e = { 0 };
    g_autoptr(GError) error = NULL;

    if (!machine_device_add(w->m, DEVICE_DIMM, v, ended, &e, &error))
        return g_strdup(error->message);
    loop_until(w, e.done);
    return e.error;
}

/* Pieces of guest memory that have a slot. */
static unsigned
slots_of_kvm(struct world *w)
{
    unsigned count = 0;

    for (unsigned i = 0; i < machine_map(w->m)->sections->len; i++)
        count += machine_slot(w->m, g_array_index(machine_map(w->m)->sections, struct section, i).gpa) >= 0;
    return count;
}

static bool
kvm_is_here(void)
{
    g_autoptr(GError) error = NULL;

    if (accel_kvm.probe(&error))
        return true;
    g_test_skip(error->message);
    return false;
}

/* As many as fit, then none, and one more when one has gone. */
static void
a_host_with_few_slots(void)
{
    static const char refusal[] = "hypervisor has no free memory slots left: KVM gives 5 here, 5 are in use";
    g_autoptr(values) v = property_parse_options(dimm_properties, -1, "memdev=d5", NULL);
    g_autoptr(GError) error = NULL;
    g_autofree char *text = NULL;
    struct world w;
    unsigned i = 0, used;
    uint64_t addr;
    int slot;

    if (!kvm_is_here())
        return;
    world_init(&w);
    while (!(text = plug(&w, i)))
        g_assert_cmpuint(++i, <, 5);
    g_assert_cmpuint(i, >, 0);
    g_assert_cmpstr(text, ==, refusal);
    used = slots_of_kvm(&w);
    g_assert_false(machine_device_plan(w.m, DEVICE_DIMM, v, &addr, &slot, &error));
    g_assert_error(error, NUMON_ERROR, NUMON_ERROR_LIMIT);
    g_assert_cmpstr(error->message, ==, refusal);
    g_assert_cmpuint(machine_definition(w.m)->devices->len, ==, i);
    g_assert_true(machine_running(w.m));
    g_assert_true(machine_device_delete(w.m, "x0", NULL));
    g_assert_cmpstr(plug(&w, 5), ==, NULL);
    g_assert_cmpuint(slots_of_kvm(&w), ==, used);
    world_release(&w);
}

/* It said that there is room, and has none: the device is not there, the guest goes on, another try succeeds. */
static void
a_host_that_refuses_the_slot(void)
{
    g_autofree char *text = NULL;
    struct world w;
    unsigned before;

    if (!kvm_is_here())
        return;
    world_init(&w);
    before = slots_of_kvm(&w);
    host.full = true;
    text = plug(&w, 0);
    g_assert_nonnull(text);
    g_assert_nonnull(strstr(text, g_strerror(ENOSPC)));
    g_assert_cmpuint(machine_definition(w.m)->devices->len, ==, 0);
    g_assert_cmpuint(slots_of_kvm(&w), ==, before);
    g_assert_null(guest_map_find_block(machine_map(w.m), "d0"));
    g_assert_true(machine_running(w.m));
    host.full = false;
    g_assert_cmpstr(plug(&w, 0), ==, NULL);
    g_assert_cmpuint(slots_of_kvm(&w), ==, before + 1);
    world_release(&w);
}

int
main(int argc, char **argv)
{
    main_thread_claim();
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/few-slots/a-host-with-few-slots", a_host_with_few_slots);
    g_test_add_func("/few-slots/a-host-that-refuses-the-slot", a_host_that_refuses_the_slot);
    return g_test_run();
}
