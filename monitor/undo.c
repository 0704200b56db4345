/* SPDX-License-Identifier: GPL-3.0-or-later */
/* `undo` and `redo`: steps through the changes of the definition.  What a step did is shown as the lines of a saved
 * definition that went and came. */
#include <string.h>

#include "monitor-private.h"

enum { UNDO_COUNT };

const struct property undo_args[] = {
    [UNDO_COUNT] = { "count", PROPERTY_UINT, .min = 1, .max = UINT32_MAX, .value_default = "1",
                     .help = "how many changes" },
    { 0 }
};

/* Prints the lines of 'from' that 'others' has not. */
static void
print_missing(struct call *call, const char *mark, char **from, char **others)
{
    g_autoptr(GHashTable) known = g_hash_table_new(g_str_hash, g_str_equal);

    for (; *others; others++)
        g_hash_table_add(known, *others);
    for (; *from; from++) {
        if (**from && !g_hash_table_contains(known, *from))
            call_print(call, "%s %s\n", mark, *from);
    }
}

static void
print_difference(struct call *call, const char *before, const char *after)
{
    g_auto(GStrv) old = g_strsplit(before, "\n", -1), new = g_strsplit(after, "\n", -1);

    print_missing(call, "-", old, new);
    print_missing(call, "+", new, old);
}

static enum outcome
step(struct call *call, bool back, GError **error)
{
    struct machine *machine = call->monitor->machine;
    unsigned count = call->args->at[UNDO_COUNT].set ? (unsigned)call->args->at[UNDO_COUNT].number : 1;
    g_autofree char *before = definition_save(machine_definition(machine)), *after = NULL;

    if (!machine_undo(machine, back, count, error))
        return COMMAND_FAILED;
    after = definition_save(machine_definition(machine));
    print_difference(call, before, after);
    return COMMAND_DONE;
}

enum outcome
undo_run(struct call *call, GError **error)
{
    return step(call, true, error);
}

enum outcome
redo_run(struct call *call, GError **error)
{
    return step(call, false, error);
}
