/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The KVM accelerator: what is asked of the host, creation and release, and what is told about it. */
#include "kvm-private.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum {
    /* Three pages and one that KVM on Intel wants for itself, above RAM and below the firmware's place
     * (Documentation/virt/kvm/api.rst, KVM_SET_TSS_ADDR). */
    IDENTITY_MAP_GPA = 0xfffbc000,
    TSS_GPA          = 0xfffbd000,
    X2APIC_ONLY_ID   = 255,         /* local APIC ids from here on need 32 bits */
};

/* What numon cannot do without, and what that means to a user. */
static const struct {
    int capability;
    const char *name, *meaning;
} required[] = {
    { KVM_CAP_USER_MEMORY, "KVM_CAP_USER_MEMORY", "guest memory made of host memory" },
    { KVM_CAP_DESTROY_MEMORY_REGION_WORKS, "KVM_CAP_DESTROY_MEMORY_REGION_WORKS", "taking guest memory away" },
    { KVM_CAP_JOIN_MEMORY_REGIONS_WORKS, "KVM_CAP_JOIN_MEMORY_REGIONS_WORKS", "adjacent pieces of guest memory" },
    { KVM_CAP_IRQCHIP, "KVM_CAP_IRQCHIP", "interrupt controllers in the kernel" },
    { KVM_CAP_PIT2, "KVM_CAP_PIT2", "the timer in the kernel" },
    { KVM_CAP_PIT_STATE2, "KVM_CAP_PIT_STATE2", "migrating the timer" },
    { KVM_CAP_EXT_CPUID, "KVM_CAP_EXT_CPUID", "choosing CPU features" },
    { KVM_CAP_MP_STATE, "KVM_CAP_MP_STATE", "migrating halted and waiting CPUs" },
    { KVM_CAP_VCPU_EVENTS, "KVM_CAP_VCPU_EVENTS", "migrating pending exceptions" },
    { KVM_CAP_XSAVE, "KVM_CAP_XSAVE", "migrating vector registers" },
    { KVM_CAP_ADJUST_CLOCK, "KVM_CAP_ADJUST_CLOCK", "migrating the clock" },
    { KVM_CAP_GET_TSC_KHZ, "KVM_CAP_GET_TSC_KHZ", "the frequency of the time stamp counter" },
    { KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT", "stopping a CPU without a race" },
};

int
kvm_ioctl(int fd, unsigned long request, void *argument)
{
    int r;

    do
        r = ioctl(fd, request, argument);
    while (r < 0 && errno == EINTR);
    return r;
}

int
kvm_ioctl_number(int fd, unsigned long request, unsigned long argument)
{
    int r;

    do
        r = ioctl(fd, request, argument);
    while (r < 0 && errno == EINTR);
    return r;
}

int
kvm_capability(const struct kvm *k, int number)
{
    int r = kvm_ioctl_number(k->vm_fd >= 0 ? k->vm_fd : k->system_fd, KVM_CHECK_EXTENSION, (unsigned long)number);

    return MAX(r, 0);
}

static int
has_capability(void *self, int number)
{
    return kvm_capability(self, number);
}

bool
kvm_check_required(int (*has)(void *self, int capability), void *self, GError **error)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(required); i++)
        if (!has(self, required[i].capability))
            return fail(error, NUMON_ERROR_HOST, "cannot use /dev/kvm: it lacks %s (%s)", required[i].name,
                        required[i].meaning);
    return true;
}

/* Opens /dev/kvm, looks for all that is required, and creates an empty VM. */
bool
kvm_open(struct kvm *k, GError **error)
{
    int version;

    k->system_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (k->system_fd < 0)
        return fail_host(error, errno, "cannot open /dev/kvm%s",
                         errno == EACCES ? " (its group, often 'kvm', may)" : "");
    version = kvm_ioctl_number(k->system_fd, KVM_GET_API_VERSION, 0);
    if (version != KVM_API_VERSION)
        return fail(error, NUMON_ERROR_HOST, "cannot use /dev/kvm: its API version is %d, numon needs %d", version,
                    KVM_API_VERSION);
    if (!kvm_check_required(has_capability, k, error))
        return false;
    k->vm_fd = kvm_ioctl_number(k->system_fd, KVM_CREATE_VM, 0);
    if (k->vm_fd < 0)
        return fail_host(error, errno, "cannot create a KVM virtual machine");
    return true;
}

static bool
kvm_probe(GError **error)
{
    struct kvm k = { .system_fd = -1, .vm_fd = -1 };
    bool works = kvm_open(&k, error);

    close_fd(&k.vm_fd);
    close_fd(&k.system_fd);
    return works;
}

static bool
check_limits(const struct kvm *k, const struct accel_setup *setup, GError **error)
{
    unsigned recommended = kvm_capability(k, KVM_CAP_NR_VCPUS), most = kvm_capability(k, KVM_CAP_MAX_VCPUS);
    unsigned ids = kvm_capability(k, KVM_CAP_MAX_VCPU_ID);

    /* Older kernels tell only the recommended number, the oldest nothing (api.rst, KVM_CREATE_VCPU). */
    most = MIN(most ? most : recommended ? recommended : 4, (unsigned)KVM_CPUS_MAX);
    if (setup->cpu_slots > most)
        return fail(error, NUMON_ERROR_LIMIT, "cannot create %u vCPUs: KVM gives at most %u here", setup->cpu_slots,
                    most);
    ids = ids ? ids : most;
    for (unsigned i = 0; i < setup->cpu_slots; i++)
        if (setup->apic_ids[i] >= ids)
            return fail(error, NUMON_ERROR_LIMIT, "cannot create vCPU %u: its APIC id %u is not below %u, KVM's limit"
                        " here", i, setup->apic_ids[i], ids);
    return true;
}

/* More than the host has processors for is slow, not wrong; the wording is QEMU's. */
static char *
count_warning(const struct kvm *k, const struct accel_setup *setup)
{
    unsigned recommended = kvm_capability(k, KVM_CAP_NR_VCPUS), present = setup->cpu_slots;
    bool hot;

    if (setup->cpus_present)
        present = (unsigned)bits_count(setup->cpus_present, setup->cpu_slots);
    hot = present <= recommended;
    if (!recommended || setup->cpu_slots <= recommended)
        return NULL;
    return g_strdup_printf("Number of %s cpus requested (%u) exceeds the recommended cpus supported by KVM (%u)",
                           hot ? "hotpluggable" : "SMP", hot ? setup->cpu_slots : present, recommended);
}

static char *
warnings(const struct kvm *k, const struct accel_setup *setup)
{
    char *texts[] = { count_warning(k, setup), cpu_warning(&k->cpu, "KVM here"), dirty_warning(k) };
    GString *all = g_string_new(NULL);

    for (unsigned i = 0; i < G_N_ELEMENTS(texts); i++) {
        if (texts[i])
            g_string_append_printf(all, "%s%s", all->len ? "; " : "", texts[i]);
        g_free(texts[i]);
    }
    return g_string_free(all, all->len == 0);
}

/* What must be settled before the first vCPU. */
static bool
prepare_vm(struct kvm *k, const struct accel_setup *setup, GError **error)
{
    uint64_t identity = IDENTITY_MAP_GPA;

    if (kvm_capability(k, KVM_CAP_SET_IDENTITY_MAP_ADDR)
        && kvm_ioctl(k->vm_fd, KVM_SET_IDENTITY_MAP_ADDR, &identity) < 0)
        return fail_host(error, errno, "cannot place KVM's identity map at 0x%x", IDENTITY_MAP_GPA);
    if (kvm_capability(k, KVM_CAP_SET_TSS_ADDR) && kvm_ioctl_number(k->vm_fd, KVM_SET_TSS_ADDR, TSS_GPA) < 0)
        return fail_host(error, errno, "cannot place KVM's task state at 0x%x", TSS_GPA);
    for (unsigned i = 0; i < setup->cpu_slots; i++) {
        struct kvm_enable_cap enable = {
            .cap = KVM_CAP_X2APIC_API,
            .args = { KVM_X2APIC_API_USE_32BIT_IDS | KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK },
        };

        if (setup->apic_ids[i] < X2APIC_ONLY_ID)
            continue;
        if (kvm_ioctl(k->vm_fd, KVM_ENABLE_CAP, &enable) < 0)
            return fail_host(error, errno, "cannot have APIC id %u", setup->apic_ids[i]);
        break;
    }
    return true;
}

static void
learn(struct kvm *k, const struct guest_map *map)
{
    int xsave = kvm_capability(k, KVM_CAP_XSAVE2);
    const struct section *last = &g_array_index(map->sections, struct section, map->sections->len - 1);

    k->parts = parts_learn(k);
    k->xsave_size = (uint32_t)MAX(xsave, (int)sizeof(struct kvm_xsave));
    /* Unless RAM or what may be added needs more. */
    k->physical_bits = PHYSICAL_BITS;
    while (MAX(last->gpa + last->size, map->device_base + map->device_size) > UINT64_C(1) << k->physical_bits)
        k->physical_bits++;
}

static bool
create_cpus(struct kvm *k, const struct accel_setup *setup, GError **error)
{
    int size = kvm_ioctl_number(k->system_fd, KVM_GET_VCPU_MMAP_SIZE, 0);

    if (size < (int)sizeof(struct kvm_run))
        return fail_host(error, errno, "cannot learn the size of a vCPU's page");
    k->run_size = (size_t)size;
    k->cpu_slots = setup->cpu_slots;
    k->cpus = g_new0(struct kvm_cpu, k->cpu_slots);
    for (unsigned i = 0; i < k->cpu_slots; i++)
        if (kvm_has_cpu(k, i) && !vcpu_create(k, i, setup->apic_ids[i], error))
            return false;
    k->tsc_khz = (uint64_t)MAX(kvm_ioctl_number(k->cpus[0].fd, KVM_GET_TSC_KHZ, 0), 0);
    time_learn(k);
    return true;
}


static void
kvm_destroy(struct accel *a)
{
    struct kvm *k = (struct kvm *)a;

    if (!k)
        return;
    dirty_release(k);
    for (unsigned i = 0; i < k->cpu_slots; i++)
        if (k->cpus[i].kvm)
            vcpu_release(&k->cpus[i], k->run_size);
    close_fd(&k->stats_fd);
    close_fd(&k->vm_fd);
    close_fd(&k->system_fd);
    slots_free(k);
    cpu_state_release(&k->reset_cpu);
    g_free(k->cpus);
    g_free(k->msr_indices);
    cpuid_release(k);
    g_free(k->sections);
    g_free(k);
}

static struct accel *
kvm_create(const struct accel_setup *setup, GError **error)
{
    struct kvm *k = g_new0(struct kvm, 1);

    k->system_fd = k->vm_fd = k->stats_fd = -1;
    k->bus = setup->bus;
    k->trace = setup->trace;
    k->map = setup->map;
    k->topology = setup->topology;
    k->clock_stops = setup->clock_stops;
    k->cpus_present = setup->cpus_present;
    k->apic_ids = setup->apic_ids;
    if (kvm_open(k, error) && check_limits(k, setup, error) && prepare_vm(k, setup, error) &&
        dirty_init(k, setup, error) && slots_init(k, setup->map, error) && chips_create(k, error)) {
        learn(k, setup->map);
        if (cpuid_init(k, setup->cpu, error) && create_cpus(k, setup, error) && msrs_list(k, error)
            && reset_capture(k, error)) {
            if (setup->ret_warning)
                *setup->ret_warning = warnings(k, setup);
            return (struct accel *)k;
        }
    }
    kvm_destroy((struct accel *)k);
    return NULL;
}

static void
make_sections(struct kvm *k)
{
    unsigned count = 0;

    if (!k->sections)
        k->sections = g_new0(struct state_section, k->cpu_slots + CHIPS_SECTIONS);
    for (unsigned i = 0; i < k->cpu_slots; i++) {
        if (!kvm_has_cpu(k, i))
            continue;
        k->sections[count++] = (struct state_section) {
            .name = "kvm-cpu", .instance = i, .version = 2, .fields = cpu_fields, .object = &k->cpus[i],
            .before_save = cpu_before_save, .after_load = cpu_after_load,
        };
    }
    chips_sections(k, k->sections + count);
    k->section_count = count + CHIPS_SECTIONS;
}

/* True if the list is of the CPUs there are. */
static bool
sections_current(const struct kvm *k)
{
    unsigned count = 0;

    for (unsigned i = 0; i < k->cpu_slots; i++)
        if (kvm_has_cpu(k, i) && (count >= k->section_count || k->sections[count++].instance != i))
            return false;
    return k->section_count == count + CHIPS_SECTIONS;
}

/* While the CPUs are the same ones the list stays as it is: a migration may have it in hand. */
static const struct state_section *
kvm_sections(struct accel *a, unsigned *ret_count)
{
    struct kvm *k = (struct kvm *)a;

    if (!sections_current(k))
        make_sections(k);
    *ret_count = k->section_count;
    return k->sections;
}

static bool
kvm_witness(struct accel *a, unsigned cpu, uint64_t *ret, GError **error)
{
    struct kvm *k = (struct kvm *)a;
    struct kvm_regs regs;

    if (!registers_get(&k->cpus[cpu], &regs, error))
        return false;
    *ret = regs.r15;
    return true;
}

static uint64_t
kvm_tsc_khz(struct accel *a)
{
    return ((struct kvm *)a)->tsc_khz;
}

static void
kvm_inform(struct accel *a, GVariantBuilder *dict)
{
    struct kvm *k = (struct kvm *)a;
    unsigned count = 0;

    for (unsigned i = 0; i < k->cpu_slots; i++)
        count += kvm_has_cpu(k, i);
    g_variant_builder_add(dict, "{sv}", "vcpus", g_variant_new_uint32(count));
    g_variant_builder_add(dict, "{sv}", "recommended-vcpus",
                          g_variant_new_uint32(kvm_capability(k, KVM_CAP_NR_VCPUS)));
    g_variant_builder_add(dict, "{sv}", "max-vcpus", g_variant_new_uint32(kvm_capability(k, KVM_CAP_MAX_VCPUS)));
    g_variant_builder_add(dict, "{sv}", "slots", g_variant_new_uint32(slots_used(k)));
    g_variant_builder_add(dict, "{sv}", "max-slots", g_variant_new_uint32(k->slot_rules.limit));
    g_variant_builder_add(dict, "{sv}", "slot-table", slots_tree(k));
    g_variant_builder_add(dict, "{sv}", "capabilities", capabilities_tree(k));
    g_variant_builder_add(dict, "{sv}", "msrs", g_variant_new_uint32(k->msr_count));
    g_variant_builder_add(dict, "{sv}", "xsave-size", g_variant_new_uint32(k->xsave_size));
    g_variant_builder_add(dict, "{sv}", "tsc-khz", g_variant_new_uint64(k->tsc_khz));
    g_variant_builder_add(dict, "{sv}", "tsc-scaling", g_variant_new_boolean(kvm_capability(k, KVM_CAP_TSC_CONTROL)));
    g_variant_builder_add(dict, "{sv}", "tsc-set", g_variant_new_string(time_setting_text(k)));
    g_variant_builder_add(dict, "{sv}", "machine-checks", g_variant_new_boolean(k->recovers));
}

const struct accel_class accel_kvm = {
    .name = "kvm",
    .summary = "Linux KVM: the guest runs on the host's processors",
    .probe = kvm_probe,
    .create = kvm_create,
    .destroy = kvm_destroy,
    .dirty_source = kvm_dirty_source,
    .dirty_log = kvm_dirty_log,
    .ring_pages = kvm_ring_pages,
    .ring_nap = kvm_ring_nap,
    .set_hub = kvm_set_hub,
    .memory_room = kvm_memory_room,
    .memory_changed = kvm_memory_changed,
    .vcpu_reset = kvm_vcpu_reset,
    .vcpu_add = kvm_vcpu_add,
    .vcpu_run = kvm_vcpu_run,
    .vcpu_settle = kvm_vcpu_settle,
    .vcpu_kick = kvm_vcpu_kick,
    .slot = kvm_slot_of,
    .translate = kvm_vcpu_translate,
    .registers = kvm_registers,
    .vcpu_unkick = kvm_vcpu_unkick,
    .vcpu_witness = kvm_witness,
    .irq_line = kvm_irq_line,
    .sections = kvm_sections,
    .describe = kvm_describe,
    .differs = kvm_differs,
    .cpu_resolve = kvm_cpu_resolve,
    .exits = kvm_exits,
    .stats = kvm_stats,
    .time_stop = kvm_time_stop,
    .time_start = kvm_time_start,
    .tsc_khz = kvm_tsc_khz,
    .inform = kvm_inform,
};
