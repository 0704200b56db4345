/* SPDX-License-Identifier: GPL-3.0-or-later */
/* `explain`: what a stream in a file holds.  A job reads on until there is some text to show (with -v) or the time is
 * up, main shows it and has it read on: so neither a large file nor a slow terminal stops anyone or fills memory. */
#include "monitor-private.h"
#include "table.h"

#include <inttypes.h>
#include <string.h>

enum { PIECE_TEXT = 64 * 1024 };

enum { EXPLAIN_VERBOSE, EXPLAIN_FILE };
const struct property explain_args[] = {
    [EXPLAIN_VERBOSE] = { "-v", PROPERTY_FLAG, .help = "each record too, as it stands in the stream" },
    [EXPLAIN_FILE] = { "FILE", PROPERTY_WORD, .required = true, .complete = COMPLETE_FILE,
                       .help = "a stream that was written to a file" },
    { 0 }
};

struct explaining {
    struct monitor *monitor;
    struct call *call;              /* NULL once detached */
    struct explain *explain;
    char *path;
    GString *text;                  /* of -v; the job's while it works */
    bool enough, end;
    GError *error;
};

/* --- the tree --------------------------------------------------------------------------------------------------- */

static void
put_count(GVariantDict *dict, const struct explain_count *c)
{
    uint64_t bytes = 0;

    for (unsigned form = 0; form < PAGE_FORMS; form++) {
        g_autofree char *key = g_strdup_printf("%s-bytes", page_form_names[form]);

        g_variant_dict_insert(dict, page_form_names[form], "t", c->records[form]);
        g_variant_dict_insert(dict, key, "t", c->bytes[form]);
        bytes += c->bytes[form];
    }
    g_variant_dict_insert(dict, "bytes", "t", bytes);
}

static GVariant *
sections_tree(const GArray *sections)
{
    GVariantBuilder rows;

    g_variant_builder_init(&rows, G_VARIANT_TYPE("aa{sv}"));
    for (unsigned i = 0; i < sections->len; i++) {
        const struct explain_section *s = &g_array_index(sections, struct explain_section, i);
        GVariantDict dict;

        g_variant_dict_init(&dict, NULL);
        g_variant_dict_insert_value(&dict, "name", text_variant(s->name));
        g_variant_dict_insert(&dict, "id", "u", s->id);
        g_variant_dict_insert(&dict, "instance", "u", s->instance);
        g_variant_dict_insert(&dict, "version", "u", s->version);
        g_variant_dict_insert(&dict, "parts", "t", s->parts);
        g_variant_dict_insert(&dict, "bytes", "t", s->bytes);
        g_variant_dict_insert(&dict, "place", "t", s->place);
        g_variant_builder_add_value(&rows, g_variant_dict_end(&dict));
    }
    return g_variant_builder_end(&rows);
}

static GVariant *
blocks_tree(const GArray *blocks)
{
    GVariantBuilder rows;

    g_variant_builder_init(&rows, G_VARIANT_TYPE("aa{sv}"));
    for (unsigned i = 0; i < blocks->len; i++) {
        const struct explain_block *b = &g_array_index(blocks, struct explain_block, i);
        GVariantDict dict;

        g_variant_dict_init(&dict, NULL);
        g_variant_dict_insert_value(&dict, "name", text_variant(b->name));
        g_variant_dict_insert(&dict, "size", "t", b->size);
        g_variant_dict_insert(&dict, "place", "t", b->place);
        if (b->counted)
            g_variant_dict_insert(&dict, "pages", "t", b->pages);
        put_count(&dict, &b->count);
        g_variant_builder_add_value(&rows, g_variant_dict_end(&dict));
    }
    return g_variant_builder_end(&rows);
}

static GVariant *
rounds_tree(const struct explain_report *r)
{
    GVariantBuilder rows;

    g_variant_builder_init(&rows, G_VARIANT_TYPE("aa{sv}"));
    for (unsigned i = 0; i < r->rows->len; i++) {
        const struct explain_row *row = &g_array_index(r->rows, struct explain_row, i);
        GVariantDict dict;

        g_variant_dict_init(&dict, NULL);
        g_variant_dict_insert(&dict, "round", "u", row->round);
        g_variant_dict_insert_value(&dict, "block",
                                    text_variant(g_array_index(r->blocks, struct explain_block, row->block).name));
        put_count(&dict, &row->count);
        g_variant_builder_add_value(&rows, g_variant_dict_end(&dict));
    }
    return g_variant_builder_end(&rows);
}

static GVariant *
notes_tree(const GArray *notes)
{
    GVariantBuilder rows;

    g_variant_builder_init(&rows, G_VARIANT_TYPE("aa{sv}"));
    for (unsigned i = 0; i < notes->len; i++) {
        const struct explain_note *n = &g_array_index(notes, struct explain_note, i);
        GVariantDict dict;

        g_variant_dict_init(&dict, NULL);
        g_variant_dict_insert(&dict, "place", "t", n->place);
        g_variant_dict_insert(&dict, "count", "t", n->count);
        g_variant_dict_insert_value(&dict, "text", text_variant(n->text));
        g_variant_builder_add_value(&rows, g_variant_dict_end(&dict));
    }
    return g_variant_builder_end(&rows);
}

static GVariant *
features_tree(uint64_t features)
{
    GVariantBuilder list;

    g_variant_builder_init(&list, G_VARIANT_TYPE("as"));
    for (const struct migrate_feature_name *f = migrate_feature_names; f->name; f++)
        if (features & f->feature)
            g_variant_builder_add(&list, "s", f->name);
    return g_variant_builder_end(&list);
}

static GVariant *
lines_tree(const char *text)
{
    g_auto(GStrv) lines = g_strsplit(text, "\n", 0);
    GVariantBuilder list;

    g_variant_builder_init(&list, G_VARIANT_TYPE("as"));
    for (char **line = lines; *line; line++)
        if (**line)
            g_variant_builder_add_value(&list, text_variant(*line));
    return g_variant_builder_end(&list);
}

static GVariant *
explain_tree(const char *path, const struct explain_report *r)
{
    g_autofree char *id = g_strdup_printf("%016" PRIx64, r->id);
    GVariantDict dict;

    g_variant_dict_init(&dict, NULL);
    g_variant_dict_insert_value(&dict, "file", text_variant(path));
    g_variant_dict_insert(&dict, "size", "t", r->size);
    g_variant_dict_insert(&dict, "read", "t", r->read);
    if (r->machine_type)
        g_variant_dict_insert_value(&dict, "machine", text_variant(r->machine_type));
    if (r->capabilities)
        g_variant_dict_insert_value(&dict, "capabilities", text_variant(r->capabilities));
    if (r->ours) {
        g_variant_dict_insert(&dict, "id", "s", id);
        g_variant_dict_insert_value(&dict, "features", features_tree(r->features));
    }
    if (r->text)
        g_variant_dict_insert_value(&dict, "configuration", lines_tree(r->text));
    g_variant_dict_insert(&dict, "commands", "t", r->commands);
    g_variant_dict_insert(&dict, "command-bytes", "t", r->command_bytes);
    g_variant_dict_insert(&dict, "description-bytes", "t", r->description_bytes);
    g_variant_dict_insert_value(&dict, "sections", sections_tree(r->sections));
    g_variant_dict_insert_value(&dict, "blocks", blocks_tree(r->blocks));
    g_variant_dict_insert_value(&dict, "rounds", rounds_tree(r));
    g_variant_dict_insert(&dict, "rounds-folded", "b", (gboolean)r->folded);
    g_variant_dict_insert_value(&dict, "faults", notes_tree(r->faults));
    g_variant_dict_insert(&dict, "more-faults", "t", r->more_faults);
    g_variant_dict_insert_value(&dict, "analyser", notes_tree(r->stops));
    return g_variant_ref_sink(g_variant_dict_end(&dict));
}

/* --- its layout ------------------------------------------------------------------------------------------------- */

static guint32
small_at(GVariant *row, const char *key)
{
    guint32 number = 0;

    g_variant_lookup(row, key, "u", &number);
    return number;
}

static void
print_line(unsigned columns, GString *out, const char *format, ...) G_GNUC_PRINTF(3, 4);

static void
print_line(unsigned columns, GString *out, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    g_autofree char *line = g_strdup_vprintf(format, args);
    va_end(args);
    wrap_text(out, line, 2, columns);
}

static void
print_head(GVariant *tree, unsigned columns, GString *out)
{
    g_auto(GStrv) features = NULL;
    const char *text;

    if (tree_number(tree, "read") < tree_number(tree, "size"))
        print_line(columns, out, "stream: %" PRIu64 " bytes, the first %" PRIu64 " understood",
                   tree_number(tree, "size"), tree_number(tree, "read"));
    else
        print_line(columns, out, "stream: %" PRIu64 " bytes", tree_number(tree, "size"));
    if (g_variant_lookup(tree, "machine", "&s", &text))
        print_line(columns, out, "machine: %s", text);
    if (g_variant_lookup(tree, "capabilities", "&s", &text))
        print_line(columns, out, "capabilities: %s", text);
    if (!g_variant_lookup(tree, "features", "^as", &features))
        return;
    g_autofree char *names = g_strjoinv(" ", features);
    print_line(columns, out, "migration id: %s", tree_text(tree, "id"));
    print_line(columns, out, "features: %s", *names ? names : "none");
}

static void
print_configuration(GVariant *tree, unsigned columns, GString *out)
{
    g_autoptr(GVariant) lines = g_variant_lookup_value(tree, "configuration", G_VARIANT_TYPE("as"));

    if (!lines)
        return;
    g_string_append(out, "configuration:\n");
    for (size_t i = 0; i < g_variant_n_children(lines); i++) {
        const char *line;

        g_variant_get_child(lines, i, "&s", &line);
        g_autofree char *text = g_strdup_printf("  %s", line);
        wrap_text(out, text, 4, columns);
    }
}

static void
add_number(struct table *t, GVariant *row, const char *key)
{
    table_add(t, "%" PRIu64, tree_number(row, key));
}

static const struct table_column section_columns[] = {
    { "section", 99, true }, { "id", 50 }, { "instance", 80 }, { "version", 60 }, { "parts", 40 }, { "at byte", 70 },
    { "bytes", 90 },
};

static void
print_sections(GVariant *tree, unsigned columns, GString *out)
{
    g_autoptr(GVariant) rows = g_variant_lookup_value(tree, "sections", G_VARIANT_TYPE("aa{sv}"));
    g_autoptr(table) t = table_new(section_columns, G_N_ELEMENTS(section_columns));

    for (size_t i = 0; i < g_variant_n_children(rows); i++) {
        g_autoptr(GVariant) row = g_variant_get_child_value(rows, i);

        table_add_text(t, tree_text(row, "name"));
        table_add(t, "%u", small_at(row, "id"));
        table_add(t, "%u", small_at(row, "instance"));
        table_add(t, "%u", small_at(row, "version"));
        add_number(t, row, "parts");
        add_number(t, row, "place");
        add_number(t, row, "bytes");
    }
    table_print(t, columns, out);
    if (tree_number(tree, "commands"))
        g_string_append_printf(out, "%" PRIu64 " commands of %" PRIu64 " bytes\n", tree_number(tree, "commands"),
                               tree_number(tree, "command-bytes"));
}

static void
add_forms(struct table *t, GVariant *row)
{
    for (unsigned form = 0; form < PAGE_FORMS; form++)
        add_number(t, row, page_form_names[form]);
    add_number(t, row, "bytes");
}

static const struct table_column block_columns[] = {
    { "block", 99, true }, { "size", 60 }, { "pages", 70 }, { "zero", 75 }, { "whole", 85 }, { "delta", 84 },
    { "compressed", 83 }, { "bytes", 90 },
};
_Static_assert(G_N_ELEMENTS(block_columns) == 4 + PAGE_FORMS, "a column for each form");

static void
print_blocks(GVariant *tree, unsigned columns, GString *out)
{
    g_autoptr(GVariant) rows = g_variant_lookup_value(tree, "blocks", G_VARIANT_TYPE("aa{sv}"));
    g_autoptr(table) t = table_new(block_columns, G_N_ELEMENTS(block_columns));

    if (g_variant_n_children(rows) == 0)
        return;
    for (size_t i = 0; i < g_variant_n_children(rows); i++) {
        g_autoptr(GVariant) row = g_variant_get_child_value(rows, i);

        table_add_text(t, tree_text(row, "name"));
        add_number(t, row, "size");
        add_number(t, row, "pages");
        add_forms(t, row);
    }
    table_print(t, columns, out);
}

static const struct table_column round_columns[] = {
    { "round", 99 }, { "block", 95, true }, { "zero", 75 }, { "whole", 85 }, { "delta", 84 }, { "compressed", 83 },
    { "bytes", 90 },
};
_Static_assert(G_N_ELEMENTS(round_columns) == 3 + PAGE_FORMS, "a column for each form");

static void
print_rounds(GVariant *tree, unsigned columns, GString *out)
{
    g_autoptr(GVariant) rows = g_variant_lookup_value(tree, "rounds", G_VARIANT_TYPE("aa{sv}"));
    g_autoptr(table) t = table_new(round_columns, G_N_ELEMENTS(round_columns));
    gboolean folded = FALSE;

    g_variant_lookup(tree, "rounds-folded", "b", &folded);
    if (g_variant_n_children(rows) == 0)
        return;
    for (size_t i = 0; i < g_variant_n_children(rows); i++) {
        g_autoptr(GVariant) row = g_variant_get_child_value(rows, i);

        table_add(t, "%u", small_at(row, "round"));
        table_add_text(t, tree_text(row, "block"));
        add_forms(t, row);
    }
    table_print(t, columns, out);
    if (folded)
        wrap_text(out, "(the last round of each block stands for all that follow)", 1, columns);
}

static void
print_notes(GVariant *tree, const char *key, unsigned columns, GString *out)
{
    g_autoptr(GVariant) rows = g_variant_lookup_value(tree, key, G_VARIANT_TYPE("aa{sv}"));
    g_autoptr(GString) line = g_string_new(NULL);

    for (size_t i = 0; i < g_variant_n_children(rows); i++) {
        g_autoptr(GVariant) row = g_variant_get_child_value(rows, i);

        g_string_printf(line, "  byte %" PRIu64 ": %s", tree_number(row, "place"), tree_text(row, "text"));
        if (tree_number(row, "count") > 1)
            g_string_append_printf(line, " (the first of %" PRIu64 ")", tree_number(row, "count"));
        wrap_text(out, line->str, 4, columns);
    }
}

static bool
has_notes(GVariant *tree, const char *key)
{
    g_autoptr(GVariant) rows = g_variant_lookup_value(tree, key, G_VARIANT_TYPE("aa{sv}"));

    return g_variant_n_children(rows) > 0;
}

static void
print_explanation(GVariant *tree, unsigned columns, GString *out)
{
    print_head(tree, columns, out);
    print_configuration(tree, columns, out);
    print_sections(tree, columns, out);
    print_blocks(tree, columns, out);
    print_rounds(tree, columns, out);
    g_string_append(out, has_notes(tree, "faults") ? "faults:\n" : "faults: none\n");
    print_notes(tree, "faults", columns, out);
    if (tree_number(tree, "more-faults"))
        g_string_append_printf(out, "  and %" PRIu64 " more\n", tree_number(tree, "more-faults"));
    wrap_text(out, has_notes(tree, "analyser") ? "QEMU's stream analyser would stop at:"
                                               : "QEMU's stream analyser: would read all of it", 2, columns);
    print_notes(tree, "analyser", columns, out);
}

/* --- record by record ------------------------------------------------------------------------------------------- */

static void
record_seen(void *self, const struct explain_event *event)
{
    struct explaining *x = self;

    g_autoptr(GString) line = g_string_new(NULL);

    explain_append(line, event);
    g_autofree char *shown = text_printable(line->str);
    g_string_append_printf(x->text, "%s\n", shown);
    x->enough = x->text->len >= PIECE_TEXT;
}

/* --- the command ------------------------------------------------------------------------------------------------ */

static void
explaining_free(struct explaining *x)
{
    explain_free(x->explain);
    g_string_free(x->text, TRUE);
    g_free(x->path);
    g_clear_error(&x->error);
    g_free(x);
}

/* The call is abandoned: the job ends soon. */
static void
forget_call(void *data)
{
    struct explaining *x = data;

    x->call = NULL;
    explain_stop(x->explain);
}

static void
read_on(struct job *job, void *data)
{
    struct explaining *x = data;

    explain_run(x->explain, &x->enough, &x->end, &x->error);
}

static void
finish(struct explaining *x)
{
    struct call *call = x->call;

    if (call) {
        call->data = NULL;
        call->data_free = NULL;
        if (!x->error) {
            g_autoptr(GVariant) tree = explain_tree(x->path, explain_report(x->explain));
            print_explanation(tree, info_columns(call), call->output);
        }
        call_finish(call, x->error);
    }
    explaining_free(x);
}

/* On main: shows what was read. */
static void
piece_read(struct job *job, void *data)
{
    struct explaining *x = data;

    if (x->call && x->text->len) {
        call_print(x->call, "%s", x->text->str);
        call_flush(x->call);
    }
    g_string_truncate(x->text, 0);
    x->enough = false;
    if (!x->call || x->error || x->end)
        finish(x);
    else
        job_start(x->monitor->jobs, read_on, piece_read, x);
}

enum outcome
explain_command(struct call *call, GError **error)
{
    struct explaining *x = g_new0(struct explaining, 1);
    const struct value *v = call->args->at;

    x->monitor = call->monitor;
    x->call = call;
    x->path = g_strdup(v[EXPLAIN_FILE].word);
    x->text = g_string_new(NULL);
    x->explain = explain_new(x->path, v[EXPLAIN_VERBOSE].set ? record_seen : NULL, x, error);
    if (!x->explain) {
        explaining_free(x);
        return COMMAND_FAILED;
    }
    call->data = x;
    call->data_free = forget_call;
    job_start(x->monitor->jobs, read_on, piece_read, x);
    return COMMAND_PENDING;
}

/* forget_call does the rest. */
void
explain_detach(struct call *call)
{
}
