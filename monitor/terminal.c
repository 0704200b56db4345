/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The console of a person: GNU readline in callback mode on the main loop.  readline holds the terminal only while no
 * command runs; then the terminal is as it was found, so that Ctrl-C is a signal and what is typed ahead waits in it.
 * readline is one a process and calls without an argument: 'the_terminal' is the only mutable file-scope state. */
#include "monitor-private.h"

#include <errno.h>
#include <glib-unix.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <readline/readline.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "build-config.h"

#define BANNER PACKAGE_STRING " - define a machine, then `launch` it. `help` lists commands, TAB completes.\n"

struct terminal {
    struct input input;
    unsigned read_id;               /* source of stdin; 0 while a command runs */
    unsigned continued_id;          /* source of SIGCONT */
    int continued_fd;
    bool editing;                   /* readline has the terminal */
    bool asking;                    /* the next line answers whether to quit */
    char *question;                 /* owned; NULL: the usual prompt */
    bool drawn;                     /* a line that call_redraw() replaces is on the screen */
    char *drawn_text;               /* owned */
    GPtrArray *block;               /* char *: lines that stand above the prompt; owned; NULL: none */
    GArray *block_widths;           /* unsigned: of those that are on the screen; owned */
    bool more;                      /* further lines were there with the one that runs: a paste */
    char *partial;                  /* pasted text without its newline, to be edited next; owned */
    GString *typed;                 /* typed behind the end of a grab: lines to come; owned */
};

static struct terminal *the_terminal;

/* From complete.c's candidates to readline's. */
static char **complete_for_readline(const char *text, int start, int end);

static void
put(struct terminal *t, const char *text, size_t size)
{
    if (!write_all(STDOUT_FILENO, text, size))
        monitor_quit(t->input.monitor, 1);
}

static void
end_drawn_line(struct terminal *t)
{
    if (t->drawn)
        put(t, "\n", 1);
    t->drawn = false;
}

static void
terminal_write(struct input *in, const char *text, size_t size)
{
    struct terminal *t = the_terminal;
    bool drawn = t->drawn;

    end_drawn_line(t);
    /* What only ends a line has done so. */
    if (!drawn || size != 1 || *text != '\n')
        put(t, text, size);
}

/* Cut to the screen's width, with room for "^C": a line that wraps could not be replaced. */
static void
draw(struct terminal *t, const char *text)
{
    g_autofree char *shown = text_printable(text);
    g_autoptr(GString) out = g_string_new("\r");
    int rows, columns;
    glong size;

    /* While a command runs readline does not hear of a new size. */
    rl_reset_screen_size();
    rl_get_screen_size(&rows, &columns);
    size = MIN(g_utf8_strlen(shown, -1), MAX(columns - 3, 0));
    g_string_append_len(out, shown, g_utf8_offset_to_pointer(shown, size) - shown);
    g_string_append(out, "\033[K");
    put(t, out->str, out->len);
    t->drawn = true;
}

static void
terminal_redraw(struct input *in, const char *text)
{
    struct terminal *t = the_terminal;

    g_free(t->drawn_text);
    t->drawn_text = g_strdup(text);
    draw(t, text);
}

/* --- the block above the prompt --------------------------------------------------------------------------------- */

static unsigned
screen_columns(void)
{
    int rows, columns;

    rl_reset_screen_size();
    rl_get_screen_size(&rows, &columns);
    return (unsigned)MAX(columns, 1);
}

static unsigned
terminal_columns(struct input *in)
{
    const char *kind = g_getenv("TERM");

    return kind && *kind && !g_str_equal(kind, "dumb") ? screen_columns() : 0;
}

static bool
terminal_utf8(struct input *in)
{
    return g_get_charset(NULL);
}

static bool
terminal_more(struct input *in)
{
    return the_terminal->more;
}

/* A row at least; more if the screen is narrower than it was. */
static unsigned
rows_of(unsigned width, unsigned columns)
{
    return MAX((width + columns - 1) / columns, 1);
}

static unsigned
block_rows(const struct terminal *t)
{
    unsigned rows = 0, columns = screen_columns();

    for (unsigned i = 0; i < t->block_widths->len; i++)
        rows += rows_of(g_array_index(t->block_widths, unsigned, i), columns);
    return rows;
}

/* The cursor is so many rows below the block's first, in the first column; from there on nothing stays. */
static void
erase_rows(struct terminal *t, unsigned rows)
{
    g_autofree char *up = rows ? g_strdup_printf("\r\033[%uA\033[J", rows) : g_strdup("\r\033[J");

    put(t, up, strlen(up));
    g_array_set_size(t->block_widths, 0);
}

/* In the first column of an empty line. */
static void
draw_block(struct terminal *t)
{
    g_autoptr(GString) out = g_string_new(NULL);

    for (unsigned i = 0; t->block && i < t->block->len; i++) {
        unsigned width = (unsigned)g_utf8_strlen(t->block->pdata[i], -1);
        g_string_append_printf(out, "%s\n", (char *)t->block->pdata[i]);
        g_array_append_val(t->block_widths, width);
    }
    put(t, out->str, out->len);
}

/* Takes block and line off the screen; text may follow. */
static void
lift_line(struct terminal *t)
{
    rl_clear_visible_line();
    fflush(rl_outstream);
    if (t->block_widths->len)
        erase_rows(t, block_rows(t));
}

static void
lower_line(struct terminal *t)
{
    draw_block(t);
    rl_on_new_line();
    rl_redisplay();
}

/* Columns that readline shows a text in: a control character takes two. */
static unsigned
shown_width(const char *text)
{
    unsigned width = 0;

    for (const char *p = text; *p; p = g_utf8_next_char(p)) {
        gunichar c = g_utf8_get_char_validated(p, -1);
        width += c < 0x20 || (c != (gunichar)-1 && c != (gunichar)-2 && g_unichar_iswide(c)) ? 2 : 1;
    }
    return width;
}

/* A line was entered below the block: it stays, with what it brings, and the block comes back below. */
static void
leave_block(struct terminal *t, const char *line)
{
    g_autofree char *typed = g_strconcat(rl_display_prompt ? rl_display_prompt : "", line ? line : "", NULL);
    g_autofree char *shown = text_printable(typed);

    if (t->block_widths->len == 0)
        return;
    erase_rows(t, block_rows(t) + rows_of(shown_width(typed), screen_columns()));
    put(t, shown, strlen(shown));
    put(t, "\n", 1);
}

/* What TAB lists stands where the block would be sought: that stays behind as text. */
static void
list_matches(char **matches, int count, int longest)
{
    g_array_set_size(the_terminal->block_widths, 0);
    rl_display_match_list(matches, count, longest);
    rl_forced_update_display();
}

static gpointer
copy_line(gconstpointer line, gpointer unused)
{
    return g_strdup(line);
}

static void
terminal_block(struct input *in, const GPtrArray *lines)
{
    struct terminal *t = the_terminal;

    if (t->editing)
        lift_line(t);
    g_clear_pointer(&t->block, g_ptr_array_unref);
    if (lines)
        t->block = g_ptr_array_copy((GPtrArray *)lines, copy_line, NULL);
    if (lines)
        g_ptr_array_set_free_func(t->block, g_free);
    rl_completion_display_matches_hook = lines ? list_matches : NULL;
    if (t->editing)
        lower_line(t);
}

/* The line being typed, or the one being redrawn, gives way and comes back below. */
static void
terminal_event(struct input *in, const char *text)
{
    struct terminal *t = the_terminal;
    bool redraw = t->drawn;

    if (t->editing)
        lift_line(t);
    else if (redraw)
        put(t, "\r\033[K", 4);
    fflush(rl_outstream);
    put(t, text, strlen(text));
    put(t, "\n", 1);
    if (t->editing) {
        draw_block(t);
        rl_on_new_line();
        rl_redisplay();
    } else if (redraw) {
        draw(t, t->drawn_text);
    }
}

/* --- editing a line --------------------------------------------------------------------------------------------- */

static bool
input_waits(void)
{
    struct pollfd p = { .fd = STDIN_FILENO, .events = POLLIN };

    return poll(&p, 1, 0) == 1;
}

static void
leave_editing(struct terminal *t)
{
    if (t->read_id)
        g_source_remove(t->read_id);
    t->read_id = 0;
    if (t->editing)
        rl_callback_handler_remove();
    t->editing = false;
}

static void
answer(struct terminal *t, const char *line)
{
    struct input *in = &t->input;

    t->asking = false;
    if (!line || g_ascii_tolower(line[strspn(line, " \t")]) == 'y')
        monitor_quit(in->monitor, in->monitor->exit_status);
    else
        in->class->prompt(in);
}

/* A bracketed paste comes as one line with newlines in it; the first of them runs, the rest follow. */
static void
give_lines(struct terminal *t, const char *text)
{
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);

    for (unsigned i = 1; lines[0] && lines[i]; i++) {
        if (*lines[i])
            input_queue(&t->input, input_line_new(lines[i], NULL, 0));
    }
    input_line(&t->input, input_line_new(lines[0] ? lines[0] : "", NULL, 0));
}

/* readline's: a line is complete, or NULL at Ctrl-D on an empty one. */
static void
line_entered(char *text)
{
    struct terminal *t = the_terminal;
    g_autofree char *line = g_strdup(text);

    on_main_thread();
    free(text);
    t->more = input_waits();
    leave_block(t, line);
    leave_editing(t);
    if (!line)
        put(t, "\n", 1);
    if (t->asking)
        answer(t, line);
    else if (line)
        give_lines(t, line);
    else
        input_end(&t->input);
}

static gboolean
terminal_readable(int fd, GIOCondition condition, gpointer data)
{
    struct terminal *t = data;

    on_main_thread();
    if (!(condition & G_IO_IN)) {
        t->read_id = 0;
        monitor_quit(t->input.monitor, 1);
        return G_SOURCE_REMOVE;
    }
    rl_callback_read_char();
    return G_SOURCE_CONTINUE;
}

/* Runs a line that was typed to a command that had ended, shown as if it came now; false: there is none, what there
 * is is edited on. */
static bool
give_typed(struct terminal *t, const char *prompt)
{
    size_t size = strcspn(t->typed->str, "\r\n");
    g_autofree char *line = g_strndup(t->typed->str, size);
    g_autofree char *shown = text_printable(line);
    g_autofree char *all = g_strconcat(prompt, shown, "\n", NULL);
    bool whole = size < t->typed->len;

    g_string_erase(t->typed, 0, (gssize)MIN(size + 1, t->typed->len));
    if (whole) {
        put(t, all, strlen(all));
        input_line(&t->input, input_line_new(line, NULL, 0));
    } else if (*line && !t->partial) {
        t->partial = g_steal_pointer(&line);
    }
    return whole;
}

static void
terminal_prompt(struct input *in)
{
    struct terminal *t = the_terminal;
    const char *prompt = monitor_built(in->monitor) ? "(numon) " : "(numon preconfig) ";

    end_drawn_line(t);
    if (!t->question && t->typed->len && give_typed(t, prompt))
        return;
    t->asking = t->question != NULL;
    rl_reset_screen_size();
    g_array_set_size(t->block_widths, 0);
    draw_block(t);
    rl_callback_handler_install(t->question ? t->question : prompt, line_entered);
    g_clear_pointer(&t->question, g_free);
    t->editing = true;
    if (t->partial) {
        rl_insert_text(t->partial);
        rl_redisplay();
        g_clear_pointer(&t->partial, g_free);
    }
    if (!t->read_id)
        t->read_id = g_unix_fd_add(STDIN_FILENO, G_IO_IN | G_IO_HUP | G_IO_ERR, terminal_readable, t);
}

static void
terminal_ask(struct input *in, const char *question)
{
    struct terminal *t = the_terminal;

    g_free(t->question);
    t->question = g_strdup(question);
}

/* Ctrl-C at the prompt: the line goes, a new one begins. */
static void
terminal_interrupt(struct input *in)
{
    struct terminal *t = the_terminal;

    if (!t->editing)
        return;
    rl_callback_sigcleanup();
    if (rl_end == 0 && live_stop(in->monitor))
        return;
    if (t->block)
        lift_line(t);
    put(t, "^C\n", 3);
    leave_editing(t);
    rl_replace_line("", 0);
    terminal_prompt(in);
}

/* --- pasting ---------------------------------------------------------------------------------------------------- */

/* Reads what waits in the terminal; whole lines go to 'rest', an unfinished one becomes the next to be edited. */
static void
read_waiting(struct terminal *t, GPtrArray *rest)
{
    g_autoptr(GString) text = g_string_new(NULL);
    g_auto(GStrv) lines = NULL;
    char data[4096];
    unsigned i;

    while (input_waits()) {
        ssize_t got = read(STDIN_FILENO, data, sizeof data);

        if (got <= 0)
            break;
        g_string_append_len(text, data, got);
    }
    g_strdelimit(text->str, "\r", '\n');
    lines = g_strsplit(text->str, "\n", -1);
    for (i = 0; lines[i] && lines[i + 1]; i++) {
        if (*lines[i])
            g_ptr_array_add(rest, g_strdup(lines[i]));
    }
    if (lines[i] && *lines[i])
        t->partial = g_strdup(lines[i]);
}

static GPtrArray *
terminal_drop_pasted(struct input *in)
{
    struct terminal *t = the_terminal;
    GPtrArray *rest = g_ptr_array_new_with_free_func(g_free);
    struct input_line *line;

    while ((line = g_queue_pop_head(&in->lines))) {
        g_ptr_array_add(rest, g_strdup(line->text));
        input_line_free(line);
    }
    if (t->more)
        read_waiting(t, rest);
    t->more = false;
    return rest;
}

/* --- made and freed --------------------------------------------------------------------------------------------- */

/* After a stop (Ctrl-Z) and fg the shell gives the terminal back cooked. */
static gboolean
on_continued(int fd, GIOCondition condition, gpointer data)
{
    struct terminal *t = data;
    struct signalfd_siginfo info;

    on_main_thread();
    if (read(fd, &info, sizeof info) == sizeof info && t->editing) {
        g_array_set_size(t->block_widths, 0);
        rl_prep_terminal(1);
        rl_forced_update_display();
    }
    return G_SOURCE_CONTINUE;
}

static void
watch_continued(struct terminal *t)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGCONT);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    t->continued_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (t->continued_fd >= 0)
        t->continued_id = g_unix_fd_add(t->continued_fd, G_IO_IN, on_continued, t);
}

static GString *
terminal_typed(struct input *in)
{
    return the_terminal->typed;
}

static void
terminal_release(struct input *in)
{
    struct terminal *t = the_terminal;

    leave_editing(t);
    end_drawn_line(t);
    if (t->continued_id)
        g_source_remove(t->continued_id);
    close_fd(&t->continued_fd);
    g_free(t->question);
    g_free(t->drawn_text);
    g_clear_pointer(&t->block, g_ptr_array_unref);
    g_array_unref(t->block_widths);
    g_free(t->partial);
    g_string_free(t->typed, TRUE);
    the_terminal = NULL;
}

static const struct input_class terminal_class = {
    .interactive = true, .write = terminal_write, .event = terminal_event, .redraw = terminal_redraw,
    .block = terminal_block, .columns = terminal_columns, .utf8 = terminal_utf8, .more = terminal_more,
    .ask = terminal_ask, .prompt = terminal_prompt, .drop_pasted = terminal_drop_pasted,
    .interrupt = terminal_interrupt, .release = terminal_release, .typed = terminal_typed,
};

/* At the end of input readline ends the line only where it switches bracketed paste off; line_entered() always
 * does. */
static void
restore_terminal(void)
{
    rl_eof_found = 0;
    rl_deprep_terminal();
}

static void
set_up_readline(void)
{
    rl_deprep_term_function = restore_terminal;
    rl_readline_name = "numon";
    rl_catch_signals = 0;
    rl_attempted_completion_function = complete_for_readline;
    rl_completer_word_break_characters = (char *)" \t\n,=";
    rl_completer_quote_characters = "\"";
    rl_initialize();
}

struct input *
terminal_new(struct monitor *m)
{
    struct terminal *t = g_new0(struct terminal, 1);

    g_assert(!the_terminal);
    the_terminal = t;
    t->block_widths = g_array_new(FALSE, FALSE, sizeof(unsigned));
    t->typed = g_string_new(NULL);
    input_init(&t->input, &terminal_class, m);
    set_up_readline();
    watch_continued(t);
    history_load(m);
    terminal_write(&t->input, BANNER, strlen(BANNER));
    return &t->input;
}

/* --- completion ------------------------------------------------------------------------------------------------- */

static char **
complete_for_readline(const char *text, int start, int end)
{
    return readline_matches(the_terminal->input.monitor, text, end);
}
