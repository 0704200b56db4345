/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A value tree as JSON, for programs: dictionaries with names as keys are objects, all other containers arrays.
 * Numbers are written whole, also those of 64 bits without a sign, which many writers of JSON take for signed
 * ones. */
#include "monitor-private.h"

#include <math.h>

static void
append_text(const char *text, GString *out)
{
    g_string_append_c(out, '"');
    for (const unsigned char *p = (const unsigned char *)text; *p; p++)
        if (*p == '"' || *p == '\\')
            g_string_append_printf(out, "\\%c", *p);
        else if (*p < 0x20)
            g_string_append_printf(out, "\\u%04x", *p);
        else
            g_string_append_c(out, (char)*p);
    g_string_append_c(out, '"');
}

static void
append_double(double number, GString *out)
{
    char text[G_ASCII_DTOSTR_BUF_SIZE];

    g_string_append(out, isfinite(number) ? g_ascii_dtostr(text, sizeof text, number) : "null");
}

static void
append_number(GVariant *value, GString *out)
{
    g_autofree char *text = g_variant_print(value, FALSE);

    g_string_append(out, text);
}

static void append_value(GVariant *value, GString *out);

static void
append_container(GVariant *value, GString *out)
{
    bool object = g_variant_is_of_type(value, G_VARIANT_TYPE("a{s*}"));

    g_string_append_c(out, object ? '{' : '[');
    for (size_t i = 0; i < g_variant_n_children(value); i++) {
        g_autoptr(GVariant) child = g_variant_get_child_value(value, i);

        if (i)
            g_string_append_c(out, ',');
        if (object) {
            g_autoptr(GVariant) key = g_variant_get_child_value(child, 0), held = g_variant_get_child_value(child, 1);

            append_text(g_variant_get_string(key, NULL), out);
            g_string_append_c(out, ':');
            append_value(held, out);
        } else {
            append_value(child, out);
        }
    }
    g_string_append_c(out, object ? '}' : ']');
}

static void
append_value(GVariant *value, GString *out)
{
    g_autoptr(GVariant) inner = NULL;

    switch (g_variant_classify(value)) {
    case G_VARIANT_CLASS_VARIANT:
        inner = g_variant_get_variant(value);
        append_value(inner, out);
        break;
    case G_VARIANT_CLASS_STRING:
    case G_VARIANT_CLASS_OBJECT_PATH:
    case G_VARIANT_CLASS_SIGNATURE:
        append_text(g_variant_get_string(value, NULL), out);
        break;
    case G_VARIANT_CLASS_DOUBLE:
        append_double(g_variant_get_double(value), out);
        break;
    case G_VARIANT_CLASS_BYTE:
        g_string_append_printf(out, "%u", g_variant_get_byte(value));
        break;
    case G_VARIANT_CLASS_ARRAY:
    case G_VARIANT_CLASS_TUPLE:
    case G_VARIANT_CLASS_DICT_ENTRY:
    case G_VARIANT_CLASS_MAYBE:
        append_container(value, out);
        break;
    default:
        append_number(value, out);
        break;
    }
}

void
json_append(GVariant *tree, GString *out)
{
    append_value(tree, out);
    g_string_append_c(out, '\n');
}
