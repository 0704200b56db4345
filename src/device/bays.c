/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A block of slots for things that come and go while the guest runs, memory devices or CPUs: registers by which the
 * methods of the DSDT learn what is in a slot, which slots have an event, and say that the guest lets go of one.
 *
 * What is in a slot the machine says (bays_set), from its definition, on both sides of a migration; what is under way
 * between machine and guest is a byte a slot, and travels. */
#include "device.h"
#include "platform.h"

#include <string.h>

enum {
    /* In a slot's byte beside PLATFORM_SLOT_*: it was wanted back, or told of, and there is no answer yet. */
    ASKED = 0x10, TOLD = 0x20,
    /* The guest let go of it and it stays (bays_keep): it is not let go of again unless it is wanted. */
    KEPT = 0x40,
    TRAVELS = PLATFORM_SLOT_INSERTED | PLATFORM_SLOT_WANTED | PLATFORM_SLOT_EJECT | ASKED | TOLD,
    /* What _OST says (ACPI 6.4, tables 6-59 to 6-61): an event of ours, and what became of it. */
    OST_CAME = 0x01, OST_WANTED = 0x03, OST_COMING = 0x80, OST_GOING = 0x84,
};

struct bays {
    const char *name;               /* of section and ports; static */
    unsigned count;
    uint32_t event;                 /* of the GED */
    struct ged *ged;                /* borrowed */
    void (*answered)(void *self);
    void *self;
    struct lock lock;               /* rank 15 */

    /* Under the lock. */
    struct slot_content *content;
    struct { uint32_t event, code; } refused[PLATFORM_MEMORY_SLOTS];    /* main was not told yet: code is not 0 */
    /* Under the lock; migrated. */
    uint8_t under_way[PLATFORM_MEMORY_SLOTS];
    uint32_t selected, ost_event;
    bool listens;                   /* the guest interprets tables */
};
G_STATIC_ASSERT(PLATFORM_MEMORY_SLOTS >= PLATFORM_CPU_SLOTS);

struct bays *
bays_new(const char *name, unsigned count, uint32_t event, struct ged *ged, void (*answered)(void *self), void *self)
{
    struct bays *s = g_new0(struct bays, 1);

    g_assert(count <= G_N_ELEMENTS(s->under_way));
    *s = (struct bays) {
        .name = name, .count = count, .event = event, .ged = ged, .answered = answered, .self = self,
    };
    s->content = g_new0(struct slot_content, count);
    lock_init(&s->lock, 15, name);
    return s;
}

void
bays_free(struct bays *s)
{
    if (!s)
        return;
    lock_release(&s->lock);
    g_free(s->content);
    g_free(s);
}

void
bays_reset(struct bays *s)
{
    lock_take(&s->lock);
    memset(s->under_way, 0, sizeof s->under_way);
    memset(s->refused, 0, sizeof s->refused);
    s->selected = s->ost_event = 0;
    s->listens = false;
    lock_drop(&s->lock);
}

/* --- the machine's side ----------------------------------------------------------------------------------------- */

void
bays_set(struct bays *s, unsigned slot, const struct slot_content *content)
{
    lock_take(&s->lock);
    s->content[slot] = *content;
    if (!content->there)
        s->under_way[slot] = 0;
    lock_drop(&s->lock);
}

bool
bays_listen(struct bays *s)
{
    bool listens;

    lock_take(&s->lock);
    listens = s->listens;
    lock_drop(&s->lock);
    return listens;
}

void
bays_inserted(struct bays *s, unsigned slot)
{
    bool listens;

    lock_take(&s->lock);
    listens = s->listens;
    if (listens)
        s->under_way[slot] |= TOLD | PLATFORM_SLOT_INSERTED;
    lock_drop(&s->lock);
    if (listens)
        ged_raise(s->ged, s->event);
}

bool
bays_want(struct bays *s, unsigned slot)
{
    bool first;

    lock_take(&s->lock);
    first = !(s->under_way[slot] & (ASKED | PLATFORM_SLOT_EJECT));
    if (first)
        s->under_way[slot] = (uint8_t)((s->under_way[slot] & ~KEPT) | ASKED | PLATFORM_SLOT_WANTED);
    lock_drop(&s->lock);
    if (first)
        ged_raise(s->ged, s->event);
    return first;
}

unsigned
bays_ejected(struct bays *s, unsigned from)
{
    unsigned slot = from;

    lock_take(&s->lock);
    while (slot < s->count && !(s->under_way[slot] & PLATFORM_SLOT_EJECT))
        slot++;
    lock_drop(&s->lock);
    return slot;
}

void
bays_keep(struct bays *s, unsigned slot)
{
    lock_take(&s->lock);
    s->under_way[slot] = KEPT;
    lock_drop(&s->lock);
}

bool
bays_refused(struct bays *s, unsigned *ret_slot, bool *ret_came, uint32_t *ret_code)
{
    unsigned slot = 0;

    lock_take(&s->lock);
    while (slot < s->count && !s->refused[slot].code)
        slot++;
    if (slot < s->count) {
        *ret_slot = slot;
        *ret_came = s->refused[slot].event == OST_CAME;
        *ret_code = s->refused[slot].code;
        s->refused[slot].code = 0;
    }
    lock_drop(&s->lock);
    return slot < s->count;
}

/* --- the guest's side ------------------------------------------------------------------------------------------- */

/* What is there as the guest sees it: what it let go of is gone, though main may not have taken it out yet. */
static uint32_t
status(const struct bays *s, unsigned slot)
{
    uint8_t way = s->under_way[slot];
    bool enabled = s->content[slot].there && !(way & PLATFORM_SLOT_EJECT);

    return (enabled ? PLATFORM_SLOT_ENABLED : 0) | (way & (PLATFORM_SLOT_INSERTED | PLATFORM_SLOT_WANTED));
}

static uint32_t
first_event(const struct bays *s)
{
    for (unsigned slot = 0; slot < s->count; slot++)
        if (s->under_way[slot] & (PLATFORM_SLOT_INSERTED | PLATFORM_SLOT_WANTED))
            return slot;
    return PLATFORM_SLOT_NONE;
}

static uint32_t
read_register(const struct bays *s, uint64_t offset)
{
    static const struct slot_content nothing;
    bool valid = s->selected < s->count;
    const struct slot_content *c = valid ? &s->content[s->selected] : &nothing;

    switch (offset) {
    case PLATFORM_SLOT_SELECT:
        return first_event(s);
    case PLATFORM_SLOT_STATUS:
        return valid ? status(s, s->selected) : 0;
    case PLATFORM_SLOT_BASE:
        return (uint32_t)c->base;
    case PLATFORM_SLOT_BASE + 4:
        return (uint32_t)(c->base >> 32);
    case PLATFORM_SLOT_SIZE:
        return (uint32_t)c->size;
    case PLATFORM_SLOT_SIZE + 4:
        return (uint32_t)(c->size >> 32);
    case PLATFORM_SLOT_NODE:
        return c->node;
    case PLATFORM_SLOT_ID:
        return c->id;
    default:
        return 0;
    }
}

static uint64_t
bays_read(void *device, uint64_t offset, unsigned size)
{
    struct bays *s = device;
    uint32_t value;

    lock_take(&s->lock);
    value = size == 4 ? read_register(s, offset) : 0;
    lock_drop(&s->lock);
    return value;
}

/* True if the guest lets go of it now. */
static bool
control(struct bays *s, uint32_t value)
{
    uint8_t *way = &s->under_way[s->selected];

    *way &= (uint8_t)~(value & (PLATFORM_SLOT_INSERTED | PLATFORM_SLOT_WANTED));
    if (!(value & PLATFORM_SLOT_EJECT) || *way & KEPT || !(status(s, s->selected) & PLATFORM_SLOT_ENABLED))
        return false;
    *way = PLATFORM_SLOT_EJECT;
    return true;
}

/* What became of what the guest was told or asked; true if it could not. */
static bool
answer(struct bays *s, uint32_t code)
{
    unsigned slot = s->selected;
    bool came = s->ost_event == OST_CAME;
    uint8_t open = came ? TOLD : s->ost_event == OST_WANTED ? ASKED : 0;

    if (!(s->under_way[slot] & open) || code == (came ? OST_COMING : OST_GOING))
        return false;
    /* One that goes well ends with the ejection. */
    if (came || code)
        s->under_way[slot] &= (uint8_t)~open;
    s->refused[slot].event = s->ost_event;
    s->refused[slot].code = code;
    return code != 0;
}

static void
bays_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
    struct bays *s = device;
    bool valid, answered = false;

    if (size != 4)
        return;
    lock_take(&s->lock);
    if (offset == PLATFORM_SLOT_SELECT)
        s->selected = (uint32_t)value;
    valid = s->selected < s->count;
    if (offset == PLATFORM_SLOT_LISTEN)
        s->listens = true;
    else if (offset == PLATFORM_SLOT_STATUS && valid)
        answered = control(s, (uint32_t)value);
    else if (offset == PLATFORM_SLOT_OST_EVENT)
        s->ost_event = (uint32_t)value;
    else if (offset == PLATFORM_SLOT_OST_STATUS && valid)
        answered = answer(s, (uint32_t)value);
    lock_drop(&s->lock);
    if (answered)
        s->answered(s->self);
}

bool
bays_attach(struct bays *s, struct bus *bus, uint64_t port, GError **error)
{
    static const struct bus_ops ops = { bays_read, bays_write };

    return bus_claim(bus, BUS_PORT, port, PLATFORM_SLOTS_SIZE, s->name, &ops, s, error);
}

/* --- as it travels ---------------------------------------------------------------------------------------------- */

/* What a source says is under way in a slot that has nothing is void. */
static bool
bays_after_load(void *object, GError **error)
{
    struct bays *s = object;

    lock_take(&s->lock);
    for (unsigned slot = 0; slot < G_N_ELEMENTS(s->under_way); slot++)
        s->under_way[slot] &= slot < s->count && s->content[slot].there ? TRAVELS : 0;
    lock_drop(&s->lock);
    return true;
}

static const struct state_field bays_fields[] = {
    { "under_way", STATE_BUFFER, offsetof(struct bays, under_way), PLATFORM_MEMORY_SLOTS },
    { "selected", STATE_U32, offsetof(struct bays, selected) },
    { "ost_event", STATE_U32, offsetof(struct bays, ost_event) },
    { "listens", STATE_BOOL, offsetof(struct bays, listens) },
    { 0 }
};

struct state_section
bays_state(struct bays *s)
{
    return (struct state_section) {
        .name = s->name, .version = 1, .fields = bays_fields, .object = s, .after_load = bays_after_load,
    };
}
