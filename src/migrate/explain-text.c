/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A record as a line: its place, its bytes, what it is.  For a stream in a file, and for one under way. */
#include "migrate-private.h"

#include <inttypes.h>

enum { HEX_MOST = 16 };

static void
append_hex(GString *out, const uint8_t *bytes, unsigned size)
{
    for (unsigned i = 0; i < MIN(size, HEX_MOST); i++)
        g_string_append_printf(out, "%02x", bytes[i]);
    if (size > HEX_MOST)
        g_string_append(out, "...");
}

static void
append_page(GString *out, const struct explain_event *e)
{
    g_string_append_printf(out, "%s", page_form_names[e->form]);
    for (unsigned i = 0; i < e->run_count; i++) {
        g_string_append_printf(out, "%s %u at 0x%x ", i ? ";" : ":", e->runs[i].size, e->runs[i].at);
        append_hex(out, e->runs[i].bytes, e->runs[i].size);
    }
}

void
explain_append(GString *out, const struct explain_event *e)
{
    const char *name = e->name ? e->name : "";

    g_string_append_printf(out, "%" PRIu64 " %" PRIu64 ": ", e->place, e->bytes);
    switch (e->kind) {
    case EXPLAIN_HEAD:
        g_string_append_printf(out, "QEVM, version %u", e->version);
        break;
    case EXPLAIN_CONFIGURATION:
        g_string_append_printf(out, "configuration, machine %s", name);
        break;
    case EXPLAIN_SUBSECTION:
        g_string_append_printf(out, "subsection %s, version %u", name, e->version);
        break;
    case EXPLAIN_COMMAND:
        g_string_append_printf(out, "command %u", e->version);
        break;
    case EXPLAIN_SECTION:
        g_string_append_printf(out, "section %s %u, instance %u, version %u", name, e->id, e->instance, e->version);
        break;
    case EXPLAIN_PART:
    case EXPLAIN_END:
        g_string_append_printf(out, "%s of section %s %u", e->kind == EXPLAIN_PART ? "part" : "last part", name,
                               e->id);
        break;
    case EXPLAIN_BLOCK:
        g_string_append_printf(out, "block %s of %" PRIu64 " bytes", name, e->number);
        break;
    case EXPLAIN_PAGE:
        if (e->pages)
            g_string_append_printf(out, "%" PRIu64 " pages from 0x%" PRIx64 " of %s, ", e->pages, e->number, name);
        else
            g_string_append_printf(out, "page 0x%" PRIx64 " of %s, ", e->number, name);
        append_page(out, e);
        break;
    case EXPLAIN_FIELD:
        g_string_append_printf(out, "  %s ", name);
        append_hex(out, e->runs->bytes, e->runs->size);
        break;
    case EXPLAIN_FOOTER:
        g_string_append_printf(out, "footer of section %s %u", name, e->id);
        break;
    case EXPLAIN_EOF:
        g_string_append(out, "end");
        break;
    case EXPLAIN_DESCRIPTION:
        g_string_append(out, "description");
        break;
    }
}

/* --- a stream under way ----------------------------------------------------------------------------------------- */

bool
trace_on(const struct session *s)
{
    return trace_is_on(s->guest.trace, TRACE_STREAM);
}

void
trace_record(struct session *s, struct explain_event *event, const void *coded, size_t size)
{
    struct explain_run runs[PAGE_SIZE / 3];

    if (!trace_wants(s->guest.trace, TRACE_STREAM))
        return;
    g_autoptr(GString) line = g_string_new(NULL);
    event->runs = runs;
    if (event->kind == EXPLAIN_PAGE && event->form == PAGE_DELTA && size)
        event->run_count = xbzrle_list_runs(coded, size, runs, G_N_ELEMENTS(runs), NULL);
    explain_append(line, event);
    trace_line(s->guest.trace, TRACE_STREAM, "%s", line->str);
}
