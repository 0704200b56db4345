/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the files of src/memory/ share: the parts of making a block, the watch over lost pages, and the
 * implementations behind page_is_zero, apart so that a test can compare them. */
#ifndef MEMORY_PRIVATE_H
#define MEMORY_PRIVATE_H

#include "memory.h"

/* "cannot VERB backend 'm0' (64 MiB): strerror" */
bool fail_block(const struct block *b, int host_errno, const char *verb, GError **error);
/* Opens what is behind the mapping (open.c): sets 'fd', 'page_size', 'had_content' and 'made_file'. */
bool block_open(struct block *b, GError **error);
/* What the options say of a mapping: policy, merging, dumping (block.c). */
bool block_advise(struct block *b, GError **error);

/* guard.c: a mapping is watched from guard_add to guard_remove. */
bool guard_add(struct block *b, GError **error);
void guard_remove(struct block *b);
/* Lost pages of the block also make this eventfd readable; -1: none. */
void guard_notify(const struct block *b, int fd);
void guard_mark(const struct block *b, uint64_t page);

/* 'page' is 32-byte aligned, PAGE_SIZE bytes.  The second only where page_has_avx2(). */
bool page_is_zero_plain(const uint8_t *page);
bool page_is_zero_avx2(const uint8_t *page);
bool page_has_avx2(void);

/* --- the dirty hub: hub.c, mark.c ------------------------------------------------------------------------------- */

enum { SLOTS = 16, GATES = 64, CACHE_LINE = 64 };

struct subscriber {
    unsigned slot;
    _Atomic uint64_t **words;       /* by block index; NULL until the slot is first used; lives until hub_free */
    _Atomic uint64_t cpu_pages[HUB_CPUS];
    _Atomic bool watches;           /* 'writers' is kept */
    _Atomic uint8_t **writers;      /* by block index, by page: vCPU + 1, or 0; NULL, or lives until hub_free */
    const char *who;                /* for debuggers */
};

struct gate {
    _Alignas(CACHE_LINE) _Atomic uint64_t active;       /* bit n: slot n */
};

struct hub {
    /* Fixed from hub_new on. */
    const struct guest_map *map;    /* borrowed, frozen */
    struct dirty_source source;
    struct gate *gates;             /* GATES of them; atomic */
    void *gates_memory;             /* what 'gates' was aligned in; owned */

    /* Written under the lock while inactive; markers read what the gates have published. */
    struct subscriber slots[SLOTS];

    struct lock lock;               /* rank 20 */
    unsigned count GUARDED;         /* active slots */
    uint64_t *scratch GUARDED;      /* twice the words of the largest block; the other half is for asleep.c */
    uint64_t scratch_words GUARDED;
    /* By block index; NULL for a log that does not protect late. */
    uint64_t **late GUARDED;
    uint64_t **asleep GUARDED;      /* none of them late (asleep.c) */
    struct presence presence GUARDED;
};

/* asleep.c.  The pages of a word of the bitmap, whose bits 's' took, are late and no longer asleep. */
void hub_wake(struct hub *hub, const struct subscriber *s, const struct block *b, uint64_t word, uint64_t pages)
    REQUIRES(hub->lock);
/* What was collected, in 'scratch', without those that sleep on and with those that have come. */
bool hub_collect_asleep(struct hub *hub, struct block *b, GError **error) REQUIRES(hub->lock);

static inline uint64_t
hub_active_mask(const struct hub *hub)
{
    return atomic_load_explicit(&hub->gates[0].active, memory_order_acquire);
}

#endif
