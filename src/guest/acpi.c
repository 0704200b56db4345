/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The platform as ACPI 6.4 tells it: MADT (CPUs), SRAT (which node a CPU and a piece of memory belong to), SLIT
 * (distances).  Tables are data of whoever started the guest: every length and checksum is checked, what does not
 * hold is taken for absent. */
#include "guest.h"

struct rsdp {
    char signature[8];
    uint8_t checksum;
    char oem[6];
    uint8_t revision;
    uint32_t rsdt, length;
    uint64_t xsdt;
} __attribute__((packed));

struct table {
    char signature[4];
    uint32_t length;
    uint8_t revision, checksum;
    char oem_id[6], oem_table_id[8];
    uint32_t oem_revision, creator, creator_revision;
} __attribute__((packed));

/* The records of MADT and SRAT; each begins with type and length. */
struct madt_apic { uint8_t type, length, processor, apic_id; uint32_t flags; } __attribute__((packed));
struct madt_x2apic {
    uint8_t type, length;
    uint16_t reserved;
    uint32_t apic_id, flags, processor;
} __attribute__((packed));
struct srat_apic {
    uint8_t type, length, domain_low, apic_id;
    uint32_t flags;
    uint8_t sapic_eid, domain_high[3];
    uint32_t clock_domain;
} __attribute__((packed));
struct srat_memory {
    uint8_t type, length;
    uint32_t domain;
    uint16_t reserved;
    uint64_t base, size;
    uint32_t reserved_2, flags;
    uint64_t reserved_3;
} __attribute__((packed));
struct srat_x2apic {
    uint8_t type, length;
    uint16_t reserved;
    uint32_t domain, apic_id, flags, clock_domain, reserved_2;
} __attribute__((packed));

enum { MADT_HEAD = 44, MADT_APIC = 0, MADT_X2APIC = 9 };
enum { SRAT_HEAD = 48, SRAT_APIC = 0, SRAT_MEMORY = 1, SRAT_X2APIC = 2, ENABLED = 1 };
enum { SLIT_HEAD = 44, TABLE_LIMIT = 1 << 20, BIOS_AREA = 0xe0000, BIOS_END = 0x100000, EBDA_POINTER = 0x40e };

static bool
sums_to_zero(const void *bytes, uint64_t size)
{
    const uint8_t *b = bytes;
    uint8_t sum = 0;

    while (size--)
        sum += *b++;
    return sum == 0;
}

static bool
same(const char *a, const char *b, unsigned size)
{
    while (size--)
        if (*a++ != *b++)
            return false;
    return true;
}

/* The table at this address if it is whole and right. */
static const struct table *
table_at(uint64_t address)
{
    const struct table *t = (const void *)(uintptr_t)address;

    if (!address || map_range(address, sizeof *t) < sizeof *t || t->length < sizeof *t || t->length > TABLE_LIMIT ||
        map_range(address, t->length) < t->length || !sums_to_zero(t, t->length))
        return NULL;
    return t;
}

static bool
is_rsdp(const struct rsdp *r)
{
    return same(r->signature, "RSD PTR ", 8) && sums_to_zero(r, 20);
}

static const struct rsdp *
find_rsdp(uint64_t told)
{
    uintptr_t pointer = EBDA_POINTER;
    uint64_t ebda;

    __asm__("" : "+r"(pointer));        /* page 0 is memory like any other, whatever the compiler thinks */
    ebda = (uint64_t)*(const uint16_t *)pointer << 4;
    if (told && map_range(told, sizeof(struct rsdp)) == sizeof(struct rsdp) && is_rsdp((const void *)(uintptr_t)told))
        return (const void *)(uintptr_t)told;
    for (uint64_t at = BIOS_AREA; at < BIOS_END; at += 16)
        if (is_rsdp((const void *)(uintptr_t)at))
            return (const void *)(uintptr_t)at;
    if (ebda >= 0x80000 && ebda < 0xa0000)
        for (uint64_t at = ebda; at < ebda + 1024; at += 16)
            if (is_rsdp((const void *)(uintptr_t)at))
                return (const void *)(uintptr_t)at;
    return NULL;
}

static const struct table *
find_table(const struct rsdp *r, const char *signature)
{
    bool wide = r->revision >= 2 && r->xsdt;
    const struct table *root = table_at(wide ? r->xsdt : r->rsdt), *t;
    unsigned size = wide ? 8 : 4;

    if (!root)
        return NULL;
    for (uint32_t at = sizeof *root; at + size <= root->length; at += size) {
        uint64_t address = 0;

        __builtin_memcpy(&address, (const char *)root + at, size);
        t = table_at(address);
        if (t && same(t->signature, signature, 4))
            return t;
    }
    return NULL;
}

/* The record at '*at', or NULL at the end or where one is too short for its kind; advances. */
static const uint8_t *
next_record(const struct table *t, uint32_t *at)
{
    const uint8_t *record = (const uint8_t *)t + *at;

    if (*at + 2 > t->length || record[1] < 2 || *at + record[1] > t->length)
        return NULL;
    *at += record[1];
    return record;
}

static void
add_cpu(struct platform *p, uint32_t apic_id, uint32_t flags)
{
    bool enabled = flags & ENABLED;

    /* Where numon loaded this guest, a CPU may come to a free slot: it has its pages and areas from the start. */
    if ((!enabled && !head->flags) || p->cpu_count >= CONTROL_CPUS)
        return;
    p->enabled[p->cpu_count] = enabled;
    p->apic_id[p->cpu_count++] = apic_id;
}

static void
read_madt(const struct table *t, struct platform *p)
{
    uint32_t at = MADT_HEAD;
    const uint8_t *record;

    while ((record = next_record(t, &at)))
        if (record[0] == MADT_APIC && record[1] >= sizeof(struct madt_apic)) {
            const struct madt_apic *a = (const void *)record;

            add_cpu(p, a->apic_id, a->flags);
        } else if (record[0] == MADT_X2APIC && record[1] >= sizeof(struct madt_x2apic)) {
            const struct madt_x2apic *x = (const void *)record;

            add_cpu(p, x->apic_id, x->flags);
        }
}

static void
place_cpu(struct platform *p, uint32_t apic_id, uint32_t domain, uint32_t flags)
{
    if (!(flags & ENABLED) || domain >= CONTROL_NODES)
        return;
    if (domain >= p->node_count)
        p->node_count = domain + 1;
    for (unsigned i = 0; i < p->cpu_count; i++)
        if (p->apic_id[i] == apic_id)
            p->cpu_node[i] = domain;
}

static void
place_memory(struct platform *p, const struct srat_memory *m)
{
    if (!(m->flags & ENABLED) || m->domain >= CONTROL_NODES || !m->size || m->base + m->size <= m->base)
        return;
    if (m->domain >= p->node_count)
        p->node_count = m->domain + 1;
    if (p->memory_count < AFFINITIES)
        p->memory[p->memory_count++] = (struct affinity) { m->base, m->size, m->domain };
}

static void
read_srat(const struct table *t, struct platform *p)
{
    uint32_t at = SRAT_HEAD;
    const uint8_t *record;

    while ((record = next_record(t, &at)))
        if (record[0] == SRAT_APIC && record[1] >= sizeof(struct srat_apic)) {
            const struct srat_apic *a = (const void *)record;

            place_cpu(p, a->apic_id, a->domain_low | a->domain_high[0] << 8 | a->domain_high[1] << 16 |
                      (uint32_t)a->domain_high[2] << 24, a->flags);
        } else if (record[0] == SRAT_X2APIC && record[1] >= sizeof(struct srat_x2apic)) {
            const struct srat_x2apic *x = (const void *)record;

            place_cpu(p, x->apic_id, x->domain, x->flags);
        } else if (record[0] == SRAT_MEMORY && record[1] >= sizeof(struct srat_memory)) {
            place_memory(p, (const void *)record);
        }
}

static void
read_slit(const struct table *t, struct platform *p)
{
    const uint8_t *matrix = (const uint8_t *)t + SLIT_HEAD;
    uint64_t count;

    if (t->length < SLIT_HEAD)
        return;
    __builtin_memcpy(&count, (const char *)t + 36, sizeof count);
    if (count < p->node_count || count > CONTROL_NODES || SLIT_HEAD + count * count > t->length)
        return;
    p->has_distances = true;
    for (unsigned i = 0; i < p->node_count; i++)
        for (unsigned j = 0; j < p->node_count; j++)
            p->distance[i][j] = matrix[i * count + j];
}

void
acpi_read(uint64_t rsdp, struct platform *ret)
{
    const struct rsdp *r = find_rsdp(rsdp);
    const struct table *madt = r ? find_table(r, "APIC") : NULL;
    const struct table *srat = r ? find_table(r, "SRAT") : NULL;
    const struct table *slit = r ? find_table(r, "SLIT") : NULL;

    if (madt)
        read_madt(madt, ret);
    if (ret->cpu_count == 0) {
        ret->cpu_count = 1;
        ret->enabled[0] = true;
        ret->apic_id[0] = apic_own_id();
    }
    if (srat)
        read_srat(srat, ret);
    if (slit && ret->node_count)
        read_slit(slit, ret);
}
