/* SPDX-License-Identifier: GPL-3.0-or-later */
/* `info dirty`: which parts of guest memory are written, as a map of cells by guest physical address.  Measured for a
 * second through the dirty hub; or, with -r, what a round of the last migration out had to send. */
#include "monitor-private.h"
#include "table.h"

#include <inttypes.h>
#include <string.h>

enum { ROW_CELLS = 64, CELLS_MOST = 16 * ROW_CELLS, PERIOD_MS = 1000 };
/* Nothing, then up to an eighth, two eighths ... of a cell's pages. */
static const char shades[] = ".:-=+*#%@";
enum { SHADES = sizeof shades - 2 };

enum { DIRTY_ROUND };
static const struct property dirty_args[] = {
    [DIRTY_ROUND] = { "-r", PROPERTY_UINT, .min = 1, .max = UINT32_MAX,
                      .help = "what this round of the last migration out sent, that is what was dirty when it "
                              "began" },
    { 0 }
};

/* --- the tree --------------------------------------------------------------------------------------------------- */

/* Cells of one section are one row of the tree. */
static bool
same_piece(const struct dirty_cell *a, const struct dirty_cell *b)
{
    return a->block == b->block && a->node == b->node && a->gpa + a->pages * PAGE_SIZE == b->gpa;
}

static GVariant *
piece_tree(const GArray *cells, unsigned first, unsigned end)
{
    const struct dirty_cell *c = &g_array_index(cells, struct dirty_cell, first);
    uint64_t pages = 0, dirty = 0;
    GVariantBuilder counts;
    GVariantDict dict;

    g_variant_builder_init(&counts, G_VARIANT_TYPE("at"));
    for (unsigned i = first; i < end; i++) {
        pages += g_array_index(cells, struct dirty_cell, i).pages;
        dirty += g_array_index(cells, struct dirty_cell, i).dirty;
        g_variant_builder_add(&counts, "t", g_array_index(cells, struct dirty_cell, i).dirty);
    }
    g_variant_dict_init(&dict, NULL);
    g_variant_dict_insert_value(&dict, "block", text_variant(c->block->name));
    g_variant_dict_insert(&dict, "node", "i", (gint32)c->node);
    g_variant_dict_insert(&dict, "physical", "t", c->gpa);
    g_variant_dict_insert(&dict, "pages", "t", pages);
    g_variant_dict_insert(&dict, "dirty", "t", dirty);
    g_variant_dict_insert_value(&dict, "cells", g_variant_builder_end(&counts));
    return g_variant_dict_end(&dict);
}

static GVariant *
map_tree(const GArray *cells, uint64_t period_us, uint64_t round)
{
    uint64_t cell_pages = 0;
    GVariantBuilder pieces;
    GVariantDict dict;
    unsigned first = 0;

    g_variant_builder_init(&pieces, G_VARIANT_TYPE("aa{sv}"));
    for (unsigned i = 1; i <= cells->len; i++) {
        const struct dirty_cell *c = &g_array_index(cells, struct dirty_cell, i - 1);

        cell_pages = MAX(cell_pages, c->pages);
        if (i < cells->len && same_piece(c, c + 1))
            continue;
        g_variant_builder_add_value(&pieces, piece_tree(cells, first, i));
        first = i;
    }
    g_variant_dict_init(&dict, NULL);
    g_variant_dict_insert(&dict, "cell-pages", "t", cell_pages);
    if (round)
        g_variant_dict_insert(&dict, "round", "t", round);
    else
        g_variant_dict_insert(&dict, "period-us", "t", period_us);
    g_variant_dict_insert_value(&dict, "pieces", g_variant_builder_end(&pieces));
    return g_variant_dict_end(&dict);
}

/* --- measured --------------------------------------------------------------------------------------------------- */

struct looking { struct call *call; };          /* NULL: the call has gone */

static void
measured(void *self, const struct dirty_measure *result, const GError *error)
{
    struct looking *l = self;
    struct call *call = l->call;

    g_free(l);
    if (!call)
        return;
    call->data = NULL;
    call->data_free = NULL;
    uint64_t period_us = result->points->len
                             ? g_array_index(result->points, struct dirty_point, result->points->len - 1).us : 0;
    info_finish(call, info_find("dirty"), error ? NULL : map_tree(result->cells, period_us, 0), error);
}

static void
forget_call(void *data)
{
    struct looking *l = data;

    l->call = NULL;
}

static enum outcome
begin_measuring(struct call *call, GError **error)
{
    struct looking *l = g_new(struct looking, 1);

    l->call = call;
    if (!machine_measure_dirty(call->monitor->machine, CELLS_MOST, PERIOD_MS, measured, l, error)) {
        g_free(l);
        return COMMAND_FAILED;
    }
    call->data = l;
    call->data_free = forget_call;
    return COMMAND_PENDING;
}

/* --- remembered ------------------------------------------------------------------------------------------------- */

static bool
look_back(struct monitor *m, uint64_t round, GArray *cells, GError **error)
{
    struct session *s = machine_session(m->machine);

    for (unsigned i = 0; i < cells->len; i++) {
        struct dirty_cell *c = &g_array_index(cells, struct dirty_cell, i);

        if (!s || !session_round_pages(s, round, c->block, c->first, c->pages, &c->dirty))
            return fail(error, NUMON_ERROR_STATE, "round %" PRIu64 " is not remembered: there was none of that "
                                                  "number in "
                        "a migration out, or others came since (`info migrate rounds` lists them)", round);
    }
    return true;
}

static enum outcome
dirty_begin(struct call *call, const struct values *args, GError **error)
{
    struct monitor *m = call->monitor;
    uint64_t round = args->at[DIRTY_ROUND].number;
    g_autoptr(GVariant) tree = NULL;
    g_autoptr(GArray) cells = NULL;

    if (!args->at[DIRTY_ROUND].set)
        return begin_measuring(call, error);
    cells = machine_dirty_cells(machine_map(m->machine), CELLS_MOST);
    if (!look_back(m, round, cells, error))
        return COMMAND_FAILED;
    tree = g_variant_ref_sink(map_tree(cells, 0, round));
    info_print(call, info_find("dirty"), tree);
    return COMMAND_DONE;
}

/* --- its layout ------------------------------------------------------------------------------------------------- */

static char
shade_of(uint64_t dirty, uint64_t pages)
{
    return dirty == 0 || pages == 0 ? shades[0] : shades[MIN((dirty * SHADES + pages - 1) / pages, SHADES)];
}

/* Signs in a row, behind the address: a power of two, so that addresses are round. */
static unsigned
cells_for(unsigned columns)
{
    enum { ADDRESS_WIDTH = 13, LEAST = 8 };
    unsigned cells = ROW_CELLS;

    while (columns && cells > LEAST && cells + ADDRESS_WIDTH > columns)
        cells /= 2;
    return cells;
}

static void
print_piece(GVariant *piece, uint64_t cell_pages, unsigned columns, GString *out)
{
    g_autoptr(GString) head = g_string_new(NULL);
    unsigned row_cells = cells_for(columns);
    g_autoptr(GVariant) counts = g_variant_lookup_value(piece, "cells", G_VARIANT_TYPE("at"));
    uint64_t pages = tree_number(piece, "pages"), dirty = tree_number(piece, "dirty"), left = pages;
    const char *block = "";
    gint32 node = -1;
    guint64 count;

    g_variant_lookup(piece, "block", "&s", &block);
    g_variant_lookup(piece, "node", "i", &node);
    if (node >= 0)
        g_string_append_printf(head, "node %d, ", node);
    g_string_append_printf(head, "%s: %" PRIu64 " of %" PRIu64 " pages (%.1f %%)", block, dirty, pages,
                           pages ? (double)dirty * 100 / (double)pages : 0.0);
    wrap_text(out, head->str, 2, columns);
    for (size_t i = 0; i < g_variant_n_children(counts); i++) {
        if (i % row_cells == 0)
            g_string_append_printf(out, "%s%12" PRIx64 " ", i ? "\n" : "",
                                   tree_number(piece, "physical") + i * cell_pages * PAGE_SIZE);
        g_variant_get_child(counts, i, "t", &count);
        g_string_append_c(out, shade_of(count, MIN(left, cell_pages)));
        left -= MIN(left, cell_pages);
    }
    g_string_append_c(out, '\n');
}

static void
dirty_print(GVariant *tree, unsigned columns, GString *out)
{
    g_autoptr(GVariant) pieces = g_variant_lookup_value(tree, "pieces", G_VARIANT_TYPE("aa{sv}"));
    uint64_t cell_pages = tree_number(tree, "cell-pages"), round = tree_number(tree, "round");
    g_autofree char *cell = size_format(cell_pages * PAGE_SIZE);
    g_autoptr(GString) head = g_string_new(NULL);

    if (round)
        g_string_append_printf(head, "dirty when round %" PRIu64 " began", round);
    else
        g_string_append_printf(head, "written within %" PRIu64 " ms", tree_number(tree, "period-us") / 1000);
    g_string_append_printf(head, "; a sign is %s: '%c' nothing, '%c' to '%c' more and more of it", cell, shades[0],
                           shades[1], shades[SHADES]);
    wrap_text(out, head->str, 2, columns);
    for (size_t i = 0; i < g_variant_n_children(pieces); i++) {
        g_autoptr(GVariant) piece = g_variant_get_child_value(pieces, i);
        print_piece(piece, cell_pages, columns, out);
    }
}

const struct info_item info_dirty_items[] = {
    { .name = "dirty", .summary = "a map of what the guest writes", .when = WHEN_BUILT, .args = dirty_args,
      .begin = dirty_begin, .fit = dirty_print },
    { 0 }
};
