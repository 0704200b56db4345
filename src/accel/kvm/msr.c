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
    MSRS_AT_ONCE          = 255,    /* KVM does fewer than 256 in one call (MAX_IO_MSRS) */
    MSR_ARCH_CAPABILITIES = 0x10a,  /* the host's: some KVM refuse their own value (QEMU fails on it) */
};

static struct kvm_msrs *
msrs_new(unsigned count)
{
    struct kvm_msrs *m = g_malloc0(sizeof(*m) + count * sizeof(m->entries[0]));

    m->nmsrs = count;
    return m;
}

/* KVM_GET_MSRS or KVM_SET_MSRS of any number.  How many of them KVM did, in a row from the first; -1 sets errno. */
static int
transfer(struct kvm_cpu *c, unsigned long request, struct kvm_msr_entry *entries, unsigned count)
{
    g_autofree struct kvm_msrs *m = msrs_new(MIN(count, MSRS_AT_ONCE));
    unsigned done = 0;

    while (done < count) {
        int got;

        m->nmsrs = MIN(count - done, MSRS_AT_ONCE);
        memcpy(m->entries, entries + done, m->nmsrs * sizeof *entries);
        got = kvm_ioctl(c->fd, request, m);
        if (got < 0)
            return -1;
        memcpy(entries + done, m->entries, (unsigned)got * sizeof *entries);
        done += (unsigned)got;
        if ((unsigned)got < m->nmsrs)
            break;
    }
    return (int)done;
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
    unsigned count;

    if (kvm_ioctl(k->system_fd, KVM_GET_MSR_INDEX_LIST, &probe) < 0 && errno != E2BIG) {
        fail_host(error, errno, "cannot learn which MSRs KVM has");
        return NULL;
    }
    count = probe.nmsrs + mce_msrs(k, NULL);
    if (probe.nmsrs > MSRS_MAX || count > MSRS_MAX) {
        fail(error, NUMON_ERROR_LIMIT, "cannot migrate %u MSRs: numon carries at most %d", count, MSRS_MAX);
        return NULL;
    }
    list = g_malloc0(sizeof(*list) + count * sizeof(list->indices[0]));
    list->nmsrs = probe.nmsrs;
    if (kvm_ioctl(k->system_fd, KVM_GET_MSR_INDEX_LIST, list) < 0) {
        fail_host(error, errno, "cannot learn which MSRs KVM has");
        g_free(list);
        return NULL;
    }
    list->nmsrs += mce_msrs(k, list->indices + list->nmsrs);
    return list;
}

/* Leaves those with which KVM does what is asked. */
static bool
keep_those_done(const struct kvm *k, unsigned long request, struct kvm_msr_entry *entries, unsigned *count,
                GError **error)
{
    unsigned kept = 0;

    for (unsigned at = 0; at < *count; at++) {
        int done = transfer(&k->cpus[0], request, entries + at, *count - at);

        if (done < 0)
            return fail_host(error, errno, "cannot %s MSRs of vCPU 0", request == KVM_GET_MSRS ? "read" : "set");
        memmove(entries + kept, entries + at, (unsigned)done * sizeof *entries);
        kept += (unsigned)done;
        at += (unsigned)done;       /* where it stopped */
    }
    *count = kept;
    return true;
}

/* True if it was there. */
static bool
take_out(struct kvm_msr_entry *entries, unsigned *count, uint32_t index)
{
    unsigned kept = 0, before = *count;

    for (unsigned i = 0; i < before; i++)
        if (entries[i].index != index)
            entries[kept++] = entries[i];
    *count = kept;
    return kept < before;
}

/* Those that can be read, and whose own value can be set.  The time stamp counter, whose value is its own for no
 * time, and the deadline, which counts on it, come last. */
bool
msrs_list(struct kvm *k, GError **error)
{
    g_autofree struct kvm_msr_list *list = ask_list(k, error);
    g_autofree struct kvm_msr_entry *entries = NULL;
    unsigned count;
    bool tsc, deadline;

    if (!list)
        return false;
    count = list->nmsrs;
    entries = g_new0(struct kvm_msr_entry, count);
    for (unsigned i = 0; i < count; i++)
        entries[i].index = list->indices[i];
    take_out(entries, &count, MSR_ARCH_CAPABILITIES);
    if (!keep_those_done(k, KVM_GET_MSRS, entries, &count, error))
        return false;
    tsc = take_out(entries, &count, MSR_TSC);
    deadline = take_out(entries, &count, MSR_TSC_DEADLINE);
    if (!keep_those_done(k, KVM_SET_MSRS, entries, &count, error))
        return false;
    k->msr_indices = g_new(uint32_t, count + 2);
    for (unsigned i = 0; i < count; i++)
        k->msr_indices[k->msr_count++] = entries[i].index;
    if (tsc)
        k->msr_indices[k->msr_count++] = MSR_TSC;
    if (deadline)
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
    g_autofree struct kvm_msr_entry *entries = g_new0(struct kvm_msr_entry, k->msr_count);
    int got;

    for (unsigned i = 0; i < k->msr_count; i++)
        entries[i].index = k->msr_indices[i];
    got = transfer(c, KVM_GET_MSRS, entries, k->msr_count);
    if (got < 0)
        return fail_host(error, errno, "cannot read the MSRs of vCPU %u", c->index);
    if ((unsigned)got < k->msr_count)
        return fail(error, NUMON_ERROR_HOST, "cannot read MSR 0x%x of vCPU %u", k->msr_indices[got], c->index);
    g_free(s->msrs);
    s->msrs_size = k->msr_count * MSR_RECORD_SIZE;
    s->msrs = g_malloc(s->msrs_size);
    for (unsigned i = 0; i < k->msr_count; i++) {
        uint32_t index = GUINT32_TO_BE(entries[i].index);
        uint64_t value = GUINT64_TO_BE(entries[i].data);

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
read_records(const struct cpu_state *s, enum put_level level, struct kvm_msr_entry *entries)
{
    unsigned count = 0;

    for (uint32_t at = 0; at + MSR_RECORD_SIZE <= s->msrs_size; at += MSR_RECORD_SIZE) {
        struct kvm_msr_entry *e = &entries[count];

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
    g_autofree struct kvm_msr_entry *entries = g_new0(struct kvm_msr_entry, s->msrs_size / MSR_RECORD_SIZE + 1);
    unsigned count = read_records(s, level, entries);

    for (unsigned at = 0; at < count; at++) {
        int done = transfer(c, KVM_SET_MSRS, entries + at, count - at);

        if (done < 0)
            return fail_host(error, errno, "cannot set the MSRs of vCPU %u", c->index);
        at += (unsigned)done;
        if (at < count && !tolerable(c, &entries[at], error))
            return false;
    }
    return true;
}
