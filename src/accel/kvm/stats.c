/* SPDX-License-Identifier: GPL-3.0-or-later */
/* KVM's own statistics of the VM and of a vCPU, which describe themselves: a header, a descriptor each, the data
 * (Documentation/virt/kvm/api.rst, 4.133 KVM_GET_STATS_FD).  The file comes from the kernel and is read with care all
 * the same: what does not fit it is left out. */
#include "kvm-private.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

enum {
    STATS_MAX  = 4096,              /* descriptors; KVM has some dozens */
    NAME_MOST  = 256,
    VALUES_MOST = 4096,             /* of one: buckets of a histogram */
};

static bool
read_all(int fd, void *to, size_t size, off_t offset)
{
    return pread(fd, to, size, offset) == (ssize_t)size;
}

static const char *
unit_of(const struct kvm_stats_desc *d)
{
    switch (d->flags & KVM_STATS_UNIT_MASK) {
    case KVM_STATS_UNIT_BYTES:
        return "bytes";
    case KVM_STATS_UNIT_SECONDS:
        return "seconds";
    case KVM_STATS_UNIT_CYCLES:
        return "cycles";
    case KVM_STATS_UNIT_BOOLEAN:
        return "boolean";
    }
    return "";
}

static const char *
kind_of(const struct kvm_stats_desc *d)
{
    static const char *const kinds[] = { "cumulative", "instant", "peak", "linear-histogram", "log2-histogram" };
    unsigned kind = (d->flags & KVM_STATS_TYPE_MASK) >> KVM_STATS_TYPE_SHIFT;

    return kind < G_N_ELEMENTS(kinds) ? kinds[kind] : "unknown";
}

static void
add_one(GVariantBuilder *list, const struct kvm_stats_desc *d, const char *name, const uint64_t *values)
{
    GVariantBuilder dict;
    bool base_2 = (d->flags & KVM_STATS_BASE_MASK) == KVM_STATS_BASE_POW2;

    g_variant_builder_init(&dict, G_VARIANT_TYPE_VARDICT);
    g_variant_builder_add(&dict, "{sv}", "name", g_variant_new_string(name));
    g_variant_builder_add(&dict, "{sv}", "kind", g_variant_new_string(kind_of(d)));
    g_variant_builder_add(&dict, "{sv}", "unit", g_variant_new_string(unit_of(d)));
    g_variant_builder_add(&dict, "{sv}", "base", g_variant_new_uint32(base_2 ? 2 : 10));
    g_variant_builder_add(&dict, "{sv}", "exponent", g_variant_new_int32(d->exponent));
    g_variant_builder_add(&dict, "{sv}", "bucket-size", g_variant_new_uint32(d->bucket_size));
    g_variant_builder_add(&dict, "{sv}", "values",
                          g_variant_new_fixed_array(G_VARIANT_TYPE_UINT64, values, d->size, sizeof *values));
    g_variant_builder_add_value(list, g_variant_builder_end(&dict));
}

static void
read_one(int fd, const struct kvm_stats_header *h, unsigned i, GVariantBuilder *list)
{
    off_t at = (off_t)h->desc_offset + (off_t)i * (off_t)(sizeof(struct kvm_stats_desc) + h->name_size);
    g_autofree uint64_t *values = NULL;
    char name[NAME_MOST + 1] = "";
    struct kvm_stats_desc d;

    if (!read_all(fd, &d, sizeof d, at) || !read_all(fd, name, MIN(h->name_size, NAME_MOST), at + (off_t)sizeof d) ||
        !*name || !g_utf8_validate(name, -1, NULL) || d.size == 0 || d.size > VALUES_MOST)
        return;
    values = g_new0(uint64_t, d.size);
    if (read_all(fd, values, d.size * sizeof *values, (off_t)h->data_offset + (off_t)d.offset))
        add_one(list, &d, name, values);
}

static bool
read_stats(int fd, GVariantBuilder *list)
{
    struct kvm_stats_header h;

    if (!read_all(fd, &h, sizeof h, 0))
        return false;
    for (unsigned i = 0; i < MIN(h.num_desc, STATS_MAX); i++)
        read_one(fd, &h, i, list);
    return true;
}

/* Older kernels have none: numon's own counts stand for them. */
static void
own_counts(struct kvm *k, unsigned cpu, GVariantBuilder *list)
{
    struct exit_count counts[EXIT_KINDS];
    struct kvm_stats_desc d = { .flags = KVM_STATS_TYPE_CUMULATIVE | KVM_STATS_UNIT_NONE, .size = 1 };
    unsigned n = kvm_exits((struct accel *)k, cpu, counts, G_N_ELEMENTS(counts));

    for (unsigned i = 0; i < n; i++)
        add_one(list, &d, counts[i].name, &counts[i].count);
}

bool
kvm_stats(struct accel *a, int cpu, GVariantBuilder *list, const char **ret_provider, GError **error)
{
    struct kvm *k = (struct kvm *)a;
    int *fd = cpu < 0 ? &k->stats_fd : &k->cpus[cpu].stats_fd;

    *ret_provider = "kvm";
    if (*fd < 0 && kvm_ioctl_number(k->vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_BINARY_STATS_FD) > 0) {
        *fd = kvm_ioctl_number(cpu < 0 ? k->vm_fd : k->cpus[cpu].fd, KVM_GET_STATS_FD, 0);
        if (*fd < 0)
            return fail_host(error, errno, "cannot open KVM's statistics");
        fcntl(*fd, F_SETFD, FD_CLOEXEC);        /* KVM gives it without; main alone starts children */
    }
    if (*fd >= 0)
        return read_stats(*fd, list) || fail_host(error, errno, "cannot read KVM's statistics");
    *ret_provider = "numon";
    if (cpu >= 0)
        own_counts(k, (unsigned)cpu, list);
    return true;
}
