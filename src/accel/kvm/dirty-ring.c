/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The dirty log by rings: each vCPU has one, into which KVM puts the pages that it writes (api.rst, 8.29).
 *
 * Harvest.  Entries are taken in order, their pages' bits put into the logs of the slots, KVM_RESET_DIRTY_RINGS
 * protects the pages again, and only then may anybody collect the bits: a page must be protected before it is read.
 * All of it under one lock.  Harvested are the rings of all vCPUs when the hub collects and by the reaper once a
 * second, and a vCPU's own when KVM leaves the guest because it is full.
 *
 * Overflow.  KVM must stop a vCPU whose ring is nearly full, and does where each first write is an exit.  Where guest
 * code in kernel mode is emulated in batches it writes on, and entries that nobody has seen are written over.  Before
 * a VM is made, a guest of a few lines tries that without overflowing anything (dirty-trial.c).  Where it is so the
 * reaper looks each REAP_LEAKY_US and empties rings that are a quarter full; and everywhere an overflow is noticed.
 * An entry is written over only when all entries of the ring are in use, those included that were harvested and not
 * reset.  So at that moment either all hold pages, and after the harvest, before the reset, a full ring is counted,
 * which one that KVM stops in time never is.  Or some were harvested, and the reset stops at the one written over: it
 * returns less than it should.  Or it happened to the very entry that the reset was at, whose page is then forgotten:
 * the next one leaves a hole before it, which is seen as soon as there is a next one; until then the look right after
 * the reset finds the ring written up to that place.  A vCPU that wrote very much meanwhile looks the same, so in
 * this case, on a KVM where it can be, all pages are protected anew and reported as written.  From then on nothing is
 * known for certain: collecting fails, so that a migration fails with the reason and the guest goes on here; nothing
 * is lost.  Logging is refused until the machine is made anew. */
#include "kvm-private.h"

#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
    REAP_US = 1000 * 1000, REAP_LEAKY_US = 5000,
    REAP_AT_ONCE = 32768,           /* entries: about 2 ms */
    LET_IN_US = 2000,
    RING_DEFAULT = 65536,
};

/* --- one ring --------------------------------------------------------------------------------------------------- */

static struct kvm_dirty_gfn *
entry_at(const struct kvm_ring *r, uint32_t index)
{
    return &r->entries[index & (r->kvm->dirty.size - 1)];
}

static bool
is_dirty(const struct kvm_dirty_gfn *e)
{
    return __atomic_load_n(&e->flags, __ATOMIC_ACQUIRE) & KVM_DIRTY_GFN_F_DIRTY;
}

static void
take_entry(struct kvm_ring *r, const struct kvm_dirty_gfn *e)
{
    struct kvm *k = r->kvm;
    struct hub *hub = atomic_load_explicit(&k->dirty.hub, memory_order_relaxed);
    unsigned slot = e->slot & 0xffff;
    struct kvm_slot *s = slot < k->slot_count ? &k->slots[slot] : NULL;

    /* A slot that has gone meanwhile has no pages. */
    if (!s || !s->block || !s->log || e->offset >= s->size / PAGE_SIZE)
        return;
    bit_set(s->log, e->offset);
    if (hub)
        hub_wrote(hub, s->block, s->first_page + e->offset, r->cpu);
}

static void
harvest(struct kvm *k, struct kvm_ring *r) REQUIRES(k->dirty.lock)
{
    uint32_t count = 0;

    for (; count < k->dirty.size / 4 && is_dirty(entry_at(r, r->fetch)); count++, r->fetch++) {
        struct kvm_dirty_gfn *e = entry_at(r, r->fetch);

        take_entry(r, e);
        __atomic_store_n(&e->flags, KVM_DIRTY_GFN_F_RESET, __ATOMIC_RELEASE);
    }
    r->harvested = count;
    counter_add(&r->pages, count);
}

/* True if what was harvested and what came since, which stays, are all entries of the ring. */
static bool
is_overfull(const struct kvm_ring *r)
{
    for (uint32_t count = r->harvested, i = 0; count < r->kvm->dirty.size; count++, i++)
        if (!is_dirty(entry_at(r, r->fetch + i)))
            return false;
    return true;
}

/* True if an entry is missing before one that is there: KVM fills them in order. */
static bool
has_hole(const struct kvm_ring *r)
{
    return !is_dirty(entry_at(r, r->fetch)) && is_dirty(entry_at(r, r->fetch + 1))
        && !is_dirty(entry_at(r, r->fetch));
}

static void
declare_broken(struct kvm *k, struct kvm_ring *r) REQUIRES(k->dirty.lock)
{
    if (!k->dirty.broken)
        k->dirty.broken_cpu = r->cpu;
    k->dirty.broken = true;
}

static void
look_for_overflow(struct kvm *k, unsigned first, unsigned count) REQUIRES(k->dirty.lock)
{
    for (unsigned i = first; i < first + count; i++) {
        struct kvm_ring *r = &k->dirty.rings[i];

        if (r->entries && (is_overfull(r) || has_hole(r)))
            declare_broken(k, r);
    }
}

/* Protects all pages, then has all reported. */
static void
log_anew(struct kvm *k) REQUIRES(k->dirty.lock)
{
    for (unsigned i = 0; k->dirty.reaping && i < k->slot_count; i++) {
        struct kvm_slot *s = &k->slots[i];

        if (!s->block || !s->log)
            continue;
        if (!slot_set(k, i, false) || !slot_set(k, i, true))
            declare_broken(k, &k->dirty.rings[0]);
        bits_set(s->log, 0, s->size / PAGE_SIZE);
    }
}

/* Protects the pages of harvested entries again; how many, or -1.  Since Linux 6.16 KVM breaks off at a signal (a
 * kick of this vCPU, a key in the terminal): it leaves entries, and forgets to protect the pages of those that it had
 * gathered up, which may be the very last ones, so that the number says nothing.  So there must be none. */
static int
reset_rings(struct kvm *k)
{
    sigset_t all, before;
    int reset;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    reset = kvm_ioctl_number(k->vm_fd, KVM_RESET_DIRTY_RINGS, 0);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return reset;
}

/* Takes up to a quarter of each ring from 'first' on, '*count' of them, and protects its pages again.  '*ret_more' if
 * there may be more.  After many pages it leaves the rest of the rings: '*count' is how many it looked at. */
static bool
reap_some(struct kvm *k, unsigned first, unsigned *count, bool *ret_more) REQUIRES(k->dirty.lock)
{
    uint32_t total = 0;
    unsigned end = first + *count, i;
    int reset;

    *ret_more = false;
    for (i = first; i < end && total < REAP_AT_ONCE; i++) {
        struct kvm_ring *r = &k->dirty.rings[i];

        if (!r->entries)
            continue;
        harvest(k, r);
        total += r->harvested;
        *ret_more = *ret_more || r->harvested == k->dirty.size / 4;
    }
    *count = i - first;
    look_for_overflow(k, first, *count);
    if (total == 0)
        return true;
    reset = reset_rings(k);
    if (reset >= 0 && (uint32_t)reset != total)
        declare_broken(k, &k->dirty.rings[first]);
    for (i = first; k->dirty.leaky && i < first + *count; i++)
        if (k->dirty.rings[i].entries && is_overfull(&k->dirty.rings[i]))
            log_anew(k);
    return reset >= 0;
}

/* All that was there when it began, of as many rings as it looks at; nothing from broken ones. */
static bool
reap(struct kvm *k, unsigned first, unsigned *count) REQUIRES(k->dirty.lock)
{
    bool more = false, ok = k->dirty.broken || reap_some(k, first, count, &more);

    for (unsigned turn = 1; ok && !k->dirty.broken && more && turn < 5; turn++)
        ok = reap_some(k, first, count, &more);
    return ok;
}

static bool
reap_one(struct kvm *k, unsigned cpu) REQUIRES(k->dirty.lock)
{
    unsigned one = 1;

    return reap(k, cpu, &one);
}

/* A vCPU that waits for the lock cannot be stopped meanwhile: it goes first.  No entry is harvested and not reset
 * now. */
static void
let_vcpus_in(struct kvm *k) REQUIRES(k->dirty.lock)
{
    int64_t until_us = g_get_monotonic_time() + LET_IN_US;

    while (atomic_load(&k->dirty.waiting) && condition_wait_until(&k->dirty.served, &k->dirty.lock, until_us))
        ;
}

bool
rings_reap(struct kvm *k)
{
    bool ok = true;
    unsigned first = 0, count;

    for (; ok && first < k->dirty.ring_count; first += count) {
        count = k->dirty.ring_count - first;
        let_vcpus_in(k);
        ok = reap(k, first, &count);
    }
    return ok;
}

/* After an overflow KVM's place for resets and ours are no longer the same, and it may think a ring full that has
 * nothing for us.  Pages do not matter any more, but the guest must be able to run.  A full ring has more than a
 * quarter of its entries in use, so KVM may be made to pass over that many: all are offered as harvested but one in
 * each quarter, at which it stops; should it be at one of these, the next time it is not. */
static void
let_go_on(struct kvm *k, struct kvm_ring *r) REQUIRES(k->dirty.lock)
{
    uint32_t size = k->dirty.size, stop = r->fetch++ % (size / 4);

    for (uint32_t i = 0; i < size; i++)
        __atomic_store_n(&r->entries[i].flags, i % (size / 4) == stop ? 0 : KVM_DIRTY_GFN_F_RESET, __ATOMIC_RELEASE);
    reset_rings(k);
    for (uint32_t i = 0; i < size; i++)
        __atomic_store_n(&r->entries[i].flags, 0, __ATOMIC_RELEASE);
}

/* KVM says that the ring of a vCPU, whose thread calls, is full. */
static void
make_room(struct kvm *k, struct kvm_ring *r) REQUIRES(k->dirty.lock)
{
    reap_one(k, r->cpu);
    /* The reaper may have come first; but twice full and nobody found anything? */
    if (counter_read(&r->pages) == r->pages_at_full)
        declare_broken(k, r);
    r->pages_at_full = counter_read(&r->pages);
    if (k->dirty.broken)
        let_go_on(k, r);
}

void
ring_full(struct kvm_cpu *c)
{
    struct kvm *k = c->kvm;
    struct kvm_ring *r = &k->dirty.rings[c->index];
    uint64_t nap_us = counter_read(&r->nap_us);

    atomic_fetch_add(&k->dirty.waiting, 1);
    lock_take(&k->dirty.lock);
    atomic_fetch_sub(&k->dirty.waiting, 1);
    make_room(k, r);
    condition_broadcast(&k->dirty.served);
    lock_drop(&k->dirty.lock);
    counter_add(&r->fulls, 1);
    if (nap_us)
        vcpu_nap(c, nap_us);
}

uint64_t
kvm_ring_pages(struct accel *a)
{
    return ((struct kvm *)a)->dirty.size;
}

void
kvm_ring_nap(struct accel *a, unsigned cpu, uint64_t us)
{
    atomic_store(&((struct kvm *)a)->dirty.rings[cpu].nap_us, us);
}

/* --- for the hub ------------------------------------------------------------------------------------------------ */

static bool
is_whole(struct kvm *k, GError **error) REQUIRES(k->dirty.lock)
{
    if (!k->dirty.broken)
        return true;
    return fail(error, NUMON_ERROR_HOST, "cannot tell which pages were written: the dirty ring of vCPU %u overflowed "
                "(this KVM does not stop a guest's kernel for a full ring; build the machine anew with "
                "dirty-log=manual or bitmap)", k->dirty.broken_cpu);
}

/* All rings are reaped for the first block; for the others too, which costs little, as they must not be older. */
bool
rings_collect(void *self, struct block *block, uint64_t *words, GError **error)
{
    struct kvm *k = self;
    bool ok;

    lock_take(&k->dirty.lock);
    ok = rings_reap(k) || fail_host(error, errno, "cannot reset the dirty rings");
    ok = ok && is_whole(k, error);
    for (unsigned i = 0; ok && i < k->slot_count; i++) {
        struct kvm_slot *s = &k->slots[i];

        if (s->block != block)
            continue;
        dirty_or_shifted(words, s->first_page, s->log, s->size / PAGE_SIZE);
        bits_clear(s->log, 0, s->size / PAGE_SIZE);
    }
    if (ok)
        dirty_collect_kept(k, block, words);
    lock_drop(&k->dirty.lock);
    return ok;
}

bool
rings_start(struct kvm *k, GError **error)
{
    bool ok;

    lock_take(&k->dirty.lock);
    ok = is_whole(k, error);
    k->dirty.reaping = ok;
    for (unsigned i = 0; i < k->slot_count; i++)
        if (k->slots[i].log)
            bits_clear(k->slots[i].log, 0, k->slots[i].size / PAGE_SIZE);
    condition_broadcast(&k->dirty.wake);
    lock_drop(&k->dirty.lock);
    return ok;
}

/* What the rings still have is of no use to anybody. */
void
rings_stop(struct kvm *k)
{
    lock_take(&k->dirty.lock);
    k->dirty.reaping = false;
    rings_reap(k);
    lock_drop(&k->dirty.lock);
}

/* --- the reaper ------------------------------------------------------------------------------------------------- */

static void
reap_leaky(struct kvm *k) REQUIRES(k->dirty.lock)
{
    for (unsigned i = 0; i < k->dirty.ring_count; i++) {
        const struct kvm_ring *r = &k->dirty.rings[i];

        if (r->entries && is_dirty(entry_at(r, r->fetch + k->dirty.size / 4)))
            reap_one(k, i);
    }
}

static void *
reaper_thread(void *data)
{
    struct kvm *k = data;
    int64_t next_us = 0;

    lock_take(&k->dirty.lock);
    while (!k->dirty.ending) {
        if (!k->dirty.reaping) {
            condition_wait(&k->dirty.wake, &k->dirty.lock);
            continue;
        }
        if (g_get_monotonic_time() >= next_us) {
            rings_reap(k);
            next_us = g_get_monotonic_time() + REAP_US;
        } else if (k->dirty.leaky) {
            reap_leaky(k);
        }
        condition_wait_until(&k->dirty.wake, &k->dirty.lock,
                             k->dirty.leaky ? g_get_monotonic_time() + REAP_LEAKY_US : next_us);
    }
    lock_drop(&k->dirty.lock);
    return NULL;
}

/* --- making and unmaking ---------------------------------------------------------------------------------------- */

static int
ring_capability(int vm_fd, int *ret_most)
{
    static const int kinds[] = { KVM_CAP_DIRTY_LOG_RING_ACQ_REL, KVM_CAP_DIRTY_LOG_RING };

    for (unsigned i = 0; i < G_N_ELEMENTS(kinds); i++) {
        *ret_most = kvm_ioctl_number(vm_fd, KVM_CHECK_EXTENSION, (unsigned long)kinds[i]);
        if (*ret_most > 0)
            return kinds[i];
    }
    return -1;
}

bool
rings_enable(int vm_fd, uint32_t *entries, GError **error)
{
    int most, cap = ring_capability(vm_fd, &most);
    uint64_t bytes = (uint64_t)*entries * sizeof(struct kvm_dirty_gfn);
    struct kvm_enable_cap enable = { .cap = (uint32_t)cap };

    if (cap < 0)
        return fail(error, NUMON_ERROR_HOST, "cannot log writes with dirty-log=ring: this KVM lacks "
                    "KVM_CAP_DIRTY_LOG_RING (dirty-log=bitmap works everywhere)");
    if (*entries == 0)
        bytes = MIN(RING_DEFAULT * sizeof(struct kvm_dirty_gfn), (uint64_t)most);
    if (bytes > (uint64_t)most)
        return fail(error, NUMON_ERROR_LIMIT, "dirty-ring-size %u is too large: this KVM has rings of at most %u "
                    "entries", *entries, (unsigned)most / (unsigned)sizeof(struct kvm_dirty_gfn));
    enable.args[0] = bytes;
    if (kvm_ioctl(vm_fd, KVM_ENABLE_CAP, &enable) < 0)
        return fail_host(error, errno, "cannot have dirty rings of %u entries",
                         (unsigned)(bytes / sizeof(struct kvm_dirty_gfn)));
    *entries = (uint32_t)(bytes / sizeof(struct kvm_dirty_gfn));
    return true;
}

bool
rings_init(struct kvm *k, const struct accel_setup *setup, GError **error)
{
    k->dirty.size = setup->dirty_ring_size;
    if (!rings_enable(k->vm_fd, &k->dirty.size, error) || !ring_trial(k->system_fd, &k->dirty.leaky, error))
        return false;
    k->dirty.text = g_strdup_printf("ring (as asked for: %u entries a vCPU%s)", k->dirty.size,
                                    !k->dirty.leaky ? "" : "; this KVM does not stop a guest's kernel for a full "
                                    "ring: a migration fails if one overflows");
    k->dirty.ring_count = setup->cpu_slots;
    k->dirty.rings = g_new0(struct kvm_ring, k->dirty.ring_count);
    for (unsigned i = 0; i < k->dirty.ring_count; i++)
        k->dirty.rings[i] = (struct kvm_ring) { .kvm = k, .cpu = i, .pages_at_full = UINT64_MAX };
    return thread_start(&k->dirty.reaper, "dirty reaper", reaper_thread, k, error);
}

bool
ring_map(struct kvm_cpu *c, GError **error)
{
    struct kvm *k = c->kvm;
    void *ring;

    if (k->dirty.mode != DIRTY_LOG_RING)
        return true;
    ring = mmap(NULL, k->dirty.size * sizeof(struct kvm_dirty_gfn), PROT_READ | PROT_WRITE, MAP_SHARED, c->fd,
                (off_t)KVM_DIRTY_LOG_PAGE_OFFSET * PAGE_SIZE);
    if (ring == MAP_FAILED)
        return fail_host(error, errno, "cannot map the dirty ring of vCPU %u", c->index);
    lock_take(&k->dirty.lock);
    k->dirty.rings[c->index].entries = ring;
    lock_drop(&k->dirty.lock);
    return true;
}

void
rings_release(struct kvm *k)
{
    lock_take(&k->dirty.lock);
    k->dirty.ending = true;
    condition_broadcast(&k->dirty.wake);
    lock_drop(&k->dirty.lock);
    thread_join(&k->dirty.reaper);
    for (unsigned i = 0; i < k->dirty.ring_count; i++)
        if (k->dirty.rings[i].entries)
            munmap(k->dirty.rings[i].entries, k->dirty.size * sizeof(struct kvm_dirty_gfn));
    g_free(k->dirty.rings);
}
