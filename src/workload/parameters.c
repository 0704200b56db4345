/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The parameters of the workload: the table of what can be set, and the way from values to the control page's
 * struct and back to text. */
#include "workload.h"

#include <string.h>

static const char *const pattern_names[] = { "idle", "sequential", "random", "hot", NULL };
static const char *const write_names[] = { "word", "line", "page", NULL };
static const char *const fill_names[] = { "zero", "random", "text", NULL };
static const char *const unlimited[] = { "unlimited", NULL };
static const char *const own[] = { "own", NULL };

enum { RATE_MAX = 1000000000, INTERVAL_MAX = 3600000 };

const struct property workload_properties[] = {
    [WORKLOAD_P_PATTERN] = { "pattern", PROPERTY_CHOICE, .choices = pattern_names, .value_default = "idle",
                             .help = "order in which each vCPU writes its pages" },
    [WORKLOAD_P_RATE] = { "rate", PROPERTY_UINT, .min = 1, .max = RATE_MAX, .unit = "pages/second",
                          .choices = unlimited, .value_default = "unlimited", .help = "pages that each vCPU writes" },
    [WORKLOAD_P_SIZE] = { "size", PROPERTY_SIZE, .min = PAGE_SIZE, .max = 64 * TIB, .unit = "bytes",
                          .value_default = "4M",
                          .help = "memory that each vCPU writes, cut to its share of the node" },
    [WORKLOAD_P_WRITE] = { "write", PROPERTY_CHOICE, .choices = write_names, .value_default = "word",
                           .help = "how much of a page one write changes" },
    [WORKLOAD_P_FILL] = { "fill", PROPERTY_CHOICE, .choices = fill_names, .value_default = "random",
                          .help = "what a page holds besides its verifying words" },
    [WORKLOAD_P_NODE] = { "node", PROPERTY_UINT, .min = 0, .max = CONTROL_NODES - 1, .choices = own,
                          .value_default = "own", .help = "node whose memory is written" },
    [WORKLOAD_P_INTERVAL] = { "interval", PROPERTY_UINT, .min = 1, .max = INTERVAL_MAX, .unit = "ms",
                              .value_default = "250", .help = "time between ticks on the serial line" },
    { 0 }
};

static void
take_value(struct control_parameters *p, unsigned index, const struct value *value)
{
    switch (index) {
    case WORKLOAD_P_PATTERN:
        p->pattern = (uint32_t)value->number;
        break;
    case WORKLOAD_P_RATE:
        p->rate = value->number;
        break;
    case WORKLOAD_P_SIZE:
        p->size = value->number;
        break;
    case WORKLOAD_P_WRITE:
        p->write = (uint32_t)value->number;
        break;
    case WORKLOAD_P_FILL:
        p->fill = (uint32_t)value->number;
        break;
    case WORKLOAD_P_NODE:
        p->node = value->word ? CONTROL_NODE_OWN : (uint32_t)value->number;
        break;
    default:
        p->interval_ms = value->number;
        break;
    }
}

/* The table's defaults. */
void
workload_parameters_init(struct control_parameters *p)
{
    g_autoptr(values) v = property_parse_pairs(workload_properties, "", NULL);

    *p = (struct control_parameters) { 0 };
    for (unsigned i = 0; i < v->count; i++)
        take_value(p, i, &v->at[i]);
}

bool
workload_parameters_read(struct control_parameters *p, const struct values *v, GError **error)
{
    for (unsigned i = 0; i < v->count; i++)
        if (v->at[i].set)
            take_value(p, i, &v->at[i]);
    return true;
}

/* A number that means a word at one value. */
static char *
number_or(uint64_t number, uint64_t special, const char *word)
{
    return number == special ? g_strdup(word) : g_strdup_printf("%" G_GUINT64_FORMAT, number);
}

/* What came out of guest memory may be no index at all. */
static char *
name_of(const char *const *names, uint32_t index)
{
    return g_strdup(index < g_strv_length((char **)names) ? names[index] : "?");
}

static char *
value_text(const struct control_parameters *p, unsigned index)
{
    switch (index) {
    case WORKLOAD_P_PATTERN:
        return name_of(pattern_names, p->pattern);
    case WORKLOAD_P_RATE:
        return number_or(p->rate, 0, unlimited[0]);
    case WORKLOAD_P_SIZE:
        return size_spell(p->size);
    case WORKLOAD_P_WRITE:
        return name_of(write_names, p->write);
    case WORKLOAD_P_FILL:
        return name_of(fill_names, p->fill);
    case WORKLOAD_P_NODE:
        return number_or(p->node, CONTROL_NODE_OWN, own[0]);
    default:
        return g_strdup_printf("%" G_GUINT64_FORMAT, p->interval_ms);
    }
}

char *
workload_parameters_format(const struct control_parameters *p, bool only_changed)
{
    GString *out = g_string_new(NULL);

    for (unsigned i = 0; workload_properties[i].type != PROPERTY_END; i++) {
        g_autofree char *text = value_text(p, i);

        if (!only_changed || strcmp(text, workload_properties[i].value_default) != 0)
            g_string_append_printf(out, "%s%s=%s", out->len ? " " : "", workload_properties[i].name, text);
    }
    return g_string_free(out, FALSE);
}
