/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the files of monitor/ share: the program's state, inputs, commands, info items.  Main thread throughout. */
#ifndef MONITOR_PRIVATE_H
#define MONITOR_PRIVATE_H

#include "machine.h"

struct monitor;
struct input;           /* where command lines come from: terminal, plain, pipe, script (stack), peer, one-off */
struct call;            /* one command being run */
struct peer;

/* --- commands --------------------------------------------------------------------------------------------------- */

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
    bool or_blanks;     /* FORM_OPTIONS: blanks do as well as commas (`numa_del cpu socket-id=0 core-id=1`) */
    const char *summary;
};

enum command_when { WHEN_PRECONFIG = 1, WHEN_BUILT = 2, WHEN_ALWAYS = 3 };

struct command {
    const char *name;                       /* with '_'; '-' is equal */
    const char *alias;                      /* NULL, or one more whole name */
    const char *summary;                    /* one line, at most 55 columns (help fits 80), no full stop */
    const char *details;                    /* NULL, or more sentences for `help COMMAND` and the manual */
    enum command_form form;
    const struct property *args;            /* NULL: none */
    int implied;                            /* FORM_OPTIONS: index, or -1 */
    const struct property *names;           /* NULL, or what its argument can name: listed by help and the manual */
    const struct command_variant *variants; /* FORM_VARIANTS; ends with a NULL name */
    const char *option;                     /* the command-line option that is the same declaration, "-m"; or NULL */
    bool numbered;                          /* the option's second use is of 1, the next of 2: one more word */
    unsigned when;                          /* enum command_when */
    /* NULL, or the rule of the moment that run() goes by too: false with what it would say.  For `info migrate
     * states`, without arguments. */
    bool (*may)(struct monitor *m, GError **error);
    /* DONE; FAILED with 'error' set; or PENDING: call_finish() will be called, never from within. */
    enum outcome (*run)(struct call *call, GError **error);
    /* For PENDING: the user abandons waiting (Ctrl-C, end of session); may still print.  The call must not be
     * finished or used after it.  NULL: cannot be abandoned. */
    void (*detach)(struct call *call);
};

struct command_group { const char *title; const struct command *commands; };
/* The explicit list of groups, NULL-terminated (command.c). */
extern const struct command_group *const command_groups[];
extern const struct command_group general_group, machine_group, numa_group, memory_group, device_group, run_group,
    migration_group, guest_group, console_group, examine_group, trace_group, peer_group;
const struct command *command_find(const char *name);       /* whole names and aliases; '-' equals '_' */
const struct command *command_by_option(const char *option);    /* "-m"; NULL if none */
/* The one name in the NULL-terminated list that 'text' begins ('_' equals '-'), or is near to; NULL if none. */
const char *name_nearest(const char *const *names, const char *text);
/* Every command name; with 'when' not 0 only those allowed then.  Caller frees the array with g_ptr_array_unref. */
GPtrArray *command_names(unsigned when);
/* The only name of 'names' that begins with 'word'; NULL if none, with ARGUMENT listing them if several. */
const char *name_expand(GPtrArray *names, const char *word, GError **error);
/* "memory SIZE[,slots=N][,maxmem=SIZE]"; one line a variant, or only 'variant' if not NULL.  Caller frees. */
char *command_usage(const struct command *c, const struct command_variant *variant);
/* False with STATE if the command or item 'name' is not allowed now. */
bool when_allowed(struct monitor *m, const char *name, unsigned when, GError **error);

/* --- calls ------------------------------------------------------------------------------------------------------ */

struct call {
    struct monitor *monitor;
    struct input *input;                    /* who asked */
    const struct command *command;
    const struct command_variant *variant;  /* FORM_VARIANTS */
    struct values *args;                    /* owned; NULL if the command has none */
    char *line;                             /* as typed; owned */
    GString *output;                        /* goes to the input when the call prints or ends */
    void *data;                             /* a pending command's own; freed with data_free */
    GDestroyNotify data_free;

    /* The framework's own (call.c). */
    struct call *parent;                    /* asked by call_run of this one; NULL: by the input */
    struct call *child;                     /* started by call_run and not ended yet */
    void (*done)(struct call *parent, const GError *error);
    unsigned start_id;                      /* source that will start it; 0 if begun */
    char *usage;                            /* to show after a usage error; owned */
    bool located;                           /* the error already names FILE:LINE */
    bool abbreviates;                       /* typed at the interactive prompt */
    bool interrupted;                       /* abandoned by the user, who need not be told */
};

/* Adds to the command's output. */
void call_print(struct call *call, const char *format, ...) G_GNUC_PRINTF(2, 3);
/* Shows what was printed so far at once (progress of a pending command). */
void call_flush(struct call *call);
/* A pending command ends; 'error' (not taken) makes it failed.  On the main loop, never from within run(). */
void call_finish(struct call *call, const GError *error);
/* True if output goes to a terminal that can redraw a line in place; then call_redraw replaces the line last
 * drawn. */
bool call_redraws(const struct call *call);
void call_redraw(struct call *call, const char *text);
/* Runs another command line with the same output and in the same mode; its end calls 'done' (never from within).
 * For source, watch, peers and tests.  'call' must be pending, with one such line at a time. */
void call_run(struct call *call, const char *line, void (*done)(struct call *call, const GError *error));

/* For inputs: runs a line; input_ended() is called when it ended, perhaps from within. */
void call_begin(struct input *in, const char *line);
/* Abandons the input's call and all below it.  False if a command cannot be abandoned. */
bool call_abandon(struct call *call);

/* --- info items ------------------------------------------------------------------------------------------------- */

struct info_item {
    const char *name, *summary;             /* as in struct command */
    unsigned when;
    const struct property *args;            /* FORM_WORDS; NULL: none */
    /* The value tree; floating reference; NULL with an error.  'args' is NULL if the item has none. */
    GVariant *(*get)(struct monitor *m, const struct values *args, GError **error);
    /* The layout for people and scripts; or, in its place, one for a terminal of so many columns (0: for scripts). */
    void (*print)(GVariant *tree, GString *out);
    void (*fit)(GVariant *tree, unsigned columns, GString *out);
    /* In place of 'get' where the value takes time: as a command's run(), PENDING until info_finish(). */
    enum outcome (*begin)(struct call *call, const struct values *args, GError **error);
};
/* NULL-terminated list of tables, each ending with a NULL name (info.c). */
extern const struct info_item *const info_tables[];
extern const struct info_item info_config_items[], info_run_items[], info_migrate_items[], info_general_items[],
    info_topology_items[], info_device_items[], info_memory_items[], info_acpi_items[], info_kvm_items[],
    info_register_items[], info_cpu_items[], info_stats_items[], info_peer_items[],
    info_page_items[], info_dirty_items[], info_dirty_rate_items[], info_dirty_limit_items[],
    info_predict_items[];
/* Prints a tree (borrowed) of the item's as the call's output. */
void info_print(struct call *call, const struct info_item *item, GVariant *tree);
/* Columns of the terminal that the output goes to; 0: it goes to no terminal, or to one that says nothing of them. */
unsigned info_columns(const struct call *call);
/* Appends a tree as one line of JSON (json.c). */
void json_append(GVariant *tree, GString *out);
/* Ends a call whose item has 'begin': prints the tree (taken if floating), or fails. */
void info_finish(struct call *call, const struct info_item *item, GVariant *tree, const GError *error);
const struct info_item *info_find(const char *name);
GPtrArray *info_names(unsigned when);                       /* as command_names */
char *info_usage(const struct info_item *i);                /* "info NAME ARGUMENTS"; caller frees */

/* --- inputs: where lines come from and text goes to ------------------------------------------------------------- */

struct input_class {
    bool interactive;                       /* a person types: abbreviations, questions, banner */
    void (*write)(struct input *in, const char *text, size_t size);
    void (*event)(struct input *in, const char *text);      /* one line without its newline */
    void (*redraw)(struct input *in, const char *text);     /* NULL: cannot */
    /* Lines (char *, copied) that stay above the prompt while it is there, until others come or NULL takes them away;
     * how wide they may be (0: this screen cannot), and what they may hold.  NULL: cannot. */
    void (*block)(struct input *in, const GPtrArray *lines);
    unsigned (*columns)(struct input *in);
    bool (*utf8)(struct input *in);
    bool (*more)(struct input *in);         /* lines were pasted behind the one that runs.  May be NULL */
    void (*ask)(struct input *in, const char *question);    /* whether to quit: the next line answers.  NULL:
                                                             * cannot */
    void (*prompt)(struct input *in);       /* no command runs: ask for the next line; calls input_line() later */
    void (*busy)(struct input *in);         /* the command goes on: stop reading.  May be NULL */
    /* A line failed: forgets what else was pasted with it, as whole lines.  NULL if nothing can be.  Caller frees. */
    GPtrArray *(*drop_pasted)(struct input *in);
    void (*interrupt)(struct input *in);    /* Ctrl-C without a command running */
    GString *(*typed)(struct input *in);    /* what was read from stdin and not run yet; NULL: no stdin (grab.c) */
    void (*release)(struct input *in);
};

struct input_line {
    char *text;                             /* owned */
    char *origin;                           /* "<stdin>", "-m 5x" of an option, or NULL: typed; owned */
    unsigned number;                        /* from 1; 0: an option or typed */
    bool option, script, start;             /* of the command line: an option, -x, --start */
};

struct input {
    const struct input_class *class;
    struct monitor *monitor;
    struct call *call;                      /* the running one, or NULL */
    struct input_line *line;                /* of it */
    GQueue lines;                           /* struct input_line *: to run before the class is asked */
    unsigned next_id;                       /* idle source that goes on; 0 if none */
    struct grab *grab;                      /* the running command has stdin (grab.c); NULL: none */
    bool batch;                             /* the first error ends the session */
    bool startup_failed;                    /* an option or -x script failed */
    bool option_failed;
    bool stdin_wanted;                      /* false: ends after what is queued */
    const char *last;                       /* "ok" or the code of the last error; static */
};

void input_init(struct input *in, const struct input_class *class, struct monitor *m);
void input_free(struct input *in);
void input_start(struct input *in);                                     /* runs what is queued, then prompts */
void input_queue(struct input *in, struct input_line *line);            /* taken */
struct input_line *input_line_new(const char *text, const char *origin, unsigned number);
void input_line_free(struct input_line *line);
void input_line(struct input *in, struct input_line *line);             /* from the class, when prompted; taken */
void input_end(struct input *in);                                       /* no more lines: acts as quit */
/* An option that is no command's was refused: shown and counted as one that a command refused. */
void input_refuse_option(struct input *in, const char *option, const GError *error);
void input_ended(struct input *in, struct call *call, const GError *error);     /* from call.c */
void input_interrupt(struct input *in);                                 /* Ctrl-C */
/* A pending command gets what is typed: 'typed' returns how many bytes it takes, and is asked again, with the rest
 * first, by grab_resume(), which also begins it; size 0 is the end of input.  A terminal is raw.  Error STATE: this
 * input has no such thing. */
bool grab_begin(struct input *in, size_t (*typed)(void *self, const char *bytes, size_t size), void *self,
                GError **error);
void grab_resume(struct input *in);
void grab_end(struct input *in);                                        /* what was not taken is for the prompt */
struct input *terminal_new(struct monitor *m);                          /* readline on stdin and stdout */
struct input *stream_new(struct monitor *m, bool plain, bool batch);    /* plain or not, on stdin and stdout */

/* One reading of the workload's progress. */
struct workload_sample {
    int64_t time_us;                        /* monotonic; 0: none yet */
    bool running;
    uint64_t pages[CONTROL_CPUS];           /* written so far, by vCPU */
};
/* Reads the progress now; rates are reckoned from here on. */
void workload_sample_take(struct monitor *m);
/* The item `info workload`, which info-run.c lists. */
GVariant *info_workload_get(struct monitor *m, const struct values *args, GError **error);
void info_workload_print(GVariant *tree, GString *out);

/* --- the program ------------------------------------------------------------------------------------------------ */

struct monitor {
    GMainContext *context;
    GMainLoop *loop;
    struct mailbox *mailbox;
    struct jobs *jobs;
    struct machine *machine;
    GPtrArray *inputs;                      /* struct input * */
    GPtrArray *peers;                       /* struct peer * */
    GPtrArray *history;                     /* char *, oldest first */
    char *history_path;                     /* NULL: not kept */
    char *incoming;                         /* -incoming URI, "defer", or NULL */
    bool start_paused;                      /* -S */
    struct live *live;                      /* view of a migration on a terminal (live.c); NULL: none */
    bool is_peer;                           /* --peer: a child of another numon */
    bool quitting;
    int exit_status;
    GPtrArray *watchers;                    /* struct watcher *: pending waits look at every change */
    unsigned changed_id;                    /* idle source that runs them; 0 if none */
    bool looking;                           /* a watcher's check runs */
    unsigned warned;                        /* bits of enum monitor_warning: said before in this session */
    GHashTable *looks;                      /* what look_rate saw last, by name */
    uint64_t console_position[SERIAL_PORTS];        /* up to which `console` has shown this machine's serial output */
    unsigned cpu;                           /* that `cpu` chose; monitor_cpu() says which that means now */
    struct workload_sample sample;          /* what `info workload` reckons rates from (info-workload.c) */
    struct samples *samples;                /* of the current or last migration */
    GVariant *prediction;                   /* the last of migrate_predict, and the id of the migration before it */
    uint64_t predicted_after;
    struct watcher *sampler;                /* refreshes it when the guest starts or stops (build.c) */
};

struct monitor *monitor_new(void);
void monitor_free(struct monitor *m);
/* Runs the main loop until monitor_quit(); returns the exit status. */
int monitor_run(struct monitor *m);
/* Ends the session without a question. */
void monitor_quit(struct monitor *m, int status);
/* What quitting would lose ("the guest is running"), or NULL. */
const char *monitor_at_stake(const struct monitor *m);
/* Something may have changed: the watchers look soon. */
void monitor_changed(struct monitor *m);
bool monitor_built(const struct monitor *m);
const char *monitor_status(const struct monitor *m);        /* machine_status */

/* An asynchronous line ("event: ..." on plain, redrawn around the line being typed on a terminal). */
void monitor_event(struct monitor *m, const char *format, ...) G_GNUC_PRINTF(2, 3);
/* A warning that a session needs once: printed by the first call that gives it. */
enum monitor_warning { WARNED_MEM = 1, WARNED_SPLIT = 2 };
void call_warn_once(struct call *call, enum monitor_warning which, const char *text);
/* Something that waits: 'check' runs on main after every event of the machine and every 'period_ms' (0: only
 * events), until it returns true or is removed. */
struct watcher;
struct watcher *monitor_watch(struct monitor *m, unsigned period_ms, bool (*check)(void *data), void *data);
void monitor_unwatch(struct monitor *m, struct watcher *w);
/* The definition edited by 'edit' on a copy and swapped in; 'v' is passed through. */
bool monitor_edit(struct monitor *m, bool (*edit)(struct definition *d, const struct values *v, GError **error),
                  const struct values *v, GError **error);

/* --- the live view of a migration (live.c) ---------------------------------------------------------------------- */

/* True if the call's input can show one above its prompt, and nothing waits there for the call's end. */
bool live_possible(const struct call *call);
void live_start(struct monitor *m, struct input *in);
bool live_stop(struct monitor *m);                          /* says that the migration goes on; false if there is
                                                             * none */
void live_free(struct live *l);                             /* NULL is fine */
/* "completed: 3 rounds, ...".  Caller frees. */
char *migrate_end_line(const struct migrate_info *i);
#define MIGRATION_GOES_ON "the migration goes on (`info migrate` shows it, `migrate_cancel` ends it)"

/* --- history (history.c) ---------------------------------------------------------------------------------------- */

void history_load(struct monitor *m);                       /* the lines of earlier sessions, for a terminal */
void history_add(struct monitor *m, const char *line);

/* --- completion (complete.c) ------------------------------------------------------------------------------------ */

/* The candidates for the word that ends 'line' (what stands before the cursor): char *, each a whole word, sorted.
 * '*ret_start': byte offset of that word; '*ret_append': what follows a sole candidate (0: nothing).
 * '*ret_files': file names are candidates too. */
GPtrArray *complete_line(struct monitor *m, const char *line, size_t *ret_start, char *ret_append, bool *ret_files);

/* The same for readline, of the line being edited up to byte 'end', whose last word is 'text': first what all begin
 * with, then each, made by malloc() and owned by it; NULL without any. */
char **readline_matches(struct monitor *m, const char *text, int end);

/* --- texts ------------------------------------------------------------------------------------------------------ */

void help_command(const struct command *c, GString *out);
void help_overview(struct monitor *m, GString *out);
void dump_texinfo(GString *out);                            /* dump.c: the command reference for the manual */
bool tables_check(GString *out);                            /* dump.c: rules that every table keeps; false with
                                                             * faults */
/* Control characters and broken UTF-8 as \xNN; newlines stay.  Caller frees. */
char *text_printable(const char *text);
/* The same for a value tree, whose strings must be UTF-8: of what a user, a file's name or a peer chose. */
GVariant *text_variant(const char *text);

/* --- the command line (options.c) ------------------------------------------------------------------------------- */

struct options {
    bool plain, batch, start, paused, help, version, self_test, dump, peer;
    char *incoming;
    GPtrArray *scripts;                     /* char *: -x FILE */
    GPtrArray *lines;                       /* struct input_line *: options that are commands, in order of effect */
};

bool options_parse(struct options *o, int argc, char **argv, GError **error);
void options_release(struct options *o);
void options_help(GString *out);

/* --- editing the definition (edit.c) ---------------------------------------------------------------------------- */

/* Prints each size that was typed without suffix as it was understood. */
void call_echo_sizes(struct call *call);
/* True if the text of a size has no suffix. */
bool size_is_bare(const char *text);
/* A command that is one edit of the definition with the call's arguments: monitor_edit, then call_echo_sizes. */
typedef bool edit_function(struct definition *d, const struct values *v, GError **error);
enum outcome call_edit(struct call *call, edit_function *edit, GError **error);

/* --- building (build.c) ----------------------------------------------------------------------------------------- */

/* Prints each problem of the definition with the command that mends it; false with an error if there are any. */
bool monitor_check(struct call *call, GError **error);
/* Checks the definition, then builds the machine.  True: pending, 'done' is called on main, never from within, and
 * the call's output says which accelerator was taken where it is not the first.  Uses call->data until then; if the
 * call is freed first (detached) 'done' is not called, and the machine is built all the same. */
bool monitor_build(struct call *call, void (*done)(struct call *call, const GError *error), GError **error);

/* --- walk (walk.c), which memory-commands.c lists --------------------------------------------------------------- */

extern const struct property walk_args[];
enum outcome walk_run(struct call *call, GError **error);
/* The guest physical address that arguments of that table mean.  Errors: ARGUMENT, STATE. */
bool walk_find(struct machine *machine, const struct values *v, uint64_t *ret_gpa, GError **error);
/* The section that holds it.  NULL with an error if there is none. */
const struct section *walk_section(const struct guest_map *map, uint64_t gpa, GError **error);

/* --- info numa_latency (info-latency.c), which info-memory.c lists ---------------------------------------------- */

extern const struct property latency_args[];
enum outcome latency_begin(struct call *call, const struct values *args, GError **error);
void latency_print(GVariant *tree, GString *out);

/* --- calc_dirty_rate (dirty-rate.c), which migration-commands.c lists ------------------------------------------- */

extern const struct property dirty_rate_args[];
enum outcome dirty_rate_run(struct call *call, GError **error);

/* --- limits of the dirty rate (dirty-limit.c), which migration-commands.c lists --------------------------------- */

extern const struct property dirty_limit_args[], dirty_unlimit_args[];
enum outcome dirty_limit_run(struct call *call, GError **error);
enum outcome dirty_unlimit_run(struct call *call, GError **error);

/* --- preallocation (memory-commands.c) -------------------------------------------------------------------------- */

/* Shows how far preallocation has come, a line a second, until progress_end, which must come before the call's
 * end. */
struct progress;
struct progress *progress_start(struct call *call);
void progress_end(struct progress *p);              /* NULL is fine */

/* --- files that a user names (outfile.c) ------------------------------------------------------------------------ */

/* Written beside and renamed when complete, so that the old file stays until the new one is whole; devices such as
 * /dev/null are written directly.  Any one thread at a time. */
struct outfile;
struct outfile *outfile_open(const char *path, GError **error);
bool outfile_write(struct outfile *f, const void *data, size_t size, GError **error);
/* Puts the file in place and frees 'f', also on error. */
bool outfile_commit(struct outfile *f, GError **error);
void outfile_abandon(struct outfile *f);            /* removes what was written and frees; NULL is fine */

/* --- reading value trees (tree.c) ------------------------------------------------------------------------------- */

/* The number under a key of a vardict (NULL is fine): 0 if there is none.  The text under a key: "" if there is none;
 * lives as long as the tree. */
uint64_t tree_number(GVariant *dict, const char *key);
const char *tree_text(GVariant *dict, const char *key);

/* --- rates of counters (rates.c) -------------------------------------------------------------------------------- */

GHashTable *looks_new(void);
/* True if the counter 'name' was looked at before: '*ret' is how much it grew a second since. */
bool look_rate(struct monitor *m, const char *name, uint64_t value, double *ret);

/* --- looking into the guest (examine-commands.c, info-registers.c) ---------------------------------------------- */

/* The current CPU: what `cpu` chose if the machine has it, else 0. */
unsigned monitor_cpu(struct monitor *m);
/* A register by gdb's name, without its '$'.  Error: ARGUMENT. */
bool register_value(const struct cpu_registers *r, const char *name, uint64_t *ret, GError **error);

/* --- memsave, pmemsave (pmemsave.c), which examine-commands.c lists --------------------------------------------- */

extern const struct property pmemsave_args[], memsave_args[];
enum outcome pmemsave_run(struct call *call, GError **error);
enum outcome memsave_run(struct call *call, GError **error);
void pmemsave_detach(struct call *call);
/* `acpi_dump` (info-acpi.c). */
extern const struct property acpi_dump_args[];
enum outcome acpi_dump_run(struct call *call, GError **error);
void acpi_dump_detach(struct call *call);

/* --- explain (explain.c), which migration-commands.c lists ------------------------------------------------------ */

extern const struct property explain_args[];
enum outcome explain_command(struct call *call, GError **error);
void explain_detach(struct call *call);

/* --- migrate_record (samples.c), migrate_report (report.c), which migration-commands.c lists -------------------- */

struct samples;
struct samples *samples_new(struct monitor *m);
void samples_free(struct samples *s);       /* a recording under way is completed; NULL is fine */
extern const struct property record_args[], report_args[];
enum outcome record_command(struct call *call, GError **error);
enum outcome report_command(struct call *call, GError **error);
void report_detach(struct call *call);

/* --- migrate_predict (predict.c), which migration-commands.c lists ---------------------------------------------- */

extern const struct property predict_args[], predict_settings[];
enum outcome predict_command(struct call *call, GError **error);
void predict_detach(struct call *call);

/* --- undo and redo (undo.c), which machine-commands.c lists ----------------------------------------------------- */

extern const struct property undo_args[];
enum outcome undo_run(struct call *call, GError **error);
enum outcome redo_run(struct call *call, GError **error);

/* The type that CPUs have in listings. */
#define CPU_TYPE "base-x86_64-cpu"
#define CPU_TYPE_HOST "host-x86_64-cpu"
/* Appends a picture of the tree of `info topology` (topology-svg.c). */
void topology_draw_svg(GVariant *tree, GString *out);

/* --- serial ports (guest-commands.c) ---------------------------------------------------------------------------- */

/* NULL with an error: the machine that is built has no such port. */
struct serial *serial_of_port(struct monitor *m, unsigned port, GError **error);

/* --- cpu (cpu-commands.c), which machine-commands.c lists ------------------------------------------------------- */

extern const struct property cpu_args[];
enum outcome cpu_run(struct call *call, GError **error);

/* --- show (show.c), which machine-commands.c lists ----------------------------------------------------- */

extern const struct property show_args[];
enum outcome show_run(struct call *call, GError **error);

/* --- peers (peer.c) --------------------------------------------------------------------------------------------- */

struct peer *peer_find(struct monitor *m, const char *name);
/* The same, with an error if there is none. */
struct peer *peer_get(struct monitor *m, const char *name, GError **error);
const char *peer_name(const struct peer *p);
const char *peer_state(const struct peer *p);       /* run state of its last prompt; "" before the first */
const char *peer_process(const struct peer *p);     /* its id, as text */
/* Starts a child with this machine's definition; m->peers owns it. */
struct peer *peer_new(struct monitor *m, const char *name, GError **error);
/* Runs a line there ('line' NULL: only waits for its first prompt); 'done' on main, never from within, with what it
 * printed.  One question at a time (STATE). */
bool peer_ask(struct peer *p, const char *line,
              void (*done)(void *self, struct peer *p, const char *reply, const GError *error), void *self,
              GError **error);
/* Makes it listen for a guest, unless it does. */
bool peer_listen(struct peer *p, void (*done)(void *self, const char *uri, const GError *error), void *self,
                 GError **error);
/* Makes the peer listen for this machine's guest; 'done' on main, never from within, with the call and the URI.
 * False with an error if there is no such peer or it is busy. */
bool peer_prepare(struct call *call, const char *name, void (*done)(void *self, const char *uri, const GError *error),
                  GError **error);
/* Nobody waits for a reply to 'self' any more. */
void peer_forget(struct monitor *m, void *self);
/* True if the guest was migrated there: it holds the only running copy. */
bool peer_holds_guest(const struct peer *p);
/* A peer whose input ended without a word, its parent having died: true if it has the guest, or is just getting it.
 * It then quits by itself if that comes to nothing. */
bool peer_outlives(struct monitor *m);
/* Ends the child and waits for it; NULL is fine.  m->peers frees its elements with it. */
void peer_free(struct peer *p);

#endif
