/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Memory slots: sections that follow each other in guest memory and in their block share one. */
#include "kvm-private.h"

#include <errno.h>
#include <inttypes.h>

bool
slot_set(struct kvm *k, unsigned index, uint32_t flags)
{
    const struct kvm_slot *s = &k->slots[index];
    struct kvm_userspace_memory_region region = {
        .slot = index, .flags = flags, .guest_phys_addr = s->gpa, .memory_size = s->size,
        .userspace_addr = (uintptr_t)s->block->host + s->first_page * PAGE_SIZE,
    };

    return kvm_ioctl(k->vm_fd, KVM_SET_USER_MEMORY_REGION, &region) == 0;
}

static bool
continues(const struct kvm_slot *s, const struct section *next)
{
    return s->block == next->block && s->gpa + s->size == next->gpa &&
           s->first_page * PAGE_SIZE + s->size == next->offset;
}

static void
list_slots(struct kvm *k, const struct guest_map *map)
{
    k->slots = g_new0(struct kvm_slot, map->sections->len + BLOCKS_MAX);
    for (unsigned i = 0; i < map->sections->len; i++) {
        const struct section *s = &g_array_index(map->sections, struct section, i);

        if (k->slot_count && continues(&k->slots[k->slot_count - 1], s)) {
            k->slots[k->slot_count - 1].size += s->size;
            continue;
        }
        k->slots[k->slot_count++] = (struct kvm_slot) {
            .gpa = s->gpa, .size = s->size, .block = s->block, .first_page = s->offset / PAGE_SIZE,
        };
    }
}

bool
slots_add(struct kvm *k, const struct guest_map *map, GError **error)
{
    int most = kvm_ioctl_number(k->vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_NR_MEMSLOTS);

    list_slots(k, map);
    most = most > 0 ? most : 32;            /* what every KVM has (QEMU assumes the same) */
    k->slot_limit = (unsigned)most;
    if (k->slot_count > (unsigned)most)
        return fail(error, NUMON_ERROR_LIMIT, "cannot give the guest %u pieces of memory: KVM has %d slots here",
                    k->slot_count, most);
    for (unsigned i = 0; i < k->slot_count; i++)
        if (!slot_set(k, i, 0))
            return fail_host(error, errno, "cannot give the guest %" PRIu64 " bytes of '%s' at 0x%" PRIx64,
                             k->slots[i].size, k->slots[i].block->name, k->slots[i].gpa);
    return true;
}

/* --- memory that comes and goes ---------------------------------------------------------------------------------- */

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

    if (used < k->slot_limit)
        return true;
    return fail(error, NUMON_ERROR_LIMIT, "hypervisor has no free memory slots left: KVM gives %u here, %u are in use",
                k->slot_limit, used);
}

bool
kvm_memory_added(struct accel *a, const struct section *s, GError **error)
{
    struct kvm *k = (struct kvm *)a;
    unsigned i = 0;

    if (!kvm_memory_room(a, error))
        return false;
    while (i < k->slot_count && k->slots[i].block)
        i++;
    k->slots[i] = (struct kvm_slot) {
        .gpa = s->gpa, .size = s->size, .block = s->block, .first_page = s->offset / PAGE_SIZE,
    };
    if (k->logging)
        k->slots[i].log = g_try_new(uint64_t, WORDS_FOR(s->size / PAGE_SIZE));
    errno = ENOMEM;
    if ((!k->logging || k->slots[i].log) && slot_set(k, i, k->logging ? KVM_MEM_LOG_DIRTY_PAGES : 0)) {
        k->slot_count = MAX(k->slot_count, i + 1);
        return true;
    }
    fail_host(error, errno, "cannot give the guest %" PRIu64 " bytes of '%s' at 0x%" PRIx64, s->size, s->block->name,
              s->gpa);
    g_free(k->slots[i].log);
    k->slots[i] = (struct kvm_slot) { 0 };
    return false;
}

bool
kvm_memory_removed(struct accel *a, const struct block *b, GError **error)
{
    struct kvm *k = (struct kvm *)a;

    for (unsigned i = 0; i < k->slot_count; i++) {
        struct kvm_slot *s = &k->slots[i];
        uint64_t size = s->size;

        if (s->block != b)
            continue;
        s->size = 0;
        if (!slot_set(k, i, 0)) {
            s->size = size;
            return fail_host(error, errno, "cannot take %" PRIu64 " bytes at 0x%" PRIx64 " from the guest", size, s->gpa);
        }
        g_free(s->log);
        *s = (struct kvm_slot) { 0 };
    }
    return true;
}

void
slots_free(struct kvm *k)
{
    for (unsigned i = 0; i < k->slot_count; i++)
        g_free(k->slots[i].log);
    g_free(k->slots);
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
