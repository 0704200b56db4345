/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Any text as options, pairs and words of tables that have every type; and as sizes, numbers, lists, CPU models.  The
 * first byte chooses the table. */
#include "config.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct property words[] = {
    { "-d", PROPERTY_FLAG }, { "-n", PROPERTY_UINT, .max = 99 }, { "first", PROPERTY_ID, .required = true },
    { "more", PROPERTY_WORD, .repeatable = true }, { "rest", PROPERTY_REST }, { 0 }
};
static const struct property *const tables[] = {
    words, memory_properties, node_properties, cpu_properties, backend_memfd_properties, workload_properties,
};

/* A size that was read is spelled and read as the same again. */
static void
check_size(const char *text)
{
    uint64_t bytes, again;

    if (!size_parse(text, MIB, &bytes, NULL))
        return;
    g_autofree char *spelled = size_spell(bytes);
    g_assert(size_parse(spelled, 1, &again, NULL) && again == bytes);
}

static void
check_list(const char *text)
{
    uint64_t words_read[WORDS_FOR(300)] = { 0 }, again[WORDS_FOR(300)] = { 0 };

    if (!list_parse(text, 300, words_read, NULL))
        return;
    g_autofree char *spelled = list_format(words_read, 300);
    g_assert(list_parse(spelled, 300, again, NULL) && memcmp(again, words_read, sizeof again) == 0);
}

static void
check_cpu(const char *text)
{
    struct cpu_options o, again;

    if (!cpu_options_parse(text, &o, NULL))
        return;
    g_autofree char *spelled = cpu_options_spell(&o);
    g_assert(cpu_options_parse(spelled, &again, NULL) && cpu_options_equal(&o, &again));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct property *table = tables[size ? data[0] % G_N_ELEMENTS(tables) : 0];
    g_autofree char *text = g_strndup((const char *)data + (size > 0), size - (size > 0));
    GError *errors[3] = { NULL };
    uint64_t number;

    values_free(property_parse_options(table, size > 1 && data[1] & 1 ? 0 : -1, text, &errors[0]));
    values_free(property_parse_pairs(table, text, &errors[1]));
    values_free(property_parse_words(table, text, &errors[2]));
    for (unsigned i = 0; i < G_N_ELEMENTS(errors); i++)
        g_clear_error(&errors[i]);
    number_parse(text, &number, NULL);
    check_size(text);
    check_list(text);
    check_cpu(text);
    return 0;
}
