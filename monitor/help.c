/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Usage lines and help, all of it from the command tables. */
#include "monitor-private.h"

#include <string.h>

static char *
variant_usage(const struct command *c, const struct command_variant *v)
{
    g_autofree char *args = v->by_words ? property_usage_words(v->args) : property_usage_options(v->args, v->implied);

    if (!v->by_words && *args == '[')
        return g_strdup_printf("%s %s[,%s", c->name, v->name, args + 1);
    return g_strdup_printf("%s %s%s%s", c->name, v->name, *args ? v->by_words ? " " : "," : "", args);
}

static char *
usage_of_args(const struct command *c)
{
    if (!c->args)
        return g_strdup("");
    switch (c->form) {
    case FORM_WORDS:
        return property_usage_words(c->args);
    case FORM_OPTIONS:
        return property_usage_options(c->args, c->implied);
    default:
        return property_usage_pairs(c->args);
    }
}

char *
command_usage(const struct command *c, const struct command_variant *variant)
{
    g_autofree char *args = NULL;
    g_autoptr(GString) all = NULL;

    if (variant)
        return variant_usage(c, variant);
    if (c->form != FORM_VARIANTS) {
        args = usage_of_args(c);
        return g_strdup_printf("%s%s%s", c->name, *args ? " " : "", args);
    }
    all = g_string_new(NULL);
    for (const struct command_variant *v = c->variants; v->name; v++) {
        g_autofree char *one = variant_usage(c, v);

        g_string_append_printf(all, "%s%s", all->len ? "\n       " : "", one);
    }
    return g_string_free(g_steal_pointer(&all), FALSE);
}

static void
help_args(const struct property *args, bool positional, GString *out)
{
    if (positional)
        property_help_words(args, out);
    else
        property_help(args, out);
}

static void
help_variants(const struct command *c, GString *out)
{
    for (const struct command_variant *v = c->variants; v->name; v++) {
        g_autofree char *usage = variant_usage(c, v);

        g_string_append_printf(out, "\n%s\n    %s\n", usage, v->summary ? v->summary : "");
        help_args(v->args, v->by_words, out);
    }
}

static const char *
when_text(unsigned when)
{
    switch (when) {
    case WHEN_PRECONFIG:
        return "only in preconfig";
    case WHEN_BUILT:
        return "once the machine is built";
    default:
        return NULL;
    }
}

void
help_command(const struct command *c, GString *out)
{
    g_autofree char *usage = command_usage(c, NULL);

    g_string_append_printf(out, "usage: %s\n%s", usage, c->summary);
    if (when_text(c->when))
        g_string_append_printf(out, " (%s)", when_text(c->when));
    g_string_append(out, "\n");
    if (c->alias)
        g_string_append_printf(out, "short: %s\n", c->alias);
    if (c->option)
        g_string_append_printf(out, "on the command line: %s\n", c->option);
    if (c->details)
        g_string_append_printf(out, "%s\n", c->details);
    if (c->form == FORM_VARIANTS)
        help_variants(c, out);
    else if (c->args)
        help_args(c->args, c->form == FORM_WORDS, out);
    if (c->names) {
        g_string_append(out, "names:\n");
        property_help(c->names, out);
    }
}

void
help_overview(struct monitor *m, GString *out)
{
    unsigned now = monitor_built(m) ? WHEN_BUILT : WHEN_PRECONFIG;

    for (unsigned g = 0; command_groups[g]; g++) {
        if (!command_groups[g]->commands->name)
            continue;
        g_string_append_printf(out, "%s%s:\n", out->len ? "\n" : "", command_groups[g]->title);
        for (const struct command *c = command_groups[g]->commands; c->name; c++) {
            g_autofree char *names = g_strdup_printf("%s%s%s", c->name, c->alias ? "|" : "",
                                                     c->alias ? c->alias : "");

            g_string_append_printf(out, "%c %-22s %s\n", c->when & now ? ' ' : '-', names, c->summary);
        }
    }
    g_string_append(out, "\nThose marked - are not allowed now.  `help COMMAND` tells its arguments, `info`\n"
                    "lists what can be looked at.\n");
}

char *
text_printable(const char *text)
{
    GString *out = g_string_new(NULL);

    while (*text) {
        gunichar c = g_utf8_get_char_validated(text, -1);
        bool broken = c == (gunichar)-1 || c == (gunichar)-2;

        if (broken || (g_unichar_iscntrl(c) && c != '\n' && c != '\t')) {
            g_string_append_printf(out, "\\x%02x", (unsigned char)*text);
            text++;
        } else {
            g_string_append_unichar(out, c);
            text = g_utf8_next_char(text);
        }
    }
    return g_string_free(out, FALSE);
}

GVariant *
text_variant(const char *text)
{
    return g_variant_new_take_string(text_printable(text));
}
