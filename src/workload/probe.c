/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Asks a vCPU of the workload guest how near memory is to it, and reads what it answers. */
#include "workload.h"

#include <string.h>

#include "workload-private.h"

static struct control_probe *
probe_of(const struct guest_map *map, unsigned cpu)
{
    struct control_cpu *c = cpu < CONTROL_CPUS ? workload_cpu(map, cpu) : NULL;

    return c ? &c->probe : NULL;
}

bool
workload_probe_range(const struct guest_map *map, unsigned node, uint64_t bytes, uint64_t *ret_gpa,
                     uint64_t *ret_bytes)
{
    struct control_node n;
    uint64_t base;

    if (node >= CONTROL_NODES || !guest_map_read(map, CONTROL_NODES_GPA + node * sizeof n, &n, sizeof n))
        return false;
    base = control_probe_range(&n, &bytes);
    if (bytes == 0 || !guest_map_host(map, base, bytes))
        return false;
    *ret_gpa = base;
    *ret_bytes = bytes;
    return true;
}

bool
workload_probe_ask(const struct guest_map *map, struct hub *hub, unsigned cpu, uint64_t bytes, uint64_t budget_us,
                   uint64_t *ret_request, GError **error)
{
    struct control_probe *probe = probe_of(map, cpu);

    if (!workload_present(map) || !probe)
        return fail(error, NUMON_ERROR_STATE, "cannot measure: there is no workload guest in memory, and no other "
                    "measures");
    if (peek(&workload_head(map)->probes) == 0)
        return fail(error, NUMON_ERROR_STATE, "cannot measure: this workload guest does not, it is older than that");
    poke(&probe->bytes, bytes);
    poke(&probe->budget_us, budget_us);
    *ret_request = MAX(peek(&probe->request), peek(&probe->answer)) + 1;
    poke(&probe->request, *ret_request);
    if (hub)
        hub_mark_gpa(hub, CONTROL_CPUS_GPA + (uint64_t)cpu * CONTROL_PAGE, CONTROL_PAGE);
    return true;
}

enum workload_answer
workload_probe_read(const struct guest_map *map, unsigned cpu, uint64_t request,
                    struct control_nearness ret[CONTROL_NODES])
{
    const struct control_probe *probe = probe_of(map, cpu);

    if (!probe || peek(&probe->request) != request)
        return WORKLOAD_ASKED_NO_MORE;
    if (peek(&probe->answer) != request)
        return WORKLOAD_NO_ANSWER_YET;
    for (unsigned node = 0; node < CONTROL_NODES; node++)
        ret[node] = (struct control_nearness) {
            .access_ps = peek(&probe->near[node].access_ps), .bandwidth = peek(&probe->near[node].bandwidth),
        };
    return WORKLOAD_ANSWERED;
}
