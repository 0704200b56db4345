/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The definition as a value: made, copied, compared, edited.  A plain struct but for some strings and the lists of
 * backends, so that a copy for each command costs little. */
#include "config.h"

#include <string.h>

#include "config-private.h"
#include "device.h"

#define NUMA_DELAY_MAX_NS 1000000000

const char *const accel_choice_names[] = {
    [ACCEL_AUTO] = "auto", [ACCEL_KVM] = "kvm", [ACCEL_SYNTHETIC] = "synthetic", NULL
};

const char *const clock_choice_names[] = { [CLOCK_ADVANCE] = "advance", [CLOCK_STOP] = "stop", NULL };

const struct property accel_properties[] = {
    [ACCEL_P_ACCEL] = { "accel", PROPERTY_CHOICE, .choices = accel_choice_names, .required = true,
                        .help = "what runs the guest's CPUs; auto: the first that works here" },
    [ACCEL_P_NUMA_DELAY] = { "numa-delay", PROPERTY_UINT, .max = NUMA_DELAY_MAX_NS, .value_default = "0",
                             .unit = "ns",
                             .help = "of synthetic: what a page write at distance 10 costs, more in proportion" },
    [ACCEL_P_CLOCK] = { "clock", PROPERTY_CHOICE, .choices = clock_choice_names, .value_default = "advance",
                        .help = "of kvm: whether the guest's time goes on while it is stopped to be moved" },
    [ACCEL_P_DIRTY_LOG] = { "dirty-log", PROPERTY_CHOICE, .choices = dirty_log_names, .value_default = "auto",
                            .help = "of kvm: how pages that the guest writes are found; auto: what costs it least" },
    [ACCEL_P_DIRTY_RING_SIZE] = { "dirty-ring-size", PROPERTY_UINT, .max = DIRTY_RING_MAX, .value_default = "0",
                                  .unit = "entries", .help = "of dirty-log=ring, which it implies: pages that each "
                                  "vCPU's ring holds, a power of two from 1024; 0: 65536" },
    { 0 }
};

struct definition *
definition_new(void)
{
    struct definition *d = g_new0(struct definition, 1);

    topology_init(&d->topology);
    hmat_init(&d->hmat);
    workload_parameters_init(&d->workload);
    d->backends = g_array_new(FALSE, TRUE, sizeof(struct backend_options));
    d->devices = g_array_new(FALSE, TRUE, sizeof(struct memory_device));
    d->cpus = g_array_new(FALSE, TRUE, sizeof(struct cpu_device));
    d->kernel = g_strdup(KERNEL_DEFAULT);
    d->serials[0] = g_strdup(SERIAL_DEFAULT);
    return d;
}

struct definition *
definition_copy(const struct definition *d)
{
    struct definition *copy = g_new(struct definition, 1);

    *copy = *d;
    copy->name = g_strdup(d->name);
    hmat_copy(&copy->hmat, &d->hmat);
    copy->backends = g_array_copy(d->backends);
    copy->devices = g_array_copy(d->devices);
    copy->cpus = g_array_copy(d->cpus);
    copy->kernel = g_strdup(d->kernel);
    copy->initrd = g_strdup(d->initrd);
    copy->mem_path = g_strdup(d->mem_path);
    copy->append = g_strdup(d->append);
    for (unsigned i = 0; i < SERIAL_PORTS; i++)
        copy->serials[i] = g_strdup(d->serials[i]);
    copy->debugcon = g_strdup(d->debugcon);
    return copy;
}

void
definition_free(struct definition *d)
{
    if (!d)
        return;
    g_free(d->name);
    hmat_release(&d->hmat);
    g_array_unref(d->backends);
    g_array_unref(d->devices);
    g_array_unref(d->cpus);
    g_free(d->kernel);
    g_free(d->initrd);
    g_free(d->mem_path);
    g_free(d->append);
    for (unsigned i = 0; i < SERIAL_PORTS; i++)
        g_free(d->serials[i]);
    g_free(d->debugcon);
    g_free(d);
}

static bool
memory_equal(const struct memory_options *a, const struct memory_options *b)
{
    return a->entered == b->entered && a->size == b->size && a->maxmem == b->maxmem && a->slots == b->slots;
}

/* Nearly every command leaves them as they are: then their bytes are equal, too. */
static bool
backends_equal(const GArray *a, const GArray *b)
{
    if (a->len == b->len && (a->len == 0 || memcmp(a->data, b->data, a->len * sizeof(struct backend_options)) == 0))
        return true;
    for (guint i = 0; a->len == b->len && i < a->len; i++) {
        if (!backend_options_equal(&((struct backend_options *)a->data)[i], &((struct backend_options *)b->data)[i]))
            return false;
    }
    return a->len == b->len;
}

bool
definition_lists_equal(const struct definition *a, const struct definition *b)
{
    return backends_equal(a->backends, b->backends) && devices_equal(a->devices, b->devices)
        && cpus_equal(a->cpus, b->cpus);
}

static bool
serials_equal(const struct definition *a, const struct definition *b)
{
    for (unsigned i = 0; i < SERIAL_PORTS; i++)
        if (g_strcmp0(a->serials[i], b->serials[i]) != 0)
            return false;
    return true;
}

bool
definition_rest_equal(const struct definition *a, const struct definition *b)
{
    return memory_equal(&a->memory, &b->memory)
        && a->nvdimm == b->nvdimm && a->accel == b->accel && a->numa_delay_ns == b->numa_delay_ns
        && a->clock == b->clock
        && cpu_options_equal(&a->cpu, &b->cpu)
        && a->dirty_log == b->dirty_log && a->dirty_ring_size == b->dirty_ring_size
        && g_strcmp0(a->name, b->name) == 0 && strcmp(a->kernel, b->kernel) == 0
        && g_strcmp0(a->initrd, b->initrd) == 0
        && g_strcmp0(a->mem_path, b->mem_path) == 0 && a->mem_prealloc == b->mem_prealloc
        && g_strcmp0(a->append, b->append) == 0 && serials_equal(a, b)
        && g_strcmp0(a->debugcon, b->debugcon) == 0
        && memcmp(&a->workload, &b->workload, sizeof a->workload) == 0;
}

bool
definition_equal(const struct definition *a, const struct definition *b)
{
    return topology_equal(&a->topology, &b->topology) && hmat_equal(&a->hmat, &b->hmat)
        && definition_lists_equal(a, b) && definition_rest_equal(a, b);
}

/* --- what the topology decides ---------------------------------------------------------------------------------- */

bool
definition_set_smp(struct definition *d, const struct values *v, GError **error)
{
    g_autoptr(definition) changed = definition_copy(d);

    if (!topology_set_smp(&changed->topology, v, error) || !cpus_fit(d, changed, error))
        return false;
    d->topology.smp = changed->topology.smp;
    return true;
}

bool
definition_add_node(struct definition *d, const struct values *v, GError **error)
{
    const char *memdev = v->at[NODE_P_MEMDEV].word;
    const struct memory_device *user = memdev ? definition_device_of_backend(d, memdev) : NULL;

    if (user)
        return fail(error, NUMON_ERROR_STATE, "can't use already busy memdev: %s is the memory of device '%s'",
                    memdev, memory_device_label(user));
    return topology_add_node(&d->topology, v, definition_backends(d), error);
}

bool
definition_set_distance(struct definition *d, const struct values *v, GError **error)
{
    return topology_set_distance(&d->topology, v, error);
}

bool
definition_add_hmat_lb(struct definition *d, const struct values *v, GError **error)
{
    return hmat_add_lb(&d->hmat, &d->topology, v, error);
}

bool
definition_add_hmat_cache(struct definition *d, const struct values *v, GError **error)
{
    return hmat_add_cache(&d->hmat, &d->topology, v, error);
}

/* An initiator keeps CPUs of its own, so that what is saved can be entered again. */
bool
definition_unmap_cpu(struct definition *d, const struct values *v, GError **error)
{
    int16_t before[TOPOLOGY_CPUS];

    memcpy(before, d->topology.cpu_node, sizeof before);
    if (!topology_unmap_cpu(&d->topology, v, error))
        return false;
    if (hmat_initiators_have_cpus(&d->hmat, &d->topology, error))
        return true;
    memcpy(d->topology.cpu_node, before, sizeof before);
    return false;
}

const struct hmat *
definition_told_hmat(const struct definition *d)
{
    return d->topology.options.hmat ? &d->hmat : NULL;
}

bool
definition_delete_node(struct definition *d, unsigned node, GError **error)
{
    if (!topology_delete_node(&d->topology, node, error))
        return false;
    hmat_forget_node(&d->hmat, node);
    return true;
}

bool
definition_map_cpu(struct definition *d, const struct values *v, GError **error)
{
    return topology_map_cpu(&d->topology, v, error);
}

/* --- the rest --------------------------------------------------------------------------------------------------- */

/* A size implies the ring, as in QEMU. */
static bool
read_dirty_log(const struct values *v, enum dirty_log *ret, unsigned *ret_size, GError **error)
{
    enum dirty_log log = (enum dirty_log)v->at[ACCEL_P_DIRTY_LOG].number;
    unsigned size = (unsigned)v->at[ACCEL_P_DIRTY_RING_SIZE].number;

    if (log == DIRTY_LOG_AUTO && size)
        log = DIRTY_LOG_RING;
    if (log != DIRTY_LOG_AUTO && v->at[ACCEL_P_ACCEL].number == ACCEL_SYNTHETIC)
        return fail(error, NUMON_ERROR_ARGUMENT, "cannot choose a dirty log with accelerator 'synthetic': it marks "
                    "every page that it writes");
    if (size && log != DIRTY_LOG_RING)
        return fail(error, NUMON_ERROR_ARGUMENT, "dirty-ring-size is of dirty-log=ring alone, not of '%s'",
                    dirty_log_names[log]);
    if (size & (size - 1))
        return fail(error, NUMON_ERROR_ARGUMENT, "dirty-ring-size must be a power of two, not %u", size);
    if (size && size < DIRTY_RING_MIN)
        return fail(error, NUMON_ERROR_ARGUMENT, "dirty-ring-size must be at least %d, not %u", DIRTY_RING_MIN, size);
    *ret = log;
    *ret_size = size;
    return true;
}

bool
definition_set_accel(struct definition *d, const struct values *v, GError **error)
{
    enum accel_choice accel = (enum accel_choice)v->at[ACCEL_P_ACCEL].number;
    uint64_t delay = v->at[ACCEL_P_NUMA_DELAY].number;

    if (delay && accel != ACCEL_SYNTHETIC)
        return fail(error, NUMON_ERROR_ARGUMENT, "cannot delay accesses with accelerator '%s': numa-delay is of "
                    "synthetic alone", accel_choice_names[accel]);
    if (v->at[ACCEL_P_CLOCK].number != CLOCK_ADVANCE && accel == ACCEL_SYNTHETIC)
        return fail(error, NUMON_ERROR_ARGUMENT, "cannot stop the clock with accelerator 'synthetic': its guests "
                    "read the host's");
    if (!read_dirty_log(v, &d->dirty_log, &d->dirty_ring_size, error))
        return false;
    d->accel = accel;
    d->clock = (enum clock_choice)v->at[ACCEL_P_CLOCK].number;
    d->numa_delay_ns = delay;
    return true;
}

bool
definition_set_cpu(struct definition *d, const char *text, GError **error)
{
    return cpu_options_parse(text, &d->cpu, error);
}

bool
definition_set_workload(struct definition *d, const struct values *v, GError **error)
{
    return workload_parameters_read(&d->workload, v, error);
}

static void
replace_text(char **member, const char *text)
{
    char *copy = g_strdup(text);

    g_free(*member);
    *member = copy;
}

/* A line of a script can hold no other text than this. */
static bool
fits_a_line(const char *what, const char *text, GError **error)
{
    if (!*text)
        return fail(error, NUMON_ERROR_ARGUMENT, "%s must not be empty", what);
    for (const char *c = text; *c; c++) {
        if (g_ascii_iscntrl(*c))
            return fail(error, NUMON_ERROR_ARGUMENT, "%s must not have the control character 0x%02x", what,
                        (unsigned char)*c);
    }
    return true;
}

bool
definition_set_mem_path(struct definition *d, const char *path, GError **error)
{
    if (path && *path && !fits_a_line("mem_path", path, error))
        return false;
    replace_text(&d->mem_path, path && *path ? path : NULL);
    return true;
}

void
definition_set_mem_prealloc(struct definition *d, bool on)
{
    d->mem_prealloc = on;
}

bool
definition_set_kernel(struct definition *d, const char *kernel, GError **error)
{
    if (!fits_a_line("kernel", kernel, error))
        return false;
    if (g_str_has_prefix(kernel, "builtin:") && strcmp(kernel, KERNEL_DEFAULT) != 0)
        return fail(error, NUMON_ERROR_ARGUMENT, "kernel '%s' does not exist; the one built in is '"
                    KERNEL_DEFAULT "'", kernel);
    replace_text(&d->kernel, kernel);
    return true;
}

bool
definition_set_initrd(struct definition *d, const char *initrd, GError **error)
{
    if (initrd && *initrd && !fits_a_line("initrd", initrd, error))
        return false;
    replace_text(&d->initrd, initrd && *initrd ? initrd : NULL);
    return true;
}

bool
definition_set_serial(struct definition *d, unsigned port, const char *target, GError **error)
{
    if (port > 0 && strcmp(target, SERIAL_NONE) == 0) {
        g_clear_pointer(&d->serials[port], g_free);
        return true;
    }
    if (strcmp(target, SERIAL_NONE) == 0)
        return fail(error, NUMON_ERROR_ARGUMENT, "cannot take serial port 0 away: every machine has it (null drops "
                    "its output)");
    if (!fits_a_line("serial target", target, error) || !serial_target_check(target, error))
        return false;
    replace_text(&d->serials[port], target);
    return true;
}

bool
definition_set_debugcon(struct definition *d, const char *target, GError **error)
{
    if (target && (!fits_a_line("debug console's target", target, error) || !serial_target_check(target, error)))
        return false;
    replace_text(&d->debugcon, target);
    return true;
}

/* One line without blanks at its ends; NULL if nothing is left. */
static char *
as_line(const char *text)
{
    char *line = g_strdup(text ? text : "");

    for (char *c = line; *c; c++) {
        if (g_ascii_iscntrl(*c))
            *c = ' ';
    }
    g_strstrip(line);
    if (!*line)
        g_clear_pointer(&line, g_free);
    return line;
}

void
definition_set_append(struct definition *d, const char *text)
{
    g_autofree char *line = as_line(text);

    replace_text(&d->append, line);
}

void
definition_set_name(struct definition *d, const char *name)
{
    g_autofree char *line = as_line(name);

    replace_text(&d->name, line);
}
