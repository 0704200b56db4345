/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Whole option texts against a table: "word,key=value", "KEY=VALUE KEY=VALUE" and positional words.
 *
 * Each form is cut into items first; an item is then stored in the value of its property.  When all items are read,
 * what is required must be there and defaults fill the rest. */
#include "property.h"

#include <string.h>

static unsigned
table_count(const struct property *table)
{
    unsigned count = 0;

    while (table[count].type != PROPERTY_END)
        count++;
    return count;
}

static struct values *
values_new(const struct property *table)
{
    unsigned count = table_count(table);
    struct values *v = g_malloc0(sizeof *v + count * sizeof v->at[0]);

    v->table = table;
    v->count = count;
    return v;
}

void
values_free(struct values *v)
{
    if (!v)
        return;
    for (unsigned i = 0; i < v->count; i++) {
        g_free(v->at[i].word);
        g_free(v->at[i].words);
    }
    g_free(v);
}

/* --- names ------------------------------------------------------------------------------------------------------ */

int
property_find(const struct property *table, const char *name)
{
    for (unsigned i = 0; table[i].type != PROPERTY_END; i++)
        if (name_equal(table[i].name, name))
            return (int)i;
    return -1;
}

/* Sets the error for a key that the table does not have; always false. */
static bool
fail_unknown(const struct property *table, const char *key, GError **error)
{
    g_autoptr(GString) nearest = g_string_new(NULL);
    unsigned best = UINT_MAX;

    for (unsigned i = 0; table[i].type != PROPERTY_END; i++) {
        unsigned distance = name_distance(key, table[i].name);

        if (distance < best)
            g_string_truncate(nearest, 0);
        best = MIN(best, distance);
        if (distance == best)
            g_string_append_printf(nearest, "%s%s", nearest->len ? ", " : "", table[i].name);
    }
    return fail(error, NUMON_ERROR_ARGUMENT, "Invalid parameter '%s'%s%s", key,
                nearest->len ? "; nearest is " : "", nearest->str);
}

/* --- storing an item -------------------------------------------------------------------------------------------- */

static bool
store_list(const struct property *p, const char *text, struct value *ret, GError **error)
{
    g_autoptr(GError) reason = NULL;

    if (!ret->words)
        ret->words = g_new0(uint64_t, WORDS_FOR(p->max + 1));
    if (!list_parse(text, (unsigned)p->max + 1, ret->words, &reason))
        return fail(error, NUMON_ERROR_ARGUMENT, "Parameter '%s' expects a number or range up to %" G_GUINT64_FORMAT
                    ": %s", p->name, p->max, reason->message);
    ret->set = true;
    return true;
}

static bool
store(struct values *v, unsigned index, const char *text, GError **error)
{
    const struct property *p = &v->table[index];
    struct value *value = &v->at[index];

    if (p->type == PROPERTY_LIST)
        return store_list(p, text, value, error);
    if (value->set && !p->repeatable)
        return fail(error, NUMON_ERROR_ARGUMENT, "Parameter '%s' is given twice", p->name);
    if (p->type == PROPERTY_FLAG) {
        value->set = value->flag = true;
        return true;
    }
    return property_parse_value(p, text, value, error);
}

/* Required properties must be there; defaults, which are ours and so correct, fill what was not given. */
static bool
complete(struct values *v, GError **error)
{
    for (unsigned i = 0; i < v->count; i++) {
        const struct property *p = &v->table[i];

        if (v->at[i].set)
            continue;
        if (p->required)
            return fail(error, NUMON_ERROR_ARGUMENT, "Parameter '%s' is missing", p->name);
        if (!p->value_default)
            continue;
        if (!store(v, i, p->value_default, NULL))
            g_error("property '%s': default '%s' is not valid", p->name, p->value_default);
        v->at[i].set = false;
    }
    return true;
}

/* "key=value", or "key" alone for a flag.  'item' is changed. */
static bool
store_pair(struct values *v, char *item, GError **error)
{
    char *value = strchr(item, '=');
    int index;

    if (value)
        *value++ = '\0';
    index = property_find(v->table, item);
    if (index < 0)
        return fail_unknown(v->table, item, error);
    if (!value && v->table[index].type == PROPERTY_BOOL)
        return store(v, (unsigned)index, "on", error);
    if (!value && v->table[index].type != PROPERTY_FLAG)
        return fail(error, NUMON_ERROR_ARGUMENT, "Parameter '%s' needs a value: %s=...", item, item);
    return store(v, (unsigned)index, value, error);
}

/* --- "word,key=value" ------------------------------------------------------------------------------------------- */

/* Cuts one item off: up to a single comma, doubled ones halved.  '*at' is NULL after the last. */
static char *
next_option(const char **at)
{
    GString *item = g_string_new(NULL);
    const char *c = *at;

    for (; *c && !(c[0] == ',' && c[1] != ','); c++) {
        g_string_append_c(item, *c);
        if (*c == ',')
            c++;
    }
    *at = *c ? c + 1 : NULL;
    return g_string_free(item, FALSE);
}

/* True if the item goes on with a list: "4" or "4-7" after "cpus=0-1". */
static bool
continues_list(const struct values *v, int last, const char *item)
{
    return last >= 0 && v->table[last].type == PROPERTY_LIST && *item && item[strspn(item, "0123456789-")] == '\0';
}

static bool
store_options(struct values *v, int implied, const char *text, GError **error)
{
    const char *at = *text ? text : NULL;
    bool first = true;
    int last = -1;

    for (; at; first = false) {
        g_autofree char *item = next_option(&at);

        if (!*item)
            return fail(error, NUMON_ERROR_ARGUMENT, "Parameter expected %s ',' in '%s'", at ? "before" : "after",
                        text);
        if (first && implied >= 0 && !strchr(item, '='))
            last = implied;
        else if (!continues_list(v, last, item))
            last = -1;
        if (last >= 0 ? !store(v, (unsigned)last, item, error) : !store_pair(v, item, error))
            return false;
        if (last < 0)
            last = property_find(v->table, item);
    }
    return true;
}

struct values *
property_parse_options(const struct property *table, int implied, const char *text, GError **error)
{
    g_autoptr(values) v = values_new(table);
    g_autofree char *stripped = g_strstrip(g_strdup(text));

    if (!store_options(v, implied, stripped, error) || !complete(v, error))
        return NULL;
    return g_steal_pointer(&v);
}

/* --- words ------------------------------------------------------------------------------------------------------ */

/* Cuts the next word off; double quotes group, and within them a backslash takes the next character as it is.
 * '*ret_word' is NULL at the end of the text. */
static bool
next_word(const char **at, char **ret_word, GError **error)
{
    g_autoptr(GString) word = g_string_new(NULL);
    const char *c = *at;
    bool quoted = false;

    *ret_word = NULL;
    while (g_ascii_isspace(*c))
        c++;
    if (!*c) {
        *at = c;
        return true;
    }
    for (; *c && (quoted || !g_ascii_isspace(*c)); c++) {
        if (*c == '"') {
            quoted = !quoted;
            continue;
        }
        if (quoted && *c == '\\' && c[1])
            c++;
        g_string_append_c(word, *c);
    }
    if (quoted)
        return fail(error, NUMON_ERROR_ARGUMENT, "Quote not closed in '%s'", *at);
    *at = c;
    *ret_word = g_strdup(word->str);
    return true;
}

struct values *
property_parse_pairs(const struct property *table, const char *text, GError **error)
{
    g_autoptr(values) v = values_new(table);

    for (;;) {
        g_autofree char *word = NULL;

        if (!next_word(&text, &word, error))
            return NULL;
        if (!word)
            break;
        if (!store_pair(v, word, error))
            return NULL;
    }
    return complete(v, error) ? g_steal_pointer(&v) : NULL;
}

/* The property that the next positional word fills: the first from 'from' that is named by no dash or slash. */
static unsigned
next_positional(const struct values *v, unsigned from)
{
    while (from < v->count && strchr("-/", v->table[from].name[0]))
        from++;
    return from;
}

/* The property that takes a word with a slash, or -1. */
static int
find_slashed(const struct values *v, const char *word)
{
    for (unsigned i = 0; *word == '/' && i < v->count; i++)
        if (v->table[i].name[0] == '/')
            return (int)i;
    return -1;
}

static int
find_flag(const struct values *v, const char *word)
{
    int index = *word == '-' ? property_find(v->table, word) : -1;

    return index >= 0 && v->table[index].name[0] == '-' ? index : -1;
}

/* True for "-x" where the table has flags, but not this one. */
static bool
unknown_flag(const struct values *v, const char *word)
{
    bool has_flags = false;

    for (unsigned i = 0; i < v->count; i++)
        has_flags |= v->table[i].name[0] == '-';
    return has_flags && word[0] == '-' && g_ascii_isalpha(word[1]);
}

/* A flag, or a "-n" whose value is the next word of '*text'. */
static bool
store_dashed(struct values *v, unsigned index, const char **text, const char *word, GError **error)
{
    g_autofree char *value = NULL;

    if (v->table[index].type == PROPERTY_FLAG)
        return store(v, index, word, error);
    if (!next_word(text, &value, error))
        return false;
    if (!value)
        return fail(error, NUMON_ERROR_ARGUMENT, "Parameter '%s' needs a value", word);
    return store(v, index, value, error);
}

/* Stores one word, taking its value from '*text' where it needs one; '*position' is the property that the next one
 * fills. */
static bool
store_word(struct values *v, unsigned *position, const char **text, const char *word, GError **error)
{
    unsigned index = *position;
    int flag = find_flag(v, word), slashed = find_slashed(v, word);

    if (flag >= 0)
        return store_dashed(v, (unsigned)flag, text, word, error);
    if (slashed >= 0)
        return store(v, (unsigned)slashed, word + 1, error);
    if (unknown_flag(v, word))
        return fail_unknown(v->table, word, error);
    if (index >= v->count)
        return fail(error, NUMON_ERROR_ARGUMENT, "Unexpected parameter '%s'", word);
    if (!v->table[index].repeatable)
        *position = next_positional(v, index + 1);
    return store(v, index, word, error);
}

/* If the rest of the line is wanted next and no flag comes before it, what it is; else NULL. */
static const char *
rest_of_line(const struct values *v, unsigned position, const char *text)
{
    g_autofree char *word = NULL;

    if (position >= v->count || v->table[position].type != PROPERTY_REST)
        return NULL;
    while (g_ascii_isspace(*text))
        text++;
    word = g_strndup(text, strcspn(text, " \t\r\n\f\v"));
    return *word && find_flag(v, word) < 0 ? text : NULL;
}

static bool
store_words(struct values *v, const char *text, GError **error)
{
    unsigned position = next_positional(v, 0);

    for (;;) {
        const char *rest = rest_of_line(v, position, text);
        g_autofree char *word = NULL;

        if (rest)
            return store(v, position, rest, error);
        if (!next_word(&text, &word, error))
            return false;
        if (!word)
            return true;
        if (!store_word(v, &position, &text, word, error))
            return false;
    }
}

struct values *
property_parse_words(const struct property *table, const char *text, GError **error)
{
    g_autoptr(values) v = values_new(table);

    if (!store_words(v, text, error) || !complete(v, error))
        return NULL;
    return g_steal_pointer(&v);
}
