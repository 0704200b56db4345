/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The dirty log: KVM_GET_DIRTY_LOG as a dirty_source.
 *
 * KVM write-protects each page as it is reported, so that collecting also clears.  A slot begins at any page of its
 * block, so its bitmap is shifted into the block's.  Writes of this process are not logged: they are marked in the
 * hub by whoever writes.  The hub's lock keeps these functions apart. */
#include "kvm-private.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

static void
log_stop(void *self)
{
    struct kvm *k = self;

    k->logging = false;
    g_array_set_size(k->kept, 0);
    for (unsigned i = 0; i < k->slot_count; i++)
        if (k->slots[i].block)
            slot_set(k, i, false);  /* a slot that goes on logging costs time and harms nothing */
}

static bool
log_start(void *self, GError **error)
{
    struct kvm *k = self;

    for (unsigned i = 0; i < k->slot_count; i++) {
        struct kvm_slot *s = &k->slots[i];
        uint64_t words = WORDS_FOR(s->size / PAGE_SIZE);

        if (!s->block)
            continue;
        s->log = s->log ? s->log : g_try_new(uint64_t, words);
        errno = ENOMEM;
        if (!s->log || !slot_set(k, i, true)) {
            int host_errno = errno;

            log_stop(k);
            return fail_host(error, host_errno, "cannot log writes to '%s' at 0x%" PRIx64, s->block->name, s->gpa);
        }
    }
    k->logging = true;
    return true;
}

/* ORs 'pages' bits of 'from' into 'to', beginning at bit 'first' there. */
static void
or_shifted(uint64_t *to, uint64_t first, const uint64_t *from, uint64_t pages)
{
    unsigned shift = first % 64;

    to += first / 64;
    for (uint64_t i = 0; i < WORDS_FOR(pages); i++) {
        uint64_t word = from[i];

        if (!word)
            continue;
        to[i] |= word << shift;
        if (shift && word >> (64 - shift))
            to[i + 1] |= word >> (64 - shift);
    }
}

bool
log_keep(struct kvm *k, unsigned slot, GError **error)
{
    struct kvm_slot *s = &k->slots[slot];
    struct kvm_dirty_log log = { .slot = slot, .dirty_bitmap = s->log };
    struct kvm_slot copy = *s;

    if (kvm_ioctl(k->vm_fd, KVM_GET_DIRTY_LOG, &log) < 0)
        return fail_host(error, errno, "cannot read which pages of '%s' were written", s->block->name);
    copy.log = g_memdup2(s->log, WORDS_FOR(s->size / PAGE_SIZE) * sizeof *s->log);
    g_array_append_val(k->kept, copy);
    return true;
}

static void
collect_kept(struct kvm *k, const struct block *block, uint64_t *words)
{
    for (unsigned i = k->kept->len; i-- > 0;) {
        struct kvm_slot *s = &g_array_index(k->kept, struct kvm_slot, i);

        if (s->block != block)
            continue;
        or_shifted(words, s->first_page, s->log, s->size / PAGE_SIZE);
        g_array_remove_index_fast(k->kept, i);
    }
}

static bool
log_collect(void *self, struct block *block, uint64_t *words, GError **error)
{
    struct kvm *k = self;

    for (unsigned i = 0; i < k->slot_count; i++) {
        struct kvm_slot *s = &k->slots[i];
        struct kvm_dirty_log log = { .slot = i, .dirty_bitmap = s->log };

        if (s->block != block)
            continue;
        if (kvm_ioctl(k->vm_fd, KVM_GET_DIRTY_LOG, &log) < 0)
            return fail_host(error, errno, "cannot read which pages of '%s' were written", block->name);
        or_shifted(words, s->first_page, s->log, s->size / PAGE_SIZE);
    }
    collect_kept(k, block, words);
    return true;
}

static bool
log_clear(void *self, struct block *block, uint64_t first, uint64_t count, GError **error)
{
    return true;
}

struct dirty_source
kvm_dirty_source(struct accel *a)
{
    return (struct dirty_source) {
        .start = log_start, .collect = log_collect, .clear = log_clear, .stop = log_stop, .self = a,
    };
}
