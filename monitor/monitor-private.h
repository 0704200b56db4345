/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the files of monitor/ share: the program's state, inputs, commands, info items.  Main thread throughout. */
#ifndef MONITOR_PRIVATE_H
#define MONITOR_PRIVATE_H

#include "machine.h"

struct monitor;
struct input;           /* where command lines come from: terminal, plain, pipe, script (stack), peer, one-off */
struct call;            /* one command being run */
struct peer;

/* --- commands ----------------------------------------------------------------------------------------------------- */

enum outcome { COMMAND_DONE, COMMAND_FAILED, COMMAND_PENDING };

enum command_form {
    FORM_WORDS,         /* blank-separated: property_parse_words(args) */
    FORM_OPTIONS,       /* "word,key=value": property_parse_options(args, implied) */
    FORM_PAIRS,         /* "KEY=VALUE KEY=VALUE": property_parse_pairs(args) */
    FORM_VARIANTS,      /* the first word, up to ',' or blank, chooses the table: `numa node,...` */
};

struct command_variant {
    const char *name;
    const struct property *args;
    int implied;
    bool by_words;      /* the rest is FORM_WORDS of blanks (`numa_del node 0`), else FORM_OPTIONS */
    const char *summary;
};

enum command_when { WHEN_PRECONFIG = 1, WHEN_BUILT = 2, WHEN_ALWAYS = 3 };

struct command {
    const char *name;                       /* with '_'; '-' is equal */
    const char *alias;                      /* NULL, or one more whole name */
    const char *summary;                    /* one line, at most 60 columns, no full stop */
    const char *details;                    /* NULL, or more sentences for `help COMMAND` and the manual */
    enum command_form form;
    const struct property *args;            /* NULL: none */
    int implied;                            /* FORM_OPTIONS: index, or -1 */
    const struct command_variant *variants; /* FORM_VARIANTS; ends with a NULL name */
    const char *option;                     /* the command-line option that is the same declaration, "-m"; or NULL */
    unsigned when;                          /* enum command_when */
    /* DONE; FAILED with 'error' set; or PENDING: call_finish() will be called, never from within. */
    enum outcome (*run)(struct call *call, GError **error);
    /* For PENDING: the user abandons waiting (Ctrl-C, end of session).  The call must not be finished after it. */
    void (*detach)(struct call *call);
};

struct command_group { const char *title; const struct command *commands; };
/* The explicit list of groups, NULL-terminated (command.c). */
extern const struct command_group *const command_groups[];
extern const struct command_group general_group, machine_group, numa_group, run_group, migration_group, guest_group;
const struct command *command_find(const char *name);       /* whole names and aliases; '-' equals '_' */

/* --- calls ---------------------------------------------------------------------------------------------------------- */

struct call {
    struct monitor *monitor;
    struct input *input;                    /* who asked */
    const struct command *command;
    const struct command_variant *variant;  /* FORM_VARIANTS */
    struct values *args;                    /* owned */
    char *line;                             /* as typed; owned */
    GString *output;                        /* goes to the input when the call prints or ends */
    void *data;                             /* a pending command's own; freed with data_free */
    GDestroyNotify data_free;
};

/* Adds to the command's output. */
void call_print(struct call *call, const char *format, ...) G_GNUC_PRINTF(2, 3);
/* Shows what was printed so far at once (progress of a pending command). */
void call_flush(struct call *call);
/* A pending command ends; 'error' (not taken) makes it failed.  On the main loop, never from within run(). */
void call_finish(struct call *call, const GError *error);
/* True if output goes to a terminal that can redraw a line in place; then call_redraw replaces the line last drawn. */
bool call_redraws(const struct call *call);
void call_redraw(struct call *call, const char *text);
/* Runs another command line with the same output and in the same mode; its end calls 'done' (never from within).
 * For watch, peers and tests. */
void call_run(struct call *call, const char *line, void (*done)(struct call *call, const GError *error));

/* --- info items ------------------------------------------------------------------------------------------------------ */

struct info_item {
    const char *name, *summary;             /* as in struct command */
    unsigned when;
    const struct property *args;            /* FORM_WORDS; NULL: none */
    /* The value tree; floating reference; NULL with an error.  'args' is NULL if the item has none. */
    GVariant *(*get)(struct monitor *m, const struct values *args, GError **error);
    /* The layout for people and scripts. */
    void (*print)(GVariant *tree, GString *out);
};
/* NULL-terminated list of tables, each ending with a NULL name (info.c). */
extern const struct info_item *const info_tables[];
extern const struct info_item info_config_items[], info_run_items[], info_migrate_items[], info_general_items[];
const struct info_item *info_find(const char *name);

/* --- the program ------------------------------------------------------------------------------------------------------- */

struct monitor {
    GMainContext *context;
    GMainLoop *loop;
    struct mailbox *mailbox;
    struct jobs *jobs;
    struct machine *machine;
    GPtrArray *inputs;                      /* struct input * */
    GPtrArray *peers;                       /* struct peer * */
    GPtrArray *history;                     /* char *, oldest first */
    char *incoming;                         /* -incoming URI, "defer", or NULL */
    bool start_paused;                      /* -S */
    int exit_status;
    GPtrArray *watchers;                    /* struct watcher *: pending waits look at every change */
};

/* An asynchronous line ("event: ..." on plain, redrawn around the line being typed on a terminal). */
void monitor_event(struct monitor *m, const char *format, ...) G_GNUC_PRINTF(2, 3);
/* Something that waits: 'check' runs on main after every event of the machine and every 'period_ms' (0: only
 * events), until it returns true or is removed. */
struct watcher;
struct watcher *monitor_watch(struct monitor *m, unsigned period_ms, bool (*check)(void *data), void *data);
void monitor_unwatch(struct monitor *m, struct watcher *w);
/* The definition edited by 'edit' on a copy and swapped in; 'v' is passed through. */
bool monitor_edit(struct monitor *m, bool (*edit)(struct definition *d, const struct values *v, GError **error),
                  const struct values *v, GError **error);

/* --- peers (peer.c) ------------------------------------------------------------------------------------------------------- */

struct peer *peer_find(struct monitor *m, const char *name);
/* Resolves "peer:NAME" to a URI that the machine can connect to, having made the peer listen; 'done' on main. */
void peer_prepare(struct monitor *m, const char *name, void (*done)(void *self, const char *uri, const GError *error),
                  void *self);
/* True if a peer holds the only running copy of this machine's guest. */
bool peer_holds_guest(const struct peer *p);

#endif
