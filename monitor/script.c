/* SPDX-License-Identifier: GPL-3.0-or-later */
/* `source FILE`: a pending call that runs the file's lines one by one below itself.  A script in a script is a call
 * in a call, so the script stack is the chain of calls; the innermost one that fails puts FILE:LINE to the error. */
#include "monitor-private.h"
#include "general.h"

#include <string.h>

enum { SCRIPT_DEPTH_MAX = 16 };

struct script {
    char *path;                 /* as the user wrote it */
    char **lines;               /* NULL-terminated */
    unsigned at;                /* lines run so far: the number of the running one, from 1 */
};

static void script_line_done(struct call *call, const GError *error);

static void
script_free(gpointer data)
{
    struct script *s = data;

    g_free(s->path);
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

/* A script is text: one with a NUL byte is refused whole. */
static char **
script_read(const char *path, GError **error)
{
    g_autofree char *text = NULL;
    g_autoptr(GError) cause = NULL;
    size_t size;

    if (!g_file_get_contents(path, &text, &size, &cause)) {
        fail(error, NUMON_ERROR_HOST, "cannot read script '%s': %s", path, cause->message);
        return NULL;
    }
    if (strlen(text) != size) {
        fail(error, NUMON_ERROR_ARGUMENT, "cannot run script '%s': it is no text (NUL at byte %zu)", path, strlen(text));
        return NULL;
    }
    if (size && text[size - 1] == '\n')
        text[size - 1] = '\0';
    return g_strsplit(text, "\n", -1);
}

enum outcome
source_run(struct call *call, GError **error)
{
    const char *path = call->args->at[SOURCE_P_FILE].word;
    struct script *s;
    char **lines;

    if (script_depth(call) > SCRIPT_DEPTH_MAX) {
        fail(error, NUMON_ERROR_LIMIT, "cannot run script '%s': scripts nest deeper than %d", path, SCRIPT_DEPTH_MAX);
        return COMMAND_FAILED;
    }
    lines = script_read(path, error);
    if (!lines)
        return COMMAND_FAILED;
    s = g_new0(struct script, 1);
    s->path = g_strdup(path);
    s->lines = lines;
    call->data = s;
    call->data_free = script_free;
    if (!lines[0])
        return COMMAND_DONE;
    script_next(call);
    return COMMAND_PENDING;
}

/* The lines below were abandoned by the framework; nothing else is under way. */
void
source_detach(struct call *call)
{
}
