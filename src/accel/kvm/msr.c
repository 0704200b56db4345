/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Model specific registers: which of them travel, and how.
 *
 * The list is KVM's own, without what cannot be set and what cannot be read.  In a stream each is a record of 12
 * bytes, be32 index and be64 value, so that a destination with another list can tell what it lacks. */
#include "kvm-private.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

enum {
    MSR_TSC               = 0x10,
    MSR_TSC_ADJUST        = 0x3b,
    MSR_TSC_DEADLINE      = 0x6e0,
    /* Those of KVM itself (Documentation/virt/kvm/x86/msr.rst): clocks, and places in memory that KVM writes. */
    MSR_KVM_WALL_CLOCK    = 0x11, MSR_KVM_SYSTEM_TIME = 0x12,
    MSR_KVM_FIRST         = 0x4b564d00, MSR_KVM_LAST = 0x4b564dff,
    MSR_HV_FIRST          = 0x40000000, MSR_HV_LAST = 0x400001ff,      /* the same of the Hyper-V interface */
    MSR_ARCH_CAPABILITIES = 0x10a,  /* the host's: some KVM refuse their own value (QEMU fails on it) */
};

static struct kvm_msrs *
msrs_new(unsigned count)
{
    struct kvm_msrs *m = g_malloc0(sizeof(*m) + count * sizeof(m->entries[0]));

    m->nmsrs = count;
    return m;
}

bool
msr_read(struct kvm_cpu *c, uint32_t index, uint64_t *ret)
{
    g_autofree struct kvm_msrs *one = msrs_new(1);

    one->entries[0].index = index;
    if (kvm_ioctl(c->fd, KVM_GET_MSRS, one) != 1)
        return false;
    *ret = one->entries[0].data;
    return true;
}

bool
msr_write(struct kvm_cpu *c, uint32_t index, uint64_t value)
{
    g_autofree struct kvm_msrs *one = msrs_new(1);

    one->entries[0].index = index;
    one->entries[0].data = value;
    return kvm_ioctl(c->fd, KVM_SET_MSRS, one) == 1;
}

static struct kvm_msr_list *
ask_list(const struct kvm *k, GError **error)
{
    struct kvm_msr_list probe = { 0 };
    struct kvm_msr_list *list;

    if (kvm_ioctl(k->system_fd, KVM_GET_MSR_INDEX_LIST, &probe) < 0 && errno != E2BIG) {
        fail_host(error, errno, "cannot learn which MSRs KVM has");
        return NULL;
    }
    if (probe.nmsrs > MSRS_MAX) {
        fail(error, NUMON_ERROR_LIMIT, "cannot migrate %u MSRs: numon carries at most %d", probe.nmsrs, MSRS_MAX);
        return NULL;
    }
    list = g_malloc0(sizeof(*list) + probe.nmsrs * sizeof(list->indices[0]));
    list->nmsrs = probe.nmsrs;
    if (kvm_ioctl(k->system_fd, KVM_GET_MSR_INDEX_LIST, list) == 0)
        return list;
    fail_host(error, errno, "cannot learn which MSRs KVM has");
    g_free(list);
    return NULL;
}

/* How many of these in a row can be read. */
static unsigned
readable(const struct kvm *k, const uint32_t *indices, unsigned count)
{
    g_autofree struct kvm_msrs *m = msrs_new(count);
    int got;

    for (unsigned i = 0; i < count; i++)
        m->entries[i].index = indices[i];
    got = kvm_ioctl(k->cpus[0].fd, KVM_GET_MSRS, m);
    return (unsigned)MAX(got, 0);
}

/* Leaves those in the list whose own value can be set, of 'count' that can be read.  The time stamp counter, whose
 * value is its own for no time, comes last; time.c looks at it. */
static unsigned
settable(const struct kvm *k, uint32_t *indices, unsigned count)
{
    g_autofree struct kvm_msrs *m = msrs_new(count + 1);
    unsigned kept = 0, left = 0;
    bool tsc = false;

    for (unsigned i = 0; i < count; i++) {
        tsc |= indices[i] == MSR_TSC;
        if (indices[i] != MSR_TSC)
            m->entries[left++].index = indices[i];
    }
    m->nmsrs = left;
    if (kvm_ioctl(k->cpus[0].fd, KVM_GET_MSRS, m) != (int)left)
        return count;
    while (left) {
        unsigned set;

        m->nmsrs = left;
        set = (unsigned)MAX(kvm_ioctl(k->cpus[0].fd, KVM_SET_MSRS, m), 0);
        for (unsigned i = 0; i < set; i++)
            indices[kept++] = m->entries[i].index;
        left -= MIN(set + 1, left);
        memmove(m->entries, m->entries + set + 1, left * sizeof m->entries[0]);
    }
    if (tsc)
        indices[kept++] = MSR_TSC;
    return kept;
}

bool
msrs_list(struct kvm *k, GError **error)
{
    g_autofree struct kvm_msr_list *list = ask_list(k, error);
    unsigned good = 0;              /* the list is readable from 'i' up to here */
    bool deadline = false;

    if (!list)
        return false;
    k->msr_indices = g_new(uint32_t, list->nmsrs + mce_msrs(k, NULL) + 1);
    for (unsigned i = 0; i < list->nmsrs; i++) {
        uint32_t index = list->indices[i];

        if (i >= good)
            good = i + readable(k, list->indices + i, list->nmsrs - i);
        if (index == MSR_ARCH_CAPABILITIES || i >= good)
            continue;
        if (index == MSR_TSC_DEADLINE)
            deadline = true;
        else
            k->msr_indices[k->msr_count++] = index;
    }
    k->msr_count += mce_msrs(k, k->msr_indices + k->msr_count);
    k->msr_count = settable(k, k->msr_indices, k->msr_count);
    if (deadline)                   /* it counts on the TSC, so that must be there first */
        k->msr_indices[k->msr_count++] = MSR_TSC_DEADLINE;
    return true;
}

static uint8_t *
find_record(const struct cpu_state *s, uint32_t index)
{
    for (uint32_t at = 0; at + MSR_RECORD_SIZE <= s->msrs_size; at += MSR_RECORD_SIZE) {
        uint32_t found;

        memcpy(&found, s->msrs + at, 4);
        if (GUINT32_FROM_BE(found) == index)
            return s->msrs + at + 4;
    }
    return NULL;
}

bool
msr_record_get(const struct cpu_state *s, uint32_t index, uint64_t *ret)
{
    const uint8_t *record = find_record(s, index);

    if (!record)
        return false;
    memcpy(ret, record, 8);
    *ret = GUINT64_FROM_BE(*ret);
    return true;
}

void
msr_record_set(struct cpu_state *s, uint32_t index, uint64_t value)
{
    uint8_t *record = find_record(s, index);

    value = GUINT64_TO_BE(value);
    if (record)
        memcpy(record, &value, 8);
}

bool
msrs_get(struct kvm_cpu *c, struct cpu_state *s, GError **error)
{
    const struct kvm *k = c->kvm;
    g_autofree struct kvm_msrs *m = msrs_new(k->msr_count);
    int got;

    for (unsigned i = 0; i < k->msr_count; i++)
        m->entries[i].index = k->msr_indices[i];
    got = kvm_ioctl(c->fd, KVM_GET_MSRS, m);
    if (got < 0)
        return fail_host(error, errno, "cannot read the MSRs of vCPU %u", c->index);
    if ((unsigned)got < k->msr_count)
        return fail(error, NUMON_ERROR_HOST, "cannot read MSR 0x%x of vCPU %u", k->msr_indices[got], c->index);
    g_free(s->msrs);
    s->msrs_size = k->msr_count * MSR_RECORD_SIZE;
    s->msrs = g_malloc(s->msrs_size);
    for (unsigned i = 0; i < k->msr_count; i++) {
        uint32_t index = GUINT32_TO_BE(m->entries[i].index);
        uint64_t value = GUINT64_TO_BE(m->entries[i].data);

        memcpy(s->msrs + i * MSR_RECORD_SIZE, &index, 4);
        memcpy(s->msrs + i * MSR_RECORD_SIZE + 4, &value, 8);
    }
    return true;
}

/* One that refuses is no loss if it has the value already. */
static bool
tolerable(struct kvm_cpu *c, const struct kvm_msr_entry *refused, GError **error)
{
    uint64_t value;

    if (!msr_read(c, refused->index, &value))
        return refused->data == 0 ||
               fail(error, NUMON_ERROR_HOST, "cannot set MSR 0x%x of vCPU %u to 0x%" PRIx64 ": KVM has none here",
                    refused->index, c->index, (uint64_t)refused->data);
    if (value == refused->data)
        return true;
    return fail(error, NUMON_ERROR_HOST, "cannot set MSR 0x%x of vCPU %u to 0x%" PRIx64 ": it stays 0x%" PRIx64,
                refused->index, c->index, (uint64_t)refused->data, value);
}

/* They go on by themselves while a CPU is looked at, or do something when they are set. */
static bool
is_of_time(uint32_t index)
{
    return index == MSR_TSC || index == MSR_TSC_ADJUST || index == MSR_TSC_DEADLINE || index == MSR_KVM_WALL_CLOCK ||
           index == MSR_KVM_SYSTEM_TIME ||
           (index >= MSR_HV_FIRST && index <= MSR_HV_LAST) || (index >= MSR_KVM_FIRST && index <= MSR_KVM_LAST);
}

static unsigned
read_records(const struct cpu_state *s, enum put_level level, struct kvm_msrs *m)
{
    unsigned count = 0;

    for (uint32_t at = 0; at + MSR_RECORD_SIZE <= s->msrs_size; at += MSR_RECORD_SIZE) {
        struct kvm_msr_entry *e = &m->entries[count];

        memcpy(&e->index, s->msrs + at, 4);
        memcpy(&e->data, s->msrs + at + 4, 8);
        e->index = GUINT32_FROM_BE(e->index);
        e->data = GUINT64_FROM_BE(e->data);
        if (level > PUT_RUNTIME || !is_of_time(e->index))
            count++;
    }
    return count;
}

bool
msrs_put(struct kvm_cpu *c, const struct cpu_state *s, enum put_level level, GError **error)
{
    unsigned done = 0, count;
    g_autofree struct kvm_msrs *m = msrs_new(s->msrs_size / MSR_RECORD_SIZE + 1);

    count = read_records(s, level, m);
    while (done < count) {
        int set;

        m->nmsrs = count - done;
        set = kvm_ioctl(c->fd, KVM_SET_MSRS, m);
        if (set < 0)
            return fail_host(error, errno, "cannot set the MSRs of vCPU %u", c->index);
        done += (unsigned)set;
        if (done < count && !tolerable(c, &m->entries[set], error))
            return false;
        done += done < count;
        memmove(m->entries, m->entries + MIN((unsigned)set + 1, m->nmsrs), (count - done) * sizeof(m->entries[0]));
    }
    return true;
}
