/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Memory slots: what KVM is told of guest memory.  plan.c says which must go and come when the map changes; here that
 * is done, all of it or nothing: every slot that goes before any that comes, as KVM has no two slots overlap. */
#include "kvm-private.h"

#include <errno.h>
#include <inttypes.h>

enum { SLOTS_EVERYWHERE = 32 };     /* what a KVM has that does not tell (QEMU assumes the same) */
/* KVM takes a little less than 2^31 pages (KVM_MEM_MAX_NR_PAGES); half of it keeps pieces aligned. */
#define SLOT_SIZE_MOST ((UINT64_C(1) << 30) * PAGE_SIZE)

bool
slot_set(struct kvm *k, unsigned index, bool logging)
{
    const struct kvm_slot *s = &k->slots[index];
    struct kvm_userspace_memory_region region = {
        .slot = index, .guest_phys_addr = s->gpa, .memory_size = s->size,
        .flags = (logging ? KVM_MEM_LOG_DIRTY_PAGES : 0) | (s->readonly ? KVM_MEM_READONLY : 0),
        .userspace_addr = (uintptr_t)s->block->host + s->first_page * PAGE_SIZE,
    };

    return kvm_ioctl(k->vm_fd, KVM_SET_USER_MEMORY_REGION, &region) == 0;
}

unsigned
slots_used(const struct kvm *k)
{
    unsigned used = 0;

    for (unsigned i = 0; i < k->slot_count; i++)
        used += k->slots[i].block != NULL;
    return used;
}

bool
kvm_memory_room(struct accel *a, GError **error)
{
    struct kvm *k = (struct kvm *)a;
    unsigned used = slots_used(k);

    if (used < k->slot_rules.limit)
        return true;
    return fail(error, NUMON_ERROR_LIMIT, "hypervisor has no free memory slots left: KVM gives %u here, %u are in "
                "use",
                k->slot_rules.limit, used);
}

/* --- a change of the map ---------------------------------------------------------------------------------------- */

/* Slots of the plan that have gone and come so far, to be taken back if the host refuses the next. */
struct change {
    struct kvm *kvm;
    const struct slot_plan *plan;
    struct kvm_slot *before;        /* owned: all slots as they were */
    unsigned gone, come;            /* entries of 'before' looked at, of plan->gains done */
    unsigned *places;               /* owned: by gain, its slot */
};

static bool
goes(const struct change *c, unsigned i)
{
    return c->before[i].block && !c->plan->stands[i];
}

/* KVM forgets the slot; what numon knows of it stays in 'before'. */
static bool
take_slot(struct kvm *k, unsigned i, GError **error)
{
    uint64_t gpa = k->slots[i].gpa, size = k->slots[i].size;

    k->slots[i].size = 0;
    if (slot_set(k, i, false)) {
        trace_line(k->trace, TRACE_MAP, "slot %u gone: 0x%" PRIx64 " to 0x%" PRIx64, i, gpa, gpa + size - 1);
        k->slots[i] = (struct kvm_slot) { 0 };
        return true;
    }
    k->slots[i].size = size;
    return fail_host(error, errno, "cannot take %" PRIu64 " bytes at 0x%" PRIx64 " from the guest", size, gpa);
}

static bool
take_all(struct change *c, GError **error)
{
    for (; c->gone < c->plan->count; c->gone++)
        if (goes(c, c->gone) && !take_slot(c->kvm, c->gone, error))
            return false;
    return true;
}

static bool
give_slot(struct kvm *k, unsigned i, const struct kvm_slot *s, GError **error)
{
    k->slots[i] = *s;
    errno = ENOMEM;
    if (k->logging)
        k->slots[i].log = g_try_new0(uint64_t, WORDS_FOR(s->size / PAGE_SIZE));
    if ((!k->logging || k->slots[i].log) && slot_set(k, i, k->logging)) {
        trace_line(k->trace, TRACE_MAP, "slot %u: 0x%" PRIx64 " to 0x%" PRIx64 " from block '%s', offset "
                   "0x%" PRIx64 "%s",
                   i, s->gpa, s->gpa + s->size - 1, s->block->name, s->first_page * PAGE_SIZE,
                   s->readonly ? ", read-only" : "");
        return true;
    }
    fail_host(error, errno, "cannot give the guest %" PRIu64 " bytes of '%s' at 0x%" PRIx64, s->size, s->block->name,
              s->gpa);
    g_free(k->slots[i].log);
    k->slots[i] = (struct kvm_slot) { 0 };
    return false;
}

static bool
give_all(struct change *c, GError **error)
{
    unsigned at = 0;

    for (; c->come < c->plan->gains->len; c->come++) {
        while (c->kvm->slots[at].block)
            at++;
        if (!give_slot(c->kvm, at, &g_array_index(c->plan->gains, struct kvm_slot, c->come), error))
            return false;
        c->places[c->come] = at;
    }
    return true;
}

/* What cannot be taken back leaves the guest without memory that it had: the error says so. */
static void
take_back(struct change *c, GError **error)
{
    struct kvm *k = c->kvm;
    bool whole = true;

    while (c->come-- > 0) {
        g_clear_pointer(&k->slots[c->places[c->come]].log, g_free);
        whole = take_slot(k, c->places[c->come], NULL) && whole;
    }
    for (unsigned i = 0; i < c->gone; i++) {
        if (!goes(c, i))
            continue;
        k->slots[i] = c->before[i];
        whole = slot_set(k, i, k->logging) && whole;
    }
    if (!whole)
        g_prefix_error(error, "the guest has lost memory, reset it: ");
}

/* Before anything is taken, as KVM forgets the log with the slot. */
static bool
keep_logs(struct kvm *k, const struct change *c, GError **error) REQUIRES(k->dirty.lock)
{
    for (unsigned i = 0; k->logging && i < c->plan->count; i++)
        if (goes(c, i) && !log_keep(k, i, error))
            return false;
    return true;
}

static void
forget_gone(const struct change *c)
{
    for (unsigned i = 0; i < c->plan->count; i++)
        if (goes(c, i))
            g_free(c->before[i].log);
}

static void
make_room(struct kvm *k, unsigned count)
{
    k->slots = g_renew(struct kvm_slot, k->slots, count);
    for (unsigned i = k->slot_count; i < count; i++)
        k->slots[i] = (struct kvm_slot) { 0 };
    k->slot_count = count;
}

static bool
carry_out(struct kvm *k, const struct slot_plan *plan, GError **error) REQUIRES(k->dirty.lock)
{
    struct change c = {
        .kvm = k, .plan = plan, .before = g_memdup2(k->slots, plan->count * sizeof *k->slots),
        .places = g_new(unsigned, plan->gains->len + 1),
    };
    bool ok;

    make_room(k, plan->count + plan->gains->len);
    ok = keep_logs(k, &c, error);
    if (ok) {
        ok = take_all(&c, error) && give_all(&c, error);
        if (ok)
            forget_gone(&c);
        else
            take_back(&c, error);
    }
    while (k->slot_count && !k->slots[k->slot_count - 1].block)
        k->slot_count--;
    g_free(c.before);
    g_free(c.places);
    return ok;
}

/* Logs kept of blocks that the guest has no more. */
static void
forget_kept(struct kvm *k, const GArray *view)
{
    for (unsigned i = k->kept->len; i-- > 0;) {
        const struct kvm_slot *s = &g_array_index(k->kept, struct kvm_slot, i);
        bool there = false;

        for (unsigned v = 0; v < view->len && !there; v++)
            there = g_array_index(view, struct section, v).block == s->block;
        if (!there)
            g_array_remove_index_fast(k->kept, i);
    }
}

bool
kvm_memory_changed(struct accel *a, const GArray *view, GError **error)
{
    struct kvm *k = (struct kvm *)a;
    struct slot_plan plan;
    bool ok;

    if (!slot_plan_make(&plan, k->slots, k->slot_count, view, &k->slot_rules, error))
        return false;
    dirty_slots_change(k);
    ok = carry_out(k, &plan, error);
    dirty_slots_changed(k);
    slot_plan_release(&plan);
    if (ok)
        forget_kept(k, view);
    return ok;
}

static void
kept_release(void *slot)
{
    g_free(((struct kvm_slot *)slot)->log);
}

bool
slots_init(struct kvm *k, const struct guest_map *map, GError **error)
{
    g_autoptr(GArray) view = guest_map_view(map, NULL);
    int most = kvm_ioctl_number(k->vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_NR_MEMSLOTS);

    k->kept = g_array_new(FALSE, FALSE, sizeof(struct kvm_slot));
    g_array_set_clear_func(k->kept, kept_release);
    k->slot_rules = (struct slot_rules) {
        .most_size = SLOT_SIZE_MOST, .limit = most > 0 ? (unsigned)most : SLOTS_EVERYWHERE,
        .readonly = kvm_ioctl_number(k->vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_READONLY_MEM) > 0,
    };
    return kvm_memory_changed((struct accel *)k, view, error);
}

void
slots_free(struct kvm *k)
{
    for (unsigned i = 0; i < k->slot_count; i++)
        g_free(k->slots[i].log);
    g_free(k->slots);
    g_clear_pointer(&k->kept, g_array_unref);
}

static GVariant *
slot_tree(const struct kvm *k, unsigned i)
{
    const struct kvm_slot *s = &k->slots[i];
    GVariantBuilder dict;

    g_variant_builder_init(&dict, G_VARIANT_TYPE_VARDICT);
    g_variant_builder_add(&dict, "{sv}", "slot", g_variant_new_uint32(i));
    g_variant_builder_add(&dict, "{sv}", "gpa", g_variant_new_uint64(s->gpa));
    g_variant_builder_add(&dict, "{sv}", "size", g_variant_new_uint64(s->size));
    g_variant_builder_add(&dict, "{sv}", "block", g_variant_new_string(s->block->name));
    g_variant_builder_add(&dict, "{sv}", "offset", g_variant_new_uint64(s->first_page * PAGE_SIZE));
    g_variant_builder_add(&dict, "{sv}", "host",
                          g_variant_new_uint64((uintptr_t)s->block->host + s->first_page * PAGE_SIZE));
    g_variant_builder_add(&dict, "{sv}", "readonly", g_variant_new_boolean(s->readonly));
    g_variant_builder_add(&dict, "{sv}", "logging", g_variant_new_boolean(k->logging));
    return g_variant_builder_end(&dict);
}

GVariant *
slots_tree(const struct kvm *k)
{
    GVariantBuilder list;

    g_variant_builder_init(&list, G_VARIANT_TYPE("aa{sv}"));
    for (unsigned i = 0; i < k->slot_count; i++)
        if (k->slots[i].block)
            g_variant_builder_add_value(&list, slot_tree(k, i));
    return g_variant_builder_end(&list);
}

int
kvm_slot_of(struct accel *a, uint64_t gpa)
{
    const struct kvm *k = (struct kvm *)a;

    for (unsigned i = 0; i < k->slot_count; i++) {
        if (gpa >= k->slots[i].gpa && gpa - k->slots[i].gpa < k->slots[i].size)
            return (int)i;
    }
    return -1;
}
