/* SPDX-License-Identifier: GPL-3.0-or-later */
/* URIs: unix:PATH, tcp:HOST:PORT, exec:COMMAND, fd:NUMBER, file:PATH; and where a host's name leads.
 *
 * The resolver cannot be woken.  So a worker lets a thread of its own ask, which shares nothing but a counted request
 * and ends by itself, however late. */
#include "migrate-private.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static bool
parse_unix(const char *path, struct address *ret, GError **error)
{
    size_t most = sizeof ((struct sockaddr_un *)0)->sun_path - 1;

    if (strlen(path) > most)
        return fail(error, NUMON_ERROR_ARGUMENT, "the path of a socket has at most %zu bytes: '%s' has %zu", most,
                    path, strlen(path));
    *ret = (struct address) { .transport = TRANSPORT_UNIX, .where = g_strdup(path) };
    return true;
}

static bool
parse_tcp(const char *text, enum migrate_direction direction, struct address *ret, GError **error)
{
    const char *colon = strrchr(text, ':');
    uint64_t port;

    if (!colon || !number_parse(colon + 1, &port, NULL) || port > 65535 || (port == 0 && direction == MIGRATE_OUT))
        return fail(error, NUMON_ERROR_ARGUMENT, "a port from %d to 65535 is missing in 'tcp:%s': use tcp:HOST:PORT",
                    direction == MIGRATE_OUT, text);
    size_t length = (size_t)(colon - text);
    if (length >= 2 && text[0] == '[' && text[length - 1] == ']') {
        text++;
        length -= 2;
    }
    *ret = (struct address) { .transport = TRANSPORT_TCP, .where = g_strndup(text, length),
                              .port = g_strdup_printf("%u", (unsigned)port) };
    return true;
}

#define FORMS "unix:PATH, tcp:HOST:PORT, exec:COMMAND, fd:NUMBER or file:PATH[,offset=SIZE]"

static bool
parse_fd(const char *text, struct address *ret, GError **error)
{
    uint64_t number;

    if (!number_parse(text, &number, NULL) || number <= STDERR_FILENO || number > G_MAXINT)
        return fail(error, NUMON_ERROR_ARGUMENT, "the number of a descriptor above %d that numon was started with is "
                    "missing in 'fd:%s'", STDERR_FILENO, text);
    *ret = (struct address) { .transport = TRANSPORT_FD, .where = g_strdup(text), .offset = number };
    return true;
}

static bool
parse_file(const char *text, struct address *ret, GError **error)
{
    static const char key[] = ",offset=";
    const char *comma = g_strrstr(text, key);
    uint64_t offset = 0;

    if (comma && !size_parse(comma + strlen(key), 1, &offset, error))
        return false;
    if (offset > G_MAXINT64)
        return fail(error, NUMON_ERROR_ARGUMENT, "no file has a byte %" G_GUINT64_FORMAT, offset);
    if (comma == text)
        return fail(error, NUMON_ERROR_ARGUMENT, "'file:%s' names no path", text);
    *ret = (struct address) { .transport = TRANSPORT_FILE, .offset = offset, .has_offset = comma != NULL,
                              .where = comma ? g_strndup(text, (size_t)(comma - text)) : g_strdup(text) };
    return true;
}

bool
address_parse(const char *uri, enum migrate_direction direction, struct address *ret, GError **error)
{
    const char *rest = strchr(uri, ':');

    if (!rest)
        return fail(error, NUMON_ERROR_ARGUMENT, "'%s' is no URI: use " FORMS, uri);
    rest++;
    if (g_str_has_prefix(uri, "tcp:"))
        return parse_tcp(rest, direction, ret, error);
    if (g_str_has_prefix(uri, "fd:"))
        return parse_fd(rest, ret, error);
    if (!g_str_has_prefix(uri, "unix:") && !g_str_has_prefix(uri, "exec:") && !g_str_has_prefix(uri, "file:"))
        return fail(error, NUMON_ERROR_ARGUMENT, "unknown transport in '%s': use " FORMS, uri);
    if (!*rest)
        return fail(error, NUMON_ERROR_ARGUMENT, "'%s' names no %s", uri,
                    g_str_has_prefix(uri, "exec:") ? "command" : "path");
    if (g_str_has_prefix(uri, "unix:"))
        return parse_unix(rest, ret, error);
    if (g_str_has_prefix(uri, "file:"))
        return parse_file(rest, ret, error);
    *ret = (struct address) { .transport = TRANSPORT_EXEC, .where = g_strdup(rest) };
    return true;
}

bool
migrate_uri_check(const char *uri, enum migrate_direction direction, GError **error)
{
    struct address address = { 0 };
    bool good = address_parse(uri, direction, &address, error);

    address_release(&address);
    return good;
}

void
address_release(struct address *a)
{
    g_clear_pointer(&a->where, g_free);
    g_clear_pointer(&a->port, g_free);
}

/* --- names of hosts --------------------------------------------------------------------------------------------- */

/* Without a host: the loopback addresses, to listen on as to connect to. */
static int
lookup(const char *host, const char *port, bool passive, struct addrinfo **ret)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV | (passive ? AI_PASSIVE : 0) };

    return getaddrinfo(*host ? host : "127.0.0.1", port, &hints, ret);
}

static bool
lookup_failed(const struct address *a, int status, int host_errno, GError **error)
{
    return fail(error, NUMON_ERROR_HOST, "cannot find the host '%s': %s", a->where,
                status == EAI_SYSTEM ? g_strerror(host_errno) : gai_strerror(status));
}

bool
address_lookup(const struct address *a, bool passive, struct addrinfo **ret, GError **error)
{
    int status = lookup(a->where, a->port, passive, ret);

    return status == 0 || lookup_failed(a, status, errno, error);
}

/* Two references: the worker's and the thread's.  The last one frees it. */
struct request {
    char *host, *port;
    int done;                       /* eventfd */
    int status, host_errno;         /* written by the thread before 'done' */
    struct addrinfo *list;
    _Atomic unsigned references;
};

static void
request_drop(struct request *r)
{
    if (atomic_fetch_sub(&r->references, 1) != 1)
        return;
    if (r->list)
        freeaddrinfo(r->list);
    close_fd(&r->done);
    g_free(r->host);
    g_free(r->port);
    g_free(r);
}

static void *
request_main(void *data)
{
    struct request *r = data;
    uint64_t one = 1;

    r->status = lookup(r->host, r->port, false, &r->list);
    r->host_errno = errno;
    write_all(r->done, &one, sizeof one);
    request_drop(r);
    return NULL;
}

static struct request *
request_start(const struct address *a, GError **error)
{
    struct request *r = g_new(struct request, 1);
    struct thread thread = { 0 };

    *r = (struct request) { .host = g_strdup(a->where), .port = g_strdup(a->port), .references = 2,
                            .done = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) };
    if (r->done < 0)
        fail_host(error, errno, "cannot make an event descriptor");
    else if (thread_start(&thread, "resolve", request_main, r, error)) {
        pthread_detach(thread.id);
        return r;
    }
    atomic_store(&r->references, 1);
    request_drop(r);
    return NULL;
}

bool
address_lookup_wakeable(const struct address *a, int wake, struct addrinfo **ret, GError **error)
{
    struct request *r = request_start(a, error);
    bool good = false;
    uint64_t count;

    if (!r)
        return false;
    struct pollfd fds[] = { { r->done, POLLIN, 0 }, { wake, POLLIN, 0 } };
    while (poll(fds, G_N_ELEMENTS(fds), -1) < 0 && errno == EINTR)
        ;
    if (fds[1].revents)
        fail(error, NUMON_ERROR_STATE, "interrupted while the host '%s' was looked up", a->where);
    else if (read(r->done, &count, sizeof count) == sizeof count && r->status == 0) {
        *ret = g_steal_pointer(&r->list);
        good = true;
    } else {
        lookup_failed(a, r->status, r->host_errno, error);
    }
    request_drop(r);
    return good;
}
