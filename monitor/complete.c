/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What can stand at the cursor, from the command tables and the machine's ids.  Knows no readline. */
#include "monitor-private.h"

#include <string.h>

/* The word to be completed and what was found for it. */
struct completion {
    struct monitor *monitor;
    const char *word;           /* as typed so far */
    const char *before;         /* begins with the positional word before it; NULL if there is none */
    GPtrArray *found;           /* char * */
    bool files;
    char append;                /* after a sole candidate */
};

static bool
offer(struct completion *c, const char *name)
{
    if (!name_has_prefix(name, c->word, strlen(c->word)))
        return false;
    g_ptr_array_add(c->found, g_strdup(name));
    return true;
}

static void
offer_all(struct completion *c, GPtrArray *names)
{
    for (unsigned i = 0; i < names->len; i++)
        offer(c, names->pdata[i]);
    g_ptr_array_unref(names);
}

static unsigned
when_now(const struct completion *c)
{
    return monitor_built(c->monitor) ? WHEN_BUILT : WHEN_PRECONFIG;
}

/* --- values ----------------------------------------------------------------------------------------------------- */

static void
offer_nodes(struct completion *c)
{
    const struct topology *t = &machine_definition(c->monitor->machine)->topology;

    for (unsigned i = 0; i < t->node_count; i++) {
        g_autofree char *id = g_strdup_printf("%u", t->node_order[i]);

        offer(c, id);
    }
}

static void
offer_backends(struct completion *c, bool only_free)
{
    const struct definition *d = machine_definition(c->monitor->machine);

    for (unsigned i = 0; i < d->backends->len; i++) {
        const char *id = g_array_index(d->backends, struct backend_options, i).id;

        if (!only_free || (definition_backend_user(d, id) < 0 && !definition_device_of_backend(d, id)))
            offer(c, id);
    }
}

static void
offer_devices(struct completion *c)
{
    const struct definition *d = machine_definition(c->monitor->machine);

    for (unsigned i = 0; i < d->devices->len; i++)
        offer(c, memory_device_label(&g_array_index(d->devices, struct memory_device, i)));
    for (unsigned slot = 0; slot < TOPOLOGY_CPUS; slot++) {
        g_autofree char *path = definition_cpu_path(d, slot);
        const struct cpu_device *cpu = path ? definition_cpu_device(d, path) : NULL;

        if (cpu)
            offer(c, *cpu->id ? cpu->id : path);
    }
}

static void
offer_peers(struct completion *c)
{
    for (unsigned i = 0; i < c->monitor->peers->len; i++)
        offer(c, peer_name(c->monitor->peers->pdata[i]));
}

static void
offer_uris(struct completion *c)
{
    static const char *const schemes[] = { "exec:", "fd:", "file:", "tcp:", "unix:" };

    for (unsigned i = 0; i < G_N_ELEMENTS(schemes); i++)
        offer(c, schemes[i]);
    for (unsigned i = 0; i < c->monitor->peers->len; i++) {
        g_autofree char *uri = g_strdup_printf("peer:%s", peer_name(c->monitor->peers->pdata[i]));

        offer(c, uri);
    }
}

/* Every feature that a user can ask for, "+" or "-" before it. */
static void
offer_features(struct completion *c, const char *sign)
{
    for (unsigned i = 0; i < cpu_feature_count; i++) {
        g_autofree char *name = g_strconcat(sign, cpu_features[i].name, NULL);

        if (!*sign || !cpu_features[i].refused)
            offer(c, name);
    }
}

/* "MODEL,+feature,-feature", or in a built machine the number of a CPU. */
static void
offer_cpu(struct completion *c)
{
    const struct topology_final *t = machine_topology(c->monitor->machine);

    if (c->word[-1] == ',') {
        offer_features(c, *c->word == '-' ? "-" : "+");
        if (!*c->word)
            offer_features(c, "-");
        return;
    }
    for (unsigned slot = 0; t && slot < TOPOLOGY_CPUS; slot++) {
        g_autofree char *number = g_strdup_printf("%u", slot);

        if (topology_has_cpu(t, slot))
            offer(c, number);
    }
    for (unsigned i = 0; !t && cpu_model_names[i]; i++)
        offer(c, cpu_model_names[i]);
    c->append = t ? ' ' : '\0';
}

static void offer_values(struct completion *c, const struct property *p);

/* What a migration parameter may be is said by the word before. */
static void
offer_parameter_values(struct completion *c)
{
    g_autofree char *name = g_strndup(c->before ? c->before : "", c->before ? strcspn(c->before, " \t") : 0);
    int index = property_find(migrate_parameter_properties, name);

    if (index >= 0)
        offer_values(c, &migrate_parameter_properties[index]);
}

static void
offer_kind(struct completion *c, enum property_complete kind)
{
    switch (kind) {
    case COMPLETE_NONE:
    case COMPLETE_KINDS:
        break;
    case COMPLETE_FILE:
        c->files = true;
        break;
    case COMPLETE_NODE:
        offer_nodes(c);
        break;
    case COMPLETE_BACKEND:
    case COMPLETE_FREE_BACKEND:
        offer_backends(c, kind == COMPLETE_FREE_BACKEND);
        break;
    case COMPLETE_DEVICE:
        offer_devices(c);
        break;
    case COMPLETE_PARAMETER:
        for (const struct property *p = migrate_parameter_properties; p->type != PROPERTY_END; p++)
            offer(c, p->name);
        break;
    case COMPLETE_PARAMETER_VALUE:
        offer_parameter_values(c);
        break;
    case COMPLETE_CAPABILITY:
        for (const struct migrate_capability_info *i = migrate_capability_info; i->name; i++)
            offer(c, i->name);
        break;
    case COMPLETE_COMMAND:
        offer_all(c, command_names(when_now(c)));
        break;
    case COMPLETE_INFO:
        offer_all(c, info_names(when_now(c)));
        break;
    case COMPLETE_PEER:
        offer_peers(c);
        break;
    case COMPLETE_PEER_LINE:
        break;
    case COMPLETE_KERNEL:
        offer(c, BUILTIN_WORKLOAD);
        c->files = true;
        break;
    case COMPLETE_CPU:
        offer_cpu(c);
        break;
    case COMPLETE_CPU_FEATURE:
        offer_features(c, "");
        break;
    case COMPLETE_URI:
        offer_uris(c);
        break;
    }
}

static void
offer_values(struct completion *c, const struct property *p)
{
    for (const char *const *choice = p->choices; choice && *choice; choice++)
        offer(c, *choice);
    if (p->type == PROPERTY_BOOL) {
        offer(c, "on");
        offer(c, "off");
    }
    offer_kind(c, p->complete);
}

/* --- forms of arguments ----------------------------------------------------------------------------------------- */

static bool
key_given(const struct property *p, const char *text, char separator)
{
    g_autofree char *inside = g_strdup_printf("%c%s", separator, text);
    g_autofree char *item = g_strdup_printf("%c%s=", separator, p->name);

    return strstr(inside, item) != NULL;
}

/* "key=value" items: keys that are still missing, or the values of the last key. */
static void
complete_items(struct completion *c, const struct property *table, int implied, const char *text, char separator)
{
    const char *last = strrchr(text, separator), *item = last ? last + 1 : text, *equals = strchr(item, '=');
    g_autofree char *key = equals ? g_strndup(item, (size_t)(equals - item)) : NULL;
    int index = key ? property_find(table, key) : -1;

    if (equals) {
        if (index >= 0)
            offer_values(c, &table[index]);
        return;
    }
    if (!last && implied >= 0)
        offer_values(c, &table[implied]);
    for (unsigned i = 0; table[i].type != PROPERTY_END; i++) {
        g_autofree char *offered = g_strdup_printf("%s=", table[i].name);

        if ((int)i != implied && (table[i].repeatable || !key_given(&table[i], text, separator)))
            offer(c, offered);
    }
}

static void complete_text(struct completion *c, const char *text);

/* What follows the word that 'text' begins with; NULL if the word is not finished. */
static const char *
past_word(const char *text)
{
    size_t size = strcspn(text, " \t");

    return text[size] ? text + size + strspn(text + size, " \t") : NULL;
}

/* The property that "-x" at 'text' names, or NULL. */
static const struct property *
dashed_property(const struct property *table, const char *text)
{
    g_autofree char *word = g_strndup(text, strcspn(text, " \t"));
    int index = *word == '-' ? property_find(table, word) : -1;

    return index >= 0 ? &table[index] : NULL;
}

/* The next that is given by position, from 'p' on. */
static const struct property *
positional(const struct property *p)
{
    while (p->type != PROPERTY_END && strchr("-/", p->name[0]))
        p++;
    return p;
}

static bool
first_word_is(const char *text, const char *word)
{
    size_t size = strcspn(text, " \t");

    return size == strlen(word) && memcmp(text, word, size) == 0;
}

/* The rest of a line that is a line itself: any command's, or a peer's by what 'words' begins with. */
static bool
complete_rest(struct completion *c, const struct property *rest, const char *words, const char *text)
{
    if (rest->complete != COMPLETE_COMMAND && rest->complete != COMPLETE_PEER_LINE)
        return false;
    if (rest->complete == COMPLETE_PEER_LINE && first_word_is(words, "stop"))
        offer_peers(c);
    else if (rest->complete != COMPLETE_PEER_LINE || !first_word_is(words, "start"))
        complete_text(c, text);
    return true;
}

static void
offer_words(struct completion *c, const struct property *table, const struct property *at, const char *text)
{
    for (const struct property *p = table; *text == '-' && p->type != PROPERTY_END; p++) {
        if (p->name[0] == '-')
            offer(c, p->name);
    }
    if (at->type != PROPERTY_END)
        offer_values(c, at);
}

/* Positional words: those before the cursor tell which property it is at. */
static void
complete_words(struct completion *c, const struct property *table, const char *text)
{
    const struct property *at = positional(table);
    const char *words = text;

    for (;;) {
        const struct property *dashed = dashed_property(table, text);
        const char *next = past_word(text);

        if (at->type == PROPERTY_REST && *text != '-' && complete_rest(c, at, words, text))
            return;
        if (!next)
            break;
        if (!dashed && at->type != PROPERTY_END && at->type != PROPERTY_REST && !at->repeatable)
            at = positional(at + 1);
        c->before = text;
        text = next;
        if (dashed && dashed->type != PROPERTY_FLAG) {
            text = past_word(next);
            if (!text) {
                offer_values(c, dashed);
                return;
            }
        }
    }
    offer_words(c, table, at, text);
}

static void
complete_variant(struct completion *c, const struct command *command, const char *text)
{
    size_t size = strcspn(text, ", \t");
    const char *rest = text + size + 1;

    for (const struct command_variant *v = command->variants; v->name; v++) {
        if (!text[size]) {
            if (offer(c, v->name))
                c->append = v->by_words ? ' ' : ',';
            continue;
        }
        if (strlen(v->name) != size || !name_has_prefix(v->name, text, size)
            || (text[size] == ',' ? v->by_words : !v->by_words && !v->or_blanks))
            continue;
        else if (v->by_words)
            complete_words(c, v->args, rest + strspn(rest, " \t"));
        else
            complete_items(c, v->args, v->implied, rest, text[size] == ',' ? ',' : ' ');
    }
}

static void
complete_info(struct completion *c, const char *text)
{
    size_t size = strcspn(text, " \t");
    g_autofree char *word = g_strndup(text, size);
    const struct info_item *item = info_find(word);

    if (!text[size])
        offer_kind(c, COMPLETE_INFO);
    else if (item && item->args)
        complete_words(c, item->args, text + size + strspn(text + size, " \t"));
}

static const struct command *
command_meant(const struct completion *c, const char *word)
{
    const struct command *command = command_find(word);
    g_autoptr(GPtrArray) names = command_names(when_now(c));
    const char *name = command ? NULL : name_expand(names, word, NULL);

    return name ? command_find(name) : command;
}

/* 'text' begins with a command, perhaps unfinished. */
static void
complete_text(struct completion *c, const char *text)
{
    size_t size = strcspn(text, " \t");
    g_autofree char *word = g_strndup(text, size);
    const struct command *command;

    if (!text[size]) {
        offer_kind(c, COMPLETE_COMMAND);
        return;
    }
    command = command_meant(c, word);
    text += size + strspn(text + size, " \t");
    if (!command)
        return;
    if (name_equal(command->name, "info"))
        complete_info(c, text);
    else if (command->form == FORM_VARIANTS)
        complete_variant(c, command, text);
    else if (command->args && command->form == FORM_WORDS)
        complete_words(c, command->args, text);
    else if (command->args)
        complete_items(c, command->args, command->form == FORM_OPTIONS ? command->implied : -1, text,
                       command->form == FORM_OPTIONS ? ',' : ' ');
}

static int
by_name(gconstpointer a, gconstpointer b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

GPtrArray *
complete_line(struct monitor *m, const char *line, size_t *ret_start, char *ret_append, bool *ret_files)
{
    struct completion c = { .monitor = m, .append = ' ' };
    const char *word = line + strlen(line);

    c.found = g_ptr_array_new_with_free_func(g_free);
    while (word > line && !strchr(" \t,=", word[-1]))
        word--;
    c.word = word;
    complete_text(&c, line + strspn(line, " \t"));
    g_ptr_array_sort(c.found, by_name);
    *ret_start = (size_t)(word - line);
    *ret_files = c.files;
    *ret_append = c.append;
    if (c.found->len == 1) {
        const char *only = c.found->pdata[0];

        /* After a value in a list of options a comma or the end may follow. */
        if (strchr("=:", only[strlen(only) - 1]) || strpbrk(line, ",="))
            *ret_append = '\0';
    }
    return g_steal_pointer(&c.found);
}
