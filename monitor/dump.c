/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What is made of the tables beside running them: the command reference for the manual, and a check of the rules that
 * every table keeps. */
#include "monitor-private.h"

#include <string.h>

enum { SUMMARY_MAX = 55 };

/* --- the manual ------------------------------------------------------------------------------------------------- */

static void
append_escaped(GString *out, const char *text)
{
    for (; *text; text++) {
        if (strchr("@{}", *text))
            g_string_append_c(out, '@');
        g_string_append_c(out, *text);
    }
}

/* A positional property is shown by its name in capitals, as the usage line has it. */
static void
append_property(GString *out, const struct property *p, bool positional)
{
    g_autofree char *shape = property_shape(p);
    g_autofree char *name = positional && p->name[0] != '-' ? g_ascii_strup(p->name, -1) : g_strdup(p->name);

    g_string_append_printf(out, "@item @code{");
    append_escaped(out, name);
    g_string_append(out, "}");
    if (p->type != PROPERTY_FLAG && p->type != PROPERTY_REST) {
        g_string_append(out, " (@code{");
        append_escaped(out, shape);
        g_string_append(out, "}");
        if (p->unit)
            g_string_append_printf(out, ", %s", p->unit);
        if (p->value_default) {
            g_string_append(out, ", default @code{");
            append_escaped(out, p->value_default);
            g_string_append(out, "}");
        }
        g_string_append(out, ")");
    }
    g_string_append(out, "\n");
    append_escaped(out, p->help ? p->help : "");
    g_string_append(out, ".\n");
}

static void
append_properties(GString *out, const struct property *table, bool positional)
{
    if (!table || table->type == PROPERTY_END)
        return;
    g_string_append(out, "@table @asis\n");
    for (; table->type != PROPERTY_END; table++)
        append_property(out, table, positional);
    g_string_append(out, "@end table\n");
}

static void
append_sentence(GString *out, const char *text)
{
    g_autofree char *sentence = g_strdup(text);

    sentence[0] = g_ascii_toupper(sentence[0]);
    append_escaped(out, sentence);
    g_string_append(out, ".\n");
}

static void
append_variants(GString *out, const struct command *c)
{
    g_string_append(out, "@table @asis\n");
    for (const struct command_variant *v = c->variants; v->name; v++) {
        g_autofree char *usage = command_usage(c, v);

        g_string_append(out, "@item @code{");
        append_escaped(out, usage);
        g_string_append(out, "}\n");
        if (v->summary)
            append_sentence(out, v->summary);
        append_properties(out, v->args, v->by_words);
    }
    g_string_append(out, "@end table\n");
}

static void
append_command(GString *out, const struct command *c)
{
    g_autofree char *usage = command_usage(c, NULL);

    g_string_append(out, "@item @code{");
    append_escaped(out, c->form == FORM_VARIANTS ? c->name : usage);
    g_string_append(out, "}\n@cindex ");
    append_escaped(out, c->name);
    g_string_append(out, "\n");
    append_sentence(out, c->summary);
    if (c->when == WHEN_PRECONFIG)
        g_string_append(out, "Only in preconfig.\n");
    if (c->when == WHEN_BUILT)
        g_string_append(out, "Once the machine is built.\n");
    if (c->alias)
        g_string_append_printf(out, "Short: @code{%s}.\n", c->alias);
    if (c->option)
        g_string_append_printf(out, "On the command line: @option{%s}.\n", c->option);
    if (c->details) {
        append_escaped(out, c->details);
        g_string_append(out, "\n");
    }
    if (c->form == FORM_VARIANTS)
        append_variants(out, c);
    else
        append_properties(out, c->args, c->form == FORM_WORDS);
    if (c->names) {
        g_string_append(out, "Names:\n");
        append_properties(out, c->names, false);
    }
    g_string_append(out, "\n");
}

static void
append_items(GString *out)
{
    g_string_append(out, "@section What @code{info} shows\n\n@table @asis\n");
    for (unsigned t = 0; info_tables[t]; t++) {
        for (const struct info_item *i = info_tables[t]; i->name; i++) {
            g_autofree char *usage = info_usage(i);

            g_string_append(out, "@item @code{");
            append_escaped(out, usage);
            g_string_append(out, "}\n");
            append_sentence(out, i->summary);
            append_properties(out, i->args, true);
        }
    }
    g_string_append(out, "@end table\n");
}

void
dump_texinfo(GString *out)
{
    g_string_append(out, "@c Made by numon --dump-commands=texinfo from the command tables.\n");
    for (unsigned g = 0; command_groups[g]; g++) {
        g_string_append_printf(out, "@section %s\n\n@table @asis\n", command_groups[g]->title);
        for (const struct command *c = command_groups[g]->commands; c->name; c++)
            append_command(out, c);
        g_string_append(out, "@end table\n\n");
    }
    append_items(out);
}

/* --- rules of the tables ---------------------------------------------------------------------------------------- */

static bool
fault(GString *out, const char *name, const char *what)
{
    g_string_append_printf(out, "%s: %s\n", name, what);
    return false;
}

static bool
summary_check(GString *out, const char *name, const char *summary)
{
    size_t size = summary ? strlen(summary) : 0;

    if (size == 0)
        return fault(out, name, "no summary");
    if (size > SUMMARY_MAX)
        return fault(out, name, "the summary has more than 55 columns");
    return summary[size - 1] != '.' || fault(out, name, "the summary ends in a full stop");
}

/* Registers a name; false if it is there already, under any spelling with '-' and '_'. */
static bool
name_check(GString *out, GPtrArray *seen, const char *name)
{
    for (unsigned i = 0; i < seen->len; i++) {
        if (name_equal(seen->pdata[i], name))
            return fault(out, name, "the name is taken twice");
    }
    g_ptr_array_add(seen, (gpointer)name);
    return true;
}

static bool
properties_check(GString *out, const char *name, const struct property *table)
{
    bool good = true;

    for (const struct property *p = table; p && p->type != PROPERTY_END; p++) {
        if (!p->help || !*p->help || g_str_has_suffix(p->help, "."))
            good = fault(out, name, "an argument has no help, or one with a full stop");
        if (p->type == PROPERTY_REST && p[1].type != PROPERTY_END)
            good = fault(out, name, "the rest of the line is not its last argument");
        if (p->type == PROPERTY_CHOICE && !p->choices)
            good = fault(out, name, "a choice without choices");
        if (p->complete >= COMPLETE_KINDS)
            good = fault(out, name, "an unknown completer");
    }
    return good;
}

static bool
command_check(GString *out, GPtrArray *names, const struct command *c)
{
    bool good = summary_check(out, c->name, c->summary);

    good &= name_check(out, names, c->name);
    if (c->alias)
        good &= name_check(out, names, c->alias);
    if (!c->run || !(c->when & WHEN_ALWAYS))
        good = fault(out, c->name, "nothing to run, or never allowed");
    if (c->form == FORM_VARIANTS && (!c->variants || c->args))
        return fault(out, c->name, "variants and arguments do not agree");
    good &= properties_check(out, c->name, c->args);
    for (const struct command_variant *v = c->variants; v && v->name; v++) {
        good &= summary_check(out, v->name, v->summary);
        good &= properties_check(out, v->name, v->args);
    }
    return good;
}

bool
tables_check(GString *out)
{
    g_autoptr(GPtrArray) commands = g_ptr_array_new(), items = g_ptr_array_new();
    bool good = true;

    for (unsigned g = 0; command_groups[g]; g++) {
        for (const struct command *c = command_groups[g]->commands; c->name; c++)
            good &= command_check(out, commands, c);
    }
    for (unsigned t = 0; info_tables[t]; t++) {
        for (const struct info_item *i = info_tables[t]; i->name; i++) {
            good &= summary_check(out, i->name, i->summary);
            good &= name_check(out, items, i->name);
            if ((!i->get && !i->begin) || (!i->print && !i->fit))
                good = fault(out, i->name, "nothing to get or to print");
        }
    }
    g_string_append_printf(out, "%u names of commands, %u info items: %s\n", commands->len, items->len,
                           good ? "good" : "faults");
    return good;
}
