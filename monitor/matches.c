/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Candidates for the word at hand, from complete.c, in readline's form. */
#include "monitor-private.h"

#include <stdio.h>
#include <readline/readline.h>
#include <stdlib.h>
#include <string.h>

/* readline's form of candidates: first what all begin with, then each; it owns them. */
static char **
matches_of(const GPtrArray *candidates)
{
    char **matches = calloc(candidates->len + 2, sizeof *matches);
    const char *first = candidates->pdata[0];
    size_t common = strlen(first);

    for (unsigned i = 1; i < candidates->len; i++) {
        size_t size = 0;

        while (size < common && ((const char *)candidates->pdata[i])[size] == first[size])
            size++;
        common = size;
    }
    matches[0] = strndup(first, common);
    for (unsigned i = 0; candidates->len > 1 && i < candidates->len; i++)
        matches[i + 1] = strdup(candidates->pdata[i]);
    return matches;
}

static void
add_files(GPtrArray *candidates, const char *text)
{
    char *name;

    for (int state = 0; (name = rl_filename_completion_function(text, state)); state = 1) {
        g_ptr_array_add(candidates, g_strdup(name));
        free(name);
    }
}

char **
readline_matches(struct monitor *m, const char *text, int end)
{
    g_autofree char *line = g_strndup(rl_line_buffer, (size_t)end);
    g_autoptr(GPtrArray) candidates = NULL;
    size_t word;
    char append;
    bool files;

    candidates = complete_line(m, line, &word, &append, &files);
    if (files)
        add_files(candidates, text);
    rl_filename_completion_desired = files;
    rl_completion_append_character = append;
    rl_attempted_completion_over = 1;
    return candidates->len ? matches_of(candidates) : NULL;
}
