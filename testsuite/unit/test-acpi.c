/* SPDX-License-Identifier: GPL-3.0-or-later */
/* ACPI tables against the topology they were made of, read byte by byte as the specification has it.  What iasl says
 * to them is tested from outside (numon.guest/acpi.exp). */
#include "boot.h"
#include "platform.h"

#include <string.h>

enum { RSDP_GPA = 0xe0000, AREA_GPA = 0xa0000, AREA_END = 0x100000, HEADER = 36 };

/* --- a machine to be told of ------------------------------------------------------------------------------------ */

struct described {
    struct topology_final t;
    struct hmat hmat;
    struct acpi_setup setup;
};

static struct described *
describe(unsigned nodes, const struct smp *smp)
{
    struct described *d = g_new0(struct described, 1);
    struct topology_final *t = &d->t;

    t->smp = *smp;
    bits_set(t->present, 0, smp->cpus);
    t->node_count = nodes;
    t->has_distances = nodes > 0;
    for (unsigned i = 0; i < nodes; i++) {
        t->node_size[i] = 16 * MIB;
        t->node_initiator[i] = -1;
        for (unsigned j = 0; j < nodes; j++)
            t->distance[i][j] = i == j ? 10 : (uint8_t)(11 + (i * 7 + j * 3) % 240);
    }
    for (unsigned i = 0; nodes && i < smp->maxcpus; i++) {
        t->cpu_node[i] = (uint8_t)(i % nodes);
        t->node_initiator[i % nodes] = (int16_t)(i % nodes);
    }
    hmat_init(&d->hmat);
    d->setup = (struct acpi_setup) { .topology = t };
    return d;
}

static struct described *
flat(unsigned nodes, unsigned cpus)
{
    return describe(nodes, &(struct smp) { .cpus = cpus, .maxcpus = cpus, .levels = { 1, 1, 1, cpus, 1 } });
}

static void
described_free(struct described *d)
{
    hmat_release(&d->hmat);
    g_free(d);
}
typedef struct described described;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(described, described_free)

/* --- reading ---------------------------------------------------------------------------------------------------- */

static uint64_t
field(const GByteArray *b, uint64_t at, unsigned size)
{
    uint64_t n = 0;

    g_assert_cmpuint(at + size, <=, b->len);
    memcpy(&n, b->data + at, size);
    return GUINT64_FROM_LE(n);
}

static void
sums_to_zero(const GByteArray *b, unsigned size)
{
    uint8_t sum = 0;

    for (unsigned i = 0; i < size; i++)
        sum += b->data[i];
    g_assert_cmpuint(sum, ==, 0);
}

static const struct acpi_table *
at_gpa(const GPtrArray *tables, uint64_t gpa)
{
    for (unsigned i = 0; i < tables->len; i++) {
        const struct acpi_table *t = tables->pdata[i];

        if (t->gpa == gpa)
            return t;
    }
    return NULL;
}

/* The table as a guest finds it, from the RSDP on; NULL if there is none. */
static const GByteArray *
find(const GPtrArray *tables, const char *signature)
{
    const GByteArray *rsdp = at_gpa(tables, RSDP_GPA)->bytes, *xsdt;
    const GByteArray *found = NULL;

    g_assert_cmpmem(rsdp->data, 8, "RSD PTR ", 8);
    g_assert_cmpuint(rsdp->len, ==, 36);
    sums_to_zero(rsdp, 20);
    sums_to_zero(rsdp, 36);
    g_assert_cmpuint(field(rsdp, 15, 1), ==, 2);
    xsdt = at_gpa(tables, field(rsdp, 24, 8))->bytes;
    for (unsigned at = HEADER; at < xsdt->len; at += 8) {
        const struct acpi_table *t = at_gpa(tables, field(xsdt, at, 8));

        if (memcmp(t->bytes->data, signature, 4) == 0)
            found = t->bytes;
    }
    return found;
}

/* Of ACPI 6.4; with an older MADT a guest would take a CPU that can come for one that never does. */
static void
check_revision(const struct acpi_table *t)
{
    static const struct { const char *signature; unsigned revision; } wanted[] = {
        { "XSDT", 1 }, { "FACP", 6 }, { "DSDT", 2 }, { "APIC", 5 }, { "SRAT", 3 }, { "SLIT", 1 }, { "HMAT", 2 },
    };
    unsigned i = 0;

    while (strcmp(wanted[i].signature, t->signature) != 0)
        g_assert_cmpuint(++i, <, G_N_ELEMENTS(wanted));
    g_assert_cmpuint(field(t->bytes, 8, 1), ==, wanted[i].revision);
}

/* Every table is whole and lies where a guest may look, over no other. */
static void
check_places(const GPtrArray *tables)
{
    for (unsigned i = 0; i < tables->len; i++) {
        const struct acpi_table *t = tables->pdata[i];

        g_assert_cmphex(t->gpa, >=, AREA_GPA);
        g_assert_cmphex(t->gpa + t->bytes->len, <=, AREA_END);
        g_assert_cmphex(t->gpa % 16, ==, 0);
        for (unsigned j = 0; j < i; j++) {
            const struct acpi_table *other = tables->pdata[j];

            g_assert_true(t->gpa >= other->gpa + other->bytes->len || other->gpa >= t->gpa + t->bytes->len);
        }
        if (strcmp(t->signature, "RSDP") == 0)
            continue;
        g_assert_cmpmem(t->signature, 4, t->bytes->data, 4);
        g_assert_cmpuint(field(t->bytes, 4, 4), ==, t->bytes->len);
        sums_to_zero(t->bytes, t->bytes->len);
        check_revision(t);
    }
}

static void
check_fadt(const GPtrArray *tables)
{
    const GByteArray *b = find(tables, "FACP");
    const struct acpi_table *dsdt = at_gpa(tables, field(b, 140, 8));

    g_assert_cmpuint(b->len, ==, 276);
    g_assert_cmpstr(dsdt->signature, ==, "DSDT");
    g_assert_cmphex(field(b, 40, 4), ==, dsdt->gpa);
    g_assert_cmphex(field(b, 112, 4) & (1 << 20 | 1 << 10), ==, 1 << 20 | 1 << 10);    /* hardware reduced, reset */
    g_assert_cmphex(field(b, 116, 4), ==, 0x01000801);
    g_assert_cmphex(field(b, 120, 8), ==, PLATFORM_RESET_PORT);
    g_assert_cmphex(field(b, 128, 1), ==, PLATFORM_RESET_VALUE);
    g_assert_cmpuint(field(b, 131, 1), ==, 4);
    g_assert_cmphex(field(b, 108, 1), ==, PLATFORM_RTC_CENTURY);
    g_assert_cmphex(field(b, 109, 2), ==, 0x05);        /* a UART at a PC's place, no VGA */
    g_assert_cmphex(field(b, 112, 4) & (1 << 4 | 1 << 5), ==, 1 << 4 | 1 << 5);     /* buttons are not fixed ones */
    g_assert_cmphex(field(b, 244, 4), ==, 0x01000801);
    g_assert_cmphex(field(b, 248, 8), ==, PLATFORM_SLEEP_CONTROL_PORT);
    g_assert_cmphex(field(b, 260, 8), ==, PLATFORM_SLEEP_STATUS_PORT);
    /* No fixed hardware: no command port, no blocks, no interrupt. */
    g_assert_cmphex(field(b, 46, 2) | field(b, 48, 4), ==, 0);
    for (unsigned at = 56; at < 88; at++)
        g_assert_cmphex(field(b, at, 1), ==, 0);
}

static void
check_madt(const GPtrArray *tables, const struct topology_final *t)
{
    const GByteArray *b = find(tables, "APIC");
    unsigned cpu = 0, io_apics = 0, nmis = 0, x2apic_nmis = 0, large = 0, at = 44;

    g_assert_cmphex(field(b, 36, 4), ==, 0xfee00000);
    for (; at < b->len; at += (unsigned)field(b, at + 1, 1)) {
        unsigned id = cpu < t->smp.maxcpus ? smp_apic_id(&t->smp, cpu) : 0;
        unsigned flags = topology_has_cpu(t, cpu) ? 1 : 2;

        switch (field(b, at, 1)) {
        case 0:
            g_assert_cmpuint(field(b, at + 1, 1), ==, 8);
            g_assert_cmpuint(id, <=, 254);
            g_assert_cmpuint(field(b, at + 2, 1), ==, cpu);
            g_assert_cmpuint(field(b, at + 3, 1), ==, id);
            g_assert_cmpuint(field(b, at + 4, 4), ==, flags);
            cpu++;
            break;
        case 9:
            g_assert_cmpuint(field(b, at + 1, 1), ==, 16);
            g_assert_cmpuint(id, >, 254);
            g_assert_cmpuint(field(b, at + 4, 4), ==, id);
            g_assert_cmpuint(field(b, at + 8, 4), ==, flags);
            g_assert_cmpuint(field(b, at + 12, 4), ==, cpu);
            cpu++;
            large++;
            break;
        case 1:
            g_assert_cmpuint(field(b, at + 4, 4), ==, 0xfec00000);
            g_assert_cmpuint(field(b, at + 8, 4), ==, 0);
            io_apics++;
            break;
        case 4:
            g_assert_cmpuint(field(b, at + 2, 1), ==, 0xff);
            g_assert_cmpuint(field(b, at + 5, 1), ==, 1);
            nmis++;
            break;
        case 10:
            g_assert_cmpuint(field(b, at + 4, 4), ==, 0xffffffff);
            g_assert_cmpuint(field(b, at + 8, 1), ==, 1);
            x2apic_nmis++;
            break;
        default:
            g_assert_not_reached();
        }
    }
    g_assert_cmpuint(at, ==, b->len);
    g_assert_cmpuint(cpu, ==, t->smp.maxcpus);
    g_assert_cmpuint(io_apics, ==, 1);
    g_assert_cmpuint(nmis, ==, 1);
    g_assert_cmpuint(x2apic_nmis, ==, large > 0);
}

/* The RAM of each node as the affinities say, and the range for devices. */
static void
check_memory(const GByteArray *b, unsigned at, const struct acpi_setup *s, uint64_t *node_bytes, uint64_t *next,
             bool *device)
{
    unsigned node = (unsigned)field(b, at + 2, 4);
    uint64_t base = field(b, at + 8, 8), size = field(b, at + 16, 8);

    g_assert_cmpuint(field(b, at + 1, 1), ==, 40);
    if (field(b, at + 28, 4) == 3) {
        g_assert_cmphex(base, ==, s->device_base);
        g_assert_cmphex(size, ==, s->device_size);
        g_assert_cmpuint(node, ==, s->topology->node_count - 1);
        *device = true;
        return;
    }
    g_assert_cmpuint(field(b, at + 28, 4), ==, 1);
    g_assert_cmphex(base, ==, *next);
    g_assert_true(base + size <= 3 * GIB || base >= 4 * GIB);
    *next = base + size == 3 * GIB ? 4 * GIB : base + size;
    node_bytes[node] += size;
}

static void
check_srat(const GPtrArray *tables, const struct acpi_setup *s)
{
    const struct topology_final *t = s->topology;
    const GByteArray *b = find(tables, "SRAT");
    uint64_t node_bytes[TOPOLOGY_NODES] = { 0 }, next = 0;
    unsigned cpu = 0, at = 48;
    bool device = false;

    for (; at < b->len; at += (unsigned)field(b, at + 1, 1)) {
        switch (field(b, at, 1)) {
        case 0:
            g_assert_cmpuint(field(b, at + 1, 1), ==, 16);
            g_assert_cmpuint(field(b, at + 3, 1), ==, smp_apic_id(&t->smp, cpu));
            g_assert_cmpuint(field(b, at + 4, 4), ==, 1);
            g_assert_cmpuint(field(b, at + 2, 1) | field(b, at + 9, 3) << 8, ==, t->cpu_node[cpu]);
            cpu++;
            break;
        case 2:
            g_assert_cmpuint(field(b, at + 1, 1), ==, 24);
            g_assert_cmpuint(field(b, at + 8, 4), ==, smp_apic_id(&t->smp, cpu));
            g_assert_cmpuint(field(b, at + 12, 4), ==, 1);
            g_assert_cmpuint(field(b, at + 4, 4), ==, t->cpu_node[cpu]);
            cpu++;
            break;
        case 1:
            check_memory(b, at, s, node_bytes, &next, &device);
            break;
        default:
            g_assert_not_reached();
        }
    }
    g_assert_cmpuint(at, ==, b->len);
    g_assert_cmpuint(cpu, ==, t->smp.maxcpus);
    for (unsigned node = 0; node < t->node_count; node++)
        g_assert_cmpuint(node_bytes[node], ==, t->node_size[node]);
    g_assert_cmpint(device, ==, s->device_size > 0);
}

static void
check_slit(const GPtrArray *tables, const struct topology_final *t)
{
    const GByteArray *b = find(tables, "SLIT");
    unsigned n = t->node_count;

    g_assert_cmpuint(field(b, 36, 8), ==, n);
    g_assert_cmpuint(b->len, ==, 44 + n * n);
    for (unsigned i = 0; i < n; i++)
        for (unsigned j = 0; j < n; j++)
            g_assert_cmpuint(field(b, 44 + i * n + j, 1), ==, t->distance[i][j]);
}

static GPtrArray *
build(const struct described *d)
{
    g_autoptr(GError) error = NULL;
    GPtrArray *tables = acpi_build(&d->setup, &error);

    g_assert_no_error(error);
    check_places(tables);
    check_fadt(tables);
    check_madt(tables, &d->t);
    if (d->t.node_count)
        check_srat(tables, &d->setup);
    if (d->t.has_distances)
        check_slit(tables, &d->t);
    return tables;
}

static void
check(struct described *taken)
{
    g_autoptr(described) d = taken;
    g_autoptr(GPtrArray) tables = build(d);

    g_assert_null(find(tables, "HMAT"));
}

/* --- topologies ------------------------------------------------------------------------------------------------- */

static void
tables_say_what_the_topology_says(void)
{
    check(flat(1, 1));
    check(describe(2, &(struct smp) { .cpus = 4, .maxcpus = 4, .levels = { 2, 1, 1, 2, 1 } }));
    check(flat(4, 4));
    check(flat(8, 16));
    check(describe(128, &(struct smp) { .cpus = 128, .maxcpus = 128, .levels = { 128, 1, 1, 1, 1 } }));
    check(describe(2, &(struct smp) { .cpus = 1, .maxcpus = 6, .levels = { 3, 1, 1, 2, 1 } }));
}

static void
large_apic_ids_are_x2apic(void)
{
    struct smp smp = { .cpus = 125, .maxcpus = 125, .levels = { 5, 1, 1, 5, 5 } };

    g_assert_cmpuint(smp_apic_id(&smp, 124), >, 254);
    check(describe(3, &smp));
}

static void
without_nodes_no_srat(void)
{
    g_autoptr(described) d = flat(0, 1);
    g_autoptr(GPtrArray) tables = build(d);

    g_assert_null(find(tables, "SRAT"));
    g_assert_null(find(tables, "SLIT"));
}

static void
without_distances_no_slit(void)
{
    g_autoptr(described) d = flat(2, 2);

    d->t.has_distances = false;
    g_autoptr(GPtrArray) tables = build(d);

    g_assert_null(find(tables, "SLIT"));
}

static void
nodes_without_memory_or_cpus(void)
{
    struct described *d = flat(4, 2);

    d->t.node_size[1] = 0;              /* and nodes 2 and 3 have no CPU */
    check(d);
}

static void
ram_lies_around_the_hole(void)
{
    struct described *d = flat(4, 4);

    d->t.node_size[0] = 2 * GIB;
    d->t.node_size[1] = 3 * GIB;        /* on both sides */
    d->t.node_size[2] = GIB;
    check(d);
    d = flat(2, 2);
    d->t.node_size[0] = 3 * GIB;        /* ends where the hole begins */
    check(d);
}

static void
devices_have_a_range(void)
{
    struct described *d = flat(2, 2);

    d->setup.device_base = 4 * GIB;
    d->setup.device_size = 5 * GIB;
    check(d);
}

/* --- HMAT ------------------------------------------------------------------------------------------------------- */

static void
add_lb(struct described *d, unsigned type, unsigned initiator, unsigned target, uint64_t value)
{
    struct hmat_lb e = { .type = (uint8_t)type, .initiator = (uint8_t)initiator, .target = (uint8_t)target,
                         .value = value };

    g_array_append_val(d->hmat.lb, e);  /* given in the order of the array */
}

static void
check_matrix(const GByteArray *b, unsigned at, unsigned type, uint64_t base, const unsigned *entries)
{
    g_assert_cmpuint(field(b, at, 2), ==, 1);
    g_assert_cmpuint(field(b, at + 4, 4), ==, 32 + 4 + 2 * 4 + 2 * 2);
    g_assert_cmpuint(field(b, at + 8, 1), ==, 0);
    g_assert_cmpuint(field(b, at + 9, 1), ==, type);
    g_assert_cmpuint(field(b, at + 12, 4), ==, 1);
    g_assert_cmpuint(field(b, at + 16, 4), ==, 2);
    g_assert_cmpuint(field(b, at + 24, 8), ==, base);
    g_assert_cmpuint(field(b, at + 32, 4), ==, 0);
    g_assert_cmpuint(field(b, at + 36, 4), ==, 0);
    g_assert_cmpuint(field(b, at + 40, 4), ==, 1);
    g_assert_cmpuint(field(b, at + 44, 2), ==, entries[0]);
    g_assert_cmpuint(field(b, at + 46, 2), ==, entries[1]);
}

/* Node 0 with all CPUs; node 1 with memory alone, nearest to node 0, and two caches; node 2 with nothing. */
static void
hmat_says_what_was_given(void)
{
    g_autoptr(described) d = flat(2, 2);
    struct hmat_cache caches[] = {
        { .node = 1, .level = 1, .associativity = 1, .policy = 2, .line = 64, .size = 8 * MIB },
        { .node = 1, .level = 2, .associativity = 2, .policy = 1, .line = 128, .size = 16 * MIB },
    };
    const GByteArray *b;

    d->t.cpu_node[1] = 0;
    d->t.node_initiator[0] = 0;
    d->t.node_initiator[1] = 0;
    add_lb(d, 0, 0, 0, 20);
    add_lb(d, 0, 0, 1, 150);
    add_lb(d, 3, 0, 0, 4096 * MIB);
    g_array_append_vals(d->hmat.cache, caches, 2);
    d->setup.hmat = &d->hmat;
    g_autoptr(GPtrArray) tables = build(d);

    b = find(tables, "HMAT");
    g_assert_cmpuint(b->len, ==, 40 + 2 * 40 + 2 * 48 + 2 * 32);
    g_assert_cmpuint(field(b, 8, 1), ==, 2);
    for (unsigned i = 0; i < 2; i++) {
        g_assert_cmpuint(field(b, 40 + 40 * i, 2), ==, 0);
        g_assert_cmpuint(field(b, 44 + 40 * i, 4), ==, 40);
        g_assert_cmpuint(field(b, 48 + 40 * i, 2), ==, 1);
        g_assert_cmpuint(field(b, 52 + 40 * i, 4), ==, 0);
        g_assert_cmpuint(field(b, 56 + 40 * i, 4), ==, i);
    }
    check_matrix(b, 120, 0, 10 * 1000, (const unsigned[]) { 2, 15 });
    check_matrix(b, 168, 3, 4096, (const unsigned[]) { 1, 0 });
    g_assert_cmpuint(field(b, 216, 2), ==, 2);
    g_assert_cmpuint(field(b, 224, 4), ==, 1);
    g_assert_cmpuint(field(b, 232, 8), ==, 8 * MIB);
    g_assert_cmphex(field(b, 240, 4), ==, 0x00402112);
    g_assert_cmphex(field(b, 272, 4), ==, 0x00801222);
}

/* Nothing else is said of it then. */
static void
hmat_tells_when_nobody_is_nearest(void)
{
    g_autoptr(described) d = flat(2, 2);
    const GByteArray *b;

    d->t.node_initiator[1] = -1;
    d->setup.hmat = &d->hmat;
    g_autoptr(GPtrArray) tables = build(d);

    b = find(tables, "HMAT");
    g_assert_cmpuint(field(b, 48, 2), ==, 1);
    g_assert_cmpuint(field(b, 88, 2), ==, 0);
    g_assert_cmpuint(field(b, 92, 4), ==, 0);
    g_assert_cmpuint(field(b, 96, 4), ==, 1);
}

/* What guests refuse: attributes of memory that there is not. */
static void
hmat_leaves_out_nodes_without_memory(void)
{
    g_autoptr(described) d = flat(2, 2);

    d->t.node_size[1] = 0;
    d->setup.hmat = &d->hmat;
    g_autoptr(GPtrArray) tables = build(d);

    g_assert_cmpuint(find(tables, "HMAT")->len, ==, 40 + 40);
}

/* All six kinds at 128 nodes fit; of the caches' too not all, and then it is told how many would. */
static void
what_does_not_fit_is_refused(void)
{
    enum { KINDS = HMAT_HIERARCHIES * HMAT_TYPES };
    unsigned fitting = 0;

    for (unsigned kinds = 1; kinds <= KINDS; kinds++) {
        g_autoptr(described) d = describe(128, &(struct smp) { .cpus = 128, .maxcpus = 128,
                                                               .levels = { 128, 1, 1, 1, 1 } });
        g_autoptr(GPtrArray) tables = NULL;
        g_autoptr(GError) error = NULL;
        g_autofree char *told = NULL;

        for (unsigned kind = 0; kind < kinds; kind++) {
            struct hmat_lb e = { .hierarchy = (uint8_t)(kind / HMAT_TYPES), .type = (uint8_t)(kind % HMAT_TYPES),
                                 .target = 1, .value = kind % HMAT_TYPES < HMAT_BANDWIDTH ? 10 : MIB };

            g_array_append_val(d->hmat.lb, e);
        }
        d->setup.hmat = &d->hmat;
        tables = acpi_build(&d->setup, &error);
        if (tables) {
            check_places(tables);
            g_assert_cmpuint(fitting, ==, kinds - 1);
            fitting = kinds;
            continue;
        }
        g_assert_error(error, NUMON_ERROR, NUMON_ERROR_LIMIT);
        told = g_strdup_printf(": %u kinds of latency and bandwidth between 128 nodes take 34 KiB each of its ACPI "
                               "tables, which have room for %u such", kinds, fitting);
        g_assert_nonnull(strstr(error->message, told));
    }
    g_assert_cmpuint(fitting, >=, HMAT_TYPES);
    g_assert_cmpuint(fitting, <, KINDS);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/acpi/tables-say-what-the-topology-says", tables_say_what_the_topology_says);
    g_test_add_func("/acpi/large-apic-ids-are-x2apic", large_apic_ids_are_x2apic);
    g_test_add_func("/acpi/without-nodes-no-srat", without_nodes_no_srat);
    g_test_add_func("/acpi/without-distances-no-slit", without_distances_no_slit);
    g_test_add_func("/acpi/nodes-without-memory-or-cpus", nodes_without_memory_or_cpus);
    g_test_add_func("/acpi/ram-lies-around-the-hole", ram_lies_around_the_hole);
    g_test_add_func("/acpi/devices-have-a-range", devices_have_a_range);
    g_test_add_func("/acpi/hmat-says-what-was-given", hmat_says_what_was_given);
    g_test_add_func("/acpi/hmat-tells-when-nobody-is-nearest", hmat_tells_when_nobody_is_nearest);
    g_test_add_func("/acpi/hmat-leaves-out-nodes-without-memory", hmat_leaves_out_nodes_without_memory);
    g_test_add_func("/acpi/what-does-not-fit-is-refused", what_does_not_fit_is_refused);
    return g_test_run();
}
