/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The list of command groups and how a name finds its command.  Names are compared with '-' equal to '_'; a script
 * gives whole names, only the interactive prompt (call.c) lets a unique prefix stand for one. */
#include "monitor-private.h"

#include <string.h>

const struct command_group *const command_groups[] = {
    &general_group, &machine_group, &numa_group, &memory_group, &device_group, &run_group, &guest_group,
    &console_group, &examine_group, &trace_group, &migration_group, &peer_group, NULL
};

const struct command *
command_find(const char *name)
{
    for (unsigned g = 0; command_groups[g]; g++) {
        for (const struct command *c = command_groups[g]->commands; c->name; c++) {
            if (name_equal(c->name, name) || (c->alias && name_equal(c->alias, name)))
                return c;
        }
    }
    return NULL;
}

const struct command *
command_by_option(const char *option)
{
    for (unsigned g = 0; command_groups[g]; g++) {
        for (const struct command *c = command_groups[g]->commands; c->name; c++) {
            if (c->option && !strcmp(c->option, option))
                return c;
        }
    }
    return NULL;
}

GPtrArray *
command_names(unsigned when)
{
    GPtrArray *names = g_ptr_array_new();

    for (unsigned g = 0; command_groups[g]; g++) {
        for (const struct command *c = command_groups[g]->commands; c->name; c++) {
            if (!when || (c->when & when))
                g_ptr_array_add(names, (gpointer)c->name);
        }
    }
    return names;
}

const char *
name_nearest(const char *const *names, const char *text)
{
    size_t size = strlen(text);
    unsigned best = size < 4 ? 2 : 3;
    const char *found = NULL, *longer = NULL;

    if (size == 0)
        return NULL;
    for (; *names; names++) {
        unsigned distance = name_distance(text, *names);

        if (name_has_prefix(*names, text, size) && !longer)
            longer = *names;
        if (distance < best) {
            best = distance;
            found = *names;
        }
    }
    return longer ? longer : found;
}

bool
when_allowed(struct monitor *m, const char *name, unsigned when, GError **error)
{
    if (when & (monitor_built(m) ? WHEN_BUILT : WHEN_PRECONFIG))
        return true;
    if (monitor_built(m))
        return fail(error, NUMON_ERROR_STATE, "Command '%s' is permitted only in preconfig; `enter_preconfig` goes "
                    "back there", name);
    return fail(error, NUMON_ERROR_STATE, "Command '%s' not available until machine initialization has completed; "
                "type `launch`", name);
}
