/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The live view's lines:
 *
 *   active  round 4  [##########......]  78 %   12.3 s
 *   sent       19.9 MiB/s  ...sparkline of the last minute...
 *   dirtied    19.7 MiB/s  ...
 *   left         15.2 MiB  ...
 *   downtime 778 ms expected, 300 ms allowed  throttle 20 %
 *   one line of why
 */
#include "live.h"

#include <string.h>

enum { LABEL_WIDTH = 8, VALUE_WIDTH = 13, BAR_LEAST = 6, BAR_MOST = 60 };

void
live_sample_add(struct live_facts *f, const struct live_sample *s)
{
    if (f->count == LIVE_SAMPLES)
        memmove(f->samples, f->samples + 1, (LIVE_SAMPLES - 1) * sizeof *s);
    else
        f->count++;
    f->samples[f->count - 1] = *s;
}

/* --- pieces ----------------------------------------------------------------------------------------------------- */

static const char *const blocks_utf8[] = { " ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█" };
static const char *const blocks_ascii[] = { " ", ".", ":", "-", "=", "+", "*", "%", "#" };
enum { LEVELS = G_N_ELEMENTS(blocks_utf8) - 1 };

/* The mean of the samples that the column stands for; the newest is in the last.  Negative: there is none. */
static double
column_value(const double *values, unsigned count, unsigned column, unsigned columns)
{
    unsigned first = column * LIVE_SAMPLES / columns, end = (column + 1) * LIVE_SAMPLES / columns;
    unsigned missing = LIVE_SAMPLES - count, n = 0;
    double sum = 0;

    for (unsigned i = MAX(first, missing); i < end; i++, n++)
        sum += values[i - missing];
    return n ? sum / n : -1;
}

char *
live_sparkline(const double *values, unsigned count, unsigned columns, bool utf8)
{
    const char *const *blocks = utf8 ? blocks_utf8 : blocks_ascii;
    GString *out = g_string_new(NULL);
    double most = 0;

    columns = MIN(columns, LIVE_SAMPLES);
    for (unsigned i = 0; i < columns; i++)
        most = MAX(most, column_value(values, count, i, columns));
    for (unsigned i = 0; i < columns; i++) {
        double v = column_value(values, count, i, columns);
        /* What is there shows, however little it is beside the largest. */
        unsigned level = v <= 0 ? 0 : 1 + (unsigned)(v / most * (LEVELS - 1) + 0.5);
        g_string_append(out, blocks[MIN(level, LEVELS)]);
    }
    return g_string_free(out, FALSE);
}

/* Cut to so many columns, the last of which says that something is missing. */
static char *
cut(const char *text, unsigned width, bool utf8)
{
    const char *mark = utf8 ? "…" : ">";

    if (g_utf8_strlen(text, -1) <= (glong)width)
        return g_strdup(text);
    g_autofree char *head = g_utf8_substring(text, 0, width - 1);
    return g_strconcat(head, mark, NULL);
}

static char *
bar(double share, unsigned columns, bool utf8)
{
    unsigned full = (unsigned)(CLAMP(share, 0.0, 1.0) * columns + 0.5);
    GString *out = g_string_new("[");

    for (unsigned i = 0; i < columns; i++)
        g_string_append(out, i < full ? (utf8 ? "█" : "#") : utf8 ? "░" : ".");
    return g_string_free(g_string_append_c(out, ']'), FALSE);
}

/* --- lines ------------------------------------------------------------------------------------------------------ */

static double
progress(const struct live_facts *f)
{
    if (f->why.state == MIGRATE_COMPLETED)
        return 1;
    return f->why.total ? 1 - (double)f->remaining / (double)f->why.total : 0;
}

static char *
head_line(const struct live_facts *f, unsigned width, bool utf8)
{
    double share = progress(f);
    g_autofree char *left = g_strdup_printf("%s  round %" G_GUINT64_FORMAT "  ", migrate_state_name(f->why.state),
                                            f->why.round);
    g_autofree char *right = g_strdup_printf(" %3.0f %%  %.1f s", share * 100, (double)f->total_ms / 1000);
    unsigned used = (unsigned)(strlen(left) + strlen(right)) + 2;
    g_autofree char *middle = used + BAR_LEAST <= width ? bar(share, MIN(width - used, BAR_MOST), utf8)
                                                        : g_strdup("");
    g_autofree char *line = g_strconcat(left, middle, right, NULL);

    return cut(line, width, utf8);
}

static char *
chart_line(const struct live_facts *f, const char *label, uint64_t value, const char *unit, size_t offset,
           unsigned width, bool utf8)
{
    double values[LIVE_SAMPLES];
    g_autofree char *size = why_size(value);
    g_autofree char *number = g_strconcat(size, unit, NULL);
    unsigned columns = MIN(width - LABEL_WIDTH - VALUE_WIDTH - 2, 60);

    for (unsigned i = 0; i < f->count; i++)
        values[i] = *(const double *)((const char *)&f->samples[i] + offset);
    g_autofree char *chart = live_sparkline(values, f->count, columns, utf8);
    g_autofree char *line = g_strdup_printf("%-*s%*s  %s", LABEL_WIDTH, label, VALUE_WIDTH, number, chart);
    return cut(g_strchomp(line), width, utf8);
}

static char *
downtime_line(const struct live_facts *f, unsigned width, bool utf8)
{
    g_autofree char *throttle = f->why.throttle_percent ? g_strdup_printf(", throttle %u %%", f->why.throttle_percent)
                                                        : g_strdup("");
    g_autofree char *longer = g_strdup_printf("downtime %" G_GUINT64_FORMAT " ms expected, %" G_GUINT64_FORMAT
                                              " ms allowed%s", f->expected_downtime_ms, f->why.downtime_limit_ms,
                                              throttle);
    g_autofree char *shorter = g_strdup_printf("downtime %" G_GUINT64_FORMAT " of %" G_GUINT64_FORMAT " ms%s",
                                               f->expected_downtime_ms, f->why.downtime_limit_ms, throttle);

    return cut(strlen(longer) <= width ? longer : shorter, width, utf8);
}

/* "15.2 MiB pending, 203.4 KiB fit; downtime-limit 850 ends it" */
static char *
short_why(const struct why *w)
{
    g_autofree char *pending = why_size(w->pending), *fits = why_size(w->fits), *change = why_change(w);
    const char *what = change ? strchr(change, ' ') + 1 : NULL;

    if (w->state != MIGRATE_ACTIVE || w->direction != MIGRATE_OUT)
        return NULL;
    if (w->first_pass)
        return g_strdup_printf("first pass, %s left", pending);
    return g_strdup_printf("%s%s pending, %s fit%s%s%s", w->held ? "held: " : "", pending, fits, what ? "; " : "",
                           what ? what : "", what ? " ends it" : "");
}

/* An address or a failure may hold what the terminal would obey, or what would make two lines of one. */
static char *
one_line(const char *text)
{
    g_autofree char *valid = g_utf8_make_valid(text, -1);
    GString *out = g_string_new(NULL);

    for (const char *p = valid; *p; p = g_utf8_next_char(p))
        g_string_append_unichar(out, g_unichar_iscntrl(g_utf8_get_char(p)) ? '?' : g_utf8_get_char(p));
    return g_string_free(out, FALSE);
}

char *
live_why(const struct why *w, unsigned width, bool utf8)
{
    g_autofree char *sentence = why_sentence(w), *whole = one_line(sentence);
    g_autofree char *shorter = short_why(w), *change = why_change(w);
    /* What to do is more than why. */
    g_autofree char *least = change ? g_strdup_printf("%s ends it", strchr(change, ' ') + 1) : NULL;
    const char *forms[] = { whole, shorter, least };

    for (unsigned i = 0; i < G_N_ELEMENTS(forms); i++)
        if (forms[i] && g_utf8_strlen(forms[i], -1) <= (glong)width)
            return g_strdup(forms[i]);
    return cut(shorter ? shorter : whole, width, utf8);
}

GPtrArray *
live_lines(const struct live_facts *f, unsigned width, bool utf8)
{
    GPtrArray *lines = g_ptr_array_new_with_free_func(g_free);

    width = MAX(width, LIVE_WIDTH_LEAST);
    g_ptr_array_add(lines, head_line(f, width, utf8));
    g_ptr_array_add(lines, chart_line(f, "sent", f->sent, "/s", G_STRUCT_OFFSET(struct live_sample, sent), width,
                                      utf8));
    g_ptr_array_add(lines, chart_line(f, "dirtied", f->dirtied, "/s", G_STRUCT_OFFSET(struct live_sample, dirtied),
                                      width, utf8));
    g_ptr_array_add(lines, chart_line(f, "left", f->remaining, "", G_STRUCT_OFFSET(struct live_sample, remaining),
                                      width, utf8));
    g_ptr_array_add(lines, downtime_line(f, width, utf8));
    g_ptr_array_add(lines, live_why(&f->why, width, utf8));
    return lines;
}
