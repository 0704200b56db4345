/* SPDX-License-Identifier: GPL-3.0-or-later */
/* For the recording of a migration: whose each part of guest memory is, and what each vCPU did.  On the migration
 * thread, while the guest runs and main may add to its map. */
#include "machine-private.h"

/* With more pairs of vCPU and node only those of a vCPU's own node are told apart. */
enum { PAIRS_MOST = 1024 };

/* Guest physical memory that one vCPU writes. */
struct stretch { uint64_t gpa, end; int cpu; };

static int
by_address(const void *a, const void *b)
{
    const struct stretch *x = a, *y = b;

    return x->gpa < y->gpa ? -1 : x->gpa > y->gpa;
}

/* The areas of the workload guest, if that is what runs, and each vCPU's control page. */
static GArray *
find_stretches(const struct parts *p)
{
    GArray *found = g_array_new(FALSE, FALSE, sizeof(struct stretch));
    unsigned nodes = MAX(p->topology.node_count, 1), cpus = MIN(p->cpu_slots, CONTROL_CPUS);
    struct control_area area;

    if (!workload_present(p->map))
        return found;
    for (unsigned cpu = 0; cpu < cpus; cpu++) {
        if (!topology_has_cpu(&p->topology, cpu))
            continue;
        uint64_t page = CONTROL_CPUS_GPA + (uint64_t)cpu * CONTROL_PAGE;
        struct stretch own = { page, page + CONTROL_PAGE, (int)cpu };
        g_array_append_val(found, own);
        for (unsigned node = 0; node < nodes; node++) {
            bool own_node = p->cpu_nodes[cpu] < 0 || p->cpu_nodes[cpu] == (int)node;
            if ((cpus * nodes > PAIRS_MOST && !own_node) || !workload_area(p->map, cpu, node, &area))
                continue;
            struct stretch s = { area.table, area.pages + area.capacity * CONTROL_PAGE, (int)cpu };
            g_array_append_val(found, s);
        }
    }
    g_array_sort(found, by_address);
    return found;
}

static void
add_range(GArray *ranges, const struct section *s, uint64_t gpa, uint64_t end, int cpu)
{
    struct migrate_range r = { .block = s->block, .first = (s->offset + (gpa - s->gpa)) / PAGE_SIZE,
                               .count = (end - gpa) / PAGE_SIZE, .node = s->node, .cpu = cpu };

    if (gpa < end)
        g_array_append_val(ranges, r);
}

void
machine_ranges(void *self, GArray *ranges)
{
    struct machine *m = self;
    const struct guest_map *map = m->parts->map;

    lock_take(&m->mapping);
    g_autoptr(GArray) stretches = find_stretches(m->parts);
    for (unsigned i = 0; i < map->sections->len; i++) {
        const struct section *s = &g_array_index(map->sections, struct section, i);
        uint64_t done = s->gpa, end = s->gpa + s->size;

        for (unsigned k = 0; k < stretches->len; k++) {
            const struct stretch *t = &g_array_index(stretches, struct stretch, k);
            uint64_t from = CLAMP(t->gpa, done, end), to = CLAMP(t->end, done, end);

            add_range(ranges, s, done, from, -1);
            add_range(ranges, s, from, to, t->cpu);
            done = MAX(done, to);
        }
        add_range(ranges, s, done, end, -1);
    }
    lock_drop(&m->mapping);
}

void
machine_progress(void *self, GArray *cpus)
{
    struct machine *m = self;
    struct parts *p = m->parts;
    struct workload_status status = { 0 };
    bool known;

    lock_take(&m->mapping);
    known = workload_present(p->map) && workload_status(p->map, &status, NULL);
    lock_drop(&m->mapping);
    for (unsigned i = 0; i < p->cpu_slots; i++) {
        struct migrate_cpu c = { .throttled_us = run_throttled_us(p->run, i) };

        c.present = topology_has_cpu(&p->topology, i);
        c.writes_known = known && c.present && i < status.cpu_count;
        c.writes = c.writes_known ? status.cpus[i].pages_written : 0;
        c.writing_known = c.writes_known;
        c.writing_us = c.writes_known ? status.cpus[i].writing * 1000 / MAX(p->class->tsc_khz(p->accel), 1) : 0;
        g_array_append_val(cpus, c);
    }
}

enum migrate_progress
machine_progressed(void *self, uint64_t *ret_gap_us)
{
    struct machine *m = self;

    if (m->watched_count == 0 || !run_running(m->parts->run))
        return PROGRESS_UNKNOWN;
    return workload_gap(m->watched, m->watched_count, m->watched_khz, ret_gap_us) ? PROGRESS_SEEN : PROGRESS_NONE;
}

void
machine_watch_progress(struct machine *m)
{
    m->watched_count = workload_gap_begin(m->parts->map, m->parts->hub, m->watched);
    m->watched_khz = m->parts->class->tsc_khz(m->parts->accel);
}
