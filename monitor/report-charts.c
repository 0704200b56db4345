/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Drawings of a report: SVG inside the page, in its colors.  Nothing here knows what the numbers mean. */
#include "report.h"

#include <math.h>

enum { WIDTH = 960, HEIGHT = 200, LEFT = 64, RIGHT = 12, TOP = 14, BOTTOM = 26 };
enum { POINTS_MOST = 600 };         /* of a line: more are not seen */
enum { CELL = 12, ROW_CELLS = 64 };
enum { COLORS = 8 };

/* Numbers in a page have a point, whatever the locale. */
static void
add_number(GString *out, double value)
{
    char text[G_ASCII_DTOSTR_BUF_SIZE];

    g_string_append(out, g_ascii_formatd(text, sizeof text, "%.1f", value));
}

/* The least of 1, 2, 5, 10 ... with which 'steps' of them reach 'most'. */
static double
step_of(double most, unsigned steps)
{
    double step = pow(10, floor(log10(most / steps))), over = most / step / steps;

    return over <= 1 ? step : over <= 2 ? 2 * step : over <= 5 ? 5 * step : 10 * step;
}

static double
x_at(const struct chart *c, double x)
{
    return LEFT + x / c->x_most * (WIDTH - LEFT - RIGHT);
}

static double
y_at(double y, double most)
{
    return HEIGHT - BOTTOM - y / most * (HEIGHT - TOP - BOTTOM);
}

static void
add_line(GString *out, const char *class, double x1, double y1, double x2, double y2)
{
    g_string_append_printf(out, "<line class=\"%s\" x1=\"", class);
    add_number(out, x1);
    g_string_append(out, "\" y1=\"");
    add_number(out, y1);
    g_string_append(out, "\" x2=\"");
    add_number(out, x2);
    g_string_append(out, "\" y2=\"");
    add_number(out, y2);
    g_string_append(out, "\"/>");
}

static void
add_label(GString *out, const char *anchor, double x, double y, double value)
{
    char text[G_ASCII_DTOSTR_BUF_SIZE];

    g_string_append_printf(out, "<text text-anchor=\"%s\" x=\"", anchor);
    add_number(out, x);
    g_string_append(out, "\" y=\"");
    add_number(out, y);
    g_string_append_printf(out, "\">%s</text>", g_ascii_formatd(text, sizeof text, "%g", value));
}

static void
draw_axes(const struct chart *c, double most, GString *out)
{
    double step = step_of(most, 4), x_step = step_of(c->x_most, 12);

    for (double y = 0; y <= most * 1.001; y += step) {
        add_line(out, y > 0 ? "grid" : "axis", LEFT, y_at(y, most), WIDTH - RIGHT, y_at(y, most));
        add_label(out, "end", LEFT - 8, y_at(y, most) + 4, y);
    }
    for (double x = 0; x <= c->x_most * 1.001; x += x_step)
        add_label(out, "middle", x_at(c, x), HEIGHT - 8, x);
    for (unsigned i = 1; c->rounds && i < c->rounds->len && c->rounds->len <= 60; i++) {
        double x = (double)g_array_index(c->rounds, struct migrate_round, i).start_us / 1e6;
        add_line(out, "round", x_at(c, x), TOP, x_at(c, x), HEIGHT - BOTTOM);
    }
}

/* The line's points; of many that fall together their mean. */
static void
add_points(const struct chart *c, double most, GString *out)
{
    unsigned group = c->count / POINTS_MOST + 1;
    double before = y_at(0, most);

    for (unsigned i = 0; i < c->count; i += group) {
        unsigned n = MIN(group, c->count - i);
        double y = 0;

        for (unsigned k = 0; k < n; k++)
            y += c->y[i + k] / n;
        if (c->steps) {
            g_string_append_c(out, ' ');
            add_number(out, x_at(c, c->x[i]));
            g_string_append_c(out, ',');
            add_number(out, before);
        }
        before = y_at(y, most);
        g_string_append_c(out, ' ');
        add_number(out, x_at(c, c->x[i]));
        g_string_append_c(out, ',');
        add_number(out, before);
    }
}

static void
draw_series(const struct chart *c, double most, GString *out)
{
    g_string_append_printf(out, "<polygon class=\"area\" style=\"fill:var(%s)\" points=\"", c->color);
    add_number(out, x_at(c, c->x[0]));
    g_string_append_c(out, ',');
    add_number(out, y_at(0, most));
    add_points(c, most, out);
    g_string_append_c(out, ' ');
    add_number(out, x_at(c, c->x[c->count - 1]));
    g_string_append_c(out, ',');
    add_number(out, y_at(0, most));
    g_string_append_printf(out, "\"/><polyline class=\"series\" style=\"stroke:var(%s)\" points=\"", c->color);
    add_points(c, most, out);
    g_string_append(out, "\"/>");
}

void
chart_draw(const struct chart *c, GString *out)
{
    double most = 0;

    for (unsigned i = 0; i < c->count; i++)
        most = MAX(most, c->y[i]);
    if (c->count == 0 || c->x_most <= 0)
        return;
    most = most > 0 ? most * 1.05 : 1;
    g_string_append_printf(out, "<figure><figcaption><span class=\"dot\" style=\"background:var(%s)\"></span>%s"
                           "<span class=\"unit\">%s</span></figcaption><svg viewBox=\"0 0 %d %d\" role=\"img\" "
                           "aria-label=\"%s\">", c->color, c->title, c->unit, WIDTH, HEIGHT, c->title);
    draw_axes(c, most, out);
    draw_series(c, most, out);
    g_string_append(out, "</svg></figure>\n");
}

void
bar_draw(const struct bar_part *parts, unsigned count, GString *out)
{
    double sum = 0;

    for (unsigned i = 0; i < count; i++)
        sum += parts[i].value;
    if (sum <= 0)
        return;
    g_string_append(out, "<div class=\"bar\">");
    for (unsigned i = 0; i < count; i++) {
        char width[G_ASCII_DTOSTR_BUF_SIZE];
        g_ascii_formatd(width, sizeof width, "%.3f", parts[i].value * 100 / sum);
        g_string_append_printf(out, "<i style=\"width:%s%%;background:var(--c%u)\" title=\"%s: %s\"></i>", width,
                               i % COLORS, parts[i].name, parts[i].text);
    }
    g_string_append(out, "</div><ul class=\"legend\">");
    for (unsigned i = 0; i < count; i++)
        g_string_append_printf(out, "<li><span class=\"dot\" style=\"background:var(--c%u)\"></span>%s<b>%s</b></li>",
                               i % COLORS, parts[i].name, parts[i].text);
    g_string_append(out, "</ul>\n");
}

void
heat_draw(const double *shares, unsigned count, GString *out)
{
    unsigned rows = (count + ROW_CELLS - 1) / ROW_CELLS;

    g_string_append_printf(out, "<svg class=\"heat\" viewBox=\"0 0 %d %u\">", ROW_CELLS * CELL, rows * CELL);
    for (unsigned i = 0; i < count; i++) {
        char opacity[G_ASCII_DTOSTR_BUF_SIZE];
        g_ascii_formatd(opacity, sizeof opacity, "%.2f", shares[i] > 0 ? 0.15 + 0.85 * MIN(shares[i], 1) : 0);
        g_string_append_printf(out, "<rect class=\"cell\" x=\"%u\" y=\"%u\" width=\"%d\" height=\"%d\"/>",
                               i % ROW_CELLS * CELL, i / ROW_CELLS * CELL, CELL - 1, CELL - 1);
        if (shares[i] > 0)
            g_string_append_printf(out, "<rect class=\"hot\" fill-opacity=\"%s\" x=\"%u\" y=\"%u\" width=\"%d\" "
                                   "height=\"%d\"/>", opacity, i % ROW_CELLS * CELL, i / ROW_CELLS * CELL, CELL - 1,
                                   CELL - 1);
    }
    g_string_append(out, "</svg>\n");
}
