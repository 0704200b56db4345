/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Commands about the session itself. */
#include "general.h"

#include <string.h>

/* --- help ------------------------------------------------------------------------------------------------------- */

enum { HELP_P_COMMAND, HELP_P_ITEM };
static const struct property help_properties[] = {
    { "command", PROPERTY_WORD, .complete = COMPLETE_COMMAND, .help = "the command to explain" },
    { "item", PROPERTY_WORD, .complete = COMPLETE_INFO, .help = "for `info`: the item to explain" },
    { 0 }
};

static bool
help_item(struct call *call, const char *name, GError **error)
{
    const struct info_item *item = info_find(name);
    g_autofree char *usage = NULL;

    if (!item)
        return fail(error, NUMON_ERROR_ARGUMENT, "no help for 'info %s': there is no such item", name);
    usage = info_usage(item);
    call_print(call, "usage: %s\n%s\n", usage, item->summary);
    if (item->args)
        property_help_words(item->args, call->output);
    return true;
}

static enum outcome
help_run(struct call *call, GError **error)
{
    const char *name = call->args->at[HELP_P_COMMAND].word, *item = call->args->at[HELP_P_ITEM].word;
    const struct command *c;

    if (!name) {
        help_overview(call->monitor, call->output);
        return COMMAND_DONE;
    }
    c = command_find(name);
    if (!c && call->abbreviates) {
        g_autoptr(GPtrArray) names = command_names(0);
        const char *whole = name_expand(names, name, NULL);

        c = whole ? command_find(whole) : NULL;
    }
    if (!c) {
        fail(error, NUMON_ERROR_ARGUMENT, "no help for '%s': there is no such command", name);
        return COMMAND_FAILED;
    }
    if (item && c->run == info_run)
        return help_item(call, item, error) ? COMMAND_DONE : COMMAND_FAILED;
    help_command(c, call->output);
    return COMMAND_DONE;
}

/* --- quit ------------------------------------------------------------------------------------------------------- */

static enum outcome
quit_run(struct call *call, GError **error)
{
    struct monitor *m = call->monitor;
    const char *at_stake = monitor_at_stake(m);

    if (at_stake && call->input->class->ask) {
        g_autofree char *question = g_strdup_printf("%s; quit all the same (y or n)? ", at_stake);

        call->input->class->ask(call->input, question);
        return COMMAND_DONE;
    }
    monitor_quit(m, m->exit_status);
    return COMMAND_DONE;
}

/* --- echo ------------------------------------------------------------------------------------------------------- */

enum { ECHO_P_TEXT };
static const struct property echo_properties[] = {
    { "text", PROPERTY_REST, .help = "what to print, as typed" },
    { 0 }
};

static enum outcome
echo_run(struct call *call, GError **error)
{
    const char *text = call->args->at[ECHO_P_TEXT].word;

    call_print(call, "%s\n", text ? text : "");
    return COMMAND_DONE;
}

static const struct property source_properties[] = {
    { "file", PROPERTY_WORD, .required = true, .complete = COMPLETE_FILE, .help = "script to run" },
    { 0 }
};

static const struct property info_properties[] = {
    [INFO_P_JSON] = { "-j", PROPERTY_FLAG, .help = "as one line of JSON, for programs" },
    [INFO_P_ITEM] = { "item", PROPERTY_WORD, .complete = COMPLETE_INFO,
                      .help = "what to show; without it the items are listed" },
    [INFO_P_REST] = { "arguments", PROPERTY_REST, .help = "as the item takes them" },
    { 0 }
};

static const struct command commands[] = {
    { "help", "?", "list the commands, or explain one", .form = FORM_WORDS, .args = help_properties,
      .when = WHEN_ALWAYS, .run = help_run },
    { "info", NULL, "show one thing, or list what can be shown", .form = FORM_WORDS, .args = info_properties,
      .when = WHEN_ALWAYS, .run = info_run, .detach = info_detach },
    { "watch", NULL, "run a command again and again", "Each run begins with a heading; Ctrl-C ends it, and so does "
      "an error.",
      .form = FORM_WORDS, .args = watch_properties, .when = WHEN_ALWAYS, .run = watch_run, .detach = watch_detach },
    { "source", NULL, "run the commands in a file",
      "Blank lines and lines that begin with # are skipped.  It stops at the first line that fails.",
      .form = FORM_WORDS,
      .args = source_properties, .when = WHEN_ALWAYS, .run = source_run, .detach = source_detach },
    { "echo", NULL, "print a line of text", .form = FORM_WORDS, .args = echo_properties, .when = WHEN_ALWAYS,
      .run = echo_run },
    { "quit", "q", "end the session", "At a terminal it asks once if a guest or a migration would be lost.",
      .when = WHEN_ALWAYS, .run = quit_run },
    { 0 }
};

const struct command_group general_group = { "Session", commands };
