/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A link between two sockets that does harm at a chosen byte of its first connection; see migrate-fake.h. */
#include "migrate-fake.h"

#include <glib/gstdio.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { LINKS = 4, CARRIED = 16 };

struct link {
    int source, target;             /* -1: closed */
    bool first;                     /* the one to be harmed */
    bool source_ended, target_ended;
    int carried[CARRIED];           /* descriptors that came and go on with the next byte */
    unsigned carried_count;
};

static void
drop_carried(struct link *l)
{
    while (l->carried_count > 0)
        close_fd(&l->carried[--l->carried_count]);
}

static void
link_close(struct link *l)
{
    drop_carried(l);
    close_fd(&l->source);
    close_fd(&l->target);
}

union room { struct cmsghdr align; char bytes[CMSG_SPACE(CARRIED * sizeof(int))]; };

static void
send_blocking(struct link *l, int fd, const uint8_t *bytes, size_t size)
{
    while (size > 0) {
        struct iovec iov = { (void *)bytes, size };
        struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };
        size_t carried = l->carried_count * sizeof(int);
        union room room = { 0 };
        if (carried) {
            message.msg_control = &room;
            message.msg_controllen = CMSG_SPACE(carried);
            *CMSG_FIRSTHDR(&message) = (struct cmsghdr) { CMSG_LEN(carried), SOL_SOCKET, SCM_RIGHTS };
            memcpy(CMSG_DATA(CMSG_FIRSTHDR(&message)), l->carried, carried);
        }
        ssize_t sent = sendmsg(fd, &message, MSG_NOSIGNAL);
        drop_carried(l);
        if (sent <= 0)
            return;
        bytes += sent;
        size -= (size_t)sent;
    }
}

static ssize_t
receive(struct proxy *x, struct link *l, int fd, uint8_t *bytes, size_t size)
{
    struct iovec iov = { bytes, size };
    union room room;
    struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &room, .msg_controllen = sizeof room };
    ssize_t got = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
    struct cmsghdr *header = got > 0 ? CMSG_FIRSTHDR(&message) : NULL;

    if (header && header->cmsg_type == SCM_RIGHTS) {
        l->carried_count = (unsigned)((header->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        memcpy(l->carried, CMSG_DATA(header), l->carried_count * sizeof(int));
        if (x->drops_descriptors)
            drop_carried(l);
    }
    return got;
}

/* True if the link is closed now. */
static bool
link_harm(struct proxy *x, struct link *l, int to, uint8_t *bytes, size_t size, uint64_t before)
{
    size_t good = x->offset - before;

    atomic_store(&x->harmed, true);
    if (x->harm == HARM_DAMAGE) {
        bytes[good] ^= x->damage;
        send_blocking(l, to, bytes, size);
        return false;
    }
    send_blocking(l, to, bytes, good);
    if (x->harm == HARM_CUT) {
        link_close(l);
        return true;
    }
    if (x->harm == HARM_END)
        shutdown(to, SHUT_WR);
    return false;
}

static void
link_move(struct proxy *x, struct link *l, bool backward)
{
    static _Thread_local uint8_t bytes[64 * 1024];
    int from = backward ? l->target : l->source, to = backward ? l->source : l->target;
    bool hurts = l->first && x->harm != HARM_NONE && backward == x->backward;
    ssize_t got = receive(x, l, from, bytes, sizeof bytes);

    if (got <= 0) {
        *(backward ? &l->target_ended : &l->source_ended) = true;
        shutdown(to, SHUT_WR);
        if (l->target_ended)
            link_close(l);
        return;
    }
    uint64_t before = atomic_fetch_add(backward ? &x->backward_bytes : &x->forward_bytes, (uint64_t)got);
    if (hurts && before <= x->offset && x->offset < before + (uint64_t)got)
        link_harm(x, l, to, bytes, (size_t)got, before);
    else if (!(hurts && before > x->offset && x->harm != HARM_DAMAGE))
        send_blocking(l, to, bytes, (size_t)got);
}

static bool
link_stalls(const struct proxy *x, const struct link *l)
{
    return l->first && x->harm == HARM_STALL && atomic_load(&x->harmed);
}

static struct sockaddr_un
unix_address(const char *path)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };

    g_strlcpy(a.sun_path, path, sizeof a.sun_path);
    return a;
}

static void
link_open(struct proxy *x, struct link links[LINKS], bool first)
{
    struct sockaddr_un to = unix_address(x->target);
    struct link l = { accept(x->listener, NULL, NULL), socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0),
                      .first = first };

    if (connect(l.target, (struct sockaddr *)&to, sizeof to) == 0)
        for (unsigned i = 0; i < LINKS; i++)
            if (links[i].source < 0) {
                links[i] = l;
                return;
            }
    link_close(&l);
}

static void *
proxy_main(void *data)
{
    struct proxy *x = data;
    struct link links[LINKS];
    unsigned opened = 0;

    for (unsigned i = 0; i < LINKS; i++)
        links[i] = (struct link) { -1, -1 };
    for (;;) {
        struct pollfd fds[2 + 2 * LINKS] = { { x->stop, POLLIN, 0 }, { x->listener, POLLIN, 0 } };
        for (unsigned i = 0; i < LINKS; i++) {
            struct link *l = &links[i];
            fds[2 + 2 * i] = (struct pollfd) { l->source_ended || link_stalls(x, l) ? -1 : l->source, POLLIN, 0 };
            fds[3 + 2 * i] = (struct pollfd) { l->target_ended || link_stalls(x, l) ? -1 : l->target, POLLIN, 0 };
        }
        if (poll(fds, G_N_ELEMENTS(fds), -1) < 0)
            continue;
        if (fds[0].revents)
            break;
        for (unsigned i = 0; i < LINKS; i++) {
            if (fds[2 + 2 * i].revents && links[i].source >= 0)
                link_move(x, &links[i], false);
            if (fds[3 + 2 * i].revents && links[i].target >= 0)
                link_move(x, &links[i], true);
        }
        if (fds[1].revents)
            link_open(x, links, opened++ == 0);
    }
    for (unsigned i = 0; i < LINKS; i++)
        link_close(&links[i]);
    return NULL;
}

void
proxy_start(struct proxy *x, const char *path, const char *target)
{
    struct sockaddr_un at = unix_address(path);

    x->path = g_strdup(path);
    x->target = g_strdup(target);
    x->stop = eventfd(0, EFD_CLOEXEC);
    x->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_assert_cmpint(bind(x->listener, (struct sockaddr *)&at, sizeof at), ==, 0);
    g_assert_cmpint(listen(x->listener, 8), ==, 0);
    g_assert_true(thread_start(&x->thread, "fake-link", proxy_main, x, NULL));
}

void
proxy_stop(struct proxy *x)
{
    uint64_t one = 1;

    write_all(x->stop, &one, sizeof one);
    thread_join(&x->thread);
    close_fd(&x->stop);
    close_fd(&x->listener);
    g_unlink(x->path);
    g_free(x->path);
    g_free(x->target);
}
