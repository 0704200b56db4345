/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Commands that edit the definition.  A size typed without suffix counts MiB in some of them and bytes in others:
 * what was understood is said. */
#include <string.h>

#include "monitor-private.h"

bool
size_is_bare(const char *text)
{
    uint64_t number;

    return *text && (strspn(text, "0123456789.") == strlen(text) || number_parse(text, &number, NULL));
}

/* The property that a "key=text" or a bare "text" names, if it is a size without suffix; else -1. */
static int
bare_size(const struct property *table, int implied, char *item)
{
    char *equals = strchr(item, '=');
    int i = implied;

    if (equals) {
        *equals = '\0';
        i = property_find(table, item);
    }
    if (i < 0 || table[i].type != PROPERTY_SIZE || !size_is_bare(equals ? equals + 1 : item))
        return -1;
    return i;
}

void
call_echo_sizes(struct call *call)
{
    const struct command *c = call->command;
    const struct property *table = call->args->table;
    int implied = call->variant ? call->variant->implied : c->form == FORM_OPTIONS ? c->implied : -1;
    g_auto(GStrv) items = g_strsplit_set(call->line, " \t,", -1);

    for (char **item = items; *item; item++) {
        int i = bare_size(table, implied, *item);

        if (i < 0 || !call->args->at[i].set)
            continue;
        g_autofree char *size = size_format(call->args->at[i].number);

        if (i == implied)
            call_print(call, "%s\n", size);
        else
            call_print(call, "%s: %s\n", table[i].name, size);
    }
}

void
call_warn_once(struct call *call, enum monitor_warning which, const char *text)
{
    if (call->monitor->warned & which)
        return;
    call->monitor->warned |= which;
    call_print(call, "warning: %s\n", text);
}

enum outcome
call_edit(struct call *call, edit_function *edit, GError **error)
{
    if (!monitor_edit(call->monitor, edit, call->args, error))
        return COMMAND_FAILED;
    call_echo_sizes(call);
    return COMMAND_DONE;
}
