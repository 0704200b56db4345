/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The interrupt lines between devices and the interrupt controllers: a level for each, kept here, so that it can be
 * told anew to controllers that were reset or have arrived with a guest.
 *
 * The lock is held while the accelerator is told, which is the rule's one exception: two threads that turn a line
 * must be heard in the order in which they turned it, or it would stay at the wrong level. */
#include "device.h"

struct irqs {
    struct lock lock;               /* rank 16 */
    uint32_t levels GUARDED;        /* a bit a line */
    uint8_t holders[IRQ_LINES] GUARDED;         /* a bit a device that holds it high */
    void (*tell)(void *self, unsigned gsi, bool level) GUARDED;
    void *self GUARDED;
};

struct irqs *
irqs_new(void)
{
    struct irqs *i = g_new0(struct irqs, 1);

    lock_init(&i->lock, 16, "interrupt lines");
    return i;
}

void
irqs_free(struct irqs *i)
{
    if (!i)
        return;
    lock_release(&i->lock);
    g_free(i);
}

void
irqs_connect(struct irqs *i, void (*tell)(void *self, unsigned gsi, bool level), void *self)
{
    lock_take(&i->lock);
    i->tell = tell;
    i->self = self;
    lock_drop(&i->lock);
}

void
irqs_share(struct irqs *i, unsigned gsi, unsigned who, bool high)
{
    uint32_t bit = UINT32_C(1) << gsi;
    bool level;

    g_assert(gsi < IRQ_LINES && who < 8);
    lock_take(&i->lock);
    i->holders[gsi] = (uint8_t)(high ? i->holders[gsi] | 1u << who : i->holders[gsi] & ~(1u << who));
    level = i->holders[gsi];
    if (level != ((i->levels & bit) != 0)) {
        i->levels ^= bit;
        if (i->tell)
            i->tell(i->self, gsi, level);
    }
    lock_drop(&i->lock);
}

void
irqs_set(struct irqs *i, unsigned gsi, bool level)
{
    irqs_share(i, gsi, 0, level);
}

void
irqs_tell(struct irqs *i)
{
    lock_take(&i->lock);
    for (unsigned gsi = 0; i->tell && gsi < IRQ_LINES; gsi++)
        i->tell(i->self, gsi, i->levels >> gsi & 1);
    lock_drop(&i->lock);
}

uint32_t
irqs_levels(struct irqs *i)
{
    uint32_t levels;

    lock_take(&i->lock);
    levels = i->levels;
    lock_drop(&i->lock);
    return levels;
}
