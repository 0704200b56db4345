/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Builds the parts of a machine from its definition and lets them go in the opposite order. */
#include "machine-private.h"

#include <glib-unix.h>
#include <string.h>

/* --- accelerator ------------------------------------------------------------------------------------------------ */

const struct accel_class *
parts_choose_accel(const struct definition *d, char **ret_reason, GError **error)
{
    g_autoptr(GString) reasons = g_string_new(NULL);

    *ret_reason = NULL;
    if (d->accel != ACCEL_AUTO) {
        const struct accel_class *named = accel_find(accel_choice_names[d->accel]);

        return named->probe(error) ? named : NULL;
    }
    for (const struct accel_class *const *c = accel_classes; *c; c++) {
        g_autoptr(GError) why = NULL;

        if ((*c)->probe(&why)) {
            if (reasons->len)
                *ret_reason = g_string_free(g_steal_pointer(&reasons), FALSE);
            return *c;
        }
        g_string_append_printf(reasons, "%s%s: %s", reasons->len ? "; " : "", (*c)->name, why->message);
    }
    fail(error, NUMON_ERROR_HOST, "no accelerator works here: %s", reasons->str);
    return NULL;
}

static void
tell_line(void *self, unsigned gsi, bool level)
{
    const struct parts *p = self;

    p->class->irq_line(p->accel, gsi, level);
}

static uint64_t
nap_read(void *device, uint64_t offset, unsigned size)
{
    return UINT64_MAX;
}

/* A nap is the vCPU's own, which the accelerator gives it before it looks at the bus: this is for all else there. */
static void
nap_write(void *device, uint64_t offset, unsigned size, uint64_t value)
{
}

/* What belongs to the accelerator but for RAM, where guests find it. */
static bool
place_accel(struct parts *p, GError **error)
{
    static const struct bus_ops nap = { nap_read, nap_write };

    guest_map_cover(p->map, "ioapic", LAYOUT_IO_APIC_GPA, LAYOUT_APIC_SIZE);
    guest_map_cover(p->map, "apic", LAYOUT_LOCAL_APIC_GPA, LAYOUT_APIC_SIZE);
    return bus_claim(p->bus, BUS_PORT, CONTROL_NAP_PORT, sizeof(uint32_t), "nap", &nap, NULL, error);
}

static bool
make_accel(struct parts *p, struct machine *m, GError **error)
{
    struct accel_setup setup = {
        .cpu_slots = p->cpu_slots, .cpus_present = p->topology.present, .apic_ids = p->apic_ids, .map = p->map,
        .bus = p->bus, .mailbox = m->mailbox, .cpu_nodes = p->cpu_nodes, .node_count = p->topology.node_count,
        .topology = &p->topology, .numa_delay_ns = m->definition->numa_delay_ns, .trace = m->trace,
        .clock_stops = m->definition->clock == CLOCK_STOP, .ret_warning = &p->accel_warning,
        .cpu = &m->definition->cpu,
        .dirty_log = m->definition->dirty_log, .dirty_ring_size = m->definition->dirty_ring_size,
    };
    struct dirty_source none = { 0 };

    p->class = parts_choose_accel(m->definition, &p->accel_reason, error);
    if (!p->class)
        return false;
    if (!p->class->lays_out_workload && !place_accel(p, error))
        return false;
    p->accel = p->class->create(&setup, error);
    if (!p->accel)
        return false;
    if (p->class->irq_line)
        irqs_connect(p->irqs, tell_line, p);
    p->hub = hub_new(p->map, p->class->dirty_source ? p->class->dirty_source(p->accel) : none);
    if (p->class->set_hub)
        p->class->set_hub(p->accel, p->hub);
    p->run = run_new(p->class, p->accel, p->cpu_slots, p->topology.present, m->mailbox, machine_vcpu_event, m);
    p->limit = dirty_limit_new(p->class, p->accel, p->hub, p->cpu_slots);
    machine_follow_map(m, p);
    return true;
}

/* --- devices ---------------------------------------------------------------------------------------------------- */

static void
output_failed(void *self, const char *text)
{
    machine_tell(self, text);
}

/* A pseudo terminal is told in QEMU's words: scripts look for them. */
static struct serial *
open_line(struct machine *m, const char *target, const char *label, GError **error)
{
    struct serial *s = serial_new(target, m->mailbox, error);
    g_autofree char *text = NULL;

    if (!s)
        return NULL;
    serial_on_failure(s, output_failed, m);
    if (serial_pty(s))
        text = g_strdup_printf("char device redirected to %s (label %s)", serial_pty(s), label);
    if (text)
        machine_tell(m, text);
    return s;
}

static bool
make_serials(struct parts *p, struct machine *m, GError **error)
{
    for (unsigned i = 0; i < SERIAL_PORTS; i++) {
        g_autofree char *label = g_strdup_printf("serial%u", i);

        if (!m->definition->serials[i])
            continue;
        p->serials[i] = open_line(m, m->definition->serials[i], label, error);
        if (!p->serials[i])
            return false;
        p->uarts[i] = uart_new_at(p->serials[i], p->irqs, i);
        if (!uart_attach_at(p->uarts[i], p->bus, i, error))
            return false;
    }
    return true;
}

static bool
make_devices(struct parts *p, struct machine *m, GError **error)
{
    struct rtc_memory memory = { 0 };

    for (unsigned i = 0; i < p->map->sections->len; i++) {
        const struct section *at = &g_array_index(p->map->sections, struct section, i);

        if (!at->block || at->block->device)
            continue;
        *(at->gpa < 4 * GIB ? &memory.below_4g : &memory.above_4g) += at->size;
    }
    p->bus = bus_new();
    p->irqs = irqs_new();
    if (!make_serials(p, m, error))
        return false;
    if (m->definition->debugcon && !(p->debugcon = open_line(m, m->definition->debugcon, "debugcon", error)))
        return false;
    p->rtc = rtc_new(p->irqs, &memory, NULL);
    p->power = power_new(p->debugcon ? p->debugcon : p->serials[0], machine_power_event, m);
    return rtc_attach(p->rtc, p->bus, error) && power_attach(p->power, p->bus, error) &&
           machine_make_slots(p, m, error);
}

static bool
save_machine(void *object, GError **error)
{
    struct machine *m = object;

    m->state.reset_wanted = atomic_load(&m->reset_wanted) || run_requests(m->parts->run) & 1u << VCPU_RESET;
    m->state.paused = (run_reasons(m->parts->run) & STOP_USER) != 0;
    m->state.exit_value = (uint64_t)atomic_load(&m->exit_value);
    return true;
}

static bool
load_machine(void *object, GError **error)
{
    struct machine *m = object;
    int64_t value = (int64_t)m->state.exit_value;

    if (value < -1 || value > UINT32_MAX)
        return fail(error, NUMON_ERROR_PEER, "cannot load the machine: 0x%" G_GINT64_MODIFIER "x is no value of the "
                    "exit port", m->state.exit_value);
    atomic_store(&m->reset_wanted, m->state.reset_wanted);
    atomic_store(&m->paused_there, m->state.paused);
    atomic_store(&m->exit_value, value);
    return true;
}

/* Before version 2 a guest's exit value stayed where it ended, and so did its user's pause if it could not go on. */
static const struct state_field machine_fields[] = {
    { "reset_wanted", STATE_U8, offsetof(struct machine, state.reset_wanted) },
    { "paused", STATE_U8, offsetof(struct machine, state.paused), .since = 2 },
    { "exit_value", STATE_U64, offsetof(struct machine, state.exit_value), .since = 2 },
    { 0 }
};

/* The accelerator's sections, then the devices', then the machine's own. */
void
parts_list_sections(struct parts *p, struct machine *m)
{
    unsigned count;
    const struct state_section *of_accel = p->class->sections(p->accel, &count);

    p->own_count = 0;
    for (unsigned i = 0; i < SERIAL_PORTS; i++)
        if (p->uarts[i])
            p->own[p->own_count++] = uart_state(p->uarts[i], i);
    p->own[p->own_count++] = rtc_state(p->rtc);
    p->own[p->own_count++] = (struct state_section) {
        "machine", 0, 2, machine_fields, m, save_machine, load_machine,
    };
    p->own[p->own_count++] = ged_state(p->ged);
    p->own[p->own_count++] = bays_state(p->memory_slots);
    p->own[p->own_count++] = bays_state(p->cpus_seen);
    machine_fill_slots(p, m->definition);
    machine_list_plugged(p, m->definition);
    p->section_count = count + p->own_count + p->plugged_count;
    g_free(p->sections);
    p->sections = g_new(const struct state_section *, p->section_count);
    for (unsigned i = 0; i < count; i++)
        p->sections[i] = &of_accel[i];
    for (unsigned i = 0; i < p->own_count; i++)
        p->sections[count + i] = &p->own[i];
    for (unsigned i = 0; i < p->plugged_count; i++)
        p->sections[count + p->own_count + i] = &p->plugged_sections[i];
}

void
parts_freeze_devices(struct parts *p, bool frozen)
{
    for (unsigned i = 0; i < SERIAL_PORTS; i++)
        if (p->uarts[i])
            uart_freeze(p->uarts[i], frozen);
    rtc_freeze(p->rtc, frozen);
}

/* --- all together ----------------------------------------------------------------------------------------------- */

struct parts *
parts_new(struct machine *m, const struct topology_final *t, struct guest_map *map, GError **error)
{
    struct parts *p = g_new0(struct parts, 1);

    p->topology = *t;
    p->map = map;
    p->cpu_slots = t->smp.maxcpus;
    p->starts = g_new0(struct cpu_start, p->cpu_slots);
    for (unsigned slot = 0; slot < p->cpu_slots; slot++) {
        p->apic_ids[slot] = smp_apic_id(&t->smp, slot);
        p->cpu_nodes[slot] = t->node_count ? t->cpu_node[slot] : -1;
    }
    if (!make_devices(p, m, error) || !make_accel(p, m, error)) {
        parts_free(p);
        return NULL;
    }
    parts_list_sections(p, m);
    p->lost_id = g_unix_fd_add(map->lost_fd, G_IO_IN, machine_memory_lost, m);
    return p;
}

void
parts_free(struct parts *p)
{
    if (!p)
        return;
    if (p->lost_id)
        g_source_remove(p->lost_id);
    run_free(p->run);
    dirty_limit_free(p->limit);
    if (p->irqs)
        irqs_connect(p->irqs, NULL, NULL);
    if (p->accel)
        p->class->destroy(p->accel);
    hub_free(p->hub);
    machine_free_slots(p);
    power_free(p->power);
    rtc_free(p->rtc);
    for (unsigned i = 0; i < SERIAL_PORTS; i++)
        uart_free(p->uarts[i]);
    serial_free(p->debugcon);
    for (unsigned i = 0; i < SERIAL_PORTS; i++)
        serial_free(p->serials[i]);
    bus_free(p->bus);
    irqs_free(p->irqs);
    boot_files_free(p->files);
    guest_map_free(p->map);
    g_free(p->sections);
    machine_release_plugged(p);
    g_free(p->starts);
    g_free(p->memory_warning);
    g_free(p->accel_reason);
    g_free(p->accel_warning);
    g_free(p);
}

/* --- what is in guest memory ------------------------------------------------------------------------------------ */

bool
parts_is_workload(const struct definition *d)
{
    return strcmp(d->kernel, BUILTIN_WORKLOAD) == 0;
}

bool
parts_workload(const struct definition *d, struct control_parameters *ret, GError **error)
{
    g_autoptr(values) line = NULL;

    *ret = d->workload;
    if (!d->append)
        return true;
    line = property_parse_pairs(workload_properties, d->append, error);
    if (!line || !workload_parameters_read(ret, line, error)) {
        g_prefix_error(error, "kernel command line '%s': ", d->append);
        return false;
    }
    return true;
}

bool
parts_reset(struct parts *p, GError **error)
{
    for (unsigned slot = 0; slot < p->cpu_slots; slot++)
        if (topology_has_cpu(&p->topology, slot) && !p->class->vcpu_reset(p->accel, slot, &p->starts[slot], error))
            return false;
    for (unsigned i = 0; i < SERIAL_PORTS; i++)
        if (p->uarts[i])
            uart_reset(p->uarts[i]);
    rtc_reset(p->rtc);
    machine_reset_slots(p);
    irqs_tell(p->irqs);
    return true;
}

/* The control pages alone, for an accelerator that emulates no CPU. */
static bool
lay_out(struct parts *p, const struct control_parameters *parameters, GError **error)
{
    return workload_lay_out(p->map, p->cpu_nodes, p->cpu_slots, p->topology.node_count, error) &&
           workload_apply(p->map, NULL, parameters, error);
}

/* Its areas must begin as zeros; other kernels find what a file held, as they would in QEMU. */
static bool
clear_content(struct parts *p, GError **error)
{
    for (unsigned i = 0; i < p->map->blocks->len; i++) {
        struct block *b = g_ptr_array_index(p->map->blocks, i);

        if (b->had_content && !b->device && !block_discard(b, error))
            return false;
    }
    return true;
}

bool
parts_fill(struct parts *p, const struct definition *d, GError **error)
{
    struct control_parameters parameters;
    bool workload = parts_is_workload(d);
    struct boot_setup setup = {
        .map = p->map, .topology = &p->topology, .hmat = definition_told_hmat(d),
        .command_line = d->append,
        .direct_cpus = workload, .workload = workload ? &parameters : NULL,
        .tsc_khz = p->class->tsc_khz(p->accel),
    };

    if (workload && (!parts_workload(d, &parameters, error) || !clear_content(p, error)))
        return false;
    if (!p->class->lays_out_workload && !p->files) {
        p->files = boot_files_open(d->kernel, d->initrd, error);
        if (!p->files)
            return false;
    }
    setup.files = p->files;
    setup.loaded = p->files_loaded;
    p->files_loaded = false;
    return p->class->lays_out_workload ? lay_out(p, &parameters, error) : boot_load(&setup, p->starts, error);
}

bool
parts_load(struct parts *p, const struct definition *d, GError **error)
{
    return parts_fill(p, d, error) && parts_reset(p, error);
}

/* Memory that stays as it is must be whole: a guest would take what is lost for zeros. */
static bool
kept_is_whole(const struct parts *p, GError **error)
{
    uint64_t page;

    for (unsigned i = 0; i < p->map->blocks->len; i++) {
        const struct block *b = g_ptr_array_index(p->map->blocks, i);

        if (b->persistent && block_lost(b, &page))
            return fail(error, NUMON_ERROR_HOST, "cannot reset with backend '%s': its page %" G_GUINT64_FORMAT
                        " is lost (`enter_preconfig` lets it go)", b->name, page);
    }
    return true;
}

bool
parts_clear(struct parts *p, bool persistent, GError **error)
{
    if (!persistent && !kept_is_whole(p, error))
        return false;
    for (unsigned i = 0; i < p->map->blocks->len; i++) {
        struct block *b = g_ptr_array_index(p->map->blocks, i);

        if ((persistent || !b->persistent) && !block_discard(b, error))
            return false;
    }
    for (unsigned slot = 0; slot < p->cpu_slots; slot++)
        p->starts[slot] = (struct cpu_start) { .kind = CPU_START_WAIT };
    return true;
}

bool
parts_empty(struct parts *p, bool persistent, GError **error)
{
    return parts_clear(p, persistent, error) && parts_reset(p, error);
}
