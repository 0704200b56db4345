/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The command line.  An option that is a command's (`.option` in its table) becomes that command's line; these take
 * effect in the order of 'effects', whatever their position.  The rest is about the program itself. */
#include "monitor-private.h"

#include <string.h>

/* Options that are commands, in the order in which they take effect; those of one name in the order given. */
static const char *const effects[] = {
    "-name", "-machine", "-accel", "-m", "-mem-path", "-mem-prealloc", "-smp", "-cpu", "-object", "-numa", "-device",
    "-kernel", "-initrd", "-append", "-serial", "-debugcon", "-action",
    NULL
};

enum program_option {
    OPTION_INCOMING, OPTION_PAUSED, OPTION_PRECONFIG, OPTION_START, OPTION_SCRIPT, OPTION_BATCH, OPTION_PLAIN,
    OPTION_VERSION, OPTION_HELP, OPTION_DUMP, OPTION_SELF_TEST, OPTION_PEER,
};

static const struct {
    const char *name, *value;       /* value: NULL if it takes none */
    const char *help;               /* NULL: not listed */
} program_options[] = {
    [OPTION_INCOMING] = { "-incoming", "URI|defer", "wait for a migration once the machine is built" },
    [OPTION_PAUSED] = { "-S", NULL, "leave the guest paused, also one that arrives" },
    [OPTION_PRECONFIG] = { "-preconfig", NULL, "begin before the machine is built, as always" },
    [OPTION_START] = { "-start", NULL, "launch after the scripts; with -S exit_preconfig" },
    [OPTION_SCRIPT] = { "-x", "FILE", "run this script first; may be repeated" },
    [OPTION_BATCH] = { "-batch", NULL, "end with the input, or at the first error" },
    [OPTION_PLAIN] = { "-plain", NULL, "no line editing, a prompt for programs" },
    [OPTION_VERSION] = { "-version", NULL, "show the version" },
    [OPTION_HELP] = { "-help", NULL, "show this list" },
    [OPTION_DUMP] = { "-dump-commands", "texinfo", NULL },
    [OPTION_SELF_TEST] = { "-self-test", NULL, NULL },
    [OPTION_PEER] = { "-peer", NULL, NULL },
};

/* A file name or a word with blanks in it must come through as one word. */
static char *
quoted(const char *text)
{
    GString *out = g_string_new("\"");

    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            g_string_append_c(out, '\\');
        g_string_append_c(out, *text);
    }
    g_string_append_c(out, '"');
    return g_string_free(out, FALSE);
}

static char *
command_text(const struct command *c, const char *value)
{
    bool by_words = c->form == FORM_WORDS && c->args && c->args->type != PROPERTY_REST;
    g_autofree char *word = by_words ? quoted(value) : g_strdup(value);

    return g_strdup_printf("%s %s", c->name, word);
}

/* How often the option was given so far. */
static unsigned
times_given(const struct options *o, const char *option)
{
    g_autofree char *start = g_strconcat(option, " ", NULL);
    unsigned count = 0;

    for (unsigned i = 0; i < o->lines->len; i++)
        count += g_str_has_prefix(((const struct input_line *)o->lines->pdata[i])->origin, start);
    return count;
}

static void
add_command(struct options *o, const struct command *c, const char *value)
{
    g_autofree char *text = command_text(c, value), *origin = g_strdup_printf("%s %s", c->option, value);
    unsigned before = c->numbered ? times_given(o, c->option) : 0;
    g_autofree char *numbered = before ? g_strdup_printf("%s %u", text, before) : g_strdup(text);
    struct input_line *line = input_line_new(numbered, origin, 0);

    line->option = true;
    g_ptr_array_add(o->lines, line);
}

static void
apply(struct options *o, enum program_option option, const char *value)
{
    switch (option) {
    case OPTION_INCOMING:
        g_free(o->incoming);
        o->incoming = g_strdup(value);
        break;
    case OPTION_PAUSED:
        o->paused = true;
        break;
    case OPTION_PRECONFIG:
        break;
    case OPTION_START:
        o->start = true;
        break;
    case OPTION_SCRIPT:
        g_ptr_array_add(o->scripts, g_strdup(value));
        break;
    case OPTION_BATCH:
        o->batch = true;
        break;
    case OPTION_PLAIN:
        o->plain = true;
        break;
    case OPTION_VERSION:
        o->version = true;
        break;
    case OPTION_HELP:
        o->help = true;
        break;
    case OPTION_DUMP:
        o->dump = true;
        break;
    case OPTION_SELF_TEST:
        o->self_test = true;
        break;
    case OPTION_PEER:
        o->peer = true;
        break;
    }
}

/* One argument, its value being 'next' or what follows '='; '*ret_used_next' tells which. */
static bool
parse_one(struct options *o, const char *arg, const char *next, bool *ret_used_next, GError **error)
{
    const char *name = arg[0] == '-' && arg[1] == '-' ? arg + 1 : arg, *equals = strchr(name, '=');
    g_autofree char *key = g_strndup(name, equals ? (size_t)(equals - name) : strlen(name));
    const struct command *c = command_by_option(key);
    const char *value = equals ? equals + 1 : next;
    /* One that is on or off needs no word to be on. */
    bool optional = c && c->args && c->args->type == PROPERTY_BOOL && !c->args->required;
    bool takes_value = c && !optional;
    int found = -1;

    for (unsigned i = 0; !c && i < G_N_ELEMENTS(program_options); i++) {
        if (!strcmp(program_options[i].name, key))
            found = (int)i;
    }
    if (!c && found < 0)
        return fail(error, NUMON_ERROR_ARGUMENT, "unknown option '%s'", arg);
    if (!c)
        takes_value = program_options[found].value != NULL;
    if (takes_value && !value)
        return fail(error, NUMON_ERROR_ARGUMENT, "option '%s' needs a value", arg);
    if (!takes_value && equals && !optional)
        return fail(error, NUMON_ERROR_ARGUMENT, "option '%s' takes no value", arg);
    *ret_used_next = takes_value && !equals;
    if (c)
        add_command(o, c, takes_value || equals ? value : "on");
    else
        apply(o, (enum program_option)found, value);
    return true;
}

static int
effect_of(const struct input_line *line)
{
    size_t size = strcspn(line->origin, " ");
    int i = 0;

    while (effects[i] && (strlen(effects[i]) != size || strncmp(effects[i], line->origin, size)))
        i++;
    return i;
}

/* Stable, so that options of one name keep their order. */
static void
sort_lines(GPtrArray *lines)
{
    for (unsigned i = 1; i < lines->len; i++) {
        gpointer line = lines->pdata[i];
        unsigned j = i;

        for (; j > 0 && effect_of(lines->pdata[j - 1]) > effect_of(line); j--)
            lines->pdata[j] = lines->pdata[j - 1];
        lines->pdata[j] = line;
    }
}

bool
options_parse(struct options *o, int argc, char **argv, GError **error)
{
    *o = (struct options) { .scripts = g_ptr_array_new_with_free_func(g_free), .lines = g_ptr_array_new() };
    for (int i = 1; i < argc; i++) {
        bool used_next = false;

        if (argv[i][0] != '-' || !argv[i][1])
            return fail(error, NUMON_ERROR_ARGUMENT, "unexpected argument '%s'", argv[i]);
        if (!parse_one(o, argv[i], i + 1 < argc ? argv[i + 1] : NULL, &used_next, error))
            return false;
        i += used_next;
    }
    if (o->plain && o->batch)
        return fail(error, NUMON_ERROR_ARGUMENT, "options '--plain' and '--batch' exclude each other");
    sort_lines(o->lines);
    return true;
}

/* Lines that were not handed to an input go with it. */
void
options_release(struct options *o)
{
    for (unsigned i = 0; i < o->lines->len; i++)
        input_line_free(o->lines->pdata[i]);
    g_ptr_array_free(o->lines, TRUE);
    g_ptr_array_free(o->scripts, TRUE);
    g_free(o->incoming);
}

static void
help_line(GString *out, const char *name, const char *value, const char *help)
{
    g_autofree char *left = g_strdup_printf("%s%s%s", name, value ? " " : "", value ? value : "");

    if (!*help) {
        g_string_append_printf(out, "  %s\n", left);
        return;
    }
    g_string_append_printf(out, strlen(left) > 24 ? "  %s\n%*s%s\n" : "  %-24s%*s%s\n", left,
                           strlen(left) > 24 ? 28 : 2,
                           "", help);
}

void
options_help(GString *out)
{
    g_string_append(out, "usage: numon [OPTION]...\n\nThe machine, as the commands of the same meaning:\n");
    for (unsigned i = 0; effects[i]; i++) {
        const struct command *c = command_by_option(effects[i]);

        if (c) {
            g_autofree char *usage = command_usage(c, NULL);
            g_auto(GStrv) lines = g_strsplit(usage, "\n", -1);

            for (unsigned l = 0; lines[l]; l++) {
                const char *text = g_strstrip(lines[l]);

                help_line(out, effects[i], text + strlen(c->name) + strspn(text + strlen(c->name), " "),
                          l ? "" : c->summary);
            }
        }
    }
    g_string_append(out, "\nThe session:\n");
    for (unsigned i = 0; i < G_N_ELEMENTS(program_options); i++) {
        const char *name = program_options[i].name;
        g_autofree char *spelt = g_strdup_printf("%s%s", strlen(name) > 2 && i != OPTION_INCOMING ? "-" : "", name);

        if (program_options[i].help)
            help_line(out, spelt, program_options[i].value, program_options[i].help);
    }
}
