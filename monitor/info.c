/* SPDX-License-Identifier: GPL-3.0-or-later */
/* `info`: finds the item, has it make its value tree and its printer lay that out.  And the items of the program
 * itself. */
#include "general.h"

#include <string.h>

#include "build-config.h"

const struct info_item *const info_tables[] = {
    info_general_items, info_config_items, info_device_items, info_run_items, info_migrate_items,
    info_topology_items, info_memory_items, info_acpi_items, info_kvm_items, info_cpu_items, info_register_items,
    info_stats_items, info_peer_items,
    info_page_items, info_dirty_items, info_dirty_rate_items, info_dirty_limit_items,
    info_predict_items, NULL
};

const struct info_item *
info_find(const char *name)
{
    for (unsigned t = 0; info_tables[t]; t++) {
        for (const struct info_item *i = info_tables[t]; i->name; i++) {
            if (name_equal(i->name, name))
                return i;
        }
    }
    return NULL;
}

/* Names of the items allowed at 'when' (0: all). */
GPtrArray *
info_names(unsigned when)
{
    GPtrArray *names = g_ptr_array_new();

    for (unsigned t = 0; info_tables[t]; t++) {
        for (const struct info_item *i = info_tables[t]; i->name; i++) {
            if (!when || (i->when & when))
                g_ptr_array_add(names, (gpointer)i->name);
        }
    }
    return names;
}

char *
info_usage(const struct info_item *i)
{
    g_autofree char *args = i->args ? property_usage_words(i->args) : g_strdup("");

    return g_strdup_printf("info %s%s%s", i->name, *args ? " " : "", args);
}

static void
info_list(struct call *call)
{
    unsigned now = monitor_built(call->monitor) ? WHEN_BUILT : WHEN_PRECONFIG;

    for (unsigned t = 0; info_tables[t]; t++) {
        for (const struct info_item *i = info_tables[t]; i->name; i++)
            call_print(call, "info %-22s %s%s\n", i->name, i->summary, i->when & now ? "" : " (not now)");
    }
}

static const struct info_item *
info_choose(struct call *call, const char *word, GError **error)
{
    g_autoptr(GPtrArray) names = info_names(0);
    const struct info_item *item = info_find(word);
    g_autofree char *shown = text_printable(word);
    GError *ambiguous = NULL;
    const char *near;

    if (item)
        return item;
    if (call->abbreviates) {
        const char *name = name_expand(names, word, &ambiguous);

        if (name)
            return info_find(name);
        if (ambiguous) {
            g_propagate_error(error, ambiguous);
            return NULL;
        }
    }
    g_ptr_array_add(names, NULL);
    near = name_nearest((const char *const *)names->pdata, word);
    fail(error, NUMON_ERROR_ARGUMENT, "unknown info item '%s'%s%s%s; `info` lists them", shown,
         near ? ", did you mean '" : "", near ? near : "", near ? "'" : "");
    return NULL;
}

/* An item's arguments; '*ret' stays NULL if it has none. */
static bool
info_parse(struct call *call, const struct info_item *item, struct values **ret, GError **error)
{
    const char *rest = call->args->at[INFO_P_REST].word;
    bool good = true;

    if (item->args)
        good = (*ret = property_parse_words(item->args, rest ? rest : "", error)) != NULL;
    else if (rest && *rest)
        good = fail(error, NUMON_ERROR_ARGUMENT, "info %s: extraneous characters at the end of line", item->name);
    if (!good)
        call->usage = info_usage(item);
    return good;
}

unsigned
info_columns(const struct call *call)
{
    const struct input_class *class = call->input->class;

    return class->interactive && class->columns ? class->columns(call->input) : 0;
}

void
info_print(struct call *call, const struct info_item *item, GVariant *tree)
{
    if (call->command->run == info_run && call->args->at[INFO_P_JSON].set)
        json_append(tree, call->output);
    else if (item->fit)
        item->fit(tree, info_columns(call), call->output);
    else
        item->print(tree, call->output);
}

void
info_finish(struct call *call, const struct info_item *item, GVariant *tree, const GError *error)
{
    if (!error) {
        g_variant_ref_sink(tree);
        info_print(call, item, tree);
        g_variant_unref(tree);
    }
    call_finish(call, error);
}

/* Of an item that takes time; what it began forgets the call when its data is freed. */
void
info_detach(struct call *call)
{
}

enum outcome
info_run(struct call *call, GError **error)
{
    const char *word = call->args->at[INFO_P_ITEM].word;
    const struct info_item *item;
    g_autoptr(values) args = NULL;
    g_autoptr(GVariant) tree = NULL;
    g_autofree char *what = NULL;

    if (!word) {
        info_list(call);
        return COMMAND_DONE;
    }
    item = info_choose(call, word, error);
    if (!item)
        return COMMAND_FAILED;
    what = g_strdup_printf("info %s", item->name);
    if (!when_allowed(call->monitor, what, item->when, error) || !info_parse(call, item, &args, error))
        return COMMAND_FAILED;
    if (item->begin)
        return item->begin(call, args, error);
    tree = item->get(call->monitor, args, error);
    if (!tree)
        return COMMAND_FAILED;
    g_variant_ref_sink(tree);
    info_print(call, item, tree);
    return COMMAND_DONE;
}

/* --- items of the program itself -------------------------------------------------------------------------------- */

static GVariant *
version_get(struct monitor *m, const struct values *args, GError **error)
{
    return g_variant_new_string(PACKAGE_VERSION);
}

static void
version_print(GVariant *tree, GString *out)
{
    g_string_append_printf(out, "%s\n", g_variant_get_string(tree, NULL));
}

static GVariant *
history_get(struct monitor *m, const struct values *args, GError **error)
{
    GVariantBuilder lines;

    g_variant_builder_init(&lines, G_VARIANT_TYPE("as"));
    for (unsigned i = 0; i < m->history->len; i++) {
        g_autofree char *text = text_printable(m->history->pdata[i]);

        g_variant_builder_add(&lines, "s", text);
    }
    return g_variant_builder_end(&lines);
}

static void
history_print(GVariant *tree, GString *out)
{
    GVariantIter lines;
    const char *text;

    g_variant_iter_init(&lines, tree);
    for (unsigned i = 0; g_variant_iter_next(&lines, "&s", &text); i++)
        g_string_append_printf(out, "%u: '%s'\n", i, text);
}

const struct info_item info_general_items[] = {
    { "version", "version of numon", WHEN_ALWAYS, .get = version_get, .print = version_print },
    { "history", "command lines entered so far", WHEN_ALWAYS, .get = history_get, .print = history_print },
    { 0 }
};
