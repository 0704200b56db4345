/* SPDX-License-Identifier: GPL-3.0-or-later */
/* `info cpu_features`: what the guest's CPUs show, what they go without, and why. */
#include "monitor-private.h"

#include <string.h>

enum { CPU_P_ALL, CPU_P_FEATURE };
static const struct property cpu_features_args[] = {
    [CPU_P_ALL] = { "-v", PROPERTY_FLAG, .help = "every feature there is, with its place in CPUID and the reason" },
    [CPU_P_FEATURE] = { "feature", PROPERTY_WORD, .complete = COMPLETE_CPU_FEATURE, .help = "this one alone" },
    { 0 }
};

static const char *const state_names[] = {
    [CPU_FEATURE_OFF] = "off", [CPU_FEATURE_ON] = "on", [CPU_FEATURE_LEFT_OUT] = "left out",
};

/* Whose fault it is that a feature is missing, or there. */
static char *
host_name(const char *accel)
{
    return g_strdup_printf("%s here", strcmp(accel, "kvm") == 0 ? "KVM" : accel);
}

static GVariant *
feature_tree(const struct cpu_resolved *r, unsigned feature, const char *host)
{
    const struct cpu_feature_status *s = &r->status[feature];
    g_autofree char *why = cpu_status_text(r, feature, host), *place = cpu_feature_place(&cpu_features[feature]);
    GVariantBuilder dict;

    g_variant_builder_init(&dict, G_VARIANT_TYPE_VARDICT);
    g_variant_builder_add(&dict, "{sv}", "name", g_variant_new_string(cpu_features[feature].name));
    g_variant_builder_add(&dict, "{sv}", "state", g_variant_new_string(state_names[s->state]));
    g_variant_builder_add(&dict, "{sv}", "asked", g_variant_new_boolean(s->asked));
    g_variant_builder_add(&dict, "{sv}", "forced", g_variant_new_boolean(s->why == CPU_WHY_FORCED));
    g_variant_builder_add(&dict, "{sv}", "place", g_variant_new_string(place));
    g_variant_builder_add(&dict, "{sv}", "why", g_variant_new_string(why));
    return g_variant_builder_end(&dict);
}

/* Which one was asked for; -1: all.  False: there is none of the name. */
static bool
which_feature(const struct values *args, int *ret, GError **error)
{
    const char *name = args->at[CPU_P_FEATURE].word;

    *ret = name ? cpu_feature_find(name) : -1;
    return !name || *ret >= 0 ||
           fail(error, NUMON_ERROR_ARGUMENT, "unknown CPU feature '%s'; `info cpu_features -v` lists all", name);
}

static GVariant *
cpu_features_get(struct monitor *m, const struct values *args, GError **error)
{
    g_autofree char *model = cpu_options_spell(&machine_definition(m->machine)->cpu), *host = NULL;
    g_autofree struct cpu_resolved *r = g_new0(struct cpu_resolved, 1);
    GVariantBuilder tree, list;
    const char *accel;
    bool emulated;
    int only;

    if (!which_feature(args, &only, error) || !machine_cpu_features(m->machine, r, &emulated, &accel, error))
        return NULL;
    host = host_name(accel);
    g_variant_builder_init(&list, G_VARIANT_TYPE("aa{sv}"));
    for (unsigned i = 0; emulated && i < cpu_feature_count; i++)
        if (only < 0 || only == (int)i)
            g_variant_builder_add_value(&list, feature_tree(r, i, host));
    g_variant_builder_init(&tree, G_VARIANT_TYPE_VARDICT);
    g_variant_builder_add(&tree, "{sv}", "accelerator", g_variant_new_string(accel));
    g_variant_builder_add(&tree, "{sv}", "emulated", g_variant_new_boolean(emulated));
    g_variant_builder_add(&tree, "{sv}", "model", g_variant_new_string(model));
    g_variant_builder_add(&tree, "{sv}", "all", g_variant_new_boolean(args->at[CPU_P_ALL].set || only >= 0));
    g_variant_builder_add(&tree, "{sv}", "features", g_variant_builder_end(&list));
    return g_variant_builder_end(&tree);
}

/* --- print ------------------------------------------------------------------------------------------------------ */

enum { COLUMNS = 79 };

/* One feature as it stands in the tree; strings live as long as that. */
struct seen { const char *name, *state, *why, *place; gboolean asked, forced; };

static struct seen
seen_at(GVariant *list, gsize i)
{
    g_autoptr(GVariant) f = g_variant_get_child_value(list, i);
    struct seen s = { "", "", "", "", FALSE, FALSE };

    g_variant_lookup(f, "name", "&s", &s.name);
    g_variant_lookup(f, "state", "&s", &s.state);
    g_variant_lookup(f, "why", "&s", &s.why);
    g_variant_lookup(f, "place", "&s", &s.place);
    g_variant_lookup(f, "asked", "b", &s.asked);
    g_variant_lookup(f, "forced", "b", &s.forced);
    return s;
}

/* Names of those that are on, wrapped, behind a title; nothing if there are none. */
static void
print_names(GVariant *list, const char *title, gboolean forced, GString *out)
{
    size_t column = 0;

    for (gsize i = 0; i < g_variant_n_children(list); i++) {
        struct seen s = seen_at(list, i);

        if (strcmp(s.state, state_names[CPU_FEATURE_ON]) != 0 || s.forced != forced)
            continue;
        if (column == 0)
            g_string_append_printf(out, "%s:\n ", title);
        else if (column + 1 + strlen(s.name) > COLUMNS)
            g_string_append(out, "\n ");
        if (column == 0 || column + 1 + strlen(s.name) > COLUMNS)
            column = 1;
        g_string_append_printf(out, " %s", s.name);
        column += 1 + strlen(s.name);
    }
    if (column)
        g_string_append_c(out, '\n');
}

static void
print_left_out(GVariant *list, GString *out)
{
    const char *title = "left out:\n";

    for (gsize i = 0; i < g_variant_n_children(list); i++) {
        struct seen s = seen_at(list, i);

        if (strcmp(s.state, state_names[CPU_FEATURE_LEFT_OUT]) != 0)
            continue;
        g_string_append_printf(out, "%s  %-20s %s%s\n", title, s.name, s.asked ? "asked for, but " : "", s.why);
        title = "";
    }
}

static void
print_all(GVariant *list, GString *out)
{
    for (gsize i = 0; i < g_variant_n_children(list); i++) {
        struct seen s = seen_at(list, i);

        g_string_append_printf(out, "%-26s %-9s %-20s %s%s\n", s.name, s.state, s.place,
                               s.asked && strcmp(s.why, "asked for") != 0 ? "asked for, but " : "", s.why);
    }
}

static void
cpu_features_print(GVariant *tree, GString *out)
{
    g_autoptr(GVariant) list = g_variant_lookup_value(tree, "features", G_VARIANT_TYPE("aa{sv}"));
    const char *accel = "", *model = "";
    gboolean emulated = FALSE, all = FALSE;

    g_variant_lookup(tree, "accelerator", "&s", &accel);
    g_variant_lookup(tree, "model", "&s", &model);
    g_variant_lookup(tree, "emulated", "b", &emulated);
    g_variant_lookup(tree, "all", "b", &all);
    g_string_append_printf(out, "model: %s\n", model);
    if (!emulated) {
        g_string_append_printf(out, "accelerator '%s' emulates no CPU: its workload runs on the host's as they are\n",
                               accel);
    } else if (all) {
        print_all(list, out);
    } else {
        print_names(list, "on", FALSE, out);
        print_names(list, "on, as the host shows them whatever is asked for", TRUE, out);
        print_left_out(list, out);
    }
}

const struct info_item info_cpu_items[] = {
    { "cpu_features", "show what CPUs show, what is left out, and why", WHEN_ALWAYS, cpu_features_args,
      cpu_features_get, cpu_features_print },
    { 0 }
};
