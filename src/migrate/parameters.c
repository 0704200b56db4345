/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Parameters, capabilities and counters: tables made from the one declaration of each in migrate.h. */
#include "migrate.h"

const char *const migrate_switchover_words[] = { "patient", "eager", NULL };

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

const struct counter_info migrate_counter_info[] = {
#define X(c, unit, help) { #c, unit, help, offsetof(struct migrate_counters, c) },
    MIGRATE_COUNTERS(X)
#undef X
    { 0 }
};

void
migrate_parameters_init(struct migrate_parameters *p)
{
    for (const struct property *row = migrate_parameter_properties; row->type != PROPERTY_END; row++) {
        bool good = migrate_parameter_set(p, row->name, row->value_default, NULL);

        g_assert(good);
    }
}

bool
migrate_parameter_set(struct migrate_parameters *p, const char *name, const char *text, GError **error)
{
    int at = property_find(migrate_parameter_properties, name);
    struct value value = { 0 };

    if (at < 0)
        return fail(error, NUMON_ERROR_ARGUMENT, "no migration parameter is called '%s'", name);
    bool good = property_parse_value(&migrate_parameter_properties[at], text, &value, error);
    if (good) {
        _Atomic uint64_t *place = (_Atomic uint64_t *)((char *)p + migrate_parameter_offsets[at]);
        bool flag = migrate_parameter_properties[at].type == PROPERTY_BOOL;
        atomic_store(place, flag ? value.flag : value.number);
    }
    g_free(value.word);
    return good;
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
    { "dirty-limit", "it needs KVM's dirty ring, and dirty pages are logged without one here" },
};

bool
migrate_capability_set(struct migrate_capabilities *c, const char *name, bool on, GError **error)
{
    for (const struct migrate_capability_info *i = migrate_capability_info; i->name; i++)
        if (name_equal(i->name, name)) {
            atomic_store((_Atomic bool *)((char *)c + i->offset), on);
            return true;
        }
    for (size_t i = 0; i < G_N_ELEMENTS(not_supported); i++)
        if (name_equal(not_supported[i].name, name))
            return fail(error, NUMON_ERROR_ARGUMENT, "capability '%s' is not supported by numon%s%s", name,
                        not_supported[i].reason ? ": " : "", not_supported[i].reason ? not_supported[i].reason : "");
    return fail(error, NUMON_ERROR_ARGUMENT, "no migration capability is called '%s'", name);
}
