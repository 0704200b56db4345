/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The slots and the event device as the methods of the DSDT use them: a guest made of register accesses. */
#include "device.h"
#include "platform.h"

#include <signal.h>
#include <string.h>

struct side {
    struct bus *bus;
    struct irqs *irqs;
    struct ged *ged;
    struct bays *slots;
    unsigned answers;
};

static void
answered(void *self)
{
    ((struct side *)self)->answers++;
}

static struct side *
side_new(void)
{
    struct side *s = g_new0(struct side, 1);
    static const struct slot_content memory = {
        .there = true, .base = 0x123456789000, .size = 0x40000000, .node = 3,
    };

    s->bus = bus_new();
    s->irqs = irqs_new();
    s->ged = ged_new(s->irqs);
    s->slots = bays_new("memory-slots", 4, PLATFORM_EVENT_MEMORY, s->ged, answered, s);
    g_assert_true(ged_attach(s->ged, s->bus, NULL));
    g_assert_true(bays_attach(s->slots, s->bus, PLATFORM_MEMORY_SLOTS_PORT, NULL));
    bays_set(s->slots, 2, &memory);
    return s;
}

static void
side_free(struct side *s)
{
    bays_free(s->slots);
    ged_free(s->ged);
    irqs_free(s->irqs);
    bus_free(s->bus);
    g_free(s);
}
typedef struct side side;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(side, side_free)

static uint32_t
get(struct side *s, unsigned offset)
{
    return (uint32_t)bus_read(s->bus, BUS_PORT, PLATFORM_MEMORY_SLOTS_PORT + offset, 4);
}

static void
put(struct side *s, unsigned offset, uint32_t value)
{
    bus_write(s->bus, BUS_PORT, PLATFORM_MEMORY_SLOTS_PORT + offset, 4, value);
}

static uint32_t
status(struct side *s, unsigned slot)
{
    put(s, PLATFORM_SLOT_SELECT, slot);
    return get(s, PLATFORM_SLOT_STATUS);
}

static void
ost(struct side *s, unsigned slot, uint32_t event, uint32_t code)
{
    put(s, PLATFORM_SLOT_SELECT, slot);
    put(s, PLATFORM_SLOT_OST_EVENT, event);
    put(s, PLATFORM_SLOT_OST_STATUS, code);
}

static uint32_t
events(struct side *s)
{
    return (uint32_t)bus_read(s->bus, BUS_PORT, PLATFORM_EVENTS_PORT, 4);
}

static bool
line(struct side *s)
{
    return irqs_levels(s->irqs) >> PLATFORM_EVENTS_IRQ & 1;
}

/* --- tests ------------------------------------------------------------------------------------------------------ */

static void
events_raise_the_line_until_read(void)
{
    g_autoptr(side) s = side_new();

    g_assert_false(line(s));
    ged_raise(s->ged, PLATFORM_EVENT_POWER);
    ged_raise(s->ged, PLATFORM_EVENT_CPU);
    g_assert_true(line(s));
    g_assert_cmphex(events(s), ==, PLATFORM_EVENT_POWER | PLATFORM_EVENT_CPU);
    g_assert_false(line(s));
    g_assert_cmphex(events(s), ==, 0);
    ged_raise(s->ged, PLATFORM_EVENT_POWER);
    ged_reset(s->ged);
    g_assert_false(line(s));
}

static void
registers_say_what_is_in_a_slot(void)
{
    g_autoptr(side) s = side_new();

    g_assert_cmphex(status(s, 0), ==, 0);
    g_assert_cmphex(status(s, 2), ==, PLATFORM_SLOT_ENABLED);
    g_assert_cmphex(get(s, PLATFORM_SLOT_BASE), ==, 0x56789000);
    g_assert_cmphex(get(s, PLATFORM_SLOT_BASE + 4), ==, 0x1234);
    g_assert_cmphex(get(s, PLATFORM_SLOT_SIZE), ==, 0x40000000);
    g_assert_cmphex(get(s, PLATFORM_SLOT_NODE), ==, 3);
    g_assert_cmphex(get(s, PLATFORM_SLOT_SELECT), ==, PLATFORM_SLOT_NONE);
    /* Slots that there are not, and accesses that no method makes. */
    g_assert_cmphex(status(s, 4), ==, 0);
    put(s, PLATFORM_SLOT_STATUS, UINT32_MAX);
    g_assert_cmphex(status(s, UINT32_MAX), ==, 0);
    put(s, PLATFORM_SLOT_STATUS, UINT32_MAX);
    put(s, PLATFORM_SLOT_OST_STATUS, 1);
    bus_write(s->bus, BUS_PORT, PLATFORM_MEMORY_SLOTS_PORT + 1, 2, 0xffff);
    g_assert_cmphex(bus_read(s->bus, BUS_PORT, PLATFORM_MEMORY_SLOTS_PORT + 3, 2), ==, 0);
    g_assert_cmpuint(s->answers, ==, 0);
}

static void
who_does_not_listen_is_not_told(void)
{
    g_autoptr(side) s = side_new();

    bays_inserted(s->slots, 2);
    g_assert_false(bays_listen(s->slots));
    g_assert_false(line(s));
    g_assert_cmphex(get(s, PLATFORM_SLOT_SELECT), ==, PLATFORM_SLOT_NONE);
    put(s, PLATFORM_SLOT_LISTEN, 1);
    g_assert_true(bays_listen(s->slots));
    bays_reset(s->slots);
    g_assert_false(bays_listen(s->slots));
}

static void
what_comes_is_told(void)
{
    g_autoptr(side) s = side_new();
    uint32_t code;
    unsigned slot;
    bool came;

    put(s, PLATFORM_SLOT_LISTEN, 1);
    bays_inserted(s->slots, 2);
    g_assert_cmphex(events(s), ==, PLATFORM_EVENT_MEMORY);
    g_assert_cmphex(get(s, PLATFORM_SLOT_SELECT), ==, 2);
    g_assert_cmphex(status(s, 2), ==, PLATFORM_SLOT_ENABLED | PLATFORM_SLOT_INSERTED);
    put(s, PLATFORM_SLOT_STATUS, PLATFORM_SLOT_INSERTED);
    g_assert_cmphex(status(s, 2), ==, PLATFORM_SLOT_ENABLED);
    g_assert_cmphex(get(s, PLATFORM_SLOT_SELECT), ==, PLATFORM_SLOT_NONE);
    ost(s, 2, 1, 0x80);                 /* under way */
    g_assert_cmpuint(s->answers, ==, 0);
    ost(s, 2, 1, 0x81);
    g_assert_cmpuint(s->answers, ==, 1);
    g_assert_true(bays_refused(s->slots, &slot, &came, &code));
    g_assert_cmpuint(slot, ==, 2);
    g_assert_true(came);
    g_assert_cmphex(code, ==, 0x81);
    g_assert_false(bays_refused(s->slots, &slot, &came, &code));
    ost(s, 2, 1, 0x81);                 /* nobody asked */
    g_assert_cmpuint(s->answers, ==, 1);
}

static void
what_is_wanted_is_let_go(void)
{
    g_autoptr(side) s = side_new();

    put(s, PLATFORM_SLOT_LISTEN, 1);
    g_assert_true(bays_want(s->slots, 2));
    g_assert_false(bays_want(s->slots, 2));
    g_assert_cmphex(events(s), ==, PLATFORM_EVENT_MEMORY);
    g_assert_cmphex(status(s, 2), ==, PLATFORM_SLOT_ENABLED | PLATFORM_SLOT_WANTED);
    put(s, PLATFORM_SLOT_STATUS, PLATFORM_SLOT_WANTED);
    ost(s, 2, 3, 0x84);
    g_assert_cmpuint(bays_ejected(s->slots, 0), ==, 4);
    put(s, PLATFORM_SLOT_STATUS, PLATFORM_SLOT_EJECT);
    g_assert_cmpuint(s->answers, ==, 1);
    g_assert_cmphex(status(s, 2), ==, 0);
    put(s, PLATFORM_SLOT_STATUS, PLATFORM_SLOT_EJECT);
    ost(s, 2, 3, 0);
    g_assert_cmpuint(s->answers, ==, 1);
    g_assert_cmpuint(bays_ejected(s->slots, 0), ==, 2);
    g_assert_cmpuint(bays_ejected(s->slots, 3), ==, 4);
    g_assert_false(bays_want(s->slots, 2));
    bays_set(s->slots, 2, &(struct slot_content) { .there = false });
    g_assert_cmpuint(bays_ejected(s->slots, 0), ==, 4);
}

static void
what_is_wanted_is_refused(void)
{
    g_autoptr(side) s = side_new();
    uint32_t code;
    unsigned slot;
    bool came;

    put(s, PLATFORM_SLOT_LISTEN, 1);
    g_assert_true(bays_want(s->slots, 2));
    put(s, PLATFORM_SLOT_STATUS, 0);
    ost(s, 2, 3, 0x82);
    g_assert_true(bays_refused(s->slots, &slot, &came, &code));
    g_assert_false(came);
    g_assert_cmphex(code, ==, 0x82);
    g_assert_true(bays_want(s->slots, 2));             /* it may be asked again */
    bays_keep(s->slots, 2);
    g_assert_cmphex(status(s, 2), ==, PLATFORM_SLOT_ENABLED);
}

/* A guest that lets go of it for ever would keep main and the prompt busy. */
static void
what_is_kept_is_let_go_of_once(void)
{
    g_autoptr(side) s = side_new();

    for (unsigned i = 0; i < 3; i++) {
        put(s, PLATFORM_SLOT_SELECT, 2);
        put(s, PLATFORM_SLOT_STATUS, PLATFORM_SLOT_EJECT);
        if (i == 0)
            g_assert_cmpuint(bays_ejected(s->slots, 0), ==, 2);
        bays_keep(s->slots, 2);
        g_assert_cmphex(status(s, 2), ==, PLATFORM_SLOT_ENABLED);
    }
    g_assert_cmpuint(s->answers, ==, 1);
    g_assert_true(bays_want(s->slots, 2));
    put(s, PLATFORM_SLOT_STATUS, PLATFORM_SLOT_EJECT);
    g_assert_cmpuint(s->answers, ==, 2);
    bays_keep(s->slots, 2);
    bays_reset(s->slots);
    put(s, PLATFORM_SLOT_SELECT, 2);
    put(s, PLATFORM_SLOT_STATUS, PLATFORM_SLOT_EJECT);
    g_assert_cmpuint(s->answers, ==, 3);
}

/* --- moving ----------------------------------------------------------------------------------------------------- */

struct reader { const GByteArray *bytes; size_t at; };

static bool
read_bytes(void *from, void *bytes, size_t size, GError **error)
{
    struct reader *r = from;

    g_assert_cmpuint(r->at + size, <=, r->bytes->len);
    memcpy(bytes, r->bytes->data + r->at, size);
    r->at += size;
    return true;
}

static void
move(struct state_section from, struct state_section to)
{
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    struct reader r = { bytes, 0 };

    state_save(&from, bytes);
    g_assert_true(state_load(&to, from.version, read_bytes, &r, NULL));
    g_assert_cmpuint(r.at, ==, bytes->len);
    g_assert_true(to.after_load(to.object, NULL));
}

static void
what_is_under_way_travels(void)
{
    g_autoptr(side) a = side_new(), b = side_new();

    put(a, PLATFORM_SLOT_LISTEN, 1);
    g_assert_true(bays_want(a->slots, 2));
    put(a, PLATFORM_SLOT_SELECT, 2);
    move(ged_state(a->ged), ged_state(b->ged));
    move(bays_state(a->slots), bays_state(b->slots));
    g_assert_true(line(b));
    g_assert_true(bays_listen(b->slots));
    g_assert_cmphex(get(b, PLATFORM_SLOT_STATUS), ==, PLATFORM_SLOT_ENABLED | PLATFORM_SLOT_WANTED);
    g_assert_false(bays_want(b->slots, 2));
    put(b, PLATFORM_SLOT_STATUS, PLATFORM_SLOT_EJECT);
    move(bays_state(b->slots), bays_state(a->slots));
    g_assert_cmpuint(bays_ejected(a->slots, 0), ==, 2);
    /* At a destination where nothing is in the slot it is void. */
    bays_set(a->slots, 2, &(struct slot_content) { .there = false });
    move(bays_state(b->slots), bays_state(a->slots));
    g_assert_cmpuint(bays_ejected(a->slots, 0), ==, 4);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/hotplug/events-raise-the-line-until-read", events_raise_the_line_until_read);
    g_test_add_func("/hotplug/registers-say-what-is-in-a-slot", registers_say_what_is_in_a_slot);
    g_test_add_func("/hotplug/who-does-not-listen-is-not-told", who_does_not_listen_is_not_told);
    g_test_add_func("/hotplug/what-comes-is-told", what_comes_is_told);
    g_test_add_func("/hotplug/what-is-wanted-is-let-go", what_is_wanted_is_let_go);
    g_test_add_func("/hotplug/what-is-wanted-is-refused", what_is_wanted_is_refused);
    g_test_add_func("/hotplug/what-is-under-way-travels", what_is_under_way_travels);
    g_test_add_func("/hotplug/what-is-kept-is-let-go-of-once", what_is_kept_is_let_go_of_once);
    return g_test_run();
}
