/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The control page from numon's side: setting parameters under the sequence number, reading progress.
 *
 * Main is the only one that writes parameters; vCPUs take them when the sequence number is even and the same before
 * and after.  All words change atomically, since vCPUs (and a migration) look at any moment. */
#include "workload.h"

#include "workload-private.h"

struct control_head *
workload_head(const struct guest_map *map)
{
    return guest_map_host(map, CONTROL_GPA, CONTROL_PAGE);
}

struct control_node *
workload_nodes(const struct guest_map *map)
{
    return guest_map_host(map, CONTROL_NODES_GPA, CONTROL_PAGE);
}

struct control_cpu *
workload_cpu(const struct guest_map *map, unsigned cpu)
{
    return guest_map_host(map, CONTROL_CPUS_GPA + (uint64_t)cpu * CONTROL_PAGE, CONTROL_PAGE);
}

/* Is the node's free range RAM in one piece?  Its sums cannot overflow then. */
static bool
node_is_ram(const struct guest_map *map, const struct control_node *n)
{
    return n->size && n->base % CONTROL_PAGE == 0 && guest_map_host(map, n->base, n->size);
}

bool
workload_area(const struct guest_map *map, unsigned cpu, unsigned node, struct control_area *ret)
{
    const struct control_head *head = workload_head(map);
    struct control_node nodes[CONTROL_NODES];
    const struct control_cpu *c = workload_cpu(map, cpu);
    uint64_t own, rank, cpu_count;

    if (!head || !c || !guest_map_read(map, CONTROL_NODES_GPA, nodes, sizeof nodes))
        return false;
    own = peek(&c->node);
    rank = peek(&c->rank);
    cpu_count = peek(&head->cpu_count);
    if (cpu >= cpu_count || cpu_count > CONTROL_CPUS || node >= CONTROL_NODES || !node_is_ram(map, &nodes[node]))
        return false;
    if (node == own && (rank >= nodes[node].cpus || nodes[node].cpus > CONTROL_CPUS))
        return false;
    *ret = control_area(nodes, cpu_count, cpu, own, rank, node);
    return ret->capacity && guest_map_host(map, ret->table, ret->capacity * sizeof(uint64_t)) &&
           guest_map_host(map, ret->pages, ret->capacity * CONTROL_PAGE);
}

bool
workload_present(const struct guest_map *map)
{
    const struct control_head *head = workload_head(map);

    return head && peek(&head->magic) == CONTROL_MAGIC && peek(&head->version) == CONTROL_VERSION;
}

static struct control_head *
present_head(const struct guest_map *map, const char *attempt, GError **error)
{
    if (workload_present(map))
        return workload_head(map);
    fail(error, NUMON_ERROR_STATE, "cannot %s: there is no workload guest in memory", attempt);
    return NULL;
}

static void
put32(uint32_t *word, uint32_t value)
{
    __atomic_store_n(word, value, __ATOMIC_RELEASE);
}

bool
workload_apply(const struct guest_map *map, struct hub *hub, const struct control_parameters *p, GError **error)
{
    struct control_head *head = present_head(map, "set the workload", error);
    uint64_t odd;

    if (!head)
        return false;
    odd = peek(&head->sequence) | 1;
    /* An exchange, so that the words below do not overtake it. */
    __atomic_exchange_n(&head->sequence, odd, __ATOMIC_ACQ_REL);
    put32(&head->parameters.pattern, p->pattern);
    put32(&head->parameters.write, p->write);
    put32(&head->parameters.fill, p->fill);
    put32(&head->parameters.node, p->node);
    poke(&head->parameters.rate, p->rate);
    poke(&head->parameters.size, p->size);
    poke(&head->parameters.interval_ms, p->interval_ms);
    poke(&head->sequence, odd + 1);
    if (hub)
        hub_mark_gpa(hub, CONTROL_GPA, CONTROL_PAGE);
    return true;
}

bool
workload_parameters_current(const struct guest_map *map, struct control_parameters *ret, GError **error)
{
    const struct control_head *head = present_head(map, "read the workload", error);
    const struct control_parameters *p;

    if (!head)
        return false;
    /* Numon alone writes them, on the thread that reads here: the sequence number need not be looked at. */
    p = &head->parameters;
    *ret = (struct control_parameters) {
        .pattern = peek32(&p->pattern), .write = peek32(&p->write), .fill = peek32(&p->fill),
        .node = peek32(&p->node), .rate = peek(&p->rate), .size = peek(&p->size),
        .interval_ms = peek(&p->interval_ms),
    };
    if (ret->pattern > PATTERN_HOT || ret->write > WRITE_PAGE || ret->fill > FILL_TEXT)
        return fail(error, NUMON_ERROR_STATE, "cannot read the workload: its control page holds no valid parameters");
    return true;
}

bool
workload_status(const struct guest_map *map, struct workload_status *ret, GError **error)
{
    const struct control_head *head = present_head(map, "read the workload", error);

    if (!head)
        return false;
    *ret = (struct workload_status) {
        .stage = (enum control_stage)MIN(peek(&head->stage), STAGE_PANIC), .ticks = peek(&head->ticks),
        .cpu_count = MIN(peek(&head->cpu_count), CONTROL_CPUS), .panic = peek(&head->panic),
        .node_count = MIN(peek(&head->node_count), CONTROL_NODES),
    };
    for (unsigned cpu = 0; cpu < ret->cpu_count; cpu++) {
        const struct control_cpu *c = workload_cpu(map, cpu);

        if (!c)
            return fail(error, NUMON_ERROR_STATE, "cannot read the workload: the page of CPU %u is not RAM", cpu);
        ret->cpus[cpu] = (struct workload_cpu) {
            .pages_written = peek(&c->pages_written), .writing = peek(&c->writing), .node = peek(&c->node),
                .target_node = peek(&c->target_node),
            .mismatches = peek(&c->mismatches), .online = peek(&c->online) != 0,
        };
    }
    return true;
}

unsigned
workload_gap_begin(const struct guest_map *map, struct hub *hub, struct control_cpu *ret[CONTROL_CPUS])
{
    const struct control_head *head = workload_present(map) ? workload_head(map) : NULL;
    unsigned count = head ? (unsigned)MIN(peek(&head->cpu_count), CONTROL_CPUS) : 0, found = 0;

    for (unsigned cpu = 0; cpu < count; cpu++) {
        struct control_cpu *c = workload_cpu(map, cpu);

        if (!c)
            continue;
        __atomic_store_n(&c->gap, 0, __ATOMIC_RELEASE);
        if (hub)
            hub_mark_gpa(hub, CONTROL_CPUS_GPA + (uint64_t)cpu * CONTROL_PAGE, CONTROL_PAGE);
        ret[found++] = c;
    }
    return found;
}

bool
workload_gap(struct control_cpu *const *cpus, unsigned count, uint64_t khz, uint64_t *ret_us)
{
    uint64_t longest = 0;

    for (unsigned i = 0; i < count; i++)
        longest = MAX(longest, peek(&cpus[i]->gap));
    *ret_us = (uint64_t)((double)longest * 1000 / (double)MAX(khz, 1));
    return longest > 0;
}
