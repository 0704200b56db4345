/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What all inputs do alike: one line at a time, the next only after the command ended; what comes from the command
 * line first, then what the class (terminal.c, stream.c) reads; errors shown or, in batch, the end of the session. */
#include "monitor-private.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct input_line *
input_line_new(const char *text, const char *origin, unsigned number)
{
    struct input_line *line = g_new0(struct input_line, 1);

    line->text = g_strdup(text);
    line->origin = g_strdup(origin);
    line->number = number;
    return line;
}

void
input_line_free(struct input_line *line)
{
    if (!line)
        return;
    g_free(line->text);
    g_free(line->origin);
    g_free(line);
}

void
input_init(struct input *in, const struct input_class *class, struct monitor *m)
{
    in->class = class;
    in->monitor = m;
    in->last = "ok";
    in->stdin_wanted = true;
    g_queue_init(&in->lines);
}

void
input_free(struct input *in)
{
    if (in->next_id)
        g_source_remove(in->next_id);
    if (in->call)
        call_abandon(in->call);
    grab_end(in);
    in->class->release(in);
    g_queue_clear_full(&in->lines, (GDestroyNotify)input_line_free);
    input_line_free(in->line);
    g_free(in);
}

/* Runs the next queued line, else asks the class.  From the main loop, so that lines that end at once do not nest. */
static gboolean
input_next(gpointer data)
{
    struct input *in = data;
    struct input_line *line;

    on_main_thread();
    in->next_id = 0;
    if (in->monitor->quitting || in->call)
        return G_SOURCE_REMOVE;
    line = g_queue_pop_head(&in->lines);
    if (line)
        input_line(in, line);
    else if (in->option_failed && (in->batch || !isatty(STDIN_FILENO)))
        monitor_quit(in->monitor, 2);
    else if (!in->stdin_wanted)
        input_end(in);
    else
        in->class->prompt(in);
    return G_SOURCE_REMOVE;
}

static void
input_schedule(struct input *in)
{
    if (!in->next_id)
        in->next_id = g_idle_add_full(G_PRIORITY_DEFAULT, input_next, in, NULL);
}

void
input_start(struct input *in)
{
    input_schedule(in);
}

void
input_queue(struct input *in, struct input_line *line)
{
    g_queue_push_tail(&in->lines, line);
}

void
input_line(struct input *in, struct input_line *line)
{
    input_line_free(in->line);
    in->line = line;
    if ((line->script || line->start) && in->startup_failed) {
        input_schedule(in);
        return;
    }
    if (!line->option && !line->script && !line->start)
        history_add(in->monitor, g_strchomp(line->text));
    call_begin(in, line->text);
}

void
input_end(struct input *in)
{
    if (in->monitor->is_peer && peer_outlives(in->monitor))
        return;
    if (in->line)
        input_line_free(g_steal_pointer(&in->line));
    call_begin(in, "quit");
}

/* --- how a command ended ---------------------------------------------------------------------------------------- */

/* "FILE:LINE: message", "-m 5x: message" or the message alone. */
static char *
located_message(const struct input *in, bool located, const GError *error)
{
    g_autofree char *text = text_printable(error->message);
    const struct input_line *line = in->line;

    if (line && line->option)
        return g_strdup_printf("%s: %s", line->origin, text);
    if (!located && in->batch && line && line->number)
        return g_strdup_printf("%s:%u: %s", line->origin, line->number, text);
    return g_steal_pointer(&text);
}

static void
show_error(struct input *in, const struct call *call, const GError *error)
{
    g_autofree char *message = located_message(in, call->located, error);
    g_autoptr(GString) out = g_string_new(NULL);

    if (in->batch) {
        fprintf(stderr, "%s\n", message);
        return;
    }
    g_string_printf(out, "Error: %s\n", message);
    if (call->usage)
        g_string_append_printf(out, "usage: %s\n", call->usage);
    in->class->write(in, out->str, out->len);
}

/* What was pasted together with a line that failed is not run, and said. */
static void
drop_rest(struct input *in)
{
    g_autoptr(GPtrArray) rest = in->class->drop_pasted ? in->class->drop_pasted(in) : NULL;

    for (unsigned i = 0; rest && i < rest->len; i++) {
        g_autofree char *text = text_printable(rest->pdata[i]);
        g_autofree char *said = g_strdup_printf("not run: %s\n", text);

        in->class->write(in, said, strlen(said));
    }
}

void
input_refuse_option(struct input *in, const char *option, const GError *error)
{
    g_autofree char *text = g_strdup_printf("%s: %s", option, error->message);
    g_autofree char *message = text_printable(text);
    g_autofree char *line = g_strdup_printf("Error: %s\n", message);

    in->startup_failed = in->option_failed = true;
    in->last = error_word(error);
    if (in->batch)
        fprintf(stderr, "%s\n", message);
    else
        in->class->write(in, line, strlen(line));
}

static void
note_failure(struct input *in)
{
    const struct input_line *line = in->line;

    if (line && (line->option || line->script || line->start))
        in->startup_failed = true;
    if (line && line->option)
        in->option_failed = true;
    else if (in->batch)
        monitor_quit(in->monitor, 1);
    else if (line && !line->script && !line->start)
        drop_rest(in);
}

void
input_ended(struct input *in, struct call *call, const GError *error)
{
    bool said_nothing = call->command == NULL && !error;

    if (!said_nothing)
        in->last = error_word(error);
    if (error) {
        if (!(call->interrupted && (in->class->interactive || in->monitor->quitting)))
            show_error(in, call, error);
        note_failure(in);
    }
    if (!in->monitor->quitting)
        input_schedule(in);
}

void
input_interrupt(struct input *in)
{
    if (!in->call) {
        in->class->interrupt(in);
        return;
    }
    if (in->class->interactive)
        in->class->write(in, "\n", 1);
    call_abandon(in->call);
}
