/* SPDX-License-Identifier: GPL-3.0-or-later */
/* `source FILE`: a pending call that runs the file's lines one by one below itself.  A script in a script is a call
 * in a call, so the script stack is the chain of calls; the innermost one that fails puts FILE:LINE to the error.
 *
 * A script is read whole before its first line runs.  A file is read at once; a pipe ("-x <(command)") or a device
 * may keep one waiting, so the main loop reads it. */
#include "monitor-private.h"
#include "general.h"

#include <errno.h>
#include <fcntl.h>
#include <glib-unix.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SCRIPT_DEPTH_MAX = 16, SCRIPT_MAX = 64 * MIB };

struct script {
    char *path;                 /* as the user wrote it */
    int fd;                     /* -1 once it is read */
    unsigned read_id;           /* source of 'fd'; 0: none */
    GString *text;              /* read so far */
    char **lines;               /* NULL-terminated; NULL until it is read */
    unsigned at;                /* lines run so far: the number of the running one, from 1 */
};

static void script_line_done(struct call *call, const GError *error);

static void
script_free(gpointer data)
{
    struct script *s = data;

    if (s->read_id)
        g_source_remove(s->read_id);
    close_fd(&s->fd);
    g_free(s->path);
    g_string_free(s->text, TRUE);
    g_strfreev(s->lines);
    g_free(s);
}

static unsigned
script_depth(const struct call *call)
{
    unsigned depth = 0;

    for (; call; call = call->parent)
        depth += call->command && call->command->run == source_run;
    return depth;
}

static void
script_next(struct call *call)
{
    struct script *s = call->data;

    if (s->lines[s->at])
        call_run(call, s->lines[s->at++], script_line_done);
    else
        call_finish(call, NULL);
}

static void
script_line_done(struct call *call, const GError *error)
{
    struct script *s = call->data;
    g_autoptr(GError) located = NULL;

    if (!error) {
        script_next(call);
        return;
    }
    located = g_error_copy(error);
    if (!call->located)
        g_prefix_error(&located, "%s:%u: ", s->path, s->at);
    call->located = true;
    call_finish(call, located);
}

/* --- reading ---------------------------------------------------------------------------------------------------- */

enum reading { READING, READ, READ_FAILED };

/* Reads what is there now, at most so much that others have their turn. */
static enum reading
script_fill(struct script *s, GError **error)
{
    char data[65536];
    ssize_t got = read(s->fd, data, sizeof data);

    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return READING;
    if (got < 0) {
        fail_host(error, errno, "cannot read script '%s'", s->path);
        return READ_FAILED;
    }
    g_string_append_len(s->text, data, got);
    if (s->text->len <= SCRIPT_MAX)
        return got ? READING : READ;
    fail(error, NUMON_ERROR_LIMIT, "cannot run script '%s': it is longer than %d MiB", s->path,
         (int)(SCRIPT_MAX / MIB));
    return READ_FAILED;
}

/* A script is text: one with a NUL byte is refused whole. */
static bool
script_divide(struct script *s, GError **error)
{
    GString *text = s->text;

    close_fd(&s->fd);
    if (strlen(text->str) != text->len)
        return fail(error, NUMON_ERROR_ARGUMENT, "cannot run script '%s': it is no text (NUL at byte %zu)", s->path,
                    strlen(text->str));
    if (text->len && text->str[text->len - 1] == '\n')
        g_string_truncate(text, text->len - 1);
    s->lines = g_strsplit(text->str, "\n", -1);
    g_string_truncate(text, 0);
    return true;
}

static gboolean
script_readable(int fd, GIOCondition condition, gpointer data)
{
    struct call *call = data;
    struct script *s = call->data;
    g_autoptr(GError) error = NULL;
    enum reading reading = script_fill(s, &error);

    on_main_thread();
    if (reading == READING)
        return G_SOURCE_CONTINUE;
    s->read_id = 0;
    if (reading == READ && script_divide(s, &error))
        script_next(call);
    else
        call_finish(call, error);
    return G_SOURCE_REMOVE;
}

/* 'O_NONBLOCK': opening a pipe must not wait for who writes it. */
static bool
script_open(struct script *s, bool *ret_at_once, GError **error)
{
    struct stat status;

    s->fd = open(s->path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (s->fd < 0 || fstat(s->fd, &status) < 0)
        return fail_host(error, errno, "cannot read script '%s'", s->path);
    if (S_ISDIR(status.st_mode))
        return fail_host(error, EISDIR, "cannot read script '%s'", s->path);
    *ret_at_once = S_ISREG(status.st_mode);
    return true;
}

/* --- the command ------------------------------------------------------------------------------------------------ */

static enum outcome
script_run_file(struct call *call, GError **error)
{
    struct script *s = call->data;
    enum reading reading = READING;

    while (reading == READING)
        reading = script_fill(s, error);
    if (reading == READ_FAILED || !script_divide(s, error))
        return COMMAND_FAILED;
    if (!s->lines[0])
        return COMMAND_DONE;
    script_next(call);
    return COMMAND_PENDING;
}

enum outcome
source_run(struct call *call, GError **error)
{
    const char *path = call->args->at[SOURCE_P_FILE].word;
    struct script *s;
    bool at_once = false;

    if (script_depth(call) > SCRIPT_DEPTH_MAX) {
        fail(error, NUMON_ERROR_LIMIT, "cannot run script '%s': scripts nest deeper than %d", path, SCRIPT_DEPTH_MAX);
        return COMMAND_FAILED;
    }
    s = g_new0(struct script, 1);
    *s = (struct script) { .path = g_strdup(path), .fd = -1, .text = g_string_new(NULL) };
    call->data = s;
    call->data_free = script_free;
    if (!script_open(s, &at_once, error))
        return COMMAND_FAILED;
    if (at_once)
        return script_run_file(call, error);
    s->read_id = g_unix_fd_add(s->fd, G_IO_IN | G_IO_HUP | G_IO_ERR, script_readable, call);
    return COMMAND_PENDING;
}

/* The lines below were abandoned by the framework; what is still being read goes with the call. */
void
source_detach(struct call *call)
{
}
