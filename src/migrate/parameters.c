/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Parameters, capabilities and counters: tables made from the one declaration of each in migrate.h. */
#include "migrate-private.h"

const char *const migrate_switchover_words[] = { "patient", "eager", NULL };

const char *const migrate_mode_words[] = { "normal", "cpr-transfer", NULL };

const struct property migrate_parameter_properties[] = {
#define X(c, text, kind, count, least, most, shown, measure, words, say)                                            \
    { .name = text, .type = kind, .min = least, .max = most, .unit_size = count, .unit = measure,                  \
      .choices = words, .value_default = shown, .help = say },
    MIGRATE_PARAMETERS(X)
#undef X
    { 0 }
};

const size_t migrate_parameter_offsets[] = {
#define X(c, name, type, unit_size, min, max, value, unit, words, help) offsetof(struct migrate_parameters, c),
    MIGRATE_PARAMETERS(X)
#undef X
};

const struct migrate_capability_info migrate_capability_info[] = {
#define X(c, name, help) { name, help, offsetof(struct migrate_capabilities, c) },
    MIGRATE_CAPABILITIES(X)
#undef X
    { 0 }
};

const struct property migrate_capability_properties[] = {
#define X(c, text, words) { .name = text, .type = PROPERTY_BOOL, .value_default = "off", .help = words },
    MIGRATE_CAPABILITIES(X)
#undef X
    { 0 }
};

const struct counter_info migrate_counter_info[] = {
#define X(c, unit, help) { #c, unit, help, offsetof(struct migrate_counters, c) },
    MIGRATE_COUNTERS(X)
#undef X
    { 0 }
};

static bool
store_parameter(struct migrate_parameters *p, unsigned at, const char *text, GError **error)
{
    const struct property *property = &migrate_parameter_properties[at];
    struct value value = { 0 };
    bool good = property_parse_value(property, text, &value, error);

    if (good) {
        _Atomic uint64_t *place = (_Atomic uint64_t *)((char *)p + migrate_parameter_offsets[at]);
        if (place == &p->xbzrle_cache_size)
            value.number = page_cache_size_round(value.number);
        atomic_store(place, property->type == PROPERTY_BOOL ? value.flag : value.number);
    }
    g_free(value.word);
    return good;
}

void
migrate_parameters_init(struct migrate_parameters *p)
{
    for (unsigned at = 0; migrate_parameter_properties[at].type != PROPERTY_END; at++) {
        bool good = store_parameter(p, at, migrate_parameter_properties[at].value_default, NULL);

        g_assert(good);
    }
}

/* Rules between parameters. */
static bool
parameters_agree(const struct migrate_parameters *p, GError **error)
{
    uint64_t initial = counter_read(&p->cpu_throttle_initial), most = counter_read(&p->max_cpu_throttle);

    return initial <= most
        || fail(error, NUMON_ERROR_ARGUMENT, "max-cpu-throttle (%" G_GUINT64_FORMAT " %%) would be below "
                "cpu-throttle-initial (%" G_GUINT64_FORMAT " %%)", most, initial);
}

bool
migrate_parameter_set(struct migrate_parameters *p, const char *name, const char *text, GError **error)
{
    int at = property_find(migrate_parameter_properties, name);
    struct migrate_parameters next;

    if (at < 0)
        return fail(error, NUMON_ERROR_ARGUMENT, "no migration parameter is called '%s' (`info migrate_parameters` "
                    "lists them)", name);
    /* Tried on a copy: a migration that runs must not see a value that is refused. */
    for (unsigned i = 0; migrate_parameter_properties[i].type != PROPERTY_END; i++) {
        size_t offset = migrate_parameter_offsets[i];
        atomic_init((_Atomic uint64_t *)((char *)&next + offset),
                    counter_read((const _Atomic uint64_t *)((const char *)p + offset)));
    }
    return store_parameter(&next, (unsigned)at, text, error) && parameters_agree(&next, error)
        && store_parameter(p, (unsigned)at, text, error);
}

char *
migrate_parameter_text(const struct migrate_parameters *p, unsigned at)
{
    const struct property *property = &migrate_parameter_properties[at];
    uint64_t value = counter_read((const void *)((const char *)p + migrate_parameter_offsets[at]));

    if (property->type == PROPERTY_CHOICE)
        return g_strdup(property->choices[value]);
    if (property->type == PROPERTY_BOOL)
        return g_strdup(value ? "on" : "off");
    return g_strdup_printf("%" G_GUINT64_FORMAT, value);
}

/* What a script for QEMU may ask for and numon has not, and why where that is more than that nobody made it. */
static const struct { const char *name, *reason; } not_supported[] = {
    { "rdma-pin-all", NULL }, { "postcopy-ram", NULL }, { "x-colo", NULL },
    { "release-ram", NULL }, { "block", NULL }, { "multifd", NULL }, { "x-multifd", NULL }, { "dirty-bitmaps", NULL },
    { "postcopy-blocktime", NULL }, { "late-block-activate", NULL }, { "x-ignore-shared", NULL },
    { "validate-uuid", NULL }, { "background-snapshot", NULL }, { "zero-copy-send", NULL },
    { "postcopy-preempt", NULL }, { "switchover-ack", NULL }, { "mapped-ram", NULL },
};

/* What cannot be on together. */
static bool
capabilities_agree(const struct migrate_capabilities *c, const char *name, GError **error)
{
    bool limits = name_equal(name, "dirty-limit"), converges = name_equal(name, "auto-converge");

    if ((limits && atomic_load(&c->auto_converge)) || (converges && atomic_load(&c->dirty_limit)))
        return fail(error, NUMON_ERROR_ARGUMENT, "capability '%s' does not go with '%s', which is on: both slow the "
                    "guest down", name, limits ? "auto-converge" : "dirty-limit");
    return true;
}

bool
migrate_capability_set(struct migrate_capabilities *c, const char *name, bool on, GError **error)
{
    if (on && !capabilities_agree(c, name, error))
        return false;
    for (const struct migrate_capability_info *i = migrate_capability_info; i->name; i++)
        if (name_equal(i->name, name)) {
            atomic_store((_Atomic bool *)((char *)c + i->offset), on);
            return true;
        }
    for (size_t i = 0; i < G_N_ELEMENTS(not_supported); i++)
        if (name_equal(not_supported[i].name, name))
            return fail(error, NUMON_ERROR_ARGUMENT, "capability '%s' is not supported by numon%s%s", name,
                        not_supported[i].reason ? ": " : "", not_supported[i].reason ? not_supported[i].reason : "");
    return fail(error, NUMON_ERROR_ARGUMENT, "no migration capability is called '%s' (`info migrate_capabilities` "
                "lists them)", name);
}
