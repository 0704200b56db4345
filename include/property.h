/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Property tables: an option declared once (name, type, storage range, default, unit, help), from which parsing,
 * type errors, help, completion, printing and saving derive.  Tables check type and storage range; rules with a
 * meaning live with what they are about. */
#ifndef PROPERTY_H
#define PROPERTY_H

#include "base.h"

enum property_type {
    PROPERTY_END,           /* ends a table */
    PROPERTY_BOOL,          /* on|off (also yes|no, true|false) -> flag */
    PROPERTY_UINT,          /* whole number within min..max -> number; with 'choices' also one of these words -> word,
                             * number is then 0 */
    PROPERTY_SIZE,          /* bytes within min..max -> number; without suffix counts 'unit_size' bytes (0: 1) */
    PROPERTY_WORD,          /* any word -> word */
    PROPERTY_ID,            /* a letter, then letters, digits, '-', '.', '_'; below ID_SIZE -> word */
    PROPERTY_CHOICE,        /* one of 'choices' -> number is its index, word its text */
    PROPERTY_LIST,          /* indices and ranges "0-3,8" up to 'max', repeatable adds up -> words */
    PROPERTY_FLAG,          /* a positional "-d": given or not -> set.  Its name has the dash */
    PROPERTY_REST,          /* the rest of the line as typed -> word.  Last in its table */
};

/* Where TAB finds candidates that no table knows; the console has a function for each. */
enum property_complete {
    COMPLETE_NONE,
    COMPLETE_FILE, COMPLETE_NODE, COMPLETE_BACKEND, COMPLETE_FREE_BACKEND, COMPLETE_DEVICE, COMPLETE_PARAMETER,
    COMPLETE_PARAMETER_VALUE,
    COMPLETE_CAPABILITY, COMPLETE_COMMAND, COMPLETE_INFO, COMPLETE_PEER, COMPLETE_KERNEL, COMPLETE_URI, COMPLETE_CPU,
    COMPLETE_CPU_FEATURE,
    COMPLETE_PEER_LINE,             /* PROPERTY_REST after a peer's name, `start` or `stop` */
    COMPLETE_KINDS
};

struct property {
    const char *name;
    enum property_type type;
    uint64_t min, max;              /* inclusive; max 0 means the type's own limit */
    uint64_t unit_size;             /* PROPERTY_SIZE: see there */
    const char *unit;               /* "bytes", "ms", "bytes/second"; NULL if it has none */
    const char *const *choices;     /* PROPERTY_CHOICE, words beside numbers of PROPERTY_UINT, or some that a
                                     * PROPERTY_WORD may be (offered, not enforced): NULL-terminated */
    const char *value_default;      /* as a user would type it; NULL if none */
    bool required, repeatable;
    enum property_complete complete;
    const char *help;               /* a phrase without full stop */
};

/* One parsed property.  Which member holds depends on the type. */
struct value {
    bool set;                       /* was given by the user (defaults fill the rest but leave this false) */
    bool flag;
    uint64_t number;
    char *word;                     /* owned; NULL if not given and without default */
    uint64_t *words;                /* owned; WORDS_FOR(max + 1) words; NULL if not given */
};

/* The parsed values of one table, indexed as the table is: declare an enum beside the table. */
struct values {
    const struct property *table;
    unsigned count;
    struct value at[];
};

typedef struct values values;
void values_free(struct values *v);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(values, values_free)

/* Parses "word,key=value,key=value".  'implied' is the index of the property that a first item without '=' names,
 * or -1.  A doubled comma stands for one comma in a value, as in QEMU; a PROPERTY_LIST may be given as
 * "cpus=0-1,cpus=4" and a bare item of digits and dashes after it ("cpus=0-1,4") continues it.  A bare key of type
 * BOOL means on.  '_' in a key equals '-'.  Errors (ARGUMENT) name the key, the text, the range or the choices; an
 * unknown key lists the nearest; a missing required one is named. */
struct values *property_parse_options(const struct property *table, int implied, const char *text, GError **error);
/* The same for blank-separated "KEY=VALUE KEY=VALUE". */
struct values *property_parse_pairs(const struct property *table, const char *text, GError **error);
/* Positional: words split at blanks, double quotes with backslash escapes group; flags may stand anywhere before
 * PROPERTY_REST, and so may a property of another type whose name has the dash: its value is the next word.  A
 * property named "/x" takes a word that begins with a slash, without it. */
struct values *property_parse_words(const struct property *table, const char *text, GError **error);

/* Parses one value of one property (not LIST, FLAG, REST). 'ret' must be zeroed or hold an earlier value. */
bool property_parse_value(const struct property *p, const char *text, struct value *ret, GError **error);
/* The index of the name in the table ('_' equals '-'), or -1. */
int property_find(const struct property *table, const char *name);
/* "SIZE[,slots=N][,maxmem=SIZE]": how help and usage errors show the table.  Each caller frees. */
char *property_usage_options(const struct property *table, int implied);
char *property_usage_pairs(const struct property *table);
char *property_usage_words(const struct property *table);
/* One line a property: "  name=TYPE  help (unit, range, default)"; the second for positional ones: "  NAME  ...". */
void property_help(const struct property *table, GString *out);
void property_help_words(const struct property *table, GString *out);
/* What a value of this property looks like: "N", "SIZE", "on|off", "a|b|c", "WORD", "LIST".  Caller frees. */
char *property_shape(const struct property *p);
/* Appends 'word' so that property_parse_options reads it back (commas doubled). */
void property_append_word(GString *out, const char *word);

#endif
