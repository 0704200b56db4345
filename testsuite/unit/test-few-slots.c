/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A host whose KVM has few memory slots, or none left although it said so: what does not fit is refused with the
 * numbers and leaves all as it was.  The host is real; this program stands between it and ioctl(2) (ld --wrap) and
 * says what a smaller one would. */
#include "machine-bench.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stdarg.h>
#include <string.h>

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

struct ended { bool done; char *error; };

static void
ended(void *self, const GError *error)
{
    struct ended *e = self;

    e->done = true;
    e->error = error ? g_strdup(error->message) : NULL;
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

    host.slots = FEW;
    host.full = false;
    world_open(w, g_main_context_new());
    w->a = machine_new(w->mailbox, w->jobs, NULL);
    world_set(d, memory_properties, MEMORY_P_SIZE, definition_set_memory, "64M,slots=16,maxmem=1G");
    world_set(d, accel_properties, ACCEL_P_ACCEL, definition_set_accel, "kvm");
    world_set(d, node_properties, -1, definition_add_node, "nodeid=0,cpus=0,mem=64M");
    for (unsigned i = 0; i < 6; i++) {
        g_autofree char *text = g_strdup_printf("id=d%u,size=4M", i);

        world_set(d, backend_ram_properties, -1, add_ram, text);
    }
    g_assert_true(machine_define(w->a, d, NULL));
    world_build(w, w->a);
    g_assert_true(machine_cont(w->a, false, NULL));
}

/* Adds a dimm of the backend; the error, or NULL.  Caller frees. */
static char *
plug(struct world *w, unsigned backend)
{
    g_autofree char *text = g_strdup_printf("id=x%u,memdev=d%u", backend, backend);
    g_autoptr(values) v = property_parse_options(dimm_properties, -1, text, NULL);
    struct ended e = { 0 };
    g_autoptr(GError) error = NULL;

    if (!machine_device_add(w->a, DEVICE_DIMM, v, ended, &e, &error))
        return g_strdup(error->message);
    loop_until(w, e.done);
    return e.error;
}

/* Pieces of guest memory that have a slot. */
static unsigned
slots_of_kvm(struct world *w)
{
    unsigned count = 0;

    for (unsigned i = 0; i < machine_map(w->a)->sections->len; i++)
        count += machine_slot(w->a, g_array_index(machine_map(w->a)->sections, struct section, i).gpa) >= 0;
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
    g_assert_false(machine_device_plan(w.a, DEVICE_DIMM, v, &addr, &slot, &error));
    g_assert_error(error, NUMON_ERROR, NUMON_ERROR_LIMIT);
    g_assert_cmpstr(error->message, ==, refusal);
    g_assert_cmpuint(machine_definition(w.a)->devices->len, ==, i);
    g_assert_true(machine_running(w.a));
    g_assert_true(machine_device_delete(w.a, "x0", NULL));
    g_assert_cmpstr(plug(&w, 5), ==, NULL);
    g_assert_cmpuint(slots_of_kvm(&w), ==, used);
    world_close(&w);
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
    g_assert_cmpuint(machine_definition(w.a)->devices->len, ==, 0);
    g_assert_cmpuint(slots_of_kvm(&w), ==, before);
    g_assert_null(guest_map_find_block(machine_map(w.a), "d0"));
    g_assert_true(machine_running(w.a));
    host.full = false;
    g_assert_cmpstr(plug(&w, 0), ==, NULL);
    g_assert_cmpuint(slots_of_kvm(&w), ==, before + 1);
    world_close(&w);
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
