/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Lines from a pipe, file or terminal without readline.  Three manners: silent (a pipe: commands' output only), batch
 * (silent, the first error ends it) and plain (a prompt that a program can match).  What was read but not run yet
 * waits in 'buffer'; while a command runs nothing is read. */
#include "monitor-private.h"

#include <errno.h>
#include <glib-unix.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

enum {
    EVENTS_MAX = 1000,              /* event lines kept until they may be shown; the oldest go first */
    CONTROL_D = 0x04,
};

struct stream {
    struct input input;
    bool plain;
    unsigned prompts;               /* shown so far: the sequence number in the next prompt is one more */
    GString *buffer;                /* read, not run */
    size_t searched;                /* bytes of it known to hold no newline */
    unsigned lines;                 /* lines run so far */
    unsigned read_id;               /* source of stdin; 0 while a command runs */
    bool ended;                     /* end of input seen */
    bool prompted;                  /* waits for a line: text may be written right away on a pipe */
    bool in_line;                   /* the last byte written was no newline */
    GPtrArray *events;              /* char *: not shown yet */
    struct termios saved;           /* of a terminal on stdin */
    bool restore;
};

static struct stream *
stream_of(struct input *in)
{
    return (struct stream *)in;
}

/* Who cannot be told anything any more ends the session. */
static void
stream_write(struct input *in, const char *text, size_t size)
{
    if (size == 0)
        return;
    stream_of(in)->in_line = text[size - 1] != '\n';
    if (!write_all(STDOUT_FILENO, text, size))
        monitor_quit(in->monitor, 1);
}

static void
show_events(struct stream *s)
{
    for (unsigned i = 0; i < s->events->len; i++) {
        g_autofree char *line = g_strdup_printf("event: %s\n", (char *)s->events->pdata[i]);

        stream_write(&s->input, line, strlen(line));
    }
    g_ptr_array_set_size(s->events, 0);
}

static void
stream_event(struct input *in, const char *text)
{
    struct stream *s = stream_of(in);

    if (s->events->len == EVENTS_MAX)
        g_ptr_array_remove_index(s->events, 0);
    g_ptr_array_add(s->events, g_strdup(text));
    if (!s->plain && s->prompted)
        show_events(s);
}

/* Takes the next whole line out of the buffer; at the end of input also one without newline.  NULL: none. */
static struct input_line *
take_line(struct stream *s)
{
    char *newline = memchr(s->buffer->str + s->searched, '\n', s->buffer->len - s->searched);
    size_t size = newline ? (size_t)(newline - s->buffer->str) : s->buffer->len;
    size_t taken = size + (newline != NULL);
    struct input_line *line;

    s->searched = size;
    if (!newline && (!s->ended || size == 0))
        return NULL;
    while (size && s->buffer->str[size - 1] == '\r')
        size--;
    /* A NUL would hide the rest of the line; as another control character it makes the line an error. */
    for (size_t i = 0; i < size; i++) {
        if (s->buffer->str[i] == '\0')
            s->buffer->str[i] = '\1';
    }
    s->buffer->str[size] = '\0';
    line = input_line_new(s->buffer->str, "<stdin>", ++s->lines);
    g_string_erase(s->buffer, 0, (gssize)taken);
    s->searched = 0;
    return line;
}

/* A terminal in non-canonical mode hands over erase characters and Ctrl-D as bytes. */
static void
take_bytes(struct stream *s, const char *data, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        bool at_start = s->buffer->len == 0 || s->buffer->str[s->buffer->len - 1] == '\n';

        if (!s->restore)
            g_string_append_c(s->buffer, data[i]);
        else if (data[i] == CONTROL_D && at_start)
            s->ended = true;
        else if (data[i] == (char)s->saved.c_cc[VERASE] && !at_start)
            g_string_truncate(s->buffer, s->buffer->len - 1);
        else if (data[i] != (char)s->saved.c_cc[VERASE])
            g_string_append_c(s->buffer, data[i]);
    }
}

/* A folder, a disk that fails, a terminal that is gone. */
static void
cannot_read(struct stream *s, int error_number)
{
    fprintf(stderr, "cannot read standard input: %s\n", g_strerror(error_number));
    s->ended = true;
    monitor_quit(s->input.monitor, 1);
}

static void
stream_fill(struct stream *s)
{
    char data[65536];
    ssize_t got = read(STDIN_FILENO, data, sizeof data);

    if (got > 0)
        take_bytes(s, data, (size_t)got);
    else if (got == 0)
        s->ended = true;
    else if (errno != EINTR && errno != EAGAIN)
        cannot_read(s, errno);
    s->searched = MIN(s->searched, s->buffer->len);
}

/* Gives one line to the framework if there is one; true if it did (or the input ended). */
static bool
stream_give(struct stream *s)
{
    struct input_line *line = take_line(s);

    if (!line && !s->ended)
        return false;
    s->prompted = false;
    if (line)
        input_line(&s->input, line);
    else
        input_end(&s->input);
    return true;
}

static gboolean
stream_readable(int fd, GIOCondition condition, gpointer data)
{
    struct stream *s = data;

    on_main_thread();
    stream_fill(s);
    s->read_id = 0;
    if (!stream_give(s))
        s->read_id = g_unix_fd_add(STDIN_FILENO, G_IO_IN | G_IO_HUP | G_IO_ERR, stream_readable, s);
    return G_SOURCE_REMOVE;
}

static void
stream_prompt(struct input *in)
{
    struct stream *s = stream_of(in);
    g_autofree char *prompt = NULL;

    if (s->in_line && s->plain)
        stream_write(in, "\n", 1);
    show_events(s);
    if (s->plain) {
        prompt = g_strdup_printf("(numon:%s:%u:%s) ", monitor_status(in->monitor), ++s->prompts, in->last);
        stream_write(in, prompt, strlen(prompt));
        s->in_line = false;
    }
    s->prompted = true;
    if (!s->read_id && !in->monitor->quitting && !stream_give(s))
        s->read_id = g_unix_fd_add(STDIN_FILENO, G_IO_IN | G_IO_HUP | G_IO_ERR, stream_readable, s);
}

/* A person at a plain prompt drops the line; on a pipe it ends the session as it does other programs. */
static void
stream_interrupt(struct input *in)
{
    struct stream *s = stream_of(in);

    if (!s->plain) {
        monitor_quit(in->monitor, 1);
        return;
    }
    g_string_truncate(s->buffer, 0);
    s->searched = 0;
    stream_write(in, "\n", 1);
    in->last = "ok";
    stream_prompt(in);
}

static void
stream_release(struct input *in)
{
    struct stream *s = stream_of(in);

    if (s->read_id)
        g_source_remove(s->read_id);
    if (s->restore)
        tcsetattr(STDIN_FILENO, TCSADRAIN, &s->saved);
    g_ptr_array_free(s->events, TRUE);
    g_string_free(s->buffer, TRUE);
}

static GString *
stream_typed(struct input *in)
{
    stream_of(in)->searched = 0;
    return stream_of(in)->buffer;
}

static const struct input_class stream_class = {
    .write = stream_write, .event = stream_event, .prompt = stream_prompt, .interrupt = stream_interrupt,
    .typed = stream_typed,
    .release = stream_release,
};

/* The terminal's own line editing would cut lines at 4095 bytes, so a plain terminal goes without; its echo stays. */
static void
lift_line_limit(struct stream *s)
{
    struct termios raw;

    if (tcgetattr(STDIN_FILENO, &s->saved) < 0)
        return;
    raw = s->saved;
    raw.c_lflag &= ~(tcflag_t)(ICANON | IEXTEN);
    raw.c_cc[VMIN] = 1;
    raw.c_cc[VTIME] = 0;
    s->restore = tcsetattr(STDIN_FILENO, TCSADRAIN, &raw) == 0;
}

struct input *
stream_new(struct monitor *m, bool plain, bool batch)
{
    struct stream *s = g_new0(struct stream, 1);

    input_init(&s->input, &stream_class, m);
    s->input.batch = batch;
    s->plain = plain;
    s->buffer = g_string_new(NULL);
    s->events = g_ptr_array_new_with_free_func(g_free);
    if (plain && isatty(STDIN_FILENO))
        lift_line_limit(s);
    return &s->input;
}
