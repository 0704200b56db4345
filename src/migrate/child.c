/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The command of exec:, run by /bin/sh in a process group of its own, so that Ctrl-C at the terminal does not reach
 * it and the whole of a pipeline can be ended.  Signals are as after login: our threads' mask is not inherited. */
#include "migrate-private.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CHILD_GRACE_US = 200 * 1000 };

extern char **environ;

static int
spawn_shell(const char *command, int end, int as, pid_t *ret)
{
    char *const arguments[] = { (char *)"sh", (char *)"-c", (char *)command, NULL };
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, all;

    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, end, as);
    posix_spawn_file_actions_addopen(&actions, as == STDIN_FILENO ? STDOUT_FILENO : STDIN_FILENO, "/dev/null", O_RDWR,
                                     0);
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

    if (pipe2(ends, O_CLOEXEC) < 0)
        return fail_host(error, errno, "cannot make a pipe");
    int ours = ends[out], theirs = ends[!out];
    fcntl(ours, F_SETFL, O_NONBLOCK);
    int status = spawn_shell(command, theirs, out ? STDIN_FILENO : STDOUT_FILENO, &c->child);
    close_fd(&theirs);
    *(out ? &c->out : &c->in) = ours;
    if (status) {
        c->child = 0;
        return fail_host(error, status, "cannot start '%s'", command);
    }
    c->child_fd = (int)syscall(SYS_pidfd_open, c->child, 0);
    return c->child_fd >= 0 || fail_host(error, errno, "cannot watch '%s'", command);
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
        *ret_status = 0;            /* somebody reaped it before us: nothing is known against it */
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
    if (WIFSIGNALED(status))
        return fail(error, NUMON_ERROR_PEER, "the command was ended by signal %d (%s)", WTERMSIG(status),
                    strsignal(WTERMSIG(status)));
    if (WEXITSTATUS(status))
        return fail(error, NUMON_ERROR_PEER, "the command exited with status %d", WEXITSTATUS(status));
    return true;
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
