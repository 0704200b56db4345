/* SPDX-License-Identifier: GPL-3.0-or-later */
/* info migrate, migrate_parameters, migrate_capabilities.  Layouts: QEMU's of the 4.2 to 9.x generation, without the
 * globals block. */
#include "migrate-views.h"

#include <string.h>

/* --- migrate ---------------------------------------------------------------------------------------------------- */

/* The lines of the layout: key in the tree, label, unit; in this order, those in the tree only. */
static const struct { const char *key, *label, *unit; } migrate_lines[] = {
    { "total-time", "total time", " ms" },
    { "expected-downtime", "expected downtime", " ms" },
    { "downtime", "downtime", " ms" },
    { "setup-time", "setup", " ms" },
    { "transferred", "transferred ram", " kbytes" },
    { "throughput", "throughput", " mbps" },
    { "remaining", "remaining ram", " kbytes" },
    { "total", "total ram", " kbytes" },
    { "duplicate", "duplicate", " pages" },
    { "skipped", "skipped", " pages" },
    { "normal", "normal", " pages" },
    { "normal-bytes", "normal bytes", " kbytes" },
    { "handed-bytes", "handed over", " kbytes" },
    { "copied-bytes", "copied by the destination", " kbytes" },
    { "dirty-sync-count", "dirty sync count", "" },
    { "page-size", "page size", " kbytes" },
    { "multifd-bytes", "multifd bytes", " kbytes" },
    { "pages-per-second", "pages-per-second", "" },
    { "dirty-pages-rate", "dirty pages rate", " pages" },
    { "cpu-throttle-percentage", "cpu throttle percentage", "" },
    { "throttle-strikes", "throttle strikes", "" },
    { "dirty-limit-throttle-time-per-round", "dirty-limit throttle time", " us" },
    { "dirty-limit-ring-full-time", "dirty-limit ring full time", " us" },
    { "precopy-bytes", "precopy ram", " kbytes" },
    { "downtime-bytes", "downtime ram", " kbytes" },
    { "xbzrle-cache-size", "cache size", " bytes" },
    { "xbzrle-bytes", "xbzrle transferred", " kbytes" },
    { "xbzrle-pages", "xbzrle pages", " pages" },
    { "xbzrle-cache-miss", "xbzrle cache miss", " pages" },
    { "xbzrle-cache-miss-rate", "xbzrle cache miss rate", "" },
    { "xbzrle-encoding-rate", "xbzrle encoding rate", "" },
    { "xbzrle-overflow", "xbzrle overflow", "" },
    { "compression-pages", "compression pages", " pages" },
    { "compression-busy", "compression busy", "" },
    { "compression-busy-rate", "compression busy rate", "" },
    { "compressed-size", "compressed size", " kbytes" },
    { "compression-rate", "compression rate", "" },
};

static void
put(GVariantDict *dict, const char *key, uint64_t number)
{
    g_variant_dict_insert(dict, key, "t", number);
}

static void
put_times(GVariantDict *dict, const struct migrate_info *i)
{
    put(dict, "total-time", i->total_ms);
    put(dict, "setup-time", i->setup_ms);
    if (i->downtime_known) {
        put(dict, "downtime", (i->downtime_us + 500) / 1000);
        put(dict, "downtime-us", i->downtime_us);
    } else if (i->direction == MIGRATE_OUT) {
        put(dict, "expected-downtime", i->expected_downtime_ms);
    }
}

static void
put_ram(GVariantDict *dict, const struct migrate_info *i)
{
    put(dict, "transferred", i->bytes);
    g_variant_dict_insert(dict, "throughput", "d", i->mbps);
    put(dict, "remaining", i->remaining_bytes);
    put(dict, "total", i->total_bytes);
    put(dict, "duplicate", i->pages_zero);
    put(dict, "skipped", 0);
    put(dict, "normal", i->pages_normal);
    put(dict, "normal-bytes", i->pages_normal * i->page_size);
    if (i->handed_bytes)
        put(dict, "handed-bytes", i->handed_bytes);
    if (i->copied_bytes)
        put(dict, "copied-bytes", i->copied_bytes);
    put(dict, "dirty-sync-count", i->dirty_syncs);
    put(dict, "page-size", i->page_size);
    put(dict, "multifd-bytes", 0);
    put(dict, "pages-per-second", i->pages_per_second);
    if (i->dirty_pages_rate && !migrate_state_ended(i->state))
        put(dict, "dirty-pages-rate", i->dirty_pages_rate);
    if (i->throttle_percent)
        put(dict, "cpu-throttle-percentage", i->throttle_percent);
    if (i->dirty_limit) {
        put(dict, "dirty-limit-throttle-time-per-round", i->limit_nap_us);
        put(dict, "dirty-limit-ring-full-time", i->limit_full_us);
    }
    if (i->throttle_strikes)
        put(dict, "throttle-strikes", i->throttle_strikes);
    if (i->precopy_bytes)
        put(dict, "precopy-bytes", i->precopy_bytes);
    if (i->downtime_bytes)
        put(dict, "downtime-bytes", i->downtime_bytes);
}

static void
put_xbzrle(GVariantDict *dict, const struct migrate_info *i)
{
    put(dict, "xbzrle-cache-size", i->cache_bytes);
    put(dict, "xbzrle-bytes", i->xbzrle_bytes);
    put(dict, "xbzrle-pages", i->xbzrle_pages);
    put(dict, "xbzrle-cache-miss", i->xbzrle_misses);
    g_variant_dict_insert(dict, "xbzrle-cache-miss-rate", "d", i->xbzrle_miss_rate);
    g_variant_dict_insert(dict, "xbzrle-encoding-rate", "d", i->xbzrle_encoding_rate);
    put(dict, "xbzrle-overflow", i->xbzrle_overflows);
}

static void
put_compression(GVariantDict *dict, const struct migrate_info *i)
{
    put(dict, "compression-pages", i->compress_pages);
    put(dict, "compression-busy", i->compress_busy);
    g_variant_dict_insert(dict, "compression-busy-rate", "d", i->compress_busy_rate);
    put(dict, "compressed-size", i->compressed_bytes);
    g_variant_dict_insert(dict, "compression-rate", "d", i->compress_rate);
}

static const char *
owner_word(const struct migrate_info *i)
{
    switch (i->owner) {
    case OWNER_THERE:
        return "destination";
    case OWNER_UNKNOWN:
        return "unknown (`migrate_outcome` asks)";
    case OWNER_COPY:
        return "here, and a copy in the stream";
    case OWNER_HERE:
        break;
    }
    return "here";
}

static GVariant *
tree_of(const struct migrate_info *i)
{
    GVariantDict dict;

    g_variant_dict_init(&dict, NULL);
    g_variant_dict_insert(&dict, "status", "s", migrate_state_name(i->state));
    g_variant_dict_insert(&dict, "direction", "s", i->direction == MIGRATE_OUT ? "outgoing" : "incoming");
    if (i->error)
        g_variant_dict_insert_value(&dict, "error-desc", text_variant(i->error));
    if (i->direction == MIGRATE_IN && !migrate_state_ended(i->state))
        g_variant_dict_insert_value(&dict, "socket-address", text_variant(i->uri));
    if (i->direction == MIGRATE_OUT && migrate_state_ended(i->state))
        g_variant_dict_insert(&dict, "guest", "s", owner_word(i));
    if (i->sent_because)
        g_variant_dict_insert(&dict, "sent-because", "s", i->sent_because);
    put_times(&dict, i);
    put_ram(&dict, i);
    if (i->xbzrle)
        put_xbzrle(&dict, i);
    if (i->compress)
        put_compression(&dict, i);
    return g_variant_dict_end(&dict);
}

static GVariant *
get_history(struct monitor *m)
{
    g_autoptr(GPtrArray) list = machine_migrations(m->machine);
    GVariantBuilder rows;

    g_variant_builder_init(&rows, G_VARIANT_TYPE("aa{sv}"));
    for (unsigned i = 0; i < list->len; i++)
        g_variant_builder_add_value(&rows, tree_of(&((const struct migrate_record *)list->pdata[i])->info));
    return g_variant_builder_end(&rows);
}

enum { MIGRATE_P_WHICH, MIGRATE_P_NUMBER };
enum view { VIEW_HISTORY, VIEW_ROUNDS, VIEW_DOWNTIME, VIEW_WHY, VIEW_STATES, VIEW_NODES, VIEW_BLOCKS, VIEW_VCPUS };
static const char *const migrate_which[] = {
    "history", "rounds", "downtime", "why", "states", "nodes", "blocks", "vcpus", NULL
};
static const struct property migrate_item_args[] = {
    [MIGRATE_P_WHICH] = { "which", PROPERTY_CHOICE, .choices = migrate_which,
                          .help = "history lists those that have ended; rounds a row for each round; downtime the "
                                  "switchover in parts; why one sentence; states the path and what is allowed now; "
                                  "nodes, blocks and vcpus what is left, dirtied and zero in each" },
    [MIGRATE_P_NUMBER] = { "number", PROPERTY_UINT, .max = MACHINE_MIGRATIONS - 1,
                           .help = "one of the history instead of the current or last one" },
    { 0 }
};

static GVariant *
view_tree(struct monitor *m, enum view view, const struct migrate_record *r)
{
    switch (view) {
    case VIEW_HISTORY:
        break;
    case VIEW_ROUNDS:
        return rounds_tree(r);
    case VIEW_DOWNTIME:
        return downtime_tree(m->machine, r);
    case VIEW_WHY:
        return why_tree(m->machine, r);
    case VIEW_STATES:
        return states_tree(m, r);
    case VIEW_NODES:
    case VIEW_BLOCKS:
    case VIEW_VCPUS:
        return shares_tree(r, migrate_which[view]);
    }
    return get_history(m);
}

/* The view of one of the history, or of the current or last migration. */
static GVariant *
get_view(struct monitor *m, const struct values *args, GError **error)
{
    enum view view = (enum view)args->at[MIGRATE_P_WHICH].number;
    const struct value *number = &args->at[MIGRATE_P_NUMBER];
    struct session *s = machine_session(m->machine);

    if (number->set) {
        g_autoptr(GPtrArray) list = machine_migrations(m->machine);

        if (number->number < list->len)
            return view_tree(m, view, list->pdata[number->number]);
        fail(error, NUMON_ERROR_ARGUMENT, "there is no migration %" G_GUINT64_FORMAT " in the history (`info migrate "
             "history` lists them)", number->number);
        return NULL;
    }
    struct migrate_record *record = s ? session_record(s) : NULL;
    GVariant *tree = view_tree(m, view, record);
    migrate_record_free(record);
    return tree;
}

static GVariant *
get_migrate(struct monitor *m, const struct values *args, GError **error)
{
    struct session *s = machine_session(m->machine);
    struct migrate_info info;
    GVariant *tree;

    if (args && args->at[MIGRATE_P_WHICH].set)
        return get_view(m, args, error);
    if (!s)
        return g_variant_new_array(G_VARIANT_TYPE("{sv}"), NULL, 0);
    session_info(s, &info);
    tree = tree_of(&info);
    migrate_info_release(&info);
    return tree;
}

static void
print_line(GVariant *tree, const char *key, const char *label, const char *unit, GString *out)
{
    g_autoptr(GVariant) v = g_variant_lookup_value(tree, key, NULL);

    if (!v)
        return;
    if (g_variant_is_of_type(v, G_VARIANT_TYPE_DOUBLE))
        g_string_append_printf(out, "%s: %0.2f%s\n", label, g_variant_get_double(v), unit);
    else
        g_string_append_printf(out, "%s: %" G_GUINT64_FORMAT "%s\n", label,
                               g_variant_get_uint64(v) / (strstr(unit, "kbytes") ? 1024 : 1), unit);
}

/* "0: outgoing, completed: 3 rounds, 132 MiB, 40 normal and 32000 zero pages in 512 ms, guest: destination" */
static void
print_history(GVariant *rows, GString *out)
{
    for (size_t i = 0; i < g_variant_n_children(rows); i++) {
        g_autoptr(GVariant) tree = g_variant_get_child_value(rows, i);
        const char *status = "", *direction = "", *text;

        g_variant_lookup(tree, "status", "&s", &status);
        g_variant_lookup(tree, "direction", "&s", &direction);
        g_string_append_printf(out, "%zu: %s, %s: %" G_GUINT64_FORMAT " rounds, %" G_GUINT64_FORMAT " kbytes, %"
                               G_GUINT64_FORMAT " normal and %" G_GUINT64_FORMAT " zero pages in %" G_GUINT64_FORMAT
                               " ms", i, direction, status, tree_number(tree, "dirty-sync-count"),
                               tree_number(tree, "transferred") / 1024, tree_number(tree, "normal"),
                               tree_number(tree, "duplicate"), tree_number(tree, "total-time"));
        if (g_variant_lookup(tree, "guest", "&s", &text))
            g_string_append_printf(out, ", guest: %s", text);
        if (g_variant_lookup(tree, "error-desc", "&s", &text))
            g_string_append_printf(out, " (%s)", text);
        g_string_append_c(out, '\n');
    }
}

/* The key that names a view. */
static const struct { const char *key; void (*print)(GVariant *tree, unsigned columns, GString *out); } views[] = {
    { "rounds", rounds_print }, { "parts", downtime_print }, { "why", why_print }, { "path", states_print },
    { "nodes", shares_print }, { "blocks", shares_print }, { "vcpus", shares_print },
};

static bool
print_view(GVariant *tree, unsigned columns, GString *out)
{
    for (size_t i = 0; i < G_N_ELEMENTS(views); i++) {
        g_autoptr(GVariant) found = g_variant_lookup_value(tree, views[i].key, NULL);

        if (!found)
            continue;
        views[i].print(tree, columns, out);
        return true;
    }
    return false;
}

static void
print_migrate(GVariant *tree, unsigned columns, GString *out)
{
    const char *status, *text;

    if (g_variant_is_of_type(tree, G_VARIANT_TYPE("aa{sv}"))) {
        print_history(tree, out);
        return;
    }
    if (print_view(tree, columns, out))
        return;
    if (!g_variant_lookup(tree, "status", "&s", &status))
        return;
    g_string_append_printf(out, "Migration status: %s", status);
    if (g_variant_lookup(tree, "error-desc", "&s", &text))
        g_string_append_printf(out, " (%s)", text);
    g_string_append_c(out, '\n');
    for (size_t i = 0; i < G_N_ELEMENTS(migrate_lines); i++)
        print_line(tree, migrate_lines[i].key, migrate_lines[i].label, migrate_lines[i].unit, out);
    if (g_variant_lookup(tree, "sent-because", "&s", &text))
        g_string_append_printf(out, "local copy: memory is sent, as %s\n", text);
    if (g_variant_lookup(tree, "socket-address", "&s", &text))
        g_string_append_printf(out, "socket address: [\n\t%s\n]\n", text);
    if (g_variant_lookup(tree, "guest", "&s", &text))
        g_string_append_printf(out, "guest: %s\n", text);
}

/* --- parameters and capabilities -------------------------------------------------------------------------------- */

static GVariant *
get_parameters(struct monitor *m, const struct values *args, GError **error)
{
    const struct migrate_parameters *parameters = machine_parameters(m->machine);
    GVariantBuilder rows;

    /* Numbers as numbers, words as words. */
    g_variant_builder_init(&rows, G_VARIANT_TYPE("a(svs)"));
    for (unsigned i = 0; migrate_parameter_properties[i].name; i++) {
        const struct property *p = &migrate_parameter_properties[i];
        bool words = p->type == PROPERTY_CHOICE || p->type == PROPERTY_BOOL;
        g_autofree char *text = migrate_parameter_text(parameters, i);

        g_variant_builder_add(&rows, "(svs)", p->name, words ? g_variant_new_string(text)
                              : g_variant_new_uint64(g_ascii_strtoull(text, NULL, 10)), p->unit ? p->unit : "");
    }
    return g_variant_builder_end(&rows);
}

static void
print_parameters(GVariant *tree, GString *out)
{
    GVariantIter iter;
    const char *name, *unit;
    GVariant *value;

    g_variant_iter_init(&iter, tree);
    while (g_variant_iter_next(&iter, "(&sv&s)", &name, &value, &unit)) {
        g_string_append_printf(out, "%s: ", name);
        if (g_variant_is_of_type(value, G_VARIANT_TYPE_STRING))
            g_string_append(out, g_variant_get_string(value, NULL));
        else
            g_string_append_printf(out, "%" G_GUINT64_FORMAT, g_variant_get_uint64(value));
        g_string_append_printf(out, "%s%s\n", *unit ? " " : "", unit);
        g_variant_unref(value);
    }
}

static GVariant *
get_capabilities(struct monitor *m, const struct values *args, GError **error)
{
    const char *base = (const char *)machine_capabilities(m->machine);
    GVariantBuilder rows;

    g_variant_builder_init(&rows, G_VARIANT_TYPE("a(sb)"));
    for (const struct migrate_capability_info *c = migrate_capability_info; c->name; c++)
        g_variant_builder_add(&rows, "(sb)", c->name,
                              (gboolean)atomic_load((const _Atomic bool *)(base + c->offset)));
    return g_variant_builder_end(&rows);
}

static void
print_capabilities(GVariant *tree, GString *out)
{
    GVariantIter iter;
    const char *name;
    gboolean on;

    g_variant_iter_init(&iter, tree);
    while (g_variant_iter_next(&iter, "(&sb)", &name, &on))
        g_string_append_printf(out, "%s: %s\n", name, on ? "on" : "off");
}

const struct info_item info_migrate_items[] = {
    { .name = "migrate", .summary = "status and statistics of the current or last migration", .when = WHEN_ALWAYS,
      .args = migrate_item_args, .get = get_migrate, .fit = print_migrate },
    { .name = "migrate_parameters", .summary = "migration parameters", .when = WHEN_ALWAYS,
      .get = get_parameters, .print = print_parameters },
    { .name = "migrate_capabilities", .summary = "migration capabilities", .when = WHEN_ALWAYS,
      .get = get_capabilities, .print = print_capabilities },
    { 0 }
};
