/* SPDX-License-Identifier: GPL-3.0-or-later */
/* `migrate_report`: one page of HTML about the current or last migration that needs nothing but itself: drawings
 * are in it, and so are the numbers, as JSON, from the same trees that info shows. */
#include "report.h"

#include <inttypes.h>
#include <json-glib/json-glib.h>
#include <math.h>
#include <string.h>

enum { HEAT_CELLS = 1024, FEW_ROWS = 200 };

static const char style[] =
    ":root{--ink:#1c2330;--soft:#5d6778;--line:#e3e7ee;--page:#f5f7fa;--card:#fff;--blue:#2563eb;--orange:#ea7317;"
    "--green:#12946a;--violet:#8b46d6;--red:#d43d51;--c0:#2563eb;--c1:#ea7317;--c2:#12946a;--c3:#8b46d6;--c4:#d43d51;"
    "--c5:#0e8fa8;--c6:#b98900;--c7:#7a8699}"
    "@media (prefers-color-scheme:dark){:root{--ink:#e6eaf2;--soft:#98a3b6;--line:#2b3444;--page:#10151e;"
    "--card:#18202c;"
    "--blue:#6ea0ff;--orange:#ff9d4d;--green:#3ccf9c;--violet:#bd8cff;--red:#ff7385;--c0:#6ea0ff;--c1:#ff9d4d;"
    "--c2:#3ccf9c;--c3:#bd8cff;--c4:#ff7385;--c5:#4cc9e0;--c6:#e3bd4a;--c7:#98a3b6}}"
    "*{box-sizing:border-box}body{margin:0;background:var(--page);color:var(--ink);"
    "font:15px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,sans-serif}"
    "main{max-width:1140px;margin:0 auto;padding:32px 20px 64px}h1{font-size:26px;line-height:1.25;margin:0 0 4px;"
    "letter-spacing:-.01em;overflow-wrap:anywhere}h2{font-size:17px;margin:0 0 14px}.sub{color:var(--soft);margin:0 "
    "0 24px}"
    ".state{display:inline-block;padding:1px 10px;border-radius:99px;font-size:13px;font-weight:600;"
    "color:var(--card);"
    "background:var(--green);vertical-align:4px;margin-left:10px}.state.bad{background:var(--red)}"
    ".state.open{background:var(--blue)}.figures{display:grid;"
    "grid-template-columns:repeat(auto-fit,minmax(124px,1fr));"
    "gap:12px;margin:0 0 16px}.figures div,section{background:var(--card);border:1px solid var(--line);"
    "border-radius:12px}.figures div{padding:13px 14px}.figures span{display:block;color:var(--soft);font-size:13px}"
    ".figures b{font-size:21px;font-weight:650;letter-spacing:-.01em;white-space:nowrap}.figures small{"
    "font-size:13px;"
    "color:var(--soft);font-weight:400;margin-left:4px}section{padding:20px;margin:0 0 16px}"
    "figure{margin:0 0 18px}figure:last-child{margin:0}figcaption{font-weight:600;font-size:14px;margin:0 0 4px}"
    ".unit{color:var(--soft);font-weight:400;margin-left:8px}.dot{display:inline-block;width:9px;height:9px;"
    "border-radius:3px;margin-right:8px}svg{display:block;width:100%;height:auto}svg text{fill:var(--soft);"
    "font:11px system-ui,sans-serif}.grid{stroke:var(--line)}.axis{stroke:var(--soft)}.round{stroke:var(--soft);"
    "stroke-dasharray:2 4;opacity:.55}.area{opacity:.14;stroke:none}.series{fill:none;stroke-width:2;"
    "stroke-linejoin:round}.note{color:var(--soft);font-size:13px;margin:8px 0 0}.scroll{overflow-x:auto}"
    "table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums;font-size:13px}"
    "th{color:var(--soft);font-weight:500;text-align:right;padding:4px 8px;border-bottom:1px solid var(--line);"
    "white-space:nowrap}td{text-align:right;padding:5px 8px;border-bottom:1px solid var(--line);white-space:nowrap}"
    "tr:last-child td{border-bottom:0}th:first-child,td:first-child{text-align:left;padding-left:0}"
    ".bar{display:flex;height:26px;border-radius:7px;overflow:hidden;background:var(--line)}.bar i{display:block}"
    ".bar.small{height:10px;min-width:90px;border-radius:5px}.legend{list-style:none;display:grid;gap:4px 24px;"
    "grid-template-columns:repeat(auto-fill,minmax(230px,1fr));padding:0;margin:14px 0 0;font-size:14px}"
    ".legend li{display:flex;align-items:baseline}.legend b{margin-left:auto;font-weight:600}.heat{margin:6px 0 14px}"
    ".cell{fill:var(--line);opacity:.75}.hot{fill:var(--orange)}.why{font-size:16px;margin:0}"
    ".pairs{columns:2 320px;column-gap:32px}.pairs div{display:flex;break-inside:avoid;padding:3px 0;"
    "border-bottom:1px solid var(--line)}.pairs b{margin-left:auto;font-weight:600;overflow-wrap:anywhere}"
    ".pairs span{color:var(--soft)}";

/* --- small pieces ----------------------------------------------------------------------------------------------- */

static void
add_escaped(GString *out, const char *text)
{
    g_autofree char *printable = text_printable(text), *safe = g_markup_escape_text(printable, -1);

    g_string_append(out, safe);
}

static void
add_figure(GString *out, const char *name, const char *unit, const char *format, double value)
{
    char text[G_ASCII_DTOSTR_BUF_SIZE];

    g_string_append_printf(out, "<div><span>%s</span><b>%s<small>%s</small></b></div>", name,
                           g_ascii_formatd(text, sizeof text, format, value), unit);
}

/* "128.0 MiB" as number and unit. */
static void
add_size_figure(GString *out, const char *name, uint64_t bytes, const char *per)
{
    g_autofree char *size = why_size(bytes);
    char *blank = strchr(size, ' ');

    if (blank)
        *blank = '\0';
    g_string_append_printf(out, "<div><span>%s</span><b>%s<small>%s%s</small></b></div>", name, size,
                           blank ? blank + 1 : "", per);
}

static void
begin_section(GString *out, const char *title)
{
    g_string_append_printf(out, "<section><h2>%s</h2>\n", title);
}

/* --- parts of the page ------------------------------------------------------------------------------------------ */

static unsigned
most_throttle(const struct migrate_record *r)
{
    unsigned most = 0;

    for (unsigned i = 0; i < r->rounds->len; i++)
        most = MAX(most, g_array_index(r->rounds, struct migrate_round, i).throttle_percent);
    return most;
}

static void
add_head(const struct migrate_record *r, GString *out)
{
    const struct migrate_info *i = &r->info;
    g_autoptr(GDateTime) now = g_date_time_new_now_local();
    g_autofree char *date = g_date_time_format(now, "%Y-%m-%d %H:%M");
    const char *mark = i->state == MIGRATE_COMPLETED ? "" : migrate_state_ended(i->state) ? " bad" : " open";

    g_string_append(out, i->direction == MIGRATE_OUT ? "<h1>Migration to " : "<h1>Migration from ");
    add_escaped(out, i->uri ? i->uri : "nowhere");
    g_string_append_printf(out, "<span class=\"state%s\">%s</span></h1><p class=\"sub\">numon, %s, migration id %016"
                           PRIx64 "</p>\n<div class=\"figures\">", mark, migrate_state_name(i->state), date, i->id);
    add_figure(out, "Total time", "s", "%.2f", (double)i->total_ms / 1000);
    if (i->downtime_known)
        add_figure(out, "Downtime", "ms", "%.1f", (double)i->downtime_us / 1000);
    add_size_figure(out, "Sent", i->bytes, "");
    add_size_figure(out, "Guest memory", i->total_bytes, "");
    if (i->total_ms)
        add_size_figure(out, "Mean bandwidth", i->bytes * 1000 / i->total_ms, "/s");
    add_figure(out, "Rounds", "", "%.0f", (double)r->rounds->len);
    if (most_throttle(r))
        add_figure(out, "Most throttle", "%", "%.0f", most_throttle(r));
    g_string_append(out, "</div>\n");
}

static void
add_why(struct machine *m, const struct migrate_record *r, GString *out)
{
    struct why why;
    g_autofree char *sentence = NULL;

    why_of(m, r, &why);
    sentence = why_sentence(&why);
    if (!sentence)
        return;
    g_string_append(out, "<section><p class=\"why\">");
    add_escaped(out, sentence);
    g_string_append(out, "</p></section>\n");
}

struct series { double *x, *bandwidth, *dirty, *remaining, *throttle; unsigned count; };

static struct series
series_of(const GArray *samples)
{
    unsigned count = samples ? samples->len : 0;
    struct series s = { 0 };

    s.x = g_new0(double, count + 1);
    s.bandwidth = g_new0(double, count + 1);
    s.dirty = g_new0(double, count + 1);
    s.remaining = g_new0(double, count + 1);
    s.throttle = g_new0(double, count + 1);
    for (unsigned i = 0; i < count; i++) {
        const struct migrate_sample *p = &g_array_index(samples, struct migrate_sample, i);

        if (p->info.state == MIGRATE_SETUP)
            continue;               /* nothing is known yet */
        s.x[s.count] = (double)p->us / 1e6;
        s.bandwidth[s.count] = (double)p->bandwidth / MIB;
        s.dirty[s.count] = (double)p->info.dirty_pages_rate * PAGE_SIZE / MIB;
        s.remaining[s.count] = (double)p->info.remaining_bytes / MIB;
        s.throttle[s.count++] = p->info.throttle_percent;
    }
    return s;
}

static void
series_release(struct series *s)
{
    g_free(s->x);
    g_free(s->bandwidth);
    g_free(s->dirty);
    g_free(s->remaining);
    g_free(s->throttle);
}

static void
add_charts(const struct migrate_record *r, const GArray *samples, GString *out)
{
    struct series s = series_of(samples);
    struct chart c = { .x = s.x, .count = s.count, .rounds = r->rounds };

    begin_section(out, "Over time");
    c.x_most = MAX(s.count ? s.x[s.count - 1] : 0, (double)r->info.total_ms / 1000);
    if (s.count < 2)
        g_string_append(out, "<p class=\"note\">It was over before there were samples, ten of which are taken in a "
                        "second.</p>");
    struct { const char *title, *unit, *color; const double *y; bool steps; } const charts[] = {
        { "Remaining", "MiB that must still be sent", "--blue", s.remaining, false },
        { "Bandwidth", "MiB/s put on the line", "--green", s.bandwidth, false },
        { "Dirty rate", "MiB/s that the guest makes dirty anew", "--orange", s.dirty, false },
        { "Throttle", "% of the guest's CPU time taken", "--red", s.throttle, true },
    };
    for (unsigned i = 0; s.count >= 2 && i < G_N_ELEMENTS(charts); i++) {
        if (charts[i].y == s.throttle && most_throttle(r) == 0)
            continue;
        c.title = charts[i].title;
        c.unit = charts[i].unit;
        c.color = charts[i].color;
        c.y = charts[i].y;
        c.steps = charts[i].steps;
        chart_draw(&c, out);
    }
    g_string_append(out, "<p class=\"note\">Seconds since the migration began; dotted lines are the "
                         "rounds.</p></section>\n");
    series_release(&s);
}

/* Pages by kind as a small bar. */
static void
add_kinds(const struct migrate_round *round, GString *out)
{
    const uint64_t pages[] = { round->pages_zero, round->pages_normal, round->pages_delta, round->pages_compressed,
                               round->pages_same };
    static const char *const names[] = { "zero", "whole", "delta", "compressed", "same" };
    static const char *const colors[] = { "--c7", "--c0", "--c1", "--c2", "--c3" };
    uint64_t sum = 0;

    for (unsigned i = 0; i < G_N_ELEMENTS(pages); i++)
        sum += pages[i];
    g_string_append(out, "<td><div class=\"bar small\">");
    for (unsigned i = 0; i < G_N_ELEMENTS(pages) && sum; i++)
        if (pages[i])
            g_string_append_printf(out, "<i style=\"width:%" PRIu64 ".%02" PRIu64 "%%;background:var(%s)\" title=\"%"
                                   PRIu64 " %s pages\"></i>", pages[i] * 100 / sum, pages[i] * 10000 / sum % 100,
                                   colors[i], pages[i], names[i]);
    g_string_append(out, "</div></td>");
}

static void
add_round(const struct migrate_round *round, GString *out)
{
    g_autofree char *sent = why_size(round->bytes), *bandwidth = why_size(round->bandwidth);
    g_autofree char *end = why_size(round->dirty_end);
    char time[G_ASCII_DTOSTR_BUF_SIZE];

    g_string_append_printf(out, "<tr><td>%" PRIu64, round->number);
    if (round->last != round->number)
        g_string_append_printf(out, "&ndash;%" PRIu64, round->last);
    g_string_append_printf(out, "</td><td>%s s</td>",
                           g_ascii_formatd(time, sizeof time, "%.3f", (double)round->duration_us / 1e6));
    add_kinds(round, out);
    g_string_append_printf(out, "<td>%" PRIu64 "</td><td>%" PRIu64 "</td><td>%" PRIu64 "</td><td>%" PRIu64 "</td>"
                           "<td>%s</td><td>%s</td><td>%s</td><td>%" PRIu64 "</td><td>%u %%</td><td>%s</td></tr>\n",
                           round->pages_zero, round->pages_normal, round->pages_delta, round->pages_compressed, sent,
                           round->bandwidth_window_us ? bandwidth : "&ndash;", end, round->dirty_rate,
                           round->throttle_percent, migrate_verdict_name(round->verdict));
}

static void
add_rounds(const struct migrate_record *r, GString *out)
{
    if (r->rounds->len == 0)
        return;
    begin_section(out, "Rounds");
    g_string_append(out, "<div class=\"scroll\"><table><tr><th>Round</th><th>Time</th><th>Pages by "
                         "kind</th><th>Zero</th>"
                    "<th>Whole</th><th>Delta</th><th>Compr.</th><th>Sent</th><th>Line/s</th><th>Left</th>"
                    "<th>Dirtied/s</th><th>Throttle</th><th>Verdict</th></tr>\n");
    for (unsigned i = 0; i < r->rounds->len; i++)
        if (i < FEW_ROWS || i + 1 == r->rounds->len)
            add_round(&g_array_index(r->rounds, struct migrate_round, i), out);
    g_string_append(out, "</table></div>");
    if (r->rounds->len > FEW_ROWS + 1)
        g_string_append_printf(out, "<p class=\"note\">%u more rounds before the last are in the data of this "
                                    "page.</p>",
                               r->rounds->len - FEW_ROWS - 1);
    g_string_append(out, "</section>\n");
}

/* Parts of the same kind of section are one: "save synthetic-cpu" of each CPU. */
static void
add_downtime(const struct migrate_record *r, GString *out)
{
    g_autoptr(GArray) parts = g_array_new(FALSE, TRUE, sizeof(struct bar_part));
    g_autoptr(GPtrArray) texts = g_ptr_array_new_with_free_func(g_free);
    uint64_t stopped = r->stopped_us / 100;
    g_autofree char *total = g_strdup_printf("%" PRIu64 ".%" PRIu64 " ms", stopped / 10, stopped % 10);

    if (r->parts->len == 0)
        return;
    for (unsigned i = 0; i < r->parts->len; i++) {
        const struct migrate_part *p = &g_array_index(r->parts, struct migrate_part, i);
        struct bar_part part = { p->name, (double)p->us, NULL };
        bool device = g_str_has_prefix(p->name, "save ");
        struct bar_part *before = parts->len ? &g_array_index(parts, struct bar_part, parts->len - 1) : NULL;

        if (device && before && g_str_equal(before->name, "devices")) {
            before->value += part.value;
            continue;
        }
        if (device)
            part.name = "devices";
        g_array_append_val(parts, part);
    }
    for (unsigned i = 0; i < parts->len; i++) {
        struct bar_part *p = &g_array_index(parts, struct bar_part, i);
        uint64_t us = (uint64_t)p->value;
        g_ptr_array_add(texts, g_strdup_printf("%" PRIu64 ".%03" PRIu64 " ms", us / 1000, us % 1000));
        p->text = texts->pdata[i];
    }
    begin_section(out, "While the guest stood still");
    bar_draw((const struct bar_part *)(const void *)parts->data, parts->len, out);
    g_string_append_printf(out, "<p class=\"note\">Together %s.</p></section>\n", total);
}

/* The sum of all shares of a node. */
static struct migrate_share
node_share(const struct migrate_record *r, int node)
{
    struct migrate_share sum = { .node = node };

    for (unsigned i = 0; i < r->shares->len; i++) {
        const struct migrate_share *s = &g_array_index(r->shares, struct migrate_share, i);

        if (s->node != node)
            continue;
        sum.pages += s->pages;
        sum.remaining += s->remaining;
        sum.fresh_pages += s->fresh_pages;
        sum.sent += s->sent;
        sum.zero += s->zero;
    }
    return sum;
}

static void
add_shares(const struct migrate_record *r, GString *out)
{
    int last = -1;

    if (r->shares->len == 0)
        return;
    g_string_append(out, "<div class=\"scroll\"><table><tr><th>Node</th><th>Pages</th><th>Sent, all "
                         "rounds</th><th>Of these zero</th>"
                    "<th>Dirtied/s at last</th><th>Remaining</th></tr>\n");
    for (unsigned i = 0; i < r->shares->len; i++)
        last = MAX(last, g_array_index(r->shares, struct migrate_share, i).node);
    for (int node = -1; node <= last; node++) {
        struct migrate_share s = node_share(r, node);

        if (s.pages == 0)
            continue;
        g_string_append(out, "<tr><td>");
        if (node < 0)
            g_string_append(out, "none");
        else
            g_string_append_printf(out, "%d", node);
        g_string_append_printf(out, "</td><td>%" PRIu64 "</td><td>%" PRIu64 "</td><td>%" PRIu64 " %%</td><td>%" PRIu64
                               "</td><td>%" PRIu64 "</td></tr>\n", s.pages, s.sent,
                               s.sent ? s.zero * 100 / s.sent : 0,
                               r->share_period_us ? s.fresh_pages * 1000000 / r->share_period_us : 0, s.remaining);
    }
    g_string_append(out, "</table></div>\n");
}

/* How often each cell was sent again, beside the cell that was sent most. */
static void
add_heat(struct session *s, const struct guest_map *map, const struct migrate_record *r, GString *out)
{
    g_autoptr(GArray) cells = machine_dirty_cells(map, HEAT_CELLS);
    g_autofree double *again = g_new0(double, cells->len + 1);
    double most = 0;

    for (unsigned i = 0; i < cells->len; i++) {
        const struct dirty_cell *c = &g_array_index(cells, struct dirty_cell, i);
        for (unsigned k = 1; k < r->rounds->len; k++) {
            uint64_t pages = 0;
            if (session_round_pages(s, g_array_index(r->rounds, struct migrate_round, k).number, c->block, c->first,
                                    c->pages, &pages))
                again[i] += (double)pages / (double)c->pages;
        }
        most = MAX(most, again[i]);
    }
    for (unsigned i = 0; most > 0 && i < cells->len; i++)
        again[i] /= most;
    for (unsigned first = 0, i = 1; i <= cells->len; i++) {
        const struct dirty_cell *c = &g_array_index(cells, struct dirty_cell, first);
        const struct dirty_cell *end = i < cells->len ? &g_array_index(cells, struct dirty_cell, i) : NULL;

        if (end && end->node == c->node && end->block == c->block)
            continue;
        g_string_append(out, "<figcaption>");
        if (c->node >= 0)
            g_string_append_printf(out, "Node %d, ", c->node);
        add_escaped(out, c->block->name);
        g_string_append_printf(out, "<span class=\"unit\">from 0x%" PRIx64 ", a square is %" PRIu64 " KiB</span>"
                               "</figcaption>", c->gpa, g_array_index(cells, struct dirty_cell, 0).pages * 4);
        heat_draw(again + first, i - first, out);
        first = i;
    }
}

static void
add_memory(struct monitor *m, const struct migrate_record *r, GString *out)
{
    const struct guest_map *map = machine_map(m->machine);

    if (r->info.direction != MIGRATE_OUT || !map)
        return;
    begin_section(out, "Memory");
    g_string_append(out, "<p class=\"note\" style=\"margin:-8px 0 14px\">The more often pages of a square were sent "
                         "after the "
                    "first round, the stronger its color.</p><figure>");
    add_heat(machine_session(m->machine), map, r, out);
    g_string_append(out, "</figure>");
    add_shares(r, out);
    g_string_append(out, "</section>\n");
}

static void
add_settings(struct machine *machine, GString *out)
{
    const struct migrate_parameters *p = machine_parameters(machine);
    const char *base = (const char *)machine_capabilities(machine);

    begin_section(out, "Settings");
    g_string_append(out, "<div class=\"pairs\">");
    for (unsigned i = 0; migrate_parameter_properties[i].name; i++) {
        const struct property *property = &migrate_parameter_properties[i];
        g_autofree char *text = migrate_parameter_text(p, i);

        g_string_append_printf(out, "<div><span>%s</span><b>%s %s</b></div>", property->name, text,
                               property->unit ? property->unit : "");
    }
    for (const struct migrate_capability_info *c = migrate_capability_info; c->name; c++)
        g_string_append_printf(out, "<div><span>%s</span><b>%s</b></div>", c->name,
                               atomic_load((const _Atomic bool *)(base + c->offset)) ? "on" : "off");
    g_string_append(out, "</div></section>\n");
}

/* The numbers themselves; no text of theirs ends the element early. */
static void
add_data(struct monitor *m, const struct migrate_record *r, GString *out)
{
    const struct { const char *name; GVariant *tree; } trees[] = {
        { "rounds", rounds_tree(r) }, { "downtime", downtime_tree(m->machine, r) },
        { "nodes", shares_tree(r, "nodes") },
    };

    g_string_append(out, "<script type=\"application/json\" id=\"data\">{");
    for (unsigned i = 0; i < G_N_ELEMENTS(trees); i++) {
        g_autoptr(GVariant) tree = g_variant_ref_sink(trees[i].tree);
        g_autofree char *json = json_gvariant_serialize_data(tree, NULL);
        g_auto(GStrv) pieces = g_strsplit(json, "<", -1);
        g_autofree char *safe = g_strjoinv("\\u003c", pieces);

        g_string_append_printf(out, "%s\"%s\":%s", i ? "," : "", trees[i].name, safe);
    }
    g_string_append(out, "}</script>\n");
}

static char *
make_page(struct monitor *m, const struct migrate_record *r)
{
    GString *out = g_string_new("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta "
                                "name=\"viewport\" "
                                "content=\"width=device-width,initial-scale=1\"><meta name=\"color-scheme\" "
                                "content=\"light dark\"><title>Migration report</title><style>");

    g_string_append_printf(out, "%s</style></head><body><main>\n", style);
    add_head(r, out);
    add_why(m->machine, r, out);
    add_charts(r, samples_list(m->samples), out);
    add_rounds(r, out);
    add_downtime(r, out);
    add_memory(m, r, out);
    add_settings(m->machine, out);
    add_data(m, r, out);
    g_string_append(out, "</main></body></html>\n");
    return g_string_free(out, FALSE);
}

/* --- the command ------------------------------------------------------------------------------------------------ */

enum { REPORT_FILE };
const struct property report_args[] = {
    [REPORT_FILE] = { "FILE", PROPERTY_WORD, .required = true, .complete = COMPLETE_FILE,
                      .help = "page of HTML to write; it appears when it is complete" },
    { 0 }
};

struct reporting {
    struct call *call;              /* NULL: it has gone */
    struct outfile *file;
    char *page;
    GError *error;
};

static void
forget_call(void *data)
{
    struct reporting *r = data;

    r->call = NULL;
}

static void
write_work(struct job *job, void *data)
{
    struct reporting *r = data;

    if (outfile_write(r->file, r->page, strlen(r->page), &r->error))
        outfile_commit(g_steal_pointer(&r->file), &r->error);
}

static void
write_done(struct job *job, void *data)
{
    struct reporting *r = data;
    struct call *call = r->call;

    if (call) {
        call->data = NULL;
        call->data_free = NULL;
        call_finish(call, r->error);
    }
    outfile_abandon(r->file);
    g_free(r->page);
    g_clear_error(&r->error);
    g_free(r);
}

enum outcome
report_command(struct call *call, GError **error)
{
    struct monitor *m = call->monitor;
    struct session *s = machine_session(m->machine);
    struct migrate_record *record;
    struct reporting *r;

    if (!s) {
        fail(error, NUMON_ERROR_STATE, "there is nothing to report: there was no migration");
        return COMMAND_FAILED;
    }
    r = g_new0(struct reporting, 1);
    r->file = outfile_open(call->args->at[REPORT_FILE].word, error);
    if (!r->file) {
        g_free(r);
        return COMMAND_FAILED;
    }
    record = session_record(s);
    r->page = make_page(m, record);
    migrate_record_free(record);
    r->call = call;
    call->data = r;
    call->data_free = forget_call;
    job_start(m->jobs, write_work, write_done, r);
    return COMMAND_PENDING;
}

/* The page is written all the same. */
void
report_detach(struct call *call)
{
}
