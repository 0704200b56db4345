/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Names of commands, options and parameters as people write them: '-' and '_' are equal. */
#include "base.h"

#include <string.h>

static char
folded(char c)
{
    return c == '_' ? '-' : c;
}

bool
name_has_prefix(const char *name, const char *prefix, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (!name[i] || folded(name[i]) != folded(prefix[i]))
            return false;
    return true;
}

bool
name_equal(const char *a, const char *b)
{
    while (*a && folded(*a) == folded(*b)) {
        a++;
        b++;
    }
    return folded(*a) == folded(*b);
}

/* Levenshtein's distance, a row of its table at a time. */
unsigned
name_distance(const char *typed, const char *name)
{
    size_t size = strlen(name) + 1;
    g_autofree unsigned *row = g_new(unsigned, size);

    for (unsigned j = 0; j < size; j++)
        row[j] = j;
    for (unsigned i = 0; i < ID_SIZE && typed[i]; i++) {
        unsigned diagonal = row[0];

        row[0] = i + 1;
        for (size_t j = 1; j < size; j++) {
            unsigned changed = diagonal + (folded(typed[i]) != folded(name[j - 1]));

            diagonal = row[j];
            row[j] = MIN(changed, MIN(row[j], row[j - 1]) + 1);
        }
    }
    return row[size - 1];
}
