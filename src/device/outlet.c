/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The targets of a serial line: null, stdio, pty, file:PATH, unix:PATH.  Each is a descriptor; our own do not wait.
 * Standard output is shared with others, so it keeps its mode and is asked by poll() before each small write. */
#include "device-private.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>

enum { POLLED_WRITE = 4096 };       /* PIPE_BUF: a pipe that poll() calls writable takes so much without waiting */

/* What QEMU's users write behind a socket's path, and is so here in any case. */
static void
cut_socket_options(char *path)
{
    static const char *const known[] = { ",server", ",server=on", ",nowait", ",wait=off" };
    bool cut = true;

    while (cut) {
        cut = false;
        for (unsigned i = 0; i < G_N_ELEMENTS(known); i++) {
            size_t length = strlen(path), size = strlen(known[i]);

            if (length <= size || strcmp(path + length - size, known[i]) != 0)
                continue;
            path[length - size] = '\0';
            cut = true;
        }
    }
}

bool
outlet_parse(const char *target, enum outlet_kind *ret_kind, char **ret_path, GError **error)
{
    static const struct { const char *prefix; enum outlet_kind kind; bool path; } forms[] = {
        { "null", OUTLET_NULL, false }, { "stdio", OUTLET_STDIO, false }, { "pty", OUTLET_PTY, false },
        { "file:", OUTLET_FILE, true }, { "unix:", OUTLET_UNIX, true },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(forms); i++) {
        const char *rest = target + strlen(forms[i].prefix);
        g_autofree char *path = NULL;

        if (!g_str_has_prefix(target, forms[i].prefix) || (*rest != '\0') != forms[i].path)
            continue;
        path = forms[i].path ? g_strdup(rest) : NULL;
        if (forms[i].kind == OUTLET_UNIX)
            cut_socket_options(path);
        if (forms[i].kind == OUTLET_UNIX && strlen(path) >= sizeof(((struct sockaddr_un *)0)->sun_path))
            return fail(error, NUMON_ERROR_ARGUMENT, "serial target '%s': a socket's path has at most %zu characters",
                        target, sizeof(((struct sockaddr_un *)0)->sun_path) - 1);
        *ret_kind = forms[i].kind;
        *ret_path = g_steal_pointer(&path);
        return true;
    }
    return fail(error, NUMON_ERROR_ARGUMENT, "unknown serial target '%s': use null, stdio, pty, file:PATH or "
                "unix:PATH", target);
}

/* A new pseudo terminal, raw: what comes is neither echoed nor changed.  Its other end was open once, so that poll()
 * says from now on whether it is. */
static bool
open_pty(struct outlet *o, GError **error)
{
    char name[64];
    CLEANUP_FD int other = -1;
    struct termios mode;

    o->fd = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
    if (o->fd < 0 || grantpt(o->fd) < 0 || unlockpt(o->fd) < 0 || ptsname_r(o->fd, name, sizeof(name)) != 0)
        return fail_host(error, errno, "cannot make a pseudo terminal for serial output");
    other = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (other < 0 || tcgetattr(other, &mode) < 0)
        return fail_host(error, errno, "cannot open pseudo terminal '%s'", name);
    cfmakeraw(&mode);
    if (tcsetattr(other, TCSANOW, &mode) < 0)
        return fail_host(error, errno, "cannot set up pseudo terminal '%s'", name);
    o->path = g_strdup(name);
    return true;
}

static bool
open_file(struct outlet *o, GError **error)
{
    /* Appended: another port may write to the same file. */
    o->fd = open(o->path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0644);
    if (o->fd < 0)
        return fail_host(error, errno, "cannot open '%s' for serial output", o->path);
    return true;
}

/* Takes a socket file away if nobody listens behind it.  False (errno) if somebody does or it is no socket. */
static bool
remove_dead_socket(const struct sockaddr_un *address)
{
    struct stat st;
    CLEANUP_FD int fd = -1;

    if (lstat(address->sun_path, &st) < 0)
        return errno == ENOENT;
    errno = EEXIST;
    if (!S_ISSOCK(st.st_mode))
        return false;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return false;
    if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0 || errno != ECONNREFUSED) {
        errno = EADDRINUSE;
        return false;
    }
    return unlink(address->sun_path) == 0;
}

static bool
open_unix(struct outlet *o, GError **error)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    struct stat st;

    g_strlcpy(address.sun_path, o->path, sizeof(address.sun_path));
    if (!remove_dead_socket(&address))
        return fail_host(error, errno, "cannot put a socket at '%s'", o->path);
    o->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (o->listener < 0)
        return fail_host(error, errno, "cannot create a socket for '%s'", o->path);
    /* Linux gives the file the mode of the unbound socket, so that it never has a wider one. */
    if (fchmod(o->listener, 0600) < 0 || bind(o->listener, (struct sockaddr *)&address, sizeof(address)) < 0 ||
        stat(o->path, &st) < 0 || listen(o->listener, 1) < 0)
        return fail_host(error, errno, "cannot listen at '%s'", o->path);
    o->device = st.st_dev;
    o->inode = st.st_ino;
    return true;
}

bool
outlet_open(struct outlet *o, const char *target, GError **error)
{
    *o = (struct outlet) { .fd = -1, .listener = -1 };
    if (!outlet_parse(target, &o->kind, &o->path, error))
        return false;
    if (o->kind == OUTLET_STDIO)
        o->fd = STDOUT_FILENO;
    return (o->kind != OUTLET_FILE || open_file(o, error)) && (o->kind != OUTLET_UNIX || open_unix(o, error)) &&
           (o->kind != OUTLET_PTY || open_pty(o, error));
}

void
outlet_close(struct outlet *o)
{
    struct stat st;

    if (o->kind == OUTLET_STDIO)
        o->fd = -1;
    if (o->inode && lstat(o->path, &st) == 0 && st.st_dev == o->device && st.st_ino == o->inode)
        unlink(o->path);
    close_fd(&o->fd);
    close_fd(&o->listener);
    g_clear_pointer(&o->path, g_free);
}

static ssize_t
write_polled(int fd, const void *bytes, size_t size)
{
    struct pollfd p = { .fd = fd, .events = POLLOUT };

    if (poll(&p, 1, 0) <= 0)
        return 0;
    return write(fd, bytes, MIN(size, POLLED_WRITE));
}

ssize_t
outlet_write(struct outlet *o, const void *bytes, size_t size)
{
    ssize_t n;

    if (o->kind == OUTLET_STDIO)
        n = write_polled(o->fd, bytes, size);
    else if (o->kind == OUTLET_UNIX)
        n = send(o->fd, bytes, size, MSG_NOSIGNAL | MSG_DONTWAIT);
    else
        n = write(o->fd, bytes, size);
    return n < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : n;
}

ssize_t
outlet_read(struct outlet *o, void *bytes, size_t size)
{
    ssize_t n = o->kind == OUTLET_UNIX ? recv(o->fd, bytes, size, MSG_DONTWAIT) : read(o->fd, bytes, size);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    return n > 0 ? n : -1;
}

bool
outlet_is_open(const struct outlet *o)
{
    struct pollfd p = { .fd = o->fd, .events = POLLIN };

    return poll(&p, 1, 0) >= 0 && !(p.revents & POLLHUP);
}

void
outlet_forget(struct outlet *o)
{
    CLEANUP_FD int other = open(o->path, O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);

    if (other >= 0)
        tcflush(other, TCIFLUSH);
}
