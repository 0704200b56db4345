/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Peers: other numons as children, spoken to over their plain console.
 *
 * A peer gets the parent's definition as a script on descriptor 3 and commands on its standard input; what it prints
 * up to its next prompt "(numon:STATE:N:CODE) " is the reply.  One question at a time.  It ends with its parent: the
 * parent ends it when quitting, and if the parent dies the end of input does, unless the guest lives there by
 * then. */
#include "monitor-private.h"

#include <errno.h>
#include <fcntl.h>
#include <gio/gio.h>
#include <gio/gunixinputstream.h>
#include <gio/gunixoutputstream.h>
#include <glib-unix.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct peer {
    struct monitor *monitor;
    char *name;
    char *directory;            /* private, holds its socket */
    char *uri;                  /* "unix:DIRECTORY/NAME" */
    GSubprocess *process;
    int to, from;               /* our ends of its standard input and output; -1 when closed */
    guint watch;                /* source on 'from' */
    GString *heard;             /* since the last prompt */
    char *state;                /* run state of the last prompt; "" before the first */
    bool silent;                /* waiting for a prompt */
    char *line;                 /* the question it works on */
    /* Who asked; 'done' NULL: nobody waits for the reply any more. */
    void (*done)(void *self, struct peer *p, const char *reply, const GError *error);
    void *self;
    void (*prepared)(void *self, const char *uri, const GError *error);
};

struct peer *
peer_find(struct monitor *m, const char *name)
{
    for (unsigned i = 0; i < m->peers->len; i++) {
        struct peer *p = g_ptr_array_index(m->peers, i);

        if (strcmp(p->name, name) == 0)
            return p;
    }
    return NULL;
}

const char *
peer_name(const struct peer *p)
{
    return p->name;
}

const char *
peer_state(const struct peer *p)
{
    return p->state;
}

const char *
peer_process(const struct peer *p)
{
    return g_subprocess_get_identifier(p->process);
}

bool
peer_holds_guest(const struct peer *p)
{
    struct session *s = machine_session(p->monitor->machine);
    struct migrate_info info;
    bool holds;

    if (!s || session_owner(s) != OWNER_THERE)
        return false;
    session_info(s, &info);
    holds = g_strcmp0(info.uri, p->uri) == 0;
    migrate_info_release(&info);
    return holds;
}

void
peer_free(struct peer *p)
{
    if (!p)
        return;
    if (p->watch)
        g_source_remove(p->watch);
    close_fd(&p->to);
    close_fd(&p->from);
    if (p->process) {
        g_autofree char *socket_path = g_build_filename(p->directory, p->name, NULL);

        g_subprocess_force_exit(p->process);
        g_subprocess_wait(p->process, NULL, NULL);
        g_object_unref(p->process);
        unlink(socket_path);
    }
    if (p->directory)
        rmdir(p->directory);
    if (p->heard)
        g_string_free(p->heard, TRUE);
    g_free(p->directory);
    g_free(p->name);
    g_free(p->uri);
    g_free(p->state);
    g_free(p->line);
    g_free(p);
}

/* --- without its parent ----------------------------------------------------------------------------------------- */

static bool
has_or_gets_guest(struct monitor *m)
{
    struct session *s = machine_session(m->machine);
    struct migrate_info info;
    bool gets;

    if (!machine_built(m->machine))
        return false;
    if (!machine_awaits_incoming(m->machine))
        return !machine_away(m->machine);
    if (!s)
        return false;
    session_info(s, &info);
    gets = info.state == MIGRATE_ACTIVE || info.state == MIGRATE_DEVICE;
    migrate_info_release(&info);
    return gets;
}

static bool
quit_when_useless(void *data)
{
    struct monitor *m = data;

    if (has_or_gets_guest(m))
        return false;
    monitor_quit(m, 0);
    return true;
}

bool
peer_outlives(struct monitor *m)
{
    if (!has_or_gets_guest(m))
        return false;
    monitor_watch(m, 0, quit_when_useless, m);
    return true;
}

/* --- asking ----------------------------------------------------------------------------------------------------- */

static void
answer(struct peer *p, const char *reply, const GError *error)
{
    void (*done)(void *self, struct peer *p, const char *reply, const GError *error) = p->done;

    p->done = NULL;
    p->silent = false;
    g_clear_pointer(&p->line, g_free);
    if (done)
        done(p->self, p, reply, error);
}

bool
peer_ask(struct peer *p, const char *line,
         void (*done)(void *self, struct peer *p, const char *reply, const GError *error), void *self, GError **error)
{
    g_autofree char *text = g_strdup_printf("%s\n", line ? line : "");

    if (p->silent)
        return fail(error, NUMON_ERROR_STATE, "peer '%s' is still busy with '%s'", p->name,
                    p->line ? p->line : "its start");
    if (line && !write_all(p->to, text, strlen(text)))
        return fail_host(error, errno, "cannot speak to peer '%s'", p->name);
    p->silent = true;
    p->line = g_strdup(line);
    p->done = done;
    p->self = self;
    return true;
}

void
peer_forget(struct monitor *m, void *self)
{
    for (unsigned i = 0; i < m->peers->len; i++) {
        struct peer *p = g_ptr_array_index(m->peers, i);

        if (p->self == self)
            p->done = NULL;
    }
}

/* --- listening -------------------------------------------------------------------------------------------------- */

/* If what was heard ends with a prompt: cuts it off, sets '*ret_ok', keeps the state. */
static bool
take_prompt(struct peer *p, bool *ret_ok)
{
    char *line = strrchr(p->heard->str, '\n');
    char state[64], code[32];
    unsigned number;
    int used = 0;

    line = line ? line + 1 : p->heard->str;
    if (sscanf(line, "(numon:%63[^:]:%u:%31[^)]) %n", state, &number, code, &used) != 3 || used == 0 || line[used])
        return false;
    g_string_truncate(p->heard, (gsize)(line - p->heard->str));
    g_free(p->state);
    p->state = g_strdup(state);
    *ret_ok = strcmp(code, "ok") == 0;
    return true;
}

/* The text of the last "Error: " line, which is taken out of the reply. */
static char *
take_error(GString *reply)
{
    char *at = g_strrstr(reply->str, "Error: "), *end, *text;

    if (!at)
        return g_strdup("it failed");
    end = strchr(at, '\n');
    end = end ? end : at + strlen(at);
    text = g_strndup(at + strlen("Error: "), (gsize)(end - at) - strlen("Error: "));
    g_string_erase(reply, at - reply->str, end - at + (*end == '\n'));
    return text;
}

static void
heard_prompt(struct peer *p, bool ok)
{
    g_autoptr(GString) reply = g_steal_pointer(&p->heard);
    g_autoptr(GError) error = NULL;

    p->heard = g_string_new(NULL);
    if (!ok) {
        g_autofree char *text = take_error(reply);

        fail(&error, NUMON_ERROR_PEER, "peer '%s': %s", p->name, text);
    }
    answer(p, reply->str, error);
}

static gboolean
hear(gint fd, GIOCondition condition, gpointer data)
{
    struct peer *p = data;
    char bytes[16384];
    ssize_t n = read(fd, bytes, sizeof bytes);
    bool ok;

    on_main_thread();
    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return G_SOURCE_CONTINUE;
    if (n <= 0) {
        p->watch = 0;               /* its end is told by ended() */
        return G_SOURCE_REMOVE;
    }
    g_string_append_len(p->heard, bytes, n);
    if (p->silent && take_prompt(p, &ok))
        heard_prompt(p, ok);
    return G_SOURCE_CONTINUE;
}

static char *
how_it_ended(GSubprocess *process)
{
    if (g_subprocess_get_if_signaled(process))
        return g_strdup_printf("killed by signal %d", g_subprocess_get_term_sig(process));
    return g_strdup_printf("status %d", g_subprocess_get_exit_status(process));
}

static void
ended(GObject *source, GAsyncResult *result, gpointer data)
{
    struct monitor *m = data;
    GSubprocess *process = G_SUBPROCESS(source);
    struct peer *p = NULL;
    g_autoptr(GError) error = NULL;
    g_autofree char *how = NULL;

    on_main_thread();
    g_subprocess_wait_finish(process, result, NULL);
    for (unsigned i = 0; i < m->peers->len && !p; i++)
        if (((struct peer *)g_ptr_array_index(m->peers, i))->process == process)
            p = g_ptr_array_index(m->peers, i);
    if (!p)
        return;                     /* ended by us */
    how = how_it_ended(process);
    fail(&error, NUMON_ERROR_PEER, "peer '%s' ended (%s)", p->name, how);
    monitor_event(m, "peer %s ended (%s)", p->name, how);
    answer(p, p->heard->str, error);        /* whoever asked may have let it go */
    g_ptr_array_remove(m->peers, p);
}

/* --- starting --------------------------------------------------------------------------------------------------- */

/* Where serial and debug output go is the parent's alone. */
static bool
make_quiet(struct definition *d)
{
    for (unsigned i = 0; i < SERIAL_PORTS; i++)
        if (d->serials[i] && !definition_set_serial(d, i, "null", NULL))
            return false;
    return definition_set_debugcon(d, NULL, NULL);
}

/* A descriptor with the definition as a script. */
static int
make_script(struct monitor *m, GError **error)
{
    g_autoptr(definition) d = definition_copy(machine_definition(m->machine));
    g_autofree char *text = make_quiet(d) ? definition_save(d) : NULL;
    CLEANUP_FD int fd = memfd_create("definition", MFD_CLOEXEC);

    if (fd < 0 || !write_all(fd, text, strlen(text)) || lseek(fd, 0, SEEK_SET) < 0) {
        fail_host(error, errno, "cannot hand the definition to a peer");
        return -1;
    }
    return g_steal_fd(&fd);
}

static bool
spawn(struct peer *p, GError **error)
{
    g_autoptr(GSubprocessLauncher) launcher = NULL;
    int script = make_script(p->monitor, error);

    if (script < 0)
        return false;
    launcher = g_subprocess_launcher_new(G_SUBPROCESS_FLAGS_STDIN_PIPE | G_SUBPROCESS_FLAGS_STDOUT_PIPE |
                                         G_SUBPROCESS_FLAGS_STDERR_MERGE);
    g_subprocess_launcher_take_fd(launcher, script, 3);
    p->process = g_subprocess_launcher_spawn(launcher, error, "/proc/self/exe", "--plain", "--peer", "-x",
                                             "/dev/fd/3", NULL);
    if (!p->process) {
        g_prefix_error(error, "cannot start peer '%s': ", p->name);
        return false;
    }
    p->to = fcntl(g_unix_output_stream_get_fd(G_UNIX_OUTPUT_STREAM(g_subprocess_get_stdin_pipe(p->process))),
                  F_DUPFD_CLOEXEC, 3);
    p->from = fcntl(g_unix_input_stream_get_fd(G_UNIX_INPUT_STREAM(g_subprocess_get_stdout_pipe(p->process))),
                    F_DUPFD_CLOEXEC, 3);
    g_output_stream_close(g_subprocess_get_stdin_pipe(p->process), NULL, NULL);
    g_unix_set_fd_nonblocking(p->from, TRUE, NULL);
    p->watch = g_unix_fd_add(p->from, G_IO_IN | G_IO_HUP | G_IO_ERR, hear, p);
    g_subprocess_wait_async(p->process, NULL, ended, p->monitor);
    return true;
}

struct peer *
peer_new(struct monitor *m, const char *name, GError **error)
{
    struct peer *p = g_new0(struct peer, 1);

    *p = (struct peer) { .monitor = m, .name = g_strdup(name), .to = -1, .from = -1, .heard = g_string_new(NULL),
                         .state = g_strdup("") };
    p->directory = g_dir_make_tmp("numon-XXXXXX", error);
    if (!p->directory || !spawn(p, error)) {
        peer_free(p);
        return NULL;
    }
    p->uri = g_strdup_printf("unix:%s/%s", p->directory, name);
    g_ptr_array_add(m->peers, p);
    return p;
}

/* --- preparing for a migration ---------------------------------------------------------------------------------- */

static void
listens(void *self, struct peer *p, const char *reply, const GError *error)
{
    p->prepared(self, p->uri, error);
}

/* It listens already if it says so; else it is told to. */
static void
told_migration(void *self, struct peer *p, const char *reply, const GError *error)
{
    g_autofree char *line = g_strdup_printf("migrate_incoming %s", p->uri);
    g_autoptr(GError) failure = NULL;

    if (error || g_str_has_prefix(reply, "Migration status: setup\n"))
        listens(self, p, reply, error);
    else if (!peer_ask(p, line, listens, self, &failure))
        listens(self, p, reply, failure);
}

bool
peer_listen(struct peer *p, void (*done)(void *self, const char *uri, const GError *error), void *self,
            GError **error)
{
    p->prepared = done;
    return peer_ask(p, "info migrate", told_migration, self, error);
}

struct peer *
peer_get(struct monitor *m, const char *name, GError **error)
{
    struct peer *p = peer_find(m, name);

    if (!p)
        fail(error, NUMON_ERROR_ARGUMENT, "there is no peer '%s' (`peer start %s` starts one, `info peers` lists "
             "them)",
             name, name);
    return p;
}

bool
peer_prepare(struct call *call, const char *name, void (*done)(void *self, const char *uri, const GError *error),
             GError **error)
{
    struct peer *p = peer_get(call->monitor, name, error);

    return p && peer_listen(p, done, call, error);
}
