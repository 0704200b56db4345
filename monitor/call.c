/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Running calls.  A call is one command line being run: it is looked up, its arguments become values, the command
 * runs and is done, failed or pending.  A pending call may have another line run below it (source, watch), with its
 * output; so the running calls of an input are a chain, the input holding the outermost. */
#include "monitor-private.h"

#include <stdarg.h>
#include <string.h>

static void
call_free(struct call *call)
{
    if (call->start_id)
        g_source_remove(call->start_id);
    if (call->data_free)
        call->data_free(call->data);
    values_free(call->args);
    g_string_free(call->output, TRUE);
    g_free(call->usage);
    g_free(call->line);
    g_free(call);
}

static struct call *
call_new(struct input *in, struct call *parent, const char *line)
{
    struct call *call = g_new0(struct call, 1);

    call->monitor = in->monitor;
    call->input = in;
    call->parent = parent;
    call->line = g_strstrip(g_strdup(line));
    call->output = g_string_new(NULL);
    call->abbreviates = in->class->interactive && !parent;
    return call;
}

void
call_print(struct call *call, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    g_string_append_vprintf(call->output, format, args);
    va_end(args);
}

void
call_flush(struct call *call)
{
    if (call->output->len == 0)
        return;
    call->input->class->write(call->input, call->output->str, call->output->len);
    g_string_truncate(call->output, 0);
}

bool
call_redraws(const struct call *call)
{
    return call->input->class->redraw != NULL;
}

void
call_redraw(struct call *call, const char *text)
{
    call_flush(call);
    call->input->class->redraw(call->input, text);
}

/* The line below 'parent' ended: hands over what is shown of its error. */
static void
call_end_child(struct call *call, const GError *error)
{
    struct call *parent = call->parent;
    void (*done)(struct call *, const GError *) = call->done;

    parent->child = NULL;
    if (error) {
        g_free(parent->usage);
        parent->usage = g_steal_pointer(&call->usage);
        parent->located = call->located;
    }
    call_free(call);
    done(parent, error);
}

static void
call_end(struct call *call, const GError *error)
{
    struct input *in = call->input;

    call_flush(call);
    if (call->parent) {
        call_end_child(call, error);
        return;
    }
    in->call = NULL;
    input_ended(in, call, error);
    call_free(call);
}

void
call_finish(struct call *call, const GError *error)
{
    on_main_thread();
    g_assert(!call->child);
    call_end(call, error);
}

/* --- from a line to a command with values ----------------------------------------------------------------------- */

const char *
name_expand(GPtrArray *names, const char *word, GError **error)
{
    g_autoptr(GString) candidates = g_string_new(NULL);
    const char *found = NULL;
    unsigned count = 0;

    for (unsigned i = 0; i < names->len; i++) {
        if (!name_has_prefix(names->pdata[i], word, strlen(word)))
            continue;
        found = names->pdata[i];
        g_string_append_printf(candidates, "%s%s", count++ ? ", " : "", found);
    }
    if (count > 1)
        fail(error, NUMON_ERROR_ARGUMENT, "'%s' is ambiguous: %s", word, candidates->str);
    return count == 1 ? found : NULL;
}

static bool
fail_unknown(const struct call *call, const char *word, GError **error)
{
    g_autoptr(GPtrArray) names = command_names(0);
    g_autofree char *line = text_printable(call->line);
    const char *near;

    g_ptr_array_add(names, NULL);
    near = name_nearest((const char *const *)names->pdata, word);
    if (near)
        return fail(error, NUMON_ERROR_ARGUMENT, "unknown command: '%s'; did you mean '%s'?", line, near);
    return fail(error, NUMON_ERROR_ARGUMENT, "unknown command: '%s'", line);
}

static bool
call_look_up(struct call *call, const char *word, GError **error)
{
    GError *ambiguous = NULL;

    call->command = command_find(word);
    if (!call->command && call->abbreviates && *word) {
        g_autoptr(GPtrArray) names = command_names(monitor_built(call->monitor) ? WHEN_BUILT : WHEN_PRECONFIG);
        const char *name = name_expand(names, word, &ambiguous);

        if (ambiguous) {
            g_propagate_error(error, ambiguous);
            return false;
        }
        call->command = name ? command_find(name) : NULL;
    }
    return call->command || fail_unknown(call, word, error);
}

static bool
fail_variant(const struct call *call, const char *word, GError **error)
{
    g_autoptr(GString) kinds = g_string_new(NULL);
    g_autofree char *shown = text_printable(word);

    for (const struct command_variant *v = call->command->variants; v->name; v++)
        g_string_append_printf(kinds, "%s%s", kinds->len ? ", " : "", v->name);
    if (!*word)
        return fail(error, NUMON_ERROR_ARGUMENT, "%s: say which of %s", call->command->name, kinds->str);
    return fail(error, NUMON_ERROR_ARGUMENT, "%s: unknown '%s', not one of %s", call->command->name, shown,
                kinds->str);
}

static bool
call_find_variant(struct call *call, const char *word, GError **error)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new();
    const char *name = NULL;
    GError *ambiguous = NULL;

    for (const struct command_variant *v = call->command->variants; v->name; v++) {
        g_ptr_array_add(names, (gpointer)v->name);
        if (name_equal(v->name, word))
            name = v->name;
    }
    if (!name && call->abbreviates && *word)
        name = name_expand(names, word, &ambiguous);
    if (ambiguous) {
        g_propagate_error(error, ambiguous);
        return false;
    }
    for (const struct command_variant *v = call->command->variants; name && v->name; v++) {
        if (v->name == name)
            call->variant = v;
    }
    return call->variant || fail_variant(call, word, error);
}

/* "a=1 b=2" as "a=1,b=2". */
static char *
blanks_to_commas(const char *text)
{
    GString *out = g_string_new(NULL);

    while (*text) {
        size_t blanks = strspn(text, " \t");

        text += blanks;
        if (blanks && *text && *text != ',' && out->len && out->str[out->len - 1] != ',')
            g_string_append_c(out, ',');
        if (*text)
            g_string_append_c(out, *text++);
    }
    return g_string_free(out, FALSE);
}

static bool
call_parse_variant(struct call *call, const char *text, GError **error)
{
    size_t size = strcspn(text, ", \t");
    g_autofree char *word = g_strndup(text, size);
    g_autofree char *commas = NULL;
    const struct command_variant *v;

    if (!call_find_variant(call, word, error))
        return false;
    v = call->variant;
    if (v->by_words && text[size] == ',')
        return fail(error, NUMON_ERROR_ARGUMENT, "%s %s: blanks separate its arguments, not commas",
                    call->command->name, v->name);
    if (v->or_blanks && text[size])
        text = commas = blanks_to_commas(text);
    if (!v->by_words && text[size] && text[size] != ',')
        return fail(error, NUMON_ERROR_ARGUMENT, "%s %s: its arguments follow a comma: '%s,...'", call->command->name,
                    v->name, v->name);
    text += size + (text[size] != '\0');
    call->args = v->by_words ? property_parse_words(v->args, text, error)
                             : property_parse_options(v->args, v->implied, text, error);
    return call->args != NULL;
}

static bool
call_parse(struct call *call, const char *text, GError **error)
{
    const struct command *c = call->command;

    if (c->form == FORM_VARIANTS)
        return call_parse_variant(call, text, error);
    if (!c->args)
        return !*text || fail(error, NUMON_ERROR_ARGUMENT, "%s: extraneous characters at the end of line", c->name);
    switch (c->form) {
    case FORM_WORDS:
        call->args = property_parse_words(c->args, text, error);
        break;
    case FORM_OPTIONS:
        call->args = property_parse_options(c->args, c->implied, text, error);
        break;
    default:
        call->args = property_parse_pairs(c->args, text, error);
        break;
    }
    return call->args != NULL;
}

/* --- running ---------------------------------------------------------------------------------------------------- */

static enum outcome
call_run_line(struct call *call, GError **error)
{
    size_t size = strcspn(call->line, " \t/");         /* "x/4xw": the format may follow at once */
    g_autofree char *word = g_strndup(call->line, size);
    const char *rest = call->line + size + strspn(call->line + size, " \t");

    if (!*call->line || *call->line == '#')
        return COMMAND_DONE;
    if (!call_look_up(call, word, error)
        || !when_allowed(call->monitor, call->command->name, call->command->when, error))
        return COMMAND_FAILED;
    if (!call_parse(call, rest, error)) {
        call->usage = command_usage(call->command, call->variant);
        return COMMAND_FAILED;
    }
    return call->command->run(call, error);
}

static void
call_start(struct call *call)
{
    g_autoptr(GError) error = NULL;
    enum outcome outcome = call_run_line(call, &error);

    g_assert((outcome == COMMAND_FAILED) == (error != NULL));
    if (outcome != COMMAND_PENDING)
        call_end(call, error);
    else if (!call->parent && call->input->class->busy)
        call->input->class->busy(call->input);
}

void
call_begin(struct input *in, const char *line)
{
    g_assert(!in->call);
    in->call = call_new(in, NULL, line);
    call_start(in->call);
}

static gboolean
start_child(gpointer data)
{
    struct call *call = data;

    on_main_thread();
    call->start_id = 0;
    call_start(call);
    return G_SOURCE_REMOVE;
}

void
call_run(struct call *call, const char *line, void (*done)(struct call *call, const GError *error))
{
    g_assert(!call->child);
    call_flush(call);
    call->child = call_new(call->input, call, line);
    call->child->done = done;
    /* The default priority: between two lines the mailbox and timers have their turn. */
    call->child->start_id = g_idle_add_full(G_PRIORITY_DEFAULT, start_child, call->child, NULL);
}

static void
abandon_chain(struct call *call)
{
    if (call->child)
        abandon_chain(call->child);
    call->child = NULL;
    if (call->command && call->command->detach && !call->start_id)
        call->command->detach(call);
    call_flush(call);
    if (call->parent)
        call_free(call);
}

bool
call_abandon(struct call *call)
{
    g_autoptr(GError) error = NULL;

    for (const struct call *c = call; c; c = c->child) {
        if (!c->start_id && !c->command->detach)
            return false;
    }
    abandon_chain(call);
    call->interrupted = true;
    fail(&error, NUMON_ERROR_STATE, "interrupted");
    call_end(call, error);
    return true;
}
