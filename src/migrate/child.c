/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The command of exec:, run by /bin/sh in a process group of its own, so that Ctrl-C at the terminal does not reach
 * it and the whole of a pipeline can be ended.  Signals are as after login: our threads' mask is not inherited.  Its
 * standard error is a memory file: the terminal is the console's, and what the command said explains its end. */
#include "migrate-private.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CHILD_GRACE_US = 200 * 1000, CHILD_WORDS = 512, CHILD_UNKNOWN = -1 };

extern char **environ;

static int
spawn_shell(const char *command, int end, int as, int words, pid_t *ret)
{
    char *const arguments[] = { (char *)"sh", (char *)"-c", (char *)command, NULL };
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, all;

    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, end, as);
    posix_spawn_file_actions_addopen(&actions, as == STDIN_FILENO ? STDOUT_FILENO : STDIN_FILENO, "/dev/null", O_RDWR,
                                     0);
    posix_spawn_file_actions_adddup2(&actions, words, STDERR_FILENO);
    /* What whoever started us left open, for fd: perhaps, is not for a child. */
    posix_spawn_file_actions_addclosefrom_np(&actions, STDERR_FILENO + 1);
    posix_spawnattr_init(&attributes);
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setpgroup(&attributes, 0);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
    int status = posix_spawn(ret, "/bin/sh", &actions, &attributes, arguments, environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return status;
}

bool
child_start(struct channel *c, const char *command, enum migrate_direction direction, GError **error)
{
    bool out = direction == MIGRATE_OUT;
    int ends[2];

    c->child_words = memfd_create("words", MFD_CLOEXEC);
    if (c->child_words < 0 || pipe2(ends, O_CLOEXEC) < 0)
        return fail_host(error, errno, "cannot make a pipe");
    fcntl(c->child_words, F_SETFL, O_APPEND);
    int ours = ends[out], theirs = ends[!out];
    fcntl(ours, F_SETFL, O_NONBLOCK);
    int status = spawn_shell(command, theirs, out ? STDIN_FILENO : STDOUT_FILENO, c->child_words, &c->child);
    close_fd(&theirs);
    *(out ? &c->out : &c->in) = ours;
    if (status) {
        c->child = 0;
        return fail_host(error, status, "cannot start '%s'", command);
    }
    c->child_fd = (int)syscall(SYS_pidfd_open, c->child, 0);
    return c->child_fd >= 0 || fail_host(error, errno, "cannot watch '%s'", command);
}

/* ": " and the end of what the command said on standard error, or "".  Caller frees. */
static char *
last_words(struct channel *c)
{
    char words[CHILD_WORDS + 1];
    off_t size = lseek(c->child_words, 0, SEEK_END);
    ssize_t got = size <= 0 ? 0 : pread(c->child_words, words, CHILD_WORDS, MAX(size - CHILD_WORDS, 0));

    words[MAX(got, 0)] = '\0';
    g_autofree char *valid = g_utf8_make_valid(g_strstrip(words), -1);
    return *valid ? g_strdup_printf(": %s", valid) : g_strdup("");
}

static bool
child_reaped(struct channel *c, int *ret_status)
{
    pid_t got;

    while ((got = waitpid(c->child, ret_status, WNOHANG)) < 0 && errno == EINTR)
        ;
    if (got == 0)
        return false;
    if (got < 0)
        *ret_status = CHILD_UNKNOWN;        /* somebody reaped it before us */
    c->child = 0;
    close_fd(&c->child_fd);
    return true;
}

bool
child_wait(struct channel *c, int64_t deadline_us, GError **error)
{
    int status;

    if (!c->child)
        return true;
    if (channel_wait(c, c->child_fd, POLLIN, deadline_us) != CHANNEL_READY || !child_reaped(c, &status))
        return fail(error, NUMON_ERROR_PEER, "the command still runs");
    if (status == 0)
        return true;
    g_autofree char *words = last_words(c);
    if (status == CHILD_UNKNOWN)
        return fail(error, NUMON_ERROR_PEER, "the command's exit status is not known%s", words);
    if (WIFSIGNALED(status))
        return fail(error, NUMON_ERROR_PEER, "the command was ended by signal %d (%s)%s", WTERMSIG(status),
                    strsignal(WTERMSIG(status)), words);
    return fail(error, NUMON_ERROR_PEER, "the command exited with status %d%s", WEXITSTATUS(status), words);
}

void
child_leave(struct channel *c)
{
    c->child = 0;
    close_fd(&c->child_fd);
}

void
child_end(struct channel *c)
{
    struct pollfd fd = { c->child_fd, POLLIN, 0 };
    int status;

    if (!c->child)
        return;
    kill(-c->child, SIGTERM);
    if (c->child_fd < 0 || poll(&fd, 1, CHILD_GRACE_US / 1000) <= 0)
        kill(-c->child, SIGKILL);
    if (!child_reaped(c, &status)) {
        waitpid(c->child, &status, 0);
        c->child = 0;
        close_fd(&c->child_fd);
    }
}
