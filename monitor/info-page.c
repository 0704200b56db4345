/* SPDX-License-Identifier: GPL-3.0-or-later */
/* `info page`: what became of one page in each round of the current or last migration out. */
#include "monitor-private.h"

#include <inttypes.h>

static const char *const fate_words[PAGE_FATES] = {
    [FATE_NONE] = "not sent", [FATE_ZERO] = "zero", [FATE_WHOLE] = "whole", [FATE_COMPRESSED] = "compressed",
    [FATE_BUSY] = "whole, all compressing threads were at work", [FATE_DELTA] = "delta",
    [FATE_SAME] = "nothing, it was the same as before",
    [FATE_MISS] = "whole, cache miss: no copy of it was kept, now one is",
    [FATE_MISS_TAKEN] = "whole, cache miss: another page has its place",
    [FATE_MISS_LAST] = "whole, cache miss: no copy of it was kept",
    [FATE_OVERFLOW] = "whole, its difference is larger than a page",
};

static GVariant *
rounds_tree(const GArray *history)
{
    GVariantBuilder rows;

    g_variant_builder_init(&rows, G_VARIANT_TYPE("a(ts)"));
    for (unsigned i = 0; i < history->len; i++) {
        const struct migrate_page_round *r = &g_array_index(history, struct migrate_page_round, i);

        if (r->fate < PAGE_FATES)
            g_variant_builder_add(&rows, "(ts)", r->round, fate_words[r->fate]);
    }
    return g_variant_builder_end(&rows);
}

static bool
check_session(struct session *s, GError **error)
{
    struct migrate_info info;
    bool out;

    if (!s)
        return fail(error, NUMON_ERROR_STATE, "no page was sent yet: there was no migration");
    session_info(s, &info);
    out = info.direction == MIGRATE_OUT;
    migrate_info_release(&info);
    return out || fail(error, NUMON_ERROR_STATE, "the last migration came in: where it came from it is known how "
                                                 "pages "
                       "were sent");
}

static GVariant *
page_get(struct monitor *m, const struct values *args, GError **error)
{
    struct session *session = machine_session(m->machine);
    g_autoptr(GArray) history = NULL;
    const struct section *s;
    GVariantDict dict;
    uint64_t gpa, page;

    if (!walk_find(m->machine, args, &gpa, error))
        return NULL;
    s = walk_section(machine_map(m->machine), gpa, error);
    if (!s || !check_session(session, error))
        return NULL;
    page = (s->offset + (gpa - s->gpa)) / PAGE_SIZE;
    history = session_page_history(session, s->block, page);
    g_variant_dict_init(&dict, NULL);
    g_variant_dict_insert_value(&dict, "block", text_variant(s->block->name));
    g_variant_dict_insert(&dict, "page", "t", page);
    g_variant_dict_insert(&dict, "offset", "t", page * PAGE_SIZE);
    g_variant_dict_insert(&dict, "physical", "t", gpa / PAGE_SIZE * PAGE_SIZE);
    g_variant_dict_insert(&dict, "node", "i", (gint32)s->node);
    if (session_knows_writers(session))
        g_variant_dict_insert(&dict, "writer", "i", (gint32)session_page_writer(session, s->block, page));
    g_variant_dict_insert_value(&dict, "rounds", rounds_tree(history));
    return g_variant_dict_end(&dict);
}

static void
page_print(GVariant *tree, GString *out)
{
    g_autoptr(GVariant) rounds = g_variant_lookup_value(tree, "rounds", G_VARIANT_TYPE("a(ts)"));
    guint64 page = 0, physical = 0, number, last = 0;
    const char *block = "", *words;
    gint32 node = -1;

    g_variant_lookup(tree, "block", "&s", &block);
    g_variant_lookup(tree, "page", "t", &page);
    g_variant_lookup(tree, "physical", "t", &physical);
    g_variant_lookup(tree, "node", "i", &node);
    g_string_append_printf(out, "page %" PRIu64 " of block '%s', guest physical 0x%" PRIx64, page, block, physical);
    if (node >= 0)
        g_string_append_printf(out, ", node %d", node);
    g_string_append_c(out, '\n');
    for (size_t i = 0; i < g_variant_n_children(rounds); i++) {
        g_variant_get_child(rounds, i, "(t&s)", &number, &words);
        if (number > last + 1)
            g_string_append_printf(out, "rounds %" PRIu64 " to %" PRIu64 ": not remembered any more\n", last + 1,
                                   number - 1);
        g_string_append_printf(out, "round %" PRIu64 ": %s\n", number, words);
        last = number;
    }
    if (!g_variant_lookup(tree, "writer", "i", &node))
        return;
    if (node < 0)
        g_string_append(out, "no vCPU wrote it since the migration began\n");
    else
        g_string_append_printf(out, "written last by vCPU %d\n", node);
}

const struct info_item info_page_items[] = {
    { .name = "page", .summary = "how one page was sent, round by round", .when = WHEN_BUILT, .args = walk_args,
      .get = page_get, .print = page_print },
    { 0 }
};
