/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What CPU 0 says on the serial line: the same lines as the real guest, see src/guest/guest.h. */
#include "synthetic-private.h"

static void
print(struct accel *a, const GString *text)
{
    for (size_t i = 0; i < text->len; i++)
        bus_write(a->setup.bus, BUS_PORT, UART_PORT, 1, (uint8_t)text->str[i]);
}

/* The CPUs of a node; all of them without NUMA. */
static void
add_node(struct accel *a, GString *out, unsigned node, uint64_t bytes)
{
    unsigned count = 0;

    g_string_append_printf(out, "node %u cpus", node);
    for (unsigned cpu = 0; cpu < a->setup.cpu_slots; cpu++) {
        if (is_present(a, cpu) && MAX(a->setup.cpu_nodes[cpu], 0) == (int)node) {
            g_string_append_printf(out, " %u", cpu);
            count++;
        }
    }
    g_string_append_printf(out, "%s size %" G_GUINT64_FORMAT " MB\n", count ? "" : " none", (bytes + MIB / 2) / MIB);
}

static void
add_distances(GString *out, const struct topology_final *t)
{
    for (unsigned src = 0; src < t->node_count; src++) {
        g_string_append_printf(out, "distance %u:", src);
        for (unsigned dst = 0; dst < t->node_count; dst++)
            g_string_append_printf(out, " %u", t->distance[src][dst]);
        g_string_append_c(out, '\n');
    }
}

void
synthetic_print_topology(struct accel *a)
{
    const struct topology_final *t = a->setup.topology;
    unsigned node_count = t ? t->node_count : 0, cpus = 0;
    GString *out = g_string_new("numon workload guest\n");

    for (unsigned cpu = 0; cpu < a->setup.cpu_slots; cpu++)
        cpus += is_present(a, cpu);
    g_string_append_printf(out, "nodes %u cpus %u\n", MAX(node_count, 1), cpus);
    for (unsigned node = 0; node < MAX(node_count, 1); node++)
        add_node(a, out, node, node_count ? t->node_size[node] : guest_map_ram_bytes(a->setup.map));
    if (node_count && t->has_distances)
        add_distances(out, t);
    print(a, out);
    g_string_free(out, TRUE);
}

void
synthetic_print_tick(struct accel *a, uint64_t number, uint64_t pages)
{
    GString *out = g_string_new(NULL);

    g_string_append_printf(out, "tick %" G_GUINT64_FORMAT " pages %" G_GUINT64_FORMAT "\n", number, pages);
    print(a, out);
    g_string_free(out, TRUE);
}
