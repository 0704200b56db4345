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
    k->slots = g_new0(struct kvm_slot, map->sections->len);
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
    if (k->slot_count > (unsigned)most)
        return fail(error, NUMON_ERROR_LIMIT, "cannot give the guest %u pieces of memory: KVM has %d slots here",
                    k->slot_count, most);
    for (unsigned i = 0; i < k->slot_count; i++)
        if (!slot_set(k, i, 0))
            return fail_host(error, errno, "cannot give the guest %" PRIu64 " bytes of '%s' at 0x%" PRIx64,
                             k->slots[i].size, k->slots[i].block->name, k->slots[i].gpa);
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
