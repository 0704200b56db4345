/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The dirty log as a dirty_source, in one of three ways that KVM has.
 *
 * bitmap: KVM_GET_DIRTY_LOG write-protects each page as it reports it, so that collecting also clears.
 * manual: KVM_GET_DIRTY_LOG only reports; KVM_CLEAR_DIRTY_LOG protects the pages it is given and forgets that they
 * were written.  The hub calls it just before pages are read, for no page that somebody has not collected (hub.c).
 * Most kernels begin with all pages reported and none protected.
 * ring: KVM puts each page that a vCPU writes into the vCPU's ring (dirty-ring.c).
 *
 * A slot begins at any page of its block, so its bitmap is shifted into the block's, and back to clear.  Writes of
 * this process are not logged: they are marked in the hub by whoever writes.  What KVM itself writes for a vCPU (its
 * clock page, accessed and dirty flags of page tables) is logged as the vCPU's.  The hub's lock keeps these functions
 * apart. */
#include "kvm-private.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

/* What a newer kernel's header defines. */
#ifndef KVM_DIRTY_LOG_INITIALLY_SET
# define KVM_DIRTY_LOG_INITIALLY_SET (1 << 1)
#endif

static void
log_stop(void *self)
{
    struct kvm *k = self;

    k->logging = false;
    g_array_set_size(k->kept, 0);
    for (unsigned i = 0; i < k->slot_count; i++)
        if (k->slots[i].block)
            slot_set(k, i, false);  /* a slot that goes on logging costs time and harms nothing */
    if (k->dirty.mode == DIRTY_LOG_RING)
        rings_stop(k);
}

/* Room for what each slot will have; vCPUs that still empty their rings, and the reaper, look there. */
static bool
prepare_logs(struct kvm *k, GError **error)
{
    const struct kvm_slot *lacking = NULL;

    lock_take(&k->dirty.lock);
    for (unsigned i = 0; i < k->slot_count && !lacking; i++) {
        struct kvm_slot *s = &k->slots[i];

        if (s->block && !s->log)
            s->log = g_try_new0(uint64_t, WORDS_FOR(s->size / PAGE_SIZE));
        if (s->block && !s->log)
            lacking = s;
    }
    lock_drop(&k->dirty.lock);
    return !lacking || fail_host(error, ENOMEM, "cannot log writes to '%s' at 0x%" PRIx64, lacking->block->name,
                                 lacking->gpa);
}

static bool
log_start(void *self, GError **error)
{
    struct kvm *k = self;

    if (!prepare_logs(k, error) || (k->dirty.mode == DIRTY_LOG_RING && !rings_start(k, error)))
        return false;
    for (unsigned i = 0; i < k->slot_count; i++) {
        struct kvm_slot *s = &k->slots[i];

        if (s->block && !slot_set(k, i, true)) {
            int host_errno = errno;

            log_stop(k);
            return fail_host(error, host_errno, "cannot log writes to '%s' at 0x%" PRIx64, s->block->name, s->gpa);
        }
    }
    k->logging = true;
    return true;
}

void
dirty_or_shifted(uint64_t *to, uint64_t first, const uint64_t *from, uint64_t pages)
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

/* --- slots that go ---------------------------------------------------------------------------------------------- */

void
dirty_slots_change(struct kvm *k)
{
    lock_take(&k->dirty.lock);
    if (k->dirty.mode == DIRTY_LOG_RING)
        rings_reap(k);
}

void
dirty_slots_changed(struct kvm *k)
{
    lock_drop(&k->dirty.lock);
}

bool
log_keep(struct kvm *k, unsigned slot, GError **error)
{
    struct kvm_slot *s = &k->slots[slot];
    struct kvm_dirty_log log = { .slot = slot, .dirty_bitmap = s->log };
    struct kvm_slot copy = *s;

    if (k->dirty.mode != DIRTY_LOG_RING && kvm_ioctl(k->vm_fd, KVM_GET_DIRTY_LOG, &log) < 0)
        return fail_host(error, errno, "cannot read which pages of '%s' were written", s->block->name);
    copy.log = g_memdup2(s->log, WORDS_FOR(s->size / PAGE_SIZE) * sizeof *s->log);
    g_array_append_val(k->kept, copy);
    return true;
}

void
dirty_collect_kept(struct kvm *k, const struct block *block, uint64_t *words)
{
    for (unsigned i = k->kept->len; i-- > 0;) {
        struct kvm_slot *s = &g_array_index(k->kept, struct kvm_slot, i);

        if (s->block != block)
            continue;
        dirty_or_shifted(words, s->first_page, s->log, s->size / PAGE_SIZE);
        g_array_remove_index_fast(k->kept, i);
    }
}

/* --- collecting ------------------------------------------------------------------------------------------------- */

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
        dirty_or_shifted(words, s->first_page, s->log, s->size / PAGE_SIZE);
    }
    dirty_collect_kept(k, block, words);
    return true;
}

/* --- clearing by hand ------------------------------------------------------------------------------------------- */

/* The word of 'from' (bit 0: page 'first'; 'count' bits) that begins at page 'at'. */
static uint64_t
word_at(const uint64_t *from, uint64_t first, uint64_t count, int64_t at)
{
    uint64_t word = 0;
    int64_t bit = at - (int64_t)first;

    for (int64_t i = MAX(bit, 0) / 64; i < (int64_t)WORDS_FOR(count) && i * 64 < bit + 64; i++) {
        int64_t shift = i * 64 - bit;

        word |= shift >= 0 ? from[i] << shift : from[i] >> -shift;
    }
    return word;
}

/* The pages of one slot; KVM takes them from a multiple of 64, counted in the slot, to another or the slot's end. */
static bool
clear_slot(struct kvm *k, unsigned index, uint64_t first, uint64_t count, const uint64_t *words)
{
    struct kvm_slot *s = &k->slots[index];
    uint64_t pages = s->size / PAGE_SIZE, begin = MAX(first, s->first_page);
    uint64_t end = MIN(first + count, s->first_page + pages);
    struct kvm_clear_dirty_log clear = { .slot = index, .dirty_bitmap = s->log };

    if (begin >= end)
        return true;
    clear.first_page = (begin - s->first_page) / 64 * 64;
    clear.num_pages = (uint32_t)(MIN((end - s->first_page + 63) / 64 * 64, pages) - clear.first_page);
    for (uint64_t i = 0; i < WORDS_FOR(clear.num_pages); i++)
        s->log[i] = word_at(words, first, count, (int64_t)(s->first_page + clear.first_page + i * 64));
    return kvm_ioctl(k->vm_fd, KVM_CLEAR_DIRTY_LOG, &clear) == 0;
}

/* A slot of 2^32 pages, 16 TiB, or more would need several calls; blocks are cleared in smaller pieces. */
enum { CLEAR_MOST = 1 << 28 };

static bool
log_clear(void *self, struct block *block, uint64_t first, uint64_t count, const uint64_t *words, GError **error)
{
    struct kvm *k = self;

    for (uint64_t done = 0; done < count; done += CLEAR_MOST) {
        for (unsigned i = 0; i < k->slot_count; i++) {
            if (k->slots[i].block == block
                && !clear_slot(k, i, first + done, MIN(count - done, CLEAR_MOST), words + done / 64))
                return fail_host(error, errno, "cannot protect written pages of '%s' again", block->name);
        }
    }
    return true;
}

/* --- choosing --------------------------------------------------------------------------------------------------- */

/* The way asked for, or one that works; the text says which and why. */
bool
dirty_init(struct kvm *k, const struct accel_setup *setup, GError **error)
{
    int offered = kvm_ioctl_number(k->vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2);
    struct kvm_enable_cap enable = { .cap = KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2 };
    bool named = setup->dirty_log != DIRTY_LOG_AUTO;

    lock_init(&k->dirty.lock, 22, "dirty rings");
    condition_init(&k->dirty.wake);
    condition_init(&k->dirty.served);
    k->dirty.ready = true;
    k->dirty.mode = named ? setup->dirty_log : DIRTY_LOG_MANUAL;
    if (k->dirty.mode == DIRTY_LOG_RING)
        return rings_init(k, setup, error);
    offered = MAX(offered, 0) & (KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE | KVM_DIRTY_LOG_INITIALLY_SET);
    enable.args[0] = (uint64_t)offered;
    if (k->dirty.mode == DIRTY_LOG_MANUAL && offered && kvm_ioctl(k->vm_fd, KVM_ENABLE_CAP, &enable) == 0) {
        k->dirty.starts_full = offered & KVM_DIRTY_LOG_INITIALLY_SET;
        k->dirty.text = g_strdup_printf("manual (%s: pages are protected again just before they are read)",
                                        named ? "as asked for" : "the default");
        return true;
    }
    if (named && k->dirty.mode == DIRTY_LOG_MANUAL)
        return fail(error, NUMON_ERROR_HOST, "cannot log writes with dirty-log=manual: this KVM lacks "
                    "KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2 (dirty-log=bitmap works everywhere)");
    k->dirty.mode = DIRTY_LOG_BITMAP;
    k->dirty.text = g_strdup_printf("bitmap (%s)", named ? "as asked for"
                                    : "this KVM lacks KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, which the default needs");
    return true;
}

void
dirty_release(struct kvm *k)
{
    if (!k->dirty.ready)
        return;
    rings_release(k);
    condition_release(&k->dirty.wake);
    condition_release(&k->dirty.served);
    lock_release(&k->dirty.lock);
    g_free(k->dirty.text);
}

char *
dirty_warning(const struct kvm *k)
{
    if (!k->dirty.leaky)
        return NULL;
    return g_strdup("this KVM does not stop a guest's kernel for a full dirty ring: what logs writes, as a migration "
                    "does, fails if one overflows (dirty-log=manual cannot)");
}

const char *
kvm_dirty_log(struct accel *a)
{
    return ((struct kvm *)a)->dirty.text;
}

void
kvm_set_hub(struct accel *a, struct hub *hub)
{
    atomic_store(&((struct kvm *)a)->dirty.hub, hub);
}

struct dirty_source
kvm_dirty_source(struct accel *a)
{
    struct kvm *k = (struct kvm *)a;
    struct dirty_source source = { .start = log_start, .collect = log_collect, .stop = log_stop, .self = a };

    if (k->dirty.mode == DIRTY_LOG_MANUAL) {
        source.clear = log_clear;
        source.starts_full = k->dirty.starts_full;
    } else if (k->dirty.mode == DIRTY_LOG_RING) {
        source.collect = rings_collect;
        source.tells_cpus = true;
    }
    return source;
}
