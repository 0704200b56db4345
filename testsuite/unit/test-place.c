/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Slots and addresses of memory devices against a reference that tries every address of the region, and the numbers
 * in the refusals. */
#include <string.h>

#include "memory.h"

enum { MOST = 12, STEPS = 300, ROUNDS = 40 };
#define UNIT (256 * MIB)            /* sizes and alignments are multiples of it, so that trying all takes little
                                     * time */

static bool
free_at(const struct device_place *others, unsigned count, uint64_t addr, uint64_t size)
{
    for (unsigned i = 0; i < count; i++) {
        for (uint64_t at = addr; at < addr + size; at += UNIT)
            if (at >= others[i].addr && at < others[i].addr + others[i].size)
                return false;
    }
    return true;
}

/* The first address by trying all; 0 if there is none. */
static uint64_t
reference_address(const struct device_room *room, const struct device_place *others, unsigned count, uint64_t size,
                  uint64_t align)
{
    for (uint64_t at = room->base; at + size <= room->base + room->size; at += UNIT)
        if (at % align == 0 && free_at(others, count, at, size))
            return at;
    return 0;
}

static int
reference_slot(const struct device_room *room, const struct device_place *others, unsigned count)
{
    bool used[MOST] = { false };

    for (unsigned i = 0; i < count; i++)
        if (others[i].slot >= 0)
            used[others[i].slot] = true;
    for (int slot = 0; slot < (int)room->slots; slot++)
        if (!used[slot])
            return slot;
    return -1;
}

static uint64_t
sum(const struct device_place *places, unsigned count)
{
    uint64_t total = 0;

    for (unsigned i = 0; i < count; i++)
        total += places[i].size;
    return total;
}

/* Tries to add one device with random wishes; true if it was added, as the reference says too. */
static bool
try_add(const struct device_room *room, struct device_place *places, unsigned count, struct memory_device *device,
        GRand *r)
{
    struct device_place p = { .device = device };
    g_autoptr(GError) error = NULL;
    uint64_t expected;
    int slot = -1;
    bool ok;

    *device = (struct memory_device) { .kind = (enum memory_device_kind)g_rand_int_range(r, 0, MEMORY_DEVICE_KINDS),
                                       .slot = -1 };
    p.size = (uint64_t)g_rand_int_range(r, 1, 5) * UNIT;
    p.align = UNIT << g_rand_int_range(r, 0, 4);
    if (g_rand_int_range(r, 0, 4) == 0)
        device->addr = room->base + (uint64_t)g_rand_int_range(r, 0, 40) * UNIT;
    if (memory_device_has_slot(device->kind)) {
        slot = reference_slot(room, places, count);
        expected = slot >= 0;
    } else {
        expected = true;
    }
    if (expected && sum(places, count) + p.size > room->limit)
        expected = 0;
    if (expected && device->addr)
        expected = device->addr % p.align == 0 && device->addr + p.size <= room->base + room->size &&
                           free_at(places, count, device->addr, p.size) ? device->addr : 0;
    else if (expected)
        expected = reference_address(room, places, count, p.size, p.align);
    ok = device_place_find(room, places, count, &p, &error);
    g_assert_cmpint(ok, ==, expected != 0);
    if (!ok) {
        g_assert_nonnull(error);
        return false;
    }
    g_assert_cmphex(p.addr, ==, expected);
    g_assert_cmpint(p.slot, ==, slot);
    places[count] = p;
    return true;
}

static void
test_random(void)
{
    for (guint32 seed = 0; seed < ROUNDS; seed++) {
        g_autoptr(GRand) r = g_rand_new_with_seed(seed);
        struct device_room room = device_room_for(GIB, 6 * GIB, 1 + seed % 5, 1);
        struct memory_device devices[MOST];
        struct device_place places[MOST];
        unsigned count = 0;

        for (unsigned step = 0; step < STEPS; step++) {
            if (count && (count == MOST - 1 || g_rand_int_range(r, 0, 3) == 0)) {
                unsigned gone = (unsigned)g_rand_int_range(r, 0, (gint32)count--);

                memmove(&places[gone], &places[gone + 1], (count - gone) * sizeof places[0]);
            } else if (try_add(&room, places, count, &devices[0], r)) {
                count++;
            }
        }
    }
}

static void
test_room(void)
{
    struct device_room room = device_room_for(GIB, 3 * GIB, 2, 4);

    g_assert_cmphex(room.base, ==, 4 * GIB);
    g_assert_cmphex(room.limit, ==, 2 * GIB);
    g_assert_cmphex(room.size, ==, 4 * GIB);
    room = device_room_for(5 * GIB + PAGE_SIZE, 8 * GIB, 0, 1);
    g_assert_cmphex(room.base, ==, 7 * GIB);
    g_assert_cmphex(room.size, ==, 3 * GIB - PAGE_SIZE);
    room = device_room_for(GIB, GIB, 0, 1);
    g_assert_cmphex(room.size, ==, 0);
    room = device_room_for(GIB, 0, 0, 1);
    g_assert_cmphex(room.size, ==, 0);
}

static void
expect_refusal(const struct device_room *room, const struct device_place *others, unsigned count,
               const struct memory_device *device, uint64_t size, uint64_t align, const char *text)
{
    struct device_place p = { .device = device, .size = size, .align = align }, before = p;
    g_autoptr(GError) error = NULL;

    g_assert_false(device_place_find(room, others, count, &p, &error));
    g_assert_cmpmem(&p, sizeof p, &before, sizeof before);
    if (!strstr(error->message, text))
        g_error("'%s' lacks '%s'", error->message, text);
}

static void
test_refusals(void)
{
    struct device_room room = device_room_for(GIB, 3 * GIB, 2, 1), none = device_room_for(GIB, 0, 0, 1);
    struct memory_device a = { .id = "a", .slot = 1 }, b = { .id = "b", .slot = -1 },
        pmem = { .kind = DEVICE_VIRTIO_PMEM };
    struct device_place others[] = { { .device = &a, .addr = 5 * GIB, .size = GIB, .slot = 1 } };

    expect_refusal(&none, NULL, 0, &b, GIB, PAGE_SIZE, "no slots were allocated");
    expect_refusal(&none, NULL, 0, &pmem, GIB, PAGE_SIZE, "specify the maxmem option");
    expect_refusal(&room, others, 1, &a, GIB, PAGE_SIZE, "slot 1 is busy: device 'a' has it; 1 of 2 slots in use");
    b.slot = 2;
    expect_refusal(&room, others, 1, &b, GIB, PAGE_SIZE, "invalid slot number 2, valid range is [0-1]");
    b.slot = -1;
    expect_refusal(&room, others, 1, &b, GIB + PAGE_SIZE, PAGE_SIZE, "1 GiB left of maxmem");
    b.addr = 4 * GIB + 512;
    expect_refusal(&room, others, 1, &b, MIB, PAGE_SIZE, "aligned to 0x1000: 0x100000200");
    b.addr = 3 * GIB;
    expect_refusal(&room, others, 1, &b, MIB, PAGE_SIZE, "usable range for memory devices [0x100000000:0x100000000]");
    b.addr = UINT64_MAX - MIB + 1;
    expect_refusal(&room, others, 1, &b, MIB, PAGE_SIZE, "usable range");
    b.addr = 4 * GIB + 512 * MIB;
    expect_refusal(&room, others, 1, &b, GIB, PAGE_SIZE, "conflicts with memory device id='a'");
    b.addr = 0;
    expect_refusal(&room, others, 1, &b, GIB, 16 * GIB, "fragmented due to alignments");
    room.slots = 1;
    others[0].slot = 0;
    expect_refusal(&room, others, 1, &b, MIB, PAGE_SIZE, "no free slots available: 1 of 1 in use");
}

int
main(int argc, char **argv)
{
    main_thread_claim();
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/place/room", test_room);
    g_test_add_func("/place/refusals", test_refusals);
    g_test_add_func("/place/random", test_random);
    return g_test_run();
}
