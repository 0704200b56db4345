/* SPDX-License-Identifier: GPL-3.0-or-later */
/* One connection: a socket, both ways, or one pipe of a command.  Descriptors never block; whoever must wait does so
 * in poll, together with the descriptors that wake it.  Threads have SIGPIPE blocked (thread_start), and sockets are
 * written with MSG_NOSIGNAL besides. */
#include "migrate-private.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { UNIX_BUFFER = 1 << 20 };         /* the host may allow less (net.core.wmem_max) */

enum channel_wait
channel_wait(const struct channel *c, int fd, short events, int64_t deadline_us)
{
    struct pollfd fds[] = { { fd, events, 0 }, { c->wake, POLLIN, 0 }, { c->alarm, POLLIN, 0 } };

    for (;;) {
        int64_t left = deadline_us == INT64_MAX ? -1 : deadline_us - g_get_monotonic_time();
        int timeout = deadline_us == INT64_MAX ? -1 : (int)CLAMP((left + 999) / 1000, 0, 3600 * 1000);
        int ready = poll(fds, G_N_ELEMENTS(fds), timeout);
        if (ready < 0)
            continue;               /* EINTR; poll has no other error here */
        if (fds[1].revents || fds[2].revents)
            return CHANNEL_WOKEN;
        if (fds[0].revents)
            return CHANNEL_READY;
        if (deadline_us != INT64_MAX && g_get_monotonic_time() >= deadline_us)
            return CHANNEL_LATE;
    }
}

static struct channel *
channel_new(int wake)
{
    struct channel *c = g_new(struct channel, 1);

    *c = (struct channel) { .in = -1, .out = -1, .wake = wake, .alarm = -1, .child_fd = -1, .child_words = -1 };
    return c;
}

/* The kernel widens a tcp socket's buffers by itself; a unix socket holds less than a reader takes while its writer
 * is being woken. */
void
channel_widen(int fd)
{
    int bytes = UNIX_BUFFER;

    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
}

static bool
is_local(int fd)
{
    int domain = 0;
    socklen_t length = sizeof domain;

    return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) == 0 && domain == AF_UNIX;
}

/* Half of the time passes before the kernel there is asked; the other half is for its answers to some questions. */
void
channel_watch_link(struct channel *c, uint64_t seconds, bool drains)
{
    unsigned patience_ms = drains ? (unsigned)seconds * 1000 : 0;
    int idle = (int)MAX(seconds / 2, 1), between = (int)MAX(seconds / 8, 1);
    int questions = MAX(((int)seconds - idle) / between, 1), on = seconds > 0;

    if (!channel_two_way(c) || c->local)
        return;
    setsockopt(c->in, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    setsockopt(c->in, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
    setsockopt(c->in, IPPROTO_TCP, TCP_KEEPINTVL, &between, sizeof between);
    setsockopt(c->in, IPPROTO_TCP, TCP_KEEPCNT, &questions, sizeof questions);
    setsockopt(c->in, IPPROTO_TCP, TCP_USER_TIMEOUT, &patience_ms, sizeof patience_ms);
}

struct channel *
channel_new_socket(int fd, int wake)
{
    struct channel *c = channel_new(wake);
    int one = 1;

    c->in = c->out = fd;
    c->local = is_local(fd);
    if (c->local)
        channel_widen(fd);
    /* Fails on a unix socket, which does not need it. */
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return c;
}

void
channel_free(struct channel *c)
{
    if (!c)
        return;
    if (channel_two_way(c))
        c->in = -1;
    close_fd(&c->in);
    close_fd(&c->out);
    child_end(c);
    file_release(c);
    close_fd(&c->child_words);
    channel_take_descriptors(c, false);
    g_free(c);
}

/* --- connecting ------------------------------------------------------------------------------------------------- */

static bool
connect_socket(int fd, const struct sockaddr *to, socklen_t size, int wake, int64_t deadline_us, int *ret_errno)
{
    struct channel waiting = { .wake = wake, .alarm = -1 };
    socklen_t length = sizeof *ret_errno;

    *ret_errno = 0;
    if (connect(fd, to, size) == 0)
        return true;
    *ret_errno = errno;
    if (errno != EINPROGRESS)
        return false;
    enum channel_wait how = channel_wait(&waiting, fd, POLLOUT, deadline_us);
    if (how != CHANNEL_READY) {
        *ret_errno = how == CHANNEL_WOKEN ? EINTR : ETIMEDOUT;
        return false;
    }
    getsockopt(fd, SOL_SOCKET, SO_ERROR, ret_errno, &length);
    return *ret_errno == 0;
}

static int
connect_unix(const char *path, int wake, int64_t deadline_us, GError **error)
{
    struct sockaddr_un to = { .sun_family = AF_UNIX };
    int host_errno, fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    g_strlcpy(to.sun_path, path, sizeof to.sun_path);
    if (fd < 0) {
        fail_host(error, errno, "cannot make a socket");
    } else if (!connect_socket(fd, (struct sockaddr *)&to, sizeof to, wake, deadline_us, &host_errno)) {
        fail(error, NUMON_ERROR_PEER, "cannot connect to '%s': %s", path, g_strerror(host_errno));
        close_fd(&fd);
    }
    return fd;
}

static int
connect_tcp(const struct address *a, int wake, int64_t deadline_us, GError **error)
{
    struct addrinfo *list = NULL;
    int host_errno = 0, fd = -1;

    if (!address_lookup_wakeable(a, wake, &list, error))
        return -1;
    for (struct addrinfo *i = list; i && fd < 0 && host_errno != EINTR; i = i->ai_next) {
        fd = socket(i->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
            host_errno = errno;
        else if (!connect_socket(fd, i->ai_addr, i->ai_addrlen, wake, deadline_us, &host_errno))
            close_fd(&fd);
    }
    freeaddrinfo(list);
    if (fd < 0)
        fail(error, NUMON_ERROR_PEER, "cannot connect to '%s', port %s: %s", a->where, a->port,
             g_strerror(host_errno));
    return fd;
}

/* Everything that does not connect. */
static struct channel *
open_directly(const struct address *a, enum migrate_direction direction, int wake, GError **error)
{
    struct channel *c = channel_new(wake);
    bool good = a->transport == TRANSPORT_EXEC ? child_start(c, a->where, direction, error)
              : a->transport == TRANSPORT_FILE ? file_open(c, a, direction, error)
              : inherited_open(c, a, direction, error);

    if (!good)
        g_clear_pointer(&c, channel_free);
    return c;
}

struct channel *
channel_open(const struct address *a, enum migrate_direction direction, int wake, int64_t deadline_us,
             GError **error)
{
    if (!address_listens(a))
        return open_directly(a, direction, wake, error);
    int fd = a->transport == TRANSPORT_UNIX ? connect_unix(a->where, wake, deadline_us, error)
           : connect_tcp(a, wake, deadline_us, error);
    return fd < 0 ? NULL : channel_new_socket(fd, wake);
}

/* --- bytes ------------------------------------------------------------------------------------------------------ */

/* Half a MiB of pages with their headers: a socket takes less at once, and the kernel copies the list each time. */
enum { PIECES_MOST = 256 };

/* Room for descriptors that go with bytes. */
union descriptors {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(CHANNEL_GIVES * sizeof(int))];
};

static void
give_descriptors(const struct channel *c, struct msghdr *message, union descriptors *room)
{
    size_t size = c->give_count * sizeof *c->give;

    g_assert(c->local && c->give_count > 0 && c->give_count <= CHANNEL_GIVES);
    message->msg_control = room;
    message->msg_controllen = CMSG_SPACE(size);
    struct cmsghdr *header = CMSG_FIRSTHDR(message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(size);
    memcpy(CMSG_DATA(header), c->give, size);
}

/* The thread that sends pages which their guest may be writing: named in testsuite/tsan.supp. */
static ssize_t __attribute__((noinline))
channel_send_pieces(struct channel *c, struct iovec *iov, unsigned count)
{
    struct msghdr message = { .msg_iov = iov, .msg_iovlen = MIN(count, PIECES_MOST) };
    union descriptors room = { 0 };

    if (!channel_two_way(c))
        return writev(c->out, iov, (int)message.msg_iovlen);
    if (c->give)
        give_descriptors(c, &message, &room);
    ssize_t sent = sendmsg(c->out, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent > 0)
        c->give = NULL;
    return sent;
}

/* Takes 'sent' bytes off the front. */
static void
iov_advance(struct iovec **iov, unsigned *count, size_t sent)
{
    while (*count > 0 && sent >= (*iov)->iov_len) {
        sent -= (*iov)->iov_len;
        (*iov)++;
        (*count)--;
    }
    if (sent > 0) {
        (*iov)->iov_base = (char *)(*iov)->iov_base + sent;
        (*iov)->iov_len -= sent;
    }
}

static bool
write_wait(struct channel *c, uint64_t stall_ms, int64_t progress_us, GError **error)
{
    int64_t deadline = stall_ms ? progress_us + (int64_t)stall_ms * 1000 : INT64_MAX;

    switch (channel_wait(c, c->out, POLLOUT, deadline)) {
    case CHANNEL_READY:
        return true;
    case CHANNEL_WOKEN:
        return fail(error, NUMON_ERROR_STATE, "interrupted while sending");
    case CHANNEL_LATE:
        break;
    }
    return fail(error, NUMON_ERROR_PEER, "the link stands still: nothing was taken for %u ms (switchover-timeout)",
                (unsigned)stall_ms);
}

/* A disk is this host's; what a connection says is about its other end. */
static bool
fail_transfer(const struct channel *c, int host_errno, const char *verb, GError **error)
{
    return fail(error, channel_two_way(c) ? NUMON_ERROR_PEER : NUMON_ERROR_HOST, "cannot %s: %s", verb,
                g_strerror(host_errno));
}

bool
channel_write(struct channel *c, struct iovec *iov, unsigned count, uint64_t stall_ms, _Atomic uint64_t *accepted,
              GError **error)
{
    int64_t progress_us = g_get_monotonic_time();

    while (count > 0) {
        ssize_t sent = channel_send_pieces(c, iov, count);
        if (sent > 0) {
            counter_add(accepted, (uint64_t)sent);
            iov_advance(&iov, &count, (size_t)sent);
            progress_us = g_get_monotonic_time();
        } else if (sent < 0 && errno != EAGAIN && errno != EINTR) {
            c->broken = errno == EPIPE || errno == ECONNRESET;
            if (c->broken)
                return fail(error, NUMON_ERROR_PEER, "the %s: %s", c->child ? "command reads no more"
                            : "destination closed the connection", g_strerror(errno));
            return fail_transfer(c, errno, "send", error);
        } else if (!write_wait(c, stall_ms, progress_us, error)) {
            return false;
        }
    }
    return true;
}

void
channel_take_descriptors(struct channel *c, bool take)
{
    for (unsigned i = 0; c->given && i < c->given->len; i++)
        close_fd(&g_array_index(c->given, int, i));
    g_clear_pointer(&c->given, g_array_unref);
    if (take && c->local)
        c->given = g_array_new(FALSE, FALSE, sizeof(int));
}

static void
keep_descriptors(struct channel *c, const struct cmsghdr *header)
{
    size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    int fd;

    for (size_t i = 0; i < count; i++) {
        memcpy(&fd, CMSG_DATA(header) + i * sizeof fd, sizeof fd);
        if (c->given->len < CHANNEL_GIVEN_MOST)
            g_array_append_val(c->given, fd);
        else
            close_fd(&fd);
    }
}

/* The kernel itself closes descriptors that come where none are looked for. */
static ssize_t
read_pieces(struct channel *c, const struct iovec *iov, unsigned count)
{
    struct msghdr message = { .msg_iov = (struct iovec *)iov, .msg_iovlen = count };
    union descriptors room;

    if (!c->given)
        return readv(c->in, iov, (int)count);
    message.msg_control = &room;
    message.msg_controllen = sizeof room;
    ssize_t got = recvmsg(c->in, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    for (struct cmsghdr *h = got < 0 ? NULL : CMSG_FIRSTHDR(&message); h; h = CMSG_NXTHDR(&message, h))
        if (h->cmsg_level == SOL_SOCKET && h->cmsg_type == SCM_RIGHTS)
            keep_descriptors(c, h);
    return got;
}

ssize_t
channel_read(struct channel *c, void *to, size_t size, int64_t deadline_us, GError **error)
{
    return channel_read_pieces(c, &(struct iovec) { to, size }, 1, deadline_us, error);
}

ssize_t
channel_read_pieces(struct channel *c, const struct iovec *iov, unsigned count, int64_t deadline_us, GError **error)
{
    for (;;) {
        ssize_t got = read_pieces(c, iov, count);
        if (got >= 0)
            return got;
        if (errno == ECONNRESET)
            fail(error, NUMON_ERROR_PEER, "the other side broke the connection off: %s", g_strerror(errno));
        else if (errno != EAGAIN && errno != EINTR)
            fail_transfer(c, errno, "receive", error);
        else {
            switch (channel_wait(c, c->in, POLLIN, deadline_us)) {
            case CHANNEL_READY:
                continue;
            case CHANNEL_WOKEN:
                fail(error, NUMON_ERROR_STATE, "interrupted while receiving");
                return -1;
            case CHANNEL_LATE:
                fail(error, NUMON_ERROR_PEER, "nothing came in time");
                return -1;
            }
        }
        return -1;
    }
}

void
channel_end_output(struct channel *c)
{
    if (channel_two_way(c))
        shutdown(c->out, SHUT_WR);
    else
        close_fd(&c->out);
}

uint64_t
channel_underway(const struct channel *c)
{
    int bytes = 0;

    return channel_two_way(c) && ioctl(c->out, SIOCOUTQ, &bytes) == 0 && bytes > 0 ? (uint64_t)bytes : 0;
}
