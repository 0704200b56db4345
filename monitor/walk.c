/* SPDX-License-Identifier: GPL-3.0-or-later */
/* `walk`: one address through every layer, from the guest's to the host's. */
#include "monitor-private.h"

#include <inttypes.h>

enum { WALK_VIRTUAL, WALK_HOST, WALK_CPU, WALK_ADDRESS };
const struct property walk_args[] = {
    [WALK_VIRTUAL] = { "-v", PROPERTY_FLAG, .help = "the address is a guest virtual one" },
    [WALK_HOST] = { "-h", PROPERTY_FLAG, .help = "the address is a host one, of numon itself" },
    [WALK_CPU] = { "-c", PROPERTY_UINT, .max = TOPOLOGY_CPUS - 1, .value_default = "0",
                   .help = "CPU by whose page tables a virtual address is meant" },
    [WALK_ADDRESS] = { "address", PROPERTY_SIZE, .required = true, .unit = "bytes",
                       .help = "guest physical unless -v or -h" },
    { 0 }
};

static bool
fail_hole(const struct guest_map *map, uint64_t gpa, GError **error)
{
    g_autoptr(GString) ranges = g_string_new(NULL);

    for (unsigned i = 0; i < map->sections->len; i++) {
        const struct section *s = &g_array_index(map->sections, struct section, i);

        g_string_append_printf(ranges, "%s0x%" PRIx64 " to 0x%" PRIx64, i ? ", " : "", s->gpa, s->gpa + s->size - 1);
    }
    return fail(error, NUMON_ERROR_ARGUMENT, "guest physical 0x%" PRIx64 " is no RAM: that is %s", gpa, ranges->str);
}

/* The guest physical address that a host one belongs to. */
static bool
from_host(const struct guest_map *map, uint64_t host, uint64_t *ret, GError **error)
{
    for (unsigned i = 0; i < map->sections->len; i++) {
        const struct section *s = &g_array_index(map->sections, struct section, i);
        uint64_t start = (uintptr_t)s->block->host + s->offset;

        if (host >= start && host - start < s->size) {
            *ret = s->gpa + (host - start);
            return true;
        }
    }
    return fail(error, NUMON_ERROR_ARGUMENT, "host address 0x%" PRIx64 " is no guest memory", host);
}

bool
walk_find(struct machine *machine, const struct values *v, uint64_t *ret_gpa, GError **error)
{
    const struct value *at = v->at;

    if (at[WALK_VIRTUAL].set && at[WALK_HOST].set)
        return fail(error, NUMON_ERROR_ARGUMENT, "an address is either a guest virtual or a host one: -v or -h");
    if (at[WALK_HOST].set)
        return from_host(machine_map(machine), at[WALK_ADDRESS].number, ret_gpa, error);
    if (at[WALK_VIRTUAL].set)
        return machine_translate(machine, (unsigned)at[WALK_CPU].number, at[WALK_ADDRESS].number, ret_gpa, error);
    *ret_gpa = at[WALK_ADDRESS].number;
    return true;
}

const struct section *
walk_section(const struct guest_map *map, uint64_t gpa, GError **error)
{
    const struct section *s = guest_map_find(map, gpa);

    if (!s)
        fail_hole(map, gpa, error);
    return s;
}

static void
print_guest(struct call *call, const struct section *s, uint64_t gpa)
{
    const struct backend_options *o = &s->block->options;
    uint64_t offset = s->offset + (gpa - s->gpa);
    const char *what = !s->block->device ? "base memory" : offset < atomic_load(&s->block->used) ? "memory device"
                                                         : "memory device, not plugged here";
    g_autofree char *nodes = list_format(o->host_nodes, HOST_NODES);

    call_print(call, "guest physical: 0x%" PRIx64 "\n", gpa);
    if (s->node >= 0)
        call_print(call, "guest node: %d, %s\n", s->node, what);
    else
        call_print(call, "guest node: none, %s\n", what);
    call_print(call, "backend: %s, %s, policy %s%s%s\n", o->id, backend_kind_names[o->kind],
               host_policy_names[o->policy], *nodes ? " " : "", nodes);
}

static void
print_place(struct call *call, void *host)
{
    void *page = (void *)((uintptr_t)host / PAGE_SIZE * PAGE_SIZE);
    int node = 0, host_errno = host_page_nodes(&page, 1, &node);

    if (host_errno)
        call_print(call, "host node: not known (%s)\n", g_strerror(host_errno));
    else if (node < 0)
        call_print(call, "host node: none, the page is not there (%s)\n", g_strerror(-node));
    else
        call_print(call, "host node: %d\n", node);
}

static void
print_host(struct call *call, const struct section *s, uint64_t gpa)
{
    static const char *const words[] = { "not logged", "no", "yes" };
    struct machine *machine = call->monitor->machine;
    uint64_t offset = s->offset + (gpa - s->gpa);
    int slot = machine_slot(machine, gpa), dirty = machine_dirty(machine, s->block, offset / PAGE_SIZE);

    call_print(call, "RAM block: %s, offset 0x%" PRIx64 ", page %" PRIu64 " of %" PRIu64 "\n", s->block->name, offset,
               offset / PAGE_SIZE, s->block->page_count);
    if (slot >= 0)
        call_print(call, "slot of %s: %d\n", machine_accel(machine), slot);
    else
        call_print(call, "slot of %s: it has none\n", machine_accel(machine));
    call_print(call, "host virtual: %p\n", (void *)(s->block->host + offset));
    print_place(call, s->block->host + offset);
    call_print(call, "dirty: %s\n", words[dirty + 1]);
}

enum outcome
walk_run(struct call *call, GError **error)
{
    const struct guest_map *map = machine_map(call->monitor->machine);
    const struct section *s;
    uint64_t gpa;

    if (!walk_find(call->monitor->machine, call->args, &gpa, error))
        return COMMAND_FAILED;
    if (call->args->at[WALK_VIRTUAL].set)
        call_print(call, "guest virtual: 0x%" PRIx64 " by CPU %" PRIu64 "\n", call->args->at[WALK_ADDRESS].number,
                   call->args->at[WALK_CPU].number);
    s = walk_section(map, gpa, error);
    if (!s)
        return COMMAND_FAILED;
    print_guest(call, s, gpa);
    print_host(call, s, gpa);
    return COMMAND_DONE;
}
