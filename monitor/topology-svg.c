/* SPDX-License-Identifier: GPL-3.0-or-later */
/* `info topology -o FILE.svg`: the same tree as a picture: a box a node, then the matrices as tables whose cells are
 * the darker the farther a node is. */
#include <stdlib.h>
#include <string.h>

#include "monitor-private.h"

enum {
    MARGIN = 16, LINE = 18, BOX_WIDTH = 420, BOX_GAP = 12, COLUMNS = 3, CELL_WIDTH = 56, CELL_HEIGHT = 22, LETTER = 7,
};

/* The page so far; coordinates in pixels. */
struct page {
    GString *body;
    int y, width;                   /* where the next thing goes; how wide the page has become */
};

static void
put_text(struct page *p, int x, int y, const char *style, const char *text)
{
    g_autofree char *shown = text_printable(text), *escaped = g_markup_escape_text(shown, -1);

    g_string_append_printf(p->body, "<text x=\"%d\" y=\"%d\" %s>%s</text>\n", x, y, style, escaped);
    p->width = MAX(p->width, x + (int)strlen(shown) * LETTER);
}

static void
put_box(struct page *p, int x, int y, int width, int height, const char *fill)
{
    g_string_append_printf(p->body, "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" fill=\"%s\" "
                           "stroke=\"#445\"/>\n",
                           x, y, width, height, fill);
    p->width = MAX(p->width, x + width);
}

static int
draw_node(struct page *p, int x, guint32 id, GVariant *lines)
{
    gsize count = g_variant_n_children(lines);
    g_autofree char *title = g_strdup_printf("node %u", id);
    int height = LINE * ((int)count + 1) + BOX_GAP;

    put_box(p, x, p->y, BOX_WIDTH, height, "#eef3fa");
    put_text(p, x + 8, p->y + LINE, "font-weight=\"bold\"", title);
    for (gsize i = 0; i < count; i++) {
        const char *line;

        g_variant_get_child(lines, i, "&s", &line);
        put_text(p, x + 8, p->y + LINE * ((int)i + 2), "xml:space=\"preserve\"", line);
    }
    return height;
}

static void
draw_nodes(struct page *p, GVariant *nodes, GVariant *ids)
{
    int tallest = 0;

    for (gsize i = 0; i < g_variant_n_children(nodes); i++) {
        g_autoptr(GVariant) lines = g_variant_get_child_value(nodes, i);
        int column = (int)(i % COLUMNS), height;
        guint32 id;

        if (column == 0 && i) {
            p->y += tallest + BOX_GAP;
            tallest = 0;
        }
        g_variant_get_child(ids, i, "u", &id);
        height = draw_node(p, MARGIN + column * (BOX_WIDTH + BOX_GAP), id, lines);
        tallest = MAX(tallest, height);
    }
    p->y += tallest + 2 * BOX_GAP;
}

/* White at 10, dark at 255: a distance is all that is shaded. */
static void
shade(const char *text, bool shaded, char fill[8])
{
    const char *digits = text + strcspn(text, "0123456789");
    int value = shaded && *digits ? atoi(digits) : 10, light = 250 - (CLAMP(value, 10, 110) - 10) * 13 / 10;

    g_snprintf(fill, 8, "#%02x%02x%02x", (unsigned)light, (unsigned)light, 255u);
}

static void
draw_cell(struct page *p, int x, int y, const char *text, const char *fill)
{
    put_box(p, x, y, CELL_WIDTH, CELL_HEIGHT, fill);
    put_text(p, x + 4, y + CELL_HEIGHT - 6, "", text);
}

static void
draw_matrix(struct page *p, const char *title, GVariant *rows, GVariant *ids, bool shaded)
{
    gsize count = g_variant_n_children(ids);

    p->y += LINE;
    put_text(p, MARGIN, p->y, "font-weight=\"bold\"", title);
    p->y += BOX_GAP;
    for (gsize r = 0; r <= count; r++) {
        g_autoptr(GVariant) row = r ? g_variant_get_child_value(rows, r - 1) : NULL;

        for (gsize c = 0; c <= count; c++) {
            g_autofree char *head = NULL;
            const char *text = "";
            char fill[8] = "#dddddd";

            if (r && c) {
                g_variant_get_child(row, c - 1, "&s", &text);
                shade(text, shaded, fill);
            } else if (r || c) {
                guint32 id;

                g_variant_get_child(ids, r ? r - 1 : c - 1, "u", &id);
                text = head = g_strdup_printf("%u", id);
            }
            draw_cell(p, MARGIN + (int)c * CELL_WIDTH, p->y, text, fill);
        }
        p->y += CELL_HEIGHT;
    }
    p->y += BOX_GAP;
}

static void
draw_notes(struct page *p, GVariant *notes)
{
    for (gsize i = 0; i < g_variant_n_children(notes); i++) {
        const char *text;

        g_variant_get_child(notes, i, "&s", &text);
        p->y += LINE;
        put_text(p, MARGIN, p->y, "", text);
    }
}

void
topology_draw_svg(GVariant *tree, GString *out)
{
    g_autoptr(GVariant) ids = g_variant_lookup_value(tree, "ids", G_VARIANT_TYPE("au"));
    g_autoptr(GVariant) nodes = g_variant_lookup_value(tree, "nodes", G_VARIANT_TYPE("aas"));
    g_autoptr(GVariant) distances = g_variant_lookup_value(tree, "distances", G_VARIANT_TYPE("aas"));
    g_autoptr(GVariant) tables = g_variant_lookup_value(tree, "tables", G_VARIANT_TYPE("a(saas)"));
    g_autoptr(GVariant) notes = g_variant_lookup_value(tree, "notes", G_VARIANT_TYPE_STRING_ARRAY);
    g_autoptr(GString) body = g_string_new(NULL);
    struct page p = { .body = body, .y = MARGIN };

    draw_nodes(&p, nodes, ids);
    if (distances)
        draw_matrix(&p, "distances, from row to column: (n) mirrored, [n] by default, ? missing", distances, ids,
                    true);
    for (gsize t = 0; t < g_variant_n_children(tables); t++) {
        g_autoptr(GVariant) rows = NULL;
        const char *title;

        g_variant_get_child(tables, t, "(&s@aas)", &title, &rows);
        draw_matrix(&p, title, rows, ids, false);
    }
    draw_notes(&p, notes);
    g_string_append_printf(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<svg "
                           "xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" "
                           "font-family=\"monospace\" font-size=\"12\">\n<rect width=\"100%%\" height=\"100%%\" "
                           "fill=\"white\"/>\n%s</svg>\n", p.width + MARGIN,
                           p.y + MARGIN, body->str);
}
