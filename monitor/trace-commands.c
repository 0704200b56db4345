/* SPDX-License-Identifier: GPL-3.0-or-later */
/* `trace`: which traces are shown, and switching them. */
#include "monitor-private.h"

#include <string.h>

static const char *const class_words[] = {
#define X(c, name, help) name,
    TRACE_CLASSES(X)
#undef X
    "all", NULL
};

enum { TRACE_P_CLASS, TRACE_P_ON };
static const struct property trace_args[] = {
    [TRACE_P_CLASS] = { "class", PROPERTY_CHOICE, .choices = class_words,
                        .help = "what to tell of; without it shows all" },
    [TRACE_P_ON] = { "on", PROPERTY_BOOL, .help = "begin or end; without it shows the class" },
    { 0 }
};

static void
show_class(struct call *call, unsigned c)
{
    call_print(call, "%s: %s - %s\n", trace_class_info[c].name,
               trace_is_on(machine_trace(call->monitor->machine), c) ? "on" : "off", trace_class_info[c].help);
}

static enum outcome
run_trace(struct call *call, GError **error)
{
    const struct value *class = &call->args->at[TRACE_P_CLASS], *on = &call->args->at[TRACE_P_ON];
    bool all = !class->set || class->number == TRACE_CLASSES_COUNT;

    for (unsigned c = 0; c < TRACE_CLASSES_COUNT; c++) {
        if (!all && c != class->number)
            continue;
        if (on->set)
            trace_switch(machine_trace(call->monitor->machine), c, on->flag);
        else
            show_class(call, c);
    }
    return COMMAND_DONE;
}

static const struct command trace_commands[] = {
    { .name = "trace", .summary = "show what happens inside, line by line", .form = FORM_WORDS, .args = trace_args,
      .when = WHEN_ALWAYS, .run = run_trace,
      .details = "Lines come as events, at most 20 a second of a class; the next says how many were left out." },
    { 0 }
};

const struct command_group trace_group = { .title = "Traces", .commands = trace_commands };
