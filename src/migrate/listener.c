/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Where a destination is reached.  A unix socket is 0600 and replaces only a dead one; tcp listens on loopback unless
 * another address is written out. */
#include "migrate-private.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { LISTEN_BACKLOG = 16 };

/* Removes the file at 'path' if it is a socket that nobody listens on any more. */
static bool
remove_dead_socket(const struct sockaddr_un *at, GError **error)
{
    struct stat file;
    CLEANUP_FD int fd = -1;

    if (lstat(at->sun_path, &file) < 0)
        return errno == ENOENT || fail_host(error, errno, "cannot look at '%s'", at->sun_path);
    if (!S_ISSOCK(file.st_mode))
        return fail(error, NUMON_ERROR_ARGUMENT, "cannot listen on '%s': it exists and is no socket", at->sun_path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return fail_host(error, errno, "cannot make a socket");
    if (connect(fd, (const struct sockaddr *)at, sizeof *at) == 0 || errno != ECONNREFUSED)
        return fail(error, NUMON_ERROR_STATE, "cannot listen on '%s': another program does", at->sun_path);
    return unlink(at->sun_path) == 0 || fail_host(error, errno, "cannot replace the dead socket '%s'", at->sun_path);
}

static bool
listen_unix(struct listener *l, const char *path, GError **error)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    struct stat file;

    g_strlcpy(at.sun_path, path, sizeof at.sun_path);
    if (!remove_dead_socket(&at, error))
        return false;
    l->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (l->fd < 0)
        return fail_host(error, errno, "cannot make a socket");
    /* Before bind: the file must not exist for a moment with more rights. */
    if (fchmod(l->fd, 0600) < 0 || bind(l->fd, (struct sockaddr *)&at, sizeof at) < 0)
        return fail_host(error, errno, "cannot listen on '%s'", path);
    l->path = g_strdup(path);
    if (chmod(path, 0600) < 0 || lstat(path, &file) < 0 || listen(l->fd, LISTEN_BACKLOG) < 0)
        return fail_host(error, errno, "cannot listen on '%s'", path);
    l->dev = file.st_dev;
    l->ino = file.st_ino;
    return true;
}

static bool
listen_at(struct listener *l, const struct addrinfo *at)
{
    int one = 1;

    l->fd = socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (l->fd < 0)
        return false;
    setsockopt(l->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(l->fd, at->ai_addr, at->ai_addrlen) == 0 && listen(l->fd, LISTEN_BACKLOG) == 0)
        return true;
    int kept = errno;
    close_fd(&l->fd);
    errno = kept;
    return false;
}

/* Notes where it came to listen: the port, and whether others than this host can reach it. */
static unsigned
look_at_bound(struct listener *l)
{
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
        struct sockaddr_storage room;
    } at = { 0 };
    socklen_t size = sizeof at;

    getsockname(l->fd, &at.any, &size);
    if (at.any.sa_family == AF_INET6) {
        l->exposed = !IN6_IS_ADDR_LOOPBACK(&at.v6.sin6_addr);
        return ntohs(at.v6.sin6_port);
    }
    l->exposed = ntohl(at.v4.sin_addr.s_addr) >> IN_CLASSA_NSHIFT != IN_LOOPBACKNET;
    return ntohs(at.v4.sin_port);
}

static bool
listen_tcp(struct listener *l, const struct address *a, const char *uri, GError **error)
{
    struct addrinfo *list = NULL;
    int host_errno = 0;

    if (!address_lookup(a, true, &list, error))
        return false;
    for (struct addrinfo *i = list; i && l->fd < 0; i = i->ai_next)
        if (!listen_at(l, i))
            host_errno = errno;
    freeaddrinfo(list);
    if (l->fd < 0)
        return fail_host(error, host_errno, "cannot listen on '%s', port %s", a->where, a->port);
    g_free(l->uri);
    l->uri = g_strdup_printf("%.*s%u", (int)(strrchr(uri, ':') + 1 - uri), uri, look_at_bound(l));
    return true;
}

bool
listener_open(struct listener *l, const struct address *a, const char *uri, GError **error)
{
    *l = (struct listener) { .fd = -1, .uri = g_strdup(uri) };
    bool good = a->transport == TRANSPORT_UNIX ? listen_unix(l, a->where, error) : listen_tcp(l, a, uri, error);
    if (!good)
        listener_close(l);
    return good;
}

void
listener_close(struct listener *l)
{
    struct stat file;

    close_fd(&l->fd);
    if (l->path && lstat(l->path, &file) == 0 && file.st_dev == l->dev && file.st_ino == l->ino)
        unlink(l->path);
    g_clear_pointer(&l->path, g_free);
    g_clear_pointer(&l->uri, g_free);
}
