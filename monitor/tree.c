/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What printers read of a value tree. */
#include "monitor-private.h"

uint64_t
tree_number(GVariant *dict, const char *key)
{
    guint64 number = 0;

    if (dict)
        g_variant_lookup(dict, key, "t", &number);
    return number;
}

const char *
tree_text(GVariant *dict, const char *key)
{
    const char *text = "";

    g_variant_lookup(dict, key, "&s", &text);
    return text;
}
