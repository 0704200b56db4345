/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Features by name, and "MODEL,+feature,-feature" as text. */
#include "cpu-private.h"

#include <string.h>

const char *const cpu_model_names[] = { [CPU_MODEL_BASE] = "base", [CPU_MODEL_HOST] = "host", NULL };

/* --- names ------------------------------------------------------------------------------------------------------ */

static char
plain(char c)
{
    return c == '.' || c == '_' ? '-' : g_ascii_tolower(c);
}

static bool
same_name(const char *a, const char *b)
{
    while (*a && plain(*a) == plain(*b)) {
        a++;
        b++;
    }
    return plain(*a) == plain(*b);
}

int
cpu_feature_find(const char *name)
{
    for (unsigned i = 0; i < cpu_feature_count; i++) {
        const struct cpu_feature *f = &cpu_features[i];

        if (same_name(f->name, name) || (f->alias && same_name(f->alias, name)))
            return (int)i;
    }
    return -1;
}

static const char *const register_names[] = { "eax", "ebx", "ecx", "edx" };

static void
append_place(GString *out, uint32_t function, unsigned index, unsigned reg, unsigned bit)
{
    g_string_append_printf(out, function < 0x100 ? "%x" : "0x%x", function);
    if (function == LEAF_MORE || function == LEAF_XSAVE)
        g_string_append_printf(out, ".%u", index);
    g_string_append_printf(out, ".%s.%u", register_names[reg], bit);
}

char *
cpu_feature_place(const struct cpu_feature *f)
{
    GString *out = g_string_new(NULL);

    append_place(out, f->function, f->index, f->reg, (unsigned)__builtin_ctz(f->mask));
    return g_string_free(out, FALSE);
}

/* --- what leaves show ------------------------------------------------------------------------------------------- */

enum { FEATURE_OSXSAVE = 1 << 27, FEATURE_OSPKE = 1 << 4 };

/* The bits of a register that say nothing of the host: the guest switches them, or they follow from the topology. */
static uint32_t
uncounted(const struct cpu_feature *of)
{
    if (of->function == LEAF_FEATURES && of->reg == CPUID_ECX)
        return FEATURE_OSXSAVE;
    if (of->function == LEAF_FEATURES)
        return FEATURE_HTT;
    if (of->function == LEAF_MORE && of->reg == CPUID_ECX)
        return FEATURE_OSPKE;
    if (of->function == LEAF_EXTENDED_FEATURES && of->reg == CPUID_ECX)
        return FEATURE_CMP_LEGACY | FEATURE_TOPOEXT;
    /* AMD's copies of leaf 1. */
    return of->function == LEAF_EXTENDED_FEATURES && of->reg == CPUID_EDX ? AMD_COPIES : 0;
}

static bool
same_register(const struct cpu_feature *a, const struct cpu_feature *b)
{
    return a->function == b->function && a->index == b->index && a->reg == b->reg;
}

/* Appends what one register shows: all features from 'first' on that lie in it, then bits without a name. */
static void
append_register(const GArray *leaves, unsigned first, GString *out)
{
    const struct cpu_feature *f = &cpu_features[first];
    uint32_t left = cpuid_get(leaves, f->function, f->index, f->reg) & ~uncounted(f);

    for (unsigned i = first; i < cpu_feature_count; i++) {
        if (!same_register(&cpu_features[i], f) || (left & cpu_features[i].mask) == 0)
            continue;
        g_string_append_printf(out, "%s ", cpu_features[i].name);
        left &= ~cpu_features[i].mask;
    }
    for (; left; left &= left - 1) {
        append_place(out, f->function, f->index, f->reg, (unsigned)__builtin_ctz(left));
        g_string_append_c(out, ' ');
    }
}

void
cpu_features_seen(const GArray *leaves, GString *out)
{
    for (unsigned i = 0; i < cpu_feature_count; i++) {
        bool done = false;

        for (unsigned before = 0; before < i && !done; before++)
            done = same_register(&cpu_features[before], &cpu_features[i]);
        if (!done)
            append_register(leaves, i, out);
    }
}

/* --- options ---------------------------------------------------------------------------------------------------- */

static bool
fail_unknown(const char *name, GError **error)
{
    g_autoptr(GString) nearest = g_string_new(NULL);
    unsigned best = UINT_MAX;

    for (unsigned i = 0; i < cpu_feature_count; i++) {
        unsigned distance = name_distance(name, cpu_features[i].name);

        if (distance < best)
            g_string_truncate(nearest, 0);
        best = MIN(best, distance);
        if (distance == best)
            g_string_append_printf(nearest, "%s%s", nearest->len ? ", " : "", cpu_features[i].name);
    }
    return fail(error, NUMON_ERROR_ARGUMENT, "unknown CPU feature '%s'; nearest is %s (`info cpu_features -v` lists "
                "all)", name, nearest->str);
}

static bool
set_feature(struct cpu_options *o, const char *name, bool on, GError **error)
{
    int feature = cpu_feature_find(name);

    if (!*name)
        return fail(error, NUMON_ERROR_ARGUMENT, "the name of a CPU feature is missing: +avx2 asks for one, -avx2 "
                    "takes it away");
    if (feature < 0)
        return fail_unknown(name, error);
    if (cpu_features[feature].refused)
        return fail(error, NUMON_ERROR_ARGUMENT, "cannot %s CPU feature '%s': %s", on ? "ask for" : "take away",
                    cpu_features[feature].name, cpu_features[feature].refused);
    bits_clear(on ? o->off : o->on, (uint64_t)feature, 1);
    bits_set(on ? o->on : o->off, (uint64_t)feature, 1);
    return true;
}

/* "+avx", "-avx", "avx=on", "avx=off". */
static bool
parse_item(struct cpu_options *o, const char *item, GError **error)
{
    const char *equals = strchr(item, '=');
    g_autofree char *name = g_strndup(item, equals ? (size_t)(equals - item) : 0);

    if (!*item || *item == '+' || *item == '-')
        return set_feature(o, *item ? item + 1 : item, *item == '+', error);
    if (!equals)
        return fail(error, NUMON_ERROR_ARGUMENT, "CPU feature '%s' needs a sign: +%s asks for it, -%s takes it away",
                    item, item, item);
    if (strcmp(equals + 1, "on") != 0 && strcmp(equals + 1, "off") != 0)
        return fail(error, NUMON_ERROR_ARGUMENT, "CPU feature '%s' must be 'on' or 'off', not '%s'", name,
                    equals + 1);
    return set_feature(o, name, strcmp(equals + 1, "on") == 0, error);
}

static bool
parse_model(const char *name, enum cpu_model *ret, GError **error)
{
    for (unsigned i = 0; cpu_model_names[i]; i++) {
        if (strcmp(cpu_model_names[i], name) == 0) {
            *ret = (enum cpu_model)i;
            return true;
        }
    }
    return fail(error, NUMON_ERROR_ARGUMENT, "unknown CPU model '%s'; there are base (what migrates between hosts of "
                "one vendor) and host (what this host has)", name);
}

bool
cpu_options_parse(const char *text, struct cpu_options *ret, GError **error)
{
    g_auto(GStrv) items = g_strsplit(text, ",", -1);
    struct cpu_options o = { 0 };

    if (!parse_model(items[0] ? items[0] : "", &o.model, error))
        return false;
    for (char **item = items + 1; *item; item++)
        if (!parse_item(&o, *item, error))
            return false;
    *ret = o;
    return true;
}

bool
cpu_options_equal(const struct cpu_options *a, const struct cpu_options *b)
{
    return a->model == b->model && memcmp(a->on, b->on, sizeof a->on) == 0 &&
           memcmp(a->off, b->off, sizeof a->off) == 0;
}

char *
cpu_options_spell(const struct cpu_options *o)
{
    GString *out = g_string_new(cpu_model_names[o->model]);

    for (unsigned i = 0; i < cpu_feature_count; i++)
        if (bit_test(o->on, i) || bit_test(o->off, i))
            g_string_append_printf(out, ",%c%s", bit_test(o->on, i) ? '+' : '-', cpu_features[i].name);
    return g_string_free(out, FALSE);
}
